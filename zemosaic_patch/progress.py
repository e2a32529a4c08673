# SPDX-License-Identifier: GPL-3.0-or-later
"""How far a run is, as bars on the screen; and what a worker process tells the one that waits for it."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from zemosaic_patch.signals import obey

UNITS = {"aligning": "frame", "stacking": "row"}
OUTER = "tiles"  # a step that others are part of: its bar stays above theirs


class Bars:
    """Shows steps as bars with a time estimate, and warnings above them: a `nanstack.progress.Progress`."""

    def __init__(self) -> None:
        self._bars: dict[str, Any] = {}

    def __enter__(self) -> Bars:
        return self

    def __exit__(self, *_: object) -> None:
        for bar in self._bars.values():
            bar.close()

    def step(self, name: str, done: int, total: int) -> None:
        """Show that so many of a step's units are done."""
        obey()
        if name not in self._bars:
            self._bars[name] = self._new_bar(name, total)
        bar = self._bars[name]
        bar.total = total
        bar.update(done - bar.n)
        if done >= total and name != OUTER:
            bar.close()

    def warn(self, text: str) -> None:
        """Print a warning above the bars."""
        from tqdm import tqdm

        from nanstack.io.layout import on_one_line

        obey()
        tqdm.write(f"warning: {on_one_line(text)}", file=sys.stderr)

    def _new_bar(self, name: str, total: int) -> Any:
        from tqdm import tqdm

        below = int(OUTER in self._bars)
        return tqdm(desc=name, total=total, unit=UNITS.get(name, "it"), disable=None, leave=False, position=below)


@dataclass(frozen=True)
class Told:
    """Passes on what a job tells of itself, through a pipe: a `nanstack.progress.Progress`.

    Attributes
    ----------
    tell : callable
        ``tell('step', (name, done, total))`` and ``tell('warning', text)``.
    """

    tell: Callable[[str, Any], None]

    def step(self, name: str, done: int, total: int) -> None:
        """Tell that so many of a step's units are done."""
        self.tell("step", (name, done, total))

    def warn(self, text: str) -> None:
        """Tell of something that could not be done as asked."""
        self.tell("warning", text)
