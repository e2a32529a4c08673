# SPDX-License-Identifier: GPL-3.0-or-later
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nanstack.survey.detection import find_peaks
from nanstack.survey.mesh import cell_levels
from nanstack.survey.raw import MESH_PX, Raw
from nanstack.survey.survey import survey_frame
from nanstack.survey.trails import Trail, find_trails
from tests.nanstack.survey.simulated import NOISE, Scene, adu16, light_of, mosaic_of, noisy, offsets, sky_of, write

SHAPE = (480, 640)
Y, X = np.indices(SHAPE)


class Passage:
    """A straight line through a place, at an angle: how far pixels lie beside it, and how far along."""

    def __init__(self, x, y, angle):
        self.across = (X - x) * np.sin(angle) - (Y - y) * np.cos(angle)
        self.along = (X - x) * np.cos(angle) + (Y - y) * np.sin(angle)
        self.at = lambda u, v: (u - x) * np.sin(angle) - (v - y) * np.cos(angle)

    def light(self, sigmas, width=1.3):
        """Return the light of a trail whose brightest is so many sigmas of a photosite."""
        return sigmas * NOISE * np.exp(-0.5 * (self.across / width) ** 2)

    def off(self, trail):
        """Return how far the ends of a trail lie beside the line."""
        return max(abs(self.at(trail.x0, trail.y0)), abs(self.at(trail.x1, trail.y1)))


def trails_of(light, stars=60, seed=2):
    """Return the trails of a raw frame that holds stars and some light."""
    raw = noisy(mosaic_of(sky_of(SHAPE, 0.05) + light_of(Scene(SHAPE, stars=stars)) + light[..., None]), seed)
    plane = adu16(raw).astype(np.float32)
    return found_in(Raw.of(plane, "GRBG"))


