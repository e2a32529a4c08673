# SPDX-License-Identifier: GPL-3.0-or-later
import numpy as np
import pytest

from nanstack.stack.sorting_network import comparators


@pytest.mark.parametrize("rows", [*range(1, 41), 100, 257])
def test_comparators_sort(rows):
    """By the 0-1 principle a network that sorts all rows of zeros and ones sorts everything."""
    table = comparators(rows)
    assert ((table[:, 0] < table[:, 1]) & (table[:, 1] < rows)).all()
    bits = np.random.default_rng(rows).random((rows, 500)) < np.linspace(0, 1, 500)
    if rows <= 10:
        bits = (np.arange(2**rows) >> np.arange(rows)[:, None]) & 1
    bits = bits.astype(np.int8)
    for upper, lower in table:
        bits[upper], bits[lower] = np.minimum(bits[upper], bits[lower]), np.maximum(bits[upper], bits[lower])
    assert (np.diff(bits, axis=0) >= 0).all()
