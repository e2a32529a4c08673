# SPDX-License-Identifier: GPL-3.0-or-later
"""Groups put onto the sky: by solutions, by pointings, by a catalogue; held to simulated skies."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from astropy.wcs import WCS
from scipy.spatial.transform import Rotation

from nanstack.register.camera import View, direction_of, local_axes
from nanstack.register.catalogue import place_by_catalogue
from nanstack.register.group_stars import StarList, merged_stars, picture_of
from nanstack.register.place import middle_of, place_by_pointing, place_by_solutions, turned
from nanstack.register.solution import Registration, register
from nanstack.survey.record import Facts
from tests.support.starfields import camera, field, looking, shot

SMALL = (300, 400)
AWAY = Rotation.from_euler("zyx", (130, -40, 70), degrees=True).as_matrix()


def panels(ra=83.0, dec=22.0, *, count=12, step=0.2, cam=None, mirrored=False, seed=1):
    """Views of the sky around a place, in two columns."""
    rng = np.random.default_rng(seed)
    cam, middle, views = cam or camera(shape=SMALL), looking(ra, dec), []
    for k in range(count):
        axis = np.append(np.radians(rng.normal((step * (k % 2 - 0.5), 0), step / 20)), 1) @ middle
        axis /= np.linalg.norm(axis)
        attitude = looking(np.degrees(np.arctan2(axis[1], axis[0])), np.degrees(np.arcsin(axis[2])), 40 * k / count)
        views.append(View(cam, attitude * [[1.0], [-1.0 if mirrored else 1.0], [1.0]]))
    return views


def on_own_sphere(truth):
    """The same views as a registration leaves them: on another sphere, and never mirrored."""
    hand = np.diag([1.0, 1.0, np.linalg.det(truth[0].attitude)])
    return [replace(view, attitude=view.attitude @ hand @ AWAY) for view in truth]


def off(truth, found):
    """How far, in pixels, each frame's pixels are from where they belong: the largest distance."""
    worst = []
    for true, view in zip(truth, found, strict=True):
        height, width = true.camera.shape
        x, y = (v.ravel() for v in np.meshgrid(np.linspace(0, width - 1, 5), np.linspace(0, height - 1, 5)))
        u, v = true.pixels(view.directions(x, y))
        worst.append(np.hypot(u - x, v - y).max())
    return np.array(worst)


def by_solutions(truth, solutions):
    views = on_own_sphere(truth)
    place = place_by_solutions(views, solutions, middle_of(views))
    return place, place and [turned(view, place) for view in views]


def moved(wcs, shift):
    wcs = wcs.deepcopy()
    wcs.wcs.crpix += shift
    return wcs


@pytest.mark.parametrize(("ra", "dec"), [(83.0, 22.0), (0.0, 5.0), (30.0, 89.97), (200.0, -90.0)])
@pytest.mark.parametrize("mirrored", [False, True])
def test_a_group_lies_where_its_frames_are_solved(ra, dec, mirrored):
    truth = panels(ra, dec, mirrored=mirrored)
    place, found = by_solutions(truth, [view.wcs() for view in truth])
    assert off(truth, found).max() < 1e-4
    assert place.matched == 12
    assert not place.approximate
    assert place.scale == pytest.approx(1, abs=1e-6)
    assert np.sign(np.linalg.det(found[0].attitude)) == (-1 if mirrored else 1)


def test_a_distortion_in_the_solutions_is_heeded():
    truth = panels(cam=camera(corner_px=6.0, shape=SMALL), count=2)
    _, found = by_solutions(truth, [view.wcs() for view in truth])
    assert off(truth, found).max() < 0.02
    assert found[0].camera.radial == pytest.approx(truth[0].camera.radial, rel=1e-5)


def test_rough_solutions_are_averaged():
    rng, truth = np.random.default_rng(3), panels()
    place, found = by_solutions(truth, [moved(view.wcs(), rng.normal(0, 2.5, 2)) for view in truth])
    assert place.matched >= 9
    assert np.median(off(truth, found)) < 2.0  # one alone is off by 3.1


