# SPDX-License-Identifier: GPL-3.0-or-later
"""How brightly frames show stars, and how evenly cameras do: one solution for all stars that frames have in common.

The logarithm of a star's flux in a frame is the star's own, and the frame's, less that of the camera's flat at the
place on the sensor. All are solved for at once, robustly. The star's own follows from the others, and is eliminated;
what is left are one number a frame and three a camera, found by conjugate gradients.

A flat has no linear terms: stars that drift over the sensor from panel to panel cannot tell them from the frames'.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace

import numpy as np
import scipy

from nanstack.levels.gradients import conjugate_gradients
from nanstack.levels.photometry import SIGMA_OF_MAD
from nanstack.levels.sky import rounded
from nanstack.register.registered import Flat, RegisteredFrame, corner_terms, sensor_terms
from nanstack.register.tracks import merged_tracks

MOST_SIGHTINGS = 1_000_000  # of all frames; more would add time and no precision,
LEAST_SIGHTINGS = 40  # but fewer of a frame would cost some
SAME_PX = 1.5  # from a star to where other frames have it
APART = 10.0  # between groups, in a fourth dimension: more than any two directions
UNSATURATED = 0.5  # of what a photosite holds, for the mean of the colours: one of them may be twice as bright
AREA_OF_FWHM = 1.13  # of a Gaussian: a star's flux over its peak, in FWHM squared
SIGMAS_OF_FWHM = 2.355
FLOOR = 0.02  # of a star's flux: where it falls between photosites, and its neighbours, at least
BRIGHT = 25  # per cent of sightings, by whose scatter it is told what else is uncertain
SEEN_SIGMA = 2.5  # a star counts where it would be seen if noise took so much of it: else those that noise lifts would
SOFT = 3.0  # from so many usual residuals on a sighting has less and less of a say
LEAST_STARS = 3  # in common with other frames, of one that stars tell of
SURE = 3.0  # standard errors of its corners from which on a flat is believed
FLAT_SIGMA = 0.03  # of a flat's terms at a frame's edge, beforehand: what a device's own flat leaves is a few per cent
LEAST_SPREAD = 0.003  # of frames' fluxes, however steady the air
ROUGH, FINE = 1e-2, 1e-7  # tolerances of a round's conjugate gradients: the next one goes on from there
FRAME_ERROR = 0.005  # of all fluxes of a frame alike: how wide its stars are changes what a model of them tells
CLOUD = 0.05  # of the light, of which a cloud takes several times as much, and a tree over a part of a frame less
DRAWS, AT_ONCE, SEED = 32, 4, 16  # of what stars are off, by which errors are told: to an eighth of them
PRECISE = 0.06  # of a star's flux: sightings by which the parts of a frame are told
LEAST_PRECISE = 30  # of a frame, of which fewer fall apart by chance
LEAST_PART = 0.25  # of a frame
PARTS_SIGMAS = 5.0  # from part to part, in sigmas of either
MOST_STIFFNESS = 2.0  # of what counts over what pulls back; 1.2 for normal scatter
LEAST_REST = 0.1  # of a sighting, that its star does not follow
LEAST_MULTIPLIER = 0.2  # on the way to a solution
TINY, FAST = 1e-12, 1e15


@dataclass(frozen=True)
class Sightings:
    """Stars as frames saw them.

    Attributes
    ----------
    frame, star : ndarray of int, shape (m,)
    log : ndarray of float64, shape (m,)
        Logarithm of the flux in ADU.
    noise : ndarray of float64, shape (m,)
        Of the flux, in ADU.
    least : ndarray of float64, shape (m,)
        The flux of the faintest star that the frame shows.
    terms : ndarray of float64, shape (m, 3)
        Of the place on the sensor: see `sensor_terms`.
    floor : ndarray of float64, shape (m,)
        What else is uncertain, as a share of the flux.
    """

    frame: np.ndarray
    star: np.ndarray
    log: np.ndarray
    noise: np.ndarray
    least: np.ndarray
    terms: np.ndarray
    floor: np.ndarray


@dataclass(frozen=True)
class StarScales:
    """What stars tell of frames.

    Attributes
    ----------
    log : ndarray of float64, shape (n,)
        Logarithm of a star's flux in each frame, against the others of its set; NaN where stars tell nothing.
    error : ndarray of float64, shape (n,)
        Its standard error, against the mean of the set.
    component : ndarray of int, shape (n,)
        Number of the set of frames that hang together by stars.
    flats : list of Flat
        By camera.
    """

    log: np.ndarray
    error: np.ndarray
    component: np.ndarray
    flats: list[Flat]


def common_stars(frames: Sequence[RegisteredFrame], groups: Sequence[int]) -> Sightings:
    """Return the stars that frames of a group have in common, saturated ones left out.

    Parameters
    ----------
    frames : sequence of RegisteredFrame
        One at least.
    groups : sequence of int
        Of the frames that are on one sphere.
    """
    most = max(MOST_SIGHTINGS // len(frames), LEAST_SIGHTINGS)
    each = [_stars_of(frame, group, most) for frame, group in zip(frames, groups, strict=True)]
    number = np.repeat(np.arange(len(frames)), [len(one[0]) for one in each])
    points, log, noise, terms = (np.concatenate(part) for part in zip(*each, strict=True))
    reach = SAME_PX / np.array([frame.view.focal for frame in frames])
    star = merged_tracks(points, number, reach[number]) if len(points) else number
    least = np.array([np.exp(one[1].min(initial=np.inf)) for one in each])
    common = star >= 0
    floor = np.full(len(log), FLOOR)
    return Sightings(*(of[common] for of in (number, star, log, noise, least[number], terms, floor)))


def _stars_of(frame: RegisteredFrame, group: int, most: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return where a frame's brightest stars are, logarithms of fluxes, the noise of these, and a flat's terms."""
    stars, sky = frame.survey.stars, frame.survey.sky
    light = frame.survey.saturation - (np.nanmedian(sky) if np.isfinite(sky).any() else 0.0)
    good = (stars.flux > 0) & (stars.flux < UNSATURATED * light * AREA_OF_FWHM * stars.fwhm**2)
    x, y, flux, error = (axis[good][:most] for axis in (stars.x, stars.y, stars.flux, stars.error))
    points = np.column_stack([frame.view.directions(x, y), np.full(len(x), APART * group)])
    # as of a star on a dark sky, whose place is known to its width, and its flux to itself, by one share
    noise = flux * error * SIGMAS_OF_FWHM / stars.fwhm
    return points, np.log(flux), noise, sensor_terms(frame.shape, x, y)


