# SPDX-License-Identifier: GPL-3.0-or-later
"""The report: one HTML file about a mosaic, or about a single tile, that needs neither network nor other files.

`mosaic.json` (or `tile.json`) -> sections -> page. Whatever is missing there is said to be missing; the report never
fails for it. All text from outside goes through `_text`, which makes it harmless.
"""

from __future__ import annotations

import base64
import hashlib
import html
import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from nanstack.io.files import complete_file
from nanstack.io.layout import FrameError, open_file

REPORT = "report.html"
SOURCES = ("mosaic.json", "tile.json")  # what a report is made of; the first one found

MOSAIC_PX = 1800  # longest side of an embedded picture
COVERAGE_PX = 900
JPEG_QUALITY = 85
HUGE = 1e100  # no figure of a mosaic is larger
TINY = 1e-9  # none that matters is smaller
FEW, MOST = np.float32([92, 52, 30]), np.float32([252, 232, 206])  # colours of the coverage; B, G, R
NOTHING = "\N{EN DASH}"


class ReportError(ValueError):
    """There is nothing to make a report of; the message names the file and the reason."""


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
    mosaic_json = Path(mosaic_json)
    path = mosaic_json.with_name(REPORT)
    page = _page(_description(mosaic_json), mosaic_json.absolute().parent)
    with complete_file(path) as temporary:
        temporary.write_bytes(page.encode("utf-8", "replace"))  # a file name may hold what is no character
    return path


def _description(path: Path) -> dict:
    """Return what the file says of a mosaic; a tile is a mosaic of one."""
    try:
        with open_file(path) as file:
            told = json.loads(file.read().decode("utf-8"))
    except FrameError as error:
        raise ReportError(f"{path}: {error.reason}") from error
    except (ValueError, RecursionError) as error:  # neither UTF-8 nor JSON, or brackets within brackets
        raise ReportError(f"{path} is damaged, write it anew: {error}") from error
    if not isinstance(told, dict):
        raise ReportError(f"{path} describes neither a mosaic nor a tile: it holds no named values")
    return told if "tiles" in told or "mosaic" in told else _mosaic_of_one(told, path.stem)


def _mosaic_of_one(report: dict, name: str) -> dict:
    return {
        "tiles": [{"name": name, "file": "tile.fits", "report": report}],
        "mosaic": {
            "file": "tile.fits",
            "picture": "tile.png",
            "coverage_picture": "coverage.png",
            "coverage_max": report.get("coverage_max"),
        },
        "left_out": report.get("frames_failed"),
        "settings": report.get("settings"),
        "seconds": {"alignment": report.get("seconds_align"), "stack": report.get("seconds_stack")},
    }


# -------------------------------------------------------------------------------------------------- what was told


def _mapping(value: Any) -> Mapping:
    return value if isinstance(value, Mapping) else {}


def _items(value: Any) -> list:
    return list(value) if isinstance(value, list | tuple) else []


def _number(value: Any) -> float | None:
    """Return a finite number of sensible size; None for anything else."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return float(value) if is_number and abs(value) < HUGE else None


def _sum(values: Iterable[float | None]) -> float | None:
    """Return the sum of what is known; None where nothing is."""
    known = [value for value in values if value is not None]
    return sum(known) if known else None


def _worst(values: Iterable[float | None]) -> float | None:
    return max((value for value in values if value is not None), default=None)


def _seconds(tile: Mapping) -> float | None:
    """Return how long a tile took: as told, or the sum of its steps."""
    told = tile.get("seconds")
    if isinstance(told, Mapping):
        return _sum(map(_number, told.values()))
    report = _mapping(tile.get("report"))
    steps = (_number(report.get(name)) for name in ("seconds_align", "seconds_stack"))
    return _sum(steps) if _number(told) is None else _number(told)


def _failed(tile: Mapping) -> Mapping:
    return _mapping(_mapping(tile.get("report")).get("frames_failed"))


def _corners(tile: Mapping) -> list[tuple[float, float]]:
    """Return a tile's corners in mosaic pixels; none where they are not known."""
    corners = [tuple(map(_number, _items(corner))) for corner in _items(tile.get("corners"))]
    known = len(corners) >= 3 and all(len(corner) == 2 and None not in corner for corner in corners)
    return corners if known else []


# ---------------------------------------------------------------------------------------------------------- text


def _text(value: Any) -> str:
    """Return anything as text that cannot be taken for markup."""
    return html.escape(str(value))


