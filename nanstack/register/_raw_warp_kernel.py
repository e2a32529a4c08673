# SPDX-License-Identifier: GPL-3.0-or-later
"""`nanstack.register.raw_warp.fill_from_mosaic`, compiled: for runs of neighbouring pixels, as `_warp_kernel`.

The 8 x 8 photosites around a coordinate (12 x 12 for Lanczos) are four lattices: every other row, every other column.
So rows are summed up as vectors, the even and the odd ones apart, and the sums' even and odd columns after that.
"""

from __future__ import annotations

import functools
import math

import numpy as np
from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic

from nanstack import compilation
from nanstack.register._warp_kernel import CONTRACT, _between_nodes, _lanczos3, helper, keep_tap, sum_of, without_ring
from nanstack.register.mesh import Mesh
from nanstack.register.rings import BRIGHTER


def _keys_polynomials() -> np.ndarray:
    """Return the weights of the photosites -3 ... 4 as cubic polynomials of what a coordinate is beyond a whole one."""
    t = np.polynomial.Polynomial([0, 0.5])
    weights = []
    for place in range(-3, 5):
        distance = (t - place / 2) * (1 if place <= 0 else -1)
        near = abs(place - 0.5) < 2
        far_weight = ((-0.5 * distance + 2.5) * distance - 4) * distance + 2
        weights.append(((1.5 * distance - 2.5) * distance**2 + 1 if near else far_weight).coef)
    return np.array(weights).T.copy()


RUN_PX = 160  # columns at a time: what is known of them stays in the cache, and a cell's row is two runs
OUTSIDE, NEAR_EDGE, INSIDE = 0, 1, 2
POLYNOMIALS = _keys_polynomials()
FLOATS, DOUBLES, INDEXES = ir.FloatType(), ir.DoubleType(), ir.IntType(32)


def _lanes(numbers):
    """Return the constant that a shuffle takes lanes by."""
    return ir.Constant(ir.VectorType(INDEXES, len(numbers)), list(numbers))


def _to_all(builder, number, count):
    """Return a vector of one number."""
    one = builder.insert_element(ir.Constant(ir.VectorType(number.type, count), ir.Undefined), number, INDEXES(0))
    return builder.shuffle_vector(one, one, _lanes([0] * count))


def _multiply_add(builder, one, other, total):
    return builder.fadd(builder.fmul(one, other, flags=CONTRACT), total, flags=CONTRACT)


def _at(builder, data, index, kind):
    """Return where a vector stands in an array's data."""
    return builder.bitcast(builder.gep(data, [index]), kind.as_pointer())


@intrinsic
def _weigh_by_keys(typing_context, beyond, weights, px):
    """Fill in what the eight photosites along an axis weigh: one polynomial each, side by side in a vector."""

    def codegen(context, builder, signature, arguments):
        vector = ir.VectorType(FLOATS, 8)
        data = context.make_array(signature.args[1])(context, builder, arguments[1]).data
        variable = _to_all(builder, builder.fptrunc(arguments[0], FLOATS), 8)
        value = ir.Constant(vector, POLYNOMIALS[3].tolist())
        for power in (2, 1, 0):
            value = _multiply_add(builder, value, variable, ir.Constant(vector, POLYNOMIALS[power].tolist()))
        builder.store(value, _at(builder, data, builder.mul(arguments[2], arguments[2].type(8)), vector), align=4)
        return context.get_dummy_value()

    return types.void(types.float64, weights, types.intp), codegen


@helper
def _weigh_by_lanczos(beyond, weights, px, scratch):
    """Fill in what the twelve photosites along an axis weigh, those of its two lattices by turns."""
    for lattice in range(2):
        _lanczos3((beyond + 1 - lattice) / 2, scratch, 0)
        for k in range(6):
            weights[px, 2 * k + lattice] = scratch[k, 0]


@helper
def _weigh_by_tent(beyond, weights):
    """Fill in a tent's weights, at the middle four of the photosites along an axis."""
    middle = len(weights) // 2
    weights[:] = 0.0
    for k in range(4):
        weights[middle - 2 + k] = 1.0 - abs(beyond + 1 - k) / 2


