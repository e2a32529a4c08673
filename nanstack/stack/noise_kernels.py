# SPDX-License-Identifier: GPL-3.0-or-later
"""Outliers by the frames' noise, compiled: what `nanstack.stack.noise_model` defines.

Sequential, and without the GIL: cells of a canvas are what runs in parallel. A row of the block, its pixels and colours
side by side, is worked on in runs of LANES, which are whole pixels: what is known of a frame is laid out once for a
run, and serves all. Every loop over a run becomes vector instructions. Samples are marked and averaged in one go; the
few lanes that lose one are averaged again, when all around them are marked.
"""

# ruff: noqa: ANN001 - the compiled functions get their types from Numba

from __future__ import annotations

import math

import numba
import numpy as np

from nanstack import compilation
from nanstack.stack.noise_model import GROW_PX, RANGE_OF_NINE, FrameNoise, Judgement, NoiseRejection
from nanstack.stack.numba_kernels import find_centers
from nanstack.stack.stacked import StackedCell

LANES = 96  # a multiple of three colours, and of the numbers that a processor works on at once
HALF_PI = np.float32(math.pi / 2)
OF_NINE = np.float32(RANGE_OF_NINE)
ZERO, HALF, ONE, INFINITE = np.float32(0), np.float32(0.5), np.float32(1), np.float32(np.inf)
ABOVE, BELOW, OUTLIER = 1, 2, 3  # marks of samples: suspects on either side of the centre; what is rejected
GROWN = 5  # OUTLIER and OUTLIER + 1 are outliers above and below


def outliers(samples: np.ndarray, known: FrameNoise, rejection: NoiseRejection) -> np.ndarray:
    """Return which samples are rejected, as `nanstack.stack.noise_model.outliers`."""
    return (_marked(samples, known, rejection)[0] >= OUTLIER).reshape(samples.shape)


def judged(samples: np.ndarray, known: FrameNoise, rejection: NoiseRejection, inner: tuple[slice, slice]) -> Judgement:
    """Return which samples are good, as `nanstack.stack.noise_model.judged`."""
    marks, counts, (image, _, _, gone) = _marked(samples, known, rejection)
    _keep_good(samples.reshape(-1), marks.reshape(-1))
    return Judgement(
        marks.view(bool).reshape(samples.shape), image, counts[..., 0], int(gone[inner].sum(dtype=np.int64))
    )


def stack_noise(
    samples: np.ndarray, known: FrameNoise, rejection: NoiseRejection, inner: tuple[slice, slice]
) -> StackedCell:
    """Reject outliers and average what is left, as `nanstack.stack.noise_model.stack_noise`.

    Parameters
    ----------
    samples : ndarray of float32, shape (n, h, w, C), C-contiguous
        Of 1 or 3 colours.
    """
    _, counts, (image, variance, weight, gone) = _marked(samples, known, rejection)
    channels, coverage, weight = samples.shape[-1], counts[inner], weight[inner]
    mean_weight = (sum(weight[..., channel] for channel in range(channels)) / channels).astype(np.float32)
    return StackedCell(
        image[inner].copy(), coverage[..., 0].copy(), mean_weight, variance[inner].copy(),
        int(gone[inner].sum(dtype=np.int64)), int(coverage.sum(dtype=np.int64)),
    )  # fmt: skip


def _marked(
    samples: np.ndarray, known: FrameNoise, rejection: NoiseRejection
) -> tuple[np.ndarray, np.ndarray, tuple[np.ndarray, ...]]:
    """Return marks of a block's samples, how many there are at each pixel, and image, variance, weight, outliers."""
    frames, height, width, channels = samples.shape
    flat = samples.reshape(frames, -1)
    center, counts = np.empty(flat.shape[1], np.float32), np.empty(flat.shape[1], np.uint16)
    find_centers(flat, center, counts)
    compilation.announce(_stack_noise, "rejection")
    shape = height, width, channels
    image, variance, weight = (np.empty(shape, kind) for kind in (np.float32, np.float32, np.float64))
    marks, gone = np.empty(flat.shape, np.uint8), np.zeros(shape, np.uint16)
    _stack_noise(
        flat.reshape(frames, height, width * channels),
        _laid_out(known, channels),
        (center.reshape(height, -1), counts.reshape(height, -1)),
        rejection.squares,
        marks.reshape(frames, height, width * channels),
        channels,
        tuple(plane.reshape(height, width * channels) for plane in (image, variance, weight, gone)),
    )
    return marks, counts.reshape(shape), (image, variance, weight, gone)


