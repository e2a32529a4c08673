# SPDX-License-Identifier: GPL-3.0-or-later
"""Comets: their motion, frames turned after it, and what becomes of nucleus and stars."""

from dataclasses import replace
from datetime import datetime, timedelta, timezone

import numpy as np
import pytest
import scipy

from nanstack.comet import Marks, Motion, moment_of, motion_of, moved, with_moments
from nanstack.comet_light import light_of, with_comet, without_comet
from nanstack.comet_nucleus import centred, followed
from nanstack.comet_stack import comet_frames, comet_stack, turned_after
from nanstack.comet_stars import disc_radii
from nanstack.levels.placed import Level
from nanstack.register.camera import direction_of
from nanstack.register.mesh import Box
from nanstack.settings import CanvasSettings
from nanstack.sky_stack import stack_files, stacked_strips
from nanstack.truth.simulation import FWHM_PER_SIGMA, apply
from tests.support.comets import comet_night
from tests.support.registered import registered

BEGIN = datetime(2024, 10, 14, 19, 0, tzinfo=timezone.utc)


@pytest.fixture(scope="module")
def night(tmp_path_factory):
    return comet_night(tmp_path_factory.mktemp("comet"))


@pytest.fixture(scope="module")
def stack(night):
    return stack_files(night.paths)


@pytest.fixture(scope="module")
def comet(night, stack):
    return comet_stack(stack, Marks(*night.marks(3.0)))


def test_a_motion_leads_through_both_places_at_a_constant_rate():
    from astropy import units
    from astropy.coordinates import SkyCoord

    first, last = SkyCoord(210.1, 5.2, unit="deg"), SkyCoord(212.4, 6.6, unit="deg")
    motion = Motion.through(direction_of(210.1, 5.2), BEGIN, direction_of(212.4, 6.6), BEGIN + timedelta(hours=4))
    assert motion.when == BEGIN + timedelta(hours=2)
    assert motion.arcsec_per_hour == pytest.approx(first.separation(last).arcsec / 4)
    angle = first.position_angle(last)
    middle = first.directional_offset_by(angle, first.separation(last) / 2)
    assert motion.position_angle == pytest.approx(middle.position_angle(last).to_value(units.deg))
    for hours in (0, 1, 2, 3.3, 4):
        there = first.directional_offset_by(angle, first.separation(last) * hours / 4)
        found = motion.at(BEGIN + timedelta(hours=hours))
        np.testing.assert_allclose(found, there.cartesian.xyz.value, atol=1e-12)


@pytest.mark.parametrize(
    ("last", "hours", "message"),
    [((50.0, 0.0), 2, "none is so fast"), ((20.0, 0.0), 1, "one place among the stars"), ((21.0, 0.0), 0, "times")],
)
def test_what_is_no_comets_motion_is_refused(last, hours, message):
    with pytest.raises(ValueError, match=message):
        Motion.through(direction_of(20.0, 0.0), BEGIN, direction_of(*last), BEGIN + timedelta(hours=hours))


def test_the_middle_of_an_exposure_counts():
    frame = registered("a", date="2024-10-14T18:59:57.5Z", exposure=5.0)
    assert moment_of(frame) == BEGIN
    assert moment_of(registered("a", date="2024-10-14T19:00:00")) == BEGIN, "an unknown exposure is none"
    assert moment_of(registered("a", date="yesterday", exposure=5.0)) is None


def test_two_stars_of_two_nights_are_no_comet(night, stack):
    """One where the first night's mark is, and another where the second one's is: nothing is seen to move."""
    timed, day = with_moments(stack.frames), timedelta(days=1)
    half = len(timed) // 2
    nights = [(one, moment + day * (number >= half)) for number, (one, moment) in enumerate(timed)]

    def star(one, index):
        transform = night.transforms[night.paths.index(one.frame.path)]
        x, y = apply(transform, night.stars.x[index], night.stars.y[index])
        return one.frame.view.directions(np.array(float(x)), np.array(float(y)))

    brightest = np.argsort(-night.stars.flux.sum(axis=1))[:6]
    pairs = [(first, second) for first in brightest for second in brightest if first < second]
    for first, second in pairs:
        ends = star(nights[0][0], first), nights[0][1], star(nights[-1][0], second), nights[-1][1]
        assert not followed(nights, stack.canvas, Motion.through(*ends), "bicubic").by_light


