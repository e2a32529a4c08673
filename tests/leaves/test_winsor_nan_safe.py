# SPDX-License-Identifier: GPL-3.0-or-later
"""The winsorized stack where frames have no data: what the patch exists for."""

from types import SimpleNamespace

import numpy as np
import pytest

import zemosaic_align_stack as zas

pytestmark = pytest.mark.numpy_bytes

NO_EQUALISATION = SimpleNamespace(poststack_equalize_rgb=False)


def three_frames():
    """Three frames of 10, 12 and 14 ADU: the first column has no data at all, the last none in the middle frame."""
    frames = [np.full((6, 6, 3), level, np.float32) for level in (10.0, 12.0, 14.0)]
    for frame in frames:
        frame[:, 0] = np.nan
    frames[1][:, -1] = np.nan
    return frames


def test_three_frames_with_nan_borders():
    metadata = {}
    image, rejected = zas.stack_winsorized_sigma_clip(
        three_frames(), zconfig=NO_EQUALISATION, stack_metadata=metadata, winsor_limits=(0.05, 0.05), kappa=3.0
    )
    assert image.dtype == np.float32
    assert np.allclose(image[:, 1:-1], 12.0, atol=1e-3)
    assert np.isnan(image[:, 0]).all(), "the uncovered border is no data, never coloured"
    assert np.allclose(image[:, -1], 12.0, atol=1e-3), "two frames of 10 and 14"
    assert rejected == 0
    assert metadata["winsor_quantile"] == "nan-aware"
    assert metadata["rejected_fraction"] == 0
    assert (metadata["coverage_min"], metadata["coverage_median"], metadata["coverage_max"]) == (0, 3, 3)
    assert np.array_equal(metadata["coverage_map"][0], [0, 3, 3, 3, 3, 2])


@pytest.mark.parametrize("algorithm", zas.REJECTIONS)
@pytest.mark.parametrize("combine", zas.COMBINES)
@pytest.mark.parametrize("normalize", ["none", "linear_fit", "sky_mean"])
def test_every_algorithm_ignores_what_is_not_there(algorithm, combine, normalize):
    image = zas.stack_aligned_images(
        three_frames(), normalize, "none", algorithm, combine, zconfig={"poststack_equalize_rgb": False}
    )
    assert np.isnan(image[:, 0]).all()
    assert np.isfinite(image[:, 1:]).all()
    colours = image[:, 1:] - image[:, 1:, :1]
    assert np.abs(colours).max() < 1e-3, "grey frames give a grey stack, at the border too"


@pytest.mark.parametrize("seed", range(4))
def test_block_equals_nanquantile(seed):
    rng = np.random.default_rng(seed)
    block = rng.normal(1000, 50, (17, 8, 9, 3)).astype(np.float32)
    block[rng.random(block.shape) < 0.3] = np.nan
    block[:, 0, 0] = np.nan
    block[1:, 0, 1] = np.nan
    low, high = 0.05 + 0.04 * seed, 0.1
    clipped = zas._winsorize_block_numpy(block, (low, high))
    with np.errstate(all="ignore"), pytest.warns(RuntimeWarning, match="All-NaN"):
        lower, upper = np.nanquantile(block, low, axis=0), np.nanquantile(block, 1 - high, axis=0)
    assert clipped.dtype == np.float32
    assert np.allclose(clipped, np.clip(block, lower, upper), rtol=1e-6, equal_nan=True)


def outside(calls, answer=5.0):
    def stacker(frames, **settings):
        calls.append((len(frames), settings))
        return np.full_like(frames[0], answer), 1.5

    return stacker


def test_external_stack_is_used_for_finite_frames_alone(monkeypatch):
    calls, warnings = [], []
    monkeypatch.setattr(zas, "cpu_stack_winsorized", outside(calls))

    def progress(key, value=None, level=None, **_):
        if level == "WARN":
            warnings.append(key)

    finite = [np.full((6, 6, 3), level, np.float32) for level in (10, 12, 14)]
    image, rejected = zas.stack_winsorized_sigma_clip(finite, zconfig=NO_EQUALISATION, progress_callback=progress)
    assert len(calls) == 1
    assert (image == 5).all()
    assert rejected == pytest.approx(1.5, abs=0.5)
    assert not warnings

    image, _ = zas.stack_winsorized_sigma_clip(three_frames(), zconfig=NO_EQUALISATION, progress_callback=progress)
    assert len(calls) == 1, "not called where a sample is missing"
    assert np.allclose(image[:, 1:], 12.0, atol=1e-3)
    assert len(warnings) == 1
    assert "3 of 3 frames" in warnings[0]


def test_external_stack_that_fails_or_lies_is_replaced(monkeypatch):
    warnings = []

    def progress(key, value=None, level=None, **_):
        if level == "WARN":
            warnings.append(key)

    finite = [np.full((6, 6, 3), level, np.float32) for level in (10, 12, 14)]

    def broken(frames, **settings):
        raise RuntimeError("no such device")

    for stacker in (broken, lambda frames, **_: frames[0][:2]):
        monkeypatch.setattr(zas, "cpu_stack_winsorized", stacker)
        image, _ = zas.stack_winsorized_sigma_clip(finite, zconfig=NO_EQUALISATION, progress_callback=progress)
        assert np.allclose(image, 12.0)
    assert "no such device" in warnings[0]
    assert "shape" in warnings[1]
