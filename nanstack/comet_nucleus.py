# SPDX-License-Identifier: GPL-3.0-or-later
"""Where a comet's nucleus is in frames, by its own light: marks set by hand are off by a few pixels.

Small pieces of the frames, turned after the comet, are put together to a few pictures in the order of time: stars pass
through these, and leave nothing in their medians. The nucleus is centred in each, and one straight motion is laid
through its places.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

import numpy as np
import scipy

from nanstack.canvas import Canvas
from nanstack.comet import LEAST_MOTION_PX, Motion, moved
from nanstack.levels.placed import NOTHING_LEFT, Level, PlacedFrame
from nanstack.memory import Scratch
from nanstack.register.camera import Camera, View, local_axes
from nanstack.register.mesh import mesh_between
from nanstack.stack.cells import levelled
from nanstack.stack.masks import drawn, masked_on_canvas
from nanstack.stack.rows import OpenFiles
from nanstack.stack.sources import open_source

HALF_PX = 28  # of the pieces
REACHES_PX = 9.0, 4.0  # from where the motion has it, the nucleus is looked for so far: twice
PICTURES = 12  # made of all frames, if there are so many
LEAST_SIGNAL = 6.0  # of a nucleus, over its noise
BESIDE = 3.0, 5.0  # sigmas of a star from a nucleus: what is there is its coma
CENTRING_ROUNDS = 30
SURE_PX = 0.3  # standard error of the nucleus's place in the first and the last frame, with which a motion is believed
FAR_OFF = 4.0  # in what is usual for them: places that the motion is not laid through
LEAST_SCATTER_PX = 0.1
SEEN_TO_MOVE_PX = 1.0  # without a long break: stars of two nights might stand where a comet would

Timed = Sequence[tuple[PlacedFrame, datetime]]


@dataclass(frozen=True)
class Followed:
    """A comet's motion by its own light.

    Attributes
    ----------
    motion : Motion
    pictures, found : int
        How many were made, and in how many of them the nucleus lies on the motion.
    error_px : float
        Standard error of its place in the first and the last frame, in pixels of the canvas; NaN where the motion is
        still the one that was given.
    moved_px : float
        By how much the first or the last place changed, in pixels of the canvas.
    """

    motion: Motion
    pictures: int = 0
    found: int = 0
    error_px: float = float("nan")
    moved_px: float = 0.0

    @property
    def by_light(self) -> bool:
        """Whether the motion is that of the light, not of the marks."""
        return bool(np.isfinite(self.error_px))


def followed(timed: Timed, canvas: Canvas, given: Motion, interpolation: str) -> Followed:
    """Return the motion of the nucleus near a given one; that one where no nucleus is surely seen.

    Parameters
    ----------
    timed : sequence of (PlacedFrame, datetime)
        As they go onto the stars' canvas, the earliest first; what is masked of them is not looked at.
    canvas : Canvas
        Of the stars.
    given : Motion
    interpolation : {'bicubic', 'lanczos3'}
    """
    found = Followed(given)
    for reach in REACHES_PX:
        step = _step(timed, canvas, found.motion, interpolation, reach)
        if step is None or _farthest(step.motion, given, timed, canvas) > REACHES_PX[0]:  # or that of a star
            return Followed(given, min(PICTURES, len(timed)))
        found = step
    return replace(found, moved_px=_farthest(found.motion, given, timed, canvas))


def _farthest(motion: Motion, given: Motion, timed: Timed, canvas: Canvas) -> float:
    """Return how far two motions are apart at most, at the first and at the last frame, in pixels of the canvas."""
    ends = (np.linalg.norm(motion.at(moment) - given.at(moment)) for moment in (timed[0][1], timed[-1][1]))
    return float(max(ends) * canvas.view.focal)


def _step(timed: Timed, canvas: Canvas, motion: Motion, interpolation: str, reach: float) -> Followed | None:
    """Return a motion by the nucleus so near a given one; None where that is not surely seen."""
    view = _small(motion, canvas)
    pieces, when = _pieces(timed, canvas, motion, view, interpolation)
    width = _usual_width(timed, canvas)
    parts = [part for part in np.array_split(np.arange(len(pieces)), PICTURES) if len(part)]
    places = [centred(_picture(pieces[part]), width, reach) for part in parts]
    seen = [index for index, place in enumerate(places) if place is not None]
    if len(seen) < 2:
        return None
    seconds = np.array([np.mean(when[parts[index]]) for index in seen])
    line = _line(seconds, np.array([places[index] for index in seen]))
    ends = np.array([0.0, (timed[-1][1] - timed[0][1]).total_seconds()])
    if line is None or line.count < len(parts) / 2 or not line.error_at(ends).max() < SURE_PX:
        return None
    directions = [
        motion.turn(timed[0][1] + timedelta(seconds=float(at))) @ view.directions(*(HALF_PX + line.at(at)))
        for at in ends
    ]
    new = Motion.through(directions[0], timed[0][1], directions[1], timed[-1][1])
    rate = new.rate * canvas.view.focal
    if rate * ends[1] >= LEAST_MOTION_PX and rate * _longest_stretch(seconds) < SEEN_TO_MOVE_PX:
        return None
    return Followed(new, len(parts), line.count, float(line.error_at(ends).max()))


def _longest_stretch(seconds: np.ndarray) -> float:
    """Return the longer of the times before and after the longest break."""
    last = int(np.argmax(np.diff(seconds)))
    return float(max(seconds[last] - seconds[0], seconds[-1] - seconds[last + 1]))


def _small(motion: Motion, canvas: Canvas) -> View:
    """Return what a small canvas around the comet shows, as fine as the one of the stars."""
    east, north = local_axes(motion.place)
    side = 2 * HALF_PX + 1
    return View(Camera((side, side), canvas.view.focal), np.stack([-east, north, motion.place]))


def _pieces(
    timed: Timed, canvas: Canvas, motion: Motion, view: View, interpolation: str
) -> tuple[np.ndarray, np.ndarray]:
    """Return small pieces (n, h, w) around the comet, their sky at 0, and their seconds after the first frame.

    Frames whose piece has a hole in the middle are passed over.
    """
    pieces, when = [], []
    small = Canvas(view)
    with Scratch() as scratch, closing(OpenFiles()) as files:
        for one, moment in timed:
            bare = replace(one, level=Level.zero(one.channels), flat=NOTHING_LEFT)
            piece = _piece(moved(bare, canvas, motion, moment), small, interpolation, files, scratch)
            if piece is not None:
                pieces.append(piece)
                when.append((moment - timed[0][1]).total_seconds())
    return np.array(pieces).reshape(-1, *view.shape), np.array(when)


def _piece(
    one: PlacedFrame, small: Canvas, interpolation: str, files: OpenFiles, scratch: Scratch
) -> np.ndarray | None:
    mesh = mesh_between(small, one.frame.view)
    samples = np.empty((*small.shape, one.channels), np.float32)
    levelled(one, open_source(one.frame, files, scratch), mesh, interpolation, samples)
    piece = samples.mean(axis=2, dtype=np.float64)
    mask = drawn(masked_on_canvas(one, small), mesh.part)
    if mask is not None:
        piece[mask] = np.nan
    middle = piece[HALF_PX - 1 : HALF_PX + 2, HALF_PX - 1 : HALF_PX + 2]
    return piece - np.nanmedian(_rim(piece)) if np.isfinite(middle).all() and np.isfinite(_rim(piece)).any() else None


def _rim(piece: np.ndarray) -> np.ndarray:
    """Return the pixels of a piece that lie far from its middle."""
    y, x = np.indices(piece.shape) - HALF_PX
    return piece[np.hypot(x, y) > 0.75 * HALF_PX]


def _picture(pieces: np.ndarray) -> np.ndarray:
    """Return the median of pieces; 0 where none shows anything."""
    known = np.isfinite(pieces).any(axis=0)
    picture = np.zeros(pieces.shape[1:])
    picture[known] = np.nanmedian(pieces[:, known], axis=0)
    return picture


def _usual_width(timed: Timed, canvas: Canvas) -> float:
    """Return the usual full width at half maximum of frames' stars in pixels of the canvas; 3 where none is known."""
    widths = [one.frame.survey.stars.fwhm * canvas.view.focal / one.frame.view.focal for one, _ in timed]
    known = [width for width in widths if np.isfinite(width)]
    return float(np.median(known)) if known else 3.0


