# SPDX-License-Identifier: GPL-3.0-or-later
"""A mosaic saved as a picture, as it looks on the screen."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np

from nanstack.io.files import complete_file
from nanstack.stack.rows import Rows
from zemosaic_patch.errors import FailureError
from zemosaic_patch.pictures import BLOCK_BYTES, Stretch, levels_of, write_stretched
from zemosaic_patch.ui.looks import Look
from zemosaic_patch.ui.opened import Mosaic

BITS = {"png": 8, "tif": 16, "jpg": 8}  # of the kinds of picture, by how their names end
JPEG_QUALITY = 93
JPEG_PX = 65_500  # of a side, at most


def save(mosaic: Mosaic, look: Look, path: Path) -> None:
    """Write a mosaic as a picture, of the kind that its name says: see `BITS`.

    Parameters
    ----------
    mosaic : Mosaic
    look : Look
    path : Path
        The picture appears complete or not at all.

    Raises
    ------
    FailureError
        Where the kind has no room for so many pixels.
    """
    kind, stretch = path.suffix.removeprefix("."), look.of(mosaic.stretches)
    with mosaic.rows() as (image, _):
        if kind == "jpg":
            _write_jpeg(image, stretch, path)
            return
        try:
            write_stretched(image, stretch, path, BITS[kind])
        except ValueError as error:  # a TIFF ends at 4 GiB
            raise FailureError(str(error)) from error


def _write_jpeg(image: Rows, stretch: Stretch, path: Path) -> None:
    """Write a JPEG, whose shades wait in a temporary file: OpenCV wants them all, memory need not hold them."""
    import cv2

    height, width, channels = (*image.shape, 1)[:3]
    if max(height, width) > JPEG_PX:
        raise FailureError(f"a JPEG has {JPEG_PX} pixels a side at most, not {width} x {height}: choose PNG")
    with tempfile.TemporaryFile() as file:
        shades = np.memmap(file, np.uint8, shape=(height, width, channels))
        step = max(1, BLOCK_BYTES // (4 * width * channels))
        block = np.empty((step, *image.shape[1:]), np.float32)
        for top in range(0, height, step):
            rows = block[: min(step, height - top)]
            image.read(top, top + len(rows), rows)
            shades[top : top + len(rows)] = levels_of(stretch(rows)).reshape(len(rows), width, channels)[..., ::-1]
        _, jpeg = cv2.imencode(".jpg", shades, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
        del shades
    with complete_file(path) as temporary:
        temporary.write_bytes(jpeg)
