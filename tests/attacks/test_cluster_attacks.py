# SPDX-License-Identifier: GPL-3.0-or-later
"""Workers as the enemy: killed again and again, stopped without a word, ended with the run; a scheduler that goes.

They take long, so they are skipped unless ``ZEMOSAIC_PATCH_ATTACKS=1``. A short form is in `test_cluster.py`.
"""

import os
import random
import signal
import subprocess
import sys
import time

import psutil
import pytest

pytest.importorskip("distributed", reason="the extra 'cluster' is not installed")
from tests.support.pointings import write_pointings

pytestmark = [
    pytest.mark.skipif(os.name != "posix", reason="signals and limits of this kind are POSIX's"),
    pytest.mark.skipif(not os.environ.get("ZEMOSAIC_PATCH_ATTACKS"), reason="takes long: ZEMOSAIC_PATCH_ATTACKS=1"),
]
PICTURES = ("mosaic.fits", "mosaic.png", "coverage.png")
TTL = """
import sys
from zemosaic_patch import cli, cluster
cluster.WORKER_TTL = "6 s"
sys.exit(cli.main())
"""


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cluster")
    write_pointings(folder / "frames")
    run = started("mosaic", folder / "frames", "-o", folder / "out")
    assert run.wait(300) == 0
    return folder


def started(*words, code=None):
    program = ["-m", "zemosaic_patch"] if code is None else ["-c", code]
    return subprocess.Popen(
        [sys.executable, *program, *map(str, words)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )  # fmt: skip


def workers_of(run):
    """Return the processes of the workers that a run has started."""
    children = psutil.Process(run.pid).children() if run.poll() is None else []
    return [one for one in children if "spawn_main" in " ".join(one.cmdline())]


def wait_for(what, run, seconds=120):
    until = time.monotonic() + seconds
    while not what():
        assert run.poll() is None, run.stdout.read()
        assert time.monotonic() < until
        time.sleep(0.05)


def same(one, other):
    return all((one / name).read_bytes() == (other / name).read_bytes() for name in PICTURES)


def nothing_left(out):
    return not [path for path in out.rglob("*") if ".partial" in path.name or path.name == ".work"]


def test_a_worker_killed_every_few_seconds_changes_no_byte(original, tmp_path):
    out = tmp_path / "out"
    run = started("mosaic", original / "frames", "-o", out, "--scheduler", "local")
    wait_for(lambda: list(out.glob("surveys/*.npz")), run)
    killed = 0
    while run.poll() is None and killed < 20:
        for worker in random.sample(workers_of(run), k=min(1, len(workers_of(run)))):
            worker.kill()
            killed += 1
        time.sleep(5)
    assert run.wait(300) == 0
    assert killed > 1
    assert same(out, original / "out")
    assert nothing_left(out)


def test_workers_that_all_die_as_they_begin_are_started_anew(original, tmp_path):
    out = tmp_path / "out"
    run = started("mosaic", original / "frames", "-o", out, "--scheduler", "local")
    wait_for(lambda: list(out.glob("surveys/*.npz")), run)
    until = time.monotonic() + 5
    while time.monotonic() < until:
        for worker in workers_of(run):
            worker.kill()
        time.sleep(0.2)
    assert run.wait(300) == 0
    assert same(out, original / "out")


@pytest.mark.parametrize("stage", ["surveys/*.npz", "cells/cell_*.npz"])
def test_what_a_worker_that_never_answers_had_in_hand_is_done_elsewhere(original, tmp_path, stage):
    out = tmp_path / "out"
    run = started("mosaic", original / "frames", "-o", out, "--scheduler", "local", code=TTL)
    wait_for(lambda: list(out.glob(stage)), run)
    for worker in workers_of(run)[:1]:
        worker.suspend()
    assert run.wait(300) == 0
    assert same(out, original / "out")
    assert nothing_left(out)


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGKILL"])
@pytest.mark.parametrize("stage", ["surveys/*.npz", "cells/cell_*.npz"])
def test_with_a_run_go_its_workers_and_it_can_be_resumed(original, tmp_path, name, stage):
    out = tmp_path / "out"
    run = started("mosaic", original / "frames", "-o", out, "--scheduler", "local")
    wait_for(lambda: list(out.glob(stage)), run)
    workers = psutil.Process(run.pid).children(recursive=True)
    run.send_signal(getattr(signal, name))
    assert run.wait(60) == {"SIGINT": 130, "SIGTERM": 143, "SIGKILL": -9}[name]
    assert "Traceback" not in run.stdout.read()
    assert not psutil.wait_procs(workers, timeout=20)[1]
    assert started("mosaic", original / "frames", "-o", out, "--resume", "--scheduler", "local").wait(300) == 0
    assert same(out, original / "out")
    assert nothing_left(out)


@pytest.fixture
def scheduler(tmp_path):
    """A scheduler and two workers, started by hand."""
    file, own = (
        tmp_path / "scheduler.json",
        {"cwd": tmp_path, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL},
    )
    begin = [sys.executable, "-m", "distributed.cli.dask_scheduler", "--port", "0", "--no-dashboard"]
    first = subprocess.Popen([*begin, "--scheduler-file", file], **own)
    workers = [
        sys.executable,
        "-m",
        "distributed.cli.dask_worker",
        "--nworkers",
        "2",
        "--nthreads",
        "1",
        "--no-dashboard",
    ]
    others = subprocess.Popen([*workers, "--scheduler-file", file, "--resources", "memory=2e9"], **own)
    yield first, file
    for process in (others, first):
        process.send_signal(signal.SIGINT)
        process.wait(60)


def address_in(file):
    import json

    until = time.monotonic() + 60
    while not file.exists() or not file.read_text():
        assert time.monotonic() < until
        time.sleep(0.1)
    return json.loads(file.read_text())["address"]


def test_a_scheduler_that_goes_is_told_in_a_line_and_the_run_can_be_resumed(original, tmp_path, scheduler):
    out, address = tmp_path / "out", address_in(scheduler[1])
    run = started("mosaic", original / "frames", "-o", out, "--scheduler", address)
    wait_for(lambda: list(out.glob("cells/cell_*.npz")), run)
    scheduler[0].kill()
    assert run.wait(120) == 1
    lines = run.stdout.read().splitlines()
    assert lines[-1].startswith("zemosaic-patch: the scheduler is gone")
    assert not [line for line in lines if "Traceback" in line]
    assert started("mosaic", original / "frames", "-o", out, "--resume").wait(300) == 0
    assert same(out, original / "out")


def test_a_cluster_started_by_hand_gives_the_bytes_of_a_plain_run_twice(original, tmp_path, scheduler):
    address = address_in(scheduler[1])
    for out in (tmp_path / "one", tmp_path / "two"):
        run = started("mosaic", original / "frames", "-o", out, "--scheduler", address)
        assert run.wait(300) == 0, run.stdout.read()
        assert same(out, original / "out")
