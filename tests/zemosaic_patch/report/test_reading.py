# SPDX-License-Identifier: GPL-3.0-or-later
"""What is told of a mosaic: right kinds come through, wrong ones are as if they were not there."""

import json
import math

import pytest

from zemosaic_patch.report.reading import ReportError, read_told
from zemosaic_patch.report.text import duration, shown
from zemosaic_patch.report.told import Entry


@pytest.fixture
def told(tmp_path):
    def read(name="mosaic.json", **values):
        (tmp_path / name).write_text(json.dumps(values))
        return read_told(tmp_path / name)

    return read


def test_seconds_are_those_told_else_of_the_stages(told):
    assert told(tiles=[], seconds={"total": 100, "stack": 7}).seconds == 100
    assert told(tiles=[], seconds={"survey": 7, "stack": 2, "else": None}).seconds == 9
    assert told(tiles=[]).seconds is None


def test_a_description_of_an_earlier_tile_is_one_clear_line(told):
    with pytest.raises(
        ReportError, match=r"tile\.json was written by an earlier version, or is damaged: make it again"
    ):
        told("tile.json", frames_given=5, coverage_max=4)


def test_tiles_of_an_earlier_mosaic_are_counted(told):
    (tile,) = told(tiles=[{"name": "a", "report": {"frames_aligned": 4, "frames": [{"name": "b"}]}}]).tiles
    assert (tile.name, tile.frames) == ("a", (4,))


@pytest.mark.parametrize("value", [None, "x", True, math.nan, math.inf, 10**400, [], {}, [1, "x"]])
def test_what_is_no_number_is_not_known(told, value):
    frame = {"rms_px": value, "corners": [[0, 0], [1, 0], [value, 1]]}
    read = told(canvas={"shape": [value, 5], "scale_arcsec": value}, frames=[frame], stack={"rejected_percent": value})
    assert read.frames[0].corners == ()
    assert all(part is None or part == 1 for part in read.frames[0].rms_px)
    assert read.image.shape is None
    assert read.image.scale_arcsec is None
    assert read.made == ()


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
    assert [shown(value, digits=3) for value in (998.4, 999.7, 1063.2)] == ["998", "1,000", "1,063"]
