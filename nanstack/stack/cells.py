# SPDX-License-Identifier: GPL-3.0-or-later
"""A canvas in cells: each is stacked for itself, of the parts of the frames that show it, read when it is its turn.

A pixel's value hangs on the samples at that pixel and its next neighbours alone, so a cell is worked on with a margin,
in parts as small as the memory asks for; cells in any parts, in any order and number at once, give the same bytes.
Pixels are counted from the canvas's origin: a cell stays what it is when the canvas grows.
"""

from __future__ import annotations

import functools
import math
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from itertools import product
from typing import NamedTuple

import numpy as np

from nanstack.arrays import to_float32
from nanstack.canvas import Canvas
from nanstack.levels.placed import PlacedFrame
from nanstack.memory import Scratch, in_order, memory_budget, threads
from nanstack.register.camera import Passage
from nanstack.register.mesh import Box, Mesh, mesh_of, mesh_step, miss, shown_box
from nanstack.register.raw_warp import polynomial_at, raw_reach, warp_mosaic
from nanstack.register.solved import SolvedView
from nanstack.register.warp import REACH, warp_mesh
from nanstack.settings import CanvasSettings
from nanstack.stack.combine import combined
from nanstack.stack.drizzle import TAPS
from nanstack.stack.drizzled import AROUND, BYTES_OF_SUMS, Dropping, Drops, Part, dropped, grid_of, on_grid, reach
from nanstack.stack.foreign import take_off
from nanstack.stack.kept import NUMBERS, KeptCells
from nanstack.stack.masks import drawn, hidden, masked_on_canvas, with_hidden, with_masked
from nanstack.stack.noise_model import FrameNoise
from nanstack.stack.rows import OpenFiles
from nanstack.stack.sources import Held, Source, Window, open_source
from nanstack.stack.stacked import StackedCell

SIDE = 256  # of cells: see `cut`
MARGIN = 3  # pixels around a cell that its own pixels hang on: outliers' neighbours, and how steep the sky is there
PART_BYTES = 24 * 2**20  # of the samples of a part of a cell: with more, each pass over them waits for the memory
USUAL_SIDE = 64  # of parts, whatever they take of the memory there is: smaller ones cost each frame more
LEAST_SIDE = 16  # of parts, whatever memory they take: with their margin, smaller ones would do most of the work twice
HELD_BYTES = 2**28  # of frames, read once for several parts
LEAST_HELD = 0.25  # of the memory of a cell
BESIDE_BLOCK = 2.5  # bytes that a part takes while it is stacked, over those of its samples
MOST_FRAMES = 2**16 - 1  # in a cell: coverage counts in 16 bits
KEPT_MESHES = 500  # of frames that are dropped: some 35 KB each, for a few cells side by side
AHEAD = 2  # cells that wait for whoever takes them, for each that is in work


@dataclass(frozen=True)
class Grid:
    """Where samples are interpolated: in the pixels of a canvas, or on a coarser grid, and photosites dropped.

    Attributes
    ----------
    times : int
        Pixels of the canvas along the side of one of the grid's.
    margin : int
        Pixels around a cell that it hangs on.
    drops : int
        Those of them that photosites are dropped into; 0 where none are dropped at all.
    """

    times: int = 1
    margin: int = MARGIN
    drops: int = 0

    def around(self, box: Box, margin: int | None = None) -> Box:
        """Return a box with what its pixels hang on; there need be nothing."""
        wide = self.margin if margin is None else margin
        return Box(box.top - wide, box.bottom + wide, box.left - wide, box.right + wide)

    def bytes_of(self, box: Box, frames: int, channels: int) -> int:
        """Return the bytes that the samples of a part of a cell take, photosites that drop, and what they drop into."""
        (height, width), (rows, columns) = self.around(box).shape, self.around(box, self.drops).shape
        sums = BYTES_OF_SUMS * channels * self.times**2 * rows * columns if self.drops else 0
        windows = 4 * frames * height * width if self.drops else 0
        return 4 * frames * channels * height * width + windows + sums


