# SPDX-License-Identifier: GPL-3.0-or-later
"""Where the pixels of a result lie in a frame: exact at the nodes of a mesh, interpolated between them.

Projections and distortions take far longer to compute than pixels to resample, and are smooth: a few nodes say it all.
Nodes stand at multiples of the mesh's step, counted from the result's first pixel, and the step is found for all of a
frame: whatever part of the result is asked for, a pixel lies at the same place of the frame.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from nanstack.register.camera import edge_pixels

if TYPE_CHECKING:
    from nanstack.canvas import Canvas
    from nanstack.register.camera import View

NODE_PX = 32  # between nodes, where that is good enough
MAX_NODE_ERROR_PX = 1e-3
CELLS_LOOKED_AT = 12  # along each side of what a frame touches, while the step is looked for
SNAP_PX = 1e-6  # where two grids are the same, samples are copied, and none is lost at the edge
SLACK_PX = 0.05  # around what a frame's edge encloses: the edge is known at some points, and bends between them

Mapping = Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]
"""From pixels (x, y) to pixels (x, y), float64 of the same shape; NaN where there is no such place."""


class Box(NamedTuple):
    """Rows top:bottom and columns left:right of an image."""

    top: int
    bottom: int
    left: int
    right: int

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width."""
        return self.bottom - self.top, self.right - self.left

    def common(self, other: Box) -> Box:
        """Return what two boxes have in common: a box without pixels where that is nothing."""
        top, left = max(self.top, other.top), max(self.left, other.left)
        return Box(top, max(top, min(self.bottom, other.bottom)), left, max(left, min(self.right, other.right)))

    @staticmethod
    def whole(shape: tuple[int, ...]) -> Box:
        """Return all of an image of that height and width."""
        return Box(0, shape[0], 0, shape[1])

    def within(self, other: Box) -> tuple[slice, slice]:
        """Return where the box lies in another's array."""
        top, left = self.top - other.top, self.left - other.left
        return np.s_[top : top + self.shape[0], left : left + self.shape[1]]


