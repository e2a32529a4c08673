# SPDX-License-Identifier: GPL-3.0-or-later
"""Straight trails in a frame: satellites and aircraft, from their light along the whole line.

A trail too faint to show in any pixel is clear in the sum of hundreds. The frame is taken 8 x 8 together for a first
look along all lines; what that finds is measured where it lies, in pixels taken 2 x 2 together.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import scipy

from nanstack.survey.detection import Peaks
from nanstack.survey.mesh import spread_out, without_holes
from nanstack.survey.radon import Segment, brightest_segment
from nanstack.survey.raw import MESH_PX, SIGMA_OF_MAD, Raw, binned

FINE_PX = 2  # of the frame to one of the fine image, along each side
COARSE = 4  # of these to one of the coarse image, in which lines are looked for
MOST_LOOKS = 6  # for a line, in a frame: each look but the last finds one
FIRST_SIGNAL = 5.0  # noise comes to it in one frame of ten
SIGNAL = 6.0  # of a line that is kept, once measured;
SURE = 12.0  # of one that is a trail: fainter ones tell that others at their place are none
SLENDER = 7.0  # times longer than wide: what is wider for its length is a piece of a nebula
LEAST_PX = 96.0  # that it is long
LEAST_COARSE = 16  # rows, or columns, of the coarse image that a first look sums up, at least
CLIP_COARSE, CLIP = 2.5, 2.0  # noise: what is brighter counts as so much, so that no few stars make a line
AROUND_COARSE = 13  # side of the surroundings that are subtracted
HEIGHTS = (8.0, 25.0, 80.0, 250.0, 800.0, 2500.0)  # of peaks over the noise: those of higher ones
REACH_FINE = (1, 2, 3, 4, 6, 9, 14)  # are hidden so far to each side
RIDGE_FINE, RIDGE_TURNS = 4, 8  # how far from a peak, and in how many directions, it is looked whether it goes on there
RIDGE = 0.35  # of its light, at least
BRIGHT, BRIGHTER = 100.0, 30.0  # over the noise, and over its light: a star that may have a line as a spike,
EDGE_PX = 32.0  # which ends so far from the frame's edge, at least
LEAST_KNOWN = 0.1
NOISE_SAMPLES = 30_000  # are enough for a noise
HALF_FINE = 24  # pixels of the fine image that are looked at on either side of a line
OFF = np.arange(-HALF_FINE, HALF_FINE + 1)
SIDE_FINE = 14  # from this distance on they are its surroundings
MOST_OFF_FINE = 12  # that a line's ends lie from where they were looked for
PIECE_FINE = 8  # pixels of the fine image along a line that make one piece of it
MOST_ROUNDS = 4
INTERPOLATED = 0.7  # noise of the light between pixels, over that of theirs
SETTLED = 0.05  # a change of the length, as a share
FAINT = 0.02  # of the noise of a photosite: where a trail's light is less, its width ends
LEAST_HALF_PX = 5.0
STEADY = 0.5  # of the pieces of a trail have light, at least; between a few stars in a row they have none
EDGE = 0.5  # of a line's light, by which nothing beside it is darker than its surroundings
IN_A_ROW = 0.08  # or so many stand between two that have light, too
LIT = 0.3  # of the mean light: a piece that has it


class Trail(NamedTuple):
    """A straight piece of a frame that something bright passed along.

    Attributes
    ----------
    x0, y0, x1, y1 : float
        Its ends, in pixels of the frame; where it leaves the frame they may lie beyond the edge.
    half_width : float
        To which distance from that line its light is seen, in pixels.
    light : float
        Its brightest, across it, over the noise of a photosite.
    signal : float
        All its light over its noise.
    """

    x0: float
    y0: float
    x1: float
    y1: float
    half_width: float
    light: float
    signal: float

    @property
    def length(self) -> float:
        """In pixels."""
        return float(np.hypot(self.x1 - self.x0, self.y1 - self.y0))

    @property
    def is_sure(self) -> bool:
        """Whether it is so clear that it is a trail, unless other frames tell that it is none."""
        return self.signal > SURE and self.length > SLENDER * 2 * self.half_width

    def distance(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Return how far pixels (x, y) lie from it: float64, of their shape."""
        return distance(self[:4], x, y)


