# SPDX-License-Identifier: GPL-3.0-or-later
import os

import cv2
import numpy as np
import pytest
from astropy.io import fits

from nanstack.io import layout as layout_module
from nanstack.io.layout import FrameError
from nanstack.survey.mesh import mesh_at
from nanstack.survey.survey import survey_frame
from tests.nanstack.survey.simulated import (
    NOISE,
    Scene,
    adu16,
    light_of,
    mosaic_of,
    noisy,
    offsets,
    raw_file,
    sky_of,
    write,
)

pytestmark = pytest.mark.numpy_bytes

ALONG = [(dx, 0.4 * dx) for dx in np.linspace(-5, 5, 11)]  # a trail of 10.8 px


@pytest.mark.parametrize("pattern", ["GRBG", "RGGB", "BGGR", "GBRG"])
def test_stars_of_a_raw_frame_lie_where_they_are(tmp_path, pattern):
    scene = Scene()
    survey = survey_frame(raw_file(tmp_path / "a.fit", scene, pattern))
    off, which = offsets(survey.stars, scene.field())
    assert survey.shape == (*scene.shape, 3)
    assert np.abs(off).max() < 0.5, "none that is not there"
    assert set(range(60)) <= set(which), "all that are bright"
    assert len(set(which)) == len(which), "each once"
    bright = which < 30
    assert np.sqrt(np.mean(off[bright] ** 2)) < 0.05
    assert np.abs(off[bright].mean(axis=0)).max() < 0.02


def test_errors_are_those_of_the_places(tmp_path):
    scene = Scene()
    survey = survey_frame(raw_file(tmp_path / "a.fit", scene))
    off, _ = offsets(survey.stars, scene.field())
    assert np.median(off**2 / survey.stars.error[:, None] ** 2) / 0.455 == pytest.approx(1, abs=0.4)


@pytest.mark.parametrize("colour", [(2.0, 1.0, 0.3), (0.3, 1.0, 2.0)])
def test_the_grid_of_a_colour_draws_no_star_to_itself(tmp_path, colour):
    scene = Scene(colour=colour, faintest=40_000.0, fwhm=2.2)
    survey = survey_frame(raw_file(tmp_path / "a.fit", scene, "RGGB"))
    off, _ = offsets(survey.stars, scene.field())
    assert len(survey.stars) >= 88
    assert np.abs(off.mean(axis=0)).max() < 0.01


def test_hot_pixels_are_no_stars(tmp_path):
    scene = Scene(stars=25)
    survey = survey_frame(raw_file(tmp_path / "a.fit", scene, hot=600))
    off, which = offsets(survey.stars, scene.field())
    assert np.hypot(*off.T).max() < 1.0
    assert len(which) >= 23


def debayered(scene, hot, seed):
    """Return a frame with hot pixels as other programs make it of a raw one: bilinear."""
    rng = np.random.default_rng(seed)
    raw = noisy(mosaic_of(sky_of(scene.shape) + light_of(scene)), seed, 60.0)
    raw.flat[rng.choice(raw.size, hot, replace=False)] += rng.uniform(300, 4000, hot)
    return cv2.cvtColor(adu16(raw), cv2.COLOR_BayerGB2RGB).astype(np.float32)  # OpenCV's name for GRBG


@pytest.mark.parametrize("grey", [False, True])
def test_hot_pixels_that_another_program_debayered_are_no_stars(tmp_path, grey):
    """They are 3 x 3 pixels then, are brighter than most stars, and more."""
    scene = Scene(stars=60, fwhm=3.5, brightest=15_000.0, faintest=4_000.0)
    image = debayered(scene, hot=900, seed=6)
    samples = image @ np.float32([0.3, 0.6, 0.1]) if grey else np.moveaxis(image, -1, 0)
    survey = survey_frame(write(tmp_path / "a.fit", samples))
    off, which = offsets(survey.stars, scene.field())
    assert survey.stars.fwhm == pytest.approx(3.8, abs=0.3)
    found = np.hypot(*off.T) < 1
    assert len(set(which[found])) >= 50
    assert np.count_nonzero(found[:40]) >= 30, "of the brightest, which place the frame"


