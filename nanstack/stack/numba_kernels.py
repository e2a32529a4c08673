# SPDX-License-Identifier: GPL-3.0-or-later
"""The stack of a block of pixels, compiled: what `nanstack.stack.definition.stack_block` defines, many columns at once.

The columns of neighbouring pixels lie side by side, as the lanes of a small buffer that stays in the cache: a row is
one contiguous stretch of lanes, and every loop over the lanes becomes vector instructions. No data is +inf. A sorting
network over the rows sorts all lanes at once; quantiles and medians are then rows, and what is kept of a lane is an
interval of rows. Nothing ever mixes lanes, so a pixel's result does not depend on its neighbours, nor on threads.

Sums run over the sorted rows in double precision, in the order of the reference, so that both decide alike.

All of it is one file because Numba's cache watches the file of the function that it keeps, and no other: a kernel whose
helpers lie elsewhere would outlive a change of theirs.
"""

# ruff: noqa: ANN001 - the compiled functions get their types from Numba

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numba
import numpy as np
from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic
from numba.np.arrayobj import populate_array

from nanstack import compilation, memory
from nanstack.levels.photometry import SIGMA_OF_MAD
from nanstack.stack.definition import (
    CLIP_ROUNDS,
    COMBINES,
    HUBER_ROUNDS,
    HUBER_SCALE_FLOOR,
    HUBER_TOLERANCE,
    LINEAR_FIT_MIN_SAMPLES,
    LINEAR_FIT_ROUNDING,
    LINEAR_FIT_ROUNDS,
    WINSOR_CLIP_SIGMA,
    WINSOR_MIN_SAMPLES,
    Rejection,
)
from nanstack.stack.sorting_network import comparators

INF = np.float32(np.inf)
TINY = np.finfo(np.float64).tiny
MEAN, MEDIAN, MIN, MAX = (COMBINES.index(name) for name in ("mean", "median", "min", "max"))
NEVER = 2**31 - 1  # more samples than a column can have
VECTOR = 32  # lanes that are compared at once; the number of lanes is a multiple of it
CACHE_LINE = 64  # bytes
SAMPLES_PER_RUN = 2**20  # handled by one call of a kernel: some milliseconds


class Lanes(NamedTuple):
    """Sorted columns of neighbouring pixels, and some numbers for each."""

    ordered: np.ndarray  # float32 (n, lanes), ascending, +inf for no data
    tally: np.ndarray  # int32 (4, lanes), its rows named below
    number: np.ndarray  # float64 (15, lanes), its rows named below
    column: np.ndarray  # float64 (n,): one lane, for what is worked on lane by lane
    chosen: np.ndarray  # intp (lanes,): some of the lanes


class Group(NamedTuple):
    """The pixels that are in the lanes: where their samples lie, and their weights."""

    places: np.ndarray  # intp (n,): of each frame's first pixel
    start: int
    stop: int
    weights: np.ndarray  # float64 (n, period + lanes) or (n, pixels); (0, 0) for none
    offset: int  # of the first pixel's weights


COUNT, FIRST, LAST, HOME = range(4)  # finite samples; the rows FIRST ... LAST - 1 are kept; where a lane came from
LOW, HIGH = 0, 1  # where a sample that is replaced is clipped
CENTER, SIGMA = 2, 3
LOWER, UPPER = 4, 5  # a sample is kept if LOWER <= sample <= UPPER
TOTAL, WEIGHT, SMALLEST, LARGEST = 6, 7, 8, 9  # sums, and the extremes of what they sum
RESULT, SPREAD, SHIFT = 10, 11, 12
CORE, CORE_SQUARES = 13, 14


