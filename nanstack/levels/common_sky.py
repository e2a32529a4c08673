# SPDX-License-Identifier: GPL-3.0-or-later
"""One sky for all frames of a canvas: what each is to be brought to it by, from the surveys' meshes.

At each node of a coarse grid on the canvas, a frame's mesh shows the sky there, which all frames share, a plane of the
frame's own, the glow of its moment, and a shade that stays on the sensor, in all frames of a camera. All are solved for
at once, so that stars and nebulae cancel between frames that show the same place. The sky at a node follows from the
others, and is eliminated; what is left are three numbers a frame and colour, found by conjugate gradients, and three a
camera and colour. A shade is told from a plane of each frame's own by what overlaps, at other places of the sensor, and
by field rotation: a plane does neither bend nor turn. Where frames do not tell, it is none.

What cannot be told from the sky is chosen so that the picture as a whole stays what it is: `_as_a_whole`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import scipy

from nanstack.canvas import Canvas
from nanstack.levels.photometry import SIGMA_OF_MAD
from nanstack.levels.placed import Level
from nanstack.levels.sample_noise import noises, sky_of
from nanstack.levels.sky import rounded
from nanstack.register.registered import RegisteredFrame
from nanstack.survey.mesh import mesh_at
from nanstack.survey.raw import MESH_PX

MODELS = ("none", "offset", "plane")
MOST_SAMPLES = 1_000_000  # of all frames; more would add time and no precision: the grid is made coarser
GRID_POINTS = 17  # along each side of a frame, by which its part of the canvas is known
SLOPE_SAMPLES = 12  # a frame that shows less of the sky has no slope,
SLOPE_SPREAD = 0.1  # and one that shows it on a narrow strip: its width, in sides of the frame
# how strongly slopes and shades are held to none: as samples of so much weight would, and over what theirs say of them
SLOPE_HELD = 0.05, 0.002
SHADE_HELD = 0.3, 0.001
BRIGHTER = 4.0  # so much, at most, frames' skies, and the shades with them, differ
SOFT = 3.0  # from so many usual residuals on a sample has less and less of a say
ROUGH, FINE = 1e-2, 1e-5  # tolerances of a round's conjugate gradients: the next one goes on from there
MOST_STEPS = 300
ERRORS = 0.5, 5.0  # limits of a frame's errors, in the usual frame's: noise is not all that can be wrong
TINY_ADU = 1e-6


@dataclass(frozen=True)
class SkySamples:
    """What frames show of the sky at the nodes of a grid on the canvas.

    Attributes
    ----------
    frame : ndarray of int, shape (m,)
        In ascending order.
    node : ndarray of int, shape (m,)
        Numbered without gaps.
    x, y : ndarray of float64, shape (m,)
        Of the node, in pixels of the canvas from its axis.
    sky : ndarray of float64, shape (m, C)
        In ADU of the common flux.
    error : ndarray of float64, shape (m, C)
        In those of the usual frame.
    shade : ndarray of float64, shape (m, 3)
        Terms of the place on the sensor: see `_shade_terms`.
    """

    frame: np.ndarray
    node: np.ndarray
    x: np.ndarray
    y: np.ndarray
    sky: np.ndarray
    error: np.ndarray
    shade: np.ndarray


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
        planes, shades = _planes_and_shades(samples, _brightnesses(ordered, gains[order]), _cameras(ordered), model)
        for k, frame, plane, shade in zip(order, ordered, planes, shades, strict=True):
            levels[k] = Level(*(plane.terms - _on_canvas(shade, frame, canvas))) if shade.any() else plane
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


# --- what frames show of the sky ----------------------------------------------------------------------------------


def sky_samples(frames: Sequence[RegisteredFrame], gains: np.ndarray, canvas: Canvas) -> SkySamples:
    """Return what frames' meshes show of the sky at the nodes of a grid, about as far apart as the meshes' cells."""
    cells = sum(frame.survey.sky.shape[0] * frame.survey.sky.shape[1] for frame in frames)
    coarser = max(1.0, cells / MOST_SAMPLES) ** 0.5
    step = MESH_PX * coarser * canvas.view.focal / float(np.median([frame.view.focal for frame in frames]))
    parts = [_samples(frame, gain, canvas, step) for frame, gain in zip(frames, gains, strict=True)]
    across, down, sky, shade = (np.concatenate(part) for part in zip(*parts, strict=True))
    frame = np.repeat(np.arange(len(frames)), [len(part[0]) for part in parts])
    rows = down - down.min(initial=0)
    node = np.unique(across * (rows.max(initial=0) + 1) + rows, return_inverse=True)[1]
    return SkySamples(frame, node, across * step, down * step, sky, _errors(frames, gains)[frame], shade)


def _samples(
    frame: RegisteredFrame, gain: np.ndarray, canvas: Canvas, step: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return the columns and rows of the nodes that a frame shows, its sky there, and the terms of its shade.

    Shapes (k,), (k,), (k, C), (k, 3).
    """
    (left, right), (top, bottom) = _nodes(frame, canvas, step)
    across, down = (axis.ravel() for axis in np.meshgrid(np.arange(left, right), np.arange(top, bottom)))
    x, y = frame.view.pixels(canvas.view.directions(across * step + canvas.origin[0], down * step + canvas.origin[1]))
    height, width = frame.shape[:2]
    inside = (x > -0.5) & (x < width - 0.5) & (y > -0.5) & (y < height - 0.5)
    mesh = np.atleast_3d(np.asarray(frame.survey.sky, dtype=np.float64))
    x, y, across, down = x[inside], y[inside], across[inside], down[inside]
    sky = mesh_at(mesh, MESH_PX, x, y) * gain
    known = np.isfinite(sky).all(axis=1)
    return across[known], down[known], sky[known], _shade_terms(frame, x[known], y[known])


