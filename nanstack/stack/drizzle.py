# SPDX-License-Identifier: GPL-3.0-or-later
"""Drizzle: each photosite drops onto the canvas by itself, in its own colour.

Fruchter and Hook 2002, PASP 114, 144. A photosite's square, shrunk, lies on the canvas as a quadrilateral. Each pixel
gets the share of the drop that falls into it, by exact areas; what it shows is the mean of its drops, by their weights
and shares. Of a Bayer mosaic a photosite drops into one colour, so that no colour is guessed from others beside it.

A pixel's drops have their middles around its own, and other ones in each colour: alone, they would blur stars and give
them fringes. So what drops is by how much a photosite differs from the mean of the interpolated frames at its own
place, and a pixel gets that mean in its middle, too: a step of Fruchter's iteration (2011, PASP 123, 497).

This is the definition, written to be read; `nanstack.stack.drizzle_kernels` and `nanstack.stack.light_kernels` are the
same, compiled.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from typing import NamedTuple

import numpy as np

from nanstack.register.mesh import Box, Mesh
from nanstack.register.raw_warp import polynomial_at
from nanstack.register.warp import keys

KERNELS = ("square", "point", "gaussian")
TIMES_FINER = (1.0, 4.0)  # times finer than frames' own pixels
FWHM = 2.3548  # of a Gaussian, in its sigma; to the digits that STScI has
GAUSSIAN_REACH = 1.2  # photosites that a Gaussian drop goes along rows and columns, as STScI has it: drops agree
ROUGH = 4.0  # sigma by which drops change the interpolated mean where a star is bright
LEAST_SHARE = 1e-7  # of a drop: what rounding makes of nothing is less
TAPS, MARGIN = (-1, 0, 1, 2), 2  # of a cubic, around a place; pixels beside the grid that some of them may lie in
FEW = 1e-3  # of the pixels may be without a drop
VALUE, WEIGHT, VARIANCE = range(3)  # sums in a pixel: of weight x value, of weight, of squared weight x variance
COLOURS = {"R": 0, "G": 1, "B": 2}


@dataclass(frozen=True)
class Drizzle:
    """How photosites drop.

    Attributes
    ----------
    scale : float
        How many times finer the canvas is than the frames.
    pixfrac : float
        Side of a drop, in that of a photosite: above 0, to 1. Smaller ones are sharper, and ask for more frames.
    kernel : {'square', 'point', 'gaussian'}
        A drop as even as the photosite; all of it in one pixel; or a round one, with `pixfrac` as its full width at
        half maximum.

    Raises
    ------
    ValueError
        For a number out of range, or an unknown kernel.
    """

    scale: float = 1.0
    pixfrac: float = 1.0
    kernel: str = "square"

    def __post_init__(self) -> None:
        if not TIMES_FINER[0] <= self.scale <= TIMES_FINER[1]:
            raise ValueError(
                f"drizzle's scale must be within {TIMES_FINER[0]:g} to {TIMES_FINER[1]:g}, not {self.scale!r}"
            )
        if not 0 < self.pixfrac <= 1:
            raise ValueError(f"pixfrac must be above 0, and 1 at most, not {self.pixfrac!r}")
        if self.kernel not in KERNELS:
            raise ValueError(f"kernel must be one of {', '.join(KERNELS)}, not {self.kernel!r}")

    @property
    def coarser(self) -> int:
        """Pixels of the canvas along the side of one of the grid on which outliers are found: about a photosite."""
        return 2 ** int(math.log2(self.scale * 1.2))

    def reach(self, finer: float) -> float:
        """Return how far from its middle a drop may go along an axis, in pixels of a canvas finer by that factor."""
        side = self.pixfrac * finer
        return {"square": side / math.sqrt(2), "point": 0.0, "gaussian": GAUSSIAN_REACH * finer}[self.kernel]

    def alike(self, finer: float) -> float:
        """Return how much larger the variance of a mean over many pixels is than if neighbours had no drop in common.

        It is one through the sum of a drop's squared shares in pixels, on average over where it falls. Of a square
        drop of the side s that is ((s - 1/3) / s^2)^2, or (1 - s/3)^2 below s = 1 (Fruchter and Hook 2002, section 7).

        Parameters
        ----------
        finer : float
            By how much the canvas's pixels are finer than the frame's.
        """
        side = self.pixfrac * finer
        if self.kernel == "point":
            return 1.0
        if self.kernel == "gaussian":
            return max(1.0, 4 * math.pi * (side / FWHM) ** 2)
        return 1 / ((side - 1 / 3) / side**2 if side > 1 else 1 - side / 3) ** 2

    def noisier(self, finer: float, pitch: int) -> float:
        """Return how much larger the variance of a pixel is than that of the mean of its drops alone.

        Of many frames, drops smooth as D does, the interpolated mean as K; both together as D + K - D K, in
        frequencies. By these, a variance is the integral over the plane of the square, which falls into products of
        integrals along an axis.

        Parameters
        ----------
        finer : float
            By how much the canvas's pixels are finer than the frame's.
        pitch : int
            Photosites from one of a colour to the next, along an axis: 2 of a Bayer mosaic.
        """
        return _noisier(self, round(finer, 2), pitch)  # frames' scales differ by less than counts

    def enough_frames(self, raw: bool) -> int:
        """Return how many frames, dithered at will, leave less than a thousandth of the pixels without a drop.

        Parameters
        ----------
        raw : bool
            Whether a quarter of a frame's photosites are of a colour; else all are.
        """
        across = {"square": self.pixfrac, "point": 0.0, "gaussian": 2 * GAUSSIAN_REACH}[self.kernel]
        reached = (0.25 if raw else 1.0) * (across + 1 / self.scale) ** 2  # of the pixels, by a frame's drops
        return 1 if reached >= 1 else math.ceil(math.log(FEW) / math.log(1 - reached))


@functools.cache
def _noisier(drizzle: Drizzle, finer: float, pitch: int) -> float:
    frequency, place = np.arange(0.5, 600) / 100, (np.arange(-1000, 1000) + 0.5) / 500
    drop = np.sinc(frequency) * np.sinc(frequency * drizzle.pixfrac * finer)
    if drizzle.kernel == "point":
        drop = np.sinc(frequency)
    elif drizzle.kernel == "gaussian":
        drop = np.exp(-2 * (np.pi * frequency * drizzle.pixfrac * finer / FWHM) ** 2)
    mean = np.cos(2 * np.pi * np.outer(frequency * pitch * finer, place)) @ keys(place) / 500
    parts = {(2, 0): 1, (0, 2): 1, (2, 2): 1, (1, 1): 2, (2, 1): -2, (1, 2): -2}
    squared = sum(factor * np.sum(drop**d * mean**m) ** 2 for (d, m), factor in parts.items())
    return float(squared / np.sum(drop**2) ** 2)


class Photosites(NamedTuple):
    """A part of a frame, and where it lies on the canvas."""

    samples: np.ndarray  # float32, (h, w) or (h, w, C); one that is not finite drops nothing
    box: Box  # of the frame
    colours: tuple[int, int, int, int]  # of the frame's first two rows' first two photosites; of (h, w, C) no matter
    mesh: Mesh  # where they, and the next pixels around them, lie on the canvas
    finer: float  # by how much the canvas's pixels are finer


class Worth(NamedTuple):
    """What becomes of a frame's samples: see `nanstack.levels.placed.PlacedFrame`; of a single photosite's noise."""

    levelling: np.ndarray  # float64, (7, C)
    flat: np.ndarray  # float64, (6,)
    variance: np.ndarray  # float64, (C,)
    photon: np.ndarray  # float64, (C,)
    sky: np.ndarray  # float64, (C,)
    weight: float


class Judged(NamedTuple):
    """What interpolated samples say of a frame's photosites: the nearest one stands for each."""

    good: np.ndarray  # bool, (h, w, C): there is data, and no outlier
    mean: np.ndarray  # float32, (h, w, C), of all frames; NaN where there is none
    box: Box  # the pixels of the grid, counted from the canvas's origin
    coarser: int  # pixels of the canvas along the side of one of these


