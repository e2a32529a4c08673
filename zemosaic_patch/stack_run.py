# SPDX-License-Identifier: GPL-3.0-or-later
"""Frame files to a stack on a canvas: what the commands `mosaic` and `tile` have in common.

Files -> registered frames (`nanstack.session`) -> canvas -> cells (`nanstack.sky_stack`) -> files of the result, and
what is known of it. What can be wrong with files and options ends in UsageError or FailureError, whose message is for
the user.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from nanstack.canvas import Canvas, canvas_like, reference_canvas, union_canvas
from nanstack.io.finding import FoundFiles, find_frame_files
from nanstack.io.frames import FrameError, short_names
from nanstack.io.layout import on_one_line
from nanstack.progress import Progress
from nanstack.register.reference import best_reference
from nanstack.register.registered import RegisteredFrame
from nanstack.session import Session, open_session
from nanstack.settings import CanvasSettings
from nanstack.sky_stack import stack_on_canvas
from nanstack.survey.selection import told
from nanstack.survey.taken import taken_of_frames
from zemosaic_patch import installed_version
from zemosaic_patch.errors import FailureError, UsageError
from zemosaic_patch.options import CanvasChoice
from zemosaic_patch.outputs import is_output_folder
from zemosaic_patch.reports import CanvasReport, Registered, Stacked
from zemosaic_patch.result_files import Written, write_result
from zemosaic_patch.solve import solvers

if TYPE_CHECKING:
    from collections.abc import Iterator

    from astropy.io.fits import Header

    from nanstack.session import Placer


def find_frames(names: Sequence[str | Path], flat: bool = False, joins_tiles: bool = False) -> FoundFiles:
    """Return the frame files that names stand for, as `nanstack.io.finding.find_frame_files`; else raise UsageError.

    Folders of outputs are passed over; where tiles are to be joined, those of mosaics alone. A name that was given
    alone is named as it was given.
    """
    results = ("mosaic.fits",) if joins_tiles else ("mosaic.fits", "tile.fits")
    is_output = partial(is_output_folder, results=results)
    try:
        return find_frame_files(names, flat, is_output)
    except FrameError as error:
        raise UsageError(on_one_line(f"{names[0] if len(names) == 1 else error.path}: {error.reason}")) from error


def stack_files(
    paths: Sequence[Path],
    choice: CanvasChoice,
    settings: CanvasSettings,
    files: Written,
    progress: Progress,
    *,
    told_settings: Mapping[str, Any],
    surveys: Path | None = None,
    place: Placer | None = None,
) -> CanvasReport:
    """Stack frame files, and write the result; what cannot be used is named and left out.

    Parameters
    ----------
    paths : sequence of Path
    choice : CanvasChoice
    settings : CanvasSettings
    files : Written
        Of the result.
    progress : nanstack.progress.Progress
    told_settings : mapping
        The settings as the report is to have them.
    surveys : Path, optional
        A folder that keeps what is known of the frames for the next run.
    place : callable, optional
        See `nanstack.session.open_session`.

    Raises
    ------
    UsageError
        A reference that is none of the files, another image that cannot be used.
    FailureError
        Nothing to stack.
    """
    began = time.perf_counter()
    wanted = None if choice.reference is None else _among(paths, choice.reference)
    session = open_session(paths, folder=surveys, place=place, progress=progress)
    for line in told(named_reasons(session.left_out, session.frames)):
        progress.warn(line)
    _check_usable(session, wanted)
    registered = Registered.of(session)
    if choice.like is not None and not registered.on_the_sky:
        raise FailureError(
            "--like needs the frames' place on the sky, which nobody knows: install solve-field or ASTAP"
        )
    if registered.approximate and place is not None:
        progress.warn(f"place on the sky: {registered.place_told}{_how_to_place()}")
    canvas, like = _canvas_of(session.frames, choice, wanted)
    _warn_of_frames(session.frames, canvas, choice, progress)
    seconds = {"registration": time.perf_counter() - began}
    began = time.perf_counter()
    with _failures():
        stack = stack_on_canvas(session.frames, canvas, settings, progress=progress)
    if not stack.coverage.any():
        raise FailureError(f"no frame shows any of the pixels asked for ({like})")
    known = Stacked.of(settings, np.bincount(stack.coverage.ravel()), stack.rejected, stack.samples)
    seconds["stack"] = time.perf_counter() - began
    began = time.perf_counter()
    progress.step("writing", 0, 1)
    names = write_result(stack, files, _cards(session, registered, known, files.kind), registered.on_the_sky)
    progress.step("writing", 1, 1)
    seconds["writing"] = time.perf_counter() - began
    return CanvasReport.of(
        session,
        stack.frames,
        canvas,
        files=names,
        stack=known,
        settings=told_settings,
        seconds=seconds,
        like=like,
        upside_down=files.upside_down,
    )


@contextmanager
def _failures() -> Iterator[None]:
    """Say in a line why frames cannot be stacked: a file that has changed, a canvas that is too large."""
    try:
        yield
    except ValueError as error:  # a FrameError, too
        raise FailureError(on_one_line(str(error))) from error


# --- frames -----------------------------------------------------------------------------------------------------------


def _among(paths: Sequence[Path], reference: str) -> Path:
    """Return the frame that the reference names."""
    wanted = Path(reference)
    for path in paths:
        if path == wanted or path.name == reference or path.resolve() == wanted.resolve():
            return path
    raise UsageError(f"--reference {reference} is not among the {len(paths)} frames given")


def _check_usable(session: Session, wanted: Path | None) -> None:
    if wanted in session.left_out:
        raise FailureError(f"{wanted.name} cannot be the reference: {session.left_out[wanted]}")
    if not session.frames:
        raise FailureError(f"no usable frame in {counted(len(session.left_out), 'file')}: see above")


def _how_to_place() -> str:
    """Return what would find the place on the sky; nothing where a program was asked, and said why it did not."""
    return "" if solvers() else "; install solve-field or ASTAP, and --resume"


def _warn_of_frames(
    frames: Sequence[RegisteredFrame], canvas: Canvas, choice: CanvasChoice, progress: Progress
) -> None:
    """Say where there is nothing to reject outliers by, or where much of the sky will be missing."""
    if len(frames) == 1:
        progress.warn(f"{frames[0].path.name} is the only frame: there is no other to find outliers by")
    elif choice.kind == "reference" and choice.like is None:
        far = sum(_is_elsewhere(frame, canvas) for frame in frames)
        if far:
            progress.warn(
                f"{counted(far, 'frame')} of {len(frames)} point elsewhere than the reference, whose edges the result "
                "has: --canvas all shows all of the sky"
            )


def _is_elsewhere(frame: RegisteredFrame, canvas: Canvas) -> bool:
    """Tell whether the middle of a frame lies outside a canvas."""
    x, y = canvas.view.pixels(frame.pointing)
    height, width = canvas.shape
    return not (0 <= x < width and 0 <= y < height)


def _canvas_of(frames: Sequence[RegisteredFrame], choice: CanvasChoice, wanted: Path | None) -> tuple[Canvas, str]:
    """Return the canvas that is chosen, and what it is chosen by."""
    if choice.like is not None:
        try:
            return canvas_like(Path(choice.like)), f"pixels of {Path(choice.like).name}"
        except FrameError as error:
            raise UsageError(on_one_line(f"--like {choice.like}: {error.reason}")) from error
    reference = next((frame for frame in frames if frame.path == wanted), None)
    if choice.kind == "reference":
        reference = reference or frames[best_reference(frames)]
        return reference_canvas(reference.view), f"pixels of {reference.path.name}"
    like = "north up" if reference is None else f"turned as {reference.path.name}"
    with _failures():
        views = [frame.view for frame in frames]
        return union_canvas(views, reference and reference.view, scale=choice.scale), like


# --- what is known of the result --------------------------------------------------------------------------------------


def _cards(session: Session, registered: Registered, stack: Stacked, kind: str) -> Header:
    """Return the cards that say where a result comes from."""
    from astropy.io import fits

    cards = fits.Header()
    cards["CREATOR"] = (f"zemosaic-patch {installed_version()}", "software that made this image")
    cards["NPA_KIND"] = (kind, "what this image is")
    cards.update(taken_of_frames([frame.facts for frame in session.frames]).cards())
    cards["NPA_GIVE"] = (len(session.frames) + len(session.left_out), "frames given")
    cards["NPA_ALGN"] = (len(session.frames), "frames stacked")
    cards["NPA_COVX"] = (stack.coverage_max, "maximal coverage")
    cards["NPA_REJ"] = (stack.rejection, "rejection")
    cards["NPA_SKYM"] = (stack.sky, "how the frames' sky was matched")
    cards["NPA_WGHT"] = (stack.weights, "what frames count for")
    cards["NPA_COMB"] = (stack.combine, "how the samples were combined")
    cards["NPA_SKY"] = (registered.place, "how the place on the sky was found")
    if registered.approximate:
        cards["NPA_APRX"] = (True, "the place on the sky is only approximate")
    return cards


def told_of(settings: Any) -> dict[str, Any]:
    """Return settings, ready for JSON, without the place of any file."""
    choice = settings.canvas
    named = replace(choice, reference=_name(choice.reference), like=_name(choice.like))
    return asdict(replace(settings, canvas=named))


def _name(path: str | None) -> str | None:
    return None if path is None else Path(path).name


def named_reasons(reasons: Mapping[Path, str], others: Sequence[RegisteredFrame]) -> dict[str, str]:
    """Return the reasons for files by their names, which tell them, and the other frames, apart."""
    names = short_names([*reasons, *(frame.path for frame in others)])
    return {names[path]: reason for path, reason in reasons.items()}


def counted(number: int, noun: str) -> str:
    """Return a number with its noun: '1 file', '2 files'."""
    return f"{number} {noun}{'' if number == 1 else 's'}"
