# SPDX-License-Identifier: GPL-3.0-or-later
"""The usual shape of a frame's stars, by adaptive moments (Bernstein & Jarvis 2002, AJ 123, 583)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from nanstack.survey.detection import Peaks
from nanstack.survey.stamps import Plate, Stamps, from_middle

STARS = 36  # that a shape is measured on, from so many cells a side:
CELLS = 6
HEIGHT = 10.0  # least one of these, in units of the noise; of a few the highest do
FEW = 5
REACH_PX = 9
RIM_PX = 7.0  # from there on a stamp shows surroundings
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
    light = stamps.light / _colour_balance(stamps, distance < CORE_PX)[stamps.colour]
    whole = stamps.counts.all(axis=1)
    unsaturated = whole & ~stamps.saturated[:, distance < CORE_PX].any(axis=1)
    best = unsaturated if unsaturated.any() else whole
    moments = _adaptive_moments(stamps.x[best], stamps.y[best], light[best], x[best], y[best])
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
    by_colour = []
    for colour in range(3):
        mine = core & stamps.counts & (stamps.colour == colour)
        by_colour.append(np.where(mine, stamps.light, 0).sum(axis=1) / np.maximum(mine.sum(axis=1), 1))
    means = np.median(by_colour, axis=1)
    usual = means[means > 0].mean() if (means > 0).any() else 1.0
    return np.where(means > 0.1 * usual, means / usual, 1.0)


def _adaptive_moments(px: np.ndarray, py: np.ndarray, light: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Return the moments of the Gaussians that match their own weights: (m, 2, 2), of those that have any."""
    moments = np.broadcast_to(np.eye(2) * FIRST_SIGMA_PX**2, (len(x), 2, 2)).copy()
    ok = np.ones(len(x), dtype=bool)
    with np.errstate(all="ignore"):  # of what has no shape
        for _ in range(ROUNDS):
            inverse = np.linalg.inv(moments)
            u, v = px - x[:, None], py - y[:, None]
            weight = light * np.exp(-0.5 * _quadratic(inverse, u, v))
            total = weight.sum(axis=1)
            shift = np.stack([(weight * u).sum(axis=1), (weight * v).sum(axis=1)]) / total
            xx, xy, yy = (np.sum(weight * a * b, axis=1) / total for a, b in ((u, u), (u, v), (v, v)))
            seen = np.stack([xx, xy, xy, yy], axis=1).reshape(-1, 2, 2) - np.einsum("in,jn->nij", shift, shift)
            x, y = x + np.clip(2 * shift[0], -1, 1), y + np.clip(2 * shift[1], -1, 1)
            ok &= (total > 0) & np.isfinite(seen).all(axis=(1, 2))
            moments[ok] = _unweighted(seen[ok], inverse[ok])
    moments = moments[ok]
    short = np.linalg.eigvalsh(moments)[:, 1] < STREAK_PX**2
    return moments[short] if np.count_nonzero(short) >= min(FEW, len(short) / 2) else moments


def _quadratic(inverse: np.ndarray, u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """Return the square distance (n, k) in sigmas."""
    a, b, c = (inverse[:, i, j][:, None] for i, j in ((0, 0), (0, 1), (1, 1)))
    return a * u * u + 2 * b * u * v + c * v * v


def _unweighted(seen: np.ndarray, inverse: np.ndarray) -> np.ndarray:
    """Return the moments of Gaussians that were seen through a Gaussian weight, kept within the range of stars."""
    values, vectors = np.linalg.eigh(seen)
    low, high = SIGMA_RANGE_PX
    seen = (vectors * np.clip(values, low**2 / 2, high**2)[:, None, :]) @ vectors.swapaxes(1, 2)
    values, vectors = np.linalg.eigh(np.linalg.inv(seen) - inverse)
    values = 1 / np.clip(values, high**-2, low**-2)
    return (vectors * values[:, None, :]) @ vectors.swapaxes(1, 2)
