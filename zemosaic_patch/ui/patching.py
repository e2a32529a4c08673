# SPDX-License-Identifier: GPL-3.0-or-later
"""The page 'Patch my ZeMosaic'."""

from __future__ import annotations

from zemosaic_patch.ui.texts import text


def page_patch() -> None:
    """Show the page."""
    from nicegui import ui

    with ui.element("h1"):
        ui.label(text("patch.page"))
