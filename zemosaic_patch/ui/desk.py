# SPDX-License-Identifier: GPL-3.0-or-later
"""What lies on the owner's desk: the frames that were chosen, what is known of them, and what is to be made of them.

There is one, which all tabs show. Frames are looked at by the command `look`, in a process of its own.
"""

from __future__ import annotations

import os
import secrets
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nanstack.io.frames import short_names
from nanstack.io.one_line import on_one_line
from zemosaic_patch.errors import UsageError
from zemosaic_patch.given import find_frames
from zemosaic_patch.look_run import LookedAt, nights
from zemosaic_patch.own_command import own_command
from zemosaic_patch.ui import state
from zemosaic_patch.ui.background import WAITED_FOR, started, told_by
from zemosaic_patch.ui.roughly import RoughPicture, Wish

SURVEYS = "surveys"
OF_FRAMES = ("comet", "comet_in", "comet_merged", "reference")  # options that say something of certain frames
KEPT_S = 60 * 86_400  # of what is known of frames, some 13 KB each


def surveys() -> Path:
    """Return the folder that keeps what is known of frames."""
    return state.folder() / SURVEYS


def forget_old() -> None:
    """Remove what is known of frames and was not asked for in a long time."""
    oldest = time.time() - KEPT_S
    for path in (*surveys().glob("*.npz"), *surveys().glob("rough_*.png")):
        with suppress(OSError):  # another window removes it, too
            if path.stat().st_mtime < oldest:
                path.unlink()


