# SPDX-License-Identifier: GPL-3.0-or-later
"""What frames show of the sky at the nodes of a grid on the canvas, by the surveys' meshes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import scipy

from nanstack.canvas import Canvas
from nanstack.levels.sample_noise import noises, sky_of
from nanstack.register.registered import RegisteredFrame, sensor_terms, usual_terms
from nanstack.survey.mesh import mesh_at
from nanstack.survey.raw import MESH_PX

MOST_SAMPLES = 1_000_000  # of all frames; more would add time and no precision: the grid is made coarser,
LEAST_SAMPLES = 40  # but not so coarse that a frame has too few for a plane that outliers do not lead astray
GRID_POINTS = 17  # along each side of a frame, by which its part of the canvas is known
BRIGHTER = 4.0  # so much, at most, frames' skies, and the shades with them, differ
ERRORS = 0.5, 5.0  # limits of a frame's errors, in the usual frame's: noise is not all that can be wrong


@dataclass(frozen=True)
class SkySamples:
    """What frames show of the sky at the nodes of a grid on the canvas.

    Attributes
    ----------
    frame : ndarray of int, shape (m,)
        In ascending order.
    node : ndarray of int, shape (m,)
        Numbered without gaps.
    x, y : ndarray of float64, shape (m,)
        Of the node, in pixels of the canvas from its axis.
    sky : ndarray of float64, shape (m, C)
        In ADU of the common flux.
    error : ndarray of float64, shape (m, C)
        In those of the usual frame.
    shade : ndarray of float64, shape (m, 3)
        Terms of the place on the sensor: see `nanstack.register.registered.sensor_terms`.
    """

    frame: np.ndarray
    node: np.ndarray
    x: np.ndarray
    y: np.ndarray
    sky: np.ndarray
    error: np.ndarray
    shade: np.ndarray


def sky_samples(frames: Sequence[RegisteredFrame], gains: np.ndarray, canvas: Canvas) -> SkySamples:
    """Return what frames' meshes show of the sky at the nodes of a grid, about as far apart as the meshes' cells."""
    cells = sum(frame.survey.sky.shape[0] * frame.survey.sky.shape[1] for frame in frames)
    coarser = max(1.0, cells / max(MOST_SAMPLES, LEAST_SAMPLES * len(frames))) ** 0.5
    step = MESH_PX * coarser * canvas.view.focal / float(np.median([frame.view.focal for frame in frames]))
    parts = [_samples(frame, gain, canvas, step) for frame, gain in zip(frames, gains, strict=True)]
    across, down, sky, shade = (np.concatenate(part) for part in zip(*parts, strict=True))
    frame = np.repeat(np.arange(len(frames)), [len(part[0]) for part in parts])
    rows = down - down.min(initial=0)
    node = np.unique(across * (rows.max(initial=0) + 1) + rows, return_inverse=True)[1]
    return SkySamples(frame, node, across * step, down * step, sky, _errors(frames, gains)[frame], shade)


def _samples(
    frame: RegisteredFrame, gain: np.ndarray, canvas: Canvas, step: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return the columns and rows of the nodes that a frame shows, its sky there, and the terms of its shade.

    Shapes (k,), (k,), (k, C), (k, 3).
    """
    (left, right), (top, bottom) = _nodes(frame, canvas, step)
    across, down = (axis.ravel() for axis in np.meshgrid(np.arange(left, right), np.arange(top, bottom)))
    x, y = frame.view.pixels(canvas.view.directions(across * step + canvas.origin[0], down * step + canvas.origin[1]))
    height, width = frame.shape[:2]
    inside = (x > -0.5) & (x < width - 0.5) & (y > -0.5) & (y < height - 0.5)
    mesh = np.atleast_3d(np.asarray(frame.survey.sky, dtype=np.float64))
    x, y, across, down = x[inside], y[inside], across[inside], down[inside]
    sky = mesh_at(mesh, MESH_PX, x, y) * gain * frame.flat.at(frame.shape, x, y)[:, np.newaxis]
    known = np.isfinite(sky).all(axis=1)
    return across[known], down[known], sky[known], sensor_terms(frame.shape, x[known], y[known])


