# SPDX-License-Identifier: GPL-3.0-or-later
"""The noise of a frame's samples, by what neighbours differ."""

from __future__ import annotations

import math

import numpy as np

from nanstack.survey.raw import QUANTISATION, SIGMA_OF_MAD, step_of

PAIRS = 20_000  # of samples are enough for a noise to a half of a per cent
FEW = 1_000  # pairs of empty sky; where stars leave no more, all are taken
REACH = 3.0  # sigma; what differs by more is a star or a hot pixel
ROUNDS = 20
SETTLED = 1e-4  # a change of sigma, as a share of it


def noise_of(planes: list[np.ndarray], hidden: np.ndarray, lag: int) -> float:
    """Return the standard deviation of the samples of one colour, from differences between samples of empty sky.

    Differences cancel sky and gradients; those along the diagonal keep what rows and columns have in common, which is
    noise, too. Their variance is that of what lies within `REACH` sigma, over the share that a normal distribution has
    there; the edge of it lies between two of the numbers that differences can be, so that it holds for noise below one
    step of the numbers. Where most samples are equal it is the noise of rounding.

    Parameters
    ----------
    planes : list of ndarray of float32, shape (H, W)
        All samples of the colour: one plane, or two of a mosaic's green; NaN where there is no data.
    hidden : ndarray of bool, shape (h, w)
        Samples that show no empty sky. What a plane has beyond does not count.
    lag : int
        How many rows and columns lie between two samples that are held against each other; half of the pairs lie one
        farther apart, as the columns of some sensors are alike in twos.

    Returns
    -------
    float
        In ADU; 0 where all samples are equal, and where there are none.
    """
    count = PAIRS // (2 * len(planes))
    for cover in (hidden, np.zeros_like(hidden)):
        off = np.concatenate([_differences(plane, cover, far, count) for plane in planes for far in (lag, lag + 1)])
        if len(off) > FEW:
            break
    return _spread(off) / math.sqrt(2) or QUANTISATION * step_of(planes[0])


def _differences(plane: np.ndarray, hidden: np.ndarray, lag: int, count: int) -> np.ndarray:
    """Return how much samples all over a plane differ from those `lag` rows and columns on, without sign."""
    height, width = (max(0, length - lag) for length in hidden.shape)
    step = max(1, math.isqrt(height * width // count)) | 1  # an odd one: none that patterns have
    near, far = (np.s_[first : first + height : step, first : first + width : step] for first in (0, lag))
    off = np.abs(plane[near] - plane[far])
    return off[np.isfinite(off) & ~(hidden[near] | hidden[far])]


def _spread(off: np.ndarray) -> float:
    """Return the standard deviation of differences, given without sign; 0 where there is none."""
    off = np.sort(off).astype(np.float64)
    step = off[np.searchsorted(off, 0.0, "right") :][:1]  # where they are whole numbers of it; else next to nothing
    if not len(step):
        return 0.0
    step, sums = float(step[0]), np.cumsum(off * off)
    least = math.sqrt(2) * QUANTISATION * step
    sigma = max(SIGMA_OF_MAD * float(off[len(off) // 2]), step)
    for _ in range(ROUNDS):
        edge = (max(math.floor(REACH * sigma / step), 1) + 0.5) * step
        inside, before = int(np.searchsorted(off, edge)), sigma
        sigma = max(math.sqrt(sums[inside - 1] / inside / _variance_within(edge / sigma)), least)
        if abs(sigma - before) <= SETTLED * sigma:
            break
    return sigma


def _variance_within(edge: float) -> float:
    """Return the variance of what lies within +-edge of a standard normal distribution."""
    density = math.exp(-edge * edge / 2) / math.sqrt(2 * math.pi)
    return 1 - 2 * edge * density / math.erf(edge / math.sqrt(2))
