# SPDX-License-Identifier: GPL-3.0-or-later
"""The simulation is the truth of other tests, so it is held to geometry and arithmetic done by hand."""

import numpy as np
import pytest

from nanstack.truth.simulation import (
    StarField,
    apply,
    compose,
    invert,
    random_star_field,
    render_stars,
    similarity,
    simulate_group,
    true_footprint,
)

pytestmark = pytest.mark.numpy_bytes

SHAPE = (90, 160)


def test_similarity_turns_and_scales_about_the_centre_and_invert_undoes_it():
    transform = similarity(SHAPE, dx=3.25, dy=-7.5, degrees=90, scale=1.1)
    centre = np.array([79.5, 44.5])
    np.testing.assert_allclose(apply(transform, *centre), centre + np.array([3.25, -7.5]))
    # 90 degrees from +x towards +y: the pixel 10 to the right comes to lie 11 further down.
    np.testing.assert_allclose(apply(transform, centre[0] + 10, centre[1]), centre + np.array([3.25, -7.5 + 11]))
    x, y = np.random.default_rng(0).uniform(-50, 200, (2, 30))
    np.testing.assert_allclose(apply(invert(transform), *apply(transform, x, y)), (x, y))


@pytest.mark.parametrize(("dx", "dy"), [(0, 0), (12, -5), (-3.5, 2.25), (500, 0)])
def test_footprint_of_a_shift_is_a_rectangle(dx, dy):
    height, width = SHAPE
    expected = np.zeros(SHAPE, dtype=bool)
    for row in range(height):
        for column in range(width):
            expected[row, column] = 0 <= column + dx <= width - 1 and 0 <= row + dy <= height - 1
    np.testing.assert_array_equal(true_footprint(SHAPE, similarity(SHAPE, dx, dy)), expected)


def test_footprint_of_a_half_turn_is_the_whole_frame():
    inside = true_footprint(SHAPE, similarity(SHAPE, degrees=180))[1:-1, 1:-1]  # rounding decides on the edge itself
    assert inside.all()


@pytest.mark.parametrize("fwhm", [1.5, 3.0, 6.0])
def test_rendered_star_has_the_flux_and_the_place_asked_for(fwhm):
    flux = np.array([[1e5, 2e4, 3e3]])
    field = StarField(np.array([70.3]), np.array([41.8]), flux)
    transform = similarity(SHAPE, dx=8.4, dy=-3.7, degrees=20, scale=1.03)
    image = render_stars(field, SHAPE, transform, fwhm).astype(np.float64)

    np.testing.assert_allclose(image.sum(axis=(0, 1)), flux[0], rtol=1e-3)
    y, x = np.indices(SHAPE)
    centroid = [(image[..., 0] * axis).sum() / image[..., 0].sum() for axis in (x, y)]
    np.testing.assert_allclose(centroid, np.ravel(apply(transform, field.x, field.y)), atol=1e-3)


def test_star_on_the_edge_loses_only_the_light_outside():
    field = StarField(np.array([-0.5]), np.array([45.0]), np.full((1, 3), 1000.0))
    np.testing.assert_allclose(render_stars(field, SHAPE).sum(axis=(0, 1)), 500, rtol=1e-3)


def test_compose_does_the_first_then_the_second():
    first, second = similarity(SHAPE, 3, -2, 20, 1.1), similarity(SHAPE, -8, 5, -70, 0.9)
    x, y = np.random.default_rng(0).uniform(-50, 200, (2, 30))
    np.testing.assert_allclose(apply(compose(second, first), x, y), apply(second, *apply(first, x, y)))


def test_field_fills_frames_shifted_by_40_percent():
    field = random_star_field(SHAPE, 400, np.random.default_rng(1))
    for degrees in (0, 90, 180):
        x, y = apply(similarity(SHAPE, 0.4 * 160, -0.4 * 90, degrees), field.x, field.y)
        quarters, *_ = np.histogram2d(y, x, bins=2, range=[[0, 89], [0, 159]])
        assert quarters.min() > 60  # of 100


def test_group_keeps_its_hot_pixels_and_sky_in_every_frame():
    frames, _ = simulate_group(4, SHAPE, seed=2, sky=(100, 70, 110), noise=1.0, max_shift=9, n_stars=20, hot_pixels=5)
    np.testing.assert_array_equal(frames[0].transform, similarity(SHAPE))
    darkest = np.min([frame.data for frame in frames], axis=0)
    assert np.count_nonzero(darkest > 1000) == 5
    for frame in frames:
        np.testing.assert_allclose(np.median(frame.data, axis=(0, 1)), (100, 70, 110), atol=1)
