# SPDX-License-Identifier: GPL-3.0-or-later
"""A canvas in cells: each is stacked for itself, of the parts of the frames that show it, read when it is its turn.

A pixel's value hangs on the samples at that pixel and its next neighbours alone, so a cell is worked on with a margin,
and cells of any size, in any order and number at once, give the same bytes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from nanstack.canvas import Canvas
from nanstack.levels.placed import PlacedFrame
from nanstack.memory import Scratch, in_order, memory_budget, threads
from nanstack.register.mesh import Box, Mesh, mesh_of, mesh_step, touched_box
from nanstack.register.warp import REACH, warp_mesh
from nanstack.settings import CanvasSettings
from nanstack.stack.combine import combined
from nanstack.stack.rows import OpenFiles
from nanstack.stack.sources import Source, open_sources
from nanstack.stack.stacked import StackedCell

SIDES = (256, 128, 64, 32, 16)  # of cells: the first one with which the samples of all frames fit
CELL_BYTES = 64 * 2**20
MARGIN = 3  # pixels around a cell that its own pixels hang on: outliers' neighbours, and how steep the sky is there
BESIDE_BLOCK = 2.5  # bytes that a cell takes while it is stacked, over those of its samples


@dataclass(frozen=True)
class Cell:
    """A part of a canvas.

    Attributes
    ----------
    box : Box
        Its pixels.
    frames : tuple of int
        The frames that may show some of it, or of its margin.
    """

    box: Box
    frames: tuple[int, ...]


@dataclass(frozen=True)
class Layer:
    """A frame over a canvas: which pixels it may touch, and where these lie in it.

    Attributes
    ----------
    placed : PlacedFrame
    canvas : Canvas
    touched : Box
    step : int
        Of its mesh.
    """

    placed: PlacedFrame
    canvas: Canvas
    touched: Box
    step: int

    @classmethod
    def of(cls, placed: PlacedFrame, canvas: Canvas) -> Layer:
        """Find out where a frame lies on a canvas."""
        touched = touched_box(canvas, placed.frame.view)
        return cls(placed, canvas, touched, mesh_step(_there(placed, canvas), touched))

    def mesh(self, part: Box) -> Mesh:
        """Return where the pixels of a part of the canvas lie in the frame."""
        return mesh_of(_there(self.placed, self.canvas), self.touched, self.step, part)

    def shows(self, part: Box) -> bool:
        """Tell whether the frame may show some of a part of the canvas."""
        mesh = self.mesh(part)
        return 0 not in mesh.box.shape and 0 not in window_of(mesh, self.placed.frame.shape).shape


def _there(placed: PlacedFrame, canvas: Canvas):
    view = placed.frame.view
    return lambda x, y: view.pixels(canvas.view.directions(x, y))


def window_of(mesh: Mesh, shape: tuple[int, ...]) -> Box:
    """Return the part of a frame that the pixels of a mesh are made of; a box without pixels where that is nothing."""
    if np.isnan(mesh.x).any():
        return Box.whole(shape)
    left, right, top, bottom = (
        int(edge)
        for values in (mesh.x, mesh.y)
        for edge in np.clip([np.floor(values.min()) - REACH, np.ceil(values.max()) + REACH + 1], -(2**30), 2**30)
    )
    return Box(top, bottom, left, right).common(Box.whole(shape))


def cut(canvas: Canvas, layers: Sequence[Layer], channels: int) -> list[Cell]:
    """Cut a canvas into cells: squares, at multiples of their side from the pixel that the canvas's axis meets.

    A cell whose samples would be too many is cut again, and again: what a cell takes is bounded, however many frames
    there are. Cells that no frame shows are left out.
    """
    cells = []
    for box in _squares(Box.whole(canvas.shape), canvas, SIDES[0]):
        cells += _fitting(box, canvas, layers, tuple(range(len(layers))), channels, SIDES[1:])
    return cells


def _fitting(
    box: Box, canvas: Canvas, layers: Sequence[Layer], frames: tuple[int, ...], channels: int, sides: tuple[int, ...]
) -> list[Cell]:
    wide = with_margin(box, canvas)
    showing = tuple(index for index in frames if layers[index].shows(wide))
    if not showing:
        return []
    if not sides or cell_bytes(wide, len(showing), channels) <= CELL_BYTES:
        return [Cell(box, showing)]
    return [
        cell
        for part in _squares(box, canvas, sides[0])
        for cell in _fitting(part, canvas, layers, showing, channels, sides[1:])
    ]


def _squares(whole: Box, canvas: Canvas, side: int) -> Iterator[Box]:
    """Give the squares of a side that a box is made of, row by row."""
    x, y = canvas.origin
    for top in range((whole.top - y) // side * side + y, whole.bottom, side):
        for left in range((whole.left - x) // side * side + x, whole.right, side):
            yield Box(top, top + side, left, left + side).common(whole)


def with_margin(box: Box, canvas: Canvas) -> Box:
    """Return a box with what its pixels hang on, as far as the canvas goes."""
    wide = Box(box.top - MARGIN, box.bottom + MARGIN, box.left - MARGIN, box.right + MARGIN)
    return wide.common(Box.whole(canvas.shape))


def cell_bytes(box: Box, frames: int, channels: int) -> int:
    """Return the bytes that the samples of a cell take."""
    return 4 * frames * channels * box.shape[0] * box.shape[1]


def stack_cells(
    cells: Sequence[Cell], layers: Sequence[Layer], settings: CanvasSettings, *, memory: int | None = None
) -> Iterator[StackedCell]:
    """Stack cells, several at a time, in their order.

    Parameters
    ----------
    cells : sequence of Cell
    layers : sequence of Layer
    settings : CanvasSettings
    memory : int, optional
        Bytes that cells in work may take together; by default as `nanstack.memory.memory_budget`. No influence on the
        result.

    Raises
    ------
    nanstack.io.frames.FrameError
        For a file that cannot be read any more, or has changed.
    """
    if not cells:
        return
    channels = layers[0].placed.channels
    canvas = layers[0].canvas
    largest = max(cell_bytes(with_margin(cell.box, canvas), len(cell.frames), channels) for cell in cells)
    budget = memory_budget() if memory is None else memory
    at_once = int(np.clip(budget // (BESIDE_BLOCK * largest), 1, threads()))
    files = OpenFiles()
    try:
        with Scratch() as scratch:
            sources = open_sources([layer.placed.frame for layer in layers], files, scratch)
            yield from in_order(
                lambda number: stack_cell(cells[number], layers, sources, settings), len(cells), at_once
            )
    finally:
        files.close()


def stack_cell(cell: Cell, layers: Sequence[Layer], sources: Sequence[Source], settings: CanvasSettings) -> StackedCell:
    """Stack one cell."""
    canvas = layers[0].canvas
    wide = with_margin(cell.box, canvas)
    placed = [layers[index].placed for index in cell.frames]
    samples = np.empty((len(placed), *wide.shape, placed[0].channels), dtype=np.float32)
    for out, index in zip(samples, cell.frames, strict=True):
        out[:] = levelled(layers[index], sources[index], wide, settings.interpolation)
    return combined(samples, placed, settings, cell.box.within(wide))


def levelled(layer: Layer, source: Source, part: Box, interpolation: str) -> np.ndarray:
    """Return a frame's samples at the pixels of a part of the canvas, brought to the common flux and sky.

    Returns
    -------
    ndarray of float32, shape (h, w, C)
        NaN outside the frame's footprint.
    """
    mesh = layer.mesh(part)
    window = window_of(mesh, source.shape)
    placed = layer.placed
    if 0 in mesh.box.shape or 0 in window.shape:
        return np.full((*part.shape, placed.channels), np.nan, dtype=np.float32)
    inside = Mesh(mesh.x - window.left, mesh.y - window.top, mesh.step, mesh.box, mesh.part)
    samples = warp_mesh(source.window(window), inside, interpolation).reshape(*part.shape, placed.channels)
    samples *= np.float32(placed.gain)
    x = (np.arange(part.left, part.right) - layer.canvas.origin[0])[:, np.newaxis]
    y = (np.arange(part.top, part.bottom) - layer.canvas.origin[1])[:, np.newaxis, np.newaxis]
    samples += np.float32(placed.level.offset + placed.level.slope_x * x + placed.level.slope_y * y)
    return samples