def centred(picture: np.ndarray, width: float, reach: float) -> tuple[float, float] | None:
    """Return where the brightest nucleus near the middle of a picture is, counted from there; None for none.

    The centroid under a Gaussian as wide as a star, shifted until it stands on it: SExtractor's windowed positions.

    Parameters
    ----------
    picture : ndarray of float64, shape (h, w)
        Its sky at 0.
    width : float
        Full width at half maximum of stars, in pixels.
    reach : float
        How far from the middle, in pixels, a nucleus may be.
    """
    sigma = width / np.sqrt(8 * np.log(2))
    y, x = np.indices(picture.shape) - (np.array(picture.shape)[:, None, None] - 1) / 2
    # a nucleus rises above its own coma: what is smooth over three stars' widths is none
    smooth = scipy.ndimage.gaussian_filter(picture, sigma) - scipy.ndimage.gaussian_filter(picture, 3 * sigma)
    near = np.hypot(x, y) <= reach
    around = smooth[np.hypot(x, y) > reach + 2 * width]
    noise = 1.4826 * np.median(np.abs(around - np.median(around)))
    peak = np.argmax(np.where(near, smooth, -np.inf))
    if not smooth.flat[peak] > LEAST_SIGNAL * noise:
        return None
    place = np.array([x.flat[peak], y.flat[peak]])
    away = np.hypot(x - place[0], y - place[1])
    base = np.median(picture[(away > BESIDE[0] * sigma) & (away < BESIDE[1] * sigma)])
    for _ in range(CENTRING_ROUNDS):
        window = np.exp(-((x - place[0]) ** 2 + (y - place[1]) ** 2) / (2 * sigma * sigma)) * (picture - base)
        total = window.sum()
        if not total > 0:
            return None
        step = 2 * np.array([np.sum(window * (x - place[0])), np.sum(window * (y - place[1]))]) / total
        place = place + step
        if np.hypot(*step) < 1e-4:
            break
    return (float(place[0]), float(place[1])) if np.hypot(*place) <= reach + 1 else None


