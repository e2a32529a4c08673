# SPDX-License-Identifier: GPL-3.0-or-later
"""The compiled kernels against the reference definitions, which tests/test_rejection.py holds to the truth."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

numba = pytest.importorskip("numba", reason="the kernels are compiled by Numba")

from nanstack.kernels import _comparators, _lane_count, is_compiled, stack_columns  # noqa: E402
from nanstack.rejection import COMBINES, METHODS, Rejection, reject, stack_block  # noqa: E402

moderate = settings(max_examples=150, deadline=None, derandomize=True)

REJECTIONS = [
    Rejection(),
    Rejection(kappa_low=1.5, kappa_high=1.1, winsor_low=0.2, winsor_high=0.1, rewinsor=False),
    Rejection(kappa_low=0.9, kappa_high=2.2, winsor_low=0.0, winsor_high=0.3),
    Rejection(kappa_low=0.31, kappa_high=0.17, winsor_low=0.4, winsor_high=0.45),
    Rejection("huber", kappa_low=1.3, kappa_high=2.1),
    Rejection("huber", kappa_low=3.0, kappa_high=3.0),
    Rejection("kappa_sigma", kappa_low=1.7, kappa_high=1.3),
    Rejection("linear_fit", kappa_low=2.3, kappa_high=1.9),
    Rejection("none"),
]
each_rejection = pytest.mark.parametrize("rejection", REJECTIONS, ids=lambda r: f"{r.method}-{r.kappa_high}")
each_combine = pytest.mark.parametrize("combine", COMBINES)
WEIGHTS = ("no", "frame", "channel", "sample", "zero")

kappas = st.one_of(st.floats(0.0, 4.0).map(lambda kappa: round(kappa, 3)), st.just(np.inf))
fractions = st.floats(0.0, 0.49).map(lambda fraction: round(fraction, 3))
rejections = st.builds(Rejection, st.sampled_from(METHODS), kappas, kappas, fractions, fractions, st.booleans())


# --- columns of every kind --------------------------------------------------------------------------------------------


def sky(rng, n, pixels):
    samples = rng.normal(1000, 10, (n, pixels))
    chance = rng.random(samples.shape)
    samples[chance < 0.06] += 400
    samples[chance > 0.96] -= 300
    return samples


KINDS = {
    "sky": sky,
    "ties": lambda rng, n, pixels: rng.integers(-4, 5, (n, pixels)),
    "constant": lambda rng, n, pixels: np.broadcast_to(rng.normal(0, 1000, pixels), (n, pixels)),
    "cauchy": lambda rng, n, pixels: 100 * rng.standard_cauchy((n, pixels)),
    "huge": lambda rng, n, pixels: sky(rng, n, pixels) * 2e35,
    "tiny": lambda rng, n, pixels: sky(rng, n, pixels) * 1e-46,
    "two signs": lambda rng, n, pixels: sky(rng, n, pixels) * rng.choice([-1, 1], (n, pixels)),
    "one huge": lambda rng, n, pixels: np.where(np.arange(n)[:, None] == n // 2, 3e38, sky(rng, n, pixels)),
}


def columns(kind, n, pixels, seed=0, missing=0.15):
    """Columns with no data in random places, in whole frames' borders, in one whole frame and one whole pixel."""
    rng = np.random.default_rng([seed, n])
    samples = KINDS[kind](rng, n, pixels).astype(np.float32, order="C")
    for no_data in (np.nan, np.inf, -np.inf):
        samples[rng.random(samples.shape) < missing / 3] = no_data
    if missing:
        for frame in range(0, n, 3):
            samples[frame, : rng.integers(pixels)] = np.nan
        samples[n // 2 : n // 2 + (n > 3)] = np.nan
        samples[:, pixels // 2 : pixels // 2 + (pixels > 3)] = np.nan
    return samples


def weights_of(kind, n, pixels, seed=0):
    rng = np.random.default_rng([seed, n, 1])
    if kind == "no":
        return None
    shape = {"frame": (n, 1), "channel": (n, 3), "sample": (n, pixels), "zero": (n, 1)}[kind]
    weights = rng.uniform(0, 2, shape) * (rng.random(shape) < 0.9)
    return weights * 0 if kind == "zero" else weights


def every_weight(weights, pixels):
    return None if weights is None else weights[:, np.arange(pixels) % weights.shape[1]]


def stacked(samples, rejection, combine="mean", weights=None):
    pixels = samples.shape[1]
    results = np.full(pixels, 7, np.float32), np.full(pixels, 7, np.uint16), np.full(pixels, 7, np.uint16)
    stack_columns(samples, rejection, combine, weights, *results)
    return results


# --- against the reference --------------------------------------------------------------------------------------------


def undecided(samples, rejection):
    """Pixels with a sample on a bound, to rounding: the reference's sums of huber and linear_fit run another way."""
    if rejection.method not in ("huber", "linear_fit"):
        return np.zeros(samples.shape[1], bool)
    scale = np.abs(np.where(np.isfinite(samples), samples, 0)).astype(np.float64).max(axis=0)
    nudged = []
    for factor in (1 - 1e-9, 1 + 1e-9):
        moved = Rejection(rejection.method, rejection.kappa_low * factor, rejection.kappa_high * factor)
        nudged.append(reject(samples.astype(np.float64), moved)[1])
    flips = (nudged[0] != nudged[1]).any(axis=0)
    return flips | (scale == 0)


def reference(samples, rejection, combine, weights):
    """Stack every pixel twice: alone among its neighbours, NumPy would sum a column in another order."""
    if weights is not None:
        weights = np.concatenate([weights, weights], axis=1)
    block = stack_block(np.concatenate([samples, samples], axis=1), rejection, combine, weights)
    return [array[: samples.shape[1]] for array in block]


def assert_as_reference(samples, rejection, combine="mean", weights=None):
    image, coverage, rejected = stacked(samples, rejection, combine, weights)
    expected = reference(samples, rejection, combine, every_weight(weights, samples.shape[1]))
    np.testing.assert_array_equal(coverage, expected[1])
    decided = ~undecided(samples, rejection)
    np.testing.assert_array_equal(rejected[decided], expected[2][decided])
    np.testing.assert_array_equal(np.isnan(image), np.isnan(expected[0]))
    scale = np.where(np.isfinite(samples), np.abs(samples), 0).max(axis=0)
    error = np.abs(image.astype(np.float64) - expected[0])[decided & (coverage > 0)]
    assert (error <= np.spacing(scale[decided & (coverage > 0)])).all()


@each_rejection
@each_combine
@pytest.mark.parametrize("weights", WEIGHTS)
def test_every_way_to_stack(weights, combine, rejection):
    for n, pixels in [(30, 300), (8, 129), (5, 3)]:
        assert_as_reference(columns("sky", n, pixels), rejection, combine, weights_of(weights, n, pixels))


@each_rejection
@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_column(kind, rejection):
    for n, missing in [(1, 0.3), (2, 0.3), (3, 0), (5, 0.15), (30, 0), (30, 0.15), (65, 0.4)]:
        for weights in ("no", "channel"):
            samples = columns(kind, n, 147, missing=missing)
            assert_as_reference(samples, rejection, "mean", weights_of(weights, n, 147))


@each_rejection
@pytest.mark.parametrize(("n", "pixels"), [(64, 140), (200, 77), (257, 70), (300, 33), (2000, 7)])
def test_many_frames(n, pixels, rejection):
    for kind in ("sky", "ties", "cauchy"):
        samples = columns(kind, n, pixels)
        assert_as_reference(samples, rejection)
        assert_as_reference(samples, rejection, "median", weights_of("frame", n, pixels))


@moderate
@given(
    st.sampled_from(sorted(KINDS)),
    st.integers(1, 40),
    st.integers(1, 200),
    st.sampled_from([0.0, 0.1, 0.6]),
    st.integers(0, 10**6),
    rejections,
    st.sampled_from(COMBINES),
    st.sampled_from(WEIGHTS),
)
def test_anything(kind, n, pixels, missing, seed, rejection, combine, weights):
    assume(weights != "channel" or pixels % 3 == 0)
    samples = columns(kind, n, pixels, seed, missing)
    assert_as_reference(samples, rejection, combine, weights_of(weights, n, pixels, seed))


@each_rejection
@each_combine
@pytest.mark.parametrize("constant", [0.0, 0.1, -1234.567, 3.4e38, 1e-45])
def test_a_constant_column_stays_as_it_is(constant, combine, rejection):
    samples = np.full((13, 3), constant, dtype=np.float32)
    samples[5:, 1] = np.nan
    samples[1:, 2] = np.nan
    for weights in (None, np.linspace(0.1, 0.7, 13)[:, None]):
        image, coverage, rejected = stacked(samples, rejection, combine, weights)
        np.testing.assert_array_equal(image, samples[0])
        np.testing.assert_array_equal(coverage, [13, 5, 1])
        assert not rejected.any()


@each_rejection
@each_combine
def test_no_data_at_all(combine, rejection):
    samples = np.full((4, 2), np.nan, dtype=np.float32)
    samples[:, 1] = [np.inf, -np.inf, np.nan, np.inf]
    image, coverage, rejected = stacked(samples, rejection, combine, np.ones((4, 1)))
    assert np.isnan(image).all()
    assert not coverage.any()
    assert not rejected.any()


@pytest.mark.parametrize("method", METHODS)
@each_combine
@pytest.mark.parametrize("rewinsor", [True, False])
@pytest.mark.parametrize("kappa", [0.0, np.inf])
def test_extreme_kappas(kappa, rewinsor, combine, method):
    rejection = Rejection(method, kappa, kappa, 0.2, 0.1, rewinsor)
    for weights in ("no", "frame", "zero"):
        assert_as_reference(columns("sky", 9, 40), rejection, combine, weights_of(weights, 9, 40))
        assert_as_reference(np.float32([[1], [2], [4], [9]]), rejection, combine, weights_of(weights, 4, 1))


def test_equal_samples_of_a_line_are_dropped_by_weight_not_by_frame_order():
    samples = np.float32([0, 0, 2, 7, 7])[:, None]
    weights = np.float64([1, 1, 1, 1, 5])[:, None]
    rejection = Rejection("linear_fit", kappa_low=1.5, kappa_high=1.5)
    forward, backward = (
        stacked(samples, rejection, "mean", weights),
        stacked(samples[::-1].copy(), rejection, "mean", weights[::-1].copy()),
    )
    assert forward[2] == backward[2] == 1
    assert forward[0] == backward[0] == stack_block(samples, rejection, "mean", weights).image


# --- what the stack must not depend on --------------------------------------------------------------------------------


@each_rejection
@pytest.mark.parametrize("weights", ["no", "channel", "sample"])
@pytest.mark.parametrize("n", [30, 300])
def test_neither_threads_nor_splits_change_a_byte(n, weights, rejection):
    pixels = 3 * 2**18 // n  # worked on in more than one run
    samples, weight = columns("sky", n, pixels), weights_of(weights, n, pixels)
    threads = numba.get_num_threads()
    try:
        numba.set_num_threads(1)
        one = stacked(samples, rejection, "mean", weight)
        numba.set_num_threads(min(2, threads))
        two = stacked(samples, rejection, "mean", weight)
    finally:
        numba.set_num_threads(threads)
    for part in (slice(0, 3), slice(9, 3 * 128), slice(pixels // 6 * 3, pixels)):
        part_weight = weight[:, part].copy() if weights == "sample" else weight
        for whole, again, cut in zip(
            one, two, stacked(samples[:, part].copy(), rejection, "mean", part_weight), strict=True
        ):
            assert whole.tobytes() == again.tobytes()
            assert whole[part].tobytes() == cut.tobytes()


@each_rejection
@each_combine
def test_input_stays_as_it_was(combine, rejection):
    samples, weights = columns("sky", 7, 33), weights_of("sample", 7, 33)
    before = samples.tobytes(), weights.tobytes()
    stacked(samples, rejection, combine, weights)
    assert (samples.tobytes(), weights.tobytes()) == before


def test_no_pixels():
    assert [array.size for array in stacked(np.empty((3, 0), np.float32), Rejection())] == [0, 0, 0]


@pytest.mark.parametrize("method", METHODS)
def test_a_kernel_that_has_run_is_compiled(method):
    stacked(np.ones((2, 2), np.float32), Rejection(method))
    assert is_compiled(Rejection(method))


# --- the sorting network ----------------------------------------------------------------------------------------------


def sort(values):
    for above, below in _comparators(values.shape[0]):
        values[[above, below]] = np.sort(values[[above, below]], axis=0)
    return values


@pytest.mark.parametrize("n", range(1, 41))
def test_comparators_sort_zeros_and_ones(n):
    """A network that sorts every column of zeros and ones sorts anything (Knuth, volume 3, theorem 5.3.4 Z)."""
    values = np.random.default_rng(n).random((n, 2000)) < np.linspace(0, 1, 2000)
    if n <= 11:
        values = np.arange(2**n) >> np.arange(n)[:, None] & 1
    np.testing.assert_array_equal(sort(values.copy()), np.sort(values, axis=0))


@pytest.mark.parametrize("n", [64, 65, 100, 257, 700])
def test_comparators_sort_any_number_of_frames(n):
    values = np.random.default_rng(n).random((n, 5))
    np.testing.assert_array_equal(sort(values.copy()), np.sort(values, axis=0))


@pytest.mark.parametrize("n", [2, 30, 300])
def test_fewer_rows_need_only_the_comparators_within_them(n):
    for rows in range(1, n + 1, 1 + n // 20):
        values = np.random.default_rng(rows).random((rows, 4))
        expected = np.sort(values, axis=0)
        for above, below in _comparators(n):
            if below < rows:
                values[[above, below]] = np.sort(values[[above, below]], axis=0)
        np.testing.assert_array_equal(values, expected)


def test_lanes_fill_whole_vectors():
    assert all(_lane_count(n) % 32 == 0 for n in (1, 64, 65, 256, 257, 5000))