class Lit(NamedTuple):
    """The light of pixels of the canvas."""

    light: np.ndarray  # float32, (h, w, C): the mean, and what drops tell beside it where there are any
    rough: np.ndarray  # bool, (h, w): drops change the mean by more than noise, in some colour


class Shown(NamedTuple):
    """What comes of pixels of the canvas: see `nanstack.stack.stacked.StackedCell`."""

    image: np.ndarray
    coverage: np.ndarray
    weight: np.ndarray
    variance: np.ndarray
    holes: int


def colours_of(pattern: str) -> tuple[int, int, int, int]:
    """Return the channels that a pattern's four photosites drop into; an empty one is mono."""
    return tuple(COLOURS[letter] for letter in pattern) if pattern else (0, 0, 0, 0)


def no_sums(channels: int, shape: tuple[int, int]) -> np.ndarray:
    """Return sums that nothing has dropped into: zeros of float32, (C, 3, h, w).

    In memory, a pixel's three stand side by side, and a fourth number: two pixels are a vector.
    """
    return np.moveaxis(np.zeros((channels, *shape, 4), dtype=np.float32)[..., :3], -1, 1)


def drop(photosites: Photosites, worth: Worth, judged: Judged, drizzle: Drizzle, sums: np.ndarray, box: Box) -> None:
    """Drop a frame's photosites.

    Parameters
    ----------
    photosites : Photosites
        With those whose drops fall into the box; others drop nothing.
    worth : Worth
    judged : Judged
        For these photosites; one beyond its box drops nothing.
    drizzle : Drizzle
    sums : ndarray of float32, shape (C, 3, h, w)
        As of `no_sums`. Of the pixels of `box`; added to: `VALUE`, `WEIGHT` and `VARIANCE`.
    box : Box
        Pixels of the canvas, counted from its origin.
    """
    samples, where, colours, mesh, finer = photosites
    rows, columns = np.mgrid[where.top : where.bottom, where.left : where.right]
    x, y = _place(mesh, rows, columns)
    row, column = (np.floor((v + 0.5) / judged.coarser) for v in (y, x))
    inside = (row >= judged.box.top) & (row < judged.box.bottom)
    inside &= (column >= judged.box.left) & (column < judged.box.right)
    for channel, data in _by_channel(samples, where, colours):
        i, j = np.nonzero(inside & np.isfinite(data))
        at = row[i, j].astype(int) - judged.box.top, column[i, j].astype(int) - judged.box.left, channel
        good = judged.good[at]
        i, j, at = i[good], j[good], tuple(part[good] if np.ndim(part) else part for part in at)
        u, v = x[i, j], y[i, j]
        gain, *level = worth.levelling[:, channel]
        value = gain * polynomial_at(worth.flat, v, u) * data[i, j] + polynomial_at(np.array(level), v, u)
        value -= mean_at(judged, channel, u, v)
        above = np.maximum(judged.mean[at].astype(np.float64) - worth.sky[channel], 0)
        variance = worth.variance[channel] + worth.photon[channel] * above
        for pixel_row, pixel_column, share in _shares(mesh, i + where.top, j + where.left, drizzle, finer):
            hit = (share > LEAST_SHARE) & (pixel_row >= box.top) & (pixel_row < box.bottom)
            hit &= (pixel_column >= box.left) & (pixel_column < box.right)
            weight = worth.weight * share[hit]
            to = pixel_row[hit] - box.top, pixel_column[hit] - box.left
            for total, more in zip(sums[channel], (value[hit], 1.0, weight * variance[hit]), strict=True):
                np.add.at(total, to, weight * more)


