# SPDX-License-Identifier: GPL-3.0-or-later
"""Sums of a kernel's taps without the rings that its lobes make around bright stars: the definition."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

BRIGHTER = 8.0  # than the nearest four, in terms of what these span: where a ring would be


def summed(weights: np.ndarray, values: np.ndarray, nearest: Sequence[bool]) -> np.ndarray:
    """Return the weighted sums of taps, without the rings that a kernel's lobes make around a bright star.

    A sum is at least the darkest of the nearest four taps. Where another is far brighter than these, in terms of what
    they span, it is at most the brightest of them, and at least their mean, as they are weighted, or the tap that two
    fifths of all are below, if that is darker. To hold it to the least tap there would leave a ring too low by a
    frame's noise, which shows in a stack; more would add light around the star.

    Parameters
    ----------
    weights, values : ndarray of float, shape (T, ...)
        A tap of weight 0 may be not finite; what there is of them counts for the rest.
    nearest : sequence of bool, length T
        Those between which a coordinate lies.

    Returns
    -------
    ndarray of float64, shape (...)
        NaN where a tap that weighs anything is not finite.
    """
    values = values.astype(np.float64)
    there = np.isfinite(values)
    inner = there & np.reshape(nearest, (-1, *[1] * (there.ndim - 1)))
    total = np.sum(weights * np.where(there, values, np.nan), axis=0, where=weights != 0)
    high, brightest = (np.max(values, axis=0, where=part, initial=-np.inf) for part in (there, inner))
    darkest = np.min(values, axis=0, where=inner, initial=np.inf)
    total = np.where(np.isfinite(total), np.maximum(total, darkest), np.nan)
    ring = np.isfinite(total) & (high > brightest + BRIGHTER * (brightest - darkest))
    if ring.any():
        weights, values, there, inner = (part[:, ring] for part in (weights, values, there, inner))
        values = np.where(there, values, np.inf)
        mean = np.sum(weights * np.minimum(values, brightest[ring]), axis=0, where=inner)
        mean /= np.sum(weights, axis=0, where=inner)
        rank = 2 * there.sum(axis=0) // 5
        ranked = np.take_along_axis(np.sort(values, axis=0), rank[np.newaxis], axis=0)[0]
        total[ring] = np.minimum(np.maximum(total[ring], np.minimum(mean, ranked)), brightest[ring])
    return total
