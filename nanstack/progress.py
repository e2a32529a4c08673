# SPDX-License-Identifier: GPL-3.0-or-later
"""How long work tells whoever waits for it: how far it is, and what is wrong but does not stop it."""

from __future__ import annotations

import logging
from typing import Protocol

log = logging.getLogger(__name__)


class Progress(Protocol):
    """Hears of a job while it is done; called from the thread that does it."""

    def step(self, name: str, done: int, total: int) -> None:
        """So many of a step's units (frames, rows, tiles) are done."""

    def warn(self, text: str) -> None:
        """Something could not be done as asked; the job goes on without it."""


class Noting:
    """Passes on what is told, and notes what is warned of.

    Attributes
    ----------
    warnings : list of str
        In their order.
    """

    def __init__(self, progress: Progress) -> None:
        self.warnings: list[str] = []
        self._progress = progress

    @classmethod
    def of(cls, progress: Progress) -> Noting:
        """Return what notes warnings already, or notes them from now on."""
        return progress if isinstance(progress, cls) else cls(progress)

    def step(self, name: str, done: int, total: int) -> None:
        """Pass it on."""
        self._progress.step(name, done, total)

    def warn(self, text: str) -> None:
        """Note the warning, and pass it on."""
        self.warnings.append(text)
        self._progress.warn(text)

    def say(self, text: str) -> None:
        """Pass on a warning of what is noted elsewhere."""
        self._progress.warn(text)


class Quiet:
    """Nobody waits: steps are not shown, warnings go to the log."""

    def step(self, name: str, done: int, total: int) -> None:
        """Say nothing."""

    def warn(self, text: str) -> None:
        """Put the warning into the log."""
        log.warning("%s", text)
