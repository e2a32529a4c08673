# SPDX-License-Identifier: GPL-3.0-or-later
"""What a GPU gains: stacks on the CPU and on the GPU side by side, upload, compute and download apart, a whole tile.

usage: python benchmarks/gpu.py [--quick] [--xp numpy] [-o FILE]

Writes JSON after each measurement (a run that is stopped keeps what it has), and prints a table. Exit code 1: there is
no GPU, or its results are not the CPU's.
"""

from __future__ import annotations

import argparse
import functools
import json
import shlex
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import data
import numpy as np
from plan import Shape
from report import Column, machine_facts, table
from timing import interleaved, median_seconds, timed

from nanstack.stack import gpu
from nanstack.stack.definition import METHODS, Rejection
from nanstack.stack.stacker import Stack, stack_frames
from nanstack.tile import make_tile

OUTPUT = Path(__file__).with_name("results") / "gpu-benchmark.json"
TOLERANCE_ADU = 1e-3  # by which a GPU's pixel may differ, on data of about 1000 ADU
ENOUGH_S = 8.0  # a contender that took longer in all sits out the remaining rounds

Array = Any  # of the array module


@dataclass(frozen=True)
class Sizes:
    """What is measured; (count, shape) pairs are n and (H, W)."""

    rounds: int
    stacks: tuple[tuple[int, Shape], ...]
    others: tuple[int, Shape]  # of the rejections that are not the default
    tile: tuple[int, Shape]


FULL = Sizes(
    rounds=5,
    stacks=((10, (1080, 1920)), (30, (1080, 1920)), (100, (540, 960)), (300, (270, 480))),
    others=(30, (540, 960)),
    tile=(20, (1080, 1920)),
)
QUICK = Sizes(
    rounds=2,
    stacks=((10, (24, 32)), (30, (24, 32)), (100, (12, 16)), (300, (12, 16))),
    others=(30, (12, 16)),
    tile=(3, (200, 300)),
)


@dataclass(frozen=True)
class Measurement:
    """A stack or a tile, on both processors; medians.

    Attributes
    ----------
    what : str
    n, height, width : int
        Frames and their size; all have three channels.
    cpu_s, gpu_s : float
        The whole of it, seconds. For a stack: from frames in memory to an image in memory.
    cpu_ns, gpu_ns : float or None
        The same in nanoseconds a sample.
    upload_ns, compute_ns, download_ns : float or None
        Of a block of rows on the GPU, one after the other, nanoseconds a sample of the frames. In a stack a block is
        uploaded while the one before is computed.
    first_s : float or None
        The first such stack on the GPU, what is compiled for it included; seconds.
    by : str
        What computed on the GPU: 'kernel', or 'definition' (array by array).
    difference : float
        Largest difference between the two images, ADU.
    same : bool
        Whether coverage and rejected samples are the same, and no pixel differs by more than the tolerance.
    """

    what: str
    n: int
    height: int
    width: int
    cpu_s: float
    gpu_s: float
    cpu_ns: float | None
    gpu_ns: float | None
    upload_ns: float | None
    compute_ns: float | None
    download_ns: float | None
    first_s: float | None
    by: str
    difference: float
    same: bool


@dataclass
class Results:
    """All that a run has measured so far."""

    facts: dict[str, str]
    rows: list[Measurement] = field(default_factory=list)
    table: str = ""


