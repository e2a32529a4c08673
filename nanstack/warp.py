# SPDX-License-Identifier: GPL-3.0-or-later
"""Resample a frame onto the reference's pixels; samples and footprint come out of one pass.

A sample is valid if and only if every tap that its interpolation used lies inside the frame and is finite. There is
no fill value: what is not valid is NaN, in all channels at once. Where a
coordinate falls on the grid, one tap alone is used along that axis: a shift by whole pixels is an exact copy.

`warp` runs the compiled kernel where Numba is installed, else the same definition in NumPy (`warp_numpy`).
"""

from __future__ import annotations

import functools
import logging
from types import ModuleType

import numpy as np

INTERPOLATIONS = ("bicubic", "lanczos3")
BLOCK_ROWS = 64  # rows that the NumPy definition handles at once

log = logging.getLogger(__name__)


def warp(frame: np.ndarray, transform: np.ndarray, interpolation: str = "bicubic") -> np.ndarray:
    """Resample a frame at the transformed pixels of the reference.

    Parameters
    ----------
    frame : ndarray, shape (H, W) or (H, W, C)
        Samples in ADU; not modified. A pixel with a non-finite channel is no data in all of them.
    transform : ndarray, shape (2, 3)
        Maps a reference pixel (x, y, 1) to a frame pixel; coordinates are used exactly, without rounding.
    interpolation : {'bicubic', 'lanczos3'}
        Keys' cubic convolution (a = -1/2, IEEE Trans. ASSP 29, 1153) or a Lanczos window of 3 lobes, normalised.

    Returns
    -------
    ndarray of float32, same shape as `frame`
        NaN outside the frame's footprint.

    Raises
    ------
    ValueError
        For another number of dimensions, a transform that is not finite, or an unknown interpolation.
    """
    samples = _samples(frame, interpolation)
    transform = np.asarray(transform, dtype=np.float64)
    if transform.shape != (2, 3) or not np.isfinite(transform).all():
        raise ValueError(f"transform must be 2 x 3 finite numbers, not {transform.tolist()}")
    kernels = _compiled()
    kernel = kernels.warp_kernel if kernels else warp_numpy
    return kernel(samples, transform, interpolation == "lanczos3").reshape(np.shape(frame))


def sample_at(frame: np.ndarray, x: np.ndarray, y: np.ndarray, interpolation: str = "bicubic") -> np.ndarray:
    """Resample a frame at any coordinates, as `warp` does at those of a transform.

    Parameters
    ----------
    frame : ndarray, shape (H, W) or (H, W, C)
        As for `warp`.
    x, y : ndarray, shape (h, w)
        Columns and rows of the frame; NaN is nowhere.
    interpolation : {'bicubic', 'lanczos3'}

    Returns
    -------
    ndarray of float32, shape (h, w) or (h, w, C)
        NaN outside the frame's footprint.

    Raises
    ------
    ValueError
        For another number of dimensions, coordinates of different shapes, or an unknown interpolation.
    """
    samples = _samples(frame, interpolation)
    x, y = (np.ascontiguousarray(v, dtype=np.float64) for v in (x, y))
    if x.ndim != 2 or x.shape != y.shape:
        raise ValueError(f"x and y must have one shape (h, w), not {x.shape} and {y.shape}")
    kernels = _compiled()
    kernel = kernels.sample_kernel if kernels else sample_numpy
    return kernel(samples, x, y, interpolation == "lanczos3").reshape(x.shape + np.shape(frame)[2:])


def _samples(frame: np.ndarray, interpolation: str) -> np.ndarray:
    """Return a frame as the kernels take it, float32 (H, W, C), or say what is wrong with the arguments."""
    frame = np.asarray(frame)
    if frame.ndim not in (2, 3):
        raise ValueError(f"frame must be (H, W) or (H, W, C), not {frame.shape}")
    if interpolation not in INTERPOLATIONS:
        raise ValueError(f"interpolation must be one of {', '.join(INTERPOLATIONS)}, not {interpolation!r}")
    samples = np.ascontiguousarray(np.atleast_3d(frame), dtype=np.float32).view()
    samples.flags.writeable = False  # one type of array, so one compilation, for memory maps and all others
    return samples


