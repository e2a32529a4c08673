# SPDX-License-Identifier: GPL-3.0-or-later
"""How the samples became an image."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from nanstack.report import shown
from nanstack.stack.noise_model import NoiseRejection
from nanstack.stack.tally import median_coverage, share_of_holes

if TYPE_CHECKING:
    from nanstack.settings import CanvasSettings
    from nanstack.stack.definition import Rejection
    from nanstack.stack.drizzle import Drizzle


@dataclass(frozen=True)
class Stacked:
    """How the samples became an image.

    Attributes
    ----------
    rejection : str
        'noise', or one of `nanstack.stack.definition.METHODS`.
    kappa : (float, float)
        Its reach below and above.
    combine, sky, weights : str
        As in `nanstack.settings.CanvasSettings`.
    drizzle : Drizzle or None
        How photosites dropped, where they did.
    rejected_percent : float or None
        Of the samples, those of trails among them: these go whatever the rejection, 'none' too.
    masked_samples, spared_samples : int
        Those left out because they show a trail; those that stay though they do, as no other frame shows the place.
    shown_percent : float
        Pixels of the canvas that show something.
    holes_percent : float or None
        Of the pixels that frames saw: those that no drop of some colour reached. None without a drizzle.
    coverage_median : float
        Frames in a pixel, where there are any.
    coverage_max : int
    cells, cells_kept : int
        Parts that the result is made of; how many of them were there already, from an earlier run.
    """

    rejection: str
    kappa: tuple[float, float]
    combine: str
    sky: str
    weights: str
    drizzle: Drizzle | None
    rejected_percent: float | None
    shown_percent: float
    holes_percent: float | None
    coverage_median: float
    coverage_max: int
    cells: int
    cells_kept: int
    masked_samples: int = 0
    spared_samples: int = 0

    @classmethod
    def of(
        cls,
        settings: CanvasSettings,
        coverage: np.ndarray,
        rejected: int,
        samples: int,
        cells: int = 1,
        cells_kept: int = 0,
        *,
        holes: int = 0,
        masked: int = 0,
        spared: int = 0,
    ) -> Stacked:
        """Return what is to be told of a stack.

        Parameters
        ----------
        settings : CanvasSettings
        coverage : ndarray of int, shape (n,)
            How many pixels show no frame, one, two ...: cells' counts added up.
        rejected, samples, cells, cells_kept, holes, masked, spared : int
        """
        rejection, kappa = _rejection(settings.rejection)
        return cls(
            rejection=rejection,
            kappa=kappa,
            combine=settings.combine,
            sky=settings.sky,
            weights=settings.weights,
            drizzle=settings.drizzle,
            rejected_percent=round(100 * rejected / samples, 4) if samples else None,
            shown_percent=round(100 * float(np.sum(coverage[1:])) / max(int(np.sum(coverage)), 1), 3),
            holes_percent=None if settings.drizzle is None else round(share_of_holes(coverage, holes), 4),
            coverage_median=float(median_coverage(coverage)),
            coverage_max=int(np.flatnonzero(coverage)[-1]) if np.any(coverage) else 0,
            cells=cells,
            cells_kept=cells_kept,
            masked_samples=masked,
            spared_samples=spared,
        )

    @property
    def drizzle_told(self) -> str:
        """How photosites dropped, in words; empty where they did not."""
        drizzle = self.drizzle
        if drizzle is None:
            return ""
        size = "" if drizzle.kernel == "point" else f" of {drizzle.pixfrac:g} of a photosite's side"
        finer = "as fine as the frames" if drizzle.scale == 1 else f"{drizzle.scale:g} times finer than the frames"
        return f"{finer}, drops{size} ({drizzle.kernel}); {shown(self.holes_percent, ' %')} of the pixels seen got none"


def _rejection(rejection: NoiseRejection | Rejection) -> tuple[str, tuple[float, float]]:
    """Return a rejection's name, and its reach below and above."""
    if isinstance(rejection, NoiseRejection):
        return "noise", (rejection.kappa, rejection.kappa)
    return rejection.method, (rejection.kappa_low, rejection.kappa_high)
