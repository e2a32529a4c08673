# SPDX-License-Identifier: GPL-3.0-or-later
"""Links between frames that show the same stars, and the groups that hang together by them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import scipy

from nanstack.register.camera import View


@dataclass(frozen=True)
class Link:
    """Two frames that show the same stars.

    Attributes
    ----------
    first, second : int
        Numbers of the frames.
    mine, theirs : ndarray of int, shape (n,)
        Numbers of the stars in the first, and of the same in the second.
    view : View
        The second frame, seen in the axes of the first one's camera.
    overlap : float
        Share of the second frame that the first shows.
    share : float
        Share of the stars that both should show which agree: the lower, the more likely that it looks alike only.
    """

    first: int
    second: int
    mine: np.ndarray
    theirs: np.ndarray
    view: View
    overlap: float
    share: float


def groups_of(links: Sequence[Link], frames: int) -> np.ndarray:
    """Return the group of each frame, the largest first; -1 for a frame without a link."""
    label = scipy.sparse.csgraph.connected_components(graph_of(links, frames), directed=False)[1]
    sizes = np.bincount(label)
    rank = np.empty(len(sizes), dtype=np.int64)
    rank[np.argsort(-sizes, kind="stable")] = np.arange(len(sizes))
    return np.where(sizes[label] > 1, rank[label], -1)


def graph_of(links: Sequence[Link], frames: int) -> scipy.sparse.csr_array:
    """Return frames and their links as a graph; a link of many stars, most of those expected, is a short way."""
    first, second = (np.array([getattr(link, name) for link in links], dtype=int) for name in ("first", "second"))
    weight = [1 / (len(link.mine) * link.share) for link in links]
    return scipy.sparse.coo_array((weight, (first, second)), shape=(frames, frames)).tocsr()
