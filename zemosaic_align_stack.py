# SPDX-License-Identifier: GPL-3.0-or-later
"""ZeMosaic's CPU Phase-3 interface: align the frames of a group, stack them.

Names, parameters and return values are ZeMosaic's; the work is in `nanstack`. Settings are read from `zconfig` (an
object with attributes, a dict or None), progress is reported as ``progress_callback(key, progress, level, **details)``.
A sample without data is NaN from the alignment to the stack, and no result depends on memory settings.
"""

from __future__ import annotations

import logging
import math
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from nanstack.arrays import float_frame, real_array, to_float32
from nanstack.levels import photometry
from nanstack.levels.sky import MODELS, SkyMatch, match_skies
from nanstack.memory import Scratch
from nanstack.register.alignment import Alignment, Detection, FrameSource, align_frames, fill_with_sky
from nanstack.stack.definition import COMBINES, Rejection, reject, winsor_bounds
from nanstack.stack.stacker import Stack, expand_weights, stack_frames
from zemosaic_utils import make_radial_weight_map

log = logging.getLogger(__name__)

Progress = Callable[..., Any] | None
REJECTIONS = {
    "winsorized_sigma_clip": "winsor",
    "kappa_sigma": "kappa_sigma",
    "linear_fit_clip": "linear_fit",
    "none": "none",
}
WINSOR_METHODS = {"legacy_quantile": "winsor", "pixinsight": "huber"}  # ZeMosaic 4.5's names of the two
WINSOR_ENVIRONMENT = "ZEMOSAIC_WSC_IMPL"
LOG_LEVELS = {"WARN": logging.WARNING, "ERROR": logging.ERROR, "INFO": logging.INFO, "SUCCESS": logging.INFO}


def _log_stack_message(
    message_key_or_raw: str, level: str = "INFO", progress_callback: Progress = None, **kwargs: Any
) -> None:
    """Report to the caller, or to the log where nobody listens."""
    if progress_callback is not None:
        progress_callback(message_key_or_raw, None, level, **kwargs)
    else:
        details = ", ".join(f"{name}={value}" for name, value in kwargs.items())
        log.log(LOG_LEVELS.get(level, logging.DEBUG), "%s%s", message_key_or_raw, f" ({details})" if details else "")


def _setting(zconfig: Any, name: str, default: Any = None) -> Any:
    """Read one of ZeMosaic's settings from an object, a dict or None."""
    value = zconfig.get(name) if isinstance(zconfig, dict) else getattr(zconfig, name, None)
    return default if value is None else value


def _coerce_config_bool(value: Any, default: bool = True) -> bool:
    """Read a yes/no setting, which may be text; `default` where it is neither."""
    if isinstance(value, (bool, int, np.bool_, np.integer)):
        return bool(value)
    words = {"1": True, "true": True, "yes": True, "on": True, "0": False, "false": False, "no": False, "off": False}
    return words.get(str(value).strip().lower(), default)


def winsor_method(zconfig: Any = None, default: str = "legacy_quantile", progress_callback: Progress = None) -> str:
    """Return how winsorized stacks find outliers: the environment says, else the settings, else the caller.

    Parameters
    ----------
    zconfig : optional
        `wsc_impl`: 'pixinsight' or 'legacy_quantile'; so does the variable ZEMOSAIC_WSC_IMPL.
    default : str
    progress_callback : callable, optional
        Hears of a name that is none of them.

    Returns
    -------
    {'winsor', 'huber'}
    """
    for name in (os.environ.get(WINSOR_ENVIRONMENT), _setting(zconfig, "wsc_impl")):
        wanted = str(name or "").strip().lower()
        if wanted in WINSOR_METHODS:
            return WINSOR_METHODS[wanted]
        if wanted:
            text = f"winsorized clip '{name}' is unknown and ignored (known: {', '.join(WINSOR_METHODS)})"
            _log_stack_message(text, "WARN", progress_callback)
    return WINSOR_METHODS[default]


# ---------------------------------------------------------------------------------------------------- alignment


