# SPDX-License-Identifier: GPL-3.0-or-later
"""Raw frames whose stars are known: drawn here photosite by photosite, apart from the code under test."""

from dataclasses import dataclass

import numpy as np
from astropy.io import fits

from nanstack.truth.simulation import StarField, render_stars, similarity

SKY = (900.0, 1300.0, 1000.0)
NOISE = 20.0
COLOUR = {"R": 0, "G": 1, "B": 2}


@dataclass(frozen=True)
class Scene:
    shape: tuple[int, int] = (480, 640)
    fwhm: float = 3.0
    stars: int = 90
    seed: int = 1
    colour: tuple[float, float, float] = (0.8, 1.0, 0.7)
    brightest: float = 150_000.0
    faintest: float = 6_000.0

    def field(self):
        """Return stars at least 12 px apart and from the edges, brightest first."""
        rng = np.random.default_rng(self.seed)
        places = []
        while len(places) < self.stars:
            x, y = rng.uniform(12, self.shape[1] - 12), rng.uniform(12, self.shape[0] - 12)
            if all(np.hypot(x - a, y - b) > 12 for a, b in places):
                places.append((x, y))
        flux = np.geomspace(self.brightest, self.faintest, self.stars)
        return StarField(*np.array(places).T, flux[:, None] * np.array(self.colour))


def light_of(scene, steps=((0.0, 0.0),)):
    """Return the stars' light (H, W, 3), the mean of exposures at some shifts."""
    field = scene.field()
    frames = [render_stars(field, scene.shape, similarity(scene.shape, *step), scene.fwhm) for step in steps]
    return sum(frames) / len(frames)


def sky_of(shape, slope=0.0):
    tilt = 1 + slope * (np.arange(shape[1]) / shape[1] - 0.5)
    return np.broadcast_to(tilt[None, :, None] * np.array(SKY), (*shape, 3))


def mosaic_of(colour, pattern="GRBG"):
    out = np.empty(colour.shape[:2])
    for place, letter in enumerate(pattern):
        row, column = divmod(place, 2)
        out[row::2, column::2] = colour[row::2, column::2, COLOUR[letter]]
    return out


def noisy(values, seed=2, sigma=NOISE):
    return values + np.random.default_rng(seed).normal(0, sigma, values.shape)


def write(path, samples, pattern="", **cards):
    header = fits.Header({"INSTRUME": "Seestar S50", "EXPTIME": 10.0, "IMAGETYP": "Light"})
    if pattern:
        header["BAYERPAT"] = pattern
    header.update(cards)
    fits.PrimaryHDU(samples, header).writeto(path, overwrite=True)
    return path


def adu16(values):
    return np.clip(np.rint(values), 0, 65535).astype(np.uint16)


def raw_file(path, scene, pattern="GRBG", steps=((0.0, 0.0),), hot=0, slope=0.0, seed=2):
    """Write a raw frame, with hot pixels of up to 30,000 ADU."""
    raw = noisy(mosaic_of(sky_of(scene.shape, slope) + light_of(scene, steps), pattern), seed)
    rng = np.random.default_rng(seed)
    places = rng.choice(raw.size, hot, replace=False)
    raw.flat[places] += rng.uniform(200, 30_000, hot)
    return write(path, adu16(raw), pattern)


def offsets(stars, field):
    """Return how far each star found lies from the nearest true one, (n, 2), and which that is."""
    away = np.stack([stars.x[:, None] - field.x, stars.y[:, None] - field.y], axis=2)
    nearest = np.hypot(away[..., 0], away[..., 1]).argmin(axis=1)
    return away[np.arange(len(stars)), nearest], nearest
