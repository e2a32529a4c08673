# SPDX-License-Identifier: GPL-3.0-or-later
"""Which frames show the same stars, of frames whose places are known."""

from dataclasses import replace

import numpy as np
import pytest

from nanstack import memory
from nanstack.register import pairs
from nanstack.register.hints import Trials
from nanstack.register.pairs import find_links
from nanstack.register.sources import StarLists, sources_of
from nanstack.register.verification import verified_links
from nanstack.truth.surveys import simulated_surveys


@pytest.fixture(scope="module")
def simulated():
    return simulated_surveys(60, 4, shape=(960, 540))


@pytest.fixture(scope="module")
def frames(simulated):
    return [sources_of(survey, 100) for survey in simulated.surveys]


def told(links):
    return [
        (link.first, link.second, link.mine.tolist(), link.theirs.tolist(), link.view.attitude.tolist())
        for link in links
    ]


def test_stars_that_are_matched_are_the_same_on_the_sky(simulated, frames):
    links = find_links(frames, lambda _: None)
    assert len({link.second for link in links}) == len(frames) - 1  # all but the first
    for link in links:
        one, other = frames[link.first], frames[link.second]
        sky = simulated.views[link.first].directions(one.x[link.mine], one.y[link.mine])
        x, y = simulated.views[link.second].pixels(sky)
        off = np.hypot(x - other.x[link.theirs], y - other.y[link.theirs])
        assert np.median(off) < 1
        assert off.max() < 5


def test_links_hang_on_no_number_of_threads(frames, monkeypatch):
    monkeypatch.setattr(pairs, "AT_ONCE", 8)
    links = []
    for threads in (1, 3):
        monkeypatch.setattr(memory, "threads", lambda count=threads: count)
        links.append(told(find_links(frames, lambda _: None)))
    assert links[0] == links[1]


def test_a_pair_is_verified_among_others_as_by_itself(simulated, frames):
    stars, count = StarLists.of(frames), len(frames)
    first, second = np.arange(count), np.roll(np.arange(count), 7)  # some show the same sky, some do not
    views = simulated.views
    attitude = np.array([views[k].attitude @ views[m].attitude.T for m, k in zip(first, second, strict=True)])
    trials = Trials(first, second, attitude, np.ones(count))
    together = verified_links(stars, trials)
    assert 20 < len(together) < count
    alone = []
    for k in range(count):
        one = replace(trials, **{name: getattr(trials, name)[k : k + 1] for name in vars(trials)})
        alone += verified_links(stars, one)
    assert told(together) == told(alone)


def test_frames_without_stars_have_no_links(frames):
    empty = frames[0].only(np.zeros(len(frames[0]), dtype=bool))
    assert find_links([empty, empty], lambda _: None) == []
    assert find_links([], lambda _: None) == []


def test_stars_behind_a_camera_are_no_partners(frames):
    one = frames[0]
    mirrored = replace(one, x=one.camera.shape[1] - 1 - one.x)
    behind = np.diag([1.0, -1.0, -1.0])  # where a lens that looked through its own back would show them just so
    trials = Trials(np.array([0]), np.array([1]), behind[np.newaxis], np.ones(1))
    assert verified_links(StarLists.of([one, mirrored]), trials) == []
