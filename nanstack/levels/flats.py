# SPDX-License-Identifier: GPL-3.0-or-later
"""What cameras' own flats left, as it lies on a canvas."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from nanstack.levels.placed import NOTHING_LEFT
from nanstack.levels.sky_samples import shade_on_canvas

if TYPE_CHECKING:
    from nanstack.canvas import Canvas
    from nanstack.register.registered import RegisteredFrame


def flat_on_canvas(frame: RegisteredFrame, canvas: Canvas) -> np.ndarray:
    """Return what a frame's samples are multiplied by for its camera's flat: see `PlacedFrame.flat`; shape (6,)."""
    if not frame.flat.terms.any():
        return NOTHING_LEFT.copy()
    return NOTHING_LEFT + shade_on_canvas(frame.flat.terms[:, np.newaxis], frame, canvas)[:, 0]
