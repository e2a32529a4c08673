# SPDX-License-Identifier: GPL-3.0-or-later
"""Trails in a stack: gone where another frame shows the place; what stays on the sky stays whole."""

from dataclasses import replace

import numpy as np
import pytest
from astropy.io import fits

from nanstack.canvas import union_canvas
from nanstack.session import open_session
from nanstack.settings import CanvasSettings
from nanstack.sky_stack import placed_on, stack_files, stacked_on, with_trails
from nanstack.stack.noise_model import NoiseRejection
from nanstack.survey.survey import survey_frame
from nanstack.truth.simulation import apply
from tests.nanstack.survey.simulated import NOISE
from tests.support.nights import SHAPE, night, sky_of_stars, turns

Y, X = np.indices(SHAPE)
FRAMES = 3
ALL = CanvasSettings(rejection=NoiseRejection(np.inf, np.inf))  # nothing is rejected but by masks


def beside(x, y, angle):
    """How far pixels lie beside a line through a place."""
    return (X - x) * np.sin(angle) - (Y - y) * np.cos(angle)


PATHS = [beside(200 + 60 * k, 180, 0.5 + 0.9 * k) for k in range(FRAMES)]  # they cross near the middle


def add(path, light):
    with fits.open(path, mode="update") as file:
        file[0].data = np.rint(file[0].data + light).astype(np.uint16)


@pytest.fixture(scope="module")
def stacks(tmp_path_factory):
    """Stacks of the same frames, placed and levelled alike: without trails; with one of 2 sigma in each, 3 px wide."""
    stars, steps = sky_of_stars(4), turns(FRAMES, seed=4, shift=8, degrees=3)
    clean, crossed = (night(tmp_path_factory.mktemp(name), stars, steps, "light") for name in ("clean", "crossed"))
    for path, off in zip(crossed, PATHS, strict=True):
        add(path, 2 * NOISE * np.exp(-0.5 * (off / 1.3) ** 2))
    frames = open_session(clean).frames
    canvas = union_canvas([frame.view for frame in frames])
    placed, sky = placed_on(frames, canvas, ALL)
    with_trails_in = [
        replace(one, frame=replace(one.frame, survey=survey_frame(crossed[clean.index(one.frame.path)])))
        for one in placed
    ]
    return [stacked_on(canvas, with_trails(them), sky, ALL) for them in (placed, with_trails_in)]


def off_trails(stack):
    """How far the canvas's pixels lie from each frame's trail, by the frame's number."""
    y, x = np.indices(stack.coverage.shape)
    found = {}
    for frame in (one.frame for one in stack.frames):
        which = int(frame.path.stem[-2:])
        u, v = frame.view.pixels(stack.canvas.view.directions(x.astype(float), y.astype(float)))
        angle = 0.5 + 0.9 * which
        found[which] = np.abs((u - 200 - 60 * which) * np.sin(angle) - (v - 180) * np.cos(angle))
    return found


def test_trails_below_what_a_pixel_shows_are_gone(stacks):
    clean, crossed = stacks
    np.testing.assert_array_equal(np.isnan(crossed.image), np.isnan(clean.image))  # no hole
    np.testing.assert_array_equal(crossed.coverage, clean.coverage)
    assert (clean.masked, clean.rejected) == (0, 0)
    assert crossed.rejected == crossed.masked > 0
    assert 0 < crossed.spared < crossed.masked, "at the rims one frame is alone"
    light = 2 * NOISE * 1.3 * np.sqrt(2 * np.pi) / FRAMES  # of a pixel along a trail, in a mean that has it
    for off in off_trails(crossed).values():
        there = (off < 6) & (clean.coverage == FRAMES)
        more = (crossed.image - clean.image)[there].sum() / 3
        assert abs(more) < 0.15 * light * there.sum() / 12


def test_nothing_changes_beside_trails(stacks):
    clean, crossed = stacks
    beside = np.min(list(off_trails(crossed).values()), axis=0) > 12
    np.testing.assert_array_equal(crossed.image[beside], clean.image[beside])
    assert beside[clean.coverage > 0].mean() > 0.75


def test_a_galaxy_on_edge_is_no_trail(tmp_path):
    """It is longer than the shortest trail, and brighter than its noise, in all frames at one place of the sky."""
    stars, steps = sky_of_stars(4), turns(FRAMES, seed=4, shift=8, degrees=3)
    paths = night(tmp_path / "a", stars, steps)
    for path, step in zip(paths, steps, strict=True):
        (x0, x1), (y0, y1) = apply(step, np.array([180.0, 380.0]), np.array([150.0, 240.0]))
        angle, length = np.arctan2(y1 - y0, x1 - x0), np.hypot(x1 - x0, y1 - y0)
        along = (X - (x0 + x1) / 2) * np.cos(angle) + (Y - (y0 + y1) / 2) * np.sin(angle)
        disc = np.exp(-0.5 * (beside(x0, y0, angle) / 2) ** 2 - np.abs(2 * along / length) ** 4)
        add(path, 8 * NOISE * disc)
    stack = stack_files(paths, ALL)
    assert all(one.frame.survey.trails for one in stack.frames), "each frame shows a line"
    assert [one.trails for one in stack.frames] == [()] * FRAMES
    assert stack.masked == stack.rejected == 0
