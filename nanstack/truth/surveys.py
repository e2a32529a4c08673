# SPDX-License-Identifier: GPL-3.0-or-later
"""Surveys of simulated frames whose places, fluxes and skies are known: any number of them, without a pixel.

A telescope on an alt-azimuth mount takes panels of a synthetic sky, or one field again and again, over several nights.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import scipy

from nanstack.canvas import Canvas
from nanstack.levels.placed import Level
from nanstack.register.camera import ARCSEC, Camera, View, attitude_between, local_axes
from nanstack.register.place import stretched
from nanstack.register.registered import RegisteredFrame
from nanstack.survey.mesh import without_holes
from nanstack.survey.raw import MESH_PX
from nanstack.survey.record import Facts, Survey
from nanstack.survey.stars import Stars

SCALE = 2.37  # arcseconds a pixel
RADIAL = 0.7  # of the distortion: 1.5 px in the corners of a frame of 1920 x 1080
OVERLAP = 0.3  # of panels, in sides of a frame
DITHER = 0.04  # of a frame's sides
NIGHT = 240  # frames
TURN_DEG = 20.0  # by which the field turns over a night, to either side
CLEAR_STARS = 75.0  # that a clear frame usually shows
SLOPE = 0.875  # of the number of stars over their flux
LIMIT = 5.0  # noises from which on a star is found
FWHM_PX = 2.6
SKY_ADU, GLOW_ADU, NEBULA_ADU, MESH_NOISE_ADU = 900.0, 25.0, 30.0, 0.8
FLUX_NOISE_ADU = 220.0  # of a star, by the sky
SCINTILLATION = 0.012  # of its flux
CENTROID_PX = 0.05  # however bright it is
SPURIOUS = 2.0  # stars a frame that are none
POINTING_DEG, NO_POINTING = 0.2, 0.2  # error of headers' pointings, and the share of those that have none
POINTS = 3  # along a frame's sides, at which it is held to the truth
COLOURS = np.array([1.0, 0.8, 0.65])


@dataclass(frozen=True)
class SimulatedSurveys:
    """Surveys, and what is true of their frames.

    Attributes
    ----------
    surveys : list of Survey
    views : list of View
        On the sky.
    light : ndarray of float64, shape (n,)
        What of a star's light each frame shows.
    glow : ndarray of float64, shape (n, 3, 3)
        What the sky adds to its samples: terms of 1, x, and y in pixels from the frame's middle, by colour.
    panel : ndarray of int, shape (n,)
    """

    surveys: list[Survey]
    views: list[View]
    light: np.ndarray
    glow: np.ndarray
    panel: np.ndarray


def simulated_surveys(
    frames: int, panels: int, *, seed: int = 20, shape: tuple[int, int] = (1920, 1080)
) -> SimulatedSurveys:
    """Return surveys of frames of so many panels that overlap; each shows 20 to 110 stars.

    Parameters
    ----------
    frames, panels : int
        A panel's frames follow each other.
    seed : int
    shape : (int, int)
        Of the frames.
    """
    rng = np.random.default_rng(seed)
    cameras = [Camera(shape, ARCSEC / SCALE * size, RADIAL) for size in (1.0, 1.002)]
    pointings = _pointings(panels, shape)
    sky = _Sky.around(pointings, shape, rng)
    panel = np.arange(frames) * panels // frames
    night = np.arange(frames) // NIGHT
    share = np.arange(frames) % NIGHT / NIGHT
    telescope = (night % 3 == 2).astype(int)
    clear = np.exp(-np.abs(rng.normal(0, 0.12, night[-1] + 1)))[night]
    light = clear * np.exp(-0.15 * np.abs(rng.normal(size=frames)))
    offsets = DITHER * rng.uniform(-1, 1, (frames, 2)) * shape / cameras[0].focal
    turns = np.radians(TURN_DEG) * (2 * share - 1) + np.radians(rng.uniform(-3, 3, night[-1] + 1))[night]
    glow = np.empty((frames, 3, 3))
    surveys, views = [], []
    for k in range(frames):
        axis = _shifted(pointings[panel[k]], *offsets[k])
        view = View(cameras[telescope[k]], _turned(axis, turns[k]), float(np.exp(rng.normal(0, 3e-4))))
        views.append(view)
        glow[k] = _glow(share[k], turns[k], night[k], shape, rng)
        surveys.append(_survey(_Shot(k, view, light[k], glow[k], int(telescope[k]), int(night[k])), sky, rng))
    return SimulatedSurveys(surveys, views, light, glow, panel)


@dataclass(frozen=True)
class _Sky:
    """Stars (m, 3) with their fluxes, brightest first, and a search tree of them."""

    directions: np.ndarray
    flux: np.ndarray
    tree: scipy.spatial.cKDTree

    @classmethod
    def around(cls, pointings: np.ndarray, shape: tuple[int, int], rng: np.random.Generator) -> _Sky:
        """Return stars wherever frames look: here more, there fewer."""
        radius = np.hypot(*shape) * SCALE / ARCSEC
        area = shape[0] * shape[1] * (SCALE / ARCSEC) ** 2
        centre = pointings.mean(axis=0) / np.linalg.norm(pointings.mean(axis=0))
        cap = float(np.arccos(np.clip((pointings @ centre).min(), -1, 1))) + radius
        # twice fainter ones than a frame shows are there, too: noise lifts some of them
        count = rng.poisson(1.9 * CLEAR_STARS * 2 * np.pi * (1 - np.cos(cap)) / area)
        east, north = local_axes(centre)
        ahead, turn = rng.uniform(np.cos(cap), 1, count), rng.uniform(0, 2 * np.pi, count)
        aside = np.sqrt(1 - ahead**2)
        directions = (
            ahead[:, None] * centre + (aside * np.cos(turn))[:, None] * east + (aside * np.sin(turn))[:, None] * north
        )
        near = scipy.spatial.cKDTree(pointings).query(directions, distance_upper_bound=radius)[0] < np.inf
        crowded = 0.68 + 0.32 * np.sin(directions @ [40, 25, 0]) * np.sin(directions @ [0, 31, 37])
        directions = directions[near & (rng.random(count) < crowded)]
        flux = 0.5 * LIMIT * FLUX_NOISE_ADU * rng.uniform(1e-4, 1, len(directions)) ** (-1 / SLOPE)
        order = np.argsort(-flux)
        return cls(directions[order], flux[order], scipy.spatial.cKDTree(directions[order]))

    @staticmethod
    def nebula(directions: np.ndarray) -> np.ndarray:
        """Return the light that the sky itself has in some directions, in ADU."""
        waves = np.sin(directions @ [150, 90, 40]) * np.sin(directions @ [-60, 170, 110])
        return NEBULA_ADU * waves


def _pointings(panels: int, shape: tuple[int, int]) -> np.ndarray:
    """Return the middles of panels, in rows of about as many: (n, 3)."""
    across = int(np.ceil(np.sqrt(panels)))
    row, column = np.divmod(np.arange(panels), across)
    step = (1 - OVERLAP) * np.array(shape) * SCALE / ARCSEC
    v, u = ((axis - axis.max() / 2) * size for axis, size in zip((row, column), step, strict=True))
    longitude, latitude = np.radians(80.0) + u / np.cos(v), v
    ahead = np.cos(latitude)
    return np.stack([ahead * np.cos(longitude), ahead * np.sin(longitude), np.sin(latitude)], axis=1)


def _shifted(pointing: np.ndarray, down: float, across: float) -> np.ndarray:
    """Return a pointing moved north and east, by tangents of angles."""
    east, north = local_axes(pointing)
    moved = pointing + down * north + across * east
    return moved / np.linalg.norm(moved)


def _turned(axis: np.ndarray, turn: float) -> np.ndarray:
    """Return the attitude of a frame whose columns are turned against north."""
    east, north = local_axes(axis)
    x = -np.cos(turn) * east + np.sin(turn) * north
    return np.stack([x, np.cross(axis, x), axis])


def _glow(share: float, turn: float, night: int, shape: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    """Return what the sky adds: it is brightest towards the horizon, and changes over the night."""
    level = SKY_ADU * (1 + 0.15 * np.sin(night) + 0.1 * share) * np.exp(rng.normal(0, 0.01))
    towards = turn + 0.3 * np.sin(night)
    slope = GLOW_ADU * (1 + 0.3 * rng.normal()) / max(shape) * np.array([np.sin(towards), np.cos(towards)])
    return np.stack([level * COLOURS, slope[0] * COLOURS, slope[1] * COLOURS])


@dataclass(frozen=True)
class _Shot:
    """A frame as it is taken: where it looks, what of a star's light it shows, what the sky adds, and when."""

    number: int
    view: View
    light: float
    glow: np.ndarray
    telescope: int
    night: int

    @property
    def date(self) -> str:
        """When it is taken, as its header has it: a minute after the one before."""
        return f"2026-01-{self.night % 28 + 1:02d}T{self.number % NIGHT // 60:02d}:{self.number % 60:02d}:00"


