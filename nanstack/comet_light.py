# SPDX-License-Identifier: GPL-3.0-or-later
"""Stars and a comet sharp in one picture: its light is taken off each frame, and put back where it was at one moment.

What is taken off moves with the comet, what is put back stands still: where the sky is smooth over the comet's way, it
makes no difference whether it is taken for comet or for sky.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import scipy

from nanstack.comet import moment_of, shift_of
from nanstack.comet_stars import SHARE_OF_DRIFT, PartOf, width_px
from nanstack.levels.placed import Foreign, Light
from nanstack.register.mesh import Box
from nanstack.stack.cells import counted_from_origin

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from nanstack.canvas import Canvas
    from nanstack.comet_stack import CometFrames
    from nanstack.levels.placed import PlacedFrame
    from nanstack.stack.stacked import StackedCell

MOST_PX = 600  # from the nucleus: farther out, a coma is smooth over any way
COMA_PX = 20.0  # light that is smoothed by so much has no noise to speak of
DETAIL_PX = 6.0  # what is finer rises above the noise, smoothed by so much, where it is the comet's
LEAST_SIGNAL = 4.0  # of it, over that noise
EDGE_PX = 12.0  # over which the finer part fades out
FADES_PX = 100.0  # over which all fades out far from the nucleus,
FADES_WAYS = 3.0  # or so many ways of the comet, if that is more
CORE = 4.0  # widths of a star around the nucleus that are light in any case
NUCLEUS = 1.5  # widths of a star around it in which a frame does not count where another one does


@dataclass(frozen=True)
class CometLight:
    """A comet's own light.

    Attributes
    ----------
    light : ndarray of float32, shape (h, w, C)
        In ADU, of the comet and of the sky around it; it fades to 0 at edges that are not the canvas's.
    box : Box
        Where it is on the canvas, in its pixels.
    """

    light: np.ndarray
    box: Box


def light_of(part: PartOf, canvas: Canvas, comet: CometFrames) -> CometLight:
    """Return a comet's light by its stack: as fine as that where details rise above the noise, smooth elsewhere.

    Parameters
    ----------
    part : callable
        Returns a part of the stack's image: (h, w, C), NaN where there is no data.
    canvas : Canvas
    comet : CometFrames
    """
    x, y = (round(float(side)) for side in canvas.view.pixels(comet.motion.place))
    box = Box(y - MOST_PX, y + MOST_PX + 1, x - MOST_PX, x + MOST_PX + 1).common(Box.whole(canvas.shape))
    image = np.asarray(part(box), dtype=np.float32)
    known = np.isfinite(image).all(axis=2)
    if not known.any():
        return CometLight(np.zeros((*box.shape, image.shape[2]), np.float32), box)
    light = np.where(known[..., np.newaxis], image - np.median(image[known], axis=0), np.float32(0))
    smooth = _smoothed(light, known)
    detail = np.where(known[..., np.newaxis], light - smooth, np.float32(0))
    rows, columns = np.ogrid[box.top - y : box.bottom - y, box.left - x : box.right - x]
    share = _share(detail.mean(axis=2), known, np.hypot(rows, columns) <= CORE * comet.width_px)
    found = smooth + share[..., np.newaxis] * detail
    return CometLight(found * _fading(box, canvas, max(FADES_PX, FADES_WAYS * comet.drift_px)), box)


def _smoothed(light: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Return light (h, w, C) smoothed, as if by a Gaussian, over what is known; 0 where nothing is near."""
    side = round(np.sqrt(4 * COMA_PX**2 + 1))  # three boxes of that side have the variance of the Gaussian
    there, found = known.astype(np.float32)[..., np.newaxis], light
    for _ in range(3):
        there, found = (scipy.ndimage.uniform_filter(one, (side, side, 0), mode="constant") for one in (there, found))
    return np.where(there > 1e-3, found / np.maximum(there, 1e-3), np.float32(0))


