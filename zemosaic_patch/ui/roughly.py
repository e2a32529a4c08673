# SPDX-License-Identifier: GPL-3.0-or-later
"""The rough picture of the frames on the desk: made as they are looked at, and again of those that the owner wants."""

from __future__ import annotations

import shutil
import subprocess
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nanstack.io.files import complete_file, remove
from zemosaic_patch.ui.background import WAITED_FOR, end, started, told_by

NOTHING = {"rough": 0, "made_of": []}  # what cannot be made: another picture than what is wanted is not shown
AGAIN_S = 1.0  # after the last change: whoever goes through the frames takes out several


@dataclass(frozen=True)
class Wish:
    """What the owner decides of frames, by their numbers.

    Attributes
    ----------
    out, in_ : frozenset of int
        Those that are not wanted, and those that are though they would be left out.
    """

    out: frozenset[int] = frozenset()
    in_: frozenset[int] = frozenset()

    def unwanted_since(self, earlier: Wish) -> frozenset[int]:
        """Return the frames that are not wanted, and were by an earlier wish."""
        return (self.out - earlier.out) | (earlier.in_ - self.in_)


class RoughPicture:
    """A rough picture, which follows what the owner wants.

    Parameters
    ----------
    path : Path
        Where it is.
    command : callable
        Returns the command that looks at the frames, and makes the picture, as the owner wishes.
    tell : callable
        Called whenever something is new.

    Attributes
    ----------
    count : int
        How many frames it shows; -1 before there is one.
    number : int
        How often it was made.
    is_due : bool
        Whether it is about to be made again.
    """

    def __init__(self, path: Path, command: Callable[[Wish], Sequence[str]], tell: Callable[[], None]) -> None:
        self.path, self._command, self._tell = path, command, tell
        self.count, self.number, self.is_due = -1, 0, False
        self._made_of: frozenset[int] = frozenset()  # of many frames it shows some
        self._made_for = self._wish = Wish()
        self._follows = False
        self._to: Path | None = None
        self._timer: threading.Timer | None = None
        self._process: subprocess.Popen | None = None
        self._lock = threading.RLock()

    def hear(self, told: dict[str, Any]) -> None:
        """Take note of the picture that the command tells of."""
        with self._lock:
            self.count, self._made_of = int(told["rough"]), frozenset(told["made_of"])
            self.number += 1
        self._tell()

    def follow(self) -> None:
        """Follow what the owner wants from now on: all that is asked of the frames is known."""
        with self._lock:
            self._follows = True
            self._plan(0)

    def want(self, wish: Wish) -> None:
        """Show the frames of a wish, if it shows others, shortly after the last one."""
        with self._lock:
            if wish != self._wish:
                self._wish, self._to = wish, None
                self._plan(AGAIN_S)

    def copy(self, to: Path) -> None:
        """Put a copy somewhere; where it is due, that of the next one, too, which is then made at once."""
        with self._lock:
            self._copy(to)
            if self.is_due:
                self._to = to
                if self._process is None:
                    self._plan(0)

    def remove(self) -> None:
        """Make it no more, and remove it."""
        with self._lock:
            self._follows = False
            self._stop()
            remove(self.path)
            self.count, self.is_due = 0, False

    def _plan(self, seconds: float) -> None:
        """Have it made in so many seconds, if that changes it; one that is being made would show other frames."""
        self._stop()
        self.is_due = self._follows and self._is_another()
        if self.is_due:
            self._timer = threading.Timer(seconds, self._make, [self._wish])
            self._timer.daemon = True
            self._timer.start()
        self._tell()

    def _is_another(self) -> bool:
        lost, missing = self._wish.unwanted_since(self._made_for), self._made_for.unwanted_since(self._wish)
        return bool(missing or lost & self._made_of)

    def _stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if self._process is not None:
            end(self._process)
        self._timer = self._process = None

    def _make(self, wish: Wish) -> None:
        with self._lock:
            if wish != self._wish or not self.is_due:
                return
            try:
                process = started(self._command(wish), WAITED_FOR, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
            except OSError:  # more frames are not wanted than a command line has room for names
                self._is_made(wish, NOTHING)
                return
            self._process = process
        with process:
            made = [told for told in told_by(process) if "rough" in told]
        with self._lock:
            if self._process is process:  # else the owner wants others by now
                self._is_made(wish, made[-1] if made else NOTHING)

    def _is_made(self, wish: Wish, told: dict[str, Any]) -> None:
        self._process, self.is_due, self._made_for = None, False, wish
        self.hear(told)
        if self._to is not None:
            self._copy(self._to)

    def _copy(self, to: Path) -> None:
        if self.count > 0:
            with suppress(OSError), complete_file(to) as new:  # it is a help, and no run hangs on it
                shutil.copyfile(self.path, new)
