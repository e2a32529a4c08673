# SPDX-License-Identifier: GPL-3.0-or-later
"""What is known of a mosaic, as records; and reports as files: mosaic.json, tile.json."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from nanstack.io.files import complete_file
from nanstack.report import TileReport, known, shown

if TYPE_CHECKING:
    from nanstack.session import Session

UNKNOWN = "unknown"  # place on the sky


@dataclass(frozen=True)
class JoinedTile:
    """A tile of a mosaic.

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
    report : TileReport or None
        None for a tile of ZeMosaic.
    """

    name: str
    file: str
    corners: tuple[tuple[float, float], ...]
    background_adu: tuple[float, ...]
    frames: int | None
    report: TileReport | None

    @property
    def seconds(self) -> float | None:
        """Time that it took; None where that is not known."""
        if self.report is None or None in (self.report.seconds_align, self.report.seconds_stack):
            return None
        return round(self.report.seconds_align + self.report.seconds_stack, 3)

    def json(self) -> dict[str, Any]:
        """Return the record, ready for JSON."""
        return {
            "name": self.name,
            "file": self.file,
            "corners": self.corners,
            "background_adu": self.background_adu,
            "report": {"frames_aligned": self.frames} if self.report is None else self.report.json(),
            "seconds": self.seconds,
        }


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
class Registered:
    """How the frames were registered.

    Attributes
    ----------
    frames : int
    rms_px_median, rms_px_max : float or None
        Of the stars of a frame, over the frames.
    place : str
        How the place on the sky was found: see `nanstack.register.place.Place`.
    approximate : bool
        Whether that is no better than the headers' pointing.
    """

    frames: int
    rms_px_median: float | None
    rms_px_max: float | None
    place: str
    approximate: bool

    @classmethod
    def of(cls, session: Session) -> Registered:
        """Return what is to be told of registered frames."""
        rms = [frame.rms for frame in session.frames]
        place = session.place
        return cls(len(rms), known(np.median(rms)), known(max(rms)), place.how, place.approximate)

    @property
    def on_the_sky(self) -> bool:
        """Whether the place on the sky is known at all."""
        return self.place != UNKNOWN

    @property
    def place_told(self) -> str:
        """The place on the sky, in words."""
        if not self.on_the_sky:
            return "unknown: the mosaic has no WCS"
        return f"{self.place}, APPROXIMATE" if self.approximate else self.place


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
    """What is known of a mosaic.

    Attributes
    ----------
    tiles : tuple of JoinedTile
    mosaic : MosaicImage
    settings : dict
        By which it was made, ready for JSON.
    seconds : dict
        Time that its parts took.
    left_out, failed_tiles : dict
        Name of a frame that is in no tile, and of a tile that could not be made: why.
    registration : Registered or None
        None for a mosaic of existing tiles.
    """

    tiles: tuple[JoinedTile, ...]
    mosaic: MosaicImage
    settings: dict[str, Any]
    seconds: dict[str, float]
    left_out: dict[str, str] = field(default_factory=dict)
    failed_tiles: dict[str, str] = field(default_factory=dict)
    registration: Registered | None = None

    def json(self) -> dict[str, Any]:
        """Return the report, ready for JSON."""
        return {
            "tiles": [tile.json() for tile in self.tiles],
            "mosaic": asdict(self.mosaic),
            "registration": None if self.registration is None else asdict(self.registration),
            "settings": self.settings,
            "left_out": self.left_out,
            "failed_tiles": self.failed_tiles,
            "seconds": self.seconds,
        }

    def lines(self) -> list[str]:
        """Return the report as lines for the screen."""
        height, width = self.mosaic.shape[:2]
        failed = sum(len(tile.report.frames_failed) for tile in self.tiles if tile.report is not None)
        counts = [tile.frames for tile in self.tiles]
        frames = "an unknown number" if None in counts else sum(counts)
        rows = {
            "tiles": f"{len(self.tiles)} of {len(self.tiles) + len(self.failed_tiles)}",
            "frames": f"{frames} in the tiles, {failed} failed, {len(self.left_out)} left out",
            "mosaic": f"{width} x {height} pixels, up to {self.mosaic.coverage_max} frames in one",
            "background": f"{self.mosaic.background.model}, overlaps compared: {self.mosaic.background.overlaps}",
            "time": ", ".join(f"{value:.1f} s {name}" for name, value in self.seconds.items()),
        }
        if self.registration is not None:
            usual, worst = (shown(rms) for rms in (self.registration.rms_px_median, self.registration.rms_px_max))
            rows["registration"] = f"rms {usual} px (worst frame {worst} px)"
            rows["place on the sky"] = self.registration.place_told
        return [f"{name:<18} {text}" for name, text in rows.items()]


def write_json(told: Mapping[str, Any], path: Path) -> None:
    """Write a report as JSON; the file appears complete or not at all."""
    with complete_file(path) as temporary:
        temporary.write_text(json.dumps(told, indent=2) + "\n", encoding="utf-8")


def read_json(path: Path) -> dict[str, Any] | None:
    """Return what a report's file holds; None where there is none, or a damaged one."""
    try:
        told = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):  # the last one of brackets within brackets
        return None
    return told if isinstance(told, dict) else None
