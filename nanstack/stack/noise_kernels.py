# SPDX-License-Identifier: GPL-3.0-or-later
"""Outliers by the frames' noise, compiled: what `nanstack.stack.noise_model` defines.

Sequential, and without the GIL: cells of a canvas are what runs in parallel. Pixels and colours lie side by side, and
are worked on in runs of LANES, which are whole pixels: what is known of a frame is laid out once for a run, and serves
all. Every loop over a run becomes vector instructions.
"""

# ruff: noqa: ANN001 - the compiled functions get their types from Numba

from __future__ import annotations

import math
from typing import NamedTuple

import numba
import numpy as np

from nanstack import compilation
from nanstack.stack.noise_model import GROW_PX, RANGE_OF_NINE, FrameNoise, NoiseRejection, share_of_center
from nanstack.stack.numba_kernels import find_centers
from nanstack.stack.stacked import StackedCell

LANES = 96  # a multiple of three colours, and of the numbers that a processor works on at once
SUSPECT, OUTLIER, GROWN = 1, 2, 3  # marks of samples; the last two are rejected


class Marked(NamedTuple):
    """A block whose outliers are found."""

    flat: np.ndarray  # float32 (n, P): samples, pixels and colours side by side
    known: tuple[np.ndarray, ...]  # (n, LANES) variance, photon, sky; (n,) blur squared, weight
    center: np.ndarray  # float32 (h, w, C)
    counts: np.ndarray  # uint16 (h, w, C)
    marks: np.ndarray  # uint8 (n, P)


def outliers(samples: np.ndarray, known: FrameNoise, rejection: NoiseRejection) -> np.ndarray:
    """Return which samples are rejected, as `nanstack.stack.noise_model.outliers`."""
    return (_marked(samples, known, rejection).marks >= OUTLIER).reshape(samples.shape)


def stack_noise(
    samples: np.ndarray, known: FrameNoise, rejection: NoiseRejection, inner: tuple[slice, slice]
) -> StackedCell:
    """Reject outliers and average what is left, as `nanstack.stack.noise_model.stack_noise`.

    Parameters
    ----------
    samples : ndarray of float32, shape (n, h, w, C), C-contiguous
        Of 1 or 3 colours.
    """
    marked = _marked(samples, known, rejection)
    height, width, channels = samples.shape[1:]
    (top, bottom, _), (left, right, _) = inner[0].indices(height), inner[1].indices(width)
    shape = bottom - top, right - left, channels
    image, variance, weight = (np.empty(shape, kind) for kind in (np.float32, np.float32, np.float64))
    place = top, left * channels, width * channels
    results = tuple(plane.reshape(shape[0], -1) for plane in (image, variance, weight))
    rejected = _average(marked.flat, marked.known, marked.center.reshape(-1), marked.marks, place, results)
    counts = marked.counts[inner[0], inner[1]]
    return StackedCell(
        image, counts[..., 0].copy(), weight.mean(axis=2).astype(np.float32), variance, rejected, int(counts.sum())
    )