# --- the solution -----------------------------------------------------------------------------------------------------


def star_scales(
    seen: Sightings, cameras: np.ndarray, shapes: Sequence[tuple[int, ...]], kinds: np.ndarray
) -> StarScales:
    """Return what stars tell of frames' fluxes, and of cameras' flats.

    Parameters
    ----------
    seen : Sightings
    cameras, kinds : ndarray of int, shape (n,)
        Of each frame, numbered from 0. What few stars tell of a frame is held to what is usual of its kind.
    shapes : sequence of (int, int, ...)
        Of the cameras' frames.
    """
    solution = _Solution.first(seen, cameras, shapes)
    for loss, with_flats, tolerance in FIRST_ROUNDS:
        solution = solution.better(loss, with_flats, tolerance)
    solution = _with_what_else_is_uncertain(_by_clear_parts(solution))
    for loss, with_flats, tolerance in ROUNDS:
        solution = solution.better(loss, with_flats, tolerance)
    counts, component = _connected(solution)
    known = counts >= LEAST_STARS
    alike = np.unique(np.stack([component, kinds], axis=1)[known], axis=0, return_inverse=True)[1].ravel()
    if len(alike):
        solution = _held_to_the_usual(solution, np.flatnonzero(known), alike)
    for loss, with_flats, tolerance in LAST_ROUNDS:
        solution = solution.better(loss, with_flats, tolerance)
    drawn = _drawn(solution)
    sure = _sure(solution, shapes, drawn)
    if not sure.all():
        solution = solution.with_even(~sure)
        for loss, with_flats, tolerance in LAST_ROUNDS:
            solution = solution.better(loss, with_flats, tolerance)
    return _told(solution, shapes, known, component, drawn, sure)


def _edge_terms(shape: tuple[int, ...]) -> np.ndarray:
    """Return what u^2, u v, and v^2 are at most in a frame: (3,)."""
    height, width = np.array(shape[:2]) / max(shape[:2])
    return np.array([width**2, width * height, height**2])


def _settling(relative: np.ndarray) -> np.ndarray:
    """Return weights by residuals of which the sum is made least, nearly: wherever it starts from, it ends in one."""
    return 1 / (1 + relative)


