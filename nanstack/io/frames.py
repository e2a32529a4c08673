# SPDX-License-Identifier: GPL-3.0-or-later
"""Frame files in: FITS (mono, colour, Bayer, compressed) and .npy, as float32 (H, W) or (H, W, 3)."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from nanstack.io.bayer import debayer, mosaic_pattern
from nanstack.io.borders import rim_has_zeros, without_zero_border
from nanstack.io.layout import FrameError, Layout, card, fits_layout, image_shape, read_layout, read_samples
from nanstack.io.solution import celestial_wcs

if TYPE_CHECKING:
    from astropy.io.fits import Header
    from astropy.wcs import WCS

FITS_SUFFIXES = (".fits", ".fit", ".fts", ".fits.fz", ".fit.fz", ".fz", ".fits.gz", ".fit.gz")
SUFFIXES = (*FITS_SUFFIXES, ".npy")


@dataclass
class Frame:
    """One frame as read.

    Attributes
    ----------
    path : Path
    data : ndarray of float32, shape (H, W) or (H, W, 3)
        In ADU; pixels without data are NaN or infinite.
    header : astropy.io.fits.Header
        Empty for a .npy file.
    wcs : astropy.wcs.WCS or None
        The celestial solution, where the header holds one.
    """

    path: Path
    data: np.ndarray
    header: Header
    wcs: WCS | None


def short_names(paths: Iterable[Path]) -> dict[Path, str]:
    """Return what to call files: their names, with as many of their folders as tell them apart."""
    alike: dict[str, set[Path]] = {}
    for path in paths:
        alike.setdefault(path.name, set()).add(path)
    names = {}
    for same in alike.values():
        depth = 1
        while len({path.parts[-depth:] for path in same}) < len(same):
            depth += 1
        names.update({path: Path(*path.parts[-depth:]).as_posix() for path in same})
    return names


def is_frame_file(path: Path) -> bool:
    """Tell whether a file's name ends as a frame's does."""
    return path.name.lower().endswith(SUFFIXES)


def read_frame(path: Path | str) -> Frame:
    """Read a frame file.

    FITS scaling (BSCALE, BZERO) is applied, planes-first colour is turned to (H, W, 3), a Bayer mosaic is debayered
    (`nanstack.io.bayer.mosaic_pattern` tells which is one).

    Raises
    ------
    FrameError
        For a file that is missing, unreadable, truncated, or not an image of one of these kinds.
    """
    layout = read_layout(Path(path))
    return Frame(layout.path, _samples(layout), layout.header, celestial_wcs(layout.header))


def _samples(layout: Layout) -> np.ndarray:
    """Read an image's samples; return them as float32 (H, W) or (H, W, 3)."""
    data = channels_last(layout.path, read_samples(layout))
    pattern = mosaic_pattern(layout, data).pattern
    data = samples_with_data(layout, data, pattern)
    return debayer(data, pattern) if pattern else data


def samples_with_data(layout: Layout, data: np.ndarray, pattern: str = "") -> np.ndarray:
    """Return an image as read, with NaN for a border of zeros, which programs leave where they have no data.

    Whole numbers of a mosaic come from a sensor, which has data everywhere: they are left as they are.

    Parameters
    ----------
    layout : Layout
    data : ndarray of float32, shape (H, W) or (H, W, 3)
        Before it is debayered.
    pattern : str
        Its Bayer pattern, or an empty text.

    Raises
    ------
    FrameError
        For an image of zeros throughout.
    """
    if not rim_has_zeros(data):
        return data
    if not data.any():
        raise FrameError(layout.path, "all its samples are 0: there is nothing in it")
    return data if pattern and layout.dtype.kind != "f" else without_zero_border(data)


@dataclass(frozen=True)
class FrameFile:
    """A frame file whose header was read, and whose samples were not.

    Attributes
    ----------
    path : Path
    shape : tuple of int
        (H, W) or (H, W, 3), of the frame as `read_frame` will return it.
    wcs : astropy.wcs.WCS or None
    pattern : str
        Of the Bayer mosaic that it is; empty where it is none.
    """

    path: Path
    shape: tuple[int, ...]
    wcs: WCS | None
    pattern: str = ""


def probe_frame(path: Path | str) -> FrameFile:
    """Read what a frame file says of itself; of its samples a part, where its header leaves doubt of its pattern.

    Raises
    ------
    FrameError
        As `read_frame`, as far as it shows without the samples.
    """
    layout = read_layout(Path(path))
    shape = image_shape(layout.path, layout.stored)
    pattern = mosaic_pattern(layout).pattern
    if pattern:
        shape = (*shape, 3)
    return FrameFile(layout.path, shape, celestial_wcs(layout.header), pattern)


def read_fits_image(path: Path) -> tuple[np.ndarray, Header]:
    """Return the first image of two or three axes of a FITS file, as float32, scaled, its axes as stored; its header.

    Raises
    ------
    FrameError
        Where there is none, or the file is not a FITS file, or damaged.
    """
    layout = read_layout(path)
    return read_samples(layout), layout.header


def read_named_image(path: Path, name: str) -> np.ndarray | None:
    """Return the image of a FITS file whose EXTNAME is this name, as `read_fits_image`; None where there is none.

    Raises
    ------
    FrameError
        Where the file is not a FITS file, or damaged.
    """
    layout = fits_layout(path, lambda header: str(card(header, "EXTNAME", "")).strip().upper() == name)
    return None if layout is None else read_samples(layout)


def read_with_alpha(path: Path) -> tuple[np.ndarray, Header, np.ndarray | None]:
    """Return a FITS file's image as float32, (H, W) or (H, W, 3), its header, and its opacity.

    A Bayer mosaic comes back as it is.

    Returns
    -------
    image : ndarray of float32
    header : astropy.io.fits.Header
    alpha : ndarray of uint8, or None
        The image named ALPHA, 0 to 255; None where there is none.

    Raises
    ------
    FrameError
        For a file that is no FITS image, or damaged.
    """
    data, header = read_fits_image(path)
    image = channels_last(path, data)
    alpha = read_named_image(path, "ALPHA")
    if alpha is not None:
        alpha = alpha if alpha.ndim == 2 else alpha[..., 0]
        alpha = np.where(alpha > 0, np.minimum(alpha, 255), 0).astype(np.uint8)
    return image, header, alpha


def channels_last(path: Path, data: np.ndarray) -> np.ndarray:
    """Return an image as float32 in native byte order, (H, W) or (H, W, 3).

    Raises
    ------
    FrameError
        For any other shape than one or three planes.
    """
    shape = image_shape(path, data.shape)
    if len(shape) == 3 and data.shape != shape:
        data = np.moveaxis(data, 0, -1)
    return np.ascontiguousarray(data.reshape(shape), dtype=np.float32)


def pointing(wcs: Any) -> np.ndarray | None:
    """Return the unit vector to the middle of a frame, or None where its solution does not say."""
    if wcs is None or not getattr(wcs, "is_celestial", False) or not hasattr(wcs, "wcs"):
        return None
    middle = [side / 2 - 0.5 for side in wcs.pixel_shape[:2]] if wcs.pixel_shape else wcs.wcs.crpix - 1
    longitude, latitude = np.radians(wcs.wcs_pix2world([middle], 0)[0])
    vector = np.array(
        [math.cos(latitude) * math.cos(longitude), math.cos(latitude) * math.sin(longitude), math.sin(latitude)]
    )
    return vector if np.isfinite(vector).all() else None
