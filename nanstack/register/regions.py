# SPDX-License-Identifier: GPL-3.0-or-later
"""Regions of the sky, each with its frames and stars, that move as a whole: where there are many, solutions by rounds
would take long to tell one end of them of the other.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import scipy

MANY_REGIONS = 64  # below, a few rounds do
ROWS = 500_000  # of equations at once
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

    @classmethod
    def of_equations(cls, spread: scipy.sparse.csr_array, matrix: scipy.sparse.csr_array, units: np.ndarray) -> Regions:
        """Return the regions of equations (m, n) that are solved by least squares, each unknown in a unit (n,)."""
        normal = scipy.sparse.csr_array((spread.shape[1],) * 2)
        for first in range(0, matrix.shape[0], ROWS):
            part = matrix[first : first + ROWS] @ spread
            normal = normal + part.T @ part
        return cls.of((scipy.sparse.diags_array(1 / units) @ spread).tocsr(), normal)

    def __call__(self, sides: np.ndarray) -> np.ndarray:
        """Return what unknowns are moved by, for sides (n,) or (n, k)."""
        return self.spread @ self.solve(self.spread.T @ sides)


def moves(
    attitude: np.ndarray, side: float, cameras: int, stars: np.ndarray, axes: np.ndarray
) -> scipy.sparse.csr_array | None:
    """Return what turns and sizes of regions make of the unknowns of an adjustment; None where regions are few.

    A region turns around any axis, and shrinks towards its middle, with its frames and its stars: nothing moves in its
    frames' pixels, but where other regions begin.

    Parameters
    ----------
    attitude : ndarray of float64, shape (n, 3, 3)
        Of the frames.
    side : float
        Of a region, in radians.
    cameras : int
        Each has two unknowns, which stay.
    stars, axes : ndarray of float64, shape (m, 3), (2, 3, m)
        Directions, and along which they move.

    Returns
    -------
    scipy.sparse.csr_array, shape (4 n + 2 cameras + 2 m, 4 regions)
    """
    pointing = attitude[:, 2]
    number = np.unique(np.floor(pointing / side), axis=0, return_inverse=True)[1].ravel()
    count = int(number.max()) + 1
    if count < MANY_REGIONS:
        return None
    middles = np.stack([np.bincount(number, axis) for axis in pointing.T], axis=1)
    middles /= np.linalg.norm(middles, axis=1, keepdims=True)
    of_star = scipy.spatial.cKDTree(middles).query(stars)[1]

    turned = np.zeros((len(attitude), 4, 4))  # its unknowns, by a region's
    turned[:, :3, :3] = -attitude
    turned[:, :3, 3] = -np.einsum("nij,nj->ni", attitude, np.cross(pointing, _inwards(pointing, middles[number])))
    turned[:, 3, 3] = 1
    shifted = np.empty((len(stars), 2, 4))
    shifted[:, :, :3] = np.cross(stars, axes.transpose(0, 2, 1)).transpose(1, 0, 2)
    shifted[:, :, 3] = np.einsum("kin,ni->nk", axes, _inwards(stars, middles[of_star]))

    of_cameras = scipy.sparse.csr_array((2 * cameras, 4 * count))
    blocks = _by_region(turned, number, count), of_cameras, _by_region(shifted, of_star, count)
    return scipy.sparse.vstack(blocks, format="csr")


def _inwards(directions: np.ndarray, middles: np.ndarray) -> np.ndarray:
    """Return how directions move as their angles from middles shrink."""
    return np.sum(directions * middles, axis=1, keepdims=True) * middles - directions


def _by_region(blocks: np.ndarray, number: np.ndarray, count: int) -> scipy.sparse.csr_array:
    """Return blocks (n, u, 4), each in the columns of its region, as a matrix (n u, 4 regions)."""
    columns = np.broadcast_to((4 * number[:, np.newaxis] + np.arange(4))[:, np.newaxis], blocks.shape)
    rows = blocks.shape[0] * blocks.shape[1]
    entries = blocks.ravel(), columns.ravel(), np.arange(0, 4 * rows + 1, 4)
    return scipy.sparse.csr_array(entries, shape=(rows, 4 * count))
