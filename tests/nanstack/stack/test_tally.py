# SPDX-License-Identifier: GPL-3.0-or-later
"""What strips add up to, however they were cut."""

import numpy as np
import pytest

from nanstack.stack.stacked import StackedCell
from nanstack.stack.tally import Tally


@pytest.mark.parametrize("height", [1, 7, 40])
def test_strips_pass_through_and_are_counted(height):
    coverage = np.random.default_rng(3).integers(0, 9, (40, 30)).astype(np.uint16)
    coverage[17, 5] = 12
    nothing = np.zeros((height, 30), np.float32)
    parts = [(top, coverage[top : top + height]) for top in range(0, 40, height)]
    given = [(top, StackedCell(nothing, part, nothing, nothing, 2, 400)) for top, part in parts]
    tally = Tally()
    assert list(tally.over(given)) == given
    assert np.array_equal(tally.coverage, np.bincount(coverage.ravel()))
    cards = {name: value for name, (value, _) in tally.cards().items()}
    assert cards == {"NPA_COVX": 12, "NPA_COVM": np.median(coverage[coverage > 0]), "NPA_REJP": 0.5}


def test_holes_are_told_as_a_share_of_what_frames_saw():
    one, nothing = np.ones((10, 30), np.uint16), np.zeros((10, 30), np.float32)
    one[:, :2] = 0
    tally = Tally()
    list(tally.over([(0, StackedCell(nothing, one, nothing, nothing, 0, 900, holes=20))]))
    assert tally.cards()["NPA_HOLE"][0] == pytest.approx(100 * 20 / 300, abs=1e-4)


def test_a_stack_of_nothing_says_so():
    assert Tally().cards() == {"NPA_COVX": (0, "most frames in a pixel")}
