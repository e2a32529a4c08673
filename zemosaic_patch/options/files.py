# SPDX-License-Identifier: GPL-3.0-or-later
"""What `tile` and `mosaic` read and write."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from zemosaic_patch.options.declared import (
    config_option,
    flat_option,
    leave_out_option,
    option,
    progress_option,
    take_in_option,
)


@dataclass(frozen=True)
class TileFiles:
    """What the command `tile` reads and writes."""

    frames: tuple[str, ...] = option(
        "FITS or .npy files, folders, or patterns such as 'night/*.fit'", metavar="FRAMES", positional=True, default=()
    )
    output: Path = option(
        "folder for the results: tile.fits, tile.png, coverage.png, tile.json",
        Path, short="-o", metavar="DIR", required=True, kept=False,
    )  # fmt: skip
    overwrite: bool = option("replace the results of an earlier run in DIR", bool, kept=False)
    flat: bool = flat_option()
    config: Path | None = config_option()


@dataclass(frozen=True)
class MosaicFiles:
    """What the command `mosaic` reads and writes."""

    frames: tuple[str, ...] = option(
        "FITS files, folders, or patterns such as 'night/*.fit'", metavar="FRAMES", positional=True, default=()
    )
    output: Path = option(
        "folder for the mosaic, its pictures and report, and what is known of the frames",
        Path, short="-o", metavar="DIR", required=True, kept=False,
    )  # fmt: skip
    resume: bool = option("continue a run that was stopped: what DIR has of it is used again", bool, kept=False)
    overwrite: bool = option("start again, and replace the results of an earlier run in DIR", bool, kept=False)
    config: Path | None = config_option()
    flat: bool = flat_option()
    leave_out: tuple[str, ...] = leave_out_option()
    take_in: tuple[str, ...] = take_in_option()
    progress: str = progress_option()
    scheduler: str | None = option(
        "have frames surveyed and cells stacked by the workers of a dask cluster: that of the scheduler at ADDRESS, or "
        "one on this machine alone (local); it changes nothing of the result",
        metavar="ADDRESS", kept=False,
    )  # fmt: skip
    existing_tiles: bool = option("FRAMES are master tiles, ours or ZeMosaic's: only join them", bool)
