# SPDX-License-Identifier: GPL-3.0-or-later
"""Frames' planes, and their cameras' shades, that bring what they show to one sky.

The sky at a node follows from the others, and is eliminated; what is left are three numbers a frame, found by conjugate
gradients, and three a camera. A shade is told from a plane of each frame's own by what overlaps, at other places of the
sensor, and by field rotation: a plane does neither bend nor turn. Where frames do not tell, it is none.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from types import ModuleType

import numpy as np
import scipy

from nanstack.compilation import where_numba_is
from nanstack.levels.gradients import conjugate_gradients
from nanstack.levels.photometry import SIGMA_OF_MAD
from nanstack.levels.sky_samples import SkySamples
from nanstack.register.regions import MANY_REGIONS, Regions

SLOPE_SAMPLES = 12  # a frame that shows less of the sky has no slope,
SLOPE_SPREAD = 0.1  # and one that shows it on a narrow strip: its width, in sides of the frame
# how strongly slopes and shades are held to none: as samples of so much weight would, and over what theirs say of them
SLOPE_HELD = 0.05, 0.002
SHADE_HELD = 0.3, 0.001
SHADE_LEFT = 0.015  # the latter of a camera whose flat stars tell: it is off already, and little is left
SOFT = 3.0  # from so many usual residuals on a sample has less and less of a say,
FAR = 10.0  # and from so many on it is none of the sky
ROUGH, FINE = 1e-2, 1e-5  # tolerances of a round's conjugate gradients: the next one goes on from there
POLISHES, RANKS = 8, (0.5, 0.35, 0.65)  # it begins with so many rounds of polishing, by one of these ranks
MANY_SAMPLES = 100_000  # from so many on compiled functions are worth loading
TINY_ADU = 1e-6


OFFSETS, PLANES, SHADES = range(3)  # what a round of weighing finds: each, and those before it
# of each round: what it finds, and how far it is solved
ROUNDS = (*[(OFFSETS, ROUGH)] * 3, (PLANES, ROUGH), *[(SHADES, ROUGH)] * 2, (SHADES, FINE))


@dataclass(frozen=True)
class Planes:
    """The terms of frames' planes at the samples, about the middle of what each frame shows: independent, in a way.

    Attributes
    ----------
    terms : scipy.sparse.csr_array, shape (m, 3 n)
        Of offset and slopes; zero for slopes that a frame does not carry.
    back, squares : scipy.sparse.csr_array, shape (3 n, m)
        Its transpose, and the squares of that.
    middle : ndarray of float64, shape (n, 2)
    side : float
        Pixels of the canvas over which a slope is told.
    together : scipy.sparse.csr_array, shape (3 n, 3 k), or None
        From planes of regions to those of the frames in them; None where regions are few.
    """

    terms: scipy.sparse.csr_array
    back: scipy.sparse.csr_array
    squares: scipy.sparse.csr_array
    middle: np.ndarray
    side: float
    together: scipy.sparse.csr_array | None

    @classmethod
    def of(cls, samples: SkySamples, frames: int, model: str) -> Planes:
        counts = np.maximum(np.bincount(samples.frame, minlength=frames), 1)
        places = samples.x, samples.y
        middle = np.stack([np.bincount(samples.frame, v, frames) / counts for v in places], axis=1)
        u, v = (place - middle[samples.frame, axis] for axis, place in enumerate(places))
        moments = np.stack([np.bincount(samples.frame, a * b, frames) / counts for a, b in ((u, u), (u, v), (v, v))])
        half, turned = (moments[0] + moments[2]) / 2, np.hypot((moments[0] - moments[2]) / 2, moments[1])
        side = float(np.sqrt(12 * np.max(half + turned, initial=1.0)))
        sloped = (counts >= SLOPE_SAMPLES) & (np.sqrt(12 * np.maximum(half - turned, 0)) > SLOPE_SPREAD * side)
        sloped &= model == "plane"
        own = np.stack([np.ones(len(u)), u / side, v / side], axis=1)
        own[:, 1:] *= sloped[samples.frame, None]
        columns = 3 * samples.frame[:, None] + np.arange(3)
        entries = own.ravel(), columns.ravel(), np.arange(0, own.size + 1, 3)
        terms = scipy.sparse.csr_array(entries, shape=(len(own), 3 * frames))
        back = terms.T.tocsr()
        return cls(terms, back, back.power(2), middle, side, _together(middle, side, sloped))

    def on_the_canvas(self, found: np.ndarray) -> np.ndarray:
        """Return planes (n, 3) as they are from the canvas's axis, in pixels."""
        offset, slopes = found[:, 0], found[:, 1:] / self.side
        return np.column_stack([offset - np.sum(slopes * self.middle, axis=1), slopes])


