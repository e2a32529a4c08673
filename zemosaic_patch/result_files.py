# SPDX-License-Identifier: GPL-3.0-or-later
"""A result stacked from frames as files: FITS and pictures."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, ThreadPoolExecutor, wait
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nanstack.io.canvas_fits import write_canvas
from nanstack.io.layout import fits_layout, read_layout
from nanstack.io.packed_images import PackedRows
from nanstack.memory import threads
from nanstack.stack.rows import OpenFiles, Rows, rows_of_layout
from zemosaic_patch.outputs import Recording
from zemosaic_patch.pictures import Seen, Stretch, screen_stretches, write_coverage, write_stretched

if TYPE_CHECKING:
    from nanstack.stack.stacked import StackedCell


@dataclass(frozen=True)
class ResultFiles:
    """The files of a result, by their names in its folder.

    Attributes
    ----------
    image, picture : str
    coverage_picture, picture_linked : str
        Empty where there is none.
    """

    image: str
    picture: str
    coverage_picture: str
    picture_linked: str = ""


@dataclass(frozen=True)
class Written:
    """Where and how a result is written.

    Attributes
    ----------
    recording : Recording
        Of the folder that they are written to.
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
    meanwhile : callable, optional
        Called in a thread of its own while the image comes: makes ready what is done after it. What goes wrong in it
        goes wrong again where it matters.
    """

    recording: Recording
    names: ResultFiles
    kind: str = "mosaic"
    bits: int = 16
    alpha: bool = False
    packed: bool = False
    upside_down: bool = True
    meanwhile: Callable[[], object] | None = None

    @property
    def folder(self) -> Path:
        """The folder that they are written to."""
        return self.recording.folder

    def all_names(self) -> list[str]:
        """Return the names of all files that are written."""
        names = self.names
        return [names.image, names.picture, *filter(None, [names.coverage_picture, names.picture_linked])]


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
    to.recording.expect(to.all_names())
    path = to.folder / to.names.image
    with ThreadPoolExecutor(threads()) as pool:  # arithmetic and writing let go of the interpreter
        if to.meanwhile is not None:
            pool.submit(to.meanwhile)
        seen = Seen(shape)
        write_canvas(path, shape, channels, _looked_at(strips, seen), alpha=to.alpha, packed=to.packed, **more)
        to.recording.complete(to.names.image)
        with image_and_coverage(path, to.packed) as (image, coverage):
            _write_pictures(to, image, coverage, seen, pool)


@contextmanager
def image_and_coverage(path: Path, packed: bool) -> Iterator[tuple[Rows | PackedRows, Rows | PackedRows]]:
    """Give the rows of an image that we wrote, and of its coverage."""
    if packed:
        from astropy.io import fits

        with fits.open(path) as hdus:
            yield PackedRows(hdus[1]), PackedRows(hdus["COVERAGE"])
        return
    with closing(OpenFiles()) as files:
        covered = fits_layout(path, lambda header: header.get("EXTNAME") == "COVERAGE")
        yield rows_of_layout(read_layout(path), files), rows_of_layout(covered, files)


def _looked_at(strips: Iterable[tuple[int, StackedCell]], seen: Seen) -> Iterator[tuple[int, StackedCell]]:
    """Give strips on, and take what the pictures' stretches hang on."""
    for top, strip in strips:
        seen.add(top, strip.image)
        yield top, strip


def _write_pictures(
    to: Written, image: Rows | PackedRows, coverage: Rows | PackedRows, seen: Seen, pool: Executor
) -> None:
    written = [pool.submit(_write_coverage, to, coverage)] if to.names.coverage_picture else []
    try:
        stretches = zip((to.names.picture, to.names.picture_linked), screen_stretches(seen), strict=True)
        written += [pool.submit(_write_picture, to, name, image, stretch) for name, stretch in stretches if name]
    finally:
        wait(written)  # whatever fails: the files that they read are closed after it
    for picture in written:
        picture.result()


def _write_picture(to: Written, name: str, image: Rows | PackedRows, stretch: Stretch) -> None:
    write_stretched(image, stretch, to.folder / name, to.bits, upside_down=to.upside_down)
    to.recording.complete(name)


def _write_coverage(to: Written, coverage: Rows | PackedRows) -> None:
    name = to.names.coverage_picture
    write_coverage(coverage, to.folder / name, upside_down=to.upside_down)
    to.recording.complete(name)
