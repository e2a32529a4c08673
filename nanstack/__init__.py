# SPDX-License-Identifier: GPL-3.0-or-later
"""A NaN-aware stacker for astronomical frames: arrays in, arrays out.

>>> tile = nanstack.make_tile(frames)            # frames of one field -> one image
>>> mosaic = nanstack.make_mosaic(tiles)         # tiles on the sky -> one image
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

_HOMES = {
    "make_tile": "nanstack.tile",
    "StackedTile": "nanstack.tile",
    "make_mosaic": "nanstack.mosaic",
    "Mosaic": "nanstack.mosaic",
    "MosaicTile": "nanstack.mosaic",
    "Rejection": "nanstack.stack.definition",
}
__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    """Import what is asked for when it is: the start stays short."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
