# SPDX-License-Identifier: GPL-3.0-or-later
"""Where the samples of a frame file stand, and how: .npy and FITS headers, read with distrust.

A header may claim what it likes; the size of its file does not lie. So a claim is checked against it before memory is
taken or anything is read. Files are read, never mapped: one that shrinks under a map ends the process.
"""

from __future__ import annotations

import errno
import gzip
import io
import itertools
import math
import os
import re
import stat
import tokenize
import warnings
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from nanstack.io.one_line import on_one_line
from nanstack.memory import free_memory

if TYPE_CHECKING:
    from astropy.io.fits import Header

FITS_TYPES = {8: ">u1", 16: ">i2", 32: ">i4", 64: ">i8", -32: ">f4", -64: ">f8"}
FITS_BLOCK = 2880
CARD = 80
MAX_HEADER = 1000 * FITS_BLOCK  # 36,000 cards: more than any camera or program writes
MAX_HDUS = 100
MAX_AXES = 999  # of the standard
MAX_SIDE = 2**31 - 1  # of an image; arithmetic on sides stays exact and short
MAX_NPY_HEADER = 1024  # bytes; an image needs 128, and NumPy takes seconds over brackets in thousands
MAX_RATIO = 1032  # no deflated or Rice-coded stream unfolds to more than so many times its size
CACHED = 2**16  # samples that stay in a processor's cache while they are read, seen and turned to float32
MAX_SKIPPED = 2**30  # bytes unpacked to get to an image
GZIP_MAGIC = b"\x1f\x8b"
TILE_CODES = ("RICE_1", "RICE_ONE", "GZIP_1", "GZIP_2", "NOCOMPRESS")  # the decoders that know where their input ends
CODE_SETTINGS = {"BLOCKSIZE": (16, 32), "BYTEPIX": (1, 2, 4)}
KEYWORD = re.compile(rb"[A-Z0-9_-]+")
COMMENTARY = (b"COMMENT", b"HISTORY", b"HIERARCH", b"CONTINUE", b"END", b"")
PRINTABLE = bytes(code if 32 <= code < 127 else 32 if code == 0 else 63 for code in range(256))
# what a parser of others may raise for a damaged file
DAMAGE = (ValueError, TypeError, LookupError, OverflowError, EOFError, SyntaxError, tokenize.TokenError, zlib.error)


class FrameError(ValueError):
    """A frame file cannot be used; the message, one line, names the file and says why."""

    def __init__(self, path: Path | str, reason: str) -> None:
        self.path, self.reason = Path(path), on_one_line(reason)
        super().__init__(f"{on_one_line(self.path.name)}: {self.reason}")

    def __reduce__(self) -> tuple[type[FrameError], tuple[Path, str]]:
        return type(self), (self.path, self.reason)  # from one process to another


@dataclass(frozen=True)
class Numbers:
    """What stored numbers stand for. Thousands of files are kept open by this, so it holds none of their headers.

    Attributes
    ----------
    dtype, scale, zero, blank
        As in `Layout`.
    """

    dtype: np.dtype
    scale: float = 1.0
    zero: float = 0.0
    blank: int | None = None

    @property
    def _is_shifted(self) -> bool:
        """Whether values are small whole numbers, and zero is one: float32 adds them exactly, and in half the time."""
        return self.scale == 1 and self.dtype.kind in "iu" and self.dtype.itemsize <= 2 and abs(self.zero) == 2**15

    def convert(self, numbers: np.ndarray, out: np.ndarray) -> None:
        """Fill `out`, float32, with the values of stored numbers; what float32 cannot hold becomes infinite."""
        with np.errstate(over="ignore", invalid="ignore"):
            if (self.scale, self.zero) == (1.0, 0.0):
                np.copyto(out, numbers, casting="unsafe")
            elif self._is_shifted:  # turned to native numbers first: a part of a row in half the time
                np.copyto(out, numbers.astype(self.dtype.newbyteorder("=")), casting="unsafe")
                out += np.float32(self.zero)
            else:
                np.copyto(out, self.zero + self.scale * numbers.astype(np.float64), casting="unsafe")
        if self.blank is not None:
            out[numbers == self.blank] = np.nan


