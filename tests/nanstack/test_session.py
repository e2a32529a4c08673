# SPDX-License-Identifier: GPL-3.0-or-later
"""Folders of raw frames as owners have them, in which no header knows the sky: what is stacked, and where it lies."""

import os
import shutil
from dataclasses import replace

import numpy as np
import pytest
from astropy.wcs import WCS

from nanstack.register.solution import Registration
from nanstack.session import by_own_solutions, open_session
from nanstack.survey.taken import taken_of_frames
from nanstack.truth.simulation import apply, compose, invert, similarity
from tests.nanstack.survey.simulated import NOISE, SKY, adu16, noisy, write
from tests.nanstack.survey.test_store import hide_samples
from tests.support.nights import SCALE, SHAPE, light, night, sky_of_stars, turns
from tests.support.told import Told

STARS, OTHERS = sky_of_stars(1), sky_of_stars(2)
GOOD = turns(9)


def solution():
    """A celestial solution, of whatever frame."""
    wcs = WCS(naxis=2)
    wcs.wcs.ctype, wcs.wcs.crval = ["RA---TAN", "DEC--TAN"], [83.8, 22.0]
    wcs.wcs.crpix, wcs.wcs.cdelt = [side / 2 + 0.5 for side in SHAPE[::-1]], [-SCALE / 3600, SCALE / 3600]
    return wcs


def names(session):
    return [frame.path.name for frame in session.frames]


