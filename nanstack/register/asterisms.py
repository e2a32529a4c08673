# SPDX-License-Identifier: GPL-3.0-or-later
"""Asterisms: groups of four stars, known again whatever the place, the turn and the scale of the frame that shows them.

The two stars farthest apart span a plane of complex numbers, 0 and 1; the other two are points of it, and these four
numbers are the code of the asterism (the idea of Lang et al. 2010, AJ 139, 1782). The codes of many frames lie in one
search tree: what frames show is looked up in all of them at once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields
from itertools import combinations
from typing import TypeVar

import numpy as np
import scipy

from nanstack.register.sources import StarLists

TIERS = (
    16,
    40,
    100,
    250,
)  # brightest stars that are neighbours of each other: what a shallow frame shows, and a deep one
BRIGHT_TIERS, BRIGHT = TIERS[:1], 100  # for a first look: tiers, and the number of asterisms
BORDERS = 0.12, 0.25  # depths of the strips along the borders, in sides of the frame
NEIGHBOURS = 5  # of a star, of which any three make an asterism with it
APART = 100.0  # between selections, in a third dimension: more than any two places on the plane
TOLERANCE = 0.008  # of a code: distortion moves it by a few thousandths
NEAREST = 6  # similar asterisms that are looked at

Record = TypeVar("Record")


@dataclass(frozen=True)
class Asterisms:
    """The asterisms of frames.

    Attributes
    ----------
    frame : ndarray of int, shape (n,)
        Whose each is; those of a frame lie together, brightest first.
    corners : ndarray of int, shape (n, 4)
        Numbers of the stars, in the row of all frames'; the first two are farthest apart.
    codes : ndarray of float64, shape (n, 4)
    """

    frame: np.ndarray
    corners: np.ndarray
    codes: np.ndarray


def asterisms(stars: StarLists, frames: Sequence[int]) -> Asterisms:
    """Return the asterisms that near neighbours make: among the brightest stars, and along each border of a frame."""
    return _of_selections(stars, frames, lambda places: _tiers(places, TIERS) + _borders(places[: TIERS[-1]]))


def bright_asterisms(stars: StarLists, frames: Sequence[int]) -> Asterisms:
    """Return some of the brightest stars' asterisms: enough for a frame that shows the same sky, in less time."""
    return _of_selections(stars, frames, lambda places: _tiers(places, BRIGHT_TIERS), BRIGHT)


def _of_selections(
    stars: StarLists,
    frames: Sequence[int],
    select: Callable[[np.ndarray], list[np.ndarray]],
    most: int | None = None,
) -> Asterisms:
    """Return the asterisms of neighbours within each selection of a frame's stars: so many of a frame at most."""
    selections = [
        stars.first[number] + chosen
        for number in frames
        for chosen in select(stars.plane[stars.first[number] : stars.first[number + 1]])
        if len(chosen) >= 4
    ]
    members = np.concatenate([np.empty((0, 4), dtype=np.int64), *_neighbours(stars.plane, selections)])
    members = _each_once(np.sort(members, axis=1), int(stars.counts.max(initial=1)))
    frame = np.searchsorted(stars.first, members[:, -1], side="right") - 1
    if most is not None:
        members = members[np.arange(len(frame)) - np.searchsorted(frame, frame) < most]
    corners, codes = _coded(stars.plane, members)
    return Asterisms(np.searchsorted(stars.first, corners[:, 0], side="right") - 1, corners, codes)


def _each_once(members: np.ndarray, most: int) -> np.ndarray:
    """Return rows of stars (n, 4), each in ascending order, each once: by their faintest star, within frames of so many
    stars at most.
    """
    apart = members[:, -1:] - members[:, -2::-1]
    key = members[:, -1]
    for offset in apart.T:
        key = key * most + offset
    return members[np.unique(key, return_index=True)[1]]


def _tiers(places: np.ndarray, sizes: tuple[int, ...]) -> list[np.ndarray]:
    return [np.arange(size) for size in sorted({min(size, len(places)) for size in sizes})]


def _borders(places: np.ndarray) -> list[np.ndarray]:
    """Return the stars along each border: of panels that overlap by little, only these have neighbours in common."""
    bands = []
    for axis in (places.real, places.imag):
        low, high = axis.min(initial=np.inf), axis.max(initial=-np.inf)
        for depth in BORDERS:
            bands += [
                np.flatnonzero(axis - low <= depth * (high - low)),
                np.flatnonzero(high - axis <= depth * (high - low)),
            ]
    return bands