def _survey(shot: _Shot, sky: _Sky, rng: np.random.Generator) -> Survey:
    """Return what a look at a frame would find."""
    view = shot.view
    digest = hashlib.sha256(str(shot.number).encode()).hexdigest()
    ra, dec = (np.degrees(f) for f in (np.arctan2(view.pointing[1], view.pointing[0]), np.arcsin(view.pointing[2])))
    told = ra + rng.normal(0, POINTING_DEG) / np.cos(np.radians(dec)), dec + rng.normal(0, POINTING_DEG)
    facts = Facts(
        pattern="GRBG",
        instrument=f"telescope {shot.telescope + 1}",
        filter="none",
        date=shot.date,
        exposure=10.0,
        gain=80.0,
        scale=SCALE,
        pointing=None if rng.random() < NO_POINTING else told,
    )
    return Survey(
        Path(f"frame_{shot.number:06d}.fit"),
        (*view.shape, 3),
        facts,
        _stars(view, shot.light, sky, rng),
        _mesh(view, shot.light, shot.glow, sky, rng),
        12.0 * np.sqrt(shot.glow[0] / SKY_ADU),
        saturation=65535.0,
        elongation=1.1,
        digest=digest,
    )


def _stars(view: View, light: float, sky: _Sky, rng: np.random.Generator) -> Stars:
    """Return the stars that a frame shows, and some that are none."""
    height, width = view.shape
    near = np.array(sky.tree.query_ball_point(view.pointing, np.hypot(height, width) / 2 / view.focal, workers=1))
    x, y = view.pixels(sky.directions[near])
    inside = (x > 2) & (x < width - 3) & (y > 2) & (y < height - 3)
    flux = sky.flux[near[inside]] * light
    flux = flux * np.exp(rng.normal(0, SCINTILLATION, len(flux))) + rng.normal(0, FLUX_NOISE_ADU, len(flux))
    more = rng.poisson(SPURIOUS)
    x, y = (np.append(v[inside], rng.uniform(0, side, more)) for v, side in ((x, width - 1), (y, height - 1)))
    flux = np.append(flux, LIMIT * FLUX_NOISE_ADU * rng.uniform(1, 1.5, more))
    order = np.argsort(-flux)
    order = order[: np.count_nonzero(flux > LIMIT * FLUX_NOISE_ADU)]
    x, y, flux = x[order], y[order], flux[order]
    error = FWHM_PX / 2.355 * FLUX_NOISE_ADU / flux
    off = np.hypot(error, CENTROID_PX) * rng.normal(size=(2, len(flux)))
    return Stars(x + off[0], y + off[1], flux, error, FWHM_PX * float(np.exp(rng.normal(0, 0.05))))


