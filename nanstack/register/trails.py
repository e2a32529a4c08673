# SPDX-License-Identifier: GPL-3.0-or-later
"""Which lines in frames are trails: other frames tell, for a galaxy on edge stays on the sky, and a bad column on the
sensor, and what flies past does neither.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import scipy

from nanstack.register.camera import Passage, View
from nanstack.register.registered import RegisteredFrame, cameras
from nanstack.survey.trails import Trail, distance

POINTS = 17  # along a line, at which others are asked
SAME_PX = 6.0  # between two lines, beside their widths, that are one
SAME_SHARE = 0.5  # of the points of a line that lie on the other
BEYOND_PX = 32.0  # of its ends a trail may go on, too faint to be seen
REACH_PX = 3.0  # to which a sample hangs on the light beside it
MOST_ASKED = 1000  # frames that show a place, spread over all that do
OTHERS, SHARE = 2, 0.05  # frames, and of all that could, that show the same: it is no trail; or all that there are


def trails_of(frames: Sequence[RegisteredFrame]) -> list[tuple[Trail, ...]]:
    """Return the trails of each frame: its sure lines that not two others, and a twentieth, have at the same place.

    Where one other frame alone shows the place, it is enough.
    """
    found: list[tuple[Trail, ...]] = [()] * len(frames)
    with_lines = [index for index, frame in enumerate(frames) if frame.survey.trails]
    if not with_lines:
        return found
    lines = _Lines.of(frames)
    for index in with_lines:
        sure = [trail for trail in frames[index].survey.trails if trail.is_sure]
        found[index] = tuple(trail for trail in sure if not lines.stays(trail, index, frames[index]))
    return found


def trail_masks(trails: Sequence[Trail]) -> np.ndarray:
    """Return lines and radii that cover trails, as far as samples beside them show their light: (m, 5), in pixels."""
    masks = np.empty((len(trails), 5))
    for mask, trail in zip(masks, trails, strict=True):
        begin, end = np.array(trail[:2]), np.array(trail[2:4])
        beyond = BEYOND_PX * (end - begin) / max(trail.length, 1.0)
        mask[:] = *(begin - beyond), *(end + beyond), trail.half_width + REACH_PX
    return masks


@dataclass(frozen=True)
class _Views:
    """Where frames look, in arrays.

    Attributes
    ----------
    passage : Passage
        From the first frame's pixels to those of all.
    shape : ndarray of float64, shape (n, 2)
        Their heights and widths.
    reach : ndarray of float64, shape (n,)
        From their middles to their corners, in radians, and a little more.
    tree : scipy.spatial.cKDTree
        Of the directions of their middles.
    """

    passage: Passage
    shape: np.ndarray
    reach: np.ndarray
    tree: scipy.spatial.cKDTree

    @classmethod
    def of(cls, frames: Sequence[RegisteredFrame]) -> _Views:
        views = [frame.view for frame in frames]
        reach = 0.55 * np.array([np.hypot(*view.shape) / view.focal for view in views])
        shape = np.array([frame.shape[:2] for frame in frames], dtype=np.float64)
        tree = scipy.spatial.cKDTree(np.array([view.pointing for view in views]))
        return cls(Passage.between(views[0], views), shape, reach, tree)

    def near(self, index: int) -> np.ndarray:
        """Return which frames may show what one of them shows, itself too: of many a part, as good as all."""
        around = self.tree.query_ball_point(self.tree.data[index], self.reach[index] + self.reach.max())
        around = np.sort(np.array(around))
        most = np.linspace(0, len(around) - 1, min(len(around), MOST_ASKED)).astype(int)
        return np.union1d(around[most], [index])

    def places(self, which: np.ndarray, view: View, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, ...]:
        """Return where some frames show pixels of a view, (n, pixels) each, and which show half of these: (n,)."""
        passage = self.passage[which]
        turn = view.axes @ passage.seen.axes.T @ passage.turn
        across, down = replace(passage, seen=view, turn=turn)[:, np.newaxis](x, y)
        height, width = self.shape[which].T[..., np.newaxis]
        inside = (across > -0.5) & (across < width - 0.5) & (down > -0.5) & (down < height - 0.5)
        return across, down, inside.mean(axis=1) >= SAME_SHARE


@dataclass(frozen=True)
class _Lines:
    """The lines of frames, in arrays.

    Attributes
    ----------
    views : _Views
        Of the frames.
    camera : ndarray of int, shape (n,)
        Their cameras' numbers.
    owner : ndarray of int, shape (m,)
        Whose each line is, in ascending order.
    numbers : ndarray of float64, shape (m, 7)
        Those of `Trail`.
    """

    views: _Views
    camera: np.ndarray
    owner: np.ndarray
    numbers: np.ndarray

    @classmethod
    def of(cls, frames: Sequence[RegisteredFrame]) -> _Lines:
        owner = np.repeat(np.arange(len(frames)), [len(frame.survey.trails) for frame in frames])
        numbers = np.concatenate([np.array(frame.survey.trails) for frame in frames if frame.survey.trails])
        return cls(_Views.of(frames), cameras(frames), owner, numbers)

    def stays(self, trail: Trail, own: int, frame: RegisteredFrame) -> bool:
        """Tell whether others show the line of a frame at the same place of the sky, or of the sensor."""
        x, y = _points(trail, frame.shape)
        near = self.views.near(own)
        across, down, shown = self.views.places(near, frame.view, x, y)
        at = np.searchsorted(near, self.owner).clip(max=len(near) - 1)
        asked = np.flatnonzero((near[at] == self.owner) & shown[at] & (self.owner != own))
        there = asked[self._are_near(asked, trail, across[at[asked]], down[at[asked]])]
        if len(there) and _are_enough(len(np.unique(self.owner[there])), np.count_nonzero(shown) - 1):
            return True
        alike = np.flatnonzero((self.camera == self.camera[own])[self.owner] & (self.owner != own))
        alike = alike[self._are_near(alike, trail, x, y)]
        of_camera = int(np.count_nonzero(self.camera == self.camera[own]))
        return _are_enough(len(np.unique(self.owner[alike])), of_camera - 1)

    def _are_near(self, which: np.ndarray, trail: Trail, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Tell which of some lines half of a trail's pixels lie on: (n,)."""
        numbers = self.numbers[which]
        with np.errstate(invalid="ignore"):  # nowhere is near nothing
            far = distance(numbers.T[:4, :, np.newaxis], x, y)
            near = far < (SAME_PX + trail.half_width + numbers[:, 4])[:, np.newaxis]
        return near.mean(axis=1) >= SAME_SHARE


def _are_enough(count: int, others: int) -> bool:
    """Tell whether so many of other frames that show a place tell of a line there: more than do by chance."""
    return count > 0 and count >= min(others, max(OTHERS, SHARE * others))


def _points(trail: Trail, shape: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Return pixels along a trail, as far as it lies on a frame."""
    x, y = (np.linspace(*ends, POINTS) for ends in ((trail.x0, trail.x1), (trail.y0, trail.y1)))
    return np.clip(x, 0, shape[1] - 1), np.clip(y, 0, shape[0] - 1)
