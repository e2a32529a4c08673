# SPDX-License-Identifier: GPL-3.0-or-later
"""Images of a FITS file, written as their rows come, each in its place; with checksums."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, BinaryIO, Protocol

import numpy as np

from nanstack.io.checksums import NO_CHECKSUM, encoded, folded, words

if TYPE_CHECKING:
    from astropy.io.fits import Header

RECORD = 2880  # bytes, of which a FITS file is a multiple
CARD = 80
SPARE_CARDS = 36  # room for what is known only once all pixels are written
PART_BYTES = 2**18  # of a plane, worked on at once: they stay in the cache
SIGN = np.uint16(2**15)  # unsigned numbers of 16 bits are stored as signed ones, BZERO above
BITPIX = {"f4": -32, "i2": 16, "u1": 8}


class Planes(Protocol):
    """Rows of a stack, such as `nanstack.stack.stacked.StackedCell`."""

    image: np.ndarray
    coverage: np.ndarray
    weight: np.ndarray
    variance: np.ndarray


@dataclass(frozen=True)
class Layer:
    """An image of the file.

    Attributes
    ----------
    cards : Header
        Those that say what it is; not those of its structure.
    stored : {'f4', 'i2', 'u1'}
        Its numbers: float32, uint16 with BZERO, uint8.
    shape : (int, int, int)
        Planes, height, width.
    of : callable
        Returns its rows (h, w) or (h, w, planes) of those of a stack.
    """

    cards: Header
    stored: str
    shape: tuple[int, int, int]
    of: Callable[[Planes], np.ndarray]

    @property
    def row_bytes(self) -> int:
        """Bytes of a row of a plane."""
        return self.shape[2] * np.dtype(self.stored).itemsize

    @property
    def bytes(self) -> int:
        """Bytes of all its numbers."""
        return self.shape[0] * self.shape[1] * self.row_bytes

    def cards_of_numbers(self) -> dict[str, int]:
        """Return the cards that say what the numbers stored stand for, where it is not themselves."""
        return {"BSCALE": 1, "BZERO": int(SIGN)} if self.stored == "i2" else {}

    def rows(self, planes: Planes) -> Iterator[tuple[int, np.ndarray]]:
        """Give its rows of a strip, some at a time: how far below the strip's top they are, and (planes, h, w)."""
        values = self.of(planes)
        values = values if values.ndim == 3 else values[..., np.newaxis]
        step = max(1, PART_BYTES // self.row_bytes)
        for first in range(0, len(values), step):
            part = np.array(np.moveaxis(values[first : first + step], 2, 0), order="C")  # a copy: it is turned round
            yield first, part ^ SIGN if self.stored == "i2" else part


class Image(Protocol):
    """An image that is being written."""

    def put(self, top: int, planes: Planes) -> None:
        """Take the next rows of the stack, which begin at `top`."""

    def finish(self, file: BinaryIO, cards: Mapping[str, Any]) -> None:
        """Write what is missing, further cards among it."""


def _structure(layer: Layer, primary: bool) -> Header:
    """Return the header of an image, without its checksums."""
    from astropy.io.fits import Header

    planes, height, width = layer.shape
    first = ("SIMPLE", True, "conforms to FITS standard") if primary else ("XTENSION", "IMAGE", "image extension")
    header = Header([first, ("BITPIX", BITPIX[layer.stored]), ("NAXIS", 2 if planes == 1 else 3)])
    header["NAXIS1"], header["NAXIS2"] = width, height
    if planes > 1:
        header["NAXIS3"] = planes
    if primary:
        header["EXTEND"] = True
    else:
        header["PCOUNT"], header["GCOUNT"] = 0, 1
    header.update(layer.cards_of_numbers())
    header.extend(layer.cards)
    return header


def empty_primary() -> bytes:
    """Return the first part of a file whose images are all extensions."""
    from astropy.io.fits import Header

    return header_bytes(Header([("SIMPLE", True), ("BITPIX", 8), ("NAXIS", 0), ("EXTEND", True)]), 0)


def header_bytes(header: Header, total: int, records: int = 0) -> bytes:
    """Return a header with its checksums, filled with blank cards to a number of records.

    Parameters
    ----------
    header : Header
        Without checksums.
    total : int
        The sum of the words of the data.
    records : int
        At least as many as its cards need; 0 for just these.
    """
    header = header.copy()
    header["CHECKSUM"] = (NO_CHECKSUM, "HDU checksum")
    header["DATASUM"] = (str(folded(total)), "data unit checksum")
    spare = CARD * (records * (RECORD // CARD) - 1)  # END is the last card
    text = header.tostring(endcard=False, padding=False).ljust(max(0, spare)) + "END".ljust(CARD)
    text = text.ljust(padded(len(text)))
    sums = words(np.frombuffer(text.encode("ascii"), np.uint8)) + total
    return text.replace(NO_CHECKSUM, encoded(sums), 1).encode("ascii")


def padded(size: int) -> int:
    """Return the bytes that so many take in a FITS file."""
    return -(-size // RECORD) * RECORD


def write_all(file: BinaryIO, data: Any) -> None:
    """Write bytes to a file that is not buffered: a system may take some of them at a time."""
    left = memoryview(data).cast("B")
    while left:
        left = left[file.write(left) :]


def in_turn(file: BinaryIO, layers: Sequence[Layer]) -> Iterator[PlainImage]:
    """Give the images of a file that is not compressed: each one's place is known before any pixel is."""
    begin = 0
    for number, layer in enumerate(layers):
        image = PlainImage(file, layer, begin, primary=number == 0)
        yield image
        begin = image.end


class PlainImage:
    """An image that is written in its place."""

    def __init__(self, file: BinaryIO, layer: Layer, begin: int, primary: bool) -> None:
        self._file, self._layer, self._begin = file, layer, begin
        self._header = _structure(layer, primary)
        length = len(self._header.tostring(endcard=False, padding=False))
        spare = SPARE_CARDS if primary else 0
        self._records = padded(length + (3 + spare) * CARD) // RECORD  # CHECKSUM, DATASUM, END
        self._data = begin + self._records * RECORD
        self.end = self._data + padded(layer.bytes)
        self._total = 0

    def put(self, top: int, planes: Planes) -> None:
        """Write the next rows of the stack, which begin at `top`."""
        layer = self._layer
        for below, part in layer.rows(planes):
            for plane, rows in enumerate(part):
                offset = (plane * layer.shape[1] + top + below) * layer.row_bytes
                self._total += words(rows, offset)
                self._file.seek(self._data + offset)
                write_all(self._file, big_endian(rows))

    def finish(self, file: BinaryIO, cards: Mapping[str, Any]) -> None:
        """Write the header, further cards in it, and what fills the last record."""
        file.seek(self._data + self._layer.bytes)
        write_all(file, bytes(self.end - self._data - self._layer.bytes))
        self._header.update(cards)
        whole = header_bytes(self._header, self._total, self._records)
        if len(whole) != self._records * RECORD:
            raise ValueError(f"{len(cards)} cards at the end are more than {SPARE_CARDS}")
        file.seek(self._begin)
        write_all(file, whole)


def big_endian(numbers: np.ndarray) -> np.ndarray:
    """Return numbers with their bytes as FITS has them, turned where they lie."""
    return numbers.byteswap(inplace=True) if sys.byteorder == "little" else numbers
