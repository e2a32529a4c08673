# SPDX-License-Identifier: GPL-3.0-or-later
"""A result stacked from frames as files: FITS and pictures."""

from __future__ import annotations

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nanstack.io.canvas_fits import write_canvas
from nanstack.io.frames import channels_last
from nanstack.io.layout import Layout, fits_layout, read_layout, read_samples
from nanstack.memory import Scratch, threads
from nanstack.stack.rows import ArrayRows, OpenFiles, Rows, rows_of_layout
from zemosaic_patch.outputs import expect, record
from zemosaic_patch.pictures import screen_stretches, write_coverage, write_stretched
from zemosaic_patch.reports import ResultFiles

if TYPE_CHECKING:
    from nanstack.stack.stacked import StackedCell


@dataclass(frozen=True)
class Written:
    """Where and how a result is written.

    Attributes
    ----------
    folder : Path
    names : ResultFiles
    kind : {'mosaic', 'tile'}
    bits : {8, 16}
        Of the pictures.
    alpha : bool
        Whether the FITS file has an ALPHA, as master tiles do.
    packed : bool
        Whether it is compressed, without loss.
    upside_down : bool
        Whether the pictures' first row is the image's last one.
    """

    folder: Path
    names: ResultFiles
    kind: str = "mosaic"
    bits: int = 16
    alpha: bool = False
    packed: bool = False
    upside_down: bool = True

    def all_names(self) -> list[str]:
        """Return the names of all files that are written."""
        names = self.names
        return [names.image, names.picture, names.coverage_picture, *filter(None, [names.picture_linked])]


def write_result(
    to: Written, shape: tuple[int, int], channels: int, strips: Iterable[tuple[int, StackedCell]], **more: Any
) -> None:
    """Write a result's FITS file strip by strip, then its pictures from that; each appears complete or not at all.

    Parameters
    ----------
    to : Written
    shape : (int, int)
        Height and width.
    channels : int
    strips : iterable of (int, StackedCell)
        See `nanstack.io.canvas_fits.write_canvas`.
    **more
        Further arguments of that: cards, place, what is known of the noise.
    """
    expect(to.folder, to.all_names())
    write_canvas(to.folder / to.names.image, shape, channels, strips, alpha=to.alpha, packed=to.packed, **more)
    with closing(OpenFiles()) as files, Scratch() as scratch:
        _write_pictures(to, files, scratch)
    record(to.folder, to.all_names())


def _write_pictures(to: Written, files: OpenFiles, scratch: Scratch) -> None:
    image = _rows_of(read_layout(to.folder / to.names.image), files, scratch)
    covered = fits_layout(to.folder / to.names.image, lambda header: header.get("EXTNAME") == "COVERAGE")
    coverage = _rows_of(covered, files, scratch)
    stretches = dict(zip((to.names.picture, to.names.picture_linked), screen_stretches(image), strict=True))
    with ThreadPoolExecutor(threads()) as pool:  # arithmetic and writing let go of the interpreter
        written = [
            pool.submit(write_stretched, image, stretch, to.folder / name, to.bits, upside_down=to.upside_down)
            for name, stretch in stretches.items()
            if name
        ]
        path = to.folder / to.names.coverage_picture
        written.append(pool.submit(write_coverage, coverage, path, upside_down=to.upside_down))
        for picture in written:
            picture.result()


def _rows_of(layout: Layout, files: OpenFiles, scratch: Scratch) -> Rows:
    """Return the rows of an image that we wrote; a packed one is unpacked whole."""
    if not layout.packed:
        return rows_of_layout(layout, files)
    return ArrayRows(scratch.store(channels_last(layout.path, read_samples(layout))))
