# SPDX-License-Identifier: GPL-3.0-or-later
"""The exact stack, against scenes whose samples follow from arithmetic."""

import numpy as np
import pytest
from scipy.ndimage import map_coordinates

from nanstack.stack.definition import Rejection, stack_block
from nanstack.truth.exact import Samples, exact_mean, exact_stack, sample_frame
from nanstack.truth.simulation import apply, compose, invert, similarity, simulate_group, true_footprint

SHAPE = (60, 90)


def ramp(transform, shape):
    """A frame that shows, at each pixel, a plane of the stack's own pixels."""
    x, y = apply(invert(transform), np.arange(shape[1]), np.arange(shape[0])[:, None])
    return np.stack([2 * x - y, x + y, x - 3 * y], axis=-1).astype(np.float32)


@pytest.mark.parametrize("degrees", [0.0, 7.0, 90.0, 173.0])
def test_a_frame_keeps_its_light_at_its_true_place_and_covers_what_it_covers(degrees):
    transform = similarity(SHAPE, 12.25, -7.5, degrees, 1.02)
    samples = sample_frame(ramp(transform, SHAPE), transform, SHAPE)
    footprint = np.zeros(SHAPE, dtype=bool)
    footprint[samples.box] = samples.inside
    assert np.array_equal(footprint, true_footprint(SHAPE, transform))
    rows, columns = np.indices(SHAPE)[:, samples.box[0], samples.box[1]]
    truth = np.stack([2.0 * columns - rows, columns + rows, columns - 3.0 * rows], axis=-1)
    within = samples.inside & (minimum_depth(transform, columns, rows) > 8)  # a mirrored edge bends a spline near it
    assert within.sum() > 500
    np.testing.assert_allclose(samples.values[within], truth[within], atol=0.01)


def minimum_depth(transform, x, y):
    """How deep inside its frame a pixel of the stack lies, in pixels."""
    u, v = apply(transform, x, y)
    return np.min([u, SHAPE[1] - 1 - u, v, SHAPE[0] - 1 - v], axis=0)


def test_a_frame_beside_the_stack_covers_nothing():
    far = similarity(SHAPE, 500.0)
    samples = sample_frame(np.ones((*SHAPE, 3), np.float32), far, SHAPE)
    assert samples.inside.size == 0
    image, coverage = exact_mean([samples], np.zeros((*SHAPE, 3), np.float32))
    assert np.isnan(image).all()
    assert not coverage.any()


@pytest.mark.parametrize("method", ["winsor", "huber", "none"])
def test_stack_is_that_of_every_sample_by_itself(method):
    frames, _ = simulate_group(5, SHAPE, seed=4, max_shift=8, n_stars=30)
    back = invert(frames[2].transform)
    image, coverage = exact_stack(
        (sample_frame(frame.data, compose(frame.transform, back), SHAPE) for frame in frames), SHAPE, Rejection(method)
    )
    y, x = np.mgrid[: SHAPE[0], : SHAPE[1]].astype(float)
    columns = []
    for frame in frames:
        u, v = apply(frame.transform, *apply(back, x, y))
        plane = map_coordinates(frame.data[..., 1], [v, u], order=3, mode="mirror")
        inside = (np.abs(u - 44.5) <= 44.5 + 1e-9) & (np.abs(v - 29.5) <= 29.5 + 1e-9)
        columns.append(np.where(inside, plane, np.nan))
    assert coverage.min() >= 1  # the reference itself
    assert np.array_equal(coverage, np.isfinite(columns).sum(axis=0))
    truth = stack_block(np.float32(columns), Rejection(method)).image
    close = np.isclose(image[..., 1], truth, rtol=1e-5, atol=1e-2)
    assert close.mean() > 0.999, "all but where a sample lies on a limit, and rounding decides"
    if method == "none":
        np.testing.assert_allclose(truth, np.nanmean(columns, axis=0), rtol=1e-5, atol=1e-3)
        assert close.all()


def test_mean_leaves_out_what_the_scene_did_not_cause():
    rng = np.random.default_rng(1)
    light = np.full((*SHAPE, 3), 50.0, np.float32)
    everywhere = np.ones(SHAPE, dtype=bool)
    values = [rng.normal(50, 2, light.shape).astype(np.float32) for _ in range(4)]
    struck = [value.copy() for value in values]
    struck[1][20, 30] = 5000.0  # a cosmic ray
    image, coverage = exact_mean([Samples(np.s_[0:60, 0:90], everywhere, value) for value in struck], light)
    expected = np.mean(values, axis=0)
    expected[20, 30] = np.mean([values[i][20, 30] for i in (0, 2, 3)], axis=0)
    np.testing.assert_allclose(image, expected, rtol=1e-6)
    assert np.all(coverage == 4)
