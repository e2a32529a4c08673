# SPDX-License-Identifier: GPL-3.0-or-later
"""A mosaic while it is made: its finished cells, coarsely, over a rough picture of its frames."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np

from nanstack.canvas import Canvas
from nanstack.register.mesh import Box
from nanstack.solution_file import seen_in
from nanstack.stack.kept import read_part
from zemosaic_patch.mosaic_files import CELLS, SOLUTION
from zemosaic_patch.pictures import levels_of, screen_stretches
from zemosaic_patch.rough import Rough

TIMES = 4  # coarser than the mosaic, or as many times more as it is too large
MOST_SIDE = 1200  # pixels of the picture
AT_ONCE = 48  # cells that are read before there is a picture of them


class Filling:
    """The cells that a run has finished.

    Parameters
    ----------
    output : Path
        The folder that it writes to.
    north_up : bool
        Whether the first row is the lowest on the screen.
    rough : Path, optional
        Of a rough picture, which shows where no cell is finished yet.
    """

    def __init__(self, output: Path, north_up: bool, rough: Path | None = None) -> None:
        self.folder, self.north_up, self.rough = output / CELLS, north_up, rough
        self._parts: dict[Path, tuple[Box, np.ndarray]] = {}
        self._times: dict[Path, int] = {}

    def read_on(self) -> int:
        """Read cells that are new, not too many at once; return how many were read."""
        new = [path for path, time in _times(self.folder).items() if self._times.get(path) != time][:AT_ONCE]
        for path in new:
            self._times[path] = _time(path)
            found = read_part(path)
            if found is not None:
                self._parts[path] = found[0], _coarse(found[1])
        return len(new)

    def picture(self) -> bytes | None:
        """Return what is finished as a JPEG, over what is rough, or black; None where nothing is finished."""
        parts = list(self._parts.values())
        if not parts:
            return None
        seen = seen_in(self.folder / SOLUTION)
        whole = _whole([box for box, _ in parts], seen and seen[0])
        coarser = TIMES * max(1, -(-max(whole.shape) // (TIMES * MOST_SIDE)))
        height, width = (-(-side // coarser) for side in whole.shape)
        canvas = np.full((height, width, parts[0][1].shape[2]), np.nan, np.float32)
        for box, part in parts:
            part = part[:: coarser // TIMES, :: coarser // TIMES]
            top, left = (box.top - whole.top) // coarser, (box.left - whole.left) // coarser
            there = canvas[max(top, 0) : top + len(part), max(left, 0) : left + part.shape[1]]
            part = part[: there.shape[0], : there.shape[1]]
            np.copyto(there, part, where=np.isfinite(part))
        shades = levels_of(screen_stretches(canvas)[0](canvas))
        rough = Rough.read(self.rough) if self.rough and seen else None
        below = rough and rough.on(*seen, coarser)
        np.copyto(shades, 0 if below is None else below, where=~np.isfinite(canvas).all(axis=2, keepdims=True))
        return _jpeg(shades[::-1] if self.north_up else shades)


def _whole(boxes: list[Box], canvas: Canvas | None) -> Box:
    """Return all pixels of the canvas, counted from its origin; of one that is not known, what cells there are."""
    if canvas is not None:
        (height, width), (x, y) = canvas.shape, canvas.origin
        return Box(-y, height - y, -x, width - x)
    tops, bottoms, lefts, rights = zip(*boxes, strict=True)
    return Box(min(tops), max(bottoms), min(lefts), max(rights))


def _times(folder: Path) -> dict[Path, int]:
    return {path: time for path in sorted(folder.glob("cell_*.npz")) if (time := _time(path))}


def _time(path: Path) -> int:
    try:
        return path.stat().st_mtime_ns
    except OSError:  # it is just being replaced, or removed
        return 0


def _coarse(image: np.ndarray) -> np.ndarray:
    """Return the means of squares of a cell's pixels; an odd last row or column is left out, but never all."""
    height, width, channels = image.shape
    if min(height, width) < TIMES:
        return image[:1, :1]
    rows, columns = height // TIMES, width // TIMES
    squares = image[: rows * TIMES, : columns * TIMES].reshape(rows, TIMES, columns, TIMES, channels)
    return squares.mean(axis=(1, 3))


def _jpeg(shades: np.ndarray) -> bytes:
    from PIL import Image

    out = io.BytesIO()
    Image.fromarray(shades if shades.shape[2] == 3 else shades[..., 0]).save(out, "JPEG", quality=85)
    return out.getvalue()
