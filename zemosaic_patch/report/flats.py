# SPDX-License-Identifier: GPL-3.0-or-later
"""What stars show of the cameras' flats."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from nanstack.levels.placed import PlacedFrame


@dataclass(frozen=True)
class CameraFlat:
    """What stars show of a camera that its own flat left, or that it has none.

    Attributes
    ----------
    camera : str
        As headers name it.
    corners_percent : float
        By how much less of a star's light than the middle its corners show, on average.
    error_percent : float
        The standard error of that.
    """

    camera: str
    corners_percent: float
    error_percent: float

    @classmethod
    def all_of(cls, placed: Sequence[PlacedFrame]) -> tuple[CameraFlat, ...]:
        """Return those of frames' cameras that stars tell of, in the order of their names."""
        flats = {(one.frame.facts.instrument, one.frame.shape): one.frame.flat for one in placed}
        return tuple(
            cls(camera, round(100 * flat.corner(shape), 2), round(100 * flat.error, 2))
            for (camera, shape), flat in sorted(flats.items())
            if np.isfinite(flat.error)
        )
