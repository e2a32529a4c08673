# SPDX-License-Identifier: GPL-3.0-or-later
"""The registration of all frames of a run at once, by their stars alone.

Frames are linked where they show the same stars (`pairs`), laid out along the best links (`layout`), and then all are
adjusted together (`adjustment`): first by the stars of the links, then by all stars that lie in the same place.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from nanstack.register.adjustment import (
    CENTROID_FLOOR_PX,
    FINE,
    ROUGH,
    Prior,
    Sightings,
    Sky,
    adjusted,
    bend_sigmas,
    directions_of,
    distances,
    mean_directions,
)
from nanstack.register.camera import View
from nanstack.register.hot import without_hot_pixels
from nanstack.register.layout import agreeing_links, first_views
from nanstack.register.links import Link, groups_of
from nanstack.register.pairs import MIN_STARS, find_links
from nanstack.register.sources import Sources, guessed_camera, sources_of
from nanstack.register.tracks import linked_tracks, merged_tracks
from nanstack.register.transparency import transparencies
from nanstack.survey.record import Survey

MOST_STARS = 200  # of a frame; more add time and no precision
ALL_STARS = 1_000_000  # of a run: from 10,000 frames on, fewer of each
LEAST_STARS = 60
HINT_SIGMA = 0.02  # of a focal length that headers tell of and stars do not contradict
NO_HINT_SIGMA = 1.0
SAME_SCALE = 0.01  # gap between the scales of one camera's frames, from which on there are two cameras
HINT_OFF = 0.05  # a focal length farther off than this, in its logarithm, was told wrong
BY_LINKS = ROUGH, ROUGH  # tolerances of the rounds that stand on links only, each of whose stars counts in full
MERGE_PX = 4.0, 1.0  # largest and least distance of a star from its track
MERGE_SIGMA = 5.0
BEND_SIGNIFICANCE = 5.0  # standard errors from which on a distortion is believed
BEND_KNOWN_PX = 0.3  # largest standard error, in the corner, of one that is
MIN_AGREE = 5  # stars, of a frame that is placed
FAR_PX = 3.0  # a star farther off is none of the track's
APART = 10.0  # between groups, in a fourth dimension: more than any two directions


@dataclass(frozen=True)
class Registration:
    """Where a frame looks.

    Attributes
    ----------
    view : View or None
        On the sphere of its group; None where the frame's stars connect it to no other frame.
    group : int
        Number of the group of frames that hang together, the largest first; -1 without a view.
    stars : int
        Stars that agree with the solution.
    rms : float
        Root mean square distance of these from their places in pixels, weighted by their centroids' errors; NaN
        without a view.
    flux : float
        Median ratio of its stars' fluxes to those in a typical clear frame of the group, roughly: for verdicts. What
        frames are multiplied by is found out of all their stars later. NaN where unknown.
    reason : str
        Why there is no view; empty where there is one.
    """

    view: View | None
    group: int
    stars: int
    rms: float
    flux: float
    reason: str = ""


def register(surveys: Sequence[Survey], progress: Callable[[float], None] | None = None) -> list[Registration]:
    """Register all frames at once by their stars.

    Headers only hint at the scale. Nothing is placed on the sky: each group has a sphere of its own.

    Parameters
    ----------
    surveys : sequence of Survey
    progress : callable, optional
        Called with the share that is done, 0 to 1.

    Returns
    -------
    list of Registration
        One a frame, in their order.
    """
    most = int(np.clip(ALL_STARS / max(len(surveys), 1), LEAST_STARS, MOST_STARS))
    frames = [sources_of(survey, most) for survey in surveys]
    frames = without_hot_pixels(frames, [survey.camera for survey in surveys])
    done = iter(range(1, len(frames) + 1))
    report = progress or (lambda share: None)
    links = find_links(frames, lambda _: report(0.5 * next(done) / len(frames)))
    results = [_alone(survey, len(surveys) == 1) for survey in surveys]
    group = groups_of(links, len(frames))
    placed = np.flatnonzero(group >= 0)
    if len(placed):
        number = np.cumsum(group >= 0) - 1
        links = [replace(link, first=int(number[link.first]), second=int(number[link.second])) for link in links]
        chosen = [surveys[k] for k in placed], [frames[k] for k in placed]
        for k, registration in zip(placed.tolist(), _solved(*chosen, links, group[placed], report), strict=True):
            results[k] = registration
    return results


def _solved(
    surveys: Sequence[Survey],
    frames: Sequence[Sources],
    links: Sequence[Link],
    group: np.ndarray,
    report: Callable[[float], None],
) -> list[Registration]:
    """Return the registrations of frames all of which have links."""
    hinted = np.array([survey.facts.scale is not None for survey in surveys])
    views = first_views(frames, links, hinted)
    links = agreeing_links(frames, links, views)
    sky, prior = _first_sky(surveys, frames, views, hinted)
    everything = _sightings(frames)
    first_of = np.searchsorted(everything.frame, np.arange(len(frames) + 1))
    sky, stars, seen = _adjusted_to(sky, everything, linked_tracks(links, first_of), prior, BY_LINKS, soft=False)
    sky, stars = adjusted(sky, stars, seen, prior, (ROUGH,))
    report(0.7)
    for share, rounds in ((0.8, (ROUGH, ROUGH)), (0.9, (ROUGH, FINE))):
        track = _merged(sky, everything, group, _merge_radius(sky, stars, seen))
        sky, stars, seen = _adjusted_to(sky, everything, track, prior, rounds)
        report(share)
    prior = replace(prior, bends=_significant(sky, stars, seen, prior))
    if not prior.bends.all():
        sky = replace(sky, bend=np.where(prior.bends, sky.bend, 0.0))
        sky, stars = adjusted(sky, stars, seen, prior, (ROUGH, FINE))
        sky = replace(sky, bend=np.where(prior.bends, sky.bend, 0.0))
    return _registrations(sky, stars, seen, group, [len(frame) for frame in frames])


def _first_sky(
    surveys: Sequence[Survey], frames: Sequence[Sources], views: Sequence[View], hinted: np.ndarray
) -> tuple[Sky, Prior]:
    """Return the sky as links lay it out, and what is known of its cameras."""
    focals = np.log([view.camera.focal * view.scale for view in views])
    camera = _cameras([survey.camera for survey in surveys], focals)
    kinds = range(camera.max() + 1)
    one_of = [int(np.flatnonzero(camera == number)[0]) for number in kinds]
    told = np.log([frames[k].camera.focal for k in one_of])
    focal = np.array([np.median(focals[camera == number]) for number in kinds])
    believed = hinted[one_of] & (np.abs(told - focal) < HINT_OFF)
    sky = Sky(
        attitude=np.array([view.attitude for view in views]),
        scale=focals - focal[camera],
        camera=camera,
        focal=focal,
        bend=np.zeros(len(kinds)),
        shapes=np.array([frames[k].camera.shape for k in one_of]),
    )
    prior = Prior(
        focal=np.where(believed, told, focal),
        sigma=np.where(believed, HINT_SIGMA, NO_HINT_SIGMA),
        bends=np.ones(len(kinds), dtype=bool),
    )
    return sky, prior


def _cameras(keys: Sequence[tuple], focals: np.ndarray) -> np.ndarray:
    """Number the cameras: what headers hold for one, but shows two scales, is two."""
    camera, known = np.empty(len(keys), dtype=np.int64), 0
    for key in dict.fromkeys(keys):
        mine = np.array([number for number, other in enumerate(keys) if other == key])
        mine = mine[np.argsort(focals[mine], kind="stable")]
        camera[mine] = known + np.cumsum(np.diff(focals[mine], prepend=focals[mine[0]]) > SAME_SCALE)
        known = camera[mine[-1]] + 1
    return camera


def _sightings(frames: Sequence[Sources]) -> Sightings:
    """Return all stars of frames, of no track yet."""
    x, y, error, flux = (
        np.concatenate([getattr(frame, name) for frame in frames]) for name in ("x", "y", "error", "flux")
    )
    frame = np.repeat(np.arange(len(frames)), [len(frame) for frame in frames])
    return Sightings(frame, np.full(len(x), -1), x, y, np.hypot(error, CENTROID_FLOOR_PX), flux)


def _adjusted_to(
    sky: Sky, everything: Sightings, track: np.ndarray, prior: Prior, rounds: Sequence[float], soft: bool = True
) -> tuple[Sky, np.ndarray, Sightings]:
    """Adjust a sky to the stars that are in tracks; return it, with these."""
    seen = everything.of_tracks(track)
    stars = mean_directions(directions_of(sky, seen.frame, seen.x, seen.y), seen.star)
    sky, stars = adjusted(sky, stars, seen, prior, rounds, soft)
    return sky, stars, seen


def _merge_radius(sky: Sky, stars: np.ndarray, seen: Sightings) -> float:
    """Return how near to its track a star must be, in pixels, by how well tracks agree."""
    usual = float(np.median(distances(sky, stars, seen))) / 1.177
    return float(np.clip(MERGE_SIGMA * usual, MERGE_PX[1], MERGE_PX[0]))


def _merged(sky: Sky, everything: Sightings, group: np.ndarray, radius: float) -> np.ndarray:
    """Return the track of each star, by where the sky has it."""
    directions = directions_of(sky, everything.frame, everything.x, everything.y)
    points = np.concatenate([directions, APART * group[everything.frame][:, None]], axis=1)
    return merged_tracks(points, everything.frame, radius * sky.pixel[everything.frame])


def _significant(sky: Sky, stars: np.ndarray, seen: Sightings, prior: Prior) -> np.ndarray:
    """Tell which cameras' distortion the stars show beyond doubt."""
    sigma = bend_sigmas(sky, stars, seen, prior)
    return prior.bends & (np.abs(sky.bend) > BEND_SIGNIFICANCE * sigma) & (sigma < BEND_KNOWN_PX)


