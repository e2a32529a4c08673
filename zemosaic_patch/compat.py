# SPDX-License-Identifier: GPL-3.0-or-later
"""ZeMosaic's words for what the engine does: its settings, method names and progress keys.

The four modules that carry ZeMosaic's names translate by this one, and do nothing else. Settings come as an object with
attributes, a dict or None; progress goes to ``progress_callback(key, progress, level, **details)``.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from nanstack.arrays import real_array
from nanstack.levels.colour import ColourBalance
from nanstack.levels.photometry import sky_level
from nanstack.levels.sky import MODELS
from nanstack.register.alignment import Alignment
from nanstack.settings import NORMALIZATIONS, WEIGHTINGS, Radial, TileSettings
from nanstack.stack import device
from nanstack.stack.definition import COMBINES, Rejection
from nanstack.stack.device import GpuError
from nanstack.stack.gpu import BlockLimits
from nanstack.tile import StackedGroup, stack_group
from zemosaic_patch.names import REJECTIONS, WINSOR_METHODS

log = logging.getLogger("zemosaic_align_stack")

Callback = Callable[..., Any] | None
WINSORIZED = "winsorized_sigma_clip"
WINSOR_ENVIRONMENT = "ZEMOSAIC_WSC_IMPL"
LOG_LEVELS = {"WARN": logging.WARNING, "ERROR": logging.ERROR, "INFO": logging.INFO, "SUCCESS": logging.INFO}
ROW_KEYS = {"winsor": "stack_winsorized", "huber": "stack_winsorized", "kappa_sigma": "stack_kappa"}
GPU_SETTINGS = ("stack_use_gpu", "use_gpu_stack", "use_gpu")  # the first one that is set counts
YES_NO = {"1": True, "true": True, "yes": True, "on": True, "0": False, "false": False, "no": False, "off": False}


# --- settings ---------------------------------------------------------------------------------------------------------


def setting(zconfig: Any, name: str, default: Any = None) -> Any:
    """Return one of ZeMosaic's settings, from an object, a dict or None; the default where it is not set."""
    value = zconfig.get(name) if isinstance(zconfig, dict) else getattr(zconfig, name, None)
    return default if value is None else value


def as_bool(value: Any, default: bool = True) -> bool:
    """Read a yes/no setting, which may be text; `default` where it is neither."""
    if isinstance(value, (bool, int, np.bool_, np.integer)):
        return bool(value)
    return YES_NO.get(str(value).strip().lower(), default)


def gpu_wanted(zconfig: Any, parallel_plan: Any) -> bool:
    """Tell whether the settings ask for the GPU; where they do not say, whether the plan does."""
    for name in GPU_SETTINGS:
        value = setting(zconfig, name)
        if value is not None:
            return as_bool(value, False)
    return as_bool(setting(parallel_plan, "use_gpu"), False)


def block_limits(parallel_plan: Any) -> BlockLimits:
    """Return how much a parallel plan lets the GPU stack at once."""

    def positive(name: str) -> int | None:
        value = setting(parallel_plan, name)
        return int(value) if isinstance(value, (int, float, np.number)) and value >= 1 else None

    return BlockLimits(positive("gpu_rows_per_chunk"), positive("gpu_max_chunk_bytes"))


def winsor_limits(given: Sequence[float] | None) -> tuple[float, float]:
    """Return the fractions to clip at the low and at the high end; (0.05, 0.05) where there are none."""
    try:
        low, high = (0.05, 0.05) if given is None else (float(limit) for limit in given)
    except (TypeError, ValueError):
        raise ValueError(f"winsor_limits must be two numbers, not {given!r}") from None
    return low, high


def winsor_method(zconfig: Any = None, default: str = "legacy_quantile", callback: Callback = None) -> str:
    """Return how winsorized stacks find outliers: the environment says, else the settings, else the caller.

    Parameters
    ----------
    zconfig : optional
        `wsc_impl`: 'pixinsight' or 'legacy_quantile'; so does the variable ZEMOSAIC_WSC_IMPL.
    default : str
    callback : callable, optional
        Hears of a name that is none of them.

    Returns
    -------
    {'winsor', 'huber'}
    """
    for name in (os.environ.get(WINSOR_ENVIRONMENT), setting(zconfig, "wsc_impl")):
        wanted = str(name or "").strip().lower()
        if wanted in WINSOR_METHODS:
            return WINSOR_METHODS[wanted]
        if wanted:
            text = f"winsorized clip '{name}' is unknown and ignored (known: {', '.join(WINSOR_METHODS)})"
            report(text, "WARN", callback)
    return WINSOR_METHODS[default]


def known_name(name: Any, names: Collection[str], default: str, what: str, callback: Callback) -> str:
    """Return a method's name, or the default with one WARN where it is none."""
    wanted = str(name or default).strip().lower()
    if wanted in names:
        return wanted
    report(f"{what} '{name}' is unknown, '{default}' is used (known: {', '.join(names)})", "WARN", callback)
    return default


