# SPDX-License-Identifier: GPL-3.0-or-later
"""Master tiles, ours or ZeMosaic's, joined to one mosaic: what `mosaic --existing-tiles` does."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from nanstack.io.cards import card_value
from nanstack.io.frames import FrameError, FrameFile, probe_frame, short_names
from nanstack.io.layout import read_layout
from nanstack.levels.sky import Background
from nanstack.mosaic import Mosaic, MosaicTile, corners, make_mosaic
from nanstack.progress import Noting, Progress
from nanstack.settings import JoinSettings
from nanstack.survey.selection import alike_together, told
from nanstack.survey.taken import taken_of_tile, taken_together
from zemosaic_patch import installed_version
from zemosaic_patch.arguments import given
from zemosaic_patch.cautions import counted
from zemosaic_patch.errors import FailureError
from zemosaic_patch.mosaic_files import MOSAIC, describe, name_inside, prepare, save_mosaic
from zemosaic_patch.options.mosaic import JoinOptions, OutputOptions
from zemosaic_patch.options.runs import MosaicOutput
from zemosaic_patch.outputs import Recording
from zemosaic_patch.report.joined import JoinedTile, Levelling, MosaicImage, MosaicReport
from zemosaic_patch.tile_files import agreed_cards, frames_in, is_mosaic, read_tile, tile_name

REJECTION, MATCHING = "NPA_REJ", "NPA_SKYM"  # cards that say how the tiles were made


@dataclass(frozen=True)
class _Made:
    """A tile that is there: its name, its file, the number of its frames where that is known."""

    name: str
    file: FrameFile
    frames: int | None


def mosaic_of_tiles(
    paths: Sequence[Path], settings: JoinSettings, output: MosaicOutput, folder: Path, progress: Progress
) -> MosaicReport:
    """Make a mosaic of master tiles; what cannot be used is named and left out.

    Parameters
    ----------
    paths : sequence of Path
    settings : JoinSettings
    output : MosaicOutput
    folder : Path
        Gets `zemosaic_patch.mosaic_files.OUTPUTS`.
    progress : nanstack.progress.Progress

    Returns
    -------
    MosaicReport
        As in `mosaic.json`.

    Raises
    ------
    UsageError
        A file in the way that is no earlier run's.
    FailureError
        Nothing to join.
    """
    progress = Noting.of(progress)
    prepare(folder, output.picture, paths)
    frames, left_out = _probed(paths, progress)
    reasons = _unfit(frames)
    for line in told({tile_name(path): reason for path, reason in reasons.items()}):
        progress.say(line)
    left_out.update(reasons)
    kept = [frame for frame in frames if frame.path not in reasons]
    made = [_Made(tile_name(frame.path), frame, frames_in(frame.path)) for frame in kept]
    if not made:
        raise FailureError(f"no tile can be joined: {counted(len(left_out), 'file')} left out, see above")
    began = time.perf_counter()
    sources = [MosaicTile(tile.name, tile.file.shape, tile.file.wcs, partial(_samples_of, tile)) for tile in made]
    try:
        mosaic = make_mosaic(sources, settings, progress=progress)
    except ValueError as error:
        raise FailureError(str(error)) from error
    progress.step("writing", 0, 1)
    cards = _cards(mosaic, made, settings, agreed_cards([tile.file.path for tile in made], (REJECTION, MATCHING)))
    pictures = save_mosaic(mosaic, folder, cards, output.picture, output.format == "fz")
    progress.step("writing", 1, 1)
    names = short_names([*left_out, *(frame.path for frame in frames)])
    report = MosaicReport(
        tiles=tuple(
            _joined(tile, background, mosaic, folder) for tile, background in zip(made, mosaic.backgrounds, strict=True)
        ),
        mosaic=MosaicImage(
            file=MOSAIC,
            **pictures,
            shape=mosaic.image.shape,
            coverage_max=int(mosaic.coverage.max()),
            background=Levelling(settings.match, len(mosaic.overlaps)),
        ),
        settings={
            **given([JoinOptions.of(settings), OutputOptions.of(output)]),
            "interpolation": settings.interpolation,
        },
        seconds={"mosaic": round(time.perf_counter() - began, 3)},
        left_out={names[path]: reason for path, reason in left_out.items()},
        warnings=tuple(alike_together(progress.warnings)),
    )
    with Recording(folder) as recording:
        describe(report.json(), recording)
    return report


def _probed(paths: Sequence[Path], progress: Noting) -> tuple[list[FrameFile], dict[Path, str]]:
    """Return the tiles whose headers make sense, and the reasons why the others' do not."""
    tiles, unusable = [], {}
    for done, path in enumerate(paths, start=1):
        try:
            tiles.append(probe_frame(path))
        except FrameError as error:
            progress.say(f"{error}; left out")
            unusable[path] = error.reason
        progress.step("reading headers", done, len(paths))
    return tiles, unusable


