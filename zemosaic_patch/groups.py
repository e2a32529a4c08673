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

from nanstack.io.files import digest
from nanstack.io.frames import FrameFile, short_names
from nanstack.survey.selection import duplicates, unlike_most

REACH = 0.5  # of a frame's shorter side: frames that point farther apart than this make different tiles
MAX_DISTANCE_DEG = 10.0  # from the middle of all: a frame that points elsewhere is another field's, or solved wrongly


@dataclass(frozen=True)
class Group:
    """The frames of a tile.

    Attributes
    ----------
    name : str
    frames : list of nanstack.io.frames.FrameFile
        Each with its WCS; in the order of their names.
    """

    name: str
    frames: list[FrameFile]


def group_frames(
    frames: Sequence[FrameFile], tile_frames: int = 200, min_frames: int = 3
) -> tuple[list[Group], dict[Path, str]]:
    """Group solved frames into tiles.

    Parameters
    ----------
    frames : sequence of FrameFile
    tile_frames : int
        No tile gets more frames than this.
    min_frames : int
        Nor fewer than this: frames that are too few go to a neighbouring tile, or are left out.

    Returns
    -------
    groups : list of Group
    left_out : dict
        Path of a frame: why it is in no tile.
    """
    left_out: dict[Path, str] = {}
    kept = sorted(frames, key=lambda frame: (frame.path.name, str(frame.path)))
    for choose in (_solved, _unique, _of_one_kind, _of_one_hand, _near_each_other):
        kept = choose(kept, left_out)
    leaves = []
    for alike in _by(kept, lambda frame: (frame.shape, frame.cards.get("BAYERPAT", ""))):
        leaves += _leaves(alike, tile_frames)
    leaves = _without_small_ones(leaves, tile_frames, min_frames, left_out)
    return [Group(f"tile_{number:03d}", leaf) for number, leaf in enumerate(leaves, start=1)], left_out


# --- which frames can be used -----------------------------------------------------------------------------------------


def _by(frames: Sequence[FrameFile], key: Callable[[FrameFile], Hashable]) -> Iterator[list[FrameFile]]:
    """Give the frames that have the same key together; the commonest first, then in the order of the key."""
    counts = Counter(key(frame) for frame in frames)
    for value in sorted(counts, key=lambda value: (-counts[value], repr(value))):
        yield [frame for frame in frames if key(frame) == value]


def _solved(frames: list[FrameFile], left_out: dict[Path, str]) -> list[FrameFile]:
    for frame in frames:
        if frame.pointing is None:
            left_out[frame.path] = "it has no WCS: plate-solve it first, with solve-field or ASTAP"
    return [frame for frame in frames if frame.pointing is not None]


def _unique(frames: list[FrameFile], left_out: dict[Path, str]) -> list[FrameFile]:
    """Keep one of each set of frames that are the same: the same file, or copies of it."""
    names = short_names(frame.path for frame in frames)
    contents: dict[Path, Hashable] = {}
    for alike in _by(frames, lambda frame: (frame.path.stat().st_size, frame.cards.get("DATE-OBS", ""))):
        contents |= {frame.path: frame.path.resolve() if len(alike) == 1 else digest(frame.path) for frame in alike}
    copies = duplicates([contents[frame.path] for frame in frames], [names[frame.path] for frame in frames])
    left_out.update({frames[index].path: reason for index, reason in copies.items()})
    return [frame for index, frame in enumerate(frames) if index not in copies]


def _of_one_kind(frames: list[FrameFile], left_out: dict[Path, str]) -> list[FrameFile]:
    """Keep the frames of one filter, one binning and one number of channels: the commonest of each."""
    for what, key in {
        "filter": lambda frame: frame.cards.get("FILTER", "none"),
        "binning": lambda frame: frame.cards.get("XBINNING", "1"),
        "kind": lambda frame: "colour" if len(frame.shape) == 3 else "mono",
    }.items():
        others = unlike_most([key(frame) for frame in frames], what)
        left_out.update({frames[index].path: f"{why}: a mosaic needs one {what}" for index, why in others.items()})
        frames = [frame for index, frame in enumerate(frames) if index not in others]
    return frames


