# SPDX-License-Identifier: GPL-3.0-or-later
"""The measures of a mosaic, on images whose steps, stars and noise were put there."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import shift, uniform_filter

from nanstack.truth.evaluation import REACH_PX, binned, border_step, noise_ratios, star_errors, without_plane
from nanstack.truth.simulation import StarField, render_stars

pytestmark = pytest.mark.numpy_bytes

SHAPE = (240, 320)
STEPS = st.lists(st.floats(-50, 50), min_size=3, max_size=3)
LEFT = np.broadcast_to(np.arange(SHAPE[1]) < 150, SHAPE)


def noisy(seed=0, sigma=1.0):
    return np.random.default_rng(seed).normal(0, sigma, (*SHAPE, 3)).astype(np.float32)


@given(step=STEPS)
@settings(max_examples=20, deadline=None)
def test_step_that_was_put_there_is_found(step):
    image = noisy() + np.where(LEFT[..., None], step, 0).astype(np.float32)
    image[::17, ::13] = 1e4  # stars
    found = border_step(image, LEFT, ~LEFT)
    assert found.level == pytest.approx(np.mean(step), abs=0.1)
    assert abs(found.colour) == pytest.approx(max(abs(step[0] - step[1]), abs(step[2] - step[1])), abs=0.2)
    back = border_step(image, ~LEFT, LEFT)
    assert (back.level, back.colour) == pytest.approx((-found.level, -found.colour))


def test_error_of_a_step_is_its_scatter():
    steps = [border_step(noisy(seed), LEFT, ~LEFT) for seed in range(100)]
    assert np.std([step.level for step in steps]) == pytest.approx(np.mean([step.error for step in steps]), rel=0.3)


def test_step_is_measured_at_the_border_alone():
    image = noisy()
    image[:, : 150 - REACH_PX - 2] += 100  # beyond the band
    image[:, 150 + REACH_PX + 2 :] = np.nan
    assert abs(border_step(image, LEFT, ~LEFT).level) < 0.1


def test_no_border_no_step():
    right = np.broadcast_to(np.arange(SHAPE[1]) > 150 + REACH_PX + 2, SHAPE)
    assert border_step(noisy(), LEFT, right) is None
    assert border_step(noisy(), LEFT, np.zeros(SHAPE, dtype=bool)) is None
    image = noisy()
    image[100:] = np.nan  # too short
    assert border_step(image, LEFT, ~LEFT) is None


def test_plane_is_taken_off_and_a_step_is_not():
    y, x = np.mgrid[: SHAPE[0], : SHAPE[1]]
    plane = 700 + np.stack([0.1 * x - 0.05 * y, -0.02 * x, 0.3 * y], axis=-1)
    image = (noisy() + plane).astype(np.float32)
    image[100:120, 200:230] = np.nan
    rest = without_plane(image)
    assert np.array_equal(np.isnan(rest), np.isnan(image))
    assert np.nanmax(np.abs(binned(rest, 40))) < 0.2
    island = np.hypot(x - 160, y - 120) < 50
    stepped = without_plane(image + np.float32(2) * island[..., None])
    assert border_step(stepped, island, ~island).level == pytest.approx(2, abs=0.1)


@pytest.fixture(scope="module")
def stars():
    rng = np.random.default_rng(3)
    y, x = (axis.ravel() + rng.uniform(-5, 5, axis.size) for axis in np.mgrid[30:220:60, 30:300:60])
    return StarField(x, y, rng.uniform(3e4, 2e5, (x.size, 3)))


@pytest.mark.parametrize(("dx", "dy", "gain"), [(0, 0, 1), (0.3, -0.2, 1), (0, 0, 0.96)])
def test_stars_are_held_to_their_places_and_fluxes(stars, dx, dy, gain):
    moved = StarField(stars.x + dx, stars.y + dy, stars.flux * gain)
    image = render_stars(moved, SHAPE) + noisy(sigma=5) + np.float32(500)
    image[:, :20] = np.nan
    found = star_errors(image, stars.x, stars.y, stars.flux, 3.0)
    assert 5 <= found.count < len(stars.x)  # those whose ring lacks data do not count
    assert found.offset == pytest.approx((dx, dy), abs=0.01)
    assert found.position_rms == pytest.approx(np.sqrt((dx**2 + dy**2) / 2), abs=0.02)
    assert found.flux_bias == pytest.approx(gain - 1, abs=0.003)
    assert found.flux_scatter < 0.01


def test_no_star_on_data_is_said(stars):
    with pytest.raises(ValueError, match="no star lies where the image has data"):
        star_errors(np.full((*SHAPE, 3), np.nan, np.float32), stars.x, stars.y, stars.flux, 3.0)


def test_noise_is_compared_before_and_after_smoothing():
    image = noisy()
    everywhere = np.ones(SHAPE, dtype=bool)
    assert noise_ratios(2 * image, image, everywhere) == pytest.approx((2, 2))
    smooth = uniform_filter(shift(image, (0.5, 0.5, 0), order=1, mode="wrap"), (1, 3, 1), mode="wrap")
    of_pixels, of_means = noise_ratios(smooth, image, everywhere)
    assert of_pixels < 0.6
    assert of_means == pytest.approx(1, abs=0.12)
    bright = noisy()
    bright[:100] *= 5
    where = everywhere.copy()
    where[:104] = False
    assert noise_ratios(bright, image, where) == pytest.approx((1, 1))


def test_means_over_squares():
    image = np.arange(6 * 9 * 3, dtype=np.float32).reshape(6, 9, 3)
    image[1, 1, 0] = np.nan
    means = binned(image, 3)
    assert means.shape == (2, 3, 3)
    assert np.isnan(means[0, 0, 0])
    assert means[1, 2, 1] == image[3:6, 6:9, 1].mean()
