# SPDX-License-Identifier: GPL-3.0-or-later
"""Outliers by what is known of each frame's noise: the reference definition.

A sample goes where it is farther from the centre of its pixel's samples than noise, and stars that look a little
different in each frame, can explain. The second is the derivative term of the Hubble telescope's driz_cr (Fruchter and
Hook 2002, PASP 114, 144): where the sky is steep, more is allowed. Nothing is estimated from a pixel's own few samples
but their centre, so that three frames are enough.

What a sample may be off is reckoned in float32, as samples are: far more exact than noise is known, and in half the
time. Sums of samples are float64.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from nanstack.levels.placed import PlacedFrame
from nanstack.stack.stacked import StackedCell

GROW_PX = 2  # how far from an outlier, along rows and columns, its neighbours are suspects
STEEP_PX = 1  # how far around a pixel the sky's steepness is looked for
REACH_PX = GROW_PX + STEEP_PX  # a pixel's result hangs on samples so far away, and no farther
WEIGHTS = (1e-100, 1e100)  # the squares of others are no numbers
RANGE_OF_NINE = 2.97  # of nine normal numbers, in their sigma (Tippett 1925, Biometrika 17, 364)


@dataclass(frozen=True)
class NoiseRejection:
    """How far off a sample must be to be an outlier.

    Parameters
    ----------
    kappa : float
        In units of what noise and steepness explain; inf rejects nothing.
    grow : float
        The same for samples within two pixels of an outlier, in the same frame and colour and off to the same side: the
        flanks of trails.

    Raises
    ------
    ValueError
        For one that is negative or no number, or `grow` above `kappa`.
    """

    kappa: float = 4.0
    grow: float = 2.0

    def __post_init__(self) -> None:
        if not self.kappa >= 0:
            raise ValueError(f"kappa must be 0 or more, not {self.kappa!r}")
        if not 0 <= self.grow <= self.kappa:
            raise ValueError(f"grow must be within 0 to kappa ({self.kappa:g}), not {self.grow!r}")

    @property
    def squares(self) -> tuple[np.float32, np.float32]:
        """The squares of both."""
        return np.float32(self.kappa * self.kappa), np.float32(self.grow * self.grow)


class FrameNoise(NamedTuple):
    """What is known of the frames of a block: `nanstack.levels.placed.PlacedFrame`, of all in arrays of float64."""

    variance: np.ndarray  # (n, C), of the dark sky's samples
    photon: np.ndarray  # (n, C), by how much it grows for each ADU above `sky`
    sky: np.ndarray  # (n, C)
    blur: np.ndarray  # (n,)
    weight: np.ndarray  # (n,), within WEIGHTS

    @classmethod
    def of(cls, frames: Sequence[PlacedFrame]) -> FrameNoise:
        """Collect what is known.

        Raises
        ------
        ValueError
            For a weight that is not above 0, or out of all proportion.
        """
        weight = np.array([float(frame.weight) for frame in frames])
        wrong = ~((weight >= WEIGHTS[0]) & (weight <= WEIGHTS[1]))
        if wrong.any():
            raise ValueError(f"weights of frames must be above 0 and finite, not {weight[wrong][0]:g}")
        columns = (np.array([getattr(f.noise, name) for f in frames], float) for name in ("variance", "photon", "sky"))
        return cls(*columns, np.array([float(frame.blur) for frame in frames]), weight)

    def variance_at(self, frame: int, level: np.ndarray) -> np.ndarray:
        """Return the variance of a frame's samples where the sky has a level (..., C): float32."""
        variance, photon, sky = (part[frame].astype(np.float32) for part in (self.variance, self.photon, self.sky))
        return variance + photon * np.maximum(level - sky, np.float32(0))

    def squared_blur(self, frame: int) -> np.ndarray:
        """Return the square of a frame's blur: float32."""
        return (self.blur[frame] * self.blur[frame]).astype(np.float32)


class Mean(NamedTuple):
    """What is left of a block, averaged; the arrays have the shape of a frame's part."""

    image: np.ndarray  # float32, weighted mean; NaN where no frame has data
    weight: np.ndarray  # float64, sum of the weights of what is left
    variance: np.ndarray  # float32, of the mean; NaN where no frame has data


