# SPDX-License-Identifier: GPL-3.0-or-later
"""What `mosaic.json`, or the `tile.json` of one tile, tells: read into records of known types.

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
from zemosaic_patch.report.text import NOTHING, duration

HUGE = 1e100  # no figure of a mosaic is larger

Values = tuple[float | None, ...]


class ReportError(ValueError):
    """There is nothing to make a report of; the message names the file and the reason."""


@dataclass(frozen=True)
class Entry:
    """A name, and what is said about it."""

    name: str
    text: str


@dataclass(frozen=True)
class Frame:
    """A frame of a tile.

    Attributes
    ----------
    name : str
    reason : str
        Why it failed; empty where it did not.
    sky_adu, sky_offset_adu, stars_found, fwhm_px, rms_px, shift_px, rotation_deg, weight : tuple of float or None
        As `tile.json` has them; several values are those of the channels, or of x and y.
    """

    name: str
    reason: str
    sky_adu: Values
    sky_offset_adu: Values
    stars_found: Values
    fwhm_px: Values
    rms_px: Values
    shift_px: Values
    rotation_deg: Values
    weight: Values


@dataclass(frozen=True)
class Tile:
    """A tile of a mosaic.

    Attributes
    ----------
    number : int
        Counted from 1.
    name : str
    corners : tuple of (float, float)
        In pixels of the mosaic; empty where they are not known.
    given, aligned : float or None
        Number of frames.
    failed : tuple of Entry or None
        The frames that failed, and why; None where nothing is told of the tile's frames.
    rms_px, rms_px_max, noise, rejected_percent, band_metric_adu, seconds : float or None
        See the report of a tile.
    reference : str
        The frame that the others were aligned on; empty where it is not known.
    frames : tuple of Frame
    """

    number: int
    name: str
    corners: tuple[tuple[float, float], ...]
    given: float | None
    aligned: float | None
    failed: tuple[Entry, ...] | None
    rms_px: float | None
    rms_px_max: float | None
    noise: float | None
    rejected_percent: float | None
    band_metric_adu: float | None
    seconds: float | None
    reference: str
    frames: tuple[Frame, ...]

    @property
    def failures(self) -> float | None:
        """Number of frames that failed; None where it is not known."""
        return None if self.failed is None else float(len(self.failed))


@dataclass(frozen=True)
class Mosaic:
    """The mosaic itself, or a tile that stands alone.

    Attributes
    ----------
    file, picture, coverage_picture : str
        Names of files; empty where there are none.
    shape : (float, float) or None
        Height and width in pixels.
    coverage_max : float or None
        The most frames in one pixel.
    background : tuple of Entry
        How the tiles' skies were matched.
    """

    file: str
    picture: str
    coverage_picture: str
    shape: tuple[float, float] | None
    coverage_max: float | None
    background: tuple[Entry, ...]


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
    tiles : tuple of Tile
    mosaic : Mosaic
    comparison : Comparison or None
    registration, left_out, settings, times : tuple of Entry
        How the frames found their places; frames in no tile, and why; what the mosaic was made with; how long each
        step took.
    seconds : float or None
        In all.
    """

    tiles: tuple[Tile, ...]
    mosaic: Mosaic
    comparison: Comparison | None
    registration: tuple[Entry, ...]
    left_out: tuple[Entry, ...]
    settings: tuple[Entry, ...]
    times: tuple[Entry, ...]
    seconds: float | None


