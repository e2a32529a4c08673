# SPDX-License-Identifier: GPL-3.0-or-later
"""Tiles onto one grid of the sky: projected, brought to one background, averaged block by block.

The solution of the sky is the libraries' (reproject finds the grid, astropy turns pixels into pixels); the samples are
`nanstack.register.warp`'s, so that a pixel without data spoils its neighbours by the taps alone. Spline
interpolation would spoil the whole image, and bilinear or adaptive resampling would blur the stars.

Pixel coordinates are (x, y) = (column, row) with pixel centres at integers.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial
from itertools import combinations
from typing import TYPE_CHECKING, Any

import numpy as np

from nanstack.arrays import float_frame, has_data, real_array, to_float32
from nanstack.levels.sky import Background, Overlap, measure_overlap, solve_backgrounds
from nanstack.memory import Scratch, memory_budget, threads
from nanstack.progress import Progress, Quiet
from nanstack.register.mesh import Box, mesh_of, mesh_step, shown_box
from nanstack.register.warp import warp_mesh
from nanstack.settings import JoinSettings
from nanstack.stack.rows import OpenFiles, Rows, open_rows
from nanstack.tile import MosaicTile

if TYPE_CHECKING:
    from astropy.wcs import WCS

PROJECTED_ROWS = 64  # rows of a tile that are projected at once
MAX_COVERAGE = 2**24  # frames in a pixel; float32 counts no farther
MAX_SIDE_PX = 200_000  # a mosaic larger than this comes from a wrong solution


@dataclass(frozen=True)
class Grid:
    """The pixels of a mosaic.

    Attributes
    ----------
    wcs : astropy.wcs.WCS
        Their place on the sky.
    shape : (int, int)
        Height and width.

    Raises
    ------
    ValueError
        For a WCS that is not celestial, or sides that are no numbers of pixels from 1 to `MAX_SIDE_PX`.
    """

    wcs: WCS
    shape: tuple[int, int]

    def __post_init__(self) -> None:
        if not self.wcs.has_celestial:
            raise ValueError("a grid's wcs must be celestial")
        sides = tuple(self.shape)
        if len(sides) != 2 or not all(isinstance(n, (int, np.integer)) and 0 < n <= MAX_SIDE_PX for n in sides):
            raise ValueError(f"a grid's shape must be a height and a width of 1 to {MAX_SIDE_PX} pixels, not {sides}")


@dataclass(frozen=True)
class Mosaic:
    """Tiles joined.

    Attributes
    ----------
    image : ndarray of float32, shape (H, W) or (H, W, C)
        In ADU; NaN where no tile has data.
    coverage : ndarray of int32, shape (H, W)
        Number of frames in each pixel.
    weight : ndarray of float32, shape (H, W)
        Sum of the tiles' weights, coverage x feather.
    wcs : astropy.wcs.WCS
    backgrounds : list of nanstack.levels.sky.Background
        What was added to each tile.
    overlaps : dict
        ``(i, j)``: number of cells in which these tiles were compared.
    """

    image: np.ndarray
    coverage: np.ndarray
    weight: np.ndarray
    wcs: WCS
    backgrounds: list[Background]
    overlaps: dict[tuple[int, int], int]


def make_mosaic(
    tiles: Sequence[MosaicTile],
    settings: JoinSettings | None = None,
    *,
    grid: Grid | None = None,
    memory: int | None = None,
    progress: Progress | None = None,
    **changes: Any,
) -> Mosaic:
    """Join tiles to a mosaic.

    Each tile is projected once, and kept in a temporary file; where two tiles overlap they are compared, and all are
    brought to one background; then the mosaic is combined, a few rows at a time.

    Parameters
    ----------
    tiles : sequence of MosaicTile
        All mono, or all with the same number of channels.
    settings : JoinSettings, optional
    grid : Grid, optional
        The mosaic's pixels; by default as `mosaic_grid` finds them.
    memory : int, optional
        Bytes that blocks and tiles in work may take; by default as `nanstack.memory.memory_budget`. No influence on
        the result.
    progress : Progress, optional
        Is told the steps 'projecting' (tiles), 'comparing' (overlaps) and 'joining' (rows).
    **changes
        Fields of `JoinSettings` that differ from those of `settings`, by name.

    Returns
    -------
    Mosaic

    Raises
    ------
    ValueError
        For no tiles, tiles that do not fit together, or arguments out of range.
    """
    settings = replace(settings or JoinSettings(), **changes)
    _check(tiles)
    grid = grid or mosaic_grid(tiles)
    memory = memory_budget() if memory is None else memory
    progress = progress or Quiet()
    with Scratch() as scratch, closing(OpenFiles()) as files:
        workshop, layers = _Workshop(grid, settings, memory, scratch, files), []
        for layer in _projected(tiles, workshop):
            layers.append(layer)
            progress.step("projecting", len(layers), len(tiles))
        overlaps = _overlaps(layers, progress)
        backgrounds = _backgrounds(layers, overlaps, settings.match)
        image, coverage, weight = _combined(layers, backgrounds, workshop, progress)
    cells = {pair: len(overlap.x) for pair, overlap in overlaps.items()}
    return Mosaic(image, coverage, weight, grid.wcs, backgrounds, cells)


@dataclass(frozen=True)
class _Workshop:
    """What tiles are projected and combined with.

    Attributes
    ----------
    grid : Grid
    settings : JoinSettings
    memory : int
        Bytes.
    scratch : Scratch
    files : OpenFiles
    """

    grid: Grid
    settings: JoinSettings
    memory: int
    scratch: Scratch
    files: OpenFiles


def _check(tiles: Sequence[MosaicTile]) -> None:
    if not tiles:
        raise ValueError("no tiles were given")
    for tile in tiles:
        if len(tile.shape) not in (2, 3) or tile.shape[2:] != tiles[0].shape[2:]:
            raise ValueError(f"{tile.name}: its shape {tile.shape} does not go with {tiles[0].name}'s {tiles[0].shape}")
        if 0 in tile.shape:
            raise ValueError(f"{tile.name}: it holds no pixels, its shape is {tile.shape}")
        if not _leads_to_the_sky(tile):
            raise ValueError(f"{tile.name}: it has no celestial WCS, or one that is damaged")


def _leads_to_the_sky(tile: MosaicTile) -> bool:
    """Tell whether the middle of a tile has a place on the sky."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            if tile.wcs is None or not tile.wcs.has_celestial:
                return False
            place = tile.wcs.celestial.pixel_to_world_values(tile.shape[1] / 2, tile.shape[0] / 2)
    except ValueError:  # as all errors of wcslib are: a singular matrix, a pole that is nowhere
        return False
    return bool((np.abs(place) <= 360).all())  # of NaN it makes numbers without meaning


