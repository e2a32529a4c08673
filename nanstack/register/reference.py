# SPDX-License-Identifier: GPL-3.0-or-later
"""Which frame of a group the others are brought onto."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from nanstack.register.registered import RegisteredFrame


def best_reference(frames: Sequence[RegisteredFrame]) -> int:
    """Return the index of the most central frame, of those of the commonest size.

    Parameters
    ----------
    frames : sequence of RegisteredFrame
        At least one.
    """
    shape = Counter(frame.shape for frame in frames).most_common(1)[0][0]
    return most_central([frame.pointing if frame.shape == shape else None for frame in frames])


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
