# SPDX-License-Identifier: GPL-3.0-or-later
"""`zemosaic-patch look`: what frames are is said before a mosaic is made, and holds when it is; nothing is written."""

import json

import numpy as np
import pytest
from astropy.io import fits
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from nanstack.io.layout import read_layout
from nanstack.progress import Quiet
from tests.support.pointings import write_pointings
from zemosaic_patch.look_run import LookedAt, _from_all_over, look, nights
from zemosaic_patch.rough import Rough, shrunk


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


def test_what_frames_show_is_seen_long_before_all_are_known(frames, tmp_path):
    paths, heard = sorted(frames.glob("light_*")), []
    for number in range(5):  # files of other names, and other light
        for path in paths[:8]:
            with fits.open(path) as file:
                file[0].data += number + 1
                file.writeto(tmp_path / f"{path.stem}_{number}.fits")
    many = sorted(tmp_path.glob("*.fits"))
    look(many, tmp_path / "kept", Quiet(), heard.append, heard.append)
    rough = [place for place, one in enumerate(heard) if not isinstance(one, LookedAt)]
    assert rough == [24, len(many) + 1]
    assert len(heard[24].frames) == 24
    assert len(heard[-1].frames) == len(many)
    assert sorted(one.number for one in heard if isinstance(one, LookedAt)) == list(range(len(many)))


def test_a_rough_picture_is_kept_whole(run, frames, tmp_path):
    picture = tmp_path / "rough.png"
    code, out, _ = run("look", frames, "--json", "--keep", tmp_path / "kept", "--rough", picture)
    assert code == 0
    files, *_, shown, _ = records(out)
    lights = [number for number, name in enumerate(files["files"]) if "light_" in name]
    assert shown == {"rough": len(lights), "made_of": lights}
    rough = Rough.read(picture)
    rows = np.array(Image.open(picture))
    assert rows.shape == rough.shades.shape
    assert rows.shape[:2] == rough.view.shape
    assert np.array_equal(rough.shades[::-1] if rough.upside_down else rough.shades, rows)
    assert len(rough.frames) == len(list(frames.glob("light_*")))
    for content in (b"", rows.tobytes(), picture.read_bytes()[:100]):
        picture.write_bytes(content)
        assert Rough.read(picture) is None


def test_a_look_leaves_out_and_takes_in_what_a_mosaic_is_told_to(run, frames, tmp_path):
    lights, picture = sorted(frames.glob("light_*")), tmp_path / "rough.png"
    wishes = ["--leave-out", lights[0].name, "--take-in", "dark.fit"]  # whose name it is, and which shows stars
    code, out, _ = run("look", frames, "--json", "--keep", tmp_path / "kept", "--rough", picture, *wishes)
    assert code == 0
    files, *_, shown, last = records(out)
    names = [name.rpartition("/")[2] for name in files["files"]]
    assert {names[number] for number in shown["made_of"]} == {"dark.fit", *(path.name for path in lights[1:])}
    assert last["left_out"][str(names.index(lights[0].name))] == "it is not wanted (--leave-out)"
    code, _, err = run("look", frames, "--leave-out", "nothing.fit")
    assert (code, len(err)) == (2, 1)


def test_a_rough_picture_asks_for_what_it_needs(run, frames, tmp_path):
    code, _, err = run("look", frames, "--rough", tmp_path / "rough.png")
    assert code == 2
    assert "--keep" in err[0]


@pytest.mark.parametrize("times", [2, 4, 5])
def test_a_shrunk_mosaic_holds_the_means_of_its_colours(tmp_path, times):
    rng = np.random.default_rng(2)
    samples = rng.integers(100, 60_000, (36, 48), dtype=np.uint16)
    fits.writeto(tmp_path / "raw.fit", samples, fits.Header({"BAYERPAT": "GRBG"}))
    seen = shrunk(read_layout(tmp_path / "raw.fit"), times)
    side = times + times % 2
    red = [samples[y : y + side, x : x + side][0::2, 1::2].mean() for y, x in ((0, 0), (side, 2 * side))]
    green = [samples[y : y + side, x : x + side] for y, x in ((0, 0), (side, 2 * side))]
    green = [(one[0::2, 0::2].mean() + one[1::2, 1::2].mean()) / 2 for one in green]
    assert seen[[0, 1], [0, 2], 0] == pytest.approx(red, rel=1e-5)
    assert seen[[0, 1], [0, 2], 1] == pytest.approx(green, rel=1e-5)


@given(count=st.integers(0, 3000), first=st.integers(24, 100), period=st.integers(1, 7))
def test_any_first_frames_are_from_all_over(count, first, period):
    order = _from_all_over(count)
    assert sorted(order) == list(range(count))
    if count >= 2 * first:
        assert {number % period for number in order[:first]} == set(range(period))
        assert {number * period // count for number in order[:first]} == set(range(period))


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


def test_where_nothing_can_be_kept_it_is_said_once(run, frames, tmp_path):
    (tmp_path / "file").touch()
    code, _, err = run("look", frames, "--keep", tmp_path / "file" / "kept")
    assert code == 0
    assert len([line for line in err if "cannot be kept" in line]) == 1
