# SPDX-License-Identifier: GPL-3.0-or-later
"""From frame files to a mosaic: tiles in processes of their own, then one picture of the sky, and what is known of it.

Files -> registered frames (`nanstack.session`) -> groups (`zemosaic_patch.groups`) -> tiles (`zemosaic_patch.jobs`,
each a folder below `tiles/`) -> mosaic (`nanstack.mosaic`) -> files. A tile counts as made when its folder holds a
complete one of the same frames and settings; so a run that was stopped goes on where it was.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from nanstack.io.cards import card_value
from nanstack.io.frames import FrameError, FrameFile, probe_frame
from nanstack.io.layout import read_layout
from nanstack.levels.sky import Background
from nanstack.memory import threads
from nanstack.mosaic import Mosaic, MosaicTile, corners, make_mosaic
from nanstack.progress import Progress
from nanstack.report import TileReport
from nanstack.session import open_session
from nanstack.settings import TileSettings
from nanstack.survey.taken import taken_of_tile, taken_together
from nanstack.tile import canvas_of, tile_of_registered
from zemosaic_patch import installed_version
from zemosaic_patch.errors import FailureError
from zemosaic_patch.groups import Group, fingerprint, group_frames
from zemosaic_patch.jobs import JobError, run_jobs, workers_for
from zemosaic_patch.mosaic_files import (
    MOSAIC,
    SOLUTIONS,
    SURVEYS,
    TILES,
    describe,
    name_inside,
    prepare,
    save_mosaic,
    tile_folders,
)
from zemosaic_patch.options import MosaicSettings
from zemosaic_patch.outputs import remove_ours, set_aside
from zemosaic_patch.progress import Told
from zemosaic_patch.reports import JoinedTile, Levelling, MosaicImage, MosaicReport, Registered
from zemosaic_patch.solve import place_groups, solvers
from zemosaic_patch.tile_files import (
    ALL_OUTPUTS,
    TILE,
    agreed_cards,
    finished,
    frames_in,
    is_mosaic,
    read_tile,
    report_beside,
    save_tile,
    tile_name,
)
from zemosaic_patch.tile_run import counted, named_reasons, tell_left_out

REJECTION, MATCHING = "NPA_REJ", "NPA_SKYM"  # cards that say how the tiles were made


@dataclass(frozen=True)
class _Made:
    """A tile that is there: its name, its file, the number of its frames, and its report, where it has one."""

    name: str
    file: FrameFile
    frames: int | None
    report: TileReport | None


def mosaic_of_files(paths: Sequence[Path], settings: MosaicSettings, folder: Path, progress: Progress) -> MosaicReport:
    """Make a mosaic of frame files; what cannot be used is named and left out.

    Parameters
    ----------
    paths : sequence of Path
    settings : MosaicSettings
    folder : Path
        Gets `zemosaic_patch.mosaic_files.OUTPUTS`, the tiles, and what is known of the frames. What is there, and fits,
        is used.
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
    started = time.perf_counter()
    prepare(folder, settings.picture, paths)
    place = partial(place_groups, folder=folder / SOLUTIONS, progress=progress)
    session = open_session(paths, folder=folder / SURVEYS, place=place, progress=progress)
    seconds = {"registration": round(time.perf_counter() - started, 3)}
    groups, ungrouped = group_frames(session.frames, settings.tile_frames, settings.min_frames)
    left_out = {**session.left_out, **ungrouped}
    tell_left_out(left_out, session.frames, progress)
    if not groups:
        raise FailureError(f"no tile can be made of {counted(len(left_out), 'file')}: see above")
    registered = Registered.of(session)
    if registered.approximate:
        progress.warn(f"place on the sky: {registered.place_told}{_how_to_place()}")
    started = time.perf_counter()
    made, failed = _make_tiles(groups, settings, registered.on_the_sky, folder, progress)
    if not made:
        raise FailureError(f"no tile could be made; {groups[0].name}: {failed[groups[0].name]}")
    seconds["tiles"] = round(time.perf_counter() - started, 3)
    made_by = {REJECTION: settings.tile.rejection.method, MATCHING: settings.tile.match}
    report = _join(made, settings, made_by, registered, folder, progress)
    report = replace(
        report,
        registration=registered,
        settings=asdict(settings),
        left_out=named_reasons(left_out, session.frames),
        failed_tiles=failed,
        seconds={**seconds, **report.seconds},
    )
    describe(report.json(), folder)
    return report


