# SPDX-License-Identifier: GPL-3.0-or-later
"""Plots of frames over time: from numbers to places on paper, which `templates/plot.svg.j2` draws."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from zemosaic_patch.report.kinds import Values
from zemosaic_patch.report.text import shown
from zemosaic_patch.report.told import Frame

WIDTH, HEIGHT = 340, 150  # the SVG's own units, about CSS pixels
LEFT, RIGHT, TOP, BOTTOM = 46, 10, 10, 24  # margins
TINY = 1e-9  # no difference in a frame's figures that is smaller matters
NAMED = 300  # of more frames than this no point tells its name: thousands of titles slow a browser down


@dataclass(frozen=True)
class Quantity:
    """What is plotted of frames: title, unit, the attributes of a frame and of its error, names of its components."""

    title: str
    unit: str
    attribute: str
    parts: tuple[str, ...] = ()
    error: str = ""


COLOURS = ("R", "G", "B")
QUANTITIES = (
    Quantity("Star width (FWHM)", "px", "fwhm_px"),
    Quantity("Star elongation", "", "elongation"),
    Quantity("Stars used", "", "stars_used"),
    Quantity("Error of star places (rms)", "px", "rms_px"),
    Quantity("Sky level", "ADU", "sky_adu", COLOURS),
    Quantity("Level added", "ADU", "added_adu", COLOURS),
    Quantity("Noise", "ADU", "noise_adu", COLOURS),
    Quantity("Transparency", "of a clear frame", "transparency", error="transparency_error"),
    Quantity("Weight", "", "weight"),
)


@dataclass(frozen=True)
class Mark:
    """A place on the paper, and the text that belongs there."""

    x: float
    y: float
    text: str


@dataclass(frozen=True)
class Line:
    """One component of a quantity: its name, CSS class, path, points (without these the path has dots), error bars."""

    name: str
    css: str
    path: str
    points: tuple[Mark, ...]
    bars: str = ""


@dataclass(frozen=True)
class Plot:
    """A quantity over the sequence of frames.

    Attributes
    ----------
    title, unit : str
    summary : str
        The plot in words.
    levels, numbers : tuple of Mark
        Labels of the grid's lines, and below the axis.
    lines : tuple of Line
    gaps : tuple of Mark
        Frames without the quantity; of many frames none is marked.
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
    """One component of a quantity, frame by frame, with its errors; empty where it has no name of its own."""

    name: str
    values: Values
    errors: Values

    def within(self, sign: int) -> Values:
        """Return its values less their errors, or with them; those without an error as they are."""
        pairs = zip(self.values, self.errors, strict=True)
        return tuple(value if None in (value, error) else value + sign * error for value, error in pairs)


def plots_of(frames: Sequence[Frame]) -> tuple[list[Plot], list[str]]:
    """Return the plots of frames in the order of their dates, and the titles of the quantities that no frame has."""
    frames = sorted(frames, key=lambda frame: frame.date)
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
    of_all: list[Values] = [getattr(frame, quantity.error) if quantity.error else (None,) for frame in frames]
    errors = tuple(own[0] for own in of_all)
    return [
        _Component(name, values, errors)
        for name, values in zip(names, columns, strict=False)
        if any(value is not None for value in values)
    ]


def _plot(quantity: Quantity, components: Sequence[_Component], frames: Sequence[Frame]) -> Plot:
    """Return the plot of a quantity over frames: levels, lines with their error bars, and what was not measured."""
    known = [value for component in components for value in component.values if value is not None]
    ends = [value for one in components for sign in (-1, 1) for value in one.within(sign) if value is not None]
    levels = ticks(min(ends), max(ends))
    across = (WIDTH - LEFT - RIGHT) / len(frames)
    down = (HEIGHT - TOP - BOTTOM) / (levels[-1] - levels[0])
    xs = [LEFT + across * (index + 0.5) for index in range(len(frames))]
    named = len(frames) <= NAMED

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
        there = tuple(mark for mark in points if mark is not None)
        path = _path(points) if named else _dots(there)
        ends = zip(xs, component.values, component.within(-1), component.within(1), strict=True)
        bars = "".join(f"M{x:.1f} {y(low):.1f}V{y(high):.1f}" for x, value, low, high in ends if low != value)
        return Line(name, _css_class(name, order), path, there if named else (), bars)

    low, high = shown(min(known)), shown(max(known))
    missing = [index for index in range(len(frames)) if all(part.values[index] is None for part in components)]
    return Plot(
        title=quantity.title,
        unit=quantity.unit,
        summary=f"{quantity.title} of {len(frames)} frames: {low} to {high} {quantity.unit}",
        levels=tuple(Mark(LEFT - 6, y(level), shown(level, digits=6)) for level in levels),
        numbers=_numbers(xs),
        lines=tuple(line(order, component) for order, component in enumerate(components)),
        gaps=tuple(
            Mark(xs[index], HEIGHT - BOTTOM - 6, f"{frames[index].name}: not measured") for index in missing if named
        ),
    )


def _css_class(name: str, order: int) -> str:
    """Return the CSS class of a component: colours have their own, others come in order."""
    return f"s{name}" if name in COLOURS else f"s{order}"


def _numbers(xs: Sequence[float]) -> tuple[Mark, ...]:
    """Return the labels below the axis: the first and the last frame's number."""
    if len(xs) < 2:
        return ()
    labels = {xs[0]: "1", (LEFT + WIDTH - RIGHT) / 2: "frame, by time", xs[-1]: str(len(xs))}
    return tuple(Mark(x, HEIGHT - 8, label) for x, label in labels.items())


def _path(points: Sequence[Mark | None]) -> str:
    """Return an SVG path through the points, broken where one is missing."""
    return "".join(
        f"{'M' if before is None else 'L'}{point.x:.1f} {point.y:.1f}"
        for before, point in zip([None, *points], points, strict=False)
        if point is not None
    )


def _dots(points: Sequence[Mark]) -> str:
    """Return an SVG path of dots, each place once."""
    return "".join(dict.fromkeys(f"M{point.x:.0f} {point.y:.0f}h0" for point in points))


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
