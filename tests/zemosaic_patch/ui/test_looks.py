# SPDX-License-Identifier: GPL-3.0-or-later
"""What the sliders of a mosaic's look do to it."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.zemosaic_patch.ui.mosaics import NOISE, SKY, light_of
from zemosaic_patch.pictures import screen_stretches
from zemosaic_patch.ui.looks import BACKGROUNDS, STRETCHES, Look

LIGHT = light_of(200, 300)
STRETCHED = screen_stretches(LIGHT)
FAINT = (SKY + 4 * NOISE).reshape(1, 1, 3)


def shades(look, light):
    return look.of(STRETCHED)(np.float32(light))


@pytest.mark.parametrize("linked", [False, True])
def test_as_it_is_made_it_looks_as_the_pictures_of_a_run(linked):
    np.testing.assert_allclose(shades(Look(linked=linked), LIGHT), STRETCHED[linked](LIGHT), atol=1e-5)


def test_a_stronger_stretch_lifts_what_is_faint():
    shown = [shades(Look(stretch=strength), FAINT).mean() for strength in (-4, -2, 0, 2, 4)]
    assert shown == sorted(shown)
    assert shown[-1] > shown[0] + 0.3


def test_more_background_makes_the_sky_brighter():
    sky = SKY.reshape(1, 1, 3)
    shown = [shades(Look(background=below), sky).mean() for below in (-2, 0, 3, 10, 20)]
    assert shown == sorted(shown)
    assert shown[0] == 0
    assert shown[-1] > 0.3


@given(
    stretch=st.floats(*STRETCHES), background=st.floats(*BACKGROUNDS), linked=st.booleans(), sigma=st.floats(-40, 3000)
)
def test_wherever_the_sliders_stand_brighter_light_is_no_darker(stretch, background, linked, sigma):
    light = np.stack([SKY + sigma * NOISE, SKY + (sigma + 5) * NOISE]).reshape(1, 2, 3)
    darker, brighter = shades(Look(stretch, background, linked), light)[0]
    assert np.all((darker >= 0) & (brighter <= 1))
    assert np.all(darker <= brighter + 1e-6)


def test_a_look_from_an_address_is_one_that_the_sliders_allow():
    assert Look.within(1e9, -1e9, True) == Look(STRETCHES[1], BACKGROUNDS[0], True)
