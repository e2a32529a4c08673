# SPDX-License-Identifier: GPL-3.0-or-later
"""Frame files to a stack on a canvas: what the commands `mosaic` and `tile` have in common.

Files -> registered frames (`nanstack.session`) -> canvas -> cells (`nanstack.sky_stack`) -> files of the result, and
what is known of it. What can be wrong with files and options ends in UsageError or FailureError, whose message is for
the user.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from nanstack.canvas import Canvas, canvas_like, reference_canvas, union_canvas
from nanstack.canvas_cards import canvas_cards
from nanstack.crew import Crew
from nanstack.going_on import solved_on_canvas
from nanstack.io.finding import FoundFiles, find_frame_files
from nanstack.io.frames import FrameError, short_names
from nanstack.progress import Noting, Progress
from nanstack.register.reference import best_reference
from nanstack.register.registered import RegisteredFrame
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
from zemosaic_patch.arguments import as_words, declarations, in_effect, long_name
from zemosaic_patch.cautions import counted, in_units
from zemosaic_patch.comet_run import CometRun
from zemosaic_patch.errors import FailureError, UsageError
from zemosaic_patch.fetched import local_name
from zemosaic_patch.options import (
    FRAME,
    IMAGE,
    CanvasChoice,
    CanvasOptions,
    CometOptions,
    MosaicRun,
    Option,
    OutputOptions,
    StackOptions,
    TileRun,
)
from zemosaic_patch.outputs import is_ours, is_output_folder
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

VERSIONS = "another version", "version "  # so begins what says of a kept solution that another version made it
UNWANTED = "it is not wanted (--leave-out)"
BYTES_OF_COLOUR, BYTES_OF_PIXEL = 8, 6  # in a file: image and variance; weight and coverage


def find_frames(
    names: Sequence[str | Path], output: Path | None, flat: bool = False, joins_tiles: bool = False
) -> FoundFiles:
    """Return the frame files that names stand for, as `nanstack.io.finding.find_frame_files`; else raise UsageError.

    Folders of outputs are passed over; where tiles are to be joined, those of mosaics alone. So is the result of an
    earlier run in the output's folder, which is replaced. A name that was given alone is named as it was given.
    """
    results = ("mosaic.fits",) if joins_tiles else ("mosaic.fits", "tile.fits", "comet.fits", "merged.fits")
    is_output = partial(is_output_folder, results=results)
    names = [local_name(str(name)) for name in names]
    try:
        return find_frame_files(
            names,
            flat,
            is_output,
            lambda file: file.name in results and _lies_in(output, file) and is_ours(file),
        )
    except FrameError as error:
        raise UsageError(f"{names[0] if len(names) == 1 else error.path}: {error.reason}") from error


@dataclass(frozen=True)
class Wishes:
    """What of files the owner decides.

    Attributes
    ----------
    out : frozenset of Path
        Those that are not to be stacked.
    in_ : frozenset of Path
        Those that are to be, whatever speaks against them, if stars place them.
    """

    out: frozenset[Path] = frozenset()
    in_: frozenset[Path] = frozenset()

    @classmethod
    def of(cls, paths: Sequence[Path], leave_out: Sequence[str], take_in: Sequence[str]) -> Wishes:
        """Return what options wish of files.

        Raises
        ------
        UsageError
            For a name of none of them, one that is named by both, or where all would be left out.
        """
        out, in_ = named_among(paths, leave_out), named_among(paths, take_in, are_out=False)
        if paths and len(out) == len(set(paths)):
            raise UsageError("--leave-out names all of the frames: leave some in")
        if out & in_:
            raise UsageError(f"--leave-out and --take-in both name {min(out & in_)}: name it by one of them")
        return cls(frozenset(out), frozenset(in_))


def named_among(paths: Sequence[Path], names: Sequence[str], are_out: bool = True) -> set[Path]:
    """Return the files that names stand for, of frames that are to be left out or else taken in.

    These are paths, their last part, which may be that of several, or what a report calls them.

    Raises
    ------
    UsageError
        For a name of none of them.
    """
    if not names:
        return set()
    known: dict[str, set[Path]] = {}
    for path, called in short_names(paths).items():
        for word in {path.name, called, os.path.realpath(path)}:
            known.setdefault(word, set()).add(path)
    named: set[Path] = set()
    for name in names:
        found = known.get(name, set()) | known.get(os.path.realpath(name), set())
        if not found:
            raise UsageError(
                f"{'--leave-out' if are_out else '--take-in'} {name} is not among the {len(paths)} frames given: name "
                "one of them"
            )
        named |= found
    return named


def _lies_in(folder: Path | None, file: Path) -> bool:
    return folder is not None and folder.exists() and folder.samefile(file.parent)


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
class _Chosen:
    """The pixels that are chosen, and what they are chosen by.

    Attributes
    ----------
    choice : CanvasChoice
    reference : Path or None
        The frame that it names.
    like : Canvas or None
        The pixels of the image that it names.
    """

    choice: CanvasChoice
    reference: Path | None
    like: Canvas | None

    @classmethod
    def of(cls, choice: CanvasChoice, paths: Sequence[Path]) -> _Chosen:
        """Return a choice among frame files, its own files found; else raise UsageError."""
        reference = None if choice.reference is None else _among(paths, choice.reference)
        return cls(choice, reference, None if choice.like is None else _pixels_of(choice.like))

    def canvas_of(self, frames: Sequence[RegisteredFrame], settings: CanvasSettings) -> Canvas:
        """Return the canvas that is chosen."""
        if self.like is not None:
            return self.like
        reference = next((frame for frame in frames if frame.path == self.reference), None)
        if self.choice.kind == "reference":
            return reference_canvas((reference or frames[best_reference(frames)]).view)
        views, finer = [frame.view for frame in frames], 1.0 if settings.drizzle is None else settings.drizzle.scale
        return union_canvas(views, reference and reference.view, scale=self.choice.scale, finer=finer)

    def told(self, solved: _Solved) -> str:
        """Return what the canvas's pixels are chosen by, in words."""
        if self.choice.like is not None:
            return f"pixels of {Path(self.choice.like).name}"
        if self.choice.kind == "reference":
            attitude, views = solved.canvas.view.attitude, [(one.frame.path, one.frame.view) for one in solved.frames]
            own = (path.name for path, view in views if np.array_equal(view.attitude, attitude))
            return f"pixels of {next(own, 'an earlier frame')}"
        if self.reference is not None:
            return f"turned as {self.reference.name}"
        knows_north = solved.registered.on_the_sky and not solved.registered.approximate
        return "north up" if knows_north else "north in no known direction"


