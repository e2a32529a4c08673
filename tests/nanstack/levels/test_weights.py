# SPDX-License-Identifier: GPL-3.0-or-later
"""Weights of frames, and colours brought to one median, against arithmetic."""

import math
from dataclasses import replace

import numpy as np
import pytest

from nanstack.levels.colour import equalize_medians
from nanstack.levels.frame_weights import width_of_mean
from nanstack.levels.weights import quality_weights, radial_map
from tests.support.registered import registered

pytestmark = pytest.mark.numpy_bytes


def test_radial_map_is_a_cosine_of_the_distance():
    found = radial_map(7, 11, feather_fraction=0.9, shape_power=3.0, min_weight_floor=0.02)
    assert (found.shape, found.dtype) == ((7, 11), np.float32)
    end = 0.9 * math.hypot(7, 11) / 2
    for row, column in ((3, 5), (0, 0), (3, 10), (6, 2)):
        distance = math.hypot(row - 3, column - 5)
        weight = max(0.02, math.cos(math.pi / 2 * min(1, distance / end)) ** 3)
        assert found[row, column] == pytest.approx(weight, rel=1e-6)
    assert np.array_equal(found, found[::-1, ::-1])


@pytest.mark.parametrize(("feather", "as_if"), [(0.0, 0.1), (5.0, 1.0), (math.inf, 1.0)])
def test_radial_map_limits_its_feather(feather, as_if):
    assert np.array_equal(radial_map(6, 9, feather), radial_map(6, 9, as_if))


@pytest.mark.parametrize("wrong", [{"height": -1}, {"shape_power": -0.1}, {"feather_fraction": math.nan}])
def test_radial_map_names_what_is_wrong(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        radial_map(**{"height": 4, "width": 5, **wrong})


def test_noise_weights_are_inverse_variances():
    rng = np.random.default_rng(3)
    noise = np.array([[2.0, 4.0, 8.0], [4.0, 4.0, 4.0]])
    frames = [rng.normal(1000, own, (300, 300, 3)).astype(np.float32) for own in noise]
    weights = np.array([weight[0, 0] for weight in quality_weights(frames, "noise_variance")])
    assert weights == pytest.approx(noise.min(axis=0) ** 2 / noise**2, rel=0.03)
    assert quality_weights([frame[..., 0] for frame in frames], "noise_variance")[0].shape == (1,)


def test_medians_are_brought_to_the_middle_one():
    image = np.ones((5, 6, 3), np.float32) * [100, 300, 200]
    image = image.astype(np.float32)
    image[0, 0] = np.nan
    image[1, 1] = 5000  # a star
    found = equalize_medians(image)
    assert (found.enabled, found.applied, found.target) == (True, True, 200.0)
    assert found.gains == pytest.approx((2.0, 2 / 3, 1.0))
    assert np.nanmedian(image, axis=(0, 1)) == pytest.approx([200, 200, 200])
    assert np.isnan(image[0, 0]).all()


@pytest.mark.parametrize(
    "image",
    [
        np.ones((4, 5), np.float32),
        np.ones((4, 5, 4), np.float32),
        np.full((4, 5, 3), [1, 2, 3], np.uint16),
        np.full((4, 5, 3), [-1.0, -2.0, 0.0]),
    ],
)
def test_images_without_three_scalable_colours_are_left_alone(image):
    before = image.copy()
    assert not equalize_medians(image).applied
    assert np.array_equal(image, before)


def test_the_width_of_a_mean_is_where_the_mean_of_the_profiles_has_fallen_to_half():
    fwhm, scales, weights = np.array([2.0, 3.0, 2.5]), np.array([1.0, 1.0, 1.7]), np.array([1.0, 0.5, 0.8])
    frames = []
    for width, scale in zip(fwhm, scales, strict=True):
        frame = registered("a.fit", scale=scale)
        stars = replace(frame.survey.stars, fwhm=width)
        frames.append(replace(frame, survey=replace(frame.survey, stars=stars)))
    radius, sigma = np.linspace(0, 5, 200_001)[:, None], fwhm * scales / 2.354820045
    profile = np.sum(weights / sigma**2 * np.exp(-(radius**2) / (2 * sigma**2)), axis=1)
    expected = 2 * radius[np.argmax(profile < profile[0] / 2), 0]
    assert np.degrees(width_of_mean(frames, weights)) * 3600 == pytest.approx(expected, rel=1e-3)
