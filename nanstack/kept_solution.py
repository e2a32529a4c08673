# SPDX-License-Identifier: GPL-3.0-or-later
"""What a run found out of its frames, kept for the next one: places, fluxes, levels, weights, noise, and the canvas.

A run that gets more frames solves for all of them, and brings what it finds of the new ones onto the earlier solution;
the others keep theirs to the bit. So the cells of the canvas that no new frame touches keep their bytes, too, and are
not stacked again (`nanstack.stack.kept`). A run of known frames alone need not even register them.
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import numpy as np

from nanstack.canvas import Canvas, grown
from nanstack.io.files import DAMAGED_ARCHIVE, complete_file
from nanstack.levels import common_sky, flux
from nanstack.levels.placed import PlacedFrame, Plane, SampleNoise
from nanstack.progress import Progress, Quiet
from nanstack.register.camera import Camera, View, attitude_between, edge_pixels
from nanstack.register.place import Place
from nanstack.register.registered import RegisteredFrame
from nanstack.session import Session
from nanstack.settings import CanvasSettings
from nanstack.sky_stack import placed_on
from nanstack.survey.record import Survey

VERSION = 1  # of what is kept
ENOUGH = 0.5  # of the frames of an earlier run must be there still
MOST_OFF_PX = 0.5  # a solution in which the same frames lie farther from where they lay goes on from no earlier one

CanvasOf = Callable[[Sequence[RegisteredFrame]], Canvas]


@dataclass(frozen=True)
class EarlierFrame:
    """What an earlier run found out of a frame: see `RegisteredFrame` and `PlacedFrame`."""

    view: View
    stars: int
    rms: float
    flux: float
    factor: float
    gain: np.ndarray
    level: Plane
    weight: float
    noise: SampleNoise
    blur: float

    @classmethod
    def of(cls, placed: PlacedFrame) -> EarlierFrame:
        """Return what is kept of a frame."""
        one = placed.frame
        mine = placed.gain, placed.level, placed.weight, placed.noise, placed.blur
        return cls(one.view, one.stars, one.rms, one.flux, one.factor, *mine)

    def registered(self, survey: Survey) -> RegisteredFrame:
        """Return the frame as it was registered."""
        return RegisteredFrame(survey, self.view, self.stars, self.rms, self.flux, self.factor)

    def placed(self, survey: Survey) -> PlacedFrame:
        """Return the frame as it was stacked."""
        return PlacedFrame(self.registered(survey), self.gain, self.level, self.weight, self.noise, self.blur)


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
        Digests of frames that could not be registered, or were judged, and why.
    """

    canvas: Canvas | None
    place: Place | None
    frames: Mapping[str, EarlierFrame] = field(repr=False)
    refused: Mapping[str, str] = field(default_factory=dict, repr=False)

    def session(self, surveys: Sequence[Survey]) -> Session | None:
        """Return frames as they were registered; None where one is not known, or the place on the sky is in doubt."""
        known = [self.frames.get(survey.digest) for survey in surveys]
        if self.place is None or self.place.approximate or not self._has_enough(surveys):
            return None
        if any(one is None and s.digest not in self.refused for one, s in zip(known, surveys, strict=True)):
            return None
        frames = [one.registered(survey) for one, survey in zip(known, surveys, strict=True) if one is not None]
        refused = {survey.path: self.refused[survey.digest] for survey in surveys if survey.digest in self.refused}
        return Session(frames, refused, self.place, {s.digest: refused[s.path] for s in surveys if s.path in refused})

    def _has_enough(self, surveys: Sequence[Survey]) -> bool:
        there = {survey.digest for survey in surveys}
        return len(there & set(self.frames)) >= ENOUGH * len(self.frames)

    def cannot_go_on(self, session: Session) -> str:
        """Return why a session does not go on from here; empty where it does."""
        if not self._has_enough([frame.survey for frame in session.frames]):
            return "most of the earlier frames are gone"
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

    def continued(self, frames: Sequence[RegisteredFrame]) -> list[RegisteredFrame]:
        """Return registered frames: known ones as they were, new ones turned, and multiplied, to join them."""
        turn, known = self._turn(frames), self._known(frames)
        more = flux.onto_earlier([f.factor for f, _ in known], [self.frames[digest].factor for _, digest in known])
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
                level=Plane(*(getattr(one.level, t) + getattr(more, t) for t in ("offset", "slope_x", "slope_y"))),
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


