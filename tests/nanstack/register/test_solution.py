# SPDX-License-Identifier: GPL-3.0-or-later
"""The registration of a run, held to simulated skies."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from nanstack.register.camera import View
from nanstack.register.solution import register
from nanstack.survey.record import Facts
from nanstack.survey.stars import Stars
from tests.support.starfields import camera, field, looking, misfit, shot

HINT = Facts(instrument="S50", scale=2.4)


def grid(seed, columns, rows, each, *, cam, ra=83.0, dec=22.0, overlap=0.25, stars=100, turn=20.0, **how):
    """Views and surveys of a grid of panels, taken in turns."""
    rng = np.random.default_rng(seed)
    height, width = np.degrees(np.array(cam.shape) / cam.focal) * (1 - overlap)
    radius = np.hypot(columns * width, rows * height) / 2 + 0.6 * np.hypot(width, height)
    sky = field_of(seed, ra, dec, radius, stars, cam)
    views, surveys, count = [], [], columns * rows * each
    for k in range(count):
        column, row = k % columns, k // columns % rows
        side = np.radians(((column - (columns - 1) / 2) * width, (row - (rows - 1) / 2) * height))
        side = side + rng.normal(0, 0.01 * np.radians(width), 2)
        axis = np.append(np.tan(side), 1) @ looking(ra, dec)
        place = np.degrees((np.arctan2(axis[1], axis[0]), np.arcsin(axis[2] / np.linalg.norm(axis))))
        views.append(View(cam, looking(*place, turn * k / count), 1 + rng.normal(0, 3e-4)))
        surveys.append(shot(rng, sky, views[-1], **how))
    return views, surveys


def field_of(seed, ra, dec, radius, stars, cam):
    """So many stars a frame, within a radius in degrees."""
    area = 2 * np.pi * np.degrees(1) ** 2 * (1 - np.cos(np.radians(radius)))
    return field(seed, ra, dec, radius, int(stars * area / np.prod(np.degrees(np.array(cam.shape) / cam.focal))))


def check(truth, surveys, most_px):
    """All frames in one group, right to so many pixels; what was found."""
    found = register(surveys)
    assert {one.group for one in found} == {0}
    assert misfit(truth, [one.view for one in found])[0] < most_px
    return found


def corner_px(view):
    """How far a camera's distortion moves the corner of its frames."""
    straight = View(replace(view.camera, radial=0.0), view.attitude, view.scale)
    return straight.pixels(view.directions(np.zeros(1), np.zeros(1)))[0][0]


@pytest.fixture(scope="module")
def mosaic():
    cam = camera(corner_px=1.5)
    truth, surveys = grid(1, 5, 4, 3, cam=cam, false=0.2, facts=HINT)
    return truth, surveys, register(surveys)


def test_a_mosaic_is_put_together_without_any_pointing(mosaic):
    truth, _, found = mosaic
    assert {one.group for one in found} == {0}
    assert misfit(truth, [one.view for one in found])[0] < 0.05
    assert max(one.rms for one in found) < 0.15


def test_the_distortion_is_what_it_is(mosaic):
    truth, _, found = mosaic
    assert corner_px(found[0].view) == pytest.approx(corner_px(truth[0]), rel=0.05)


def test_neither_the_order_nor_a_wrong_pointing_matters(mosaic):
    truth, surveys, _ = mosaic
    order = np.random.default_rng(0).permutation(len(surveys))
    wrong = [replace(surveys[k], facts=replace(HINT, pointing=(k % 7, 0.0) if k % 3 else None)) for k in order]
    check([truth[k] for k in order], wrong, 0.05)


@pytest.mark.parametrize(("overlap", "false"), [(0.1, 0.0), (0.15, 0.4)])
def test_panels_that_hardly_overlap_connect(overlap, false):
    check(*grid(12, 3, 2, 2, cam=camera(), overlap=overlap, stars=120, false=false, turn=4), 0.2)


@pytest.mark.parametrize(("ra", "dec"), [(0.0, 5.0), (120.0, 89.7), (359.9, -89.9)])
def test_nothing_is_special_about_a_pole_or_about_0h(ra, dec):
    check(*grid(2, 2, 2, 3, cam=camera(), ra=ra, dec=dec), 0.05)


