# SPDX-License-Identifier: GPL-3.0-or-later
"""What ends a command with one line for the user."""

from __future__ import annotations

STOPPED = "stopped by the user"  # begins what is told of a command that was


class UsageError(Exception):
    """What was asked for cannot be done; the message says what to do instead."""


class FailureError(Exception):
    """It was tried and failed; the message names the file and the reason."""


class UnfinishedError(FailureError):
    """It failed on the way, by what may be mended: what is done so far is kept, to be gone on from."""
