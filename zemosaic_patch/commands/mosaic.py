# SPDX-License-Identifier: GPL-3.0-or-later
"""`mosaic`: frames, or master tiles, to one picture of the sky."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from zemosaic_patch import process
from zemosaic_patch.arguments import Command
from zemosaic_patch.commands.output import (
    changed,
    check_address_space,
    check_apart,
    check_frames,
    check_is_folder,
    check_kind,
    keep_options,
    kept_config,
    own_folder,
    tell_ignored,
)
from zemosaic_patch.errors import UsageError
from zemosaic_patch.options.defaults import mosaic_defaults
from zemosaic_patch.options.files import MosaicFiles
from zemosaic_patch.options.mosaic import CometOptions, JoinOptions, OutputOptions
from zemosaic_patch.options.runs import STACKS, MosaicRun
from zemosaic_patch.options.stack import CanvasOptions, StackOptions

if TYPE_CHECKING:
    from nanstack.progress import Progress
    from zemosaic_patch.report.canvas import CanvasReport
    from zemosaic_patch.report.joined import MosaicReport


def run(
    files: MosaicFiles,
    canvas: CanvasOptions,
    stack: StackOptions,
    output: OutputOptions,
    comet: CometOptions,
    join: JoinOptions,
) -> None:
    """Make a mosaic."""
    check_address_space()
    check_frames(files.frames)
    _check_purpose(files, canvas, stack, comet, join)
    made = MosaicRun(canvas.choice(), stack.settings(), output.output(), comet.choice())
    from nanstack.progress import Noting
    from zemosaic_patch.as_it_was import put_back
    from zemosaic_patch.cluster import crew_at
    from zemosaic_patch.given import Wishes, find_frames
    from zemosaic_patch.hips.folder import put_hips
    from zemosaic_patch.mosaic_run import mosaic_of_files
    from zemosaic_patch.progress import shown

    found = find_frames(_files_of(files), files.output, files.flat, files.existing_tiles)
    paths = list(found.paths)
    files = _without_lost(files, paths)
    wishes = Wishes.of(paths, files.leave_out, files.take_in)
    inputs = [*paths, *filter(None, [files.config, canvas.like and Path(canvas.like)])]
    _check_output(files, made, paths, inputs)
    with (
        own_folder(files.output),
        shown(files.progress) as bars,
        crew_at(files.scheduler, files.output, paths[0], bars) as crew,
        put_back(files.output, _how_to_go_on(files)),
    ):
        _make_room(files, made, paths, inputs)
        keep_options(files, canvas, stack, output, comet, join)
        heard = Noting(bars)
        tell_ignored(found, heard)
        if files.existing_tiles:
            from zemosaic_patch.join_run import mosaic_of_tiles

            process.loaded()
            report = mosaic_of_tiles(paths, join.settings(stack.interpolation), made.output, files.output, heard)
        else:
            report = mosaic_of_files(paths, made, files.output, heard, crew, wishes)
        _tidy_up(files, made, inputs, bars)
        began = time.perf_counter()
        put_hips(files.output, output.hips, files.overwrite, bars)
        if output.hips:  # what they take is no part of the mosaic's own report
            report = replace(report, seconds={**report.seconds, "hips": time.perf_counter() - began})
    show(report, files.output)


def _without_lost(files: MosaicFiles, paths: Sequence[Path]) -> MosaicFiles:
    """Return what a run that goes on is given, without wishes for files that it was begun with, and that are gone."""
    from zemosaic_patch.lost_files import still_there

    if not files.resume:
        return files
    leave_out, take_in = (still_there(names, files.output, paths) for names in (files.leave_out, files.take_in))
    return replace(files, leave_out=leave_out, take_in=take_in)


def _files_of(files: MosaicFiles) -> Sequence[str]:
    """Return the names of frames, those at URLs fetched."""
    from zemosaic_patch.fetched import FETCHED, fetch, is_elsewhere
    from zemosaic_patch.progress import shown

    if not any(map(is_elsewhere, files.frames)):
        return files.frames
    _check_earlier(files, [])
    with own_folder(files.output), shown(files.progress) as bars:
        return fetch(files.frames, files.output / FETCHED, bars, anew=files.overwrite)


def check_output(folder: Path, made: MosaicRun, frames: Sequence[Path]) -> None:
    """Refuse a folder that a new mosaic of frames cannot go to, as a run does; UsageError."""
    check_is_folder(folder)
    _check_output(MosaicFiles(output=folder), made, frames, frames)


def _check_output(files: MosaicFiles, made: MosaicRun, paths: Sequence[Path], inputs: Sequence[Path]) -> None:
    """Refuse a folder that holds what is not to be replaced, or what this run cannot go on from."""
    from zemosaic_patch.hips.folder import check_hips
    from zemosaic_patch.tile_files import TILE

    check_apart(files.output, paths)
    check_kind(files.output, TILE, "a single tile")
    _check_earlier(files, inputs)
    if files.resume:
        _check_resume(files, made, paths)
    if made.output.hips:
        check_hips(files.output)


def _check_earlier(files: MosaicFiles, inputs: Sequence[Path]) -> None:
    """Refuse to replace what an earlier run wrote, unless that is asked for."""
    from zemosaic_patch.mosaic_files import earlier_output
    from zemosaic_patch.outputs import check_replaceable

    earlier = earlier_output(files.output)
    if earlier is not None and not (files.resume or files.overwrite):
        if earlier.is_file():
            check_replaceable(earlier, inputs)
        raise UsageError(f"{earlier} exists: add --resume to continue, --overwrite to start again, or name another DIR")


def _check_resume(files: MosaicFiles, made: MosaicRun, paths: Sequence[Path]) -> None:
    """Refuse to go on from what an earlier run made otherwise."""
    from zemosaic_patch.mosaic_files import is_former, is_of_the_other_kind
    from zemosaic_patch.mosaic_run import check_as_told

    if not files.existing_tiles and is_former(files.output):
        raise UsageError(
            f"{files.output} holds tiles that an earlier version made of frames, and this one works without: add "
            "--overwrite to start again, or name another DIR"
        )
    if is_of_the_other_kind(files.output, files.existing_tiles):
        here, there = ("tiles", "frames") if files.existing_tiles else ("frames", "tiles")
        raise UsageError(
            f"--resume cannot go on here: {files.output} holds a mosaic of {there}, and these are {here}; start again "
            "with --overwrite instead, or name another DIR"
        )
    if not files.existing_tiles:
        check_as_told(files.output, made, paths)


def _check_purpose(
    files: MosaicFiles, canvas: CanvasOptions, stack: StackOptions, comet: CometOptions, join: JoinOptions
) -> None:
    """Refuse options that the run would not use: those of a join without tiles, and those of a stack with them."""
    usual_canvas, usual_stack, _, usual_comet, usual_join = mosaic_defaults()
    if files.existing_tiles:
        given = [
            *changed(canvas, usual_canvas),
            *changed(stack, replace(usual_stack, interpolation=stack.interpolation)),
            *changed(comet, usual_comet),
            *changed(files, replace(files, scheduler=None, leave_out=(), take_in=())),
        ]
        reason = "it is for frames, and --existing-tiles joins tiles as they are"
    else:
        given = changed(join, usual_join)
        reason = "it is for --existing-tiles: frames are stacked straight onto the mosaic"
    if given:
        raise UsageError(f"{given[0]} has no effect here: {reason}")


def _make_room(files: MosaicFiles, made: MosaicRun, paths: Sequence[Path], inputs: Sequence[Path]) -> None:
    """Make the output's folder ready: with --overwrite, nothing is left there that a run would go on from."""
    from zemosaic_patch.mosaic_files import SOLUTIONS, prepare
    from zemosaic_patch.outputs import claim
    from zemosaic_patch.solve.kept import forget_failures

    claim(files.output, kept_config(files), paths)
    prepare(files.output, made.output.picture, inputs, anew=files.overwrite, stacks=made.stacks)
    if files.overwrite:
        forget_failures(files.output / SOLUTIONS)


