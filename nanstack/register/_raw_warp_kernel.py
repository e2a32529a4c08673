# SPDX-License-Identifier: GPL-3.0-or-later
"""`nanstack.register.raw_warp.fill_from_mosaic`, compiled: for runs of neighbouring pixels, as `_warp_kernel`.

The 8 x 8 photosites around a coordinate (12 x 12 for Lanczos) are four lattices: every other row, every other column.
So rows are summed up as vectors, the even and the odd ones apart, and the sums' even and odd columns after that.
"""

from __future__ import annotations

import math

import numba
import numpy as np
from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic

from nanstack import compilation
from nanstack.register._warp_kernel import CONTRACT, HELPER, _between_nodes, _lanczos3, helper
from nanstack.register.mesh import Mesh


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


@intrinsic
def _weigh_by_keys(typing_context, beyond, weights, px):
    """Fill in what the eight photosites along an axis weigh: one polynomial each, side by side in a vector."""

    def codegen(context, builder, signature, arguments):
        vector = ir.VectorType(ir.DoubleType(), 8)
        data = context.make_array(signature.args[1])(context, builder, arguments[1]).data
        one = builder.insert_element(ir.Constant(vector, ir.Undefined), arguments[0], ir.IntType(32)(0))
        to_all = ir.Constant(ir.VectorType(ir.IntType(32), 8), [0] * 8)
        variable = builder.shuffle_vector(one, one, to_all)
        value = ir.Constant(vector, POLYNOMIALS[3].tolist())
        for power in (2, 1, 0):
            product = builder.fmul(value, variable, flags=CONTRACT)
            value = builder.fadd(product, ir.Constant(vector, POLYNOMIALS[power].tolist()), flags=CONTRACT)
        place = builder.gep(data, [builder.mul(arguments[2], arguments[2].type(8))])
        builder.store(value, builder.bitcast(place, vector.as_pointer()), align=8)
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
        x, y = (x, y) if on_frame else (np.float64(first_column), np.float64(first_row))
        column, row = math.floor(x), math.floor(y)
        xs[px], ys[px] = x - column, y - row
        left, above = int(column), int(row)
        phases[px] = 2 * (~above & 1) + (~left & 1)
        left, above = left - first_column, above - first_row
        inside = (left >= taps - 1) & (left < width - taps) & (above >= taps - 1) & (above < height - taps)
        lefts[px], aboves[px] = left, above
        states[px] = int(on_frame) + int(on_frame & inside)
    first, last = 0, len(xs)
    while first < last and states[first] == OUTSIDE:
        first += 1
    while first < last and states[last - 1] == OUTSIDE:
        last -= 1
    return first, last


@intrinsic
def _sample_inside(typing_context, flat, corner, pitch, weights_x, weights_y, px, beyond_x, beyond_y, totals, taps_of):
    """Sum over all photosites, each lattice for itself: first down the rows, then along them.

    A lattice whose photosites stand on the coordinate along an axis has one there that counts: for its other rows that
    one is read again, its other columns are kept out of the least.
    """
    taps = len(taps_of)
    span = 2 * taps

    def codegen(context, builder, signature, arguments):
        flat_at, x_at, y_at, totals_at = (
            context.make_array(signature.args[k])(context, builder, arguments[k]).data for k in (0, 3, 4, 8)
        )
        corner_at, pitch_of, pixel = arguments[1], arguments[2], arguments[5]
        samples, sums = ir.VectorType(ir.FloatType(), span), ir.VectorType(ir.DoubleType(), span)
        four_sums = ir.VectorType(ir.DoubleType(), 4)
        first_weight = builder.mul(pixel, pixel.type(span))

        def lanes(numbers):
            return ir.Constant(ir.VectorType(ir.IntType(32), len(numbers)), list(numbers))

        def loaded(data, at, kind, align):
            return builder.load(builder.bitcast(builder.gep(data, [at]), kind.as_pointer()), align=align)

        def add_weighted(total, values, tap):
            number = builder.load(builder.gep(y_at, [builder.add(first_weight, pixel.type(tap))]))
            one = builder.insert_element(ir.Constant(sums, ir.Undefined), number, ir.IntType(32)(0))
            weight = builder.shuffle_vector(one, one, lanes([0] * span))
            return builder.fadd(builder.fmul(weight, values, flags=CONTRACT), total, flags=CONTRACT)

        def lower(one, other):
            return builder.select(builder.fcmp_ordered("<", one, other), one, other)

        def higher(one, other):
            return builder.select(builder.fcmp_ordered(">", one, other), one, other)

        def in_fours(vector, join):
            """Join a vector's fours of lanes: even and odd columns stay apart."""
            parts = [builder.shuffle_vector(vector, vector, lanes(range(k, k + 4))) for k in range(0, span, 4)]
            for part in parts[1:]:
                parts[0] = join(parts[0], part)
            return parts[0]

        def of_lattices(rows, join):
            """Join what is left of the even and of the odd rows: one number a lattice."""
            even, odd = (in_fours(row, join) for row in rows)
            return join(*(builder.shuffle_vector(even, odd, lanes(two)) for two in ([0, 1, 4, 5], [2, 3, 6, 7])))

        on_column, on_row = (builder.fcmp_ordered("==", beyond, beyond.type(0)) for beyond in arguments[6:8])
        odd_first = builder.select(on_row, builder.mul(pitch_of, pitch_of.type(taps - 1)), pitch_of)
        odd_step = builder.select(on_row, pitch_of.type(0), builder.mul(pitch_of, pitch_of.type(2)))
        weights_along = loaded(x_at, first_weight, sums, 8)
        summed, lowest = [], []
        for lattice in range(2):
            down, low = ir.Constant(sums, [0.0] * span), None
            for k in range(taps):
                if lattice == 0:
                    skipped = builder.mul(pitch_of, pitch_of.type(2 * k))
                else:
                    skipped = builder.add(odd_first, builder.mul(odd_step, odd_step.type(k)))
                row = loaded(flat_at, builder.add(corner_at, skipped), samples, 4)
                down = add_weighted(down, builder.fpext(row, sums), 2 * k + lattice)
                low = row if low is None else lower(row, low)
            summed.append(builder.fmul(down, weights_along))
            lowest.append(low)
        others = [math.inf if lane % 2 and lane != taps - 1 else -math.inf for lane in range(span)]
        kept_out = builder.select(on_column, ir.Constant(samples, others), ir.Constant(samples, [-math.inf] * span))
        lowest = [higher(kept_out, low) for low in lowest]
        total = of_lattices(summed, builder.fadd)
        least = builder.fpext(of_lattices(lowest, lower), four_sums)
        nothing = builder.fsub(total, total)  # NaN, where a photosite is infinite, and the total below all others
        total = builder.fadd(builder.select(builder.fcmp_ordered("<", total, least), least, total), nothing)
        place = builder.gep(totals_at, [builder.mul(pixel, pixel.type(4))])
        builder.store(total, builder.bitcast(place, four_sums.as_pointer()), align=8)
        return context.get_dummy_value()

    index = types.intp
    arguments = flat, index, index, weights_x, weights_y, index, types.float64, types.float64, totals, taps_of
    return types.void(*arguments), codegen


