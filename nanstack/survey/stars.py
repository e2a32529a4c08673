# SPDX-License-Identifier: GPL-3.0-or-later
"""Stars of a frame: found with ``sep``, cleaned of what is not a star, measured precisely."""

from __future__ import annotations

from dataclasses import dataclass
from types import ModuleType

import numpy as np

from nanstack.arrays import float_frame, to_float32

LUMINANCE = (0.299, 0.587, 0.114)  # Rec. 601 weights of R, G, B
CACHED_ROWS = 32  # rows of a frame that stay in the cache while their channels are weighed
MAX_STARS = 300  # more add nothing to a six-parameter fit
CANDIDATES = 3 * MAX_STARS  # brightest objects that are looked at: hot pixels are among them
BIN_FROM_PX = 1_000_000  # larger frames are binned 2 x 2 to find stars; they are measured on full pixels
BACKGROUND_BOX_PX = 64
MAX_ELONGATION = 2.0  # a cosmic-ray track is longer, a trailed star is not
MAX_PEAK_SHARE = 0.45  # share of an aperture's flux in its brightest pixel: above it, a hot pixel
MIN_BLOOM_RATIO = 2.5  # a half-light radius this many times the usual one is a saturated bloom
MIN_SECOND_CHANNEL = 0.15  # of its light in the brightest one: a star shines in two at least, a hot photosite in one
CERTAIN_SIGMA = 2.0  # of noise, by which that is missed
SIGMA_PER_MAD = 1.4826
APERTURE_PX = 3.0
SPARE_PIXELS = 10_000
MAX_SAMPLE = 1e18  # in ADU: sep squares samples in float32, and what is larger is no light of a star


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

    @classmethod
    def none(cls) -> Stars:
        """Return the stars of a frame that shows none."""
        empty = np.empty(0)
        return cls(empty, empty, empty, empty, float("nan"))


def luminance(frame: np.ndarray) -> np.ndarray:
    """Return the luminance of a frame as a C-contiguous float32 array (H, W).

    A pixel with a non-finite channel is NaN. The array is new.

    Raises
    ------
    ValueError
        For a frame that is not (H, W) or (H, W, 3), or holds no real numbers.
    """
    frame = to_float32(float_frame(frame))
    if frame.ndim == 2:
        plane = np.array(frame, order="C", subok=False)
    elif frame.shape[2] != 3:
        raise ValueError(f"frame must be (H, W) or (H, W, 3), not {frame.shape}")
    else:
        plane = np.empty(frame.shape[:2], dtype=np.float32)
        for top in range(0, len(plane), CACHED_ROWS):
            _weigh_channels(frame[top : top + CACHED_ROWS], plane[top : top + CACHED_ROWS])
    infinite = np.isinf(plane)
    if infinite.any():
        plane[infinite] = np.nan
    return plane


def _weigh_channels(rows: np.ndarray, out: np.ndarray) -> None:
    """Fill `out` with luminances, product by product: a matrix product rounds as its BLAS does, and these differ."""
    red, green, blue = (np.float32(weight) for weight in LUMINANCE)
    with np.errstate(invalid="ignore", over="ignore"):  # infinities of both signs
        np.multiply(rows[..., 0], red, out=out)
        out += rows[..., 1] * green
        out += rows[..., 2] * blue


def find_stars(frame: np.ndarray, sigma: float = 4.0, min_area: int = 5) -> Stars:
    """Find the stars of a frame and measure where they are.

    Hot pixels, cosmic rays and saturated blooms are filtered out by shape and colour.

    Parameters
    ----------
    frame : ndarray, shape (H, W) or (H, W, 3)
        Samples in ADU; non-finite ones, and any beyond `MAX_SAMPLE`, are no data.
    sigma : float
        Detection threshold in units of the background's noise.
    min_area : int
        Least number of connected pixels above the threshold.

    Returns
    -------
    Stars
        Brightest first, at most `MAX_STARS`; empty where nothing looks like a star.

    Raises
    ------
    ValueError
        For a frame that is none, a threshold that is not positive, or an area below 1.
    """
    check_detection(sigma, min_area)
    frame = float_frame(frame)
    plane = luminance(frame)
    no_data = ~(np.abs(plane) < MAX_SAMPLE)
    if no_data.all():
        return Stars.none()
    if no_data.any():
        plane[no_data] = 0.0  # sep ignores masked samples, but must not see NaN
    else:
        no_data = None
    x, y, noise = _detect(plane, no_data, sigma, min_area)
    return _measure(plane, frame, x, y, no_data, noise) if len(x) else Stars.none()


def check_detection(sigma: float, min_area: int) -> None:
    """Raise ValueError for a threshold that is not positive, or an area below 1."""
    if not 0 < sigma < np.inf:
        raise ValueError(f"sigma must be a positive number, not {sigma!r}")
    if not 1 <= min_area < np.inf:
        raise ValueError(f"min_area must be 1 or more, not {min_area!r}")


def load_sep() -> ModuleType:
    """Import sep, which astroalign 2.6.0 and 2.6.1 bring under the name of a fork."""
    try:
        import sep
    except ImportError as missing:
        try:
            import sep_pjw as sep
        except ImportError:
            raise missing from None  # sep is what is to be installed
    return sep


