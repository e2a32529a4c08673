# SPDX-License-Identifier: GPL-3.0-or-later
"""Canvases: what they show of frames whose places on the sky are known."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nanstack import canvas as canvas_module
from nanstack.canvas import reference_canvas, union_canvas
from nanstack.register.camera import ARCSEC, Camera, View, direction_of, local_axes
from nanstack.register.mesh import mesh_between
from nanstack.register.warp import warp_mesh

SHAPE = (96, 130)
FOCAL = ARCSEC / 30.0


def view_at(ra, dec, degrees=0.0, focal=FOCAL, shape=SHAPE, radial=0.0, hand=1):
    axis, angle = direction_of(ra, dec), np.radians(degrees)
    east, north = local_axes(axis)
    x, y = -east, -hand * north
    return View(
        Camera(shape, focal, radial),
        np.stack([np.cos(angle) * x + np.sin(angle) * y, np.cos(angle) * y - np.sin(angle) * x, axis]),
    )


def corners(view):
    height, width = view.camera.shape
    x, y = np.array([0, width - 1, 0, width - 1]), np.array([0, 0, height - 1, height - 1])
    return view.directions(x, y)


@given(
    st.sampled_from([(83.8, 22.0), (0.0, 0.0), (10.0, 90.0), (359.9, -89.8)]),
    st.lists(st.tuples(st.floats(-2, 2), st.floats(-2, 2), st.floats(-180, 180)), min_size=1, max_size=8),
    st.booleans(),
)
@settings(max_examples=40)
def test_it_shows_every_frame_and_has_no_room_to_spare(place, moves, north_up):
    axis = direction_of(*place)
    east, north = local_axes(axis)
    views = []
    for along, up, degrees in moves:
        there = axis + np.tan(np.radians(along)) * east + np.tan(np.radians(up)) * north
        ra, dec = np.degrees([np.arctan2(there[1], there[0]), np.arctan2(there[2], np.hypot(*there[:2]))])
        views.append(view_at(ra, dec, degrees, radial=3.0))
    canvas = union_canvas(views, None if north_up else views[0])
    x, y = canvas.view.pixels(np.concatenate([corners(view) for view in views]))
    height, width = canvas.shape
    assert x.min() >= 0
    assert x.max() <= width - 1
    assert y.min() >= 0
    assert y.max() <= height - 1
    assert max(x.min(), width - 1 - x.max(), y.min(), height - 1 - y.max()) < 1.5, "frames' sides bend by less"
    assert union_canvas(views[::-1], None if north_up else views[0]).view.camera == canvas.view.camera


def test_north_is_up_and_east_to_the_left():
    canvas = union_canvas([view_at(83.8, 22.0, 40), view_at(84.8, 21.5, -10)])
    wcs = canvas.wcs()
    assert (wcs.wcs.cd[0, 0] < 0, wcs.wcs.cd[1, 1] > 0) == (True, True)
    assert np.abs([wcs.wcs.cd[0, 1], wcs.wcs.cd[1, 0]]).max() < 1e-12
    assert wcs.wcs.ctype[0] == "RA---TAN"
    assert wcs.array_shape == canvas.shape


def test_its_solution_puts_pixels_where_the_view_does():
    canvas = union_canvas([view_at(83.8, 22.0, 40), view_at(86.8, 21.5, -10)])
    rng = np.random.default_rng(1)
    x, y = rng.uniform(0, canvas.shape[1], 50), rng.uniform(0, canvas.shape[0], 50)
    truth = canvas.wcs().pixel_to_world(x, y).cartesian.xyz.value.T
    np.testing.assert_allclose(canvas.view.directions(x, y), truth, atol=1e-9)


@pytest.mark.parametrize("hand", [1, -1])
def test_it_takes_the_turn_the_hand_and_the_scale_of_its_reference(hand):
    reference = view_at(83.8, 22.0, 33.0, hand=hand)
    canvas = union_canvas([reference, view_at(84.9, 22.4, focal=2 * FOCAL)], reference)
    assert canvas.view.focal == FOCAL
    x, y = canvas.view.pixels(reference.directions(np.array([10.0, 11.0, 10.0]), np.array([20.0, 20.0, 21.0])))
    np.testing.assert_allclose([x[1] - x[0], y[1] - y[0]], [1, 0], atol=0.01)
    np.testing.assert_allclose([x[2] - x[0], y[2] - y[0]], [0, 1], atol=0.01)


def test_without_a_reference_the_finest_scale_is_taken():
    assert union_canvas([view_at(10, 5), view_at(10, 5, focal=1.5 * FOCAL)]).view.focal == 1.5 * FOCAL


def test_the_reference_is_copied_onto_its_own_canvas():
    view = view_at(83.8, 22.0, 12.0, radial=200.0)
    frame = np.random.default_rng(2).normal(1000, 30, (*SHAPE, 3)).astype(np.float32)
    canvas = reference_canvas(view)
    assert canvas.shape == SHAPE
    np.testing.assert_array_equal(warp_mesh(frame, mesh_between(canvas, view)), frame)


def test_a_field_too_wide_for_a_plane_is_refused():
    wide = [view_at(ra, 0.0) for ra in (0, 50, 118)]
    union = union_canvas(wide)
    assert union.shape[1] == pytest.approx(2 * FOCAL * np.tan(np.radians(59)), rel=0.03)
    for far in (125, 180, 240):
        with pytest.raises(ValueError, match=r"degrees of the sky.*120 at most.*in several runs"):
            union_canvas([*wide, view_at(far, 0.0)])


def test_a_canvas_out_of_proportion_is_refused(monkeypatch):
    with pytest.raises(ValueError, match=r"\d{5,} x \d+ pixels, more than 65000 on a side: leave out"):
        union_canvas([view_at(0, 0, focal=40 * FOCAL), view_at(15, 0, focal=40 * FOCAL)])
    monkeypatch.setattr(canvas_module, "free_memory", lambda: 1e5)
    with pytest.raises(ValueError, match=r"GiB of memory, more than is free: leave out"):
        union_canvas([view_at(0, 0), view_at(3, 0)])