def mosaic_of_tiles(paths: Sequence[Path], settings: MosaicSettings, folder: Path, progress: Progress) -> MosaicReport:
    """Make a mosaic of master tiles, ours or ZeMosaic's, as `mosaic_of_files` does of frames."""
    prepare(folder, settings.picture, paths, joins_tiles=True)
    frames, left_out = _probed(paths, progress)
    made = [_existing(frame) for frame in _of_one_depth(frames, left_out, progress)]
    if not made:
        raise FailureError(f"no tile can be joined: {counted(len(left_out), 'file')} left out, see above")
    made_by = agreed_cards([tile.file.path for tile in made], (REJECTION, MATCHING))
    used = {name: value for name, value in asdict(settings).items() if name != "tile"}  # which made none of them
    report = _join(made, settings, made_by, None, folder, progress)
    report = replace(report, settings=used, left_out=named_reasons(left_out, frames))
    describe(report.json(), folder)
    return report


def _probed(paths: Sequence[Path], progress: Progress) -> tuple[list[FrameFile], dict[Path, str]]:
    """Return the tiles whose headers make sense, and the reasons why the others' do not."""
    tiles, unusable = [], {}
    for done, path in enumerate(paths, start=1):
        try:
            tiles.append(probe_frame(path))
        except FrameError as error:
            progress.warn(f"{error}; left out")
            unusable[path] = error.reason
        progress.step("reading headers", done, len(paths))
    return tiles, unusable


# --- tiles ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _TileJob:
    """A tile to be made: `on_the_sky` tells whether the frames' views are."""

    group: Group
    settings: TileSettings
    on_the_sky: bool
    folder: Path
    fingerprint: str


def _make_tiles(
    groups: Sequence[Group], settings: MosaicSettings, on_the_sky: bool, folder: Path, progress: Progress
) -> tuple[list[_Made], dict[str, str]]:
    """Make the tiles that are not there yet; return those that are there now, and why others are not."""
    jobs = [_job_of(group, settings, on_the_sky, folder) for group in groups]
    for other in tile_folders(folder):
        if other.name not in {job.group.name for job in jobs}:
            remove_ours(other, ALL_OUTPUTS)
    with ThreadPoolExecutor(threads()) as pool:  # reading and digesting let go of the interpreter
        there = list(pool.map(lambda job: finished(job.folder, job.fingerprint), jobs))
    reports = {job.group.name: report for job, report in zip(jobs, there, strict=True) if report is not None}
    todo = [job for job in jobs if job.group.name not in reports]
    watch = _Watch(todo, len(jobs), progress)
    failed: dict[str, str] = {}
    for outcome in run_jobs(make_tile_of_job, todo, settings.workers or workers_for(len(todo)), _scratch(), watch.tell):
        name = todo[outcome.index].group.name
        if outcome.error:
            failed[name] = outcome.error
            progress.warn(f"{name} failed: {outcome.error}")
        else:
            reports[name] = outcome.result
        watch.end()
    return [_made(job, reports[job.group.name]) for job in jobs if job.group.name in reports], failed


def _job_of(group: Group, settings: MosaicSettings, on_the_sky: bool, folder: Path) -> _TileJob:
    told = fingerprint(group, (installed_version(), settings.tile, on_the_sky))
    return _TileJob(group, settings.tile, on_the_sky, folder / TILES / group.name, told)


def _made(job: _TileJob, report: TileReport) -> _Made:
    """Return a tile that was made; its solution is its file's, or where that has none, its canvas's."""
    file = probe_frame(job.folder / TILE)
    if not job.on_the_sky:
        views = [frame.view for frame in job.group.frames]
        file = replace(file, wcs=canvas_of(views, job.group.reference, job.settings.canvas).wcs())
    return _Made(job.group.name, file, report.frames_aligned, report)


def _scratch() -> Path:
    return Path(tempfile.gettempdir())


class _Watch:
    """Turns what tiles tell while they are made, several at a time, into the steps of all."""

    def __init__(self, todo: Sequence[_TileJob], tiles: int, progress: Progress) -> None:
        self.names = [job.group.name for job in todo]
        self.frames = sum(len(job.group.frames) for job in todo)
        self.aligned = [0] * len(todo)
        self.tiles, self.ended, self.progress = tiles, tiles - len(todo), progress
        progress.step("tiles", self.ended, tiles)

    def tell(self, index: int, what: str, content: Any) -> None:
        """Take what the job of an index tells, as `Told` does."""
        if what == "warning":
            self.progress.warn(f"{self.names[index]}: {content}")
        elif content[0] == "aligning":
            self.aligned[index] = content[1]
            self.progress.step("aligning frames", sum(self.aligned), self.frames)

    def end(self) -> None:
        """Take that a tile is made, or failed."""
        self.ended += 1
        self.progress.step("tiles", self.ended, self.tiles)


