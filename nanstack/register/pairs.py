# SPDX-License-Identifier: GPL-3.0-or-later
"""Which frames show the same stars: each is matched with a few others, so that time grows with their number.

Frames are taken in turn, richest in stars first. Each is looked up among the *keyframes*: those before it that show a
piece of sky of their own. What its asterisms hint at is verified on the sphere, star by star. A frame that lies well
within keyframes is done; any other becomes a keyframe.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from itertools import zip_longest

import numpy as np
import scipy

from nanstack.register.asterisms import Hits, Index, asterisms, bright_asterisms
from nanstack.register.camera import View, attitude_between
from nanstack.register.links import Link, groups_of
from nanstack.register.resection import resected
from nanstack.register.sources import Sources

MIN_STARS = 6  # that two frames have in common
WELL_WITHIN = 0.55  # share of a frame that a keyframe must show, to speak for it
ENOUGH_STARS = 25  # that keyframes have in common with it
SPOKESMEN = 12  # frames of a group that are matched with other groups
MAX_LINKS = 8  # with keyframes, of a frame that becomes one
MAX_HITS = 64  # of a frame with one keyframe: more say the same
SINGLE_TRIES = 6  # by one asterism only, the most alike
MAX_TRIES = 16  # keyframes that a frame is tried on
AGREE = 0.04  # turns in radians, and logarithms of sizes, of asterisms that tell of the same transform
FIRST_RADIUS_PX = 8.0
RADII_PX = 1.0, 4.0  # least and largest distance of a star from its partner, later on
ROUNDS = 6
CLIP_SIGMA = 3.5
LINE_PX, LINE_STARS = 4.0, 8  # how near to a line, and how many, stars are taken for pieces of a trail
MAX_CHANCE = 1e-7  # that as many stars agree by accident: many transforms are tried in a run


def find_links(frames: Sequence[Sources], progress: Callable[[int], None]) -> list[Link]:
    """Match each frame with some others that show the same stars.

    Parameters
    ----------
    frames : sequence of Sources
    progress : callable
        Called with the number of a frame that is done.
    """
    index, links = Index(), []
    for number in sorted(range(len(frames)), key=lambda k: -len(frames[k])):
        if len(frames[number]) >= MIN_STARS:
            found = _linked(frames, number, index.look_up(bright_asterisms(frames[number].plane)))
            if not _settled(found):
                seen = asterisms(frames[number].plane)
                found = _linked(frames, number, index.look_up(seen))
                if not _settled(found):
                    index.add(number, seen)
            links += found
        progress(number)
    return links + _bridges(frames, links, index)


def _bridges(frames: Sequence[Sources], links: list[Link], index: Index) -> list[Link]:
    """Match some frames of each group, also those that keyframes spoke for, with frames of other groups only."""
    group, bridges = groups_of(links, len(frames)), []
    for number in _spokesmen(group):
        seen = asterisms(frames[number].plane)
        hits = index.look_up(seen)
        strangers = hits.only(group[hits.frame] != group[number])
        for link in _linked(frames, number, strangers):
            bridges.append(link)
            joined = group[link.first]
            group[link.first] = group[number]
            group[(group == joined) & (joined >= 0)] = group[number]
        index.add(number, seen)
    return bridges


def _spokesmen(group: np.ndarray) -> list[int]:
    """Return some frames of each group, spread over it, in turns; none where there is one group only."""
    members = [np.flatnonzero(group == number) for number in range(group.max(initial=-1) + 1)]
    if len(members) < 2 and not (len(members) and (group < 0).any()):
        return []
    spread = [mine[np.unique(np.linspace(0, len(mine) - 1, SPOKESMEN).astype(int))].tolist() for mine in members]
    return [one for turn in zip_longest(*spread) for one in turn if one is not None]


def _settled(links: Sequence[Link]) -> bool:
    """Tell whether keyframes speak for a frame: they show most of it, and enough of its stars between them."""
    return sum(len(link.mine) for link in links if link.overlap > WELL_WITHIN) >= ENOUGH_STARS


def _linked(frames: Sequence[Sources], number: int, hits: Hits) -> list[Link]:
    """Verify what asterisms tell of, most agreed on first, until a keyframe shows most of the frame."""
    links: list[Link] = []
    log = _turns(frames, number, hits)
    for keyframe in _by_votes(hits, log).tolist():
        these = np.flatnonzero(hits.frame == keyframe)
        these = these[np.argsort(hits.distance[these], kind="stable")[:MAX_HITS]]
        best = these[_agreed(log[these])]
        pairs = np.unique(hits.theirs[best].ravel() * len(frames[number]) + hits.mine[best].ravel())
        start = np.stack(np.divmod(pairs, len(frames[number])), axis=1)
        size = float(np.exp(_median(log.real[best])))
        view = _first_view(frames[keyframe], frames[number], start, size)
        link = verified_link(frames, keyframe, number, view)
        if link is not None:
            links.append(link)
            if _settled(links) or len(links) == MAX_LINKS:
                break
    return links


def _turns(frames: Sequence[Sources], number: int, hits: Hits) -> np.ndarray:
    """Return the logarithm of size and turn, one complex number each, that hits tell of."""
    known = np.unique(hits.frame)
    planes = [frames[k].plane for k in known.tolist()]
    first = np.cumsum([0, *(len(plane) for plane in planes)])
    places = np.concatenate([np.empty(0, dtype=complex), *planes])
    base = hits.theirs[:, :2] + first[np.searchsorted(known, hits.frame)][:, None]
    mine = frames[number].plane[hits.mine[:, :2]]
    return np.log((mine[:, 1] - mine[:, 0]) / (places[base[:, 1]] - places[base[:, 0]]))


def _by_votes(hits: Hits, log: np.ndarray) -> np.ndarray:
    """Return the keyframes worth a trial: those with most hits that agree, then a few of single but close ones."""
    cells = np.floor(np.stack([log.real, log.imag], axis=1) / AGREE).astype(np.int64) + 2**19
    key = (hits.frame << 40) + (cells[:, 0] << 20) + cells[:, 1]
    keys, inverse, votes = np.unique(key, return_inverse=True, return_counts=True)
    closest = np.full(len(keys), np.inf)
    np.minimum.at(closest, inverse, hits.distance)
    order = np.lexsort((closest, -votes))
    agreed = np.count_nonzero(votes > 1)
    ranked = keys[order][: min(agreed, 4 * MAX_TRIES) + SINGLE_TRIES] >> 40
    return ranked[np.sort(np.unique(ranked, return_index=True)[1])][:MAX_TRIES]


def _agreed(log: np.ndarray) -> np.ndarray:
    """Return which of some hits tell of the same size and turn as most others."""
    turn = np.exp(1j * log.imag)
    agree = (np.abs(log.real[:, None] - log.real) < AGREE) & (np.abs(turn[:, None] - turn) < AGREE)
    return np.flatnonzero(agree[agree.sum(axis=1).argmax()])


def _first_view(one: Sources, other: Sources, pairs: np.ndarray, size: float) -> View:
    """Return the view that a few pairs of stars tell of, not all of which need be right."""
    rays = View(other.camera, np.eye(3), size).directions(other.x[pairs[:, 1]], other.y[pairs[:, 1]])
    weights = np.ones(len(pairs))
    for _ in range(3):
        attitude = attitude_between(rays, one.rays[pairs[:, 0]], weights)
        off = np.linalg.norm(one.rays[pairs[:, 0]] @ attitude.T - rays, axis=1)
        weights = 1 / (1 + (off / (_median(off) + 1e-9)) ** 2)
    return View(other.camera, attitude, size)


def verified_link(frames: Sequence[Sources], first: int, second: int, view: View) -> Link | None:
    """Match all stars of two frames from a first view on; None where no more agree than by accident."""
    one, other = frames[first], frames[second]
    radius, before = FIRST_RADIUS_PX, None
    for _ in range(ROUNDS):
        mine, theirs, inside = _matched(one, other, view, radius)
        if len(mine) < MIN_STARS:
            return None
        if before is not None and np.array_equal(mine, before):
            break
        before = mine
        view = resected(view, one.rays[mine], other.x[theirs], other.y[theirs], np.ones(len(mine)))
        x, y = view.pixels(one.rays[mine])
        off = np.hypot(x - other.x[theirs], y - other.y[theirs])
        radius = min(max(CLIP_SIGMA * _median(off) / 1.177, RADII_PX[0]), RADII_PX[1])
    keep = off < radius
    mine, theirs = mine[keep], theirs[keep]
    if len(mine) < MIN_STARS or _chance(_beside_a_line(other, theirs), inside, other, radius) > MAX_CHANCE:
        return None
    overlap = _overlap(one, view)
    both = max(min(inside, overlap * len(other)), len(mine))
    return Link(first, second, mine, theirs, view, overlap, len(mine) / both)


def _matched(one: Sources, other: Sources, view: View, radius: float) -> tuple[np.ndarray, np.ndarray, int]:
    """Return stars of one frame and their partners in the other, and how many of the first the other should show."""
    x, y = view.pixels(one.rays)
    height, width = other.camera.shape
    inside = np.flatnonzero((x > -radius) & (x < width + radius) & (y > -radius) & (y < height + radius))
    if not len(inside):
        return inside, inside, 0
    distance, partner = other.tree.query(np.stack([x[inside], y[inside]], axis=1), distance_upper_bound=radius)
    order = np.argsort(distance, kind="stable")
    order = order[: np.count_nonzero(np.isfinite(distance))]
    order = order[np.unique(partner[order], return_index=True)[1]]  # the closest only
    return inside[order], partner[order], len(inside)


def _beside_a_line(frame: Sources, stars: np.ndarray) -> int:
    """Return how many stars count: those on a line that holds most do not, for a satellite's trail fits any other."""
    x, y = frame.x[stars], frame.y[stars]
    near = np.ones(len(stars), dtype=bool)
    for _ in range(3):
        on_x, on_y = x[near], y[near]
        across, down = on_x - np.add.reduce(on_x) / len(on_x), on_y - np.add.reduce(on_y) / len(on_y)
        squares = np.add.reduce(across**2) - np.add.reduce(down**2)
        turn = np.arctan2(2 * np.add.reduce(across * down), squares) / 2  # of the longer axis
        off = np.abs((y - _median(on_y)) * np.cos(turn) - (x - _median(on_x)) * np.sin(turn))
        near = off <= _median(off)
    beside = int(np.count_nonzero(off > LINE_PX))
    return beside if len(stars) - beside > max(beside, LINE_STARS) else len(stars)


