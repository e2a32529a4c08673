# SPDX-License-Identifier: GPL-3.0-or-later
"""What the solution of the sky says of itself: plain numbers, for reports and for the next run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from nanstack.levels.sky_gauge import LeftOpen
from nanstack.levels.sky_planes import OneColour
from nanstack.levels.sky_samples import SkySamples
from nanstack.register.registered import RegisteredFrame, corner_terms

MAP_CELLS = 24  # along the longer side
COVERED = 0.15  # a frame of which so much is far off, and dark, is named;
DARK = 0.05  # dark is what lacks such a part of the usual sky: a tree hides most of it

Numbers = tuple[float, ...]


@dataclass(frozen=True)
class ShadeTold:
    """A shade that stays on a camera's sensor: a polynomial of the place, see `nanstack.register.registered`.

    Attributes
    ----------
    camera : str
    shape : (int, int)
        Of its frames.
    frames : int
    terms_adu : tuple of (float, float, float)
        Of u^2, u v, and v^2, in frames of the usual sky; for each colour.
    corner_adu, error_adu : tuple of float
        What the corners have more than the frame on average, and its standard error; for each colour.
    """

    camera: str
    shape: tuple[int, int]
    frames: int
    terms_adu: tuple[Numbers, ...]
    corner_adu: Numbers
    error_adu: Numbers


@dataclass(frozen=True)
class SkyTold:
    """What is known of the sky's solution; figures are for each colour.

    Attributes
    ----------
    shades : tuple of ShadeTold
        One a camera; none where frames have offsets alone.
    turned, spread : float
        What frames' directions tell of a common tilt, and what the spread of their middles does: see `LeftOpen`.
    tilt_adu, bowl_adu : tuple of float
        What is left open in the picture: see `LeftOpen`.
    sky_adu : tuple of float
        The usual sky's level, before anything is added.
    residual_adu : tuple of float
        By how much a sample is usually off what is found.
    residual_map : tuple of tuple of (float or None)
        The same over the canvas, the colours' mean, first row first; None where no two frames show a place.
    covered : dict of str to float
        Digests of frames of which much is too dark for a sky, as behind a tree: how much.
    """

    shades: tuple[ShadeTold, ...]
    turned: float
    spread: float
    tilt_adu: Numbers
    bowl_adu: Numbers
    sky_adu: Numbers
    residual_adu: Numbers
    residual_map: tuple[tuple[float | None, ...], ...]
    covered: dict[str, float]

    @property
    def upside_down(self) -> SkyTold:
        """The same for a picture whose first row is the canvas's last one."""
        return replace(self, residual_map=self.residual_map[::-1])

    @classmethod
    def from_json(cls, told: dict) -> SkyTold:
        """Return what `dataclasses.asdict` and JSON made of it."""
        shades = tuple(ShadeTold(**{name: _tuple(value) for name, value in shade.items()}) for shade in told["shades"])
        return cls(**{**{name: _tuple(value) for name, value in told.items()}, "shades": shades})


def _tuple(value: object) -> object:
    return tuple(map(_tuple, value)) if isinstance(value, list) else value


def sky_told(
    frames: Sequence[RegisteredFrame],
    cameras: np.ndarray,
    samples: SkySamples,
    solved: Sequence[OneColour],
    left_open: Sequence[LeftOpen],
) -> SkyTold:
    """Return what is known of a solution.

    Parameters
    ----------
    frames : sequence of RegisteredFrame
    cameras : ndarray of int, shape (n,)
        Of the frames.
    samples : SkySamples
    solved : sequence of OneColour
    left_open : sequence of LeftOpen
        Of each colour, like `solved`.
    """
    shades = range(len(solved[0].shade) // 3)
    main = left_open[len(left_open) // 2]
    return SkyTold(
        tuple(_shade(frames, cameras == number, solved, left_open, number) for number in shades),
        round(main.turned, 4),
        round(main.spread, 4),
        _adu(one.tilt for one in left_open),
        _adu(one.bowl for one in left_open),
        _adu(np.median(samples.sky, axis=0)),
        _adu(one.usual for one in solved),
        _residual_map(samples, solved),
        _covered(frames, samples, solved),
    )


def _adu(values: object) -> Numbers:
    return tuple(float(f"{value:.4g}") for value in values)


def _shade(
    frames: Sequence[RegisteredFrame],
    mine: np.ndarray,
    solved: Sequence[OneColour],
    left_open: Sequence[LeftOpen],
    number: int,
) -> ShadeTold:
    frame, terms = frames[int(np.argmax(mine))], slice(3 * number, 3 * number + 3)
    corner = corner_terms(frame.shape) * 2 / 3  # less what they are on average
    told = [np.sum(corner * one.shade[terms]) for one in solved]
    formal = [np.sum(corner[:, np.newaxis] * one.covariance[terms, terms] * corner) for one in solved]
    error = [np.sqrt(max(own, 0) + one.corner**2) for own, one in zip(formal, left_open, strict=True)]
    own = tuple(_adu(one.shade[terms]) for one in solved)
    name = frame.facts.instrument
    return ShadeTold(name, tuple(frame.shape[:2]), int(np.count_nonzero(mine)), own, _adu(told), _adu(error))


def _residual_map(samples: SkySamples, solved: Sequence[OneColour]) -> tuple[tuple[float | None, ...], ...]:
    """Return the root of the mean square of what samples are off, over coarse cells of the canvas.

    What one frame alone shows is off by nothing, and says nothing.
    """
    places = np.stack([samples.y - samples.y.min(), samples.x - samples.x.min()])
    side = max(np.ptp(places, axis=1).max(), 1.0) / MAP_CELLS
    row, column = np.minimum(places // side, MAP_CELLS - 1).astype(int)
    shape = row.max() + 1, column.max() + 1
    cell = row * shape[1] + column
    square = np.mean([one.weights * one.off**2 for one in solved], axis=0)
    weight = np.mean([one.weights for one in solved], axis=0) * (np.bincount(samples.node)[samples.node] > 1)
    total = np.bincount(cell, weight, shape[0] * shape[1])
    mean = np.sqrt(np.bincount(cell, square, len(total)) / np.where(total > 0, total, 1))
    cells = [float(f"{value:.4g}") if seen else None for value, seen in zip(mean, total > 0, strict=True)]
    return tuple(tuple(cells[first : first + shape[1]]) for first in range(0, len(cells), shape[1]))


def _covered(frames: Sequence[RegisteredFrame], samples: SkySamples, solved: Sequence[OneColour]) -> dict[str, float]:
    """Return the frames of which much is far off in all colours, and dark, and how much of them."""
    dark = -DARK * np.median(samples.sky, axis=0)
    off = np.all([(one.off < limit) & one.outlying for one, limit in zip(solved, dark, strict=True)], axis=0)
    counts = np.bincount(samples.frame, minlength=len(frames))
    share = np.bincount(samples.frame, off, len(frames)) / np.maximum(counts, 1)
    return {f.survey.digest: round(float(s), 3) for f, s in zip(frames, share, strict=True) if s > COVERED}
