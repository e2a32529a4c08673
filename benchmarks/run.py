# SPDX-License-Identifier: GPL-3.0-or-later
"""Measure everything in one run on this machine, and write a report, a plot and the raw numbers.

usage: python benchmarks/run.py [--quick] [--full] [--only NAME ...] [-o DIR]
"""

from __future__ import annotations

import argparse
import json
import shlex
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import in_memory
import on_disk
import peers
from plan import FULL, QUICK, Plan
from plots import plot
from report import Section, facts_markdown, machine_facts
from timing import ProcessError, cpu_of_others

SECTIONS: dict[str, Callable[[Plan, Path], Section]] = {
    "memory": in_memory.memory,
    "extra": in_memory.extra,
    "disk": on_disk.disk,
    "alignment": in_memory.alignment,
    "tile": on_disk.tile,
    "scaling": in_memory.scaling,
    "bigstack": on_disk.bigstack,
}
ONLY_IF_ASKED = "bigstack"
DEFAULT_OUTPUT = Path(__file__).with_name("results")
FAILURES = (ProcessError, OSError, ValueError, MemoryError, ImportError, RuntimeError)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the sections; return 1 where one of them failed."""
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    options = _parser().parse_args(arguments)
    facts = machine_facts(shlex.join(["python", "benchmarks/run.py", *arguments])) | peers.versions()
    names = [name for name in SECTIONS if name in (options.only or _default_names(options.full))]
    sections, failures = [], {}
    for name in names:
        print(f"{name} ...", file=sys.stderr, flush=True)
        try:
            sections.append(_measure(name, QUICK if options.quick else FULL))
        except FAILURES as failure:
            failures[name] = f"{type(failure).__name__}: {failure}"
            print(f"{name} failed: {failures[name]}", file=sys.stderr)
        _write(options.output, facts, sections, failures, options.quick)
    print(f"written: {options.output / 'benchmarks.md'}")
    return 1 if failures else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="benchmarks/run.py", description="Time this project against its peers.")
    parser.add_argument("--quick", action="store_true", help="small sizes, 3 rounds: shows that everything works")
    parser.add_argument("--full", action="store_true", help=f"also {ONLY_IF_ASKED}, which writes 6.2 GB of frames")
    parser.add_argument("--only", nargs="+", choices=SECTIONS, metavar="NAME", help=f"of {', '.join(SECTIONS)}")
    parser.add_argument("-o", "--output", type=Path, default=DEFAULT_OUTPUT, metavar="DIR")
    return parser


def _default_names(full: bool) -> list[str]:
    return [name for name in SECTIONS if full or name != ONLY_IF_ASKED]


def _measure(name: str, plan: Plan) -> Section:
    started, others = time.perf_counter(), cpu_of_others()
    with tempfile.TemporaryDirectory(prefix="benchmark-") as folder:
        section = SECTIONS[name](plan, Path(folder))
    section.seconds = time.perf_counter() - started
    if others is not None:
        section.others_cores = max(0.0, (cpu_of_others() - others) / section.seconds)
    return section


def _write(output: Path, facts: dict, sections: list[Section], failures: dict[str, str], quick: bool) -> None:
    """Write what there is so far: a run that is stopped keeps what it measured."""
    output.mkdir(parents=True, exist_ok=True)
    as_json = {"facts": facts, "sections": [section.as_json() for section in sections], "failures": failures}
    (output / "benchmarks.json").write_text(json.dumps(as_json, indent=1) + "\n", encoding="utf-8")
    picture = _picture(sections, output / "benchmarks.png")
    text = [
        "# Benchmarks\n",
        "Quick run: small sizes, for a look whether everything works; not for quoting.\n" if quick else "",
        facts_markdown(facts),
        f"Medians of the runs, taken in turn.{picture}\n",
        *(section.markdown() for section in sections),
        *(f"## {name}\n\nFailed: {reason}\n" for name, reason in failures.items()),
    ]
    (output / "benchmarks.md").write_text("\n".join(part for part in text if part), encoding="utf-8")


def _picture(sections: list[Section], path: Path) -> str:
    path.unlink(missing_ok=True)
    try:
        drawn = plot(sections, path)
    except ImportError:
        return " matplotlib cannot be imported: no plot."
    return f"\n\n![ns per sample against n]({path.name})" if drawn else ""


if __name__ == "__main__":
    sys.exit(main())
