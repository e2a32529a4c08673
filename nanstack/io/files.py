# SPDX-License-Identifier: GPL-3.0-or-later
"""Files out: complete under their final name, or not there at all."""

from __future__ import annotations

import hashlib
import os
import secrets
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

PARTIAL = ".partial-"  # begins the name of a file that is being written
WORK = ".work"  # temporary files of a run, in the folder of its output
DIGEST_BLOCK = 2**20
IN_USE = 5, 32, 33  # what Windows says of a file that is being scanned, that a program has open, or a part of it
PATIENCE_S = 5.0  # so long scanners of viruses, and the window's looks at a file, may take


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
        patiently(os.replace, temporary, path)
    finally:
        remove(temporary)


def is_in_use(failure: OSError) -> bool:
    """Tell whether a file cannot be replaced or removed because a program has it open: Windows has no other way."""
    return getattr(failure, "winerror", None) in IN_USE


def patiently(do: Callable[..., object], *paths: Path | str) -> None:
    """Do something to files again and again, while it is refused because a program has them open.

    Raises
    ------
    OSError
        Where that lasts for `PATIENCE_S`; what else goes wrong, at once.
    """
    until = time.monotonic() + PATIENCE_S
    while True:
        try:
            do(*paths)
        except OSError as failure:
            if not is_in_use(failure) or time.monotonic() > until:
                raise
            time.sleep(0.05)
        else:
            return


def remove(path: Path) -> None:
    """Remove a file that is needed no more, if it is there; one that a program has open stays."""
    try:
        path.unlink(missing_ok=True)
    except OSError as failure:
        if not is_in_use(failure):
            raise


@contextmanager
def temporary_folder(prefix: str = "", within: Path | None = None) -> Iterator[Path]:
    """Give a temporary folder, and remove it; what is still open or mapped in it stays, at which tempfile's own fails.

    Parameters
    ----------
    prefix : str
        Of its name.
    within : Path, optional
        Where it lies; by default where temporary files do.
    """
    folder = Path(tempfile.mkdtemp(prefix=prefix, dir=within))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


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
        remove(left)


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
