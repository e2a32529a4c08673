# SPDX-License-Identifier: GPL-3.0-or-later
"""Bayer mosaics: which pattern an image has, by its header and, where that leaves doubt, by its pixels; its colours.

A pattern that repeats every two pixels modulates an image at the highest frequencies there are: along x, along y, and
along both. Sky, nebulae and stars of two pixels and more have next to nothing there. So three numbers tell a mosaic
from a mono frame, and on which diagonal its green lies: x and y are modulated by (R - B) / 4 each, in one sense where
the first pixel is red or blue, in opposite senses where it is green; both together by (R + B - 2 G) / 4.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from nanstack.io.cards import number_of, text_of
from nanstack.io.layout import FrameError, Layout, image_shape, read_samples, read_some_rows, short

if TYPE_CHECKING:
    from astropy.io.fits import Header

PATTERNS = ("RGGB", "BGGR", "GRBG", "GBRG")
NO_PATTERN = ("", "NONE", "MONO", "INVALID")  # what programs write for a mono image
PLACES = ((0, 0), (0, 1), (1, 0), (1, 1))
ROW_OFFSET = ("YBAYROFF", "BAYOFFY")  # the second name is an older one
COLUMN_OFFSET = ("XBAYROFF", "BAYOFFX")
MIN_MOSAIC_PX = 3  # a smaller mosaic has no pixel with neighbours all around
WINDOW_PX = (512, 512)  # rows and columns in the middle of a frame: enough for 1/500 of a pixel's noise
MIN_WINDOW_PX = 8
MIN_SAMPLES = 64  # places that say anything about a pattern
SURE = 8.0  # standard errors of a modulation that is no chance
MIN_COLOUR = 0.03  # of red against blue, over both against green
MAX_UNEVEN = 0.5  # what one direction has less of than the other: rows or columns alone are no mosaic
MIN_BRIGHT = 20  # places on stars and nebulae that say anything
STAR_MODULATION = 0.1  # share of a star's light: a colour sensor's, even of a white star, is larger
LOW = np.float32([1, 2, 1]) / 4  # both pass what has no pattern, or the pattern alone, and no linear gradient
HIGH = np.float32([-1, 2, -1]) / 4
MODULATIONS = (((HIGH, LOW), (0, 1)), ((LOW, HIGH), (1, 0)), ((HIGH, HIGH), (0, 1)))  # along x, y, both; the next place
PASSED_NOISE = 6 / 16  # standard deviation of LOW x LOW, or of any other pair, over a pixel's
CROSS = np.float32([[0, 1, 0], [1, 4, 1], [0, 1, 0]]) / 4
TENT = np.float32([1, 2, 1]) / 2


@dataclass(frozen=True)
class Mosaic:
    """Whether an image is a Bayer mosaic.

    Attributes
    ----------
    pattern : str
        Colours of the first two rows' first two pixels as stored, as 'RGGB'; empty for a mono or colour image.
    remark : str
        One line where header and pixels do not agree; empty otherwise.
    """

    pattern: str = ""
    remark: str = ""


def mosaic_pattern(layout: Layout, samples: np.ndarray | None = None) -> Mosaic:
    """Return the pattern that an image is to be debayered with.

    The header's cards decide, where they leave no doubt: no pixel is looked at then. They do in four cases: a pattern
    beside binning (which makes mono frames of most colour cameras, and leaves the card), rows stored from the bottom up
    and odd offsets of the pattern (which programs understand in two ways), and no pattern at all.

    Parameters
    ----------
    layout : Layout
    samples : ndarray, shape (H, W), optional
        The image, where it was read already; otherwise some of its rows are read where there is doubt.

    Raises
    ------
    FrameError
        For a pattern that is not known, and for samples that cannot be read.
    """
    if len(image_shape(layout.path, layout.stored)) != 2:
        return Mosaic()
    readings = _readings(layout)
    binned = _is_binned(layout.header)
    if len(readings) == 1 and not binned:
        return Mosaic(readings[0])
    window = _window(layout, samples)
    seen = _seen(window)
    if not readings:
        return _without_card(layout.header, seen)
    if binned and seen.shows is False and not _stars_show_colours(window):
        told = "the frame is binned, and its pixels show no mosaic: it is taken as mono"
        return Mosaic("", f"its header has the Bayer pattern {readings[0]}, but {told}")
    fitting = [one for one in readings if seen.green_first in (None, one[0] == "G")]
    if not fitting or fitting[0] == readings[0]:
        return Mosaic(readings[0])
    return Mosaic(fitting[0], f"by its header its Bayer pattern is {readings[0]}, by its pixels {fitting[0]}")


def _without_card(header: Header, seen: Seen) -> Mosaic:
    """Return the pattern of an image whose header has none: a known camera's, where the pixels agree."""
    if not seen.shows:
        return Mosaic()
    told = f"its pixels show a Bayer mosaic, but {'its header' if len(header) else 'a .npy file'} has no BAYERPAT"
    seestar = any("seestar" in text_of(header, name).lower() for name in ("INSTRUME", "CREATOR", "TELESCOP"))
    if seestar and seen.green_first is not False:
        return Mosaic("GRBG", f"{told}: GRBG is taken, as of every Seestar")
    write = "write the card" if len(header) else "write it as FITS with that card"
    return Mosaic("", f"{told}: it is taken as mono ({write}, BAYERPAT = 'RGGB' say, to have its colours)")


