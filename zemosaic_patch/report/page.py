# SPDX-License-Identifier: GPL-3.0-or-later
"""The report: one HTML file about a mosaic, or about a single tile, that needs neither network nor other files.

`mosaic.json` (or `tile.json`) -> what is told (`told`) -> pictures (`embedded`), outlines, plots (`plots`), tables ->
the templates. What is missing there is said to be missing; the report never fails for it. The templates escape all
text, so that a file's name is never taken for markup.
"""

from __future__ import annotations

import base64
import functools
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from nanstack.io.files import complete_file
from nanstack.register.registered import sensor_terms
from nanstack.survey.selection import told as told_together
from zemosaic_patch.report import plots
from zemosaic_patch.report.embedded import (
    COVERAGE_PX,
    MOSAIC_PX,
    Picture,
    blues_as_css,
    cells_in_blues,
    embed,
    in_blues,
)
from zemosaic_patch.report.kinds import Values, total
from zemosaic_patch.report.pixels import Corners
from zemosaic_patch.report.reading import ReportError, read_told
from zemosaic_patch.report.text import NOTHING, duration, shown
from zemosaic_patch.report.told import Entry, Frame, Shade, Tile, Told

if TYPE_CHECKING:
    from jinja2 import Environment

__all__ = ["MOSAIC_PX", "REPORT", "SOURCES", "ReportError", "write_report"]

REPORT = "report.html"
SOURCES = ("mosaic.json", "tile.json")  # what a report is made of; the first one found
NUMBER_SHARE = 32  # a tile's number in its outline is as high as the mosaic's longer side over this
NAMED_OUTLINES = 300  # of more frames the outlines are one path: a browser draws ten thousand, but not one by one
PATTERN_CELLS = 48  # of a sensor's picture, along its longer side
TABLE_ROWS = 500
OPEN_ROWS = 60  # a longer table is folded up at first


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


def make_ready() -> None:
    """Load what a report is made with, while there is nothing to report yet."""
    import cv2  # noqa: F401

    templates = _templates()
    for name in templates.list_templates(extensions=["j2"]):
        templates.get_template(name)


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
    """Return the page of a report as HTML, with all that it shows inside."""
    style, script = (Path(__file__).with_name(name).read_text(encoding="utf-8") for name in ("style.css", "script.js"))
    most = told.image.coverage_max
    drawn, absent = plots.plots_of(told.frames) if told.frames else ([], [])
    return (
        _templates()
        .get_template("page.html.j2")
        .render(
            title=f"{told.kind} {folder.name}".strip(),
            told=told,
            figures=_figures(told),
            sky=_sky(told, folder),
            comparison=_comparison(told, folder),
            comets=_comets(told, folder),
            sky_maps=_sky_maps(told),
            coverage=embed(folder, told.image.coverage_picture, COVERAGE_PX, in_blues),
            coverage_colours=blues_as_css(),
            most_frames="most frames" if most is None else f"{shown(most)} frames",
            plots=drawn,
            absent=[title.lower() for title in absent],
            table=_table(told),
            left_out=told_together(told.left_out),
            taken_in=told_together(told.taken_in, are_out=False),
            paper=plots,
            style=style,
            script=script,
            script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        )
    )


def _figures(told: Told) -> list[Entry]:
    """Return the figures that matter most."""
    image = told.image
    if told.tiles:
        frames = total(tile.frames[0] for tile in told.tiles)
        first = [Entry("tiles joined", str(len(told.tiles))), Entry("frames in them", shown(frames))]
    else:
        first = [Entry("frames stacked", f"{len(told.frames):,}")]
    rest = {
        "left out": f"{len(told.left_out):,}",
        "frames in a pixel, usually": shown(image.coverage_median),
        "arcsec a pixel": shown(image.scale_arcsec, digits=3),
        "error of star places": shown(image.rms_px, " px", 2),
        "computing time": duration(told.seconds),
    }
    return first + [Entry(name, text) for name, text in rest.items() if NOTHING not in text]


# --- the picture with the outlines of what it is made of --------------------------------------------------------------


