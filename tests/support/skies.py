# SPDX-License-Identifier: GPL-3.0-or-later
"""Star lists of frames whose views of the sky are known: what registration is held to.

The geometry is written here a second time, apart from the project's: tangents of angles, in complex numbers.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from nanstack.survey.record import Facts, Survey
from nanstack.survey.stars import Stars

ARCSEC = np.pi / 180 / 3600


@dataclass(frozen=True)
class Lens:
    """A simulated camera: frame size, arcseconds a pixel, radial distortion in pixels at the corner, its name."""

    shape: tuple[int, int] = (960, 540)
    scale: float = 4.78
    bend: float = 0.0
    name: str = "Seestar S50"

    @property
    def corner(self) -> float:
        return float(np.hypot(*self.shape)) / 2


@dataclass(frozen=True)
class Look:
    """Where a frame looked, in degrees: the axis, and the angle by which the picture is turned.

    Rows grow to the north, or, where `upright`, to the south: the one picture is the other in a mirror.
    """

    ra: float
    dec: float
    turn: float = 0.0
    lens: Lens = Lens()
    scale: float = 1.0
    flux: float = 1.0
    upright: bool = False

    def pixels(self, sky: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return where directions (n, 3) are shown; NaN for those more than 60 degrees from the axis."""
        ra, dec = np.radians((self.ra, self.dec))
        axis = np.array([np.cos(dec) * np.cos(ra), np.cos(dec) * np.sin(ra), np.sin(dec)])
        east = np.array([-np.sin(ra), np.cos(ra), 0])
        north = np.array([-np.sin(dec) * np.cos(ra), -np.sin(dec) * np.sin(ra), np.cos(dec)])
        ahead = sky @ axis
        with np.errstate(divide="ignore", invalid="ignore"):
            across, along = (np.where(ahead > 0.5, sky @ side / ahead, np.nan) for side in (-east, north))
        lens, plane = self.lens, across + 1j * (-along if self.upright else along)
        plane = plane * np.exp(1j * np.radians(self.turn)) / (lens.scale * ARCSEC) * self.scale
        plane = plane * (1 + lens.bend / lens.corner * np.abs(plane / lens.corner) ** 2)
        return plane.real + (lens.shape[1] - 1) / 2, plane.imag + (lens.shape[0] - 1) / 2


def sky_around(ra: float, dec: float, radius: float, count: int, seed: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Return directions (n, 3) of stars within a radius in degrees, evenly spread, and their fluxes."""
    rng = np.random.default_rng([seed, 17])
    depth = 1 - (1 - np.cos(np.radians(radius))) * rng.random(count)
    side, around = np.sqrt(1 - depth**2), rng.uniform(0, 2 * np.pi, count)
    ra, dec = np.radians((ra, dec))
    axis = np.array([np.cos(dec) * np.cos(ra), np.cos(dec) * np.sin(ra), np.sin(dec)])
    east = np.array([-np.sin(ra), np.cos(ra), 0])
    north = np.cross(axis, east)
    sky = depth[:, None] * axis + side[:, None] * (np.cos(around)[:, None] * east + np.sin(around)[:, None] * north)
    return sky, 2000.0 * rng.uniform(1e-3, 1, count) ** (-1 / 1.2)


def stars_list(x, y, flux, fwhm=2.8, noise=12.0) -> Stars:
    """Return a list of stars, brightest first, with the error that the sky's noise gives their places."""
    order = np.argsort(-flux, kind="stable")
    x, y, flux = (np.asarray(v, dtype=np.float64)[order] for v in (x, y, flux))
    sigma = fwhm / 2.355
    return Stars(x, y, flux, 2 * np.sqrt(np.pi) * sigma**2 * noise / flux, fwhm)


def seen(look: Look, sky, flux, rng, *, most=300, missing=0.1, false=0.0, hot=None, jitter=0.05) -> Stars:
    """Return the stars that a frame shows: some missed, all noisy, false ones and hot pixels added."""
    x, y = look.pixels(sky)
    height, width = look.lens.shape
    here = np.flatnonzero((x > 3) & (x < width - 4) & (y > 3) & (y < height - 4))
    here = here[rng.random(len(here)) >= missing]
    bright = here[np.argsort(-flux[here], kind="stable")[:most]]
    light = flux[bright] * look.flux * np.exp(rng.normal(0, 0.03, len(bright)))
    error = np.hypot(jitter, 60.0 / light)
    x, y = x[bright] + rng.normal(0, 1, len(bright)) * error, y[bright] + rng.normal(0, 1, len(bright)) * error
    wrong = round(false * len(bright) / (1 - false))
    x = np.append(x, rng.uniform(3, width - 4, wrong))
    y = np.append(y, rng.uniform(3, height - 4, wrong))
    light = np.append(light, rng.choice(light, wrong) if wrong and len(light) else [])
    if hot is not None:
        x, y, light = np.append(x, hot[0]), np.append(y, hot[1]), np.append(light, hot[2])
    return stars_list(x, y, light)


def survey_of(look: Look, stars: Stars, index: int, *, pointing="own", scale="own", wcs=None) -> Survey:
    """Return what a survey of the frame would tell; `pointing` and `scale` replace what its header says."""
    facts = Facts(
        pattern="GRBG",
        instrument=look.lens.name,
        exposure=10.0,
        scale=look.lens.scale if scale == "own" else scale,
        pointing=(look.ra % 360, look.dec) if pointing == "own" else pointing,
        wcs=wcs,
        date=f"2026-01-01T20:{index // 60 % 60:02d}:{index % 60:02d}",
    )
    shape = (*look.lens.shape, 3)
    return Survey(
        Path(f"frame_{index:04d}.fit"), shape, facts, stars, np.full((8, 5, 3), 1000.0, np.float32), np.full(3, 12.0)
    )


def surveys_of(looks, sky, flux, seed=1, *, hints=True, **more) -> list[Survey]:
    """Return the surveys of frames that looked at one sky; `hints=False` leaves their pointings out."""
    rng = np.random.default_rng([seed, 23])
    return [
        survey_of(look, seen(look, sky, flux, rng, **more), index, pointing="own" if hints else None)
        for index, look in enumerate(looks)
    ]


def with_pointing(survey: Survey, pointing) -> Survey:
    return replace(survey, facts=replace(survey.facts, pointing=pointing))


def disagreement(looks, views, sky) -> np.ndarray:
    """Return, for each pair of frames that overlap, the rms in pixels of where the first's stars fall on the second.

    Directions go through the solution (from the first frame's true pixels, on to the second); a rotation or a stretch
    of the whole solution, which frames cannot know, does not count.
    """
    places = [look.pixels(sky) for look in looks]
    inside = [
        (x > 0) & (x < look.lens.shape[1] - 1) & (y > 0) & (y < look.lens.shape[0] - 1)
        for (x, y), look in zip(places, looks, strict=True)
    ]
    found = []
    for i, first in enumerate(views):
        for j, second in enumerate(views):
            common = inside[i] & inside[j]
            if i == j or common.sum() < 4:
                continue
            x, y = second.pixels(first.directions(places[i][0][common], places[i][1][common]))
            away = (x - places[j][0][common]) ** 2 + (y - places[j][1][common]) ** 2
            found.append(np.sqrt(np.mean(away)) if np.isfinite(away).all() else np.inf)
    return np.array(found)
