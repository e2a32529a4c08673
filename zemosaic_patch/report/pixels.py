# SPDX-License-Identifier: GPL-3.0-or-later
"""The pixels of a result: how many, how fine, and where on the sky."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from nanstack.canvas import Canvas

Corners = tuple[tuple[float, float], ...]  # x and y in a picture's pixels, one place after the other


@dataclass(frozen=True)
class Pixels:
    """The pixels of a result.

    Attributes
    ----------
    shape : (int, int)
        Height and width.
    scale_arcsec : float or None
        Arcseconds a pixel, in the middle; None where nothing tells it.
    like : str
        What they are chosen by: 'north up', or whose pixels they are.
    ra_deg, dec_deg : float or None
        Their middle; None where the place on the sky is not known.
    """

    shape: tuple[int, int]
    scale_arcsec: float | None
    like: str
    ra_deg: float | None
    dec_deg: float | None

    @classmethod
    def of(cls, canvas: Canvas, like: str, *, on_the_sky: bool, scale_known: bool) -> Pixels:
        """Return what is to be told of a canvas."""
        height, width = canvas.shape
        x, y, z = canvas.view.directions(np.array((width - 1) / 2), np.array((height - 1) / 2))
        ra, dec = np.degrees(np.arctan2(y, x)) % 360, np.degrees(np.arcsin(z))
        place = (round(float(ra), 5), round(float(dec), 5)) if on_the_sky else (None, None)
        scale = round(np.degrees(1 / canvas.view.focal) * 3600, 5) if scale_known else None
        return cls(canvas.shape, scale, like, *place)

    @property
    def told(self) -> str:
        """What they are, in words."""
        height, width = self.shape
        scale = "an unknown scale" if self.scale_arcsec is None else f"{self.scale_arcsec:.4g} arcsec"
        return f"{width} x {height} pixels of {scale}, {self.like}"
