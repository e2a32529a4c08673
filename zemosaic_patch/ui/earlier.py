# SPDX-License-Identifier: GPL-3.0-or-later
"""The page that is under way."""

from __future__ import annotations

from zemosaic_patch.ui.texts import text


def page_earlier() -> None:
    """Show the page."""
    from nicegui import ui

    with ui.element("h1"):
        ui.label(text("earlier.page"))