def align_group(
    frames: Sequence[FrameSource],
    reference_index: int,
    *,
    propagate_mask: bool,
    wcs: Sequence[Any] | None = None,
    interpolation: str = "bicubic",
    detection: Detection | None = None,
    progress_callback: Progress = None,
    names: Sequence[str] | None = None,
    scratch: Scratch | None = None,
) -> tuple[list[np.ndarray | None], list[Alignment]]:
    """Align a group and report each frame; what `align_images_in_group` does, with all that is known.

    Parameters
    ----------
    frames : sequence of ndarray, callable or None
        Float samples (H, W) or (H, W, 3) in ADU, or what returns them; not modified.
    reference_index : int
    propagate_mask : bool
        True: NaN outside a frame's footprint. False: finite everywhere, filled with the frame's own sky level.
    wcs : sequence, optional
        Solutions of the frames, for those whose stars do not match.
    interpolation : {'bicubic', 'lanczos3'}
    detection : nanstack.register.alignment.Detection, optional
    progress_callback : callable, optional
    names : sequence of str, optional
        Names of the frames for the messages.
    scratch : nanstack.memory.Scratch, optional
        Takes the aligned frames of a group that would exceed the memory budget; they come back as read-only maps.

    Returns
    -------
    images : list of ndarray of float32, or None where a frame failed
    alignments : list of nanstack.register.alignment.Alignment

    Raises
    ------
    ValueError
        For a reference that does not exist or is no image.
    """
    keep = scratch.keeper(len(frames)) if scratch is not None else None

    def finish(image: np.ndarray, frame: np.ndarray) -> np.ndarray:
        if not propagate_mask:
            fill_with_sky(image, frame)
        return image if keep is None else keep(image)

    images: list[np.ndarray | None] = []
    alignments = []
    aligned = align_frames(
        frames, reference_index, wcs=wcs, interpolation=interpolation, detection=detection, finish=finish
    )
    for done, (alignment, image) in enumerate(aligned, start=1):
        images.append(image)
        alignments.append(alignment)
        name = f"frame {alignment.index}" if names is None else names[alignment.index]
        _report_alignment(alignment, name, {"done": done, "total": len(frames)}, progress_callback)
    return images, alignments


def _report_alignment(alignment: Alignment, name: str, details: dict, progress_callback: Progress) -> None:
    details = {"index": alignment.index, **details}
    if not alignment.ok:
        _log_stack_message(f"{name}: {alignment.reason}; left out", "WARN", progress_callback, **details)
    elif alignment.method == "wcs":
        text = f"{name}: aligned by its WCS, because {alignment.reason}"
        _log_stack_message(text, "INFO_DETAIL", progress_callback, **details)
    else:
        text = f"{name}: {alignment.stars} stars, rms {alignment.rms:.3f} px"
        _log_stack_message(text, "DEBUG_DETAIL", progress_callback, **details)


def align_images_in_group(
    image_data_list: list,
    reference_image_index: int = 0,
    detection_sigma: float = 3.0,
    min_area: int = 5,
    propagate_mask: bool = False,
    progress_callback: Progress = None,
) -> tuple[list, list[int]]:
    """Align the frames of a group on one of them.

    Parameters
    ----------
    image_data_list : list of ndarray or None
        Float samples (H, W) or (H, W, 3) in ADU; not modified. None and frames of another shape than the
        reference's fail.
    reference_image_index : int
    detection_sigma : float
        Star detection threshold in units of the background noise.
    min_area : int
        Least area of a star in pixels.
    propagate_mask : bool
        True: NaN outside a frame's footprint. False: finite everywhere, filled with the frame's own sky level.
    progress_callback : callable, optional

    Returns
    -------
    images : list of ndarray of float32, or None where a frame failed
        As long as the input.
    failed : list of int
        Their indices, ascending; all of them where there is no usable reference.
    """
    everything = [None] * len(image_data_list), list(range(len(image_data_list)))
    try:
        images, alignments = align_group(
            image_data_list,
            reference_image_index,
            propagate_mask=propagate_mask,
            detection=Detection(detection_sigma, min_area),
            progress_callback=progress_callback,
        )
    except ValueError as no_reference:
        _log_stack_message(f"group not aligned: {no_reference}", "ERROR", progress_callback)
        return everything
    except ImportError as missing:
        _log_stack_message(f"group not aligned: {missing}; install it with pip", "ERROR", progress_callback)
        return everything
    return images, [alignment.index for alignment in alignments if not alignment.ok]


# ------------------------------------------------------------------------------------- normalisation and weights


def _normalize_images_linear_fit(
    image_list_hwc_float32: list,
    reference_index: int = 0,
    low_percentile: float = 25.0,
    high_percentile: float = 90.0,
    progress_callback: Progress = None,
    use_gpu: bool = False,
) -> list:
    """Bring each frame's two percentiles, channel by channel, onto the reference's; measured where both have data.

    Returns new float32 frames, None where there is none or its shape differs; NaN stays NaN. `use_gpu` is accepted
    and changes nothing.
    """

    def fit(frame: np.ndarray, reference: np.ndarray) -> SkyMatch:
        return SkyMatch(*photometry.linear_fit_coefficients(frame, reference, low_percentile, high_percentile))

    return _normalize(image_list_hwc_float32, reference_index, fit, progress_callback)


def _normalize_images_sky_mean(
    image_list: list,
    reference_index: int = 0,
    sky_percentile: float = 25.0,
    progress_callback: Progress = None,
    use_gpu: bool = False,
) -> list:
    """Shift each frame so that its luminance's sky percentile is the reference's; measured where both have data.

    Returns new float32 frames, None where there is none or its shape differs; NaN stays NaN. `use_gpu` is accepted
    and changes nothing.
    """

    def shift(frame: np.ndarray, reference: np.ndarray) -> SkyMatch:
        return SkyMatch(offset=photometry.sky_offset(frame, reference, sky_percentile))

    return _normalize(image_list, reference_index, shift, progress_callback)


