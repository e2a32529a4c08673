# SPDX-License-Identifier: GPL-3.0-or-later
"""What the window says, in the owner's language: a file for each, `texts/LANGUAGE.toml`."""

from __future__ import annotations

import locale
import os
from datetime import datetime
from functools import cache
from importlib.resources import files
from typing import Any

from nanstack.io.one_line import on_one_line

USUAL = "en"  # what another language has no words for is said in this one
_chosen: list[str] = []  # the language, once somebody chose it
_asked: list[str] = []  # that of the browser that asked last


def languages() -> dict[str, str]:
    """Return the languages that there are texts in: their names, as they call themselves, by their codes."""
    codes = sorted(path.name.removesuffix(".toml") for path in _folder().iterdir() if path.name.endswith(".toml"))
    return {code: _texts(code)["name"] for code in codes}


def choose(code: str) -> None:
    """Choose the language of all that is said from now on; one without texts changes nothing."""
    if code in languages():
        _chosen[:] = [code]


def follow(accepted: str) -> None:
    """Speak as a browser asks for, as long as nobody chooses a language.

    Parameters
    ----------
    accepted : str
        Its Accept-Language (RFC 9110, 12.5.4): 'fr-FR,fr;q=0.9,en;q=0.8'.
    """
    wanted = [part.replace(" ", "").lower().partition(";q=") for part in accepted.split(",")]
    codes = [code.partition("-")[0] for code, _, _ in sorted(wanted, key=_liking, reverse=True)]
    _asked[:] = [code for code in codes if code in languages()][:1]


def language() -> str:
    """Return the code of the language that is spoken: as chosen, or as the browser asks for, or as this machine is."""
    return (*_chosen, *_asked, _of_this_machine())[0]


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
    return said.format(**{name: _shown(value) for name, value in values.items()}) if values else said


def _shown(value: Any) -> Any:
    """Return a value as the page shows it: names may hold what breaks a line, or halves of letters."""
    return on_one_line(value) if isinstance(value, str) else value


def counted(key: str, count: int, /, **values: Any) -> str:
    """Return a text of a number of things, which has another one, its key with '_one', for a single thing."""
    return text(f"{key}_one" if count == 1 else key, count=count, **values)


def numbers(said: str) -> str:
    """Return words with numbers in them, as Python writes these, with the language's own marks.

    >>> numbers("12,345.6 px")
    '12,345.6 px'
    """
    return said.translate({ord("."): text("form.decimal"), ord(","): text("form.thousands")})


def moment(when: datetime, form: str) -> str:
    """Return a moment in the language's form: 'form.day', 'form.minute' or 'form.second'."""
    return when.strftime(text(form))


def keys(code: str) -> dict[str, str]:
    """Return all texts of a language, by their keys."""
    return dict(_texts(code))


def _folder() -> Any:
    return files("zemosaic_patch.ui") / "texts"


def _liking(wanted: tuple[str, str, str]) -> float:
    """Return how much a browser would like a language, from 0 to 1."""
    try:
        return float(wanted[2] or 1)
    except ValueError:
        return 0.0


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
