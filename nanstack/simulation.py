# SPDX-License-Identifier: GPL-3.0-or-later
"""Simulated frames whose transforms, footprints and stars are known exactly: the truth that a stack is held to.

Pixel coordinates are (x, y) = (column, row) with pixel centres at integers. A transform is a 2x3 matrix that maps
a pixel of the reference to a pixel of the frame.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import erf

FWHM_PER_SIGMA = 2.0 * np.sqrt(2.0 * np.log(2.0))
STAMP_SIGMAS = 5.0  # half-width of a rendered star; 1e-6 of its flux lies outside
COUNT_SLOPE = 0.35  # number counts of faint stars grow as 10**(0.35 m)
COLOUR_SPREAD = 0.25  # magnitudes, of G - R and of B - G alike
HOT_PIXEL_ADU = (3_000.0, 30_000.0)


def similarity(
    shape: tuple[int, int], dx: float = 0.0, dy: float = 0.0, degrees: float = 0.0, scale: float = 1.0
) -> np.ndarray:
    """Return the transform that turns and scales about the centre of the frame, then shifts.

    Parameters
    ----------
    shape : (int, int)
        Height and width; the centre is ((W - 1) / 2, (H - 1) / 2).
    dx, dy : float
        Shift in pixels.
    degrees : float
        Rotation from +x towards +y.
    scale : float
        Frame pixels per reference pixel.

    Returns
    -------
    ndarray of float64, shape (2, 3)
    """
    height, width = shape
    centre = np.array([(width - 1) / 2, (height - 1) / 2])
    angle = np.deg2rad(degrees)
    matrix = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    return np.column_stack([matrix, centre - matrix @ centre + (dx, dy)])


def apply(transform: np.ndarray, x: np.ndarray | float, y: np.ndarray | float) -> tuple[np.ndarray, np.ndarray]:
    """Map pixels (x, y), scalars or arrays that broadcast together, and return (x', y')."""
    (a, b, c), (d, e, f) = np.asarray(transform, dtype=np.float64)
    return a * x + b * y + c, d * x + e * y + f


def invert(transform: np.ndarray) -> np.ndarray:
    """Return the 2x3 transform that undoes `transform`.

    Raises
    ------
    numpy.linalg.LinAlgError
        The transform is singular.
    """
    matrix = np.linalg.inv(transform[:, :2])
    return np.column_stack([matrix, -matrix @ transform[:, 2]])


def true_footprint(shape: tuple[int, int], transform: np.ndarray) -> np.ndarray:
    """Return which reference pixels the frame covers: bool (H, W), True where the frame has data.

    A pixel is covered if its position in the frame lies inside [0, W - 1] x [0, H - 1].
    """
    height, width = shape
    x, y = apply(transform, np.arange(width), np.arange(height)[:, None])
    return (x >= 0) & (x <= width - 1) & (y >= 0) & (y <= height - 1)


@dataclass(frozen=True)
class StarField:
    """Stars of a scene.

    Attributes
    ----------
    x, y : ndarray of float64, shape (n,)
        Reference pixel coordinates, also outside the frame.
    flux : ndarray of float64, shape (n, 3)
        Total ADU per channel (R, G, B).
    """

    x: np.ndarray
    y: np.ndarray
    flux: np.ndarray


def random_star_field(
    shape: tuple[int, int],
    n: int,
    rng: np.random.Generator,
    margin: float = 0.45,
    brightest: float = 200_000.0,
    faintest: float = 1_000.0,
) -> StarField:
    """Scatter stars evenly over a disc around the frame, with power-law fluxes and various colours.

    Parameters
    ----------
    shape : (int, int)
        Height and width of the reference.
    n : int
        Number of stars per frame area; the disc holds several times as many.
    rng : numpy.random.Generator
    margin : float
        How far the disc reaches beyond the corners, in diagonals of the frame. The default fills frames that are
        shifted by up to 40 % and turned by any angle.
    brightest, faintest : float
        Range of the flux in G, in ADU.

    Returns
    -------
    StarField
    """
    height, width = shape
    radius = (0.5 + margin) * np.hypot(height, width)
    count = round(n * np.pi * radius**2 / (height * width))

    distance, angle = radius * np.sqrt(rng.random(count)), rng.uniform(0, 2 * np.pi, count)
    green = _power_law(count, rng, faintest, brightest)
    colour = 10 ** (0.4 * rng.normal(0.0, COLOUR_SPREAD, count))
    return StarField(
        x=(width - 1) / 2 + distance * np.cos(angle),
        y=(height - 1) / 2 + distance * np.sin(angle),
        flux=np.column_stack([green * colour, green, green / colour]),
    )


def _power_law(count: int, rng: np.random.Generator, faintest: float, brightest: float) -> np.ndarray:
    """Draw fluxes F with N(>F) ~ F**-slope, by the inverse of the distribution function."""
    slope = COUNT_SLOPE / 0.4
    low, high = brightest**-slope, faintest**-slope
    return rng.uniform(low, high, count) ** (-1 / slope)


def render_stars(
    field: StarField, shape: tuple[int, int], transform: np.ndarray | None = None, fwhm: float = 3.0
) -> np.ndarray:
    """Draw the stars as Gaussians integrated over each pixel of the frame.

    The stars are drawn at their exact positions on the frame's own grid: nothing is resampled. A star's flux is
    the same in every frame, whatever the scale.

    Parameters
    ----------
    field : StarField
    shape : (int, int)
        Height and width of the frame.
    transform : ndarray, shape (2, 3), optional
        Reference to frame; the identity by default.
    fwhm : float
        Full width at half maximum in frame pixels.

    Returns
    -------
    ndarray of float32, shape (H, W, 3)
        ADU.
    """
    height, width = shape
    sigma = fwhm / FWHM_PER_SIGMA
    reach = int(np.ceil(STAMP_SIGMAS * sigma))
    x, y = (field.x, field.y) if transform is None else apply(transform, field.x, field.y)
    seen = (x > -reach - 1) & (x < width + reach) & (y > -reach - 1) & (y < height + reach)

    columns, along_x = _pixel_shares(x[seen], reach, sigma, width)
    rows, along_y = _pixel_shares(y[seen], reach, sigma, height)
    pixels = (rows[:, :, None] * width + columns[:, None, :]).ravel()
    shares = along_y[:, :, None] * along_x[:, None, :]

    image = np.empty((height, width, 3), dtype=np.float32)
    for channel, flux in enumerate(field.flux[seen].T):
        light = (shares * flux[:, None, None]).ravel()
        image[..., channel] = np.bincount(pixels, light, minlength=height * width).reshape(shape)
    return image


def _pixel_shares(centre: np.ndarray, reach: int, sigma: float, length: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the pixels around each centre along one axis and the share of the light that each receives."""
    pixels = np.rint(centre).astype(np.int64)[:, None] + np.arange(-reach, reach + 1)
    edges = np.concatenate([pixels - 0.5, pixels[:, -1:] + 0.5], axis=1)
    shares = np.diff(0.5 * erf((edges - centre[:, None]) / (np.sqrt(2) * sigma)), axis=1)
    inside = (pixels >= 0) & (pixels < length)
    return np.clip(pixels, 0, length - 1), np.where(inside, shares, 0.0)


