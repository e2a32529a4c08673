# SPDX-License-Identifier: GPL-3.0-or-later
"""How good a mosaic is, held to a truth: steps across borders, places and fluxes of stars, noise.

All functions take (H, W, C) and treat a pixel with a non-finite channel as no data. Pixel coordinates are
(x, y) = (column, row) with pixel centres at integers.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from nanstack.arrays import has_data
from nanstack.levels.photometry import SIGMA_OF_MAD, noise_level
from nanstack.levels.sky import CELL_PX, ERROR_OF_MEDIAN, measure_overlap, robust_fit
from nanstack.survey.stars import load_sep, luminance
from nanstack.truth.simulation import FWHM_PER_SIGMA

REACH_PX = 48  # width of the bands on either side of a border
GAP_PX = 1  # between them and the border: interpolation mixes the two sides there
MIN_BAND_PIXELS = 6000  # a shorter border shows no step that could be told from noise
APERTURE_FWHM = 2.5  # radius of an aperture: all but 1e-7 of a Gaussian star's light
RING_FWHM = (4.0, 7.0)  # inner and outer radius of the ring where its sky is measured
BIN_PX = 8  # noise of means over such squares is the same before and after an interpolation


@dataclass(frozen=True)
class Step:
    """The step across a border, from outside to inside.

    Attributes
    ----------
    level : float
        Of the mean of the channels.
    colour : float
        Of R - G or B - G, the larger one; 0 for a mono image.
    error : float
        Standard error of `level`, as far as the noise causes it.
    """

    level: float
    colour: float
    error: float


def without_plane(image: np.ndarray) -> np.ndarray:
    """Return an image less the plane, channel by channel, that fits its pixels best: what remains is no gradient.

    Fitted to medians of squares with Huber's weights, so that neither stars nor steps carry it.
    """
    cells = measure_overlap(image, np.zeros_like(image), cell=CELL_PX // 2)
    if cells is None:
        return image.copy()
    height, width = image.shape[:2]
    basis = np.column_stack([np.ones(len(cells.x)), cells.x / width, cells.y / height])
    fits = [robust_fit(basis, v, np.ones_like(v)) for v in cells.difference.T]
    offset, along_x, along_y = np.array(fits).T
    x, y = np.arange(width)[:, np.newaxis] / width, np.arange(height)[:, np.newaxis, np.newaxis] / height
    return (image - (offset + along_x * x + along_y * y)).astype(np.float32)


def border_step(image: np.ndarray, inside: np.ndarray, outside: np.ndarray) -> Step | None:
    """Return the step of an image across the border between two areas.

    Medians of the bands on either side, `REACH_PX` wide, are compared: faint stars and outliers do not move them.
    Whatever the sky shows there, gradients too, is to be subtracted before.

    Parameters
    ----------
    image : ndarray, shape (H, W, C)
    inside, outside : ndarray of bool, shape (H, W)
        The areas; pixels without data do not count.

    Returns
    -------
    Step or None
        In the image's unit; None where the two areas have no border of some length.
    """
    import cv2

    valid = has_data(image)
    areas = [valid & inside & ~outside, valid & outside & ~inside]
    if not all(area.any() for area in areas):
        return None
    bands = []
    for mine, other in (areas, areas[::-1]):
        distance = cv2.distanceTransform((~other).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
        bands.append(image[mine & (distance > GAP_PX) & (distance <= GAP_PX + REACH_PX)])
    if min(map(len, bands)) < MIN_BAND_PIXELS:
        return None
    step = np.median(bands[0], axis=0) - np.median(bands[1], axis=0)
    green = step[len(step) // 2]
    return Step(float(step.mean()), float(max(step - green, key=abs)), _error_of_level(bands))


def _error_of_level(bands: list[np.ndarray]) -> float:
    """Return the standard error of the difference of two bands' levels, from their pixels' spread."""
    levels = [band.mean(axis=1) for band in bands]
    variances = [(SIGMA_OF_MAD * np.median(np.abs(v - np.median(v)))) ** 2 / len(v) for v in levels]
    return float(ERROR_OF_MEDIAN * np.sqrt(sum(variances)))


@dataclass(frozen=True)
class StarErrors:
    """How measured stars differ from the true ones.

    Attributes
    ----------
    count : int
        Stars measured.
    position_rms : float
        In pixels, per axis.
    offset : (float, float)
        Mean error of x and of y, in pixels.
    flux_bias : float
        Median of measured over true flux, less 1; of the channel where it is largest.
    flux_scatter : float
        Robust standard deviation of that ratio.
    """

    count: int
    position_rms: float
    offset: tuple[float, float]
    flux_bias: float
    flux_scatter: float


def star_errors(image: np.ndarray, x: np.ndarray, y: np.ndarray, flux: np.ndarray, fwhm: float) -> StarErrors:
    """Measure stars at their true places and compare.

    Places by centroids in a Gaussian window, fluxes by sums over apertures of 2.5 FWHM less the median of a ring.

    Parameters
    ----------
    image : ndarray, shape (H, W, C)
        Best without the other stars, as far as they are known.
    x, y : ndarray, shape (n,)
        True places.
    flux : ndarray, shape (n, C)
        True fluxes in units of the image times pixels.
    fwhm : float
        Of a star in the image, in pixels.

    Raises
    ------
    ValueError
        Where no star lies where the image has data with all its ring.
    """
    sep = load_sep()
    reach = int(np.ceil(RING_FWHM[1] * fwhm))
    whole = ((x > reach) & (x < image.shape[1] - 1 - reach)) & ((y > reach) & (y < image.shape[0] - 1 - reach))
    valid = has_data(image)
    whole[whole] = [
        valid[row - reach : row + reach + 1, column - reach : column + reach + 1].all()
        for row, column in zip(np.rint(y[whole]).astype(int), np.rint(x[whole]).astype(int), strict=True)
    ]
    if not whole.any():
        raise ValueError("no star lies where the image has data")
    x, y, flux = x[whole], y[whole], flux[whole]
    measured = np.column_stack([_fluxes(np.ascontiguousarray(image[..., c]), x, y, fwhm) for c in range(flux.shape[1])])
    plane = luminance(image)
    for column, row in zip(x, y, strict=True):  # centroids want a sky of zero
        stamp = _stamp(plane, column, row, reach)
        stamp -= np.median(stamp)
    plane[~valid] = 0.0
    found_x, found_y, _ = sep.winpos(plane, x, y, np.full(len(x), fwhm / FWHM_PER_SIGMA), mask=~valid)
    errors = np.column_stack([found_x - x, found_y - y])
    ratio = measured / flux
    bias = np.median(ratio, axis=0) - 1
    return StarErrors(
        len(x),
        float(np.sqrt(np.mean(errors**2))),
        tuple(float(mean) for mean in errors.mean(axis=0)),
        float(max(bias, key=abs)),
        float(SIGMA_OF_MAD * np.median(np.abs(ratio - np.median(ratio, axis=0)))),
    )


def _stamp(plane: np.ndarray, x: float, y: float, reach: int) -> np.ndarray:
    row, column = round(float(y)), round(float(x))
    return plane[row - reach : row + reach + 1, column - reach : column + reach + 1]


def _fluxes(plane: np.ndarray, x: np.ndarray, y: np.ndarray, fwhm: float) -> np.ndarray:
    """Return the light within apertures, less the sky around: the median of a ring, which its stars do not move."""
    sep = load_sep()
    radius, (inner, outer) = APERTURE_FWHM * fwhm, (ring * fwhm for ring in RING_FWHM)
    total, _, _ = sep.sum_circle(np.where(np.isfinite(plane), plane, 0.0).astype(np.float32), x, y, radius, subpix=0)
    reach = int(np.ceil(outer))
    offset = np.arange(-reach, reach + 1)
    distance = np.hypot(offset, offset[:, np.newaxis])
    ring = (distance >= inner) & (distance <= outer)
    sky = [np.median(_stamp(plane, column, row, reach)[ring]) for column, row in zip(x, y, strict=True)]
    return np.asarray(total) - np.pi * radius**2 * np.array(sky)


def noise_ratios(image: np.ndarray, exact: np.ndarray, where: np.ndarray) -> tuple[float, float]:
    """Return the noise of an image in units of another one's: of pixels, and of means over squares of 8 pixels.

    A smoother interpolation lowers the noise of pixels, but not that of the means: theirs is what the data allow.

    Parameters
    ----------
    image, exact : ndarray, shape (H, W, C)
        Best without the stars.
    where : ndarray of bool, shape (H, W)
        Pixels to measure on.

    Returns
    -------
    of_pixels, of_means : float
        Mean over the channels.
    """
    both = where & has_data(image) & has_data(exact)
    image, exact = (np.where(both[..., np.newaxis], each, np.nan).astype(np.float32) for each in (image, exact))
    of_pixels = np.mean(noise_level(image) / noise_level(exact))
    return float(of_pixels), float(np.mean(noise_level(binned(image)) / noise_level(binned(exact))))


def binned(image: np.ndarray, size: int = BIN_PX) -> np.ndarray:
    """Return the means of squares of an image (H, W, C), float32; NaN where a pixel of a square has no data."""
    squares = sliding_window_view(image, (size, size), axis=(0, 1))[::size, ::size]
    return squares.mean(axis=(-2, -1), dtype=np.float64).astype(np.float32)
