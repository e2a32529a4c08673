# SPDX-License-Identifier: GPL-3.0-or-later
"""Which frames make which tile, whatever their order; and which make none."""

from dataclasses import replace
from itertools import chain

import numpy as np
import pytest
from astropy.wcs import WCS
from hypothesis import given, settings
from hypothesis import strategies as st

from nanstack.io.frames import FrameFile
from zemosaic_patch.groups import fingerprint, group_frames

pytestmark = pytest.mark.numpy_bytes

SHAPE = (1080, 1920, 3)
SCALE = 2.39 / 3600
SIDE = 1080 * SCALE  # degrees


def solution(east, north, degrees=0.0, handed=-1, scale=SCALE):
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = "RA---TAN", "DEC--TAN"
    wcs.wcs.crval = (56.75 + east / np.cos(np.radians(24.25))) % 360, 24.25 + north
    wcs.wcs.crpix = 960.5, 540.5
    angle = np.radians(degrees)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    wcs.wcs.cd = scale * np.array([[handed, 0], [0, 1]]) @ turn
    return wcs


@pytest.fixture
def frame(tmp_path):
    def make(name, east=0.0, north=0.0, shape=SHAPE, wcs=None, content=None, cards=None, **more):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(name.encode() if content is None else content)
        return FrameFile(path, shape, wcs or solution(east, north, **more), cards or {})

    return make


def names(groups):
    return [[each.path.name for each in group.frames] for group in groups]


