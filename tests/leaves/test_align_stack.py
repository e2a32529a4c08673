# SPDX-License-Identifier: GPL-3.0-or-later
"""ZeMosaic's CPU interface: what callers rely on."""

import inspect
import math

import numpy as np
import pytest
from astropy.stats import sigma_clipped_stats

import zemosaic_align_stack as zas
from nanstack.stack.definition import Rejection
from nanstack.stack.stacker import expand_weights, stack_frames
from nanstack.truth.simulation import simulate_group, true_footprint

pytestmark = pytest.mark.numpy_bytes

SHAPE = (270, 480)
OFF = {"poststack_equalize_rgb": False}


class Listener:
    """A progress callback that remembers."""

    def __init__(self):
        self.calls = []

    def __call__(self, key, progress=None, level=None, **details):
        self.calls.append((key, progress, level, details))

    def warnings(self):
        return [key for key, _, level, _ in self.calls if level == "WARN"]


@pytest.fixture(scope="module")
def group():
    frames, _ = simulate_group(5, SHAPE, seed=3, max_shift=40.0, n_stars=250)
    return frames


@pytest.mark.parametrize(
    ("function", "parameters"),
    [
        ("align_images_in_group", "image_data_list reference_image_index detection_sigma min_area propagate_mask"),
        ("stack_winsorized_sigma_clip", "frames weights weight_method zconfig stack_metadata parallel_plan kwargs"),
        ("stack_kappa_sigma_clip", "frames weight_method zconfig stack_metadata parallel_plan kwargs"),
        ("stack_linear_fit_clip", "frames weight_method zconfig stack_metadata parallel_plan kwargs"),
        ("_winsorize_block_numpy", "arr_block limits"),
        ("_compute_quality_weights", "image_list requested_method progress_callback"),
        ("_poststack_rgb_equalization", "stacked zconfig stack_metadata"),
        ("_reject_outliers_kappa_sigma", "stacked_array_NHDWC sigma_low sigma_high progress_callback"),
    ],
)
def test_parameters_are_zemosaics(function, parameters):
    given = list(inspect.signature(getattr(zas, function)).parameters)
    assert given[: len(parameters.split())] == parameters.split()


def test_alignment_marks_exactly_what_a_frame_does_not_cover(group):
    listener = Listener()
    images, failed = zas.align_images_in_group(
        [frame.data for frame in group], 0, propagate_mask=True, progress_callback=listener
    )
    assert failed == []
    assert not listener.warnings()
    for image, frame in zip(images, group, strict=True):
        valid = np.isfinite(image).all(axis=2)
        truth = true_footprint(SHAPE, frame.transform)
        assert np.count_nonzero(valid & ~truth) < 0.002 * truth.size, "but for the fit's hundredths of a pixel"
        assert np.count_nonzero(truth & ~valid) < 0.03 * truth.size


def test_alignment_without_mask_is_finite_and_filled_with_each_channels_sky(group):
    images, failed = zas.align_images_in_group([frame.data for frame in group], 0, propagate_mask=False)
    assert failed == []
    hole = ~true_footprint(SHAPE, group[1].transform)
    assert hole.any()
    for image in images:
        assert np.isfinite(image).all()
    assert np.allclose(np.median(images[1][hole], axis=0), [1000, 720, 1080], atol=5)


@pytest.mark.parametrize("index", [7, -1, 1])
def test_group_without_a_reference_fails_whole(index):
    frames = [np.ones((*SHAPE, 3), np.float32), None]
    listener = Listener()
    assert zas.align_images_in_group(frames, index, progress_callback=listener) == ([None, None], [0, 1])
    assert listener.calls[-1][2] == "ERROR"


def test_stack_of_aligned_frames_has_the_exact_noise_and_no_coloured_rim(group):
    images, _ = zas.align_images_in_group([frame.data for frame in group], 0, propagate_mask=True)
    metadata = {}
    image, _ = zas.stack_winsorized_sigma_clip(images, zconfig=OFF, stack_metadata=metadata)
    from nanstack.levels.photometry import band_metric, noise_level

    full = metadata["coverage_map"] == 5
    assert np.all(noise_level(image, full) < 1.05 * 20 / math.sqrt(5))
    assert band_metric(image, metadata["coverage_map"]) < 2.5
    assert abs(np.nanmedian(image[..., 0]) - 1000) < 2


def test_stackers_drop_other_shapes_with_a_warning_and_keep_weights_in_step():
    listener = Listener()
    frames = [np.full((4, 4), 1.0, np.float32), np.zeros((3, 4), np.float32), np.full((4, 4), 4.0, np.float32)]
    image, _ = zas.stack_winsorized_sigma_clip(frames, weights=[1.0, 9.0, 3.0], progress_callback=listener)
    assert np.allclose(image, (1 + 3 * 4) / 4)
    assert len(listener.warnings()) == 1
    assert "frame 1 dropped" in listener.warnings()[0]


