# SPDX-License-Identifier: GPL-3.0-or-later
"""What frames of several exposures, gains and cameras are multiplied by, so that a star has one flux in all."""

import re
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nanstack.canvas import reference_canvas
from nanstack.levels.flux import flux_gains, on_one_flux_scale, onto_earlier
from nanstack.survey.stars import Stars
from tests.support.registered import HERE, registered
from tests.support.starfields import field
from tests.support.told import Told

pytestmark = pytest.mark.numpy_bytes

FWHM, NOISE = 3.0, 150.0  # of stars, in pixels; of their fluxes, in ADU
SKY = field(4, *HERE, 2.5, 4000)
FAINTER = field(5, *HERE, 2.5, 600)


def scaled(frames, groups=None):
    told = Told()
    return [frame.factor for frame in on_one_flux_scale(frames, groups or [0] * len(frames), told)], told.warnings


def seen(name, flux=1.0, *, sky=SKY, vignetting=0.0, shape=(1080, 1920, 3), most=300, cut=6.0, seed=0, **where):
    """A frame that shows a sky's stars, so bright, with noise: those that come out above it.

    Its corners get so much less light than the middle.
    """
    frame = registered(name, shape=shape, **where)
    x, y = frame.view.pixels(sky.directions)
    here = (x > 2) & (x < shape[1] - 3) & (y > 2) & (y < shape[0] - 3)
    x, y = x[here], y[here]
    far = ((x / shape[1] - 0.5) ** 2 + (y / shape[0] - 0.5) ** 2) * 2
    rng = np.random.default_rng([seed, *name.encode()])
    light = flux * sky.flux[here] * (1 - vignetting * far) * rng.normal(1, 0.015, len(x))
    light += rng.normal(0, NOISE, len(x))
    order = np.argsort(-light)[: min(most, np.count_nonzero(light > cut * NOISE))]
    stars = Stars(x[order], y[order], light[order], FWHM / 2.355 * NOISE / light[order], FWHM)
    return replace(frame, survey=replace(frame.survey, stars=stars))


def night(count=6, flux=1.0, first=0, **more):
    """Frames of one place, dithered and turned a little."""
    more = {"instrument": "S50", "exposure": 10.0, "gain": 80.0, **more}
    east, north = more.pop("east", 0.0), more.pop("north", 0.0)
    rng = np.random.default_rng(first)
    return [
        seen(f"{first + k:03d}.fit", flux, east=east + dx, north=north + dy, turn=turn, **more)
        for k, (dx, dy, turn) in enumerate(rng.normal(0, (0.03, 0.03, 4), (count, 3)))
    ]


SHORT = night()


def test_frames_in_clouds_are_brought_to_the_usual_one():
    factors, warnings = scaled([*SHORT, *night(2, 0.7, 10)])
    assert factors == pytest.approx([1.0] * 6 + [1 / 0.7] * 2, rel=0.02)
    assert warnings == []


@pytest.mark.parametrize(("dimmed", "within"), [(0.3, 0.01), (0.5, 0.01), (0.7, 0.04)])
def test_a_tree_over_nearly_half_of_a_frame_dims_nothing_but_what_it_covers(dimmed, within):
    """Leaves and edges let some of the light through: 45 % of the stars of four in ten frames show less of it."""
    frames = night(10)
    for k in (1, 3, 6, 8):
        stars = frames[k].survey.stars
        far = stars.x + 0.3 * stars.y
        flux = np.where(far > np.quantile(far, 0.55), dimmed, 1) * stars.flux
        order = np.argsort(-flux)
        order = order[flux[order] > 6 * NOISE]
        left = Stars(stars.x[order], stars.y[order], flux[order], stars.error[order], FWHM)
        frames[k] = replace(frames[k], survey=replace(frames[k].survey, stars=left))
    assert scaled(frames)[0] == pytest.approx([1.0] * 10, abs=within)


def test_errors_are_as_large_as_frames_are_off():
    """Of few and faint stars, through clouds: what is usual tells nothing."""
    faint = replace(FAINTER, flux=np.random.default_rng(2).uniform(1000, 3000, 600))
    off = []
    for first in range(0, 400, 100):
        true = np.exp(np.random.default_rng(first).normal(0, 0.3, 10))
        frames = [night(1, clear, first + k, sky=faint, cut=4)[0] for k, clear in enumerate(true)]
        made = on_one_flux_scale(frames, [0] * 10, Told())
        left = np.log([frame.factor for frame in made] * true)
        off.append((left - left.mean()) / [frame.factor_error for frame in made])
    assert np.std(off) == pytest.approx(1, abs=0.2)


def test_the_scale_of_the_samples_changes_nothing():
    """Of powers of two not a bit; so many stars are faint that some count in one round and not in the next."""
    frames = night(8, sky=FAINTER, cut=4)

    def in_units(unit):
        surveys = [replace(f.survey, stars=replace(f.survey.stars, flux=f.survey.stars.flux * unit)) for f in frames]
        made = on_one_flux_scale([replace(f, survey=s) for f, s in zip(frames, surveys, strict=True)], [0] * 8, Told())
        return [[frame.factor for frame in made], [frame.factor_error for frame in made]]

    usual = in_units(1.0)
    for unit in (2.0**-16, 2.0**16, 1 / 65535):
        np.testing.assert_allclose(in_units(unit), usual, rtol=1e-9)


