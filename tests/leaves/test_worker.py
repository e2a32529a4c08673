# SPDX-License-Identifier: GPL-3.0-or-later
"""From cached frames to a master tile file, and back."""

import inspect
import signal
import sys
import tempfile
import threading
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
from astropy.io import fits
from astropy.wcs import WCS

import zemosaic_align_stack_gpu as zas_gpu
import zemosaic_worker as worker
from nanstack.io.frames import FrameError
from nanstack.levels.photometry import band_metric, noise_level
from nanstack.truth.simulation import simulate_group, true_footprint
from tests.support.cached_groups import SHAPE, Listener, cached, make, moved_solution
from tests.support.cuda_stand_in import StandIn, device_lost, put_in_cupys_place

pytestmark = pytest.mark.numpy_bytes


@pytest.fixture(scope="module")
def simulated():
    return simulate_group(6, SHAPE, seed=21, max_shift=45.0, max_rotation=5.0, n_stars=250)[0]


def test_parameters_are_those_of_431_with_450s_added():
    parameters = list(inspect.signature(worker.create_master_tile).parameters)
    assert parameters[:12] == [
        "seestar_stack_group_info", "tile_id", "output_temp_dir", "stack_norm_method", "stack_weight_method",
        "stack_reject_algo", "stack_kappa_low", "stack_kappa_high", "parsed_winsor_limits", "stack_final_combine",
        "poststack_equalize_rgb", "apply_radial_weight",
    ]  # fmt: skip
    assert parameters[-4:] == ["dbg_tile_ids", "abort_event", "heartbeat_callback", "_internal_chunk_depth"]


def test_tile_from_caches_to_file_and_back(simulated, tmp_path):
    listener = Listener()
    (path, wcs), retry = make(cached(tmp_path, simulated), tmp_path / "tiles", listener, dbg_tile_ids={7})
    assert retry == []
    assert path == str(tmp_path / "tiles" / "master_tile_007.fits")
    assert [item.name for item in (tmp_path / "tiles").iterdir()] == ["master_tile_007.fits"], "no temporary file left"
    with fits.open(path, checksum=True) as hdus:
        assert [hdu.name for hdu in hdus] == ["RGB", "ALPHA", "COVERAGE"]
        header, image = hdus[0].header, np.moveaxis(hdus[0].data, 0, -1)
        alpha, coverage = hdus["ALPHA"].data, hdus["COVERAGE"].data
        assert (hdus[0].data.dtype.name, alpha.dtype.name, coverage.dtype.name) == ("float32", "uint8", "uint16")
    assert header["CTYPE3"] == "RGB"
    assert np.array_equal(alpha == 255, np.isfinite(image).all(axis=2))
    assert np.array_equal(alpha == 255, coverage > 0)
    for card, value in {
        "ZMT_TYPE": "Master Tile", "ZMT_ID": 7, "ZMT_NRAW": 6, "ZMT_NALGN": 6, "MT_NFRAMES": 6, "ZMT_NORM": "none",
        "ZMT_WGHT": "none", "ZMT_RADW": False, "ZMT_REJ": "winsorized_sigma_clip", "ZMT_KAPLO": 3.0, "ZMT_WINLO": 0.05,
        "ZMT_COMB": "mean", "ZMT_P3CO": 0, "ZMT_ANCH": -1, "ALPHAEXT": 1, "EXPTOTAL": 60.0, "NEXP_SUM": 6,
        "OBJECT": "M 45", "RGBGAINR": 1.0, "RGBEQMED": "nan", "ZMT_QCRO": False, "NPA_ALGN": 6, "NPA_COVX": 6,
    }.items():  # fmt: skip
        assert header[card] == value, card
    assert "HISTORY" in header
    assert "MT_COVERAGE: propagate_mask=True" in listener.keys
    assert any(key.startswith("MT_COVERAGE_STATS: tile=7") for key in listener.keys)
    order = ["creation_started_from_cache", "loading_from_cache_started", "reference_set",
             "intra_tile_alignment_started", "intra_tile_alignment_finished", "stacking_started", "stacking_finished",
             "saved"]  # fmt: skip
    assert [key.removeprefix("mastertile_info_") for key in listener.keys if "mastertile_info" in key] == order
    assert noise_level(image, coverage == 6).max() < 1.05 * 20 / np.sqrt(6)
    assert band_metric(image, coverage) < 3

    data, weights, back = worker.load_image_with_optional_alpha(path)
    assert np.array_equal(data, image, equal_nan=True)
    assert np.array_equal(weights, alpha / np.float32(255))
    assert np.array_equal(back, alpha)
    sky = wcs.pixel_to_world(10, 20)
    assert WCS(header, naxis=2).world_to_pixel(sky) == pytest.approx((10, 20), abs=1e-6)


