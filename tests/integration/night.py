# SPDX-License-Identifier: GPL-3.0-or-later
"""A simulated night of 2 x 2 pointings with skies as one asks for, and the steps that a mosaic of it shows."""

from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

import numpy as np
from astropy.io import fits
from astropy.wcs import WCS

from nanstack.arrays import has_data
from nanstack.levels.photometry import noise_level
from nanstack.truth.simulation import StarField, apply, compose, invert, similarity, sky_plane
from zemosaic_patch.demo import tile
from zemosaic_patch.demo.joined import affine
from zemosaic_patch.demo.session import MOON_TURNS, OVERLAP, Session, SessionFrame, pleiades_session

GRADIENTS = ("shared", "alike", "turning", "differing")
DITHER = 1 / 120  # of a frame's width, either way: to ZeMosaic, whose threshold is three times as large, still one tile
TURN_DEG = 4.0  # the field turns this far either way within the night
STRETCH_PX = 120  # a frame's border is measured in pieces of about this length
NEAR_PX, FAR_PX = (3, 11), (12, 28)  # bands on either side of a border: the step, and the sky's slope there
MIN_PIXELS = 400  # of a band: fewer show no step that could be told from noise


@dataclass(frozen=True)
class Night:
    """What is simulated.

    Attributes
    ----------
    frames : int
    shape : (int, int)
        Of a frame; even.
    seed : int
    sky_scatter : float
        The sky of each frame and channel lies within 1 +- this.
    gradient : float
        From edge to edge of a frame the sky changes by this share, along x and along y together.
    gradients : {'shared', 'alike', 'turning', 'differing'}
        One gradient lies on the whole sky, through all pointings; or every frame has the same one, as the horizon's
        glow makes it; or its direction turns steadily, as with the Moon; or each frame has one of its own.
    noise : float
        Standard deviation of a raw sample, in ADU: less than a real frame's, so that small steps are seen.
    pointings : int
        Of the 2 x 2 places, how many are visited in turn.
    """

    frames: int = 32
    shape: tuple[int, int] = (270, 480)
    seed: int = 1
    sky_scatter: float = 0.05
    gradient: float = 0.04
    gradients: str = "shared"
    noise: float = 8.0
    pointings: int = 4


def session_of(night: Night) -> Session:
    """Return what is true of a night: the demo's field stars and pointings, small dithers and the skies asked for."""
    session = pleiades_session(night.frames, night.shape, night.seed)
    rng = np.random.default_rng([night.seed, 2])
    frames = []
    for index, progress in enumerate(np.linspace(0, 1, night.frames)):
        dither = DITHER * night.shape[1] * rng.uniform(-1, 1, 2)
        transform = similarity(night.shape, *dither, TURN_DEG * (2 * progress - 1))
        transform[:, 2] -= transform[:, :2] @ _pointing(index % night.pointings, night.shape)
        level = np.array(tile.SKY) * (1 + night.sky_scatter * rng.uniform(-1, 1, 3))
        plane = _plane(night, transform, night.gradient * _direction(night.gradients, progress, rng))
        frames.append(SessionFrame(tile.frame_name(index), transform, np.outer(plane, level)))
    return replace(session, scene=_plain(session.scene), frames=frames)


def _plain(scene: tile.Scene) -> tile.Scene:
    """Leave out all but the field stars: around brighter ones ZeMosaic's Phases 5 and 6 draw shapes of their own."""
    stars = scene.stars
    field = slice(len(tile.PLEIADES), None)
    nothing = replace(scene.aureoles, x=np.empty(0), y=np.empty(0), flux=np.empty((0, 3)))
    return replace(
        scene, stars=StarField(stars.x[field], stars.y[field], stars.flux[field]), aureoles=nothing, nebulae=[]
    )


def _plane(night: Night, transform: np.ndarray, gradient: np.ndarray) -> np.ndarray:
    """Return a frame's sky, as `SimulatedFrame.sky`, in units of its level."""
    size = np.array(night.shape[::-1])
    if night.gradients != "shared":
        return np.array([1.0, *(gradient / size)])
    back = invert(transform)
    middle = np.array(apply(back, *(size - 1) / 2)) - (size - 1) / 2
    return np.array([1 + gradient / size @ middle, *(gradient / size @ back[:, :2])])


