# SPDX-License-Identifier: GPL-3.0-or-later
"""Small frames with files, placed on the sky by numbers out of a hat: what cells are stacked of."""

from dataclasses import replace

import numpy as np

from nanstack.levels.placed import Level, PlacedFrame, SampleNoise
from nanstack.register.camera import ARCSEC, Camera, View
from tests.support.registered import registered
from tests.support.starfields import looking

SHAPE = (90, 120)
ARCSEC_A_PIXEL = 20.0


def frames_in(folder, count, seed=0, *, shape=SHAPE, spread=60, at=(83.8, 22.0), turn=180.0, name="frame"):
    """Frames (H, W) of noise around 1000 ADU, some pixels without data, so many pixels around a place, turned at will.

    Each has its own optics, bent by half a pixel at the corners.
    """
    rng = np.random.default_rng(seed)
    made = []
    for index in range(count):
        samples = rng.normal(1000, 10, shape).astype(np.float32)
        samples.flat[rng.choice(samples.size, 5, replace=False)] = np.nan
        samples.flat[rng.choice(samples.size, 5, replace=False)] += 5000
        path = folder / f"{name}_{index:02d}.npy"
        np.save(path, samples)
        made.append(frame_at(path, rng, shape, spread, at, turn, digest=f"{name} {index} of seed {seed}"))
    return made


def frame_at(path, rng, shape=SHAPE, spread=60, at=(83.8, 22.0), turn=180.0, digest=None):
    """A frame of a file, somewhere around a place."""
    focal = ARCSEC / ARCSEC_A_PIXEL * rng.uniform(0.97, 1.03)
    east, north = rng.uniform(-spread, spread, 2) * ARCSEC_A_PIXEL / 3600
    dec = float(np.clip(at[1] + north, -90, 90))
    ra = at[0] + east / max(np.cos(np.radians(dec)), 1e-3)
    radius = np.hypot(*shape) / 2
    camera = Camera(shape, focal, 0.5 / radius * (focal / radius) ** 2)
    frame = registered(path, shape=shape, digest=digest or f"{path} at {at}")
    return replace(frame, view=View(camera, looking(ra, dec, rng.uniform(-turn, turn)), rng.uniform(0.998, 1.002)))


def placed(frames, seed=0):
    """Frames with gains, levels, weights and noise, the same for the same frame whichever others there are."""
    return [_placed(frame, np.random.default_rng([seed, *frame.survey.digest.encode()])) for frame in frames]


def _placed(frame, rng):
    level = Level(rng.normal(0, 20, 1), *rng.normal(0, 0.05, (2, 1)), *rng.normal(0, 1e-4, (3, 1)))
    noise = SampleNoise(rng.uniform(50, 100, 1), np.array([0.1]), np.array([1000.0]))
    return PlacedFrame(frame, rng.uniform(0.9, 1.1, 1), level, float(rng.uniform(0.5, 1.5)), noise, 0.2)
