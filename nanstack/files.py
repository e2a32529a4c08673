# SPDX-License-Identifier: GPL-3.0-or-later
"""Files out: complete under their final name, or not there at all."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO


@contextmanager
def complete_file(path: Path | str) -> Iterator[Path]:
    """Give a temporary path in the same folder; rename it to `path` on success, remove it on failure.

    Raises
    ------
    OSError
        Where the folder cannot be written to.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{path.stem}-", suffix=path.suffix, dir=path.parent)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        os.chmod(temporary, 0o666 & ~_umask())  # mkstemp's files are private; a result is not
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


class FolderInUseError(OSError):
    """Another run writes into the folder."""


@contextmanager
def exclusive(folder: Path) -> Iterator[None]:
    """Keep a folder to this process, by a lock that the system takes back however the process ends.

    Raises
    ------
    FolderInUseError
        Where another process has it.
    OSError
        Where the folder cannot be written to.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / ".lock"
    with open(path, "a+b") as file:
        try:
            _lock(file)
        except OSError as taken:
            raise FolderInUseError(f"{folder} is in use by another run: wait for it, or name another folder") from taken
        try:
            yield
        finally:
            if os.name == "posix":
                path.unlink(missing_ok=True)
    if os.name != "posix":  # which removes no open file
        with suppress(OSError):
            path.unlink()


def _lock(file: BinaryIO) -> None:
    if os.name == "posix":
        import fcntl

        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    else:
        import msvcrt

        msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
