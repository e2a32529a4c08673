# SPDX-License-Identifier: GPL-3.0-or-later
"""The GPU's tile is the CPU's, whichever array module computes it.

"numpy": NumPy in CuPy's place. "stand-in": a module with CuPy's memory, streams and separate arrays (cuda_stand_in).
"stand-in, kernel": the same, with the CUDA source built as C++. Where there is a device, "cupy": CuPy and the CUDA
kernels; "cupy, definition": CuPy's arrays by the definitions, as where a kernel does not compile.
"""

from types import SimpleNamespace

import numpy as np
import pytest

import zemosaic_align_stack as zas
import zemosaic_align_stack_gpu as zas_gpu
import zemosaic_utils
from nanstack.levels.photometry import linear_fit_coefficients
from nanstack.stack import device, gpu
from tests.support.cuda_stand_in import StandIn, compiler, cupy_or_skip, put_in_cupys_place

pytestmark = pytest.mark.numpy_bytes

TOLERANCE = 1e-3  # ADU, on data of 1000 ADU
NO_EQUALISATION = {"poststack_equalize_rgb": False}


@pytest.fixture(params=["numpy", "stand-in", "stand-in, kernel", "cupy", "cupy, definition"])
def module(request, monkeypatch):
    """Put an array module in CuPy's place, and return it."""
    if request.param.startswith("cupy"):
        if "definition" in request.param:
            monkeypatch.setattr(gpu, "kernel_launch", lambda *_: None)
        return cupy_or_skip()
    if request.param == "numpy":
        monkeypatch.setattr(zas_gpu, "cp", np)
        return np
    if "kernel" in request.param and compiler() is None:
        pytest.skip("no C++ compiler to build the CUDA source with")
    stand_in = StandIn(kernels="kernel" in request.param)
    put_in_cupys_place(monkeypatch, stand_in)
    return stand_in


def sky(n, shape=(14, 11, 3), seed=0):
    """Return frames of a sky of 1000 ADU with outliers, NaN borders of their own, and a common one."""
    rng = np.random.default_rng([seed, n])
    frames = []
    for index in range(n):
        frame = rng.normal(1000 + index % 5, 10, shape)
        outliers = rng.random(shape) < 0.04
        frame[outliers] += rng.choice([-400, 600], outliers.sum())
        frame[:, : 1 + index % 3] = np.nan
        frame[shape[0] - index % 4 :] = np.nan
        frame[rng.random(shape[:2]) < 0.05] = np.inf
        frames.append(frame.astype(np.float32))
    return frames


def on_cpu(frames, params, zconfig=NO_EQUALISATION):
    metadata = {}
    image = zas.stack_aligned_images(
        frames,
        params.get("stack_norm_method", "none"),
        params.get("stack_weight_method", "none"),
        params["stack_reject_algo"],
        params.get("stack_final_combine", "mean"),
        params.get("stack_kappa_low", 3.0),
        params.get("stack_kappa_high", 3.0),
        params.get("parsed_winsor_limits", (0.05, 0.05)),
        apply_radial_weight=params.get("apply_radial_weight", False),
        zconfig=zconfig,
        stack_metadata=metadata,
        apply_rewinsor=params.get("apply_rewinsor", True),
        match_sky=params.get("match_sky", "none"),
    )
    return image, metadata


def assert_parity(frames, params, zconfig=NO_EQUALISATION, plan=None):
    truth, described = on_cpu(frames, params, zconfig)
    image, metadata = zas_gpu.gpu_stack_from_arrays(frames, params, zconfig=zconfig, parallel_plan=plan)
    assert (image.shape, image.dtype) == (truth.shape, np.float32)
    assert np.array_equal(np.isnan(image), np.isnan(truth))
    covered = np.isfinite(truth)
    assert np.abs(image[covered] - truth[covered]).max(initial=0) <= TOLERANCE
    assert np.array_equal(metadata["coverage_map"], described["coverage_map"])
    assert metadata["rejected_fraction"] == described["rejected_fraction"]
    assert metadata["rgb_equalization"] == pytest.approx(described["rgb_equalization"], rel=1e-6, nan_ok=True)
    assert metadata["device"] == "gpu"
    return image, metadata


@pytest.mark.parametrize("n", [1, 2, 3, 5, 8, 30, 64])
@pytest.mark.parametrize("algorithm", zas.REJECTIONS)
def test_every_algorithm(module, algorithm, n):
    params = {"stack_reject_algo": algorithm, "stack_kappa_low": 1.8, "stack_kappa_high": 1.5}
    frames = sky(n)
    for combine in zas.COMBINES:
        assert_parity(frames, {**params, "stack_final_combine": combine})
    assert_parity([frame[..., 0] for frame in frames], params)