def _name(value: Any) -> str:
    """Return a name as text whose writing direction does not leak into what follows."""
    return f"<bdi>{_text(value)}</bdi>"


def _shown(value: Any, unit: str = "", digits: int = 4) -> str:
    number = _number(value)
    return NOTHING if number is None else f"{number:,.{digits}g}{unit}" if abs(number) < 1e4 else f"{number:,.0f}{unit}"


def _duration(seconds: float | None) -> str:
    if seconds is None or seconds < 120:
        return _shown(seconds, " s", 3)
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {rest:02d} s"


def _flat(values: Mapping, prefix: str = "") -> list[tuple[str, str]]:
    """Return nested values as (name, text), the names joined by dots."""
    lines = []
    for name, value in values.items():
        if isinstance(value, Mapping) and value:
            lines += _flat(value, f"{prefix}{name}.")
        else:
            lines.append((f"{prefix}{name}", _plain(value)))
    return lines


def _plain(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if value is None or value == {} or value == []:
        return NOTHING
    if isinstance(value, list | tuple):
        return ", ".join(f"[{_plain(item)}]" if isinstance(item, list) else _plain(item) for item in value)
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _missing(what: str) -> str:
    return f'<p class="missing">{what}</p>'


# ------------------------------------------------------------------------------------------------------ pictures


@dataclass(frozen=True)
class _Picture:
    """An embedded picture: its data URI, and the height and width of the file that it was made of."""

    uri: str
    shape: tuple[int, int]

    def tag(self, alt: str, attributes: str = "") -> str:
        height, width = self.shape
        return f'<img src="{self.uri}" width="{width}" height="{height}" alt="{_text(alt)}" {attributes}>'


def _picture(folder: Path, name: Any, longest: int, recolour: Callable | None = None) -> _Picture | str:
    """Return a picture for the page, not larger than `longest`; text that says why where there is none."""
    import cv2

    if not isinstance(name, str) or not name:
        return _missing("No picture is named.")
    try:
        with open_file(folder / name) as file:
            data = np.frombuffer(file.read(), dtype=np.uint8)
        pixels = cv2.imdecode(data, cv2.IMREAD_ANYCOLOR)  # 8 bits, whatever the file has
    except FrameError as error:
        return _missing(f"The picture {_name(name)} cannot be read: {_text(error.reason)}.")
    except (OSError, ValueError, cv2.error) as error:
        reason = getattr(error, "strerror", None) or "it is no picture"
        return _missing(f"The picture {_name(name)} cannot be read: {_text(reason)}.")
    if pixels is None:
        return _missing(f"The picture {_name(name)} cannot be read: its format is unknown.")
    height, width = pixels.shape[:2]
    scale = min(1.0, longest / max(height, width))
    if scale < 1:
        size = max(1, round(width * scale)), max(1, round(height * scale))
        pixels = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)
    if recolour is not None:
        pixels = recolour(pixels)
    _, jpeg = cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
    return _Picture("data:image/jpeg;base64," + base64.b64encode(jpeg).decode(), (height, width))


def _in_colour(coverage: np.ndarray) -> np.ndarray:
    """Return a grey coverage in blues that grow lighter evenly; black stays black: no data."""
    grey = (coverage if coverage.ndim == 2 else coverage[..., 1])[..., None]
    blues = FEW + (MOST - FEW) * (grey / np.float32(255))
    return np.where(grey > 0, blues, 0).astype(np.uint8)


def _colour_bar() -> str:
    """Return the colours of `_in_colour` as a CSS gradient."""
    ends = ("{2:.0f},{1:.0f},{0:.0f}".format(*colour) for colour in (FEW, MOST))
    return "linear-gradient(90deg," + ",".join(f"rgb({end})" for end in ends) + ")"


# ------------------------------------------------------------------------------------------------------ sections


def _section(title: str, body: str, name: str) -> str:
    return f'<section aria-labelledby="{name}"><h2 id="{name}">{title}</h2>{body}</section>' if body else ""