@dataclass(frozen=True)
class StackWords:
    """What ZeMosaic calls a stack's settings; see `zemosaic_align_stack.stack_aligned_images`."""

    reject: Any = "none"
    kappas: tuple[float, float] = (3.0, 3.0)
    winsor_limits: Sequence[float] | None = (0.05, 0.05)
    rewinsor: bool = True
    normalize: Any = "none"
    match: Any = "none"
    weight: Any = "none"
    combine: Any = "mean"
    radial: tuple[float, float] | None = None
    gpu: bool = False

    @classmethod
    def of_params(cls, params: Mapping[str, Any]) -> StackWords:
        """Read the `stacking_params` of ZeMosaic's GPU module; winsorized stacks are normalised there where
        `normalize_winsorized` says so alone."""
        reject = params.get("stack_reject_algo") or "none"
        as_it_is = str(reject).strip().lower() == WINSORIZED and not params.get("normalize_winsorized")
        radial = params.get("radial_feather_fraction", 0.8), params.get("radial_shape_power", 2.0)
        return cls(
            reject=reject,
            kappas=(params.get("stack_kappa_low", 3.0), params.get("stack_kappa_high", 3.0)),
            winsor_limits=params.get("parsed_winsor_limits"),
            rewinsor=bool(params.get("apply_rewinsor", True)),
            normalize="none" if as_it_is else params.get("stack_norm_method"),
            match=params.get("match_sky"),
            weight=params.get("stack_weight_method"),
            combine=params.get("stack_final_combine"),
            radial=radial if params.get("apply_radial_weight") else None,
        )

    def settings(self, zconfig: Any, callback: Callback) -> TileSettings:
        """Return the engine's settings; a name that is not known costs one WARN, and what it names is not done.

        Raises
        ------
        ValueError
            For limits out of range.
        """
        normalize = known_name(self.normalize, NORMALIZATIONS, "none", "normalisation", callback)
        method = REJECTIONS[known_name(self.reject, REJECTIONS, "none", "rejection", callback)]
        combine = known_name(self.combine, COMBINES, "mean", "combine", callback)
        match = known_name(self.match, MODELS, "none", "sky matching", callback)
        if method == "winsor":
            method = winsor_method(zconfig, callback=callback)
        low, high = (float(kappa) for kappa in self.kappas)
        return TileSettings(
            rejection=Rejection(method, low, high, *winsor_limits(self.winsor_limits), self.rewinsor),
            combine=combine,
            match=match,
            normalize=normalize,
            weight=known_weighting(self.weight, callback),
            radial=None if self.radial is None else Radial(*self.radial),
            gpu="on" if self.gpu else "off",
        )


def known_weighting(name: Any, callback: Callback) -> str:
    """Return a weighting's name; 'none', with one WARN, where it is not known."""
    method = str(name or "none").strip().lower()
    if method in WEIGHTINGS:
        return method
    measured = ", ".join(WEIGHTINGS[1:])
    report(f"weighting '{method}' is unknown: frames are not weighted (known: {measured})", "WARN", callback)
    return "none"


# --- progress ---------------------------------------------------------------------------------------------------------


def report(key: str, level: str = "INFO", callback: Callback = None, **details: Any) -> None:
    """Report to the caller, or to the log where nobody listens."""
    if callback is not None:
        callback(key, None, level, **details)
    else:
        told = ", ".join(f"{name}={value}" for name, value in details.items())
        log.log(LOG_LEVELS.get(level, logging.DEBUG), "%s%s", key, f" ({told})" if told else "")


def report_alignment(alignment: Alignment, name: str, done: tuple[int, int], callback: Callback) -> None:
    """Report how a frame was aligned; `done` says how many are, and of how many."""
    details = {"index": alignment.index, "done": done[0], "total": done[1]}
    if not alignment.ok:
        report(f"{name}: {alignment.reason}; left out", "WARN", callback, **details)
    elif alignment.method == "wcs":
        report(f"{name}: aligned by its WCS, because {alignment.reason}", "INFO_DETAIL", callback, **details)
    else:
        text = f"{name}: {alignment.stars} stars, rms {alignment.rms:.3f} px"
        report(text, "DEBUG_DETAIL", callback, **details)


class StackProgress:
    """The engine's progress of a stack, told in ZeMosaic's keys: rows where ZeMosaic has one for the rejection."""

    def __init__(self, callback: Callback, method: str) -> None:
        self.callback, self.key = callback, ROW_KEYS.get(method)

    def step(self, name: str, done: int, total: int) -> None:
        """Report rows stacked; ZeMosaic hears of no other step by a key."""
        if name == "stacking":
            self.rows(done, total)

    def rows(self, done: int, total: int) -> None:
        """Report rows stacked as ``callback(key, done, total)``."""
        if self.callback is not None and self.key is not None:
            self.callback(self.key, done, total)

    def warn(self, text: str) -> None:
        """Report a warning."""
        report(text, "WARN", self.callback)