def test_a_level_moves_with_its_frame():
    level = Level(*np.random.default_rng(0).normal(0, 1, (6, 3)))
    np.testing.assert_allclose(level.shifted(30.5, -7.0).at(11.0, 4.0), level.at(41.5, -3.0))


@pytest.mark.parametrize("off", [0.0, 3.0, 6.0])
def test_marks_that_are_off_lead_to_the_nucleus(night, stack, off):
    timed = with_moments(stack.frames)
    given = motion_of(Marks(*night.marks(off)), timed, stack.canvas)
    found = followed(timed, stack.canvas, given, "bicubic")
    assert found.by_light
    assert found.found >= 10
    for index, (one, moment) in enumerate(timed):
        assert one.frame.path == night.paths[index]
        x, y = one.frame.view.pixels(found.motion.at(moment))
        assert np.hypot(*(np.array([x, y]) - night.in_frame(index))) < 0.15


def test_where_no_nucleus_is_the_marks_count(night, stack):
    timed = with_moments(stack.frames)
    beside = Marks(*(tuple(np.add(mark, (60.0, -45.0))) for mark in night.marks()))
    given = motion_of(beside, timed, stack.canvas)
    found = followed(timed, stack.canvas, given, "bicubic")
    assert not found.by_light
    assert found.motion is given


def test_a_nucleus_is_centred_in_noise_and_coma():
    rng, sigma = np.random.default_rng(4), 3.2 / FWHM_PER_SIGMA
    y, x = np.indices((57, 57)) - 28
    off = np.hypot(x - 2.3, y + 4.7)
    picture = 300 * np.exp(-(off**2) / 2 / sigma**2) + 200 / (off + 4) + rng.normal(0, 5, x.shape)
    assert np.hypot(*np.subtract(centred(picture, 3.2, 9.0), (2.3, -4.7))) < 0.05
    assert centred(picture, 3.2, 3.0) is None or np.hypot(*centred(picture, 3.2, 3.0)) < 4
    assert centred(rng.normal(0, 5, x.shape), 3.2, 9.0) is None


def test_frames_stand_still_on_the_comet(night, stack):
    timed = with_moments(stack.frames)
    motion = motion_of(Marks(*night.marks()), timed, stack.canvas)
    for index, (one, moment) in enumerate(timed):
        turned = moved(one, stack.canvas, motion, moment)
        there = turned.frame.view.pixels(motion.place)
        assert np.hypot(*(np.array(there) - night.in_frame(index))) < 0.1


def profile(image, x, y):
    """Flux and full width at half maximum of a Gaussian fitted to the light around a place, and that place."""
    left, top = round(float(x)) - 8, round(float(y)) - 8
    piece = np.mean(image[top : top + 17, left : left + 17], axis=2)
    rows, columns = np.indices(piece.shape)

    def model(p):
        return p[0] + p[1] * np.exp(-((columns - p[2]) ** 2 + (rows - p[3]) ** 2) / (2 * p[4] ** 2)) - piece

    base = np.median(piece)
    found = scipy.optimize.least_squares(lambda p: model(p).ravel(), [base, np.max(piece) - base, 8, 8, 1.5]).x
    return 2 * np.pi * found[1] * found[4] ** 2, FWHM_PER_SIGMA * abs(found[4]), found[2] + left, found[3] + top


def test_the_nucleus_is_as_sharp_as_stars_are(night, stack, comet):
    """Which are as sharp as in one frame."""
    ends = on_canvas(night, stack, night.places[[0, -1]])
    flux, width, x, y = profile(comet.image, *ends.mean(axis=0))
    assert np.hypot(*(np.array([x, y]) - ends.mean(axis=0))) < 0.15
    stars = night.stars.flux[:, 1] > 30_000
    places = on_canvas(night, stack, np.column_stack([night.stars.x, night.stars.y])[stars])
    widths = [profile(stack.image, *place)[1] for place in places[well_inside(stack, places, 12)]]
    assert len(widths) > 4
    assert width < 1.05 * np.median(widths)
    assert flux == pytest.approx(50_000 * 2.5 / 3, rel=0.05)


def on_canvas(night, stack, places):
    """Where places (n, 2) in the plane of the stars lie on the canvas."""
    one = stack.frames[0]
    transform = night.transforms[night.paths.index(one.frame.path)]
    there = (np.asarray(side, dtype=float) for side in apply(transform, *places.T))
    return np.column_stack(stack.canvas.view.pixels(one.frame.view.directions(*there)))


