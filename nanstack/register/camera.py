# SPDX-License-Identifier: GPL-3.0-or-later
"""Cameras that look at the sky: from pixels to directions and back.

A camera shows the directions around its axis on a plane (the gnomonic projection, the TAN of FITS), bent a little by
its optics. Directions are unit vectors (x towards RA 0, z towards the pole, once a group has its place on the sky), so
nothing is special about a pole, about RA 0, or about a wide field.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from astropy.wcs import WCS

CRVAL_DIGITS, CD_DIGITS = 7, 11  # of degrees: what is below differs from NumPy to NumPy, and is no ten thousandth px
NEWTON_ROUNDS = 12  # for the inverse of the distortion; it converges in four
# u r^n as powers of u and v, with their factors
SIP_TERMS = (
    (2, ((3, 0, 1), (1, 2, 1))),
    (4, ((5, 0, 1), (3, 2, 2), (1, 4, 1))),
    (6, ((7, 0, 1), (5, 2, 3), (3, 4, 3), (1, 6, 1))),
)
EDGE_POINTS = 33  # on each side of a frame, where its outline is looked at
ARCSEC = 180 * 3600 / np.pi  # in a radian


@dataclass(frozen=True)
class Camera:
    """What the frames of one camera have in common.

    A direction at the tangent t from the axis is shown at the distance focal (t + radial t^3) from the axis' pixel.

    Attributes
    ----------
    shape : (int, int)
        Height and width in pixels.
    focal : float
        Pixels a radian, on the axis.
    radial : float
        Third-order distortion; positive is a pincushion.
    axis : (float, float), optional
        The pixel (x, y) that the axis meets; by default the middle.
    """

    shape: tuple[int, int]
    focal: float
    radial: float = 0.0
    axis: tuple[float, float] | None = None

    @property
    def scale(self) -> float:
        """Arcseconds a pixel, on the axis."""
        return ARCSEC / self.focal

    @property
    def middle(self) -> tuple[float, float]:
        """The pixel (x, y) that the axis meets: the middle of the picture, unless another one is given."""
        return self.axis or ((self.shape[1] - 1) / 2, (self.shape[0] - 1) / 2)


@dataclass(frozen=True)
class View:
    """One frame: a camera, turned to some part of the sky.

    Attributes
    ----------
    camera : Camera
    attitude : ndarray of float64, shape (3, 3)
        Orthogonal. Its rows are the directions of growing x, of growing y, and of the axis. Its determinant is -1 for
        a frame that shows the sky mirrored, as seen from inside (or for directions of a mirrored sky).
    scale : float
        Size of this frame's picture against the camera's: heat and focus change it by parts in a thousand.
    """

    camera: Camera
    attitude: np.ndarray
    scale: float = 1.0

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width in pixels."""
        return self.camera.shape

    @property
    def middle(self) -> tuple[float, float]:
        """The pixel (x, y) that the axis meets."""
        return self.camera.middle

    @property
    def pointing(self) -> np.ndarray:
        """The direction of the axis: a unit vector (3,)."""
        return self.attitude[2]

    @property
    def focal(self) -> float:
        """Pixels a radian, on the axis."""
        return self.camera.focal * self.scale

    def pixels(self, directions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return where directions are shown.

        Parameters
        ----------
        directions : ndarray, shape (..., 3)

        Returns
        -------
        x, y : ndarray of float64, shape (...)
            Also beyond the frame's edges; NaN for what no lens would show: behind the camera, or where the distortion
            would fold the picture.
        """
        across, down, ahead = np.moveaxis(directions @ self.attitude.T, -1, 0)
        with np.errstate(divide="ignore", invalid="ignore"):
            across, down = (np.where(ahead > 0, side / ahead, np.nan) for side in (across, down))
            square = across**2 + down**2
            bend = np.where(1 + 3 * self.camera.radial * square > 0, 1 + self.camera.radial * square, np.nan)
        x, y = self.camera.middle
        return x + self.focal * bend * across, y + self.focal * bend * down

    def directions(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Return the directions that pixels show: unit vectors, float64 (..., 3)."""
        middle = self.camera.middle
        across, down = (np.asarray(x) - middle[0]) / self.focal, (np.asarray(y) - middle[1]) / self.focal
        straight = straightened(np.hypot(across, down), self.camera.radial)
        rays = np.stack([across * straight, down * straight, np.ones_like(across)], axis=-1)
        rays /= np.linalg.norm(rays, axis=-1, keepdims=True)
        return rays @ self.attitude

    @property
    def axes(self) -> np.ndarray:
        """The rows are the axes of its rays."""
        return self.attitude

    def rays(self, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray | float]:
        """Return the directions that pixels show, of any length, along the view's own axes.

        Each by itself: no ray hangs on those that are asked for with it, as it may in a product of matrices.
        """
        middle = self.camera.middle
        across, down = (x - middle[0]) / self.focal, (y - middle[1]) / self.focal
        if self.camera.radial:
            straight = straightened(np.hypot(across, down), self.camera.radial)
            across, down = across * straight, down * straight
        return across, down, 1.0

    def wcs(self) -> WCS:
        """Return the view as a celestial solution: TAN, with SIP terms where the camera distorts."""
        from astropy.wcs import WCS, Sip

        axis = self.attitude[2]
        east, north = local_axes(axis)
        solution = WCS(naxis=2)
        solution.wcs.ctype = "RA---TAN", "DEC--TAN"
        solution.wcs.cunit = "deg", "deg"
        solution.wcs.radesys = "ICRS"
        solution.wcs.crpix = np.add(self.camera.middle, 1)
        solution.wcs.crval = (
            np.degrees(np.arctan2(axis[1], axis[0])) % 360,
            np.degrees(np.arcsin(np.clip(axis[2], -1, 1))),
        )
        solution.wcs.cd = np.degrees(1 / self.focal) * np.stack([self.attitude[:2] @ east, self.attitude[:2] @ north])
        if self.camera.radial:
            solution.wcs.ctype = "RA---TAN-SIP", "DEC--TAN-SIP"
            x, y = edge_pixels(self.camera.shape)
            reach = np.hypot(x - self.camera.middle[0], y - self.camera.middle[1]).max()
            solution.sip = Sip(*_sip(self.camera.radial / self.focal**2, reach), solution.wcs.crpix)
        solution.wcs.crval = np.round(solution.wcs.crval, CRVAL_DIGITS)
        solution.wcs.cd = np.round(solution.wcs.cd, CD_DIGITS)
        solution.wcs.set()
        solution.array_shape = self.camera.shape
        return solution


@dataclass(frozen=True)
class Passage:
    """From the pixels of what shows the sky to those of a frame, or of several frames at once.

    Each pixel for itself, number by number: where it lies hangs on no pixel that is asked for with it.

    Attributes
    ----------
    seen : View, or what has `rays` and `axes` as it does
        Whose pixels are given.
    turn : ndarray of float64, shape (..., 3, 3)
        From its rays to the frames'.
    focal, radial, x, y : ndarray of float64, shape (...)
        Pixels a radian, distortion, and the axis' pixel of the frames.
    """

    seen: Any
    turn: np.ndarray
    focal: np.ndarray
    radial: np.ndarray
    x: np.ndarray
    y: np.ndarray

    @classmethod
    def between(cls, seen: Any, frames: Sequence[View]) -> Passage:
        """Return the way from the pixels of what shows the sky to those of frames."""
        turn = np.array([seen.axes @ view.attitude.T for view in frames])
        cameras = [(view.focal, view.camera.radial, *view.camera.middle) for view in frames]
        return cls(seen, turn, *np.array(cameras, dtype=np.float64).reshape(-1, 4).T)

    def __getitem__(self, index: int | tuple) -> Passage:
        """Return the way to some of the frames; their numbers may get axes for pixels, as those of any array."""
        each = (getattr(self, name)[index] for name in ("focal", "radial", "x", "y"))
        return Passage(self.seen, self.turn[index], *each)

    def __call__(self, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return where pixels are shown, as `View.pixels` of their directions: float64, NaN for nowhere."""
        rays, turn = self.seen.rays(x, y), self.turn
        across, down, ahead = (sum(turn[..., i, k] * rays[i] for i in range(3)) for k in range(3))
        with np.errstate(divide="ignore", invalid="ignore"):
            inverse = np.where(ahead > 0, 1 / ahead, np.nan)
            across, down = across * inverse, down * inverse
            square = self.radial * (across**2 + down**2)
            stretch = self.focal * np.where(1 + 3 * square > 0, 1 + square, np.nan)
        return self.x + stretch * across, self.y + stretch * down


def edge_pixels(shape: tuple[int, int], points: int = EDGE_POINTS) -> tuple[np.ndarray, np.ndarray]:
    """Return x and y of points along the edge of an image of that height and width: the middles of its outer pixels."""
    along, down = np.linspace(0, shape[1] - 1, points), np.linspace(0, shape[0] - 1, points)
    x = np.concatenate([along, along, np.zeros(points), np.full(points, shape[1] - 1.0)])
    y = np.concatenate([np.zeros(points), np.full(points, shape[0] - 1.0), down, down])
    return x, y


def local_axes(direction: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the unit vectors to the east and the north of a direction; at a pole, those of right ascension 0."""
    longitude = np.arctan2(direction[1], direction[0]) if np.hypot(*direction[:2]) > 1e-12 else 0.0
    east = np.array([-np.sin(longitude), np.cos(longitude), 0.0])
    return east, np.cross(direction, east)


def direction_of(ra: float, dec: float) -> np.ndarray:
    """Return the unit vector (3,) to a place in degrees."""
    ra, dec = np.radians((ra, dec))
    return np.array([np.cos(dec) * np.cos(ra), np.cos(dec) * np.sin(ra), np.sin(dec)])


def attitude_between(
    rays: np.ndarray, directions: np.ndarray, weights: np.ndarray, mirrored: bool = False
) -> np.ndarray:
    """Return the attitude that turns directions into a camera's rays, by weighted least squares.

    The orthogonal Procrustes problem by singular values (Kabsch 1976, Acta Cryst. A32, 922).

    Parameters
    ----------
    rays, directions : ndarray, shape (..., n, 3)
        Unit vectors in the camera's axes (x, y, axis), and on the sky.
    weights : ndarray, shape (n,)
    mirrored : bool
        Look for an attitude of determinant -1.

    Returns
    -------
    ndarray of float64, shape (..., 3, 3)
        ``rays ~ directions @ attitude.T``
    """
    return nearest_attitude((rays * weights[:, None]).swapaxes(-1, -2) @ directions, mirrored)


def nearest_attitude(products: np.ndarray, mirrored: bool = False) -> np.ndarray:
    """Return the attitude of which sums of rays' and directions' products (..., 3, 3) tell: see `attitude_between`."""
    left, _, right = np.linalg.svd(products)
    hand = np.sign(np.linalg.det(left @ right)) * (-1 if mirrored else 1)
    left[..., 2] *= hand[..., None]
    return left @ right


def straightened(bent: np.ndarray, radial: float | np.ndarray) -> np.ndarray:
    """Return t / (t + radial t^3) for values of the denominator, by Newton's method; NaN where it is folded."""
    if not np.any(radial):
        return np.ones_like(bent)
    t = np.array(bent, dtype=np.float64)
    for _ in range(NEWTON_ROUNDS):
        before, slope = t, 1 + 3 * radial * t**2
        t = np.where(slope > 0, t - (t + radial * t**3 - bent) / np.where(slope > 0, slope, 1), np.nan)
        if (t == before).all():  # further rounds would change no bit
            break
    return np.where(bent > 0, t / np.where(bent > 0, bent, 1), 1.0)


def _sip(kappa: float, reach: float) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return SIP's A, B, AP, BP for a bend of 1 + kappa r^2, r in pixels; the inverse's series is fitted to a reach."""
    r = np.linspace(0, reach, 200)[1:]
    shares = np.stack([(r / r[-1]) ** power for power, _ in SIP_TERMS], axis=1)
    inverse = np.linalg.lstsq(shares, straightened(r, kappa) - 1, rcond=None)[0]
    a, ap = np.zeros((8, 8)), np.zeros((8, 8))
    for coefficient, (power, terms) in zip(inverse, SIP_TERMS, strict=True):
        for i, j, factor in terms:
            a[i, j] = coefficient / r[-1] ** power * factor
    for i, j, factor in SIP_TERMS[0][1]:
        ap[i, j] = kappa * factor
    return a, a.T.copy(), ap, ap.T.copy()
