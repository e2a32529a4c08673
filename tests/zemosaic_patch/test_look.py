# SPDX-License-Identifier: GPL-3.0-or-later
"""`zemosaic-patch look`: what frames are is said before a mosaic is made, and holds when it is; nothing is written."""

import json

import pytest
from astropy.io import fits

from tests.support.pointings import write_pointings
from zemosaic_patch.look_run import nights


@pytest.fixture(scope="module")
def frames(tmp_path_factory):
    """Frames of two pointings, one of them a day later, a dark and a file that is none."""
    folder = tmp_path_factory.mktemp("look") / "frames"
    write_pointings(folder)
    for path in sorted(folder.glob("light_1_*")):
        fits.setval(path, "DATE-OBS", value=fits.getval(path, "DATE-OBS").replace("2025-01-05", "2025-01-07"))
    first = min(folder.glob("light_0_*"))
    fits.writeto(folder / "dark.fit", fits.getdata(first), fits.Header({"IMAGETYP": "Dark"}))
    (folder / "torn.fit").write_bytes(b"SIMPLE  = no")
    return folder


def records(out):
    return [json.loads(line) for line in out.splitlines()]


def test_it_says_what_a_mosaic_then_does(run, frames, tmp_path):
    before = sorted(frames.iterdir())
    code, out, _ = run("look", frames, "--json")
    assert code == 0
    files, *seen, last = records(out)
    assert [one["number"] for one in seen] == list(range(len(before))) == list(range(len(files["files"])))
    left_out = {files["files"][int(number)].rpartition("/")[2]: why for number, why in last["left_out"].items()}
    assert sorted(frames.iterdir()) == before
    assert run("mosaic", frames, "-o", tmp_path / "out")[0] == 0
    assert left_out == json.loads((tmp_path / "out" / "mosaic.json").read_text())["left_out"]
    assert sorted(left_out) == ["dark.fit", "torn.fit"]
    dark = seen[[name.rpartition("/")[2] for name in files["files"]].index("dark.fit")]
    assert (dark["kind"], dark["unusable"]) == ("dark", "its IMAGETYP is Dark")
    light = next(one for one in seen if one["kind"] == "light" and one["stars"])
    assert (light["target"], light["exposure"]) == ("M 45", 10.0)


def test_it_says_so_in_few_lines(run, frames):
    code, out, _ = run("look", frames)
    assert code == 0
    assert "2 left out" in out
    assert "night 2025-01-05" in out
    assert "night 2025-01-07" in out
    assert "dark.fit: its IMAGETYP is Dark; left out" in out


def test_what_is_kept_is_not_found_out_twice(run, frames, tmp_path):
    first = run("look", frames, "--json", "--keep", tmp_path / "kept")
    kept = {path: path.stat().st_mtime_ns for path in (tmp_path / "kept").iterdir()}
    assert len(kept) > 2
    assert run("look", frames, "--json", "--keep", tmp_path / "kept") == first
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "kept").iterdir()} == kept


def test_no_frames(run, tmp_path):
    code, _, err = run("look", tmp_path)
    assert code == 2
    assert len(err) == 1


@pytest.mark.parametrize(
    ("times", "expected"),
    [
        (["2025-03-27T01:20:32", "2025-03-27T05:45:13"], "2025-03-26"),  # an American night, in UTC
        (["2025-03-26T20:00:00", "2025-03-27T03:00:00", "2025-03-27T01:00:00"], "2025-03-26"),  # a European one
        (["2025-03-26T10:00:00", "2025-03-26T14:30:00", "2025-03-26T19:00:00"], "2025-03-26"),  # an Australian one
    ],
)
def test_a_night_is_that_of_the_day_on_whose_evening_it_began(times, expected):
    assert set(nights(times).values()) == {expected}


def test_nights_are_apart_and_what_is_no_time_has_none():
    found = nights(["2025-03-26T20:00:00", "2025-03-27T20:00:00", "", "yesterday"])
    assert found == {"2025-03-26T20:00:00": "2025-03-26", "2025-03-27T20:00:00": "2025-03-27"}
