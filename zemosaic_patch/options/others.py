# SPDX-License-Identifier: GPL-3.0-or-later
"""Options of the commands that look at frames and results, show them, or simulate them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from zemosaic_patch.options.declared import (
    Range,
    flat_option,
    leave_out_option,
    option,
    progress_option,
    take_in_option,
)


@dataclass(frozen=True)
class DemoOptions:
    """What the command `demo` makes."""

    output: Path = option(
        "folder for the simulated frames and the results",
        Path, short="-o", metavar="DIR", default=Path("zemosaic-patch-demo"),
    )  # fmt: skip
    mosaic: bool = option(
        "make a mosaic of 2 x 2 pointings, not a single tile; each frame has its own sky background", bool
    )
    frames: int | None = option(
        "number of frames: for a tile at least 3, by default 16; for a mosaic at least 12, by default 40",
        int, metavar="N", within=Range(1),
    )  # fmt: skip
    overwrite: bool = option("replace the files of an earlier demo", bool)


@dataclass(frozen=True)
class LookOptions:
    """What the command `look` is to look at."""

    frames: tuple[str, ...] = option(
        "FITS or .npy files, folders, or patterns such as 'night/*.fit'", metavar="FRAMES", positional=True, default=()
    )
    flat: bool = flat_option()
    leave_out: tuple[str, ...] = leave_out_option()
    take_in: tuple[str, ...] = take_in_option()
    keep: Path | None = option("keep what is found out in this folder: the next look takes no time", Path,
                               metavar="DIR")  # fmt: skip
    rough: Path | None = option("write a rough picture of what they show as PNG, again and again as more of them are "
                                "known; one that is there is replaced once all are", Path, metavar="FILE")  # fmt: skip
    json: bool = option("tell each file as a line of JSON, as soon as it is known, for programs", bool)


@dataclass(frozen=True)
class WindowOptions:
    """How the window is opened."""

    port: int | None = option("its port on this machine; by default one that is free", int, metavar="N",
                              within=Range(1, 65535))  # fmt: skip
    browser: bool = option("open the browser; without, only its address is shown", bool, negatable=True, default=True)


@dataclass(frozen=True)
class ReportFolder:
    """What the command `report` describes."""

    folder: Path = option("folder of a mosaic or a tile: it holds mosaic.json or tile.json", Path, metavar="DIR",
                          positional=True, required=True)  # fmt: skip


@dataclass(frozen=True)
class MosaicFolder:
    """What the command `hips` writes as tiles of the sky."""

    folder: Path = option("folder of a mosaic: it holds mosaic.fits, and gets hips/", Path, metavar="DIR",
                          positional=True, required=True)  # fmt: skip
    progress: str = progress_option()
