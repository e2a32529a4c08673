# SPDX-License-Identifier: GPL-3.0-or-later
"""Files out: complete or not there, and as open to others as the user's umask says."""

import os
import stat
import subprocess
import sys
import tempfile
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from nanstack.io import files
from nanstack.io.files import complete_file, digest, is_in_use, remove, temporary_folder, work_folder

MODE = """
import os, stat, sys
from pathlib import Path
from nanstack.io.files import complete_file
os.umask(int(sys.argv[1], 8))
with complete_file(Path(sys.argv[2])) as temporary:
    temporary.write_bytes(b"x")
print(oct(stat.S_IMODE(os.stat(sys.argv[2]).st_mode)))
"""


@pytest.mark.skipif(os.name != "posix", reason="Windows has no umask")
def test_the_processs_umask_is_never_set(tmp_path, monkeypatch):
    """It is the whole process's: set and reset by several threads it can be left at 0."""
    asked = []
    monkeypatch.setattr(os, "umask", lambda mask: asked.append(mask) or 0o22)

    def write(number):
        with complete_file(tmp_path / str(number)) as temporary:
            temporary.write_bytes(b"x")

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(write, range(20)))
    assert asked == []


@pytest.mark.skipif(os.name != "posix", reason="Windows has no umask")
@pytest.mark.parametrize(("mask", "mode"), [("022", 0o644), ("077", 0o600), ("002", 0o664)])
def test_a_file_is_as_open_as_the_umask_says(tmp_path, mask, mode):
    said = subprocess.run(
        [sys.executable, "-c", MODE, mask, str(tmp_path / "out")], capture_output=True, text=True, check=True
    ).stdout
    assert int(said, 8) == stat.S_IMODE(mode)


def test_a_digest_is_of_all_bytes(tmp_path):
    path = tmp_path / "a"
    path.write_bytes(bytes(3 * 2**20) + b"end")
    first = digest(path)
    with open(path, "r+b") as file:
        file.seek(2**20 + 7)
        file.write(b"!")
    assert digest(path) != first
    with open(path, "r+b") as file:
        file.seek(2**20 + 7)
        file.write(b"\0")
    assert digest(path) == first


def test_temporary_files_are_found_from_any_folder(tmp_path, monkeypatch):
    """Programs that are started have current folders of their own, and the output's folder may be named from ours."""
    monkeypatch.chdir(tmp_path)
    with work_folder(Path("out")):
        assert Path(tempfile.gettempdir()).is_absolute()
        assert Path(tempfile.gettempdir()).is_relative_to(tmp_path / "out")


# --- as on Windows, where a file that a program has open is neither replaced nor removed ------------------------------


def test_a_file_appears_as_soon_as_its_former_one_is_closed(tmp_path, as_windows):
    path = tmp_path / "out"
    path.write_bytes(b"before")
    reader = open(path, "rb")  # noqa: SIM115  (closed while the new one waits)
    closing = threading.Timer(0.3, reader.close)
    closing.start()
    with complete_file(path) as temporary:
        temporary.write_bytes(b"after")
    closing.join()
    assert path.read_bytes() == b"after"
    assert [one.name for one in tmp_path.iterdir()] == ["out"]


def test_a_file_that_stays_open_stays_and_leaves_nothing_beside_it(tmp_path, as_windows, monkeypatch):
    monkeypatch.setattr(files, "PATIENCE_S", 0.1)
    path = tmp_path / "out"
    path.write_bytes(b"before")
    with open(path, "rb") as reader:
        with pytest.raises(PermissionError) as refused, complete_file(path) as temporary:
            temporary.write_bytes(b"after")
        assert is_in_use(refused.value)
        remove(path)
        assert reader.read() == b"before"
    assert [one.name for one in tmp_path.iterdir()] == ["out"]
    remove(path)
    assert not path.exists()


def test_what_is_refused_for_another_reason_is_tried_once(tmp_path):
    asked = []

    def refused(path):
        asked.append(path)
        os.rmdir(path)

    with pytest.raises(FileNotFoundError):
        files.patiently(refused, tmp_path / "nothing")
    assert asked == [tmp_path / "nothing"]


def test_a_temporary_folder_whose_file_is_open_does_no_harm(tmp_path, as_windows):
    with temporary_folder("night-", tmp_path) as folder:
        (folder / "closed").write_bytes(b"")
        reader = open(folder / "open", "wb")  # noqa: SIM115  (closed below)
    assert [one.name for one in folder.iterdir()] == ["open"]
    reader.close()
    with work_folder(tmp_path / "out") as work, temporary_folder() as folder:
        assert folder.is_relative_to(work)
    assert not folder.exists()