def well_inside(stack, places, margin):
    """Tell which places (n, 2) all frames show, and so many pixels around them."""
    shown = scipy.ndimage.minimum_filter(stack.coverage, 2 * margin + 1, mode="constant") == len(stack.frames)
    x, y = np.rint(places).astype(int).T
    inside = (x >= 0) & (y >= 0) & (x < shown.shape[1]) & (y < shown.shape[0])
    return inside & shown[np.where(inside, y, 0), np.where(inside, x, 0)]


def light_along(image, place, way):
    """The light of a star's trail that lies along a way (2,) around a place, by the sky on both sides of it."""
    length = np.hypot(*way)
    along, across = np.mgrid[-length / 2 - 8 : length / 2 + 8, -20:21]
    unit = way / length
    x, y = place[0] + along * unit[0] - across * unit[1], place[1] + along * unit[1] + across * unit[0]
    light = scipy.ndimage.map_coordinates(image.mean(axis=2), [y, x], order=1, cval=np.nan)
    return np.sum(light[:, 12:29] - np.nanmedian(light[:, [*range(8), *range(33, 41)]]))


def test_stars_leave_next_to_nothing(night, stack, comet):
    places = on_canvas(night, stack, np.column_stack([night.stars.x, night.stars.y]))
    ends = on_canvas(night, stack, night.places[[0, -1]])
    clear = np.hypot(*(places - ends.mean(axis=0)).T) > 60
    distance = np.hypot(*(places[:, None] - places[None]).transpose(2, 0, 1))
    alone = np.sort(distance, axis=1)[:, 1] > 30
    chosen = places[well_inside(stack, places, 40) & clear & alone]
    assert len(chosen) > 8
    before, after = (sum(light_along(s.image, place, ends[1] - ends[0]) for place in chosen) for s in (stack, comet))
    assert abs(after) < 0.02 * before


def test_few_frames_of_a_slow_comet_say_that_stars_stay(tmp_path):
    night = comet_night(tmp_path / "slow", count=5, drift=4.0)
    stack = stack_files(night.paths)
    there = comet_frames(stack.frames, stack.canvas, Marks(*night.marks(1.0)))
    assert there.drift_px == pytest.approx(4.0, abs=0.3)
    assert there.stars_stay
    whole = Box.whole(stack.canvas.shape)
    frames = turned_after(there, stack.canvas, lambda box: stack.image[box.within(whole)])
    assert 0 < max(one.masked[:, 4].max() for one in frames) < 2.0, "else a star were masked in all frames alike"


def test_a_disc_reaches_to_where_the_star_is_lost():
    radii = disc_radii(np.array([10.0, 1e4, 1e6]), 3.0, 20.0)
    assert radii[0] == 3.75, "never less than the star's own width asks for"
    assert 3.75 < radii[1] < radii[2] <= 48


def test_marks_are_counted_as_it_is_said(night, stack):
    timed = with_moments(stack.frames)
    by_frames = motion_of(Marks(*night.marks()), timed, stack.canvas)
    ends = on_canvas(night, stack, night.places[[0, -1]]) + 1
    by_mosaic = motion_of(Marks(*map(tuple, ends), "mosaic"), timed, stack.canvas)
    x, y, z = np.array([by_frames.at(timed[index][1]) for index in (0, -1)]).T
    sky = np.column_stack([np.degrees(np.arctan2(y, x)), np.degrees(np.arcsin(z))])
    by_sky = motion_of(Marks(*map(tuple, sky), "sky"), timed, stack.canvas)
    for other in (by_mosaic, by_sky):
        assert np.linalg.norm(other.place - by_frames.place) * stack.canvas.view.focal < 0.1
        assert other.rate == pytest.approx(by_frames.rate, rel=0.01)


def test_rows_counted_from_the_other_side_are_told(night, stack):
    marks = Marks(*night.marks()).upside_down((400, 400))
    with pytest.raises(ValueError, match="y counted from the other side: try") as told:
        comet_frames(stack.frames, stack.canvas, marks)
    numbers = [float(number) for number in str(told.value).rpartition(" ")[2].split(",")]
    np.testing.assert_allclose(numbers, np.ravel(night.marks()), rtol=1e-4)


