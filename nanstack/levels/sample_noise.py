# SPDX-License-Identifier: GPL-3.0-or-later
"""How uncertain frames' samples are, by what their surveys measured."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from nanstack.levels.placed import SampleNoise
from nanstack.register.registered import RegisteredFrame


def sample_noises(
    frames: Sequence[RegisteredFrame], gains: np.ndarray, levels: np.ndarray, taps: Sequence[np.ndarray]
) -> list[SampleNoise]:
    """Return the noise of each frame's samples on the canvas.

    Parameters
    ----------
    frames : sequence of RegisteredFrame
    gains : ndarray of float64, shape (n, C)
    levels : ndarray of float64, shape (n, C)
        The level of the dark sky after levelling.
    taps : sequence of ndarray, shape (C,)
        What interpolation leaves of a sample's variance.
    """
    return [
        SampleNoise(factor * (np.atleast_1d(f.survey.noise) * gain) ** 2, np.zeros_like(gain), level)
        for f, gain, level, factor in zip(frames, gains, levels, taps, strict=True)
    ]
