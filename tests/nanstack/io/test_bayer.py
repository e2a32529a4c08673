# SPDX-License-Identifier: GPL-3.0-or-later
"""Bayer mosaics: the pattern by header and pixels, and the colours."""

import cv2
import numpy as np
import pytest
from astropy.io import fits
from scipy import ndimage

from nanstack.io.bayer import debayer, mosaic_pattern
from nanstack.io.frames import FrameError, probe_frame, read_frame
from nanstack.io.layout import read_layout, read_samples

pytestmark = pytest.mark.numpy_bytes

COLOUR = np.float32([900.0, 500.0, 700.0])
GRID = {"RGGB": [[0, 1], [1, 2]], "BGGR": [[2, 1], [1, 0]], "GRBG": [[1, 0], [2, 1]], "GBRG": [[1, 2], [0, 1]]}
SHAPE = (160, 200)
SKY = (1000.0, 720.0, 1080.0)


def mosaic_of(pattern, shape=(12, 16)):
    """Return the mosaic of an evenly coloured scene."""
    rows, columns = np.indices(shape)
    return COLOUR[np.array(GRID[pattern])[rows % 2, columns % 2]]


def scene(shape=SHAPE, sky=SKY, star=(0.6, 1.0, 0.7), fwhm=2.6, seed=0):
    """Return light, (H, W, 3), of a sky with 25 stars."""
    rng = np.random.default_rng(seed)
    y, x = np.indices(shape)
    light = np.zeros((*shape, 3)) + np.asarray(sky)
    for _ in range(25):
        v, u = rng.uniform(8, shape[0] - 8), rng.uniform(8, shape[1] - 8)
        spot = np.exp(-((x - u) ** 2 + (y - v) ** 2) / (2 * (fwhm / 2.355) ** 2))
        light += rng.uniform(500, 6000) * spot[..., None] * np.asarray(star)
    return light


def through(light, pattern):
    """Return what a sensor with this pattern sees of light."""
    rows, columns = np.indices(light.shape[:2])
    return np.take_along_axis(light, np.array(GRID[pattern])[rows % 2, columns % 2][..., None], axis=2)[..., 0]


def counts(values, seed=1, noise=10.0):
    return np.rint(values + np.random.default_rng(seed).normal(0, noise, values.shape)).astype(np.uint16)


def saved(path, data, **cards):
    header = fits.Header([(name.replace("_", "-"), value) for name, value in cards.items()])
    fits.PrimaryHDU(data, header).writeto(path)
    return path


def medians(path):
    return np.median(read_frame(path).data, axis=(0, 1))


# ------------------------------------------------------------------------------------------------------- the colours


@pytest.mark.parametrize("pattern", GRID)
def test_debayering_finds_the_colours(pattern, tmp_path):
    assert np.array_equal(debayer(mosaic_of(pattern), pattern), np.broadcast_to(COLOUR, (12, 16, 3)))
    path = saved(tmp_path / "raw.fit", mosaic_of(pattern).astype(np.uint16), BAYERPAT=pattern)
    assert np.array_equal(read_frame(path).data[5, 5], COLOUR)


@pytest.mark.parametrize("pattern", GRID)
@pytest.mark.parametrize("shape", [(3, 3), (9, 14), (12, 11)])
def test_a_missing_colour_is_the_mean_of_its_nearest_samples(pattern, shape):
    mosaic = np.random.default_rng(0).normal(0.0, 1.0, shape).astype(np.float32)
    letters = np.array(GRID[pattern])[np.indices(shape)[0] % 2, np.indices(shape)[1] % 2]
    expected = np.empty((*shape, 3))
    for colour in range(3):
        has = letters == colour
        near = ndimage.generate_binary_structure(2, 1 if colour == 1 else 2)
        total = ndimage.convolve(np.where(has, mosaic, 0.0).astype(np.float64), near.astype(float), mode="constant")
        expected[..., colour] = np.where(has, mosaic, total / np.maximum(ndimage.convolve(has * 1.0, near), 1))
    inner = (slice(1, -1), slice(1, -1))
    found = debayer(mosaic, pattern)
    assert np.allclose(found[inner], expected[inner], atol=1e-6)
    assert np.array_equal(found, np.pad(found[inner], ((1, 1), (1, 1), (0, 0)), mode="edge"))


@pytest.mark.parametrize("pattern", GRID)
def test_raw_numbers_are_those_of_opencv_before_it_rounds(pattern):
    raw = np.random.default_rng(1).integers(0, 65536, (40, 51)).astype(np.uint16)
    rounded = cv2.cvtColor(raw, getattr(cv2, f"COLOR_Bayer{pattern}2RGB"))
    assert np.array_equal(np.floor(debayer(raw, pattern) + 0.5), rounded)


