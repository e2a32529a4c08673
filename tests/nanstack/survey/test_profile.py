# SPDX-License-Identifier: GPL-3.0-or-later
"""Stars fitted by a shape that is not theirs."""

import numpy as np
import pytest

from nanstack.survey.profile import fitted
from nanstack.survey.raw import Raw
from nanstack.survey.shape import FWHM_PER_SIGMA, Shape
from nanstack.survey.stamps import Plate
from tests.nanstack.survey.simulated import NOISE, SKY, Scene, light_of, mosaic_of, noisy, sky_of

SCENE = Scene(fwhm=3.4)
WIDTH = np.hypot(SCENE.fwhm, FWHM_PER_SIGMA / 12**0.5)  # as photosites a pixel wide show it


@pytest.mark.parametrize("wrong", [0.9, 1.0, 1.1])
def test_stars_tell_together_by_how_much_the_shape_is_wrong(wrong):
    """A tenth of the width is a tenth of the flux; of the few stars that a shape is of, some may be crowded."""
    raw = noisy(mosaic_of(sky_of(SCENE.shape) + light_of(SCENE))).astype(np.float32)
    plate = Plate(Raw.of(raw, "GRBG"), np.full((15, 20, 3), SKY), np.full(3, NOISE), np.inf)
    field = SCENE.field()
    fit = fitted(plate, field.x, field.y, Shape(np.eye(2) * (wrong * WIDTH / FWHM_PER_SIGMA) ** 2))
    wider, brighter = fit.beside_shape(np.arange(len(field.x)))
    told = fit.shape.area * (fit.amplitude @ [0.25, 0.5, 0.25]) / (field.flux @ [0.25, 0.5, 0.25])
    assert np.median(told) == pytest.approx(wrong, abs=0.02)
    assert np.median(told) * brighter == pytest.approx(1, abs=0.01)
    assert fit.shape.fwhm * wider == pytest.approx(WIDTH, rel=0.015)
