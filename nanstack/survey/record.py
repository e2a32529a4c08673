# SPDX-License-Identifier: GPL-3.0-or-later
"""What a survey finds out about a frame: what its header claims, as far as it holds, and what its pixels show."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from nanstack.survey.stars import Stars
from nanstack.survey.trails import Trail

if TYPE_CHECKING:
    from pathlib import Path

    from astropy.wcs import WCS


@dataclass(frozen=True)
class Facts:
    """What a file's header says of how its frame was taken; empty, or None, where it does not say.

    Attributes
    ----------
    kind : str
        'light'; or what it is instead: 'dark', 'flat', 'bias', 'stack' (a device's own), 'output' (of this program).
    evidence : str
        What says that it is no light, as a sentence: 'its IMAGETYP is Dark'.
    pattern : str
        Bayer pattern at the first pixel stored, 'RGGB' and the like; empty for mono and for colour.
    remark : str
        One line where header and pixels do not agree about the pattern.
    instrument, filter, object, date : str
        INSTRUME, FILTER, OBJECT, DATE-OBS as they stand.
    exposure, gain : float or None
        Seconds; the camera's own units.
    binning : int
    focal_length : float or None
        Millimetres.
    pixel_size : tuple of float or None
        A pixel's sides (x, y) in micrometres, as binned.
    scale : float or None
        Arcseconds a pixel, by FOCALLEN and XPIXSZ (which holds the binning already), or by the solution.
    pointing : tuple of float or None
        RA and Dec in degrees where the mount meant to look. It may be off by degrees.
    bottom_up : bool
        Whether its first row is the lowest one, as seen on the sky.
    wcs : astropy.wcs.WCS or None
        The header's own solution: a hint, until the stars agree.
    """

    kind: str = "light"
    evidence: str = ""
    pattern: str = ""
    remark: str = ""
    instrument: str = ""
    filter: str = ""
    object: str = ""
    date: str = ""
    exposure: float | None = None
    gain: float | None = None
    binning: int = 1
    focal_length: float | None = None
    pixel_size: tuple[float, float] | None = None
    scale: float | None = None
    pointing: tuple[float, float] | None = None
    bottom_up: bool = False
    wcs: WCS | None = field(default=None, repr=False, compare=False)


@dataclass(frozen=True)
class Survey:
    """What is known of a frame by itself.

    Attributes
    ----------
    path : Path
    shape : tuple of int
        (H, W) or (H, W, 3), of the frame as it is stacked.
    facts : Facts
    stars : Stars
        Places in full pixels of the frame.
    sky : ndarray of float32, shape (rows, columns) or (rows, columns, 3)
        Levels of the sky over cells of `nanstack.survey.raw.MESH_PX` pixels, stars masked; NaN where there is no data.
    noise : ndarray of float64, shape () or (3,)
        Standard deviation of a sample of the dark sky, by colour, in ADU.
    saturation : float
        Level from which on a sample is taken for saturated, in ADU; infinite where nothing is.
    elongation : float
        Longer over shorter axis of the stars' usual shape; NaN without stars.
    spikes : ndarray of int32, shape (n, 2)
        Row and column of samples that no light made: hot pixels, cosmic rays on a single photosite, blind photosites;
        row by row.
    mended : ndarray of float32, shape (n,)
        What stands in for these, by the samples around them.
    trails : tuple of Trail
        What may be trails of satellites and aircraft, the clearest first.
    digest : str
        What tells the samples as stored from those of other files.
    """

    path: Path
    shape: tuple[int, ...]
    facts: Facts
    stars: Stars = field(repr=False)
    sky: np.ndarray = field(repr=False)
    noise: np.ndarray = field(repr=False)
    saturation: float = np.inf
    elongation: float = np.nan
    spikes: np.ndarray = field(default_factory=lambda: np.empty((0, 2), np.int32), repr=False)
    mended: np.ndarray = field(default_factory=lambda: np.empty(0, np.float32), repr=False)
    trails: tuple[Trail, ...] = ()
    digest: str = ""

    @property
    def camera(self) -> tuple:
        """What frames of one camera have in common: they share a focal length and a distortion."""
        scale = None if self.facts.scale is None else round(self.facts.scale, 1)
        return self.facts.instrument, self.shape[:2], scale
