# SPDX-License-Identifier: GPL-3.0-or-later
"""How frames were registered, and how their place on the sky was found."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from nanstack.report import known

if TYPE_CHECKING:
    from nanstack.session import Session

UNKNOWN = "unknown"  # place on the sky


@dataclass(frozen=True)
class Registered:
    """How the frames were registered.

    Attributes
    ----------
    frames : int
    rms_px_median, rms_px_max : float or None
        Of the stars of a frame, over the frames.
    place : str
        How the place on the sky was found: see `nanstack.register.place.Place`.
    approximate : bool
        Whether that is no better than the headers' pointing.
    """

    frames: int
    rms_px_median: float | None
    rms_px_max: float | None
    place: str
    approximate: bool

    @classmethod
    def of(cls, session: Session) -> Registered:
        """Return what is to be told of registered frames."""
        rms = [frame.rms for frame in session.frames]
        how, approximate = (UNKNOWN, True) if session.place is None else (session.place.how, session.place.approximate)
        return cls(len(rms), known(np.median(rms)), known(max(rms)), how, approximate)

    @property
    def on_the_sky(self) -> bool:
        """Whether the place on the sky is known at all."""
        return self.place != UNKNOWN

    @property
    def place_told(self) -> str:
        """The place on the sky, in words."""
        if not self.on_the_sky:
            return "unknown: the result has no WCS"
        return f"{self.place}, APPROXIMATE" if self.approximate else self.place