@pytest.mark.parametrize("shape", [(3, 60, 80), (60, 80)])
def test_an_even_frame_has_no_stars(tmp_path, shape):
    assert len(survey_frame(write(tmp_path / "a.fit", np.full(shape, 500, np.float32))).stars) == 0


def test_hot_pixels_alone_are_a_frame_without_stars(tmp_path):
    survey = survey_frame(raw_file(tmp_path / "a.fit", Scene(stars=1, brightest=1.0), hot=600))
    assert len(survey.stars) == 0
    assert np.isnan(survey.stars.fwhm)
    assert np.isnan(survey.elongation)


@pytest.mark.parametrize("fwhm", [2.0, 3.0, 4.5])
def test_sharpness_and_flux(tmp_path, fwhm):
    scene = Scene(fwhm=fwhm)
    survey = survey_frame(raw_file(tmp_path / "a.fit", scene))
    assert survey.stars.fwhm == pytest.approx(fwhm, rel=0.08)
    assert survey.elongation == pytest.approx(1, abs=0.1)
    _, which = offsets(survey.stars, scene.field())
    true = scene.field().flux @ [0.25, 0.5, 0.25]
    assert np.median(survey.stars.flux / true[which]) == pytest.approx(1, abs=0.05)


def moffat(fwhm, shape=(480, 640), flux=40_000.0, beta=3.0):
    """A raw frame of stars with the wings that air gives them, 40 px apart (Moffat 1969, A&A 3, 455)."""
    rng = np.random.default_rng(3)
    x, y = (axis.ravel() for axis in np.meshgrid(np.arange(30, 620, 40), np.arange(30, 460, 40)))
    x, y = x + rng.uniform(-0.5, 0.5, len(x)), y + rng.uniform(-0.5, 0.5, len(y))
    alpha = fwhm / (2 * np.sqrt(2 ** (1 / beta) - 1))
    row, column = np.indices(shape)
    light = np.zeros(shape)
    for a, b in zip(x, y, strict=True):
        here = slice(max(int(b) - 20, 0), int(b) + 21), slice(max(int(a) - 20, 0), int(a) + 21)
        square = (column[here] - a) ** 2 + (row[here] - b) ** 2
        light[here] += flux * (beta - 1) / (np.pi * alpha**2) * (1 + square / alpha**2) ** -beta
    return adu16(noisy(mosaic_of(sky_of(shape) + light[..., None])))


def test_a_stars_flux_is_the_same_in_all_seeings(tmp_path):
    """But for one factor: a model without wings misses a tenth. Frames are brought to one scale of flux by it."""
    told = [
        np.median(survey_frame(write(tmp_path / f"{fwhm}.fit", moffat(fwhm), "GRBG")).stars.flux) for fwhm in (2.6, 3.9)
    ]
    assert told[1] / told[0] == pytest.approx(1, abs=0.012)


def test_trailed_stars_are_found_and_told(tmp_path):
    scene = Scene()
    survey = survey_frame(raw_file(tmp_path / "a.fit", scene, steps=ALONG))
    off, which = offsets(survey.stars, scene.field())
    assert survey.elongation > 2
    assert np.hypot(*off.T).max() < 1.5
    assert len(set(which)) == len(which) >= 40, "each trail is one star"


def test_mono_and_colour_images_show_the_same_stars(tmp_path):
    scene = Scene()
    colour = noisy(sky_of(scene.shape) + light_of(scene))
    for name, samples in (("mono", colour[..., 1]), ("colour", np.moveaxis(colour, -1, 0))):
        survey = survey_frame(write(tmp_path / f"{name}.fit", samples.astype(np.float32)))
        off, which = offsets(survey.stars, scene.field())
        assert np.abs(off).max() < 0.6, name
        assert set(range(60)) <= set(which), name
        assert np.sqrt(np.mean(off[which < 30] ** 2)) < 0.05, name
    assert survey.shape == (*scene.shape, 3)


