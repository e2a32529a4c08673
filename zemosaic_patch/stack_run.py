# SPDX-License-Identifier: GPL-3.0-or-later
"""Frame files to a stack on a canvas: what the commands `mosaic` and `tile` have in common.

Files -> registered frames (`nanstack.session`) -> canvas -> cells (`nanstack.sky_stack`) -> files of the result, and
what is known of it. What can be wrong with files and options ends in UsageError or FailureError, whose message is for
the user.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nanstack.canvas import Canvas
from nanstack.canvas_cards import canvas_cards
from nanstack.crew import Crew
from nanstack.going_on import solved_on_canvas
from nanstack.io.frames import FrameError, short_names
from nanstack.progress import Noting, Progress
from nanstack.session import Placed, Placer, Session, open_session
from nanstack.settings import CanvasSettings
from nanstack.sky_stack import stacked_strips
from nanstack.solution_file import SolutionFile
from nanstack.stack.drizzled import correlation
from nanstack.stack.kept import KeptCells
from nanstack.stack.ready import make_ready
from nanstack.stack.tally import Tally
from nanstack.survey.selection import told
from zemosaic_patch import cautions, installed_version, process
from zemosaic_patch.asked import asked_for, check_goes_on, settings_told
from zemosaic_patch.cautions import counted, in_units
from zemosaic_patch.chosen import ChosenPixels
from zemosaic_patch.comet_run import CometRun
from zemosaic_patch.errors import FailureError, UnfinishedError
from zemosaic_patch.given import UNWANTED, Wishes
from zemosaic_patch.lost_files import unreadable
from zemosaic_patch.options.runs import CanvasChoice, MosaicRun, TileRun
from zemosaic_patch.report.canvas import CanvasReport
from zemosaic_patch.report.registration import Registered
from zemosaic_patch.report.stack import Stacked
from zemosaic_patch.result_files import Written, write_result

if TYPE_CHECKING:
    from nanstack.comet_stack import CometFrames
    from nanstack.levels.placed import PlacedFrame
    from nanstack.levels.sky_told import SkyTold
    from nanstack.register.solution import Registration
    from nanstack.stack.stacked import StackedCell
    from nanstack.survey.record import Survey
    from zemosaic_patch.report.comet import CometReport

BYTES_OF_COLOUR, BYTES_OF_PIXEL = 8, 6  # in a file: image and variance; weight and coverage


@dataclass(frozen=True)
class Work:
    """What a run keeps for the next one, and how it finds the place on the sky.

    Attributes
    ----------
    surveys, cells : Path
        Folders: of what is known of each file; of finished cells.
    solution : Path
        The file that keeps the frames' places, levels and weights.
    place : callable
        See `nanstack.session.open_session`.
    crew : Crew, optional
        Surveys files and stacks cells elsewhere.
    """

    surveys: Path
    cells: Path
    solution: Path
    place: Placer
    crew: Crew | None = None


class Clock:
    """How long the stages of a run took, one after the other.

    Attributes
    ----------
    seconds : dict of str to float
        By the stage.
    """

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._began = time.perf_counter()

    def ends(self, stage: str) -> None:
        """Say that a stage, or a part of it, is over: all since the last one, or since the beginning, was it."""
        now = time.perf_counter()
        self.seconds[stage] = self.seconds.get(stage, 0.0) + now - self._began
        self._began = now


@dataclass(frozen=True)
class _Solved:
    """Frames on their canvas, ready to be stacked.

    Attributes
    ----------
    session : Session
        That they are of.
    registered : Registered
        What is to be told of it.
    settings : CanvasSettings
        By which they are stacked.
    canvas, frames, usual_flux, sky
        As in `nanstack.going_on.OnCanvas`.
    """

    session: Session
    registered: Registered
    settings: CanvasSettings
    canvas: Canvas
    frames: Sequence[PlacedFrame]
    usual_flux: float
    sky: SkyTold | None


def stack_files(
    paths: Sequence[Path],
    run: TileRun | MosaicRun,
    to: Written,
    progress: Progress,
    work: Work | None = None,
    comet: CometRun | None = None,
    wishes: Wishes | None = None,
) -> CanvasReport:
    """Stack frame files, and write the result; what cannot be used is named and left out.

    Parameters
    ----------
    paths : sequence of Path
    run : TileRun or MosaicRun
    to : Written
        Where and how the result is written.
    progress : nanstack.progress.Progress
    work : Work, optional
        Goes on from what an earlier run found; by default nothing is kept.
    comet : CometRun, optional
        What is stacked on a comet's motion, too.
    wishes : Wishes, optional
        What of the files the owner decides.

    Raises
    ------
    UsageError
        A reference that is none of the files, another image that cannot be used.
    FailureError
        Nothing to stack.
    """
    clock, progress, wishes = Clock(), Noting.of(progress), wishes or Wishes()
    make_ready(run.stack, on_the_sky=work is not None).add_done_callback(lambda _: process.loaded())
    chosen = ChosenPixels.of(run.canvas, paths)
    solution = work and _solution_of(work, chosen, run.stack, to)
    session = _session_of(paths, wishes, solution, clock, progress, work)
    _tell_who_is_in(session, wishes, progress)
    solved = _solved(session, chosen, run.stack, solution, progress, tries=work is not None)
    followed = comet and _followed(comet, solved, progress)
    _check_disk(to, solved, work, stacks=1 + (len(comet.stacks) if comet else 0))
    cautions.of_frames(session, solved.frames, solved.canvas, chosen.choice, progress)
    cautions.of_sky(solved.frames, solved.sky, progress)
    clock.ends("levels")
    kept = work and KeptCells(work.cells, installed_version())
    tally = _write_stack(solved, chosen, to, kept, work and work.crew, clock=clock, progress=progress)
    beside = comet and _write_comet(comet, followed, solved, to, crew=work.crew, clock=clock, progress=progress)
    if kept is not None and kept.failure:
        progress.warn(f"not all that is finished could be kept for --resume: {kept.failure}")
    clock.ends("writing")
    return CanvasReport.of(
        session,
        solved.frames,
        solved.canvas,
        sky=solved.sky,
        files=to.names,
        stack=_stacked(run.stack, tally, kept),
        settings=settings_told(run),
        seconds=clock.seconds,
        like=chosen.told(solved.canvas, solved.frames, solved.registered),
        upside_down=to.upside_down,
        comet=beside,
        warnings=progress.warnings,
    )


# --- the steps --------------------------------------------------------------------------------------------------------


def _solution_of(work: Work, chosen: ChosenPixels, settings: CanvasSettings, to: Written) -> SolutionFile:
    """Return the file of solutions, which may hold that of an earlier run; UsageError where its mosaic is another."""
    solution = SolutionFile(work.solution, asked_for(chosen, settings))
    if (to.folder / to.names.image).exists():
        check_goes_on(solution)
    return solution


def _session_of(
    paths: Sequence[Path],
    wishes: Wishes,
    solution: SolutionFile | None,
    clock: Clock,
    progress: Progress,
    work: Work | None,
) -> Session:
    """Return registered frames: as an earlier run, asked for the same, found them, where it knew them all."""

    def known(surveys: Sequence[Survey]) -> Session | None:
        clock.ends("survey")
        return None if solution is None else solution.session(surveys, wishes.in_)

    def place(surveys: Sequence[Survey], registrations: Sequence[Registration]) -> Placed:
        clock.ends("registration")
        found = work.place(surveys, registrations)
        clock.ends("place")  # solvers may take far longer than all else
        return found

    kept = {} if work is None else {"folder": work.surveys, "place": place, "crew": work.crew}
    given = [path for path in paths if path not in wishes.out]
    session = open_session(given, wanted=wishes.in_, known=known, progress=progress, **kept)
    clock.ends("registration")
    return replace(session, left_out={**session.left_out, **dict.fromkeys(wishes.out, UNWANTED)})


def _tell_who_is_in(session: Session, wishes: Wishes, progress: Progress) -> None:
    """Say which files are left out, which are taken in by hand, and which cannot be, and why."""
    names = short_names([*session.left_out, *(frame.path for frame in session.frames)])

    def lines(reasons: Mapping[Path, str], are_out: bool = False) -> list[str]:
        return told(dict(sorted((names[path], reason) for path, reason in reasons.items())), are_out)

    in_vain = {path: reason for path, reason in session.left_out.items() if path in wishes.in_}
    others = {path: reason for path, reason in session.left_out.items() if path not in in_vain}
    for line in lines(others, are_out=True):
        progress.say(line)
    for line in lines(session.taken_in):
        progress.say(f"taken in by you all the same (--take-in): {line}")
    for line in lines(in_vain):
        progress.warn(f"cannot be taken in (--take-in): {line}")


def _solved(
    session: Session,
    chosen: ChosenPixels,
    settings: CanvasSettings,
    solution: SolutionFile | None,
    progress: Progress,
    *,
    tries: bool,
) -> _Solved:
    """Return a session's frames on the canvas that is chosen; `tries` tells whether their place was looked for."""
    _check_usable(session, chosen.reference)
    registered = Registered.of(session)
    cautions.of_place(session, registered, chosen.choice, progress, tries=tries)
    cautions.check_scale(session, chosen.choice)
    with _failures():
        on_canvas = solved_on_canvas(
            session,
            partial(chosen.canvas_of, settings=settings),
            settings,
            grows=chosen.choice.kind == "all",
            kept=solution,
            progress=progress,
        )
    return _Solved(session, registered, settings, *on_canvas)