def _normalize(images: list, reference_index: int, level_of: Callable, progress_callback: Progress) -> list:
    """Bring all but the reference to `level_of(frame, reference)`; copies only, where there is no reference."""
    if not 0 <= reference_index < len(images) or images[reference_index] is None:
        if images:
            text = f"frames not normalised: there is no reference frame {reference_index}"
            _log_stack_message(text, "ERROR", progress_callback)
        return [None if image is None else to_float32(real_array(image, "frame"), copy=True) for image in images]
    reference = to_float32(float_frame(images[reference_index], f"frame {reference_index}, the reference,"))
    result: list[np.ndarray | None] = []
    for index, image in enumerate(images):
        if image is None or np.shape(image) != reference.shape:
            if image is not None:
                text = (
                    f"frame {index} not normalised and left out: its shape {np.shape(image)} is not {reference.shape}"
                )
                _log_stack_message(text, "WARN", progress_callback)
            result.append(None)
        elif index == reference_index:
            result.append(reference.copy())
        else:
            result.append(to_float32(float_frame(image, f"frame {index}"), copy=True))
            level_of(image, reference).apply(result[-1])
    return result


NORMALIZATIONS = {
    "linear_fit": lambda frame, reference: SkyMatch(*photometry.linear_fit_coefficients(frame, reference)),
    "sky_mean": lambda frame, reference: SkyMatch(offset=photometry.sky_offset(frame, reference)),
}
WEIGHERS = {"noise_variance": photometry.noise_weights, "noise_fwhm": photometry.fwhm_weights}


def _compute_quality_weights(
    image_list: list, requested_method: str, progress_callback: Progress = None
) -> tuple[list | None, str, dict[str, float] | None]:
    """Return the quality weight of each frame, measured on its valid pixels.

    Parameters
    ----------
    image_list : list of ndarray or None
    requested_method : {'none', 'noise_variance', 'noise_fwhm'}
        Another name: one WARN, no weights.
    progress_callback : callable, optional

    Returns
    -------
    weights : list of ndarray of float32 or None, or None
        (1, 1, 3) for colour, (1,) for mono; None for a missing frame; None altogether without a method.
    method : str
        The one used.
    statistics : dict or None
        min, max, frames.
    """
    method = str(requested_method or "none").strip().lower()
    present = [to_float32(float_frame(image)) for image in image_list if image is not None]
    if method not in WEIGHERS or not present:
        if method not in ("none", *WEIGHERS):
            text = f"weighting '{method}' is unknown: frames are not weighted (known: {', '.join(WEIGHERS)})"
            _log_stack_message(text, "WARN", progress_callback)
        return None, "none", None
    values = iter(WEIGHERS[method](present))
    weights = [None if image is None else _compact(next(values)) for image in image_list]
    flat = np.concatenate([weight.ravel() for weight in weights if weight is not None])
    statistics = {"min": float(flat.min()), "max": float(flat.max()), "frames": float(len(present))}
    return weights, method, statistics


def _compact(weight: np.ndarray) -> np.ndarray:
    return weight.reshape((1, 1, -1)) if weight.ndim else weight.reshape((1,))


# ------------------------------------------------------------------------------------------------------- colour


def equalize_rgb_medians_inplace(img: np.ndarray) -> tuple[float, float, float, float]:
    """Scale the channels of a colour image so that the medians of their valid pixels agree.

    Parameters
    ----------
    img : ndarray, shape (H, W, 3)
        Modified; left alone where it is read-only or holds integers, or no channel has a positive median.

    Returns
    -------
    gain_r, gain_g, gain_b, target : float
        The gains, and the common median (NaN where there is none).
    """
    if img is None or np.ndim(img) != 3 or img.shape[2] != 3:
        return 1.0, 1.0, 1.0, math.nan
    gains, target = photometry.colour_gains(img)
    if _is_scalable(img):
        with np.errstate(over="ignore", invalid="ignore"):  # too large for float32: infinite, no data
            img *= gains.astype(img.dtype)
    else:
        log.warning("colours not equalised: the image is read-only, or of a type without fractions, %s", img.dtype)
    return float(gains[0]), float(gains[1]), float(gains[2]), target


def _is_scalable(image: np.ndarray) -> bool:
    return image.flags.writeable and image.dtype.kind == "f"


