# SPDX-License-Identifier: GPL-3.0-or-later
"""Frames on the desk: what they are, as the command look says; taken out and put back; and what is begun with them."""

import asyncio
import json
import nturl2path  # on every system
import os
import shutil
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from fastapi import FastAPI
from hypothesis import given
from hypothesis import strategies as st

from tests.support.as_windows.strict_files import refuses_marks
from tests.support.pointings import write_pointings
from zemosaic_patch.commands.mosaic import check_output
from zemosaic_patch.errors import UsageError
from zemosaic_patch.lost_files import LOST
from zemosaic_patch.options.runs import MosaicRun
from zemosaic_patch.ui import drop, folders, making, roughly, served, settings, state, strip, texts
from zemosaic_patch.ui.desk import Desk, desk, forget_old, surveys
from zemosaic_patch.ui.roughly import RoughPicture, Wish
from zemosaic_patch.ui.typed import value_of

HTML = "&lt;.fit" if refuses_marks() else "<img src=x onerror=alert(1)>&lt;.fit"


@pytest.fixture(scope="module")
def frames(tmp_path_factory):
    folder = tmp_path_factory.mktemp("desk") / "M 45"
    write_pointings(folder)
    first = min(folder.iterdir())
    fits.writeto(folder / HTML, fits.getdata(first), fits.Header({"IMAGETYP": "Dark"}))
    return folder


@pytest.fixture(autouse=True)
def own_state(tmp_path, monkeypatch):
    monkeypatch.setenv(state.PLACE, str(tmp_path / "state"))
    texts.choose("en")
    yield
    texts.choose("en")


@pytest.fixture
def looked(frames):
    desk.choose([str(frames)])
    until = time.monotonic() + 120
    while not desk.looking.is_over:
        assert time.monotonic() < until
        time.sleep(0.02)
    yield desk
    desk.choose([])


async def status_of(address, is_left):
    """Return the status that an address is answered by, where the browser waits for it, or has left."""
    app, sent = FastAPI(), []
    served.routes(app)

    async def receive():
        if not is_left:
            await asyncio.sleep(3600)
        return {"type": "http.disconnect"}

    async def send(message):
        sent.append(message)

    asked = {"type": "http", "method": "GET", "path": address, "headers": [], "query_string": b"", "root_path": ""}
    await app(asked, receive, send)
    return sent[0]["status"]


def test_frames_are_told_by_nights_and_what_is_none_by_its_reason(looked, frames):
    contents = looked.contents()
    count = len(list(frames.iterdir()))
    assert (contents.found, contents.known, contents.used) == (count, count, count - 1)
    assert contents.nights == [("2025-01-05", count - 1, "10 s")]
    assert contents.targets == ["M 45"]
    assert contents.left_out == [("its IMAGETYP is Dark", [HTML])]

    # names are data of the page, and never HTML: what makes text of them is the browser
    items = strip.items(looked)
    (dark,) = [one for one in items if one["state"] == "no"]
    assert (dark["name"], dark["why"]) == (HTML, "its IMAGETYP is Dark")

    # a frame is taken out, and put back
    looked.take(1, out=True)
    assert looked.contents().used == count - 2
    assert strip.items(looked)[1]["state"] == "out"
    looked.take(1, out=False)
    assert looked.contents() == contents
    for number in (-1, count, 10**9):
        looked.take(number, out=True)
    assert looked.contents() == contents

    # what would be left out is taken in, and what speaks against it stays in sight
    looked.take(dark["n"], out=False)
    assert (looked.contents().used, looked.contents().left_out) == (count, [])
    by_hand = strip.items(looked)[dark["n"]]
    assert by_hand == {**dark, "state": "by_hand"}
    looked.take(dark["n"], out=True)
    assert looked.contents() == contents

    # pictures go by numbers
    key = looked.looking.key
    assert served.frame_picture(key, "1", "small")[:3] == b"\xff\xd8\xff"
    wrong = [("other", "1"), (key, "-1"), (key, str(count)), (key, "9" * 5000), (key, "x"), (key, "")]
    for look, number, size in [*((*one, "small") for one in wrong), (key, "1", "../x")]:
        assert served.frame_picture(look, number, size) is None
    assert asyncio.run(status_of(f"/frame/{key}/1/small", is_left=False)) == 200
    assert asyncio.run(status_of(f"/frame/{key}/1/small", is_left=True)) == 404  # nobody waits for it any more

    # one picture at a time, and only of what there is
    assert making.can_start(looked)
    assert not making.can_start(Desk())

    # the mosaic goes beside the frames, and never over anything
    assert making.output_for(looked) == frames.parent / "M 45 mosaic"
    (frames.parent / "M 45 mosaic").mkdir()
    assert making.output_for(looked) == frames.parent / "M 45 mosaic", "nothing is there"
    (frames.parent / "M 45 mosaic" / "mine").mkdir()
    assert making.output_for(looked) == frames.parent / "M 45 mosaic 2"


