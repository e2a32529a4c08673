# SPDX-License-Identifier: GPL-3.0-or-later
"""Colour straight from a Bayer mosaic: every photosite is interpolated once, and no image is debayered before.

The mosaic is four lattices of photosites, one for each place of its 2 x 2 pattern, each of a pitch of two pixels. A
sample is interpolated in each of them, by a kernel stretched to that pitch; the two of green are averaged. Debayering
first would blur every star once more.

Where the kernel's taps are not all there, beside the frame's edge or a photosite without data, a tent over the nearest
four of each lattice stands in for all of them; where its taps are not there either, the sample is NaN, in all channels
at once. Where a coordinate falls on the grid, the lattice that has photosites there is used at that place alone.
No lattice's sum digs a dark ring around a bright star: `nanstack.register.rings.summed`.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import product
from types import ModuleType

import numpy as np

from nanstack import compilation
from nanstack.arrays import to_float32
from nanstack.register.mesh import Box, Mesh
from nanstack.register.rings import summed
from nanstack.register.warp import blocks, keys, lanczos3, normalised

TAPS = {"bicubic": 4, "lanczos3": 6}  # photosites of one lattice under the kernel, along an axis
NEAREST = range(-1, 3)  # photosites along an axis: each lattice's just before a coordinate, and just behind it
UNCHANGED = np.repeat([1.0, 0, 0, 0, 0, 0, 0], 3).reshape(7, 3)
EVEN = np.array([1.0, 0, 0, 0, 0, 0])


def raw_reach(interpolation: str) -> int:
    """Return how far the farthest photosite of a sample is from it: half of so many, at a pitch of two pixels."""
    return TAPS[interpolation]


def warp_mosaic(
    window: np.ndarray,
    pattern: str,
    mesh: Mesh,
    interpolation: str = "bicubic",
    *,
    corner: tuple[int, int] = (0, 0),
    levelling: np.ndarray = UNCHANGED,
    flat: np.ndarray = EVEN,
    out: np.ndarray | None = None,
) -> np.ndarray:
    """Resample a Bayer mosaic at the pixels of a part of a result, in colour.

    Parameters
    ----------
    window : ndarray of float32, shape (H, W)
        The frame's photosites, or a part that holds those within `raw_reach` of the pixels; one that is not finite is
        no data.
    pattern : {'RGGB', 'BGGR', 'GRBG', 'GBRG'}
        Colours of the first two rows' first two photosites, of the frame.
    mesh : nanstack.register.mesh.Mesh
        Where the pixels of the part lie in the frame.
    interpolation : {'bicubic', 'lanczos3'}
        Keys' cubic convolution (a = -1/2, IEEE Trans. ASSP 29, 1153), or a Lanczos window of 3 lobes, normalised.
    corner : (int, int)
        Row and column of the frame where the window begins. Which one it is changes no bit of the result.
    levelling : ndarray of float64, shape (7, 3)
        By colour, what becomes of a sample: it is multiplied by the first row, and `polynomial_at` of the others is
        added. By default nothing.
    flat : ndarray of float64, shape (6,)
        Beside that, samples are multiplied by `polynomial_at` of it, in all colours. By default they are not.
    out : ndarray of float32, shape (h, w, 3), optional
        C-contiguous; filled in and returned.

    Returns
    -------
    ndarray of float32, shape (h, w, 3)
        The part of the result that `mesh.part` names; NaN where the mosaic has no data.
    """
    out = np.empty((*mesh.part.shape, 3), dtype=np.float32) if out is None else out
    if mesh.box != mesh.part:
        out[:] = np.nan
    kernels = _compiled()
    fill = kernels.fill_from_mosaic if kernels else fill_from_mosaic
    fill(
        window,
        mesh,
        out,
        corner=corner,
        places=places_of(pattern),
        taps=TAPS[interpolation],
        levelling=np.ascontiguousarray(levelling, dtype=np.float64),
        flat=np.ascontiguousarray(flat, dtype=np.float64),
    )
    return out


def polynomial_at(terms: np.ndarray, row: np.ndarray, column: np.ndarray) -> np.ndarray:
    """Return a polynomial at rows and columns of the result.

    Parameters
    ----------
    terms : ndarray of float64, shape (6,) or (6, C)
        The factors of 1, column, row, column squared, column times row, and row squared.
    row, column : ndarray
        Broadcast against each other, and the colours.
    """
    offset, per_column, per_row, across, mixed, down = terms
    return offset + (per_row + down * row) * row + (per_column + mixed * row + across * column) * column


def places_of(pattern: str) -> tuple[int, int, int, int]:
    """Return where a pattern has red, green, green, and blue: 0 to 3, row by row."""
    greens = [place for place, colour in enumerate(pattern) if colour == "G"]
    return pattern.index("R"), *greens, pattern.index("B")


def fill_from_mosaic(
    window: np.ndarray,
    mesh: Mesh,
    out: np.ndarray,
    *,
    corner: tuple[int, int],
    places: tuple[int, int, int, int],
    taps: int,
    levelling: np.ndarray,
    flat: np.ndarray,
) -> None:
    """Define `warp_mosaic`, in NumPy: what the compiled kernel is tested against.

    Parameters
    ----------
    window, mesh, out, corner, levelling, flat
        As there.
    places : (int, int, int, int)
        As `places_of` finds them.
    taps : int
        Photosites of one lattice under the kernel, along an axis: 4 is Keys' cubic convolution, 6 Lanczos' window.
    """
    top, _, left, right = mesh.box
    margin = 2 * taps
    photosites = np.pad(window, margin, constant_values=np.nan)
    shown = out[mesh.box.within(mesh.part)]
    for rows in blocks(*mesh.box.shape):
        box = Box(top + rows.start, top + rows.stop, left, right)
        samples = _sampled(photosites, *mesh.positions(box), margin=margin, corner=corner, places=places, taps=taps)
        column, row = np.arange(left, right)[:, np.newaxis], np.arange(box.top, box.bottom)[:, np.newaxis, np.newaxis]
        gain = levelling[0] * polynomial_at(flat, row, column)
        values = to_float32(gain * samples + polynomial_at(levelling[1:], row, column))
        values[~np.isfinite(values).all(axis=2)] = np.nan
        shown[rows] = values


def _sampled(
    photosites: np.ndarray,
    x: np.ndarray,
    y: np.ndarray,
    *,
    margin: int,
    corner: tuple[int, int],
    places: tuple[int, int, int, int],
    taps: int,
) -> np.ndarray:
    """Return samples (h, w, 3) at coordinates (h, w); the photosites have a margin of NaN."""
    top, first = corner
    bottom, last = (begin + side - 2 * margin - 1 for begin, side in zip(corner, photosites.shape, strict=True))
    on_frame = (x >= first) & (x <= last) & (y >= top) & (y <= bottom)
    x, y = np.where(on_frame, x, first), np.where(on_frame, y, top)
    left, above = np.floor(x).astype(np.intp), np.floor(y).astype(np.intp)
    place = above - top + margin, left - first + margin
    weigh = keys if taps == 4 else lanczos3
    found = _by_lattices(photosites, place, *(_weights(weigh, v, taps) for v in (y - above, x - left)))
    near = _by_lattices(photosites, place, *(_weights(_tent, v, 2) for v in (y - above, x - left)))
    lattices = np.where(np.isfinite(found).all(axis=0), found, near)
    begins = 2 * ((above + 1) % 2) + (left + 1) % 2  # the first photosites stand an odd number of pixels before it
    red, green, other_green, blue = (
        np.take_along_axis(lattices, (place ^ begins)[np.newaxis], axis=0)[0] for place in places
    )
    colours = np.stack([red, (green + other_green) / 2, blue], axis=-1)
    return np.where((on_frame & np.isfinite(lattices).all(axis=0))[..., np.newaxis], colours, np.nan)


def _weights(weigh: Callable[[np.ndarray], np.ndarray], beyond: np.ndarray, taps: int) -> np.ndarray:
    """Return what the 2 x taps photosites along an axis weigh, the first one taps - 1 before the whole coordinate."""
    weights = weigh(np.subtract.outer(np.arange(1 - taps, taps + 1), beyond) / -2.0)
    for lattice in (weights[::2], weights[1::2]):
        lattice[:] = normalised(lattice)
    return weights


def _by_lattices(
    photosites: np.ndarray, place: tuple[np.ndarray, np.ndarray], weights_y: np.ndarray, weights_x: np.ndarray
) -> np.ndarray:
    """Return the samples of the four lattices, (4, h, w) float64: NaN where a photosite that weighs anything is not."""
    row, column = place
    before = 1 - len(weights_x) // 2
    lattices = [range(lattice, len(weights_x), 2) for lattice in (0, 1)]
    samples = []
    for rows, columns in product(lattices, lattices):
        pairs = list(product(rows, columns))
        weights = np.array([weights_y[i] * weights_x[j] for i, j in pairs])
        values = np.array([photosites[row + before + i, column + before + j] for i, j in pairs])
        nearest = [before + i in NEAREST and before + j in NEAREST for i, j in pairs]
        samples.append(summed(weights, values, nearest))
    return np.stack(samples)


def _tent(t: np.ndarray) -> np.ndarray:
    return np.maximum(0.0, 1.0 - np.abs(t))


@compilation.where_numba_is("frames are warped by NumPy, some 10 times slower")
def _compiled() -> ModuleType:
    from nanstack.register import _raw_warp_kernel

    return _raw_warp_kernel
