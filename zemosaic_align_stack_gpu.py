# SPDX-License-Identifier: GPL-3.0-or-later
"""ZeMosaic's GPU Phase-3 interface: the stack of `zemosaic_align_stack`, computed by CuPy.

The module-level name `cp` is CuPy, or None where it cannot be imported; it is imported when it is first asked for, and
another array module can be put in its place. Whatever fails raises `GPUStackingError`, and the caller goes on with the
CPU: the stack is the same.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from nanstack.io.frames import read_frame
from nanstack.levels.colour import ColourBalance, equalize_medians
from nanstack.settings import TileSettings
from nanstack.stack import device
from nanstack.stack.definition import Rejection, array_module, reject, stack_block, winsor_bounds
from nanstack.stack.device import GpuError
from nanstack.stack.plan import StackPlan, plan_stack
from nanstack.stack.stacker import expand_weights
from nanstack.tile import StackedGroup
from zemosaic_patch import compat

log = logging.getLogger(__name__)


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


class _Module(ModuleType):
    """Lets what is put in the place of `cp` be the engine's array module, too."""

    @property
    def cp(self) -> Any:
        return device.array_module()

    @cp.setter
    def cp(self, module: Any) -> None:
        device.use_module(module)

    @cp.deleter
    def cp(self) -> None:
        device.use_cupy()


sys.modules[__name__].__class__ = _Module


def _gpu_is_usable(logger: logging.Logger | None = None) -> bool:
    """Tell whether a stack can be made on a GPU: a device is there and computes. The answer is kept."""
    return device.fault(logger) is None


def _gpu_safe_mode_enabled() -> bool:
    """Tell whether the environment asks for small blocks."""
    return device.is_in_safe_mode()


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
    xp = array_module(data_gpu)
    lower, upper = winsor_bounds(data_gpu, *compat.winsor_limits(low_high_limits))
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
    plan = _plan(aligned_images, stacking_params, zconfig, pcb_tile)
    frames = [np.array(np.atleast_3d(frame), dtype=np.float32) for frame in plan.frames]
    weights = expand_weights(plan.weights, len(frames), frames[0].shape)
    for frame, level in zip(frames, plan.levels or (), strict=False):
        level.apply(frame)
    for frame in frames:
        frame[~np.isfinite(frame)] = np.nan
    if weights is not None:
        weights = np.broadcast_to(weights, (len(frames), *frames[0].shape))
    return frames, weights, plan.weighted_by, compat.weight_statistics(plan.quality), plan.frames[0].ndim == 2


def _plan(
    images: Sequence[np.ndarray], params: Mapping[str, Any] | None, zconfig: Any, progress: Callable | None
) -> StackPlan:
    """Read ZeMosaic's stacking parameters, and measure the frames; GPUStackingError for what cannot be used."""
    try:
        settings: TileSettings = compat.StackWords.of_params(params or {}).settings(zconfig, progress)
        return plan_stack(compat.frames_of_one_shape(images, progress), settings)
    except ValueError as unusable:
        raise GPUStackingError(str(unusable), transient=True) from unusable


def _poststack_rgb_equalization(
    stacked: np.ndarray | None, stacking_params: Mapping[str, Any] | None = None, zconfig: Any = None
) -> dict[str, Any]:
    """Equalise the colours of a stack, as on the CPU; `zconfig` says whether, else the stacking parameters."""
    own = (stacking_params or {}).get("poststack_equalize_rgb", True)
    enabled = compat.as_bool(compat.setting(zconfig, "poststack_equalize_rgb", own))
    colour = equalize_medians(stacked) if enabled and stacked is not None else ColourBalance(enabled)
    return compat.equalization_of(colour)


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
        `zemosaic_align_stack.stack_aligned_images`. Winsorized stacks are not
        normalised, unless `normalize_winsorized` is set.
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
    reason = device.fault(logger)
    if reason is not None:
        raise GPUStackingError(reason, key="stack_gpu_fallback_unavailable")
    plan = _plan(aligned_images, stacking_params, zconfig, pcb_tile)
    progress = compat.StackProgress(pcb_tile, plan.rejection.method)
    try:
        stack = device.stack_on_gpu(plan, progress.rows, compat.block_limits(parallel_plan), logger)
    except GpuError as failure:
        logger.debug("GPU stack of tile %s failed: %s", tile_id, failure)
        details = compat.gpu_details(failure)
        raise GPUStackingError(
            details.pop("reason"), transient=failure.transient, key=compat.gpu_key(failure), **details
        ) from None
    stacked = StackedGroup(stack, plan, "gpu", ColourBalance())
    metadata = {
        "device": "gpu",
        "weight_stats": compat.weight_statistics(plan.quality),
        **compat.metadata_of(stacked),
        "rgb_equalization": _poststack_rgb_equalization(stacked.image, stacking_params, zconfig),
    }
    return stacked.image, metadata


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