def until(happens):
    end = time.monotonic() + 120
    while not happens():
        assert time.monotonic() < end
        time.sleep(0.02)


def test_the_rough_picture_follows_what_the_owner_wants(looked, tmp_path):
    rough, count = looked.looking.rough, len(looked.looking.paths) - 1
    assert (rough.count, rough.number, rough.is_due) == (count, 1, False)
    before = rough.path.read_bytes()
    first, second, third = sorted(number for number in range(count + 1) if not looked.why_not(number))[:3]
    for number in (first, second, third):  # several in a row: one picture
        looked.take(number, out=True)
    looked.take(third, out=False)
    assert rough.is_due
    until(lambda: not rough.is_due)
    assert (rough.count, rough.number) == (count - 2, 2)
    after = rough.path.read_bytes()
    assert after != before
    for number in (first, second):
        looked.take(number, out=False)
    rough.copy(tmp_path / "run.png")  # a run that begins meanwhile has what there is, and then what is wanted
    assert (tmp_path / "run.png").read_bytes() == after
    until(lambda: not rough.is_due)
    assert (rough.count, rough.number) == (count, 3)
    until(lambda: (tmp_path / "run.png").read_bytes() != after)  # copied a moment later
    assert served.rough(looked.looking.key) == (tmp_path / "run.png").read_bytes() == before


def made_by(path, count, made_of):
    """Return a command that makes a picture of nothing, and tells of it."""
    told = {"rough": count, "made_of": made_of}
    return [sys.executable, "-c", f"open({str(path)!r}, 'a').write('x'); print({json.dumps(told)!r})"]


def test_a_rough_picture_is_made_again_only_where_it_shows_others(tmp_path, monkeypatch):
    monkeypatch.setattr(roughly, "AGAIN_S", 0.0)
    path = tmp_path / "rough.png"
    rough = RoughPicture(path, lambda wish: made_by(path, 3 - len(wish.out), [1, 2]), lambda: None)
    rough.hear({"rough": 3, "made_of": [1, 2, 3]})
    rough.want(Wish(frozenset({1})))  # while frames are looked at
    assert not rough.is_due
    rough.follow()
    until(lambda: not rough.is_due)
    assert (rough.count, path.read_text()) == (2, "x")
    rough.want(Wish(frozenset({1, 7})))  # it does not show that one
    assert not rough.is_due
    rough.want(Wish(frozenset({7})))
    assert rough.is_due
    rough.want(Wish(frozenset({1, 7})))  # the owner thought better of it
    assert not rough.is_due
    rough.want(Wish(frozenset({1, 7}), frozenset({8})))
    assert rough.is_due
    rough.remove()
    assert not rough.is_due
    assert not path.exists()


@pytest.mark.parametrize(
    "program",
    [
        "raise SystemExit(2)",
        "print('{\"rough\": 2, \"made_of\": [', end='')",  # it was ended within a line
        pytest.param("#" * 10_000_000, id="longer than any command line"),
    ],
)
def test_no_picture_is_shown_where_none_of_what_is_wanted_can_be_made(tmp_path, monkeypatch, program):
    monkeypatch.setattr(roughly, "AGAIN_S", 0.0)
    fails = [sys.executable, "-c", program]
    rough = RoughPicture(tmp_path / "rough.png", lambda wish: fails, lambda: None)
    rough.hear({"rough": 1, "made_of": [0]})
    rough.follow()
    rough.want(Wish(frozenset({0})))
    until(lambda: not rough.is_due)
    assert rough.count == 0