def _registrations(
    sky: Sky, stars: np.ndarray, seen: Sightings, group: np.ndarray, counts: Sequence[int]
) -> list[Registration]:
    """Return what the solution says of each of its frames."""
    off = distances(sky, stars, seen)
    usual = float(np.median(off / seen.sigma)) / 1.177
    good = off < np.minimum(MERGE_SIGMA * usual * seen.sigma, FAR_PX)
    frame, weight = seen.frame[good], seen.sigma[good] ** -2
    agree = np.bincount(frame, minlength=len(group))
    squares, weights = (np.bincount(frame, part, len(group)) for part in (off[good] ** 2 * weight, weight))
    rms = np.sqrt(squares / np.where(agree, weights, 1))
    flux = transparencies(frame, seen.star[good], seen.flux[good], group)
    sky = replace(sky, attitude=_from_the_first(sky.attitude, group))
    return [
        Registration(sky.view(k), int(group[k]), int(agree[k]), float(rms[k]), float(flux[k]))
        if agree[k] >= MIN_AGREE
        else _left_out(f"only {agree[k]} of its {counts[k]} stars are where other frames have them")
        for k in range(len(group))
    ]


def _from_the_first(attitude: np.ndarray, group: np.ndarray) -> np.ndarray:
    """Return attitudes with the sphere of each group turned so that its first frame's is the unit matrix.

    No star tells how a sphere is turned, so nothing else keeps that from being another one on another machine.
    """
    _, first, number = np.unique(group, return_index=True, return_inverse=True)
    turned = attitude @ attitude[first[number]].transpose(0, 2, 1)
    turned[first] = np.eye(3)
    return turned


def _alone(survey: Survey, only: bool) -> Registration:
    """Return the registration of a frame that no other frame connects to."""
    count = len(survey.stars)
    if only and count:
        return Registration(View(guessed_camera(survey), np.eye(3)), 0, count, 0.0, 1.0)
    if count < MIN_STARS:
        reason = "no stars" if not count else f"only {count} star{'s' if count > 1 else ''}"
    else:
        reason = f"its {count} stars match no other frame's: clouds, or another field"
    return _left_out(reason)


def _left_out(reason: str) -> Registration:
    return Registration(None, -1, 0, float("nan"), float("nan"), reason)
