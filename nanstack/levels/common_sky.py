# SPDX-License-Identifier: GPL-3.0-or-later
"""One sky for all frames of a canvas: what each is to be brought to it by, from the surveys' meshes.

At each node of a coarse grid on the canvas, a frame's mesh shows the sky there, which all frames share, and a plane of
the frame's own: the glow of its moment. Both are solved for at once, so that stars and nebulae cancel between frames
that show the same place. The sky at a node follows from the planes, and is eliminated; what is left are three numbers
a frame and colour, found by conjugate gradients.

What cannot be told from the sky is chosen so that the picture as a whole stays what it is: `_as_a_whole`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import scipy

from nanstack.canvas import Canvas
from nanstack.levels.photometry import SIGMA_OF_MAD
from nanstack.levels.placed import Plane
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
HELD = 0.05  # how strongly slopes are held to the usual one, over what a frame's own samples say of them
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
    """

    frame: np.ndarray
    node: np.ndarray
    x: np.ndarray
    y: np.ndarray
    sky: np.ndarray
    error: np.ndarray


def common_sky(
    frames: Sequence[RegisteredFrame], gains: np.ndarray, canvas: Canvas, model: str = "plane"
) -> list[Plane]:
    """Return what brings each frame's sky to the common one; the same bits, in whatever order frames come.

    Parameters
    ----------
    frames : sequence of RegisteredFrame
    gains : ndarray of float64, shape (n, C)
        What the frames' samples are multiplied by first.
    canvas : Canvas
        In whose pixels, from its axis, the planes are.
    model : {'plane', 'offset', 'none'}
        A frame that shows too little of the sky for a plane has an offset; one that shows none stays as it is.

    Raises
    ------
    ValueError
        For another model.
    """
    if model not in MODELS:
        raise ValueError(f"model '{model}' is unknown (known: {', '.join(MODELS)})")
    levels = [Plane.zero(gains.shape[1]) for _ in frames]
    if model == "none" or not frames:
        return levels
    order = sorted(range(len(frames)), key=lambda k: frames[k].survey.digest)
    samples = sky_samples([frames[k] for k in order], gains[order], canvas)
    if len(samples.frame):
        for k, level in zip(order, _levels(samples, len(frames), model), strict=True):
            levels[k] = level
    return levels


def onto_earlier(new: Sequence[Plane], earlier: Sequence[Plane]) -> Plane:
    """Return the plane that, added to all planes of a new solution, makes it go on from an earlier one.

    Parameters
    ----------
    new, earlier : sequence of Plane
        Of the same frames, one at least, in the same order; of frames that hang together by what they show.
    """
    terms = ("offset", "slope_x", "slope_y")
    differences = [[getattr(e, term) - getattr(n, term) for term in terms] for n, e in zip(new, earlier, strict=True)]
    return Plane(*np.median(differences, axis=0))


