# SPDX-License-Identifier: GPL-3.0-or-later
"""Values of the right kind, out of JSON that may be of another version, cut short or changed by hand."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from zemosaic_patch.report.pixels import Corners

HUGE = 1e100  # no figure of a mosaic is larger

Values = tuple[float | None, ...]


def as_mapping(value: Any) -> Mapping:
    """Return a JSON object; an empty one for anything else."""
    return value if isinstance(value, Mapping) else {}


def as_items(value: Any) -> list:
    """Return a list's items; none for anything else."""
    return list(value) if isinstance(value, list | tuple) else []


def as_text(value: Any) -> str:
    """Return a value as text; empty where there is none."""
    return str(value) if value else ""


def as_file_name(value: Any) -> str:
    """Return a text; an empty one for anything else."""
    return value if isinstance(value, str) else ""


def as_number(value: Any) -> float | None:
    """Return a finite number of sensible size; None for anything else."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return float(value) if is_number and abs(value) < HUGE else None


def as_values(value: Any) -> Values:
    """Return a number, or several, as a tuple of numbers; None for what is none."""
    return tuple(map(as_number, as_items(value) or [value]))


def as_corners(value: Any, least: int = 3) -> Corners:
    """Return corners (x, y), so many of them at least; none where one of them is not known."""
    corners = tuple(tuple(map(as_number, as_items(corner))) for corner in as_items(value))
    known = len(corners) >= least and all(len(corner) == 2 and None not in corner for corner in corners)
    return corners if known else ()


def as_texts(value: Any) -> dict[str, str]:
    """Return names with what is said of each; none where it is no JSON object."""
    return {str(name): str(text) for name, text in as_mapping(value).items()}


def total(values: Iterable[float | None]) -> float | None:
    """Return the sum of what is known; None where nothing is."""
    known = [value for value in values if value is not None]
    return sum(known) if known else None
