# SPDX-License-Identifier: GPL-3.0-or-later
"""One group of frames to one tile: aligned, matched in sky level, stacked, and measured."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from nanstack.levels import photometry
from nanstack.levels.colour import ColourBalance, equalize_medians
from nanstack.levels.sky import SkyMatch
from nanstack.memory import Scratch
from nanstack.progress import Progress, Quiet
from nanstack.register.alignment import Alignment, FrameSource, align_frames
from nanstack.report import FrameReport, Measures, TileReport, known
from nanstack.settings import TileSettings
from nanstack.stack.plan import StackPlan, plan_stack
from nanstack.stack.stacker import Stack, Weights, stack_frames

if TYPE_CHECKING:
    from astropy.wcs import WCS

    from nanstack.stack.device import GpuError
    from nanstack.stack.gpu import BlockLimits

Read = Callable[[], tuple[np.ndarray, np.ndarray | None]]
Keep = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class StackedGroup:
    """Aligned frames, stacked.

    Attributes
    ----------
    stack : Stack
    plan : StackPlan
        What it was made of.
    device : {'cpu', 'gpu'}
        What it was made on.
    colour : ColourBalance
        What the colour equalisation did to it.
    """

    stack: Stack
    plan: StackPlan
    device: str
    colour: ColourBalance

    @property
    def image(self) -> np.ndarray:
        """The stack's image."""
        return self.stack.image

    @property
    def coverage(self) -> np.ndarray:
        """Number of frames in each pixel, that of the channel with the fewest: uint16 (H, W)."""
        coverage = self.stack.coverage
        return coverage if coverage.ndim == 2 else coverage.min(axis=2)


@dataclass(frozen=True)
class MosaicTile:
    """A tile of a mosaic, read when it is needed.

    Attributes
    ----------
    name : str
    shape : tuple of int
        (H, W) or (H, W, C).
    wcs : astropy.wcs.WCS
    read : callable
        Returns the image, of that shape, in ADU, NaN where there is no data; and the coverage, (H, W), the number of
        frames in each pixel, or None: one everywhere.
    """

    name: str
    shape: tuple[int, ...]
    wcs: WCS
    read: Read


@dataclass(frozen=True)
class Tile:
    """A stacked group on the reference's pixels.

    Attributes
    ----------
    image : ndarray of float32, shape (H, W) or (H, W, 3)
        In ADU; NaN where no frame has data.
    coverage : ndarray of uint16, shape (H, W)
        Number of frames in each pixel.
    wcs : astropy.wcs.WCS or None
        Of its pixels; None where nobody knows it.
    alignments : list of nanstack.register.alignment.Alignment
        One a frame, also for those that failed, with the reason.
    report : TileReport
    colour : ColourBalance
    """

    image: np.ndarray
    coverage: np.ndarray
    wcs: WCS | None
    alignments: list[Alignment] = field(repr=False)
    report: TileReport = field(repr=False)
    colour: ColourBalance = field(default_factory=ColourBalance, repr=False)

    def for_mosaic(self, name: str) -> MosaicTile:
        """Return the tile as `nanstack.make_mosaic` takes it."""
        return MosaicTile(name, self.image.shape, self.wcs, lambda: (self.image, self.coverage))


def make_tile(
    frames: Sequence[FrameSource],
    reference: int = 0,
    settings: TileSettings | None = None,
    *,
    wcs: WCS | None = None,
    names: Sequence[str] | None = None,
    weights: Weights | None = None,
    progress: Progress | None = None,
    **changes: Any,
) -> Tile:
    """Align a group of frames on one of them, match their skies, reject outliers, and average what is left.

    Parameters
    ----------
    frames : sequence of ndarray or callable; all (H, W) or all (H, W, 3)
        Samples in ADU, not modified, or what returns them, each aligned on the reference for itself. A frame that
        cannot be used is left out, and `alignments` says why. (Files are stacked by `nanstack.stack_files`.)
    reference : int
        Which of them gives the tile its pixels, and its WCS.
    settings : TileSettings, optional
    wcs : astropy.wcs.WCS, optional
        The solution of the reference: the tile's.
    names : sequence of str, optional
        Of the frames, for report and warnings.
    weights : sequence, optional
        One a frame, as for `nanstack.stack.stacker.stack_frames`, in place of those that `settings.weight` measures.
    progress : Progress, optional
        Hears of the steps 'aligning' (frames) and 'stacking' (rows).
    **changes
        Fields of `TileSettings` that differ: ``make_tile(frames, match="plane")``.

    Returns
    -------
    Tile

    Raises
    ------
    ValueError
        For no frames, names of files, a reference that is no image, settings out of range, or weights that are not one
        a frame.
    """
    settings = replace(settings or TileSettings(), **changes)
    progress = progress or Quiet()
    if isinstance(frames, (str, Path)) or any(isinstance(frame, (str, Path)) for frame in frames):
        raise ValueError("frames must be samples: files are stacked by nanstack.stack_files")
    if not len(frames):
        raise ValueError("frames: there are none")
    if weights is not None and len(weights) != len(frames):
        raise ValueError(f"weights must be {len(frames)}, one a frame, not {len(weights)}")
    if not 0 <= reference < len(frames):
        raise ValueError(f"reference {reference!r} names none of the {len(frames)} frames")
    sources: list[Any] = list(frames)
    if callable(sources[reference]):
        sources[reference] = sources[reference]()  # read once, for the alignment and for what is measured
    names = names or [f"frame {index}" for index in range(len(sources))]

    def aligned(keep: Keep) -> Iterator[tuple[Alignment, np.ndarray | None]]:
        interpolation = settings.interpolation
        return align_frames(sources, reference, interpolation=interpolation, finish=lambda image, _: keep(image))

    return _stacked_tile(aligned, names, settings, wcs, weights, progress)


