# SPDX-License-Identifier: GPL-3.0-or-later
"""A crew of dask.distributed: `mosaic --scheduler`. Scheduling, retries and transport are dask's alone.

Workers, on this machine or others, see frames and output under the same names. A worker must fit the run: the same
versions, the same files. One that joins later is asked as it begins its first task.
"""

from __future__ import annotations

import functools
import importlib.util
import logging
import os
import secrets
import signal
import tempfile
import time
import warnings
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from nanstack import memory
from nanstack.crew import Crew
from nanstack.io.files import PARTIAL, remove
from nanstack.progress import Progress
from zemosaic_patch.errors import FailureError, UsageError

if TYPE_CHECKING:
    from distributed import Client, Future

LOCAL = "local"
PACKAGES = "zemosaic-patch", "numpy", "scipy", "numba", "distributed"  # those that bytes, and the transport, hang on
RETRIES = 2  # of what failed, wherever
ALLOWED_FAILURES = 10  # workers that die on a task before it is blamed: one that is killed takes all it has in hand
# what glibc comes to by itself, but for dask's own setting: memory given back at once is asked for again by each cell
ALLOCATION = {"MALLOC_TRIM_THRESHOLD_": str(2**26), "MALLOC_MMAP_THRESHOLD_": str(2**25)}
WORKER_TTL = "60 s"  # without a sign of life, after which its tasks go elsewhere: of workers that are started here
AHEAD = 4  # items in hand for each thread of the workers
COUNTED_S = 5.0  # workers come and go: they are counted anew after so many seconds
ANSWER_S = 10.0  # that a scheduler may take to answer, and each worker
CONNECTED_S = 0.8  # of that, to connect at all
PATIENCE_S = 30.0  # between looks whether there are workers at all
RESTORED_S = 30.0  # that a worker started here may be missing: dask starts it again, unless it died as it began
WITH_PORT = "tcp", "tls"  # kinds of addresses that are a host and a port
MEMORY = "memory"  # name of the resource that a task may need
OF_LIBRARIES = 400 * 2**20  # bytes of a worker that no task gets

Item = TypeVar("Item")
Made = TypeVar("Made")
Versions = tuple[tuple[str, str], ...]


@contextmanager
def crew_at(scheduler: str | None, folder: Path, frame: Path, progress: Progress) -> Iterator[Crew | None]:
    """Give the crew of a dask cluster; None where none is asked for, and then nothing of dask is loaded.

    Parameters
    ----------
    scheduler : str or None
        'local' starts workers, one a core, and ends them; or the address of a scheduler whose workers are taken.
    folder : Path
        Of the output, which all workers must see.
    frame : Path
        One of those that they must see.
    progress : nanstack.progress.Progress
        Hears what is odd with the workers.

    Raises
    ------
    UsageError
        No scheduler at the address, or no dask.
    FailureError
        Workers that do not fit.
    """
    if scheduler is None:
        yield None
        return
    if importlib.util.find_spec("distributed") is None:
        raise UsageError("--scheduler needs dask: python -m pip install 'zemosaic-patch[cluster]'")
    with ExitStack() as stack:
        token = folder / f"{PARTIAL}seen-{secrets.token_hex(6)}"
        stack.callback(remove, token)
        token.write_text(token.name, encoding="ascii")
        terms = Terms(
            version_asker(PACKAGES)(), Path(os.path.abspath(token)), Path(os.path.abspath(frame)), frame.stat().st_size
        )
        client = stack.enter_context(_local_client() if scheduler == LOCAL else _client_at(scheduler))
        print(f"dask dashboard     {client.dashboard_link}", flush=True)
        crew = DaskCrew(client, terms, progress)
        crew.check()
        stack.callback(crew.dismiss)
        yield crew


# --- a scheduler ------------------------------------------------------------------------------------------------------


