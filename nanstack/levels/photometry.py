# SPDX-License-Identifier: GPL-3.0-or-later
"""Levels, noise, weights and colour of frames, measured on valid pixels only.

All functions take real numbers, (H, W) or (H, W, C), and treat a non-finite or masked sample as no data. For anything
else they raise ValueError.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from nanstack.arrays import check_percentile, float_frame, real_array, to_float32

MAX_SAMPLES = 500_000  # enough for a median to a thousandth of the noise
MAX_GAIN = 1e6  # between frames of one telescope; what is measured beyond it is none
NOISE_LAG_PX = 4  # neighbours this far apart share neither debayering nor interpolation
SIGMA_OF_MAD = 1.4826  # standard deviation over median absolute deviation, for Gaussian noise
LOW_COVERAGE = 0.5  # band metric: the rim is covered by up to this share of the maximal coverage,
HIGH_COVERAGE = 0.9  # and the inside by at least this one


def sky_level(frame: np.ndarray) -> np.ndarray:
    """Return the sky level of each channel: the sigma-clipped median of its valid pixels.

    Returns
    -------
    ndarray of float32, shape (C,) or () for a mono frame
        In the frame's unit; NaN for a channel without data.
    """
    frame = float_frame(frame)
    return to_float32(np.array([_clipped(channel)[0] for channel in _channels(frame)])).reshape(frame.shape[2:])


def noise_level(frame: np.ndarray, where: np.ndarray | None = None) -> np.ndarray:
    """Return the noise of each channel, from differences of pixels `NOISE_LAG_PX` apart along the rows.

    Differences cancel sky and gradients; their median absolute deviation ignores stars.

    Parameters
    ----------
    frame : ndarray, shape (H, W) or (H, W, C)
    where : ndarray of bool, shape (H, W), optional
        Pixels to measure on; by default all that are valid.

    Returns
    -------
    ndarray of float32, shape (C,) or () for a mono frame
        In the frame's unit; NaN for a channel with no pair of valid pixels, and for a noise too large for float32.
    """
    frame = float_frame(frame)
    if where is not None and np.shape(where) != frame.shape[:2]:
        raise ValueError(f"where must be {frame.shape[:2]}, as the frame, not {np.shape(where)}")
    step = max(1, round(frame.shape[0] * frame.shape[1] / MAX_SAMPLES))
    frame = frame[::step]
    if where is not None:
        where = np.asarray(where, dtype=bool)
        frame = np.where(where[::step] if frame.ndim == 2 else where[::step, :, None], frame, np.nan)
    levels = []
    for channel in _channels(frame):
        with np.errstate(invalid="ignore", over="ignore"):  # infinities are no data
            difference = channel[:, NOISE_LAG_PX:] - channel[:, :-NOISE_LAG_PX]
        difference = difference[np.isfinite(difference)].astype(np.float64)
        spread = np.median(np.abs(difference - np.median(difference))) if difference.size else math.nan
        levels.append(SIGMA_OF_MAD * spread / math.sqrt(2))
    levels = to_float32(np.array(levels)).reshape(frame.shape[2:])
    return np.where(np.isinf(levels), np.float32(np.nan), levels)


def linear_fit_coefficients(
    frame: np.ndarray, reference: np.ndarray, low_percentile: float = 25.0, high_percentile: float = 90.0
) -> tuple[np.ndarray, np.ndarray]:
    """Return the gain and offset per channel that bring two percentiles of a frame onto the reference's.

    Both are measured where frame and reference both have data; a channel in which they have nothing in common, or in
    which either is flat against the other, gets gain 1 (and the offset between the lower percentiles, where there are
    any).

    Parameters
    ----------
    frame, reference : ndarray, same shape (H, W) or (H, W, C)
    low_percentile, high_percentile : float
        The sky, and a level above it that stars do not reach.

    Returns
    -------
    gain, offset : ndarray of float64, shape (C,)

    Raises
    ------
    ValueError
        For frames of different shapes, or percentiles out of 0 to 100.
    """
    frame, reference = _pair(frame, reference)
    check_percentile("low_percentile", low_percentile)
    check_percentile("high_percentile", high_percentile)
    gains, offsets = [], []
    for mine, theirs in zip(_channels(frame), _channels(reference), strict=True):
        both = np.isfinite(mine) & np.isfinite(theirs)
        gain, offset = 1.0, 0.0
        if both.any():
            low, high = np.percentile(mine[both].astype(np.float64), [low_percentile, high_percentile])
            to_low, to_high = np.percentile(theirs[both].astype(np.float64), [low_percentile, high_percentile])
            if high > low and to_high > to_low and 1 / MAX_GAIN < (to_high - to_low) / (high - low) < MAX_GAIN:
                gain = (to_high - to_low) / (high - low)
            offset = to_low - gain * low
        gains.append(gain)
        offsets.append(offset)
    return np.array(gains), np.array(offsets)


def sky_offset(frame: np.ndarray, reference: np.ndarray, sky_percentile: float = 25.0) -> float:
    """Return the offset that brings a frame's sky onto the reference's: one number, from the luminance.

    Measured where both have data; 0 where they have nothing in common.

    Raises
    ------
    ValueError
        For frames of different shapes, or a percentile out of 0 to 100.
    """
    from nanstack.survey.stars import luminance

    frame, reference = _pair(frame, reference)
    check_percentile("sky_percentile", sky_percentile)
    mine, theirs = luminance(frame), luminance(reference)
    both = np.isfinite(mine) & np.isfinite(theirs)
    if not both.any():
        return 0.0
    # in double precision: in single, NumPy 1 and 2 interpolate differently
    here, there = (np.percentile(plane[both].astype(np.float64), sky_percentile) for plane in (mine, theirs))
    return float(there - here)


def noise_weights(frames: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Return the weight of each frame and channel: the inverse variance of its sky, 1 for the best.

    Returns
    -------
    list of ndarray of float32, each (C,) or () for mono frames
        1 throughout where no frame's noise can be measured; 0 for a frame whose noise cannot.
    """
    frames = _group(frames)
    variance = np.array([[_clipped(channel)[1] ** 2 for channel in _channels(frame)] for frame in frames])
    return list(relative_weights(variance).reshape(len(frames), *frames[0].shape[2:]))


