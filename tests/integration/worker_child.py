# SPDX-License-Identifier: GPL-3.0-or-later
"""What runs in ZeMosaic's own Python: its worker, in processes of its own, started as its window starts it.

Run from another folder than this project's, whose modules have the names of ZeMosaic's. ``python worker_child.py
JOB.json`` does the job's runs in turn. For each it writes what the worker tells the window, line by line as JSON, and
what it took.
"""

import json
import multiprocessing
import os
import queue
import sys
import time
from pathlib import Path

LAST_WORD = "PROCESS_DONE"


def window_of_zemosaic():
    """Return ZeMosaic's window, which nobody sees, and what keeps it alive."""
    from PySide6.QtWidgets import QApplication
    from zemosaic_gui_qt import ZeMosaicQtMainWindow

    application = QApplication(["whole_worker"])
    return ZeMosaicQtMainWindow(), application


def invocation(window, settings):
    """Return what the window hands to its worker where its owner has chosen these settings and presses Start."""
    window.config = dict(settings)
    window._save_config()  # the worker reads the file again
    return window._build_worker_invocation(skip_filter_ui=True)


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


def run(arguments, named, told_to):
    """Run the worker once, write down what it says, and return what it took."""
    from zemosaic_worker import run_hierarchical_mosaic_process

    context = multiprocessing.get_context("spawn")
    messages = context.Queue()
    process = context.Process(target=run_hierarchical_mosaic_process, args=(messages, *arguments), kwargs=named)
    started, before = time.perf_counter(), _children_seconds()
    process.start()
    with open(told_to, "w", encoding="utf-8") as file:
        for message in told(process, messages):
            print(json.dumps(message, default=str), file=file, flush=True)
    process.join()
    return {"cpu_seconds": _children_seconds() - before, "wall_seconds": time.perf_counter() - started}


def main(job):
    """Do the job's runs in turn."""
    sys.path.insert(0, job["zemosaic"])
    window, _application = window_of_zemosaic()
    defaults = dict(window.config)
    for each in job["runs"]:
        arguments, named = invocation(window, defaults | each["settings"])
        took = run(arguments, named, each["told"])
        Path(each["took"]).write_text(json.dumps(took), encoding="utf-8")


def _children_seconds():
    """Return the processor time of the processes that have ended, theirs included (0 on Windows)."""
    return os.times().children_user + os.times().children_system


if __name__ == "__main__":
    main(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")))
    sys.stdout.flush()
    os._exit(0)  # the window's own end is not tried here