def _tidy_up(files: MosaicFiles, made: MosaicRun, inputs: Sequence[Path], progress: Progress) -> None:
    """Remove what earlier runs left, and say what of it stays."""
    from zemosaic_patch.mosaic_files import remove_former
    from zemosaic_patch.outputs import is_ours

    remove_former(files.output, made.output.picture, inputs, stacks=made.stacks if files.overwrite else STACKS)
    for name in (f"{kind}.fits" for kind in STACKS if kind not in made.stacks):
        if is_ours(files.output / name):
            progress.warn(f"{name} is of an earlier run, and stays as it is: --overwrite removes it")


def _how_to_go_on(files: MosaicFiles) -> str:
    """Return what to do after a run was stopped; tiles are joined in one go."""
    if files.existing_tiles:
        return ""
    return f"the same command with --resume{' instead of --overwrite' if files.overwrite else ''} goes on from there"


def show(report: CanvasReport | MosaicReport, folder: Path) -> None:
    """Print what is known of a mosaic that was written into a folder."""
    from nanstack.io.one_line import on_one_line
    from zemosaic_patch.mosaic_files import MOSAIC, PAGE

    comet = getattr(report, "comet", None)
    names = [MOSAIC, *(files.image for files in (comet and comet.files, comet and comet.merged) if files)]
    files = [*(f"written            {folder / name}" for name in names), f"report             {folder / PAGE}"]
    print("\n".join(map(on_one_line, [*report.lines(), *files])))


COMMANDS = (
    Command(
        "mosaic",
        "Register frames by their stars, and stack all of them straight onto one canvas of the sky: one mosaic without "
        "seams. A run that was stopped goes on with --resume.",
        (MosaicFiles(), *mosaic_defaults()),
        run,
    ),
)
