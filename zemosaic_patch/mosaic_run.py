# SPDX-License-Identifier: GPL-3.0-or-later
"""From frame files to a mosaic: tiles in processes of their own, then one picture of the sky, and what is known of it.

Frames -> groups (`zemosaic_patch.groups`) -> tiles (`zemosaic_patch.jobs`, each a folder below `tiles/`) -> mosaic
(`nanstack.mosaic`) -> files. A tile counts as made when its folder holds a complete one of the same frames and
settings; so a run that was stopped goes on where it was.
"""

from __future__ import annotations

import json
import os
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from nanstack.io.files import complete_file
from nanstack.io.frames import (
    FrameError,
    FrameFile,
    channels_last,
    probe_frame,
    read_fits_image,
    read_named_image,
)
from nanstack.io.images import card_value, image_hdus, write_hdus
from nanstack.io.layout import card, read_layout
from nanstack.levels.sky import Background
from nanstack.memory import threads
from nanstack.mosaic import Mosaic, MosaicTile, corners, make_mosaic
from nanstack.progress import Quiet
from nanstack.settings import TileSettings
from nanstack.stack.definition import Rejection
from zemosaic_patch.errors import FailureError, UsageError
from zemosaic_patch.groups import Group, fingerprint, group_frames
from zemosaic_patch.jobs import JobError, run_jobs, workers_for
from zemosaic_patch.outputs import claim, is_ours, record, remove_ours, set_aside
from zemosaic_patch.pictures import screen_stretch, write_coverage, write_picture
from zemosaic_patch.solve import solve_frames
from zemosaic_patch.tile_run import OUTPUTS as TILE_OUTPUTS
from zemosaic_patch.tile_run import (
    find_frames,
    installed_version,
    named_reasons,
    probe_frames,
    save_tile,
    tile_of_frames,
)

OUTPUTS = ("mosaic.fits", "mosaic.png", "mosaic_linked.png", "coverage.png", "mosaic.json", "report.html")
COLOUR_PICTURES = ("mosaic.png", "mosaic_linked.png")
TILES = "tiles"
ALL_TILE_OUTPUTS = (*TILE_OUTPUTS, "report.html")  # the last one by the command `report`
SOLUTIONS = "solutions"  # of frames without WCS, found here

Show = Callable[[str, int, int], None]  # show(step, done, total)
Warn = Callable[[str], None]


@dataclass(frozen=True)
class MosaicSettings:
    """How a mosaic is made.

    Attributes
    ----------
    tile : TileSettings
    tile_frames, min_frames : int
        See `zemosaic_patch.groups.group_frames`.
    match_tiles, combine, feather, interpolation
        See `nanstack.mosaic.make_mosaic`.
    compress : bool
        Compress the mosaic's images, without loss.
    picture : {'png', 'tif'}
        Kind of the 16-bit pictures.
    workers : int
        Number of processes; 0: as many as suit the machine. No influence on the result.
    """

    tile: TileSettings = field(default_factory=lambda: TileSettings(Rejection(rewinsor=False), match="plane"))
    tile_frames: int = 200
    min_frames: int = 3
    match_tiles: str = "plane"
    combine: str = "mean"
    feather: float = 0.05
    interpolation: str = "bicubic"
    compress: bool = False
    picture: str = "png"
    workers: int = 0


@dataclass(frozen=True)
class _Made:
    """A tile that is there: its name, its file, and what is known of it."""

    name: str
    file: FrameFile
    report: dict

    @property
    def frames(self) -> int | None:
        return self.report.get("frames_aligned")


def earlier_output(folder: Path) -> Path | None:
    """Return what an earlier run left in a folder; None where there is nothing."""
    names = (*output_names("png"), *output_names("tif"), TILES)
    return next((folder / name for name in names if (folder / name).exists()), None)


def output_names(picture: str) -> tuple[str, ...]:
    """Return the names of a mosaic's files, its pictures of the kind 'png' or 'tif'; its tiles are not among them."""
    return tuple(str(Path(name).with_suffix(f".{picture}")) if name in COLOUR_PICTURES else name for name in OUTPUTS)


