# SPDX-License-Identifier: GPL-3.0-or-later
"""The finished mosaic, to zoom and pan."""

from __future__ import annotations

from pathlib import Path
from typing import Any


def routes(app: Any) -> None:
    """Give an application what the viewer asks for."""


def show_mosaic(folder: Path) -> None:
    """Show the mosaic in an output's folder."""
    from nicegui import ui

    ui.label(folder.name)