def _redescending(relative: np.ndarray) -> np.ndarray:
    """Return the weights of Geman and McClure's loss."""
    return (1 + (relative / SOFT) ** 2) ** -2


# of each round: what sightings count for after it, whether flats are found, too, and how far it is solved
FIRST_ROUNDS = *[(_settling, False, ROUGH)] * 3, (_redescending, False, ROUGH)
ROUNDS = ((_redescending, True, ROUGH),) * 3
LAST_ROUNDS = *[(_redescending, True, ROUGH)] * 2, (_redescending, True, FINE)


@dataclass(frozen=True)
class _Solution:
    """What is found so far.

    Attributes
    ----------
    seen : Sightings
    cameras : ndarray of int, shape (n,)
    found : ndarray of float64, shape (n + 3 cameras,)
        Logarithms of frames' fluxes, and the terms of cameras' flats.
    held : ndarray of float64, shape (n + 3 cameras,)
        How strongly these are held to 0.
    shown : ndarray of bool, shape (m,)
        Whether stars would be seen in any case.
    weights : ndarray of float64, shape (m,)
        What sightings count for.
    usual : float
        Their usual residual, over what is expected.
    """

    seen: Sightings
    cameras: np.ndarray
    found: np.ndarray
    held: np.ndarray
    shown: np.ndarray
    weights: np.ndarray
    usual: float = 1.0

    @classmethod
    def first(cls, seen: Sightings, cameras: np.ndarray, shapes: Sequence[tuple[int, ...]]) -> _Solution:
        """Return the solution that knows nothing."""
        edges = np.array([_edge_terms(shape) for shape in shapes])
        held = np.concatenate([np.zeros(len(cameras)), (edges.ravel() / FLAT_SIGMA) ** 2])
        error = np.hypot(seen.noise / np.exp(seen.log), seen.floor)
        return cls(seen, cameras, np.zeros(len(held)), held, np.ones(len(error), dtype=bool), error**-2)

    def with_even(self, cameras: np.ndarray) -> _Solution:
        """Return the solution with some cameras (bool) held to have no flat."""
        terms = np.append(np.zeros(len(self.cameras), dtype=bool), np.repeat(cameras, 3))
        return replace(self, found=np.where(terms, 0.0, self.found), held=np.where(terms, FAST, self.held))

    def better(self, loss: Callable[[np.ndarray], np.ndarray], with_flats: bool, tolerance: float) -> _Solution:
        """Return the solution after one more round: Gauss and Newton's step, and what sightings count for after it."""
        system = _System.of(self)
        free = (np.arange(len(self.found)) < len(self.cameras)) | with_flats
        step = system.step(self.off(self.found)[:, np.newaxis], self.found[:, np.newaxis], free, tolerance)
        return replace(self, found=self.found + step[:, 0]).weighed(loss, system)

    def weighed(self, loss: Callable[[np.ndarray], np.ndarray], system: _System) -> _Solution:
        """Return the solution with what sightings count for, by what they are off their stars, as a system has them."""
        off = system.beside_stars(self.off(self.found))
        shown = np.exp(self.seen.log - off) > self.seen.least + SEEN_SIGMA * self.seen.noise
        error = self.error(off)
        relative = np.abs(off / error)
        usual = max(SIGMA_OF_MAD * float(np.median(relative[shown])), TINY) if shown.any() else 1.0
        weights = shown * loss(relative / usual) / (usual * error) ** 2
        return replace(self, shown=shown, weights=weights, usual=usual)

    def error(self, off: np.ndarray) -> np.ndarray:
        """Return how uncertain logarithms of fluxes are by themselves, if they are off so much: (m,).

        By the star's own flux: else one that noise lifts would count for more.
        """
        return np.hypot(self.seen.noise / np.exp(self.seen.log - off), self.seen.floor)

    def off(self, found: np.ndarray) -> np.ndarray:
        """Return the logarithms of stars' fluxes by each sighting, if frames were as found: (m,)."""
        return self.seen.log - found[self.seen.frame] + np.log(self._multiplier(found))

    def slopes(self) -> np.ndarray:
        """Return by how much those change with the terms of the flats: (m, 3)."""
        return self.seen.terms / self._multiplier(self.found)[:, np.newaxis]

    def _multiplier(self, found: np.ndarray) -> np.ndarray:
        terms = found[len(self.cameras) :].reshape(-1, 3)[self.cameras[self.seen.frame]]
        return np.maximum(1 + np.sum(terms * self.seen.terms, axis=1), LEAST_MULTIPLIER)


