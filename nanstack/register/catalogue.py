# SPDX-License-Identifier: GPL-3.0-or-later
"""The stars of a group among those of a catalogue.

Two stars of the group and two of the catalogue make a hypothesis: where the group lies, how it is turned, its scale. It
is judged by how many more of the group's brightest stars then meet one of the catalogue that is as bright, and by what
chance would do.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import scipy

from nanstack.register.camera import local_axes
from nanstack.register.group_stars import StarList
from nanstack.register.place import Place, fitted, stretched

SEARCH_RADIUS = np.radians(1.5)  # how far off a header's pointing may be
SCALE_RANGES = (0.02, 0.1)  # and its scale, in logarithm: most headers' are good to a percent
MAGNITUDES = 1.0  # two stars that are as bright differ by less, through filters and saturation
PAIRED = 10  # brightest stars of the group, whose pairs make hypotheses
JUDGED = 20  # and those that judge them
WIDE_PAIR = 0.4  # of the group's radius: closer pairs say little about the turn
ROUGH_PX, FINE_PX = 5.0, 1.0  # how near a star meets another: at first, with distortion, and at least
KEPT = 10  # hypotheses of a block that are fitted to all their stars
BLOCK = 20_000
ROUNDS = 6
CHANCE = 1e-3  # that a wrong place is taken


def place_by_catalogue(
    stars: StarList, catalogue: StarList, focal: float, middle: np.ndarray, near: np.ndarray, radius: float
) -> Place | None:
    """Return the place where a group's stars are those of a catalogue.

    Parameters
    ----------
    stars : StarList
        Of the group, on its sphere.
    catalogue : StarList
        On the sky.
    focal : float
        Pixels a radian, to 10 %.
    middle : ndarray, shape (3,)
        Of the group.
    near : ndarray, shape (3,)
        Where on the sky the middle is looked for, up to `SEARCH_RADIUS` away, turned anyhow, of either hand.
    radius : float
        Of the part of the group around its middle that is looked at, in radians.

    Returns
    -------
    Place or None
        None where no more stars agree than chance would have it.
    """
    own = _within(stars, middle, radius)
    known = _within(catalogue, near, SEARCH_RADIUS + radius)
    if len(own) < 3 or len(known) < 3:
        return None
    search = _Search(own, known, focal, middle, radius)
    here, there = (_points(*pair, focal) for pair in ((own, middle), (known, near)))
    for scale_range in SCALE_RANGES:
        place = search.best_of(list(_judged(here, there, radius * focal, scale_range)))
        if place is not None:
            return place
    return None


@dataclass(frozen=True)
class _Points:
    """Stars on a plane, as complex numbers in pixels, and their magnitudes."""

    z: np.ndarray
    magnitude: np.ndarray


@dataclass(frozen=True)
class _Hypotheses:
    """How many were judged at a time; and of the best, which stars meet: (hypotheses, stars), and whom."""

    count: int
    met: np.ndarray
    partner: np.ndarray


def _within(stars: StarList, centre: np.ndarray, reach: float) -> StarList:
    near = stars.directions @ centre > np.cos(reach)
    return StarList(stars.directions[near], stars.flux[near])


def _points(stars: StarList, centre: np.ndarray, focal: float) -> _Points:
    east, north = local_axes(centre)
    across, along, ahead = np.stack([east, north, centre]) @ stars.directions.T
    return _Points(focal * (across + 1j * along) / ahead, -2.5 * np.log10(stars.flux))


def _judged(own: _Points, known: _Points, radius: float, scale_range: float) -> Iterator[_Hypotheses]:
    """Give, in blocks, the hypotheses that bring a pair of the group's stars onto one of the catalogue."""
    tree = scipy.spatial.cKDTree(_columns(known.z))
    for z in (own.z[:JUDGED], own.z[:JUDGED].conj()):
        first, second = np.nonzero(np.triu(np.abs(z[:PAIRED, None] - z[:PAIRED]) > WIDE_PAIR * radius))
        if not len(first):
            continue
        for mine, theirs, others in _like_pairs(z[second] - z[first], known.z, scale_range):
            offset = own.magnitude[first[mine]] - known.magnitude[theirs]
            other_offset = own.magnitude[second[mine]] - known.magnitude[others]
            alike = np.abs(offset - other_offset) < MAGNITUDES
            mine, theirs, others = mine[alike], theirs[alike], others[alike]
            offset = (offset + other_offset)[alike] / 2
            turn = (known.z[others] - known.z[theirs]) / (z[second] - z[first])[mine]
            there = turn[:, None] * z + (known.z[theirs] - turn * z[first[mine]])[:, None]
            distance, partner = tree.query(_columns(there), distance_upper_bound=ROUGH_PX)
            met = np.isfinite(distance)
            brighter = own.magnitude[: len(z)] - known.magnitude[np.where(met, partner, 0)] - offset[:, None]
            met &= np.abs(brighter) < MAGNITUDES
            best = np.argsort(-met.sum(axis=1), kind="stable")[:KEPT]
            yield _Hypotheses(len(turn), met[best], partner[best])


