# SPDX-License-Identifier: GPL-3.0-or-later
"""A simulated mosaic's frames: 2 x 2 pointings on the Pleiades, every frame with a sky of its own.

One tangent plane holds all: a frame is a similarity transform away from the reference, exactly.
"""

from __future__ import annotations

import json
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from nanstack.io.files import complete_file
from nanstack.memory import threads
from nanstack.truth.simulation import similarity, sky_plane
from zemosaic_patch.demo import tile as demo

if TYPE_CHECKING:
    from astropy.wcs import WCS

RECORD = "session.json"  # beside the frames: what `pleiades_session` made them of
SHAPE = (540, 960)
FRAMES = 40
POINTINGS = 4  # one after the other
OVERLAP = 0.2  # of a frame's height and width, between neighbouring pointings
FIELD_MARGIN = 0.55  # stars reach this many diagonals beyond the middle frame's corners: as far as any frame
SKY_SCATTER = 0.10  # a frame's sky lies within 1 +- this, in each channel on its own
SKY_GRADIENT = 0.03  # from edge to edge the sky changes by this share: moonlight
MOON_TURNS = 0.6  # times that the gradient's direction turns round within a session
HAZE_SIGMA, HAZE_PEAK = 5.0, 0.35  # around each nebula lies a haze: so much wider, so much of its brightness


@dataclass(frozen=True)
class SessionFrame:
    """A frame of the session.

    Attributes
    ----------
    name : str
        Of its file.
    transform : ndarray, shape (2, 3)
        Reference to frame.
    sky : ndarray, shape (3, 3)
        See `nanstack.truth.simulation.SimulatedFrame`.
    """

    name: str
    transform: np.ndarray
    sky: np.ndarray


@dataclass(frozen=True)
class Session:
    """All that is true of a simulated mosaic.

    Attributes
    ----------
    shape : (int, int)
        Of a frame.
    wcs : WCS
        Of the reference: a frame's pixels around the middle of the mosaic.
    scene : Scene
        Stars and nebulae, in reference pixels; the sky is not in it.
    frames : list of SessionFrame
    hot : ndarray of float32, shape (H, W)
        The sensor's hot pixels.
    seed : int
        Of the noise, the cosmic rays and the satellites.
    """

    shape: tuple[int, int]
    wcs: WCS
    scene: demo.Scene
    frames: list[SessionFrame]
    hot: np.ndarray
    seed: int


def pleiades_session(n_frames: int = FRAMES, shape: tuple[int, int] = SHAPE, seed: int = 1) -> Session:
    """Return a session of 2 x 2 pointings on the Pleiades; the same arguments give the same session.

    The telescope goes round the pointings, frame by frame, dithers, and turns steadily. Each frame has a sky of its
    own, within 10 % in each channel and with a gradient of 3 % that turns, too: where the number of frames changes,
    their plain mean steps.

    Parameters
    ----------
    n_frames : int
        Of all pointings together.
    shape : (int, int)
        Height and width; even. A frame's field is as wide for every shape.
    seed : int
    """
    rng = np.random.default_rng(seed)
    wcs = demo.pleiades_wcs(shape)
    scene = _with_haze(demo.pleiades_scene(shape, wcs, rng, FIELD_MARGIN))
    return Session(shape, wcs, scene, _frames(n_frames, shape, rng), demo.hot_pixels(shape, rng), seed)


def write_frames(session: Session, folder: str | os.PathLike) -> None:
    """Write a session's frames as raw Seestar FITS files, of the kind that `write_pleiades_frames` writes.

    Beside them goes a record of what was simulated, from which `read_session` has the truth.

    Parameters
    ----------
    session : Session
    folder : path
        Created if missing; files of the same name are replaced.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    with ThreadPoolExecutor(threads()) as pool:
        list(pool.map(lambda index: _write_frame(session, index, folder), range(len(session.frames))))
    record = {"n_frames": len(session.frames), "shape": session.shape, "seed": session.seed}
    with complete_file(folder / RECORD) as temporary:
        temporary.write_text(json.dumps(record) + "\n", encoding="utf-8")


def read_session(folder: Path) -> Session:
    """Return the session whose frames `write_frames` wrote to a folder.

    Raises
    ------
    FileNotFoundError
        Where it wrote none.
    """
    record = json.loads((folder / RECORD).read_text(encoding="utf-8"))
    return pleiades_session(record["n_frames"], tuple(record["shape"]), record["seed"])


def _with_haze(scene: demo.Scene) -> demo.Scene:
    """Add what makes the field interesting: structure of the sky that goes on across the tiles' borders."""
    haze = [replace(glow, sigma=HAZE_SIGMA * glow.sigma, peak=HAZE_PEAK * glow.peak) for glow in scene.nebulae]
    return replace(scene, nebulae=scene.nebulae + haze)


def _frames(n_frames: int, shape: tuple[int, int], rng: np.random.Generator) -> list[SessionFrame]:
    """Return where each frame of a session points, and its sky."""
    size = np.array(shape[::-1])
    pointings = [np.array([x, y]) * (1 - OVERLAP) / 2 * size for y in (-1, 1) for x in (-1, 1)]
    reach = demo.DITHER * size
    frames = []
    for index, progress in enumerate(np.linspace(0, 1, n_frames)):
        turned = similarity(shape, *rng.uniform(-reach, reach), demo.FIELD_ROTATION * (2 * progress - 1))
        turned[:, 2] -= turned[:, :2] @ pointings[index % POINTINGS]
        level = np.array(demo.SKY) * (1 + SKY_SCATTER * rng.uniform(-1, 1, 3))
        moon = 2 * np.pi * MOON_TURNS * progress
        slopes = SKY_GRADIENT * np.array([np.cos(moon), np.sin(moon)]) / size
        frames.append(SessionFrame(demo.frame_name(index), turned, np.stack([level, *np.outer(slopes, level)])))
    return frames


def _write_frame(session: Session, index: int, folder: Path) -> None:
    from astropy.io import fits

    shape, frame, count = session.shape, session.frames[index], len(session.frames)
    rng = np.random.default_rng([session.seed, index])  # of its own: the same frame, whatever thread writes it
    light = demo.scene_light(session.scene, shape, frame.transform)
    light += sky_plane(frame.sky, shape, np.arange(shape[1]), np.arange(shape[0])[:, None]).astype(np.float32)
    light *= demo.vignetting(shape, demo.RESIDUAL_VIGNETTING)[:, :, None]
    if index in (count // 4, 2 * count // 3):
        light += demo.satellite_trail(shape, rng)[:, :, None]
    raw = demo.expose(demo.bayer_mosaic(light), session.hot, rng)
    header = demo.frame_header(demo.moved_wcs(session.wcs, frame.transform), shape, demo.START + index * demo.CADENCE)
    fits.PrimaryHDU(raw, header).writeto(folder / frame.name, overwrite=True)
