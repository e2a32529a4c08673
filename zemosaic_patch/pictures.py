# SPDX-License-Identifier: GPL-3.0-or-later
"""Pictures for the screen: how an image is stretched, and how it is written.

A stretch is an inverse hyperbolic sine between black, a little below the sky, and white. White is the bright end of
the image itself (`screen_stretches`), or a height above the sky in units of its noise (`sky_stretch`), which shows how
flat a sky is and lets two images be compared.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from nanstack.memory import in_order
from nanstack.stack.rows import ArrayRows, Rows
from zemosaic_patch.picture_files import write_rows

SCREEN_BLACK_SIGMA = 3.0  # black is this far below the sky, in units of its noise
SKY_BLACK_SIGMA = 6.0  # and this far where the sky is what matters: what is darker than it is to show, too
SOFT_SIGMA = 6.0  # a stretch is about linear over this range, above it about logarithmic
WHITE_PERCENTILE = 99.8  # on the screen, what is brighter is white
LEAST_WHITE_SIGMA = 30.0  # but nothing nearer to the sky: noise alone is not to look bright
SEEN_PIXELS = 250_000  # of an image, which are enough to find its levels
LEAST_NOISE = 1e-7  # an image without noise is drawn, too
BLOCK_BYTES = 2**20  # of rows that are worked on at once: they stay in the cache


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
        width = image.shape[1]
        black, softening, most = (
            np.tile(np.float32(values), width)
            for values in (self.black, self.softening, 1 / np.arcsinh(self.span / self.softening))
        )
        shades = np.empty((len(image), width * len(self.black)), np.float32)
        with np.errstate(over="ignore", invalid="ignore"):  # what is too large for float32 is white
            np.subtract(image.reshape(shades.shape), black, out=shades)
            shades /= softening
            np.fmax(shades, 0, out=shades)  # NaN becomes 0
            root = shades * shades
            root += 1
            np.sqrt(root, out=root)
            shades += root
            np.log(shades, out=shades)  # the inverse hyperbolic sine, which NumPy computes far slower
            shades *= most
        return np.fmin(shades, 1, out=shades).reshape(image.shape)


class Seen:
    """Pixels from all over an image, taken as its rows come: they are enough to find its levels.

    Parameters
    ----------
    shape : (int, int)
        Height and width of the image.
    """

    def __init__(self, shape: tuple[int, int]) -> None:
        self.step = max(1, math.ceil((shape[0] * shape[1] / SEEN_PIXELS) ** 0.5))
        self._rows: list[np.ndarray] = []

    def add(self, top: int, rows: np.ndarray) -> None:
        """Take what is needed of rows (h, W) or (h, W, C), the first of which is `top`; no row comes twice."""
        self._rows.append(rows[-top % self.step :: self.step, :: self.step].astype(np.float64))

    def pixels(self) -> np.ndarray:
        """Return pixels (n, C) with data, and keep none; one black pixel where there are none."""
        rows, self._rows = self._rows, []
        seen = np.concatenate(rows)
        del rows
        seen = seen.reshape(-1, *seen.shape[2:] or (1,))
        seen = seen[np.isfinite(seen).all(axis=1)]
        return seen if len(seen) else np.zeros((1, seen.shape[1]))


def screen_stretches(image: np.ndarray | Rows | Seen) -> tuple[Stretch, Stretch]:
    """Return the stretches that show an image from its sky to its bright end.

    The first one takes each channel from its own sky to its own bright end, which makes the sky grey; the second one
    takes all channels alike, above their skies, which keeps the colours of the stars.

    Parameters
    ----------
    image : ndarray or Rows, shape (H, W) or (H, W, C); or Seen
        NaN is no data.
    """
    seen = image.pixels() if isinstance(image, Seen) else _seen(image)
    sky, noise = _sky(seen)
    white = np.maximum(np.percentile(seen, WHITE_PERCENTILE, axis=0) - sky, LEAST_WHITE_SIGMA * noise)
    alike = [np.full_like(level, level.mean()) for level in (noise, white)]
    apart, linked = (
        _around_sky(sky, noise, SCREEN_BLACK_SIGMA * noise, white) for noise, white in ((noise, white), alike)
    )
    return apart, linked


def sky_stretch(image: np.ndarray | Rows, white_sigma: float) -> Stretch:
    """Return the stretch that shows an image's sky, all channels alike above their own skies.

    What remains of colour in the sky is then real.

    Parameters
    ----------
    image : ndarray or Rows, shape (H, W) or (H, W, C)
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


