# SPDX-License-Identifier: GPL-3.0-or-later
"""Stars measured on the photosites themselves: nothing is debayered, each photosite counts where it is.

The light of a star on the photosite p of the colour c is taken for A_c exp(-(p - x)^T M^-1 (p - x) / 2). M, the stars'
shape, is one for the frame, from its bright stars by adaptive moments (Bernstein & Jarvis 2002, AJ 123, 583); places x
and amplitudes A_c follow by least squares, star by star. Each colour has its own amplitude, so that the grid of the
mosaic's red pixels does not draw a red star towards itself.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from nanstack.survey.detection import Peaks
from nanstack.survey.mesh import median_of_known, mesh_at, without_holes
from nanstack.survey.raw import MESH_PX, Raw
from nanstack.survey.stars import MAX_STARS, Stars, shines_in_two_channels
from nanstack.survey.streaks import on_streaks

HOT_REACH_PX = 2  # a hot photosite holds nearly all the flux of the 5 x 5 around it
COVERED = 2  # photosites; hot ones have hot neighbours, and a cosmic ray hits two
MAX_COVERED_SHARE = 0.75  # a star of 1.8 px FWHM has 0.4 of its flux in two photosites, a red one 0.66
MIN_REST_SIGMA = 2.5  # a star shows with those covered, too
SHAPE_STARS = 36  # that the frame's shape is measured on, from so many cells a side:
SHAPE_CELLS = 6
SHAPE_HEIGHT = 10.0  # in units of the noise, unless there are few
LEAST_SHAPES = 5
STREAK_PX = 4.5  # sigma along the longer axis: a satellite's trail, unless most are so
SHAPE_REACH_PX = 9
RIM_PX = 7.0  # from there on a stamp is taken for sky
RIM_WIDTH_PX = 2
SHAPE_ROUNDS = 10
CORE_PX = 3.0  # where the light of a star is that tells its colour
FIRST_SIGMA_PX = 1.6
SIGMA_RANGE_PX = 0.5, 6.0  # of a star along its axes
PLACE_ROUNDS = 5
PLACE_REACH = 2.5  # of a stamp, in sigmas of the stars along their longer axis
MAX_STEP_PX = 1.0
MAX_SHIFT = 2.0  # of a star from its peak, in sigmas of its longer axis
SIZE_RANGE = 0.5, 1.35  # of the square of a star's size, seen through the frame's shape: 1 for a star, 0 to 2
SIZE_SLACK = 2.0  # what noise does to it, over the signal to noise
MAX_MISFIT = 0.5  # of the light squared that the profile does not explain, noise apart, to that it does
MISFIT_SIGMA = 5.0
MIN_SIGNAL = 5.5  # amplitude over its error
MIN_SEEN = 0.4  # of a star's profile that must lie on photosites that count
MIN_APART_PX = 1.5
FWHM_PER_SIGMA = 2 * np.sqrt(2 * np.log(2))
CANDIDATES = MAX_STARS + MAX_STARS // 3  # highest peaks that are measured
SATURATED = 0.98  # of the level at which photosites saturate


@dataclass(frozen=True)
class Shape:
    """The stars' shape in a frame.

    Attributes
    ----------
    moments : ndarray of float64, shape (2, 2)
        M, in square pixels, x first.
    """

    moments: np.ndarray

    @property
    def axes(self) -> np.ndarray:
        """Standard deviations along the shorter and the longer axis."""
        return np.sqrt(np.linalg.eigvalsh(self.moments))

    @property
    def fwhm(self) -> float:
        """Of a round star with the same area, in pixels."""
        return float(FWHM_PER_SIGMA * np.sqrt(np.prod(self.axes)))

    @property
    def elongation(self) -> float:
        """Longer over shorter axis."""
        shorter, longer = self.axes
        return float(longer / shorter)


@dataclass(frozen=True)
class Stamps:
    """Squares of photosites around places.

    Attributes
    ----------
    x, y : ndarray of float64, shape (n, k)
        Of the photosites' middles.
    light : ndarray of float64, shape (n, k)
        Above the sky, in ADU; 0 where nothing counts.
    counts : ndarray of bool, shape (n, k)
    colour : ndarray of int, shape (n, k)
    """

    x: np.ndarray
    y: np.ndarray
    light: np.ndarray
    counts: np.ndarray
    colour: np.ndarray


def measure(
    raw: Raw, peaks: Peaks, sky: np.ndarray, noise: np.ndarray, saturation: float
) -> tuple[Stars, Shape | None]:
    """Tell the stars among peaks, and measure them.

    Parameters
    ----------
    raw : Raw
    peaks : Peaks
    sky : ndarray, shape (rows, columns, colours)
        Of `raw.plane`'s colours: one, or three of a mosaic.
    noise : ndarray, shape (colours,)
    saturation : float

    Returns
    -------
    stars : Stars
        Brightest first, at most `MAX_STARS`.
    shape : Shape or None
        None where there are none.
    """
    sky = np.stack([without_holes(sky[..., colour]) for colour in range(sky.shape[2])], axis=2)
    real = np.flatnonzero(_are_not_hot(raw, peaks.x, peaks.y, sky, noise))
    real = real[~on_streaks(peaks.x[real], peaks.y[real], raw.plane.shape)]
    x, y, height = peaks.x[real], peaks.y[real], peaks.height[real]
    typical = _spread(x, y, height, raw.plane.shape)
    shape = _shape(raw, x[typical], y[typical], sky, saturation)
    if shape is None:
        return Stars.none(), None
    stars = _placed(raw, x[:CANDIDATES], y[:CANDIDATES], shape, sky, noise, saturation)
    return (stars, shape) if len(stars) else (Stars.none(), None)


def _stamps(raw: Raw, x: np.ndarray, y: np.ndarray, reach: int, sky: np.ndarray, saturation: float = np.inf) -> Stamps:
    """Cut out squares of 2 reach + 1 pixels, the sky of each colour subtracted."""
    offset = np.arange(-reach, reach + 1)
    height, width = raw.plane.shape
    rows, columns = np.rint(y).astype(np.intp)[:, None] + offset, np.rint(x).astype(np.intp)[:, None] + offset
    inside = ((rows >= 0) & (rows < height))[:, :, None] & ((columns >= 0) & (columns < width))[:, None, :]
    colour = raw.sites[(rows % 2)[:, :, None], (columns % 2)[:, None, :]]
    light = raw.plane[np.clip(rows, 0, height - 1)[:, :, None], np.clip(columns, 0, width - 1)[:, None, :]]
    counts = inside & (light < SATURATED * saturation)  # NaN does not
    level = np.stack([mesh_at(plane, MESH_PX, x, y) for plane in np.moveaxis(sky, 2, 0)], axis=1)
    light = np.where(counts, light - level[np.arange(len(x))[:, None, None], colour], 0.0)
    flat = len(x), len(offset) ** 2
    places = (np.broadcast_to(axis, light.shape).reshape(flat) for axis in (columns[:, None, :], rows[:, :, None]))
    across, down = (axis.astype(np.float64) for axis in places)
    return Stamps(across, down, light.reshape(flat), counts.reshape(flat), colour.reshape(flat))


def _from_middle(reach: int) -> np.ndarray:
    """Return how far each photosite of a stamp lies from the middle one: (k,)."""
    offset = np.arange(-reach, reach + 1)
    return np.hypot.outer(offset, offset).ravel()


def _are_not_hot(raw: Raw, x: np.ndarray, y: np.ndarray, sky: np.ndarray, noise: np.ndarray) -> np.ndarray:
    """Tell the peaks of which something is left where their brightest photosites are covered."""
    if not len(x):
        return np.zeros(0, dtype=bool)
    stamps = _stamps(raw, x, y, HOT_REACH_PX, sky)
    top = np.sort(stamps.light, axis=1)[:, -COVERED:].sum(axis=1)
    rest = stamps.light.sum(axis=1) - top
    spread = np.sqrt(np.sum(stamps.counts * noise[stamps.colour] ** 2, axis=1))
    stars = (top < MAX_COVERED_SHARE * (rest + top)) & (rest > MIN_REST_SIGMA * spread)
    if raw.channels is not None:
        stars &= shines_in_two_channels(raw.channels, x, y)
    return stars


def _spread(x: np.ndarray, y: np.ndarray, height: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Return which peaks tell the shape of stars: high ones from all over, as a satellite has many, but in one line."""
    cell = np.floor(SHAPE_CELLS * y / shape[0]) * SHAPE_CELLS + np.floor(SHAPE_CELLS * x / shape[1])
    order = np.argsort(cell, kind="stable")  # from high to low in each cell
    rank = np.empty(len(x), dtype=np.intp)
    rank[order] = np.arange(len(x)) - np.searchsorted(cell[order], cell[order])
    typical = np.lexsort((-height, rank))[:SHAPE_STARS]
    return typical[(height[typical] > SHAPE_HEIGHT) | (height[typical] >= height[:LEAST_SHAPES].min(initial=np.inf))]


