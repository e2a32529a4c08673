# SPDX-License-Identifier: GPL-3.0-or-later
"""Frames that have found their place: what the survey knows of each, and where it looks."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from nanstack.register.camera import View
from nanstack.survey.record import Facts, Survey

if TYPE_CHECKING:
    from pathlib import Path

    from astropy.wcs import WCS


@dataclass(frozen=True)
class Flat:
    """What the samples of a camera are multiplied by where they lie, so that it shows a star alike all over its sensor.

    A device's own flat leaves as much. It is 1 + uu u^2 + uv u v + vv v^2, and is 1 on average: see `sensor_terms`.

    Attributes
    ----------
    uu, uv, vv : float
    error : float
        Standard error of what the corners get more than the middle; NaN where nothing is known.
    """

    uu: float = 0.0
    uv: float = 0.0
    vv: float = 0.0
    error: float = np.nan

    @property
    def terms(self) -> np.ndarray:
        """uu, uv, and vv: (3,)."""
        return np.array([self.uu, self.uv, self.vv])

    def at(self, shape: tuple[int, ...], x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Return what pixels (x, y) of a frame of that shape are multiplied by: (n,)."""
        return 1 + np.sum(sensor_terms(shape, x, y) * self.terms, axis=1)

    def corner(self, shape: tuple[int, ...]) -> float:
        """Return what the corners of a frame are multiplied by beyond the middle, on average."""
        return float(np.sum(corner_terms(shape) * self.terms))


NO_FLAT = Flat()


def sensor_terms(shape: tuple[int, ...], x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Return what the terms of a flat are multiplied by at pixels (x, y) of a frame: (n, 3).

    They are u^2, u v, and v^2, less what these are on average over the frame: u and v are counted from its middle, in
    halves of its longer side.
    """
    (height, width), half = shape[:2], max(shape[:2]) / 2
    u, v = (x - (width - 1) / 2) / half, (y - (height - 1) / 2) / half
    return np.stack([u * u, u * v, v * v], axis=1) - usual_terms(shape)


def usual_terms(shape: tuple[int, ...]) -> np.ndarray:
    """Return what u^2, u v, and v^2 are on average over a frame: (3,)."""
    height, width = np.array(shape[:2]) / max(shape[:2])
    return np.array([width**2 / 3, 0.0, height**2 / 3])


def corner_terms(shape: tuple[int, ...]) -> np.ndarray:
    """Return what u^2, u v, and v^2 are in a frame's corners, on average: (3,)."""
    return 3 * usual_terms(shape)


@dataclass(frozen=True)
class RegisteredFrame:
    """A frame that its stars have placed.

    Attributes
    ----------
    survey : Survey
    view : View
        On the sphere of its group, or on the sky.
    stars : int
        How many of its stars the registration rests on.
    rms : float
        Their root mean square distance from where the others have them, in pixels.
    factor : float
        What its samples are multiplied by, so that frames of all exposures and cameras show a star alike.
    factor_error : float
        Its standard error, as a share of it; NaN where it is not by stars.
    flat : Flat
        Of its camera.
    exposed : float
        How long it was exposed, in seconds, where its pixels show that the header is wrong; NaN where they do not, and
        0 where nobody knows.
    """

    survey: Survey
    view: View
    stars: int
    rms: float
    factor: float = 1.0
    factor_error: float = np.nan
    flat: Flat = NO_FLAT
    exposed: float = np.nan

    @property
    def path(self) -> Path:
        """The frame's file."""
        return self.survey.path

    @property
    def shape(self) -> tuple[int, ...]:
        """(H, W) or (H, W, 3)."""
        return self.survey.shape

    @cached_property
    def facts(self) -> Facts:
        """What its header says, as far as it holds."""
        if np.isnan(self.exposed):
            return self.survey.facts
        return replace(self.survey.facts, exposure=self.exposed or None)

    @property
    def pointing(self) -> np.ndarray:
        """The direction that its middle shows."""
        return self.view.pointing

    @property
    def scale(self) -> float:
        """Radians a pixel, in the middle."""
        return 1 / (self.view.camera.focal * self.view.scale)

    @cached_property
    def wcs(self) -> WCS:
        """Its view as a celestial solution."""
        return self.view.wcs()


def cameras(frames: Sequence[RegisteredFrame]) -> np.ndarray:
    """Number the cameras that frames were taken by: (n,)."""
    return numbered([(frame.facts.instrument, frame.shape) for frame in frames])


def numbered(names: Sequence[Hashable]) -> np.ndarray:
    """Number names from 0, those that are alike alike: (n,)."""
    number = {name: index for index, name in enumerate(dict.fromkeys(names))}
    return np.array([number[name] for name in names])