def _seen(image: np.ndarray | Rows) -> np.ndarray:
    """Return pixels (n, C) with data, from all over an image: see `Seen`."""
    rows = _rows(image)
    seen, row = Seen(rows.shape[:2]), np.empty((1, *rows.shape[1:]), np.float32)
    for top in range(0, rows.shape[0], seen.step):
        rows.read(top, top + 1, row)
        seen.add(top, row)
    return seen.pixels()


def _rows(image: np.ndarray | Rows) -> Rows:
    return ArrayRows(image) if isinstance(image, np.ndarray) else image


def _blocks(image: Rows, upside_down: bool) -> list[tuple[int, int]]:
    """Return which rows of an image belong together, from its first one or its last one on: their begins and ends."""
    height, row = image.shape[0], image.shape[1:]
    step = max(1, BLOCK_BYTES // (4 * math.prod(row)))
    tops = range(0, height, step)
    if upside_down:
        return [(max(0, height - top - step), height - top) for top in tops]
    return [(top, min(height, top + step)) for top in tops]


def _read(image: Rows, first: int, last: int, upside_down: bool) -> np.ndarray:
    """Return rows of an image, the last one first where that is so: float32 (h, W[, C])."""
    block = np.empty((last - first, *image.shape[1:]), np.float32)
    image.read(first, last, block)
    return block[::-1] if upside_down else block


def _sky(seen: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the level and the noise of the sky, a number a channel."""
    from astropy.stats import sigma_clipped_stats

    _, sky, noise = (np.array(level) for level in sigma_clipped_stats(seen, axis=0))
    return sky, np.maximum(noise, LEAST_NOISE)


def levels_of(shades: np.ndarray, bits: int = 8) -> np.ndarray:
    """Return shades from 0 to 1 as whole numbers of 8 or 16 bits; what is beyond is cut off."""
    depth = np.uint8 if bits == 8 else np.uint16
    levels = np.clip(np.asarray(shades, np.float32), 0, 1)
    levels *= np.iinfo(depth).max
    levels += 0.5
    return levels.astype(depth)


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
    _write(ArrayRows(shades), lambda block: block, path, bits, upside_down=False)


def write_stretched(
    image: np.ndarray | Rows, stretch: Stretch, path: Path, bits: int = 16, *, upside_down: bool = False
) -> None:
    """Write an image as a picture, of which memory holds some rows at a time.

    Parameters
    ----------
    image : ndarray or Rows, shape (H, W) or (H, W, 3)
    stretch : Stretch
    path : Path
    bits : {8, 16}
        As `write_picture`.
    upside_down : bool
        The image's last row is the top one: so north is up where rows follow each other to the north.
    """
    _write(_rows(image), stretch, path, bits, upside_down)


def write_coverage(coverage: np.ndarray | Rows, path: Path, *, upside_down: bool = False) -> None:
    """Write a coverage (H, W), the number of frames in each pixel, as a picture: white where it is highest."""
    rows = _rows(coverage)
    most = max((float(_read(rows, *block, False).max()) for block in _blocks(rows, False)), default=0)
    _write(rows, lambda block: block / np.float32(max(1, most)), path, 8, upside_down)


def _write(image: Rows, shades: Callable[[np.ndarray], np.ndarray], path: Path, bits: int, upside_down: bool) -> None:
    shape, blocks = (*image.shape, 1)[:3], _blocks(image, upside_down)

    def drawn(number: int) -> np.ndarray:
        levels = levels_of(shades(_read(image, *blocks[number], upside_down)), bits)
        return levels.reshape(len(levels), *shape[1:])

    write_rows(path, shape, bits, in_order(drawn, len(blocks), 1))  # the next is drawn while one is packed