def test_large_mono_frames_are_binned_and_keep_their_places(tmp_path):
    scene = Scene((1001, 1003))
    samples = noisy(sky_of(scene.shape) + light_of(scene))[..., 1]
    off, which = offsets(survey_frame(write(tmp_path / "a.fit", adu16(samples))).stars, scene.field())
    assert set(range(60)) <= set(which)
    assert np.abs(off[which < 30].mean(axis=0)).max() < 0.02


def test_sky_noise_and_saturation_by_colour(tmp_path):
    scene = Scene(brightest=3e6, stars=60)
    survey = survey_frame(raw_file(tmp_path / "a.fit", scene, slope=0.2))
    assert survey.sky.shape == (8, 10, 3)
    true = sky_of(scene.shape, 0.2)[:, 32::64]
    assert np.abs(survey.sky[:7] - true[0]).max() < 6  # ADU; stars of 10,000 stand on it
    assert survey.noise == pytest.approx([NOISE] * 3, rel=0.1)
    assert survey.saturation == 65_535


@pytest.mark.parametrize("level", [100.13, 100.37, 100.5])
def test_whole_numbers_tell_a_sky_between_them(tmp_path, level):
    raw = np.rint(np.random.default_rng(1).normal(level, 0.7, (512, 640)))
    sky = survey_frame(write(tmp_path / "a.fit", raw.astype(np.uint16), "RGGB")).sky
    assert np.sqrt(np.mean((sky - level) ** 2)) < 0.06  # medians of what is rounded are off by up to 0.5


def test_a_nebula_is_sky_and_stars_in_it_are_stars(tmp_path):
    scene = Scene(stars=40)
    y, x = np.indices(scene.shape)
    nebula = 400 * np.exp(-((x - 320) ** 2 + (y - 240) ** 2) / (2 * 90**2))
    raw = noisy(mosaic_of(sky_of(scene.shape) + light_of(scene) + nebula[..., None]))
    off, which = offsets(survey_frame(write(tmp_path / "a.fit", adu16(raw), "GRBG")).stars, scene.field())
    assert np.abs(off).max() < 0.6
    assert set(range(25)) <= set(which)


def test_eight_bits_without_noise_show_their_stars(tmp_path):
    scene = Scene(faintest=20_000.0)
    light = 6 + 0.02 * light_of(scene)
    survey = survey_frame(write(tmp_path / "a.fit", np.moveaxis(np.rint(light).astype(np.uint8), -1, 0)))
    off, which = offsets(survey.stars, scene.field())
    assert len(which) >= 60
    assert np.hypot(*off.T).max() < 0.5
    assert (survey.noise > 0).all()


def test_empty_frames_have_no_stars(tmp_path):
    survey = survey_frame(write(tmp_path / "a.fit", np.full((200, 300), 1000, np.float32), "RGGB"))
    assert len(survey.stars) == 0
    with pytest.raises(FrameError, match="it holds no finite sample"):
        survey_frame(write(tmp_path / "b.fit", np.full((200, 300), np.nan, np.float32), "RGGB"))


@pytest.mark.parametrize("shape", [(1, 1), (2, 3), (7, 5), (65, 64)])
def test_tiny_frames_are_surveyed(tmp_path, shape):
    for pattern in ("", "RGGB"):
        survey = survey_frame(write(tmp_path / "a.fit", noisy(np.full(shape, 500.0)).astype(np.float32), pattern))
        assert len(survey.stars) == 0


