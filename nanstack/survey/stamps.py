# SPDX-License-Identifier: GPL-3.0-or-later
"""Squares of photosites around stars, the sky subtracted: all that stars are measured on."""

from __future__ import annotations

from dataclasses import dataclass, fields
from functools import cached_property

import numpy as np

from nanstack.survey.mesh import median_of_known, mesh_at
from nanstack.survey.raw import MESH_PX, Raw

SATURATED = 0.98  # of the level at which photosites saturate


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
        offset = np.arange(-reach, reach + 1)
        height, width = self.raw.plane.shape
        rows, columns = np.rint(y).astype(np.intp)[:, None] + offset, np.rint(x).astype(np.intp)[:, None] + offset
        inside = ((rows >= 0) & (rows < height))[:, :, None] & ((columns >= 0) & (columns < width))[:, None, :]
        colour = self.raw.sites[(rows % 2)[:, :, None], (columns % 2)[:, None, :]]
        light = self.raw.plane[np.clip(rows, 0, height - 1)[:, :, None], np.clip(columns, 0, width - 1)[:, None, :]]
        counts = inside & ~np.isnan(light)
        level = mesh_at(self.sky, MESH_PX, x, y)
        above = np.where(counts, light - level[np.arange(len(x))[:, None, None], colour], 0.0)
        across, down = (np.broadcast_to(axis, light.shape) for axis in (columns[:, None, :], rows[:, :, None]))
        parts = across.astype(float), down.astype(float), above, counts, light >= SATURATED * self.saturation, colour
        return Stamps(*(part.reshape(len(x), len(offset) ** 2) for part in parts))


@dataclass(frozen=True)
class Stamps:
    """Squares of photosites around places.

    Attributes
    ----------
    x, y : ndarray of float64, shape (n, k)
        Of the photosites' middles.
    light : ndarray of float64, shape (n, k)
        Above the sky, in ADU; 0 where there is no photosite, or it has no data.
    counts : ndarray of bool, shape (n, k)
        Where there is one.
    saturated : ndarray of bool, shape (n, k)
    colour : ndarray of int, shape (n, k)
    """

    x: np.ndarray
    y: np.ndarray
    light: np.ndarray
    counts: np.ndarray
    saturated: np.ndarray
    colour: np.ndarray

    @cached_property
    def of_colours(self) -> list[np.ndarray]:
        """Where there are photosites of each colour, for as many colours as there are: (n, k) of bool each."""
        return [self.colour == colour for colour in range(self.colour.max(initial=-1) + 1)]

    def only(self, photosites: np.ndarray) -> Stamps:
        """Return some photosites of every stamp."""
        return Stamps(*(getattr(self, field.name)[:, photosites] for field in fields(self)))

    def above(self, rim: np.ndarray) -> Stamps:
        """Return the stamps above what their rims show: a nebula that the mesh is too coarse for."""
        around = median_of_known(np.where(self.counts, self.light, np.nan)[:, rim])
        light = np.where(self.counts, self.light - np.nan_to_num(around)[:, None], 0.0)
        return Stamps(self.x, self.y, light, self.counts, self.saturated, self.colour)


def from_middle(reach: int) -> np.ndarray:
    """Return how far each photosite of a stamp lies from the middle one: (k,)."""
    offset = np.arange(-reach, reach + 1)
    return np.hypot.outer(offset, offset).ravel()
