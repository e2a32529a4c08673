# SPDX-License-Identifier: GPL-3.0-or-later
"""Frames at URLs become files in the output's folder, each whole; what cannot be fetched costs a line."""

import http.server
import sys
import time
from contextlib import nullcontext

import pytest

pytest.importorskip("fsspec", reason="the extra 'cluster' is not installed")
import fsspec

from nanstack.progress import Quiet
from tests.support.as_windows.strict_files import refuses_marks
from tests.support.servers import accepting, nobody, serving
from tests.support.told import Told
from zemosaic_patch import cli, file_systems
from zemosaic_patch.errors import FailureError, UsageError
from zemosaic_patch.fetched import fetch
from zemosaic_patch.given import find_frames

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
    with pytest.raises(
        FailureError, match=r"memory://night/a\.fit: the server does not answer \(the other end is gone"
    ):
        fetch(["memory://night/a.fit"], tmp_path / "fetched", Quiet())
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


@pytest.mark.parametrize(
    "path",
    [
        "memory://night/../../../../up/a.fit", "memory://night/%2e%2e/a:b.fit", "memory://night/aux.fit",
        "memory://night/ends. /with/com1/a b.fit",
    ],
)  # fmt: skip
def test_no_name_leads_out_of_the_folder_or_is_refused_by_windows(there, tmp_path, as_windows, path):
    there.pipe(path.removeprefix("memory:/"), b"far")
    (name,) = fetch([path], tmp_path / "fetched", Quiet())
    (only,) = (one for one in tmp_path.rglob("*") if one.is_file())
    assert only.resolve().is_relative_to((tmp_path / "fetched").resolve())
    assert only.samefile(name)


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("memory://nowhere", "there is no such file or folder"),
        ("memory://night/d.fit", "there is no such file or folder"),
        ("memory://night/d*.fit", "no frames there"),
        ("unheardof://night/d.fit", "no kind of URL is called unheardof"),
        ("file://night/d.fit", "it names no file of this machine: write file:///"),
    ],
)
def test_what_is_not_there_is_told_in_a_line_and_leaves_no_folder(there, tmp_path, capsys, url, reason):
    assert cli.main(["mosaic", url, "-o", str(tmp_path / "out")]) == 2
    said = capsys.readouterr().err
    assert said.startswith(f"zemosaic-patch: {url}: {reason}")
    assert said.count("\n") == 1
    assert not (tmp_path / "out").exists()


# --- servers ----------------------------------------------------------------------------------------------------------


def refused(capsys, url, *options):
    code = cli.main(["mosaic", url, *map(str, options)])
    (line,) = capsys.readouterr().err.splitlines()
    return code, line.removeprefix(f"zemosaic-patch: {url}: ")


@pytest.mark.parametrize("path", ["a.fit", "night/", "night/*.fit"])
@pytest.mark.parametrize("there", [nobody, accepting])
def test_a_server_that_does_not_answer_is_told_so_in_a_line(tmp_path, capsys, monkeypatch, there, path):
    pytest.importorskip("aiohttp")
    monkeypatch.setattr(file_systems, "ANSWER_S", 1.0)
    monkeypatch.setattr(file_systems.in_time, "__defaults__", (1.0, file_systems.in_time.__defaults__[1]))
    with nullcontext(there()) if there is nobody else there() as place:
        code, line = refused(capsys, f"http://{place}/{path}", "-o", tmp_path / "out")
    assert code == 1
    assert line.startswith("the server does not answer (")
    assert not (tmp_path / "out").exists()


class Broken(http.server.SimpleHTTPRequestHandler):
    """Says how long a file is, sends a part of it, and no more; other paths it refuses."""

    def do_GET(self):
        if not self.path.endswith("half.fit"):
            self.send_error(403)
            return
        self.send_response(200)
        self.send_header("Content-Length", "100000")
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(b"SIMPLE")
            self.wfile.flush()
            time.sleep(3)

    do_HEAD = do_GET


@pytest.mark.parametrize(
    ("path", "code", "reason"),
    [
        ("half.fit", 1, "the server does not answer ("),
        ("closed.fit", 1, "the server refuses it (403 Forbidden)"),
    ],
)
def test_what_breaks_off_or_is_refused_is_told_and_leaves_nothing(tmp_path, capsys, monkeypatch, path, code, reason):
    pytest.importorskip("aiohttp")
    monkeypatch.setattr(file_systems.in_time, "__defaults__", (1.0, file_systems.in_time.__defaults__[1]))
    with serving(tmp_path, Broken) as place:
        found, line = refused(capsys, f"http://{place}/{path}", "-o", tmp_path / "out")
    assert (found, line[: len(reason)]) == (code, reason)
    assert refuses_marks() or not (tmp_path / "out").exists(), "Windows keeps a file that is still written to"


@pytest.mark.parametrize("url", ["a.fit", "", "*.fit"])
def test_a_web_server_s_frames_are_fetched(tmp_path, url):
    pytest.importorskip("aiohttp")
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "a.fit").write_bytes(b"first")
    with serving(tmp_path / "there") as place:
        (name,) = fetch([f"http://{place}/{url}"], tmp_path / "fetched", Quiet())
    with open(name, "rb") as file:
        assert file.read() == b"first"


@pytest.mark.parametrize(
    ("url", "package"),
    [("http://h/a.fit", "'fsspec[http]'"), ("s3://b/a", "'fsspec[s3]'"), ("hf://b/a", "huggingface")],
)
def test_a_package_that_a_kind_of_url_lacks_is_named(tmp_path, capsys, monkeypatch, url, package):
    for name in ("aiohttp", "s3fs", "huggingface_hub"):
        monkeypatch.setitem(sys.modules, name, None)  # as if it were not installed
    for name in ("fsspec.implementations.http", "s3fs", "huggingface_hub.hf_file_system"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    for kind in ("http", "s3", "hf"):
        monkeypatch.delitem(sys.modules["fsspec.registry"]._registry, kind, raising=False)  # loaded by another test
    monkeypatch.setattr("zemosaic_patch.file_systems.find_spec", lambda name: None)
    code, line = refused(capsys, url, "-o", tmp_path / "out")
    assert code == 2
    assert f"python -m pip install {package}" in line


def test_a_url_of_a_file_is_a_path_in_every_command(tmp_path, capsys):
    folder = tmp_path / "two words"
    folder.mkdir()
    (folder / "a.fit").write_bytes(b"no frame")
    for name in (folder.as_uri(), f"{folder.as_uri()}/*.fit", folder.as_uri().replace("///", "//localhost/")):
        assert [str(path) for path in find_frames([name], None).paths] == [str(folder / "a.fit")]
    with pytest.raises(UsageError, match="only the command mosaic fetches"):
        find_frames(["https://h/a.fit"], None)


def test_without_fsspec_it_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setattr("zemosaic_patch.fetched.importlib.util.find_spec", lambda name: None)
    with pytest.raises(UsageError, match=r"pip install 'zemosaic-patch\[cluster\]'"):
        fetch(["memory://night"], tmp_path, Quiet())