def test_frames_are_matched_in_sky_level_before_they_are_stacked(tmp_path, monkeypatch):
    frames, _ = simulate_group(6, SHAPE, seed=21, max_shift=45.0, max_rotation=5.0, n_stars=250, sky_scatter=0.1)
    infos = cached(tmp_path, frames)
    reference = frames[worker._pick_central_reference_index(infos, True)].sky[0]
    bands = {}
    for algorithm, norm in (
        ("winsorized_sigma_clip", "none"),
        ("winsorized_sigma_clip", "linear_fit"),
        ("none", "none"),
    ):
        (path, _), _ = make(infos, tmp_path, stack_reject_algo=algorithm, stack_norm_method=norm)
        header, image = fits.getheader(path), np.moveaxis(fits.getdata(path, memmap=False), 0, -1)
        assert (header["NPA_SKYM"], header["ZMT_NORM"]) == ("offset", "none")
        assert header["NPA_SKYX"] == pytest.approx(max(np.abs(f.sky[0] - reference).max() for f in frames), abs=1)
        assert np.nanmedian(image, axis=(0, 1)) == pytest.approx(reference, abs=2)
        bands[algorithm, norm] = header["NPA_BAND"]
    assert max(bands.values()) < 3
    (path, _), _ = make(infos, tmp_path, stack_reject_algo="kappa_sigma", stack_norm_method="sky_mean")
    assert fits.getheader(path)["NPA_SKYM"] == "sky_mean"
    monkeypatch.setattr(worker, "_load_zconfig", lambda: SimpleNamespace(match_sky="none"))
    (path, _), _ = make(infos, tmp_path)
    assert fits.getheader(path)["NPA_BAND"] > 6
    assert "NPA_SKYX" not in fits.getheader(path)


def test_frame_beside_the_reference_is_named(simulated, tmp_path):
    one, other = (frame.data.copy() for frame in (simulated[0], simulated[0]))
    one[:, 230:], other[:, :250] = np.nan, np.nan
    infos = [dict(info, wcs=moved_solution(simulated[0].transform)) for info in cached(tmp_path, simulated[:2])]
    for info, data in zip(infos, (one, other), strict=True):
        np.save(info["path_preprocessed_cache"], data)
    listener = Listener()
    (path, _), _ = make(infos, tmp_path, listener)
    assert fits.getheader(path)["ZMT_NALGN"] == 2
    warnings = [key for key, level, _ in listener.calls if level == "WARN" and "sky level" in key]
    assert warnings == ["Light_1.fit: not matched in sky level, as it has too little in common with Light_0.fit"]


def test_tile_covers_the_union_of_the_true_footprints(simulated, tmp_path):
    infos = cached(tmp_path, simulated)
    reference = worker._pick_central_reference_index(infos, True)
    (path, wcs), _ = make(infos, tmp_path)
    solution = infos[reference]["wcs"]
    left, top = np.rint(solution.wcs.crpix - wcs.wcs.crpix).astype(int)
    with fits.open(path) as hdus:
        coverage = hdus["COVERAGE"].data.astype(int)
    to_reference = np.vstack([simulated[reference].transform, [0, 0, 1]])
    truth = sum(
        true_footprint(SHAPE, (np.vstack([frame.transform, [0, 0, 1]]) @ np.linalg.inv(to_reference))[:2]).astype(int)
        for frame in simulated
    )[top : top + coverage.shape[0], left : left + coverage.shape[1]]
    assert (coverage <= truth).mean() > 0.998
    assert (coverage == truth).mean() > 0.9


