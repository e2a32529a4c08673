# SPDX-License-Identifier: GPL-3.0-or-later
"""From two star lists to the transform between their frames.

A similarity in the plane is ``w = a z + b`` with complex numbers: two stars of one list and two of the other give
``a`` and ``b``. All such pairs of similar length vote; true pairs agree in turn and place, chance ones scatter.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from nanstack.survey.stars import Stars

VOTING_STARS = 40  # brightest of each list; at 40 % shift in x and y a third of them is common
MAX_SCALE_CHANGE = 0.06  # the frames of a group come from one telescope
MIN_PAIR_PX = 40.0  # closer pairs say little about the turn
VOTE_PX = 4.0  # side of a voting cell in the frame
VOTE_RAD = 0.02
CANDIDATES = 8  # best-voted cells that are tried
MATCH_PX = 3.0  # a star is matched within this distance, before refinement
MIN_MATCHES = 5
ENOUGH = 0.5  # of the shorter list matched: no better transform can exist
AFFINE_MATCHES = 30  # below, a similarity: fewer parameters extrapolate better
MIN_MATCH_PX = 0.3
CLIP_SIGMA = 3.5
CENTROID_FLOOR_PX = 0.02  # optics and sampling: no star is known better
MAX_ROUNDS = 12
TRANSFORM_DIGITS = 9
MAX_PLACE_PX = 1e5  # of a star from the first pixel: no frame is larger, and the votes' cells can be numbered


class MatchError(ValueError):
    """The two star lists could not be matched; the message says why."""


@dataclass(frozen=True)
class Match:
    """A transform and how well it holds.

    Attributes
    ----------
    transform : ndarray of float64, shape (2, 3)
        Maps a reference pixel (x, y, 1) to a pixel of the frame.
    rms : float
        Root mean square distance of the matched stars after the fit, in pixels.
    stars : int
        Number of matched stars the fit rests on.
    """

    transform: np.ndarray
    rms: float
    stars: int


def match_stars(reference: Stars, frame: Stars, shape: tuple[int, int]) -> Match:
    """Find the transform from the reference's pixels to the frame's.

    Any rotation and shift, a scale change up to 5 %; no mirroring.

    Parameters
    ----------
    reference, frame : Stars
        Brightest first.
    shape : (int, int)
        Height and width of the frames in pixels.

    Returns
    -------
    Match

    Raises
    ------
    MatchError
        Too few stars, or no transform on which enough of them agree.
    ValueError
        Places or errors that are no numbers, or lie farther than `MAX_PLACE_PX` away.
    """
    for whose, stars in (("the reference", reference), ("the frame", frame)):
        _check_stars(whose, stars)
        if len(stars) < MIN_MATCHES:
            raise MatchError(f"{len(stars)} stars found in {whose}, {MIN_MATCHES} are needed")
    z, w = reference.x + 1j * reference.y, frame.x + 1j * frame.y
    centre = (shape[1] - 1) / 2 + 1j * (shape[0] - 1) / 2
    best = None
    for candidate in _candidates(z[:VOTING_STARS], w[:VOTING_STARS], centre):
        fit = _refine(candidate, z, w, (reference.error, frame.error))
        if fit is None or fit.stars < _chance_matches(z, w, fit, shape):
            continue
        if best is None or fit.stars > best.stars:
            best = fit
        if best.stars > ENOUGH * min(len(z), len(w)):
            break
    if best is None:
        raise MatchError(
            f"none of the transforms tried brings {MIN_MATCHES} of its {len(frame)} stars onto the reference's"
        )
    return best


def _check_stars(whose: str, stars: Stars) -> None:
    for name in ("x", "y", "error"):
        values = np.asarray(getattr(stars, name))
        if values.shape != (len(stars),):
            raise ValueError(f"{name} of the stars of {whose} must be {(len(stars),)}, not {values.shape}")
        wrong = ~(np.abs(values) <= MAX_PLACE_PX)
        if wrong.any():
            raise ValueError(f"{name} of a star of {whose} is {values[wrong][0]}")


def fit_affine(z: np.ndarray, w: np.ndarray) -> tuple[np.ndarray, float]:
    """Fit the affine transform that takes points z to w by least squares.

    Parameters
    ----------
    z, w : ndarray of complex, shape (n,)
        Points as x + 1j y, at least three of them.

    Returns
    -------
    transform : ndarray of float64, shape (2, 3)
    rms : float
        Root mean square distance left, in the unit of w.
    """
    terms = _terms(z, affine=True)
    coefficients = np.linalg.lstsq(terms, w, rcond=None)[0]
    return _matrix(coefficients), float(np.sqrt(np.mean(np.abs(w - terms @ coefficients) ** 2)))


def _pairs(z: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return first star, difference and log length of all ordered pairs that are not too close."""
    first, second = np.nonzero(~np.eye(len(z), dtype=bool))
    step = z[second] - z[first]
    apart = np.abs(step) > MIN_PAIR_PX
    return z[first][apart], step[apart], np.log(np.abs(step[apart]))


