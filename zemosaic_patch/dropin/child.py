# SPDX-License-Identifier: GPL-3.0-or-later
"""What `zemosaic-patch verify` runs in ZeMosaic's own Python: its imports, then tiles from cached frames.

Needs nothing but what ZeMosaic needs, and is run from another folder than this project's, whose modules have the names
of ZeMosaic's. ``python child.py JOB.json`` writes RESULT.json beside the job.
"""

from __future__ import annotations

import importlib
import importlib.util
import json
import multiprocessing
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

SETTINGS = {
    "stack_norm_method": "none",
    "stack_weight_method": "none",
    "stack_reject_algo": "winsorized_sigma_clip",
    "stack_kappa_low": 3.0,
    "stack_kappa_high": 3.0,
    "parsed_winsor_limits": (0.05, 0.05),
    "stack_final_combine": "mean",
    "poststack_equalize_rgb": True,  # as by default; without it, early 4.3 cannot write its header
    "apply_radial_weight": False,
    "radial_feather_fraction": 0.8,
    "radial_shape_power": 2.0,
    "min_radial_weight_floor": 0.0,
    "quality_crop_enabled": False,
    "quality_crop_band_px": 32,
    "quality_crop_k_sigma": 2.0,
    "quality_crop_margin_px": 8,
    "quality_crop_min_run": 2,
    "altaz_cleanup_enabled": False,
    "altaz_margin_percent": 5.0,
    "altaz_decay": 0.15,
    "altaz_nanize": True,
    "quality_gate_enabled": False,
    "quality_gate_threshold": 0.48,
    "quality_gate_edge_band_px": 64,
    "quality_gate_k_sigma": 2.5,
    "quality_gate_erode_px": 3,
    "quality_gate_move_rejects": False,
    "astap_exe_path_global": "",
    "astap_data_dir_global": "",
    "astap_search_radius_global": 3.0,
    "astap_downsample_global": 2,
    "astap_sensitivity_global": 100,
    "astap_timeout_seconds_global": 60,
    "winsor_pool_workers": 1,
    "winsor_max_frames_per_pass": 0,
}


def probe(home: str, package: bool) -> list[str]:
    """Import ZeMosaic's modules and return those functions that the patch has replaced."""
    if package:
        place = [home]
        spec = importlib.util.spec_from_file_location(
            "zemosaic", Path(home, "__init__.py"), submodule_search_locations=place
        )
        sys.modules["zemosaic"] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules["zemosaic"])
    sys.path.insert(0, home)
    prefix = "zemosaic." if package else ""
    importlib.import_module(f"{prefix}zemosaic_worker")
    replaced = []
    for name in ("zemosaic_align_stack", "zemosaic_align_stack_gpu", "zemosaic_utils"):
        module = importlib.import_module(prefix + name)
        replaced += [f"{name}.{key}" for key, value in sorted(vars(module).items()) if _is_ours(value)]
    return replaced


def _is_ours(value: Any) -> bool:
    code = getattr(value, "__code__", None)
    return hasattr(value, "__wrapped__") and code is not None and "zemosaic_patch_engine" in code.co_filename


def group(frames: list[dict]) -> list[dict]:
    """Return ZeMosaic's description of a group of cached frames."""
    from astropy.io import fits
    from astropy.wcs import WCS

    infos = []
    for frame in frames:
        header = fits.Header(frame["header"])
        wcs = WCS(header)
        wcs.pixel_shape = tuple(frame["pixel_shape"])
        infos.append(
            {
                "path_preprocessed_cache": frame["path"],
                "path_raw": Path(frame["path"]).with_suffix(".fit").name,
                "header": {"EXPTIME": 10.0, "OBJECT": "simulated", **frame["header"]},
                "wcs": wcs,
            }
        )
    return infos


def make_tile(worker: Any, infos: list[dict], tile_id: int, folder: str, changes: dict) -> dict:
    """Make a tile; return its path, what was reported, and how long it took."""
    said: list[list] = []
    reference = []

    def listen(key: str, progress: Any = None, level: str = "INFO", **details: Any) -> None:
        said.append([f"{key}: {details['error']}" if details.get("error") else str(key), str(level)])
        if key == "mastertile_info_reference_set":
            reference.append(details.get("ref_index", 0))

    started = time.perf_counter()
    (path, _), retry = worker.create_master_tile(
        seestar_stack_group_info=infos,
        tile_id=tile_id,
        output_temp_dir=folder,
        progress_callback=listen,
        dbg_tile_ids={tile_id},
        **{**SETTINGS, **changes},
    )
    return {
        "path": path,
        "seconds": round(time.perf_counter() - started, 2),
        "reference": reference[0] if reference else 0,
        "failed": sum(len(one) for one in retry),
        "said": said,
    }


@contextmanager
def skies(worker: Any, matched: bool) -> Iterator[None]:
    """Have a patched ZeMosaic leave the frames' skies as they are, unless they are to be matched."""
    hooks = getattr(worker.zemosaic_align_stack, "_zemosaic_patch", None)
    if matched or hooks is None:
        yield
        return
    match_sky, hooks.match_sky = hooks.match_sky, lambda *args: None
    try:
        yield
    finally:
        hooks.match_sky = match_sky


def winsorized_clip() -> str:
    """Return which winsorized clip this ZeMosaic's settings ask for."""
    resolve = getattr(sys.modules["zemosaic_align_stack"], "resolve_wsc_impl", None)
    if resolve is None:
        return "legacy_quantile"
    return resolve(SimpleNamespace(**importlib.import_module("zemosaic_config").load_config()))


def peak_memory() -> int | None:
    """Return the most memory this process has had, in bytes."""
    if os.name == "nt":
        import psutil

        return psutil.Process().memory_info().peak_wset
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def main(job_file: str) -> None:
    """Do the job that a file describes."""
    job = json.loads(Path(job_file).read_text(encoding="utf-8"))
    home, result = job["home"], {}
    if job.get("probe", True):
        with multiprocessing.get_context("spawn").Pool(1, maxtasksperchild=1) as pool:
            result["spawned"] = pool.apply(probe, (home, False))
            result["package"] = pool.apply(probe, (home, True))
    result["imported"] = probe(home, False)
    worker = sys.modules["zemosaic_worker"]
    result["tiles"] = []
    for number, tile in enumerate(job["tiles"], start=1):
        with skies(worker, tile["matched"]):
            made = make_tile(worker, group(tile["frames"]), number, job["output"], tile["changes"])
        result["tiles"].append(made)
    result["wsc_impl"] = winsorized_clip()
    result["peak_memory"] = peak_memory()
    Path(job_file).with_name("RESULT.json").write_text(json.dumps(result), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1])
