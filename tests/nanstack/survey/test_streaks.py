# SPDX-License-Identifier: GPL-3.0-or-later
import numpy as np
import pytest

from nanstack.survey.streaks import on_streaks
from nanstack.survey.survey import survey_frame
from tests.nanstack.survey.simulated import Scene, adu16, light_of, mosaic_of, noisy, offsets, sky_of, write

SHAPE = (1080, 1920)


def scattered(count, seed=0):
    rng = np.random.default_rng(seed)
    return rng.uniform(0, SHAPE[1] - 1, count), rng.uniform(0, SHAPE[0] - 1, count)


@pytest.mark.parametrize("count", [0, 5, 60, 400, 1500, 4000])
def test_scattered_peaks_are_no_trail(count):
    for seed in range(5):
        assert not on_streaks(*scattered(count, seed), SHAPE).any()


@pytest.mark.parametrize("angle", [0.0, 0.4, np.pi / 2, 2.5])
@pytest.mark.parametrize("count", [20, 600])
def test_a_trail_is_told_from_what_lies_around_it(count, angle):
    rng = np.random.default_rng(7)
    x, y = scattered(count)
    step = np.cumsum(rng.uniform(5, 25, 40)) - 300
    trail_x, trail_y = (
        900 + step * np.cos(angle) + rng.normal(0, 0.8, 40),
        560 + step * np.sin(angle) + rng.normal(0, 0.8, 40),
    )
    order = rng.permutation(count + 40)
    x, y = np.concatenate([x, trail_x])[order], np.concatenate([y, trail_y])[order]
    found, true = on_streaks(x, y, SHAPE), order >= count
    assert found[true].all()
    assert np.count_nonzero(found[~true]) <= 5


def test_a_satellite_brings_no_stars_and_leaves_their_shape(tmp_path):
    scene = Scene(stars=25)
    y, x = np.indices(scene.shape)
    trail = 300 * np.exp(-0.5 * ((0.6 * (x - 300) - 0.8 * (y - 200)) / 1.3) ** 2)
    raw = noisy(mosaic_of(sky_of(scene.shape) + light_of(scene) + trail[..., None]))
    survey = survey_frame(write(tmp_path / "a.fit", adu16(raw), "GRBG"))
    off, which = offsets(survey.stars, scene.field())
    assert np.hypot(*off.T).max() < 1
    assert len(which) >= 19
    assert survey.elongation < 1.15
    assert survey.stars.fwhm == pytest.approx(3, rel=0.1)
