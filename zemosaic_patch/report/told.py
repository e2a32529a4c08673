# SPDX-License-Identifier: GPL-3.0-or-later
"""What `mosaic.json`, or `tile.json`, tells: read into records of known types.

The file may be of another version, cut short or changed by hand. What is missing there, or is of the wrong kind, is
None or empty here, so a report can always be made of the rest.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nanstack.io.layout import FrameError, open_file
from zemosaic_patch.report.text import NOTHING, duration, shown

MOST_SHADES, MOST_CELLS = 4, 100  # of cameras, and of a map's rows and columns
MOST_TRAILS = 20  # of a frame
HUGE = 1e100  # no figure of a mosaic is larger

Values = tuple[float | None, ...]
Corners = tuple[tuple[float, float], ...]


class ReportError(ValueError):
    """There is nothing to make a report of; the message names the file and the reason."""


@dataclass(frozen=True)
class Entry:
    """A name, and what is said about it."""

    name: str
    text: str


@dataclass(frozen=True)
class Frame:
    """A frame that was stacked.

    Attributes
    ----------
    name, date : str
    corners : tuple of (float, float)
        In pixels of the picture; empty where they are not known.
    stars_found, stars_used, rms_px, fwhm_px, elongation, sky_adu, noise_adu, transparency, transparency_error,
    added_adu, weight : Values
        As `mosaic.json` has them; several values are those of the colours.
    trails : tuple of Corners
        The ends of each, in pixels of the picture; empty where they are not known.
    """

    name: str
    date: str
    corners: Corners
    stars_found: Values
    stars_used: Values
    rms_px: Values
    fwhm_px: Values
    elongation: Values
    sky_adu: Values
    noise_adu: Values
    transparency: Values
    transparency_error: Values
    added_adu: Values
    weight: Values
    trails: tuple[Corners, ...] = ()

    @property
    def trail_count(self) -> Values:
        """How many trails it has."""
        return (float(len(self.trails)),)


@dataclass(frozen=True)
class Tile:
    """A master tile that was joined.

    Attributes
    ----------
    name : str
    corners : tuple of (float, float)
        In pixels of the picture; empty where they are not known.
    frames, background_adu : Values
        How many it was made of; what was added to its middle.
    """

    name: str
    corners: Corners
    frames: Values
    background_adu: Values


@dataclass(frozen=True)
class Image:
    """The result itself.

    Attributes
    ----------
    file, picture, coverage_picture : str
        Names of files; empty where there are none.
    shape : (float, float) or None
        Height and width in pixels.
    coverage_median, coverage_max, scale_arcsec, rms_px : float or None
        The usual and the largest number of frames in a pixel; the size of a pixel; the usual error of a star's place.
    """

    file: str
    picture: str
    coverage_picture: str
    shape: tuple[float, float] | None
    coverage_median: float | None
    coverage_max: float | None
    scale_arcsec: float | None
    rms_px: float | None


@dataclass(frozen=True)
class Shade:
    """What stays on a camera's sensor, in green, or the only colour.

    Attributes
    ----------
    camera : str
    shape : (float, float)
        Height and width of its frames.
    terms : (float, float, float)
        In ADU, of the squares and the product of places: see `nanstack.register.registered.sensor_terms`.
    corner, error : float or None
        What the corners have more than the frame on average, and its standard error, in ADU.
    """

    camera: str
    shape: tuple[float, float]
    terms: tuple[float, float, float]
    corner: float | None
    error: float | None


@dataclass(frozen=True)
class Sky:
    """How frames were brought to one sky.

    Attributes
    ----------
    words : tuple of str
        What could be told, and what could not.
    shades : tuple of Shade
    residuals : tuple of Values
        By how much frames differ, in ADU, over the picture: rows of one length; None where nothing is seen.
    """

    words: tuple[str, ...]
    shades: tuple[Shade, ...]
    residuals: tuple[Values, ...]


@dataclass(frozen=True)
class Comet:
    """What was stacked on a comet's motion.

    Attributes
    ----------
    picture, merged_picture : str
        Names of files; empty where there are none.
    words : tuple of Entry
        What is known of it.
    """

    picture: str
    merged_picture: str
    words: tuple[Entry, ...]


@dataclass(frozen=True)
class Comparison:
    """Two pictures of the same sky: the names of their files, and what to write below them."""

    before: str
    after: str
    caption_before: str
    caption_after: str


@dataclass(frozen=True)
class Told:
    """All that a report is made of.

    Attributes
    ----------
    kind : {'Mosaic', 'Tile'}
    image : Image
    frames : tuple of Frame
        Empty for a mosaic of existing tiles.
    tiles : tuple of Tile
        Empty for a result stacked straight from frames.
    comparison : Comparison or None
    comet : Comet or None
    sky : Sky or None
    left_out : dict
        Name of a file: why it is not in the result.
    taken_in : dict
        Name of a frame that is in it because the owner wanted it: what speaks against it.
    can_be_taken_in : tuple of str
        Names of those left out that could be in it in the same way.
    warnings : tuple of str
        What else was told while it was made.
    made, settings, times : tuple of Entry
        How it was made, in words; by which settings; how long each stage took.
    seconds : float or None
        In all.
    """

    kind: str
    image: Image
    frames: tuple[Frame, ...]
    tiles: tuple[Tile, ...]
    comparison: Comparison | None
    comet: Comet | None
    sky: Sky | None
    left_out: dict[str, str]
    taken_in: dict[str, str]
    can_be_taken_in: tuple[str, ...]
    warnings: tuple[str, ...]
    made: tuple[Entry, ...]
    settings: tuple[Entry, ...]
    times: tuple[Entry, ...]
    seconds: float | None


def read_told(path: Path) -> Told:
    """Read the description of a mosaic or a tile.

    Raises
    ------
    ReportError
        The file holds no description, or one that an earlier version wrote and that says too little.
    OSError
        It cannot be read.
    """
    try:
        with open_file(path) as file:
            told = json.loads(file.read().decode("utf-8"))
    except FrameError as error:
        raise ReportError(f"{path}: {error.reason}") from error
    except (ValueError, RecursionError) as error:  # neither UTF-8 nor JSON, or brackets within brackets
        raise ReportError(f"{path} is damaged: make it again ({error})") from error
    if not isinstance(told, dict):
        raise ReportError(f"{path} describes neither a mosaic nor a tile: name the folder of one")
    if not {"canvas", "tiles"} & told.keys():
        raise ReportError(f"{path} was written by an earlier version, or is damaged: make it again with --overwrite")
    return _told(told, "Tile" if path.stem == "tile" else "Mosaic")


def _told(told: Mapping, kind: str) -> Told:
    seconds = _mapping(told.get("seconds"))
    return Told(
        kind=kind,
        image=_image(told),
        frames=tuple(_frame(number, _mapping(frame)) for number, frame in enumerate(_items(told.get("frames")), 1)),
        tiles=tuple(_tile(number, _mapping(tile)) for number, tile in enumerate(_items(told.get("tiles")), 1)),
        comparison=_comparison(_mapping(told.get("comparison"))),
        comet=_comet(_mapping(told.get("comet"))),
        sky=_sky(_mapping(told.get("sky"))),
        left_out=_texts(told.get("left_out")),
        taken_in=_texts(told.get("taken_in")),
        can_be_taken_in=tuple(map(str, _items(told.get("can_be_taken_in")))),
        warnings=tuple(map(str, _items(told.get("warnings")))),
        made=_made(told),
        settings=_flat(_mapping(told.get("settings"))),
        times=tuple(Entry(str(step), duration(_number(value))) for step, value in seconds.items()),
        seconds=_number(seconds["total"]) if "total" in seconds else total(map(_number, seconds.values())),
    )


def _image(told: Mapping) -> Image:
    """Return the result's image: of a mosaic of tiles all of it is told in one place."""
    joined = _mapping(told.get("mosaic"))
    canvas, files, stack, registration = (
        _mapping(told.get(name)) or joined for name in ("canvas", "files", "stack", "registration")
    )
    shape = tuple(map(_number, _items(canvas.get("shape"))[:2]))
    known = len(shape) == 2 and None not in shape and min(shape) > 0
    return Image(
        file=_file_name(files.get("image")) or _file_name(files.get("file")),
        picture=_file_name(files.get("picture")),
        coverage_picture=_file_name(files.get("coverage_picture")),
        shape=shape if known else None,
        coverage_median=_number(stack.get("coverage_median")),
        coverage_max=_number(stack.get("coverage_max")),
        scale_arcsec=_number(canvas.get("scale_arcsec")),
        rms_px=_number(registration.get("rms_px_median")),
    )