def _mesh(view: View, light: float, glow: np.ndarray, sky: _Sky, rng: np.random.Generator) -> np.ndarray:
    """Return the levels of a frame's sky over its mesh."""
    rows, columns = (-(-side // MESH_PX) for side in view.shape)
    x, y = np.meshgrid(*((np.arange(cells) + 0.5) * MESH_PX - 0.5 for cells in (columns, rows)))
    levels = shown(view, light, glow, x, y)
    return without_holes((levels + rng.normal(0, MESH_NOISE_ADU, levels.shape)).astype(np.float32))


def shown(view: View, light: float, glow: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Return the sky, without noise, that a frame shows at pixels (...): (..., 3)."""
    terms = np.stack([np.ones_like(x), x - view.middle[0], y - view.middle[1]], axis=-1)
    return light * _Sky.nebula(view.directions(x, y))[..., None] * COLOURS + terms @ glow


# --- how far a solution is from the truth -----------------------------------------------------------------------------


@dataclass(frozen=True)
class FromTruth:
    """How far a solution is from the truth.

    Attributes
    ----------
    frames : int
        Of those simulated, that it has.
    place_px, whole_px : float
        Root mean square distance of frames' places from the truth, in pixels: against the other frames of the panel;
        and over the whole, turned and stretched as fits best.
    flux : float
        Of factors, in their logarithm: root mean square.
    sky_adu : float
        Of levels, a plane over the whole left open: root mean square, in ADU; NaN where none are given.
    """

    frames: int
    place_px: float
    whole_px: float
    flux: float
    sky_adu: float


def from_truth(
    simulated: SimulatedSurveys,
    frames: Sequence[RegisteredFrame],
    canvas: Canvas | None = None,
    gains: np.ndarray | None = None,
    levels: Sequence[Level] = (),
) -> FromTruth:
    """Hold registered frames, their factors, and, where they are given, their gains and levels to the truth."""
    number = {survey.digest: k for k, survey in enumerate(simulated.surveys)}
    which = np.array([number[frame.survey.digest] for frame in frames])
    place, whole = _places(simulated, frames, which)
    log = np.log([frame.factor for frame in frames]) + np.log(simulated.light[which])
    sky = _skies(simulated, frames, which, canvas, gains, levels) if len(levels) else np.nan
    return FromTruth(len(frames), place, whole, float(np.std(log)), sky)


def _grid(shape: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Return points all over a frame, x and y."""
    x, y = np.meshgrid(*(np.linspace(0, side - 1, POINTS) for side in shape[1::-1]))
    return x.ravel(), y.ravel()


def _places(simulated: SimulatedSurveys, frames: Sequence[RegisteredFrame], which: np.ndarray) -> tuple[float, float]:
    """Return how far frames lie from their true places, in pixels: within their panels, and over the whole."""
    x, y = _grid(frames[0].shape)
    own = np.stack([frame.view.directions(x, y) for frame in frames])
    true = np.stack([simulated.views[k].directions(x, y) for k in which])
    turn = attitude_between(true.reshape(-1, 3), own.reshape(-1, 3), np.ones(own.size // 3))
    middle = true.mean(axis=(0, 1)) / np.linalg.norm(true.mean(axis=(0, 1)))
    size = np.linalg.norm(np.cross(true, middle)) / np.linalg.norm(np.cross(own @ turn.T, middle))
    off = stretched(own @ turn.T, middle, size) - true
    panel = simulated.panel[which]
    counts = np.maximum(np.bincount(panel), 1)[:, None]
    flat = off.reshape(len(off), -1)
    usual = np.stack([np.bincount(panel, of) for of in flat.T], axis=1) / counts
    focal = ARCSEC / SCALE
    return tuple(
        float(np.sqrt(np.mean(np.sum(each.reshape(off.shape) ** 2, axis=2)))) * focal
        for each in (flat - usual[panel], flat)
    )


def _skies(
    simulated: SimulatedSurveys,
    frames: Sequence[RegisteredFrame],
    which: np.ndarray,
    canvas: Canvas,
    gains: np.ndarray,
    levels: Sequence[Level],
) -> float:
    """Return how far levels are from those that leave the true sky alone, in ADU; a plane over the whole is open."""
    x, y = _grid(frames[0].shape)
    off, places = np.empty((len(frames), len(x), 3)), np.empty((len(frames), len(x), 3))
    for k, (frame, true, gain, level) in enumerate(zip(frames, which, gains, levels, strict=True)):
        view, light = simulated.views[true], simulated.light[true]
        u, v = (
            at - axis for at, axis in zip(canvas.view.pixels(frame.view.directions(x, y)), canvas.origin, strict=True)
        )
        sky = _Sky.nebula(view.directions(x, y))[:, None] * COLOURS
        off[k] = gain * shown(view, light, simulated.glow[true], x, y) + level.at(u, v) - sky * np.mean(gain * light)
        places[k] = np.stack([np.ones_like(u), u, v], axis=1)
    basis, off = places.reshape(-1, 3), off.reshape(-1, 3)
    scale = np.abs(basis).max(axis=0)
    left = off - basis / scale @ np.linalg.lstsq(basis / scale, off, rcond=None)[0]
    return float(np.sqrt(np.mean(left**2)))