def solved_on_canvas(
    session: Session,
    canvas_of: CanvasOf,
    settings: CanvasSettings,
    *,
    grows: bool = True,
    kept: Path | None = None,
    told: str = "",
    progress: Progress | None = None,
) -> tuple[Canvas, list[PlacedFrame]]:
    """Return the canvas of a session and its frames on it, going on from an earlier run where that can be.

    Parameters
    ----------
    session : Session
        With frames.
    canvas_of : callable
        Makes the canvas of a first run.
    settings : CanvasSettings
    grows : bool
        Whether the canvas shows all frames, however many there are; else it stays what it was.
    kept : Path, optional
        The file that keeps the solution; this run's is put in its place.
    told : str
        The program's version, and what canvas was asked for: a solution of another one is not used.
    progress : Progress, optional
        Is warned where an earlier solution is there and cannot be used.
    """
    progress = progress or Quiet()
    told = f"{told} {settings}"
    earlier, wrong = (None, "") if kept is None else recalled(kept, told)
    if earlier is not None:
        wrong = earlier.cannot_go_on(session)
        if not wrong:
            try:
                found = _going_on(earlier, session, canvas_of, settings, grows)
            except ValueError:  # no plane of that projection shows the new frames
                wrong = "the earlier canvas cannot show the new frames"
    if earlier is None or wrong:
        if wrong:
            progress.warn(f"what an earlier run found cannot be used: {wrong}; all is made anew")
        canvas = canvas_of(session.frames)
        found = canvas, placed_on(session.frames, canvas, settings)
    if kept is not None:
        remember(kept, told, session, *found, progress)
    return found


def _going_on(
    earlier: KeptSolution, session: Session, canvas_of: CanvasOf, settings: CanvasSettings, grows: bool
) -> tuple[Canvas, list[PlacedFrame]]:
    frames = earlier.continued(session.frames)
    if earlier.canvas is None:
        canvas = canvas_of(frames)
    elif grows:
        canvas = grown(earlier.canvas, [frame.view for frame in frames])
    else:
        canvas = earlier.canvas
    if all(frame.survey.digest in earlier.frames for frame in frames):
        return canvas, _in_order([earlier.frames[f.survey.digest].placed(f.survey) for f in frames])
    return canvas, earlier.joined(placed_on(frames, canvas, settings))


def _in_order(placed: Sequence[PlacedFrame]) -> list[PlacedFrame]:
    """Return frames in the order of `placed_on`."""
    return sorted(placed, key=lambda one: (one.frame.path.name, one.frame.survey.digest))


# --- the file ---------------------------------------------------------------------------------------------------------


def remember(
    path: Path,
    told: str,
    session: Session,
    canvas: Canvas,
    placed: Sequence[PlacedFrame],
    progress: Progress,
) -> None:
    """Keep a solution in a file, which is complete or not there."""
    frames = {one.frame.survey.digest: EarlierFrame.of(one) for one in placed}
    view = canvas.view if isinstance(canvas.view, View) else None
    try:
        with complete_file(path) as new:
            new.write_bytes(_packed(told, KeptSolution(view and Canvas(view), session.place, frames, session.refused)))
    except OSError as failure:  # a full disk costs the next run some time, not this one its end
        progress.warn(f"{path} cannot be written ({failure.strerror or failure}): more frames later make all anew")


