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


@dataclass(frozen=True)
class Window:
    """A part of a frame.

    Attributes
    ----------
    samples : ndarray of float32, shape (h, w) or (h, w, 3)
        Of a mosaic, its photosites; NaN or infinite where there is no data.
    box : Box
        Where they are in the frame.
    spikes : tuple of ndarray of int, shapes (n,)
        Rows and columns of those samples that stand for some that no light made.
    """

    samples: np.ndarray
    box: Box
    spikes: tuple[np.ndarray, np.ndarray]

    def cut(self, box: Box) -> Window:
        """Return what of it lies in a box, whose pixels it has all: a view."""
        if box == self.box:
            return self
        row, column = (
            one - shift for one, shift in zip(self.spikes, np.subtract(box[::2], self.box[::2]), strict=True)
        )
        within = (row >= 0) & (row < box.shape[0]) & (column >= 0) & (column < box.shape[1])
        return Window(self.samples[box.within(self.box)], box, (row[within], column[within]))

    def without_spikes(self) -> np.ndarray:
        """Return the samples with no data where no light made them."""
        if not len(self.spikes[0]):
            return self.samples
        samples = self.samples.copy()
        samples[self.spikes] = np.nan
        return samples


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
        Row and column of samples that no light made, row by row.
    mended : ndarray of float32, shape (n,)
        What stands in for these.
    """

    shape: tuple[int, ...]
    pattern: str
    rows: Rows
    spikes: np.ndarray
    mended: np.ndarray

    def window(self, box: Box) -> Window:
        """Return what of a box is on the frame, spikes mended."""
        box = box.common(Box.whole(self.shape))
        samples = self.rows.part(box)
        first, last = self.spikes[:, 0].searchsorted(np.array([box.top, box.bottom], np.int32))
        row, column = (self.spikes[first:last] - np.array([box.top, box.left], np.int32)).T
        within = (column >= 0) & (column < samples.shape[1])
        spikes = row[within], column[within]
        if within.any():  # never in a frame of several colours
            samples[spikes] = self.mended[first:last][within]
        return Window(samples, box, spikes)


class Held:
    """A part of a source, read once: when it is asked for first.

    Parameters
    ----------
    source : Source
    box : Box
        Whoever asks for what lies in it gets all of it.
    """

    def __init__(self, source: Source, box: Box) -> None:
        self.shape, self.pattern = source.shape, source.pattern
        self._source, self._box = source, box
        self._window: Window | None = None

    def window(self, box: Box) -> Window:
        """Return what has all of a box that is on the frame, spikes mended."""
        if self._window is None:
            self._window = self._source.window(self._box)
        return self._window


def open_source(frame: RegisteredFrame, files: OpenFiles, scratch: Scratch) -> Source:
    """Return a frame as a source: of most files only the header is read.

    A file whose rows stand at no known place, or whose border may have no data, is unpacked into the scratch folder.

    Raises
    ------
    FrameError
        For a file that cannot be used.
    """
    pattern, survey = frame.facts.pattern, frame.survey
    rows = _rows(read_layout(frame.path), pattern, files, scratch)
    return Source(frame.shape, pattern, rows, survey.spikes, survey.mended)


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
