# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs of numbers that lie in one row, such as those of the stars of many frames: asked for all runs at once."""

from __future__ import annotations

import math

import numpy as np


def ranges(first: np.ndarray, counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return so many numbers from each first one on, run after run; and the number of the run that each is of."""
    run = np.repeat(np.arange(len(counts)), counts)
    return np.arange(len(run)) + (first - np.cumsum(counts) + counts)[run], run


def ranks(run: np.ndarray) -> np.ndarray:
    """Return the place of each number in its run, from 0; runs are numbered in ascending order."""
    return np.arange(len(run)) - np.searchsorted(run, run)


def medians(values: np.ndarray, run: np.ndarray, runs: int) -> np.ndarray:
    """Return the median of each run, shape (runs,); NaN of one without numbers. Runs are in ascending order."""
    counts = np.bincount(run, minlength=runs)
    rows = np.full((runs, max(int(counts.max(initial=0)), 1)), np.inf)
    rows[run, np.arange(len(run)) - (np.cumsum(counts) - counts)[run]] = values
    rows.sort(axis=1)
    row, some = np.arange(runs), counts > 0
    middle = (rows[row, np.maximum(counts - 1, 0) // 2] + rows[row, counts // 2 * some]) / 2
    return np.where(some, middle, np.nan)


def sums(values: np.ndarray, run: np.ndarray, runs: int) -> np.ndarray:
    """Return the sum of each run of values (..., n): (..., runs)."""
    rows = np.stack([np.bincount(run, row, runs) for row in values.reshape(math.prod(values.shape[:-1]), len(run))])
    return rows.reshape(*values.shape[:-1], runs)
