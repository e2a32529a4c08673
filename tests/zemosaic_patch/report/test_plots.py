# SPDX-License-Identifier: GPL-3.0-or-later
"""Plots of frames: the axis, the line, the gaps."""

import dataclasses
import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from zemosaic_patch.report.plots import BOTTOM, HEIGHT, LEFT, RIGHT, TOP, WIDTH, plots_of, ticks
from zemosaic_patch.report.told import Frame

NOTHING = Frame("a.fit", "", (), *([(None,)] * 11))


@given(st.floats(-1e6, 1e6), st.floats(0, 1e6))
def test_ticks_enclose_the_range_evenly(low, width):
    marks = ticks(low, low + width)
    steps = np.diff(marks)
    assert 2 <= len(marks) <= 6
    slack = 1e-9 * max(abs(low), abs(low + width))
    assert marks[0] <= low + slack
    assert marks[-1] >= low + width - slack
    assert steps.min() > 0
    np.testing.assert_allclose(steps, steps[0], rtol=1e-5)


def test_points_lie_on_the_paper_where_their_values_are():
    frames = [dataclasses.replace(NOTHING, fwhm_px=(value,)) for value in (2.0, 4.0, 3.0)]
    (plot,), absent = plots_of(frames)
    assert plot.title == "Star width (FWHM)"
    assert "Sky level" in absent
    assert len(absent) == 8
    (line,) = plot.lines
    assert [point.x for point in line.points] == sorted(point.x for point in line.points)
    assert all(LEFT < point.x < WIDTH - RIGHT and TOP <= point.y <= HEIGHT - BOTTOM for point in line.points)
    low, high, middle = (point.y for point in line.points)
    assert low > high  # paper counts downwards
    assert middle == (low + high) / 2
    assert line.points[1].text == "a.fit:  4 px"


def test_components_have_the_colours_of_their_channels_and_a_frame_without_any_is_a_gap():
    frames = [
        dataclasses.replace(NOTHING, sky_adu=(1.0, None, 3.0)),
        dataclasses.replace(NOTHING, name="b.fit"),
    ]
    (plot,), _ = plots_of(frames)
    assert [(line.name, line.css, len(line.points)) for line in plot.lines] == [("R", "sR", 1), ("B", "sB", 1)]
    assert [gap.text for gap in plot.gaps] == ["b.fit: not measured"]


def test_error_bars_reach_as_far_up_as_down():
    frames = [
        dataclasses.replace(NOTHING, transparency=(value,), transparency_error=(error,))
        for value, error in ((1.0, 0.1), (0.5, None), (0.7, 0.2))
    ]
    (plot,), _ = plots_of(frames)
    (line,) = plot.lines
    ends = [[float(y) for y in re.findall(r"[ V](\d+\.\d)", bar)] for bar in line.bars.split("M")[1:]]
    (low, high), (lower, higher) = ends
    first, _, last = (point.y for point in line.points)
    assert ((low + high) / 2, (lower + higher) / 2) == pytest.approx((first, last), abs=0.11)
    assert (lower - higher) / (low - high) == pytest.approx(2, abs=0.02)
    assert all(TOP <= y <= HEIGHT - BOTTOM for y in (low, high, lower, higher)), "the axis holds them"


def test_no_frames_no_plots():
    plots, absent = plots_of([])
    assert plots == []
    assert len(absent) == 9


def test_of_many_frames_each_place_is_one_dot():
    frames = [dataclasses.replace(NOTHING, fwhm_px=(float(index % 2),)) for index in range(10 * WIDTH)]
    (plot,), _ = plots_of(frames)
    (line,) = plot.lines
    assert line.points == ()
    across = WIDTH - LEFT - RIGHT
    assert line.path.count("M") == line.path.count("h0") == pytest.approx(2 * across, abs=4)