def _summary(told: Mapping, tiles: Sequence[Mapping]) -> str:
    """Return the figures that matter most."""
    reports = [_mapping(tile.get("report")) for tile in tiles]

    def all_of(name: str) -> list[float | None]:
        return [_number(report.get(name)) for report in reports]

    total = _sum(map(_number, _mapping(told.get("seconds")).values()))
    if "total" in _mapping(told.get("seconds")):
        total = _number(told["seconds"]["total"])
    seconds = _sum(map(_seconds, tiles)) if total is None else total
    failed = {name for tile in tiles for name in _failed(tile)} | set(_mapping(told.get("left_out")))
    figures = [
        ("tile" if len(tiles) == 1 else "tiles", str(len(tiles))),
        ("frames stacked", f"{_shown(_sum(all_of('frames_aligned')))} of {_shown(_sum(all_of('frames_given')))}"),
        ("failed or left out", str(len(failed))),
        ("worst alignment rms", _shown(_worst(all_of("rms_px_max")), " px", 2)),
        ("worst band metric", _shown(_worst(all_of("band_metric_adu")), " ADU", 2)),
        ("computing time", _duration(seconds)),
    ]
    cells = "".join(f"<div><dt>{name}</dt><dd>{figure}</dd></div>" for name, figure in figures)
    return f'<dl class="figures">{cells}</dl>'


def _sky(mosaic: Mapping, tiles: Sequence[Mapping], folder: Path) -> str:
    """Return the mosaic with the tiles' footprints over it."""
    picture = _picture(folder, mosaic.get("picture"), MOSAIC_PX)
    outlined = [(number, tile, _corners(tile)) for number, tile in enumerate(tiles, 1)]
    drawn = [entry for entry in outlined if entry[2]]
    shape = [_number(side) for side in _items(mosaic.get("shape"))[:2]]
    if len(shape) < 2 or None in shape or min(shape) <= 0:
        shape = list(picture.shape) if isinstance(picture, _Picture) else None
    if isinstance(picture, str) and not (drawn and shape):
        return picture
    layers, notes = "", ""
    if isinstance(picture, _Picture):
        layers = picture.tag("The mosaic, stretched for the screen" if len(tiles) != 1 else "The tile, stretched")
    else:
        notes = picture
        layers = f'<div class="empty" style="aspect-ratio:{shape[1]:g}/{shape[0]:g}"></div>'
    control = ""
    if drawn:
        layers += _footprints(drawn, shape)
        control = (
            '<label class="check"><input type="checkbox" id="outlines" checked> Show the tiles&rsquo; outlines</label>'
        )
        notes += '<p id="pointed" aria-live="polite">Point at a tile, or tap it, for its name.</p>'
    undrawn = [_name(_tile_name(tile, number)) for number, tile, corners in outlined if not corners]
    if undrawn and len(tiles) > 1:
        notes += _missing(f"No corners are recorded for {', '.join(undrawn)}: not outlined.")
    return f'{control}<figure><div class="sky">{layers}</div><figcaption>{notes}</figcaption></figure>'


def _tile_name(tile: Mapping, number: int) -> str:
    return str(tile.get("name") or f"tile {number}")


def _footprints(drawn: Sequence[tuple[int, Mapping, list]], shape: Sequence[float]) -> str:
    """Return the tiles' outlines as SVG in mosaic pixels, to lie over the picture."""
    height, width = shape
    size = max(width, height) / 32
    shapes = []
    for number, tile, corners in drawn:
        report = _mapping(tile.get("report"))
        text = f"{number} · {_tile_name(tile, number)} · {_shown(report.get('frames_aligned'))} frames"
        x, y = np.mean(corners, axis=0)
        points = " ".join(f"{px:g},{py:g}" for px, py in corners)
        shapes.append(
            f'<g tabindex="0" role="img" aria-label="{_text(text)}" data-tile="{_text(text)}"><title>{_text(text)}'
            f'</title><polygon points="{points}"/><text x="{x:g}" y="{y:g}" font-size="{size:g}">{number}</text></g>'
        )
    box = f'viewBox="0 0 {width:g} {height:g}" preserveAspectRatio="none"'
    return f'<svg id="footprints" {box} role="group" aria-label="Outlines of the tiles">{"".join(shapes)}</svg>'


def _comparison(comparison: Mapping, folder: Path) -> str:
    """Return two pictures in one place, and a handle that moves the line between them."""
    if not comparison:
        return ""
    pictures = [_picture(folder, comparison.get(name), MOSAIC_PX) for name in ("before", "after")]
    missing = "".join(picture for picture in pictures if isinstance(picture, str))
    if missing:
        return missing
    captions = [_text(caption) for caption in _items(comparison.get("captions"))[:2]]
    captions += ["Before", "After"][len(captions) :]
    before, after = pictures
    height, width = after.shape
    return (
        f'<figure><div class="compare" style="aspect-ratio:{width}/{height}">'
        f"{after.tag('After: ' + html.unescape(captions[1]))}"
        f"{before.tag('Before: ' + html.unescape(captions[0]), 'class=over')}"
        '<div class="line"></div><input type="range" min="0" max="100" value="50" step="1" '
        'aria-label="Share of the picture that shows the state before, in per cent"></div>'
        f"<figcaption><p><span>← {captions[0]}</span> <span>{captions[1]} →</span></p></figcaption></figure>"
    )