def _shape(raw: Raw, x: np.ndarray, y: np.ndarray, sky: np.ndarray, saturation: float) -> Shape | None:
    """Return the usual shape of bright stars, by adaptive moments; None where no star has one."""
    if not len(x):
        return None
    stamps = _stamps(raw, x, y, SHAPE_REACH_PX, sky)
    distance = _from_middle(SHAPE_REACH_PX)
    light = _above_surroundings(stamps, distance > RIM_PX)
    light /= _colour_balance(light, stamps, distance < CORE_PX)[stamps.colour]
    whole = stamps.counts.all(axis=1) & ~_saturated(raw, x, y, saturation)
    if not whole.any():
        whole = stamps.counts.all(axis=1)
    moments = _adaptive_moments(stamps.x, stamps.y, light, x, y)[whole]
    moments = moments[np.isfinite(moments).all(axis=(1, 2))]
    if not len(moments):
        return None
    short = np.linalg.eigvalsh(moments)[:, 1] < STREAK_PX**2
    if np.count_nonzero(short) >= min(LEAST_SHAPES, len(short) / 2):
        moments = moments[short]
    return Shape(np.median(moments, axis=0))


def _above_surroundings(stamps: Stamps, rim: np.ndarray) -> np.ndarray:
    """Return the light above what a stamp's rim shows: the nebula that the mesh is too coarse for."""
    around = median_of_known(np.where(stamps.counts, stamps.light, np.nan)[:, rim])
    return stamps.light - np.nan_to_num(around)[:, None]


