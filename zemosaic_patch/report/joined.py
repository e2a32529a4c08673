# SPDX-License-Identifier: GPL-3.0-or-later
"""What is known of a mosaic of existing tiles: what its mosaic.json holds."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from zemosaic_patch.report.pixels import Corners


@dataclass(frozen=True)
class JoinedTile:
    """A tile that was joined.

    Attributes
    ----------
    name, file : str
        The file by its path in the mosaic's folder; one that lies elsewhere by its name.
    corners : tuple of (float, float)
        Its four corners in the picture, whose first row is the north, in pixels.
    background_adu : tuple of float
        What was added to its middle, a number a channel.
    frames : int or None
        How many it was made of.
    """

    name: str
    file: str
    corners: Corners
    background_adu: tuple[float, ...]
    frames: int | None


@dataclass(frozen=True)
class Levelling:
    """How the tiles were brought to one background.

    Attributes
    ----------
    model : str
    overlaps : int
        Pairs of tiles that were compared.
    """

    model: str
    overlaps: int


@dataclass(frozen=True)
class MosaicImage:
    """A mosaic's files, and what they show.

    Attributes
    ----------
    file, picture, picture_linked, coverage_picture : str
        Names in its folder.
    shape : tuple of int
    coverage_max : int
        Most frames in a pixel.
    background : Levelling
    """

    file: str
    picture: str
    picture_linked: str
    coverage_picture: str
    shape: tuple[int, ...]
    coverage_max: int
    background: Levelling


@dataclass(frozen=True)
class MosaicReport:
    """What is known of a mosaic of existing tiles.

    Attributes
    ----------
    tiles : tuple of JoinedTile
    mosaic : MosaicImage
    settings : dict
        By which it was made, ready for JSON.
    seconds : dict
        Time that its parts took.
    left_out : dict
        Name of a file that is not in it: why.
    warnings : tuple of str
        What else was told while it was made, lines that are alike in one.
    """

    tiles: tuple[JoinedTile, ...]
    mosaic: MosaicImage
    settings: dict[str, Any]
    seconds: dict[str, float]
    left_out: dict[str, str]
    warnings: tuple[str, ...] = ()

    def json(self) -> dict[str, Any]:
        """Return the report, ready for JSON."""
        return asdict(self)

    def lines(self) -> list[str]:
        """Return the report as lines for the screen."""
        height, width = self.mosaic.shape[:2]
        counts = [tile.frames for tile in self.tiles]
        frames = "an unknown number" if None in counts else sum(counts)
        rows = {
            "tiles": f"{len(self.tiles)} joined, {len(self.left_out)} left out",
            "frames": f"{frames} in the tiles",
            "mosaic": f"{width} x {height} pixels, up to {self.mosaic.coverage_max} frames in one",
            "background": f"{self.mosaic.background.model}, overlaps compared: {self.mosaic.background.overlaps}",
            "time": ", ".join(f"{value:.1f} s {name}" for name, value in self.seconds.items()),
        }
        return [f"{name:<18} {text}" for name, text in rows.items()]
