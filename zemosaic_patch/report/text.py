# SPDX-License-Identifier: GPL-3.0-or-later
"""Numbers as a reader of the report sees them."""

from __future__ import annotations

NOTHING = "\N{EN DASH}"  # stands where a figure is not known


def shown(value: float | None, unit: str = "", digits: int = 4) -> str:
    """Return a number of so many digits, with its unit; a dash where it is not known."""
    if value is None:
        return NOTHING
    whole = abs(value) >= min(
        1e4, 10**digits - 0.5
    )  # what has more digits before its point is told to the last of them
    return f"{value:,.0f}{unit}" if whole else f"{value:,.{digits}g}{unit}"


def duration(seconds: float | None) -> str:
    """Return a time in seconds as a reader would say it."""
    if seconds is None or seconds < 120:
        return shown(seconds, " s", 3)
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {rest:02d} s"
