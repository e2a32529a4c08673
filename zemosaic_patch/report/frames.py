# SPDX-License-Identifier: GPL-3.0-or-later
"""What is known of each frame of a result."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from nanstack.levels.flux import Kind
from nanstack.levels.sample_noise import sky_of
from nanstack.register.transparency import CLEAR
from zemosaic_patch.report.pixels import Corners

if TYPE_CHECKING:
    from nanstack.canvas import Canvas
    from nanstack.levels.placed import PlacedFrame
    from nanstack.register.registered import RegisteredFrame
    from nanstack.survey.trails import Trail


@dataclass(frozen=True)
class TrailTold:
    """A trail of a satellite or an aircraft in a frame.

    Attributes
    ----------
    ends : tuple of (float, float)
        In pixels of the picture; empty where it shows one of them nowhere.
    length_px, width_px : float
        In the frame.
    light_sigma : float
        Its brightest, across it, over the noise of a photosite.
    """

    ends: Corners
    length_px: float
    width_px: float
    light_sigma: float

    @classmethod
    def of(cls, trail: Trail, placed: PlacedFrame, canvas: Canvas, upside_down: bool) -> TrailTold:
        """Return what is to be told of a trail."""
        ends = np.array([trail.x0, trail.x1]), np.array([trail.y0, trail.y1])
        places = _in_picture(*ends, placed, canvas, upside_down)
        return cls(places, round(trail.length, 1), round(2 * trail.half_width, 1), _rounded(trail.light, 3))


@dataclass(frozen=True)
class StackedFrame:
    """A frame of a result; None is what was not measured. A tuple has a number a colour.

    Attributes
    ----------
    name, date : str
        The date as the header has it.
    exposure_s : float or None
    stars_found, stars_used : int
        The latter by the registration.
    rms_px : float or None
        How far these lie from where the others have them.
    fwhm_px, elongation : float or None
        Width of the stars; their longer axis over the shorter one.
    sky_adu, noise_adu : tuple of float
        The frame's own, before its gain.
    transparency : float or None
        Its stars' flux over that in a clear frame of the same exposure and camera.
    transparency_error : float or None
        Its standard error.
    gain : tuple of float
        What its samples were multiplied by.
    added_adu : tuple of float
        What was added then, in its middle.
    weight : float
        1 is the usual frame.
    corners : tuple of (float, float)
        In pixels of the picture.
    trails : tuple of TrailTold
        What lies on them is left out where another frame shows the place.
    """

    name: str
    date: str
    exposure_s: float | None
    stars_found: int
    stars_used: int
    rms_px: float | None
    fwhm_px: float | None
    elongation: float | None
    sky_adu: tuple[float | None, ...]
    noise_adu: tuple[float | None, ...]
    transparency: float | None
    transparency_error: float | None
    gain: tuple[float, ...]
    added_adu: tuple[float | None, ...]
    weight: float
    corners: Corners
    trails: tuple[TrailTold, ...] = ()

    @classmethod
    def of(cls, placed: PlacedFrame, canvas: Canvas, *, name: str, clear: float, upside_down: bool) -> StackedFrame:
        """Return what is to be told of a frame; `clear` is the flux of a clear frame of its kind."""
        frame, survey, level = placed.frame, placed.frame.survey, placed.level
        middle = frame.view.directions(*np.array([[(side - 1) / 2] for side in frame.shape[1::-1]]))
        x, y = (float(at[0] - start) for at, start in zip(canvas.view.pixels(middle), canvas.origin, strict=True))
        return cls(
            name=name,
            date=frame.facts.date,
            exposure_s=frame.facts.exposure,
            stars_found=len(survey.stars),
            stars_used=frame.stars,
            rms_px=_rounded(frame.rms, 4),
            fwhm_px=_rounded(survey.stars.fwhm, 4),
            elongation=_rounded(survey.elongation, 4),
            sky_adu=_colours(np.atleast_1d(sky_of(frame))),
            noise_adu=_colours(np.atleast_1d(survey.noise)),
            transparency=_rounded(_flux(frame) / clear, 4),
            transparency_error=_rounded(_flux(frame) / clear * frame.factor_error, 2),
            gain=_colours(placed.gain),
            added_adu=_colours(level.at(x, y)),
            weight=_rounded(placed.weight, 5),
            corners=_corners(placed, canvas, upside_down),
            trails=tuple(TrailTold.of(trail, placed, canvas, upside_down) for trail in placed.trails),
        )

    @classmethod
    def all_of(
        cls, placed: Sequence[PlacedFrame], canvas: Canvas, names: Mapping[Path, str], *, upside_down: bool
    ) -> tuple[StackedFrame, ...]:
        """Return what is to be told of frames, whose files have such names, in the order of these."""
        clear = _clear_flux(placed)
        return tuple(
            cls.of(one, canvas, name=names[one.frame.path], clear=clear[Kind.of(one.frame)], upside_down=upside_down)
            for one in sorted(placed, key=lambda one: names[one.frame.path])
        )


def _corners(placed: PlacedFrame, canvas: Canvas, upside_down: bool) -> Corners:
    """Return where a frame's corners lie in the picture, counted from the corner of its first pixel."""
    height, width = placed.frame.shape[:2]
    edges = np.array([-0.5, width - 0.5, width - 0.5, -0.5]), np.array([-0.5, -0.5, height - 0.5, height - 0.5])
    return _in_picture(*edges, placed, canvas, upside_down)


def _in_picture(x: np.ndarray, y: np.ndarray, placed: PlacedFrame, canvas: Canvas, upside_down: bool) -> Corners:
    """Return where a frame's pixels lie in the picture; nothing where one of them lies nowhere."""
    x, y = canvas.view.pixels(placed.frame.view.directions(x, y))
    y = canvas.shape[0] - 1 - y if upside_down else y
    places = np.column_stack([x + 0.5, y + 0.5])
    return tuple(map(tuple, np.round(places, 1).tolist())) if np.isfinite(places).all() else ()


def _flux(frame: RegisteredFrame) -> float:
    """Return what a frame shows of a star's flux in the usual one; NaN where its stars do not tell."""
    return 1 / frame.factor if np.isfinite(frame.factor_error) else np.nan


def _clear_flux(placed: Sequence[PlacedFrame]) -> dict[Kind, float]:
    """Return the flux of a clear frame of each kind."""
    fluxes: dict[Kind, list[float]] = {}
    for one in placed:
        fluxes.setdefault(Kind.of(one.frame), []).append(_flux(one.frame))
    known_ones = {kind: [flux for flux in of if flux > 0] for kind, of in fluxes.items()}
    return {kind: float(np.percentile(of, CLEAR)) if of else np.nan for kind, of in known_ones.items()}


def _rounded(value: float, digits: int) -> float | None:
    return float(f"{value:.{digits}g}") if np.isfinite(value) else None


def _colours(values: np.ndarray) -> tuple[float | None, ...]:
    return tuple(_rounded(value, 6) for value in values.tolist())