def prepare(
    folder: Path, picture: str, inputs: Sequence[Path], *, anew: bool = False, joins_tiles: bool = False
) -> None:
    """Make sure that a mosaic can be written without a loss of anything that is not an earlier mosaic's.

    Parameters
    ----------
    folder : Path
    picture : {'png', 'tif'}
        Kind of the pictures that will be written.
    inputs : sequence of Path
        Files that are read, and so stay.
    anew : bool
        Remove what earlier runs left, inputs apart.
    joins_tiles : bool
        The inputs are tiles, not frames: those of an earlier run may be among them.

    Raises
    ------
    UsageError
        Naming the file that is in the way.
    """
    claim(folder, output_names(picture), inputs)
    if not joins_tiles:
        _refuse_own_tiles(inputs, folder)
    if not anew:
        return
    folders_of_inputs = {os.path.dirname(os.path.realpath(path)) for path in inputs}
    for tile in _tile_folders(folder):
        if os.path.realpath(tile) not in folders_of_inputs:
            remove_ours(tile, ALL_TILE_OUTPUTS)
    remove_ours(folder, (*output_names("png"), *output_names("tif"), "run.toml"), inputs)
    folder.mkdir(parents=True, exist_ok=True)


def _tile_folders(folder: Path) -> list[Path]:
    tiles = folder / TILES
    return sorted(path for path in tiles.iterdir() if path.is_dir()) if tiles.is_dir() else []


def _refuse_own_tiles(frames: Sequence[Path], folder: Path) -> None:
    """Refuse frames that lie where the tiles of this run go."""
    tiles = os.path.realpath(folder / TILES)
    for path in frames:
        if Path(os.path.realpath(path)).is_relative_to(tiles):
            raise UsageError(
                f"{path} is one of the inputs, and lies where the tiles go: add --existing-tiles to join tiles as they "
                "are, or name another folder with -o"
            )


def mosaic_lines(told: dict, folder: Path) -> list[str]:
    """Return what is known of a mosaic as lines for the screen."""
    reports = [tile["report"] for tile in told["tiles"]]
    height, width = told["mosaic"]["shape"][:2]
    seconds = ", ".join(f"{value:.1f} s {name}" for name, value in told["seconds"].items())
    return [
        f"tiles              {len(reports)} of {len(reports) + len(told['failed_tiles'])}",
        f"frames             {sum(report.get('frames_aligned') or 0 for report in reports)} in them, "
        f"{sum(len(report.get('frames_failed') or ()) for report in reports)} failed, {len(told['left_out'])} left out",
        f"mosaic             {width} x {height} pixels, up to {told['mosaic']['coverage_max']} frames in one",
        f"background         {told['mosaic']['background']['model']}, by {told['mosaic']['background']['overlaps']} "
        "overlaps",
        f"time               {seconds}",
        f"written            {folder / OUTPUTS[0]}",
        f"report             {folder / OUTPUTS[-1]}",
    ]


def mosaic_of_files(
    names: Sequence[str | Path], settings: MosaicSettings, folder: Path, show: Show, warn: Warn
) -> dict:
    """Make a mosaic of frame files; what cannot be used is named and left out.

    Parameters
    ----------
    names : sequence of str or Path
        Files, folders and glob patterns.
    settings : MosaicSettings
    folder : Path
        Gets `OUTPUTS`, and the tiles. Tiles that are there, and fit, are used.
    show, warn : callable
        ``show(step, done, total)``; ``warn(text)``.

    Returns
    -------
    dict
        What is known of the mosaic, as in `mosaic.json`; `failed_tiles` has name and reason.

    Raises
    ------
    UsageError
        No frames there.
    FailureError
        Nothing to join.
    """
    started = time.perf_counter()
    paths = find_frames(names)
    prepare(folder, settings.picture, paths)
    frames, left_out = _probed(paths, show, warn)
    frames = _with_solutions(frames, folder, show, warn)
    groups, ungrouped = group_frames(frames, settings.tile_frames, settings.min_frames)
    for name, reason in named_reasons(ungrouped, frames).items():
        warn(f"{name}: {reason}; left out")
    left_out.update(ungrouped)
    if not groups:
        raise FailureError(f"none of the {len(left_out)} frames makes a tile: see above")
    made, failed = _make_tiles(groups, settings, folder, show, warn)
    if not made:
        raise FailureError(f"no tile could be made; {groups[0].name}: {failed[groups[0].name]}")
    made_by = {"NPA_REJ": settings.tile.rejection.method, "NPA_SKYM": settings.tile.match}
    told = _join(made, settings, made_by, folder, show)
    told["left_out"] = named_reasons(left_out, frames)
    told["failed_tiles"] = failed
    told["seconds"] = {"tiles": round(time.perf_counter() - started - told["seconds"]["mosaic"], 3), **told["seconds"]}
    return describe(told, folder)


