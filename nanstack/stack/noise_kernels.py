# SPDX-License-Identifier: GPL-3.0-or-later
"""Outliers by the frames' noise, compiled: what `nanstack.stack.noise_model` defines.

Sequential, and without the GIL: cells of a canvas are what runs in parallel. A row of the block, its pixels and colours
side by side, is worked on in runs of LANES, which are whole pixels: what is known of a frame is laid out once for a
run, and serves all. Every loop over a run becomes vector instructions. While a row is marked, those before it are grown
and averaged: its samples are then still in the cache.
"""

# ruff: noqa: ANN001 - the compiled functions get their types from Numba

from __future__ import annotations

import math

import numba
import numpy as np

from nanstack import compilation
from nanstack.stack.noise_model import GROW_PX, RANGE_OF_NINE, FrameNoise, NoiseRejection
from nanstack.stack.numba_kernels import find_centers
from nanstack.stack.stacked import StackedCell

LANES = 96  # a multiple of three colours, and of the numbers that a processor works on at once
HALF_PI = math.pi / 2
ABOVE, BELOW, OUTLIER = 1, 2, 3  # marks of samples: suspects on either side of the centre; what is rejected
GROWN = 5  # OUTLIER and OUTLIER + 1 are outliers above and below


def outliers(samples: np.ndarray, known: FrameNoise, rejection: NoiseRejection) -> np.ndarray:
    """Return which samples are rejected, as `nanstack.stack.noise_model.outliers`."""
    nowhere = slice(0, 0), slice(0, 0)
    return (_run(samples, known, rejection, nowhere)[0] >= OUTLIER).reshape(samples.shape)


def stack_noise(
    samples: np.ndarray, known: FrameNoise, rejection: NoiseRejection, inner: tuple[slice, slice]
) -> StackedCell:
    """Reject outliers and average what is left, as `nanstack.stack.noise_model.stack_noise`.

    Parameters
    ----------
    samples : ndarray of float32, shape (n, h, w, C), C-contiguous
        Of 1 or 3 colours.
    """
    return _run(samples, known, rejection, inner)[1]


def _run(
    samples: np.ndarray, known: FrameNoise, rejection: NoiseRejection, inner: tuple[slice, slice]
) -> tuple[np.ndarray, StackedCell]:
    """Return the marks of a block's samples, and what comes of its inner part."""
    frames, height, width, channels = samples.shape
    flat = samples.reshape(frames, -1)
    center, counts = np.empty(flat.shape[1], np.float32), np.empty(flat.shape[1], np.uint16)
    find_centers(flat, center, counts)
    compilation.announce(_stack_noise, "rejection")
    (top, bottom, _), (left, right, _) = inner[0].indices(height), inner[1].indices(width)
    shape = bottom - top, right - left, channels
    image, variance, weight = (np.empty(shape, kind) for kind in (np.float32, np.float32, np.float64))
    results = tuple(plane.reshape(shape[0], shape[1] * channels) for plane in (image, variance, weight))
    marks = np.empty(flat.shape, np.uint8)
    rejected = _stack_noise(
        flat.reshape(frames, height, width * channels),
        _laid_out(known, channels),
        (center.reshape(height, -1), counts.reshape(height, -1)),
        (float(rejection.kappa) ** 2, float(rejection.grow) ** 2),
        marks.reshape(frames, height, width * channels),
        (channels, top, left * channels),
        results,
    )
    coverage = counts.reshape(height, width, channels)[inner]
    mean_weight = (sum(weight[..., channel] for channel in range(channels)) / channels).astype(np.float32)
    return marks, StackedCell(
        image, coverage[..., 0].copy(), mean_weight, variance, int(rejected), int(coverage.sum(dtype=np.int64))
    )


