# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether two frames show the same stars: all their stars are matched, from a first view on, in many pairs at once."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import scipy

from nanstack.register.camera import Camera, View
from nanstack.register.hints import Trials
from nanstack.register.links import Link
from nanstack.register.resection import pixels_at, rotation, slopes
from nanstack.register.runs import medians, sums
from nanstack.register.sources import StarLists

MIN_STARS = 6  # that two frames have in common
FIRST_RADIUS_PX = 8.0
RADII_PX = 1.0, 4.0  # least and largest distance of a star from its partner, later on
APART_PX = 1e6  # between frames, in a third dimension: more than any star from another
ROUNDS = 6
CLIP_SIGMA = 3.5
SURE = 1e-10  # is added to equations' own diagonal, as a share: stars in one place tell of no turn
LONGEST = 0.1  # step of a size, in its logarithm
LINE_PX, LINE_STARS = 4.0, 8  # how near to a line, and how many, stars are taken for pieces of a trail
MAX_CHANCE = 1e-7  # that as many stars agree by accident: many transforms are tried in a run
GRID = 8  # pixels along each side of a frame by which its overlap is told


def verified_links(stars: StarLists, trials: Trials) -> list[Link]:
    """Match all stars of pairs of frames, from first views on; none of those in which no more agree than by accident.

    Parameters
    ----------
    stars : StarLists
    trials : Trials
        Each of another second frame.
    """
    pairs, count = _Pairs.of(stars, trials), len(trials.first)
    attitude, scale, radius = trials.attitude, trials.scale, np.full(count, FIRST_RADIUS_PX)
    partner, off = np.full(len(pairs.star), -1), np.full(len(pairs.star), np.inf)
    inside, goes_on = np.zeros(count), np.ones(count, dtype=bool)
    for _ in range(ROUNDS):
        slots = np.flatnonzero(goes_on[pairs.run])
        run, before = pairs.run[slots], partner[slots]
        partner[slots], shown = pairs.partners(slots, attitude, scale, radius)
        inside = np.where(goes_on, np.bincount(run, shown, count), inside)
        goes_on &= np.bincount(run, (partner[slots] >= 0) & (partner[slots] != before), count) > 0
        if not goes_on.any():
            break
        slots = np.flatnonzero(goes_on[pairs.run] & (partner >= 0))
        attitude, scale = pairs.resected(slots, partner[slots], attitude, scale, goes_on)
        off[slots] = pairs.distances(slots, partner[slots], attitude, scale)
        usual = medians(off[slots], pairs.run[slots], count)
        radius = np.where(goes_on, np.clip(CLIP_SIGMA * usual / 1.177, *RADII_PX), radius)
    slots = np.flatnonzero((partner >= 0) & (off < radius[pairs.run]))
    return pairs.links(slots, partner[slots], attitude, scale, radius, inside)


