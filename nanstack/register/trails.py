# SPDX-License-Identifier: GPL-3.0-or-later
"""Which lines in frames are trails: other frames tell, for a galaxy on edge stays on the sky, and a bad column on the
sensor, and what flies past does neither.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from nanstack.register.camera import Passage
from nanstack.register.registered import RegisteredFrame, cameras
from nanstack.survey.trails import Trail

POINTS = 17  # along a line, at which others are asked
SAME_PX = 6.0  # between two lines, beside their widths, that are one
SAME_SHARE = 0.5  # of the points of a line that lie on the other
BEYOND_PX = 32.0  # of its ends a trail may go on, too faint to be seen
REACH_PX = 3.0  # to which a sample hangs on the light beside it
OTHERS = 2  # frames that show the same, at which it is no trail; or all that there are


def trails_of(frames: Sequence[RegisteredFrame]) -> list[tuple[Trail, ...]]:
    """Return the trails of each frame: its sure lines that no two others have at the same place.

    Where one other frame alone shows the place, it is enough.
    """
    with_lines = np.flatnonzero([bool(frame.survey.trails) for frame in frames])
    numbers = cameras(frames)
    found: list[tuple[Trail, ...]] = [()] * len(frames)
    for index in with_lines.tolist():
        others = with_lines[with_lines != index].tolist()
        found[index] = tuple(
            trail
            for trail in frames[index].survey.trails
            if trail.is_sure and not _stays(trail, index, others, frames, numbers)
        )
    return found


def trail_masks(trails: Sequence[Trail]) -> np.ndarray:
    """Return lines and radii that cover trails, as far as samples beside them show their light: (m, 5), in pixels."""
    masks = np.empty((len(trails), 5))
    for mask, trail in zip(masks, trails, strict=True):
        begin, end = np.array(trail[:2]), np.array(trail[2:4])
        beyond = BEYOND_PX * (end - begin) / max(trail.length, 1.0)
        mask[:] = *(begin - beyond), *(end + beyond), trail.half_width + REACH_PX
    return masks


def _stays(
    trail: Trail, index: int, others: Sequence[int], frames: Sequence[RegisteredFrame], numbers: np.ndarray
) -> bool:
    """Tell whether others of the frames that have lines show one at the same place of the sky, or of the sensor."""
    if not others:
        return False
    view, (x, y) = frames[index].view, _points(trail, frames[index].shape)
    on_sky = _there(view, x, y, [frames[other] for other in others])
    on_sensor = [(x, y) if numbers[other] == numbers[index] else None for other in others]
    for places in (on_sky, on_sensor):
        same = sum(
            place is not None and _is_same(trail, frames[other].survey.trails, *place)
            for other, place in zip(others, places, strict=True)
        )
        if same >= OTHERS or (same and same == _showing(view, x, y, frames) - 1):
            return True
    return False


def _points(trail: Trail, shape: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Return pixels along a trail, as far as it lies on a frame."""
    x, y = (np.linspace(*ends, POINTS) for ends in ((trail.x0, trail.x1), (trail.y0, trail.y1)))
    return np.clip(x, 0, shape[1] - 1), np.clip(y, 0, shape[0] - 1)


def _there(
    view: object, x: np.ndarray, y: np.ndarray, frames: Sequence[RegisteredFrame]
) -> list[tuple[np.ndarray, np.ndarray] | None]:
    """Return where frames show pixels of a view; None for a frame that shows less than half of them."""
    across, down = Passage.between(view, [frame.view for frame in frames])[:, np.newaxis](x, y)
    height, width = (np.array([frame.shape[side] for frame in frames])[:, np.newaxis] for side in (0, 1))
    inside = (across > -0.5) & (across < width - 0.5) & (down > -0.5) & (down < height - 0.5)
    enough = inside.mean(axis=1) >= SAME_SHARE
    return [places if shown else None for *places, shown in zip(across, down, enough, strict=True)]


def _showing(view: object, x: np.ndarray, y: np.ndarray, frames: Sequence[RegisteredFrame]) -> int:
    return sum(place is not None for place in _there(view, x, y, frames))


def _is_same(trail: Trail, lines: Sequence[Trail], x: np.ndarray, y: np.ndarray) -> bool:
    """Tell whether pixels along a trail lie on one of a frame's lines."""
    with np.errstate(invalid="ignore"):  # nowhere is near nothing
        near = [np.mean(line.distance(x, y) < SAME_PX + trail.half_width + line.half_width) for line in lines]
    return max(near) >= SAME_SHARE
