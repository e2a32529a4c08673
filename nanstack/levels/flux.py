# SPDX-License-Identifier: GPL-3.0-or-later
"""Frames of several exposures, gains and cameras on one scale of flux, by what their stars show."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from nanstack.canvas import Canvas
from nanstack.progress import Progress
from nanstack.register.registered import RegisteredFrame

SAME_FLUX = 0.05  # kinds whose stars differ by less are left as they are: the sky's transparency does as much


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
    """Return frames with the factors that give a star the same flux in all kinds of them: that of the commonest kind.

    Parameters
    ----------
    frames : sequence of RegisteredFrame
    groups : sequence of int
        Of the frames that hang together by their stars: only within one are fluxes held against each other.
    progress : Progress
        Is warned of kinds that are multiplied.
    """
    kinds = [Kind.of(frame) for frame in frames]
    counts = Counter(kinds)
    if len(counts) < 2:
        return list(frames)
    main, _ = min(counts.items(), key=lambda one: (-one[1], one[0]))
    fluxes = _fluxes(frames, groups, kinds)
    factors = {kind: _factor(kind, main, fluxes) for kind in counts}
    for kind in sorted(counts):
        if factors[kind] != 1:
            told = f"{counts[kind]} frame{'' if counts[kind] == 1 else 's'} of {kind}"
            progress.warn(f"{told}: multiplied by {factors[kind]:.3g} to match the {counts[main]} of {main}")
    # a pixel that sees more of the sky shows more of a star, and of the sky
    return [
        replace(frame, factor=factors[kind] * (kind.focal / main.focal) ** 2)
        for frame, kind in zip(frames, kinds, strict=True)
    ]


def _fluxes(
    frames: Sequence[RegisteredFrame], groups: Sequence[int], kinds: Sequence[Kind]
) -> dict[int, dict[Kind, float]]:
    """Return by group the usual flux of each kind's frames, as far as stars tell."""
    known: dict[int, dict[Kind, list[float]]] = {}
    for frame, group, kind in zip(frames, groups, kinds, strict=True):
        if math.isfinite(frame.flux):
            known.setdefault(group, {}).setdefault(kind, []).append(frame.flux)
    return {group: {kind: float(np.median(of)) for kind, of in by.items()} for group, by in known.items()}


def _factor(kind: Kind, main: Kind, fluxes: Mapping[int, Mapping[Kind, float]]) -> float:
    """Return a kind's factor: by the groups that have both kinds; where there is none, by the exposures."""
    seen = [of[main] / of[kind] for of in fluxes.values() if main in of and kind in of]
    if seen:
        ratio = float(np.median(seen))
    else:
        ratio = main.exposure / kind.exposure if kind.exposure and main.exposure else 1.0
    return ratio if abs(math.log(ratio)) > SAME_FLUX else 1.0


def flux_gains(frames: Sequence[RegisteredFrame], canvas: Canvas) -> np.ndarray:
    """Return what frames' samples are multiplied by, so that all show a star alike, and as a canvas's pixel sees it.

    Returns
    -------
    ndarray of float64, shape (n, C)
    """
    channels = np.ones(np.size(frames[0].survey.noise))
    return np.array([frame.factor * (frame.view.focal / canvas.view.focal) ** 2 * channels for frame in frames])
