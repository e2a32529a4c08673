# SPDX-License-Identifier: GPL-3.0-or-later
"""The packaged program, where no Python is: `make app`, then `python -m pytest -m app`."""

import http.cookiejar
import os
import re
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from tests.support.pointings import data_of, write_pointings
from tests.support.small_zemosaic import tree, zemosaic
from zemosaic_patch import installed_version
from zemosaic_patch.own_command import own_command

FOLDER = Path(__file__).parent.parent / "dist" / "zemosaic-patch"
PROGRAM = FOLDER / ("zemosaic-patch.exe" if os.name == "nt" else "zemosaic-patch")
OF_WINDOWS = ("SYSTEMROOT", "SYSTEMDRIVE", "TEMP", "TMP")  # which nothing starts without
STARTS_S = 60

pytestmark = pytest.mark.app


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def environment(home):
    """That of a user who has nothing installed."""
    kept = {name: os.environ[name] for name in OF_WINDOWS if name in os.environ}
    own = ("HOME", "USERPROFILE", "LOCALAPPDATA", "XDG_CACHE_HOME", "XDG_STATE_HOME")
    return {**kept, **dict.fromkeys(own, str(home)), "PATH": ""}


@pytest.fixture(scope="module")
def run(environment, home):
    def run(*words, **more):
        ended = subprocess.run(
            [PROGRAM, *map(str, words)], env={**environment, **more}, cwd=home, capture_output=True, text=True
        )
        assert ended.returncode == 0, ended.stderr
        return ended

    return run


def test_it_is_the_command(run):
    assert run("--version").stdout.split() == ["zemosaic-patch", installed_version()]


def test_it_makes_the_same_mosaic_and_keeps_what_it_compiled_with_the_user(run, home):
    before = {path for path in FOLDER.rglob("*") if path.suffix != ".pyc"}
    write_pointings(home / "frames")
    words = ("mosaic", home / "frames", "-o", home / "out")
    assert "compiling" in run(*words, "--hips").stderr
    other = home / "other"
    subprocess.run(own_command("mosaic", str(home / "frames"), "-o", str(other)), check=True)
    assert (home / "out" / "mosaic.fits").read_bytes() == (other / "mosaic.fits").read_bytes()
    assert data_of(home / "out") == data_of(other)
    assert list((home / "out" / "hips").glob("Norder3/*/*.png"))
    assert "compiling" not in run(*words, "--overwrite").stderr, "once on a machine"
    assert {path for path in FOLDER.rglob("*") if path.suffix not in (".pyc", "")} <= before, "its folder is as it was"
    assert any(path.suffix == ".nbi" for path in home.rglob("*"))


def test_it_patches_a_zemosaic(run, home):
    folder = zemosaic(home / "zemosaic")
    before = tree(folder)
    run("apply", folder, "--accept-unknown")
    assert list(folder.rglob("numba_kernels.py")), "with sources that ZeMosaic's own Python can read"
    run("check", folder)
    run("revert", folder)
    assert tree(folder) == before


@pytest.mark.skipif(sys.platform != "linux", reason="others load libraries by no such variable")
@pytest.mark.parametrize("value", [{}, {"LD_LIBRARY_PATH": "/theirs"}])
def test_other_programs_load_their_own_libraries(environment, home, value):
    programs, told = home / "programs", home / "told"
    programs.mkdir(exist_ok=True)
    (programs / "git").write_text(f'#!/bin/sh\necho "{{$LD_LIBRARY_PATH}}" > {told}\nexit 1\n', encoding="utf-8")
    (programs / "git").chmod(0o755)
    words = [PROGRAM, "export", home, "--for", "HEAD", "-o", home / "fix.patch"]
    subprocess.run(words, env={**environment, "PATH": str(programs), **value}, capture_output=True)
    assert told.read_text(encoding="utf-8").strip() == "{" + value.get("LD_LIBRARY_PATH", "") + "}"


def test_without_a_word_it_serves_the_window(environment, home):
    """Here without a browser, as none is in the way of the test."""
    with subprocess.Popen([PROGRAM], env=environment, cwd=home, stdout=subprocess.PIPE, text=True) as window:
        try:
            address = re.search(r"http://127\.0\.0\.1:\d+/\S*", window.stdout.readline())[0]
            cookies = urllib.request.HTTPCookieProcessor(http.cookiejar.CookieJar())
            assert b"<html" in _answer(urllib.request.build_opener(cookies), address)
        finally:
            window.terminate()


def _answer(opener, address):
    """Return what a server answers, which may not listen yet."""
    until = time.monotonic() + STARTS_S
    while True:
        try:
            return opener.open(address, timeout=STARTS_S).read()
        except urllib.error.URLError:
            if time.monotonic() > until:
                raise
            time.sleep(0.1)