def test_wild_samples_reach_their_neighbours_only():
    tame = np.random.default_rng(2).normal(400, 9, (30, 40)).astype(np.float32)
    wild = tame.copy()
    wild[11, 17], wild[20, 31] = 2.3e7, -4.1e6
    near = np.zeros(tame.shape, bool)
    near[10:13, 16:19] = near[19:22, 30:33] = True
    assert np.array_equal(debayer(tame, "GRBG")[~near], debayer(wild, "GRBG")[~near])


def test_debayering_is_free_of_scale():
    mosaic = np.random.default_rng(3).normal(300, 20, (20, 30)).astype(np.float32) - 320
    unit = debayer(mosaic / np.float32(65536), "BGGR")
    assert np.array_equal(unit * np.float32(65536), debayer(mosaic, "BGGR")), "a power of two loses nothing"


def test_holes_take_their_neighbours_with_them():
    mosaic = mosaic_of("GRBG") + 0.25
    mosaic[6, 7] = np.nan
    colour = debayer(mosaic, "GRBG")
    hole = np.isnan(colour).all(axis=2)
    assert hole[5:8, 6:9].all()
    assert hole.sum() == 9
    assert np.array_equal(colour[~hole], np.broadcast_to(COLOUR + 0.25, (12 * 16 - 9, 3)))
    mosaic[2, 2] = np.inf
    assert np.isnan(debayer(mosaic, "GRBG")[0, 1:4]).all(), "the rim is the row inside, with its holes"
    assert np.isnan(debayer(np.full((4, 4), np.nan), "GRBG")).all()
    assert np.isnan(debayer(np.ones((2, 9)), "GRBG")).all(), "nothing has neighbours all around"
    assert np.array_equal(debayer(np.full((4, 4), -7.5), "GRBG"), np.full((4, 4, 3), -7.5))
    with pytest.raises(ValueError, match="pattern must be one of"):
        debayer(mosaic, "RGBW")


# -------------------------------------------------------------------------------------------------------- the header


def test_unknown_bayer_pattern_names_the_file(tmp_path):
    with pytest.raises(FrameError, match=r"raw\.fit: .*'CYGM'"):
        read_frame(saved(tmp_path / "raw.fit", np.ones((8, 8), np.uint16), BAYERPAT="CYGM"))


@pytest.mark.parametrize(
    "cards",
    [
        {"BAYERPAT": "rggb"},
        {"BAYERPAT": "Rggb  "},
        {"COLORTYP": "RGGB"},
        {"BAYERPAT": "GRBG", "XBAYROFF": 1, "YBAYROFF": 0},
        {"BAYERPAT": "GBRG", "XBAYROFF": 2.0, "YBAYROFF": "1,0"},
        {"BAYERPAT": "BGGR", "XBAYROFF": "1", "YBAYROFF": "1.0"},
        {"BAYERPAT": "GRBG", "BAYOFFX": 1},
        {"BAYERPAT": "RGGB", "XBAYROFF": 1, "YBAYROFF": 0},  # adapted to the crop, and the offset left
        {"BAYERPAT": "GBRG", "ROWORDER": "BOTTOM-UP"},
        {"BAYERPAT": "RGGB", "ROWORDER": "BOTTOM-UP"},  # told as stored, against the usual
        {"BAYERPAT": "RGGB", "ROWORDER": "TOP-DOWN"},
        {"BAYERPAT": "RGGB", "XBINNING": 2, "YBINNING": 2},  # binned by colour
    ],
)
def test_one_pattern_in_many_words(cards, tmp_path):
    path = saved(tmp_path / "raw.fit", counts(through(scene(), "RGGB")), **cards)
    assert medians(path) == pytest.approx(SKY, abs=5)
    assert probe_frame(path).shape == (*SHAPE, 3)


@pytest.mark.parametrize("height", [160, 159])
def test_rows_stored_from_the_bottom_up(height, tmp_path):
    raw = counts(through(scene((height, 200)), "RGGB"))
    down = saved(tmp_path / "down.fit", raw, BAYERPAT="RGGB", ROWORDER="TOP-DOWN")
    up = saved(tmp_path / "up.fit", raw[::-1], BAYERPAT="RGGB", ROWORDER="BOTTOM-UP")
    assert np.array_equal(read_frame(up).data, read_frame(down).data[::-1])
    assert remark(up) == ""