def test_wild_samples_are_no_data(tmp_path):
    scene = Scene()
    raw = noisy(mosaic_of(sky_of(scene.shape) + light_of(scene))).astype(np.float32)
    raw[100:130] = np.nan
    raw[200, ::7], raw[201, ::7] = 3e38, -np.inf
    survey = survey_frame(write(tmp_path / "a.fit", raw, "GRBG"))
    off, which = offsets(survey.stars, scene.field())
    assert len(which) > 60
    assert np.hypot(*off[which < 30].T).max() < 0.5
    assert np.isfinite(survey.noise).all()


def test_the_digest_tells_samples_apart(tmp_path):
    one = raw_file(tmp_path / "a.fit", Scene())
    copy = write(tmp_path / "b.fit", fits.getdata(one), "GRBG", OBJECT="the same, solved")
    other = raw_file(tmp_path / "c.fit", Scene(), seed=3)
    assert survey_frame(one).digest == survey_frame(copy).digest != survey_frame(other).digest


def test_a_file_is_read_once(tmp_path, monkeypatch):
    path = raw_file(tmp_path / "a.fit", Scene())
    read = []

    def counting(file, size=-1, true=layout_module._read_block):
        block = true(file)
        read.append(len(block))
        return block

    def filling(path, file, offset, numbers, true=layout_module.fill):
        read.append(numbers.nbytes)
        true(path, file, offset, numbers)

    monkeypatch.setattr(layout_module, "_read_block", counting)
    monkeypatch.setattr(layout_module, "fill", filling)
    survey_frame(path)
    assert sum(read) <= os.path.getsize(path)


def test_what_is_no_frame_is_refused(tmp_path):
    path = tmp_path / "a.fit"
    path.write_bytes(b"no FITS")
    with pytest.raises(FrameError, match=r"a\.fit"):
        survey_frame(path)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("pattern", ["", "GBRG"])
@pytest.mark.parametrize("shape", [(1, 90), (6, 5), (129, 65)])
def test_any_samples_are_surveyed_without_a_word(tmp_path, shape, pattern):
    rng = np.random.default_rng(4)
    noise, chance = rng.normal(100, 5, shape), rng.random(shape)
    hostile = {
        "half without data": np.where(chance < 0.5, np.nan, noise),
        "one sample": np.where(chance == chance.max(), noise, np.nan),
        "tiny": noise * 1e-32,
        "huge": noise * 1e34,
        "spikes": np.where(chance < 0.1, 1e17, noise),
        "two values": np.rint(chance) + 1,
        "every other pixel": np.indices(shape).sum(axis=0) % 2 + 1.0,
        "a ramp": np.arange(noise.size).reshape(shape) + 1.0,
        "wild": rng.lognormal(3, 3, shape),
    }
    for name, samples in hostile.items():
        survey = survey_frame(write(tmp_path / "a.fit", samples.astype(np.float32), pattern))
        stars = survey.stars
        assert np.isfinite([stars.x, stars.y, stars.flux, stars.error]).all(), name
        assert survey.sky.shape[:2] == (-(-shape[0] // 64), -(-shape[1] // 64)), name
        assert survey.noise.shape == survey.shape[2:], name


def test_a_mesh_of_a_slope_says_what_the_slope_says_all_over_the_frame_and_up_to_its_edges():
    columns, rows = np.meshgrid(np.arange(5), np.arange(3))
    middle = 63 / 2
    mesh = np.stack([100 + 2 * (64 * columns + middle) - 3 * (64 * rows + middle), np.full((3, 5), 7.0)], axis=2)
    x, y = np.array([-0.5, 100.25, 319.5]), np.array([191.5, 17.0, -0.5])
    expected = np.stack([100 + 2 * x - 3 * y, np.full(3, 7.0)], axis=1)
    np.testing.assert_allclose(mesh_at(mesh, 64, x, y), expected, rtol=1e-13)
    np.testing.assert_allclose(mesh_at(mesh[..., 0], 64, x, y), expected[:, 0], rtol=1e-13)