def _poststack_rgb_equalization(stacked: np.ndarray | None, zconfig: Any = None, stack_metadata: dict | None = None):
    """Equalise the colours of a stack if `poststack_equalize_rgb` (default true) says so.

    Returns
    -------
    dict
        enabled, applied, gain_r, gain_g, gain_b, target_median; also put into `stack_metadata['rgb_equalization']`.
    """
    enabled = _coerce_config_bool(_setting(zconfig, "poststack_equalize_rgb", True))
    info = {"enabled": enabled, "applied": False, "gain_r": 1.0, "gain_g": 1.0, "gain_b": 1.0}
    info["target_median"] = math.nan
    if enabled and stacked is not None and stacked.ndim == 3 and stacked.shape[2] == 3:
        gain_r, gain_g, gain_b, target = equalize_rgb_medians_inplace(stacked)
        info.update(gain_r=gain_r, gain_g=gain_g, gain_b=gain_b, target_median=target)
        info["applied"] = math.isfinite(target) and _is_scalable(stacked)
    if stack_metadata is not None:
        stack_metadata["rgb_equalization"] = info
    return info


# ---------------------------------------------------------------------------------------------------- rejection


def _winsorize_block_numpy(arr_block: np.ndarray, limits: tuple[float, float]) -> np.ndarray:
    """Clip each pixel's samples to two of their quantiles; NaN samples stay NaN and count for nothing.

    Parameters
    ----------
    arr_block : ndarray, shape (n, ...)
        Samples, frames first.
    limits : (float, float)
        Fractions to clip at the low and at the high end.

    Returns
    -------
    ndarray of float32, same shape
        Bounds are those of `numpy.nanquantile`.
    """
    block = to_float32(real_array(arr_block, "arr_block"))
    lower, upper = winsor_bounds(block, *_limits(limits))
    clipped = np.clip(block, lower, upper)
    return np.where(np.isfinite(block), clipped, np.nan).astype(np.float32)


def _reject_outliers_winsorized_sigma_clip(
    stacked_array_NHDWC: np.ndarray,
    winsor_limits_tuple: tuple[float, float],
    sigma_low: float,
    sigma_high: float,
    progress_callback: Progress = None,
    max_workers: int = 1,
    apply_rewinsor: bool = True,
    weights_chunk: np.ndarray | None = None,
    streaming_state: Any = None,
    wsc_impl: str | None = None,
) -> tuple[Any, np.ndarray | None]:
    """Reject outliers of a stack (n, H, W[, C]) by the winsorized sigma clip.

    Parameters
    ----------
    stacked_array_NHDWC : ndarray, shape (n, H, W) or (n, H, W, C)
        Not modified.
    winsor_limits_tuple : (float, float)
    sigma_low, sigma_high : float
    progress_callback : callable, optional
    max_workers : int
        Accepted; has no effect on the result.
    apply_rewinsor : bool
        True: a rejected sample is replaced by its winsorized value. False: it becomes NaN.
    weights_chunk, streaming_state : None
        ZeMosaic's accumulation over parts of the frames, which changes the answer: a ValueError names it.
    wsc_impl : {'legacy_quantile', 'pixinsight'}, optional
        See `winsor_method`, which decides where nothing is given.

    Returns
    -------
    values : ndarray of float32, same shape
    kept : ndarray of bool, same shape
        True where a sample was kept as it is.
    """
    if streaming_state is not None or weights_chunk is not None:
        raise ValueError("streaming_state and weights_chunk split frames, which changes the result: split rows instead")
    if wsc_impl is not None and wsc_impl not in WINSOR_METHODS:
        raise ValueError(f"wsc_impl must be one of {', '.join(WINSOR_METHODS)}, not {wsc_impl!r}")
    low, high = _limits(winsor_limits_tuple)
    method = winsor_method() if wsc_impl is None else WINSOR_METHODS[wsc_impl]
    rejection = Rejection(method, float(sigma_low), float(sigma_high), low, high, apply_rewinsor)
    return _reject_float32(stacked_array_NHDWC, rejection)


def _reject_outliers_kappa_sigma(
    stacked_array_NHDWC: np.ndarray, sigma_low: float, sigma_high: float, progress_callback: Progress = None
) -> tuple[np.ndarray, np.ndarray]:
    """Drop what lies outside median - sigma_low s ... median + sigma_high s of its pixel; see DESIGN for s.

    Returns
    -------
    values : ndarray of float32, same shape
        NaN where a sample was dropped.
    kept : ndarray of bool, same shape
    """
    return _reject_float32(stacked_array_NHDWC, Rejection("kappa_sigma", float(sigma_low), float(sigma_high)))


def _reject_outliers_linear_fit_clip(
    stacked_array_NHDWC: np.ndarray, progress_callback: Progress = None
) -> tuple[np.ndarray, np.ndarray]:
    """Drop what lies more than 3 mean deviations off the line through its pixel's sorted samples.

    Returns
    -------
    values : ndarray of float32, same shape
        NaN where a sample was dropped.
    kept : ndarray of bool, same shape
    """
    return _reject_float32(stacked_array_NHDWC, Rejection("linear_fit"))


