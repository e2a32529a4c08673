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
from nanstack.survey.mesh import cell_levels
from nanstack.survey.noise import noise_of
from nanstack.survey.raw import MESH_PX, Raw
from nanstack.survey.record import Survey
from nanstack.survey.spikes import find_spikes, mended
from nanstack.survey.trails import find_trails, on_trails

APART_PX = 4  # neighbours that share neither debayering nor interpolation
ROWS = 64  # that are looked at in one go
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
    if not any(np.isfinite(row).any() for row in samples):
        raise FrameError(layout.path, "it holds no finite sample")
    shape = (*samples.shape, 3) if facts.pattern else samples.shape
    raw = Raw.of(samples, facts.pattern)
    peaks = find_peaks(raw)
    sky = _sky(raw, peaks.masked)
    noise = _noise(raw, raw.colour_planes, peaks.masked)
    saturation = _saturation(raw, sky, noise)
    plane_sky = sky if raw.channels is None else cell_levels([raw.plane], (MESH_PX, MESH_PX))
    trails = find_trails(raw, plane_sky, peaks)
    peaks = peaks.only(~on_trails(trails, peaks.x, peaks.y))
    stars, profile = _measured(raw, peaks, plane_sky, noise, saturation)
    spikes = find_spikes(raw, sky, noise, stars.fwhm)
    return Survey(
        layout.path,
        shape,
        facts,
        stars,
        sky if len(noise) > 1 else sky[..., 0],
        noise if len(noise) > 1 else noise.reshape(()),
        saturation,
        math.nan if profile is None else profile.elongation,
        spikes,
        mended(raw, spikes),
        tuple(trails),
        digest=content.hexdigest(),
    )


def _measured(raw: Raw, peaks: Peaks, sky: np.ndarray, noise: np.ndarray, saturation: float) -> tuple:
    """Measure stars on the raw plane, whose sky is given: of a colour image, on its luminance."""
    if raw.channels is not None:
        return measure(raw, peaks, sky, _noise(raw, [[raw.plane]], peaks.masked), math.inf)
    return measure(raw, peaks, sky, noise, saturation)


def _sky(raw: Raw, hidden: np.ndarray) -> np.ndarray:
    """Return the mesh of the sky's levels by colour: (rows, columns, colours)."""
    side = MESH_PX // raw.binning
    if raw.pattern:
        planes, hidden, sides = _colours(raw), hidden[0::2] | _following(hidden), (side // 2, side)
    else:
        step = raw.binning  # one sample for each pixel of the mask
        planes, sides = [plane[::step, ::step] for (plane,) in raw.colour_planes], (side, side)
    height, width = hidden.shape
    mesh = cell_levels([plane[:height, :width] for plane in planes], sides, hidden)
    missing = [-(-whole // MESH_PX) - cells for whole, cells in zip(raw.plane.shape, mesh.shape, strict=False)]
    return np.pad(mesh, [(0, cells) for cells in (*missing, 0)], mode="edge")  # an odd last row may begin a cell


def _noise(raw: Raw, by_colour: list[list[np.ndarray]], hidden: np.ndarray) -> np.ndarray:
    """Return the noise by colour: (colours,)."""
    if raw.pattern:
        return np.array([noise_of(planes, hidden, APART_PX // 2) for planes in by_colour])
    hidden = hidden.repeat(raw.binning, 0).repeat(raw.binning, 1)  # of samples, not of pixels of the mask
    return np.array([noise_of(planes, hidden, APART_PX) for planes in by_colour])


def _colours(raw: Raw) -> list[np.ndarray]:
    """Return the colours of a mosaic, one sample for two of its 2 x 2 cells, one above the other: their mean.

    Levels of means are as exact as of samples, take half the time, and hang less on the steps between whole numbers.
    """
    height, width = (side // 2 * 2 for side in raw.plane.shape)
    rows = [_mean_of_pairs(raw.plane[row:height:2, :width]) for row in (0, 1)]
    parts: list[list[np.ndarray]] = [[], [], []]
    for (row, column), colour in np.ndenumerate(raw.sites):
        parts[colour].append(rows[row][:, column::2])
    return [part[0] if len(part) == 1 else (part[0] + part[1]) / 2 for part in parts]


def _mean_of_pairs(plane: np.ndarray) -> np.ndarray:
    """Return the means of rows and those that follow them; a last row that none follows stands for itself."""
    return (plane[0::2] + _following(plane)) / 2


def _following(plane: np.ndarray) -> np.ndarray:
    """Return the row after every other one; the last row itself, where none comes after it."""
    return plane[1::2] if len(plane) % 2 == 0 else np.concatenate([plane[1::2], plane[-1:]])


def _saturation(raw: Raw, sky: np.ndarray, noise: np.ndarray) -> float:
    """Return the level at which samples saturate: the highest number, where several hold it, far above the sky."""
    if not math.isfinite(raw.highest) or not np.isfinite(sky).any():
        return math.inf
    far = raw.highest - np.nanmedian(sky) > MIN_SATURATION * np.nanmax(noise, initial=0.0)
    samples = raw.plane if raw.channels is None else raw.channels
    return raw.highest if far and _is_held(raw.highest, samples) else math.inf


def _is_held(number: float, samples: np.ndarray) -> bool:
    """Tell whether enough samples have a number: by rows, as the first ones may do."""
    several = 0
    for top in range(0, len(samples), ROWS):
        several += np.count_nonzero(samples[top : top + ROWS] == number)
        if several >= MIN_SATURATED:
            return True
    return False
