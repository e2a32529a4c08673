# SPDX-License-Identifier: GPL-3.0-or-later
"""The one pipeline: what `make_tile` does with each of its settings, what it tells, and what it says of the tile."""

import dataclasses

import numpy as np
import pytest
from astropy.wcs import WCS

import nanstack
from nanstack.settings import JoinSettings, Radial, TileSettings
from nanstack.stack.definition import METHODS, Rejection
from nanstack.tile import make_tile, measure, stack_group, stacking_order
from nanstack.truth.simulation import simulate_group
from tests.support.told import Told

SHAPE = (150, 220)


@pytest.fixture(scope="module")
def frames():
    return [frame.data for frame in simulate_group(5, SHAPE, seed=11, max_shift=10.0, n_stars=200, sky_scatter=0.1)[0]]


# --- settings ---------------------------------------------------------------------------------------------------------


def test_defaults_are_those_of_the_command(frames):
    assert TileSettings() == TileSettings(Rejection("winsor", 3.0, 3.0, 0.05, 0.05, True), "mean", "offset")
    assert make_tile(frames).image.tobytes() == make_tile(frames, settings=TileSettings()).image.tobytes()


@pytest.mark.parametrize(
    "changes",
    [
        {"rejection": Rejection("kappa_sigma", 1.5, 1.5)},
        {"combine": "median"},
        {"match": "none"},
        {"normalize": "linear_fit"},
        {"weight": "noise_variance"},
        {"radial": Radial()},
        {"interpolation": "lanczos3"},
        {"equalize": True},
    ],
)
def test_each_setting_changes_the_tile_and_is_in_its_report(frames, changes):
    tile, plain = make_tile(frames, **changes), make_tile(frames)
    assert tile.image.tobytes() == make_tile(frames, 0, TileSettings(**changes)).image.tobytes()
    ((name, value),) = changes.items()
    if name == "radial":  # one map for all frames: where all weigh alike, a mean is what it was, but for rounding
        np.testing.assert_allclose(tile.image, plain.image, rtol=1e-6)
    else:
        assert not np.array_equal(tile.image, plain.image, equal_nan=True)
    told = tile.report.settings[name]
    assert told == (dataclasses.asdict(value) if dataclasses.is_dataclass(value) else value)


def test_changes_go_on_top_of_settings(frames):
    settings = TileSettings(combine="median", match="plane")
    tile = make_tile(frames, 0, settings, match="none")
    assert tile.image.tobytes() == make_tile(frames, combine="median", match="none").image.tobytes()
    with pytest.raises(TypeError, match="unexpected keyword argument 'colour'"):
        make_tile(frames, colour="pink")


@pytest.mark.parametrize(
    ("record", "changes", "text"),
    [
        (TileSettings, {"combine": "sum"}, "combine must be one of mean, median, min, max, not 'sum'"),
        (TileSettings, {"match": "both"}, "match must be one of"),
        (TileSettings, {"normalize": "yes"}, "normalize must be one of"),
        (TileSettings, {"weight": "snr"}, "weight must be one of"),
        (TileSettings, {"interpolation": "cubic"}, "interpolation must be one of"),
        (TileSettings, {"gpu": "maybe"}, "gpu must be one of"),
        (JoinSettings, {"match": "linear"}, "match must be one of plane, offset, none"),
        (JoinSettings, {"combine": "max"}, "combine must be one of"),
        (JoinSettings, {"feather": 0.6}, "feather must be within 0 to 0.5"),
        (JoinSettings, {"feather": float("nan")}, "feather must be within 0 to 0.5"),
    ],
)
def test_settings_name_what_is_wrong(record, changes, text):
    with pytest.raises(ValueError, match=text):
        record(**changes)


# --- frames -----------------------------------------------------------------------------------------------------------


def test_weights_are_one_a_frame_and_follow_their_frames(frames):
    """With no weight on a frame, the tile is that of the others; the reference is stacked first, wherever it stands."""
    level = np.float32([[100.0], [200.0], [400.0]])
    flat = [np.full(SHAPE, value, np.float32) for value in level[:, 0]]
    stacked = stack_group(flat, TileSettings(Rejection("none"), match="none"), weights=[1.0, 0.0, 3.0])
    assert np.unique(stacked.image).tolist() == [(100 + 3 * 400) / 4]
    settings = {"rejection": Rejection("none"), "match": "none"}
    weighted = make_tile(frames, 2, weights=[0.0, 1.0, 2.0, 0.0, 1.0], **settings)
    shown = {line.name: line.weight for line in weighted.report.frames}
    assert shown == {"frame 0": 0.0, "frame 1": 1.25, "frame 2": 2.5, "frame 3": 0.0, "frame 4": 1.25}
    one = make_tile(frames, 2, weights=[0.0, 0.0, 5.0, 0.0, 0.0], **settings)
    assert np.array_equal(one.image, frames[2], equal_nan=True), "all weight on the reference, which is not resampled"