def test_words_for_no_pattern(tmp_path):
    for index, cards in enumerate(({"BAYERPAT": "NONE"}, {"BAYERPAT": ""}, {"COLORTYP": "COLOR"})):
        path = saved(tmp_path / f"{index}.fit", counts(scene()[..., 1]), **cards)
        assert read_frame(path).data.shape == probe_frame(path).shape == SHAPE


# -------------------------------------------------------------------------------------------------------- the pixels


def binned(light, by_colour):
    raw = through(light, "RGGB")
    height, width = raw.shape
    if by_colour:
        return raw.reshape(height // 4, 2, 2, width // 4, 2, 2).mean(axis=(1, 4)).reshape(height // 2, width // 2)
    return raw.reshape(height // 2, 2, width // 2, 2).mean(axis=(1, 3))


def remark(path):
    """What is said of a file's pattern, whether its pixels were read already or not."""
    layout = read_layout(path)
    found = mosaic_pattern(layout)
    assert found == mosaic_pattern(layout, read_samples(layout))
    return found.remark


@pytest.mark.parametrize("packed", [False, True])
def test_a_pattern_left_after_binning_is_none(packed, tmp_path):
    light = scene((320, 400), fwhm=5.0)
    cards = {"BAYERPAT": "RGGB", "XBINNING": 2, "YBINNING": 2}
    data = counts(binned(light, by_colour=False))
    path = tmp_path / "mono.fit"
    if packed:
        fits.HDUList([fits.PrimaryHDU(), fits.CompImageHDU(data, fits.Header(cards))]).writeto(path)
    else:
        saved(path, data, **cards)
    assert np.array_equal(read_frame(path).data, data)
    assert probe_frame(path).shape == data.shape
    assert "binned" in remark(path)
    assert remark(saved(tmp_path / "plain.fit", data, XBINNING=2)) == ""


def test_a_grey_sky_does_not_take_the_colour_of_stars(tmp_path):
    raw = counts(binned(scene((320, 400), sky=(100, 100, 100), fwhm=5.0), by_colour=True), noise=3)
    path = saved(tmp_path / "dark.fit", raw, BAYERPAT="RGGB", XBINNING=2, YBINNING=2)
    assert read_frame(path).data.shape == (*raw.shape, 3)
    unbinned = saved(tmp_path / "twilight.fit", counts(np.full(SHAPE, 9000.0)), BAYERPAT="RGGB", XBINNING=1)
    assert read_frame(unbinned).data.shape == (*SHAPE, 3), "no sign of binning: its header is believed"


def test_a_mosaic_without_a_pattern_is_named(tmp_path):
    raw = counts(through(scene(), "GRBG"))
    seestar = saved(tmp_path / "seestar.fit", raw, INSTRUME="Seestar S50")
    assert medians(seestar) == pytest.approx(SKY, abs=5)
    assert "every Seestar" in remark(seestar)
    other = saved(tmp_path / "other.fit", raw, INSTRUME="Camera")
    assert np.array_equal(read_frame(other).data, raw)
    assert "its pixels show a Bayer mosaic" in remark(other)
    np.save(tmp_path / "array.npy", raw)
    assert "write it as FITS with that card, BAYERPAT" in remark(tmp_path / "array.npy")
    flipped = saved(tmp_path / "flipped.fit", raw[::-1], INSTRUME="Seestar S50")
    assert read_frame(flipped).data.shape == SHAPE, "green is elsewhere: whether red or blue is first, no one knows"


def test_a_mono_frame_is_taken_for_no_mosaic(tmp_path):
    rng = np.random.default_rng(5)
    y, x = np.indices(SHAPE)
    mono = scene(fwhm=2.0, sky=(0, 0, 0))[..., 1] + 500 + 0.5 * x + 0.2 * y  # a gradient
    mono.flat[rng.choice(mono.size, 300, replace=False)] += 4000  # hot pixels
    mono[1::2] += 3  # rows that are read by another amplifier
    path = saved(tmp_path / "mono.fit", counts(mono, noise=6), INSTRUME="Seestar S50")
    assert read_frame(path).data.shape == SHAPE
    assert remark(path) == ""


def test_little_to_see_leaves_the_header_right(tmp_path):
    for index, data in enumerate((np.ones((6, 6), np.float32), np.full((40, 40), np.nan, np.float32))):
        path = saved(tmp_path / f"{index}.fit", data, BAYERPAT="RGGB", XBINNING=2)
        assert probe_frame(path).shape == (*data.shape, 3)