# ------------------------------------------------------------------------------------------------------- the header


def _readings(layout: Layout) -> list[str]:
    """Return the pattern as the header has it, the likeliest reading first; none where it has none."""
    header = layout.header
    try:
        pattern = _claimed(header)
        rows, columns = (_offset(header, names) for names in (ROW_OFFSET, COLUMN_OFFSET))
    except ValueError as damage:
        raise FrameError(layout.path, f"its header is damaged: its Bayer pattern cannot be read ({damage})") from damage
    if pattern in NO_PATTERN:
        return []
    if pattern not in PATTERNS:
        known = ", ".join(PATTERNS)
        raise FrameError(layout.path, f"its Bayer pattern is {pattern!r}, not one of {known}: correct BAYERPAT")
    readings = [_moved(pattern, rows, columns)]
    if (rows + columns) % 2:
        readings.append(pattern)  # cropped, and the card adapted, but the offset left
    if is_bottom_up(header) and image_shape(layout.path, layout.stored)[0] % 2 == 0:
        readings = [_moved(one, 1, 0) for one in readings] + readings  # told from the top: the last row stored
    return list(dict.fromkeys(readings))


def _claimed(header: Header) -> str:
    """Return the pattern's card, in capitals; of COLORTYP, which may hold other words, what is a pattern."""
    pattern = text_of(header, "BAYERPAT").upper()
    other = text_of(header, "COLORTYP").upper()
    return pattern or (other if other in PATTERNS else "")


def _offset(header: Header, names: tuple[str, str]) -> int:
    """Return an offset of the pattern: a whole number, written as one, with a decimal point, or as text."""
    number = number_of(header, *names)
    if number is None and text_of(header, *names):
        raise ValueError(f"{names[0]} is {short(text_of(header, *names))}")
    return round(number or 0)


def is_bottom_up(header: Header) -> bool:
    """Tell whether an image's first row is its lowest, by ROWORDER; where that is missing it is the top one."""
    return text_of(header, "ROWORDER").upper().startswith("BOTTOM")


def _is_binned(header: Header) -> bool:
    return any((number_of(header, name) or 1) > 1 for name in ("XBINNING", "YBINNING", "CCDXBIN"))


def _moved(pattern: str, rows: int, columns: int) -> str:
    """Return the pattern at the first pixel of an image that begins so many rows and columns further on."""
    grid = np.array(list(pattern)).reshape(2, 2)
    return "".join(np.roll(grid, (-rows % 2, -columns % 2), axis=(0, 1)).ravel())


# ------------------------------------------------------------------------------------------------------- the pixels


@dataclass(frozen=True)
class Seen:
    """What pixels show: whether there is a mosaic, and whether its first pixel is green; None: they do not tell."""

    shows: bool | None = None
    green_first: bool | None = None


