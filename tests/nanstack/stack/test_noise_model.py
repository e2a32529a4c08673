# SPDX-License-Identifier: GPL-3.0-or-later
"""The rejection by the frames' noise: its kernels held to its definition, and both to skies whose truth is known."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter

from nanstack.levels.placed import Level, PlacedFrame, SampleNoise
from nanstack.settings import CanvasSettings
from nanstack.stack import cells, noise_kernels, noise_model
from nanstack.stack.combine import combined
from nanstack.stack.definition import Rejection
from nanstack.stack.noise_model import FrameNoise, NoiseRejection

pytestmark = pytest.mark.numpy_bytes

NOISE = 45.0
SKY = 1000.0
DEFAULT = NoiseRejection()
WHOLE = np.s_[:, :]


def known(n, channels=1, noise=NOISE, photon=0.0, blur=0.2, weight=1.0):
    """Return what is known of n frames of one kind."""
    one = np.ones((n, channels))
    return FrameNoise(noise**2 * one, photon * one, SKY * one, np.full(n, blur), np.broadcast_to(weight, n) * 1.0)


def white(n, shape=(60, 60, 1), noise=NOISE, seed=1):
    """Return n frames of an even sky: Gaussian noise, no two pixels alike."""
    rng = np.random.default_rng([seed, n])
    return rng.normal(SKY, noise, (n, *shape)).astype(np.float32)


def kernel(samples, frames, rejection=DEFAULT, inner=WHOLE):
    return noise_kernels.stack_noise(samples, frames, rejection, inner)


def assert_kernel_is_the_definition(samples, frames, rejection, inner=WHOLE):
    found, truth = (m.stack_noise(samples, frames, rejection, inner) for m in (noise_kernels, noise_model))
    for name in ("image", "coverage", "weight", "variance"):
        ours, theirs = getattr(found, name), getattr(truth, name)
        assert (ours.dtype, ours.shape) == (theirs.dtype, theirs.shape)
        assert np.array_equal(ours, theirs, equal_nan=ours.dtype.kind == "f"), name
    assert (found.rejected, found.samples) == (truth.rejected, truth.samples)
    rejected = noise_model.outliers(samples, frames, rejection)
    assert np.array_equal(noise_kernels.outliers(samples, frames, rejection), rejected)


# --- one definition, and a kernel -------------------------------------------------------------------------------------


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("n", [1, 2, 3, 4, 7, 20])
def test_the_kernel_is_the_definition(n, channels):
    rng = np.random.default_rng([n, channels])
    samples = white(n, (23, 31, channels))
    samples[rng.random(samples.shape) < 0.02] += 2000
    samples[rng.random(samples.shape[:3]) < 0.3] = np.nan
    samples[:, :2, :2] = np.nan
    samples[:, 10, 10] = rng.choice(np.array([-3e38, 3e38, 5.0], np.float32), (n, channels))
    samples[:, 12] = rng.choice(np.array([900, 1000, 1500], np.float32), (n, 31, channels))
    frames = FrameNoise(
        *(rng.uniform(low, high, (n, channels)) for low, high in ((500, 4000), (0, 2), (900, 1100))),
        rng.uniform(0, 1, n), rng.uniform(0.1, 3, n),
    )  # fmt: skip
    for rejection in (DEFAULT, NoiseRejection(2.0, 1.0), NoiseRejection(0.0, 0.0), NoiseRejection(np.inf, 3.0)):
        assert_kernel_is_the_definition(samples, frames, rejection, np.s_[3:20, 2:31])


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    columns=st.lists(
        st.lists(st.one_of(st.floats(width=32), st.integers(-4, 4).map(float)), min_size=12, max_size=12),
        min_size=1,
        max_size=7,
    ),
    variance=st.floats(0, 1e6),
    photon=st.floats(0, 10),
    blur=st.floats(0, 3),
    kappa=st.floats(0, 6),
    grow=st.floats(0, 1),
)
def test_any_numbers(columns, variance, photon, blur, kappa, grow):
    samples = np.array(columns, np.float32).reshape(-1, 3, 4, 1)
    n = len(samples)
    frames = FrameNoise(
        np.full((n, 1), variance), np.full((n, 1), photon), np.zeros((n, 1)), np.full(n, blur), np.arange(1.0, n + 1)
    )
    assert_kernel_is_the_definition(samples, frames, NoiseRejection(kappa, grow * kappa))


@settings(max_examples=40, deadline=None, derandomize=True)
@given(order=st.permutations(range(6)), seed=st.integers(0, 1000))
def test_the_order_of_frames_does_not_matter(order, seed):
    samples = white(6, (12, 12, 1), seed=seed)
    samples[:, 5] = np.round(samples[:, 5], -2)
    samples[0, 4:8, 4:8] += 500
    weight = np.array([1.0, 2.0, 0.5, 1.0, 4.0, 0.25])  # sums of which are exact
    one, other = (kernel(samples[list(o)], known(6, weight=weight[list(o)])) for o in (range(6), order))
    assert np.array_equal(one.weight, other.weight)
    assert np.allclose(one.image, other.image, rtol=2e-7)


def test_a_cells_margin_is_all_that_its_pixels_hang_on():
    assert cells.MARGIN >= noise_model.REACH_PX
    samples = white(5, (40, 50, 3))
    samples[np.random.default_rng(3).random(samples.shape) < 0.03] += 400
    samples[1, 20:] = np.nan
    whole = kernel(samples, known(5, 3))
    reach = noise_model.REACH_PX
    for top, bottom, left, right in ((0, 17, 0, 20), (17, 40, 20, 50), (11, 12, 30, 31)):
        wide = np.s_[max(0, top - reach) : bottom + reach, max(0, left - reach) : right + reach]
        inner = np.s_[top - wide[0].start : bottom - wide[0].start, left - wide[1].start : right - wide[1].start]
        part = kernel(np.ascontiguousarray(samples[:, wide[0], wide[1]]), known(5, 3), inner=inner)
        for name in ("image", "coverage", "weight", "variance"):
            place = getattr(whole, name)[top:bottom, left:right]
            assert np.array_equal(getattr(part, name), place, equal_nan=True), name


# --- few samples ------------------------------------------------------------------------------------------------------


def test_no_data_is_nan_and_a_single_sample_is_itself():
    samples = white(2, (4, 5, 3))
    samples[:, 0, 0] = np.nan
    samples[0, 1] = np.nan
    stack = kernel(samples, known(2, 3))
    assert np.isnan(stack.image[0, 0]).all()
    assert np.isnan(stack.variance[0, 0]).all()
    assert (stack.weight[0, 0], stack.coverage[0, 0]) == (0, 0)
    assert np.array_equal(stack.image[1], samples[1, 1])
    assert np.allclose(stack.variance[1], NOISE**2)
    assert (stack.coverage[1] == 1).all()


def test_of_two_that_disagree_the_higher_goes():
    samples = white(2, (30, 30, 1), noise=5.0)
    samples[0, 10, 10] += 3000
    samples[1, 20, 20] += 3000
    stack = kernel(samples, known(2, noise=5.0))
    assert stack.image[10, 10] == samples[1, 10, 10]
    assert stack.image[20, 20] == samples[0, 20, 20]
    assert stack.weight[10, 10] == 1
    assert 2 <= stack.rejected <= 10, "and of their neighbours, what is two sigma off"


def test_where_all_would_go_the_nearest_stays():
    samples = np.full((4, 9, 9, 1), SKY, np.float32)
    samples[:, 4, 4, 0] = 1000, 1010, 5000, 5020
    stack = kernel(samples, known(4, noise=1.0))
    assert stack.image[4, 4] == 1010, "of two as near, the lower: what disturbs adds light"
    assert stack.weight[4, 4] == 1


def test_a_weight_that_is_none_is_refused():
    with pytest.raises(ValueError, match="not 0"):
        FrameNoise.of([placed(weight=1.0), placed(weight=0.0)])


def placed(weight):
    one = np.ones(1)
    return PlacedFrame(None, one, Level.zero(1), weight, SampleNoise(one, 0 * one, SKY * one), 0.2)


@pytest.mark.parametrize("rejection", [DEFAULT, Rejection("none"), Rejection("kappa_sigma")])
@pytest.mark.parametrize("combine", ["mean", "median", "min", "max"])
def test_any_rejection_and_combination(combine, rejection):
    samples = white(9, (40, 40, 1), noise=1.0)
    samples[4, 20, 20] += 500
    frames = [placed(weight=1.0)] * 9
    stack = combined(samples, frames, CanvasSettings(rejection=rejection, combine=combine), np.s_[3:37, 3:37])
    inner = samples[:, 3:37, 3:37]
    struck = stack.image[17, 17] - SKY
    assert struck > 40 if rejection == Rejection("none") and combine in ("mean", "max") else struck < 4
    assert (stack.coverage == 9).all()
    assert stack.samples == inner.size
    rest = np.ones(stack.image.shape, bool)
    rest[17, 17] = False
    if combine in ("min", "max"):
        assert np.isnan(stack.variance).all()
    else:
        assert np.std(stack.image[rest]) == pytest.approx(np.sqrt(stack.variance[rest].mean()), rel=0.1)


@pytest.mark.parametrize(("kappa", "grow"), [(-1.0, 0.0), (4.0, 5.0), (4.0, -1.0), (np.nan, 1.0), (4.0, np.nan)])
def test_nonsense_is_refused(kappa, grow):
    with pytest.raises(ValueError, match=r"kappa|grow"):
        NoiseRejection(kappa, grow)


# --- held to the truth ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [3, 4, 5, 12, 30])
def test_good_samples_stay(n):
    stack = kernel(white(n, (150, 150, 3)), known(n, 3))
    assert stack.rejected <= 0.003 * stack.samples


@pytest.mark.parametrize("n", [3, 4, 5])
def test_good_samples_stay_where_neighbours_share_their_noise(n):
    """Interpolated frames are so: where one sample is far off, those around it are suspects, and off to its side."""
    samples = gaussian_filter(white(n, (150, 150, 3)) - SKY, (0, 0.8, 0.8, 0))
    stack = kernel(samples * (NOISE / samples.std()) + np.float32(SKY), known(n, 3))
    assert stack.rejected <= 0.003 * stack.samples


@pytest.mark.parametrize("n", [3, 5, 12])
def test_good_samples_of_few_photons_stay(n):
    rng = np.random.default_rng(n)
    gain = 0.25  # electrons an ADU: the sky shows 30 of them
    level = 30 / gain
    samples = (rng.poisson(30, (n, 150, 150, 1)) / gain + SKY - level).astype(np.float32)
    stack = kernel(samples, known(n, noise=np.sqrt(30) / gain, photon=1 / gain))
    assert stack.rejected <= 0.003 * stack.samples


@pytest.mark.parametrize("n", [3, 12])
def test_the_variance_is_that_of_the_mean(n):
    rng = np.random.default_rng(n)
    noise = rng.uniform(30, 60, (n, 1))
    samples = (SKY + noise[:, :, None, None] * rng.normal(size=(n, 150, 150, 1))).astype(np.float32)
    one = np.ones((n, 1))
    frames = FrameNoise(noise**2, 0 * one, SKY * one, np.full(n, 0.2), 2000 / noise[:, 0] ** 2)
    stack = kernel(samples, frames)
    width = np.std((stack.image - SKY) / np.sqrt(stack.variance))
    assert width == pytest.approx(1, abs=0.03)


# --- what disturbs, and what only looks different --------------------------------------------------------------------

SIDE = 120
ROWS, COLUMNS = np.mgrid[:SIDE, :SIDE]


def trail(amplitude, angle=0.4):
    """Return a satellite's trail through the middle: its cross-section a Gaussian of 1.3 px."""
    off = (COLUMNS - SIDE / 2) * np.sin(angle) + (ROWS - SIDE / 2) * np.cos(angle)
    return amplitude * np.exp(-off * off / 2 / 1.3**2), np.abs(off)


