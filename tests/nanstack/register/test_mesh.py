# SPDX-License-Identifier: GPL-3.0-or-later
"""Frames through meshes: places against views evaluated at every pixel, samples against the definition at these."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nanstack.canvas import Canvas, reference_canvas, union_canvas
from nanstack.register import warp as warp_module
from nanstack.register.camera import ARCSEC, Camera, View, direction_of, local_axes
from nanstack.register.mesh import Box, Mesh, mesh_between, mesh_of, mesh_step, touched_box
from nanstack.register.warp import INTERPOLATIONS, warp, warp_mesh
from nanstack.truth.simulation import similarity

SHAPE = (96, 130)
CORNER_PX = np.hypot(*SHAPE) / 2
BENDS = st.floats(-3, 3)  # pixels at the corner
TURNS = st.floats(-180, 180)
SHIFTS = st.floats(-0.8, 0.8)  # of the frame's height
HANDS = st.sampled_from([1.0, -1.0])
PLACES = st.sampled_from([(83.8, 22.0), (0.0, 5.0), (10.0, 89.9), (359.99, -90.0)])


def camera(corner_px=0.0, arcsec=30.0, shape=SHAPE):
    focal = ARCSEC / arcsec
    return Camera(shape, focal, corner_px / CORNER_PX * (focal / CORNER_PX) ** 2)


def attitude(ra, dec, degrees=0.0):
    """Return the attitude of a frame whose y points at this angle from the south, through the west."""
    axis, angle = direction_of(ra, dec), np.radians(degrees)
    east, north = local_axes(axis)
    x, y = -east, -north
    return np.stack([np.cos(angle) * x + np.sin(angle) * y, np.cos(angle) * y - np.sin(angle) * x, axis])


def moved(view, dx, dy, degrees):
    """Return an attitude whose axis stands on another pixel of a view, turned about it."""
    middle = view.camera.middle
    axis = view.directions(np.array(middle[0] + dx), np.array(middle[1] + dy))
    x = view.attitude[0] - (view.attitude[0] @ axis) * axis
    x /= np.linalg.norm(x)
    y, angle = np.cross(axis, x), np.radians(degrees)
    return np.stack([np.cos(angle) * x + np.sin(angle) * y, np.cos(angle) * y - np.sin(angle) * x, axis])


def exact(canvas, view):
    """Return where all pixels of a canvas lie in a frame."""
    return view.pixels(canvas.view.directions(*np.meshgrid(np.arange(canvas.shape[1]), np.arange(canvas.shape[0]))))


def cubic(frame, x, y):
    """Return Keys' interpolation of an image (H, W) at places away from its edge, tap by tap."""

    def weight(t):
        t = np.abs(t)
        return np.where(t <= 1, 1.5 * t**3 - 2.5 * t**2 + 1, np.where(t < 2, -0.5 * t**3 + 2.5 * t**2 - 4 * t + 2, 0))

    left, above = np.floor(x).astype(int), np.floor(y).astype(int)
    taps = [(i, j, frame[above + j, left + i]) for i in range(-1, 3) for j in range(-1, 3)]
    total = sum(weight(x - left - i) * weight(y - above - j) * tap for i, j, tap in taps)
    return np.maximum(total, np.min([tap for _, _, tap in taps], axis=0))


@given(BENDS, BENDS, TURNS, SHIFTS, SHIFTS, PLACES, st.floats(0.7, 1.3), st.sampled_from([2.0, 30.0, 600.0]), HANDS)
@settings(max_examples=40)
def test_pixels_lie_where_the_views_say(canvas_bend, bend, degrees, dx, dy, place, finer, arcsec, hand):
    """Fields of 4 arcminutes to 22 degrees, mirrored, too."""
    canvas = reference_canvas(View(camera(canvas_bend, arcsec), np.diag([hand, 1, 1]) @ attitude(*place)))
    turned = moved(canvas.view, dx * SHAPE[0], dy * SHAPE[0], degrees)
    view = View(camera(bend, arcsec / finer), turned, 1.002)
    x, y = exact(canvas, view)
    mesh = mesh_between(canvas, view)
    found = mesh.positions()
    inside = mesh.box.within(mesh.part)
    np.testing.assert_allclose(found, [x[inside], y[inside]], atol=1.1e-3)
    shown = (x >= 0) & (x <= SHAPE[1] - 1) & (y >= 0) & (y <= SHAPE[0] - 1)
    shown[inside] = False
    assert not shown.any(), "what the mesh leaves out is not in the frame"


