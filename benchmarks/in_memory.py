# SPDX-License-Identifier: GPL-3.0-or-later
"""Sections whose frames are in memory: stacks against the peers, how they scale, alignment."""

from __future__ import annotations

import os
import statistics
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import data
import numpy as np
import peers
from plan import Plan
from report import Column, Section
from timing import Run, interleaved, median_seconds, range_seconds, timed, told, whole_process

from nanstack.register.alignment import align_frames
from nanstack.stack.definition import Rejection
from nanstack.stack.stacker import stack_frames

OURS = "ours, winsor"
ONE_THREAD = "ours, winsor, 1 thread"
OTHER_METHODS = ("kappa_sigma", "huber", "linear_fit", "none")
OTHER_METHODS_AT = 30  # frames
COMPLETE, BORDERS = "complete", "NaN borders"
JOBS = Path(__file__).with_name("jobs.py")

Contenders = dict[str, Callable[[], Run]]


def memory(plan: Plan, folder: Path) -> Section:
    section = Section(
        "memory",
        "Stacks in memory",
        "Stack of n frames, one float32 array (n, H, W, 3), to one image; noise, and "
        f"{100 * data.OUTLIERS:g} % outliers. A sample is one frame's value of one pixel "
        "and channel; samples without data count. Ours runs on all cores unless it says so; the peers have no threads. "
        "`ours/it` is the time of our winsorized stack on all cores over the time of that row: below 1, ours is "
        "faster. Means reject nothing; astropy clips in up to 5 rounds, ccdproc in one (it also computes the "
        "uncertainty, and copies the stack first). `part`: a peer that is slow, or copies the stack, was timed on "
        "every k-th row; its ns/sample are those of that part.",
        [
            Column("n", "n", "{:d}"),
            Column("size", "HxW"),
            Column("data", "frames"),
            Column("name", "what"),
            Column("ns", "ns/sample", "{:.2f}"),
            Column("low", "min", "{:.2f}"),
            Column("high", "max", "{:.2f}"),
            Column("ratio", "ours/it", "{:.3f}"),
            Column("part", "part", "1/{:d}"),
            Column("runs", "runs", "{:d}"),
        ],
        notes=peers.missing("bottleneck", "ccdproc"),
    )
    for count, shape in plan.stacks:
        frames = data.noise_frames(count, shape)
        section.rows += _stack_rows(frames, COMPLETE, plan)
        data.add_nan_borders(frames)
        section.rows += _stack_rows(frames, BORDERS, plan)
        del frames
    return section


def extra(plan: Plan, folder: Path) -> Section:
    section = Section(
        "extra",
        "Memory of a stack in memory",
        "By how much the resident memory of a process rises above that of its frames while it stacks them (winsorized, "
        "a list of frames). The output is the image and its coverage.",
        [
            Column("n", "n", "{:d}"),
            Column("size", "HxW"),
            Column("output", "output, MiB", "{:.0f}"),
            Column("beside", "beside it, MiB", "{:.0f}"),
        ],
    )
    if not Path("/proc/self/clear_refs").exists():
        section.notes.append("Not measured: this system does not tell the highest resident memory of a while.")
        return section
    for count, (height, width) in plan.stacks:
        runs = [
            whole_process([sys.executable, JOBS, "extra", str(count), str(height), str(width)])
            for _ in range(plan.rounds)
        ]
        extra_bytes, output = (
            statistics.median(told(run, f"{what}_bytes") for run in runs) for what in ("extra", "output")
        )
        row = {"n": count, "size": f"{height}x{width}", "output": output / 2**20}
        section.rows.append({**row, "beside": (extra_bytes - output) / 2**20})
    return section


def _stack_rows(frames: np.ndarray, kind: str, plan: Plan) -> list[dict]:
    count, height, width, _ = frames.shape
    contenders, parts = _stack_contenders(frames, kind, plan)
    print(f"  {count} frames {height}x{width}, {kind}", file=sys.stderr)
    runs = interleaved(contenders, plan.rounds)
    per_sample = {name: 1e9 / (frames[:, :: parts[name]].size) for name in runs}
    ours = median_seconds(runs[OURS]) * per_sample[OURS]
    rows = []
    for name, taken in runs.items():
        ns = median_seconds(taken) * per_sample[name]
        low, high = (seconds * per_sample[name] for seconds in range_seconds(taken))
        part = parts[name] if parts[name] > 1 else None
        row = {"n": count, "size": f"{height}x{width}", "data": kind, "name": name, "ns": ns, "low": low, "high": high}
        rows.append({**row, "ratio": ours / ns if name != OURS else None, "part": part, "runs": len(taken)})
    return rows


