# SPDX-License-Identifier: GPL-3.0-or-later
"""The report: one HTML file about a mosaic, or about a single tile, that needs neither network nor other files.

`mosaic.json` (or `tile.json`) -> what is told (`told`) -> pictures (`embedded`) and plots (`plots`) -> the templates.
What is missing there is said to be missing; the report never fails for it. The templates escape all text, so that a
file's name is never taken for markup.
"""

from __future__ import annotations

import base64
import functools
import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from nanstack.io.files import complete_file
from zemosaic_patch.report import plots
from zemosaic_patch.report.embedded import COVERAGE_PX, MOSAIC_PX, Picture, blues_as_css, embed, in_blues
from zemosaic_patch.report.text import NOTHING, duration, shown
from zemosaic_patch.report.told import Entry, ReportError, Tile, Told, read_told, total

if TYPE_CHECKING:
    from jinja2 import Environment

__all__ = ["MOSAIC_PX", "REPORT", "SOURCES", "ReportError", "write_report"]

REPORT = "report.html"
SOURCES = ("mosaic.json", "tile.json")  # what a report is made of; the first one found
NUMBER_SHARE = 32  # a tile's number in its outline is as high as the mosaic's longer side over this


def write_report(mosaic_json: Path) -> Path:
    """Write `report.html` beside the description of a mosaic, or of a tile.

    Parameters
    ----------
    mosaic_json : Path
        `mosaic.json`, or the `tile.json` of one tile; the pictures that it names are relative to its folder. What
        is missing, in it or beside it, is named in the report.

    Returns
    -------
    Path
        The report; it appears complete or not at all, and replaces an earlier one.

    Raises
    ------
    ReportError
        The file holds no description.
    OSError
        It cannot be read, or the report cannot be written.
    """
    return write_page(page_of(mosaic_json), Path(mosaic_json).parent)


def page_of(mosaic_json: Path) -> str:
    """Return the report of a mosaic, or of a tile, as `write_report` writes it."""
    mosaic_json = Path(mosaic_json)
    return _page(read_told(mosaic_json), mosaic_json.absolute().parent)


def write_page(page: str, folder: Path) -> Path:
    """Write a report into its folder, and return its path; it appears complete or not at all."""
    path = folder / REPORT
    with complete_file(path) as temporary:
        temporary.write_bytes(page.encode("utf-8", "replace"))  # a file name may hold what is no character
    return path