@dataclass(frozen=True)
class _Pairs:
    """Pairs of frames, and what does not change with their views.

    Attributes
    ----------
    stars : StarLists
    first, second : ndarray of int, shape (n,)
        Numbers of the frames.
    star, run : ndarray of int, shape (m,)
        Stars of the first frames, pair after pair, in the row of all frames'; and the pair of each.
    tree : scipy.spatial.cKDTree
        Of the places of the second frames' stars, those of each apart.
    others : ndarray of int
        Their numbers in the row of all frames'.
    """

    stars: StarLists
    first: np.ndarray
    second: np.ndarray
    star: np.ndarray
    run: np.ndarray
    tree: scipy.spatial.cKDTree
    others: np.ndarray

    @classmethod
    def of(cls, stars: StarLists, trials: Trials) -> _Pairs:
        star, run = stars.stars_of(trials.first)
        others, of = stars.stars_of(trials.second)
        points = np.stack([stars.x[others], stars.y[others], APART_PX * of], axis=1)
        tree = scipy.spatial.cKDTree(points, balanced_tree=False)
        return cls(stars, trials.first, trials.second, star, run, tree, others)

    def partners(
        self, slots: np.ndarray, attitude: np.ndarray, scale: np.ndarray, radius: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return the partners of some stars, -1 where there is none; and whether the second frame should show them.

        A pair with too few partners has none.
        """
        run, partner = self.run[slots], np.full(len(slots), -1)
        x, y = self._pixels(slots, attitude, scale)
        height, width = self.stars.shape[:, self.second[run]]
        near = radius[run]
        shown = (x > -near) & (x < width + near) & (y > -near) & (y < height + near)
        shown &= np.sum(attitude[run, 2].T * self.stars.rays[:, self.star[slots]], axis=0) > 0  # what is ahead
        points = np.stack([x, y, APART_PX * run], axis=1)[shown]
        reach = float(near.max())
        distance, found = self.tree.query(points, distance_upper_bound=reach)
        close = np.flatnonzero(distance < near[shown])
        close = close[np.argsort(-distance[close], kind="stable")]
        closest = np.full(len(self.others), -1)
        closest[found[close]] = close  # the last is the closest
        close = closest[closest >= 0]
        which = np.flatnonzero(shown)[close]
        partner[which] = self.others[found[close]]
        enough = np.bincount(run[which], minlength=len(self.first)) >= MIN_STARS
        return np.where(enough[run], partner, -1), shown

    def distances(self, slots: np.ndarray, partner: np.ndarray, attitude: np.ndarray, scale: np.ndarray) -> np.ndarray:
        """Return how far stars are from their partners, in pixels."""
        x, y = self._pixels(slots, attitude, scale)
        return np.hypot(x - self.stars.x[partner], y - self.stars.y[partner])

    def _pixels(self, slots: np.ndarray, attitude: np.ndarray, scale: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return pixels_at(self.stars.rays[:, self.star[slots]], *self._cameras(slots, attitude, scale))

    def _cameras(self, slots: np.ndarray, attitude: np.ndarray, scale: np.ndarray) -> tuple:
        """Return attitude (3, 3, m), focal length, distortion and middle (2, m) of the second frames of stars."""
        run, stars = self.run[slots], self.stars
        second = self.second[run]
        return attitude.transpose(1, 2, 0)[:, :, run], stars.focal[second] * scale[run], 0.0, stars.middle[:, second]

    def resected(
        self, slots: np.ndarray, partner: np.ndarray, attitude: np.ndarray, scale: np.ndarray, which: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return views with some of them turned and scaled to fit: one step of Gauss and Newton, see `resection`."""
        run, stars = self.run[slots], self.stars
        at = slopes(stars.rays[:, self.star[slots]], *self._cameras(slots, attitude, scale))
        design = np.concatenate([at.turn, at.size[:, np.newaxis]], axis=1)
        off = np.stack([stars.x[partner] - at.x, stars.y[partner] - at.y])
        normal = sums(np.einsum("kin,kjn->ijn", design, design), run, len(which))[..., which]
        right = sums(np.einsum("kin,kn->in", design, off), run, len(which))[..., which]
        normal[np.arange(4), np.arange(4)] *= 1 + SURE
        step = np.linalg.solve(np.moveaxis(normal, -1, 0), right.T[..., np.newaxis])[..., 0]
        attitude, scale = attitude.copy(), scale.copy()
        attitude[which] = rotation(step[:, :3]) @ attitude[which]
        scale[which] *= np.exp(np.clip(step[:, 3], -LONGEST, LONGEST))
        return attitude, scale

    def links(
        self,
        slots: np.ndarray,
        partner: np.ndarray,
        attitude: np.ndarray,
        scale: np.ndarray,
        radius: np.ndarray,
        inside: np.ndarray,
    ) -> list[Link]:
        """Return the pairs in which more stars agree than by accident."""
        stars, run, pairs = self.stars, self.run[slots], len(self.first)
        count = np.bincount(run, minlength=pairs)
        others, area = stars.counts[self.second], np.prod(stars.shape[:, self.second], axis=0)
        expected = inside * others * np.pi * radius**2 / area
        # beside four that the transform was made of
        counted = _beside_a_line(stars.x[partner], stars.y[partner], run, pairs)
        chance = np.where(counted > 4, scipy.special.pdtrc(np.maximum(counted - 5, 0), expected), 1.0)
        overlap = self._overlaps(attitude, scale)
        both = np.maximum(np.minimum(inside, overlap * others), count)
        ends = np.cumsum(count)
        links = []
        for pair in np.flatnonzero((count >= MIN_STARS) & (chance <= MAX_CHANCE)).tolist():
            first, second = int(self.first[pair]), int(self.second[pair])
            part = slice(ends[pair] - count[pair], ends[pair])
            mine, theirs = self.star[slots[part]] - stars.first[first], partner[part] - stars.first[second]
            view = View(stars.cameras[second], attitude[pair], float(scale[pair]))
            share = float(count[pair] / both[pair])
            links.append(Link(first, second, mine, theirs, view, float(overlap[pair]), share))
        return links

    def _overlaps(self, attitude: np.ndarray, scale: np.ndarray) -> np.ndarray:
        """Return the share of the second frames that the first show, by a grid of pixels."""
        stars = self.stars
        rays = np.array([_grid_rays(stars.cameras[k]) for k in self.second.tolist()]).reshape(-1, 3, GRID**2)
        rays[:, :2] /= scale[:, np.newaxis, np.newaxis]
        across, down, ahead = np.moveaxis(attitude.transpose(0, 2, 1) @ rays, 1, 0)
        height, width = stars.shape[:, self.first, np.newaxis]
        with np.errstate(divide="ignore", invalid="ignore"):
            x, y = (
                axis[:, np.newaxis] + stars.focal[self.first, np.newaxis] * side / ahead
                for axis, side in zip(stars.middle[:, self.first], (across, down), strict=True)
            )
            shown = (x > -0.5) & (x < width - 0.5) & (y > -0.5) & (y < height - 0.5) & (ahead > 0)
        return shown.mean(axis=1)


@lru_cache(maxsize=8)  # frames of a run are of few cameras
def _grid_rays(camera: Camera) -> np.ndarray:
    """Return the directions of a grid of a camera's pixels: (3, n)."""
    height, width = camera.shape
    steps = (np.arange(GRID) + 0.5) / GRID
    x, y = np.meshgrid(steps * width, steps * height)
    return View(camera, np.eye(3)).directions(x.ravel(), y.ravel()).T


def _beside_a_line(x: np.ndarray, y: np.ndarray, run: np.ndarray, runs: int) -> np.ndarray:
    """Return how many stars of each run count, shape (runs,): those on a line that holds most do not.

    A satellite's trail fits any other.
    """
    near = np.ones(len(run), dtype=bool)
    for _ in range(3):
        on, on_x, on_y = run[near], x[near], y[near]
        middle = sums(np.stack([on_x, on_y]), on, runs) / np.maximum(np.bincount(on, minlength=runs), 1)
        across, down = np.stack([on_x, on_y]) - middle[:, on]
        xx, xy, yy = sums(np.stack([across**2, across * down, down**2]), on, runs)
        turn = (np.arctan2(2 * xy, xx - yy) / 2)[run]  # of the longer axis
        down, across = y - medians(on_y, on, runs)[run], x - medians(on_x, on, runs)[run]
        off = np.abs(down * np.cos(turn) - across * np.sin(turn))
        near = off <= medians(off, run, runs)[run]
    count, beside = np.bincount(run, minlength=runs), np.bincount(run, off > LINE_PX, runs).astype(np.int64)
    return np.where(count - beside > np.maximum(beside, LINE_STARS), beside, count)
