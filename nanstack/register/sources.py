# SPDX-License-Identifier: GPL-3.0-or-later
"""The stars of a frame as registration uses them: the brightest, with the camera that saw them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import scipy

from nanstack.register.camera import ARCSEC, Camera, View
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

    def bare(self) -> Sources:
        """Return the same without what was found of it by the way, which takes more memory than itself."""
        return replace(self)

    @cached_property
    def rays(self) -> np.ndarray:
        """Unit vectors in the camera's axes, shape (n, 3)."""
        return View(self.camera, np.eye(3)).directions(self.x, self.y)

    @cached_property
    def plane(self) -> np.ndarray:
        """Places in the stereographic projection, which keeps angles whatever the width; complex, shape (n,)."""
        return 2 * (self.rays[:, 0] + 1j * self.rays[:, 1]) / (1 + self.rays[:, 2])

    @cached_property
    def tree(self) -> scipy.spatial.cKDTree:
        """Search tree of the places in pixels."""
        return scipy.spatial.cKDTree(np.stack([self.x, self.y], axis=1))


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
