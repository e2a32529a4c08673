# SPDX-License-Identifier: GPL-3.0-or-later
"""The stars that pass through a comet's stack: where they are in each frame, and how much of it they spoil."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import scipy

from nanstack.comet import Motion, moment_of
from nanstack.register.mesh import Box
from nanstack.survey.stars import load_sep

if TYPE_CHECKING:
    from nanstack.canvas import Canvas
    from nanstack.levels.placed import PlacedFrame

SAME_PX = 2.0  # of the same star in two frames
LEAST_FRAMES = 2  # that show a star: one alone may be wrong
BESIDE_NUCLEUS = 3.0  # widths of a star: what frames take for a star so near the nucleus may be that
SLOPE = 2.5  # of a star's wings, beta of Moffat's profile (1969, A&A 3, 455): those of long exposures, or wider
LIGHT_LEFT = 0.03  # of a star at the edge of its disc, in the noise of a frame's samples
RADII = 1.25, 16.0  # of discs, in widths of a star: least and most
FAINT = 3.0  # light of stars in all frames together, over its noise
LEAST_AREA_PX = 5  # of these
BLOCK_PX, MARGIN_PX, SKY_PX = 1024, 32, 64  # of the picture that they are looked for in: at once, beside it, its sky
SHARE_OF_DRIFT = 0.4  # of a disc's radius at most: so a fifth of all frames show each place without the star


PartOf = Callable[[Box], np.ndarray]
"""Returns a part of an image: (h, w, C), NaN where there is no data."""


@dataclass(frozen=True)
class SkyStars:
    """Stars of all frames, each once.

    Attributes
    ----------
    directions : ndarray of float64, shape (n, 3)
    flux : ndarray of float64, shape (n,)
        In the usual frame, in ADU.
    """

    directions: np.ndarray
    flux: np.ndarray


def stars_of(frames: Sequence[PlacedFrame], motion: Motion) -> SkyStars:
    """Return the stars that frames show, but for a comet's nucleus.

    Parameters
    ----------
    frames : sequence of PlacedFrame
        On the stars' canvas, in any order; their times are known.
    motion : Motion
    """
    places, sums, counts = np.empty((0, 3)), np.empty(0), np.empty(0, dtype=int)
    for one in sorted(frames, key=lambda one: one.frame.survey.digest):
        directions, flux = _stars(one, motion)
        if not len(flux):
            continue
        near = np.full(len(flux), len(places))
        if len(places):
            near = scipy.spatial.cKDTree(places).query(directions, distance_upper_bound=SAME_PX * one.frame.scale)[1]
        known = near < len(places)
        np.add.at(sums, near[known], flux[known])
        np.add.at(counts, near[known], 1)
        places = np.concatenate([places, directions[~known]])
        sums, counts = np.append(sums, flux[~known]), np.append(counts, np.ones((~known).sum(), dtype=int))
    sure = counts >= min(LEAST_FRAMES, len(frames))
    return SkyStars(places[sure], sums[sure] / counts[sure])


def _stars(one: PlacedFrame, motion: Motion) -> tuple[np.ndarray, np.ndarray]:
    """Return the directions of a frame's stars, and what their fluxes are in the usual frame."""
    frame, stars = one.frame, one.frame.survey.stars
    directions, flux = frame.view.directions(stars.x, stars.y), stars.flux * frame.factor
    apart = np.linalg.norm(directions - motion.at(moment_of(frame)), axis=1)
    good = (flux > 0) & (apart > BESIDE_NUCLEUS * width_px(one) * frame.scale)
    return directions[good], flux[good]


def with_fainter_ones(
    known: SkyStars, part: PartOf, canvas: Canvas, motion: Motion, drift_px: float, width: float
) -> SkyStars:
    """Return stars, and those that only their stack shows: a trail of many frames is as faint as these.

    Parameters
    ----------
    known : SkyStars
    part : callable
        Returns a part of the stack's image.
    canvas : Canvas
    motion : Motion
        Of the comet, whose trail is passed over.
    drift_px, width : float
        How far that moves, and stars' width, in pixels of the canvas.
    """
    found = np.concatenate([np.empty((0, 3)), *_objects(part, canvas)])
    directions, near = canvas.view.directions(found[:, 0], found[:, 1]), BESIDE_NUCLEUS * width / canvas.view.focal
    steps = np.linspace(-0.5, 0.5, int(drift_px / width) + 2) * drift_px / canvas.view.focal
    turns = scipy.spatial.transform.Rotation.from_rotvec(steps[:, np.newaxis] * motion.pole)
    trail = scipy.spatial.cKDTree(turns.apply(motion.place)).query(directions)[0] < near
    if not len(known.flux):
        return SkyStars(directions[~trail], found[~trail, 2])
    distance, index = scipy.spatial.cKDTree(known.directions).query(directions)
    same, new = distance < SAME_PX / canvas.view.focal, ~trail & (distance >= near)
    # an object's light is what rises above the noise, in colours added up; a survey's is all of a star's
    times = np.median(known.flux[index[same]] / found[same, 2]) if same.any() else 1.0
    return SkyStars(np.concatenate([known.directions, directions[new]]), np.append(known.flux, times * found[new, 2]))