@pytest.mark.parametrize("seed", [0, 3])
def test_few_stars_never_make_it_worse(seed):
    """Some 28 stars tell a flux to 1 or 2 %, and the air was steady: what they say is noise, but for a cloud."""
    true = np.ones(40)
    true[::20] = 0.6
    sparse = replace(FAINTER, flux=np.random.default_rng(7).uniform(1500, 3500, 600))
    frames = [seen(f"{k}.fit", clear, sky=sparse, instrument="S50", seed=seed) for k, clear in enumerate(true)]
    left = np.log(scaled(frames)[0] * true)
    stars = np.mean([len(frame.survey.stars) for frame in frames])
    error = np.hypot(NOISE / 2500, 0.015) / np.sqrt(stars)
    assert np.sqrt(np.mean(left[true == 1] ** 2)) < 0.75 * error
    assert np.abs(left[true < 1]).max() < 0.1, "a cloud is corrected all the same"


def test_stars_say_what_a_longer_exposure_is_worth():
    """Not the header: the longer ones went through thin clouds."""
    factors, warnings = scaled([*night(3, 2.4, 10, exposure=30.0), *SHORT])
    assert factors == pytest.approx([1 / 2.4] * 3 + [1.0] * 6, rel=0.006)
    (told,) = warnings
    assert re.fullmatch(
        r"3 frames of 30 s gain 80 S50: multiplied by 0\.41\d to match the 6 of 10 s gain 80 S50; "
        r"their exposures say 0\.333: clouds, or a header that is wrong",
        told,
    )


def test_frames_brighter_than_their_header_says_are_named_though_nothing_is_multiplied():
    (told,) = scaled([*SHORT, *night(3, 1.0, 10, exposure=3.0)])[1]
    assert re.fullmatch(
        r"3 frames of 3 s gain 80 S50: multiplied by (1|0\.99\d|1\.0\d) to match the 6 of 10 s gain 80 S50; "
        r"their exposures say 3\.33: a header that is wrong",
        told,
    )


def test_an_exposure_as_long_as_its_header_says_is_no_doubt():
    (told,) = scaled([*night(3, 3.0, 10, exposure=30.0), *SHORT])[1]
    assert re.fullmatch(r"3 frames of 30 s .* multiplied by 0\.33\d? to match the 6 of 10 s gain 80 S50", told)


def test_gain_and_camera_make_kinds_too():
    third = night(1, 0.5, 20, instrument="S30")
    factors, warnings = scaled([*SHORT, *night(2, 4.0, 10, gain=200.0), *third])
    assert factors == pytest.approx([1.0] * 6 + [0.25] * 2 + [2.0], rel=0.012)
    assert len(warnings) == 2


def test_what_the_sky_does_by_itself_is_no_other_kind():
    assert scaled([*SHORT, *night(3, 1.03, 10, exposure=11.0)])[1] == []


def test_frames_whose_stars_tell_nothing_are_taken_by_their_exposures_and_named():
    dark = [registered(f"dark{k}.fit", instrument="S50", exposure=20.0, gain=80.0) for k in range(2)]
    factors, warnings = scaled([*SHORT, *dark])
    assert factors[6:] == [0.5] * 2
    (_, named) = warnings
    assert named == (
        "2 frames have too few stars in common with others, their scale of flux is by exposure: dark0.fit, dark1.fit"
    )
    nothing = [registered(f"{k}.fit", instrument="S50") for k in range(2)]
    assert scaled([*SHORT, *nothing])[0][6:] == [1.0] * 2
    assert scaled(nothing)[0] == [1.0] * 2
    made = on_one_flux_scale([*SHORT, *dark], [0] * 8, Told())
    assert np.isnan([frame.factor_error for frame in made]).tolist() == [False] * 6 + [True] * 2


def test_frames_that_have_no_star_in_common_are_not_held_against_each_other():
    longer = night(3, 1.7, 10, exposure=20.0)
    assert scaled([*SHORT, *longer], [0] * 6 + [1] * 3)[0][6:] == pytest.approx([0.5] * 3, rel=0.006)
    clouded = night(3, 0.7, 10)
    factors, warnings = scaled([*SHORT, *clouded], [0] * 6 + [1] * 3)
    assert factors == pytest.approx([1.0] * 9, rel=0.006)
    assert warnings == []


