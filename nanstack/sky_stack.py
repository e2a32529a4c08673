# SPDX-License-Identifier: GPL-3.0-or-later
"""Registered frames straight onto a canvas of the sky."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from nanstack.canvas import Canvas
from nanstack.levels.common_sky import common_sky
from nanstack.levels.flux import flux_gains
from nanstack.levels.frame_weights import blurs, frame_weights
from nanstack.levels.placed import PlacedFrame
from nanstack.levels.sample_noise import sample_noises
from nanstack.progress import Progress, Quiet
from nanstack.register.mesh import Box
from nanstack.register.registered import RegisteredFrame
from nanstack.register.warp import noise_left
from nanstack.settings import CanvasSettings
from nanstack.stack.cells import Layer, cut, stack_cells
from nanstack.stack.stacked import StackedCell


@dataclass(frozen=True)
class SkyStack:
    """Frames stacked on a canvas.

    Attributes
    ----------
    canvas : Canvas
    image : ndarray of float32, shape (H, W) or (H, W, 3)
        In ADU; NaN where no frame has data.
    coverage : ndarray of uint16, shape (H, W)
        Number of frames in each pixel.
    weight : ndarray of float32, shape (H, W)
        Sum of the weights of the frames that count there; 1 is the usual frame.
    variance : ndarray of float32, same shape as `image`
        Of each pixel, in ADU squared, by the noise of the frames.
    frames : list of PlacedFrame
    rejected, samples : int
    """

    canvas: Canvas
    image: np.ndarray
    coverage: np.ndarray
    weight: np.ndarray
    variance: np.ndarray
    frames: list[PlacedFrame] = field(repr=False)
    rejected: int = 0
    samples: int = 0


def placed_on(frames: Sequence[RegisteredFrame], canvas: Canvas, settings: CanvasSettings) -> list[PlacedFrame]:
    """Return registered frames as they go onto a canvas: gains, levels, noise, and weights found for all at once."""
    gains = flux_gains(frames, canvas)
    levels = common_sky(frames, gains, canvas, settings.sky)
    skies = [np.nanmedian(np.reshape(f.survey.sky, (-1, gains.shape[1])), axis=0) for f in frames]
    dark = np.array(skies) * gains + [level.offset for level in levels]
    taps = [noise_left(frame.facts.pattern, gains.shape[1], settings.interpolation) for frame in frames]
    noises = sample_noises(frames, gains, dark, taps)
    weights = frame_weights(frames, gains, settings.weights)
    return [
        PlacedFrame(*one)
        for one in zip(frames, gains, levels, weights.tolist(), noises, blurs(frames).tolist(), strict=True)
    ]


def stack_on_canvas(
    frames: Sequence[RegisteredFrame],
    canvas: Canvas,
    settings: CanvasSettings | None = None,
    *,
    memory: int | None = None,
    progress: Progress | None = None,
) -> SkyStack:
    """Stack registered frames on a canvas, and keep the result in memory.

    Parameters
    ----------
    frames : sequence of RegisteredFrame
        All of one number of channels.
    canvas : Canvas
    settings : CanvasSettings, optional
    memory : int, optional
        Bytes that the cells in work may take together. No influence on the result.
    progress : Progress, optional
        Hears of the step 'stacking' (cells).

    Raises
    ------
    ValueError
        For no frames.
    nanstack.io.frames.FrameError
        For a file that cannot be read any more, or has changed.
    """
    settings, progress = settings or CanvasSettings(), progress or Quiet()
    if not frames:
        raise ValueError("frames: there are none")
    placed = placed_on(frames, canvas, settings)
    layers = [Layer.of(one, canvas) for one in placed]
    cells = cut(canvas, layers, placed[0].channels)
    whole = _empty(canvas, placed)
    rejected = samples = 0
    for done, (cell, stacked) in enumerate(
        zip(cells, stack_cells(cells, layers, settings, memory=memory), strict=True), 1
    ):
        _put(stacked, cell.box.within(Box.whole(canvas.shape)), whole)
        rejected, samples = rejected + stacked.rejected, samples + stacked.samples
        progress.step("stacking", done, len(cells))
    if placed[0].channels == 1:
        whole = StackedCell(whole.image[..., 0], whole.coverage, whole.weight, whole.variance[..., 0], 0, 0)
    return SkyStack(canvas, whole.image, whole.coverage, whole.weight, whole.variance, placed, rejected, samples)


def _empty(canvas: Canvas, placed: Sequence[PlacedFrame]) -> StackedCell:
    """Return a canvas on which nothing is shown."""
    colours = (*canvas.shape, placed[0].channels)
    nothing = np.full(colours, np.nan, np.float32)
    return StackedCell(
        nothing, np.zeros(canvas.shape, np.uint16), np.zeros(canvas.shape, np.float32), nothing.copy(), 0, 0
    )


def _put(cell: StackedCell, place: tuple[slice, slice], whole: StackedCell) -> None:
    """Put a cell's planes where they belong."""
    for name in ("image", "coverage", "weight", "variance"):
        getattr(whole, name)[place] = getattr(cell, name)
