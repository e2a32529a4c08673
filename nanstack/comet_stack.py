# SPDX-License-Identifier: GPL-3.0-or-later
"""A second stack of the same frames on a comet's motion: the comet sharp, the stars gone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TYPE_CHECKING

import numpy as np

from nanstack.comet import LEAST_MOTION_PX, Marks, Motion, drift_px, motion_of, moved, with_moments
from nanstack.comet_nucleus import Followed, followed
from nanstack.comet_stars import PartOf, stars_of, width_px, with_fainter_ones, with_stars_masked
from nanstack.register.mesh import Box
from nanstack.settings import CanvasSettings
from nanstack.sky_stack import SkyStack, stacked_on

if TYPE_CHECKING:
    from pathlib import Path

    from nanstack.canvas import Canvas
    from nanstack.levels.placed import PlacedFrame
    from nanstack.progress import Progress

ENOUGH_WIDTHS = 6.0  # of a star, that a comet has to move by until discs of full size leave nothing of it


@dataclass(frozen=True)
class CometFrames:
    """Frames that show a comet, and how it moves through them.

    Attributes
    ----------
    frames : list of PlacedFrame
        As they go onto the stars' canvas, the earliest first.
    followed : Followed
        How it moves.
    begin, end : datetime
        Middles of the first and the last exposure.
    first, last : Path
        These frames.
    untimed : list of Path
        Frames whose headers tell no time: they are not among them.
    drift_px : float
        How far it moves from the first to the last, in pixels of the canvas.
    width_px : float
        Usual full width at half maximum of stars, in pixels of the canvas.
    """

    frames: list[PlacedFrame]
    followed: Followed
    begin: datetime
    end: datetime
    first: Path
    last: Path
    untimed: list[Path]
    drift_px: float
    width_px: float

    @property
    def motion(self) -> Motion:
        """The comet's."""
        return self.followed.motion

    @property
    def stars_stay(self) -> bool:
        """Whether the comet moves so little that stars leave something behind."""
        return self.drift_px < ENOUGH_WIDTHS * self.width_px


def comet_frames(
    placed: Sequence[PlacedFrame], canvas: Canvas, marks: Marks, interpolation: str = "bicubic"
) -> CometFrames:
    """Return the frames that show a comet, and how it moves.

    Parameters
    ----------
    placed : sequence of PlacedFrame
        As they go onto the stars' canvas.
    canvas : Canvas
    marks : Marks
        The nucleus near them is centred by its own light, in all frames together, where it is surely seen.
    interpolation : {'bicubic', 'lanczos3'}

    Raises
    ------
    ValueError
        For marks that tell no motion; for fewer than two frames whose times are known.
    nanstack.io.frames.FrameError
        For a file that cannot be read any more.
    """
    timed = with_moments(placed)
    if len(timed) < 2:
        raise ValueError(
            f"a comet's motion needs two frames whose headers tell the time (DATE-OBS); here {len(timed)} of them do"
        )
    (first, begin), (last, end) = timed[0], timed[-1]
    found = followed(timed, canvas, motion_of(marks, timed, canvas), interpolation)
    if not found.by_light and marks.count == "frames":
        _check_not_upside_down(marks, timed, canvas, interpolation)
    way = drift_px(found.motion, canvas, begin, end)
    if way < LEAST_MOTION_PX:
        raise ValueError("what is at the comet's marks does not move among the stars: it is one of them")
    x, y = (float(side) for side in canvas.view.pixels(found.motion.place))
    if not (0 <= x < canvas.shape[1] and 0 <= y < canvas.shape[0]):  # NaN is not
        raise ValueError("the comet lies outside the mosaic in the middle of the time: look at its marks")
    known = [one for one, _ in timed]
    there = {one.frame.path for one in known}
    return CometFrames(
        frames=known,
        followed=found,
        begin=begin,
        end=end,
        first=first.frame.path,
        last=last.frame.path,
        untimed=[one.frame.path for one in placed if one.frame.path not in there],
        drift_px=way,
        width_px=float(np.median([width_px(one) * canvas.view.focal / one.frame.view.focal for one in known])),
    )


def turned_after(found: CometFrames, canvas: Canvas, part: PartOf) -> list[PlacedFrame]:
    """Return frames as they go onto a comet's canvas, whose pixels are those of the stars' one: turned, stars masked.

    Parameters
    ----------
    found : CometFrames
    canvas : Canvas
    part : callable
        Returns a part of the image of the stars' stack, in which more of them are seen: (h, w, C).
    """
    seen = stars_of(found.frames, found.motion)
    stars = with_fainter_ones(seen, part, canvas, found.motion, found.drift_px, found.width_px)
    masked = with_stars_masked(found.frames, stars, found.drift_px, canvas.view.focal)
    return [moved(one, canvas, found.motion, moment) for one, moment in with_moments(masked)]


def _check_not_upside_down(
    marks: Marks, timed: Sequence[tuple[PlacedFrame, datetime]], canvas: Canvas, interpolation: str
) -> None:
    """Refuse marks beside which there is no nucleus where there is one with rows counted from the other side."""
    turned = marks.upside_down((timed[0][0].frame.shape[0], timed[-1][0].frame.shape[0]))
    try:
        found = followed(timed, canvas, motion_of(turned, timed, canvas), interpolation)
    except ValueError:  # no comet moves so
        return
    if found.by_light:
        told = ",".join(f"{number:g}" for number in (*turned.first, *turned.last))
        raise ValueError(
            f"there is no nucleus at the comet's marks, and there is one with y counted from the other side: try {told}"
        )


def comet_stack(
    stack: SkyStack,
    marks: Marks,
    settings: CanvasSettings | None = None,
    *,
    memory: int | None = None,
    progress: Progress | None = None,
) -> SkyStack:
    """Stack the frames of a stack once more, on a comet's motion: it is sharp where it was in the middle of the time.

    Parameters
    ----------
    stack : SkyStack
        Of the stars. The new one has its pixels, its levels, and its place on the sky.
    marks : Marks
    settings : CanvasSettings, optional
        Those of the stack.
    memory : int, optional
        Bytes that the cells in work may take together. No influence on the result.
    progress : Progress, optional
        Hears of the step 'stacking' (cells).

    Raises
    ------
    ValueError, nanstack.io.frames.FrameError
        As `comet_frames`.
    """
    settings = settings or CanvasSettings()
    there = comet_frames(stack.frames, stack.canvas, marks, settings.interpolation)
    image = stack.image.reshape(*stack.canvas.shape, -1)
    frames = turned_after(there, stack.canvas, lambda box: image[box.within(Box.whole(image.shape))])
    made = stacked_on(stack.canvas, frames, stack.sky, settings, memory=memory, progress=progress)
    untimed = dict.fromkeys(there.untimed, "its header tells no time (DATE-OBS)")
    return replace(made, wcs=stack.wcs, left_out={**stack.left_out, **untimed})
