# SPDX-License-Identifier: GPL-3.0-or-later
import re
from pathlib import Path

import numpy as np
import pytest

from nanstack.register.camera import Camera, View
from nanstack.register.solution import Registration
from nanstack.register.verdicts import judge
from nanstack.survey.record import Facts, Survey
from nanstack.survey.stars import Stars

SHAPE = (1080, 1920, 3)
VIEW = View(Camera(SHAPE[:2], 86_000.0), np.eye(3))


def stars(count=60, seed=0, fwhm=3.0):
    rng = np.random.default_rng(seed)
    flux = np.sort(rng.lognormal(9, 1.2, count))[::-1]
    return Stars(rng.uniform(0, SHAPE[1], count), rng.uniform(0, SHAPE[0], count), flux, np.full(count, 0.05), fwhm)


STARS = stars()


def doubled(single, dx, dy, share, seed=0, missing=0.3):
    """Return stars with doubles: those of the faintest are too faint, places and fluxes are noisy."""
    rng = np.random.default_rng(seed)
    bright = slice(0, round(len(single) * (1 - missing)))
    x = np.concatenate([single.x, single.x[bright] + dx]) + rng.normal(0, 0.15, len(single) + bright.stop)
    y = np.concatenate([single.y, single.y[bright] + dy]) + rng.normal(0, 0.15, len(x))
    flux = np.concatenate([single.flux, share * single.flux[bright]]) * rng.lognormal(0, 0.1, len(x))
    order = np.argsort(-flux)
    return Stars(x[order], y[order], flux[order], np.full(len(x), 0.05), single.fwhm)


def frame(number, stars=STARS, elongation=1.1, flux=1.0, group=0, sky=1.0, noise=1.0, **facts):
    facts = {"instrument": "Seestar S50", "exposure": 10.0, "gain": 80.0, "filter": "IRCUT"} | facts
    levels = np.full((17, 30, 3), sky), np.full(3, noise)
    survey = Survey(Path(f"{number}.fit"), SHAPE, Facts(**facts), stars, *levels, elongation=elongation)
    return survey, Registration(VIEW if group >= 0 else None, group, len(stars), 0.2, flux)


def verdicts(*frames):
    return judge(*map(list, zip(*frames, strict=True))).reasons


def remarks(*frames):
    return judge(*map(list, zip(*frames, strict=True))).remarks


def good(count=8, first=0, **facts):
    """Return frames of an ordinary night: seeing, guiding and haze change a little."""
    rng = np.random.default_rng(5)
    return [
        frame(
            first + number,
            stars(seed=number, fwhm=rng.uniform(2.3, 4.0)),
            rng.uniform(1, 1.35),
            rng.uniform(0.68, 1.05),
            **facts,
        )
        for number in range(count)
    ]


def test_an_ordinary_night_has_no_bad_frame():
    assert verdicts(*good(40)) == {}


def test_what_all_frames_have_is_the_fault_of_none():
    rng = np.random.default_rng(1)
    shaken = [frame(number, stars(seed=number), rng.uniform(1.1, 1.75)) for number in range(20)]
    assert verdicts(*shaken) == {}


def test_trailed_frames_are_named_with_figures():
    assert verdicts(*good(), frame(8, elongation=2.2)) == {
        8: "it is trailed: its stars are 2.2 times as long as wide, 1.2 is usual"
    }


def test_blurred_frames_are_named_with_figures():
    assert verdicts(*good(), frame(8, stars(fwhm=7.04)))[8].startswith("it is blurred: its stars are 7.0 px wide, 3.")


@pytest.mark.parametrize("count", [14, 60, 280])
@pytest.mark.parametrize(("dx", "dy", "share"), [(8, -3, 0.67), (0.1, 14, 1.0), (-60, 20, 0.4)])
def test_doubled_frames_are_named_with_figures(count, dx, dy, share):
    reason = verdicts(*good(), frame(8, doubled(stars(count, 3), dx, dy, share)))[8]
    assert reason.startswith("it is doubled: ")
    assert float(re.search(r"([\d.]+) px away", reason)[1]) == pytest.approx(np.hypot(dx, dy), abs=0.3)


@pytest.mark.parametrize("count", [10, 60, 300])
def test_stars_by_chance_are_no_doubles(count):
    assert verdicts(*(frame(seed, stars(count, seed)) for seed in range(30))) == {}


def test_a_star_cluster_is_not_doubled():
    rng = np.random.default_rng(2)
    x, y = 960 + rng.normal(0, 60, 200), 540 + rng.normal(0, 60, 200)
    cluster = Stars(x, y, np.sort(rng.lognormal(9, 1, 200))[::-1], np.full(200, 0.05), 3.0)
    assert verdicts(*(frame(number, cluster) for number in range(3))) == {}


def test_clouds_are_named_with_figures():
    assert verdicts(*map(frame, range(8)), frame(8, flux=0.5))[8] == (
        "clouds: its stars have 0.50 of the light that they have in clear frames"
    )


