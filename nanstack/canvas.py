# SPDX-License-Identifier: GPL-3.0-or-later
"""The pixels of a result: as many as show all frames of a group, those of one frame, or those of another image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from nanstack.io.frames import FrameError
from nanstack.io.layout import image_shape, read_layout
from nanstack.io.solution import celestial_wcs
from nanstack.register.camera import ARCSEC, Camera, View, edge_pixels, local_axes
from nanstack.register.solved import SolvedView

if TYPE_CHECKING:
    from astropy.wcs import WCS

MAX_SIDE_PX = 65_000
MAX_WIDTH_DEG = 120.0  # a plane stretches the edge of such a field to four times its size
MIDDLE_ROUNDS = 300  # the middle is found to some hundredths of the field's width


@dataclass(frozen=True)
class Canvas:
    """The pixels of a result.

    Attributes
    ----------
    view : View or SolvedView
        What they show, as if a frame had taken it.
    """

    view: View | SolvedView

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width."""
        return self.view.shape

    @property
    def origin(self) -> tuple[int, int]:
        """The pixel (x, y) that cells and levels are counted from: nearest to the axis, or another image's first."""
        x, y = self.view.middle
        return round(x), round(y)

    def wcs(self) -> WCS:
        """Return the place of the pixels on the sky."""
        return self.view.wcs()


def reference_canvas(view: View) -> Canvas:
    """Return a frame's own pixels, its distortion included: that frame is copied onto them, not resampled."""
    return Canvas(view)


def canvas_like(path: Path) -> Canvas:
    """Return the pixels of another image, by the celestial solution in its header.

    Parameters
    ----------
    path : Path
        A FITS file, of whatever projection and distortion astropy knows.

    Raises
    ------
    FrameError
        For a file that is no image, or whose header does not say where it lies.
    """
    layout = read_layout(path)
    solution = celestial_wcs(layout.header)
    if solution is None:
        raise FrameError(path, "its header has no place on the sky (WCS) that makes sense")
    try:
        return Canvas(SolvedView.of(solution, image_shape(path, layout.stored)[:2]))
    except ValueError as nowhere:
        raise FrameError(path, str(nowhere)) from nowhere


def union_canvas(
    views: Sequence[View], reference: View | None = None, *, scale: float | None = None, finer: float = 1.0
) -> Canvas:
    """Return the smallest canvas without distortion that shows all of some frames.

    Parameters
    ----------
    views : sequence of View
        One at least.
    reference : View, optional
        A frame whose scale and turn the canvas takes. By default north is up: y grows to the north, x to the west, as
        FITS viewers show it.
    scale : float, optional
        Arcseconds a pixel; by default those of the reference, or of the usual frame.
    finer : float
        By how much its pixels are finer than that.

    Raises
    ------
    ValueError
        Where no plane shows all frames, or a side is out of all proportion.
    """
    usual = float(np.median([view.focal for view in views])) if reference is None else reference.focal
    focal = finer * (usual if scale is None else ARCSEC / scale)
    edges = np.concatenate([view.directions(*edge_pixels(view.camera.shape)) for view in views])
    axis = _middle(np.concatenate([view.directions(*edge_pixels(view.camera.shape, 2)) for view in views]))
    width = 2 * np.degrees(np.arccos(np.clip((edges @ axis).min(), -1, 1)))
    if width > MAX_WIDTH_DEG:
        raise ValueError(
            f"the frames lie over {width:.0f} degrees of the sky, and a flat canvas shows {MAX_WIDTH_DEG:.0f} at most: "
            "stack them in several runs, each of frames that lie together"
        )
    attitude = _north_up(axis) if reference is None else _turned(reference.attitude, axis)
    return _around(View(Camera((1, 1), focal), attitude), edges)


