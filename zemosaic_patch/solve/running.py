# SPDX-License-Identifier: GPL-3.0-or-later
"""A program run for some seconds at most, with all that it starts."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Sequence
from pathlib import Path

from zemosaic_patch.solve.answers import NoAnswerError

TOO_LONG = "took too long"


def run(command: Sequence[str], work: Path, seconds: float) -> int:
    """Run a program and all that it starts for some seconds at most; return its exit code. What it prints is lost."""
    if seconds <= 0:
        raise NoAnswerError(TOO_LONG, final=False)
    nothing = subprocess.DEVNULL
    try:
        started = subprocess.Popen(
            command, cwd=work, stdin=nothing, stdout=nothing, stderr=nothing, start_new_session=True
        )
    except OSError as failure:  # without the path, which tells whose it is
        raise NoAnswerError(f"cannot be run: {failure.strerror or failure}", final=False) from failure
    try:
        return started.wait(seconds)
    except subprocess.TimeoutExpired as failure:
        raise NoAnswerError(TOO_LONG, final=False) from failure
    finally:
        _end(started)


def _end(started: subprocess.Popen) -> None:
    """End a program, and on systems that can tell, what it has started: solve-field leaves the work to others."""
    try:
        if os.name == "posix":
            os.killpg(started.pid, signal.SIGKILL)
        else:
            started.kill()
    except (ProcessLookupError, PermissionError):
        return  # all of it has ended
    finally:
        started.wait()
