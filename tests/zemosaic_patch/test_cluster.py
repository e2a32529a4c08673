# SPDX-License-Identifier: GPL-3.0-or-later
"""`mosaic --scheduler`: the bytes of a plain run, whatever happens to workers, and a line where they cannot be used."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import nullcontext
from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("distributed", reason="the extra 'cluster' is not installed")
import cloudpickle
from distributed import LocalCluster

from nanstack.io.frames import FrameError
from tests.support.nights import night, sky_of_stars, turns
from tests.support.servers import accepting, serving
from tests.support.told import Told
from zemosaic_patch import cli, cluster
from zemosaic_patch.cluster import unlike
from zemosaic_patch.errors import FailureError, UsageError

RUN_FACTS = ("seconds",)  # of mosaic.json
PLAIN = """
import sys
from zemosaic_patch.cli import main
code = main(sys.argv[1:])
loaded = {name.partition(".")[0] for name in sys.modules} & {"dask", "distributed", "tornado"}
sys.exit(code or ("loaded: " + ", ".join(loaded) if loaded else 0))
"""


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    """Frames, and the mosaic that a run without a cluster makes of them, in a process of its own."""
    folder = tmp_path_factory.mktemp("plain")
    night(folder / "frames", sky_of_stars(3), turns(5, seed=4))
    command = [sys.executable, "-c", PLAIN, "mosaic", str(folder / "frames"), "-o", str(folder / "out")]
    own = {"PYTHONPATH": os.pathsep.join(sys.path), "PATH": str(folder)}
    ran = subprocess.run(command, capture_output=True, text=True, env=os.environ | own)
    assert ran.returncode == 0, ran.stderr
    return folder


@pytest.fixture(autouse=True)
def no_solvers(monkeypatch, tmp_path):
    """Nobody looks for the frames' place on the sky: it would take longer than all else."""
    monkeypatch.setenv("PATH", str(tmp_path))


@pytest.fixture(scope="module")
def workers(tmp_path_factory):
    """A scheduler with two workers."""
    with LocalCluster(
        n_workers=2, threads_per_worker=1, dashboard_address="localhost:0", silence_logs=50,
        local_directory=tmp_path_factory.mktemp("dask"),
    ) as started:  # fmt: skip
        yield started


def pids(workers):
    return [nanny.pid for nanny in workers.workers.values() if nanny.pid]


def told_of(folder):
    told = json.loads((folder / "mosaic.json").read_text())
    return {name: value for name, value in told.items() if name not in RUN_FACTS}


def same(one, other):
    names = ("mosaic.fits", "mosaic.png", "coverage.png")
    return all((one / name).read_bytes() == (other / name).read_bytes() for name in names) and (
        told_of(one) == told_of(other)
    )


def test_a_plain_run_loads_nothing_of_dask(plain):
    assert (plain / "out" / "mosaic.fits").exists(), "its process would have failed otherwise"


def test_frames_at_a_url_give_the_bytes_of_files(plain, tmp_path):
    url = (plain / "frames").as_uri()
    assert cli.main(["mosaic", url, "-o", str(tmp_path / "out")]) == 0
    assert same(plain / "out", tmp_path / "out")


def test_local_workers_give_the_bytes_of_a_plain_run_and_leave_nothing(plain, tmp_path, capfd):
    assert cli.main(["mosaic", str(plain / "frames"), "-o", str(tmp_path), "--scheduler", "local"]) == 0
    out, err = capfd.readouterr()
    assert "dask dashboard     http://" in out
    assert "distributed" not in err
    assert same(tmp_path, plain / "out")
    assert {path.name for path in tmp_path.iterdir()} == {path.name for path in (plain / "out").iterdir()}
    assert "scheduler" not in (tmp_path / "run.toml").read_text()


def when(seen, act):
    """Act in a thread as soon as something is seen."""

    def wait():
        until = time.monotonic() + 60
        while not seen() and time.monotonic() < until:
            time.sleep(0.01)
        act()

    thread = threading.Thread(target=wait)
    thread.start()
    return thread


@pytest.mark.skipif(os.name != "posix", reason="the signals are POSIX's")
def test_a_killed_worker_changes_no_byte(plain, workers, tmp_path):
    first = pids(workers)[0]
    killed = when(lambda: list(tmp_path.glob("cells/cell_*.npz")), lambda: os.kill(first, signal.SIGKILL))
    command = ["mosaic", str(plain / "frames"), "-o", str(tmp_path), "--scheduler", workers.scheduler_address]
    assert cli.main(command) == 0
    killed.join()
    assert first not in pids(workers)
    assert same(tmp_path, plain / "out")


def refusal(capsys, *options):
    code = cli.main(["mosaic", *map(str, options)])
    said = capsys.readouterr().err.splitlines()
    return code, [line for line in said if line.startswith("zemosaic-patch:")]


