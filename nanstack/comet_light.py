# SPDX-License-Identifier: GPL-3.0-or-later
"""Stars and a comet sharp in one picture: its light is taken off each frame, and put back where it was at one moment.

What is taken off moves with the comet, what is put back stands still: where the sky is smooth over the comet's way, it
makes no difference whether it is taken for comet or for sky.
"""

from __future__ import annotations

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
    from nanstack.comet import Motion
    from nanstack.comet_stack import CometFrames
    from nanstack.levels.placed import PlacedFrame
    from nanstack.stack.stacked import StackedCell

MOST_PX = 1000  # from the nucleus: farther out, a coma is smooth over any way
SMOOTH_PX = 6.0  # light that is smoothed by so much rises above the noise where there is some
LEAST_SIGNAL = 4.0  # of it, over that noise
EDGE_PX = 12.0  # over which it fades out
CORE = 4.0  # widths of a star around the nucleus that are light in any case
NUCLEUS = 1.5  # widths of a star around it in which a frame does not count where another one does


@dataclass(frozen=True)
class CometLight:
    """A comet's own light.

    Attributes
    ----------
    light : ndarray of float32, shape (h, w, C)
        In ADU; it fades to 0 at the edges.
    box : Box
        Where it is on the canvas, in its pixels.
    """

    light: np.ndarray
    box: Box


def light_of(part: PartOf, canvas: Canvas, motion: Motion, width: float) -> CometLight:
    """Return a comet's light by its stack.

    Parameters
    ----------
    part : callable
        Returns a part of the stack's image: (h, w, C), NaN where there is no data.
    canvas : Canvas
    motion : Motion
    width : float
        Full width at half maximum of stars, in pixels of the canvas.
    """
    x, y = (round(float(side)) for side in canvas.view.pixels(motion.place))
    box = Box(y - MOST_PX, y + MOST_PX + 1, x - MOST_PX, x + MOST_PX + 1).common(Box.whole(canvas.shape))
    image = np.asarray(part(box), dtype=np.float32)
    known = np.isfinite(image).all(axis=2)
    if not known.any():
        return CometLight(np.zeros((*box.shape, image.shape[2]), np.float32), box)
    light = np.where(known[..., np.newaxis], image - np.median(image[known], axis=0), np.float32(0))
    rows, columns = np.ogrid[box.top - y : box.bottom - y, box.left - x : box.right - x]
    share = _share(light.mean(axis=2), known, np.hypot(rows, columns), width)
    return CometLight(light * share[..., np.newaxis], box)


def _share(light: np.ndarray, known: np.ndarray, away: np.ndarray, width: float) -> np.ndarray:
    """Return which share of light is taken for a comet's: all where it rises above the noise around the nucleus."""
    smooth = scipy.ndimage.gaussian_filter(light, SMOOTH_PX)
    noise = 1.4826 * np.median(np.abs(smooth[known] - np.median(smooth[known])))
    core = away <= CORE * width
    parts, _ = scipy.ndimage.label((smooth > LEAST_SIGNAL * noise) | core)
    mine = np.isin(parts, np.unique(parts[core]))
    wide = scipy.ndimage.distance_transform_edt(~mine) <= EDGE_PX
    share = np.clip(2 * scipy.ndimage.gaussian_filter(wide.astype(np.float32), EDGE_PX / 2) - 1, 0, 1)
    share[core] = 1
    edge = np.minimum.outer(*(np.minimum(np.arange(n), np.arange(n)[::-1]) for n in share.shape))
    return share * np.clip(edge / EDGE_PX, 0, 1).astype(np.float32)


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
    box = counted_from_origin(found.box, canvas)
    coefficients = scipy.ndimage.spline_filter1d(found.light, axis=0, output=np.float32, mode="mirror")
    coefficients = scipy.ndimage.spline_filter1d(coefficients, axis=1, output=np.float32, mode="mirror")
    light = Light(coefficients, box.top, box.left)
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
