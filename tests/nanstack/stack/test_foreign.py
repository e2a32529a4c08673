# SPDX-License-Identifier: GPL-3.0-or-later
"""Light that is taken off samples where it lies in a frame."""

import numpy as np
import pytest
import scipy

from nanstack.levels.placed import Foreign, Light
from nanstack.register.mesh import Box
from nanstack.stack.foreign import take_off


def glow(x, y):
    """Light around the pixel (40, 30) of the canvas, whose width is known."""
    return np.exp(-((x - 40) ** 2 + (y - 30) ** 2) / (2 * 3.0**2))[..., None] * np.float32([500, 800])


@pytest.fixture(scope="module")
def light():
    y, x = np.mgrid[10:52, 15:66]  # it is nothing beyond
    coefficients = scipy.ndimage.spline_filter1d(glow(x, y), axis=0)
    return Light(scipy.ndimage.spline_filter1d(coefficients, axis=1).astype(np.float32), 10, 15)


@pytest.mark.parametrize("shift", [(0.0, 0.0), (7.3, -4.6), (-12.0, 3.25), (0.5, 20.9)])
def test_light_goes_from_where_it_is_in_a_frame(light, shift):
    y, x = np.mgrid[-5:70, -10:90]
    samples = (1000 + glow(x - shift[0], y - shift[1])).astype(np.float32)
    take_off(samples, Foreign(light, shift), Box(-5, 70, -10, 90))
    assert np.abs(samples - 1000).max() < 0.5, "a spline through 3 px sigma"


def test_it_hangs_on_no_part(light):
    foreign, whole = Foreign(light, (4.7, 1.1)), np.zeros((75, 100, 2), np.float32)
    take_off(whole, foreign, Box(-5, 70, -10, 90))
    for part in (Box(20, 33, 30, 71), Box(0, 12, 0, 20), Box(54, 60, 60, 80)):
        piece = np.zeros((*part.shape, 2), np.float32)
        take_off(piece, foreign, part)
        np.testing.assert_array_equal(piece, whole[part.within(Box(-5, 70, -10, 90))])
    assert whole.min() < -700
