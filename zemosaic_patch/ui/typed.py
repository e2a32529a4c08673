# SPDX-License-Identifier: GPL-3.0-or-later
"""What was typed for an option: read as whoever typed it meant it, or refused; never taken for something else."""

from __future__ import annotations

import re
from pathlib import PurePath
from typing import Any

from zemosaic_patch.errors import UsageError
from zemosaic_patch.options.declared import FRAME, Option
from zemosaic_patch.ui.folders import meant, plain
from zemosaic_patch.ui.texts import text

APART = re.compile(r"[ \t\r\n]*[;\r\n][ \t\r\n]*|,[ \t]+|[ \t]+")  # no other space: it marks thousands
NUMBER = re.compile(r"[-+]?(\d+([.,]\d+)?|[.,]\d+)(e[-+]?\d+)?", re.ASCII | re.IGNORECASE)
GROUPED = re.compile(r"[-+]?[1-9]\d{0,2}[.,]\d{3}", re.ASCII)  # thousands, or thousandths


def value_of(option: Option, typed: Any) -> Any:
    """Return what was typed as an option's value; None where that is nothing.

    Parameters
    ----------
    option : Option
    typed : str, bool or None
        A choice and a flag are values as they are.

    Raises
    ------
    UsageError
        For what is no number where one is wanted, may be one or another, or is nothing that could be said.
    """
    if option.kind is bool or option.choices:
        return typed
    plainly = plain(str("" if typed is None else typed)).strip()
    if not plainly:
        return None
    if option.names:
        return _place(plainly, option)
    if option.is_joined:
        return _joined(plainly)
    if option.kind not in (int, float):
        return plainly
    try:
        values = tuple(option.kind(_number(word, option.count[1] > 1)) for word in _apart(plainly))
    except ValueError as error:
        raise UsageError(f"{typed}: {option.takes}") from error
    return values if option.count != (1, 1) else values[0] if len(values) == 1 else values


def _place(typed: str, option: Option) -> str:
    """Return where a file is; a frame may be named by its name alone."""
    if option.names == FRAME and PurePath(typed).name == typed and not typed.startswith(("'", '"', "~")):
        return typed
    return str(meant(typed))


def _joined(typed: str) -> str:
    """Return numbers with commas between; those that are apart as others are may have decimal commas."""
    words = _apart(typed)
    try:
        return typed if len(words) == 1 else ",".join(_number(word, False) for word in words)
    except ValueError:  # what it is to be says the option
        return typed


def _apart(typed: str) -> list[str]:
    return [word for word in APART.split(typed) if word]


def _number(word: str, can_be_two: bool) -> str:
    """Return a number with its decimal mark, a point or a comma, as Python reads it.

    Raises
    ------
    ValueError
        For what is none; not all that Python takes for one was meant so: '1_5', '٣'.
    UsageError
        Where it may be another number, or two, in the language of the page or another.
    """
    if not NUMBER.fullmatch(word):
        raise ValueError(word)
    own, mark = text("form.decimal"), next(filter(word.__contains__, ".,"), "")
    if mark not in ("", own):
        if GROUPED.fullmatch(word):
            _refuse(word, word.replace(mark, own), word.replace(mark, ""))
        if mark == "," and can_be_two:
            _refuse(word, word.replace(mark, own), word.replace(mark, " "))
    return word.replace(",", ".")


def _refuse(word: str, one: str, other: str) -> None:
    raise UsageError(text("settings.ambiguous", typed=word, one=one, other=other))
