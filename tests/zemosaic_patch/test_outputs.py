# SPDX-License-Identifier: GPL-3.0-or-later
"""What is in an output folder: ours is replaced, all else stays as it is."""

import json
import os

import pytest
from astropy.io import fits

from nanstack.io import files
from zemosaic_patch import outputs
from zemosaic_patch.errors import UsageError


@pytest.fixture
def written(tmp_path):
    """A folder with two files that a run wrote, and one of the user's."""
    for name in ("a.fits", "a.json", "notes.txt"):
        (tmp_path / name).write_text(name)
    outputs.record(tmp_path, ["a.fits", "a.json"])
    return tmp_path


def names_in(folder):
    return sorted(path.name for path in folder.iterdir())


def test_only_what_is_listed_and_unchanged_is_ours(written):
    assert outputs.is_ours(written / "a.fits")
    assert outputs.is_ours(written / outputs.WRITTEN)
    assert not outputs.is_ours(written / "notes.txt")
    assert not outputs.is_ours(written / "nothing")
    when = os.stat(written / "a.fits")
    (written / "a.fits").write_text("a.fitS")  # of the same size and time
    os.utime(written / "a.fits", ns=(when.st_atime_ns, when.st_mtime_ns))
    assert not outputs.is_ours(written / "a.fits")


def test_what_a_killed_run_was_writing_is_ours(written):
    (written / "b.fits").write_text("before")
    outputs.expect(written, ["b.fits", "c.fits"])
    assert outputs.is_ours(written / "b.fits")
    assert not outputs.is_ours(written / "c.fits")
    outputs.record(written, ["b.fits"])
    outputs.remove_ours(written, ["b.fits"])
    assert "c.fits" not in json.loads((written / outputs.WRITTEN).read_text())["files"]


def run_that_fails(folder):
    with outputs.Recording(folder) as recording:
        recording.expect(["b.fits"])
        (folder / "b.fits").write_text("new")
        recording.complete("b.fits")
        raise OSError("the disk is full")


def test_digests_are_listed_when_all_is_written_and_not_where_that_failed(written):
    with pytest.raises(OSError, match="full"):
        run_that_fails(written)
    assert json.loads((written / outputs.WRITTEN).read_text())["files"]["b.fits"] is None
    with outputs.Recording(written) as recording:
        recording.complete("b.fits")
    assert outputs.is_ours(written / "b.fits")
    (written / "b.fits").write_text("the user's")
    assert not outputs.is_ours(written / "b.fits")
    assert outputs.is_ours(written / "a.fits")


def test_what_is_ours_is_removed_and_all_else_stays(written):
    outputs.remove_ours(written, ["a.fits", "a.json", "notes.txt"], keep=[written / "a.json"])
    assert names_in(written) == ["a.json", "notes.txt", outputs.WRITTEN]
    outputs.remove_ours(written, ["a.json"])
    assert names_in(written) == ["notes.txt"]
    (written / "notes.txt").unlink()
    outputs.remove_ours(written, ["a.json"])
    assert not written.exists()


@pytest.mark.parametrize("text", ["", "[1]", "{", '{"files": 3}', "[" * 100_000, '{"files": {"a.fits": 7}}'])
def test_a_damaged_list_makes_nothing_ours(written, text):
    (written / outputs.WRITTEN).write_text(text)
    assert not outputs.is_ours(written / "a.fits")
    outputs.remove_ours(written, ["a.fits"])
    with pytest.raises(UsageError, match=r"(a\.fits|written\.json) is in the way"):
        outputs.claim(written, ["a.fits"])
    assert (written / "a.fits").read_text() == "a.fits"


def test_an_input_is_no_output_by_whatever_name(written, tmp_path):
    outputs.claim(written, ["a.fits"], [written / "notes.txt"])
    link = written / "link.fits"
    link.symlink_to("a.fits")
    for name in (written / "a.fits", link, written / ".." / written.name / "a.fits"):
        with pytest.raises(UsageError, match=r"a\.fits is one of the inputs"):
            outputs.claim(written, ["a.fits"], [name])
    with pytest.raises(UsageError, match=r"link\.fits is one of the inputs"):
        outputs.claim(written, ["link.fits"], [written / "a.fits"])


