# SPDX-License-Identifier: GPL-3.0-or-later
"""Raw frames of a comet that moves among stars; where it is in each is known."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from nanstack.truth.simulation import StarField, apply
from tests.support.nights import light, sky_of_stars, turns

MIDDLE = np.array([300.0, 170.0])  # of its way, in the plane of the stars
COLOUR = np.array([0.7, 1.0, 0.8])
SECONDS = 30  # from frame to frame


@dataclass(frozen=True)
class CometNight:
    """Frames, and the truth of them.

    Attributes
    ----------
    paths : list of Path
        In the order of time.
    transforms : list of ndarray
        From the plane of the stars to each frame.
    stars : StarField
        In that plane.
    places : ndarray of float64, shape (n, 2)
        Of the comet there.
    """

    paths: list[Path]
    transforms: list[np.ndarray]
    stars: StarField
    places: np.ndarray

    def in_frame(self, index: int) -> np.ndarray:
        """Where the comet is in a frame: x and y, 0 the first pixel's middle."""
        return np.array(apply(self.transforms[index], *self.places[index]), dtype=float).ravel()

    def marks(self, off: float = 0.0) -> tuple[tuple[float, float], tuple[float, float]]:
        """What a user reads off the first and the last frame, so many pixels off along x and along y."""
        first, last = self.in_frame(0) + 1, self.in_frame(-1) + 1
        return tuple(first + [off, -off]), tuple(last + [-off, off / 2])


def comet_night(folder, count=12, drift=36.0, angle=0.4, flux=50_000.0, seed=5, **what) -> CometNight:
    """Write frames of a comet that moves by so many pixels in all; its light is a star's."""
    folder.mkdir(exist_ok=True)
    sky, transforms = sky_of_stars(seed), turns(count, seed=seed, shift=12, degrees=3)
    way = np.linspace(-0.5, 0.5, count)[:, None] * drift * np.array([np.cos(angle), np.sin(angle)])
    places, paths = MIDDLE + way, []
    for index, (transform, (x, y)) in enumerate(zip(transforms, places, strict=True)):
        both = StarField(np.append(sky.x, x), np.append(sky.y, y), np.vstack([sky.flux, flux * COLOUR]))
        second = index * SECONDS
        date = f"2024-10-14T19:{second // 60:02d}:{second % 60:02d}"
        path = folder / f"light_{index:02d}.fit"
        paths.append(light(path, both, transform, seed=1000 + index, **{"DATE-OBS": date, **what}))
    return CometNight(paths, transforms, sky, places)
