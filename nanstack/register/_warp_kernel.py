# SPDX-License-Identifier: GPL-3.0-or-later
"""The warps, compiled: `nanstack.register.warp.warp_numpy` and `warp_mesh_numpy`, for runs of neighbouring pixels.

Sequential, and without the GIL: frames, not pixels, are what runs in parallel. Taps and channels are given as tuples of
that length: the length of a tuple is known to the compiler, so the inner loops have constant lengths, and the kernel is
still one function of the module, which Numba can cache.
"""

from __future__ import annotations

import math

import numba
import numpy as np
from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic

from nanstack import compilation
from nanstack.register.mesh import SNAP_PX, Mesh
from nanstack.register.rings import BRIGHTER

RUN_PX = 128  # columns at a time: the rows that a turned run needs stay in cache
CONTRACT = ("contract",)  # a * b + c in one rounding is the only liberty taken: NaN and infinity keep their meaning
OUTSIDE, INSIDE, ON_COLUMN, ON_ROW = 0, 1, 2, 4  # on the grid along x, along y, or both (6)
NEGLIGIBLE = 1e-30  # of a pixel: its square would underflow, and the window's weights there are 1 and 0
SIN_THIRDS = np.sin(np.pi / 3 * np.arange(-2, 4))
COS_THIRDS = np.cos(np.pi / 3 * np.arange(-2, 4))

# of kernels that are called for every run of pixels: wrappers, and counting references, would only cost time
HELPER = {
    "nogil": True, "error_model": "numpy", "no_cpython_wrapper": True, "no_cfunc_wrapper": True, "_nrt": False
}  # fmt: skip
helper = numba.njit(**HELPER)


@numba.njit(inline="always")
def _keys(f, weights, px):
    """Keys' cubic convolution, a = -1/2, at the taps -1 ... 2."""
    weights[0, px] = ((-0.5 * f + 1.0) * f - 0.5) * f
    weights[1, px] = (1.5 * f - 2.5) * f * f + 1.0
    weights[2, px] = ((-1.5 * f + 2.0) * f + 0.5) * f
    weights[3, px] = (0.5 * f - 0.5) * f * f


@numba.njit(inline="always")
def _lanczos3(f, weights, px):
    """Lanczos' window of three lobes at the taps -2 ... 3, normalised; two sines and a cosine serve all of them."""
    if f < NEGLIGIBLE:
        for k in range(6):
            weights[k, px] = 1.0 if k == 2 else 0.0
        return
    whole, sine, cosine = math.sin(math.pi * f), math.sin(math.pi * f / 3.0), math.cos(math.pi * f / 3.0)
    total = 0.0
    for k in range(6):
        sign = 1.0 if k % 2 == 0 else -1.0  # sin(pi (f - k)) = (-1)^k sin(pi f)
        distance = f - (k - 2)
        weights[k, px] = sign * whole * (sine * COS_THIRDS[k] - cosine * SIN_THIRDS[k]) / (distance * distance)
        total += weights[k, px]
    for k in range(6):
        weights[k, px] /= total


@numba.njit(nogil=True)
def _place(xs, ys, shape, taps_of, lefts, aboves, weights_x, weights_y, states):
    """Fill in, for a run of pixels at the coordinates xs, ys, where their taps lie and what they weigh."""
    taps = len(taps_of)
    first = 1 - taps // 2
    height, width = shape
    for px in range(len(xs)):
        x, y = xs[px], ys[px]
        on_frame = (x >= 0.0) & (x <= width - 1.0) & (y >= 0.0) & (y <= height - 1.0)
        x, y = (x, y) if on_frame else (0.0, 0.0)
        left, above = math.floor(x), math.floor(y)
        if taps == 6:
            _lanczos3(x - left, weights_x, px)
            _lanczos3(y - above, weights_y, px)
        else:
            _keys(x - left, weights_x, px)
            _keys(y - above, weights_y, px)
        lefts[px], aboves[px] = int(left), int(above)
        inside = (left >= -first) & (left <= width - first - taps) & (above >= -first)
        inside = inside & (above <= height - first - taps) & on_frame
        on_grid = (ON_COLUMN if x == left else 0) + (ON_ROW if y == above else 0)
        states[px] = OUTSIDE if not on_frame else (on_grid if on_grid else (INSIDE if inside else OUTSIDE))


