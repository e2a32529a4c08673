# SPDX-License-Identifier: GPL-3.0-or-later
"""Frames of all exposures, gains and cameras, through clouds or not, on one scale of flux: by what stars show."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from nanstack.canvas import Canvas
from nanstack.levels.star_scales import common_stars, star_scales
from nanstack.progress import Progress
from nanstack.register.registered import RegisteredFrame, cameras, numbered

SAME_EXPOSURE = 0.15  # clouds may make so much of a difference without a word
TOO_BRIGHT = 1.5  # times what a header says: no cloud over the others does so much to most of them
MOST_NAMED = 5
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

    def over(self, other: Kind) -> float:
        """Return how much longer its frames were exposed than another's; 1 where headers do not say."""
        return self.exposure / other.exposure if self.exposure and other.exposure else 1.0

    def like(self, other: Kind) -> bool:
        """Tell whether it differs in the exposure alone, which is known."""
        return bool(self.exposure and other.exposure) and replace(self, exposure=other.exposure) == other

    def __str__(self) -> str:
        said = [f"{self.exposure:g} s"] if self.exposure else []
        said += [f"gain {self.gain:g}"] if self.gain else []
        return " ".join([*said, *([self.instrument] if self.instrument else [])]) or "unknown exposure"


def on_one_flux_scale(
    frames: Sequence[RegisteredFrame], groups: Sequence[int], progress: Progress
) -> list[RegisteredFrame]:
    """Return frames with the factors that give a star the same flux in all of them, and with their cameras' flats.

    The usual frame is of the commonest kind, and its ADU stay what they are. The same bits, whatever the order.

    Parameters
    ----------
    frames : sequence of RegisteredFrame
    groups : sequence of int
        Of the frames that hang together by their stars: only within one are fluxes held against each other.
    progress : Progress
        Is warned of kinds that are multiplied, and of frames whose stars tell nothing.
    """
    if not frames:
        return []
    order = sorted(range(len(frames)), key=lambda k: frames[k].survey.digest)
    scaled = _scaled([frames[k] for k in order], [groups[k] for k in order], progress)
    return [frame for _, frame in sorted(zip(order, scaled, strict=True), key=lambda one: one[0])]


def _scaled(frames: Sequence[RegisteredFrame], groups: Sequence[int], progress: Progress) -> list[RegisteredFrame]:
    """Return frames with the factors that bring them to the flux of the commonest kind; say which kinds differ."""
    kinds = [Kind.of(frame) for frame in frames]
    counts = Counter(kinds)
    main, _ = min(counts.items(), key=lambda one: (-one[1], one[0]))
    camera, kind = cameras(frames), numbered(kinds)
    shapes = [frames[int(np.flatnonzero(camera == number)[0])].shape for number in range(camera.max() + 1)]
    told = star_scales(common_stars(frames, groups), camera, shapes, kind)
    own = list(zip(told.component.tolist(), kinds, strict=True))
    usual = _usual_logs(told.log, own)
    factors = {key: _factor(*key, main, usual) for key in set(own)}
    for of in sorted(counts):
        _tell(
            of,
            main,
            counts,
            float(np.median([f for (_, other), f in sorted(factors.items()) if other == of])),
            progress,
        )
    _name_dark(frames, told.log, progress)
    off = [0.0 if math.isnan(log) else log - usual[key] for log, key in zip(told.log, own, strict=True)]
    return [
        replace(frame, factor=factors[key] * math.exp(-log), factor_error=error, flat=told.flats[number])
        for frame, key, log, error, number in zip(frames, own, off, told.error.tolist(), camera, strict=True)
    ]


def _usual_logs(logs: np.ndarray, own: Sequence[tuple[int, Kind]]) -> dict[tuple[int, Kind], float]:
    """Return the usual flux of each set's frames of each kind, in its logarithm, as far as stars tell."""
    known: dict[tuple[int, Kind], list[float]] = {}
    for log, key in zip(logs.tolist(), own, strict=True):
        if not math.isnan(log):
            known.setdefault(key, []).append(log)
    return {key: float(np.median(of)) for key, of in known.items()}


def _factor(component: int, kind: Kind, main: Kind, usual: Mapping[tuple[int, Kind], float]) -> float:
    """Return a kind's factor in a set: by its stars; else by the sets that have both kinds; else by exposures."""
    if (component, kind) in usual and (component, main) in usual:
        return math.exp(usual[component, main] - usual[component, kind])
    seen = [usual[other, main] - log for (other, of), log in usual.items() if of == kind and (other, main) in usual]
    return math.exp(np.median(seen)) if seen else main.over(kind)


def _tell(kind: Kind, main: Kind, counts: Mapping[Kind, int], factor: float, progress: Progress) -> None:
    """Warn where the frames of a kind are multiplied, and where their exposures say otherwise."""
    by_exposure = main.over(kind)
    brighter = kind.like(main) and by_exposure > TOO_BRIGHT * factor
    if abs(math.log(factor)) < SAME_FLUX and not brighter:
        return
    told = f"{counts[kind]} frame{'' if counts[kind] == 1 else 's'} of {kind}: multiplied by {factor:.3g}"
    off = kind.like(main) and abs(math.log(factor / by_exposure)) > SAME_EXPOSURE
    why = "a header that is wrong" if brighter else "clouds, or a header that is wrong"
    doubt = f"; their exposures say {by_exposure:.3g}: {why}" if off else ""
    progress.warn(f"{told} to match the {counts[main]} of {main}{doubt}")


def _name_dark(frames: Sequence[RegisteredFrame], logs: np.ndarray, progress: Progress) -> None:
    """Warn of frames that have too few stars in common with others."""
    alone = [frame.path.name for frame, log in zip(frames, logs, strict=True) if math.isnan(log)]
    if alone and len(frames) > 1:
        names = ", ".join(sorted(alone)[:MOST_NAMED]) + (" ..." if len(alone) > MOST_NAMED else "")
        told = "1 frame has too few stars in common with others, its scale of flux is by exposure"
        if len(alone) > 1:
            told = f"{len(alone)} frames have too few stars in common with others, their scale of flux is by exposure"
        progress.warn(f"{told}: {names}")


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