def _reject_float32(samples: np.ndarray, rejection: Rejection) -> tuple[np.ndarray, np.ndarray]:
    samples = to_float32(real_array(samples, "stacked_array_NHDWC"))
    if samples.ndim not in (3, 4):
        raise ValueError(f"stacked_array_NHDWC must be (n, H, W) or (n, H, W, C), not {samples.shape}")
    values, kept = reject(samples, rejection)
    return to_float32(values), kept


def _limits(winsor_limits: tuple[float, float] | None) -> tuple[float, float]:
    """Return the fractions to clip at the low and at the high end; (0.05, 0.05) where there are none."""
    try:
        low, high = (0.05, 0.05) if winsor_limits is None else (float(limit) for limit in winsor_limits)
    except (TypeError, ValueError):
        raise ValueError(f"winsor_limits must be two numbers, not {winsor_limits!r}") from None
    return low, high


# ----------------------------------------------------------------------------------------------------- stackers


def stack_winsorized_sigma_clip(
    frames: Sequence[np.ndarray],
    weights: Any = None,
    weight_method: str = "none",
    zconfig: Any = None,
    stack_metadata: dict | None = None,
    parallel_plan: Any = None,
    **kwargs: Any,
) -> tuple[np.ndarray, float]:
    """Stack aligned frames by the winsorized sigma clip.

    Parameters
    ----------
    frames : sequence of ndarray, (H, W) or (H, W, 3)
        NaN where a frame has no data. One whose shape is not the first one's is dropped with a WARN.
    weights : optional
        Per frame, per frame and channel, or per pixel; overrides `weight_method`.
    weight_method : {'none', 'noise_variance', 'noise_fwhm'}
    zconfig : optional
        `poststack_equalize_rgb` (default true); `wsc_impl`, see `winsor_method`.
    stack_metadata : dict, optional
        Receives winsor_quantile, rejected_fraction, coverage_min/median/max, coverage_map, rgb_equalization.
    parallel_plan : optional
        Accepted; has no effect on the result.
    **kwargs
        kappa (3.0), or sigma_low and sigma_high; winsor_limits ((0.05, 0.05)); apply_rewinsor (True);
        wsc_impl ('legacy_quantile'), for where neither environment nor settings say;
        progress_callback; ZeMosaic's memory hints, which never change the result.

    Returns
    -------
    image : ndarray of float32
        NaN where no frame has data.
    rejected_percent : float
        Share of the samples with data that were rejected.

    Raises
    ------
    ValueError
        For no frames, other dimensions, or limits out of range.
    """
    kappa = float(kwargs.get("kappa", 3.0))
    low, high = _limits(kwargs.get("winsor_limits"))
    rejection = Rejection(
        winsor_method(zconfig, kwargs.get("wsc_impl") or "legacy_quantile", kwargs.get("progress_callback")),
        float(kwargs.get("sigma_low", kappa)),
        float(kwargs.get("sigma_high", kappa)),
        low,
        high,
        bool(kwargs.get("apply_rewinsor", True)),
    )
    progress = kwargs.get("progress_callback")
    return _weigh_and_stack(frames, rejection, weights, weight_method, zconfig, stack_metadata, progress)


def stack_kappa_sigma_clip(
    frames: Sequence[np.ndarray],
    weight_method: str = "none",
    zconfig: Any = None,
    stack_metadata: dict | None = None,
    parallel_plan: Any = None,
    **kwargs: Any,
) -> tuple[np.ndarray, float]:
    """Stack aligned frames by the kappa-sigma clip.

    As `stack_winsorized_sigma_clip`; the keyword arguments are sigma_low, sigma_high (3.0), weights and
    progress_callback.
    """
    rejection = Rejection("kappa_sigma", float(kwargs.get("sigma_low", 3.0)), float(kwargs.get("sigma_high", 3.0)))
    weights, progress = kwargs.get("weights"), kwargs.get("progress_callback")
    return _weigh_and_stack(frames, rejection, weights, weight_method, zconfig, stack_metadata, progress)


def stack_linear_fit_clip(
    frames: Sequence[np.ndarray],
    weight_method: str = "none",
    zconfig: Any = None,
    stack_metadata: dict | None = None,
    parallel_plan: Any = None,
    **kwargs: Any,
) -> tuple[np.ndarray, float]:
    """Stack aligned frames by the linear-fit clip.

    As `stack_winsorized_sigma_clip`; the keyword arguments are sigma (3.0), weights and progress_callback.
    """
    sigma = float(kwargs.get("sigma", 3.0))
    weights, progress = kwargs.get("weights"), kwargs.get("progress_callback")
    rejection = Rejection("linear_fit", sigma, sigma)
    return _weigh_and_stack(frames, rejection, weights, weight_method, zconfig, stack_metadata, progress)


