# SPDX-License-Identifier: GPL-3.0-or-later
"""The simulated tile session: its files are what a Seestar writes, its picture shows what it is to show."""

import cv2
import numpy as np
import pytest
from astropy.io import fits
from astropy.wcs import WCS
from PIL import Image

from nanstack.levels.photometry import band_metric
from zemosaic_patch.demo.tile import (
    PLEIADES,
    SKY,
    before_after_picture,
    stack_with_grey_fill,
    write_pleiades_frames,
)

pytestmark = pytest.mark.numpy_bytes


def test_fits_frames_are_raw_and_their_wcs_finds_every_bright_star(tmp_path):
    paths = write_pleiades_frames(tmp_path, n_frames=2, shape=(270, 480))
    assert [path.name for path in paths] == ["Light_M45_10.0s_0001.fit", "Light_M45_10.0s_0002.fit"]
    for path in paths:
        with fits.open(path) as hdus:
            raw, header = hdus[0].data, hdus[0].header
        assert raw.dtype == np.uint16
        assert raw.shape == (270, 480)
        assert header["BAYERPAT"] == "GRBG"

        frame = cv2.cvtColor(raw, cv2.COLOR_BayerGRBG2RGB)
        np.testing.assert_allclose(np.median(frame, axis=(0, 1)), SKY, atol=8)
        for name, ra, dec, *_ in PLEIADES[:4]:
            column, row = (int(np.rint(pixel)) for pixel in WCS(header).all_world2pix(ra, dec, 0))
            assert frame[row - 1 : row + 2, column - 1 : column + 2].min() > 50_000, name


def test_picture_is_complete_and_shows_no_data_as_black(tmp_path):
    after = np.random.default_rng(3).normal(SKY, 5, (60, 100, 3)).astype(np.float32)
    after[:, :50] = np.nan
    path = tmp_path / "picture.png"
    before_after_picture(after + np.float32([40, 0, 40]), after, ("before", "after"), path)

    assert [entry.name for entry in tmp_path.iterdir()] == ["picture.png"]
    with Image.open(path) as picture:
        pixels = np.asarray(picture).astype(int)
    assert pixels.shape[1] == 1800
    assert pixels[100, 1000].max() == 0
    red, green, blue = np.median(pixels[:500, 500:850], axis=(0, 1))
    assert min(red, blue) > green + 20  # the magenta that was added
    red, green, blue = np.median(pixels[:500, 1450:1750], axis=(0, 1))
    assert max(red, green, blue) - min(red, green, blue) < 5


def test_a_grey_fill_leaves_a_band_and_no_pixel_without_data(tmp_path):
    paths = write_pleiades_frames(tmp_path, n_frames=5, shape=(270, 480))
    before = stack_with_grey_fill(paths, paths[2].name)
    assert before.shape == (270, 480, 3)
    assert np.isfinite(before).all()
    coverage = np.ones((270, 480), dtype=int)
    coverage[16:-16, 29:-29] = 5  # the dither's reach
    assert band_metric(before, coverage) > 10