@helper
def keep_tap(weight, value, nearest, count, inner, weights, values):
    """Put a tap behind those that there are, or, if it is one of the nearest, in front. Return how many these are."""
    weights[count], values[count] = weight, value
    if nearest:
        weights[count], values[count] = weights[inner], values[inner]
        weights[inner], values[inner] = weight, value
        inner += 1
    return inner


@helper
def _gather(frame, left, above, taps_of, weights_x, weights_y, px, channel, weights, values):
    """Gather the taps. Return how many, and how many nearest ones; none if one that weighs anything is not there."""
    taps = len(taps_of)
    first = 1 - taps // 2
    count, inner = 0, 0
    for i in range(taps):
        for j in range(taps):
            weight = weights_y[i, px] * weights_x[j, px]
            row, col = above + first + i, left + first + j
            there = row >= 0 and row < frame.shape[0] and col >= 0 and col < frame.shape[1]
            if not (there and math.isfinite(frame[row, col, channel])):
                if weight != 0.0:
                    return 0, 0
                continue
            nearest = 0 <= first + i <= 1 and 0 <= first + j <= 1
            inner = keep_tap(weight, np.float64(frame[row, col, channel]), nearest, count, inner, weights, values)
            count += 1
    return count, inner


@helper
def sum_of(weights, values):
    """Return the weighted sum of taps."""
    total = 0.0
    for k in range(len(values)):
        total += weights[k] * values[k]
    return total


@helper
def without_ring(total, weights, values, inner):
    """Do with a sum what `nanstack.register.rings.summed` does: of the taps that are used, `inner` of them the nearest.

    The nearest ones come first. NaN where there are no taps, or one is not finite. Values are sorted.
    """
    if not math.isfinite(total) or len(values) == 0:
        return np.nan
    mean, weight, darkest, brightest = 0.0, 0.0, np.inf, -np.inf
    for k in range(inner):
        mean += weights[k] * values[k]
        weight += weights[k]
        darkest, brightest = min(darkest, values[k]), max(brightest, values[k])
    high = brightest
    for value in values:
        high = max(high, value)
    total, mean = max(total, darkest), mean / weight
    if high - brightest <= BRIGHTER * (brightest - darkest):
        return total
    total = min(total, brightest)
    if mean <= total:
        return total
    rank, below = 2 * len(values) // 5, 0
    for value in values:
        below += value < mean
    return mean if below <= rank else max(total, _ranked(values, rank))


@helper
def _ranked(values, rank):
    """Sort a few values, and return the one that so many are below."""
    for last in range(1, len(values)):
        value, place = values[last], last
        while place > 0 and values[place - 1] > value:
            values[place] = values[place - 1]
            place -= 1
        values[place] = value
    return values[rank]