@pytest.mark.parametrize("n", [3, 4, 5, 12])
@pytest.mark.parametrize("amplitude", [40, 100, 150, 200, 300, 500])
def test_a_satellite_leaves_less_than_the_noise(n, amplitude):
    samples = white(n, (SIDE, SIDE, 1))
    light, off = trail(amplitude)
    samples[0, ..., 0] += light
    image = kernel(samples, known(n)).image[..., 0] - SKY
    noise = NOISE / np.sqrt(n)
    assert image[off < 1].mean() < min(0.95, amplitude / NOISE / np.sqrt(n)) * noise
    assert image[(off > 2) & (off < 4)].mean() < 0.35 * noise
    if amplitude >= 300:
        assert image[off < 1].mean() < 0.2 * noise


@pytest.mark.parametrize("n", [2, 3, 4, 5, 12])
def test_cosmic_rays_and_hot_pixels_go(n):
    rng = np.random.default_rng(n)
    samples = white(n, (SIDE, SIDE, 3))
    places = rng.permutation(n * 60)
    rows, columns = 3 + places // 30 * 4 % 112, 3 + places % 30 * 3
    struck = np.zeros((SIDE, SIDE), bool)
    for place, (y, x) in enumerate(zip(rows, columns, strict=True)):
        samples[place % n, y, x : x + 2] += rng.uniform(500, 50000)
        struck[y, x : x + 2] = True
    stack = kernel(samples, known(n, 3))
    assert np.abs(stack.image[struck] - SKY).max() < 6 * NOISE / np.sqrt(max(1, n - 1))


