# SPDX-License-Identifier: GPL-3.0-or-later
"""Registered frames straight onto a canvas of the sky."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace

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
from nanstack.stack.cells import SIDE, Cell, Layer, counted_from_origin, cut, empty, put, stack_cells
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
    channels = placed[0].channels
    layers = [Layer.of(one, canvas) for one in placed]
    cells = cut(layers)
    whole = empty(canvas.shape, channels)
    rejected = samples = 0
    stacked = heard(stack_cells(cells, layers, settings, memory=memory), len(cells), progress)
    for top, strip in strips(cells, stacked, canvas, channels):
        put(strip, np.s_[top : top + len(strip.image)], whole)
        rejected, samples = rejected + strip.rejected, samples + strip.samples
    if channels == 1:
        whole = replace(whole, image=whole.image[..., 0], variance=whole.variance[..., 0])
    return SkyStack(canvas, whole.image, whole.coverage, whole.weight, whole.variance, placed, rejected, samples)


def heard(stacked: Iterable[StackedCell], count: int, progress: Progress) -> Iterator[StackedCell]:
    """Give stacked cells on, and tell of each: the step 'stacking'."""
    progress.step("stacking", 0, count)
    for done, cell in enumerate(stacked, 1):
        yield cell
        progress.step("stacking", done, count)


def strips(
    cells: Sequence[Cell], stacked: Iterable[StackedCell], canvas: Canvas, channels: int
) -> Iterator[tuple[int, StackedCell]]:
    """Put stacked cells together to strips of a canvas as wide as it, from the top to the bottom.

    Parameters
    ----------
    cells : sequence of Cell
        As `nanstack.stack.cells.cut` gives them.
    stacked : iterable of StackedCell
        Of these, in their order; taken as they are needed.
    canvas : Canvas
    channels : int

    Yields
    ------
    top : int
        First row of the strip.
    strip : StackedCell
        All rows of the canvas come, each once; the numbers of samples are those of the strip's cells.
    """
    results = iter(stacked)
    waiting = deque(cells)
    whole = counted_from_origin(Box.whole(canvas.shape), canvas)
    for top in range(whole.top // SIDE * SIDE, whole.bottom, SIDE):
        box = Box(top, top + SIDE, whole.left, whole.right).common(whole)
        strip = empty(box.shape, channels)
        rejected = samples = 0
        while waiting and waiting[0].box.top < box.bottom:
            cell, result = waiting.popleft(), next(results)
            put(result, cell.box.within(box), strip)
            rejected, samples = rejected + result.rejected, samples + result.samples
        yield box.top - whole.top, replace(strip, rejected=rejected, samples=samples)
