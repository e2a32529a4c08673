# SPDX-License-Identifier: GPL-3.0-or-later
"""The registration of a run, held to simulated skies."""

from __future__ import annotations

import numpy as np
import pytest

from nanstack.register.camera import View
from nanstack.register.solution import register
from nanstack.survey.record import Facts
from tests.support.starfields import SHAPE, camera, field, looking, misfit, shot


def grid(seed, columns, rows, each, *, cam, ra=83.0, dec=22.0, overlap=0.25, stars=100, turn=20.0, **how):
    """Views and surveys of a grid of panels, taken in turns."""
    rng = np.random.default_rng(seed)
    height, width = np.degrees(np.array(cam.shape) / cam.focal) * (1 - overlap)
    views, surveys = [], []
    radius = np.hypot(columns * width, rows * height) / 2 + 0.6 * np.hypot(width, height)
    area = 2 * np.pi * np.degrees(1) ** 2 * (1 - np.cos(np.radians(radius)))
    panel = height * width / (1 - overlap) ** 2
    sky = field(seed, ra, dec, radius, int(stars * area / panel))
    middle = looking(ra, dec)
    for k in range(columns * rows * each):
        column, row = k % (columns * rows) % columns, k % (columns * rows) // columns
        side = np.radians(((column - (columns - 1) / 2) * width, (row - (rows - 1) / 2) * height))
        side = side + rng.normal(0, 0.01 * np.radians(width), 2)
        axis = np.append(np.tan(side), 1) @ middle
        axis /= np.linalg.norm(axis)
        place = np.degrees((np.arctan2(axis[1], axis[0]), np.arcsin(axis[2])))
        views.append(View(cam, looking(*place, turn * k / (columns * rows * each)), 1 + rng.normal(0, 3e-4)))
        surveys.append(shot(rng, sky, views[-1], **how))
    return views, surveys


def test_a_mosaic_is_put_together_without_any_pointing():
    cam = camera(corner_px=1.5)
    truth, surveys = grid(1, 5, 4, 3, cam=cam, false=0.2, facts=Facts(instrument="S50", scale=2.4))
    found = register(surveys)
    assert {one.group for one in found} == {0}
    off, worst = misfit(truth, [one.view for one in found])
    assert off < 0.06
    assert found[0].view.camera.radial == pytest.approx(cam.radial, rel=0.05)
    assert max(one.rms for one in found) < 0.15


@pytest.mark.parametrize(("ra", "dec"), [(0.0, 5.0), (120.0, 89.7), (359.9, -89.9)])
def test_nothing_is_special_about_a_pole_or_about_0h(ra, dec):
    truth, surveys = grid(2, 2, 2, 3, cam=camera(), ra=ra, dec=dec)
    off, _ = misfit(truth, [one.view for one in register(surveys)])
    assert off < 0.06


def test_frames_20_degrees_wide():
    cam = camera(arcsec=90.0, corner_px=1.5, shape=(800, 600))
    truth, surveys = grid(3, 3, 2, 3, cam=cam, overlap=0.4)
    found = register(surveys)
    assert {one.group for one in found} == {0}
    off, _ = misfit(truth, [one.view for one in found])
    assert off < 0.06


def test_two_cameras_of_two_scales_have_their_own_distortions():
    fine, coarse = camera(2.39, 1.5), camera(3.99, -2.5)
    one = grid(4, 3, 2, 4, cam=fine, facts=Facts(instrument="S50", scale=2.39))
    rng = np.random.default_rng(9)
    height, width = np.degrees(np.array(SHAPE) / fine.focal) * 0.75
    radius = np.hypot(3 * width, 2 * height) / 2 + 0.6 * np.hypot(width, height)
    sky = field(4, 83, 22, radius, len_of(one, radius, width, height))
    views = [View(coarse, looking(83 + rng.normal(0, 0.2), 22 + rng.normal(0, 0.2), 25 * k)) for k in range(6)]
    more = [shot(rng, sky, view, facts=Facts(instrument="S30", scale=4.0)) for view in views]
    found = register(one[1] + more)
    assert {each.group for each in found} == {0}
    off, _ = misfit(one[0] + views, [each.view for each in found])
    assert off < 0.06
    assert found[0].view.camera.radial == pytest.approx(fine.radial, rel=0.05)
    assert found[-1].view.camera.radial == pytest.approx(coarse.radial, rel=0.05)


def len_of(one, radius, width, height):
    area = 2 * np.pi * np.degrees(1) ** 2 * (1 - np.cos(np.radians(radius)))
    return int(100 * area / (height * width / 0.75**2))


def test_eight_stars_that_agree_are_enough():
    truth, surveys = grid(5, 1, 1, 6, cam=camera(), most=8, drop=0.0)
    found = register(surveys)
    assert [one.group for one in found] == [0] * 6
    assert misfit(truth, [one.view for one in found])[0] < 0.15


def test_frames_that_show_nothing_in_common_say_so():
    rng = np.random.default_rng(6)
    truth, surveys = grid(6, 1, 1, 3, cam=camera())
    other = shot(rng, field(7, 200, -30, 1.5, 700), View(camera(), looking(200, -30)))
    poor = shot(rng, field(8, 200, -30, 1.5, 700), View(camera(), looking(200, -30)), most=3)
    empty = shot(rng, field(8, 200, -30, 1.5, 700), View(camera(), looking(200, -30)), most=0)
    found = register([*surveys, other, poor, empty])
    assert [one.group for one in found] == [0, 0, 0, -1, -1, -1]
    assert "match no other frame" in found[3].reason
    assert [one.reason for one in found[4:]] == ["only 3 stars", "no stars"]
    assert all(one.view is None for one in found[3:])


def test_a_single_frame_is_a_group():
    _, surveys = grid(6, 1, 1, 1, cam=camera())
    [found] = register(surveys)
    assert found.group == 0
    assert found.view.attitude == pytest.approx(np.eye(3))


def test_transparency_is_what_clouds_leave():
    rng = np.random.default_rng(10)
    sky = field(11, 10, 10, 1.5, 1500)
    clear = np.array([1.0, 1.0, 1.0, 1.0, 0.5, 0.25])
    views = [View(camera(), looking(10 + 0.05 * k, 10, 3 * k)) for k in range(6)]
    found = register([shot(rng, sky, view, clear=share) for view, share in zip(views, clear, strict=True)])
    assert [one.flux for one in found] == pytest.approx(clear, rel=0.05)
