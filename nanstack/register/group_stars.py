# SPDX-License-Identifier: GPL-3.0-or-later
"""The stars that the frames of a group show together, each once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import scipy

from nanstack.register.camera import View

if TYPE_CHECKING:
    from nanstack.register.solution import Registration
    from nanstack.survey.record import Survey

MERGE_PX = 3.0  # stars of two frames within this distance are one star
FRAMES_A_PLACE = 4  # whose stars are merged; more show no star that a catalogue holds
MAX_MERGED = 400
MAX_PLANE = np.radians(20)  # from the middle of a plane picture


@dataclass(frozen=True)
class StarList:
    """Stars of a group, or of a catalogue, brightest first.

    Attributes
    ----------
    directions : ndarray of float64, shape (n, 3)
    flux : ndarray of float64, shape (n,)
        In any unit.
    """

    directions: np.ndarray
    flux: np.ndarray

    def __len__(self) -> int:
        return len(self.flux)


def merged_stars(surveys: Sequence[Survey], registrations: Sequence[Registration]) -> StarList:
    """Return the stars that the frames of a group show, each once.

    Of frames that look at one place those with most stars are taken; where there are two or more, a star must be seen
    twice.

    Parameters
    ----------
    surveys, registrations : sequences
        Of the frames of one group, each with a view.
    """
    chosen = _spread_out(surveys, registrations)
    directions = np.concatenate(
        [registrations[i].view.directions(surveys[i].stars.x, surveys[i].stars.y) for i in chosen]
    )
    flux = np.concatenate([surveys[i].stars.flux / _transparency(registrations[i]) for i in chosen])
    known = np.isfinite(directions).all(axis=1) & (flux > 0)
    directions, flux = directions[known], flux[known]
    focal = np.median([registrations[i].view.camera.focal for i in chosen])
    star = _clusters(directions, MERGE_PX / focal)
    count = np.bincount(star)
    sums = np.stack([np.bincount(star, axis) for axis in directions.T], axis=1)
    light = np.bincount(star, flux) / np.maximum(count, 1)
    seen = count >= min(2, len(chosen))
    order = np.flatnonzero(seen)[np.argsort(-light[seen], kind="stable")][:MAX_MERGED]
    return StarList(sums[order] / np.linalg.norm(sums[order], axis=1, keepdims=True), light[order])


def _transparency(registration: Registration) -> float:
    return registration.flux if np.isfinite(registration.flux) and registration.flux > 0 else 1.0


def _spread_out(surveys: Sequence[Survey], registrations: Sequence[Registration]) -> list[int]:
    """Return some frames of each part of a group, those with most stars."""
    wide = max(max(one.view.camera.shape) / one.view.camera.focal for one in registrations)
    cells: dict[tuple[int, ...], list[int]] = {}
    for index in sorted(range(len(surveys)), key=lambda index: -len(surveys[index].stars)):
        cell = tuple(np.floor(registrations[index].view.pointing / (wide / 2)).astype(int))
        cells.setdefault(cell, []).append(index)
    return [index for cell in cells.values() for index in cell[:FRAMES_A_PLACE]]


def _clusters(directions: np.ndarray, reach: float) -> np.ndarray:
    """Return numbers (n,) from 0 on: the same for directions that lie within reach of each other."""
    first, second = scipy.spatial.cKDTree(directions).query_pairs(reach, output_type="ndarray").T
    links = scipy.sparse.coo_matrix((np.ones(len(first)), (first, second)), shape=(len(directions),) * 2)
    return scipy.sparse.csgraph.connected_components(links, directed=False)[1]


def picture_of(stars: StarList, view: View) -> tuple[View, np.ndarray, np.ndarray, np.ndarray]:
    """Return a view that shows all stars of a list on one plane, their x and y there, and their flux.

    Parameters
    ----------
    stars : StarList
        Those farther than 20 degrees from the view's axis are left out.
    view : View
        What the picture is centred on, and whose turn and scale it has.
    """
    near = stars.directions @ view.pointing > np.cos(MAX_PLANE)
    plane = View(replace(view.camera, radial=0.0, axis=None), view.attitude, view.scale)
    x, y = plane.pixels(stars.directions[near])
    half = np.ceil([np.max(np.abs(y - plane.camera.middle[1])), np.max(np.abs(x - plane.camera.middle[0]))]) + 1
    shape = int(2 * half[0]) + 1, int(2 * half[1]) + 1
    plane = replace(plane, camera=replace(plane.camera, shape=shape))
    x, y = plane.pixels(stars.directions[near])
    return plane, x, y, stars.flux[near]
