# SPDX-License-Identifier: GPL-3.0-or-later
"""`tile`: one master tile of a group of frames."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from zemosaic_patch.arguments import Command
from zemosaic_patch.commands.output import (
    check_address_space,
    check_apart,
    check_frames,
    check_kind,
    check_new,
    keep_options,
    kept_config,
    own_folder,
    tell_ignored,
)
from zemosaic_patch.options.defaults import tile_defaults
from zemosaic_patch.options.files import TileFiles
from zemosaic_patch.options.runs import TileRun
from zemosaic_patch.options.stack import CanvasOptions, StackOptions

if TYPE_CHECKING:
    from zemosaic_patch.report.canvas import CanvasReport


def run(files: TileFiles, canvas: CanvasOptions, stack: StackOptions) -> None:
    """Make a tile."""
    check_address_space()
    check_frames(files.frames)
    made = TileRun(canvas.choice(), stack.settings())
    from nanstack.progress import Noting
    from zemosaic_patch.as_it_was import put_back
    from zemosaic_patch.given import find_frames
    from zemosaic_patch.mosaic_files import MOSAIC
    from zemosaic_patch.outputs import claim, remove_ours
    from zemosaic_patch.progress import shown
    from zemosaic_patch.tile_files import ALL_OUTPUTS, OUTPUTS
    from zemosaic_patch.tile_run import tile_of_files

    found = find_frames(files.frames, files.output, files.flat)
    paths = list(found.paths)
    kept = kept_config(files)
    check_apart(files.output, paths)
    check_kind(files.output, MOSAIC, "a mosaic")
    check_new(files.output, OUTPUTS, files.overwrite)
    inputs = [*paths, *filter(None, [canvas.like and Path(canvas.like)])]
    with own_folder(files.output), put_back(files.output, again=""):
        claim(files.output, (*ALL_OUTPUTS, *kept), inputs)
        with shown() as bars:
            heard = Noting(bars)
            tell_ignored(found, heard)
            report = tile_of_files(paths, made, files.output, heard)
        remove_ours(files.output, ["report.html"], inputs)  # of another tile
        keep_options(files, canvas, stack)
    show(report, files.output)


def show(report: CanvasReport, folder: Path) -> None:
    """Print what is known of a tile that was written into a folder."""
    from nanstack.io.one_line import on_one_line
    from zemosaic_patch.tile_files import TILE

    print("\n".join(map(on_one_line, [*report.lines(), f"written            {folder / TILE}"])))


COMMANDS = (
    Command(
        "tile",
        "Register frames by their stars, and stack them on the pixels of one of them: one tile without coloured rims.",
        (TileFiles(), *tile_defaults()),
        run,
    ),
)