def test_panels_of_two_exposures_are_one_scale():
    """A mosaic of two by two, of 10 s and of 30 s, through clouds, with a vignetting: by the overlaps alone."""
    rng = np.random.default_rng(8)
    frames, true = [], []
    for panel, (east, north) in enumerate([(-0.47, -0.27), (0.47, -0.27), (-0.47, 0.27), (0.47, 0.27)]):
        for k in range(8):
            exposure = 30.0 if panel % 2 else 10.0
            clear = exposure / 10 * (1 - 0.2 * abs(rng.normal()))
            dx, dy, turn = rng.normal(0, (0.03, 0.03, 4))
            where = {"east": east + dx, "north": north + dy, "turn": turn, "exposure": exposure}
            frames.append(seen(f"{8 * panel + k}.fit", clear, vignetting=0.04, **where))
            true.append(clear)
    made = on_one_flux_scale(frames, [0] * 32, Told())
    off = np.log([frame.factor for frame in made] * np.array(true))
    off -= off.mean()
    assert np.std(off) < 0.005
    assert np.abs(off.reshape(4, 8).mean(axis=1)).max() < 0.003, "panel to panel"
    errors = np.array([frame.factor_error for frame in made])
    assert (errors > 0.5 * np.std(off)).all()
    assert (errors < 0.01).all()


def test_a_cameras_flat_is_found():
    for true in (0.05, 0.0):
        frames = [frame for k in range(3) for frame in night(8, 1.0, 10 * k, east=0.4 * k, vignetting=true)]
        flat = on_one_flux_scale(frames, [0] * 24, Told())[0].flat
        assert flat.error < 0.01
        assert flat.corner(frames[0].shape) == pytest.approx(true, abs=2 * flat.error)


def test_of_one_field_alone_little_is_known():
    """Stars that stay where they are on the sensor do not tell its flat: it is held to none, and its error says so."""
    frames = [seen(f"{k}.fit", vignetting=0.05, instrument="S50") for k in range(8)]
    flat = on_one_flux_scale(frames, [0] * 8, Told())[0].flat
    assert flat.error > 0.02, "what is usual of flats"
    assert abs(flat.corner(frames[0].shape)) < 0.01


def test_no_flat_is_invented():
    """Few dithered frames, each with little errors of its own over the field: an even camera is left alone."""
    taken = [on_one_flux_scale(night(5, first=100 * k, most=60), [0] * 5, Told())[0].flat for k in range(40)]
    assert not any(flat.terms.any() for flat in taken)


def test_two_cameras_have_a_flat_each():
    frames = [frame for k in range(3) for frame in night(6, 1.0, 10 * k, east=0.4 * k, vignetting=0.06)]
    frames += night(10, 1.0, 40, instrument="S30")
    made = on_one_flux_scale(frames, [0] * 28, Told())
    first, second = made[0].flat, made[-1].flat
    assert first.corner((1080, 1920)) - second.corner((1080, 1920)) == pytest.approx(0.06, abs=0.012)


def test_stars_that_are_seen_by_chance_lift_no_faint_frame():
    """Most stars are near the limit: in the dim frames those show that noise lifts."""
    faint = replace(FAINTER, flux=np.random.default_rng(2).uniform(600, 2500, 600))
    frames = [seen(f"{k}.fit", 1.0 - 0.4 * (k % 2), sky=faint, cut=5.5, instrument="S50") for k in range(16)]
    left = np.log(scaled(frames)[0]) + np.log([1.0, 0.6] * 8)
    assert np.mean(left[1::2]) - np.mean(left[::2]) == pytest.approx(0, abs=0.012)


@settings(max_examples=8, deadline=None)
@given(st.permutations(range(9)))
def test_the_order_of_frames_changes_no_bit(order):
    frames = [*SHORT, *night(3, 2.9, 10, exposure=30.0, vignetting=0.05)]
    first = on_one_flux_scale(frames, [0] * 9, Told())
    again = on_one_flux_scale([frames[k] for k in order], [0] * 9, Told())
    for k, one in zip(order, again, strict=True):
        assert one.path == first[k].path
        assert (one.factor, one.factor_error, one.flat) == (first[k].factor, first[k].factor_error, first[k].flat)


def test_a_coarser_pixel_sees_more_of_the_sky():
    """Frames of half the focal length: a star has its flux in a quarter of the pixels, and so has the sky."""
    fine = [registered(f"{k}.fit") for k in range(5)]
    coarse = [registered(f"{k}.fit", scale=2 * 2.39, instrument="S50", exposure=10.0, gain=80.0) for k in range(2)]
    gains = flux_gains([*fine, *coarse], reference_canvas(fine[0].view))
    np.testing.assert_allclose(gains, np.repeat([[1.0]] * 5 + [[0.25]] * 2, 3, axis=1))
    gains = flux_gains([*fine, *coarse], reference_canvas(coarse[0].view))
    np.testing.assert_allclose(gains, np.repeat([[4.0]] * 5 + [[1.0]] * 2, 3, axis=1))


def test_a_new_solution_goes_on_from_an_earlier_one():
    """Though the usual frame is another one now, and one frame's flux was found anew."""
    assert onto_earlier([1.1, 2.2, 0.55, 9.0], [1.0, 2.0, 0.5, 1.0]) == pytest.approx(1 / 1.1)
