# SPDX-License-Identifier: GPL-3.0-or-later
"""A run as a job: the ordinary command in a process of its own, which goes on whatever becomes of the page.

What is known of it lies on the disk: who began it and with what, what it told so far, and its process. So a window
that is opened later finds it.
"""

from __future__ import annotations

import json
import os
import secrets
import signal
import subprocess
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from nanstack.io.files import exclusive, remove, work_folder
from zemosaic_patch.errors import UsageError
from zemosaic_patch.own_command import own_command
from zemosaic_patch.ui import state
from zemosaic_patch.ui.background import kill, started
from zemosaic_patch.ui.texts import text

RECORD, TOLD, SAID, ASKED = "run.json", "told.jsonl", "said.txt", "asked.toml"
ROUGH = "rough.png"  # of its frames, before any of it is finished
TILES = "tiles"  # the folder of what is known of a mosaic's tiles of the sky
STEPS = ("surveying frames", "registering frames", "placing on the sky", "stacking")
CAN_ASK = os.name == "posix"  # a program to end: Windows ends programs without asking them
ENDS_S = 30.0  # so long one that was ended may take to let go of its folder
LOST_S = 2.0  # a process of that number that began so much earlier or later is another one
_beginning = threading.Lock()  # of a run
_ours: dict[int, subprocess.Popen] = {}  # processes that this one began, and has to take leave of


@dataclass(frozen=True)
class Step:
    """How far a run is.

    Attributes
    ----------
    name : str
        One of `STEPS`.
    done, total : int
    seconds_left : float or None
        Until it is done, as far as can be told.
    """

    name: str
    done: int
    total: int
    seconds_left: float | None


@dataclass(frozen=True)
class News:
    """What a run told so far.

    Attributes
    ----------
    step : Step or None
    warnings : tuple of str
    failure : str
        Its last word, where it ended without a result.
    said : tuple of str
        What is known of the result; empty until there is one.
    """

    step: Step | None = None
    warnings: tuple[str, ...] = ()
    failure: str = ""
    said: tuple[str, ...] = ()


@dataclass(frozen=True)
class Work:
    """A process that goes on by itself, and writes down what it tells.

    Attributes
    ----------
    home : Path
        Where that lies.
    pid, pid_began : int, float
        Its process, and when that began.
    """

    home: Path
    pid: int
    pid_began: float

    @property
    def is_running(self) -> bool:
        """Whether its process runs."""
        return _runs_still(self.pid, self.pid_began)

    def news(self) -> News:
        """Return what it told so far."""
        steps, warnings, others = _told(self.home / TOLD)
        said = () if self.is_running else _lines(self.home / SAID)
        failure = "" if said or self.is_running else others[-1].removeprefix("zemosaic-patch: ") if others else ""
        return News(steps, warnings, failure, said)

    def cancel(self) -> None:
        """Stop it as Ctrl-C does, where the system can: what is finished is kept in any case."""
        if not self.is_running:
            return
        if not CAN_ASK:
            kill(self.pid)
            return
        with suppress(OSError):  # it has just ended
            os.kill(self.pid, signal.SIGINT)


@dataclass(frozen=True)
class Run:
    """A run that the window began.

    Attributes
    ----------
    key : str
        Its name among all of them.
    output : str
        The folder that it writes to.
    frames : tuple of str
        What its command was given.
    target : str
        What is to be seen.
    count : int
        Frames that were found when it began.
    began : float
        Seconds since 1970.
    pid, pid_began : int, float
        Its process, and when that began.
    north_up : bool
        Whether the first row of its pixels is the lowest on the screen.
    """

    key: str
    output: str
    frames: tuple[str, ...]
    target: str = ""
    count: int = 0
    began: float = 0.0
    pid: int = 0
    pid_began: float = 0.0
    north_up: bool = True

    @property
    def folder(self) -> Path:
        """Where it writes to."""
        return Path(self.output)

    @property
    def home(self) -> Path:
        """Where the window keeps what it knows of it."""
        return _runs() / self.key

    @property
    def work(self) -> Work:
        """Its process."""
        return Work(self.home, self.pid, self.pid_began)

    @property
    def is_running(self) -> bool:
        """Whether its process runs."""
        return self.work.is_running

    def news(self) -> News:
        """Return what it told so far."""
        return self.work.news()

    def cancel(self) -> None:
        """Stop it, and what it began: see `Work.cancel`."""
        self.work.cancel()
        if not CAN_ASK:
            threading.Thread(target=_clear_away, args=(self,)).start()


def _clear_away(run: Run) -> None:
    """Remove the temporary files of a run that was ended, which can be many times as large as its result."""
    until = time.monotonic() + ENDS_S
    while run.folder.is_dir() and time.monotonic() < until:
        with suppress(OSError), exclusive(run.folder), work_folder(run.folder):
            return
        time.sleep(0.05)  # its last thread has not ended, or the next run is there, and does it


@contextmanager
def alone() -> Iterator[None]:
    """Let a run be begun, while no other one is under way or being begun.

    Raises
    ------
    UsageError
        Where one is.
    """
    with _beginning:
        if running() is not None:
            raise UsageError(text("make.one_at_a_time"))
        yield


