# SPDX-License-Identifier: GPL-3.0-or-later
"""From frame files to a mosaic: what the command `mosaic` does."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from nanstack.crew import Crew
from nanstack.kept_solution import ENOUGH
from nanstack.progress import Noting, Progress
from nanstack.survey.selection import told
from zemosaic_patch.asked import made_otherwise, told_otherwise
from zemosaic_patch.comet_run import CometRun
from zemosaic_patch.given import Wishes
from zemosaic_patch.lost_files import lost_files, reasons_of, remember
from zemosaic_patch.mosaic_files import (
    CELLS,
    MOSAIC,
    REPORT,
    SOLUTION,
    SOLUTIONS,
    SURVEYS,
    comet_files_of,
    describe,
    files_of,
    prepare,
)
from zemosaic_patch.options.runs import MosaicRun
from zemosaic_patch.outputs import Recording
from zemosaic_patch.report.canvas import CanvasReport
from zemosaic_patch.report.json_file import read_json
from zemosaic_patch.solve.placing import place_groups
from zemosaic_patch.stack_run import Work, stack_files


def check_as_told(folder: Path, run: MosaicRun, paths: Sequence[Path]) -> None:
    """Refuse to go on from a mosaic that alone is left of an earlier run, its solution gone, but to the same again.

    It would be replaced by one of other frames, or other pixels, that nobody asked for.

    Raises
    ------
    UsageError
        Saying what differs.
    """
    earlier = read_json(folder / REPORT)
    if earlier is None or not (folder / MOSAIC).exists() or (folder / CELLS / SOLUTION).exists():
        return
    frames = [frame.get("name") for frame in earlier.get("frames", []) if isinstance(frame, dict)]
    given = {path.name for path in paths}
    there = sum(Path(str(name)).name in given for name in frames)
    differing = told_otherwise(run, earlier.get("settings"))
    if there < ENOUGH * len(frames):
        differing.append(f"{len(frames)} frames, of which {there} are named here")
    if differing:
        raise made_otherwise(f"{folder / CELLS / SOLUTION} is gone, and the mosaic", differing)


def mosaic_of_files(
    paths: Sequence[Path],
    run: MosaicRun,
    folder: Path,
    progress: Progress,
    crew: Crew | None = None,
    wishes: Wishes | None = None,
) -> CanvasReport:
    """Make a mosaic of frame files; what cannot be used is named and left out.

    Parameters
    ----------
    paths : sequence of Path
    run : MosaicRun
    folder : Path
        Gets `zemosaic_patch.mosaic_files.OUTPUTS`, and what is known of the frames. What is there, and fits, is used.
    progress : nanstack.progress.Progress
    crew : Crew, optional
        Surveys files and stacks cells elsewhere.
    wishes : Wishes, optional
        What of the files the owner decides.

    Returns
    -------
    CanvasReport
        As in `mosaic.json`.

    Raises
    ------
    UsageError
        A file in the way that is no earlier run's; a reference that is none of the files.
    FailureError
        Nothing to stack.
    """
    progress = Noting.of(progress)
    prepare(folder, run.output.picture, paths, stacks=run.stacks)
    place = partial(place_groups, folder=folder / SOLUTIONS, progress=progress)
    work = Work(folder / SURVEYS, folder / CELLS, folder / CELLS / SOLUTION, place, crew)
    lost = lost_files(folder, paths)
    for line in told(reasons_of(lost)):
        progress.warn(line)
    remember(folder, paths, lost)
    with Recording(folder) as recording:
        comet = run.comet and CometRun(run.comet, comet_files_of(recording, run))
        report = stack_files(paths, run, files_of(recording, run), progress, work, comet, wishes)
        left_out = {**reasons_of(lost), **report.left_out}
        report = replace(report, left_out=dict(sorted(left_out.items())))
        describe(report.json(), recording)
    remember(folder, paths)  # those that are gone are told in the report
    return report