def check_file(option: Option, named: str, paths: Sequence[Path]) -> None:
    """Refuse a file that an option names, where it is not what the option wants of it; UsageError, as a run's."""
    if option.names == FRAME:
        _among(paths, named)
    elif option.names == IMAGE:
        _pixels_of(named)


def _among(paths: Sequence[Path], reference: str) -> Path:
    """Return the frame that the reference names."""
    wanted = Path(reference)
    for path in paths:
        if path == wanted or path.name == reference or path.resolve() == wanted.resolve():
            return path
    raise UsageError(f"--reference {reference} is not among the {len(paths)} frames given: name one of them")


def _pixels_of(image: str) -> Canvas:
    """Return the canvas that another image gives."""
    try:
        return canvas_like(Path(image))
    except FrameError as error:
        raise UsageError(f"--like {image}: {error.reason}") from error


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
    chosen = _Chosen.of(run.canvas, paths)
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
    tally = _write_stack(solved, chosen, to, kept, work and work.crew, clock, progress)
    beside = comet and _write_comet(comet, followed, solved, to, work.crew, clock, progress)
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
        settings=told_of(run),
        seconds=clock.seconds,
        like=chosen.told(solved),
        upside_down=to.upside_down,
        comet=beside,
        warnings=progress.warnings,
    )


# --- the steps --------------------------------------------------------------------------------------------------------


def _solution_of(work: Work, chosen: _Chosen, settings: CanvasSettings, to: Written) -> SolutionFile:
    """Return the file of solutions, which may hold that of an earlier run; UsageError where its mosaic is another."""
    solution = SolutionFile(work.solution, _asked_for(chosen, settings))
    if (to.folder / to.names.image).exists():
        _check_goes_on(solution)
    return solution


