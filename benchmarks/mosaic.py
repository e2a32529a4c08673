# SPDX-License-Identifier: GPL-3.0-or-later
"""How long a mosaic takes, and how much memory: against frames of a pointing, and against pointings.

usage: python benchmarks/mosaic.py [--rounds N] [--shape H W] [-o DIR]

Simulates raw Seestar frames of 2 x 2 pointings (uint16 Bayer, solved), runs ``zemosaic-patch mosaic`` on parts of them
in turn, each time from frame files to the mosaic and its report, and writes a table and a plot. Memory is the
proportional set size of the command and of what it starts, sampled (on Linux; elsewhere the resident size).
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil

from zemosaic_patch.demo.session import POINTINGS, pleiades_session, write_frames

PARTS = ((1, 16), (2, 16), (4, 4), (4, 8), (4, 16))  # pointings, frames of each
SAMPLING_S = 0.02


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3, metavar="N", help="runs of each part")
    parser.add_argument("--shape", type=int, nargs=2, default=(1080, 1920), metavar=("H", "W"), help="of a frame")
    parser.add_argument("-o", "--output", type=Path, default=Path(__file__).with_name("results"), metavar="DIR")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="benchmark-") as name:
        folder = Path(name)
        session = pleiades_session(64, tuple(options.shape))
        write_frames(session, folder / "frames")
        names = [frame.name for frame in session.frames]
        groups = [[folder / "frames" / name for name in names[number::POINTINGS]] for number in range(POINTINGS)]
        runs = {part: [] for part in PARTS}
        run(groups, (1, 4), folder)  # compiles
        for _ in range(options.rounds):
            for part in PARTS:
                runs[part].append(run(groups, part, folder))
                print(part, runs[part][-1], file=sys.stderr)
    report(runs, options)
    return 0


def run(groups: list[list[Path]], part: tuple[int, int], folder: Path) -> tuple[float, float]:
    """Make a mosaic of a part of the frames; return seconds and MiB."""
    pointings, frames = part
    paths = [path for group in groups[:pointings] for path in group[:frames]]
    command = [sys.executable, "-m", "zemosaic_patch", "mosaic", *paths, "-o", folder / "out", "--overwrite"]
    began = time.perf_counter()
    child = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    peak = 0
    while child.poll() is None:
        peak = max(peak, memory_of(child.pid))
        time.sleep(SAMPLING_S)
    seconds = time.perf_counter() - began
    if child.returncode:
        raise RuntimeError(child.stderr.read())
    return seconds, peak / 2**20


def memory_of(pid: int) -> int:
    """Return the bytes that a process and its children have, shared ones counted once."""
    total = 0
    try:
        parent = psutil.Process(pid)
        for process in (parent, *parent.children(recursive=True)):
            known = process.memory_full_info() if sys.platform == "linux" else process.memory_info()
            total += getattr(known, "pss", known.rss)
    except psutil.NoSuchProcess:
        pass
    return total


def report(runs: dict[tuple[int, int], list[tuple[float, float]]], options: argparse.Namespace) -> None:
    """Write the table, and the plot where matplotlib is there."""
    height, width = options.shape
    lines = [
        f"`python benchmarks/mosaic.py --rounds {options.rounds} --shape {height} {width}`, "
        f"{psutil.cpu_count()} cores; medians.",
        "",
        "| pointings | frames of each | seconds | a frame | peak memory |",
        "|---|---|---|---|---|",
    ]
    medians = {}
    for (pointings, frames), results in runs.items():
        seconds, memory = (statistics.median(values) for values in zip(*results, strict=True))
        medians[pointings, frames] = seconds
        each = seconds / (pointings * frames)
        lines.append(f"| {pointings} | {frames} | {seconds:.1f} s | {each:.3f} s | {memory:,.0f} MiB |")
    options.output.mkdir(parents=True, exist_ok=True)
    (options.output / "mosaic.md").write_text("\n".join(lines) + "\n", encoding="utf-8")
    print("\n".join(lines))
    try:
        plot(medians, options)
    except ImportError:
        print("matplotlib cannot be imported: no plot", file=sys.stderr)


def plot(medians: dict[tuple[int, int], float], options: argparse.Namespace) -> None:
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    height, width = options.shape
    figure, axes = plt.subplots(figsize=(6, 3.6), constrained_layout=True)
    for label, keep in {
        "4 pointings": lambda part: part[0] == 4,
        "16 frames of each": lambda part: part[1] == 16,
    }.items():
        points = sorted(
            (pointings * frames, seconds)
            for (pointings, frames), seconds in medians.items()
            if keep((pointings, frames))
        )
        axes.plot(*zip(*points, strict=True), "o-", label=label)
    axes.set(
        xlabel=f"frames, {height} x {width} raw", ylabel="seconds, frames to mosaic", xlim=(0, None), ylim=(0, None)
    )
    axes.grid(alpha=0.3)
    axes.legend()
    figure.savefig(options.output / "mosaic.png", dpi=120)


if __name__ == "__main__":
    sys.exit(main())
