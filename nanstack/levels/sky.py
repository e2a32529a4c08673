# SPDX-License-Identifier: GPL-3.0-or-later
"""Sky levels that agree: frames of a group matched to their reference, tiles of a mosaic to each other.

Where coverage changes, a stack steps by the difference between the frames that end there and those that go on. What
is compared is pixel against pixel, where both have data: stars, nebulae and whatever gradient the two share cancel,
and what is left is the difference of their skies. It is measured as medians over cells of some 64 pixels, which
stars and outliers do not move, and the cells are fitted with Huber's weights, which a bad cell does not move.

Pixel coordinates are (x, y) = (column, row) with pixel centres at integers.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import scipy

from nanstack.arrays import float_frame, real_array, to_float32
from nanstack.levels.photometry import MAX_GAIN, SIGMA_OF_MAD
from nanstack.memory import threads

MODELS = ("none", "offset", "linear", "plane")
CELL_PX = 64
MATCH_PIXELS = 130_000  # of a frame: their median is known to less than a hundredth of the noise
MIN_CELL_PIXELS = 16
MIN_SPREAD = 0.07  # of the cells, in frame sides: that of cells over a quarter of the frame; less carries no plane
BIN_PX = 8  # holds most of a star, whatever the seeing
LAG_BINS = 4  # bins this far apart have the same sky but not the same star
MIN_CONTRAST = 10.0  # times its noise: a contrast that tells of the gain
MAX_CONTRAST = 100.0  # and none, saturated stars among them, counts for more than this one
MIN_CONTRASTS = 30
ERROR_OF_MEDIAN = 1.2533  # standard error of a median over that of a mean, for Gaussian noise
HUBER = 1.345  # 95 % efficient for Gaussian noise
SOLUTION_BITS = 30
MAX_ROUNDS = 50
STEEPEST = 10.0  # from side to side of a tile, in spreads of what offsets leave in its overlaps
TINY_ADU = 1e-4  # error of what has no noise
LARGEST, SMALLEST = float(np.finfo(np.float32).max), float(np.finfo(np.float32).tiny)  # what a sample can tell apart

log = logging.getLogger(__name__)


# --- frames -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class SkyMatch:
    """What brings a frame to the level of its reference: ``gain * sample + offset + slope * (position - centre)``.

    Attributes
    ----------
    gain, offset : ndarray, shape (C,) or (); or float
        A number for all channels or one per channel; `offset`, in ADU, is that at the centre.
    slope_x, slope_y : the same
        In ADU per pixel.
    centre : (float, float)
        Pixel x, y of the reference.
    cells : int or None
        Number of cells it was measured in; 0: frame and reference have nothing in common. None: not so measured.
    """

    gain: np.ndarray | float = 1.0
    offset: np.ndarray | float = 0.0
    slope_x: np.ndarray | float = 0.0
    slope_y: np.ndarray | float = 0.0
    centre: tuple[float, float] = (0.0, 0.0)
    cells: int | None = None

    def shift_at(self, rows: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
        """Return what is added to rows of a frame, after the gain.

        Parameters
        ----------
        rows : ndarray, shape (n,)
            Their y.
        shape : (W,) or (W, C)
            Of a row.

        Returns
        -------
        ndarray of float32, shape (n, W[, C]); (1, W[, C]) where all rows have the same
        """
        channels = (1,) * (len(shape) - 1)
        x = np.arange(shape[0], dtype=np.float64).reshape(-1, *channels) - self.centre[0]
        row = np.broadcast_to(self.offset + self.slope_x * x, shape)[np.newaxis]
        if np.any(self.slope_y):
            y = np.asarray(rows, dtype=np.float64).reshape(-1, 1, *channels) - self.centre[1]
            row = row + np.broadcast_to(self.slope_y * y, (len(y), *shape))
        return to_float32(row)

    def apply(self, samples: np.ndarray, top: int = 0) -> None:
        """Bring rows of a frame to the reference's level, in place; the same bits, whatever rows come together.

        Parameters
        ----------
        samples : ndarray of float32, shape (n, W) or (n, W, C)
        top : int
            Row of the frame that comes first.
        """
        row = samples.shape[1:]
        with np.errstate(over="ignore", invalid="ignore"):  # too large for float32: infinite, no data
            if np.any(np.not_equal(self.gain, 1.0)):
                samples *= np.broadcast_to(to_float32(np.asarray(self.gain, dtype=np.float64)), row).copy()
            samples += self.shift_at(np.arange(top, top + len(samples)), row)


def match_sky(frame: np.ndarray, reference: np.ndarray, model: str = "offset") -> SkyMatch:
    """Return what brings an aligned frame's sky to its reference's, channel by channel.

    Measured where both have data. A gradient that both have stays; one that only one of them has is matched by
    'plane', and by 'offset' in the mean over what they have in common. 'linear' also matches the gain, by the
    contrast of stars and nebulae, as the sky alone cannot tell a gain from an offset.

    Parameters
    ----------
    frame, reference : ndarray, same shape (H, W) or (H, W, C)
        A non-finite sample is no data.
    model : {'none', 'offset', 'linear', 'plane'}

    Returns
    -------
    SkyMatch
        Leaves the frame as it is, with `cells` = 0, where the two have next to nothing in common. Too few stars for
        a gain: gain 1; common pixels in too small a part of the frame for a plane: slopes 0.

    Raises
    ------
    ValueError
        For another model, frames of different shapes, or input that is not a frame.
    """
    frame, reference = float_frame(frame), float_frame(reference, "reference")
    _check_pair(frame, reference)
    if model not in MODELS:
        raise ValueError(f"model '{model}' is unknown (known: {', '.join(MODELS)})")
    height, width = frame.shape[:2]
    channels = frame.shape[2:]
    centre = ((width - 1) / 2, (height - 1) / 2)
    ones, zeros = np.ones(channels), np.zeros(channels)
    if model == "none":
        return SkyMatch(ones, zeros, zeros, zeros, centre)
    gain = _gains(frame, reference) if model == "linear" else ones
    step = int(np.clip(round(height * width / MATCH_PIXELS), 1, CELL_PX // 4))
    overlap = _measure(reference, frame, CELL_PX, step, np.float32(gain))
    if overlap is None:
        return SkyMatch(ones, zeros, zeros, zeros, centre, cells=0)
    x, y = (overlap.x - centre[0]) / width, (overlap.y - centre[1]) / height
    sloped = model == "plane" and _carries_a_plane(x, y)
    basis = np.column_stack([np.ones(len(x)), x, y] if sloped else [np.ones(len(x))])
    errors = _floored(overlap.error)
    fits = [robust_fit(basis, value, error) for value, error in zip(overlap.difference.T, errors.T, strict=True)]
    fits = rounded(np.array(fits), overlap.difference)
    offset, slope_x, slope_y = np.pad(fits, ((0, 0), (0, 3 - basis.shape[1]))).T.reshape(3, *channels)
    return SkyMatch(gain, offset, slope_x / width, slope_y / height, centre, len(x))


def match_skies(frames: Sequence[np.ndarray], reference: int, model: str) -> list[SkyMatch]:
    """Return what brings each aligned frame's sky to that of one of them, which stays as it is; see `match_sky`."""

    def match(index: int) -> SkyMatch:
        return match_sky(frames[index], frames[reference], "none" if index == reference else model)

    with ThreadPoolExecutor(threads()) as pool:
        return list(pool.map(match, range(len(frames))))


