# SPDX-License-Identifier: GPL-3.0-or-later
"""The frame files that a run is given, and what of them its owner decides."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from nanstack.io.finding import FoundFiles, find_frame_files
from nanstack.io.frames import FrameError, short_names
from zemosaic_patch.errors import UsageError
from zemosaic_patch.fetched import local_name
from zemosaic_patch.outputs import is_ours, is_output_folder

UNWANTED = "it is not wanted (--leave-out)"


def find_frames(
    names: Sequence[str | Path], output: Path | None, flat: bool = False, joins_tiles: bool = False
) -> FoundFiles:
    """Return the frame files that names stand for, as `nanstack.io.finding.find_frame_files`; else raise UsageError.

    Folders of outputs are passed over; where tiles are to be joined, those of mosaics alone. So is the result of an
    earlier run in the output's folder, which is replaced. A name that was given alone is named as it was given.
    """
    results = ("mosaic.fits",) if joins_tiles else ("mosaic.fits", "tile.fits", "comet.fits", "merged.fits")
    is_output = partial(is_output_folder, results=results)
    names = [local_name(str(name)) for name in names]
    try:
        return find_frame_files(
            names,
            flat,
            is_output,
            lambda file: file.name in results and _lies_in(output, file) and is_ours(file),
        )
    except FrameError as error:
        raise UsageError(f"{names[0] if len(names) == 1 else error.path}: {error.reason}") from error


@dataclass(frozen=True)
class Wishes:
    """What of files the owner decides.

    Attributes
    ----------
    out : frozenset of Path
        Those that are not to be stacked.
    in_ : frozenset of Path
        Those that are to be, whatever speaks against them, if stars place them.
    """

    out: frozenset[Path] = frozenset()
    in_: frozenset[Path] = frozenset()

    @classmethod
    def of(cls, paths: Sequence[Path], leave_out: Sequence[str], take_in: Sequence[str]) -> Wishes:
        """Return what options wish of files.

        Raises
        ------
        UsageError
            For a name of none of them, one that is named by both, or where all would be left out.
        """
        out, in_ = named_among(paths, leave_out), named_among(paths, take_in, are_out=False)
        if paths and len(out) == len(set(paths)):
            raise UsageError("--leave-out names all of the frames: leave some in")
        if out & in_:
            raise UsageError(f"--leave-out and --take-in both name {min(out & in_)}: name it by one of them")
        return cls(frozenset(out), frozenset(in_))


def named_among(paths: Sequence[Path], names: Sequence[str], are_out: bool = True) -> set[Path]:
    """Return the files that names stand for, of frames that are to be left out or else taken in.

    These are paths, their last part, which may be that of several, or what a report calls them.

    Raises
    ------
    UsageError
        For a name of none of them.
    """
    if not names:
        return set()
    known: dict[str, set[Path]] = {}
    for path, called in short_names(paths).items():
        for word in {path.name, called, os.path.realpath(path)}:
            known.setdefault(word, set()).add(path)
    named: set[Path] = set()
    for name in names:
        found = known.get(name, set()) | known.get(os.path.realpath(name), set())
        if not found:
            raise UsageError(
                f"{'--leave-out' if are_out else '--take-in'} {name} is not among the {len(paths)} frames given: name "
                "one of them"
            )
        named |= found
    return named


def _lies_in(folder: Path | None, file: Path) -> bool:
    return folder is not None and folder.exists() and folder.samefile(file.parent)
