# SPDX-License-Identifier: GPL-3.0-or-later
"""Stack the aligned frames of a group, row block by row block.

Splitting rows bounds the memory and changes nothing: a pixel's answer depends on that pixel's samples alone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from nanstack.rejection import Rejection, stack_block

BLOCK_BYTES = 16 * 2**20  # of samples per block; the definitions need some 10 times that as working memory

Weights = Sequence[np.ndarray] | Sequence[float] | np.ndarray


@dataclass(frozen=True)
class Stack:
    """A stacked group.

    Attributes
    ----------
    image : ndarray of float32, shape (H, W) or (H, W, C)
        NaN where no frame has data.
    coverage : ndarray of uint16, same shape
        Number of frames with data.
    rejected : int
        Number of samples rejected; uncovered samples are not among them.
    samples : int
        Number of samples with data.
    """

    image: np.ndarray
    coverage: np.ndarray
    rejected: int
    samples: int

    @property
    def rejected_fraction(self) -> float:
        """Share of the samples with data that were rejected, 0 to 1."""
        return self.rejected / self.samples if self.samples else 0.0


def stack_frames(
    frames: Sequence[np.ndarray],
    rejection: Rejection,
    combine: str = "mean",
    weights: Weights | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Stack:
    """Reject outliers and combine what is left, pixel by pixel.

    Parameters
    ----------
    frames : sequence of ndarray, all (H, W) or all (H, W, C)
        Aligned samples; a non-finite one is no data. Not modified.
    rejection : Rejection
    combine : {'mean', 'median', 'min', 'max'}
    weights : optional
        One entry a frame: a number, one per channel, or one per pixel. Only the mean uses them.
    progress : callable, optional
        Called with (rows done, rows in all).

    Returns
    -------
    Stack

    Raises
    ------
    ValueError
        For no frames, frames of different shapes or of other dimensions, more than 65,535 frames, or weights that
        do not fit the frames.
    """
    shape = _common_shape(frames)
    weights = expand_weights(weights, len(frames), shape)
    image = np.empty(shape, dtype=np.float32)
    coverage = np.empty(shape, dtype=np.uint16)
    rejected = samples = 0
    rows = max(1, BLOCK_BYTES // (4 * len(frames) * int(np.prod(shape[1:]))))
    for top in range(0, shape[0], rows):
        block = np.s_[top : top + rows]
        part = stack_block(
            np.stack([np.asarray(frame[block], dtype=np.float32) for frame in frames]),
            rejection,
            combine,
            weights if weights is None or weights.shape[1] == 1 else weights[:, block],
        )
        image[block], coverage[block] = part.image, part.coverage
        rejected += int(part.rejected.sum(dtype=np.int64))
        samples += int(part.coverage.sum(dtype=np.int64))
        if progress:
            progress(min(top + rows, shape[0]), shape[0])
    return Stack(image, coverage, rejected, samples)


def _common_shape(frames: Sequence[np.ndarray]) -> tuple[int, ...]:
    """Return the frames' shape, or raise ValueError naming the first frame that differs."""
    if not len(frames):
        raise ValueError("no frames to stack")
    if len(frames) > np.iinfo(np.uint16).max:
        raise ValueError(f"{len(frames)} frames: coverage counts up to {np.iinfo(np.uint16).max}")
    shape = np.shape(frames[0])
    if len(shape) not in (2, 3):
        raise ValueError(f"frames must be (H, W) or (H, W, C), not {shape}")
    for index, frame in enumerate(frames):
        if np.shape(frame) != shape:
            raise ValueError(f"frame {index} has the shape {np.shape(frame)}, frame 0 has {shape}")
    return shape


def expand_weights(weights: Weights | None, count: int, shape: tuple[int, ...]) -> np.ndarray | None:
    """Return weights with one axis for the frames and one for each of theirs, of length 1 where they are constant.

    Parameters
    ----------
    weights : optional
        Per frame (n,), per frame and channel (n, C), or per pixel (n, H, W[, C]); singleton axes are accepted
        anywhere, as is a list of such entries without the frame axis.
    count : int
        Number of frames.
    shape : tuple of int
        Shape of a frame.

    Raises
    ------
    ValueError
        Where they do not fit.
    """
    if weights is None:
        return None
    try:
        given = np.stack(np.broadcast_arrays(*weights)) if isinstance(weights, (list, tuple)) else np.asarray(weights)
        given = np.asarray(given, dtype=np.float64)
    except (ValueError, TypeError) as misfit:
        raise ValueError(f"weights cannot be read as one entry a frame: {misfit}") from misfit
    if given.ndim == 0 or given.shape[0] != count:
        raise ValueError(f"weights of shape {given.shape} do not fit {count} frames")
    inner = given.shape[1:]
    if len(inner) < len(shape):  # numbers per frame or per channel stand last; (H, W) weights serve all channels
        inner = (*inner, 1) if inner == shape[:2] else (1,) * (len(shape) - len(inner)) + inner
    if len(inner) != len(shape) or any(mine not in (1, full) for mine, full in zip(inner, shape, strict=True)):
        raise ValueError(f"weights of shape {given.shape} do not fit {count} frames of shape {shape}")
    return given.reshape(count, *inner)
