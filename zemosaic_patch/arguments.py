# SPDX-License-Identifier: GPL-3.0-or-later
"""What is made of the options that `zemosaic_patch.options` declares: parsers, `run.toml`, tables for the docs.

A `run.toml` holds options under their long names on the command line, and `frames`. They take the place of the
defaults, so what the command line says comes first.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, fields
from functools import partial
from pathlib import Path
from typing import Any

from zemosaic_patch.errors import UsageError
from zemosaic_patch.options.declared import Option, option_of
from zemosaic_patch.options.defaults import mosaic_defaults, tile_defaults
from zemosaic_patch.options.files import MosaicFiles, TileFiles
from zemosaic_patch.outputs import expect, record

CONFIG = "run.toml"
LIKE = 0.75  # share of letters from which on a word is an option's name, misspelled
EXCLUSIVE = ("resume", "overwrite")  # of these a command line has one
GONE = {  # options of earlier versions that a kept run.toml may name, and what stands in their place
    "tile_frames": "", "min_frames": "", "workers": "", "norm": "", "gpu": "",
    "weight": "--weights", "compress": "--format fz",
}  # fmt: skip


@dataclass(frozen=True)
class Command:
    """A command.

    Attributes
    ----------
    name, about : str
        Its name; what it does, at the head of its help.
    groups : tuple of records
        Of `zemosaic_patch.options`, with the defaults.
    run : callable
        Called with a record of each group, as the user has it; returns the exit code, None for 0.
    """

    name: str
    about: str
    groups: tuple[Any, ...]
    run: Callable[..., int | None]


# --- parsers ----------------------------------------------------------------------------------------------------------


def add_options(parser: argparse.ArgumentParser, command: Command) -> None:
    """Give the parser of a command its options."""
    parser.description = command.about
    declared = [(name, option, default) for group in command.groups for name, option, default in declarations(group)]
    exclusive = parser.add_mutually_exclusive_group() if set(EXCLUSIVE) <= {name for name, *_ in declared} else parser
    for name, option, default in declared:
        (exclusive if name in EXCLUSIVE else parser).add_argument(
            *_flags(name, option), **_shape(name, option, default)
        )
        if option.off is not None:
            parser.add_argument(
                off_name(name), dest=name, action="store_const", const=option.off, default=argparse.SUPPRESS,
                help=f"the same as {long_name(name)} {option.off}",
            )  # fmt: skip
    flags = {name: default for name, option, default in declared if option.kind is bool}
    parser.set_defaults(command=command, parser=parser, **flags)


def declarations(group: Any) -> list[tuple[str, Option, Any]]:
    """Return the fields of a record: name, option, value."""
    return [(one.name, option_of(one), getattr(group, one.name)) for one in fields(group)]


def long_name(name: str) -> str:
    """Return a field's name on the command line; a field whose name Python keeps to itself ends with '_'."""
    return f"--{name.rstrip('_').replace('_', '-')}"


def off_name(name: str) -> str:
    """Return what switches a field off on the command line."""
    return f"--no-{long_name(name)[2:]}"


def _flags(name: str, option: Option) -> list[str]:
    return [name] if option.positional else [*filter(None, [option.short]), long_name(name)]


def check_spelling(words: Sequence[str], command: Command) -> None:
    """Refuse a word that is nearly an option of a command, in capitals say; UsageError, which names that option."""
    from difflib import get_close_matches

    declared = [one for group in command.groups for one in declarations(group)]
    known = {flag for name, option, _ in declared if not option.positional for flag in _flags(name, option)}
    known |= {off_name(name) for name, option, _ in declared if option.negatable or option.off is not None}
    for word in words:
        given = word.partition("=")[0]
        if given.startswith("-") and not any(flag.startswith(given) for flag in known):
            for near in get_close_matches(given.lower(), sorted(known), n=1, cutoff=LIKE):
                raise UsageError(f"unknown option {given}: is {near} meant?")


def _shape(name: str, option: Option, default: Any) -> dict[str, Any]:
    """Return what `add_argument` is to be called with."""
    text = (_meaning(option) + _default_text(option, default)).replace("%", "%%")
    if option.kind is bool:
        action = argparse.BooleanOptionalAction if option.negatable else "store_true"
        return {"help": text, "action": action}  # the default is set apart: some versions of Python would name it again
    shape: dict[str, Any] = {"help": text, "type": option.kind, "default": default}
    if option.choices:
        shape["choices"] = option.choices
    if option.metavar:
        shape["metavar"] = option.metavar
    if option.positional:
        return shape if option.required else {**shape, "nargs": "?" if isinstance(default, str) else "*"}
    shape["dest"] = name
    if option.repeated:
        return {**shape, "action": "extend", "nargs": 1, "default": list(default)}
    if option.required:
        shape["required"] = True
    if option.bare is not None:
        return {**shape, "nargs": "?", "const": option.bare, "type": partial(_no_folder, option)}
    if option.count != (1, 1):
        shape["nargs"] = option.count[0] if option.count[0] == option.count[1] else "+"
    return shape


