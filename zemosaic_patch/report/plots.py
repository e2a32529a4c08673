# SPDX-License-Identifier: GPL-3.0-or-later
"""Plots of a tile's frames: from numbers to places on paper, which `templates/plot.svg.j2` draws."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from zemosaic_patch.report.text import shown
from zemosaic_patch.report.told import Frame, Values

WIDTH, HEIGHT = 340, 150  # the SVG's own units, about CSS pixels
LEFT, RIGHT, TOP, BOTTOM = 46, 10, 10, 24  # margins
TINY = 1e-9  # no difference in a frame's figures that is smaller matters


@dataclass(frozen=True)
class Quantity:
    """What is plotted of a tile's frames: title, unit, the attribute of a frame, names of its components."""

    title: str
    unit: str
    attribute: str
    parts: tuple[str, ...] = ()


QUANTITIES = (
    Quantity("Sky level", "ADU", "sky_adu", ("R", "G", "B")),
    Quantity("Sky offset to the reference", "ADU", "sky_offset_adu", ("R", "G", "B")),
    Quantity("Stars found", "", "stars_found"),
    Quantity("Star width (FWHM)", "px", "fwhm_px"),
    Quantity("Alignment rms", "px", "rms_px"),
    Quantity("Shift", "px", "shift_px", ("x", "y")),
    Quantity("Rotation", "°", "rotation_deg"),
    Quantity("Weight", "", "weight", ("R", "G", "B")),
)


@dataclass(frozen=True)
class Mark:
    """A place on the paper, and the text that belongs there."""

    x: float
    y: float
    text: str


@dataclass(frozen=True)
class Line:
    """One component of a quantity: its name, its CSS class, the path of its line, its points."""

    name: str
    css: str
    path: str
    points: tuple[Mark, ...]


@dataclass(frozen=True)
class Plot:
    """A quantity over the sequence of a tile's frames.

    Attributes
    ----------
    title, unit : str
    summary : str
        The plot in words.
    levels, numbers : tuple of Mark
        Labels of the grid's lines, and below the axis.
    lines : tuple of Line
    gaps : tuple of Mark
        Frames without the quantity, and why.
    """

    title: str
    unit: str
    summary: str
    levels: tuple[Mark, ...]
    numbers: tuple[Mark, ...]
    lines: tuple[Line, ...]
    gaps: tuple[Mark, ...]


@dataclass(frozen=True)
class _Component:
    """One component of a quantity, frame by frame; empty where it has no name of its own."""

    name: str
    values: Values


def plots_of(frames: Sequence[Frame]) -> tuple[list[Plot], list[str]]:
    """Return the plots of a tile's frames, and the titles of the quantities that no frame has."""
    plots, absent = [], []
    for quantity in QUANTITIES:
        components = _components(frames, quantity)
        if components:
            plots.append(_plot(quantity, components, frames))
        else:
            absent.append(quantity.title)
    return plots, absent


def _components(frames: Sequence[Frame], quantity: Quantity) -> list[_Component]:
    """Return a quantity's components that some frame has."""
    rows: list[Values] = [getattr(frame, quantity.attribute) for frame in frames]
    count = min(max(map(len, rows), default=0), max(1, len(quantity.parts)))
    names = quantity.parts if count > 1 else ("",)
    columns = [tuple(row[part] if part < len(row) else None for row in rows) for part in range(count)]
    return [
        _Component(name, values)
        for name, values in zip(names, columns, strict=False)
        if any(value is not None for value in values)
    ]


def _plot(quantity: Quantity, components: Sequence[_Component], frames: Sequence[Frame]) -> Plot:
    known = [value for component in components for value in component.values if value is not None]
    levels = ticks(min(known), max(known))
    across = (WIDTH - LEFT - RIGHT) / len(frames)
    down = (HEIGHT - TOP - BOTTOM) / (levels[-1] - levels[0])
    xs = [LEFT + across * (index + 0.5) for index in range(len(frames))]

    def y(value: float) -> float:
        return TOP + down * (levels[-1] - value)

    def point(x: float, value: float, frame: Frame, name: str) -> Mark:
        return Mark(x, y(value), f"{frame.name}: {name} {shown(value)} {quantity.unit}")

    def line(order: int, component: _Component) -> Line:
        name = component.name
        points = [
            None if value is None else point(x, value, frame, name)
            for x, value, frame in zip(xs, component.values, frames, strict=True)
        ]
        return Line(name, _css_class(name, order), _path(points), tuple(mark for mark in points if mark is not None))

    low, high = shown(min(known)), shown(max(known))
    return Plot(
        title=quantity.title,
        unit=quantity.unit,
        summary=f"{quantity.title} of {len(frames)} frames: {low} to {high} {quantity.unit}",
        levels=tuple(Mark(LEFT - 6, y(level), shown(level, digits=6)) for level in levels),
        numbers=_numbers(xs),
        lines=tuple(line(order, component) for order, component in enumerate(components)),
        gaps=tuple(
            Mark(x, HEIGHT - BOTTOM - 6, f"{frame.name}: {frame.reason or 'not measured'}")
            for index, (x, frame) in enumerate(zip(xs, frames, strict=True))
            if all(component.values[index] is None for component in components)
        ),
    )


def _css_class(name: str, order: int) -> str:
    """Return the CSS class of a component: channels have their colours, others come in order."""
    return f"s{name}" if name in ("R", "G", "B") else f"s{order}"


def _numbers(xs: Sequence[float]) -> tuple[Mark, ...]:
    """Return the labels below the axis: the first and the last frame's number."""
    if len(xs) < 2:
        return ()
    labels = {xs[0]: "1", (LEFT + WIDTH - RIGHT) / 2: "frame", xs[-1]: str(len(xs))}
    return tuple(Mark(x, HEIGHT - 8, label) for x, label in labels.items())


def _path(points: Sequence[Mark | None]) -> str:
    """Return an SVG path through the points, broken where one is missing."""
    return "".join(
        f"{'M' if before is None else 'L'}{point.x:.1f} {point.y:.1f}"
        for before, point in zip([None, *points], points, strict=False)
        if point is not None
    )


def ticks(low: float, high: float) -> list[float]:
    """Return two to six round numbers, evenly spaced, that enclose the range."""
    size = max(abs(low), abs(high))
    if high - low <= 1e-6 * size + TINY:  # a constant still needs an axis
        pad = 0.1 * size if size > TINY else 1.0
        low, high = low - pad, high + pad
    coarse = (high - low) / 4
    decade = 10.0 ** math.floor(math.log10(coarse))
    step = next(factor * decade for factor in (1, 2, 2.5, 5, 10) if factor * decade >= coarse)
    return [index * step for index in range(math.floor(low / step), math.ceil(high / step) + 1)]
