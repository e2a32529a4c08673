# SPDX-License-Identifier: GPL-3.0-or-later
"""How far a run is: as bars on the screen, in plain lines where there is none, or as JSON."""

from __future__ import annotations

import json
import logging
import sys
import time
from typing import Any

from zemosaic_patch.signals import obey

BARS = "bars"
EACH_S = 20.0  # so often a plain line tells how far a run is
UNITS = {"surveying frames": "frame", "stacking": "cell", "onto the sky's grid": "tile", "drawing its tiles": "tile"}


def shown(how: str = BARS) -> Bars | Lines | NowAndThen:
    """Return what shows how far a run is: see `zemosaic_patch.options.declared.PROGRESSES`; bars on a screen alone."""
    if how != BARS:
        return Lines()
    return Bars() if sys.stderr is not None and sys.stderr.isatty() else NowAndThen()


class Lines:
    """Tells steps and warnings as JSON, a line each, to standard error: a `nanstack.progress.Progress` for programs.

    A line has `seconds` since the beginning, and `step`, `done`, `total`, or `warning`, or `note`: what is logged
    meanwhile, such as that functions are compiled.
    """

    def __init__(self) -> None:
        self._began = time.monotonic()
        self._handlers: list[logging.Handler] = []

    def __enter__(self) -> Lines:
        self._handlers, logging.root.handlers = logging.root.handlers, [_Noted(self)]
        return self

    def __exit__(self, *_: object) -> None:
        logging.root.handlers = self._handlers

    def step(self, name: str, done: int, total: int) -> None:
        """Tell that so many of a step's units are done."""
        self._tell(step=name, done=done, total=total)

    def warn(self, text: str) -> None:
        """Tell a warning."""
        from nanstack.io.one_line import on_one_line

        self._tell(warning=on_one_line(text))

    def note(self, text: str) -> None:
        """Tell what is logged."""
        self._tell(note=text)

    def _tell(self, **what: Any) -> None:
        obey()
        line = json.dumps({"seconds": round(time.monotonic() - self._began, 2), **what})
        sys.stderr.write(f"{line}\n")
        sys.stderr.flush()


class _Noted(logging.Handler):
    def __init__(self, lines: Lines) -> None:
        super().__init__()
        self._lines = lines

    def emit(self, record: logging.LogRecord) -> None:
        self._lines.note(self.format(record))


class NowAndThen:
    """Tells of steps that take long, a line now and then and one at the end, and warnings: a `Progress` for logs."""

    def __init__(self) -> None:
        self._told, self._open = time.monotonic(), ""  # when the last line was told; of which step, if that goes on

    def __enter__(self) -> NowAndThen:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def step(self, name: str, done: int, total: int) -> None:
        """Tell that so many of a step's units are done, if nothing was told for a while, or this was begun to be."""
        obey()
        is_over = done >= total
        if time.monotonic() - self._told >= EACH_S or (is_over and name == self._open):
            self._say(f"{name}: {done} of {total}")
            self._told, self._open = time.monotonic(), "" if is_over else name

    def warn(self, text: str) -> None:
        """Print a warning."""
        from nanstack.io.one_line import on_one_line

        obey()
        self._say(f"warning: {on_one_line(text)}")

    def _say(self, line: str) -> None:
        print(line, file=sys.stderr, flush=True)


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

        from nanstack.io.one_line import on_one_line

        obey()
        tqdm.write(f"warning: {on_one_line(text)}", file=sys.stderr)

    def _new_bar(self, name: str, total: int) -> Any:
        from tqdm import tqdm

        return tqdm(desc=name, total=total, unit=UNITS.get(name, "it"), disable=None, leave=False)