@dataclass(frozen=True)
class _Outline:
    """The outline of a frame or tile: its number, its name for the reader, its corners as SVG has them, its middle.

    Of a frame, its trails, too.
    """

    number: int
    text: str
    points: str
    x: float
    y: float
    trails: str = ""


@dataclass(frozen=True)
class _Sky:
    """The picture with outlines, in its pixels.

    `width` and `height` are 0 where nothing can be drawn; `path` has the outlines where they are too many to be told
    apart; `what` are 'frames' or 'tiles', `undrawn` is how many of them have no corners.
    """

    picture: Picture
    width: float
    height: float
    number_size: float
    what: str
    outlines: list[_Outline]
    path: str
    undrawn: int


def _sky(told: Told, folder: Path) -> _Sky:
    picture = embed(folder, told.image.picture, MOSAIC_PX)
    height, width = told.image.shape or (picture.height, picture.width)
    parts: Sequence[Frame | Tile] = told.tiles or told.frames
    placed = [(number, part) for number, part in enumerate(parts, 1) if part.corners and width]
    apart = len(placed) <= NAMED_OUTLINES
    return _Sky(
        picture,
        width,
        height,
        max(width, height) / NUMBER_SHARE,
        "tiles" if told.tiles else "frames",
        [_outline(number, part) for number, part in placed] if apart else [],
        "" if apart else "".join(f"M{_points(part.corners)}Z" for _, part in placed),
        sum(not part.corners for part in parts),
    )


def _points(corners: Corners) -> str:
    return " ".join(f"{x:g},{y:g}" for x, y in corners)


def _outline(number: int, part: Frame | Tile) -> _Outline:
    x, y = np.mean(part.corners, axis=0)
    return _Outline(number, f"{number} · {part.name}{_remark(part)}", _points(part.corners), x, y, _trails(part))


def _trails(part: Frame | Tile) -> str:
    """Return a frame's trails as a path."""
    return "" if isinstance(part, Tile) else "".join(f"M{_points(ends)}" for ends in part.trails if ends)


def _remark(part: Frame | Tile) -> str:
    if isinstance(part, Tile):
        return f" · {shown(part.frames[0])} frames"
    trails = f" · {len(part.trails)} trail{'s' * (len(part.trails) > 1)}" if part.trails else ""
    return f" · weight {shown(part.weight[0], digits=3)}{trails}"


@dataclass(frozen=True)
class _SkyMap:
    """A small picture of the sky's solution, as many pixels as it has cells, and what it shows."""

    uri: str
    width: int
    height: int
    caption: str


def _sky_maps(told: Told) -> list[_SkyMap]:
    """Return what stays on the cameras' sensors, and where frames differ."""
    if told.sky is None:
        return []
    maps = [_sky_map(_pattern(shade), _of_shade(shade)) for shade in told.sky.shades]
    if told.sky.residuals:
        residuals = np.array([[np.nan if cell is None else cell for cell in row] for row in told.sky.residuals])
        maps.append(_sky_map(residuals, "How much frames differ where they show the same sky"))
    return maps


def _sky_map(values: np.ndarray, caption: str) -> _SkyMap:
    known = values[np.isfinite(values)]
    ends = f": {shown(known.min(), digits=3)} ADU (dark) to {shown(known.max(), digits=3)} ADU" if known.size else ""
    return _SkyMap(cells_in_blues(values), values.shape[1], values.shape[0], f"{caption}{ends}")


def _pattern(shade: Shade) -> np.ndarray:
    """Return what a sensor shows more than on average, over a small picture of it."""
    height, width = shade.shape
    cells = [max(2, round(PATTERN_CELLS * side / max(height, width))) for side in (height, width)]
    y, x = np.indices(cells) + 0.5
    x, y = x * width / cells[1] - 0.5, y * height / cells[0] - 0.5
    return np.sum(sensor_terms(shade.shape, x.ravel(), y.ravel()) * shade.terms, axis=1).reshape(cells)