@pytest.mark.parametrize("n", [2, 3, 11])
@pytest.mark.parametrize("combine", zas.COMBINES)
def test_every_winsorized_clip(module, combine, n):
    params = {
        "stack_reject_algo": "winsorized_sigma_clip",
        "stack_final_combine": combine,
        "stack_kappa_high": 1.2,
        "parsed_winsor_limits": (0.1, 0.2),
    }
    for implementation in zas.WINSOR_METHODS:
        assert_parity(sky(n), params, {**NO_EQUALISATION, "wsc_impl": implementation})
    assert_parity(sky(n), {**params, "apply_rewinsor": False})


@pytest.mark.parametrize("algorithm", zas.REJECTIONS)
@pytest.mark.parametrize("weights", [{"stack_weight_method": "noise_variance"}, {"apply_radial_weight": True}])
def test_every_weight(module, algorithm, weights):
    params = {"stack_reject_algo": algorithm, "stack_kappa_low": 1.8, "stack_kappa_high": 1.5, **weights}
    frames = sky(7)
    assert_parity(frames, params)
    assert_parity(frames, {**params, **weights, "apply_radial_weight": True})
    assert_parity([frame[..., 0] for frame in frames], params)


def test_gpu_stack_winsorized_nan_policy_matches_cpu(module):
    frames = [np.full((8, 8, 3), level, np.float32) for level in (1000.0, 1001.0, 1002.0)]
    for frame in frames:
        frame[:, 0] = np.nan
    frames[1][:, -1] = np.nan
    params = {"stack_reject_algo": "winsorized_sigma_clip", "stack_kappa_low": 5.0, "stack_kappa_high": 5.0}
    image, metadata = assert_parity(frames, params)
    assert np.isnan(image[:, 0]).all(), "uncovered pixels are NaN, nothing fills them"
    assert np.allclose(image[:, 1:], 1001.0, atol=TOLERANCE)
    assert (metadata["coverage_min"], metadata["coverage_max"], metadata["rejected_fraction"]) == (0, 3, 0)


@pytest.mark.parametrize("normalization", ["linear_fit", "sky_mean"])
def test_winsorized_stacks_are_not_normalised_others_are(module, normalization):
    frames = [frame * (1 + 0.1 * index) for index, frame in enumerate(sky(6, (40, 30, 3)))]
    frames = [np.where(np.isfinite(frame), frame, np.nan) for frame in frames]
    params = {"stack_reject_algo": "winsorized_sigma_clip"}
    plain, _ = assert_parity(frames, params)
    image, _ = zas_gpu.gpu_stack_from_arrays(
        frames, {**params, "stack_norm_method": normalization}, zconfig=NO_EQUALISATION
    )
    assert np.array_equal(image, plain, equal_nan=True)
    for algorithm in ("kappa_sigma", "linear_fit_clip", "none"):
        assert_parity(frames, {"stack_reject_algo": algorithm, "stack_norm_method": normalization})
    assert_parity(frames, {**params, "stack_norm_method": normalization, "normalize_winsorized": True})


@pytest.mark.parametrize("match", ["offset", "linear", "plane"])
def test_skies_are_matched_alike(module, match):
    columns = np.arange(90)[:, None]
    frames = [frame * (1 + 0.1 * index) + 0.2 * index * columns for index, frame in enumerate(sky(6, (70, 90, 3)))]
    frames = [np.where(np.isfinite(frame), frame, np.nan).astype(np.float32) for frame in frames]
    for algorithm in ("winsorized_sigma_clip", "kappa_sigma"):
        params = {"stack_reject_algo": algorithm, "match_sky": match, "stack_weight_method": "noise_variance"}
        whole, metadata = assert_parity(frames, params)
        assert metadata["levelled_by"] == match
        assert np.abs(np.nanmedian(whole) - np.nanmedian(frames[0])) < 5
        in_blocks, _ = assert_parity(frames, params, plan={"gpu_rows_per_chunk": 7})
        assert np.array_equal(in_blocks, whole, equal_nan=True)
    assert_parity([frame[..., 0] for frame in frames], params)