def centers(samples: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return where the samples of each pixel lie, and how many there are.

    Parameters
    ----------
    samples : ndarray of float32, shape (n, ...)

    Returns
    -------
    centers : ndarray of float32, shape (...)
        The median; of two samples the lower, as what disturbs adds light; NaN where there is none.
    counts : ndarray of int, shape (...)
        Number of finite samples.
    """
    finite = np.isfinite(samples)
    ordered = np.sort(np.where(finite, samples, np.float32(math.nan)), axis=0)
    counts = finite.sum(axis=0)
    below, above = (
        np.take_along_axis(ordered, np.maximum(counts - 2 + one, 0)[None] // 2, axis=0)[0].astype(np.float64)
        for one in (1, 2)
    )
    return np.where(counts == 2, ordered[0], ((below + above) / 2).astype(np.float32)), counts


def share_of_center(counts: np.ndarray) -> np.ndarray:
    """Return the variance of a centre, in units of the mean variance of its samples: float32.

    Of a median (pi / 2) / (n + 1/2): exact for many samples, within 2 % for 3 and 5, 17 % too much for 4.
    """
    few = counts.astype(np.float32) + np.float32(0.5)
    return np.where(counts > 2, np.float32(math.pi / 2) / few, np.float32(1))


def steepness(level: np.ndarray, noise: np.ndarray) -> np.ndarray:
    """Return by how much a level (h, w, C) varies between neighbours, less what its noise makes of nothing: float32.

    Parameters
    ----------
    level : ndarray of float32, shape (h, w, C)
        NaN where nothing is known.
    noise : ndarray of float32, shape (h, w, C)
        Standard deviation of the level.
    """
    height, width = level.shape[:2]
    around = np.full((height + 2, width + 2, level.shape[2]), math.nan, np.float32)
    around[1:-1, 1:-1] = level
    highest, lowest = around[1:-1, 1:-1], around[1:-1, 1:-1]
    for down in range(3):
        for right in range(3):
            neighbour = around[down : down + height, right : right + width]
            highest, lowest = np.fmax(highest, neighbour), np.fmin(lowest, neighbour)
    return np.fmax(highest - lowest - np.float32(RANGE_OF_NINE) * noise, np.float32(0))


class Tolerance(NamedTuple):
    """How far from the centre a sample may be, squared, at each pixel: what noise and steepness explain.

    For n > 2 samples it is ``var + (blur * steep)^2 + var_of_center``, less what sample and centre have in common, as
    the sample is a part of its centre: ``share_of_center * min(var, mean)``. Of equal noises, var is left. A sample
    differs by a little less than that from the median of few, but its distance from it has wider tails than a normal
    one: at 4 sigma, 1 in 3,000 good samples of three is lost, 1 in 9,000 of twelve. Limited to the mean variance, it
    holds for a noisy frame as for a quiet one.
    """

    own: np.ndarray  # 1; 0 for two samples, whose `common` holds all
    mean: np.ndarray  # mean variance of the samples
    shared: np.ndarray  # share of the centre, or 0
    common: np.ndarray
    squared_steepness: np.ndarray

    def of(self, variance: np.ndarray, squared_blur: np.float32) -> np.ndarray:
        """Return that for samples of a variance."""
        less = self.shared * np.minimum(variance, self.mean)
        return self.own * (variance - less + squared_blur * self.squared_steepness) + self.common


def tolerances(samples: np.ndarray, center: np.ndarray, counts: np.ndarray, known: FrameNoise) -> Tolerance:
    """Return what noise and steepness explain at each pixel of a block (n, h, w, C).

    Of two samples the centre is one itself: how far the other may be from it is what both add up to.
    """
    nothing, one = np.float32(0), np.float32(1)
    total, blurs = np.zeros(center.shape, np.float32), np.zeros(center.shape, np.float32)
    for frame, layer in enumerate(samples):
        finite = np.isfinite(layer)
        total += np.where(finite, known.variance_at(frame, center), nothing)
        blurs += np.where(finite, known.squared_blur(frame), nothing)
    mean = total / np.maximum(counts, 1).astype(np.float32)
    share = share_of_center(counts)
    of_center = mean * share
    steep = steepness(center, np.sqrt(of_center))
    squared = steep * steep
    pair = counts == 2
    return Tolerance(
        own=np.where(pair, nothing, one),
        mean=mean,
        shared=np.where(counts > 2, share, nothing),
        common=np.where(pair, total + blurs * squared, of_center),
        squared_steepness=squared,
    )


@np.errstate(over="ignore", invalid="ignore")  # beyond float32 nothing is beyond; infinity times 0
def outliers(samples: np.ndarray, known: FrameNoise, rejection: NoiseRejection) -> np.ndarray:
    """Return which samples of a block are rejected.

    Parameters
    ----------
    samples : ndarray of float32, shape (n, h, w, C)
        Finite or no data, in all colours at once.
    known : FrameNoise
    rejection : NoiseRejection

    Returns
    -------
    ndarray of bool, shape of `samples`
        False for no data. Right for pixels that are `REACH_PX` or more away from where the block is cut.
    """
    center, counts = centers(samples)
    tolerance = tolerances(samples, center, counts, known)
    rejected = np.empty(samples.shape, bool)
    nearest, value = np.full(center.shape, math.inf, np.float32), np.full(center.shape, math.nan, np.float32)
    for frame, layer in enumerate(samples):
        allowed = tolerance.of(known.variance_at(frame, center), known.squared_blur(frame))
        rejected[frame] = _off(layer, center, allowed, rejection)
        distance = np.abs(_distance(layer, center))
        closer = (distance < nearest) | ((distance == nearest) & (layer < value))
        nearest, value = np.where(closer, distance, nearest), np.where(closer, layer, value)
    nothing_left = rejected.sum(axis=0) == counts
    rejected &= ~(nothing_left & (samples == value))
    return rejected


def _off(layer: np.ndarray, center: np.ndarray, allowed: np.ndarray, rejection: NoiseRejection) -> np.ndarray:
    """Return which samples of a frame are outliers, or near one and off to the same side."""
    distance = _distance(layer, center)
    off = distance * distance
    outlying, suspect = (off > bound * allowed for bound in rejection.squares)
    above = distance > 0
    return outlying | (suspect & ((_grown(outlying & above) & above) | (_grown(outlying & ~above) & ~above)))


def _distance(layer: np.ndarray, center: np.ndarray) -> np.ndarray:
    """Return how far samples are from the centre; NaN for no data."""
    return np.where(np.isfinite(layer), layer, np.float32(math.nan)) - center


def _grown(mask: np.ndarray) -> np.ndarray:
    """Return a mask (h, w, C) and what lies within GROW_PX of it, along rows and columns."""
    height, width, _ = mask.shape
    wide = np.zeros((height + 2 * GROW_PX, width + 2 * GROW_PX, mask.shape[2]), bool)
    for down in range(2 * GROW_PX + 1):
        for right in range(2 * GROW_PX + 1):
            wide[down : down + height, right : right + width] |= mask
    return wide[GROW_PX:-GROW_PX, GROW_PX:-GROW_PX]


@np.errstate(over="ignore", invalid="ignore")  # nothing through nothing; a variance beyond float32
def mean_of_kept(samples: np.ndarray, rejected: np.ndarray, known: FrameNoise) -> Mean:
    """Average what is left of a block (n, h, w, C), by the frames' weights."""
    center, _ = centers(samples)
    total, weight, squares = (np.zeros(center.shape) for _ in range(3))
    for frame, (layer, gone) in enumerate(zip(samples, rejected, strict=True)):
        own = np.where(np.isfinite(layer) & ~gone, known.weight[frame], 0.0)
        total += own * np.where(own > 0, layer, 0.0)
        weight += own
        squares += np.where(own > 0, own * own * known.variance_at(frame, center), 0.0)
    image, variance = (part.astype(np.float32) for part in (total / weight, squares / (weight * weight)))
    return Mean(image, weight, variance)


class Judgement(NamedTuple):
    """Which samples of a block are good, and what these tell."""

    good: np.ndarray  # bool, as the samples: there is data, and it is not rejected
    mean: np.ndarray  # float32, (h, w, C), of these; NaN where there are none
    counts: np.ndarray  # uint16, (h, w): of frames with data, good or not
    rejected: int  # samples of the inner part


def judged(samples: np.ndarray, known: FrameNoise, rejection: NoiseRejection, inner: tuple[slice, slice]) -> Judgement:
    """Return which samples of a block are good, by `outliers`.

    Parameters
    ----------
    samples, known, rejection, inner
        As `stack_noise` has them.
    """
    rejected, there = outliers(samples, known, rejection), np.isfinite(samples)
    mean = mean_of_kept(samples, rejected, known).image
    counts = there[..., 0].sum(axis=0).astype(np.uint16)
    return Judgement(there & ~rejected, mean, counts, int(rejected[:, inner[0], inner[1]].sum()))


def stack_noise(
    samples: np.ndarray, known: FrameNoise, rejection: NoiseRejection, inner: tuple[slice, slice]
) -> StackedCell:
    """Reject outliers and average what is left.

    Parameters
    ----------
    samples : ndarray of float32, shape (n, h, w, C)
        Finite or no data, in all colours at once.
    known : FrameNoise
    rejection : NoiseRejection
    inner : (slice, slice)
        The part whose results are right, and returned: `REACH_PX` or more away from where the block is cut.
    """
    rejected = outliers(samples, known, rejection)
    mean = mean_of_kept(samples, rejected, known)
    part = np.s_[inner[0], inner[1]]
    counts = np.isfinite(samples).sum(axis=0)[part]
    return StackedCell(
        mean.image[part], counts[..., 0].astype(np.uint16), mean.weight[part].mean(axis=2).astype(np.float32),
        mean.variance[part], int(rejected[:, inner[0], inner[1]].sum()), int(counts.sum()),
    )  # fmt: skip
