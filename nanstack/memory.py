# SPDX-License-Identifier: GPL-3.0-or-later
"""What of the machine a job may take: memory, threads, and a folder for what is more than memory."""

from __future__ import annotations

import math
import os
import shutil
import tempfile
import threading
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, suppress
from pathlib import Path
from types import TracebackType
from typing import TypeVar

import numpy as np

from nanstack.io.files import FolderInUseError, exclusive

SHARE_OF_FREE = 0.25
MAX_BUDGET = 2**30
BUDGET_IF_UNKNOWN = 2**28
MAX_PLACES = 64  # arrays in a scratch file
ALIGNMENT = 64  # bytes
PREFIX = "nanstack-scratch-"  # of the names of scratch folders

Made = TypeVar("Made")


_at_most = math.inf


def threads() -> int:
    """Return the number of threads a job may keep busy."""
    return int(min(_at_most, max(1, os.cpu_count() or 1)))


def keep_to_threads(most: int) -> None:
    """Keep the jobs of this process to so many threads: others have the other cores."""
    global _at_most
    _at_most = most


def in_order(
    make: Callable[[int], Made], count: int, at_once: int | None = None, ahead: int | None = None
) -> Iterator[Made]:
    """Give ``make(0)`` to ``make(count - 1)``, made in threads: a few are ahead of the caller, no more.

    Parameters
    ----------
    make : callable
    count : int
    at_once : int, optional
        By default as many as the job may keep busy.
    ahead : int, optional
        How many are made, or in work, before the caller takes the first of them; by default `at_once`. With more of
        them no thread waits for one that takes long, nor for a caller that does.
    """
    at_once = at_once or threads()
    with ThreadPoolExecutor(max_workers=at_once) as pool:
        waiting: deque[Future] = deque()
        try:
            for index in range(count):
                waiting.append(pool.submit(make, index))
                if len(waiting) > (ahead or at_once):
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()


def memory_budget() -> int:
    """Return the bytes a job may take where nobody says: a quarter of what is free, at most 1 GiB."""
    free = free_memory()
    if math.isinf(free):
        return BUDGET_IF_UNKNOWN
    return min(MAX_BUDGET, int(SHARE_OF_FREE * free))


def free_memory() -> float:
    """Return the bytes of memory that are free; infinite where that cannot be known."""
    try:
        import psutil
    except ImportError:
        return math.inf
    taken = psutil.Process().memory_info().vms
    return min(psutil.virtual_memory().available, max(0.0, address_space() - taken))


def address_space() -> float:
    """Return the bytes of address space that this process may have (`ulimit -v`); infinite where nothing limits it."""
    try:
        import resource
    except ImportError:  # Windows
        return math.inf
    limit = resource.getrlimit(resource.RLIMIT_AS)[0]
    return math.inf if limit == resource.RLIM_INFINITY else limit


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
        self._volumes: list[_Volume] = []
        self._count = 0
        self._held = ExitStack()
        self._lock = threading.Lock()  # aligned frames are stored by several threads

    def __enter__(self) -> Scratch:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._volumes.clear()
        self._held.close()
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)  # Windows keeps a file that is still mapped: the next run's
            self._folder = None

    def store(self, array: np.ndarray) -> np.memmap:
        """Write an array to a file, and return it as a read-only map, so that its memory is free.

        Raises
        ------
        OSError
            Where there is no space left.
        """
        with self._lock:
            if not self._volumes or self._volumes[-1].free < array.nbytes:
                self._volumes.append(self._new_volume(array.nbytes))
            stored = self._volumes[-1].store(array)
            self._count += 1
        return stored

    def keeper(self, count: int) -> Callable[[np.ndarray], np.ndarray]:
        """Return what stores each of so many arrays where together they exceed the memory budget, else keeps it."""
        budget = memory_budget()
        return lambda array: self.store(array) if array.nbytes * count > budget else array

    def _new_volume(self, nbytes: int) -> _Volume:
        """Return a volume for as many arrays as there are, so that there are few volumes and little room unused."""
        if self._folder is None:
            _remove_abandoned()
            self._folder = _held_folder(self._held)
        places = min(max(1, self._count), MAX_PLACES)
        return _Volume(self._folder / f"{self._count:06d}.raw", places * _whole(nbytes))


def _held_folder(held: ExitStack) -> Path:
    """Return a new folder that tells other jobs that it is in use, until `held` is closed."""
    while True:
        folder = Path(tempfile.mkdtemp(prefix=PREFIX))
        with suppress(FolderInUseError):  # another job took it for abandoned, in the moment before it was held
            held.enter_context(exclusive(folder))
            return folder


def _remove_abandoned() -> None:
    """Remove the folders of jobs that were killed: those that nobody holds."""
    for folder in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
        with suppress(OSError):  # another job's, at work, or gone
            if _is_own(folder):
                _remove_unheld(folder)


def _is_own(folder: Path) -> bool:
    """Tell whether a folder is one of this user's, where the system tells it."""
    return not folder.is_symlink() and (os.name != "posix" or folder.stat().st_uid == os.getuid())


def _remove_unheld(folder: Path) -> None:
    """Remove a folder; OSError where somebody holds it."""
    with exclusive(folder) as mine:
        if mine:
            shutil.rmtree(folder, ignore_errors=True)
    if mine:  # again, with the lock's file, which Windows did not give before
        shutil.rmtree(folder, ignore_errors=True)


class _Volume:
    """A file that takes several arrays and is mapped once: every map keeps a file open, and these are few."""

    def __init__(self, path: Path, capacity: int) -> None:
        with open(path, "wb") as file:
            file.truncate(capacity)
        self._path, self._used = path, 0
        self._map = np.memmap(path, dtype=np.uint8, mode="r", shape=(capacity,))

    @property
    def free(self) -> int:
        """Bytes that it still takes."""
        return self._map.size - self._used

    def store(self, array: np.ndarray) -> np.memmap:
        """Write an array behind the last one, through the file: where the disk is full, that raises OSError."""
        begin = self._used
        with open(self._path, "r+b", buffering=0) as file:
            file.seek(begin)
            left = memoryview(np.ascontiguousarray(array).reshape(-1).view(np.uint8))
            while left:
                left = left[file.write(left) :]
        self._used += _whole(array.nbytes)
        return self._map[begin : begin + array.nbytes].view(array.dtype).reshape(array.shape)


def _whole(nbytes: int) -> int:
    """Return the room that keeps the next array aligned, whatever its type; a file cannot be mapped without any."""
    return max(1, -(-nbytes // ALIGNMENT)) * ALIGNMENT