def coarser(canvas: Canvas, times: int) -> Canvas:
    """Return the canvas of which each pixel is a square of so many pixels of another one along its side.

    The origin is the first row and column of one of these squares: they lie where they do when the canvas grows.

    Raises
    ------
    ValueError
        For a canvas that `union_canvas` does not make: another's axis meets no pixel's middle.
    """
    if isinstance(canvas.view, SolvedView) or canvas.view.camera.middle != canvas.origin:
        raise ValueError("a canvas that is drizzled onto must be one that shows all frames, not that of another image")
    if times == 1:
        return canvas
    camera = canvas.view.camera
    before, after = (
        [-(-pixels // times) for pixels in sides]
        for sides in (canvas.origin, np.subtract(camera.shape[::-1], canvas.origin).tolist())
    )
    axis = tuple(first - (times - 1) / (2 * times) for first in before)
    shape = before[1] + after[1], before[0] + after[0]
    return Canvas(replace(canvas.view, camera=replace(camera, shape=shape, focal=camera.focal / times, axis=axis)))


def grown(canvas: Canvas, views: Sequence[View]) -> Canvas:
    """Return the canvas of the same projection that shows all of some frames: pixels stay where they are on the sky.

    Parameters
    ----------
    canvas : Canvas
        As `union_canvas` makes them.
    views : sequence of View
        One at least.

    Raises
    ------
    ValueError
        Where that projection does not show all frames, or the canvas would be out of all proportion.
    """
    plane = View(Camera((1, 1), canvas.view.camera.focal), canvas.view.attitude)
    edges = np.concatenate([view.directions(*edge_pixels(view.camera.shape)) for view in views])
    if 2 * np.degrees(np.arccos(np.clip((edges @ plane.pointing).min(), -1, 1))) > MAX_WIDTH_DEG:
        raise ValueError("the canvas does not show all frames: they lie too far from its middle")
    return _around(plane, edges)


def _around(plane: View, directions: np.ndarray) -> Canvas:
    """Return the canvas that shows directions on a plane, whose axis meets a pixel's middle."""
    x, y = plane.pixels(directions)
    (left, right), (top, bottom) = ((int(np.floor(v.min())), int(np.ceil(v.max()))) for v in (x, y))
    shape = bottom - top + 1, right - left + 1
    _check_size(shape)
    return Canvas(View(Camera(shape, plane.focal, axis=(float(-left), float(-top))), plane.attitude))


def _middle(directions: np.ndarray) -> np.ndarray:
    """Return the middle of the smallest circle around directions (n, 3): a unit vector.

    Badoiu and Clarkson 2003 (SODA '03, 801): step towards whatever is farthest, less with each step.
    """
    directions = np.unique(directions, axis=0)  # in order, so that the order of the frames is none of its concern
    middle = directions.mean(axis=0)
    for turn in range(2, MIDDLE_ROUNDS):
        middle = middle + (directions[np.argmin(directions @ middle)] - middle) / turn
    return middle / np.linalg.norm(middle)


def _north_up(axis: np.ndarray) -> np.ndarray:
    """Return the attitude that looks along an axis, y to the north and x to the west."""
    east, north = local_axes(axis)
    return np.stack([-east, north, axis])


def _turned(attitude: np.ndarray, axis: np.ndarray) -> np.ndarray:
    """Return an attitude turned to another axis, by the shortest way (Rodrigues' formula)."""
    x, y, z = np.cross(attitude[2], axis)
    across = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    turn = np.eye(3) + across + across @ across / (1 + attitude[2] @ axis)
    return attitude @ turn.T


def _check_size(shape: tuple[int, int]) -> None:
    """Raise ValueError for a canvas that is too large."""
    height, width = shape
    told = f"a canvas that shows all frames would be {width} x {height} pixels"
    remedy = "choose a coarser scale, leave out those that lie apart, or stack them in several runs"
    if max(shape) > MAX_SIDE_PX:
        raise ValueError(f"{told}, more than {MAX_SIDE_PX} on a side: {remedy}")
