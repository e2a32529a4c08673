# SPDX-License-Identifier: GPL-3.0-or-later
"""What is told of a mosaic: right kinds come through, wrong ones are as if they were not there."""

import json
import math

import pytest

from zemosaic_patch.report.text import duration, shown
from zemosaic_patch.report.told import Entry, read_told


@pytest.fixture
def told(tmp_path):
    def read(name="mosaic.json", **values):
        (tmp_path / name).write_text(json.dumps(values))
        return read_told(tmp_path / name)

    return read


def test_a_tile_is_a_mosaic_of_one(told):
    report = {"frames_given": 5, "frames_failed": {"c": "cloudy"}, "coverage_max": 4, "seconds_align": 1.5}
    one = told("tile.json", **report)
    (tile,) = one.tiles
    assert (tile.number, tile.name, tile.given, tile.aligned, tile.failures, tile.seconds) == (
        1,
        "tile",
        5,
        None,
        1,
        1.5,
    )
    assert (one.mosaic.picture, one.mosaic.coverage_max) == ("tile.png", 4)
    assert one.left_out == (Entry("c", "cloudy"),)


def test_seconds_are_those_told_else_of_the_steps_else_of_the_tiles(told):
    tiles = [{"seconds": 3}, {"report": {"seconds_align": 1, "seconds_stack": 2}}, {"seconds": {"a": 4, "b": None}}]
    assert told(tiles=tiles, seconds={"total": 100, "tiles": 7}).seconds == 100
    assert told(tiles=tiles, seconds={"tiles": 7, "mosaic": 2}).seconds == 9
    assert told(tiles=tiles).seconds == 10
    assert told(tiles=[]).seconds is None


@pytest.mark.parametrize("value", [None, "x", True, math.nan, math.inf, 10**400, [], {}, [1, "x"]])
def test_what_is_no_number_is_not_known(told, value):
    report = {"frames_given": value, "frames": [{"rms_px": value}]}
    (tile,) = told(tiles=[{"report": report, "corners": [[0, 0], [1, 0], [value, 1]]}]).tiles
    assert tile.given is None
    assert tile.corners == ()
    assert all(part is None or part == 1 for part in tile.frames[0].rms_px)
    assert told(mosaic={"shape": [value, 5]}).mosaic.shape is None


def test_settings_are_flat_and_in_words(told):
    settings = told(tiles=[], settings={"tile": {"kappa": [3.0, 2.5], "equalize": False}, "memory": None}).settings
    assert settings == (Entry("tile.kappa", "3, 2.5"), Entry("tile.equalize", "no"), Entry("memory", "\N{EN DASH}"))


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(None, "\N{EN DASH}"), (5.25, "5.25 s"), (119.7, "120 s"), (150, "2 min 30 s"), (7300, "2 h 01 min")],
)
def test_durations_are_as_a_reader_says_them(seconds, text):
    assert duration(seconds) == text


def test_numbers_have_so_many_digits():
    assert shown(0.123456) == "0.1235"
    assert shown(12345.6, " px") == "12,346 px"