def _share(detail: np.ndarray, known: np.ndarray, core: np.ndarray) -> np.ndarray:
    """Return which share of details is taken for the comet's: all around its core where they rise above the noise."""
    smooth = scipy.ndimage.gaussian_filter(detail, DETAIL_PX)
    noise = 1.4826 * np.median(np.abs(smooth[known]))
    # around a nucleus details change their sign: what lies within an edge of each other is one
    near = scipy.ndimage.distance_transform_edt(~((np.abs(smooth) > LEAST_SIGNAL * noise) | core)) <= EDGE_PX
    parts, _ = scipy.ndimage.label(near)
    wide = parts == parts[core].max(initial=-1)
    share = np.clip(2 * scipy.ndimage.gaussian_filter(wide.astype(np.float32), EDGE_PX / 2) - 1, 0, 1)
    return np.where(core, np.float32(1), share)


def _fading(box: Box, canvas: Canvas, over: float) -> np.ndarray:
    """Return a factor (h, w, 1) that falls to 0 towards those sides of a box that are not the canvas's."""
    (height, width), inside = box.shape, Box.whole(canvas.shape)
    falls = []
    for length, begins, ends in (
        (height, box.top > inside.top, box.bottom < inside.bottom),
        (width, box.left > inside.left, box.right < inside.right),
    ):
        along = np.arange(length, dtype=np.float32)
        near = np.minimum(along if begins else np.inf, along[::-1] if ends else np.inf)
        falls.append(np.sin(np.pi / 2 * np.clip(near / over, 0, 1)) ** 2 * np.ones(length, np.float32))
    return np.multiply.outer(*falls).astype(np.float32)[..., np.newaxis]


def without_comet(
    placed: list[PlacedFrame], canvas: Canvas, comet: CometFrames, found: CometLight
) -> list[PlacedFrame]:
    """Return frames as they go onto the stars' canvas, without a comet's light and those whose time is unknown.

    Parameters
    ----------
    placed : list of PlacedFrame
        On the stars' canvas.
    canvas : Canvas
    comet : CometFrames
    found : CometLight
    """
    box, beyond = counted_from_origin(found.box, canvas), math.ceil(comet.drift_px / 2) + 2
    # what a frame shows at the edge of the canvas may have come from beyond it
    wide = np.pad(found.light, ((beyond, beyond), (beyond, beyond), (0, 0)), mode="edge")
    coefficients = scipy.ndimage.spline_filter1d(wide, axis=0, output=np.float32, mode="mirror")
    coefficients = scipy.ndimage.spline_filter1d(coefficients, axis=1, output=np.float32, mode="mirror")
    light = Light(coefficients, box.top - beyond, box.left - beyond)
    timed = [(one, moment) for one in placed if (moment := moment_of(one.frame)) is not None]
    return [
        replace(
            one,
            foreign=Foreign(light, shift_of(comet.motion, moment, canvas)),
            masked=np.concatenate([one.masked, _nucleus(one, comet, comet.motion.at(moment), canvas)]),
        )
        for one, moment in timed
    ]


def _nucleus(one: PlacedFrame, comet: CometFrames, place: np.ndarray, canvas: Canvas) -> np.ndarray:
    """Return a disc around the nucleus in a frame: (1, 5), as `PlacedFrame.masked`."""
    x, y = (float(side) for side in one.frame.view.pixels(place))
    way = comet.drift_px * one.frame.view.focal / canvas.view.focal
    return np.array([[x, y, x, y, min(NUCLEUS * width_px(one), SHARE_OF_DRIFT * way)]])


def with_comet(strips: Iterable[tuple[int, StackedCell]], found: CometLight) -> Iterator[tuple[int, StackedCell]]:
    """Give the strips of a stack on, a comet's light put onto them."""
    for top, strip in strips:
        rows = Box(top, top + len(strip.image), 0, strip.image.shape[1])
        shared = rows.common(found.box)
        if 0 in shared.shape:
            yield top, strip
            continue
        image = strip.image.copy()
        image[shared.within(rows)] += found.light[shared.within(found.box)]
        yield top, replace(strip, image=image)
