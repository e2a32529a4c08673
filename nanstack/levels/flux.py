# SPDX-License-Identifier: GPL-3.0-or-later
"""Frames of all exposures, gains and cameras, through clouds or not, on one scale of flux: by what stars show."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from nanstack.canvas import Canvas
from nanstack.levels.photometry import SIGMA_OF_MAD
from nanstack.progress import Progress
from nanstack.register.registered import RegisteredFrame
from nanstack.register.transparency import USUAL_SCATTER

SAME_FLUX = 0.05  # kinds whose stars differ by less are no news: the sky's transparency does as much


@dataclass(frozen=True, order=True)
class Kind:
    """How frames were taken, as far as the flux of a star hangs on it."""

    instrument: str
    exposure: float
    gain: float
    focal: float

    @classmethod
    def of(cls, frame: RegisteredFrame) -> Kind:
        """Return a frame's kind; what its header does not say is 0."""
        facts = frame.facts
        return cls(facts.instrument, facts.exposure or 0.0, facts.gain or 0.0, frame.view.camera.focal)

    def __str__(self) -> str:
        said = [f"{self.exposure:g} s"] if self.exposure else []
        said += [f"gain {self.gain:g}"] if self.gain else []
        return " ".join([*said, *([self.instrument] if self.instrument else [])]) or "unknown exposure"


def on_one_flux_scale(
    frames: Sequence[RegisteredFrame], groups: Sequence[int], progress: Progress
) -> list[RegisteredFrame]:
    """Return frames with the factors that give a star the same flux in all of them: that in a usual one.

    The usual frame is of the commonest kind, and its ADU stay what they are.

    Parameters
    ----------
    frames : sequence of RegisteredFrame
    groups : sequence of int
        Of the frames that hang together by their stars: only within one are fluxes held against each other.
    progress : Progress
        Is warned of kinds that are multiplied.
    """
    if not frames:
        return []
    kinds = [Kind.of(frame) for frame in frames]
    counts = Counter(kinds)
    main, _ = min(counts.items(), key=lambda one: (-one[1], one[0]))
    own = list(zip(groups, kinds, strict=True))
    usual = _usual_fluxes(frames, own)
    factors = {(group, kind): _factor(group, kind, main, usual) for group, kind in set(own)}
    for kind in sorted(counts):
        of_kind = float(np.median([factor for (_, other), factor in sorted(factors.items()) if other == kind]))
        if abs(math.log(of_kind)) > SAME_FLUX:
            told = f"{counts[kind]} frame{'' if counts[kind] == 1 else 's'} of {kind}"
            progress.warn(f"{told}: multiplied by {of_kind:.3g} to match the {counts[main]} of {main}")
    clear = _transparencies(frames, own, usual)
    return [replace(frame, factor=factors[key] / clear) for frame, key, clear in zip(frames, own, clear, strict=True)]


def _usual_fluxes(frames: Sequence[RegisteredFrame], own: Sequence[tuple[int, Kind]]) -> dict[tuple[int, Kind], float]:
    """Return the usual flux of each group's frames of each kind, as far as stars tell."""
    known: dict[tuple[int, Kind], list[float]] = {}
    for frame, key in zip(frames, own, strict=True):
        if frame.flux > 0:
            known.setdefault(key, []).append(frame.flux)
    return {key: float(np.median(fluxes)) for key, fluxes in known.items()}


def _factor(group: int, kind: Kind, main: Kind, usual: Mapping[tuple[int, Kind], float]) -> float:
    """Return a kind's factor in a group: by its stars; else by the groups that have both kinds; else by exposures."""
    if (group, kind) in usual and (group, main) in usual:
        return usual[group, main] / usual[group, kind]
    seen = [usual[other, main] / flux for (other, of), flux in usual.items() if of == kind and (other, main) in usual]
    if seen:
        return float(np.median(seen))
    return main.exposure / kind.exposure if kind.exposure and main.exposure else 1.0


def _transparencies(
    frames: Sequence[RegisteredFrame], own: Sequence[tuple[int, Kind]], usual: Mapping[tuple[int, Kind], float]
) -> list[float]:
    """Return each frame's flux over the usual one of its kind and group, as far as its stars are to be believed.

    What few stars tell is held against how much frames differ, and against its own error (James and Stein's
    estimator): a flux within its error of the usual one counts as usual, so that correcting never makes it worse.
    """
    off = np.array([math.log(f.flux / usual[key]) if f.flux > 0 else 0.0 for f, key in zip(frames, own, strict=True)])
    error = USUAL_SCATTER / np.sqrt([max(frame.stars, 1) for frame in frames])
    spread = np.median(np.abs(off)) * SIGMA_OF_MAD
    true = np.maximum(off**2, spread**2) - error**2
    return np.exp(off * np.maximum(true, 0) / (np.maximum(true, 0) + error**2)).tolist()


def flux_gains(frames: Sequence[RegisteredFrame], canvas: Canvas) -> np.ndarray:
    """Return what frames' samples are multiplied by, so that all show a star alike, and as a canvas's pixel sees it.

    A pixel that sees more of the sky shows more of a star, and of the sky.

    Returns
    -------
    ndarray of float64, shape (n, C)
    """
    channels = np.ones(np.size(frames[0].survey.noise))
    return np.array([frame.factor * (frame.view.focal / canvas.view.focal) ** 2 * channels for frame in frames])


def onto_earlier(new: Sequence[float], earlier: Sequence[float]) -> float:
    """Return what to multiply all factors of a new solution by, so that it goes on from an earlier one.

    Parameters
    ----------
    new, earlier : sequence of float
        Factors of the same frames, one at least, in the same order.
    """
    return float(np.exp(np.median(np.log(earlier) - np.log(new))))