# --- frames -----------------------------------------------------------------------------------------------------------


def fill_with_sky(samples: np.ndarray, frame: np.ndarray) -> np.ndarray:
    """Fill what an aligned frame does not cover with that frame's own sky level, channel by channel.

    The one exception to "no fill value ever": ZeMosaic's paths that cannot take NaN ask for it.

    Parameters
    ----------
    samples : ndarray of float32, shape (H, W) or (H, W, C)
        An aligned frame; modified.
    frame : ndarray
        The frame as it came, from which the sky level is measured.

    Returns
    -------
    ndarray
        `samples`, finite everywhere.
    """
    level = sky_level(frame)
    hole = ~np.isfinite(samples)
    samples[hole] = np.broadcast_to(level, samples.shape)[hole]
    return samples


# --- stacks -----------------------------------------------------------------------------------------------------------


def frames_of_one_shape(frames: Sequence[np.ndarray | None], callback: Callback) -> list[np.ndarray]:
    """Return the frames of the first one's shape; say which are dropped.

    Raises
    ------
    ValueError
        For no frames, or input that is not an image.
    """
    arrays = [(index, real_array(frame, f"frame {index}")) for index, frame in enumerate(frames) if frame is not None]
    if not arrays:
        raise ValueError("no frames to stack")
    shape = arrays[0][1].shape
    if len(shape) not in (2, 3) or 0 in shape:
        raise ValueError(f"frames must be (H, W) or (H, W, 3) and hold pixels, not {shape}")
    for index, frame in arrays:
        if frame.shape != shape:
            text = f"frame {index} dropped: its shape {frame.shape} is not the first one's, {shape}"
            report(text, "WARN", callback)
    return [frame for _, frame in arrays if frame.shape == shape]


def stack_where_it_can(
    frames: Sequence[np.ndarray], settings: TileSettings, parallel_plan: Any, helper: str, callback: Callback
) -> StackedGroup:
    """Stack by the GPU, if the settings ask for it, else by the CPU; report which, and why, in ZeMosaic's keys."""
    if settings.gpu != "off" and device.fault() is None:
        report("stack_using_gpu", "INFO", callback, helper=helper)

    def fell_back(error: GpuError) -> None:
        details = {"helper": helper, **gpu_details(error)}
        report(gpu_key(error), "WARN", callback, **details)
        report("stack_using_cpu", "INFO", callback, helper=helper)

    progress = StackProgress(callback, settings.rejection.method)
    return stack_group(frames, settings, progress, limits=block_limits(parallel_plan), fell_back=fell_back)


def gpu_key(error: GpuError) -> str:
    """Return the key under which ZeMosaic reports what kept the GPU from a stack."""
    return f"stack_gpu_fallback_{error.kind}"


def gpu_details(error: GpuError) -> dict[str, Any]:
    """Return what that key's text names."""
    details: dict[str, Any] = {"reason": str(error), "error": str(error)}
    if error.kind == "insufficient_memory":
        details.update(estimated_mb=error.needed // 2**20, allowed_mb=error.allowed // 2**20)
    return details


def metadata_of(stacked: StackedGroup) -> dict[str, Any]:
    """Return what ZeMosaic's `stack_metadata` holds of a stack: how it was made and what it covers."""
    plan, coverage = stacked.plan, stacked.coverage
    told: dict[str, Any] = {
        "rejection": plan.rejection.method,
        "rejected_fraction": stacked.stack.rejected_fraction,
        "weight_method": plan.weighted_by,
        "coverage_min": int(coverage.min()),
        "coverage_median": float(np.median(coverage)),
        "coverage_max": int(coverage.max()),
        "coverage_map": coverage,
        "levelled_by": plan.levelled_by,
        "levels": plan.levels,
        "frame_weights": plan.frame_weights(),
    }
    if plan.rejection.method == "winsor":
        told["winsor_quantile"] = "nan-aware"
    return told


def equalization_of(colour: ColourBalance) -> dict[str, Any]:
    """Return `stack_metadata['rgb_equalization']`."""
    told = dict(zip(("gain_r", "gain_g", "gain_b"), colour.gains, strict=True))
    return {"enabled": colour.enabled, "applied": colour.applied, **told, "target_median": colour.target}


def weight_statistics(weights: Sequence[np.ndarray] | None) -> dict[str, float] | None:
    """Return the least and the largest of measured weights, and of how many frames they are."""
    if weights is None:
        return None
    flat = np.concatenate([weight.ravel() for weight in weights])
    return {"min": float(flat.min()), "max": float(flat.max()), "frames": float(len(weights))}