def _asked_for(chosen: _Chosen, settings: CanvasSettings) -> dict[str, str]:
    """Return what tells a run's solution from one of another version, of other settings, or for other pixels, in words.

    Another image may have changed since, and have kept its name.
    """
    named, like = _named(chosen.choice), chosen.like
    told = {"version": f"version {installed_version()} of this program"}
    for group in (CanvasOptions.of(named), StackOptions.of(settings)):
        told.update({name: as_words(name, option, value) for name, option, value in declarations(group)})
    if like is not None:
        told[f"{like.shape} {like.wcs().to_header_string(relax=True)}"] = f"other pixels of {named.like}"
    return told


def _check_goes_on(solution: SolutionFile) -> None:
    """Refuse to go on from a mosaic that was made otherwise: it would be replaced by one of all other pixels."""
    others = solution.others()
    if others:
        raise made_otherwise("the mosaic", others)


def made_otherwise(what: str, others: Sequence[str]) -> UsageError:
    """Return the refusal to go on from a mosaic: what was made how, and what to do.

    Parameters
    ----------
    what : str
    others : sequence of str
        See `nanstack.solution_file.SolutionFile.others`, and `told_otherwise`.
    """
    made = ", ".join(others)
    if any(one.startswith(VERSIONS) for one in others):  # nobody can ask for that again
        return UsageError(
            f"--resume cannot go on here: {what} was made with {made}; it stays as it is, with its report: name "
            "another DIR (--config with its run.toml takes its options), or start again with --overwrite instead"
        )
    return UsageError(
        f"--resume cannot go on here: {what} was made with {made}; ask for the same again, start again with "
        "--overwrite instead, or name another DIR"
    )


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
    chosen: _Chosen,
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
    chosen: _Chosen,
    to: Written,
    kept: KeptCells | None,
    crew: Crew | None,
    clock: Clock,
    progress: Progress,
) -> Tally:
    """Stack frames, write the result, and return what was counted."""
    canvas, frames, settings, tally = solved.canvas, solved.frames, solved.settings, Tally()
    strips = stacked_strips(canvas, frames, settings, kept=kept, progress=progress, crew=crew)
    with _failures(), closing(strips):  # whatever fails, no cell is in work any more, and nothing temporary is left
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
    crew: Crew | None,
    clock: Clock,
    progress: Progress,
) -> CometReport:
    """Stack the frames on the comet's motion beside a mosaic that is there, and return what is known of that."""
    with _failures():
        report = comet.written(
            followed,
            solved.frames,
            mosaic,
            solved.canvas,
            solved.settings,
            _cards(solved, followed.frames, "comet"),
            solved.registered,
            progress,
            crew,
        )
    clock.ends("comet")
    return report


@contextmanager
def _failures() -> Iterator[None]:
    """Say in a line why frames cannot be stacked: a file that has changed, a canvas that is too large."""
    try:
        yield
    except ValueError as error:  # a FrameError, too
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


def told_of(run: TileRun | MosaicRun) -> dict[str, Any]:
    """Return how a result is made, by the names of options, ready for JSON and without the place of any file."""
    return in_effect(_groups_of(run))


def _groups_of(run: TileRun | MosaicRun) -> list[Any]:
    """Return the options that stand for a run, those of pixels and stack first, without the place of any file."""
    groups = [CanvasOptions.of(_named(run.canvas)), StackOptions.of(run.stack)]
    return groups + ([OutputOptions.of(run.output), CometOptions.of(run.comet)] if isinstance(run, MosaicRun) else [])


def told_otherwise(run: MosaicRun, told: Any) -> list[str]:
    """Return what settings, as a report has them, say otherwise than a run of pixels and stack: as words of options."""
    groups = _groups_of(run)[:2]
    own = in_effect(groups)
    if not isinstance(told, dict) or not told.keys() & own.keys():
        return ["another version"]
    named = [(long_name(name)[2:], name, option) for group in groups for name, option, _ in declarations(group)]
    return [
        as_words(name, option, told.get(key))
        for key, name, option in named
        if told.get(key) != own.get(key) and (key in told or option.part_of is None)  # a part goes without saying
    ]


def _named(choice: CanvasChoice) -> CanvasChoice:
    """Return a choice that names its files without their places."""
    return replace(choice, reference=_name(choice.reference), like=_name(choice.like))


def _name(path: str | None) -> str | None:
    return None if path is None else Path(path).name