def test_blocks_leave_no_trace(module, monkeypatch):
    frames = sky(9, (31, 12, 3))
    params = {"stack_reject_algo": "winsorized_sigma_clip", "apply_radial_weight": True, "stack_kappa_high": 1.5}
    whole, _ = assert_parity(frames, params)
    plans = [{"gpu_rows_per_chunk": rows, "gpu_max_chunk_bytes": size} for rows, size in ((1, 0), (7, None), (0, 9000))]
    for plan in (*plans, SimpleNamespace(gpu_rows_per_chunk=30, gpu_max_chunk_bytes=2**40)):
        image, _ = assert_parity(frames, params, plan=plan)
        assert np.array_equal(image, whole, equal_nan=True)
    monkeypatch.setattr(device, "SAFE_MODE_BYTES", 10_000)
    monkeypatch.setenv("ZEMOSAIC_GPU_SAFE_MODE", "1")
    seen = []
    image, _ = zas_gpu.gpu_stack_from_arrays(
        frames, params, zconfig=NO_EQUALISATION, pcb_tile=lambda key, done, total, **_: seen.append((key, done, total))
    )
    assert np.array_equal(image, whole, equal_nan=True)
    assert [done for key, done, _ in seen if key == "stack_winsorized"] == [*range(7, 29, 7), 31]


def test_colours_are_equalised_as_on_the_cpu(module):
    frames = [frame * np.float32([1, 0.7, 1.2]) for frame in sky(5)]
    image, metadata = assert_parity(frames, {"stack_reject_algo": "kappa_sigma"}, {})
    assert metadata["rgb_equalization"]["applied"]
    assert np.ptp(np.nanmedian(image, axis=(0, 1))) < 1e-2
    off = {"stack_reject_algo": "kappa_sigma", "poststack_equalize_rgb": False}
    assert not zas_gpu.gpu_stack_from_arrays(frames, off)[1]["rgb_equalization"]["enabled"]


def test_frames_from_files_and_descriptors(module, tmp_path):
    frames = sky(4)
    truth, _ = on_cpu(frames, {"stack_reject_algo": "none"})
    for index, frame in enumerate(frames[:2]):
        np.save(tmp_path / f"{index}.npy", frame)
    descriptors = [tmp_path / "0.npy", {"path_preprocessed_cache": str(tmp_path / "1.npy")}, {"data": frames[2]}]
    image, _ = zas_gpu.gpu_stack_from_paths(
        [*descriptors, frames[3]], {"stack_reject_algo": "none"}, zconfig=NO_EQUALISATION
    )
    assert np.allclose(image, truth, atol=TOLERANCE, equal_nan=True)
    for unusable in (tmp_path / "none.npy", {"nothing": 1}, tmp_path / "none.fits"):
        with pytest.raises(zas_gpu.GPUStackingError, match="a frame cannot be read"):
            zas_gpu.gpu_stack_from_paths([unusable], {"stack_reject_algo": "none"})


def test_frames_that_cannot_be_stacked_are_named_and_the_gpu_goes_on(module):
    for frames, reason in (([], "no frames"), ([np.ones(4, np.float32)], r"\(H, W\)")):
        with pytest.raises(zas_gpu.GPUStackingError, match=reason) as raised:
            zas_gpu.gpu_stack_from_arrays(frames, {})
        assert raised.value.transient
    assert zas_gpu._gpu_is_usable()


# --- the pieces ------------------------------------------------------------------------------------------------------


def put(module, array):
    return module.asarray(array)


def got(module, array):
    return gpu.to_host(module, array)


@pytest.mark.parametrize("holes", [False, True])
def test_winsorize_chunk_is_numpys_percentiles(module, holes):
    rng = np.random.default_rng(5)
    data = rng.normal(1000, 50, (17, 6, 5)).astype(np.float32)
    if holes:
        data[rng.random(data.shape) < 0.3] = np.nan
    data[:, 0, 0] = rng.normal(1000, 50, 17)
    percentile = np.nanpercentile if holes else np.percentile
    truth = np.clip(data, percentile(data, 10, axis=0), percentile(data, 80, axis=0))
    found = got(module, zas_gpu._winsorize_chunk(put(module, data), (0.1, 0.2)))
    assert found.dtype == np.float32
    assert np.allclose(found, truth, rtol=1e-6, equal_nan=True)
    assert np.array_equal(np.isnan(found), np.isnan(data))
    assert np.allclose(
        got(module, zas_gpu._winsorize_chunk(put(module, data), None)),
        np.clip(data, percentile(data, 5, axis=0), percentile(data, 95, axis=0)),
        rtol=1e-6,
        equal_nan=True,
    )


def test_kappa_clip_chunk_drops_what_the_cpu_drops(module):
    data = np.stack(sky(20))
    truth, kept = zas._reject_outliers_kappa_sigma(data, 2.0, 2.5)
    found = got(module, zas_gpu._kappa_clip_chunk(put(module, data), 2.0, 2.5))
    assert 0 < kept.sum() < np.isfinite(data).sum()
    assert np.array_equal(found, truth, equal_nan=True)