@dataclass(frozen=True)
class Layout:
    """Where and how an image is stored in a file.

    Attributes
    ----------
    path : Path
    header : astropy.io.fits.Header
        Empty for a .npy file.
    stored : tuple of int
        Shape as stored, the slowest axis first.
    dtype : numpy.dtype
        As stored, before scaling.
    offset : int
        Where the samples begin, in bytes.
    stamp : tuple of int
        Size and time of the file, see `stamp_of`.
    scale, zero : float
        value = zero + scale * stored number.
    blank : int, optional
        The stored number that means no data.
    column_order : bool
        Stored in Fortran's order.
    packed : {'', 'gzip', 'tiles'}
        The whole file by gzip, or the image tile by tile; rows are then at no known place.
    hdu : int
        Number of the HDU, 0 for the first.
    """

    path: Path
    header: Header
    stored: tuple[int, ...]
    dtype: np.dtype
    offset: int
    stamp: tuple[int, int]
    scale: float = 1.0
    zero: float = 0.0
    blank: int | None = None
    column_order: bool = False
    packed: str = ""
    hdu: int = 0

    @property
    def nbytes(self) -> int:
        """Bytes that the samples take as stored, unpacked."""
        return math.prod(self.stored) * self.dtype.itemsize

    @property
    def numbers(self) -> Numbers:
        """What its stored numbers stand for."""
        return Numbers(self.dtype, self.scale, self.zero, self.blank)


def open_file(path: Path) -> BinaryIO:
    """Open a regular file to read; the opening of a pipe does not wait for its other end.

    Raises
    ------
    FrameError
        For what is missing, may not be read, or is a folder, device or pipe.
    """
    try:
        file = open(path, "rb", buffering=0, opener=without_waiting)  # noqa: SIM115  (given to the caller)
    except (OSError, ValueError) as failure:  # ValueError: a name with a NUL
        raise FrameError(path, _why_not_open(path, failure)) from failure
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        file.close()
        raise FrameError(path, "it is a device or a pipe, not a file")
    return file


def without_waiting(name: str, flags: int) -> int:
    """Open as `open` does, but never wait for the writer of a pipe."""
    return os.open(name, flags | getattr(os, "O_NONBLOCK", 0))


def _why_not_open(path: Path, failure: Exception) -> str:
    number = getattr(failure, "errno", None)
    if number == errno.ENOENT:
        return "it is a link to a file that is not there" if os.path.islink(path) else "there is no such file"
    if number == errno.ELOOP:
        return "it is a link that leads back to itself"
    if number == errno.ENAMETOOLONG:
        return "its name is too long for this system"
    if os.path.isdir(path):
        return "it is a folder, not a file"
    return f"it cannot be opened ({getattr(failure, 'strerror', None) or failure})"


def stamp_of(file: BinaryIO) -> tuple[int, int]:
    """Return an open file's size and time of change: two readings that differ are of different contents."""
    status = os.fstat(file.fileno())
    return status.st_size, status.st_mtime_ns


def read_layout(path: Path) -> Layout:
    """Read where the image of a frame file stands: of FITS, the first one with two or three axes.

    Raises
    ------
    FrameError
        For a file that cannot be used, as far as it shows without its samples.
    """
    if path.suffix.lower() == ".npy":
        with _named(path, ".npy"), open_file(path) as file:
            return _npy_layout(path, file)
    layout = fits_layout(path, lambda header: True)
    if layout is None:
        raise FrameError(path, "it holds no image of two or three axes")
    return layout


def read_samples(layout: Layout, seen: Callable[[memoryview], None] | None = None) -> np.ndarray:
    """Return an image's samples, scaled, as float32 of the shape stored.

    Parameters
    ----------
    layout : Layout
    seen : callable, optional
        Given the bytes that hold them, as stored (packed ones: as they are, or unpacked).

    Raises
    ------
    FrameError
        Where they cannot be read, or do not fit into the memory.
    """
    path = layout.path
    size = math.prod(layout.stored)
    needed = 4 * size + (layout.nbytes if layout.packed == "tiles" else 0)
    if needed > free_memory():
        raise FrameError(path, f"it needs {needed / 2**30:.1f} GiB of memory, and {free_memory() / 2**30:.1f} are free")
    try:
        with _named(path, "a frame"):
            if layout.packed == "tiles":
                return _unpacked_tiles(layout, seen)
            return _plain_samples(layout, seen).reshape(layout.stored, order="F" if layout.column_order else "C")
    except MemoryError as exhausted:
        raise FrameError(path, f"there is no memory for it ({needed / 2**20:.0f} MiB)") from exhausted