def _no_folder(option: Option, text: str) -> str:
    """Return a value that may be left out; a folder there is what was to come after the option without its value."""
    if text not in option.choices and Path(text).is_dir():
        raise argparse.ArgumentTypeError(f"{text} is a folder, no {option.metavar}: name the folder before this option")
    return text


def _meaning(option: Option) -> str:
    return f"{option.text} (in {option.unit})" if option.unit else option.text


def _default_text(option: Option, default: Any) -> str:
    if option.negatable:
        return f" (default: {'yes' if default else 'no'})"
    return f" (default: {shown(default)})" if _is_told(default) else ""


def _is_told(default: Any) -> bool:
    """Tell whether a default says more than that nothing is given."""
    return not (default is None or default is False or default == ())


def shown(value: Any) -> str:
    """Return a value as it is written on the command line."""
    return " ".join(map(str, value)) if isinstance(value, (tuple, list)) else str(value)


def as_words(name: str, option: Option, value: Any) -> str:
    """Return an option as it is written on the command line; of one that is not given, that it is not."""
    if value in (None, (), False):
        return off_name(name) if option.negatable else f"no {long_name(name)}"
    return " ".join(filter(None, [long_name(name), "" if value is True else shown(value)]))


def read(group: Any, parsed: argparse.Namespace) -> Any:
    """Return a record of a group's kind with what was given.

    Raises
    ------
    UsageError
        For a number out of range: option, range, what was given.
    """
    values = {}
    for name, option, _ in declarations(group):
        value = getattr(parsed, name)
        values[name] = tuple(value) if isinstance(value, list) else value
        if option.within is not None and value not in (None, ()):
            check_numbers(name, option, values[name])
    return type(group)(**values)


def check_numbers(name: str, option: Option, value: Any) -> None:
    """Refuse numbers out of an option's range, or too many or few of them; UsageError, which says what it takes."""
    numbers = value if isinstance(value, tuple) else (value,)
    least, most = option.count
    if not least <= len(numbers) <= most or not all(number in option.within for number in numbers):
        given = " ".join(f"{number:g}" for number in numbers)
        raise UsageError(f"{long_name(name)} takes {option.takes}, not {given}")


# --- run.toml ---------------------------------------------------------------------------------------------------------


def config_defaults(path: Path, command: Command, parser: argparse.ArgumentParser) -> dict[str, Any]:
    """Return the options of a file, checked by the command's own parser.

    Parameters
    ----------
    path : Path
        A TOML file.
    command : Command
    parser : argparse.ArgumentParser
        Of the command.

    Raises
    ------
    UsageError
        Where the file cannot be read, is not valid TOML, names an unknown option, or gives an option a wrong value.
    """
    known = {name: option for group in command.groups for name, option, _ in declarations(group) if option.kept}
    values = {name.replace("-", "_"): value for name, value in read_toml(path).items()}
    _tell_gone(path, [name for name in values if name in GONE and name not in known])
    values = {name: value for name, value in values.items() if name in known or name not in GONE}
    elsewhere = _of_other_commands(known)
    _tell_passed_over(path, command, {name: values.pop(name) for name in list(values) if name in elsewhere}, elsewhere)
    for name, value in values.items():
        if name not in known or isinstance(value, dict):
            raise UsageError(f"{path}: {name} is not an option that this command reads from a file: remove that line")
        if isinstance(value, bool) != (known[name].kind is bool):
            kind = "takes true or false" if known[name].kind is bool else "takes a value, not true or false"
            raise UsageError(f"{path}: {name} {kind}")
    frames = values.pop("frames", [])
    if not isinstance(frames, list):
        raise UsageError(f"{path}: frames must be a list of names, such as ['night1', 'night2']")
    words = [word for name, value in values.items() for word in _words(name, known[name], value)]
    try:
        parsed = vars(parser.parse_args(["--output", ".", *words]))
    except UsageError as error:
        raise UsageError(f"{path}: {error}") from error
    return {name: parsed[name] for name in values} | {"frames": list(map(str, frames))}


def _of_other_commands(known: Collection[str]) -> dict[str, tuple[Option, Any]]:
    """Return options, and their defaults, that a `run.toml` of the other command may hold, and this one has not."""
    groups = (MosaicFiles(), *mosaic_defaults(), TileFiles(), *tile_defaults())
    declared = (one for group in groups for one in declarations(group))
    return {name: (option, usual) for name, option, usual in declared if option.kept and name not in known}