# --- the grid ---------------------------------------------------------------------------------------------------------


def mosaic_grid(tiles: Sequence[MosaicTile]) -> Grid:
    """Return the pixels, north up, that suit all tiles at the finest of their scales.

    Raises
    ------
    ValueError
        For tiles so far apart that the mosaic would be larger than `MAX_SIDE_PX`.
    """
    from reproject.mosaicking import find_optimal_celestial_wcs

    try:
        wcs, shape = find_optimal_celestial_wcs([(tile.shape[:2], tile.wcs) for tile in tiles], frame="icrs")
    except ValueError as nowhere:
        raise ValueError("the tiles are too far apart: no flat map shows them all") from nowhere
    if max(shape) > MAX_SIDE_PX:
        raise ValueError(f"the tiles are too far apart: the mosaic would be {shape[1]} x {shape[0]} pixels")
    return Grid(wcs, tuple(int(side) for side in shape))


def corners(wcs: WCS, tile_shape: tuple[int, ...], tile_wcs: WCS) -> tuple[np.ndarray, np.ndarray]:
    """Return where a tile's edge lies in the mosaic: x and y of its four corners, in turn."""
    height, width = tile_shape[:2]
    return _pixels(tile_wcs, wcs, [-0.5, width - 0.5, width - 0.5, -0.5], [-0.5, -0.5, height - 0.5, height - 0.5])