def to_common_sky(matches: Sequence[SkyMatch]) -> list[SkyMatch]:
    """Return what brings frames to their common sky, a robust mean of theirs, instead of to their reference's.

    A reference has the gradient of its own moment; the common one is some sqrt(n) smaller, and so are the steps
    between stacks that are made so.

    Parameters
    ----------
    matches : sequence of SkyMatch
        What brings each frame to the reference's sky, the reference itself among them; without gains.

    Returns
    -------
    list of SkyMatch
        A frame that has nothing in common with the reference stays as it is.
    """
    terms = ("offset", "slope_x", "slope_y")
    joined = [match for match in matches if match.cells != 0]
    if not joined:
        return list(matches)
    values = np.array([[getattr(match, name) for name in terms] for match in joined], dtype=np.float64)
    about, errors = np.ones((len(joined), 1)), np.ones(len(joined))
    common = np.reshape([robust_fit(about, v, errors) for v in values.reshape(len(joined), -1).T], values.shape[1:])
    common = dict(zip(terms, rounded(common, values), strict=True))
    return [
        replace(match, **{name: getattr(match, name) - common[name] for name in terms}) if match.cells != 0 else match
        for match in matches
    ]


def _carries_a_plane(x: np.ndarray, y: np.ndarray) -> bool:
    """Tell whether points, in sides of the frame, spread far enough in every direction for a plane through them."""
    return len(x) > 3 and float(np.linalg.eigvalsh(np.cov(x, y))[0]) > MIN_SPREAD**2


