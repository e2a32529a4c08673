# SPDX-License-Identifier: GPL-3.0-or-later
"""Squares of photosites around stars, the sky subtracted: all that stars are measured on."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from nanstack.survey.mesh import level_of_known, mesh_at
from nanstack.survey.raw import COLOURS, MESH_PX, Raw

SATURATED = 0.98  # of the level at which photosites saturate
LATTICES = np.array([(0, 0), (0, 1), (1, 0), (1, 1)])  # of photosites an even number of rows and columns apart
UNSHARED = 2**17  # multiplications: for twice as many OpenBLAS wakes threads, which fight with those of the survey


@dataclass(frozen=True)
class Plate:
    """A frame, and what is known of its sky.

    Attributes
    ----------
    raw : Raw
    sky : ndarray, shape (rows, columns, colours)
        A mesh without holes, of the colours of `raw.plane`: one, or three of a mosaic.
    noise : ndarray, shape (colours,)
    saturation : float
    """

    raw: Raw
    sky: np.ndarray
    noise: np.ndarray
    saturation: float

    def stamps(self, x: np.ndarray, y: np.ndarray, reach: int) -> Stamps:
        """Cut out squares of 2 reach + 1 pixels around places."""
        row, column = np.rint(y).astype(np.intp), np.rint(x).astype(np.intp)
        light = _squares(self.raw.plane, row - reach, column - reach, 2 * reach + 1)
        offset = np.arange(-reach, reach + 1, dtype=float)
        down, across = (axis.ravel() for axis in np.meshgrid(offset, offset, indexing="ij"))
        colours = self.raw.sites[tuple((np.stack([row, column], axis=1)[:, None] + LATTICES).T % 2)].T
        saturated = light >= SATURATED * self.saturation
        stamps = Stamps(column, row, Around(across, down), light, ~np.isnan(light), saturated, colours)
        level = mesh_at(self.sky, MESH_PX, x, y)
        return stamps.less(stamps.spread(np.take_along_axis(level, colours, axis=1)))


def _squares(plane: np.ndarray, top: np.ndarray, left: np.ndarray, side: int) -> np.ndarray:
    """Return squares of a plane that begin at rows and columns: (n, side side), NaN beyond its edges."""
    squares = np.full((len(top), side, side), np.nan, dtype=np.float32)
    height, width = plane.shape
    inside = (top >= 0) & (left >= 0) & (top + side <= height) & (left + side <= width)
    if inside.any():
        squares[inside] = np.lib.stride_tricks.sliding_window_view(plane, (side, side))[top[inside], left[inside]]
    for at in np.flatnonzero(~inside):
        first, begin = max(top[at], 0), max(left[at], 0)
        part = plane[first : max(top[at] + side, 0), begin : max(left[at] + side, 0)]
        row, column = first - top[at], begin - left[at]
        squares[at, row : row + part.shape[0], column : column + part.shape[1]] = part
    return squares.reshape(len(top), side * side)


@dataclass(frozen=True)
class Around:
    """Photosites around another one.

    Attributes
    ----------
    across, down : ndarray of float64, shape (k,)
        How far each lies from that one.
    """

    across: np.ndarray
    down: np.ndarray

    @cached_property
    def lattices(self) -> np.ndarray:
        """Which photosites are on each of the `LATTICES`: float64 (4, k), 1 or 0."""
        lattice = 2 * (self.down % 2) + self.across % 2
        return (lattice == np.arange(len(LATTICES))[:, None]).astype(float)

    @cached_property
    def powers(self) -> np.ndarray:
        """1, x, y, x x, x y, y y: (6, k)."""
        x, y = self.across, self.down
        return np.stack([np.ones_like(x), x, y, x * x, x * y, y * y])

    @cached_property
    def of_lattices(self) -> np.ndarray:
        """The powers on one lattice, 0 elsewhere: (4, 6, k)."""
        return self.lattices[:, None] * self.powers


@dataclass(frozen=True)
class Stamps:
    """Squares of photosites around places, or some photosites of these.

    Attributes
    ----------
    column, row : ndarray of int, shape (n,)
        The middle photosites.
    around : Around
        All of them.
    light : ndarray of float32, shape (n, k)
        Above the sky, in ADU; 0 where there is no photosite, or it has no data.
    counts : ndarray of bool, shape (n, k)
        Where there is one.
    saturated : ndarray of bool, shape (n, k)
    colours : ndarray of int, shape (n, 4)
        Of the photosites on each of the `LATTICES`, counted from the middle.
    """

    column: np.ndarray
    row: np.ndarray
    around: Around
    light: np.ndarray
    counts: np.ndarray
    saturated: np.ndarray
    colours: np.ndarray

    @cached_property
    def usable(self) -> np.ndarray:
        """Which photosites tell how bright a star is: bool (n, k)."""
        return self.counts & ~self.saturated

    def spread(self, values: np.ndarray) -> np.ndarray:
        """Return what is known by lattice (n, 4) for each photosite: (n, k)."""
        return _product(values, self.around.lattices)

    def sums(self, values: np.ndarray, terms: int = 1) -> np.ndarray:
        """Return sums of values (n, k) over the photosites of each colour, times so many powers: (n, 3, terms)."""
        parts = self.around.of_lattices[:, :terms].reshape(len(LATTICES) * terms, values.shape[1])
        return self._colour_of_lattice @ _product(values, parts.T).reshape(len(values), len(LATTICES), terms)

    def square_radius(self, x: np.ndarray, y: np.ndarray, inverse: tuple) -> np.ndarray:
        """Return square distances from places, in sigmas, by the xx, xy, yy of inverse moments: (n, k)."""
        xx, xy, yy = inverse
        right, low = x - self.column, y - self.row
        slope = xx * right + xy * low, xy * right + yy * low
        form = np.empty((len(x), 6))
        form[:, 0] = slope[0] * right + slope[1] * low
        form[:, 1], form[:, 2] = -2 * slope[0], -2 * slope[1]
        form[:, 3], form[:, 4], form[:, 5] = xx, 2 * xy, yy
        return _product(form, self.around.powers)

    @cached_property
    def _colour_of_lattice(self) -> np.ndarray:
        """Which lattices are of each colour: float64 (n, 3, 4), 1 or 0."""
        return (self.colours[:, None] == np.arange(len(COLOURS))[:, None]).astype(float)

    def of(self, places: np.ndarray) -> Stamps:
        """Return some of the stamps."""
        by_place = "column", "row", "light", "counts", "saturated", "colours"
        return replace(self, **{name: getattr(self, name)[places] for name in by_place})

    def only(self, photosites: np.ndarray) -> Stamps:
        """Return some photosites of every stamp."""
        around = Around(self.around.across[photosites], self.around.down[photosites])
        by_photosite = {name: getattr(self, name)[:, photosites] for name in ("light", "counts", "saturated")}
        return replace(self, around=around, **by_photosite)

    def less(self, level: np.ndarray) -> Stamps:
        """Return the stamps above a level (n, k) or (n, 1)."""
        return replace(self, light=np.where(self.counts, self.light - level.astype(np.float32), np.float32(0)))

    def above(self, rim: np.ndarray) -> Stamps:
        """Return the stamps above what their rims show: a nebula that the mesh is too coarse for."""
        around = level_of_known(np.where(self.counts, self.light, np.nan)[:, rim])
        return self.less(np.nan_to_num(around)[:, None])


def _product(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Return the product of matrices, by so many rows that no library shares them out to threads."""
    rows = max(1, UNSHARED // right.size)
    out = np.empty((len(left), right.shape[1]))
    for top in range(0, len(left), rows):
        np.matmul(left[top : top + rows], right, out=out[top : top + rows])
    return out


def from_middle(reach: int) -> np.ndarray:
    """Return how far each photosite of a stamp lies from the middle one: (k,)."""
    offset = np.arange(-reach, reach + 1)
    return np.hypot.outer(offset, offset).ravel()