def _coverage(mosaic: Mapping, folder: Path) -> str:
    picture = _picture(folder, mosaic.get("coverage_picture"), COVERAGE_PX, _in_colour)
    if isinstance(picture, str):
        return picture
    most = _number(mosaic.get("coverage_max"))
    most_text = "most frames" if most is None else f"{_shown(most)} frames"
    return (
        f"<figure>{picture.tag('Coverage: the lighter, the more frames; black where there is no data')}"
        f'<figcaption><p class="key"><span>few</span><i style="background:{_colour_bar()}"></i>'
        f"<span>{most_text}</span></p><p>Frames stacked in each pixel. Black: no data.</p></figcaption></figure>"
    )


# Heading, unit, decimals, and how the figure is found in a tile.
COLUMNS: tuple[tuple[str, str, int, Callable[[Mapping, Mapping], Any]], ...] = (
    ("Given", "frames", 0, lambda tile, report: report.get("frames_given")),
    ("Aligned", "frames", 0, lambda tile, report: report.get("frames_aligned")),
    ("Failed", "frames", 0, lambda tile, report: len(_failed(tile)) if report else None),
    ("Rms", "px, median", 3, lambda tile, report: report.get("rms_px_median")),
    ("Noise", "of one frame&rsquo;s", 3, lambda tile, report: report.get("noise_against_one_frame")),
    ("Rejected", "% of samples", 2, lambda tile, report: report.get("rejected_percent")),
    ("Band metric", "ADU", 2, lambda tile, report: report.get("band_metric_adu")),
    ("Time", "s", 1, lambda tile, report: _seconds(tile)),
)


def _table(tiles: Sequence[Mapping]) -> str:
    """Return the table of the tiles; a heading sorts it."""
    if not tiles:
        return _missing("No tiles are recorded.")
    heads = [("Tile", ""), *((name, unit) for name, unit, *_ in COLUMNS)]
    head = "".join(
        f'<th scope="col"><button type="button">{name}</button><small>{unit}</small></th>' for name, unit in heads
    )
    rows = "".join(_row(number, tile) for number, tile in enumerate(tiles, 1))
    return (
        '<div class="scroll" tabindex="0" role="region" aria-label="Table of the tiles">'
        f"<table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>"
        f'<p class="note">{"Press a heading to sort. " * (len(tiles) > 1)}'
        "Band metric: the colour step between a tile&rsquo;s rim and its inside.</p>"
    )


def _row(number: int, tile: Mapping) -> str:
    report = _mapping(tile.get("report"))
    cells = []
    for name, _, decimals, figure in COLUMNS:
        value = _number(figure(tile, report))
        shown = NOTHING if value is None else f"{value:,.{decimals}f}"
        if name == "Failed" and value:
            shown = _failures(_failed(tile))
        cells.append(f'<td data-sort="{"" if value is None else f"{value:.9g}"}">{shown}</td>')
    name = _tile_name(tile, number)
    link = f'<a href="#tile-{number}">{number} · {_name(name)}</a>'
    return f'<tr><th scope="row" data-sort="{number}">{link}</th>{"".join(cells)}</tr>'


def _failures(failed: Mapping) -> str:
    reasons = "".join(f"<li>{_name(name)}: {_text(reason)}</li>" for name, reason in failed.items())
    return (
        f'<details><summary aria-label="{len(failed)} failed: why">{len(failed)}</summary><ul>{reasons}</ul></details>'
    )


def _pairs(lines: Sequence[tuple[str, str]], missing: str) -> str:
    """Return names and values, one pair a line."""
    if not lines:
        return _missing(missing)
    return '<dl class="pairs">' + "".join(f"<dt>{_text(k)}</dt><dd>{_name(v)}</dd>" for k, v in lines) + "</dl>"


# --------------------------------------------------------------------------------------------------------- plots


