# SPDX-License-Identifier: GPL-3.0-or-later
"""Stack the aligned frames of a group, row block by row block.

Splitting rows bounds the memory and changes nothing: a pixel's answer depends on that pixel's samples alone.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from types import ModuleType

import numpy as np

from nanstack import compilation
from nanstack.levels.sky import SkyMatch
from nanstack.memory import Scratch, memory_budget
from nanstack.stack.definition import Rejection, check_weight_values, stack_block
from nanstack.stack.rows import FileRows, FrameLike, OpenFiles, Rows, blocks_ahead, open_all

IN_MEMORY_BLOCK_BYTES = 8 * 2**20  # frames in memory are copied block by block: larger ones only take more room
FILE_BLOCK_BYTES = 2**20  # read of a file at once: enough that seeking costs little; more would only take room
DEFINITION_BLOCK_BYTES = 16 * 2**20  # the NumPy definition needs some 10 times that as working memory

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
    frames: Sequence[FrameLike] | np.ndarray,
    rejection: Rejection,
    combine: str = "mean",
    weights: Weights | None = None,
    progress: Callable[[int, int], None] | None = None,
    *,
    levels: Sequence[SkyMatch] | None = None,
    memory: int | None = None,
) -> Stack:
    """Reject outliers and combine what is left, pixel by pixel.

    Runs the compiled kernels where Numba is installed, else the definitions in NumPy.

    Parameters
    ----------
    frames : sequence of ndarray or path, all (H, W) or all (H, W, C); or one ndarray (n, H, W[, C])
        Aligned samples; a non-finite one is no data. Not modified. Paths are of .npy or FITS files.
    rejection : Rejection
    combine : {'mean', 'median', 'min', 'max'}
    weights : optional
        One entry a frame: a number, one per channel, or one per pixel. Only the mean uses them.
    progress : callable, optional
        Called with (rows done, rows in all).
    levels : sequence of nanstack.levels.sky.SkyMatch, optional
        One a frame: samples are brought to its level as they are read.
    memory : int, optional
        Bytes that the blocks may take; by default a quarter of what is free, at most 1 GiB. No influence on the
        result.

    Returns
    -------
    Stack

    Raises
    ------
    ValueError
        For no frames, frames of different shapes or of other dimensions or that hold no real numbers, more than
        65,535 frames, or weights that do not fit the frames.
    nanstack.io.frames.FrameError
        For a file that cannot be used.
    """
    if levels is None and _kernels() is not None and _lie_ready(frames):
        shape = checked_shape([frame.shape for frame in frames])
        result = _Accumulator(shape, len(frames), rejection, combine, weights)
        result.add(0, shape[0], frames)
        if progress:
            progress(shape[0], shape[0])
        return result.finish(shape)
    with Scratch() as scratch, closing(OpenFiles()) as files:
        sources = open_all(frames, files, scratch)
        shape = checked_shape([source.shape for source in sources])
        if weights is None and levels is None and all(_is_planes_first(source) for source in sources):
            sources = [source.planes_in_a_column() for source in sources]  # the result is turned, not every frame
        result = _Accumulator(sources[0].shape, len(sources), rejection, combine, weights)
        prepare = leveller(levels, len(sources)) if levels is not None else None
        rows = _rows_per_block(sources, memory_budget() if memory is None else memory)
        for top, samples in blocks_ahead(sources, rows, prepare):
            result.add(top, top + samples.shape[1], samples)
            if progress:
                progress((top + samples.shape[1]) * shape[0] // sources[0].shape[0], shape[0])
        return result.finish(shape)


class _Accumulator:
    """Stacks blocks of rows into whole images."""

    def __init__(
        self, shape: tuple[int, ...], count: int, rejection: Rejection, combine: str, weights: Weights | None
    ) -> None:
        self.rejection, self.combine = rejection, combine
        self.weights = expand_weights(weights, count, shape)
        self.image = np.empty(shape, dtype=np.float32)
        self.coverage = np.empty(shape, dtype=np.uint16)
        self.rejected = self.samples = 0

    def add(self, top: int, bottom: int, samples: np.ndarray | Sequence[np.ndarray]) -> None:
        """Stack rows top:bottom; samples are float32 (n, rows, W[, C]), or n arrays (rows, W[, C])."""
        block = np.s_[top:bottom]
        weights = self.weights
        if weights is not None and weights.shape[1] > 1:
            weights = weights[:, block]
        kernels = _kernels()
        stack = _stack_by_definition if kernels is None else functools.partial(_stack_by_kernels, kernels)
        self.rejected += stack(samples, self.rejection, self.combine, weights, self.image[block], self.coverage[block])
        self.samples += int(self.coverage[block].sum(dtype=np.int64))

    def finish(self, shape: tuple[int, ...]) -> Stack:
        """Return the whole, in the frames' shape: planes in a column are turned to channels."""
        image, coverage = self.image, self.coverage
        if image.shape != shape:
            planes = (shape[2], *shape[:2])
            image, coverage = (np.ascontiguousarray(np.moveaxis(a.reshape(planes), 0, -1)) for a in (image, coverage))
        return Stack(image, coverage, self.rejected, self.samples)