def test_what_stays_out_whatever_is_wanted_cannot_be_taken_in(tmp_path):
    folder = tmp_path / "frames"
    write_pointings(folder, pointings=((0, 0),))
    (folder / "a_torn.fits").write_bytes(b"SIMPLE  = no")
    mine = Desk()
    mine.choose([str(folder)])
    while not mine.looking.is_over:
        time.sleep(0.02)
    torn, light, *_ = strip.items(mine)
    assert (torn["state"], torn["fixed"], light["fixed"]) == ("no", True, False)
    mine.take(0, out=False)
    assert strip.items(mine)[0] == torn
    mine.choose([])


def test_what_is_no_folder_is_told_so(tmp_path):
    mine = Desk()
    mine.choose([str(tmp_path / "nothing")])
    while not mine.looking.is_over:
        time.sleep(0.02)
    assert "there is no such file or folder" in mine.looking.failure
    with pytest.raises(UsageError):
        making.start()  # nothing lies on the desk of all tabs


def test_a_result_that_cannot_be_written_is_refused_at_once_in_a_line(frames, monkeypatch, tmp_path):
    mine = Desk()
    mine.choose([str(frames)])
    while not mine.looking.is_over:
        time.sleep(0.02)
    (tmp_path / "file").touch()
    mine.name_output(str(tmp_path / "file"))
    monkeypatch.setattr(making, "desk", mine)
    with pytest.raises(UsageError, match="file is a file: name a folder"):
        making.start()
    assert (tmp_path / "file").read_bytes() == b""


def test_a_run_begins_without_what_was_deleted_since_the_look_and_says_so(frames, monkeypatch, tmp_path):
    shutil.copytree(frames, tmp_path / "frames")
    mine = Desk()
    mine.choose([str(tmp_path / "frames")])
    until(lambda: mine.looking.is_over)
    unwanted, wanted = [number for number in range(len(mine.looking.paths)) if not mine.why_not(number)][:2]
    mine.take(unwanted, out=True)
    for number in (unwanted, wanted):
        mine.looking.paths[number].unlink()
    mine.name_output(str(tmp_path / "out"))
    monkeypatch.setattr(making, "desk", mine)
    run = making.start()
    until(lambda: not run.is_running)
    assert not run.news().failure
    told = json.loads((tmp_path / "out" / "mosaic.json").read_text())["left_out"]
    assert told == {mine.looking.names[wanted]: LOST, HTML: "its IMAGETYP is Dark"}
    mine.choose(())


def test_a_look_that_fails_halfway_says_so(frames, monkeypatch):
    """The files are known by then: without a word they would look as if none were of use."""
    fails = "import sys; sys.exit('zemosaic-patch: a library cannot be loaded (libstdc++.so.6): install it')"
    monkeypatch.setattr("zemosaic_patch.ui.desk.own_command", lambda *words: [sys.executable, "-c", fails])
    mine = Desk()
    mine.choose([str(frames)])
    while not mine.looking.is_over:
        time.sleep(0.02)
    assert mine.looking.failure == "a library cannot be loaded (libstdc++.so.6): install it"


@pytest.mark.parametrize(
    ("target", "name"),
    [("M 31", "M 31"), ("../../etc", "etc"), ("a/b\\c:d", "a b c d"), ("...", "mosaic"), ("", "mosaic"),
     ("<script>", "script"), ("Ω Cen", "Ω Cen"), ("x" * 300, "x" * 60), ("CON\0", "CON")],
)  # fmt: skip
def test_a_target_gives_a_folder_its_name_on_any_system(target, name):
    assert making._as_name(target) == name


def test_folders_are_listed_and_frames_in_them_counted(frames):
    found = folders.listed(frames.parent)
    assert frames in found.folders
    assert folders.listed(frames).frames == len(list(frames.iterdir()))
    assert folders.listed(frames / "nothing").failure