@dataclass(frozen=True)
class _System:
    """The linear equations of a round.

    Attributes
    ----------
    matrix, back : scipy.sparse.csr_array, shapes (m, n + 3 cameras) and transposed
    gather, spread : scipy.sparse.csr_array, shapes (stars, m) and transposed
        From sightings to their stars: weighted means; and from stars to their sightings.
    share : ndarray of float64, shape (m,)
        Of what its star is made of, each sighting's.
    weights : ndarray of float64, shape (m, 1)
    own : ndarray of float64, shape (n + 3 cameras, 1)
        Of the normal equations, their diagonal.
    held : ndarray of float64, shape (n + 3 cameras, 1)
        How strongly unknowns are held to 0.
    """

    matrix: scipy.sparse.csr_array
    back: scipy.sparse.csr_array
    gather: scipy.sparse.csr_array
    spread: scipy.sparse.csr_array
    share: np.ndarray
    weights: np.ndarray
    own: np.ndarray
    held: np.ndarray

    @classmethod
    def of(cls, solution: _Solution) -> _System:
        """Return the equations around a solution."""
        seen, frames = solution.seen, len(solution.cameras)
        count, stars = len(seen.star), int(seen.star.max(initial=-1)) + 1
        flats = frames + 3 * solution.cameras[seen.frame, np.newaxis] + np.arange(3)
        columns = np.column_stack([seen.frame, flats])
        data = np.column_stack([np.ones(count), -solution.slopes()])
        entries = data.ravel(), columns.ravel(), np.arange(0, 4 * count + 1, 4)
        matrix = scipy.sparse.csr_array(entries, shape=(count, len(solution.found)))
        back = matrix.T.tocsr()
        own = np.maximum(back.power(2) @ solution.weights + solution.held, TINY)
        total, each = np.bincount(seen.star, solution.weights, stars), np.bincount(seen.star, minlength=stars)
        told = total[seen.star] > 0  # of a star that counts nowhere each sighting tells as much
        share = np.where(told, solution.weights, 1.0) / np.where(total > 0, total, each)[seen.star]
        spread = scipy.sparse.csr_array((np.ones(count), seen.star, np.arange(count + 1)), shape=(count, stars))
        gather = scipy.sparse.csr_array((share, seen.star, np.arange(count + 1)), shape=(count, stars)).T.tocsr()
        return cls(
            matrix, back, gather, spread, share, *(v[:, np.newaxis] for v in (solution.weights, own, solution.held))
        )

    def beside_stars(self, values: np.ndarray) -> np.ndarray:
        """Return values at the sightings, (m,) or (m, k), less what is their star's own: their weighted mean."""
        return values - self.spread @ (self.gather @ values)

    def step(self, off: np.ndarray, found: np.ndarray, free: np.ndarray, tolerance: float) -> np.ndarray:
        """Return what brings unknowns nearest to what they are off, for several sides at once.

        Parameters
        ----------
        off : ndarray, shape (m, k)
        found : ndarray, shape (n + 3 cameras, k)
        free : ndarray of bool, shape (n + 3 cameras,)
        tolerance : float
        """
        free = free[:, np.newaxis]

        def pull(values: np.ndarray) -> np.ndarray:
            return self.back @ (self.weights * self.beside_stars(values))

        def effect_of(direction: np.ndarray) -> np.ndarray:
            return (pull(self.matrix @ direction) + self.held * direction) * free

        return conjugate_gradients(effect_of, (pull(off) - self.held * found) * free, self.own, tolerance)


def _with_what_else_is_uncertain(solution: _Solution) -> _Solution:
    """Return a solution that knows how bright stars scatter, whose noise is little.

    Telescopes, and the air of other nights, show stars of several colours differently.
    """
    seen = solution.seen
    if not solution.shown.any():
        return solution
    share = (seen.noise / np.exp(seen.log))[solution.shown]
    off = _System.of(solution).beside_stars(solution.off(solution.found))[solution.shown]
    bright = share <= np.percentile(share, BRIGHT)
    scatter = SIGMA_OF_MAD * float(np.median(np.abs(off[bright])))
    floor = max(scatter**2 - float(np.median(share[bright])) ** 2, FLOOR**2) ** 0.5
    return replace(solution, seen=replace(seen, floor=np.full(len(seen.log), floor)))


