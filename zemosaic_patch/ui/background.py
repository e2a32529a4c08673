# SPDX-License-Identifier: GPL-3.0-or-later
"""Processes that work behind the page: they take what of the machine the page, and its owner, leave them."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

WAITED_FOR, ALONG = 2, 5  # of 19, which is the most: what the owner looks at just now, and what takes its time


def started(command: Sequence[str], nice: int = ALONG, **how: Any) -> subprocess.Popen:
    """Start a process that lets others go first.

    Parameters
    ----------
    command : sequence of str
    nice : int
        How readily, where the system knows degrees of that.
    **how
        As of `subprocess.Popen`; nothing is typed to it.
    """
    import psutil

    if sys.platform == "win32":  # with a console of its own, that closing the window's does not end it
        flags = subprocess.BELOW_NORMAL_PRIORITY_CLASS | subprocess.CREATE_NO_WINDOW
        return subprocess.Popen(command, stdin=subprocess.DEVNULL, creationflags=flags, **how)
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, **how)
    with suppress(psutil.Error, OSError):  # it has ended already, or may not be told
        psutil.Process(process.pid).nice(nice)
        if sys.platform == "linux" and how.get("start_new_session"):
            # Linux shares the processors out to sessions first, whatever their processes' own niceness (sched(7))
            Path("/proc", str(process.pid), "autogroup").write_text(str(nice))
    return process


def kill(pid: int) -> None:
    """End a process, and those that it began, without asking: they clear nothing away."""
    import psutil

    with suppress(psutil.Error):
        process = psutil.Process(pid)
        for one in (*process.children(recursive=True), process):
            with suppress(psutil.Error):  # it has just ended
                one.kill()


def told_by(process: subprocess.Popen) -> Iterator[dict[str, Any]]:
    """Return what a process tells, a line of JSON each, until it ends; it may be ended within a line."""
    for line in process.stdout:
        if line.endswith(b"\n"):
            yield json.loads(line)


def end(process: subprocess.Popen) -> None:
    """End a process, and those that it began: where it is killed they would go on."""
    import psutil

    with suppress(psutil.Error):
        for child in psutil.Process(process.pid).children(recursive=True):
            with suppress(psutil.Error):  # it has just ended
                child.terminate()
    process.terminate()
