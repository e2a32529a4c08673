# SPDX-License-Identifier: GPL-3.0-or-later
"""Sparse least squares by conjugate gradients, for any number of threads to the same bits."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import scipy

MOST_STEPS = 300
UNTOLD = 1e-12  # share of a step that shows in no sample: nothing tells how long it is to be
SURE, SURE_OF_ALL = 1e-6, 1e-9  # what is added to regions' own diagonal, as shares: some steps change nothing
TINY = np.finfo(np.float64).tiny


@dataclass(frozen=True)
class Regions:
    """Steps that all unknowns of a region take together, for which a step of each alone takes many rounds.

    The coarse level of a two-level preconditioner (Nicolaides 1987, SIAM J. Numer. Anal. 24, 355).

    Attributes
    ----------
    spread : scipy.sparse.csr_array, shape (n, k)
        Regions' steps to those of the unknowns.
    solve : callable
        Makes regions' steps of their sides.
    """

    spread: scipy.sparse.csr_array
    solve: Callable[[np.ndarray], np.ndarray]

    @classmethod
    def of(cls, spread: scipy.sparse.csr_array, normal: scipy.sparse.csr_array) -> Regions:
        """Return the regions of normal equations (k, k), positive and perhaps singular."""
        diagonal = normal.diagonal()
        sure = scipy.sparse.diags_array(SURE * diagonal + SURE_OF_ALL * np.mean(diagonal) + TINY)
        return cls(spread, scipy.sparse.linalg.splu((normal + sure).tocsc()).solve)

    def __call__(self, sides: np.ndarray) -> np.ndarray:
        """Return what unknowns are moved by, for sides (n,) or (n, k)."""
        return self.spread @ self.solve(self.spread.T @ sides)


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