def exposed(number, seconds, header, clear=1.0, *, averaged=1, bias=200.0):
    """A frame of a camera: 60 ADU of sky a second, 4 photons an ADU, 6 ADU of noise of reading; an average of some."""
    light = 60 * seconds
    noise = np.sqrt((4 * light + 36) / averaged)
    return frame(number, flux=clear * seconds / 10, sky=bias + light, noise=noise, exposure=header)


def test_a_short_exposure_is_no_cloud_and_clouds_in_a_long_one_are():
    clear = [exposed(number, 10, 10) for number in range(6)]
    frames = [*clear, exposed(6, 3.3, 3.3), exposed(7, 30, 30, 0.4)]
    assert list(verdicts(*frames)) == [7]
    assert remarks(*frames) == []


@pytest.mark.parametrize(
    ("seconds", "header", "averaged", "told", "counted"),
    [
        (10, 30, 3, "12 frames of 30 s: stars, sky and noise are those of 10 s, beside 12 of 10 s; averages", 30),
        (10, 300, 30, "12 frames of 300 s: stars, sky and noise are those of 10 s, beside 12 of 10 s; averages", 300),
        (10, 60, 1, "12 frames of 60 s: stars, sky and noise are those of 10 s, beside 12 of 10 s; a wrong header", 10),
        (3, 10, 1, "12 frames of 10 s: stars, sky and noise are those of 3 s, beside 12 of 10 s; a wrong header", 3),
        (3, None, 1, "12 frames: stars, sky and noise are those of 0.3 times the exposure of 12 others", 0),
    ],
)
def test_an_exposure_that_pixels_do_not_have_is_no_cloud(seconds, header, averaged, told, counted):
    """Devices write that of a whole stack into its average, or one for two; only an average was exposed so long."""
    others = 10 if header else None
    frames = [exposed(k, 10, others) for k in range(12)]
    frames += [exposed(12 + k, seconds, header, averaged=averaged) for k in range(12)]
    assert verdicts(*frames) == {}
    (said,) = remarks(*frames)
    assert said.startswith(told)
    assert judge(*map(list, zip(*frames, strict=True))).exposures == dict.fromkeys(range(12, 24), counted)


def test_clouds_are_told_among_frames_of_a_wrong_exposure_too():
    frames = [exposed(k, 10, 10) for k in range(12)]
    frames += [exposed(12 + k, 10, 30, 0.3 if k < 3 else 1.0, averaged=3) for k in range(12)]
    frames += [exposed(24, 10, 10, 0.3)]
    assert list(verdicts(*frames)) == [12, 13, 14, 24]


def test_longer_exposures_in_clouds_are_clouded_though_as_bright_as_shorter_ones():
    frames = [exposed(k, 10, 10) for k in range(12)] + [exposed(12 + k, 30, 30, 0.33) for k in range(6)]
    assert list(verdicts(*frames)) == list(range(12, 18))
    assert remarks(*frames) == []


def test_a_thin_cloud_under_a_sky_that_is_a_little_darker_is_a_cloud():
    clear = np.random.default_rng(2).uniform(0.7, 1, 20)
    frames = [exposed(k, 10, 10, of) for k, of in enumerate(clear)] + [exposed(20, 9.6, 10, 0.55)]
    assert list(verdicts(*frames)) == [20]


def test_clouds_that_darken_the_sky_as_much_as_the_stars_are_clouds_where_they_change():
    rng = np.random.default_rng(3)
    clouds = [exposed(20 + k, 10 * clear, 10) for k, clear in enumerate(rng.uniform(0.05, 0.5, 12))]
    assert list(verdicts(*(exposed(k, 10, 10) for k in range(20)), *clouds)) == list(range(20, 32))


def test_another_camera_or_filter_is_no_cloud():
    clear = [frame(number, flux=1.0) for number in range(6)]
    others = [frame(6 + number, flux=0.3, filter="LP") for number in range(3)]
    others += [frame(9 + number, flux=0.2, instrument="Seestar S30") for number in range(3)]
    assert verdicts(*clear, *others) == {}


def test_frames_without_known_flux_are_not_judged_by_it():
    assert verdicts(*good(), frame(8, flux=float("nan")), frame(9, flux=float("nan"), exposure=None)) == {}


def test_thin_clouds_over_most_of_a_night_are_better_than_nothing():
    hazy = [frame(number, flux=0.55) for number in range(30)]
    assert verdicts(*hazy, *(frame(30 + number, flux=1.0) for number in range(20))) == {}


def test_thick_clouds_over_most_of_a_night_are_not():
    dim = [frame(number, flux=0.15) for number in range(15)]
    assert list(verdicts(*dim, *(frame(15 + number, flux=1.0) for number in range(20)))) == list(range(15))


def test_of_a_frame_that_stars_did_not_place_their_shape_is_told():
    found = verdicts(*good(), frame(8, group=-1, elongation=4.0), frame(9, group=-1, flux=0.1))
    assert list(found) == [8]
    assert "trailed" in found[8]


def test_groups_are_judged_apart():
    far = [frame(8 + number, elongation=2.3, group=1) for number in range(5)]
    assert verdicts(*good(), *far) == {}


def test_a_lone_frame_has_nothing_to_be_held_to():
    assert verdicts(frame(0, elongation=3.0, flux=0.1)) == {}
    assert judge([], []).reasons == {}
