# SPDX-License-Identifier: GPL-3.0-or-later
"""For ZeMosaic's zemosaic_align_stack.py, in its style and with its names."""

import astroalign as astroalign_module
import numpy as np


def _nan_quantiles(xp, samples, fractions):
    """Quantiles along axis 0 of the samples that are not NaN, linear between them; NaN where there is none.

    The same as np.nanquantile, which takes one pixel at a time and is far slower. ``xp`` is NumPy or CuPy.
    """
    ordered = xp.sort(samples, axis=0)  # NaN goes to the end
    last = xp.maximum(xp.count_nonzero(~xp.isnan(samples), axis=0) - 1, 0)
    quantiles = []
    for fraction in fractions:
        position = fraction * last
        below = xp.floor(position).astype(last.dtype)
        above = xp.minimum(below + 1, last)
        at_below = xp.take_along_axis(ordered, below[None], axis=0)[0]
        at_above = xp.take_along_axis(ordered, above[None], axis=0)[0]
        quantiles.append((at_below + (position - below) * (at_above - at_below)).astype(samples.dtype))
    return quantiles


def _winsorize_block_numpy(arr_block: np.ndarray, limits: tuple[float, float]) -> np.ndarray:
    """Winsorize a spatial block along axis 0 without modifying the input.

    NaN (no data) stays NaN and counts nowhere.
    """

    low, high = limits
    block = arr_block.astype(np.float32, copy=False)
    if np.isnan(block).any():
        lower, upper = _nan_quantiles(np, block, (low, 1.0 - high))
    else:
        lower, upper = (np.quantile(block, q, axis=0).astype(np.float32, copy=False) for q in (low, 1.0 - high))
    result = block.copy()
    if low > 0:
        np.maximum(result, lower, out=result)
    if high > 0:
        np.minimum(result, upper, out=result)
    return result


def _register_nan_safe(source, target, detection_sigma=3.0, min_area=5, propagate_mask=True):
    """Align ``source`` on ``target`` like astroalign.register, but with NaN wherever there is no data.

    Returns ``(aligned, valid)``. ``valid`` is True where there IS data: where all pixels that the interpolation used
    are inside the source and finite. (The footprint of astroalign.register is True where there is NO data, and pixels
    at the edge are mixed with one grey fill value, which shows as a coloured rim.)
    """
    from scipy.ndimage import binary_erosion
    from skimage.transform import warp

    def _without_nan(image):
        finite = np.isfinite(image)
        if finite.all():
            return image, image
        filled = np.where(finite, image, np.median(image[finite])) if finite.any() else np.zeros_like(image)
        return filled, np.ma.masked_array(filled, ~finite)  # stars are not looked for where the mask is

    source_filled, source_for_stars = _without_nan(source)
    _, target_for_stars = _without_nan(target)
    transform, _ = astroalign_module.find_transform(
        source_for_stars, target_for_stars, detection_sigma=detection_sigma, min_area=min_area
    )
    has_data = np.isfinite(source).reshape(*source.shape[:2], -1).all(axis=2)
    # Cubic interpolation uses 4x4 pixels, linear interpolation the inner 2x2 of them. So where the mask, eroded by one
    # pixel (at the frame's edges, too), is still 1 after linear interpolation, all 4x4 have data.
    inside = binary_erosion(has_data, structure=np.ones((3, 3))).astype(np.float32)
    valid = warp(inside, transform.inverse, output_shape=target.shape[:2], order=1, cval=0.0) > 0.9999
    aligned = warp(
        source_filled, transform.inverse, output_shape=target.shape, order=3, cval=0.0, clip=False, preserve_range=True
    ).astype(np.float32, copy=False)
    aligned[~valid] = np.nan
    return aligned, valid


def _match_sky_offsets(frames: list) -> None:
    """Bring aligned frames to the sky level of the first one, in place, channel by channel.

    The offset is the median difference over the pixels that both have, in which stars, nebulae and common gradients
    cancel. Without it, a stack steps wherever a frame ends, by that frame's share of the difference in sky level.
    """
    reference = frames[0]
    for frame in frames[1:]:
        if frame.shape != reference.shape:
            continue
        difference = (reference - frame).reshape(*frame.shape[:2], -1)
        offsets = []
        for channel in range(difference.shape[2]):
            common = difference[..., channel]
            common = common[np.isfinite(common)]
            offsets.append(np.median(common) if common.size else 0.0)
        frame += np.array(offsets if frame.ndim == 3 else offsets[0], dtype=frame.dtype)
