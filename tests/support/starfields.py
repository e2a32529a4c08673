# SPDX-License-Identifier: GPL-3.0-or-later
"""Star lists of simulated frames of a simulated sky, whose cameras and places are known."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from nanstack.register.camera import ARCSEC, Camera, attitude_between, direction_of, local_axes
from nanstack.survey.record import Facts, Survey
from nanstack.survey.stars import Stars

SHAPE = (1920, 1080)


def camera(arcsec=2.39, corner_px=0.0, shape=SHAPE):
    focal, corner = ARCSEC / arcsec, np.hypot(*shape) / 2
    return Camera(shape, focal, corner_px / corner * (focal / corner) ** 2)


def looking(ra, dec, turn=0.0):
    """Attitude of a camera that looks somewhere, its columns turned from the west to the south, in degrees."""
    axis = direction_of(ra, dec)
    east, north = local_axes(axis)
    c, s = np.cos(np.radians(turn)), np.sin(np.radians(turn))
    return np.array([-c * east - s * north, s * east - c * north, axis])


@dataclass
class Field:
    """Stars around a place: directions, and fluxes in a clear frame."""

    directions: np.ndarray
    flux: np.ndarray


def field(seed, ra, dec, radius, number, slope=0.6):
    """So many stars within a radius in degrees, evenly spread; N(>flux) goes as flux ** -slope."""
    rng = np.random.default_rng(seed)
    z = 1 - rng.random(number) * (1 - np.cos(np.radians(radius)))
    a = rng.uniform(0, 2 * np.pi, number)
    axis = direction_of(ra, dec)
    east, north = local_axes(axis)
    r = np.sqrt(1 - z**2)
    around = r[:, None] * (np.cos(a)[:, None] * east + np.sin(a)[:, None] * north) + z[:, None] * axis
    return Field(around, 500 * rng.random(number) ** (-1 / slope))


def shot(rng, sky, view, *, noise=0.07, clear=1.0, false=0.0, most=None, least_flux=500.0, drop=0.05, facts=None):
    """The survey of one frame: its stars with noise, so large a share of them missing or false; `most` brightest."""
    seen = np.flatnonzero(sky.directions @ view.pointing > 0.2)
    x, y = view.pixels(sky.directions[seen])
    height, width = view.camera.shape
    here = (x > 0) & (x < width - 1) & (y > 0) & (y < height - 1) & (rng.random(len(x)) > drop)
    here &= clear * sky.flux[seen] > least_flux
    x, y, flux = x[here], y[here], clear * sky.flux[seen][here]
    error = np.full(len(x), noise)
    x, y = x + rng.normal(0, noise, len(x)), y + rng.normal(0, noise, len(x))
    flux = flux * np.exp(rng.normal(0, 0.03, len(x)))
    wrong = round(false / (1 - false) * len(x))
    x, y = np.append(x, rng.uniform(0, width - 1, wrong)), np.append(y, rng.uniform(0, height - 1, wrong))
    flux = np.append(flux, least_flux * rng.random(wrong) ** (-1 / 0.8))
    order = np.argsort(-flux)[:most]
    stars = Stars(x[order], y[order], flux[order], np.append(error, np.full(wrong, noise))[order], 3.0)
    facts = facts or Facts(instrument="S50", scale=view.camera.scale)
    return Survey(Path("frame.fits"), (*view.camera.shape, 3), facts, stars, np.zeros((1, 1)), np.zeros(3))


def misfit(truth, found, rng=None):
    """Root mean square distance in pixels between the true and the found place of frames' pixels on one sphere.

    The found sphere is turned, and scaled about the middle, to the true one: neither is for stars alone to know.
    """
    truth, found = zip(*((t, f) for t, f in zip(truth, found, strict=True) if f is not None), strict=True)
    height, width = truth[0].camera.shape
    px, py = (v.ravel() for v in np.meshgrid(np.linspace(0, width - 1, 5), np.linspace(0, height - 1, 5)))
    true = np.concatenate(
        [view.directions(px * view.camera.shape[1] / width, py * view.camera.shape[0] / height) for view in truth]
    )
    got = np.concatenate(
        [view.directions(px * view.camera.shape[1] / width, py * view.camera.shape[0] / height) for view in found]
    )
    for _ in range(3):
        got = got @ attitude_between(true, got, np.ones(len(got))).T
        middle = true.mean(axis=0) / np.linalg.norm(true.mean(axis=0))
        out, ref = (_from_middle(v, middle) for v in (got, true))
        size = np.sum(out * ref) / np.sum(out * out)
        got = _to_sphere(out * size, middle)
    off = np.linalg.norm(got - true, axis=1).reshape(len(truth), -1)
    off *= np.array([view.camera.focal * view.scale for view in truth])[:, None]
    return float(np.sqrt(np.mean(off**2))), np.sqrt(np.mean(off**2, axis=1))


def _from_middle(directions, middle):
    east, north = local_axes(middle)
    across = np.stack([directions @ east, directions @ north], axis=1)
    sine = np.linalg.norm(across, axis=1)
    angle = np.arctan2(sine, directions @ middle)
    return across * (angle / np.maximum(sine, 1e-15))[:, None]


def _to_sphere(flat, middle):
    east, north = local_axes(middle)
    angle = np.linalg.norm(flat, axis=1)
    side = flat * np.sinc(angle / np.pi)[:, None]
    return side[:, :1] * east + side[:, 1:] * north + np.cos(angle)[:, None] * middle
