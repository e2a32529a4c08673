# SPDX-License-Identifier: GPL-3.0-or-later
"""Asterisms: groups of four stars, known again whatever the place, the turn and the scale of the frame that shows them.

The two stars farthest apart span a plane of complex numbers, 0 and 1; the other two are points of it, and these four
numbers are the code of the asterism (the idea of Lang et al. 2010, AJ 139, 1782). The codes of many frames lie in one
search tree: what a frame shows is looked up in all of them at once.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations

import numpy as np
import scipy

TIERS = (
    16,
    40,
    100,
    250,
)  # brightest stars that are neighbours of each other: what a shallow frame shows, and a deep one
BRIGHT_TIERS, BRIGHT = TIERS[:2], 160  # for a first look: tiers, and the number of asterisms
BORDERS = 0.12, 0.25  # depths of the strips along the borders, in sides of the frame
NEIGHBOURS = 5  # of a star, of which any three make an asterism with it
TOLERANCE = 0.008  # of a code: distortion moves it by a few thousandths
NEAREST = 6  # similar asterisms that are looked at


@dataclass(frozen=True)
class Asterisms:
    """The asterisms of one frame, brightest first.

    Attributes
    ----------
    corners : ndarray of int, shape (n, 4)
        Numbers of the stars; the first two are farthest apart.
    codes : ndarray of float64, shape (n, 4)
    """

    corners: np.ndarray
    codes: np.ndarray

    def brightest(self, most: int) -> Asterisms:
        """Return the first of them."""
        return Asterisms(self.corners[:most], self.codes[:most])


def asterisms(places: np.ndarray) -> Asterisms:
    """Return the asterisms that near neighbours make: among the brightest stars, and along each border of the frame.

    Parameters
    ----------
    places : ndarray of complex, shape (n,)
        Of the stars, brightest first, on a plane that keeps angles.
    """
    return _of_selections(places, _tiers(places, TIERS) + _borders(places[: TIERS[-1]]))


def bright_asterisms(places: np.ndarray) -> Asterisms:
    """Return some of the brightest stars' asterisms: enough for a frame that shows the same sky, in less time."""
    return _of_selections(places, _tiers(places, BRIGHT_TIERS)).brightest(BRIGHT)


def _of_selections(places: np.ndarray, selections: list[np.ndarray]) -> Asterisms:
    """Return the asterisms of neighbours within each selection of stars."""
    found = [chosen[_neighbours(places[chosen])] for chosen in selections if len(chosen) >= 4]
    if not found:
        return Asterisms(np.empty((0, 4), dtype=np.int64), np.empty((0, 4)))
    members = np.sort(np.concatenate(found), axis=1)
    members = members[np.unique(members @ (np.int64(len(places)) ** np.arange(4)), return_index=True)[1]]
    members = members[np.argsort(members[:, -1], kind="stable")]
    return _coded(places, members)


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


def _neighbours(places: np.ndarray) -> np.ndarray:
    """Return each star with any three of its neighbours."""
    near = min(NEIGHBOURS, len(places) - 1)
    points = np.stack([places.real, places.imag], axis=1)
    ids = scipy.spatial.cKDTree(points).query(points, near + 1)[1]
    three = np.array(list(combinations(range(1, near + 1), 3)))
    first = np.broadcast_to(ids[:, None, :1], (len(places), len(three), 1))
    return np.concatenate([first, ids[:, three]], axis=2).reshape(-1, 4)


def _coded(places: np.ndarray, members: np.ndarray) -> Asterisms:
    """Put the stars of asterisms in their order, and compute the codes; without those whose stars coincide."""
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
    return Asterisms(
        members, np.stack([inner[:, 0].real, inner[:, 0].imag, inner[:, 1].real, inner[:, 1].imag], axis=1)
    )


@dataclass(frozen=True)
class Hits:
    """Asterisms of a frame that were known before.

    Attributes
    ----------
    frame : ndarray of int, shape (n,)
        Where each was known from.
    theirs, mine : ndarray of int, shape (n, 4)
        Numbers of the stars there, and here.
    frame: np.ndarray
    distance : ndarray of float64, shape (n,)
        Between the codes.
    """

    frame: np.ndarray
    theirs: np.ndarray
    mine: np.ndarray
    distance: np.ndarray

    def only(self, kept: np.ndarray) -> Hits:
        """Return those of a mask."""
        return Hits(self.frame[kept], self.theirs[kept], self.mine[kept], self.distance[kept])


class Index:
    """Asterisms of many frames, to look up those of another."""

    def __init__(self) -> None:
        """Begin with no frames."""
        self._shelves: list[_Shelf] = []  # each holds more frames than the next: a frame moves on seldom

    def add(self, frame: int, known: Asterisms) -> None:
        """Keep the asterisms of a frame."""
        kept = [(frame, known)]
        while self._shelves and len(self._shelves[-1].kept) <= len(kept):
            kept = self._shelves.pop().kept + kept
        self._shelves.append(_Shelf(kept))

    def look_up(self, seen: Asterisms) -> Hits:
        """Return which asterisms of the frames kept are like those of this one."""
        parts = [shelf.look_up(seen) for shelf in self._shelves] or [_no_hits()]
        return Hits(*(np.concatenate([getattr(hits, name) for hits in parts]) for name in Hits.__dataclass_fields__))


class _Shelf:
    """A search tree of the codes of some frames."""

    def __init__(self, kept: list[tuple[int, Asterisms]]) -> None:
        self.kept = kept
        self._frame = np.repeat([frame for frame, _ in kept], [len(known.codes) for _, known in kept]).astype(np.int64)
        if len(self._frame):
            self._corners = np.concatenate([known.corners for _, known in kept])
            self._tree = scipy.spatial.cKDTree(np.concatenate([known.codes for _, known in kept]), balanced_tree=False)

    def look_up(self, seen: Asterisms) -> Hits:
        if not len(self._frame) or not len(seen.codes):
            return _no_hits()
        distance, place = self._tree.query(seen.codes, NEAREST, distance_upper_bound=TOLERANCE)
        mine, which = np.nonzero(np.isfinite(distance))
        place = place[mine, which]
        return Hits(self._frame[place], self._corners[place], seen.corners[mine], distance[mine, which])


def _no_hits() -> Hits:
    none = np.empty((0, 4), dtype=np.int64)
    return Hits(none[:, 0], none, none, np.empty(0))
