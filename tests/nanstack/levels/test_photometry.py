# SPDX-License-Identifier: GPL-3.0-or-later
"""Levels, noise and the band metric against known answers."""

import math

import numpy as np
import pytest

from nanstack.levels import photometry

pytestmark = pytest.mark.numpy_bytes


def test_sky_level_ignores_stars_and_holes():
    rng = np.random.default_rng(0)
    frame = (rng.normal(0, 5, (200, 200, 3)) + [1000, 720, 1080]).astype(np.float32)
    frame[50:60, 50:60] += 5000
    frame[:40] = np.nan
    assert np.allclose(photometry.sky_level(frame), [1000, 720, 1080], atol=0.3)
    assert photometry.sky_level(frame[..., 0]).shape == ()
    assert np.isnan(photometry.sky_level(np.full((5, 5), np.nan)))


def test_noise_level_ignores_gradients_stars_and_holes():
    rng = np.random.default_rng(1)
    frame = rng.normal(1000, 7, (300, 300)) + np.arange(300) * 3.0
    frame[rng.random(frame.shape) < 0.01] += 3000
    frame[100:150] = np.nan
    assert photometry.noise_level(frame.astype(np.float32)) == pytest.approx(7, rel=0.05)
    where = np.zeros((300, 300), bool)
    assert math.isnan(photometry.noise_level(frame, where))


def test_band_metric_is_the_colour_step_of_the_rim():
    image = np.full((100, 100, 3), [400.0, 500.0, 450.0], np.float32)
    coverage = np.full((100, 100), 10, np.uint16)
    coverage[:, :20], coverage[:, 20:30], coverage[:5] = 5, 8, 0
    assert photometry.band_metric(image, coverage) == 0
    image[:, :20] += [30, -5, 0]
    image[:, 20:30] += [500, 0, 0]  # neither rim nor inside
    image[:5] = np.nan
    assert photometry.band_metric(image, coverage) == pytest.approx(35)


def test_band_metric_that_cannot_be_measured_is_nan():
    image, coverage = np.ones((10, 10, 3), np.float32), np.full((10, 10), 4, np.uint16)
    assert math.isnan(photometry.band_metric(image, coverage)), "no rim"
    assert math.isnan(photometry.band_metric(image[..., 0], coverage)), "mono"
    assert math.isnan(photometry.band_metric(np.full_like(image, np.nan), coverage)), "no data"


def test_colour_gains_bring_medians_together():
    gains, target = photometry.colour_gains(np.ones((4, 4, 3)) * [10.0, 20.0, 40.0])
    assert np.allclose(gains, [2, 1, 0.5])
    assert target == 20
    gains, target = photometry.colour_gains(np.ones((4, 4, 3)) * [0.0, 20.0, 40.0])
    assert np.allclose(gains, [1, 1.5, 0.75]), "a black channel is left alone"
    assert target == 30


def test_weights_without_anything_to_measure_are_equal():
    empty = [np.full((60, 60, 3), np.nan, np.float32)] * 2
    assert np.array_equal(photometry.noise_weights(empty), np.ones((2, 3)))
    rng = np.random.default_rng(2)
    starless = [rng.normal(100, 1, (60, 60)).astype(np.float32)] * 2
    assert np.array_equal(photometry.fwhm_weights(starless), np.ones(2))
