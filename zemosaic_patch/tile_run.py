# SPDX-License-Identifier: GPL-3.0-or-later
"""Frame files to a tile: what the command `tile` does, and a worker process of a mosaic.

What can be wrong with files and options ends in UsageError or FailureError, whose message is for the user.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from nanstack.io.finding import find_frame_files
from nanstack.io.frames import FrameError, FrameFile, probe_frame, short_names
from nanstack.io.layout import on_one_line, read_layout
from nanstack.progress import Progress, Quiet
from nanstack.register.reference import most_central
from nanstack.settings import TileSettings
from nanstack.survey.facts import facts_of
from nanstack.survey.taken import taken_of_frames
from nanstack.tile import Tile, make_tile
from zemosaic_patch.errors import FailureError, UsageError
from zemosaic_patch.outputs import is_output_folder


def tile_of_files(
    names: Sequence[str | Path],
    settings: TileSettings,
    reference: str | None = None,
    progress: Progress | None = None,
) -> Tile:
    """Make a tile of frame files, read as they are needed; those that cannot be used are named and left out.

    Parameters
    ----------
    names : sequence of str or Path
        Files, folders and glob patterns.
    settings : TileSettings
    reference : str, optional
        The frame to align on; by default the most central one.
    progress : nanstack.progress.Progress, optional

    Raises
    ------
    UsageError
        No frames there, or a reference that is none of them.
    FailureError
        Nothing to stack.
    """
    progress = progress or Quiet()
    paths = find_frames(names)
    wanted = None if reference is None else _among(paths, reference)
    frames, unusable = probe_frames(paths, progress.warn)
    return tile_of_frames(frames, settings, unusable, wanted, progress)


def find_frames(names: Sequence[str | Path], joins_tiles: bool = False) -> list[Path]:
    """Return the frame files that names stand for, as `nanstack.io.finding.find_frame_files`; else raise UsageError.

    Folders of outputs are passed over, unless tiles are to be joined. A name that was given alone is named as it was
    given.
    """
    is_output = (lambda folder: False) if joins_tiles else is_output_folder
    try:
        return list(find_frame_files(names, is_output=is_output).paths)
    except FrameError as error:
        raise UsageError(on_one_line(f"{names[0] if len(names) == 1 else error.path}: {error.reason}")) from error


def tile_of_frames(
    frames: Sequence[FrameFile],
    settings: TileSettings,
    unusable: dict[Path, str] | None = None,
    wanted: Path | None = None,
    progress: Progress | None = None,
) -> Tile:
    """Make a tile of frames whose headers were read, as `tile_of_files` does.

    Parameters
    ----------
    frames : sequence of FrameFile
    settings : TileSettings
    unusable : dict, optional
        Further files: why they cannot be used.
    wanted : Path, optional
        The frame to align on.
    progress : nanstack.progress.Progress, optional
    """
    progress = progress or Quiet()
    frames, unusable = list(frames), dict(unusable or {})
    chosen, data = _load_reference(frames, unusable, wanted, progress.warn)
    if len(frames) == 1:
        progress.warn(f"{frames[0].path.name} is the only frame: the tile is this frame, unchanged")
    sources: list[Any] = list(frames)
    sources[chosen] = data
    names = short_names([frame.path for frame in frames] + list(unusable))
    tile = make_tile(
        sources,
        chosen,
        settings,
        wcs=[frame.wcs for frame in frames],
        names=[names[frame.path] for frame in frames],
        progress=progress,
    )
    report = replace(
        tile.report,
        frames_given=tile.report.frames_given + len(unusable),
        frames_failed={**tile.report.frames_failed, **named_reasons(unusable, frames)},
    )
    if len(frames) > 1 and report.frames_aligned == 1:
        name, reason = next(iter(report.frames_failed.items()))
        raise FailureError(f"no frame could be aligned on {frames[chosen].path.name}; {name}: {reason}")
    stacked = [frames[alignment.index] for alignment in tile.alignments if alignment.ok]
    taken = taken_of_frames([facts_of(read_layout(frame.path)) for frame in stacked])
    return replace(tile, report=report, taken=taken)


def _among(paths: Sequence[Path], reference: str) -> Path:
    """Return the frame that the reference names."""
    wanted = Path(reference)
    for path in paths:
        if path == wanted or path.name == reference or path.resolve() == wanted.resolve():
            return path
    raise UsageError(f"--reference {reference} is not among the {len(paths)} frames given")


def probe_frames(paths: Iterable[Path], warn: Callable[[str], None]) -> tuple[list[FrameFile], dict[Path, str]]:
    """Return the frames whose headers make sense, and the reasons why the others' do not."""
    frames, unusable = [], {}
    for path in paths:
        try:
            frames.append(probe_frame(path))
        except FrameError as error:
            _leave_out(error, unusable, warn)
    return frames, unusable


def _leave_out(error: FrameError, unusable: dict[Path, str], warn: Callable[[str], None]) -> None:
    warn(f"{error}; left out")
    unusable[Path(error.path)] = error.reason


def named_reasons(reasons: dict[Path, str], others: Sequence[FrameFile]) -> dict[str, str]:
    """Return the reasons for files by their names, which tell them, and the other frames, apart."""
    names = short_names([*reasons, *(frame.path for frame in others)])
    return {names[path]: reason for path, reason in reasons.items()}


def _load_reference(
    frames: list[FrameFile], unusable: dict[Path, str], wanted: Path | None, warn: Callable[[str], None]
) -> tuple[int, np.ndarray]:
    """Return the reference's place and samples; a frame that cannot be one is left out, unless it was asked for."""
    if wanted in unusable:
        raise FailureError(f"{wanted.name} cannot be the reference: {unusable[wanted]}")
    while frames:
        index = _reference_index(frames, wanted)
        path = frames[index].path
        try:
            data = frames[index]()
            if not np.isfinite(data).any():
                raise FrameError(path, "it holds no finite sample")
        except FrameError as error:
            if wanted is not None:
                raise FailureError(f"{path.name} cannot be the reference: {error.reason}") from error
            _leave_out(error, unusable, warn)
            del frames[index]
        else:
            return index, data
    raise FailureError(f"no usable frame in {counted(len(unusable), 'file')}: see above")


def counted(number: int, noun: str) -> str:
    """Return a number with its noun: '1 file', '2 files'."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _reference_index(frames: Sequence[FrameFile], wanted: Path | None) -> int:
    """Return the frame asked for; else, among those of the commonest shape, the most central or the middle one."""
    if wanted is not None:
        return next(index for index, frame in enumerate(frames) if frame.path == wanted)
    shape = Counter(frame.shape for frame in frames).most_common(1)[0][0]
    candidates = [index for index, frame in enumerate(frames) if frame.shape == shape]
    central = most_central([frames[index].pointing for index in candidates])
    return candidates[len(candidates) // 2 if central is None else central]
