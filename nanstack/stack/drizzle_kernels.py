# SPDX-License-Identifier: GPL-3.0-or-later
"""Drizzle, compiled: what `nanstack.stack.drizzle` defines.

Sequential, and without the GIL: parts of a canvas are what runs in parallel. Of a row of photosites, as many as a
vector has lanes are worked on at once: where they lie, what they are worth, and what of each pixel they cover. Then one
after the other is added to its pixels, whose sums stand side by side.

In a row of pixels, a side of a drop has on its right so much of each; sides that go down less those that go up is what
lies between. Where a side leans, that is an integral over its places in the row: what it is up to the row's lower
edge, less what it is up to the upper one.
"""

from __future__ import annotations

import functools
import math

import numba
import numpy as np
from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic

from nanstack import compilation
from nanstack.register.mesh import Box
from nanstack.stack.drizzle import FWHM, GAUSSIAN_REACH, KERNELS, LEAST_SHARE, Drizzle, Judged, Photosites, Worth

SQUARE, POINT, GAUSSIAN = range(len(KERNELS))
CONTRACT = ("contract",)  # of a product and a sum, where there is an instruction for both
LANES = 4  # photosites that are worked on at once; columns of pixels, too
LEAST_HEIGHT = 1e-15  # pixels: of a side that crosses no row, but for rounding
LEAST_SLOPE = 6e-8  # of a side: what rounding makes of less is more than leaning so much

helper = numba.njit(
    nogil=True, error_model="numpy", forceinline=True, no_cpython_wrapper=True, no_cfunc_wrapper=True, _nrt=False
)