def _colour_balance(light: np.ndarray, stamps: Stamps, core: np.ndarray) -> np.ndarray:
    """Return how bright the usual star is in each colour, against the mean of all."""
    by_colour = []
    for colour in range(3):
        mine = core & stamps.counts & (stamps.colour == colour)
        by_colour.append(np.where(mine, light, 0).sum(axis=1) / np.maximum(mine.sum(axis=1), 1))
    means = np.median(by_colour, axis=1)
    usual = means[means > 0].mean() if (means > 0).any() else 1.0
    return np.where(means > 0.1 * usual, means / usual, 1.0)


def _saturated(raw: Raw, x: np.ndarray, y: np.ndarray, saturation: float) -> np.ndarray:
    """Tell which peaks hold a saturated photosite, where shapes lie."""
    offset = np.arange(-2, 3)
    rows = np.clip(np.rint(y).astype(np.intp)[:, None] + offset, 0, raw.plane.shape[0] - 1)
    columns = np.clip(np.rint(x).astype(np.intp)[:, None] + offset, 0, raw.plane.shape[1] - 1)
    return (raw.plane[rows[:, :, None], columns[:, None, :]] >= SATURATED * saturation).any(axis=(1, 2))


def _adaptive_moments(px: np.ndarray, py: np.ndarray, light: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Return the moments (n, 2, 2) of the Gaussians that match their own weights; NaN where there is none."""
    x, y = x.copy(), y.copy()
    moments = np.broadcast_to(np.eye(2) * FIRST_SIGMA_PX**2, (len(x), 2, 2)).copy()
    ok = np.ones(len(x), dtype=bool)
    with np.errstate(all="ignore"):
        for _ in range(SHAPE_ROUNDS):
            inverse = np.linalg.inv(moments)
            u, v = px - x[:, None], py - y[:, None]
            weight = light * np.exp(-0.5 * _quadratic(inverse, u, v))
            total = weight.sum(axis=1)
            shift = np.stack([(weight * u).sum(axis=1), (weight * v).sum(axis=1)]) / total
            xx, xy, yy = (np.sum(weight * a * b, axis=1) / total for a, b in ((u, u), (u, v), (v, v)))
            seen = np.stack([xx, xy, xy, yy], axis=1).reshape(-1, 2, 2) - np.einsum("in,jn->nij", shift, shift)
            x, y = x + np.clip(2 * shift[0], -1, 1), y + np.clip(2 * shift[1], -1, 1)
            ok &= (total > 0) & np.isfinite(seen).all(axis=(1, 2))
            moments[ok] = _unweighted(seen[ok], inverse[ok])
    moments[~ok] = np.nan
    return moments


def _quadratic(inverse: np.ndarray, u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """Return the square distance (n, k) in sigmas."""
    a, b, c = (inverse[:, i, j][:, None] for i, j in ((0, 0), (0, 1), (1, 1)))
    return a * u * u + 2 * b * u * v + c * v * v


def _unweighted(seen: np.ndarray, inverse: np.ndarray) -> np.ndarray:
    """Return the moments of Gaussians that were seen through a Gaussian weight, kept within the range of stars."""
    values, vectors = np.linalg.eigh(seen)
    low, high = SIGMA_RANGE_PX
    seen = (vectors * np.clip(values, low**2 / 2, high**2)[:, None, :]) @ vectors.swapaxes(1, 2)
    values, vectors = np.linalg.eigh(np.linalg.inv(seen) - inverse)
    values = 1 / np.clip(values, high**-2, low**-2)
    return (vectors * values[:, None, :]) @ vectors.swapaxes(1, 2)


def _placed(
    raw: Raw, x: np.ndarray, y: np.ndarray, shape: Shape, sky: np.ndarray, noise: np.ndarray, saturation: float
) -> Stars:
    """Fit the frame's shape to each peak, and keep what is a star."""
    longer = shape.axes[1]
    core, rim = PLACE_REACH * longer, max(RIM_PX, 3 * longer)
    reach = int(np.ceil(rim)) + RIM_WIDTH_PX
    stamps, distance = _stamps(raw, x, y, reach, sky, saturation), _from_middle(reach)
    light = _above_surroundings(stamps, distance > rim)
    near = distance < core + 1
    px, py, colour = stamps.x[:, near], stamps.y[:, near], stamps.colour[:, near]
    return _fitted(px, py, light[:, near], stamps.counts[:, near] / noise[colour] ** 2, colour, x, y, shape, raw)


def _fitted(
    px: np.ndarray,
    py: np.ndarray,
    light: np.ndarray,
    weight: np.ndarray,
    colour: np.ndarray,
    x: np.ndarray,
    y: np.ndarray,
    shape: Shape,
    raw: Raw,
) -> Stars:
    """Find places and amplitudes by least squares (Gauss and Newton, the amplitudes solved for in each round)."""
    start, inverse = (x, y), np.linalg.inv(shape.moments)
    shown = np.unique(raw.sites)
    weights = [np.where(colour == one, weight, 0.0) for one in shown]
    amplitude = np.zeros((len(x), 3))
    with np.errstate(all="ignore"):
        for last in (False,) * PLACE_ROUNDS + (True,):
            u, v = px - x[:, None], py - y[:, None]
            pull = inverse[0, 0] * u + inverse[0, 1] * v, inverse[1, 0] * u + inverse[1, 1] * v
            profile = np.exp(-0.5 * (u * pull[0] + v * pull[1]))
            square, product = profile * profile, profile * light
            power = np.stack([np.einsum("ij,ij->i", mine, square) for mine in weights], axis=1)
            received = np.stack([np.einsum("ij,ij->i", mine, product) for mine in weights], axis=1)
            amplitude[:, shown] = np.where(power > 0, received / power, 0.0)
            model = amplitude[np.arange(len(x))[:, None], colour] * profile
            slopes = model * pull[0], model * pull[1]
            a, b, c = (np.sum(weight * slopes[i] * slopes[j], axis=1) for i, j in ((0, 0), (0, 1), (1, 1)))
            if last:
                break
            right = [np.sum(weight * slope * (light - model), axis=1) for slope in slopes]
            determinant = a * c - b * b
            x = x + np.clip((c * right[0] - b * right[1]) / determinant, -MAX_STEP_PX, MAX_STEP_PX)
            y = y + np.clip((a * right[1] - b * right[0]) / determinant, -MAX_STEP_PX, MAX_STEP_PX)
        error = np.sqrt((a + c) / 2 / (a * c - b * b))
        signal = np.sqrt(np.sum(amplitude[:, shown] ** 2 * power, axis=1))
        shares = np.bincount(raw.sites.ravel(), minlength=3) / 4
        flux = 2 * np.pi * np.prod(shape.axes) * (amplitude @ shares)
        square = u * pull[0] + v * pull[1]
        size, true_size = (
            np.sum(seen * profile * square, axis=1) / np.sum(seen * profile, axis=1) for seen in (light, model)
        )
        size /= true_size
        seen = np.sum((weight > 0) * profile, axis=1) / (2 * np.pi * np.prod(shape.axes))
        good = (flux > 0) & (signal > MIN_SIGNAL) & (seen > MIN_SEEN) & np.isfinite(x + y + error)
        samples = np.count_nonzero(weight, axis=1)
        excess = np.sum(weight * (light - model) ** 2, axis=1) - samples - MISFIT_SIGMA * np.sqrt(2 * samples)
        good &= excess < MAX_MISFIT * signal**2
        good &= np.hypot(x - start[0], y - start[1]) < MAX_SHIFT * shape.axes[1]
        good &= (size + SIZE_SLACK / signal > SIZE_RANGE[0]) & (size - SIZE_SLACK / signal < SIZE_RANGE[1])
        good &= (x > -0.5) & (y > -0.5) & (x < raw.plane.shape[1] - 0.5) & (y < raw.plane.shape[0] - 0.5)
    order = np.flatnonzero(good)[np.argsort(-flux[good], kind="stable")]
    order = order[_first_of_each(x[order], y[order], max(MIN_APART_PX, shape.axes[1]))][:MAX_STARS]
    return Stars(x[order], y[order], flux[order], error[order], shape.fwhm)


def _first_of_each(x: np.ndarray, y: np.ndarray, apart: float) -> np.ndarray:
    """Return which places to keep so that none lies near an earlier one: noise gives a trailed star many peaks."""
    from scipy.spatial import cKDTree

    keep = np.ones(len(x), dtype=bool)
    if len(x):
        for first, second in sorted(cKDTree(np.stack([x, y], axis=1)).query_pairs(apart)):
            if keep[first]:
                keep[second] = False
    return keep
