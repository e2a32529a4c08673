# SPDX-License-Identifier: GPL-3.0-or-later
"""Pictures for the screen: what is black, grey and white, and that the file says the same."""

import tracemalloc

import cv2
import numpy as np
import pytest
from PIL import Image

from zemosaic_patch.pictures import (
    levels_of,
    screen_stretches,
    sky_stretch,
    write_coverage,
    write_picture,
    write_stretched,
)

SKY = np.float32([380.0, 520.0, 400.0])


@pytest.fixture
def image():
    """A sky of noise 5 with a bright corner that is red, and no data along one edge."""
    image = np.random.default_rng(2).normal(SKY, 5, (300, 400, 3)).astype(np.float32)
    image[:40, :40] += np.float32([8000, 2000, 2000])
    image[:, -20:] = np.nan
    return image


def test_screen_shows_a_grey_sky_white_stars_and_black_where_there_is_nothing(image):
    shades = screen_stretches(image)[0](image)
    assert shades.dtype == np.float32
    assert shades.shape == image.shape
    assert shades[:, -20:].max() == 0
    sky = np.median(shades[100:, :300], axis=(0, 1))
    assert np.ptp(sky) < 0.06  # the ranges differ, the skies hardly
    assert 0.01 < sky.mean() < 0.5
    assert np.all(np.median(shades[:40, :40], axis=(0, 1)) > 0.95)


def test_linked_channels_keep_the_colour_of_what_is_bright(image):
    apart, linked = (screen_stretches(image)[linked](image)[:40, :40] for linked in (False, True))
    assert np.ptp(np.median(apart, axis=(0, 1))) < 0.03
    red, green, blue = np.median(linked, axis=(0, 1))
    assert red > green + 0.1
    assert abs(green - blue) < 0.01


def test_sky_stretch_shows_a_step_in_units_of_the_noise_and_its_colour(image):
    stretch = sky_stretch(image, white_sigma=15)
    tinted = image + np.float32([20, 0, 20])
    sky, step = (np.median(stretch(each)[100:, :300], axis=(0, 1)) for each in (image, tinted))
    assert np.ptp(sky) < 0.01
    assert min(step[0], step[2]) > step[1] + 0.2
    white = SKY + 15.5 * 5
    assert np.all(stretch(np.broadcast_to(white, (2, 2, 3))) == 1)
    assert np.all(stretch(np.broadcast_to(SKY + 12 * 5, (2, 2, 3))) < 0.98)


def test_shades_grow_with_the_light(image):
    ramp = np.linspace(300, 9000, 200, dtype=np.float32)[:, None].repeat(3, axis=1)[None]
    for stretch in (screen_stretches(image)[0], screen_stretches(image)[1], sky_stretch(image, 40)):
        assert np.all(np.diff(stretch(ramp), axis=1) >= 0)


@pytest.mark.parametrize("shape", [(30, 40), (30, 40, 1), (30, 40, 3)])
@pytest.mark.parametrize("fill", [np.nan, np.inf, 0.0, 7.5, 3e38, -3e38])
def test_an_image_without_light_or_too_large_for_it_is_still_drawn(shape, fill):
    flat = np.full(shape, fill, dtype=np.float32)
    flat[0, 0] = -3e38 if fill == 3e38 else 1.0
    for stretch in (screen_stretches(flat)[0], screen_stretches(flat)[1], sky_stretch(flat, 15)):
        shades = stretch(flat)
        assert shades.shape == shape
        assert np.isfinite(shades).all()
        assert shades.min() >= 0
        assert shades.max() <= 1


def test_a_stretch_is_an_inverse_hyperbolic_sine(image):
    for stretch in (*screen_stretches(image), sky_stretch(image, 40)):
        light = (image[:, :-20].astype(np.float64) - stretch.black) / stretch.softening
        shades = np.clip(np.arcsinh(light) / np.arcsinh(stretch.span / stretch.softening), 0, 1)
        assert np.abs(stretch(image)[:, :-20] - shades).max() < 0.05 / 65535 * 20


@pytest.mark.parametrize("name", ["p.png", "p.tif"])
@pytest.mark.parametrize("channels", [1, 3])
def test_a_picture_of_an_image_is_its_levels_the_last_row_on_top_where_asked(tmp_path, image, name, channels):
    image = image if channels == 3 else image[..., 0]
    stretch = screen_stretches(image)[0]
    for upside_down in (False, True):
        write_stretched(image, stretch, tmp_path / name, upside_down=upside_down)
        back = cv2.imread(str(tmp_path / name), cv2.IMREAD_UNCHANGED)
        levels = levels_of(stretch(image), 16)[:: -1 if upside_down else 1]
        assert np.array_equal(back, levels[..., ::-1] if channels == 3 else levels)
    with Image.open(tmp_path / name) as other:
        other.load()
        assert other.size == (image.shape[1], image.shape[0])


class Rising:
    """An image of 9 Mpx, 108 MB, that nothing holds: each row is brighter than the one before."""

    shape = (3000, 3000, 3)

    def read(self, top, bottom, out):
        out[:] = np.arange(top, bottom, dtype=np.float32)[:, None, None]


@pytest.mark.parametrize("name", ["p.png", "p.tif"])
def test_a_picture_takes_the_memory_of_some_rows(tmp_path, name):
    screen_stretches(np.zeros((9, 9, 3), np.float32))  # loads a library, which is not meant
    tracemalloc.start()
    try:
        write_stretched(Rising(), screen_stretches(Rising())[0], tmp_path / name, upside_down=True)
        assert tracemalloc.get_traced_memory()[1] < 20e6
    finally:
        tracemalloc.stop()
    back = cv2.imread(str(tmp_path / name), cv2.IMREAD_UNCHANGED)
    assert back.shape == Rising.shape
    assert np.all(np.diff(back[:, ::1000].astype(int), axis=0) <= 0)
    assert back[0, 0, 0] > back[-1, 0, 0]


@pytest.mark.parametrize(("bits", "name"), [(8, "p.png"), (16, "p.png"), (16, "p.tif")])
def test_a_written_picture_holds_its_shades_first_row_on_top(tmp_path, bits, name):
    shades = np.random.default_rng(1).random((20, 30, 3), dtype=np.float32)
    shades[0, 0], shades[1, 0] = 1.5, -0.5
    write_picture(shades, tmp_path / name, bits)
    assert [path.name for path in tmp_path.iterdir()] == [name]
    back = cv2.imread(str(tmp_path / name), cv2.IMREAD_UNCHANGED)[..., ::-1]
    assert np.array_equal(back, levels_of(shades, bits))
    most = 2**bits - 1
    assert back[0, 0].tolist() == [most] * 3
    assert back[1, 0].tolist() == [0] * 3
    assert np.abs(back / most - np.clip(shades, 0, 1)).max() <= 0.5 / most + 1e-7


def test_coverage_is_white_where_it_is_highest(tmp_path):
    write_coverage(np.array([[0, 1], [2, 4]], dtype=np.uint16), tmp_path / "coverage.png")
    assert cv2.imread(str(tmp_path / "coverage.png"), cv2.IMREAD_UNCHANGED).tolist() == [[0, 64], [128, 255]]
    write_coverage(np.array([[0, 1], [2, 4]], dtype=np.uint16), tmp_path / "coverage.png", upside_down=True)
    assert cv2.imread(str(tmp_path / "coverage.png"), cv2.IMREAD_UNCHANGED).tolist() == [[128, 255], [0, 64]]
    write_coverage(np.zeros((2, 2), np.uint16), tmp_path / "coverage.png")
    assert not cv2.imread(str(tmp_path / "coverage.png")).any()
