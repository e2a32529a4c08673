# SPDX-License-Identifier: GPL-3.0-or-later
"""What the window says, in the owner's language: a file for each, `texts/LANGUAGE.toml`."""

from __future__ import annotations

import locale
import os
from functools import cache
from importlib.resources import files
from typing import Any

USUAL = "en"  # what another language has no words for is said in this one
_chosen: list[str] = []  # the language, once somebody chose it


def languages() -> dict[str, str]:
    """Return the languages that there are texts in: their names, as they call themselves, by their codes."""
    codes = sorted(path.name.removesuffix(".toml") for path in _folder().iterdir() if path.name.endswith(".toml"))
    return {code: _texts(code)["name"] for code in codes}


def choose(code: str) -> None:
    """Choose the language of all that is said from now on; one without texts changes nothing."""
    if code in languages():
        _chosen[:] = [code]


def language() -> str:
    """Return the code of the language that is spoken: as chosen, or else as this machine is set."""
    return _chosen[0] if _chosen else _of_this_machine()


def text(key: str, /, **values: Any) -> str:
    """Return a text, with its values in place.

    Parameters
    ----------
    key : str
        Its table and name, 'make.start'.
    values
        What stands in braces in the text.

    Raises
    ------
    KeyError
        Where not even English has it.
    """
    own = _texts(language())
    said = own[key] if key in own else _texts(USUAL)[key]
    return said.format(**values) if values else said


def counted(key: str, count: int) -> str:
    """Return a text of a number of things, which has another one, its key with '_one', for a single thing."""
    return text(f"{key}_one" if count == 1 else key, count=count)


def keys(code: str) -> dict[str, str]:
    """Return all texts of a language, by their keys."""
    return dict(_texts(code))


def _folder() -> Any:
    return files("zemosaic_patch.ui") / "texts"


@cache
def _of_this_machine() -> str:
    told = next((os.environ[name] for name in ("LC_ALL", "LC_MESSAGES", "LANG") if os.environ.get(name)), "")
    code = (told or locale.getlocale()[0] or "").replace("-", "_").partition("_")[0].lower()
    return {"french": "fr", "english": "en"}.get(code, code if code in languages() else USUAL)


@cache
def _texts(code: str) -> dict[str, str]:
    try:
        import tomllib
    except ImportError:  # before Python 3.11
        import tomli as tomllib

    return _flat(tomllib.loads((_folder() / f"{code}.toml").read_text(encoding="utf-8")))


def _flat(table: dict[str, Any], prefix: str = "") -> dict[str, str]:
    """Return tables within tables as one, whose keys are joined by dots."""
    flat: dict[str, str] = {}
    for name, value in table.items():
        flat.update(_flat(value, f"{prefix}{name}.") if isinstance(value, dict) else {f"{prefix}{name}": value})
    return flat
