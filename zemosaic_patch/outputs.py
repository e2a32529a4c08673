# SPDX-License-Identifier: GPL-3.0-or-later
"""Which files in a folder our runs wrote: nothing else is ever replaced or removed.

Each folder that a run writes to has a list of them, `written.json`: name and digest. A file that is not listed, or
whose bytes have changed since, is the user's. Names are listed before their files are written, without a digest: a run
that is killed meanwhile leaves nothing that the next one would not know.
"""

from __future__ import annotations

import json
import os
from collections.abc import Collection, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

from nanstack.io.files import complete_file, digest, is_in_use, patiently, remove
from nanstack.memory import threads
from zemosaic_patch.errors import UsageError

WRITTEN = "written.json"
ABOUT = "The files that zemosaic-patch wrote here, and their digests: only these does it ever replace or remove."
CREATOR = "zemosaic-patch"  # begins the CREATOR card of what this project writes
SIMULATED = "(simulated)"  # ends the INSTRUME card of the demo's frames
FORMER = (  # what the version that kept no list wrote
    "mosaic.fits", "mosaic.png", "mosaic.tif", "mosaic_linked.png", "mosaic_linked.tif", "mosaic.json",
    "tile.fits", "tile.png", "tile.json", "coverage.png", "report.html", "run.toml",
    "before.png", "after.png", "before_after.png",
)  # fmt: skip


def expect(folder: Path, names: Iterable[str]) -> None:
    """Say that a run is about to write files, whose names `claim` found free: until `record` all under them is ours."""
    _write_list(folder, _listed(folder) | dict.fromkeys(names))


