# SPDX-License-Identifier: GPL-3.0-or-later
"""Rows of frames that may be larger than the memory: arrays, memory maps, .npy and FITS files.

Files are read, not mapped: what is read leaves no pages behind, so the memory taken is that of the blocks. A file is
looked at once; its rows are then read at their place, through a limited number of open files.
"""

from __future__ import annotations

import itertools
import math
import os
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO, Protocol

import numpy as np

from nanstack.arrays import real_array
from nanstack.io.bayer import mosaic_pattern
from nanstack.io.borders import rim_has_zeros
from nanstack.io.frames import FrameError, read_frame
from nanstack.io.layout import Layout, fill, fill_at_once, image_shape, read_layout, stamp_of, without_waiting
from nanstack.memory import Scratch
from nanstack.register.mesh import Box

MAX_OPEN_FILES = 128  # Windows' C library allows 512, some systems 256, for the whole process

FrameLike = np.ndarray | str | os.PathLike


class Rows(Protocol):
    """A frame whose rows can be read."""

    shape: tuple[int, ...]

    def read(self, top: int, bottom: int, out: np.ndarray) -> None:
        """Fill `out`, float32 of shape (bottom - top, W[, C]), with rows top:bottom."""

    def part(self, box: Box) -> np.ndarray:
        """Return a part as a new array, float32 (h, w[, C])."""


@dataclass(frozen=True)
class ArrayRows:
    """Rows of an array in memory."""

    array: np.ndarray

    @property
    def shape(self) -> tuple[int, ...]:
        return self.array.shape

    def read(self, top: int, bottom: int, out: np.ndarray) -> None:
        _copy(self.array[top:bottom], out)

    def part(self, box: Box) -> np.ndarray:
        out = np.empty((*box.shape, *self.shape[2:]), dtype=np.float32)
        _copy(self.array[box.top : box.bottom, box.left : box.right], out)
        return out


def _copy(numbers: np.ndarray, out: np.ndarray) -> None:
    """Fill `out` with numbers; what it cannot hold becomes infinite."""
    with np.errstate(over="ignore", invalid="ignore"):
        np.copyto(out, numbers, casting="unsafe")


@dataclass
class _Open:
    """An open file, and how many threads read it just now."""

    file: BinaryIO
    readers: int = 0


class OpenFiles:
    """Files kept open for the next block, the longest unused closed first. Several threads read at once."""

    def __init__(self) -> None:
        self._files: OrderedDict[Path, _Open] = OrderedDict()
        self._stamps: dict[Path, tuple[int, int] | None] = {}
        self._lock = threading.Lock()

    def read(self, path: Path, offset: int, buffer: np.ndarray) -> None:
        """Fill a contiguous array with the bytes of a file from an offset on.

        Raises
        ------
        FrameError
            Where the file is gone, cannot be read, ends too early, or changed since it was first looked at.
        """
        try:
            with self._reading(path) as file:
                if hasattr(os, "preadv"):
                    fill_at_once(path, file, offset, buffer)
                else:  # Windows: a file has one position
                    with self._lock:
                        fill(path, file, offset, buffer)
                if self._stamps[path] not in (None, stamp_of(file)):
                    raise FrameError(path, "it changed while it was read: stack again when nothing writes to it")
        except OSError as failure:
            raise FrameError(path, f"it cannot be read ({failure.strerror or failure})") from failure

    def expect(self, path: Path, stamp: tuple[int, int] | None) -> None:
        """Take a file for changed from when it had this stamp (`nanstack.io.layout.stamp_of`); None: it may grow."""
        self._stamps[path] = stamp

    @contextmanager
    def _reading(self, path: Path) -> Iterator[BinaryIO]:
        """Give an open file that is not closed meanwhile."""
        with self._lock:
            opened = self._open(path)
            opened.readers += 1
        try:
            yield opened.file
        finally:
            with self._lock:
                opened.readers -= 1

    def _open(self, path: Path) -> _Open:
        if path not in self._files:
            self._make_room()
            file = open(path, "rb", buffering=0, opener=without_waiting)  # noqa: SIM115  (closed by close)
            self._files[path] = _Open(file)
            self._stamps.setdefault(path, stamp_of(file))
        self._files.move_to_end(path)
        return self._files[path]

    def _make_room(self) -> None:
        """Close the files that were unused longest, down to one less than there may be."""
        beyond = len(self._files) + 1 - MAX_OPEN_FILES
        idle = (name for name, one in self._files.items() if not one.readers)
        for name in list(itertools.islice(idle, max(0, beyond))):
            self._files.pop(name).file.close()

    def close(self) -> None:
        """Close all of them."""
        for opened in self._files.values():
            opened.file.close()
        self._files.clear()


