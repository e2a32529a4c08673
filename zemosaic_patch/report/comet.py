# SPDX-License-Identifier: GPL-3.0-or-later
"""What is known of a comet's stack."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from zemosaic_patch.result_files import ResultFiles


@dataclass(frozen=True)
class CometReport:
    """What is known of a comet's stack.

    Attributes
    ----------
    files : ResultFiles
    merged : ResultFiles or None
        Of the picture of stars and comet.
    frames : int
        That were stacked.
    first, last : str
        Names of the frames between whose times it moves.
    when : str
        UTC, of the place at which the pictures show it: the middle of that time.
    x, y : float
        That place, in pixels as FITS counts them.
    ra_deg, dec_deg, arcsec_per_hour, position_angle_deg : float or None
        That place on the sky, and the motion; None where the sky is not known.
    moved_px : float
        From the first to the last frame, in pixels of the canvas.
    by_light : bool
        Whether the motion is by the nucleus's own light, or as it was marked.
    error_px, marks_off_px : float or None
        Standard error of the place in the first and the last frame; how far the marks were off at most.
    rejected_percent : float or None
        Of the samples, those with stars in them among them.
    stars_stay : bool
        Whether it moves too little for the stars to go.
    untimed : tuple of str
        Names of frames that were left out, as their headers tell no time.
    """

    files: ResultFiles
    merged: ResultFiles | None
    frames: int
    first: str
    last: str
    when: str
    x: float
    y: float
    ra_deg: float | None
    dec_deg: float | None
    arcsec_per_hour: float | None
    position_angle_deg: float | None
    moved_px: float
    by_light: bool
    error_px: float | None
    marks_off_px: float | None
    rejected_percent: float | None
    stars_stay: bool
    untimed: tuple[str, ...]

    @property
    def told(self) -> str:
        """How it moves, in words."""
        rate = "" if self.arcsec_per_hour is None else f", {self.arcsec_per_hour:.4g} arcsec an hour"
        angle = "" if self.position_angle_deg is None else f" towards {self.position_angle_deg:.1f} degrees"
        how = f"by its own light, to {self.error_px:.2f} px" if self.by_light else "as marked"
        return f"{self.moved_px:.1f} px from {self.first} to {self.last}{rate}{angle}, {how}"