def mosaic_of_tiles(
    names: Sequence[str | Path], settings: MosaicSettings, folder: Path, show: Show, warn: Warn
) -> dict:
    """Make a mosaic of master tiles, ours or ZeMosaic's, as `mosaic_of_files` does of frames."""
    paths = find_frames(names)
    prepare(folder, settings.picture, paths, joins_tiles=True)
    frames, left_out = _probed(paths, show, warn)
    made = []
    for frame in _of_one_depth(frames, left_out, warn):
        report = _report_beside(frame.path) or {"frames_aligned": _frames_in(frame.path)}
        made.append(_Made(_tile_name(frame.path), frame, report))
    if not made:
        raise FailureError(f"none of the {len(left_out)} tiles can be used: see above")
    told = _join(made, settings, _agreed_cards([tile.file.path for tile in made]), folder, show)
    del told["settings"]["tile"]  # which made none of them
    told["left_out"], told["failed_tiles"] = named_reasons(left_out, frames), {}
    return describe(told, folder)


def _probed(paths: Sequence[Path], show: Show, warn: Warn) -> tuple[list[FrameFile], dict[Path, str]]:
    def shown() -> Iterator[Path]:
        for done, path in enumerate(paths, start=1):
            yield path
            show("reading headers", done, len(paths))

    return probe_frames(shown(), warn)


def _with_solutions(frames: Sequence[FrameFile], folder: Path, show: Show, warn: Warn) -> list[FrameFile]:
    """Return the frames, those without a WCS solved where that can be done."""
    unsolved = [frame for frame in frames if frame.wcs is None]
    if not unsolved:
        return list(frames)
    found = solve_frames(unsolved, folder / SOLUTIONS, lambda done, total: show("solving frames", done, total), warn)
    return [*(frame for frame in frames if frame.wcs is not None), *found]


# --- tiles ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _TileJob:
    name: str
    frames: list[FrameFile]
    settings: TileSettings
    folder: Path
    fingerprint: str

    @property
    def tile(self) -> Path:
        return self.folder / "tile.fits"


def _make_tiles(
    groups: Sequence[Group], settings: MosaicSettings, folder: Path, show: Show, warn: Warn
) -> tuple[list[_Made], dict[str, str]]:
    """Make the tiles that are not there yet; return those that are there now, and why others are not."""
    jobs = [
        _TileJob(group.name, group.frames, settings.tile, folder / TILES / group.name, _fingerprint(group, settings))
        for group in groups
    ]
    for other in _tile_folders(folder):
        if other.name not in {job.name for job in jobs}:
            remove_ours(other, ALL_TILE_OUTPUTS)
    with ThreadPoolExecutor(threads()) as pool:  # reading and digesting let go of the interpreter
        reports = dict(zip((job.name for job in jobs), pool.map(_finished, jobs), strict=True))
    todo = [job for job in jobs if reports[job.name] is None]
    aligned = dict.fromkeys((job.name for job in todo), 0)
    frames = sum(len(job.frames) for job in todo)
    ended = len(jobs) - len(todo)
    failed: dict[str, str] = {}
    show("tiles", ended, len(jobs))

    def tell(index: int, what: str, content: Any) -> None:
        if what == "warning":
            warn(f"{todo[index].name}: {content}")
        else:
            aligned[todo[index].name] = content
            show("aligning frames", sum(aligned.values()), frames)

    workers = settings.workers or workers_for(len(todo))
    for outcome in run_jobs(make_tile_of_job, todo, workers, Path(tempfile.gettempdir()), tell):
        name = todo[outcome.index].name
        reports[name] = outcome.result
        if outcome.error:
            failed[name] = outcome.error
            warn(f"{name} failed: {outcome.error}")
        ended += 1
        show("tiles", ended, len(jobs))
    made = [_Made(job.name, probe_frame(job.tile), reports[job.name]) for job in jobs if reports[job.name]]
    return made, failed


