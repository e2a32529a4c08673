# SPDX-License-Identifier: GPL-3.0-or-later
"""All that a GPU can show, in one piece and within six minutes: tests on the device, faults, benchmarks.

usage: python benchmarks/gpu_check.py [--xp numpy]

`make gpu-check` runs it. It installs what the machine lacks beside the working tree, runs the tests of the GPU's code
and benchmarks/gpu.py, each within a time of its own, and prints one report. All results go to gpu.json in
benchmarks/results, and in the folder that the variable OUT names, if any. Exit code 0: there is a GPU, and everything
passed on it. Needs nothing but Python itself to start.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import gpu_packages
from gpu_packages import ROOT, SITE

RESULTS = ROOT / "benchmarks" / "results"
TESTS = ("test_cuda_kernel.py", "test_gpu_parity.py", "test_gpu_faults.py")
DEVICE_S, TESTS_S, BENCHMARKS_S = 30.0, 145.0, 115.0  # with the packages: 350 s
ON_DEVICE = re.compile(r"^test_cupy_|[\[-]cupy\b")  # the names of the tests that need a device
FOR_A_DEVICE = "cupy or not (numpy or stand)"  # those on NumPy and on the stand-in need none
MOST_WORKERS = 8  # tests at the same time: each is a process with a context on the device
REASON_LENGTH = 500
WRITTEN_TO = {
    "TMPDIR": "gpu-tmp",
    "NUMBA_CACHE_DIR": "gpu-numba",
    "CUPY_CACHE_DIR": "gpu-cupy",
    "CUDA_CACHE_PATH": "gpu-cuda",
    "XDG_CACHE_HOME": "gpu-cache",
    "XDG_CONFIG_HOME": "gpu-config",
}  # below build: variables of the system and the libraries
FIND_DEVICE = """
import json
from nanstack.stack import gpu
xp, reason = gpu.load_cupy()
print(json.dumps({"fault": gpu.find_fault(xp)}))
"""
HELP = "install CuPy for the driver's CUDA: pip install cupy-cuda13x (CUDA 13) or cupy-cuda12x (CUDA 12)"


@dataclass(frozen=True)
class FileOfTests:
    """What became of the tests of one file.

    Attributes
    ----------
    name : str
    passed, failed, skipped : int
    on_device : int
        Those of the passed ones that ran on the device.
    failures : tuple of str
        Name and reason of each that failed.
    """

    name: str
    passed: int = 0
    failed: int = 0
    skipped: int = 0
    on_device: int = 0
    failures: tuple[str, ...] = ()


@dataclass(frozen=True)
class Part:
    """A process of the check: its exit code is None where it was stopped at its limit."""

    name: str
    seconds: float
    limit_s: float
    code: int | None
    said: str

    def problem(self) -> str | None:
        if self.code is None:
            return f"{self.name}: stopped after {self.limit_s:.0f} s"
        return f"{self.name}: ended with {self.code}: {self.said}" if self.code else None


@dataclass
class Check:
    """Everything that was found so far; written as JSON."""

    verdict: str = "unfinished"
    problems: list[str] = field(default_factory=list)
    packages_installed: list[str] = field(default_factory=list)
    packages_missing: dict[str, str] = field(default_factory=dict)
    parts: list[Part] = field(default_factory=list)
    tests: list[FileOfTests] = field(default_factory=list)
    benchmarks: dict[str, Any] = field(default_factory=dict)
    seconds: float = 0.0

    def add(self, part: Part) -> None:
        self.parts.append(part)
        self.problems += [problem for problem in (part.problem(),) if problem]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the check; return 0 where everything passed on a device."""
    parser = argparse.ArgumentParser(prog="benchmarks/gpu_check.py", description=__doc__.splitlines()[0])
    parser.add_argument(
        "--xp", choices=("cupy", "numpy"), default="cupy", help="numpy takes CuPy's place: a rehearsal without a GPU"
    )
    rehearsal = parser.parse_args(arguments).xp == "numpy"
    started = time.monotonic()
    check = Check()
    try:
        run_all(check, rehearsal)
    finally:
        check.seconds = time.monotonic() - started
        write(check)
    print(report(check))
    return 0 if check.verdict in ("passed", "rehearsed") else 1