@intrinsic
def _sample_inside(typing_context, flat, corner, pitch, weights_x, weights_y, px, total, taps_of, channels_of):
    """Sum over all taps: first down the rows, whose taps and channels side by side are one vector, then along them.

    Return the channels where a ring would be, a bit each: see `nanstack.register.rings.summed`.
    """
    taps, channels = len(taps_of), len(channels_of)

    def codegen(context, builder, signature, arguments):
        flat_at, x_at, y_at, total_at = (
            context.make_array(signature.args[k])(context, builder, arguments[k]).data for k in (0, 3, 4, 6)
        )
        corner_at, pitch_of, pixel = arguments[1], arguments[2], arguments[5]
        span = taps * channels
        samples, sums = ir.VectorType(ir.FloatType(), span), ir.VectorType(ir.DoubleType(), span)
        pixel_sums = ir.VectorType(ir.DoubleType(), channels)

        def lanes(numbers):
            return ir.Constant(ir.VectorType(ir.IntType(32), len(numbers)), list(numbers))

        def add_weighted(total, values, data, tap):
            number = builder.load(builder.gep(data, [builder.add(pixel, pixel.type(tap * RUN_PX))]))
            one = builder.insert_element(ir.Constant(total.type, ir.Undefined), number, ir.IntType(32)(0))
            weight = builder.shuffle_vector(one, one, lanes([0] * total.type.count))
            return builder.fadd(builder.fmul(weight, values, flags=CONTRACT), total, flags=CONTRACT)

        def column(vector, tap):
            return builder.shuffle_vector(vector, vector, lanes(range(tap * channels, (tap + 1) * channels)))

        def outermost(order, vectors):
            found = vectors[0]
            for vector in vectors[1:]:
                found = builder.select(builder.fcmp_ordered(order, found, vector), found, vector)
            return found

        def of_nearest(order):
            vector = outermost(order, rows[taps // 2 - 1 : taps // 2 + 1])
            return outermost(order, [column(vector, tap) for tap in (taps // 2 - 1, taps // 2)])

        down, rows = ir.Constant(sums, [0.0] * span), []
        for tap in range(taps):
            place = builder.gep(flat_at, [builder.add(corner_at, builder.mul(pitch_of, pitch_of.type(tap)))])
            row = builder.load(builder.bitcast(place, samples.as_pointer()), align=4)
            down = add_weighted(down, builder.fpext(row, sums), y_at, tap)
            rows.append(row)
        along = ir.Constant(pixel_sums, [0.0] * channels)
        for tap in range(taps):
            along = add_weighted(along, column(down, tap), x_at, tap)
        highest = outermost(">", rows)
        high = outermost(">", [column(highest, tap) for tap in range(taps)])
        brightest, darkest = of_nearest(">"), of_nearest("<")
        nothing = builder.fsub(along, along)  # NaN, where a tap is infinite
        total = builder.fadd(outermost(">", [along, builder.fpext(darkest, pixel_sums)]), nothing)
        builder.store(total, builder.bitcast(total_at, pixel_sums.as_pointer()), align=8)
        bound = builder.fmul(builder.fsub(brightest, darkest), ir.Constant(darkest.type, [BRIGHTER] * channels))
        ring = builder.fcmp_ordered(">", builder.fsub(high, brightest), bound)
        return builder.zext(builder.bitcast(ring, ir.IntType(channels)), ir.IntType(32))

    index = types.intp
    return types.int32(flat, index, index, weights_x, weights_y, index, total, taps_of, channels_of), codegen


@numba.njit(nogil=True)
def _resample_run(frame, flat, xs, ys, taps_of, channels_of, work, out, start):
    """Fill in a run of pixels, from the place `start` of the flat `out` on, with the samples at coordinates xs, ys."""
    lefts, aboves, weights_x, weights_y, states, total, weights, values = work
    first = 1 - len(taps_of) // 2
    channels = len(channels_of)
    pitch = frame.shape[1] * channels
    out[start : start + len(xs) * channels] = np.nan
    _place(xs, ys, frame.shape[:2], taps_of, lefts, aboves, weights_x, weights_y, states)
    for px in range(len(xs)):
        if states[px] == OUTSIDE:
            continue
        left, above = lefts[px], aboves[px]
        if states[px] == ON_COLUMN + ON_ROW:
            for c in range(channels):
                total[c] = frame[above, left, c]
            ring = 0
        elif states[px] == INSIDE:
            corner = (above + first) * pitch + (left + first) * channels
            ring = _sample_inside(flat, corner, pitch, weights_x, weights_y, px, total, taps_of, channels_of)
        else:
            ring = (1 << channels) - 1
        for c in range(channels):
            if ring >> c & 1:
                count, inner = _gather(frame, left, above, taps_of, weights_x, weights_y, px, c, weights, values)
                total[c] = without_ring(sum_of(weights[:count], values[:count]), weights, values[:count], inner)
        complete = True
        for c in range(channels):
            complete = complete and math.isfinite(np.float32(total[c]))
        if complete:
            for c in range(channels):
                out[start + px * channels + c] = np.float32(total[c])


@numba.njit(nogil=True)
def _workspace(taps, channels):
    return (
        np.empty(RUN_PX, np.int64),
        np.empty(RUN_PX, np.int64),
        np.empty((taps, RUN_PX)),
        np.empty((taps, RUN_PX)),
        np.empty(RUN_PX, np.uint8),
        np.empty(channels),
        np.empty(taps * taps),
        np.empty(taps * taps),
    )


# contracting a * b + c to one rounding is the only liberty taken: NaN and infinity keep their meaning
@compilation.compiled(fastmath={"contract"})
def _warp(frame, transform, taps_of, channels_of):
    height, width, channels = frame.shape
    flat, out = frame.reshape(height * width * channels), np.empty(height * width * channels, dtype=np.float32)
    work = _workspace(len(taps_of), len(channels_of))
    xs, ys = np.empty(RUN_PX), np.empty(RUN_PX)
    for start in range(0, width, RUN_PX):
        length = min(RUN_PX, width - start)
        for row in range(height):
            for px in range(length):
                xs[px] = transform[0, 0] * (start + px) + (transform[0, 1] * row + transform[0, 2])
                ys[px] = transform[1, 0] * (start + px) + (transform[1, 1] * row + transform[1, 2])
            place = (row * width + start) * channels
            _resample_run(frame, flat, xs[:length], ys[:length], taps_of, channels_of, work, out, place)
    return out.reshape(height, width, channels)


@helper
def _between_nodes(nodes, step, row, column, found):
    """Fill in one coordinate of a run of pixels, row and column counted from the first node."""
    i, down = row // step, (row % step) / step
    start = 0
    while start < len(found):
        j = (column + start) // step
        left = nodes[i, j] * (1.0 - down) + nodes[i + 1, j] * down
        right = nodes[i, j + 1] * (1.0 - down) + nodes[i + 1, j + 1] * down
        slope = (right - left) / step
        first = j * step - column
        end = min(len(found), first + step)
        run = found[start:end]  # counted from 0 on: the compiler then makes vectors of it
        for px in range(len(run)):
            place = left + slope * (start - first + px)
            nearest = np.rint(place)
            run[px] = nearest if abs(place - nearest) < SNAP_PX else place
        start = end


@compilation.compiled(fastmath={"contract"})
def _warp_mesh(frame, x, y, step, top, left, height, width, taps_of, channels_of):
    channels = frame.shape[2]
    flat, out = frame.reshape(frame.size), np.empty(height * width * channels, dtype=np.float32)
    work = _workspace(len(taps_of), len(channels_of))
    xs, ys = np.empty(RUN_PX), np.empty(RUN_PX)
    for start in range(0, width, RUN_PX):
        length = min(RUN_PX, width - start)
        for row in range(height):
            _between_nodes(x, step, top % step + row, left % step + start, xs[:length])
            _between_nodes(y, step, top % step + row, left % step + start, ys[:length])
            place = (row * width + start) * channels
            _resample_run(frame, flat, xs[:length], ys[:length], taps_of, channels_of, work, out, place)
    return out.reshape(height, width, channels)


def warp_kernel(frame: np.ndarray, transform: np.ndarray, lanczos: bool) -> np.ndarray:
    """Do what `nanstack.register.warp.warp_numpy` defines."""
    compilation.announce(_warp, "alignment")
    return _warp(frame, transform, (0,) * (6 if lanczos else 4), (0,) * frame.shape[2])


def warp_mesh_kernel(frame: np.ndarray, mesh: Mesh, lanczos: bool) -> np.ndarray:
    """Do what `nanstack.register.warp.warp_mesh_numpy` defines."""
    compilation.announce(_warp_mesh, "projection")
    nodes = (np.ascontiguousarray(v, dtype=np.float64) for v in (mesh.x, mesh.y))
    (top, _, left, _), taps, channels = mesh.box, (0,) * (6 if lanczos else 4), (0,) * frame.shape[2]
    return _warp_mesh(frame, *nodes, mesh.step, top, left, *mesh.box.shape, taps, channels)
