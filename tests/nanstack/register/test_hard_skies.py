# SPDX-License-Identifier: GPL-3.0-or-later
"""Registration of all frames at once, held to skies whose views are known: what nights have shown, and worse."""

from dataclasses import replace

import numpy as np
import pytest

from nanstack.register.solution import register
from tests.support.skies import (
    Lens,
    Look,
    disagreement,
    seen,
    sky_around,
    stars_list,
    survey_of,
    surveys_of,
    with_pointing,
)

S50 = Lens(bend=1.5)
AT = (83.8, 22.0)


def dithered(ra, dec, count, seed, *, turn=20.0, spread=0.05, lens=S50, **more):
    """Return looks around one place: dithered, the field turning as on an alt-azimuth mount."""
    rng = np.random.default_rng([seed, 31])
    looks = []
    for index in range(count):
        east, north = rng.normal(0, spread, 2)
        stretch = max(0.02, np.cos(np.radians(min(89.8, abs(dec + north)))))
        angle = turn * (index / max(1, count - 1) - 0.5) + rng.normal(0, 0.2)
        looks.append(Look(ra + east / stretch, min(dec + north, 89.99), angle, lens, 1 + rng.normal(0, 2e-4), **more))
    return looks


def panels(ra, dec, columns, rows, per, *, step=(0.5, 0.9), lens=S50, seed=3, **more):
    """Return looks of a mosaic, panel by panel."""
    looks = []
    for row in range(rows):
        for column in range(columns):
            north = (row - (rows - 1) / 2) * step[1]
            east = (column - (columns - 1) / 2) * step[0] / np.cos(np.radians(dec + north))
            looks += dithered(ra + east, dec + north, per, seed + 10 * row + column, lens=lens, **more)
    return looks


def assert_one_group(looks, registrations, sky, limit=0.15):
    """Hold every frame to one solution: frames that overlap agree about the sky to a fraction of a pixel."""
    lost = {index: one.reason for index, one in enumerate(registrations) if one.view is None}
    assert not lost
    assert len({one.group for one in registrations}) == 1
    assert all(np.linalg.det(one.view.attitude) > 0.999999 for one in registrations)
    away = disagreement(looks, [one.view for one in registrations], sky)
    assert len(away)
    assert away.max() < limit


# --- where on the sky -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("ra", "dec"), [(10.7, 41.3), (0.0, 5.0), (359.99, -5.0), (30.0, 89.9), (200.0, -89.8), (180.0, 0.0)]
)
@pytest.mark.parametrize("hints", [True, False])
def test_any_place_on_the_sky(ra, dec, hints):
    sky, flux = sky_around(ra, dec, 2.0, 6000)
    step = (0.5, 0.9) if abs(dec) < 80 else (0.0, 0.05)
    looks = panels(ra, dec, 2, 2 if abs(dec) < 80 else 1, 4, step=step)
    assert_one_group(looks, register(surveys_of(looks, sky, flux, hints=hints)), sky)


def test_panels_around_the_pole():
    sky, flux = sky_around(0.0, 90.0, 2.0, 6000)
    looks = [Look(ra + 3 * k, 89.6, ra + 3 * k, S50) for ra in range(0, 360, 45) for k in range(3)]
    assert_one_group(looks, register(surveys_of(looks, sky, flux)), sky)


@pytest.mark.parametrize("upright", [True, False])
def test_rows_that_grow_to_the_south_as_well_as_to_the_north(upright):
    sky, flux = sky_around(*AT, 2.0, 5000)
    looks = panels(*AT, 2, 2, 3, upright=upright)
    assert_one_group(looks, register(surveys_of(looks, sky, flux)), sky)


@pytest.mark.parametrize("hints", [True, False])
def test_fields_of_twenty_degrees_and_more(hints):
    lens = Lens((600, 800), 108.0, bend=4.0, name="wide")  # 24 x 18 degrees
    sky, flux = sky_around(290.0, 10.0, 40.0, 20000)
    looks = panels(290.0, 10.0, 3, 1, 4, step=(14.0, 0.0), lens=lens, spread=1.0)
    assert_one_group(looks, register(surveys_of(looks, sky, flux, hints=hints)), sky)


# --- how the frames lie -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("hints", [True, False])
def test_meridian_flip(hints):
    sky, flux = sky_around(*AT, 2.0, 5000)
    looks = [replace(look, turn=look.turn + 180 * (k % 12 > 5)) for k, look in enumerate(panels(*AT, 2, 1, 12))]
    assert_one_group(looks, register(surveys_of(looks, sky, flux, hints=hints)), sky)