@given(BENDS, TURNS, SHIFTS, SHIFTS, st.data())
@settings(max_examples=20)
def test_a_part_is_that_part_of_the_whole(bend, degrees, dx, dy, data):
    canvas = reference_canvas(View(camera(1.0), attitude(83.8, 22.0)))
    view = View(camera(bend), moved(canvas.view, dx * SHAPE[0], dy * SHAPE[0], degrees))
    frame = np.random.default_rng(1).normal(1000, 30, (*SHAPE, 3)).astype(np.float32)
    whole = warp_mesh(frame, mesh_between(canvas, view))
    (top, bottom), (left, right) = (
        sorted(data.draw(st.lists(st.integers(0, side), min_size=2, max_size=2))) for side in SHAPE
    )
    part = warp_mesh(frame, mesh_between(canvas, view, Box(top, bottom, left, right)))
    np.testing.assert_array_equal(part, whole[top:bottom, left:right])


def test_samples_are_those_at_the_places_and_end_where_the_frame_does():
    canvas = union_canvas([View(camera(), attitude(83.8, 22.0)), View(camera(), attitude(84.6, 22.5))])
    view = View(camera(2.0), attitude(83.9, 22.1, 33.0))
    y, x = np.mgrid[: SHAPE[0], : SHAPE[1]]
    frame = (1000 + 3 * x + 10 * np.sin(x / 5) * np.cos(y / 7)).astype(np.float32)  # nowhere level: no ring is seen
    warped = warp_mesh(frame, mesh_between(canvas, view))
    x, y = exact(canvas, view)
    assert warped.shape == canvas.shape
    within = (x >= 0) & (x <= SHAPE[1] - 1) & (y >= 0) & (y <= SHAPE[0] - 1)
    taps = (x > 1.01) & (x < SHAPE[1] - 2.01) & (y > 1.01) & (y < SHAPE[0] - 2.01)
    assert not np.isfinite(warped[~within]).any()
    np.testing.assert_allclose(warped[taps], cubic(frame, x[taps], y[taps]), atol=0.02)


@pytest.mark.parametrize("interpolation", INTERPOLATIONS)
@pytest.mark.parametrize("corner_px", [0.0, 1.5, -2.0])
@pytest.mark.parametrize("place", [(83.8, 22.0), (0.0, 90.0)])
def test_a_frame_on_its_own_pixels_is_an_exact_copy(interpolation, corner_px, place):
    view = View(camera(corner_px), attitude(*place, 71.0), 1.004)
    frame = np.random.default_rng(2).normal(1000, 30, (*SHAPE, 3)).astype(np.float32)
    frame[40:44, 50, 1] = np.nan
    copy = warp_mesh(frame, mesh_between(reference_canvas(view), view), interpolation)
    frame[40:44, 50] = np.nan
    np.testing.assert_array_equal(copy, frame)


@given(BENDS, st.integers(-120, 120), st.integers(-90, 90), st.sampled_from(INTERPOLATIONS))
@settings(max_examples=15)
def test_a_shift_by_whole_pixels_is_an_exact_copy(bend, dx, dy, interpolation):
    view = View(camera(bend), attitude(83.8, 22.0, 71.0))
    x, y = view.camera.middle
    shifted = replace(view, camera=replace(view.camera, shape=(80, 150), axis=(x - dx, y - dy)))
    frame = np.random.default_rng(5).normal(1000, 30, SHAPE).astype(np.float32)
    truth = np.full((SHAPE[0] + 400, SHAPE[1] + 400), np.nan, np.float32)
    truth[200 : 200 + SHAPE[0], 200 : 200 + SHAPE[1]] = frame
    copy = warp_mesh(frame, mesh_between(Canvas(shifted), view), interpolation)
    np.testing.assert_array_equal(copy, truth[200 + dy : 280 + dy, 200 + dx : 350 + dx])


@pytest.mark.parametrize("interpolation", INTERPOLATIONS)
def test_an_affine_mapping_gives_what_the_affine_warp_does(interpolation):
    transform = similarity(SHAPE, 3.4, -2.6, 14.0, 1.01)
    frame = np.random.default_rng(3).normal(1000, 30, (*SHAPE, 3)).astype(np.float32)
    frame[50:52, 60, 2] = np.inf
    whole = Box(0, SHAPE[0], 0, SHAPE[1])

    def there(x, y):
        return tuple(transform[:, 0, None, None] * x + transform[:, 1, None, None] * y + transform[:, 2, None, None])

    assert mesh_step(there, whole) == 32
    meshed = warp_mesh(frame, mesh_of(there, whole, 32, whole), interpolation)
    np.testing.assert_allclose(meshed, warp(frame, transform, interpolation), rtol=1e-6, equal_nan=True)