def _frame(number: int, frame: Mapping) -> Frame:
    return Frame(
        name=_text(frame.get("name")) or f"frame {number}",
        date=_text(frame.get("date")).replace("T", " "),
        corners=_corners(frame.get("corners")),
        stars_found=_values(frame.get("stars_found")),
        stars_used=_values(frame.get("stars_used")),
        rms_px=_values(frame.get("rms_px")),
        fwhm_px=_values(frame.get("fwhm_px")),
        elongation=_values(frame.get("elongation")),
        sky_adu=_values(frame.get("sky_adu")),
        noise_adu=_values(frame.get("noise_adu")),
        transparency=_values(frame.get("transparency")),
        transparency_error=_values(frame.get("transparency_error")),
        added_adu=_values(frame.get("added_adu")),
        weight=_values(frame.get("weight")),
        trails=tuple(_corners(_mapping(trail).get("ends"), 2) for trail in _items(frame.get("trails"))[:MOST_TRAILS]),
    )


def _tile(number: int, tile: Mapping) -> Tile:
    counted = tile.get("frames", _mapping(tile.get("report")).get("frames_aligned"))  # the latter until version 0.2
    return Tile(
        name=_text(tile.get("name")) or f"tile {number}",
        corners=_corners(tile.get("corners")),
        frames=_values(counted),
        background_adu=_values(tile.get("background_adu")),
    )