@helper
def _place(xs, ys, first_row, first_column, shape, taps, lefts, aboves, states, phases):
    """Turn a run's coordinates in the frame into the photosites of the window just before them, and what is beyond.

    Return the first and the last pixel, and one, between which all lie that are on the frame.
    """
    height, width = shape
    for px in range(len(xs)):
        x, y = xs[px], ys[px]
        on_frame = (x >= first_column) & (x <= first_column + width - 1)
        on_frame = on_frame & (y >= first_row) & (y <= first_row + height - 1)
        x = x if on_frame else np.float64(first_column)
        y = y if on_frame else np.float64(first_row)
        column, row = np.floor(x), np.floor(y)
        xs[px], ys[px] = x - column, y - row
        lefts[px], aboves[px], states[px] = np.int32(column), np.int32(row), np.int32(on_frame)
    first_inside = np.int32(taps - 1)
    last_left, last_above = np.int32(width - taps), np.int32(height - taps)
    for px in range(len(xs)):
        left, above = lefts[px], aboves[px]
        phases[px] = np.int32(2) * (~above & np.int32(1)) + (~left & np.int32(1))
        left, above = np.int32(left - np.int32(first_column)), np.int32(above - np.int32(first_row))
        inside = (left >= first_inside) & (left < last_left) & (above >= first_inside) & (above < last_above)
        states[px] += np.int32(inside & (states[px] > 0))
        lefts[px], aboves[px] = left, above
    first, last = 0, len(xs)
    while first < last and states[first] == OUTSIDE:
        first += 1
    while first < last and states[last - 1] == OUTSIDE:
        last -= 1
    return first, last


