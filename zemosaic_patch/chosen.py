# SPDX-License-Identifier: GPL-3.0-or-later
"""Which pixels a result has: the owner's choice among what the frames give."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from nanstack.canvas import Canvas, canvas_like, reference_canvas, union_canvas
from nanstack.io.frames import FrameError
from nanstack.register.reference import best_reference
from nanstack.register.registered import RegisteredFrame
from nanstack.settings import CanvasSettings
from zemosaic_patch.errors import UsageError
from zemosaic_patch.options.declared import FRAME, IMAGE, Option
from zemosaic_patch.options.runs import CanvasChoice

if TYPE_CHECKING:
    from nanstack.levels.placed import PlacedFrame
    from zemosaic_patch.report.registration import Registered


@dataclass(frozen=True)
class ChosenPixels:
    """The pixels that are chosen, and what they are chosen by.

    Attributes
    ----------
    choice : CanvasChoice
    reference : Path or None
        The frame that it names.
    like : Canvas or None
        The pixels of the image that it names.
    """

    choice: CanvasChoice
    reference: Path | None
    like: Canvas | None

    @classmethod
    def of(cls, choice: CanvasChoice, paths: Sequence[Path]) -> ChosenPixels:
        """Return a choice among frame files, its own files found; else raise UsageError."""
        reference = None if choice.reference is None else _among(paths, choice.reference)
        return cls(choice, reference, None if choice.like is None else _pixels_of(choice.like))

    def canvas_of(self, frames: Sequence[RegisteredFrame], settings: CanvasSettings) -> Canvas:
        """Return the canvas that is chosen."""
        if self.like is not None:
            return self.like
        reference = next((frame for frame in frames if frame.path == self.reference), None)
        if self.choice.kind == "reference":
            return reference_canvas((reference or frames[best_reference(frames)]).view)
        views, finer = [frame.view for frame in frames], 1.0 if settings.drizzle is None else settings.drizzle.scale
        return union_canvas(views, reference and reference.view, scale=self.choice.scale, finer=finer)

    def told(self, canvas: Canvas, frames: Sequence[PlacedFrame], registered: Registered) -> str:
        """Return what the pixels of a canvas that shows frames are chosen by, in words."""
        if self.choice.like is not None:
            return f"pixels of {Path(self.choice.like).name}"
        if self.choice.kind == "reference":
            attitude, shown = canvas.view.attitude, [one.frame for one in frames]
            own = (frame.path.name for frame in shown if np.array_equal(frame.view.attitude, attitude))
            return f"pixels of {next(own, 'an earlier frame')}"
        if self.reference is not None:
            return f"turned as {self.reference.name}"
        knows_north = registered.on_the_sky and not registered.approximate
        return "north up" if knows_north else "north in no known direction"


def check_file(option: Option, named: str, paths: Sequence[Path]) -> None:
    """Refuse a file that an option names, where it is not what the option wants of it; UsageError, as a run's."""
    if option.names == FRAME:
        _among(paths, named)
    elif option.names == IMAGE:
        _pixels_of(named)


def _among(paths: Sequence[Path], reference: str) -> Path:
    """Return the frame that the reference names."""
    wanted = Path(reference)
    for path in paths:
        if path == wanted or path.name == reference or path.resolve() == wanted.resolve():
            return path
    raise UsageError(f"--reference {reference} is not among the {len(paths)} frames given: name one of them")


def _pixels_of(image: str) -> Canvas:
    """Return the canvas that another image gives."""
    try:
        return canvas_like(Path(image))
    except FrameError as error:
        raise UsageError(f"--like {image}: {error.reason}") from error