@pytest.mark.skipif(os.name != "posix", reason="these are its places")
def test_what_was_pasted_is_understood(monkeypatch):
    monkeypatch.setenv("HOME", "/home/somebody")
    assert folders.meant(" '/data/M 31' ") == Path("/data/M 31")
    assert folders.meant("file:///data/M%2031") == Path("/data/M 31")
    assert folders.meant("~/M 31") == Path("/home/somebody/M 31")
    assert folders.meant("Pictures/M 31") == Path("/home/somebody/Pictures/M 31")


@pytest.mark.parametrize(
    ("typed", "place"),
    [("file:///D:/M%2031", r"D:\M 31"), ("file://nas/nights/M%2031", r"\\nas\nights\M 31")],
)
def test_addresses_of_drives_and_of_other_machines_are_understood_as_windows_has_them(monkeypatch, typed, place):
    monkeypatch.setattr("urllib.request.url2pathname", nturl2path.url2pathname)
    assert folders.meant(typed) == Path.home() / place


@pytest.mark.parametrize(
    "typed", ["", "  ", '""', "file://", "file://[", "a\0b", "file:///a%00b", "\ud800", "~no such user/x", "\0"]
)
def test_what_is_no_place_is_refused_in_a_line(typed):
    with pytest.raises(UsageError) as refused:
        folders.meant(typed)
    assert str(refused.value).isprintable()


def test_what_is_dropped_is_understood():
    assert drop.dropped_places("# two\r\nfile:///data/M%2031\r\nfile:///data/b\r\n") == [
        Path("/data/M 31"), Path("/data/b")
    ]  # fmt: skip
    assert drop.dropped_places("file:///data/M%2031\nM 31") == [Path("/data/M 31")]  # an address, and its name
    assert drop.dropped_places("/data/M 31") == [Path("/data/M 31")]
    for none in ("", None, "https://evil.example/x", "#", "file:///a%00b"):
        with pytest.raises(UsageError):
            drop.dropped_places(none)


@pytest.mark.parametrize("named", ["a\0b", "x" * 5000, "\ud800"])
def test_a_folder_that_cannot_be_is_not_listed(named):
    assert folders.listed(Path("/") / named).failure


@pytest.mark.skipif(os.name != "posix" or refuses_marks(), reason="names of files are bytes elsewhere than here")
def test_names_that_are_no_text_are_shown_as_text(tmp_path):
    odd = tmp_path / os.fsdecode(b"caf\xe9\n")
    odd.mkdir()
    fits.writeto(odd / os.fsdecode(b"\xe9.fit"), np.zeros((9, 9), np.float32))
    mine = Desk()
    mine.choose([str(odd)])
    until = time.monotonic() + 60
    while not mine.looking.is_over:
        assert time.monotonic() < until
        time.sleep(0.02)
    json.dumps([strip.items(mine), mine.contents().left_out], ensure_ascii=False).encode()
    texts.text("make.into", folder=str(odd)).encode()
    assert mine.looking.paths == [odd / os.fsdecode(b"\xe9.fit")]
    assert not making.can_start(mine)


def test_what_is_known_of_frames_is_forgotten_in_the_end(tmp_path):
    old, new, mine = (surveys() / name for name in ("old.npz", "new.npz", "old.txt"))
    surveys().mkdir(parents=True)
    for path in (old, new, mine):
        path.write_bytes(b"")
    for path in (old, mine):
        os.utime(path, (0, 0))
    forget_old()
    assert sorted(surveys().iterdir()) == sorted([new, mine])


# --- settings ---------------------------------------------------------------------------------------------------------


def test_settings_in_sight_stand_for_options():
    changed = {"format": "fz"}
    for setting in settings.IN_SIGHT:
        for choice, options in setting.choices.items():
            made = settings.chosen(setting, choice, changed)
            assert made == {"format": "fz", **options}
            assert settings.choice_of(setting, made) == choice
            settings.run_of(made)  # options that go together
    assert settings.choice_of(settings.IN_SIGHT[0], {"drizzle": 1.7}) == ""