def _of_one_hand(frames: list[FrameFile], left_out: dict[Path, str]) -> list[FrameFile]:
    def hand(frame: FrameFile) -> bool:
        return bool(np.linalg.det(frame.wcs.pixel_scale_matrix) > 0)

    reason = "its WCS is mirrored compared with most frames: solve it again"
    return _commonest(frames, hand, reason, left_out)


def _commonest(
    frames: list[FrameFile], key: Callable[[FrameFile], Hashable], reason: str, left_out: dict[Path, str]
) -> list[FrameFile]:
    """Keep the frames with the commonest key; `reason` is filled in with a dropped frame's key and the commonest."""
    kept, *others = _by(frames, key) if frames else ([],)
    for frame in (frame for alike in others for frame in alike):
        left_out[frame.path] = reason.format(key(frame), key(kept[0]))
    return kept


def _near_each_other(frames: list[FrameFile], left_out: dict[Path, str]) -> list[FrameFile]:
    if not frames:
        return frames
    pointings = np.array([frame.pointing for frame in frames])
    middle = np.median(pointings, axis=0)
    cosines = np.clip(pointings @ (middle / max(np.linalg.norm(middle), 1e-9)), -1, 1)
    distances = np.degrees(np.arccos(cosines))
    for frame, distance in zip(frames, distances, strict=True):
        if distance > MAX_DISTANCE_DEG:
            left_out[frame.path] = f"its WCS points {distance:.0f} degrees away from most frames"
    return [frame for frame, distance in zip(frames, distances, strict=True) if distance <= MAX_DISTANCE_DEG]


# --- which of them make a tile ----------------------------------------------------------------------------------------


def _leaves(frames: list[FrameFile], tile_frames: int) -> list[list[FrameFile]]:
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


def _shorter_side(frame: FrameFile) -> float:
    """Return a frame's shorter side in radians."""
    scale = np.sqrt(abs(np.linalg.det(frame.wcs.pixel_scale_matrix)))
    return float(np.radians(scale) * min(frame.shape[:2]))


def _places(frames: Sequence[FrameFile]) -> np.ndarray:
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
    leaves: list[list[FrameFile]], tile_frames: int, min_frames: int, left_out: dict[Path, str]
) -> list[list[FrameFile]]:
    """Give the frames of parts that are too small to the nearest tile within reach, or leave them out."""
    kept = [leaf for leaf in leaves if len(leaf) >= min_frames]
    middles = [np.mean([frame.pointing for frame in leaf], axis=0) for leaf in kept]
    for leaf in (leaf for leaf in leaves if len(leaf) < min_frames):
        for frame in leaf:
            near = [
                (float(np.linalg.norm(middle - frame.pointing)), number)
                for number, middle in enumerate(middles)
                if kept[number][0].shape == frame.shape and len(kept[number]) < tile_frames
            ]
            distance, number = min(near, default=(np.inf, -1))
            if distance <= REACH * _shorter_side(frame):
                kept[number].append(frame)
            else:
                left_out[frame.path] = (
                    f"only {'1 frame' if len(leaf) == 1 else f'{len(leaf)} frames'} of its size and kind "
                    f"cover its place on the sky, fewer than --min-frames {min_frames}"
                )
    return kept


def fingerprint(group: Group, settings: Any) -> str:
    """Return what tells a tile's inputs and settings from others: frames by name, size, time and WCS."""
    digest = hashlib.sha256(repr(settings).encode())
    for frame in group.frames:
        digest.update(repr((*frame.identity, frame.wcs.to_header_string(relax=True))).encode())
    return digest.hexdigest()
