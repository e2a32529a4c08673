# SPDX-License-Identifier: GPL-3.0-or-later
"""Cells stacked by processes elsewhere: what they need lies in a file, what they make among the kept cells.

So neither travels between the processes: frames of a cell may be thousands, and its pixels are to be kept anyway.
"""

from __future__ import annotations

import functools
import os
import pickle
import secrets
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from nanstack.crew import Crew
from nanstack.io.files import PARTIAL, remove
from nanstack.memory import MAX_BUDGET, Scratch
from nanstack.register.mesh import Mesh
from nanstack.settings import CanvasSettings
from nanstack.stack.cells import (
    BESIDE_BLOCK,
    KEPT_MESHES,
    Cell,
    Layer,
    Outlines,
    Shares,
    Work,
    most_frames,
    shares,
    stacked_bytes,
)
from nanstack.stack.kept import KeptCells
from nanstack.stack.rows import OpenFiles
from nanstack.stack.sources import Source, open_source
from nanstack.stack.stacked import StackedCell
from nanstack.survey.stars import Stars

KEPT_LAYERS = 4096  # of frames, with their headers, for a process's next cells: some 30 KB each
BYTES_OF_LAYER = 30_000


def stack_elsewhere(
    cells: Sequence[Cell], layers: Sequence[Layer], settings: CanvasSettings, kept: KeptCells, crew: Crew
) -> Iterator[StackedCell]:
    """Have cells stacked by a crew, and give them in their order: as `nanstack.stack.cells.stack_cells`.

    Parameters
    ----------
    cells : sequence of Cell
    layers : sequence of Layer
    settings : CanvasSettings
    kept : KeptCells
        In a folder that all see. Cells that are there are not stacked again.
    crew : Crew

    Raises
    ------
    nanstack.io.frames.FrameError
        For a file that cannot be read any more, or has changed.
    OSError
        Where a cell that was made is not seen here.
    """
    if not cells:
        return
    most_frames(cells)
    marks = kept.marks(layers[0].canvas, [layer.placed for layer in layers], settings)
    folder = Path(os.path.abspath(kept.folder))
    with _shelf_of(layers, folder) as shelf:
        orders = [
            Order(cell, marks.fingerprint(cell.box, cell.frames), shelf, settings, folder, kept.version)
            for cell in cells
        ]
        channels = layers[0].placed.channels
        made = crew.in_order(stacked_and_kept, orders, lambda order: _bytes_of(order.cell, channels))
        for order, new in zip(orders, made, strict=True):
            cell = kept.collect(order.name, order.mark, new)
            if cell is None:
                raise OSError(f"{folder / order.name} was written by a worker, and is not seen here")
            yield cell
    kept.remove_others({cell.name for cell in cells})


def _bytes_of(cell: Cell, channels: int) -> int:
    """Return the bytes that a cell takes while it is stacked, and its frames."""
    frames, shared = len(cell.frames), _shared(cell, channels)
    samples = cell.grid.bytes_of(cell.box, frames, channels)
    held = shared.held_bytes if samples > shared.part_bytes else 0
    samples = min(samples, shared.part_bytes)
    beside = 2 * stacked_bytes(cell.on_canvas.shape, channels) + BYTES_OF_LAYER * frames
    return int(BESIDE_BLOCK * samples) + held + beside


def _shared(cell: Cell, channels: int) -> Shares:
    """Return what a cell may take of the memory: a process stacks one at a time."""
    return shares(len(cell.frames), channels, MAX_BUDGET, cell.grid, most_threads=1)


# --- what travels -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Shelf:
    """A file of layers, each of which can be read alone.

    Attributes
    ----------
    path : Path
    table : int
        Where in it stands what they have in common, and where each of them is.
    """

    path: Path
    table: int


@dataclass(frozen=True)
class Order:
    """A cell that another process is to stack.

    Attributes
    ----------
    cell : Cell
    mark : str
        Its fingerprint.
    shelf : Shelf
        Has the layers of its frames.
    settings : CanvasSettings
    folder : Path
        Where it is kept.
    version : str
        As of `KeptCells`.
    """

    cell: Cell
    mark: str
    shelf: Shelf
    settings: CanvasSettings
    folder: Path
    version: str

    @property
    def name(self) -> str:
        """That of the cell."""
        return self.cell.name


