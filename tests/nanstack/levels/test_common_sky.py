# SPDX-License-Identifier: GPL-3.0-or-later
"""One sky for all frames of a canvas: held to frames whose own glow is known."""

import tracemalloc
from dataclasses import replace

import numpy as np
import pytest

from nanstack.canvas import union_canvas
from nanstack.levels.common_sky import common_sky, onto_earlier
from nanstack.levels.placed import Level
from nanstack.levels.sky_samples import sky_samples
from nanstack.register.registered import Flat
from tests.support.known_skies import SHAPE, left, levelled, nebula, night, steps, take

pytestmark = pytest.mark.numpy_bytes


def tree(x, y):
    return np.where(x + 0.3 * y > 0.65 * SHAPE[1], 0.3, 1.0)


def cloud(x, y):
    return 1 + 0.15 / (1 + np.exp(-(x / SHAPE[1] - 0.58) / 0.03))


def test_glows_of_frames_are_found_through_a_nebula():
    frames = night(sky=nebula)
    usual, largest = steps(left(frames, *levelled(frames)))
    assert usual < 0.6
    assert largest < 3


@pytest.mark.parametrize(("over", "soft"), [(tree, 1), (cloud, 2)])
def test_a_tree_or_the_edge_of_a_cloud_in_four_of_ten_frames_is_no_sky(over, soft):
    """It covers some 45 % of each of them: nothing is made brighter or darker for it; the cloud's edge is soft."""
    clear = night(count=10, sky=nebula)
    spoiled = night(count=10, sky=nebula, spoiled=lambda k: over if k in (1, 4, 6, 8) else None)
    usual, largest = steps(left(spoiled, *levelled(spoiled)))
    assert usual < 0.8 * soft
    assert largest < 4 * soft
    canvas, levels = levelled(clear)
    for one, other in zip(levels, levelled(spoiled)[1], strict=True):
        assert np.abs(one.offset - other.offset).max() < 3 * soft


def test_frames_of_other_transparency_are_levelled_as_they_are_multiplied():
    frames = night(sky=nebula)
    gains = np.random.default_rng(1).uniform(1, 1.5, (len(frames), 1)) * np.ones(3)
    shown = left(frames, *levelled(frames, gains=gains), gains=gains)
    clouded = night()
    assert steps(shown)[0] < 6, "the nebula is brighter now by these very factors"
    assert steps(left(clouded, *levelled(clouded, gains=gains), gains=gains))[0] < 0.8


def test_offsets_leave_tilts_and_nothing_leaves_all():
    frames = night()
    canvas, levels = levelled(frames, "offset")
    assert all(not level.slope_x.any() and not level.slope_y.any() for level in levels)
    assert 1 < steps(left(frames, canvas, levels))[0] < 6
    canvas, levels = levelled(frames, "none")
    assert all(not level.offset.any() and not level.slope_x.any() for level in levels)
    with pytest.raises(ValueError, match="'cubic' is unknown"):
        levelled(frames, "cubic")


def test_the_whole_keeps_its_level():
    frames = night()
    shown = left(frames, *levelled(frames))
    before = left(frames, levelled(frames)[0], [Level.zero(3)] * len(frames))
    assert np.nanmean(shown) == pytest.approx(np.nanmean(before), abs=2)


def test_what_tilts_all_frames_does_not_grow_with_the_canvas():
    """Four panels in a row, each frame tilted by 40 ADU: planes that only join them would make a slope of 110."""
    frames = night(panels=4, tilt=1.0, common=40.0)
    canvas, levels = levelled(frames)
    shown = left(frames, canvas, levels)
    assert steps(shown)[0] < 0.6
    assert np.nanmax(shown) - np.nanmin(shown) < 60
    one = night(panels=1, tilt=1.0, common=40.0)
    assert np.abs([[level.slope_x, level.slope_y] for level in levelled(one)[1]]).max() * SHAPE[1] < 15


def unevenness(left):
    """Scatter, and range, of what is left on the whole, less a plane."""
    known = np.isfinite(left).any(axis=0)
    whole = np.nanmean(left[:, known], axis=0)
    plane = np.stack([np.ones(len(whole)), *np.nonzero(known)], axis=1)
    flat = whole - plane @ np.linalg.lstsq(plane, whole, rcond=None)[0]
    return float(np.std(flat)), float(np.ptp(flat))


@pytest.mark.parametrize("panels", [2, 4])
@pytest.mark.parametrize("shade", [(-40.0, 0.0, -40.0), (30.0, 20.0, -30.0)])
def test_what_stays_on_the_sensor_is_no_sky(shade, panels):
    """Corners darker by 20 ADU, as a flat leaves them, or a saddle: panels would show where their frames end.

    In overlaps a vignetting looks like slopes that grow from panel to panel, and would bend the whole 16 times as much.
    """
    frames = night(panels=panels, tilt=2.0, sky=nebula, shade=shade)
    shown = left(frames, *levelled(frames))
    assert steps(shown)[0] < 0.5
    scatter, spread = unevenness(shown)
    assert scatter < 2
    assert spread < 8


