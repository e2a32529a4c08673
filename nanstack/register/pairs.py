# SPDX-License-Identifier: GPL-3.0-or-later
"""Which frames show the same stars: each is matched with a few others, so that time grows with their number.

Frames are taken in turn, richest in stars first. Each is looked up among the *keyframes*: those before it that show a
piece of sky of their own. What its asterisms hint at (`hints`) is verified on the sphere, star by star
(`verification`). A frame that lies well within keyframes is done; any other becomes a keyframe.

They come in rounds: those of a round are looked up together, among the keyframes of the rounds before. The few that
these do not speak for are looked up again, one after the other, among all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import zip_longest

import numpy as np

from nanstack import memory
from nanstack.register.asterisms import Hits, Index, asterisms, bright_asterisms
from nanstack.register.hints import Hints
from nanstack.register.links import Link, groups_of
from nanstack.register.sources import Sources, StarLists
from nanstack.register.verification import MIN_STARS, verified_links

AT_ONCE = 128  # frames that are looked up together, for any number of threads
MOST = 4 * AT_ONCE  # frames of a round; it has no more than those before it together, so that there are keyframes
WELL_WITHIN = 0.55  # share of a frame that a keyframe must show, to speak for it
ENOUGH_STARS = 25  # that keyframes have in common with it
SPOKESMEN = 12  # frames of a group that are matched with other groups
MAX_LINKS = 8  # with keyframes, of a frame that becomes one


def find_links(frames: Sequence[Sources], progress: Callable[[int], None]) -> list[Link]:
    """Match each frame with some others that show the same stars.

    Parameters
    ----------
    frames : sequence of Sources
    progress : callable
        Called with the number of a frame that is done.
    """
    stars, index, links = StarLists.of(frames), Index(), []
    for numbers in _rounds(np.argsort(-stars.counts, kind="stable")):
        rich = numbers[stars.counts[numbers] >= MIN_STARS].tolist()
        for number, own in _looked_up(stars, rich, index):
            if not _settled(own):
                seen = asterisms(stars, [number])
                own = _linked(stars, [number], index.look_up(seen))[number]
                if not _settled(own):
                    index.add(seen)
            links += own
        for number in numbers.tolist():
            progress(number)
    return links + _bridges(stars, links, index)


def _looked_up(stars: StarLists, frames: list[int], index: Index) -> Iterator[tuple[int, list[Link]]]:
    """Give frames with their links to those of an index, by their brightest stars; the index may grow meanwhile."""

    def links_of(part: int) -> dict[int, list[Link]]:
        numbers = frames[AT_ONCE * part : AT_ONCE * (part + 1)]
        return _linked(stars, numbers, index.look_up(bright_asterisms(stars, numbers)))

    for links in list(memory.in_order(links_of, -(-len(frames) // AT_ONCE))):
        yield from links.items()


def _rounds(numbers: np.ndarray) -> Iterator[np.ndarray]:
    """Give numbers in their order, in rounds."""
    done = 0
    while done < len(numbers):
        count = min(max(done, 1), MOST)
        yield numbers[done : done + count]
        done += count


def _bridges(stars: StarLists, links: list[Link], index: Index) -> list[Link]:
    """Match some frames of each group, also those that keyframes spoke for, with frames of other groups only."""
    group, bridges = groups_of(links, len(stars)), []
    for number in _spokesmen(group):
        seen = asterisms(stars, [number])
        hits = index.look_up(seen)
        strangers = hits[group[hits.first] != group[number]]
        for link in _linked(stars, [number], strangers)[number]:
            bridges.append(link)
            joined = group[link.first]
            group[link.first] = group[number]
            group[(group == joined) & (joined >= 0)] = group[number]
        index.add(seen)
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


def _linked(stars: StarLists, frames: Sequence[int], hits: Hits) -> dict[int, list[Link]]:
    """Verify what asterisms tell of frames, most agreed on first, until keyframes show most of each."""
    links: dict[int, list[Link]] = {number: [] for number in frames}
    hints = Hints(stars, hits)
    pairs, rank = hints.ranked()
    for trial in range(int(rank.max(initial=-1)) + 1):
        undone = [number for number, own in links.items() if not _settled(own) and len(own) < MAX_LINKS]
        now = pairs[(rank == trial) & np.isin(pairs // len(stars), undone)]
        if not len(now):
            break
        for link in verified_links(stars, hints.trials(now)):
            links[link.second].append(link)
    return links
