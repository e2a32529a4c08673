# SPDX-License-Identifier: GPL-3.0-or-later
"""Archives of arrays in: the .npz files in which runs keep what they know."""

from __future__ import annotations

import threading
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

# what reading a kept .npz may raise: zipfile says RuntimeError of bits that would mean a cipher, or another packing
DAMAGED_ARCHIVE = (OSError, ValueError, KeyError, TypeError, EOFError, RuntimeError, zipfile.BadZipFile)
PARSING = threading.Lock()  # of what `ast` reads: that of Python 3.11 has failed in threads (python/cpython#106905)


@contextmanager
def opened_archive(source: Path | BinaryIO) -> Iterator[Any]:
    """Open a kept .npz, as `numpy.load` does, for one thread at a time.

    NumPy reads its headers by `ast`.

    Parameters
    ----------
    source : Path or file

    Yields
    ------
    numpy.lib.npyio.NpzFile

    Raises
    ------
    DAMAGED_ARCHIVE
        Any of these, here or where an array is read.
    """
    with PARSING, np.load(source, allow_pickle=False) as kept:
        yield kept
