# SPDX-License-Identifier: GPL-3.0-or-later
"""The plot: time per sample against the number of frames."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from in_memory import BORDERS, COMPLETE, ONE_THREAD, OURS
from report import Section

if TYPE_CHECKING:
    from matplotlib.axes import Axes

STYLES = {  # colours of Okabe and Ito, told apart by the colour-blind too
    OURS: ("#D55E00", "o", "-"),
    ONE_THREAD: ("#D55E00", "o", "--"),
    "bottleneck.nanmean": ("#0072B2", "s", "-"),
    "numpy.mean": ("#56B4E9", "v", "-"),
    "numpy.nanmean": ("#009E73", "^", "-"),
    "astropy sigma_clip + nanmean": ("#CC79A7", "D", "-"),
    "ccdproc.Combiner": ("#000000", "X", "-"),
}
SCALING_STYLE = ("#E69F00", ".", ":")
TICKS_X = (10, 20, 30, 50, 100, 200, 300, 500, 1000)
TICKS_Y = (0.5, 1, 2, 5, 10, 20, 50, 100, 200, 500)


def plot(sections: Sequence[Section], path: Path) -> bool:
    """Draw ns/sample against n, frames with NaN borders left, complete ones right.

    Returns
    -------
    bool
        False where nothing was measured that could be drawn.

    Raises
    ------
    ImportError
        Where matplotlib is missing.
    """
    rows = {section.name: section.rows for section in sections}
    if not rows.get("memory"):
        return False
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, 2, figsize=(13, 6), sharey=True, layout="constrained")
    for axis, kind in zip(axes, (BORDERS, COMPLETE), strict=True):
        _draw_stacks(axis, [row for row in rows["memory"] if row["data"] == kind])
        axis.set_title(f"frames with {BORDERS}" if kind == BORDERS else f"{COMPLETE} frames")
    _draw_scaling(axes[0], [row for row in rows.get("scaling", ()) if row["by"] == "n"])
    for axis in axes:
        _dress(axis)
    axes[0].set_ylabel("ns per sample")
    lines = {line.get_label(): line for axis in axes for line in axis.get_lines()}
    figure.legend(lines.values(), lines.keys(), loc="outside lower center", ncols=4, frameon=False)
    figure.suptitle("Stack of n float32 colour frames in memory: time per sample (lower is faster)")
    figure.savefig(path, dpi=120)
    pyplot.close(figure)
    return True


def _draw_stacks(axis: Axes, rows: list[dict]) -> None:
    for name, (colour, marker, line) in STYLES.items():
        mine = [row for row in rows if row["name"] == name]
        if mine:
            n, ns = [row["n"] for row in mine], [row["ns"] for row in mine]
            width = 2.4 if name == OURS else 1.4
            axis.plot(n, ns, color=colour, marker=marker, linestyle=line, linewidth=width, label=name)


def _draw_scaling(axis: Axes, rows: list[dict]) -> None:
    if rows:
        colour, marker, line = SCALING_STYLE
        label = f"{OURS}, as many samples for every n"
        n, ns = [row["n"] for row in rows], [row["ns"] for row in rows]
        axis.plot(n, ns, color=colour, marker=marker, linestyle=line, label=label)


def _dress(axis: Axes) -> None:
    from matplotlib.ticker import FixedLocator, NullLocator, StrMethodFormatter

    for scale, dimension, ticks in ((axis.set_xscale, axis.xaxis, TICKS_X), (axis.set_yscale, axis.yaxis, TICKS_Y)):
        low, high = dimension.get_data_interval()
        scale("log")
        dimension.set_major_locator(FixedLocator([tick for tick in ticks if low / 2 <= tick <= high * 2]))
        dimension.set_major_formatter(StrMethodFormatter("{x:g}"))
        dimension.set_minor_locator(NullLocator())
    axis.set_xlabel("n, frames")
    axis.grid(alpha=0.3)
    axis.spines[["top", "right"]].set_visible(False)