@pytest.mark.parametrize("angle", [180.0, 90.0, 69.0])
def test_one_frame_that_is_turned(angle):
    sky, flux = sky_around(*AT, 2.0, 5000)
    looks = dithered(*AT, 7, 4, turn=2.0)
    looks[3] = replace(looks[3], turn=looks[3].turn + angle)
    assert_one_group(looks, register(surveys_of(looks, sky, flux)), sky)


@pytest.mark.parametrize("hints", [True, False])
def test_pointings_that_take_turns(hints):
    sky, flux = sky_around(*AT, 2.5, 9000)
    in_turn = panels(*AT, 3, 2, 5)
    looks = [in_turn[5 * panel + k] for k in range(5) for panel in range(6)]
    assert_one_group(looks, register(surveys_of(looks, sky, flux, hints=hints)), sky)


def test_a_ring_of_panels_closes():
    sky, flux = sky_around(*AT, 4.0, 16000)
    spots = [(column, row) for column in range(4) for row in range(3) if column in (0, 3) or row in (0, 2)]
    looks = []
    for column, row in spots:
        looks += dithered(AT[0] + (column - 1.5) * 0.55, AT[1] + row - 1.0, 3, 7 * column + row, spread=0.02)
    assert_one_group(looks, register(surveys_of(looks, sky, flux)), sky)


def test_a_thin_overlap_is_enough():
    sky, flux = sky_around(*AT, 2.5, 9000)
    looks = panels(*AT, 2, 1, 6, step=(0.62, 0.0), turn=0.0, spread=0.01)  # of 0.717 degrees: 13 %
    assert_one_group(looks, register(surveys_of(looks, sky, flux)), sky, limit=0.3)


# --- what is known beforehand -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("error", [0.3, 3.0, 40.0])
def test_hints_that_are_wrong_for_all_alike(error):
    sky, flux = sky_around(*AT, 2.0, 5000)
    looks = panels(*AT, 2, 2, 4)
    wrong = [
        with_pointing(one, (one.facts.pointing[0] + error, one.facts.pointing[1] - error / 2))
        for one in surveys_of(looks, sky, flux)
    ]
    assert_one_group(looks, register(wrong), sky)


def test_hints_that_are_wrong_for_some():
    sky, flux = sky_around(*AT, 2.0, 5000)
    looks = panels(*AT, 2, 2, 4)
    surveys = surveys_of(looks, sky, flux)
    for index, wrong in {2: (0.0, 0.0), 5: (263.8, -22.0), 9: (AT[0] + 2, AT[1]), 14: None}.items():
        surveys[index] = with_pointing(surveys[index], wrong)
    assert_one_group(looks, register(surveys), sky)


def test_one_hint_for_all_panels():
    """As a program writes that knows the target only."""
    sky, flux = sky_around(*AT, 3.0, 12000)
    looks = panels(*AT, 4, 3, 3)
    assert_one_group(looks, register([with_pointing(one, AT) for one in surveys_of(looks, sky, flux)]), sky)


@pytest.mark.parametrize("scale", [None, 4.78 * 1.04, 4.78 * 2])
def test_a_scale_that_is_missing_or_wrong(scale):
    sky, flux = sky_around(*AT, 2.0, 5000)
    looks = panels(*AT, 2, 2, 4)
    surveys = [replace(one, facts=replace(one.facts, scale=scale)) for one in surveys_of(looks, sky, flux)]
    assert_one_group(looks, register(surveys), sky)


def test_neither_scale_nor_pointing():
    sky, flux = sky_around(*AT, 2.0, 5000)
    looks = panels(*AT, 2, 2, 4)
    surveys = surveys_of(looks, sky, flux, hints=False)
    assert_one_group(looks, register([replace(one, facts=replace(one.facts, scale=None)) for one in surveys]), sky)


# --- what the frames show ---------------------------------------------------------------------------------------------


def test_eight_stars():
    for seed in range(6):
        sky, flux = sky_around(*AT, 0.8, 30, seed)
        looks = dithered(*AT, 8, seed, spread=0.02)
        assert_one_group(looks, register(surveys_of(looks, sky, flux, seed, most=8, missing=0.0)), sky, limit=1.0)


