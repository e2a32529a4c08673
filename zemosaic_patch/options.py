# SPDX-License-Identifier: GPL-3.0-or-later
"""Options in a file: what a run was asked for, so that it can be asked for again.

A `run.toml` holds options under their long names on the command line, and `frames`. They take the place of the
defaults, so what the command line says comes first.
"""

from __future__ import annotations

import argparse
from collections.abc import Container
from pathlib import Path
from typing import Any

from zemosaic_patch.errors import UsageError
from zemosaic_patch.outputs import record
from zemosaic_patch.tile_run import installed_version

NEGATABLE = ("rewinsor",)  # others are off where they are not given
NOT_KEPT = ("run", "parser", "output", "resume", "overwrite", "config")  # where to, and what with what is there


def config_defaults(path: Path, parser: argparse.ArgumentParser, known: Container[str]) -> dict[str, Any]:
    """Return the options of a file, checked by the command's own parser.

    Parameters
    ----------
    path : Path
        A TOML file.
    parser : argparse.ArgumentParser
        Of the command; it ends the program where a value is not what the option takes.
    known : container of str
        Names of the command's options, with underscores.

    Raises
    ------
    UsageError
        Where the file cannot be read, is no TOML, or holds what is no option.
    """
    values = {name.replace("-", "_"): value for name, value in _read(path).items()}
    for name, value in values.items():
        if name not in known or name in NOT_KEPT or isinstance(value, dict):
            raise UsageError(f"{path}: {name} is no option of this command that a file can hold")
    frames = values.pop("frames", [])
    if not isinstance(frames, list):
        raise UsageError(f"{path}: frames must be a list of names")
    words = [word for name, value in values.items() for word in _words(name, value)]
    parsed = vars(parser.parse_args(["--output", ".", *words]))
    return {name: parsed[name] for name in values} | {"frames": list(map(str, frames))}


def _read(path: Path) -> dict[str, Any]:
    try:
        import tomllib
    except ImportError:  # before Python 3.11
        import tomli as tomllib

    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror or error}") from error
    except ValueError as error:  # neither UTF-8 nor TOML
        raise UsageError(f"{path} is no TOML file: {error}") from error


def _words(name: str, value: Any) -> list[str]:
    """Return an option as the words that it is on the command line."""
    option = name.replace("_", "-")
    if isinstance(value, bool):
        return [f"--{option}"] if value else [f"--no-{option}"] if name in NEGATABLE else []
    return [f"--{option}", *map(str, value if isinstance(value, list) else [value])]


def write_config(options: argparse.Namespace, path: Path) -> None:
    """Write the options of a run, so that ``--config`` repeats it.

    Parameters
    ----------
    options : argparse.Namespace
    path : Path
        Appears complete or not at all.
    """
    import tomli_w

    from nanstack.io.files import complete_file

    kept = {
        name.replace("_", "-"): value
        for name, value in vars(options).items()
        if name not in NOT_KEPT and value is not None
    }
    text = f"# zemosaic-patch {installed_version()}: repeat with  --config {path.name}\n{tomli_w.dumps(kept)}"
    with complete_file(path) as temporary:
        temporary.write_text(text, encoding="utf-8", errors="replace")  # TOML cannot hold a name that is no text
    record(path.parent, [path.name])
