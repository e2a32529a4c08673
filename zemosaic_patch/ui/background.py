# SPDX-License-Identifier: GPL-3.0-or-later
"""Processes that work behind the page: they take what of the machine the page, and its owner, leave them."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

NICE = 10  # of 19, which is the most


def started(command: Sequence[str], **how: Any) -> subprocess.Popen:
    """Start a process that lets others go first.

    Parameters
    ----------
    command : sequence of str
    **how
        As of `subprocess.Popen`; nothing is typed to it.
    """
    import psutil

    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, **how)
    with suppress(psutil.Error, OSError):  # it has ended already, or may not be told
        behind = psutil.BELOW_NORMAL_PRIORITY_CLASS if sys.platform == "win32" else NICE
        psutil.Process(process.pid).nice(behind)
    return process
