# SPDX-License-Identifier: GPL-3.0-or-later
"""The place on the sky of groups of registered frames: once a group, by the first that knows it.

The frames' own solutions; a program that is installed, solve-field of astrometry.net or ASTAP; the stars of a catalogue
that a package brings; the header's pointing. What a program or the catalogue found is kept (`kept`).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from nanstack.progress import Progress
from nanstack.register.camera import direction_of
from nanstack.register.catalogue import place_by_catalogue
from nanstack.register.place import (
    Place,
    place_by_pointing,
    place_by_solutions,
    scale_of_solutions,
    turned,
    unknown,
)
from nanstack.register.solution import Registration, register
from zemosaic_patch.catalogue import catalogue_near
from zemosaic_patch.solve.groups import Group, groups_of, likely, named
from zemosaic_patch.solve.kept import as_kept, kept_place
from zemosaic_patch.solve.programs import by_programs

if TYPE_CHECKING:
    from nanstack.survey.record import Survey

PATIENCE_S = 60.0  # of a program with all that it is shown of the largest group; with the second half of it, and so on
LEAST_PATIENCE_S = 10.0
BENT_PX = 0.05  # a tenth of it is what then remains between frames: 3 % of a focal length in a mosaic 3 degrees wide


def place_groups(
    surveys: Sequence[Survey], registrations: Sequence[Registration], folder: Path, progress: Progress
) -> tuple[list[Registration], dict[int, Place]]:
    """Turn the views of each group onto the sky.

    Parameters
    ----------
    surveys, registrations : sequences
        One a frame.
    folder : Path
        Keeps the solutions that were found.
    progress : nanstack.progress.Progress
        Is told the step 'placing on the sky', and what programs could not do.

    Returns
    -------
    registrations : list of Registration
        With views on the sky; as they were where a place is unknown, and where there is no view.
    places : dict
        The place of each group, by its number.
    """
    told = {group.number: _told_scale(group) for group in groups_of(surveys, registrations)}
    surveys, registrations = _rescaled(surveys, registrations, told)
    places = _places(surveys, registrations, folder, progress)
    found = {number: place.scale for number, place in places.items()}
    surveys, again = _rescaled(surveys, registrations, found)
    if again is not registrations:
        registrations, places = again, _places(surveys, again, folder, progress)
    for group in groups_of(surveys, registrations):
        places[group.number] = as_kept(group, places[group.number], folder, progress)
    placed = [
        one if one.view is None else replace(one, view=turned(one.view, places[one.group])) for one in registrations
    ]
    return placed, places


def _places(
    surveys: Sequence[Survey], registrations: Sequence[Registration], folder: Path, progress: Progress
) -> dict[int, Place]:
    """Return the place of each group, by its number; the largest groups have the most patience."""
    groups, places = groups_of(surveys, registrations), {}
    for rank, group in enumerate(groups):
        progress.step("placing on the sky", rank, len(groups))
        patience = max(PATIENCE_S / (1 + rank), LEAST_PATIENCE_S)
        places[group.number] = _place(group, folder, patience, progress)
    progress.step("placing on the sky", len(groups), len(groups))
    return places


def _rescaled(
    surveys: Sequence[Survey], registrations: Sequence[Registration], scales: dict[int, float]
) -> tuple[Sequence[Survey], Sequence[Registration]]:
    """Return all as it is where registration knew the scales of the groups well enough; else register again."""
    wrong = {one.number for one in groups_of(surveys, registrations) if _bent_px(one, scales[one.number]) > BENT_PX}
    if not wrong:
        return surveys, registrations
    right = list(surveys)
    for index, one in enumerate(registrations):
        if one.group in wrong:
            scale = one.view.camera.scale * scales[one.group]  # of the camera: its frames' own differ a little
            right[index] = replace(surveys[index], facts=replace(surveys[index].facts, scale=scale))
    return right, register(right)


def _told_scale(group: Group) -> float:
    return scale_of_solutions(group.views, [survey.facts.wcs for survey in group.surveys]) or 1.0


def _bent_px(group: Group, scale: float) -> float:
    """Return how far stars at the rim of a group would lie from where a wrong scale bends them to, in pixels.

    The frames are planes that touch a sphere; at the angle t from the middle the plane is t^3 / 3 farther out.
    """
    cameras = {one.view.camera for one in group.registrations}
    half = max(np.hypot(*camera.shape) / 2 / camera.focal for camera in cameras)
    reach = half + max(np.arccos(np.clip(view.pointing @ group.middle, -1, 1)) for view in group.views)
    return max(camera.focal for camera in cameras) * reach**3 / 3 * scale**2 * abs(np.log(scale))


def _place(group: Group, folder: Path, patience: float, progress: Progress) -> Place:
    """Return the place of a group by the first that knows it; one that nobody knows is said to be unknown."""
    own = place_by_solutions(group.views, [survey.facts.wcs for survey in group.surveys], group.middle)
    if own is not None and not own.approximate and likely(own, group):
        return own
    kept = kept_place(group, folder)
    if kept is not None:
        return kept
    if tells_nothing(group.surveys):
        progress.warn(
            f"{named(group)}: a .npy file has no header that tells where it looks and at what scale, so no place on "
            "the sky is looked for; to have one write it as FITS with RA, DEC (degrees), FOCALLEN (mm), XPIXSZ (um)"
        )
        return unknown(group.views)
    found = by_programs(group, folder, patience, progress) or _by_catalogue(group)
    if found is not None:
        return found
    if own is not None and likely(own, group):
        return own
    return (group.scale_known and _by_pointing(group)) or unknown(group.views)


def _by_pointing(group: Group) -> Place | None:
    bottom_up = group.surveys[0].facts.bottom_up  # as in all: none fits its own mirror image
    return place_by_pointing(group.views, group.pointings, group.middle, bottom_up=bottom_up)


def _by_catalogue(group: Group) -> Place | None:
    """Return the place by a catalogue's stars around where headers point; None where they do not, or none fit."""
    if group.pointing is None or not group.scale_known:
        return None
    near, view = direction_of(*group.pointing), group.views[0]
    radius = max(np.arccos(np.clip(np.min(group.stars.directions @ group.middle), -1, 1)), 0)
    catalogue = catalogue_near(near, radius + np.radians(3), group.surveys[0].facts.date)
    if catalogue is None:
        return None
    return place_by_catalogue(group.stars, catalogue, view.camera.focal * view.scale, group.middle, near, radius)


def tells_nothing(surveys: Iterable[Survey]) -> bool:
    """Tell whether all of them are arrays without a header: to search the whole sky for such takes a minute."""
    return all(survey.path.suffix.lower() == ".npy" for survey in surveys)