@functools.cache
def _templates() -> Environment:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    return Environment(
        loader=PackageLoader("zemosaic_patch.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def _page(told: Told, folder: Path) -> str:
    """Return the page."""
    style, script = (Path(__file__).with_name(name).read_text(encoding="utf-8") for name in ("style.css", "script.js"))
    single = len(told.tiles) == 1
    most = told.mosaic.coverage_max
    return (
        _templates()
        .get_template("page.html.j2")
        .render(
            title=f"{'Tile' if single else 'Mosaic'} {folder.name}".strip(),
            single=single,
            told=told,
            figures=_figures(told),
            sky=_sky(told, folder),
            comparison=_comparison(told, folder),
            coverage=embed(folder, told.mosaic.coverage_picture, COVERAGE_PX, in_blues),
            coverage_colours=blues_as_css(),
            most_frames="most frames" if most is None else f"{shown(most)} frames",
            columns=COLUMNS,
            rows=[_row(tile) for tile in told.tiles],
            tiles=[_frames(tile) for tile in told.tiles],
            paper=plots,
            style=style,
            script=script,
            script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        )
    )


# ----------------------------------------------------------------------------------------------------- its parts


def _figures(told: Told) -> list[Entry]:
    """Return the figures that matter most."""
    tiles = told.tiles
    aligned, given = (total(values) for values in ((t.aligned for t in tiles), (t.given for t in tiles)))
    failed = {entry.name for tile in tiles for entry in tile.failed or ()} | {entry.name for entry in told.left_out}
    return [
        Entry("tile" if len(tiles) == 1 else "tiles", str(len(tiles))),
        Entry("frames stacked", f"{shown(aligned)} of {shown(given)}"),
        Entry("failed or left out", str(len(failed))),
        Entry("worst alignment rms", shown(_worst(tile.rms_px_max for tile in tiles), " px", 2)),
        Entry("worst band metric", shown(_worst(tile.band_metric_adu for tile in tiles), " ADU", 2)),
        Entry("computing time", duration(told.seconds)),
    ]


def _worst(values: Iterable[float | None]) -> float | None:
    return max((value for value in values if value is not None), default=None)


@dataclass(frozen=True)
class _Outline:
    """A tile's outline: its number, its name for the reader, its corners as SVG has them, its middle."""

    number: int
    text: str
    points: str
    x: float
    y: float


@dataclass(frozen=True)
class _Sky:
    """The mosaic's picture with the tiles' outlines, in pixels of the mosaic.

    `width` and `height` are 0 where nothing can be drawn; `undrawn` are tiles without corners.
    """

    picture: Picture
    width: float
    height: float
    number_size: float
    outlines: list[_Outline]
    undrawn: list[str]


def _sky(told: Told, folder: Path) -> _Sky:
    picture = embed(folder, told.mosaic.picture, MOSAIC_PX)
    height, width = told.mosaic.shape or (picture.height, picture.width)
    outlines = [_outline(tile) for tile in told.tiles if tile.corners] if width else []
    undrawn = [tile.name for tile in told.tiles if not tile.corners]
    return _Sky(picture, width, height, max(width, height) / NUMBER_SHARE, outlines, undrawn)


def _outline(tile: Tile) -> _Outline:
    x, y = np.mean(tile.corners, axis=0)
    points = " ".join(f"{corner_x:g},{corner_y:g}" for corner_x, corner_y in tile.corners)
    return _Outline(tile.number, f"{tile.number} · {tile.name} · {shown(tile.aligned)} frames", points, x, y)


@dataclass(frozen=True)
class _Compared:
    """Two pictures in one place, and their captions."""

    before: Picture
    after: Picture
    caption_before: str
    caption_after: str


def _comparison(told: Told, folder: Path) -> _Compared | None:
    compared = told.comparison
    if compared is None:
        return None
    before, after = (embed(folder, name, MOSAIC_PX) for name in (compared.before, compared.after))
    return _Compared(before, after, compared.caption_before, compared.caption_after)


@dataclass(frozen=True)
class _Column:
    """A column of the table: heading, unit, the attribute of a tile, decimals (None: three digits that count)."""

    heading: str
    unit: str
    attribute: str
    decimals: int | None


COLUMNS = (
    _Column("Given", "frames", "given", 0),
    _Column("Aligned", "frames", "aligned", 0),
    _Column("Failed", "frames", "failures", 0),
    _Column("Rms", "px, median", "rms_px", 3),
    _Column("Noise", "of one frame\N{RIGHT SINGLE QUOTATION MARK}s", "noise", 3),
    _Column("Rejected", "% of samples", "rejected_percent", 2),
    _Column("Band metric", "ADU", "band_metric_adu", None),
    _Column("Time", "s", "seconds", 1),
)


@dataclass(frozen=True)
class _Cell:
    """A figure of the table: by what it is sorted, its text, and the frames that failed, where it counts them."""

    sort: str
    text: str
    failed: tuple[Entry, ...] = ()


@dataclass(frozen=True)
class _Row:
    """A row of the table."""

    tile: Tile
    cells: list[_Cell]


def _row(tile: Tile) -> _Row:
    return _Row(tile, [_cell(tile, column) for column in COLUMNS])


def _cell(tile: Tile, column: _Column) -> _Cell:
    value = getattr(tile, column.attribute)
    if value is None:
        return _Cell("", NOTHING)
    failed = tile.failed if column.attribute == "failures" else ()
    text = shown(value, digits=3) if column.decimals is None else f"{value:,.{column.decimals}f}"
    return _Cell(f"{value:.9g}", text, failed or ())


@dataclass(frozen=True)
class _Frames:
    """The plots of a tile's frames, and what could not be plotted."""

    tile: Tile
    plots: Sequence[plots.Plot]
    absent: list[str]


def _frames(tile: Tile) -> _Frames:
    drawn, absent = plots.plots_of(tile.frames)
    return _Frames(tile, drawn, [title.lower() for title in absent])