def test_a_frame_that_fails_is_named_and_its_weight_goes_with_it(frames):
    told = Told()
    cloudy = [*frames[:2], np.full_like(frames[0], np.nan), *frames[3:]]
    names = ["a.fit", "b.fit", "c.fit", "d.fit", "e.fit"]
    tile = make_tile(cloudy, 1, names=names, weights=[1.0, 1.0, 100.0, 1.0, 1.0], progress=told)
    assert told.warnings == ["c.fit: it holds no finite sample; left out"]
    assert tile.report.frames_failed == {"c.fit": "it holds no finite sample"}
    assert (tile.report.frames_given, tile.report.frames_aligned, tile.report.reference) == (5, 4, "b.fit")
    assert [line.weight for line in tile.report.frames] == [1.0, 1.0, None, 1.0, 1.0]
    assert stacking_order(tile.alignments) == [1, 0, 3, 4]


def test_the_reference_is_read_once_and_gives_its_solution(frames):
    reads = []

    def source(index):
        return lambda: reads.append(index) or frames[index]

    solution = WCS(naxis=2)
    tile = make_tile([source(index) for index in range(5)], 3, wcs=solution)
    assert sorted(reads) == [0, 1, 2, 3, 4]
    assert tile.wcs is solution


@pytest.mark.parametrize(
    ("frames", "text"),
    [
        ([], "there are none"),
        ("light.fits", "files are stacked by nanstack.stack_files"),
        (["light.fits"], "files are stacked by nanstack.stack_files"),
    ],
)
def test_frames_that_are_none(frames, text):
    with pytest.raises(ValueError, match=text):
        make_tile(frames)


@pytest.mark.parametrize("reference", [-1, 5])
def test_a_reference_that_is_none_of_the_frames(frames, reference):
    with pytest.raises(ValueError, match="names none of the 5 frames"):
        make_tile(frames, reference)


# --- progress and report ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", METHODS)
def test_progress_moves_for_every_rejection(frames, method):
    told = Told()
    make_tile(frames, rejection=Rejection(method), progress=told)
    aligning = [step[1:] for step in told.steps if step[0] == "aligning"]
    assert aligning == [(done, 5) for done in range(1, 6)]
    rows = [step[1:] for step in told.steps if step[0] == "stacking"]
    assert rows
    assert rows == sorted(rows)
    assert rows[-1] == (SHAPE[0], SHAPE[0])
    assert {step[0] for step in told.steps} == {"aligning", "stacking"}


def test_what_was_not_measured_has_no_card(frames):
    mono = make_tile([frame[..., 0] for frame in frames])
    assert mono.report.band_metric_adu is None
    assert "NPA_BAND" not in mono.report.cards()


def test_the_report_tells_the_same_of_samples_from_0_to_1(frames):
    adu = make_tile(frames).report
    unit = make_tile([frame / np.float32(65536) for frame in frames]).report
    assert adu.noise_adu > 1
    for name in ("noise_adu", "band_metric_adu", "sky_offset_adu_max"):
        assert 65536 * getattr(unit, name) == pytest.approx(getattr(adu, name), rel=1e-5), name
    for mine, theirs in zip(unit.frames, adu.frames, strict=True):
        assert 65536 * np.array(mine.sky_offset_adu) == pytest.approx(np.array(theirs.sky_offset_adu), rel=1e-5)
        assert 65536 * np.array(mine.sky_adu) == pytest.approx(np.array(theirs.sky_adu), rel=1e-5)


def test_noise_below_one_step_of_the_numbers_is_not_measurable():
    frame = np.full(SHAPE, 6.0, np.float32)
    frame[::9, ::7] = 30.0
    measures = measure(frame, np.full(SHAPE, 5), frame)
    assert measures.noise_adu is None
    assert measures.noise_against_one_frame is None


def test_a_tile_goes_into_a_mosaic(frames):
    solution = WCS(naxis=2)
    solution.wcs.ctype = "RA---TAN", "DEC--TAN"
    solution.wcs.crval = 56.75, 24.25
    solution.wcs.crpix = 110.5, 75.5
    solution.wcs.cdelt = -0.001, 0.001
    tile = make_tile(frames, wcs=solution)
    mosaic = nanstack.make_mosaic([tile.for_mosaic("one")], match="none")
    assert mosaic.coverage.max() == 5
    inside = mosaic.coverage == 5
    assert np.nanmedian(mosaic.image[inside]) == pytest.approx(np.nanmedian(tile.image[tile.coverage == 5]), abs=1)