@dataclass(frozen=True)
class _Quantity:
    """What is plotted of a tile's frames: title, unit, the keys that may hold it, names of its components."""

    title: str
    unit: str
    keys: tuple[str, ...]
    parts: tuple[str, ...] = ()


QUANTITIES = (
    _Quantity("Sky level", "ADU", ("sky_adu",), ("R", "G", "B")),
    _Quantity("Sky offset to the reference", "ADU", ("sky_offset_adu",), ("R", "G", "B")),
    _Quantity("Stars found", "", ("stars_found",)),
    _Quantity("Star width (FWHM)", "px", ("fwhm_px",)),
    _Quantity("Alignment rms", "px", ("rms_px",)),
    _Quantity("Shift", "px", ("shift_px",), ("x", "y")),
    _Quantity("Rotation", "°", ("rotation_deg",)),
    _Quantity("Weight", "", ("weight",), ("R", "G", "B")),
)


def _frames_of(number: int, tile: Mapping, is_open: bool) -> str:
    """Return the plots of one tile, to be unfolded."""
    frames = [_mapping(frame) for frame in _items(_mapping(tile.get("report")).get("frames"))]
    plots, absent = [], []
    for quantity in QUANTITIES:
        series = _series(frames, quantity)
        if series:
            plots.append(_plot(quantity, series, frames))
        else:
            absent.append(quantity.title.lower())
    body = f'<div class="plots">{"".join(plots)}</div>' if plots else ""
    body += _missing(f"Not recorded: {', '.join(absent)}.") if absent else ""
    reference = _mapping(tile.get("report")).get("reference")
    note = f'<p class="note">Aligned on {_name(reference)}.</p>' if reference else ""
    title = f"{number} · {_name(_tile_name(tile, number))}"
    return (
        f'<details class="tile" id="tile-{number}"{" open" * is_open}><summary>{title}</summary>{note}{body}</details>'
    )


def _series(frames: Sequence[Mapping], quantity: _Quantity) -> dict[str, list[float | None]]:
    """Return a quantity's values frame by frame, by component; nothing where no frame has it."""
    rows = []
    for frame in frames:
        value = next((frame[key] for key in quantity.keys if frame.get(key) is not None), None)
        rows.append([_number(part) for part in _items(value) or [value]])
    count = min(max(map(len, rows), default=0), max(1, len(quantity.parts)))
    columns = [[row[part] if part < len(row) else None for row in rows] for part in range(count)]
    names = quantity.parts if count > 1 else ("",)
    return {name: values for name, values in zip(names, columns, strict=False) if any(v is not None for v in values)}


PLOT_WIDTH, PLOT_HEIGHT = 340, 150  # the SVG's own units, about CSS pixels
LEFT, RIGHT, TOP, BOTTOM = 46, 10, 10, 24


def _plot(quantity: _Quantity, series: Mapping[str, list[float | None]], frames: Sequence[Mapping]) -> str:
    """Return a quantity over the sequence of the frames as inline SVG; a cross marks a frame without it."""
    known = [value for values in series.values() for value in values if value is not None]
    ticks = _ticks(min(known), max(known))
    across = (PLOT_WIDTH - LEFT - RIGHT) / len(frames)
    down = (PLOT_HEIGHT - TOP - BOTTOM) / (ticks[-1] - ticks[0])
    xs = [LEFT + across * (index + 0.5) for index in range(len(frames))]

    def y(value: float) -> float:
        return TOP + down * (ticks[-1] - value)

    shapes = [_axes(ticks, y, xs)]
    for order, (part, values) in enumerate(series.items()):
        points = [None if value is None else (x, y(value)) for x, value in zip(xs, values, strict=True)]
        dots = "".join(
            f'<circle cx="{point[0]:.1f}" cy="{point[1]:.1f}" r="2.6">'
            f"<title>{_text(_frame_name(frame, index))}: {part} {_shown(value)} {quantity.unit}</title></circle>"
            for index, (frame, point, value) in enumerate(zip(frames, points, values, strict=True))
            if point is not None
        )
        shapes.append(f'<g class="{_series_class(part, order)}"><path d="{_line(points)}"/>{dots}</g>')
    for index, frame in enumerate(frames):
        if all(values[index] is None for values in series.values()):
            why = f"{_frame_name(frame, index)}: {frame.get('reason') or 'not measured'}"
            cross = f"M{xs[index] - 3:.1f} {PLOT_HEIGHT - BOTTOM - 9}l6 6m-6 0l6 -6"
            shapes.append(f'<path class="gap" d="{cross}"><title>{_text(why)}</title></path>')

    unit = f" <small>{quantity.unit}</small>" if quantity.unit else ""
    parts = [f'<span class="{_series_class(part, order)}">{part}</span>' for order, part in enumerate(series) if part]
    told = f"{quantity.title} of {len(frames)} frames: {_shown(min(known))} to {_shown(max(known))} {quantity.unit}"
    return (
        f'<figure class="plot"><figcaption>{quantity.title}{unit}{"".join(parts)}</figcaption>'
        f'<svg viewBox="0 0 {PLOT_WIDTH} {PLOT_HEIGHT}" role="img" aria-label="{told}">{"".join(shapes)}</svg></figure>'
    )


