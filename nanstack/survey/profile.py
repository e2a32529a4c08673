# SPDX-License-Identifier: GPL-3.0-or-later
"""Stars measured on the photosites themselves: nothing is debayered, each photosite counts where it is.

The light of a star on the photosite p of the colour c is taken for A_c exp(-(p - x)^T M^-1 (p - x) / 2). M is the shape
of the frame's stars; places x and amplitudes A_c follow by least squares, star by star. Each colour has its own
amplitude, so that the grid of the mosaic's red pixels does not draw a red star towards itself.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from nanstack.survey.raw import COLOURS
from nanstack.survey.shape import Shape
from nanstack.survey.stamps import Plate, Stamps, from_middle

ROUNDS = 8  # stars that are not quite of the shape come to rest slowly
AT_REST_PX = 1e-3  # after a smaller step
REACH = 2.5  # of what is fitted, in sigmas of the stars along their longer axis
RIM_PX, RIM = 9.0, 3.0  # from there on a stamp shows surroundings: in pixels, and in such sigmas, whichever is more
RIM_WIDTH_PX = 1
MAX_STEP_PX = 1.0
SIZE_NOISE = 1.4  # of a star, over its signal to noise
SIZE_SCATTER = 0.01  # by what is around it
LEAST_SIZES = 5  # stars by which the usual size is told
FAR_SIGMAS = 3.0  # from there on a size has less and less of a say


@dataclass(frozen=True)
class Fit:
    """Stars of one shape at places, with the amplitudes that fit best there.

    Attributes
    ----------
    stamps : Stamps
    weight : ndarray of float64, shape (3,)
        Inverse variances by colour.
    shape : Shape
    x, y : ndarray of float64, shape (n,)
    square : ndarray of float64, shape (n, k)
        Square distances from the places, in sigmas.
    profile : ndarray of float64, shape (n, k)
        Of an amplitude of 1.
    own, received : ndarray of float64, shape (n, 3, 6) and (n, 3, 3)
        By colour, weighted sums of the profile's square, and of its product with the light, times 1, x, y …
    """

    stamps: Stamps
    weight: np.ndarray
    shape: Shape
    x: np.ndarray
    y: np.ndarray
    square: np.ndarray
    profile: np.ndarray
    own: np.ndarray
    received: np.ndarray

    @classmethod
    def at(cls, stamps: Stamps, weight: np.ndarray, shape: Shape, x: np.ndarray, y: np.ndarray) -> Fit:
        """Fit the amplitudes of stars at places."""
        square = stamps.square_radius(x, y, shape.inverse)
        profile = np.exp(-0.5 * square)
        counted = profile * stamps.usable
        own = weight[:, None] * stamps.sums(counted * profile, 6)
        received = weight[:, None] * stamps.sums(counted * stamps.light, 3)
        return cls(stamps, weight, shape, x, y, square, profile, own, received)

    @property
    def power(self) -> np.ndarray:
        """Inverse variances of the amplitudes: (n, 3); 0 of a colour that does not show."""
        return self.own[..., 0]

    @cached_property
    def amplitude(self) -> np.ndarray:
        """By colour, (n, 3); 0 of one that does not show."""
        return np.divide(self.received[..., 0], self.power, out=np.zeros_like(self.power), where=self.power > 0)

    @cached_property
    def normal(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The normal equations' matrices in units of the shape's moments: their elements xx, xy, yy, each (n,).

        Amplitudes follow the places, and are eliminated (variable projection: Golub & Pereyra 1973, SIAM J. Numer.
        Anal. 10, 413; Kaufman 1975, BIT 15, 49): what is left are each colour's second moments about its own middle.
        """
        one, x, y, xx, xy, yy = np.moveaxis(self.own, 2, 0)
        one = np.where(one > 0, one, np.inf)
        central = xx - x * x / one, xy - x * y / one, yy - y * y / one
        return tuple(np.sum(self.amplitude**2 * moment, axis=1) for moment in central)

    def step(self) -> tuple[np.ndarray, np.ndarray]:
        """Return how far the places are from better ones, by Gauss and Newton."""
        off = self.amplitude[..., None] * (self.received - self.amplitude[..., None] * self.own[..., :3])
        right = off[..., 1:].sum(axis=1)
        xx, xy, yy = self.normal
        better = yy * right[:, 0] - xy * right[:, 1], xx * right[:, 1] - xy * right[:, 0]
        return tuple(self.shape.moments @ better / (xx * yy - xy * xy))

    @property
    def error(self) -> np.ndarray:
        """Standard error of x, and of y, as far as the sky's noise causes it; not finite where nothing is known."""
        xx, xy, yy = self.normal
        with np.errstate(all="ignore"):
            inverse = np.array([[yy, -xy], [-xy, xx]]) / (xx * yy - xy * xy)
            variance = np.einsum("ij,jkn,ki->n", self.shape.moments, inverse, self.shape.moments)
            return np.sqrt(variance / 2)

    @cached_property
    def signal(self) -> np.ndarray:
        """Light over its noise."""
        return np.sqrt(np.sum(self.amplitude**2 * self.power, axis=1))

    @cached_property
    def size(self) -> np.ndarray:
        """Mean square radius of the light, over that of a star, both seen through the star's profile: 1 for a star."""
        seen = self.stamps.light * self.profile
        true = self.stamps.spread(np.take_along_axis(self.amplitude, self.stamps.colours, axis=1)) * self.profile**2
        seen, true = (np.einsum("ij,ij->i", light, self.square) / light.sum(axis=1) for light in (seen, true))
        return seen / true

    def beside_shape(self, which: np.ndarray) -> tuple[float, float]:
        """Return how much wider stars are than the shape, and how much brighter than its fits: all of them together.

        The shape is of few stars, and these may be crowded. A Gaussian star of the width t, seen through a profile of
        the width s, is of the size 2 t^2 / (s^2 + t^2); the light of the fit is 2 s^2 / (s^2 + t^2) of its own.
        """
        which = which[~self.stamps.saturated[which].any(axis=1)]
        if len(which) < LEAST_SIZES:
            return 1.0, 1.0
        sizes, error = self.size[which], np.hypot(SIZE_NOISE / self.signal[which], SIZE_SCATTER)
        size = float(np.median(sizes))
        for _ in range(ROUNDS):  # Geman and McClure's weights: crowded stars are wide
            weight = error**-2 * (1 + ((sizes - size) / (FAR_SIGMAS * error)) ** 2) ** -2
            size = float(np.sum(weight * sizes) / np.sum(weight))
        return (size / (2 - size)) ** 0.5, 1 / (2 - size)

    @property
    def misfit(self) -> np.ndarray:
        """What of the light is no star: chi square beyond the number of samples."""
        square = self.stamps.sums(np.square(self.stamps.light) * self.stamps.usable)[..., 0] @ self.weight
        return square - self.signal**2 - self.samples

    @property
    def samples(self) -> np.ndarray:
        """How many photosites count, by star."""
        return np.count_nonzero(self.stamps.usable, axis=1)

    @property
    def shown(self) -> np.ndarray:
        """Share of each profile that lies on photosites that count."""
        return np.sum(self.stamps.usable * self.profile, axis=1) / self.shape.area


def fitted(plate: Plate, x: np.ndarray, y: np.ndarray, shape: Shape) -> Fit:
    """Fit stars of a shape near places. What is no star may end as not finite."""
    longer = shape.axes[1]
    rim = max(RIM_PX, RIM * longer)
    reach = int(np.ceil(rim)) + RIM_WIDTH_PX
    distance = from_middle(reach)
    stamps = plate.stamps(x, y, reach).above(distance > rim).only(distance < REACH * longer + 1)
    weight = np.zeros(len(COLOURS))
    weight[: len(plate.noise)] = plate.noise**-2.0
    places = np.stack([x, y])
    moving = np.arange(len(x))
    with np.errstate(all="ignore"):
        for _ in range(ROUNDS):
            step = np.stack(Fit.at(stamps.of(moving), weight, shape, *places[:, moving]).step())
            places[:, moving] += np.clip(step, -MAX_STEP_PX, MAX_STEP_PX)
            moving = moving[np.abs(step).max(axis=0) > AT_REST_PX]
            if not len(moving):
                break
        return Fit.at(stamps, weight, shape, *places)
