# SPDX-License-Identifier: GPL-3.0-or-later
"""Which frame of a group the others are brought onto."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def most_central(pointings: Sequence[np.ndarray | None]) -> int | None:
    """Return the index of the frame that points nearest to the middle of all.

    Parameters
    ----------
    pointings : sequence of ndarray, shape (3,), or None
        Unit vectors; None for a frame that is no candidate.

    Returns
    -------
    int or None
        None where no frame is a candidate.
    """
    known = {index: pointing for index, pointing in enumerate(pointings) if pointing is not None}
    if not known:
        return None
    centre = np.mean(list(known.values()), axis=0)
    return min(known, key=lambda index: float(np.sum((known[index] - centre) ** 2)))