def star(flux, fwhm, y, x):
    """Return a star's light: a Moffat profile of exponent 3, sampled."""
    width = fwhm / 2 / np.sqrt(2 ** (1 / 3) - 1)
    distance = (ROWS - y) ** 2 + (COLUMNS - x) ** 2
    return flux * 2 / (np.pi * width**2) * (1 + distance / width**2) ** -3.0


@pytest.mark.parametrize("saturation", [np.inf, 20000.0])
@pytest.mark.parametrize("n", [3, 4, 5, 12])
def test_stars_keep_their_light_in_any_seeing(n, saturation):
    rng = np.random.default_rng([n, 7])
    seeing = np.linspace(2.6, 3.9, n)[rng.permutation(n)]
    photon = 0.3
    stars = [(10**power, y, x) for power, y in zip((4.7, 5.3, 6.0), (20, 60, 100), strict=True) for x in (20, 60, 100)]
    samples = np.empty((n, SIDE, SIDE, 1), np.float32)
    for frame, fwhm in zip(samples, seeing, strict=True):
        jitter = rng.normal(0, 0.1, 2)
        light = sum(star(flux, fwhm, y + jitter[0], x + jitter[1]) for flux, y, x in stars)
        light = np.minimum(light, saturation)
        frame[..., 0] = SKY + light + rng.normal(size=light.shape) * np.sqrt(NOISE**2 + photon * light)
    blur = 2.4 * np.abs((np.median(seeing) / seeing) ** 2 - 1) + 0.05
    image = kernel(samples, known(n, photon=photon)._replace(blur=blur)).image[..., 0]
    for _, y, x in stars:
        near = np.hypot(ROWS - y, COLUMNS - x) < 9
        assert (image[near] - SKY).sum() == pytest.approx((samples[:, near].mean(axis=0) - SKY).sum(), rel=0.005)