def _frame_name(frame: Mapping, index: int) -> str:
    return str(frame.get("name") or f"frame {index + 1}")


def _series_class(part: str, order: int) -> str:
    """Return the CSS class of a component: channels have their colours, others come in order."""
    return f"s{part}" if part in ("R", "G", "B") else f"s{order}"


def _axes(ticks: Sequence[float], y: Callable[[float], float], xs: Sequence[float]) -> str:
    """Return the grid with its labels, and the first and the last frame's number."""
    shapes = [
        f'<path class="grid" d="M{LEFT} {y(tick):.1f}H{PLOT_WIDTH - RIGHT}"/>'
        f'<text x="{LEFT - 6}" y="{y(tick) + 3.5:.1f}" text-anchor="end">{_shown(tick, digits=6)}</text>'
        for tick in ticks
    ]
    labels = {xs[0]: "1", (LEFT + PLOT_WIDTH - RIGHT) / 2: "frame", xs[-1]: str(len(xs))} if len(xs) > 1 else {}
    shapes += [
        f'<text x="{x:.1f}" y="{PLOT_HEIGHT - 8}" text-anchor="middle">{label}</text>' for x, label in labels.items()
    ]
    return "".join(shapes)


def _line(points: Sequence[tuple[float, float] | None]) -> str:
    """Return an SVG path through the points, broken where one is missing."""
    steps = []
    for before, point in zip([None, *points], points, strict=False):
        if point is not None:
            steps.append(f"{'M' if before is None else 'L'}{point[0]:.1f} {point[1]:.1f}")
    return "".join(steps)


def _ticks(low: float, high: float) -> list[float]:
    """Return two to six round numbers, evenly spaced, that enclose the range."""
    size = max(abs(low), abs(high))
    if high - low <= 1e-6 * size + TINY:  # a constant still needs an axis
        pad = 0.1 * size if size > TINY else 1.0
        low, high = low - pad, high + pad
    coarse = (high - low) / 4
    decade = 10.0 ** math.floor(math.log10(coarse))
    step = next(factor * decade for factor in (1, 2, 2.5, 5, 10) if factor * decade >= coarse)
    return [index * step for index in range(math.floor(low / step), math.ceil(high / step) + 1)]


# ---------------------------------------------------------------------------------------------------------- page


def _page(told: Mapping, folder: Path) -> str:
    tiles = [_mapping(tile) for tile in _items(told.get("tiles"))]
    mosaic = _mapping(told.get("mosaic"))
    left_out = _mapping(told.get("left_out"))
    one = len(tiles) == 1
    title = f"{'Tile' if one else 'Mosaic'} {folder.name}".strip()
    plots = "".join(_frames_of(number, tile, number == 1) for number, tile in enumerate(tiles, 1))
    background = _flat(_mapping(mosaic.get("background")))
    sections = [
        _section("The tile" if one else "The mosaic", _sky(mosaic, tiles, folder), "sky"),
        _section("Before and after", _comparison(_mapping(told.get("comparison")), folder), "comparison"),
        _section("Coverage", _coverage(mosaic, folder), "coverage"),
        _section("Tiles" if not one else "Figures", _table(tiles), "tiles"),
        _section("Frames", plots, "frames"),
        _section(
            "Left out",
            _pairs([(str(name), str(reason)) for name, reason in left_out.items()], "No frames were left out."),
            "left-out",
        ),
        _section("Sky between the tiles", _pairs(background, "") if background else "", "background"),
        _section("Settings", _pairs(_flat(_mapping(told.get("settings"))), "No settings are recorded."), "settings"),
        _section("Time", _pairs(_seconds_lines(told), "No times are recorded."), "time"),
    ]
    digest = base64.b64encode(hashlib.sha256(SCRIPT.encode()).digest()).decode()
    policy = (
        "default-src 'none'; img-src data:; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; "
        f"script-src 'sha256-{digest}'"
    )
    file = f" · {_name(mosaic['file'])}" if mosaic.get("file") else ""
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<meta name="color-scheme" content="light dark"><link rel="icon" href="data:,">'
        f"<title>{_text(title)}</title><style>{STYLE}</style></head>\n<body><header>"
        f"<p>zemosaic-patch{file}</p><h1>{_name(title)}</h1>{_summary(told, tiles)}</header>\n"
        f"<main>{chr(10).join(filter(None, sections))}</main>\n<script>{SCRIPT}</script></body></html>\n"
    )


