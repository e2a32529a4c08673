# SPDX-License-Identifier: GPL-3.0-or-later
"""Images out, as FITS: planes first, with checksums, complete or not there at all."""

from __future__ import annotations

import errno
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from nanstack.arrays import has_data, real_array
from nanstack.io.files import complete_file

if TYPE_CHECKING:
    from nanstack.tile import Tile

STRUCTURAL_CARDS = ("SIMPLE", "BITPIX", "NAXIS", "NAXIS1", "NAXIS2", "NAXIS3", "EXTEND", "BSCALE", "BZERO")


def image_hdus(image: np.ndarray, header: Any, alpha: np.ndarray | None = None, axis_order: str = "HWC") -> Any:
    """Return an image as an HDU list: a primary HDU, planes first, and ALPHA where given.

    The arrays are copies: astropy turns the bytes of an array round where it lies while it writes it.

    Parameters
    ----------
    image : ndarray, shape (H, W), (H, W, 3), or (3, H, W) with axis_order 'CHW'
    header : Header, dict, WCS or None
        Its structural cards are left out.
    alpha : ndarray of uint8, shape (H, W), optional

    Raises
    ------
    ValueError
        For another shape, an image without pixels, an alpha that does not fit it, or another axis order.
    """
    from astropy.io import fits

    _check_image(image, alpha, axis_order)
    cards = header.to_header(relax=True) if hasattr(header, "to_header") else fits.Header(header or {})
    for name in STRUCTURAL_CARDS:
        cards.remove(name, ignore_missing=True)
    if image.ndim == 3:
        if axis_order.upper() == "HWC":
            image = np.moveaxis(image, -1, 0)
        cards["CTYPE3"] = ("RGB", "colour planes R, G, B")
        cards["EXTNAME"] = "RGB"
    hdus = fits.HDUList([fits.PrimaryHDU(np.array(image, order="C"), cards)])
    if alpha is not None:
        hdus.append(fits.ImageHDU(np.array(alpha, dtype=np.uint8), name="ALPHA"))
    return hdus


def _check_image(image: np.ndarray, alpha: np.ndarray | None, axis_order: str) -> None:
    if axis_order.upper() not in ("HWC", "CHW"):
        raise ValueError(f"axis_order must be HWC or CHW, not {axis_order!r}")
    if image.ndim not in (2, 3) or not image.size:
        raise ValueError(f"the image must be (H, W) or (H, W, 3) and hold pixels, not {image.shape}")
    if alpha is None:
        return
    size = image.shape[-2:] if axis_order.upper() == "CHW" else image.shape[:2]
    values = real_array(alpha, "alpha")
    if values.shape != size:
        raise ValueError(f"alpha must be {size}, as the image, not {values.shape}")
    if not ((values >= 0) & (values <= 255)).all():
        raise ValueError("alpha must be 0 to 255")


def write_hdus(hdus: Any, output_path: str | Path, overwrite: bool = True) -> None:
    """Write an HDU list with checksums; the file appears complete or not at all.

    Raises
    ------
    FileExistsError
        Where it exists and must not be overwritten.
    """
    from astropy.io import fits

    path = Path(output_path)
    if path.exists() and not overwrite:
        raise FileExistsError(f"{path.name} exists")
    with complete_file(path) as temporary:
        try:
            hdus.writeto(temporary, overwrite=True, checksum=True, output_verify="silentfix+ignore")
        except OSError as failure:
            if failure.errno is None and "space" in str(failure):  # astropy's own words for a full disk
                raise OSError(errno.ENOSPC, "the disk is full", path.name) from failure
            raise
        packed = any(isinstance(hdu, fits.CompImageHDU) for hdu in hdus)  # of a size that nobody knows before
        missing = 0 if packed else sum(hdu.filebytes() for hdu in hdus) - temporary.stat().st_size
        if missing > 0:  # NumPy does not hear of a disk that was full when it closed the file
            raise OSError(errno.ENOSPC, f"the disk is full: {missing} bytes are missing", path.name)


def write_tile(tile: Tile, path: Path, header: Any, alpha: np.ndarray | None = None) -> None:
    """Write a tile: the image, planes first, with its WCS; ALPHA (uint8); COVERAGE (uint16).

    Parameters
    ----------
    tile : Tile
    path : Path
        Appears complete or not at all; an existing file is replaced.
    header : astropy.io.fits.Header
        Further cards.
    alpha : ndarray of uint8, shape (H, W), optional
        By default 255 where the tile has data, 0 where not.
    """
    from astropy.io import fits

    if alpha is None:
        alpha = opacity(tile.image)
    cards = tile.wcs.to_header(relax=True) if tile.wcs is not None else fits.Header()
    cards.update(header)
    hdus = image_hdus(tile.image, cards, alpha)
    hdus.append(fits.ImageHDU(tile.coverage.copy(), name="COVERAGE"))
    hdus[-1].header["BUNIT"] = ("frame", "number of frames stacked in a pixel")
    write_hdus(hdus, path)


def opacity(image: np.ndarray) -> np.ndarray:
    """Return the alpha mask of an image: 255 where it has data, 0 where it has none."""
    return np.where(has_data(image), np.uint8(255), np.uint8(0))
