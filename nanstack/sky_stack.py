# SPDX-License-Identifier: GPL-3.0-or-later
"""Registered frames straight onto a canvas of the sky."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from nanstack.canvas import Canvas, canvas_like, reference_canvas, union_canvas
from nanstack.crew import Crew
from nanstack.levels.common_sky import common_sky, dark_skies
from nanstack.levels.flats import flat_on_canvas
from nanstack.levels.flux import flux_gains
from nanstack.levels.frame_weights import blurs, frame_weights
from nanstack.levels.placed import PlacedFrame
from nanstack.levels.sample_noise import sample_noises
from nanstack.levels.sky_told import SkyTold
from nanstack.memory import memory_budget
from nanstack.progress import Progress, Quiet
from nanstack.register.mesh import Box
from nanstack.register.reference import best_reference
from nanstack.register.registered import RegisteredFrame
from nanstack.register.trails import trail_masks, trails_of
from nanstack.register.warp import noise_left
from nanstack.session import open_session
from nanstack.settings import CanvasSettings
from nanstack.stack.cells import (
    SIDE,
    Cell,
    counted_from_origin,
    cut,
    empty,
    layers_of,
    put,
    stack_cells,
    stacked_bytes,
)
from nanstack.stack.drizzled import correlation, grid_of
from nanstack.stack.elsewhere import stack_elsewhere
from nanstack.stack.kept import NUMBERS, KeptCells
from nanstack.stack.stacked import StackedCell
from nanstack.survey.taken import Taken, taken_of_frames

if TYPE_CHECKING:
    from astropy.wcs import WCS

STRIP_BYTES = 8 * 2**20  # of the rows that are given on at once


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
    correlation : ndarray of float64, shape (C,)
        How much larger the variance of a mean over many pixels is than that of independent ones, by channel.
    frames : list of PlacedFrame
    sky : SkyTold or None
        What is known of their common sky.
    rejected, samples, holes, masked, spared : int
        Samples rejected, and all of them; pixels of those that frames show which no drop reached; samples of those
        rejected that masks cover, and such as stay, as no other frame shows the place.
    wcs : astropy.wcs.WCS or None
        The place of the pixels on the sky, where that is known.
    left_out : dict
        Path of a file that was not stacked: why.
    """

    canvas: Canvas
    image: np.ndarray
    coverage: np.ndarray
    weight: np.ndarray
    variance: np.ndarray
    correlation: np.ndarray
    frames: list[PlacedFrame] = field(repr=False)
    sky: SkyTold | None = field(default=None, repr=False)
    rejected: int = 0
    samples: int = 0
    holes: int = 0
    masked: int = 0
    spared: int = 0
    wcs: WCS | None = field(default=None, repr=False)
    left_out: dict[Path, str] = field(default_factory=dict, repr=False)

    @property
    def taken(self) -> Taken:
        """How its frames were taken."""
        return taken_of_frames([one.frame.facts for one in self.frames])


class OnOneSky(NamedTuple):
    """Frames as they go onto a canvas, and what is known of their common sky."""

    frames: list[PlacedFrame]
    sky: SkyTold | None


def placed_on(frames: Sequence[RegisteredFrame], canvas: Canvas, settings: CanvasSettings) -> OnOneSky:
    """Return registered frames as they go onto a canvas: gains, levels, noise, and weights found for all at once.

    They come in one order, whatever the one given, and their names: that of their digests.
    """
    frames = sorted(frames, key=lambda frame: frame.survey.digest)
    gains = flux_gains(frames, canvas)
    levels, sky = common_sky(frames, gains, canvas, settings.sky)
    dark = dark_skies(frames, gains, canvas, levels)
    taps = [noise_left(frame.facts.pattern, gains.shape[1], settings.interpolation) for frame in frames]
    noises = sample_noises(frames, gains, dark, taps)
    weights = frame_weights(frames, gains, settings.weights)
    flats = [flat_on_canvas(frame, canvas) for frame in frames]
    each = (
        frames,
        gains,
        levels,
        weights.tolist(),
        noises,
        blurs(frames, grid_of(canvas, settings.drizzle)).tolist(),
        flats,
    )
    return OnOneSky([PlacedFrame(*one) for one in zip(*each, strict=True)], sky)


