# SPDX-License-Identifier: GPL-3.0-or-later
"""The celestial solution of a header, mended where there is no doubt what is meant, refused where there is.

Of the header only the cards of the two axes of the image are given to astropy, with their values as read here: wcslib
takes 0 for a value that it cannot read, 1 degree for a scale that is missing, and of two solutions the older one.
"""

from __future__ import annotations

import logging
import math
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from nanstack.io.cards import as_number, declination_of, number_of, right_ascension_of, text_of, value_of
from nanstack.io.layout import DAMAGE

if TYPE_CHECKING:
    from astropy.io.fits import Header
    from astropy.wcs import WCS

UNITS = {  # in degrees, by what their names begin with
    "deg": 1.0, "arcmin": 1 / 60, "arcsec": 1 / 3600, "rad": math.degrees(1),
}  # fmt: skip
LONGITUDE = re.compile(r"RA--|.LON|..LN")  # begins CTYPE
LATITUDE = re.compile(r"DEC-|.LAT|..LT")
SIP = ("A", "B", "AP", "BP")
MAX_SIP_ORDER = 9  # of a distortion, by the convention; its tables grow with the square
MAX_PV = 40  # parameters of an axis of a projection; TPV has as many
SCALES = (1e-3, 1800.0)  # arcseconds a pixel, of what is a solution; a missing scale is one degree by the standard
MAX_LONGITUDE = 720.0  # some programs count past a turn
MAX_STRETCH = 5.0  # of one side of a pixel against the other


@dataclass(frozen=True)
class _Plane:
    """The linear part of a solution, in degrees, longitude first; `axes` has their numbers in the header."""

    axes: tuple[int, int]
    ctype: tuple[str, str]
    crval: tuple[float, float]
    crpix: tuple[float, float]
    cd: np.ndarray


def celestial_wcs(header: Header) -> WCS | None:
    """Return the celestial solution of a header, its first axis the longitude; None for none, or one in doubt.

    Numbers may be text, with decimal commas, CRVAL sexagesimal, units spelled in any way. Where there is a CD matrix,
    PC, CDELT and CROTA, which a capture program may have left, count for nothing. A solution is in doubt where its
    place or its scale is missing, cannot be read or makes no sense.
    """
    if "CTYPE1" not in header:
        return None
    from astropy import log
    from astropy.io.fits import VerifyError
    from astropy.wcs import WCS  # takes a while: only where there is one

    with warnings.catch_warnings(), _at_level(log, logging.WARNING):
        warnings.simplefilter("ignore")  # astropy repairs dates of other software, and warns each time
        try:
            plane = _plane(header)
            if plane is None:
                return None
            wcs = WCS(_mended(header, plane))
            wcs.pixel_shape = _size(header)
            if not np.isfinite(wcs.pixel_to_world_values(0.0, 0.0)).all():
                return None
        except (*DAMAGE, AttributeError, MemoryError, VerifyError):  # wcslib's errors derive from these
            return None
    return wcs if wcs.has_celestial else None


@contextmanager
def _at_level(log: logging.Logger, level: int) -> Iterator[None]:
    """Let a logger say nothing below a level."""
    before = log.level
    log.setLevel(level)
    try:
        yield
    finally:
        log.setLevel(before)


def _plane(header: Header) -> _Plane | None:
    """Return the linear part of a solution; None where it is missing or in doubt."""
    axes = _axes(header)
    if axes is None:
        return None
    units = [_unit(text_of(header, f"CUNIT{axis}")) for axis in axes]
    crval = [_crval(header, axes, which) for which in (0, 1)]
    crpix = [number_of(header, f"CRPIX{axis}") for axis in (1, 2)]
    cd = _matrix(header)
    if cd is None or None in (*units, *crval, *crpix):
        return None
    cd = np.array(units)[:, None] * cd[[axis - 1 for axis in axes]]
    crval = [value * unit for value, unit in zip(crval, units, strict=True)]
    if not _is_sensible(cd) or abs(crval[0]) > MAX_LONGITUDE or abs(crval[1]) > 90:
        return None
    ctype = tuple(text_of(header, f"CTYPE{axis}").upper() for axis in axes)
    return _Plane(axes, ctype, (crval[0] % 360, crval[1]), tuple(crpix), cd)


def _axes(header: Header) -> tuple[int, int] | None:
    """Return which axis is the longitude and which the latitude; None where they are not both."""
    kinds = [text_of(header, f"CTYPE{axis}").upper() for axis in (1, 2)]
    for axes in ((1, 2), (2, 1)):
        if LONGITUDE.match(kinds[axes[0] - 1]) and LATITUDE.match(kinds[axes[1] - 1]):
            return axes
    return None


def _unit(text: str) -> float | None:
    """Return a unit in degrees, whatever its spelling; None for an unknown one."""
    word = text.lower()
    return 1.0 if not word else next((size for name, size in UNITS.items() if word.startswith(name)), None)


def _crval(header: Header, axes: tuple[int, int], which: int) -> float | None:
    """Return the longitude (0) or latitude (1) of the reference, in the header's units."""
    name = f"CRVAL{axes[which]}"
    number = number_of(header, name)
    if number is not None or name not in header:
        return number
    return declination_of(header, name) if which else right_ascension_of(header, name)  # sexagesimal


