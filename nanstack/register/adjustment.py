# SPDX-License-Identifier: GPL-3.0-or-later
"""The adjustment: all frames' attitudes and scales, all cameras' optics and all stars' places, solved at once.

Robust sparse least squares (bundle adjustment, as of panoramas; Triggs et al. 2000): rounds of Gauss and Newton, whose
linear steps are solved by conjugate gradients. What is measured are pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

import numpy as np
import scipy

from nanstack.register.camera import Camera, View, straightened
from nanstack.register.regions import Regions, moves
from nanstack.register.resection import Slopes, pixels_at, rotation, slopes

SCALE_SIGMA = 0.003  # of a frame against its camera: heat and focus
BEND_SIGMA_PX = 10.0  # of a distortion in the corner, before the stars have a say
NO_BEND_PX = 1e-6  # where none is looked for
CENTROID_FLOOR_PX = 0.05  # optics and sampling: no star is known better
SOFT_SIGMA = 3.0  # from about here on a star counts for less (Cauchy's loss)
ROUGH, FINE = 1e-2, 1e-4  # tolerances of a linear step
MOST_STEPS = 400
AT_ONCE = 200_000  # sightings: what is known of each by the way takes 700 bytes
ENTRIES = 16 * AT_ONCE  # of a matrix at once: by the way each takes 16 bytes
ASTRAY = 3.0  # a step that makes sightings' usual distance so many times as large was too long,
MOST_AGAIN = 3  # steps of a round
LONG = 1.02  # and so many times, long enough for its straight way to leave that of the pixels


@dataclass(frozen=True)
class Sky:
    """All that an adjustment finds out.

    Attributes
    ----------
    attitude : ndarray of float64, shape (frames, 3, 3)
    scale : ndarray of float64, shape (frames,)
        Logarithm of each frame's scale against its camera.
    camera : ndarray of int, shape (frames,)
        Number of each frame's camera.
    focal : ndarray of float64, shape (cameras,)
        Logarithm of the focal length in pixels.
    bend : ndarray of float64, shape (cameras,)
        How far the distortion moves the corner, in pixels.
    shapes : ndarray of int, shape (cameras, 2)
    """

    attitude: np.ndarray
    scale: np.ndarray
    camera: np.ndarray
    focal: np.ndarray
    bend: np.ndarray
    shapes: np.ndarray

    @property
    def corner(self) -> np.ndarray:
        """Distance of the corner from the middle in pixels, shape (cameras,)."""
        return np.hypot(*(self.shapes.T / 2))

    @property
    def radial_unit(self) -> np.ndarray:
        """The distortion that moves the corner by one pixel, as `Camera` has it, shape (cameras,)."""
        return np.exp(2 * self.focal) / self.corner**3

    @property
    def radial(self) -> np.ndarray:
        """The distortion as `Camera` has it, shape (cameras,)."""
        return self.bend * self.radial_unit

    @property
    def pixel(self) -> np.ndarray:
        """Angle of a pixel of each frame in radians, shape (frames,)."""
        return np.exp(-self.focal[self.camera] - self.scale)

    def view(self, frame: int) -> View:
        """Return the view of one frame."""
        number = self.camera[frame]
        shape = tuple(self.shapes[number].tolist())
        camera = Camera(shape, float(np.exp(self.focal[number])), float(self.radial[number]))
        return View(camera, self.attitude[frame], float(np.exp(self.scale[frame])))


@dataclass(frozen=True)
class Sightings:
    """Stars as frames saw them.

    Attributes
    ----------
    frame, star : ndarray of int, shape (n,)
        Numbers.
    x, y, sigma : ndarray of float64, shape (n,)
        Place in pixels, and its standard error.
    flux : ndarray of float64, shape (n,)
    """

    frame: np.ndarray
    star: np.ndarray
    x: np.ndarray
    y: np.ndarray
    sigma: np.ndarray
    flux: np.ndarray

    def part(self, which: slice) -> Sightings:
        """Return some of them."""
        return Sightings(*(getattr(self, field.name)[which] for field in fields(self)))

    def of_tracks(self, track: np.ndarray) -> Sightings:
        """Return those that are in a track (0 and above), with its number for their star."""
        known = track >= 0
        kept = (axis[known] for axis in (self.frame, track, self.x, self.y, self.sigma, self.flux))
        return Sightings(*kept)


@dataclass(frozen=True)
class Prior:
    """What is known of the cameras beforehand.

    Attributes
    ----------
    focal, sigma : ndarray of float64, shape (cameras,)
        Logarithm of the focal length, and how well it is known.
    bends : ndarray of bool, shape (cameras,)
        Whether a distortion is looked for.
    """

    focal: np.ndarray
    sigma: np.ndarray
    bends: np.ndarray


def adjusted(
    sky: Sky, stars: np.ndarray, seen: Sightings, prior: Prior, tolerances: Sequence[float], soft: bool = True
) -> tuple[Sky, np.ndarray]:
    """Bring a sky and the directions of its stars (m, 3) into agreement with what was seen.

    There are as many rounds as tolerances; each is solved that far only: the next one goes on from there. A step that
    leads astray, as a long one may where a focal length is far from what its header tells, is not taken; after one that
    leads a little off, the round goes on. Where it is `soft`, stars that are far off count for little: not so while
    frames are still to come together, when it is their places that are off.
    """
    off = _usual_distance(sky, stars, seen)
    for tolerance in tolerances:
        for _ in range(MOST_AGAIN):
            stepped = _stepped(sky, stars, seen, prior, tolerance, soft)
            before, off = off, _usual_distance(*stepped, seen)
            if off > ASTRAY * before:
                return sky, stars
            sky, stars = stepped
            if off < LONG * before:
                break
    return sky, stars


def _usual_distance(sky: Sky, stars: np.ndarray, seen: Sightings) -> float:
    """Return how far sightings usually are from where a sky has their stars, in pixels."""
    return float(np.median(distances(sky, stars, seen)))


def distances(sky: Sky, stars: np.ndarray, seen: Sightings) -> np.ndarray:
    """Return how far each sighting is from where the sky has its star, in pixels."""
    off = np.empty(len(seen.x))
    for first in range(0, len(off), AT_ONCE):
        part = seen.part(slice(first, first + AT_ONCE))
        x, y = pixels_at(np.take(stars.T, part.star, axis=1), *_cameras_at(sky, part.frame))
        off[first : first + AT_ONCE] = np.hypot(part.x - x, part.y - y)
    return off


def directions_of(sky: Sky, frame: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Return the directions (n, 3) that pixels of frames show."""
    attitude, focal, radial, middle = _cameras_at(sky, frame)
    across, down = (x - middle[0]) / focal, (y - middle[1]) / focal
    straight = straightened(np.hypot(across, down), radial)
    across, down = across * straight, down * straight
    length = np.sqrt(across**2 + down**2 + 1)
    return np.stack([(across * a + down * b + c) / length for a, b, c in attitude.transpose(1, 0, 2)], axis=1)


