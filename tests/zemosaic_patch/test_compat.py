# SPDX-License-Identifier: GPL-3.0-or-later
"""ZeMosaic's words, and what the engine is told by them."""

import numpy as np

from nanstack.register.warp import warp
from nanstack.truth.simulation import similarity
from zemosaic_patch.compat import fill_with_sky

SKY = np.float32([1000.0, 720.0, 1080.0])


def test_sky_fills_channel_by_channel():
    rng = np.random.default_rng(18)
    frame = (SKY + rng.normal(0, 5, (360, 640, 3))).astype(np.float32)
    warped = warp(frame, similarity((360, 640), 50, 30))
    hole = np.isnan(warped[..., 0])
    filled = fill_with_sky(warped, frame)
    assert hole.any()
    assert np.isfinite(filled).all()
    assert np.allclose(filled[hole], SKY, atol=0.5)
