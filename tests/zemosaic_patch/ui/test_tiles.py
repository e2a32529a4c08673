# SPDX-License-Identifier: GPL-3.0-or-later
"""Tiles: which there are, what light they hold, and that smaller ones hold means."""

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nanstack.stack.rows import ArrayRows
from zemosaic_patch.pictures import screen_stretches
from zemosaic_patch.ui import tiles
from zemosaic_patch.ui.tiles import NO_DATA, TILE, Encoding, Pyramid, as_png, dithered, means, smaller

SKY, NOISE = np.array([380.0, 520.0, 400.0]), np.array([5.0, 4.0, 6.0])
ENCODING = Encoding(SKY, NOISE, 3000.0)


def decoded(levels):
    """The light that levels stand for."""
    return np.stack([ENCODING.light()[levels[..., c], c] for c in range(levels.shape[2])], axis=2)


@given(sigma=st.floats(-29, 2900))
def test_a_level_is_the_nearest_there_is(sigma):
    light = (SKY + sigma * NOISE).astype(np.float32).reshape(1, 1, 3)
    off = np.abs(decoded(ENCODING.levels(light)) - light)
    fine = NOISE * np.hypot(1, sigma) * np.diff(np.arcsinh([-30, 3000]))[0] / 254  # a step there, by the slope of asinh
    assert np.all(off <= 0.51 * fine + 1e-3)
    assert np.all(fine / NOISE < 0.06 * np.hypot(1, sigma))  # far below the noise where there is but sky


def test_what_is_too_bright_or_too_dark_is_the_brightest_or_darkest():
    light = np.float32([-1e30, -1e5, 380, 1e5, 1e30, np.inf]).reshape(1, -1, 1).repeat(3, axis=2)
    levels = ENCODING.levels(light)[0, :, 0]
    assert levels.tolist() == [1, 1, levels[2], 255, 255, 255]
    assert 60 < levels[2] < 150


def test_no_data_is_no_level_of_light():
    light = np.full((2, 2, 3), SKY, np.float32)
    light[0, 0] = np.nan
    levels = dithered(ENCODING, light)
    assert levels[0, 0].tolist() == [NO_DATA] * 3
    assert levels[1].min() > NO_DATA


def test_a_dither_moves_no_mean():
    """Light between two levels becomes both, as often as it is near to each."""
    low, high = ENCODING.light()[[100, 101]]
    for share in (0.0, 0.25, 0.5, 0.9):
        between = np.arcsinh((low - SKY) / NOISE) * (1 - share) + np.arcsinh((high - SKY) / NOISE) * share
        light = np.broadcast_to(SKY + NOISE * np.sinh(between), (TILE, TILE, 3)).astype(np.float32)
        levels = dithered(ENCODING, light)
        assert set(np.unique(levels)) <= {99, 100, 101}
        assert levels.mean(axis=(0, 1)) == pytest.approx([100 + share] * 3, abs=0.01)


def test_the_table_is_the_stretch_itself():
    light = np.random.default_rng(1).normal(SKY, NOISE, (200, 300, 3)).astype(np.float32)
    light[:20, :20] += 4000
    stretch = screen_stretches(light)[0]
    encoding = Encoding.of(stretch, light.max(axis=(0, 1)))
    table, levels = encoding.shades(stretch), encoding.levels(light)
    shown = np.stack([table[c][levels[..., c]] for c in range(3)], axis=2)
    assert np.abs(shown - stretch(light)).max() < 0.01
    assert table[:, NO_DATA].tolist() == [0, 0, 0]


# --- the pyramid ------------------------------------------------------------------------------------------------------


@given(height=st.integers(1, 5000), width=st.integers(1, 5000))
def test_each_level_is_whole_and_half_of_the_next(height, width):
    pyramid = Pyramid(height, width)
    assert pyramid.shape(pyramid.finest) == (height, width)
    assert max(pyramid.shape(pyramid.coarsest)) <= TILE
    for level in range(pyramid.coarsest, pyramid.finest + 1):
        h, w = pyramid.shape(level)
        assert 2 ** (level - 1) < max(h, w) <= 2**level or max(height, width) == 1
        down, across = -(-h // TILE), -(-w // TILE)
        boxes = [pyramid.box(level, column, row) for row in range(down) for column in range(across)]
        assert sum(np.prod(box.shape) for box in boxes) == h * w
        for column, row in ((across, 0), (0, down), (-1, 0)):
            with pytest.raises(IndexError):
                pyramid.box(level, column, row)


def test_there_is_no_level_beyond():
    pyramid = Pyramid(1500, 900)
    for level in (pyramid.coarsest - 1, pyramid.finest + 1, -1, 10**9):
        with pytest.raises(IndexError):
            pyramid.box(level, 0, 0)


def plain_mean(light, once):
    """Means over squares, pixel by pixel."""
    height, width = light.shape[:2]
    out = np.full((-(-height // once), -(-width // once), light.shape[2]), np.nan)
    for row in range(out.shape[0]):
        for column in range(out.shape[1]):
            square = light[row * once : (row + 1) * once, column * once : (column + 1) * once]
            if np.isfinite(square).any():
                out[row, column] = np.nanmean(square.astype(float), axis=(0, 1))
    return out


@given(
    height=st.integers(1, 21), width=st.integers(1, 21), channels=st.sampled_from([1, 3]), seed=st.integers(0, 99)
)  # fmt: skip
def test_a_smaller_pixel_is_the_mean_of_what_has_data(height, width, channels, seed):
    rng = np.random.default_rng(seed)
    light = rng.normal(100, 10, (height, width, channels)).astype(np.float32)
    light[rng.random((height, width)) < 0.3] = np.nan
    for number, mean in enumerate(means(light.copy(), 3), start=1):
        np.testing.assert_allclose(mean, plain_mean(light, 2**number), rtol=1e-5, equal_nan=True)


def test_smaller_pictures_do_not_hang_on_the_blocks(monkeypatch):
    light = np.random.default_rng(2).normal(SKY, NOISE, (1201, 1033, 3)).astype(np.float32)
    light[300:, 700:] = np.nan
    whole = smaller(ArrayRows(light), ENCODING)
    monkeypatch.setattr(tiles, "BLOCK_BYTES", 4096)
    parts = smaller(ArrayRows(light), ENCODING)
    assert [one.shape for one in whole] == [(601, 517, 3), (301, 259, 3)]
    for one, other, number in zip(whole, parts, (1, 2), strict=True):
        mean = means(light.copy(), number)[-1]
        step = NOISE * np.hypot(1, (mean - SKY) / NOISE) * 0.05
        for levels in (one, other):
            assert np.array_equal(levels == NO_DATA, np.isnan(mean))
            assert np.nanmax(np.abs(decoded(levels) - mean) / step) < 1.1


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_a_png_holds_the_pixels(channels):
    pixels = np.random.default_rng(4).integers(0, 256, (7, 5, channels), np.uint8)
    read = cv2.imdecode(np.frombuffer(as_png(pixels), np.uint8), cv2.IMREAD_UNCHANGED).reshape(7, 5, channels)
    assert np.array_equal(read[..., {1: [0], 3: [2, 1, 0], 4: [2, 1, 0, 3]}[channels]], pixels)
