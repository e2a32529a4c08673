# SPDX-License-Identifier: GPL-3.0-or-later
"""Finished cells kept in a folder: a run that was stopped, or gets one more night, stacks only what it has not.

A cell has a file of its own, complete or not there. It holds a fingerprint of all that the cell's bytes hang on; of
the canvas that is its projection, not its size. A cell of another fingerprint, or damaged, is made again.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from nanstack.crew import seen_here
from nanstack.io.archives import DAMAGED_ARCHIVE, opened_archive
from nanstack.io.files import complete_file, remove, remove_partial_files
from nanstack.register.mesh import Box
from nanstack.register.solved import SolvedView
from nanstack.stack.stacked import StackedCell

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nanstack.canvas import Canvas
    from nanstack.levels.placed import PlacedFrame
    from nanstack.register.camera import View
    from nanstack.settings import CanvasSettings

VERSION = 13  # of what a file holds, and of how cells are stacked: those of another one are made anew
NAME = re.compile(r"cell_[+-]\d{4,}_[+-]\d{4,}\.npz")
PLANES = ("image", "coverage", "weight", "variance")
NUMBERS = ("rejected", "samples", "holes", "masked", "spared")


class KeptCells:
    """Cells in a folder.

    Parameters
    ----------
    folder : Path
        Made where it is not there.
    version : str
        Of the program: what another one made is made again.

    Attributes
    ----------
    failure : str
        Why one could not be kept; empty where all were.
    used, made : set of str
        Names of those that were there, and of those that were stacked.
    """

    def __init__(self, folder: Path, version: str = "") -> None:
        self.folder, self.version = folder, version
        self.failure = ""
        self.used: set[str] = set()
        self.made: set[str] = set()

    def marks(self, canvas: Canvas, placed: Sequence[PlacedFrame], settings: CanvasSettings) -> CellMarks:
        """Return what tells the cells of a canvas from others.

        Parameters
        ----------
        canvas : Canvas
            Whose pixels are counted from its origin.
        placed : sequence of PlacedFrame
        settings : CanvasSettings
        """
        return CellMarks(f"{VERSION} {self.version}", canvas, placed, settings)

    def load(self, name: str, fingerprint: str) -> StackedCell | None:
        """Return a cell; None where there is none of that fingerprint, or it is damaged."""
        found = self._read(name, fingerprint)
        if found is not None:
            self.used.add(name)
        return found

    def _read(self, name: str, fingerprint: str) -> StackedCell | None:
        try:
            with opened_archive(self.folder / name) as kept:
                told = json.loads(kept["told"].tobytes())
                if told["fingerprint"] != fingerprint:
                    return None
                return StackedCell(*(kept[plane] for plane in PLANES), *(told[name] for name in NUMBERS))
        except DAMAGED_ARCHIVE:
            return None

    def collect(self, name: str, fingerprint: str, made: bool) -> StackedCell | None:
        """Return a cell that another process found there, or made; None where it is not seen here."""
        (self.made if made else self.used).add(name)
        return seen_here(lambda: self._read(name, fingerprint), self.folder)

    def save(self, name: str, fingerprint: str, cell: StackedCell, box: Box) -> None:
        """Keep a cell, in place of the one of that name; and its pixels on the canvas, counted from the origin."""
        self.made.add(name)
        told = {
            "fingerprint": fingerprint,
            "box": list(map(int, box)),
            **{name: getattr(cell, name) for name in NUMBERS},
        }
        planes = {plane: getattr(cell, plane) for plane in PLANES}
        try:
            with complete_file(self.folder / name) as new:
                np.savez(new, told=np.frombuffer(json.dumps(told).encode(), dtype=np.uint8), **planes)
        except OSError as failure:  # a full disk costs the next run some time, not this one its end
            self.failure = failure.strerror or str(failure)

    def remove_others(self, names: Collection[str]) -> None:
        """Remove the cells that are none of some names, and what killed runs left half written; all else stays.

        The folder must be this run's alone.
        """
        remove_partial_files(self.folder)
        for path in self.folder.glob("cell_*.npz"):
            if path.name not in names and NAME.fullmatch(path.name) and _is_cell(path):
                remove(path)


def _is_cell(path: Path) -> bool:
    try:
        with opened_archive(path) as kept:
            return kept.files == ["told", *PLANES]
    except DAMAGED_ARCHIVE:
        return False


def read_part(path: Path) -> tuple[Box, np.ndarray] | None:
    """Return where a kept cell lies and what it shows, for a look at a mosaic that is being made.

    Parameters
    ----------
    path : Path
        Of its file.

    Returns
    -------
    (Box, ndarray of float32, shape (h, w, C)) or None
        Its pixels on the canvas, counted from the origin, and its image; None where it is damaged, or an earlier
        version kept it.
    """
    try:
        with opened_archive(path) as kept:
            told = json.loads(kept["told"].tobytes())
            return Box(*told["box"]), kept["image"]
    except DAMAGED_ARCHIVE:
        return None


class CellMarks:
    """Names and fingerprints of the cells of a canvas: see `KeptCells.marks`."""

    def __init__(self, version: str, canvas: Canvas, placed: Sequence[PlacedFrame], settings: CanvasSettings) -> None:
        self._common = hashlib.sha256(repr((version, settings)).encode() + _projection(canvas.view))
        self._frames = [_mark(one) for one in placed]

    def fingerprint(self, box: Sequence[int], frames: Sequence[int]) -> str:
        """Return what tells a cell's bytes from others: its pixels, from the origin, and all that is made of them."""
        found = self._common.copy()
        found.update(repr(tuple(box)).encode())
        for index in frames:
            found.update(self._frames[index])
        return found.hexdigest()


def _projection(view: View | SolvedView) -> bytes:
    """Return what tells where a canvas's pixels lie on the sky, whatever its size."""
    if isinstance(view, SolvedView):
        return view.solution.to_header_string(relax=True).encode() + view.axes.tobytes()
    camera = view.camera
    return repr((camera.focal, camera.radial, camera.axis, view.scale)).encode() + view.attitude.tobytes()


def _mark(placed: PlacedFrame) -> bytes:
    """Return what tells a frame's samples on a canvas from others."""
    view, level, noise = placed.frame.view, placed.level, placed.noise
    found = hashlib.sha256(
        repr((placed.frame.survey.digest, view.camera, float(view.scale), float(placed.weight), placed.blur)).encode()
    )
    arrays = view.attitude, placed.gain, placed.flat, level.terms
    for array in (*arrays, noise.variance, noise.photon, noise.sky, placed.masked):
        found.update(np.ascontiguousarray(array, dtype=np.float64).tobytes())
    if placed.foreign is not None:
        found.update(placed.foreign.light.digest + repr(placed.foreign.shift).encode())
    return found.digest()
