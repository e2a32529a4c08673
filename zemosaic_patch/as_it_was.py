# SPDX-License-Identifier: GPL-3.0-or-later
"""An output's folder as it was before a run: put back where the run is refused, or stopped before it made anything."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from zemosaic_patch.arguments import CONFIG
from zemosaic_patch.errors import FailureError, UnfinishedError, UsageError
from zemosaic_patch.mosaic_files import ALL_CELLS, CELLS, GIVEN, SOLUTION, SOLUTIONS, SURVEYS
from zemosaic_patch.outputs import WRITTEN

LISTS = (CONFIG, WRITTEN)  # that every run writes
WORK = (SURVEYS, SOLUTIONS, *ALL_CELLS)  # folders that a mosaic goes on from


@contextmanager
def put_back(folder: Path, again: str) -> Iterator[None]:
    """Put a folder back to what it was, where what is done meanwhile fails and has made nothing.

    Parameters
    ----------
    folder : Path
        Of this run alone.
    again : str
        How to go on with what a stopped run has kept; empty where that cannot be.

    Raises
    ------
    KeyboardInterrupt
        Saying what became of the folder.
    """
    before = _Before.of(folder)
    try:
        yield
    except (UsageError, FailureError) as error:
        if not before.has_more(surveys_count=isinstance(error, UnfinishedError)):
            before.restore()
        raise
    except KeyboardInterrupt:
        if before.has_more(surveys_count=True):
            raise KeyboardInterrupt(again and f"what is finished is kept: {again}") from None
        before.restore()
        raise KeyboardInterrupt("nothing was changed") from None
    except BaseException:  # such as a full disk: what is kept may be gone on from
        if not before.has_more(surveys_count=True):
            before.restore()
        raise


@dataclass(frozen=True)
class _Before:
    """What was in a folder.

    Attributes
    ----------
    folder : Path
    files : dict
        What tells a file from a later one of its name, by its path.
    lists : dict
        The bytes of those that every run writes, with what it found of the frames.
    """

    folder: Path
    files: dict[Path, tuple[int, int]]
    lists: dict[Path, bytes]

    @classmethod
    def of(cls, folder: Path) -> _Before:
        """Look at a folder."""
        lists = (*(folder / name for name in LISTS), folder / CELLS / SOLUTION, folder / SURVEYS / GIVEN)
        return cls(folder, _files(folder), {path: path.read_bytes() for path in lists if path.is_file()})

    def has_more(self, *, surveys_count: bool = False) -> bool:
        """Tell whether a run has made something worth keeping: a result, a finished cell, and if so asked a survey."""
        new = [path for path, known in _files(self.folder).items() if self.files.get(path) != known]
        return any(
            (path.parent == self.folder and path.name not in LISTS)
            or (path.parent.name in ALL_CELLS and path.name.startswith("cell_"))
            or (path.parent.name in (SURVEYS, SOLUTIONS) and path.name != GIVEN and surveys_count)
            for path in new
        )

    def restore(self) -> None:
        """Remove what a run has put beside what was there, or for its next one in its place, and put its lists back."""
        for path, known in _files(self.folder).items():
            if path not in self.files or (self.files[path] != known and path.parent.name in ALL_CELLS):
                path.unlink(missing_ok=True)
        for path, content in self.lists.items():
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(content)
        for name in WORK:
            with suppress(OSError):  # what was there before is in it, or it is not there
                (self.folder / name).rmdir()


def _files(folder: Path) -> dict[Path, tuple[int, int]]:
    """Return the files that a run may write: those of a folder, and of the folders in it that it goes on from."""
    paths = (path for one in (folder, *map(folder.joinpath, WORK)) if one.is_dir() for path in one.iterdir())
    return {path: (known.st_mtime_ns, known.st_ino) for path in paths if path.is_file() and (known := path.stat())}
