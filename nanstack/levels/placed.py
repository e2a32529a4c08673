# SPDX-License-Identifier: GPL-3.0-or-later
"""Frames as they go onto a canvas: what becomes of a sample, how sure it is, and what it counts for."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from nanstack.register.registered import RegisteredFrame
    from nanstack.survey.trails import Trail


NOTHING_LEFT = np.array([1.0, 0, 0, 0, 0, 0])  # of a flat, by a camera's own
NOTHING_MASKED = np.empty((0, 5))


@dataclass(frozen=True)
class Level:
    """What is added to a frame's samples: a polynomial of the place on the canvas.

    It is ``offset + slope_x x + slope_y y + bend_xx x^2 + bend_xy x y + bend_yy y^2``. x and y are pixels of the
    canvas, counted from the one that its axis meets, so that a canvas may grow.

    Attributes
    ----------
    offset : ndarray of float64, shape (C,)
        In ADU.
    slope_x, slope_y : ndarray of float64, shape (C,)
        In ADU a pixel.
    bend_xx, bend_xy, bend_yy : ndarray of float64, shape (C,)
        In ADU a pixel squared; by default none.
    """

    offset: np.ndarray
    slope_x: np.ndarray
    slope_y: np.ndarray
    bend_xx: np.ndarray | float = 0.0
    bend_xy: np.ndarray | float = 0.0
    bend_yy: np.ndarray | float = 0.0

    @classmethod
    def zero(cls, channels: int) -> Level:
        """Return the level that changes nothing."""
        return cls(*np.zeros((6, channels)))

    @property
    def terms(self) -> np.ndarray:
        """All of them, in their order: (6, C)."""
        bends = self.bend_xx, self.bend_xy, self.bend_yy
        return np.stack(np.broadcast_arrays(self.offset, self.slope_x, self.slope_y, *bends))

    def shifted(self, x: float, y: float) -> Level:
        """Return what is added at places so many pixels farther on."""
        return Level(*shifted_terms(self.terms, x, y))

    def at(self, x: float | np.ndarray, y: float | np.ndarray) -> np.ndarray:
        """Return what is added at places (...), in pixels of the canvas from its axis: (..., C)."""
        powers = np.stack(np.broadcast_arrays(1.0, x, y, np.square(x), np.multiply(x, y), np.square(y)), axis=-1)
        return np.tensordot(powers, self.terms, axes=1)


def shifted_terms(terms: np.ndarray, x: float, y: float) -> np.ndarray:
    """Return the terms (6, ...) of a polynomial of the place, as of a `Level`, at places so many pixels farther on."""
    offset, slope_x, slope_y, xx, xy, yy = terms
    return np.stack([
        offset + slope_x * x + slope_y * y + xx * x * x + xy * x * y + yy * y * y,
        slope_x + 2 * xx * x + xy * y,
        slope_y + xy * x + 2 * yy * y,
        xx, xy, yy,
    ])  # fmt: skip


@dataclass(frozen=True)
class SampleNoise:
    """How uncertain a frame's samples are, on the canvas: ``variance + photon * max(0, level - sky)`` at a level.

    Attributes
    ----------
    variance : ndarray of float64, shape (C,)
        Of a sample of the dark sky, in ADU squared, the taps of its interpolation taken into account.
    photon : ndarray of float64, shape (C,)
        By how much it grows for each ADU above the sky: photons arrive one by one.
    sky : ndarray of float64, shape (C,)
        The level of the dark sky, in ADU.
    """

    variance: np.ndarray
    photon: np.ndarray
    sky: np.ndarray


@dataclass(frozen=True)
class Light:
    """Light on a part of a canvas, which is 0 at its edges.

    Attributes
    ----------
    coefficients : ndarray of float32, shape (h, w, C)
        Of the cubic B-spline through it, in ADU.
    top, left : int
        Its first pixel, counted from the canvas's origin.
    """

    coefficients: np.ndarray = field(repr=False)
    top: int
    left: int

    @cached_property
    def digest(self) -> bytes:
        """What tells it from others."""
        return hashlib.sha256(self.coefficients.tobytes() + repr((self.top, self.left)).encode()).digest()


@dataclass(frozen=True)
class Foreign:
    """Light that a frame shows and that does not belong into the stack: it is taken off.

    Attributes
    ----------
    light : Light
    shift : (float, float)
        By how many pixels of the canvas, along x and along y, it lies elsewhere in this frame.
    """

    light: Light
    shift: tuple[float, float]


@dataclass(frozen=True)
class PlacedFrame:
    """A frame as it goes onto a canvas: ``gain * flat * sample + level`` is what is stacked.

    Attributes
    ----------
    frame : RegisteredFrame
    gain : ndarray of float64, shape (C,)
        Brings stars to the common flux, and a sample to what a pixel of the canvas sees.
    level : Level
        Brings its sky to the common one.
    weight : float
        What it counts for against others: 1 is the usual frame.
    noise : SampleNoise
    blur : float
        By how much its stars' profiles may differ from the usual ones, as a share of how steep these are: places and
        seeing differ a little from frame to frame.
    flat : ndarray of float64, shape (6,)
        What its camera's own flat left: a polynomial of the place on the canvas, of the terms of a `Level`.
    masked : ndarray of float64, shape (m, 5)
        What of it does not count where another frame shows the place: all that lies within a radius of a line. A row
        has x and y of its ends and the radius, in the frame's own pixels; a disc's ends are one place.
    foreign : Foreign or None
        Light that is taken off it.
    trails : tuple of Trail
        Of satellites and aircraft, which are among what is masked.
    """

    frame: RegisteredFrame
    gain: np.ndarray
    level: Level
    weight: float
    noise: SampleNoise
    blur: float
    flat: np.ndarray = field(default_factory=NOTHING_LEFT.copy)
    masked: np.ndarray = field(default_factory=NOTHING_MASKED.copy, repr=False)
    foreign: Foreign | None = None
    trails: tuple[Trail, ...] = ()

    @cached_property
    def levelling(self) -> np.ndarray:
        """What becomes of a sample: its gain, and the terms of its level, (7, C)."""
        return np.stack([self.gain, *self.level.terms])

    @property
    def channels(self) -> int:
        """Number of colours: 1 or 3."""
        return len(self.gain)