def dark_skies(
    frames: Sequence[RegisteredFrame], gains: np.ndarray, canvas: Canvas, levels: Sequence[Plane]
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
    across, down, sky = (np.concatenate(part) for part in zip(*parts, strict=True))
    frame = np.repeat(np.arange(len(frames)), [len(part[0]) for part in parts])
    rows = down - down.min(initial=0)
    node = np.unique(across * (rows.max(initial=0) + 1) + rows, return_inverse=True)[1]
    return SkySamples(frame, node, across * step, down * step, sky, _errors(frames, gains)[frame])


def _samples(
    frame: RegisteredFrame, gain: np.ndarray, canvas: Canvas, step: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the columns and rows of the nodes that a frame shows, and its sky there: (k,), (k,), (k, C)."""
    (left, right), (top, bottom) = _nodes(frame, canvas, step)
    across, down = (axis.ravel() for axis in np.meshgrid(np.arange(left, right), np.arange(top, bottom)))
    x, y = frame.view.pixels(canvas.view.directions(across * step + canvas.origin[0], down * step + canvas.origin[1]))
    height, width = frame.shape[:2]
    inside = (x > -0.5) & (x < width - 0.5) & (y > -0.5) & (y < height - 0.5)
    mesh = np.atleast_3d(np.asarray(frame.survey.sky, dtype=np.float64))
    sky = mesh_at(mesh, MESH_PX, x[inside], y[inside]) * gain
    known = np.isfinite(sky).all(axis=1)
    return across[inside][known], down[inside][known], sky[known]


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


# --- planes -------------------------------------------------------------------------------------------------------


def _settling(relative: np.ndarray) -> np.ndarray:
    """Return weights by residuals of which the sum is made least, nearly: wherever it starts from, it ends in one."""
    return 1 / (1 + relative)


def _redescending(relative: np.ndarray) -> np.ndarray:
    """Return the weights of Geman and McClure's loss."""
    return (1 + (relative / SOFT) ** 2) ** -2


# of each round of weighing: what samples count for after it, whether it finds slopes, and how far it is solved
ROUNDS = (
    *[(_settling, False, ROUGH)] * 3,
    *[(_redescending, False, ROUGH)] * 2,
    *[(_redescending, True, ROUGH)] * 3,
    (_redescending, True, FINE),
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


def _levels(samples: SkySamples, frames: int, model: str) -> list[Plane]:
    """Return the corrections of frames in their order."""
    planes = _Planes.of(samples, frames, model)
    component = _components(samples, frames)
    colours = []
    for colour in range(samples.sky.shape[1]):
        found, weights = _solution(samples.sky[:, colour], samples.error[:, colour], samples, planes)
        own = -planes.on_the_canvas(found)
        colours.append(_as_a_whole(own, samples, samples.sky[:, colour], weights, component, model))
    found = np.stack(colours, axis=2)
    found = np.stack([rounded(found[:, term], found[:, term]) for term in range(3)], axis=1)
    return [Plane(*terms) for terms in found]


def _components(samples: SkySamples, frames: int) -> np.ndarray:
    """Number the sets of frames that hang together by the nodes that they show: (n,)."""
    size = frames + int(samples.node.max()) + 1
    entries = np.ones(len(samples.node)), (samples.frame, frames + samples.node)
    links = scipy.sparse.coo_array(entries, shape=(size, size))
    return scipy.sparse.csgraph.connected_components(links, directed=False)[1][:frames]


def _solution(
    sky: np.ndarray, error: np.ndarray, samples: SkySamples, planes: _Planes
) -> tuple[np.ndarray, np.ndarray]:
    """Return the planes (n, 3) of one colour's sky, and what samples count for in the end.

    A tree, a cloud's edge and a ghost of the moon are outliers: what is far off counts next to nothing, and a frame of
    which all is far off still has its plane. Offsets come first: beside a tree, a plane would rather lean on it.
    """
    found = np.zeros(planes.terms.shape[1])
    offsets = np.arange(len(found)) % 3 == 0
    weights = error**-2
    for loss, sloped, tolerance in ROUNDS:
        off = sky - planes.terms @ found
        found = found + _step(off, weights, found, samples.node, planes, offsets | sloped, tolerance)
        off = sky - planes.terms @ found
        off -= _means(off, weights, samples.node)
        relative = np.abs(off) / error
        usual = max(SIGMA_OF_MAD * float(np.median(relative)), TINY_ADU)
        weights = loss(relative / usual) / error**2
    return found.reshape(-1, 3), weights


def _means(values: np.ndarray, weights: np.ndarray, node: np.ndarray) -> np.ndarray:
    """Return, at each sample, the weighted mean over its node."""
    return (np.bincount(node, weights * values) / np.bincount(node, weights))[node]


def _step(
    off: np.ndarray,
    weights: np.ndarray,
    found: np.ndarray,
    node: np.ndarray,
    planes: _Planes,
    free: np.ndarray,
    tolerance: float,
) -> np.ndarray:
    """Return what brings planes nearest to what they are off: the terms that are free, slopes held down.

    Slopes that a frame's own samples tell are left to them. What tells frames' slopes apart by narrow overlaps alone
    is held down: there, a vignetting looks like slopes that grow from panel to panel, and would bend the whole.
    Preconditioned conjugate gradients (Hestenes and Stiefel 1952), without BLAS, whose threads change last digits.
    """
    own = np.maximum(planes.squares @ weights, TINY_ADU)
    held = np.where(np.arange(len(own)) % 3 > 0, HELD * own, 0.0)
    total = np.bincount(node, weights)

    def pull(values: np.ndarray) -> np.ndarray:
        shared = (np.bincount(node, weights * values) / total)[node]
        return planes.back @ (weights * (values - shared))

    left = (pull(off) - held * found) * free
    step, direction = np.zeros_like(found), left / own
    square = np.sum(left * direction)
    enough = tolerance**2 * square
    for _ in range(MOST_STEPS):
        if square <= enough:
            break
        effect = pull(planes.terms @ direction) * free + held * direction
        length = square / np.sum(direction * effect)
        step, left = step + length * direction, left - length * effect
        ahead = left / own
        before, square = square, np.sum(left * ahead)
        direction = ahead + square / before * direction
    return step


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
