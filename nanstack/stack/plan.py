# SPDX-License-Identifier: GPL-3.0-or-later
"""From aligned frames and settings to what a stack is made of: levels and weights, measured once for CPU and GPU."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from nanstack.arrays import real_array
from nanstack.levels import photometry
from nanstack.levels.sky import SkyMatch, match_skies
from nanstack.levels.weights import quality_weights, radial_map
from nanstack.settings import Radial, TileSettings
from nanstack.stack.definition import Rejection
from nanstack.stack.stacker import Weights, checked_shape

Normalizer = Callable[[np.ndarray, np.ndarray], SkyMatch]


def _linear_fit(frame: np.ndarray, reference: np.ndarray) -> SkyMatch:
    return SkyMatch(*photometry.linear_fit_coefficients(frame, reference))


def _sky_mean(frame: np.ndarray, reference: np.ndarray) -> SkyMatch:
    return SkyMatch(offset=photometry.sky_offset(frame, reference))


NORMALIZERS: dict[str, Normalizer] = {"linear_fit": _linear_fit, "sky_mean": _sky_mean}


@dataclass(frozen=True)
class StackPlan:
    """What a stack is made of.

    Attributes
    ----------
    frames : list of ndarray, all (H, W) or all (H, W, C)
        Aligned; the first one is the reference.
    rejection : Rejection
    combine : str
    weights : sequence or None
        One entry a frame, as `nanstack.stack.stacker.stack_frames` takes them.
    levels : list of SkyMatch or None
        What brings each frame to the reference's level.
    levelled_by : str
        Name of the matching or of the normalisation.
    weighted_by : str
        'none', the measure, or 'custom' for weights that were given.
    quality : list of ndarray or None
        The weights that were measured, before anything multiplied them.
    """

    frames: list[np.ndarray]
    rejection: Rejection
    combine: str
    weights: Weights | None
    levels: list[SkyMatch] | None
    levelled_by: str
    weighted_by: str
    quality: list[np.ndarray] | None

    def frame_weights(self) -> list[float] | None:
        """Return each frame's weight, averaged over channels and pixels, in units of the frames' mean."""
        if self.weights is None:
            return None
        means = np.array([np.mean(weight) for weight in self.weights])
        return (means / means.mean()).tolist()


def plan_stack(frames: Sequence[np.ndarray], settings: TileSettings, weights: Weights | None = None) -> StackPlan:
    """Measure the levels and weights of aligned frames, and say how they are to be stacked.

    Parameters
    ----------
    frames : sequence of ndarray, all (H, W) or all (H, W, C)
        The first one is the reference.
    settings : TileSettings
    weights : optional
        One entry a frame; they take the place of those that `settings.weight` names.

    Raises
    ------
    ValueError
        For no frames, frames of different shapes, or frames without pixels.
    """
    frames = [real_array(frame, f"frame {index}") for index, frame in enumerate(frames)]
    shape = checked_shape([frame.shape for frame in frames])
    if 0 in shape:
        raise ValueError(f"frames must be (H, W) or (H, W, 3) and hold pixels, not {shape}")
    levels = _levels(frames, settings)
    quality = None
    if weights is None and settings.weight != "none":
        quality = quality_weights(frames, settings.weight)
        weights = _for_levelled(quality, levels) if settings.weight == "noise_variance" else quality
        weighted_by = settings.weight
    else:
        weighted_by = "none" if weights is None else "custom"
    if settings.radial is not None:
        weights = _with_radial_map(weights, frames, settings.radial)
    levelled_by = settings.match if settings.normalize == "none" else settings.normalize
    return StackPlan(frames, settings.rejection, settings.combine, weights, levels, levelled_by, weighted_by, quality)


def _levels(frames: list[np.ndarray], settings: TileSettings) -> list[SkyMatch] | None:
    """Return what brings each frame to the level of the first one: a normalisation, else a match of the skies."""
    if settings.normalize != "none":
        normalizer = NORMALIZERS[settings.normalize]
        return [SkyMatch(), *(normalizer(frame, frames[0]) for frame in frames[1:])]
    return None if settings.match == "none" else match_skies(frames, 0, settings.match)


def _for_levelled(weights: list[np.ndarray], levels: list[SkyMatch] | None) -> list[np.ndarray]:
    """Return inverse variances as they are after levelling: a gain scales the noise, too."""
    if levels is None:
        return weights
    return [own / np.square(level.gain, dtype=np.float64) for own, level in zip(weights, levels, strict=True)]


def _with_radial_map(weights: Weights | None, frames: list[np.ndarray], radial: Radial) -> list[np.ndarray]:
    """Multiply each frame's weight by the radial map of its shape."""
    height, width = frames[0].shape[:2]
    falling = radial_map(height, width, radial.feather, radial.power)
    if frames[0].ndim == 3:
        falling = falling[..., None]
    return [falling] * len(frames) if weights is None else [falling * weight for weight in weights]