def begin(run: Run, asked: str, words: Sequence[str]) -> Run:
    """Start a run; see `alone`.

    Parameters
    ----------
    run : Run
        Without a process, and maybe without a key: one that has one goes on.
    asked : str
        Its options, as a `run.toml` has them.
    words : sequence of str
        Further words of its command.

    Returns
    -------
    Run
        As it is kept.
    """
    key = run.key or f"{time.strftime('%Y%m%d-%H%M%S')}-{secrets.token_hex(3)}"
    run = replace(run, key=key, began=time.time())
    home = state.own_folder(run.home)
    (home / ASKED).write_text(asked, encoding="utf-8")
    command = own_command(
        "mosaic", *_as_arguments(run.frames), f"--output={run.output}", f"--config={home / ASKED}", "--progress=json",
        *words,
    )  # fmt: skip
    work = _launched(home, command)
    for other in kept():
        if other.output == run.output and other.key != key:  # what is there now is this one's
            forget(other)
    _forget_tiles(run)
    run = replace(run, pid=work.pid, pid_began=work.pid_began)
    keep(run)
    return run


def _launched(home: Path, command: Sequence[str]) -> Work:
    """Start a process that writes down there what it tells."""
    with open(home / TOLD, "wb") as told, open(home / SAID, "wb") as said:
        process = started(command, stdout=said, stderr=told, start_new_session=True, cwd=home)
    _ours[process.pid] = process
    return Work(home, process.pid, _began(process.pid) or time.time())


def begin_tiles(run: Run) -> None:
    """Start to write a run's mosaic as tiles of the sky, unless that is under way.

    Raises
    ------
    UsageError
        Where the mosaic itself is being made.
    """
    with _beginning:
        if run.is_running:
            raise UsageError(text("make.one_at_a_time"))
        known = tiles_of(run)
        if known is None or not known.is_running:
            home = state.own_folder(run.home / TILES)
            work = _launched(home, own_command("hips", run.output, "--progress=json"))
            state.write(home / RECORD, {"pid": work.pid, "pid_began": work.pid_began})


def tiles_of(run: Run) -> Work | None:
    """Return the process that writes a run's mosaic as tiles of the sky, or did; None where none did."""
    told = state.read(run.home / TILES / RECORD)
    try:
        return Work(run.home / TILES, int(told["pid"]), float(told["pid_began"]))
    except (TypeError, KeyError, ValueError):
        return None


def _forget_tiles(run: Run) -> None:
    for name in (RECORD, TOLD, SAID):
        remove(run.home / TILES / name)
    with suppress(OSError):  # it is not there, or something else is in it
        (run.home / TILES).rmdir()


def _as_arguments(frames: Sequence[str]) -> list[str]:
    """Return names as they are on a command line, where none is an option: they are absolute."""
    return [os.path.abspath(frame) for frame in frames]


def keep(run: Run) -> None:
    """Remember a run."""
    state.write(run.home / RECORD, asdict(run))


def kept() -> list[Run]:
    """Return all runs that are remembered, the latest first."""
    found = [one for path in _runs().glob(f"*/{RECORD}") if (one := _read(path)) is not None]
    return sorted(found, key=lambda run: -run.began)


def find(key: str) -> Run | None:
    """Return the run of a key; None where there is none, whatever the key is."""
    return next((run for run in kept() if run.key == key), None)


def running() -> Run | None:
    """Return a run that is under way."""
    return next((run for run in kept() if run.is_running), None)


def forget(run: Run) -> None:
    """Remember a run no more; its output stays."""
    _forget_tiles(run)
    for name in (RECORD, TOLD, SAID, ASKED, ROUGH):
        remove(run.home / name)
    with suppress(OSError):  # something else is in it
        run.home.rmdir()


def _runs() -> Path:
    return state.folder() / "runs"


def _read(path: Path) -> Run | None:
    told = state.read(path)
    try:
        run = Run(**{**told, "frames": tuple(told["frames"])})
        return run if run.key == path.parent.name else None
    except (TypeError, KeyError):
        return None


# --- processes --------------------------------------------------------------------------------------------------------


def _runs_still(pid: int, began: float) -> bool:
    import psutil

    if pid in _ours and _ours[pid].poll() is not None:
        return False
    try:
        process = psutil.Process(pid)
        return abs(process.create_time() - began) < LOST_S and process.status() != psutil.STATUS_ZOMBIE
    except (psutil.Error, ValueError):
        return False


def _began(pid: int) -> float | None:
    import psutil

    try:
        return psutil.Process(pid).create_time()
    except psutil.Error:
        return None


# --- what a run tells -------------------------------------------------------------------------------------------------


def _told(path: Path) -> tuple[Step | None, tuple[str, ...], tuple[str, ...]]:
    """Return the step that a run is at, its warnings, and its other lines."""
    try:
        return _parsed(path, path.stat().st_size)
    except OSError:
        return None, (), ()


@lru_cache(8)
def _parsed(path: Path, size: int) -> tuple[Step | None, tuple[str, ...], tuple[str, ...]]:
    last: dict[str, Any] | None = None
    first: dict[str, Any] | None = None
    warnings, others = [], []
    for line in _lines(path):
        try:
            said = json.loads(line)
        except ValueError:
            said = None
        if not isinstance(said, dict):
            others.append(line)
        elif "error" in said:
            others.append(str(said["error"]))
        elif "warning" in said:
            warnings.append(str(said["warning"]))
        elif "step" in said:
            first = said if first is None or first["step"] != said["step"] else first
            last = said
    return last and Step(last["step"], last["done"], last["total"], _left(first, last)), tuple(warnings), tuple(others)


def _left(first: dict[str, Any], last: dict[str, Any]) -> float | None:
    """Return how long a step goes on, where it does so as it did."""
    done = last["done"] - first["done"]
    return (last["total"] - last["done"]) * (last["seconds"] - first["seconds"]) / done if done > 0 else None


def _lines(path: Path) -> tuple[str, ...]:
    """Return the lines of a file that are complete."""
    try:
        return tuple(path.read_text(encoding="utf-8", errors="replace").splitlines())
    except OSError:
        return ()
