# SPDX-License-Identifier: GPL-3.0-or-later
"""Which lines in frames are trails: other frames tell, for a galaxy on edge stays on the sky, and a bad column on the
sensor, and what flies past does neither.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from nanstack.register.camera import Passage, View
from nanstack.register.registered import RegisteredFrame, cameras
from nanstack.survey.trails import Trail, distance

POINTS = 17  # along a line, at which others are asked
SAME_PX = 6.0  # between two lines, beside their widths, that are one
SAME_SHARE = 0.5  # of the points of a line that lie on the other
BEYOND_PX = 32.0  # of its ends a trail may go on, too faint to be seen
REACH_PX = 3.0  # to which a sample hangs on the light beside it
OTHERS, SHARE = 2, 0.05  # frames, and of all that could, that show the same: it is no trail; or all that there are


def trails_of(frames: Sequence[RegisteredFrame]) -> list[tuple[Trail, ...]]:
    """Return the trails of each frame: its sure lines that not two others, and a twentieth, have at the same place.

    Where one other frame alone shows the place, it is enough.
    """
    found: list[tuple[Trail, ...]] = [()] * len(frames)
    with_lines = [index for index, frame in enumerate(frames) if frame.survey.trails]
    if not with_lines:
        return found
    lines, every, camera = _Lines.of([frames[index] for index in with_lines]), _Views.of(frames), cameras(frames)
    of_camera = np.bincount(camera)[camera]
    for own, index in enumerate(with_lines):
        sure = [trail for trail in frames[index].survey.trails if trail.is_sure]
        mine = own, frames[index], every, int(of_camera[index])
        found[index] = tuple(trail for trail in sure if not lines.stays(trail, *mine))
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
    """

    passage: Passage
    shape: np.ndarray

    @classmethod
    def of(cls, frames: Sequence[RegisteredFrame]) -> _Views:
        views = [frame.view for frame in frames]
        return cls(Passage.between(views[0], views), np.array([frame.shape[:2] for frame in frames], dtype=np.float64))

    def places(self, view: View, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return where the frames show pixels of a view, (n, pixels) each, and which show half of these: (n,)."""
        turn = view.axes @ self.passage.seen.axes.T @ self.passage.turn
        across, down = replace(self.passage, seen=view, turn=turn)[:, np.newaxis](x, y)
        height, width = self.shape.T[..., np.newaxis]
        inside = (across > -0.5) & (across < width - 0.5) & (down > -0.5) & (down < height - 0.5)
        return across, down, inside.mean(axis=1) >= SAME_SHARE


@dataclass(frozen=True)
class _Lines:
    """The lines of the frames that have some, in arrays.

    Attributes
    ----------
    views : _Views
        Of these frames.
    camera : ndarray of int, shape (n,)
        Their cameras' numbers.
    owner : ndarray of int, shape (m,)
        Whose each line is.
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
        numbers = np.concatenate([np.array(frame.survey.trails) for frame in frames])
        return cls(_Views.of(frames), cameras(frames), owner, numbers)

    def stays(self, trail: Trail, own: int, frame: RegisteredFrame, every: _Views, of_camera: int) -> bool:
        """Tell whether others show a frame's line at the same place of the sky, or of the sensor.

        Parameters
        ----------
        trail : Trail
        own : int
            The frame's number among these.
        frame : RegisteredFrame
        every : _Views
            Of all frames, also such as have no lines.
        of_camera : int
            How many of all are of its camera.
        """
        x, y = _points(trail, frame.shape)
        across, down, shown = self.views.places(frame.view, x, y)
        there = shown[self.owner] & self._are_near(trail, across[self.owner], down[self.owner])
        alike = (self.camera == self.camera[own])[self.owner] & self._are_near(trail, x, y)
        on_sky, on_sensor = (len(np.unique(self.owner[same & (self.owner != own)])) for same in (there, alike))
        if on_sky and _are_enough(on_sky, np.count_nonzero(every.places(frame.view, x, y)[2]) - 1):
            return True
        return _are_enough(on_sensor, of_camera - 1)

    def _are_near(self, trail: Trail, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Tell which lines half of a trail's pixels lie on: (m,)."""
        with np.errstate(invalid="ignore"):  # nowhere is near nothing
            far = distance(self.numbers.T[:4, :, np.newaxis], x, y)
            near = far < (SAME_PX + trail.half_width + self.numbers[:, 4])[:, np.newaxis]
        return near.mean(axis=1) >= SAME_SHARE


def _are_enough(count: int, others: int) -> bool:
    """Tell whether so many of other frames that show a place tell of a line there: more than do by chance."""
    return count > 0 and count >= min(others, max(OTHERS, SHARE * others))


def _points(trail: Trail, shape: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Return pixels along a trail, as far as it lies on a frame."""
    x, y = (np.linspace(*ends, POINTS) for ends in ((trail.x0, trail.x1), (trail.y0, trail.y1)))
    return np.clip(x, 0, shape[1] - 1), np.clip(y, 0, shape[0] - 1)
