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


class Quiet:
    """Nobody waits: steps are not shown, warnings go to the log."""

    def step(self, name: str, done: int, total: int) -> None:
        """Say nothing."""

    def warn(self, text: str) -> None:
        """Put the warning into the log."""
        log.warning("%s", text)
