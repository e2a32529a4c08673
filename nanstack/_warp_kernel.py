# SPDX-License-Identifier: GPL-3.0-or-later
"""The warp, compiled: the loops of `nanstack.warp.warp_numpy`, one output pixel at a time.

Sequential, and without the GIL: frames, not pixels, are what runs in parallel.
"""

import math

import numba
import numpy as np


@numba.njit(inline="always")
def _weigh(fraction, lanczos, weights):
    """Fill in the weights of the taps of one axis; those of no influence are exactly zero."""
    count = 6 if lanczos else 4
    first = 1 - count // 2
    total = 0.0
    for k in range(count):
        t = abs(fraction - (first + k))
        weight = 0.0
        if lanczos:
            if t == 0.0:
                weight = 1.0
            elif t < 3.0 and t != math.floor(t):
                weight = 3.0 * math.sin(math.pi * t) * math.sin(math.pi * t / 3.0) / (math.pi * t) ** 2
        elif t <= 1.0:
            weight = (1.5 * t - 2.5) * t * t + 1.0
        elif t < 2.0:
            weight = ((-0.5 * t + 2.5) * t - 4.0) * t + 2.0
        weights[k] = weight
        total += weight
    for k in range(count):
        weights[k] /= total
    return first, count


@numba.njit(nogil=True, cache=True)
def warp_kernel(frame, transform, lanczos):
    height, width, channels = frame.shape
    out = np.full(frame.shape, np.nan, dtype=np.float32)
    weights_x = np.empty(6)
    weights_y = np.empty(6)
    total = np.empty(channels)
    for row in range(height):
        for column in range(width):
            x = transform[0, 0] * column + (transform[0, 1] * row + transform[0, 2])
            y = transform[1, 0] * column + (transform[1, 1] * row + transform[1, 2])
            if not (-1.0 < x < width and -1.0 < y < height):
                continue
            left = math.floor(x)
            above = math.floor(y)
            first, count = _weigh(x - left, lanczos, weights_x)
            _weigh(y - above, lanczos, weights_y)
            total[:] = 0.0
            complete = True
            for i in range(count):
                if weights_y[i] == 0.0:
                    continue
                tap_row = above + first + i
                if tap_row < 0 or tap_row >= height:
                    complete = False
                    break
                for j in range(count):
                    if weights_x[j] == 0.0:
                        continue
                    tap_column = left + first + j
                    if tap_column < 0 or tap_column >= width:
                        complete = False
                        break
                    weight = weights_y[i] * weights_x[j]
                    for channel in range(channels):
                        total[channel] += weight * frame[tap_row, tap_column, channel]
                if not complete:
                    break
            if not complete:
                continue
            for channel in range(channels):
                complete = complete and math.isfinite(total[channel])
            if complete:
                for channel in range(channels):
                    out[row, column, channel] = total[channel]
    return out
