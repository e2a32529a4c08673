# SPDX-License-Identifier: GPL-3.0-or-later
"""What a stack's file says of itself: what the next program looks for, and how the stack was made."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from nanstack.register.camera import ARCSEC
from nanstack.stack.noise_model import NoiseRejection
from nanstack.survey.taken import taken_of_frames

if TYPE_CHECKING:
    from nanstack.canvas import Canvas
    from nanstack.register.registered import RegisteredFrame
    from nanstack.settings import CanvasSettings

Cards = dict[str, tuple[Any, str]]
MICRONS = 1000  # in a millimetre
OPTICS_DIGITS = 4  # decimals of millimetres and microns


def canvas_cards(
    frames: Sequence[RegisteredFrame],
    canvas: Canvas,
    settings: CanvasSettings,
    *,
    creator: str,
    on_the_sky: bool,
    scale_known: bool = True,
) -> Cards:
    """Return the cards of a stack that are known before it is made; nothing of who stood where, no paths.

    Parameters
    ----------
    frames : sequence of RegisteredFrame
        Those stacked.
    canvas : Canvas
    settings : CanvasSettings
    creator : str
        The program and its version.
    on_the_sky : bool
        Whether the canvas's place on the sky means anything.
    scale_known : bool
        Whether its arcseconds do; where not, optics stay as the frames' headers have them.
    """
    scale = ARCSEC / canvas.view.focal
    cards: Cards = {
        "CREATOR": (creator, "software that made this image"),
        "PROGRAM": (creator, "software that made this image"),
        **taken_of_frames([frame.facts for frame in frames]).cards(),
    }
    if scale_known:
        cards.update(_optics(cards, scale, float(np.median([ARCSEC / frame.view.focal for frame in frames]))))
        cards["NPA_SCAL"] = (round(scale, 6), "[arcsec] a pixel")
    if "TOTALEXP" in cards:
        cards["LIVETIME"] = (cards["TOTALEXP"][0], "[s] exposure of all frames together")
    if on_the_sky:
        cards.update(_middle(canvas))
    cards["NPA_ALGN"] = (len(frames), "frames stacked")
    return {**cards, **_made(settings)}


def _optics(said: Cards, scale: float, usual: float) -> Cards:
    """Return focal length and pixel size that fit each other and the canvas: solvers start from what they give.

    The size of a photosite is known, the focal length is what the maker says: so the latter is taken from the stars.
    Pixels of another scale than the frames' are as if binned, or finer.

    Parameters
    ----------
    said : Cards
        As the frames' headers have it.
    scale, usual : float
        Arcseconds a pixel, of the canvas and of the usual frame.
    """
    size = said["XPIXSZ"][0] if "XPIXSZ" in said else None
    focal = said["FOCALLEN"][0] if "FOCALLEN" in said else None
    if size:
        focal = size / MICRONS * ARCSEC / usual
    elif not focal:
        return {}
    width = round(focal * MICRONS * scale / ARCSEC, OPTICS_DIGITS)
    return {
        "FOCALLEN": (round(focal, OPTICS_DIGITS), "[mm] focal length, by the scale" if size else "[mm] focal length"),
        "XPIXSZ": (width, "[um] width of a pixel of this image"),
        "YPIXSZ": (width, "[um] height of a pixel of this image"),
    }


def _middle(canvas: Canvas) -> Cards:
    """Return where the middle of the canvas is on the sky, in the two ways in which programs look for it."""
    from astropy.coordinates import SkyCoord

    height, width = canvas.shape
    middle = canvas.wcs().pixel_to_world((width - 1) / 2, (height - 1) / 2)
    place = SkyCoord(middle).icrs
    return {
        "RA": (round(place.ra.deg, 6), "[deg] middle of the image"),
        "DEC": (round(place.dec.deg, 6), "[deg] middle of the image"),
        "OBJCTRA": (place.ra.to_string("hour", sep=" ", precision=2, pad=True), "[h m s] middle of the image"),
        "OBJCTDEC": (
            place.dec.to_string("deg", sep=" ", precision=1, pad=True, alwayssign=True),
            "[d m s] middle of the image",
        ),
    }


def _made(settings: CanvasSettings) -> Cards:
    """Return the cards that say how a stack was made: its rejection, its drops, what frames count for."""
    rejection = settings.rejection
    if isinstance(rejection, NoiseRejection):
        reach: Cards = {
            "NPA_REJ": ("noise", "rejection, by the frames' noise"),
            "NPA_KAPP": (_number(rejection.kappa), "what is farther off is an outlier"),
            "NPA_GROW": (_number(rejection.grow), "the same beside an outlier"),
        }
    else:
        reach = {
            "NPA_REJ": (rejection.method, "rejection"),
            "NPA_KAPP": (_number(rejection.kappa_high), "what is farther above is an outlier"),
            "NPA_KAPL": (_number(rejection.kappa_low), "what is farther below is an outlier"),
        }
    drizzle = settings.drizzle
    drops: Cards = (
        {}
        if drizzle is None
        else {
            "NPA_DRIZ": (drizzle.scale, "drizzled: times finer than the frames"),
            "NPA_PIXF": (drizzle.pixfrac, "side of a drop / side of a photosite"),
            "NPA_KERN": (drizzle.kernel, "shape of the drops"),
        }
    )
    return {
        **reach,
        **drops,
        "NPA_COMB": (settings.combine, "how the samples were combined"),
        "NPA_WGHT": (settings.weights, "what frames count for"),
        "NPA_INTP": (settings.interpolation, "interpolation of the frames"),
        "NPA_SKYM": (settings.sky, "how the frames' sky was matched"),
    }


def _number(value: float) -> float | str:
    """Return a number as a card can hold it."""
    return value if np.isfinite(value) else str(value)