@pytest.mark.parametrize(
    "stacker", [zas.stack_winsorized_sigma_clip, zas.stack_kappa_sigma_clip, zas.stack_linear_fit_clip]
)
def test_stackers_refuse_nothing_and_other_dimensions(stacker):
    with pytest.raises(ValueError, match="no frames"):
        stacker([])
    with pytest.raises(ValueError, match="no frames"):
        stacker(None)
    with pytest.raises(ValueError, match=r"must be \(H, W\)"):
        stacker([np.zeros(4, np.float32)] * 3)


def test_nothing_to_stack_is_none():
    assert zas.stack_aligned_images([None, None]) is None


def test_unknown_methods_warn_once_each_and_do_nothing():
    listener = Listener()
    frames = [np.full((4, 4), value, np.float32) for value in (1, 2, 90)]
    image = zas.stack_aligned_images(
        frames, "average", "stars", "kappa", "meen", progress_callback=listener, zconfig=OFF
    )
    assert np.allclose(image, 31)
    assert [
        next(w for w in ("normal", "weight", "reject", "combine") if w in text) for text in listener.warnings()
    ] == [
        "normal",
        "reject",
        "combine",
        "weight",
    ]


def test_memory_settings_do_not_change_the_result():
    rng = np.random.default_rng(0)
    frames = [rng.normal(1000, 10, (40, 30, 3)).astype(np.float32) for _ in range(9)]
    plain, _ = zas.stack_winsorized_sigma_clip(frames, zconfig=OFF)
    hinted, _ = zas.stack_winsorized_sigma_clip(
        frames,
        zconfig={**OFF, "winsor_max_frames_per_pass": 3, "stack_memmap_enabled": True},
        winsor_max_frames_per_pass=2,
        winsor_max_workers=7,
    )
    assert np.array_equal(plain, hinted)


def test_rows_are_split_without_a_trace():
    rng = np.random.default_rng(1)
    frames = [rng.normal(1000, 10, (37, 20, 3)) for _ in range(8)]  # doubles: float32 is stacked where it lies
    weights = rng.uniform(0.5, 2, (8, 37, 20))
    whole = stack_frames([frame.astype(np.float32) for frame in frames], Rejection(), weights=weights)
    steps = []
    five_rows_twice = 2 * 8 * 20 * 3 * 4 * 5
    split = stack_frames(
        frames,
        Rejection(),
        weights=weights,
        memory=five_rows_twice,
        progress=lambda *step: steps.append(step),
    )
    assert np.array_equal(whole.image, split.image)
    assert (whole.rejected, whole.samples) == (split.rejected, split.samples)
    assert steps[-1] == (37, 37)
    assert len(steps) == 8


@pytest.mark.parametrize(
    ("weights", "expected"),
    [
        ([1.0, 2.0], (2, 1, 1, 1)),
        (np.ones((2, 3)), (2, 1, 1, 3)),
        (np.ones((2, 5, 6)), (2, 5, 6, 1)),
        (np.ones((2, 5, 6, 3)), (2, 5, 6, 3)),
        ([np.ones((1, 1, 3)), np.ones((1, 1, 3))], (2, 1, 1, 3)),
        ([np.ones((1,)), np.ones((1,))], (2, 1, 1, 1)),
    ],
)
def test_weights_of_every_accepted_form(weights, expected):
    assert expand_weights(weights, 2, (5, 6, 3)).shape == expected


@pytest.mark.parametrize(
    "weights", [[1.0], np.ones((2, 4)), np.ones((2, 6, 5)), 3.0, [np.ones(2), np.ones(3)], ["a", "b"]]
)
def test_weights_that_do_not_fit(weights):
    with pytest.raises(ValueError, match="weights"):
        expand_weights(weights, 2, (5, 6, 3))


def test_metadata_hold_the_weight_of_each_frame():
    sigmas = np.array([5.0, 10.0, 20.0])
    rng = np.random.default_rng(8)
    frames = [(400 + sigma * rng.standard_normal((120, 160, 3))).astype(np.float32) for sigma in sigmas]
    frames[1][:40] = np.nan
    metadata = {}
    zas.stack_aligned_images(frames, weighting_method="noise_variance", stack_metadata=metadata)
    expected = sigmas**-2 / np.mean(sigmas**-2)
    np.testing.assert_allclose(metadata["frame_weights"], expected, rtol=0.1)
    zas.stack_aligned_images(frames, weighting_method="none", stack_metadata=metadata)
    assert metadata["frame_weights"] is None


