# SPDX-License-Identifier: GPL-3.0-or-later
"""Frames that would make the result worse, though stars placed them: doubled, trailed, blurred, or behind clouds.

A frame is held to those of its kind: of one camera and filter, in one group. What all of them have, such as a guiding
that is never perfect, is no fault of one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import scipy

from nanstack.register.exposures import Light, Misled, misled
from nanstack.survey.record import Survey
from nanstack.survey.stars import Stars

if TYPE_CHECKING:
    from nanstack.register.solution import Registration

LONGER = 1.6  # a trailed frame's stars are so many times as long for their width as usual
WIDER = 1.75  # a blurred frame's stars are so many times as wide as usual
CLEAR = 75  # percentile of the frames of a kind that counts as clear
# A frame of transparency t lifts the signal to noise of a mean of clear ones where t > 1/2; clouds bring gradients, too
CLOUDED, THICK = 0.6, 0.5
MAX_LOSS = 0.06  # of the mean's signal to noise, that frames in thin clouds may take with them
DOUBLE_PX = 100.0  # from a star to its double, at most
SAME_PX = 1.0  # within which offsets are one
MIN_DOUBLES = 5  # pairs
DOUBLED_SHARE = 0.2  # of a frame's stars that have a double: some are too faint for one
CHANCE_SIGMA = 5.0
SAME_RATIO = 0.35  # median deviation of flux ratios, in their logarithm, of stars and their doubles


@dataclass(frozen=True)
class Verdicts:
    """What is said of frames that stars placed.

    Attributes
    ----------
    reasons : dict of int to str
        By their index, why frames would make the result worse; or why stars could not place a frame, where its stars'
        shape tells: in words for the user.
    remarks : list of str
        What headers say, and pixels do not: in such words, too.
    exposures : dict of int to float
        By their index, how long such frames were exposed, in seconds, as far as it is believed.
    """

    reasons: dict[int, str]
    remarks: list[str]
    exposures: dict[int, float]


def judge(surveys: Sequence[Survey], registrations: Sequence[Registration]) -> Verdicts:
    """Tell which frames would make the result worse, and why.

    Parameters
    ----------
    surveys : sequence of Survey
    registrations : sequence of Registration
        One a survey.
    """
    reasons: dict[int, str] = {}
    remarks: list[str] = []
    exposures: dict[int, float] = {}
    lost: dict[tuple, list[int]] = {}
    for index, registration in enumerate(registrations):
        if registration.view is None:
            lost.setdefault(surveys[index].camera, []).append(index)
    for kind in _kinds(surveys, registrations):
        reasons.update(_unsharp(surveys, kind, [*kind, *lost.get(surveys[kind[0]].camera, [])]))
        sound = [index for index in kind if index not in reasons]
        clouded, found = _clouded(surveys, registrations, sound)
        reasons.update(clouded)
        remarks += map(str, found)
        exposures.update({index: one.exposure for one in found for index in one.frames})
    return Verdicts(dict(sorted(reasons.items())), remarks, exposures)


def _kinds(surveys: Sequence[Survey], registrations: Sequence[Registration]) -> list[list[int]]:
    """Return the frames that can be held to each other: of one group, camera, gain and filter."""
    kinds: dict[tuple, list[int]] = {}
    for index, (survey, registration) in enumerate(zip(surveys, registrations, strict=True)):
        if registration.view is not None:
            key = registration.group, survey.camera, survey.facts.gain, survey.facts.filter
            kinds.setdefault(key, []).append(index)
    return list(kinds.values())


def _unsharp(surveys: Sequence[Survey], kind: list[int], judged: list[int]) -> dict[int, str]:
    """Return why frames are doubled, trailed or blurred, against what is usual of a kind."""
    usual_elongation = _median(np.array([surveys[index].elongation for index in kind]))
    usual_fwhm = _median(np.array([surveys[index].stars.fwhm for index in kind]))
    verdicts = {}
    for index in judged:
        longer, wide = surveys[index].elongation, surveys[index].stars.fwhm
        double = double_of(surveys[index].stars, surveys[index].shape)
        if double:
            verdicts[index] = f"it is doubled: {double}"
        elif longer > LONGER * usual_elongation:
            verdicts[index] = (
                f"it is trailed: its stars are {longer:.1f} times as long as wide, {usual_elongation:.1f} is usual"
            )
        elif wide > WIDER * usual_fwhm:
            verdicts[index] = f"it is blurred: its stars are {wide:.1f} px wide, {usual_fwhm:.1f} px is usual"
    return verdicts


def _median(values: np.ndarray) -> float:
    known = values[np.isfinite(values)]
    return float(np.median(known)) if known.size else np.inf


def double_of(stars: Stars, shape: tuple[int, ...]) -> str:
    """Return how a frame shows its stars twice; empty where it does not.

    Doubles lie at one offset from their stars and have one share of their flux; stars by chance do neither.

    Parameters
    ----------
    stars : Stars
    shape : (int, int, ...)
        Of the frame.
    """
    if len(stars) < 2 * MIN_DOUBLES:
        return ""
    places = np.stack([stars.x, stars.y], axis=1)
    pairs = scipy.spatial.cKDTree(places).query_pairs(DOUBLE_PX, output_type="ndarray")
    if len(pairs) < MIN_DOUBLES:
        return ""
    offset = places[pairs[:, 1]] - places[pairs[:, 0]]
    ratio = np.log(stars.flux[pairs[:, 1]] / stars.flux[pairs[:, 0]])
    turned = (offset[:, 0] < 0) | ((offset[:, 0] == 0) & (offset[:, 1] < 0))  # each pair has one offset, not two
    offset[turned], ratio[turned] = -offset[turned], -ratio[turned]
    both = np.concatenate([offset, -offset])  # those along y may have been turned either way
    tree = scipy.spatial.cKDTree(both)
    busiest = int(np.argmax(tree.query_ball_point(offset, SAME_PX, return_length=True)))
    here = tree.query_ball_point(offset[busiest], SAME_PX)
    ratios = np.concatenate([ratio, -ratio])[here]
    by_chance = len(stars) ** 2 / 2 * np.pi * SAME_PX**2 / (shape[0] * shape[1])
    enough = max(MIN_DOUBLES, DOUBLED_SHARE * len(stars), by_chance + CHANCE_SIGMA * np.sqrt(by_chance))
    usual = float(np.median(ratios))
    if len(here) < enough or np.median(np.abs(ratios - usual)) > SAME_RATIO:
        return ""
    length, share = float(np.hypot(*both[here].mean(axis=0))), float(np.exp(-abs(usual)))
    return f"{len(here)} of its {len(stars)} stars show once more, {length:.1f} px away, with {share:.2f} of the light"


def _clouded(
    surveys: Sequence[Survey], registrations: Sequence[Registration], kind: list[int]
) -> tuple[dict[int, str], list[Misled]]:
    """Return why frames are too dim: what they would take from a mean is more than what they give.

    And those that are as dim by their headers alone, by their indices among all.
    """
    light = Light.of([surveys[index] for index in kind], [registrations[index].flux for index in kind])
    known = np.isfinite(light.flux)
    if not known.any():
        return {}, []
    share = np.where(known, light.by_headers(CLEAR), np.inf)
    limit = CLOUDED if _gain(share[known], share[known] >= CLOUDED) > 1 - MAX_LOSS else THICK
    found = misled(light, share < limit, limit, CLEAR)
    exposed = [replace(one, frames=tuple(kind[number] for number in one.frames)) for one in found]
    of_headers = {index for one in exposed for index in one.frames}
    clouded = {
        index: f"clouds: its stars have {share[number]:.2f} of the light that they have in clear frames"
        for number, index in enumerate(kind)
        if share[number] < limit and index not in of_headers
    }
    for one in list(exposed):  # among these there may be clouds, too
        clouds, more = _clouded(surveys, registrations, list(one.frames))
        clouded.update(clouds)
        exposed += more
    return clouded, exposed


def _gain(light: np.ndarray, kept: np.ndarray) -> float:
    """Return the signal to noise of the mean of what is kept, over that of all."""
    return float(light[kept].sum() / light.sum() * np.sqrt(len(light) / max(np.count_nonzero(kept), 1)))