def with_trails(placed: Sequence[PlacedFrame]) -> list[PlacedFrame]:
    """Return frames with their trails, of which all together tell, masked."""
    trails = trails_of([one.frame for one in placed])
    return [
        replace(one, trails=own, masked=np.concatenate([one.masked, trail_masks(own)]))
        for one, own in zip(placed, trails, strict=True)
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
    settings = settings or CanvasSettings()
    if not frames:
        raise ValueError("frames: there are none")
    placed, sky = placed_on(frames, canvas, settings)
    return stacked_on(canvas, with_trails(placed), sky, settings, memory=memory, progress=progress)


def stacked_on(
    canvas: Canvas,
    placed: list[PlacedFrame],
    sky: SkyTold | None,
    settings: CanvasSettings,
    *,
    memory: int | None = None,
    progress: Progress | None = None,
) -> SkyStack:
    """Stack frames as they go onto a canvas: see `stack_on_canvas`."""
    whole = empty(canvas.shape, placed[0].channels)
    numbers = np.zeros(len(NUMBERS), dtype=np.int64)
    for top, strip in stacked_strips(canvas, placed, settings, memory=memory, progress=progress):
        put(strip, np.s_[top : top + len(strip.image), :], whole)
        numbers += [getattr(strip, name) for name in NUMBERS]
    if placed[0].channels == 1:
        whole = replace(whole, image=whole.image[..., 0], variance=whole.variance[..., 0])
    planes = whole.image, whole.coverage, whole.weight, whole.variance
    alike = correlation(placed, canvas, settings)
    counted = dict(zip(NUMBERS, numbers.tolist(), strict=True))
    return SkyStack(canvas, *planes, alike, placed, sky, **counted, wcs=canvas.wcs())


def stack_files(
    paths: Sequence[Path | str],
    settings: CanvasSettings | None = None,
    *,
    canvas: str | Path = "all",
    scale: float | None = None,
    folder: Path | None = None,
    memory: int | None = None,
    progress: Progress | None = None,
) -> SkyStack:
    """Stack frame files: survey and register them, and put them on a canvas of the sky.

    Parameters
    ----------
    paths : sequence of paths
        FITS or .npy, raw as the sensor recorded them or in colour; in any order: it changes nothing.
    settings : CanvasSettings, optional
    canvas : {'all', 'reference'} or path
        North up and as large as shows all frames; the pixels of the most central frame; or those of another image,
        which must have a place on the sky.
    scale : float, optional
        Arcseconds a pixel of a canvas that shows all; by default those of the usual frame.
    folder : Path, optional
        Keeps the surveys, so that no file is surveyed twice.
    memory : int, optional
        Bytes that the cells in work may take together. No influence on the result.
    progress : Progress, optional
        Hears of the steps 'surveying frames', 'registering frames' and 'stacking' (cells).

    Raises
    ------
    ValueError
        Where none of the files can be used, or no canvas shows them all.
    nanstack.io.frames.FrameError
        For a file that cannot be read any more, or whose pixels cannot be taken.
    """
    settings = settings or CanvasSettings()
    if settings.drizzle is not None and (canvas != "all" or scale is not None):
        raise ValueError("a drizzle says what scale the canvas has, which must be 'all': give no other")
    finer = 1.0 if settings.drizzle is None else settings.drizzle.scale
    session = open_session([Path(path) for path in paths], folder=folder, progress=progress)
    if not session.frames:
        first = next((f": {path}: {reason}" for path, reason in session.left_out.items()), "")
        raise ValueError(f"none of {len(paths)} files can be stacked{first}")
    stack = stack_on_canvas(
        session.frames, canvas_for(session.frames, canvas, scale, finer), settings, memory=memory, progress=progress
    )
    somewhere = session.place is not None and session.place.how != "unknown"
    return replace(stack, wcs=stack.wcs if somewhere else None, left_out=session.left_out)


def canvas_for(
    frames: Sequence[RegisteredFrame], kind: str | Path = "all", scale: float | None = None, finer: float = 1.0
) -> Canvas:
    """Return the canvas that is asked for: see `stack_files`; of 'all', the pixels may be finer."""
    if kind == "all":
        return union_canvas([frame.view for frame in frames], scale=scale, finer=finer)
    if kind == "reference":
        return reference_canvas(frames[best_reference(frames)].view)
    return canvas_like(Path(kind))


def stacked_strips(
    canvas: Canvas,
    placed: Sequence[PlacedFrame],
    settings: CanvasSettings,
    *,
    memory: int | None = None,
    kept: KeptCells | None = None,
    progress: Progress | None = None,
    crew: Crew | None = None,
) -> Iterator[tuple[int, StackedCell]]:
    """Stack frames on a canvas, strip by strip from the top: what `strips` gives, while the next cells are in work.

    Parameters
    ----------
    canvas : Canvas
    placed : sequence of PlacedFrame
        At least one.
    settings : CanvasSettings
    memory : int, optional
        Bytes that the cells in work may take together. No influence on the result.
    kept : KeptCells, optional
        Cells that are there are not stacked again, others are kept there.
    progress : Progress, optional
        Hears of the step 'stacking' (cells).
    crew : Crew, optional
        Stacks the cells that are not kept, instead of this process's threads; `kept` is needed, in a folder that all
        see.
    """
    layers = layers_of(placed, canvas, settings)
    cells = cut(layers)
    left = _beside_a_row(canvas, placed[0].channels, memory_budget() if memory is None else memory)
    if crew is None or kept is None:
        stacked = stack_cells(cells, layers, settings, memory=left, kept=kept)
    else:
        stacked = stack_elsewhere(cells, layers, settings, kept, crew)
    yield from strips(cells, _heard(stacked, len(cells), progress or Quiet()), canvas, placed[0].channels)


def _beside_a_row(canvas: Canvas, channels: int, memory: int) -> int:
    """Return the bytes that cells in work may take beside a row of finished ones, as wide as the canvas."""
    row, most = stacked_bytes((SIDE, canvas.shape[1]), channels), memory_budget()
    if row > most:
        raise ValueError(
            f"a canvas {canvas.shape[1]} pixels wide takes {row / 2**20:.0f} MiB of memory for a strip of it, and "
            f"{most / 2**20:.0f} MiB can be had: end other programs, choose a coarser scale, or make several pictures"
        )
    return max(0, memory - row)


def _heard(stacked: Iterable[StackedCell], count: int, progress: Progress) -> Iterator[StackedCell]:
    """Give stacked cells on, and tell of each: the step 'stacking'."""
    progress.step("stacking", 0, count)
    for done, cell in enumerate(stacked, 1):
        progress.step("stacking", done, count)
        yield cell


def strips(
    cells: Sequence[Cell], stacked: Iterable[StackedCell], canvas: Canvas, channels: int
) -> Iterator[tuple[int, StackedCell]]:
    """Put stacked cells together to strips of a canvas as wide as it, from the top to the bottom.

    Parameters
    ----------
    cells : sequence of Cell
        As `nanstack.stack.cells.cut` gives them.
    stacked : iterable of StackedCell
        Of these, in their order; taken as they are needed, and to the end.
    canvas : Canvas
    channels : int

    Yields
    ------
    top : int
        First row of the strip.
    strip : StackedCell
        All rows of the canvas come, each once, a few at a time, so that memory holds a row of cells and little more;
        of the strips that cells share, the first one has their numbers of samples.
    """
    results = iter(stacked)
    waiting = deque(cells)
    whole = counted_from_origin(Box.whole(canvas.shape), canvas)
    for top in range(whole.top // SIDE * SIDE, whole.bottom, SIDE):
        box = Box(top, top + SIDE, whole.left, whole.right).common(whole)
        row = []
        while waiting and waiting[0].on_canvas.top < box.bottom:
            row.append((waiting.popleft().on_canvas, next(results)))
        for strip_box, strip in _in_strips(row, box, channels):
            yield strip_box.top - whole.top, strip
    deque(results, maxlen=0)  # there are no more: what stacks them comes to its end, and tidies up


def _in_strips(cells: Sequence[tuple[Box, StackedCell]], row: Box, channels: int) -> Iterator[tuple[Box, StackedCell]]:
    """Give a row of cells as strips, which are no higher than memory for them asks for."""
    height = max(1, STRIP_BYTES // stacked_bytes((1, row.shape[1]), channels))
    numbers = {name: sum(getattr(cell, name) for _, cell in cells) for name in NUMBERS}
    for top in range(row.top, row.bottom, height):
        box = Box(top, top + height, row.left, row.right).common(row)
        strip = empty(box.shape, channels)
        for place, cell in cells:
            part = place.common(box)
            put(cell, part.within(box), strip, part.within(place))
        yield box, replace(strip, **numbers) if top == row.top else strip
