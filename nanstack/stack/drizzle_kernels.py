# SPDX-License-Identifier: GPL-3.0-or-later
"""Drizzle, compiled: what `nanstack.stack.drizzle` defines.

Sequential, and without the GIL: parts of a canvas are what runs in parallel. A row of photosites is placed at once, in
loops that become vector instructions; so do the shares of a drop in pixels side by side. In a row of pixels, a side of
the drop has on its right so much of each; sides that go down less those that go up is what lies between.
"""

from __future__ import annotations

import math

import numba
import numpy as np
from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic

from nanstack import compilation
from nanstack.register.mesh import Box, Mesh
from nanstack.stack.drizzle import FWHM, GAUSSIAN_REACH, KERNELS, LEAST_SHARE, Drizzle, Judged, Photosites, Worth

SQUARE, POINT, GAUSSIAN = range(len(KERNELS))
AT_EDGES = 3  # pixels more than a drop is long: one that it begins in, one that it ends in, and what rounding adds
LANES = 4  # pixels side by side that are worked on at once
UPRIGHT = 1e-6  # pixels: a side that leans by less from row to row is as good as one that does not

helper = numba.njit(
    nogil=True, error_model="numpy", forceinline=True, no_cpython_wrapper=True, no_cfunc_wrapper=True, _nrt=False
)


def drop(photosites: Photosites, worth: Worth, judged: Judged, drizzle: Drizzle, sums: np.ndarray, box: Box) -> None:
    """Drop a frame's photosites, as `nanstack.stack.drizzle.drop` defines it."""
    samples, where, colours, mesh, finer = photosites
    kind = KERNELS.index(drizzle.kernel)
    length = drizzle.pixfrac * _longest(mesh) if kind == SQUARE else 2 * GAUSSIAN_REACH * finer
    compilation.announce(_drop, "drizzle")
    whole = np.ascontiguousarray(samples, dtype=np.float32)
    whole = whole.reshape(*whole.shape[:2], -1).view()
    whole.flags.writeable = False  # one type of array, so one compilation
    nodes = tuple(np.ascontiguousarray(v, dtype=np.float64) for v in (mesh.x, mesh.y))
    begins = mesh.box.top // mesh.step, mesh.box.left // mesh.step, mesh.step
    levels = np.ascontiguousarray(np.transpose(worth.levelling), dtype=np.float64)
    terms = (np.ascontiguousarray(v, dtype=np.float64) for v in (worth.flat, worth.variance, worth.photon, worth.sky))
    _drop(
        whole, tuple(map(int, where)), np.array(colours), nodes, begins, (levels, *terms, float(worth.weight)),
        (np.ascontiguousarray(judged.good), np.ascontiguousarray(judged.mean, dtype=np.float32)),
        (*map(int, judged.box), 1.0 / judged.coarser),
        (kind, float(drizzle.pixfrac) / 2, float(drizzle.pixfrac * finer / FWHM), float(GAUSSIAN_REACH * finer)),
        math.ceil(length) + AT_EDGES, sums.reshape(-1), sums.shape[2:], tuple(map(int, box)),
    )  # fmt: skip


def means(judged: Judged, box: Box) -> np.ndarray:
    """Return the mean of the interpolated frames in the middles of pixels, as `nanstack.stack.drizzle.means`."""
    if judged.coarser == 1:
        return judged.mean[box.within(judged.box)].astype(np.float64)
    found = np.empty((*box.shape, judged.mean.shape[2]))
    grid = (int(judged.box.top), int(judged.box.left), 1.0 / judged.coarser)
    _means(np.ascontiguousarray(judged.mean, dtype=np.float32), grid, (int(box.top), int(box.left)), found)
    return found


def _longest(mesh: Mesh) -> float:
    """Return the most pixels that a photosite spans along an axis; 0 where it lies nowhere."""
    with np.errstate(invalid="ignore"):
        steps = [[np.abs(np.diff(v, axis=axis)) for axis in (0, 1)] for v in (mesh.x, mesh.y)]
    spans = [sum(np.max(one, where=np.isfinite(one), initial=0) for one in of_axis) for of_axis in steps]
    return max(spans) / mesh.step