def test_a_link_or_a_folder_is_in_the_way(written):
    (written / "b.fits").symlink_to("nowhere")
    (written / "c.fits").mkdir()
    for name in ("b.fits", "c.fits"):
        with pytest.raises(UsageError, match=f"{name} is in the way"):
            outputs.claim(written, [name])


def test_what_the_version_without_lists_wrote_is_known(tmp_path):
    image = fits.PrimaryHDU([[1.0, 2.0], [3.0, 4.0]])
    image.header["CREATOR"] = "zemosaic-patch 0.1.0"
    image.writeto(tmp_path / "mosaic.fits")
    (tmp_path / "mosaic.png").write_bytes(b"picture")
    (tmp_path / "mosaic.json").write_text('{"mosaic": {}}')
    (tmp_path / "report.html").write_text("<p>zemosaic-patch")
    (tmp_path / "run.toml").write_text("# zemosaic-patch 0.1.0: repeat with")
    names = ["mosaic.fits", "mosaic.png", "mosaic.json", "report.html", "run.toml"]
    assert [name for name in names if not outputs.is_ours(tmp_path / name)] == []
    outputs.claim(tmp_path, names[:1])  # the others, too, are on the list from now on
    assert set(json.loads((tmp_path / outputs.WRITTEN).read_text())["files"]) == set(names)
    (tmp_path / outputs.WRITTEN).unlink()
    (tmp_path / "mosaic.png").write_bytes(b"edited")
    later = (tmp_path / "mosaic.json").stat().st_mtime_ns + 10**9
    os.utime(tmp_path / "mosaic.png", ns=(later, later))
    assert not outputs.is_ours(tmp_path / "mosaic.png")
    image.header["INSTRUME"] = "Seestar S50 (simulated)"
    image.writeto(tmp_path / "Light_M45_0001.fit")
    assert outputs.is_ours(tmp_path / "Light_M45_0001.fit")
    image.header["INSTRUME"] = "Seestar S50"
    image.writeto(tmp_path / "Light_M45_0002.fit")
    assert not outputs.is_ours(tmp_path / "Light_M45_0002.fit")
    image.header["CREATOR"] = "Siril"
    image.writeto(tmp_path / "coverage.fits")
    os.utime(tmp_path / "coverage.fits", ns=(0, 0))
    assert not outputs.is_ours(tmp_path / "coverage.fits")


def test_a_folder_with_a_result_of_ours_is_an_output_folder(written):
    assert not outputs.is_output_folder(written)
    (written / "mosaic.fits").write_text("of another program")
    assert not outputs.is_output_folder(written)
    outputs.expect(written, ["tile.fits"])
    assert outputs.is_output_folder(written), "a run may be writing it now"
    assert not outputs.is_output_folder(written, ["mosaic.fits"])
    assert not outputs.is_output_folder(written / "nothing")


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="needs a folder that may not be read")
def test_a_folder_that_cannot_be_read_is_not_taken_for_that_above_it(tmp_path):
    from zemosaic_patch.given import find_frames

    (tmp_path / "night" / "locked").mkdir(parents=True)
    (tmp_path / "night" / "a.fit").touch()
    os.chmod(tmp_path / "night" / "locked", 0)
    try:
        found = find_frames([tmp_path], tmp_path / "out")
        assert [path.name for path in found.paths] == ["a.fit"]
        assert [folder.name for folder in found.unreadable] == ["locked"]
    finally:
        os.chmod(tmp_path / "night" / "locked", 0o700)


def test_a_result_that_another_program_has_open_is_refused_before_the_work(written, as_windows, monkeypatch):
    monkeypatch.setattr(files, "PATIENCE_S", 0.1)
    before = (written / "a.fits").read_bytes()
    with open(written / "a.fits", "rb"), pytest.raises(UsageError, match=r"a\.fits is open in another program"):
        outputs.claim(written, ["a.fits"])
    outputs.claim(written, ["a.fits"])
    assert (written / "a.fits").read_bytes() == before
