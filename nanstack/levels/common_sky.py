# SPDX-License-Identifier: GPL-3.0-or-later
"""One sky for all frames of a canvas: what each is to be brought to it by, from the surveys' meshes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from nanstack.canvas import Canvas
from nanstack.levels.placed import Plane
from nanstack.register.registered import RegisteredFrame


def common_sky(
    frames: Sequence[RegisteredFrame], gains: np.ndarray, canvas: Canvas, model: str = "plane"
) -> list[Plane]:
    """Return what brings each frame's sky to the common one.

    Parameters
    ----------
    frames : sequence of RegisteredFrame
    gains : ndarray of float64, shape (n, C)
        What the frames' samples are multiplied by first.
    canvas : Canvas
        In whose pixels, from its axis, the planes are.
    model : {'plane', 'offset', 'none'}
    """
    skies = np.array([np.nanmedian(np.reshape(f.survey.sky, (-1, gains.shape[1])), axis=0) for f in frames]) * gains
    common = np.median(skies, axis=0)
    zero = np.zeros(gains.shape[1])
    return [Plane(zero if model == "none" else common - sky, zero, zero) for sky in skies]
