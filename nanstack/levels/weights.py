# SPDX-License-Identifier: GPL-3.0-or-later
"""What a frame counts for: weights by its quality, and by the distance from its middle."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from nanstack.arrays import float_frame, to_float32
from nanstack.levels import photometry

WEIGHERS = {"noise_variance": photometry.noise_weights, "noise_fwhm": photometry.fwhm_weights}


def quality_weights(frames: Sequence[np.ndarray], method: str) -> list[np.ndarray]:
    """Return each frame's weight, measured on its valid pixels.

    Parameters
    ----------
    frames : sequence of ndarray, (H, W) or (H, W, C)
    method : {'noise_variance', 'noise_fwhm'}
        By the noise of the sky, or by the width of the stars.

    Returns
    -------
    list of ndarray of float32
        (1, 1, C) for colour, (1,) for mono.
    """
    found = WEIGHERS[method]([to_float32(float_frame(frame)) for frame in frames])
    return [weight.reshape((1, 1, -1)) if weight.ndim else weight.reshape((1,)) for weight in found]


def radial_map(
    height: int, width: int, feather_fraction: float = 0.8, shape_power: float = 2.0, min_weight_floor: float = 0.05
) -> np.ndarray:
    """Return weights that fall from 1 in the middle by a power of a cosine.

    Parameters
    ----------
    height, width : int
        In pixels.
    feather_fraction : float
        Where the cosine ends, as a share of the half diagonal; limited to 0.1 ... 1.
    shape_power : float
        Exponent of the cosine.
    min_weight_floor : float
        Least weight; limited to 0 ... 0.99.

    Returns
    -------
    ndarray of float32, shape (height, width)

    Raises
    ------
    ValueError
        For a size or a power below 0, or a value that is not a number.
    """
    for name, value in (("height", height), ("width", width), ("shape_power", shape_power)):
        if not value >= 0:
            raise ValueError(f"{name} must be 0 or more, not {value!r}")
    for name, value in (("feather_fraction", feather_fraction), ("min_weight_floor", min_weight_floor)):
        if math.isnan(value):
            raise ValueError(f"{name} must be a number, not {value!r}")
    y, x = np.ogrid[:height, :width]
    distance = np.hypot(y - (height - 1) / 2, x - (width - 1) / 2)
    end = 0.5 * np.hypot(height, width) * np.clip(feather_fraction, 0.1, 1.0)
    weight = np.cos(0.5 * np.pi * np.minimum(distance / end, 1.0)) ** shape_power
    return np.maximum(weight, np.clip(min_weight_floor, 0.0, 0.99)).astype(np.float32)