def test_where_stars_tell_the_flat_glows_that_grow_from_panel_to_panel_are_less_taken_for_it():
    """Slopes that grow by 10 ADU from panel to panel look like a bowl that stays on the sensor."""
    rng = np.random.default_rng(6)
    frames = [
        take(
            f"{k}_{panel}.fit",
            panel * 0.45 + rng.normal(0, 0.02),
            rng.normal(0, 0.02),
            tilt=(10.0 * panel, 0.0),
            seed=k,
        )
        for panel in range(4)
        for k in range(panel * 6, panel * 6 + 6)
    ]
    known = [replace(one, frame=replace(one.frame, flat=Flat(error=0.003))) for one in frames]
    without, told = (unevenness(left(night, *levelled(night)))[1] for night in (frames, known))
    assert told < without - 0.5


def test_frames_that_do_not_touch_keep_their_own_level():
    near, far = night(panels=1), [replace(taken, level=taken.level + 200) for taken in night(panels=1)]
    rng = np.random.default_rng(3)
    far = [take(f"far_{k}.fit", 3.0, rng.normal(0, 0.02), level=200 + rng.normal(0, 30), seed=k) for k in range(8)]
    both = [*near, *far]
    shown = left(both, *levelled(both))
    assert np.nanmean(shown[8:]) - np.nanmean(shown[:8]) == pytest.approx(200, abs=40)
    assert steps(shown[:8])[0] < 0.6
    assert steps(shown[8:])[0] < 0.6


def test_a_frame_that_shows_little_of_the_sky_has_an_offset_and_one_that_shows_none_stays():
    frames = night()
    few, none = (np.full_like(frames[0].frame.survey.sky, np.nan) for _ in range(2))
    few[2:4, 2:5] = frames[0].frame.survey.sky[2:4, 2:5]
    for number, mesh in ((0, few), (1, none)):
        survey = replace(frames[number].frame.survey, sky=mesh)
        frames[number] = replace(frames[number], frame=replace(frames[number].frame, survey=survey))
    levels = levelled(frames)[1]
    assert levels[0].offset.all()
    assert np.abs(levels[0].slope_x).max() * SHAPE[1] < 2, "no more than what all frames get"
    assert not levels[1].offset.any()


def test_the_order_of_frames_changes_no_bit():
    frames = night(sky=nebula)
    canvas, levels = levelled(frames)
    order = np.random.default_rng(2).permutation(len(frames))
    again = common_sky([frames[k].frame for k in order], np.ones((len(frames), 3)), canvas).levels
    for k, level in zip(order, again, strict=True):
        for term in ("offset", "slope_x", "slope_y"):
            np.testing.assert_array_equal(getattr(level, term), getattr(levels[k], term))


def mono(frame):
    return replace(frame, survey=replace(frame.survey, sky=frame.survey.sky[..., 1], noise=np.array(1.0)))


def test_mono_frames():
    frames = [mono(taken.frame) for taken in night()]
    canvas = union_canvas([frame.view for frame in frames])
    levels = common_sky(frames, np.ones((len(frames), 1)), canvas).levels
    assert levels[0].offset.shape == (1,)
    assert steps(left(night(), canvas, levels, colour=0))[0] < 0.6


def test_a_new_solution_goes_on_from_an_earlier_one():
    earlier = [Level(np.array([k, 0.0]), np.array([0.1, 0.0]), np.zeros(2)) for k in (1.0, 2.0, 3.0)]
    new = [Level(np.array([k, 5.0]), np.array([0.3, 0.0]), np.zeros(2)) for k in (4.0, 5.0, 60.0)]
    found = onto_earlier(new, earlier)
    np.testing.assert_allclose(found.offset, [-3, -5])
    np.testing.assert_allclose(found.slope_x, [-0.2, 0])
    np.testing.assert_allclose(found.slope_y, [0, 0])


def test_a_canvas_of_a_few_huge_pixels_takes_no_more_nodes_than_frames_have_cells():
    frame = take("a.fit", 0, 0).frame
    usual, huge = (union_canvas([frame.view], scale=scale) for scale in (None, 36_000.0))
    tracemalloc.start()
    try:
        samples = sky_samples([frame], np.ones((1, 3)), huge)
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert max(huge.shape) <= 3
    assert abs(len(samples.frame) - len(sky_samples([frame], np.ones((1, 3)), usual).frame)) < 30
    assert most < 2**20


@pytest.mark.parametrize("seed", range(6))
def test_two_frames_have_levels_that_bring_them_together(seed):
    """What both have in common is told by nothing: no rounding of it may become a level."""
    rng = np.random.default_rng([seed, 27])
    near = rng.normal(0, 0.01 * (seed % 3), (2, 2))
    frames = [
        take(f"{k}.fit", *near[k], level=rng.normal(0, 30), tilt=tuple(rng.normal(0, 10, 2)), seed=seed + 10 * k)
        for k in range(2)
    ]
    canvas, levels = levelled(frames)
    assert all(np.isfinite(level.terms).all() for level in levels)
    assert steps(left(frames, canvas, levels))[0] < 0.6