@pytest.mark.parametrize("told", [90.0, 93.0])
def test_frames_20_degrees_wide(told):
    cam = camera(arcsec=90.0, corner_px=1.5, shape=(800, 600))
    found = check(*grid(3, 3, 2, 3, cam=cam, overlap=0.4, facts=Facts(scale=told)), 0.05)
    assert found[0].view.camera.scale == pytest.approx(90, rel=0.005)  # wide frames tell their scale


@pytest.mark.parametrize("told", [(2.39, 3.99), (2.39, 7.98), (None, None)])
def test_two_cameras_of_two_scales_have_their_own_distortions(told):
    fine, coarse = camera(2.39, 1.5), camera(3.99, -2.5)
    rng, sky = np.random.default_rng(9), field_of(4, 83, 22, 2.5, 80, fine)
    truth = [View(cam, looking(*rng.normal((83, 22), 0.25), 25 * k)) for k, cam in enumerate([fine, coarse] * 8)]
    facts = [Facts(instrument=name, scale=scale) for name, scale in zip(("S50", "S30"), told, strict=True)]
    surveys = [shot(rng, sky, view, facts=facts[k % 2], most=200) for k, view in enumerate(truth)]
    found = check(truth, surveys, 0.05)
    for k in (0, 1):
        assert corner_px(found[k].view) == pytest.approx(corner_px(truth[k]), rel=0.06)


def test_one_name_for_two_scales_is_two_cameras():
    rng, sky = np.random.default_rng(13), field_of(4, 83, 22, 2.0, 80, camera())
    truth = [
        View(camera(arcsec), looking(*rng.normal((83, 22), 0.1), 25 * k)) for k, arcsec in enumerate([2.39, 2.6] * 4)
    ]
    check(truth, [shot(rng, sky, view, facts=Facts(instrument="?", scale=2.4)) for view in truth], 0.05)


def test_a_meridian_flip():
    rng, sky = np.random.default_rng(14), field_of(5, 83, 22, 1.5, 60, camera())
    truth = [View(camera(), looking(83 + 0.02 * k, 22, 180 * (k > 3))) for k in range(8)]
    check(truth, [shot(rng, sky, view, false=0.4) for view in truth], 0.05)


def test_eight_stars_that_agree_are_enough():
    check(*grid(5, 1, 1, 6, cam=camera(), most=8, drop=0.0), 0.15)


def test_frames_that_show_nothing_in_common_say_so():
    rng = np.random.default_rng(6)
    _, surveys = grid(6, 1, 1, 3, cam=camera())
    far = View(camera(), looking(200, -30))
    more = [shot(rng, field(7, 200, -30, 1.5, 700), far, most=most) for most in (None, 3, 0)]
    found = register([*surveys, *more])
    assert [one.group for one in found] == [0, 0, 0, -1, -1, -1]
    assert "match no other frame" in found[3].reason
    assert [one.reason for one in found[4:]] == ["only 3 stars", "no stars"]
    assert all(one.view is None for one in found[3:])


def test_unrelated_fields_stay_apart():
    fields = [grid(100 + k, 1, 1, 1, cam=camera(), ra=9 * k, stars=120, false=0.3)[1][0] for k in range(12)]
    assert {one.group for one in register(fields)} == {-1}


def test_two_targets_are_two_groups_the_larger_first():
    surveys = grid(20, 1, 1, 3, cam=camera())[1] + grid(21, 1, 1, 4, cam=camera(), ra=200)[1]
    assert [one.group for one in register(surveys)] == [1] * 3 + [0] * 4


def test_a_single_frame_is_a_group():
    [found] = register(grid(6, 1, 1, 1, cam=camera())[1])
    assert found.group == 0
    assert found.view.attitude == pytest.approx(np.eye(3))