def _of_shade(shade: Shade) -> str:
    corners = "" if shade.corner is None else f"; corners {shown(shade.corner, ' ADU', 3)}"
    error = "" if shade.error is None or not corners else f" (standard error {shown(shade.error, digits=2)})"
    return f"What stays on the sensor{' of ' * bool(shade.camera)}{shade.camera}{corners}{error}"


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


def _comets(told: Told, folder: Path) -> list[Picture]:
    """Return the pictures of what was stacked on a comet's motion."""
    names = () if told.comet is None else (told.comet.picture, told.comet.merged_picture)
    return [embed(folder, name, MOSAIC_PX) for name in names if name]


# --- the table --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Column:
    """A column of the table: heading, unit, the attribute of a frame or tile.

    `decimals` are None where the digits that count are told. Of colours, green stands for all unless all are told.
    """

    heading: str
    unit: str
    attribute: str
    decimals: int | None
    all_colours: bool = False


FRAME_COLUMNS = (
    _Column("Stars", "used", "stars_used", 0),
    _Column("Rms", "px", "rms_px", 3),
    _Column("FWHM", "px", "fwhm_px", 2),
    _Column("Long", "1: round", "elongation", 2),
    _Column("Sky", "ADU", "sky_adu", None, True),
    _Column("Noise", "ADU", "noise_adu", None),
    _Column("Clear", "1: no cloud", "transparency", 2),
    _Column("Added", "ADU", "added_adu", None),
    _Column("Trails", "", "trail_count", 0),
    _Column("Weight", "1 is usual", "weight", 2),
)
TILE_COLUMNS = (_Column("Frames", "", "frames", 0), _Column("Added", "ADU", "background_adu", None, True))


@dataclass(frozen=True)
class _Cell:
    """A figure of the table: by what it is sorted, and its text."""

    sort: str
    text: str


@dataclass(frozen=True)
class _Row:
    """A row of the table: a frame's or tile's number and name, where its outline is, if it has one, its figures."""

    number: int
    name: str
    title: str
    outlined: bool
    cells: list[_Cell]


@dataclass(frozen=True)
class _Table:
    """The table: what its rows are of, columns, rows, how many there would be of all."""

    what: str
    columns: tuple[_Column, ...]
    rows: list[_Row]
    of: int
    unfolded: bool


def _table(told: Told) -> _Table:
    """Return the table of the tiles, or of the frames: where these are too many, of those that count least."""
    parts: Sequence[Frame | Tile] = told.tiles or told.frames
    columns = TILE_COLUMNS if told.tiles else FRAME_COLUMNS
    numbered = list(enumerate(parts, 1))
    if not told.tiles and len(numbered) > TABLE_ROWS:
        least = {number for number, _ in sorted(numbered, key=_counts)[:TABLE_ROWS]}
        numbered = [one for one in numbered if one[0] in least]
    outlined = told.image.shape is not None and len(parts) <= NAMED_OUTLINES
    rows = [
        _Row(number, part.name, getattr(part, "date", ""), outlined and bool(part.corners), _cells(part, columns))
        for number, part in numbered[:TABLE_ROWS]
    ]
    return _Table("tiles" if told.tiles else "frames", columns, rows, len(parts), len(rows) <= OPEN_ROWS)


def _counts(numbered: tuple[int, Frame]) -> float:
    weight = numbered[1].weight[0]
    return np.inf if weight is None else weight


def _cells(part: Frame | Tile, columns: Sequence[_Column]) -> list[_Cell]:
    return [_cell(getattr(part, column.attribute), column) for column in columns]


def _cell(values: Values, column: _Column) -> _Cell:
    """Return a figure; where there is one a colour it is sorted by the second, which is green."""
    main = values[len(values) // 2]
    if main is None:
        return _Cell("", NOTHING)
    told = values if column.all_colours else [main]
    return _Cell(f"{main:.9g}", " · ".join(_figure(value, column.decimals) for value in told))


def _figure(value: float | None, decimals: int | None) -> str:
    return shown(value, digits=3) if value is None or decimals is None else f"{value:,.{decimals}f}"