def _plain_samples(layout: Layout, seen: Callable[[memoryview], None] | None) -> np.ndarray:
    """Return samples that stand one behind the other in the file, in the order there."""
    size = math.prod(layout.stored)
    out, numbers = np.empty(size, dtype=np.float32), np.empty(min(size, CACHED), dtype=layout.dtype)
    with open_file(layout.path) as file:
        source = _unpacked(file)
        for first in range(0, size, CACHED):
            part = numbers[: size - first]
            fill(layout.path, source, layout.offset + first * part.itemsize, part)
            if seen is not None:
                seen(memoryview(part.view(np.uint8)))
            layout.numbers.convert(part, out[first : first + CACHED])
        if layout.packed:
            source.read(FITS_BLOCK)  # to the end, where no other image follows: there the checksum is compared
    return out


def fill(path: Path, file: BinaryIO, offset: int, numbers: np.ndarray) -> None:
    """Fill a contiguous array with the bytes of an open file from an offset on.

    Raises
    ------
    FrameError
        Where the file ends too early.
    """
    file.seek(offset)
    _fill(path, numbers, lambda wanted, done: file.readinto(wanted))


def fill_at_once(path: Path, file: BinaryIO, offset: int, numbers: np.ndarray) -> None:
    """Do as `fill`, without moving the file's position: several threads may, where the system has `preadv`."""
    _fill(path, numbers, lambda wanted, done: os.preadv(file.fileno(), [wanted], offset + done))


def _fill(path: Path, numbers: np.ndarray, read: Callable[[memoryview, int], int]) -> None:
    wanted = memoryview(numbers.reshape(-1).view(np.uint8))
    done = 0
    while done < len(wanted):
        count = read(wanted[done:], done)
        if not count:
            raise FrameError(path, "it ends too early: it was truncated, or changed while it was read; copy it anew")
        done += count


def read_some_rows(layout: Layout, top: int, bottom: int) -> np.ndarray:
    """Return rows of a mono image that is neither packed nor in column order, scaled, as float32 (rows, W).

    Raises
    ------
    FrameError
        Where they cannot be read.
    """
    width = image_shape(layout.path, layout.stored)[1]
    numbers = np.empty((bottom - top, width), dtype=layout.dtype)
    with _named(layout.path, "a frame"), open_file(layout.path) as file:
        fill(layout.path, file, layout.offset + top * width * layout.dtype.itemsize, numbers)
    out = np.empty(numbers.shape, dtype=np.float32)
    layout.numbers.convert(numbers, out)
    return out


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
        raise FrameError(path, f"its shape is {tuple(stored)}: a mono image or one of three colour planes is needed")
    return shape


@contextmanager
def _named(path: Path, kind: str) -> Iterator[None]:
    """Turn whatever is wrong with a file into FrameError."""
    try:
        yield
    except FrameError:
        raise
    except OSError as failure:
        raise FrameError(path, f"it cannot be read ({failure.strerror or failure})") from failure
    except DAMAGE as damage:
        raise FrameError(path, f"it cannot be read as {kind}: it is damaged ({_first_line(damage)})") from damage


def _first_line(error: Exception) -> str:
    return short((str(error).strip().splitlines() or [type(error).__name__])[0], 120)


def short(value: Any, length: int = 40) -> str:
    """Return a value from a file as text for a message, cut off where it is long."""
    text = value if isinstance(value, str) else repr(value)
    return text if len(text) <= length else f"{text[: length - 1]}…"


# ---------------------------------------------------------------------------------------------------------- .npy


