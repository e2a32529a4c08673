# SPDX-License-Identifier: GPL-3.0-or-later
"""Sparse least squares by conjugate gradients, for any number of threads to the same bits."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from nanstack.register.regions import Regions

MOST_STEPS = 300
UNTOLD = 1e-12  # share of a step that shows in no sample: nothing tells how long it is to be
TINY = np.finfo(np.float64).tiny


def conjugate_gradients(
    effect_of: Callable[[np.ndarray], np.ndarray],
    right: np.ndarray,
    own: np.ndarray,
    tolerance: float,
    regions: Regions | None = None,
) -> np.ndarray:
    """Return what normal equations make of their right sides, preconditioned by their diagonal, and by regions.

    By Hestenes and Stiefel (1952). Not SciPy's, which sums by BLAS: its threads change last digits.

    Parameters
    ----------
    effect_of : callable
        Multiplies by the matrix of the equations.
    right : ndarray of float64, shape (n,) or (n, k)
        For one side, or k at once.
    own : ndarray of float64, shape (n,) or (n, 1)
        The matrix's diagonal.
    tolerance : float
        Share of the right side that may be left.
    regions : Regions, optional
        Where there are many, steps are few in spite of that.

    Returns
    -------
    ndarray of float64, shape of `right`
    """

    def eased(sides: np.ndarray) -> np.ndarray:
        return sides / own if regions is None else sides / own + regions(sides)

    left, step, direction = right, np.zeros_like(right), eased(right)
    square = np.sum(left * direction, axis=0)
    enough = tolerance**2 * square
    for _ in range(MOST_STEPS):
        if np.all(square <= enough):
            break
        effect = effect_of(direction)
        along = np.sum(direction * effect, axis=0)
        told = along > UNTOLD * np.sum(own * direction**2, axis=0)  # else it is rounding
        if not np.any(told):
            break
        length = np.divide(square, along, out=np.zeros_like(square), where=told)
        step, left = step + length * direction, left - length * effect
        ahead = eased(left)
        before, square = square, np.sum(left * ahead, axis=0)
        direction = ahead + square / np.maximum(before, TINY) * direction
    return step
