# SPDX-License-Identifier: GPL-3.0-or-later
"""Picture files, written row by row: PNG (ISO/IEC 15948) and TIFF (revision 6.0), of 8 or 16 bits.

OpenCV and Pillow want the whole picture in memory, and spend seconds on deflating noise.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import BinaryIO

import numpy as np

from nanstack.io.files import complete_file

PNG_GREY, PNG_COLOUR = 0, 2
NO_FILTER = b"\0"  # before each row of a PNG
ROWS_TOGETHER = 64  # in a strip of a TIFF
SHORT, LONG = 3, 4  # types of a TIFF's fields


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


def _write_png(file: BinaryIO, shape: tuple[int, int, int], bits: int, blocks: Iterable[np.ndarray]) -> None:
    height, width, channels = shape
    file.write(b"\x89PNG\r\n\x1a\n")
    kind = PNG_GREY if channels == 1 else PNG_COLOUR
    _chunk(file, b"IHDR", struct.pack(">IIBBBBB", width, height, bits, kind, 0, 0, 0))
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


def _write_tiff(file: BinaryIO, shape: tuple[int, int, int], bits: int, blocks: Iterable[np.ndarray]) -> None:
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
    if begin + row * height >= 2**32:
        raise ValueError(f"a TIFF of {width} x {height} pixels would be larger than 4 GiB: choose png")
    fields[273] = (LONG, [begin + row * ROWS_TOGETHER * number for number in range(strips)])
    file.write(_directory(fields))
    for block in blocks:
        file.write(np.ascontiguousarray(block, f"<u{bits // 8}"))


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