class Recording:
    """Adds files, each just written, to the list of their folder: digests are taken while other files are in work.

    No other process, or thread, must write that list meanwhile. It is written at the end of the block, unless that
    fails.

    Parameters
    ----------
    folder : Path
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._pool = ThreadPoolExecutor(threads())  # hashing lets go of the interpreter
        self._digests: dict[str, Future[str]] = {}

    def expect(self, names: Iterable[str]) -> None:
        """Say that files are about to be written: see `expect`."""
        expect(self.folder, names)

    def complete(self, name: str) -> None:
        """Take note of a file that is written, and will not change any more."""
        self._digests[name] = self._pool.submit(digest, self.folder / name)

    def __enter__(self) -> Recording:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        with self._pool:
            if kind is None:
                found = {name: future.result() for name, future in self._digests.items()}
                _write_list(self.folder, _listed(self.folder) | found)


def record(folder: Path, names: Iterable[str]) -> None:
    """Add files, just written, to the list of their folder: see `Recording`."""
    with Recording(folder) as recording:
        for name in names:
            recording.complete(name)


def is_ours(path: Path) -> bool:
    """Tell whether a run of ours wrote a file, and nobody has changed it since; what cannot be read is not known to."""
    try:
        if path.is_symlink() or not path.is_file():
            return False
        if path.name == WRITTEN:
            return _read_list(path) is not None
        if not os.path.lexists(path.with_name(WRITTEN)):
            return _is_former_versions(path)
        listed = _listed(path.parent)
        return path.name in listed and listed[path.name] in (None, digest(path))
    except OSError:
        return False


def is_ours_throughout(folder: Path) -> bool:
    """Tell whether all that lies in a folder, and below it, is on its list as a run of ours wrote it."""
    if folder.is_symlink() or not folder.is_dir():
        return False
    listed = _listed(folder)
    others = (path for path in folder.rglob("*") if path != folder / WRITTEN)
    files = [path for path in others if path.is_symlink() or not path.is_dir()]
    try:
        return all(_is_as_listed(path, listed.get(path.relative_to(folder).as_posix())) for path in files)
    except OSError:
        return False


def _is_as_listed(path: Path, known: str | None) -> bool:
    return not path.is_symlink() and known is not None and known == digest(path)


def is_output_folder(folder: Path, results: Sequence[str] = ("mosaic.fits", "tile.fits")) -> bool:
    """Tell whether a run wrote one of some results into a folder, or is about to."""
    listed = _listed(folder)
    return any(name in listed or is_ours(folder / name) for name in results)


def claim(folder: Path, names: Sequence[str], inputs: Sequence[Path] = ()) -> None:
    """Make sure that a run may write files: what is there under their names is ours, and none of its inputs.

    Parameters
    ----------
    folder : Path
    names : sequence of str
        Of the files that the run will write, or replace.
    inputs : sequence of Path
        Files that the run reads.

    Raises
    ------
    UsageError
        Naming the file in the way.
    """
    known = {_identity(path) for path in inputs}
    there = [folder / name for name in (*names, WRITTEN) if os.path.lexists(folder / name)]
    for path in there:
        _check_replaceable(path, known)
    if there and not (folder / WRITTEN).exists():  # the former version's: from now on all that is its is on a list
        record(folder, [name for name in {*FORMER, *names} if is_ours(folder / name)])


def check_replaceable(path: Path, inputs: Sequence[Path] = ()) -> None:
    """Refuse to replace a file that is an input, or none of ours; UsageError, which says what to do."""
    _check_replaceable(path, {_identity(known) for known in inputs})


def _check_replaceable(path: Path, inputs: Collection[Any]) -> None:
    if _identity(path) in inputs:
        raise UsageError(f"{path} is one of the inputs, and would be replaced: name another folder with -o")
    if not is_ours(path):
        raise UsageError(
            f"{path} is in the way: no earlier run wrote it, or it was changed since; "
            "move it elsewhere, or name another folder with -o"
        )
    try:
        patiently(os.replace, path, path)  # changes nothing, but is refused where another program has it open
    except OSError as failure:
        if is_in_use(failure):
            raise UsageError(
                f"{path} is open in another program, and cannot be replaced: close it there, and run this again"
            ) from failure


def remove_ours(folder: Path, names: Iterable[str], keep: Sequence[Path] = ()) -> None:
    """Remove those of some files that our runs wrote, and the folder itself if nothing else is in it.

    Parameters
    ----------
    folder : Path
    names : iterable of str
    keep : sequence of Path
        Files that stay: the inputs of a run.
    """
    known = {_identity(path) for path in keep}
    gone = [name for name in names if is_ours(folder / name) and _identity(folder / name) not in known]
    for name in gone:
        remove(folder / name)  # a name may be given twice
    listed = _listed(folder)
    left = {name: value for name, value in listed.items() if (folder / name).exists()}
    if left:
        _write_list(folder, left)
    elif listed:
        remove(folder / WRITTEN)
    with suppress(OSError):  # other files are in it, or it is not there
        folder.rmdir()


def _identity(path: Path) -> Any:
    """Return what is the same for all names of a file, links among them."""
    try:
        found = os.stat(path)
    except OSError:
        return os.path.realpath(path)
    return (found.st_dev, found.st_ino)


# --- the list ---------------------------------------------------------------------------------------------------------


def _listed(folder: Path) -> dict[str, str | None]:
    return _read_list(folder / WRITTEN) or {}


def _read_list(path: Path) -> dict[str, str | None] | None:
    """Return the digests by name, None for a file that was being written; no dict for no list, or a damaged one."""
    try:
        files = json.loads(path.read_text(encoding="utf-8"))["files"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None
    return files if isinstance(files, dict) else None


def _write_list(folder: Path, files: dict[str, str | None]) -> None:
    text = json.dumps({"about": ABOUT, "files": dict(sorted(files.items()))}, indent=2) + "\n"
    with complete_file(folder / WRITTEN) as temporary:
        temporary.write_text(text, encoding="utf-8")


# --- the former version, which wrote no list --------------------------------------------------------------------------


def _is_former_versions(path: Path) -> bool:
    """Tell whether the version that kept no list wrote a file: by what it says, and by when it was written.

    It wrote images and pictures before the report, mosaic.json or tile.json: what is younger was changed since.
    """
    if path.suffix == ".json":
        return _is_report(path)
    if path.suffix in (".toml", ".html"):
        text = path.read_text(encoding="utf-8", errors="replace")
        return text.startswith(f"# {CREATOR}") or f"<p>{CREATOR}" in text
    if path.suffix == ".fit":
        return _card(path, "INSTRUME").endswith(SIMULATED)
    reports = [path.with_name(name) for name in ("mosaic.json", "tile.json")]
    older = any(_is_report(report) and path.stat().st_mtime_ns <= report.stat().st_mtime_ns for report in reports)
    return older and (path.suffix != ".fits" or _card(path, "CREATOR").startswith(CREATOR))


def _is_report(path: Path) -> bool:
    try:
        told = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(told, dict) and not {"mosaic", "frames_aligned"}.isdisjoint(told)


def _card(path: Path, name: str) -> str:
    from nanstack.io.layout import FrameError, card, read_layout

    try:
        return str(card(read_layout(path).header, name))
    except (FrameError, ValueError):
        return ""