def misplaced(session, truth):
    """Root mean square distance in pixels of the frames' pixels from where the truth has them in the first frame."""
    x, y = (v.ravel() for v in np.meshgrid(np.linspace(0, SHAPE[1] - 1, 5), np.linspace(0, SHAPE[0] - 1, 5)))
    first = session.frames[0]
    off = []
    for frame in session.frames[1:]:
        found = first.view.pixels(frame.view.directions(x, y))
        true = apply(compose(truth[first.path.name], invert(truth[frame.path.name])), x, y)
        off.append(np.hypot(*np.subtract(found, true)))
    return np.sqrt(np.mean(np.square(off)))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Nine good frames, and one of each kind that does not belong to them."""
    folder = tmp_path_factory.mktemp("night")
    night(folder, STARS, GOOD)
    here = similarity(SHAPE, 5, -4, 3)
    trail = [(1.3 * step, 0.4 * step) for step in range(12)]
    light(folder / "trailed.fit", STARS, here, steps=trail, seed=101)
    light(folder / "clouds.fit", STARS, here, clear=0.4, seed=102)
    light(folder / "doubled.fit", STARS, here, steps=[(0, 0), (17, 8)], seed=103)
    light(folder / "elsewhere.fit", OTHERS, here, seed=104)
    light(folder / "overcast.fit", STARS, here, clear=0, seed=105)
    light(folder / "overcast_solved.fit", STARS, here, clear=0, seed=106, **solution().to_header())
    light(folder / "dualband.fit", STARS, here, seed=107, FILTER="LP")
    light(folder / "Stacked_120.fit", STARS, here, seed=108, STACKCNT=120)
    dark = adu16(noisy(np.full(SHAPE, SKY[0]), 109, NOISE))
    write(folder / "cold.fit", dark, "GRBG", IMAGETYP="Dark")
    shutil.copy(folder / "light_03.fit", folder / "light_03_copy.fit")
    (folder / "torn.fit").write_bytes((folder / "light_00.fit").read_bytes()[:20_000])
    return folder


@pytest.fixture(scope="module")
def session(folder):
    return open_session(sorted(folder.iterdir()))


def test_the_good_frames_are_registered_where_they_lie(session):
    assert names(session) == [f"light_{index:02d}.fit" for index in range(9)]
    truth = {f"light_{index:02d}.fit": transform for index, transform in enumerate(GOOD)}
    assert misplaced(session, truth) < 0.1
    assert max(frame.rms for frame in session.frames) < 0.25
    assert min(frame.stars for frame in session.frames) >= 20
    assert [frame.factor for frame in session.frames] == pytest.approx([1.0] * 9, rel=0.03)
    assert session.place.approximate, "no header knows the sky"


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("trailed.fit", "it is trailed: its stars are "),
        ("clouds.fit", "clouds: its stars have 0.4"),
        ("doubled.fit", "it is doubled: "),
        ("elsewhere.fit", "stars match no other frame's"),
        ("overcast.fit", "no stars"),
        ("overcast_solved.fit", "no stars"),
        ("dualband.fit", "its filter is LP, unlike that of most frames (none)"),
        ("Stacked_120.fit", "it is a stack of 120 frames (STACKCNT)"),
        ("cold.fit", "its IMAGETYP is Dark"),
        ("light_03_copy.fit", "it is the same as light_03.fit, which is used"),
        ("torn.fit", "truncated"),
    ],
)
def test_each_other_file_is_named_with_what_is_wrong(session, folder, name, reason):
    assert reason in session.left_out[folder / name]


def test_each_file_is_used_or_named(session, folder):
    assert {*session.left_out, *(frame.path for frame in session.frames)} == set(folder.iterdir())
    assert len(session.left_out) == 11


WANTED = ["clouds.fit", "doubled.fit", "trailed.fit", "dualband.fit", "Stacked_120.fit"]


def test_what_is_wanted_is_taken_in_where_stars_place_it(session, folder):
    heard, files = Told(), sorted(folder.iterdir())
    again = open_session(files, wanted=files, progress=heard)
    assert sorted(names(again)) == sorted([*names(session), *WANTED])
    assert again.taken_in == {folder / name: session.left_out[folder / name] for name in WANTED}
    assert session.can_be_taken_in == again.taken_in
    assert again.can_be_taken_in == session.taken_in == {}
    truth = {f"light_{index:02d}.fit": transform for index, transform in enumerate(GOOD)}
    where = replace(again, frames=[one for one in again.frames if one.path.name in truth])
    assert misplaced(where, truth) < 0.1
    # a trail and two exposures lie around where they began
    here = similarity(SHAPE, 5, -4, 3)
    where = replace(again, frames=[one for one in again.frames if one.path.name in ("light_00.fit", *WANTED)])
    assert misplaced(where, {"light_00.fit": GOOD[0], **dict.fromkeys(WANTED, here)}) < 12
    assert again.left_out[folder / "cold.fit"] == "no stars"


@pytest.fixture(scope="module")
def two_exposures(tmp_path_factory):
    folder = tmp_path_factory.mktemp("exposures")
    moves = turns(8, seed=4)
    return night(folder, STARS, moves[:5], "short"), night(folder, STARS, moves[5:], "long", seconds=20.0)


def test_two_exposures_show_a_star_alike(two_exposures):
    """Twice the exposure is twice the light: halved, whatever the rest of the header says."""
    short, long = two_exposures
    heard = Told()
    session = open_session([*short, *long], progress=heard)
    factors = {frame.path: frame.factor for frame in session.frames}
    assert [factors[path] for path in short] == pytest.approx([1.0] * 5, rel=0.03)
    assert [factors[path] for path in long] == pytest.approx([0.5] * 3, rel=0.03)
    (told,) = heard.warnings
    assert told.startswith("3 frames of 20 s Seestar S50: multiplied by 0.5")
    assert told.endswith("to match the 5 of 10 s Seestar S50")


def test_an_exposure_that_the_data_do_not_have_is_named_and_costs_no_frame(tmp_path):
    """As of devices that write the exposure of a whole stack into its average."""
    moves = turns(8, seed=4)
    averages = night(tmp_path / "averages", STARS, moves[5:], "average", EXPTIME=60.0)
    heard = Told()
    session = open_session([*night(tmp_path / "single", STARS, moves[:5]), *averages], progress=heard)
    assert session.left_out == {}
    assert [frame.factor for frame in session.frames] == pytest.approx([1.0] * 8, rel=0.03)
    (told,) = heard.warnings
    assert told.startswith("3 frames of 60 s: stars, sky and noise are those of 10 s, beside 5 of 10 s;")
    assert session.remarks == (told,)
    taken = taken_of_frames([frame.facts for frame in session.frames])
    assert (taken.exposure, taken.total) == (10, 80)


def test_of_two_fields_the_smaller_is_named(tmp_path):
    main = night(tmp_path, STARS, turns(5, seed=5))
    other = night(tmp_path, OTHERS, turns(3, seed=6), "other")
    session = open_session([*other, *main])
    assert names(session) == [path.name for path in main]
    assert set(session.left_out) == set(other)
    assert set(session.left_out.values()) == {
        "its stars are those of 2 other frames, and of none of the 5 frames that the picture is made of"
    }


def test_the_same_files_once_more_cost_no_survey(tmp_path):
    paths = night(tmp_path / "frames", STARS, turns(4, seed=7))
    first = open_session(paths, folder=tmp_path / "kept")
    for path in paths[:3]:
        hide_samples(path)
    again = open_session(paths, folder=tmp_path / "kept")
    assert names(again) == [path.name for path in paths]
    for one, other in zip(first.frames, again.frames, strict=True):
        assert np.array_equal(one.view.attitude, other.view.attitude)
    known = paths[0].stat()
    os.utime(paths[0], ns=(known.st_atime_ns, known.st_mtime_ns + 10**9))  # now its samples are looked at again
    assert paths[0] in open_session(paths, folder=tmp_path / "kept").left_out


def test_frames_lie_on_the_sky_where_their_solutions_say(tmp_path):
    moves = turns(5, seed=8)
    paths = []
    for index, move in enumerate(moves):
        wcs = solution()  # of the plane of the stars; a frame's pixels lie a transform away
        wcs.wcs.crpix = np.add(apply(move, *(wcs.wcs.crpix - 1)), 1)
        wcs.wcs.cd = np.diag(wcs.wcs.cdelt) @ invert(move)[:, :2]
        paths.append(light(tmp_path / f"{index}.fit", STARS, move, seed=index, **wcs.to_header()))
    session = open_session(paths)
    assert not session.place.approximate
    x, y = np.array([0.0, SHAPE[1] - 1.0, 280.0]), np.array([0.0, SHAPE[0] - 1.0, 200.0])
    for frame, move in zip(session.frames, moves, strict=True):
        ra, dec = frame.wcs.pixel_to_world_values(x, y)
        found = apply(move, *solution().world_to_pixel_values(ra, dec))
        assert np.hypot(found[0] - x, found[1] - y).max() < 0.3


def test_the_order_of_the_files_changes_nothing(folder, session):
    again = open_session(sorted(folder.iterdir(), reverse=True))
    assert names(again) == names(session)
    for one, other in zip(session.frames, again.frames, strict=True):
        assert one.view.attitude.tobytes() == other.view.attitude.tobytes()
        assert (one.view.scale, one.factor, one.flat, one.rms) == (
            other.view.scale,
            other.factor,
            other.flat,
            other.rms,
        )
    assert again.left_out == session.left_out


def test_a_frame_that_loses_its_place_on_the_way_to_the_sky_is_named(folder):
    """Where headers tell a wrong scale, frames are registered anew, and one may not come through."""
    paths = sorted(folder.glob("light_0?.fit"))

    def place(surveys, registrations):
        registrations, places = by_own_solutions(surveys, registrations)
        lost = next(index for index, survey in enumerate(surveys) if survey.path == paths[0])
        registrations[lost] = Registration(None, -1, 0, np.nan, np.nan, "it got lost")
        return registrations, places

    session = open_session(paths, place=place)
    assert [frame.path for frame in session.frames] == paths[1:]
    assert session.left_out == {paths[0]: "it got lost"}


def test_nothing_is_something(tmp_path):
    assert open_session([]).frames == []
    cloudy = [light(tmp_path / f"{index}.fit", STARS, move, clear=0) for index, move in enumerate(turns(2))]
    session = open_session(cloudy)
    assert (session.frames, session.place) == ([], None)
    assert set(session.left_out) == set(cloudy)
