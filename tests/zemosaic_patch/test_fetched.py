# SPDX-License-Identifier: GPL-3.0-or-later
"""Frames at URLs become files in the output's folder, each whole; what cannot be fetched costs a line."""

import pytest

pytest.importorskip("fsspec", reason="the extra 'cluster' is not installed")
import fsspec

from nanstack.progress import Quiet
from tests.support.told import Told
from zemosaic_patch import cli
from zemosaic_patch.errors import FailureError, UsageError
from zemosaic_patch.fetched import fetch

SHOWN = {"night/a.fit": b"first", "night/more/b.FITS": b"second", "night/note.txt": b"none", "night/c.jpg": b"none"}


@pytest.fixture
def there():
    """Files at memory://, gone afterwards."""
    files = fsspec.filesystem("memory")
    for name, data in SHOWN.items():
        files.pipe(f"/{name}", data)
    yield files
    files.rm("/night", recursive=True)


@pytest.mark.parametrize(
    ("url", "names"),
    [
        ("memory://night", ["a.fit", "b.FITS"]),
        ("memory://night/a.fit", ["a.fit"]),
        ("memory://night/*", ["a.fit"]),
        ("memory://night/**/*.FITS", ["b.FITS"]),
    ],
)
def test_a_url_stands_for_a_file_a_folder_or_a_pattern(there, tmp_path, url, names):
    wanted = {name.rpartition("/")[2]: data for name, data in SHOWN.items()}
    told = Told()
    local, *fetched = fetch(["own.fit", url], tmp_path / "fetched", told)
    assert local == "own.fit"
    found = {path.name: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    assert found == {name: wanted[name] for name in names}
    assert sorted(name.replace("\\", "/").rpartition("/")[2] for name in fetched) == names
    assert told.steps[-1][0] == "fetching frames"


def test_what_is_there_is_fetched_again_only_if_it_is_cut_off_or_asked_for(there, tmp_path):
    (name,) = fetch(["memory://night/a.fit"], tmp_path, Quiet())
    (there_already,) = tmp_path.rglob("a.fit")
    for before, anew, after in ((b"FIRST", False, b"FIRST"), (b"fir", False, b"first"), (b"FIRST", True, b"first")):
        there_already.write_bytes(before)
        assert fetch(["memory://night/a.fit"], tmp_path, Quiet(), anew) == [name]
        assert there_already.read_bytes() == after


def test_what_is_cut_off_on_its_way_is_no_file(there, tmp_path, monkeypatch):
    def broken(self, rpath, lpath, **_):
        with open(lpath[0], "wb") as file:
            file.write(b"fi")
        raise ConnectionResetError("the other end is gone")

    monkeypatch.setattr(type(there), "get", broken)
    with pytest.raises(FailureError, match=r"memory://night/a\.fit cannot be fetched: .*the other end is gone"):
        fetch(["memory://night/a.fit"], tmp_path / "fetched", Quiet())
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


@pytest.mark.parametrize("path", ["memory://night/../../../../up/a.fit", "memory://night/%2e%2e/a:b.fit"])
def test_no_name_leads_out_of_the_folder(there, tmp_path, path):
    there.pipe(path.removeprefix("memory:/"), b"far")
    (name,) = fetch([path], tmp_path / "fetched", Quiet())
    (only,) = (one for one in tmp_path.rglob("*") if one.is_file())
    assert only.resolve().is_relative_to((tmp_path / "fetched").resolve())
    assert only.samefile(name)


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("memory://nowhere", "it cannot be reached, or has no frames"),
        ("memory://night/d.fit", "there is no such file or folder"),
        ("unheardof://night/d.fit", "Protocol not known: unheardof"),
    ],
)
def test_what_is_not_there_is_told_in_a_line_and_leaves_no_folder(there, tmp_path, capsys, url, reason):
    assert cli.main(["mosaic", url, "-o", str(tmp_path / "out")]) == 2
    said = capsys.readouterr().err
    assert said.startswith(f"zemosaic-patch: {url}: {reason}")
    assert said.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_without_fsspec_it_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setattr("zemosaic_patch.fetched.importlib.util.find_spec", lambda name: None)
    with pytest.raises(UsageError, match=r"pip install 'zemosaic-patch\[cluster\]'"):
        fetch(["memory://night"], tmp_path, Quiet())
