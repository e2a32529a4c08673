# SPDX-License-Identifier: GPL-3.0-or-later
"""Wall time and peak memory of calls and of whole processes; contenders take turns."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

LAUNCHER = Path(__file__).with_name("launcher.py")
LOG_TAIL = 2000  # characters of a failed process's output that the error shows


class ProcessError(RuntimeError):
    """A process ended with an error, or without the result that it was to give."""


@dataclass(frozen=True)
class Run:
    """One measurement.

    Attributes
    ----------
    seconds : float
        Wall time.
    peak_bytes : int or None
        Largest resident memory of a process; None for a call, or where the system does not tell.
    output : str
        What a process printed.
    """

    seconds: float
    peak_bytes: int | None = None
    output: str = ""


def timed(call: Callable[[], object]) -> Run:
    """Call once; what the call returns is dropped after the clock stopped."""
    started = time.perf_counter()
    result = call()
    seconds = time.perf_counter() - started
    del result
    return Run(seconds)


def interleaved(
    contenders: Mapping[str, Callable[[], Run]], rounds: int, enough_s: float = 90.0
) -> dict[str, list[Run]]:
    """Run contenders in turn, A B C A B C ..., so that a drift of the machine hits all of them alike.

    Parameters
    ----------
    contenders : mapping of name to callable that returns a Run
    rounds : int
        Runs of each.
    enough_s : float
        A contender that took longer than this in all sits out the remaining rounds.
    """
    runs: dict[str, list[Run]] = {name: [] for name in contenders}
    for number in range(rounds):
        for name, measure in contenders.items():
            if sum(run.seconds for run in runs[name]) > enough_s:
                continue
            runs[name].append(measure())
            print(f"    {name}: {runs[name][-1].seconds:.3f} s  (round {number + 1})", file=sys.stderr, flush=True)
    return runs


def median_seconds(runs: Sequence[Run]) -> float:
    return statistics.median(run.seconds for run in runs)


def range_seconds(runs: Sequence[Run]) -> tuple[float, float]:
    return min(run.seconds for run in runs), max(run.seconds for run in runs)


def peak_mib(runs: Sequence[Run]) -> float | None:
    """Return the median of the peaks in MiB, or None where the system does not tell."""
    peaks = [run.peak_bytes for run in runs if run.peak_bytes is not None]
    return statistics.median(peaks) / 2**20 if peaks else None


def cpu_of_others() -> float | None:
    """Return the CPU seconds so far of all processes but this one and its ended children; None without psutil."""
    try:
        import psutil
    except ImportError:
        return None
    mine, everyone = os.times(), psutil.cpu_times()
    return everyone.user + everyone.system - (mine.user + mine.system + mine.children_user + mine.children_system)


def told(run: Run, what: str = "seconds") -> float:
    """Return what a job of jobs.py reports of itself; its seconds are without its imports.

    Raises
    ------
    ProcessError
        Where its last line does not say so.
    """
    try:
        return float(json.loads(run.output.strip().splitlines()[-1])[what])
    except (IndexError, ValueError, KeyError, TypeError) as unclear:
        raise ProcessError(f"a job did not report its {what}") from unclear


def whole_process(command: Sequence[str | Path], env: Mapping[str, str] | None = None) -> Run:
    """Run a command to its end, start-up and all.

    A small launcher process starts it: a child counts the memory of the process it was forked from as its own peak.

    Raises
    ------
    ProcessError
        Where it fails, with the end of its output.
    """
    with tempfile.TemporaryDirectory(prefix="benchmark-") as folder:
        log = Path(folder) / "log"
        launch = [sys.executable, "-I", "-S", LAUNCHER, log, *command]
        launched = subprocess.run(
            [str(word) for word in launch], env=None if env is None else dict(env), capture_output=True, text=True
        )
        output = log.read_text(encoding="utf-8", errors="replace") if log.exists() else ""
    if launched.returncode != 0:
        raise ProcessError(f"{command[0]} could not be started: {launched.stderr.strip()[-LOG_TAIL:]}")
    result = json.loads(launched.stdout)
    if result["returncode"] != 0:
        raise ProcessError(f"{command[0]} ended with exit code {result['returncode']}: {output[-LOG_TAIL:].strip()}")
    return Run(result["seconds"], result["peak_bytes"], output)