def means(judged: Judged, box: Box) -> np.ndarray:
    """Return the mean of the interpolated frames in the middles of pixels of the canvas: float64 (h, w, C)."""
    y, x = np.mgrid[box.top : box.bottom, box.left : box.right].astype(np.float64)
    return np.stack([mean_at(judged, channel, x, y) for channel in range(judged.mean.shape[2])], axis=-1)


def lit(judged: Judged, sums: np.ndarray, box: Box) -> Lit:
    """Return the light of pixels of the canvas.

    Parameters
    ----------
    judged : Judged
        Of whichever frame: the mean is one.
    sums : ndarray of float32, shape (C, 3, h, w)
        Of these pixels, when all frames have dropped.
    box : Box
        The pixels, counted from the canvas's origin.
    """
    value, weight = sums[:, VALUE], sums[:, WEIGHT]
    more = np.divide(value, weight, out=np.zeros(value.shape, np.float32), where=weight > 0)
    rough = (value**2 > np.float32(ROUGH**2) * sums[:, VARIANCE]).any(axis=0)
    return Lit((means(judged, box) + np.moveaxis(more, 0, -1)).astype(np.float32), rough)


def shown(sums: np.ndarray, light: np.ndarray, counts: np.ndarray, times: int) -> Shown:
    """Return what pixels show: their light where frames have data, and drops reached each colour.

    Parameters
    ----------
    sums : ndarray of float32, shape (C, 3, h, w)
    light : ndarray of float32, shape (h, w, C)
    counts : ndarray of int, shape (h / times, w / times)
        How many frames have data, in the pixels of the grid.
    times : int
        Pixels of the canvas along the side of one of these.
    """
    weight, coverage = sums[:, WEIGHT], counts.repeat(times, axis=0).repeat(times, axis=1)
    whole = (weight > 0).all(axis=0) & (coverage > 0)
    inverse = np.divide(np.float32(1), weight, out=np.full(weight.shape, np.float32(np.nan)), where=whole)
    return Shown(
        np.where(whole[..., np.newaxis], light, np.float32(np.nan)),
        np.where(whole, coverage, 0).astype(np.uint16),
        np.where(whole, weight.mean(axis=0), np.float32(0)),
        np.ascontiguousarray(np.moveaxis(sums[:, VARIANCE] * inverse * inverse, 0, -1)),
        int(np.count_nonzero((coverage > 0) & ~whole)),
    )


