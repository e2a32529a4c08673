# SPDX-License-Identifier: GPL-3.0-or-later
"""Picture files, written row by row, and read so: PNG (ISO/IEC 15948) and TIFF (revision 6.0), of 8 or 16 bits.

OpenCV and Pillow want the whole picture in memory, and spend seconds on deflating noise.
"""

from __future__ import annotations

import itertools
import os
import struct
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np

from nanstack.io.files import complete_file

PNG_BEGIN = b"\x89PNG\r\n\x1a\n"
PNG_HEAD = ">IIBBBBB"  # width, height, bits, kind, and what is 0 here
PNG_KINDS = {1: 0, 3: 2}  # grey and colour, by the number of channels
NO_FILTER = b"\0"  # before each row of a PNG
READ_BYTES = 2**20  # of rows that are given at once
ROWS_TOGETHER = 64  # in a strip of a TIFF
TIFF_BYTES = 2**32  # that it can have
SHORT, LONG = 3, 4  # types of a TIFF's fields


class OtherPictureError(ValueError):
    """A picture that another program wrote, or that is damaged."""


def write_rows(path: Path, shape: tuple[int, int, int], bits: int, blocks: Iterable[np.ndarray]) -> None:
    """Write a picture of the kind that its name says; an existing one is replaced.

    Parameters
    ----------
    path : Path
        Ends in .png, .tif or .tiff; the picture appears complete or not at all.
    shape : (int, int, int)
        Height, width, channels: 1 or 3.
    bits : {8, 16}
        A channel.
    blocks : iterable of ndarray of uint8 or uint16, shape (h, W, C)
        Rows from the top on. The bytes of a PNG hang on how they are cut.

    Raises
    ------
    ValueError
        For a TIFF beyond 4 GiB.
    """
    write = _write_png if path.suffix.lower() == ".png" else _write_tiff
    with complete_file(path) as temporary, open(temporary, "wb") as file:
        write(file, shape, bits, blocks)


def read_rows(file: BinaryIO) -> tuple[tuple[int, int, int], Iterator[np.ndarray]]:
    """Read a picture as `write_rows` writes them.

    Parameters
    ----------
    file : binary file
        At its beginning. It is read while rows are taken.

    Returns
    -------
    shape : (int, int, int)
        Height, width, channels: 1 or 3.
    blocks : iterator of ndarray of uint8, shape (h, W, C)
        Rows from the top on; of 16 bits the upper eight.

    Raises
    ------
    OtherPictureError
        For any other file, at once or when its rows are taken.
    """
    begin = file.read(len(PNG_BEGIN))
    read = _png_rows if begin == PNG_BEGIN else _tiff_rows
    file.seek(len(PNG_BEGIN) if begin == PNG_BEGIN else 0)
    try:
        shape, bits, rows = read(file)
    except struct.error as damage:
        raise OtherPictureError("it is damaged") from damage
    depth = bits // 8
    upper = 0 if begin == PNG_BEGIN else depth - 1  # byte of a number
    return shape, (block[:, upper::depth].reshape(len(block), *shape[1:]) for block in rows)


# --- PNG --------------------------------------------------------------------------------------------------------------


def _write_png(file: BinaryIO, shape: tuple[int, int, int], bits: int, blocks: Iterable[np.ndarray]) -> None:
    height, width, channels = shape
    file.write(PNG_BEGIN)
    _chunk(file, b"IHDR", struct.pack(PNG_HEAD, width, height, bits, PNG_KINDS[channels], 0, 0, 0))
    # the lower half of 16 bits is noise, which deflating makes 5 % smaller and 20 times slower
    deflate = zlib.compressobj(level=0 if bits == 16 else 1, strategy=zlib.Z_RLE)
    for block in blocks:
        rows = block.astype(f">u{bits // 8}", copy=False).reshape(len(block), -1).view(np.uint8)
        filtered = np.empty((len(rows), rows.shape[1] + 1), np.uint8)
        filtered[:, 0], filtered[:, 1:] = NO_FILTER[0], rows
        _chunk(file, b"IDAT", deflate.compress(filtered))
    _chunk(file, b"IDAT", deflate.flush())
    _chunk(file, b"IEND", b"")


def _chunk(file: BinaryIO, name: bytes, data: bytes) -> None:
    file.write(struct.pack(">I", len(data)) + name)
    file.write(data)
    file.write(struct.pack(">I", zlib.crc32(data, zlib.crc32(name))))


