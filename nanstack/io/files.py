# SPDX-License-Identifier: GPL-3.0-or-later
"""Files out: complete under their final name, or not there at all."""

from __future__ import annotations

import hashlib
import os
import secrets
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

PARTIAL = ".partial-"  # begins the name of a file that is being written
WORK = ".work"  # temporary files of a run, in the folder of its output
DIGEST_BLOCK = 2**20


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
    temporary = _new_file(path)
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def _new_file(path: Path) -> Path:
    """Create an empty file beside `path`; `tempfile` would make it private, and asking for the umask means setting it.

    The umask belongs to the process: threads that set it and set it back can leave it at 0.
    """
    while True:
        new = path.with_name(f"{PARTIAL}{path.stem[:100]}-{secrets.token_hex(6)}{path.suffix}")
        with suppress(FileExistsError):
            os.close(os.open(new, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
            return new


def digest(path: Path | str) -> str:
    """Return what tells a file's bytes from others: BLAKE2b, 128 bits, in hexadecimal."""
    found = hashlib.blake2b(digest_size=16)
    with open(path, "rb") as file:
        while block := file.read(DIGEST_BLOCK):
            found.update(block)
    return found.hexdigest()


def remove_partial_files(folder: Path) -> None:
    """Remove what killed runs left half written in a folder, which must be this run's alone."""
    for left in folder.glob(f"{PARTIAL}*"):
        left.unlink(missing_ok=True)


@contextmanager
def work_folder(folder: Path) -> Iterator[Path]:
    """Give a run, whose folder it is alone, a place for temporary files, without what killed runs left; remove it."""
    remove_partial_files(folder)
    work = Path(os.path.abspath(folder / WORK))  # programs that are started have other current folders
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    before, tempfile.tempdir = tempfile.tempdir, str(work)
    try:
        yield work
    finally:
        tempfile.tempdir = before
        shutil.rmtree(work, ignore_errors=True)  # Windows keeps files that are still mapped: the next run removes them


class FolderInUseError(OSError):
    """Another run writes into the folder."""


@contextmanager
def exclusive(folder: Path, name: str = ".lock") -> Iterator[bool]:
    """Keep a folder to this process, by a lock that the system takes back however the process ends.

    Parameters
    ----------
    folder : Path
        Made where it is not there.
    name : str
        Of the file that is locked; removed at the end.

    Yields
    ------
    bool
        False where the file system has no locks: nobody is kept out.

    Raises
    ------
    FolderInUseError
        Where another process has it.
    OSError
        Where the folder cannot be written to.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    with open(path, "a+b") as file:
        held = True
        try:
            _lock(file)
        except (BlockingIOError, PermissionError) as taken:  # the latter on Windows
            raise FolderInUseError(f"{folder} is in use by another run: wait for it, or name another folder") from taken
        except OSError:  # as of some network drives
            held = False
        if os.name == "posix" and not os.fstat(file.fileno()).st_nlink:  # it ended, and removed its lock, meanwhile
            raise FolderInUseError(f"{folder} was in use by another run: try again")
        try:
            yield held
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
