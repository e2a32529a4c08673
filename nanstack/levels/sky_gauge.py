# SPDX-License-Identifier: GPL-3.0-or-later
"""What frames' planes leave open of the sky: a level, and a tilt, that all frames of a set have in common.

A tilt that stays on the sensor (the horizon's glow) and one of the sky look alike in frames that all lie alike. So the
whole is tilted by what is best known of it:

- Frames that are turned against each other, up to halves of circles, have such glows in all directions: on average they
  have none, and the whole is tilted as frames are by themselves.
- Where frames' middles spread over the canvas, a glow of each frame would run on over all of them, as no sky does: the
  darkness of the whole sky is level.
  What colours tell of it is brought together: glows are of one colour, as their changes show, nebulae of many.
- Where they do not, as across a single panel, that would take away light that fills the frame: the whole is tilted as
  frames are by themselves.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from nanstack.levels.photometry import SIGMA_OF_MAD
from nanstack.levels.sky_samples import SkySamples

DARK = 0.02  # what lies above the plane of the darkness pulls at it by so much, what lies below by the rest
GLOWS = 4  # so many frames, at least, tell the colour of their glows
ROUNDS = 20  # of weighing by what lies above and below
SOFT = 3.0  # what is darker by more than so much of the usual difference has less and less of a say: trees, at rims
SURE = 0.2  # what samples of so much of the usual weight show is half as sure as it can be
SPREAD = 0.2  # variance of frames' middles over that within frames, at which darkness counts for half,
ALIKE = 0.1  # and so does the squared mean of frames' directions: 1 where all lie alike
USUAL_BOWL = 0.03  # of the sky, that flats leave in corners
TINY = 1e-9


@dataclass(frozen=True)
class LeftOpen:
    """What frames leave open of the sky, in one colour, over the picture of most of them; and why.

    Attributes
    ----------
    turned : float
        What frames' directions tell of a tilt that stays on the sensor: from 0, where all lie alike, to 1.
    spread : float
        What the darkness of the whole counts for along the direction in which frames' middles spread most: 0 to 1.
    tilt : float
        By how much the picture's ends would differ more, or less, if another choice were right, in ADU.
    bowl : float
        Standard error of the farthest corner against the middle, in ADU: a bowl of the sensor's and one of the sky look
        alike in frames that are not turned by much, but for glows that grow from panel to panel. They are taken to be
        alike, as far as they are seen to be, and no more than `USUAL_BOWL` is expected of a sensor.
    corner : float
        The same within a frame, of its corners against the frame on average.
    """

    turned: float
    spread: float
    tilt: float
    bowl: float
    corner: float


def as_a_whole(
    planes: np.ndarray,
    samples: SkySamples,
    sky: np.ndarray,
    weights: np.ndarray,
    component: np.ndarray,
    turns: np.ndarray,
    *,
    tilts: bool,
) -> tuple[np.ndarray, list[LeftOpen]]:
    """Return planes with what they all have in common chosen, for each set of frames that hang together.

    The mean of what is added is zero: the whole keeps its level.

    Parameters
    ----------
    planes : ndarray of float64, shape (n, 3, C)
        What is added to frames: offset and slopes, from the canvas's axis.
    samples : SkySamples
    sky, weights : ndarray of float64, shape (m, C)
        What samples show, and what they count for.
    component : ndarray of int, shape (n,)
        The set that each frame belongs to.
    turns : ndarray of float64, shape (n, 2)
        How frames lie on the canvas, as unit vectors.
    tilts : bool
        Whether planes may have slopes.

    Returns
    -------
    planes : ndarray of float64, shape (n, 3, C)
    open : list of LeftOpen
        By colour, of the set with the most samples.
    """
    planes, places = planes.copy(), np.stack([samples.x, samples.y], axis=1)
    told = [LeftOpen(0.0, 0.0, 0.0, 0.0, 0.0)] * sky.shape[1]
    size = np.bincount(component[samples.frame])
    for number in np.flatnonzero(size):
        mine, frames = component[samples.frame] == number, component == number
        frame, place, weight = samples.frame[mine], places[mine], weights[mine]
        if tilts:
            shown = sky[mine] + _added(planes, frame, place)
            nodes = [_Nodes.of(place, *one, samples.node[mine]) for one in zip(shown.T, weight.T, strict=True)]
            lie = _Lie.of(frame, place, turns)
            own = np.sum(weight[:, np.newaxis] * planes[frame, 1:], axis=0) / np.sum(weight, axis=0)
            dark = _of_one_glow(np.stack([of.slope(DARK) for of in nodes], axis=1), planes[frames, 1:])
            if number == np.argmax(size):
                each = zip(nodes, np.moveaxis(planes[:, 1:], 2, 0), own.T, dark.T, strict=True)
                told = [_left_open(of, lie, _scatter(slopes, turns, lie.counts), *rest) for of, slopes, *rest in each]
            planes[frames, 1:] -= own + lie.trust @ (dark - own)
        planes[frames, 0] -= np.sum(weight * _added(planes, frame, place), axis=0) / np.sum(weight, axis=0)
    return planes, told


def _added(planes: np.ndarray, frame: np.ndarray, place: np.ndarray) -> np.ndarray:
    """Return what planes (n, 3, C) add to the samples of frames (m,) at places (m, 2): (m, C)."""
    return planes[frame, 0] + np.sum(place[:, :, np.newaxis] * planes[frame, 1:], axis=1)


def _of_one_glow(dark: np.ndarray, slopes: np.ndarray) -> np.ndarray:
    """Return the darkness's slopes (2, C) with what colours tell of a glow that all frames have brought together.

    Frames' slopes (n, 2, C) change from frame to frame as their glows do: by one colour for the most part, that of a
    town or of the moon. As far as they do, the common glow is of that colour, too, and its slope is the median of what
    the colours tell: one that is off leans on a nebula.
    """
    changes = (slopes - np.mean(slopes, axis=0)).reshape(-1, slopes.shape[2])
    _, sizes, colours = np.linalg.svd(changes, full_matrices=False)
    glow = colours[0] * np.sign(np.sum(colours[0]))
    if len(slopes) < GLOWS or not np.all(glow > 0):
        return dark
    of_one_colour = 1 - np.sum(sizes[1:] ** 2) / max(sizes[0] ** 2, TINY**2)
    common = np.median(dark / glow, axis=1, keepdims=True) * glow
    return dark + max(of_one_colour, 0.0) * (common - dark)


@dataclass(frozen=True)
class _Nodes:
    """What the picture shows at the nodes of the grid: places (k, 2), sky (k,), and how sure it is (k,)."""

    place: np.ndarray
    sky: np.ndarray
    sure: np.ndarray

    @classmethod
    def of(cls, place: np.ndarray, sky: np.ndarray, weight: np.ndarray, node: np.ndarray) -> _Nodes:
        total = np.bincount(node, weight)
        shown = total > 0
        total = total[shown]
        x, y, mean = (np.bincount(node, weight * values)[shown] / total for values in (*place.T, sky))
        return cls(np.stack([x, y], axis=1), mean, total / (total + SURE * np.median(total)))

    def slope(self, dark: float) -> np.ndarray:
        """Return the slope of the sky's darkness (2,): of the plane below which little of it lies.

        Light adds to the darkness, and never takes from it. The plane is an expectile, which leans on all that is dark,
        where a quantile would lean on three nodes (Newey and Powell 1987).
        """
        basis, share = np.column_stack([np.ones(len(self.sky)), self.place]), np.ones(len(self.sky))
        for _ in range(ROUNDS):
            plane = _fitted(basis, self.sky, self.sure * share)
            off = self.sky - np.sum(basis * plane, axis=1)
            far = off / max(SIGMA_OF_MAD * float(np.median(np.abs(off))), TINY)
            share = np.where(off > 0, dark, (1 - dark) / (1 + (far / SOFT) ** 2) ** 2)
        return plane[1:]


@dataclass(frozen=True)
class _Lie:
    """How frames of a set lie on the canvas.

    Attributes
    ----------
    counts : ndarray of int, shape (n,)
        Of their samples.
    between, within : ndarray of float64, shape (2, 2)
        Covariance of frames' middles, and that of places within frames.
    far, axes : ndarray of float64, shape (2,), (2, 2)
        What the darkness counts for along two directions, and these, in coordinates where a frame is round.
    alike, saddle : float
        Squared mean of frames' directions, and of twice their angles: 1 where all lie alike.
    """

    counts: np.ndarray
    between: np.ndarray
    within: np.ndarray
    far: np.ndarray
    axes: np.ndarray
    alike: float
    saddle: float

    @classmethod
    def of(cls, frame: np.ndarray, place: np.ndarray, turns: np.ndarray) -> _Lie:
        counts = np.bincount(frame, minlength=len(turns))
        there = counts > 0
        share, turned = counts[there] / len(frame), turns[there]
        middle = (
            np.stack([np.bincount(frame, at, len(turns)) for at in place.T], axis=1) / np.maximum(counts, 1)[:, None]
        )
        within = _covariance(place - middle[frame], np.full(len(frame), 1 / len(frame)))
        within += TINY * (np.trace(within) + TINY) * np.eye(2)
        between = _covariance(middle[there] - np.sum(share[:, None] * middle[there], axis=0), share)
        root = np.linalg.cholesky(within)
        ratios, axes = np.linalg.eigh(np.linalg.solve(root, np.linalg.solve(root, between).T))
        doubled = np.stack([turned[:, 0] ** 2 - turned[:, 1] ** 2, 2 * turned[:, 0] * turned[:, 1]], axis=1)
        alike, saddle = (float(np.sum(np.sum(share[:, None] * of, axis=0) ** 2)) for of in (turned, doubled))
        far = ratios**2 / (ratios**2 + SPREAD**2)
        return cls(counts, between, within, far, axes, alike, saddle)

    @property
    def by_turning(self) -> float:
        """What frames' directions tell of a tilt that stays on the sensor: from 0 to 1."""
        return ALIKE**2 / (self.alike**2 + ALIKE**2)

    @property
    def in_panels(self) -> np.ndarray:
        """What the darkness counts for by how middles spread, as a matrix for slopes: (2, 2)."""
        root = np.linalg.cholesky(self.within)
        return np.linalg.solve(root.T, (self.axes * self.far) @ self.axes.T @ root.T)

    @property
    def trust(self) -> np.ndarray:
        """What the darkness of the whole counts for beside the tilt of the frames, as a matrix for slopes: (2, 2)."""
        return self.in_panels * (1 - self.by_turning)


