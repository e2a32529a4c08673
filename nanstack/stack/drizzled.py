# SPDX-License-Identifier: GPL-3.0-or-later
"""Cells of a canvas that photosites are dropped onto.

As AstroDrizzle does it: interpolated samples are stacked first, on a grid about as coarse as the photosites, to find
the outliers. Then each photosite drops, unless the sample nearest to it was one, or there is none.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from types import ModuleType
from typing import NamedTuple

import numpy as np
import scipy

from nanstack.canvas import Canvas, coarser
from nanstack.compilation import where_numba_is
from nanstack.levels.placed import Level, PlacedFrame, shifted_terms
from nanstack.levels.sample_noise import SHARE_OF_MOSAIC, pixels_alike
from nanstack.register.camera import Passage
from nanstack.register.mesh import Box, Mesh, mesh_of, mesh_step
from nanstack.register.warp import noise_left
from nanstack.settings import CanvasSettings
from nanstack.stack import drizzle as definition
from nanstack.stack import noise_model
from nanstack.stack.definition import Rejection
from nanstack.stack.drizzle import (
    ROUGH,
    VARIANCE,
    WEIGHT,
    Drizzle,
    Judged,
    Photosites,
    Worth,
    colours_of,
    no_sums,
)
from nanstack.stack.noise_model import FrameNoise, NoiseRejection
from nanstack.stack.sources import Window
from nanstack.stack.stacked import StackedCell

BYTES_OF_SUMS = 40  # of a pixel and colour: its sums, what they tell, and what one colour is made of
AROUND = 2  # photosites around a bright star, or as far as a colour is taken from
SPREAD_OF_COLOUR = 1.0  # photosites: of the Gaussian that it is the mean under


@dataclass(frozen=True)
class Dropping:
    """How a frame's photosites drop onto a canvas.

    Attributes
    ----------
    there : Passage
        From the frame's pixels to the canvas's, counted from its origin.
    step : int
        Of its mesh.
    finer : float
        By how much the canvas's pixels are finer.
    worth : Worth
    """

    there: Passage
    step: int
    finer: float
    worth: Worth

    @classmethod
    def of(cls, placed: PlacedFrame, canvas: Canvas, interpolation: str, drizzle: Drizzle) -> Dropping:
        """Find out how a frame's photosites drop onto a canvas, whose pixels are counted from its origin."""
        view, noise = placed.frame.view, placed.noise
        there = Passage.between(view, [canvas.view])[0]
        finer, pattern = canvas.view.focal / view.focal, placed.frame.facts.pattern
        left = noise_left(pattern, placed.channels, interpolation) / drizzle.noisier(finer, 2 if pattern else 1)
        worth = Worth(
            placed.levelling, placed.flat, noise.variance / left, noise.photon / left, noise.sky, placed.weight
        )
        step = mesh_step(there, _around(Box.whole(view.camera.shape)))
        return cls(there, step, finer, worth)

    def mesh(self) -> Mesh:
        """Return where all of the frame's photosites lie."""
        wide = _around(Box.whole(self.there.seen.camera.shape))
        return mesh_of(self.there, wide, self.step, wide)


def _around(box: Box) -> Box:
    """Return a box and the next pixels around it: corners of photosites lie between these."""
    return Box(box.top - 1, box.bottom + 1, box.left - 1, box.right + 1)


def on_grid(placed: PlacedFrame, drizzle: Drizzle) -> PlacedFrame:
    """Return a frame as it goes onto the grid on which outliers are found, instead of the canvas itself."""
    level = Level(*_of_squares(placed.level.terms, drizzle.coarser))
    return replace(placed, level=level, flat=_of_squares(placed.flat, drizzle.coarser))


def _of_squares(terms: np.ndarray, times: int) -> np.ndarray:
    """Return a polynomial of the place on the canvas as one of the place on a grid of squares of so many pixels."""
    middle = (times - 1) / 2  # of the first square
    powers = np.array([1, times, times, times**2, times**2, times**2])
    return (shifted_terms(terms, middle, middle).T * powers).T


def grid_of(canvas: Canvas, drizzle: Drizzle | None) -> Canvas:
    """Return the grid on which outliers are found: the canvas itself, or one of `nanstack.canvas.coarser`."""
    return canvas if drizzle is None else coarser(canvas, drizzle.coarser)


def reach(droppings: Sequence[Dropping], drizzle: Drizzle) -> int:
    """Return how many pixels of the grid around a part of it photosites lie whose drops may fall into the part."""
    return math.ceil(max(drizzle.reach(one.finer) for one in droppings) / drizzle.coarser) + 1