def _stacked_tile(
    align: Callable[[Keep], Iterator[tuple[Alignment, np.ndarray | None]]],
    names: Sequence[str],
    settings: TileSettings,
    wcs: WCS | None,
    weights: Weights | None,
    progress: Progress,
) -> Tile:
    """Stack what comes aligned, frame by frame, and say what is known of it."""
    started = time.perf_counter()
    with Scratch() as scratch:
        alignments, images = [], []
        for alignment, image in align(scratch.keeper(len(names))):
            alignments.append(alignment)
            images.append(image)
            if not alignment.ok:
                progress.warn(f"{names[alignment.index]}: {alignment.reason}; left out")
            progress.step("aligning", len(images), len(names))
        order = stacking_order(alignments)
        if not order or alignments[order[0]].method != "reference":
            raise ValueError("the reference cannot be read: see above")
        seconds_align = time.perf_counter() - started
        own_weights = None if weights is None else [weights[index] for index in order]
        stacked = stack_group([images[index] for index in order], settings, progress, weights=own_weights)
        seconds_stack = time.perf_counter() - started - seconds_align
        report = describe(alignments, names, stacked, images[order[0]])
    report = replace(
        report, settings=asdict(settings), seconds_align=round(seconds_align, 3), seconds_stack=round(seconds_stack, 3)
    )
    warn_unmatched(report, progress)
    return Tile(stacked.image, stacked.coverage, wcs, alignments, report, stacked.colour)


def stacking_order(alignments: Sequence[Alignment]) -> list[int]:
    """Return the places of the frames that were aligned in the order in which they are stacked: the reference first."""
    good = [alignment for alignment in alignments if alignment.ok]
    return [alignment.index for alignment in sorted(good, key=lambda one: one.method != "reference")]


def stack_group(
    frames: Sequence[np.ndarray],
    settings: TileSettings,
    progress: Progress | None = None,
    *,
    weights: Weights | None = None,
    limits: BlockLimits | None = None,
    fell_back: Callable[[GpuError], None] | None = None,
) -> StackedGroup:
    """Stack aligned frames as the settings say; on the CPU, where the GPU cannot.

    Parameters
    ----------
    frames : sequence of ndarray, all (H, W) or all (H, W, 3)
        The first one is the reference.
    settings : TileSettings
    progress : Progress, optional
        Hears of the step 'stacking' (rows).
    weights : optional
        See `nanstack.stack.plan.plan_stack`.
    limits : nanstack.stack.gpu.BlockLimits, optional
        Of the GPU.
    fell_back : callable, optional
        Hears why the GPU could not; by default a warning, unless there is none and `settings.gpu` is 'auto'.

    Raises
    ------
    ValueError
        For no frames, frames that differ in shape, or weights that do not fit.
    """
    progress = progress or Quiet()
    plan = plan_stack(frames, settings, weights)

    def rows(done: int, total: int) -> None:
        progress.step("stacking", done, total)

    stack, device = None, "cpu"
    if settings.gpu != "off":
        from nanstack.stack.device import GpuError, stack_on_gpu  # here, as runs without a GPU need nothing of it

        try:
            stack, device = stack_on_gpu(plan, rows, limits), "gpu"
        except GpuError as error:
            if fell_back is not None:
                fell_back(error)
            elif settings.gpu == "on" or error.kind != "unavailable":
                progress.warn(f"the GPU is not used: {error}; the tile is stacked on the CPU")
    if stack is None:
        stack = stack_frames(plan.frames, plan.rejection, plan.combine, plan.weights, rows, levels=plan.levels)
    colour = equalize_medians(stack.image) if settings.equalize else ColourBalance()
    return StackedGroup(stack, plan, device, colour)


# --- what is known of a tile ------------------------------------------------------------------------------------------