def _neighbours(places: np.ndarray, selections: Sequence[np.ndarray]) -> Iterator[np.ndarray]:
    """Give each star of selections with any three of its neighbours there: (n, 4)."""
    nears = [min(NEIGHBOURS, len(chosen) - 1) for chosen in selections]
    for near in sorted(set(nears)):
        alike = [chosen for chosen, own in zip(selections, nears, strict=True) if own == near]
        star = np.concatenate(alike)
        apart = APART * np.repeat(np.arange(len(alike)), [len(chosen) for chosen in alike])
        points = np.stack([places[star].real, places[star].imag, apart], axis=1)
        ids = star[scipy.spatial.cKDTree(points, balanced_tree=False).query(points, near + 1)[1]]
        three = np.array(list(combinations(range(1, near + 1), 3)))
        first = np.broadcast_to(ids[:, None, :1], (len(star), len(three), 1))
        yield np.concatenate([first, ids[:, three]], axis=2).reshape(-1, 4)


def _coded(places: np.ndarray, members: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the stars of asterisms in their order, and the codes; without those whose stars coincide."""
    pairs = np.array(list(combinations(range(4), 2)))
    corners = places[members]
    widest = np.abs(corners[:, pairs[:, 0]] - corners[:, pairs[:, 1]]).argmax(axis=1)
    others = np.array([[k for k in range(4) if k not in pair] for pair in pairs.tolist()])
    row = np.arange(len(members))[:, None]
    order = np.concatenate([pairs[widest], others[widest]], axis=1)
    members, corners = members[row, order], corners[row, order]
    base = corners[:, 1] - corners[:, 0]
    whole = base != 0
    members, corners, base = members[whole], corners[whole], base[whole]
    inner = (corners[:, 2:] - corners[:, :1]) / base[:, None]
    turned = inner.real.sum(axis=1) > 1  # seen from the other end
    inner[turned] = 1 - inner[turned]
    members[turned, :2] = members[turned, 1::-1]
    swapped = inner[:, 0].real > inner[:, 1].real
    inner[swapped] = inner[swapped, ::-1]
    members[swapped, 2:] = members[swapped, :1:-1]
    return members, np.stack([inner[:, 0].real, inner[:, 0].imag, inner[:, 1].real, inner[:, 1].imag], axis=1)


@dataclass(frozen=True)
class Hits:
    """Asterisms of frames that were known before from others.

    Attributes
    ----------
    first, second : ndarray of int, shape (n,)
        The frame that each was known from, and the one that it was looked up for.
    theirs, mine : ndarray of int, shape (n, 4)
        The stars in the one, and in the other, in the row of all frames'.
    distance : ndarray of float64, shape (n,)
        Between the codes.
    """

    first: np.ndarray
    second: np.ndarray
    theirs: np.ndarray
    mine: np.ndarray
    distance: np.ndarray

    def __getitem__(self, which: np.ndarray) -> Hits:
        """Return some of them, by a mask or by their numbers."""
        return Hits(*(getattr(self, field.name)[which] for field in fields(self)))


class Index:
    """Asterisms of many frames, to look up those of others."""

    def __init__(self) -> None:
        """Begin with no frames."""
        self._shelves: list[_Shelf] = []  # each holds more frames than the next: a frame moves on seldom

    def add(self, known: Asterisms) -> None:
        """Keep the asterisms of a frame."""
        frames = 1
        while self._shelves and self._shelves[-1].frames <= frames:
            before = self._shelves.pop()
            frames += before.frames
            known = _together(before.known, known)
        self._shelves.append(_Shelf(frames, known))

    def look_up(self, seen: Asterisms) -> Hits:
        """Return which asterisms of the frames kept are like those of others."""
        none = np.empty((0, 4), dtype=np.int64)
        hits = Hits(none[:, 0], none[:, 0], none, none, np.empty(0))
        for shelf in self._shelves:
            hits = _together(hits, shelf.look_up(seen))
        return hits


def _together(one: Record, other: Record) -> Record:
    """Return records of arrays as one, each array with the other's behind it."""
    both = (np.concatenate([getattr(one, field.name), getattr(other, field.name)]) for field in fields(one))
    return type(one)(*both)


class _Shelf:
    """The asterisms of some frames, and a search tree of their codes."""

    def __init__(self, frames: int, known: Asterisms) -> None:
        self.frames, self.known = frames, known
        self._tree = scipy.spatial.cKDTree(known.codes, balanced_tree=False)

    def look_up(self, seen: Asterisms) -> Hits:
        distance, place = self._tree.query(seen.codes, NEAREST, distance_upper_bound=TOLERANCE)
        mine, which = np.nonzero(np.isfinite(distance))
        place, known = place[mine, which], self.known
        return Hits(
            known.frame[place], seen.frame[mine], known.corners[place], seen.corners[mine], distance[mine, which]
        )
