# SPDX-License-Identifier: GPL-3.0-or-later
"""The noise that a survey tells, held to the noise that frames were made with."""

import numpy as np
import pytest

from nanstack.survey.survey import survey_frame
from tests.nanstack.survey.simulated import Scene, light_of, write

SCENE = Scene(stars=250, brightest=20_000.0, faintest=60.0)  # in units of the noise below; most are lost in it
SITES = {"": {"R": np.s_[:, :]}, "GRBG": {"R": np.s_[::2, 1::2], "B": np.s_[1::2, ::2]}}
SKY = np.linspace(40, 44, SCENE.shape[0])[:, None] + np.zeros(SCENE.shape)


@pytest.fixture(scope="module")
def light():
    return light_of(SCENE)[..., 1]


@pytest.mark.parametrize("sigma", [0.3, 0.5, 0.8, 1.2, 1.3, 2.2, 6.0, 300.0])
@pytest.mark.parametrize("pattern", SITES)
def test_noise_of_whole_numbers_is_that_of_the_sky(tmp_path, light, sigma, pattern):
    """Where the step of the numbers is as large as the noise, differences have few values; and stars add none."""
    rng = np.random.default_rng(5)
    noise = rng.normal(0, 1, SCENE.shape) + (rng.poisson(200, SCENE.shape) - 200) / 200**0.5
    sky = 5_000 + SKY + sigma * noise / 2**0.5
    survey = survey_frame(write(tmp_path / "a.fit", np.rint(sky + sigma * 0.05 * light).astype(np.uint16), pattern))
    left = np.rint(sky) - 5_000 - SKY
    for colour, sites in SITES[pattern].items():
        found = survey.noise["RGB".index(colour)] if pattern else survey.noise
        assert found == pytest.approx(np.std(left[sites]), rel=0.04 if sigma < 0.5 else 0.02)