def _npy_layout(path: Path, file: BinaryIO) -> Layout:
    """Return what a .npy file claims to be; FrameError for what is no array of numbers."""
    from astropy.io.fits import Header

    head = io.BytesIO(file.read(MAX_NPY_HEADER))  # a copy in memory: its header cannot make it be read to any length
    if head.getvalue()[:6] != np.lib.format.MAGIC_PREFIX:
        raise FrameError(path, "it is not a .npy file: it does not start like one")
    version = np.lib.format.read_magic(head)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # that Python 2 wrote it
            stored, column_order, dtype = read(head)
    except (MemoryError, RecursionError) as nested:  # Python's parser, for brackets within brackets
        raise FrameError(path, "its header is damaged") from nested
    if dtype.hasobject:
        raise FrameError(path, "it holds pickled objects, which are never loaded: save it as an array of numbers")
    if dtype.kind not in "fiu":
        raise FrameError(path, f"it holds {short(dtype.name)}, not numbers: save it as float32")
    layout = Layout(path, Header(), _sides(path, stored), dtype, head.tell(), stamp_of(file), column_order=column_order)
    _check_size(layout)
    return layout


def _sides(path: Path, shape: tuple[Any, ...]) -> tuple[int, ...]:
    """Return a shape, or refuse one that is no image's."""
    if len(shape) not in (2, 3) or not all(type(side) is int and 0 < side <= MAX_SIDE for side in shape):
        raise FrameError(path, f"its shape is {short(shape)}: a mono image or one of three colour planes is needed")
    return shape


def _check_size(layout: Layout) -> None:
    """Refuse a file that is smaller than its header says."""
    size, wanted = layout.stamp[0], layout.offset + layout.nbytes
    if not layout.packed and size < wanted:
        told = f"its header promises {wanted} bytes, the file has {size}"
        raise FrameError(layout.path, f"it is truncated: {told}; copy it anew")
    if layout.packed and layout.nbytes > MAX_RATIO * size:
        raise FrameError(
            layout.path, f"its header promises {layout.nbytes} bytes, more than {size} compressed bytes can hold"
        )


# ---------------------------------------------------------------------------------------------------------- FITS


def fits_layout(path: Path, wanted: Callable[[Header], bool]) -> Layout | None:
    """Return where the first image of two or three axes stands whose header is a wanted one; None where there is none.

    Raises
    ------
    FrameError
        For a file that is not a FITS file, or whose image is not whole.
    """
    with _named(path, "FITS"), open_file(path) as file:
        stamp = stamp_of(file)
        source = _unpacked(file)
        packed = "gzip" if source is not file else ""
        for number, header in enumerate(_headers(path, source)):
            if not wanted(header):
                continue
            if card(header, "ZIMAGE", False) is True:
                most = MAX_RATIO * stamp[0] if packed else stamp[0] - source.tell()
                if _data_bytes(path, header) > most:
                    raise FrameError(path, "it is truncated: its header promises more than the file has; copy it anew")
                return _tiles_layout(path, header, number, stamp)
            is_image = number == 0 or card(header, "XTENSION", "") in ("IMAGE", "IUEIMAGE")
            if is_image and _integer(path, header, "NAXIS", 0) in (2, 3):
                return _image_layout(path, header, number, source.tell(), stamp, packed)
    return None


def _unpacked(file: BinaryIO) -> BinaryIO:
    """Return an open file from its beginning: what is packed in it, where it is packed by gzip."""
    file.seek(0)
    packed = file.read(len(GZIP_MAGIC)) == GZIP_MAGIC
    file.seek(0)
    return gzip.GzipFile(fileobj=file) if packed else file


