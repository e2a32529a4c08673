# SPDX-License-Identifier: GPL-3.0-or-later
"""The report: machine facts, and a table for each section."""

from __future__ import annotations

import os
import platform
import subprocess
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime, timezone
from importlib import metadata
from pathlib import Path
from typing import Any

OURS = ("numpy", "scipy", "numba", "sep", "zemosaic-patch")


@dataclass(frozen=True)
class Column:
    """A column: the key of its values, its heading, and how a number is written."""

    key: str
    heading: str
    style: str = "{}"

    def write(self, row: dict[str, Any]) -> str:
        value = row.get(self.key)
        return "-" if value is None else self.style.format(value)


@dataclass
class Section:
    """What a section measured.

    Attributes
    ----------
    name, title, intro : str
    columns : sequence of Column
    rows : list of dict
        Raw numbers.
    notes : list of str
        What was skipped, and why; what else needs to be known.
    seconds : float
        How long the section took.
    others_cores : float or None
        Cores that other processes kept busy meanwhile; more than some 0.1 spoils the figures.
    """

    name: str
    title: str
    intro: str
    columns: Sequence[Column]
    rows: list[dict[str, Any]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    seconds: float = 0.0
    others_cores: float | None = None

    def markdown(self) -> str:
        notes = "\n".join(f"- {note}" for note in self.notes)
        measured = table(self.columns, self.rows) if self.rows else "Nothing was measured."
        parts = [f"## {self.title}", self.intro, measured, notes]
        busy = "" if self.others_cores is None else f" Other processes kept {self.others_cores:.2f} cores busy."
        return "\n\n".join(part for part in parts if part) + f"\n\n*Took {self.seconds:.0f} s.{busy}*\n"

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def table(columns: Sequence[Column], rows: Sequence[dict[str, Any]]) -> str:
    """Return a Markdown table."""
    lines = [
        "| " + " | ".join(column.heading for column in columns) + " |",
        "|" + "|".join("---" if column.style == "{}" else "---:" for column in columns) + "|",
        *("| " + " | ".join(column.write(row) for column in columns) + " |" for row in rows),
    ]
    return "\n".join(lines)


def machine_facts(command: str) -> dict[str, str]:
    """Return what the figures depend on, in the order of the report."""
    facts = {
        "date": datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M UTC"),
        "command": f"`{command}`",
        "commit": _commit(),
        "CPU": f"{_cpu_model()}, {os.cpu_count()} cores",
        "memory": _memory(),
        "system": f"{platform.system()} {platform.machine()}",
        "load average at the start": _load(),
        "Python": platform.python_version(),
    }
    return facts | {name: _version(name) for name in OURS}


def facts_markdown(facts: dict[str, str]) -> str:
    return "\n".join(["| | |", "|---|---|", *(f"| {name} | {value} |" for name, value in facts.items())]) + "\n"


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "not installed"


def _cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or "unknown"
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), "unknown")


def _memory() -> str:
    try:
        import psutil
    except ImportError:
        return "unknown"
    return f"{psutil.virtual_memory().total / 2**30:.1f} GiB"


def _load() -> str:
    try:
        return f"{os.getloadavg()[0]:.2f}"
    except (AttributeError, OSError):  # Windows has none
        return "unknown"


def _commit() -> str:
    """Return the commit of the working tree, with a mark where it was changed since."""
    command = ["git", "describe", "--always", "--dirty"]
    try:
        said = subprocess.run(command, cwd=Path(__file__).parent, capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return "unknown"
    return said.stdout.strip() or "unknown"
