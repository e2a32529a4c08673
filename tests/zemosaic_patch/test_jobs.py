# SPDX-License-Identifier: GPL-3.0-or-later
"""Jobs in processes: one that fails or dies costs itself alone."""

import os
import signal
import tempfile
import time
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest

from nanstack import memory
from zemosaic_patch.jobs import JobError, run_jobs, workers_for


def work(job, tell):
    """Do what a job says: here, as a new process imports it from this module."""
    kind, value = job
    if kind == "fail":
        raise JobError(f"{value} cannot be done")
    if kind == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    if kind == "scratch":
        with open(tempfile.mkstemp()[1], "w"):
            time.sleep(value)
    if kind == "memory":
        raise MemoryError
    if kind == "share":
        return memory.threads(), os.environ["NUMBA_NUM_THREADS"], tempfile.gettempdir()
    tell("half", value)
    return os.getpid(), 2 * value


def run(jobs, folder, workers=2):
    told = []
    outcomes = list(run_jobs(work, jobs, workers, folder, lambda *what: told.append(what)))
    return {outcome.index: outcome for outcome in outcomes}, told


def children():
    return [child for child in psutil.Process().children(recursive=True) if "spawn_main" in " ".join(child.cmdline())]


@pytest.mark.skipif(os.name != "posix", reason="Windows has no SIGKILL")
def test_what_fails_or_dies_costs_itself_alone(tmp_path):
    jobs = [("double", 1), ("fail", "this"), ("die", None), ("memory", None), ("double", 2), ("double", 3)]
    outcomes, told = run(jobs, tmp_path)
    assert {index: outcome.result[1] for index, outcome in outcomes.items() if not outcome.error} == {0: 2, 4: 4, 5: 6}
    assert outcomes[1].error == "this cannot be done"
    assert "ended with code -9" in outcomes[2].error
    assert outcomes[3].error == "there is not enough memory"
    assert sorted(told) == [(0, "half", 1), (4, "half", 2), (5, "half", 3)]
    assert children() == []


def test_workers_are_kept_and_share_the_machine(tmp_path):
    outcomes, _ = run([("double", 1), ("double", 2), ("double", 3)], tmp_path, workers=1)
    assert len({outcome.result[0] for outcome in outcomes.values()}) == 1
    outcomes, _ = run([("share", None)] * 2, tmp_path, workers=2)
    share = max(1, (os.cpu_count() or 1) // 2)
    assert all(outcome.result == (share, str(share), str(tmp_path)) for outcome in outcomes.values())
    outcomes, _ = run([("share", None)], tmp_path, workers=8)  # those that have nothing to do take no share
    assert outcomes[0].result[0] == (os.cpu_count() or 1)


@pytest.mark.parametrize(
    ("jobs", "processors", "gibibytes", "workers"),
    [(3, 8, 64, 3), (20, 8, 64, 8), (20, 8, 4, 3), (20, 8, 0.5, 1), (20, None, 64, 1), (0, 8, 64, 1)],
)
def test_no_more_workers_than_jobs_processors_and_memory_for_them(monkeypatch, jobs, processors, gibibytes, workers):
    monkeypatch.setattr(os, "cpu_count", lambda: processors)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=int(gibibytes * 2**30)))
    assert workers_for(jobs) == workers


def test_a_caller_who_leaves_leaves_no_process(tmp_path):
    running = run_jobs(work, [("double", 1), ("scratch", 60), ("scratch", 60)], 2, tmp_path, lambda *what: None)
    assert next(running).result[1] == 2
    deadline = time.monotonic() + 20
    while not list(Path(tmp_path).iterdir()) and time.monotonic() < deadline:
        time.sleep(0.05)
    running.close()
    assert children() == []
