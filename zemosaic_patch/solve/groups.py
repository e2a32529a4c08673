# SPDX-License-Identifier: GPL-3.0-or-later
"""Groups of registered frames, and what solvers are shown of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from nanstack.register.camera import View
from nanstack.register.group_stars import StarList, merged_stars, picture_of
from nanstack.register.place import Place, middle_of
from nanstack.register.solution import Registration

if TYPE_CHECKING:
    from nanstack.survey.record import Facts, Survey

FRAMES_TRIED = 3
SCALE_FACTOR = 1.5  # that a header's focal length may be off by
OF_DATE = "Seestar"  # begins INSTRUME of cameras whose headers point in coordinates of the date


@dataclass(frozen=True)
class Picture:
    """Stars as a solver is shown them: a frame's, or those of the whole group on a plane."""

    name: str
    view: View
    x: np.ndarray
    y: np.ndarray
    flux: np.ndarray
    frame: Path | None = None


@dataclass(frozen=True)
class Group:
    """The frames of a group, those with most stars that agree first."""

    number: int
    surveys: list[Survey]
    registrations: list[Registration]

    @cached_property
    def views(self) -> list[View]:
        return [one.view for one in self.registrations]

    @cached_property
    def middle(self) -> np.ndarray:
        return middle_of(self.views)

    @cached_property
    def stars(self) -> StarList:
        return merged_stars(self.surveys, self.registrations)

    @property
    def scale_known(self) -> bool:
        return any(survey.facts.scale is not None for survey in self.surveys)

    @property
    def pointing(self) -> tuple[float, float] | None:
        return next((place for place in self.pointings if place is not None), None)

    @cached_property
    def pointings(self) -> list[tuple[float, float] | None]:
        return [_pointing(survey.facts) for survey in self.surveys]

    def pictures(self) -> Iterator[Picture]:
        """Give what solvers are shown, in turn: the best frame, all stars, some more frames."""
        frames = [_picture_of_frame(*pair) for pair in zip(self.surveys[:FRAMES_TRIED], self.views, strict=False)]
        yield from frames[:1]
        if len(self.surveys) > 1 and len(self.stars):
            yield Picture("stars.fits", *picture_of(self.stars, self.views[0]))
        yield from frames[1:]


def groups_of(surveys: Sequence[Survey], registrations: Sequence[Registration]) -> list[Group]:
    """Return the groups, the largest first."""
    members: dict[int, list[int]] = {}
    for index in sorted(range(len(surveys)), key=lambda index: -registrations[index].stars):
        if registrations[index].view is not None:
            members.setdefault(registrations[index].group, []).append(index)
    return [
        Group(number, [surveys[index] for index in these], [registrations[index] for index in these])
        for number, these in sorted(members.items(), key=lambda group: -len(group[1]))
    ]


def likely(place: Place, group: Group) -> bool:
    """Tell whether a place fits what else is known: many solutions that agree do, one or two must fit the scale."""
    return place.matched > 2 or not group.scale_known or 1 / SCALE_FACTOR < place.scale < SCALE_FACTOR


def named(group: Group) -> str:
    """Return a group as messages name it: its first frame, and how many more."""
    name, others = group.surveys[0].path.name, len(group.surveys) - 1
    return f"{name} and {others} more" if others else name


def _picture_of_frame(survey: Survey, view: View) -> Picture:
    stars = survey.stars
    return Picture(survey.path.name, view, stars.x, stars.y, stars.flux, survey.path)


def _pointing(facts: Facts) -> tuple[float, float] | None:
    """Return where a header points, in coordinates of 2000."""
    if facts.pointing is None or not facts.instrument.startswith(OF_DATE):
        return facts.pointing
    from astropy.coordinates import FK5, SkyCoord
    from astropy.time import Time

    try:
        date = Time(facts.date)
    except ValueError:
        return facts.pointing
    place = SkyCoord(*facts.pointing, unit="deg", frame=FK5(equinox=date)).icrs
    return float(place.ra.deg), float(place.dec.deg)