@contextmanager
def _local_client() -> Iterator[Client]:
    """Start a worker of one thread for each core, as processes of this machine, and end them."""
    import dask

    count, here = memory.threads(), tempfile.gettempdir()
    with ExitStack() as stack:
        stack.enter_context(
            dask.config.set({
                "distributed.scheduler.allowed-failures": ALLOWED_FAILURES,
                "distributed.scheduler.worker-ttl": WORKER_TTL,
                "distributed.nanny.pre-spawn-environ": ALLOCATION,
            })
        )  # fmt: skip
        _quieten()
        from distributed import Client, LocalCluster
        from distributed.system import MEMORY_LIMIT

        each = MEMORY_LIMIT // count
        try:
            with warnings.catch_warnings(), _deaf_to_ctrl_c():
                warnings.simplefilter("ignore")  # where another has the dashboard's port, the link names this one's
                cluster = LocalCluster(
                    n_workers=count,
                    threads_per_worker=1,
                    processes=True,
                    memory_limit=each,
                    resources={MEMORY: max(each // 2, each - OF_LIBRARIES)},
                    dashboard_address="localhost:8787",
                    local_directory=here,
                    env={"TMPDIR": here},
                    silence_logs=logging.CRITICAL,
                )
        except (RuntimeError, OSError) as failure:
            raise FailureError(f"no workers can be started here ({_told(failure)}): try again") from failure
        stack.enter_context(cluster)
        yield stack.enter_context(Client(cluster, set_as_default=False))


@contextmanager
def _deaf_to_ctrl_c() -> Iterator[None]:
    """Start threads, and by them processes, that a terminal's Ctrl-C does not reach: this thread ends them."""
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def _client_at(address: str) -> Iterator[Client]:
    """Connect to a scheduler that somebody has started."""
    _quieten()
    from distributed import Client

    try:
        _check_address(address)
        _check_is_scheduler(address)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # versions are compared below
            client = Client(address, timeout=ANSWER_S, set_as_default=False)
    except (OSError, ValueError, ImportError) as failure:
        raise UsageError(
            f"--scheduler {address}: no scheduler answers there ({_told(failure)}); see that `dask scheduler` runs "
            f"and that its address is right, or use --scheduler {LOCAL}"
        ) from failure
    with client:
        yield client


def _check_address(address: str) -> None:
    """Raise ValueError at once for what can be no address: dask would try it for ten seconds."""
    from distributed.comm.addressing import parse_address, parse_host_port
    from distributed.comm.registry import get_backend

    kind, place = parse_address(address)
    get_backend(kind)
    if kind in WITH_PORT:
        parse_host_port(place)


def _check_is_scheduler(address: str) -> None:
    """Ask what answers at an address what it is; OSError where it is no scheduler: a client would wait for ever.

    What is no part of dask may send anything, such as a length that no memory has room for.
    """
    from asyncio import TimeoutError as LateError

    from distributed.utils import LoopRunner

    try:
        kind = LoopRunner().run_sync(_kind_at, address)
    except LateError as late:
        raise OSError(f"nothing that a scheduler would say came for {ANSWER_S:.0f} s") from late
    except OSError:
        raise
    except (Exception, MemoryError) as unread:
        raise OSError(f"what is there is no part of dask: {type(unread).__name__}") from unread
    if kind != "Scheduler":
        raise OSError(f"what is there is a {kind.lower()} of dask")


async def _kind_at(address: str) -> str:
    """Return what a part of dask says that it is: 'Scheduler', 'Worker' or 'Nanny'."""
    import asyncio

    from distributed.core import rpc
    from distributed.security import Security

    terms = {"timeout": CONNECTED_S * ANSWER_S, "connection_args": Security().get_connection_args("client")}
    async with rpc(address, **terms) as there:
        return str((await asyncio.wait_for(there.identity(), ANSWER_S))["type"])


def _quieten() -> None:
    """Leave it to this program to say what goes wrong: dask would tell it in pages."""
    import distributed  # noqa: F401  (it sets its own levels as it is loaded)

    for name in list(logging.root.manager.loggerDict):  # some have levels of their own
        if name.partition(".")[0] in ("distributed", "tornado"):
            logging.getLogger(name).setLevel(logging.CRITICAL)


def _told(failure: BaseException) -> str:
    return (str(failure).strip() or type(failure).__name__).partition("\n")[0]


# --- which workers fit ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Terms:
    """What a worker must have in common with the run.

    Attributes
    ----------
    versions : tuple of (str, str)
        Of Python and the libraries.
    token : Path
        A file in the output's folder that holds its own name.
    frame : Path
        A frame.
    size : int
        Its bytes.
    """

    versions: Versions
    token: Path
    frame: Path
    size: int


def version_asker(packages: Sequence[str]) -> Callable[[], Versions]:
    """Return what tells the versions where it is called: it stands alone, as workers may lack this program."""

    def versions() -> Versions:
        import importlib.metadata
        import sys

        known = {one.name: one.version for one in importlib.metadata.distributions() if one.name in packages}
        python = f"{sys.version_info[0]}.{sys.version_info[1]}"
        return (("Python", python), *((name, known.get(name, "not installed")) for name in packages))

    return versions


def unlike(there: Versions, wanted: Versions) -> str:
    """Return which version differs; empty where none does."""
    for (name, version), (_, own) in zip(there, wanted, strict=True):
        if version != own:
            return f"{name} is {version} there, and {own} here: install the same"
    return ""


@functools.lru_cache(8)
def unfit(terms: Terms) -> str:
    """Return why this process cannot work for a run; empty where it can. It gets ready to."""
    reason = unlike(version_asker(PACKAGES)(), terms.versions)
    if reason:
        return reason
    for path, there in ((terms.token, _is_token), (terms.frame, lambda path: path.stat().st_size == terms.size)):
        try:
            seen = there(path)
        except OSError:
            seen = False
        if not seen:
            return f"it does not see {path}: frames and output must lie on a file system that all workers share"
    memory.keep_to_threads(1)  # a task is one of a worker's threads
    import cv2

    cv2.setNumThreads(1)
    return ""


def _is_token(path: Path) -> bool:
    return path.read_text(encoding="ascii") == path.name


class UnfitWorkerError(RuntimeError):
    """A worker that cannot work for the run."""


class TaskError(RuntimeError):
    """What went wrong on a worker, other than with a frame."""


def _done(terms: Terms, do: Callable[[Item], Made], item: Item) -> Made:
    """Do an item on a worker."""
    reason = unfit(terms)
    if reason:
        raise UnfitWorkerError(f"{_here()} cannot be used: {reason}")
    try:
        return do(item)
    except ValueError:  # what is wrong with a frame is told as if it were found here
        raise
    except Exception as failure:  # noqa: BLE001  (of whatever kind, it is told in a line)
        raise TaskError(f"{_here()}: {type(failure).__name__}: {_told(failure)}") from None


def _here() -> str:
    from distributed import get_worker

    return f"worker {get_worker().address}"


def _released() -> None:
    """Let go of a run's files."""
    from nanstack.stack.elsewhere import bench_of

    bench_of.cache_clear()
    unfit.cache_clear()


# --- the crew ---------------------------------------------------------------------------------------------------------


class DaskCrew:
    """Workers of a dask cluster: a `nanstack.crew.Crew`."""

    def __init__(self, client: Client, terms: Terms, progress: Progress) -> None:
        self._client, self._terms, self._progress = client, terms, progress
        self._counted, self._ahead = -COUNTED_S, 0
        self._wanted = len(client.cluster.worker_spec) if client.cluster else 0
        self._whole = time.monotonic()
        self._is_alone = False

    def check(self) -> None:
        """Wait for a worker, and see that those that are there fit; FailureError where one does not."""
        if not self._client.nthreads():
            self._progress.warn("the scheduler has no workers yet: waiting for them")
            self._client.wait_for_workers(1)
        for worker, there in self._answers("versions", version_asker(PACKAGES)).items():
            self._check(worker, unlike(there, self._terms.versions))
        for worker, reason in self._answers("fit", unfit, self._terms).items():
            self._check(worker, reason)

    def _answers(self, what: str, ask: Callable[..., Made], *arguments: object) -> dict[str, Made]:
        """Ask all workers; one that does not answer is left to dask."""
        from distributed import TimeoutError as LateError

        run = self._terms.token.name
        asked = {
            worker: self._client.submit(ask, *arguments, workers=[worker], key=f"{what}-{worker}-{run}")
            for worker in self._client.nthreads()
        }
        answers = {}
        for worker, answer in asked.items():
            try:
                answers[worker] = answer.result(timeout=ANSWER_S)
            except LateError:
                self._progress.warn(f"worker {worker} does not answer")
        return answers

    @staticmethod
    def _check(worker: str, reason: str) -> None:
        if reason:
            raise FailureError(f"worker {worker} cannot be used: {reason}")

    def dismiss(self) -> None:
        """Let workers that stay forget the run, each when it next has time: nobody waits for one that hangs."""
        from distributed import fire_and_forget

        if self._client.status != "running" or self._wanted:
            return
        for worker in self._client.nthreads():
            key = f"forget-{worker}-{self._terms.token.name}"
            fire_and_forget(self._client.submit(_released, workers=[worker], allow_other_workers=True, key=key))

    def in_order(
        self, do: Callable[[Item], Made], items: Iterable[Item], needs: Callable[[Item], int] | None = None
    ) -> Iterator[Made]:
        """See `nanstack.crew.Crew`."""
        room = self._room() if needs else 0
        waiting: deque[tuple[Item, Future]] = deque()
        for item in items:
            waiting.append((item, self._submitted(do, item, needs(item) if room else 0, room)))
            if len(waiting) >= self._in_hand():
                yield self._result(*waiting.popleft())
        while waiting:
            yield self._result(*waiting.popleft())

    def _submitted(self, do: Callable, item: Item, needed: int, room: int) -> Future:
        if needed > room:
            raise FailureError(
                f"{item.name} needs {needed >> 20} MiB, and no worker has more than {room >> 20} MiB for it: start "
                f"workers with more, or stack fewer frames"
            )
        return self._client.submit(
            _done,
            self._terms,
            do,
            item,
            key=f"{item.name}-{secrets.token_hex(8)}",
            retries=RETRIES,
            resources={MEMORY: needed} if needed else None,
        )

    def _room(self) -> int:
        """Return the most memory that a worker offers; 0 where some do not say: a task that asked would never run."""
        offered = [worker["resources"].get(MEMORY, 0) for worker in self._workers().values()]
        return int(max(offered)) if offered and all(offered) else 0

    def _workers(self) -> dict:
        return self._client.scheduler_info(n_workers=-1)["workers"]

    def _in_hand(self) -> int:
        """Return how many items workers may have in hand together."""
        if time.monotonic() - self._counted > COUNTED_S:
            self._ahead = AHEAD * max(1, sum(self._count().values()))
            self._counted = time.monotonic()
        return self._ahead

    def _count(self) -> dict[str, int]:
        """Return the threads of each worker; of those started here, have missing ones started anew."""
        threads, now = self._client.nthreads(), time.monotonic()
        if len(threads) >= self._wanted:
            self._whole = now
        elif now - self._whole > RESTORED_S:
            self._client.cluster.scale(len(threads))  # gives up those that are missing
            self._client.cluster.scale(self._wanted)
            self._whole = now
        return threads

    def _result(self, item: Item, future: Future) -> Made:
        """Wait for what is made of an item, and return it."""
        from distributed import CancelledError, KilledWorker
        from distributed import TimeoutError as LateError

        while True:
            try:
                return future.result(timeout=PATIENCE_S)
            except LateError:
                if not self._count() and not self._wanted and not self._is_alone:
                    self._is_alone = True  # which is told once
                    self._progress.warn("the scheduler has no workers any more: waiting for others")
            except KilledWorker as killed:
                raise FailureError(
                    f"{item.name}: workers die of it, the last was {killed.last_worker.address}: see its log; where "
                    "memory is short, start workers with more, then go on with --resume"
                ) from killed
            except (UnfitWorkerError, TaskError) as failure:
                raise FailureError(f"{item.name} failed on {failure}; go on with --resume") from failure
            except (CancelledError, OSError) as lost:
                raise FailureError(
                    f"the scheduler is gone ({_told(lost)}): start it again, and go on with --resume"
                ) from lost
