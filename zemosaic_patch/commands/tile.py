# SPDX-License-Identifier: GPL-3.0-or-later
"""`tile`: one master tile of a group of frames."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from zemosaic_patch.arguments import Command
from zemosaic_patch.commands.output import (
    check_address_space,
    check_folder,
    check_frames,
    check_kind,
    check_new,
    keep_options,
    kept_config,
    own_folder,
    tell_ignored,
)
from zemosaic_patch.options import TileFiles, TileOptions, tile_defaults

if TYPE_CHECKING:
    from nanstack.tile import Tile


def run(files: TileFiles, options: TileOptions) -> None:
    """Make a tile."""
    check_address_space()
    check_frames(files.frames)
    from zemosaic_patch.mosaic_files import MOSAIC
    from zemosaic_patch.outputs import claim, remove_ours
    from zemosaic_patch.progress import Bars
    from zemosaic_patch.tile_files import ALL_OUTPUTS, OUTPUTS, save_tile
    from zemosaic_patch.tile_run import find_frames, tile_of_files

    found = find_frames(files.frames, files.flat)
    paths = list(found.paths)
    kept = kept_config(files)
    check_kind(files.output, MOSAIC, "a mosaic")
    check_new(files.output, OUTPUTS, files.overwrite)
    check_folder(files.output)
    with own_folder(files.output):
        claim(files.output, (*ALL_OUTPUTS, *kept), paths)
        with Bars() as bars:
            tell_ignored(found, bars)
            tile = tile_of_files(paths, options.settings(), files.reference, bars)
        remove_ours(files.output, ALL_OUTPUTS, paths)  # a report of another tile among them
        save_tile(tile, files.output)
        keep_options(files, options)
    show(tile, files.output)


def show(tile: Tile, folder: Path) -> None:
    """Print what is known of a tile that was written into a folder."""
    from nanstack.io.layout import on_one_line
    from zemosaic_patch.tile_files import TILE

    print("\n".join(map(on_one_line, [*tile.report.lines(), f"written            {folder / TILE}"])))


COMMAND = Command(
    "tile",
    "make one master tile of a group of frames",
    "Align a group of frames on one of them, reject outliers, average: one tile without coloured rims.",
    (TileFiles(), tile_defaults()),
    run,
)
