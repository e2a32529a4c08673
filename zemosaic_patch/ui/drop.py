# SPDX-License-Identifier: GPL-3.0-or-later
"""Folders dropped onto the page, from a file manager or as text."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from zemosaic_patch.errors import UsageError
from zemosaic_patch.ui.folders import meant
from zemosaic_patch.ui.texts import text


def dropped_places(told: Any) -> list[Path]:
    """Return the places that were dropped, as the browser tells them: a line each, '#' begins a remark (RFC 2483).

    Raises
    ------
    UsageError
        Where it tells none, as most do of files, or what is none.
    """
    lines = [line.strip() for line in str(told or "").splitlines()]
    named = [line for line in lines if line.lower().startswith("file://")] or [
        line for line in lines if line and not line.startswith("#")
    ]
    places = [meant(line) for line in named if "://" not in line or line.lower().startswith("file://")]
    if not places:
        raise UsageError(text("make.no_drop"))
    return places


def let_drop(taken: Callable[[Sequence[Path]], Awaitable[None] | None]) -> None:
    """Let folders be dropped anywhere on the page that is being built.

    Parameters
    ----------
    taken : callable
        Called with their places.
    """
    _element()().on("place", lambda event: taken(dropped_places(event.args)))


@cache
def _element() -> Any:
    from nicegui.element import Element

    class Drop(Element, component="drop.js"):
        """Hears what is dropped."""

    return Drop
