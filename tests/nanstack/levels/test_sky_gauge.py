# SPDX-License-Identifier: GPL-3.0-or-later
"""What frames leave open of the sky, and how it is chosen."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nanstack.register.camera import direction_of
from tests.support.known_skies import SHAPE, left, levelled, take
from tests.support.registered import HERE

pytestmark = pytest.mark.numpy_bytes

APART = 0.45


def panels(columns, rows, count=4, tilt=(0.0, 0.0), turn=lambda k: 0.0, sky=lambda directions: 0.0, varied=0.0):
    """Frames that all show one tilt, and little else of their own."""
    rng, own = np.random.default_rng(5), np.random.default_rng(6)
    return [
        take(
            f"{column}{row}_{k}.fit", column * APART + rng.normal(0, 0.01), row * APART / 1.5 + rng.normal(0, 0.01),
            turn(k) + rng.uniform(-2, 2), rng.normal(0, 20), tuple(tilt + varied * own.normal(0, 1, 2)),
            seed=k + 100 * column + 1000 * row, sky=sky,
        )
        for column in range(columns)
        for row in range(rows)
        for k in range(count)
    ]  # fmt: skip


def shown(frames, sky=None, colour=1):
    """What the picture shows of the glow that is left, and of the sky; and the places, in sides of a frame: (k, 3)."""
    canvas, levels = levelled(frames)
    glow = left(frames, canvas, levels, colour)
    y, x = (at.astype(float) for at in np.nonzero(np.isfinite(glow).any(axis=0)))
    picture = np.nanmean(glow[:, np.isfinite(glow).any(axis=0)], axis=0)
    if sky is not None:
        picture = picture + sky(canvas.view.directions(40 * x, 40 * y))
    return np.stack([40 * x / SHAPE[1], 40 * y / SHAPE[1], picture])


def tilt_of(x, y, values):
    return np.linalg.lstsq(np.stack([np.ones_like(x), x, y], axis=1), values, rcond=None)[0][1:]


def light(east, north, width, height=60.0):
    def sky(directions):
        off = (directions - direction_of(HERE[0] + east, HERE[1] + north)) / np.radians(width)
        return height * np.exp(-0.5 * np.sum(off**2, axis=-1))

    return sky


def test_a_glow_that_stays_on_the_sensor_does_not_run_on_over_all_panels():
    assert np.abs(tilt_of(*shown(panels(2, 2, tilt=(40.0, 20.0))))).max() < 4
    assert np.abs(tilt_of(*shown(panels(3, 1, tilt=(40.0, 0.0))))).max() < 4


def test_a_nebula_that_fills_a_panel_keeps_its_light_and_tilts_nothing():
    neb = light(0.0, 0.0, 0.12)
    x, y, picture = shown(panels(2, 2, sky=neb), neb)
    bright, dark = picture > np.percentile(picture, 98), picture < np.percentile(picture, 50)
    assert np.median(picture[bright]) - np.median(picture[dark]) == pytest.approx(60, abs=8)
    assert np.abs(tilt_of(x[dark], y[dark], picture[dark])).max() < 8


def test_light_of_one_colour_does_not_tilt_it_where_glows_change_in_all_colours_alike():
    """It falls from one end of the picture to the other: nothing there is dark in that colour but the far end."""

    def blue(directions):
        return light(0.6, 0.0, 0.5, 80.0)(directions)[..., np.newaxis] * np.array([0.0, 0.0, 1.0])

    def tilt(colour, varied):
        return np.abs(tilt_of(*shown(panels(2, 2, tilt=(40.0, 20.0), sky=blue, varied=varied), colour=colour))).max()

    assert tilt(colour=2, varied=0.0) > 12  # nothing tells the colour of the glows
    assert tilt(colour=2, varied=10.0) < 4
    assert tilt(colour=1, varied=10.0) < 4


@pytest.mark.parametrize("columns", [1, 3])
def test_light_across_a_strip_or_a_single_panel_is_left_in_the_picture(columns):
    """It fills the frames: nothing tells it from a glow of theirs."""

    def slope(directions):
        return 40 * (directions - direction_of(*HERE))[..., 2] / np.radians(0.4)

    x, y, picture = shown(panels(columns, 1, sky=slope), slope)
    a_side = np.radians(SHAPE[1] * 2.39 / 3600) * np.cos(np.radians(HERE[1]))
    assert abs(tilt_of(x, y, picture)[1]) == pytest.approx(40 * a_side / np.radians(0.4), rel=0.06)


def test_frames_turned_by_half_circles_tell_their_glow_from_light_of_the_sky():
    def slope(directions):
        return 40 * (directions - direction_of(*HERE))[..., 1] / np.radians(0.5)

    frames = panels(2, 1, tilt=(50.0, 30.0), turn=lambda k: 180.0 * (k % 2), sky=slope)
    x, y, glow = shown(frames)
    assert np.abs(tilt_of(x, y, glow)).max() < 5


@settings(max_examples=10, deadline=None)
@given(st.floats(-60, 60), st.floats(-60, 60))
def test_a_plane_that_all_frames_show_changes_all_levels_alike(across, down):
    before = levelled(panels(2, 1))[1]

    def plane(directions):
        off = (directions - direction_of(*HERE)) / np.radians(0.5)
        return across * off[..., 1] + down * off[..., 2]

    changes = np.array([
        new.terms - old.terms for new, old in zip(levelled(panels(2, 1, sky=plane))[1], before, strict=True)
    ])  # fmt: skip
    far = np.array([1.0, SHAPE[1], SHAPE[1], 0, 0, 0])[:, np.newaxis]
    assert np.abs((changes - changes.mean(axis=0)) * far).max() < 1.5