def _objects(part: PartOf, canvas: Canvas) -> Iterator[np.ndarray]:
    """Give what rises above the noise on a canvas, block by block: x, y and light, (n, 3)."""
    sep, whole = load_sep(), Box.whole(canvas.shape)
    sep.set_extract_pixstack((BLOCK_PX + 2 * MARGIN_PX) ** 2)
    for top in range(0, whole.bottom, BLOCK_PX):
        for left in range(0, whole.right, BLOCK_PX):
            block = Box(top, top + BLOCK_PX, left, left + BLOCK_PX).common(whole)
            wide = Box(top - MARGIN_PX, top + BLOCK_PX + MARGIN_PX, left - MARGIN_PX, left + BLOCK_PX + MARGIN_PX)
            wide = wide.common(whole)
            light = np.ascontiguousarray(part(wide).mean(axis=2), dtype=np.float32)
            hole = ~np.isfinite(light)
            if hole.all():
                continue
            light[hole] = 0
            sky = sep.Background(light, mask=hole, bw=SKY_PX, bh=SKY_PX)
            found = sep.extract(light - sky.back(), FAINT, err=sky.rms(), mask=hole, minarea=LEAST_AREA_PX)
            places = np.column_stack([found["x"] + wide.left, found["y"] + wide.top, found["flux"]])
            inside = (places[:, :2] >= [block.left, block.top]) & (places[:, :2] < [block.right, block.bottom])
            yield places[inside.all(axis=1) & (places[:, 2] > 0)]


def width_px(one: PlacedFrame) -> float:
    """Return the full width at half maximum of a frame's stars in its pixels; 3 where it is not known."""
    fwhm = one.frame.survey.stars.fwhm
    return float(fwhm) if np.isfinite(fwhm) and fwhm > 0 else 3.0


def with_stars_masked(
    frames: Sequence[PlacedFrame], stars: SkyStars, drift_px: float, focal: float
) -> list[PlacedFrame]:
    """Return frames with a disc masked around each star, beside what is masked already.

    A disc reaches to where the star's wings are lost in the noise. Where the comet moves by less than its width, it is
    smaller: else all frames were masked alike in the middle of the star's way, and all of it stayed.

    Parameters
    ----------
    frames : sequence of PlacedFrame
    stars : SkyStars
    drift_px : float
        How far the comet moves in all, in pixels of the canvas.
    focal : float
        Of these, a radian.
    """
    ways = [drift_px * one.frame.view.focal / focal for one in frames]
    return [
        replace(one, masked=np.concatenate([one.masked, _discs(one, stars, way)]))
        for one, way in zip(frames, ways, strict=True)
    ]


def _discs(one: PlacedFrame, stars: SkyStars, drift_px: float) -> np.ndarray:
    """Return the discs around stars in a frame: (m, 5), as `PlacedFrame.masked`."""
    frame, width = one.frame, width_px(one)
    noise = float(np.mean(np.sqrt(one.noise.variance) / one.gain))
    radius = np.minimum(disc_radii(stars.flux / frame.factor, width, noise), SHARE_OF_DRIFT * drift_px)
    x, y = frame.view.pixels(stars.directions)
    (height, width_of_frame) = frame.shape[:2]
    seen = (x > -radius) & (x < width_of_frame + radius) & (y > -radius) & (y < height + radius)
    return np.column_stack([x, y, x, y, radius])[seen]


def disc_radii(flux: np.ndarray, width: float, noise: float) -> np.ndarray:
    """Return how far from stars their light is lost in noise, in pixels: (n,).

    Parameters
    ----------
    flux : ndarray of float64, shape (n,)
        In ADU.
    width : float
        Full width at half maximum, in pixels.
    noise : float
        Standard deviation of a sample, in ADU.
    """
    core = width / (2 * np.sqrt(2 ** (1 / SLOPE) - 1))
    middle = flux * (SLOPE - 1) / (np.pi * core * core)
    reach = core * np.sqrt(np.maximum((middle / (LIGHT_LEFT * noise)) ** (1 / SLOPE) - 1, 0))
    return np.clip(reach, RADII[0] * width, RADII[1] * width)
