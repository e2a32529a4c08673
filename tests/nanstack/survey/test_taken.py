# SPDX-License-Identifier: GPL-3.0-or-later
"""The cards of a result: what its frames have in common, and what they come to."""

from dataclasses import replace

import numpy as np
import pytest
from astropy.io import fits

from nanstack.io.layout import read_layout
from nanstack.survey.record import Facts
from nanstack.survey.taken import Taken, taken_of_frames, taken_of_tile, taken_together

FRAME = Facts(
    object="M 1", filter="IRCUT", instrument="Seestar S50", date="2025-11-22T20:10:00.250000", exposure=10.0, gain=80.0,
    focal_length=250.0, pixel_size=(2.90000009536743, 2.9),
)  # fmt: skip
LATER = replace(FRAME, date="2025-11-22T21:00:30.5", pixel_size=(2.9, 2.9))
CARDS = {
    "OBJECT": "M 1", "FILTER": "IRCUT", "INSTRUME": "Seestar S50", "FOCALLEN": 250.0, "XPIXSZ": 2.9, "YPIXSZ": 2.9,
    "GAIN": 80.0, "DATE-OBS": "2025-11-22T20:10:00.250", "DATE-END": "2025-11-22T21:00:40.500", "EXPTIME": 10.0,
    "TOTALEXP": 20.0, "STACKCNT": 2,
}  # fmt: skip


def values(taken):
    return {name: value for name, (value, _) in taken.cards().items()}


def tile(path, cards):
    header = fits.Header()
    header.update(cards)
    fits.PrimaryHDU(np.zeros((6, 8), np.float32), header).writeto(path)
    return taken_of_tile(read_layout(path))


def test_cards_of_frames_in_any_order():
    assert values(taken_of_frames([FRAME, LATER])) == CARDS
    assert values(taken_of_frames([LATER, FRAME])) == CARDS


def test_only_what_frames_agree_on_is_said():
    other = replace(LATER, object="M 2", exposure=20.0, gain=None, instrument="")
    assert values(taken_of_frames([FRAME, other])) == {
        **{name: value for name, value in CARDS.items() if name not in ("OBJECT", "EXPTIME")},
        "DATE-END": "2025-11-22T21:00:50.500",
        "TOTALEXP": 30.0,
    }
    assert "TOTALEXP" not in values(taken_of_frames([FRAME, replace(LATER, exposure=None)]))
    assert values(taken_of_frames([Facts(), Facts()])) == {"STACKCNT": 2}
    assert values(Taken()) == {}


def test_a_gain_of_0_is_a_gain():
    dark = replace(FRAME, gain=0.0)
    assert values(taken_of_frames([dark, dark]))["GAIN"] == 0
    assert "GAIN" not in values(taken_of_frames([dark, LATER]))


@pytest.mark.parametrize(
    ("date", "begin"),
    [
        ("2017-12-19T18:42:12.368-0700", "2017-12-20T01:42:12.368"),
        ("2017-12-20T01:42:12Z", "2017-12-20T01:42:12.000"),
        ("2017-12-20T01:42:12,5", "2017-12-20T01:42:12.500"),
        ("2017-12-20T01:42:12.123456789", "2017-12-20T01:42:12.123"),
        ("2017-12-20", None),
        ("20/12/17", None),
        ("2017-13-20T01:42:12", None),
        ("9999-12-31T23:59:59-2359", None),
        ("", None),
    ],
)
def test_dates_are_utc(date, begin):
    assert values(taken_of_frames([replace(FRAME, date=date)])).get("DATE-OBS") == begin


def test_a_tile_tells_what_was_written_into_it(tmp_path):
    taken = taken_of_frames([FRAME, LATER])
    assert tile(tmp_path / "tile.fits", taken.cards()) == taken
    assert taken_together([taken, taken]) == replace(taken, total=40.0, frames=4)


def test_tiles_of_other_programs_tell_what_they_can(tmp_path):
    found = tile(tmp_path / "a.fits", {"EXPTIME": 30.0, "EXPTOTAL": 600.0, "HIERARCH MT_NFRAMES": 20, "FILTER": "Ha"})
    assert values(found) == {"EXPTIME": 30.0, "TOTALEXP": 600.0, "STACKCNT": 20, "FILTER": "Ha"}
    silent = tile(tmp_path / "b.fits", {})
    assert values(taken_together([found, silent])) == {"EXPTIME": 30.0, "STACKCNT": 20, "FILTER": "Ha"}