def stack_aligned_images(
    aligned_image_data_list: list,
    normalize_method: str = "none",
    weighting_method: str = "none",
    rejection_algorithm: str = "kappa_sigma",
    final_combine_method: str = "mean",
    sigma_clip_low: float = 3.0,
    sigma_clip_high: float = 3.0,
    winsor_limits: tuple[float, float] = (0.05, 0.05),
    minimum_signal_adu_target: float = 0.0,
    apply_radial_weight: bool = False,
    radial_feather_fraction: float = 0.8,
    radial_shape_power: float = 2.0,
    winsor_max_workers: int = 1,
    progress_callback: Progress = None,
    zconfig: Any = None,
    stack_metadata: dict | None = None,
    parallel_plan: Any = None,
    *,
    apply_rewinsor: bool = True,
    match_sky: str = "none",
) -> np.ndarray | None:
    """Normalise, weight, reject and combine aligned frames; a sample without data is NaN throughout.

    Parameters
    ----------
    aligned_image_data_list : list of ndarray or None, (H, W) or (H, W, 3)
        The first one is the reference of the normalisation.
    normalize_method : {'none', 'linear_fit', 'sky_mean'}
    weighting_method : {'none', 'noise_variance', 'noise_fwhm'}
    rejection_algorithm : {'winsorized_sigma_clip', 'kappa_sigma', 'linear_fit_clip', 'none'}
    final_combine_method : {'mean', 'median', 'min', 'max'}
    sigma_clip_low, sigma_clip_high : float
    winsor_limits : (float, float)
    minimum_signal_adu_target : float
        Where positive, the stack is raised so that its least value is at least this one.
    apply_radial_weight : bool
        Weight pixels by their distance from the middle, by `zemosaic_utils.make_radial_weight_map`.
    radial_feather_fraction, radial_shape_power : float
    winsor_max_workers, parallel_plan
        Accepted; have no effect on the result.
    progress_callback, zconfig, stack_metadata
        See `stack_winsorized_sigma_clip`.
    apply_rewinsor : bool
        Whether a sample that the winsorized clip rejects still counts, as its winsorized value.
    match_sky : {'none', 'offset', 'linear', 'plane'}
        Match the frames' sky to the first one's before rejection; see `nanstack.levels.sky.match_sky`. A normalisation
        does that in its own way, and comes first: with one, frames are not matched again.

    Returns
    -------
    ndarray of float32, or None where there is no frame to stack
        A name of a method that is not known: one WARN, and no rejection, normalisation or weights; mean for a combine.
    """
    if all(image is None for image in aligned_image_data_list):
        _log_stack_message("no frames to stack", "WARN", progress_callback)
        return None
    plan = plan_stack(
        aligned_image_data_list,
        normalize=normalize_method,
        match=match_sky,
        weight=weighting_method,
        reject=rejection_algorithm,
        combine=final_combine_method,
        kappas=(sigma_clip_low, sigma_clip_high),
        winsor_limits=winsor_limits,
        rewinsor=apply_rewinsor,
        radial=(radial_feather_fraction, radial_shape_power) if apply_radial_weight else None,
        zconfig=zconfig,
        progress_callback=progress_callback,
    )
    result = _stack(plan.frames, plan.rejection, plan.combine, plan.weights, progress_callback, plan.levels)
    _describe(stack_metadata, result, plan.rejection, plan.weight_method)
    _describe_levels(stack_metadata, plan)
    if stack_metadata is not None:
        stack_metadata["frame_weights"] = plan.frame_weights()
    image = result.image
    if minimum_signal_adu_target > 0 and np.isfinite(image).any():
        image += max(0.0, float(minimum_signal_adu_target) - float(np.nanmin(image)))
    _poststack_rgb_equalization(image, zconfig, stack_metadata)
    return image


@dataclass(frozen=True)
class StackPlan:
    """What a stack is made of, for the CPU and the GPU alike; the names are those of `stack_frames`."""

    frames: list[np.ndarray]
    rejection: Rejection
    combine: str
    weights: list[np.ndarray] | None
    levels: list[SkyMatch] | None
    levelled_by: str
    weight_method: str
    weight_statistics: dict[str, float] | None

    def frame_weights(self) -> list[float] | None:
        """Return each frame's weight, averaged over channels and pixels, in units of the frames' mean."""
        if self.weights is None:
            return None
        means = np.array([np.mean(weight) for weight in self.weights])
        return (means / means.mean()).tolist()


