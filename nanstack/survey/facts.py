# SPDX-License-Identifier: GPL-3.0-or-later
"""What a file's header says of how its frame was taken, and what kind of frame its header and its name tell it is."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import TYPE_CHECKING

from nanstack.io.bayer import is_bottom_up, mosaic_pattern
from nanstack.io.cards import declination_of, number_of, right_ascension_of, text_of, value_of
from nanstack.io.layout import Layout, short
from nanstack.io.solution import celestial_wcs
from nanstack.survey.record import Facts

if TYPE_CHECKING:
    import numpy as np
    from astropy.io.fits import Header
    from astropy.wcs import WCS

RESULT_CARD = "NPA_ALGN"  # on all that this program makes
COUNT_CARDS = ("STACKCNT", "NCOMBINE", "SNAPSHOT", "STACKED", "ZMT_NALGN", "MT_NFRAMES")  # frames in a stack
KIND_CARDS = ("IMAGETYP", "FRAME", "OBSTYPE")
KIND_WORDS = {"dark": "dark", "flat": "flat", "bias": "bias|offset|zero", "stack": "stack|master|integration"}
# 'Dark_10.0s_…', 'bias-001', 'masterflat'; and no dark nebula, nor anyone's flat
KIND_NAMES = {
    kind: re.compile(
        rf"(?:(?:master|super)[ _-]?(?:{words})|(?:{words})s?(?:[ _-]?frames?)?(?:[ _-]?\d|$))", re.IGNORECASE
    )
    for kind, words in {"dark": "dark(?:[ _-]?flat)?|flat[ _-]?dark", "flat": "flat", "bias": "bias|offset"}.items()
}
STACK_NAME = re.compile(r"(?:^|[ _.-])stacked(?:[ _.-]|\d|$)|^master[ _-]?light", re.IGNORECASE)
KIND_FOLDERS = {"dark": ("dark", "darks"), "flat": ("flat", "flats"), "bias": ("bias", "biases", "offset", "offsets")}
LONGER = 1.5  # a total exposure that is so many times one frame's is that of a stack
SCALE_CARDS = ("PIXSCALE", "SECPIX", "SECPIX1", "SCALE", "IM_SCALE")
SCALES = (0.01, 900.0)  # arcseconds a pixel: beyond, a header does not mean it
SCALE_ERROR = 0.05  # in its logarithm: what optics may be off by, as they stand in headers
ARCSEC = math.degrees(3600)  # in a radian


def facts_of(layout: Layout, samples: np.ndarray | None = None) -> Facts:
    """Return what a file's header, and its name, say of its frame.

    Parameters
    ----------
    layout : nanstack.io.layout.Layout
    samples : ndarray, shape (H, W), optional
        The image, where it was read already: where its header leaves doubt of its Bayer pattern, it is looked at.

    Returns
    -------
    Facts
        A value that is missing, makes no sense, or cannot be read is None, or empty.

    Raises
    ------
    FrameError
        As `nanstack.io.bayer.mosaic_pattern`.
    """
    header = layout.header
    kind, evidence = _kind(layout.path, header)
    mosaic = mosaic_pattern(layout, samples)
    wcs = celestial_wcs(header)
    return Facts(
        kind=kind,
        evidence=evidence,
        pattern=mosaic.pattern,
        remark=mosaic.remark,
        instrument=text_of(header, "INSTRUME"),
        filter=text_of(header, "FILTER"),
        object=text_of(header, "OBJECT"),
        date=_date(header),
        exposure=_exposure(header),
        gain=number_of(header, "GAIN"),
        binning=_binning(header),
        focal_length=_positive(header, "FOCALLEN"),
        pixel_size=_pixel_size(header),
        scale=_scale(header, wcs),
        pointing=_pointing(header, wcs),
        bottom_up=is_bottom_up(header),
        wcs=wcs,
    )


# --- what kind of frame -----------------------------------------------------------------------------------------------


def _kind(path: Path, header: Header) -> tuple[str, str]:
    """Return the kind of a frame, and what says so where it is no light."""
    if RESULT_CARD in header:
        return "output", "this program made it"
    name, claim = _claim(header)
    kind = _kind_claimed(claim)
    if kind in ("dark", "flat", "bias"):
        return kind, f"its {name} is {short(claim)}"
    stack = _stack_evidence(header)
    if stack:
        return "stack", stack
    if kind == "stack":
        return kind, f"its {name} is {short(claim)}"
    return _kind_by_name(path, is_claimed=bool(claim))


def _claim(header: Header) -> tuple[str, str]:
    """Return the card that says what a frame is, and what it says."""
    return next(((name, text) for name in KIND_CARDS if (text := text_of(header, name))), ("", ""))


def _kind_claimed(claim: str) -> str:
    return next((kind for kind, words in KIND_WORDS.items() if re.search(words, claim.lower())), "light")


def _stack_evidence(header: Header) -> str:
    for name in COUNT_CARDS:
        count = number_of(header, name)
        if count is not None and count > 1:
            return f"it is a stack of {count:.0f} frames ({name})"
        if name == "STACKED" and value_of(header, name) is True:
            return "it is a stack (STACKED)"
    total, one = number_of(header, "TOTALEXP"), _exposure(header)
    if total and one and total > LONGER * one:
        return f"it is a stack: its exposure is {one:g} s, {total:g} s in all (TOTALEXP)"
    return ""


def _kind_by_name(path: Path, is_claimed: bool) -> tuple[str, str]:
    """Return what a file's name, or its folder's, tells; of a calibration frame only where its header says nothing."""
    if STACK_NAME.search(path.stem):
        return "stack", "its name says that it is a stack"
    if is_claimed:
        return "light", ""
    for kind, pattern in KIND_NAMES.items():
        if pattern.match(path.stem):
            return kind, f"its name says that it is a {kind}"
    for kind, folders in KIND_FOLDERS.items():
        if path.parent.name.lower() in folders:
            return kind, f"it lies in the folder {path.parent.name}"
    return "light", ""


# --- numbers ----------------------------------------------------------------------------------------------------------


def _date(header: Header) -> str:
    """Return when the exposure began: DATE-OBS, with the time of TIME-OBS where it has none."""
    date, time = text_of(header, "DATE-OBS"), text_of(header, "TIME-OBS")
    return f"{date}T{time}" if date and time and "T" not in date else date


def _exposure(header: Header) -> float | None:
    seconds = number_of(header, "EXPTIME", "EXPOSURE")
    return seconds if seconds is not None and seconds >= 0 else None


def _positive(header: Header, *names: str) -> float | None:
    number = number_of(header, *names)
    return number if number is not None and number > 0 else None


def _binning(header: Header) -> int:
    return round(min(_positive(header, "XBINNING", "CCDXBIN") or 1, 99)) or 1


def _pixel_size(header: Header) -> tuple[float, float] | None:
    """Return a pixel's sides in micrometres, as the frame is binned.

    XPIXSZ is taken to hold the binning already, as MaxIm DL began it and N.I.N.A., ASIAIR and smart telescopes write
    it; INDI's PIXSIZE1 is one of the sensor's.
    """
    x, y = (_positive(header, f"{axis}PIXSZ") for axis in "XY")
    if x is None:
        sides = [_positive(header, f"PIXSIZE{axis}") for axis in "12"]
        x, y = (side and side * _binning(header) for side in sides)
    return None if x is None else (x, y or x)


def _scale(header: Header, wcs: WCS | None) -> float | None:
    """Return arcseconds a pixel: by the optics, which say the same of all frames of a camera, unless stars told other.

    A focal length is typed in once and left there, whatever is screwed on later; a solution was measured.
    """
    focal, pixel = _positive(header, "FOCALLEN"), _pixel_size(header)
    told = [ARCSEC * pixel[0] / 1000 / focal if focal and pixel else None, _positive(header, *SCALE_CARDS)]
    by_optics = next((scale for scale in told if _is_scale(scale)), None)
    by_stars = None
    if wcs is not None:
        (a, b), (c, d) = wcs.pixel_scale_matrix
        by_stars = 3600 * math.sqrt(abs(a * d - b * c))
    if by_optics is None or (_is_scale(by_stars) and abs(math.log(by_optics / by_stars)) > SCALE_ERROR):
        return by_stars if _is_scale(by_stars) else None
    return by_optics


def _is_scale(scale: float | None) -> bool:
    return scale is not None and SCALES[0] <= scale <= SCALES[1]


def _pointing(header: Header, wcs: WCS | None) -> tuple[float, float] | None:
    """Return where the mount meant to look, in degrees; else where the solution does."""
    for ra_card, dec_card in (("RA", "DEC"), ("OBJCTRA", "OBJCTDEC")):
        ra = right_ascension_of(header, ra_card, in_hours=ra_card == "OBJCTRA")
        dec = declination_of(header, dec_card)
        if ra is not None and dec is not None and (ra, dec) != (0, 0):  # both 0: no mount was connected
            return ra, dec
    if wcs is None or wcs.wcs.lngtyp != "RA":
        return None
    middle = [side / 2 - 0.5 for side in wcs.pixel_shape] if wcs.pixel_shape else wcs.wcs.crpix - 1
    ra, dec = map(float, wcs.wcs_pix2world([middle], 0)[0])
    return (ra % 360, dec) if math.isfinite(ra) and math.isfinite(dec) else None
