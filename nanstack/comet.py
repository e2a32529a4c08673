# SPDX-License-Identifier: GPL-3.0-or-later
"""A comet's way among the stars, and frames turned after it, so that it stands still on the canvas.

Over a night or two a comet moves along a great circle at a constant rate: two places and their times say it all. A
frame turned back along it shows the comet where it was at one moment. All else is as with the stars: the same solution
of the frames, the same levels, moved with them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TYPE_CHECKING

import numpy as np
import scipy

from nanstack.levels.placed import shifted_terms
from nanstack.register.camera import direction_of, local_axes
from nanstack.survey.taken import taken_of_frames

if TYPE_CHECKING:
    from nanstack.canvas import Canvas
    from nanstack.levels.placed import PlacedFrame
    from nanstack.register.camera import View
    from nanstack.register.registered import RegisteredFrame
    from nanstack.register.solved import SolvedView
    from nanstack.survey.record import Facts

FASTEST = np.radians(5.0) / 3600  # a second: IRAS-Araki-Alcock passed the Earth in 1983 at two degrees an hour
COUNTS = ("frames", "mosaic", "sky")
STILL = "the comet's marks are one place among the stars: what does not move against them is sharp in the mosaic"
LEAST_MOTION_PX = 0.5  # from the first frame to the last: less is no motion among the stars


@dataclass(frozen=True)
class Motion:
    """Along a great circle, at a constant rate.

    Attributes
    ----------
    place : ndarray of float64, shape (3,)
        The direction in which the comet is at `when`.
    when : datetime
    pole : ndarray of float64, shape (3,)
        The direction that the motion goes round, anticlockwise as seen from there.
    rate : float
        Radians a second.
    """

    place: np.ndarray
    when: datetime
    pole: np.ndarray
    rate: float

    @classmethod
    def through(cls, first: np.ndarray, begin: datetime, last: np.ndarray, end: datetime) -> Motion:
        """Return the motion from one direction (3,) to another, as of the middle of that time.

        Raises
        ------
        ValueError
            For no motion, no time, or one that no comet has.
        """
        seconds = (end - begin).total_seconds()
        if seconds <= 0:
            raise ValueError("two different times are needed for a motion")
        pole = np.cross(first, last)
        sine = float(np.linalg.norm(pole))
        way = float(np.arctan2(sine, first @ last))
        if way > FASTEST * seconds:
            raise ValueError(
                f"the comet would move {np.degrees(way):.3g} degrees in {seconds / 60:.3g} minutes: none is so fast; "
                "look at the places and at what they are counted in"
            )
        if sine == 0:
            raise ValueError(STILL)
        turned = scipy.spatial.transform.Rotation.from_rotvec(pole / sine * way / 2).as_matrix()
        return cls(turned @ first, begin + (end - begin) / 2, pole / sine, way / seconds)

    def turn(self, moment: datetime) -> np.ndarray:
        """Return the rotation (3, 3) that takes the comet from its place to where it is at a moment."""
        angle = self.rate * (moment - self.when).total_seconds()
        return scipy.spatial.transform.Rotation.from_rotvec(self.pole * angle).as_matrix()

    def at(self, moment: datetime) -> np.ndarray:
        """Return the direction (3,) in which the comet is at a moment."""
        return self.turn(moment) @ self.place

    @property
    def arcsec_per_hour(self) -> float:
        """How fast it is."""
        return float(np.degrees(self.rate) * 3600 * 3600)

    @property
    def position_angle(self) -> float:
        """Where it goes, in degrees from the north to the east."""
        east, north = local_axes(self.place)
        way = np.cross(self.pole, self.place)
        return float(np.degrees(np.arctan2(way @ east, way @ north)) % 360)


@dataclass(frozen=True)
class Marks:
    """Where a comet's nucleus is at the times of the first and the last frame.

    Attributes
    ----------
    first, last : (float, float)
    count : {'frames', 'mosaic', 'sky'}
        What the numbers are. Pixels as FITS counts them, the middle of the first one in the file (1, 1): 'frames' those
        of the first and of the last frame, 'mosaic' those of the canvas. 'sky': right ascension and declination in
        degrees.
    """

    first: tuple[float, float]
    last: tuple[float, float]
    count: str = "frames"

    def __post_init__(self) -> None:
        if self.count not in COUNTS:
            raise ValueError(f"count must be one of {', '.join(COUNTS)}, not {self.count!r}")

    def upside_down(self, heights: tuple[int, int]) -> Marks:
        """Return them as they are where rows are counted from the other side."""
        (x, y), (x1, y1) = self.first, self.last
        return replace(self, first=(x, heights[0] + 1 - y), last=(x1, heights[1] + 1 - y1))


def motion_of(marks: Marks, timed: Sequence[tuple[PlacedFrame, datetime]], canvas: Canvas) -> Motion:
    """Return the motion that marks tell.

    Parameters
    ----------
    marks : Marks
    timed : sequence of (PlacedFrame, datetime)
        The earliest first.
    canvas : Canvas

    Raises
    ------
    ValueError
        For marks outside what they are counted in, and as `Motion.through`.
    """
    (first, begin), (last, end) = timed[0], timed[-1]
    if (end - begin).total_seconds() <= 0:
        raise ValueError("a comet's motion needs two frames of different times, by DATE-OBS in their headers")
    if marks.count == "sky":
        places = [direction_of(*mark) for mark in (marks.first, marks.last)]
    elif marks.count == "mosaic":
        places = [_marked(mark, canvas.view, "the mosaic") for mark in (marks.first, marks.last)]
    else:
        pairs = (marks.first, first.frame), (marks.last, last.frame)
        places = [_marked(mark, frame.view, frame.path.name) for mark, frame in pairs]
    motion = Motion.through(places[0], begin, places[1], end)
    if drift_px(motion, canvas, begin, end) < LEAST_MOTION_PX:
        raise ValueError(STILL)
    return motion


def _marked(mark: tuple[float, float], view: View | SolvedView, name: str) -> np.ndarray:
    """Return the direction (3,) of a marked pixel."""
    (x, y), (height, width) = mark, view.shape
    if not (0.5 <= x <= width + 0.5 and 0.5 <= y <= height + 0.5):
        raise ValueError(f"the comet's mark {x:g},{y:g} lies outside {name}, which has {width} x {height} pixels")
    return view.directions(np.array(x - 1.0), np.array(y - 1.0))


def moment_of(frame: RegisteredFrame) -> datetime | None:
    """Return the middle of a frame's exposure, UTC; None where its header does not say."""
    return moment_of_facts(frame.facts)


