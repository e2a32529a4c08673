# SPDX-License-Identifier: GPL-3.0-or-later
"""Outlier rejection along the frame axis: the reference definitions.

Every function takes samples of shape (n, ...), one layer per frame, and looks at each pixel (each column of n
samples) alone. A non-finite sample is no data. The same source runs under NumPy and, given CuPy arrays, under CuPy.

Inside, samples are a float array of shape (n, pixels) with NaN for no data. Sorting puts NaN last, so the samples of
a pixel are the first `counts` entries of its sorted column: a quantile is an entry, and clipping moves two indices.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np

from nanstack.arrays import real_array
from nanstack.levels.photometry import SIGMA_OF_MAD

METHODS = ("winsor", "huber", "kappa_sigma", "linear_fit", "none")
COMBINES = ("mean", "median", "min", "max")

CLIP_ROUNDS = 5
WINSOR_CLIP_SIGMA = 3.0
WINSOR_MIN_SAMPLES = 3
LINEAR_FIT_ROUNDS = 10
LINEAR_FIT_MIN_SAMPLES = 4
LINEAR_FIT_ROUNDING = 1e-6  # of a column's largest absolute value: what bounds are wider by, for float32's rounding
HUBER_ROUNDS = 10
HUBER_TOLERANCE = 5e-4
HUBER_SCALE_FLOOR = 1e-10
CACHED_SAMPLES = 2**16  # stacked at once on a CPU: their columns then stay in its cache, four times as fast
MAX_WEIGHT = 1e200  # samples times larger ones overflow

Array = Any  # numpy.ndarray or cupy.ndarray


@dataclass(frozen=True)
class Rejection:
    """How outliers among the samples of a pixel are found, and what becomes of them.

    Parameters
    ----------
    method : {"winsor", "huber", "kappa_sigma", "linear_fit", "none"}
    kappa_low, kappa_high : float
        Reach of the bounds below and above the centre, in units of the method's sigma; inf rejects nothing there.
    winsor_low, winsor_high : float
        Fraction of the samples that winsorizing replaces at either end; in [0, 0.5).
    rewinsor : bool
        Whether a rejected sample still counts, as its winsorized value (method "winsor" only).

    Raises
    ------
    ValueError
        If an argument is out of its range.
    """

    method: str = "winsor"
    kappa_low: float = 3.0
    kappa_high: float = 3.0
    winsor_low: float = 0.05
    winsor_high: float = 0.05
    rewinsor: bool = True

    def __post_init__(self) -> None:
        _check_choice("method", self.method, METHODS)
        for name in ("kappa_low", "kappa_high"):
            if not getattr(self, name) >= 0:
                raise ValueError(f"{name} must be 0 or more, not {getattr(self, name)!r}")
        for name in ("winsor_low", "winsor_high"):
            _check_winsor_fraction(name, getattr(self, name))


class Block(NamedTuple):
    """The stack of a block of pixels; all three arrays have the shape of one frame's block."""

    image: Array  # float32, in the samples' unit; NaN where no frame has data
    coverage: Array  # int32, number of finite samples
    rejected: Array  # int32, number of rejected samples


def array_module(x: Array) -> ModuleType:
    """Return the module whose functions work on `x`: cupy for a CuPy array, numpy for all else."""
    if type(x).__module__.startswith("cupy"):
        import cupy

        return cupy
    return np


def winsor_bounds(samples: Array, low: float, high: float) -> tuple[Array, Array]:
    """Return the quantiles `low` and 1 - `high` of every pixel, between which winsorizing clips.

    Parameters
    ----------
    samples : array of real numbers, shape (n, ...)
    low, high : float
        Fraction of the samples below the lower and above the upper bound; in [0, 0.5).

    Returns
    -------
    lower, upper : arrays of float64, shape (...)
        As ``numpy.nanquantile`` with its default method "linear" (no. 7 of Hyndman & Fan 1996, American
        Statistician 50, 361), ignoring infinite samples too; NaN where no sample is finite.

    Raises
    ------
    ValueError
        If there is no frame, or a fraction is out of its range.
    """
    _check_winsor_fraction("low", low)
    _check_winsor_fraction("high", high)
    samples = _real(samples)
    columns = _columns(_flat(samples))
    lower, upper = _winsor_bounds(_sorted(columns), _counts(columns), low, high)
    return lower.reshape(samples.shape[1:]), upper.reshape(samples.shape[1:])


