# SPDX-License-Identifier: GPL-3.0-or-later
"""The check for a machine with a GPU, rehearsed without one."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parent.parent / "benchmarks"


@pytest.fixture
def check(monkeypatch, tmp_path):
    """The module of the check; its results go to a folder of the test."""
    monkeypatch.syspath_prepend(BENCHMARKS)
    import gpu_check

    monkeypatch.setattr(gpu_check, "RESULTS", tmp_path / "results")
    monkeypatch.setattr(gpu_check.gpu_packages, "missing", list)
    monkeypatch.setenv("OUT", str(tmp_path / "handed back"))
    return gpu_check


def results(tmp_path):
    kept, back = ((tmp_path / name / "gpu.json").read_text() for name in ("results", "handed back"))
    assert kept == back
    return json.loads(kept)


def test_benchmark_measures_everything_on_both_sides(tmp_path):
    output = tmp_path / "gpu.json"
    command = [sys.executable, BENCHMARKS / "gpu.py", "--quick", "--xp", "numpy", "-o", output]
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    found = json.loads(output.read_text())
    stacks = [row for row in found["rows"] if row["what"].startswith("stack")]
    (tile,) = (row for row in found["rows"] if row["what"].startswith("tile"))
    assert [row["n"] for row in stacks if row["what"] == "stack, winsor"] == [10, 30, 100, 300]
    assert len({row["what"] for row in stacks}) == 5
    for row in stacks:
        times = ("cpu_s", "gpu_s", "cpu_ns", "gpu_ns", "upload_ns", "compute_ns", "download_ns", "first_s")
        assert all(row[name] > 0 for name in times)
        assert row["cpu_ns"] == pytest.approx(1e9 * row["cpu_s"] / (row["n"] * row["height"] * row["width"] * 3))
    assert (tile["by"], tile["same"]) == ("gpu", True)
    assert min(tile["cpu_s"], tile["gpu_s"]) > 0
    assert all(row["same"] for row in found["rows"])
    assert done.stdout.strip() == found["table"]
    assert len(found["table"].splitlines()) == 2 + len(found["rows"])


@pytest.mark.parametrize("script", ["gpu.py", "gpu_check.py", "load.py", "mosaic.py", "run.py"])
def test_every_benchmark_starts(script):
    done = subprocess.run([sys.executable, BENCHMARKS / script, "--help"], capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("usage:")


def test_what_the_check_writes_stays_in_the_tree(check):
    program = "import os, tempfile; print(tempfile.gettempdir(), os.environ['NUMBA_CACHE_DIR'], sep='|')"
    _, said = check.run("places", [sys.executable, "-c", program], 60.0)
    assert all(Path(place).is_relative_to(BENCHMARKS.parent / "build") for place in said.strip().split("|"))


def test_without_a_device_it_says_so_and_fails(check, monkeypatch, tmp_path, capsys):
    (tmp_path / "cupy.py").write_text("raise ImportError('libcudart.so.13: cannot open shared object file')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    assert check.main([]) == 1
    said = capsys.readouterr().out
    assert "no GPU: CuPy cannot be imported (libcudart.so.13" in said
    assert "pip install cupy-cuda13x" in said
    assert results(tmp_path)["verdict"] == "no GPU"


def test_verdict_needs_tests_that_ran_on_the_device(check, monkeypatch, tmp_path, capsys):
    def run(name, command, limit_s):
        if name == "tests":
            events = [event(file, "test_a[cupy-1]", "passed") for file in check.TESTS]
            write_log(Path(command[command.index("--report-log") + 1]), events[:number_of_files])
        if name == "benchmarks":
            row = {"what": "stack", "n": 3, "same": same}
            Path(command[command.index("-o") + 1]).write_text(json.dumps({"rows": [row]}))
        return check.Part(name, 1.0, limit_s, code, ""), '{"fault": null}'

    monkeypatch.setattr(check, "run", run)
    number_of_files, same, code = len(check.TESTS), True, 0
    assert check.main([]) == 0
    assert results(tmp_path)["verdict"] == "passed"
    number_of_files = 1
    assert check.main([]) == 1
    assert "no test of test_gpu_faults.py ran on the device" in capsys.readouterr().out
    number_of_files, same = len(check.TESTS), False
    assert check.main([]) == 1
    assert "stack, n = 3: the GPU's is not the CPU's" in capsys.readouterr().out


def event(file, test, outcome, when="call", reason=None):
    crash = {"reprcrash": {"message": reason}} if reason else None
    return {
        "$report_type": "TestReport",
        "nodeid": f"tests/nanstack/stack/{file}::{test}",
        "outcome": outcome,
        "when": when,
        "longrepr": crash,
    }


def write_log(path, events):
    path.write_text("".join(json.dumps(line) + "\n" for line in events))


def test_tests_are_counted_also_of_a_run_that_was_stopped(check, tmp_path):
    name = check.TESTS[1]
    events = [
        {"pytest_version": "9", "$report_type": "SessionStart"},
        event(name, "test_a[cupy, definition-1]", "passed", when="setup"),
        event(name, "test_a[cupy, definition-1]", "passed"),
        event(name, "test_b[winsor-cupy]", "passed"),
        event(name, "test_cupy_halves[winsor]", "passed"),
        event(name, "test_without_a_working_cupy[missing]", "passed"),
        event(name, "test_a[numpy-1]", "failed", reason="assert 1 == 2"),
        event(name, "test_a[stand-in-1]", "skipped", when="setup"),
    ]
    write_log(tmp_path / "log", events)
    with open(tmp_path / "log", "a") as log:
        log.write('{"nodeid": "tests/nansta')
    found = {file.name: file for file in check.read_tests(tmp_path / "log")}
    assert list(found) == list(check.TESTS)
    failures = (f"{name}::test_a[numpy-1]: assert 1 == 2",)
    assert found[name] == check.FileOfTests(name, passed=4, failed=1, skipped=1, on_device=3, failures=failures)
    assert check.read_tests(tmp_path / "none")[0] == check.FileOfTests(check.TESTS[0])


def test_part_is_stopped_at_its_limit_with_what_it_started(check):
    program = "import subprocess, sys, time; subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)']); "
    part, said = check.run("slow", [sys.executable, "-c", program + "print('here', flush=True); time.sleep(60)"], 2.0)
    assert part.code is None
    assert part.seconds < 20
    assert said == "here\n"
    assert part.problem() == "slow: stopped after 2 s"


def test_old_pythons_need_what_newer_ones_bring(check):
    old, new = ({package.name for package in check.gpu_packages.needed(version)} for version in ("3.10", "3.12"))
    assert old - new == set(check.gpu_packages.OF_OLD_PYTHON)
