# SPDX-License-Identifier: GPL-3.0-or-later
"""The step of `sky_planes` that is taken most often, compiled: number by number in the same order, to the same bits."""

from __future__ import annotations

import numpy as np

from nanstack.compilation import compiled


@compiled()
def pull_of_planes(
    planes: np.ndarray,
    own: np.ndarray,
    begins: np.ndarray,
    node: np.ndarray,
    weights: np.ndarray,
    total: np.ndarray,
    sky: np.ndarray,
    pulls: np.ndarray,
) -> None:
    """Fill in what planes, less the sky that all frames share, weigh in each frame's terms.

    Parameters
    ----------
    planes : ndarray of float64, shape (3 n,)
    own : ndarray of float64, shape (m, 3)
        Terms of the frames' planes at the samples.
    begins : ndarray of int64, shape (n + 1,)
        Of the frames' samples, which lie frame by frame, and their number.
    node : ndarray of int32, shape (m,)
    weights : ndarray of float64, shape (m,)
    total : ndarray of float64, shape (nodes,)
        Of the weights.
    sky : ndarray of float64, shape (nodes,)
        Room for what frames share.
    pulls : ndarray of float64, shape (3 n,)
        Filled in.
    """
    for k in range(len(sky)):
        sky[k] = 0.0
    for one in range(len(begins) - 1):
        offset, slope_x, slope_y = planes[3 * one], planes[3 * one + 1], planes[3 * one + 2]
        for k in range(begins[one], begins[one + 1]):
            sky[node[k]] += weights[k] * (own[k, 0] * offset + own[k, 1] * slope_x + own[k, 2] * slope_y)
    for k in range(len(sky)):
        sky[k] /= total[k]
    for one in range(len(begins) - 1):
        offset, slope_x, slope_y = planes[3 * one], planes[3 * one + 1], planes[3 * one + 2]
        pull, pull_x, pull_y = 0.0, 0.0, 0.0
        for k in range(begins[one], begins[one + 1]):
            value = own[k, 0] * offset + own[k, 1] * slope_x + own[k, 2] * slope_y
            left = weights[k] * (value - sky[node[k]])
            pull += own[k, 0] * left
            pull_x += own[k, 1] * left
            pull_y += own[k, 2] * left
        pulls[3 * one], pulls[3 * one + 1], pulls[3 * one + 2] = pull, pull_x, pull_y
