# SPDX-License-Identifier: GPL-3.0-or-later
"""Frame files that a mosaic was begun with, and that are gone: named where a run goes on, or cannot."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import astuple, dataclass
from pathlib import Path

from nanstack.io.files import complete_file
from nanstack.io.frames import short_names
from nanstack.io.layout import FrameError, read_layout
from nanstack.survey.selection import told
from zemosaic_patch.cautions import counted
from zemosaic_patch.mosaic_files import GIVEN, SURVEYS
from zemosaic_patch.report.json_file import read_json

LOST = "it is not there any more, and was when this mosaic was begun"


@dataclass(frozen=True)
class Given:
    """A file that a mosaic was begun with.

    Attributes
    ----------
    name : str
    stamp : str
        Its size and time of change, by which it is known again where it was renamed.
    """

    name: str
    stamp: str

    @classmethod
    def of(cls, path: Path) -> Given:
        """Return what is kept of a file."""
        try:
            known = path.stat()
        except OSError:  # reading says why
            return cls(path.name, "")
        return cls(path.name, f"{known.st_size} {known.st_mtime_ns}")


def lost_files(folder: Path, paths: Iterable[Path]) -> list[Given]:
    """Return the files that a mosaic in a folder was begun with, and that are none of those given now.

    Where they lie makes no difference: they may have been moved, or renamed.
    """
    then, paths = _kept(folder, "frames"), list(paths)
    there, known = Counter(path.name for path in paths), {one.name for one in then}
    renamed = {Given.of(path).stamp for path in paths if path.name not in known} if then else set()
    lost = []
    for one in then:
        if there[one.name]:
            there[one.name] -= 1
        elif one.stamp not in renamed:
            lost.append(one)
    return lost


def remember(folder: Path, paths: Iterable[Path], lost: Iterable[Given] = ()) -> None:
    """Keep which files a mosaic in a folder is made of, for when it is gone on with, and those that are missed yet."""
    frames = sorted({*map(Given.of, paths), *lost}, key=lambda one: (one.name, one.stamp))
    names = {one.name for one in frames}
    earlier = [one for one in _known(folder) if one.name not in names]
    told = {"frames": list(map(astuple, frames)), "earlier": list(map(astuple, earlier))}
    with suppress(OSError), complete_file(folder / SURVEYS / GIVEN) as new:  # then the next run misses none of them
        new.write_text(json.dumps(told), "ascii")


def still_there(wishes: Sequence[str], folder: Path, paths: Iterable[Path]) -> tuple[str, ...]:
    """Return the files that are named, to be left out say, without those that earlier runs had and that are gone."""
    gone = {one.name for one in _known(folder)}.difference(path.name for path in paths)
    return tuple(name for name in wishes if Path(name).name not in gone)


def _known(folder: Path) -> list[Given]:
    return [*_kept(folder, "frames"), *_kept(folder, "earlier")]


def _kept(folder: Path, what: str) -> list[Given]:
    """Return files of a list; of one that is damaged what is whole."""
    told = (read_json(folder / SURVEYS / GIVEN) or {}).get(what)
    pairs = (one for one in told if isinstance(one, list)) if isinstance(told, list) else ()
    return [Given(*one) for one in pairs if len(one) == 2 and all(isinstance(part, str) for part in one)]


def reasons_of(lost: Iterable[Given]) -> dict[str, str]:
    """Return why files that are gone are left out, by their names."""
    return {one.name: LOST for one in sorted(lost, key=lambda one: one.name)}


def unreadable(failure: FrameError, paths: Iterable[Path]) -> str:
    """Return which frames cannot be read any more, and why: the one that failed, and all others that are gone, too."""
    reasons = {failure.path: failure.reason}
    for path in paths:
        try:
            read_layout(path)
        except FrameError as error:
            reasons[path] = error.reason
    names = short_names(reasons)
    why = "; ".join(told({names[path]: reasons[path] for path in sorted(reasons)}, are_out=False))
    return f"{counted(len(reasons), 'frame')} cannot be read any more ({why})"
