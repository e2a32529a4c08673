# SPDX-License-Identifier: GPL-3.0-or-later
"""Parts of images and tiles, their solution of the sky moved with them."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from nanstack.tile import Tile

MIN_EDGE_VALID = 0.90  # an edge row or column with a smaller share of valid pixels is trimmed
MIN_SIDE_PX = 64  # unless less than this would be left


def cut(image: np.ndarray, wcs: Any, top: int, bottom: int, left: int, right: int) -> tuple[np.ndarray, Any]:
    """Return rows top:bottom and columns left:right of an image, and its WCS (or None) moved with them."""
    image = image[top:bottom, left:right]
    if wcs is not None:
        wcs = wcs[top:bottom, left:right]  # a distortion has a middle of its own, which astropy moves, too
        wcs.pixel_shape = (right - left, bottom - top)
    return image, wcs


def trim_edges(tile: Tile, alpha: np.ndarray) -> tuple[Tile, tuple[int, int, int, int]]:
    """Cut off edge rows and columns with too few visible pixels; nothing, where too little would be left.

    Parameters
    ----------
    tile : Tile
    alpha : ndarray of uint8, shape (H, W)
        Its opacity; 0 is not visible.

    Returns
    -------
    tile : Tile
    box : (int, int, int, int)
        top, bottom, left, right of what was kept.
    """
    height, width = tile.coverage.shape
    top, bottom, left, right = _valid_box(alpha > 0)
    if bottom - top < MIN_SIDE_PX or right - left < MIN_SIDE_PX:
        return tile, (0, height, 0, width)
    return crop_tile(tile, top, bottom, left, right), (top, bottom, left, right)


def _valid_box(valid: np.ndarray) -> tuple[int, int, int, int]:
    """Return top, bottom, left, right after the worst edge was cut off, again and again, until all are good."""
    counts = np.pad(valid.cumsum(axis=0, dtype=np.int64).cumsum(axis=1), ((1, 0), (1, 0)))

    def share(top: int, bottom: int, left: int, right: int) -> float:
        inside = counts[bottom, right] - counts[top, right] - counts[bottom, left] + counts[top, left]
        return inside / ((bottom - top) * (right - left))

    top, bottom, left, right = 0, valid.shape[0], 0, valid.shape[1]
    while bottom > top and right > left:
        edges = {
            (top + 1, bottom, left, right): share(top, top + 1, left, right),
            (top, bottom - 1, left, right): share(bottom - 1, bottom, left, right),
            (top, bottom, left + 1, right): share(top, bottom, left, left + 1),
            (top, bottom, left, right - 1): share(top, bottom, right - 1, right),
        }
        without_worst = min(edges, key=edges.__getitem__)
        if edges[without_worst] >= MIN_EDGE_VALID:
            break
        top, bottom, left, right = without_worst
    return top, bottom, left, right


def crop_tile(tile: Tile, top: int, bottom: int, left: int, right: int) -> Tile:
    """Return a part of a tile, its WCS moved with it."""
    image, wcs = cut(tile.image, tile.wcs, top, bottom, left, right)
    return replace(tile, image=image, coverage=tile.coverage[top:bottom, left:right], wcs=wcs)