def test_no_scheduler_at_the_address_is_told_in_a_line(plain, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(cluster, "ANSWER_S", 0.5)
    for address in ("tcp://127.0.0.1:1", "no such host", "ftp://127.0.0.1:99"):
        code, lines = refusal(capsys, plain / "frames", "-o", tmp_path / "out", "--scheduler", address)
        assert code == 2
        assert lines == [line for line in lines if f"--scheduler {address}: no scheduler answers there" in line]
        assert len(lines) == 1
        assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("kind", ["mute", "of mail", "of the web", "worker"])
def test_what_answers_and_is_no_scheduler_is_told_in_a_line(plain, workers, tmp_path, capsys, monkeypatch, kind):
    monkeypatch.setattr(cluster, "ANSWER_S", 1.0)
    there = {
        "mute": accepting,
        "of mail": lambda: accepting(b"220 mail.example.org ESMTP\r\n"),
        "of the web": lambda: serving(tmp_path),
        "worker": lambda: nullcontext(next(iter(workers.scheduler.workers)).removeprefix("tcp://")),
    }[kind]
    with there() as place:
        code, lines = refusal(capsys, plain / "frames", "-o", tmp_path / "out", "--scheduler", f"tcp://{place}")
    assert code == 2
    (line,) = lines
    assert f"--scheduler tcp://{place}: no scheduler answers there" in line
    assert ("is a worker of dask" in line) == (kind == "worker")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("address", ["foo", "no such host", "tcp://127.0.0.1", "tcp://127.0.0.1:port", "ftp://h:99"])
def test_what_can_be_no_address_is_not_tried(address, monkeypatch):
    monkeypatch.setattr("distributed.Client", None)  # to call it would be a TypeError
    with pytest.raises(UsageError, match="no scheduler answers there"), cluster._client_at(address):
        pass


@pytest.mark.parametrize("name", ["Python", "numpy", "numba", "zemosaic-patch"])
def test_other_versions_are_refused_in_a_line(plain, workers, tmp_path, capsys, monkeypatch, name):
    here = dict(cluster.version_asker(cluster.PACKAGES)())
    other = tuple((here | {name: "0.1"}).items())
    monkeypatch.setattr(cluster, "unlike", lambda there, wanted: unlike(there, other))
    address = workers.scheduler_address
    code, lines = refusal(capsys, plain / "frames", "-o", tmp_path / "out", "--scheduler", address)
    assert code == 1
    assert len(lines) == 1
    assert f"cannot be used: {name} is {here[name]} there, and 0.1 here" in lines[0]
    assert not (tmp_path / "out").exists()


def test_a_worker_without_this_program_can_tell_that():
    sent = cloudpickle.dumps(cluster.version_asker(["numpy", "no-such-package"]))
    told = "import pickle, sys; print(pickle.loads(sys.stdin.buffer.read())()); print('nanstack' in sys.modules)"
    ran = subprocess.run([sys.executable, "-c", told], input=sent, capture_output=True)
    python = f"{sys.version_info[0]}.{sys.version_info[1]}"
    versions = (("Python", python), ("numpy", np.__version__), ("no-such-package", "not installed"))
    assert ran.stdout.decode().split(os.linesep)[:2] == [str(versions), "False"]


@pytest.mark.parametrize("what", ["token", "frame"])
def test_a_worker_that_does_not_see_the_files_is_refused(workers, tmp_path, what):
    (tmp_path / "token").write_text("token")
    terms = cluster.Terms(cluster.version_asker(cluster.PACKAGES)(), tmp_path / "token", tmp_path / "token", 5)
    terms = replace(terms, **{what: tmp_path / "elsewhere"})
    with workers.get_client() as client, pytest.raises(FailureError, match=r"does not see .*elsewhere: frames and out"):
        cluster.DaskCrew(client, terms, Told()).check()


# --- what a crew does -------------------------------------------------------------------------------------------------


class Named(int):
    @property
    def name(self):
        return f"item {int(self)}"


def twice(item):
    return 2 * item


def failing(item):
    raise {0: OSError(28, "No space left"), 1: FrameError("a/frame.fit", "it is gone")}[int(item)]


@pytest.fixture
def crew(workers, tmp_path):
    (tmp_path / "token").write_text("token")
    terms = cluster.Terms(cluster.version_asker(cluster.PACKAGES)(), tmp_path / "token", tmp_path / "token", 5)
    with workers.get_client() as client:
        yield cluster.DaskCrew(client, terms, Told())


def test_items_come_in_their_order_and_few_are_in_hand(crew):
    taken = []

    def items():
        for number in range(40):
            taken.append(number)
            yield Named(number)

    made = crew.in_order(twice, items())
    assert next(made) == 0
    assert len(taken) <= cluster.AHEAD * 2
    assert list(made) == list(range(2, 80, 2))


def test_what_goes_wrong_with_a_frame_is_told_as_if_it_were_here(crew):
    with pytest.raises(FrameError, match=r"^frame\.fit: it is gone$") as error:
        list(crew.in_order(failing, [Named(1)]))
    assert error.value.reason == "it is gone"


def test_what_else_goes_wrong_names_the_worker_and_the_item(crew):
    with pytest.raises(FailureError, match=r"^item 0 failed on worker tcp://[\d.:]+: OSError: .* No space"):
        list(crew.in_order(failing, [Named(0)]))


def test_memory_is_asked_for_only_where_workers_offer_it(crew):
    assert list(crew.in_order(twice, [Named(1)], lambda item: 2**60)) == [2], "else it would wait for ever"


def test_what_needs_more_memory_than_any_worker_has_is_told(crew, monkeypatch):
    monkeypatch.setattr(crew, "_workers", lambda: {"a": {"resources": {"memory": 2**30}}})
    with pytest.raises(FailureError, match=r"^item 1 needs 2048 MiB, and no worker has more than 1024 MiB"):
        list(crew.in_order(twice, [Named(1)], lambda item: 2**31))


def test_a_thread_of_a_worker_is_one_thread(crew):
    assert list(crew.in_order(threads_there, [Named(1)])) == [(1, 1)]


def threads_there(item):
    import cv2

    from nanstack import memory

    return memory.threads(), cv2.getNumThreads()
