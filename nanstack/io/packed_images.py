# SPDX-License-Identifier: GPL-3.0-or-later
"""Images of a FITS file in tiled compression without loss, written as their rows come (FITS standard 4.0, section 10).

Each row of each plane is a tile: its bytes sorted by their weight, which puts those that hardly vary side by side
(GZIP_2), then deflated. Compressed rows wait in a temporary file, as nobody knows where an image ends before it does.
"""

from __future__ import annotations

import tempfile
import threading
import zlib
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from nanstack.io.checksums import words
from nanstack.io.fits_images import BITPIX, Layer, Planes, big_endian, header_bytes, padded, write_all
from nanstack.memory import threads

if TYPE_CHECKING:
    from astropy.io.fits import CompImageHDU, Header

LEVEL = 1  # of deflate; noise gets no smaller by more
GZIP_FORMAT = 31  # what zlib calls it
COPIED_BYTES = 2**20
_OF_ASTROPY = threading.Lock()  # images of an open file share the place in it
LONG_PLACES = 2**31  # bytes from which on a tile's place takes 64 bits


class PackedImage:
    """An image that is compressed.

    Parameters
    ----------
    layer : Layer
    folder : Path
        Has room for the compressed rows.
    """

    def __init__(self, layer: Layer, folder: Path) -> None:
        self._layer = layer
        planes, height, _ = layer.shape
        self._places = np.zeros((planes, height, 2), "u8" if 2 * layer.bytes >= LONG_PLACES else "u4")
        self._heap = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115  (closed by finish, or with the image)
        self._size = 0

    def put(self, top: int, planes: Planes) -> None:
        """Take the next rows of the stack, which begin at `top`."""
        with ThreadPoolExecutor(threads()) as pool:
            for below, part in self._layer.rows(planes):
                for row, tiles in enumerate(pool.map(_deflated, _by_weight(part)), start=top + below):
                    for plane, tile in enumerate(tiles):
                        self._places[plane, row] = len(tile), self._size
                        self._size += len(tile)
                        self._heap.write(tile)

    def finish(self, file: BinaryIO, cards: Mapping[str, Any]) -> None:
        """Append the image to a file, further cards in its header."""
        header = self._structure()
        header.update(cards)
        total = words(self._places) + self._sum_of_heap()
        write_all(file, header_bytes(header, total))
        write_all(file, big_endian(self._places))
        self._heap.seek(0)
        while block := self._heap.read(COPIED_BYTES):
            write_all(file, block)
        self._heap.close()
        size = self._places.nbytes + self._size
        write_all(file, bytes(padded(size) - size))

    def _sum_of_heap(self) -> int:
        """Return the sum of the words of the compressed rows; the table before them is whole words."""
        self._heap.seek(0)
        total = offset = 0
        while block := self._heap.read(COPIED_BYTES):
            total += words(np.frombuffer(block, np.uint8), offset)
            offset += len(block)
        return total

    def _structure(self) -> Header:
        """Return the header of the table that holds the compressed image, as the FITS standard, 10, has it."""
        from astropy.io.fits import Header

        layer = self._layer
        planes, height, width = layer.shape
        sides = (width, height) if planes == 1 else (width, height, planes)
        letter = "Q" if self._places.itemsize == 8 else "P"
        header = Header([("XTENSION", "BINTABLE", "an image, compressed"), ("BITPIX", 8), ("NAXIS", 2)])
        header["NAXIS1"], header["NAXIS2"] = 2 * self._places.itemsize, planes * height
        header["PCOUNT"], header["GCOUNT"], header["TFIELDS"] = self._size, 1, 1
        header["TTYPE1"], header["TFORM1"] = "COMPRESSED_DATA", f"1{letter}B({self._places[..., 0].max()})"
        header["ZIMAGE"] = (True, "the table is an image, compressed")
        header["ZBITPIX"], header["ZNAXIS"] = BITPIX[layer.stored], len(sides)
        for number, side in enumerate(sides, start=1):
            header[f"ZNAXIS{number}"] = side
        for number in range(1, len(sides) + 1):
            header[f"ZTILE{number}"] = width if number == 1 else 1
        header["ZCMPTYPE"] = ("GZIP_2", "deflated, bytes sorted by weight: without loss")
        if layer.stored == "f4":
            header["ZQUANTIZ"] = ("NONE", "no number was rounded")
        header.update(layer.cards_of_numbers())
        header.extend(layer.cards)
        return header


class PackedRows:
    """Rows of an image in tiled compression, unpacked as they are read, by one thread at a time.

    Parameters
    ----------
    hdu : astropy.io.fits.CompImageHDU
        Of an open file; its rows are its tiles.
    """

    def __init__(self, hdu: CompImageHDU) -> None:
        self._hdu = hdu
        self.shape: tuple[int, ...] = (*hdu.shape[-2:], *hdu.shape[:-2])

    def read(self, top: int, bottom: int, out: np.ndarray) -> None:
        """Fill `out`, float32 of shape (bottom - top, W[, C]), with rows top:bottom."""
        out[:] = self._section(np.s_[top:bottom, :])

    def part(self, box: tuple[int, int, int, int]) -> np.ndarray:
        """Return rows top:bottom and columns left:right as a new array, float32 (h, w[, C])."""
        top, bottom, left, right = box
        return np.array(self._section(np.s_[top:bottom, left:right]), np.float32, order="C")

    def _section(self, part: tuple[slice, slice]) -> np.ndarray:
        with _OF_ASTROPY:
            rows = self._hdu.section[(..., *part)]
        return rows if rows.ndim == 2 else np.moveaxis(rows, 0, 2)


def _by_weight(part: np.ndarray) -> np.ndarray:
    """Return rows (planes, h, w) as bytes (h, planes, size x w): of each number first the heaviest."""
    planes, height, width = part.shape
    parts = big_endian(part).view(np.uint8).reshape(planes, height, width, part.itemsize)
    return np.ascontiguousarray(parts.transpose(1, 0, 3, 2)).reshape(height, planes, -1)


def _deflated(rows: np.ndarray) -> list[bytes]:
    tiles = []
    for row in rows:
        deflate = zlib.compressobj(LEVEL, zlib.DEFLATED, GZIP_FORMAT)
        tiles.append(deflate.compress(row) + deflate.flush())
    return tiles
