# SPDX-License-Identifier: GPL-3.0-or-later
"""How a command starts: what it loads and when, what it sets in its process, and Ctrl-C while it loads."""

import os
import signal
import subprocess
import sys
import time

import pytest

from tests.nanstack.survey.simulated import Scene, raw_file

TAKE_LONG = {"astropy", "cv2", "numba", "PIL", "jinja2", "reproject", "skimage", "sep", "astroalign"} | {
    f"scipy.{part}" for part in ("linalg", "ndimage", "sparse", "spatial", "special")
}
RUN = "import sys\nfrom zemosaic_patch.cli import main\ncode = main()\n"
STOP = """
import os, signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job ignores it
class Stopping:
    def find_spec(self, name, path=None, target=None):
        if name == os.environ["STOP_AT"]:
            os.kill(os.getpid(), signal.SIGINT)
sys.meta_path.insert(0, Stopping())
"""


@pytest.fixture(scope="module")
def frames(tmp_path_factory):
    folder = tmp_path_factory.mktemp("frames")
    for seed in range(3):
        raw_file(folder / f"{seed}.fit", Scene((160, 200), stars=20), seed=seed)
    return folder


def python(code, *words, **environment):
    """Run code in a process of its own, where the command line is words."""
    given = {name: value for name, value in os.environ.items() if name != "OPENBLAS_NUM_THREADS"}
    words = [sys.executable, "-c", code, *map(str, words)]
    return subprocess.run(words, capture_output=True, text=True, env=given | environment, timeout=120)


@pytest.mark.parametrize("words", [["--version"], ["--help"], []])
def test_a_word_about_the_commands_loads_no_library(words):
    code = f"import atexit, sys\natexit.register(lambda: print({TAKE_LONG | {'numpy'}} & set(sys.modules)))\n{RUN}"
    found = python(code, *words)
    assert found.stdout.splitlines()[-1] == "set()", found.stderr


@pytest.mark.parametrize(
    ("asked", "encoding"), [({}, "utf-8"), ({"PYTHONIOENCODING": "cp1252"}, "cp1252")], ids=["nothing", "cp1252"]
)
def test_what_goes_into_a_file_or_to_a_program_is_utf8_unless_it_is_asked_for_otherwise(asked, encoding):
    """The window reads so what a run tells; Windows, and an old locale, would have another one."""
    code = f"import sys\nsys.argv[1:] = ['tile', '.', '-o', 'x', '--kappa', 'd\\u2019\\xe9t\\xe9']\n{RUN}"
    given = {name: value for name, value in os.environ.items() if name != "PYTHONIOENCODING"}
    old = {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, env=given | old | asked, timeout=120)
    assert "d\u2019\xe9t\xe9" in found.stderr.decode(encoding)


def test_numpy_alone_is_loaded_before_the_first_frame_is_looked_at():
    code = "import sys, zemosaic_patch.mosaic_run, zemosaic_patch.tile_run\n"
    found = python(f"{code}print({TAKE_LONG | {'numpy'}} & set(sys.modules))")
    assert found.stdout == "{'numpy'}\n", found.stderr


def told_at_the_end(*words, **environment):
    """Return what is set when a command in its own process, with all its threads, has ended."""
    told = "print(gc.isenabled(), os.environ['OPENBLAS_NUM_THREADS'])"
    found = python(f"import atexit, gc, os\natexit.register(lambda: {told})\n{RUN}", *words, **environment)
    assert found.stdout, found.stderr
    return found.stdout.splitlines()[-1].split()


def test_a_run_in_its_own_process_collects_garbage_once_all_is_loaded_and_gives_blas_one_thread(frames, tmp_path):
    assert told_at_the_end("tile", frames, "-o", tmp_path / "out") == ["True", "1"]


def test_blas_gets_the_threads_that_the_user_has_set():
    assert told_at_the_end("--version", OPENBLAS_NUM_THREADS="3")[1] == "3"


def test_a_program_that_calls_a_command_keeps_what_it_has_set():
    code = "import gc, os\nfrom zemosaic_patch.cli import main\nmain(['info'])\n"
    found = python(f"{code}print(gc.isenabled(), gc.get_freeze_count(), os.environ.get('OPENBLAS_NUM_THREADS'))")
    assert found.stdout.splitlines()[-1] == "True 0 None", found.stderr


def test_a_program_that_collects_no_garbage_collects_none_after_a_command():
    code = "import gc\nfrom zemosaic_patch.cli import main\ngc.disable()\nprint(main(['demo', '--frames', '1']))\n"
    found = python(f"{code}print(gc.isenabled(), gc.get_freeze_count())")
    assert found.stdout.split() == ["2", "False", "0"], found.stderr


@pytest.mark.skipif(os.name != "posix", reason="signals are POSIX's")
@pytest.mark.parametrize("moment", ["numpy", "zemosaic_patch.stack_run", "scipy.spatial"])
def test_ctrl_c_while_libraries_are_loaded_ends_in_a_line(frames, tmp_path, moment):
    found = python(f"{STOP}{RUN}sys.exit(code)", "tile", frames, "-o", tmp_path / "out", STOP_AT=moment)
    began = moment == "scipy.spatial"
    assert found.stderr == f"zemosaic-patch: stopped by the user{'; nothing was changed' if began else ''}\n"
    assert found.returncode in (130, -signal.SIGINT)  # a shell says 130 of either
    assert not (tmp_path / "out").exists()


@pytest.mark.skipif(os.name != "posix", reason="signals are POSIX's")
def test_ctrl_c_before_the_command_line_is_looked_at_ends_in_a_line():
    code = f"{STOP}from zemosaic_patch.__main__ import main\nsys.exit(main())"
    found = python(code, "info", STOP_AT="zemosaic_patch.process")
    assert (found.returncode, found.stderr) == (130, "zemosaic-patch: stopped by the user\n")


SLOW = """
import signal, sys, threading, time
signal.signal(signal.SIGINT, signal.default_int_handler)
from zemosaic_patch import cli
def run(words):
    try:
        print("at work", flush=True)
        time.sleep(60)
    finally:
        print("clearing up", flush=True)
        if words == ["slowly"]:
            time.sleep(60)
        else:
            threading.Thread(target=time.sleep, args=(60,)).start()  # the end of the process waits for it
cli._run = run
code = cli.main()
print("at the end", flush=True)
sys.exit(code)
"""


@pytest.mark.skipif(os.name != "posix", reason="signals are POSIX's")
@pytest.mark.parametrize(("word", "until"), [("slowly", "clearing up"), ("then waits", "at the end")])
def test_ctrl_c_once_more_ends_it_at_once(word, until):
    child = subprocess.Popen(
        [sys.executable, "-c", SLOW, word], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert child.stdout.readline() == "at work\n"
    child.send_signal(signal.SIGINT)
    while child.stdout.readline() != f"{until}\n":
        pass
    time.sleep(0.4)
    child.send_signal(signal.SIGINT)
    _, err = child.communicate(timeout=10)
    assert child.returncode == 130
    assert "Traceback" not in err
    assert err.endswith("zemosaic-patch: stopped by the user, at once\n")
