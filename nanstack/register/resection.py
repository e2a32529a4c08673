# SPDX-License-Identifier: GPL-3.0-or-later
"""Where a frame looks, by stars whose directions are known; and how pixels move with all that can change."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from nanstack.register.camera import View


@dataclass(frozen=True)
class Slopes:
    """How the pixels (x, y) of n directions move.

    Attributes
    ----------
    x, y : ndarray of float64, shape (n,)
    turn : ndarray of float64, shape (n, 2, 3)
        With a small rotation of the camera around its own axes, in radians.
    size : ndarray of float64, shape (n, 2)
        With the logarithm of the focal length, or of the frame's scale.
    radial : ndarray of float64, shape (n, 2)
        With the distortion.
    shift : ndarray of float64, shape (n, 2, 3)
        With the direction itself.
    """

    x: np.ndarray
    y: np.ndarray
    turn: np.ndarray
    size: np.ndarray
    radial: np.ndarray
    shift: np.ndarray


def slopes(
    directions: np.ndarray, attitude: np.ndarray, focal: np.ndarray, radial: np.ndarray, middle: np.ndarray
) -> Slopes:
    """Return pixels and their derivatives.

    Parameters
    ----------
    directions : ndarray, shape (n, 3)
    attitude : ndarray, shape (n, 3, 3)
    focal, radial : ndarray, shape (n,)
        Focal length times the frame's scale, in pixels; distortion.
    middle : ndarray, shape (n, 2)
        The pixel that the axis meets.
    """
    seen = np.einsum("nij,nj->ni", attitude, directions)
    flat = seen[:, :2] / seen[:, 2:]
    u, v = flat.T
    square = u**2 + v**2
    bend = 1 + radial * square
    # of the bent place with the flat one, in pixels
    inner = focal[:, None, None] * (
        bend[:, None, None] * np.eye(2) + 2 * radial[:, None, None] * flat[:, :, None] * flat[:, None, :]
    )
    turn = np.stack([np.stack([-u * v, 1 + u**2, -v], axis=1), np.stack([-1 - v**2, u * v, u], axis=1)], axis=1)
    shift = (attitude[:, :2] - flat[:, :, None] * attitude[:, 2:]) / seen[:, 2, None, None]
    size = (focal * bend)[:, None] * flat
    x, y = (middle + size).T
    return Slopes(x, y, inner @ turn, size, (focal * square)[:, None] * flat, inner @ shift)


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
    camera, count = view.camera, len(directions)
    focal, radial = np.full(count, camera.focal * view.scale), np.full(count, camera.radial)
    attitude, middle = np.broadcast_to(view.attitude, (count, 3, 3)), np.broadcast_to(camera.middle, (count, 2))
    at = slopes(directions, attitude, focal, radial, middle)
    design = np.concatenate([at.turn, at.size[:, :, None]], axis=2).reshape(-1, 4)
    off = np.stack([x - at.x, y - at.y], axis=1).ravel()
    root = np.repeat(np.sqrt(weights), 2)
    step = np.linalg.lstsq(design * root[:, None], off * root, rcond=1e-10)[0]
    return View(camera, rotation(step[:3]) @ view.attitude, view.scale * float(np.exp(np.clip(step[3], -0.1, 0.1))))
