# SPDX-License-Identifier: GPL-3.0-or-later
"""What frames of several exposures, gains and cameras are multiplied by, so that a star has one flux in all."""

import re
from dataclasses import replace

import numpy as np
import pytest

from nanstack.levels.flux import on_one_flux_scale
from tests.support.registered import registered
from tests.support.told import Told


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


def test_frames_of_one_kind_are_left_as_they_are():
    """Clouds, too: what a frame in them shows is as much as it weighs."""
    assert scaled([*SHORT, *frames_of(2, 10, flux=0.7, exposure=10.0, gain=80.0)]) == ([1.0] * 7, [])


def test_stars_say_what_a_longer_exposure_is_worth():
    """Not the header: the longer ones went through thin clouds."""
    factors, warnings = scaled([*frames_of(3, 10, flux=2.5, spread=0.0, exposure=30.0, gain=80.0), *SHORT])
    assert factors[3:] == [1.0] * 5
    assert factors[:3] == pytest.approx([1 / 2.5] * 3, rel=0.03)
    (told,) = warnings
    assert re.fullmatch(r"3 frames of 30 s gain 80 S50: multiplied by 0\.\d+ to match the 5 of 10 s gain 80 S50", told)


def test_gain_and_camera_make_kinds_too():
    other = frames_of(2, 10, flux=4.0, exposure=10.0, gain=200.0)
    third = [registered("z.fit", flux=0.25, instrument="S30", exposure=10.0, gain=80.0)]
    factors, warnings = scaled([*SHORT, *other, *third])
    assert factors == pytest.approx([1.0] * 5 + [0.25] * 2 + [4.0], rel=0.04)
    assert len(warnings) == 2


def test_what_the_sky_does_by_itself_is_no_other_kind():
    assert scaled([*SHORT, *frames_of(3, 10, flux=1.03, spread=0.0, exposure=11.0, gain=80.0)])[1] == []


def test_the_exposure_is_taken_where_stars_do_not_tell():
    unknown = [registered(f"{k}.fit", flux=np.nan, instrument="S50", exposure=20.0, gain=80.0) for k in range(2)]
    assert scaled([*SHORT, *unknown])[0] == [1.0] * 5 + [0.5] * 2
    nothing = [registered(f"{k}.fit", flux=np.nan, instrument="S50") for k in range(2)]
    assert scaled([*SHORT, *nothing])[0] == [1.0] * 7


def test_stars_of_two_groups_are_not_held_against_each_other():
    """What a frame's flux is told against are the clear frames of its own group."""
    longer = frames_of(3, 10, spread=0.0, exposure=20.0, gain=80.0)
    assert scaled([*SHORT, *longer], [0] * 5 + [1] * 3)[0] == [1.0] * 5 + [0.5] * 3
    clouded = frames_of(3, 10, flux=0.7, spread=0.0, exposure=10.0, gain=80.0)
    of_another_focus = [replace(frame, view=replace(frame.view, camera=finer(frame))) for frame in clouded]
    factors, warnings = scaled([*SHORT, *of_another_focus], [0] * 5 + [1] * 3)
    assert factors == pytest.approx([1.0] * 8, rel=0.01)
    assert warnings == []


def finer(frame):
    return replace(frame.view.camera, focal=1.002 * frame.view.camera.focal)


def test_a_coarser_pixel_sees_more_of_the_sky():
    """Frames of half the focal length: a star has its flux in a quarter of the pixels, and so has the sky."""
    coarse = [registered(f"{k}.fit", scale=2 * 2.39, instrument="S50", exposure=10.0, gain=80.0) for k in range(2)]
    factors, _ = scaled([*SHORT, *coarse])
    assert factors == pytest.approx([1.0] * 5 + [0.25] * 2)
