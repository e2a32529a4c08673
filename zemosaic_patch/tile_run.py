# SPDX-License-Identifier: GPL-3.0-or-later
"""Frame files to a tile: what the command `tile` does, and a worker process of a mosaic.

What can be wrong with files and options ends in UsageError or FailureError, whose message is for the user.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

from nanstack.io.finding import FoundFiles, find_frame_files
from nanstack.io.frames import FrameError, short_names
from nanstack.io.layout import on_one_line
from nanstack.progress import Progress, Quiet
from nanstack.register.reference import best_reference
from nanstack.register.registered import RegisteredFrame
from nanstack.session import open_session
from nanstack.settings import TileSettings
from nanstack.survey.selection import told
from nanstack.tile import Tile, tile_of_registered, with_left_out
from zemosaic_patch.errors import FailureError, UsageError
from zemosaic_patch.outputs import is_output_folder

SAME_SCALE = 0.05  # frames of a tile have one scale, within this: a coarser one would blur it
APART = 0.5  # of a frame's shorter side: what lies farther from the reference makes a mosaic rather than a tile


def tile_of_files(
    paths: Sequence[Path],
    settings: TileSettings,
    reference: str | None = None,
    progress: Progress | None = None,
) -> Tile:
    """Make a tile of frame files; those that cannot be used are named and left out.

    Parameters
    ----------
    paths : sequence of Path
    settings : TileSettings
    reference : str, optional
        The frame whose pixels the tile has; by default the most central one.
    progress : nanstack.progress.Progress, optional

    Raises
    ------
    UsageError
        A reference that is none of the files.
    FailureError
        Nothing to stack.
    """
    progress = progress or Quiet()
    wanted = None if reference is None else _among(paths, reference)
    session = open_session(paths, progress=progress)
    frames, left_out = session.frames, dict(session.left_out)
    if wanted in left_out:
        tell_left_out(left_out, frames, progress)
        raise FailureError(f"{wanted.name} cannot be the reference: {left_out[wanted]}")
    if not frames:
        tell_left_out(left_out, frames, progress)
        raise FailureError(f"no usable frame in {counted(len(left_out), 'file')}: see above")
    chosen = _reference_of(frames, wanted)
    frames = _of_one_scale(frames, chosen, left_out)
    tell_left_out(left_out, frames, progress)
    if len(frames) == 1:
        progress.warn(f"{chosen.path.name} is the only frame: the tile is this frame, unchanged")
    _warn_of_pointings(frames, chosen, settings, progress)
    names = short_names([frame.path for frame in frames] + list(left_out))
    try:
        tile = tile_of_registered(
            frames, frames.index(chosen), settings, names=[names[frame.path] for frame in frames], progress=progress
        )
    except ValueError as error:
        raise FailureError(str(error)) from error
    if not session.knows_its_place:
        tile = replace(tile, wcs=None)
    return with_left_out(tile, named_reasons(left_out, frames))


def find_frames(names: Sequence[str | Path], flat: bool = False, joins_tiles: bool = False) -> FoundFiles:
    """Return the frame files that names stand for, as `nanstack.io.finding.find_frame_files`; else raise UsageError.

    Folders of outputs are passed over; where tiles are to be joined, those of mosaics alone. A name that was given
    alone is named as it was given.
    """
    results = ("mosaic.fits",) if joins_tiles else ("mosaic.fits", "tile.fits")
    is_output = partial(is_output_folder, results=results)
    try:
        return find_frame_files(names, flat, is_output)
    except FrameError as error:
        raise UsageError(on_one_line(f"{names[0] if len(names) == 1 else error.path}: {error.reason}")) from error


def _among(paths: Sequence[Path], reference: str) -> Path:
    """Return the frame that the reference names."""
    wanted = Path(reference)
    for path in paths:
        if path == wanted or path.name == reference or path.resolve() == wanted.resolve():
            return path
    raise UsageError(f"--reference {reference} is not among the {len(paths)} frames given")


def _reference_of(frames: Sequence[RegisteredFrame], wanted: Path | None) -> RegisteredFrame:
    if wanted is None:
        return frames[best_reference(frames)]
    return next(frame for frame in frames if frame.path == wanted)


def _of_one_scale(
    frames: Sequence[RegisteredFrame], reference: RegisteredFrame, left_out: dict[Path, str]
) -> list[RegisteredFrame]:
    """Keep the frames of the reference's scale."""
    kept = []
    for frame in frames:
        if abs(math.log(frame.scale / reference.scale)) <= SAME_SCALE:
            kept.append(frame)
        else:
            own, others = (math.degrees(one.scale) * 3600 for one in (frame, reference))
            left_out[frame.path] = f'its scale is {own:.2f}"/px, and the reference\'s {others:.2f}"/px'
    return kept


def _warn_of_pointings(
    frames: Sequence[RegisteredFrame], reference: RegisteredFrame, settings: TileSettings, progress: Progress
) -> None:
    """Say where much of the sky will be missing, or how to see all of it."""
    reach = APART * reference.scale * min(reference.shape[:2])
    away = [np.linalg.norm(frame.pointing - reference.pointing) for frame in frames]
    far = sum(distance > reach for distance in away)
    if far and settings.canvas == "reference":
        progress.warn(
            f"{counted(far, 'frame')} of {len(frames)} point elsewhere than the reference, whose edges the tile has: "
            "--canvas all shows all of the sky, and the command mosaic makes a mosaic of several pointings"
        )


def tell_left_out(left_out: dict[Path, str], frames: Sequence[RegisteredFrame], progress: Progress) -> None:
    """Say which files are left out, and why, many alike in one line."""
    for line in told(named_reasons(left_out, frames)):
        progress.warn(line)


def named_reasons(reasons: dict[Path, str], others: Sequence[RegisteredFrame]) -> dict[str, str]:
    """Return the reasons for files by their names, which tell them, and the other frames, apart."""
    names = short_names([*reasons, *(frame.path for frame in others)])
    return {names[path]: reason for path, reason in reasons.items()}


def counted(number: int, noun: str) -> str:
    """Return a number with its noun: '1 file', '2 files'."""
    return f"{number} {noun}{'' if number == 1 else 's'}"
