# SPDX-License-Identifier: GPL-3.0-or-later
"""The sorting network that the compiled kernels of both processors, CPU and GPU, sort a pixel's samples by."""

from __future__ import annotations

import functools

import numpy as np


@functools.lru_cache(maxsize=32)
def comparators(rows: int) -> np.ndarray:
    """Return the comparators of Batcher's odd-even merge sort, in order.

    Knuth, The Art of Computer Programming 3, algorithm 5.2.2 M, which works for any number of rows.

    Parameters
    ----------
    rows : int
        Number of entries to sort.

    Returns
    -------
    ndarray of int32, shape (m, 2), read-only
        Each line: the entry that gets the smaller value, and the later one that gets the larger.
    """
    pairs = [np.empty((0, 2), np.int32)]
    top = 1 << max(0, (rows - 1).bit_length() - 1)
    p = top
    while p > 0:
        q, r, d = top, 0, p
        while True:
            upper = np.arange(max(0, rows - d), dtype=np.int32)
            upper = upper[(upper & p) == r]
            pairs.append(np.stack([upper, upper + d], axis=1).astype(np.int32))
            if q == p:
                break
            d, q, r = q - p, q // 2, p
        p //= 2
    table = np.concatenate(pairs)
    table.setflags(write=False)
    return table
