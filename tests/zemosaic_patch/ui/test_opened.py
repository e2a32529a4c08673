# SPDX-License-Identifier: GPL-3.0-or-later
"""A mosaic that is open shows what its file holds, the right way up."""

import cv2
import numpy as np
import pytest

from nanstack.io.images import image_hdus, write_hdus
from nanstack.io.layout import FrameError
from tests.zemosaic_patch.ui.mosaics import CORNERS, light_of, write_mosaic
from zemosaic_patch.ui.opened import Mosaic
from zemosaic_patch.ui.tiles import TILE

HTML = "<img src=x onerror=alert(1)>.fit"


def pixels(png):
    """The pixels of a PNG, red first."""
    read = cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_UNCHANGED)
    return read[..., None] if read.ndim == 2 else read[..., [2, 1, 0, 3][: read.shape[2]]]


def put_together(mosaic, level):
    """A level of a mosaic, of all its tiles."""
    height, width = mosaic.pyramid.shape(level)
    rows = [
        np.hstack([pixels(mosaic.tile(level, column, row)) for column in range(-(-width // TILE))])
        for row in range(-(-height // TILE))
    ]
    return np.vstack(rows)


@pytest.mark.parametrize(
    ("channels", "packed", "top_down"), [(3, False, False), (3, True, False), (3, False, True), (1, False, False)]
)
def test_its_tiles_hold_its_light(tmp_path, channels, packed, top_down):
    image = light_of(700, 1100, channels)
    path, coverage = write_mosaic(tmp_path, image, packed=packed, top_down=top_down)
    mosaic = Mosaic(path)
    shown = image if top_down else image[::-1]
    levels = put_together(mosaic, mosaic.pyramid.finest)
    assert levels.shape == image.shape
    light = np.stack([mosaic.encoding.light()[levels[..., c], c] for c in range(channels)], axis=2)
    step = mosaic.encoding.noise * np.hypot(1, (shown - mosaic.encoding.sky) / mosaic.encoding.noise) * 0.06
    assert np.array_equal(np.isnan(light), np.isnan(shown))
    inside = np.abs(shown - mosaic.encoding.sky) < 1000  # what few pixels show may be beyond the brightest level
    assert np.max(np.abs(light - shown) / step, where=inside, initial=0) < 1.1
    half = put_together(mosaic, mosaic.pyramid.finest - 1)
    assert half.shape == (350, 550, channels)
    star = np.unravel_index(np.argmax(half.astype(int).sum(axis=2)), half.shape[:2])
    assert star == pytest.approx(np.array([175 if top_down else 525, 275]) / 2, abs=1.5)
    covered = pixels(mosaic.coverage.png)
    assert np.array_equal(covered[..., 3] > 0, (coverage if top_down else coverage[::-1]) > 0)
    assert mosaic.coverage.most == coverage.max()


def test_a_large_coverage_shows_some_of_its_pixels_where_they_are(tmp_path, monkeypatch):
    monkeypatch.setattr("zemosaic_patch.ui.opened.COVERAGE_PX", 40)
    path, coverage = write_mosaic(tmp_path, light_of(70, 110))
    shown = Mosaic(path).coverage
    read = pixels(shown.png)
    assert read.shape[:2] == (24, 37)
    assert (shown.height, shown.width) == (72, 111)
    assert np.array_equal(read[..., 3] > 0, coverage[::-1][::3, ::3] > 0)


def test_outlines_are_those_of_the_report(tmp_path):
    path, _ = write_mosaic(tmp_path, light_of(70, 110), frames=[(HTML, CORNERS), ("nowhere", [])])
    (outline,) = Mosaic(path).outlines()
    assert (outline.name, outline.corners) == (HTML, CORNERS)
    path.with_name("mosaic.json").write_text("{")
    assert Mosaic(path).outlines() == ()


def test_what_is_no_mosaic_is_said_to_be_none(tmp_path):
    write_hdus(image_hdus(light_of(20, 30), None), tmp_path / "mosaic.fits")
    with pytest.raises(FrameError, match="COVERAGE"):
        Mosaic(tmp_path / "mosaic.fits")
    (tmp_path / "mosaic.fits").write_bytes(b"no FITS file")
    with pytest.raises(FrameError):
        Mosaic(tmp_path / "mosaic.fits")
    with pytest.raises(FrameError):
        Mosaic(tmp_path / "none.fits")


def test_there_are_no_tiles_beyond(tmp_path):
    mosaic = Mosaic(write_mosaic(tmp_path, light_of(70, 110))[0])
    assert pixels(mosaic.tile(mosaic.pyramid.finest, 0, 0)).shape == (70, 110, 3)
    for level, column, row in ((mosaic.pyramid.finest + 1, 0, 0), (mosaic.pyramid.finest, 1, 0), (3, 0, 0)):
        with pytest.raises(IndexError):
            mosaic.tile(level, column, row)
