# SPDX-License-Identifier: GPL-3.0-or-later
"""Frames at URLs (s3://, https://, ...), fetched into the output's folder by fsspec: from there on they are files.

Nothing else of a run knows of URLs: workers, too, read the files that were fetched.
"""

from __future__ import annotations

import importlib.util
import os
import re
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from nanstack.io.files import patiently, temporary_folder
from nanstack.io.frames import SUFFIXES, is_frame_file
from nanstack.progress import Progress
from zemosaic_patch.errors import UsageError
from zemosaic_patch.file_systems import LISTED_S, SEE, in_time, kind_of, open_place, told_of

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem

FETCHED = "fetched"  # folder in that of the output
STEP = "fetching frames"
WILD = "*["  # begin what makes a path a pattern
URL = re.compile(r"[a-z0-9+.:-]+://", re.IGNORECASE)  # also chained ones, as fsspec has them
NO_NAME = re.compile(r'[<>:"|?*\\\x00-\x1f]')  # what some systems have in no file's name
DEVICE = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\.|$)", re.IGNORECASE)  # names of Windows', whatever follows
OF_FILES = "file", "local"  # kinds of URLs that are paths of this machine
AT_ONCE = 32  # files


def is_elsewhere(name: str) -> bool:
    """Tell whether a name of frames is a URL of something that is to be fetched."""
    return URL.match(name) is not None and kind_of(name) not in OF_FILES


def local_name(name: str) -> str:
    """Return a name of frames as a path: that of a file:// URL is in it, as a file manager gives it.

    Raises
    ------
    UsageError
        For a URL of something elsewhere, or of another machine's file.
    """
    if is_elsewhere(name):
        raise UsageError(f"{name}: only the command mosaic fetches frames: copy them, and name their folder")
    if not URL.match(name):
        return name
    from urllib.request import url2pathname

    host, slash, path = name.partition("://")[2].partition("/")
    if host not in ("", "localhost") or not path:
        raise UsageError(f"{name}: it names no file of this machine: write file:///, and the whole path")
    return url2pathname(slash + path)


def fetch(names: Sequence[str], folder: Path, progress: Progress, anew: bool = False) -> list[str]:
    """Fetch the frames that URLs among names stand for; return the names, the files that were fetched for the URLs.

    Parameters
    ----------
    names : sequence of str
        A URL names a file, a folder with all below it, or a pattern.
    folder : Path
        Where to put them. What is there in its full size is not fetched again.
    progress : nanstack.progress.Progress
        Is told the step 'fetching frames'.
    anew : bool
        Fetch them, whatever is there.

    Raises
    ------
    UsageError
        Without fsspec, or what it needs for this kind of URL; for one that stands for no frame.
    FailureError
        Where they cannot be fetched.
    """
    if importlib.util.find_spec("fsspec") is None:
        raise UsageError("frames at URLs need fsspec: python -m pip install 'zemosaic-patch[cluster]'")
    files: list[str] = []
    for name in names:
        files += _fetched(name, folder, progress, anew) if is_elsewhere(name) else [name]
    return files


@dataclass(frozen=True)
class _Remote:
    """A file elsewhere: its path there, its size where that is known, and where it is put here."""

    path: str
    size: int | None
    here: Path

    @property
    def is_here(self) -> bool:
        return self.here.is_file() and self.size in (None, self.here.stat().st_size)


def _fetched(url: str, folder: Path, progress: Progress, anew: bool) -> list[str]:
    with told_of(url):
        files, path = open_place(url)
        frames = _listed(files, path, folder / NO_NAME.sub("_", url.partition("://")[0]))
        if not frames:
            raise UsageError(f"{url}: no frames there ({', '.join(SUFFIXES)}); {SEE}")
        wanted = [frame for frame in frames if anew or not frame.is_here]
        for first in range(0, len(wanted), AT_ONCE):
            progress.step(STEP, first, len(wanted))
            _get(files, wanted[first : first + AT_ONCE], folder)
        progress.step(STEP, len(wanted), len(wanted))
    return [str(frame.here) for frame in frames]


def _listed(files: AbstractFileSystem, path: str, place: Path) -> list[_Remote]:
    """Return the frames that a path elsewhere stands for, sorted, and where they are put."""
    if any(mark in path for mark in WILD):
        folder = re.split(f"[{re.escape(WILD)}]", path)[0].rpartition("/")[0]
        in_time(lambda: files.ls(folder, detail=False))  # says what is wrong, where a search finds nothing
        found = in_time(lambda: files.glob(path, detail=True), LISTED_S)
    elif is_frame_file(Path(path)):
        found = {path: in_time(lambda: files.info(path))}
    else:
        in_time(lambda: files.ls(path, detail=False))
        found = in_time(lambda: files.find(path, detail=True), LISTED_S)
    return [
        _Remote(there, known.get("size"), place / _name_here(there))
        for there, known in sorted(found.items())
        if is_frame_file(Path(there)) and known.get("type") != "directory"
    ]


def _name_here(path: str) -> Path:
    """Return a relative path that no system refuses, that leads nowhere else, and that tells no password."""
    host, slash, rest = path.rpartition("://")[2].partition("/")
    return Path(*filter(None, map(_as_name, f"{host.rpartition('@')[2]}{slash}{rest}".split("/"))))


def _as_name(part: str) -> str:
    """Return a part of a path as any system's name; empty for none, '.' and '..'."""
    name = NO_NAME.sub("_", part).rstrip(". ")
    return f"_{name}" if DEVICE.match(name) else name


def _get(files: AbstractFileSystem, frames: Sequence[_Remote], folder: Path) -> None:
    """Fetch some files, all at once where the file system can; each appears complete or not at all."""
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with temporary_folder(".", folder) as work:
            partial = [os.path.join(work, str(number)) for number in range(len(frames))]
            in_time(lambda: files.get([frame.path for frame in frames], partial), come=lambda: _bytes_in(work))
            for name, frame in zip(partial, frames, strict=True):
                frame.here.parent.mkdir(parents=True, exist_ok=True)
                patiently(os.replace, name, frame.here)
    finally:
        with suppress(OSError):  # something has come
            folder.rmdir()


def _bytes_in(folder: Path) -> int:
    with os.scandir(folder) as files:
        return sum(file.stat().st_size for file in files)
