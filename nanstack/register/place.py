# SPDX-License-Identifier: GPL-3.0-or-later
"""Where a group of registered frames lies on the sky.

The frames of a group are registered among themselves, on a sphere of their own: how that sphere is turned against the
sky, whether it is its mirror image, and by how much its angles are too large or too small, is one question for all of
them. The answers come from the frames' own solutions, from a solver, from a catalogue, or from the header's pointing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np
import scipy

from nanstack.register.camera import View, attitude_between, direction_of, local_axes

if TYPE_CHECKING:
    from astropy.wcs import WCS

SAMPLES = 3  # pixels along a side of a frame where its solution is looked at
AGREE_PX = 8.0  # solutions that are off by 2.5 px each still agree
EXACT_PX = 1.0  # nearer than this, solutions are not told apart
TRIALS = 200  # of the solutions, and as many pairs of them: more find no better one
VOTERS = 500
FIT_ROUNDS = 4
REFINEMENTS = 6
SAME_SCALE = 0.02
LEAST_PAIRS = 5
POINTING_OFF = 0.2  # in radians: a header that points farther from most others is wrong


@dataclass(frozen=True)
class Place:
    """How the sphere of a group is put onto the sky.

    Attributes
    ----------
    matrix : ndarray of float64, shape (3, 3)
        Orthogonal: a direction d of the group's sphere, after its angles are corrected, is ``matrix @ d`` in ICRS. Its
        determinant is -1 where the pictures show the sky mirrored, as those do whose first row is the lowest.
    scale : float
        Angles on the sky, in angles of the group's sphere: what the focal length in the headers was off by.
    how : str
        'own solutions', 'solve-field', 'ASTAP', 'catalogue', 'pointing', or 'unknown': the sphere is as it was.
    approximate : bool
        The place is no better than the header's pointing, or in doubt, or not known at all.
    matched : int
        How many frames' solutions, or stars, agree on it.
    middle : ndarray of float64, shape (3,)
        The direction of the group's sphere that its angles are corrected around.
    """

    matrix: np.ndarray
    scale: float
    how: str
    approximate: bool
    matched: int
    middle: np.ndarray = field(default_factory=lambda: np.array([1.0, 0.0, 0.0]))


def turned(view: View, place: Place) -> View:
    """Return a view of a group's sphere as one of the sky.

    Its camera's focal length is corrected; what lies away from the group's middle moves outwards along great circles,
    as far as the angles grow.
    """
    if place.scale != 1:
        camera = replace(view.camera, focal=view.camera.focal / place.scale, radial=view.camera.radial / place.scale**2)
        across = np.cross(place.middle, view.pointing)
        sine = np.linalg.norm(across)
        angle = np.arctan2(sine, place.middle @ view.pointing)
        turn = across / max(sine, 1e-300) * (place.scale - 1) * angle
        outwards = scipy.spatial.transform.Rotation.from_rotvec(turn).as_matrix()
        view = View(camera, view.attitude @ outwards.T, view.scale)
    return replace(view, attitude=view.attitude @ place.matrix.T)


def stretched(directions: np.ndarray, middle: np.ndarray, scale: float | np.ndarray) -> np.ndarray:
    """Return directions (..., 3) with their angles from a middle multiplied, by one factor or by one each."""
    ahead = directions @ middle
    aside = directions - ahead[..., None] * middle
    sine = np.linalg.norm(aside, axis=-1)
    angle = scale * np.arctan2(sine, ahead)
    aside = aside / np.maximum(sine, 1e-300)[..., None]
    return np.cos(angle)[..., None] * middle + np.sin(angle)[..., None] * aside


def middle_of(views: Sequence[View]) -> np.ndarray:
    """Return the direction (3,) of the middle of what views look at."""
    total = np.sum([view.pointing for view in views], axis=0)
    length = np.linalg.norm(total)
    return total / length if length > 1e-6 * len(views) else views[0].pointing


def unknown(views: Sequence[View]) -> Place:
    """Return the place of a group of which nothing is known: it stays on its own sphere."""
    return Place(np.eye(3), 1.0, "unknown", True, 0, middle_of(views))


# --- by solutions of frames -------------------------------------------------------------------------------------------


def place_by_solutions(
    views: Sequence[View], solutions: Sequence[WCS | None], middle: np.ndarray, how: str = "own solutions"
) -> Place | None:
    """Return the place that most solutions of frames agree on.

    Each solution, and each of many pairs of them, proposes a place; the one that most frames find within some pixels
    of where their own solution says is fitted to those frames, again and again (after RANSAC, Fischler & Bolles 1981).

    Parameters
    ----------
    views : sequence of View
        On the group's sphere.
    solutions : sequence of astropy.wcs.WCS or None
        Of these views' pixels.
    middle : ndarray, shape (3,)
        Of the group: what its angles are corrected around.
    how : str
        Whose solutions they are.

    Returns
    -------
    Place or None
        None where there is no solution. Approximate where there are several, and no two of them agree.
    """
    own, sky, focal = _sampled(views, solutions)
    if not len(own):
        return None
    trials = [fitted(_points(own[chosen]), _points(sky[chosen]), middle) for chosen in _trials(len(own))]
    best = max(
        (fit for matrices, scales in trials for fit in zip(matrices, scales, strict=True)),
        key=lambda fit: _votes(_residuals(fit, own, sky, focal, middle)),
    )
    for _ in range(REFINEMENTS):
        residual = _residuals(best, own, sky, focal, middle)
        near = residual < AGREE_PX
        near &= residual <= np.clip(4 * np.median(residual[near]), EXACT_PX, AGREE_PX) if near.any() else near
        if not near.any():
            return None
        best = fitted(own[near].reshape(-1, 3), sky[near].reshape(-1, 3), middle)
    agreeing = int(near.sum())
    return Place(best[0], float(best[1]), how, agreeing == 1 < len(own), agreeing, middle)


def place_by_pairs(own: np.ndarray, sky: np.ndarray, focal: float, middle: np.ndarray, how: str) -> Place | None:
    """Return the place by stars whose directions are known; None where fewer than `LEAST_PAIRS` agree.

    Parameters
    ----------
    own, sky : ndarray, shape (n, 3)
        Their directions on the group's sphere, and on the sky; some may belong to another star.
    focal : float
        Pixels a radian.
    middle : ndarray, shape (3,)
        Of the group.
    how : str
        Who knows them.
    """
    near = np.ones(len(own), dtype=bool)
    for _ in range(REFINEMENTS):
        if near.sum() < LEAST_PAIRS:
            return None
        fit = fitted(own[near], sky[near], middle)
        residual = _residuals(fit, own[:, None], sky[:, None], focal, middle)
        near = residual <= np.maximum(4 * np.median(residual[near]), EXACT_PX)
    return Place(fit[0], float(fit[1]), how, False, int(near.sum()), middle)


def scale_of_solutions(views: Sequence[View], solutions: Sequence[WCS | None]) -> float | None:
    """Return by how much angles on the sky are larger than on the group's sphere, as most solutions have it.

    None where there are fewer than three, or where they do not agree to 2 %: one may be of another telescope.
    """
    own, sky, _ = _sampled(views, solutions)
    if len(own) < 3:
        return None
    own, sky = (np.linalg.norm(side - side.mean(axis=1, keepdims=True), axis=(1, 2)) for side in (own, sky))
    ratio = float(np.median(sky / own))
    return ratio if np.mean(np.abs(np.log(sky / own / ratio)) < SAME_SCALE) > 0.5 else None


def _sampled(views: Sequence[View], solutions: Sequence[WCS | None]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return directions on the group's sphere and on the sky, (frames, samples, 3), and pixels a radian, (frames,)."""
    own, sky, focal = [], [], []
    solved = [pair for pair in zip(views, solutions, strict=True) if pair[1] is not None]
    for view, solution in solved[:: -(-len(solved) // VOTERS) or 1]:
        height, width = view.camera.shape
        x, y = np.meshgrid(np.linspace(0, width - 1, SAMPLES), np.linspace(0, height - 1, SAMPLES))
        longitude, latitude = solution.celestial.pixel_to_world_values(x.ravel(), y.ravel())
        there = _icrs(solution, np.stack([direction_of(*place) for place in zip(longitude, latitude, strict=True)]))
        here = view.directions(x.ravel(), y.ravel())
        if np.isfinite(there).all() and np.isfinite(here).all():
            own.append(here)
            sky.append(there)
            focal.append(view.camera.focal * view.scale)
    return np.reshape(own, (-1, SAMPLES**2, 3)), np.reshape(sky, (-1, SAMPLES**2, 3)), np.array(focal)


def _icrs(solution: WCS, directions: np.ndarray) -> np.ndarray:
    """Return directions of a solution's own system, FK4, galactic or of a date, in ICRS."""
    from astropy.coordinates import SkyCoord
    from astropy.wcs.utils import wcs_to_celestial_frame

    system = wcs_to_celestial_frame(solution)
    if system.name == "icrs" or (system.name == "fk5" and system.equinox.jyear == 2000):  # one to 0.03 arcseconds
        return directions
    places = SkyCoord(*directions.T, representation_type="cartesian", frame=system).icrs.cartesian
    return places.xyz.value.T


def _trials(count: int) -> list[np.ndarray]:
    """Return what proposes a place: frames alone, and pairs of them, which fix the turn of a wide group better."""
    rng = np.random.default_rng(0)
    alone = rng.permutation(count)[:TRIALS]
    pairs = rng.integers(0, count, (TRIALS if count > 2 else 0, 2))
    return [alone[:, None], pairs[pairs[:, 0] != pairs[:, 1]]]


def _points(samples: np.ndarray) -> np.ndarray:
    """Return the samples of each trial's frames, (trials, frames, samples, 3), in one row."""
    return samples.reshape(len(samples), samples.shape[1] * samples.shape[2], 3)


def fitted(own: np.ndarray, sky: np.ndarray, middle: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the matrix, of either hand, and the scale that bring directions onto the sky, by least squares.

    See `Place` for what they mean; each direction of the group's sphere belongs to one of the sky.

    Parameters
    ----------
    own, sky : ndarray, shape (..., n, 3)
    middle : ndarray, shape (3,)

    Returns
    -------
    matrix : ndarray of float64, shape (..., 3, 3)
    scale : ndarray of float64, shape (...)
    """
    fits = [_fitted_of_hand(own, sky, middle, mirrored) for mirrored in (False, True)]
    off = [
        np.sum((stretched(own, middle, scale[..., None]) @ matrix.swapaxes(-1, -2) - sky) ** 2, axis=(-2, -1))
        for matrix, scale in fits
    ]
    mirrored = off[1] < off[0]
    (matrix, scale), (other_matrix, other_scale) = fits
    return np.where(mirrored[..., None, None], other_matrix, matrix), np.where(mirrored, other_scale, scale)


def _fitted_of_hand(
    own: np.ndarray, sky: np.ndarray, middle: np.ndarray, mirrored: bool
) -> tuple[np.ndarray, np.ndarray]:
    scale, even = np.ones(own.shape[:-2]), np.ones(own.shape[-2])
    for _ in range(FIT_ROUNDS):
        here = stretched(own, middle, scale[..., None])
        there = sky @ attitude_between(sky, here, even, mirrored)
        here, there = (side - side.mean(axis=-2, keepdims=True) for side in (here, there))
        growth = np.sum(here * there, axis=(-2, -1)) / np.sum(here**2, axis=(-2, -1))
        scale = scale * np.where((growth > 0.1) & (growth < 10), growth, 1.0)
    return attitude_between(sky, stretched(own, middle, scale[..., None]), even, mirrored), scale


def _residuals(
    fit: tuple[np.ndarray, float], own: np.ndarray, sky: np.ndarray, focal: np.ndarray | float, middle: np.ndarray
) -> np.ndarray:
    """Return how far each frame's solution is from a place, in its pixels, (frames,): the rms over its samples."""
    matrix, scale = fit
    apart = stretched(own, middle, scale) @ matrix.T - sky
    return np.sqrt(np.mean(np.sum(apart**2, axis=-1), axis=-1)) * focal / scale


def _votes(residual: np.ndarray) -> float:
    """Return how well frames agree: their number, those in the middle of it counting for more."""
    return float(np.sum(np.maximum(1 - (residual / AGREE_PX) ** 2, 0)))


# --- by the header's pointing -----------------------------------------------------------------------------------------


def place_by_pointing(
    views: Sequence[View],
    pointings: Sequence[tuple[float, float] | None],
    middle: np.ndarray,
    *,
    bottom_up: bool = False,
) -> Place | None:
    """Return the place by where the mount meant to look: north up, east to the left, in the frame of the middle.

    Parameters
    ----------
    views : sequence of View
    pointings : sequence of (float, float) or None
        RA and Dec in degrees, ICRS, of these views.
    middle : ndarray, shape (3,)
    bottom_up : bool
        Whether the first row of frames is the lowest: no pointing tells the sky from its mirror image.

    Returns
    -------
    Place or None
        None where no header says.
    """
    told = [(view, direction_of(*place)) for view, place in zip(views, pointings, strict=True) if place is not None]
    if not told:
        return None
    usual = np.median([direction for _, direction in told], axis=0)
    told = [pair for pair in told if np.linalg.norm(pair[1] - usual) < POINTING_OFF]
    if not told:
        return None
    there = sum(direction for _, direction in told)
    there /= np.linalg.norm(there)
    nearest = max(told, key=lambda pair: pair[0].pointing @ middle)[0]
    here = _at_pointing(nearest.attitude, sum(view.pointing for view, _ in told))
    east, north = local_axes(there)
    matrix = np.stack([-east, north if bottom_up else -north, there]).T @ here
    return Place(matrix, 1.0, "pointing", True, len(told), middle)


def _at_pointing(attitude: np.ndarray, direction: np.ndarray) -> np.ndarray:
    """Return an attitude turned the short way, so that its axis meets a direction."""
    direction = direction / np.linalg.norm(direction)
    across = np.cross(attitude[2], direction)
    sine = np.linalg.norm(across)
    angle = np.arctan2(sine, attitude[2] @ direction)
    turn = across / max(sine, 1e-300) * angle
    return attitude @ scipy.spatial.transform.Rotation.from_rotvec(turn).as_matrix().T