def test_pointings_make_tiles_in_any_order(frame):
    rng = np.random.default_rng(2)
    frames = [
        frame(f"{pointing}_{index}.fit", *(0.8 * np.array(pointing) * (1.2, 0.65) + rng.uniform(-0.06, 0.06, 2)))
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
        assert names(group_frames(frames)[0]) == names(groups)


def test_a_long_strip_falls_into_tiles_that_overlap(frame):
    frames = [frame(f"{index:03d}.fit", 0.02 * index) for index in range(100)]
    groups, left_out = group_frames(frames)
    assert left_out == {}
    assert 4 <= len(groups) <= 8  # 2 degrees in parts of 0.36
    assert sorted(chain(*names(groups))) == [each.path.name for each in frames]
    for group in groups:
        east = [each.wcs.wcs.crval[0] for each in group.frames]
        assert np.ptp(east) * np.cos(np.radians(24.25)) <= 0.5 * SIDE + 1e-6


def test_tiles_have_no_more_frames_than_asked_for_and_no_fewer(frame):
    frames = [frame(f"{index:02d}.fit", 0.001 * index) for index in range(20)]
    groups, left_out = group_frames(frames, tile_frames=6)
    assert left_out == {}
    assert max(map(len, names(groups))) <= 6
    assert sum(map(len, names(groups))) == 20
    lonely = frame("lonely.fit", 3.0)
    groups, left_out = group_frames([*frames, lonely], min_frames=2)
    assert names(groups) == [[each.path.name for each in frames]]
    assert "fewer than --min-frames 2" in left_out[lonely.path]


def test_a_few_frames_near_a_tile_join_it(frame):
    tile = [frame(f"{index}.fit", 0.001 * index) for index in range(10)]
    beyond = frame("beyond.fit", 0.6 * SIDE)
    groups, left_out = group_frames([*tile, beyond], min_frames=3)
    assert list(left_out) == [beyond.path]
    near = frame("near.fit", 0.3 * SIDE)
    groups, left_out = group_frames([*tile, near], min_frames=3)
    assert left_out == {}
    assert len(groups) == 1


@pytest.mark.parametrize(
    ("odd", "reason"),
    [
        ({"cards": {"FILTER": "Ha"}}, "its filter is Ha, unlike that of most frames (none): a mosaic needs one filter"),
        ({"cards": {"XBINNING": "2"}}, "its binning is 2, unlike that of most frames (1)"),
        ({"shape": SHAPE[:2]}, "its kind is mono, unlike that of most frames (colour)"),
        ({"handed": 1}, "its WCS is mirrored compared with most frames"),
        ({"east": 40.0}, "its WCS points 40 degrees away from most frames"),
        ({"wcs": WCS(naxis=2)}, "it has no WCS: plate-solve it first"),
        ({"content": b"0.fit"}, "it is the same as 0.fit, which is used"),
    ],
)
def test_frames_that_do_not_go_with_the_others_are_named(frame, odd, reason):
    frames = [frame(f"{index}.fit", 0.001 * index) for index in range(5)]
    groups, left_out = group_frames([frame("odd.fit", **odd), *frames])
    assert [path.name for path in left_out] == ["odd.fit"]
    assert reason in next(iter(left_out.values()))
    assert names(groups) == [[f"{index}.fit" for index in range(5)]]


def test_frames_of_other_sizes_and_patterns_make_tiles_of_their_own(frame):
    frames = [frame(f"{index}.fit") for index in range(3)]
    small = [frame(f"small{index}.fit", shape=(540, 960, 3), scale=2 * SCALE) for index in range(3)]
    other = [frame(f"other{index}.fit", cards={"BAYERPAT": "GRBG"}) for index in range(3)]
    groups, left_out = group_frames([*frames, *small, *other])
    assert left_out == {}
    assert sorted(names(groups)) == [[each.path.name for each in kind] for kind in (frames, other, small)]


def test_links_and_copies_count_once(frame, tmp_path):
    frames = [frame(f"{index}.fit") for index in range(3)]
    (tmp_path / "link.fit").symlink_to(tmp_path / "1.fit")
    again = FrameFile(tmp_path / "link.fit", SHAPE, solution(0, 0))
    groups, left_out = group_frames([*frames, again])
    assert names(groups) == [["0.fit", "1.fit", "2.fit"]]
    assert left_out == {again.path: "it is the same as 1.fit, which is used"}


@pytest.mark.parametrize("where", [(0.0, 89.9), (0.0, -90.0), (359.99, 0.0)])
def test_poles_and_the_meridian_are_no_borders(frame, where):
    wcs = []
    for degrees in range(0, 360, 30):
        wcs.append(solution(0, 0, degrees))
        wcs[-1].wcs.crval = (where[0] + 0.02 * np.cos(np.radians(degrees))) % 360, np.clip(where[1], -90, 90)
    groups, left_out = group_frames([frame(f"{index}.fit", wcs=each) for index, each in enumerate(wcs)])
    assert left_out == {}
    assert len(groups) == 1


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(st.floats(-3, 3), st.floats(-3, 3)), min_size=1, max_size=40), st.integers(1, 8))
def test_every_frame_is_in_one_tile_or_named(tmp_path_factory, places, tile_frames):
    folder = tmp_path_factory.mktemp("frames")
    frames = []
    for index, (east, north) in enumerate(places):
        path = folder / f"{index}.fit"
        path.write_bytes(str(index).encode())
        frames.append(FrameFile(path, SHAPE, solution(east, north)))
    groups, left_out = group_frames(frames, tile_frames, min_frames=2)
    assert sorted([*chain(*names(groups)), *(path.name for path in left_out)]) == sorted(
        each.path.name for each in frames
    )
    assert all(len(group) <= tile_frames or tile_frames < 2 for group in names(groups))


def test_no_frames_make_no_tiles():
    assert group_frames([]) == ([], {})


def test_fingerprint_tells_frames_settings_and_solutions_apart(frame):
    frames = [frame(f"{index}.fit") for index in range(3)]
    (group,), _ = group_frames(frames)
    same = fingerprint(group, "settings")
    assert fingerprint(group_frames(frames[::-1])[0][0], "settings") == same
    assert fingerprint(group, "others") != same
    assert fingerprint(group_frames([*frames, frame("3.fit")])[0][0], "settings") != same
    solved_anew = replace(group, frames=[replace(frames[0], wcs=solution(0.001, 0)), *group.frames[1:]])
    assert fingerprint(solved_anew, "settings") != same
    frames[1].path.write_bytes(b"longer than before")
    assert fingerprint(group, "settings") != same