def _sky(sky: Mapping) -> Sky | None:
    if not sky:
        return None
    told = _mapping(sky.get("told"))
    rows = tuple(_values(row) for row in _items(told.get("residual_map"))[:MOST_CELLS])
    whole = bool(rows) and len({len(row) for row in rows}) == 1 and len(rows[0]) <= MOST_CELLS
    return Sky(
        tuple(map(str, _items(sky.get("words")))),
        tuple(filter(None, (_shade(_mapping(shade)) for shade in _items(told.get("shades"))[:MOST_SHADES]))),
        rows if whole else (),
    )


def _shade(shade: Mapping) -> Shade | None:
    """Return a camera's shade; None where its frames' shape or its terms are not known."""
    shape = tuple(map(_number, _items(shade.get("shape"))))
    colours = _items(shade.get("terms_adu"))
    terms = tuple(map(_number, _items(colours[len(colours) // 2]))) if colours else ()
    if len(shape) != 2 or len(terms) != 3 or None in shape + terms or min(shape) < 1:
        return None
    corner, error = (_values(shade.get(name)) for name in ("corner_adu", "error_adu"))
    return Shade(_text(shade.get("camera")), shape, terms, corner[len(corner) // 2], error[len(error) // 2])


def _comet(comet: Mapping) -> Comet | None:
    if not comet:
        return None
    error, off = _with(comet.get("error_px"), " px at both ends", 2), _with(comet.get("marks_off_px"), " px off", 2)
    by_light = _join("its own light", error and f"to {error}", off and f"the marks were up to {off}")
    ends = " to ".join(filter(None, (_text(comet.get(end)) for end in ("first", "last"))))
    frames = _join(_with(comet.get("frames"), ""), ends)
    words = {
        "frames": frames,
        "pictured where it was at": _join(
            _text(comet.get("when")).replace("T", " ") + " UTC" * bool(comet.get("when")),
            _with(comet.get("ra_deg"), "° right ascension", 7),
            _with(comet.get("dec_deg"), "° declination", 7),
        ),
        "moves by": _join(
            _with(comet.get("moved_px"), " px in all"),
            _with(comet.get("arcsec_per_hour"), " arcsec an hour"),
            _with(comet.get("position_angle_deg"), "° from north to east"),
        ),
        "motion by": by_light if comet.get("by_light") is True else "the marks: no nucleus was surely seen near them",
        "stars": "it moves too little for them to go: short trails stay" if comet.get("stars_stay") is True else "",
        "samples rejected": _with(comet.get("rejected_percent"), " %, those with stars in them among them"),
        "without a time, left out": ", ".join(map(str, _items(comet.get("untimed")))),
    }
    return Comet(
        _file_name(_mapping(comet.get("files")).get("picture")),
        _file_name(_mapping(comet.get("merged")).get("picture")),
        tuple(Entry(name, text) for name, text in words.items() if text),
    )


def _comparison(comparison: Mapping) -> Comparison | None:
    if not comparison:
        return None
    captions = [str(caption) for caption in _items(comparison.get("captions"))[:2]]
    captions += ["Before", "After"][len(captions) :]
    return Comparison(_file_name(comparison.get("before")), _file_name(comparison.get("after")), *captions)


# --- how it was made, in words ----------------------------------------------------------------------------------------


def _made(told: Mapping) -> tuple[Entry, ...]:
    """Return how a result was made; what is not known is left out."""
    canvas, stack, registration, background = (
        _mapping(told.get(name)) for name in ("canvas", "stack", "registration", "background")
    )
    background = background or _mapping(_mapping(told.get("mosaic")).get("background"))
    words = {
        "pixels": _join(_size(canvas), _with(canvas.get("scale_arcsec"), " arcsec each"), _text(canvas.get("like"))),
        "middle": _join(
            _with(canvas.get("ra_deg"), "° right ascension", 7), _with(canvas.get("dec_deg"), "° declination", 7)
        ),
        "place on the sky": _join(
            _text(registration.get("place")), "approximate" if registration.get("approximate") is True else ""
        ),
        "stars against each other": _join(
            _with(registration.get("rms_px_median"), " px in the usual frame"),
            _with(registration.get("rms_px_max"), " px in the worst"),
        ),
        "frames in a pixel": _join(
            _with(stack.get("coverage_median"), " usually"), _with(stack.get("coverage_max"), " at most")
        ),
        "canvas that shows something": _with(stack.get("shown_percent"), " %"),
        "outliers": _join(
            _text(stack.get("rejection")),
            _with(stack.get("rejected_percent"), " % of the samples rejected"),
            "those on trails among them" if _number(stack.get("masked_samples")) else "",
        ),
        "photosites dropped": _drizzle(_mapping(stack.get("drizzle")), stack),
        "trails": _join(
            _with(stack.get("masked_samples") or None, " samples left out", 12),
            _with(stack.get("spared_samples") or None, " stay, as no other frame shows the place", 12),
        ),
        "samples combined by": _text(stack.get("combine")),
        "skies brought together by": _text(stack.get("sky")) or _text(background.get("model")),
        "overlaps compared": _with(background.get("overlaps"), ""),
        "corners of the sensor": "; ".join(map(_of_flat, map(_mapping, _items(told.get("flats"))))),
        "frames weighed by": _text(stack.get("weights")),
        "parts kept from an earlier run": _with(stack.get("cells_kept") or None, f" of {_plain(stack.get('cells'))}"),
    }
    return tuple(Entry(name, text) for name, text in words.items() if text)


def _drizzle(drizzle: Mapping, stack: Mapping) -> str:
    """Return how photosites dropped; empty where they were interpolated."""
    return _join(
        _with(drizzle.get("scale"), " times finer than the frames"),
        _with(drizzle.get("pixfrac"), " of a photosite's side"),
        _text(drizzle.get("kernel")),
        drizzle and _with(stack.get("holes_percent"), " % of the pixels reached by no drop"),
    )


def _of_flat(flat: Mapping) -> str:
    """Return what stars show of a camera's flat: how much less light than the middle its corners get."""
    corners, error = (_number(flat.get(name)) for name in ("corners_percent", "error_percent"))
    if corners is None or error is None:
        return ""
    if corners == 0:  # what stars show is less than its errors may have made
        told = f"stars show no difference from the middle that is sure (± {error:.1f} %): left as they are"
    else:
        more = "less" if corners > 0 else "more"
        told = f"{abs(corners):.1f} ± {error:.1f} % {more} light than the middle, by stars, evened out"
    return f"{_text(flat.get('camera'))}: {told}".removeprefix(": ")


def _size(canvas: Mapping) -> str:
    shape = [_number(side) for side in _items(canvas.get("shape"))[:2]]
    return f"{shape[1]:g} x {shape[0]:g}" if len(shape) == 2 and None not in shape else ""


def _with(value: Any, unit: str, digits: int = 4) -> str:
    number = _number(value)
    return "" if number is None else shown(number, unit, digits)


def _join(*texts: str) -> str:
    return ", ".join(filter(None, texts))


# --- values of the right kind -----------------------------------------------------------------------------------------


def _mapping(value: Any) -> Mapping:
    return value if isinstance(value, Mapping) else {}


def _items(value: Any) -> list:
    return list(value) if isinstance(value, list | tuple) else []


def _text(value: Any) -> str:
    """Return a value as text; empty where there is none."""
    return str(value) if value else ""


def _file_name(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _number(value: Any) -> float | None:
    """Return a finite number of sensible size; None for anything else."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return float(value) if is_number and abs(value) < HUGE else None


def _values(value: Any) -> Values:
    """Return a number, or several, as a tuple of numbers; None for what is none."""
    return tuple(map(_number, _items(value) or [value]))


def total(values: Iterable[float | None]) -> float | None:
    """Return the sum of what is known; None where nothing is."""
    known = [value for value in values if value is not None]
    return sum(known) if known else None


def _corners(value: Any, least: int = 3) -> Corners:
    """Return corners (x, y), so many of them at least; none where one of them is not known."""
    corners = tuple(tuple(map(_number, _items(corner))) for corner in _items(value))
    known = len(corners) >= least and all(len(corner) == 2 and None not in corner for corner in corners)
    return corners if known else ()


def _texts(value: Any) -> dict[str, str]:
    return {str(name): str(text) for name, text in _mapping(value).items()}


def _flat(values: Mapping, prefix: str = "") -> tuple[Entry, ...]:
    """Return nested values as entries, their names joined by dots."""
    entries: list[Entry] = []
    for name, value in values.items():
        if isinstance(value, Mapping) and value:
            entries += _flat(value, f"{prefix}{name}.")
        else:
            entries.append(Entry(f"{prefix}{name}", _plain(value)))
    return tuple(entries)


def _plain(value: Any) -> str:
    """Return a setting as text."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if value is None or value == {} or value == []:
        return NOTHING
    if isinstance(value, list | tuple):
        return ", ".join(f"[{_plain(item)}]" if isinstance(item, list) else _plain(item) for item in value)
    return f"{value:.6g}" if isinstance(value, float) else str(value)
