# SPDX-License-Identifier: GPL-3.0-or-later
"""Options of `mosaic` alone: its files, a comet, and how existing tiles are joined."""

from __future__ import annotations

from dataclasses import dataclass

from nanstack.comet import COUNTS, Marks
from nanstack.settings import JOINS, TILE_MATCHES, JoinSettings
from zemosaic_patch.errors import UsageError
from zemosaic_patch.options.declared import Range, option
from zemosaic_patch.options.runs import CometChoice, MosaicOutput

FORMATS = ("fits", "fz")
PICTURES = ("png", "tif")


@dataclass(frozen=True)
class OutputOptions:
    """How a mosaic is written."""

    format: str = option("write mosaic.fits plain (fits), or compressed without loss (fz)", choices=FORMATS)
    picture: str = option("format of the 16-bit pictures", choices=PICTURES)
    hips: bool = option(
        "also write the mosaic as tiles of the sky (HiPS), to hips/, which Aladin and any web server show", bool
    )

    @classmethod
    def of(cls, output: MosaicOutput) -> OutputOptions:
        """Return the options that stand for an output."""
        return cls(output.format, output.picture, output.hips)

    def output(self) -> MosaicOutput:
        """Return what these options stand for."""
        return MosaicOutput(self.format, self.picture, self.hips)


@dataclass(frozen=True)
class CometOptions:
    """A comet, stacked beside the stars."""

    comet: str | None = option(
        "also stack the frames on a comet's motion, to comet.fits: where its nucleus is in the first and in the last "
        "frame by time, in pixels as FITS counts them (the first in the file is 1,1)",
        metavar="X,Y,X,Y",
    )
    comet_in: str = option(
        "what the numbers of --comet are: pixels of these two frames, or of the mosaic (the ends of the comet's "
        "trail), or right ascension and declination in degrees (sky), at the times of these two frames",
        choices=COUNTS, part_of=("comet", None),
    )  # fmt: skip
    comet_merged: bool = option(
        "with --comet: also merged.fits, the stars and the comet sharp in one picture", bool, part_of=("comet", None)
    )

    @classmethod
    def of(cls, choice: CometChoice | None) -> CometOptions:
        """Return the options that stand for a choice."""
        if choice is None:
            return cls(None, COUNTS[0], False)
        told = ",".join(f"{number:.10g}" for number in (*choice.marks.first, *choice.marks.last))
        return cls(told, choice.marks.count, choice.merged)

    def choice(self) -> CometChoice | None:
        """Return what these options choose; UsageError for marks that are none, and options without a comet."""
        if self.comet is None:
            for name in ("comet_in", "comet_merged"):
                if getattr(self, name) != getattr(CometOptions.of(None), name):
                    raise UsageError(f"--{name.replace('_', '-')} is for --comet X,Y,X,Y")
            return None
        first, last = comet_places(self.comet)
        return CometChoice(Marks(first, last, self.comet_in), self.comet_merged)


def comet_places(told: str) -> tuple[tuple[float, float], tuple[float, float]]:
    """Return where a comet is in the first and in the last frame; UsageError for what is no four numbers."""
    try:
        x, y, x1, y1 = map(float, told.replace(",", " ").split())
        finite = all(abs(number) < float("inf") for number in (x, y, x1, y1))
    except ValueError:
        finite = False
    if not finite:
        raise UsageError(f"--comet takes four numbers, X,Y,X,Y, not {told}")
    return (x, y), (x1, y1)


@dataclass(frozen=True)
class JoinOptions:
    """How existing tiles are joined."""

    match_tiles: str = option(
        "match the tiles' backgrounds: add a gradient to each (plane), a constant to each (offset), or nothing (none)",
        choices=TILE_MATCHES,
    )
    join: str = option("how overlapping tiles are combined", choices=JOINS)
    feather: float = option(
        "width of the edge in which a tile counts less",
        float, unit="fractions of its shorter side", metavar="SHARE", within=Range(0, 0.5),
    )  # fmt: skip

    @classmethod
    def of(cls, settings: JoinSettings) -> JoinOptions:
        """Return the options that stand for settings, the interpolation apart."""
        return cls(settings.match, settings.combine, settings.feather)

    def settings(self, interpolation: str) -> JoinSettings:
        """Return the settings that these options stand for."""
        return JoinSettings(self.match_tiles, self.join, self.feather, interpolation)
