# SPDX-License-Identifier: GPL-3.0-or-later
"""Light onto the sky's grid, by reproject's writer: FITS tiles of all orders, with a plane for each colour."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import scipy.ndimage

from nanstack.memory import threads
from nanstack.progress import Progress
from nanstack.stack.rows import Rows
from zemosaic_patch.signals import obey

if TYPE_CHECKING:
    from astropy.wcs import WCS

TILE = 512  # pixels a side
SIDE_DEG = math.degrees(math.sqrt(math.pi / 3)) / TILE  # of a pixel of order 0: 12 tiles are the whole sky
WIDEST = 1.1  # pixels, against the mosaic's: wider ones lose of what it shows
ORDERS = (3, 20)  # least that Aladin shows well; pixels of a thousandth of an arcsecond
ON_THE_GRID = "onto the sky's grid"
STRIP_ROWS = 256
NODES, PROBES = 10, 7  # points along a tile's side that places are computed at, and that they are tried at
CLOSE_PX = 1e-3
COLOURS_HZ = 1e6  # the writer takes planes as those of a spectrum: any frequencies that are of one tile


def order_of(place: WCS) -> int:
    """Return the lowest order whose pixels lose nothing of an image: `WIDEST`."""
    from astropy.wcs.utils import proj_plane_pixel_area

    wanted = WIDEST * math.sqrt(proj_plane_pixel_area(place))
    return min(max(ORDERS[0], math.ceil(math.log2(SIDE_DEG / wanted))), ORDERS[1])


def on_the_grid(image: Rows, place: WCS, order: int, work: Path, progress: Progress) -> Path:
    """Write an image's FITS tiles of all orders up to one.

    Parameters
    ----------
    image : Rows, shape (H, W) or (H, W, C)
        NaN is no data.
    place : astropy.wcs.WCS
    order : int
    work : Path
        For what is written.
    progress : nanstack.progress.Progress

    Returns
    -------
    Path
        The folder of the tiles, which `light_of` reads.
    """
    from reproject.hips import reproject_to_hips

    path, to = work / "planes.npy", work / "grid"
    _write_planes(image, path)
    height, width, *rest = image.shape
    planes = np.broadcast_to(np.float32(np.nan), (math.prod(rest), height, width))  # `_tile` reads the file itself
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*failed to converge", UserWarning)  # far from a lens that bends: no light
        reproject_to_hips(
            (planes, _with_colours(place)),
            coord_system_out="equatorial",
            reproject_function=partial(_tile, path, place),
            output_directory=str(to),
            level=order,
            level_depth=0,
            tile_size=TILE,
            tile_depth=len(planes),
            threads=threads(),
            progress_bar=lambda tiles: [_Awaited(number, tiles, progress) for number in range(len(tiles))],
        )
    return to


def light_of(path: Path) -> np.ndarray:
    """Return the light of a tile that `on_the_grid` wrote: float32 (TILE, TILE, C), the last row first, NaN for none.

    The writer leaves out rows and columns without data, and notes how many it left out before the first.
    """
    from astropy.io import fits

    kept, header = fits.getdata(path, header=True)
    light = np.full((len(kept), TILE, TILE), np.nan, np.float32)
    top, left = header["TRIM2"], header["TRIM1"]
    light[:, top : top + kept.shape[1], left : left + kept.shape[2]] = kept
    return np.moveaxis(light[:, ::-1], 0, 2)


def _write_planes(image: Rows, path: Path) -> None:
    """Write an image's colours (C, H, W) to a file, in this machine's order of bytes, to be read in parts.

    The file is mapped anew for each part: what a map has seen counts as memory of this process.
    """
    height, width, *rest = image.shape
    np.lib.format.open_memmap(path, "w+", np.float32, (math.prod(rest), height, width))
    strip = np.empty((STRIP_ROWS, width, *rest), np.float32)
    for top in range(0, height, STRIP_ROWS):
        rows = strip[: min(STRIP_ROWS, height - top)]
        image.read(top, top + len(rows), rows)
        planes = np.load(path, mmap_mode="r+")
        planes[:, top : top + len(rows)] = np.moveaxis(rows.reshape(len(rows), width, -1), 2, 0)


def _with_colours(place: WCS) -> WCS:
    """Return a place on the sky with a third axis, of the colours, but without distortion."""
    from astropy.wcs import WCS

    axis = {"CTYPE3": "FREQ", "CUNIT3": "Hz", "CRPIX3": 1, "CRVAL3": COLOURS_HZ, "CDELT3": COLOURS_HZ}
    return WCS({**place.to_header(relax=False), "WCSAXES": 3, **axis}, fix=False)


@dataclass(frozen=True)
class _Awaited:
    """A tile that is waited for, one of those that are in work: where that is stopped, no other is begun."""

    number: int
    tiles: Sequence[Future]
    progress: Progress

    def result(self) -> Any:
        """Return what the writer made of it."""
        try:
            made = self.tiles[self.number].result()
            self.progress.step(ON_THE_GRID, self.number + 1, len(self.tiles))
        except BaseException:
            for tile in self.tiles:
                tile.cancel()
            raise
        return made


# --- a tile -----------------------------------------------------------------------------------------------------------


def _tile(path: Path, place: WCS, cube: Any, header: Any) -> tuple[np.ndarray, np.ndarray]:
    """Return a tile of a cube (C, H, W), between neighbouring pixels: NaN where one of them is; and where it has data.

    `reproject` asks for far more tiles than show some of an image: those that show none are one pixel wide.

    Parameters
    ----------
    path : Path
        Of the cube's file, mapped anew: see `_write_planes`.
    place : astropy.wcs.WCS
        Of the cube, without its third axis, which knows no distortion.
    cube : (ndarray, WCS)
        As `reproject` gives it; not used.
    header : astropy.io.fits.Header
        The tile's place.
    """
    from astropy.wcs import WCS

    obey()  # threads end here, too, where the run is stopped
    planes = np.load(path, mmap_mode="r")
    channels, height, width = planes.shape
    x, y = _places(WCS(header).celestial, place.deepcopy(), (width, height))  # a copy, as no other thread may use it
    inside = (x > -1) & (x < width) & (y > -1) & (y < height)
    light = np.full((channels, *inside.shape), np.nan, np.float32)
    if inside.any():
        at = np.stack([y[inside], x[inside]])
        for plane, colour in zip(planes, light, strict=True):
            colour[inside] = scipy.ndimage.map_coordinates(plane, at, np.float32, 1, cval=np.nan, prefilter=False)
    return light, np.isfinite(light).astype(np.float32)


def _places(tile: WCS, place: WCS, sides: tuple[int, int]) -> np.ndarray:
    """Return where in an image each pixel of a tile lies: x and y (2, TILE, TILE); NaN (2, 1, 1) for a tile beside it.

    Across a tile places are as smooth as polynomials of a low degree, which cost nothing beside the sines of a
    projection: they are tried at other points than they go through. At the poles, and where faces of the grid meet,
    each place is computed.
    """
    side = _side()
    tried = _exactly(tile, place, side.probes)
    between = 2 * max(np.nan_to_num(np.abs(np.diff(tried, axis=axis))).max() for axis in (1, 2))
    if not all(((at > -between) & (at < most + between)).any() for at, most in zip(tried, sides, strict=True)):
        return np.full((2, 1, 1), np.nan)
    through = _exactly(tile, place, side.nodes)
    if np.abs(_between(through, side.to_probes) - tried).max() < CLOSE_PX:  # never where one is NaN
        return _between(through, side.to_pixels)
    return _exactly(tile, place, np.arange(TILE))


def _exactly(tile: WCS, place: WCS, points: np.ndarray) -> np.ndarray:
    """Return where in an image points of a tile lie, those of a grid with the same rows as columns: x and y."""
    from astropy.wcs.utils import pixel_to_pixel

    return np.stack(pixel_to_pixel(tile, place, *np.meshgrid(points, points)))


def _between(through: np.ndarray, to: np.ndarray) -> np.ndarray:
    """Return the polynomials through values (2, n, n) at other points; BLAS would start threads for so little."""
    return np.einsum("pi,aiq->apq", to, np.einsum("aij,qj->aiq", through, to))


@dataclass(frozen=True)
class _Side:
    """Points along a tile's side, in pixels.

    Attributes
    ----------
    nodes : ndarray, shape (NODES,)
        Chebyshev's, which polynomials go through.
    probes : ndarray, shape (PROBES,)
        From one end to the other.
    to_probes, to_pixels : ndarray, shapes (PROBES, NODES) and (TILE, NODES)
        What values at the nodes, multiplied by it, become at the probes and in the pixels.
    """

    nodes: np.ndarray
    probes: np.ndarray
    to_probes: np.ndarray
    to_pixels: np.ndarray


@cache
def _side() -> _Side:
    from numpy.polynomial import chebyshev

    middle, half = (TILE - 1) / 2, TILE / 2
    nodes, probes, pixels = chebyshev.chebpts1(NODES), np.linspace(-1, 1, PROBES), (np.arange(TILE) - middle) / half
    solved = np.linalg.inv(chebyshev.chebvander(nodes, NODES - 1))
    to_probes, to_pixels = (chebyshev.chebvander(points, NODES - 1) @ solved for points in (probes, pixels))
    return _Side(middle + half * nodes, middle + half * probes, to_probes, to_pixels)
