# SPDX-License-Identifier: GPL-3.0-or-later
"""First places of frames: along the best links, one frame is put beside the other."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import scipy

from nanstack.register.camera import View, attitude_between
from nanstack.register.links import Link, graph_of, groups_of
from nanstack.register.sources import Sources

CONTRADICTION = 0.005  # of a frame's diagonal, for each link of the way: what adds up along it is less
SHORT_WAY = 10  # links, that every way is taken for at least


def first_views(frames: Sequence[Sources], links: Sequence[Link], hinted: np.ndarray) -> list[View | None]:
    """Return a view of each frame on its group's sphere, good to some pixels; None for a frame without a link.

    Parameters
    ----------
    frames : sequence of Sources
    links : sequence of Link
    hinted : ndarray of bool
        Whether the camera of a frame has its scale from the header: most of these, by their median, give the group's.
    """
    best = _best(links)
    views: list[View | None] = [None] * len(frames)
    for order, before in _trees(best, len(frames)):
        steps = [(int(before[child]), int(child)) for child in order[1:]]
        _place(frames, best, int(order[0]), steps, hinted, views)
    return views


def _best(links: Sequence[Link]) -> dict[tuple[int, int], Link]:
    """Return of each two frames the link of most stars."""
    best: dict[tuple[int, int], Link] = {}
    for link in links:
        key = link.first, link.second
        if key not in best or len(best[key].mine) < len(link.mine):
            best[key] = link
    return best


def _trees(best: dict[tuple[int, int], Link], frames: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield for each group its frames, root first, and of all frames the one before each, along the best links."""
    tree = scipy.sparse.csgraph.minimum_spanning_tree(graph_of(best.values(), frames))
    group = groups_of(best.values(), frames)
    for number in range(group.max() + 1):
        root = int(np.flatnonzero(group == number)[0])
        yield scipy.sparse.csgraph.breadth_first_order(tree, root, directed=False)


def agreeing_links(frames: Sequence[Sources], links: Sequence[Link], views: Sequence[View]) -> list[Link]:
    """Return the links that the best ones do not contradict: two pieces of sky may look alike.

    The longer the way along the best ones, the more may add up. Those of the way agree in any case.
    """
    ways = np.maximum(_ways(links, len(frames)), SHORT_WAY).tolist()
    return [
        link
        for link, way in zip(links, ways, strict=True)
        if _misfit(frames, link, views) < CONTRADICTION * way * np.hypot(*frames[link.second].camera.shape)
    ]


def _ways(links: Sequence[Link], frames: int) -> np.ndarray:
    """Return of how many links the way between the two frames of each is, along the best ones."""
    before, depth = np.arange(frames), np.zeros(frames, dtype=np.int64)
    for order, parents in _trees(_best(links), frames):
        before[order[1:]] = parents[order[1:]]
        for child in order[1:].tolist():
            depth[child] = depth[before[child]] + 1
    ends = np.array([(link.first, link.second) for link in links]).reshape(-1, 2)
    ways, rows = np.zeros(len(ends), dtype=np.int64), np.arange(len(ends))
    while (apart := ends[:, 0] != ends[:, 1]).any():
        lower = depth[ends].argmax(axis=1)
        ends[rows[apart], lower[apart]] = before[ends[rows[apart], lower[apart]]]
        ways += apart
    return ways


def _misfit(frames: Sequence[Sources], link: Link, views: Sequence[View]) -> float:
    one, other = frames[link.first], frames[link.second]
    x, y = views[link.second].pixels(views[link.first].directions(one.x[link.mine], one.y[link.mine]))
    off = np.hypot(x - other.x[link.theirs], y - other.y[link.theirs])
    return float(np.median(np.where(np.isfinite(off), off, np.inf)))


def _place(
    frames: Sequence[Sources],
    best: dict[tuple[int, int], Link],
    root: int,
    steps: list[tuple[int, int]],
    hinted: np.ndarray,
    views: list[View | None],
) -> None:
    """Fill in the views of a group, step by step from its root."""
    sizes = {root: 1.0}
    for parent, child in steps:
        link = best.get((parent, child))
        sizes[child] = sizes[parent] * (link.view.scale if link else 1 / best[child, parent].view.scale)
    told = [size for frame, size in sizes.items() if hinted[frame]]
    unit = float(np.quantile(told, 0.5, method="lower")) if told else 1.0  # of two halves that differ, one
    views[root] = View(frames[root].camera, np.eye(3), 1 / unit)
    for parent, child in steps:
        attitude = _attitude(frames, best, parent, child, views[parent], sizes[child] / unit)
        views[child] = View(frames[child].camera, attitude, sizes[child] / unit)


def _attitude(
    frames: Sequence[Sources], best: dict[tuple[int, int], Link], parent: int, child: int, view: View, size: float
) -> np.ndarray:
    """Return the attitude of a frame beside one that is placed, by what both show of a grid of pixels."""
    camera = frames[child].camera
    height, width = camera.shape
    x, y = (axis.ravel() for axis in np.meshgrid(np.linspace(0, width, 5), np.linspace(0, height, 5)))
    at_rest = View(frames[parent].camera, np.eye(3))
    if (parent, child) in best:
        u, v = at_rest.pixels(best[parent, child].view.directions(x, y))
    else:
        u, v = best[child, parent].view.pixels(View(camera, np.eye(3)).directions(x, y))
    rays = View(camera, np.eye(3), size).directions(x, y)
    return attitude_between(rays, view.directions(u, v), np.ones(len(x)))