def moment_of_facts(facts: Facts) -> datetime | None:
    """Return the middle of an exposure by what its header says."""
    taken = taken_of_frames([facts])
    return taken.begin if taken.begin is None or taken.end is None else taken.begin + (taken.end - taken.begin) / 2


def with_moments(frames: Sequence[PlacedFrame]) -> list[tuple[PlacedFrame, datetime]]:
    """Return the frames whose time is known, with it, the earliest first."""
    timed = [(one, moment) for one in frames if (moment := moment_of(one.frame)) is not None]
    return sorted(timed, key=lambda known: (known[1], known[0].frame.survey.digest))


def drift_px(motion: Motion, canvas: Canvas, begin: datetime, end: datetime) -> float:
    """Return how far the comet moves between two moments, in pixels of a canvas."""
    return float(motion.rate * (end - begin).total_seconds() * canvas.view.focal)


def shift_of(motion: Motion, moment: datetime, canvas: Canvas) -> tuple[float, float]:
    """Return how far the comet is at a moment from its place, along x and along y, in pixels of a canvas."""
    (x, y), (x0, y0) = (canvas.view.pixels(place) for place in (motion.at(moment), motion.place))
    return float(x - x0), float(y - y0)


def moved(frame: PlacedFrame, canvas: Canvas, motion: Motion, moment: datetime) -> PlacedFrame:
    """Return a frame as it goes onto the comet's canvas: turned back by what the comet has moved, its levels with it.

    Pixels move alike over the canvas to parts in a thousand, which a level does not feel.
    """
    turn, view = motion.turn(moment), frame.frame.view
    shift = shift_of(motion, moment, canvas)
    turned = replace(frame.frame, view=replace(view, attitude=view.attitude @ turn))
    return replace(frame, frame=turned, level=frame.level.shifted(*shift), flat=shifted_terms(frame.flat, *shift))
