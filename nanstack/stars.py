# SPDX-License-Identifier: GPL-3.0-or-later
"""Stars of a frame: found with ``sep``, cleaned of what is not a star, measured precisely."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

LUMINANCE = (0.299, 0.587, 0.114)  # Rec. 601 weights of R, G, B
MAX_STARS = 500  # more add nothing to a six-parameter fit
MAX_ELONGATION = 2.0  # a cosmic-ray track is longer, a trailed star is not
MAX_PEAK_SHARE = 0.45  # share of an aperture's flux in its brightest pixel: above it, a hot pixel
MIN_BLOOM_RATIO = 2.5  # a half-light radius this many times the usual one is a saturated bloom
MIN_SECOND_CHANNEL = 0.05  # a star shines in two channels at least; a hot photosite in one
APERTURE_PX = 3.0


@dataclass(frozen=True)
class Stars:
    """Stars of one frame, brightest first.

    Attributes
    ----------
    x, y : ndarray of float64, shape (n,)
        Windowed centroids in pixels, 0 at the centre of the first pixel.
    flux : ndarray of float64, shape (n,)
        Background-subtracted luminance flux in ADU.
    error : ndarray of float64, shape (n,)
        Standard error of x, and of y, in pixels, as far as the sky's noise causes it.
    fwhm : float
        Median full width at half maximum in pixels; NaN without stars.
    """

    x: np.ndarray
    y: np.ndarray
    flux: np.ndarray
    error: np.ndarray
    fwhm: float

    def __len__(self) -> int:
        return len(self.x)


def luminance(frame: np.ndarray) -> np.ndarray:
    """Return the luminance of a frame as a C-contiguous float32 array (H, W).

    A pixel with a non-finite channel is NaN.
    """
    if frame.ndim == 2:
        plane = np.array(frame, dtype=np.float32)
    else:
        plane = np.asarray(frame, dtype=np.float32) @ np.asarray(LUMINANCE, dtype=np.float32)
    plane[~np.isfinite(plane)] = np.nan
    return plane


def find_stars(frame: np.ndarray, sigma: float = 4.0, min_area: int = 5) -> Stars:
    """Find the stars of a frame and measure where they are.

    Hot pixels, cosmic rays and saturated blooms are filtered out by shape and colour.

    Parameters
    ----------
    frame : ndarray, shape (H, W) or (H, W, 3)
        Samples in ADU; non-finite ones are no data.
    sigma : float
        Detection threshold in units of the background's noise.
    min_area : int
        Least number of connected pixels above the threshold.

    Returns
    -------
    Stars
        Brightest first, at most `MAX_STARS`; empty where nothing looks like a star.
    """
    import sep

    plane = luminance(frame)
    no_data = ~np.isfinite(plane)
    if no_data.all():
        return _no_stars()
    plane[no_data] = 0.0  # sep ignores masked samples, but must not see NaN
    background = sep.Background(plane, mask=no_data)
    background.subfrom(plane)
    if not background.globalrms > 0:
        return _no_stars()
    found = _extract(plane, sigma * background.globalrms, no_data, min_area)
    found = found[(found["a"] < MAX_ELONGATION * found["b"]) & (found["flux"] > 0)]
    found = found[np.argsort(-found["flux"], kind="stable")[: 3 * MAX_STARS]]
    return _measure(plane, frame, found, no_data, background.globalrms)


def _extract(plane: np.ndarray, threshold: float, no_data: np.ndarray, min_area: int) -> np.ndarray:
    """Return sep's objects; deblending is off: blends are no use for alignment, and it is what fails on nebulae."""
    import sep

    sep.set_extract_pixstack(max(plane.size // 4, 300_000))
    return sep.extract(plane, threshold, mask=no_data, minarea=max(int(min_area), 1), deblend_cont=1.0)


def _measure(plane: np.ndarray, frame: np.ndarray, found: np.ndarray, no_data: np.ndarray, noise: float) -> Stars:
    """Keep the objects with the shape of a star and centre them with a Gaussian window, as SExtractor does."""
    import sep

    if not len(found):
        return _no_stars()
    x, y = found["x"], found["y"]
    flux, _, flag = sep.sum_circle(plane, x, y, APERTURE_PX, mask=no_data)
    share = found["peak"] / np.maximum(flux, 1e-30)
    radius, _ = sep.flux_radius(plane, x, y, np.full(len(x), 2 * APERTURE_PX), 0.5, normflux=None, mask=no_data)
    good = (flux > 0) & (share < MAX_PEAK_SHARE) & (flag == 0) & np.isfinite(radius) & (radius > 0)
    good &= _shines_in_two_channels(frame, x, y)
    if not good.any():
        return _no_stars()
    good &= radius < MIN_BLOOM_RATIO * np.median(radius[good])
    keep = np.flatnonzero(good)[:MAX_STARS]
    sigma, flux = radius[keep] / 1.177, np.asarray(flux[keep])  # half-light radius of a Gaussian star: 1.177 sigma
    x, y, _ = sep.winpos(plane, x[keep], y[keep], sigma, mask=no_data)
    error = 2 * np.sqrt(np.pi) * sigma**2 * noise / flux  # sky-limited, King 1983, PASP 95, 163
    return Stars(np.asarray(x), np.asarray(y), flux, error, float(2.0 * np.median(radius[keep])))


def _shines_in_two_channels(frame: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Tell stars from hot photosites, which debayering spreads over pixels but not over channels."""
    import sep

    if frame.ndim == 2:
        return np.ones(len(x), dtype=bool)
    flux = []
    for channel in range(frame.shape[2]):
        plane = np.array(frame[..., channel], dtype=np.float32, order="C")
        no_data = ~np.isfinite(plane)
        plane[no_data] = 0.0
        ring = (2 * APERTURE_PX, 3 * APERTURE_PX)
        flux.append(sep.sum_circle(plane, x, y, APERTURE_PX, mask=no_data, bkgann=ring)[0])
    flux = np.sort(np.stack(flux), axis=0)
    return flux[-2] > MIN_SECOND_CHANNEL * flux[-1]


def _no_stars() -> Stars:
    empty = np.empty(0)
    return Stars(empty, empty, empty, empty, float("nan"))