@pytest.mark.parametrize("shift", [(-12.0, 5.0), (4.0, 4.0), (300.0, 0.0)])
def test_a_wrong_solution_is_outvoted(shift):
    truth = panels()
    solutions = [moved(view.wcs(), shift if k == 6 else (0, 0)) for k, view in enumerate(truth)]
    place, found = by_solutions(truth, solutions)
    assert off(truth, found).max() < 0.01
    assert place.matched == 11


def test_most_wrong_solutions_are_outvoted_by_those_that_agree():
    rng, truth = np.random.default_rng(4), panels()
    solutions = [moved(view.wcs(), rng.uniform(-300, 300, 2) if k < 7 else (0, 0)) for k, view in enumerate(truth)]
    _, found = by_solutions(truth, solutions)
    assert off(truth, found).max() < 0.01


@pytest.mark.parametrize("count", [2, 12])
def test_solutions_that_all_contradict_each_other_are_in_doubt(count):
    rng, truth = np.random.default_rng(5), panels(count=count)
    place, _ = by_solutions(truth, [moved(view.wcs(), rng.uniform(-500, 500, 2)) for view in truth])
    assert place.approximate
    assert place.matched == 1


def test_without_solutions_there_is_no_place():
    assert by_solutions(panels(), [None] * 12)[0] is None


def test_one_solution_places_a_group():
    truth = panels()
    _, found = by_solutions(truth, [None] * 5 + [truth[5].wcs()] + [None] * 6)
    assert off(truth, found).max() < 0.01


def test_a_solution_in_galactic_coordinates_means_the_same():
    truth = panels(266.4, -28.9, count=1)
    galactic = WCS(naxis=2)
    galactic.wcs.ctype = "GLON-TAN", "GLAT-TAN"
    from astropy.coordinates import SkyCoord

    centre = SkyCoord(truth[0].wcs().pixel_to_world(199.5, 149.5)).galactic
    # its columns to the west and its rows to the south, as the frame's, but of the galaxy
    galactic.wcs.crval = centre.l.deg, centre.b.deg
    galactic.wcs.crpix = 200, 150
    galactic.wcs.cdelt = -2.39 / 3600, -2.39 / 3600
    _, found = by_solutions(truth, [galactic])
    for x, y in ((0, 0), (399, 0), (199.5, 149.5)):
        assert galactic.pixel_to_world(x, y).icrs.separation(found[0].wcs().pixel_to_world(x, y)).arcsec < 0.01


@pytest.mark.parametrize("wrong", [1.0, 1.03, 0.97])
def test_a_wrong_focal_length_is_corrected(wrong):
    cam = camera(corner_px=1.5)
    rng, truth = np.random.default_rng(60), panels(count=12, step=0.5, cam=cam)
    sky = field(6, 83.0, 22.0, 1.5, 900)
    surveys = [shot(rng, sky, view, facts=Facts(instrument="S50", scale=wrong * 2.39)) for view in truth]
    views = [one.view for one in register(surveys)]
    place = place_by_solutions(views, [truth[0].wcs(), truth[1].wcs()] + [None] * 10, middle_of(views))
    found = [turned(view, place) for view in views]
    assert off(truth, found).max() < 0.3
    assert found[0].camera.focal * found[0].scale == pytest.approx(cam.focal, rel=1e-4)


@pytest.mark.parametrize("bottom_up", [False, True])
def test_by_the_pointing_a_group_has_north_up_and_is_not_mirrored(bottom_up):
    truth = panels(120.0, 60.0)
    views = on_own_sphere(truth)
    pointings = [None] + [(120.3, 60.2)] * 10 + [(300.0, -40.0)]
    place = place_by_pointing(views, pointings, middle_of(views), bottom_up=bottom_up)
    found = [turned(view, place) for view in views]
    middle = middle_of(found)
    assert np.degrees(np.arccos(middle @ direction_of(120.3, 60.2))) < 0.02
    nearest = max(found, key=lambda view: view.pointing @ middle)
    east, north = local_axes(nearest.pointing)
    up = nearest.attitude[1] if bottom_up else -nearest.attitude[1]
    assert up @ north > 0.99
    assert nearest.attitude[0] @ east < -0.99
    hands = [[np.sign(np.linalg.det(view.attitude)) for view in views] for views in (found, truth)]
    assert (hands[0] == hands[1]) is not bottom_up  # these panels have their first row on top
    assert (place.how, place.approximate) == ("pointing", True)
    assert place_by_pointing(views, [None] * 12, middle_of(views)) is None


