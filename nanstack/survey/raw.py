# SPDX-License-Identifier: GPL-3.0-or-later
"""A frame as its sensor recorded it: one plane of photosites, and which colour each of them shows."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from nanstack.survey.stars import BIN_FROM_PX, MAX_SAMPLE, luminance

MESH_PX = 64  # side of a cell of the sky mesh, in pixels of the frame
COLOURS = "RGB"
SIGMA_OF_MAD = 1.4826  # standard deviation over median absolute deviation, for Gaussian noise
QUANTISATION = 12**-0.5  # standard deviation of what rounding to whole steps leaves off, in steps


@dataclass(frozen=True)
class Raw:
    """A frame to be surveyed.

    Attributes
    ----------
    plane : ndarray of float32, shape (H, W)
        Photosites of a mosaic or a mono sensor; the luminance of a colour image. NaN where there is no data.
    pattern : str
        Of the Bayer mosaic that `plane` is; empty where it is none.
    channels : ndarray of float32, shape (H, W, 3), or None
        Of a colour image.
    highest : float
        Of its samples; NaN where there is none.
    """

    plane: np.ndarray
    pattern: str = ""
    channels: np.ndarray | None = None
    highest: float = np.nan

    @classmethod
    def of(cls, samples: np.ndarray, pattern: str) -> Raw:
        """Take a mosaic, a mono frame (H, W) or a colour image (H, W, 3); its samples may be changed."""
        with np.errstate(invalid="ignore"):
            highest = samples.max()
            if not (highest < MAX_SAMPLE and samples.min() > -MAX_SAMPLE):
                samples[~(np.abs(samples) < MAX_SAMPLE)] = np.nan
                highest = np.fmax.reduce(samples, axis=None)
        if pattern and min(samples.shape) < 2:  # no cell of the mosaic is whole
            samples = np.full(np.maximum(samples.shape, 2), np.nan, dtype=np.float32)
        if samples.ndim == 3:
            return cls(luminance(samples), "", samples, float(highest))
        return cls(samples, pattern, None, float(highest))

    @property
    def binning(self) -> int:
        """How many pixels a side are taken together where stars are looked for."""
        return 2 if (self.pattern or self.plane.size >= BIN_FROM_PX) else 1

    @cached_property
    def halved(self) -> np.ndarray:
        """The means of 2 x 2 samples of `plane`: float32, not to be changed."""
        return binned(self.plane, 2)

    @cached_property
    def sites(self) -> np.ndarray:
        """Which colour each photosite of a 2 x 2 cell of `plane` shows: its index, shape (2, 2)."""
        return np.array([COLOURS.index(letter) for letter in self.pattern or "RRRR"]).reshape(2, 2)

    @property
    def colour_planes(self) -> list[list[np.ndarray]]:
        """By colour, the planes (views) that hold its samples: one, or two of a mosaic's green."""
        if self.channels is not None:
            return [[self.channels[..., colour]] for colour in range(3)]
        if not self.pattern:
            return [[self.plane]]
        planes: list[list[np.ndarray]] = [[], [], []]
        for (row, column), colour in np.ndenumerate(self.sites):
            planes[colour].append(self.plane[row::2, column::2])
        return planes


def binned(plane: np.ndarray, binning: int) -> np.ndarray:
    """Return the means of squares of pixels, NaN where one is missing; an odd last row or column is left out."""
    if binning == 1:
        return plane
    import cv2

    height, width = (side // binning for side in plane.shape)
    return cv2.resize(plane[: height * binning, : width * binning], (width, height), interpolation=cv2.INTER_AREA)


def step_of(plane: np.ndarray) -> float:
    """Return the step between the numbers of a plane: the least difference between two of them; 0 where all are one."""
    levels = np.unique(plane[np.isfinite(plane)])
    return float(np.diff(levels).min()) if len(levels) > 1 else 0.0