def _chance(matches: int, inside: int, other: Sources, radius: float) -> float:
    """Return how probable it is that a wrong transform brings as many stars together, beside four it was made of."""
    height, width = other.camera.shape
    expected = inside * len(other) * np.pi * radius**2 / (height * width)
    return float(scipy.special.pdtrc(matches - 5, expected)) if matches > 4 else 1.0


def _overlap(one: Sources, view: View) -> float:
    """Return the share of a frame that another shows, by a grid of its pixels."""
    x, y = _grid(view.camera.shape)
    x, y = View(one.camera, np.eye(3)).pixels(view.directions(x, y))
    height, width = one.camera.shape
    return float(np.mean((x > -0.5) & (x < width - 0.5) & (y > -0.5) & (y < height - 0.5)))


@lru_cache(maxsize=8)  # frames of a run are of few shapes
def _grid(shape: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    height, width = shape
    return np.meshgrid((np.arange(8) + 0.5) / 8 * width, (np.arange(8) + 0.5) / 8 * height)


def _median(values: np.ndarray) -> float:
    """Return the median of a few numbers, one at least: NumPy's takes most of its time to look at them."""
    ordered, half = np.sort(values), len(values) // 2
    return float(ordered[half] if len(values) % 2 else (ordered[half - 1] + ordered[half]) / 2)