def test_quality_weights_follow_the_noise_of_valid_pixels():
    rng = np.random.default_rng(2)
    frames = [rng.normal(1000, sigma, (200, 200, 3)).astype(np.float32) for sigma in (5, 10)]
    frames[1][:100] = np.nan
    weights, method, statistics = zas._compute_quality_weights([*frames, None], "noise_variance")
    assert method == "noise_variance"
    assert weights[2] is None
    assert [weight.shape for weight in weights[:2]] == [(1, 1, 3)] * 2
    assert np.allclose(weights[0], 1)
    assert np.allclose(weights[1], 0.25, rtol=0.05)
    assert statistics["frames"] == 2
    assert zas._compute_quality_weights([frames[0][..., 0]], "noise_variance")[0][0].shape == (1,)
    assert zas._compute_quality_weights(frames, "none") == (None, "none", None)


def test_sharper_frames_weigh_more():
    sharp, _ = simulate_group(1, SHAPE, seed=5, fwhm=2.5)
    soft, _ = simulate_group(1, SHAPE, seed=5, fwhm=5.0)
    weights, method, _ = zas._compute_quality_weights([sharp[0].data, soft[0].data], "noise_fwhm")
    assert method == "noise_fwhm"
    assert np.allclose(weights[0], 1)
    assert np.allclose(weights[1], 0.25, rtol=0.25)


def test_linear_fit_normalisation_ignores_what_is_not_there():
    rng = np.random.default_rng(3)
    reference = rng.gamma(4, 100, (100, 100, 3)).astype(np.float32)
    frame = (reference - 30) / np.float32([1.1, 0.9, 1.0])
    frame[:40] = np.nan
    reference[-40:] = np.nan
    matched = zas._normalize_images_linear_fit([reference, frame.astype(np.float32), None])
    both = slice(40, 60)
    assert np.allclose(matched[1][both], reference[both], rtol=1e-4)
    assert np.isnan(matched[1][:40]).all(), "no data stays no data"
    assert matched[2] is None
    assert np.array_equal(matched[0], reference, equal_nan=True)
    assert matched[0] is not reference


def test_sky_mean_normalisation_ignores_what_is_not_there():
    rng = np.random.default_rng(4)
    reference = rng.normal(1000, 10, (100, 100)).astype(np.float32)
    frame = reference - 50
    frame[:70] = np.nan
    matched = zas._normalize_images_sky_mean([frame, reference], reference_index=1)
    assert np.allclose(matched[0][70:], reference[70:], atol=1e-3)
    assert np.isnan(matched[0][:70]).all()


def test_normalisation_without_a_reference_copies():
    listener = Listener()
    frames = [np.ones((3, 3), np.float32), None]
    copies = zas._normalize_images_sky_mean(frames, 1, progress_callback=listener)
    assert np.array_equal(copies[0], frames[0])
    assert copies[0] is not frames[0]
    assert listener.calls[-1][2] == "ERROR"


def test_frames_with_nothing_in_common_are_left_as_they_are():
    one, other = np.full((4, 4, 3), 10, np.float32), np.full((4, 4, 3), 20, np.float32)
    one[:2], other[2:] = np.nan, np.nan
    for normalize in (zas._normalize_images_linear_fit, zas._normalize_images_sky_mean):
        assert np.array_equal(normalize([one, other])[1], other, equal_nan=True)


def test_colour_equalisation_measures_valid_pixels_alone():
    rng = np.random.default_rng(5)
    image = (rng.normal(1, 0.01, (50, 50, 3)) * [1000, 720, 1080]).astype(np.float32)
    image[:30] = np.nan
    metadata = {}
    info = zas._poststack_rgb_equalization(image, None, metadata)
    assert metadata["rgb_equalization"] is info
    assert info["enabled"]
    assert info["applied"]
    assert np.allclose(np.nanmedian(image, axis=(0, 1)), info["target_median"], rtol=1e-5)
    assert info["target_median"] == pytest.approx(1000, rel=0.01)
    assert np.isnan(image[:30]).all()


@pytest.mark.parametrize("setting", [False, "no", 0, "off"])
def test_colour_equalisation_can_be_switched_off(setting):
    image = np.ones((4, 4, 3), np.float32) * np.float32([1, 2, 3])
    info = zas._poststack_rgb_equalization(image, {"poststack_equalize_rgb": setting})
    assert not info["enabled"]
    assert not info["applied"]
    assert math.isnan(info["target_median"])
    assert np.array_equal(image[0, 0], [1, 2, 3])


