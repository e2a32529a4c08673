# SPDX-License-Identifier: GPL-3.0-or-later
"""Frames that have found their place: what the survey knows of each, and where it looks."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from nanstack.register.camera import View
from nanstack.survey.record import Facts, Survey

if TYPE_CHECKING:
    from pathlib import Path

    from astropy.wcs import WCS


@dataclass(frozen=True)
class RegisteredFrame:
    """A frame that its stars have placed.

    Attributes
    ----------
    survey : Survey
    view : View
        On the sphere of its group, or on the sky.
    stars : int
        How many of its stars the registration rests on.
    rms : float
        Their root mean square distance from where the others have them, in pixels.
    flux : float
        What its stars show against what the group's usually do: its transparency, times exposure and gain.
    factor : float
        What its samples are multiplied by, so that frames of all exposures and cameras show a star alike.
    """

    survey: Survey
    view: View
    stars: int
    rms: float
    flux: float
    factor: float = 1.0

    @property
    def path(self) -> Path:
        """The frame's file."""
        return self.survey.path

    @property
    def shape(self) -> tuple[int, ...]:
        """(H, W) or (H, W, 3)."""
        return self.survey.shape

    @property
    def facts(self) -> Facts:
        """What its header says, as far as it holds."""
        return self.survey.facts

    @property
    def pointing(self) -> np.ndarray:
        """The direction that its middle shows."""
        return self.view.pointing

    @property
    def scale(self) -> float:
        """Radians a pixel, in the middle."""
        return 1 / (self.view.camera.focal * self.view.scale)

    @cached_property
    def wcs(self) -> WCS:
        """Its view as a celestial solution."""
        return self.view.wcs()
