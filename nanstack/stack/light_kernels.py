# SPDX-License-Identifier: GPL-3.0-or-later
"""What drops tell, compiled: `lit` and `shown` of `nanstack.stack.drizzle`, row by row and without arrays between."""

# ruff: noqa: ANN001 - the compiled functions get their types from Numba

from __future__ import annotations

import math

import numba
import numpy as np

from nanstack import compilation
from nanstack.register.mesh import Box
from nanstack.stack.drizzle import ROUGH, Judged, Lit, Shown

SQUARED_ROUGH = np.float32(ROUGH**2)
ZERO, NOTHING = np.float32(0), np.float32(np.nan)

helper = numba.njit(
    nogil=True, error_model="numpy", forceinline=True, no_cpython_wrapper=True, no_cfunc_wrapper=True, _nrt=False
)


def lit(judged: Judged, sums: np.ndarray, box: Box) -> Lit:
    """Return the light of pixels, as `nanstack.stack.drizzle.lit`."""
    compilation.announce(_light, "drizzle")
    mean = np.ascontiguousarray(np.moveaxis(judged.mean, -1, 0), dtype=np.float32)
    light, rough = np.empty((*box.shape, len(mean)), np.float32), np.zeros(box.shape, bool)
    begin = float(box.top), float(box.left), float(judged.box.top), float(judged.box.left)
    _light(np.moveaxis(sums, 1, -1), mean, begin, int(judged.coarser), light, rough)
    return Lit(light, rough)


def shown(sums: np.ndarray, light: np.ndarray, counts: np.ndarray, times: int) -> Shown:
    """Return what pixels show, as `nanstack.stack.drizzle.shown`."""
    shape = light.shape[:2]
    image, variance = (np.empty(light.shape, np.float32) for _ in range(2))
    coverage, weight = np.empty(shape, np.uint16), np.empty(shape, np.float32)
    holes = _show(np.moveaxis(sums, 1, -1), light, counts.astype(np.uint16), times, image, coverage, weight, variance)
    return Shown(image, coverage, weight, variance, holes)


@compilation.compiled(error_model="numpy")
def _light(sums, mean, begin, coarser, light, rough):
    mixed, usual, sums_of_four = np.empty(mean.shape[2]), np.empty(light.shape[1]), np.empty(mean.shape[2])
    for row in range(light.shape[0]):
        for channel in range(mean.shape[0]):
            _find_means(mean[channel], begin, coarser, row, mixed, usual, sums_of_four)
            _add_drops(sums[channel, row], usual, light[row, :, channel], rough[row])


@helper
def _add_drops(sums, usual, light, rough):
    """Fill in means and what drops tell beside them, on average; mark where that is much."""
    for column in range(usual.size):
        value, weight = sums[column, 0], sums[column, 1]
        more = value / weight if weight > ZERO else ZERO
        light[column] = np.float32(usual[column] + np.float64(more))
        rough[column] |= value * value > SQUARED_ROUGH * sums[column, 2]


@helper
def _find_means(mean, begin, coarser, row, mixed, usual, sums_of_four):
    """Fill in the mean in the middles of a row of pixels, as `nanstack.stack.drizzle.means`: of a colour's plane."""
    height, width = mean.shape
    down = (begin[0] + row + 0.5) / coarser - 0.5 - begin[2]
    top = math.floor(down)
    if top < 1 or top + 2 >= height:
        usual[:] = np.nan
    else:
        _mix(mean[top - 1], mean[top], mean[top + 1], mean[top + 2], _keys(down - top), mixed)
        for phase in range(coarser):  # pixels that lie alike in theirs of the grid
            place = (begin[1] + phase + 0.5) / coarser - 0.5 - begin[3]
            _mix_columns(mixed, place, usual[phase::coarser], sums_of_four)
    for column in range(usual.size):
        if not math.isfinite(usual[column]):
            right = (begin[1] + column + 0.5) / coarser - 0.5 - begin[3]
            usual[column] = _mean_at(mean, down, right)


@helper
def _mix_columns(mixed, place, usual, sums_of_four):
    """Fill in means of a row, a pixel of the grid from one to the next: NaN where a tap is beyond the grid."""
    before = math.floor(place) - 1
    first = min(max(0, -before), usual.size)
    last = max(first, min(usual.size, mixed.size - 3 - before))
    found, near = sums_of_four[: last - first], mixed[before + first : before + last + 3]
    count, keys = found.size, _keys(place - math.floor(place))
    _mix(near[:count], near[1 : count + 1], near[2 : count + 2], near[3 : count + 3], keys, found)
    usual[:first] = np.nan
    there = usual[first:last]
    for k in range(count):
        there[k] = found[k]
    usual[last:] = np.nan


@helper
def _mix(one, two, three, four, keys, found):
    for k in range(found.size):
        found[k] = (keys[0] * one[k] + keys[1] * two[k]) + (keys[2] * three[k] + keys[3] * four[k])


@helper
def _keys(f):
    """Return the weights of Keys' cubic convolution, a = -1/2, at the taps -1 ... 2."""
    return (
        ((-0.5 * f + 1.0) * f - 0.5) * f,
        (1.5 * f - 2.5) * f * f + 1.0,
        ((-1.5 * f + 2.0) * f + 0.5) * f,
        (0.5 * f - 0.5) * f * f,
    )


@helper
def _mean_at(mean, row, column):
    """Return the mean at a place of the grid; the nearest stands for taps without one."""
    height, width = mean.shape
    top, left = math.floor(row), math.floor(column)
    down, right = _keys(row - top), _keys(column - left)
    near = min(max(math.floor(row + 0.5), 0), height - 1), min(max(math.floor(column + 0.5), 0), width - 1)
    nearest, total = mean[near[0], near[1]], 0.0
    for a in range(4):
        for b in range(4):
            r, c = top - 1 + a, left - 1 + b
            tap = mean[r, c] if 0 <= r < height and 0 <= c < width else NOTHING
            total += down[a] * right[b] * (tap if math.isfinite(tap) else nearest)
    return total


@compilation.compiled(error_model="numpy")
def _show(sums, light, counts, times, image, coverage, weight, variance):
    """Turn sums of drops into image, coverage, weight and variance; return how many pixels of frames got no drop."""
    holes = 0
    for row in range(light.shape[0]):
        for column in range(light.shape[1]):
            count = counts[row // times, column // times]
            total, whole = ZERO, count > 0
            for channel in range(light.shape[2]):
                total += sums[channel, row, column, 1]
                whole &= sums[channel, row, column, 1] > ZERO
            holes += count > 0 and not whole
            coverage[row, column] = count if whole else 0
            weight[row, column] = total / np.float32(light.shape[2]) if whole else ZERO
            for channel in range(light.shape[2]):
                inverse = np.float32(1) / sums[channel, row, column, 1]
                image[row, column, channel] = light[row, column, channel] if whole else NOTHING
                uncertain = sums[channel, row, column, 2] * inverse * inverse
                variance[row, column, channel] = uncertain if whole else NOTHING
    return holes