def _fingerprint(group: Group, settings: MosaicSettings) -> str:
    return fingerprint(group, (installed_version(), settings.tile))


def _finished(job: _TileJob) -> dict | None:
    """Return a tile's report where a complete one of these frames and settings is there."""
    report = _report_beside(job.tile)
    if report is None or report.get("fingerprint") != job.fingerprint:
        return None
    return report if all(is_ours(job.folder / name) for name in (job.tile.name, "tile.json")) else None


def _report_beside(tile: Path) -> dict | None:
    """Return the report beside one of our tiles; None where there is none, or it is damaged."""
    try:
        report = json.loads((tile.parent / "tile.json").read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):  # the last one of brackets within brackets
        return None
    return report if isinstance(report, dict) and tile.name == "tile.fits" else None


class _Told:
    """Progress that is told to the process which waits for the tile."""

    def __init__(self, tell: Callable[[str, Any], None]) -> None:
        self.tell = tell

    def step(self, name: str, done: int, total: int) -> None:
        if name == "aligning":
            self.tell("aligned", done)

    def warn(self, text: str) -> None:
        self.tell("warning", text)


def make_tile_of_job(job: _TileJob, tell: Callable[[str, Any], None]) -> dict:
    """Make a tile and write it; return its report: what a worker process does."""

    try:
        tile = tile_of_frames(job.frames, job.settings, progress=_Told(tell))
        for name in set_aside(job.folder, ALL_TILE_OUTPUTS):
            tell("warning", f"a file that was not as an earlier run wrote it is kept as {name}")
        remove_ours(job.folder, ALL_TILE_OUTPUTS)
        return save_tile(tile, job.folder, job.fingerprint)
    except (FailureError, FrameError, ValueError) as error:
        raise JobError(str(error)) from error
    except OSError as error:
        raise JobError(f"{job.folder}: {error.strerror or error}") from error


# --- existing tiles ---------------------------------------------------------------------------------------------------


def _tile_name(path: Path) -> str:
    return path.parent.name if path.name == "tile.fits" else path.stem


def _of_one_depth(frames: Sequence[FrameFile], left_out: dict[Path, str], warn: Warn) -> list[FrameFile]:
    """Return the tiles that have a WCS and as many channels as most."""
    colour = sum(len(frame.shape) == 3 for frame in frames)
    axes = 3 if 2 * colour >= len(frames) else 2
    kept = []
    for frame in frames:
        if frame.wcs is None:
            reason = "it has no WCS"
        elif len(frame.shape) != axes:
            reason = f"its shape is {frame.shape}, and most tiles are {'colour' if axes == 3 else 'mono'}"
        else:
            kept.append(frame)
            continue
        warn(f"{_tile_name(frame.path)}: {reason}; left out")
        left_out[frame.path] = reason
    return kept


def _agreed_cards(paths: Sequence[Path]) -> dict[str, str]:
    """Return what the tiles' own headers say of how they were made, as far as all say the same."""
    agreed = {}
    headers = [read_layout(path).header for path in paths]
    for name in ("NPA_REJ", "NPA_SKYM"):
        said = {_text_of_card(header, name) for header in headers}
        if len(said) == 1 and None not in said:
            agreed[name] = said.pop()
    return agreed


def _text_of_card(header: Any, name: str) -> str | None:
    try:
        value = card(header, name)
    except ValueError:  # it cannot be read, and tells nothing
        return None
    return value if isinstance(value, str) else None


def _frames_in(path: Path) -> int | None:
    header = read_layout(path).header
    try:
        counts = [card(header, name) for name in ("NPA_ALGN", "ZMT_NALGN", "MT_NFRAMES")]
    except ValueError:  # a card that cannot be read tells nothing
        return None
    return next((count for count in counts if isinstance(count, int)), None)


