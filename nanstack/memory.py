# SPDX-License-Identifier: GPL-3.0-or-later
"""How much memory a job may take, and where it puts what is more than that."""

from __future__ import annotations

import math
import shutil
import tempfile
from pathlib import Path
from types import TracebackType

import numpy as np

SHARE_OF_FREE = 0.25
MAX_BUDGET = 2**30
BUDGET_IF_UNKNOWN = 2**28


def memory_budget() -> int:
    """Return the bytes a job may take where nobody says: a quarter of what is free, at most 1 GiB."""
    free = free_memory()
    return int(min(MAX_BUDGET, SHARE_OF_FREE * free)) if math.isfinite(free) else BUDGET_IF_UNKNOWN


def free_memory() -> float:
    """Return the bytes of memory that are free; infinite where that cannot be known."""
    try:
        import psutil
    except ImportError:
        return math.inf
    return psutil.virtual_memory().available


class Scratch:
    """A temporary folder for arrays; it is made with the first one, and removed however the job ends.

    Examples
    --------
    >>> with Scratch() as scratch:
    ...     array = scratch.store(np.zeros((2, 3)))
    >>> array.filename.exists()
    False
    """

    def __init__(self) -> None:
        self._folder: Path | None = None
        self._count = 0

    def __enter__(self) -> Scratch:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._folder is not None:
            shutil.rmtree(
                self._folder, ignore_errors=True
            )  # Windows keeps a file that is still mapped: it lies in TEMP
            self._folder = None

    def store(self, array: np.ndarray) -> np.memmap:
        """Write an array to a file, and return it as a read-only map, so that its memory is free.

        Raises
        ------
        OSError
            Where there is no space left.
        """
        if self._folder is None:
            self._folder = Path(tempfile.mkdtemp(prefix="nanstack-"))
        self._count += 1
        path = self._folder / f"{self._count:06d}.npy"
        np.save(path, array)
        return np.load(path, mmap_mode="r")