@dataclass(frozen=True)
class Mesh:
    """Where the pixels of a part of a result lie in a frame.

    Attributes
    ----------
    x, y : ndarray of float64, shape (rows, columns)
        Column and row of the frame at the nodes; NaN is nowhere. The first node stands at the last multiples of `step`
        up to the first row and column of `box`; rows and columns are two at least.
    step : int
        Pixels of the result between nodes.
    box : Box
        The pixels of the result, within `part`, that may show the frame: those between the nodes.
    part : Box
        What was asked for.
    """

    x: np.ndarray
    y: np.ndarray
    step: int
    box: Box
    part: Box

    def cut(self, part: Box) -> Mesh:
        """Return the mesh of a part of the result, of the same nodes."""
        box = self.box.common(part)
        rows, columns = (
            slice(first // self.step - begin // self.step, max(last - 1, first) // self.step + 2 - begin // self.step)
            for first, last, begin in (
                (box.top, box.bottom, self.box.top),
                (box.left, box.right, self.box.left),
            )
        )
        return Mesh(self.x[rows, columns], self.y[rows, columns], self.step, box, part)

    def positions(self, box: Box | None = None) -> tuple[np.ndarray, np.ndarray]:
        """Return where all pixels of a box (by default the mesh's) lie in the frame: x and y, float64 (h, w)."""
        box = self.box if box is None else box
        i, down = np.divmod(np.arange(box.top, box.bottom) - self.box.top // self.step * self.step, self.step)
        j, across = np.divmod(np.arange(box.left, box.right) - self.box.left // self.step * self.step, self.step)
        down = (down / self.step)[:, np.newaxis]
        found = []
        for nodes in (self.x, self.y):
            with np.errstate(over="ignore", invalid="ignore"):  # farther away than a number can say
                between_rows = nodes[i] * (1 - down) + nodes[i + 1] * down
                slope = (between_rows[:, 1:] - between_rows[:, :-1]) / self.step
                place = between_rows[:, j] + slope[:, j] * across
                nearest = np.rint(place)
                found.append(np.where(np.abs(place - nearest) < SNAP_PX, nearest, place))
        return found[0], found[1]


def mesh_between(canvas: Canvas, view: View, part: Box | None = None) -> Mesh:
    """Return where the pixels of a canvas lie in a frame.

    Parameters
    ----------
    canvas : Canvas
    view : View
        The frame's.
    part : Box, optional
        Of the canvas; by default all of it. No influence on where a pixel lies.

    Returns
    -------
    Mesh
        To `MAX_NODE_ERROR_PX`, for the pixels of the part that the frame can touch.
    """

    def there(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return view.pixels(canvas.view.directions(x, y))

    touched = touched_box(canvas, view)
    part = Box(0, canvas.shape[0], 0, canvas.shape[1]) if part is None else part
    return mesh_of(there, touched, mesh_step(there, touched), part)


def touched_box(canvas: Canvas, view: View) -> Box:
    """Return the part of a canvas that a frame can touch; all else is NaN of it. It may be a box without pixels."""
    there = Box.whole(canvas.shape)
    return shown_box(lambda x, y: canvas.view.pixels(view.directions(x, y)), view.camera.shape, there)


def shown_box(there: Mapping, shape: tuple[int, int], result: Box) -> Box:
    """Return the pixels of a result that may show a frame.

    Parameters
    ----------
    there : callable
        From the frame's pixels to the result's.
    shape : (int, int)
        Height and width of the frame.
    result : Box
        The pixels of the result.

    Returns
    -------
    Box
        All of the result where some of the frame's edge has no place there.
    """
    x, y = there(*edge_pixels(shape))
    if not (np.isfinite(x).all() and np.isfinite(y).all()):
        return result
    (top, bottom), (left, right) = (
        np.clip([np.floor(v.min() - SLACK_PX), np.ceil(v.max() + SLACK_PX) + 1], *side).astype(int).tolist()
        for v, side in ((y, result[:2]), (x, result[2:]))
    )
    return Box(top, bottom, left, right) if top < bottom and left < right else Box(0, 0, 0, 0)


def mesh_step(there: Mapping, box: Box) -> int:
    """Return the largest step with which interpolation keeps to `MAX_NODE_ERROR_PX`, all over a box.

    Parameters
    ----------
    there : callable
        From the result's pixels to the frame's.
    box : Box
        The pixels of the result that the frame can touch.
    """
    step = NODE_PX
    while step > 1 and not miss(there, box, step) < MAX_NODE_ERROR_PX:
        step //= 2
    return step


def mesh_of(there: Mapping, box: Box, step: int, part: Box) -> Mesh:
    """Return a mesh, computed for one part of a result.

    Parameters
    ----------
    there : callable
        From the result's pixels to the frame's.
    box : Box
        The pixels of the result that the frame can touch.
    step : int
        As `mesh_step` finds it for that box.
    part : Box
    """
    box = box.common(part)
    return Mesh(*there(*np.meshgrid(*_nodes(box, step))), step, box, part)


def _nodes(box: Box, step: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the columns and the rows at which the nodes of a box stand."""
    return tuple(
        np.arange(first // step, max(last - 1, first) // step + 2) * float(step)
        for first, last in ((box.left, box.right), (box.top, box.bottom))
    )


def miss(there: Mapping, box: Box, step: int) -> float:
    """Return by how many pixels interpolation is off halfway between nodes, where it is worst; NaN where it cannot be.

    Along rows, along columns and in the middles of cells: what bends one way along x and the other way along y is
    right in the middle alone. Cells all over the box stand for those between them: mappings bend smoothly.
    """
    columns, rows = (
        (first[:, np.newaxis] + step / 2 * np.arange(3)).ravel() for first in map(_spread, _nodes(box, step))
    )
    exact = np.stack(there(*np.meshgrid(columns, rows)))
    with np.errstate(invalid="ignore"):
        found = exact.copy()
        found[:, 1::3] = (found[:, ::3] + found[:, 2::3]) / 2
        found[:, :, 1::3] = (found[:, :, ::3] + found[:, :, 2::3]) / 2
        return float(np.max(np.abs(found - exact), where=~np.isnan(exact), initial=0.0))


def _spread(nodes: np.ndarray) -> np.ndarray:
    """Return the first nodes of a few cells, from the first to the last."""
    last = len(nodes) - 2
    return nodes[np.unique(np.linspace(0, last, CELLS_LOOKED_AT).astype(int))]