def read_told(path: Path) -> Told:
    """Read the description of a mosaic, or of a tile, which counts as a mosaic of one.

    Raises
    ------
    ReportError
        The file holds no description.
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
        raise ReportError(f"{path} describes neither a mosaic nor a tile")
    return _told(told if "tiles" in told or "mosaic" in told else _mosaic_of_one(told, path.stem))


def _mosaic_of_one(report: Mapping, name: str) -> dict:
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


def _told(told: Mapping) -> Told:
    tiles = tuple(_tile(number, _mapping(tile)) for number, tile in enumerate(_items(told.get("tiles")), 1))
    seconds = _mapping(told.get("seconds"))
    return Told(
        tiles=tiles,
        mosaic=_mosaic(_mapping(told.get("mosaic"))),
        comparison=_comparison(_mapping(told.get("comparison"))),
        registration=_flat(_mapping(told.get("registration"))),
        left_out=_entries(told.get("left_out")),
        settings=_flat(_mapping(told.get("settings"))),
        times=tuple(Entry(str(step), duration(_number(value))) for step, value in seconds.items()),
        seconds=_seconds_in_all(seconds, tiles),
    )


def _seconds_in_all(seconds: Mapping, tiles: Iterable[Tile]) -> float | None:
    """Return how long a mosaic took: as told, else the sum of its steps, else that of its tiles."""
    told = _number(seconds["total"]) if "total" in seconds else total(map(_number, seconds.values()))
    return total(tile.seconds for tile in tiles) if told is None else told


def _tile(number: int, tile: Mapping) -> Tile:
    report = _mapping(tile.get("report"))
    frames = enumerate(_items(report.get("frames")), 1)
    return Tile(
        number=number,
        name=_text(tile.get("name")) or f"tile {number}",
        corners=_corners(tile.get("corners")),
        given=_number(report.get("frames_given")),
        aligned=_number(report.get("frames_aligned")),
        failed=_entries(report.get("frames_failed")) if report else None,
        rms_px=_number(report.get("rms_px_median")),
        rms_px_max=_number(report.get("rms_px_max")),
        noise=_number(report.get("noise_against_one_frame")),
        rejected_percent=_number(report.get("rejected_percent")),
        band_metric_adu=_number(report.get("band_metric_adu")),
        seconds=_tile_seconds(tile.get("seconds"), report),
        reference=_text(report.get("reference")),
        frames=tuple(_frame(place, _mapping(frame)) for place, frame in frames),
    )


def _tile_seconds(told: Any, report: Mapping) -> float | None:
    """Return how long a tile took: as told, or the sum of its steps."""
    if isinstance(told, Mapping):
        return total(map(_number, told.values()))
    steps = (_number(report.get(name)) for name in ("seconds_align", "seconds_stack"))
    return total(steps) if _number(told) is None else _number(told)


def _frame(place: int, frame: Mapping) -> Frame:
    return Frame(
        name=_text(frame.get("name")) or f"frame {place}",
        reason=_text(frame.get("reason")),
        sky_adu=_values(frame.get("sky_adu")),
        sky_offset_adu=_values(frame.get("sky_offset_adu")),
        stars_found=_values(frame.get("stars_found")),
        fwhm_px=_values(frame.get("fwhm_px")),
        rms_px=_values(frame.get("rms_px")),
        shift_px=_values(frame.get("shift_px")),
        rotation_deg=_values(frame.get("rotation_deg")),
        weight=_values(frame.get("weight")),
    )


def _mosaic(mosaic: Mapping) -> Mosaic:
    shape = tuple(map(_number, _items(mosaic.get("shape"))[:2]))
    known = len(shape) == 2 and None not in shape and min(shape) > 0
    return Mosaic(
        file=_text(mosaic.get("file")),
        picture=_file_name(mosaic.get("picture")),
        coverage_picture=_file_name(mosaic.get("coverage_picture")),
        shape=shape if known else None,
        coverage_max=_number(mosaic.get("coverage_max")),
        background=_flat(_mapping(mosaic.get("background"))),
    )


def _comparison(comparison: Mapping) -> Comparison | None:
    if not comparison:
        return None
    captions = [str(caption) for caption in _items(comparison.get("captions"))[:2]]
    captions += ["Before", "After"][len(captions) :]
    return Comparison(_file_name(comparison.get("before")), _file_name(comparison.get("after")), *captions)


# --------------------------------------------------------------------------------------- values of the right kind


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


def _corners(value: Any) -> tuple[tuple[float, float], ...]:
    """Return corners (x, y), at least three of them; none where one of them is not known."""
    corners = tuple(tuple(map(_number, _items(corner))) for corner in _items(value))
    known = len(corners) >= 3 and all(len(corner) == 2 and None not in corner for corner in corners)
    return corners if known else ()


def _entries(value: Any) -> tuple[Entry, ...]:
    return tuple(Entry(str(name), str(text)) for name, text in _mapping(value).items())


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
