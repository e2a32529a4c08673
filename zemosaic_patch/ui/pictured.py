# SPDX-License-Identifier: GPL-3.0-or-later
"""A picture that becomes better while it is looked at, and what it is."""

from __future__ import annotations


class Pictured:
    """A picture that is not there at first.

    Parameters
    ----------
    alt : str
        What it shows, for who does not see it.
    told : str
        What stands under its place before it is there; nothing: it has no place yet.
    """

    def __init__(self, alt: str, told: str = "") -> None:
        from nicegui import ui

        self._whole = ui.element("figure").classes("filling")
        with self._whole:
            self._picture = ui.element("img").props('alt=""')
            self._told = ui.element("figcaption").classes("soft")
            with self._told:
                self._words = ui.label(told)
        self._picture.props["alt"] = alt
        self._whole.set_visibility(bool(told))

    def show(self, address: str, told: str) -> None:
        """Show a picture at an address, and what it is in words, if any."""
        self._words.text = told
        self._told.set_visibility(bool(told))
        self._whole.set_visibility(True)
        if self._picture.props.get("src") != address:
            self._picture.props["src"] = address

    def hide(self) -> None:
        """Show nothing."""
        self._whole.set_visibility(False)
