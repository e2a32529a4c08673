# SPDX-License-Identifier: GPL-3.0-or-later
"""Groups of cached frames as ZeMosaic hands them to `create_master_tile`, and who listens to it."""

import numpy as np
from astropy.wcs import WCS

import zemosaic_worker as worker
from nanstack.truth.simulation import apply
from zemosaic_patch.dropin.child import SETTINGS

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
        **SETTINGS,
        "seestar_stack_group_info": infos,
        "tile_id": 7,
        "output_temp_dir": str(folder),
        "stack_norm_method": "linear_fit",
        "poststack_equalize_rgb": False,
        "quality_gate_threshold": 0.5,
        "progress_callback": listener,
        **changes,
    }
    return worker.create_master_tile(**arguments)
