# SPDX-License-Identifier: GPL-3.0-or-later
"""Samples that no light made: hot photosites, cosmic rays that hit one or two of them, and blind photosites.

A star shows beside its brightest photosite, too: with at least the share of light that its profile has one pixel from
its middle. A spike does not. What is far below the sky, and its neighbours are not, is blind: no shadow is so small.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from nanstack.survey.mesh import without_holes
from nanstack.survey.raw import MESH_PX, Raw

SPIKE_SIGMA = 7.0  # above the sky, or below it: of two million photosites of noise, none is
BRIGHTER = 7  # of the eight neighbours of a blind photosite are not even half as dark: one may be blind, too
SHARPEST_PX = 1.6  # full width at half maximum of stars, where none tells it
SHARPER = 0.8  # of the usual width: that of the sharpest stars of a frame
SHARE = 0.5  # of the light that stars show beside their middle, which a spike lacks,
MAX_SHARE = 0.3  # of a spike's own light, at most, as it shows none,
CERTAIN_SIGMA = 1.5  # of that light's noise
DARK_SIGMA = 2.0  # below the sky are no more: the sky is too bright there, or a neighbour is blind
OTHER_COLOUR = 0.3  # of a star's light in its brightest colour: a red one is dim in green
BESIDE = np.array([(-1, 0), (0, -1), (0, 1), (1, 0)])
ACROSS = np.array([(-1, -1), (-1, 1), (1, -1), (1, 1)])
AROUND = np.concatenate([BESIDE, ACROSS])
GREEN = 1


def find_spikes(raw: Raw, sky: np.ndarray, noise: np.ndarray, fwhm: float) -> np.ndarray:
    """Find bright photosites whose neighbours show less light than those of any star would, and single dark ones.

    Parameters
    ----------
    raw : Raw
    sky : ndarray, shape (rows, columns, colours)
        Mesh of the sky's levels.
    noise : ndarray, shape (colours,)
    fwhm : float
        Of the frame's stars, in pixels; NaN where there are none.

    Returns
    -------
    ndarray of int32, shape (n, 2)
        Rows and columns, in their order. None in an image that is colour already: there each spike is spread out.
    """
    if raw.channels is not None:
        return np.empty((0, 2), np.int32)
    light = _Light(raw, np.stack([without_holes(plane) for plane in np.moveaxis(sky, 2, 0)], axis=2), noise)
    at = light.beyond(SPIKE_SIGMA)
    star = 2.0 ** -((2 / (SHARPER * fwhm if fwhm > 0 else SHARPEST_PX)) ** 2)  # at 1 px from its middle; at d: star^d^2
    dimmer = OTHER_COLOUR if raw.pattern else 1.0
    checkered = light.colour(at) == GREEN if raw.pattern else np.ones(len(at), dtype=bool)
    spike = np.empty(len(at), dtype=bool)
    spike[checkered] = light.lacks(at[checkered], ACROSS, dimmer * star + star**2)
    spike[~checkered] = light.lacks(at[~checkered], 2 * BESIDE, dimmer * star + star**4)
    dark = light.beyond(-SPIKE_SIGMA)
    found = np.concatenate([at[spike], dark[light.are_alone(dark)]])
    return found[np.lexsort(found.T[::-1])].astype(np.int32)


def mended(raw: Raw, spikes: np.ndarray) -> np.ndarray:
    """Return what stands in for spikes: medians of the nearest photosites of their colour that are none themselves.

    Parameters
    ----------
    raw : Raw
    spikes : ndarray of int, shape (n, 2)
        Rows and columns.

    Returns
    -------
    ndarray of float32, shape (n,)
        NaN where none of these has data.
    """
    plane, is_spike = raw.plane, np.zeros(raw.plane.shape, dtype=bool)
    is_spike[tuple(spikes.T)] = True
    around = spikes[:, None] + (2 if raw.pattern else 1) * AROUND
    nearest = np.clip(around, 0, np.array(plane.shape) - 1)
    at = tuple(np.moveaxis(nearest, 2, 0))
    usable = (nearest == around).all(axis=2) & ~is_spike[at]
    beside = np.sort(np.where(usable, plane[at], np.float32(np.nan)), axis=1)  # NaN last
    count, every = np.count_nonzero(beside == beside, axis=1), np.arange(len(beside))
    return (beside[every, np.maximum(count - 1, 0) // 2] + beside[every, count // 2]) / 2


@dataclass(frozen=True)
class _Light:
    """Photosites, above the sky of their colour."""

    raw: Raw
    sky: np.ndarray
    noise: np.ndarray

    def colour(self, at: np.ndarray) -> np.ndarray:
        """Return the colours of photosites at rows and columns (..., 2)."""
        return self.raw.sites[at[..., 0] % 2, at[..., 1] % 2]

    def above(self, at: np.ndarray) -> np.ndarray:
        """Return the light of photosites at rows and columns (..., 2)."""
        row, column = at[..., 0], at[..., 1]
        return self.raw.plane[row, column] - self.sky[row // MESH_PX, column // MESH_PX, self.colour(at)]

    def beyond(self, sigma: float) -> np.ndarray:
        """Return rows and columns of the photosites that are so far above the sky, or below: (n, 2), in their order."""
        plane, compare = self.raw.plane, np.greater if sigma > 0 else np.less
        levels = (self.sky + sigma * self.noise).astype(np.float32)
        of_row = np.empty((len(levels), 2, plane.shape[1]), np.float32)
        for (row, column), colour in np.ndenumerate(self.raw.sites):
            here = of_row[:, row, column::2]
            here[:] = np.repeat(levels[..., colour], MESH_PX // 2, axis=1)[:, : here.shape[1]]
        high = np.empty(plane.shape, dtype=bool)
        for cell, row in np.ndindex(of_row.shape[:2]):
            those = np.s_[MESH_PX * cell + row : MESH_PX * (cell + 1) : 2]
            compare(plane[those], of_row[cell, row], out=high[those])
        return np.stack(np.divmod(np.flatnonzero(high), plane.shape[1]), axis=1)

    def lacks(self, at: np.ndarray, like: np.ndarray, share: float) -> np.ndarray:
        """Tell for certain that the neighbours of photosites show less than a star's.

        Parameters
        ----------
        at : ndarray of int, shape (n, 2)
        like : ndarray of int, shape (4, 2)
            Where the nearest of the same colour lie.
        share : float
            What a star shows beside its middle and there, taken together, of its light in the middle.
        """
        limit = min(SHARE * share, MAX_SHARE) * self.above(at)
        beside, noise = self._around(at, BESIDE)
        # most are bright beside, whatever is farther
        left = np.flatnonzero(beside + CERTAIN_SIGMA * noise - DARK_SIGMA * self.noise.max() < limit)
        farther, its_noise = self._around(at[left], like)
        shown = beside[left] + farther + CERTAIN_SIGMA * np.hypot(noise[left], its_noise)
        lacks = np.zeros(len(at), dtype=bool)
        lacks[left] = shown < limit[left]
        return lacks

    def are_alone(self, at: np.ndarray) -> np.ndarray:
        """Tell which dark photosites have neighbours that are far brighter."""
        around = self._inside(at[:, None] + AROUND)
        return np.count_nonzero(self.above(around) > self.above(at)[:, None] / 2, axis=1) >= BRIGHTER

    def _inside(self, at: np.ndarray) -> np.ndarray:
        """Return photosites (..., 2); of one beyond an edge that as far inside, which is of its colour."""
        last = np.array(self.raw.plane.shape) - 1
        there = np.abs(at)
        return np.clip(np.minimum(there, 2 * last - there), 0, last)

    def _around(self, at: np.ndarray, offsets: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the mean light of neighbours without the brightest, which may be hot too, and its noise."""
        there = self._inside(at[:, None] + offsets)
        noise = self.noise[self.colour(there)]
        light = np.maximum(self.above(there), -DARK_SIGMA * noise)
        count = len(offsets) - 1
        mean = np.sort(light, axis=1)[:, :count].mean(axis=1)  # NaN comes last
        return mean, np.sqrt(np.mean(noise**2, axis=1) / count)