class Part(NamedTuple):
    """A part of the grid, and what of it that hangs on."""

    box: Box  # what is asked for
    around: Box  # that and `AROUND` it
    wide: Box  # that of the samples, with all the margin

    def on_canvas(self, times: int) -> tuple[Box, Box]:
        """Return where the first two lie on the canvas, with so many pixels along the side of one of the grid."""
        return tuple(Box(*(side * times for side in of)) for of in (self.box, self.around))


class Drops(NamedTuple):
    """What a frame may drop onto a part of a canvas."""

    dropping: Dropping
    mesh: Mesh  # of all its photosites
    pattern: str  # of their colours
    window: Window | None  # has those that may drop there


def dropped(
    samples: np.ndarray,
    frames: Sequence[PlacedFrame],
    drops: Sequence[Drops],
    settings: CanvasSettings,
    part: Part,
    hidden: np.ndarray | None = None,
) -> StackedCell:
    """Find outliers, and drop the photosites that are none; bright stars get one colour each.

    Parameters
    ----------
    samples : ndarray of float32, shape (n, h, w, C)
        Interpolated on the grid, levelled, NaN where a frame has no data.
    frames : sequence of PlacedFrame
        As they go onto the grid.
    drops : sequence of Drops
    settings : CanvasSettings
        With a drizzle.
    part : Part
    hidden : ndarray of int, shape (h, w), optional
        How many frames' samples masks took out.
    """
    drizzle, times, inner = settings.drizzle, settings.drizzle.coarser, part.box.within(part.wide)
    rejection = NoiseRejection(math.inf) if isinstance(settings.rejection, Rejection) else settings.rejection
    found = (_noise_kernels() or noise_model).judged(samples, FrameNoise.of(frames), rejection, inner)
    judged = Judged(found.good[0], _in_planes(found.mean), part.wide, times)
    own, near = part.on_canvas(times)
    sums = no_sums(samples.shape[-1], near.shape)
    for one, good in zip(drops, found.good, strict=True):
        _drop(one, judged._replace(good=good), drizzle, sums, near)
    light, rough = (_light_kernels() or definition).lit(judged, sums, near)
    if light.shape[-1] == 3 and rough.any():
        _colour_stars(
            light, rough, sums, _DarkSky(samples[(slice(None), *part.around.within(part.wide))], frames, times)
        )
    counts, gone = found.counts[inner], 0
    if hidden is not None:
        counts, gone = counts + hidden[inner], int(hidden[inner].sum())
    image = (_light_kernels() or definition).shown(
        sums[(..., *own.within(near))], light[own.within(near)], counts, times
    )
    channels = samples.shape[-1]
    return StackedCell(*image[:4], found.rejected + channels * gone, channels * int(counts.sum()), image.holes)


def _in_planes(mean: np.ndarray) -> np.ndarray:
    """Return a mean (h, w, C) as float32, each colour's side by side in memory: drops take rows of a colour."""
    return np.moveaxis(np.ascontiguousarray(np.moveaxis(mean, -1, 0), dtype=np.float32), 0, -1)


def _drop(drops: Drops, judged: Judged, drizzle: Drizzle, sums: np.ndarray, box: Box) -> None:
    """Drop a frame's photosites; those that no light made drop nothing."""
    one, mesh, pattern, window = drops
    if window is None:
        return
    colours, near = colours_of(pattern), mesh.cut(_around(window.box))
    photosites = Photosites(window.without_spikes(), window.box, colours, near, one.finer)
    (_kernels() or definition).drop(photosites, one.worth, judged, drizzle, sums, box)


def _variance_of(sums: np.ndarray) -> np.ndarray:
    """Return the variance of that: (h, w, C), infinite where there are none."""
    variance, weight = sums[:, VARIANCE].astype(np.float64), sums[:, WEIGHT].astype(np.float64)
    return np.moveaxis(np.divide(variance, weight**2, out=np.full_like(variance, np.inf), where=weight > 0), 0, -1)