COLUMNS = (
    Column("what", "what"),
    Column("n", "n", "{:d}"),
    Column("size", "HxW"),
    Column("cpu_s", "CPU, s", "{:.3f}"),
    Column("gpu_s", "GPU, s", "{:.3f}"),
    Column("gain", "CPU/GPU", "{:.1f}"),
    Column("cpu_ns", "CPU, ns/sample", "{:.2f}"),
    Column("gpu_ns", "GPU, ns/sample", "{:.2f}"),
    Column("upload_ns", "upload", "{:.3f}"),
    Column("compute_ns", "compute", "{:.3f}"),
    Column("download_ns", "download", "{:.3f}"),
    Column("first_s", "first, s", "{:.1f}"),
    Column("by", "GPU by"),
    Column("difference", "differs, ADU", "{:.1g}"),
    Column("verdict", "same"),
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure everything; return 1 where there is no GPU, or a result of it is not the CPU's."""
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    options = _parser().parse_args(arguments)
    if options.xp == "numpy":
        sys.modules["cupy"] = np  # wherever the engine looks for CuPy
    xp, _ = gpu.load_cupy()
    fault = gpu.find_fault(xp)
    if fault:
        print(f"no GPU: {fault}", file=sys.stderr)
        return 1
    results = Results(facts=machine_facts(shlex.join(["python", "benchmarks/gpu.py", *arguments])) | device_facts(xp))
    for measure in measurements(xp, QUICK if options.quick else FULL):
        results.rows.append(measure())
        results.table = as_table(results.rows)
        options.output.parent.mkdir(parents=True, exist_ok=True)
        options.output.write_text(json.dumps(asdict(results), indent=1) + "\n", encoding="utf-8")
    print(results.table)
    return 0 if all(row.same for row in results.rows) else 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="benchmarks/gpu.py", description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="tiny sizes: shows that everything works")
    parser.add_argument(
        "--xp", choices=("cupy", "numpy"), default="cupy", help="numpy takes CuPy's place: a rehearsal without a GPU"
    )
    parser.add_argument("-o", "--output", type=Path, default=OUTPUT, metavar="FILE", help="JSON")
    return parser


def as_table(rows: Sequence[Measurement]) -> str:
    """Return a Markdown table."""
    shown = [
        {
            **asdict(row),
            "size": f"{row.height}x{row.width}",
            "gain": row.cpu_s / row.gpu_s,
            "verdict": "yes" if row.same else "NO",
        }
        for row in rows
    ]
    return table(COLUMNS, shown)


def device_facts(xp: Any) -> dict[str, str]:
    """Return what the figures depend on besides the machine."""
    facts = {"array module": f"{xp.__name__} {xp.__version__}", "GPU": gpu.device_name(xp)}
    if hasattr(xp, "cuda"):
        runtime = xp.cuda.runtime
        facts["GPU memory"] = f"{gpu.device_memory(xp)[1] / 2**30:.1f} GiB"
        facts["CUDA"] = (
            f"runtime {_release(runtime.runtimeGetVersion())}, driver {_release(runtime.driverGetVersion())}"
        )
    return facts


def _release(number: int) -> str:
    return f"{number // 1000}.{number % 1000 // 10}"


def measurements(xp: Any, sizes: Sizes) -> list[Callable[[], Measurement]]:
    """Return what is to be measured, what matters most first."""
    default, *others = METHODS
    stacks = [partial(measure_stack, xp, count, shape, default, sizes.rounds) for count, shape in sizes.stacks]
    rest = [partial(measure_stack, xp, *sizes.others, method, sizes.rounds) for method in others]
    return [*stacks, partial(measure_tile, *sizes.tile, min(3, sizes.rounds)), *rest]


# --- a stack ----------------------------------------------------------------------------------------------------------


def measure_stack(xp: Any, count: int, shape: Shape, method: str, rounds: int) -> Measurement:
    """Stack frames in memory with NaN borders, on both processors in turn."""
    print(f"{method}, {count} frames {shape[0]}x{shape[1]} ...", file=sys.stderr, flush=True)
    frames = frames_with_borders(count, shape)
    rejection = Rejection(method)
    started = time.perf_counter()
    found = gpu.stack_frames(frames, rejection, xp=xp)
    first = time.perf_counter() - started
    truth = stack_frames(frames, rejection)  # which compiles it
    calls = {
        "CPU": partial(timed, partial(stack_frames, frames, rejection)),
        "GPU": partial(timed, partial(gpu.stack_frames, frames, rejection, xp=xp)),
    }
    seconds = {name: median_seconds(runs) for name, runs in interleaved(calls, rounds, ENOUGH_S).items()}
    difference = largest_difference(found.image, truth.image)
    return Measurement(
        f"stack, {method}",
        count,
        *shape,
        cpu_s=seconds["CPU"],
        gpu_s=seconds["GPU"],
        cpu_ns=1e9 * seconds["CPU"] / frames.size,
        gpu_ns=1e9 * seconds["GPU"] / frames.size,
        **_block_times(xp, frames, rejection, rounds),
        first_s=first,
        by="definition" if gpu.kernel_launch(xp, rejection, count) is None else "kernel",
        difference=difference,
        same=difference <= TOLERANCE_ADU and _same_samples(found, truth),
    )