def _gains(frame: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """Return the gain per channel, (C,) or (), that brings a frame's contrasts to the reference's."""
    if frame.ndim == 2:
        return np.array(_gain(_contrasts(frame), _contrasts(reference)))
    return np.array([_gain(_contrasts(frame[..., c]), _contrasts(reference[..., c])) for c in range(frame.shape[2])])


def _contrasts(plane: np.ndarray) -> np.ndarray:
    """Return differences between bins of a channel that lie `LAG_BINS` apart along the rows."""
    height, width = (side // BIN_PX for side in plane.shape)
    blocks = plane[: height * BIN_PX, : width * BIN_PX].reshape(height, BIN_PX, width, BIN_PX)
    with np.errstate(invalid="ignore"):  # infinities are no data
        bins = blocks.mean(axis=(1, 3), dtype=np.float64)
        return bins[:, LAG_BINS:] - bins[:, :-LAG_BINS]


def _gain(mine: np.ndarray, theirs: np.ndarray) -> float:
    """Return the median ratio of two sets of contrasts, weighted by their strength; 1 where too few are strong.

    Chosen by the mean of the two, to which either's noise adds alike: choosing by one would favour its bright errors.
    """
    both = np.isfinite(mine) & np.isfinite(theirs)
    mine, theirs = mine[both], theirs[both]
    if mine.size < MIN_CONTRASTS:
        return 1.0
    mean = (mine + theirs) / 2
    noise = SIGMA_OF_MAD * float(np.median(np.abs(mean)))
    strong = (np.abs(mean) > MIN_CONTRAST * noise) & (mine != 0)
    if np.count_nonzero(strong) < MIN_CONTRASTS:
        return 1.0
    ratio, weight = theirs[strong] / mine[strong], np.abs(mean[strong])
    if noise > 0:
        weight = np.minimum(weight, MAX_CONTRAST * noise)
    order = np.argsort(ratio)
    total = np.cumsum(weight[order])
    gain = float(ratio[order][np.searchsorted(total, total[-1] / 2)])
    return gain if 1 / MAX_GAIN < gain < MAX_GAIN else 1.0


# --- overlaps ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Overlap:
    """How two images of the same sky differ, cell by cell.

    Attributes
    ----------
    x, y : ndarray of float64, shape (n,)
        Mean position of a cell's common pixels.
    difference : ndarray of float64, shape (n, C)
        Median of first - second; C = 1 for mono images.
    error : ndarray of float64, shape (n, C)
        Standard error of that median, as far as independent noise causes it.
    """

    x: np.ndarray
    y: np.ndarray
    difference: np.ndarray
    error: np.ndarray


def measure_overlap(first: np.ndarray, second: np.ndarray, *, cell: int = CELL_PX) -> Overlap | None:
    """Measure how two images on one grid differ where both have data.

    Parameters
    ----------
    first, second : ndarray of float, same shape (H, W) or (H, W, C)
        A pixel with a non-finite channel is no data. Read strip by strip: they may be memory maps.
    cell : int
        Side of a cell in pixels, at least 4.

    Returns
    -------
    Overlap or None
        None where no cell holds `MIN_CELL_PIXELS` common pixels.

    Raises
    ------
    ValueError
        For images of different shapes or of no real numbers, or a cell too small.
    """
    first, second = real_array(first, "first"), real_array(second, "second")
    _check_pair(first, second)
    if not isinstance(cell, (int, np.integer)) or cell < MIN_CELL_PIXELS**0.5:
        raise ValueError(f"cell must be at least {int(np.ceil(MIN_CELL_PIXELS**0.5))} pixels, not {cell}")
    return _measure(first, second, cell)


def _check_pair(one: np.ndarray, other: np.ndarray) -> None:
    if one.shape != other.shape or one.ndim not in (2, 3):
        raise ValueError(f"images must be of one shape (H, W) or (H, W, C), not {one.shape} and {other.shape}")


def _measure(
    first: np.ndarray, second: np.ndarray, cell: int, step: int = 1, gain: np.ndarray | float = 1.0
) -> Overlap | None:
    """Measure first - gain * second on every `step`-th row of each cell."""
    strips = []
    dtype = np.result_type(first, second, np.float32)
    for top in range(0, first.shape[0], cell):
        rows = np.arange(top, min(top + cell, first.shape[0]), step)
        part = np.s_[rows[0] : rows[-1] + 1 : step]
        with np.errstate(invalid="ignore", over="ignore"):  # infinities are no data
            scaled = second[part] if np.all(np.equal(gain, 1.0)) else gain * second[part]
            difference = np.subtract(first[part], scaled, dtype=dtype)
        strip = _measure_strip(np.atleast_3d(difference), rows, cell)
        if len(strip.x):
            strips.append(strip)
    if not strips:
        return None
    return Overlap(*(np.concatenate([getattr(strip, name) for strip in strips]) for name in Overlap.__annotations__))


def _measure_strip(difference: np.ndarray, rows: np.ndarray, cell: int) -> Overlap:
    """Return the cells of a strip of rows (n, W, C) that hold enough data."""
    height, width, channels = difference.shape
    cells = -(-width // cell)
    valid = np.zeros((height, cells * cell), dtype=bool)
    valid[:, :width] = (np.abs(difference) <= LARGEST).all(axis=2)
    counts = valid.reshape(height, cells, cell).sum(axis=(0, 2))
    kept = np.flatnonzero(counts >= MIN_CELL_PIXELS)
    samples = np.full((height, cells * cell, channels), np.nan, dtype=difference.dtype)
    np.copyto(samples[:, :width], difference, where=valid[:, :width, np.newaxis])
    samples = samples.reshape(height, cells, cell, channels)[:, kept].transpose(1, 3, 0, 2)
    samples = samples.reshape(len(kept), channels, height * cell)
    samples.sort(axis=-1)  # NaN comes last

    valid, count = valid.reshape(height, cells, cell)[:, kept], counts[kept]
    x = (valid.sum(axis=0) * np.arange(cell)).sum(axis=1) / count + kept * cell
    y = (valid.sum(axis=2) * rows[:, np.newaxis]).sum(axis=0) / count

    def ranked(rank: np.ndarray) -> np.ndarray:
        index = np.broadcast_to(rank[:, np.newaxis, np.newaxis], (len(kept), channels, 1)).astype(np.intp)
        return np.take_along_axis(samples, index, axis=2)[..., 0].astype(np.float64)

    median = (ranked((count - 1) // 2) + ranked(count // 2)) / 2
    sigma = (ranked(np.rint(0.8413 * (count - 1))) - ranked(np.rint(0.1587 * (count - 1)))) / 2
    return Overlap(x, y, median, ERROR_OF_MEDIAN * sigma / np.sqrt(count)[:, np.newaxis])


def _floored(error: np.ndarray) -> np.ndarray:
    """Return errors (n, C) of which none is small against the usual one: noise is not all that can be wrong."""
    usual = np.median(error, axis=0)
    return np.maximum(error, np.where(usual > SMALLEST, usual / 2, TINY_ADU))


def robust_fit(basis: Any, values: np.ndarray, errors: np.ndarray, held: np.ndarray | None = None) -> np.ndarray:
    """Fit by least squares with Huber's weights, reweighted until they settle.

    P. J. Huber, "Robust Statistics" (1981), chapter 7, with the scale of the residuals from their median.

    Parameters
    ----------
    basis : ndarray or scipy sparse array, shape (n, p)
    values, errors : ndarray of float64, shape (n,)
    held : ndarray of float64, shape (p,), optional
        1 / variance with which the coefficients are known to be zero.

    Returns
    -------
    ndarray of float64, shape (p,)
        What the values leave undetermined is as small as it can be.

    Raises
    ------
    ValueError
        Where a value is not finite, or an error not positive.
    """
    if not np.isfinite(values).all():
        raise ValueError(f"values must be finite, not {values[~np.isfinite(values)][0]}")
    if not (errors > 0).all():
        raise ValueError(f"errors must be positive, not {errors[~(errors > 0)][0]}")
    if not len(values):
        return np.zeros(basis.shape[1])
    plain = 1.0 / errors**2
    weights, solution = plain, None
    for _ in range(MAX_ROUNDS):
        before, solution = solution, _least_squares(basis, values, weights)
        residual = np.abs(values - basis @ solution) / errors
        if before is not None and np.allclose(solution, before, rtol=1e-9, atol=1e-9 * float(np.abs(values).max())):
            break
        limit = HUBER * max(SIGMA_OF_MAD * float(np.median(residual)), np.finfo(np.float32).eps * residual.max(), 1e-30)
        weights = plain * (limit / np.maximum(residual, limit))
    # held when the weights have settled: what holding leaves is no reason to think less of a value
    return solution if held is None else _least_squares(basis, values, weights, held)


def rounded(coefficients: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Round coefficients of terms about 1 to 30 bits of the largest value: what is below differs from BLAS to BLAS."""
    largest = np.abs(values).max(initial=SMALLEST)
    step = np.ldexp(1.0, np.frexp(largest)[1] - SOLUTION_BITS)
    return np.rint(coefficients / step) * step


def _least_squares(basis: Any, values: np.ndarray, weights: np.ndarray, held: np.ndarray | float = 0.0) -> np.ndarray:
    """Return the coefficients that fit weighted values best, as small as they can be where that is left open."""
    normal = basis.T @ (basis * weights[:, np.newaxis])
    normal = normal if isinstance(normal, np.ndarray) else normal.toarray()
    normal[np.diag_indices_from(normal)] += held
    return np.linalg.lstsq(normal, basis.T @ (weights * values), rcond=1e-12)[0]


# --- tiles ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Background:
    """What is to be added to a tile so that it agrees with its neighbours.

    Attributes
    ----------
    offset, slope_x, slope_y : ndarray of float64, shape (C,)
        ADU at the centre, and ADU per pixel.
    centre : (float, float)
        x, y in the mosaic.
    component : int
        Tiles that overlaps connect, directly or through others, have the same number. Between components nothing is
        known: each keeps its own mean level.
    """

    offset: np.ndarray
    slope_x: np.ndarray
    slope_y: np.ndarray
    centre: tuple[float, float]
    component: int

    def at(self, x: np.ndarray | float, y: np.ndarray | float) -> np.ndarray:
        """Return the correction at positions in the mosaic: their shape, broadcast, and (C,)."""
        x, y = (np.asarray(v, dtype=np.float64)[..., np.newaxis] - c for v, c in zip((x, y), self.centre, strict=True))
        return self.offset + self.slope_x * x + self.slope_y * y


def solve_backgrounds(
    count: int,
    overlaps: Mapping[tuple[int, int], Overlap],
    model: str = "offset",
    areas: Sequence[float] | None = None,
) -> list[Background]:
    """Find the correction of each tile with which all tiles agree best where they overlap.

    The area-weighted mean of the corrections of connected tiles is zero (for planes: everywhere), so that the mosaic
    as a whole does not drift.

    Parameters
    ----------
    count : int
        Number of tiles.
    overlaps : mapping
        ``(i, j)``: how tile i differs from tile j (i - j), in the coordinates of the mosaic.
    model : {'offset', 'plane'}
        What a tile is corrected by.
    areas : sequence of float, optional
        Weight of each tile in that mean; by default all alike.

    Returns
    -------
    list of Background, one a tile
        Zero for a tile without overlaps. One channel, which broadcasts, where there are no overlaps at all.

    Raises
    ------
    ValueError
        For another model, pairs or areas that do not fit the tiles, or overlaps with different channels, or that hold
        what is no number.
    """
    weights = _checked_areas(count, overlaps, model, areas)
    overlaps = {pair: overlap for pair, overlap in overlaps.items() if len(overlap.x)}
    pairs = np.array(list(overlaps), dtype=np.intp).reshape(-1, 2)
    links = scipy.sparse.coo_array((np.ones(len(pairs)), (pairs[:, 0], pairs[:, 1])), shape=(count, count))
    components, component = scipy.sparse.csgraph.connected_components(links, directed=False)
    if components > 1:
        log.warning("the tiles form %d groups that do not overlap: each group keeps its own mean level", components)
    if not overlaps:
        zero = np.zeros(1)
        return [Background(zero, zero, zero, (0.0, 0.0), int(own)) for own in component]

    first, second = (np.repeat(pairs[:, side], [len(o.x) for o in overlaps.values()]) for side in (0, 1))
    x, y, difference, error = (
        np.concatenate([getattr(overlap, name) for overlap in overlaps.values()]) for name in Overlap.__annotations__
    )
    middle = float(x.mean()), float(y.mean())
    scale = max(float(np.ptp(x)), float(np.ptp(y)), 1.0)
    places = _places(count, first, second, (x - middle[0]) / scale, (y - middle[1]) / scale)
    errors = _floored(error)
    found = np.zeros((count, 3, difference.shape[1]))
    left = -difference
    sides = np.full(count, max(np.ptp([o.x, o.y], axis=1).max() for o in overlaps.values()))
    sides = (sides if areas is None else np.sqrt(weights)) / scale
    for terms in (1, 3) if model == "plane" else (1,):  # planes for what offsets leave: narrow overlaps carry no slope
        basis = _pair_basis(first, second, (x - middle[0]) / scale, (y - middle[1]) / scale, places, terms)
        for channel in range(difference.shape[1]):
            values, sigmas = left[:, channel], errors[:, channel]
            held = _held_flat(sides, _spread(values, sigmas)) if terms == 3 else None
            solution = robust_fit(basis, values, sigmas, held)
            left[:, channel] -= basis @ solution
            found[:, :terms, channel] += solution.reshape(count, terms)
    found[:, 0] -= np.einsum("tk,tkc->tc", places, found[:, 1:])  # from the tile's own place to the middle
    for own in range(components):
        mine = component == own
        found[mine] -= np.average(found[mine], axis=0, weights=weights[mine])
    found = rounded(found, difference)
    return [
        Background(offset, slope_x / scale, slope_y / scale, middle, int(own))
        for (offset, slope_x, slope_y), own in zip(found, component, strict=True)
    ]


def _spread(values: np.ndarray, errors: np.ndarray) -> float:
    """Return by how much values differ from zero beyond their errors."""
    noise = float(np.median(errors))
    return max((SIGMA_OF_MAD * float(np.median(np.abs(values)))) ** 2 - noise**2, (noise / 10) ** 2) ** 0.5


def _held_flat(sides: np.ndarray, spread: float) -> np.ndarray:
    """Return how strongly the terms of each tile's plane are held to zero: 1 / variance.

    What offsets leave in the overlaps tells how steep planes may be, from side to side of a tile. Where an overlap is
    too narrow to tell a slope from noise, the slope then stays small; where it is wide, this has no weight.
    """
    held = np.zeros((len(sides), 3))
    held[:, 1:] = (sides[:, np.newaxis] / (STEEPEST * spread)) ** 2
    return held.ravel()


def _checked_areas(
    count: int, overlaps: Mapping[tuple[int, int], Overlap], model: str, areas: Sequence[float] | None
) -> np.ndarray:
    """Return the tiles' weights, or say what does not fit."""
    if not isinstance(count, (int, np.integer)) or count < 0:
        raise ValueError(f"count must be a number of tiles, not {count!r}")
    if model not in ("offset", "plane"):
        raise ValueError(f"model '{model}' is unknown (known: offset, plane)")
    for i, j in overlaps:
        if not (0 <= i < count and 0 <= j < count and i != j):
            raise ValueError(f"overlap ({i}, {j}) does not name two of the {count} tiles")
    for pair, overlap in overlaps.items():
        for name in Overlap.__annotations__:
            values = getattr(overlap, name)
            if len(values) != len(overlap.x) or not (np.abs(values) <= LARGEST).all():
                raise ValueError(f"overlap {pair}: {name} must hold {len(overlap.x)} finite numbers")
        if (overlap.error < 0).any():
            raise ValueError(f"overlap {pair}: error must be 0 or more, not {overlap.error.min()}")
    if len({overlap.difference.shape[1] for overlap in overlaps.values()}) > 1:
        raise ValueError("overlaps must have the same channels")
    weights = np.ones(count) if areas is None else np.asarray(areas, dtype=np.float64)
    if weights.shape != (count,) or not (np.isfinite(weights).all() and (weights > 0).all()):
        raise ValueError(f"areas must be {count} positive numbers, one a tile")
    return weights


def _places(count: int, first: np.ndarray, second: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Return the mean position (count, 2) of each tile's cells: about it, its offset and its slopes are independent."""
    number = np.bincount(first, minlength=count) + np.bincount(second, minlength=count)
    sums = [np.bincount(first, v, minlength=count) + np.bincount(second, v, minlength=count) for v in (x, y)]
    return np.column_stack(sums) / np.maximum(number, 1)[:, np.newaxis]


def _pair_basis(
    first: np.ndarray, second: np.ndarray, x: np.ndarray, y: np.ndarray, places: np.ndarray, terms: int
) -> Any:
    """Return the sparse array (cells, terms * tiles) of correction(first) - correction(second)."""
    cells = np.arange(len(x))
    values, rows, columns = [], [], []
    for tile, sign in ((first, 1.0), (second, -1.0)):
        own = np.column_stack([np.ones(len(x)), x - places[tile, 0], y - places[tile, 1]])[:, :terms]
        values.append((sign * own).ravel())
        rows.append(np.repeat(cells, terms))
        columns.append((terms * tile[:, np.newaxis] + np.arange(terms)).ravel())
    parts = (np.concatenate(values), (np.concatenate(rows), np.concatenate(columns)))
    return scipy.sparse.csr_array(parts, shape=(len(x), terms * len(places)))