def _window(layout: Layout, samples: np.ndarray | None) -> np.ndarray:
    """Return the middle of an image as float32, its first pixel one of even row and column."""
    height, width = image_shape(layout.path, layout.stored)
    top, left = (max(0, (side - part) // 4 * 2) for side, part in zip((height, width), WINDOW_PX, strict=True))
    bottom = min(height, top + WINDOW_PX[0])
    if samples is None and (layout.packed or layout.column_order):
        samples = read_samples(layout)
    rows = read_some_rows(layout, top, bottom) if samples is None else samples.reshape(height, width)[top:bottom]
    return np.ascontiguousarray(rows[:, left : left + WINDOW_PX[1]], dtype=np.float32)


def _seen(plane: np.ndarray) -> Seen:
    """Tell a mosaic from a mono image by the level of the sky in its four places."""
    if min(plane.shape) < MIN_WINDOW_PX:
        return Seen()
    sky = []
    for kernels, next_one in MODULATIONS:
        modulated = _alternating(_passed(plane, *kernels), next_one, -1.0)
        modulated = modulated[np.isfinite(modulated)]
        if modulated.size < MIN_SAMPLES:
            return Seen()
        mean, error = _mean_and_error(modulated)
        sky.append(mean if abs(mean) > SURE * error else 0.0)
    along_x, along_y, along_both = sky
    least = MIN_COLOUR * abs(along_both)  # below it may be what the two greens differ by
    if min(abs(along_x), abs(along_y)) > max(least, MAX_UNEVEN * max(abs(along_x), abs(along_y))):
        return Seen(True, along_x * along_y < 0)
    return Seen(along_both != 0)


def _passed(plane: np.ndarray, along_rows: np.ndarray, along_columns: np.ndarray) -> np.ndarray:
    import cv2

    return cv2.sepFilter2D(plane, -1, along_rows, along_columns)


def _alternating(passed: np.ndarray, next_one: tuple[int, int], sign: float) -> np.ndarray:
    """Return what passed at every other row and column, and at the next places, where a modulation has the other sign.

    What a star does to the first, it does to the second as well: with the other sign they cancel.
    """
    height, width = (side // 2 * 2 for side in passed.shape)
    down, right = next_one
    first = passed[2 : height - 2 : 2, 2 : width - 2 : 2]
    second = passed[2 + down : height - 2 + down : 2, 2 + right : width - 2 + right : 2]
    return np.concatenate([first.ravel(), np.float32(sign) * second.ravel()])


def _mean_and_error(values: np.ndarray) -> tuple[float, float]:
    """Return the mean of what is left without outliers, and the standard error of a modulation that it has."""
    away = np.abs(values - np.median(values))
    kept = values[away <= 3 * 1.4826 * np.median(away)].astype(np.float64)
    return float(kept.mean()), float(kept.std() / PASSED_NOISE / math.sqrt(2 * kept.size))


def _stars_show_colours(plane: np.ndarray) -> bool:
    """Tell whether most of what is brighter than the sky is modulated in one sense: stars are, and no hot pixels."""
    if min(plane.shape) < MIN_WINDOW_PX:
        return False
    for kernels, next_one in MODULATIONS:
        modulated = _alternating(_passed(plane, *kernels), next_one, -1.0)
        level = _alternating(_passed(plane, LOW, LOW), next_one, 1.0)
        good = np.isfinite(modulated) & np.isfinite(level)
        light = level[good] - np.median(level[good])
        bright = light > SURE * 1.4826 * np.median(np.abs(light))
        share = modulated[good][bright] / light[bright]
        if share.size < MIN_BRIGHT:
            continue
        usual = np.median(share)
        error = 1.86 * np.median(np.abs(share - usual)) / math.sqrt(share.size)  # of a median, by its deviations
        if abs(usual) > STAR_MODULATION + SURE * error:
            return True
    return False


# ------------------------------------------------------------------------------------------------------- its colours


def debayer(mosaic: np.ndarray, pattern: str) -> np.ndarray:
    """Interpolate a Bayer mosaic to colour, bilinearly, in float32.

    A missing colour is the mean of the two or four nearest samples of it. The outermost pixels have the colours of
    their inner neighbours. A pixel next to one without data is without data.

    Parameters
    ----------
    mosaic : ndarray, shape (H, W)
        Any numbers; a non-finite one is no data.
    pattern : {'RGGB', 'BGGR', 'GRBG', 'GBRG'}

    Returns
    -------
    ndarray of float32, shape (H, W, 3)
        NaN throughout where a side is shorter than `MIN_MOSAIC_PX`: nothing can be interpolated there.
    """
    import cv2

    if pattern not in PATTERNS:
        raise ValueError(f"pattern must be one of {', '.join(PATTERNS)}, not {pattern!r}")
    if min(mosaic.shape) < MIN_MOSAIC_PX:
        return np.full((*mosaic.shape, 3), np.nan, dtype=np.float32)
    with np.errstate(over="ignore", invalid="ignore"):
        mosaic = mosaic.astype(np.float32)
    hole = ~np.isfinite(mosaic)
    holes = bool(hole.any())
    if holes:
        mosaic[hole] = 0.0
    colour = cv2.merge([_interpolated(mosaic, pattern, letter) for letter in "RGB"])
    if holes:
        colour[cv2.dilate(hole.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0] = np.nan
    colour[0], colour[-1] = colour[1], colour[-2]
    colour[:, 0], colour[:, -1] = colour[:, 1], colour[:, -2]
    return colour


def _interpolated(mosaic: np.ndarray, pattern: str, letter: str) -> np.ndarray:
    """Return the plane of one colour: its samples where they are, all others 0, spread by a tent two pixels wide."""
    import cv2

    light = np.zeros_like(mosaic)
    for (row, column), here in zip(PLACES, pattern, strict=True):
        if here == letter:
            light[row::2, column::2] = mosaic[row::2, column::2]
    return cv2.filter2D(light, -1, CROSS) if letter == "G" else cv2.sepFilter2D(light, -1, TENT, TENT)
