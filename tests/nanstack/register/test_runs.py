# SPDX-License-Identifier: GPL-3.0-or-later
"""Figures of runs of numbers, held to those of each run by itself."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from nanstack.register.runs import medians, ranges, ranks, sums

numbers = st.lists(st.floats(-1e6, 1e6), max_size=7)


@given(st.lists(numbers, max_size=9))
def test_figures_of_many_runs_are_those_of_each(runs):
    run = np.repeat(np.arange(len(runs)), [len(one) for one in runs]).astype(int)
    values = np.array([value for one in runs for value in one])
    found = medians(values, run, len(runs))
    np.testing.assert_array_equal(found, [np.median(one) if one else np.nan for one in runs])
    both = sums(np.stack([values, -values]), run, len(runs))
    np.testing.assert_allclose(both, np.outer([1, -1], [sum(one) for one in runs]), atol=1e-6)
    assert ranks(run).tolist() == [place for one in runs for place in range(len(one))]


@given(st.lists(st.tuples(st.integers(0, 50), st.integers(0, 5)), max_size=9))
def test_ranges_are_those_of_each_run(runs):
    first, counts = np.array(runs, dtype=int).reshape(-1, 2).T
    values, run = ranges(first, counts)
    assert values.tolist() == [value for begin, count in runs for value in range(begin, begin + count)]
    assert run.tolist() == [number for number, (_, count) in enumerate(runs) for _ in range(count)]