@dataclass(frozen=True)
class FileRows:
    """Rows of an array stored in C order in a file.

    Attributes
    ----------
    path : Path
    offset : int
        Where the samples begin, in bytes.
    dtype : numpy.dtype
        As stored.
    stored : tuple of int
        Shape as stored: (H, W), (H, W, C) or, for FITS, (C, H, W).
    planes_first : bool
    files : OpenFiles
    convert : callable
        ``convert(numbers, out)`` fills `out`, float32, with the values of stored numbers.
    """

    path: Path
    offset: int
    dtype: np.dtype
    stored: tuple[int, ...]
    planes_first: bool
    files: OpenFiles
    convert: Callable[[np.ndarray, np.ndarray], None] = _copy

    @property
    def shape(self) -> tuple[int, ...]:
        return (*self.stored[1:], self.stored[0]) if self.planes_first else self.stored

    def planes_in_a_column(self) -> FileRows:
        """Return the planes as one image, each below the one before, as they lie in the file."""
        planes, height, width = self.stored
        return replace(self, stored=(planes * height, width), planes_first=False)

    def read(self, top: int, bottom: int, out: np.ndarray) -> None:
        if not self.planes_first:
            self._read_run(top, bottom, out, first=0)
            return
        for plane in range(self.stored[0]):
            self._read_run(top, bottom, out[..., plane], first=plane * self.stored[1])

    def part(self, box: Box) -> np.ndarray:
        out = np.empty((*box.shape, *self.shape[2:]), dtype=np.float32)
        if self.planes_first:
            for plane in range(self.stored[0]):
                self.convert(self._numbers(box, plane * self.stored[1]), out[..., plane])
        else:
            self.convert(self._numbers(box, 0), out)
        return out

    def _numbers(self, box: Box, first: int) -> np.ndarray:
        """Return a part as stored: whole rows are read at once, which takes less than many calls."""
        width = self.stored[2:] if self.planes_first else self.stored[1:]
        rows = np.empty((box.shape[0], *width), dtype=self.dtype)
        row_bytes = self.dtype.itemsize * math.prod(width)
        self.files.read(self.path, self.offset + (first + box.top) * row_bytes, rows)
        return rows[:, box.left : box.right]

    def _read_run(self, top: int, bottom: int, out: np.ndarray, first: int) -> None:
        """Read rows that follow each other in the file; `first` is where row 0 stands, in rows."""
        width = out.shape[1:]
        row_bytes = self.dtype.itemsize * int(np.prod(width))
        direct = self.dtype == np.float32 and self.dtype.isnative and out.flags.c_contiguous
        buffer = out if direct else np.empty((bottom - top, *width), dtype=self.dtype)
        self.files.read(self.path, self.offset + (first + top) * row_bytes, buffer)
        if not direct:
            self.convert(buffer, out)


def open_rows(frame: FrameLike, files: OpenFiles, scratch: Scratch, name: str = "frame") -> Rows:
    """Return the rows of a frame, without reading them where that can be avoided.

    Parameters
    ----------
    frame : ndarray, numpy.memmap, or path of a .npy or FITS file
        A read-only map is read through its file. A file whose rows do not stand at a known place (compressed, Bayer)
        is read whole and put into the scratch folder.
    files : OpenFiles
    scratch : Scratch
    name : str
        What an error is to call it.

    Raises
    ------
    FrameError
        For a file that cannot be used.
    ValueError
        For an array that does not hold real numbers.
    """
    if isinstance(frame, np.memmap) and frame.mode == "r" and frame.flags.c_contiguous:
        return _rows_of_map(frame, files)
    if not isinstance(frame, (str, os.PathLike)):
        return ArrayRows(real_array(frame, name))
    layout = read_layout(Path(frame))
    odd = layout.packed or layout.column_order or 1 in layout.stored[::2]
    if odd or mosaic_pattern(layout).pattern or may_have_zero_border(layout):
        return open_rows(scratch.store(read_frame(layout.path).data), files, scratch)
    return rows_of_layout(layout, files)


