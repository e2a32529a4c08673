# SPDX-License-Identifier: GPL-3.0-or-later
"""Stack the aligned frames of a group on a GPU: the definitions of `nanstack.stack.definition`, row block by row block.

Everything goes through an array module that the caller names: CuPy, or one that stands in for it. Without a `cuda`
namespace (NumPy) the module computes on the host, and there is nothing to copy to. Blocks are uploaded while the one
before is computed; a pixel's answer depends on that pixel's samples alone, so a block that does not fit the device's
memory is halved.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np

from nanstack.levels.sky import SkyMatch
from nanstack.memory import Scratch, memory_budget, threads
from nanstack.stack import definition
from nanstack.stack.definition import COMBINES, Block, Rejection
from nanstack.stack.rows import FrameLike, OpenFiles, Rows, blocks_ahead, open_all
from nanstack.stack.sorting_network import comparators
from nanstack.stack.stacker import Stack, Weights, checked_shape, expand_weights, leveller, weights_of_columns

log = logging.getLogger(__name__)

SHARE_OF_FREE = 0.6  # of the device's memory; the rest is for what other programs ask for
BLOCK_BYTES = 128 * 2**20  # samples of a block: larger ones keep a device no busier
BUFFERS = 2  # a block is uploaded while the one before is computed
DEFINITION_BYTES = 96  # working memory of the definitions for a sample, at most
PIXEL_BYTES = 256  # and for a pixel, its results included
SHARED_BYTES = 48 * 1024  # of a thread block, on every device
THREADS = (128, 64, 32)  # of a thread block; the most whose columns fit the shared memory
CUDA_OUT_OF_MEMORY = 2  # the status of both the runtime's and the driver's error

KERNELS = {
    "winsor": "stack_sigma_clip",
    "kappa_sigma": "stack_sigma_clip",
    "none": "stack_sigma_clip",
    "huber": "stack_huber",
    "linear_fit": "stack_linear_fit",
}
KERNEL_OPTIONS = ("--fmad=false",)  # fused operations would round, and so decide, unlike the definition
# CuPy adds -ftz=true to them: numbers below 1.2e-38, which no image holds, count as zero on a device
NEVER = 2**31 - 1  # more samples than a column can have

Array = Any  # of the array module


class DeviceError(RuntimeError):
    """The device gave no usable stack.

    Attributes
    ----------
    transient : bool
        Whether another group may fare better.
    """

    def __init__(self, reason: str, *, transient: bool = False) -> None:
        super().__init__(reason)
        self.transient = transient


class DeviceMemoryError(DeviceError):
    """Not even one row of the frames fits the device's memory.

    Attributes
    ----------
    needed, allowed : int
        Bytes.
    """

    def __init__(self, needed: int, allowed: int) -> None:
        mib = f"{needed / 2**20:.0f} MiB for one row of the frames, {allowed / 2**20:.0f} MiB allowed"
        super().__init__(f"out of GPU memory: {mib}", transient=True)
        self.needed, self.allowed = needed, allowed


# --- the device -------------------------------------------------------------------------------------------------------


@functools.cache
def load_cupy() -> tuple[ModuleType | None, str]:
    """Return CuPy, or None and why it cannot be imported."""
    try:
        import cupy
    except ModuleNotFoundError:
        return None, "CuPy is not installed"
    except (ImportError, OSError, RuntimeError, AttributeError, TypeError, ValueError) as broken:
        return None, f"CuPy cannot be imported ({broken})"  # another NumPy's, or libraries that are missing
    return cupy, ""


def find_fault(xp: Any) -> str | None:
    """Try an array module's device: return why nothing can be computed on it, or None where a small sum comes out.

    Parameters
    ----------
    xp : module or None
        CuPy, or what stands in for it.
    """
    if xp is None:
        return load_cupy()[1] or "no array module"
    try:
        if hasattr(xp, "cuda") and xp.cuda.runtime.getDeviceCount() < 1:
            return "there is no CUDA device"
        total = float(xp.ones(4, dtype=np.float32).sum())
    except Exception as failure:  # noqa: BLE001  (whatever it is, the answer is that the device is of no use)
        return f"{type(failure).__name__}: {failure}"
    return None if total == 4 else f"the device is broken: it adds four ones to {total:g}"


def device_name(xp: Any) -> str:
    """Return the name of the current device."""
    if not hasattr(xp, "cuda"):
        return f"none: {xp.__name__} computes on the host"
    name = xp.cuda.runtime.getDeviceProperties(xp.cuda.runtime.getDevice())["name"]
    return name.decode() if isinstance(name, bytes) else str(name)


def device_memory(xp: Any) -> tuple[int, int]:
    """Return the free and the whole memory of the current device, in bytes; what CuPy's pool keeps counts as free."""
    if not hasattr(xp, "cuda"):
        return memory_budget(), memory_budget()
    free, total = xp.cuda.runtime.memGetInfo()
    return int(free) + int(xp.get_default_memory_pool().free_bytes()), int(total)


