# SPDX-License-Identifier: GPL-3.0-or-later
"""Registration: bring the frames of a group onto the pixels of one of them.

stars of each frame -> transform from the reference -> warp with its footprint. Where the stars do not match, the two
frames' WCS give the transform; where there is none, the frame fails, with the reason.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from nanstack import memory
from nanstack.arrays import float_frame
from nanstack.io.frames import FrameError
from nanstack.register.matching import MatchError, fit_affine, match_stars
from nanstack.register.warp import INTERPOLATIONS, warp
from nanstack.survey.stars import Stars, check_detection, find_stars

if TYPE_CHECKING:
    from astropy.wcs import WCS

log = logging.getLogger(__name__)

WCS_GRID = 12  # points along each axis at which two WCS are compared
MAX_WCS_RMS_PX = 1.0  # two WCS that no affine transform joins better than this are of no use
FrameSource = np.ndarray | Callable[[], np.ndarray] | None
IDENTITY = np.array([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])


@dataclass(frozen=True)
class Detection:
    """What the detection needs to know: threshold in units of the noise, least area in pixels; both positive."""

    sigma: float = 4.0
    min_area: int = 5

    def __post_init__(self) -> None:
        check_detection(self.sigma, self.min_area)


@dataclass(frozen=True)
class Alignment:
    """How one frame of a group was brought onto the reference.

    Attributes
    ----------
    index : int
        Place of the frame in the group.
    method : {'reference', 'stars', 'wcs', 'failed'}
    transform : ndarray of float64, shape (2, 3), or None
        Maps a reference pixel (x, y, 1) to a pixel of the frame.
    rms : float
        Root mean square distance of the matched stars in pixels; NaN where no star was matched.
    stars : int
        Number of matched stars.
    found : int
        Number of stars found in the frame.
    fwhm : float
        Median full width at half maximum of the frame's stars, in pixels.
    reason : str
        Why the stars, or the whole frame, failed; empty otherwise.
    """

    index: int
    method: str
    transform: np.ndarray | None = field(default=None, repr=False)
    rms: float = math.nan
    stars: int = 0
    found: int = 0
    fwhm: float = math.nan
    reason: str = ""

    @property
    def ok(self) -> bool:
        """Whether the frame has a transform."""
        return self.transform is not None


class Reference:
    """The frame of a group onto whose pixels the others are brought; its stars are found once.

    Parameters
    ----------
    frame : ndarray, shape (H, W) or (H, W, 3)
    wcs : astropy.wcs.WCS, optional
    detection : Detection
    """

    def __init__(self, frame: np.ndarray, wcs: WCS | None = None, detection: Detection | None = None) -> None:
        self.shape = frame.shape
        self.wcs = wcs
        self.detection = detection or Detection()
        self.stars: Stars = self.find(frame)

    def find(self, frame: np.ndarray) -> Stars:
        """Find a frame's stars as the reference's were found."""
        return find_stars(frame, self.detection.sigma, self.detection.min_area)

    def locate(self, index: int, frame: np.ndarray | None, wcs: WCS | None = None) -> Alignment:
        """Find the transform from the reference to a frame.

        Parameters
        ----------
        index : int
            Place of the frame in its group, for the report.
        frame : ndarray or None
            Must have the reference's shape.
        wcs : astropy.wcs.WCS, optional
            The frame's own, used where its stars do not match.

        Returns
        -------
        Alignment
            `method` is 'failed', with a reason, where there is no transform.
        """
        if frame is None:
            return Alignment(index, "failed", reason="no frame was given")
        if frame.shape != self.shape:
            return Alignment(index, "failed", reason=f"its shape {frame.shape} is not the reference's {self.shape}")
        stars = self.find(frame)
        if not len(stars) and not np.isfinite(frame).any():
            return Alignment(index, "failed", reason="it holds no finite sample")
        seen = {"found": len(stars), "fwhm": stars.fwhm}
        try:
            match = match_stars(self.stars, stars, self.shape[:2])
        except MatchError as no_match:
            return self._locate_by_wcs(index, wcs, str(no_match), seen)
        return Alignment(index, "stars", match.transform, match.rms, match.stars, **seen)

    def _locate_by_wcs(self, index: int, wcs: WCS | None, no_match: str, seen: dict) -> Alignment:
        if self.wcs is None or wcs is None:
            return Alignment(index, "failed", reason=f"{no_match}, and it has no WCS to go by", **seen)
        transform, rms = transform_from_wcs(self.wcs, wcs, self.shape[:2])
        if not rms <= MAX_WCS_RMS_PX:
            return Alignment(index, "failed", reason=f"{no_match}, and its WCS does not fit the reference's", **seen)
        return Alignment(index, "wcs", transform, reason=no_match, **seen)


def transform_from_wcs(reference: WCS, frame: WCS, shape: tuple[int, int]) -> tuple[np.ndarray, float]:
    """Return the affine transform between two solved frames, and its rms error in pixels (inf where there is none).

    Parameters
    ----------
    reference, frame : astropy.wcs.WCS
        Celestial solutions.
    shape : (int, int)
        Height and width of the reference in pixels.
    """
    x, y = np.meshgrid(np.linspace(0, shape[1] - 1, WCS_GRID), np.linspace(0, shape[0] - 1, WCS_GRID))
    sky = reference.celestial.pixel_to_world_values(x.ravel(), y.ravel())
    u, v = frame.celestial.world_to_pixel_values(*sky)
    both = np.isfinite(u) & np.isfinite(v)
    if np.count_nonzero(both) < 3:
        return IDENTITY, math.inf
    return fit_affine((x.ravel() + 1j * y.ravel())[both], (u + 1j * v)[both])


def align_frames(
    frames: Sequence[FrameSource],
    reference_index: int,
    *,
    wcs: Sequence[WCS | None] | None = None,
    interpolation: str = "bicubic",
    detection: Detection | None = None,
    threads: int | None = None,
    finish: Callable[[np.ndarray, np.ndarray], np.ndarray] | None = None,
) -> Iterator[tuple[Alignment, np.ndarray | None]]:
    """Bring the frames of a group onto the pixels of one of them.

    Reading, detection, matching and warp of different frames overlap; a few frames are ahead of the caller, no more.

    Parameters
    ----------
    frames : sequence of ndarray (H, W) or (H, W, 3), None, or callable
        Samples in ADU; never modified. A callable is called, in a thread, for the array, which is then let go; where
        it raises `FrameError` that frame fails. A frame that is None, or not of the reference's shape, fails.
    reference_index : int
        Which of them is the reference; it is copied, not resampled.
    wcs : sequence of astropy.wcs.WCS or None, optional
        Solutions of the frames, for those whose stars do not match.
    interpolation : {'bicubic', 'lanczos3'}
    detection : Detection, optional
    threads : int, optional
        Frames worked on at once; by default one a core.
    finish : callable, optional
        ``finish(samples, frame)``, called in the thread, returns what is to be yielded in place of the samples.

    Yields
    ------
    alignment : Alignment
    samples : ndarray of float32 or None
        The frame on the reference's pixels, NaN outside its footprint; None where it failed. In the order given.

    Raises
    ------
    ValueError
        For a reference that does not exist, is None, cannot be read, or is not an image.
    """
    is_index = isinstance(reference_index, (int, np.integer)) and 0 <= reference_index < len(frames)
    if not is_index or frames[reference_index] is None:
        raise ValueError(f"reference_index {reference_index!r} names none of the {len(frames)} frames")
    chosen = _loaded(frames[reference_index], f"frame {reference_index}, the reference,")
    if chosen is None or chosen.shape[2:] not in ((), (3,)):
        shape = None if chosen is None else chosen.shape
        raise ValueError(f"frame {reference_index}, the reference, must be (H, W) or (H, W, 3), not {shape}")
    if interpolation not in INTERPOLATIONS:
        raise ValueError(f"interpolation must be one of {', '.join(INTERPOLATIONS)}, not {interpolation!r}")
    solutions = list(wcs) if wcs is not None else [None] * len(frames)
    if len(solutions) != len(frames):
        raise ValueError(f"wcs must hold one entry a frame, not {len(solutions)} for {len(frames)} frames")
    reference = Reference(chosen, solutions[reference_index], detection)

    def align(index: int) -> tuple[Alignment, np.ndarray | None]:
        if index == reference_index:
            frame, found = chosen, len(reference.stars)
            alignment = Alignment(index, "reference", IDENTITY, 0.0, found, found, reference.stars.fwhm)
        else:
            try:
                frame = _loaded(frames[index], "it")
            except FrameError as unusable:
                return Alignment(index, "failed", reason=unusable.reason), None
            except ValueError as no_frame:
                return Alignment(index, "failed", reason=str(no_frame)), None
            alignment = reference.locate(index, frame, solutions[index])
        if not alignment.ok:
            return alignment, None
        samples = warp(frame, alignment.transform, interpolation)
        return alignment, samples if finish is None else finish(samples, frame)

    return memory.in_order(align, len(frames), threads)


def _loaded(frame: FrameSource, name: str) -> np.ndarray | None:
    frame = frame() if callable(frame) else frame
    return None if frame is None else float_frame(frame, name)
