# SPDX-License-Identifier: GPL-3.0-or-later
"""What asterisms hint at: which pairs of frames may show the same stars, and how the one lies to the other then."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from nanstack.register.asterisms import Hits
from nanstack.register.camera import nearest_attitude
from nanstack.register.runs import medians, ranks, sums
from nanstack.register.sources import StarLists

MAX_HITS = 64  # of a frame with one keyframe: more say the same
SINGLE_TRIES = 6  # by one asterism only, the most alike
MAX_TRIES = 16  # keyframes that a frame is tried on
AGREE = 0.04  # turns in radians, and logarithms of sizes, of asterisms that tell of the same transform
CELLS = 10  # bits of the number of a cell of sizes, and of turns
ROUNDS = 3


@dataclass(frozen=True)
class Trials:
    """Pairs of frames that may show the same stars, and first views, not all of which need be right.

    Attributes
    ----------
    first, second : ndarray of int, shape (n,)
        Numbers of the frames.
    attitude : ndarray of float64, shape (n, 3, 3)
        Of the second frame, in the axes of the first one's camera.
    scale : ndarray of float64, shape (n,)
        Of the second, against its camera.
    """

    first: np.ndarray
    second: np.ndarray
    attitude: np.ndarray
    scale: np.ndarray


class Hints:
    """What hits tell of pairs of frames."""

    def __init__(self, stars: StarLists, hits: Hits) -> None:
        """Begin with the hits, in any order."""
        self._stars = stars
        pair = hits.second * len(stars) + hits.first
        order = np.lexsort((hits.distance, pair))
        self._hits, self._pair = hits[order], pair[order]
        mine, theirs = (stars.plane[corners[:, :2]] for corners in (self._hits.mine, self._hits.theirs))
        self._log = np.log((mine[:, 1] - mine[:, 0]) / (theirs[:, 1] - theirs[:, 0]))  # of size, and turn

    def ranked(self) -> tuple[np.ndarray, np.ndarray]:
        """Return pairs of frames that are worth a trial, by number, and which trial of its second frame each is.

        Those with most hits that agree come first, then a few of single but close ones.
        """
        key = self._pair
        for part in (self._log.real, self._log.imag):
            half = 1 << (CELLS - 1)
            key = (key << CELLS) + np.clip(np.floor(part / AGREE).astype(np.int64), -half, half - 1) + half
        keys, inverse, votes = np.unique(key, return_inverse=True, return_counts=True)
        closest = np.full(len(keys), np.inf)
        np.minimum.at(closest, inverse, self._hits.distance)
        pair = keys >> 2 * CELLS
        order = np.lexsort((closest, -votes, pair // len(self._stars)))
        pair, single = pair[order], votes[order] == 1
        rank = ranks(2 * (pair // len(self._stars)) + single)
        pair = pair[rank < np.where(single, SINGLE_TRIES, 4 * MAX_TRIES)]
        pair = pair[np.sort(np.unique(pair, return_index=True)[1])]
        rank = ranks(pair // len(self._stars))
        return pair[rank < MAX_TRIES], rank[rank < MAX_TRIES]

    def trials(self, pair: np.ndarray) -> Trials:
        """Return first views of pairs of frames, by the hits of each that agree with most others."""
        chosen, row = self._agreed(pair)
        scale = np.exp(medians(self._log.real[chosen], row, len(pair)))
        every = len(self._stars.x)
        corners = (row[:, np.newaxis] * every + self._hits.theirs[chosen]) * every + self._hits.mine[chosen]
        both, mine = np.divmod(np.unique(corners), every)
        row, theirs = np.divmod(both, every)
        rays = self._stars.rays[:, mine] / np.stack([scale, scale, np.ones(len(scale))])[:, row]
        rays /= np.sqrt(np.sum(rays**2, axis=0))
        second, first = np.divmod(pair, len(self._stars))
        return Trials(first, second, _attitudes(rays, self._stars.rays[:, theirs], row, len(pair)), scale)

    def _agreed(self, pair: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the hits of each pair that tell of the same size and turn as most others, and the pairs' places."""
        begin = np.searchsorted(self._pair, pair)
        count = np.minimum(np.searchsorted(self._pair, pair, side="right") - begin, MAX_HITS)
        column = np.arange(int(count.max(initial=0)))
        there, hit = column < count[:, np.newaxis], begin[:, np.newaxis] + np.minimum(column, count[:, np.newaxis] - 1)
        size, turn = np.where(there, self._log.real[hit], np.nan), np.exp(1j * self._log.imag[hit])
        agree = np.abs(size[:, :, np.newaxis] - size[:, np.newaxis]) < AGREE
        across = turn.real[:, :, np.newaxis] * turn.real[:, np.newaxis]
        agree &= across + turn.imag[:, :, np.newaxis] * turn.imag[:, np.newaxis] > 1 - AGREE**2 / 2
        row, best = np.nonzero(agree[np.arange(len(pair)), agree.sum(axis=2).argmax(axis=1)])
        return hit[row, best], row


def _attitudes(rays: np.ndarray, directions: np.ndarray, run: np.ndarray, runs: int) -> np.ndarray:
    """Return what turns directions (3, n) of each run into rays (3, n), though some are no partners: (runs, 3, 3)."""
    weights = np.ones(len(run))
    for _ in range(ROUNDS):
        attitude = nearest_attitude(np.moveaxis(sums(rays[:, np.newaxis] * directions * weights, run, runs), -1, 0))
        turned = np.einsum("nij,jn->in", attitude[run], directions)
        off = np.sqrt(np.sum((turned - rays) ** 2, axis=0))
        weights = 1 / (1 + (off / (medians(off, run, runs)[run] + 1e-9)) ** 2)
    return attitude
