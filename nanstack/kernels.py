# SPDX-License-Identifier: GPL-3.0-or-later
"""The stack of a block of pixels, compiled: what `nanstack.rejection.stack_block` defines, many columns at once.

The columns of neighbouring pixels lie side by side, as the lanes of a small buffer that stays in the cache: a row is
one contiguous stretch of lanes, and every loop over the lanes becomes vector instructions. No data is +inf. A sorting
network over the rows sorts all lanes at once; quantiles and medians are then rows, and what is kept of a lane is an
interval of rows. Nothing ever mixes lanes, so a pixel's result does not depend on its neighbours, nor on threads.

Sums run over the sorted rows in double precision, in the order of the reference, so that both decide alike.
"""

from __future__ import annotations

import functools
import math
import threading
from pathlib import Path
from typing import NamedTuple

import numba
import numpy as np

from nanstack.rejection import (
    CLIP_ROUNDS,
    COMBINES,
    HUBER_ROUNDS,
    HUBER_SCALE_FLOOR,
    HUBER_TOLERANCE,
    LINEAR_FIT_MIN_SAMPLES,
    LINEAR_FIT_ROUNDING,
    LINEAR_FIT_ROUNDS,
    SIGMA_OF_MAD,
    WINSOR_CLIP_SIGMA,
    WINSOR_MIN_SAMPLES,
    Rejection,
)

INF = np.float32(np.inf)
MEAN, MEDIAN, MIN, MAX = (COMBINES.index(name) for name in ("mean", "median", "min", "max"))
NONE, KAPPA_SIGMA, WINSOR = range(3)  # the methods of one kernel: each is a special case of the next
GROUPS_PER_RUN = 32  # groups of lanes that share one allocation of buffers

_lock = threading.Lock()  # Numba's "workqueue" threads must not be entered twice at once


class Lanes(NamedTuple):
    """Sorted columns of neighbouring pixels, and one number of each kind per lane."""

    ordered: np.ndarray  # float32 (n, lanes), ascending, +inf for no data
    column: np.ndarray  # float64 (n,): one lane, for what is worked on lane by lane
    counts: np.ndarray  # int32: finite samples
    first: np.ndarray  # int32: the rows first ... last - 1 are kept
    last: np.ndarray
    low: np.ndarray  # float64, as all that follow: where a replaced sample is clipped
    high: np.ndarray
    center: np.ndarray
    sigma: np.ndarray
    lower: np.ndarray  # a sample is kept if lower <= sample <= upper
    upper: np.ndarray
    total: np.ndarray
    weight: np.ndarray
    smallest: np.ndarray
    largest: np.ndarray