def free_pools(xp: Any) -> None:
    """Give back the device's and the host's memory that CuPy keeps for later."""
    if hasattr(xp, "cuda"):
        xp.get_default_memory_pool().free_all_blocks()
        xp.get_default_pinned_memory_pool().free_all_blocks()


def is_out_of_memory(failure: BaseException) -> bool:
    """Tell whether an error says that memory ran out, on the device or of what is pinned on the host."""
    return isinstance(failure, MemoryError) or getattr(failure, "status", None) == CUDA_OUT_OF_MEMORY


@dataclass(frozen=True)
class BlockLimits:
    """How much is stacked on the GPU at once, at most; no influence on the result.

    Attributes
    ----------
    rows : int or None
    nbytes : int or None
        Of the samples.
    """

    rows: int | None = None
    nbytes: int | None = None


# --- a stack ----------------------------------------------------------------------------------------------------------


def stack_frames(
    frames: Sequence[FrameLike] | np.ndarray,
    rejection: Rejection,
    combine: str = "mean",
    weights: Weights | None = None,
    progress: Callable[[int, int], None] | None = None,
    *,
    xp: Any,
    levels: Sequence[SkyMatch] | None = None,
    limits: BlockLimits | None = None,
) -> Stack:
    """Reject outliers and combine what is left, as `nanstack.stack.stacker.stack_frames`, on an array module's device.

    Parameters
    ----------
    frames, rejection, combine, weights, progress, levels
        See `nanstack.stack.stacker.stack_frames`.
    xp : module
        CuPy, or what stands in for it.
    limits : BlockLimits, optional

    Returns
    -------
    Stack

    Raises
    ------
    ValueError, nanstack.io.frames.FrameError
        See `nanstack.stack.stacker.stack_frames`.
    DeviceError
        Where not even a row fits the device's memory, or what comes back cannot be true.
    Exception
        Whatever else the array module raises.
    """
    with Scratch() as scratch, contextlib.closing(OpenFiles()) as files:
        sources = open_all(frames, files, scratch)
        shape = checked_shape([source.shape for source in sources])
        prepare = leveller(levels, len(sources)) if levels is not None else None
        weights = expand_weights(weights, len(sources), shape)
        job = _Job(xp, _Recipe(sources, rejection, combine, weights, prepare), shape, progress)
        job.run(limits or BlockLimits())
        return job.finish()


class _Recipe(NamedTuple):
    """What is stacked, and how; `prepare` brings rows to their level as they are read."""

    sources: Sequence[Rows]
    rejection: Rejection
    combine: str
    weights: np.ndarray | None
    prepare: Callable[[int, np.ndarray, int], None] | None