def run_all(check: Check, rehearsal: bool) -> None:
    """Run one part after the other, as far as it makes sense."""
    install(check)
    if not rehearsal and not find_device(check):
        check.verdict = "no GPU"
        return
    run_tests(check, rehearsal)
    write(check)
    run_benchmarks(check, rehearsal)
    if not check.problems:
        check.verdict = "rehearsed" if rehearsal else "passed"
    else:
        check.verdict = "failed"


def install(check: Check) -> None:
    """Install the packages that are missing."""
    lacking = gpu_packages.missing()
    if lacking:
        told(f"installing {', '.join(package.name for package in lacking)}")
    check.packages_missing = gpu_packages.install(lacking)
    check.packages_installed = [package.name for package in lacking if package.name not in check.packages_missing]


def find_device(check: Check) -> bool:
    """Tell whether CuPy finds a device that computes."""
    told("looking for a GPU")
    part, output = run("device", [sys.executable, "-c", FIND_DEVICE], DEVICE_S)
    check.add(part)
    if part.code == 0:
        fault = json.loads(output.splitlines()[-1])["fault"]
        if fault is None:
            return True
        check.problems.append(f"no GPU: {fault}" + (f"; {HELP}" if "CuPy" in fault else ""))
    return False


def run_tests(check: Check, rehearsal: bool) -> None:
    """Run the tests of the GPU's code, several at a time."""
    files = [str(Path("tests", "nanstack", "stack", name)) for name in TESTS]
    with tempfile.TemporaryDirectory(dir=places()["TMPDIR"]) as folder:
        log = Path(folder) / "log"
        workers = str(max(1, min(MOST_WORKERS, (os.cpu_count() or 1) // 2)))
        command = [sys.executable, "-m", "pytest", "-q", "-n", workers, "--dist", "worksteal", "--tb=line"]
        command += ["-p", "no:cacheprovider", "--report-log", str(log), *files]
        command += [] if rehearsal else ["-k", FOR_A_DEVICE]
        told(f"tests on the device, {workers} at a time, {TESTS_S:.0f} s at most")
        part, _ = run("tests", command, TESTS_S)
        check.tests = read_tests(log)
    check.add(part)
    check.problems += [f"failed: {failure}" for file in check.tests for failure in file.failures]
    if not rehearsal:
        check.problems += [f"no test of {file.name} ran on the device" for file in check.tests if not file.on_device]


def read_tests(log: Path) -> list[FileOfTests]:
    """Return what a pytest-reportlog says of each file; of a run that was stopped, what it had done."""
    files = {name: FileOfTests(name) for name in TESTS}
    lines = log.read_text(encoding="utf-8").splitlines() if log.exists() else []
    for line in lines:
        try:
            event = json.loads(line)
        except ValueError:  # the last line of a run that was stopped
            continue
        name = Path(event.get("nodeid", "").partition("::")[0]).name
        if event.get("$report_type") == "TestReport" and name in files:
            files[name] = counted(files[name], event)
    return list(files.values())


def counted(file: FileOfTests, event: dict[str, Any]) -> FileOfTests:
    """Count the report of a test's set-up, call or tidying up."""
    outcome, test = event["outcome"], event["nodeid"].partition("::")[2]
    if outcome == "failed":
        failure = f"{file.name}::{test}: {_reason(event.get('longrepr'))}"
        return replace(file, failed=file.failed + 1, failures=(*file.failures, failure))
    if outcome == "skipped":
        return replace(file, skipped=file.skipped + 1)
    if event["when"] != "call":
        return file
    return replace(file, passed=file.passed + 1, on_device=file.on_device + (ON_DEVICE.search(test) is not None))


def _reason(longrepr: Any) -> str:
    crash = longrepr.get("reprcrash") if isinstance(longrepr, dict) else None
    return (crash["message"] if crash else str(longrepr))[:REASON_LENGTH]


def run_benchmarks(check: Check, rehearsal: bool) -> None:
    """Run benchmarks/gpu.py; of a run that was stopped, keep what it had measured."""
    with tempfile.TemporaryDirectory(dir=places()["TMPDIR"]) as folder:
        output = Path(folder) / "gpu.json"
        command = [sys.executable, str(ROOT / "benchmarks" / "gpu.py"), "-o", str(output)]
        told(f"benchmarks, {BENCHMARKS_S:.0f} s at most")
        part, _ = run("benchmarks", [*command, *(("--xp", "numpy", "--quick") if rehearsal else ())], BENCHMARKS_S)
        check.add(part)
        if output.exists():
            check.benchmarks = json.loads(output.read_text(encoding="utf-8"))
    rows = check.benchmarks.get("rows", [])
    check.problems += [f"{row['what']}, n = {row['n']}: the GPU's is not the CPU's" for row in rows if not row["same"]]


def run(name: str, command: Sequence[str], limit_s: float) -> tuple[Part, str]:
    """Run a process and all that it starts, no longer than its limit; return what became of it, and its output."""
    started = time.monotonic()
    with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace", dir=places()["TMPDIR"]) as output:
        child = subprocess.Popen(
            command, cwd=ROOT, env=environment(), stdout=output, stderr=output, text=True,
            start_new_session=True,
        )  # fmt: skip
        try:
            code = child.wait(limit_s)
        except subprocess.TimeoutExpired:
            code = None
            stop(child)
        output.seek(0)
        text = output.read()
    return Part(name, time.monotonic() - started, limit_s, code, "" if code == 0 else text[-REASON_LENGTH:]), text


def environment() -> dict[str, str]:
    """Return the environment in which what was installed is found, and nothing is written outside the working tree."""
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH"), str(SITE)]))
    return {**os.environ, **places(), "PYTHONPATH": path}


def places() -> dict[str, str]:
    """Return the folders of the working tree that are written to, by the variables that name them."""
    folders = {name: ROOT / "build" / folder for name, folder in WRITTEN_TO.items()}
    for folder in folders.values():
        folder.mkdir(parents=True, exist_ok=True)
    return {name: str(folder) for name, folder in folders.items()}


def stop(child: subprocess.Popen) -> None:
    """End a process and those that it started."""
    if hasattr(os, "killpg"):
        os.killpg(child.pid, signal.SIGKILL)
    else:  # Windows
        child.kill()
    child.wait()


def told(text: str) -> None:
    print(f"{text} ...", file=sys.stderr, flush=True)


def write(check: Check) -> None:
    """Write the results where they are kept, and where a machine that is lent hands them back."""
    folders = [RESULTS, *(Path(name) for name in (os.environ.get("OUT"),) if name)]
    for folder in folders:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "gpu.json").write_text(json.dumps(asdict(check), indent=1) + "\n", encoding="utf-8")


def report(check: Check) -> str:
    """Return the report: what the machine is, the table, the tests, the verdict."""
    facts = check.benchmarks.get("facts", {})
    lines = [f"{name}: {value}" for name, value in facts.items()]
    lines += [f"could not be installed: {name}: {reason}" for name, reason in check.packages_missing.items()]
    if "table" in check.benchmarks:
        lines += ["", check.benchmarks["table"], ""]
    for file in check.tests:
        lines.append(
            f"{file.name}: {file.passed} passed, {file.on_device} of them on the device; {file.failed} failed, "
            f"{file.skipped} skipped"
        )
    lines += check.problems
    return "\n".join([*lines, f"{check.verdict}, after {check.seconds:.0f} s"])


if __name__ == "__main__":
    sys.exit(main())