def _png_rows(file: BinaryIO) -> tuple[tuple[int, int, int], int, Iterator[np.ndarray]]:
    """Return the shape and bits of a PNG, and its rows as bytes."""
    size, name = struct.unpack(">I4s", file.read(8))
    if (size, name) != (struct.calcsize(PNG_HEAD), b"IHDR"):
        raise OtherPictureError("it begins otherwise")
    width, height, bits, kind, *rest = struct.unpack(PNG_HEAD, file.read(size))
    channels = next((number for number, one in PNG_KINDS.items() if one == kind), 0)
    if any(rest) or bits not in (8, 16) or not (width and height and channels):
        raise OtherPictureError("it is of another kind")
    file.read(4)  # its checksum
    shape = height, width, channels
    return shape, bits, _inflated(_packed(file), height, 1 + width * channels * bits // 8)


def _packed(file: BinaryIO) -> Iterator[bytes]:
    """Give the deflated bytes of a PNG, piece by piece."""
    while True:
        size, name = struct.unpack(">I4s", file.read(8).ljust(8, b"\0"))
        if name == b"IEND":
            return
        if name != b"IDAT":
            raise OtherPictureError("it has parts of another kind")
        for first in range(0, size, READ_BYTES):
            yield file.read(min(READ_BYTES, size - first))
        file.read(4)  # its checksum


def _inflated(packed: Iterator[bytes], height: int, row: int) -> Iterator[np.ndarray]:
    """Give rows of so many bytes, the first of which says that no filter was used."""
    inflate, waiting, together = zlib.decompressobj(), b"", max(1, READ_BYTES // row)
    for top in range(0, height, together):
        size, block = row * min(together, height - top), bytearray()
        while len(block) < size:
            waiting = waiting or next(packed, b"")
            try:
                piece = inflate.decompress(waiting, size - len(block))
            except zlib.error as damage:
                raise OtherPictureError("it is damaged") from damage
            if not piece and not waiting:
                raise OtherPictureError("it ends too early")
            block += piece
            waiting = inflate.unconsumed_tail
        rows = np.frombuffer(block, np.uint8).reshape(-1, row)
        if (rows[:, 0] != NO_FILTER[0]).any():
            raise OtherPictureError("its rows are filtered")
        yield rows[:, 1:]


# --- TIFF -------------------------------------------------------------------------------------------------------------


def _write_tiff(file: BinaryIO, shape: tuple[int, int, int], bits: int, blocks: Iterable[np.ndarray]) -> None:
    file.write(_tiff_head(shape, bits))
    for block in blocks:
        file.write(np.ascontiguousarray(block, f"<u{bits // 8}"))


def _tiff_rows(file: BinaryIO) -> tuple[tuple[int, int, int], int, Iterator[np.ndarray]]:
    """Return the shape and bits of a TIFF, and its rows as bytes."""
    *_, width, _, _, _, height = struct.unpack("<2sHIH HHII HHII", file.read(34))
    most = min(TIFF_BYTES, file.seek(0, os.SEEK_END))
    for channels, bits in itertools.product(PNG_KINDS, (8, 16)):
        shape, row = (height, width, channels), width * channels * bits // 8
        if 0 < row * height < most:  # else nobody knows how much a head takes
            head = _tiff_head(shape, bits)
            file.seek(0)
            if file.read(len(head)) == head:
                return shape, bits, _stored(file, height, row)
    raise OtherPictureError("it begins otherwise")


def _stored(file: BinaryIO, height: int, row: int) -> Iterator[np.ndarray]:
    """Give rows of so many bytes."""
    together = max(1, READ_BYTES // row)
    for top in range(0, height, together):
        block = file.read(row * min(together, height - top))
        if len(block) < row * min(together, height - top):
            raise OtherPictureError("it ends too early")
        yield np.frombuffer(block, np.uint8).reshape(-1, row)


def _tiff_head(shape: tuple[int, int, int], bits: int) -> bytes:
    """Return what stands before the rows of a TIFF, which follow each other."""
    height, width, channels = shape
    row = width * channels * bits // 8
    strips = -(-height // ROWS_TOGETHER)
    sizes = [row * min(ROWS_TOGETHER, height - top) for top in range(0, height, ROWS_TOGETHER)]
    fields = {  # in the order of their numbers
        256: (LONG, [width]), 257: (LONG, [height]), 258: (SHORT, [bits] * channels), 259: (SHORT, [1]),
        262: (SHORT, [1 if channels == 1 else 2]), 273: (LONG, [0] * strips), 277: (SHORT, [channels]),
        278: (LONG, [ROWS_TOGETHER]), 279: (LONG, sizes), 284: (SHORT, [1]),
    }  # fmt: skip
    begin = len(_directory(fields))
    if begin + row * height >= TIFF_BYTES:
        raise ValueError(f"a TIFF of {width} x {height} pixels would be larger than 4 GiB: choose png")
    fields[273] = (LONG, [begin + row * ROWS_TOGETHER * number for number in range(strips)])
    return _directory(fields)


def _directory(fields: dict[int, tuple[int, list[int]]]) -> bytes:
    """Return the head of a TIFF: its fields, and behind them what is too long to stand in them."""
    entries, beside = b"", b""
    begin = 8 + 2 + 12 * len(fields) + 4
    for number, (kind, values) in fields.items():
        data = struct.pack(f"<{len(values)}{'H' if kind == SHORT else 'I'}", *values).ljust(4, b"\0")
        if len(data) > 4:
            data, beside = struct.pack("<I", begin + len(beside)), beside + data + bytes(len(data) % 4)
        entries += struct.pack("<HHI", number, kind, len(values)) + data
    return struct.pack("<2sHIH", b"II", 42, 8, len(fields)) + entries + struct.pack("<I", 0) + beside
