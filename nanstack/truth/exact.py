# SPDX-License-Identifier: GPL-3.0-or-later
"""The exact stack: frames of a known scene, stacked by their true transforms, with no alignment and no sky matching.

It is what the frames' own data allow, so the noise of other stacks is told in units of its noise. Frames are
interpolated by SciPy's cubic splines, not by the engine's warp, and their footprints follow from geometry alone.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import scipy

from nanstack.levels.photometry import SIGMA_OF_MAD
from nanstack.stack.definition import Rejection, stack_block
from nanstack.truth.simulation import apply, invert

SPLINE_ORDER = 3
EDGE_PX = 1e-6  # a transform's rounding does not put a pixel outside its own frame
SPREAD_PX = 5  # debayering and interpolation spread a star over squares of this width
FAR_OFF_SIGMA, FAR_OFF_SHARE = 6.0, 0.5  # a sample further off, in noise and as a share of the light there, is struck
NOISE_STEP = 7  # one sample in so many is enough to measure a frame's noise


@dataclass(frozen=True)
class Samples:
    """A frame's samples on the pixels of a stack.

    Attributes
    ----------
    box : (slice, slice)
        Rows and columns of the stack that hold all of the frame.
    inside : ndarray of bool, shape (h, w)
        Which pixels of the box the frame covers.
    values : ndarray of float32, shape (h, w, C)
        In ADU; without meaning where the frame covers nothing.
    """

    box: tuple[slice, slice]
    inside: np.ndarray
    values: np.ndarray


def sample_frame(data: np.ndarray, transform: np.ndarray, shape: tuple[int, int]) -> Samples:
    """Interpolate a frame at the pixels of a stack.

    Parameters
    ----------
    data : ndarray of float32, shape (H, W, C)
        The frame; finite.
    transform : ndarray, shape (2, 3)
        Maps a pixel (x, y) of the stack to one of the frame.
    shape : (int, int)
        Height and width of the stack.
    """
    height, width = data.shape[:2]
    box = _box(data.shape, transform, shape)
    (top, left), (rows, columns) = [part.start for part in box], [part.stop - part.start for part in box]
    x, y = apply(transform, left + np.arange(columns), top + np.arange(rows)[:, np.newaxis])
    inside = (x >= -EDGE_PX) & (x <= width - 1 + EDGE_PX) & (y >= -EDGE_PX) & (y <= height - 1 + EDGE_PX)
    turned = transform[::-1, 1::-1]  # SciPy counts (row, column)
    start = transform[::-1, 2] + turned @ (top, left)
    values = np.empty((rows, columns, data.shape[2]), dtype=np.float32)
    for channel in range(data.shape[2]):
        plane = data[..., channel]
        scipy.ndimage.affine_transform(
            plane, turned, start, (rows, columns), values[..., channel], SPLINE_ORDER, mode="mirror"
        )
    return Samples(box, inside, values)


def _box(frame: tuple[int, ...], transform: np.ndarray, shape: tuple[int, int]) -> tuple[slice, slice]:
    """Return the rows and columns of a stack that hold all of a frame."""
    right, bottom = frame[1] - 1, frame[0] - 1
    x, y = apply(invert(transform), np.array([0.0, right, right, 0.0]), np.array([0.0, 0.0, bottom, bottom]))
    limits = [(max(0, int(np.floor(at.min()))), int(np.ceil(at.max())) + 1) for at in (y, x)]
    return tuple(slice(first, max(first, min(n, last))) for (first, last), n in zip(limits, shape, strict=True))


def exact_stack(
    samples: Iterable[Samples], shape: tuple[int, int], rejection: Rejection
) -> tuple[np.ndarray, np.ndarray]:
    """Stack frames; outliers go by the reference definition of a rejection.

    For a comparison with a stack by the same rejection. All frames are held at once.

    Parameters
    ----------
    samples : iterable of Samples
        One a frame; see `sample_frame`.
    shape : (int, int)
        Height and width of the stack.
    rejection : nanstack.stack.definition.Rejection

    Returns
    -------
    image : ndarray of float32, shape (H, W, C)
        In ADU; NaN where no frame has data.
    coverage : ndarray of int, shape (H, W)
        Frames whose footprint holds the pixel.
    """
    layers = np.stack([_on_whole_stack(frame, shape) for frame in samples])
    return stack_block(layers, rejection).image, np.isfinite(layers[..., 0]).sum(axis=0)


def _on_whole_stack(frame: Samples, shape: tuple[int, int]) -> np.ndarray:
    """Return a frame's samples on all pixels of a stack; NaN where it has none."""
    layer = np.full((*shape, frame.values.shape[2]), np.nan, dtype=np.float32)
    layer[frame.box] = np.where(frame.inside[..., np.newaxis], frame.values, np.nan)
    return layer


def exact_mean(samples: Iterable[Samples], light: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Average frames, less the samples that the scene cannot have caused: hot pixels, cosmic rays, satellites.

    Frames are added up as they come, so a whole mosaic's fit.

    Parameters
    ----------
    samples : iterable of Samples
        One a frame, above its own sky; see `sample_frame`.
    light : ndarray of float32, shape (H, W, C)
        The scene on the pixels of the stack, without its sky, in ADU.

    Returns
    -------
    image : ndarray of float32, shape (H, W, C)
        In ADU above the sky; NaN where no frame has data.
    coverage : ndarray of int, shape (H, W)
        Frames whose footprint holds the pixel.
    """
    brightest = scipy.ndimage.maximum_filter(light, (SPREAD_PX, SPREAD_PX, 1))
    total = np.zeros(light.shape, dtype=np.float64)
    number, coverage = np.zeros(light.shape, dtype=np.int32), np.zeros(light.shape[:2], dtype=np.int32)
    for frame in samples:
        good = frame.inside[..., np.newaxis] & _explained(frame, light[frame.box], brightest[frame.box])
        total[frame.box] += np.where(good, frame.values, 0.0)
        number[frame.box] += good
        coverage[frame.box] += frame.inside
    return (total / np.where(number > 0, number, np.nan)).astype(np.float32), coverage


def _explained(frame: Samples, light: np.ndarray, brightest: np.ndarray) -> np.ndarray:
    """Return which samples are as bright as the scene makes them, within their noise."""
    off = np.abs(frame.values - light)
    if not frame.inside.any():
        return np.zeros(off.shape, dtype=bool)
    noise = SIGMA_OF_MAD * np.median(off[frame.inside][::NOISE_STEP], axis=0)
    return off < FAR_OFF_SIGMA * noise + FAR_OFF_SHARE * brightest
