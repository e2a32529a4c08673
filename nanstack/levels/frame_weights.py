# SPDX-License-Identifier: GPL-3.0-or-later
"""What registered frames count for, and how far their stars may differ."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import scipy

from nanstack.canvas import Canvas
from nanstack.levels.sample_noise import noises
from nanstack.register.registered import RegisteredFrame

KINDS = ("snr", "equal", "sharp")
SAMPLING = 0.1  # of a star's steepness: what interpolation between pixels makes of the same star in different places
USUAL_FWHM_PX = 3.0  # where no frame tells of one


def frame_weights(frames: Sequence[RegisteredFrame], gains: np.ndarray, kind: str) -> np.ndarray:
    """Return a weight a frame, whose median is 1: ndarray of float64, shape (n,).

    Parameters
    ----------
    frames : sequence of RegisteredFrame
    gains : ndarray of float64, shape (n, C)
        What brings the frames to one flux.
    kind : {'snr', 'equal', 'sharp'}
        By the noise of the sky against a star's flux, with which the mean's noise is least; all alike; or that, over
        the area of the stars. No frame counts for more than four times what is usual for those taken like it.

    Raises
    ------
    ValueError
        For another kind.
    """
    if kind not in KINDS:
        raise ValueError(f"kind '{kind}' is unknown (known: {', '.join(KINDS)})")
    if kind == "equal":
        return np.ones(len(frames))
    noise = noises(frames) * gains
    weights = np.mean((np.median(noise, axis=0) / noise) ** 2, axis=1)
    if kind == "sharp":
        widths = _widths(frames)
        weights *= (np.median(widths) / widths) ** 2
    return weights / np.median(weights)


def blurs(frames: Sequence[RegisteredFrame], canvas: Canvas) -> np.ndarray:
    """Return by how much each frame's stars may differ from the usual ones: see `PlacedFrame.blur`; shape (n,).

    A star of the same flux and another width differs most in its middle: by the share (w_usual / w)^2 - 1 of its
    height. What it is held against is how far the star falls within the 3 x 3 pixels around: for a Gaussian of the
    width w in pixels by the share 1 - 2^(-8 / w^2), and by nearly that for a Moffat profile (0.40 and 0.41 at 3.3 px).
    A star that lies elsewhere by a fraction of a pixel differs by less than that fraction of it.
    """
    widths = _widths(frames)
    usual = float(np.median(widths))
    falls = 1 - 2.0 ** (-8 / max(usual * canvas.view.focal, 1.0) ** 2)
    rms = np.array([frame.rms for frame in frames])
    known = np.isfinite(rms)
    rms = np.where(known, rms, np.median(rms[known]) if known.any() else 0.0)
    scale = canvas.view.focal / np.array([frame.view.focal for frame in frames])
    return SAMPLING + rms * scale + np.abs((usual / widths) ** 2 - 1) / falls


def width_of_mean(frames: Sequence[RegisteredFrame], weights: np.ndarray) -> float:
    """Return the full width at half maximum of stars in the weighted mean of frames, in radians.

    As if their profiles were Gaussian, and interpolation widened none.
    """
    widths = _widths(frames)
    heights = weights / widths**2

    def above_half(width: float) -> float:
        return np.sum(heights * (2.0 ** -((width / widths) ** 2) - 0.5))

    return float(scipy.optimize.brentq(above_half, widths.min() / 2, 2 * widths.max()))


def _widths(frames: Sequence[RegisteredFrame]) -> np.ndarray:
    """Return the full width at half maximum of frames' stars in radians; where unknown, the usual one: (n,)."""
    focal = np.array([frame.view.focal for frame in frames])
    widths = np.array([frame.survey.stars.fwhm for frame in frames]) / focal
    known = np.isfinite(widths) & (widths > 0)
    return np.where(known, widths, np.median(widths[known]) if known.any() else USUAL_FWHM_PX / np.median(focal))
