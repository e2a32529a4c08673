# SPDX-License-Identifier: GPL-3.0-or-later
"""Parts of frames, as cells of a canvas ask for them: read from their files at their place, when they are needed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from nanstack.io.bayer import debayer
from nanstack.io.layout import read_layout
from nanstack.memory import Scratch
from nanstack.register.mesh import Box
from nanstack.register.registered import RegisteredFrame
from nanstack.stack.rows import OpenFiles, Rows, open_rows, rows_of_layout

DEBAYER_PX = 2  # a window of a mosaic is read with so many more on each side; even, so that the pattern stays


@dataclass(frozen=True)
class Source:
    """A frame whose parts can be read, by several threads at once.

    Attributes
    ----------
    shape : tuple of int
        (H, W) or (H, W, 3), of the frame as it is stacked.
    pattern : str
        Of the Bayer mosaic that its file holds; empty for mono and colour.
    rows : Rows
        As stored: of a mosaic, its photosites.
    """

    shape: tuple[int, ...]
    pattern: str
    rows: Rows

    def window(self, box: Box) -> np.ndarray:
        """Return a part of the frame: float32 (h, w) or (h, w, 3); NaN or infinite where it has no data."""
        if not self.pattern:
            return self._stored(box)
        height, width = self.shape[:2]
        wide = Box(
            max(0, box.top // 2 * 2 - DEBAYER_PX), min(height, box.bottom + DEBAYER_PX),
            max(0, box.left // 2 * 2 - DEBAYER_PX), min(width, box.right + DEBAYER_PX),
        )  # fmt: skip
        return np.ascontiguousarray(debayer(self._stored(wide), self.pattern)[box.within(wide)])

    def _stored(self, box: Box) -> np.ndarray:
        rows = np.empty((box.bottom - box.top, *self.rows.shape[1:]), dtype=np.float32)
        self.rows.read(box.top, box.bottom, rows)
        return np.ascontiguousarray(rows[:, box.left : box.right])


def open_sources(frames: Sequence[RegisteredFrame], files: OpenFiles, scratch: Scratch) -> list[Source]:
    """Return frames as sources; a file whose rows stand at no known place is unpacked into the scratch folder.

    Raises
    ------
    FrameError
        For a file that cannot be used.
    """
    return [_source(frame, files, scratch) for frame in frames]


def _source(frame: RegisteredFrame, files: OpenFiles, scratch: Scratch) -> Source:
    pattern = frame.facts.pattern
    layout = read_layout(frame.path)
    if pattern and not (layout.packed or layout.column_order):
        return Source(frame.shape, pattern, rows_of_layout(layout, files))
    return Source(frame.shape, "", open_rows(frame.path, files, scratch))
