# SPDX-License-Identifier: GPL-3.0-or-later
"""A session's frames on their canvas, going on from what an earlier run found.

Frames of the earlier run keep their places and levels to the bit. So the cells of the canvas that no new frame touches
keep their bytes, too, and are not stacked again (`nanstack.stack.kept`). A run of known frames alone need not even
register them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import NamedTuple

from nanstack.canvas import Canvas, grown
from nanstack.kept_solution import EarlierFrame, KeptSolution
from nanstack.levels.placed import PlacedFrame
from nanstack.levels.sky_told import SkyTold
from nanstack.progress import Progress, Quiet
from nanstack.register.camera import View
from nanstack.register.registered import RegisteredFrame
from nanstack.session import Session
from nanstack.settings import CanvasSettings
from nanstack.sky_stack import placed_on, with_trails
from nanstack.solution_file import SolutionFile

CanvasOf = Callable[[Sequence[RegisteredFrame]], Canvas]


class OnCanvas(NamedTuple):
    """Frames on their canvas."""

    canvas: Canvas
    frames: list[PlacedFrame]
    usual_flux: float  # of a star in the result, over that in the usual frame: see `nanstack.session.Session`
    sky: SkyTold | None  # what is known of their common sky


def solved_on_canvas(
    session: Session,
    canvas_of: CanvasOf,
    settings: CanvasSettings,
    *,
    grows: bool = True,
    kept: SolutionFile | None = None,
    progress: Progress | None = None,
) -> OnCanvas:
    """Return a session's frames on their canvas, going on from an earlier run where that can be.

    Parameters
    ----------
    session : Session
        With frames.
    canvas_of : callable
        Makes the canvas of a first run.
    settings : CanvasSettings
    grows : bool
        Whether the canvas shows all frames, however many there are; else it stays what it was.
    kept : SolutionFile, optional
        Keeps the solution; this run's is put in its place.
    progress : Progress, optional
        Is warned where an earlier solution is there and cannot be used.

    Raises
    ------
    ValueError
        Where most of the earlier run's frames are missing.
    """
    progress = progress or Quiet()
    session = replace(session, frames=sorted(session.frames, key=lambda frame: frame.survey.digest))
    earlier, wrong = (None, "") if kept is None else kept.recalled()
    if earlier is not None:
        earlier.check_enough(session)
        wrong = earlier.cannot_go_on(session)
        if not wrong:
            try:
                found = _going_on(earlier, session, canvas_of, settings, grows)
            except ValueError:  # no plane of that projection shows the new frames
                wrong = "the earlier canvas cannot show the new frames"
    if earlier is None or wrong:
        if wrong:
            progress.warn(f"what an earlier run found cannot be used: {wrong}; frames are registered anew")
        canvas = canvas_of(session.frames)
        placed, sky = placed_on(session.frames, canvas, settings)
        found = OnCanvas(canvas, placed, session.usual_flux, sky)
    if kept is not None:
        _remember(kept, session, found, progress)
    return found._replace(frames=with_trails(found.frames))


def _going_on(
    earlier: KeptSolution, session: Session, canvas_of: CanvasOf, settings: CanvasSettings, grows: bool
) -> OnCanvas:
    frames, usual_flux = earlier.continued(session.frames), session.usual_flux * earlier.times_brighter(session.frames)
    if earlier.canvas is None:
        canvas = canvas_of(frames)
    elif grows:
        canvas = grown(earlier.canvas, [frame.view for frame in frames])
    else:
        canvas = earlier.canvas
    if all(frame.survey.digest in earlier.frames for frame in frames):
        placed = _in_order([earlier.frames[f.survey.digest].placed(f.survey) for f in frames])
        return OnCanvas(canvas, placed, usual_flux, earlier.sky)
    placed, sky = placed_on(frames, canvas, settings)
    return OnCanvas(canvas, earlier.joined(placed), usual_flux, sky)


def _in_order(placed: Sequence[PlacedFrame]) -> list[PlacedFrame]:
    """Return frames in the order of `placed_on`."""
    return sorted(placed, key=lambda one: one.frame.survey.digest)


def _remember(kept: SolutionFile, session: Session, found: OnCanvas, progress: Progress) -> None:
    frames = {one.frame.survey.digest: EarlierFrame.of(one) for one in found.frames}
    canvas = found.canvas if isinstance(found.canvas.view, View) else None
    of_frames = frames, session.refused, found.usual_flux, found.sky, session.remarks, session.judged
    try:
        kept.remember(KeptSolution(canvas, session.place, *of_frames))
    except OSError as failure:  # a full disk costs the next run some time, not this one its end
        progress.warn(
            f"{kept.path.name} cannot be written ({failure.strerror or failure}): more frames later make all anew"
        )
