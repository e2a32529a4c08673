# SPDX-License-Identifier: GPL-3.0-or-later
"""What a run found out of its frames, kept for the next one: places, fluxes, levels, weights, noise, and the canvas.

A run that gets more frames solves for all of them, and brings what it finds of the new ones onto the earlier solution;
the others keep theirs to the bit (`nanstack.going_on`).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from nanstack.canvas import Canvas
from nanstack.levels import common_sky, flux
from nanstack.levels.placed import Level, PlacedFrame, SampleNoise
from nanstack.levels.sky_told import SkyTold
from nanstack.register.camera import View, attitude_between, edge_pixels
from nanstack.register.place import Place
from nanstack.register.registered import Flat, RegisteredFrame
from nanstack.session import Session
from nanstack.survey.record import Survey

ENOUGH = 0.5  # of the frames of an earlier run must be there still
MOST_OFF_PX = 0.5  # a solution in which the same frames lie farther from where they lay goes on from no earlier one


@dataclass(frozen=True)
class EarlierFrame:
    """What an earlier run found out of a frame: see `RegisteredFrame` and `PlacedFrame`."""

    view: View
    stars: int
    rms: float
    factor: float
    factor_error: float
    flat: Flat
    exposed: float
    gain: np.ndarray
    level: Level
    weight: float
    noise: SampleNoise
    blur: float
    flat_on_canvas: np.ndarray

    @classmethod
    def of(cls, placed: PlacedFrame) -> EarlierFrame:
        """Return what is kept of a frame."""
        one = placed.frame
        mine = placed.gain, placed.level, placed.weight, placed.noise, placed.blur, placed.flat
        return cls(one.view, one.stars, one.rms, one.factor, one.factor_error, one.flat, one.exposed, *mine)

    def registered(self, survey: Survey) -> RegisteredFrame:
        """Return the frame as it was registered."""
        mine = self.view, self.stars, self.rms, self.factor, self.factor_error, self.flat, self.exposed
        return RegisteredFrame(survey, *mine)

    def placed(self, survey: Survey) -> PlacedFrame:
        """Return the frame as it was stacked."""
        mine = self.gain, self.level, self.weight, self.noise, self.blur, self.flat_on_canvas
        return PlacedFrame(self.registered(survey), *mine)


@dataclass(frozen=True)
class KeptSolution:
    """What an earlier run found out.

    Attributes
    ----------
    canvas : Canvas or None
        None for another image's pixels, which that image tells.
    place : Place or None
        Of the session.
    frames : dict of str to EarlierFrame
        By the frames' digests.
    refused : dict of str to str
        Digests of frames that could not be registered, and why.
    judged : dict of str to str
        Digests of frames that were, and would make the result worse, and why: they are stacked if they are wanted.
    usual_flux : float
        See `nanstack.session.Session`.
    sky : SkyTold or None
        What is known of the frames' common sky.
    remarks : tuple of str
        See `nanstack.session.Session`.
    """

    canvas: Canvas | None
    place: Place | None
    frames: Mapping[str, EarlierFrame] = field(repr=False)
    refused: Mapping[str, str] = field(default_factory=dict, repr=False)
    usual_flux: float = 1.0
    sky: SkyTold | None = None
    remarks: tuple[str, ...] = ()
    judged: Mapping[str, str] = field(default_factory=dict, repr=False)

    def session(self, surveys: Sequence[Survey], wanted: Collection[Path] = ()) -> Session | None:
        """Return frames as they were registered; None where one is not known, or the place on the sky is in doubt.

        Parameters
        ----------
        surveys : sequence of Survey
        wanted : collection of Path
            See `nanstack.session.open_session`.
        """
        if self.place is None or self.place.approximate or not self._has_enough(surveys):
            return None
        left_out = {survey.path: reason for survey in surveys if (reason := self._why_not(survey, wanted))}
        used = [survey for survey in surveys if survey.path not in left_out]
        if any(survey.digest not in self.frames for survey in used):
            return None
        frames = [self.frames[survey.digest].registered(survey) for survey in used]
        refused = {s.digest: self.refused[s.digest] for s in surveys if s.digest in self.refused}
        judged = {s.digest: self.judged[s.digest] for s in surveys if s.digest in self.judged}
        faults = {s.path: judged[s.digest] for s in surveys if s.digest in judged}
        return Session(frames, left_out, self.place, refused, self.usual_flux, self.remarks, faults, judged)

    def _why_not(self, survey: Survey, wanted: Collection[Path]) -> str:
        fault = "" if survey.path in wanted else self.judged.get(survey.digest, "")
        return self.refused.get(survey.digest, fault)

    def _has_enough(self, surveys: Sequence[Survey]) -> bool:
        there = {survey.digest for survey in surveys}
        return len(there & set(self.frames)) >= ENOUGH * len(self.frames)

    def check_enough(self, session: Session) -> None:
        """Refuse a session that has few of these frames, as of a new night alone: what they made would be lost.

        Raises
        ------
        ValueError
            Saying how many there are.
        """
        if not self._has_enough([frame.survey for frame in session.frames]):
            found = f"of {len(self.frames)} frames that the earlier run stacked, {len(self._known(session.frames))} are"
            raise ValueError(f"{found} here: name the others, too, beside the new ones, or start again elsewhere")

    def cannot_go_on(self, session: Session) -> str:
        """Return why a session of most of these frames does not go on from here; empty where it does."""
        if (self.place is None or self.place.approximate) and session.knows_its_place:
            return "the place on the sky is known now"
        off = self._off(session.frames)
        return f"the frames lie {off:.1f} px from where they lay" if off > MOST_OFF_PX else ""

    def _off(self, frames: Sequence[RegisteredFrame]) -> float:
        """Return how far known frames' corners lie from where they lay, once the sphere is turned: the median."""
        turn = self._turn(frames)
        return float(np.median([_apart(f.view, self.frames[d].view, turn) for f, d in self._known(frames)]))

    def _known(self, frames: Sequence[RegisteredFrame]) -> list[tuple[RegisteredFrame, str]]:
        return [(frame, frame.survey.digest) for frame in frames if frame.survey.digest in self.frames]

    def _turn(self, frames: Sequence[RegisteredFrame]) -> np.ndarray:
        """Return the rotation from a new solution's sphere to the earlier one's, by the frames that both have."""
        known = self._known(frames)
        earlier = np.concatenate([self.frames[digest].view.attitude for _, digest in known])
        new = np.concatenate([frame.view.attitude for frame, _ in known])
        hand = np.linalg.det(earlier[:3]) * np.linalg.det(new[:3])
        return attitude_between(earlier, new, np.ones(len(new)), mirrored=bool(hand < 0))

    def times_brighter(self, frames: Sequence[RegisteredFrame]) -> float:
        """Return how much larger a star's flux is on the earlier scale than on that of a new solution."""
        known = self._known(frames)
        return flux.onto_earlier([f.factor for f, _ in known], [self.frames[digest].factor for _, digest in known])

    def continued(self, frames: Sequence[RegisteredFrame]) -> list[RegisteredFrame]:
        """Return registered frames: known ones as they were, new ones turned, and multiplied, to join them."""
        turn, more = self._turn(frames), self.times_brighter(frames)
        return [
            self.frames[frame.survey.digest].registered(frame.survey)
            if frame.survey.digest in self.frames
            else replace(
                frame, view=replace(frame.view, attitude=frame.view.attitude @ turn.T), factor=frame.factor * more
            )
            for frame in frames
        ]

    def joined(self, placed: Sequence[PlacedFrame]) -> list[PlacedFrame]:
        """Return frames on the canvas: known ones as they were, new ones levelled, and weighed, to join them."""
        known = [one for one in placed if one.frame.survey.digest in self.frames]
        earlier = [self.frames[one.frame.survey.digest] for one in known]
        more = common_sky.onto_earlier([one.level for one in known], [one.level for one in earlier])
        heavier = flux.onto_earlier([one.weight for one in known], [one.weight for one in earlier])
        return [
            self.frames[one.frame.survey.digest].placed(one.frame.survey)
            if one.frame.survey.digest in self.frames
            else replace(
                one,
                level=Level(*(one.level.terms + more.terms)),
                weight=one.weight * heavier,
                noise=replace(one.noise, sky=one.noise.sky + more.offset),
            )
            for one in placed
        ]


def _apart(new: View, earlier: View, turn: np.ndarray) -> float:
    """Return how far a frame's corners lie from where they lay, in pixels: the root of the mean square."""
    x, y = edge_pixels(earlier.camera.shape, 2)
    u, v = earlier.pixels(new.directions(x, y) @ turn.T)
    return float(np.sqrt(np.mean((u - x) ** 2 + (v - y) ** 2)))
