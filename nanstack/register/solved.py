# SPDX-License-Identifier: GPL-3.0-or-later
"""The pixels of an image whose place on the sky another program found: any projection, any distortion."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from nanstack.register.camera import attitude_between

if TYPE_CHECKING:
    from astropy.wcs import WCS

SEEN_POINTS = 9  # along each side, at which the solution's axes are held against ICRS


@dataclass(frozen=True)
class SolvedView:
    """What pixels show by a celestial solution: what a `View` tells of a frame, by astropy.

    Attributes
    ----------
    solution : astropy.wcs.WCS
        Celestial, longitude first.
    shape : (int, int)
        Height and width.
    axes : ndarray of float64, shape (3, 3)
        The rows are the axes of the solution's coordinates in ICRS: a rotation turns FK5 and galactic ones, and over
        one field FK4's, too.
    """

    solution: WCS
    shape: tuple[int, int]
    axes: np.ndarray
    _one_by_one: Any = field(default_factory=threading.Lock, repr=False, compare=False)  # wcslib's state is shared

    @classmethod
    def of(cls, solution: WCS, shape: tuple[int, int]) -> SolvedView:
        """Return what an image of a height and width shows, by its solution.

        Raises
        ------
        ValueError
            Where some of the image has no place on the sky.
        """
        x, y = np.meshgrid(*(np.linspace(0, side - 1, SEEN_POINTS) for side in shape[::-1]))
        places = solution.pixel_to_world(x.ravel(), y.ravel())
        own, icrs = (np.moveaxis(np.asarray(c.cartesian.xyz.value), 0, -1) for c in (places, places.icrs))
        if not np.isfinite(own).all():
            raise ValueError("some of its pixels have no place on the sky")
        return cls(solution, shape, attitude_between(own, icrs, np.ones(len(own))))

    @property
    def middle(self) -> tuple[float, float]:
        """What is counted from: the first pixel."""
        return 0.0, 0.0

    @property
    def focal(self) -> float:
        """Pixels a radian, in the middle of the image: the root of how many of them are in a square radian."""
        x, y = (self.shape[1] - 1) / 2, (self.shape[0] - 1) / 2
        left, right, below, above = self.directions(np.array([x - 1, x + 1, x, x]), np.array([y, y, y - 1, y + 1]))
        return float(2 / np.sqrt(np.linalg.norm(np.cross(right - left, above - below))))

    def pixels(self, directions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return where directions (..., 3) are shown: x and y, NaN for what the projection does not show."""
        own = directions @ self.axes.T
        longitude = np.degrees(np.arctan2(own[..., 1], own[..., 0]))
        latitude = np.degrees(np.arctan2(own[..., 2], np.hypot(own[..., 0], own[..., 1])))
        with self._one_by_one:
            x, y = self.solution.all_world2pix(longitude.ravel(), latitude.ravel(), 0, quiet=True)
        return x.reshape(longitude.shape), y.reshape(longitude.shape)

    def directions(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Return the directions that pixels show: unit vectors, float64 (..., 3)."""
        return np.stack(self.rays(x, y), axis=-1) @ self.axes

    def rays(self, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return the directions that pixels show along the solution's own axes: see `View.rays`."""
        x, y = np.broadcast_arrays(np.asarray(x, dtype=np.float64), y)
        with self._one_by_one:
            longitude, latitude = np.radians(self.solution.all_pix2world(x.ravel(), y.ravel(), 0))
        longitude, latitude = longitude.reshape(x.shape), latitude.reshape(x.shape)
        return np.cos(latitude) * np.cos(longitude), np.cos(latitude) * np.sin(longitude), np.sin(latitude)

    def wcs(self) -> WCS:
        """Return the solution."""
        return self.solution
