# SPDX-License-Identifier: GPL-3.0-or-later
"""How clear the sky was in each frame, by the stars that frames have in common."""

from __future__ import annotations

import numpy as np
import scipy

from nanstack.register.adjustment import ROUGH, soft_weights, solved

ROUNDS = 4
USUAL_SCATTER = 0.1  # of a star's flux, in its logarithm
CLEAR = 75  # percentile of a group's frames that counts as typically clear


def transparencies(frame: np.ndarray, star: np.ndarray, flux: np.ndarray, group: np.ndarray) -> np.ndarray:
    """Return each frame's transparency: its stars' fluxes over those in a typical clear frame of its group.

    The logarithm of a flux is the frame's plus the star's; both are solved for, robustly.

    Parameters
    ----------
    frame, star : ndarray of int, shape (n,)
    flux : ndarray of float64, shape (n,)
    group : ndarray of int, shape (frames,)

    Returns
    -------
    ndarray of float64, shape (frames,)
        NaN for a frame without a star.
    """
    light = flux > 0
    frame, star, log = frame[light], star[light], np.log(flux[light])
    clear = np.full(len(group), np.nan)
    if not len(frame):
        return clear
    count, unknowns = len(frame), len(group) + int(star.max()) + 1
    columns = np.stack([frame, len(group) + star], axis=1).ravel()
    step = np.concatenate([np.zeros(len(group)), np.bincount(star, log) / np.maximum(np.bincount(star), 1)])
    for _ in range(ROUNDS):
        off = log - step[frame] - step[len(group) + star]
        root = np.sqrt(soft_weights(np.abs(off), USUAL_SCATTER))
        entries = np.repeat(root, 2), columns, np.arange(0, 2 * count + 1, 2)
        rows = scipy.sparse.csr_array(entries, shape=(count, unknowns))
        step += solved(rows, root * off, ROUGH)
    seen = np.bincount(frame, minlength=len(group)) > 0
    clear[seen] = step[: len(group)][seen]
    for number in np.unique(group):
        mine = group == number
        clear[mine] -= np.nanpercentile(clear[mine], CLEAR) if seen[mine].any() else 0.0
    return np.exp(clear)