def _together(middle: np.ndarray, side: float, sloped: np.ndarray) -> scipy.sparse.csr_array | None:
    """Return what planes of regions, squares of a side, make of the planes of frames: see `Planes`."""
    regions, number = np.unique(np.floor(middle / side), axis=0, return_inverse=True)
    if len(regions) < MANY_REGIONS:
        return None
    own, nothing = sloped.astype(np.float64), np.zeros(len(middle))
    across, down = ((middle - (regions[number] + 0.5) * side) / side).T
    rows = [np.ones(len(middle)), across, down], [nothing, own, nothing], [nothing, nothing, own]
    data = np.stack([np.stack(row, axis=1) for row in rows], axis=1)
    columns = np.broadcast_to((3 * number.reshape(-1, 1) + np.arange(3))[:, np.newaxis], data.shape)
    entries = data.ravel(), columns.ravel(), np.arange(0, data.size + 1, 3)
    return scipy.sparse.csr_array(entries, shape=(3 * len(middle), 3 * len(regions)))


@dataclass(frozen=True)
class OneColour:
    """What is found of one colour's sky.

    Attributes
    ----------
    planes : ndarray of float64, shape (n, 3)
        Terms of what frames have more than the sky.
    shade : ndarray of float64, shape (k,)
        Factors of the shades' columns.
    covariance : ndarray of float64, shape (k, k)
        Of these, by the noise of the samples.
    weights, off : ndarray of float64, shape (m,)
        What samples count for at last, and what they are off.
    outlying : ndarray of bool, shape (m,)
        Which of them are off by far.
    usual : float
        By how much the usual frame's samples usually are off.
    """

    planes: np.ndarray
    shade: np.ndarray
    covariance: np.ndarray
    weights: np.ndarray
    off: np.ndarray
    outlying: np.ndarray
    usual: float