def test_tile_of_the_gpu_is_the_cpus_and_a_lost_gpu_changes_nothing(simulated, tmp_path, monkeypatch):
    infos = cached(tmp_path, simulated)
    asked = SimpleNamespace(use_gpu=True, gpu_rows_per_chunk=100)
    monkeypatch.setattr(zas_gpu, "cp", np)
    tiles, listeners = [], []
    for fault in (None, "no device", "in the middle"):
        listener = Listener()
        if fault is not None:
            device = StandIn()
            device.fail(1 if fault == "no device" else 20, device_lost, lasting=True)
            put_in_cupys_place(monkeypatch, device)
        (path, _), _ = make(infos, tmp_path / str(fault), listener, parallel_plan=asked)
        tiles.append(fits.getdata(path))
        listeners.append(listener)
    (path, _), _ = make(infos, tmp_path / "cpu", parallel_plan=SimpleNamespace(use_gpu=False))
    for tile in tiles:
        assert np.allclose(tile, fits.getdata(path), atol=1e-3, equal_nan=True)
    good, missing, lost = listeners
    assert "stack_using_gpu" in good.keys
    assert not [key for key, level, _ in good.calls if level == "WARN"]
    for listener, expected in ((missing, "stack_gpu_fallback_unavailable"), (lost, "stack_gpu_fallback_runtime_error")):
        ((key, details),) = [(key, details) for key, level, details in listener.calls if level == "WARN"]
        assert key == expected
        assert "device lost" in details["reason"]
        assert listener.keys.index("stack_using_cpu") > listener.keys.index(key)


def test_reference_heads_the_pointings():
    infos = [{"wcs": moved_solution(np.array([[1.0, 0, dx], [0, 1.0, 0]]))} for dx in (-90, 4, 120)]
    assert worker._pick_central_reference_index(infos, False) == 1
    assert worker._pick_central_reference_index(infos, True) is None
    assert worker._pick_central_reference_index([{"wcs": None}], False) is None


def test_frame_that_cannot_be_aligned_is_to_be_retried(simulated, tmp_path):
    infos = cached(tmp_path, simulated[:5])
    infos.append(dict(infos[4], path_preprocessed_cache=str(tmp_path / "noise.npy"), wcs=None, retry_attempt=1))
    noise = np.random.default_rng(0).normal(1000, 20, (*SHAPE, 3)).astype(np.float32)
    np.save(tmp_path / "noise.npy", noise)
    (path, _), retry = make(infos, tmp_path)
    assert fits.getheader(path)["ZMT_NALGN"] == 5
    assert len(retry) == 1
    assert [info["retry_attempt"] for info in retry[0]] == [2]
    assert retry[0][0]["retry_origin_chain"] == [7]
    assert infos[5]["retry_attempt"] == 1, "the caller's dict is not touched"
    assert "failed" in str(fits.getheader(path)["HISTORY"])


def test_missing_and_invalid_caches_are_named(simulated, tmp_path):
    infos = cached(tmp_path, simulated[:4])
    infos[1]["path_preprocessed_cache"] = str(tmp_path / "gone.npy")
    np.save(tmp_path / "mono.npy", np.zeros(SHAPE, np.float32))
    infos.append(dict(infos[0], path_preprocessed_cache=str(tmp_path / "mono.npy")))
    (tmp_path / "broken.npy").write_bytes(b"not a numpy file")
    infos.append(dict(infos[0], path_preprocessed_cache=str(tmp_path / "broken.npy")))
    listener = Listener()
    (path, _), _ = make(infos, tmp_path, listener)
    assert fits.getheader(path)["ZMT_NALGN"] == 3
    assert "mastertile_warn_cache_file_missing" in listener.keys
    assert "mastertile_warn_invalid_cached_data" in listener.keys
    assert "mastertile_error_loading_cache" in listener.keys


