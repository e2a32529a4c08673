# SPDX-License-Identifier: GPL-3.0-or-later
"""How long frames were exposed, beside each other, by what their pixels show: headers only hint.

A longer exposure brings more of the stars' light and more of the sky's, and with it more of its noise. A cloud takes
from the stars alone. An average of frames has the light of one of them, and less noise.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from nanstack.survey.record import Survey

ALIKE = 0.15  # by which the light of frames of one exposure differs, in its logarithm, but for clouds
SKY_SIGMAS = 3.0  # of its noise, from which on a level is the sky's
LEAST_ALIKE = 3  # frames: one alone may be of a cloud that darkens the sky, too


@dataclass(frozen=True)
class Light:
    """What frames show.

    Attributes
    ----------
    flux : ndarray of float64, shape (n,)
        Of a star, against that in other frames; NaN where unknown.
    header : ndarray of float64, shape (n,)
        Exposure by their headers in seconds; 0 where these do not say.
    sky : ndarray of float64, shape (n,)
        Of the usual place, in ADU. It has a bias of unknown level.
    variance : ndarray of float64, shape (n,)
        Of the dark sky, in ADU squared.
    """

    flux: np.ndarray
    header: np.ndarray
    sky: np.ndarray
    variance: np.ndarray

    @classmethod
    def of(cls, surveys: Sequence[Survey], flux: Sequence[float]) -> Light:
        """Return what frames with stars of such flux show."""
        return cls(
            np.array(flux, dtype=np.float64),
            np.array([survey.facts.exposure or 0.0 for survey in surveys]),
            np.array([_median(survey.sky) for survey in surveys]),
            np.array([np.mean(np.square(survey.noise)) for survey in surveys]),
        )

    def by_headers(self, percentile: float) -> np.ndarray:
        """Return frames' light over what it is in clear ones, exposed as their headers say: (n,)."""
        light = self.flux / np.where(self.header > 0, self.header, 1.0)
        return light / np.nanpercentile(light, percentile)

    def by_pixels(self, others: np.ndarray, percentile: float) -> np.ndarray:
        """Return frames' light over what it is in clear ones of some (bool), exposed as sky and noise say: (n,)."""
        usual_sky, usual_variance = np.median(self.sky[others]), np.median(self.variance[others])
        exposed = self.variance / usual_variance
        if usual_sky > SKY_SIGMAS * np.sqrt(usual_variance):  # else it may have been subtracted
            exposed = np.fmin(exposed, self.sky / usual_sky)  # a bias hides of one, noise of reading of the other
        return self.flux / np.percentile(self.flux[others], percentile) / exposed


@dataclass(frozen=True)
class Misled:
    """Frames whose headers tell another exposure than their pixels.

    Attributes
    ----------
    frames : tuple of int
        Their indices.
    header : float
        Their exposure by the header in seconds; 0 where it does not say.
    like : float
        How much of the light of the others they have.
    others : int
        Number of the frames that they are held against, which are exposed as their headers say, all alike.
    others_header : float
        The exposure of these.
    smooth : float
        How much less noise, as a variance, they have than a frame of their light: as averages of so many have.
    """

    frames: tuple[int, ...]
    header: float
    like: float
    others: int
    others_header: float
    smooth: float

    @property
    def light(self) -> float:
        """Seconds that bring as much light, in the two digits that are told; 0 where they are not known."""
        return float(f"{self.like * self.others_header:.2g}")

    @property
    def averages(self) -> bool:
        """Whether their noise is nearer to that of averages, which took as long as the header says."""
        return bool(self.header and self.light) and self.smooth**2 > self.header / self.light > 1

    @property
    def exposure(self) -> float:
        """How long they were exposed, in seconds, as far as it is believed; 0 where nobody knows."""
        return self.header if self.averages else self.light

    def __str__(self) -> str:
        count, others = len(self.frames), f"{self.others} of {self.others_header:g} s"
        of, like = f" of {self.header:g} s", f"those of {self.light:g} s, beside {others}"
        if not (self.header and self.others_header):
            of, like = "", f"those of {self.like:.2g} times the exposure of {self.others} others"
        frames = f"{count} frame{'' if count == 1 else 's'}{of}"
        why = "a wrong header: stacked, and counted, by what they show"
        if self.averages:
            why = "averages of several: stacked by what they show, counted as their headers say"
        return f"{frames}: stars, sky and noise are {like}; {why}"


def misled(light: Light, dim: np.ndarray, limit: float, percentile: float) -> list[Misled]:
    """Return dim frames that no cloud makes dim: sky and noise are as little as their stars, and alike in many.

    Parameters
    ----------
    light : Light
    dim : ndarray of bool, shape (n,)
        Whether they would be too dim if their headers were right.
    limit : float
        Share of a clear frame's light from which on a frame is no clouded one.
    percentile : float
        Of a set of frames, that is taken for clear.
    """
    clear = np.isfinite(light.flux) & ~dim
    exposures, counts = np.unique(light.header[clear], return_counts=True)
    commonest = exposures[np.argmax(counts)]
    others = clear & (light.header == commonest)
    told = dim & (light.by_pixels(others, percentile) >= limit)
    usual = float(np.percentile(light.flux[others], percentile))
    found = []
    for header in np.unique(light.header[told]):
        mine = told & (light.header == header)
        level = float(np.percentile(light.flux[mine], percentile))
        alike = np.count_nonzero(np.abs(np.log(light.flux[mine] / level)) < ALIKE)
        bright = level > limit * usual and header != commonest
        if bright or (alike >= LEAST_ALIKE and 2 * alike > np.count_nonzero(mine)):
            frames = tuple(np.flatnonzero(mine).tolist())
            smooth = level / usual * np.median(light.variance[others]) / np.median(light.variance[mine])
            of_others = int(np.count_nonzero(others)), float(commonest)
            found.append(Misled(frames, float(header), level / usual, *of_others, float(smooth)))
    return found


def _median(sky: np.ndarray) -> float:
    return float(np.nanmedian(sky)) if np.isfinite(sky).any() else np.nan
