# SPDX-License-Identifier: GPL-3.0-or-later
"""The samples of a cell: outliers rejected, the rest averaged, and how sure the mean is."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from nanstack.levels.placed import PlacedFrame
from nanstack.settings import CanvasSettings
from nanstack.stack.stacked import StackedCell
from nanstack.stack.stacker import stack_frames


def combined(
    samples: np.ndarray, frames: Sequence[PlacedFrame], settings: CanvasSettings, inner: tuple[slice, slice]
) -> StackedCell:
    """Stack samples.

    Parameters
    ----------
    samples : ndarray of float32, shape (n, h, w, C)
        Levelled, NaN where a frame has no data; with the margin.
    frames : sequence of PlacedFrame
        What is known of each.
    settings : CanvasSettings
    inner : (slice, slice)
        The cell itself.
    """
    weights = np.array([frame.weight for frame in frames])
    stack = stack_frames(samples, settings.rejection, settings.combine, weights)
    have = np.isfinite(samples[..., 0])
    weight = np.tensordot(weights, have, 1)
    variances = np.array([frame.noise.variance for frame in frames])
    with np.errstate(invalid="ignore", divide="ignore"):
        variance = np.einsum("nc,nhw->hwc", weights[:, None] ** 2 * variances, have) / weight[..., None] ** 2
    part = np.s_[inner[0], inner[1]]
    coverage = stack.coverage[part][..., 0]
    return StackedCell(
        stack.image[part], np.ascontiguousarray(coverage), weight[part].astype(np.float32),
        variance[part].astype(np.float32), stack.rejected, stack.samples,
    )  # fmt: skip