def test_five_thousand_stars():
    sky, flux = sky_around(*AT, 1.2, 25000)
    looks = panels(*AT, 2, 1, 3)
    assert_one_group(looks, register(surveys_of(looks, sky, flux, most=5000)), sky)


def test_forty_percent_of_the_detections_are_none():
    sky, flux = sky_around(*AT, 2.0, 4000)
    looks = panels(*AT, 2, 1, 6)
    assert_one_group(looks, register(surveys_of(looks, sky, flux, false=0.4)), sky)


@pytest.mark.parametrize(("stars", "hot"), [(4000, 60), (250, 60)])
def test_hot_pixels_are_no_stars(stars, hot):
    """A fixed pattern, brighter than most stars, in each frame: the sky has moved, the pattern has not."""
    rng = np.random.default_rng(5)
    pattern = rng.uniform(5, 955, hot) * 0.56, rng.uniform(5, 955, hot), rng.uniform(2e4, 1e5, hot)
    sky, flux = sky_around(*AT, 1.2, stars)
    looks = dithered(*AT, 10, 6, turn=40.0)
    assert_one_group(looks, register(surveys_of(looks, sky, flux, hot=pattern)), sky)


def test_false_stars_alone_connect_to_nothing():
    rng = np.random.default_rng(8)
    sky, flux = sky_around(*AT, 1.0, 2500)
    looks = dithered(*AT, 8, 8)
    surveys = surveys_of(looks, sky, flux)
    cloudy = (2, 5)
    for index in cloudy:
        noise = stars_list(rng.uniform(3, 530, 60), rng.uniform(3, 950, 60), rng.uniform(2e3, 4e3, 60))
        surveys[index] = survey_of(looks[index], noise, index)
    registrations = register(surveys)
    good = [index for index in range(8) if index not in cloudy]
    assert_one_group([looks[i] for i in good], [registrations[i] for i in good], sky)
    main = registrations[good[0]].group
    for index in cloudy:
        assert registrations[index].view is None or registrations[index].group != main
        assert registrations[index].view is not None or registrations[index].reason


@pytest.mark.parametrize("count", [0, 1, 2, 3])
def test_hardly_a_star(count):
    rng = np.random.default_rng(9)
    sky, flux = sky_around(*AT, 1.0, 2500)
    looks = dithered(*AT, 6, 9)
    surveys = surveys_of(looks, sky, flux)
    few = seen(looks[1], sky, flux, rng, most=count)
    surveys[1] = survey_of(looks[1], few, 1)
    registrations = register(surveys)
    good = [0, 2, 3, 4, 5]
    assert_one_group([looks[i] for i in good], [registrations[i] for i in good], sky)
    assert registrations[1].view is None
    assert registrations[1].reason


def test_transparency():
    sky, flux = sky_around(*AT, 1.0, 3000)
    clear = [1.0, 0.5, 1.0, 0.8, 1.0, 0.3, 1.0]
    looks = [replace(look, flux=value) for look, value in zip(dithered(*AT, 7, 10), clear, strict=True)]
    registrations = register(surveys_of(looks, sky, flux))
    assert_one_group(looks, registrations, sky)
    found = np.array([one.flux for one in registrations])
    np.testing.assert_allclose(found / found[0], clear, rtol=0.03)


def test_rms_and_number_of_stars_are_told():
    sky, flux = sky_around(*AT, 1.0, 3000)
    looks = dithered(*AT, 6, 11)
    for one in register(surveys_of(looks, sky, flux, jitter=0.1)):
        assert one.stars > 50
        assert 0.05 < one.rms < 0.3


# --- groups -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("hints", [True, False])
def test_fields_far_apart_are_groups_of_their_own(hints):
    first, light = sky_around(*AT, 1.0, 2500, 1)
    second, other = sky_around(200.0, -40.0, 1.0, 2500, 2)
    looks = dithered(*AT, 6, 12) + dithered(200.0, -40.0, 6, 13)
    both, fluxes = np.concatenate([first, second]), np.concatenate([light, other])
    registrations = register(surveys_of(looks, both, fluxes, hints=hints))
    for part, sky in ((slice(0, 6), first), (slice(6, 12), second)):
        assert_one_group(looks[part], registrations[part], sky)
    assert registrations[0].group != registrations[6].group


