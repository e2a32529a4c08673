# SPDX-License-Identifier: GPL-3.0-or-later
"""A finished mosaic, open for the screen: its tiles, its coverage, and what its frames outline."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from nanstack.io.layout import FrameError, fits_layout, open_file, read_layout, stamp_of
from nanstack.register.mesh import Box
from nanstack.stack.rows import Rows
from zemosaic_patch.mosaic_files import REPORT
from zemosaic_patch.pictures import Seen, Stretch, screen_stretches
from zemosaic_patch.report.embedded import in_blues
from zemosaic_patch.report.reading import ReportError, read_told
from zemosaic_patch.result_files import image_and_coverage
from zemosaic_patch.ui.tiles import Encoding, Pyramid, as_png, dithered, smaller

COVERAGE_PX = 2048  # of the coverage's longer side, at most


@dataclass(frozen=True)
class Outline:
    """Where a frame, or a tile, lies in the picture.

    Attributes
    ----------
    name : str
    corners : tuple of (float, float)
        In its pixels.
    """

    name: str
    corners: tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class Coverage:
    """How many frames lie in each place, as a picture.

    Attributes
    ----------
    png : bytes
        In blues, clear where there is none.
    most : int
        How many frames the lightest blue stands for.
    width, height : int
        Of what it covers, in pixels of the mosaic: it may reach a little beyond.
    """

    png: bytes
    most: int
    width: int
    height: int


@dataclass(frozen=True)
class Upright:
    """Rows of an image as they follow each other on the screen, from the top on."""

    rows: Rows
    upside_down: bool

    @property
    def shape(self) -> tuple[int, ...]:
        return self.rows.shape

    def read(self, top: int, bottom: int, out: np.ndarray) -> None:
        """Fill `out`, float32 of shape (bottom - top, W[, C]), with rows top:bottom."""
        if not self.upside_down:
            self.rows.read(top, bottom, out)
            return
        self.rows.read(self.shape[0] - bottom, self.shape[0] - top, out[::-1])

    def part(self, box: Box) -> np.ndarray:
        """Return a part as a new array, float32 (h, w[, C])."""
        if not self.upside_down:
            return self.rows.part(box)
        turned = Box(self.shape[0] - box.bottom, self.shape[0] - box.top, box.left, box.right)
        return self.rows.part(turned)[::-1]


class Mosaic:
    """A finished mosaic, open for the screen. Its file is open only while it is read, so that it can be replaced.

    Parameters
    ----------
    path : Path

    Raises
    ------
    FrameError
        Where the file cannot be read, or is no mosaic of ours.
    """

    def __init__(self, path: Path) -> None:
        layout = read_layout(path)
        if fits_layout(path, lambda header: header.get("EXTNAME") == "COVERAGE") is None:
            raise FrameError(path, "it holds no COVERAGE, so no zemosaic-patch made it")
        self.path, self.stamp = path, layout.stamp
        self._packed = layout.packed == "tiles"
        self._upside_down = layout.header.get("ROWORDER") != "TOP-DOWN"
        with self.rows() as (image, _):
            height, width, self.channels = (*image.shape, 1)[:3]
        self.pyramid = Pyramid(height, width)
        stretches, brightest = self._look()
        self.stretches: tuple[Stretch, Stretch] = stretches
        self.encoding = Encoding.of(stretches[0], brightest)
        self._one_at_a_time = threading.Lock()

    @contextmanager
    def rows(self) -> Iterator[tuple[Rows, Rows]]:
        """Give the rows of the image and of its coverage, from the top of the screen on.

        Raises
        ------
        FrameError
            Where the file is gone, or is another one by now.
        """
        with open_file(self.path) as file:
            if stamp_of(file) != self.stamp:
                raise FrameError(self.path, "it was made anew: open it again")
        with image_and_coverage(self.path, self._packed) as both:
            image, coverage = (Upright(rows, self._upside_down) for rows in both)
            yield image, coverage

    def _look(self) -> tuple[tuple[Stretch, Stretch], np.ndarray]:
        """Return the stretches for the screen, those of the pictures that a run writes, and the brightest pixels."""
        seen = Seen((self.pyramid.height, self.pyramid.width))
        with self.rows() as (image, _):
            row = np.empty((1, *image.shape[1:]), np.float32)
            for top in range(0, self.pyramid.height, seen.step):
                image.read(top, top + 1, row)
                seen.add(top, row)
        pixels, again = seen.pixels(), Seen((1, 1))
        again.add(0, pixels[:, None])
        return screen_stretches(again), pixels.max(axis=0)

    def tile(self, level: int, column: int, row: int) -> bytes:
        """Return a tile as PNG: see `zemosaic_patch.ui.tiles`.

        Raises
        ------
        IndexError
            Where there is no such tile.
        FrameError
            Where the file cannot be read, or is another one by now.
        """
        box = self.pyramid.box(level, column, row)
        if level < self.pyramid.finest:
            with self._one_at_a_time:
                pixels = self._smaller[self.pyramid.finest - level - 1]
            return as_png(pixels[box.top : box.bottom, box.left : box.right])
        with self.rows() as (image, _):
            light = image.part(box)
        return as_png(dithered(self.encoding, light.reshape(*box.shape, self.channels)))

    @cached_property
    def _smaller(self) -> list[np.ndarray]:
        with self.rows() as (image, _):
            return smaller(image, self.encoding)

    @cached_property
    def coverage(self) -> Coverage:
        """The coverage, of which large mosaics show a part of the pixels."""
        height, width = self.pyramid.height, self.pyramid.width
        step = -(-max(height, width) // COVERAGE_PX)
        seen, row = [], np.empty((1, width), np.float32)
        with self.rows() as (_, coverage):
            for top in range(0, height, step):
                coverage.read(top, top + 1, row)
                seen.append(row[0, ::step].copy())
        frames = np.array(seen)[..., None]
        most = max(1, int(frames.max()))
        blues = in_blues(np.uint8(np.ceil(frames * (255 / most))))[..., ::-1]
        png = as_png(np.concatenate([blues, np.uint8(255 * (frames > 0))], axis=2))
        return Coverage(png, most, frames.shape[1] * step, frames.shape[0] * step)

    def outlines(self) -> tuple[Outline, ...]:
        """Return the outlines of its frames, or tiles: those that its report knows of, if there is one."""
        try:
            told = read_told(self.path.with_name(REPORT))
        except (ReportError, OSError):
            return ()
        return tuple(Outline(part.name, part.corners) for part in (*told.frames, *told.tiles) if part.corners)
