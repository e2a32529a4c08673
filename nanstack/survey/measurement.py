# SPDX-License-Identifier: GPL-3.0-or-later
"""Which peaks are stars, and what is known of these."""

from __future__ import annotations

import numpy as np
import scipy

from nanstack.survey.detection import Peaks
from nanstack.survey.mesh import without_holes
from nanstack.survey.profile import Fit, fitted
from nanstack.survey.raw import Raw
from nanstack.survey.shape import Shape, usual_shape
from nanstack.survey.stamps import Plate, Stamps
from nanstack.survey.stars import MAX_STARS, Stars, shines_in_two_channels

HOT_REACH_PX = 2  # a hot photosite holds nearly all the flux of the 5 x 5 around it
COVERED = 2  # photosites; hot ones have hot neighbours, and a cosmic ray hits two
MAX_COVERED_SHARE = 0.75  # a star of 1.8 px FWHM has 0.4 of its flux in two photosites, a red one 0.66
MIN_REST_SIGMA = 2.5  # a star shows with those covered, too
CANDIDATES = MAX_STARS + MAX_STARS // 3  # highest peaks that are measured
# what bilinear debayering makes of one photosite's light, over 5 x 5 pixels: of red or blue, of green
SPREAD = [
    np.pad(np.array(quarters) / 4, 1).ravel()
    for quarters in ([[1, 2, 1], [2, 4, 2], [1, 2, 1]], [[0, 1, 0], [1, 4, 1], [0, 1, 0]])
]
MAX_LEFT = 0.03  # of its light squared; a star has more elsewhere, unless it is narrow and in the middle of its pixel
MIN_ENERGY = 160.0  # light squared, over the noise squared: from here on a star of 3 px FWHM surely has
CHANCE = 0.35  # of the stars that are sure: of narrow ones, a quarter may lie so near to the middle of their pixels
MIN_SIGNAL = 5.5
MIN_SHOWN = 0.4  # of a star's profile
MAX_SHIFT = 2.0  # of a star from its peak, in sigmas of its longer axis
SIZE_RANGE = 0.5, 1.35  # of a star; nebulae and trails come to 2 and 1.5
SIZE_SLACK = 2.0  # what noise does to it, over the signal to noise
MAX_MISFIT = 0.5  # of a star: light squared that its profile does not explain, to that it does
MISFIT_SIGMA = 5.0  # of noise are no misfit
MIN_APART_PX = 1.5


def measure(
    raw: Raw, peaks: Peaks, sky: np.ndarray, noise: np.ndarray, saturation: float
) -> tuple[Stars, Shape | None]:
    """Tell the stars among peaks, and measure them.

    Parameters
    ----------
    raw : Raw
    peaks : Peaks
    sky : ndarray, shape (rows, columns, colours)
        Of `raw.plane`'s colours: one, or three of a mosaic.
    noise : ndarray, shape (colours,)
    saturation : float

    Returns
    -------
    stars : Stars
        Brightest first, at most `MAX_STARS`.
    shape : Shape or None
        None where there are none.
    """
    sky = np.stack([without_holes(sky[..., colour]) for colour in range(sky.shape[2])], axis=2)
    plate = Plate(raw, sky, noise, saturation)
    peaks = peaks.only(_are_not_hot(plate, peaks))
    shape = usual_shape(plate, peaks)
    if shape is None:
        return Stars.none(), None
    peaks = peaks.only(slice(CANDIDATES))
    fit = fitted(plate, peaks.x, peaks.y, shape)
    stars = _stars(fit, np.flatnonzero(_are_stars(fit, peaks, raw.plane.shape)), raw)
    return (stars, shape) if len(stars) else (Stars.none(), None)