def _stack_contenders(frames: np.ndarray, kind: str, plan: Plan) -> tuple[Contenders, dict[str, int]]:
    """Return the calls, and for each the k of "every k-th row"."""
    calls: dict[str, Callable[[], object]] = {}
    parts: dict[str, int] = {}

    def enter(name: str, call: Callable[[], object], part: int = 1) -> None:
        calls[name], parts[name] = call, part

    enter(OURS, partial(_stack, frames, "winsor"))
    enter(ONE_THREAD, partial(_stack_on_one_thread, frames))
    if len(frames) == OTHER_METHODS_AT:
        for method in OTHER_METHODS:
            enter(f"ours, {method}", partial(_stack, frames, method))
    if peers.is_there("bottleneck"):
        enter("bottleneck.nanmean", partial(peers.bottleneck_nanmean, frames))
    if kind == COMPLETE:
        enter("numpy.mean", partial(peers.numpy_mean, frames))
    some, part = _every_kth_row(frames, plan.copied_samples)
    enter("numpy.nanmean", partial(peers.numpy_nanmean, some), part)
    few, part = _every_kth_row(frames, plan.slow_samples)
    enter("astropy sigma_clip + nanmean", partial(peers.astropy_sigma_clip, few), part)
    if peers.is_there("ccdproc"):
        enter("ccdproc.Combiner", peers.ccdproc_combiner(few), part)
    _warm_up(frames, [name for name in calls if name.startswith("ours")])
    return {name: partial(timed, call) for name, call in calls.items()}, parts