def fwhm_weights(frames: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Return the weight of each frame: the inverse area of its stars' discs, 1 for the sharpest.

    Returns
    -------
    list of ndarray of float32, each (C,) or () for mono frames
        1 throughout where no frame shows stars; 0 for a frame without.
    """
    from nanstack.survey.stars import find_stars

    frames = _group(frames)
    area = np.array([[find_stars(frame).fwhm ** 2] * len(_channels(frame)) for frame in frames])
    return list(relative_weights(area).reshape(len(frames), *frames[0].shape[2:]))


def relative_weights(cost: np.ndarray) -> np.ndarray:
    """Return weights, the least cost of a channel over each: float32, as `cost`, shape (frames, channels).

    0 for a cost that is not known; 1 throughout where none is.
    """
    known = np.isfinite(cost) & (cost > 0)
    least = np.where(known, cost, np.inf).min(axis=0, initial=np.inf)
    weight = np.divide(least, cost, out=np.zeros(cost.shape), where=known)
    return np.where(np.isfinite(least), weight, 1.0).astype(np.float32)


def colour_gains(image: np.ndarray) -> tuple[np.ndarray, float]:
    """Return the gains that bring the channels' medians onto the middle one of them.

    Parameters
    ----------
    image : ndarray, shape (H, W, 3)

    Returns
    -------
    gains : ndarray of float64, shape (3,)
        1 for a channel whose median is not positive.
    target : float
        The common median; NaN (and gains 1) where no channel has a positive one.

    Raises
    ------
    ValueError
        For another shape.
    """
    image = float_frame(image, "image")
    if image.shape[2:] != (3,):
        raise ValueError(f"image must be (H, W, 3), not {image.shape}")
    medians = np.array([_median(channel) for channel in _channels(image)])
    usable = medians > 0
    if not usable.any():
        return np.ones(3), math.nan
    target = float(np.median(medians[usable]))
    return np.divide(target, medians, out=np.ones(3), where=usable), target


def band_metric(image: np.ndarray, coverage: np.ndarray) -> float:
    """Return the colour step between a tile's rim and its inside: what shows as a coloured band.

    The largest difference of the medians of R-G and of B-G between the pixels covered by at most half, and those
    covered by at least 90 %, of the maximal coverage.

    Parameters
    ----------
    image : ndarray, shape (H, W, 3)
        In ADU.
    coverage : ndarray of int, shape (H, W)
        Number of frames in each pixel.

    Returns
    -------
    float
        In ADU; NaN for a mono tile, and for one that has no rim or no inside.

    Raises
    ------
    ValueError
        Where coverage and image are of different shapes.
    """
    image, coverage = float_frame(image, "image"), real_array(coverage, "coverage")
    if coverage.shape != image.shape[:2]:
        raise ValueError(f"coverage must be {image.shape[:2]}, as the image, not {coverage.shape}")
    if image.ndim != 3 or image.shape[2] != 3 or not coverage.size:
        return math.nan
    valid = np.isfinite(image).all(axis=2) & (coverage > 0)
    rim = valid & (coverage <= LOW_COVERAGE * coverage.max())
    inside = valid & (coverage >= HIGH_COVERAGE * coverage.max())
    if not rim.any() or not inside.any():
        return math.nan
    red, green, blue = _channels(image)
    steps = [_median_difference(one, green, rim) - _median_difference(one, green, inside) for one in (red, blue)]
    return float(np.max(np.abs(steps)))


def _median_difference(one: np.ndarray, other: np.ndarray, where: np.ndarray) -> float:
    return float(np.median(one[where].astype(np.float64) - other[where]))


def _pair(frame: np.ndarray, reference: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    frame, reference = float_frame(frame), float_frame(reference, "reference")
    if frame.shape != reference.shape:
        raise ValueError(f"frame and reference must be of one shape, not {frame.shape} and {reference.shape}")
    return frame, reference


def _group(frames: Sequence[np.ndarray]) -> list[np.ndarray]:
    frames = [float_frame(frame, f"frame {index}") for index, frame in enumerate(frames)]
    if len({frame.shape[2:] for frame in frames}) > 1:
        raise ValueError(f"frames must have the same channels, not the shapes {[frame.shape for frame in frames]}")
    return frames


def _channels(frame: np.ndarray) -> list[np.ndarray]:
    return [frame] if frame.ndim == 2 else [frame[..., c] for c in range(frame.shape[2])]


def thinned(values: np.ndarray) -> np.ndarray:
    """Return finite values from evenly spaced rows, about `MAX_SAMPLES` of them: enough for a level or a noise."""
    step = max(1, round(values.size / MAX_SAMPLES)) if values.ndim > 1 else 1
    values = values[::step]
    return values[np.isfinite(values)]


def _median(values: np.ndarray) -> float:
    finite = values[np.isfinite(values)].astype(np.float64)  # the mean of the middle two must not overflow
    return float(np.median(finite)) if finite.size else math.nan


def _clipped(values: np.ndarray) -> tuple[float, float]:
    """Return median and standard deviation after sigma clipping; NaN where there is no data."""
    from astropy.stats import sigma_clipped_stats

    sample = thinned(values).astype(np.float64)
    if not sample.size:
        return math.nan, math.nan
    _, median, std = sigma_clipped_stats(sample, sigma=3.0, maxiters=5)
    return float(median), float(std)