def _are_not_hot(plate: Plate, peaks: Peaks) -> np.ndarray:
    """Tell the peaks of which something is left where their brightest photosites are covered."""
    stamps = plate.stamps(peaks.x, peaks.y, HOT_REACH_PX)
    top = np.partition(stamps.light, -COVERED, axis=1)[:, -COVERED:].sum(axis=1)
    rest = stamps.light.sum(axis=1) - top
    spread = np.sqrt(np.sum(stamps.counts * stamps.spread(plate.noise[stamps.colours] ** 2), axis=1))
    stars = (top < MAX_COVERED_SHARE * (rest + top)) & (rest > MIN_REST_SIGMA * spread)
    if plate.raw.channels is not None:
        stars &= shines_in_two_channels(plate.raw.channels, peaks.x, peaks.y)
    elif not plate.raw.pattern:
        stars &= ~_are_spread(stamps, plate.noise[0])
    return stars


def _are_spread(stamps: Stamps, noise: float) -> np.ndarray:
    """Tell what is one photosite in the grey image of a debayered one: spread to halves, or quarters, and no farther.

    A narrow star in the middle of its pixel looks so, too; of a frame's stars few do.
    """
    energy = np.sum(stamps.light**2, axis=1)
    spread = np.zeros(len(energy), dtype=bool)
    for shape in SPREAD:
        amplitude = stamps.light @ shape / np.sum(shape**2)
        left = np.sum((stamps.light - amplitude[:, None] * shape) ** 2, axis=1)
        spread |= left < MAX_LEFT * energy + (len(shape) + MISFIT_SIGMA * np.sqrt(2 * len(shape))) * noise**2
    sure = energy > MIN_ENERGY * noise**2
    spread &= sure
    return spread & (np.count_nonzero(spread) > CHANCE * np.count_nonzero(sure))


def _are_stars(fit: Fit, peaks: Peaks, shape: tuple[int, int]) -> np.ndarray:
    """Tell what is as sharp as the frame's stars, has their profile, and lies where its peak was, on the frame."""
    with np.errstate(all="ignore"):  # what is not finite is no star
        signal, size = fit.signal, fit.size
        bright = (fit.amplitude.sum(axis=1) > 0) & (signal > MIN_SIGNAL) & (fit.shown > MIN_SHOWN)
        sharp = (size + SIZE_SLACK / signal > SIZE_RANGE[0]) & (size - SIZE_SLACK / signal < SIZE_RANGE[1])
        noise = MISFIT_SIGMA * np.sqrt(2 * fit.samples)
        fits = fit.misfit - noise < MAX_MISFIT * signal**2
        there = np.hypot(fit.x - peaks.x, fit.y - peaks.y) < MAX_SHIFT * fit.shape.axes[1]
        inside = (fit.x > -0.5) & (fit.y > -0.5) & (fit.x < shape[1] - 0.5) & (fit.y < shape[0] - 0.5)
        return bright & sharp & fits & there & inside & np.isfinite(fit.error)


def _stars(fit: Fit, which: np.ndarray, raw: Raw) -> Stars:
    """Return the brightest of what is fitted, each once."""
    shares = np.bincount(raw.sites.ravel(), minlength=3) / raw.sites.size
    wider, brighter = fit.beside_shape(which)
    flux = brighter * fit.shape.area * (fit.amplitude @ shares)
    which = which[flux[which] > 0]
    which = which[np.argsort(-flux[which], kind="stable")]
    apart = max(MIN_APART_PX, fit.shape.axes[1])
    which = which[_first_of_each(fit.x[which], fit.y[which], apart)][:MAX_STARS]
    return Stars(fit.x[which], fit.y[which], flux[which], fit.error[which], wider * fit.shape.fwhm)


def _first_of_each(x: np.ndarray, y: np.ndarray, apart: float) -> np.ndarray:
    """Return which places to keep so that none lies near an earlier one: noise gives a trailed star many peaks."""
    keep = np.ones(len(x), dtype=bool)
    if len(x):
        for first, second in sorted(scipy.spatial.cKDTree(np.stack([x, y], axis=1)).query_pairs(apart)):
            if keep[first]:
                keep[second] = False
    return keep
