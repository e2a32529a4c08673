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
from nanstack.register._warp_kernel import CONTRACT, RUN_PX, _between_nodes, _lanczos3
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


OUTSIDE, NEAR_EDGE, INSIDE = 0, 1, 2
CONSTANT, LINEAR, SQUARE, CUBE = _keys_polynomials()


@numba.njit(nogil=True)
def _weigh(beyond, weights, px, scratch):
    """Fill in what the photosites along an axis weigh, those of its two lattices by turns."""
    span = weights.shape[1]
    for lattice in range(2):
        _lanczos3((beyond + 1 - lattice) / 2, scratch, 0)
        for k in range(span // 2):
            weights[px, 2 * k + lattice] = scratch[k, 0]


@numba.njit(nogil=True)
def _weigh_tent(beyond, weights):
    """Fill in a tent's weights, at the middle four of the photosites along an axis."""
    middle = weights.shape[1] // 2
    weights[0, :] = 0.0
    for k in range(4):
        weights[0, middle - 2 + k] = 1.0 - abs(beyond + 1 - k) / 2


@numba.njit(nogil=True)
def _place(xs, ys, window, taps_of, lefts, aboves, weights_x, weights_y, states, scratch):
    """Fill in, for a run of pixels at the coordinates xs, ys, where their photosites are and what they weigh."""
    taps = len(taps_of)
    top, left, bottom, right = window
    for px in range(len(xs)):
        x, y = xs[px], ys[px]
        on_frame = (x >= left) & (x <= right - 1) & (y >= top) & (y <= bottom - 1)
        x, y = math.floor(x if on_frame else left), math.floor(y if on_frame else top)
        lefts[px], aboves[px] = int(x), int(y)
        inside = (x >= left + taps - 1) & (x < right - taps) & (y >= top + taps - 1) & (y < bottom - taps)
        states[px] = (INSIDE if inside else NEAR_EDGE) if on_frame else OUTSIDE
    for px in range(len(xs)):
        beyond, down = xs[px] - lefts[px], ys[px] - aboves[px]
        if taps == 6:
            if states[px] != OUTSIDE:
                _weigh(beyond, weights_x, px, scratch)
                _weigh(down, weights_y, px, scratch)
        else:
            for k in range(8):
                weights_x[px, k] = ((CUBE[k] * beyond + SQUARE[k]) * beyond + LINEAR[k]) * beyond + CONSTANT[k]
            for k in range(8):
                weights_y[px, k] = ((CUBE[k] * down + SQUARE[k]) * down + LINEAR[k]) * down + CONSTANT[k]


@intrinsic
def _sample_inside(typing_context, flat, corner, pitch, weights_x, weights_y, px, on_column, on_row, totals, taps_of):
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

        on_row_of, on_column_of = (
            builder.icmp_signed("!=", flag, flag.type(0)) for flag in (arguments[7], arguments[6])
        )
        odd_first = builder.select(on_row_of, builder.mul(pitch_of, pitch_of.type(taps - 1)), pitch_of)
        odd_step = builder.select(on_row_of, pitch_of.type(0), builder.mul(pitch_of, pitch_of.type(2)))
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
        kept_out = builder.select(on_column_of, ir.Constant(samples, others), ir.Constant(samples, [-math.inf] * span))
        lowest = [higher(kept_out, low) for low in lowest]
        total = of_lattices(summed, builder.fadd)
        least = builder.fpext(of_lattices(lowest, lower), four_sums)
        nothing = builder.fsub(total, total)  # NaN, where a photosite is infinite, and the total below all others
        total = builder.fadd(builder.select(builder.fcmp_ordered("<", total, least), least, total), nothing)
        builder.store(total, builder.bitcast(totals_at, four_sums.as_pointer()), align=8)
        return context.get_dummy_value()

    index = types.intp
    arguments = flat, index, index, weights_x, weights_y, index, index, index, totals, taps_of
    return types.void(*arguments), codegen


@numba.njit(nogil=True)
def _sample_with_care(window, left, above, weights_x, weights_y, px, totals):
    """Sum over the photosites that weigh anything; tell whether all of them are there."""
    height, width = window.shape
    span = weights_x.shape[1]
    before = 1 - span // 2
    for lattice in range(4):
        total, least = 0.0, np.inf
        for i in range(lattice // 2, span, 2):
            if weights_y[px, i] == 0.0:
                continue
            row = above + before + i
            if row < 0 or row >= height:
                return False
            for j in range(lattice % 2, span, 2):
                if weights_x[px, j] == 0.0:
                    continue
                column = left + before + j
                if column < 0 or column >= width:
                    return False
                value = np.float64(window[row, column])
                if not math.isfinite(value):
                    return False
                total += weights_y[px, i] * weights_x[px, j] * value
                least = min(least, value)
        totals[lattice] = max(total, least)
    return True


# contracting a * b + c to one rounding is the only liberty taken: NaN and infinity keep their meaning
@compilation.compiled(fastmath={"contract"})
def _fill_from_mosaic(
    window, first_row, first_column, places, x, y, step, top, left, height, width, levelling, taps_of, out, begin, pitch
):
    flat, span = window.reshape(window.size), 2 * len(taps_of)
    xs, ys = np.empty(RUN_PX), np.empty(RUN_PX)
    lefts, aboves, states = np.empty(RUN_PX, np.int64), np.empty(RUN_PX, np.int64), np.empty(RUN_PX, np.uint8)
    weights_x, weights_y, scratch = np.empty((RUN_PX, span)), np.empty((RUN_PX, span)), np.empty((len(taps_of), 1))
    tent_x, tent_y, totals = np.empty((1, span)), np.empty((1, span)), np.empty(4)
    red, green, other_green, blue = places
    rows, columns = window.shape
    box = first_row, first_column, first_row + rows, first_column + columns
    before = 1 - len(taps_of)
    for start in range(0, width, RUN_PX):
        length = min(RUN_PX, width - start)
        for row in range(height):
            _between_nodes(x, step, top % step + row, left % step + start, xs[:length])
            _between_nodes(y, step, top % step + row, left % step + start, ys[:length])
            _place(xs[:length], ys[:length], box, taps_of, lefts, aboves, weights_x, weights_y, states, scratch)
            for px in range(length):
                at, above = lefts[px], aboves[px]
                place = 3 * (begin + row * pitch + start + px)
                complete = False
                if states[px] == INSIDE:
                    on_column, on_row = int(xs[px] == at), int(ys[px] == above)
                    first = (above - first_row + before) * columns + at - first_column + before
                    _sample_inside(flat, first, columns, weights_x, weights_y, px, on_column, on_row, totals, taps_of)
                    complete = math.isfinite(totals[0] + totals[1] + totals[2] + totals[3])
                if not complete and states[px] != OUTSIDE:
                    down, right = above - first_row, at - first_column
                    complete = _sample_with_care(window, right, down, weights_x, weights_y, px, totals)
                    if not complete:
                        _weigh_tent(xs[px] - at, tent_x)
                        _weigh_tent(ys[px] - above, tent_y)
                        complete = _sample_with_care(window, right, down, tent_x, tent_y, 0, totals)
                if complete:
                    begins = 2 * ((above + 1) % 2) + (at + 1) % 2
                    samples = (
                        totals[red ^ begins],
                        (totals[green ^ begins] + totals[other_green ^ begins]) / 2,
                        totals[blue ^ begins],
                    )
                    for c in range(3):
                        level = levelling[1, c] + levelling[3, c] * (top + row) + levelling[2, c] * (left + start + px)
                        out[place + c] = np.float32(levelling[0, c] * samples[c] + level)
                        complete = complete and math.isfinite(out[place + c])
                if not complete:
                    out[place : place + 3] = np.nan


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
        window, *corner, places, *nodes, mesh.step, top, left, *mesh.box.shape, levelling, (0,) * taps,
        out.reshape(-1), begin, width,
    )  # fmt: skip
