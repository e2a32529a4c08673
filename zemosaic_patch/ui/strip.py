# SPDX-License-Identifier: GPL-3.0-or-later
"""The frames as a strip of small pictures, which the arrow keys go through."""

from __future__ import annotations

from functools import cache, lru_cache
from typing import Any

from zemosaic_patch.look_run import LookedAt, moment_of
from zemosaic_patch.ui.desk import Desk
from zemosaic_patch.ui.said import said
from zemosaic_patch.ui.texts import language, moment, numbers, text


def items(desk: Desk) -> list[dict[str, Any]]:
    """Return what is shown of each frame, as the page takes it."""
    return [_item(desk, number) for number in range(len(desk.looking.paths))]


def _item(desk: Desk, number: int) -> dict[str, Any]:
    looking = desk.looking
    seen, why = looking.seen.get(number), desk.why_not(number)
    return {
        "n": number,
        "name": looking.names[number],
        "detail": "" if seen is None else _detail(seen, language()),
        "state": _state(desk, number, why),
        "fixed": bool(why) and number not in looking.can_be_taken_in,
        "why": said(why),
    }


def _state(desk: Desk, number: int, why: str) -> str:
    if why:
        return "by_hand" if desk.is_used(number) else "no"
    if not desk.is_used(number):
        return "out"
    return "in" if number in desk.looking.seen else "wait"


@lru_cache(20_000)
def _detail(seen: LookedAt, language: str) -> str:
    """Return what a frame's header and its stars say, in a language."""
    began = moment_of(seen.date)
    told = [seen.date if began is None else moment(began, "form.second" if "T" in seen.date else "form.day")]
    told += ["" if seen.exposure is None else numbers(f"{seen.exposure:g} s")]
    told += [text("make.stars", count=seen.stars)] if seen.stars else []
    told += [text("make.width", width=numbers(f"{seen.width_px:.1f}"))] if seen.width_px else []
    return " · ".join(filter(None, told))


def words() -> dict[str, str]:
    """Return the words on the strip."""
    names = ("wait", "in", "by_hand", "out", "no", "take_out", "put_back", "take_in", "keys", "frames", "lost")
    return {name: text(f"strip.{name}") for name in names}


@cache
def element() -> Any:
    """Return the class of the strip, a NiceGUI element."""
    from nicegui.element import Element

    class Strip(Element, component="strip.js"):
        """Frames as a strip.

        Parameters
        ----------
        desk : Desk
            With frames.
        """

        def __init__(self, desk: Desk) -> None:
            super().__init__()
            self.shown = at_first = items(desk)
            self.props["look"], self.props["items"], self.props["words"] = desk.looking.key, self.shown, words()
            self.on("toggle", lambda event: _take(desk, event.args))
            self.on("ready", lambda: self._merge(at_first))  # what was sent to it before that is lost

        def _merge(self, before: list[dict[str, Any]]) -> None:
            changed = [one for one, was in zip(self.shown, before, strict=False) if one != was]
            changed += self.shown[len(before) :]
            if changed:
                self.run_method("merge", changed)

        def renew(self, desk: Desk) -> None:
            """Show what has changed since."""
            before, self.shown = self.shown, items(desk)
            self._merge(before)

    return Strip


def _take(desk: Desk, told: Any) -> None:
    if isinstance(told, dict) and type(told.get("number")) is int and type(told.get("out")) is bool:
        desk.take(told["number"], told["out"])