def test_a_star_is_no_comet(night, stack):
    star = np.argmax(night.stars.flux[:, 1] * (np.hypot(night.stars.x - 280, night.stars.y - 200) < 120))
    place = night.stars.x[star], night.stars.y[star]
    first, last = (np.array(apply(night.transforms[index], *place)).ravel() + 1 for index in (0, -1))
    with pytest.raises(ValueError, match="it is one of them"):
        comet_frames(stack.frames, stack.canvas, Marks(tuple(first + [1.5, 0]), tuple(last - [1.5, 1])))
    with pytest.raises(ValueError, match="one place among the stars"):
        comet_frames(stack.frames, stack.canvas, Marks(tuple(first), tuple(last)))


def test_a_comas_light_is_all_of_it_and_has_no_edge(night, stack):
    """Else a ring stays in the merged picture where it ends."""
    there, shape = comet_frames(stack.frames, stack.canvas, Marks(*night.marks())), stack.canvas.shape
    x, y = stack.canvas.view.pixels(there.motion.place)
    away = np.hypot(np.arange(shape[1]) - x, (np.arange(shape[0]) - y)[:, np.newaxis])
    coma = 3000 * np.exp(-away / 60) / (away + 5)
    image = (coma + np.random.default_rng(2).normal(0, 2, shape))[..., np.newaxis].astype(np.float32)
    light = light_of(lambda box: image[box.within(Box.whole(shape))], stack.canvas, there)
    off = (light.light[..., 0] - coma)[away < 150] + np.median(coma)
    rings = [np.median(off[np.abs(away[away < 150] - r) < 2]) for r in range(2, 148, 4)]
    assert np.abs(rings).max() < 1.5
    far = (away > 120) & (away < 200)
    assert np.std((light.light[..., 0] - coma)[far]) < 0.6, "no noise of 2 where there are no details"


def test_marks_outside_a_frame_name_it(night, stack):
    with pytest.raises(ValueError, match=r"900,10 lies outside light_11.fit, which has 560 x 400 pixels"):
        comet_frames(stack.frames, stack.canvas, Marks((20, 30), (900, 10)))
    with pytest.raises(ValueError, match="outside the mosaic"):
        comet_frames(stack.frames, stack.canvas, Marks((20, 30), (20.01, 30), "sky"))


def test_frames_without_a_time_are_left_out(night, stack):
    def timeless(one):
        survey = replace(one.frame.survey, facts=replace(one.frame.facts, date=""))
        return replace(one, frame=replace(one.frame, survey=survey))

    frames = [timeless(one) if one.frame.path.name == "light_05.fit" else one for one in stack.frames]
    there = comet_frames(frames, stack.canvas, Marks(*night.marks()))
    assert [path.name for path in there.untimed] == ["light_05.fit"]
    assert len(there.frames) == 11
    with pytest.raises(ValueError, match="two frames whose headers tell the time"):
        comet_frames([timeless(one) for one in frames], stack.canvas, Marks(*night.marks()))


def test_stars_and_comet_are_sharp_in_one_picture(night, stack, comet):
    there = comet_frames(stack.frames, stack.canvas, Marks(*night.marks()))
    whole = Box.whole(stack.canvas.shape)
    light = light_of(lambda box: comet.image[box.within(whole)], stack.canvas, there)
    frames = without_comet(stack.frames, stack.canvas, there, light)
    strips = with_comet(stacked_strips(stack.canvas, frames, CanvasSettings()), light)
    both = np.concatenate([strip.image for _, strip in strips])
    ends = on_canvas(night, stack, night.places[[0, -1]])
    flux, width, *_ = profile(both, *ends.mean(axis=0))
    alone = profile(comet.image, *ends.mean(axis=0))
    assert (flux, width) == (pytest.approx(alone[0], rel=0.03), pytest.approx(alone[1], rel=0.02))
    stars = night.stars.flux[:, 1] > 30_000
    places = on_canvas(night, stack, np.column_stack([night.stars.x, night.stars.y])[stars])
    for place in places[well_inside(stack, places, 12)]:
        found, truth = profile(both, *place), profile(stack.image, *place)
        np.testing.assert_allclose(found[:2], truth[:2], rtol=0.01)
    rest = light_along(both, ends.mean(axis=0), ends[1] - ends[0])
    assert rest == pytest.approx(light_along(comet.image, ends.mean(axis=0), ends[1] - ends[0]), rel=0.05), "no trail"
