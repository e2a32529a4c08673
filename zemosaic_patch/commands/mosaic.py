# SPDX-License-Identifier: GPL-3.0-or-later
"""`mosaic`: frames, or master tiles, to one picture of the sky."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from zemosaic_patch.arguments import Command
from zemosaic_patch.commands.output import (
    check_address_space,
    check_folder,
    check_frames,
    check_kind,
    keep_options,
    kept_config,
    own_folder,
    tell_ignored,
)
from zemosaic_patch.errors import UsageError
from zemosaic_patch.options import MosaicFiles, MosaicOptions, TileOptions, mosaic_defaults

if TYPE_CHECKING:
    from zemosaic_patch.reports import MosaicReport


def run(files: MosaicFiles, options: MosaicOptions, tile: TileOptions) -> int:
    """Make a mosaic; return 1 where a tile failed."""
    check_address_space()
    check_frames(files.frames)
    from zemosaic_patch.mosaic_files import earlier_output, prepare
    from zemosaic_patch.mosaic_run import mosaic_of_files, mosaic_of_tiles
    from zemosaic_patch.outputs import claim
    from zemosaic_patch.progress import Bars
    from zemosaic_patch.tile_files import TILE
    from zemosaic_patch.tile_run import find_frames

    found = find_frames(files.frames, files.flat, files.existing_tiles)
    paths = list(found.paths)
    check_kind(files.output, TILE, "a single tile")
    earlier = earlier_output(files.output)
    if earlier is not None and not (files.resume or files.overwrite):
        raise UsageError(f"{earlier} exists: add --resume to continue, --overwrite to start again, or name another DIR")
    check_folder(files.output)
    make = mosaic_of_tiles if files.existing_tiles else mosaic_of_files
    inputs = [*paths, *filter(None, [files.config])]
    with own_folder(files.output), Bars() as bars:
        claim(files.output, kept_config(files), paths)
        prepare(files.output, options.picture, inputs, anew=files.overwrite, joins_tiles=files.existing_tiles)
        keep_options(files, options, tile)
        tell_ignored(found, bars)
        report = make(paths, options.settings(tile), files.output, bars)
    show(report, files.output)
    if report.failed_tiles:
        bars.warn(f"the mosaic lacks {', '.join(report.failed_tiles)}: see above; --resume tries again")
    return 1 if report.failed_tiles else 0


def show(report: MosaicReport, folder: Path) -> None:
    """Print what is known of a mosaic that was written into a folder."""
    from zemosaic_patch.mosaic_files import MOSAIC, PAGE

    files = [f"written            {folder / MOSAIC}", f"report             {folder / PAGE}"]
    print("\n".join([*report.lines(), *files]))


COMMAND = Command(
    "mosaic",
    "make a mosaic of raw frames, or of master tiles",
    "Register frames by their stars, make a master tile of each pointing, and join the tiles on the sky: one mosaic "
    "without seams. A run that was stopped goes on with --resume.",
    (MosaicFiles(), *mosaic_defaults()),
    run,
)