def mean_at(judged: Judged, channel: int, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Return that mean at places of the canvas, by Keys' cubic convolution; the nearest stands for taps without one."""
    mean = np.pad(judged.mean[..., channel].astype(np.float64), MARGIN, constant_values=np.nan)
    row, column = ((v + 0.5) / judged.coarser - 0.5 for v in (y, x))
    top, left = (np.floor(v).astype(int) for v in (row, column))
    down, right = (keys(np.subtract.outer(TAPS, v - np.floor(v))) for v in (row, column))
    i, j = top - judged.box.top + MARGIN, left - judged.box.left + MARGIN
    nearest = mean[_nearest(row) - judged.box.top + MARGIN, _nearest(column) - judged.box.left + MARGIN]
    total = np.zeros(np.shape(x))
    for a, b in product(range(len(TAPS)), repeat=2):
        tap = mean[i + TAPS[a], j + TAPS[b]]
        total += down[a] * right[b] * np.where(np.isfinite(tap), tap, nearest)
    return total


def _by_channel(samples: np.ndarray, box: Box, colours: tuple[int, ...]) -> Iterator[tuple[int, np.ndarray]]:
    """Give the photosites of each channel: float64 (h, w), NaN for the others'."""
    if samples.ndim == 3:
        yield from enumerate(np.moveaxis(samples.astype(np.float64), -1, 0))
        return
    rows, columns = np.arange(box.top, box.bottom) % 2, np.arange(box.left, box.right) % 2
    own = np.array(colours)[2 * rows[:, np.newaxis] + columns]
    for channel in sorted(set(colours)):
        yield channel, np.where(own == channel, samples.astype(np.float64), np.nan)


def _place(mesh: Mesh, row: np.ndarray, column: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return where places of the frame, whole numbers or not, lie on the canvas: x and y."""
    i, j = (np.floor(v / mesh.step).astype(int) for v in (row, column))
    below, right = row / mesh.step - i, column / mesh.step - j
    i, j = i - mesh.box.top // mesh.step, j - mesh.box.left // mesh.step
    return tuple(
        (nodes[i, j] * (1 - below) + nodes[i + 1, j] * below) * (1 - right)
        + (nodes[i, j + 1] * (1 - below) + nodes[i + 1, j + 1] * below) * right
        for nodes in (mesh.x, mesh.y)
    )


Shares = Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]


def _shares(mesh: Mesh, row: np.ndarray, column: np.ndarray, drizzle: Drizzle, finer: float) -> Shares:
    """Give rows and columns of pixels, and the share of each drop that falls there: each pixel of each drop once."""
    if drizzle.kernel == "square":
        yield from _square_shares(mesh, row, column, drizzle.pixfrac)
        return
    x, y = _place(mesh, row, column)
    if drizzle.kernel == "gaussian":
        yield from _gaussian_shares(x, y, drizzle.pixfrac * finer / FWHM, GAUSSIAN_REACH * finer)
    else:
        yield _nearest(y), _nearest(x), np.ones(len(x))


def _nearest(place: np.ndarray) -> np.ndarray:
    return np.floor(place + 0.5).astype(int)


def _gaussian_shares(x: np.ndarray, y: np.ndarray, sigma: float, reach: float) -> Shares:
    """A Gaussian's values in the middles of pixels: their sum is about 1."""
    first, last = ([_nearest(v + side * reach) for v in (y, x)] for side in (-1, 1))
    for down, right in product(range(math.ceil(2 * reach) + 1), repeat=2):
        row, column = first[0] + down, first[1] + right
        squared = (row - y) ** 2 + (column - x) ** 2
        share = np.exp(-squared / (2 * sigma**2)) / (2 * math.pi * sigma**2)
        yield row, column, np.where((row <= last[0]) & (column <= last[1]), share, 0.0)


def _square_shares(mesh: Mesh, row: np.ndarray, column: np.ndarray, pixfrac: float) -> Shares:
    down, right = np.array([[-1, -1, 1, 1], [-1, 1, 1, -1]])[..., np.newaxis] * pixfrac / 2
    x, y = _place(mesh, row + down, column + right)
    area = np.abs((x[2] - x[0]) * (y[3] - y[1]) - (x[3] - x[1]) * (y[2] - y[0])) / 2
    first, last = (_nearest(np.stack([most(v, axis=0) for v in (y, x)])) for most in (np.min, np.max))
    spans = (last - first).max(axis=1, initial=0) + 1
    for down, right in product(*map(range, spans.tolist())):
        row, column = first[0] + down, first[1] + right
        yield row, column, _overlap(x - column, y - row) / area


def _overlap(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Return the areas that quadrilaterals, corners (4, n) in turn, have in common with the unit square around 0.

    Below each side, as far as it lies over the square, is a part of that: the parts below sides one way, less those
    below sides the other way, are what lies between.
    """
    total = np.zeros(x.shape[1])
    for k in range(4):
        x0, y0, x1, y1 = x[k], y[k], x[(k + 1) % 4], y[(k + 1) % 4]
        left, right = np.clip(x0, -0.5, 0.5), np.clip(x1, -0.5, 0.5)
        width = np.where(x1 == x0, 1.0, x1 - x0)
        low, high = (y0 + (y1 - y0) * (at - x0) / width + 0.5 for at in (left, right))
        total += (right - left) * _mean_height(low, high)
    return np.abs(total)


def _mean_height(low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """Return the mean of heights from one to another, each cut to 0 ... 1."""
    apart = np.abs(high - low) > 1e-7
    between = np.where(apart, high - low, 1.0)
    cut = np.clip((low + high) / 2, 0, 1)
    return np.where(apart, (_below(high) - _below(low)) / between, cut)


def _below(height: np.ndarray) -> np.ndarray:
    """Return the integral of heights cut to 0 ... 1, from 0 on."""
    cut = np.clip(height, 0, 1)
    return cut**2 / 2 + np.maximum(height - 1, 0)
