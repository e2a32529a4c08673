# SPDX-License-Identifier: GPL-3.0-or-later
"""`mosaic.json`, or `tile.json`, read into the records of `zemosaic_patch.report.told`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from nanstack.io.layout import FrameError, open_file
from zemosaic_patch.report.kinds import (
    as_corners,
    as_file_name,
    as_items,
    as_mapping,
    as_number,
    as_text,
    as_texts,
    as_values,
    total,
)
from zemosaic_patch.report.making import settings_in_words, words_of_comet, words_of_making
from zemosaic_patch.report.text import duration
from zemosaic_patch.report.told import Comet, Comparison, Entry, Frame, Image, Shade, Sky, Tile, Told

MOST_SHADES, MOST_CELLS = 4, 100  # of cameras, and of a map's rows and columns
MOST_TRAILS = 20  # of a frame


class ReportError(ValueError):
    """There is nothing to make a report of; the message names the file and the reason."""


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
    """Return what the file's object tells, as records."""
    seconds = as_mapping(told.get("seconds"))
    return Told(
        kind=kind,
        image=_image(told),
        frames=tuple(_frame(number, as_mapping(frame)) for number, frame in enumerate(as_items(told.get("frames")), 1)),
        tiles=tuple(_tile(number, as_mapping(tile)) for number, tile in enumerate(as_items(told.get("tiles")), 1)),
        comparison=_comparison(as_mapping(told.get("comparison"))),
        comet=_comet(as_mapping(told.get("comet"))),
        sky=_sky(as_mapping(told.get("sky"))),
        left_out=as_texts(told.get("left_out")),
        taken_in=as_texts(told.get("taken_in")),
        can_be_taken_in=tuple(map(str, as_items(told.get("can_be_taken_in")))),
        warnings=tuple(map(str, as_items(told.get("warnings")))),
        made=words_of_making(told),
        settings=settings_in_words(as_mapping(told.get("settings"))),
        times=tuple(Entry(str(step), duration(as_number(value))) for step, value in seconds.items()),
        seconds=as_number(seconds["total"]) if "total" in seconds else total(map(as_number, seconds.values())),
    )


def _image(told: Mapping) -> Image:
    """Return the result's image: of a mosaic of tiles all of it is told in one place."""
    joined = as_mapping(told.get("mosaic"))
    canvas, files, stack, registration = (
        as_mapping(told.get(name)) or joined for name in ("canvas", "files", "stack", "registration")
    )
    shape = tuple(map(as_number, as_items(canvas.get("shape"))[:2]))
    known = len(shape) == 2 and None not in shape and min(shape) > 0
    return Image(
        file=as_file_name(files.get("image")) or as_file_name(files.get("file")),
        picture=as_file_name(files.get("picture")),
        coverage_picture=as_file_name(files.get("coverage_picture")),
        shape=shape if known else None,
        coverage_median=as_number(stack.get("coverage_median")),
        coverage_max=as_number(stack.get("coverage_max")),
        scale_arcsec=as_number(canvas.get("scale_arcsec")),
        rms_px=as_number(registration.get("rms_px_median")),
    )


def _frame(number: int, frame: Mapping) -> Frame:
    """Return a frame; a number stands for a name that it has not."""
    return Frame(
        name=as_text(frame.get("name")) or f"frame {number}",
        date=as_text(frame.get("date")).replace("T", " "),
        corners=as_corners(frame.get("corners")),
        stars_found=as_values(frame.get("stars_found")),
        stars_used=as_values(frame.get("stars_used")),
        rms_px=as_values(frame.get("rms_px")),
        fwhm_px=as_values(frame.get("fwhm_px")),
        elongation=as_values(frame.get("elongation")),
        sky_adu=as_values(frame.get("sky_adu")),
        noise_adu=as_values(frame.get("noise_adu")),
        transparency=as_values(frame.get("transparency")),
        transparency_error=as_values(frame.get("transparency_error")),
        added_adu=as_values(frame.get("added_adu")),
        weight=as_values(frame.get("weight")),
        trails=tuple(
            as_corners(as_mapping(trail).get("ends"), 2) for trail in as_items(frame.get("trails"))[:MOST_TRAILS]
        ),
    )


def _tile(number: int, tile: Mapping) -> Tile:
    """Return a tile; a number stands for a name that it has not."""
    counted = tile.get("frames", as_mapping(tile.get("report")).get("frames_aligned"))  # the latter until version 0.2
    return Tile(
        name=as_text(tile.get("name")) or f"tile {number}",
        corners=as_corners(tile.get("corners")),
        frames=as_values(counted),
        background_adu=as_values(tile.get("background_adu")),
    )


def _sky(sky: Mapping) -> Sky | None:
    if not sky:
        return None
    told = as_mapping(sky.get("told"))
    rows = tuple(as_values(row) for row in as_items(told.get("residual_map"))[:MOST_CELLS])
    whole = bool(rows) and len({len(row) for row in rows}) == 1 and len(rows[0]) <= MOST_CELLS
    return Sky(
        tuple(map(str, as_items(sky.get("words")))),
        tuple(filter(None, (_shade(as_mapping(shade)) for shade in as_items(told.get("shades"))[:MOST_SHADES]))),
        rows if whole else (),
    )


def _shade(shade: Mapping) -> Shade | None:
    """Return a camera's shade; None where its frames' shape or its terms are not known."""
    shape = tuple(map(as_number, as_items(shade.get("shape"))))
    colours = as_items(shade.get("terms_adu"))
    terms = tuple(map(as_number, as_items(colours[len(colours) // 2]))) if colours else ()
    if len(shape) != 2 or len(terms) != 3 or None in shape + terms or min(shape) < 1:
        return None
    corner, error = (as_values(shade.get(name)) for name in ("corner_adu", "error_adu"))
    return Shade(as_text(shade.get("camera")), shape, terms, corner[len(corner) // 2], error[len(error) // 2])


def _comet(comet: Mapping) -> Comet | None:
    if not comet:
        return None
    return Comet(
        picture=as_file_name(as_mapping(comet.get("files")).get("picture")),
        merged_picture=as_file_name(as_mapping(comet.get("merged")).get("picture")),
        words=words_of_comet(comet),
    )


def _comparison(comparison: Mapping) -> Comparison | None:
    if not comparison:
        return None
    captions = [str(caption) for caption in as_items(comparison.get("captions"))[:2]]
    captions += ["Before", "After"][len(captions) :]
    return Comparison(as_file_name(comparison.get("before")), as_file_name(comparison.get("after")), *captions)