class _Job:
    """A stack in the making: whole images on the host, of which the first `done` rows are there."""

    def __init__(
        self, xp: Any, recipe: _Recipe, shape: tuple[int, ...], progress: Callable[[int, int], None] | None
    ) -> None:
        self.xp, self.recipe, self.progress = xp, recipe, progress
        self.image = np.empty(shape, dtype=np.float32)
        self.coverage = np.empty(shape, dtype=np.uint16)
        self.rejected = self.done = 0

    def run(self, limits: BlockLimits) -> None:
        """Stack all rows; out of memory: half as many at a time, from where it stopped."""
        row_bytes = self._row_bytes()
        allowed = int(SHARE_OF_FREE * device_memory(self.xp)[0])
        samples = 4 * len(self.recipe.sources) * math.prod(self.image.shape[1:])
        block = min(BLOCK_BYTES, memory_budget() // BUFFERS, limits.nbytes or BLOCK_BYTES) // max(1, samples)
        height = self.image.shape[0]
        rows = int(np.clip(min(block, allowed // max(1, row_bytes)), 1, min(height, limits.rows or height) or 1))
        while self.done < height:
            if self._stack_on(rows):
                return
            # the arrays of the attempt are gone with it
            free_pools(self.xp)
            if rows == 1:
                raise DeviceMemoryError(row_bytes, allowed)
            rows = max(1, rows // 2)
            log.info("out of GPU memory at row %d: going on with %d rows at a time", self.done, rows)

    def _row_bytes(self) -> int:
        """Return the device memory that a row takes."""
        pixels = math.prod(self.image.shape[1:])
        per_sample = 4 * BUFFERS
        if kernel_launch(self.xp, self.recipe.rejection, len(self.recipe.sources)) is None:
            per_sample += DEFINITION_BYTES
        if self.recipe.weights is not None and self.recipe.weights[0].size > self.image.shape[-1]:
            per_sample += 8
        return pixels * (per_sample * len(self.recipe.sources) + PIXEL_BYTES)

    def _stack_on(self, rows: int) -> bool:
        """Stack what is left; return False where memory runs out."""
        try:
            with _Uploader(self.xp) as uploader:
                blocks = blocks_ahead(
                    self.recipe.sources, rows, self.recipe.prepare, self.done, uploader.empty_pinned, threads()
                )
                with contextlib.closing(blocks):
                    for top, samples in uploader.uploaded(blocks):
                        self._add(top, samples)
        except (MemoryError, RuntimeError) as failure:
            if not is_out_of_memory(failure):
                raise
            return False
        return True

    def _add(self, top: int, samples: Array) -> None:
        """Stack a block that lies on the device."""
        bottom = top + samples.shape[1]
        block = np.s_[top:bottom]
        weights = self.recipe.weights
        if weights is not None:
            weights = weights if weights.shape[1] == 1 else weights[:, block]
            weights = self.xp.asarray(weights_of_columns(weights, samples.shape))
        columns = samples.reshape(samples.shape[0], math.prod(samples.shape[1:]))
        result = stack_block(self.xp, columns, self.recipe.rejection, self.recipe.combine, weights)
        if any(part.shape != columns.shape[1:] for part in result):
            shapes = ", ".join(str(part.shape) for part in result)
            raise DeviceError(f"the device's block has the wrong shape: {shapes}, not {columns.shape[1:]}")
        parts = result.image, result.coverage.astype(np.uint16)
        image, coverage = (to_host(self.xp, part).reshape(samples.shape[1:]) for part in parts)
        wrong = np.count_nonzero(np.isfinite(image) != (coverage > 0))
        if wrong:
            raise DeviceError(f"the device's result is wrong: {wrong} pixels have data and no number, or the reverse")
        self.image[block], self.coverage[block] = image, coverage
        self.rejected += int(result.rejected.sum())
        self.done = bottom
        if self.progress:
            self.progress(bottom, self.image.shape[0])

    def finish(self) -> Stack:
        """Return the whole."""
        return Stack(self.image, self.coverage, self.rejected, int(self.coverage.sum(dtype=np.int64)))


class _Uploader:
    """Copies blocks to the device, on a stream of its own, while the block before is computed on the default one."""

    def __init__(self, xp: Any) -> None:
        self.xp = xp
        self.stream: Any = None

    def __enter__(self) -> _Uploader:
        if hasattr(self.xp, "cuda"):
            self.xp.cuda.runtime.deviceSynchronize()  # whoever used this memory before has finished
            self.stream = self.xp.cuda.Stream(non_blocking=True)
        return self

    def __exit__(self, *_: object) -> None:
        self._wait()  # the pinned memory that a copy reads must outlive it

    def empty_pinned(self, size: int, dtype: type) -> np.ndarray:
        """Return an array on the host that the device can copy from by itself."""
        if self.stream is None:
            return np.empty(size, dtype)
        memory = self.xp.cuda.alloc_pinned_memory(max(1, size * np.dtype(dtype).itemsize))
        return np.frombuffer(memory, dtype, size)

    def uploaded(self, blocks: Iterator[tuple[int, np.ndarray]]) -> Iterator[tuple[int, Array]]:
        """Give each block as an array on the device; the next one is on its way meanwhile."""
        slots: list[Array] = []
        before = None
        for number, (top, samples) in enumerate(blocks):
            if len(slots) < BUFFERS:
                slots.append(self.xp.empty(samples.size, dtype=np.float32))
            slot = slots[number % BUFFERS][: samples.size].reshape(samples.shape)
            self._copy(samples, slot)
            if before is not None:
                yield before
            self._wait()  # the next block is read into the memory that this copy reads
            before = top, slot
        if before is not None:
            yield before

    def _copy(self, samples: np.ndarray, slot: Array) -> None:
        if self.stream is None:
            slot[...] = samples
        else:
            slot.set(samples, stream=self.stream)

    def _wait(self) -> None:
        if self.stream is not None:
            self.stream.synchronize()


def to_host(xp: Any, array: Array) -> np.ndarray:
    """Return a device's array as a NumPy one."""
    return xp.asnumpy(array) if hasattr(xp, "asnumpy") else np.asarray(array)


# --- a block ----------------------------------------------------------------------------------------------------------


def stack_block(xp: Any, columns: Array, rejection: Rejection, combine: str, weights: Array | None = None) -> Block:
    """Stack columns on the device: by the CUDA kernel where there is one, else by the definitions on its arrays.

    Parameters
    ----------
    xp : module
    columns : array of float32, shape (n, P), C-contiguous, on the device
    rejection : Rejection
    combine : {'mean', 'median', 'min', 'max'}
    weights : array of float64, shape (n, C), on the device, optional
        Finite, 0 or more. Pixel p has those of column p % C; P is a multiple of C.

    Returns
    -------
    Block
        Arrays on the device, of shape (P,).
    """
    frames, pixels = columns.shape
    launch = kernel_launch(xp, rejection, frames)
    if launch is not None:
        return _stack_by_kernel(xp, launch, columns, rejection, combine, weights)
    if weights is None or not pixels:
        return definition.stack_block(columns, rejection, combine)
    period = weights.shape[1]
    samples = columns.reshape(frames, pixels // period, period)
    block = definition.stack_block(samples, rejection, combine, weights.reshape(frames, 1, period))
    return Block(*(part.reshape(pixels) for part in block))


class Launch(NamedTuple):
    """How a kernel is launched."""

    kernel: Any  # cupy.RawKernel
    threads: int  # of a thread block
    shared_bytes: int  # that its columns take


def kernel_launch(xp: Any, rejection: Rejection, frames: int) -> Launch | None:
    """Return how to launch the kernel of a method; None where it does not compile, or columns are too long for it."""
    per_sample = 6 if rejection.method == "linear_fit" else 4  # which also keeps each sample's frame
    threads = _threads_of(frames, per_sample)
    if not threads or not hasattr(xp, "RawKernel"):
        return None
    kernel = _compiled(xp, KERNELS[rejection.method])
    return None if kernel is None else Launch(kernel, threads, threads * frames * per_sample)


def _threads_of(frames: int, per_sample: int) -> int:
    """Return the threads of a block whose columns fit the shared memory; 0 where none do."""
    return next((threads for threads in THREADS if threads * frames * per_sample <= SHARED_BYTES), 0)


@functools.lru_cache(maxsize=16)
def _compiled(xp: Any, name: str) -> Any:
    """Return a kernel, or None (said once) where it cannot be compiled."""
    try:
        kernel = xp.RawKernel(kernel_source(), name, options=KERNEL_OPTIONS)
        kernel.compile()
    except (RuntimeError, OSError, ImportError, xp.cuda.compiler.CompileException) as failure:
        reason = str(failure).strip().splitlines()
        log.warning("CUDA kernel %s cannot be compiled (%s): array by array instead", name, reason[0] if reason else "")
        return None
    return kernel


@functools.cache
def kernel_source() -> str:
    """Return the CUDA source of the kernels, the definitions' constants before it."""
    constants = {
        "CLIP_ROUNDS": definition.CLIP_ROUNDS,
        "HUBER_ROUNDS": definition.HUBER_ROUNDS,
        "HUBER_SCALE_FLOOR": definition.HUBER_SCALE_FLOOR,
        "HUBER_TOLERANCE": definition.HUBER_TOLERANCE,
        "LINEAR_FIT_MIN_SAMPLES": definition.LINEAR_FIT_MIN_SAMPLES,
        "LINEAR_FIT_ROUNDING": definition.LINEAR_FIT_ROUNDING,
        "LINEAR_FIT_ROUNDS": definition.LINEAR_FIT_ROUNDS,
        "SIGMA_OF_MAD": definition.SIGMA_OF_MAD,
        "TINY": float(np.finfo(np.float64).tiny),
        "MEAN": COMBINES.index("mean"),
        "MEDIAN": COMBINES.index("median"),
        "MINIMUM": COMBINES.index("min"),
        "MAXIMUM": COMBINES.index("max"),
    }
    lines = [f"#define {name} {value!r}" for name, value in constants.items()]
    body = Path(__file__).with_name("cuda_kernels.cu").read_text(encoding="utf-8")
    return "\n".join([*lines, body])


def _stack_by_kernel(
    xp: Any, launch: Launch, columns: Array, rejection: Rejection, combine: str, weights: Array | None
) -> Block:
    """Return a block that the CUDA kernel stacked, a column of samples a thread."""
    frames, pixels = columns.shape
    block = Block(xp.empty(pixels, np.float32), xp.empty(pixels, np.int32), xp.empty(pixels, np.int32))
    table = comparators(frames)
    arguments = (
        columns,
        xp.empty(0, np.float64) if weights is None else weights,
        np.int64(0 if weights is None else weights.shape[1]),
        np.int32(frames),
        np.int64(pixels),
        xp.asarray(table),
        np.int32(len(table)),
        np.int32(COMBINES.index(combine)),
        *_settings(rejection),
        *block,
    )
    if pixels:
        launch.kernel((-(-pixels // launch.threads),), (launch.threads,), arguments, shared_mem=launch.shared_bytes)
    return block


def _settings(rejection: Rejection) -> tuple[Any, ...]:
    """Return what a kernel is told about its method."""
    kappas = rejection.kappa_low, rejection.kappa_high
    clip, fractions, min_samples = kappas, (0.0, 1.0), 0  # winsorizing at the extremes changes nothing
    if rejection.method == "winsor":
        clip = definition.WINSOR_CLIP_SIGMA, definition.WINSOR_CLIP_SIGMA
        fractions = rejection.winsor_low, 1 - rejection.winsor_high
        min_samples = definition.WINSOR_MIN_SAMPLES
    elif rejection.method == "none":
        min_samples = NEVER  # columns of fewer samples are kept whole
    rewinsor = rejection.method == "winsor" and rejection.rewinsor
    return (*map(np.float64, (*kappas, *clip, *fractions)), np.int32(min_samples), np.int32(rewinsor))
