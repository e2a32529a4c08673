# SPDX-License-Identifier: GPL-3.0-or-later
"""What Numba compiled is kept where it can be; where it cannot, or is damaged, a run goes on."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from nanstack.compilation import announce

numba = pytest.importorskip("numba", reason="Numba is missing")

MODULE = """
from nanstack.compilation import compiled, is_compiled

@compiled()
def twice(number):
    return 2 * number
"""
USE = """
import logging
logging.basicConfig(format="%(message)s")
import tiny
before = tiny.is_compiled(tiny.twice)
print(tiny.twice(3), before, sum(tiny.twice.stats.cache_hits.values()))
"""
WITHOUT_NUMBA = """
import logging, sys, threading
logging.basicConfig(format="%(message)s")
sys.modules["numba"] = None
import numpy as np
from nanstack.register.warp import warp
from nanstack.stack.stacker import stack_frames
from nanstack.stack.definition import Rejection
ready = threading.Barrier(8)
def work():
    ready.wait()
    warp(np.ones((9, 9), np.float32), np.eye(2, 3))
    stack_frames(np.ones((3, 9, 9), np.float32), Rejection())
threads = [threading.Thread(target=work) for _ in range(8)]
for thread in threads: thread.start()
for thread in threads: thread.join()
"""


@pytest.fixture
def use(tmp_path):
    """Return what calls a compiled function in a new process: (its output, what was said)."""
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "tiny.py").write_text(MODULE)
    places = {"PYTHONPATH": f"{tmp_path / 'code'}{os.pathsep}{Path(__file__).parents[2]}"}

    def use(begin="", **environment):
        done = subprocess.run(
            [sys.executable, "-c", begin + USE],
            capture_output=True,
            text=True,
            env={**os.environ, **places, **environment},
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.split(), done.stderr

    return use


@pytest.mark.parametrize(("suffix", "left"), [("nbi", b""), ("nbc", b""), ("nbc", b"no pickle")])
def test_what_is_damaged_is_compiled_again(use, tmp_path, suffix, left):
    kept = tmp_path / "kept"
    assert use(NUMBA_CACHE_DIR=str(kept)) == (["6", "False", "0"], "")
    for file in kept.glob(f"*/*.{suffix}"):
        file.write_bytes(left)
    out, said = use(NUMBA_CACHE_DIR=str(kept))
    assert out == ["6", str(suffix == "nbc"), "0"]  # its index tells of what is compiled
    assert "are damaged" in said
    assert len(said.splitlines()) == 1
    assert use(NUMBA_CACHE_DIR=str(kept)) == (["6", "True", "1"], "")


def test_a_folder_that_is_read_only_leaves_the_users(use, tmp_path):
    (tmp_path / "code" / "__pycache__").write_text("")  # as good as a folder that cannot be written to, for root, too
    users = {name: str(tmp_path / "users") for name in ("XDG_CACHE_HOME", "HOME", "LOCALAPPDATA", "USERPROFILE")}
    assert use(NUMBA_CACHE_DIR="", **users) == (["6", "False", "0"], "")
    assert list((tmp_path / "users").rglob("*.nbi"))
    assert use(NUMBA_CACHE_DIR="", **users) == (["6", "True", "1"], "")


def test_without_any_folder_it_is_compiled_in_each_run(use, tmp_path):
    for name in ("code/__pycache__", "users"):
        (tmp_path / name).write_text("")
    users = {name: str(tmp_path / "users") for name in ("XDG_CACHE_HOME", "HOME", "LOCALAPPDATA", "USERPROFILE")}
    for _ in range(2):
        out, said = use(NUMBA_CACHE_DIR="", **users)
        assert out == ["6", "False", "0"]
        assert said.startswith("no folder can keep compiled functions")
        assert len(said.splitlines()) == 1


@pytest.mark.skipif(os.name != "posix", reason="limits of this kind are POSIX's")
def test_a_full_disk_costs_the_next_run_time_alone(use, tmp_path):
    full = """
import resource, signal
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
"""
    out, said = use(full, NUMBA_CACHE_DIR=str(tmp_path / "kept"))
    assert out == ["6", "False", "0"]
    assert "cannot be kept" in said


def test_without_numba_that_is_said_once_whichever_thread_is_first():
    root = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", WITHOUT_NUMBA], capture_output=True, text=True, cwd=root, check=True)
    warped, stacked = sorted(done.stderr.splitlines(), key=lambda line: "stacked" in line)
    assert warped.startswith("Numba cannot be imported (import of numba halted")
    assert "): frames are warped by NumPy, some 10 times slower; python -m pip install" in warped
    assert stacked.startswith("Numba cannot be imported (import of numba halted")
    assert "): frames are stacked by NumPy, some 30 times slower; python -m pip install" in stacked


@pytest.mark.parametrize("raised", ["SystemError('no\\nmore')", "OSError('libllvm')", "AttributeError('np.bool')"])
def test_a_numba_that_is_broken_is_named_in_a_line_and_done_without(tmp_path, raised):
    (tmp_path / "numba").mkdir()
    (tmp_path / "numba" / "__init__.py").write_text(f"raise {raised}")
    root = Path(__file__).parents[2]
    code = WITHOUT_NUMBA.replace('sys.modules["numba"] = None', f"sys.path.insert(0, {str(tmp_path)!r})")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=root, check=True)
    assert len(done.stderr.splitlines()) == 2
    kind, told = raised.removesuffix("')").replace("\\nmore", "").split("('")
    assert all(line.startswith(f"Numba cannot be imported ({kind}: {told}): ") for line in done.stderr.splitlines())


def test_what_is_compiled_is_said_once_of_however_many_functions_it_consists(caplog):
    caplog.set_level("INFO")
    for function in (numba.njit(lambda: 1), numba.njit(lambda: 2)):
        announce(function, "thing of this test")
    assert [record.message for record in caplog.records].count(
        "compiling the thing of this test for this machine: some seconds, this once"
    ) == 1
