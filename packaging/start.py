# SPDX-License-Identifier: GPL-3.0-or-later
"""Where the packaged program begins: it is the command `zemosaic-patch`, and with no word after it, its window."""

import multiprocessing
import os
import sys

LIBRARIES = "LD_LIBRARY_PATH"
ANEW = "PYINSTALLER_RESET_ENVIRONMENT"


def start() -> int:
    """Run the command line of this process; return the exit code."""
    multiprocessing.freeze_support()  # a process that was started for a part of the work does that, and ends
    _leave_libraries_to_ourselves()
    from platformdirs import user_cache_path

    # compiled functions are the user's: the program's own folder may not be written to
    os.environ.setdefault("NUMBA_CACHE_DIR", str(user_cache_path("zemosaic-patch", appauthor=False) / "compiled"))
    if len(sys.argv) == 1:  # a double click
        sys.argv.append("ui")
    from zemosaic_patch.__main__ import main

    return main()


def _leave_libraries_to_ourselves() -> None:
    """Have other programs, such as the browser, load their own libraries: PyInstaller names ours on Linux.

    This program, when it starts itself, is told to name them anew.
    """
    before = os.environ.pop(f"{LIBRARIES}_ORIG", None)
    os.environ.pop(LIBRARIES, None)
    if before is not None:
        os.environ[LIBRARIES] = before
    os.environ[ANEW] = "1"


if __name__ == "__main__":
    sys.exit(start())