def make_tile_of_job(job: _TileJob, tell: Callable[[str, Any], None]) -> TileReport:
    """Make a tile and write it; return its report: what a worker process does."""
    try:
        tile = tile_of_registered(job.group.frames, job.group.reference, job.settings, progress=Told(tell))
        if not job.on_the_sky:
            tile = replace(tile, wcs=None)
        for name in set_aside(job.folder, ALL_OUTPUTS):
            tell("warning", f"a file that was not as an earlier run wrote it is kept as {name}")
        remove_ours(job.folder, ALL_OUTPUTS)
        save_tile(tile, job.folder, job.fingerprint)
    except ValueError as error:  # a FrameError, too
        raise JobError(str(error)) from error
    except OSError as error:
        raise JobError(f"its files cannot be written: {error.strerror or 'unknown'}") from error  # without their place
    return tile.report


# --- existing tiles ---------------------------------------------------------------------------------------------------


def _existing(frame: FrameFile) -> _Made:
    report = report_beside(frame.path)
    count = frames_in(frame.path) if report is None else report.frames_aligned
    return _Made(tile_name(frame.path), frame, count, report)


def _of_one_depth(frames: Sequence[FrameFile], left_out: dict[Path, str], progress: Progress) -> list[FrameFile]:
    """Return the tiles that have a WCS and as many channels as most; of mosaics and tiles, the tiles."""
    joined = [is_mosaic(frame.path) for frame in frames]
    colour = sum(len(frame.shape) == 3 for frame in frames)
    axes = 3 if 2 * colour >= len(frames) else 2
    kept = []
    for frame, is_joined in zip(frames, joined, strict=True):
        if is_joined and not all(joined):
            reason = "it is a mosaic, and there are tiles"
        elif frame.wcs is None:
            reason = "it has no WCS"
        elif len(frame.shape) != axes:
            reason = f"its shape is {frame.shape}, and most tiles are {'colour' if axes == 3 else 'mono'}"
        else:
            kept.append(frame)
            continue
        progress.warn(f"{tile_name(frame.path)}: {reason}; left out")
        left_out[frame.path] = reason
    return kept


# --- the mosaic -------------------------------------------------------------------------------------------------------


def _join(
    made: Sequence[_Made],
    settings: MosaicSettings,
    made_by: Mapping[str, str],
    registered: Registered | None,
    folder: Path,
    progress: Progress,
) -> MosaicReport:
    """Join tiles, write the mosaic, and return what is known of it; `made_by` has cards on how the tiles were made."""
    started = time.perf_counter()
    sources = [MosaicTile(tile.name, tile.file.shape, tile.file.wcs, partial(_samples_of, tile)) for tile in made]
    try:
        mosaic = make_mosaic(sources, settings.join, progress=progress)
    except ValueError as error:
        raise FailureError(str(error)) from error
    progress.step("writing", 0, 1)
    cards = _cards(mosaic, made, settings, made_by)
    if registered is not None:
        cards.extend(_place_cards(registered))
    on_the_sky = registered is None or registered.on_the_sky
    pictures = save_mosaic(mosaic, folder, cards, settings.picture, settings.compress, on_the_sky=on_the_sky)
    progress.step("writing", 1, 1)
    return MosaicReport(
        tiles=tuple(
            _joined(tile, background, mosaic, folder) for tile, background in zip(made, mosaic.backgrounds, strict=True)
        ),
        mosaic=MosaicImage(
            file=MOSAIC,
            **pictures,
            shape=mosaic.image.shape,
            coverage_max=int(mosaic.coverage.max()),
            background=Levelling(settings.join.match, len(mosaic.overlaps)),
        ),
        settings={},
        seconds={"mosaic": round(time.perf_counter() - started, 3)},
    )


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
        report=tile.report,
    )


def _cards(mosaic: Mosaic, made: Sequence[_Made], settings: MosaicSettings, made_by: Mapping[str, str]) -> Any:
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
    cards["NPA_BACK"] = (settings.join.match, "how the tiles' background was matched")
    cards["NPA_COMB"] = (settings.join.combine, "how the tiles were combined")
    cards["NPA_FEAT"] = (settings.join.feather, "feather, in shorter sides of a tile")
    cards["NPA_INTP"] = (settings.join.interpolation, "interpolation of the tiles")
    for tile in made:
        cards.add_history(card_value(f"{tile.name}: {tile.frames or 'unknown number of'} frames"))
    return cards


def _how_to_place() -> str:
    """Return what would find the place on the sky; nothing where a program was asked, and said why it did not."""
    return "" if solvers() else "; install solve-field or ASTAP, and --resume"


def _place_cards(registered: Registered) -> list[tuple[str, Any, str]]:
    """Return the cards that say how far the mosaic's place on the sky can be trusted."""
    cards = [("NPA_SKY", registered.place, "how the place on the sky was found")]
    if registered.approximate:
        cards.append(("NPA_APRX", True, "the place on the sky is only approximate"))
    return cards
