# SPDX-License-Identifier: GPL-3.0-or-later
"""Which groups of registered frames show one field: a picture of the sky is made of these alone."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np

from nanstack.register.place import Place
from nanstack.register.registered import RegisteredFrame

MAX_GAP = 3.0  # longer sides of a frame: groups that no star joins, yet nearer than this, are parts of one mosaic


def groups_apart(
    frames: Sequence[RegisteredFrame], groups: Sequence[int], places: Mapping[int, Place]
) -> dict[int, str]:
    """Return the groups that do not belong to the field of the largest one, and why.

    Groups that no star joins belong together where each knows its place on the sky, and they are near each other.

    Parameters
    ----------
    frames : sequence of RegisteredFrame
    groups : sequence of int
        The group of each frame.
    places : mapping of int to Place
        Where each group lies on the sky.
    """
    counts = Counter(groups)
    if len(counts) < 2:
        return {}
    main, _ = min(counts.items(), key=lambda one: (-one[1], one[0]))
    known = {group for group in counts if group in places and not places[group].approximate}
    everywhere = np.array([frame.pointing for frame in frames])
    pointings = {group: everywhere[mine] for group, mine in _members(groups).items()}
    reach = MAX_GAP * max(frame.scale * max(frame.shape[:2]) for frame in frames)
    joined = _chained(main, known, pointings, reach) if main in known else {main}
    return {
        group: _reason(pointings[group], pointings[main], on_the_sky={group, main} <= known)
        for group in counts
        if group not in joined
    }


def _members(groups: Sequence[int]) -> dict[int, np.ndarray]:
    """Return the indices of the frames of each group."""
    order = np.argsort(groups, kind="stable")
    numbers, first = np.unique(np.asarray(groups)[order], return_index=True)
    return dict(zip(numbers.tolist(), np.split(order, first[1:]), strict=True))


def _chained(main: int, known: set[int], pointings: Mapping[int, np.ndarray], reach: float) -> set[int]:
    """Return the groups that lie within reach of the main one, or of others that do."""
    joined, new = {main}, {main}
    while new:
        near = np.concatenate([pointings[group] for group in sorted(new)])
        new = {group for group in known - joined if _distance(pointings[group], near) <= reach}
        joined |= new
    return joined


def _distance(some: np.ndarray, others: np.ndarray) -> float:
    """Return the least distance between two sets of unit vectors, in radians."""
    return math.acos(min(1.0, float((some @ others.T).max())))


def _reason(group: np.ndarray, main: np.ndarray, on_the_sky: bool) -> str:
    if on_the_sky:
        away = math.degrees(_distance(group, main))
        return f"it shows another field, {away:.1f} degrees from that of most frames: make a picture of its own"
    others = f"{len(group) - 1} other frame{'' if len(group) == 2 else 's'}"
    return f"its stars are those of {others}, and of none of the {len(main)} frames that the picture is made of"