@contextmanager
def _shelf_of(layers: Sequence[Layer], folder: Path) -> Iterator[Shelf]:
    """Write layers into a file, and remove it afterwards; killed runs leave it to `remove_partial_files`."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{PARTIAL}layers-{secrets.token_hex(6)}"
    lights = {id(one.light): one.light for one in (layer.placed.foreign for layer in layers) if one is not None}
    common = [layers[0].canvas, *lights.values()]
    try:
        with open(path, "xb") as file:
            places = [_written(file, _light(layer, layers[0].canvas), common) for layer in layers]
            table = _written(file, (common, np.array(places)), [])
        yield Shelf(path, table)
    finally:
        remove(path)


def _light(layer: Layer, canvas: Any) -> Layer:
    """Return a layer without what no cell asks for; its file's whole name, as others have other current folders."""
    placed, survey = layer.placed, layer.placed.frame.survey
    survey = replace(
        survey,
        path=Path(os.path.abspath(survey.path)),
        facts=replace(survey.facts, wcs=None),
        stars=Stars.none(),
        sky=np.empty((0, 0), np.float32),
        trails=(),
    )
    frame = replace(placed.frame, survey=survey)
    return replace(layer, canvas=canvas, placed=replace(placed, frame=frame, trails=()))


def _written(file: BinaryIO, thing: object, common: list[object]) -> int:
    """Write a thing at the end of a file, what it has in common with others as a number; return where it begins."""
    begin = file.tell()
    pickler = pickle.Pickler(file, pickle.HIGHEST_PROTOCOL)
    numbers = {id(one): number for number, one in enumerate(common)}
    pickler.persistent_id = lambda one: numbers.get(id(one))
    pickler.dump(thing)
    return begin


def _read(path: Path, begin: int, common: list[object]) -> Any:
    with open(path, "rb") as file:
        file.seek(begin)
        unpickler = pickle.Unpickler(file)
        unpickler.persistent_load = lambda number: common[number]
        return unpickler.load()


# --- what happens elsewhere -------------------------------------------------------------------------------------------


def stacked_and_kept(order: Order) -> bool:
    """Stack a cell and keep it; tell whether no earlier run has.

    Raises
    ------
    OSError
        Where it cannot be kept.
    """
    kept = KeptCells(order.folder, order.version)
    if kept.load(order.name, order.mark) is not None:
        mine = (order.folder / order.name).stat().st_mtime_ns >= order.shelf.path.stat().st_mtime_ns
        return mine  # of a process that died, and did not tell
    kept.save(order.name, order.mark, bench_of(order.shelf).stacked(order), order.cell.on_canvas)
    if kept.failure:
        raise OSError(f"{order.folder}: {kept.failure}")
    return True


@functools.lru_cache(2)
def bench_of(shelf: Shelf) -> Bench:
    """Return what this process has of a run's frames."""
    return Bench(shelf)


class Bench:
    """What a process keeps from one cell to the next: the frames that it has met, and their files."""

    def __init__(self, shelf: Shelf) -> None:
        self._shelf = shelf
        self._common, self._places = _read(shelf.path, shelf.table, [])
        left = ExitStack()
        self._files, self._scratch = OpenFiles(), left.enter_context(Scratch())
        left.callback(self._files.close)
        weakref.finalize(self, left.close)  # when no cell is in work, or the process ends
        self.layer: Callable[[int], Layer] = functools.lru_cache(KEPT_LAYERS)(self._layer)
        self.source: Callable[[int], Source] = functools.lru_cache(KEPT_LAYERS)(self._source)
        self.mesh: Callable[[int], Mesh] = functools.lru_cache(KEPT_MESHES)(lambda i: self.layer(i).dropping.mesh())

    def _layer(self, index: int) -> Layer:
        return _read(self._shelf.path, int(self._places[index]), self._common)

    def _source(self, index: int) -> Source:
        return open_source(self.layer(index).placed.frame, self._files, self._scratch)

    def stacked(self, order: Order) -> StackedCell:
        """Stack a cell."""
        frames = order.cell.frames
        layers = [self.layer(index) for index in frames]
        cell = replace(order.cell, frames=tuple(range(len(frames))))
        work = Work(
            layers,
            _Numbered(self.source, frames),
            Outlines(layers),
            order.settings,
            _shared(cell, layers[0].placed.channels),
            _Numbered(self.mesh, frames).__getitem__,
        )
        return work.stacked(cell)


@dataclass(frozen=True)
class _Numbered:
    """Things of a cell's frames, by their number in the cell."""

    get: Callable[[int], Any]
    frames: Sequence[int]

    def __getitem__(self, number: int) -> Any:
        return self.get(self.frames[number])