def _laid_out(known: FrameNoise, channels: int) -> tuple[np.ndarray, ...]:
    """Return what is known of frames, for the lanes of a run; the blurs squared."""
    colours = (np.tile(part, LANES // channels) for part in (known.variance, known.photon, known.sky))
    return (*(np.ascontiguousarray(part, float) for part in colours), known.blur * known.blur, known.weight)


# helpers are called by kernels alone: wrappers for Python and C, and counting references, would only cost time
helper = numba.njit(nogil=True, error_model="numpy", no_cpython_wrapper=True, no_cfunc_wrapper=True, _nrt=False)
allocator = numba.njit(nogil=True, error_model="numpy", no_cpython_wrapper=True, no_cfunc_wrapper=True)
entry = compilation.compiled(error_model="numpy")


@entry
def _stack_noise(samples, known, found, bounds, marks, place, results):
    """Mark row after row; GROW_PX behind, the suspects around outliers; as far behind again, a row is final."""
    center, counts = found
    channels, top, left = place
    height, size = center.shape
    steep, tolerance = np.empty(size), np.empty((4, LANES))
    sums = np.empty((3, LANES))
    hits = np.empty((samples.shape[0], height, -(-size // LANES)), np.bool_)
    rejected = 0
    for y in range(height + 2 * GROW_PX):
        if y < height:
            _range_of_row(center, y, channels, steep)
            _mark_row(samples, known, center, counts, steep, bounds, marks, hits, tolerance, sums, y)
        if GROW_PX <= y < height + GROW_PX:
            _grow_row(marks, hits, channels, y - GROW_PX)
        final = y - 2 * GROW_PX
        if final >= 0:
            _spare_row(samples, center, counts, marks, final)
            if top <= final < top + results[0].shape[0]:
                rejected += _average_row(samples, known, center, marks, final, top, left, sums, results)
    return rejected


@helper
def _variance(level, variance, photon, sky, result):
    """Fill in the variance of a frame's samples at a level."""
    for lane in range(level.size):
        above = np.float64(level[lane]) - sky[lane]
        result[lane] = variance[lane] + photon[lane] * (above if above > 0.0 else 0.0)


# --- how far from the centre a sample may be --------------------------------------------------------------------------


@allocator
def _range_of_row(center, y, channels, steep):
    """Fill in how much the centres vary around each lane of a row; comparisons with NaN leave extremes as they are."""
    height, size = center.shape
    highest, lowest = np.empty(size, np.float32), np.empty(size, np.float32)
    _extremes_down(center[max(y - 1, 0)], center[y], center[min(y + 1, height - 1)], highest, lowest)
    for lane in range(size):
        steep[lane] = np.float64(highest[lane]) - np.float64(lowest[lane])
    if size > channels:
        _range_across(highest, lowest, channels, steep)


@helper
def _extremes_down(above, own, below, highest, lowest):
    for lane in range(own.size):
        high, low = np.float32(-np.inf), np.float32(np.inf)
        high = above[lane] if above[lane] > high else high
        low = above[lane] if above[lane] < low else low
        high = own[lane] if own[lane] > high else high
        low = own[lane] if own[lane] < low else low
        high = below[lane] if below[lane] > high else high
        low = below[lane] if below[lane] < low else low
        highest[lane] = high
        lowest[lane] = low


@helper
def _range_across(highest, lowest, channels, steep):
    """Do that with the neighbours to the left and right; at the ends of the row there is one only."""
    size = steep.size
    for lane in range(channels):
        last = size - 1 - lane
        _range_of_two(highest, lowest, lane, lane + channels, steep)
        _range_of_two(highest, lowest, last, last - channels, steep)
    _range_between(
        highest[: size - 2 * channels], highest[channels : size - channels], highest[2 * channels :],
        lowest[: size - 2 * channels], lowest[channels : size - channels], lowest[2 * channels :],
        steep[channels : size - channels],
    )  # fmt: skip


@helper
def _range_of_two(highest, lowest, lane, beside, steep):
    top, bottom = max(highest[lane], highest[beside]), min(lowest[lane], lowest[beside])
    steep[lane] = np.float64(top) - np.float64(bottom)


@helper
def _range_between(high_left, high, high_right, low_left, low, low_right, steep):
    for lane in range(steep.size):
        top = high_left[lane] if high_left[lane] > high[lane] else high[lane]
        top = high_right[lane] if high_right[lane] > top else top
        bottom = low_left[lane] if low_left[lane] < low[lane] else low[lane]
        bottom = low_right[lane] if low_right[lane] < bottom else bottom
        steep[lane] = np.float64(top) - np.float64(bottom)


@helper
def _tolerate(samples, known, center, counts, steep, tolerance, sums, y, run):
    """Fill in what stands beside a sample's own variance; turn ranges into squares of steepness."""
    own, common, mean, shared = tolerance[0], tolerance[1], tolerance[2], tolerance[3]
    variance, blurs = sums[0], sums[1]
    common[:] = 0.0
    blurs[:] = 0.0
    pairs = _any_pair(counts[y, run])
    for frame in range(samples.shape[0]):
        _variance(center[y, run], known[0][frame], known[1][frame], known[2][frame], variance)
        _add_finite(samples[frame, y, run], variance, common)
        if pairs:
            variance[:] = known[3][frame]
            _add_finite(samples[frame, y, run], variance, blurs)
    _settle(counts[y, run], own, common, mean, shared, blurs, steep)


@helper
def _any_pair(counts):
    found = np.uint8(0)
    for lane in range(counts.size):
        found |= np.uint8(counts[lane] == 2)
    return found > 0


@helper
def _add_finite(samples, values, total):
    for lane in range(samples.size):
        total[lane] += values[lane] if abs(samples[lane]) < np.float32(np.inf) else 0.0


@helper
def _settle(counts, own, common, mean, shared, blurs, steep):
    """Two samples share one sum: how far they are from each other."""
    for lane in range(counts.size):
        count = np.float64(counts[lane])
        share = HALF_PI / (count + 0.5) if counts[lane] > 2 else 1.0
        mean[lane] = common[lane] / (count if count > 0.0 else 1.0)
        of_center = mean[lane] * share
        excess = steep[lane] - RANGE_OF_NINE * math.sqrt(of_center)
        squared = excess * excess if excess > 0.0 else 0.0
        steep[lane] = squared
        pair = counts[lane] == 2
        own[lane] = 0.0 if pair else 1.0
        shared[lane] = share if counts[lane] > 2 else 0.0
        common[lane] = common[lane] + blurs[lane] * squared if pair else of_center


# --- outliers ---------------------------------------------------------------------------------------------------------


@helper
def _mark_row(samples, known, center, counts, steep, bounds, marks, hits, tolerance, sums, y):
    for number in range(hits.shape[2]):
        run = slice(number * LANES, min(number * LANES + LANES, steep.size))
        _tolerate(samples, known, center, counts, steep[run], tolerance, sums, y, run)
        variance = sums[0]
        for frame in range(samples.shape[0]):
            _variance(center[y, run], known[0][frame], known[1][frame], known[2][frame], variance)
            _allow(variance, known[3][frame], tolerance[0], tolerance[1], tolerance[2], tolerance[3], steep[run])
            hits[frame, y, number] = _mark_run(
                samples[frame, y, run], center[y, run], variance, bounds, marks[frame, y, run]
            )


@helper
def _allow(variance, blur, own, common, mean, shared, steep):
    """Turn variances into squares of allowed distances."""
    for lane in range(steep.size):
        less = shared[lane] * (variance[lane] if variance[lane] < mean[lane] else mean[lane])
        variance[lane] = own[lane] * (variance[lane] - less + blur * steep[lane]) + common[lane]


@helper
def _mark_run(samples, center, allowed, bounds, marks):
    """Mark the samples of a run, and tell whether there is an outlier; no data is neither."""
    kappa, grow = bounds
    found = np.uint8(0)
    for lane in range(samples.size):
        distance = np.float64(samples[lane]) - np.float64(center[lane])
        off = distance * distance if abs(samples[lane]) < np.float32(np.inf) else 0.0
        beyond = np.uint8(off > kappa * allowed[lane])
        suspect = np.uint8(off > grow * allowed[lane])
        side = np.uint8(ABOVE) if distance > 0.0 else np.uint8(BELOW)
        marks[lane] = suspect * side + np.uint8(2) * beyond
        found |= beyond
    return found > 0


@helper
def _grow_row(marks, hits, channels, y):
    """Mark the suspects around the outliers of a row."""
    for frame in range(marks.shape[0]):
        for number in range(hits.shape[2]):
            if hits[frame, y, number]:
                for lane in range(number * LANES, min(number * LANES + LANES, marks.shape[2])):
                    mark = marks[frame, y, lane]
                    if mark == OUTLIER or mark == OUTLIER + 1:
                        _grow_around(marks[frame], y, lane, channels, mark - 2)


@helper
def _grow_around(marks, y, lane, channels, suspect):
    height, size = marks.shape
    first = max(lane - GROW_PX * channels, lane % channels)
    for row in range(max(y - GROW_PX, 0), min(y + GROW_PX + 1, height)):
        for at in range(first, min(lane + GROW_PX * channels + 1, size), channels):
            if marks[row, at] == suspect:
                marks[row, at] = GROWN


@allocator
def _spare_row(samples, center, counts, marks, y):
    """Where every sample would go, let those stay that are nearest to the centre."""
    gone = np.zeros(center.shape[1], np.uint16)
    for frame in range(samples.shape[0]):
        _count_rejected(marks[frame, y], gone)
    if _any_empty(gone, counts[y]):
        for lane in range(gone.size):
            if counts[y, lane] > 0 and gone[lane] == counts[y, lane]:
                _spare_nearest(samples[:, y, lane], center[y, lane], marks[:, y, lane])


@helper
def _count_rejected(marks, gone):
    for lane in range(marks.size):
        gone[lane] += np.uint16(marks[lane] >= OUTLIER)


@helper
def _any_empty(gone, counts):
    found = np.uint8(0)
    for lane in range(counts.size):
        found |= np.uint8((gone[lane] == counts[lane]) & (counts[lane] > 0))
    return found > 0


@helper
def _spare_nearest(samples, center, marks):
    """Spare the nearest sample, of equals the lower one, and all that are the same."""
    nearest, value = np.inf, np.float32(np.nan)
    for frame in range(samples.size):
        distance = abs(np.float64(samples[frame]) - np.float64(center))
        if distance < nearest or (distance == nearest and samples[frame] < value):
            nearest, value = distance, samples[frame]
    for frame in range(samples.size):
        if samples[frame] == value:
            marks[frame] = 0


# --- the mean ---------------------------------------------------------------------------------------------------------


@helper
def _average_row(samples, known, center, marks, y, top, left, sums, results):
    """Average the inner part of a row; return how many of its samples are rejected."""
    image, variances, weights = results
    variance, total, squares = sums[0], sums[1], sums[2]
    size = image.shape[1]
    rejected = 0
    for start in range(0, size, LANES):
        stop = min(start + LANES, size)
        weight = weights[y - top, start:stop]
        total[:] = 0.0
        squares[:] = 0.0
        weight[:] = 0.0
        run = slice(left + start, left + stop)
        for frame in range(samples.shape[0]):
            _variance(center[y, run], known[0][frame], known[1][frame], known[2][frame], variance)
            own = known[4][frame]
            rejected += _add(samples[frame, y, run], marks[frame, y, run], variance, own, total, weight, squares)
        _divide(total, weight, squares, image[y - top, start:stop], variances[y - top, start:stop])
    return rejected


@helper
def _add(samples, marks, variance, own, total, weight, squares):
    """Add what is kept of a frame's samples; return how many are rejected."""
    rejected = np.int32(0)
    for lane in range(samples.size):
        gone = np.int32(marks[lane] >= OUTLIER)
        weighs = own if (abs(samples[lane]) < np.float32(np.inf)) & (gone == 0) else 0.0
        total[lane] += weighs * (np.float64(samples[lane]) if weighs > 0.0 else 0.0)
        weight[lane] += weighs
        squares[lane] += weighs * weighs * variance[lane]
        rejected += gone
    return rejected


@helper
def _divide(total, weight, squares, image, variance):
    for lane in range(image.size):
        image[lane] = np.float32(total[lane] / weight[lane])  # nothing through nothing: NaN
        variance[lane] = np.float32(squares[lane] / (weight[lane] * weight[lane]))
