# SPDX-License-Identifier: GPL-3.0-or-later
"""Options of a master tile that live in other modules of ZeMosaic: used where those can be imported.

Quality crop and alt-az clean-up belong to `lecropper`, the quality gate to `zequalityMT`. Where one is asked for and
its module is missing, one WARN names it and the tile is made without.
"""

from __future__ import annotations

import importlib
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import numpy as np

Box = tuple[int, int, int, int]  # y0, x0, y1, x1


@dataclass(frozen=True)
class CropLimits:
    """How ZeMosaic's quality crop looks at a tile: see `lecropper.detect_autocrop_rgb`."""

    band_px: int
    k_sigma: float
    margin_px: int


@dataclass(frozen=True)
class AltazLimits:
    """How ZeMosaic's alt-az clean-up looks at a tile: see `lecropper.mask_altaz_artifacts`."""

    margin_percent: float
    decay: float


@dataclass(frozen=True)
class GateLimits:
    """Which score ZeMosaic's quality gate accepts, and how it looks at a tile: see `zequalityMT.quality_metrics`."""

    threshold: float
    edge_band_px: int
    k_sigma: float
    erode_px: int


@dataclass(frozen=True)
class Verdict:
    """What the quality gate says of a tile: its score, 0 is good, and whether it is accepted."""

    score: float
    accepted: bool


def optional_module(name: str, option: str, report: Callable) -> ModuleType | None:
    """Import one of ZeMosaic's modules; where it is missing, say which option goes without it."""
    try:
        return importlib.import_module(name)
    except ImportError as missing:
        report(f"option '{option}' skipped: module {name} cannot be imported ({missing})", None, "WARN")
        return None


def quality_crop_box(image: np.ndarray, limits: CropLimits, report: Callable) -> Box | None:
    """Return the box of what `lecropper.detect_autocrop_rgb` would keep; None where it keeps all, or fails.

    Parameters
    ----------
    image : ndarray of float32, shape (H, W, 3)
    limits : CropLimits
    report : callable
        ``report(message, progress, level)``.
    """
    lecropper = optional_module("lecropper", "quality crop", report)
    if lecropper is None:
        return None
    seen = np.where(np.isfinite(image), image, 0.0).astype(np.float32)  # a copy to measure on: lecropper wants numbers
    try:
        box = lecropper.detect_autocrop_rgb(
            seen.mean(axis=2),
            *(seen[..., channel] for channel in range(3)),
            band_px=max(4, int(limits.band_px)),
            k_sigma=float(limits.k_sigma),
            margin_px=max(0, int(limits.margin_px)),
        )
        y0, x0, y1, x1 = (int(edge) for edge in box)
    except (AttributeError, TypeError, ValueError, IndexError) as failure:
        report(f"quality crop skipped: lecropper failed ({failure})", None, "WARN")
        return None
    height, width = image.shape[:2]
    if not (0 <= y0 < y1 <= height and 0 <= x0 < x1 <= width) or (y0, x0, y1, x1) == (0, 0, height, width):
        return None
    return y0, x0, y1, x1


def altaz_mask(image: np.ndarray, coverage: np.ndarray, limits: AltazLimits, report: Callable) -> np.ndarray | None:
    """Return the opacity (0 to 1) that `lecropper.mask_altaz_artifacts` gives each pixel; None where it fails.

    Parameters
    ----------
    image : ndarray of float32, shape (H, W, 3)
    coverage : ndarray of int, shape (H, W)
    limits : AltazLimits
    report : callable
    """
    lecropper = optional_module("lecropper", "AltAz cleanup", report)
    if lecropper is None:
        return None
    try:
        _, mask = lecropper.mask_altaz_artifacts(
            image,
            margin_percent=float(limits.margin_percent),
            decay_ratio=float(limits.decay),
            fill_value=None,
            return_mask=True,
            coverage=coverage.astype(np.float32),
        )
        mask = np.asarray(mask, dtype=np.float32)
    except (AttributeError, TypeError, ValueError) as failure:
        report(f"AltAz cleanup skipped: lecropper failed ({failure})", None, "WARN")
        return None
    return mask if mask.shape == coverage.shape else None


def quality_gate(image: np.ndarray, limits: GateLimits, report: Callable) -> Verdict | None:
    """Return the score of `zequalityMT.quality_metrics` and whether it accepts the tile; None where it fails."""
    module = optional_module("zequalityMT", "quality gate", report)
    if module is None:
        return None
    try:
        metrics = module.quality_metrics(
            np.array(image, dtype=np.float32),
            edge_band=max(8, int(limits.edge_band_px)),
            k_sigma=max(0.0, float(limits.k_sigma)),
            erode_px=max(0, int(limits.erode_px)),
        )
        score = float(metrics["score"])
        spared = bool(module._accept_override(metrics, float(limits.threshold)))
    except (AttributeError, TypeError, ValueError, KeyError, IndexError) as failure:
        report(f"quality gate skipped: zequalityMT failed ({failure})", None, "WARN")
        return None
    return Verdict(score, spared or (math.isfinite(score) and score <= float(limits.threshold)))


def move_reject(path: Path) -> Path:
    """Move a rejected tile into the folder `rejected_by_quality` beside it, under a name that is free."""
    folder = path.parent / "rejected_by_quality"
    folder.mkdir(exist_ok=True)
    target, number = folder / path.name, 0
    while target.exists():
        number += 1
        target = folder / f"{path.stem}_{number}{path.suffix}"
    return path.replace(target)
