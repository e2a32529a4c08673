# SPDX-License-Identifier: GPL-3.0-or-later
"""What registered frames count for, and how far their stars may differ."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from nanstack.register.registered import RegisteredFrame


def frame_weights(frames: Sequence[RegisteredFrame], gains: np.ndarray, kind: str) -> np.ndarray:
    """Return a weight a frame, whose median is 1: ndarray of float64, shape (n,).

    Parameters
    ----------
    frames : sequence of RegisteredFrame
    gains : ndarray of float64, shape (n, C)
        What brings the frames to one flux.
    kind : {'snr', 'equal', 'sharp'}
    """
    return np.ones(len(frames))


def blurs(frames: Sequence[RegisteredFrame]) -> np.ndarray:
    """Return by how much each frame's stars may differ from the usual ones: see `PlacedFrame.blur`; shape (n,)."""
    return np.full(len(frames), 0.2)
