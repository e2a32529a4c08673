# SPDX-License-Identifier: GPL-3.0-or-later
"""How a mosaic looks on the screen, by two sliders and a choice: the stretch that these mean."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from zemosaic_patch.pictures import SCREEN_BLACK_SIGMA, Stretch
from zemosaic_patch.ui.tiles import sky_of

STRETCHES = (-4.0, 4.0)
BACKGROUNDS = (-2.0, 20.0)


@dataclass(frozen=True)
class Look:
    """How a mosaic looks. As it is made without arguments, it looks as the pictures that a run writes.

    Attributes
    ----------
    stretch : float
        How often the light above the sky is doubled before it is stretched.
    background : float
        How far black lies below the sky, in units of its noise: the more, the brighter is the sky.
    linked : bool
        Whether all channels are stretched alike, which keeps the colours of the stars.
    """

    stretch: float = 0.0
    background: float = SCREEN_BLACK_SIGMA
    linked: bool = False

    @classmethod
    def within(cls, stretch: float, background: float, linked: bool) -> Look:
        """Return the nearest look that the sliders allow."""
        return cls(float(np.clip(stretch, *STRETCHES)), float(np.clip(background, *BACKGROUNDS)), linked)

    def of(self, stretches: tuple[Stretch, Stretch]) -> Stretch:
        """Return the stretch of an image that looks so.

        Parameters
        ----------
        stretches : (Stretch, Stretch)
            See `zemosaic_patch.pictures.screen_stretches`.
        """
        usual = stretches[self.linked]
        sky, noise = sky_of(usual)
        white = usual.span - SCREEN_BLACK_SIGMA * noise  # above the sky
        times = 2.0**-self.stretch
        below = self.background * noise * max(1.0, times)  # a weaker stretch makes the sky no brighter
        span = np.maximum(below + times * white, noise * times)  # white stays above black
        return Stretch(sky - below, span, usual.softening * times)