@compilation.compiled(error_model="numpy")
def _means(mean, grid, begin, found):
    top, left, finer = grid
    height, width, channels = mean.shape
    flat, mixed = mean.reshape(height, width * channels), np.empty(width * channels)
    for r in range(found.shape[0]):
        row = (begin[0] + r + 0.5) * finer - 0.5 - top
        first, down = math.floor(row), _keys(row - math.floor(row))
        above, own = flat[max(first - 1, 0)], flat[max(first, 0)]
        below, last = flat[min(first + 1, height - 1)], flat[min(first + 2, height - 1)]
        for k in range(mixed.size):
            mixed[k] = down[0] * above[k] + down[1] * own[k] + down[2] * below[k] + down[3] * last[k]
        for c in range(found.shape[1]):
            column = (begin[1] + c + 0.5) * finer - 0.5 - left
            start, right = math.floor(column), _keys(column - math.floor(column))
            inside = first >= 1 and first + 2 < height and start >= 1 and start + 2 < width
            for channel in range(channels):
                total = np.nan
                if inside:
                    k = channels * (start - 1) + channel
                    total = right[0] * mixed[k] + right[1] * mixed[k + channels]
                    total += right[2] * mixed[k + 2 * channels] + right[3] * mixed[k + 3 * channels]
                found[r, c, channel] = total if math.isfinite(total) else _mean_at(mean, channel, row, column)


