# SPDX-License-Identifier: GPL-3.0-or-later
"""Registered frames onto the pixels of one canvas, each resampled once, at most."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np

from nanstack.canvas import Canvas
from nanstack.io.frames import FrameError
from nanstack.memory import in_order
from nanstack.register.alignment import Alignment
from nanstack.register.matching import fit_affine
from nanstack.register.mesh import mesh_between
from nanstack.register.registered import RegisteredFrame
from nanstack.register.warp import warp_mesh

AFFINE_GRID = 9  # points along each axis that the affine transform of a report follows


def onto_canvas(
    frames: Sequence[RegisteredFrame],
    canvas: Canvas,
    reference: int,
    *,
    interpolation: str = "bicubic",
    threads: int | None = None,
    finish: Callable[[np.ndarray], np.ndarray] | None = None,
) -> Iterator[tuple[Alignment, np.ndarray | None]]:
    """Bring registered frames onto the pixels of a canvas.

    Parameters
    ----------
    frames : sequence of RegisteredFrame
        Read in threads as they are needed, a few ahead of the caller.
    canvas : Canvas
        A frame whose pixels these are is copied.
    reference : int
        The frame to which the others' skies will be matched.
    interpolation : {'bicubic', 'lanczos3'}
    threads : int, optional
        Frames worked on at once; by default one a core.
    finish : callable, optional
        ``finish(samples)``, called in the thread, returns what is to be yielded in place of the samples.

    Yields
    ------
    alignment : Alignment
        Its transform is the affine one nearest to what was done.
    samples : ndarray of float32 or None
        The frame on the canvas's pixels, NaN outside its footprint; None where it could not be read.
    """

    def brought(index: int) -> tuple[Alignment, np.ndarray | None]:
        frame = frames[index]
        try:
            samples = frame()
        except FrameError as unusable:
            return Alignment(index, "failed", reason=unusable.reason), None
        if frame.view is not canvas.view:
            samples = warp_mesh(samples, mesh_between(canvas, frame.view), interpolation)
            samples *= np.float32((frame.view.focal / canvas.view.focal) ** 2)  # what a pixel of the canvas sees
        method = "reference" if index == reference else "stars"
        alignment = Alignment(
            index, method, _affine(frame, canvas), frame.rms, frame.stars, len(stars := frame.survey.stars), stars.fwhm
        )
        return alignment, samples if finish is None else finish(samples)

    return in_order(brought, len(frames), threads)


def _affine(frame: RegisteredFrame, canvas: Canvas) -> np.ndarray:
    """Return the affine transform from the canvas's pixels to the frame's that holds best over the frame."""
    height, width = frame.shape[:2]
    u, v = np.meshgrid(np.linspace(0, width - 1, AFFINE_GRID), np.linspace(0, height - 1, AFFINE_GRID))
    x, y = canvas.view.pixels(frame.view.directions(u, v))
    shown = np.isfinite(x)
    return fit_affine((x + 1j * y)[shown], (u + 1j * v)[shown])[0]
