# SPDX-License-Identifier: GPL-3.0-or-later
"""ZeMosaic's utilities interface: FITS in and out, previews, weights. Names and parameters are ZeMosaic's."""

from __future__ import annotations

import inspect
import logging
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from nanstack.arrays import check_percentile, float_frame, real_array, to_float32
from nanstack.crop import cut
from nanstack.io.bayer import debayer
from nanstack.io.frames import FrameError, read_with_alpha
from nanstack.io.images import image_hdus, write_hdus
from nanstack.levels.photometry import thinned
from nanstack.levels.weights import radial_map
from nanstack.stack import device, gpu

log = logging.getLogger(__name__)

Progress = Callable[..., Any] | None


def _tell(message: str, level: str, progress_callback: Progress) -> None:
    if progress_callback is not None:
        progress_callback(message, None, level)
    else:
        log.log(logging.WARNING if level in ("WARN", "ERROR") else logging.DEBUG, message)


def load_and_validate_fits(
    filepath: str,
    normalize_to_float32: bool = True,
    attempt_fix_nonfinite: bool = True,
    progress_callback: Progress = None,
) -> tuple[np.ndarray | None, Any, dict]:
    """Read a FITS image as float32, (H, W) or (H, W, 3).

    Unlike `nanstack.io.frames.read_frame`, a Bayer mosaic comes back as it is.

    Parameters
    ----------
    filepath : str
    normalize_to_float32 : bool
        Scale to [0, 1] by the finite range.
    attempt_fix_nonfinite : bool
        Accepted; a pixel without data stays NaN, because a filled one would be believed.
    progress_callback : callable, optional

    Returns
    -------
    image : ndarray of float32, or None where the file cannot be used (with one ERROR that says why)
    header : astropy.io.fits.Header
    info : dict
        `alpha_mask` (uint8) where the file has an ALPHA image.
    """
    from astropy.io import fits

    try:
        image, header, alpha = read_with_alpha(Path(filepath))
    except FrameError as unusable:
        _tell(str(unusable), "ERROR", progress_callback)
        return None, fits.Header(), {}
    info = {} if alpha is None else {"alpha_mask": alpha}
    if normalize_to_float32 and np.isfinite(image).any():
        low, high = float(np.nanmin(image)), float(np.nanmax(image))
        image = ((image - low) / (high - low) if high > low else np.zeros_like(image)).astype(np.float32)
    return image, header, info


def debayer_image(
    img_norm_01: np.ndarray, bayer_pattern: str = "GRBG", progress_callback: Progress = None
) -> np.ndarray:
    """Debayer a mosaic of values in [0, 1].

    Returns
    -------
    ndarray of float32, shape (H, W, 3), values in [0, 1]
        NaN in and around a pixel without data.

    Raises
    ------
    ValueError
        For another number of axes, what is no real number, or an unknown pattern.
    """
    mosaic = real_array(img_norm_01, "img_norm_01").astype(np.float64)
    if mosaic.ndim != 2:
        raise ValueError(f"img_norm_01 must be (H, W), not {mosaic.shape}")
    mosaic[np.isinf(mosaic)] = np.nan  # no data, which no limit makes into light
    return debayer(np.clip(mosaic, 0.0, 1.0), str(bayer_pattern).upper())


def make_radial_weight_map(
    height: int,
    width: int,
    feather_fraction: float = 0.8,
    shape_power: float = 2.0,
    min_weight_floor: float = 0.05,
    progress_callback: Progress = None,
) -> np.ndarray:
    """Return weights that fall from 1 in the middle of a frame: `nanstack.levels.weights.radial_map`."""
    return radial_map(height, width, feather_fraction, shape_power, min_weight_floor)


def crop_image_and_wcs(
    image_data_hwc: np.ndarray, wcs_obj: Any, crop_percentage_per_side: float, progress_callback: Progress = None
) -> tuple[np.ndarray | None, Any]:
    """Cut a share (0 to 0.5, despite its name) off each side, and move the WCS with it.

    Returns
    -------
    image, wcs
        Copies of neither where nothing is cut; (None, None) for a share out of range, or input that is not an image.
    """
    if not 0.0 <= crop_percentage_per_side < 0.5:
        _tell(f"crop of {crop_percentage_per_side} per side is not within 0 to 0.5", "ERROR", progress_callback)
        return None, None
    if np.ndim(image_data_hwc) not in (2, 3):
        _tell(f"no image to crop: its shape is {np.shape(image_data_hwc)}", "ERROR", progress_callback)
        return None, None
    height, width = image_data_hwc.shape[:2]
    rows, columns = int(height * crop_percentage_per_side), int(width * crop_percentage_per_side)
    return cut(image_data_hwc, wcs_obj, rows, height - rows, columns, width - columns)


