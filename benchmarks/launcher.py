# SPDX-License-Identifier: GPL-3.0-or-later
"""Run a command with its output in a file; print exit code, wall time and peak memory as JSON.

usage: launcher.py LOG COMMAND...
"""

from __future__ import annotations

import json
import subprocess
import sys
import time

try:
    import resource
except ImportError:  # Windows
    resource = None


def main() -> None:
    log, *command = sys.argv[1:]
    with open(log, "wb") as output:
        started = time.perf_counter()
        ended = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT)
        seconds = time.perf_counter() - started
    print(json.dumps({"returncode": ended.returncode, "seconds": seconds, "peak_bytes": peak_of_children()}))


def peak_of_children() -> int | None:
    if resource is None:
        return None
    unit = 1 if sys.platform == "darwin" else 1024
    return unit * resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss


if __name__ == "__main__":
    main()