def _by_clear_parts(solution: _Solution) -> _Solution:
    """Return a solution that goes on from the clear part of frames of which a tree, or a cloud's edge, dims the other.

    Nothing makes stars brighter. Between the two there would be a solution that is of neither part.
    """
    seen, system = solution.seen, _System.of(solution)
    off = system.beside_stars(solution.off(solution.found))
    precise = solution.shown & (seen.noise < PRECISE * np.exp(seen.log))
    found = solution.found.copy()
    begin = np.cumsum(np.bincount(seen.frame[precise], minlength=len(found)))  # sightings lie frame by frame
    for frame, part in enumerate(np.split(off[precise], begin[:-1])):
        found[frame] += _clear_part(part) if len(part) >= LEAST_PRECISE else 0.0
    moved = bool((found != solution.found).any())
    return replace(solution, found=found).weighed(_redescending, system) if moved else solution


def _clear_part(off: np.ndarray) -> float:
    """Return the median of the brighter of two parts that logarithms of fluxes (n,) fall into; 0 where they do not.

    The two differ most from each other for what each has of its own (Otsu 1979, IEEE Trans. SMC 9, 62).
    """
    off = np.sort(off)
    low = np.arange(1, len(off))
    total = np.cumsum(off)
    between = (total[:-1] / low - (total[-1] - total[:-1]) / (len(off) - low)) ** 2 * low * (len(off) - low)
    between[np.minimum(low, len(off) - low) < LEAST_PART * len(off)] = -1
    parts = np.split(off, [low[np.argmax(between)]])
    dim, clear = (float(np.median(part)) for part in parts)
    scatter = SIGMA_OF_MAD * float(np.median(np.abs(off - np.repeat([dim, clear], [len(part) for part in parts]))))
    return clear if clear - dim > PARTS_SIGMAS * scatter else 0.0


def _connected(solution: _Solution) -> tuple[np.ndarray, np.ndarray]:
    """Return how many stars frames have in common with others, and the number of the set that they hang together in."""
    seen, frames = solution.seen, len(solution.cameras)
    counts = np.bincount(seen.star, solution.shown, int(seen.star.max(initial=-1)) + 1)
    common = solution.shown & (counts[seen.star] > 1)
    size = frames + len(counts)
    entries = np.ones(np.count_nonzero(common)), (seen.frame[common], frames + seen.star[common])
    links = scipy.sparse.coo_array(entries, shape=(size, size))
    return np.bincount(seen.frame, common, frames), scipy.sparse.csgraph.connected_components(links, False)[1][:frames]


def _held_to_the_usual(solution: _Solution, known: np.ndarray, alike: np.ndarray) -> _Solution:
    """Return a solution in which frames of one kind see one more star, as differently as they usually see stars.

    So what few stars tell of a frame is held to the usual one, by how much frames differ; not so one in clouds, which
    is an outlier among them, and counts next to nothing.
    """
    seen, log = solution.seen, solution.found[known]
    usual = np.array([np.median(log[alike == number]) for number in range(alike.max() + 1)])
    error = _System.of(solution).own[known, 0] ** -0.5
    spread = SIGMA_OF_MAD * float(np.median(np.abs(log - usual[alike])))
    spread = max(spread**2 - float(np.median(error)) ** 2, LEAST_SPREAD**2) ** 0.5
    nothing = np.zeros(len(known))
    more = Sightings(
        known,
        alike + int(seen.star.max(initial=-1)) + 1,
        nothing,
        nothing,
        nothing - 1,
        np.zeros((len(known), 3)),
        nothing + spread / solution.usual,
    )
    names = [field.name for field in fields(Sightings)]
    both = Sightings(*(np.concatenate([getattr(seen, name), getattr(more, name)]) for name in names))
    far = np.abs(log - usual[alike]) / np.hypot(spread, CLOUD)  # clouds are let go of from the beginning
    weights = np.append(solution.weights, _redescending(far) / spread**2)
    shown = np.append(solution.shown, np.ones(len(known), dtype=bool))
    return replace(solution, seen=both, weights=weights, shown=shown)


