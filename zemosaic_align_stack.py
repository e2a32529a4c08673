# SPDX-License-Identifier: GPL-3.0-or-later
"""ZeMosaic's CPU Phase-3 interface: align the frames of a group, stack them.

Names, parameters and return values are ZeMosaic's; the work is in `nanstack`, the translation in
`zemosaic_patch.compat`. A sample without data is NaN from the alignment to the stack, and no result depends on memory
settings.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from nanstack.arrays import float_frame, real_array, to_float32
from nanstack.levels import photometry
from nanstack.levels.colour import ColourBalance, equalize_medians
from nanstack.levels.sky import SkyMatch
from nanstack.levels.weights import quality_weights
from nanstack.register.alignment import Detection, align_frames
from nanstack.settings import TileSettings
from nanstack.stack.definition import Rejection, reject, winsor_bounds
from nanstack.stack.plan import StackPlan, plan_stack
from nanstack.stack.stacker import Stack, expand_weights, stack_frames
from nanstack.tile import StackedGroup
from zemosaic_patch import compat
from zemosaic_patch.compat import COMBINES, WINSOR_ENVIRONMENT, winsor_method
from zemosaic_patch.names import REJECTIONS, WINSOR_METHODS

__all__ = ["COMBINES", "REJECTIONS", "WINSOR_ENVIRONMENT", "WINSOR_METHODS", "winsor_method"]

Progress = Callable[..., Any] | None


def _log_stack_message(
    message_key_or_raw: str, level: str = "INFO", progress_callback: Progress = None, **kwargs: Any
) -> None:
    """Report to the caller, or to the log where nobody listens."""
    compat.report(message_key_or_raw, level, progress_callback, **kwargs)


def _coerce_config_bool(value: Any, default: bool = True) -> bool:
    """Read a yes/no setting, which may be text; `default` where it is neither."""
    return compat.as_bool(value, default)


# ---------------------------------------------------------------------------------------------------- alignment


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

    def finish(image: np.ndarray, frame: np.ndarray) -> np.ndarray:
        return image if propagate_mask else compat.fill_with_sky(image, frame)

    images: list[np.ndarray | None] = []
    failed: list[int] = []
    try:
        detection = Detection(detection_sigma, min_area)
        aligned = align_frames(image_data_list, reference_image_index, detection=detection, finish=finish)
        for alignment, image in aligned:
            images.append(image)
            if not alignment.ok:
                failed.append(alignment.index)
            done = len(images), len(image_data_list)
            compat.report_alignment(alignment, f"frame {alignment.index}", done, progress_callback)
    except ValueError as no_reference:
        return _not_aligned(image_data_list, str(no_reference), progress_callback)
    except ImportError as missing:
        return _not_aligned(image_data_list, f"install {missing.name or missing} with pip", progress_callback)
    return images, failed


def _not_aligned(frames: list, reason: str, progress_callback: Progress) -> tuple[list, list[int]]:
    """Report why a group cannot be aligned; return what says that all its frames failed."""
    compat.report(f"group not aligned: {reason}", "ERROR", progress_callback)
    return [None] * len(frames), list(range(len(frames)))


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
            compat.report(text, "ERROR", progress_callback)
        return [None if image is None else to_float32(real_array(image, "frame"), copy=True) for image in images]
    reference = to_float32(float_frame(images[reference_index], f"frame {reference_index}, the reference,"))
    result: list[np.ndarray | None] = []
    for index, image in enumerate(images):
        if image is None or np.shape(image) != reference.shape:
            if image is not None:
                text = (
                    f"frame {index} not normalised and left out: its shape {np.shape(image)} is not {reference.shape}"
                )
                compat.report(text, "WARN", progress_callback)
            result.append(None)
        elif index == reference_index:
            result.append(reference.copy())
        else:
            result.append(to_float32(float_frame(image, f"frame {index}"), copy=True))
            level_of(image, reference).apply(result[-1])
    return result


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
    method = compat.known_weighting(requested_method, progress_callback)
    present = [image for image in image_list if image is not None]
    if method == "none" or not present:
        return None, "none", None
    measured = quality_weights(present, method)
    each = iter(measured)
    return [None if image is None else next(each) for image in image_list], method, compat.weight_statistics(measured)


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
    colour = ColourBalance() if img is None else equalize_medians(np.asanyarray(img))
    return *colour.gains, colour.target


def _poststack_rgb_equalization(stacked: np.ndarray | None, zconfig: Any = None, stack_metadata: dict | None = None):
    """Equalise the colours of a stack if `poststack_equalize_rgb` (default true) says so.

    Returns
    -------
    dict
        enabled, applied, gain_r, gain_g, gain_b, target_median; also put into `stack_metadata['rgb_equalization']`.
    """
    enabled = compat.as_bool(compat.setting(zconfig, "poststack_equalize_rgb", True))
    colour = equalize_medians(stacked) if enabled and stacked is not None else ColourBalance(enabled)
    info = compat.equalization_of(colour)
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
    lower, upper = winsor_bounds(block, *compat.winsor_limits(limits))
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
    low, high = compat.winsor_limits(winsor_limits_tuple)
    method = winsor_method() if wsc_impl is None else WINSOR_METHODS[wsc_impl]
    rejection = Rejection(method, float(sigma_low), float(sigma_high), low, high, apply_rewinsor)
    return _reject_float32(stacked_array_NHDWC, rejection)


def _reject_outliers_kappa_sigma(
    stacked_array_NHDWC: np.ndarray, sigma_low: float, sigma_high: float, progress_callback: Progress = None
) -> tuple[np.ndarray, np.ndarray]:
    """Drop what lies outside median - sigma_low s ... median + sigma_high s of its pixel.

    The median and the standard deviation s are those of what up to 5 rounds of clipping leave (astropy's sigma clip).

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
    low, high = compat.winsor_limits(kwargs.get("winsor_limits"))
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
        Weight pixels by their distance from the middle, by `nanstack.levels.weights.radial_map`.
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
        compat.report("no frames to stack", "WARN", progress_callback)
        return None
    words = compat.StackWords(
        reject=rejection_algorithm,
        kappas=(sigma_clip_low, sigma_clip_high),
        winsor_limits=winsor_limits,
        rewinsor=apply_rewinsor,
        normalize=normalize_method,
        match=match_sky,
        weight=weighting_method,
        combine=final_combine_method,
        radial=(radial_feather_fraction, radial_shape_power) if apply_radial_weight else None,
    )
    settings = words.settings(zconfig, progress_callback)
    frames = compat.frames_of_one_shape(aligned_image_data_list, progress_callback)
    stacked = _stacked(plan_stack(frames, settings), progress_callback)
    _describe(stacked, stack_metadata)
    image = stacked.image
    if minimum_signal_adu_target > 0 and np.isfinite(image).any():
        image += max(0.0, float(minimum_signal_adu_target) - float(np.nanmin(image)))
    _poststack_rgb_equalization(image, zconfig, stack_metadata)
    return image


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
    frames = compat.frames_of_one_shape(given, progress_callback)
    if weights is not None and len(frames) < len(given):
        weights = expand_weights(weights, len(given), frames[0].shape)
        weights = weights[[np.shape(frame) == frames[0].shape for frame in given]]
    method = "none" if weights is not None else compat.known_weighting(weight_method, progress_callback)
    settings = TileSettings(rejection=rejection, match="none", weight=method)
    stacked = _stacked(plan_stack(frames, settings, weights), progress_callback)
    _describe(stacked, stack_metadata)
    _poststack_rgb_equalization(stacked.image, zconfig, stack_metadata)
    return stacked.image, 100.0 * stacked.stack.rejected_fraction


def _stacked(plan: StackPlan, progress_callback: Progress) -> StackedGroup:
    """Stack by the engine, or by a function that was bound to `cpu_stack_winsorized` from outside."""
    bound_outside = callable(cpu_stack_winsorized) and cpu_stack_winsorized is not _cpu_stack_winsorized_fallback
    stack = None
    if bound_outside and plan.rejection.method == "winsor" and plan.combine == "mean" and plan.levels is None:
        stack = _stack_externally(cpu_stack_winsorized, plan, progress_callback)
    if stack is None:
        progress = compat.StackProgress(progress_callback, plan.rejection.method)
        stack = stack_frames(plan.frames, plan.rejection, plan.combine, plan.weights, progress.rows, levels=plan.levels)
    return StackedGroup(stack, plan, "cpu", ColourBalance())


def _describe(stacked: StackedGroup, stack_metadata: dict | None) -> None:
    if stack_metadata is not None:
        stack_metadata.update(compat.metadata_of(stacked))


def _stack_externally(external: Callable, plan: StackPlan, progress_callback: Progress) -> Stack | None:
    """Stack by a function from outside; None where it must not be trusted with NaN, or fails."""
    frames, rejection = plan.frames, plan.rejection
    holes = sum(not np.isfinite(frame).all() for frame in frames)
    if holes:
        text = f"external winsorized stack not used: {holes} of {len(frames)} frames hold samples without data"
        compat.report(text, "WARN", progress_callback)
        return None
    settings = {
        "kappa": rejection.kappa_high,
        "winsor_limits": (rejection.winsor_low, rejection.winsor_high),
        "apply_rewinsor": rejection.rewinsor,
        "weights": plan.weights,
    }
    try:
        image, percent = _normalize_stack_output(external(frames, **settings))
        if image.shape != frames[0].shape:
            raise ValueError(f"its image has the shape {image.shape}, the frames have {frames[0].shape}")
    except (TypeError, ValueError, RuntimeError, MemoryError) as failure:
        text = f"external winsorized stack failed ({failure}): the internal one is used"
        compat.report(text, "WARN", progress_callback)
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
    frames = compat.frames_of_one_shape(frames, progress_callback)
    progress = compat.StackProgress(progress_callback, rejection.method)
    result = stack_frames(frames, rejection, "mean", weights, progress.rows)
    return result.image, 100.0 * result.rejected_fraction


# What other code may bind to a stacker of its own; ours is used wherever frames hold samples without data.
cpu_stack_winsorized = _cpu_stack_winsorized_fallback