def open_all(frames: Sequence[FrameLike] | np.ndarray, files: OpenFiles, scratch: Scratch) -> list[Rows]:
    """Return the rows of each frame, as `open_rows`; a ValueError names the frame that is none."""
    if not isinstance(frames, (np.ndarray, Sequence)) or (isinstance(frames, np.ndarray) and frames.ndim == 0):
        raise ValueError(f"frames must be a sequence of frames, not {type(frames).__name__}")
    return [open_rows(frame, files, scratch, f"frame {index}") for index, frame in enumerate(frames)]


def _rows_of_map(array: np.memmap, files: OpenFiles) -> Rows:
    """Return a map's rows, by its file."""
    if array.filename is None or array.dtype.kind not in "fiu":
        return ArrayRows(array)
    base = array
    while isinstance(base.base, np.memmap):
        base = base.base
    offset = base.offset + array.__array_interface__["data"][0] - base.__array_interface__["data"][0]
    return FileRows(Path(array.filename), offset, array.dtype, array.shape, False, files)


def may_have_zero_border(layout: Layout) -> bool:
    """Tell whether a FITS file has zeros in its first or last row: a border that other programs leave reaches there."""
    if not len(layout.header):
        return False
    height = image_shape(layout.path, layout.stored)[0]
    with closing(OpenFiles()) as files:
        rows = rows_of_layout(layout, files)
        ends = np.empty((2, *rows.shape[1:]), dtype=np.float32)
        for top, end in ((0, ends[:1]), (height - 1, ends[1:])):
            rows.read(top, top + 1, end)
    return rim_has_zeros(ends)


def rows_of_layout(layout: Layout, files: OpenFiles) -> FileRows:
    """Return the rows of a file as stored, which must be neither packed nor in column order."""
    files.expect(layout.path, layout.stamp)
    planes_first = image_shape(layout.path, layout.stored) != layout.stored
    convert = layout.numbers.convert
    return FileRows(layout.path, layout.offset, layout.dtype, layout.stored, planes_first, files, convert)


def blocks_ahead(
    sources: Sequence[Rows],
    rows: int,
    prepare: Callable[[int, np.ndarray, int], None] | None = None,
    first: int = 0,
    empty: Callable[..., np.ndarray] = np.empty,
    readers: int = 1,
) -> Iterator[tuple[int, np.ndarray]]:
    """Give the frames' rows block by block; the next block is read while the last one is worked on.

    Parameters
    ----------
    sources : sequence of Rows
        All of one shape.
    rows : int
        Rows per block.
    prepare : callable, optional
        ``prepare(index, samples, top)`` changes the samples of a frame in place, right after they were read; `top`
        is their first row.
    first : int
        Row to begin with.
    empty : callable
        ``empty(size, dtype=...)`` makes the two buffers that hold a block each.
    readers : int
        Threads that read, and prepare, a frame each.

    Yields
    ------
    top : int
        First row of the block.
    samples : ndarray of float32, shape (n, rows, W[, C])
        Good until the next block is asked for.
    """
    height = sources[0].shape[0]
    row = sources[0].shape[1:]
    buffers = [empty(len(sources) * rows * int(np.prod(row)), dtype=np.float32) for _ in range(2)]

    def read(index: int, samples: np.ndarray, top: int) -> None:
        sources[index].read(top, top + len(samples), samples)
        if prepare is not None:
            prepare(index, samples, top)

    def begin(number: int) -> tuple[int, np.ndarray, list[Future]]:
        top = first + number * rows
        shape = (len(sources), min(rows, height - top), *row)
        samples = buffers[number % 2][: int(np.prod(shape))].reshape(shape)
        return top, samples, [pool.submit(read, index, part, top) for index, part in enumerate(samples)]

    count = -(-(height - first) // rows)
    with ThreadPoolExecutor(max_workers=readers, thread_name_prefix="read-ahead") as pool:
        ahead = begin(0)
        for number in range(count):
            top, samples, parts = ahead
            for part in parts:
                part.result()
            if number + 1 < count:
                ahead = begin(number + 1)
            yield top, samples