@pytest.fixture(scope="module")
def group():
    """A registered group, its truth, and the stars of its sky."""
    rng, truth = np.random.default_rng(70), panels(count=8, step=0.4, cam=camera(corner_px=1.5), mirrored=True)
    sky = field(7, 83.0, 22.0, 3.5, 6000)
    surveys = [shot(rng, sky, view, false=0.15, facts=Facts(instrument="S50", scale=2.39 * 1.02)) for view in truth]
    return truth, sky, surveys, register(surveys)


def test_stars_of_a_group_come_once_each(group):
    truth, sky, surveys, found = group
    merged = merged_stars(surveys, found)
    place = place_by_solutions([one.view for one in found], [view.wcs() for view in truth], found[0].view.pointing)
    plane, x, y, flux = picture_of(merged, found[0].view)
    there = turned(plane, place).directions(x, y)
    apart = np.arccos(np.clip((there @ sky.directions.T).max(axis=1), -1, 1)) * truth[0].camera.focal
    assert np.mean(apart < 1.0) > 0.97
    distances = np.hypot(*(v[:, None] - v for v in (x, y))) + 1e9 * np.eye(len(x))
    assert distances.min() > 3.0
    assert (np.diff(flux) <= 0).all()
    assert x.min() >= 0
    assert x.max() < plane.camera.shape[1]
    assert len(merged) > 0.6 * shown_twice(truth, sky)


def shown_twice(truth, sky):
    """How many stars of a sky lie in two frames or more."""
    count = np.zeros(len(sky.flux), int)
    for view in truth:
        x, y = view.pixels(sky.directions)
        count += (x > 0) & (x < view.camera.shape[1] - 1) & (y > 0) & (y < view.camera.shape[0] - 1)
    return np.count_nonzero(count >= 2)


def catalogue_of(sky, number):
    """The brightest of a sky, as a catalogue has them: another band, and no more."""
    order = np.argsort(-sky.flux)[:number]
    flux = sky.flux[order] * np.exp(np.random.default_rng(8).normal(0, 0.15, number))
    again = np.argsort(-flux)
    return StarList(sky.directions[order][again], flux[again])


@pytest.mark.parametrize(("number", "hint"), [(400, 1.0), (120, 1.0), (400, 1.07)])
def test_a_group_is_found_among_a_catalogues_stars(group, number, hint):
    truth, sky, surveys, found = group
    if hint != 1.0:
        surveys = [replace(one, facts=replace(one.facts, scale=one.facts.scale * hint)) for one in surveys]
        found = register(surveys)
    views = [one.view for one in found]
    middle = middle_of(views)
    stars = merged_stars(surveys, found)
    near = direction_of(84.0, 22.6)  # a degree away
    place = place_by_catalogue(stars, catalogue_of(sky, number), views[0].camera.focal, middle, near, np.radians(1))
    errors = off(truth, [turned(view, place) for view in views])
    assert np.sqrt(np.mean(errors**2)) < 1.0
    assert place.how == "catalogue"
    assert place.matched >= 4


def test_a_group_is_not_found_in_another_sky(group):
    _, _, surveys, found = group
    middle, stars = middle_of([one.view for one in found]), merged_stars(surveys, found)
    focal = found[0].view.camera.focal
    for seed in range(20, 26):
        other = catalogue_of(field(seed, 83.0, 22.0, 3.5, 6000), 400)
        assert place_by_catalogue(stars, other, focal, middle, direction_of(83, 22), np.radians(1)) is None


def test_a_frame_alone_has_its_stars():
    view = panels(count=1, cam=camera())[0]
    survey = shot(np.random.default_rng(90), field(9, 83.0, 22.0, 1.5, 500), view)
    merged = merged_stars([survey], [Registration(view, 0, 10, 0.1, float("nan"))])
    assert len(merged) == len(survey.stars)