def reject(samples: Array, rejection: Rejection) -> tuple[Array, Array]:
    """Decide for each sample whether it is an outlier, and what it counts as.

    Parameters
    ----------
    samples : array of float, shape (n, ...)
    rejection : Rejection

    Returns
    -------
    values : array of float64, shape of `samples`
        What each sample counts as in the combination: itself, its replacement, or NaN (no data, or dropped).
    kept : array of bool, shape of `samples`
        True where the sample is finite and not rejected.

    Raises
    ------
    ValueError
        If there is no frame.
    """
    samples = _real(samples)
    values, kept = _reject(_columns(_flat(samples)), rejection)
    return values.reshape(samples.shape), kept.reshape(samples.shape)


def stack_block(samples: Array, rejection: Rejection, combine: str = "mean", weights: Array | None = None) -> Block:
    """Reject outliers and combine what is left, pixel by pixel.

    Parameters
    ----------
    samples : array of float, shape (n, ...)
    rejection : Rejection
    combine : {"mean", "median", "min", "max"}
    weights : array of float, broadcastable to the shape of `samples`, optional
        For the mean, and for the centre of method "huber"; the other combines ignore them. A weight of 0 takes a
        sample out of the mean, not out of the rejection.

    Returns
    -------
    Block
        Where every sample was rejected, or those that count weigh nothing, the image is the plain mean of the
        finite samples.

    Raises
    ------
    ValueError
        If there is no frame, samples are no real numbers, `combine` is unknown, or `weights` are negative, not finite
        or of the wrong shape.
    """
    _check_choice("combine", combine, COMBINES)
    samples = _real(samples)
    flat = _flat(samples)
    weights = None if weights is None else _flat(_checked_weights(weights, samples))
    xp, pixels = array_module(flat), flat.shape[1]
    block = Block(xp.empty(pixels, xp.float32), xp.empty(pixels, xp.int32), xp.empty(pixels, xp.int32))
    step = max(1, CACHED_SAMPLES // flat.shape[0]) if xp is np else max(1, pixels)
    for start in range(0, pixels, step):
        part = slice(start, start + step)
        results = _stack_columns(
            _columns(flat[:, part]), rejection, combine, None if weights is None else weights[:, part]
        )
        for whole, result in zip(block, results, strict=True):
            whole[part] = result
    return Block(*(whole.reshape(samples.shape[1:]) for whole in block))


def _stack_columns(columns: Array, rejection: Rejection, combine: str, weights: Array | None) -> Block:
    if weights is not None and rejection.method == "linear_fit":
        # equal samples have different ranks: which one is dropped must hang on its weight, not on frame order
        columns, weights = _in_order(_argsorted(weights), columns, weights)
    if rejection.method == "huber":
        center, values, kept = _huber(columns, rejection, weights)
        image = center if combine == "mean" else _combined(values, combine, None)
    else:
        values, kept = _reject(columns, rejection)
        image = _combined(values, combine, weights)
    coverage = _counts(columns)
    return Block(_or_plain_mean(image, columns), coverage, coverage - kept.sum(axis=0))


# --- the methods: columns -> (values, kept) ---------------------------------------------------------------------------


def _reject(columns: Array, rejection: Rejection) -> tuple[Array, Array]:
    if rejection.method == "huber":
        return _huber(columns, rejection, None)[1:]
    method = {"winsor": _winsor, "kappa_sigma": _kappa_sigma, "linear_fit": _linear_fit, "none": _keep_all}
    return method[rejection.method](columns, rejection)


def _keep_all(columns: Array, rejection: Rejection) -> tuple[Array, Array]:
    return columns.astype(np.float64), array_module(columns).isfinite(columns)


def _winsor(columns: Array, rejection: Rejection) -> tuple[Array, Array]:
    """Bounds from the clipped statistics of the winsorized samples."""
    xp = array_module(columns)
    ordered, counts = _sorted(columns), _counts(columns)
    low, high = _winsor_bounds(ordered, counts, rejection.winsor_low, rejection.winsor_high)
    winsorized = _clip(ordered, low, high)
    center, sigma = _sigma_clipped_stats(winsorized, counts, WINSOR_CLIP_SIGMA, WINSOR_CLIP_SIGMA)
    kept = _inside(columns, *_bounds(center, sigma, rejection))
    kept |= xp.isfinite(columns) & (counts < WINSOR_MIN_SAMPLES)
    if not rejection.rewinsor:
        return _dropping(columns, kept)
    return xp.where(kept, columns, _clip(columns, low, high)), kept


def _kappa_sigma(columns: Array, rejection: Rejection) -> tuple[Array, Array]:
    """Bounds from the clipped statistics of the samples themselves."""
    kappas = rejection.kappa_low, rejection.kappa_high
    center, sigma = _sigma_clipped_stats(_sorted(columns), _counts(columns), *kappas)
    return _dropping(columns, _inside(columns, *_bounds(center, sigma, rejection)))


def _linear_fit(columns: Array, rejection: Rejection) -> tuple[Array, Array]:
    """Deviations from a line through the sorted samples, as the linear fit clipping of PixInsight and Siril."""
    xp = array_module(columns)
    order = _argsorted(columns)
    (ordered,) = _in_order(order, columns.astype(np.float64))
    kept = xp.isfinite(ordered)
    rounding = LINEAR_FIT_ROUNDING * xp.where(kept, xp.abs(ordered), 0.0).max(axis=0)
    active = xp.nonzero(kept.sum(axis=0) >= LINEAR_FIT_MIN_SAMPLES)[0]
    for _ in range(LINEAR_FIT_ROUNDS):
        before = _pixels(kept, active)
        deviations, sigma = _line_deviations(_pixels(ordered, active), before)
        down = _reach(rejection.kappa_low, sigma) + rounding[active]
        up = _reach(rejection.kappa_high, sigma) + rounding[active]
        after = before & (deviations >= -down) & (deviations <= up)
        kept[:, active] = after
        left = after.sum(axis=0)
        active = active[(left < before.sum(axis=0)) & (left >= LINEAR_FIT_MIN_SAMPLES)]
        if active.size == 0:
            break
    (kept,) = _in_order(xp.argsort(order, axis=0), kept)
    return _dropping(columns, kept)


def _line_deviations(ordered: Array, kept: Array) -> tuple[Array, Array]:
    """Deviations of sorted samples from the least-squares line of value against rank among the kept, and their mean."""
    xp = array_module(ordered)
    left = kept.sum(axis=0)
    ranks = xp.cumsum(kept, axis=0, dtype=np.float64) - 1
    ranks -= (left - 1) / 2
    heights = ordered - xp.where(kept, ordered, 0.0).sum(axis=0) / left
    slope = xp.where(kept, ranks * heights, 0.0).sum(axis=0) / (left * (left * left - 1) / 12)
    deviations = heights - slope * ranks
    return deviations, xp.where(kept, xp.abs(deviations), 0.0).sum(axis=0) / left


def _huber(columns: Array, rejection: Rejection, weights: Array | None) -> tuple[Array, Array, Array]:
    """Return (center, values, kept): a Huber M-estimate of the centre, and the samples clipped around it.

    Huber (1964), Annals of Mathematical Statistics 35, 73: values beyond the bounds count as the bound.
    """
    xp = array_module(columns)
    counts = _counts(columns)
    zero = xp.zeros_like(counts)
    center = _median(_sorted(columns), zero, counts)
    scale = xp.maximum(SIGMA_OF_MAD * _median(_sorted(xp.abs(columns - center)), zero, counts), HUBER_SCALE_FLOOR)
    cutoff = max(rejection.kappa_low, rejection.kappa_high)

    active = xp.nonzero(counts)[0]
    for _ in range(HUBER_ROUNDS):
        old_center, old_scale, samples = center[active], scale[active], _pixels(columns, active)
        clipped = _clip(samples, *_bounds(old_center, old_scale, rejection))
        mean = _mean(clipped, None if weights is None else _pixels(weights, active))
        center[active] = new_center = _or_plain_mean(mean, samples)
        spread = _huber_spread(clipped - new_center, _reach(cutoff, old_scale))
        scale[active] = new_scale = xp.maximum(spread, HUBER_SCALE_FLOOR)
        active = active[_moved(old_center, new_center) | _moved(old_scale, new_scale)]
        if active.size == 0:
            break
    bounds = _bounds(center, scale, rejection)
    return center, _clip(columns, *bounds), _inside(columns, *bounds)


def _huber_spread(residuals: Array, reach: Array) -> Array:
    """Root mean square of the residuals, those beyond `reach` weighted by reach / |residual|."""
    xp = array_module(residuals)
    size = xp.abs(residuals)
    influence = xp.where(size <= reach, 1.0, reach / xp.where(size > 0, size, 1.0))
    influence = xp.where(xp.isfinite(residuals), influence, 0.0)
    squares = xp.where(xp.isfinite(residuals), influence * residuals * residuals, 0.0).sum(axis=0)
    return xp.sqrt(squares / xp.maximum(influence.sum(axis=0), np.finfo(np.float64).tiny))


def _moved(old: Array, new: Array) -> Array:
    xp = array_module(old)
    return xp.abs(new - old) > HUBER_TOLERANCE * xp.maximum(1.0, xp.abs(old))


# --- bounds -----------------------------------------------------------------------------------------------------------


def _bounds(center: Array, sigma: Array, rejection: Rejection) -> tuple[Array, Array]:
    return center - _reach(rejection.kappa_low, sigma), center + _reach(rejection.kappa_high, sigma)


def _reach(kappa: float, sigma: Array) -> Array:
    # inf * 0 is NaN, but an infinite kappa is to reject nothing
    if not math.isfinite(kappa):
        return array_module(sigma).full_like(sigma, math.inf)
    with np.errstate(over="ignore"):  # farther than any sample
        return kappa * sigma


def _inside(columns: Array, lower: Array, upper: Array) -> Array:
    return (columns >= lower) & (columns <= upper)


def _clip(columns: Array, lower: Array, upper: Array) -> Array:
    xp = array_module(columns)
    return xp.minimum(xp.maximum(columns, lower), upper)  # NaN stays NaN


def _dropping(columns: Array, kept: Array) -> tuple[Array, Array]:
    return array_module(columns).where(kept, columns.astype(np.float64), math.nan), kept


# --- statistics of sorted columns -------------------------------------------------------------------------------------


def _sigma_clipped_stats(ordered: Array, counts: Array, kappa_low: float, kappa_high: float) -> tuple[Array, Array]:
    """Median and standard deviation of each sorted column, as ``astropy.stats.sigma_clipped_stats``.

    A round drops the survivors outside median - kappa_low * std .. median + kappa_high * std. As in astropy, the last
    bounds are then applied to all samples: one that an early round dropped may come back. NaN where nothing is left.
    """
    xp = array_module(ordered)
    lower = xp.full(counts.shape, math.nan)
    upper = lower.copy()
    first, last = xp.zeros_like(counts), counts.copy()  # the survivors are ordered[first:last]
    active = xp.nonzero(counts)[0]
    for _ in range(CLIP_ROUNDS):
        columns, begin, end = _pixels(ordered, active), first[active], last[active]
        median, sigma = _median_and_std(columns, begin, end)
        lower[active] = bottom = median - _reach(kappa_low, sigma)
        upper[active] = top = median + _reach(kappa_high, sigma)
        first[active] = new_begin = xp.maximum(begin, (columns < bottom).sum(axis=0))
        last[active] = new_end = xp.minimum(end, (columns <= top).sum(axis=0))
        left = new_end - new_begin
        active = active[(left > 0) & (left < end - begin)]
        if active.size == 0:
            break
    return _median_and_std(ordered, (ordered < lower).sum(axis=0), (ordered <= upper).sum(axis=0))


def _median_and_std(ordered: Array, first: Array, last: Array) -> tuple[Array, Array]:
    """Median and standard deviation (ddof 0) of ordered[first:last].

    One pass suffices, as both moments are taken about the median: it lies within one sigma of the mean, so that their
    difference loses no more than a bit.
    """
    xp = array_module(ordered)
    ranks = xp.arange(ordered.shape[0])[:, None]
    selected = (ranks >= first) & (ranks < last)
    share = 1.0 / xp.maximum(last - first, 1)
    median = _median(ordered, first, last)
    deviations = xp.where(selected, ordered - median, 0.0)
    mean = deviations.sum(axis=0) * share
    variance = (deviations * deviations).sum(axis=0) * share - mean * mean
    return median, xp.where(last > first, xp.sqrt(xp.maximum(variance, 0.0)), math.nan)


def _median(ordered: Array, first: Array, last: Array) -> Array:
    """Median of ordered[first:last]; NaN where that is empty."""
    middle = (_entry(ordered, (first + last - 1) // 2) + _entry(ordered, (first + last) // 2)) / 2
    return array_module(ordered).where(last > first, middle, math.nan)


def _winsor_bounds(ordered: Array, counts: Array, low: float, high: float) -> tuple[Array, Array]:
    return _quantile(ordered, counts, low), _quantile(ordered, counts, 1 - high)


def _quantile(ordered: Array, counts: Array, fraction: float) -> Array:
    """Linear between order statistics; interpolated from the nearer one, as NumPy does."""
    xp = array_module(ordered)
    position = xp.maximum(counts - 1, 0) * fraction
    index = xp.floor(position).astype(np.int64)
    below, above = _entry(ordered, index), _entry(ordered, xp.minimum(index + 1, counts - 1))
    gap, t = above - below, position - index
    return xp.where(t < 0.5, below + gap * t, above - gap * (1 - t))


def _entry(ordered: Array, index: Array) -> Array:
    """Return ordered[index[p], p] for every pixel p, the index limited to the column."""
    xp = array_module(ordered)
    index = xp.clip(index, 0, ordered.shape[0] - 1)
    return xp.take_along_axis(ordered, index[None, :], axis=0)[0]


# --- combination ------------------------------------------------------------------------------------------------------


def _combined(values: Array, combine: str, weights: Array | None) -> Array:
    """Combine the values that are not NaN; NaN where there is none, or where they weigh nothing."""
    xp = array_module(values)
    if combine == "mean":
        return _mean(values, weights)
    ordered, counts = _sorted(values), _counts(values)
    if combine == "median":
        return _median(ordered, xp.zeros_like(counts), counts)
    return _entry(ordered, counts - 1) if combine == "max" else ordered[0]


def _mean(values: Array, weights: Array | None = None) -> Array:
    """Weighted mean of the values that are not NaN; NaN where these have no weight."""
    xp = array_module(values)
    counted = xp.isfinite(values)
    weights = counted if weights is None else xp.where(counted, weights, 0.0)
    total = weights.sum(axis=0)
    mean = xp.where(counted, values * weights, 0.0).sum(axis=0) / xp.where(total > 0, total, 1.0)
    # a mean lies between the extremes; rounding must not take it out, so that equal values give that very value
    lowest = xp.where(counted, values, math.inf).min(axis=0)
    highest = xp.where(counted, values, -math.inf).max(axis=0)
    return xp.where(total > 0, _clip(mean, lowest, highest), math.nan)


def _or_plain_mean(image: Array, columns: Array) -> Array:
    """Return the image, with the unweighted mean of the pixel's samples where it is NaN."""
    xp = array_module(image)
    empty = xp.nonzero(xp.isnan(image))[0]
    if empty.size:
        image[empty] = _mean(_pixels(columns, empty).astype(np.float64))
    return image


# --- columns ----------------------------------------------------------------------------------------------------------


def _real(samples: Array) -> Array:
    """Return samples as an array of real numbers; on the host, a masked one becomes NaN."""
    return real_array(samples, "samples") if array_module(samples) is np else samples


def _flat(samples: Array) -> Array:
    """Return the samples with all pixels along one axis."""
    if samples.ndim == 0 or samples.shape[0] == 0:
        raise ValueError(f"samples must hold at least one frame, not shape {samples.shape}")
    return samples.reshape(samples.shape[0], math.prod(samples.shape[1:]))


def _columns(flat: Array) -> Array:
    """Return flat samples as new columns, NaN for no data, and for what float32 cannot hold."""
    xp = array_module(flat)
    columns = flat if flat.dtype.kind == "f" and flat.dtype.itemsize >= 4 else flat.astype(np.float64)
    with np.errstate(over="ignore"):
        finite = xp.isfinite(columns.astype(np.float32, copy=False))
    return xp.where(finite, columns, columns.dtype.type(math.nan))


def _pixels(columns: Array, chosen: Array) -> Array:
    """Return some of the columns, in C order: sums over frames then run frame by frame, as in the kernels."""
    return array_module(columns).take(columns, chosen, axis=1)


def _checked_weights(weights: Array, samples: Array) -> Array:
    xp = array_module(samples)
    weights = xp.asarray(weights, dtype=np.float64)
    check_weight_values(weights)
    try:
        return xp.broadcast_to(weights, samples.shape)
    except ValueError:
        raise ValueError(f"weights of shape {weights.shape} do not broadcast to samples {samples.shape}") from None


def _counts(columns: Array) -> Array:
    return array_module(columns).isfinite(columns).sum(axis=0)


def _sorted(columns: Array) -> Array:
    """Return each column in ascending order as float64, NaN last."""
    xp = array_module(columns)
    return xp.ascontiguousarray(xp.sort(xp.ascontiguousarray(columns.T), axis=-1).T, dtype=np.float64)


def _argsorted(columns: Array) -> Array:
    """Return the indices that sort each column, NaN last, equal entries in frame order."""
    xp = array_module(columns)
    return xp.ascontiguousarray(xp.argsort(xp.ascontiguousarray(columns.T), axis=-1, kind="stable").T)


def _in_order(order: Array, *arrays: Array) -> list[Array]:
    xp = array_module(order)
    return [xp.take_along_axis(array, order, axis=0) for array in arrays]


# --- checks -----------------------------------------------------------------------------------------------------------


def check_weight_values(weights: Array) -> None:
    """Raise ValueError, with the value, where a weight is negative, not finite, or too large to be summed."""
    wrong = ~((weights >= 0) & (weights <= MAX_WEIGHT))
    if bool(wrong.any()):
        raise ValueError(f"weights must be finite and 0 or more, not {float(weights[wrong][0])}")


def _check_choice(name: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise ValueError(f"{name} must be one of {', '.join(choices)}, not {value!r}")


def _check_winsor_fraction(name: str, value: float) -> None:
    if not 0 <= value < 0.5:
        raise ValueError(f"{name} must be in [0, 0.5), not {value!r}")