def warp_numpy(frame: np.ndarray, transform: np.ndarray, lanczos: bool) -> np.ndarray:
    """Define the warp, in NumPy: what the compiled kernel is tested against.

    Parameters
    ----------
    frame : ndarray of float32, shape (H, W, C)
    transform : ndarray of float64, shape (2, 3)
    lanczos : bool
        Lanczos-3 instead of cubic convolution.

    Returns
    -------
    ndarray of float32, shape (H, W, C)
    """
    height, width, _ = frame.shape
    out = np.empty(frame.shape, dtype=np.float32)
    column = np.arange(width, dtype=np.float64)
    for top in range(0, height, BLOCK_ROWS):
        row = np.arange(top, min(top + BLOCK_ROWS, height), dtype=np.float64)[:, None]
        x = transform[0, 0] * column + (transform[0, 1] * row + transform[0, 2])
        y = transform[1, 0] * column + (transform[1, 1] * row + transform[1, 2])
        out[top : top + len(row)] = sample_numpy(frame, x, y, lanczos)
    return out


def sample_numpy(frame: np.ndarray, x: np.ndarray, y: np.ndarray, lanczos: bool) -> np.ndarray:
    """Define the resampling, in NumPy: what the compiled kernel is tested against.

    Parameters
    ----------
    frame : ndarray of float32, shape (H, W, C)
    x, y : ndarray of float64, shape (h, w)
    lanczos : bool
        Lanczos-3 instead of cubic convolution.

    Returns
    -------
    ndarray of float32, shape (h, w, C)
    """
    height, width, channels = frame.shape
    taps = np.arange(-2, 4) if lanczos else np.arange(-1, 3)
    weigh = _lanczos3 if lanczos else _keys
    valid = np.isfinite(frame).all(axis=2)
    source = np.where(valid[..., None], frame, np.float32(0))
    near = (x > -4) & (x < width + 4) & (y > -4) & (y < height + 4)
    x, y = np.where(near, x, -9.0), np.where(near, y, -9.0)
    left, above = np.floor(x), np.floor(y)
    weights_x = _normalised(weigh(np.subtract.outer(x - left, taps)))
    weights_y = _normalised(weigh(np.subtract.outer(y - above, taps)))
    between_columns, between_rows = x != left, y != above  # on the grid, the one tap of weight 1 is used alone
    left, above = left.astype(np.intp), above.astype(np.intp)
    total = np.zeros((*x.shape, channels))
    complete = np.ones(x.shape, dtype=bool)
    for i, dy in enumerate(taps):
        for j, dx in enumerate(taps):
            weight = weights_y[..., i] * weights_x[..., j]
            column_tap, row_tap = left + dx, above + dy
            inside = (column_tap >= 0) & (column_tap < width) & (row_tap >= 0) & (row_tap < height)
            column_tap, row_tap = np.clip(column_tap, 0, width - 1), np.clip(row_tap, 0, height - 1)
            used = (between_columns | (dx == 0)) & (between_rows | (dy == 0))
            complete &= ~used | (inside & valid[row_tap, column_tap])
            total += weight[..., None] * source[row_tap, column_tap]
    return np.where(complete[..., None], total, np.nan).astype(np.float32)


def _keys(t: np.ndarray) -> np.ndarray:
    """Keys' cubic convolution with a = -1/2."""
    t = np.abs(t)
    inner = (1.5 * t - 2.5) * t * t + 1.0
    outer = ((-0.5 * t + 2.5) * t - 4.0) * t + 2.0
    return np.where(t <= 1, inner, np.where(t < 2, outer, 0.0))


def _lanczos3(t: np.ndarray) -> np.ndarray:
    """sinc(t) sinc(t / 3); zero at whole numbers, where sin(pi t) is only nearly so."""
    t = np.abs(t)
    return np.where((t < 3) & ((t != np.floor(t)) | (t == 0)), np.sinc(t) * np.sinc(t / 3), 0.0)


def _normalised(weights: np.ndarray) -> np.ndarray:
    return weights / weights.sum(axis=-1, keepdims=True)


@functools.cache
def _compiled() -> ModuleType | None:
    """Return the compiled kernels, or None (said once) where Numba is missing."""
    try:
        from nanstack import _warp_kernel
    except ImportError as missing:
        log.warning("Numba cannot be imported (%s): frames are warped by NumPy, some 10 times slower", missing)
        return None
    return _warp_kernel