def plan_stack(
    images: Sequence[np.ndarray | None],
    *,
    normalize: str,
    match: str = "none",
    weight: str,
    reject: str,
    combine: str,
    kappas: tuple[float, float],
    winsor_limits: tuple[float, float],
    rewinsor: bool = True,
    radial: tuple[float, float] | None = None,
    zconfig: Any = None,
    progress_callback: Progress = None,
) -> StackPlan:
    """Measure the levels and weights of aligned frames, and say how they are to be stacked.

    Parameters
    ----------
    images : sequence of ndarray or None, (H, W) or (H, W, 3)
        The first one is the reference of the normalisation.
    normalize, weight, reject, combine : str
        ZeMosaic's names; see `stack_aligned_images`.
    match : str
        How frames are matched in sky level, where they are not normalised; a model of `nanstack.levels.sky.match_sky`.
    kappas, winsor_limits : (float, float)
        At the low and the high end.
    rewinsor : bool
    radial : (float, float), optional
        Feather fraction and power of the radial weights.
    zconfig, progress_callback : optional

    Raises
    ------
    ValueError
        For no frames, or limits out of range.
    """
    normalize = _known(normalize, ("none", *NORMALIZATIONS), "none", "normalisation", progress_callback)
    algorithm = _known(reject, REJECTIONS, "none", "rejection", progress_callback)
    combine = _known(combine, COMBINES, "mean", "combine", progress_callback)
    frames = _same_shape(images, progress_callback)
    match = _known(match, MODELS, "none", "sky matching", progress_callback)
    levels, levelled_by = None, match if normalize == "none" else normalize
    if normalize != "none":
        levels = [SkyMatch(), *(NORMALIZATIONS[normalize](frame, frames[0]) for frame in frames[1:])]
    elif match != "none":
        levels = match_skies(frames, 0, match)
    weights, method, statistics = _compute_quality_weights(frames, weight, progress_callback)
    if method == "noise_variance" and levels is not None:  # a gain scales the noise, too
        weights = [own / np.square(level.gain, dtype=np.float64) for own, level in zip(weights, levels, strict=True)]
    if radial is not None:
        weights = _with_radial_map(weights, frames, *radial)
    found_by = REJECTIONS[algorithm]
    if found_by == "winsor":
        found_by = winsor_method(zconfig, progress_callback=progress_callback)
    low, high = (float(kappa) for kappa in kappas)
    rejection = Rejection(found_by, low, high, *_limits(winsor_limits), rewinsor)
    return StackPlan(frames, rejection, combine, weights, levels, levelled_by, method, statistics)


def _weigh_and_stack(
    frames: Sequence[np.ndarray],
    rejection: Rejection,
    weights: Any,
    weight_method: str,
    zconfig: Any,
    stack_metadata: dict | None,
    progress_callback: Progress,
) -> tuple[np.ndarray, float]:
    """Do what the three stackers have in common."""
    given = [] if frames is None else list(frames)
    frames = _same_shape(given, progress_callback)
    method = "custom"
    if weights is None:
        weights, method, _ = _compute_quality_weights(frames, weight_method, progress_callback)
    elif len(frames) < len(given):
        weights = expand_weights(weights, len(given), frames[0].shape)
        weights = weights[[np.shape(frame) == frames[0].shape for frame in given]]
    result = _stack(frames, rejection, "mean", weights, progress_callback)
    _describe(stack_metadata, result, rejection, method)
    _poststack_rgb_equalization(result.image, zconfig, stack_metadata)
    return result.image, 100.0 * result.rejected_fraction


def _stack(
    frames: list[np.ndarray],
    rejection: Rejection,
    combine: str,
    weights: Any,
    progress_callback: Progress,
    levels: list[SkyMatch] | None = None,
) -> Stack:
    """Stack by the engine, or by a function that was bound to `cpu_stack_winsorized` from outside."""
    bound_outside = callable(cpu_stack_winsorized) and cpu_stack_winsorized is not _cpu_stack_winsorized_fallback
    if bound_outside and rejection.method == "winsor" and combine == "mean" and levels is None:
        result = _stack_externally(cpu_stack_winsorized, frames, rejection, weights, progress_callback)
        if result is not None:
            return result
    rows = _row_progress(rejection, progress_callback)
    return stack_frames(frames, rejection, combine, weights, rows, levels=levels)


def _same_shape(frames: Sequence[np.ndarray | None], progress_callback: Progress) -> list[np.ndarray]:
    """Return the frames of the first one's shape; say which are dropped."""
    arrays = [(index, real_array(frame, f"frame {index}")) for index, frame in enumerate(frames) if frame is not None]
    if not arrays:
        raise ValueError("no frames to stack")
    shape = arrays[0][1].shape
    if len(shape) not in (2, 3) or 0 in shape:
        raise ValueError(f"frames must be (H, W) or (H, W, 3) and hold pixels, not {shape}")
    for index, frame in arrays:
        if frame.shape != shape:
            text = f"frame {index} dropped: its shape {frame.shape} is not the first one's, {shape}"
            _log_stack_message(text, "WARN", progress_callback)
    return [frame for _, frame in arrays if frame.shape == shape]


