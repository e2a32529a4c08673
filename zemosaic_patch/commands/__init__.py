# SPDX-License-Identifier: GPL-3.0-or-later
"""The commands: what each is asked, and what it does with it. Each is loaded when it is asked for.

What takes time to import is imported when a command is run.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from zemosaic_patch.arguments import Command

TOLD = {  # what each does, in a line
    "ui": "open the window: all of this as a page in the browser",
    "mosaic": "make a mosaic of raw frames, or of master tiles",
    "look": "say what frames are: nights, targets, what would be left out and why",
    "tile": "make one master tile of a group of frames",
    "demo": "simulate a Seestar's frames of the Pleiades and stack them before and after the fix",
    "report": "make a report of a mosaic or a tile: one page for the browser",
    "hips": "write a mosaic as tiles of the sky, for Aladin and the web",
    "info": "show versions, processors, memory, compiled kernels",
    "check": "tell if a ZeMosaic needs the patch (exit code 0: no, or patched; 1: apply mends it; 2: cannot be "
    "patched)",
    "apply": "put the patch into a ZeMosaic",
    "revert": "take the patch out of a ZeMosaic",
    "verify": "make simulated tiles with a ZeMosaic, measure them, show before and after",
    "export": "write the fix as a patch that ZeMosaic's maintainer can review and merge",
}
_HOMES = dict.fromkeys(("check", "apply", "revert", "verify", "export"), "dropin")  # modules of another name


def load(name: str) -> Command:
    """Return a command, with its options."""
    module = import_module(f"{__name__}.{_HOMES.get(name, name)}")
    return next(command for command in module.COMMANDS if command.name == name)
