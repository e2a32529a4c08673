# SPDX-License-Identifier: GPL-3.0-or-later
"""One sky for all frames of a canvas: what each is to be brought to it by, from the surveys' meshes.

At each node of a coarse grid on the canvas, a frame's mesh shows the sky there, which all frames share, a plane of the
frame's own, the glow of its moment, and a shade that stays on the sensor, in all frames of a camera. All are solved for
at once (`sky_planes`), so that stars and nebulae cancel between frames that show the same place. What frames cannot
tell from the sky is chosen (`sky_gauge`).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from nanstack.canvas import Canvas
from nanstack.levels.placed import Level
from nanstack.levels.sample_noise import sky_of
from nanstack.levels.sky import rounded
from nanstack.levels.sky_gauge import as_a_whole
from nanstack.levels.sky_planes import Planes, solution, sum_of
from nanstack.levels.sky_samples import (
    SkySamples,
    brightnesses,
    cameras,
    components,
    shade_on_canvas,
    sky_samples,
    turns,
)
from nanstack.register.registered import RegisteredFrame

MODELS = ("none", "offset", "plane")


def common_sky(
    frames: Sequence[RegisteredFrame], gains: np.ndarray, canvas: Canvas, model: str = "plane"
) -> list[Level]:
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
        return levels
    order = sorted(range(len(frames)), key=lambda k: frames[k].survey.digest)
    ordered = [frames[k] for k in order]
    samples = sky_samples(ordered, gains[order], canvas)
    if len(samples.frame):
        planes, shades = _planes_and_shades(ordered, gains[order], canvas, samples, model)
        for k, frame, plane, shade in zip(order, ordered, planes, shades, strict=True):
            levels[k] = Level(*(plane.terms - shade_on_canvas(shade, frame, canvas))) if shade.any() else plane
    return levels


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


def _planes_and_shades(
    frames: Sequence[RegisteredFrame], gains: np.ndarray, canvas: Canvas, samples: SkySamples, model: str
) -> tuple[list[Level], np.ndarray]:
    """Return what brings frames, without their shades, to one sky; and the shades, (n, 3, C), as gains leave them."""
    brightness, camera, turn = brightnesses(frames, gains), cameras(frames), turns(frames, canvas)
    planes = Planes.of(samples, len(frames), model)
    component = components(samples, len(frames))
    shows = np.bincount(samples.frame, minlength=len(frames)) > 0
    colours, shades = [], np.zeros((len(frames), 3, samples.sky.shape[1]))
    for colour in range(samples.sky.shape[1]):
        sky, bright = samples.sky[:, colour], brightness[:, colour]
        columns = _columns_of_shades(samples, bright, camera if model == "plane" else None)
        found, shade, weights = solution(samples, colour, planes, columns)
        own = -planes.on_the_canvas(found)
        shown = sky - sum_of(columns, shade)
        colours.append(as_a_whole(own, samples, shown, weights, component, turn, tilts=model == "plane"))
        if len(shade):
            shades[..., colour] = (shows * bright)[:, np.newaxis] * rounded(shade, shade).reshape(-1, 3)[camera]
    found = np.stack(colours, axis=2)
    found = np.stack([rounded(found[:, term], found[:, term]) for term in range(3)], axis=1)
    return [Level(*terms) for terms in found], shades


def _columns_of_shades(samples: SkySamples, bright: np.ndarray, cameras: np.ndarray | None) -> np.ndarray:
    """Return what each term of each camera's shade is multiplied by at the samples: (3 cameras, m); maybe no term."""
    if cameras is None:
        return np.empty((0, len(samples.frame)))
    terms = (samples.shade * bright[samples.frame, np.newaxis]).T
    mine = cameras[samples.frame] == np.arange(cameras.max() + 1)[:, np.newaxis]
    return np.concatenate([np.where(of_camera, terms, 0.0) for of_camera in mine])
