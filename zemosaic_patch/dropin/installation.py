# SPDX-License-Identifier: GPL-3.0-or-later
"""What a path is that is no folder of ZeMosaic's source, and what its owner can do."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from zemosaic_patch.dropin.sources import MODULES, WORKER

SOURCE = "https://github.com/tinystork/zemosaic"
LIBRARY = "base_library.zip"  # PyInstaller puts it beside the files that a frozen program unpacks or brings along
RUNTIMES = ("", "_internal", "Contents/Frameworks", "Contents/Resources", "Contents/MacOS")  # where it may lie
ARCHIVE_END = b"MEI\x0c\x0b\x0a\x0b\x0e"  # begins the last part of a PyInstaller archive, at a program's end
SIGNATURE_BYTES = 2**17  # that signing a program may put behind its archive
WITHOUT = "Or without ZeMosaic: `zemosaic-patch mosaic FRAMES -o DIR` makes the whole mosaic of the same frames"


def why_not(path: Path) -> str:
    """Say what a path is, if not a folder with ZeMosaic's source, and what to do."""
    if not path.exists():
        return f"{path} is not there: name ZeMosaic's folder, the one with {WORKER}"
    program = frozen_program(path)
    if program is not None:
        return (
            f"{program} is ZeMosaic as a ready-made program: its code is compiled into it, so that nothing can be "
            f"patched. With ZeMosaic's source of the same version it can: at {SOURCE} choose Code, then Download ZIP, "
            f"unpack it, set it up with Python as its README says, and name that folder. {WITHOUT}"
        )
    if path.is_file():
        return _about_file(path)
    missing = [name for name in MODULES if not (path / name).is_file()]
    inside = [found.parent for found in sorted([*path.glob(f"*/{WORKER}"), *path.glob(f"*/*/{WORKER}")])]
    if len(missing) == len(MODULES) and inside:
        return f"{path} is no ZeMosaic, but {inside[0]} may be one: name that folder"
    text = f"{path} is no ZeMosaic: it has no {' and no '.join(missing)}"
    if len(missing) == len(MODULES):
        return f"{text}: name the folder that holds them"
    return f"{text}: unpack ZeMosaic's source anew ({SOURCE}), and name that folder"


def _about_file(path: Path) -> str:
    if path.suffix.lower() == ".zip":
        return f"{path} is packed: unpack it, and name the folder with {WORKER}"
    if (path.parent / WORKER).is_file():
        return f"{path} is no folder: name {path.parent}"
    return f"{path} is no folder: name ZeMosaic's folder, the one with {WORKER}"


def frozen_program(path: Path) -> Path | None:
    """Return the ready-made ZeMosaic that a path is, or lies in, as PyInstaller builds one; None for anything else.

    Parameters
    ----------
    path : Path
        The program's folder, its `_internal` folder, the program itself, or an application of macOS.
    """
    folders = _folders(path)
    has_runtime = any((folder / runtime / LIBRARY).is_file() for folder in folders for runtime in RUNTIMES)
    for program in _programs(path, folders):
        if has_runtime or _holds_archive(program):
            return program
    return None


def _folders(path: Path) -> list[Path]:
    """Return the folders that may be a frozen program's, of one of its parts: the outermost first."""
    path = path.absolute()
    inner = path.parent if path.is_file() else path
    if "Contents" in inner.parts[-2:]:  # within an application of macOS
        inner = Path(*inner.parts[: len(inner.parts) - inner.parts[::-1].index("Contents") - 1])
    return [inner.parent, inner] if inner.name == "_internal" else [inner]


def _programs(path: Path, folders: list[Path]) -> Iterator[Path]:
    """Yield what is named after ZeMosaic and may be the program."""
    if path.is_file():
        if _is_named(path):
            yield path
        return
    for folder in folders:
        if folder.suffix == ".app" and _is_named(folder):
            yield folder
        for file in sorted(folder.iterdir()):
            runs = file.suffix.lower() == ".exe" or (os.name == "posix" and os.access(file, os.X_OK))
            if _is_named(file) and file.suffix.lower() in (".exe", "") and file.is_file() and runs:
                yield file


def _is_named(path: Path) -> bool:
    return path.name.lower().startswith("zemosaic")


def _holds_archive(program: Path) -> bool:
    """Tell whether a program carries a PyInstaller archive, as one that is a single file does."""
    if not program.is_file():
        return False
    with program.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - SIGNATURE_BYTES))
        return ARCHIVE_END in file.read()
