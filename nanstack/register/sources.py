# SPDX-License-Identifier: GPL-3.0-or-later
"""The stars of a frame as registration uses them: the brightest, with the camera that saw them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from nanstack.register.camera import ARCSEC, Camera, View
from nanstack.register.registered import numbered
from nanstack.register.runs import ranges
from nanstack.survey.record import Survey

USUAL_FIELD = np.radians(1.5)  # diagonal of a frame that does not say its scale
BELIEVED_SCALES = 0.01, 1000.0  # arcseconds a pixel


@dataclass(frozen=True)
class Sources:
    """The brightest stars of one frame.

    Attributes
    ----------
    camera : Camera
        By the header's scale, without distortion: a first guess.
    x, y, flux, error : ndarray of float64, shape (n,)
        As in `Stars`.
    """

    camera: Camera
    x: np.ndarray
    y: np.ndarray
    flux: np.ndarray
    error: np.ndarray

    def __len__(self) -> int:
        return len(self.x)

    def only(self, kept: np.ndarray) -> Sources:
        """Return those of a mask; the same, where it keeps all."""
        if kept.all():
            return self
        return Sources(self.camera, *(axis[kept] for axis in (self.x, self.y, self.flux, self.error)))

    @property
    def places(self) -> np.ndarray:
        """In pixels, shape (n, 2)."""
        return np.stack([self.x, self.y], axis=1)


def guessed_camera(survey: Survey) -> Camera:
    """Return the camera that a frame's header tells of, or a usual one where it does not."""
    shape, scale = survey.shape[:2], survey.facts.scale
    if scale is None or not BELIEVED_SCALES[0] < scale < BELIEVED_SCALES[1]:
        return Camera(shape, float(np.hypot(*shape)) / USUAL_FIELD)
    return Camera(shape, ARCSEC / scale)


def sources_of(survey: Survey, most: int) -> Sources:
    """Return the brightest stars of a frame, `most` of them at most."""
    stars = survey.stars
    order = np.argsort(-np.asarray(stars.flux), kind="stable")[:most]
    return Sources(guessed_camera(survey), *(np.asarray(v)[order] for v in (stars.x, stars.y, stars.flux, stars.error)))


@dataclass(frozen=True)
class StarLists:
    """The stars of many frames in one row, frame by frame: what is asked of many frames is asked of all at once.

    Attributes
    ----------
    cameras : list of Camera
        Of the frames.
    first : ndarray of int, shape (frames + 1,)
        Where each frame's stars begin, and their number.
    x, y : ndarray of float64, shape (n,)
        In pixels.
    rays : ndarray of float64, shape (3, n)
        Unit vectors in the cameras' axes.
    focal, middle, shape : ndarray of float64, shapes (frames,), (2, frames), (2, frames)
        Of the frames' cameras: pixels a radian; the axis' pixel, x first; height and width.
    """

    cameras: list[Camera]
    first: np.ndarray
    x: np.ndarray
    y: np.ndarray
    rays: np.ndarray
    focal: np.ndarray
    middle: np.ndarray
    shape: np.ndarray

    @classmethod
    def of(cls, frames: Sequence[Sources]) -> StarLists:
        """Return the stars of frames."""
        cameras = [frame.camera for frame in frames]
        first = np.cumsum([0, *(len(frame) for frame in frames)])
        x, y = (np.concatenate([np.empty(0), *(getattr(frame, axis) for frame in frames)]) for axis in "xy")
        kind, rays = np.repeat(numbered(cameras), np.diff(first)), np.empty((3, len(x)))
        for number, camera in enumerate(dict.fromkeys(cameras)):
            mine = kind == number
            rays[:, mine] = View(camera, np.eye(3)).directions(x[mine], y[mine]).T
        focal, middle, shape = (
            np.array([getattr(camera, name) for camera in cameras], dtype=np.float64).T
            for name in ("focal", "middle", "shape")
        )
        return cls(cameras, first, x, y, rays, focal, middle, shape)

    def __len__(self) -> int:
        return len(self.cameras)

    @cached_property
    def counts(self) -> np.ndarray:
        """Number of each frame's stars: (frames,)."""
        return np.diff(self.first)

    @cached_property
    def plane(self) -> np.ndarray:
        """Places in the stereographic projection, which keeps angles whatever the width; complex, shape (n,)."""
        return 2 * (self.rays[0] + 1j * self.rays[1]) / (1 + self.rays[2])

    def stars_of(self, frames: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the stars of some frames, one frame's after the other's, and the place in `frames` of each's."""
        return ranges(self.first[frames], self.counts[frames])
