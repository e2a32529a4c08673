# SPDX-License-Identifier: GPL-3.0-or-later
"""Frames at URLs (s3://, https://, ...), fetched into the output's folder by fsspec: from there on they are files.

Nothing else of a run knows of URLs: workers, too, read the files that were fetched.
"""

from __future__ import annotations

import importlib.util
import os
import re
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from nanstack.io.frames import is_frame_file
from nanstack.io.layout import on_one_line
from nanstack.progress import Progress
from zemosaic_patch.errors import FailureError, UsageError

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem

FETCHED = "fetched"  # folder in that of the output
URL = re.compile(r"[a-z0-9+.:-]+://", re.IGNORECASE)  # also chained ones, as fsspec has them
NO_NAME = re.compile(r'[<>:"|?*\\\x00-\x1f]')  # what some systems have in no file's name
AT_ONCE = 32  # files


def is_url(name: str) -> bool:
    """Tell whether a name of frames is a URL."""
    return URL.match(name) is not None


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
        files += _fetched(name, folder, progress, anew) if is_url(name) else [name]
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
    try:
        frames = _listed(url, folder)
        wanted = [frame for frame in frames if anew or not frame.is_here]
        files = _file_system(url)[0] if wanted else None
        for first in range(0, len(wanted), AT_ONCE):
            progress.step("fetching frames", first, len(wanted))
            _get(files, wanted[first : first + AT_ONCE], folder)
        progress.step("fetching frames", len(wanted), len(wanted))
    except UsageError:
        raise
    except FileNotFoundError as failure:
        raise UsageError(on_one_line(f"{url}: there is no such file or folder")) from failure
    except Exception as failure:  # each kind of file system has errors of its own
        raise FailureError(on_one_line(f"{url} cannot be fetched: {type(failure).__name__}: {failure}")) from failure
    return [str(frame.here) for frame in frames]


def _file_system(url: str) -> tuple[AbstractFileSystem, str]:
    """Return what reads a URL, and the path there."""
    import fsspec

    try:
        return fsspec.url_to_fs(url)
    except (ImportError, ValueError) as failure:  # it says which package is missing, or that it knows no such kind
        raise UsageError(on_one_line(f"{url}: {failure}")) from failure


def _listed(url: str, folder: Path) -> list[_Remote]:
    """Return the frames that a URL stands for, sorted; UsageError where there is none."""
    files, path = _file_system(url)
    if any(mark in path for mark in "*["):
        found = files.glob(path, detail=True)
    elif is_frame_file(Path(path)):
        found = {path: files.info(path)}
    else:
        found = files.find(path, detail=True)
    place = folder / NO_NAME.sub("_", url.partition("://")[0])
    frames = [
        _Remote(there, known.get("size"), place / _name_here(there))
        for there, known in sorted(found.items())
        if is_frame_file(Path(there)) and known.get("type") != "directory"
    ]
    if not frames:
        raise UsageError(on_one_line(f"{url}: it cannot be reached, or has no frames (FITS or .npy files)"))
    return frames


def _name_here(path: str) -> Path:
    """Return a relative path that no system refuses, that leads nowhere else, and that tells no password."""
    host, slash, rest = path.rpartition("://")[2].partition("/")
    parts = [NO_NAME.sub("_", part) for part in f"{host.rpartition('@')[2]}{slash}{rest}".split("/")]
    return Path(*(part for part in parts if part not in ("", ".", "..")))


def _get(files: AbstractFileSystem, frames: Sequence[_Remote], folder: Path) -> None:
    """Fetch some files, all at once where the file system can; each appears complete or not at all."""
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder, prefix=".") as work:
        partial = [os.path.join(work, str(number)) for number in range(len(frames))]
        files.get([frame.path for frame in frames], partial)
        for name, frame in zip(partial, frames, strict=True):
            frame.here.parent.mkdir(parents=True, exist_ok=True)
            os.replace(name, frame.here)
