# SPDX-License-Identifier: GPL-3.0-or-later
"""The compiled kernels against the definitions: every method, combine and weight, on columns of every kind."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nanstack.stack.definition import COMBINES, METHODS, Rejection, stack_block

pytestmark = pytest.mark.numpy_bytes

numba = pytest.importorskip("numba", reason="Numba is not installed: there are no kernels to test")
kernels = pytest.importorskip("nanstack.stack.numba_kernels")

ROUNDING = 2.4e-7  # of a column's scale: an ulp or two of float32


def stacked(samples, rejection, combine="mean", weights=None):
    pixels = samples.shape[1]
    image, coverage, rejected = (np.empty(pixels, kind) for kind in (np.float32, np.uint16, np.uint16))
    kernels.stack_columns(samples, rejection, combine, weights, image, coverage, rejected)
    return image, coverage, rejected


def assert_equal_to_definition(samples, rejection, combine, weights):
    image, coverage, rejected = stacked(samples, rejection, combine, weights)
    spread = weights
    if weights is not None and 1 < weights.shape[1] < samples.shape[1]:
        spread = weights[:, np.arange(samples.shape[1]) % weights.shape[1]]
    truth = stack_block(samples, rejection, combine, spread)
    assert np.array_equal(coverage, truth.coverage)
    assert np.array_equal(rejected, truth.rejected)
    assert np.array_equal(np.isnan(image), np.isnan(truth.image))
    finite = np.isfinite(samples)
    scale = np.where(finite, np.abs(samples), 0).max(axis=0).astype(np.float64)
    error = np.abs(image.astype(np.float64) - truth.image)
    assert np.all(error[~np.isnan(error)] <= (ROUNDING * scale + 1.5e-45)[~np.isnan(error)])


def columns(kind, n, pixels, rng):
    """Return columns of a kind, with outliers and holes."""
    samples = {
        "random": lambda: rng.normal(1000, 10, (n, pixels)),
        "tied": lambda: rng.integers(0, 6, (n, pixels)),
        "constant": lambda: np.full((n, pixels), 0.1),
        "huge": lambda: rng.choice([-1e38, 1e38, 5.0], (n, pixels)),
        "denormal": lambda: rng.integers(0, 5, (n, pixels)) * 1e-45,
    }[kind]()
    samples = samples.astype(np.float32)
    if kind in ("random", "tied"):
        samples[rng.random(samples.shape) < 0.02] *= 30
    samples[rng.random(samples.shape) < 0.2] = np.nan
    samples[rng.random(samples.shape) < 0.01] = np.inf
    samples[:, :7] = np.nan
    samples[: n // 2, 7:30] = np.nan
    return samples


@pytest.mark.parametrize("n", [1, 2, 3, 4, 5, 8, 13, 30, 64, 65, 200, 257])
@pytest.mark.parametrize("kind", ["random", "tied", "constant", "huge", "denormal"])
def test_kernels_equal_the_definitions(n, kind):
    rng = np.random.default_rng([n, len(kind)])
    pixels = 201
    samples = columns(kind, n, pixels, rng)
    kinds_of_weights = (
        None,
        rng.uniform(0, 2, (n, 1)),
        rng.uniform(0, 2, (n, 3)),
        rng.integers(0, 3, (n, pixels)).astype(np.float64),
    )
    for method, combine, weights in itertools.product(METHODS, COMBINES, kinds_of_weights):
        for rewinsor in (True, False) if method == "winsor" else (True,):
            rejection = Rejection(method, 2.0, 2.5, 0.1, 0.07, rewinsor)
            assert_equal_to_definition(samples, rejection, combine, weights)


@pytest.mark.parametrize("method", METHODS)
def test_two_thousand_frames(method):
    samples = columns("random", 2000, 40, np.random.default_rng(1))
    assert_equal_to_definition(samples, Rejection(method), "mean", None)


@pytest.mark.parametrize("kappas", [(0.0, 3.0), (np.inf, 2.0), (np.inf, np.inf), (0.5, 0.0)])
@pytest.mark.parametrize("method", METHODS)
def test_extreme_kappas(method, kappas):
    rng = np.random.default_rng(2)
    for kind in ("random", "tied"):
        assert_equal_to_definition(columns(kind, 9, 77, rng), Rejection(method, *kappas), "mean", None)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    st.lists(
        st.lists(st.one_of(st.floats(width=32), st.integers(-4, 4).map(float)), min_size=5, max_size=5),
        min_size=1,
        max_size=12,
    ),
    st.sampled_from(METHODS),
    st.sampled_from(COMBINES),
    st.floats(0, 4),
    st.floats(0, 4),
    st.booleans(),
)
def test_any_numbers(rows, method, combine, kappa_low, kappa_high, rewinsor):
    samples = np.array(rows, dtype=np.float32)
    assert_equal_to_definition(samples, Rejection(method, kappa_low, kappa_high, rewinsor=rewinsor), combine, None)


@pytest.mark.parametrize("method", METHODS)
def test_threads_and_splits_leave_no_trace(method):
    samples = columns("random", 21, 5000, np.random.default_rng(3))
    rejection = Rejection(method)
    whole = [part.tobytes() for part in stacked(samples, rejection)]
    before = numba.get_num_threads()
    try:
        numba.set_num_threads(1)
        assert [part.tobytes() for part in stacked(samples, rejection)] == whole
    finally:
        numba.set_num_threads(before)
    for cut in (1, 127, 2049):
        parts = [stacked(np.ascontiguousarray(piece), rejection) for piece in (samples[:, :cut], samples[:, cut:])]
        assert [np.concatenate(pair).tobytes() for pair in zip(*parts, strict=True)] == whole


def test_input_is_not_modified():
    samples = columns("random", 12, 300, np.random.default_rng(4))
    weights = np.ones((12, 300))
    copies = samples.copy(), weights.copy()
    for method in METHODS:
        stacked(samples, Rejection(method), weights=weights)
    assert np.array_equal(samples, copies[0], equal_nan=True)
    assert np.array_equal(weights, copies[1])
