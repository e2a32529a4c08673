# SPDX-License-Identifier: GPL-3.0-or-later
"""What a run warns of, or refuses, once it knows its frames: where the result will not be what its user expects."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from nanstack.canvas import Canvas
from nanstack.levels.frame_weights import width_of_mean
from nanstack.levels.placed import PlacedFrame
from nanstack.levels.sky_told import SkyTold
from nanstack.progress import Progress
from nanstack.register.camera import ARCSEC
from nanstack.register.registered import RegisteredFrame
from nanstack.session import Session
from nanstack.settings import CanvasSettings
from nanstack.stack.drizzle import Drizzle
from nanstack.stack.noise_model import NoiseRejection
from nanstack.stack.tally import Tally, median_coverage, share_of_holes
from zemosaic_patch import catalogue
from zemosaic_patch.errors import FailureError, UsageError
from zemosaic_patch.options.runs import CanvasChoice
from zemosaic_patch.report.registration import Registered
from zemosaic_patch.sky_words import covered_frames
from zemosaic_patch.solve.placing import tells_nothing
from zemosaic_patch.solve.programs import solvers

TWO_SCALES = 1.2  # frames whose pixels differ by more were taken with different cameras or optics
COARSE = 1.3  # pixels so much wider than a frame's own pass over much of what it saw
ABSURD = 10.0  # times the frames' scale, and the tenth of it: nobody means a picture of that
MANY_REJECTED = 5.0  # percent of the samples: good frames lose one or two
INSTALL = "install solve-field or ASTAP"
INSTALL_ANY = f'pip install "zemosaic-patch[solve]", or {INSTALL}'  # the catalogue wants a pointing
MANY_HOLES = 0.5  # percent of the pixels that frames saw: fewer are the rims, where one or two frames are
STRICT = 2.5  # kappa from which down good samples are rejected by the hundred


def of_place(
    session: Session, registered: Registered, choice: CanvasChoice, progress: Progress, *, tries: bool
) -> None:
    """Say how far the place on the sky can be trusted, where a run tries to find it, and what would find it.

    Raises
    ------
    FailureError
        Where another image's pixels are wanted, and nobody knows the place.
    """
    would_help = not solvers() and not tells_nothing(frame.survey for frame in session.frames)  # else it was said why
    if choice.like is not None and not registered.on_the_sky:
        missing = "--like needs the place on the sky, which "
        if not tries:
            raise FailureError(missing + "no frame's header tells: the command mosaic looks for it, with --like too")
        raise FailureError(f"{missing}nobody knows: {INSTALL if would_help else 'leave --like out'}")
    if registered.approximate and tries:
        install = INSTALL_ANY if registered.on_the_sky and not catalogue.is_installed() else INSTALL
        remedy = f"; {install}, and --resume" if would_help else ""
        progress.warn(f"place on the sky: {registered.place_told}{remedy}")


def check_scale(session: Session, choice: CanvasChoice) -> None:
    """Refuse a scale that makes no picture of the frames, or that nothing relates to them.

    Raises
    ------
    FailureError
        Where no frame's own scale is known.
    UsageError
        Naming the scales that make sense.
    """
    if choice.scale is None:
        return
    if not session.knows_its_scale:
        raise FailureError(
            "--scale needs the frames' own scale, which no header tells and no place on the sky: leave it out, or "
            "write FOCALLEN (mm) and XPIXSZ (micrometres) into the headers"
        )
    own = float(np.median([ARCSEC / frame.view.focal for frame in session.frames]))
    if not own / ABSURD <= choice.scale <= own * ABSURD:
        raise UsageError(
            f"--scale {choice.scale:g} makes no picture of frames of {own:.4g} arcsec a pixel: name a scale from "
            f"{own / ABSURD:.2g} to {own * ABSURD:.2g}, or leave it out"
        )


def of_frames(
    session: Session, placed: Sequence[PlacedFrame], canvas: Canvas, choice: CanvasChoice, progress: Progress
) -> None:
    """Say where there is nothing to reject outliers by, or where much of what frames saw will be missing."""
    frames = [one.frame for one in placed]
    if session.knows_its_scale:
        _of_scales(placed, canvas, progress)
    if len(frames) == 1:
        progress.warn(f"{frames[0].path.name} is the only frame: there is no other to find outliers by")
    elif choice.kind == "reference" and choice.like is None:
        far = sum(_is_elsewhere(frame, canvas) for frame in frames)
        if far:
            progress.warn(
                f"{counted(far, 'frame')} of {len(frames)} point elsewhere than the reference, whose edges the result "
                "has: --canvas all shows all of the sky"
            )


def _of_scales(placed: Sequence[PlacedFrame], canvas: Canvas, progress: Progress) -> None:
    """Say where pixels are too coarse for some frames, or else those of some frames are too coarse for the result."""
    scale = ARCSEC / canvas.view.focal
    scales = np.array([ARCSEC / one.frame.view.focal for one in placed])
    finer, coarser = scale > COARSE * scales, scales > TWO_SCALES * scales.min()
    if finer.any():
        apart = f"stack frames of {scales.min():.3g} and of {scales.max():.3g} arcsec apart, or "
        progress.warn(
            f"pixels of {scale:.4g} arcsec are too coarse for {counted(np.count_nonzero(finer), 'frame')} of "
            f"{len(placed)}: what lies between them is passed over, not averaged; {'' if finer.all() else apart}"
            f"keep all with --scale {scales.min():.4g}, and bin the result afterwards"
        )
    elif coarser.any() and scale * TWO_SCALES <= np.median(scales[coarser]):
        progress.warn(_made_wider(placed, scales, coarser))


def _made_wider(placed: Sequence[PlacedFrame], scales: np.ndarray, coarser: np.ndarray) -> str:
    """Say how much wider frames with coarser pixels than the others make the stars of a result."""
    frames, weights = [one.frame for one in placed], np.array([one.weight for one in placed])
    fine = [frame for frame, is_coarse in zip(frames, coarser, strict=True) if not is_coarse]
    wider = width_of_mean(frames, weights) / width_of_mean(fine, weights[~coarser])
    first = min(frame.path.name for frame, is_coarse in zip(frames, coarser, strict=True) if is_coarse)
    return (
        f"{counted(np.count_nonzero(coarser), 'frame')} of {len(frames)} (the first is {first}) have coarser pixels "
        f"({np.median(scales[coarser]):.3g} arcsec) than the others ({np.median(scales[~coarser]):.3g}): stars of the "
        f"result are about {wider:.2f} times as wide as those of the others alone; where that matters, stack the two "
        "apart"
    )


def of_sky(placed: Sequence[PlacedFrame], sky: SkyTold | None, progress: Progress) -> None:
    """Name the frames of which much is far too dark: the sky is found without it, and the stack rejects it."""
    shares = {} if sky is None else sky.covered
    covered = {one.frame.path.name: shares[d] for one in placed if (d := one.frame.survey.digest) in shares}
    if covered:
        progress.warn(f"{covered_frames(covered)}; where few other frames show the place, it stays in the picture")


def _is_elsewhere(frame: RegisteredFrame, canvas: Canvas) -> bool:
    """Tell whether the middle of a frame lies outside a canvas."""
    x, y = canvas.view.pixels(frame.pointing)
    height, width = canvas.shape
    return not (0 <= x < width and 0 <= y < height)


def of_rejected(settings: CanvasSettings, tally: Tally, progress: Progress) -> None:
    """Say where far more was rejected than outliers, and by what most likely."""
    share = 100 * (tally.rejected - tally.masked) / max(tally.samples, 1)
    if share > MANY_REJECTED:
        progress.warn(f"{share:.0f} % of the samples were rejected, where 1 % is usual: {_why_rejected(settings)}")


def of_holes(settings: CanvasSettings, tally: Tally, placed: Sequence[PlacedFrame], progress: Progress) -> None:
    """Say where a drizzle asks for more frames than there are, and how many would do."""
    drizzle = settings.drizzle
    share = share_of_holes(tally.coverage, tally.holes)
    if drizzle is None or share < MANY_HOLES:
        return
    raw = any(one.frame.facts.pattern for one in placed)
    enough, there = drizzle.enough_frames(raw), median_coverage(tally.coverage)
    why = "they lie where few frames are, or frames are not dithered"
    if there < enough:
        why = f"about {enough} dithered frames would do with this drizzle, {there} are in the usual pixel"
    progress.warn(
        f"no drop reached {share:.2g} % of the pixels that frames saw, which are left empty: {why}{_easier(drizzle)}"
    )


def _easier(drizzle: Drizzle) -> str:
    """Return what asks for fewer frames, if anything."""
    usual = Drizzle()
    ways = {
        f"--kernel {usual.kernel}": drizzle.kernel == "point",
        f"--pixfrac {usual.pixfrac:g}": drizzle.pixfrac < usual.pixfrac,
        f"--drizzle {usual.scale:g}": drizzle.scale > usual.scale,
    }
    easier = " or ".join(way for way, is_one in ways.items() if is_one)
    return easier and f"; try {easier}"


def _why_rejected(settings: CanvasSettings) -> str:
    rejection = settings.rejection
    by_noise = isinstance(rejection, NoiseRejection)
    kappa = rejection.kappa if by_noise else min(rejection.kappa_low, rejection.kappa_high)
    if kappa < STRICT:
        usual = NoiseRejection().kappa if by_noise else 3
        return f"--kappa {kappa:g} takes good samples for outliers; leave it out, which is {usual:g}"
    if settings.sky == "none":
        return "--match-sky none leaves each frame its own sky, and what differs is an outlier; leave it out"
    if settings.sky == "offset":
        return "frames' gradients differ, and --match-sky offset leaves them; try --match-sky plane"
    return (
        "the frames differ from each other by more than their noise, as by clouds, a tree, or other optics; look for "
        "them in the report and leave them out, or reject less with a larger --kappa"
    )


def counted(number: int, noun: str) -> str:
    """Return a number with its noun: '1 file', '2 files'."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def in_units(count: float) -> str:
    """Return a number of bytes in words: '2.1 GiB', '12 MiB'."""
    return f"{count / 2**30:.1f} GiB" if count >= 2**30 else f"{count / 2**20:.0f} MiB"