def read_tile(path: Path, frames: int | None = None) -> tuple[np.ndarray, np.ndarray | None]:
    """Read a master tile, ours or ZeMosaic's.

    Parameters
    ----------
    path : Path
    frames : int, optional
        Number of frames of a tile that does not have its coverage.

    Returns
    -------
    image : ndarray of float32, shape (H, W) or (H, W, 3)
        NaN where ALPHA is 0.
    coverage : ndarray, shape (H, W), or None
    """
    image = channels_last(path, read_fits_image(path)[0])
    alpha, coverage = (_plane(path, name, image.shape[:2]) for name in ("ALPHA", "COVERAGE"))
    if alpha is not None:
        image[alpha == 0] = np.nan
    coverage = None if coverage is None else coverage.astype(np.int32)
    if coverage is None and frames:
        coverage = np.full(image.shape[:2], frames, dtype=np.int32)
    return image, coverage


def _plane(path: Path, name: str, shape: tuple[int, ...]) -> np.ndarray | None:
    """Return a tile's image of a name, None where it has none of its shape."""
    plane = read_named_image(path, name)
    return plane if plane is not None and plane.shape == shape else None


# --- the mosaic -------------------------------------------------------------------------------------------------------


def _join(made: Sequence[_Made], settings: MosaicSettings, made_by: dict[str, str], folder: Path, show: Show) -> dict:
    """Join tiles, write the mosaic, and return what is known of it; `made_by` has cards on how the tiles were made."""
    started = time.perf_counter()
    sources = [
        MosaicTile(tile.name, tile.file.shape, tile.file.wcs, partial(read_tile, tile.file.path, tile.frames))
        for tile in made
    ]
    try:
        mosaic = make_mosaic(
            sources,
            match=settings.match_tiles,
            combine=settings.combine,
            feather=settings.feather,
            interpolation=settings.interpolation,
            progress=_Steps(show),
        )
    except ValueError as error:  # a FrameError is one, too
        raise FailureError(str(error)) from error
    show("writing", 0, 2)
    with ThreadPoolExecutor(1) as pool:
        cards = _cards(mosaic, made, settings, made_by)
        written = pool.submit(write_mosaic, mosaic, folder / OUTPUTS[0], cards, settings.compress)
        pictures = _write_pictures(mosaic, folder, settings.picture)
        show("writing", 1, 2)
        written.result()
    record(folder, [OUTPUTS[0], *pictures.values()])
    show("writing", 2, 2)
    return {
        "tiles": [
            _told_of(tile, background, mosaic, folder)
            for tile, background in zip(made, mosaic.backgrounds, strict=True)
        ],
        "mosaic": {
            "file": OUTPUTS[0],
            **pictures,
            "shape": list(mosaic.image.shape),
            "coverage_max": int(mosaic.coverage.max()),
            "background": {"model": settings.match_tiles, "overlaps": len(mosaic.overlaps)},
        },
        "settings": asdict(settings),
        "seconds": {"mosaic": round(time.perf_counter() - started, 3)},
    }


class _Steps(Quiet):
    def __init__(self, show: Show) -> None:
        self.step = show


def _told_of(tile: _Made, background: Background, mosaic: Mosaic, folder: Path) -> dict:
    """Return a tile's part of `mosaic.json`; its corners are those in the picture, whose first row is the north."""
    x, y = corners(mosaic.wcs, tile.file.shape, tile.file.wcs)
    height = mosaic.image.shape[0]
    middle = background.at(x.mean(), y.mean())
    seconds = [tile.report.get(name) for name in ("seconds_align", "seconds_stack")]
    return {
        "name": tile.name,
        "file": _name_inside(tile.file.path, folder),
        "corners": np.round(np.column_stack([x + 0.5, height - 0.5 - y]), 2).tolist(),
        "background_adu": np.round(middle, 3).tolist(),
        "report": tile.report,
        "seconds": round(sum(seconds), 3) if None not in seconds else None,
    }


def _name_inside(path: Path, folder: Path) -> str:
    """Return a file's path within a folder; of one elsewhere its name alone, which tells nobody whose it is."""
    path, folder = Path(os.path.realpath(path)), Path(os.path.realpath(folder))
    return path.relative_to(folder).as_posix() if path.is_relative_to(folder) else path.name


