# SPDX-License-Identifier: GPL-3.0-or-later
"""From frame files to a mosaic: what the command `mosaic` does."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from nanstack.crew import Crew
from nanstack.progress import Noting, Progress
from zemosaic_patch.comet_run import CometRun
from zemosaic_patch.mosaic_files import (
    CELLS,
    SOLUTION,
    SOLUTIONS,
    SURVEYS,
    comet_files_of,
    describe,
    files_of,
    prepare,
)
from zemosaic_patch.options import MosaicRun
from zemosaic_patch.outputs import Recording
from zemosaic_patch.reports import CanvasReport
from zemosaic_patch.solve import place_groups
from zemosaic_patch.stack_run import Work, stack_files


def mosaic_of_files(
    paths: Sequence[Path], run: MosaicRun, folder: Path, progress: Progress, crew: Crew | None = None
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
    prepare(folder, run.output.picture, paths, stacks=run.comet.stacks if run.comet else ())
    place = partial(place_groups, folder=folder / SOLUTIONS, progress=progress)
    work = Work(folder / SURVEYS, folder / CELLS, folder / CELLS / SOLUTION, place, crew)
    with Recording(folder) as recording:
        comet = run.comet and CometRun(run.comet, comet_files_of(recording, run))
        report = stack_files(paths, run, files_of(recording, run), progress, work, comet)
        describe(report.json(), recording)
    return report