def describe(
    alignments: Sequence[Alignment], names: Sequence[str], stacked: StackedGroup, reference: np.ndarray
) -> TileReport:
    """Return what is known of a tile, of its frames, and of the samples rejected.

    Parameters
    ----------
    alignments : sequence of Alignment
    names : sequence of str
        Of the frames.
    stacked : StackedGroup
    reference : ndarray
        The reference's samples, whose sky and noise the other frames and the tile are held against.
    """
    with ThreadPoolExecutor(1) as pool:  # medians let go of the interpreter
        sky = pool.submit(photometry.sky_level, reference)
        measures = measure(stacked.image, stacked.coverage, reference)
    order = stacking_order(alignments)
    plan = stacked.plan
    levels = dict(zip(order, plan.levels or [None] * len(order), strict=True))
    weights = dict(zip(order, plan.frame_weights() or [None] * len(order), strict=True))
    offsets = [abs(offset) for level in levels.values() for offset in _offsets(level)]
    rms = [alignment.rms for alignment in alignments if alignment.method == "stars"]
    return TileReport(
        frames_given=len(alignments),
        frames_aligned=len(order),
        frames_failed={names[a.index]: a.reason for a in alignments if not a.ok},
        reference=next((names[a.index] for a in alignments if a.method == "reference"), None),
        rms_px_median=known(np.median(rms)) if rms else None,
        rms_px_max=known(max(rms)) if rms else None,
        rejection=plan.rejection.method,
        stacked_on=stacked.device,
        rejected_percent=known(100 * stacked.stack.rejected_fraction),
        sky_matched_by=plan.levelled_by,
        sky_offset_adu_max=known(max(offsets, default=math.nan)),
        sky_unmatched=tuple(names[index] for index, level in levels.items() if level is not None and level.cells == 0),
        frames=tuple(
            _frame_report(a, names[a.index], levels.get(a.index), sky.result(), weights.get(a.index))
            for a in alignments
        ),
        **vars(measures),
    )


def warn_unmatched(report: TileReport, progress: Progress) -> None:
    """Say which frames keep their own sky, as they have no pixel in common with the reference."""
    for name in report.sky_unmatched:
        progress.warn(f"{name}: not matched in sky level, as it has too little in common with {report.reference}")


def _offsets(level: SkyMatch | None) -> list[float]:
    """Return what was added to a frame, after its gain, in the middle, a number a channel; nothing where none was."""
    return [] if level is None else np.atleast_1d(level.offset).tolist()


def _frame_report(
    alignment: Alignment, name: str, level: SkyMatch | None, sky: np.ndarray, weight: float | None
) -> FrameReport:
    """Return what is known of a frame: how it was aligned, what it counts for, how its sky was matched."""
    report = FrameReport(
        name=name,
        method=alignment.method,
        stars_found=alignment.found,
        stars_matched=alignment.stars,
        rms_px=known(alignment.rms),
        fwhm_px=known(alignment.fwhm),
        weight=None if weight is None else known(weight),
        reason=alignment.reason,
    )
    if alignment.ok:
        (a, _, x), (c, _, y) = alignment.transform
        report = replace(
            report,
            shift_px=(known(x), known(y)),
            rotation_deg=known(math.degrees(math.atan2(c, a))),
            scale=known(math.hypot(a, c)),
        )
    return report if level is None else replace(report, **_level_report(level, sky))


def _level_report(level: SkyMatch, sky: np.ndarray) -> dict[str, Any]:
    """Return the fields of a frame's report that say how its sky was matched."""
    told: dict[str, Any] = {"sky_offset_adu": tuple(known(offset) for offset in _offsets(level))}
    if level.cells != 0:
        told["sky_adu"] = tuple(known(own) for own in np.atleast_1d((sky - level.offset) / level.gain))
    gain, *slopes = (np.atleast_1d(value) for value in (level.gain, level.slope_x, level.slope_y))
    if (gain != 1).any():
        told["sky_gain"] = tuple(known(value) for value in gain)
    if np.any(slopes):
        told["sky_slope_adu_per_px"] = tuple(tuple(known(value) for value in slope) for slope in slopes)
    return told


def measure(image: np.ndarray, coverage: np.ndarray, reference: np.ndarray) -> Measures:
    """Return what can be measured on a tile: coverage, noise against its reference frame, band metric.

    Noise is compared where the coverage is at least 90 % of its maximum.

    Parameters
    ----------
    image, reference : ndarray, (H, W) or (H, W, 3)
    coverage : ndarray of int, shape (H, W)
    """
    well_covered = coverage >= photometry.HIGH_COVERAGE * coverage.max()
    with ThreadPoolExecutor(1) as pool:  # medians let go of the interpreter
        levels = pool.map(photometry.noise_level, (image, reference), (well_covered, well_covered))
        band = photometry.band_metric(image, coverage)
        noise, single = levels
    noise = np.where(noise > 0, noise, np.nan)  # below one step of the numbers, nothing is measured
    ratio = float(np.mean(noise / single)) if np.all(single > 0) else math.nan
    return Measures(
        shape=tuple(image.shape),
        coverage_min=int(coverage.min()),
        coverage_median=float(np.median(coverage)),
        coverage_max=int(coverage.max()),
        noise_adu=known(np.mean(noise)),
        noise_against_one_frame=known(ratio),
        band_metric_adu=known(band),
    )