def _matrix(header: Header) -> np.ndarray | None:
    """Return the degrees (rows: world axes) a pixel (columns); None where no card says, or one cannot be read."""
    if any(f"CD{i}_{j}" in header for i in (1, 2) for j in (1, 2)):
        return _square(header, "CD", np.zeros((2, 2)))
    has_pc = any(f"PC{i}_{j}" in header for i in (1, 2) for j in (1, 2))
    if not has_pc and "CDELT1" not in header:
        return None
    steps = [_given(header, f"CDELT{axis}", 1.0) for axis in (1, 2)]
    if None in steps:
        return None
    if has_pc:
        rotation = _square(header, "PC", np.eye(2))
        return None if rotation is None else np.array(steps)[:, None] * rotation
    return _rotated(header, steps)


def _rotated(header: Header, steps: list[float]) -> np.ndarray | None:
    """Return the matrix of CDELT and CROTA, the convention before PC (Calabretta and Greisen 2002, section 6.1)."""
    latitude = _axes(header)[1]
    angle = _given(header, f"CROTA{latitude}", 0.0)
    if angle is None:
        return None
    sine, cosine = math.sin(math.radians(angle)), math.cos(math.radians(angle))
    turn = -1 if latitude == 2 else 1
    return np.array([[cosine * steps[0], turn * sine * steps[1]], [-turn * sine * steps[0], cosine * steps[1]]])


def _square(header: Header, name: str, default: np.ndarray) -> np.ndarray | None:
    entries = [_given(header, f"{name}{i + 1}_{j + 1}", default[i, j]) for i in (0, 1) for j in (0, 1)]
    return None if None in entries else np.array(entries).reshape(2, 2)


def _given(header: Header, name: str, default: float) -> float | None:
    """Return a card's number; the default for a card that is not there, None for one that cannot be read."""
    value = value_of(header, name)
    return as_number(value) if value is not None or name in header else default


def _is_sensible(cd: np.ndarray) -> bool:
    """Tell whether a matrix, in degrees, is a picture's: neither singular nor of an absurd scale."""
    largest, least = 3600 * np.linalg.svd(cd, compute_uv=False)
    return bool(SCALES[0] <= least and largest <= SCALES[1] and largest <= MAX_STRETCH * least)


def _mended(header: Header, plane: _Plane) -> Header:
    """Return a header of the solution alone, which astropy takes as it is meant.

    Raises
    ------
    ValueError
        For a distortion, or another parameter, that cannot be read.
    """
    from astropy.io import fits

    distortion = _distortion(header)
    suffix = "-SIP" if distortion else ""
    cards: dict[str, str | float] = {}
    for axis in (1, 2):
        cards[f"CTYPE{axis}"] = plane.ctype[axis - 1].removesuffix("-SIP") + suffix
        cards[f"CUNIT{axis}"] = "deg"
        cards[f"CRVAL{axis}"], cards[f"CRPIX{axis}"] = plane.crval[axis - 1], plane.crpix[axis - 1]
        for pixel in (1, 2):
            cards[f"CD{axis}_{pixel}"] = plane.cd[axis - 1, pixel - 1]
        cards.update(_numbers(header, {f"PV{plane.axes[axis - 1]}_{m}": f"PV{axis}_{m}" for m in range(MAX_PV)}))
    cards.update(_numbers(header, {name: name for name in ("LONPOLE", "LATPOLE")}))
    cards.update(_frame(header))
    return fits.Header(list((cards | distortion).items()))


def _distortion(header: Header) -> dict[str, float]:
    """Return the cards of a distortion by the SIP convention; none where there is no order of one."""
    cards: dict[str, float] = {}
    for name in SIP:
        if f"{name}_ORDER" not in header:
            continue
        order = number_of(header, f"{name}_ORDER")
        if order is None or not (0 <= order <= MAX_SIP_ORDER and order == int(order)):
            raise ValueError(f"{name}_ORDER is no order of a distortion")
        cards[f"{name}_ORDER"] = int(order)
        terms = [f"{name}_{i}_{j}" for i in range(int(order) + 1) for j in range(int(order) + 1 - i)]
        cards.update(_numbers(header, {term: term for term in terms}))
    return cards


def _numbers(header: Header, names: dict[str, str]) -> dict[str, float]:
    """Return the numbers of those cards that there are, under other names."""
    numbers = {new: number_of(header, old) for old, new in names.items() if old in header}
    wrong = [name for name, number in numbers.items() if number is None]
    if wrong:
        raise ValueError(f"{wrong[0]} is no number")
    return numbers


def _frame(header: Header) -> dict[str, str | float]:
    """Return the cards that say which system the coordinates are of."""
    system = text_of(header, "RADESYS", "RADECSYS").upper()
    equinox = as_number(text_of(header, "EQUINOX", "EPOCH").upper().lstrip("JB"))
    cards: dict[str, str | float] = {"RADESYS": system} if system else {}
    if equinox:
        cards["EQUINOX"] = equinox
    return cards


def _size(header: Header) -> tuple[int, int] | None:
    """Return the width and height of the image that was solved; None where no card says."""
    for names in (("NAXIS1", "NAXIS2"), ("IMAGEW", "IMAGEH")):  # solve-field's files have no image
        sides = [number_of(header, name) for name in names]
        if None not in sides and min(sides) >= 1:
            return int(sides[0]), int(sides[1])
    return None