@intrinsic
def _sample_inside(typing_context, photosites, corner, pitch, weights_x, weights_y, px, totals, taps_of):
    """Sum over all photosites, each lattice for itself: first down the rows, then along them.

    Return the lattices where a ring may be, a bit each: see `nanstack.register.rings.summed`.
    """
    taps = len(taps_of)
    span = 2 * taps
    samples = ir.VectorType(FLOATS, span)

    def codegen(context, builder, signature, arguments):
        photosites_at, x_at, y_at, totals_at = (
            context.make_array(signature.args[k])(context, builder, arguments[k]).data for k in (0, 3, 4, 6)
        )
        corner, pitch, pixel = arguments[1], arguments[2], arguments[5]
        first_weight = builder.mul(pixel, pixel.type(span))
        along = builder.load(_at(builder, x_at, first_weight, samples), align=4)
        lower, higher = functools.partial(_outermost, builder, "<"), functools.partial(_outermost, builder, ">")
        sums, highs, brightest, darkest = [], [], [], []
        for lattice in range(2):
            total, rows = ir.Constant(samples, [0.0] * span), []
            for tap in range(lattice, span, 2):
                place = builder.add(corner, builder.mul(pitch, pitch.type(tap)))
                row = builder.load(_at(builder, photosites_at, place, samples), align=4)
                weight = builder.load(builder.gep(y_at, [builder.add(first_weight, first_weight.type(tap))]))
                total = _multiply_add(builder, _to_all(builder, weight, span), row, total)
                rows.append(row)
            sums.append(builder.fmul(total, along))
            nearest = rows[taps // 2 - 1], rows[taps // 2]
            brightest.append(higher(*nearest))
            darkest.append(lower(*nearest))
            highs.append(functools.reduce(higher, rows[: taps // 2 - 1] + rows[taps // 2 + 1 :], brightest[-1]))
        total = _of_lattices(builder, sums, builder.fadd)
        nothing = builder.fsub(total, total)  # NaN, where a photosite is infinite
        brightest, darkest = _of_nearest(builder, brightest, higher), _of_nearest(builder, darkest, lower)
        total = builder.fadd(higher(total, darkest), nothing)
        builder.store(total, _at(builder, totals_at, pixel.type(0), total.type), align=4)
        bound = builder.fmul(builder.fsub(brightest, darkest), ir.Constant(total.type, [BRIGHTER] * 4))
        beyond = builder.fsub(_of_lattices(builder, highs, higher), brightest)
        return builder.zext(builder.bitcast(builder.fcmp_ordered(">", beyond, bound), ir.IntType(4)), INDEXES)

    index = types.intp
    return types.int32(photosites, index, index, weights_x, weights_y, index, totals, taps_of), codegen


def _outermost(builder, order, one, other):
    return builder.select(builder.fcmp_ordered(order, one, other), one, other)


def _of_nearest(builder, rows, join):
    """Join the nearest columns of what is left of the nearest even and odd rows: one number a lattice."""
    middle = rows[0].type.count // 2 - 2
    fours = (builder.shuffle_vector(row, row, _lanes(range(middle, middle + 4))) for row in rows)
    return _join_columns(builder, *fours, join)


def _of_lattices(builder, rows, join):
    """Join what is left of the even and of the odd rows: one number a lattice."""
    return _join_columns(builder, *(_in_fours(builder, row, join) for row in rows), join)


def _join_columns(builder, even, odd, join):
    """Join the even columns of four, and the odd ones, of the even rows and of the odd ones: one number a lattice."""
    halves = [[0, 1, 4, 5], [2, 3, 6, 7]]
    return join(*(builder.shuffle_vector(even, odd, _lanes(half)) for half in halves))


def _in_fours(builder, vector, join):
    """Join a vector's fours of lanes: even and odd columns stay apart."""
    parts = [builder.shuffle_vector(vector, vector, _lanes(range(k, k + 4))) for k in range(0, vector.type.count, 4)]
    for part in parts[1:]:
        parts[0] = join(parts[0], part)
    return parts[0]


@intrinsic
def _colour(typing_context, totals, evened, px, mixing, phase, base, slope, bend, column, out, at):
    """Write a pixel: the lattices' samples, evened, as the phase mixes them, and the level; one number more behind it.

    A lattice without a sample leaves no colour one: all weigh something in each, or 0, and NaN stays NaN.
    """
    four, wide = ir.VectorType(FLOATS, 4), ir.VectorType(DOUBLES, 4)

    def codegen(context, builder, signature, arguments):
        totals_at, evened_at, mixing_at, *level_at, out_at = (
            context.make_array(signature.args[k])(context, builder, arguments[k]).data for k in (0, 1, 3, 5, 6, 7, 9)
        )
        nowhere = arguments[10].type(0)
        base, slope, bend = (builder.load(_at(builder, data, nowhere, wide), align=8) for data in level_at)
        column = _to_all(builder, builder.sitofp(arguments[8], DOUBLES), 4)
        slope = _multiply_add(builder, bend, column, slope)
        colours = builder.fptrunc(_multiply_add(builder, slope, column, base), four)
        totals = builder.load(_at(builder, totals_at, nowhere, four), align=4)
        evened = _to_all(builder, builder.load(builder.gep(evened_at, [arguments[2]])), 4)
        totals = builder.fmul(totals, evened)
        first = builder.mul(arguments[4], arguments[4].type(16))
        for lattice in range(4):
            place = builder.add(first, first.type(4 * lattice))
            share = builder.load(_at(builder, mixing_at, place, four), align=4)
            sample = builder.shuffle_vector(totals, totals, _lanes([lattice] * 4))
            colours = _multiply_add(builder, share, sample, colours)
        builder.store(colours, _at(builder, out_at, arguments[10], four), align=4)
        return context.get_dummy_value()

    index = types.intp
    return types.void(totals, evened, index, mixing, index, base, slope, bend, index, out, index), codegen


@helper
def _gather(window, left, above, weights_x, weights_y, lattice, weights, values):
    """Gather a lattice's photosites. Return how many, and how many nearest ones; none if one that weighs is missing."""
    height, width = window.shape
    span = len(weights_x)
    before = 1 - span // 2
    count, inner = 0, 0
    for i in range(lattice // 2, span, 2):
        for j in range(lattice % 2, span, 2):
            weight = np.float64(weights_y[i]) * np.float64(weights_x[j])
            row, column = above + before + i, left + before + j
            there = row >= 0 and row < height and column >= 0 and column < width
            if not (there and math.isfinite(window[row, column])):
                if weight != 0.0:
                    return 0, 0
                continue
            nearest = -1 <= before + i <= 2 and -1 <= before + j <= 2
            inner = keep_tap(weight, np.float64(window[row, column]), nearest, count, inner, weights, values)
            count += 1
    return count, inner


@helper
def _sample_of_lattice(window, left, above, weights_x, weights_y, lattice, taps):
    """Return a lattice's sample: NaN where a photosite that weighs anything is not there."""
    weights, values = taps
    count, inner = _gather(window, left, above, weights_x, weights_y, lattice, weights, values)
    return np.float32(without_ring(sum_of(weights[:count], values[:count]), weights, values[:count], inner))


@helper
def _mend_rings(window, left, above, weights_x, weights_y, lattices, taps, totals):
    """Make the sums of lattices, a bit each, anew: those not within the mean and the most of the nearest photosites."""
    for lattice in range(4):
        if lattices >> lattice & 1:
            mean, weight, brightest = 0.0, 0.0, -np.inf
            for i in (0, 2):
                down = len(weights_y) // 2 - 2 + lattice // 2 + i
                for j in (0, 2):
                    along = len(weights_x) // 2 - 2 + lattice % 2 + j
                    share = np.float64(weights_y[down]) * np.float64(weights_x[along])
                    value = window[above + down + 1 - len(weights_y) // 2, left + along + 1 - len(weights_x) // 2]
                    mean += share * value
                    weight += share
                    brightest = max(brightest, value)
            if mean > totals[lattice] * weight or totals[lattice] > brightest:
                totals[lattice] = _sample_of_lattice(window, left, above, weights_x, weights_y, lattice, taps)


@helper
def _sample_with_care(window, left, above, weights_x, weights_y, taps, totals):
    """Sum over the photosites that weigh anything; tell whether all of them are there."""
    for lattice in range(4):
        totals[lattice] = _sample_of_lattice(window, left, above, weights_x, weights_y, lattice, taps)
        if not math.isfinite(totals[lattice]):
            return False
    return True


@helper
def _weigh(beyond, weights, taps_of, scratch):
    """Fill in what the photosites along an axis weigh, for a run of pixels."""
    for px in range(len(beyond)):
        if len(taps_of) == 6:
            _weigh_by_lanczos(beyond[px], weights, px, scratch)
        else:
            _weigh_by_keys(beyond[px], weights, px)


@helper
def _sample(photosites, window, places, weights, level, column, taps_of, colours):
    """Fill in the colours of a run of pixels, the first of them at a column of the result."""
    xs, ys, lefts, aboves, states, phases = places
    weights_x, weights_y, totals, used = weights
    evened, mixing, base, slope, bend = level
    taps, columns = len(taps_of), window.shape[1]
    for px in range(len(xs)):
        if states[px] == INSIDE:
            corner = (aboves[px] + 1 - taps) * columns + lefts[px] + 1 - taps
            ring = _sample_inside(photosites, corner, columns, weights_x, weights_y, px, totals, taps_of)
            if ring:
                _mend_rings(window, lefts[px], aboves[px], weights_x[px], weights_y[px], ring, used, totals)
        else:
            totals[:] = np.float32(np.nan)
        _colour(totals, evened, px, mixing, phases[px], base, slope, bend, column + px, colours, 3 * px)


@helper
def _sample_what_is_left(window, places, weights, tents, level, column, colours):
    """Fill in the colours of those that are on the frame and have none: NaN where they cannot be made."""
    xs, ys, lefts, aboves, states, phases = places
    weights_x, weights_y, totals, used = weights
    tent_x, tent_y = tents
    evened, mixing, base, slope, bend = level
    for px in range(len(xs)):
        if math.isfinite(colours[3 * px]) or states[px] == OUTSIDE:
            continue
        left, above = lefts[px], aboves[px]
        made = _sample_with_care(window, left, above, weights_x[px], weights_y[px], used, totals)
        if not made:
            _weigh_by_tent(xs[px], tent_x)
            _weigh_by_tent(ys[px], tent_y)
            made = _sample_with_care(window, left, above, tent_x, tent_y, used, totals)
        if made:
            behind = colours[3 * px + 3]
            _colour(totals, evened, px, mixing, phases[px], base, slope, bend, column + px, colours, 3 * px)
            colours[3 * px + 3] = behind


@helper
def _even(flat, row, column, evened):
    """Fill in what a run of pixels is multiplied by, the first of them at a row and a column of the result."""
    offset, per_column, per_row, across, mixed, down = flat[0], flat[1], flat[2], flat[3], flat[4], flat[5]
    offset, per_column = offset + (per_row + down * row) * row, per_column + mixed * row
    for px in range(len(evened)):
        place = np.float64(column + px)
        evened[px] = np.float32(offset + (per_column + across * place) * place)


@helper
def _fill_run(window, photosites, corner, nodes, at, levelling, taps_of, work, out):
    """Fill in a run of pixels, which begins at a row and a column of the result."""
    x, y, step = nodes
    places, weights, tents, scratch, evened, base, slope, colours = work
    xs, ys, lefts, aboves, states, phases = places
    row, column, row_of_nodes, column_of_nodes = at
    _between_nodes(x, step, row_of_nodes, column_of_nodes, xs)
    _between_nodes(y, step, row_of_nodes, column_of_nodes, ys)
    first, last = _place(xs, ys, corner[0], corner[1], window.shape, len(taps_of), lefts, aboves, states, phases)
    out[: 3 * first] = np.float32(np.nan)
    out[3 * last :] = np.float32(np.nan)
    if first == last:
        return
    run = slice(first, last)
    on_frame = xs[run], ys[run], lefts[run], aboves[run], states[run], phases[run]
    _weigh(xs[run], weights[0], taps_of, scratch)
    _weigh(ys[run], weights[1], taps_of, scratch)
    flat, mixing, offset, per_column, per_row, bend, mixed, down = levelling
    _even(flat, row, column + first, evened[run])
    for lane in range(4):
        base[lane] = offset[lane] + (per_row[lane] + down[lane] * row) * row
        slope[lane] = per_column[lane] + mixed[lane] * row
    level = evened[run], mixing, base, slope, bend
    _sample(photosites, window, on_frame, weights, level, column + first, taps_of, colours)
    _sample_what_is_left(window, on_frame, weights, tents, level, column + first, colours)
    shown = out[3 * first : 3 * last]
    for number in range(len(shown)):
        shown[number] = colours[number]


@helper
def _fill_rows(window, photosites, corner, nodes, box, levelling, taps_of, work, out, begin, pitch):
    """Fill in run below run, so that rows of the frame that a turned run needs stay in the cache."""
    top, left, height, width = box
    step = nodes[2]
    runs = -(-width // RUN_PX)
    (xs, ys, lefts, aboves, states, phases), weights, tents, scratch, evened, base, slope, colours = work
    for number in range(runs):
        start, stop = number * width // runs, (number + 1) * width // runs
        own = slice(0, stop - start)
        places = xs[own], ys[own], lefts[own], aboves[own], states[own], phases[own]
        for row in range(height):
            place = begin + row * pitch + start
            at = top + row, left + start, top % step + row, left % step + start
            part = out[3 * place : 3 * (place + stop - start)]
            work_of_run = places, weights, tents, scratch, evened, base, slope, colours
            _fill_run(window, photosites, corner, nodes, at, levelling, taps_of, work_of_run, part)


@compilation.compiled(error_model="numpy")
def _fill_from_mosaic(window, corner, nodes, box, levelling, taps_of, out, begin, pitch):
    span = 2 * len(taps_of)
    places = (
        np.empty(RUN_PX), np.empty(RUN_PX), np.empty(RUN_PX, np.int32), np.empty(RUN_PX, np.int32),
        np.empty(RUN_PX, np.int32), np.empty(RUN_PX, np.int32),
    )  # fmt: skip
    weights = (
        np.empty((RUN_PX, span), np.float32), np.empty((RUN_PX, span), np.float32), np.empty(4, np.float32),
        (np.empty((span // 2) ** 2), np.empty((span // 2) ** 2)),
    )  # fmt: skip
    tents = np.empty(span, np.float32), np.empty(span, np.float32)
    level = np.empty(4), np.empty(4)
    scratch, evened, colours = (
        np.empty((span // 2, 1)),
        np.empty(RUN_PX, np.float32),
        np.empty(3 * RUN_PX + 1, np.float32),
    )
    work = places, weights, tents, scratch, evened, *level, colours
    photosites = window.reshape(window.size)
    _fill_rows(window, photosites, corner, nodes, box, levelling, taps_of, work, out, begin, pitch)


@functools.cache
def _mixing(places: tuple[int, int, int, int]) -> np.ndarray:
    """Return what each lattice adds to each colour, (4, 4, 4): by the first photosite's place, lattice, colour.

    The lattices stand in the order of their photosites before a coordinate, whose places in the pattern that tells.
    """
    phases = np.arange(4)
    mixing = np.zeros((4, 4, 4))
    for place, colour, share in zip(places, (0, 1, 1, 2), (1.0, 0.5, 0.5, 1.0), strict=True):
        mixing[phases, place ^ phases, colour] = share
    return mixing


def fill_from_mosaic(
    window: np.ndarray,
    mesh: Mesh,
    out: np.ndarray,
    *,
    corner: tuple[int, int],
    places: tuple[int, int, int, int],
    taps: int,
    levelling: np.ndarray,
    flat: np.ndarray,
) -> None:
    """Do what `nanstack.register.raw_warp.fill_from_mosaic` defines; samples are summed up in single precision."""
    compilation.announce(_fill_from_mosaic, "stack")
    nodes = (np.ascontiguousarray(v, dtype=np.float64) for v in (mesh.x, mesh.y))
    window = np.ascontiguousarray(window, dtype=np.float32).view()
    window.flags.writeable = False  # one type of array, so one compilation
    (top, _, left, _), width = mesh.box, out.shape[1]
    begin = (top - mesh.part.top) * width + left - mesh.part.left
    four = np.zeros((7, 4))  # colours, and one that is nothing: vectors have four
    four[:, :3] = levelling
    mixing = (_mixing(places) * four[0]).astype(np.float32).ravel()
    _fill_from_mosaic(
        window, corner, (*nodes, mesh.step), (top, left, *mesh.box.shape),
        (flat, mixing, *four[1:]), (0,) * taps, out.reshape(-1), begin, width,
    )  # fmt: skip