def _pixels(source: WCS, target: WCS, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Turn pixels of one solution into pixels of another; NaN where there is no such place."""
    from astropy.wcs.utils import pixel_to_pixel

    with warnings.catch_warnings(), np.errstate(invalid="ignore"):
        warnings.simplefilter("ignore")  # a place that a projection does not show is NaN, which is all to be said
        found = pixel_to_pixel(source, target, np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64))
    return tuple(np.asarray(v, dtype=np.float64) for v in found)


# --- projection -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Layer:
    """A tile on the mosaic's grid, in files.

    Attributes
    ----------
    top, bottom, left, right : int
        The part of the mosaic that it may cover.
    image : Rows
        (h, w[, C]), NaN where the tile has no data.
    weights : Rows
        (h, w, 2): coverage, and coverage x feather; of no meaning where the image is NaN.
    pixels : int
        Number of pixels with data.
    """

    top: int
    bottom: int
    left: int
    right: int
    image: Rows
    weights: Rows
    pixels: int


def _projected(tiles: Sequence[MosaicTile], workshop: _Workshop) -> Iterator[_Layer]:
    """Give each tile on the mosaic's grid; as many at a time as there are processors, and memory."""
    largest = max(int(np.prod(tile.shape)) for tile in tiles)
    at_once = int(np.clip(workshop.memory // (16 * largest), 1, threads()))  # the tile, its projection, their weights
    with ThreadPoolExecutor(max_workers=at_once) as pool:
        for first in range(0, len(tiles), at_once):
            yield from pool.map(partial(_project, workshop=workshop), tiles[first : first + at_once])


def _project(tile: MosaicTile, workshop: _Workshop) -> _Layer:
    """Return a tile on the mosaic's grid, with its weights, as far as it shows something there."""
    grid, settings, scratch = workshop.grid, workshop.settings, workshop.scratch
    there = partial(_pixels, grid.wcs, tile.wcs)
    box = shown_box(partial(_pixels, tile.wcs, grid.wcs), tile.shape[:2], Box.whole(grid.shape))
    step = mesh_step(there, box)
    image, coverage = _checked_tile(tile)
    weights = tile_weights(image, coverage, settings.feather)
    out = np.empty((*box.shape, *tile.shape[2:]), dtype=np.float32)
    out_weights = np.empty((*box.shape, 2), dtype=np.float32)
    for row in range(box.top, box.bottom, PROJECTED_ROWS):
        part = box._replace(top=row, bottom=min(row + PROJECTED_ROWS, box.bottom))
        mesh = mesh_of(there, box, step, part)
        out[part.within(box)] = warp_mesh(image, mesh, settings.interpolation)
        out_weights[part.within(box)] = _nearest(weights, *mesh.positions())
    pixels = int(np.count_nonzero(has_data(out)))
    stored = (open_rows(scratch.store(array), workshop.files, scratch) for array in (out, out_weights))
    return _Layer(*box, *stored, pixels)


def _checked_tile(tile: MosaicTile) -> tuple[np.ndarray, np.ndarray | None]:
    """Return a tile's image, float32, and coverage, or say what is wrong with them."""
    image, coverage = tile.read()
    image = to_float32(float_frame(image, f"{tile.name}: its image"))
    if image.shape != tuple(tile.shape):
        raise ValueError(f"{tile.name}: its image is {image.shape}, not {tile.shape}")
    if coverage is None:
        return image, None
    coverage = real_array(coverage, f"{tile.name}: its coverage")
    if coverage.shape != image.shape[:2]:
        raise ValueError(f"{tile.name}: its coverage is {coverage.shape}, not {image.shape[:2]}")
    wrong = ~((coverage >= 0) & (coverage <= MAX_COVERAGE))
    if wrong.any():
        raise ValueError(f"{tile.name}: its coverage must be 0 to {MAX_COVERAGE} frames, not {coverage[wrong][0]}")
    return image, coverage


def tile_weights(image: np.ndarray, coverage: np.ndarray | None, feather: float) -> np.ndarray:
    """Return a tile's coverage, and its coverage x feather, where it has data.

    Parameters
    ----------
    image : ndarray, shape (H, W) or (H, W, C)
    coverage : ndarray, shape (H, W), or None
        None: one frame everywhere.
    feather : float
        Width in shorter sides.

    Returns
    -------
    ndarray of float32, shape (H, W, 2)
        0 where the tile has no data. The feather grows from the edge of the data to 1, evenly.
    """
    import cv2

    valid = has_data(image)
    frames = np.where(valid, 1 if coverage is None else coverage, 0).astype(np.float32)
    width = feather * min(image.shape[:2])
    if width <= 1:
        return np.stack([frames, frames], axis=2)
    inside = cv2.copyMakeBorder(valid.astype(np.uint8), 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=0)
    distance = cv2.distanceTransform(inside, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)[1:-1, 1:-1]
    return np.stack([frames, frames * np.minimum(distance / np.float32(width), 1)], axis=2)


def _nearest(weights: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Return the weights of the pixels nearest to positions; anything for positions outside."""
    height, width = weights.shape[:2]
    with np.errstate(invalid="ignore"):
        column = np.clip(np.where(np.isfinite(x), np.rint(x), 0), 0, width - 1).astype(np.intp)
        row = np.clip(np.where(np.isfinite(y), np.rint(y), 0), 0, height - 1).astype(np.intp)
    return weights[row, column]


# --- overlaps and backgrounds -----------------------------------------------------------------------------------------


def _overlaps(layers: Sequence[_Layer], progress: Progress) -> dict[tuple[int, int], Overlap]:
    """Compare each two layers where both have data, in the coordinates of the mosaic."""
    pairs = [(i, j) for i, j in combinations(range(len(layers)), 2) if _common(layers[i], layers[j])]
    found = {}
    for done, (i, j) in enumerate(pairs, start=1):
        overlap = _overlap(layers[i], layers[j])
        if overlap is not None:
            found[i, j] = overlap
        progress.step("comparing", done, len(pairs))
    return found


def _common(one: _Layer, other: _Layer) -> tuple[int, int, int, int] | None:
    top, bottom = max(one.top, other.top), min(one.bottom, other.bottom)
    left, right = max(one.left, other.left), min(one.right, other.right)
    return (top, bottom, left, right) if top < bottom and left < right else None


def _overlap(one: _Layer, other: _Layer) -> Overlap | None:
    top, bottom, left, right = _common(one, other)
    parts = [
        _rows(layer, layer.image, top, bottom)[:, left - layer.left : right - layer.left] for layer in (one, other)
    ]
    overlap = measure_overlap(*parts)
    return None if overlap is None else Overlap(overlap.x + left, overlap.y + top, overlap.difference, overlap.error)


def _rows(layer: _Layer, source: Rows, top: int, bottom: int) -> np.ndarray:
    """Return rows top:bottom of the mosaic, as far as a layer has them."""
    out = np.empty((bottom - top, *source.shape[1:]), dtype=np.float32)
    source.read(top - layer.top, bottom - layer.top, out)
    return out


def _backgrounds(layers: Sequence[_Layer], overlaps: dict[tuple[int, int], Overlap], match: str) -> list[Background]:
    if match == "none":
        zero = np.zeros(1)
        return [Background(zero, zero, zero, (0.0, 0.0), number) for number in range(len(layers))]
    areas = [max(layer.pixels, 1) for layer in layers]
    return solve_backgrounds(len(layers), overlaps, match, areas)


# --- combination ------------------------------------------------------------------------------------------------------


def _combined(
    layers: Sequence[_Layer], backgrounds: Sequence[Background], workshop: _Workshop, progress: Progress
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the mosaic's image, coverage and weight."""
    (height, width), means = workshop.grid.shape, workshop.settings.combine == "mean"
    channels = layers[0].image.shape[2:]
    image = np.empty((height, width, *channels), dtype=np.float32)
    coverage, weight = np.empty((height, width), dtype=np.int32), np.empty((height, width), dtype=np.float32)
    row_bytes = 8 * width * int(np.prod(channels)) * (4 if means else len(layers))
    rows = int(np.clip(workshop.memory // (4 * row_bytes), 1, 256))
    joined = _mean if means else _median
    for top in range(0, height, rows):
        bottom = min(top + rows, height)
        part = np.s_[top:bottom]
        frames, shares = np.zeros((2, bottom - top, width))
        parts = _parts(layers, backgrounds, top, bottom, frames, shares)
        image[part] = joined(parts, shares, channels)
        coverage[part], weight[part] = frames, shares
        progress.step("joining", bottom, height)
    return image, coverage, weight


Part = tuple[tuple[slice, slice], np.ndarray, np.ndarray]


def _parts(
    layers: Sequence[_Layer],
    backgrounds: Sequence[Background],
    top: int,
    bottom: int,
    coverage: np.ndarray,
    weight: np.ndarray,
) -> Iterator[Part]:
    """Give, of each layer in a block of rows, where it lies in the block, its samples, levelled, and its weights.

    What they add up to goes into the block's coverage and weight.
    """
    for layer, background in zip(layers, backgrounds, strict=True):
        first, last = max(top, layer.top), min(bottom, layer.bottom)
        if first >= last:
            continue
        samples, weights = _rows(layer, layer.image, first, last), _rows(layer, layer.weights, first, last)
        shift = background.at(np.arange(layer.left, layer.right), np.arange(first, last)[:, np.newaxis])
        with np.errstate(over="ignore"):  # an infinite sample counts as no data
            samples += to_float32(shift if samples.ndim == 3 else shift[..., 0])
        weights[~has_data(samples)] = 0
        place = np.s_[first - top : last - top, layer.left : layer.right]
        coverage[place] += weights[..., 0]
        weight[place] += weights[..., 1]
        yield place, samples, weights[..., 1]


def _mean(parts: Iterator[Part], weight: np.ndarray, channels: tuple[int, ...]) -> np.ndarray:
    total = np.zeros((*weight.shape, *channels))
    for place, samples, share in parts:
        share = share.astype(np.float64).reshape(*share.shape, *(1 for _ in channels))
        total[place] += np.multiply(samples, share, where=share > 0, out=np.zeros(samples.shape))
    with np.errstate(invalid="ignore"):  # 0 / 0 is NaN: no data
        return total / weight.reshape(*weight.shape, *(1 for _ in channels))


def _median(parts: Iterator[Part], weight: np.ndarray, channels: tuple[int, ...]) -> np.ndarray:
    from nanstack.stack.definition import Rejection
    from nanstack.stack.stacker import stack_frames

    stack = []
    for place, samples, _ in parts:
        stack.append(np.full((*weight.shape, *channels), np.nan, dtype=np.float32))
        stack[-1][place] = samples
    if not stack:
        return np.full((*weight.shape, *channels), np.nan)
    return stack_frames(stack, Rejection("none"), "median").image
