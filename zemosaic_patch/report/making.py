# SPDX-License-Identifier: GPL-3.0-or-later
"""How a result was made, in words: what `mosaic.json`, or `tile.json`, tells of the steps and the settings."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from zemosaic_patch.report.kinds import as_items, as_mapping, as_number, as_text
from zemosaic_patch.report.text import NOTHING, shown
from zemosaic_patch.report.told import Entry


def words_of_making(told: Mapping) -> tuple[Entry, ...]:
    """Return how a result was made; what is not known is left out."""
    canvas, stack, registration, background = (
        as_mapping(told.get(name)) for name in ("canvas", "stack", "registration", "background")
    )
    background = background or as_mapping(as_mapping(told.get("mosaic")).get("background"))
    words = {
        "pixels": _join(_size(canvas), _with(canvas.get("scale_arcsec"), " arcsec each"), as_text(canvas.get("like"))),
        "middle": _join(
            _with(canvas.get("ra_deg"), "° right ascension", 7), _with(canvas.get("dec_deg"), "° declination", 7)
        ),
        "place on the sky": _join(
            as_text(registration.get("place")), "approximate" if registration.get("approximate") is True else ""
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
            as_text(stack.get("rejection")),
            _with(stack.get("rejected_percent"), " % of the samples rejected"),
            "those on trails among them" if as_number(stack.get("masked_samples")) else "",
        ),
        "photosites dropped": _drizzle(as_mapping(stack.get("drizzle")), stack),
        "trails": _join(
            _with(stack.get("masked_samples") or None, " samples left out", 12),
            _with(stack.get("spared_samples") or None, " stay, as no other frame shows the place", 12),
        ),
        "samples combined by": as_text(stack.get("combine")),
        "skies brought together by": as_text(stack.get("sky")) or as_text(background.get("model")),
        "overlaps compared": _with(background.get("overlaps"), ""),
        "corners of the sensor": "; ".join(map(_of_flat, map(as_mapping, as_items(told.get("flats"))))),
        "frames weighed by": as_text(stack.get("weights")),
        "parts kept from an earlier run": _with(stack.get("cells_kept") or None, f" of {_plain(stack.get('cells'))}"),
    }
    return _entries(words)


def words_of_comet(comet: Mapping) -> tuple[Entry, ...]:
    """Return what is known of a comet's stack; what is not known is left out."""
    error, off = _with(comet.get("error_px"), " px at both ends", 2), _with(comet.get("marks_off_px"), " px off", 2)
    by_light = _join("its own light", error and f"to {error}", off and f"the marks were up to {off}")
    ends = " to ".join(filter(None, (as_text(comet.get(end)) for end in ("first", "last"))))
    frames = _join(_with(comet.get("frames"), ""), ends)
    words = {
        "frames": frames,
        "pictured where it was at": _join(
            as_text(comet.get("when")).replace("T", " ") + " UTC" * bool(comet.get("when")),
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
        "without a time, left out": ", ".join(map(str, as_items(comet.get("untimed")))),
    }
    return _entries(words)


def settings_in_words(values: Mapping, prefix: str = "") -> tuple[Entry, ...]:
    """Return nested values as entries, their names joined by dots."""
    entries: list[Entry] = []
    for name, value in values.items():
        if isinstance(value, Mapping) and value:
            entries += settings_in_words(value, f"{prefix}{name}.")
        else:
            entries.append(Entry(f"{prefix}{name}", _plain(value)))
    return tuple(entries)


def _drizzle(drizzle: Mapping, stack: Mapping) -> str:
    """Return how photosites dropped; empty where they were interpolated."""
    return _join(
        _with(drizzle.get("scale"), " times finer than the frames"),
        _with(drizzle.get("pixfrac"), " of a photosite's side"),
        as_text(drizzle.get("kernel")),
        drizzle and _with(stack.get("holes_percent"), " % of the pixels reached by no drop"),
    )


def _of_flat(flat: Mapping) -> str:
    """Return what stars show of a camera's flat: how much less light than the middle its corners get."""
    corners, error = (as_number(flat.get(name)) for name in ("corners_percent", "error_percent"))
    if corners is None or error is None:
        return ""
    if corners == 0:  # what stars show is less than its errors may have made
        told = f"stars show no difference from the middle that is sure (± {error:.1f} %): left as they are"
    else:
        more = "less" if corners > 0 else "more"
        told = f"{abs(corners):.1f} ± {error:.1f} % {more} light than the middle, by stars, evened out"
    return f"{as_text(flat.get('camera'))}: {told}".removeprefix(": ")


def _size(canvas: Mapping) -> str:
    shape = [as_number(side) for side in as_items(canvas.get("shape"))[:2]]
    return f"{shape[1]:g} x {shape[0]:g}" if len(shape) == 2 and None not in shape else ""


def _with(value: Any, unit: str, digits: int = 4) -> str:
    number = as_number(value)
    return "" if number is None else shown(number, unit, digits)


def _join(*texts: str) -> str:
    return ", ".join(filter(None, texts))


def _entries(words: Mapping[str, str]) -> tuple[Entry, ...]:
    return tuple(Entry(name, told) for name, told in words.items() if told)


def _plain(value: Any) -> str:
    """Return a setting as text."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if value is None or value == {} or value == []:
        return NOTHING
    if isinstance(value, list | tuple):
        return ", ".join(f"[{_plain(item)}]" if isinstance(item, list) else _plain(item) for item in value)
    return f"{value:.6g}" if isinstance(value, float) else str(value)
