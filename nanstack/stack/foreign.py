# SPDX-License-Identifier: GPL-3.0-or-later
"""Light that moves over the canvas from frame to frame, taken off a frame's samples where it is in that frame."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from nanstack.register.mesh import Box

if TYPE_CHECKING:
    from nanstack.levels.placed import Foreign

TAPS = 4  # of a cubic B-spline


def take_off(samples: np.ndarray, foreign: Foreign, part: Box) -> None:
    """Take light off samples.

    Parameters
    ----------
    samples : ndarray of float32, shape (h, w, C)
        Changed in place.
    foreign : Foreign
    part : Box
        Where they are on the canvas, counted from its origin.
    """
    light = foreign.light
    (across, right), (down, below) = (_whole_and_rest(side) for side in foreign.shift)
    height, width = light.coefficients.shape[:2]
    # the first tap of the pixel p is p - first: all four are there from the pixel `first` on
    first_row, first_column = light.top + down + 2, light.left + across + 2
    box = Box(first_row, first_row + height - TAPS + 1, first_column, first_column + width - TAPS + 1).common(part)
    if 0 in box.shape:
        return
    top, left, (rows, columns) = box.top - first_row, box.left - first_column, box.shape
    piece = light.coefficients[top : top + rows + TAPS - 1, left : left + columns + TAPS - 1]
    by_rows = sum(weight * piece[tap : tap + rows] for tap, weight in enumerate(_weights(1 - below)))
    found = sum(weight * by_rows[:, tap : tap + columns] for tap, weight in enumerate(_weights(1 - right)))
    samples[box.within(part)] -= found


def _whole_and_rest(number: float) -> tuple[int, float]:
    whole = math.floor(number)
    return whole, number - whole


def _weights(share: float) -> list[np.float32]:
    """Return the weights of four coefficients around a place that lies so far from the second to the third."""
    t = share
    terms = (1 - t) ** 3, 4 - 6 * t**2 + 3 * t**3, 1 + 3 * t + 3 * t**2 - 3 * t**3, t**3
    return [np.float32(term / 6) for term in terms]
