# SPDX-License-Identifier: GPL-3.0-or-later
"""Where a frame looks, by stars whose directions are known; and how pixels move with all that can change."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from nanstack.register.camera import View


@dataclass(frozen=True)
class Slopes:
    """How the pixels (x, y) of n directions move; the first axis is that of x and y.

    Attributes
    ----------
    x, y : ndarray of float64, shape (n,)
    turn : ndarray of float64, shape (2, 3, n)
        With a small rotation of the camera around its own axes, in radians.
    size : ndarray of float64, shape (2, n)
        With the logarithm of the focal length, or of the frame's scale.
    radial : ndarray of float64, shape (2, n)
        With the distortion.
    shift : ndarray of float64, shape (2, k, n)
        With the direction itself, along the axes that are given.
    """

    x: np.ndarray
    y: np.ndarray
    turn: np.ndarray
    size: np.ndarray
    radial: np.ndarray
    shift: np.ndarray


def pixels_at(
    directions: np.ndarray,
    attitude: np.ndarray,
    focal: np.ndarray | float,
    radial: np.ndarray | float,
    middle: np.ndarray | tuple[float, float],
) -> tuple[np.ndarray, np.ndarray]:
    """Return the pixels (x, y) at which directions are shown: see `slopes`."""
    u, v, _ = _on_the_plane(directions, attitude)
    stretch = focal * (1 + radial * (u**2 + v**2))
    return middle[0] + stretch * u, middle[1] + stretch * v


def slopes(
    directions: np.ndarray,
    attitude: np.ndarray,
    focal: np.ndarray | float,
    radial: np.ndarray | float,
    middle: np.ndarray | tuple[float, float],
    axes: np.ndarray | tuple[()] = (),
) -> Slopes:
    """Return pixels and their derivatives: number by number, without products of matrices, which take far longer.

    Parameters
    ----------
    directions : ndarray, shape (3, n)
    attitude : ndarray, shape (3, 3, n), or (3, 3) for one of all
    focal, radial : ndarray, shape (n,), or float
        Focal length times the frame's scale, in pixels; distortion.
    middle : ndarray, shape (2, n), or (float, float)
        The pixel that the axis meets.
    axes : ndarray, shape (k, 3, n), optional
        Along which directions move.
    """
    u, v, ahead = _on_the_plane(directions, attitude)
    square = u**2 + v**2
    bend = 1 + radial * square
    stretch = focal * bend
    xx, xy, yy = (focal * 2 * radial * product for product in (u * u, u * v, v * v))
    xx, yy = stretch + xx, stretch + yy  # how the bent place moves with the flat one

    def moved(across: np.ndarray, down: np.ndarray) -> np.ndarray:
        return np.stack([xx * across + xy * down, xy * across + yy * down])

    turn = np.stack([moved(-u * v, -1 - v**2), moved(1 + u**2, u * v), moved(-v, u)], axis=1)
    turned = [_turned(axis, attitude) for axis in axes]
    shift = [moved((across - u * along) / ahead, (down - v * along) / ahead) for across, down, along in turned]
    return Slopes(
        middle[0] + stretch * u,
        middle[1] + stretch * v,
        turn,
        np.stack([stretch * u, stretch * v]),
        np.stack([focal * square * u, focal * square * v]),
        np.stack(shift, axis=1) if shift else np.empty((2, 0, len(u))),
    )


def _turned(directions: np.ndarray, attitude: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return directions along a camera's axes: three arrays (n,)."""
    x, y, z = directions
    return tuple(row[0] * x + row[1] * y + row[2] * z for row in attitude)


def _on_the_plane(directions: np.ndarray, attitude: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return where directions meet the plane at distance 1 ahead, and how far ahead they lie."""
    across, down, ahead = _turned(directions, attitude)
    return across / ahead, down / ahead, ahead


def rotation(vector: np.ndarray) -> np.ndarray:
    """Return the matrices (..., 3, 3) of rotations by vectors (..., 3) in radians (Rodrigues' formula)."""
    angle = np.linalg.norm(vector, axis=-1)[..., None, None]
    cross = np.zeros((*vector.shape, 3))
    cross[..., 0, 1], cross[..., 0, 2], cross[..., 1, 2] = -vector[..., 2], vector[..., 1], -vector[..., 0]
    cross -= np.swapaxes(cross, -1, -2)
    return np.eye(3) + np.sinc(angle / np.pi) * cross + 0.5 * np.sinc(angle / (2 * np.pi)) ** 2 * (cross @ cross)


def resected(view: View, directions: np.ndarray, x: np.ndarray, y: np.ndarray, weights: np.ndarray) -> View:
    """Turn and scale a view so that it shows directions where they were seen: one step of Gauss and Newton.

    Parameters
    ----------
    view : View
        Near the right one.
    directions : ndarray, shape (n, 3)
    x, y, weights : ndarray, shape (n,)

    Returns
    -------
    View
    """
    at = slopes(directions.T, view.attitude, view.focal, view.camera.radial, view.middle)
    design = np.concatenate([at.turn, at.size[:, np.newaxis]], axis=1).transpose(0, 2, 1).reshape(-1, 4)
    off = np.concatenate([x - at.x, y - at.y])
    root = np.tile(np.sqrt(weights), 2)
    step = np.linalg.lstsq(design * root[:, None], off * root, rcond=1e-10)[0]
    scale = view.scale * float(np.exp(np.clip(step[3], -0.1, 0.1)))
    return View(view.camera, rotation(step[:3]) @ view.attitude, scale)