def drop(photosites: Photosites, worth: Worth, judged: Judged, drizzle: Drizzle, sums: np.ndarray, box: Box) -> None:
    """Drop a frame's photosites, as `nanstack.stack.drizzle.drop` defines it."""
    samples, where, colours, mesh, finer = photosites
    kind = KERNELS.index(drizzle.kernel)
    compilation.announce(_drop, "drizzle")
    whole = np.ascontiguousarray(samples, dtype=np.float32)
    whole = whole.reshape(*whole.shape[:2], -1).view()
    whole.flags.writeable = False  # one type of array, so one compilation
    nodes = tuple(np.ascontiguousarray(v, dtype=np.float64) for v in (mesh.x, mesh.y))
    begins = mesh.box.top // mesh.step, mesh.box.left // mesh.step, mesh.step
    mean = np.ascontiguousarray(np.moveaxis(judged.mean, -1, 0), dtype=np.float32)
    pixels = np.moveaxis(sums, 1, -1)
    _drop(
        whole, tuple(map(int, where)), nodes, begins, *_of_lanes(worth, colours, whole.shape[2]),
        (np.ascontiguousarray(judged.good).reshape(-1, len(mean)), mean.reshape(-1)),
        (float(judged.box.top), float(judged.box.left), 1.0 / judged.coarser, *map(float, judged.good.shape[:2])),
        (kind, float(drizzle.pixfrac) / 2, float(drizzle.pixfrac * finer / FWHM), float(GAUSSIAN_REACH * finer)),
        np.float32(worth.weight),
        pixels, (pixels.strides[0] // pixels.itemsize, pixels.strides[1] // pixels.itemsize), tuple(map(int, box)),
    )  # fmt: skip


def _of_lanes(worth: Worth, colours: tuple[int, ...], each: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the colours of photosites side by side, and the terms of what these are worth: (k, LANES), (k, 15, LANES).

    Of a mosaic, k is twice the row's parity and the first one's column's; else it is the colour.
    """
    channel = _colours_of_lanes(colours, each)
    gain, level = worth.levelling[0], worth.levelling[1:]
    terms = np.vstack([worth.flat[:, np.newaxis] * gain, level, worth.variance, worth.photon, worth.sky])
    return channel, np.ascontiguousarray(terms[:, channel].swapaxes(0, 1), dtype=np.float64)


@functools.cache
def _colours_of_lanes(colours: tuple[int, ...], each: int) -> np.ndarray:
    if each > 1:
        return np.arange(each)[:, np.newaxis].repeat(LANES, axis=1)
    row, first, lane = np.ogrid[:2, :2, :LANES]
    return np.array(colours)[2 * row + (first + lane) % 2].reshape(4, LANES)


@compilation.compiled(error_model="numpy")
def _drop(samples, where, nodes, begins, colours, terms, judged, grid, kernel, weight, sums, strides, box):
    """Drop a part of a frame's photosites onto a box of the canvas, as `nanstack.stack.drizzle` defines it."""
    top, bottom, left, right = where
    node_row, node_column, step = begins
    length = 2 * (kernel[1] * _longest(nodes, step) if kernel[0] == SQUARE else kernel[3])
    span = math.ceil(length) + 1  # pixels, along an axis, that a drop may fall into
    width, pitch, reach = right - left, -(-span // LANES) * LANES, 0.5 * span + 1.0
    bounds = np.array([*grid, box[0] - reach, box[1] + reach, box[2] - reach, box[3] + reach])
    middle, corners = np.empty((2, nodes[0].shape[1])), np.empty((4, nodes[0].shape[1]))
    places, found = np.zeros((10, width + LANES)), np.empty(FOUND * LANES)
    shares = np.zeros(LANES * span * pitch, np.float32)
    four = np.empty(SIDES * LANES), np.empty(8, np.int64), np.empty(4 * LANES * LANES), np.empty(LANES * LANES), shares
    dropping = np.empty(LANES, np.int64), np.empty(LANES, np.float32), np.empty(LANES, np.float32)
    for row in range(top, bottom):
        for axis in range(2):
            _line(nodes[axis], node_row, step, float(row), middle[axis])
        first, last = _that_may_touch(middle[0], middle[1], bounds, node_column * step - left, step, width)
        _along(middle, begins, left, 0.0, first, last, places, (0, 1))
        kind, cornered = 2 * (row & 1) + ((left + first) & 1), kernel[0] != SQUARE
        for begin in range(first, last, LANES):
            end, rows = min(last, begin + LANES), 0
            if not _find_nearest(places, begin, places.shape[1], bounds, found):
                continue
            for number in range(samples.shape[2]):
                which = number if samples.shape[2] > 1 else kind
                colour = colours[which]
                if not _choose(samples[row - top], number, begin, end, colour, judged[0], found, dropping[0]):
                    continue
                if not cornered:
                    _find_corners(nodes, begins, row, left, kernel[1], begin, last, corners, places)
                    cornered = True
                _find_taps(places, begin, places.shape[1], bounds, found)
                _find_means(end - begin, judged[1], grid, colour, dropping[0], found)
                _find_values(places, begin, places.shape[1], terms, which, found, dropping[1], dropping[2])
                if rows == 0:  # else they are shared, with a sample of another colour
                    rows = _share(places, begin, end, kernel, span, pitch, four, dropping[0], sums, strides, box)
                _add(end - begin, dropping, weight, rows, span, pitch, four, sums, strides, box)


@helper
def _longest(nodes, step):
    """Return the most pixels that a photosite spans along an axis; 0 where it lies nowhere."""
    longest = 0.0
    for axis in range(2):
        place, down, right = nodes[axis], 0.0, 0.0
        for i in range(place.shape[0]):
            for j in range(place.shape[1]):
                below = abs(place[min(i + 1, place.shape[0] - 1), j] - place[i, j])
                beside = abs(place[i, min(j + 1, place.shape[1] - 1)] - place[i, j])
                down = below if math.isfinite(below) and below > down else down
                right = beside if math.isfinite(beside) and beside > right else right
        longest = max(longest, (down + right) / step)
    return longest


@helper
def _line(nodes, first_row, step, row, line):
    """Fill in a coordinate at the columns of the nodes, in a row of the frame."""
    i = math.floor(row / step)
    below = row / step - i
    i -= first_row
    for k in range(line.size):
        line[k] = nodes[i, k] * (1 - below) + nodes[i + 1, k] * below


@helper
def _that_may_touch(x, y, bounds, begin, step, width):
    """Return the first photosite of a row, and the last one and one, between which all are that may touch the box."""
    top, bottom, left, right = bounds[5], bounds[6], bounds[7], bounds[8]
    first, last = width, 0
    for k in range(x.size - 1):
        across = max(x[k], x[k + 1]) >= left and min(x[k], x[k + 1]) <= right
        if across and max(y[k], y[k + 1]) >= top and min(y[k], y[k + 1]) <= bottom:
            begins, ends = _between(x[k], x[k + 1], left, right, 0.0, 1.0)
            begins, ends = _between(y[k], y[k + 1], top, bottom, begins, ends)
            if begins <= ends:
                first = min(first, begin + k * step + math.floor(begins * step))
                last = begin + k * step + math.ceil(ends * step) + 1
    return max(first, 0), min(last, width)


@helper
def _between(one, other, least, most, begins, ends):
    """Return the part of the way from a number to another one on which it is within bounds, of a part of this way."""
    if one < other:
        return max(begins, (least - one) / (other - one)), min(ends, (most - one) / (other - one))
    if one > other:
        return max(begins, (most - one) / (other - one)), min(ends, (least - one) / (other - one))
    return begins, ends


@helper
def _along(lines, begins, left, aside, first, last, places, numbers):
    """Fill in coordinates, each of a line, for some of the photosites of a row, or for places beside them."""
    j, node_column, step = first, begins[1], begins[2]
    between = 1.0 / step  # a power of two: exact
    while j < last:
        node = math.floor((left + j + aside) * between)
        stop = min(last, math.ceil((node + 1) * step - left - aside))
        for k in range(len(numbers)):
            begin, end = lines[k, node - node_column], lines[k, node - node_column + 1]
            row = numbers[k] * places.shape[1]
            for px in range(j, stop, LANES):  # those beyond the node are filled in again
                _interpolate(places, row + px, float(left + px), aside, between, float(node), begin, end)
        j = stop


@helper
def _find_corners(nodes, begins, row, left, half, first, last, lines, places):
    """Fill in where the corners of photosites' squares lie, in turn."""
    for k in range(4):
        _line(nodes[k % 2], begins[0], begins[2], row - half if k < 2 else row + half, lines[k])
    _along(lines, begins, left, -half, first, last, places, (2, 3, 8, 9))
    _along(lines, begins, left, half, first, last, places, (4, 5, 6, 7))


@helper
def _choose(samples, number, begin, end, colours, good, found, channels):
    """Fill in the colours of what photosites drop, or -1 for nothing; tell whether there is any."""
    some = False
    for lane in range(end - begin):
        nearest = int(found[NEAREST * LANES + lane])
        sample = samples[begin + lane, number]
        channels[lane] = -1
        if nearest >= 0 and math.isfinite(sample) and good[nearest, colours[lane]]:
            channels[lane], some = colours[lane], True
            found[SAMPLE * LANES + lane] = sample
    return some


@helper
def _find_means(count, mean, grid, colours, channels, found):
    """Fill in the mean at photosites' places and at the grid's pixels nearest to them."""
    height, width = int(grid[3]), int(grid[4])
    for lane in range(count):
        if channels[lane] < 0:
            continue
        plane, tap, usual = channels[lane] * height * width, int(found[TAP * LANES + lane]), np.nan
        if tap >= 0:
            usual = _sum_taps(mean, plane + tap, width, found, lane)
        if not math.isfinite(usual):
            row, column = found[ROW * LANES + lane], found[COLUMN * LANES + lane]
            usual = _mean_at(mean, plane, height, width, row, column)
        found[USUAL * LANES + lane] = usual
        found[NEAR * LANES + lane] = mean[plane + int(found[NEAREST * LANES + lane])]


@helper
def _mean_at(mean, plane, height, width, row, column):
    """Return the mean at a place of the grid, as `nanstack.stack.drizzle.mean_at`: of a colour's plane."""
    top, left = math.floor(row), math.floor(column)
    down, right = _keys(row - top), _keys(column - left)
    near = min(max(math.floor(row + 0.5), 0), height - 1), min(max(math.floor(column + 0.5), 0), width - 1)
    nearest, total = mean[plane + near[0] * width + near[1]], 0.0
    for a in range(4):
        for b in range(4):
            r, c = top - 1 + a, left - 1 + b
            tap = mean[plane + r * width + c] if 0 <= r < height and 0 <= c < width else np.float32(np.nan)
            total += down[a] * right[b] * (tap if math.isfinite(tap) else nearest)
    return total


@helper
def _keys(f):
    """Return the weights of Keys' cubic convolution, a = -1/2, at the taps -1 ... 2; of a number, or of `Lanes`."""
    return (
        ((-0.5 * f + 1.0) * f - 0.5) * f,
        (1.5 * f - 2.5) * f * f + 1.0,
        ((-1.5 * f + 2.0) * f + 0.5) * f,
        (0.5 * f - 0.5) * f * f,
    )


@helper
def _share(places, begin, end, kernel, span, pitch, four, channels, sums, strides, box):
    """Fill in what of each pixel drops cover, of their own area, and where the first pixel is.

    Return how many rows there are.
    """
    sides, rows, crossed, totals, shares = four
    kind, half, sigma, reach = kernel
    if kind == SQUARE:
        _find_sides(places, begin, places.shape[1], span, sides, rows)
        used = max(max(rows[4], rows[5]), max(rows[6], rows[7]))
        for lane in range(end - begin):  # while shares are found, the sums come
            row, column = _first_pixel(sides, lane, box)
            pixel = channels[lane] * strides[0] + row * strides[1] + 4 * column
            for _ in range(used):
                _fetch(sums, pixel)
                pixel += strides[1]
        for column in range(0, pitch, LANES):
            for k in range(4):
                _begin_side(sides, k, float(rows[k]), float(column), crossed)
            for row in range(used):
                totals[:] = 0.0
                for k in range(4):
                    if rows[k] <= row < rows[4 + k]:
                        _add_side(sides, k, float(row + 1), float(column), crossed, totals)
                _tell_row(totals, shares, row * pitch + column, span * pitch)
        return used
    for lane in range(end - begin):
        x, y, at = places[0, begin + lane], places[1, begin + lane], lane * span * pitch
        if kind == POINT:
            row, column = math.floor(y + 0.5), math.floor(x + 0.5)
            shares[at] = 1.0
        else:
            row, column = math.floor(y - reach + 0.5), math.floor(x - reach + 0.5)
            _share_gaussian(x, y, row, column, sigma, reach, shares, at, span, pitch)
        sides[FIRST_ROW * LANES + lane], sides[FIRST_COLUMN * LANES + lane] = row, column
    return span


@helper
def _first_pixel(sides, lane, box):
    """Return the row and the column of the first pixel that a drop may fall into, in the box."""
    return int(sides[FIRST_ROW * LANES + lane]) - box[0], int(sides[FIRST_COLUMN * LANES + lane]) - box[2]


@helper
def _share_gaussian(x, y, first_row, first_column, sigma, reach, shares, at, span, pitch):
    """Fill in a Gaussian's values in the middles of pixels, as far as it reaches."""
    narrow, last_row, last_column = 1 / (2 * sigma * sigma), math.floor(y + reach + 0.5), math.floor(x + reach + 0.5)
    for row in range(first_row, first_row + span):
        down = math.exp(-narrow * (row - y) ** 2) * narrow / math.pi if row <= last_row else 0.0
        for column in range(first_column, first_column + pitch):
            share = down * math.exp(-narrow * (column - x) ** 2) if column <= last_column else 0.0
            shares[at] = np.float32(share) if share > LEAST_SHARE else np.float32(0.0)
            at += 1


@helper
def _add(count, dropping, weight, rows, span, pitch, four, sums, strides, box):
    """Add drops to the sums of their pixels, one after the other."""
    channels, values, variances = dropping
    sides, shares = four[0], four[4]
    height, width = box[1] - box[0], box[3] - box[2]
    for lane in range(count):
        channel, value, variance = channels[lane], values[lane], variances[lane]
        if channel < 0:
            continue
        row, column = _first_pixel(sides, lane, box)
        if row >= 0 and row + rows <= height and column >= 0 and column + pitch <= width:
            for c in range(0, pitch, LANES):
                pixel, at = channel * strides[0] + row * strides[1] + 4 * (column + c), lane * span * pitch + c
                for _ in range(rows):
                    _add_pixels(sums, pixel, shares, at, weight, value, variance)
                    pixel += strides[1]
                    at += pitch
            continue
        for r in range(max(0, -row), min(rows, height - row)):
            for c in range(max(0, -column), min(pitch, width - column)):
                part = weight * shares[(lane * span + r) * pitch + c]
                sums[channel, row + r, column + c, 0] += part * value
                sums[channel, row + r, column + c, 1] += part
                sums[channel, row + r, column + c, 2] += part * (part * variance)


# --- vectors ----------------------------------------------------------------------------------------------------------

NUMBER, INDEX = ir.DoubleType(), ir.IntType(32)
VECTOR = ir.VectorType(NUMBER, LANES)
PIXELS = ir.VectorType(ir.FloatType(), 8)  # two of them, of four numbers each


class Lanes:
    """Numbers side by side: arithmetic with them becomes instructions of the function that is compiled."""

    def __init__(self, builder: ir.IRBuilder, value: ir.Value) -> None:
        self.builder, self.value = builder, value

    @classmethod
    def all(cls, builder: ir.IRBuilder, number: ir.Value) -> Lanes:
        """Return a number in all lanes."""
        return cls(builder, _to_all(builder, number, LANES))

    @classmethod
    def load(cls, builder: ir.IRBuilder, data: ir.Value, index: ir.Value) -> Lanes:
        """Return numbers of an array, from one on."""
        return cls(builder, builder.load(_at(builder, data, index, VECTOR), align=8))

    def store(self, data: ir.Value, index: ir.Value) -> None:
        """Write them into an array, from a number on."""
        self.builder.store(self.value, _at(self.builder, data, index, VECTOR), align=8)

    def _like(self, other: Lanes | float) -> ir.Value:
        return other.value if isinstance(other, Lanes) else ir.Constant(VECTOR, [float(other)] * LANES)

    def _done(self, instruction: str, one: Lanes | float, other: Lanes | float) -> Lanes:
        operation = getattr(self.builder, instruction)
        return Lanes(self.builder, operation(self._like(one), self._like(other), flags=CONTRACT))

    def __add__(self, other: Lanes | float) -> Lanes:
        return self._done("fadd", self, other)

    def __sub__(self, other: Lanes | float) -> Lanes:
        return self._done("fsub", self, other)

    def __rsub__(self, other: float) -> Lanes:
        return self._done("fsub", other, self)

    def __mul__(self, other: Lanes | float) -> Lanes:
        return self._done("fmul", self, other)

    __radd__, __rmul__ = __add__, __mul__

    def __rtruediv__(self, other: float) -> Lanes:
        return self._done("fdiv", other, self)

    def where_less(self, one: Lanes | float, other: Lanes | float, instead: Lanes | float) -> Lanes:
        """Return these numbers where one is less than another, else what stands instead."""
        less = self.builder.fcmp_ordered("<", self._like(one), self._like(other))
        return Lanes(self.builder, self.builder.select(less, self.value, self._like(instead)))

    def least(self, other: Lanes | float) -> Lanes:
        """Return the lesser of two."""
        return self.where_less(self, other, other)

    def most(self, other: Lanes | float) -> Lanes:
        """Return the greater of two."""
        return self.where_less(other, self, other)

    def floor(self) -> Lanes:
        """Return the next whole numbers below."""
        kind = ir.FunctionType(VECTOR, [VECTOR])
        function = cgutils.get_or_insert_function(self.builder.module, kind, f"llvm.floor.v{LANES}f64")
        return Lanes(self.builder, self.builder.call(function, [self.value]))


def _mask(lanes):
    """Return the constant that a shuffle takes lanes by."""
    return ir.Constant(ir.VectorType(INDEX, len(lanes)), list(lanes))


def _to_all(builder, number, count):
    """Return a vector of one number."""
    one = builder.insert_element(ir.Constant(ir.VectorType(number.type, count), ir.Undefined), number, INDEX(0))
    return builder.shuffle_vector(one, one, _mask([0] * count))


def _at(builder, data, index, kind):
    """Return where a vector stands in an array's data."""
    return builder.bitcast(builder.gep(data, [index]), kind.as_pointer())


def _data(context, builder, signature, arguments, *numbers):
    """Return where the data of some of the arguments begin."""
    return [context.make_array(signature.args[k])(context, builder, arguments[k]).data for k in numbers]


def _turned(rows):
    """Return four vectors' first lanes as a vector, their second ones, and so on."""

    def of(one, other, lanes):
        return Lanes(one.builder, one.builder.shuffle_vector(one.value, other.value, _mask(lanes)))

    even = of(rows[0], rows[1], [0, 4, 2, 6]), of(rows[2], rows[3], [0, 4, 2, 6])
    odd = of(rows[0], rows[1], [1, 5, 3, 7]), of(rows[2], rows[3], [1, 5, 3, 7])
    return [of(*pair, lanes) for lanes in ([0, 1, 4, 5], [2, 3, 6, 7]) for pair in (even, odd)]


@intrinsic
def _interpolate(typing_context, places, at, column, aside, between, node, begin, end):
    """Fill in a coordinate at a column and the next ones, of what it is at the nodes before and behind them."""

    def codegen(context, builder, signature, arguments):
        (data,) = _data(context, builder, signature, arguments, 0)
        column, aside, between, node, begin, end = (Lanes.all(builder, number) for number in arguments[2:])
        column += Lanes(builder, ir.Constant(VECTOR, [float(lane) for lane in range(LANES)]))
        beyond = (column + aside) * between - node
        (begin * (1 - beyond) + end * beyond).store(data, arguments[1])
        return context.get_dummy_value()

    number = types.float64
    return types.void(places, types.intp, number, number, number, number, number, number), codegen


# what is found of photosites side by side, each for all lanes; the weights of taps for one lane after the other
NEAREST, TAP, ROW, COLUMN, SAMPLE, USUAL, NEAR, WEIGHTS_DOWN, WEIGHTS_RIGHT, FOUND = 0, 1, 2, 3, 4, 5, 6, 7, 11, 15
TERMS = 15  # of what samples are worth, for all lanes: see `_of_lanes`


@intrinsic
def _find_nearest(typing_context, places, first, pitch, bounds, found):
    """Fill in which pixel of the grid each photosite is nearest to, or -1 where no drop is; tell if any is there."""

    def codegen(context, builder, signature, arguments):
        places, bounds, found = _data(context, builder, signature, arguments, 0, 3, 4)
        x, y, top, left, finer, height, width, *near = _places_and_bounds(builder, places, arguments, bounds)
        row, column = ((y + 0.5) * finer - top).floor(), ((x + 0.5) * finer - left).floor()
        nearest = row * width + column
        for low, place, high in ((-1, row, height), (-1, column, width), (near[0], y, near[1]), (near[2], x, near[3])):
            nearest = nearest.where_less(low, place, -1).where_less(place, high, -1)
        nearest.store(found, INDEX(NEAREST * LANES))
        there = builder.fcmp_ordered(">=", nearest.value, ir.Constant(VECTOR, [0.0] * LANES))
        return builder.icmp_unsigned("!=", builder.bitcast(there, ir.IntType(LANES)), ir.IntType(LANES)(0))

    return types.boolean(places, types.intp, types.intp, bounds, found), codegen


@intrinsic
def _find_taps(typing_context, places, first, pitch, bounds, found):
    """Fill in the first of the sixteen pixels around each photosite, -1 where one is beyond the grid, and weights."""

    def codegen(context, builder, signature, arguments):
        places, bounds, found = _data(context, builder, signature, arguments, 0, 3, 4)
        x, y, top, left, finer, height, width, *_ = _places_and_bounds(builder, places, arguments, bounds)
        row, column = (y + 0.5) * finer - top - 0.5, (x + 0.5) * finer - left - 0.5
        above, before = row.floor(), column.floor()
        tap = (above - 1) * width + (before - 1)
        for place, size in ((above, height), (before, width)):
            tap = tap.where_less(0, place, -1).where_less(place, size - 2, -1)
        weights = [*_turned(_keys.py_func(row - above)), *_turned(_keys.py_func(column - before))]
        for number, lanes in ((TAP, tap), (ROW, row), (COLUMN, column), *enumerate(weights, WEIGHTS_DOWN)):
            lanes.store(found, INDEX(number * LANES))
        return context.get_dummy_value()

    return types.void(places, types.intp, types.intp, bounds, found), codegen


def _places_and_bounds(builder, places, arguments, bounds):
    """Return x and y of photosites, and all that says where grid and box are, in all lanes."""
    first, pitch = arguments[1:3]
    bounds = [builder.load(builder.gep(bounds, [INDEX(k)])) for k in range(9)]
    x, y = (Lanes.load(builder, places, place) for place in (first, builder.add(first, pitch)))
    return [x, y, *(Lanes.all(builder, number) for number in bounds)]


@intrinsic
def _find_values(typing_context, places, first, pitch, terms, which, found, values, variances):
    """Fill in by how much samples differ from the mean, and how uncertain they are."""

    def codegen(context, builder, signature, arguments):
        places, terms, found, *told = _data(context, builder, signature, arguments, 0, 3, 5, 6, 7)
        first, pitch, which = arguments[1], arguments[2], arguments[4]
        x, y = (Lanes.load(builder, places, place) for place in (first, builder.add(first, pitch)))
        begin = builder.mul(which, which.type(TERMS * LANES))
        terms = [Lanes.load(builder, terms, builder.add(begin, begin.type(k * LANES))) for k in range(TERMS)]
        factor, level = (
            of[0] + (of[2] + of[5] * y) * y + (of[1] + of[4] * y + of[3] * x) * x for of in (terms[:6], terms[6:12])
        )
        variance, photon, sky = terms[12:]
        sample, usual, near = (Lanes.load(builder, found, INDEX(k * LANES)) for k in (SAMPLE, USUAL, NEAR))
        single = ir.VectorType(ir.FloatType(), LANES)
        results = factor * sample + level - usual, variance + photon * (near - sky).most(0)
        for data, lanes in zip(told, results, strict=True):
            place = builder.bitcast(data, single.as_pointer())
            builder.store(builder.fptrunc(lanes.value, single), place, align=4)
        return context.get_dummy_value()

    index = types.intp
    return types.void(places, index, index, terms, index, found, values, variances), codegen


@intrinsic
def _sum_taps(typing_context, mean, first, pitch, found, lane):
    """Return the sum of four rows of four taps, by their weights."""

    def codegen(context, builder, signature, arguments):
        mean, found = _data(context, builder, signature, arguments, 0, 3)
        place, pitch = arguments[1:3]
        single = ir.VectorType(ir.FloatType(), 4)
        begin = builder.mul(arguments[4], arguments[4].type(LANES))
        total = None
        for k in range(4):
            taps = builder.fpext(builder.load(_at(builder, mean, place, single), align=4), VECTOR)
            weight = builder.load(builder.gep(found, [builder.add(begin, begin.type(WEIGHTS_DOWN * LANES + k))]))
            row = Lanes(builder, taps) * Lanes.all(builder, weight)
            total = row if total is None else total + row
            place = builder.add(place, pitch)
        total *= Lanes.load(builder, found, builder.add(begin, begin.type(WEIGHTS_RIGHT * LANES)))
        parts = [builder.extract_element(total.value, INDEX(k)) for k in range(4)]
        return builder.fadd(builder.fadd(parts[0], parts[1]), builder.fadd(parts[2], parts[3]))

    index = types.intp
    return types.float64(mean, index, index, found, index), codegen


SIDE = 6  # numbers that are known of a side
FIRST_ROW, FIRST_COLUMN, SIDES = 4 * SIDE, 4 * SIDE + 1, 4 * SIDE + 2


@intrinsic
def _find_sides(typing_context, places, first, pitch, span, sides, rows):
    """Fill in what is known of the sides of drops, in pixels from each one's first row and column, and these.

    Of a side: its middle, between which places it goes down or up, by how much it leans to the right from row to row,
    and what an integral along columns is to be multiplied by to be one over rows, as a part of the drop. Of all drops'
    sides: the first row, and the last one and one.
    """

    def codegen(context, builder, signature, arguments):
        places, sides, rows = _data(context, builder, signature, arguments, 0, 4, 5)
        first, pitch = arguments[1:3]
        span = Lanes.all(builder, builder.sitofp(arguments[3], NUMBER))
        x, y = (
            [Lanes.load(builder, places, builder.add(first, builder.mul(pitch, pitch.type(k)))) + 0.5 for k in numbers]
            for numbers in ((2, 4, 6, 8), (3, 5, 7, 9))
        )
        row, column = (v[0].least(v[1]).least(v[2].least(v[3])).floor() for v in (y, x))
        x, y = [v - column for v in x], [v - row for v in y]
        of_drop = 2 / ((x[3] - x[1]) * (y[2] - y[0]) - (x[2] - x[0]) * (y[3] - y[1]))
        found = []
        for k in range(4):
            (x0, x1), (y0, y1) = ((v[k], v[(k + 1) % 4]) for v in (x, y))
            top, bottom, wide = y0.least(y1), y0.most(y1), x1 - x0
            high, size = ((v + 1).where_less(bottom - top, LEAST_HEIGHT, v) for v in (y1 - y0, bottom - top))
            least = LEAST_SLOPE * size
            wide = least.where_less(wide * wide, least * least, wide)
            both = 1 / (wide * high)
            lean = of_drop * size * (high * both)
            found += [0.5 * (x0 + x1), 0.5 * (y0 + y1), top, bottom, wide * wide * both, lean]
            begin, end = (_outermost(v.most(0).least(span), join) for v, join in ((top, "least"), (bottom, "most")))
            for place, number in ((k, builder.fptosi(begin, INDEX)), (4 + k, _above(builder, end))):
                builder.store(builder.sext(number, ir.IntType(64)), builder.gep(rows, [INDEX(place)]))
        for number, lanes in enumerate([*found, row, column]):
            lanes.store(sides, INDEX(number * LANES))
        return context.get_dummy_value()

    index = types.intp
    return types.void(places, index, index, index, sides, rows), codegen


def _outermost(lanes, join):
    """Return the least or the most of all lanes."""
    for half in ([2, 3, 0, 1], [1, 0, 3, 2]):
        turned = lanes.builder.shuffle_vector(lanes.value, lanes.value, _mask(half))
        lanes = getattr(lanes, join)(Lanes(lanes.builder, turned))
    return lanes.builder.extract_element(lanes.value, INDEX(0))


def _above(builder, number):
    """Return the least whole number that is not below one, from 0 on."""
    whole = builder.fptosi(number, INDEX)
    return builder.add(whole, builder.zext(builder.fcmp_ordered("<", builder.sitofp(whole, NUMBER), number), INDEX))


def _right_of(builder, sides, arguments):
    """Return what integrals of how much of pixels lies right of a side are at an edge of a row: columns from one on.

    Along the side's places in the row; above its upper end, and below its lower one, it stands still.
    """
    begin = builder.mul(arguments[1], arguments[1].type(SIDE * LANES))
    x, y, top, bottom, slope, lean = (
        Lanes.load(builder, sides, builder.add(begin, begin.type(part * LANES))) for part in range(SIDE)
    )
    row, column = (Lanes.all(builder, number) for number in arguments[2:4])
    place, found = column - (x + (row.most(top).least(bottom) - y) * slope), []
    for c in range(LANES):
        right = place + (c + 1)
        inside = right.most(0).least(1)
        found.append(inside * (right - 0.5 * inside))
    return lean, found


def _places_of(builder, number):
    """Return where a side's integrals stand."""
    first = builder.mul(number, number.type(LANES * LANES))
    return [builder.add(first, first.type(c * LANES)) for c in range(LANES)]


@intrinsic
def _begin_side(typing_context, sides, number, row, column, crossed):
    """Fill in a side's integrals at the upper edge of a row, for four columns."""

    def codegen(context, builder, signature, arguments):
        sides, crossed = _data(context, builder, signature, arguments, 0, 4)
        _, found = _right_of(builder, sides, arguments)
        for place, lanes in zip(_places_of(builder, arguments[1]), found, strict=True):
            lanes.store(crossed, place)
        return context.get_dummy_value()

    return types.void(sides, types.intp, types.float64, types.float64, crossed), codegen


@intrinsic
def _add_side(typing_context, sides, number, row, column, crossed, totals):
    """Add what a side tells of a row's shares, from the integrals at its upper edge; fill in those at its lower one."""

    def codegen(context, builder, signature, arguments):
        sides, crossed, totals = _data(context, builder, signature, arguments, 0, 4, 5)
        lean, found = _right_of(builder, sides, arguments)
        for c, (place, below) in enumerate(zip(_places_of(builder, arguments[1]), found, strict=True)):
            more = lean * (Lanes.load(builder, crossed, place) - below)
            (more + Lanes.load(builder, totals, INDEX(c * LANES))).store(totals, INDEX(c * LANES))
            below.store(crossed, place)
        return context.get_dummy_value()

    number = types.float64
    return types.void(sides, types.intp, number, number, crossed, totals), codegen


@intrinsic
def _tell_row(typing_context, totals, shares, first, apart):
    """Write the shares of a row of pixels, four of each drop; a drop's stand together."""

    def codegen(context, builder, signature, arguments):
        totals, shares = _data(context, builder, signature, arguments, 0, 1)
        found = [Lanes.load(builder, totals, INDEX(c * LANES)) for c in range(LANES)]
        found = [one.where_less(LEAST_SHARE, one, 0) for one in found]
        single = ir.VectorType(ir.FloatType(), LANES)
        for lane, one in enumerate(_turned(found)):
            place = builder.add(arguments[2], builder.mul(arguments[3], arguments[3].type(lane)))
            builder.store(builder.fptrunc(one.value, single), _at(builder, shares, place, single), align=4)
        return context.get_dummy_value()

    return types.void(totals, shares, types.intp, types.intp), codegen


@intrinsic
def _fetch(typing_context, sums, first):
    """Ask for the sums of four pixels, which are needed soon."""

    def codegen(context, builder, signature, arguments):
        (sums,) = _data(context, builder, signature, arguments, 0)
        kind = ir.FunctionType(ir.VoidType(), [ir.IntType(8).as_pointer()] + [ir.IntType(32)] * 3)
        function = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0i8")
        for k in (0, 15):
            place = builder.gep(sums, [builder.add(arguments[1], arguments[1].type(k))])
            to_write_near_data = [ir.IntType(32)(number) for number in (1, 3, 1)]
            builder.call(function, [builder.bitcast(place, ir.IntType(8).as_pointer()), *to_write_near_data])
        return context.get_dummy_value()

    return types.void(sums, types.intp), codegen


@intrinsic
def _add_pixels(typing_context, sums, first, shares, at, weight, value, variance):
    """Add four shares of a drop to the sums of four pixels, as `_add` does one by one."""

    def codegen(context, builder, signature, arguments):
        sums, shares = _data(context, builder, signature, arguments, 0, 2)
        weight, value, variance = arguments[4:]
        single = ir.FloatType()
        one, squared = (ir.Constant(PIXELS, [0.0] * 8) for _ in range(2))
        for k in (0, 4):
            one = builder.insert_element(one, value, INDEX(k))
            one = builder.insert_element(one, single(1), INDEX(k + 1))
            squared = builder.insert_element(squared, variance, INDEX(k + 2))
        share = builder.load(_at(builder, shares, arguments[3], ir.VectorType(single, 4)), align=4)
        part = builder.fmul(share, _to_all(builder, weight, 4))
        for k in (0, 2):
            parts = builder.shuffle_vector(part, part, _mask([k] * 4 + [k + 1] * 4))
            more = builder.fmul(parts, builder.fadd(one, builder.fmul(parts, squared)))
            there = _at(builder, sums, builder.add(arguments[1], arguments[1].type(4 * k)), PIXELS)
            builder.store(builder.fadd(builder.load(there, align=4), more), there, align=4)
        return context.get_dummy_value()

    index, number = types.intp, types.float32
    return types.void(sums, index, shares, index, number, number, number), codegen
