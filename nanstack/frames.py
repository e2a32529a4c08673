# SPDX-License-Identifier: GPL-3.0-or-later
"""Frame files in: FITS (mono, colour, Bayer, compressed) and .npy, as float32 (H, W) or (H, W, 3)."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from astropy.io.fits import Header
    from astropy.wcs import WCS

FITS_SUFFIXES = (".fits", ".fit", ".fts", ".fits.fz", ".fit.fz", ".fz", ".fits.gz", ".fit.gz")
SUFFIXES = (*FITS_SUFFIXES, ".npy")
SETUP_CARDS = ("OBJECT", "FILTER", "BAYERPAT", "XBINNING", "EXPTIME", "DATE-OBS")
PATTERNS = ("RGGB", "BGGR", "GRBG", "GBRG")


class FrameError(ValueError):
    """A frame file cannot be used; the message names the file and says why."""

    def __init__(self, path: Path | str, reason: str) -> None:
        self.path, self.reason = Path(path), reason
        super().__init__(f"{Path(path).name}: {reason}")


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


def find_frame_files(names: Sequence[str | Path]) -> list[Path]:
    """Return the frame files that names stand for: files, folders (not their subfolders) and glob patterns.

    Raises
    ------
    FrameError
        For a name that stands for no frame file.
    """
    found: dict[Path, None] = {}
    for name in names:
        files = list(_expand(Path(name)))
        if not files:
            raise FrameError(name, f"no frames there ({', '.join(SUFFIXES)})")
        found.update(dict.fromkeys(files))
    return list(found)


def _expand(name: Path) -> Iterator[Path]:
    if name.is_dir():
        yield from sorted(path for path in name.iterdir() if path.is_file() and is_frame_file(path))
    elif name.is_file():
        yield name
    elif any(mark in str(name) for mark in "*?["):
        import glob

        yield from (Path(path) for path in sorted(glob.glob(str(name))) if Path(path).is_file())


def is_frame_file(path: Path) -> bool:
    """Tell whether a file's name ends as a frame's does."""
    return path.name.lower().endswith(SUFFIXES)


def read_frame(path: Path | str) -> Frame:
    """Read a frame file.

    FITS scaling (BSCALE, BZERO) is applied, planes-first colour is turned to (H, W, 3), a Bayer mosaic (`BAYERPAT`)
    is debayered.

    Raises
    ------
    FrameError
        For a file that is missing, unreadable, truncated, or not an image of one of these kinds.
    """
    from astropy.io.fits import Header

    path = Path(path)
    if not path.is_file():
        raise FrameError(path, "there is no such file")
    if path.suffix.lower() == ".npy":
        data, header = _read_npy(path), Header()
    else:
        data, header = read_fits_image(path)
    data = channels_last(path, data)
    pattern = str(header.get("BAYERPAT", "")).strip().upper()
    if data.ndim == 2 and pattern:
        if pattern not in PATTERNS:
            raise FrameError(path, f"its Bayer pattern is {pattern!r}, not one of {', '.join(PATTERNS)}")
        data = debayer(data, _shifted_pattern(pattern, header))
    return Frame(path, data, header, celestial_wcs(header))


@dataclass(frozen=True)
class FrameFile:
    """A frame file whose header was read, and whose samples were not.

    Attributes
    ----------
    path : Path
    shape : tuple of int
        (H, W) or (H, W, 3), of the frame as `read_frame` will return it.
    wcs : astropy.wcs.WCS or None
    cards : dict
        What its header says of how it was taken: those of `SETUP_CARDS` that it holds, as text.
    """

    path: Path
    shape: tuple[int, ...]
    wcs: WCS | None
    cards: dict[str, str] = field(default_factory=dict)

    def __call__(self) -> np.ndarray:
        """Read the frame's samples."""
        return read_frame(self.path).data


def probe_frame(path: Path | str) -> FrameFile:
    """Read what a frame file says of itself, not its samples.

    Raises
    ------
    FrameError
        As `read_frame`, as far as it shows without the samples.
    """
    path = Path(path)
    if not path.is_file():
        raise FrameError(path, "there is no such file")
    if path.suffix.lower() == ".npy":
        return FrameFile(path, image_shape(path, _read_npy(path).shape), None)
    header, _ = read_fits_header(path)
    shape = image_shape(path, stored_shape(header))
    if len(shape) == 2 and str(header.get("BAYERPAT", "")).strip():
        shape = (*shape, 3)
    cards = {name: str(header[name]).strip() for name in SETUP_CARDS if name in header}
    return FrameFile(path, shape, celestial_wcs(header), cards)


def _read_npy(path: Path) -> np.ndarray:
    try:
        data = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as unreadable:
        raise FrameError(path, f"it cannot be read as .npy ({_first_line(unreadable)})") from unreadable
    if data.dtype.kind not in "fiu":
        raise FrameError(path, f"it holds {data.dtype}, not numbers")
    return data


def read_fits_image(path: Path) -> tuple[np.ndarray, Header]:
    """Return the first image of two or three axes of a FITS file, scaled but otherwise as stored, and its header.

    Raises
    ------
    FrameError
        Where there is none, or the file is no FITS file, or truncated.
    """
    with _fits_image(path, memmap=False) as hdu:
        return np.asarray(hdu.data), hdu.header.copy()


