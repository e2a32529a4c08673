# SPDX-License-Identifier: GPL-3.0-or-later
"""A picture as tiles for the screen: how they hold its light, and the pyramid of ever smaller ones, as in Deep Zoom.

A tile does not know how the picture will be stretched. Its 8 bits follow an inverse hyperbolic sine of the height above
the sky, in units of its noise: fine steps in the sky, coarse ones in stars, and all of the range. The browser turns
them into shades by a table, so a slider moves no pixels but those on the screen. A dither of one step keeps smooth
light from showing steps.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache

import numpy as np

from nanstack.memory import in_order
from nanstack.register.mesh import Box
from nanstack.stack.rows import Rows
from zemosaic_patch.pictures import SCREEN_BLACK_SIGMA, SOFT_SIGMA, Stretch

TILE = 512  # pixels of a tile's side
DARKEST_SIGMA = 30.0  # what lies further below the sky is as dark
NO_DATA, MOST = 0, 255  # levels: of a pixel without data; of the brightest one. All with data have 1 or more
BLOCK_BYTES = 2**25  # of rows that are made smaller at once
PNG_EFFORT = 1  # noise gets no smaller by more


# --- levels -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Encoding:
    """How light becomes a tile's levels.

    Attributes
    ----------
    sky, noise : ndarray of float64, shape (C,)
        Of each channel, in the image's unit.
    brightest_sigma : float
        What lies further above the sky, in units of its noise, is as bright.
    """

    sky: np.ndarray
    noise: np.ndarray
    brightest_sigma: float

    @classmethod
    def of(cls, stretch: Stretch, brightest: np.ndarray) -> Encoding:
        """Return the encoding of an image.

        Parameters
        ----------
        stretch : Stretch
            The first of `zemosaic_patch.pictures.screen_stretches`.
        brightest : ndarray, shape (C,)
            The brightest light seen in each channel.
        """
        sky, noise = sky_of(stretch)
        return cls(sky, noise, max(float(np.max((brightest - sky) / noise)), DARKEST_SIGMA))

    @property
    def _ends(self) -> tuple[float, float]:
        return math.asinh(-DARKEST_SIGMA), math.asinh(self.brightest_sigma)

    def levels(self, image: np.ndarray, dither: np.ndarray | float = 0.5) -> np.ndarray:
        """Return an image (H, W, C) as levels: uint8; NaN is `NO_DATA`.

        Parameters
        ----------
        image : ndarray of float32
        dither : ndarray, shape (H, W, 1), or float
            0 to 1: a level that lies so far, or less, below a whole one becomes that. By default the nearest.
        """
        low, high = self._ends
        with np.errstate(invalid="ignore", over="ignore"):
            scaled = image - np.float32(self.sky)
            scaled /= np.float32(self.noise)
            np.arcsinh(scaled, out=scaled)
            scaled -= np.float32(low)
            scaled *= np.float32((MOST - 1) / (high - low))
            np.clip(scaled, 0, MOST - 1, out=scaled)
            scaled += np.float32(dither)
        np.copyto(scaled, NO_DATA - 1, where=np.isnan(scaled))
        scaled += 1
        return np.minimum(scaled, MOST, out=scaled).astype(np.uint8)

    def light(self) -> np.ndarray:
        """Return the light of each level: float64 (256, C); NaN for `NO_DATA`."""
        low, high = self._ends
        scaled = low + (np.arange(MOST + 1) - 1) * (high - low) / (MOST - 1)
        light = self.sky + self.noise * np.sinh(scaled)[:, None]
        light[NO_DATA] = np.nan
        return light

    def shades(self, stretch: Stretch) -> np.ndarray:
        """Return the shade, from 0 to 1, that a stretch gives each level: float32 (C, 256)."""
        return np.ascontiguousarray(stretch(self.light()[None].astype(np.float32))[0].T)


def sky_of(stretch: Stretch) -> tuple[np.ndarray, np.ndarray]:
    """Return the level and the noise of the sky, a number a channel, that a stretch for the screen was made by."""
    noise = stretch.softening / SOFT_SIGMA
    return stretch.black + SCREEN_BLACK_SIGMA * noise, noise


@cache
def _dither() -> np.ndarray:
    """Return the dither of a tile: each value from 0 to 1 as often as any other."""
    return np.random.default_rng(0).random((TILE, TILE, 1), np.float32)


def dithered(encoding: Encoding, image: np.ndarray) -> np.ndarray:
    """Return an image as levels, dithered by a pattern that repeats tile by tile."""
    height, width = image.shape[:2]
    pattern = np.tile(_dither(), (-(-height // TILE), -(-width // TILE), 1))[:height, :width]
    return encoding.levels(image, pattern)


def as_png(pixels: np.ndarray) -> bytes:
    """Return a picture (H, W, C) of uint8 as PNG; C is 1, 3 or 4: grey, colours, colours and opacity."""
    import cv2

    order = {1: [0], 3: [2, 1, 0], 4: [2, 1, 0, 3]}[pixels.shape[2]]
    _, png = cv2.imencode(".png", pixels[..., order], [cv2.IMWRITE_PNG_COMPRESSION, PNG_EFFORT])
    return png.tobytes()


# --- the pyramid ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Pyramid:
    """Which tiles a picture has. Level 0 is one pixel; each further level has twice the sides of the one before.

    Attributes
    ----------
    height, width : int
    """

    height: int
    width: int

    @property
    def finest(self) -> int:
        """The level with all pixels."""
        return (max(self.height, self.width) - 1).bit_length()

    @property
    def coarsest(self) -> int:
        """The first level that a screen needs: one tile holds it."""
        return min(self.finest, TILE.bit_length() - 1)

    def shape(self, level: int) -> tuple[int, int]:
        """Return the height and width of a level."""
        once = 2 ** (self.finest - level)
        return -(-self.height // once), -(-self.width // once)

    def box(self, level: int, column: int, row: int) -> Box:
        """Return which pixels of a level a tile has; IndexError where there is no such tile."""
        if not self.coarsest <= level <= self.finest or min(column, row) < 0:
            raise IndexError(f"there is no tile {column}, {row} of level {level}")
        whole = Box.whole(self.shape(level))
        box = Box(row * TILE, (row + 1) * TILE, column * TILE, (column + 1) * TILE).common(whole)
        if 0 in box.shape:
            raise IndexError(f"there is no tile {column}, {row} of level {level}")
        return box


def smaller(image: Rows, encoding: Encoding) -> list[np.ndarray]:
    """Return an image's levels at half its size, a quarter, and so on, down to one tile.

    A pixel is the mean of the light that it covers, where there is any.

    Parameters
    ----------
    image : Rows, shape (H, W) or (H, W, C)
    encoding : Encoding

    Returns
    -------
    list of ndarray of uint8, shape (h, w, C)
    """
    pyramid = Pyramid(*image.shape[:2])
    count = pyramid.finest - pyramid.coarsest
    if not count:
        return []
    channels = (*image.shape, 1)[2]
    made = [np.empty((*pyramid.shape(pyramid.finest - n), channels), np.uint8) for n in range(1, count + 1)]
    rows = 2**count * max(1, BLOCK_BYTES // (4 * pyramid.width * channels) // 2**count)
    tops = range(0, pyramid.height, rows)

    def block(number: int) -> list[np.ndarray]:
        top = tops[number]
        planes = np.empty((channels, min(rows, pyramid.height - top), pyramid.width), np.float32)  # as they are stored
        light = np.moveaxis(planes, 0, -1)
        image.read(top, top + len(light), light.reshape(len(light), *image.shape[1:]))
        return [dithered(encoding, mean) for mean in means(light, count)]

    for number, parts in enumerate(in_order(block, len(tops))):
        for once, part in enumerate(parts, start=1):
            top = tops[number] >> once
            made[once - 1][top : top + len(part)] = part
    return made


def means(light: np.ndarray, count: int) -> list[np.ndarray]:
    """Return an image (H, W, C) at half its size, a quarter, and so on: means over the pixels with data; NaN for none.

    Where the sides are odd, the last pixel covers less. The image itself is used up.
    """
    missing = np.isnan(light[..., :1])
    sums, counts = light, (~missing).astype(np.float32)
    np.copyto(sums, 0, where=missing)
    made = []
    for _ in range(count):
        sums, counts = _halved(sums), _halved(counts)
        with np.errstate(invalid="ignore"):
            made.append(sums / np.where(counts, counts, np.nan))
    return made


def _halved(values: np.ndarray) -> np.ndarray:
    """Return the sums over two rows and two columns."""
    height, width = values.shape[:2]
    if height % 2 or width % 2:
        values = np.pad(values, ((0, height % 2), (0, width % 2), (0, 0)))
    pairs = values[0::2] + values[1::2]
    return pairs[:, 0::2] + pairs[:, 1::2]
