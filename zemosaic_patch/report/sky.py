# SPDX-License-Identifier: GPL-3.0-or-later
"""How frames were brought to one sky."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from zemosaic_patch.sky_words import sentences

if TYPE_CHECKING:
    from nanstack.levels.placed import PlacedFrame
    from nanstack.levels.sky_told import SkyTold


@dataclass(frozen=True)
class SkySolved:
    """How frames were brought to one sky.

    Attributes
    ----------
    told : SkyTold
        Of the picture, whose first row is the north.
    covered : dict
        Name of a frame: how much of it is covered, as by a tree.
    words : tuple of str
        What could be told, and what could not.
    """

    told: SkyTold
    covered: dict[str, float]
    words: tuple[str, ...]

    @classmethod
    def of(
        cls, told: SkyTold, placed: Sequence[PlacedFrame], names: Mapping[Path, str], *, upside_down: bool
    ) -> SkySolved:
        """Return how frames, whose files have such names, were brought to one sky."""
        covered = {
            names[one.frame.path]: told.covered[one.frame.survey.digest]
            for one in placed
            if one.frame.survey.digest in told.covered
        }
        return cls(told.upside_down if upside_down else told, covered, tuple(sentences(told, covered)))