def _detect(
    plane: np.ndarray, no_data: np.ndarray | None, sigma: float, min_area: int
) -> tuple[np.ndarray, np.ndarray, float]:
    """Return the places of round objects, brightest first, and the noise; subtract the background from the plane."""
    sep = load_sep()

    binning = 2 if plane.size >= BIN_FROM_PX else 1
    small, hole = _binned(plane, no_data, binning)
    box = BACKGROUND_BOX_PX // binning
    background = sep.Background(small, mask=hole, bw=box, bh=box)
    level = background.back()
    small -= level
    _subtract(plane, level, binning)
    if not background.globalrms > 0:
        return np.empty(0), np.empty(0), 0.0
    # no deblending: blends are no use for alignment, and it is what fails on nebulae
    area = max(1, round(min_area / binning**2))
    threshold = sigma * background.globalrms
    # its filter spreads a pixel over nine; room for more would only be memory to clear
    sep.set_extract_pixstack(min(9 * np.count_nonzero(small > threshold), small.size) + SPARE_PIXELS)
    found = sep.extract(small, threshold, mask=hole, minarea=area, deblend_nthresh=1, deblend_cont=1.0)
    found = found[(found["a"] < MAX_ELONGATION * found["b"]) & (found["flux"] > 0)]
    found = found[np.argsort(-found["flux"], kind="stable")[:CANDIDATES]]
    shift = (binning - 1) / 2
    return binning * found["x"] + shift, binning * found["y"] + shift, binning * float(background.globalrms)


def _binned(plane: np.ndarray, no_data: np.ndarray | None, binning: int) -> tuple[np.ndarray, np.ndarray | None]:
    """Return the mean of each 2 x 2 pixels, and where one of them is missing; copies, where nothing is binned."""
    if binning == 1:
        return plane.copy(), no_data
    height, width = (side // 2 * 2 for side in plane.shape)
    parts = [(slice(row, height, 2), slice(column, width, 2)) for row in (0, 1) for column in (0, 1)]
    hole = None if no_data is None else np.logical_or.reduce([no_data[part] for part in parts])
    return sum(plane[part] for part in parts) / 4, hole


def _subtract(plane: np.ndarray, level: np.ndarray, binning: int) -> None:
    """Subtract a binned image from the full one; an odd last row or column keeps its level."""
    height, width = (side * binning for side in level.shape)
    for row in range(binning):
        for column in range(binning):
            plane[row:height:binning, column:width:binning] -= level


def _measure(
    plane: np.ndarray, frame: np.ndarray, x: np.ndarray, y: np.ndarray, no_data: np.ndarray | None, noise: float
) -> Stars:
    """Keep the objects with the shape of a star and centre them with a Gaussian window, as SExtractor does."""
    sep = load_sep()

    flux, _, flag = sep.sum_circle(plane, x, y, APERTURE_PX, mask=no_data, subpix=1)
    share = _stamps(plane, x, y, 2).max(axis=(1, 2)) / np.maximum(flux, 1e-30)
    reach = np.full(len(x), 2 * APERTURE_PX)
    radius, _ = sep.flux_radius(plane, x, y, reach, 0.5, mask=no_data, subpix=1)
    good = (flux > 0) & (share < MAX_PEAK_SHARE) & (flag == 0) & np.isfinite(radius) & (radius > 0)
    good &= shines_in_two_channels(frame, x, y)
    if not good.any():
        return Stars.none()
    good &= radius < MIN_BLOOM_RATIO * np.median(radius[good])
    keep = np.flatnonzero(good)[:MAX_STARS]
    sigma, flux = radius[keep] / 1.177, np.asarray(flux[keep])  # half-light radius of a Gaussian star: 1.177 sigma
    x, y, _ = sep.winpos(plane, x[keep], y[keep], sigma, mask=no_data, subpix=1)
    error = 2 * np.sqrt(np.pi) * sigma**2 * noise / flux  # sky-limited, King 1983, PASP 95, 163
    x, y = np.asarray(x), np.asarray(y)
    here = (x > -1) & (x < plane.shape[1]) & (y > -1) & (y < plane.shape[0])  # where a window has wandered off, no star
    return Stars(x[here], y[here], flux[here], error[here], float(2.0 * np.median(radius[keep])))


def _stamps(image: np.ndarray, x: np.ndarray, y: np.ndarray, reach: int) -> np.ndarray:
    """Return squares of 2 reach + 1 pixels around places; at the border, the border's pixels are repeated."""
    offset = np.arange(-reach, reach + 1)
    rows = np.clip(np.rint(y).astype(np.intp)[:, None] + offset, 0, image.shape[0] - 1)
    columns = np.clip(np.rint(x).astype(np.intp)[:, None] + offset, 0, image.shape[1] - 1)
    return image[rows[:, :, None], columns[:, None, :]]


def shines_in_two_channels(frame: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Tell stars from hot photosites, which debayering spreads over pixels but not over channels.

    What surely has hardly anything of its brightest channel's light in the others, in the same shape, is no star.
    """
    if frame.ndim == 2:
        return np.ones(len(x), dtype=bool)
    stamps = _stamps(frame, x, y, 4).astype(np.float64)
    rim = np.ones(stamps.shape[1:3], dtype=bool)
    rim[1:-1, 1:-1] = False
    with np.errstate(invalid="ignore", divide="ignore"):  # a stamp with infinities, or without light, is none of a star
        sky = np.median(stamps[:, rim], axis=1)
        noise = SIGMA_PER_MAD * np.median(np.abs(stamps[:, rim] - sky[:, None]), axis=1)
        light = stamps[:, 2:-2, 2:-2].reshape(len(x), 25, frame.shape[2]) - sky[:, None]
        brightest = light.max(axis=1).argmax(axis=1)
        shape = np.take_along_axis(light, brightest[:, None, None], axis=2).clip(0)
        square = np.sum(shape**2, axis=1)
        share = np.sum(shape * light, axis=1) / square
        second = np.argsort(share, axis=1)[:, -2:-1]
        share, noise = (np.take_along_axis(of, second, axis=1) for of in (share, noise / np.sqrt(square)))
        return (share + CERTAIN_SIGMA * noise > MIN_SECOND_CHANNEL)[:, 0]