@dataclass(frozen=True)
class _Line:
    """A place that moves along a line: ``start + way * seconds``, with what is known of its error."""

    start: np.ndarray
    way: np.ndarray
    count: int
    middle: float
    scatter: float
    spread: float

    def at(self, seconds: float) -> np.ndarray:
        return self.start + self.way * seconds

    def error_at(self, seconds: np.ndarray) -> np.ndarray:
        return self.scatter * np.sqrt(1 / self.count + (seconds - self.middle) ** 2 / self.spread)


def _line(seconds: np.ndarray, places: np.ndarray) -> _Line | None:
    """Lay a line through places (n, 2), but those far off it: least squares, from the medians of slopes on."""
    if np.ptp(seconds) <= 0:
        return None
    slopes = np.array([scipy.stats.theilslopes(side, seconds)[:2] for side in places.T])
    way, start = slopes.T
    for _ in range(5):
        off = np.hypot(*(places - start - np.outer(seconds, way)).T)
        good = off <= max(FAR_OFF * float(np.median(off)), 3 * LEAST_SCATTER_PX)
        if good.sum() < 2 or np.ptp(seconds[good]) <= 0:
            return None
        (way, start) = np.polyfit(seconds[good], places[good], 1)
    count, spread = int(good.sum()), float(np.sum((seconds[good] - seconds[good].mean()) ** 2))
    square = np.sum((places[good] - start - np.outer(seconds[good], way)) ** 2) / max(2 * count - 4, 1)
    return _Line(start, way, count, float(seconds[good].mean()), max(float(np.sqrt(square)), LEAST_SCATTER_PX), spread)
