# SPDX-License-Identifier: GPL-3.0-or-later
"""The survey of a frame: one look at a file, for all that later stages ask of it."""

from __future__ import annotations

import hashlib
import math
from pathlib import Path

import numpy as np

from nanstack.io.frames import channels_last, samples_with_data
from nanstack.io.layout import FrameError, read_layout, read_samples
from nanstack.survey.detection import Peaks, find_peaks
from nanstack.survey.facts import facts_of
from nanstack.survey.measurement import measure
from nanstack.survey.mesh import cell_medians
from nanstack.survey.noise import noise_of
from nanstack.survey.raw import MESH_PX, Raw
from nanstack.survey.record import Survey
from nanstack.survey.spikes import find_spikes

APART_PX = 4  # neighbours that share neither debayering nor interpolation
MIN_SATURATED = 3  # samples that hold the highest number
MIN_SATURATION = 100  # that number above the sky, in units of the noise


def survey_frame(path: Path | str) -> Survey:
    """Read a frame file, once, and find out what is known of it.

    Raises
    ------
    FrameError
        As `nanstack.io.frames.read_frame`.
    """
    layout = read_layout(Path(path))
    content = hashlib.sha256()  # which processors have an instruction for
    samples = channels_last(layout.path, read_samples(layout, content.update))
    facts = facts_of(layout, samples)
    samples = samples_with_data(layout, samples, facts.pattern)
    if not np.isfinite(samples).any():
        raise FrameError(layout.path, "it holds no finite sample")
    shape = (*samples.shape, 3) if facts.pattern else samples.shape
    raw = Raw.of(samples, facts.pattern)
    peaks = find_peaks(raw)
    sky = _sky(raw, peaks.masked)
    noise = _noise(raw, raw.colour_planes, peaks.masked)
    saturation = _saturation(raw, sky, noise)
    stars, profile = _measured(raw, peaks, sky, noise, saturation)
    return Survey(
        layout.path,
        shape,
        facts,
        stars,
        sky if len(noise) > 1 else sky[..., 0],
        noise if len(noise) > 1 else noise.reshape(()),
        saturation,
        math.nan if profile is None else profile.elongation,
        find_spikes(raw, sky, noise, stars.fwhm),
        digest=content.hexdigest(),
    )


def _measured(raw: Raw, peaks: Peaks, sky: np.ndarray, noise: np.ndarray, saturation: float) -> tuple:
    """Measure stars on the raw plane: of a colour image, on its luminance."""
    if raw.channels is not None:
        luminance_sky = cell_medians(raw.plane, MESH_PX)[..., None]
        return measure(raw, peaks, luminance_sky, _noise(raw, [[raw.plane]], peaks.masked), math.inf)
    return measure(raw, peaks, sky, noise, saturation)


def _sky(raw: Raw, hidden: np.ndarray) -> np.ndarray:
    """Return the mesh of the sky's medians by colour: (rows, columns, colours)."""
    side = MESH_PX // raw.binning
    step = 1 if raw.pattern else raw.binning  # one sample for each pixel of the mask
    by_colour = [[plane[::step, ::step] for plane in planes] for planes in raw.colour_planes]
    mesh = np.stack([_mesh(planes, hidden, side) for planes in by_colour], axis=2)
    missing = [-(-whole // MESH_PX) - cells for whole, cells in zip(raw.plane.shape, mesh.shape, strict=False)]
    return np.pad(mesh, [(0, cells) for cells in (*missing, 0)], mode="edge")  # an odd last row may begin a cell


def _noise(raw: Raw, by_colour: list[list[np.ndarray]], hidden: np.ndarray) -> np.ndarray:
    """Return the noise by colour: (colours,)."""
    side = 1 if raw.pattern else raw.binning  # of a pixel of the mask, in samples
    hidden, lag = hidden.repeat(side, 0).repeat(side, 1), APART_PX // 2 if raw.pattern else APART_PX
    return np.array([noise_of(planes, hidden, lag) for planes in by_colour])


def _mesh(planes: list[np.ndarray], hidden: np.ndarray, side: int) -> np.ndarray:
    """Return the medians of one colour; of cells that stars fill, with their stars."""
    height, width = hidden.shape
    planes = [plane[:height, :width] for plane in planes]
    mesh = np.mean([cell_medians(plane, side, hidden) for plane in planes], axis=0)
    if np.isnan(mesh).any():
        full = np.mean([cell_medians(plane, side) for plane in planes], axis=0)
        mesh = np.where(np.isnan(mesh), full, mesh)
    return mesh.astype(np.float32)


def _saturation(raw: Raw, sky: np.ndarray, noise: np.ndarray) -> float:
    """Return the level at which samples saturate: the highest number, where several hold it, far above the sky."""
    samples = raw.plane if raw.channels is None else raw.channels
    highest = float(np.fmax.reduce(samples, axis=None))
    if not math.isfinite(highest) or not np.isfinite(sky).any():
        return math.inf
    far = highest - np.nanmedian(sky) > MIN_SATURATION * np.nanmax(noise, initial=0.0)
    return highest if far and np.count_nonzero(samples == highest) >= MIN_SATURATED else math.inf
