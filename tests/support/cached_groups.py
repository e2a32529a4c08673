# SPDX-License-Identifier: GPL-3.0-or-later
"""Groups of cached frames as ZeMosaic hands them to `create_master_tile`, and who listens to it."""

import numpy as np
from astropy.wcs import WCS

import zemosaic_worker as worker
from nanstack.truth.simulation import apply

SHAPE = (270, 480)


class Listener:
    def __init__(self):
        self.calls = []

    def __call__(self, key, progress=None, level=None, **details):
        self.calls.append((key, level, details))

    @property
    def keys(self):
        return [key for key, _, _ in self.calls]


def moved_solution(transform):
    """Return the WCS of a frame whose pixels are those of the reference by `transform`."""
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = ["RA---TAN", "DEC--TAN"]
    wcs.wcs.crval = [56.75, 24.1]
    matrix = 2.39 / 3600 * np.array([[-1.0, 0.0], [0.0, 1.0]])
    wcs.wcs.cd = matrix @ np.linalg.inv(transform[:, :2])
    wcs.wcs.crpix = np.array(apply(transform, (SHAPE[1] - 1) / 2, (SHAPE[0] - 1) / 2)) + 1
    wcs.pixel_shape = SHAPE[::-1]
    return wcs


def cached(folder, frames):
    """Return the group's dicts; the frames lie in `folder` as .npy."""
    infos = []
    for index, frame in enumerate(frames):
        path = folder / f"cache_{index}.npy"
        np.save(path, frame.data)
        header = {"EXPTIME": 10.0, "OBJECT": "M 45", "FILTER": "IRCUT"}
        wcs = moved_solution(frame.transform)
        infos.append(
            {"path_preprocessed_cache": str(path), "path_raw": f"Light_{index}.fit", "header": header, "wcs": wcs}
        )
    return infos


def make(infos, folder, listener=None, **changes):
    arguments = {
        "seestar_stack_group_info": infos,
        "tile_id": 7,
        "output_temp_dir": str(folder),
        "stack_norm_method": "linear_fit",
        "stack_weight_method": "none",
        "stack_reject_algo": "winsorized_sigma_clip",
        "stack_kappa_low": 3.0,
        "stack_kappa_high": 3.0,
        "parsed_winsor_limits": (0.05, 0.05),
        "stack_final_combine": "mean",
        "poststack_equalize_rgb": False,
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
        "quality_gate_threshold": 0.5,
        "quality_gate_edge_band_px": 64,
        "quality_gate_k_sigma": 2.5,
        "quality_gate_erode_px": 3,
        "quality_gate_move_rejects": False,
        "astap_exe_path_global": "",
        "astap_data_dir_global": "",
        "astap_search_radius_global": 0.0,
        "astap_downsample_global": 0,
        "astap_sensitivity_global": 0,
        "astap_timeout_seconds_global": 0,
        "winsor_pool_workers": 1,
        "winsor_max_frames_per_pass": 0,
        "progress_callback": listener,
        **changes,
    }
    return worker.create_master_tile(**arguments)
