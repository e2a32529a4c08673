# SPDX-License-Identifier: GPL-3.0-or-later
"""Cameras: pixels and directions, held to astropy's projections and to simulated attitudes."""

from __future__ import annotations

import numpy as np
import pytest

from nanstack.register.camera import ARCSEC, Camera, View, attitude_between

SHAPE = (1920, 1080)
CORNER_PX = np.hypot(*SHAPE) / 2


def turned(seed, mirrored=False):
    attitude, _ = np.linalg.qr(np.random.default_rng(seed).normal(size=(3, 3)))
    if (np.linalg.det(attitude) < 0) != mirrored:
        attitude[0] *= -1
    return attitude


def camera(corner_px=0.0, arcsec=2.39):
    focal = ARCSEC / arcsec
    return Camera(SHAPE, focal, corner_px / CORNER_PX * (focal / CORNER_PX) ** 2)


def places(seed, count=300):
    rng = np.random.default_rng(seed)
    return rng.uniform(-0.5, SHAPE[1] - 0.5, count), rng.uniform(-0.5, SHAPE[0] - 0.5, count)


@pytest.mark.parametrize("corner_px", [0, 1.5, -8, 25])
@pytest.mark.parametrize("arcsec", [2.39, 60.0])
def test_pixels_come_back_from_the_sky(corner_px, arcsec):
    view = View(camera(corner_px, arcsec), turned(1), 1.003)
    x, y = places(2)
    u, v = view.pixels(view.directions(x, y))
    np.testing.assert_allclose([u, v], [x, y], atol=1e-7)


@pytest.mark.parametrize("corner_px", [0, 1.5, -8, 25])
@pytest.mark.parametrize("mirrored", [False, True])
def test_its_solution_puts_pixels_where_the_view_does(corner_px, mirrored):
    view = View(camera(corner_px), turned(3, mirrored), 0.998)
    x, y = places(4)
    sky = view.wcs().pixel_to_world(x, y).cartesian.xyz.value.T
    assert np.abs(sky - view.directions(x, y)).max() * view.camera.focal < 1e-3  # pixels


@pytest.mark.parametrize("corner_px", [0, 8])
def test_an_axis_beside_the_middle(corner_px):
    middle = View(camera(corner_px), turned(8))
    (x, y), reach = middle.camera.middle, (60.0, -200.0)
    beside = View(Camera(SHAPE, middle.focal, middle.camera.radial, (x + reach[0], y + reach[1])), middle.attitude)
    u, v = places(9)
    np.testing.assert_allclose(beside.directions(u + reach[0], v + reach[1]), middle.directions(u, v), atol=1e-12)
    np.testing.assert_allclose(beside.pixels(middle.directions(u, v)), [u + reach[0], v + reach[1]], atol=1e-7)
    sky = beside.wcs().pixel_to_world(u, v).cartesian.xyz.value.T
    assert np.abs(sky - beside.directions(u, v)).max() * beside.focal < 1e-3  # pixels


def test_third_order_distortion_moves_the_corner_by_what_it_is_named_for():
    plain, bent = View(camera(), np.eye(3)), View(camera(1.5), np.eye(3))
    corner = plain.directions(np.array([0.0]), np.array([0.0]))
    x, y = bent.pixels(corner)
    assert np.hypot(x, y)[0] == pytest.approx(1.5, rel=0.01)


@pytest.mark.parametrize("mirrored", [False, True])
def test_an_attitude_is_found_from_what_a_camera_sees(mirrored):
    truth = turned(6, mirrored)
    directions = View(camera(), truth).directions(*places(7, 40))
    found = attitude_between(directions @ truth.T, directions, np.ones(40), mirrored)
    np.testing.assert_allclose(found, truth, atol=1e-9)


def test_what_lies_behind_is_nowhere():
    x, y = View(camera(), np.eye(3)).pixels(np.array([[0.0, 0.0, -1.0], [0.0, 0.0, 1.0]]))
    assert np.isnan([x[0], y[0]]).all()
    assert (x[1], y[1]) == camera().middle
