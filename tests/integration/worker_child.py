# SPDX-License-Identifier: GPL-3.0-or-later
"""What runs in ZeMosaic's own Python: its worker, in a process of its own, started as its window starts it.

Run from another folder than this project's, whose modules have the names of ZeMosaic's. ``python worker_child.py
JOB.json`` writes what the worker tells the window, line by line as JSON, and ends with the worker's exit code.
"""

import json
import multiprocessing
import os
import queue
import sys
import time
from pathlib import Path

LAST_WORD = "PROCESS_DONE"


def invocation(settings):
    """Return what the window hands to its worker where its owner has changed these settings and presses Start."""
    from PySide6.QtWidgets import QApplication
    from zemosaic_gui_qt import ZeMosaicQtMainWindow

    application = QApplication.instance() or QApplication(["whole_worker"])
    window = ZeMosaicQtMainWindow()
    window.config.update(settings)
    window._save_config()  # the worker reads the file again
    arguments, named = window._build_worker_invocation(skip_filter_ui=True)
    return application, arguments, named


def told(process, messages):
    """Yield what the worker says, to its last word or its end."""
    while True:
        try:
            message = messages.get(timeout=1)
        except queue.Empty:
            if not process.is_alive():
                return
            continue
        yield message
        if message[0] == LAST_WORD:
            return


def main(job):
    """Run the worker, pass on what it says, and tell what it took."""
    sys.path.insert(0, job["zemosaic"])
    from zemosaic_worker import run_hierarchical_mosaic_process

    _application, arguments, named = invocation(job["settings"])
    context = multiprocessing.get_context("spawn")
    messages = context.Queue()
    process = context.Process(target=run_hierarchical_mosaic_process, args=(messages, *arguments), kwargs=named)
    started, before = time.perf_counter(), _children_seconds()
    process.start()
    with open(job["told"], "w", encoding="utf-8") as file:
        for message in told(process, messages):
            print(json.dumps(message, default=str), file=file, flush=True)
    process.join()
    took = {
        "cpu_seconds": _children_seconds() - before,
        "wall_seconds": time.perf_counter() - started,
    }
    Path(job["took"]).write_text(json.dumps(took), encoding="utf-8")
    return process.exitcode


def _children_seconds():
    """Return the processor time of the processes that have ended, theirs included (0 on Windows)."""
    return os.times().children_user + os.times().children_system


if __name__ == "__main__":
    code = main(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")))
    sys.stdout.flush()
    os._exit(code)  # the window's own end is not tried here