def recalled(path: Path, told: str) -> tuple[KeptSolution | None, str]:
    """Return the solution that a file keeps, and why there is none that can be used; nothing of a file not there."""
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return None, ""
    except OSError as failure:
        return None, f"it cannot be read ({failure.strerror or failure})"
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as kept:
            says = json.loads(kept["told"].tobytes())
            if says["version"] != VERSION or says["told"] != told:
                return None, "it was asked for otherwise, or of another version"
            return _unpacked(says, {name: kept[name] for name in NUMBERS}), ""
    except DAMAGED_ARCHIVE:
        return None, "it is damaged"


def forget(path: Path) -> None:
    """Remove a kept solution; a file that is none stays."""
    try:
        with np.load(path, allow_pickle=False) as kept:
            if kept.files != ["told", *NUMBERS]:
                return
    except DAMAGED_ARCHIVE:
        return
    path.unlink(missing_ok=True)


NUMBERS = ("attitude", "single", "colours")
SINGLE = ("stars", "rms", "flux", "factor", "weight", "blur")


def _packed(told: str, solution: KeptSolution) -> bytes:
    frames = list(solution.frames.values())
    cameras = list(dict.fromkeys(frame.view.camera for frame in frames))
    number = {camera: index for index, camera in enumerate(cameras)}
    says = {
        "version": VERSION,
        "told": told,
        "digests": list(solution.frames),
        "refused": dict(solution.refused),
        "cameras": [asdict(camera) for camera in cameras],
        "camera": [number[frame.view.camera] for frame in frames],
        "canvas": solution.canvas and _told_view(solution.canvas.view),
        "place": solution.place and {name: _plain(value) for name, value in vars(solution.place).items()},
    }
    out = io.BytesIO()
    np.savez(
        out,
        told=np.frombuffer(json.dumps(says).encode(), dtype=np.uint8),
        attitude=[frame.view.attitude for frame in frames],
        single=[(*(getattr(frame, name) for name in SINGLE), frame.view.scale) for frame in frames],
        colours=[_colours(frame) for frame in frames],
    )
    return out.getvalue()


def _plain(value: object) -> object:
    return value.tolist() if isinstance(value, np.ndarray) else value


def _told_view(view: View) -> dict:
    return {"camera": asdict(view.camera), "attitude": view.attitude.tolist(), "scale": view.scale}


def _colours(frame: EarlierFrame) -> list[np.ndarray]:
    level, noise = frame.level, frame.noise
    return [frame.gain, level.offset, level.slope_x, level.slope_y, noise.variance, noise.photon, noise.sky]


def _unpacked(says: dict, numbers: dict[str, np.ndarray]) -> KeptSolution:
    cameras = [_camera(camera) for camera in says["cameras"]]
    canvas, place = says["canvas"], says["place"]
    if canvas is not None:
        canvas = Canvas(View(_camera(canvas["camera"]), np.array(canvas["attitude"]), canvas["scale"]))
    if place is not None:
        place = Place(**{n: np.array(value) if isinstance(value, list) else value for n, value in place.items()})
    frames = {}
    each = zip(says["digests"], says["camera"], *(numbers[name] for name in NUMBERS), strict=True)
    for digest, camera, attitude, single, colours in each:
        *single, scale = single.tolist()
        stars, rms, of_flux, factor, weight, blur = single
        gain, offset, slope_x, slope_y, *noise = colours
        frames[digest] = EarlierFrame(
            View(cameras[camera], attitude, scale), int(stars), rms, of_flux, factor,
            gain, Plane(offset, slope_x, slope_y), weight, SampleNoise(*noise), blur,
        )  # fmt: skip
    return KeptSolution(canvas, place, frames, says["refused"])


def _camera(told: dict) -> Camera:
    axis = told["axis"]
    return Camera(tuple(told["shape"]), told["focal"], told["radial"], axis and tuple(axis))
