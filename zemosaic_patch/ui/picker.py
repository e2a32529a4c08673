# SPDX-License-Identifier: GPL-3.0-or-later
"""One of several things, chosen from the browser's own list: phones and screen readers know it, and all of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any


class Picker:
    """A list with a name, of which one thing is chosen.

    Parameters
    ----------
    label : str
        Its name.
    shown : mapping of str to str
        What each choice is called.
    value : str
        The one that is chosen at first; "" is none.
    on_change : callable
        Called with the one that the owner chooses.

    Attributes
    ----------
    field : nicegui.element.Element
        All of it.
    """

    def __init__(self, label: str, shown: Mapping[str, str], value: str, on_change: Callable[[str], None]) -> None:
        from nicegui import ui
        from nicegui.elements.mixins.text_element import TextElement

        def choose(event: Any) -> None:
            self.value = event.args
            on_change(event.args)

        with ui.element("div").classes("choice") as self.field:
            name = TextElement(tag="label", text=label)
            with ui.element("select") as self._list:
                for choice, words in shown.items():
                    TextElement(tag="option", text=words).props["value"] = choice
        name.props["for"] = self._list.html_id
        self._list.on("change", choose, js_handler="(event) => emit(event.target.value)")
        self.value = value

    @property
    def value(self) -> str:
        """The one that is chosen."""
        return self._list.props["value"]

    @value.setter
    def value(self, value: str) -> None:
        self._list.props["value"] = value