class Looking:
    """A look at frames, which goes on until all of them are known.

    Parameters
    ----------
    places : sequence of str
        Folders, or files.

    Attributes
    ----------
    key : str
        Tells it from others.
    paths : list of Path
        The files that were found.
    passed : list of str
        What lies there besides, a line each.
    seen : dict of int to LookedAt
    left_out : dict of int to str
        Why; once all are known.
    can_be_taken_in : set of int
        Those of them that the owner may have in all the same.
    rough : RoughPicture
        Of what they show.
    failure : str
        Why nothing, or not all, could be looked at.
    is_over : bool
    version : int
        Grows whenever something new is known.
    """

    def __init__(self, places: Sequence[str]) -> None:
        self.places = tuple(places)
        self.key = secrets.token_hex(4)
        self.paths: list[Path] = []
        self.passed: list[str] = []
        self.names: list[str] = []
        self.seen: dict[int, LookedAt] = {}
        self.left_out: dict[int, str] = {}
        self.can_be_taken_in: set[int] = set()
        self.rough = RoughPicture(surveys() / f"rough_{self.key}.png", self._command, self._is_new)
        self._rough_to: Path | None = None
        self.failure = ""
        self.is_over = self._is_ended = False
        self.version = 0
        state.own_folder(surveys())
        threading.Thread(target=self._find, daemon=True).start()
        self._process = started(self._command(Wish()), WAITED_FOR, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        threading.Thread(target=self._listen, daemon=True).start()

    def end(self, rough_to: Path | None = None) -> None:
        """Look no further; where the rough picture is to go somewhere, make it first, if there is none yet."""
        self._is_ended, self._rough_to = True, rough_to
        if rough_to is None or self.rough.count >= 0 or self.is_over:
            self._leave()

    def _leave(self) -> None:
        self._process.terminate()
        if self._rough_to is None:  # these frames are looked at no more
            self.rough.remove()
        else:
            self.rough.copy(self._rough_to)

    def _command(self, wish: Wish) -> list[str]:
        """Return the command that looks at the frames, and makes a rough picture of those that are wanted."""
        called = short_names(self.paths)  # shorter than their places: a command line holds so much
        wishes = [
            f"--{word}={called[self.paths[number]]}"
            for word, numbers in (("leave-out", wish.out), ("take-in", wish.in_))
            for number in sorted(numbers)
            if os.path.lexists(self.paths[number])
        ]
        words = *map(os.path.abspath, self.places), "--json", f"--keep={surveys()}", f"--rough={self.rough.path}"
        return own_command("look", *words, *wishes)

    def _is_new(self) -> None:
        self.version += 1

    def _find(self) -> None:
        """Find the files at once, as that other process does a moment later: they can be shown before it has begun."""
        try:
            found = find_frames(self.places, None)
        except UsageError:  # the other one says so
            return
        self._are_there(list(found.paths), found.lines())

    def _listen(self) -> None:
        with self._process:
            errors: list[bytes] = []
            reading = threading.Thread(target=lambda: errors.append(self._process.stderr.read()), daemon=True)
            reading.start()
            for told in told_by(self._process):
                self._hear(told)
            reading.join()
        if self._process.returncode and not self._is_ended:
            last = b"".join(errors).decode(errors="replace").strip().splitlines()[-1:]
            self.failure = last[0].removeprefix("zemosaic-patch: ") if last else ""
        self.is_over = True
        self._is_new()
        if not self._process.returncode and not self._is_ended:
            self.rough.follow()

    def _hear(self, told: dict[str, Any]) -> None:
        if "files" in told:
            self._are_there([Path(path) for path in told["files"]], told["passed"])
        elif "rough" in told:
            self.rough.hear(told)
            if self._rough_to is not None:
                self._leave()
        elif "left_out" in told:
            self.left_out = {int(number): str(reason) for number, reason in told["left_out"].items()}
            self.can_be_taken_in = set(told["can_be_taken_in"])
        else:
            one = LookedAt(**told)
            self.seen[one.number] = one
        self._is_new()

    def _are_there(self, paths: list[Path], passed: list[str]) -> None:
        names = short_names(paths)
        self.names, self.passed, self.paths = [on_one_line(names[path]) for path in paths], passed, paths
        self._is_new()


@dataclass(frozen=True)
class Contents:
    """What frames are, all in all.

    Attributes
    ----------
    found, known, used : int
        Files that were found; of which it is known what they are; that would be stacked.
    nights : list of (str, int, str)
        The night, frames, and how long each was exposed.
    targets : list of str
        The commonest first.
    left_out : list of (str, list of str)
        A reason, and the files that it is of.
    """

    found: int
    known: int
    used: int
    nights: list[tuple[str, int, str]]
    targets: list[str]
    left_out: list[tuple[str, list[str]]]


@dataclass
class Desk:
    """What lies there.

    Attributes
    ----------
    looking : Looking or None
    taken_out, taken_in : set of int
        Frames that the owner does not want; those that the owner does, though they would be left out.
    changed : dict of str to object
        Options that are not as usual, by their names.
    output : str
        The folder that the mosaic goes to, where the owner named one.
    own_version : int
        Grows whenever the owner changes something.
    """

    looking: Looking | None = None
    taken_out: set[int] = field(default_factory=set)
    taken_in: set[int] = field(default_factory=set)
    changed: dict[str, Any] = field(default_factory=dict)
    output: str = ""
    own_version: int = 0

    @property
    def version(self) -> int:
        """Grows whenever something changes."""
        return self.own_version + (self.looking.version if self.looking else 0)

    def choose(self, places: Sequence[str]) -> None:
        """Put other frames on the desk, or none. What was chosen about the mosaic stays, but for what is of frames."""
        before = self.looking.places if self.looking is not None else ()
        if not set(before) <= set(places):
            self.changed = {name: value for name, value in self.changed.items() if name not in OF_FRAMES}
        if self.looking is not None:
            self.looking.end()
            self.own_version += self.looking.version
        self.looking = Looking(places) if places else None
        self.taken_out, self.taken_in, self.output = set(), set(), ""
        self.own_version += 1

    def take(self, number: int, out: bool) -> None:
        """Take a frame out, or put it back; take one in that would be left out, or leave it out again."""
        if self.looking is None or not 0 <= number < len(self.looking.paths):
            return
        if not self.why_not(number):
            (self.taken_out.add if out else self.taken_out.discard)(number)
        elif number in self.looking.can_be_taken_in:
            (self.taken_in.discard if out else self.taken_in.add)(number)
        self.looking.rough.want(Wish(frozenset(self.taken_out), frozenset(self.taken_in)))
        self.own_version += 1

    def is_used(self, number: int) -> bool:
        """Tell whether a frame is to be stacked."""
        return number in self.taken_in if self.why_not(number) else number not in self.taken_out

    def choose_options(self, changed: dict[str, Any]) -> None:
        """Choose the options that are not as usual."""
        if changed != self.changed:
            self.changed = changed
            self.own_version += 1

    def name_output(self, folder: str | None) -> None:
        """Name the folder that the mosaic goes to; nothing: the usual one."""
        if (folder or "") != self.output:
            self.output = folder or ""
            self.own_version += 1

    def why_not(self, number: int) -> str:
        """Return why the program would leave a frame out; empty where it would not."""
        looking = self.looking
        if looking.is_over:
            return looking.left_out.get(number, "")
        return looking.seen[number].unusable if number in looking.seen else ""

    def contents(self) -> Contents:
        """Return what the frames are, as far as that is known."""
        looking = self.looking
        seen = dict(looking.seen)
        used = [one for number, one in seen.items() if self.is_used(number)]
        of_night = nights(one.date for one in used)
        by_night: dict[str, list[LookedAt]] = {}
        for one in used:
            by_night.setdefault(of_night.get(one.date, ""), []).append(one)
        left_out: dict[str, list[str]] = {}
        for number in sorted(seen):
            reason = self.why_not(number)
            if reason and number not in self.taken_in:
                left_out.setdefault(reason, []).append(looking.names[number])
        return Contents(
            len(looking.paths),
            len(seen),
            len(used),
            [(night, len(some), _exposures(some)) for night, some in sorted(by_night.items())],
            [target for target, _ in Counter(one.target for one in used if one.target).most_common()],
            sorted(left_out.items(), key=lambda item: -len(item[1])),
        )


def _exposures(seen: Sequence[LookedAt]) -> str:
    return ", ".join(f"{one:g} s" for one in sorted({one.exposure for one in seen if one.exposure is not None}))


desk = Desk()  # of this process, which serves one owner
