# SPDX-License-Identifier: GPL-3.0-or-later
"""How a tile or a mosaic is made: what the options of these commands come to."""

from __future__ import annotations

from dataclasses import dataclass, field

from nanstack.comet import Marks
from nanstack.settings import CanvasSettings
from zemosaic_patch.errors import UsageError

STACKS = ("comet", "merged")  # beside the stars: on a comet's motion, and of stars and comet in one


@dataclass(frozen=True)
class CanvasChoice:
    """Which pixels a result has.

    Attributes
    ----------
    kind : {'all', 'reference'}
        As many as show every frame, or those of a frame.
    reference : str, optional
        The name of that frame, by default the most central one; of 'all' one whose scale and turn they have.
    scale : float, optional
        Arcseconds a pixel, of 'all'; by default those of the usual frame, or of the reference.
    like : str, optional
        Name of a FITS image whose pixels they are, whatever the rest says.
    """

    kind: str = "all"
    reference: str | None = None
    scale: float | None = None
    like: str | None = None

    @property
    def is_north_up(self) -> bool:
        """Whether the first row is the lowest on the screen, as FITS viewers show it; that of a frame is on top."""
        return self.like is not None or (self.kind == "all" and self.reference is None)


@dataclass(frozen=True)
class MosaicOutput:
    """How a mosaic is written.

    Attributes
    ----------
    format : {'fits', 'fz'}
        Plain, or compressed without loss.
    picture : {'png', 'tif'}
        Kind of the 16-bit pictures.
    hips : bool
        Whether it is written as tiles of the sky, too.
    """

    format: str = "fits"
    picture: str = "png"
    hips: bool = False


@dataclass(frozen=True)
class CometChoice:
    """A comet, stacked beside the stars.

    Attributes
    ----------
    marks : Marks
        Where its nucleus is.
    merged : bool
        Whether there is a picture of both, too.
    """

    marks: Marks
    merged: bool = False

    @property
    def stacks(self) -> tuple[str, ...]:
        """The names of what is stacked beside the stars."""
        return STACKS if self.merged else STACKS[:1]


@dataclass(frozen=True)
class TileRun:
    """How a tile is made of frames: pixels, and stack."""

    canvas: CanvasChoice = field(default_factory=lambda: CanvasChoice("reference"))
    stack: CanvasSettings = field(default_factory=CanvasSettings)

    def __post_init__(self) -> None:
        _check_pixels(self.canvas, self.stack)


@dataclass(frozen=True)
class MosaicRun:
    """How a mosaic is made of frames: pixels, stack, files, and a comet, if there is one."""

    canvas: CanvasChoice = field(default_factory=CanvasChoice)
    stack: CanvasSettings = field(default_factory=CanvasSettings)
    output: MosaicOutput = field(default_factory=MosaicOutput)
    comet: CometChoice | None = None

    def __post_init__(self) -> None:
        _check_pixels(self.canvas, self.stack)
        if self.comet is not None and self.comet.merged and self.stack.drizzle is not None:
            raise UsageError("--comet-merged is not for --drizzle, which drops photosites as they are: leave one out")

    @property
    def stacks(self) -> tuple[str, ...]:
        """The names of what is stacked beside the stars."""
        return self.comet.stacks if self.comet else ()


def _check_pixels(canvas: CanvasChoice, stack: CanvasSettings) -> None:
    """Refuse pixels that photosites are not dropped onto."""
    if stack.drizzle is None:
        return
    if canvas.like is not None:
        raise UsageError("--drizzle makes pixels of its own: leave out --like, whose pixels are what they are")
    if canvas.kind != "all":
        raise UsageError("--drizzle makes pixels of its own, not a frame's: add --canvas all")
    if canvas.scale is not None:
        raise UsageError("--drizzle says how fine the pixels are, against the frames' own: leave out --scale")