@dataclass(frozen=True)
class _DarkSky:
    """The mean dark sky of the frames that show a pixel.

    Attributes
    ----------
    samples : ndarray of float32, shape (n, h, w, C)
        On the grid.
    frames : sequence of PlacedFrame
    times : int
        Pixels of the canvas along the side of one of the grid.
    """

    samples: np.ndarray
    frames: Sequence[PlacedFrame]
    times: int

    def __getitem__(self, place: tuple[slice, slice]) -> np.ndarray:
        """Return it in pixels of the canvas: (h, w, C)."""
        squares = tuple(slice(one.start // self.times, -(-one.stop // self.times)) for one in place)
        there = np.isfinite(self.samples[(slice(None), *squares, 0)])
        total = np.zeros((*there.shape[1:], self.samples.shape[-1]))
        for shown, one in zip(there, self.frames, strict=True):
            total += shown[..., np.newaxis] * one.noise.sky
        mean = total / np.maximum(there.sum(axis=0), 1)[..., np.newaxis]
        rows, columns = (np.arange(one.start, one.stop) // self.times - one.start // self.times for one in place)
        return mean[rows[:, np.newaxis], columns]


def _colour_stars(light: np.ndarray, rough: np.ndarray, sums: np.ndarray, dark: _DarkSky) -> None:
    """Give bright stars one colour each, in place: see `_of_one_colour`."""
    wide, found = AROUND * dark.times, []
    stars = scipy.ndimage.label(_grown(rough, wide))[0]
    for number, part in enumerate(scipy.ndimage.find_objects(stars), 1):
        there = tuple(
            slice(max(0, one.start - wide), min(size, one.stop + wide))
            for one, size in zip(part, stars.shape, strict=True)
        )
        own = stars[there] == number  # of others in reach not all surroundings are there
        colours = _of_one_colour(light[there], sums[(..., *there)], dark[there], dark.times)[own]
        found.append((there, own, colours))
    for there, own, colours in found:  # when no other one's surroundings are asked for any more
        light[there][own] = colours


def _grown(mask: np.ndarray, by: int) -> np.ndarray:
    """Return a mask and what lies within so many pixels of it, along rows and columns."""
    for axis in (0, 1):
        wide = mask.swapaxes(0, axis).copy()
        for shift in range(1, by + 1):
            wide[shift:] |= mask.swapaxes(0, axis)[:-shift]
            wide[:-shift] |= mask.swapaxes(0, axis)[shift:]
        mask = wide.swapaxes(0, axis)
    return mask


def _of_one_colour(light: np.ndarray, sums: np.ndarray, dark: np.ndarray, times: int) -> np.ndarray:
    """Return light above the dark sky with the colour that it has over a photosite's surroundings.

    A star has one colour; which frames' photosites of each colour came to lie in a pixel, and how good their seeing
    was, is chance. Where these surroundings are not surely brighter than the sky, they have no colour to give.

    Parameters
    ----------
    light : ndarray of float64, shape (h, w, 3)
    sums : ndarray of float32, shape (3, 3, h, w)
        Of the drops.
    dark : ndarray of float64, shape (h, w, 3)
    times : int
        Pixels along the side of a photosite.
    """
    above = np.nan_to_num(light - dark)
    grey = above @ SHARE_OF_MOSAIC
    sigma = (SPREAD_OF_COLOUR * times, SPREAD_OF_COLOUR * times)
    around, around_grey = (
        scipy.ndimage.gaussian_filter(of, sigma, axes=(0, 1), radius=AROUND * times, mode="constant")
        for of in (above, grey)
    )
    noise = np.sqrt(_variance_of(sums) @ SHARE_OF_MOSAIC**2)
    bright = (around_grey > ROUGH * noise)[..., np.newaxis]
    share = np.divide(around, around_grey[..., np.newaxis], out=np.zeros(above.shape), where=bright)
    return np.where(bright, dark + share * grey[..., np.newaxis], light)


def correlation(frames: Sequence[PlacedFrame], canvas: Canvas, settings: CanvasSettings) -> np.ndarray:
    """Return how much larger the variance of a mean over many pixels of a stack is than that of independent ones: (C,).

    Of interpolated frames: `nanstack.levels.sample_noise.pixels_alike`. A photosite's drop falls into several pixels,
    so that these are alike: by `Drizzle.alike`; and less than that, as what drops add to the mean is their own.

    Parameters
    ----------
    frames : sequence of PlacedFrame
        One at least.
    canvas : Canvas
    settings : CanvasSettings
    """
    if settings.drizzle is None:
        return pixels_alike(frames, canvas, settings.interpolation)
    factors = [_alike(one, canvas.view.focal / one.frame.view.focal, settings.drizzle) for one in frames]
    return np.average(factors, axis=0, weights=[one.weight**2 * one.noise.variance for one in frames])


def _alike(placed: PlacedFrame, finer: float, drizzle: Drizzle) -> np.ndarray:
    pitch = 2 if placed.frame.facts.pattern else 1
    return np.full(placed.channels, drizzle.alike(finer) / drizzle.noisier(finer, pitch))


@where_numba_is("outliers are found by NumPy, much slower")
def _noise_kernels() -> ModuleType:
    from nanstack.stack import noise_kernels

    return noise_kernels


@where_numba_is("photosites are dropped by NumPy, some 50 times slower")
def _kernels() -> ModuleType:
    from nanstack.stack import drizzle_kernels

    return drizzle_kernels


@where_numba_is("light is told by NumPy, slower")
def _light_kernels() -> ModuleType:
    from nanstack.stack import light_kernels

    return light_kernels