@dataclass
class SimulatedFrame:
    """A frame and where it lies.

    Attributes
    ----------
    data : ndarray of float32, shape (H, W, 3)
        ADU.
    transform : ndarray of float64, shape (2, 3)
        Maps a reference pixel to a pixel of this frame.
    sky : ndarray of float64, shape (3, 3)
        Of each channel (columns): the level in the middle of the frame, in ADU, and its slopes along x and along y,
        in ADU per pixel of this frame.
    """

    data: np.ndarray
    transform: np.ndarray
    sky: np.ndarray

    def sky_at(self, x: np.ndarray | float, y: np.ndarray | float) -> np.ndarray:
        """Return the sky's level at pixels of this frame: the shape of x and y, broadcast, and (3,)."""
        return _plane(self.sky, self.data.shape, x, y)


def _plane(sky: np.ndarray, shape: tuple[int, ...], x: np.ndarray | float, y: np.ndarray | float) -> np.ndarray:
    x, y = np.asarray(x)[..., np.newaxis] - (shape[1] - 1) / 2, np.asarray(y)[..., np.newaxis] - (shape[0] - 1) / 2
    return sky[0] + sky[1] * x + sky[2] * y


def simulate_group(
    n_frames: int,
    shape: tuple[int, int] = (540, 960),
    seed: int = 0,
    sky: tuple[float, float, float] = (1000.0, 720.0, 1080.0),
    noise: float = 20.0,
    max_shift: float = 40.0,
    max_rotation: float = 6.0,
    scale_range: float = 0.0,
    n_stars: int = 400,
    hot_pixels: int = 100,
    fwhm: float = 3.0,
    sky_scatter: float = 0.0,
    sky_gradient: float = 0.0,
) -> tuple[list[SimulatedFrame], StarField]:
    """Simulate a group of colour frames of one field: sky, stars, Gaussian noise and hot pixels.

    Frame 0 is the reference: its transform is the identity.

    Parameters
    ----------
    n_frames : int
    shape : (int, int)
        Height and width.
    seed : int
    sky : (float, float, float)
        Sky level of R, G, B in ADU.
    noise : float
        Standard deviation per sample in ADU.
    max_shift : float
        Largest shift along x and along y, in pixels.
    max_rotation : float
        Largest rotation either way, in degrees.
    scale_range : float
        The scale lies within 1 +- `scale_range`.
    n_stars : int
        Stars per frame area.
    hot_pixels : int
        Hot samples, each in one channel of one pixel and at the same place in every frame.
    fwhm : float
        Of the stars, in pixels.
    sky_scatter : float
        The sky of each frame and channel lies within 1 +- `sky_scatter` of `sky`.
    sky_gradient : float
        Each frame's sky has a gradient of its own: from edge to edge, along x and along y, it changes by up to this
        share of its level, either way, in all channels alike.

    Returns
    -------
    frames : list of SimulatedFrame
    field : StarField
    """
    rng = np.random.default_rng(seed)
    field = random_star_field(shape, n_stars, rng)
    sensor = np.zeros((*shape, 3), dtype=np.float32)
    hot = rng.choice(sensor.size, hot_pixels, replace=False)
    sensor.flat[hot] = rng.uniform(*HOT_PIXEL_ADU, hot_pixels)
    sky_rng = np.random.default_rng([seed, 1])  # of its own, so that transforms and noise are those of a constant sky

    frames = []
    for index in range(n_frames):
        transform = similarity(shape)
        if index > 0:
            dx, dy = rng.uniform(-max_shift, max_shift, 2)
            scale = 1.0 + rng.uniform(-scale_range, scale_range)
            transform = similarity(shape, dx, dy, rng.uniform(-max_rotation, max_rotation), scale)
        level = np.asarray(sky, dtype=np.float64) * (1 + sky_scatter * sky_rng.uniform(-1, 1, 3))
        slopes = sky_gradient * sky_rng.uniform(-1, 1, 2) / (shape[1], shape[0])
        own_sky = np.stack([level, slopes[0] * level, slopes[1] * level])
        light = _plane(own_sky, shape, np.arange(shape[1]), np.arange(shape[0])[:, np.newaxis]).astype(np.float32)
        grain = rng.standard_normal(sensor.shape, dtype=np.float32) * np.float32(noise)
        data = sensor + light + render_stars(field, shape, transform, fwhm) + grain
        frames.append(SimulatedFrame(data, transform, own_sky))
    return frames, field