def stretch_auto_asifits_like(
    img_hwc_adu: np.ndarray,
    p_low: float = 0.5,
    p_high: float = 99.8,
    asinh_a: float = 0.01,
    apply_wb: bool = True,
) -> np.ndarray:
    """Stretch an image for the screen: each channel between two percentiles, by an inverse hyperbolic sine.

    Parameters
    ----------
    img_hwc_adu : ndarray, shape (H, W) or (H, W, 3)
        NaN is drawn black.
    p_low, p_high : float
        Percentiles of the valid pixels that become black and white.
    asinh_a : float
        Where the stretch turns from linear to logarithmic: x becomes asinh(x / a) / asinh(1 / a), see Lupton et al.
        1999, AJ 118, 1406.
    apply_wb : bool
        True: each channel by its own percentiles. False: all by those of their mean.

    Returns
    -------
    ndarray of float32, same shape, values in [0, 1]

    Raises
    ------
    ValueError
        For input that is not an image, percentiles out of 0 to 100, or an `asinh_a` out of 1e-30 to 1e30.
    """
    check_percentile("p_low", p_low)
    check_percentile("p_high", p_high)
    if not 1e-30 <= asinh_a <= 1e30:
        raise ValueError(f"asinh_a must be 1e-30 to 1e30, not {asinh_a!r}")
    image = to_float32(float_frame(img_hwc_adu, "img_hwc_adu"))
    planes = image[..., None] if image.ndim == 2 else image
    with np.errstate(invalid="ignore"):  # infinities of both signs
        luminance = None if apply_wb else planes.sum(axis=2, dtype=np.float64) / max(1, planes.shape[2])
    out = np.zeros(planes.shape, dtype=np.float32)
    for channel in range(planes.shape[2]):
        plane = planes[..., channel].astype(np.float64)
        measured = thinned(plane if luminance is None else luminance)
        if not measured.size:
            continue
        low, high = np.percentile(measured, [p_low, p_high])
        scaled = np.clip((plane - low) / max(high - low, 1e-6), 0.0, 1.0)
        out[..., channel] = np.where(np.isfinite(plane), np.arcsinh(scaled / asinh_a) / np.arcsinh(1 / asinh_a), 0.0)
    return out.reshape(image.shape)


# ------------------------------------------------------------------------------------------------------- mosaic


def reproject_and_coadd_wrapper(
    data_list: list[np.ndarray],
    wcs_list: list[Any],
    shape_out: tuple[int, int],
    use_gpu: bool = False,
    cpu_func: Callable | None = None,
    allow_cpu_fallback: bool = True,
    progress_callback: Progress = None,
    tile_weights: list[float] | None = None,
    **kwargs: Any,
) -> tuple[np.ndarray, np.ndarray]:
    """Reproject images onto one grid and combine them, by `reproject.mosaicking.reproject_and_coadd`.

    Our own mosaic is made by `nanstack.make_mosaic`; this is for callers that know ZeMosaic's interface.

    Parameters
    ----------
    data_list : list of ndarray, shape (H, W)
        One channel of each tile; NaN, or infinite, is no data.
    wcs_list : list of WCS or Header
    shape_out : (int, int)
    use_gpu : bool
        There is no such code for the GPU: the CPU does it, with a word about it.
    cpu_func : callable, optional
        Takes the place of reproject's function.
    allow_cpu_fallback : bool
        False: where the GPU is asked for, fail rather than let the CPU do it.
    progress_callback : callable, optional
    tile_weights : list of float, optional
        One a tile; what is not a positive number counts as 1.
    **kwargs
        `output_projection` and whatever else that function names, also `tile_weight_maps`, which multiply
        `input_weights`; others, which are hints for a GPU, are ignored.

    Returns
    -------
    mosaic : ndarray of float32, shape `shape_out`
        NaN where no tile has data.
    footprint : ndarray of float32, same shape
        Sum of the weights.

    Raises
    ------
    ValueError
        For lists of different lengths, or empty ones.
    RuntimeError
        Where the GPU is asked for and the CPU is not allowed.
    """
    from reproject import reproject_interp
    from reproject.mosaicking import reproject_and_coadd

    if not data_list or len(data_list) != len(wcs_list):
        raise ValueError(f"data_list and wcs_list must go together, not {len(data_list)} and {len(wcs_list)} long")
    if use_gpu:
        if not allow_cpu_fallback:
            raise RuntimeError("mosaics are not made on the GPU, and the CPU is not allowed to")
        _tell("mosaics are not made on the GPU: the CPU does it", "INFO_DETAIL", progress_callback)
    function = cpu_func or reproject_and_coadd
    maps = [kwargs.pop("input_weights", None), kwargs.pop("tile_weight_maps", None)]
    weights = _pixel_weights(data_list, maps, tile_weights)
    known = inspect.signature(reproject_and_coadd).parameters
    options = {"reproject_function": reproject_interp} | {name: kwargs[name] for name in kwargs if name in known}
    images = [_without_infinities(image, f"data_list[{number}]") for number, image in enumerate(data_list)]
    mosaic, footprint = function(
        list(zip(images, wcs_list, strict=True)), shape_out=shape_out, input_weights=weights, **options
    )
    mosaic, footprint = np.array(mosaic, dtype=np.float32), np.asarray(footprint, dtype=np.float32)
    mosaic[~(footprint > 0)] = np.nan
    return mosaic, footprint


