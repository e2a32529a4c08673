# SPDX-License-Identifier: GPL-3.0-or-later
"""Frames of several exposures, gains and cameras on one scale of flux, by what their stars show."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

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


def on_one_flux_scale(frames: Sequence[RegisteredFrame], progress: Progress) -> list[RegisteredFrame]:
    """Return frames with the factors that give a star the same flux in all kinds of them: that of the commonest kind.

    Parameters
    ----------
    frames : sequence of RegisteredFrame
    progress : Progress
        Is warned of kinds that are multiplied.
    """
    kinds = [Kind.of(frame) for frame in frames]
    counts = Counter(kinds)
    if len(counts) < 2:
        return list(frames)
    main, _ = min(counts.items(), key=lambda one: (-one[1], one[0]))
    fluxes = {kind: _flux(frames, kinds, kind) for kind in counts}
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


def _flux(frames: Sequence[RegisteredFrame], kinds: Sequence[Kind], kind: Kind) -> float:
    """Return the usual flux of a kind's frames, NaN where stars do not tell."""
    known = [f.flux for f, own in zip(frames, kinds, strict=True) if own == kind and math.isfinite(f.flux)]
    return float(np.median(known)) if known else math.nan


def _factor(kind: Kind, main: Kind, fluxes: dict[Kind, float]) -> float:
    ratio = fluxes[main] / fluxes[kind]
    if not math.isfinite(ratio) and kind.exposure and main.exposure:
        ratio = main.exposure / kind.exposure
    return ratio if math.isfinite(ratio) and abs(math.log(ratio)) > SAME_FLUX else 1.0
