# SPDX-License-Identifier: GPL-3.0-or-later
"""The night that ZeMosaic's whole worker is measured on: its skies, and the measure of steps."""

import numpy as np
import pytest

from nanstack.io.frames import read_frame
from nanstack.truth.simulation import apply, sky_plane
from tests.integration.night import Night, border_steps, measure, session_of, write_frames

SMALL = Night(frames=4, shape=(180, 320))
IDENTITY = np.eye(2, 3)
CANVAS = (320, 560)


@pytest.fixture
def sky():
    """A sky without frames: a gradient and noise of 2 ADU."""
    x, y = np.arange(CANVAS[1]), np.arange(CANVAS[0])[:, np.newaxis]
    plane = 400 + 0.06 * x + 0.04 * y
    return (plane[..., np.newaxis] + np.random.default_rng(1).normal(0, 2, (*CANVAS, 3))).astype(np.float32)


def inside(frame, shape):
    x, y = apply(frame.transform, np.arange(CANVAS[1]), np.arange(CANVAS[0])[:, np.newaxis])
    return (x >= 0) & (x <= shape[1] - 1) & (y >= 0) & (y <= shape[0] - 1)


def test_a_gradient_is_no_step_and_a_step_is_measured_as_it_is(sky):
    session = session_of(SMALL)
    flat = border_steps(sky, IDENTITY, session)
    assert len(flat) >= 4
    assert np.abs(flat).max() < 1.2
    sky[inside(session.frames[3], SMALL.shape)] += (7, 7, 7)
    steps = border_steps(sky, IDENTITY, session)
    assert steps.max() == pytest.approx(7, abs=1.2)


def test_a_colour_step_is_told_from_one_in_level(sky):
    session = session_of(SMALL)
    sky[inside(session.frames[3], SMALL.shape)] += (6, 0, -6)
    figures = measure(sky, session.wcs, session)
    assert figures.colour_largest == pytest.approx(6, abs=1.5)
    assert figures.level_largest < 1.2
    assert figures.noise == pytest.approx(2, rel=0.1)


@pytest.mark.parametrize("gradients", ["shared", "alike", "turning", "differing"])
def test_frames_have_the_skies_that_were_asked_for(tmp_path, gradients):
    night = Night(frames=4, shape=(180, 320), sky_scatter=0.05, gradient=0.2, gradients=gradients)
    session = write_frames(night, tmp_path)
    for frame in session.frames:
        read = read_frame(tmp_path / frame.name)
        corner, opposite = np.median(read.data[:20, :20], axis=(0, 1)), np.median(read.data[-20:, -20:], axis=(0, 1))
        np.testing.assert_allclose(corner, sky_plane(frame.sky, night.shape, 9.5, 9.5), atol=8)
        np.testing.assert_allclose(opposite, sky_plane(frame.sky, night.shape, 309.5, 169.5), atol=8)
    slopes = np.array([frame.sky[1:] / frame.sky[0] for frame in session.frames])
    spread = np.ptp(slopes, axis=0).max() / np.abs(slopes).max()
    assert (spread < 1e-9) == (gradients == "alike")