def found_in(raw):
    height, width = (side // 2 * 2 for side in raw.plane.shape)
    planes = [raw.plane[row:height:2, column:width:2] for row, column in ((0, 1), (0, 0), (1, 0))]
    planes = planes if raw.pattern else [raw.plane]
    side = MESH_PX // 2 if raw.pattern else MESH_PX
    return find_trails(raw, cell_levels(planes, (side, side)), find_peaks(raw))


def sure(trails):
    return [trail for trail in trails if trail.is_sure]


@pytest.mark.parametrize("angle", [0.0, 0.4, np.pi / 4, np.pi / 2, 2.5])
@pytest.mark.parametrize("sigmas", [1.0, 8.0, 200.0])
def test_a_trail_is_found_where_it_is(angle, sigmas):
    true = Passage(300, 230, angle)
    trails = sure(trails_of(true.light(sigmas)))
    assert len(trails) == 1
    assert true.off(trails[0]) < 4
    assert 4 <= trails[0].half_width <= 16
    edge_to_edge = np.ptp(true.along[np.abs(true.across) < 0.7])
    assert trails[0].length > edge_to_edge - 60


def test_what_no_pixel_shows_is_found_along_a_line():
    true = Passage(300, 230, 0.7)
    assert [true.off(trail) < 4 for trail in trails_of(true.light(0.6))] == [True]


def test_a_trail_ends_where_its_light_does():
    true = Passage(300, 230, 0.3)
    (trail,) = sure(trails_of(true.light(3.0) * (np.abs(true.along) < 120)))
    ends = sorted((x - 300) * np.cos(0.3) + (y - 230) * np.sin(0.3) for x, y in (trail[:2], trail[2:4]))
    assert ends == pytest.approx([-120, 120], abs=24)
    assert true.off(trail) < 4


def test_a_blinking_aircraft_is_one_trail():
    true = Passage(300, 230, 0.3)
    trails = sure(trails_of(true.light(3.0) * (np.floor(true.along / 60) % 2 == 0)))
    assert len(trails) == 1
    assert trails[0].length > 400


def test_a_wide_trail_is_told_as_wide():
    true = Passage(300, 230, 0.9)
    (trail,) = sure(trails_of(true.light(1.0, width=7.0)))
    assert 12 <= trail.half_width <= 26
    assert true.off(trail) < 4


def test_two_trails_are_two():
    first, second = Passage(300, 230, 0.9), Passage(200, 300, 2.0)
    trails = sure(trails_of(first.light(4.0) + second.light(4.0)))
    assert len(trails) == 2
    assert min(first.off(trail) for trail in trails) < 4
    assert min(second.off(trail) for trail in trails) < 4


@pytest.mark.parametrize("seed", range(4))
def test_stars_and_soft_nebulae_are_no_trails(seed):
    rng = np.random.default_rng(seed)
    nebula = np.zeros(SHAPE)
    for _ in range(6):
        x, y, size = rng.uniform(0, 640), rng.uniform(0, 480), rng.uniform(30, 150)
        nebula += rng.uniform(5, 60) * np.exp(-0.5 * ((X - x) ** 2 + (Y - y) ** 2) / size**2)
    assert not sure(trails_of(nebula, stars=200, seed=seed))


def test_stars_in_a_row_are_no_trail():
    row = sum(600 * np.exp(-0.5 * ((X - 60 - 40 * k) ** 2 + (Y - 150 - 12 * k) ** 2) / 1.3**2) for k in range(14))
    assert not sure(trails_of(row))


def test_a_galaxy_is_shorter_than_a_trail():
    true = Passage(300, 230, 0.4)
    assert not sure(trails_of(true.light(6.0, 2.5) * np.exp(-0.5 * (true.along / 14) ** 2)))


@settings(deadline=None, max_examples=25)
@given(st.integers(2, 200), st.integers(2, 200), st.integers(0, 2**32), st.floats(0, 1), st.sampled_from(["", "GRBG"]))
def test_any_plane_can_be_looked_at(height, width, seed, share, pattern):
    """Whole numbers up to the highest, more or less of them missing, and edges wherever chance puts them."""
    rng = np.random.default_rng(seed)
    plane = rng.choice([0, 500, 65535], 3)[np.sort(rng.integers(0, 3, (height, width)), axis=int(rng.integers(2)))]
    plane = plane.astype(np.float32)
    plane[rng.random(plane.shape) < share] = np.nan
    for trail in found_in(Raw.of(plane, pattern)):
        assert np.isfinite(trail).all()
        assert trail.half_width > 0


PLACES = st.floats(-2000, 2000)


@given(PLACES, PLACES, PLACES, PLACES, PLACES, PLACES)
def test_distances_are_those_of_the_nearest_of_many_points(x0, y0, x1, y1, x, y):
    share = np.linspace(0, 1, 2001)
    true = np.hypot(x0 + (x1 - x0) * share - x, y0 + (y1 - y0) * share - y).min()
    found = float(Trail(x0, y0, x1, y1, 5.0, 1.0, 20.0).distance(np.array(x), np.array(y)))
    assert found <= true + 1e-6
    assert found >= true - np.hypot(x1 - x0, y1 - y0) / 2000


def test_a_satellite_brings_no_stars_and_leaves_their_shape(tmp_path):
    scene = Scene(stars=25)
    trail = 300 * np.exp(-0.5 * ((0.6 * (X - 300) - 0.8 * (Y - 200)) / 1.3) ** 2)
    raw = noisy(mosaic_of(sky_of(scene.shape) + light_of(scene) + trail[..., None]))
    survey = survey_frame(write(tmp_path / "a.fit", adu16(raw), "GRBG"))
    off, which = offsets(survey.stars, scene.field())
    assert np.hypot(*off.T).max() < 1
    assert len(which) >= 19
    assert survey.elongation < 1.15
    assert survey.stars.fwhm == pytest.approx(3, rel=0.1)
    assert len(sure(survey.trails)) == 1


def test_spikes_of_a_bright_star_are_no_trails():
    """Four of a star that no photosite holds, falling off away from it."""
    light = 3e4 * np.exp(-0.5 * ((X - 320) ** 2 + (Y - 240) ** 2) / 2.0**2)
    for angle in (0.3, 0.3 + np.pi / 2):
        true = Passage(320, 240, angle)
        light += true.light(8.0) / (1 + (true.along / 40) ** 2)
    assert not sure(trails_of(light))
    crossing = Passage(320, 240, 1.0)
    assert [crossing.off(trail) < 4 for trail in sure(trails_of(light + crossing.light(8.0)))] == [True]


@pytest.mark.parametrize("height", [0.7, 3.0, -20.0])
def test_a_sharp_edge_is_no_trail(height):
    """Of a nebula, or of a roof, which is dark."""
    edge = height * NOISE * (Passage(300, 230, 0.7).across > 0)
    assert not trails_of(edge)