def read_fits_header(path: Path) -> tuple[Header, int | None]:
    """Return the header of that image, and where in the file its samples begin; None where they are compressed.

    Raises
    ------
    FrameError
        Where there is none, or the file is no FITS file.
    """
    from astropy.io import fits

    with _fits_image(path, memmap=True, do_not_scale_image_data=True) as hdu:
        compressed = isinstance(hdu, fits.CompImageHDU) or path.suffix.lower() == ".gz"
        return hdu.header.copy(), None if compressed else hdu.fileinfo()["datLoc"]


def stored_shape(header: Header) -> tuple[int, ...]:
    """Return the shape of a FITS image as stored, the slowest axis first."""
    return tuple(header[f"NAXIS{axis}"] for axis in range(header["NAXIS"], 0, -1))


@contextmanager
def _fits_image(path: Path, **options: bool) -> Iterator:
    """Give the first HDU with an image of two or three axes; turn what is wrong with the file into FrameError."""
    from astropy.io import fits

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # non-standard cards; a truncated file raises below, its warning adds nothing
        try:
            with fits.open(path, **options) as hdus:
                for hdu in hdus:
                    if hdu.is_image and hdu.header.get("NAXIS", 0) in (2, 3):
                        yield hdu
                        return
        except FrameError:
            raise
        except (OSError, ValueError, TypeError, KeyError, IndexError, EOFError) as unreadable:
            raise FrameError(path, f"it cannot be read as FITS ({_first_line(unreadable)})") from unreadable
    raise FrameError(path, "it holds no image of two or three axes")


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def image_shape(path: Path, stored: tuple[int, ...]) -> tuple[int, ...]:
    """Return the shape that an image stored as (H, W), or with one or three planes first or last, is given.

    Raises
    ------
    FrameError
        For any other shape.
    """
    shape = tuple(stored)
    if len(shape) == 3 and 1 in (shape[0], shape[2]):
        shape = shape[1:] if shape[0] == 1 else shape[:2]
    elif len(shape) == 3 and shape[0] == 3 and shape[2] != 3:
        shape = (*shape[1:], 3)
    if len(shape) not in (2, 3) or (len(shape) == 3 and shape[2] != 3) or 0 in shape:
        raise FrameError(path, f"its shape is {tuple(stored)}: one or three planes of an image are needed")
    return shape


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


def _shifted_pattern(pattern: str, header: Header) -> str:
    """Return the pattern at the first pixel, by the offsets that cropped frames carry."""
    grid = np.array(list(pattern)).reshape(2, 2)
    shift = (-int(header.get("YBAYROFF", 0)), -int(header.get("XBAYROFF", 0)))
    return "".join(np.roll(grid, shift, axis=(0, 1)).ravel())


def debayer(mosaic: np.ndarray, pattern: str) -> np.ndarray:
    """Interpolate a Bayer mosaic to colour, bilinearly, by OpenCV.

    OpenCV works on 16-bit integers: whole numbers from 0 to 65535 come through exactly, others to 1/65535 of their
    range. A pixel next to one without data is without data.

    Parameters
    ----------
    mosaic : ndarray, shape (H, W)
    pattern : {'RGGB', 'BGGR', 'GRBG', 'GBRG'}

    Returns
    -------
    ndarray of float32, shape (H, W, 3)
    """
    import cv2

    if pattern not in PATTERNS:
        raise ValueError(f"pattern must be one of {', '.join(PATTERNS)}, not {pattern!r}")
    valid = np.isfinite(mosaic)
    if not valid.any():
        return np.full((*mosaic.shape, 3), np.nan, dtype=np.float32)
    filled = np.where(valid, mosaic, np.min(mosaic[valid])).astype(np.float64)
    offset, step = _quantisation(filled)
    codes = np.rint((filled - offset) / step).astype(np.uint16)
    colour = cv2.cvtColor(codes, getattr(cv2, f"COLOR_Bayer{pattern}2RGB"))
    colour = (colour * step + offset).astype(np.float32)
    if not valid.all():
        colour[cv2.dilate((~valid).astype(np.uint8), np.ones((3, 3), np.uint8)) > 0] = np.nan
    return colour


def _quantisation(values: np.ndarray) -> tuple[float, float]:
    """Return the offset and step with which values fit 16 bits; (0, 1) where they are such numbers already."""
    low, high = float(values.min()), float(values.max())
    if low >= 0 and high <= 65535 and np.array_equal(values, np.rint(values)):
        return 0.0, 1.0
    return low, (high - low) / 65535 or 1.0


def celestial_wcs(header: Header) -> WCS | None:
    """Return the celestial solution of a header, or None where it holds none."""
    if "CTYPE1" not in header:
        return None
    from astropy.wcs import WCS  # takes a while: only where there is one

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # astropy repairs dates and units of other software, and warns each time
        try:
            wcs = WCS(header, naxis=2)
        except (ValueError, KeyError, TypeError, MemoryError):  # wcslib's errors derive from these
            return None
    return wcs if wcs.has_celestial else None
