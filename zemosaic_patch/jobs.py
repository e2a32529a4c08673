# SPDX-License-Identifier: GPL-3.0-or-later
"""Jobs in processes of their own: one that crashes costs its job, and nothing is left behind.

Processes are spawned, as everywhere on Windows and macOS. A worker does one job after the other; what it says while
it works, and what comes out, goes through a pipe. Its temporary files lie in a folder of the caller's.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import tempfile
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

import nanstack.memory

BYTES_PER_WORKER = 5 * 2**28  # 1.25 GiB: the aligned frames of a tile within its budget, and what it works with
PATIENCE_S = 5.0  # for a process to end, before it is killed


class JobError(Exception):
    """A job cannot be done; the message says why. What a job raises for bad input."""


@dataclass(frozen=True)
class Outcome:
    """What came of a job.

    Attributes
    ----------
    index : int
        Of the job.
    result : object
        What the job returned.
    error : str
        Why it failed; empty where it did not.
    """

    index: int
    result: Any = None
    error: str = ""


def workers_for(jobs: int) -> int:
    """Return how many processes suit the machine: not more than jobs, processors, or memory for them."""
    import psutil

    by_memory = psutil.virtual_memory().available // BYTES_PER_WORKER
    return int(max(1, min(jobs, os.cpu_count() or 1, by_memory)))


def run_jobs(
    work: Callable[[Any, Callable[..., None]], Any],
    jobs: Sequence[Any],
    workers: int,
    scratch: Path,
    tell: Callable[..., None],
) -> Iterator[Outcome]:
    """Do jobs in worker processes; give each outcome when it is there.

    Parameters
    ----------
    work : callable
        ``work(job, tell)``, of a module that a new process can import. It may raise JobError.
    jobs : sequence
        What can be pickled.
    workers : int
        Number of processes, at most; each takes its share of the machine, by the number that there is work for.
    scratch : Path
        Folder for the workers' temporary files.
    tell : callable
        Called here as ``tell(index, *what)`` with what a job tells as ``tell(*what)`` there.

    Yields
    ------
    Outcome
        In the order in which jobs end. Where the caller stops asking, the workers are ended.
    """
    todo = deque(range(len(jobs)))
    processes = min(workers, len(jobs))
    crew: list[_Worker] = []
    try:
        while todo or any(worker.index is not None for worker in crew):
            while todo and len(crew) < processes:
                crew.append(_Worker(work, processes, scratch))
            for worker in crew:
                if worker.index is None and todo:
                    worker.begin(todo.popleft(), jobs)
            busy = {worker.pipe: worker for worker in crew if worker.index is not None}
            for pipe in wait(list(busy)):
                worker = busy[pipe]
                index = worker.index
                kind, content = worker.receive()
                if kind == "told":
                    tell(index, *content)
                    continue
                if kind == "died":
                    crew.remove(worker)
                yield Outcome(index, content) if kind == "done" else Outcome(index, error=content)
    finally:
        for worker in crew:
            worker.stop()


class _Worker:
    """A process that does jobs, seen from outside."""

    def __init__(self, work: Callable, share: int, scratch: Path) -> None:
        context = multiprocessing.get_context("spawn")
        self.pipe, theirs = context.Pipe()
        self.process = context.Process(target=_serve, args=(theirs, work, share, str(scratch)), daemon=True)
        with _no_interrupts():
            self.process.start()
        theirs.close()  # so that a dead worker is seen
        self.index: int | None = None

    def begin(self, index: int, jobs: Sequence[Any]) -> None:
        self.index = index
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # it has died: `receive` says so
            self.pipe.send(jobs[index])

    def receive(self) -> tuple[str, Any]:
        """Return what the worker says: ('told', what), ('done', result), ('failed', why), ('died', why)."""
        try:
            kind, content = self.pipe.recv()
        except (EOFError, ConnectionResetError):
            self.process.join(PATIENCE_S)
            kind, content = "died", f"its process ended with code {self.process.exitcode}: was the memory too small?"
        if kind != "told":
            self.index = None
        return kind, content

    def stop(self) -> None:
        self.pipe.close()
        if self.index is not None:
            self.process.terminate()  # an idle worker ends by itself, as its pipe is closed
        self.process.join(PATIENCE_S)
        if self.process.is_alive():
            self.process.kill()
            self.process.join()


@contextlib.contextmanager
def _no_interrupts() -> Iterator[None]:
    """Keep Ctrl-C from a process that is starting, and cannot ignore it yet: it inherits what is ignored here."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _serve(pipe: Connection, work: Callable, share: int, scratch: str) -> None:
    """Do jobs until there are no more, or nobody listens."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the caller, who ends this process
    tempfile.tempdir = scratch
    nanstack.memory.share_machine(share)
    try:
        while True:
            job = pipe.recv()
            try:
                answer = ("done", work(job, lambda *what: pipe.send(("told", what))))
            except JobError as failure:
                answer = ("failed", str(failure))
            except MemoryError:
                answer = ("failed", "there is not enough memory")
            pipe.send(answer)
    except (EOFError, BrokenPipeError, ConnectionResetError):
        pass  # the caller is gone
