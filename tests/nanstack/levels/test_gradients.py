# SPDX-License-Identifier: GPL-3.0-or-later
"""Conjugate gradients against NumPy's solution."""

import numpy as np
import pytest
import scipy
from hypothesis import given, settings
from hypothesis import strategies as st

from nanstack.levels.gradients import conjugate_gradients
from nanstack.register.regions import Regions

pytestmark = pytest.mark.numpy_bytes


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 999), size=st.integers(1, 30), sides=st.sampled_from([None, 1, 4]))
def test_the_equations_are_solved(seed, size, sides):
    rng = np.random.default_rng(seed)
    root = rng.normal(size=(size, size + 20))
    matrix = np.sum(root[:, np.newaxis] * root, axis=2)
    right = rng.normal(size=size if sides is None else (size, sides))
    own = np.diag(matrix) if sides is None else np.diag(matrix)[:, np.newaxis]
    found = conjugate_gradients(lambda values: np.tensordot(matrix, values, axes=1), right, own, 1e-12)
    np.testing.assert_allclose(found, np.linalg.solve(matrix, right), rtol=1e-6, atol=1e-9)


def test_what_nothing_tells_stays_as_it_was():
    matrix = np.array([[1.0, -1.0], [-1.0, 1.0]])  # the sum of the two is open
    found = conjugate_gradients(
        lambda values: np.tensordot(matrix, values, axes=1), np.array([2.0, -2.0]), np.ones(2), 1e-9
    )
    np.testing.assert_allclose(found, [1, -1])
    nothing = conjugate_gradients(lambda values: 0 * values, np.array([1.0, 2.0]), np.ones(2), 1e-9)
    np.testing.assert_array_equal(nothing, [0, 0])


def test_a_long_chain_takes_as_many_rounds_as_a_short_one_where_regions_move_as_a_whole():
    def rounds(count):
        matrix = scipy.sparse.diags_array(
            [-np.ones(count - 1), np.full(count, 2.0), -np.ones(count - 1)], offsets=[-1, 0, 1]
        )
        spread = scipy.sparse.csr_array(np.kron(np.eye(count // 10), np.ones((10, 1))))
        regions = Regions.of(spread, spread.T @ matrix.tocsr() @ spread)
        right, calls = np.random.default_rng(3).normal(size=count), []

        def effect_of(values):
            calls.append(values)
            return matrix @ values

        found = conjugate_gradients(effect_of, right, matrix.diagonal(), 1e-8, regions)
        np.testing.assert_allclose(found, scipy.sparse.linalg.spsolve(matrix.tocsc(), right), atol=1e-3)
        return len(calls)

    assert rounds(2000) < 1.3 * rounds(100)