def _check_usable(session: Session, wanted: Path | None) -> None:
    """Refuse a reference that is left out, and files without a usable frame."""
    if wanted in session.left_out:
        raise FailureError(
            f"{wanted.name} cannot be the reference: {session.left_out[wanted]}; name another, or leave --reference out"
        )
    if not session.frames:
        raise FailureError(f"no usable frame in {counted(len(session.left_out), 'file')}: see above")


def _followed(comet: CometRun, solved: _Solved, progress: Progress) -> CometFrames:
    """Return frames turned after the comet."""
    left_out = solved.session.left_out
    with _failures():
        return comet.followed(solved.frames, solved.canvas, solved.settings, solved.registered, left_out, progress)


def _check_disk(to: Written, solved: _Solved, work: Work | None, stacks: int) -> None:
    """Refuse a canvas that the disk has no room for before any work is done on it.

    Kept cells take as much as the file, pictures half of it; what is compressed waits in a temporary one.
    """
    (height, width), channels = solved.canvas.shape, solved.frames[0].channels
    image = height * width * (BYTES_OF_COLOUR * channels + BYTES_OF_PIXEL)
    cells = 0 if work is None else max(0, image - sum(path.stat().st_size for path in work.cells.glob("cell_*.npz")))
    pictures = height * width * (channels * to.bits // 8 * (2 if to.names.picture_linked else 1) + 1)
    needed = image * (1 + to.packed) + pictures + cells + (stacks - 1) * (2 * image + pictures)
    free = shutil.disk_usage(to.folder).free
    if needed > free:
        raise FailureError(
            f"{width} x {height} pixels take {in_units(needed)} on the disk, which has {in_units(free)} free: make "
            "room where the output goes, or name another folder with -o"
        )


def _write_stack(
    solved: _Solved,
    chosen: ChosenPixels,
    to: Written,
    kept: KeptCells | None,
    crew: Crew | None,
    *,
    clock: Clock,
    progress: Progress,
) -> Tally:
    """Stack frames, write the result, and return what was counted."""
    canvas, frames, settings, tally = solved.canvas, solved.frames, solved.settings, Tally()
    strips = stacked_strips(canvas, frames, settings, kept=kept, progress=progress, crew=crew)
    with (
        _failures(frames, kept is not None),
        closing(strips),
    ):  # whatever fails, no cell is in work any more, and nothing temporary is left
        write_result(
            to,
            canvas.shape,
            frames[0].channels,
            _something(tally.over(strips), tally, canvas, chosen.choice, clock),
            cards=_cards(solved, frames, to.kind),
            closing=tally.cards,
            correlation=correlation(frames, canvas, settings),
            wcs=canvas.wcs() if solved.registered.on_the_sky else None,
            top_down=not to.upside_down,
        )
    cautions.of_rejected(settings, tally, progress)
    cautions.of_holes(settings, tally, frames, progress)
    return tally


def _something(
    strips: Iterable[tuple[int, StackedCell]], tally: Tally, canvas: Canvas, choice: CanvasChoice, clock: Clock
) -> Iterator[tuple[int, StackedCell]]:
    """Give strips on, which ends the stack; FailureError where none of them shows anything."""
    yield from strips
    clock.ends("stack")
    if not tally.samples:
        raise FailureError(
            f"no frame shows any of the {canvas.shape[1]} x {canvas.shape[0]} pixels of {choice.like}: name another "
            "image, or leave --like out"
        )


def _write_comet(
    comet: CometRun,
    followed: CometFrames,
    solved: _Solved,
    mosaic: Written,
    *,
    crew: Crew | None,
    clock: Clock,
    progress: Progress,
) -> CometReport:
    """Stack the frames on the comet's motion beside a mosaic that is there, and return what is known of that."""
    with _failures(followed.frames, is_kept=True):
        report = comet.written(
            followed,
            solved.frames,
            mosaic,
            canvas=solved.canvas,
            settings=solved.settings,
            cards=_cards(solved, followed.frames, "comet"),
            registered=solved.registered,
            progress=progress,
            crew=crew,
        )
    clock.ends("comet")
    return report


@contextmanager
def _failures(frames: Sequence[PlacedFrame] = (), is_kept: bool = False) -> Iterator[None]:
    """Say in a line why frames cannot be stacked: files that are gone or have changed, a canvas that is too large.

    Parameters
    ----------
    frames : sequence of PlacedFrame
        Those that are read.
    is_kept : bool
        Whether what is stacked so far is kept.
    """
    try:
        yield
    except FrameError as error:
        lost = unreadable(error, [one.frame.path for one in frames])
        if is_kept:
            raise UnfinishedError(f"{lost}: --resume goes on, without what is not back by then") from error
        raise FailureError(f"{lost}: start again when nothing moves or changes them") from error
    except ValueError as error:
        raise FailureError(str(error)) from error


# --- what is known of the result --------------------------------------------------------------------------------------


def _stacked(settings: CanvasSettings, tally: Tally, kept: KeptCells | None) -> Stacked:
    """Return what is to be told of a stack; of its cells, where they are kept."""
    cells = () if kept is None else (len(kept.used | kept.made), len(kept.used))
    counts = tally.coverage, tally.rejected, tally.samples
    return Stacked.of(settings, *counts, *cells, holes=tally.holes, masked=tally.masked, spared=tally.spared)


def _cards(solved: _Solved, placed: Sequence[PlacedFrame], kind: str) -> dict[str, tuple[Any, str]]:
    """Return the cards that say where a result comes from, and how far its place on the sky can be trusted."""
    frames, session, registered = [one.frame for one in placed], solved.session, solved.registered
    cards = canvas_cards(
        frames,
        solved.canvas,
        solved.settings,
        creator=f"zemosaic-patch {installed_version()}",
        on_the_sky=registered.on_the_sky,
        scale_known=session.knows_its_scale,
    )
    cards["NPA_KIND"] = (kind, "what this image is")
    cards["NPA_GIVE"] = (len(frames) + len(session.left_out), "frames given")
    cards["NPA_FLUX"] = (round(solved.usual_flux, 6), "flux of a star here / in the usual frame")
    cards["NPA_PLAC"] = (registered.place, "how the place on the sky was found")
    if registered.approximate and registered.on_the_sky:
        cards["NPA_APRX"] = (True, "the place on the sky is only approximate")
    return cards
