# SPDX-License-Identifier: GPL-3.0-or-later
"""Colours of a stack brought to one median."""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass

import numpy as np

from nanstack.levels.photometry import colour_gains

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ColourBalance:
    """What an equalisation of the colours did.

    Attributes
    ----------
    enabled, applied : bool
        Whether it was asked for, and whether the image could be scaled.
    gains : (float, float, float)
        Of red, green and blue.
    target : float
        The common median, in ADU; NaN where there is none.
    """

    enabled: bool = False
    applied: bool = False
    gains: tuple[float, float, float] = (1.0, 1.0, 1.0)
    target: float = math.nan


def equalize_medians(image: np.ndarray) -> ColourBalance:
    """Scale the channels of a colour image, in place, so that the medians of their valid pixels agree.

    Parameters
    ----------
    image : ndarray, any shape
        Left alone where it is not (H, W, 3), is read-only, holds integers, or has no channel with a positive median.

    Returns
    -------
    ColourBalance
    """
    if image.ndim != 3 or image.shape[2] != 3:
        return ColourBalance(enabled=True)
    gains, target = colour_gains(image)
    scalable = image.flags.writeable and image.dtype.kind == "f"
    if scalable:
        with np.errstate(over="ignore", invalid="ignore"):  # too large for float32: infinite, no data
            image *= gains.astype(image.dtype)
    else:
        log.warning("colours not equalised: the image must be writable and of floats, not %s", image.dtype)
    return ColourBalance(True, math.isfinite(target) and scalable, tuple(map(float, gains)), target)
