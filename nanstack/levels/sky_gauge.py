# SPDX-License-Identifier: GPL-3.0-or-later
"""What frames' planes leave open of the sky: a level, and a tilt, that all frames of a set have in common.

A tilt that stays on the sensor (the horizon's glow) and one of the sky look alike in frames that all lie alike. So the
whole is tilted by what is best known of it:

- Frames that are turned against each other, up to halves of circles, have such glows in all directions: on average they
  have none, and the whole is tilted as frames are by themselves.
- Where frames' middles spread over the canvas, a glow of each frame would run on over all of them, as no sky does: the
  darkness of the whole sky is level.
- Where they do not, as across a single panel, that would take away light that fills the frame: the whole is tilted as
  frames are by themselves.
"""

from __future__ import annotations

import numpy as np

from nanstack.levels.photometry import SIGMA_OF_MAD
from nanstack.levels.sky_samples import SkySamples

DARK = 0.02  # what lies above the plane of the darkness pulls at it by so much, what lies below by the rest
ROUNDS = 20  # of weighing by what lies above and below
SOFT = 3.0  # what is darker by more than so much of the usual difference has less and less of a say: trees, at rims
SURE = 0.2  # what samples of so much of the usual weight show is half as sure as it can be
SPREAD = 0.2  # variance of frames' middles over that within frames, at which darkness counts for half,
ALIKE = 0.1  # and so does the squared mean of frames' directions: 1 where all lie alike
TINY = 1e-9


def as_a_whole(
    planes: np.ndarray,
    samples: SkySamples,
    sky: np.ndarray,
    weights: np.ndarray,
    component: np.ndarray,
    turns: np.ndarray,
    *,
    tilts: bool,
) -> np.ndarray:
    """Return planes with what they all have in common chosen, for each set of frames that hang together.

    The mean of what is added is zero: the whole keeps its level.

    Parameters
    ----------
    planes : ndarray of float64, shape (n, 3)
        What is added to frames: offset and slopes, from the canvas's axis.
    samples : SkySamples
    sky, weights : ndarray of float64, shape (m,)
        What samples show, in one colour, and what they count for.
    component : ndarray of int, shape (n,)
        The set that each frame belongs to.
    turns : ndarray of float64, shape (n, 2)
        How frames lie on the canvas, as unit vectors.
    tilts : bool
        Whether planes may have slopes.

    Returns
    -------
    ndarray of float64, shape (n, 3)
    """
    planes = planes.copy()
    places = np.stack([samples.x, samples.y], axis=1)
    for number in np.unique(component[samples.frame]):
        mine, frames = component[samples.frame] == number, component == number
        frame, place, weight = samples.frame[mine], places[mine], weights[mine]
        if tilts:
            added = planes[frame, 0] + np.sum(place * planes[frame, 1:], axis=1)
            dark = _dark_slope(place, sky[mine] + added, weight, samples.node[mine])
            own = np.sum(weight[:, np.newaxis] * planes[frame, 1:], axis=0) / np.sum(weight)
            planes[frames, 1:] -= own + _trust(frame, place, turns) @ (dark - own)
        added = planes[frame, 0] + np.sum(place * planes[frame, 1:], axis=1)
        planes[frames, 0] -= np.sum(weight * added) / np.sum(weight)
    return planes


def _dark_slope(place: np.ndarray, sky: np.ndarray, weight: np.ndarray, node: np.ndarray) -> np.ndarray:
    """Return the slope of the sky's darkness (2,): of the plane below which little of it lies.

    Light adds to the darkness, and never takes from it. The plane is an expectile, which leans on all that is dark,
    where a quantile would lean on three nodes (Newey and Powell 1987).
    """
    total = np.bincount(node, weight)
    shown = total > 0
    total = total[shown]
    mean = [np.bincount(node, weight * values)[shown] / total for values in (*place.T, sky)]
    counts = total / (total + SURE * np.median(total))  # what few samples show is shown less surely
    basis = np.stack([np.ones_like(total), *mean[:2]], axis=1)
    off, share = mean[2], np.ones_like(total)
    for _ in range(ROUNDS):
        plane = _fitted(basis, mean[2], counts * share)
        off = mean[2] - np.sum(basis * plane, axis=1)
        far = off / max(SIGMA_OF_MAD * float(np.median(np.abs(off))), TINY)
        share = np.where(off > 0, DARK, (1 - DARK) / (1 + (far / SOFT) ** 2) ** 2)
    return plane[1:]


def _trust(frame: np.ndarray, place: np.ndarray, turns: np.ndarray) -> np.ndarray:
    """Return what the darkness of the whole counts for beside the tilt of the frames, as a matrix for slopes (2, 2)."""
    counts = np.bincount(frame, minlength=len(turns))
    there = counts > 0
    share = counts[there] / len(frame)
    middle = np.stack([np.bincount(frame, at, len(turns)) for at in place.T], axis=1) / np.maximum(counts, 1)[:, None]
    within = _covariance(place - middle[frame], np.full(len(frame), 1 / len(frame)))
    within += TINY * (np.trace(within) + TINY) * np.eye(2)
    centres = middle[there] - np.sum(share[:, np.newaxis] * middle[there], axis=0)
    root = np.linalg.cholesky(within)
    ratios, axes = np.linalg.eigh(np.linalg.solve(root, np.linalg.solve(root, _covariance(centres, share)).T))
    far = ratios**2 / (ratios**2 + SPREAD**2)
    alike = np.sum(np.sum(share[:, np.newaxis] * turns[there], axis=0) ** 2)
    in_panels = np.linalg.solve(root.T, (axes * far) @ axes.T @ root.T)
    return in_panels * alike**2 / (alike**2 + ALIKE**2)


def _covariance(places: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return weighted mean products of two coordinates, without BLAS, whose threads change last digits."""
    return np.array([[np.sum(weights * a * b) for a in places.T] for b in places.T])


def _fitted(basis: np.ndarray, values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return the weighted least-squares coefficients, as small as can be where values leave them open."""
    normal = np.array([[np.sum(weights * a * b) for b in basis.T] for a in basis.T])
    right = np.array([np.sum(weights * a * values) for a in basis.T])
    scale = 1 / np.sqrt(np.maximum(np.diag(normal), TINY))
    return scale * np.linalg.lstsq(normal * scale * scale[:, None], right * scale, rcond=TINY)[0]