@dataclass(frozen=True)
class Cell:
    """A part of a canvas.

    Attributes
    ----------
    box : Box
        Its pixels on the grid, counted from the canvas's origin: of a rectangle, what frames touch.
    frames : tuple of int
        The frames that may show some of it, or of its margin.
    grid : Grid
    """

    box: Box
    frames: tuple[int, ...]
    grid: Grid = Grid()

    @property
    def on_canvas(self) -> Box:
        """Its pixels on the canvas, counted from the origin."""
        return Box(*(side * self.grid.times for side in self.box))

    @property
    def name(self) -> str:
        """Of the file that keeps it: by its place."""
        return f"cell_{self.on_canvas.top // SIDE:+05d}_{self.on_canvas.left // SIDE:+05d}.npz"


@dataclass(frozen=True)
class Layer:
    """A frame over a canvas: which pixels it may touch, and where these lie in it.

    Attributes
    ----------
    placed : PlacedFrame
    canvas : Canvas
        Or the grid. Its pixels are counted from its origin, which is the pixel (0, 0).
    touched : Box
    step : int
        Of its mesh.
    bend : float
        By how many of its pixels the side of a cell may be off straight in it.
    masked : ndarray of float64, shape (m, 5)
        What of it is masked, in pixels of the canvas: see `nanstack.stack.masks`.
    grid : Grid
        Of all layers.
    dropping : Dropping, optional
        How its photosites drop onto the canvas itself.
    """

    placed: PlacedFrame
    canvas: Canvas
    touched: Box
    step: int
    bend: float
    masked: np.ndarray
    grid: Grid = Grid()
    dropping: Dropping | None = None

    @classmethod
    def of(cls, placed: PlacedFrame, canvas: Canvas) -> Layer:
        """Find out where a frame lies on a canvas."""
        plane, view = _from_origin(canvas), placed.frame.view
        touched = shown_box(
            lambda x, y: plane.view.pixels(view.directions(x, y)),
            view.camera.shape,
            counted_from_origin(Box.whole(canvas.shape), canvas),
        )
        there = Passage.between(plane.view, [view])[0]
        bend = 2 * miss(there, touched, SIDE)
        masked = masked_on_canvas(placed, plane)
        return cls(placed, plane, touched, mesh_step(there, touched), bend if bend >= 0 else np.inf, masked)


def layers_of(placed: Sequence[PlacedFrame], canvas: Canvas, settings: CanvasSettings) -> list[Layer]:
    """Find out where frames lie on a canvas, as they are to be stacked there.

    Raises
    ------
    ValueError
        For a canvas that photosites cannot be dropped onto: see `nanstack.canvas.coarser`.
    """
    drizzle = settings.drizzle
    if drizzle is None or not placed:
        return [Layer.of(one, canvas) for one in placed]
    there, plane = grid_of(canvas, drizzle), _from_origin(canvas)
    droppings = [Dropping.of(one, plane, settings.interpolation, drizzle) for one in placed]
    grid = Grid(drizzle.coarser, MARGIN + TAPS[-1] + reach(droppings, drizzle) + AROUND, AROUND)
    return [
        replace(Layer.of(on_grid(one, drizzle), there), grid=grid, dropping=dropping)
        for one, dropping in zip(placed, droppings, strict=True)
    ]


def _from_origin(canvas: Canvas) -> Canvas:
    """Return a canvas whose pixels are counted from its origin."""
    x, y = canvas.origin
    if isinstance(canvas.view, SolvedView):  # its origin is its first pixel
        return canvas
    camera = canvas.view.camera
    axis = camera.middle[0] - x, camera.middle[1] - y
    return Canvas(replace(canvas.view, camera=replace(camera, axis=axis)))


def counted_from_origin(box: Box, canvas: Canvas) -> Box:
    """Return pixels of a canvas, counted from its origin."""
    x, y = canvas.origin
    return Box(box.top - y, box.bottom - y, box.left - x, box.right - x)


