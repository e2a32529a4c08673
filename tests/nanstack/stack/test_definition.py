# SPDX-License-Identifier: GPL-3.0-or-later
"""The reference definitions against one-pixel-at-a-time truths from NumPy and astropy."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from astropy.stats import SigmaClip, sigma_clipped_stats
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from nanstack.stack.definition import CACHED_SAMPLES, COMBINES, METHODS, Rejection, reject, stack_block, winsor_bounds

pytestmark = [pytest.mark.numpy_bytes, pytest.mark.filterwarnings("error")]
moderate = settings(max_examples=60, deadline=None, derandomize=True)

REJECTIONS = [
    Rejection(),
    Rejection(kappa_low=1.5, kappa_high=1.1, winsor_low=0.2, winsor_high=0.1, rewinsor=False),
    Rejection(kappa_low=0.9, kappa_high=2.2, winsor_low=0.0, winsor_high=0.3),
    Rejection("huber", kappa_low=1.3, kappa_high=2.1),
    Rejection("kappa_sigma", kappa_low=1.7, kappa_high=1.3),
    Rejection("linear_fit", kappa_low=2.3, kappa_high=1.9),
    Rejection("none"),
]
each_rejection = pytest.mark.parametrize("rejection", REJECTIONS, ids=lambda r: f"{r.method}-{r.kappa_high}")
each_combine = pytest.mark.parametrize("combine", COMBINES)

finite_samples = st.one_of(
    st.integers(-20, 20).map(float),  # ties
    st.integers(-4000, 4000).map(lambda k: 1000 + k / 128),
    st.sampled_from([-3e4, 1e4, 65535.0]),
)
no_data = st.sampled_from([np.nan, np.inf, -np.inf])
columns = st.lists(st.one_of(finite_samples, finite_samples, finite_samples, no_data), min_size=1, max_size=14)
kappas = st.floats(0.3, 4.0).map(lambda kappa: round(kappa, 3))
fractions = st.floats(0.0, 0.49).map(lambda fraction: round(fraction, 3))
rejections = st.builds(Rejection, st.sampled_from(METHODS), kappas, kappas, fractions, fractions, st.booleans())


# --- the truth for one pixel ------------------------------------------------------------------------------------------


class Truth:
    """What one column of finite samples must give, and how far its closest decision was from falling otherwise."""

    def __init__(self, v, rejection, weights=None):
        self.v = np.asarray(v, dtype=np.float64)
        self.weights = None if weights is None else np.asarray(weights, dtype=np.float64)
        self.clearance = np.inf
        self.center = None
        self.values, self.kept = getattr(self, rejection.method)(rejection)

    def note_bounds(self, v, *bounds):
        scale = np.abs(v).max() or 1.0
        self.clearance = min([self.clearance, *(np.abs(v - bound).min() / scale for bound in bounds)])

    def outside(self, v, lower, upper):
        self.note_bounds(v, lower, upper)
        return ~((v >= lower) & (v <= upper))

    def clipped_stats(self, v, low, high):
        """Statistics along an axis: without one, astropy does not apply its last bounds to all samples again."""
        stack = v[:, None]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # astropy warns where nothing survives
            clip = SigmaClip(sigma_lower=low, sigma_upper=high, maxiters=5)
            self.note_bounds(v, *clip(stack, axis=0, masked=False, return_bounds=True)[1:])
            _, median, std = sigma_clipped_stats(stack, axis=0, sigma_lower=low, sigma_upper=high, maxiters=5)
        return median[0], std[0]

    def mean(self, values, weights):
        if values.size == 0 or (weights is not None and weights.sum() == 0):
            return self.v.mean()
        return np.average(values, weights=weights)

    def none(self, rejection):
        return self.v, np.full(self.v.shape, True)

    def winsor(self, r):
        v = self.v
        if v.size < 3:
            return self.none(r)
        w = np.clip(v, np.quantile(v, r.winsor_low), np.quantile(v, 1 - r.winsor_high))
        m, s = self.clipped_stats(w, 3, 3)
        rejected = self.outside(v, m - r.kappa_low * s, m + r.kappa_high * s)
        return np.where(rejected, w if r.rewinsor else np.nan, v), ~rejected

    def kappa_sigma(self, r):
        m, s = self.clipped_stats(self.v, r.kappa_low, r.kappa_high)
        rejected = self.outside(self.v, m - r.kappa_low * s, m + r.kappa_high * s)
        return np.where(rejected, np.nan, self.v), ~rejected

    def linear_fit(self, r):
        v = self.v
        left = np.argsort(v, kind="stable")
        floor = 1e-6 * np.abs(v).max()
        for _ in range(10):
            if left.size < 4:
                break
            ranks = np.arange(left.size)
            deviation = v[left] - np.polyval(np.polyfit(ranks, v[left], 1), ranks)
            sigma = np.abs(deviation).mean()
            drop = self.outside(deviation, -r.kappa_low * sigma - floor, r.kappa_high * sigma + floor)
            left = left[~drop]
            if not drop.any():
                break
        kept = np.isin(np.arange(v.size), left)
        return np.where(kept, v, np.nan), kept

    def huber(self, r):
        v = self.v
        m = np.median(v)
        s = max(1.4826 * np.median(np.abs(v - m)), 1e-10)
        for _ in range(10):
            w = np.clip(v, m - r.kappa_low * s, m + r.kappa_high * s)
            new_m = self.mean(w, self.weights)
            residual = np.abs(w - new_m)
            u = np.minimum(1.0, max(r.kappa_low, r.kappa_high) / np.maximum(residual / s, 1e-30))
            new_s = max(np.sqrt((u * residual**2).sum() / u.sum()), 1e-10)
            done = abs(new_m - m) <= 5e-4 * max(1, abs(m)) and abs(new_s - s) <= 5e-4 * max(1, abs(s))
            m, s = new_m, new_s
            if done:
                break
        self.center = m
        lower, upper = m - r.kappa_low * s, m + r.kappa_high * s
        return np.clip(v, lower, upper), ~self.outside(v, lower, upper)

    def image(self, combine):
        counted = ~np.isnan(self.values)
        values = self.values[counted]
        if combine == "mean":
            if self.center is not None:
                return self.center
            return self.mean(values, None if self.weights is None else self.weights[counted])
        return getattr(np, combine)(values) if values.size else self.v.mean()


def assert_stack_is_true(samples, rejection, combine="mean", weights=None):
    block = stack_block(samples, rejection, combine, weights)
    values, kept = reject(samples, rejection)
    every_weight = None if weights is None else np.broadcast_to(weights, samples.shape)
    for pixel in np.ndindex(samples.shape[1:]):
        column = samples[(slice(None), *pixel)]
        finite = np.isfinite(column)
        assert block.coverage[pixel] == finite.sum()
        if not finite.any():
            assert np.isnan(block.image[pixel])
            assert block.rejected[pixel] == 0
            continue
        weight = None if weights is None else every_weight[(slice(None), *pixel)][finite]
        truth = Truth(column[finite], rejection, weight)
        tolerance = max(1e-5 * np.abs(column[finite]).max(), np.finfo(np.float32).smallest_subnormal)
        np.testing.assert_allclose(block.image[pixel], truth.image(combine), rtol=0, atol=tolerance)
        assert block.rejected[pixel] == (~truth.kept).sum()
        if weights is None:
            np.testing.assert_array_equal(kept[(slice(None), *pixel)][finite], truth.kept)
            found = values[(slice(None), *pixel)]
            np.testing.assert_allclose(found[finite], truth.values, rtol=0, atol=tolerance)
            assert np.isnan(found[~finite]).all()
            assert not kept[(slice(None), *pixel)][~finite].any()


def sky(n, shape=(6, 5), seed=0, dtype=np.float32):
    """Frames of a sky of 1000 ± 10 with outliers on both sides and every kind of missing data."""
    rng = np.random.default_rng([seed, n])
    samples = rng.normal(1000, 10, (n, *shape))
    chance = rng.random(samples.shape)
    samples[chance < 0.06] += 400
    samples[chance > 0.96] -= 300
    samples[rng.random(samples.shape) < 0.2] = np.nan
    samples[rng.random(samples.shape) < 0.05] = np.inf
    samples[rng.random(samples.shape) < 0.05] = -np.inf
    samples[:, 0, 0] = np.nan
    return samples.astype(dtype)


# --- against the truth ------------------------------------------------------------------------------------------------


@each_rejection
@pytest.mark.parametrize("n", [1, 2, 3, 4, 5, 6, 15, 40])
def test_stack_of_a_sky(n, rejection):
    assert_stack_is_true(sky(n), rejection)


@each_rejection
@each_combine
def test_every_combine(combine, rejection):
    assert_stack_is_true(sky(11), rejection, combine)


@each_rejection
def test_float64_samples(rejection):
    assert_stack_is_true(sky(12, dtype=np.float64), rejection)


@each_rejection
def test_many_survivors_need_many_clipping_rounds(rejection):
    samples = np.random.default_rng(5).standard_cauchy((60, 40)) * 100
    assert_stack_is_true(samples, rejection)


@moderate
@given(columns, rejections, st.sampled_from(COMBINES), st.sampled_from([np.float32, np.float64]))
@example([0.0, 1.0], Rejection("kappa_sigma", kappa_low=0.5, kappa_high=0.5), "median", np.float32)
def test_any_column(column, rejection, combine, dtype):
    samples = np.array(column, dtype=dtype)
    finite = samples[np.isfinite(samples)]
    # a sample on a bound falls to either side by rounding, so both answers are right
    assume(finite.size == 0 or Truth(finite, rejection).clearance > 1e-9)
    assert_stack_is_true(samples, rejection, combine)


@moderate
@given(columns, fractions, fractions)
def test_winsor_bounds_are_quantiles(column, low, high):
    samples = np.array(column)
    found = winsor_bounds(samples, low, high)
    finite = np.where(np.isfinite(samples), samples, np.nan)
    if np.isnan(finite).all():
        assert np.isnan(found).all()
    else:
        np.testing.assert_allclose(found, np.nanquantile(finite, [low, 1 - high]), rtol=1e-12, atol=1e-12)


def test_winsor_bounds_of_a_sky():
    samples = sky(30)
    samples[~np.isfinite(samples)] = np.nan
    lower, upper = winsor_bounds(samples, 0.05, 0.1)
    assert np.isnan([lower[0, 0], upper[0, 0]]).all()
    covered = samples.reshape(30, -1)[:, 1:].astype(np.float64)
    np.testing.assert_allclose(lower.ravel()[1:], np.nanquantile(covered, 0.05, axis=0), rtol=1e-12)
    np.testing.assert_allclose(upper.ravel()[1:], np.nanquantile(covered, 0.9, axis=0), rtol=1e-12)


def test_a_sample_that_an_early_round_dropped_comes_back_as_in_astropy():
    column = np.array([-60.0, -24, -11, -7, -7, -6, 0, 1, 5, 8, 11, 26, 80])
    rejection = Rejection("kappa_sigma", kappa_low=1.5, kappa_high=1.0)
    survivors = column
    for _ in range(5):
        median, std = np.median(survivors), survivors.std()
        survivors = survivors[(survivors >= median - 1.5 * std) & (survivors <= median + std)]
    np.testing.assert_array_equal(survivors, [-7, -7, -6])  # the last bounds hold -11 again
    values, kept = reject(column, rejection)
    np.testing.assert_array_equal(values[kept], [-7, -7, -6])
    assert_stack_is_true(column, rejection)


# --- special columns --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rejection", [*REJECTIONS, Rejection("huber", kappa_low=0.5, kappa_high=0.2)])
@each_combine
@pytest.mark.parametrize("constant", [0.0, 0.1, -1234.567, 65535.0, 3.4e38, -3.4e38, 1e-45, 3e-39])
def test_a_constant_column_stays_as_it_is(constant, combine, rejection):
    samples = np.full((13, 3), constant, dtype=np.float32)
    samples[5:, 1] = np.nan
    samples[1:, 2] = np.nan
    for weights in (None, np.linspace(0.1, 0.7, 13)[:, None]):
        block = stack_block(samples, rejection, combine, weights)
        np.testing.assert_array_equal(block.image, samples[0])
        np.testing.assert_array_equal(block.coverage, [13, 5, 1])
        assert not block.rejected.any()


@each_rejection
@each_combine
@pytest.mark.parametrize("unit", [1e38, 1e-43])
def test_huge_and_tiny_samples(unit, combine, rejection):
    samples = (sky(9) / 1000 * unit).astype(np.float32)
    samples[:, 1] = samples[:, 1] * -1
    assert_stack_is_true(samples, rejection, combine)


@each_rejection
def test_one_huge_outlier_among_ordinary_samples(rejection):
    samples = sky(20, seed=3)
    samples[7] = 3e38
    assert_stack_is_true(samples, rejection)


@each_rejection
@each_combine
def test_no_data_at_all(combine, rejection):
    samples = np.full((4, 2), np.nan, dtype=np.float32)
    samples[:, 1] = [np.inf, -np.inf, np.nan, np.inf]
    block = stack_block(samples, rejection, combine, weights=np.ones((4, 1)))
    assert np.isnan(block.image).all()
    assert not block.coverage.any()
    assert not block.rejected.any()


@pytest.mark.parametrize("method", ["kappa_sigma", "winsor"])
@each_combine
def test_where_nothing_is_left_the_mean_remains(combine, method):
    rejection = Rejection(method, kappa_low=0.0, kappa_high=0.0, rewinsor=False)
    block = stack_block(np.float32([1, 2, 4, 9]), rejection, combine)
    assert (block.image, block.coverage, block.rejected) == (4.0, 4, 4)


@pytest.mark.parametrize("method", METHODS)
def test_an_infinite_kappa_rejects_nothing_on_its_side(method):
    column = np.float32([-900, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 900])
    winsor = {"winsor_low": 0.2, "winsor_high": 0.2}  # all winsorized values are 7, so that sigma is 0
    both = Rejection(method, kappa_low=np.inf, kappa_high=np.inf, **winsor)
    assert stack_block(column, both).rejected == 0
    assert stack_block(column, both).image == pytest.approx(7 * 10 / 12)
    kept = reject(column, Rejection(method, kappa_low=np.inf, kappa_high=1.5, **winsor))[1]
    assert kept[0]
    assert kept[-1] == (method == "none")


def test_rounding_of_a_straight_ramp_is_not_rejected():
    ramp = (1000 + 0.1 * np.arange(20)).astype(np.float32)
    assert stack_block(ramp, Rejection("linear_fit", kappa_low=1.0, kappa_high=1.0)).rejected == 0


def test_rounding_does_not_decide_on_a_sample_that_lies_on_the_linear_fits_bound():
    rng = np.random.default_rng(8)
    size, slope, level = rng.uniform([[1], [4], [500]], [[9], [20], [2000]], (3, 500))
    on_the_line = level + size * slope * np.arange(4)[:, None]
    alone_on_its_side = np.array([[1], [-2], [1], [0]])  # off the line by twice the mean, which is as far as four can
    samples = (on_the_line + size * alone_on_its_side).astype(np.float32)
    assert stack_block(samples, Rejection("linear_fit", kappa_low=2.0)).rejected.sum() == 0
    assert (stack_block(samples, Rejection("linear_fit", kappa_low=1.99)).rejected == 1).all()


def test_a_rejected_sample_counts_as_its_winsorized_value_or_not_at_all():
    column = np.float32([10, 11, 12, 11, 10, 12, 11, 500])
    upper = winsor_bounds(column, 0.05, 0.2)[1]
    replaced = stack_block(column, Rejection(winsor_high=0.2))
    dropped = stack_block(column, Rejection(winsor_high=0.2, rewinsor=False))
    assert replaced.rejected == dropped.rejected == 1
    assert dropped.image == pytest.approx(11.0)
    assert replaced.image == pytest.approx((77 + upper) / 8)
    assert replaced.image > dropped.image


def test_integer_samples_are_accepted():
    samples = np.random.default_rng(2).integers(0, 65536, (7, 4), dtype=np.uint16)
    found, expected = (stack_block(s, Rejection()) for s in (samples, samples.astype(np.float64)))
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(one, other)


# --- weights ----------------------------------------------------------------------------------------------------------


@each_rejection
@each_combine
@pytest.mark.parametrize("shape", [(11, 1, 1), (11, 1, 5), (11, 6, 5)], ids=["frame", "channel", "pixel"])
def test_weights(shape, combine, rejection):
    weights = np.random.default_rng(8).uniform(0, 2, shape)
    weights[3] = 0
    assert_stack_is_true(sky(11), rejection, combine, weights)


@each_rejection
def test_weights_that_are_all_zero_give_the_plain_mean(rejection):
    column = np.float32([3, 5, np.nan, 4, 800, 2])
    block = stack_block(column, rejection, weights=np.float32([0, 0, 1, 0, 0, 0]))
    assert block.image == pytest.approx(np.nanmean(column))


def test_equal_weights_change_nothing():
    samples = sky(10)
    for rejection in REJECTIONS:
        plain, weighted = stack_block(samples, rejection), stack_block(samples, rejection, weights=np.float32(0.3))
        np.testing.assert_allclose(weighted.image, plain.image, rtol=1e-6)
        np.testing.assert_array_equal(weighted.rejected, plain.rejected)


def test_which_of_two_equal_samples_is_dropped_does_not_depend_on_frame_order():
    samples = np.float64([0, 0, 2, 7, 7])
    weights = np.float64([1, 1, 1, 1, 5])
    rejection = Rejection("linear_fit", kappa_low=1.5, kappa_high=1.5)
    forward = stack_block(samples, rejection, weights=weights)
    backward = stack_block(samples[::-1], rejection, weights=weights[::-1])
    assert reject(samples, rejection)[1][-2:].sum() == 1
    assert forward.image == backward.image


@pytest.mark.parametrize("bad", [-1.0, np.nan, np.inf])
def test_bad_weights(bad):
    with pytest.raises(ValueError, match="weights must be finite"):
        stack_block(np.ones((3, 2)), Rejection(), weights=np.array([[1.0], [bad], [1.0]]))


def test_weights_of_the_wrong_shape():
    with pytest.raises(ValueError, match=r"weights of shape \(4,\) .* \(3, 2\)"):
        stack_block(np.ones((3, 2)), Rejection(), weights=np.ones(4))


# --- what the stack must not depend on --------------------------------------------------------------------------------


@moderate
@given(
    st.lists(st.tuples(columns.map(lambda c: c[0]), st.integers(0, 3)), min_size=1, max_size=12), rejections, st.data()
)
def test_frame_order_does_not_matter(weighted_samples, rejection, data):
    samples, weights = np.array(weighted_samples, dtype=np.float64).T
    order = np.array(data.draw(st.permutations(range(samples.size))))
    finite = np.isfinite(samples)
    for weight in (None, weights):
        one = stack_block(samples, rejection, weights=weight)
        other = stack_block(samples[order], rejection, weights=None if weight is None else weight[order])
        if rejection.method == "huber" and finite.any():
            # the bounds come from sums: a sample on a bound may fall to either side in another order
            finite_weight = None if weight is None else weight[finite]
            assume(Truth(samples[finite], rejection, finite_weight).clearance > 1e-9)
        np.testing.assert_allclose(other.image, one.image, rtol=1e-5, atol=1e-5)
        assert other.rejected == one.rejected


@each_rejection
def test_a_pixel_depends_on_its_own_samples_alone(rejection):
    samples = sky(40, (43, 41))
    weights = np.random.default_rng(1).uniform(0, 1, samples.shape)
    assert samples.size > CACHED_SAMPLES  # worked on in more than one part
    whole = stack_block(samples, rejection, weights=weights)
    for rows in (slice(0, 1), slice(3, 20), slice(42, 43)):
        part = stack_block(samples[:, rows], rejection, weights=weights[:, rows])
        for part_array, whole_array in zip(part, whole, strict=True):
            np.testing.assert_array_equal(part_array, whole_array[rows])


@each_rejection
def test_infinite_samples_are_no_data(rejection):
    samples = sky(9)
    blank = np.where(np.isfinite(samples), samples, np.float32(np.nan))
    for one, other in zip(stack_block(samples, rejection), stack_block(blank, rejection), strict=True):
        np.testing.assert_array_equal(one, other)


@each_rejection
@each_combine
def test_input_stays_as_it_was(combine, rejection):
    samples, weights = sky(7), np.random.default_rng(4).uniform(0, 1, (7, 6, 5))
    before = samples.copy(), weights.copy()
    stack_block(samples, rejection, combine, weights)
    reject(samples, rejection)
    winsor_bounds(samples, 0.1, 0.1)
    np.testing.assert_array_equal(samples, before[0])
    np.testing.assert_array_equal(weights, before[1])


def test_shapes_and_types():
    for shape in [(), (4,), (4, 5), (4, 5, 3), (0, 5)]:
        samples = np.ones((3, *shape), dtype=np.float32)
        block = stack_block(samples, Rejection())
        assert [array.shape for array in block] == [shape] * 3
        assert [array.dtype for array in block] == [np.float32, np.int32, np.int32]
        assert [array.shape for array in reject(samples, Rejection())] == [samples.shape] * 2
        assert [array.shape for array in winsor_bounds(samples, 0, 0)] == [shape] * 2


# --- arguments --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("argument", "value"),
    [
        ("method", "sigma"),
        ("kappa_low", -0.1),
        ("kappa_high", np.nan),
        ("winsor_low", 0.5),
        ("winsor_high", -0.01),
        ("winsor_high", np.nan),
    ],
)
def test_bad_arguments_are_named_with_their_value(argument, value):
    with pytest.raises(ValueError, match=f"{argument} must be .* not {value!r}"):
        Rejection(**{argument: value})


def test_bad_combine():
    with pytest.raises(ValueError, match="combine must be .* not 'sum'"):
        stack_block(np.ones((3, 2)), Rejection(), "sum")


def test_bad_winsor_fraction():
    with pytest.raises(ValueError, match="high must be .* not 0.7"):
        winsor_bounds(np.ones((3, 2)), 0.1, 0.7)


@pytest.mark.parametrize("shape", [(0,), (0, 4), ()])
def test_no_frames(shape):
    for call in (
        lambda samples: stack_block(samples, Rejection()),
        lambda samples: reject(samples, Rejection()),
        lambda samples: winsor_bounds(samples, 0, 0),
    ):
        with pytest.raises(ValueError, match="samples must hold at least one frame"):
            call(np.ones(shape))