def _nodes(frame: RegisteredFrame, canvas: Canvas, step: float) -> list[tuple[int, int]]:
    """Return the first and the last of the columns, and of the rows, of nodes on which a frame may lie.

    Not by whole pixels of the canvas, of which a coarse one may have but a few, each with thousands of nodes.
    """
    height, width = frame.shape[:2]
    grid = np.meshgrid(*(np.linspace(-1.5, side + 0.5, GRID_POINTS) for side in (width, height)))
    seen = np.stack(canvas.view.pixels(frame.view.directions(*(axis.ravel() for axis in grid))))
    seen = seen[:, np.isfinite(seen).all(axis=0)]
    if not seen.size:
        return [(0, 0), (0, 0)]
    found = [
        np.clip([places.min(), places.max()], 0, side) - axis
        for places, side, axis in zip(seen, canvas.shape[::-1], canvas.origin, strict=True)
    ]
    return [(int(np.floor(first / step)), int(np.ceil(last / step)) + 1) for first, last in found]


def _errors(frames: Sequence[RegisteredFrame], gains: np.ndarray) -> np.ndarray:
    """Return frames' noise over the usual one: (n, C)."""
    noise = noises(frames) * gains
    return np.clip(noise / np.median(noise, axis=0), *ERRORS)


def shade_on_canvas(shade: np.ndarray, frame: RegisteredFrame, canvas: Canvas) -> np.ndarray:
    """Return the terms of a level that are a frame's shade (3, C): as if the canvas were not curved in the frame."""
    (ux, uy), (vx, vy) = _axes(frame, canvas) / (max(frame.shape[:2]) / 2)
    x, y = (float(at[0]) for at in canvas.view.pixels(frame.pointing[np.newaxis]))
    x, y = x - canvas.origin[0], y - canvas.origin[1]
    xx = ux * ux * shade[0] + ux * vx * shade[1] + vx * vx * shade[2]
    xy = 2 * ux * uy * shade[0] + (ux * vy + uy * vx) * shade[1] + 2 * vx * vy * shade[2]
    yy = uy * uy * shade[0] + uy * vy * shade[1] + vy * vy * shade[2]
    offset = xx * x * x + xy * x * y + yy * y * y - np.sum(usual_terms(frame.shape)[:, np.newaxis] * shade, axis=0)
    return np.stack([offset, -2 * xx * x - xy * y, -2 * yy * y - xy * x, xx, xy, yy])


def turns(frames: Sequence[RegisteredFrame], canvas: Canvas) -> np.ndarray:
    """Return how frames' rows lie on the canvas, as unit vectors: (n, 2)."""
    along = np.array([_axes(frame, canvas)[0] for frame in frames])
    return along / np.hypot(*along.T)[:, np.newaxis]


def _axes(frame: RegisteredFrame, canvas: Canvas) -> np.ndarray:
    """Return by how much a frame's (x, y) grow for each pixel of the canvas, to the right and down: (2, 2)."""
    far = min(frame.shape[:2]) / 4
    x, y = (float(at[0]) for at in canvas.view.pixels(frame.pointing[np.newaxis]))
    around = np.array([[far, -far, 0, 0], [0, 0, far, -far]])
    seen = np.stack(frame.view.pixels(canvas.view.directions(x + around[0], y + around[1])))
    return (seen[:, [0, 2]] - seen[:, [1, 3]]) / (2 * far)


def brightnesses(frames: Sequence[RegisteredFrame], gains: np.ndarray) -> np.ndarray:
    """Return frames' skies over the usual one: (n, C). 1 where there is none, or where it was taken off before."""
    skies = np.array([np.atleast_1d(sky_of(frame)) for frame in frames]) * gains
    known = np.isfinite(skies).all(axis=1)
    usual = np.median(skies[known], axis=0) if known.any() else np.zeros(gains.shape[1])
    lit = known[:, np.newaxis] & (usual > 0)
    return np.clip(np.divide(skies, usual, out=np.ones_like(skies), where=lit), 1 / BRIGHTER, BRIGHTER)


def components(samples: SkySamples, frames: int) -> np.ndarray:
    """Number the sets of frames that hang together by the nodes that they show: (n,)."""
    size = frames + int(samples.node.max()) + 1
    entries = np.ones(len(samples.node)), (samples.frame, frames + samples.node)
    links = scipy.sparse.coo_array(entries, shape=(size, size))
    return scipy.sparse.csgraph.connected_components(links, directed=False)[1][:frames]
