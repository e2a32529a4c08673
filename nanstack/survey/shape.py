# SPDX-License-Identifier: GPL-3.0-or-later
"""The usual shape of a frame's stars, by adaptive moments (Bernstein & Jarvis 2002, AJ 123, 583)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from nanstack.survey.detection import Peaks
from nanstack.survey.stamps import Plate, Stamps, from_middle

STARS = 36  # that a shape is measured on, from so many cells a side:
CELLS = 6
HEIGHT = 10.0  # least one of these, in units of the noise; of a few the highest do
FEW = 5
REACH_PX = 10
RIM_PX = 9.0  # from there on a stamp shows surroundings
CORE_PX = 3.0  # where the light of a star is that tells its colour
ROUNDS = 7
FIRST_SIGMA_PX = 1.6
SIGMA_RANGE_PX = 0.5, 6.0  # along the axes
STREAK_PX = 4.5  # sigma along the longer axis: a satellite's trail, unless most are so
FWHM_PER_SIGMA = 2 * np.sqrt(2 * np.log(2))


@dataclass(frozen=True)
class Shape:
    """The shape of stars.

    Attributes
    ----------
    moments : ndarray of float64, shape (2, 2)
        In square pixels, x first.
    """

    moments: np.ndarray

    @cached_property
    def inverse(self) -> tuple[float, float, float]:
        """The inverse moments: xx, xy, yy."""
        (xx, xy), (_, yy) = np.linalg.inv(self.moments)
        return xx, xy, yy

    @property
    def axes(self) -> np.ndarray:
        """Standard deviations along the shorter and the longer axis."""
        return np.sqrt(np.linalg.eigvalsh(self.moments))

    @property
    def fwhm(self) -> float:
        """Of a round star with the same area, in pixels."""
        return float(FWHM_PER_SIGMA * np.sqrt(np.prod(self.axes)))

    @property
    def elongation(self) -> float:
        """Longer over shorter axis."""
        shorter, longer = self.axes
        return float(longer / shorter)

    @property
    def area(self) -> float:
        """Flux of a star with an amplitude of 1."""
        return float(2 * np.pi * np.prod(self.axes))


def usual_shape(plate: Plate, peaks: Peaks) -> Shape | None:
    """Return the median shape of high peaks from all over a frame; None where none of them has one."""
    typical = _typical(peaks, plate.raw.plane.shape)
    x, y = peaks.x[typical], peaks.y[typical]
    distance = from_middle(REACH_PX)
    stamps = plate.stamps(x, y, REACH_PX).above(distance > RIM_PX)
    core = distance < CORE_PX
    light = stamps.light / stamps.spread(_colour_balance(stamps, core)[stamps.colours])
    whole = stamps.counts.all(axis=1)
    unsaturated = whole & ~stamps.saturated[:, core].any(axis=1)
    best = unsaturated if unsaturated.any() else whole
    moments = _adaptive_moments(replace(stamps, light=light).of(best), x[best], y[best])
    return Shape(np.median(moments, axis=0)) if len(moments) else None


def _typical(peaks: Peaks, shape: tuple[int, int]) -> np.ndarray:
    """Return which peaks tell the shape: from all cells of the frame alike, as a nebula has many in few of them."""
    cell = np.floor(CELLS * peaks.y / shape[0]) * CELLS + np.floor(CELLS * peaks.x / shape[1])
    order = np.argsort(cell, kind="stable")  # from high to low in each cell
    rank = np.empty(len(cell), dtype=np.intp)
    rank[order] = np.arange(len(cell)) - np.searchsorted(cell[order], cell[order])
    typical = np.lexsort((-peaks.height, rank))[:STARS]
    least = min(HEIGHT, peaks.height[:FEW].min(initial=np.inf))
    return typical[peaks.height[typical] >= least]


def _colour_balance(stamps: Stamps, core: np.ndarray) -> np.ndarray:
    """Return how bright the usual star is in each colour, against the mean of all."""
    if not len(stamps.light):
        return np.ones(3)
    core = stamps.only(core)
    means = np.median(core.sums(core.light)[..., 0] / np.maximum(core.sums(core.counts)[..., 0], 1), axis=0)
    usual = means[means > 0].mean() if (means > 0).any() else 1.0
    return np.where(means > 0.1 * usual, means / usual, 1.0)


def _adaptive_moments(stamps: Stamps, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Return the moments of the Gaussians that match their own weights: (m, 2, 2), of those that have any."""
    moments = np.outer([1, 0, 1], np.full(len(x), FIRST_SIGMA_PX**2))  # xx, xy, yy
    ok = np.ones(len(x), dtype=bool)
    with np.errstate(all="ignore"):  # of what has no shape
        for _ in range(ROUNDS):
            inverse = _inverse(moments)
            weight = stamps.light * np.exp(-0.5 * stamps.square_radius(x, y, inverse))
            total, right, low, xx, xy, yy = (weight @ stamps.around.powers.T).T
            right, low = right / total, low / total
            seen = np.stack([xx / total - right**2, xy / total - right * low, yy / total - low**2])
            x = x + np.clip(2 * (right + stamps.column - x), -1, 1)
            y = y + np.clip(2 * (low + stamps.row - y), -1, 1)
            ok &= (total > 0) & np.isfinite(seen).all(axis=0)
            moments = np.where(ok, _unweighted(seen, inverse), moments)
    xx, xy, yy = moments[:, ok]
    moments = np.stack([xx, xy, xy, yy], axis=1).reshape(-1, 2, 2)
    short = np.linalg.eigvalsh(moments)[:, 1] < STREAK_PX**2
    return moments[short] if np.count_nonzero(short) >= min(FEW, len(short) / 2) else moments


def _unweighted(seen: np.ndarray, inverse: np.ndarray) -> np.ndarray:
    """Return the moments of Gaussians that were seen through a Gaussian weight, kept within the range of stars."""
    low, high = SIGMA_RANGE_PX
    seen = _limited(seen, low**2 / 2, high**2)
    return _inverse(_limited(_inverse(seen) - inverse, high**-2, low**-2))


def _inverse(matrix: np.ndarray) -> np.ndarray:
    """Return the inverse of symmetric matrices, as xx, xy, yy: (3, n)."""
    xx, xy, yy = matrix
    return np.stack([yy, -xy, xx]) / (xx * yy - xy * xy)


def _limited(matrix: np.ndarray, low: float, high: float) -> np.ndarray:
    """Return symmetric matrices, as xx, xy, yy (3, n), with their eigenvalues kept within limits."""
    xx, xy, yy = matrix
    middle, half = (xx + yy) / 2, np.hypot((xx - yy) / 2, xy)
    least, most = np.clip(middle - half, low, high), np.clip(middle + half, low, high)
    stretch = np.divide(most - least, 2 * half, out=np.ones_like(half), where=half > 0)
    off = (most + least) / 2 - stretch * middle
    return stretch * matrix + off * np.array([[1], [0], [1]])