@pytest.mark.parametrize("channels", [(), (1,), (3,), (6,)])
@pytest.mark.parametrize("interpolation", INTERPOLATIONS)
def test_the_kernel_does_what_the_definition_does(channels, interpolation, monkeypatch):
    canvas = reference_canvas(View(camera(1.0, shape=(90, 300)), attitude(83.8, 22.0)))
    view = View(camera(-2.0), moved(canvas.view, 20.3, -14.2, 171.0))
    rng = np.random.default_rng(4)
    frame = rng.normal(1000, 30, (*SHAPE, *channels)).astype(np.float32)
    frame[rng.random(SHAPE) < 0.01] = np.nan
    mesh = mesh_between(canvas, view)
    compiled = warp_mesh(frame, mesh, interpolation)
    monkeypatch.setattr(warp_module, "_compiled", lambda: None)
    np.testing.assert_allclose(compiled, warp_mesh(frame, mesh, interpolation), rtol=1e-6, equal_nan=True)


def test_samples_at_any_coordinates_and_nowhere():
    frame = np.arange(30, dtype=np.float32).reshape(5, 6)
    x = np.array([[2.0, 0.0, np.nan, 5.0], [2.5, -0.1, 3.0, 5.1]])
    y = np.array([[1.0, 4.0, 1.0, 4.0], [2, 2, np.inf, 2]])
    expected = np.array([[8, 24, np.nan, 29], [14.5, np.nan, np.nan, np.nan]])
    pixel = Box(7, 8, 3, 4)
    for place in np.ndindex(x.shape):
        found = warp_mesh(frame, Mesh(np.full((2, 2), x[place]), np.full((2, 2), y[place]), 8, pixel, pixel))
        np.testing.assert_allclose(found, [[expected[place]]], equal_nan=True)


def test_a_frame_beside_the_canvas_or_behind_it_shows_nothing():
    canvas = reference_canvas(View(camera(), attitude(83.8, 22.0)))
    frame = np.ones((*SHAPE, 3), np.float32)
    for ra, dec in ((86.8, 22.0), (263.8, -22.0)):
        view = View(camera(), attitude(ra, dec))
        warped = warp_mesh(frame, mesh_between(canvas, view))
        assert warped.shape == frame.shape
        assert np.isnan(warped).all()


def test_on_a_large_canvas_what_a_frame_can_touch_alone_is_computed():
    wide = Canvas(View(Camera((20_000, 30_000), ARCSEC / 30.0), attitude(83.8, 22.0)))
    view = View(camera(1.0), moved(wide.view, 3000.4, -1500.7, 20.0))
    box = touched_box(wide, view)
    assert max(box.shape) < 200
    middle = (box.top + box.bottom) / 2 - 0.5, (box.left + box.right) / 2 - 0.5
    assert middle == pytest.approx((9999.5 - 1500.7, 14999.5 + 3000.4), abs=2)
    part = warp_mesh(np.ones(SHAPE, np.float32), mesh_between(wide, view, box))
    assert part.shape == box.shape
    # the plane stretches what lies off its axis, and the taps of interpolation stay within the frame
    stretch = wide.view.directions(np.array(14999.5 + 3000.4), np.array(9999.5 - 1500.7)) @ wide.view.pointing
    assert np.isfinite(part).sum() == pytest.approx((SHAPE[0] - 3) * (SHAPE[1] - 3) / stretch**3, rel=0.03)


def test_steps_become_smaller_where_the_mapping_bends():
    box = Box(0, 300, 0, 300)
    assert mesh_step(lambda x, y: (x + 1e-6 * x * y, y), box) == 32, "a product of x and y is what nodes interpolate"
    assert mesh_step(lambda x, y: (x + 3e-5 * x * x, y), box) == 8
    # bends that cancel in the middles of cells
    assert mesh_step(lambda x, y: (x + 3e-5 * (x * x - y * y), y), box) == 8


def test_a_plane_comes_out_exactly():
    canvas = reference_canvas(View(camera(2.0), attitude(83.8, 22.0)))
    view = View(camera(-1.0), moved(canvas.view, 3.3, 5.8, 10.0))
    y, x = np.mgrid[: SHAPE[0], : SHAPE[1]]
    warped = warp_mesh((2 * x - 3 * y + 5).astype(np.float32), mesh_between(canvas, view))
    u, v = exact(canvas, view)
    valid = np.isfinite(warped)
    assert valid.mean() > 0.5
    np.testing.assert_allclose(warped[valid], (2 * u - 3 * v + 5)[valid], atol=5e-3)