def test_black_image_is_not_equalised():
    image = np.zeros((4, 4, 3), np.float32)
    gains = zas.equalize_rgb_medians_inplace(image)
    assert gains[:3] == (1, 1, 1)
    assert math.isnan(gains[3])
    assert (image == 0).all()


def test_kappa_sigma_helper_drops_what_astropy_would():
    rng = np.random.default_rng(6)
    stack = rng.normal(1000, 10, (25, 3, 4, 3)).astype(np.float32)
    stack[4, 1, 2] = 3000
    stack[:5, 0, 0] = np.nan
    values, kept = zas._reject_outliers_kappa_sigma(stack, 3.0, 2.5)
    _, median, std = sigma_clipped_stats(stack[:, 1, 2, 0], sigma_lower=3.0, sigma_upper=2.5, maxiters=5)
    column = stack[:, 1, 2, 0]
    expected = (column >= median - 3.0 * std) & (column <= median + 2.5 * std)
    assert np.array_equal(kept[:, 1, 2, 0], expected)
    assert np.isnan(values[~kept]).all()
    assert np.array_equal(values[kept], stack[kept])
    assert not kept[:5, 0, 0].any()


def test_winsorized_helper_replaces_outliers_or_drops_them():
    stack = np.arange(1000, 1021, dtype=np.float32).reshape(21, 1, 1).repeat(2, axis=2)
    stack[3] = 9000
    replaced, kept = zas._reject_outliers_winsorized_sigma_clip(stack, (0.1, 0.1), 3.0, 3.0)
    dropped, _ = zas._reject_outliers_winsorized_sigma_clip(stack, (0.1, 0.1), 3.0, 3.0, apply_rewinsor=False)
    assert not kept[3].any()
    assert kept.sum() == 40
    assert np.allclose(replaced[3], np.quantile(stack[:, 0, 0], 0.9))
    assert np.isnan(dropped[3]).all()
    with pytest.raises(ValueError, match="streaming_state"):
        zas._reject_outliers_winsorized_sigma_clip(stack, (0.1, 0.1), 3.0, 3.0, streaming_state=object())


def test_minimum_signal_raises_the_level():
    frames = [np.full((4, 4), -5.0, np.float32)] * 3
    frames[0] = frames[0].copy()
    image = zas.stack_aligned_images(frames, minimum_signal_adu_target=2.0, zconfig=OFF)
    assert np.allclose(image, 2.0)


@pytest.mark.parametrize(
    ("environment", "zconfig", "default", "expected"),
    [
        (None, None, "legacy_quantile", "winsor"),
        (None, None, "pixinsight", "huber"),
        (None, {"wsc_impl": "pixinsight"}, "legacy_quantile", "huber"),
        ("legacy_quantile", {"wsc_impl": "pixinsight"}, "pixinsight", "winsor"),
        ("PixInsight ", {"wsc_impl": "legacy_quantile"}, "legacy_quantile", "huber"),
    ],
)
def test_which_winsorized_clip(monkeypatch, environment, zconfig, default, expected):
    if environment is None:
        monkeypatch.delenv(zas.WINSOR_ENVIRONMENT, raising=False)
    else:
        monkeypatch.setenv(zas.WINSOR_ENVIRONMENT, environment)
    assert zas.winsor_method(zconfig, default) == expected


def test_unknown_winsorized_clip_warns_and_is_ignored(monkeypatch):
    monkeypatch.setenv(zas.WINSOR_ENVIRONMENT, "magic")
    listener = Listener()
    assert zas.winsor_method({"wsc_impl": "pixinsight"}, callback=listener) == "huber"
    assert "'magic' is unknown" in listener.warnings()[0]


def test_settings_choose_hubers_clip(monkeypatch):
    monkeypatch.delenv(zas.WINSOR_ENVIRONMENT, raising=False)
    rng = np.random.default_rng(7)
    frames = [rng.normal(1000, 10, (20, 20)).astype(np.float32) for _ in range(12)]
    expected = stack_frames(frames, Rejection("huber")).image
    metadata = {}
    image, _ = zas.stack_winsorized_sigma_clip(
        frames, zconfig={**OFF, "wsc_impl": "pixinsight"}, stack_metadata=metadata
    )
    assert np.array_equal(image, expected)
    assert metadata["rejection"] == "huber"
    other = zas.stack_aligned_images(
        frames, rejection_algorithm="winsorized_sigma_clip", zconfig={**OFF, "wsc_impl": "pixinsight"}
    )
    assert np.array_equal(other, expected)
    assert not np.array_equal(zas.stack_winsorized_sigma_clip(frames, zconfig=OFF)[0], expected)
