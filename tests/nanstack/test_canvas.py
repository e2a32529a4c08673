# SPDX-License-Identifier: GPL-3.0-or-later
"""Canvases: what they show of frames whose places on the sky are known."""

import warnings

import numpy as np
import pytest
from astropy.io import fits
from astropy.wcs import WCS
from hypothesis import given, settings
from hypothesis import strategies as st

from nanstack.canvas import canvas_like, reference_canvas, union_canvas
from nanstack.io.frames import FrameError
from nanstack.register.camera import ARCSEC, Camera, View, direction_of, local_axes
from nanstack.register.mesh import Box, mesh_between
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


def test_without_a_reference_the_usual_scale_is_taken_or_the_one_asked_for():
    views = [view_at(10, 5), view_at(10, 5, focal=1.1 * FOCAL), view_at(10, 5, focal=3 * FOCAL)]
    assert union_canvas(views).view.focal == 1.1 * FOCAL
    assert union_canvas(views, scale=20.0).view.camera.scale == pytest.approx(20.0)


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


def test_a_canvas_out_of_proportion_is_refused():
    with pytest.raises(ValueError, match=r"\d{5,} x \d+ pixels, more than 65000 on a side: choose"):
        union_canvas([view_at(0, 0, focal=40 * FOCAL), view_at(15, 0, focal=40 * FOCAL)])


def written(path, shape=(60, 80), turn=0.0, hand=-1, kind="TAN", frame="RA", **cards):
    """Write an image whose axes are turned against the north, mirrored where `hand` is 1; return its solution."""
    wcs = WCS(naxis=2)
    names = {"RA": ("RA--", "DEC-"), "G": ("GLON", "GLAT")}[frame]
    wcs.wcs.ctype = [f"{name}-{kind}" for name in names]
    wcs.wcs.crval, wcs.wcs.crpix = (83.0, 21.0), (30.0, 44.0)
    angle = np.radians(turn)
    wcs.wcs.cd = 0.01 * np.array([[hand * np.cos(angle), -np.sin(angle)], [-hand * np.sin(angle), -np.cos(angle)]])
    header = wcs.to_header()
    header.update(cards)
    fits.writeto(path, np.zeros(shape, np.float32), header)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return WCS(fits.getheader(path))


SIP_CARDS = {
    "CTYPE1": "RA---TAN-SIP", "CTYPE2": "DEC--TAN-SIP", "A_ORDER": 2, "B_ORDER": 2,
    "A_2_0": 3e-4, "A_1_1": -1e-4, "B_0_2": 2e-4,
}  # fmt: skip


@pytest.mark.parametrize(
    "how",
    [
        {},
        {"hand": 1},
        {"turn": 180.0},
        {"turn": 70.0, "hand": 1},
        {"kind": "ZEA"},
        {"frame": "G"},
        {"RADESYS": "FK5", "EQUINOX": 1975.0},
        SIP_CARDS,
    ],
    ids=str,
)
def test_it_takes_the_pixels_of_another_image_as_that_has_them(tmp_path, how):
    """Against astropy's own idea of the sky; north down and mirrored ones among them."""
    solution = written(tmp_path / "other.fits", **how)
    canvas = canvas_like(tmp_path / "other.fits")
    assert (canvas.shape, canvas.origin) == ((60, 80), (0, 0))
    rng = np.random.default_rng(4)
    x, y = rng.uniform(0, 79, (5, 7)), rng.uniform(0, 59, (5, 7))
    truth = np.moveaxis(solution.pixel_to_world(x, y).icrs.cartesian.xyz.value, 0, -1)
    directions = canvas.view.directions(x, y)
    np.testing.assert_allclose(directions, truth, rtol=0, atol=1e-9)  # 0.2 mas
    np.testing.assert_allclose(canvas.view.pixels(directions), [x, y], rtol=0, atol=1e-5)
    assert canvas.view.focal == pytest.approx(np.degrees(100), rel=0.01)


def test_a_frame_lies_on_another_images_pixels_where_its_stars_say(tmp_path):
    """A star of the frame, by astropy's solution of that image; through the mesh that resampling uses."""
    solution = written(tmp_path / "other.fits", turn=150.0, hand=1)
    canvas, frame = canvas_like(tmp_path / "other.fits"), view_at(83.1, 21.2, 33.0)
    ra, dec = 83.15, 21.1
    x, y = (int(np.rint(v)) for v in solution.world_to_pixel_values(ra, dec))
    sky = solution.pixel_to_world(x, y).icrs
    found = [v[y, x] for v in mesh_between(canvas, frame).positions(Box.whole(canvas.shape))]
    truth = frame.pixels(direction_of(sky.ra.deg, sky.dec.deg))
    np.testing.assert_allclose(found, truth, rtol=0, atol=1e-3)


def test_an_image_without_a_place_on_the_sky_is_named(tmp_path):
    fits.writeto(tmp_path / "plain.fits", np.zeros((6, 8), np.float32))
    with pytest.raises(FrameError, match=r"plain\.fits: its header has no place on the sky \(WCS\)"):
        canvas_like(tmp_path / "plain.fits")
    written(tmp_path / "horizon.fits", shape=(60, 9000), kind="SIN")
    with pytest.raises(FrameError, match=r"horizon\.fits: some of its pixels have no place on the sky"):
        canvas_like(tmp_path / "horizon.fits")