def _stack_by_definition(
    samples: np.ndarray,
    rejection: Rejection,
    combine: str,
    weights: np.ndarray | None,
    image: np.ndarray,
    coverage: np.ndarray,
) -> int:
    """Fill in image and coverage; return the number of rejected samples."""
    rejected = 0
    rows = max(1, DEFINITION_BLOCK_BYTES // max(1, samples[:, :1].nbytes))
    for top in range(0, samples.shape[1], rows):
        part = np.s_[top : top + rows]
        mine = weights if weights is None or weights.shape[1] == 1 else weights[:, part]
        block = stack_block(samples[:, part], rejection, combine, mine)
        image[part], coverage[part] = block.image, block.coverage
        rejected += int(block.rejected.sum(dtype=np.int64))
    return rejected


def _stack_by_kernels(
    kernels: ModuleType,
    samples: np.ndarray | Sequence[np.ndarray],
    rejection: Rejection,
    combine: str,
    weights: np.ndarray | None,
    image: np.ndarray,
    coverage: np.ndarray,
) -> int:
    """Fill in image and coverage; return the number of rejected samples."""
    rejected = np.empty(image.size, dtype=np.uint16)
    if weights is not None:
        weights = weights_of_columns(weights, (len(samples), *image.shape))
    if isinstance(samples, np.ndarray):
        columns = samples.reshape(len(samples), image.size)
    else:
        columns = [frame.reshape(-1) for frame in samples]
    kernels.stack_columns(columns, rejection, combine, weights, image.reshape(-1), coverage.reshape(-1), rejected)
    return int(rejected.sum(dtype=np.int64))


def weights_of_columns(weights: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Return expanded weights as the kernels take them: (n, 1), (n, C), or (n, pixels)."""
    if weights.size == shape[0]:
        return np.ascontiguousarray(weights.reshape(shape[0], 1))
    if len(shape) == 4 and weights.shape == (shape[0], 1, 1, shape[-1]):
        return np.ascontiguousarray(weights.reshape(shape[0], shape[-1]))
    return np.ascontiguousarray(np.broadcast_to(weights, shape).reshape(shape[0], -1))


@compilation.where_numba_is("frames are stacked by NumPy, some 30 times slower")
def _kernels() -> ModuleType:
    from nanstack.stack import numba_kernels as kernels

    return kernels


def _lie_ready(frames: Sequence[FrameLike] | np.ndarray) -> bool:
    """Tell whether the kernels can take the frames where they lie in memory."""
    if isinstance(frames, np.ndarray):
        return type(frames) is np.ndarray and frames.ndim > 1 and len(frames) > 0 and _is_ready(frames)
    if not isinstance(frames, Sequence) or not len(frames):
        return False
    return all(type(frame) is np.ndarray and _is_ready(frame) for frame in frames)


def _is_planes_first(source: Rows) -> bool:
    return isinstance(source, FileRows) and source.planes_first


def _is_ready(array: np.ndarray) -> bool:
    return array.dtype == np.float32 and array.dtype.isnative and array.flags.c_contiguous and array.flags.aligned


def _rows_per_block(sources: Sequence[Rows], memory: int) -> int:
    """Return the rows of a block, two of which fit the memory."""
    row_bytes = 4 * len(sources) * int(np.prod(sources[0].shape[1:]))
    on_disk = any(isinstance(source, FileRows) for source in sources)
    block_bytes = min(memory // 2, len(sources) * FILE_BLOCK_BYTES if on_disk else IN_MEMORY_BLOCK_BYTES)
    return int(np.clip(block_bytes // max(1, row_bytes), 1, max(1, sources[0].shape[0])))


def leveller(levels: Sequence[SkyMatch], count: int) -> Callable[[int, np.ndarray, int], None]:
    """Return what brings a block of a frame's rows to their level, in place: ``prepare(index, samples, top)``.

    Raises
    ------
    ValueError
        Where there is not one level a frame.
    """
    if len(levels) != count:
        raise ValueError(f"{len(levels)} levels do not fit {count} frames")
    return lambda index, samples, top: levels[index].apply(samples, top)


def checked_shape(shapes: Sequence[tuple[int, ...]]) -> tuple[int, ...]:
    """Return the frames' shape, or raise ValueError naming the first frame that differs."""
    if not len(shapes):
        raise ValueError("no frames to stack")
    if len(shapes) > np.iinfo(np.uint16).max:
        raise ValueError(f"{len(shapes)} frames are too many: at most {np.iinfo(np.uint16).max} can be stacked")
    shape = tuple(shapes[0])
    if len(shape) not in (2, 3):
        raise ValueError(f"frames must be (H, W) or (H, W, C), not {shape}")
    for index, other in enumerate(shapes):
        if tuple(other) != shape:
            raise ValueError(f"frame {index} has the shape {tuple(other)}, frame 0 has {shape}")
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
        Where they do not fit, are negative or not finite.
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
    check_weight_values(given)
    return given.reshape(count, *inner)