def _seconds_lines(told: Mapping) -> list[tuple[str, str]]:
    seconds = _mapping(told.get("seconds"))
    return [(str(step), _duration(_number(value))) for step, value in seconds.items()]


STYLE = """
:root{--paper:#f6f7f9;--card:#fff;--ink:#18212c;--soft:#55616f;--rule:#dbe0e6;--accent:#1d5c96;
--r:#b3362e;--g:#2a7a3f;--b:#2f5fc0}
@media (prefers-color-scheme:dark){:root{--paper:#0c1119;--card:#131a24;--ink:#dde4ec;--soft:#98a5b4;--rule:#273240;
--accent:#8abdf0;--r:#ee8a80;--g:#7cc78e;--b:#8fb0f5}}
*{box-sizing:border-box}
body{margin:0;background:var(--paper);color:var(--ink);
font:16px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,sans-serif;overflow-wrap:anywhere}
header,main{max-width:72rem;margin:auto;padding:0 clamp(1rem,4vw,2.5rem)}
header{padding-top:2.5rem}main{padding-bottom:4rem}
header p{margin:0;color:var(--soft);font-size:.875rem}
h1{margin:.1rem 0 1.5rem;font-weight:600;font-size:clamp(1.6rem,5vw,2.3rem);line-height:1.2;letter-spacing:-.01em}
section{margin-top:3rem}h2{font-size:1.15rem;font-weight:600;margin:0 0 .9rem}
a{color:var(--accent)}:focus-visible{outline:2px solid var(--accent);outline-offset:2px}
small,.note,.missing,figcaption{color:var(--soft);font-size:.875rem}.missing{font-style:italic}
.figures{display:grid;grid-template-columns:repeat(auto-fit,minmax(9rem,1fr));gap:1px;margin:0;background:var(--rule);
border:1px solid var(--rule);border-radius:10px;overflow:hidden}
.figures div{background:var(--card);padding:.8rem 1rem;display:flex;flex-direction:column-reverse}
.figures dt{color:var(--soft);font-size:.8125rem}
.figures dd{margin:0;font-size:1.25rem;font-variant-numeric:tabular-nums}
figure{margin:0}figure img,.sky,.compare{display:block;width:100%;height:auto;border-radius:8px;background:#000}
figcaption p{margin:.5rem 0 0}
.check{display:inline-flex;gap:.5rem;align-items:center;margin-bottom:.7rem;min-height:2rem}
input{accent-color:var(--accent)}
.sky,.compare{position:relative;overflow:hidden}.sky img{border-radius:0}.empty{width:100%}
#footprints{position:absolute;inset:0;width:100%;height:100%}
#footprints polygon{fill:transparent;stroke:#bfe0ff;
stroke-width:1.5;stroke-opacity:.75;vector-effect:non-scaling-stroke}
#footprints text{fill:#fff;text-anchor:middle;dominant-baseline:central;pointer-events:none;paint-order:stroke;
stroke:#000;stroke-width:.25em;stroke-opacity:.6;font-weight:600}
#footprints g{outline:none;cursor:pointer}
#footprints g:is(:hover,:focus) polygon{fill:#8abdf0;fill-opacity:.2;stroke-opacity:1;stroke-width:3}
section:has(#outlines:not(:checked)) :is(#footprints,#pointed){display:none}
.compare img{position:absolute;inset:0;height:100%;object-fit:cover;border-radius:0}
.compare .over{clip-path:inset(0 calc(100% - var(--cut,50%)) 0 0)}
.compare .line{position:absolute;inset:0 auto 0 var(--cut,50%);width:2px;margin-left:-1px;background:#fff}
.compare .line::after{content:"\\2039 \\203a";position:absolute;
top:50%;left:50%;translate:-50% -50%;width:2.6rem;height:2.6rem;
line-height:2.4rem;text-align:center;border-radius:50%;background:#fff;color:#18212c;font-weight:700}
.compare:has(:focus-visible) .line::after{outline:3px solid var(--accent);outline-offset:2px}
.compare input{position:absolute;inset:0;width:100%;height:100%;margin:0;opacity:0;cursor:ew-resize;touch-action:pan-y}
.compare+figcaption p{display:flex;justify-content:space-between;gap:1rem}
.compare+figcaption span+span{text-align:right}
#coverage~figure img{max-width:44rem}
.key{display:flex;gap:.6rem;align-items:center;max-width:20rem}.key i{flex:1;height:.6rem;border-radius:3px}
.key span{white-space:nowrap}
.scroll{overflow-x:auto;border:1px solid var(--rule);border-radius:10px;background:var(--card)}
table{border-collapse:collapse;width:100%;font-size:.9375rem;font-variant-numeric:tabular-nums}
th,td{padding:.55rem .8rem;text-align:right;vertical-align:top;white-space:nowrap}
th:first-child{text-align:left}tbody th{font-weight:500;max-width:16rem;white-space:normal;min-width:9rem}
tbody tr{border-top:1px solid var(--rule)}
thead small{display:block;font-weight:400;font-size:.75rem}
thead button{all:unset;cursor:pointer;font-weight:600}thead button:focus-visible{outline:2px solid var(--accent)}
[aria-sort] button{color:var(--accent)}[aria-sort=ascending] button::after{content:" ↑"}
[aria-sort=descending] button::after{content:" ↓"}
td ul{margin:.4rem 0 0;padding:0;list-style:none;text-align:left;white-space:normal;width:16rem;font-size:.8125rem}
summary{cursor:pointer}
.tile{border-top:1px solid var(--rule);padding:.7rem 0}.tile>summary{font-weight:500;min-height:2rem}
.plots{display:grid;
grid-template-columns:repeat(auto-fill,minmax(min(18rem,100%),1fr));gap:1.25rem 1.75rem;margin-top:.6rem}
.plot figcaption{color:var(--ink);font-weight:500}.plot figcaption span{margin-left:.7rem;font-size:.8125rem}
.plot svg{display:block;width:100%}.plot text{fill:var(--soft);font-size:11px}
.grid{stroke:var(--rule)}.gap{stroke:var(--soft);fill:none;stroke-width:1.5}
.plot g path{fill:none;stroke:currentColor;stroke-width:1.3;stroke-opacity:.7}.plot circle{fill:currentColor}
.s1 path{stroke-dasharray:4 2}
.s0{color:var(--accent)}.s1{color:var(--soft)}.sR{color:var(--r)}.sG{color:var(--g)}.sB{color:var(--b)}
.pairs{display:grid;grid-template-columns:minmax(8rem,auto) 1fr;gap:.35rem 1.5rem;margin:0;font-size:.9375rem}
.pairs dt{color:var(--soft)}.pairs dd{margin:0}
@media print{.check,.note{display:none}section{break-inside:avoid}}
"""