def test_what_is_not_as_usual_is_said_in_words():
    assert settings.unusual({}) == []
    assert settings.unusual({"drizzle": 2.0}) == ["Sharpness: Drizzle, twice as fine: for 9 frames or more"]
    assert settings.unusual({"drizzle": 1.7, "kappa": (2.5, 4.0), "hips": True}) == [
        "Rejection limit (kappa): 2.5 4.0", "Drizzle: 1.7", "Tiles of the sky (HiPS)"
    ]  # fmt: skip


def test_what_is_said_of_certain_frames_goes_with_them(tmp_path):
    mine = Desk()
    mine.choose([str(tmp_path / "a")])
    chosen = {"drizzle": 1.0, "comet": "1,2,3,4", "comet_merged": True, "reference": "a.fit"}
    mine.choose_options(chosen)
    mine.choose([str(tmp_path / "a"), str(tmp_path / "b")])  # one more night
    assert mine.changed == chosen
    mine.choose([str(tmp_path / "c")])
    assert mine.changed == {"drizzle": 1.0}
    mine.choose(())


OPTIONS = {name: option for name, option, _ in settings.behind_more()}


def test_what_was_typed_is_an_options_value_or_refused():
    assert value_of(OPTIONS["kappa"], "3, 4") == (3.0, 4.0)
    assert value_of(OPTIONS["scale"], "2.5") == 2.5
    assert value_of(OPTIONS["scale"], " ") is None
    for name, typed in (("scale", "fine"), ("scale", "1_0"), ("scale", "\u0663"), ("comet", "1,5 2,5")):
        with pytest.raises(UsageError):
            settings.check(name, OPTIONS[name], value_of(OPTIONS[name], typed), ())


@pytest.mark.parametrize("code", ["en", "fr"])
@pytest.mark.parametrize(
    ("name", "typed", "value"),
    [("scale", "1.5", 1.5), ("scale", "1,5", 1.5), ("scale", "0,500", 0.5), ("scale", ",5", 0.5), ("scale", "1e1", 10),
     ("kappa", "2.5 4.5", (2.5, 4.5)), ("kappa", "2.5, 4.5", (2.5, 4.5)), ("kappa", "3;4", (3.0, 4.0)),
     ("comet", "1,2,3,4", "1,2,3,4"), ("comet", "1.5,2,3,4.5", "1.5,2,3,4.5"), ("comet", "1 2 3 4", "1,2,3,4"),
     ("comet", "1,5 2,5 3,5 4", "1.5,2.5,3.5,4"), ("comet", "1, 2; 3 4,5", "1,2,3,4.5")],
)  # fmt: skip
def test_numbers_are_read_with_either_decimal_mark(code, name, typed, value):
    texts.choose(code)
    assert value_of(OPTIONS[name], typed) == value


@pytest.mark.parametrize(
    ("code", "name", "typed", "value"),
    [("en", "scale", "1.500", 1.5), ("fr", "scale", "1,500", 1.5), ("fr", "kappa", "2,5 4,5", (2.5, 4.5)),
     ("fr", "kappa", "1,5", (1.5,)), ("fr", "kappa", "2,5, 4,5", (2.5, 4.5))],
)  # fmt: skip
def test_the_mark_of_the_language_is_the_decimal_one(code, name, typed, value):
    texts.choose(code)
    assert value_of(OPTIONS[name], typed) == value


@pytest.mark.parametrize(
    ("code", "name", "typed"),
    [("en", "kappa", "1,5"), ("en", "kappa", "2,5 4,5"), ("en", "scale", "1,500"), ("fr", "scale", "1.500"),
     ("en", "scale", "1,234.5"), ("fr", "scale", "1.234,5"), ("en", "scale", "1 000"), ("fr", "scale", "1\u202f000"),
     ("fr", "kappa", "1\u00a0000"), ("en", "scale", "1'000"), ("en", "comet", "1,234 2,345 3,456 4,567"),
     ("en", "comet", "10,20 30,40"), ("en", "scale", "1,5,2"), ("en", "scale", "1,")],
)  # fmt: skip
def test_a_number_that_may_be_another_one_is_refused(code, name, typed):
    texts.choose(code)
    with pytest.raises(UsageError):
        settings.check(name, OPTIONS[name], value_of(OPTIONS[name], typed), ())


