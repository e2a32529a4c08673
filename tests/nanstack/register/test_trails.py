# SPDX-License-Identifier: GPL-3.0-or-later
from dataclasses import replace

import numpy as np
import pytest

from nanstack.register.trails import trails_of
from nanstack.survey.trails import Trail
from tests.support.registered import registered

GALAXY = np.array([[700.0, 500.0], [980.0, 610.0]])  # ends of a line, in the first frame


def night(count=6, step=0.01, turn=2.0, **more):
    """Return frames that look a little elsewhere, each turned a little farther."""
    return [registered(f"{k}.fit", east=step * k, north=-step * k / 2, turn=turn * k, **more) for k in range(count)]


def line(ends, signal=40.0):
    return Trail(*np.ravel(ends).tolist(), 6.0, 2.0, signal)


def showing(frame, *lines):
    return replace(frame, survey=replace(frame.survey, trails=lines))


def on_the_sky(frames, ends, signal=40.0, slack=2.0):
    """Return frames that all show a line of the first one's sky, found a little differently in each."""
    rng = np.random.default_rng(1)
    directions = frames[0].view.directions(*ends.T)
    for index, frame in enumerate(frames):
        places = np.stack(frame.view.pixels(directions), axis=1) + rng.uniform(-slack, slack, (2, 2))
        frames[index] = showing(frame, *frame.survey.trails, line(places, signal))
    return frames


def test_a_trail_in_one_frame_is_one():
    frames = night()
    frames[2] = showing(frames[2], line([[10, 20], [1900, 700]]))
    assert trails_of(frames) == [(), (), frames[2].survey.trails, (), (), ()]


def test_a_faint_line_is_no_trail():
    frames = night()
    frames[2] = showing(frames[2], line([[10, 20], [1900, 700]], signal=8.0))
    assert not any(trails_of(frames))


def test_a_galaxy_on_edge_is_none_and_hides_no_trail():
    frames = on_the_sky(night(), GALAXY)
    trail = line([[10, 900], [1900, 300]])
    frames[3] = showing(frames[3], *frames[3].survey.trails, trail)
    assert trails_of(frames) == [(), (), (), (trail,), (), ()]


def test_a_galaxy_that_is_clear_in_one_frame_is_told_by_faint_lines_of_others():
    frames = on_the_sky(night(), GALAXY, signal=7.0)
    frames[1] = showing(frames[1], frames[1].survey.trails[0]._replace(signal=12.0))
    assert not any(trails_of(frames))


def test_one_other_frame_is_enough_where_there_is_one():
    assert not any(trails_of(on_the_sky(night(2), GALAXY)))


def test_a_bad_column_is_none():
    frames = [showing(frame, line([[400, 0], [400, 1079]])) for frame in night()]
    assert not any(trails_of(frames))


@pytest.mark.parametrize("count", [1, 2])
def test_satellites_on_one_path_are_trails(count):
    """They follow each other: where one was, the next one is a little later, in another frame."""
    frames = night(6, step=0.0, turn=0.0)
    pieces = [line([[100 + 300 * k, 200], [380 + 300 * k, 230]]) for k in range(6)]
    frames = [showing(frame, piece) for frame, piece in zip(frames, pieces, strict=True)]
    assert trails_of(frames[:count]) == [(piece,) for piece in pieces[:count]]
    assert trails_of(frames) == [(piece,) for piece in pieces]


def test_frames_elsewhere_tell_nothing():
    frames = [registered("a.fit"), registered("b.fit", east=40.0), registered("c.fit", east=140.0)]
    lines = [line([[700, 500], [980, 610]]), line([[100, 200], [500, 900]]), line([[10, 700], [1900, 800]])]
    frames = [showing(frame, one) for frame, one in zip(frames, lines, strict=True)]
    assert trails_of(frames) == [(one,) for one in lines]


def test_the_order_of_frames_changes_nothing():
    frames = on_the_sky(night(), GALAXY)
    frames[4] = showing(frames[4], *frames[4].survey.trails, line([[10, 900], [1900, 300]]))
    assert trails_of(frames[::-1]) == trails_of(frames)[::-1]


def test_many_frames_are_none_that_tell_by_chance():
    """Of 300 frames of one field each has a trail somewhere: some lie on each other."""
    rng = np.random.default_rng(2)
    frames = []
    for number in range(300):
        east, north = rng.normal(0, 0.02, 2)
        x, y, angle = rng.uniform(300, 1620), rng.uniform(200, 880), rng.uniform(0, np.pi)
        reach = 800 * np.array([np.cos(angle), np.sin(angle)])
        trail = line([[x - reach[0], y - reach[1]], [x + reach[0], y + reach[1]]])
        frames.append(showing(registered(f"{number}.fit", east, north, turn=rng.uniform(-10, 10)), trail))
    assert sum(map(len, trails_of(frames))) >= 298