def _pointing(place: int, shape: tuple[int, int]) -> np.ndarray:
    """Return how far right and down of the middle frames of this place, 0 to 3, point."""
    corner = np.array([place % 2, place // 2]) - 0.5
    return corner * (1 - OVERLAP) * np.array(shape[::-1])


def _direction(gradients: str, progress: float, rng: np.random.Generator) -> np.ndarray:
    """Return how much of the gradient lies along x and along y."""
    if gradients == "differing":
        return rng.uniform(-1, 1, 2)
    angle = np.pi / 6 + (2 * np.pi * MOON_TURNS * progress if gradients == "turning" else 0)
    return np.array([np.cos(angle), np.sin(angle)])


def write_frames(night: Night, folder: Path) -> Session:
    """Write a night's frames as raw, solved Seestar files, and return what is true of them."""
    folder.mkdir(parents=True, exist_ok=True)
    session = session_of(night)
    for index, frame in enumerate(session.frames):
        rng = np.random.default_rng([night.seed, 3, index])
        raw = tile.bayer_mosaic(_light(session, frame)) + session.hot
        raw += rng.normal(0, night.noise, raw.shape)
        wcs = tile.moved_wcs(session.wcs, frame.transform)
        header = tile.frame_header(wcs, session.shape, tile.START + index * tile.CADENCE)
        raw = np.clip(np.rint(raw), 0, tile.SATURATION).astype(np.uint16)
        fits.writeto(folder / frame.name, raw, header, overwrite=True)
    return session


def _light(session: Session, frame: SessionFrame) -> np.ndarray:
    height, width = session.shape
    sky = sky_plane(frame.sky, session.shape, np.arange(width), np.arange(height)[:, np.newaxis])
    return tile.scene_light(session.scene, session.shape, frame.transform) + sky.astype(np.float32)


@dataclass(frozen=True)
class Figures:
    """Steps across the frames' borders in a mosaic, in its unit (ADU).

    Attributes
    ----------
    level_largest, level_rms : float
        Of the mean of the channels.
    colour_largest, colour_rms : float
        Of R - G or B - G, the larger one.
    noise : float
        Of a pixel; mean of the channels.
    """

    level_largest: float
    level_rms: float
    colour_largest: float
    colour_rms: float
    noise: float

    def __str__(self) -> str:
        return (
            f"steps in level {self.level_largest:.2f} (rms {self.level_rms:.2f}), in colour {self.colour_largest:.2f} "
            f"(rms {self.colour_rms:.2f}), noise {self.noise:.2f} ADU"
        )


def measure(image: np.ndarray, wcs: WCS, session: Session) -> Figures:
    """Measure a mosaic, or whatever else shows the session's light less that light; NaN is no data."""
    steps = border_steps(image, affine(wcs, session.wcs, image.shape[:2]), session)
    level = np.abs(steps.mean(axis=1))
    colour = np.abs(steps[:, [0, 2]] - steps[:, [1]]).max(axis=1)
    noise = float(np.mean(noise_level(image)))
    return Figures(level.max(), _rms(level), colour.max(), _rms(colour), noise)


def _rms(values: np.ndarray) -> float:
    return float(np.sqrt(np.mean(values**2)))


def border_steps(image: np.ndarray, to_reference: np.ndarray, session: Session) -> np.ndarray:
    """Return the steps across all frames' borders, a row a stretch, a column a channel."""
    columns, rows = np.meshgrid(np.arange(image.shape[1]), np.arange(image.shape[0]))
    valid = has_data(image)
    columns, rows, pixels = columns[valid], rows[valid], image[valid]
    found = []
    for frame in session.frames:
        x, y = apply(compose(frame.transform, to_reference), columns, rows)
        for inwards, along, length in _sides(x, y, session.shape):
            near = np.abs(inwards) <= FAR_PX[1]
            ends = np.linspace(0, length, round(length / STRETCH_PX) + 1)
            for start, end in pairwise(ends):
                chosen = np.flatnonzero(near & (along >= start) & (along < end))
                found.append(_stretch_step(pixels[chosen], inwards[chosen]))
    return np.array([step for step in found if step is not None])


def _sides(x, y, shape):
    """Yield, for each side of a frame, how far inwards pixels lie, how far along it, and how long it is."""
    height, width = shape
    yield from ((x, y, height), (width - 1 - x, y, height), (y, x, width), (height - 1 - y, x, width))


def _stretch_step(pixels: np.ndarray, inwards: np.ndarray) -> np.ndarray | None:
    """Return the step (C,) of a stretch, less what the sky's slope on both sides makes of it."""
    bands = [_median(pixels, side * inwards, band) for side in (1, -1) for band in (NEAR_PX, FAR_PX)]
    if any(band is None for band in bands):
        return None
    near_in, far_in, near_out, far_out = bands
    slope = (far_in - near_in + near_out - far_out) / 2 / (np.mean(FAR_PX) - np.mean(NEAR_PX))
    return near_in - near_out - slope * 2 * np.mean(NEAR_PX)


def _median(pixels: np.ndarray, distance: np.ndarray, band: tuple[int, int]) -> np.ndarray | None:
    within = pixels[(distance >= band[0]) & (distance <= band[1])]
    return np.median(within, axis=0) if len(within) >= MIN_PIXELS else None
