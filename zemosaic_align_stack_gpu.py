# SPDX-License-Identifier: GPL-3.0-or-later
"""ZeMosaic's GPU Phase-3 interface: the stack of `zemosaic_align_stack`, computed by CuPy.

The module-level name `cp` is CuPy, or None where it cannot be imported; everything goes through it, so that another
array module can stand in. It is imported when it is first asked for. Whatever fails raises `GPUStackingError`, and the
caller goes on with the CPU: the stack is the same.
"""

from __future__ import annotations

import contextlib
import logging
import os
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

import zemosaic_align_stack as align_stack
from nanstack.io.frames import read_frame
from nanstack.stack import gpu
from nanstack.stack.definition import Rejection, reject, stack_block, winsor_bounds
from nanstack.stack.stacker import Stack, expand_weights

log = logging.getLogger(__name__)

SAFE_MODE = "ZEMOSAIC_GPU_SAFE_MODE"
SAFE_MODE_BYTES = 32 * 2**20  # samples of a block: no kernel runs long enough to be stopped by a display's watchdog
WINSORIZED = "winsorized_sigma_clip"

_one_at_a_time = threading.Lock()  # two tiles at once would share the memory that each was promised
_health: tuple[Any, str | None] | None = None  # the array module that was tried, and what is wrong with its device


class GPUStackingError(RuntimeError):
    """The GPU could not make a stack; the caller goes on with the CPU.

    Attributes
    ----------
    transient : bool
        Whether the next stack may succeed; if not, `_gpu_is_usable` is False from now on.
    key : str
        The progress key under which ZeMosaic reports it.
    details : dict
        What the key's text names.
    """

    def __init__(
        self, reason: str, *, transient: bool = False, key: str = "stack_gpu_fallback_runtime_error", **details: Any
    ) -> None:
        super().__init__(reason)
        self.transient, self.key = transient, key
        self.details = {"reason": reason, "error": reason, **details}


# ------------------------------------------------------------------------------------------------------- device


def __getattr__(name: str) -> Any:
    if name == "cp":
        return _array_module()
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def _array_module() -> Any:
    """Return `cp`; import CuPy the first time."""
    if "cp" not in globals():
        globals()["cp"] = gpu.load_cupy()[0]
    return globals()["cp"]


def _gpu_is_usable(logger: logging.Logger | None = None) -> bool:
    """Tell whether a stack can be made on a GPU: a device is there and computes. The answer is kept."""
    return _fault(logger) is None


def _fault(logger: logging.Logger | None = None) -> str | None:
    """Return why the GPU cannot be used, or None; tried once for each array module."""
    xp = _array_module()
    if _health is None or _health[0] is not xp:
        _give_up(gpu.find_fault(xp), logger)
    return _health[1]


def _give_up(reason: str | None, logger: logging.Logger | None = None) -> None:
    """Keep what is wrong with the device, if anything, and say it."""
    global _health
    _health = _array_module(), reason
    if reason is not None:
        (logger or log).info("the GPU is not used: %s", reason)


def _gpu_safe_mode_enabled() -> bool:
    """Tell whether the environment asks for small blocks."""
    return os.environ.get(SAFE_MODE, "").strip() == "1"


# ------------------------------------------------------------------------------------------- pieces of a stack


def _winsorize_chunk(data_gpu: Any, low_high_limits: Sequence[float] | None) -> Any:
    """Clip each pixel's samples to two of their quantiles; what is not finite becomes NaN and counts for nothing.

    Parameters
    ----------
    data_gpu : array, shape (n, ...)
    low_high_limits : (float, float), optional
        Fractions to clip at either end; (0.05, 0.05) where there is none.

    Returns
    -------
    array, same shape and type
        The bounds are those of ``cp.nanpercentile``: ``cp.percentile``, where all samples are finite.
    """
    xp = gpu.definition.array_module(data_gpu)
    lower, upper = winsor_bounds(data_gpu, *align_stack._limits(low_high_limits))
    clipped = xp.minimum(xp.maximum(data_gpu, lower), upper)
    return xp.where(xp.isfinite(data_gpu), clipped, np.nan).astype(data_gpu.dtype)


def _kappa_clip_chunk(data_gpu: Any, kappa_low: float, kappa_high: float) -> Any:
    """Return the samples (n, ...) with NaN for those that the kappa-sigma clip drops."""
    values, _ = reject(data_gpu, Rejection("kappa_sigma", float(kappa_low), float(kappa_high)))
    return values.astype(data_gpu.dtype)


def _combine_chunk(data_gpu: Any, method: str) -> Any:
    """Combine the samples (n, ...) of each pixel that are not NaN."""
    return _combine_weighted_chunk(data_gpu, None, method)


def _combine_weighted_chunk(data_gpu: Any, weights_gpu: Any, method: str) -> Any:
    """Combine the samples (n, ...) of each pixel that are not NaN, the mean by weights; plain where nothing weighs."""
    return stack_block(data_gpu, Rejection("none"), str(method or "mean").strip().lower(), weights_gpu).image


