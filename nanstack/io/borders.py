# SPDX-License-Identifier: GPL-3.0-or-later
"""Borders of zeros, which other programs leave where an image has no data."""

from __future__ import annotations

import numpy as np

SOLID_PX = 5  # a border has squares of this side, counted beyond the image's edge; chance has none
BESIDE_PX = (5, 11)  # squares that widen a border: between the two, the sky beside it is looked at
ABOVE_ZERO = 2.0  # that sky is so many of its own deviations above 0, or has negative samples; one cut off at 0 neither


def without_zero_border(image: np.ndarray) -> np.ndarray:
    """Return an image with NaN for samples that are no data: exactly 0 in all channels, and joined to the edge.

    A sky that is itself 0, or was cut off there, is left as it is: the samples beside its zeros are hardly above 0.

    Parameters
    ----------
    image : ndarray of float32, shape (H, W) or (H, W, 3)

    Returns
    -------
    ndarray of float32
        The same array where there is no such border, a copy otherwise.
    """
    if not rim_has_zeros(image):
        return image
    zero = _is_zero(image)
    border = _joined_to_the_edge(zero)
    if not border.any() or not _lies_beside_a_sky(image, border):
        return image
    image = image.copy()
    image[border] = np.nan
    return image


def rim_has_zeros(image: np.ndarray) -> bool:
    """Tell whether a pixel at an image's edge is 0 in all channels."""
    return any(_is_zero(edge).any() for edge in (image[:1], image[-1:], image[:, :1], image[:, -1:]))


def _is_zero(image: np.ndarray) -> np.ndarray:
    return image == 0 if image.ndim == 2 else (image == 0).all(axis=2)


def _joined_to_the_edge(zero: np.ndarray) -> np.ndarray:
    """Return where solid areas of a mask reach the edge: all beyond it counts to them."""
    import cv2

    square = np.ones((SOLID_PX, SOLID_PX), np.uint8)
    inside = (slice(SOLID_PX, -SOLID_PX),) * 2
    solid = cv2.morphologyEx(np.pad(zero.astype(np.uint8), SOLID_PX, constant_values=1), cv2.MORPH_OPEN, square)
    cv2.floodFill(solid, None, (0, 0), 2)
    joined = np.ascontiguousarray(solid[inside] == 2).astype(np.uint8)
    return (cv2.dilate(joined, square) > 0) & zero  # slanting edges, which squares do not fill


def _lies_beside_a_sky(image: np.ndarray, border: np.ndarray) -> bool:
    """Tell whether a few pixels off a border, where nothing is blended with it, there is a sky that 0 is none of."""
    import cv2

    near, far = (cv2.dilate(border.astype(np.uint8), np.ones((side, side), np.uint8)) > 0 for side in BESIDE_PX)
    samples = image[far & ~near]
    samples = samples[np.isfinite(samples)]
    if not samples.size:
        return False
    level = np.median(samples)
    return bool(samples.min() < 0 or level > ABOVE_ZERO * 1.4826 * np.median(np.abs(samples - level)))
