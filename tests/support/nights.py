# SPDX-License-Identifier: GPL-3.0-or-later
"""Raw frames as a smart telescope writes them, no solution in them, of stars whose places are known."""

import numpy as np

from nanstack.truth.simulation import compose, random_star_field, render_stars, similarity
from tests.nanstack.survey.simulated import NOISE, adu16, mosaic_of, noisy, sky_of, write

SHAPE = (400, 560)
STARS = {"margin": 0.5, "brightest": 150_000, "faintest": 5_000}
OPTICS = {"FOCALLEN": 250.0, "XPIXSZ": 2.9}
SCALE = 206.265 * 2.9 / 250  # arcseconds a pixel
SECONDS = 10.0


def sky_of_stars(seed, stars=60):
    """Stars in and around the frames, so many in the area of one."""
    return random_star_field(SHAPE, stars, np.random.default_rng(seed), **STARS)


def turns(count, seed=0, shift=30, degrees=20):
    """Transforms from the plane of the stars to frames that drift and turn."""
    rng = np.random.default_rng(seed)
    return [similarity(SHAPE, *rng.uniform(-shift, shift, 2), rng.uniform(-degrees, degrees)) for _ in range(count)]


def light(path, sky, transform, *, clear=1.0, seconds=SECONDS, steps=((0.0, 0.0),), vignetting=0.0, seed=0, **cards):
    """Write a raw frame: stars through so clear a sky, exposed at steps of the pointing, which blur or double them.

    The corners get so much less light than the middle.
    """
    exposures = [render_stars(sky, SHAPE, compose(similarity(SHAPE, *step), transform)) for step in steps]
    longer = seconds / SECONDS
    colour = longer * (sky_of(SHAPE) + clear * sum(exposures) / len(exposures))
    row, column = np.ogrid[-1 : 1 : SHAPE[0] * 1j, -1 : 1 : SHAPE[1] * 1j]
    colour *= 1 - vignetting * ((row**2 + column**2) / 2)[..., np.newaxis]
    raw = noisy(mosaic_of(colour), seed, NOISE * np.sqrt(longer))
    return write(path, adu16(raw), "GRBG", **{"EXPTIME": seconds, **OPTICS, **cards})


def night(folder, sky, transforms, name="light", **what):
    """Write a frame for each transform; return the files."""
    folder.mkdir(exist_ok=True)
    return [
        light(folder / f"{name}_{index:02d}.fit", sky, transform, seed=hash_of(name, index), **what)
        for index, transform in enumerate(transforms)
    ]


def hash_of(name, index):
    """A seed for the noise of a frame."""
    return sum(map(ord, name)) * 1000 + index
