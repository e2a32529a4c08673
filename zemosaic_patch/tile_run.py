# SPDX-License-Identifier: GPL-3.0-or-later
"""Frame files to a tile: what the command `tile` does."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from nanstack.io.files import remove_partial_files
from nanstack.progress import Progress, Quiet
from zemosaic_patch.options.runs import TileRun
from zemosaic_patch.outputs import Recording
from zemosaic_patch.report.canvas import CanvasReport
from zemosaic_patch.report.json_file import write_json
from zemosaic_patch.stack_run import stack_files
from zemosaic_patch.tile_files import REPORT, files_of


def tile_of_files(paths: Sequence[Path], run: TileRun, folder: Path, progress: Progress | None = None) -> CanvasReport:
    """Make a tile of frame files; what cannot be used is named and left out.

    Parameters
    ----------
    paths : sequence of Path
    run : TileRun
    folder : Path
        Gets `zemosaic_patch.tile_files.OUTPUTS`.
    progress : nanstack.progress.Progress, optional

    Returns
    -------
    CanvasReport
        As in `tile.json`.

    Raises
    ------
    UsageError
        A reference that is none of the files.
    FailureError
        Nothing to stack.
    """
    remove_partial_files(folder)
    with Recording(folder) as recording:
        report = stack_files(paths, run, files_of(recording, run), progress or Quiet())
        recording.expect([REPORT])
        write_json(report.json(), folder / REPORT)
        recording.complete(REPORT)
    return report