@compilation.compiled(error_model="numpy")
def _drop(samples, where, colours, nodes, begins, worth, judged, grid, kernel, span, sums, shape, box):
    top, bottom, left, right = where
    x, y = nodes
    node_row, node_column, step = begins
    half, width = kernel[1], right - left
    lines, places, on_grid = np.empty((6, x.shape[1])), np.empty((10, width)), np.empty((2, width), np.int32)
    size = width * samples.shape[2]
    chosen = np.empty(size, np.int32), np.empty(size, np.int32), np.empty(size), np.empty(size)
    pitch = -(-span // LANES) * LANES
    shares, reach = np.zeros(span * pitch), 0.5 * span + 1.0
    for row in range(top, bottom):
        _line(x, node_row, step, float(row), lines[0])
        _line(y, node_row, step, float(row), lines[1])
        first, last = _that_may_touch(lines[0], lines[1], box, reach, node_column * step - left, step, width)
        if first >= last:
            continue
        _along(lines[0], node_column, step, left, 0.0, first, last, places[0])
        _along(lines[1], node_column, step, left, 0.0, first, last, places[1])
        while first < last and not _is_near(places[0, first], places[1, first], box, reach):
            first += 1
        while first < last and not _is_near(places[0, last - 1], places[1, last - 1], box, reach):
            last -= 1
        _nearest_of_grid(places, grid, first, last, on_grid)
        count = _choose(
            samples[row - top],
            row,
            left,
            first,
            last,
            colours,
            places,
            on_grid,
            worth,
            judged,
            grid,
            box,
            reach,
            chosen,
        )
        if kernel[0] == SQUARE and count:
            for number in range(2):
                _line(nodes[number], node_row, step, row - half, lines[2 + number])
                _line(nodes[number], node_row, step, row + half, lines[4 + number])
                _along(lines[2 + number], node_column, step, left, -half, first, last, places[2 + number])
                _along(lines[2 + number], node_column, step, left, half, first, last, places[4 + number])
                _along(lines[4 + number], node_column, step, left, half, first, last, places[6 + number])
                _along(lines[4 + number], node_column, step, left, -half, first, last, places[8 + number])
        _drop_chosen(count, chosen, places, worth[5], kernel, shares, pitch, sums, shape, box)


@helper
def _line(nodes, first_row, step, row, line):
    """Fill in a coordinate at the columns of the nodes, in a row of the frame."""
    i = math.floor(row / step)
    below = row / step - i
    i -= first_row
    for k in range(line.size):
        line[k] = nodes[i, k] * (1 - below) + nodes[i + 1, k] * below


@helper
def _that_may_touch(x, y, box, reach, begin, step, width):
    """Return the first photosite of a row, and the last one and one, between which all are that may touch the box."""
    top, bottom, left, right = box
    first, last = width, 0
    for k in range(x.size - 1):
        across = max(x[k], x[k + 1]) >= left - reach and min(x[k], x[k + 1]) <= right + reach
        if across and max(y[k], y[k + 1]) >= top - reach and min(y[k], y[k + 1]) <= bottom + reach:
            first, last = min(first, begin + k * step), begin + (k + 1) * step
    return max(first, 0), min(last, width)


@helper
def _is_near(x, y, box, reach):
    """Tell whether a drop at a place may fall into the box; NaN is nowhere."""
    top, bottom, left, right = box
    return (x >= left - reach) & (x <= right + reach) & (y >= top - reach) & (y <= bottom + reach)


@helper
def _along(line, first_node, step, left, offset, first, last, out):
    """Fill in a coordinate for some of the photosites of a row, or for places beside them."""
    j, between = first, 1.0 / step  # a power of two: exact
    while j < last:
        node = math.floor((left + j + offset) / step)
        stop = min(last, math.ceil((node + 1) * step - left - offset))
        begin, end = line[node - first_node], line[node - first_node + 1]
        for px in range(j, stop):
            beyond = (left + px + offset) * between - node
            out[px] = begin * (1 - beyond) + end * beyond
        j = stop


@helper
def _nearest_of_grid(places, grid, first, last, on_grid):
    """Fill in the row and the column of the grid that each photosite is nearest to; -1 beyond it, and for nowhere."""
    top, bottom, left, right, finer = grid
    for j in range(first, last):
        x, y = (places[0, j] + 0.5) * finer, (places[1, j] + 0.5) * finer
        inside = (x >= left) & (x < right) & (y >= top) & (y < bottom)
        on_grid[0, j] = np.int32(math.floor(y if inside else top - 1.0)) - np.int32(top)
        on_grid[1, j] = np.int32(math.floor(x if inside else left - 1.0)) - np.int32(left)


@helper
def _choose(samples, row, left, first, last, colours, places, on_grid, worth, judged, grid, box, reach, chosen):
    """List the samples of a row that drop something, with what they are worth; return how many there are."""
    levels, flat, own_variances, photons, skies, weight = worth
    good, mean = judged
    photosite_of, channel_of, values, variances = chosen
    grid_top, grid_bottom, grid_left, grid_right, finer = grid
    each, count = samples.shape[1], 0
    of_row = colours[2 * (row & 1)], colours[2 * (row & 1) + 1]
    for j in range(first, last):
        x, y, r, c = places[0, j], places[1, j], on_grid[0, j], on_grid[1, j]
        if r < 0 or not _is_near(x, y, box, reach):
            continue
        for number in range(each):
            channel = number if each > 1 else of_row[(left + j) & 1]
            sample = samples[j, number]
            if math.isfinite(sample) and good[r, c, channel]:
                gain = levels[channel, 0] * _polynomial(flat, 0, x, y)
                above = mean[r, c, channel] - skies[channel]
                photosite_of[count], channel_of[count] = j, channel
                value = gain * sample + _polynomial(levels[channel], 1, x, y)
                values[count] = value - _mean_at(
                    mean, channel, (y + 0.5) * finer - 0.5 - grid_top, (x + 0.5) * finer - 0.5 - grid_left
                )
                variances[count] = own_variances[channel] + photons[channel] * (above if above > 0 else 0.0)
                count += 1
    return count


@helper
def _mean_at(mean, channel, row, column):
    """Return the mean at a place of the grid, as `nanstack.stack.drizzle.mean_at`."""
    top, left = math.floor(row), math.floor(column)
    down, right = _keys(row - top), _keys(column - left)
    height, width = mean.shape[:2]
    if top >= 1 and left >= 1 and top + 2 < height and left + 2 < width:
        total = 0.0
        for a in range(4):
            line = 0.0
            for b in range(4):
                line += right[b] * mean[top - 1 + a, left - 1 + b, channel]
            total += down[a] * line
        if math.isfinite(total):
            return total
    nearest = mean[
        min(max(math.floor(row + 0.5), 0), height - 1), min(max(math.floor(column + 0.5), 0), width - 1), channel
    ]
    total = 0.0
    for a in range(4):
        for b in range(4):
            r, c = top - 1 + a, left - 1 + b
            tap = mean[r, c, channel] if 0 <= r < height and 0 <= c < width else np.float32(np.nan)
            total += down[a] * right[b] * (tap if math.isfinite(tap) else nearest)
    return total


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
def _polynomial(terms, first, x, y):
    """Return what `nanstack.register.raw_warp.polynomial_at` does; the terms begin at a number."""
    offset, per_column, per_row = terms[first], terms[first + 1], terms[first + 2]
    across, mixed, down = terms[first + 3], terms[first + 4], terms[first + 5]
    return offset + (per_row + down * y) * y + (per_column + mixed * y + across * x) * x


@helper
def _drop_chosen(count, chosen, places, weight, kernel, shares, pitch, sums, shape, box):
    photosite_of, channel_of, values, variances = chosen
    kind, half, sigma, reach = kernel
    before = -1
    first_row = first_column = rows = columns = 0
    for number in range(count):
        j = photosite_of[number]
        if j != before:  # a sample of another colour is there already
            x, y = places[0, j], places[1, j]
            if kind == SQUARE:
                first_row, first_column, rows, columns = _square(places, j, shares, pitch)
            elif kind == POINT:
                first_row, first_column, rows, columns = math.floor(y + 0.5), math.floor(x + 0.5), 1, 1
                shares[0] = 1.0
            else:
                first_row, first_column, rows, columns = _gaussian(x, y, sigma, reach, shares, pitch)
            before = j
        value, variance, channel = values[number], variances[number], channel_of[number]
        begin, end = max(0, box[2] - first_column), min(columns, box[3] - first_column)
        height, width = shape
        plane = height * width
        whole = first_column >= box[2] and first_column + pitch <= box[3]
        for r in range(max(0, box[0] - first_row), min(rows, box[1] - first_row)):
            pixel = (3 * channel * height + first_row + r - box[0]) * width + first_column - box[2]
            if whole:
                for c in range(0, columns, LANES):
                    _add_lanes(shares, r * pitch + c, sums, pixel + c, plane, weight, value, variance)
            else:
                for c in range(begin, end):
                    share = shares[r * pitch + c]
                    part = weight * (share if share > LEAST_SHARE else 0.0)
                    sums[pixel + c] += part * value
                    sums[pixel + c + plane] += part
                    sums[pixel + c + 2 * plane] += part * part * variance


@helper
def _gaussian(x, y, sigma, reach, shares, pitch):
    """Fill in a Gaussian's values in the middles of pixels; return its first row and column, and how many there are."""
    first_row, first_column = math.floor(y - reach + 0.5), math.floor(x - reach + 0.5)
    rows = math.floor(y + reach + 0.5) - first_row + 1
    columns = math.floor(x + reach + 0.5) - first_column + 1
    narrow = 1 / (2 * sigma * sigma)
    for r in range(rows):
        down = math.exp(-narrow * (first_row + r - y) ** 2) * narrow / math.pi
        for c in range(pitch):
            shares[r * pitch + c] = down if c < columns else 0.0
    for c in range(columns):
        right = math.exp(-narrow * (first_column + c - x) ** 2)
        for r in range(rows):
            shares[r * pitch + c] *= right
    return first_row, first_column, rows, columns


@helper
def _square(places, j, shares, pitch):
    """Fill in the shares of a quadrilateral; return as `_gaussian`."""
    x0, y0, x1, y1 = places[2, j], places[3, j], places[4, j], places[5, j]
    x2, y2, x3, y3 = places[6, j], places[7, j], places[8, j], places[9, j]
    low_x, high_x = min(min(x0, x1), min(x2, x3)) + 0.5, max(max(x0, x1), max(x2, x3)) + 0.5
    low_y, high_y = min(min(y0, y1), min(y2, y3)) + 0.5, max(max(y0, y1), max(y2, y3)) + 0.5
    first_row, first_column = math.floor(low_y), math.floor(low_x)
    rows, columns = math.floor(high_y) - first_row + 1, math.floor(high_x) - first_column + 1
    for r in range(rows):
        for c in range(0, columns, LANES):
            for lane in range(LANES):
                shares[r * pitch + c + lane] = 0.0
    across, down = 0.5 - first_column, 0.5 - first_row
    x0, x1, x2, x3 = x0 + across, x1 + across, x2 + across, x3 + across
    y0, y1, y2, y3 = y0 + down, y1 + down, y2 + down, y3 + down
    whole = 1 / (0.5 * ((x3 - x1) * (y2 - y0) - (x2 - x0) * (y3 - y1)))
    _side(x0, y0, x1, y1, whole, columns, shares, pitch)
    _side(x1, y1, x2, y2, whole, columns, shares, pitch)
    _side(x2, y2, x3, y3, whole, columns, shares, pitch)
    _side(x3, y3, x0, y0, whole, columns, shares, pitch)
    return first_row, first_column, rows, columns


@helper
def _side(x0, y0, x1, y1, scale, columns, shares, pitch):
    """Add how much of each pixel lies right of a side, as far as it goes down; take that off where it goes up."""
    if y0 > y1:
        x0, y0, x1, y1, scale = x1, y1, x0, y0, -scale
    slope = (x1 - x0) / (y1 - y0) if y1 > y0 else 0.0
    upright = abs(slope) < UPRIGHT
    lean = 0.0 if upright else scale / abs(slope)
    for row in range(int(y0), int(y1) + 1):
        above, below = max(y0, float(row)), min(y1, row + 1.0)
        one, other, begin = x0 + (above - y0) * slope, x0 + (below - y0) * slope, row * pitch
        if upright:
            middle, high = 0.5 * (one + other), scale * (below - above)
            for c in range(-(-columns // LANES) * LANES):
                shares[begin + c] += high * min(max(c + 1.0 - middle, 0.0), 1.0)
        else:
            low, far = min(one, other), max(one, other)
            for c in range(0, columns, LANES):
                _add_leaning(shares, begin + c, np.float64(c), low, far, lean)


# --- vectors of pixels side by side -----------------------------------------------------------------------------------

VECTOR, INDEX = ir.VectorType(ir.DoubleType(), LANES), ir.IntType(32)


def _to_all(builder, number):
    """Return a vector of one number."""
    one = builder.insert_element(ir.Constant(VECTOR, ir.Undefined), number, INDEX(0))
    return builder.shuffle_vector(one, one, ir.Constant(ir.VectorType(INDEX, LANES), [0] * LANES))


def _all(number):
    return ir.Constant(VECTOR, [number] * LANES)


def _outermost(builder, order, one, other):
    return builder.select(builder.fcmp_ordered(order, one, other), one, other)


def _filled_lanes(builder, width):
    """Return the integral of widths cut to 0 ... 1, from 0 on."""
    cut = _outermost(builder, "<", _outermost(builder, ">", width, _all(0.0)), _all(1.0))
    more = _outermost(builder, ">", builder.fsub(width, _all(1.0)), _all(0.0))
    return builder.fadd(builder.fmul(builder.fmul(cut, cut), _all(0.5)), more)


def _at(context, builder, kind, array, index):
    """Return where a vector stands in an array's data."""
    data = context.make_array(kind)(context, builder, array).data
    return builder.bitcast(builder.gep(data, [index]), VECTOR.as_pointer())


@intrinsic
def _add_leaning(typing_context, shares, at, column, low, far, lean):
    """Add to the shares of pixels, the first of them at a column, what lies right of a side that leans."""

    def codegen(context, builder, signature, arguments):
        place = _at(context, builder, signature.args[0], arguments[0], arguments[1])
        column, low, far, lean = (_to_all(builder, number) for number in arguments[2:])
        right = builder.fadd(column, ir.Constant(VECTOR, [lane + 1.0 for lane in range(LANES)]))
        wide, narrow = (_filled_lanes(builder, builder.fsub(right, side)) for side in (low, far))
        more = builder.fmul(lean, builder.fsub(wide, narrow))
        builder.store(builder.fadd(builder.load(place, align=8), more), place, align=8)
        return context.get_dummy_value()

    number = types.float64
    return types.void(shares, types.intp, number, number, number, number), codegen


@intrinsic
def _add_lanes(typing_context, shares, at, sums, first, plane, weight, value, variance):
    """Add shares of a drop to the three sums of pixels, a plane apart."""

    def codegen(context, builder, signature, arguments):
        share = builder.load(_at(context, builder, signature.args[0], arguments[0], arguments[1]), align=8)
        share = builder.select(builder.fcmp_ordered(">", share, _all(LEAST_SHARE)), share, _all(0.0))
        place, plane = arguments[3], arguments[4]
        weight, value, variance = (_to_all(builder, number) for number in arguments[5:])
        part = builder.fmul(weight, share)
        for more in (builder.fmul(part, value), part, builder.fmul(builder.fmul(part, part), variance)):
            there = _at(context, builder, signature.args[2], arguments[2], place)
            builder.store(builder.fadd(builder.load(there, align=8), more), there, align=8)
            place = builder.add(place, plane)
        return context.get_dummy_value()

    index, number = types.intp, types.float64
    return types.void(shares, index, sums, index, index, number, number, number), codegen