@helper
def _sample_with_care(window, left, above, weights_x, weights_y, totals):
    """Sum over the photosites that weigh anything; tell whether all of them are there."""
    height, width = window.shape
    span = len(weights_x)
    before = 1 - span // 2
    for lattice in range(4):
        total, least = 0.0, np.inf
        for i in range(lattice // 2, span, 2):
            if weights_y[i] == 0.0:
                continue
            row = above + before + i
            if row < 0 or row >= height:
                return False
            for j in range(lattice % 2, span, 2):
                if weights_x[j] == 0.0:
                    continue
                column = left + before + j
                if column < 0 or column >= width:
                    return False
                value = np.float64(window[row, column])
                if not math.isfinite(value):
                    return False
                total += weights_y[i] * weights_x[j] * value
                least = min(least, value)
        totals[lattice] = max(total, least)
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
def _sample(flat, window, xs, ys, lefts, aboves, states, weights_x, weights_y, tent_x, tent_y, totals, taps_of):
    """Fill in the four lattices' samples of a run of pixels; NaN where they cannot be made."""
    taps, columns = len(taps_of), window.shape[1]
    for px in range(len(xs)):
        if states[px] == INSIDE:
            corner = (aboves[px] + 1 - taps) * columns + lefts[px] + 1 - taps
            _sample_inside(flat, corner, columns, weights_x, weights_y, px, xs[px], ys[px], totals, taps_of)
        else:
            totals[px] = np.nan
    for px in range(len(xs)):
        some = totals[px, 0] + totals[px, 1] + totals[px, 2] + totals[px, 3]
        if math.isfinite(some) or states[px] == OUTSIDE:
            continue
        at, above = lefts[px], aboves[px]
        if not _sample_with_care(window, at, above, weights_x[px], weights_y[px], totals[px]):
            _weigh_by_tent(xs[px], tent_x)
            _weigh_by_tent(ys[px], tent_y)
            if not _sample_with_care(window, at, above, tent_x, tent_y, totals[px]):
                totals[px] = np.nan


@numba.njit(fastmath={"contract"}, **HELPER)
def _level(totals, phases, places, gain, level, slope, column, out):
    """Fill in a run of pixels, the first of them at a column of the result, with levelled colours."""
    red, green, other_green, blue = places
    for px in range(len(phases)):
        phase = phases[px]
        both = (totals[px, green ^ phase] + totals[px, other_green ^ phase]) / 2
        r = np.float32(gain[0] * totals[px, red ^ phase] + (level[0] + slope[0] * (column + px)))
        g = np.float32(gain[1] * both + (level[1] + slope[1] * (column + px)))
        b = np.float32(gain[2] * totals[px, blue ^ phase] + (level[2] + slope[2] * (column + px)))
        nothing = (r - r) + (g - g) + (b - b)
        pixel = out[3 * px : 3 * px + 3]
        pixel[0] = r if nothing == 0 else np.float32(np.nan)
        pixel[1] = g if nothing == 0 else np.float32(np.nan)
        pixel[2] = b if nothing == 0 else np.float32(np.nan)


@helper
def _three(values):
    return values[0], values[1], values[2]


@helper
def _fill_run(window, flat, corner, places, nodes, at, levelling, taps_of, work, out):
    """Fill in a run of pixels, which begins at a row and a column of the result."""
    x, y, step = nodes
    xs, ys, states, phases, lefts, aboves, weights_x, weights_y, tent_x, tent_y, scratch, totals = work
    row, column, row_of_nodes, column_of_nodes = at
    _between_nodes(x, step, row_of_nodes, column_of_nodes, xs)
    _between_nodes(y, step, row_of_nodes, column_of_nodes, ys)
    first, last = _place(xs, ys, corner[0], corner[1], window.shape, len(taps_of), lefts, aboves, states, phases)
    out[: 3 * first] = np.nan
    out[3 * last :] = np.nan
    if first == last:
        return
    run = slice(first, last)
    _weigh(xs[run], weights_x, taps_of, scratch)
    _weigh(ys[run], weights_y, taps_of, scratch)
    _sample(
        flat, window, xs[run], ys[run], lefts[run], aboves[run], states[run], weights_x, weights_y,
        tent_x, tent_y, totals, taps_of,
    )  # fmt: skip
    gain, slope = _three(levelling[0]), _three(levelling[2])
    offset, per_row = _three(levelling[1]), _three(levelling[3])
    level = offset[0] + per_row[0] * row, offset[1] + per_row[1] * row, offset[2] + per_row[2] * row
    _level(totals, phases[run], places, gain, level, slope, column + first, out[3 * first : 3 * last])


@helper
def _fill_rows(window, flat, corner, places, nodes, box, levelling, taps_of, works, out, begin, pitch):
    """Fill in run below run, so that rows of the frame that a turned run needs stay in the cache."""
    top, left, height, width = box
    step = nodes[2]
    runs = -(-width // RUN_PX)
    xs, ys, states, phases, lefts, aboves, weights_x, weights_y, tent_x, tent_y, scratch, totals = works
    for number in range(runs):
        start, stop = number * width // runs, (number + 1) * width // runs
        own = slice(0, stop - start)
        work = (
            xs[own], ys[own], states[own], phases[own], lefts[own], aboves[own], weights_x, weights_y,
            tent_x, tent_y, scratch, totals,
        )  # fmt: skip
        for row in range(height):
            place = begin + row * pitch + start
            at = top + row, left + start, top % step + row, left % step + start
            part = out[3 * place : 3 * (place + stop - start)]
            _fill_run(window, flat, corner, places, nodes, at, levelling, taps_of, work, part)


@compilation.compiled(error_model="numpy")
def _fill_from_mosaic(window, corner, places, nodes, box, levelling, taps_of, out, begin, pitch):
    taps = len(taps_of)
    works = (
        np.empty(RUN_PX), np.empty(RUN_PX), np.empty(RUN_PX, np.int64), np.empty(RUN_PX, np.uint64),
        np.empty(RUN_PX, np.int64), np.empty(RUN_PX, np.int64), np.empty((RUN_PX, 2 * taps)),
        np.empty((RUN_PX, 2 * taps)), np.empty(2 * taps), np.empty(2 * taps),
        np.empty((taps, 1)), np.empty((RUN_PX, 4)),
    )  # fmt: skip
    flat = window.reshape(window.size)
    places = np.uint64(places[0]), np.uint64(places[1]), np.uint64(places[2]), np.uint64(places[3])
    _fill_rows(window, flat, corner, places, nodes, box, levelling, taps_of, works, out, begin, pitch)


def fill_from_mosaic(
    window: np.ndarray,
    corner: tuple[int, int],
    places: tuple[int, int, int, int],
    mesh: Mesh,
    taps: int,
    levelling: np.ndarray,
    out: np.ndarray,
) -> None:
    """Do what `nanstack.register.raw_warp.fill_from_mosaic` defines."""
    compilation.announce(_fill_from_mosaic, "stack")
    nodes = (np.ascontiguousarray(v, dtype=np.float64) for v in (mesh.x, mesh.y))
    window = np.ascontiguousarray(window, dtype=np.float32).view()
    window.flags.writeable = False  # one type of array, so one compilation
    (top, _, left, _), width = mesh.box, out.shape[1]
    begin = (top - mesh.part.top) * width + left - mesh.part.left
    _fill_from_mosaic(
        window, corner, places, (*nodes, mesh.step), (top, left, *mesh.box.shape), levelling, (0,) * taps,
        out.reshape(-1), begin, width,
    )  # fmt: skip