def window_of(mesh: Mesh, shape: tuple[int, ...], reach: int) -> Box:
    """Return the part of a frame that lies so far around the pixels of a mesh; maybe a box without pixels."""
    if 0 in mesh.box.shape:
        return Box(0, 0, 0, 0)
    nodes = np.stack([mesh.y, mesh.x])
    if not np.isfinite(nodes).all():
        return Box.whole(shape)
    nodes = _to_ends(nodes, mesh.step, mesh.box.top, mesh.box.bottom)
    nodes = _to_ends(nodes.swapaxes(1, 2), mesh.step, mesh.box.left, mesh.box.right)  # between nodes nothing is beyond
    (top, left), (bottom, right) = nodes.min(axis=(1, 2)).tolist(), nodes.max(axis=(1, 2)).tolist()
    found = Box(
        math.floor(top) - reach, math.ceil(bottom) + reach + 1, math.floor(left) - reach, math.ceil(right) + reach + 1
    )
    return found.common(Box.whole(shape))


def _to_ends(nodes: np.ndarray, step: int, first: int, stop: int) -> np.ndarray:
    """Return nodes (2, n, ...), along the second axis from the first pixel on, and up to the last one."""
    begin, end = (place / step - first // step for place in (first, stop - 1))
    last = min(int(end), nodes.shape[1] - 2)
    ends = [nodes[:, k] + (nodes[:, k + 1] - nodes[:, k]) * (at - k) for k, at in ((0, begin), (last, end))]
    return np.concatenate([ends[0][:, np.newaxis], nodes[:, 1 : last + 1], ends[1][:, np.newaxis]], axis=1)


# --- which frames show which cells ------------------------------------------------------------------------------------


class Outlines:
    """Where frames lie on a canvas, in arrays: which of them show a part of it is asked for many parts.

    Parameters
    ----------
    layers : sequence of Layer
        One at least.
    """

    def __init__(self, layers: Sequence[Layer]) -> None:
        views = [layer.placed.frame.view for layer in layers]
        self.touched = np.array([layer.touched for layer in layers])
        self._steps = np.array([layer.step for layer in layers])
        self._there = Passage.between(layers[0].canvas.view, views)
        self._shape = np.array([view.camera.shape for view in views], dtype=np.float64)
        finer = np.array([view.focal for view in views]) / layers[0].canvas.view.focal
        self._margin = layers[0].grid.margin
        self._near = 1.5 * (REACH + self._margin * np.maximum(finer, 1)) + [layer.bend for layer in layers]

    def showing(self, rows: np.ndarray, columns: np.ndarray, among: np.ndarray) -> np.ndarray:
        """Tell which frames may show the boxes between rows and columns, or their margins.

        Two convex outlines are apart where all of one lies beyond a side of the other: the box's sides are asked in
        its own pixels, the frame's in the frame's, in which the box's sides are nearly straight.

        Parameters
        ----------
        rows, columns : ndarray of int, shapes (r + 1,) and (c + 1,)
        among : ndarray of int, shape (n,)
            The frames that are asked about.

        Returns
        -------
        ndarray of bool, shape (n, r, c)
            True for all that show some of it, and for few others.
        """
        top, bottom, left, right = self.touched[among].T[..., np.newaxis]
        across = (left < columns[1:] + self._margin) & (right > columns[:-1] - self._margin)
        down = (top < rows[1:] + self._margin) & (bottom > rows[:-1] - self._margin)
        near = self._near[among, np.newaxis, np.newaxis]
        x, y = self._there[among, np.newaxis, np.newaxis](columns, rows[:, np.newaxis])
        height, width = self._shape[among].T[..., np.newaxis, np.newaxis]
        beyond = [x < -near, x > width - 1 + near, y < -near, y > height - 1 + near]
        apart = [_corners(side) for side in beyond]  # NaN is beyond none: a box as wide as the sky may hold the frame
        return down[:, :, np.newaxis] & across[:, np.newaxis] & ~np.logical_or.reduce(apart)

    def meshes(self, part: Box, frames: np.ndarray) -> dict[int, Mesh]:
        """Return where the pixels of a part lie in each of some frames: found for all at once, in a tenth of the time.

        Parameters
        ----------
        part : Box
        frames : ndarray of int, shape (n,)
        """
        found = {}
        for step in np.unique(self._steps[frames]).tolist():
            alike = frames[self._steps[frames] == step]
            whole = mesh_of(self._there[alike, np.newaxis, np.newaxis], part, step, part)
            for index, x, y in zip(alike.tolist(), whole.x, whole.y, strict=True):
                found[index] = replace(whole, x=x, y=y).cut(Box(*self.touched[index].tolist()))
        return found


def _corners(node: np.ndarray) -> np.ndarray:
    """Tell of boxes between nodes, (n, r + 1, c + 1), whether all four are True."""
    return node[:, :-1, :-1] & node[:, :-1, 1:] & node[:, 1:, :-1] & node[:, 1:, 1:]


def cut(layers: Sequence[Layer]) -> list[Cell]:
    """Cut a canvas into cells, row by row from the top, at multiples of their sides from the canvas's origin.

    They are `SIDE` pixels of the canvas high, and as many of the grid wide: so that of a finer canvas, too, frames'
    rows are read few times, and margins are little beside the cells. Those that no frame shows are left out, and of the
    others what none of their frames touches.
    """
    if not layers:
        return []
    outlines, grid = Outlines(layers), layers[0].grid
    side = max(1, SIDE // grid.times)
    touched = outlines.touched[outlines.touched[:, 1] > outlines.touched[:, 0]]
    if not len(touched):
        return []
    first, last = touched.min(axis=0), touched.max(axis=0)
    cells = []
    for top in range(first[0] // side * side, last[1], side):
        rows = np.array([top, top + side])
        in_rows = np.flatnonzero(
            (outlines.touched[:, 0] < rows[1] + grid.margin) & (outlines.touched[:, 1] > top - grid.margin)
        )
        columns = np.arange(first[2] // SIDE * SIDE, last[3] + SIDE, SIDE)
        if not len(in_rows) or len(columns) < 2:
            continue
        for left, shown in zip(columns[:-1].tolist(), outlines.showing(rows, columns, in_rows)[:, 0].T, strict=True):
            frames = in_rows[shown]
            box = _touched_of(Box(top, top + side, left, left + SIDE), outlines.touched[frames])
            if 0 not in box.shape:
                cells.append(Cell(box, tuple(frames.tolist()), grid))
    return cells


def _touched_of(place: Box, touched: np.ndarray) -> Box:
    """Return what of a place lies in the smallest box around those of its frames."""
    if not len(touched):
        return Box(0, 0, 0, 0)
    (top, _, left, _), (_, bottom, _, right) = touched.min(axis=0).tolist(), touched.max(axis=0).tolist()
    return place.common(Box(top, bottom, left, right))


def parts_of(cell: Cell, channels: int, most: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the rows and columns between which the parts of a cell lie: as few as take no more bytes than allowed.

    Parts are not made smaller than `LEAST_SIDE`, and never of fewer frames.
    """
    (height, width), box = cell.box.shape, cell.box
    down = across = 1
    while True:
        part = Box(0, -(-height // down), 0, -(-width // across))
        if cell.grid.bytes_of(part, len(cell.frames), channels) <= most or max(part.shape) <= LEAST_SIDE:
            break
        down, across = (down + 1, across) if part.shape[0] >= part.shape[1] else (down, across + 1)
    return _between(box.top, box.bottom, part.shape[0]), _between(box.left, box.right, part.shape[1])


def _between(first: int, last: int, step: int) -> np.ndarray:
    return np.append(np.arange(first, last, step), last)


def _between_nodes(rows: np.ndarray, columns: np.ndarray, first: Sequence[int], last: Sequence[int]) -> Box:
    """Return the box from a row and a column, by their numbers among some, to another row and column."""
    return Box(*rows[[first[0], last[0]]].tolist(), *columns[[first[1], last[1]]].tolist())


# --- stacking ---------------------------------------------------------------------------------------------------------


def stack_cells(
    cells: Sequence[Cell],
    layers: Sequence[Layer],
    settings: CanvasSettings,
    *,
    memory: int | None = None,
    kept: KeptCells | None = None,
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
    kept : KeptCells, optional
        Cells that are there are not stacked again, others are kept there. At the end it has these cells alone.

    Raises
    ------
    nanstack.io.frames.FrameError
        For a file that cannot be read any more, or has changed.
    ValueError
        For more than `MOST_FRAMES` frames in one cell.
    """
    if not cells:
        return
    shared = shares(
        most_frames(cells), layers[0].placed.channels, memory_budget() if memory is None else memory, layers[0].grid
    )
    outlines = Outlines(layers)
    with Scratch() as scratch, closing(OpenFiles()) as files:
        sources = _Sources(layers, files, scratch)
        frame_mesh = functools.lru_cache(KEPT_MESHES)(lambda index: layers[index].dropping.mesh())
        stack = Work(layers, sources, outlines, settings, shared, frame_mesh).stacked
        make = stack if kept is None else _remembering(kept, stack, layers, settings)
        yield from in_order(lambda number: make(cells[number]), len(cells), shared.at_once, AHEAD * shared.at_once)
    if kept is not None:
        kept.remove_others({cell.name for cell in cells})


def most_frames(cells: Sequence[Cell]) -> int:
    """Return the number of frames of the cell that has most of them; ValueError where that is too many."""
    most = max(len(cell.frames) for cell in cells)
    if most > MOST_FRAMES:
        raise ValueError(f"{most} frames show one place, and {MOST_FRAMES} can be stacked at most: stack fewer at once")
    return most


def _remembering(
    kept: KeptCells, stack: Callable[[Cell], StackedCell], layers: Sequence[Layer], settings: CanvasSettings
) -> Callable[[Cell], StackedCell]:
    """Return what stacks a cell and keeps it, where it is not kept already."""
    marks = kept.marks(layers[0].canvas, [layer.placed for layer in layers], settings)

    def make(cell: Cell) -> StackedCell:
        mark = marks.fingerprint(cell.box, cell.frames)
        found = kept.load(cell.name, mark)
        if found is None:
            found = stack(cell)
            kept.save(cell.name, mark, found, cell.on_canvas)
        return found

    return make


class Shares(NamedTuple):
    """How many cells are worked on at once; bytes of the samples of a part of one, and of frames held for its parts."""

    at_once: int
    part_bytes: int
    held_bytes: int


def shares(frames: int, channels: int, memory: float, grid: Grid = Grid(), most_threads: int | None = None) -> Shares:
    """Return how memory is shared out where so many frames show a place; by default to all threads."""
    least, usual = (grid.bytes_of(Box(0, side, 0, side), frames, channels) for side in (LEAST_SIDE, USUAL_SIDE))
    at_once = int(np.clip(memory // (BESIDE_BLOCK * least), 1, most_threads or threads()))
    each = memory / at_once
    part = np.clip((1 - LEAST_HELD) * each / BESIDE_BLOCK, least, max(PART_BYTES, usual))
    held = np.clip(each - BESIDE_BLOCK * part, 0, HELD_BYTES)
    return Shares(at_once, int(part), int(held))


class _Sources:
    """The frames' files, each opened when a cell asks for it first: cells that are kept ask for none."""

    def __init__(self, layers: Sequence[Layer], files: OpenFiles, scratch: Scratch) -> None:
        self._frames = [layer.placed.frame for layer in layers]
        self._files, self._scratch = files, scratch
        self._open: list[Source | None] = [None] * len(layers)
        self._locks = [threading.Lock() for _ in layers]

    def __getitem__(self, index: int) -> Source:
        with self._locks[index]:
            if self._open[index] is None:
                self._open[index] = open_source(self._frames[index], self._files, self._scratch)
            return self._open[index]


@dataclass(frozen=True)
class Work:
    """What the cells of a canvas are stacked from.

    Attributes
    ----------
    layers : sequence of Layer
    sources : _Sources
        Or another way from a number of a layer to its frame's parts.
    outlines : Outlines
        Of all layers.
    settings : CanvasSettings
    shared : Shares
        What a cell may take of the memory.
    frame_mesh : callable
        Returns where all photosites of a frame lie, by the number of its layer.
    """

    layers: Sequence[Layer]
    sources: _Sources
    outlines: Outlines
    settings: CanvasSettings
    shared: Shares
    frame_mesh: Callable[[int], Mesh]

    def stacked(self, cell: Cell) -> StackedCell:
        """Return a cell, stacked in as many parts as its frames ask for."""
        channels = self.layers[0].placed.channels
        rows, columns = parts_of(cell, channels, self.shared.part_bytes)
        frames = np.array(cell.frames)
        showing = self.outlines.showing(rows, columns, frames)
        meshes = self.outlines.meshes(cell.grid.around(cell.box), frames)
        if showing.shape[1:] == (1, 1) and showing.any():
            return self._part(
                cell.box, {index: meshes[index] for index in frames[showing[:, 0, 0]].tolist()}, self.sources
            )
        whole = empty(cell.on_canvas.shape, channels)
        numbers = np.zeros(len(NUMBERS), dtype=np.int64)
        together = self._together(meshes, max(showing.shape[1:]))
        for first in product(*(range(0, count, together) for count in showing.shape[1:])):
            last = np.minimum(np.add(first, together), showing.shape[1:]).tolist()
            near = cell.grid.around(_between_nodes(rows, columns, first, last))
            sources = self.sources if together == 1 else self._held(meshes, near)
            for i, j in product(*map(range, first, last)):
                box = _between_nodes(rows, columns, (i, j), (i + 1, j + 1))
                if showing[:, i, j].any():
                    part = self._part(
                        box, {index: meshes[index] for index in frames[showing[:, i, j]].tolist()}, sources
                    )
                    put(part, replace(cell, box=box).on_canvas.within(cell.on_canvas), whole)
                    numbers += [getattr(part, name) for name in NUMBERS]
        return replace(whole, **dict(zip(NUMBERS, numbers.tolist(), strict=True)))

    def _together(self, meshes: Mapping[int, Mesh], parts: int) -> int:
        """Return how many parts along each side of a cell are worked on with what they need of the frames in memory."""
        frames = [self.layers[index].placed.frame for index in meshes]
        boxes = [window_of(mesh, frame.shape, 0) for mesh, frame in zip(meshes.values(), frames, strict=True)]
        sides = np.array([box.shape for box in boxes])
        planes = np.array([1 if frame.facts.pattern else math.prod(frame.shape[2:]) for frame in frames])
        reach = max(_reach(frame.facts.pattern, self.settings.interpolation) for frame in frames)
        beyond = 2 * (reach + self.layers[0].grid.margin)
        for cuts in range(1, parts):
            if 4 * planes @ np.prod(sides / cuts + beyond, axis=1) <= self.shared.held_bytes:
                return -(-parts // cuts)
        return 1

    def _held(self, meshes: Mapping[int, Mesh], near: Box) -> dict[int, Held]:
        """Return what parts of a cell need of its frames, each read when a part asks for it first."""
        found = {}
        for index, mesh in meshes.items():
            source = self.sources[index]
            box = window_of(mesh.cut(near), source.shape, _reach(source.pattern, self.settings.interpolation))
            found[index] = Held(source, box)
        return found

    def _part(self, box: Box, meshes: dict[int, Mesh], sources: Mapping[int, Source | Held]) -> StackedCell:
        """Return a part of the cell, stacked of what its frames show there and a margin around it."""
        grid = self.layers[0].grid
        wide = grid.around(box)
        placed = [self.layers[index].placed for index in meshes]
        samples = np.empty((len(placed), *wide.shape, placed[0].channels), dtype=np.float32)
        drops = []
        for out, one, (index, mesh) in zip(samples, placed, meshes.items(), strict=True):
            window = levelled(one, sources[index], mesh.cut(wide), self.settings.interpolation, out)
            if one.foreign is not None:
                take_off(out, one.foreign, wide)
            if grid.drops:
                drops.append(Drops(self.layers[index].dropping, self.frame_mesh(index), sources[index].pattern, window))
        masks = [drawn(self.layers[index].masked, wide) for index in meshes]
        inner, found = box.within(wide), hidden(samples, masks, FrameNoise.of(placed))
        gone, stay = (None, None) if found is None else found
        if grid.drops:
            part = Part(box, grid.around(box, grid.drops), wide)
            stacked = dropped(samples, placed, drops, self.settings, part, gone)
        else:
            stacked = combined(samples, placed, self.settings, inner)
            stacked = stacked if gone is None else with_hidden(stacked, gone[inner])
        return stacked if gone is None else with_masked(stacked, gone[inner], stay[inner])


def empty(shape: tuple[int, int], channels: int) -> StackedCell:
    """Return a part of a canvas on which nothing is shown."""
    nothing = np.full((*shape, channels), np.nan, np.float32)
    return StackedCell(nothing, np.zeros(shape, np.uint16), np.zeros(shape, np.float32), nothing.copy(), 0, 0)


def put(
    cell: StackedCell, place: tuple[slice, slice], whole: StackedCell, taken: tuple[slice, slice] = np.s_[:, :]
) -> None:
    """Put a cell's planes, or what is taken of them, where they belong."""
    for name in ("image", "coverage", "weight", "variance"):
        getattr(whole, name)[place] = getattr(cell, name)[taken]


def stacked_bytes(shape: tuple[int, int], channels: int) -> int:
    """Return the bytes of a stacked part of a canvas: its image, variance, weight and coverage."""
    return shape[0] * shape[1] * (2 * 4 * channels + 4 + 2)


def _reach(pattern: str, interpolation: str) -> int:
    """Return how far samples of a frame are from where they are asked for."""
    return raw_reach(interpolation) if pattern else REACH


def levelled(
    placed: PlacedFrame, source: Source | Held, mesh: Mesh, interpolation: str, out: np.ndarray
) -> Window | None:
    """Fill in a frame's samples at the pixels of a part of the canvas, brought to the common flux and sky.

    Return the part of the frame that they came of; None where that is nothing.

    Parameters
    ----------
    placed : PlacedFrame
    source : Source or Held
    mesh : Mesh
        Of the part, whose pixels are counted from the canvas's origin.
    interpolation : {'bicubic', 'lanczos3'}
    out : ndarray of float32, shape (h, w, C)
        NaN outside the frame's footprint.
    """
    box = window_of(mesh, source.shape, _reach(source.pattern, interpolation))
    if 0 in box.shape:
        out[:] = np.nan
        return None
    window = source.window(box)
    flat, levelling = placed.flat, placed.levelling
    if source.pattern:
        corner = window.box.top, window.box.left
        warp_mosaic(
            window.samples, source.pattern, mesh, interpolation, corner=corner, levelling=levelling, flat=flat, out=out
        )
        return window.cut(box)
    inside = replace(mesh, x=mesh.x - window.box.left, y=mesh.y - window.box.top)
    samples = warp_mesh(window.samples, inside, interpolation).reshape(out.shape)
    column = np.arange(mesh.part.left, mesh.part.right)[:, np.newaxis]
    row = np.arange(mesh.part.top, mesh.part.bottom)[:, np.newaxis, np.newaxis]
    gain = levelling[0] * polynomial_at(flat, row, column)
    out[:] = to_float32(gain * samples + polynomial_at(levelling[1:], row, column))
    out[~np.isfinite(out).all(axis=-1)] = np.nan
    return window.cut(box)