SCRIPT = """
"use strict";
for (const button of document.querySelectorAll("thead button")) button.addEventListener("click", () => {
  const head = button.closest("th"), body = head.closest("table").tBodies[0];
  const up = head.getAttribute("aria-sort") !== "ascending";
  for (const other of head.parentNode.cells) other.removeAttribute("aria-sort");
  head.setAttribute("aria-sort", up ? "ascending" : "descending");
  const key = row => row.cells[head.cellIndex].dataset.sort;
  const order = (a, b) => key(a) === "" || key(b) === "" ? (key(a) === "") - (key(b) === "")
    : (up ? 1 : -1) * (key(a) - key(b));
  body.append(...[...body.rows].sort(order));
});
for (const tile of document.querySelectorAll("[data-tile]")) for (const event of ["pointerenter", "focus", "click"])
  tile.addEventListener(event, () => { document.getElementById("pointed").textContent = tile.dataset.tile; });
for (const handle of document.querySelectorAll(".compare input")) handle.addEventListener("input", () =>
  handle.parentNode.style.setProperty("--cut", handle.value + "%"));
function unfold() {
  const tile = document.getElementById(location.hash.slice(1));
  if (tile && tile.matches("details")) { tile.open = true; tile.scrollIntoView(); }
}
addEventListener("hashchange", unfold);
unfold();
"""
