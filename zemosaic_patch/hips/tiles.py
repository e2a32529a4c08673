# SPDX-License-Identifier: GPL-3.0-or-later
"""Tiles of the sky as pictures, and what they cover."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from nanstack.memory import in_order
from nanstack.progress import Progress
from zemosaic_patch.hips.grid import TILE, light_of
from zemosaic_patch.pictures import Stretch, levels_of
from zemosaic_patch.signals import obey

DRAWN = "drawing its tiles"
FINER = 4  # orders: coverage is told by cells of so much less than a tile
CELLS = 2**FINER  # of a tile's side
SKY_ORDER, SKY_TILES, SKY_TILE = 3, (27, 29), 64  # whose tiles, how many beside and below each other, and their sides
PNG_EFFORT = 1  # more takes far longer, and makes noise no smaller


def draw_tiles(grid: Path, to: Path, order: int, stretch: Stretch, progress: Progress) -> np.ndarray:
    """Draw all tiles of a grid, each clear where it has no data.

    Parameters
    ----------
    grid : Path
        What `zemosaic_patch.hips.grid.on_the_grid` wrote.
    to : Path
        The folder of the pictures.
    order : int
        Of its finest tiles.
    stretch : Stretch
    progress : nanstack.progress.Progress

    Returns
    -------
    ndarray of int64
        The cells of order ``order + FINER`` that hold data, ascending.
    """
    tiles = sorted(grid.rglob("Npix*.fits"))

    def draw(number: int) -> np.ndarray:
        obey()
        light = light_of(tiles[number])
        seen = np.isfinite(light).all(axis=2)
        path = _picture_of(tiles[number].relative_to(grid), to)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(_as_png(light, seen, stretch))
        finest = path.parts[-3] == f"Norder{order}"
        return _cells(int(path.stem.removeprefix("Npix")), seen) if finest else np.empty(0, np.int64)

    cells = []
    for number, found in enumerate(in_order(draw, len(tiles)), start=1):
        cells.append(found)
        progress.step(DRAWN, number, len(tiles))
    return np.sort(np.concatenate(cells))


def draw_whole_sky(to: Path) -> None:
    """Draw the picture of the whole sky that clients may ask for first: a few tiles of it, made smaller, side by side.

    Parameters
    ----------
    to : Path
        Where `draw_tiles` drew.
    """
    from PIL import Image

    columns, rows = SKY_TILES
    folder, sky = to / f"Norder{SKY_ORDER}", Image.new("RGBA", (columns * SKY_TILE, rows * SKY_TILE))
    for path in folder.rglob("Npix*.png"):
        row, column = divmod(int(path.stem.removeprefix("Npix")), columns)
        with Image.open(path) as tile:
            sky.paste(tile.reduce(TILE // SKY_TILE), (column * SKY_TILE, row * SKY_TILE))
    sky.save(folder / "Allsky.png")


def _picture_of(tile: Path, to: Path) -> Path:
    """Return where the picture of a tile belongs: names of the grid's have an end more, of the writer's third axis."""
    return to.joinpath(*(part.removesuffix("_0") for part in tile.with_suffix("").parts)).with_suffix(".png")


def _as_png(light: np.ndarray, seen: np.ndarray, stretch: Stretch) -> bytes:
    """Return light (H, W, C) as a PNG in colour, clear where nothing is seen."""
    import cv2

    drawn = np.zeros((*seen.shape, 4), np.uint8)
    drawn[..., 2::-1] = levels_of(stretch(light)) * seen[..., np.newaxis]  # blue is first there
    drawn[..., 3] = 255 * seen
    effort = (cv2.IMWRITE_PNG_COMPRESSION, PNG_EFFORT, cv2.IMWRITE_PNG_STRATEGY, cv2.IMWRITE_PNG_STRATEGY_RLE)
    _, png = cv2.imencode(".png", drawn, effort)
    return png.tobytes()


def _cells(tile: int, seen: np.ndarray) -> np.ndarray:
    """Return the numbers of a tile's cells where something is seen.

    In the nested order a cell's number is its tile's, followed by the bits of its row and its column in turn.
    """
    side = TILE // CELLS
    rows, columns = np.nonzero(seen.reshape(CELLS, side, CELLS, side).any(axis=(1, 3)))
    within = sum((rows >> bit & 1) << 2 * bit | (columns >> bit & 1) << 2 * bit + 1 for bit in range(FINER))
    return tile * CELLS**2 + np.asarray(within, np.int64)