def _candidates(z: np.ndarray, w: np.ndarray, centre: complex) -> list[np.ndarray]:
    """Return coefficients [b, a] of the similarities with most votes, best first.

    Each vote is a turn and where the reference's centre lands; a length alone would not tell.
    """
    z_first, z_step, z_length = _pairs(z)
    w_first, w_step, w_length = _pairs(w)
    half = z_step.real + 1e-9 * z_step.imag > 0  # each pair once; its reverse comes from the other list
    z_first, z_step, z_length = z_first[half], z_step[half], z_length[half]
    order = np.argsort(w_length)
    w_first, w_step, w_length = w_first[order], w_step[order], w_length[order]
    lowest = np.searchsorted(w_length, z_length - MAX_SCALE_CHANGE)
    number = np.searchsorted(w_length, z_length + MAX_SCALE_CHANGE) - lowest
    if not number.sum():
        return []
    mine = np.repeat(np.arange(len(z_step)), number)
    theirs = np.arange(number.sum()) - np.repeat(np.cumsum(number) - number, number) + np.repeat(lowest, number)
    a = w_step[theirs] / z_step[mine]
    landing = w_first[theirs] + a * (centre - z_first[mine])
    peaks = _busiest_cells(np.angle(a) / VOTE_RAD, landing.real / VOTE_PX, landing.imag / VOTE_PX)
    found = [(_median(a[votes]), _median(landing[votes])) for votes in peaks]
    return [np.array([lands - turn * centre, turn]) for turn, lands in found]


def _median(values: np.ndarray) -> complex:
    return complex(np.median(values.real), np.median(values.imag))


def _busiest_cells(*axes: np.ndarray) -> list[np.ndarray]:
    """Return, for the cells with most votes, the indices of their votes.

    Two grids, half a cell apart along every axis: a true peak that one of them cuts, the other holds whole.
    """
    peaks = []
    for offset in (0.0, 0.5):
        cell = np.stack([np.floor(axis + offset).astype(np.int64) for axis in axes])
        cell -= cell.min(axis=1, keepdims=True)
        key = np.ravel_multi_index(tuple(cell), tuple(cell.max(axis=1) + 1))
        _, inverse, votes = np.unique(key, return_inverse=True, return_counts=True)
        for busiest in np.argsort(-votes, kind="stable")[:CANDIDATES]:
            peaks.append((votes[busiest], np.flatnonzero(inverse == busiest)))
    peaks.sort(key=lambda peak: -peak[0])
    return [members for _, members in peaks[:CANDIDATES]]


