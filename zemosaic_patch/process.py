# SPDX-License-Identifier: GPL-3.0-or-later
"""What a command sets in a process of its own. A program that calls commands in its own process keeps what it has set.

A run spends its first second loading libraries, on one core: nothing else is done there that can be left out.
"""

from __future__ import annotations

import atexit
import gc
import os
import threading
from collections.abc import Sequence

BLAS_THREADS = "OPENBLAS_NUM_THREADS"
_put_off = threading.Event()  # the search for garbage, by a command: what a program has switched off itself stays off


def begin(words: Sequence[str]) -> None:
    """Set what is to be set before the first library is loaded.

    Parameters
    ----------
    words : sequence of str
        The command line.
    """
    _put_off.set()
    gc.disable()  # what is loaded stays: to look for garbage in it takes 0.2 s
    atexit.register(gc.freeze)  # and at the end, too
    if words[:1] != ["verify"]:  # which runs a ZeMosaic as its user would
        os.environ.setdefault(BLAS_THREADS, "1")  # no matrix here is worth its threads, which take 0.05 s to start


def loaded() -> None:
    """Look for garbage from now on, among what is new: libraries are loaded, and data come."""
    if _put_off.is_set():
        _put_off.clear()
        gc.freeze()
        gc.enable()