def test_a_field_far_away_from_the_others_by_itself():
    sky, flux = sky_around(*AT, 1.0, 2500)
    other, light = sky_around(200.0, -40.0, 1.0, 2500, 2)
    looks = [*dithered(*AT, 6, 14), Look(200.0, -40.0, 3.0, S50)]
    registrations = register(surveys_of(looks, np.concatenate([sky, other]), np.concatenate([flux, light])))
    assert_one_group(looks[:6], registrations[:6], sky)
    last = registrations[6]
    assert last.view is None or last.group != registrations[0].group


@pytest.mark.parametrize("hints", [True, False])
def test_two_cameras_of_two_scales_and_bends(hints):
    s30 = Lens((960, 540), 7.98, bend=-2.0, name="Seestar S30")
    sky, flux = sky_around(*AT, 2.5, 9000)
    looks = dithered(*AT, 6, 15, lens=S50) + dithered(*AT, 6, 16, lens=s30)
    registrations = register(surveys_of(looks, sky, flux, hints=hints))
    assert_one_group(looks, registrations, sky)
    radial = [one.view.camera.radial for one in (registrations[0], registrations[6])]
    assert radial[0] > 0 > radial[1]


def test_two_cameras_that_header_and_shape_do_not_tell_apart():
    """Two telescopes of one kind: bends that differ, under one name."""
    sky, flux = sky_around(*AT, 1.5, 5000)
    looks = dithered(*AT, 6, 17, lens=S50) + dithered(*AT, 6, 18, lens=replace(S50, bend=1.0), turn=3.0)
    assert_one_group(looks, register(surveys_of(looks, sky, flux)), sky, limit=0.3)


def test_frames_of_another_size():
    sky, flux = sky_around(*AT, 1.5, 5000)
    cropped = replace(S50, shape=(700, 500))
    looks = dithered(*AT, 5, 19) + dithered(*AT, 3, 20, lens=cropped)
    assert_one_group(looks, register(surveys_of(looks, sky, flux)), sky, limit=0.3)


def test_no_frame_and_one_frame():
    sky, flux = sky_around(*AT, 1.0, 2500)
    assert register([]) == []
    (alone,) = register(surveys_of([Look(*AT, 0.0, S50)], sky, flux))
    assert alone.view is None or np.isfinite(alone.view.attitude).all()
    assert alone.view is not None or alone.reason


def test_two_frames_without_a_star_in_common():
    sky, flux = sky_around(*AT, 8.0, 30000)
    looks = [Look(AT[0] - 4, AT[1], 0.0, S50), Look(AT[0] + 4, AT[1], 0.0, S50)]
    one, other = register(surveys_of(looks, sky, flux))
    assert one.view is None or other.view is None or one.group != other.group


def test_the_order_of_the_frames_does_not_matter():
    sky, flux = sky_around(*AT, 2.0, 5000)
    looks = panels(*AT, 2, 2, 3)
    surveys = surveys_of(looks, sky, flux)
    order = np.random.default_rng(21).permutation(len(looks))
    mixed = register([surveys[i] for i in order])
    assert_one_group([looks[i] for i in order], mixed, sky)


def test_copies_of_one_frame():
    sky, flux = sky_around(*AT, 1.0, 2500)
    looks = dithered(*AT, 4, 22)
    surveys = surveys_of(looks, sky, flux)
    assert_one_group([*looks, looks[0], looks[0]], register([*surveys, surveys[0], surveys[0]]), sky)


@pytest.mark.parametrize("count", [30, 200])
def test_satellites_are_no_stars(count):
    """Pieces of a trail, evenly spaced in a line, look like those of any other trail."""
    rng = np.random.default_rng(33)
    sky, flux = sky_around(*AT, 1.5, int(7.8 * count))
    looks = panels(*AT, 2, 1, 6, step=(0.4, 0.0), turn=40.0)
    surveys = surveys_of(looks, sky, flux)
    for index in (2, 5, 8, 11):
        stars, (angle, middle) = surveys[index].stars, (rng.uniform(0, np.pi), rng.uniform(150, 380))
        along = np.arange(-350, 350, 9.0) + rng.normal(0, 0.4, 78)
        x, y = middle + along * np.cos(angle), 480 + along * np.sin(angle)
        here = (x > 3) & (x < 536) & (y > 3) & (y < 956)
        x, y, light = (np.append(a, b[here]) for a, b in ((stars.x, x), (stars.y, y), (stars.flux, 0 * x + 9e3)))
        surveys[index] = survey_of(looks[index], stars_list(x, y, light), index)
    assert_one_group(looks, register(surveys), sky)