@functools.lru_cache(maxsize=1)
def frames_with_borders(count: int, shape: Shape) -> np.ndarray:
    """Return what is stacked; kept for the next rejection."""
    frames = data.noise_frames(count, shape)
    data.add_nan_borders(frames)
    return frames


def _block_times(xp: Any, frames: np.ndarray, rejection: Rejection, rounds: int) -> dict[str, float]:
    """Time the three parts of a block, one after the other; nanoseconds a sample."""
    rows = max(1, gpu.BLOCK_BYTES // frames[:, :1].nbytes)
    samples = pinned_copy(xp, frames[:, :rows])
    slot = xp.empty(samples.shape, np.float32)
    columns = slot.reshape(len(samples), -1)
    upload(samples, slot)
    block = gpu.stack_block(xp, columns, rejection, "mean")
    parts = {
        "upload_ns": partial(upload, samples, slot),
        "compute_ns": partial(gpu.stack_block, xp, columns, rejection, "mean"),
        "download_ns": lambda: [gpu.to_host(xp, part) for part in block],
    }
    calls = {name: partial(timed, partial(_to_its_end, xp, call)) for name, call in parts.items()}
    return {
        name: 1e9 * median_seconds(runs) / samples.size for name, runs in interleaved(calls, rounds, ENOUGH_S).items()
    }


def pinned_copy(xp: Any, frames: np.ndarray) -> np.ndarray:
    """Return a copy in memory that a device copies from by itself, as that of the engine's blocks."""
    if not hasattr(xp, "cuda"):
        return frames.copy()
    samples = np.frombuffer(xp.cuda.alloc_pinned_memory(frames.nbytes), np.float32, frames.size).reshape(frames.shape)
    samples[...] = frames
    return samples


def upload(samples: np.ndarray, slot: Array) -> None:
    """Copy samples into an array on the device."""
    if hasattr(slot, "set"):
        slot.set(samples)
    else:
        slot[...] = samples


def _to_its_end(xp: Any, call: Callable[[], object]) -> object:
    """Call, and wait for what was asked of the device."""
    result = call()
    if hasattr(xp, "cuda"):
        xp.cuda.runtime.deviceSynchronize()
    return result


def largest_difference(found: np.ndarray, truth: np.ndarray) -> float:
    """Return by how much two images differ at most; infinity where one alone has no number."""
    if not np.array_equal(np.isnan(found), np.isnan(truth)):
        return float("inf")
    difference = np.abs(found.astype(np.float64) - truth)
    return float(np.nanmax(difference, initial=0))


def _same_samples(found: Stack, truth: Stack) -> bool:
    return np.array_equal(found.coverage, truth.coverage) and found.rejected == truth.rejected


# --- a tile -----------------------------------------------------------------------------------------------------------


def measure_tile(count: int, shape: Shape, rounds: int) -> Measurement:
    """Make a tile of frames on the disk, with and without the GPU in turn."""
    print(f"tile, {count} frames {shape[0]}x{shape[1]} ...", file=sys.stderr, flush=True)
    with tempfile.TemporaryDirectory(prefix="benchmark-") as name:
        folder = Path(name)
        data.write_npy(data.simulated_frames(count, shape), folder / "frames")
        started = time.perf_counter()
        on_gpu, where = tile(folder, "on")
        first = time.perf_counter() - started
        on_cpu, _ = tile(folder, "off")
        calls = {gpu_use: partial(timed, partial(tile, folder, gpu_use)) for gpu_use in ("off", "on")}
        seconds = {name: median_seconds(runs) for name, runs in interleaved(calls, rounds, 2 * ENOUGH_S).items()}
    difference = largest_difference(on_gpu, on_cpu)
    return Measurement(
        "tile, from files",
        count,
        *shape,
        cpu_s=seconds["off"],
        gpu_s=seconds["on"],
        cpu_ns=None,
        gpu_ns=None,
        upload_ns=None,
        compute_ns=None,
        download_ns=None,
        first_s=first,
        by=where,
        difference=difference,
        same=where == "gpu" and difference <= TOLERANCE_ADU,
    )


def tile(folder: Path, gpu_use: str) -> tuple[np.ndarray, str]:
    """Make the tile of a folder's frames; return its pixels, and what stacked it."""
    sources = [partial(np.load, path) for path in sorted((folder / "frames").iterdir())]
    made = make_tile(sources, 1, gpu=gpu_use)
    return made.image, made.report.stacked_on


if __name__ == "__main__":
    sys.exit(main())
