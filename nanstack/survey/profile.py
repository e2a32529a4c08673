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

from nanstack.survey.shape import Shape
from nanstack.survey.stamps import Plate, Stamps, from_middle

ROUNDS = 8  # stars that are not quite of the shape come to rest slowly
REACH = 2.5  # of what is fitted, in sigmas of the stars along their longer axis
RIM_PX, RIM = 7.0, 3.0  # from there on a stamp shows surroundings: in pixels, and in such sigmas, whichever is more
RIM_WIDTH_PX = 2
MAX_STEP_PX = 1.0


@dataclass(frozen=True)
class Fit:
    """Stars of one shape at places, with the amplitudes that fit best there.

    Attributes
    ----------
    stamps : Stamps
    weight : ndarray of float64, shape (n, k)
        Inverse variances; 0 where a photosite does not count.
    shape : Shape
    x, y : ndarray of float64, shape (n,)
    profile : ndarray of float64, shape (n, k)
        Of an amplitude of 1.
    pull : (ndarray, ndarray), each of shape (n, k)
        M^-1 (p - x): what the profile's logarithm gains where x, or y, grows.
    amplitude, power : ndarray of float64, shape (n, 3)
        By colour; 0 where there is none. The inverse of `power` is an amplitude's variance.
    """

    stamps: Stamps
    weight: np.ndarray
    shape: Shape
    x: np.ndarray
    y: np.ndarray
    profile: np.ndarray
    pull: tuple[np.ndarray, np.ndarray]
    amplitude: np.ndarray
    power: np.ndarray

    @classmethod
    def at(cls, stamps: Stamps, weight: np.ndarray, shape: Shape, x: np.ndarray, y: np.ndarray) -> Fit:
        """Fit the amplitudes of stars at places."""
        inverse = np.linalg.inv(shape.moments)
        u, v = stamps.x - x[:, None], stamps.y - y[:, None]
        pull = inverse[0, 0] * u + inverse[0, 1] * v, inverse[1, 0] * u + inverse[1, 1] * v
        profile = np.exp(-0.5 * (u * pull[0] + v * pull[1]))
        power, received = np.zeros((len(x), 3)), np.zeros((len(x), 3))
        for colour, here in enumerate(stamps.of_colours):
            mine = weight * profile * here
            power[:, colour] = np.einsum("ij,ij->i", mine, profile)
            received[:, colour] = np.einsum("ij,ij->i", mine, stamps.light)
        amplitude = np.divide(received, power, out=np.zeros_like(power), where=power > 0)
        return cls(stamps, weight, shape, x, y, profile, pull, amplitude, power)

    @cached_property
    def model(self) -> np.ndarray:
        """The light of the stars as fitted: (n, k)."""
        return self.amplitude[np.arange(len(self.x))[:, None], self.stamps.colour] * self.profile

    @cached_property
    def normal(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The normal equations' matrices: their elements xx, xy, yy, each of shape (n,).

        Amplitudes follow the places, and are eliminated (variable projection: Golub & Pereyra 1973, SIAM J. Numer.
        Anal. 10, 413; Kaufman 1975, BIT 15, 49).
        """
        x, y = (self.model * pull for pull in self.pull)
        weighted = [self.weight * slope for slope in (x, y)]
        matrix = [np.einsum("ij,ij->i", a, b) for a, b in ((weighted[0], x), (weighted[0], y), (weighted[1], y))]
        for colour, here in enumerate(self.stamps.of_colours):
            mine = self.profile * here
            x, y = (np.einsum("ij,ij->i", slope, mine) for slope in weighted)
            power = np.where(self.power[:, colour] > 0, self.power[:, colour], np.inf)
            matrix = [element - a * b / power for element, a, b in zip(matrix, (x, x, y), (x, y, y), strict=True)]
        return tuple(matrix)

    def step(self) -> tuple[np.ndarray, np.ndarray]:
        """Return how far the places are from better ones, by Gauss and Newton."""
        off = self.weight * (self.stamps.light - self.model) * self.model
        right = [np.einsum("ij,ij->i", off, pull) for pull in self.pull]
        xx, xy, yy = self.normal
        determinant = xx * yy - xy * xy
        return (yy * right[0] - xy * right[1]) / determinant, (xx * right[1] - xy * right[0]) / determinant

    @property
    def error(self) -> np.ndarray:
        """Standard error of x, and of y, as far as the sky's noise causes it; not finite where nothing is known."""
        xx, xy, yy = self.normal
        with np.errstate(all="ignore"):
            return np.sqrt((xx + yy) / 2 / (xx * yy - xy * xy))

    @property
    def signal(self) -> np.ndarray:
        """Light over its noise."""
        return np.sqrt(np.sum(self.amplitude**2 * self.power, axis=1))

    @property
    def size(self) -> np.ndarray:
        """Mean square radius of the light, over that of a star, both seen through the star's profile: 1 for a star."""
        square = -2 * np.log(np.maximum(self.profile, 1e-30)) * self.profile
        seen, true = (
            np.einsum("ij,ij->i", light, square) / np.einsum("ij,ij->i", light, self.profile)
            for light in (self.stamps.light, self.model)
        )
        return seen / true

    @property
    def misfit(self) -> np.ndarray:
        """What of the light is no star: chi square beyond the number of samples."""
        samples = np.count_nonzero(self.weight, axis=1)
        return np.sum(self.weight * (self.stamps.light - self.model) ** 2, axis=1) - samples

    @property
    def shown(self) -> np.ndarray:
        """Share of each profile that lies on photosites that count."""
        return np.sum((self.weight > 0) * self.profile, axis=1) / self.shape.area


def fitted(plate: Plate, x: np.ndarray, y: np.ndarray, shape: Shape) -> Fit:
    """Fit stars of a shape near places. What is no star may end as not finite."""
    longer = shape.axes[1]
    rim = max(RIM_PX, RIM * longer)
    reach = int(np.ceil(rim)) + RIM_WIDTH_PX
    distance = from_middle(reach)
    stamps = plate.stamps(x, y, reach).above(distance > rim).only(distance < REACH * longer + 1)
    weight = np.where(stamps.saturated | ~stamps.counts, 0.0, plate.noise[stamps.colour] ** -2.0)
    with np.errstate(all="ignore"):
        for _ in range(ROUNDS):
            step = Fit.at(stamps, weight, shape, x, y).step()
            x, y = (old + np.clip(more, -MAX_STEP_PX, MAX_STEP_PX) for old, more in zip((x, y), step, strict=True))
        return Fit.at(stamps, weight, shape, x, y)
