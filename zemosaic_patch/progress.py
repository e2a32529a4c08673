# SPDX-License-Identifier: GPL-3.0-or-later
"""How far a run is, as bars on the screen."""

from __future__ import annotations

import sys
from typing import Any

from zemosaic_patch.signals import obey

UNITS = {"surveying frames": "frame", "stacking": "cell"}


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
        if done >= total:
            bar.close()

    def warn(self, text: str) -> None:
        """Print a warning above the bars."""
        from tqdm import tqdm

        from nanstack.io.layout import on_one_line

        obey()
        tqdm.write(f"warning: {on_one_line(text)}", file=sys.stderr)

    def _new_bar(self, name: str, total: int) -> Any:
        from tqdm import tqdm

        return tqdm(desc=name, total=total, unit=UNITS.get(name, "it"), disable=None, leave=False)
