# SPDX-License-Identifier: GPL-3.0-or-later
"""What `mosaic.json`, or `tile.json`, tells, as records: `zemosaic_patch.report.reading` makes them of the file.

What is missing there, or is of the wrong kind, is None or empty here, so a report can always be made of the rest.
"""

from __future__ import annotations

from dataclasses import dataclass

from zemosaic_patch.report.kinds import Values
from zemosaic_patch.report.pixels import Corners


@dataclass(frozen=True)
class Entry:
    """A name, and what is said about it."""

    name: str
    text: str


@dataclass(frozen=True)
class Frame:
    """A frame that was stacked.

    Attributes
    ----------
    name, date : str
    corners : tuple of (float, float)
        In pixels of the picture; empty where they are not known.
    stars_found, stars_used, rms_px, fwhm_px, elongation, sky_adu, noise_adu, transparency, transparency_error,
    added_adu, weight : Values
        As `mosaic.json` has them; several values are those of the colours.
    trails : tuple of Corners
        The ends of each, in pixels of the picture; empty where they are not known.
    """

    name: str
    date: str
    corners: Corners
    stars_found: Values
    stars_used: Values
    rms_px: Values
    fwhm_px: Values
    elongation: Values
    sky_adu: Values
    noise_adu: Values
    transparency: Values
    transparency_error: Values
    added_adu: Values
    weight: Values
    trails: tuple[Corners, ...] = ()

    @property
    def trail_count(self) -> Values:
        """How many trails it has."""
        return (float(len(self.trails)),)


@dataclass(frozen=True)
class Tile:
    """A master tile that was joined.

    Attributes
    ----------
    name : str
    corners : tuple of (float, float)
        In pixels of the picture; empty where they are not known.
    frames, background_adu : Values
        How many it was made of; what was added to its middle.
    """

    name: str
    corners: Corners
    frames: Values
    background_adu: Values


@dataclass(frozen=True)
class Image:
    """The result itself.

    Attributes
    ----------
    file, picture, coverage_picture : str
        Names of files; empty where there are none.
    shape : (float, float) or None
        Height and width in pixels.
    coverage_median, coverage_max, scale_arcsec, rms_px : float or None
        The usual and the largest number of frames in a pixel; the size of a pixel; the usual error of a star's place.
    """

    file: str
    picture: str
    coverage_picture: str
    shape: tuple[float, float] | None
    coverage_median: float | None
    coverage_max: float | None
    scale_arcsec: float | None
    rms_px: float | None


@dataclass(frozen=True)
class Shade:
    """What stays on a camera's sensor, in green, or the only colour.

    Attributes
    ----------
    camera : str
    shape : (float, float)
        Height and width of its frames.
    terms : (float, float, float)
        In ADU, of the squares and the product of places: see `nanstack.register.registered.sensor_terms`.
    corner, error : float or None
        What the corners have more than the frame on average, and its standard error, in ADU.
    """

    camera: str
    shape: tuple[float, float]
    terms: tuple[float, float, float]
    corner: float | None
    error: float | None


@dataclass(frozen=True)
class Sky:
    """How frames were brought to one sky.

    Attributes
    ----------
    words : tuple of str
        What could be told, and what could not.
    shades : tuple of Shade
    residuals : tuple of Values
        By how much frames differ, in ADU, over the picture: rows of one length; None where nothing is seen.
    """

    words: tuple[str, ...]
    shades: tuple[Shade, ...]
    residuals: tuple[Values, ...]


@dataclass(frozen=True)
class Comet:
    """What was stacked on a comet's motion.

    Attributes
    ----------
    picture, merged_picture : str
        Names of files; empty where there are none.
    words : tuple of Entry
        What is known of it.
    """

    picture: str
    merged_picture: str
    words: tuple[Entry, ...]


@dataclass(frozen=True)
class Comparison:
    """Two pictures of the same sky: the names of their files, and what to write below them."""

    before: str
    after: str
    caption_before: str
    caption_after: str


@dataclass(frozen=True)
class Told:
    """All that a report is made of.

    Attributes
    ----------
    kind : {'Mosaic', 'Tile'}
    image : Image
    frames : tuple of Frame
        Empty for a mosaic of existing tiles.
    tiles : tuple of Tile
        Empty for a result stacked straight from frames.
    comparison : Comparison or None
    comet : Comet or None
    sky : Sky or None
    left_out : dict
        Name of a file: why it is not in the result.
    taken_in : dict
        Name of a frame that is in it because the owner wanted it: what speaks against it.
    can_be_taken_in : tuple of str
        Names of those left out that could be in it in the same way.
    warnings : tuple of str
        What else was told while it was made.
    made, settings, times : tuple of Entry
        How it was made, in words; by which settings; how long each stage took.
    seconds : float or None
        In all.
    """

    kind: str
    image: Image
    frames: tuple[Frame, ...]
    tiles: tuple[Tile, ...]
    comparison: Comparison | None
    comet: Comet | None
    sky: Sky | None
    left_out: dict[str, str]
    taken_in: dict[str, str]
    can_be_taken_in: tuple[str, ...]
    warnings: tuple[str, ...]
    made: tuple[Entry, ...]
    settings: tuple[Entry, ...]
    times: tuple[Entry, ...]
    seconds: float | None
