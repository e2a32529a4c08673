# SPDX-License-Identifier: GPL-3.0-or-later
"""A result stacked from frames as files: FITS and pictures."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from nanstack.io.images import image_hdus, opacity, write_hdus
from nanstack.memory import threads
from zemosaic_patch.outputs import expect, record
from zemosaic_patch.pictures import screen_stretch, write_coverage, write_picture
from zemosaic_patch.reports import ResultFiles

if TYPE_CHECKING:
    from astropy.io.fits import Header

    from nanstack.sky_stack import SkyStack


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


def write_result(stack: SkyStack, to: Written, cards: Header, on_the_sky: bool) -> ResultFiles:
    """Write a result's FITS file and pictures, each complete or not at all; return their names."""
    names = [to.names.image, to.names.picture, to.names.coverage_picture, *filter(None, [to.names.picture_linked])]
    expect(to.folder, names)
    with ThreadPoolExecutor(1) as pool:
        pictures = pool.submit(_write_pictures, stack, to)
        _write_fits(stack, to, cards, on_the_sky)
        pictures.result()
    record(to.folder, names)
    return to.names


def _write_fits(stack: SkyStack, to: Written, cards: Header, on_the_sky: bool) -> None:
    from astropy.io import fits

    place = stack.canvas.wcs().to_header(relax=True) if on_the_sky else fits.Header()
    whole = place.copy()
    whole.update(cards)
    hdus = image_hdus(stack.image, whole, opacity(stack.image) if to.alpha else None)
    hdus.append(fits.ImageHDU(stack.coverage.copy(), place, name="COVERAGE"))
    hdus.append(fits.ImageHDU(stack.weight.copy(), place, name="WEIGHT"))
    variance = np.moveaxis(stack.variance, -1, 0) if stack.variance.ndim == 3 else stack.variance
    hdus.append(fits.ImageHDU(variance.copy(), place, name="VARIANCE"))
    if to.packed:
        packed = [
            fits.CompImageHDU(hdu.data, hdu.header, name=hdu.name, compression_type="GZIP_2", quantize_level=0)
            for hdu in hdus
        ]
        hdus = fits.HDUList([fits.PrimaryHDU(), *packed])
    write_hdus(hdus, to.folder / to.names.image)


def _write_pictures(stack: SkyStack, to: Written) -> None:
    rows = np.s_[::-1] if to.upside_down else np.s_[:]
    image, names = stack.image[rows], to.names
    with ThreadPoolExecutor(threads()) as pool:  # arithmetic and compression of pictures let go of the interpreter
        written = [
            pool.submit(_write_picture, image, linked, to.folder / name, to.bits)
            for name, linked in ((names.picture, False), (names.picture_linked, True))
            if name
        ]
        written.append(pool.submit(write_coverage, stack.coverage[rows], to.folder / names.coverage_picture))
        for picture in written:
            picture.result()


def _write_picture(image: np.ndarray, linked: bool, path: Path, bits: int) -> None:
    write_picture(screen_stretch(image, linked)(image), path, bits)
