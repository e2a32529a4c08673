# SPDX-License-Identifier: GPL-3.0-or-later
"""What is told of a result that was stacked straight from frames: against what the frames were made of."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from astropy.wcs.utils import proj_plane_pixel_scales

from nanstack.canvas import union_canvas
from nanstack.levels.placed import Level, PlacedFrame, SampleNoise
from nanstack.register.place import Place
from nanstack.register.registered import Flat
from nanstack.session import Session
from nanstack.settings import CanvasSettings
from nanstack.stack.definition import Rejection
from nanstack.stack.drizzle import Drizzle
from nanstack.stack.noise_model import NoiseRejection
from nanstack.survey.trails import Trail
from tests.support.registered import HERE, registered
from zemosaic_patch.report.canvas import CanvasReport
from zemosaic_patch.report.flats import CameraFlat
from zemosaic_patch.report.json_file import write_json
from zemosaic_patch.report.registration import Registered
from zemosaic_patch.report.stack import Stacked
from zemosaic_patch.result_files import ResultFiles

SHAPE = (100, 160, 3)
FILES = ResultFiles("mosaic.fits", "mosaic.png", "coverage.png")
STACK = Stacked.of(CanvasSettings(), np.array([10, 20, 70]), rejected=3, samples=300)
ON_THE_SKY = Place(np.eye(3), 1.0, "ASTAP", False, 4)


def frames():
    """One frame, and one half a frame to the east, behind a cloud."""
    first = registered("night1/a.fit", shape=SHAPE, flux=1.0, exposure=10.0, date="2026-01-01T20:00:00")
    east = 80 * 2.39 / 3600
    return [first, registered("night2/a.fit", east, shape=SHAPE, flux=0.5, exposure=10.0)]


def report(*, more=(), place=ON_THE_SKY, level=None, left_out=None, **options):
    made = [*frames(), *more]
    canvas = union_canvas([frame.view for frame in made])
    none = np.zeros(3)
    level = level or Level.zero(3)
    placed = [
        PlacedFrame(frame, np.full(3, frame.factor), level, 0.5, SampleNoise(none, none, none), 0.2) for frame in made
    ]
    session = Session(made, {} if left_out is None else left_out, place)
    options = {"files": FILES, "stack": STACK, "settings": {}, "seconds": {}, **options}
    return CanvasReport.of(session, placed, canvas, **options), canvas


def test_corners_lie_in_the_picture_whose_first_row_is_the_north():
    told, canvas = report()
    (height, width), (first, second) = canvas.shape, (np.array(frame.corners) for frame in told.frames)
    for corners in (first, second):
        assert np.ptp(corners, axis=0) == pytest.approx((160, 100), abs=0.5)
        assert corners.min() >= -0.1
        assert np.all(corners.max(axis=0) <= (width + 0.1, height + 0.1))
    # east is left in such a picture
    assert np.mean(second - first, axis=0) == pytest.approx((-80, 0), abs=0.5)
    wcs = canvas.wcs()
    for frame, placed in zip(frames(), told.frames, strict=True):
        x, y = np.array(placed.corners).T - 0.5
        sky = wcs.all_pix2world(x, height - 1 - y, 0)
        seen = frame.wcs.all_pix2world([-0.5, 159.5, 159.5, -0.5], [-0.5, -0.5, 99.5, 99.5], 0)
        assert np.allclose(sky, seen, atol=0.1 * 2.39 / 3600)
    same_way, _ = report(upside_down=False)
    assert np.array(same_way.frames[0].corners)[:, 1] == pytest.approx(height - first[:, 1], abs=0.11)


def test_a_frame_of_which_no_sky_and_no_flux_is_known_is_told_of(recwarn):
    dark = registered("night3/a.fit", shape=SHAPE, flux=0.0, exposure=20.0)
    dark = replace(dark, survey=replace(dark.survey, sky=np.full((2, 3, 3), np.nan)))
    none = np.zeros(3)
    placed = [PlacedFrame(dark, np.ones(3), Level.zero(3), 1.0, SampleNoise(none, none, none), 0.2)]
    session, canvas = Session([dark], {}, ON_THE_SKY), union_canvas([dark.view])
    told = CanvasReport.of(session, placed, canvas, files=FILES, stack=STACK, settings={}, seconds={})
    assert told.frames[0].sky_adu == (None, None, None)
    assert told.frames[0].transparency is None
    assert not list(recwarn)


def test_the_level_is_that_in_the_middle_of_each_frame():
    slope = 0.25  # ADU a pixel to the west
    level = Level(np.array([5.0, 6.0, 7.0]), np.full(3, slope), np.zeros(3))
    told, _ = report(level=level)
    first, second = (np.array(frame.added_adu) for frame in told.frames)
    assert first - second == pytest.approx(3 * [80 * slope], rel=0.01)
    assert (first + second) / 2 == pytest.approx((5, 6, 7), abs=0.6 * slope)  # the axis is between the two


def test_the_canvas_is_told_as_its_solution_has_it():
    told, canvas = report()
    wcs = canvas.wcs()
    assert told.canvas.scale_arcsec == pytest.approx(3600 * proj_plane_pixel_scales(wcs)[0], rel=1e-5)
    height, width = canvas.shape
    middle = wcs.all_pix2world((width - 1) / 2, (height - 1) / 2, 0)
    assert (told.canvas.ra_deg, told.canvas.dec_deg) == pytest.approx(tuple(map(float, middle)), abs=1e-4)
    assert told.canvas.dec_deg == pytest.approx(HERE[1], abs=0.01)


@pytest.mark.parametrize("place", [None, Place(np.eye(3), 1.0, "unknown", True, 0)])
def test_without_a_place_on_the_sky_there_is_none(place):
    told, _ = report(place=place)
    assert (told.canvas.ra_deg, told.canvas.dec_deg) == (None, None)
    assert told.registration == Registered(2, 0.1, 0.1, "unknown", True)
    assert any("unknown: the result has no WCS" in line for line in told.lines())


def test_transparency_is_against_clear_frames_of_the_same_exposure_and_camera():
    told, _ = report(more=[registered(f"z{number}.fit", shape=SHAPE, flux=3.0, exposure=30.0) for number in range(3)])
    clear, cloudy, *longer = (frame.transparency for frame in told.frames)
    assert cloudy / clear == pytest.approx(0.5, rel=1e-3)
    assert longer == [1.0, 1.0, 1.0]
    assert [frame.gain for frame in told.frames[:2]] == [(1.0,) * 3, (2.0,) * 3]
    assert told.frames[1].transparency_error == pytest.approx(0.01 * cloudy, rel=0.06)


def test_what_stars_show_of_a_cameras_flat_is_told_once():
    flat = Flat(uu=0.03, vv=0.04, error=0.004)
    more = [replace(registered(f"z{number}.fit", shape=SHAPE, instrument="S30"), flat=flat) for number in range(3)]
    told, _ = report(more=more)
    assert told.flats == (CameraFlat("S30", round(3 + 4 * (SHAPE[0] / SHAPE[1]) ** 2, 2), 0.4),), "not of the unknown"


def test_names_tell_files_apart_and_no_folder_above_these_is_told(tmp_path):
    told, _ = report(left_out={Path("/home/someone/night3/b.fit"): "no stars"})
    assert [frame.name for frame in told.frames] == ["night1/a.fit", "night2/a.fit"]
    assert told.left_out == {"b.fit": "no stars"}
    write_json(told.json(), tmp_path / "mosaic.json")
    back = json.loads((tmp_path / "mosaic.json").read_text())
    assert back["frames"][0]["date"] == "2026-01-01T20:00:00"
    assert back["frames"][0]["fwhm_px"] is None  # these frames have no stars
    assert "someone" not in json.dumps(back)


def test_coverage_is_of_the_pixels_that_show_something():
    stack = Stacked.of(CanvasSettings(), np.array([50, 10, 0, 30, 10, 0]), 5, 200, cells=4, cells_kept=3)
    assert (stack.shown_percent, stack.coverage_median, stack.coverage_max) == (50.0, 3.0, 4)
    assert stack.rejected_percent == 2.5
    nothing = Stacked.of(CanvasSettings(), np.array([5]), 0, 0)
    assert (nothing.shown_percent, nothing.coverage_median, nothing.coverage_max) == (0.0, 0.0, 0)
    assert nothing.rejected_percent is None


@pytest.mark.parametrize(
    ("rejection", "told"),
    [(NoiseRejection(5.0), ("noise", (5.0, 5.0))), (Rejection("huber", 2.0, 3.0), ("huber", (2.0, 3.0)))],
)
def test_the_rejection_is_told(rejection, told):
    stack = Stacked.of(CanvasSettings(rejection), np.array([0, 5]), 0, 5)
    assert (stack.rejection, stack.kappa) == told


def test_a_drizzle_is_told():
    drops = CanvasSettings(drizzle=Drizzle(2.0, 0.8))
    told, _ = report(stack=Stacked.of(drops, np.array([0, 95]), 0, 5, holes=5))
    assert told.json()["stack"]["drizzle"] == {"scale": 2.0, "pixfrac": 0.8, "kernel": "square"}
    line = next(line for line in told.lines() if line.startswith("drizzled"))
    assert (
        "2 times finer than the frames, drops of 0.8 of a photosite's side (square); 5 % of the pixels seen got none"
        in line
    )


def test_the_screen_tells_what_was_kept():
    told, _ = report(stack=Stacked.of(CanvasSettings(), np.array([0, 5]), 0, 5, cells=4, cells_kept=3))
    assert any("3 of 4 parts kept from an earlier run" in line for line in told.lines())
    assert not any("kept" in line for line in report()[0].lines())


def test_trails_lie_in_the_picture_where_frames_do():
    frame = registered("c.fit", shape=SHAPE, exposure=10.0)
    trail = Trail(0.0, 0.0, 159.0, 99.0, 6.0, 1.234, 40.0)
    none = np.zeros(3)
    canvas = union_canvas([frame.view])
    placed = PlacedFrame(frame, np.ones(3), Level.zero(3), 1.0, SampleNoise(none, none, none), 0.2, trails=(trail,))
    options = {"settings": {}, "seconds": {}, "files": FILES}
    stack = Stacked.of(CanvasSettings(), np.array([0, 5]), 40, 900, masked=30, spared=6)
    told = CanvasReport.of(Session([frame], {}, ON_THE_SKY), [placed], canvas, stack=stack, **options)
    (found,) = told.frames[0].trails
    assert (found.length_px, found.width_px, found.light_sigma) == (187.3, 12.0, 1.23)
    corners = np.array(told.frames[0].corners)
    inner = corners.mean(axis=0) + (corners - corners.mean(axis=0)) * (159 / 160, 99 / 100)
    assert np.array(found.ends) == pytest.approx(inner[[0, 2]], abs=0.6)
    said = "in 1 of 1 frames, 30 samples left out; 6 stay, as no other frame shows the place"
    assert any(line.split(maxsplit=1) == ["trails", said] for line in told.lines())


def test_of_no_trails_nothing_is_said():
    told, _ = report()
    assert not any(line.startswith("trails") for line in told.lines())
    assert told.json()["stack"]["masked_samples"] == 0