def _nodes(frame: RegisteredFrame, canvas: Canvas, step: float) -> list[tuple[int, int]]:
    """Return the first and the last of the columns, and of the rows, of nodes on which a frame may lie.

    Not by whole pixels of the canvas, of which a coarse one may have but a few, each with thousands of nodes.
    """
    height, width = frame.shape[:2]
    grid = np.meshgrid(*(np.linspace(-1.5, side + 0.5, GRID_POINTS) for side in (width, height)))
    seen = np.stack(canvas.view.pixels(frame.view.directions(*(axis.ravel() for axis in grid))))
    seen = seen[:, np.isfinite(seen).all(axis=0)]
    if not seen.size:
        return [(0, 0), (0, 0)]
    found = [
        np.clip([places.min(), places.max()], 0, side) - axis
        for places, side, axis in zip(seen, canvas.shape[::-1], canvas.origin, strict=True)
    ]
    return [(int(np.floor(first / step)), int(np.ceil(last / step)) + 1) for first, last in found]


def _errors(frames: Sequence[RegisteredFrame], gains: np.ndarray) -> np.ndarray:
    """Return frames' noise over the usual one: (n, C)."""
    noise = noises(frames) * gains
    return np.clip(noise / np.median(noise, axis=0), *ERRORS)


def _shade_terms(frame: RegisteredFrame, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Return what the three numbers of a shade are multiplied by at pixels (x, y) of a frame: (k, 3).

    They are u^2, u v, and v^2, less what these are on average: u and v are counted from the frame's middle, in halves
    of its longer side.
    """
    (height, width), half = frame.shape[:2], max(frame.shape[:2]) / 2
    u, v = (x - (width - 1) / 2) / half, (y - (height - 1) / 2) / half
    return np.stack([u * u, u * v, v * v], axis=1) - _usual_terms(frame)


def _usual_terms(frame: RegisteredFrame) -> np.ndarray:
    """Return what u^2, u v, and v^2 are on average over a frame: (3,)."""
    height, width = np.array(frame.shape[:2]) / max(frame.shape[:2])
    return np.array([width**2 / 3, 0.0, height**2 / 3])


def _on_canvas(shade: np.ndarray, frame: RegisteredFrame, canvas: Canvas) -> np.ndarray:
    """Return the terms of a level that are a frame's shade (3, C): as if the canvas were not curved in the frame."""
    far, half = min(frame.shape[:2]) / 4, max(frame.shape[:2]) / 2
    x, y = (float(at[0]) for at in canvas.view.pixels(frame.pointing[np.newaxis]))
    around = np.array([[far, -far, 0, 0], [0, 0, far, -far]])
    seen = np.stack(frame.view.pixels(canvas.view.directions(x + around[0], y + around[1])))
    (ux, uy), (vx, vy) = (seen[:, [0, 2]] - seen[:, [1, 3]]) / (2 * far * half)
    x, y = x - canvas.origin[0], y - canvas.origin[1]
    xx = ux * ux * shade[0] + ux * vx * shade[1] + vx * vx * shade[2]
    xy = 2 * ux * uy * shade[0] + (ux * vy + uy * vx) * shade[1] + 2 * vx * vy * shade[2]
    yy = uy * uy * shade[0] + uy * vy * shade[1] + vy * vy * shade[2]
    offset = xx * x * x + xy * x * y + yy * y * y - np.sum(_usual_terms(frame)[:, np.newaxis] * shade, axis=0)
    return np.stack([offset, -2 * xx * x - xy * y, -2 * yy * y - xy * x, xx, xy, yy])


def _brightnesses(frames: Sequence[RegisteredFrame], gains: np.ndarray) -> np.ndarray:
    """Return frames' skies over the usual one: (n, C). 1 where there is none, or where it was taken off before."""
    skies = np.array([np.atleast_1d(sky_of(frame)) for frame in frames]) * gains
    known = np.isfinite(skies).all(axis=1)
    usual = np.median(skies[known], axis=0) if known.any() else np.zeros(gains.shape[1])
    lit = known[:, np.newaxis] & (usual > 0)
    return np.clip(np.divide(skies, usual, out=np.ones_like(skies), where=lit), 1 / BRIGHTER, BRIGHTER)


def _cameras(frames: Sequence[RegisteredFrame]) -> np.ndarray:
    """Number the cameras that frames were taken by: (n,)."""
    kinds = [(frame.facts.instrument, frame.shape) for frame in frames]
    number = {kind: index for index, kind in enumerate(dict.fromkeys(kinds))}
    return np.array([number[kind] for kind in kinds])


# --- planes -------------------------------------------------------------------------------------------------------


def _settling(relative: np.ndarray) -> np.ndarray:
    """Return weights by residuals of which the sum is made least, nearly: wherever it starts from, it ends in one."""
    return 1 / (1 + relative)


def _redescending(relative: np.ndarray) -> np.ndarray:
    """Return the weights of Geman and McClure's loss."""
    return (1 + (relative / SOFT) ** 2) ** -2


OFFSETS, PLANES, SHADES = range(3)  # what a round of weighing finds: each, and those before it
# of each round: what samples count for after it, what it finds, and how far it is solved
ROUNDS = (
    *[(_settling, OFFSETS, ROUGH)] * 3,
    *[(_redescending, OFFSETS, ROUGH)] * 2,
    (_redescending, PLANES, ROUGH),
    *[(_redescending, SHADES, ROUGH)] * 2,
    (_redescending, SHADES, FINE),
)


@dataclass(frozen=True)
class _Planes:
    """The terms of frames' planes at the samples, about the middle of what each frame shows: independent, in a way.

    Attributes
    ----------
    terms : scipy.sparse.csr_array, shape (m, 3 n)
        Of offset and slopes; zero for slopes that a frame does not carry.
    back, squares : scipy.sparse.csr_array, shape (3 n, m)
        Its transpose, and the squares of that.
    middle : ndarray of float64, shape (n, 2)
    side : float
        Pixels of the canvas over which a slope is told.
    """

    terms: scipy.sparse.csr_array
    back: scipy.sparse.csr_array
    squares: scipy.sparse.csr_array
    middle: np.ndarray
    side: float

    @classmethod
    def of(cls, samples: SkySamples, frames: int, model: str) -> _Planes:
        counts = np.maximum(np.bincount(samples.frame, minlength=frames), 1)
        places = samples.x, samples.y
        middle = np.stack([np.bincount(samples.frame, v, frames) / counts for v in places], axis=1)
        u, v = (place - middle[samples.frame, axis] for axis, place in enumerate(places))
        moments = np.stack([np.bincount(samples.frame, a * b, frames) / counts for a, b in ((u, u), (u, v), (v, v))])
        half, turned = (moments[0] + moments[2]) / 2, np.hypot((moments[0] - moments[2]) / 2, moments[1])
        side = float(np.sqrt(12 * np.max(half + turned, initial=1.0)))
        sloped = (counts >= SLOPE_SAMPLES) & (np.sqrt(12 * np.maximum(half - turned, 0)) > SLOPE_SPREAD * side)
        sloped &= model == "plane"
        own = np.stack([np.ones(len(u)), u / side, v / side], axis=1)
        own[:, 1:] *= sloped[samples.frame, None]
        columns = 3 * samples.frame[:, None] + np.arange(3)
        entries = own.ravel(), columns.ravel(), np.arange(0, own.size + 1, 3)
        terms = scipy.sparse.csr_array(entries, shape=(len(own), 3 * frames))
        back = terms.T.tocsr()
        return cls(terms, back, back.power(2), middle, side)

    def on_the_canvas(self, found: np.ndarray) -> np.ndarray:
        """Return planes (n, 3) as they are from the canvas's axis, in pixels."""
        offset, slopes = found[:, 0], found[:, 1:] / self.side
        return np.column_stack([offset - np.sum(slopes * self.middle, axis=1), slopes])


def _planes_and_shades(
    samples: SkySamples, brightnesses: np.ndarray, cameras: np.ndarray, model: str
) -> tuple[list[Level], np.ndarray]:
    """Return what brings frames, without their shades, to one sky; and the shades, (n, 3, C), as gains leave them."""
    frames = len(cameras)
    planes = _Planes.of(samples, frames, model)
    component = _components(samples, frames)
    shows = np.bincount(samples.frame, minlength=frames) > 0
    colours, shades = [], np.zeros((frames, 3, samples.sky.shape[1]))
    for colour in range(samples.sky.shape[1]):
        sky, error, bright = (of[:, colour] for of in (samples.sky, samples.error, brightnesses))
        columns = _columns_of_shades(samples, bright, cameras if model == "plane" else None)
        found, shade, weights = _solution(sky, error, samples.node, planes, columns)
        own = -planes.on_the_canvas(found)
        shown = sky - _sum_of(columns, shade)
        colours.append(_as_a_whole(own, samples, shown, weights, component, model))
        if len(shade):
            shades[..., colour] = (shows * bright)[:, np.newaxis] * rounded(shade, shade).reshape(-1, 3)[cameras]
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


def _sum_of(columns: np.ndarray, factors: np.ndarray) -> np.ndarray:
    """Return a sum of columns (k, m), each multiplied by its factor; without BLAS, whose threads change last digits."""
    total = np.zeros(columns.shape[1])
    for column, factor in zip(columns, factors, strict=True):
        total += factor * column
    return total


def _components(samples: SkySamples, frames: int) -> np.ndarray:
    """Number the sets of frames that hang together by the nodes that they show: (n,)."""
    size = frames + int(samples.node.max()) + 1
    entries = np.ones(len(samples.node)), (samples.frame, frames + samples.node)
    links = scipy.sparse.coo_array(entries, shape=(size, size))
    return scipy.sparse.csgraph.connected_components(links, directed=False)[1][:frames]


def _solution(
    sky: np.ndarray, error: np.ndarray, node: np.ndarray, planes: _Planes, columns: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the planes (n, 3) of one colour's sky, factors of the shades' columns, and what samples count for at last.

    A tree, a cloud's edge and a ghost of the moon are outliers: what is far off counts next to nothing, and a frame of
    which all is far off still has its plane. Offsets come first: beside a tree, a plane would rather lean on it.
    """
    found, shade = np.zeros(planes.terms.shape[1]), np.zeros(len(columns))
    offsets = np.arange(len(found)) % 3 == 0
    weights = error**-2
    for loss, terms, tolerance in ROUNDS:
        samples, free = _Weighed(planes, node, weights), offsets | (terms > OFFSETS)
        off = sky - planes.terms @ found - _sum_of(columns, shade)
        step = samples.step(off, found, free, tolerance)
        if terms == SHADES and len(shade):
            step, shade = _with_shades(samples, columns, off, step, shade)
        found = found + step
        off = samples.left(sky - _sum_of(columns, shade), found)
        relative = np.abs(off) / error
        usual = max(SIGMA_OF_MAD * float(np.median(relative)), TINY_ADU)
        weights = loss(relative / usual) / error**2
    return found.reshape(-1, 3), shade, weights


@dataclass(frozen=True)
class _Weighed:
    """Samples, and what they count for, in one round.

    Attributes
    ----------
    planes : _Planes
    node : ndarray of int, shape (m,)
    weights : ndarray of float64, shape (m,)
    """

    planes: _Planes
    node: np.ndarray
    weights: np.ndarray

    @cached_property
    def _total(self) -> np.ndarray:
        return np.bincount(self.node, self.weights)

    def beside_the_sky(self, values: np.ndarray) -> np.ndarray:
        """Return values at the samples, less the sky that all frames share: their weighted means over the nodes."""
        return values - (np.bincount(self.node, self.weights * values) / self._total)[self.node]

    def left(self, values: np.ndarray, found: np.ndarray) -> np.ndarray:
        """Return what planes, and the sky that all frames share, leave of values at the samples."""
        return self.beside_the_sky(values - self.planes.terms @ found)

    def step(self, off: np.ndarray, found: np.ndarray, free: np.ndarray | bool, tolerance: float) -> np.ndarray:
        """Return what brings planes nearest to what they are off: the terms that are free, slopes held down.

        Slopes that a frame's own samples tell are left to them. What tells frames' slopes apart by narrow overlaps
        alone is held down: there, a vignetting looks like slopes that grow from panel to panel, and would bend the
        whole.
        Preconditioned conjugate gradients (Hestenes and Stiefel 1952), without BLAS, whose threads change last digits.
        """
        own = np.maximum(self.planes.squares @ self.weights, TINY_ADU)
        held = np.where(np.arange(len(own)) % 3 > 0, SLOPE_HELD[0] + SLOPE_HELD[1] * own, 0.0)

        def pull(values: np.ndarray) -> np.ndarray:
            return self.planes.back @ (self.weights * self.beside_the_sky(values))

        left = (pull(off) - held * found) * free
        step, direction = np.zeros_like(found), left / own
        square = np.sum(left * direction)
        enough = tolerance**2 * square
        for _ in range(MOST_STEPS):
            if square <= enough:
                break
            effect = pull(self.planes.terms @ direction) * free + held * direction
            length = square / np.sum(direction * effect)
            step, left = step + length * direction, left - length * effect
            ahead = left / own
            before, square = square, np.sum(left * ahead)
            direction = ahead + square / before * direction
        return step


def _with_shades(
    samples: _Weighed, columns: np.ndarray, off: np.ndarray, step: np.ndarray, shade: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return the step of the planes beside that of the shades, and the shades: by Schur's complement of the planes."""
    none, weights = np.zeros_like(step), samples.weights
    taken = [samples.step(column, none, True, ROUGH) for column in columns]  # by planes, of a shade
    left = [samples.left(column, own) for column, own in zip(columns, taken, strict=True)]
    off = samples.left(off, step)
    normal = np.array([[np.sum(weights * column * other) for other in left] for column in columns])
    held = np.array([SHADE_HELD[0] + SHADE_HELD[1] * np.sum(weights * column**2) for column in columns])
    right = np.array([np.sum(weights * column * off) for column in columns]) - held * shade
    more = np.linalg.solve(normal + np.diag(held), right)
    return step - _sum_of(np.array(taken), more), shade + more


def _as_a_whole(
    planes: np.ndarray,
    samples: SkySamples,
    sky: np.ndarray,
    weights: np.ndarray,
    component: np.ndarray,
    model: str,
) -> np.ndarray:
    """Return planes (n, 3) with what they all have in common chosen, for each set of frames that hang together.

    The mean of what is added is zero: the whole keeps its level. The whole is tilted as it would be if frames were
    only brought to one median level, no more: with planes whose mean slope is zero, a tilt that all frames have in
    themselves would run on over all panels.
    """
    planes = planes.copy()
    counted = np.bincount(samples.frame, weights, len(planes))
    level = (np.bincount(samples.frame, weights * sky, len(planes)) / np.where(counted > 0, counted, 1))[samples.frame]
    basis = np.stack([np.ones_like(samples.x), samples.x, samples.y], axis=1)
    for number in np.unique(component):
        mine = component[samples.frame] == number
        about, weight = basis[mine], weights[mine]
        added = np.sum(about * planes[samples.frame[mine]], axis=1)
        if model == "plane":
            planes[component == number, 1:] -= _fitted(about, added + level[mine], weight)[1:]
            added = np.sum(about * planes[samples.frame[mine]], axis=1)
        planes[component == number, 0] -= np.sum(weight * added) / max(np.sum(weight), TINY_ADU)
    return planes


def _fitted(basis: np.ndarray, values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return the weighted least-squares coefficients, as small as can be where values leave them open."""
    normal = np.array([[np.sum(weights * a * b) for b in basis.T] for a in basis.T])
    right = np.array([np.sum(weights * a * values) for a in basis.T])
    scale = 1 / np.sqrt(np.maximum(np.diag(normal), TINY_ADU))
    return scale * np.linalg.lstsq(normal * scale * scale[:, None], right * scale, rcond=1e-9)[0]
