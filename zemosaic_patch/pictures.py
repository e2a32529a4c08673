# SPDX-License-Identifier: GPL-3.0-or-later
"""Pictures for the screen: how an image is stretched, and how it is written.

A stretch is an inverse hyperbolic sine between black, a little below the sky, and white. White is the bright end of
the image itself (`screen_stretch`), or a height above the sky in units of its noise (`sky_stretch`), which shows how
flat a sky is and lets two images be compared.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from nanstack.io.files import complete_file

SCREEN_BLACK_SIGMA = 3.0  # black is this far below the sky, in units of its noise
SKY_BLACK_SIGMA = 6.0  # and this far where the sky is what matters: what is darker than it is to show, too
SOFT_SIGMA = 6.0  # a stretch is about linear over this range, above it about logarithmic
WHITE_PERCENTILE = 99.8  # on the screen, what is brighter is white
LEAST_WHITE_SIGMA = 30.0  # but nothing nearer to the sky: noise alone is not to look bright
SEEN_PIXELS = 250_000  # of an image, which are enough to find its levels
LEAST_NOISE = 1e-7  # an image without noise is drawn, too


@dataclass(frozen=True)
class Stretch:
    """How levels become shades; one value a channel, in the image's unit.

    Attributes
    ----------
    black, span : ndarray of float64, shape (C,)
        The level that becomes black, and how far above it white begins.
    softening : ndarray of float64, shape (C,)
        How far above black the stretch is about linear.
    """

    black: np.ndarray
    span: np.ndarray
    softening: np.ndarray

    def __call__(self, image: np.ndarray) -> np.ndarray:
        """Return an image (H, W) or (H, W, C) as shades from 0, black, to 1, white: float32; NaN is black."""
        planes = _with_channels(image)
        with np.errstate(over="ignore", invalid="ignore"):  # what is too large for float32 is no data
            shades = (planes - np.float32(self.black)) / np.float32(self.softening)
        np.arcsinh(shades, out=shades)
        shades /= np.float32(np.arcsinh(self.span / self.softening))
        shades[~np.isfinite(shades)] = 0
        return np.clip(shades, 0, 1, out=shades).reshape(image.shape)


def screen_stretch(image: np.ndarray, linked: bool = False) -> Stretch:
    """Return the stretch that shows an image from its sky to its bright end.

    Parameters
    ----------
    image : ndarray, shape (H, W) or (H, W, C)
        NaN is no data.
    linked : bool
        False: each channel from its own sky to its own bright end, which makes the sky grey. True: all channels alike,
        above their skies, which keeps the colours of the stars.
    """
    seen = _seen(image)
    sky, noise = _sky(seen)
    white = np.maximum(np.percentile(seen, WHITE_PERCENTILE, axis=0) - sky, LEAST_WHITE_SIGMA * noise)
    if linked:
        noise, white = (np.full_like(level, level.mean()) for level in (noise, white))
    return _around_sky(sky, noise, SCREEN_BLACK_SIGMA * noise, white)


def sky_stretch(image: np.ndarray, white_sigma: float) -> Stretch:
    """Return the stretch that shows an image's sky, all channels alike above their own skies.

    What remains of colour in the sky is then real.

    Parameters
    ----------
    image : ndarray, shape (H, W) or (H, W, C)
        NaN is no data.
    white_sigma : float
        How far above the sky white begins, in units of its noise.
    """
    sky, noise = _sky(_seen(image))
    noise = np.full_like(noise, noise.mean())
    return _around_sky(sky, noise, SKY_BLACK_SIGMA * noise, white_sigma * noise)


def _around_sky(sky: np.ndarray, noise: np.ndarray, below: np.ndarray, above: np.ndarray) -> Stretch:
    """Return the stretch from so far below the sky to so far above it."""
    return Stretch(sky - below, below + above, SOFT_SIGMA * noise)


def _with_channels(image: np.ndarray) -> np.ndarray:
    return image[..., np.newaxis] if image.ndim == 2 else image


def _seen(image: np.ndarray) -> np.ndarray:
    """Return pixels (n, C) with data, from all over the image; one black pixel where there are none."""
    planes = _with_channels(image)
    step = max(1, math.ceil((planes[..., 0].size / SEEN_PIXELS) ** 0.5))
    seen = planes[::step, ::step].reshape(-1, planes.shape[2]).astype(np.float64)
    seen = seen[np.isfinite(seen).all(axis=1)]
    return seen if len(seen) else np.zeros((1, planes.shape[2]))


def _sky(seen: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the level and the noise of the sky, a number a channel."""
    from astropy.stats import sigma_clipped_stats

    _, sky, noise = (np.array(level) for level in sigma_clipped_stats(seen, axis=0))
    return sky, np.maximum(noise, LEAST_NOISE)


def levels_of(shades: np.ndarray, bits: int = 8) -> np.ndarray:
    """Return shades from 0 to 1 as whole numbers of 8 or 16 bits; what is beyond is cut off."""
    depth = np.uint8 if bits == 8 else np.uint16
    return np.rint(np.iinfo(depth).max * np.clip(shades, 0, 1)).astype(depth)


def write_picture(shades: np.ndarray, path: Path, bits: int = 8) -> None:
    """Write shades as a picture, of the kind that its name says; an existing one is replaced.

    Parameters
    ----------
    shades : ndarray, shape (H, W) or (H, W, 3)
        From 0, black, to 1, white; the first row is the top one.
    path : Path
        The picture appears complete or not at all.
    bits : {8, 16}
        A channel.
    """
    import cv2

    levels = levels_of(shades, bits)
    if levels.ndim == 3:
        levels = levels[..., ::-1]  # OpenCV's channels are B, G, R
    quick = [cv2.IMWRITE_PNG_COMPRESSION, 1, cv2.IMWRITE_PNG_STRATEGY, cv2.IMWRITE_PNG_STRATEGY_HUFFMAN_ONLY]
    _, encoded = cv2.imencode(path.suffix, levels, quick if path.suffix == ".png" else [])  # other threads go on
    with complete_file(path) as temporary:
        temporary.write_bytes(encoded)


def write_coverage(coverage: np.ndarray, path: Path) -> None:
    """Write a coverage (H, W), the number of frames in each pixel, as a picture: white where it is highest."""
    write_picture(coverage / np.float32(max(1, coverage.max())), path)
