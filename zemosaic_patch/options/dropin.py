# SPDX-License-Identifier: GPL-3.0-or-later
"""Options of the commands that put the patch into a ZeMosaic."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from zemosaic_patch.dropin.sources import SKY_MODEL
from zemosaic_patch.options.declared import option

MATCHES = ("offset", "linear", "plane", "none")  # of ZeMosaic's tiles; the commonest first


@dataclass(frozen=True)
class Checkout:
    """A ZeMosaic."""

    folder: str = option(
        "folder of ZeMosaic, the one that holds zemosaic_worker.py", metavar="DIR", positional=True, required=True
    )


@dataclass(frozen=True)
class ApplyOptions:
    """How the patch is put in."""

    dry_run: bool = option("show what would change, and change nothing", bool)
    all_algorithms: bool = option(
        "use the patch for all rejection methods, not only for winsorized sigma clipping", bool
    )
    match_sky: str = option(
        "how the frames' skies are matched in these tiles, as the command tile does it: plane, offset or linear; "
        "--no-match-sky leaves them as they are",
        choices=MATCHES, metavar="MODEL", bare=SKY_MODEL, off="none", default=SKY_MODEL,
    )  # fmt: skip
    accept_unknown: bool = option("also patch files that differ from every version of ZeMosaic known here", bool)


@dataclass(frozen=True)
class VerifyOptions:
    """With what a ZeMosaic is run."""

    python: str | None = option(
        "Python that runs ZeMosaic; by default the one in DIR, or else the one that runs this command", metavar="FILE"
    )
    output: Path = option(
        "picture of a tile whose frames have different skies, without and with the patch's matching; replaced",
        Path, short="-o", metavar="FILE", default=Path("zemosaic-patch-verify.png"),
    )  # fmt: skip


@dataclass(frozen=True)
class ExportOptions:
    """What the command `export` reads and writes."""

    folder: str = option(
        "checkout of ZeMosaic's source, or with --for its Git repository", metavar="DIR", positional=True, default="."
    )
    output: Path = option("file for the patch", Path, short="-o", metavar="FILE", required=True)
    for_: str | None = option(
        "commit of ZeMosaic, in DIR's Git repository, that the patch is for; by default the files as they lie in DIR",
        metavar="COMMIT",
    )
    overwrite: bool = option("replace FILE if it exists", bool)
