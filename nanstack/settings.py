# SPDX-License-Identifier: GPL-3.0-or-later
"""What can be chosen about a tile and a mosaic; the defaults are those of our own commands."""

from __future__ import annotations

from dataclasses import dataclass, field

from nanstack.levels.sky import MODELS
from nanstack.register.warp import INTERPOLATIONS
from nanstack.stack.definition import COMBINES, Rejection
from nanstack.stack.drizzle import Drizzle
from nanstack.stack.noise_model import NoiseRejection

NORMALIZATIONS = ("none", "linear_fit", "sky_mean")
WEIGHTINGS = ("none", "noise_variance", "noise_fwhm")
DEVICES = ("off", "auto", "on")
JOINS = ("mean", "median")
TILE_MATCHES = ("plane", "offset", "none")
SKIES = ("plane", "offset", "none")
WEIGHTS = ("snr", "equal", "sharp")


@dataclass(frozen=True)
class Radial:
    """Weights that fall from 1 in the middle of a frame by a power of a cosine.

    Attributes
    ----------
    feather : float
        Where the cosine ends, as a share of the half diagonal; limited to 0.1 ... 1.
    power : float
        Exponent of the cosine, 0 or more.
    """

    feather: float = 0.8
    power: float = 2.0


@dataclass(frozen=True)
class TileSettings:
    """How a tile is made of a group of frames.

    Attributes
    ----------
    rejection : Rejection
    combine : {'mean', 'median', 'min', 'max'}
        How the samples that are left become one value; only the mean uses weights.
    match : {'offset', 'linear', 'plane', 'none'}
        What brings a frame's sky to the reference's: see `nanstack.levels.sky.match_sky`.
    normalize : {'none', 'linear_fit', 'sky_mean'}
        ZeMosaic's normalisations, which take the place of `match`.
    weight : {'none', 'noise_variance', 'noise_fwhm'}
        What a frame's weight is measured by.
    radial : Radial, optional
        Weights by the distance from a frame's middle, beside `weight`.
    equalize : bool
        Scale the colours of the tile so that their medians agree.
    interpolation : {'bicubic', 'lanczos3'}
    gpu : {'off', 'auto', 'on'}
        Stack on the GPU: never; where there is one; the same, and warn where there is none.

    Raises
    ------
    ValueError
        For a name that is none of these.
    """

    rejection: Rejection = field(default_factory=Rejection)
    combine: str = "mean"
    match: str = "offset"
    normalize: str = "none"
    weight: str = "none"
    radial: Radial | None = None
    equalize: bool = False
    interpolation: str = "bicubic"
    gpu: str = "off"

    def __post_init__(self) -> None:
        _check_name(self, "combine", COMBINES)
        _check_name(self, "match", MODELS)
        _check_name(self, "normalize", NORMALIZATIONS)
        _check_name(self, "weight", WEIGHTINGS)
        _check_name(self, "interpolation", INTERPOLATIONS)
        _check_name(self, "gpu", DEVICES)


@dataclass(frozen=True)
class CanvasSettings:
    """How frames are stacked straight onto a canvas.

    Attributes
    ----------
    rejection : NoiseRejection or Rejection
    combine : {'mean', 'median', 'min', 'max'}
    sky : {'plane', 'offset', 'none'}
        What is added to a frame to bring its sky to the common one.
    weights : {'snr', 'equal', 'sharp'}
        What a frame counts for: its signal over its noise, squared; 1; or the first over the area of its stars.
    interpolation : {'bicubic', 'lanczos3'}
    drizzle : Drizzle, optional
        Photosites drop onto the canvas, each in its own colour, instead of being interpolated; outliers are found by
        noise, or not at all.

    Raises
    ------
    ValueError
        For a name that is none of these, or what a drizzle cannot be combined with.
    """

    rejection: NoiseRejection | Rejection = field(default_factory=NoiseRejection)
    combine: str = "mean"
    sky: str = "plane"
    weights: str = "snr"
    interpolation: str = "bicubic"
    drizzle: Drizzle | None = None

    def __post_init__(self) -> None:
        _check_name(self, "combine", COMBINES)
        _check_name(self, "sky", SKIES)
        _check_name(self, "weights", WEIGHTS)
        _check_name(self, "interpolation", INTERPOLATIONS)
        if self.drizzle is not None and self.combine != "mean":
            raise ValueError(f"a drizzle is a mean, and cannot be combined with combine {self.combine!r}")
        if self.drizzle is not None and getattr(self.rejection, "method", "none") != "none":
            raise ValueError("before a drizzle, outliers are rejected by noise or not at all")


@dataclass(frozen=True)
class JoinSettings:
    """How tiles are joined to a mosaic.

    Attributes
    ----------
    match : {'plane', 'offset', 'none'}
        What is added to the tiles so that they agree: see `nanstack.levels.sky.solve_backgrounds`.
    combine : {'mean', 'median'}
        Mean weighted by coverage x feather, or plain median of the tiles.
    feather : float
        Width, in shorter sides of a tile, over which its weight falls to nothing towards its edge; 0 to 0.5.
    interpolation : {'bicubic', 'lanczos3'}

    Raises
    ------
    ValueError
        For a name that is none of these, or a feather out of range.
    """

    match: str = "plane"
    combine: str = "mean"
    feather: float = 0.05
    interpolation: str = "bicubic"

    def __post_init__(self) -> None:
        _check_name(self, "match", TILE_MATCHES)
        _check_name(self, "combine", JOINS)
        _check_name(self, "interpolation", INTERPOLATIONS)
        if not 0 <= self.feather <= 0.5:  # NaN is not
            raise ValueError(f"feather must be within 0 to 0.5, not {self.feather}")


def _check_name(settings: object, name: str, known: tuple[str, ...]) -> None:
    value = getattr(settings, name)
    if value not in known:
        raise ValueError(f"{name} must be one of {', '.join(known)}, not {value!r}")