def test_combine_weighted_chunk_ignores_nan_and_falls_back_to_the_plain_mean(module):
    data = np.float32([[1, 2, np.nan, 4], [3, np.nan, np.nan, 8], [8, 6, np.nan, 6]])
    weights = np.float64([[1, 1, 1, 0], [3, 1, 1, 0], [0, 3, 1, 0]])
    found = zas_gpu._combine_weighted_chunk(put(module, data), put(module, weights), "mean")
    assert got(module, found) == pytest.approx([2.5, 5, np.nan, 6], nan_ok=True)
    for method, truth in (("median", [3, 4, np.nan, 6]), ("min", [1, 2, np.nan, 4]), ("max", [8, 6, np.nan, 8])):
        found = got(module, zas_gpu._combine_weighted_chunk(put(module, data), None, method))
        assert found == pytest.approx(truth, nan_ok=True)
        assert got(module, zas_gpu._combine_chunk(put(module, data), method)) == pytest.approx(truth, nan_ok=True)


def test_prepared_frames_are_what_is_stacked():
    frames = [frame[..., 0] * (1 + 0.2 * index) for index, frame in enumerate(sky(4, (30, 20, 3)))]
    arguments = {"zconfig": None, "pcb_tile": None, "logger": None}
    params = {"stack_reject_algo": "winsorized_sigma_clip", "stack_norm_method": "linear_fit"}
    prepared, weights, method, statistics, expanded = zas_gpu._prepare_frames_and_weights(frames, params, **arguments)
    assert (weights, method, statistics, expanded) == (None, "none", None, True)
    for own, frame in zip(prepared, frames, strict=True):
        assert np.array_equal(own[..., 0], np.where(np.isfinite(frame), frame, np.nan), equal_nan=True)
    params = {"stack_reject_algo": "none", "stack_norm_method": "linear_fit", "stack_weight_method": "noise_variance"}
    prepared, weights, method, statistics, _ = zas_gpu._prepare_frames_and_weights(frames, params, **arguments)
    gain, offset = linear_fit_coefficients(frames[3], frames[0])
    assert np.allclose(prepared[3][..., 0], np.where(np.isfinite(frames[3]), frames[3] * gain + offset, np.nan),
                       rtol=1e-5, equal_nan=True)  # fmt: skip
    assert weights.shape == (4, 30, 20, 1)
    assert method == "noise_variance"
    assert statistics["frames"] == 4
    with pytest.raises(zas_gpu.GPUStackingError, match="no frames"):
        zas_gpu._prepare_frames_and_weights([], params, **arguments)


def test_percentiles_ignore_what_is_not_there_on_both_processors(module, monkeypatch):
    rng = np.random.default_rng(6)
    values = rng.normal(500, 20, (40, 30)).astype(np.float32)
    finite = zemosaic_utils._percentiles_gpu(values, 5, 99.5)
    assert finite == pytest.approx(np.percentile(values.astype(np.float64), [5, 99.5]), rel=1e-12)
    values[:20] = np.nan
    values[20, :5] = np.inf
    found = zemosaic_utils._percentiles_gpu(values, 5, 99.5)
    assert found == pytest.approx(np.nanpercentile(values[20:].ravel()[5:].astype(np.float64), [5, 99.5]), rel=1e-12)
    assert np.isnan(zemosaic_utils._percentiles_gpu(np.full((3, 3), np.nan), 5, 95)).all()
    monkeypatch.setattr(zas_gpu, "cp", None)
    assert not zemosaic_utils.gpu_is_available()
    assert zemosaic_utils._percentiles_gpu(values, 5, 99.5) == pytest.approx(found, rel=1e-12)


def test_utilities_of_the_memory(module, monkeypatch):
    assert zemosaic_utils.gpu_is_available()
    free, total = gpu.device_memory(module)
    assert 0 < free <= total
    assert zemosaic_utils.gpu_memory_sufficient(free // 2)
    assert not zemosaic_utils.gpu_memory_sufficient(4 * total)
    zemosaic_utils.ensure_cupy_pool_initialized()
    zemosaic_utils.free_cupy_memory_pools()
    monkeypatch.setattr(zas_gpu, "cp", None)
    assert zemosaic_utils.gpu_memory_sufficient(4 * total), "nothing to be exceeded without a GPU"
    zemosaic_utils.free_cupy_memory_pools()
