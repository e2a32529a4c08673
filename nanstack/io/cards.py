# SPDX-License-Identifier: GPL-3.0-or-later
"""Values of cards, read as programs write them: numbers as text, decimal commas, angles in many spellings; written."""

from __future__ import annotations

import copy
import math
import re
import warnings
from typing import TYPE_CHECKING, Any

from nanstack.io.layout import card
from nanstack.io.one_line import on_one_line

if TYPE_CHECKING:
    from astropy.io.fits import Header

NUMBER = re.compile(r"([+-]?(?:\d+(?:[.,]\d*)?|[.,]\d+)(?:[EeDd][+-]?\d+)?)\s*(?:s|sec|seconds?|mm|[uµ]m|microns?)?")
HOURS = re.compile(r"\b(h|hr|hrs|hours?)\b", re.IGNORECASE)
DEGREES = re.compile(r"deg", re.IGNORECASE)
HOURS_A_DAY = 24
MAX_ANGLE_TEXT = 40  # characters


def value_of(header: Header, name: str) -> Any:
    """Return a card's value, that of a card against the standard as the text that stands there; None for none."""
    try:
        return card(header, name)
    except ValueError:
        return _text_as_it_stands(header, name)


def _text_as_it_stands(header: Header, name: str) -> str | None:
    """Return what a card says that astropy refuses, such as a number with a decimal comma."""
    from astropy.io.fits import VerifyError

    one = copy.copy(header.cards[name])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            one.verify("silentfix")  # makes a text of it
            return one.value if isinstance(one.value, str) else None
        except (VerifyError, ValueError):
            return None


def text_of(header: Header, *names: str) -> str:
    """Return the text of the first of some cards that has one; empty where none has."""
    for name in names:
        value = value_of(header, name)
        text = "" if value is None else str(value).strip()
        if text:
            return text
    return ""


def number_of(header: Header, *names: str) -> float | None:
    """Return the number that the first of some cards holds, as text or with a decimal comma, too; None for none."""
    numbers = (as_number(value_of(header, name)) for name in names)
    return next((number for number in numbers if number is not None), None)


def as_number(value: Any) -> float | None:
    """Return a card's value as a finite number; None for what is none."""
    if isinstance(value, str):
        found = NUMBER.fullmatch(value.strip())
        if found is None:
            return None
        value = re.sub("[Dd]", "e", found[1]).replace(",", ".")
    elif isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) else None


def right_ascension_of(header: Header, name: str, *, in_hours: bool = False) -> float | None:
    """Return the right ascension that a card holds, in degrees from 0 to 360; None for none.

    A plain number is taken for degrees, unless the card is known, or says in its comment, to be in hours. A
    sexagesimal one is taken for hours, unless it has a mark of degrees or is too large for hours.

    Parameters
    ----------
    header : astropy.io.fits.Header
    name : str
    in_hours : bool
        Numbers below 24 are hours.
    """
    value = value_of(header, name)
    number = as_number(value)
    if number is None:
        number = _angle(value)
        hours = number is not None and not re.search("[hd°]", value)  # with a mark, its unit is minded already
    else:
        comment = header.comments[name]
        hours = in_hours or bool(HOURS.search(comment) and not DEGREES.search(comment))
    if number is None or not -360 <= number <= 360:
        return None
    return (15 * number if hours and 0 <= number < HOURS_A_DAY else number) % 360


def declination_of(header: Header, name: str) -> float | None:
    """Return the declination that a card holds, in degrees; None for none, or one beyond a pole."""
    value = value_of(header, name)
    number = as_number(value)
    if number is None:
        number = _angle(value)
    return number if number is not None and -90 <= number <= 90 else None


def _angle(value: Any) -> float | None:
    """Return a sexagesimal text as a number, of degrees where it has a mark of its unit; None for what is none."""
    if not isinstance(value, str) or len(value) > MAX_ANGLE_TEXT:
        return None
    from astropy.coordinates import Angle

    try:
        number = float(Angle(value.strip().replace(",", "."), unit="deg").deg)
    except (ValueError, TypeError):
        return None
    return number if math.isfinite(number) else None


def card_value(value: Any) -> Any:
    """Return a value as a FITS card can hold it: printable ASCII, and NaN and infinity by their names."""
    if isinstance(value, str):
        return on_one_line(value).encode("ascii", "replace").decode()
    return value if not isinstance(value, float) or math.isfinite(value) else str(value)