def _cameras_at(sky: Sky, frame: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return attitude (3, 3, n), focal length, distortion and middle (2, n) of the frames of sightings."""
    camera = sky.camera[frame]
    attitude = np.take(sky.attitude.transpose(1, 2, 0), frame, axis=2)
    middle = (sky.shapes[:, ::-1].T - 1) / 2
    return attitude, np.exp(sky.focal[camera] + sky.scale[frame]), sky.radial[camera], np.take(middle, camera, axis=1)


def mean_directions(directions: np.ndarray, star: np.ndarray) -> np.ndarray:
    """Return the mean direction of each star."""
    sums = np.stack([np.bincount(star, axis) for axis in directions.T], axis=1)
    return sums / np.linalg.norm(sums, axis=1, keepdims=True)


def soft_weights(off: np.ndarray, sigma: np.ndarray) -> np.ndarray:
    """Return what sightings count for by their distances, in pixels: less, the farther they are off."""
    relative = off / sigma
    usual = max(float(np.median(relative)) / 1.177, 1.0)
    return 1 / (1 + (relative / (SOFT_SIGMA * usual)) ** 2)


def _stepped(
    sky: Sky, stars: np.ndarray, seen: Sightings, prior: Prior, tolerance: float, soft: bool
) -> tuple[Sky, np.ndarray]:
    """Return sky and stars after one round."""
    axes = tangent_axes(stars)
    matrix, wanted = _equations(sky, stars, seen, axes, prior, soft)
    side = float(np.median(np.min(sky.shapes, axis=1)[sky.camera] * sky.pixel))
    together = moves(sky.attitude, side, len(sky.focal), stars, axes)
    return _moved(sky, stars, axes, solved(matrix, wanted, tolerance, together))


def bend_sigmas(sky: Sky, stars: np.ndarray, seen: Sightings, prior: Prior) -> np.ndarray:
    """Return how well the stars tell each camera's distortion: a standard error in pixels at the corner.

    What counts is the part of the distortion's effect that nothing else can bring about (Frisch, Waugh and Lovell);
    a focal length that headers do not tell could, but it matters little which of the two does.
    """
    told = replace(prior, sigma=np.full(len(prior.sigma), SCALE_SIGMA))
    matrix, wanted = _equations(sky, stars, seen, tangent_axes(stars), told)
    usual = max(float(np.median(np.abs(wanted))) / 0.6745, 1e-3)
    sigmas = []
    for camera in range(len(sky.focal)):
        own = np.flatnonzero(matrix.indices == 4 * len(sky.scale) + 2 * camera + 1)
        entries, effect = matrix.data[own], np.zeros(matrix.shape[0])
        effect[np.searchsorted(matrix.indptr, own, side="right") - 1] = entries
        matrix.data[own] = 0  # the others' alone: a copy would take as much memory again
        alone = effect - matrix @ solved(matrix, effect, ROUGH)
        matrix.data[own] = entries
        sigmas.append(usual / max(float(np.sqrt(np.sum(alone**2))), 1e-12))
    return np.array(sigmas)


def solved(
    matrix: scipy.sparse.csr_array, wanted: np.ndarray, tolerance: float, together: scipy.sparse.csr_array | None = None
) -> np.ndarray:
    """Solve sparse linear equations by least squares, each unknown in a unit of its own, by conjugate gradients.

    CGLS (Hestenes and Stiefel 1952; Bjoerck 1996, 7.4). SciPy's LSMR takes its norms from BLAS, whose threads make
    results depend on their number, and spin while they wait: that is twice the processor time.

    Parameters
    ----------
    matrix : scipy.sparse.csr_array, shape (m, n)
    wanted : ndarray, shape (m,)
    tolerance : float
        By how much the gradient is to shrink.
    together : scipy.sparse.csr_array, shape (n, k), optional
        What steps of regions make of the unknowns: with these, a solution of many regions takes few rounds.
    """
    norms = _norms(matrix)
    scale = 1 / np.where(norms > 0, norms, 1)
    regions = None if together is None else Regions.of_equations(together, matrix, scale)
    transposed = matrix.T
    found, left = np.zeros(matrix.shape[1]), wanted
    gradient = scale * (transposed @ left)
    direction = gradient if regions is None else gradient + regions(gradient)
    along, enough = np.sum(gradient * direction), tolerance**2 * np.sum(gradient**2)
    for _ in range(MOST_STEPS):
        if np.sum(gradient**2) <= enough:
            break
        effect = matrix @ (scale * direction)
        length = along / np.sum(effect**2)
        found, left = found + length * direction, left - length * effect
        gradient = scale * (transposed @ left)
        eased = gradient if regions is None else gradient + regions(gradient)
        before, along = along, np.sum(gradient * eased)
        direction = eased + along / before * direction
    return scale * found


def _norms(matrix: scipy.sparse.csr_array) -> np.ndarray:
    """Return the root of the sum of squares of each column's entries."""
    squares = np.zeros(matrix.shape[1])
    for first in range(0, matrix.nnz, ENTRIES):
        part = slice(first, first + ENTRIES)
        squares += np.bincount(matrix.indices[part], matrix.data[part] ** 2, len(squares))
    return np.sqrt(squares)


def tangent_axes(stars: np.ndarray) -> np.ndarray:
    """Return two directions across each star's: (2, 3, m)."""
    least = np.eye(3)[np.abs(stars).argmin(axis=1)]
    one = np.cross(stars, least)
    one /= np.linalg.norm(one, axis=1, keepdims=True)
    return np.stack([one.T, np.cross(stars, one).T])


def _equations(
    sky: Sky, stars: np.ndarray, seen: Sightings, axes: np.ndarray, prior: Prior, soft: bool = True
) -> tuple[scipy.sparse.csr_array, np.ndarray]:
    """Return the linear equations of a round, each divided by its standard error, and their right sides."""
    count, root = len(seen.x), 1 / seen.sigma
    if soft:
        root = root * np.sqrt(soft_weights(distances(sky, stars, seen), seen.sigma))
    more, more_columns, known = _beforehand(sky, prior)
    entries, columns = np.empty(16 * count + len(more)), np.empty(16 * count + len(more), dtype=np.int32)
    entries[16 * count :], columns[16 * count :] = more, more_columns
    wanted = np.append(np.empty(2 * count), known)
    for first in range(0, count, AT_ONCE):
        part = seen.part(slice(first, first + AT_ONCE))
        rows = slice(16 * first, 16 * (first + len(part.x)))
        at = slopes(
            np.take(stars.T, part.star, axis=1), *_cameras_at(sky, part.frame), np.take(axes, part.star, axis=2)
        )
        data, which = _slopes_by_unknown(sky, part, at)
        off = np.stack([part.x - at.x, part.y - at.y])
        entries[rows] = (data * root[first : first + AT_ONCE]).transpose(2, 0, 1).ravel()
        columns[rows] = np.repeat(which.T, 2, axis=0).ravel()
        wanted[2 * first : 2 * (first + len(part.x))] = (off * root[first : first + AT_ONCE]).T.ravel()
    ends = np.append(np.arange(0, 16 * count + 1, 8), 16 * count + 1 + np.arange(len(more)))
    unknowns = 4 * len(sky.scale) + 2 * len(sky.focal) + 2 * len(stars)
    return scipy.sparse.csr_array((entries, columns, ends), shape=(len(ends) - 1, unknowns)), wanted


def _slopes_by_unknown(sky: Sky, seen: Sightings, at: Slopes) -> tuple[np.ndarray, np.ndarray]:
    """Return how pixels move with frames (3 turns, 1 scale), cameras (focal, bend) and stars: (2, 8, n); and columns.

    The latter, (8, n), are the same for x and y.
    """
    frames, cameras = len(sky.scale), len(sky.focal)
    camera = sky.camera[seen.frame]
    bend = at.radial * sky.radial_unit[camera]
    size = at.size[:, np.newaxis]
    data = np.concatenate([at.turn, size, size, bend[:, np.newaxis], at.shift], axis=1)
    first = 4 * seen.frame, 4 * frames + 2 * camera, 4 * frames + 2 * cameras + 2 * seen.star
    columns = [start + np.arange(number)[:, np.newaxis] for start, number in zip(first, (4, 2, 2), strict=True)]
    return data, np.concatenate(columns).astype(np.int32)


def _beforehand(sky: Sky, prior: Prior) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return what is known without stars as equations: scales, focal lengths and distortions stay near the usual."""
    frames, cameras = len(sky.scale), len(sky.focal)
    columns = np.concatenate([4 * np.arange(frames) + 3, 4 * frames + np.arange(2 * cameras)]).astype(np.int32)
    bend = np.where(prior.bends, BEND_SIGMA_PX, NO_BEND_PX)
    sigma = np.concatenate([np.full(frames, SCALE_SIGMA), np.stack([prior.sigma, bend], axis=1).ravel()])
    off = np.concatenate([-sky.scale, np.stack([prior.focal - sky.focal, -sky.bend], axis=1).ravel()])
    return 1 / sigma, columns, off / sigma


def _moved(sky: Sky, stars: np.ndarray, axes: np.ndarray, step: np.ndarray) -> tuple[Sky, np.ndarray]:
    """Return sky and stars after a step of all unknowns."""
    frames, cameras = len(sky.scale), len(sky.focal)
    frame, camera, star = np.split(step, [4 * frames, 4 * frames + 2 * cameras])
    frame, camera, star = frame.reshape(-1, 4), camera.reshape(-1, 2), star.reshape(-1, 2)
    sky = replace(
        sky,
        attitude=rotation(frame[:, :3]) @ sky.attitude,
        scale=sky.scale + frame[:, 3],
        focal=sky.focal + camera[:, 0],
        bend=sky.bend + camera[:, 1],
    )
    stars = stars + (star[:, 0] * axes[0] + star[:, 1] * axes[1]).T
    return sky, stars / np.linalg.norm(stars, axis=1, keepdims=True)
