# SPDX-License-Identifier: GPL-3.0-or-later
"""Sums of an image along all its lines, and along all their halves, quarters and so on: the fast Radon transform.

Lines of a strip are put together from those of its two halves (Brady 1998, SIAM J. Comput. 27, 107), so that short
ones come at no further cost (Nir, Zackay and Ofek 2018, AJ 156, 229).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

TURNS = ((False, False), (False, True), (True, False), (True, True))  # of an image: transposed, mirrored


class Line(NamedTuple):
    """The brightest line of a transform: from column `x` of row `top` to column `x + shift` of `height` - 1 rows on."""

    sum: float
    top: int
    height: int
    x: int
    shift: int


class Segment(NamedTuple):
    """A piece of a straight line: from (x0, y0) to (x1, y1), in pixels."""

    x0: float
    y0: float
    x1: float
    y1: float


def brightest_segment(image: np.ndarray, least: int) -> tuple[float, Segment]:
    """Return the straight piece whose sum is largest, over the root of its number of samples.

    Pieces are two pixels wide, and end where an image is cut into strips.

    Parameters
    ----------
    image : ndarray of float32, shape (h, w)
        What does not count is 0.
    least : int
        Rows, or columns, that pieces have at least.

    Returns
    -------
    signal : float
        In the image's units; of independent noise of 1 it is a normal number of deviation 1.
    segment : Segment
    """
    best = -np.inf, Segment(0.0, 0.0, 0.0, 0.0)
    for transposed, mirrored in TURNS:
        turned = image.T if transposed else image
        turned = turned[:, ::-1] if mirrored else turned
        for line in _brightest_lines(turned, least):
            signal = line.sum / np.sqrt(2 * line.height)
            if signal > best[0]:
                best = signal, _segment(line, turned.shape[1], transposed, mirrored)
    return best


def _segment(line: Line, width: int, transposed: bool, mirrored: bool) -> Segment:
    x = np.array([line.x, line.x + line.shift]) + 0.5  # the middle of two pixels
    y = np.array([line.top, line.top + line.height - 1])
    x = width - 1 - x if mirrored else x
    x, y = (y, x) if transposed else (x, y)
    return Segment(float(x[0]), float(y[0]), float(x[1]), float(y[1]))


def _brightest_lines(image: np.ndarray, least: int) -> Iterator[Line]:
    """Give the line of the largest sum, of those that lean right by 45 degrees at most, for strips of each height."""
    for height, sums in transforms(image):
        if height >= least:
            strip, shift, x = np.unravel_index(int(sums.argmax()), sums.shape)
            left = sums.shape[2] - image.shape[1]
            yield Line(float(sums[strip, shift, x]), int(strip) * height, height, int(x) - left, int(shift))


def transforms(image: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    """Give the sums along the lines of strips 2, 4, 8 ... rows high, up to about the image's own height.

    Parameters
    ----------
    image : ndarray of float32, shape (h, w)

    Yields
    ------
    height : int
        Of the strips.
    sums : ndarray of float32, shape (strips, height, columns)
        Of two pixels in each row: along the line that begins at a column of a strip's first row and comes to lie
        `shift` columns farther right in its last one. The last columns are the image's; lines begin left of it, too.
    """
    rows, width = image.shape
    tallest = 2 ** max(1, round(np.log2(max(rows, 2))))
    strips, columns = -(-rows // tallest) * tallest, tallest + width
    flat = np.zeros(strips * columns + tallest, np.float32)  # behind the last row, lines find nothing
    sums = flat[: strips * columns].reshape(strips, 1, columns)
    sums[:rows, 0, tallest:] = image
    sums[:rows, 0, tallest:-1] += image[:, 1:]
    sums[:rows, 0, tallest - 1] = image[:, 0]
    height = 1
    while height < tallest:
        twice = np.zeros_like(flat)
        new = twice[: strips * columns].reshape(-1, 2 * height, columns)
        for odd in (0, 1):
            np.add(sums[0::2], _leaning(flat, sums.shape, odd), out=new[:, odd::2])
        flat, sums, height = twice, new, 2 * height
        yield height, sums


def _leaning(flat: np.ndarray, shape: tuple[int, int, int], odd: int) -> np.ndarray:
    """Return the lower strips' sums, each where the line that leans as far as it leaves the strip above.

    What lies right of the image is read from the next row's left, where no line has come to the image yet.
    """
    strips, height, columns = shape
    step = flat.itemsize
    return np.lib.stride_tricks.as_strided(
        flat[height * columns + odd :],
        (strips // 2, height, columns),
        (2 * height * columns * step, (columns + 1) * step, step),
        writeable=False,
    )
