# SPDX-License-Identifier: GPL-3.0-or-later
"""A mosaic's file whose light is known."""

import json
from types import SimpleNamespace

import numpy as np

from nanstack.io.canvas_fits import write_canvas

SKY, NOISE = np.float32([380.0, 520.0, 400.0]), 5.0
CORNERS = ((0.0, 0.0), (400.0, 0.0), (400.0, 300.0), (0.0, 300.0))  # of a frame in the picture


def light_of(height, width, channels=3):
    """A sky with noise, one bright star a quarter from the top left of the file, and a corner without data."""
    rng = np.random.default_rng(3)
    image = rng.normal(SKY[:channels], NOISE, (height, width, channels)).astype(np.float32)
    y, x = np.ogrid[:height, :width]
    star = 9000 * np.exp(-((y - height // 4) ** 2 + (x - width // 4) ** 2) / 30)
    image += star[..., None].astype(np.float32)
    image[-height // 5 :, -width // 5 :] = np.nan
    return image


def write_mosaic(folder, image, *, packed=False, top_down=False, frames=()):
    """Write a mosaic as a run does, and a report of some frames; return its path, and its coverage."""
    coverage = np.where(np.isnan(image[..., 0]), 0, 1 + np.arange(image.shape[1]) // 100).astype(np.uint16)
    planes = SimpleNamespace(image=image, coverage=coverage, weight=image[..., 0], variance=image)
    path = folder / "mosaic.fits"
    write_canvas(path, image.shape[:2], image.shape[2], [(0, planes)], packed=packed, top_down=top_down)
    told = {
        "canvas": {"shape": image.shape[:2]},
        "files": {"image": "mosaic.fits", "picture": "mosaic.png"},
        "frames": [{"name": name, "corners": corners} for name, corners in frames],
    }
    (folder / "mosaic.json").write_text(json.dumps(told))
    return path, coverage
