# SPDX-License-Identifier: GPL-3.0-or-later
"""What the commands that write have in common: a folder of their own, checked before the work; options kept in it."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from zemosaic_patch.arguments import CONFIG, declarations, long_name, write_config
from zemosaic_patch.errors import FailureError, UsageError

if TYPE_CHECKING:
    from nanstack.io.finding import FoundFiles
    from nanstack.progress import Progress

ADDRESS_SPACE, ADDRESS_SPACE_PER_THREAD = 5 * 2**28, 2**27  # bytes; loaded, libraries take 0.8 GiB, threads theirs


def check_address_space() -> None:
    """Refuse a limit that the libraries would meet while they load: some of them crash there, or wait for ever."""
    from nanstack import memory

    space, needed = memory.address_space(), ADDRESS_SPACE + memory.threads() * ADDRESS_SPACE_PER_THREAD
    if space < needed:
        raise FailureError(
            f"this process may have {space // 2**20} MiB of address space (ulimit -v), and its libraries need "
            f"{needed // 2**20} MiB: allow that, or set no limit"
        )


def check_frames(names: Sequence[str]) -> None:
    """Refuse a command without frames."""
    if not names:
        raise UsageError("no frames: name files, folders or patterns such as 'night/*.fit'")


def tell_ignored(found: FoundFiles, progress: Progress) -> None:
    """Say what lies beside the frames and is passed over."""
    for line in found.lines():
        progress.warn(line)


def check_folder(folder: Path) -> None:
    """Fail now, not after the work, where a folder cannot be written to; make it where it is not there."""
    check_is_folder(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        why = error.strerror or error
        raise FailureError(f"{folder} cannot be written to: {why}; see its permissions, or name another") from error


def check_is_folder(folder: Path) -> None:
    """Refuse what is there and is no folder."""
    if os.path.lexists(folder) and not folder.is_dir():
        what = "a link to what is not there" if not folder.exists() else "a file"
        raise UsageError(f"{folder} is {what}: name a folder for the output")


def check_apart(folder: Path, frames: Sequence[Path]) -> None:
    """Refuse a folder that frames lie in: whoever searches one around it passes it over, once it holds a result."""
    from zemosaic_patch.outputs import is_output_folder

    with_frames = {os.path.realpath(frame.parent) for frame in frames}
    if os.path.realpath(folder) in with_frames and not is_output_folder(folder):
        raise UsageError(f"{folder} holds the frames themselves: name another folder with -o, one within it say")


def check_kind(folder: Path, other: str, what: str) -> None:
    """Refuse a folder that holds results of another kind, which have files of the same names."""
    if (folder / other).exists():
        raise UsageError(f"{folder} holds {what} ({other}): name another folder with -o")


def changed(options: Any, usual: Any) -> list[str]:
    """Return the options of a record that are not as usual, by their names on the command line."""
    there = dict((name, value) for name, _, value in declarations(usual))
    return [long_name(name) for name, _, value in declarations(options) if value != there[name]]


def check_new(folder: Path, names: Sequence[str], overwrite: bool) -> None:
    """Refuse to write into a folder files that are there, unless they may be replaced."""
    from zemosaic_patch.outputs import check_replaceable

    existing = [name for name in names if (folder / name).exists()]
    if existing and not overwrite:
        for name in existing:
            check_replaceable(folder / name)  # else the next try, with --overwrite, would say so
        raise UsageError(
            f"{folder / existing[0]} exists: add --overwrite to replace it, or name another folder with -o"
        )


@contextmanager
def own_folder(folder: Path) -> Iterator[None]:
    """Keep the output's folder, which is made where it is not there, to this run, with a place for temporary files.

    Folders that were made and have nothing in them at the end are removed again.
    """
    from nanstack.io.files import FolderInUseError, exclusive, work_folder

    new = [path for path in (folder, *folder.parents) if not os.path.lexists(path)]  # the innermost first
    try:
        check_folder(folder)
        with exclusive(folder), work_folder(folder):
            yield
    except FolderInUseError as error:
        raise UsageError(str(error)) from error
    finally:
        for path in new:
            with suppress(OSError):  # there is something in it
                path.rmdir()


def kept_config(files: Any) -> tuple[str, ...]:
    """Return the name under which a run keeps its options; none where it read them from that very file.

    Parameters
    ----------
    files : TileFiles or MosaicFiles
    """
    path = files.output / CONFIG
    given = files.config is not None and path.exists() and path.samefile(files.config)
    return () if given else (CONFIG,)


def keep_options(files: Any, *groups: Any) -> None:
    """Write a run's options into its folder, unless it read them there."""
    for name in kept_config(files):
        write_config((files, *groups), files.output / name)
