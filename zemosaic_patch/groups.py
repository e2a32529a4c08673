# SPDX-License-Identifier: GPL-3.0-or-later
"""Which frames make which tile: by where they point, how large they are, and what took them.

What comes out depends on the frames alone, not on the order in which they are given.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from nanstack.register.reference import best_reference
from nanstack.register.registered import RegisteredFrame

REACH = 0.5  # of a frame's shorter side: frames that point farther apart than this make different tiles
ENOUGH = 3  # frames, that a rejection can work with: fewer rather go to a tile nearby


@dataclass(frozen=True)
class Group:
    """The frames of a tile.

    Attributes
    ----------
    name : str
    frames : list of RegisteredFrame
        In the order of their names.
    reference : int
        Which of them gives the tile its pixels.
    """

    name: str
    frames: list[RegisteredFrame]
    reference: int


def group_frames(
    frames: Sequence[RegisteredFrame], tile_frames: int = 200, min_frames: int = 1
) -> tuple[list[Group], dict[Path, str]]:
    """Group registered frames into tiles.

    Parameters
    ----------
    frames : sequence of RegisteredFrame
    tile_frames : int
        No tile gets more frames than this.
    min_frames : int
        Nor fewer than this: frames that are too few are left out.

    Returns
    -------
    groups : list of Group
    left_out : dict
        Path of a frame: why it is in no tile.
    """
    ordered = sorted(frames, key=lambda frame: (frame.path.name, str(frame.path)))
    leaves = []
    for alike in _by(ordered, lambda frame: (frame.shape, frame.view.camera)):
        leaves += _leaves(alike, tile_frames)
    left_out: dict[Path, str] = {}
    leaves = _without_small_ones(leaves, tile_frames, min_frames, left_out)
    return [
        Group(f"tile_{number:03d}", leaf, best_reference(leaf)) for number, leaf in enumerate(leaves, start=1)
    ], left_out


def _by(
    frames: Sequence[RegisteredFrame], key: Callable[[RegisteredFrame], Hashable]
) -> Iterator[list[RegisteredFrame]]:
    """Give the frames that have the same key together; the commonest first, then in the order of the key."""
    counts = Counter(key(frame) for frame in frames)
    for value in sorted(counts, key=lambda value: (-counts[value], repr(value))):
        yield [frame for frame in frames if key(frame) == value]


# --- which of them make a tile ----------------------------------------------------------------------------------------


def _leaves(frames: list[RegisteredFrame], tile_frames: int) -> list[list[RegisteredFrame]]:
    """Split frames of one shape until each part is narrow, and small, enough for a tile."""
    reach = REACH * np.median([_shorter_side(frame) for frame in frames])
    places = _places(frames)
    leaves: list[list[int]] = []
    parts = [np.arange(len(frames))]
    while parts:
        part = parts.pop()
        spread = np.ptp(places[part], axis=0)
        narrow = spread.max() <= reach
        if narrow and len(part) <= tile_frames:
            leaves.append(sorted(part))
            continue
        ordered = part[np.argsort(places[part, int(spread.argmax())], kind="stable")]
        cut = len(part) // 2 if narrow else _widest_cut(places[ordered, int(spread.argmax())])
        parts += [ordered[cut:], ordered[:cut]]
    return [[frames[index] for index in leaf] for leaf in leaves]


def _shorter_side(frame: RegisteredFrame) -> float:
    """Return a frame's shorter side in radians."""
    return frame.scale * min(frame.shape[:2])


def _places(frames: Sequence[RegisteredFrame]) -> np.ndarray:
    """Return where frames point, in radians east and north of their middle: float64 (n, 2)."""
    pointings = np.array([frame.pointing for frame in frames])
    middle = pointings.mean(axis=0)
    middle /= np.linalg.norm(middle)
    east = np.cross([0.0, 0.0, 1.0], middle)
    east = np.array([0.0, 1.0, 0.0]) if np.linalg.norm(east) < 1e-9 else east / np.linalg.norm(east)
    return np.round(pointings @ np.column_stack([east, np.cross(middle, east)]), 9)


def _widest_cut(values: np.ndarray) -> int:
    """Return where ordered values fall apart best: the two parts have the least sum of squares."""
    count = np.arange(1, len(values))
    sums = np.cumsum(values)[:-1]
    between = sums**2 / count + (values.sum() - sums) ** 2 / (len(values) - count)
    return int(np.argmax(np.round(between, 15))) + 1


def _without_small_ones(
    leaves: list[list[RegisteredFrame]], tile_frames: int, min_frames: int, left_out: dict[Path, str]
) -> list[list[RegisteredFrame]]:
    """Give the frames of parts that are too small to the nearest tile within reach; else they are a tile, or out."""
    enough = max(ENOUGH, min_frames)
    kept = [leaf for leaf in leaves if len(leaf) >= enough]
    middles = [np.mean([frame.pointing for frame in leaf], axis=0) for leaf in kept]
    alone: list[list[RegisteredFrame]] = []
    for leaf in (leaf for leaf in leaves if len(leaf) < enough):
        far = [frame for frame in leaf if not _joined(frame, kept, middles, tile_frames)]
        if len(far) >= min_frames:
            alone.append(far)
            continue
        for frame in far:
            left_out[frame.path] = (
                f"only {'1 frame' if len(leaf) == 1 else f'{len(leaf)} frames'} of its size and kind "
                f"cover its place on the sky, fewer than --min-frames {min_frames}"
            )
    return kept + [leaf for leaf in alone if leaf]


def _joined(
    frame: RegisteredFrame, kept: list[list[RegisteredFrame]], middles: list[np.ndarray], tile_frames: int
) -> bool:
    """Add a frame to the nearest tile of its kind, if one is within reach and has room; tell whether it is."""
    near = [
        (float(np.linalg.norm(middle - frame.pointing)), number)
        for number, middle in enumerate(middles)
        if kept[number][0].view.camera == frame.view.camera
        and kept[number][0].shape == frame.shape
        and len(kept[number]) < tile_frames
    ]
    distance, number = min(near, default=(np.inf, -1))
    if distance > REACH * _shorter_side(frame):
        return False
    kept[number].append(frame)
    return True


def fingerprint(group: Group, settings: Any) -> str:
    """Return what tells a tile's inputs and settings from others: frames by name and content, where they lie, and
    what they are multiplied by.
    """
    told = hashlib.sha256(repr((settings, group.reference)).encode())
    for frame in group.frames:
        view = frame.view
        told.update(repr((frame.path.name, frame.survey.digest, view.camera, view.scale, frame.factor)).encode())
        told.update(view.attitude.tobytes())
    return told.hexdigest()
