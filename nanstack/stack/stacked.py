# SPDX-License-Identifier: GPL-3.0-or-later
"""What comes of a cell of a canvas, or of a strip of them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class StackedCell:
    """A cell, stacked.

    Attributes
    ----------
    image : ndarray of float32, shape (h, w, C)
        In ADU; NaN where no frame has data.
    coverage : ndarray of uint16, shape (h, w)
        Number of frames with data.
    weight : ndarray of float32, shape (h, w)
        Sum of the weights of what was not rejected, the mean over the colours.
    variance : ndarray of float32, shape (h, w, C)
        Of the image, in ADU squared, by the noise of the frames; NaN where there is none.
    rejected, samples : int
        Number of samples rejected, and of all with data.
    masked, spared : int
        Number of those rejected because a mask covers them; and of those that stay though one does, as no other frame
        shows the place.
    holes : int
        Number of pixels that frames show, and that no drop of some colour reached, where photosites are dropped.
    """

    image: np.ndarray
    coverage: np.ndarray
    weight: np.ndarray
    variance: np.ndarray
    rejected: int
    samples: int
    holes: int = 0
    masked: int = 0
    spared: int = 0
