# SPDX-License-Identifier: GPL-3.0-or-later
"""Where stars may be: peaks of the raw data, taken 2 x 2 together, that are no hot pixels."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from nanstack.survey.mesh import cell_levels, spread_out, without_holes
from nanstack.survey.raw import MESH_PX, QUANTISATION, Raw, step_of

PEAK_SIGMA = 4.2  # of the smoothed noise: of half a million pixels of noise, some five are higher
MASK_SIGMA = 3.5  # what is higher than that, with its surroundings, is not sky
SMOOTHING_PX = 0.8  # sigma of the filter, in binned pixels: the size of a sharp star
FILTER_PX = 5
MASK_REACH_PX = 7  # side of a star's surroundings, in binned pixels
MAX_PEAKS = 4000  # brightest that are looked at: hot pixels are among them
REACH, ROUNDS = 4.0, 5  # in sigmas of what is left: what lies lower is no noise
COARSE = 4  # a first background does with every fourth row


@dataclass(frozen=True)
class Peaks:
    """Places where stars may be, the highest first.

    Attributes
    ----------
    x, y : ndarray of float64, shape (n,)
        Pixels of the frame.
    height : ndarray of float64, shape (n,)
        Above the sky, in units of its noise, both smoothed.
    masked : ndarray of bool, shape (h, w)
        Pixels of the binned frame that show no empty sky: stars, hot pixels, and what has no data.
    """

    x: np.ndarray
    y: np.ndarray
    height: np.ndarray
    masked: np.ndarray

    def only(self, which: np.ndarray | slice) -> Peaks:
        """Return some of the peaks."""
        return Peaks(self.x[which], self.y[which], self.height[which], self.masked)


def find_peaks(raw: Raw) -> Peaks:
    """Look for peaks in a frame."""
    import cv2

    small = raw.halved if raw.binning == 2 else raw.plane
    hole = np.isnan(small)
    light = small - _background(small, MESH_PX // raw.binning)
    np.copyto(light, 0.0, where=hole)
    noise = _noise(raw, light, hole)
    if not noise > 0:
        return Peaks(np.empty(0), np.empty(0), np.empty(0), hole)
    kernel = cv2.getGaussianKernel(FILTER_PX, SMOOTHING_PX, cv2.CV_32F)
    smooth = cv2.sepFilter2D(light, -1, kernel, kernel)
    noise *= float(np.square(kernel).sum())  # of the filter's two passes, each with its root
    highest = smooth == cv2.dilate(smooth, np.ones((3, 3), np.uint8))
    highest &= smooth > PEAK_SIGMA * noise
    at = np.flatnonzero(highest)
    at = at[~hole.ravel()[at]]
    height = smooth.ravel()[at] / noise
    order = np.argsort(-height, kind="stable")[:MAX_PEAKS]
    row, column = np.divmod(at[order], small.shape[1])
    bright = (smooth > MASK_SIGMA * noise) | hole
    masked = cv2.dilate(bright.view(np.uint8), np.ones((MASK_REACH_PX, MASK_REACH_PX), np.uint8)).view(bool)
    shift = (raw.binning - 1) / 2
    return Peaks(raw.binning * column + shift, raw.binning * row + shift, height[order], masked)


def _background(small: np.ndarray, side: int) -> np.ndarray:
    """Return a first sky for every pixel: levels, smoothed so that no bright star lifts it."""
    import cv2

    mesh = without_holes(cell_levels([small[::COARSE]], (side // COARSE, side))[..., 0])
    return spread_out(cv2.medianBlur(mesh, 3), side, small.shape)


def _noise(raw: Raw, light: np.ndarray, hole: np.ndarray) -> float:
    """Return the sky's noise from what lies below it, where no star reaches; that of rounding, where none is left.

    Squares tell the noise of whole numbers, too, which medians do not.
    """
    some = np.s_[::COARSE, ::COARSE]
    square = np.square(light[some][(light[some] < 0) & ~hole[some]], dtype=np.float64)
    for _ in range(ROUNDS):
        square = square[square <= REACH**2 * square.mean()] if square.size else square
    noise = math.sqrt(square.mean()) if square.size else 0.0
    return noise or QUANTISATION * step_of(raw.plane) / raw.binning
