# SPDX-License-Identifier: GPL-3.0-or-later
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nanstack.survey.radon import brightest_segment, transforms


@settings(deadline=None, max_examples=40)
@given(st.integers(1, 70), st.integers(1, 70), st.integers(0, 2**32))
def test_lines_of_one_lean_hold_every_pixel_twice(height, width, seed):
    """All parallels of a line, two pixels wide and one apart, cover a strip twice, none of it more."""
    image = np.random.default_rng(seed).integers(-9, 9, (height, width)).astype(np.float32)
    for high, sums in transforms(image):
        assert sums.shape[1] == high
        for strip, of_strip in enumerate(sums):
            light = 2 * image[strip * high : (strip + 1) * high].sum(dtype=np.float64)
            np.testing.assert_array_equal(of_strip.sum(axis=1, dtype=np.float64), light)


def drawn(shape, begin, end):
    """Return a line a pixel wide, its pixels 1."""
    image = np.zeros(shape, np.float32)
    steps = 4 * max(shape)
    x, y = (np.rint(np.linspace(*pair, steps)).astype(int) for pair in zip(begin, end, strict=True))
    image[y, x] = 1
    return image


@pytest.mark.parametrize("shape", [(60, 100), (100, 60), (64, 64), (129, 33)])
@pytest.mark.parametrize("lean", [0.0, 0.3, 0.95, 1.3, np.inf, -0.2, -1.0, -4.0])
def test_a_line_is_found_where_it_is(shape, lean):
    """From edge to edge through the middle; noise all around."""
    (height, width), rng = shape, np.random.default_rng(3)
    middle = np.array([width - 1, height - 1]) / 2
    step = np.array([0.0, 1.0]) if np.isinf(lean) else np.array([1.0, lean])
    reach = np.min(middle[step != 0] / np.abs(step[step != 0]))
    image = 3 * drawn(shape, middle - reach * step, middle + reach * step)
    signal, (x0, y0, x1, y1) = brightest_segment(image + rng.normal(0, 1, shape).astype(np.float32), 16)
    assert signal > 8
    across = np.array([-step[1], step[0]]) / np.hypot(*step)
    for end in ((x0, y0), (x1, y1)):
        assert abs((np.array(end) - middle) @ across) < 2.5
    assert max(abs(x1 - x0), abs(y1 - y0)) >= 15


def test_noise_has_no_bright_line():
    rng = np.random.default_rng(5)
    found = [brightest_segment(rng.normal(0, 1, (96, 128)).astype(np.float32), 16)[0] for _ in range(12)]
    assert min(found) > 3
    assert max(found) < 5.5


def test_an_image_lower_than_the_least_has_none():
    assert brightest_segment(np.ones((7, 9), np.float32), 16)[0] == -np.inf
