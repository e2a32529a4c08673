# SPDX-License-Identifier: GPL-3.0-or-later
"""One group of frames to one tile: aligned, matched in sky level, stacked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from nanstack.io.frames import probe_frame
from nanstack.levels.sky import match_skies
from nanstack.memory import Scratch
from nanstack.mosaic import MosaicTile
from nanstack.register.alignment import Alignment, align_frames
from nanstack.stack.definition import Rejection
from nanstack.stack.stacker import Weights, stack_frames

if TYPE_CHECKING:
    from astropy.wcs import WCS


@dataclass(frozen=True)
class StackedTile:
    """A stacked group on the reference's pixels.

    Attributes
    ----------
    image : ndarray of float32, shape (H, W) or (H, W, C)
        In ADU; NaN where no frame has data.
    coverage : ndarray of uint16, shape (H, W)
        Number of frames in each pixel.
    wcs : astropy.wcs.WCS or None
        The reference's.
    alignments : list of nanstack.register.alignment.Alignment
        One a frame, also for those that failed, with the reason.
    rejected_fraction : float
        Of the samples with data, 0 to 1.
    """

    image: np.ndarray
    coverage: np.ndarray
    wcs: WCS | None
    alignments: list[Alignment] = field(repr=False)
    rejected_fraction: float

    def for_mosaic(self, name: str) -> MosaicTile:
        """Return the tile as `nanstack.make_mosaic` takes it."""
        return MosaicTile(name, self.image.shape, self.wcs, lambda: (self.image, self.coverage))


def make_tile(
    frames: Sequence[np.ndarray | str | Path],
    reference: int = 0,
    *,
    wcs: Sequence[WCS | None] | None = None,
    rejection: Rejection | None = None,
    combine: str = "mean",
    match: str = "plane",
    weights: Weights | None = None,
    interpolation: str = "bicubic",
) -> StackedTile:
    """Align a group of frames on one of them, match their skies, reject outliers, and average what is left.

    Parameters
    ----------
    frames : sequence of ndarray or path, all (H, W) or all (H, W, C)
        Samples in ADU, not modified; or FITS or .npy files, read as they are needed. A frame that cannot be used is
        left out, and `alignments` says why.
    reference : int
        Which of them gives the tile its pixels.
    wcs : sequence of astropy.wcs.WCS or None, optional
        The frames' solutions; by default those in the files.
    rejection : Rejection, optional
        By default the winsorized sigma clip.
    combine : {'mean', 'median', 'min', 'max'}
    match : {'plane', 'offset', 'linear', 'none'}
        How skies are matched to the reference's: see `nanstack.levels.sky.match_sky`.
    weights : sequence, optional
        One a frame, as for `nanstack.stack.stacker.stack_frames`.
    interpolation : {'bicubic', 'lanczos3'}

    Returns
    -------
    StackedTile

    Raises
    ------
    ValueError
        For a reference that is no image, arguments out of range, or weights that are not one a frame.
    nanstack.io.frames.FrameError
        For a file that is no frame.
    """
    sources = [frame if isinstance(frame, np.ndarray) else probe_frame(frame) for frame in frames]
    solutions = [getattr(source, "wcs", None) for source in sources] if wcs is None else list(wcs)
    if weights is not None and len(weights) != len(sources):
        raise ValueError(f"weights must be {len(sources)}, one a frame, not {len(weights)}")
    with Scratch() as scratch:
        keep = scratch.keeper(len(sources))
        aligned = list(
            align_frames(
                sources, reference, wcs=solutions, interpolation=interpolation, finish=lambda samples, _: keep(samples)
            )
        )
        good = [alignment.index for alignment, samples in aligned if samples is not None]
        images = [aligned[index][1] for index in good]
        stack = stack_frames(
            images,
            rejection or Rejection(),
            combine,
            None if weights is None else [weights[index] for index in good],
            levels=None if match == "none" else match_skies(images, good.index(reference), match),
        )
    coverage = stack.coverage if stack.coverage.ndim == 2 else stack.coverage[..., 0]
    alignments = [alignment for alignment, _ in aligned]
    return StackedTile(stack.image, coverage, solutions[reference], alignments, stack.rejected_fraction)