def _every_kth_row(frames: np.ndarray, most: int) -> tuple[np.ndarray, int]:
    """Return every k-th row, k the least that leaves no more samples than `most`."""
    step = max(1, -(-frames.size // most))
    return np.ascontiguousarray(frames[:, ::step]), step


def _stack(frames: np.ndarray, method: str) -> object:
    return stack_frames(frames, Rejection(method))


def _stack_on_one_thread(frames: np.ndarray) -> object:
    with _threads(1):
        return _stack(frames, "winsor")


@contextmanager
def _threads(count: int) -> Iterator[None]:
    """Let Numba use so many threads."""
    try:
        import numba
    except ImportError:  # then there are none
        yield
        return
    before = numba.get_num_threads()
    numba.set_num_threads(count)
    try:
        yield
    finally:
        numba.set_num_threads(before)


def _warm_up(frames: np.ndarray, names: list[str]) -> None:
    """Compile what is to be timed, on one row."""
    for name in names:
        _stack(np.ascontiguousarray(frames[:, :1]), name.split(", ")[1])


# --- scaling ----------------------------------------------------------------------------------------------------------


def scaling(plan: Plan, folder: Path) -> Section:
    section = Section(
        "scaling",
        "How the winsorized stack scales",
        "Frames with NaN borders, in memory. With n: as many samples in all, so smaller frames. With pixels: n = "
        f"{plan.scaling_n}. With threads: a process each, NUMBA_NUM_THREADS.",
        [
            Column("by", "with"),
            Column("n", "n", "{:d}"),
            Column("size", "HxW"),
            Column("threads", "threads", "{:d}"),
            Column("seconds", "s", "{:.3f}"),
            Column("ns", "ns/sample", "{:.2f}"),
        ],
    )
    cores = os.cpu_count() or 1
    for count in plan.scaling_counts:
        side = max(8, round((plan.scaling_samples / (3 * count)) ** 0.5))
        section.rows.append(_scaling_row("n", count, (side, side), cores, _in_this_process(count, (side, side), plan)))
    for shape in plan.scaling_shapes:
        runs = _in_this_process(plan.scaling_n, shape, plan)
        section.rows.append(_scaling_row("pixels", plan.scaling_n, shape, cores, runs))
    count, shape = plan.scaling_n, plan.scaling_shapes[-1]
    choices = [threads for threads in plan.threads if threads <= cores]
    by_threads = interleaved(
        {str(threads): partial(_with_threads, threads, count, shape) for threads in choices}, plan.rounds
    )
    section.rows += [_scaling_row("threads", count, shape, int(name), runs) for name, runs in by_threads.items()]
    return section


def _in_this_process(count: int, shape: tuple[int, int], plan: Plan) -> list[Run]:
    frames = data.noise_frames(count, shape)
    data.add_nan_borders(frames)
    _warm_up(frames, [OURS])
    return interleaved(
        {f"{count} x {shape}": partial(timed, partial(_stack, frames, "winsor"))}, plan.rounds
    ).popitem()[1]


def _with_threads(threads: int, count: int, shape: tuple[int, int]) -> Run:
    environment = {**os.environ, "NUMBA_NUM_THREADS": str(threads)}
    run = whole_process([sys.executable, JOBS, "memory", str(count), *map(str, shape)], environment)
    return Run(told(run))


def _scaling_row(by: str, count: int, shape: tuple[int, int], threads: int, runs: list[Run]) -> dict:
    seconds = median_seconds(runs)
    size = f"{shape[0]}x{shape[1]}"
    ns = seconds * 1e9 / (count * shape[0] * shape[1] * 3)
    return {"by": by, "n": count, "size": size, "threads": threads, "seconds": seconds, "ns": ns}


# --- alignment --------------------------------------------------------------------------------------------------------


def alignment(plan: Plan, folder: Path) -> Section:
    count, shape = plan.group
    section = Section(
        "alignment",
        "Alignment",
        f"{count} simulated colour frames {shape[0]}x{shape[1]} (shifted by up to 40 px, turned by up to 6°), in "
        f"memory, onto the first of them: stars, transform, warp with footprint. Ours: all {count} frames, the "
        f"reference included. astroalign.register: {plan.astroalign_frames} of them, one thread.",
        [
            Column("name", "what"),
            Column("frames", "frames", "{:d}"),
            Column("lost", "lost", "{:d}"),
            Column("per_frame", "s/frame", "{:.3f}"),
            Column("ratio", "ours/it", "{:.3f}"),
            Column("runs", "runs", "{:d}"),
        ],
        notes=peers.missing("astroalign"),
    )
    frames = data.simulated_frames(count, shape)
    lost: dict[str, int] = {}
    contenders: Contenders = {
        "ours": partial(timed, partial(_align, frames, None, lost, "ours")),
        "ours, one frame at a time": partial(timed, partial(_align_on_one_thread, frames, lost)),
    }
    counts = {"ours": count, "ours, one frame at a time": count, "astroalign.register": plan.astroalign_frames}
    if peers.is_there("astroalign"):
        some = frames[1 : 1 + plan.astroalign_frames]
        contenders["astroalign.register"] = partial(timed, partial(_astroalign, some, frames[0], lost))
    _align(frames[:2], None, {}, "")  # compiles
    runs = interleaved(contenders, plan.rounds)
    ours = median_seconds(runs["ours"]) / count
    for name, taken in runs.items():
        per_frame = median_seconds(taken) / counts[name]
        row = {"name": name, "frames": counts[name], "lost": lost[name], "per_frame": per_frame, "runs": len(taken)}
        section.rows.append({**row, "ratio": ours / per_frame if name != "ours" else None})
    return section


def _align(frames: list[np.ndarray], threads: int | None, lost: dict[str, int], name: str) -> None:
    lost[name] = sum(not found.ok for found, _ in align_frames(frames, 0, threads=threads))


def _align_on_one_thread(frames: list[np.ndarray], lost: dict[str, int]) -> None:
    with _threads(1):
        _align(frames, 1, lost, "ours, one frame at a time")


def _astroalign(frames: list[np.ndarray], reference: np.ndarray, lost: dict[str, int]) -> None:
    import astroalign

    lost["astroalign.register"] = 0
    for frame in frames:
        try:
            astroalign.register(frame, reference)
        except (astroalign.MaxIterError, ValueError, TypeError):  # no match, or too few stars
            lost["astroalign.register"] += 1
