# SPDX-License-Identifier: GPL-3.0-or-later
"""One sky for all frames of a canvas: what each is to be brought to it by, from the surveys' meshes.

At each node of a coarse grid on the canvas, a frame's mesh shows the sky there, which all frames share, a plane of the
frame's own, the glow of its moment, and a shade that stays on the sensor, in all frames of a camera. All are solved for
at once (`sky_planes`), so that stars and nebulae cancel between frames that show the same place. What frames cannot
tell from the sky is chosen (`sky_gauge`).
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np

from nanstack import memory
from nanstack.canvas import Canvas
from nanstack.levels.placed import Level
from nanstack.levels.sample_noise import sky_of
from nanstack.levels.sky import rounded
from nanstack.levels.sky_gauge import as_a_whole
from nanstack.levels.sky_planes import OneColour, Planes, solution, sum_of
from nanstack.levels.sky_samples import (
    SkySamples,
    brightnesses,
    components,
    shade_on_canvas,
    sky_samples,
    turns,
)
from nanstack.levels.sky_told import SkyTold, sky_told
from nanstack.register.registered import RegisteredFrame, cameras

FLAT_TOLD = 0.01  # standard error of a flat in its corners that leaves little of it
MODELS = ("none", "offset", "plane")


class CommonSky(NamedTuple):
    """What brings frames' skies to the common one, and what is known of it: nothing where none is sought, or seen."""

    levels: list[Level]
    told: SkyTold | None


def common_sky(frames: Sequence[RegisteredFrame], gains: np.ndarray, canvas: Canvas, model: str = "plane") -> CommonSky:
    """Return what brings each frame's sky to the common one; the same bits, in whatever order frames come.

    Parameters
    ----------
    frames : sequence of RegisteredFrame
    gains : ndarray of float64, shape (n, C)
        What the frames' samples are multiplied by first.
    canvas : Canvas
        In whose pixels, from its axis, the levels are.
    model : {'plane', 'offset', 'none'}
        A frame that shows too little of the sky for a plane has an offset; one that shows none stays as it is.

    Raises
    ------
    ValueError
        For another model.
    """
    if model not in MODELS:
        raise ValueError(f"model '{model}' is unknown (known: {', '.join(MODELS)})")
    levels = [Level.zero(gains.shape[1]) for _ in frames]
    if model == "none" or not frames:
        return CommonSky(levels, None)
    order = sorted(range(len(frames)), key=lambda k: frames[k].survey.digest)
    ordered = [frames[k] for k in order]
    samples = sky_samples(ordered, gains[order], canvas)
    if not len(samples.frame):
        return CommonSky(levels, None)
    found, told = _solved(ordered, gains[order], canvas, samples, model)
    for k, level in zip(order, found, strict=True):
        levels[k] = level
    return CommonSky(levels, told)


def onto_earlier(new: Sequence[Level], earlier: Sequence[Level]) -> Level:
    """Return the plane that, added to all planes of a new solution, makes it go on from an earlier one.

    Parameters
    ----------
    new, earlier : sequence of Level
        Of the same frames, one at least, in the same order; of frames that hang together by what they show.
    """
    return Level(*np.median([e.terms - n.terms for n, e in zip(new, earlier, strict=True)], axis=0))


def dark_skies(
    frames: Sequence[RegisteredFrame], gains: np.ndarray, canvas: Canvas, levels: Sequence[Level]
) -> np.ndarray:
    """Return the level of each frame's dark sky as it goes onto a canvas, in the middle of the frame: (n, C).

    That of a frame which shows no sky is the usual one.
    """
    middles = [canvas.view.pixels(frame.pointing) for frame in frames]
    skies = np.array([
        sky_of(frame) * gain + level.at(x - canvas.origin[0], y - canvas.origin[1])
        for frame, gain, level, (x, y) in zip(frames, gains, levels, middles, strict=True)
    ])  # fmt: skip
    known = np.isfinite(skies).all(axis=1)
    return np.where(known[:, np.newaxis], skies, np.median(skies[known], axis=0) if known.any() else 0.0)


def _solved(
    frames: Sequence[RegisteredFrame], gains: np.ndarray, canvas: Canvas, samples: SkySamples, model: str
) -> tuple[list[Level], SkyTold]:
    """Return what brings frames to one sky, colour by colour, and what is known of it."""
    brightness, camera, turn = brightnesses(frames, gains), cameras(frames), turns(frames, canvas)
    planes, component = Planes.of(samples, len(frames), model), components(samples, len(frames))
    tilts, shows = model == "plane", np.bincount(samples.frame, minlength=len(frames)) > 0
    flattened = np.repeat([_flatness(frames[int(np.argmax(camera == one))]) for one in range(camera.max() + 1)], 3)

    def of_colour(colour: int) -> tuple[OneColour, np.ndarray]:
        columns = _columns_of_shades(samples, brightness[:, colour], camera if tilts else None)
        one = solution(samples, colour, planes, columns, flattened[: len(columns)])
        return one, samples.sky[:, colour] - sum_of(columns, one.shade)

    with ThreadPoolExecutor(memory.threads()) as pool:
        solved, shown = zip(*pool.map(of_colour, range(gains.shape[1])), strict=True)
    own, shades = [-planes.on_the_canvas(one.planes) for one in solved], np.zeros((len(frames), 3, gains.shape[1]))
    for colour, one in enumerate(solved if tilts else ()):
        of_camera = rounded(one.shade, one.shade).reshape(-1, 3)[camera]
        shades[..., colour] = (shows * brightness[:, colour])[:, np.newaxis] * of_camera
    weights = np.stack([one.weights for one in solved], axis=1)
    found, left_open = as_a_whole(
        np.stack(own, axis=2), samples, np.stack(shown, axis=1), weights, component, turn, tilts=tilts
    )
    found = np.stack([rounded(found[:, term], found[:, term]) for term in range(3)], axis=1)
    return (
        [_less_shade(*one, canvas) for one in zip(found, shades, frames, strict=True)],
        sky_told(frames, camera, samples, solved, left_open),
    )


def _flatness(frame: RegisteredFrame) -> float:
    """Return how well stars tell the flat of a frame's camera, which is off its samples then: from 0 to 1.

    By degrees: an error a little larger, or smaller, is to change no picture by much.
    """
    better = np.log2(FLAT_TOLD / frame.flat.error)
    return float(np.clip(0.5 + better / 2, 0, 1)) if np.isfinite(better) else 0.0


def _less_shade(plane: np.ndarray, shade: np.ndarray, frame: RegisteredFrame, canvas: Canvas) -> Level:
    """Return a plane (3, C) less the shade (3, C) that a frame has beside it."""
    level = Level(*plane)
    return Level(*(level.terms - shade_on_canvas(shade, frame, canvas))) if shade.any() else level


def _columns_of_shades(samples: SkySamples, bright: np.ndarray, cameras: np.ndarray | None) -> np.ndarray:
    """Return what each term of each camera's shade is multiplied by at the samples: (3 cameras, m); maybe no term."""
    if cameras is None:
        return np.empty((0, len(samples.frame)))
    terms = (samples.shade * bright[samples.frame, np.newaxis]).T
    mine = cameras[samples.frame] == np.arange(cameras.max() + 1)[:, np.newaxis]
    return np.concatenate([np.where(of_camera, terms, 0.0) for of_camera in mine])