def _prepare_frames_and_weights(
    aligned_images: Sequence[np.ndarray],
    stacking_params: Mapping[str, Any] | None,
    *,
    zconfig: Any,
    pcb_tile: Callable | None,
    logger: logging.Logger | None,
) -> tuple[list[np.ndarray], np.ndarray | None, str, dict[str, float] | None, bool]:
    """Return the frames as they are stacked: normalised, unless the stack is winsorized; NaN stays NaN.

    Returns
    -------
    frames : list of ndarray of float32, shape (H, W, C)
    weights : ndarray, shape (n, H, W, C), or None
    weight_method : str
    weight_statistics : dict or None
    expanded : bool
        Whether the frames were (H, W).

    Raises
    ------
    GPUStackingError
        For no frames, or settings out of range.
    """
    try:
        plan = _plan(aligned_images, stacking_params or {}, zconfig, pcb_tile)
        frames = [np.array(np.atleast_3d(frame), dtype=np.float32) for frame in plan.frames]
        weights = expand_weights(plan.weights, len(frames), frames[0].shape)
    except ValueError as unusable:
        raise GPUStackingError(str(unusable), transient=True) from unusable
    for frame, level in zip(frames, plan.levels or (), strict=False):
        level.apply(frame)
    for frame in frames:
        frame[~np.isfinite(frame)] = np.nan
    if weights is not None:
        weights = np.broadcast_to(weights, (len(frames), *frames[0].shape))
    return frames, weights, plan.weight_method, plan.weight_statistics, plan.frames[0].ndim == 2


def _plan(
    images: Sequence[np.ndarray], params: Mapping[str, Any], zconfig: Any, progress: Callable | None
) -> align_stack.StackPlan:
    """Read ZeMosaic's stacking parameters."""
    algorithm = params.get("stack_reject_algo") or "none"
    as_it_is = str(algorithm).strip().lower() == WINSORIZED and not params.get("normalize_winsorized")
    radial = params.get("radial_feather_fraction", 0.8), params.get("radial_shape_power", 2.0)
    return align_stack.plan_stack(
        images,
        normalize="none" if as_it_is else params.get("stack_norm_method") or "none",
        match=params.get("match_sky") or "none",
        weight=params.get("stack_weight_method") or "none",
        reject=algorithm,
        combine=params.get("stack_final_combine") or "mean",
        kappas=(params.get("stack_kappa_low", 3.0), params.get("stack_kappa_high", 3.0)),
        winsor_limits=params.get("parsed_winsor_limits"),
        rewinsor=bool(params.get("apply_rewinsor", True)),
        radial=radial if params.get("apply_radial_weight") else None,
        zconfig=zconfig,
        progress_callback=progress,
    )


def _poststack_rgb_equalization(
    stacked: np.ndarray | None, stacking_params: Mapping[str, Any] | None = None, zconfig: Any = None
) -> dict[str, Any]:
    """Equalise the colours of a stack, as on the CPU; `zconfig` says whether, else the stacking parameters."""
    enabled = align_stack._setting(
        zconfig, "poststack_equalize_rgb", (stacking_params or {}).get("poststack_equalize_rgb", True)
    )
    return align_stack._poststack_rgb_equalization(stacked, {"poststack_equalize_rgb": enabled})


# ------------------------------------------------------------------------------------------------------- stacks


def gpu_stack_from_arrays(
    aligned_images: Sequence[np.ndarray],
    stacking_params: Mapping[str, Any] | None,
    *,
    parallel_plan: Any = None,
    logger: logging.Logger | None = None,
    pcb_tile: Callable | None = None,
    tile_id: int | None = None,
    zconfig: Any = None,
) -> tuple[np.ndarray, dict]:
    """Normalise, weight, reject and combine aligned frames on the GPU.

    Parameters
    ----------
    aligned_images : sequence of ndarray, (H, W) or (H, W, 3)
        The first one is the reference of the normalisation.
    stacking_params : dict
        stack_reject_algo, stack_kappa_low, stack_kappa_high, parsed_winsor_limits, apply_rewinsor,
        stack_final_combine, stack_norm_method, match_sky ('none'), stack_weight_method, apply_radial_weight,
        radial_feather_fraction, radial_shape_power, poststack_equalize_rgb; see
        `zemosaic_align_stack.stack_aligned_images`. Winsorized
        stacks are not normalised, unless `normalize_winsorized` is set.
    parallel_plan : optional
        `gpu_rows_per_chunk` and `gpu_max_chunk_bytes` limit a block; they have no effect on the result.
    logger : logging.Logger, optional
    pcb_tile : callable, optional
        ``pcb_tile(key, progress, level, **details)``.
    tile_id : int, optional
        Named in the log.
    zconfig : optional
        poststack_equalize_rgb, wsc_impl.

    Returns
    -------
    image : ndarray of float32
        NaN where no frame has data.
    metadata : dict
        As of `zemosaic_align_stack.stack_winsorized_sigma_clip`, with `weight_stats`, and `device` = 'gpu'.

    Raises
    ------
    GPUStackingError
        Where there is no usable GPU, or anything fails: the frames, the memory, the device, the result.
    """
    logger = logger or log
    reason = _fault(logger)
    if reason is not None:
        raise GPUStackingError(reason, key="stack_gpu_fallback_unavailable")
    try:
        plan = _plan(aligned_images, stacking_params or {}, zconfig, pcb_tile)
        with _one_at_a_time:
            result = _stack(plan, parallel_plan, pcb_tile)
            gpu.free_pools(_array_module())
        metadata: dict[str, Any] = {"device": "gpu", "weight_stats": plan.weight_statistics}
        metadata["frame_weights"] = plan.frame_weights()
        align_stack._describe(metadata, result, plan.rejection, plan.weight_method)
        align_stack._describe_levels(metadata, plan)
        metadata["rgb_equalization"] = _poststack_rgb_equalization(result.image, stacking_params, zconfig)
        return result.image, metadata
    except Exception as failure:  # whatever fails here, the CPU can do
        logger.debug("GPU stack of tile %s failed", tile_id, exc_info=True)
        error = _explained(failure)
    # only now are the arrays of the attempt gone, which the failure's traceback held
    if not error.transient:
        _give_up(str(error), logger)
    with contextlib.suppress(RuntimeError):  # a lost device has nothing to give back
        gpu.free_pools(_array_module())
    raise error


