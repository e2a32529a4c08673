# SPDX-License-Identifier: GPL-3.0-or-later
"""Mosaics of a simulated session: the one that was made, and the one as it was before, of tiles with a grey fill."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import scipy

from nanstack.register.alignment import transform_from_wcs
from nanstack.truth.simulation import invert
from zemosaic_patch.demo import tile as demo
from zemosaic_patch.demo.session import Session

if TYPE_CHECKING:
    from astropy.wcs import WCS

MAX_RMS_PX = 0.1  # two solutions that differ by more from an affine transform are refused


@dataclass(frozen=True)
class Joined:
    """A mosaic, and where it could step.

    Attributes
    ----------
    image : ndarray of float32, shape (H, W, 3)
        In ADU; NaN where there is no data.
    wcs : WCS
    ends : list of ndarray of bool, shape (H, W)
        What it was made of: each ends at some border, of a tile or of a frame.
    panels : list of ndarray of bool, shape (H, W)
        Within which these borders are looked at, one by one.
    """

    image: np.ndarray
    wcs: WCS
    ends: list[np.ndarray]
    panels: list[np.ndarray]


def of_frames(path: Path, session: Session, groups: Sequence[Sequence[str]]) -> Joined:
    """Read a mosaic's file; it could step wherever one of its frames ends, within what each pointing shows."""
    image, wcs = _read_image(path)
    whole, frames = np.ones(session.shape, dtype=bool), {frame.name: frame for frame in session.frames}
    ends, panels = [], []
    for names in groups:
        solutions = [demo.moved_wcs(session.wcs, frames[name].transform) for name in names]
        own = [placed(whole, solution, wcs, image.shape[:2]) for solution in solutions]
        ends += own
        panels.append(np.logical_or.reduce(own))
    return Joined(image, wcs, ends, panels)


def _read_image(path: Path) -> tuple[np.ndarray, WCS]:
    from nanstack.io.frames import read_frame

    frame = read_frame(path)
    if frame.wcs is None:
        raise ValueError(f"{path.name} holds no WCS")
    return frame.data, frame.wcs


def placed(mask: np.ndarray, wcs: WCS, target: WCS, shape: tuple[int, int]) -> np.ndarray:
    """Return where the pixels of a mask lie in another grid."""
    back = invert(affine(wcs, target, mask.shape))
    matrix, start = back[::-1, 1::-1], back[::-1, 2]  # SciPy counts (row, column)
    return scipy.ndimage.affine_transform(mask.astype(np.uint8), matrix, start, shape, order=0, cval=0) > 0


def mosaic_with_grey_fill(
    folder: Path, groups: Mapping[str, Sequence[str]], wcs: WCS, shape: tuple[int, int]
) -> Joined:
    """Make the mosaic as it was before: tiles with a grey fill, skies as they are, joined by their mean.

    Parameters
    ----------
    folder : Path
        Of the frames.
    groups : mapping
        The names of each tile's frames, by that of its reference.
    wcs, shape
        Of the mosaic.
    """
    from nanstack.mosaic import Grid, MosaicTile, make_mosaic

    tiles = []
    for reference, names in groups.items():
        image = demo.stack_with_grey_fill([folder / name for name in names], reference)
        _, own = _read_image(folder / reference)
        tiles.append(MosaicTile(reference, image.shape, own, lambda image=image: (image, None)))
    mosaic = make_mosaic(tiles, grid=Grid(wcs, shape), match="none", feather=0.0)
    areas = [placed(np.ones(tile.shape[:2], dtype=bool), tile.wcs, wcs, shape) for tile in tiles]
    return Joined(mosaic.image, wcs, areas, areas)


def affine(source: WCS, target: WCS, shape: tuple[int, int]) -> np.ndarray:
    """Return the transform (2, 3) from the pixels of one WCS, an image of `shape`, to those of another.

    Raises
    ------
    ValueError
        Where the two differ by more than an affine transform.
    """
    transform, rms = transform_from_wcs(source, target, shape)
    if not rms < MAX_RMS_PX:
        raise ValueError(f"the two solutions differ by {rms:.2g} pixels from an affine transform")
    return transform
