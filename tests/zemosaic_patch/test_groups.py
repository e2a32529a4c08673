# SPDX-License-Identifier: GPL-3.0-or-later
"""Which registered frames make which tile, whatever their order; and which make none."""

from dataclasses import replace
from itertools import chain
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.registered import registered
from zemosaic_patch.groups import fingerprint, group_frames

pytestmark = pytest.mark.numpy_bytes

SCALE = 2.39  # arcseconds a pixel
SIDE = 1080 * SCALE / 3600  # degrees


def names(groups):
    return [[each.path.name for each in group.frames] for group in groups]


def test_pointings_make_tiles_in_any_order():
    rng = np.random.default_rng(2)
    frames = [
        registered(f"{pointing}_{index}.fit", *(0.8 * np.array(pointing) * (1.2, 0.65) + rng.uniform(-0.06, 0.06, 2)))
        for pointing in ((0, 0), (1, 0), (0, 1), (1, 1))
        for index in range(7)
    ]
    groups, left_out = group_frames(frames)
    assert left_out == {}
    assert [group.name for group in groups] == ["tile_001", "tile_002", "tile_003", "tile_004"]
    assert all(len({name[:6] for name in group}) == 1 for group in names(groups))
    assert [len(group) for group in names(groups)] == [7, 7, 7, 7]
    for _ in range(3):
        rng.shuffle(frames)
        again = group_frames(frames)[0]
        assert names(again) == names(groups)
        assert [group.reference for group in again] == [group.reference for group in groups]


def test_a_long_strip_falls_into_tiles_that_overlap():
    frames = [registered(f"{index:03d}.fit", 0.02 * index) for index in range(100)]
    groups, left_out = group_frames(frames)
    assert left_out == {}
    assert 4 <= len(groups) <= 8  # 2 degrees in parts of 0.36
    assert sorted(chain(*names(groups))) == [each.path.name for each in frames]
    for group in groups:
        apart = np.array([each.pointing for each in group.frames])
        assert np.degrees(np.arccos(np.clip(apart @ apart.T, -1, 1))).max() <= 0.5 * SIDE + 1e-6


def test_tiles_have_no_more_frames_than_asked_for_and_no_fewer():
    frames = [registered(f"{index:02d}.fit", 0.001 * index) for index in range(20)]
    groups, left_out = group_frames(frames, tile_frames=6)
    assert left_out == {}
    assert max(map(len, names(groups))) <= 6
    assert sum(map(len, names(groups))) == 20
    lonely = registered("lonely.fit", 3.0)
    groups, left_out = group_frames([*frames, lonely], min_frames=2)
    assert names(groups) == [[each.path.name for each in frames]]
    assert left_out[lonely.path] == (
        "only 1 frame of its size and kind cover its place on the sky, fewer than --min-frames 2"
    )


def test_fewer_frames_than_a_rejection_needs_go_to_a_tile_nearby_or_are_a_tile():
    tile = [registered(f"{index}.fit", 0.001 * index) for index in range(10)]
    near, beyond = registered("near.fit", 0.3 * SIDE), registered("beyond.fit", 0.6 * SIDE)
    assert len(group_frames([*tile, near])[0]) == 1
    groups, left_out = group_frames([*tile, beyond])
    assert left_out == {}
    assert names(groups)[1:] == [["beyond.fit"]]
    groups, left_out = group_frames([*tile, beyond], min_frames=3)
    assert len(groups) == 1
    assert list(left_out) == [beyond.path]
    three = [registered(f"beyond{index}.fit", 0.8 * SIDE) for index in range(3)]
    assert sorted(map(len, names(group_frames([*tile, *three], min_frames=3)[0]))) == [3, 10]


def test_full_tiles_take_no_frame_from_nearby():
    tile = [registered(f"{index}.fit", 0.001 * index) for index in range(6)]
    near = [registered("near.fit", 0.45 * SIDE), registered("far.fit", 0.55 * SIDE)]
    groups, left_out = group_frames([*tile, *near], tile_frames=6)
    assert left_out == {}
    assert all(len(group) <= 6 for group in names(groups))


def test_frames_of_other_sizes_and_scales_make_tiles_of_their_own():
    frames = [registered(f"{index}.fit") for index in range(3)]
    small = [registered(f"small{index}.fit", shape=(540, 960, 3), scale=2 * SCALE) for index in range(3)]
    other = [registered(f"telescope{index}.fit", scale=1.5 * SCALE) for index in range(3)]
    groups, left_out = group_frames([*frames, *small, *other])
    assert left_out == {}
    assert sorted(names(groups)) == [[each.path.name for each in kind] for kind in (frames, small, other)]
    groups, _ = group_frames([*frames, *other[:2]])
    assert names(groups) == [[each.path.name for each in frames], [each.path.name for each in other[:2]]]


@pytest.mark.parametrize("where", [(0.0, 89.9), (0.0, -90.0), (359.99, 0.0)])
def test_poles_and_the_meridian_are_no_borders(where):
    frames = []
    for degrees in range(0, 360, 30):
        place = (where[0] + 0.02 * np.cos(np.radians(degrees))) % 360, where[1]
        frames.append(registered(f"{degrees}.fit", at=place, turn=degrees))
    groups, left_out = group_frames(frames)
    assert left_out == {}
    assert len(groups) == 1


def test_the_most_central_frame_gives_a_tile_its_pixels():
    frames = [registered(f"{index}.fit", 0.05 * index) for index in (4, 0, 1, 2, 3)]
    ((group,), _) = group_frames(frames)
    assert group.frames[group.reference].path.name == "2.fit"


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(st.floats(-3, 3), st.floats(-3, 3)), min_size=1, max_size=40), st.integers(1, 8))
def test_every_frame_is_in_one_tile_or_named(places, tile_frames):
    frames = [registered(f"{index}.fit", *place) for index, place in enumerate(places)]
    groups, left_out = group_frames(frames, tile_frames, min_frames=2)
    assert sorted([*chain(*names(groups)), *(path.name for path in left_out)]) == sorted(
        each.path.name for each in frames
    )
    assert all(len(group) <= tile_frames or tile_frames < 2 for group in names(groups))
    assert all(len(group) >= 2 for group in names(groups))


def test_no_frames_make_no_tiles():
    assert group_frames([]) == ([], {})


def test_fingerprint_tells_frames_settings_and_solutions_apart():
    frames = [registered(f"{index}.fit") for index in range(3)]
    ((group,), _) = group_frames(frames)
    same = fingerprint(group, "settings")
    assert fingerprint(group_frames(frames[::-1])[0][0], "settings") == same
    moved = replace(frames[0], survey=replace(frames[0].survey, path=Path("elsewhere") / "0.fit"))
    assert fingerprint(replace(group, frames=[moved, *group.frames[1:]]), "settings") == same
    others = [
        (group, "others"),
        (replace(group, reference=(group.reference + 1) % 3), "settings"),
        (group_frames([*frames, registered("3.fit")])[0][0], "settings"),
        *((replace(group, frames=[other, *group.frames[1:]]), "settings") for other in (
            registered("0.fit", 1e-6),
            registered("0.fit", scale=1.000001 * SCALE),
            registered("0.fit", digest="another content"),
            registered("another name.fit", digest="0.fit"),
            replace(registered("0.fit"), factor=0.5),
        )),
    ]  # fmt: skip
    told = {fingerprint(*other) for other in others}
    assert len(told) == len(others)
    assert same not in told