def test_no_caches_no_tile_no_exception(tmp_path):
    listener = Listener()
    infos = [{"path_preprocessed_cache": str(tmp_path / f"{i}.npy"), "path_raw": f"{i}.fit"} for i in range(3)]
    assert make(infos, tmp_path, listener) == ((None, None), [])
    warnings = [key for key, level, _ in listener.calls if level == "WARN"]
    assert warnings == ["mastertile_warn_cache_file_missing"] * 3
    assert listener.keys[-1] == "mastertile_error_no_valid_images_from_cache"
    assert make([], tmp_path, listener) == ((None, None), [])
    assert listener.keys[-1] == "mastertile_error_no_images_provided"


@pytest.mark.parametrize(("count", "extreme"), [(999, False), (1000, True)])
def test_extreme_group_is_announced(tmp_path, count, extreme):
    listener = Listener()
    make([{"path_preprocessed_cache": str(tmp_path / "none.npy")}] * count, tmp_path, listener)
    assert ("mastertile_extreme_group" in listener.keys) is extreme


def test_unknown_methods_warn_once_and_do_nothing(simulated, tmp_path):
    listener = Listener()
    (path, _), _ = make(
        cached(tmp_path, simulated[:3]), tmp_path, listener, stack_reject_algo="kappa", stack_norm_method="median"
    )
    warnings = [key for key, level, _ in listener.calls if level == "WARN"]
    assert len(warnings) == 2
    assert any("rejection 'kappa' is unknown" in text for text in warnings)
    assert any("normalisation 'median' is unknown" in text for text in warnings)
    assert fits.getheader(path)["NPA_REJP"] == 0


def test_reference_without_solution_or_header_is_refused(simulated, tmp_path):
    for missing in ("wcs", "header"):
        infos = [dict(info, **{missing: None}) for info in cached(tmp_path, simulated[:3])]
        listener = Listener()
        assert make(infos, tmp_path, listener) == ((None, None), [])
        assert listener.keys[-1] == "mastertile_error_invalid_ref_wcs_header"


def test_tile_without_signal_is_transparent(tmp_path, simulated):
    infos = cached(tmp_path, simulated[:3])
    for info in infos:
        np.save(info["path_preprocessed_cache"], np.zeros((*SHAPE, 3), np.float32))
    (path, _), _ = make(infos, tmp_path)
    with fits.open(path) as hdus:
        assert hdus[0].header["ZMT_EMPT"] == 1
        assert hdus[0].header["ZMT_EMAX"] == 0
        assert np.isnan(hdus[0].data).all()
        assert (hdus["ALPHA"].data == 0).all()
    data, weights, alpha = worker.load_image_with_optional_alpha(path)
    assert np.isnan(data).all()
    assert not weights.any()
    assert not alpha.any()


def test_edges_are_trimmed_and_the_solution_moves_along(simulated, tmp_path):
    infos = cached(tmp_path, simulated[:1])
    frame = simulated[0].data.copy()
    frame[:15] = np.nan
    frame[:, :20] = np.nan
    frame[40:60, -3:] = np.nan
    np.save(infos[0]["path_preprocessed_cache"], frame)
    listener = Listener()
    (path, wcs), _ = make(infos, tmp_path, listener, min_safe_stack_size=1)
    assert fits.getdata(path).shape == (3, SHAPE[0] - 15, SHAPE[1] - 20)
    assert infos[0]["wcs"].wcs.crpix - wcs.wcs.crpix == pytest.approx([20, 15])
    assert any("MT_EDGE_TRIM" in key for key in listener.keys)