@given(st.integers(1, 10**9), st.integers(0, 6), st.sampled_from(["en", "fr"]))
def test_what_a_field_shows_is_read_as_what_it_shows(whole, places, code):
    texts.choose(code)
    shown = settings._as_typed(whole / 10**places)
    assert value_of(OPTIONS["scale"], shown) == whole / 10**places


def test_every_file_that_an_option_names_is_looked_for_at_once(frames, tmp_path):
    paths = sorted(frames.glob("light_*"))
    (tmp_path / "a.txt").write_text("no image")
    wanting = {name: option for name, option in OPTIONS.items() if option.metavar in ("FILE", "DIR")}
    assert {"reference", "like"} <= wanting.keys()
    for name, option in wanting.items():
        for typed in (tmp_path / "nowhere.fits", tmp_path, tmp_path / "a.txt"):
            with pytest.raises(UsageError):
                settings.check(name, option, value_of(option, str(typed)), paths)
            with pytest.raises(UsageError):
                settings.check_all({name: str(typed)}, paths)
    for typed in (paths[0].name, str(paths[0]), paths[0].as_uri(), f'"{paths[0]}"'):
        reference = value_of(OPTIONS["reference"], typed)
        settings.check("reference", OPTIONS["reference"], reference, paths)


def test_a_file_that_was_typed_is_where_its_owner_means(monkeypatch):
    """And not where the run's process happens to begin."""
    monkeypatch.setenv("HOME", "/home/somebody")
    assert Path(value_of(OPTIONS["like"], "a b.fits")) == Path("/home/somebody/a b.fits")
    assert value_of(OPTIONS["reference"], "a b.fits") == "a b.fits"


@pytest.mark.parametrize(("folder", "why"), [("M 45", "the frames themselves"), ("file", "a file")])
def test_a_result_goes_to_no_folder_where_it_would_do_harm(frames, folder, why):
    (frames.parent / "file").touch()
    with pytest.raises(UsageError, match=why):
        check_output(frames.parent / folder, MosaicRun(), sorted(frames.iterdir()))
    check_output(frames / "mosaic", MosaicRun(), sorted(frames.iterdir()))


@pytest.mark.parametrize("changed", [{"scale": -1.0}, {"drizzle": 2.0, "combine": "median"}, {"kernel": "point"}])
def test_options_that_cannot_be_are_refused_before_a_run(changed):
    with pytest.raises(UsageError):
        settings.run_of(changed)


@pytest.mark.parametrize("typed", ["nan", "inf", "-1", "1e999", "9" * 400, "x", "\0", "\ud800", "[", "1 2 3 4", "٣"])
def test_nonsense_typed_as_an_option_is_refused_or_reaches_the_command_as_text(typed):
    for name, option, _ in settings.behind_more():
        if option.kind is bool or option.choices:
            continue
        try:
            value = value_of(option, typed)
            _, groups = settings.run_of({} if value is None else {name: value})
        except UsageError:
            continue
        assert "\0" not in settings.as_toml(groups, ()).encode().decode()


def test_options_reach_the_command(tmp_path):
    _, groups = settings.run_of({"drizzle": 2.0, "kappa": (3.0,)})
    path = tmp_path / "asked.toml"
    path.write_text(settings.as_toml(groups, ("/data/-x.fit", 'a"b.fit'), ("/data/-y.fit",)), encoding="utf-8")
    from zemosaic_patch.arguments import add_options, config_defaults
    from zemosaic_patch.cli import Parser
    from zemosaic_patch.commands import load

    parser = Parser()
    add_options(parser, load("mosaic"))
    read = config_defaults(path, load("mosaic"), parser)
    assert (read["drizzle"], list(read["kappa"])) == (2.0, [3.0])
    assert list(read["leave_out"]) == ["/data/-x.fit", 'a"b.fit']
    assert list(read["take_in"]) == ["/data/-y.fit"]