def _sure(solution: _Solution, shapes: Sequence[tuple[int, ...]], drawn: np.ndarray) -> np.ndarray:
    """Tell of each camera whether its flat is more than its errors may have made: taken off, that would be put in.

    What lenses and filters leave is dim in all corners alike. What is bright in two of them and dim in two is noise.
    """
    frames = len(solution.cameras)
    terms, errors = solution.found[frames:].reshape(-1, 3), drawn[frames:].reshape(-1, 3, DRAWS)
    corners = [corner_terms(shape) for shape in shapes]
    return np.array([
        abs(float(np.sum(corner * own))) > SURE * _spread(corner @ error)
        for corner, own, error in zip(corners, terms, errors, strict=True)
    ])  # fmt: skip


def _told(
    solution: _Solution,
    shapes: Sequence[tuple[int, ...]],
    known: np.ndarray,
    component: np.ndarray,
    drawn: np.ndarray,
    sure: np.ndarray,
) -> StarScales:
    """Return what is found, and its errors, by draws (n + 3 cameras, DRAWS); a flat only of cameras that are sure."""
    frames = len(known)
    log, terms = (rounded(part, part) for part in np.split(solution.found, [frames]))
    beside = _beside_their_set(drawn[:frames], known, component)
    error = np.array([math.hypot(_spread(own), FRAME_ERROR) for own in beside])
    flats = [
        Flat(*np.where(is_sure, mine, 0.0).tolist(), error=_spread(corner_terms(shape) @ own))
        for mine, shape, own, is_sure in zip(
            terms.reshape(-1, 3), shapes, drawn[frames:].reshape(-1, 3, DRAWS), sure, strict=True
        )
    ]
    return StarScales(np.where(known, log, np.nan), np.where(known, error, np.nan), component, flats)


def _drawn(solution: _Solution) -> np.ndarray:
    """Return how the unknowns change with draws of what each star is off: (n + 3 cameras, DRAWS).

    A star is off in its own way in all frames of a night, so each has one draw for all its sightings (White 1980,
    Econometrica 48, 817; Liang and Zeger 1986, Biometrika 73, 13). The usual frames, which are no stars, have many.
    What is drawn changes what sightings count for, too (Huber 1981, Robust Statistics, 7.6).
    """
    system, seen = _System.of(solution), solution.seen
    rng = np.random.default_rng(SEED)
    of_kinds = seen.floor != seen.floor[:1]
    lot = np.where(of_kinds, int(seen.star.max(initial=0)) + 1 + np.cumsum(of_kinds), seen.star)
    off = system.beside_stars(solution.off(solution.found))
    off *= _stiffness(solution, off) / np.sqrt(np.maximum(1 - system.share, LEAST_REST))
    usual = np.divide(1, np.sqrt(system.held), out=np.zeros_like(system.held), where=system.held > 0)
    steps = []
    for _ in range(DRAWS // AT_ONCE):
        draws = rng.normal(size=(int(lot.max(initial=0)) + 1, AT_ONCE))[lot]
        prior = rng.normal(size=(len(usual), AT_ONCE)) * usual
        steps.append(system.step(off[:, np.newaxis] * draws, -prior, np.ones(len(usual), dtype=bool), ROUGH))
    return np.concatenate(steps, axis=1)


def _stiffness(solution: _Solution, off: np.ndarray) -> float:
    """Return what sightings count for, over how strongly they pull back: further off, they count for less.

    Geman and McClure's weight is (1 + x^2)^-2, the slope of x times it (1 - 3 x^2) / (1 + x^2)^3.
    """
    sure = solution.shown / solution.error(off) ** 2
    square = (np.abs(off / solution.error(off)) / (solution.usual * SOFT)) ** 2
    slope = float(np.sum(sure * (1 - 3 * square) / (1 + square) ** 3))
    return min(float(np.sum(sure / (1 + square) ** 2)) / max(slope, TINY), MOST_STIFFNESS)


def _beside_their_set(drawn: np.ndarray, known: np.ndarray, component: np.ndarray) -> np.ndarray:
    """Return draws (n, k) less their means over the frames of a set."""
    drawn = drawn.copy()
    for number in np.unique(component):
        mine = known & (component == number)
        drawn[mine] -= drawn[mine].sum(axis=0) / max(np.count_nonzero(mine), 1)
    return drawn


def _spread(draws: np.ndarray) -> float:
    return float(np.sqrt(np.sum(draws**2) / len(draws)))