def _known(name: Any, names: Any, default: str, what: str, progress_callback: Progress) -> str:
    """Return a method's name, or the default with one WARN where it is none."""
    wanted = str(name or default).strip().lower()
    if wanted in names:
        return wanted
    text = f"{what} '{name}' is unknown, '{default}' is used (known: {', '.join(names)})"
    _log_stack_message(text, "WARN", progress_callback)
    return default


def _with_radial_map(weights: list | None, frames: list[np.ndarray], feather: float, power: float) -> list[np.ndarray]:
    """Multiply each frame's weight by the radial map of its shape."""
    height, width = frames[0].shape[:2]
    radial = make_radial_weight_map(height, width, feather, power)
    if frames[0].ndim == 3:
        radial = radial[..., None]
    return [radial] * len(frames) if weights is None else [radial * weight for weight in weights]


def _row_progress(rejection: Rejection, progress_callback: Progress) -> Callable[[int, int], None] | None:
    """Return what tells ZeMosaic how many rows are done, under the keys it knows."""
    key = {"winsor": "stack_winsorized", "huber": "stack_winsorized", "kappa_sigma": "stack_kappa"}.get(
        rejection.method
    )
    if progress_callback is None or key is None:
        return None
    return lambda done, total: progress_callback(key, done, total)


def _describe(stack_metadata: dict | None, result: Stack, rejection: Rejection, weight_method: str) -> None:
    """Put into the metadata how the stack was made and what it covers."""
    if stack_metadata is None:
        return
    coverage = result.coverage if result.coverage.ndim == 2 else result.coverage.min(axis=2)
    stack_metadata.update(
        rejection=rejection.method,
        rejected_fraction=result.rejected_fraction,
        weight_method=weight_method,
        coverage_min=int(coverage.min()),
        coverage_median=float(np.median(coverage)),
        coverage_max=int(coverage.max()),
        coverage_map=coverage,
    )
    if rejection.method == "winsor":
        stack_metadata["winsor_quantile"] = "nan-aware"


def _describe_levels(stack_metadata: dict | None, plan: StackPlan) -> None:
    """Put into the metadata how the frames were brought to one level."""
    if stack_metadata is not None:
        stack_metadata.update(levelled_by=plan.levelled_by, levels=plan.levels)


def _stack_externally(
    external: Callable, frames: list[np.ndarray], rejection: Rejection, weights: Any, progress_callback: Progress
) -> Stack | None:
    """Stack by a function from outside; None where it must not be trusted with NaN, or fails."""
    holes = sum(not np.isfinite(frame).all() for frame in frames)
    if holes:
        text = f"external winsorized stack not used: {holes} of {len(frames)} frames hold samples without data"
        _log_stack_message(text, "WARN", progress_callback)
        return None
    settings = {
        "kappa": rejection.kappa_high,
        "winsor_limits": (rejection.winsor_low, rejection.winsor_high),
        "apply_rewinsor": rejection.rewinsor,
        "weights": weights,
    }
    try:
        image, percent = _normalize_stack_output(external(frames, **settings))
        if image.shape != frames[0].shape:
            raise ValueError(f"its image has the shape {image.shape}, the frames have {frames[0].shape}")
    except (TypeError, ValueError, RuntimeError, MemoryError) as failure:
        text = f"external winsorized stack failed ({failure}): the internal one is used"
        _log_stack_message(text, "WARN", progress_callback)
        return None
    samples = len(frames) * image.size
    coverage = np.full(image.shape, len(frames), dtype=np.uint16)
    return Stack(image, coverage, round(samples * percent / 100), samples)


def _normalize_stack_output(result: Any) -> tuple[np.ndarray, float]:
    """Return (image float32, rejected percent) from a stacker that may return the image alone."""
    image, percent = (result[0], result[1]) if isinstance(result, (tuple, list)) else (result, 0.0)
    return np.array(image, dtype=np.float32), float(percent)


def _cpu_stack_winsorized_fallback(
    frames: Sequence[np.ndarray],
    *,
    kappa: float = 3.0,
    winsor_limits: tuple[float, float] = (0.05, 0.05),
    apply_rewinsor: bool = True,
    weights: Any = None,
    winsor_max_workers: int = 1,
    progress_callback: Progress = None,
    force_memmap: bool = False,
) -> tuple[np.ndarray, float]:
    """Stack by the internal winsorized sigma clip, without weights by quality and without equalisation."""
    rejection = Rejection("winsor", kappa, kappa, winsor_limits[0], winsor_limits[1], apply_rewinsor)
    frames = _same_shape(frames, progress_callback)
    result = stack_frames(frames, rejection, "mean", weights, _row_progress(rejection, progress_callback))
    return result.image, 100.0 * result.rejected_fraction


# What other code may bind to a stacker of its own; ours is used wherever frames hold samples without data.
cpu_stack_winsorized = _cpu_stack_winsorized_fallback