def _stack(plan: align_stack.StackPlan, parallel_plan: Any, progress: Callable | None) -> Stack:
    max_bytes = _hint(parallel_plan, "gpu_max_chunk_bytes")
    if _gpu_safe_mode_enabled():
        max_bytes = min(max_bytes or SAFE_MODE_BYTES, SAFE_MODE_BYTES)
    result = gpu.stack_frames(
        plan.frames,
        plan.rejection,
        plan.combine,
        plan.weights,
        align_stack._row_progress(plan.rejection, progress),
        xp=_array_module(),
        levels=plan.levels,
        max_rows=_hint(parallel_plan, "gpu_rows_per_chunk"),
        max_bytes=max_bytes,
    )
    if not np.isfinite(result.image).any():
        raise gpu.DeviceError("the stack holds no finite pixel", transient=True)
    if not np.any(result.image[np.isfinite(result.image)]):
        raise gpu.DeviceError("the stack is zero throughout", transient=True)
    return result


def _hint(parallel_plan: Any, name: str) -> int | None:
    """Return a positive number of a parallel plan, or None."""
    value = align_stack._setting(parallel_plan, name)
    return int(value) if isinstance(value, (int, float, np.number)) and value >= 1 else None


def _explained(failure: Exception) -> GPUStackingError:
    """Return the error that says of a failure whether the next stack may succeed."""
    if isinstance(failure, gpu.DeviceMemoryError):
        estimated, allowed = failure.needed // 2**20, failure.allowed // 2**20
        key = "stack_gpu_fallback_insufficient_memory"
        return GPUStackingError(str(failure), transient=True, key=key, estimated_mb=estimated, allowed_mb=allowed)
    if isinstance(failure, gpu.DeviceError):
        return GPUStackingError(str(failure), transient=failure.transient)
    if isinstance(failure, ValueError):  # frames or settings that cannot be used say nothing about the device
        return GPUStackingError(str(failure), transient=True)
    return GPUStackingError(f"{type(failure).__name__}: {failure}", transient=gpu.is_out_of_memory(failure))


def gpu_stack_from_paths(
    image_descriptors: Sequence[Any],
    stacking_params: Mapping[str, Any] | None,
    *,
    array_loader: Callable[[Any], np.ndarray] | None = None,
    zconfig: Any = None,
    **kwargs: Any,
) -> tuple[np.ndarray, dict]:
    """Stack frames that may lie in files.

    Parameters
    ----------
    image_descriptors : sequence
        Arrays, paths (.npy is mapped; FITS), or dicts with one of them under data, array, path or
        path_preprocessed_cache.
    stacking_params, zconfig, **kwargs
        See `gpu_stack_from_arrays`.
    array_loader : callable, optional
        Returns the array of a descriptor.

    Raises
    ------
    GPUStackingError
        See `gpu_stack_from_arrays`; also for a descriptor that leads to no array.
    """
    load = array_loader or _default_array_loader
    try:
        frames = [load(descriptor) for descriptor in image_descriptors]
    except (OSError, ValueError) as unusable:
        raise GPUStackingError(f"a frame cannot be read: {unusable}", transient=True) from unusable
    return gpu_stack_from_arrays(frames, stacking_params, zconfig=zconfig, **kwargs)


def _default_array_loader(descriptor: Any) -> np.ndarray:
    """Return the array that a descriptor leads to."""
    if isinstance(descriptor, Mapping):
        names = ("data", "array", "path", "path_preprocessed_cache")
        descriptor = next((descriptor[name] for name in names if descriptor.get(name) is not None), None)
    if isinstance(descriptor, np.ndarray):
        return descriptor
    if not isinstance(descriptor, (str, os.PathLike)):
        raise ValueError(f"a frame must be an array, a path, or a dict with one, not {type(descriptor).__name__}")
    path = Path(descriptor)
    return np.load(path, mmap_mode="r", allow_pickle=False) if path.suffix == ".npy" else read_frame(path).data