def _columns(z: np.ndarray) -> np.ndarray:
    return np.stack([z.real, z.imag], axis=-1)


def _like_pairs(steps: np.ndarray, w: np.ndarray, scale_range: float) -> Iterator[tuple[np.ndarray, ...]]:
    """Give, in blocks, steps and the pairs of w, the first and the second, that are as far apart."""
    widest = np.abs(steps).max() * np.exp(scale_range)
    pairs = scipy.spatial.cKDTree(_columns(w)).query_pairs(widest, output_type="ndarray")
    first, second = np.concatenate([pairs, pairs[:, ::-1]]).T
    length = np.abs(w[second] - w[first])
    order = np.argsort(length)
    low, high = (np.searchsorted(length[order], np.abs(steps) * np.exp(side * scale_range)) for side in (-1, 1))
    number = high - low
    mine = np.repeat(np.arange(len(steps)), number)
    theirs = order[np.arange(len(mine)) + np.repeat(low - (np.cumsum(number) - number), number)]
    for at in range(0, len(mine), BLOCK):
        pair = theirs[at : at + BLOCK]
        yield mine[at : at + BLOCK], first[pair], second[pair]


@dataclass(frozen=True)
class _Search:
    """What a hypothesis is fitted and held to; see `place_by_catalogue`."""

    own: StarList
    known: StarList
    focal: float
    middle: np.ndarray
    radius: float

    def best_of(self, judged: list[_Hypotheses]) -> Place | None:
        """Return the place that most stars agree on, where that is no chance."""
        trials = sum(block.count for block in judged)
        ranked = sorted(
            ((met, partner) for block in judged for met, partner in zip(block.met, block.partner, strict=True)),
            key=lambda pair: -pair[0].sum(),
        )
        places = [self._refined(np.flatnonzero(met), partner[met], trials) for met, partner in ranked[:KEPT]]
        return max(filter(None, places), key=lambda place: place.matched, default=None)

    def _refined(self, mine: np.ndarray, theirs: np.ndarray, trials: int) -> Place | None:
        """Return the place fitted to all stars that meet; None where chance could do as well."""
        tree, reach = scipy.spatial.cKDTree(self.known.directions), ROUGH_PX
        for _ in range(ROUNDS):
            if len(mine) < 3:
                return None
            matrix, scale = fitted(self.own.directions[mine], self.known.directions[theirs], self.middle)
            distance, partner = tree.query(stretched(self.own.directions, self.middle, scale) @ matrix.T)
            brighter = -2.5 * np.log10(self.own.flux / self.known.flux[partner])
            alike = np.abs(brighter - np.median(brighter[mine])) < MAGNITUDES
            distance *= self.focal / scale
            mine = np.flatnonzero(alike & (distance < reach))
            mine = mine[np.unique(partner[mine], return_index=True)[1]]  # the brightest: a star is met once
            theirs = partner[mine]
            reach = float(np.clip(4 * np.median(distance[mine]), FINE_PX, ROUGH_PX)) if len(mine) else reach
        if len(mine) < 3:
            return None
        chance = scipy.special.pdtrc(len(mine) - 3, self._by_chance(brighter[mine], reach))
        if trials * chance > CHANCE:
            return None
        return Place(matrix, float(scale), "catalogue", False, len(mine), self.middle)

    def _by_chance(self, brighter: np.ndarray, reach: float) -> float:
        """Return how many stars would meet one that is as bright anywhere else."""
        own, known = (np.sort(-2.5 * np.log10(stars.flux)) for stars in (self.own, self.known))
        own = own - np.median(brighter)
        alike = np.searchsorted(known, own + MAGNITUDES) - np.searchsorted(known, own - MAGNITUDES)
        area = 2 * np.pi * (1 - np.cos(SEARCH_RADIUS + self.radius)) * self.focal**2
        return float(alike.sum() * np.pi * reach**2 / area)
