# SPDX-License-Identifier: GPL-3.0-or-later
"""How uncertain frames' samples are, by what their surveys measured."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence

import numpy as np

from nanstack.canvas import Canvas
from nanstack.levels.flux import Kind
from nanstack.levels.placed import PlacedFrame, SampleNoise
from nanstack.register.registered import RegisteredFrame
from nanstack.register.warp import noise_left

LEAST_NOISE = 0.5  # of a frame, in what is usual for its kind: a frame that claims less has not measured it
MOST_POINTS = 300  # of levels and their noise; more add nothing
SHARE_OF_MOSAIC = np.array([0.25, 0.5, 0.25])  # of its photosites are red, green, and blue


def sample_noises(
    frames: Sequence[RegisteredFrame], gains: np.ndarray, levels: np.ndarray, taps: Sequence[np.ndarray]
) -> list[SampleNoise]:
    """Return the noise of each frame's samples on the canvas.

    Parameters
    ----------
    frames : sequence of RegisteredFrame
    gains : ndarray of float64, shape (n, C)
    levels : ndarray of float64, shape (n, C)
        The level of the dark sky after levelling.
    taps : sequence of ndarray, shape (C,)
        What interpolation leaves of a sample's variance.
    """
    # by a frame's gain alone: its flat is 1 on average, and what a few per cent more or less of a sample's noise change
    # of its weight changes a mean's noise by their square
    noise = noises(frames)
    return [
        SampleNoise(factor * (own * gain) ** 2, factor * gain * per_adu, level)
        for own, per_adu, gain, level, factor in zip(noise, photon_terms(frames), gains, levels, taps, strict=True)
    ]


def pixels_alike(frames: Sequence[PlacedFrame], canvas: Canvas, interpolation: str) -> np.ndarray:
    """Return how much larger the variance of a mean over many pixels of a stack is than that of independent ones.

    Neighbours are made of the same photosites. Under an area of A pixels of the canvas lie share * A / f^2 of a colour,
    where f is how much finer the canvas is than the frame. The mean of photosites of the variance v has there the
    variance v f^2 / (share * A), one pixel left * v: the factor is f^2 / (share * left). Of pixels so coarse that this
    is below 1, neighbours have nothing in common. Samples of a frame that was debayered before are taken for
    independent ones, which they are not: the factor is too small.

    Parameters
    ----------
    frames : sequence of PlacedFrame
        One at least.
    canvas : Canvas
    interpolation : {'bicubic', 'lanczos3'}

    Returns
    -------
    ndarray of float64, shape (C,)
        The mean over the frames, by what each adds to the variance.
    """
    factors = [_pixels_alike(one, canvas, interpolation) for one in frames]
    return np.average(factors, axis=0, weights=[one.weight**2 * one.noise.variance for one in frames])


def _pixels_alike(placed: PlacedFrame, canvas: Canvas, interpolation: str) -> np.ndarray:
    pattern = placed.frame.facts.pattern
    share = SHARE_OF_MOSAIC if pattern else 1.0
    finer = canvas.view.focal / placed.frame.view.focal
    return np.maximum(finer**2 / (share * noise_left(pattern, placed.channels, interpolation)), 1.0)


def noises(frames: Sequence[RegisteredFrame]) -> np.ndarray:
    """Return the noise of frames' samples in their own ADU: (n, C).

    Where a survey could not tell, it is what is usual for frames taken alike; and never less than half of that, so
    that no single frame is trusted beyond reason.
    """
    noise = np.array([np.atleast_1d(frame.survey.noise) for frame in frames], dtype=np.float64)
    known = np.isfinite(noise) & (noise > 0)
    everywhere = _medians(noise, known, np.ones(noise.shape[1]))
    for mine in _alike([Kind.of(frame) for frame in frames]):
        usual = _medians(noise[mine], known[mine], everywhere)
        noise[mine] = np.where(known[mine], np.maximum(noise[mine], LEAST_NOISE * usual), usual)
    return noise


def photon_terms(frames: Sequence[RegisteredFrame]) -> np.ndarray:
    """Return by how much the variance of a frame's samples grows for each ADU, in ADU: (n,).

    That is the camera's ADU per electron, and is measured on the sky: its noise is higher in bright colours and
    bright frames. Where all are about as bright, it is as if all noise were that of photons, and the camera added no
    pedestal: too little where there is one, too much where the electronics' noise counts.
    """
    noise = noises(frames)
    skies = np.array([np.atleast_1d(sky_of(frame)) for frame in frames])
    terms = np.zeros(len(frames))
    for mine in _alike([(f.facts.instrument, f.facts.gain, f.facts.binning, len(f.shape)) for f in frames]):
        level, variance = skies[mine].ravel(), noise[mine].ravel() ** 2
        known = np.isfinite(level)
        terms[mine] = _growth(level[known], variance[known])
    return terms


def sky_of(frame: RegisteredFrame) -> np.ndarray:
    """Return the usual level of a frame's sky in its own ADU: () or (C,); NaN where none is known."""
    mesh = np.asarray(frame.survey.sky, dtype=np.float64)
    mesh = mesh.reshape(-1, *mesh.shape[2:])
    known = mesh[np.isfinite(mesh).reshape(len(mesh), -1).all(axis=1)]
    return np.median(known, axis=0) if len(known) else np.full(mesh.shape[1:], np.nan)


def _growth(level: np.ndarray, variance: np.ndarray) -> float:
    """Return the slope of variances over levels: the median over pairs that lie apart (Theil 1950; Sen 1968)."""
    if not len(level):
        return 0.0
    order = np.argsort(level, kind="stable")[np.linspace(0, len(level) - 1, min(len(level), MOST_POINTS)).astype(int)]
    first, second = np.triu_indices(len(order), 1)
    apart = level[order][second] - level[order][first]
    far = apart > max(float(np.median(apart)), 0.0) if len(apart) else np.zeros(0, dtype=bool)
    if far.any():
        slopes = (variance[order][second] - variance[order][first])[far] / apart[far]
        if np.percentile(slopes, 25) > 0:  # else they do not agree that it grows at all
            return float(np.median(slopes))
    light = np.median(level)
    return float(np.median(variance) / light) if light > 0 else 0.0


def _medians(values: np.ndarray, known: np.ndarray, otherwise: np.ndarray) -> np.ndarray:
    """Return the medians of the columns' known values."""
    columns = zip(values.T, known.T, otherwise, strict=True)
    return np.array([np.median(column[good]) if good.any() else other for column, good, other in columns])


def _alike(names: Sequence[Hashable]) -> Iterator[np.ndarray]:
    """Give the numbers of those that have one name, name by name."""
    for name in dict.fromkeys(names):
        yield np.array([number for number, other in enumerate(names) if other == name])