def test_small_tiles_are_not_trimmed_away(simulated, tmp_path):
    infos = cached(tmp_path, simulated[:1])
    frame = np.full((100, 100, 3), 500, np.float32)
    frame[:50] = np.nan
    np.save(infos[0]["path_preprocessed_cache"], frame)
    (path, _), _ = make(infos, tmp_path)
    assert fits.getdata(path).shape == (3, 100, 100)


def test_options_of_modules_that_are_missing_are_named_and_skipped(simulated, tmp_path, monkeypatch):
    for name in ("lecropper", "zequalityMT"):
        monkeypatch.setitem(sys.modules, name, None)  # makes the import fail, as where ZeMosaic is not installed
    listener = Listener()
    (path, _), _ = make(
        cached(tmp_path, simulated[:3]),
        tmp_path,
        listener,
        quality_crop_enabled=True,
        altaz_cleanup_enabled=True,
        quality_gate_enabled=True,
    )
    assert path
    warnings = [key for key, level, _ in listener.calls if level == "WARN"]
    assert [next(o for o in ("quality crop", "AltAz cleanup", "quality gate") if o in text) for text in warnings] == [
        "quality crop",
        "AltAz cleanup",
        "quality gate",
    ]


def test_options_of_modules_that_are_there_are_used(simulated, tmp_path, monkeypatch):
    lecropper, gate = ModuleType("lecropper"), ModuleType("zequalityMT")
    lecropper.detect_autocrop_rgb = lambda lum, r, g, b, **_: (10, 20, lum.shape[0] - 30, lum.shape[1] - 40)

    def mask_altaz_artifacts(image, **settings):
        mask = np.ones(image.shape[:2], np.float32)
        mask[:, :100] = 0
        return image, mask

    lecropper.mask_altaz_artifacts = mask_altaz_artifacts
    gate.quality_metrics = lambda image, **_: {"score": 0.9}
    gate._accept_override = lambda metrics, threshold: False
    monkeypatch.setitem(sys.modules, "lecropper", lecropper)
    monkeypatch.setitem(sys.modules, "zequalityMT", gate)
    infos = cached(tmp_path, simulated[:3])
    (path, wcs), _ = make(infos, tmp_path, quality_crop_enabled=True)
    assert fits.getdata(path).shape == (3, SHAPE[0] - 40, SHAPE[1] - 60)
    assert fits.getheader(path)["ZMT_QBOX"] == "10,20,240,440"
    reference = infos[worker._pick_central_reference_index(infos, True)]["wcs"]
    assert reference.wcs.crpix - wcs.wcs.crpix == pytest.approx([20, 10])
    (path, _), _ = make(infos, tmp_path, altaz_cleanup_enabled=True, altaz_nanize=True)
    assert fits.getdata(path).shape[2] == SHAPE[1] - 100, "what the mask takes away is trimmed"
    outcome = make(infos, tmp_path / "gate", quality_gate_enabled=True, quality_gate_move_rejects=True)
    assert outcome == ((None, None), [])
    assert (tmp_path / "gate" / "rejected_by_quality" / "master_tile_007.fits").is_file()
    (path, _), _ = make(infos, tmp_path / "gate", quality_gate_enabled=True, quality_gate_threshold=0.95)
    assert fits.getheader(path)["ZMT_QBD"] == 0


def test_abort_and_heartbeat(simulated, tmp_path):
    infos, beats, stop = cached(tmp_path, simulated[:3]), [], threading.Event()
    (path, _), _ = make(infos, tmp_path, heartbeat_callback=lambda: beats.append(1), abort_event=stop)
    assert path
    assert len(beats) >= 3
    stop.set()
    assert make(infos, tmp_path / "stopped", abort_event=stop) == ((None, None), [])
    assert not (tmp_path / "stopped").exists()


def test_output_that_cannot_be_written_is_reported(simulated, tmp_path):
    (tmp_path / "file").write_text("in the way")
    listener = Listener()
    assert make(cached(tmp_path, simulated[:3]), tmp_path / "file", listener)[0] == (None, None)
    assert listener.keys[-1] == "mastertile_error_saving"