def _without_infinities(image: np.ndarray, name: str) -> np.ndarray:
    """Return an image as floats, NaN where it is infinite: there it has no data."""
    image = float_frame(image, name)
    infinite = np.isinf(image)
    return np.where(infinite, np.nan, image) if infinite.any() else image


def _pixel_weights(
    data_list: list[np.ndarray], maps: list[list | None], tile_weights: list[float] | None
) -> list[np.ndarray] | None:
    """Return each tile's weights, pixel by pixel; None where all are 1."""
    if tile_weights is None and not any(maps):
        return None
    weights = [np.ones(np.shape(data), dtype=np.float32) for data in data_list]
    for given in filter(None, maps):
        for weight, factor in zip(weights, given, strict=True):
            if factor is not None:
                weight *= np.asarray(factor, dtype=np.float32)
    if tile_weights is not None:
        for weight, factor in zip(weights, tile_weights, strict=True):
            weight *= np.float32(factor if factor is not None and np.isfinite(factor) and factor > 0 else 1)
    return weights


# ---------------------------------------------------------------------------------------------------------- GPU


def _usable_cupy() -> Any:
    """Return CuPy, or what stands in for it; None where it has no usable device."""
    return device.array_module() if device.fault() is None else None


def gpu_is_available() -> bool:
    """Tell whether a GPU can be used: a device is there and computes."""
    return device.fault() is None


def ensure_cupy_pool_initialized(device_id: int | None = None) -> None:
    """Make a device the current one; CuPy has pools of its own, which need no preparation."""
    xp = _usable_cupy()
    if xp is not None and device_id is not None and hasattr(xp, "cuda"):
        xp.cuda.Device(int(device_id)).use()


def free_cupy_memory_pools() -> None:
    """Give back the memory that CuPy keeps for later, where there is a GPU."""
    xp = _usable_cupy()
    if xp is not None:
        gpu.free_pools(xp)


def gpu_memory_sufficient(estimated_bytes: int, safety_fraction: float = 0.75) -> bool:
    """Tell whether a share of the GPU's free memory is enough for so many bytes; True where there is no GPU."""
    xp = _usable_cupy()
    return xp is None or estimated_bytes <= float(safety_fraction) * gpu.device_memory(xp)[0]


def _percentiles_gpu(arr2d: np.ndarray, p_low: float, p_high: float) -> tuple[float, float]:
    """Return two percentiles of the finite samples, from the GPU where there is one; the same from the CPU.

    Parameters
    ----------
    arr2d : ndarray
        NaN and infinite samples are no data.
    p_low, p_high : float
        0 to 100.

    Returns
    -------
    low, high : float
        Linear between order statistics; NaN where no sample is finite.

    Raises
    ------
    ValueError
        For a percentile out of 0 to 100, or what is no real number.
    """
    check_percentile("p_low", p_low)
    check_percentile("p_high", p_high)
    samples = real_array(arr2d, "arr2d").astype(np.float64)
    samples = samples[np.isfinite(samples)]
    if not samples.size:
        return math.nan, math.nan
    xp = _usable_cupy()
    if xp is not None:
        try:
            on_device = xp.asarray(samples)
            return float(xp.percentile(on_device, p_low)), float(xp.percentile(on_device, p_high))
        except (RuntimeError, MemoryError) as failure:
            log.warning("percentiles by the CPU: the GPU failed (%s)", failure)
    return float(np.percentile(samples, p_low)), float(np.percentile(samples, p_high))


def save_fits_image(
    image_data: np.ndarray,
    output_path: str,
    header: Any = None,
    overwrite: bool = True,
    save_as_float: bool = False,
    legacy_rgb_cube: bool = False,
    progress_callback: Progress = None,
    axis_order: str = "HWC",
    alpha_mask: np.ndarray | None = None,
) -> None:
    """Write an image as FITS, planes first; the file appears complete or not at all.

    Parameters
    ----------
    image_data : ndarray, shape (H, W), (H, W, 3), or (3, H, W) with axis_order 'CHW'
    output_path : str
    header : Header, dict or WCS, optional
    overwrite : bool
    save_as_float : bool
        True: float32, NaN stays NaN. False: uint16, rounded and limited to 0 ... 65535; NaN becomes 0.
    legacy_rgb_cube : bool
        Accepted; colour is always written planes first.
    progress_callback : callable, optional
    axis_order : {'HWC', 'CHW'}
    alpha_mask : ndarray of uint8, shape (H, W), optional

    Raises
    ------
    FileExistsError
        Where it exists and `overwrite` is false.
    ValueError
        For an image, an alpha or an axis order that is none.
    """
    image = to_float32(real_array(image_data, "image_data"))
    if not save_as_float:
        image = np.rint(np.clip(np.where(np.isfinite(image), image, 0.0), 0, 65535)).astype(np.uint16)
    write_hdus(image_hdus(image, header, alpha_mask, axis_order), output_path, overwrite)
    _tell(f"{Path(output_path).name} written", "DEBUG_DETAIL", progress_callback)