def _laid_out(known: FrameNoise, channels: int) -> tuple[np.ndarray, ...]:
    """Return what is known of frames, for the lanes of a run: variance, photon and sky, squared blur, weight."""
    colours = (
        np.tile(part.astype(np.float32), LANES // channels) for part in (known.variance, known.photon, known.sky)
    )
    return (*colours, (known.blur * known.blur).astype(np.float32), known.weight)


# helpers are called by kernels alone: wrappers for Python and C, and counting references, would only cost time; and so
# would calls: to hand arrays on, number by number, takes as long as many of them work on a run
helper = numba.njit(
    nogil=True, error_model="numpy", forceinline=True, no_cpython_wrapper=True, no_cfunc_wrapper=True, _nrt=False
)
allocator = numba.njit(nogil=True, error_model="numpy", no_cpython_wrapper=True, no_cfunc_wrapper=True)
entry = compilation.compiled(error_model="numpy")


@entry
def _stack_noise(samples, known, found, bounds, marks, channels, results):
    """Mark and average row after row; GROW_PX behind, the suspects around outliers; as far behind, a row is final."""
    center, counts = found
    gone = results[3]
    height, size = center.shape
    steep, tolerance, sums = np.empty(size, np.float32), np.empty((5, LANES), np.float32), np.empty((2, LANES))
    hits = np.empty((samples.shape[0], height, -(-size // LANES)), np.bool_)
    for y in range(height + 2 * GROW_PX):
        if y < height:
            _range_of_row(center, y, channels, steep)
            _mark_row(samples, known, center, counts, steep, bounds, marks, hits, tolerance, sums, y, results)
        if GROW_PX <= y < height + GROW_PX:
            _grow_row(marks, hits, channels, y - GROW_PX, gone)
        final = y - 2 * GROW_PX
        if final >= 0 and _any_gone(gone[final]):
            _settle_row(samples, known, center, counts, marks, final, channels, results)


@entry
def _keep_good(samples, marks):
    """Turn marks into 1 for samples that are there and no outliers, else 0."""
    for index in range(marks.size):
        marks[index] = np.uint8(abs(samples[index]) < INFINITE) & np.uint8(marks[index] < OUTLIER)


@helper
def _variance(level, variance, photon, sky, result):
    """Fill in the variance of a frame's samples at a level."""
    for lane in range(level.size):
        above = level[lane] - sky[lane]
        result[lane] = variance[lane] + photon[lane] * (above if above > ZERO else ZERO)


@helper
def _count_finite(samples):
    count = np.int32(0)
    for lane in range(samples.size):
        count += np.int32(abs(samples[lane]) < INFINITE)
    return count


# --- how far from the centre a sample may be --------------------------------------------------------------------------


@allocator
def _range_of_row(center, y, channels, steep):
    """Fill in how much the centres vary around each lane of a row; comparisons with NaN leave extremes as they are."""
    height, size = center.shape
    highest, lowest = np.empty(size, np.float32), np.empty(size, np.float32)
    _extremes_down(center[max(y - 1, 0)], center[y], center[min(y + 1, height - 1)], highest, lowest)
    for lane in range(size):
        steep[lane] = highest[lane] - lowest[lane]
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
    steep[lane] = top - bottom


@helper
def _range_between(high_left, high, high_right, low_left, low, low_right, steep):
    for lane in range(steep.size):
        top = high_left[lane] if high_left[lane] > high[lane] else high[lane]
        top = high_right[lane] if high_right[lane] > top else top
        bottom = low_left[lane] if low_left[lane] < low[lane] else low[lane]
        bottom = low_right[lane] if low_right[lane] < bottom else bottom
        steep[lane] = top - bottom


@helper
def _tolerate(samples, known, center, counts, steep, tolerance, y, run):
    """Fill in what stands beside a sample's own variance; turn ranges into squares of steepness."""
    variance, common, mean, blurs = tolerance[0], tolerance[1], tolerance[2], tolerance[3]
    common[:] = ZERO
    blurs[:] = ZERO
    pairs = _any_pair(counts[y, run])
    for frame in range(samples.shape[0]):
        _variance(center[y, run], known[0][frame], known[1][frame], known[2][frame], variance)
        _add_finite(samples[frame, y, run], variance, common)
        if pairs:
            variance[:] = known[3][frame]
            _add_finite(samples[frame, y, run], variance, blurs)
    _settle(counts[y, run], common, mean, blurs, steep)


@helper
def _any_pair(counts):
    found = np.uint8(0)
    for lane in range(counts.size):
        found |= np.uint8(counts[lane] == 2)
    return found > 0


@helper
def _add_finite(samples, values, total):
    for lane in range(samples.size):
        total[lane] += values[lane] if abs(samples[lane]) < INFINITE else ZERO


@helper
def _share(count):
    """Return the variance of a centre, in units of the mean variance of its samples."""
    return HALF_PI / (np.float32(count) + HALF) if count > 2 else ONE


@helper
def _settle(counts, common, mean, blurs, steep):
    """Two samples share one sum: how far they are from each other."""
    for lane in range(counts.size):
        mean[lane] = common[lane] / np.float32(max(counts[lane], 1))
        of_center = mean[lane] * _share(counts[lane])
        excess = steep[lane] - OF_NINE * np.sqrt(of_center)
        excess = excess if excess > ZERO else ZERO
        steep[lane] = excess * excess
        common[lane] = common[lane] + blurs[lane] * steep[lane] if counts[lane] == 2 else of_center


# --- outliers, and the mean without them ------------------------------------------------------------------------------


@helper
def _mark_row(samples, known, center, counts, steep, bounds, marks, hits, tolerance, sums, y, results):
    """Mark a row's samples, and average all."""
    images, variances, weights, gone = results
    variance, common, mean = tolerance[0], tolerance[1], tolerance[2]
    total, squares = sums[0], sums[1]
    for number in range(hits.shape[2]):
        run = slice(number * LANES, min(number * LANES + LANES, steep.size))
        _tolerate(samples, known, center, counts, steep[run], tolerance, y, run)
        own, shared, weight = tolerance[3], tolerance[4], weights[y, run]
        _split(counts[y, run], own, shared)
        total[:] = 0.0
        squares[:] = 0.0
        weight[:] = 0.0
        for frame in range(samples.shape[0]):
            layer = samples[frame, y, run]
            finite = _count_finite(layer)
            if finite == 0:
                marks[frame, y, run] = 0
                hits[frame, y, number] = False
                continue
            _variance(center[y, run], known[0][frame], known[1][frame], known[2][frame], variance)
            _add(layer, variance, known[4][frame], finite == layer.size, total, weight, squares)
            _allow(variance, known[3][frame], own, common, mean, shared, steep[run])
            hit = _mark_run(layer, center[y, run], variance, bounds, marks[frame, y, run])
            hits[frame, y, number] = hit
            if hit:
                _count_outliers(marks[frame, y, run], gone[y, run])
        _divide(total, weight, squares, images[y, run], variances[y, run])


@helper
def _split(counts, own, shared):
    """Fill in which lanes allow for a sample's own variance, and which share of it the centre has in common."""
    for lane in range(counts.size):
        own[lane] = ZERO if counts[lane] == 2 else ONE
        shared[lane] = _share(counts[lane]) if counts[lane] > 2 else ZERO


@helper
def _add(samples, variance, own, all_finite, total, weight, squares):
    """Add a frame's samples to the sums; no data adds nothing."""
    square = own * own
    if all_finite:
        for lane in range(samples.size):
            total[lane] += own * np.float64(samples[lane])
            weight[lane] += own
            squares[lane] += square * np.float64(variance[lane])
        return
    for lane in range(samples.size):
        finite = abs(samples[lane]) < INFINITE
        total[lane] += own * np.float64(samples[lane] if finite else ZERO)
        weight[lane] += own if finite else 0.0
        squares[lane] += square * np.float64(variance[lane] if finite else ZERO)


@helper
def _divide(total, weight, squares, image, variance):
    for lane in range(image.size):
        image[lane] = np.float32(total[lane] / weight[lane])  # nothing through nothing: NaN
        variance[lane] = np.float32(squares[lane] / (weight[lane] * weight[lane]))


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
        distance = samples[lane] - center[lane]
        off = distance * distance if abs(samples[lane]) < INFINITE else ZERO
        beyond = np.uint8(off > kappa * allowed[lane])
        suspect = np.uint8(off > grow * allowed[lane])
        side = np.uint8(ABOVE) if distance > ZERO else np.uint8(BELOW)
        marks[lane] = suspect * side + np.uint8(2) * beyond
        found |= beyond
    return found > 0


@helper
def _count_outliers(marks, gone):
    for lane in range(marks.size):
        gone[lane] += np.uint16(marks[lane] >= OUTLIER)


@helper
def _grow_row(marks, hits, channels, y, gone):
    """Mark the suspects around the outliers of a row."""
    for frame in range(marks.shape[0]):
        for number in range(hits.shape[2]):
            if hits[frame, y, number]:
                for lane in range(number * LANES, min(number * LANES + LANES, marks.shape[2])):
                    mark = marks[frame, y, lane]
                    if mark == OUTLIER or mark == OUTLIER + 1:
                        _grow_around(marks[frame], y, lane, channels, mark - 2, gone)


@helper
def _grow_around(marks, y, lane, channels, suspect, gone):
    height, size = marks.shape
    first = max(lane - GROW_PX * channels, lane % channels)
    for row in range(max(y - GROW_PX, 0), min(y + GROW_PX + 1, height)):
        for at in range(first, min(lane + GROW_PX * channels + 1, size), channels):
            if marks[row, at] == suspect:
                marks[row, at] = GROWN
                gone[row, at] += np.uint16(1)


@helper
def _any_gone(gone):
    found = np.uint16(0)
    for lane in range(gone.size):
        found |= gone[lane]
    return found > 0


@helper
def _settle_row(samples, known, center, counts, marks, y, channels, results):
    """Average the lanes of a row again that lose samples; where every one would go, the nearest stay."""
    image, variance, weight, gone = results
    for lane in range(gone.shape[1]):
        if gone[y, lane] == 0:
            continue
        if gone[y, lane] == counts[y, lane]:
            gone[y, lane] -= _spare_nearest(samples[:, y, lane], center[y, lane], marks[:, y, lane])
        total, own, squares = _sums_of_kept(samples[:, y, lane], known, center[y, lane], marks[:, y, lane], lane)
        image[y, lane] = np.float32(total / own)
        weight[y, lane] = own
        variance[y, lane] = np.float32(squares / (own * own))


@helper
def _spare_nearest(samples, center, marks):
    """Spare the nearest sample, of equals the lower one, and all that are the same; return how many."""
    nearest, value, spared = INFINITE, np.float32(np.nan), np.uint16(0)
    for frame in range(samples.size):
        distance = abs(samples[frame] - center)
        if distance < nearest or (distance == nearest and samples[frame] < value):
            nearest, value = distance, samples[frame]
    for frame in range(samples.size):
        if samples[frame] == value:
            marks[frame] = 0
            spared += np.uint16(1)
    return spared


@helper
def _sums_of_kept(samples, known, level, marks, lane):
    """Sum up what is kept of a lane's samples: values and weights, and squares of weights by variances."""
    total, own, squares = 0.0, 0.0, 0.0
    lane %= LANES
    for frame in range(samples.size):
        if abs(samples[frame]) < INFINITE and marks[frame] < OUTLIER:
            above = level - known[2][frame, lane]
            variance = known[0][frame, lane] + known[1][frame, lane] * (above if above > ZERO else ZERO)
            weight = known[4][frame]
            total += weight * np.float64(samples[frame])
            own += weight
            squares += weight * weight * np.float64(variance)
    return total, own, squares
