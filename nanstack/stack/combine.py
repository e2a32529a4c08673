# SPDX-License-Identifier: GPL-3.0-or-later
"""The samples of a cell: outliers rejected, the rest combined, and how sure the result is."""

from __future__ import annotations

from collections.abc import Sequence
from types import ModuleType

import numpy as np

from nanstack.compilation import where_numba_is
from nanstack.levels.placed import PlacedFrame
from nanstack.settings import CanvasSettings
from nanstack.stack import noise_model
from nanstack.stack.definition import Rejection
from nanstack.stack.noise_model import FrameNoise, NoiseRejection, mean_of_kept, share_of_center
from nanstack.stack.stacked import StackedCell
from nanstack.stack.stacker import stack_frames


def combined(
    samples: np.ndarray, frames: Sequence[PlacedFrame], settings: CanvasSettings, inner: tuple[slice, slice]
) -> StackedCell:
    """Stack samples.

    The variance is that of a mean, by the frames' noise, or that of a median; of the least or largest sample it is not
    known: NaN. After a rejection of `nanstack.stack.definition`, weight and variance are those of all samples, rejected
    or not.

    Parameters
    ----------
    samples : ndarray of float32, shape (n, h, w, C)
        Levelled, NaN where a frame has no data; with the margin.
    frames : sequence of PlacedFrame
        What is known of each.
    settings : CanvasSettings
    inner : (slice, slice)
        The cell itself.

    Raises
    ------
    ValueError
        For a weight that is not above 0.
    """
    known, rejection = FrameNoise.of(frames), settings.rejection
    if not isinstance(rejection, NoiseRejection):
        return _picked(samples, samples, known, rejection, settings.combine, inner)
    model = _kernels() or noise_model
    if settings.combine == "mean":
        return model.stack_noise(samples, known, rejection, inner)
    kept = np.where(model.outliers(samples, known, rejection), np.float32(np.nan), samples)
    return _picked(samples, kept, known, Rejection("none"), settings.combine, inner)


@where_numba_is("outliers are found by NumPy, much slower")
def _kernels() -> ModuleType:
    from nanstack.stack import noise_kernels

    return noise_kernels


def _picked(
    samples: np.ndarray, kept: np.ndarray, known: FrameNoise, rejection: Rejection, combine: str, inner: tuple
) -> StackedCell:
    """Stack what is kept of samples as `nanstack.stack.definition` says."""
    samples, kept = (np.ascontiguousarray(part[:, inner[0], inner[1]]) for part in (samples, kept))
    stack = stack_frames(kept, rejection, combine, known.weight)
    mean = mean_of_kept(kept, np.zeros(kept.shape, bool), known)
    counts = np.isfinite(samples).sum(axis=0)
    left = np.isfinite(kept).sum(axis=0)
    variance = {"mean": lambda: mean.variance, "median": lambda: _variance_of_median(kept, left, known)}
    return StackedCell(
        stack.image, counts[..., 0].astype(np.uint16), mean.weight.mean(axis=2).astype(np.float32),
        variance.get(combine, lambda: np.full(left.shape, np.nan))().astype(np.float32),
        stack.rejected + int((counts - left).sum()), int(counts.sum()),
    )  # fmt: skip


def _variance_of_median(kept: np.ndarray, left: np.ndarray, known: FrameNoise) -> np.ndarray:
    equal = known._replace(weight=np.ones_like(known.weight))
    of_mean = mean_of_kept(kept, np.zeros(kept.shape, bool), equal).variance
    return of_mean * np.where(left > 2, left * share_of_center(left), 1.0)