def _unfit(frames: Sequence[FrameFile]) -> dict[Path, str]:
    """Return which files are no tiles, have no WCS, or other channels than most; of mosaics and tiles, the mosaics."""
    joined = [is_mosaic(frame.path) for frame in frames]
    colour = sum(len(frame.shape) == 3 for frame in frames)
    axes = 3 if 2 * colour >= len(frames) else 2
    reasons = {}
    for frame, is_joined in zip(frames, joined, strict=True):
        if is_joined and not all(joined):
            reasons[frame.path] = "it is a mosaic, and there are tiles"
        elif frame.pattern:
            reasons[frame.path] = "it is a raw frame, and no tile: frames are stacked without --existing-tiles"
        elif frame.wcs is None:
            reasons[frame.path] = "it has no WCS, and nobody knows where it lies: make the mosaic of its frames"
        elif len(frame.shape) != axes:
            reasons[frame.path] = f"its shape is {frame.shape}, and most tiles are {'colour' if axes == 3 else 'mono'}"
    return reasons


def _samples_of(tile: _Made) -> tuple[np.ndarray, np.ndarray | None]:
    try:
        return read_tile(tile.file.path, tile.frames)
    except FrameError as error:  # which calls all of ours tile.fits
        raise ValueError(f"{tile.name}: {error.reason}") from error


def _joined(tile: _Made, background: Background, mosaic: Mosaic, folder: Path) -> JoinedTile:
    """Return a tile's part of the report; its corners are those in the picture, whose first row is the north."""
    x, y = corners(mosaic.wcs, tile.file.shape, tile.file.wcs)
    height = mosaic.image.shape[0]
    return JoinedTile(
        name=tile.name,
        file=name_inside(tile.file.path, folder),
        corners=tuple(map(tuple, np.round(np.column_stack([x + 0.5, height - 0.5 - y]), 2).tolist())),
        background_adu=tuple(np.round(background.at(x.mean(), y.mean()), 3).tolist()),
        frames=tile.frames,
    )


def _cards(mosaic: Mosaic, made: Sequence[_Made], settings: JoinSettings, made_by: Mapping[str, str]) -> Any:
    """Return the cards that say where the mosaic comes from."""
    from astropy.io import fits

    cards = fits.Header()
    cards["CREATOR"] = (f"zemosaic-patch {installed_version()}", "software that made this mosaic")
    cards["BUNIT"] = "adu"
    cards.update(taken_together([taken_of_tile(read_layout(tile.file.path)) for tile in made]).cards())
    cards["NPA_TILE"] = (len(made), "tiles joined")
    cards["NPA_ALGN"] = (sum(tile.frames or 0 for tile in made), "frames in them")
    cards["NPA_COVX"] = (int(mosaic.coverage.max()), "maximal coverage")
    for name, text in ((REJECTION, "rejection of the tiles"), (MATCHING, "how the frames' sky was matched")):
        if name in made_by:
            cards[name] = (card_value(made_by[name]), text)
    cards["NPA_BACK"] = (settings.match, "how the tiles' background was matched")
    cards["NPA_COMB"] = (settings.combine, "how the tiles were combined")
    cards["NPA_FEAT"] = (settings.feather, "feather, in shorter sides of a tile")
    cards["NPA_INTP"] = (settings.interpolation, "interpolation of the tiles")
    for tile in made:
        cards.add_history(card_value(f"{tile.name}: {tile.frames or 'unknown number of'} frames"))
    return cards
