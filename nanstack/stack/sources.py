# SPDX-License-Identifier: GPL-3.0-or-later
"""Parts of frames, as cells of a canvas ask for them: read from their files at their place, when they are needed."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from nanstack.io.frames import channels_last, samples_with_data
from nanstack.io.layout import Layout, image_shape, read_layout, read_samples
from nanstack.memory import Scratch
from nanstack.register.mesh import Box
from nanstack.register.registered import RegisteredFrame
from nanstack.stack.rows import OpenFiles, Rows, may_have_zero_border, open_rows, rows_of_layout

AROUND = np.array([(down, right) for down in (-1, 0, 1) for right in (-1, 0, 1) if down or right])


@dataclass(frozen=True)
class Window:
    """A part of a frame.

    Attributes
    ----------
    samples : ndarray of float32, shape (h, w) or (h, w, 3)
        Of a mosaic, its photosites; NaN or infinite where there is no data.
    box : Box
        Where they are in the frame.
    """

    samples: np.ndarray
    box: Box


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
    spikes : ndarray of int32, shape (n, 2)
        Row and column of samples that no light made, in the order of their rows.
    """

    shape: tuple[int, ...]
    pattern: str
    rows: Rows
    spikes: np.ndarray

    def window(self, box: Box) -> Window:
        """Return a part of the frame, spikes mended, and a little beside it, of which they are mended."""
        pitch = 2 if self.pattern else 1
        box = Box(box.top - pitch, box.bottom + pitch, box.left - pitch, box.right + pitch)
        box = box.common(Box.whole(self.shape))
        samples = self.rows.part(box)
        first, last = np.searchsorted(self.spikes[:, 0], (box.top, box.bottom))
        row, column = (self.spikes[first:last] - (box.top, box.left)).T
        within = (column >= 0) & (column < samples.shape[1])
        if within.any():
            _mend(samples, row[within], column[within], pitch)
        return Window(samples, box)


def _mend(samples: np.ndarray, row: np.ndarray, column: np.ndarray, pitch: int) -> None:
    """Replace samples by the median of the nearest of their colour that are finite, and not replaced themselves."""
    samples[row, column] = np.nan
    y, x = (place[:, np.newaxis] + pitch * AROUND[:, axis] for axis, place in enumerate((row, column)))
    there = (y >= 0) & (y < samples.shape[0]) & (x >= 0) & (x < samples.shape[1])
    beside = samples[np.where(there, y, row[:, np.newaxis]), np.where(there, x, column[:, np.newaxis])]
    beside = np.moveaxis(beside, 1, -1).reshape(-1, len(AROUND))  # a row for each sample, or colour of one
    beside[~np.isfinite(beside)] = np.nan
    beside.sort(axis=1)  # NaN last
    count, every = np.count_nonzero(beside == beside, axis=1), np.arange(len(beside))
    median = (beside[every, np.maximum(count - 1, 0) // 2] + beside[every, count // 2]) / 2
    samples[row, column] = median.reshape(len(row), *samples.shape[2:])


def open_source(frame: RegisteredFrame, files: OpenFiles, scratch: Scratch) -> Source:
    """Return a frame as a source: of most files only the header is read.

    A file whose rows stand at no known place, or whose border may have no data, is unpacked into the scratch folder.

    Raises
    ------
    FrameError
        For a file that cannot be used.
    """
    pattern, spikes = frame.facts.pattern, frame.survey.spikes
    rows = _rows(read_layout(frame.path), pattern, files, scratch)
    return Source(frame.shape, pattern, rows, spikes[np.argsort(spikes[:, 0], kind="stable")])


def _rows(layout: Layout, pattern: str, files: OpenFiles, scratch: Scratch) -> Rows:
    shape = image_shape(layout.path, layout.stored)
    if 1 in layout.stored[::2] and len(shape) == 2:
        layout = replace(layout, stored=shape)
    of_a_sensor = pattern and layout.dtype.kind in "iu"  # it has data everywhere
    if layout.packed or layout.column_order or (not of_a_sensor and may_have_zero_border(layout)):
        samples = channels_last(layout.path, read_samples(layout))
        samples = samples_with_data(layout, samples, pattern)
        stored = scratch.store(_in_few_bytes(samples))
        files.expect(Path(stored.filename), None)  # other frames will be stored behind it
        return open_rows(stored, files, scratch)
    return rows_of_layout(layout, files)


def _in_few_bytes(samples: np.ndarray) -> np.ndarray:
    """Return samples as 16-bit numbers, where they are."""
    with np.errstate(invalid="ignore"):
        short = samples.astype(np.uint16)
    return short if np.array_equal(short, samples) else samples
