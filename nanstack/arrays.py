# SPDX-License-Identifier: GPL-3.0-or-later
"""What is taken for samples: arrays of real numbers, in any layout; a masked sample is no data.

float32 bounds what a sample can be: one that is too large for it is infinite, which is no data either.
"""

from __future__ import annotations

from typing import Any

import numpy as np


def real_array(given: Any, name: str) -> np.ndarray:
    """Return what is given as a plain array, without a copy where it is one; a masked sample becomes NaN.

    Parameters
    ----------
    given : array_like
    name : str
        What an error is to call it.

    Returns
    -------
    ndarray of float, integer or bool
        A memory map stays one.

    Raises
    ------
    ValueError
        Where it holds other things than real numbers, or is not an array.
    """
    if isinstance(given, np.ma.MaskedArray):
        data = real_array(given.data, name)
        return np.where(np.ma.getmaskarray(given), np.nan, data)
    if not isinstance(given, np.memmap):
        try:
            given = np.asarray(given)
        except (ValueError, TypeError) as misfit:
            raise ValueError(f"{name} is not an array: {misfit}") from misfit
    if given.dtype.kind not in "fiub":
        raise ValueError(f"{name} must hold real numbers, not the type {given.dtype}")
    return given


def float_frame(given: Any, name: str = "frame") -> np.ndarray:
    """Return a frame in native floats that hold its samples: float32, or float64 where it takes that.

    What is too large for float32 is infinite.

    Parameters
    ----------
    given : array_like, shape (H, W) or (H, W, C)
        Not modified; returned as it is, where it is such an array.
    name : str
        What an error is to call it.

    Raises
    ------
    ValueError
        For another number of dimensions, or what `real_array` refuses.
    """
    frame = real_array(given, name)
    if frame.ndim not in (2, 3):
        raise ValueError(f"{name} must be (H, W) or (H, W, C), not {frame.shape}")
    if np.result_type(frame.dtype, np.float32) == np.float32:
        return frame.astype(np.float32, copy=False)
    with np.errstate(over="ignore"):
        frame = frame.astype(np.float64, copy=False)
    too_large = np.abs(frame) > np.finfo(np.float32).max
    return np.where(too_large, np.inf, frame) if too_large.any() else frame


def has_data(image: np.ndarray) -> np.ndarray:
    """Return which pixels of an image (H, W) or (H, W, C) have data in all channels: bool (H, W)."""
    return np.isfinite(image) if image.ndim == 2 else np.isfinite(image).all(axis=2)


def check_percentile(name: str, value: float) -> None:
    """Raise ValueError where it is none."""
    if not 0 <= value <= 100:
        raise ValueError(f"{name} must be 0 to 100, not {value!r}")


def to_float32(samples: np.ndarray, *, copy: bool = False) -> np.ndarray:
    """Return samples as native float32; what is too large for it becomes infinite, silently."""
    with np.errstate(over="ignore"):
        return samples.astype(np.float32, copy=copy)
