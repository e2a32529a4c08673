# SPDX-License-Identifier: GPL-3.0-or-later
"""A NaN-aware stacker for astronomical frames: arrays in, arrays out.

Files of frames are registered and stacked straight onto a canvas of the sky: `stack_files`.
Frames that are arrays make a tile; tiles, each with its place on the sky, make a mosaic:

>>> import nanstack
>>> from astropy.wcs import WCS
>>> from nanstack.truth.simulation import simulate_group
>>> frames = [frame.data for frame in simulate_group(3, shape=(120, 160))[0]]
>>> solution = WCS({"CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN", "CDELT1": -0.001, "CDELT2": 0.001})
>>> tile = nanstack.make_tile(frames, wcs=solution)
>>> tile.image.shape, int(tile.coverage.max())
((120, 160, 3), 3)
>>> mosaic = nanstack.make_mosaic([tile.for_mosaic("the only one")])
>>> mosaic.image.shape
(120, 160, 3)

More in docs/python.md.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

_HOMES = {
    "stack_files": "nanstack.sky_stack",
    "SkyStack": "nanstack.sky_stack",
    "CanvasSettings": "nanstack.settings",
    "make_tile": "nanstack.tile",
    "Tile": "nanstack.tile",
    "TileSettings": "nanstack.settings",
    "JoinSettings": "nanstack.settings",
    "make_mosaic": "nanstack.mosaic",
    "Grid": "nanstack.mosaic",
    "Mosaic": "nanstack.mosaic",
    "MosaicTile": "nanstack.tile",
    "Rejection": "nanstack.stack.definition",
}
__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    """Import what is asked for when it is: the start stays short."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