def solution(samples: SkySamples, colour: int, planes: Planes, columns: np.ndarray, flattened: np.ndarray) -> OneColour:
    """Return planes of frames, and factors of the shades' columns (k, m), that bring one colour to one sky.

    `flattened` (k,) tells how far the flat of a column's camera is off already: from 0 to 1.

    A tree, a cloud's edge and a ghost of the moon are outliers: what is far off counts next to nothing, and a frame of
    which all is far off still has its plane. Offsets come first: beside a tree, a plane would rather lean on it.
    """
    sky, error, node, frame = samples.sky[:, colour], samples.error[:, colour], samples.node, samples.frame
    found, shade = np.zeros(planes.terms.shape[1]), np.zeros(len(columns))
    covariance = np.zeros((len(columns), len(columns)))
    offsets = np.arange(len(found)) % 3 == 0
    found[offsets], off = _beginning(sky, error, node, frame, len(found) // 3)
    weights = _redescending(off, error)
    for terms, tolerance in ROUNDS:
        weighed, free = _Weighed(planes, node, weights), offsets | (terms > OFFSETS)
        off = sky - planes.terms @ found - sum_of(columns, shade)
        step = weighed.step(off, found, free, tolerance)
        if terms == SHADES and len(shade):
            step, shade, covariance = _with_shades(weighed, columns, flattened, off, step, shade)
        found = found + step
        off = weighed.left(sky - sum_of(columns, shade), found)
        weights = _redescending(off, error)
    usual = _usual(off, error)
    outlying = np.abs(off) > FAR * usual * error
    return OneColour(found.reshape(-1, 3), shade, usual**2 * covariance, weights, off, outlying, usual)


def _usual(off: np.ndarray, error: np.ndarray) -> float:
    return max(SIGMA_OF_MAD * float(np.median(np.abs(off) / error)), TINY_ADU)


def _redescending(off: np.ndarray, error: np.ndarray) -> np.ndarray:
    """Return what samples count for that are so far off, against what is usual: by Geman and McClure's loss."""
    relative = np.abs(off) / error
    return (1 + (relative / (SOFT * _usual(off, error))) ** 2) ** -2 / error**2


def _beginning(
    sky: np.ndarray, error: np.ndarray, node: np.ndarray, frame: np.ndarray, frames: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return offsets of frames (n,), and how far samples are off, by that rank of values which leaves the least off.

    Where a tree hides part of the frames, a high rank is the sky's, and where a cloud is bright in them a low one.
    """
    begun = [_polished(sky, node, frame, frames, rank) for rank in RANKS]
    usual = min(_usual(off, error) for _, off in begun)
    squares = ((off / (SOFT * usual * error)) ** 2 for _, off in begun)
    return begun[int(np.argmin([np.mean(square / (1 + square)) for square in squares]))]


def _polished(
    sky: np.ndarray, node: np.ndarray, frame: np.ndarray, frames: int, rank: float
) -> tuple[np.ndarray, np.ndarray]:
    """Return offsets of frames (n,), and how far samples are off, by a rank within nodes and within frames in turn.

    So Tukey's median polish (1977) goes, where what covers nearly half of a frame, as a tree does, counts for nothing,
    and a sum of squares would split the difference.
    """
    offsets = np.zeros(frames)
    for _ in range(POLISHES):
        off = sky - offsets[frame]
        off -= _of_rank(off, rank, node)[node]
        more = _of_rank(off, rank, frame, frames)
        offsets += more
    return offsets, off - more[frame]


def _of_rank(values: np.ndarray, rank: float, group: np.ndarray, groups: int = 0) -> np.ndarray:
    """Return the value of each group below which a share of the others lie; 0 of one without any.

    Of a pair it is the mean: nothing tells which of the two is off.
    """
    counts = np.bincount(group, minlength=groups)
    some = counts > 0
    least, span = values.min(), 2 * np.ptp(values) + TINY_ADU
    ordered = np.sort(group + (values - least) / span)  # one sort for all groups, ten times as fast as by two keys
    at = (np.cumsum(counts) - counts + np.rint(rank * (counts - 1)).astype(int))[some]
    found = np.zeros(len(counts))
    found[some] = (ordered[at] - np.flatnonzero(some)) * span + least
    pairs = counts == 2
    found[pairs] = np.bincount(group, values, len(counts))[pairs] / 2
    return found


@dataclass(frozen=True)
class _Weighed:
    """Samples, and what they count for, in one round.

    Attributes
    ----------
    planes : Planes
    node : ndarray of int, shape (m,)
    weights : ndarray of float64, shape (m,)
    """

    planes: Planes
    node: np.ndarray
    weights: np.ndarray

    @cached_property
    def _total(self) -> np.ndarray:
        return np.bincount(self.node, self.weights)

    def beside_the_sky(self, values: np.ndarray) -> np.ndarray:
        """Return values at the samples, less the sky that all frames share: their weighted means over the nodes."""
        return values - (np.bincount(self.node, self.weights * values) / self._total)[self.node]

    def left(self, values: np.ndarray, found: np.ndarray) -> np.ndarray:
        """Return what planes, and the sky that all frames share, leave of values at the samples."""
        return self.beside_the_sky(values - self.planes.terms @ found)

    def step(self, off: np.ndarray, found: np.ndarray, free: np.ndarray | bool, tolerance: float) -> np.ndarray:
        """Return what brings planes nearest to what they are off: the terms that are free, slopes held down.

        Slopes that a frame's own samples tell are left to them. What tells frames' slopes apart by narrow overlaps
        alone is held down: there, a vignetting looks like slopes that grow from panel to panel, and would bend the
        whole.
        """
        own, held = self._own, self._held

        def pull(values: np.ndarray) -> np.ndarray:
            return self.planes.back @ (self.weights * self.beside_the_sky(values))

        kernels = _kernels() if len(self.node) > MANY_SAMPLES else None
        room = np.empty_like(self._total), np.empty_like(own)

        def effect_of(direction: np.ndarray) -> np.ndarray:
            if kernels is None:
                return pull(self.planes.terms @ direction) * free + held * direction
            kernels.pull_of_planes(direction, *self._samples, *room)
            return room[1] * free + held * direction

        regions = self._regions_of_all if np.all(free) else self._regions(free)
        return conjugate_gradients(effect_of, (pull(off) - held * found) * free, own, tolerance, regions)

    @cached_property
    def _samples(self) -> tuple[np.ndarray, ...]:
        own, frames = self.planes.terms.data.reshape(-1, 3), self.planes.terms.shape[1] // 3
        begins = np.searchsorted(self.planes.terms.indices[::3], 3 * np.arange(frames + 1))
        return own, begins, self.node.astype(np.int32), self.weights, self._total

    @cached_property
    def _own(self) -> np.ndarray:
        return np.maximum(self.planes.squares @ self.weights, TINY_ADU)

    @cached_property
    def _held(self) -> np.ndarray:
        return np.where(np.arange(len(self._own)) % 3 > 0, SLOPE_HELD[0] + SLOPE_HELD[1] * self._own, 0.0)

    @cached_property
    def _regions_of_all(self) -> Regions | None:
        return self._regions(np.ones(len(self._own), dtype=bool))

    def _regions(self, free: np.ndarray) -> Regions | None:
        """Return what frames of a region take together of steps in terms that are free; None where regions are few."""
        if self.planes.together is None:
            return None
        spread = scipy.sparse.diags_array(free.astype(np.float64)) @ self.planes.together
        shown = self.planes.terms @ spread
        weighed = scipy.sparse.diags_array(self.weights) @ shown
        shape = len(self._total), len(self.node)
        at_nodes = scipy.sparse.coo_array((np.ones(shape[1]), (self.node, np.arange(shape[1]))), shape=shape) @ weighed
        common = at_nodes.T @ (scipy.sparse.diags_array(1 / self._total) @ at_nodes)
        normal = shown.T @ weighed - common + spread.T @ (scipy.sparse.diags_array(self._held) @ spread)
        return Regions.of(spread.tocsr(), normal)


@where_numba_is("the sky of many frames is solved for by NumPy, some 5 times slower")
def _kernels() -> ModuleType:
    from nanstack.levels import sky_kernels

    return sky_kernels


def _with_shades(
    samples: _Weighed,
    columns: np.ndarray,
    flattened: np.ndarray,
    off: np.ndarray,
    step: np.ndarray,
    shade: np.ndarray,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the step of the planes beside that of the shades, the shades, and their covariance, of samples of error 1.

    By Schur's complement of the planes.
    """
    none, weights = np.zeros_like(step), samples.weights
    taken = [samples.step(column, none, True, ROUGH) for column in columns]  # by planes, of a shade
    left = [samples.left(column, own) for column, own in zip(columns, taken, strict=True)]
    off = samples.left(off, step)
    normal = np.array([[np.sum(weights * column * other) for other in left] for column in columns])
    own = np.array([np.sum(weights * column**2) for column in columns])
    held = SHADE_HELD[0] + SHADE_HELD[1] * (SHADE_LEFT / SHADE_HELD[1]) ** flattened * own
    right = np.array([np.sum(weights * column * off) for column in columns]) - held * shade
    more = np.linalg.solve(normal + np.diag(held), right)
    return step - sum_of(np.array(taken), more), shade + more, np.linalg.inv(normal + np.diag(held))


def sum_of(columns: np.ndarray, factors: np.ndarray) -> np.ndarray:
    """Return a sum of columns (k, m), each multiplied by its factor; without BLAS, whose threads change last digits."""
    total = np.zeros(columns.shape[1])
    for column, factor in zip(columns, factors, strict=True):
        total += factor * column
    return total