def _marked(samples: np.ndarray, known: FrameNoise, rejection: NoiseRejection) -> Marked:
    frames, height, width, channels = samples.shape
    flat = samples.reshape(frames, -1)
    center, counts = np.empty(samples.shape[1:], np.float32), np.empty(samples.shape[1:], np.uint16)
    find_centers(flat, center.reshape(-1), counts.reshape(-1))
    compilation.announce(_mark, "rejection")
    laid_out = _laid_out(known, channels)
    shares = share_of_center(np.arange(frames + 1))
    own, common, steep = (np.empty(flat.shape[1]) for _ in range(3))
    marks = np.empty(flat.shape, np.uint8)
    runs = np.empty((frames, -(-flat.shape[1] // LANES)), np.bool_)
    _tolerances(flat, laid_out, center, counts.reshape(-1), shares, (own, common, steep))
    bounds = float(rejection.kappa) ** 2, float(rejection.grow) ** 2
    _mark(flat, laid_out, center.reshape(-1), (own, common, steep), bounds, (marks, runs))
    _grow(marks.reshape(samples.shape), runs)
    _spare(flat, center.reshape(-1), counts.reshape(-1), marks)
    return Marked(flat, laid_out, center, counts, marks)


def _laid_out(known: FrameNoise, channels: int) -> tuple[np.ndarray, ...]:
    """Return what is known of frames, for the lanes of a run."""
    colours = (np.tile(part, LANES // channels) for part in (known.variance, known.photon, known.sky))
    return (*(np.ascontiguousarray(part, float) for part in colours), known.blur * known.blur, known.weight)


# helpers are called by kernels alone: wrappers for Python and C, and counting references, would only cost time
helper = numba.njit(nogil=True, error_model="numpy", no_cpython_wrapper=True, no_cfunc_wrapper=True, _nrt=False)
entry = compilation.compiled(error_model="numpy")


# --- how far from the centre a sample may be --------------------------------------------------------------------------


@entry
def _tolerances(flat, known, center, counts, shares, tolerance):
    own, common, steep = tolerance
    frames, lanes = flat.shape
    levels = center.reshape(lanes)
    noise, blurs, variance = np.empty(lanes), np.empty(lanes), np.empty(LANES)
    for start in range(0, lanes, LANES):
        run = slice(start, min(start + LANES, lanes))
        total, blur = common[run], blurs[run]
        total[:] = 0.0
        blur[:] = 0.0
        for frame in range(frames):
            _variance(levels[run], known[0][frame], known[1][frame], known[2][frame], variance)
            _add_known(flat[frame, run], variance, known[3][frame], total, blur)
        _settle(counts[run], shares, own[run], total, blur, noise[run])
    _steepness(center, noise.reshape(center.shape), steep.reshape(center.shape))
    for lane in range(lanes):
        common[lane] += blurs[lane] * steep[lane]


@helper
def _variance(level, variance, photon, sky, result):
    """Fill in the variance of a frame's samples at a level."""
    for lane in range(level.size):
        above = np.float64(level[lane]) - sky[lane]
        result[lane] = variance[lane] + photon[lane] * (above if above > 0.0 else 0.0)


@helper
def _add_known(samples, variance, blur, total, blurs):
    for lane in range(samples.size):
        finite = abs(samples[lane]) < np.float32(np.inf)
        total[lane] += variance[lane] if finite else 0.0
        blurs[lane] += blur if finite else 0.0


@helper
def _settle(counts, shares, own, common, blurs, noise):
    """Turn sums over frames into what stands beside a sample's own variance; two samples share one sum."""
    for lane in range(counts.size):
        count = counts[lane]
        of_center = common[lane] / (count if count > 0 else 1) * shares[count]
        noise[lane] = math.sqrt(of_center)
        own[lane] = 0.0 if count == 2 else 1.0
        common[lane] = common[lane] if count == 2 else of_center
        blurs[lane] = blurs[lane] if count == 2 else 0.0


@helper
def _steepness(level, noise, squared):
    height, width, _ = level.shape
    for y in range(height):
        for x in range(width):
            _steepness_at(level, noise[y, x], y, x, squared[y, x])


@helper
def _steepness_at(level, noise, y, x, squared):
    height, width, channels = level.shape
    for channel in range(channels):
        highest, lowest = np.float32(-np.inf), np.float32(np.inf)
        for down in range(max(y - 1, 0), min(y + 2, height)):
            for right in range(max(x - 1, 0), min(x + 2, width)):
                value = level[down, right, channel]  # comparisons with NaN leave both as they are
                highest = value if value > highest else highest
                lowest = value if value < lowest else lowest
        steep = np.float64(highest) - np.float64(lowest) - RANGE_OF_NINE * noise[channel]
        squared[channel] = steep * steep if steep > 0.0 else 0.0


# --- outliers ---------------------------------------------------------------------------------------------------------


@entry
def _mark(flat, known, center, tolerance, bounds, results):
    own, common, steep = tolerance
    marks, runs = results
    frames, lanes = flat.shape
    variance = np.empty(LANES)
    for number in range(runs.shape[1]):
        run = slice(number * LANES, min(number * LANES + LANES, lanes))
        for frame in range(frames):
            _variance(center[run], known[0][frame], known[1][frame], known[2][frame], variance)
            _allow(variance, known[3][frame], own[run], common[run], steep[run])
            runs[frame, number] = _mark_run(flat[frame, run], center[run], variance, bounds, marks[frame, run])


@helper
def _allow(variance, blur, own, common, steep):
    """Turn variances into squares of allowed distances."""
    for lane in range(own.size):
        variance[lane] = own[lane] * (variance[lane] + blur * steep[lane]) + common[lane]


@helper
def _mark_run(samples, center, allowed, bounds, marks):
    """Mark the samples of a run, and tell whether there is an outlier; no data is neither."""
    kappa, grow = bounds
    found = np.uint8(0)
    for lane in range(samples.size):
        distance = np.float64(samples[lane]) - np.float64(center[lane])
        off = distance * distance if abs(samples[lane]) < np.float32(np.inf) else 0.0
        beyond = np.uint8(off > kappa * allowed[lane])
        marks[lane] = np.uint8(off > grow * allowed[lane]) + beyond
        found |= beyond
    return found > 0


@entry
def _grow(marks, runs):
    """Mark the suspects around outliers."""
    frames, height, width, channels = marks.shape
    for frame in range(frames):
        for number in range(runs.shape[1]):
            if runs[frame, number]:
                for lane in range(number * LANES, min(number * LANES + LANES, height * width * channels)):
                    pixel, channel = lane // channels, lane % channels
                    y, x = pixel // width, pixel % width
                    if marks[frame, y, x, channel] == OUTLIER:
                        _grow_around(marks[frame], y, x, channel)


@helper
def _grow_around(marks, y, x, channel):
    height, width, _ = marks.shape
    for down in range(max(y - GROW_PX, 0), min(y + GROW_PX + 1, height)):
        for right in range(max(x - GROW_PX, 0), min(x + GROW_PX + 1, width)):
            if marks[down, right, channel] == SUSPECT:
                marks[down, right, channel] = GROWN


@entry
def _spare(flat, center, counts, marks):
    """Where every sample would go, let those stay that are nearest to the centre."""
    frames, lanes = flat.shape
    gone = np.empty(LANES, np.uint16)
    for start in range(0, lanes, LANES):
        run = slice(start, min(start + LANES, lanes))
        gone[:] = 0
        for frame in range(frames):
            _count_rejected(marks[frame, run], gone)
        if _any_empty(gone, counts[run]):
            for lane in range(run.start, run.stop):
                if counts[lane] > 0 and gone[lane - start] == counts[lane]:
                    _spare_nearest(flat[:, lane], center[lane], marks[:, lane])


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


@entry
def _average(flat, known, center, marks, place, results):
    """Average a part of the block, row by row; return how many of its samples are rejected."""
    image, variances, weights = results
    top, left, stride = place
    height, size = image.shape
    variance, total, squares = np.empty(LANES), np.empty(LANES), np.empty(LANES)
    rejected = 0
    for y in range(height):
        for start in range(0, size, LANES):
            stop = min(start + LANES, size)
            weight = weights[y, start:stop]
            total[:] = 0.0
            squares[:] = 0.0
            weight[:] = 0.0
            first = (top + y) * stride + left + start
            run = slice(first, first + stop - start)
            for frame in range(flat.shape[0]):
                _variance(center[run], known[0][frame], known[1][frame], known[2][frame], variance)
                rejected += _add(flat[frame, run], marks[frame, run], variance, known[4][frame], total, weight, squares)
            _divide(total, weight, squares, image[y, start:stop], variances[y, start:stop])
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
