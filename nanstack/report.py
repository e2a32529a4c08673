# SPDX-License-Identifier: GPL-3.0-or-later
"""What a tile of arrays says about itself, and about each of its frames."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class FrameReport:
    """How one frame of a group fared; None is what was not measured.

    Attributes
    ----------
    name : str
    method : {'reference', 'stars', 'wcs', 'failed'}
        What the frame was aligned by.
    stars_found, stars_matched : int
    rms_px, fwhm_px : float or None
        Alignment error, and the width of the stars.
    shift_px : (float, float) or None
        Where the reference's first pixel lies in the frame.
    rotation_deg, scale : float or None
        Of the frame against the reference.
    sky_offset_adu : tuple of float or None
        What was added to each channel; `sky_gain` and `sky_slope_adu_per_px` where there were any.
    sky_adu : tuple of float or None
        The frame's own sky level.
    weight : float or None
        In units of the frames' mean.
    reason : str
        Why the frame, or its stars, failed.
    """

    name: str
    method: str
    stars_found: int = 0
    stars_matched: int = 0
    rms_px: float | None = None
    fwhm_px: float | None = None
    shift_px: tuple[float, float] | None = None
    rotation_deg: float | None = None
    scale: float | None = None
    sky_offset_adu: tuple[float, ...] | None = None
    sky_adu: tuple[float, ...] | None = None
    sky_gain: tuple[float, ...] | None = None
    sky_slope_adu_per_px: tuple[tuple[float, ...], ...] | None = None
    weight: float | None = None
    reason: str = ""


@dataclass(frozen=True, kw_only=True)
class Measures:
    """What was measured on a tile; None is what could not be.

    Attributes
    ----------
    shape : tuple of int
    coverage_min, coverage_max : int
    coverage_median : float
    noise_adu : float or None
    noise_against_one_frame : float or None
        The tile's noise over that of its reference frame.
    band_metric_adu : float or None
        The colour step between rim and inside: see `nanstack.levels.photometry.band_metric`.
    """

    shape: tuple[int, ...]
    coverage_min: int
    coverage_median: float
    coverage_max: int
    noise_adu: float | None
    noise_against_one_frame: float | None
    band_metric_adu: float | None


@dataclass(frozen=True, kw_only=True)
class TileReport(Measures):
    """What is known of a tile, beside what was measured on it; None is what could not be.

    Attributes
    ----------
    frames_given, frames_aligned : int
    frames_failed : dict
        Name of a frame: why it failed.
    reference : str or None
        Name of the frame whose pixels the tile has.
    rms_px_median, rms_px_max : float or None
        Of the alignment.
    rejection, stacked_on : str
        The method, and 'cpu' or 'gpu'.
    rejected_percent : float or None
        Of the samples with data.
    sky_matched_by : str
    sky_offset_adu_max : float or None
        The largest offset added to a frame.
    sky_unmatched : tuple of str
        Frames that have too little in common with the reference to be matched.
    seconds_align, seconds_stack : float or None
    settings : dict
        Those of the tile.
    frames : tuple of FrameReport
    """

    frames_given: int
    frames_aligned: int
    frames_failed: dict[str, str]
    reference: str | None
    rms_px_median: float | None
    rms_px_max: float | None
    rejection: str
    stacked_on: str
    rejected_percent: float | None
    sky_matched_by: str
    sky_offset_adu_max: float | None
    sky_unmatched: tuple[str, ...]
    seconds_align: float | None = None
    seconds_stack: float | None = None
    settings: dict[str, Any] = field(default_factory=dict)
    frames: tuple[FrameReport, ...] = ()

    def cards(self) -> dict[str, tuple[Any, str]]:
        """Return the FITS cards in which a tile's file carries its report; what was not measured has none."""
        cards = {
            "NPA_GIVE": (self.frames_given, "frames given"),
            "NPA_ALGN": (self.frames_aligned, "frames aligned and stacked"),
            "NPA_RMS": (self.rms_px_median, "[px] median alignment rms"),
            "NPA_RMSX": (self.rms_px_max, "[px] worst alignment rms"),
            "NPA_COVN": (self.coverage_min, "least coverage"),
            "NPA_COVM": (self.coverage_median, "median coverage"),
            "NPA_COVX": (self.coverage_max, "maximal coverage"),
            "NPA_REJ": (self.rejection, "rejection"),
            "NPA_REJP": (self.rejected_percent, "[%] rejected of the samples with data"),
            "NPA_SKYM": (self.sky_matched_by, "how the frames' sky was matched"),
            "NPA_SKYX": (self.sky_offset_adu_max, "[adu] largest offset added to a frame"),
            "NPA_NOIS": (self.noise_against_one_frame, "noise against one frame's"),
            "NPA_BAND": (self.band_metric_adu, "[adu] colour step of the rim (band metric)"),
        }
        return {name: card for name, card in cards.items() if card[0] is not None}


def known(value: float) -> float | None:
    """Return a number with the digits that float32 has, so at any scale of the samples; None for what is not known."""
    return float(f"{value:.7g}") if math.isfinite(value) else None


def shown(value: float | None, unit: str = "") -> str:
    """Return a number for the screen, with its unit."""
    return "not measurable" if value is None else f"{value:.4g}{unit}"