@pytest.fixture
def no_large_files():
    """Let no file grow beyond 200 kB: a disk on which a frame has no room."""
    resource = pytest.importorskip("resource", reason="limits on file sizes are Unix's")
    limits, handler = resource.getrlimit(resource.RLIMIT_FSIZE), signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, limits[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    signal.signal(signal.SIGXFSZ, handler)


def test_full_scratch_disk_is_reported(simulated, tmp_path, monkeypatch, request):
    infos = cached(tmp_path, simulated[:3])
    monkeypatch.setattr("nanstack.memory.memory_budget", lambda: 1000)  # so that aligned frames go to files
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    request.getfixturevalue("no_large_files")
    listener = Listener()
    assert make(infos, tmp_path / "out", listener) == ((None, None), [])
    key, level, details = listener.calls[-1]
    assert (key, level) == ("mastertile_error_stacking_failed", "ERROR")
    assert "temporary folder" in details["error"]
    assert not list(tmp_path.glob("nanstack-scratch-*")), "nothing is left"


def test_temporary_folder_that_is_gone_is_reported(simulated, tmp_path, monkeypatch):
    monkeypatch.setattr("nanstack.memory.memory_budget", lambda: 1000)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "gone"))
    listener = Listener()
    assert make(cached(tmp_path, simulated[:3]), tmp_path / "out", listener)[0] == (None, None)
    assert listener.keys[-1] == "mastertile_error_stacking_failed"


def test_nothing_fills_nan(simulated, tmp_path, monkeypatch):
    def caught(*_, **__):
        raise AssertionError("nan_to_num was called")

    monkeypatch.setattr(np, "nan_to_num", caught)
    (path, _), _ = make(cached(tmp_path, simulated[:3]), tmp_path)
    assert path


def test_cache_is_mapped_or_read_where_windows_cannot_map(tmp_path, monkeypatch):
    path = tmp_path / "cache.npy"
    np.save(path, np.ones((2, 2, 3), np.float32))
    assert isinstance(worker._safe_load_cache(str(path)), np.memmap)
    plain, seen = np.load, []

    def load(name, allow_pickle=False, mmap_mode=None):
        if mmap_mode:
            raise OSError("[WinError 1455] The paging file is too small")
        return plain(name, allow_pickle=allow_pickle)

    monkeypatch.setattr(np, "load", load)
    frame = worker._safe_load_cache(str(path), pcb=lambda key, **details: seen.append((key, details["lvl"])), tile_id=1)
    assert np.array_equal(frame, np.ones((2, 2, 3)))
    assert seen == [("stack_mem_fallback_memmap_to_ram", "WARN")]


def test_cache_with_pickles_or_other_errors_is_refused(tmp_path):
    np.save(tmp_path / "objects.npy", np.array([{}], dtype=object), allow_pickle=True)
    with pytest.raises(ValueError, match="[Oo]bject"):
        worker._safe_load_cache(str(tmp_path / "objects.npy"))
    with pytest.raises(FileNotFoundError):
        worker._safe_load_cache(str(tmp_path / "none.npy"))


def test_nanize_by_coverage():
    image = np.ones((2, 2, 3), np.float32)
    result = worker._nanize_by_coverage(
        image, np.array([[1, 0], [0, 2]]), alpha_u8=np.array([[255, 0], [128, 0]], np.uint8)
    )
    assert np.array_equal(np.isnan(result).all(axis=2), [[False, True], [True, True]])
    assert np.isfinite(image).all()
    assert worker._nanize_by_coverage(image, np.ones((3, 3))) is image


def test_reading_an_image_that_is_none(tmp_path):
    (tmp_path / "no.fits").write_text("SIMPLE = no")
    with pytest.raises(FrameError, match=r"no\.fits: .*not a FITS file"):
        worker.load_image_with_optional_alpha(str(tmp_path / "no.fits"))