def _tell_passed_over(
    path: Path, command: Command, values: dict[str, Any], elsewhere: dict[str, tuple[Option, Any]]
) -> None:
    """Say which options of a file another command has, and this one not, where they are not as usual.

    Raises
    ------
    UsageError
        Where the file is of a run that this command cannot repeat.
    """
    if values.get("existing_tiles"):
        raise UsageError(f"{path} is of a run that joined master tiles: only mosaic does that")
    told = [as_words(name, elsewhere[name][0], value) for name, value in values.items() if value != elsewhere[name][1]]
    if told:
        print(f"warning: {path}: {command.name} has no use for {', '.join(told)}", file=sys.stderr)


def _tell_gone(path: Path, names: Sequence[str]) -> None:
    """Say which options of a file are passed over, as there are none of these names any more."""
    if names:
        told = [long_name(name) + (f" (now {GONE[name]})" if GONE[name] else "") for name in names]
        print(f"warning: {path}: options of an earlier version are passed over: {', '.join(told)}", file=sys.stderr)


def read_toml(path: Path) -> dict[str, Any]:
    """Return what a TOML file holds; UsageError where it cannot be read, or is none."""
    try:
        import tomllib
    except ImportError:  # before Python 3.11
        import tomli as tomllib

    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror or error}") from error
    except (ValueError, RecursionError) as error:  # neither UTF-8 nor TOML, or brackets within brackets
        raise UsageError(f"{path} is not a valid TOML file: {error}") from error


def _words(name: str, option: Option, value: Any) -> list[str]:
    """Return an option as the words that it is on the command line."""
    flag = long_name(name)
    if option.repeated and isinstance(value, list):
        return [f"{flag}={one}" for one in value]
    if isinstance(value, bool):
        return [flag] if value else [off_name(name)] if option.negatable else []
    return [flag, *map(str, value)] if isinstance(value, list) else [f"{flag}={value}"]  # it may begin with a minus


def given(groups: Sequence[Any]) -> dict[str, Any]:
    """Return the options of records as a user writes them, and their values: those that have one, and are kept."""
    return {
        long_name(name)[2:]: list(value) if isinstance(value, tuple) else value
        for group in groups
        for name, option, value in declarations(group)
        if option.kept and value not in (None, ())
    }


def in_effect(groups: Sequence[Any]) -> dict[str, Any]:
    """Return the options that `given` returns, but for those without effect beside the others."""
    told, idle = given(groups), set()
    for group in groups:
        for name, option, _ in declarations(group):
            whole, value = option.part_of or (None, None)
            if whole is not None and (whole not in told or value not in (None, told[whole])):
                idle.add(long_name(name)[2:])
    return {name: value for name, value in told.items() if name not in idle}


def write_config(groups: Sequence[Any], path: Path) -> None:
    """Write the options of a run, so that ``--config`` repeats it.

    Parameters
    ----------
    groups : sequence of records
        Of `zemosaic_patch.options`.
    path : Path
        Appears complete or not at all.
    """
    import tomli_w

    from nanstack.io.files import complete_file
    from zemosaic_patch import installed_version

    text = f"# zemosaic-patch {installed_version()}: repeat with  --config {path.name}\n{tomli_w.dumps(given(groups))}"
    expect(path.parent, [path.name])
    with complete_file(path) as temporary:
        temporary.write_text(text, encoding="utf-8", errors="replace")  # TOML cannot hold a name that is no text
    record(path.parent, [path.name])


# --- tables -----------------------------------------------------------------------------------------------------------


def table(groups: Sequence[Any]) -> str:
    """Return the options of records, what has no name apart, as a table in Markdown."""
    rows = ["| option | default | meaning |", "|---|---|---|"]
    for name, option, default in (one for group in groups for one in declarations(group)):
        if not option.positional:
            rows.append(f"| {_usage(name, option)} | {_table_default(name, option, default)} | {_meaning(option)} |")
    return "\n".join(rows) + "\n"


def _usage(name: str, option: Option) -> str:
    flag = long_name(name)
    if option.kind is bool:
        return f"`{flag}`, `{off_name(name)}`" if option.negatable else f"`{flag}`"
    value = option.metavar or " \\| ".join(option.choices)
    if isinstance(value, tuple):
        value = " ".join(value)
    elif option.count[1] > option.count[0]:
        value = f"{value} [{value}]"
    usage = f"`{', '.join(filter(None, [option.short, flag]))} {value}`"
    return usage if option.off is None else f"{usage}, `{off_name(name)}`"


def _table_default(name: str, option: Option, default: Any) -> str:
    if option.negatable:
        return f"`{long_name(name) if default else off_name(name)}`"
    return f"`{shown(default)}`" if _is_told(default) else ""
