# SPDX-License-Identifier: GPL-3.0-or-later
"""Which frame files names stand for: files, folders with all below them, and patterns; and what lies there besides."""

from __future__ import annotations

import glob
import os
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields
from pathlib import Path

from nanstack.io.frames import SUFFIXES, is_frame_file
from nanstack.io.layout import FrameError
from nanstack.io.one_line import on_one_line

PICTURES = (".jpg", ".jpeg", ".png", ".gif", ".bmp", ".webp", ".tif", ".tiff", ".mp4", ".avi", ".mov")
FOREIGN = (".xisf", ".ser", ".cr2", ".cr3", ".nef", ".arw", ".dng", ".orf", ".raf", ".rw2", ".pef")
THUMBNAIL = re.compile(r"(_thn|_thumb|_thumbnail)\.[a-z]+$", re.IGNORECASE)
# rubbish bins, and what systems and network drives keep beside files
SYSTEM_FOLDERS = ("$recycle.bin", "#recycle", "@eadir", "__macosx", "lost+found", "system volume information")


@dataclass(frozen=True)
class FoundFiles:
    """The frame files that names stand for, and what was passed over.

    Attributes
    ----------
    paths : tuple of Path
        Each once: in the order of the names, and within a folder sorted, its own files before those of its folders.
    thumbnails, pictures : tuple of Path
        Files that show frames, and are none.
    foreign : tuple of Path
        Of kinds that hold frames, but are not read here.
    outputs : tuple of Path
        Folders that a run of this program wrote to.
    results : tuple of Path
        What such a run made of frames, and the next one makes anew.
    unreadable : tuple of Path
        Folders that may not be read.
    """

    paths: tuple[Path, ...]
    thumbnails: tuple[Path, ...] = ()
    pictures: tuple[Path, ...] = ()
    foreign: tuple[Path, ...] = ()
    outputs: tuple[Path, ...] = ()
    results: tuple[Path, ...] = ()
    unreadable: tuple[Path, ...] = ()

    def lines(self) -> list[str]:
        """Return what was passed over, a line for each kind; without paths."""
        counts = {"thumbnail": len(self.thumbnails), "picture": len(self.pictures)}
        seen = [f"{count} {noun}{'' if count == 1 else 's'}" for noun, count in counts.items() if count]
        lines = [f"{' and '.join(seen)} ignored"] if seen else []
        if self.foreign:
            lines.append(f"{self._foreign()} ignored: they cannot be read here, save them as FITS")
        if self.results:
            more = f" (and {len(self.results) - 1} more)" if len(self.results) > 1 else ""
            lines.append(f"{self.results[0].name}{more} ignored: an earlier run made it, and it is made anew")
        reasons = {
            "a run of this program wrote it; name it to use frames in it": self.outputs,
            "it may not be read": self.unreadable,
        }
        return lines + [_not_searched(folders, why) for why, folders in reasons.items() if folders]

    def _foreign(self) -> str:
        kinds = Counter(path.suffix.lower() for path in self.foreign)
        parts = [f"{count} {suffix} file{'' if count == 1 else 's'}" for suffix, count in sorted(kinds.items())]
        return " and ".join(filter(None, [", ".join(parts[:-1]), parts[-1]]))


def _not_searched(folders: Sequence[Path], why: str) -> str:
    """Return a line on folders, by their names alone: where they lie is nobody's business."""
    more = f" (and {len(folders) - 1} more)" if len(folders) > 1 else ""
    return on_one_line(f"the folder {folders[0].name}{more} is not searched: {why}")


def find_frame_files(
    names: Sequence[str | Path],
    flat: bool = False,
    is_output: Callable[[Path], bool] = lambda folder: False,
    is_result: Callable[[Path], bool] = lambda file: False,
) -> FoundFiles:
    """Return the frame files that names stand for.

    Passed over are files and folders whose name begins with a dot (macOS leaves '._NAME' beside every file on network
    drives), rubbish bins, folders of outputs, and, counted, pictures. Folders may be links; none is searched twice.

    Parameters
    ----------
    names : sequence of str or Path
        Files, folders, and patterns such as ``night*/*.fit``. What exists is never taken for a pattern, and brackets
        in the names of files and folders that exist stand for themselves.
    flat : bool
        Leave the folders below those named alone.
    is_output : callable
        Tells whether a folder is one that holds outputs: it is passed over, unless it was named itself.
    is_result : callable
        Tells whether a file is a result, which will be replaced: it is passed over, unless it was named itself.

    Raises
    ------
    FrameError
        For a name that stands for no frame file, or a folder that was named and cannot be read.
    """
    parts = []
    for name in names:
        given = list(_expanded(Path(name)))
        if not given:
            raise FrameError(name, _why_not_there(str(name)))
        part = _Search(flat, is_output, is_result)
        for path in given:
            part.take(path)
        named_files = not any(map(os.path.isdir, given))  # pictures, say, that the shell put beside frames
        if not part.paths and not (named_files and len(names) > 1):
            raise FrameError(name, _why_nothing(part.found()))
        parts.append(part.found())
    found = _together(parts)
    if not found.paths:
        raise FrameError(names[0], _why_nothing(found))
    return found