def _headers(path: Path, file: BinaryIO) -> Iterator[Header]:
    """Give the headers of a FITS file one after the other, the file standing at the end of each."""
    start = 0
    for number in range(MAX_HDUS):
        file.seek(start)
        text = _header_text(path, file, b"XTENSION" if number else b"SIMPLE  ")
        if text is None:
            return
        begin = file.tell()
        header = _parsed(text)
        yield header
        start = begin + -(-_data_bytes(path, header) // FITS_BLOCK) * FITS_BLOCK
        if start > (MAX_SKIPPED if isinstance(file, gzip.GzipFile) else os.fstat(file.fileno()).st_size):
            return


def _header_text(path: Path, file: BinaryIO, begins: bytes) -> bytes | None:
    """Read a header, to the block with its END; None where the file goes on with something else."""
    blocks = []
    for _ in range(MAX_HEADER // FITS_BLOCK):
        block = _read_block(file)
        if not blocks and not block.startswith(begins):
            if begins == b"XTENSION":
                return None
            raise FrameError(path, "it is not a FITS file: it does not start like one" if block else "it is empty")
        blocks.append(block)
        if any(block[at : at + 8].rstrip(b" \0") == b"END" for at in range(0, len(block), CARD)):
            return b"".join(blocks)
        if len(block) < FITS_BLOCK:
            raise FrameError(path, "it is truncated: its header has no end; copy it anew")
    raise FrameError(path, f"its header has no end within {MAX_HEADER} bytes")


def _read_block(file: BinaryIO) -> bytes:
    block = b""
    while len(block) < FITS_BLOCK:
        more = file.read(FITS_BLOCK - len(block))
        if not more:
            break
        block += more
    return block


def _parsed(text: bytes) -> Header:
    """Return the header of a text; what is no card is left out, and so is what comes twice: readers differ on those."""
    from astropy.io.fits import Header

    cards, known = [], set()
    for one in (text[at : at + CARD] for at in range(0, len(text) - CARD + 1, CARD)):
        keyword = one[:8].rstrip(b" ")
        if keyword in COMMENTARY or (_is_card(one) and keyword not in known):
            cards.append(one.translate(PRINTABLE))
            known.add(keyword)
    return Header.fromstring(b"".join(cards).decode("ascii"))


def _is_card(text: bytes) -> bool:
    return text[8:10] == b"= " and KEYWORD.fullmatch(text[:8].rstrip(b" ")) is not None


def card(header: Header, name: str, default: Any = None) -> Any:
    """Return a card's value; the default for one that is missing or empty.

    Raises
    ------
    ValueError
        For a card that cannot be read.
    """
    from astropy.io.fits import VerifyError
    from astropy.io.fits.card import UNDEFINED

    if name not in header:
        return default
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a card that is not quite the standard's can still be read
        try:
            value = header[name]
        except VerifyError as unreadable:
            raise ValueError(f"its card {name} cannot be read") from unreadable
    return default if value is None or value is UNDEFINED else value


def _integer(path: Path, header: Header, name: str, default: int | None = None) -> int:
    value = card(header, name, default)
    if type(value) is not int:
        raise FrameError(path, f"its header is damaged: {name} is {short(value)}, not a whole number")
    return value


def _finite(path: Path, header: Header, name: str, default: float) -> float:
    value = card(header, name, default)
    if type(value) not in (int, float) or not math.isfinite(value):
        raise FrameError(path, f"its header is damaged: {name} is {short(value)}, not a finite number")
    return float(value)


def _axes(path: Path, header: Header, prefix: str = "") -> tuple[int, ...]:
    """Return the lengths of a header's axes, the slowest first."""
    count = _integer(path, header, f"{prefix}NAXIS", 0)
    if not 0 <= count <= MAX_AXES:
        raise FrameError(path, f"its header is damaged: {prefix}NAXIS is {count}")
    return tuple(_integer(path, header, f"{prefix}NAXIS{axis}") for axis in range(count, 0, -1))


def _data_bytes(path: Path, header: Header) -> int:
    """Return how many bytes follow a header, by the standard's formula."""
    axes = _axes(path, header)
    if card(header, "GROUPS", False) is True:
        axes = axes[:-1]
    extra, groups = _integer(path, header, "PCOUNT", 0), _integer(path, header, "GCOUNT", 1)
    if min(axes, default=0) < 0 or extra < 0 or groups < 0:
        raise FrameError(path, "its header is damaged: it gives a negative size")
    return _type(path, header, "BITPIX", 8).itemsize * groups * (extra + (math.prod(axes) if axes else 0))


def _type(path: Path, header: Header, name: str, default: int | None = None) -> np.dtype:
    bitpix = _integer(path, header, name, default)
    if bitpix not in FITS_TYPES:
        raise FrameError(path, f"its header is damaged: {name} is {bitpix}")
    return np.dtype(FITS_TYPES[bitpix])


def _image_layout(path: Path, header: Header, number: int, offset: int, stamp: tuple[int, int], packed: str) -> Layout:
    dtype = _type(path, header, "BITPIX")
    scale, zero = _finite(path, header, "BSCALE", 1.0), _finite(path, header, "BZERO", 0.0)
    if scale == 0:
        raise FrameError(path, "its header is damaged: BSCALE is 0, which would make all pixels equal")
    blank = _integer(path, header, "BLANK") if dtype.kind != "f" and card(header, "BLANK") is not None else None
    stored = _sides(path, _axes(path, header))
    layout = Layout(path, header, stored, dtype, offset, stamp, scale, zero, blank, packed=packed, hdu=number)
    _check_size(layout)
    return layout


def _tiles_layout(path: Path, header: Header, number: int, stamp: tuple[int, int]) -> Layout | None:
    """Return the layout of a tile-compressed image, or None for one of other axes; what its decoder trusts is checked.

    The tiles are those of the FITS standard 4.0, section 10.
    """
    stored = _axes(path, header, "Z")
    if len(stored) not in (2, 3):
        return None
    code = card(header, "ZCMPTYPE", "")
    if code not in TILE_CODES:
        raise FrameError(path, f"its compression {short(code)} cannot be read here: unpack it with funpack")
    for name, least, most in (("NAXIS", 2, 2), ("TFIELDS", 1, MAX_AXES)):  # its decoder counts to there, come what may
        if not least <= _integer(path, header, name) <= most:
            raise FrameError(path, f"its header is damaged: {name} is {short(card(header, name))}")
    dtype = _type(path, header, "ZBITPIX")
    sides = _sides(path, stored)[::-1]
    tiles = [_integer(path, header, f"ZTILE{axis}", 1 if axis > 1 else sides[0]) for axis in range(1, len(sides) + 1)]
    if not all(0 < tile <= MAX_SIDE for tile in tiles):
        raise FrameError(path, f"its header is damaged: its tiles are {short(tuple(tiles))}")
    count = math.prod(-(-side // tile) for side, tile in zip(sides, tiles, strict=True))
    if _integer(path, header, "NAXIS2") != count:
        raise FrameError(path, f"its header is damaged: it has {card(header, 'NAXIS2')} tiles of {count}")
    _check_code_settings(path, header)
    layout = Layout(path, header, stored, dtype, 0, stamp, packed="tiles", hdu=number)
    _check_size(layout)
    with _by_astropy(path, header, b"") as hdu:
        return replace(layout, header=hdu.header.copy())  # the image's, not the table's that holds it


def _check_code_settings(path: Path, header: Header) -> None:
    """Refuse settings of the Rice code that its decoder would take for sizes of its buffers."""
    for index in range(1, MAX_AXES + 1):
        name = card(header, f"ZNAME{index}")
        if name is None:
            return
        value = card(header, f"ZVAL{index}")
        allowed = CODE_SETTINGS.get(str(name).upper())
        if allowed is not None and value not in allowed:
            raise FrameError(path, f"its header is damaged: {name} is {short(value)}")


def _unpacked_tiles(layout: Layout, seen: Callable[[memoryview], None] | None) -> np.ndarray:
    path = layout.path
    with open_file(path) as file:
        if stamp_of(file) != layout.stamp:
            raise FrameError(path, "it was changed while it was read")
        source = _unpacked(file)
        header = next(itertools.islice(_headers(path, source), layout.hdu, None))
        table = source.read(_data_bytes(path, header))
    if seen is not None:
        seen(memoryview(table))
    with _by_astropy(path, header, table) as hdu:
        data = hdu.data
    if data is None or data.shape != layout.stored:
        raise FrameError(path, "its header is damaged: the image does not have the size that it gives")
    with np.errstate(over="ignore", invalid="ignore"):
        return np.asarray(data, dtype=np.float32)


@contextmanager
def _by_astropy(path: Path, header: Header, table: bytes) -> Iterator[Any]:
    """Give a compressed image as astropy reads it: of the file's cards it sees those alone that were read here."""
    from astropy.io import fits

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what is non-standard, but can be read, is no one's trouble here
        try:
            headers = fits.PrimaryHDU().header.tostring() + header.tostring()
            with fits.open(io.BytesIO(headers.encode("ascii") + table)) as hdus:
                yield hdus[1]
        except (OSError, MemoryError):
            raise
        except Exception as damage:  # the decoders' own errors have no public name
            raise FrameError(path, f"it cannot be unpacked: it is damaged ({_first_line(damage)})") from damage