def _cards(mosaic: Mosaic, made: Sequence[_Made], settings: MosaicSettings, made_by: dict[str, str]) -> Any:
    """Return the cards that say where the mosaic comes from."""
    from astropy.io import fits

    cards = fits.Header()
    cards["CREATOR"] = (f"zemosaic-patch {installed_version()}", "software that made this mosaic")
    cards["BUNIT"] = "adu"
    for name in ("OBJECT", "FILTER"):
        value = next((tile.file.cards[name] for tile in made if tile.file.cards.get(name)), None)
        if value is not None:
            cards[name] = value
    cards["NPA_TILE"] = (len(made), "tiles joined")
    cards["NPA_ALGN"] = (sum(tile.frames or 0 for tile in made), "frames in them")
    cards["NPA_COVX"] = (int(mosaic.coverage.max()), "maximal coverage")
    for name, text in (("NPA_REJ", "rejection of the tiles"), ("NPA_SKYM", "how the frames' sky was matched")):
        if name in made_by:
            cards[name] = (card_value(made_by[name]), text)
    cards["NPA_BACK"] = (settings.match_tiles, "how the tiles' background was matched")
    cards["NPA_COMB"] = (settings.combine, "how the tiles were combined")
    cards["NPA_FEAT"] = (settings.feather, "feather, in shorter sides of a tile")
    cards["NPA_INTP"] = (settings.interpolation, "interpolation of the tiles")
    for tile in made:
        cards.add_history(card_value(f"{tile.name}: {tile.frames or 'unknown number of'} frames"))
    return cards


def write_mosaic(mosaic: Mosaic, path: Path, header: Any, compress: bool = False) -> None:
    """Write a mosaic: the image, planes first, with its WCS; COVERAGE (int32, frames); WEIGHT (float32).

    Parameters
    ----------
    mosaic : Mosaic
    path : Path
        Appears complete or not at all; an existing file is replaced.
    header : astropy.io.fits.Header
        Further cards.
    compress : bool
        Tiled compression without loss (GZIP_2); the image is then the first extension.
    """
    from astropy.io import fits

    solution = mosaic.wcs.to_header(relax=True)
    cards = solution.copy()
    cards.update(header)
    hdus = image_hdus(mosaic.image, cards)
    hdus.append(fits.ImageHDU(mosaic.coverage.copy(), solution, name="COVERAGE"))
    hdus.append(fits.ImageHDU(mosaic.weight.copy(), solution, name="WEIGHT"))
    hdus[-2].header["BUNIT"] = ("frame", "number of frames in a pixel")
    hdus[-1].header["BUNIT"] = ("frame", "coverage x feather, summed over the tiles")
    if compress:
        packed = [
            fits.CompImageHDU(hdu.data, hdu.header, name=hdu.name, compression_type="GZIP_2", quantize_level=0)
            for hdu in hdus
        ]
        hdus = fits.HDUList([fits.PrimaryHDU(), *packed])
    write_hdus(hdus, path)


def _write_pictures(mosaic: Mosaic, folder: Path, kind: str) -> dict[str, str]:
    """Write the mosaic for the screen, each channel for itself and all alike, and its coverage; return their names."""
    names = {"picture": f"mosaic.{kind}", "picture_linked": f"mosaic_linked.{kind}", "coverage_picture": "coverage.png"}
    north_up = mosaic.image[::-1]
    with ThreadPoolExecutor(threads()) as pool:  # arithmetic and compression of pictures let go of the interpreter
        written = [
            pool.submit(lambda: _write_picture(north_up, False, folder / names["picture"])),
            pool.submit(lambda: _write_picture(north_up, True, folder / names["picture_linked"])),
            pool.submit(lambda: write_coverage(mosaic.coverage[::-1], folder / names["coverage_picture"])),
        ]
        for picture in written:
            picture.result()
    return names


def _write_picture(image: np.ndarray, linked: bool, path: Path) -> None:
    write_picture(screen_stretch(image, linked)(image), path, bits=16)


def describe(told: dict, folder: Path) -> dict:
    """Write what is known of a mosaic: `mosaic.json` and the report of it; return it."""
    from zemosaic_patch.report.page import write_report

    with complete_file(folder / "mosaic.json") as temporary:
        temporary.write_text(json.dumps(told, indent=2) + "\n", encoding="utf-8")
    written = write_report(folder / "mosaic.json")
    record(folder, ["mosaic.json", written.name])
    return told
