# SPDX-License-Identifier: GPL-3.0-or-later
"""What frames of several exposures, gains and cameras are multiplied by, so that a star has one flux in all."""

import re
from dataclasses import replace

import numpy as np
import pytest

from nanstack.canvas import reference_canvas
from nanstack.levels.flux import flux_gains, on_one_flux_scale, onto_earlier
from tests.support.registered import registered
from tests.support.told import Told

pytestmark = pytest.mark.numpy_bytes


def scaled(frames, groups=None):
    told = Told()
    return [frame.factor for frame in on_one_flux_scale(frames, groups or [0] * len(frames), told)], told.warnings


def frames_of(count, first=0, spread=0.02, flux=1.0, **facts):
    """Frames whose stars show so much flux, but for what the air takes."""
    rng = np.random.default_rng(first)
    return [
        registered(f"{first + k}.fit", flux=flux * np.exp(rng.normal(0, spread)), instrument="S50", **facts)
        for k in range(count)
    ]


SHORT = frames_of(5, exposure=10.0, gain=80.0)


def test_frames_in_clouds_are_brought_to_the_usual_one():
    factors, warnings = scaled([*frames_of(5, spread=0.0), *frames_of(2, 10, flux=0.7, spread=0.0)])
    assert factors == pytest.approx([1.0] * 5 + [1 / 0.7] * 2, rel=0.005)
    assert warnings == []


def test_few_stars_never_make_it_worse():
    """Ten stars tell a flux to 3 %, and the air was steady: what they say is noise, but for a cloud."""
    rng = np.random.default_rng(3)
    true = np.ones(200)
    true[::40] = 0.6
    errors = np.exp(rng.normal(0, 0.1 / np.sqrt(10), 200))
    frames = [replace(registered(f"{k}.fit", flux=flux), stars=10) for k, flux in enumerate(true * errors)]
    left = np.log(scaled(frames)[0] * true)
    assert np.std(left) < 0.75 * np.std(np.log(errors))
    assert np.abs(left[::40]).max() < 0.1, "a cloud is corrected all the same"


def test_stars_say_what_a_longer_exposure_is_worth():
    """Not the header: the longer ones went through thin clouds."""
    factors, warnings = scaled([*frames_of(3, 10, flux=2.5, spread=0.0, exposure=30.0, gain=80.0), *SHORT])
    assert factors[3:] == pytest.approx([1.0] * 5, rel=0.05)
    assert factors[:3] == pytest.approx([1 / 2.5] * 3, rel=0.03)
    (told,) = warnings
    assert re.fullmatch(r"3 frames of 30 s gain 80 S50: multiplied by 0\.\d+ to match the 5 of 10 s gain 80 S50", told)


def test_gain_and_camera_make_kinds_too():
    other = frames_of(2, 10, flux=4.0, exposure=10.0, gain=200.0)
    third = [registered("z.fit", flux=0.25, instrument="S30", exposure=10.0, gain=80.0)]
    factors, warnings = scaled([*SHORT, *other, *third])
    assert factors == pytest.approx([1.0] * 5 + [0.25] * 2 + [4.0], rel=0.06)
    assert len(warnings) == 2


def test_what_the_sky_does_by_itself_is_no_other_kind():
    assert scaled([*SHORT, *frames_of(3, 10, flux=1.03, spread=0.0, exposure=11.0, gain=80.0)])[1] == []


def test_the_exposure_is_taken_where_stars_do_not_tell():
    unknown = [registered(f"{k}.fit", flux=np.nan, instrument="S50", exposure=20.0, gain=80.0) for k in range(2)]
    assert scaled([*SHORT, *unknown])[0][5:] == [0.5] * 2
    nothing = [registered(f"{k}.fit", flux=np.nan, instrument="S50") for k in range(2)]
    assert scaled([*SHORT, *nothing])[0][5:] == [1.0] * 2


def test_stars_of_two_groups_are_not_held_against_each_other():
    """What a frame's flux is told against are the clear frames of its own group."""
    longer = frames_of(3, 10, spread=0.0, exposure=20.0, gain=80.0)
    assert scaled([*SHORT, *longer], [0] * 5 + [1] * 3)[0][5:] == [0.5] * 3
    clouded = frames_of(3, 10, flux=0.7, spread=0.0, exposure=10.0, gain=80.0)
    of_another_focus = [replace(frame, view=replace(frame.view, camera=finer(frame))) for frame in clouded]
    factors, warnings = scaled([*SHORT, *of_another_focus], [0] * 5 + [1] * 3)
    assert factors == pytest.approx([1.0] * 8, rel=0.04)
    assert warnings == []


def finer(frame):
    return replace(frame.view.camera, focal=1.002 * frame.view.camera.focal)


def test_a_coarser_pixel_sees_more_of_the_sky():
    """Frames of half the focal length: a star has its flux in a quarter of the pixels, and so has the sky."""
    coarse = [registered(f"{k}.fit", scale=2 * 2.39, instrument="S50", exposure=10.0, gain=80.0) for k in range(2)]
    gains = flux_gains([*SHORT, *coarse], reference_canvas(SHORT[0].view))
    np.testing.assert_allclose(gains, np.repeat([[1.0]] * 5 + [[0.25]] * 2, 3, axis=1))
    gains = flux_gains([*SHORT, *coarse], reference_canvas(coarse[0].view))
    np.testing.assert_allclose(gains, np.repeat([[4.0]] * 5 + [[1.0]] * 2, 3, axis=1))


def test_a_new_solution_goes_on_from_an_earlier_one():
    """Though the usual frame is another one now, and one frame's flux was found anew."""
    assert onto_earlier([1.1, 2.2, 0.55, 9.0], [1.0, 2.0, 0.5, 1.0]) == pytest.approx(1 / 1.1)
