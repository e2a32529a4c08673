# SPDX-License-Identifier: GPL-3.0-or-later
"""Peaks on the trail of a satellite or an aircraft: many, near each other, on one straight line."""

from __future__ import annotations

import numpy as np

MAX_STREAKS = 4  # in a frame
TURN = np.pi / 360  # between the lines that are tried
CELL_PX = 4  # in which their distances and the peaks' places are counted
NEAR_PX = 4.0  # of a peak from its line
GAP_PX = 40.0  # between neighbours on a trail, at most
MIN_PEAKS = 8
MIN_LENGTH_PX = 80.0
BESIDE_PX = 24.0  # to this distance peaks beside a line tell how many lie on it by chance,
FULLER = 3.0  # of which a trail has so many times the number
MAX_POINTS = 1500  # where there are more, a trail does not matter


def on_streaks(x: np.ndarray, y: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Tell which peaks lie on a trail.

    Lines are found by Hough's transform of the peaks; one is a trail where it holds, without a wide gap, far more peaks
    than chance puts on it.

    Parameters
    ----------
    x, y : ndarray of float64, shape (n,)
        Pixels, the highest peak first.
    shape : (int, int)
        Height and width of the frame.

    Returns
    -------
    ndarray of bool, shape (n,)
    """
    found = np.zeros(len(x), dtype=bool)
    for _ in range(MAX_STREAKS):
        left = np.flatnonzero(~found[:MAX_POINTS])
        if len(left) < MIN_PEAKS:
            break
        line = _fullest_line(x[left], y[left], shape)
        if line is None:
            break
        along, across = line
        trail = _longest_run(along, np.abs(across) < NEAR_PX)
        if not len(trail):
            break
        if len(trail) < MIN_PEAKS + FULLER * _by_chance(along, across, trail) or np.ptp(along[trail]) < MIN_LENGTH_PX:
            break
        found[left[trail]] = True
    return found


def _fullest_line(x: np.ndarray, y: np.ndarray, shape: tuple[int, int]) -> tuple[np.ndarray, np.ndarray] | None:
    """Return the places of points along the line that has most of them, and across it; None where none has enough."""
    import cv2

    dots = np.zeros([side // CELL_PX + 1 for side in shape], np.uint8)
    dots[(y / CELL_PX).astype(np.intp), (x / CELL_PX).astype(np.intp)] = 1
    lines = cv2.HoughLines(dots, 1.0, TURN, MIN_PEAKS)
    if lines is None:
        return None
    distance, turn = lines.reshape(-1, 2)[0]  # of most votes
    points = np.stack([x, y], axis=1)
    near = np.abs(points @ [np.cos(turn), np.sin(turn)] - CELL_PX * distance) < 2 * CELL_PX
    if not near.any():
        return None
    middle = points[near].mean(axis=0)
    across = np.linalg.svd(points[near] - middle, full_matrices=False)[2][1]
    return (points - middle) @ [across[1], -across[0]], (points - middle) @ across


def _by_chance(along: np.ndarray, across: np.ndarray, trail: np.ndarray) -> float:
    """Return how many peaks lie on a trail by chance, by those on both sides of it."""
    beside = (np.abs(across) > NEAR_PX) & (np.abs(across) < BESIDE_PX)
    beside &= (along >= along[trail].min()) & (along <= along[trail].max())
    return np.count_nonzero(beside) * NEAR_PX / (BESIDE_PX - NEAR_PX)


def _longest_run(along: np.ndarray, near: np.ndarray) -> np.ndarray:
    """Return which points near a line follow one another without a wide gap: the most that do."""
    if not near.any():
        return np.zeros(0, dtype=np.intp)
    order = np.flatnonzero(near)[np.argsort(along[near])]
    runs = np.split(order, np.flatnonzero(np.diff(along[order]) > GAP_PX) + 1)
    return max(runs, key=len)
