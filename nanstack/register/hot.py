# SPDX-License-Identifier: GPL-3.0-or-later
"""Hot pixels among the stars: what stays where it is on the sensor while the sky moves."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import numpy as np
import scipy

from nanstack.register.camera import View
from nanstack.register.links import Link
from nanstack.register.pairs import find_links
from nanstack.register.sources import Sources

SAMPLE = 32  # frames of a camera that are looked at, each with the next one
SAME_PX = 0.7  # two sources nearer than this are in one place of the sensor
SHARES = 0.2, 0.5, 0.8  # of a camera's frames, in which a place must hold a source to be suspicious: tried in turn
WORTH = 3  # suspicious sources a frame, below which they cannot mislead
MOVED_PX = 2.0  # by so much the sky must have moved, where a source stayed


def without_hot_pixels(frames: Sequence[Sources], cameras: Sequence[Hashable]) -> list[Sources]:
    """Return the frames without the sources that stay in place on the sensor of their camera while the sky moves.

    Where frames show one sky in one place, as well-guided ones do, stars stay in place, too: what recurs in one place
    is hot only if the other sources tell that the sky has moved there.
    """
    frames = list(frames)
    for camera in dict.fromkeys(cameras):
        mine = [number for number, other in enumerate(cameras) if other == camera]
        places = _hot_places([frames[number] for number in _sampled(mine)])
        if len(places):
            hot = scipy.spatial.cKDTree(places)
            for number in mine:
                frames[number] = frames[number].only(hot.query(frames[number].places)[0] > SAME_PX)
    return frames


def _sampled(numbers: list[int]) -> list[int]:
    """Return some frames from begin to end, each with the next one: near in time they show the same sky."""
    starts = np.unique(np.linspace(0, len(numbers) - 1, min(SAMPLE, len(numbers))).astype(int))
    return [numbers[k] for k in np.unique(np.minimum(np.concatenate([starts, starts + 1]), len(numbers) - 1))]


def _hot_places(frames: list[Sources]) -> np.ndarray:
    """Return the places (n, 2) at which sources stayed though the others moved."""
    points = np.concatenate([frame.places for frame in frames])
    owner = np.repeat(np.arange(len(frames)), [len(frame) for frame in frames])
    times = _recurrences(points) + 1
    for share in SHARES:
        recurring = times >= max(2, share * len(frames))
        if np.count_nonzero(recurring) < WORTH * len(frames):
            break
        places = _stayed(frames, owner, recurring)
        if len(places):
            return places
    return np.empty((0, 2))


def _stayed(frames: list[Sources], owner: np.ndarray, recurring: np.ndarray) -> np.ndarray:
    """Return the places of recurring sources that stay where the others, by themselves, tell that the sky moved."""
    rest = [frame.only(~recurring[owner == number]) for number, frame in enumerate(frames)]
    stayed = [frame.only(recurring[owner == number]) for number, frame in enumerate(frames)]
    links = find_links(rest, lambda _: None)
    return np.concatenate([np.empty((0, 2)), *(_stayed_while_moved(link, stayed) for link in links)])


def _recurrences(points: np.ndarray) -> np.ndarray:
    """Return how many other points each has in its place."""
    if not len(points):
        return np.zeros(0, dtype=np.int64)
    pairs = scipy.spatial.cKDTree(points).query_pairs(SAME_PX, output_type="ndarray")
    return np.bincount(pairs.ravel(), minlength=len(points))


def _stayed_while_moved(link: Link, stayed: list[Sources]) -> np.ndarray:
    """Return the places of sources that both frames of a link have, and that the sky's motion leaves empty."""
    one, other = stayed[link.first], stayed[link.second]
    if not len(one) or not len(other):
        return np.empty((0, 2))
    near = scipy.spatial.cKDTree(other.places).query(one.places)[0] < SAME_PX
    x, y = link.view.pixels(View(one.camera, np.eye(3)).directions(one.x, one.y))
    moved = np.hypot(x - one.x, y - one.y) > MOVED_PX
    return one.places[near & moved]
