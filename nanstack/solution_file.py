# SPDX-License-Identifier: GPL-3.0-or-later
"""The file that keeps a solution (`nanstack.kept_solution`) for the next run."""

from __future__ import annotations

import io
import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from nanstack.canvas import Canvas
from nanstack.io.archives import DAMAGED_ARCHIVE, opened_archive
from nanstack.io.files import complete_file, patiently
from nanstack.kept_solution import EarlierFrame, KeptSolution
from nanstack.levels.placed import Level, SampleNoise
from nanstack.levels.sky_told import SkyTold
from nanstack.register.camera import Camera, View
from nanstack.register.place import Place
from nanstack.register.registered import Flat

if TYPE_CHECKING:
    from nanstack.session import Session
    from nanstack.survey.record import Survey

VERSION = 7  # of what is kept
NUMBERS = ("attitude", "single", "flat", "colours")
SINGLE = ("stars", "rms", "factor", "factor_error", "exposed", "weight", "blur")


@dataclass(frozen=True)
class SolutionFile:
    """A file that keeps a solution.

    Attributes
    ----------
    path : Path
    told : dict of str to str
        All that a solution hangs on beside the frames, each by its name: the program's version, canvas and settings.
        One of others is not used.
    """

    path: Path
    told: Mapping[str, str] = field(default_factory=dict)

    def recalled(self) -> tuple[KeptSolution | None, str]:
        """Return the solution, and why there is none that can be used; nothing of a file not there."""
        try:
            content = self.path.read_bytes()
        except FileNotFoundError:
            return None, ""
        except OSError as failure:
            return None, f"it cannot be read ({failure.strerror or failure})"
        try:
            with opened_archive(io.BytesIO(content)) as kept:
                says = json.loads(kept["told"].tobytes())
                if _others(says, self.told):
                    return None, "it was asked for otherwise, or of another version"
                return _unpacked(says, {name: kept[name] for name in NUMBERS}), ""
        except DAMAGED_ARCHIVE:
            return None, "it is damaged"

    def others(self) -> list[str]:
        """Return what of that the solution was told otherwise; nothing where it fits, is not there, or is damaged."""
        try:
            with opened_archive(self.path) as kept:
                return _others(json.loads(kept["told"].tobytes()), self.told)
        except DAMAGED_ARCHIVE:
            return []

    def session(self, surveys: Sequence[Survey], wanted: Collection[Path] = ()) -> Session | None:
        """Return frames as an earlier run registered them; None where it cannot be told: see `KeptSolution.session`."""
        earlier, _ = self.recalled()
        return None if earlier is None else earlier.session(surveys, wanted)

    def remember(self, solution: KeptSolution) -> None:
        """Put a solution in the place of the one that is there: complete, or not at all.

        Raises
        ------
        OSError
            Where it cannot be written.
        """
        with complete_file(self.path) as new:
            new.write_bytes(_packed(self.told, solution))


def seen_in(path: Path) -> tuple[Canvas, dict[str, np.ndarray]] | None:
    """Return the canvas of a kept solution, and the attitudes of its frames by their digests.

    None where there is no such file, or another image told the canvas.
    """
    try:
        with opened_archive(path) as kept:
            says = json.loads(kept["told"].tobytes())
            if says["version"] != VERSION or not says["canvas"]:
                return None
            return _canvas(says["canvas"]), dict(zip(says["digests"], kept["attitude"], strict=True))
    except DAMAGED_ARCHIVE:
        return None


def _others(says: dict, told: Mapping[str, str]) -> list[str]:
    if says["version"] != VERSION:
        return ["another version"]
    then = says["told"]
    differing = [value for name, value in then.items() if value != told.get(name)]
    return differing or ([] if then == told else ["other settings"])


def forget(path: Path) -> None:
    """Remove a kept solution; a file that is none stays."""
    try:
        with opened_archive(path) as kept:
            if kept.files != ["told", *NUMBERS]:
                return
    except DAMAGED_ARCHIVE:
        return
    patiently(path.unlink)


def _packed(told: Mapping[str, str], solution: KeptSolution) -> bytes:
    """Return a solution as an archive of arrays, with all that is no array as JSON among them."""
    frames = list(solution.frames.values())
    cameras = list(dict.fromkeys(frame.view.camera for frame in frames))
    number = {camera: index for index, camera in enumerate(cameras)}
    says = {
        "version": VERSION,
        "told": dict(told),
        "digests": list(solution.frames),
        "refused": dict(solution.refused),
        "judged": dict(solution.judged),
        "usual_flux": solution.usual_flux,
        "remarks": list(solution.remarks),
        "sky": solution.sky and asdict(solution.sky),
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
        single=[
            (*(getattr(one, name) for name in SINGLE), one.view.scale, *one.flat.terms, one.flat.error)
            for one in frames
        ],
        flat=[frame.flat_on_canvas for frame in frames],
        colours=[_colours(frame) for frame in frames],
    )
    return out.getvalue()


def _plain(value: object) -> object:
    return value.tolist() if isinstance(value, np.ndarray) else value


def _told_view(view: View) -> dict:
    return {"camera": asdict(view.camera), "attitude": view.attitude.tolist(), "scale": view.scale}


def _colours(frame: EarlierFrame) -> list[np.ndarray]:
    noise = frame.noise
    return [frame.gain, *frame.level.terms, noise.variance, noise.photon, noise.sky]


def _unpacked(says: dict, numbers: dict[str, np.ndarray]) -> KeptSolution:
    """Return a solution out of what `_packed` put into an archive."""
    cameras = [_camera(camera) for camera in says["cameras"]]
    canvas, place = _canvas(says["canvas"]), says["place"]
    if place is not None:
        place = Place(**{n: np.array(value) if isinstance(value, list) else value for n, value in place.items()})
    frames = {}
    each = zip(says["digests"], says["camera"], *(numbers[name] for name in NUMBERS), strict=True)
    for digest, camera, attitude, single, on_canvas, colours in each:
        stars, rms, factor, factor_error, exposed, weight, blur, scale, *flat = single.tolist()
        gain, *level, variance, photon, sky = colours
        frames[digest] = EarlierFrame(
            View(cameras[camera], attitude, scale), int(stars), rms, factor, factor_error, Flat(*flat), exposed,
            gain, Level(*level), weight, SampleNoise(variance, photon, sky), blur, on_canvas,
        )  # fmt: skip
    sky = says["sky"] and SkyTold.from_json(says["sky"])
    of_frames = frames, says["refused"], says["usual_flux"], sky, tuple(says["remarks"]), says["judged"]
    return KeptSolution(canvas, place, *of_frames)


def _canvas(told: dict | None) -> Canvas | None:
    return told and Canvas(View(_camera(told["camera"]), np.array(told["attitude"]), told["scale"]))


def _camera(told: dict) -> Camera:
    axis = told["axis"]
    return Camera(tuple(told["shape"]), told["focal"], told["radial"], axis and tuple(axis))