def _why_not_there(name: str) -> str:
    """Say that a name stands for nothing at all."""
    if glob.has_magic(name):
        return "nothing there has a name like that"
    return "there is no such file or folder" + ("" if os.path.isabs(name) else " below the current one")


def _why_nothing(found: FoundFiles) -> str:
    """Say that there are no frames, and what there is."""
    return "; ".join([f"no frames there ({', '.join(SUFFIXES)})", *found.lines()])


def _together(parts: Sequence[FoundFiles]) -> FoundFiles:
    """Return as one what several names stand for."""
    return FoundFiles(
        **{
            one.name: tuple(dict.fromkeys(path for part in parts for path in getattr(part, one.name)))
            for one in fields(FoundFiles)
        }
    )


class _Search:
    """Collects what lies in one place; a folder counts once, however often links lead to it."""

    def __init__(self, flat: bool, is_output: Callable[[Path], bool], is_result: Callable[[Path], bool]) -> None:
        self.flat, self.is_output, self.is_result = flat, is_output, is_result
        self.paths: list[Path] = []
        self.passed: dict[str, list[Path]] = {one.name: [] for one in fields(FoundFiles) if one.name != "paths"}
        self.seen: set[tuple[int, int]] = set()

    def take(self, path: Path) -> None:
        """Take what was named: a file, or a folder with what is below."""
        if not os.path.isdir(path):
            self._sort(path, is_named=True)
            return
        try:
            folders = self._look_into(path)
        except OSError as failure:
            raise FrameError(path, f"the folder cannot be read ({failure.strerror or failure})") from failure
        while folders:
            folder = folders.pop(0)
            try:
                folders[:0] = self._look_into(folder)
            except OSError:
                self.passed["unreadable"].append(folder)

    def _look_into(self, folder: Path) -> list[Path]:
        """Take the files of a folder; return its folders that are to be looked into, too."""
        known = os.stat(folder)
        if (known.st_dev, known.st_ino) in self.seen:
            return []
        self.seen.add((known.st_dev, known.st_ino))
        with os.scandir(folder) as entries:
            kinds = sorted((entry.name, _is_folder(entry)) for entry in entries)
        for name in (name for name, is_folder in kinds if not is_folder):
            self._sort(folder / name)
        below = [] if self.flat else [folder / name for name, is_folder in kinds if is_folder]
        return [path for path in below if self._is_wanted(path)]

    def _is_wanted(self, folder: Path) -> bool:
        if folder.name.startswith(".") or folder.name.lower() in SYSTEM_FOLDERS:
            return False
        is_output = self.is_output(folder)
        if is_output:
            self.passed["outputs"].append(folder)
        return not is_output

    def _sort(self, path: Path, is_named: bool = False) -> None:
        """Put a file where it belongs; one of another kind only where it was named: reading says what is wrong."""
        suffix = path.suffix.lower()
        if path.name.startswith("."):
            return
        if THUMBNAIL.search(path.name):
            self.passed["thumbnails"].append(path)
        elif suffix in PICTURES:
            self.passed["pictures"].append(path)
        elif suffix in FOREIGN:
            self.passed["foreign"].append(path)
        elif is_named:
            self.paths.append(path)
        elif is_frame_file(path):
            (self.passed["results"] if self.is_result(path) else self.paths).append(path)

    def found(self) -> FoundFiles:
        """Return all that was found."""
        return FoundFiles(tuple(self.paths), **{kind: tuple(paths) for kind, paths in self.passed.items()})


def _is_folder(entry: os.DirEntry) -> bool:
    return os.path.isdir(entry.path) if entry.is_symlink() else entry.is_dir()


# --- patterns ---------------------------------------------------------------------------------------------------------


def _expanded(name: Path) -> Iterator[Path]:
    """Give what a name stands for; a link to nothing, a pipe and the like too: reading says what they are."""
    if os.path.lexists(name):
        yield name
        return
    if not glob.has_magic(str(name)):
        return
    found = [Path(name.anchor)]
    for part in name.parts[bool(name.anchor) :]:
        found = [path for folder in found for path in _matches(folder, part)]
    yield from found


def _matches(folder: Path, part: str) -> list[Path]:
    """Return what in a folder a part of a pattern stands for: itself; with its brackets as they are; or a pattern."""
    if os.path.lexists(folder / part):
        return [folder / part]
    for pattern in (part.replace("[", "[[]"), part):
        found = sorted(glob.glob(os.path.join(glob.escape(str(folder)), pattern)))
        if found:
            return [Path(path) for path in found]
    return []