def _refine(
    coefficients: np.ndarray, z: np.ndarray, w: np.ndarray, errors: tuple[np.ndarray, np.ndarray]
) -> Match | None:
    """Fit by least squares to all matched stars, again and again without the outliers; None where too few match.

    A faint star counts for less, by the errors of both positions; what is an outlier follows from the median distance,
    which a few wrong pairs do not move.
    """
    radius = 2 * MATCH_PX
    for _ in range(MAX_ROUNDS):
        distance, partner = _nearest(_map(coefficients, z), w)
        mine = np.flatnonzero(distance < radius)
        mine = mine[_closest_only(partner[mine], distance[mine])]
        if len(mine) < MIN_MATCHES:
            return None
        theirs = partner[mine]
        terms = _terms(z[mine], affine=len(mine) >= AFFINE_MATCHES)
        weight = 1 / np.sqrt(errors[0][mine] ** 2 + errors[1][theirs] ** 2 + CENTROID_FLOOR_PX**2)
        coefficients = np.linalg.lstsq(weight[:, None] * terms, weight * w[theirs], rcond=None)[0]
        residual = np.abs(w[theirs] - terms @ coefficients)
        if abs(_radius(residual) - radius) < 1e-3:
            break
        radius = _radius(residual)
    if not 1 - MAX_SCALE_CHANGE < abs(coefficients[1]) < 1 + MAX_SCALE_CHANGE:
        return None
    return Match(_matrix(coefficients), float(np.sqrt(np.mean(residual**2))), len(mine))


def _radius(residual: np.ndarray) -> float:
    """Return how near to its partner a star must be to count as matched, in pixels."""
    sigma = np.median(residual) / 1.177  # per axis, for distances that follow Rayleigh's law
    return float(np.clip(CLIP_SIGMA * sigma, MIN_MATCH_PX, MATCH_PX))


def _closest_only(partner: np.ndarray, distance: np.ndarray) -> np.ndarray:
    """Return the entries that are the closest to their partner: a star is matched once."""
    order = np.lexsort((distance, partner))
    return np.sort(order[np.unique(partner[order], return_index=True)[1]])


def _nearest(z: np.ndarray, w: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return, for each z, the distance to the nearest w and which it is; a few hundred of each need no search tree."""
    squares = np.square(z.real[:, None] - w.real) + np.square(z.imag[:, None] - w.imag)
    partner = squares.argmin(axis=1)
    return np.sqrt(squares[np.arange(len(z)), partner]), partner


def _terms(z: np.ndarray, affine: bool) -> np.ndarray:
    """Return the design matrix; the conjugate's term makes a similarity affine (shear, unequal scales)."""
    columns = [np.ones_like(z), z, z.conj()] if affine else [np.ones_like(z), z]
    return np.stack(columns, axis=1)


def _map(coefficients: np.ndarray, z: np.ndarray) -> np.ndarray:
    return _terms(z, affine=len(coefficients) == 3) @ coefficients


def _matrix(coefficients: np.ndarray) -> np.ndarray:
    """Write the complex form as a real 2 x 3 matrix, rounded: what is below differs from BLAS to BLAS."""
    origin, along_x, along_y = _map(coefficients, np.array([0, 1, 1j], dtype=complex))
    columns = np.array([along_x - origin, along_y - origin, origin])
    return np.stack([columns.real, columns.imag]).round(TRANSFORM_DIGITS)


def _chance_matches(z: np.ndarray, w: np.ndarray, fit: Match, shape: tuple[int, int]) -> float:
    """Return how many matches a wrong transform would often reach, given how densely the frame's stars lie."""
    x, y = fit.transform @ np.stack([z.real, z.imag, np.ones(len(z))])
    inside = np.count_nonzero((x >= 0) & (x < shape[1]) & (y >= 0) & (y < shape[0]))
    expected = inside * len(w) * np.pi * max(CLIP_SIGMA * fit.rms, MIN_MATCH_PX) ** 2 / (shape[0] * shape[1])
    return expected + 4 * np.sqrt(expected) + 3