def stack_columns(
    samples: np.ndarray | Sequence[np.ndarray],
    rejection: Rejection,
    combine: str,
    weights: np.ndarray | None,
    image: np.ndarray,
    coverage: np.ndarray,
    rejected: np.ndarray,
) -> None:
    """Reject outliers and combine what is left, as `nanstack.stack.definition.stack_block`; the results are filled in.

    Parameters
    ----------
    samples : ndarray of float32, shape (n, P); or n such arrays (P,)
        n >= 1 frames of P pixels, or pixels times channels, each C-contiguous; what is not finite is no data.
    rejection : Rejection
    combine : {"mean", "median", "min", "max"}
    weights : ndarray of float64, shape (n, C) or (n, P), optional
        Finite, 0 or more. With C < P columns, pixel p has those of channel p % C; C = 1 is a weight per frame.
    image : ndarray of float32, shape (P,)
        In the samples' unit; NaN where no frame has data.
    coverage : ndarray of uint16, shape (P,)
        Number of finite samples.
    rejected : ndarray of uint16, shape (P,)
        Number of rejected samples.
    """
    frames, pixels = len(samples), len(samples[0])
    lanes = _lane_count(frames)
    rows, period = _weight_rows(weights, pixels, lanes)
    kernel, clip = _kernel(rejection.method), (COMBINES.index(combine), *_settings(rejection))
    compilation.announce(kernel, "rejection")
    results = image, coverage, rejected
    turn = lanes if period >= pixels else lanes * period  # a run begins where the weights do
    run = max(1, SAMPLES_PER_RUN // (frames * turn)) * turn

    places = np.array([frame.ctypes.data for frame in samples])  # where each frame lies: they need not be one array
    source = places, comparators(frames), lanes, rows, period

    def stack_run(start: int) -> None:
        stop = min(start + run, pixels)
        kernel(start, stop, source, clip, results)

    starts = range(0, pixels, run)
    with ThreadPoolExecutor(max(1, min(len(starts), numba.get_num_threads(), memory.threads()))) as pool:
        list(pool.map(stack_run, starts))  # a list, as an exception is raised when its result is asked for


def find_centers(samples: np.ndarray, centers: np.ndarray, coverage: np.ndarray) -> None:
    """Fill in where the samples of each pixel lie, as `nanstack.stack.noise_model.centers`, on this thread alone.

    Parameters
    ----------
    samples : ndarray of float32, shape (n, P), C-contiguous
    centers : ndarray of float32, shape (P,)
        NaN where no frame has data.
    coverage : ndarray of uint16, shape (P,)
    """
    compilation.announce(_find_centers, "rejection")
    frames, pixels = samples.shape
    source = samples, comparators(frames), _lane_count(frames)
    _find_centers(pixels, source, (centers, coverage))


def is_compiled(rejection: Rejection) -> bool:
    """Tell whether the kernel of a method is compiled, in this process or in the cache on disk."""
    return compilation.is_compiled(_kernel(rejection.method))


def _kernel(method: str) -> Callable[..., None]:
    return {"huber": _stack_huber, "linear_fit": _stack_linear_fit}.get(method, _stack_sigma_clip)


def _settings(rejection: Rejection) -> tuple:
    """Return what the method's kernel is told about it."""
    kappas = float(rejection.kappa_low), float(rejection.kappa_high)
    if rejection.method in ("huber", "linear_fit"):
        return (kappas,)
    if rejection.method == "winsor":
        fractions = float(rejection.winsor_low), float(1 - rejection.winsor_high)
        clip = WINSOR_CLIP_SIGMA, WINSOR_CLIP_SIGMA
        return kappas + clip, fractions, WINSOR_MIN_SAMPLES, bool(rejection.rewinsor)
    # winsorizing at the extremes changes nothing; columns of too few samples are kept whole
    return kappas * 2, (0.0, 1.0), 0 if rejection.method == "kappa_sigma" else NEVER, False


def _lane_count(frames: int) -> int:
    """Lanes for which the buffer of a group stays in a core's cache."""
    return 128 if frames <= 64 else 64 if frames <= 256 else 32


def _weight_rows(weights: np.ndarray | None, pixels: int, lanes: int) -> tuple[np.ndarray, int]:
    """Return rows in which the weights of pixels p, p + 1 ... lie side by side from p % period on."""
    if weights is None:
        return np.empty((0, 0)), 1
    channels = weights.shape[1]
    if channels < pixels:
        return np.ascontiguousarray(weights[:, np.arange(lanes + channels) % channels]), channels
    return np.ascontiguousarray(weights), max(pixels, 1)


# helpers are called by kernels alone: wrappers for Python and C, and counting references, would only cost time
helper = numba.njit(nogil=True, error_model="numpy", no_cpython_wrapper=True, no_cfunc_wrapper=True, _nrt=False)
allocator = numba.njit(nogil=True, error_model="numpy", no_cpython_wrapper=True, no_cfunc_wrapper=True)
entry = compilation.compiled(error_model="numpy")


# --- the kernels: each stacks the pixels start ... stop - 1 -----------------------------------------------------------


# What they are told comes as plain tuples: Numba keeps their types with what it compiled, and a class of this module is
# another one where the engine lies in another package.


@entry
def _stack_sigma_clip(start, stop, source, clip, results):
    places, table, width, weights, period = source
    image, coverage, rejected = results
    lanes = _new_lanes(places.size, width)
    for first in range(start, stop, width):
        last = min(first + width, stop)
        _sigma_clip_group(Group(places, first, last, weights, first % period), table, lanes, clip)
        _store(lanes, first, last, image, coverage, rejected)


@entry
def _stack_huber(start, stop, source, clip, results):
    places, table, width, weights, period = source
    image, coverage, rejected = results
    lanes, busy = _new_lanes(places.size, width), _new_lanes(places.size, width)
    for first in range(start, stop, width):
        last = min(first + width, stop)
        _huber_group(Group(places, first, last, weights, first % period), table, lanes, busy, clip)
        _store(lanes, first, last, image, coverage, rejected)


@entry
def _stack_linear_fit(start, stop, source, clip, results):
    places, table, width, weights, period = source
    image, coverage, rejected = results
    lanes = _new_lanes(places.size, width)
    own = np.ones((places.size, width))
    kept = np.empty(places.size, np.bool_)
    for first in range(start, stop, width):
        last = min(first + width, stop)
        _linear_fit_group(Group(places, first, last, weights, first % period), table, lanes, own, kept, clip)
        _store(lanes, first, last, image, coverage, rejected)


@entry
def _find_centers(pixels, source, results):
    """Store each column's median, of two samples the lower one, and how many are finite."""
    samples, table, width = source
    centers, coverage = results
    lanes = _new_lanes(samples.shape[0], width)
    places = np.empty(samples.shape[0], np.intp)
    for frame in range(samples.shape[0]):
        places[frame] = samples[frame].ctypes.data
    no_weights = np.empty((0, 0))
    _fill(lanes.number[LOW], -np.inf)
    _fill(lanes.number[HIGH], np.inf)
    for first in range(0, pixels, width):
        last = min(first + width, pixels)
        rows = _load(Group(places, first, last, no_weights, 0), lanes)
        _sort(lanes.ordered, rows, table)
        _median(lanes.ordered, lanes.tally[COUNT], lanes.number[LOW], lanes.number[HIGH], lanes.number[RESULT])
        if rows > 1:
            _lower_of_two(lanes.ordered[0], lanes.tally[COUNT], lanes.number[RESULT])
        _store_image(lanes.number[RESULT], lanes.tally[COUNT], centers[first:last])
        _store_coverage(lanes.tally[COUNT], coverage[first:last])


@helper
def _lower_of_two(lowest, counts, result):
    for lane in range(result.size):
        result[lane] = np.float64(lowest[lane]) if counts[lane] == 2 else result[lane]


@helper
def _sigma_clip_group(group, table, lanes, clip):
    """Put what is kept within sigmas of a group's columns, combined, into the row RESULT of its lanes."""
    combine, kappas, fractions, min_samples, rewinsor = clip
    rows = _load(group, lanes)
    in_order = min_samples != NEVER or combine != MEAN
    if in_order:
        _sort(lanes.ordered, rows, table)
    plain = (rows, rows)
    if min_samples == NEVER:
        _fill(lanes.number[LOWER], -np.inf)
        _fill(lanes.number[UPPER], np.inf)
    else:
        plain = _sigma_clip_bounds(lanes, rows, kappas, fractions, min_samples)
    _find_kept(lanes, rows, in_order)
    if combine != MEAN:
        _pick(lanes, rows, combine, rewinsor)
        return
    if group.weights.size > 0:
        _sum_weighted(group, lanes, rewinsor)
    elif rewinsor:
        _sum_winsorized(lanes, rows, plain)
    else:
        _sum_kept(lanes, rows, in_order)
    _divide(lanes, rows)


@allocator
def _huber_group(group, table, lanes, busy, clip):
    """The same by Huber's estimates of centre and scale."""
    combine, kappas = clip
    number = lanes.number
    rows = _load(group, lanes)
    _sort(lanes.ordered, rows, table)
    _huber_start(lanes)
    if group.weights.size > 0:
        _huber_weighted(group, lanes, rows, kappas)
    else:
        _huber_plain(lanes, busy, rows, kappas)
    _bound(lanes, *kappas)
    _find_kept(lanes, rows, True)
    if combine == MEAN:
        _copy(number[CENTER], number[RESULT])
    else:
        _copy(number[LOWER], number[LOW])
        _copy(number[UPPER], number[HIGH])
        _pick(lanes, rows, combine, True)


@helper
def _linear_fit_group(group, table, lanes, own, kept, clip):
    combine, (kappa_low, kappa_high) = clip
    column = lanes.column
    rows = _load(group, lanes)
    if group.weights.size > 0:
        _load_weights(group, own)
        _sort_with_weights(lanes.ordered, own, rows, table)
    else:
        _sort(lanes.ordered, rows, table)
    for lane in range(lanes.ordered.shape[1]):
        count = lanes.tally[COUNT, lane]
        for i in range(count):
            column[i] = lanes.ordered[i, lane]
        lanes.tally[FIRST, lane] = 0
        lanes.tally[LAST, lane] = _linear_fit_lane(column, kept, count, kappa_low, kappa_high)
        lanes.number[RESULT, lane] = _combine_lane(column, kept, own[:, lane], count, combine)


@allocator
def _new_lanes(frames, width):
    tally, number = np.empty((4, width), np.int32), np.empty((15, width))
    return Lanes(_aligned(frames, width), tally, number, np.empty(frames), np.empty(width, np.intp))


@allocator
def _aligned(rows, width):
    """Return an empty float32 array that starts on a cache line, so that no vector straddles two."""
    line = CACHE_LINE // 4
    flat = np.empty(rows * width + line, np.float32)
    shift = -(flat.ctypes.data // 4) % line
    return flat[shift : shift + rows * width].reshape(rows, width)


# --- columns in and results out ---------------------------------------------------------------------------------------


@helper
def _load(group, lanes):
    """Fill the rows with the frames that have any data here, and return their number; lanes beyond `stop` have none."""
    start, stop = group.start, group.stop
    counts = lanes.tally[COUNT]
    _fill(counts, 0)
    rows = 0
    for frame in range(group.places.size):
        rows += _load_row(_samples(group.places[frame], start, stop), lanes.ordered, rows, counts)
        _prefetch(_samples(group.places[frame], stop, 2 * stop - start))
    return rows


@intrinsic
def _samples(typing_context, place, start, stop):
    """Return samples of the frame that lies at an address."""
    array = types.Array(types.float32, 1, "C")

    def codegen(context, builder, signature, arguments):
        at, begin, end = arguments
        size = builder.sub(end, begin)
        data = builder.gep(builder.inttoptr(at, ir.FloatType().as_pointer()), [begin])
        view = context.make_array(array)(context, builder)
        populate_array(view, data, shape=[size], strides=[at.type(4)], itemsize=at.type(4), meminfo=None)
        return view._getvalue()

    return array(types.intp, types.intp, types.intp), codegen


@intrinsic
def _prefetch(typing_context, samples):
    """Ask for samples that are needed soon: the processor would not guess which of so many frames comes next."""

    def codegen(context, builder, signature, arguments):
        view = context.make_array(samples)(context, builder, arguments[0])
        pointer = ir.IntType(8).as_pointer()
        kind = ir.FunctionType(ir.VoidType(), [pointer] + [ir.IntType(32)] * 3)
        function = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0i8")
        step = view.nitems.type(CACHE_LINE // 4)
        with cgutils.for_range_slice(builder, step.type(0), view.nitems, step) as (offset, _):
            place = builder.bitcast(builder.gep(view.data, [offset]), pointer)
            builder.call(function, [place] + [ir.IntType(32)(number) for number in (0, 3, 1)])  # read, near, data
        return context.get_dummy_value()

    return types.void(samples), codegen


@helper
def _load_row(samples, ordered, row, counts):
    """Fill a row with samples, +inf for no data; count data, and tell whether there is any."""
    width = ordered.shape[1]
    found = np.int32(0)
    if samples.size == width:
        for lane in range(0, width, VECTOR):
            found |= _load_run(samples, lane, ordered, row * width + lane, counts, lane)
        return found
    for lane in range(width):
        x = samples[lane] if lane < samples.size else INF
        finite = np.int32(abs(x) < INF)
        ordered[row, lane] = x if abs(x) < INF else INF
        counts[lane] += finite
        found |= finite
    return found


@intrinsic
def _load_run(typing_context, samples, at, ordered, to, counts, lane):
    """Do that for a run of VECTOR lanes."""

    def codegen(context, builder, signature, arguments):
        source, target, tally = (
            builder.gep(context.make_array(signature.args[k])(context, builder, arguments[k]).data, [arguments[k + 1]])
            for k in (0, 2, 4)
        )
        floats, numbers = ir.VectorType(ir.FloatType(), VECTOR), ir.VectorType(ir.IntType(32), VECTOR)
        infinity = ir.Constant(floats, [float("inf")] * VECTOR)
        values = builder.load(builder.bitcast(source, floats.as_pointer()), align=4)
        fabs = cgutils.get_or_insert_function(
            builder.module, ir.FunctionType(floats, [floats]), f"llvm.fabs.v{VECTOR}f32"
        )
        finite = builder.fcmp_ordered("<", builder.call(fabs, [values]), infinity)
        builder.store(builder.select(finite, values, infinity), builder.bitcast(target, floats.as_pointer()), align=4)
        tally = builder.bitcast(tally, numbers.as_pointer())
        builder.store(builder.add(builder.load(tally, align=4), builder.zext(finite, numbers)), tally, align=4)
        bits = builder.bitcast(finite, ir.IntType(VECTOR))
        return builder.zext(builder.icmp_unsigned("!=", bits, bits.type(0)), ir.IntType(32))

    return types.int32(samples, types.intp, ordered, types.intp, counts, types.intp), codegen


@helper
def _store(lanes, start, stop, image, coverage, rejected):
    counts, first, last = lanes.tally[COUNT], lanes.tally[FIRST], lanes.tally[LAST]
    _store_image(lanes.number[RESULT], counts, image[start:stop])
    _store_counts(counts, first, last, coverage[start:stop], rejected[start:stop])


@helper
def _store_image(result, counts, image):
    for lane in range(image.size):
        image[lane] = np.float32(result[lane]) if counts[lane] > 0 else np.float32(np.nan)


@helper
def _store_counts(counts, first, last, coverage, rejected):
    for lane in range(coverage.size):
        kept = last[lane] - first[lane] if last[lane] > first[lane] else np.int32(0)
        coverage[lane] = counts[lane]
        rejected[lane] = counts[lane] - kept


@helper
def _store_coverage(counts, coverage):
    for lane in range(coverage.size):
        coverage[lane] = counts[lane]


@helper
def _fill(row, value):
    for lane in range(row.size):
        row[lane] = value


@helper
def _copy(source, row):
    for lane in range(row.size):
        row[lane] = source[lane]


@intrinsic
def _compare_exchange(typing_context, ordered, above, below):
    """Put the smaller values of two runs of VECTOR lanes above, the larger below; LLVM would fear that they overlap."""

    def codegen(context, builder, signature, arguments):
        data = context.make_array(ordered)(context, builder, arguments[0]).data
        vector = ir.VectorType(ir.FloatType(), VECTOR)
        runs = [builder.bitcast(builder.gep(data, [index]), vector.as_pointer()) for index in arguments[1:]]
        values = [builder.load(run, align=4) for run in runs]
        for name, run in zip(("minnum", "maxnum"), runs, strict=True):
            kind = ir.FunctionType(vector, [vector, vector])
            function = cgutils.get_or_insert_function(builder.module, kind, f"llvm.{name}.v{VECTOR}f32")
            # "nnan" as no NaN is ever in a row: one instruction then
            builder.store(builder.call(function, values, fastmath=("nnan",)), run, align=4)
        return context.get_dummy_value()

    return types.void(ordered, types.intp, types.intp), codegen


@helper
def _sort(ordered, rows, table):
    """Sort the first `rows` rows of every lane; comparators of further rows would find +inf there."""
    width = ordered.shape[1]
    for k in range(table.shape[0]):
        above, below = np.intp(table[k, 0]), np.intp(table[k, 1])
        if below < rows:
            for lane in range(0, width, VECTOR):
                _compare_exchange(ordered, above * width + lane, below * width + lane)


# --- order statistics -------------------------------------------------------------------------------------------------


@helper
def _range(values):
    smallest, largest = values[0], values[0]
    for lane in range(values.size):
        smallest, largest = min(smallest, values[lane]), max(largest, values[lane])
    return np.intp(smallest), np.intp(largest)


@helper
def _occurs(counts, count):
    found = 0
    for lane in range(counts.size):
        found |= np.int32(counts[lane] == count)
    return found > 0


@helper
def _clip(x, low, high):
    x = x if x > low else low
    return x if x < high else high


@helper
def _quantile(ordered, counts, fraction, result):
    """Linear between order statistics; lanes of equal count share their rows."""
    fewest, most = _range(counts)
    for count in range(max(1, fewest), most + 1):
        if _occurs(counts, count):
            position = (count - 1) * fraction
            index = np.intp(math.floor(position))
            above = ordered[min(index + 1, count - 1)]
            _interpolate(ordered[index], above, position - index, counts, count, result)


@helper
def _interpolate(below, above, t, counts, count, result):
    for lane in range(result.size):
        b, a = np.float64(below[lane]), np.float64(above[lane])
        gap = a - b
        value = b + gap * t if t < 0.5 else a - gap * (1 - t)
        result[lane] = value if counts[lane] == count else result[lane]


@helper
def _median(ordered, counts, low, high, result):
    """Median of the clipped columns."""
    fewest, most = _range(counts)
    for count in range(max(1, fewest), most + 1):
        if _occurs(counts, count):
            _middle(ordered[(count - 1) // 2], ordered[count // 2], low, high, counts, count, result)


@helper
def _middle(below, above, low, high, counts, count, result):
    for lane in range(result.size):
        b = _clip(np.float64(below[lane]), low[lane], high[lane])
        a = _clip(np.float64(above[lane]), low[lane], high[lane])
        result[lane] = (b + a) / 2 if counts[lane] == count else result[lane]


@helper
def _find_kept(lanes, rows, in_order):
    """Find the rows of each lane between its bounds, from either end inwards."""
    first, last = lanes.tally[FIRST], lanes.tally[LAST]
    _fill(first, 0)
    _copy(lanes.tally[COUNT], last)
    if not in_order:
        return
    i = 0
    while i < rows and _skip_below(lanes.ordered[i], lanes.number[LOWER], first):
        i += 1
    i = rows - 1
    while i >= 0 and _skip_above(lanes.ordered[i], lanes.number[UPPER], last):
        i -= 1


@helper
def _skip_below(row, lower, first):
    found = 0
    for lane in range(row.size):
        below = np.int32(row[lane] < lower[lane])
        first[lane] += below
        found |= below
    return found > 0


@helper
def _skip_above(row, upper, last):
    """Step over data above the bound; what is no data is none of the samples counted, but goes on."""
    found = 0
    for lane in range(row.size):
        no_data = np.int32(row[lane] == INF)
        above = np.int32(row[lane] > upper[lane])
        last[lane] -= above & ~no_data
        found |= above | no_data
    return found > 0


# --- winsorized and plain sigma clipping ------------------------------------------------------------------------------


@helper
def _sigma_clip_bounds(lanes, rows, kappas, fractions, min_samples):
    """Fill in the bounds of what is kept, and of what winsorizing leaves; return the rows it changes in no lane."""
    kappa_low, kappa_high, clip_low, clip_high = kappas
    fraction_low, fraction_high = fractions
    number, counts = lanes.number, lanes.tally[COUNT]
    fewest, most = _range(counts)
    _quantile(lanes.ordered, counts, fraction_low, number[LOW])
    _quantile(lanes.ordered, counts, fraction_high, number[HIGH])
    plain_from = min(np.intp(math.floor((most - 1) * fraction_low)) + 1, rows)
    plain_to = np.intp(math.floor((fewest - 1) * fraction_high)) + 1 if fewest > 0 else 0
    plain_to = max(plain_from, min(plain_to, rows))
    _clipped_stats(lanes, rows, plain_from, plain_to, clip_low, clip_high)
    _bound(lanes, kappa_low, kappa_high)
    if fewest < min_samples:
        for lane in range(counts.size):
            if counts[lane] < min_samples:
                number[LOWER, lane], number[UPPER, lane] = -np.inf, np.inf
    return plain_from, plain_to


@helper
def _reach(kappa, sigma):
    # inf * 0 is NaN, but an infinite kappa is to reject nothing
    return kappa * sigma if kappa < np.inf else np.inf


@helper
def _bound(lanes, kappa_low, kappa_high):
    number = lanes.number
    _bound_rows(number[CENTER], number[SIGMA], kappa_low, kappa_high, number[LOWER], number[UPPER])


@helper
def _bound_rows(center, sigma, kappa_low, kappa_high, lower, upper):
    for lane in range(center.size):
        bottom, top = center[lane] - _reach(kappa_low, sigma[lane]), center[lane] + _reach(kappa_high, sigma[lane])
        # without a centre nothing lies between the bounds
        lower[lane] = bottom if bottom == bottom else np.inf
        upper[lane] = top if top == top else -np.inf


@helper
def _clipped_stats(lanes, rows, plain_from, plain_to, kappa_low, kappa_high):
    """Median and standard deviation after clipping; only lanes whose first round drops samples need more rounds."""
    ordered, counts, number = lanes.ordered, lanes.tally[COUNT], lanes.number
    low, high, center, sigma, total = number[LOW], number[HIGH], number[CENTER], number[SIGMA], number[TOTAL]
    _median(ordered, counts, low, high, center)
    _copy(center, number[SHIFT])
    _fill(total, 0.0)
    _fill(sigma, 0.0)
    _add_clipped_moments(ordered, 0, plain_from, low, high, center, total, sigma)
    _add_moments(ordered, plain_from, plain_to, center, total, sigma)
    _add_clipped_moments(ordered, plain_to, rows, low, high, center, total, sigma)
    _spread_of_moments(total, sigma, counts, sigma)
    if not _any_outside(low, high, center, sigma, kappa_low, kappa_high):
        return
    for lane in range(sigma.size):
        bottom = center[lane] - _reach(kappa_low, sigma[lane])
        top = center[lane] + _reach(kappa_high, sigma[lane])
        # winsorizing leaves LOW and HIGH as the extremes
        if (low[lane] < bottom or high[lane] > top) and counts[lane] > 0:
            for i in range(counts[lane]):
                lanes.column[i] = _clip(np.float64(ordered[i, lane]), low[lane], high[lane])
            center[lane], sigma[lane] = _clip_lane(lanes.column, counts[lane], bottom, top, kappa_low, kappa_high)


@helper
def _spread_of_moments(total, squares, counts, sigma):
    for lane in range(sigma.size):
        share = 1.0 / (counts[lane] if counts[lane] > 0 else np.int32(1))
        mean = total[lane] * share
        variance = squares[lane] * share - mean * mean
        sigma[lane] = math.sqrt(variance if variance > 0.0 else 0.0)


@helper
def _any_outside(low, high, center, sigma, kappa_low, kappa_high):
    found = 0
    for lane in range(center.size):
        bottom, top = center[lane] - _reach(kappa_low, sigma[lane]), center[lane] + _reach(kappa_high, sigma[lane])
        found |= np.int32((low[lane] < bottom) | (high[lane] > top))
    return found > 0


@helper
def _add(ordered, begin, end, total):
    """Add rows that hold data in every lane; four at a time, as the sums then stay in registers."""
    whole = begin + (end - begin) // 4 * 4
    for i in range(begin, whole, 4):
        _add_four(ordered[i], ordered[i + 1], ordered[i + 2], ordered[i + 3], total)
    for i in range(whole, end):
        _add_one(ordered[i], total)


@helper
def _add_one(row, total):
    for lane in range(total.size):
        total[lane] += row[lane]


@helper
def _add_four(a, b, c, d, total):
    for lane in range(total.size):
        total[lane] = total[lane] + a[lane] + b[lane] + c[lane] + d[lane]


@helper
def _add_moments(ordered, begin, end, center, total, squares):
    """Add the deviations from the centre, and their squares, of rows that hold data in every lane."""
    width = ordered.shape[1]
    for lane in range(0, width, VECTOR // 2):
        _add_moments_run(ordered, begin * width + lane, end * width, width, lane, center, total, squares)


@intrinsic
def _add_moments_run(typing_context, ordered, begin, end, width, lane, center, total, squares):
    """Do that for VECTOR / 2 lanes, the sums in registers; `begin`, `end` and `width` are in entries of `ordered`."""

    def codegen(context, builder, signature, arguments):
        source = context.make_array(signature.args[0])(context, builder, arguments[0]).data
        count = VECTOR // 2
        single, double = ir.VectorType(ir.FloatType(), count), ir.VectorType(ir.DoubleType(), count)
        middle, *sums = (
            builder.bitcast(
                builder.gep(context.make_array(signature.args[k])(context, builder, arguments[k]).data, [arguments[4]]),
                double.as_pointer(),
            )
            for k in (5, 6, 7)
        )
        center_of = builder.load(middle, align=8)
        kept = [cgutils.alloca_once(builder, double) for _ in sums]
        for number, place in zip(kept, sums, strict=True):
            builder.store(builder.load(place, align=8), number)
        with cgutils.for_range_slice(builder, *arguments[1:4]) as (at, _):
            row = builder.load(builder.bitcast(builder.gep(source, [at]), single.as_pointer()), align=4)
            deviation = builder.fsub(builder.fpext(row, double), center_of)
            builder.store(builder.fadd(builder.load(kept[0]), deviation), kept[0])
            builder.store(builder.fadd(builder.load(kept[1]), builder.fmul(deviation, deviation)), kept[1])
        for number, place in zip(kept, sums, strict=True):
            builder.store(builder.load(number), place, align=8)
        return context.get_dummy_value()

    index = types.intp
    return types.void(ordered, index, index, index, index, center, total, squares), codegen


@helper
def _add_clipped_moments(ordered, begin, end, low, high, center, total, squares):
    for i in range(begin, end):
        _add_clipped_moment(ordered[i], low, high, center, total, squares)


@helper
def _add_clipped_moment(row, low, high, center, total, squares):
    for lane in range(total.size):
        deviation = _clip(np.float64(row[lane]), low[lane], high[lane]) - center[lane]
        total[lane] += deviation if row[lane] < INF else 0.0
        squares[lane] += deviation * deviation if row[lane] < INF else 0.0


@helper
def _clip_lane(column, count, bottom, top, kappa_low, kappa_high):
    """Median and standard deviation of a sorted column, given the bounds of its first round."""
    begin, end = 0, count
    for clip_round in range(CLIP_ROUNDS):
        if clip_round > 0:
            median, sigma = _lane_stats(column, begin, end)
            bottom, top = median - _reach(kappa_low, sigma), median + _reach(kappa_high, sigma)
        before = end - begin
        while begin < end and column[begin] < bottom:
            begin += 1
        while begin < end and column[end - 1] > top:
            end -= 1
        if end == begin or end - begin == before:
            break
    # the last bounds hold for all samples: one that an early round dropped may come back
    begin, end = 0, count
    while begin < count and column[begin] < bottom:
        begin += 1
    while end > 0 and column[end - 1] > top:
        end -= 1
    return _lane_stats(column, begin, end)


@helper
def _lane_stats(column, begin, end):
    """Median and standard deviation (ddof 0) of column[begin:end]; NaN where that is empty."""
    if end <= begin:
        return np.nan, np.nan
    size = end - begin
    median = (column[(begin + end - 1) // 2] + column[(begin + end) // 2]) / 2
    total = squares = 0.0
    for i in range(begin, end):
        deviation = column[i] - median
        total += deviation
        squares += deviation * deviation
    share = 1.0 / size
    mean = total * share
    return median, math.sqrt(max(squares * share - mean * mean, 0.0))


# --- combination ------------------------------------------------------------------------------------------------------


@helper
def _start_extremes(lanes):
    _fill(lanes.number[SMALLEST], np.inf)
    _fill(lanes.number[LARGEST], -np.inf)


@helper
def _sum_winsorized(lanes, rows, plain):
    """Complete the sums of the winsorized samples: an extreme one that was kept counts as itself."""
    ordered, number, counts = lanes.ordered, lanes.number, lanes.tally[COUNT]
    begin, end = plain
    _start_extremes(lanes)
    for i in range(rows):
        if not begin <= i < end:
            _unwinsorize(
                ordered[i],
                number[LOWER],
                number[UPPER],
                number[LOW],
                number[HIGH],
                number[TOTAL],
                number[SMALLEST],
                number[LARGEST],
            )
    if begin < end:
        _widen(ordered[begin], ordered[end - 1], number[SMALLEST], number[LARGEST])
    _copy(counts, number[WEIGHT])
    _shift(number[TOTAL], number[SHIFT], counts)


@helper
def _unwinsorize(row, lower, upper, low, high, total, smallest, largest):
    for lane in range(row.size):
        x = np.float64(row[lane])
        winsorized = _clip(x, low[lane], high[lane])
        value = x if (x >= lower[lane]) & (x <= upper[lane]) else winsorized
        data = row[lane] < INF
        total[lane] += value - winsorized if data else 0.0
        smallest[lane] = value if data & (value < smallest[lane]) else smallest[lane]
        largest[lane] = value if data & (value > largest[lane]) else largest[lane]


@helper
def _shift(total, shift, counts):
    for lane in range(total.size):
        total[lane] += shift[lane] * counts[lane]


@helper
def _sum_kept(lanes, rows, in_order):
    """Sum the samples that are kept, without weights."""
    ordered, number = lanes.ordered, lanes.number
    first, last = lanes.tally[FIRST], lanes.tally[LAST]
    _fill(number[TOTAL], 0.0)
    _start_extremes(lanes)
    for lane in range(first.size):
        number[WEIGHT, lane] = last[lane] - first[lane]
    # in the rows between, every lane keeps its sample
    begin = min(rows, _range(first)[1]) if in_order else rows
    end = max(begin, _range(last)[0])
    for i in range(rows):
        if not begin <= i < end:
            _add_kept(ordered[i], number[LOWER], number[UPPER], number[TOTAL], number[SMALLEST], number[LARGEST])
    if begin < end:
        _add(ordered, begin, end, number[TOTAL])
        _widen(ordered[begin], ordered[end - 1], number[SMALLEST], number[LARGEST])


@helper
def _add_kept(row, lower, upper, total, smallest, largest):
    for lane in range(row.size):
        x = np.float64(row[lane])
        kept = (x >= lower[lane]) & (x <= upper[lane]) & (row[lane] < INF)
        total[lane] += x if kept else 0.0
        smallest[lane] = x if kept & (x < smallest[lane]) else smallest[lane]
        largest[lane] = x if kept & (x > largest[lane]) else largest[lane]


@helper
def _widen(begin, end, smallest, largest):
    for lane in range(smallest.size):
        below, above = np.float64(begin[lane]), np.float64(end[lane])
        smallest[lane] = below if below < smallest[lane] else smallest[lane]
        largest[lane] = above if above > largest[lane] else largest[lane]


@helper
def _sum_weighted(group, lanes, rewinsor):
    """Sum what each sample counts as times its weight, frame by frame."""
    number = lanes.number
    _fill(number[TOTAL], 0.0)
    _fill(number[WEIGHT], 0.0)
    _start_extremes(lanes)
    size = group.stop - group.start
    for frame in range(group.places.size):
        _add_weighted(
            _samples(group.places[frame], group.start, group.stop),
            group.weights[frame, group.offset : group.offset + size],
            number[LOWER],
            number[UPPER],
            number[LOW],
            number[HIGH],
            rewinsor,
            number[TOTAL],
            number[WEIGHT],
            number[SMALLEST],
            number[LARGEST],
        )


@helper
def _add_weighted(row, weights, lower, upper, low, high, rewinsor, total, weight, smallest, largest):
    for lane in range(row.size):
        x = np.float64(row[lane])
        inside = (x >= lower[lane]) & (x <= upper[lane])
        value = x if inside else _clip(x, low[lane], high[lane])
        counted = (abs(row[lane]) < INF) & (inside | rewinsor)
        total[lane] += value * weights[lane] if counted else 0.0
        weight[lane] += weights[lane] if counted else 0.0
        smallest[lane] = value if counted & (value < smallest[lane]) else smallest[lane]
        largest[lane] = value if counted & (value > largest[lane]) else largest[lane]


@helper
def _divide(lanes, rows):
    """Turn the sums into means; what has no weight becomes the plain mean of the samples."""
    number = lanes.number
    if not _divide_rows(number[TOTAL], number[WEIGHT], number[SMALLEST], number[LARGEST], number[RESULT]):
        return
    for lane in range(number.shape[1]):
        if number[WEIGHT, lane] <= 0.0 and lanes.tally[COUNT, lane] > 0:
            number[RESULT, lane] = _plain_mean(lanes.ordered, rows, lane)


@helper
def _divide_rows(total, weight, smallest, largest, mean):
    """Divide, and return whether any lane has no weight."""
    empty = 0
    for lane in range(mean.size):
        # rounding must not take a mean out of the extremes, so that equal values give that very value
        mean[lane] = _clip(total[lane] / weight[lane], smallest[lane], largest[lane])
        empty |= np.int32(weight[lane] <= 0.0)
    return empty > 0


@helper
def _plain_mean(ordered, rows, lane):
    total, count, smallest, largest = 0.0, 0, np.inf, -np.inf
    for i in range(rows):
        x = np.float64(ordered[i, lane])
        if x < np.inf:
            total += x
            count += 1
            smallest, largest = min(smallest, x), max(largest, x)
    return _clip(total / count, smallest, largest)


@helper
def _pick(lanes, rows, combine, replace):
    """Median, smallest or largest of what the samples of each lane count as; the rejected ones if `replace` is set."""
    number, column = lanes.number, lanes.column
    for lane in range(number.shape[1]):
        count, first, last = lanes.tally[COUNT, lane], lanes.tally[FIRST, lane], lanes.tally[LAST, lane]
        if count == 0:
            continue
        if first >= last:
            first, last = count, count
        begin, end = (0, count) if replace else (first, last)
        if begin == end:
            number[RESULT, lane] = _plain_mean(lanes.ordered, rows, lane)
            continue
        for i in range(begin, end):
            x = np.float64(lanes.ordered[i, lane])
            column[i] = x if first <= i < last else _clip(x, number[LOW, lane], number[HIGH, lane])
        number[RESULT, lane] = _pick_of_runs(column, begin, first, last, end, combine)


@helper
def _pick_of_runs(column, begin, first, last, end, combine):
    """Median, smallest or largest of three ascending runs, which start at `begin`, `first` and `last`."""
    size = end - begin
    rank = 0 if combine == MIN else size - 1 if combine == MAX else size // 2
    a, b, c = begin, first, last
    before = value = np.inf
    for _ in range(rank + 1):
        before = value
        head_a = column[a] if a < first else np.inf
        head_b = column[b] if b < last else np.inf
        head_c = column[c] if c < end else np.inf
        value = min(head_a, head_b, head_c)
        if head_a == value:
            a += 1
        elif head_b == value:
            b += 1
        else:
            c += 1
    return (before + value) / 2 if combine == MEDIAN and size % 2 == 0 else value


# --- huber ------------------------------------------------------------------------------------------------------------


@helper
def _huber_start(lanes):
    """Start all lanes from the median and the median absolute deviation; note the extremes."""
    ordered, counts, number = lanes.ordered, lanes.tally[COUNT], lanes.number
    _quantile(ordered, counts, 0.0, number[LOW])
    _quantile(ordered, counts, 1.0, number[HIGH])
    _median(ordered, counts, number[LOW], number[HIGH], number[CENTER])
    _copy(number[CENTER], number[SHIFT])
    _copy(counts, lanes.tally[FIRST])
    for lane in range(counts.size):
        lanes.tally[HOME, lane] = lane
    fewest, most = _range(counts)
    for count in range(max(1, fewest), most + 1):
        if _occurs(counts, count):
            _nearest_half(ordered, count, number[CENTER], number[SMALLEST], number[LARGEST])
            _scale(number[SMALLEST], number[LARGEST], counts, count, number[SIGMA])


@helper
def _scale(below, above, counts, count, sigma):
    for lane in range(sigma.size):
        scale = SIGMA_OF_MAD * ((below[lane] + above[lane]) / 2)
        scale = scale if scale > HUBER_SCALE_FLOOR else HUBER_SCALE_FLOOR
        sigma[lane] = scale if counts[lane] == count else sigma[lane]


@helper
def _nearest_half(ordered, count, center, reach, next_reach):
    """Find how far the nearer half of the samples reaches from the centre, and how far with one sample more.

    They are neighbours in the sorted column: of all runs of that many rows, the one whose ends are nearest. Of an odd
    number the half has the middle one, and both reaches are the same.
    """
    size = (count + 1) // 2
    odd = count % 2
    _fill(reach, np.inf)
    _fill(next_reach, np.inf)
    for i in range(count - size):
        _widen_reach(ordered[i], ordered[i + size - 1], ordered[i + size - odd], center, reach, next_reach)
    _widen_reach(
        ordered[count - size], ordered[count - 1], ordered[count - 1], center, reach, next_reach if odd else reach
    )


@helper
def _widen_reach(first, last, beyond, center, reach, next_reach):
    for lane in range(reach.size):
        down, up, farther_up = center[lane] - first[lane], last[lane] - center[lane], beyond[lane] - center[lane]
        near = down if down > up else up
        far = down if down > farther_up else farther_up
        reach[lane] = near if near < reach[lane] else reach[lane]
        next_reach[lane] = far if far < next_reach[lane] else next_reach[lane]


@helper
def _huber_weighted(group, lanes, rows, kappas):
    number = lanes.number
    core = _whole_core(lanes, rows)
    for huber_round in range(HUBER_ROUNDS):
        _bound(lanes, *kappas)
        _copy(number[LOWER], number[LOW])
        _copy(number[UPPER], number[HIGH])
        _sum_weighted(group, lanes, True)
        _divide(lanes, rows)
        core = _shrink_core(lanes, core, LOWER, UPPER, huber_round == 0)
        core = _huber_spread(lanes, rows, core, _reach(max(kappas), 1.0))
        if _huber_move(lanes) == 0:
            break


@allocator
def _huber_plain(lanes, busy, rows, kappas):
    """Go round without weights; where most lanes have come to rest, on with the others alone."""
    moving, core, fresh = lanes, _whole_core(lanes, rows), True
    for _ in range(HUBER_ROUNDS):
        _bound(moving, *kappas)
        core = _shrink_core(moving, core, LOWER, UPPER, fresh)
        _huber_mean(moving, rows, core)
        core = _huber_spread(moving, rows, core, _reach(max(kappas), 1.0))
        left, fresh = _huber_move(moving), False
        if left == 0:
            break
        if 2 * left <= moving.ordered.shape[1] - VECTOR:
            _send_home(moving, lanes)
            moving, fresh = _still_moving(moving, busy, rows, left), True
            core = _whole_core(moving, rows)
    _send_home(moving, lanes)


@helper
def _send_home(moving, lanes):
    """Write the centres and scales of some of the lanes to where they came from."""
    for lane in range(moving.ordered.shape[1]):
        home = moving.tally[HOME, lane]
        lanes.number[CENTER, home] = moving.number[CENTER, lane]
        lanes.number[SIGMA, home] = moving.number[SIGMA, lane]


@allocator
def _still_moving(lanes, busy, rows, left):
    """Return the lanes that still move, put together at the head of other memory, or of the same."""
    width = -(-left // VECTOR) * VECTOR
    chosen = busy.chosen
    found = 0
    for lane in range(lanes.ordered.shape[1]):
        if lanes.tally[FIRST, lane] > 0:
            chosen[found] = lane
            found += 1
    chosen[left:width] = chosen[left - 1]  # the last one again: a lane without data would be an exception
    moving = Lanes(
        _head(busy.ordered, lanes.ordered.shape[0], width),
        _head(busy.tally, busy.tally.shape[0], width),
        _head(busy.number, busy.number.shape[0], width),
        lanes.column,
        chosen,
    )
    _gather(lanes.ordered, rows, chosen, moving.ordered)
    _gather(lanes.tally, lanes.tally.shape[0], chosen, moving.tally)
    _gather(lanes.number, lanes.number.shape[0], chosen, moving.number)
    return moving


@allocator
def _head(buffer, rows, width):
    return buffer.reshape(buffer.size)[: rows * width].reshape(rows, width)


@helper
def _gather(source, rows, chosen, target):
    """Copy columns, row by row and in ascending order: nothing is overwritten that is still to be read."""
    for i in range(rows):
        for lane in range(target.shape[1]):
            target[i, lane] = source[i, chosen[lane]]


# The core is a range of rows that all lanes count in full, by their moments about the first centre: CORE and
# CORE_SQUARES. Only the rows around it have to be looked at again and again.


@helper
def _whole_core(lanes, rows):
    return 0, min(rows, _range(lanes.tally[COUNT])[0])


@helper
def _shrink_core(lanes, core, lower, upper, fresh):
    """Take off the rows that lie beyond bounds in any lane; sum the moments anew where that changes them."""
    ordered, number = lanes.ordered, lanes.number
    begin, end = core
    while begin < end and _any_beyond(ordered[begin], number[lower], number[upper]):
        begin += 1
    while begin < end and _any_beyond(ordered[end - 1], number[lower], number[upper]):
        end -= 1
    if fresh or begin != core[0] or end != core[1]:
        _fill(number[CORE], 0.0)
        _fill(number[CORE_SQUARES], 0.0)
        _add_moments(ordered, begin, end, number[SHIFT], number[CORE], number[CORE_SQUARES])
    return begin, end


@helper
def _any_beyond(row, lower, upper):
    found = 0
    for lane in range(row.size):
        found |= np.int32((row[lane] < lower[lane]) | (row[lane] > upper[lane]))
    return found > 0


@helper
def _huber_mean(lanes, rows, core):
    """Mean of the samples clipped between the bounds."""
    number, counts = lanes.number, lanes.tally[COUNT]
    _copy(number[CORE], number[TOTAL])
    for i in range(rows):
        if not core[0] <= i < core[1]:
            _add_clipped_deviation(lanes.ordered[i], number[LOWER], number[UPPER], number[SHIFT], number[TOTAL])
    _clip_row(number[LOW], number[LOWER], number[UPPER], number[SMALLEST])
    _clip_row(number[HIGH], number[LOWER], number[UPPER], number[LARGEST])
    for lane in range(counts.size):
        mean = number[SHIFT, lane] + number[TOTAL, lane] / (counts[lane] if counts[lane] > 0 else np.int32(1))
        number[RESULT, lane] = _clip(mean, number[SMALLEST, lane], number[LARGEST, lane])


@helper
def _add_clipped_deviation(row, low, high, shift, total):
    for lane in range(total.size):
        deviation = _clip(np.float64(row[lane]), low[lane], high[lane]) - shift[lane]
        total[lane] += deviation if row[lane] < INF else 0.0


@helper
def _clip_row(row, low, high, clipped):
    for lane in range(row.size):
        clipped[lane] = _clip(row[lane], low[lane], high[lane])


@helper
def _huber_spread(lanes, rows, core, cutoff):
    """Root mean square of the residuals, those beyond the cutoff weighted by cutoff / |residual|."""
    number = lanes.number
    mean, sigma, spread, weight = number[RESULT], number[SIGMA], number[SPREAD], number[WEIGHT]
    for lane in range(mean.size):
        number[SMALLEST, lane] = mean[lane] - cutoff * sigma[lane]
        number[LARGEST, lane] = mean[lane] + cutoff * sigma[lane]
    core = _shrink_core(lanes, core, SMALLEST, LARGEST, False)
    _fill(spread, 0.0)
    _fill(weight, np.float64(core[1] - core[0]))
    for i in range(rows):
        if not core[0] <= i < core[1]:
            _add_residuals(lanes.ordered[i], number[LOWER], number[UPPER], mean, sigma, cutoff, spread, weight)
    _finish_spread(number[CORE], number[CORE_SQUARES], core[1] - core[0], number[SHIFT], mean, weight, spread)
    return core


@helper
def _finish_spread(core, core_squares, size, shift, mean, weight, spread):
    for lane in range(spread.size):
        moved = mean[lane] - shift[lane]
        squares = core_squares[lane] - 2.0 * moved * core[lane] + size * moved * moved
        total = spread[lane] + (squares if squares > 0.0 else 0.0)
        sigma = math.sqrt(total / (weight[lane] if weight[lane] > TINY else TINY))
        spread[lane] = sigma if sigma > HUBER_SCALE_FLOOR else HUBER_SCALE_FLOOR


@helper
def _add_residuals(row, lower, upper, mean, sigma, cutoff, spread, weight):
    for lane in range(row.size):
        residual = _clip(np.float64(row[lane]), lower[lane], upper[lane]) - mean[lane]
        reach, size = cutoff * sigma[lane], abs(residual)
        influence = 1.0 if size <= reach else reach / size
        weight[lane] += influence if row[lane] < INF else 0.0
        spread[lane] += influence * residual * residual if row[lane] < INF else 0.0


@helper
def _huber_move(lanes):
    """Take over the new centre and scale of lanes that still move; return how many go on."""
    number = lanes.number
    return _move_rows(number[RESULT], number[SPREAD], number[CENTER], number[SIGMA], lanes.tally[FIRST])


@helper
def _move_rows(mean, spread, center, sigma, active):
    going = 0
    for lane in range(active.size):
        moved = _moved(center[lane], mean[lane]) | _moved(sigma[lane], spread[lane])
        center[lane] = mean[lane] if active[lane] > 0 else center[lane]
        sigma[lane] = spread[lane] if active[lane] > 0 else sigma[lane]
        active[lane] = active[lane] if moved else 0
        going += np.int32(active[lane] > 0)
    return going


@helper
def _moved(old, new):
    size = abs(old)
    return abs(new - old) > HUBER_TOLERANCE * (size if size > 1.0 else 1.0)


# --- linear fit -------------------------------------------------------------------------------------------------------


@helper
def _load_weights(group, own):
    """Fill the rows that `_load` fills with the weights of these samples."""
    rows = 0
    for frame in range(group.places.size):
        samples = _samples(group.places[frame], group.start, group.stop)
        found = 0
        for lane in range(group.stop - group.start):
            own[rows, lane] = group.weights[frame, group.offset + lane]
            found |= np.int32(abs(samples[lane]) < INF)
        rows += found


@helper
def _sort_with_weights(ordered, own, rows, table):
    """Sort as `_sort`, equal samples by weight: which of them is dropped must not hang on frame order."""
    for k in range(table.shape[0]):
        i, j = np.intp(table[k, 0]), np.intp(table[k, 1])
        if j < rows:
            _exchange_with_weights(ordered[i], ordered[j], own[i], own[j])


@helper
def _exchange_with_weights(above, below, weight_above, weight_below):
    for lane in range(above.size):
        a, b, u, v = above[lane], below[lane], weight_above[lane], weight_below[lane]
        swap = (b < a) | ((b == a) & (v < u))
        above[lane] = b if swap else a
        below[lane] = a if swap else b
        weight_above[lane] = v if swap else u
        weight_below[lane] = u if swap else v


@helper
def _linear_fit_lane(column, kept, count, kappa_low, kappa_high):
    """Mark what is kept of a sorted column, and return how many."""
    kept[:count] = True
    left = count
    if count < LINEAR_FIT_MIN_SAMPLES:
        return left
    rounding = LINEAR_FIT_ROUNDING * max(abs(column[0]), abs(column[count - 1]))
    for _ in range(LINEAR_FIT_ROUNDS):
        before = left
        mean, slope = _line(column, kept, count, left)
        sigma, rank = 0.0, -(left - 1) / 2
        for i in range(count):
            if kept[i]:
                sigma += abs(column[i] - mean - slope * rank)
                rank += 1.0
        sigma /= left
        down, up = _reach(kappa_low, sigma) + rounding, _reach(kappa_high, sigma) + rounding
        rank = -(before - 1) / 2
        for i in range(count):
            if kept[i]:
                deviation = column[i] - mean - slope * rank
                kept[i] = -down <= deviation <= up
                left -= not kept[i]
                rank += 1.0
        if left == before or left < LINEAR_FIT_MIN_SAMPLES:
            break
    return left


@helper
def _line(column, kept, count, left):
    """Mean and slope of the least-squares line of value against rank, which counts from the middle."""
    total = 0.0
    for i in range(count):
        total += column[i] if kept[i] else 0.0
    mean = total / left
    total, rank = 0.0, -(left - 1) / 2
    for i in range(count):
        if kept[i]:
            total += rank * (column[i] - mean)
            rank += 1.0
    return mean, total / (left * (left * left - 1) / 12)


@helper
def _combine_lane(column, kept, weights, count, combine):
    """Combine what is kept of a sorted column, where that need not be neighbours."""
    if combine == MEAN:
        return _mean_of_kept(column, kept, weights, count)
    size = 0
    for i in range(count):
        size += kept[i]
    if size == 0:
        return _mean_of_all(column, count)
    size = 0
    for i in range(count):
        if kept[i]:
            column[size] = column[i]
            size += 1
    return _pick_of_runs(column, 0, size, size, size, combine)


@helper
def _mean_of_kept(column, kept, weights, count):
    total, weight, smallest, largest = 0.0, 0.0, np.inf, -np.inf
    for i in range(count):
        if kept[i]:
            total += column[i] * weights[i]
            weight += weights[i]
            smallest, largest = min(smallest, column[i]), column[i]
    return _clip(total / weight, smallest, largest) if weight > 0.0 else _mean_of_all(column, count)


@helper
def _mean_of_all(column, count):
    total = 0.0
    for i in range(count):
        total += column[i]
    return _clip(total / count, column[0], column[count - 1]) if count > 0 else np.nan