def _scatter(slopes: np.ndarray, turns: np.ndarray, counts: np.ndarray) -> float:
    """Return the variance of frames' slopes (n, 2), as the canvas sees them or as the sensor does: the smaller one."""
    across = slopes[:, 1] * turns[:, 0] - slopes[:, 0] * turns[:, 1]
    turned, share = np.stack([np.sum(slopes * turns, axis=1), across], axis=1), counts / np.sum(counts)
    both = (_covariance(of - np.sum(share[:, None] * of, axis=0), share) for of in (slopes, turned))
    return min(float(np.trace(one)) / 2 for one in both)


def _left_open(nodes: _Nodes, lie: _Lie, scatter: float, own: np.ndarray, dark: np.ndarray) -> LeftOpen:
    """Return what is left open, of frames to whose slopes, of such a scatter, `own` is added on average.

    Where the darkness tells the tilt, that by all of the sky might be the right one; where frames do, by the darkness.
    """
    panels = lie.in_panels
    other = (np.eye(2) - panels) @ (dark - own) + panels @ (nodes.slope(0.5) - dark)
    chosen = (1 - lie.by_turning) * np.ptp(np.sum(nodes.place * other, axis=1))
    by_frames = np.sqrt(scatter / np.count_nonzero(lie.counts)) * np.hypot(*np.ptp(nodes.place, axis=0))
    tilt = float(np.hypot(chosen, by_frames))
    apart = len(nodes.sky) / np.mean(lie.counts[lie.counts > 0])  # frames that would show as much, side by side
    by_slopes = np.sqrt(scatter / (4 * apart * max(np.trace(lie.between), TINY)))
    usual = USUAL_BOWL * abs(float(np.median(nodes.sky))) / (3 * np.trace(lie.within))
    bend = 1 / np.hypot(1 / max(by_slopes, TINY**2), 1 / max(usual, TINY**2))
    far = np.sum((nodes.place - np.mean(nodes.place, axis=0)) ** 2, axis=1)
    bend *= np.sqrt(1 + 2 * lie.saddle**2)
    bowl, corner = (float(bend * over) for over in (np.ptp(far), 2 * np.trace(lie.within)))
    return LeftOpen(lie.by_turning, float(lie.far.max()), tilt, bowl, corner)


def _covariance(places: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return weighted mean products of two coordinates, without BLAS, whose threads change last digits."""
    return np.array([[np.sum(weights * a * b) for a in places.T] for b in places.T])


def _fitted(basis: np.ndarray, values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return the weighted least-squares coefficients, as small as can be where values leave them open."""
    normal = np.array([[np.sum(weights * a * b) for b in basis.T] for a in basis.T])
    right = np.array([np.sum(weights * a * values) for a in basis.T])
    scale = 1 / np.sqrt(np.maximum(np.diag(normal), TINY))
    return scale * np.linalg.lstsq(normal * scale * scale[:, None], right * scale, rcond=TINY)[0]
