# SPDX-License-Identifier: GPL-3.0-or-later
"""Checksums of FITS files, of data that come in parts: DATASUM and CHECKSUM (FITS standard 4.0, section 4.4.2.7 and J).

The sum is that of all words of 32 bits, ones' complement. It is kept as a plain number, of which each part of the data
adds its share, and folded at the end: so it hangs on the bytes alone, not on how they were cut.
"""

from __future__ import annotations

import numpy as np

WORD = 2**32 - 1
PUNCTUATION = (*range(ord(":"), ord("A")), *range(ord("["), ord("a")))  # between the digits and letters of ASCII
NO_CHECKSUM = "0" * 16  # what the card says while the sum is taken


def words(values: np.ndarray, offset: int = 0) -> int:
    """Return the sum of the words that numbers add to data.

    Parameters
    ----------
    values : ndarray
        Contiguous, of 1, 2 or 4 bytes, in the machine's own order of bytes; in the data they are big-endian.
    offset : int
        Where they begin in the data, in bytes: a multiple of their size.
    """
    size = values.itemsize
    numbers = values.reshape(-1).view(f"u{size}")
    lanes = 4 // size  # how many numbers make a word
    return sum(
        int(numbers[lane - offset // size & lanes - 1 :: lanes].sum(dtype=np.uint64)) << 8 * (4 - size * (lane + 1))
        for lane in range(lanes)
    )


def folded(total: int) -> int:
    """Return a sum of words as one word, the carry added at its end."""
    while total > WORD:
        total = (total & WORD) + (total >> 32)
    return total


def encoded(total: int) -> str:
    """Return the 16 letters that make the sum of words of a whole HDU, themselves in place of `NO_CHECKSUM`, all ones.

    Each byte of the complement is spread over four letters, evenly but for the rest; punctuation is moved out of the
    way, one letter up and its neighbour down; the card's value begins at the last byte of a word.
    """
    letters = [[], [], [], []]
    for byte in (WORD - folded(total)).to_bytes(4, "big"):
        four = [byte // 4 + ord("0") + (byte % 4 if index == 0 else 0) for index in range(4)]
        for first in (0, 2):
            while four[first] in PUNCTUATION or four[first + 1] in PUNCTUATION:
                four[first], four[first + 1] = four[first] + 1, four[first + 1] - 1
        for lane, letter in zip(letters, four, strict=True):
            lane.append(chr(letter))
    text = "".join("".join(lane) for lane in letters)
    return text[-1] + text[:-1]
