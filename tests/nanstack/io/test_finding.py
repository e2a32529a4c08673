# SPDX-License-Identifier: GPL-3.0-or-later
"""Which files names stand for, and what is passed over."""

import os
from pathlib import Path

import pytest

from nanstack.io.finding import find_frame_files
from nanstack.io.layout import FrameError


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def put(*names):
    for name in names:
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_bytes(b"")


def found(*names, **choices):
    return [path.as_posix() for path in find_frame_files(names, **choices).paths]


def test_a_folder_stands_for_all_below_it_sorted(home):
    put(
        "n/b.fit",
        "n/a.FITS",
        "n/c.npy",
        "n/notes.txt",
        "n/d.fits.fz",
        "n/night 2/M 94_sub/e.fit",
        "n/night 1/f.fit",
        "n/a/z.fit",
    )
    first = ["n/a.FITS", "n/b.fit", "n/c.npy", "n/d.fits.fz"]
    assert found("n") == [*first, "n/a/z.fit", "n/night 1/f.fit", "n/night 2/M 94_sub/e.fit"]
    assert found("n", flat=True) == first
    assert found("n/night 1", "n", "n/b.fit", flat=True) == ["n/night 1/f.fit", *first], "each once, in the order given"


def test_hidden_files_and_what_systems_leave_is_passed_over(home):
    put("n/a.fit", "n/._a.fit", "n/.hidden.fit", "n/.Trashes/b.fit", "n/@eaDir/a.fit/c.fit", "n/$RECYCLE.BIN/d.fit")
    files = find_frame_files(["n"])
    assert files.paths == (Path("n/a.fit"),)
    assert files.lines() == []
    assert found("n/a.fit", "n/._a.fit") == ["n/a.fit"]


def test_pictures_are_counted(home):
    put(*(f"n/Light_{number}{end}" for number in range(3) for end in (".fit", "_thn.jpg", ".jpg")), "n/clip.mp4")
    assert find_frame_files(["n"]).lines() == ["3 thumbnails and 4 pictures ignored"]
    by_the_shell = sorted(Path("n").iterdir())
    assert find_frame_files(by_the_shell) == find_frame_files(["n"])
    put("m/a.fit", "m/a_thn.jpg")
    assert find_frame_files(["m"]).lines() == ["1 thumbnail ignored"]


def test_frames_of_kinds_that_are_not_read_are_named(home):
    put("n/a.fit", "n/a.xisf", "n/b.xisf", "n/IMG_1.CR2")
    line = "1 .cr2 file and 2 .xisf files ignored: they cannot be read here, save them as FITS"
    assert find_frame_files(["n"]).lines() == [line]
    put("x/a.xisf")
    with pytest.raises(FrameError, match=r"no frames there \(.*\); 1 \.xisf file ignored: .* save them as FITS"):
        find_frame_files(["x"])


def test_outputs_are_passed_over_below_but_not_where_they_are_named(home):
    put("n/a.fit", "n/b/out/tile.fits", "n/out/tile.fits", "n/out/tiles/tile_001/tile.fits")
    files = find_frame_files(["n"], is_output=lambda folder: folder.name == "out")
    assert files.paths == (Path("n/a.fit"),)
    assert files.lines() == [
        "the folder out (and 1 more) is not searched: a run of this program wrote it; name it to use frames in it"
    ]
    assert found("n/out", is_output=lambda folder: folder.name == "out")[0] == "n/out/tile.fits"


def test_names_that_stand_for_nothing_are_named(home):
    put("n/a.fit", "empty/notes.txt", "pictures/a.jpg")
    reasons = {"no frames there": ("empty", "pictures", "pictures/a.jpg"), "there is no such file": ("gone.fit",)}
    reasons["nothing there has a name like that"] = ("nothing*", "n/b*.fit")
    for reason, name in [(reason, name) for reason, names in reasons.items() for name in names]:
        with pytest.raises(FrameError, match=rf"^{Path(name).name.replace('*', '.')}: {reason}"):
            find_frame_files([name])
    with pytest.raises(FrameError, match="empty: no frames there"):
        find_frame_files(["n", "empty"])


def test_patterns(home):
    put("night 1/a.fit", "night 1/a.txt", "night 2/b.fit", "night 2/below/c.fit")
    assert found("night*/*.fit") == ["night 1/a.fit", "night 2/b.fit"]
    assert found("night [2-9]/*.fit") == ["night 2/b.fit"]
    assert found("*") == ["night 1/a.fit", "night 2/b.fit", "night 2/below/c.fit"], "a folder is searched"
    assert found(str(home / "night?" / "*.fit").replace("night?", "night ?"))[0].endswith("night 1/a.fit")


def test_brackets_of_folders_that_exist_stand_for_themselves(home):
    put("M31 [LP] night 1/a.fit", "M31 [LP] night 1/b_[1].fit", "M31 L night 1/c.fit", "x/M31 [LP] night 2/d.fit")
    assert found("M31 [LP] night 1/*.fit") == ["M31 [LP] night 1/a.fit", "M31 [LP] night 1/b_[1].fit"]
    assert found("M31 [LP] night 1") == found("M31 [LP] night 1/*.fit")
    assert found("*/M31 [LP]*/*.fit") == ["x/M31 [LP] night 2/d.fit"]
    assert found("M31 [LP]*/b_[1].fit") == ["M31 [LP] night 1/b_[1].fit"]
    assert found("M31 [L] night 1/*.fit") == ["M31 L night 1/c.fit"], "no such name: a set of letters"


@pytest.mark.skipif(os.name != "posix", reason="links need a privilege elsewhere")
def test_links_may_lead_anywhere(home):
    put("n/a.fit", "elsewhere/b.fit")
    os.symlink(home / "n", "n/loop")
    os.symlink(home, "n/up")
    os.symlink("nowhere", "n/broken.fit")
    os.symlink(home / "elsewhere", "n/other")
    assert found("n") == ["n/a.fit", "n/broken.fit", "n/other/b.fit"]


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="needs a folder that may not be read")
def test_a_folder_below_that_cannot_be_read_is_named(home):
    put("n/a.fit", "n/locked/b.fit")
    os.chmod("n/locked", 0)
    try:
        assert find_frame_files(["n"]).lines() == ["the folder locked is not searched: it may not be read"]
        with pytest.raises(FrameError, match="the folder cannot be read"):
            find_frame_files(["n/locked"])
    finally:
        os.chmod("n/locked", 0o755)
