# SPDX-License-Identifier: GPL-3.0-or-later
from dataclasses import replace

import numpy as np
import pytest

from nanstack.survey.raw import MESH_PX, Raw
from nanstack.survey.spikes import find_spikes, mended
from nanstack.survey.survey import survey_frame
from tests.nanstack.survey.simulated import NOISE, SKY, Scene, adu16, light_of, mosaic_of, noisy, sky_of, write

pytestmark = pytest.mark.numpy_bytes

NIGHT = Scene(stars=600, shape=(768, 896), brightest=3_000_000.0, faintest=1_500.0)  # from saturated to lost in noise


def found(raw, fwhm):
    cells = [-(-side // MESH_PX) for side in raw.plane.shape]
    colours = SKY if raw.pattern else SKY[1:2]
    return find_spikes(raw, np.broadcast_to(colours, (*cells, len(colours))), np.full(len(colours), NOISE), fwhm)


def raw_of(scene, pattern="GRBG", seed=3):
    """Return a frame whose noise grows with its light."""
    light = light_of(scene)
    clean = mosaic_of(sky_of(scene.shape) + light, pattern) if pattern else SKY[1] + light[..., 1]
    grain = np.sqrt(NOISE**2 + np.maximum(clean - SKY[1], 0))
    return Raw(adu16(noisy(0 * clean, seed, 1.0) * grain + clean).astype(np.float32), pattern)


@pytest.mark.parametrize("fwhm", [1.6, 2.0, 3.0, 5.0])
@pytest.mark.parametrize("colour", [(0.8, 1.0, 0.7), (1.0, 0.5, 0.2), (0.4, 1.0, 1.2)])
def test_no_star_is_a_spike(fwhm, colour):
    raw = raw_of(replace(NIGHT, fwhm=fwhm, colour=colour))
    assert raw.plane.max() == 65535
    assert not len(found(raw, fwhm))


@pytest.mark.parametrize("fwhm", [1.6, 2.0, 3.0, 5.0])
def test_no_star_of_a_mono_frame_is_a_spike(fwhm):
    assert not len(found(raw_of(replace(NIGHT, fwhm=fwhm), ""), fwhm))


@pytest.mark.parametrize("pattern", ["GRBG", "RGGB", ""])
def test_spikes_are_found(pattern):
    raw = raw_of(replace(NIGHT, stars=150), pattern)
    rng = np.random.default_rng(5)
    at = rng.choice(raw.plane.size, 500, replace=False)
    raw.plane.flat[at] += np.linspace(8, 400, 500) * NOISE
    hits = set(map(tuple, found(raw, 3.0)))
    true = list(zip(*np.unravel_index(at, raw.plane.shape), strict=True))
    assert hits <= set(true)
    assert len(hits) > 480, "all but those on stars"
    assert len(hits.intersection(true[:20])) > 15, "faint ones too"


def test_two_hot_photosites_side_by_side_and_one_in_the_corner_are_found():
    raw = raw_of(Scene(stars=1))
    spikes = [(0, 0), (100, 201), (100, 202), (479, 639)]
    for place in spikes:
        raw.plane[place] += 2000
    assert list(map(tuple, found(raw, 2.5))) == spikes


@pytest.mark.parametrize("pattern", ["GRBG", ""])
def test_blind_photosites_are_found_and_shadows_are_none(pattern):
    raw = raw_of(replace(NIGHT, stars=150), pattern)
    raw.plane[300:303, 400:420] = 0  # what is larger than a photosite or two
    raw.plane[:, -1] = 0
    at = np.random.default_rng(5).choice(raw.plane.shape[0] // 2 * raw.plane.shape[1] // 5, 300, replace=False)
    true = np.stack(np.divmod(5 * at, raw.plane.shape[1]), axis=1)
    true = true[(true[:, 1] < 880) & ((true[:, 0] < 290) | (true[:, 0] > 312))]
    raw.plane[tuple(true.T)] = SKY[0] - np.linspace(30, 1000, len(true)) * NOISE
    hits = set(map(tuple, found(raw, 3.0)))
    assert hits <= set(map(tuple, true))
    assert len(hits) > 0.95 * len(true), "all but those on stars"


@pytest.mark.parametrize("pattern", ["GRBG", ""])
def test_spikes_become_the_median_of_what_is_good_of_their_colour_around_them(pattern):
    plane = np.random.default_rng(3).integers(300, 60000, (45, 61)).astype(np.float32)
    spikes = np.array([(0, 0), (9, 4), (20, 29), (20, 31), (44, 60)])  # two beside each other, two in corners
    plane[9, 6] = np.nan  # no data
    found, pitch = mended(Raw(plane, pattern), spikes), 2 if pattern else 1
    plane[tuple(spikes.T)] = np.nan
    good = np.pad(plane, pitch, constant_values=np.nan)
    for (row, column), value in zip(spikes, found, strict=True):
        around = good[row : row + 2 * pitch + 1 : pitch, column : column + 2 * pitch + 1 : pitch]
        assert value == pytest.approx(np.nanmedian(around))


def test_a_spike_without_good_neighbours_has_no_data():
    assert np.isnan(mended(Raw(np.ones((1, 1), np.float32)), np.array([(0, 0)])))


def test_a_survey_tells_of_spikes_in_their_order(tmp_path):
    scene = Scene()
    raw = noisy(mosaic_of(sky_of(scene.shape, 0.3) + light_of(scene)))
    raw[[300, 10, 300], [41, 600, 40]] += 900
    raw[200, 77] = 0
    spikes = survey_frame(write(tmp_path / "a.fit", adu16(raw), "GRBG")).spikes
    assert spikes.dtype == np.int32
    assert spikes.tolist() == [[10, 600], [200, 77], [300, 40], [300, 41]]


def test_a_colour_image_has_none(tmp_path):
    image = noisy(sky_of((128, 160)))
    image[50, 60] += 5000
    assert survey_frame(write(tmp_path / "a.fit", adu16(np.moveaxis(image, 2, 0)))).spikes.shape == (0, 2)