def test_transparency_is_what_clouds_leave():
    rng, sky = np.random.default_rng(10), field(11, 10, 10, 1.5, 1500)
    clear = np.array([1.0, 1.0, 1.0, 1.0, 0.5, 0.25])
    views = [View(camera(), looking(10 + 0.05 * k, 10, 3 * k)) for k in range(6)]
    found = register([shot(rng, sky, view, clear=share) for view, share in zip(views, clear, strict=True)])
    assert [one.flux for one in found] == pytest.approx(clear, rel=0.05)


def with_more_sources(survey, x, y, flux):
    """A survey with further sources."""
    stars = survey.stars
    x, y, flux = np.append(x, stars.x), np.append(y, stars.y), np.append(flux, stars.flux)
    return replace(survey, stars=Stars(x, y, flux, np.full(len(x), 0.07), 3.0))


def with_hot_pixels(surveys, number):
    """Surveys of one camera, in which most of its hot pixels were taken for stars."""
    rng = np.random.default_rng(77)
    height, width = surveys[0].shape[:2]
    x, y, flux = rng.uniform(0, width, number), rng.uniform(0, height, number), 1e4 / rng.random(number)
    lit = [rng.random(number) < 0.9 for _ in surveys]
    return [
        with_more_sources(one, x[on] + rng.normal(0, 0.1, on.sum()), y[on] + rng.normal(0, 0.1, on.sum()), flux[on])
        for one, on in zip(surveys, lit, strict=True)
    ]


def test_hot_pixels_do_not_win_over_stars():
    truth, surveys = grid(15, 3, 2, 4, cam=camera(), stars=50)
    check(truth, with_hot_pixels(surveys, 90), 0.05)


def test_hot_pixels_among_the_stars_of_nights_that_were_guided_well():
    rng, sky = np.random.default_rng(16), field_of(6, 10, 10, 1.5, 100, camera())
    nights = [looking(10, 10)] * 6 + [looking(10.1, 10, 69)] * 4 + [looking(10, 10.2, 5)] * 3
    truth = [View(camera(), attitude) for attitude in nights]
    check(truth, with_hot_pixels([shot(rng, sky, view, false=0.2) for view in truth], 80), 0.05)


def test_frames_that_all_show_the_same_sky_in_the_same_place():
    rng, sky = np.random.default_rng(17), field_of(7, 10, 10, 1.5, 60, camera())
    truth = [View(camera(), looking(10, 10))] * 8
    found = check(truth, [shot(rng, sky, view, false=0.3) for view in truth], 0.05)
    assert min(one.stars for one in found) > 45


def test_trails_of_satellites_agree_with_each_other_but_do_not_count():
    rng = np.random.default_rng(19)
    truth, surveys = grid(20, 2, 1, 6, cam=camera(), stars=120, turn=40)
    for k in (2, 5, 8, 11):
        angle, along = rng.uniform(0.3, 1.2), np.arange(-500, 500, 13.0)
        x, y = 540 + along * np.cos(angle), 960 + along * np.sin(angle)
        surveys[k] = with_more_sources(surveys[k], x, y, np.full(len(x), 9e4))
    check(truth, surveys, 0.05)


@pytest.mark.parametrize("told", [2.39, None])
def test_a_distortion_shows_whether_the_scale_is_told_or_not(told):
    cam = camera(corner_px=1.5)
    truth, surveys = grid(21, 2, 2, 4, cam=cam, facts=Facts(instrument="S50", scale=told))
    found = check(truth, surveys, 0.05)
    assert found[0].view.camera.radial != 0


def test_two_pieces_of_sky_that_look_alike():
    rng, sky = np.random.default_rng(18), field_of(8, 85, 0, 3.5, 80, camera())
    x, y = rng.uniform(300, 700, 14), rng.uniform(300, 1500, 14)
    twins = [View(camera(), looking(ra, 0)).directions(x, y) for ra in (84.0, 85.5)]
    sky.directions = np.concatenate([sky.directions, *twins])
    sky.flux = np.append(sky.flux, np.tile(rng.uniform(5e4, 9e4, 14), 2))
    truth = [View(camera(), looking(84 + 0.5 * (k % 5) + 0.01 * k, 0)) for k in range(15)]
    check(truth, [shot(rng, sky, view) for view in truth], 0.1)