def stack_columns(
    samples: np.ndarray,
    rejection: Rejection,
    combine: str,
    weights: np.ndarray | None,
    image: np.ndarray,
    coverage: np.ndarray,
    rejected: np.ndarray,
) -> None:
    """Reject outliers and combine what is left, as `nanstack.rejection.stack_block`; the results are filled in.

    Parameters
    ----------
    samples : ndarray of float32, shape (n, P), C-contiguous
        n >= 1 frames of P pixels, or pixels times channels; what is not finite is no data. Not modified.
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
    frames, pixels = samples.shape
    lanes = _lane_count(frames)
    weights, period = _weight_rows(weights, pixels, lanes)
    common = (samples, _comparators(frames), lanes, weights, period, COMBINES.index(combine), image, coverage, rejected)
    kappas = float(rejection.kappa_low), float(rejection.kappa_high)
    with _lock:
        if rejection.method == "huber":
            _stack_huber(*common, *kappas)
        elif rejection.method == "linear_fit":
            _stack_linear_fit(*common, *kappas)
        else:
            method = {"none": NONE, "kappa_sigma": KAPPA_SIGMA, "winsor": WINSOR}[rejection.method]
            fractions = float(rejection.winsor_low), float(1 - rejection.winsor_high)
            rewinsor = method == WINSOR and bool(rejection.rewinsor)
            _stack_sigma_clip(*common, *kappas, *fractions, rewinsor, method)


def is_compiled(rejection: Rejection) -> bool:
    """Return whether the kernel of a method is compiled, in this process or in the cache on disk.

    Parameters
    ----------
    rejection : Rejection

    Returns
    -------
    bool
        False where the next call of `stack_columns` has to compile, which takes seconds.
    """
    kernel = {"huber": _stack_huber, "linear_fit": _stack_linear_fit}.get(rejection.method, _stack_sigma_clip)
    if kernel.signatures:
        return True
    source = Path(__file__)
    index = f"{source.stem}.{kernel.py_func.__name__}-*.nbi"
    changed = source.stat().st_mtime
    return any(file.stat().st_mtime >= changed for file in Path(kernel.stats.cache_path).glob(index))


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


@functools.lru_cache(maxsize=32)
def _comparators(rows: int) -> np.ndarray:
    """Return the comparators (upper row, lower row) of Batcher's odd-even merge sort, in order.

    Knuth, The Art of Computer Programming 3, algorithm 5.2.2 M, which works for any number of rows.
    """
    pairs = [np.empty((0, 2), np.int32)]
    top = 1 << max(0, (rows - 1).bit_length() - 1)
    p = top
    while p > 0:
        q, r, d = top, 0, p
        while True:
            upper = np.arange(max(0, rows - d), dtype=np.int32)
            upper = upper[(upper & p) == r]
            pairs.append(np.stack([upper, upper + d], axis=1).astype(np.int32))
            if q == p:
                break
            d, q, r = q - p, q // 2, p
        p //= 2
    table = np.concatenate(pairs)
    table.setflags(write=False)
    return table


helper = numba.njit(nogil=True, error_model="numpy")
entry = numba.njit(parallel=True, cache=True, nogil=True, error_model="numpy")


# --- the kernels ------------------------------------------------------------------------------------------------------


@entry
def _stack_sigma_clip(
    samples,
    table,
    width,
    weights,
    period,
    combine,
    image,
    coverage,
    rejected,
    kappa_low,
    kappa_high,
    fraction_low,
    fraction_high,
    rewinsor,
    method,
):
    pixels = samples.shape[1]
    run = width * GROUPS_PER_RUN
    for part in numba.prange((pixels + run - 1) // run):
        lanes = _new_lanes(samples.shape[0], width)
        for start in range(part * run, min(pixels, (part + 1) * run), width):
            size = min(width, pixels - start)
            rows = _load(samples, start, size, lanes)
            in_order = method != NONE or combine != MEAN
            if in_order:
                _sort(lanes.ordered, rows, table)
            _sigma_clip_bounds(lanes, rows, kappa_low, kappa_high, fraction_low, fraction_high, method)
            _find_kept(lanes, rows, in_order)
            if combine != MEAN:
                _pick(lanes, combine, rewinsor)
            elif weights.size > 0:
                _sum_weighted(samples, start, size, weights, start % period, lanes, rewinsor)
                _divide(lanes)
            else:
                _sum_values(lanes, rows, rewinsor, in_order)
                _divide(lanes)
            _store(lanes, start, size, image, coverage, rejected)


@entry
def _stack_huber(
    samples, table, width, weights, period, combine, image, coverage, rejected, kappa_low, kappa_high
):
    pixels = samples.shape[1]
    run = width * GROUPS_PER_RUN
    for part in numba.prange((pixels + run - 1) // run):
        lanes = _new_lanes(samples.shape[0], width)
        active = np.empty(width, np.bool_)
        for start in range(part * run, min(pixels, (part + 1) * run), width):
            size = min(width, pixels - start)
            rows = _load(samples, start, size, lanes)
            _sort(lanes.ordered, rows, table)
            _huber_start(lanes)
            active[:] = lanes.counts > 0
            for _ in range(HUBER_ROUNDS):
                _bound(lanes, kappa_low, kappa_high)
                if weights.size > 0:
                    lanes.low[:] = lanes.lower
                    lanes.high[:] = lanes.upper
                    _sum_weighted(samples, start, size, weights, start % period, lanes, True)
                else:
                    _sum_clipped(lanes, rows)
                _divide(lanes)
                _huber_spread(lanes, rows, _reach(max(kappa_low, kappa_high), 1.0))
                if not _huber_move(lanes, active):
                    break
            _bound(lanes, kappa_low, kappa_high)
            _find_kept(lanes, rows, True)
            if combine == MEAN:
                lanes.total[:] = lanes.center
            else:
                lanes.low[:] = lanes.lower
                lanes.high[:] = lanes.upper
                _pick(lanes, combine, True)
            _store(lanes, start, size, image, coverage, rejected)


@entry
def _stack_linear_fit(
    samples, table, width, weights, period, combine, image, coverage, rejected, kappa_low, kappa_high
):
    frames, pixels = samples.shape
    run = width * GROUPS_PER_RUN
    for part in numba.prange((pixels + run - 1) // run):
        lanes = _new_lanes(frames, width)
        kept = np.empty(frames, np.bool_)
        own = np.ones((frames, width))
        for start in range(part * run, min(pixels, (part + 1) * run), width):
            size = min(width, pixels - start)
            rows = _load(samples, start, size, lanes)
            if weights.size > 0:
                _load_weights(samples, start, size, weights, start % period, own)
                _sort_with_weights(lanes.ordered, own, rows, table)
            else:
                _sort(lanes.ordered, rows, table)
            for lane in range(size):
                count = lanes.counts[lane]
                for i in range(count):
                    lanes.column[i] = lanes.ordered[i, lane]
                left = _linear_fit_lane(lanes.column, kept, count, kappa_low, kappa_high)
                lanes.first[lane], lanes.last[lane] = 0, left
                lanes.total[lane] = _combine_lane(lanes.column, kept, own[:, lane], count, combine)
            _store(lanes, start, size, image, coverage, rejected)


@helper
def _new_lanes(frames, width):
    return Lanes(
        np.empty((frames, width), np.float32),
        np.empty(frames),
        np.empty(width, np.int32),
        np.empty(width, np.int32),
        np.empty(width, np.int32),
        np.empty(width),
        np.empty(width),
        np.empty(width),
        np.empty(width),
        np.empty(width),
        np.empty(width),
        np.empty(width),
        np.empty(width),
        np.empty(width),
        np.empty(width),
    )


# --- columns in and results out ---------------------------------------------------------------------------------------


@helper
def _load(samples, start, size, lanes):
    """Fill the rows with the frames that have any data here, and return their number; lanes beyond `size` are empty."""
    counts = lanes.counts
    counts[:] = 0
    rows = 0
    for frame in range(samples.shape[0]):
        source = samples[frame, start : start + size]
        row = lanes.ordered[rows]
        found = 0
        for lane in range(size):
            finite = abs(source[lane]) < INF
            row[lane] = source[lane] if finite else INF
            counts[lane] += np.int32(finite)
            found |= np.int32(finite)
        row[size:] = INF
        rows += found
    return rows


@helper
def _store(lanes, start, size, image, coverage, rejected):
    for lane in range(size):
        count = lanes.counts[lane]
        image[start + lane] = lanes.total[lane] if count > 0 else np.nan
        coverage[start + lane] = count
        rejected[start + lane] = count - max(0, lanes.last[lane] - lanes.first[lane])


@helper
def _sort(ordered, rows, table):
    """Sort the first `rows` rows of every lane; comparators of further rows would find +inf there."""
    for k in range(table.shape[0]):
        if table[k, 1] < rows:
            above, below = ordered[table[k, 0]], ordered[table[k, 1]]
            for lane in range(above.size):
                a, b = above[lane], below[lane]
                above[lane] = a if a < b else b
                below[lane] = b if a < b else a


# --- order statistics -------------------------------------------------------------------------------------------------


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
    for count in range(max(1, counts.min()), counts.max() + 1):
        if not _occurs(counts, count):
            continue
        position = (count - 1) * fraction
        index = int(math.floor(position))
        t = position - index
        below, above = ordered[index], ordered[min(index + 1, count - 1)]
        for lane in range(counts.size):
            b, a = np.float64(below[lane]), np.float64(above[lane])
            gap = a - b
            value = b + gap * t if t < 0.5 else a - gap * (1 - t)
            result[lane] = value if counts[lane] == count else result[lane]


@helper
def _median(ordered, counts, low, high, result):
    """Median of the clipped columns."""
    for count in range(max(1, counts.min()), counts.max() + 1):
        if not _occurs(counts, count):
            continue
        below, above = ordered[(count - 1) // 2], ordered[count // 2]
        for lane in range(counts.size):
            b = _clip(np.float64(below[lane]), low[lane], high[lane])
            a = _clip(np.float64(above[lane]), low[lane], high[lane])
            result[lane] = (b + a) / 2 if counts[lane] == count else result[lane]


@helper
def _find_kept(lanes, rows, in_order):
    """Find the rows of each lane between its bounds, from either end inwards."""
    first, last = lanes.first, lanes.last
    first[:] = 0
    last[:] = lanes.counts
    if not in_order:
        return
    for i in range(rows):
        if not _count_below(lanes.ordered[i], lanes.lower, first):
            break
    last[:] = rows
    for i in range(rows - 1, -1, -1):
        if not _count_above(lanes.ordered[i], lanes.upper, last):
            break
    for lane in range(last.size):
        last[lane] = min(last[lane], lanes.counts[lane])


@helper
def _count_below(row, lower, first):
    found = 0
    for lane in range(row.size):
        below = np.int32(row[lane] < lower[lane])
        first[lane] += below
        found |= below
    return found > 0


@helper
def _count_above(row, upper, last):
    found = 0
    for lane in range(row.size):
        above = np.int32(row[lane] > upper[lane])
        last[lane] -= above
        found |= above
    return found > 0


# --- winsorized and plain sigma clipping ------------------------------------------------------------------------------


@helper
def _sigma_clip_bounds(lanes, rows, kappa_low, kappa_high, fraction_low, fraction_high, method):
    """Fill in the bounds of what is kept, and of what winsorizing leaves."""
    counts = lanes.counts
    lanes.low[:] = -np.inf
    lanes.high[:] = np.inf
    if method == NONE:
        lanes.lower[:] = -np.inf
        lanes.upper[:] = np.inf
        return
    whole = counts.min()
    plain_from, plain_to = 0, whole
    if method == WINSOR:
        _quantile(lanes.ordered, counts, fraction_low, lanes.low)
        _quantile(lanes.ordered, counts, fraction_high, lanes.high)
        # the rows between are not clipped in any lane
        plain_from = int(math.floor((counts.max() - 1) * fraction_low)) + 1
        plain_to = int(math.floor((whole - 1) * fraction_high)) + 1 if whole > 0 else 0
        _clipped_stats(lanes, rows, plain_from, plain_to, WINSOR_CLIP_SIGMA, WINSOR_CLIP_SIGMA)
    else:
        _clipped_stats(lanes, rows, plain_from, plain_to, kappa_low, kappa_high)
    _bound(lanes, kappa_low, kappa_high)
    if method == WINSOR:
        for lane in range(counts.size):
            few = counts[lane] < WINSOR_MIN_SAMPLES
            lanes.lower[lane] = -np.inf if few else lanes.lower[lane]
            lanes.upper[lane] = np.inf if few else lanes.upper[lane]


@helper
def _reach(kappa, sigma):
    # inf * 0 is NaN, but an infinite kappa is to reject nothing
    return kappa * sigma if kappa < np.inf else np.inf


@helper
def _bound(lanes, kappa_low, kappa_high):
    for lane in range(lanes.center.size):
        center, sigma = lanes.center[lane], lanes.sigma[lane]
        lower, upper = center - _reach(kappa_low, sigma), center + _reach(kappa_high, sigma)
        # without a centre nothing lies between the bounds
        lanes.lower[lane] = lower if lower == lower else np.inf
        lanes.upper[lane] = upper if upper == upper else -np.inf


@helper
def _clipped_stats(lanes, rows, plain_from, plain_to, kappa_low, kappa_high):
    """Median and standard deviation after clipping; only lanes whose first round drops samples need more rounds."""
    ordered, counts, low, high, total = lanes.ordered, lanes.counts, lanes.low, lanes.high, lanes.total
    mean, sigma, center = lanes.smallest, lanes.sigma, lanes.center
    total[:] = 0.0
    for i in range(rows):
        if plain_from <= i < plain_to:
            _add(ordered[i], total)
        else:
            _add_clipped(ordered[i], low, high, total)
    for lane in range(total.size):
        mean[lane] = total[lane] / max(counts[lane], 1)
    total[:] = 0.0
    for i in range(rows):
        if plain_from <= i < plain_to:
            _add_squares(ordered[i], mean, total)
        else:
            _add_clipped_squares(ordered[i], low, high, mean, total)
    for lane in range(total.size):
        sigma[lane] = math.sqrt(total[lane] / max(counts[lane], 1))
    _median(ordered, counts, low, high, center)
    for lane in range(total.size):
        count = counts[lane]
        if count == 0:
            continue
        lowest = _clip(np.float64(ordered[0, lane]), low[lane], high[lane])
        highest = _clip(np.float64(ordered[count - 1, lane]), low[lane], high[lane])
        bottom = center[lane] - _reach(kappa_low, sigma[lane])
        top = center[lane] + _reach(kappa_high, sigma[lane])
        if lowest < bottom or highest > top:
            for i in range(count):
                lanes.column[i] = _clip(np.float64(ordered[i, lane]), low[lane], high[lane])
            center[lane], sigma[lane] = _clip_lane(lanes.column, count, bottom, top, kappa_low, kappa_high)


@helper
def _add(row, total):
    for lane in range(row.size):
        total[lane] += row[lane]


@helper
def _add_clipped(row, low, high, total):
    for lane in range(row.size):
        value = _clip(np.float64(row[lane]), low[lane], high[lane])
        total[lane] += value if row[lane] < INF else 0.0


@helper
def _add_squares(row, mean, total):
    for lane in range(row.size):
        residual = row[lane] - mean[lane]
        total[lane] += residual * residual


@helper
def _add_clipped_squares(row, low, high, mean, total):
    for lane in range(row.size):
        residual = _clip(np.float64(row[lane]), low[lane], high[lane]) - mean[lane]
        total[lane] += residual * residual if row[lane] < INF else 0.0


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
    total = 0.0
    for i in range(begin, end):
        total += column[i]
    mean = total / size
    total = 0.0
    for i in range(begin, end):
        residual = column[i] - mean
        total += residual * residual
    return (column[(begin + end - 1) // 2] + column[(begin + end) // 2]) / 2, math.sqrt(total / size)


# --- combination ------------------------------------------------------------------------------------------------------


@helper
def _start_sums(lanes):
    lanes.total[:] = 0.0
    lanes.weight[:] = 0.0
    lanes.smallest[:] = np.inf
    lanes.largest[:] = -np.inf


@helper
def _sum_values(lanes, rows, rewinsor, in_order):
    """Sum what each sample counts as, without weights."""
    _start_sums(lanes)
    first, last, counts = lanes.first, lanes.last, lanes.counts
    for lane in range(counts.size):
        lanes.weight[lane] = counts[lane] if rewinsor else last[lane] - first[lane]
    # in the rows between, every lane keeps its sample
    begin, end = (first.max(), last.min()) if in_order else (rows, rows)
    for i in range(rows):
        if begin <= i < end:
            _add(lanes.ordered[i], lanes.total)
        else:
            _add_counted(lanes.ordered[i], lanes, rewinsor)
    if begin < end:
        _widen(lanes.ordered[begin], lanes.smallest, lanes.largest)
        _widen(lanes.ordered[end - 1], lanes.smallest, lanes.largest)


@helper
def _add_counted(row, lanes, rewinsor):
    lower, upper, low, high = lanes.lower, lanes.upper, lanes.low, lanes.high
    total, smallest, largest = lanes.total, lanes.smallest, lanes.largest
    for lane in range(row.size):
        x = np.float64(row[lane])
        inside = (x >= lower[lane]) & (x <= upper[lane])
        value = x if inside else _clip(x, low[lane], high[lane])
        counted = (row[lane] < INF) & (inside | rewinsor)
        total[lane] += value if counted else 0.0
        smallest[lane] = value if counted & (value < smallest[lane]) else smallest[lane]
        largest[lane] = value if counted & (value > largest[lane]) else largest[lane]


@helper
def _widen(row, smallest, largest):
    for lane in range(row.size):
        value = np.float64(row[lane])
        smallest[lane] = value if value < smallest[lane] else smallest[lane]
        largest[lane] = value if value > largest[lane] else largest[lane]


@helper
def _sum_weighted(samples, start, size, weights, offset, lanes, rewinsor):
    """Sum what each sample counts as times its weight, frame by frame."""
    _start_sums(lanes)
    for frame in range(samples.shape[0]):
        _add_weighted(
            samples[frame, start : start + size], weights[frame, offset : offset + size], lanes, rewinsor
        )


@helper
def _add_weighted(row, weights, lanes, rewinsor):
    lower, upper, low, high = lanes.lower, lanes.upper, lanes.low, lanes.high
    total, weight, smallest, largest = lanes.total, lanes.weight, lanes.smallest, lanes.largest
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
def _divide(lanes):
    """Turn the sums into means; what has no weight becomes the plain mean of the samples."""
    total, weight = lanes.total, lanes.weight
    empty = 0
    for lane in range(total.size):
        # rounding must not take a mean out of the extremes, so that equal values give that very value
        total[lane] = _clip(total[lane] / weight[lane], lanes.smallest[lane], lanes.largest[lane])
        empty |= np.int32(weight[lane] <= 0.0)
    if empty > 0:
        for lane in range(total.size):
            if weight[lane] <= 0.0 and lanes.counts[lane] > 0:
                total[lane] = _plain_mean(lanes.ordered, lane)


@helper
def _plain_mean(ordered, lane):
    total, count, smallest, largest = 0.0, 0, np.inf, -np.inf
    for i in range(ordered.shape[0]):
        x = np.float64(ordered[i, lane])
        if x == np.inf:
            continue
        total += x
        count += 1
        smallest, largest = min(smallest, x), max(largest, x)
    return _clip(total / count, smallest, largest)
