# SPDX-License-Identifier: GPL-3.0-or-later
"""A mosaic saved as it looks."""

import cv2
import numpy as np
import pytest

from tests.zemosaic_patch.ui.mosaics import light_of, write_mosaic
from zemosaic_patch.errors import FailureError
from zemosaic_patch.ui import exports
from zemosaic_patch.ui.exports import BITS, save
from zemosaic_patch.ui.looks import Look
from zemosaic_patch.ui.opened import Mosaic

LOOK = Look(stretch=1.3, background=5, linked=True)


@pytest.mark.parametrize("kind", BITS)
@pytest.mark.parametrize("channels", [1, 3])
def test_a_picture_shows_the_look(tmp_path, kind, channels):
    image = light_of(300, 420, channels)
    mosaic = Mosaic(write_mosaic(tmp_path, image)[0])
    save(mosaic, LOOK, tmp_path / f"saved.{kind}")
    read = cv2.imread(str(tmp_path / f"saved.{kind}"), cv2.IMREAD_UNCHANGED)
    assert read.dtype == (np.uint16 if BITS[kind] == 16 else np.uint8)
    shown = read.reshape(image.shape)[..., ::-1] / np.iinfo(read.dtype).max
    wanted = LOOK.of(mosaic.stretches)(image[::-1])
    off = np.abs(shown - wanted)
    assert off.max() <= 0.51 / np.iinfo(read.dtype).max + 1e-6 if kind != "jpg" else off.mean() < 0.06


def test_a_picture_that_has_no_room_is_refused(tmp_path, monkeypatch):
    mosaic = Mosaic(write_mosaic(tmp_path, light_of(30, 42))[0])
    monkeypatch.setattr(exports, "JPEG_PX", 40)
    monkeypatch.setattr("zemosaic_patch.picture_files.TIFF_BYTES", 1000)
    for kind in ("jpg", "tif"):
        with pytest.raises(FailureError, match="choose (?i:png)"):
            save(mosaic, LOOK, tmp_path / f"saved.{kind}")
        assert not (tmp_path / f"saved.{kind}").exists()