def distance(ends: Sequence[float | np.ndarray], x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Return how far pixels (x, y) lie from pieces of straight lines, whose ends are x0, y0, x1 and y1."""
    x0, y0, x1, y1 = ends
    across, down = x1 - x0, y1 - y0
    square = np.square(across) + np.square(down)
    along = np.clip(((x - x0) * across + (y - y0) * down) / np.where(square > 0, square, 1.0), 0.0, 1.0)
    return np.hypot(x - x0 - along * across, y - y0 - along * down)


def on_trails(trails: Sequence[Trail], x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Tell which pixels (x, y) lie on one of the sure trails: bool, of their shape."""
    found = np.zeros(np.shape(x), dtype=bool)
    for trail in trails:
        if trail.is_sure:
            found |= trail.distance(x, y) <= trail.half_width
    return found


def find_trails(raw: Raw, sky: np.ndarray, peaks: Peaks) -> list[Trail]:
    """Find straight trails.

    Parameters
    ----------
    raw : Raw
    sky : ndarray, shape (rows, columns, colours)
        Mesh of the levels of `raw.plane`'s colours: one, or three of a mosaic.
    peaks : Peaks
        What may be stars, hot pixels, or bright places of trails.

    Returns
    -------
    list of Trail
        The clearest first.
    """
    if min(raw.plane.shape) < LEAST_PX:
        return []
    light = _light(raw, sky)
    stars = peaks.only(~_on_ridges(light, peaks))
    fine = _Image.of(light, stars)
    coarse = _coarse(fine)
    found = []
    for _ in range(MOST_LOOKS):
        signal, segment = brightest_segment(coarse, LEAST_COARSE)
        if signal < FIRST_SIGNAL:
            break
        trail = _measured(fine, _scaled(segment, COARSE, 1))
        if trail is None:
            _blot_out(coarse, segment, 0.0)
            continue
        if not _is_of_a_star(trail, stars, raw.plane.shape):
            found.append(trail)
        line = Segment(*trail[:4])
        _blot_out(fine.known, _scaled(line, 1, FINE_PX), trail.half_width / FINE_PX)
        _blot_out(coarse, _scaled(line, 1, FINE_PX * COARSE), trail.half_width / FINE_PX / COARSE)
    return sorted(found, key=lambda trail: -trail.signal)


# --- images that are looked at ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Image:
    """A frame taken 2 x 2 together, its sky subtracted.

    Attributes
    ----------
    light : ndarray of float32, shape (h, w)
        Over its noise.
    known : ndarray of float32, shape (h, w)
        1, or 0 where a star, a hot pixel or no data is.
    """

    light: np.ndarray
    known: np.ndarray

    @classmethod
    def of(cls, light: np.ndarray, stars: Peaks) -> _Image:
        seen = np.isfinite(light)
        known = seen.astype(np.float32)
        _hide(known, stars)
        return cls(np.where(seen, light, np.float32(0)), known)


def _light(raw: Raw, sky: np.ndarray) -> np.ndarray:
    """Return the light of 2 x 2 pixels together above the sky, over its noise: float32, NaN where there is no data."""
    light = raw.halved - spread_out(_sky_of_all(raw, sky), MESH_PX // FINE_PX, raw.halved.shape)
    light /= _noise(light) or 1.0
    return light


def _sky_of_all(raw: Raw, sky: np.ndarray) -> np.ndarray:
    """Return the mesh of the sky in pixels that hold all colours: (rows, columns)."""
    shares = np.bincount(raw.sites.ravel(), minlength=sky.shape[2])[: sky.shape[2]] / raw.sites.size
    return sum(share * without_holes(sky[..., colour]) for colour, share in enumerate(shares.tolist())).astype(
        np.float32
    )


def _noise(light: np.ndarray) -> float:
    """Return the deviation of what differs from 0, a few bright things aside."""
    some = np.abs(light.ravel()[:: 1 + light.size // NOISE_SAMPLES])
    some = some[some > 0]  # neither NaN nor what is hidden
    return SIGMA_OF_MAD * float(np.median(some)) if len(some) else 0.0


def _on_ridges(light: np.ndarray, peaks: Peaks) -> np.ndarray:
    """Tell which peaks go on to two opposite sides alone, as those of a trail do, and stars do not."""
    import cv2

    smooth = cv2.blur(light, (3, 3))
    column, row = (np.rint((np.asarray(place) - (FINE_PX - 1) / 2) / FINE_PX) for place in (peaks.x, peaks.y))
    turn = np.pi * np.arange(RIDGE_TURNS) / RIDGE_TURNS
    step = RIDGE_FINE * np.stack([np.cos(turn), np.sin(turn)])
    pairs = np.stack([_at(smooth, column[:, None] + side * step[0], row[:, None] + side * step[1]) for side in (1, -1)])
    along = pairs.min(axis=0).max(axis=1)
    across = pairs.max(axis=0).min(axis=1)
    return (along > RIDGE * _at(smooth, column, row)) & (across < along / 2)


def _at(image: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Return an image's pixels nearest to places."""
    row, column = (
        np.clip(np.rint(place), 0, length - 1).astype(np.intp)
        for place, length in ((y, image.shape[0]), (x, image.shape[1]))
    )
    return image[row, column]


def _hide(known: np.ndarray, peaks: Peaks) -> None:
    """Set to 0 what lies around peaks: the higher, the wider."""
    size = np.searchsorted(HEIGHTS, peaks.height)
    for number, reach in enumerate(REACH_FINE):
        here, off = size == number, np.arange(-reach, reach + 1)
        column, row = (np.rint((place[here] - (FINE_PX - 1) / 2) / FINE_PX) for place in (peaks.x, peaks.y))
        rows, columns = (
            np.clip(place[:, None] + off, 0, length - 1).astype(np.intp)
            for place, length in ((row, known.shape[0]), (column, known.shape[1]))
        )
        known[rows[:, :, None], columns[:, None, :]] = 0


def _coarse(fine: _Image) -> np.ndarray:
    """Return the light of squares over that around them, over its noise, none of it too bright; 0 is unknown."""
    import cv2

    known = binned(fine.known, COARSE)
    light = binned(fine.light * fine.known, COARSE) / np.sqrt(np.maximum(known, LEAST_KNOWN))
    light = np.clip(light / (_noise(light) or 1.0), -CLIP_COARSE, CLIP_COARSE)
    sides = AROUND_COARSE, AROUND_COARSE
    root = np.sqrt(known)
    light -= cv2.blur(light * root, sides) / np.maximum(cv2.blur(known, sides), LEAST_KNOWN) * root
    return light / (_noise(light) or 1.0)


def _scaled(line: Segment, side: float, other: float) -> Segment:
    """Return a line in pixels of one side, given in pixels of another."""
    return Segment(*(((place + 0.5) * side / other - 0.5) for place in line))


def _blot_out(image: np.ndarray, line: Segment, half_width: float) -> None:
    """Set to 0 what lies along a line."""
    import cv2

    begin, end = (tuple(np.rint(place).astype(int).tolist()) for place in (line[:2], line[2:]))
    cv2.line(image, begin, end, 0.0, 2 * int(np.ceil(half_width)) + 3)


def _is_of_a_star(trail: Trail, stars: Peaks, shape: tuple[int, int]) -> bool:
    """Tell whether a line is a spike of a bright star: that stands in its middle, and both ends are on the frame."""
    height, width = shape
    for x, y in (trail[:2], trail[2:4]):
        if min(x, y, width - 1 - x, height - 1 - y) < EDGE_PX:
            return False
    bright = stars.height > max(BRIGHT, BRIGHTER * trail.light)
    middle = (3 * trail.x0 + trail.x1) / 4, (3 * trail.y0 + trail.y1) / 4, (trail.x0 + 3 * trail.x1) / 4
    inner = trail._replace(x0=middle[0], y0=middle[1], x1=middle[2], y1=(trail.y0 + 3 * trail.y1) / 4)
    return bool((inner.distance(stars.x[bright], stars.y[bright]) < trail.half_width).any())


# --- one line ---------------------------------------------------------------------------------------------------------


def _measured(fine: _Image, line: Segment) -> Trail | None:
    """Return the trail that lies near a line; None where there is none."""
    for _ in range(MOST_ROUNDS):
        wide = _Strip.of(fine, _extended(line, _length(line) / 2, fine.light.shape))
        strip = _Strip.of(fine, wide.brightest_line())
        first, last = strip.lit_run()
        before, line = line, strip.part(first, last)
        if abs(_length(line) - _length(before)) < SETTLED * _length(before):
            break
    strip = _Strip.of(fine, line)
    return strip.trail() if FINE_PX * _length(line) >= LEAST_PX else None


@dataclass(frozen=True)
class _Strip:
    """What lies along a line, and to both sides of it.

    Attributes
    ----------
    line : Segment
        In pixels of the fine image.
    light, calm : ndarray of float32, shape (2 * HALF_FINE + 1, pieces)
        Mean light of the pieces of the line's parallels, one pixel apart; and that of no more than CLIP.
    shown : ndarray of float32, same shape
        Which share of a piece is known.
    """

    line: Segment
    light: np.ndarray
    calm: np.ndarray
    shown: np.ndarray

    @classmethod
    def of(cls, fine: _Image, line: Segment) -> _Strip:
        pieces = max(4, round(_length(line) / PIECE_FINE))
        along = (np.arange(pieces * PIECE_FINE) + 0.5) / (pieces * PIECE_FINE)
        across_x, across_y = _across(line)
        off = OFF[:, np.newaxis]
        x = line.x0 + (line.x1 - line.x0) * along + off * across_x
        y = line.y0 + (line.y1 - line.y0) * along + off * across_y
        # not by OpenCV, whose versions place samples differently by a part of a pixel
        light, known = (
            scipy.ndimage.map_coordinates(part, [y, x], order=1, mode="grid-constant", output=np.float32)
            for part in (fine.light, fine.known)
        )
        known = (known > 0.99).astype(np.float32)
        shown = _by_pieces(known)
        whole = np.maximum(shown, 1 / PIECE_FINE)
        calm = _by_pieces(np.clip(light, -CLIP, CLIP) * known) / whole
        return cls(line, _by_pieces(light * known) / whole, calm, shown)

    def part(self, first: float, last: float) -> Segment:
        """Return the line from one piece to another."""
        x0, y0, x1, y1 = self.line
        begin, end = first / self.light.shape[1], last / self.light.shape[1]
        return Segment(x0 + (x1 - x0) * begin, y0 + (y1 - y0) * begin, x0 + (x1 - x0) * end, y0 + (y1 - y0) * end)

    def brightest_line(self) -> Segment:
        """Return the line of most light among those that end a little to either side of this one."""
        total = _smoothed(self.calm * self.shown)
        pieces = total.shape[1]
        ends = np.arange(-MOST_OFF_FINE, MOST_OFF_FINE + 1)
        at = (np.arange(pieces) + 0.5) / pieces
        off = ends[:, None, None] * (1 - at) + ends[None, :, None] * at
        sums = total[np.rint(off).astype(np.intp) + HALF_FINE, np.arange(pieces)].sum(axis=2)
        begin, end = (ends[index] for index in np.unravel_index(int(sums.argmax()), sums.shape))
        (across_x, across_y), (x0, y0, x1, y1) = _across(self.line), self.line
        return Segment(x0 + begin * across_x, y0 + begin * across_y, x1 + end * across_x, y1 + end * across_y)

    def lit(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the pieces' light, over that of their surroundings, and how much of each is known."""
        core, sides = np.abs(OFF) <= 1, np.abs(OFF) >= SIDE_FINE
        light, around = (_mean(self.calm[part], self.shown[part]) for part in (core, sides))
        return light - around, self.shown[core].mean(axis=0)

    def lit_run(self) -> tuple[int, int]:
        """Return the first piece of the longest lit run, and the one behind the last: it has more than half the light.

        The middle half of the pieces tells how bright it is.
        """
        light, shown = self.lit()
        quarter = len(light) // 4
        middle = slice(quarter, len(light) - quarter)
        usual = np.sum((light * shown)[middle]) / max(np.sum(shown[middle]), LEAST_KNOWN)
        gain = np.concatenate([[0.0], np.cumsum((light - usual / 2) * shown)])
        before = np.minimum.accumulate(gain)
        last = int(np.argmax(gain - before))
        return int(np.argmin(gain[: last + 1])), last

    def trail(self) -> Trail | None:
        """Return the trail that the strip shows along its middle; None for what is none."""
        light, shown = self.lit()
        usual = np.sum(light * shown) / max(np.sum(shown), LEAST_KNOWN)
        counts = shown > LEAST_KNOWN
        bright = counts & (light > LIT * usual)
        signal = self._signal()
        if not (usual > 0 and signal > SIGNAL and _is_steady(bright, counts)):
            return None
        profile, below, above = self._profile(bright)
        middle, (across_x, across_y) = (above - below) / 2, _across(self.line)
        x, y = middle * across_x, middle * across_y
        line = _scaled(Segment(*(np.array(self.line) + [x, y, x, y]).tolist()), FINE_PX, 1)
        half_width = max(FINE_PX * (above + below) / 2, LEAST_HALF_PX)
        numbers = *line, half_width, float(profile.max()) / FINE_PX, signal
        return Trail(*(round(number, 2) for number in numbers))  # processors differ in the last digits

    def _signal(self) -> float:
        """Return the light in the middle over its noise, by how its parallels differ; 0 for an edge: dark beside it.

        Nothing is known of a line along the frame's own edge.
        """
        known = self.shown.mean(axis=1) > LEAST_KNOWN
        if not (known[OFF <= -SIDE_FINE].any() and known[OFF >= SIDE_FINE].any()):
            return 0.0
        mean = _smoothed(_mean(self.calm, self.shown, axis=1)[:, None])[:, 0]
        side = mean[known & (np.abs(OFF) >= SIDE_FINE)]
        light, dark = mean[HALF_FINE] - side.mean(), side.mean() - mean[known].min()
        if dark > EDGE * light:
            return 0.0
        count = 3 * self.shown[np.abs(OFF) <= 1].mean() * self.light.shape[1] * PIECE_FINE
        least = INTERPOLATED / np.sqrt(max(count, 1.0))
        return float(light / max(side.std(), least))

    def _profile(self, bright: np.ndarray) -> tuple[np.ndarray, int, int]:
        """Return the light across, by the median of bright pieces, and how far it is seen to either side."""
        profile = np.median(self.light[:, bright], axis=1)
        side = profile[np.abs(OFF) >= SIDE_FINE]
        profile = profile - np.median(side)
        seen = profile > max(2 * float(side.std()), FINE_PX * FAINT)
        return profile, _first_not(seen[HALF_FINE::-1]), _first_not(seen[HALF_FINE:])


def _is_steady(bright: np.ndarray, counts: np.ndarray) -> bool:
    """Tell whether bright pieces are most of those that count, or come in rows, as a blinking aircraft's do."""
    in_a_row = bright[:-2] & bright[1:-1] & bright[2:]
    some, steady, rows = (int(np.count_nonzero(part)) for part in (counts, bright, in_a_row))
    return steady >= max(STEADY * some, 3) or rows >= max(IN_A_ROW * some, 3)


def _by_pieces(values: np.ndarray) -> np.ndarray:
    """Return the means of pieces of rows."""
    return values.reshape(len(values), -1, PIECE_FINE).mean(axis=2)


def _mean(values: np.ndarray, shown: np.ndarray, axis: int = 0) -> np.ndarray:
    return np.sum(values * shown, axis=axis) / np.maximum(np.sum(shown, axis=axis), LEAST_KNOWN)


def _smoothed(values: np.ndarray) -> np.ndarray:
    """Return the means of three neighbours across a line."""
    around = np.pad(values, ((1, 1), (0, 0)), mode="edge")
    return (around[:-2] + around[1:-1] + around[2:]) / 3


def _first_not(seen: np.ndarray) -> int:
    """Return the index of the first that is False, or how many there are."""
    return int(np.argmin(np.append(seen, False)))


def _length(line: Segment) -> float:
    return float(np.hypot(line.x1 - line.x0, line.y1 - line.y0))


def _across(line: Segment) -> tuple[float, float]:
    """Return the direction across a line, of length 1."""
    length = _length(line) or 1.0
    return (line.y0 - line.y1) / length, (line.x1 - line.x0) / length


def _extended(line: Segment, by: float, shape: tuple[int, int]) -> Segment:
    """Return a line that is longer at both ends, as far as the image reaches."""
    (x0, y0, x1, y1), length = line, max(_length(line), 1.0)
    step_x, step_y = (x1 - x0) / length, (y1 - y0) / length
    before = min(by, _way_out(x0, -step_x, shape[1]), _way_out(y0, -step_y, shape[0]))
    behind = min(by, _way_out(x1, step_x, shape[1]), _way_out(y1, step_y, shape[0]))
    return Segment(x0 - before * step_x, y0 - before * step_y, x1 + behind * step_x, y1 + behind * step_y)


def _way_out(place: float, step: float, side: int) -> float:
    """Return how far it is from a place to the image's edge; 0 beyond it."""
    if step == 0:
        return np.inf
    return max(0.0, ((side - 1 if step > 0 else 0) - place) / step)
