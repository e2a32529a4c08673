# SPDX-License-Identifier: GPL-3.0-or-later
"""Sections that run whole processes on files: stacks, tiles, and a stack larger than the memory it may take."""

from __future__ import annotations

import json
import shutil
import statistics
import sys
from functools import partial
from pathlib import Path

import data
import numpy as np
import peers
from plan import Plan
from report import Column, Section
from timing import ProcessError, Run, interleaved, median_seconds, peak_mib, range_seconds, told, whole_process

JOBS = Path(__file__).with_name("jobs.py")
OURS, SIRIL = "ours", "Siril"
FAR_ADU = 50.0
SPARE_DISK = 2 * 2**30  # left free beside what a section writes

PROCESS_COLUMNS = (
    Column("name", "what"),
    Column("seconds", "wall, s", "{:.2f}"),
    Column("low", "min", "{:.2f}"),
    Column("high", "max", "{:.2f}"),
    Column("inner", "without imports, s", "{:.2f}"),
    Column("peak_mib", "peak memory, MiB", "{:.0f}"),
    Column("ratio", "ours/it", "{:.3f}"),
)


def disk(plan: Plan, folder: Path) -> Section:
    count, shape = plan.files
    section = Section(
        "disk",
        "Stack from files to a file",
        f"Winsorized stack of {count} FITS files (float32, planes first, 3x{shape[0]}x{shape[1]}, complete; in the "
        "page cache) to a FITS file, each a whole process, start-up included. Both read the same files, from 0 to 1: "
        "Siril cuts floating-point samples above 1. Its command: "
        f"`{peers.SIRIL_STACK.format(sequence='light_', output='result')}`. The error is the rms from the true sky "
        f"where it is within {FAR_ADU:g} ADU; a mean without outliers has {data.NOISE / count**0.5:.2f} ADU. Beyond: "
        "pixels that outliers reached.",
        [*PROCESS_COLUMNS, Column("rms", "error, ADU", "{:.2f}"), Column("far", "beyond, %", "{:.3f}")],
    )
    frames = data.noise_frames(count, shape)
    data.write_fits(frames, folder / "frames")
    del frames
    contenders = {OURS: partial(_our_stack, folder / "frames", count, folder / "ours.fit")}
    _add_siril(contenders, section, partial(peers.siril_stack, folder / "frames"))
    runs = _processes(contenders, section, plan.rounds)
    section.rows[0]["inner"] = _inner_seconds(runs[OURS])
    section.rows[0].update(_error(folder / "ours.fit"))
    if SIRIL in runs:
        section.rows[1].update(_error(folder / "frames" / "result.fit"))
    return section


def _our_stack(frames: Path, count: int, output: Path, memory_mib: int = 0) -> Run:
    command = [sys.executable, JOBS, "stack", frames, str(count), output, str(memory_mib)]
    return whole_process(command)


def _add_siril(contenders: dict, section: Section, call: partial) -> None:
    """Enter Siril where it is there and does the job; it runs once, untimed."""
    if peers.siril() is None:
        section.notes.append(peers.NO_SIRIL)
        return
    try:
        call()
    except ProcessError as failure:
        section.notes.append(f"Siril skipped: {failure}")
        return
    contenders[SIRIL] = call


def _processes(contenders: dict, section: Section, rounds: int) -> dict[str, list[Run]]:
    """Run processes in turn, ours once untimed before, and add their rows to the section."""
    contenders[OURS]()
    runs = interleaved(contenders, rounds)
    ours = median_seconds(runs[OURS])
    for name, taken in runs.items():
        low, high = range_seconds(taken)
        seconds = median_seconds(taken)
        ratio = ours / seconds if name != OURS else None
        row = {"name": name, "seconds": seconds, "low": low, "high": high, "peak_mib": peak_mib(taken)}
        section.rows.append({**row, "ratio": ratio, "runs": len(taken)})
    return runs


def _inner_seconds(runs: list[Run]) -> float:
    return statistics.median(told(run) for run in runs)


def _error(result: Path) -> dict[str, float]:
    """Compare a result with the sky that is behind the noise."""
    from astropy.io import fits

    planes = data.FULL_SCALE * fits.getdata(result).astype(np.float64)
    error = planes - np.asarray(data.SKY)[:, None, None]
    far = np.abs(error) > FAR_ADU
    return {"rms": float(np.sqrt(np.mean(error[~far] ** 2))), "far": 100 * float(np.mean(far))}


# --- tile -------------------------------------------------------------------------------------------------------------


def tile(plan: Plan, folder: Path) -> Section:
    count, shape = plan.group
    columns = [column for column in PROCESS_COLUMNS if column.key != "inner"]
    section = Section(
        "tile",
        "Frames to a tile",
        f"{count} simulated colour frames {shape[0]}x{shape[1]} as in the alignment, on the first of them, to a tile "
        "file, each a whole process. Ours: `zemosaic-patch tile` from `.npy`, with the report, two pictures and the "
        "coverage. Siril: `register` and `stack … rej w 3 3 -nonorm` from float32 FITS; it does not tell where a frame "
        "has no data otherwise than by zeros.",
        [*columns, Column("lost", "frames lost", "{:d}")],
    )
    frames = data.simulated_frames(count, shape)
    data.write_npy(frames, folder / "npy")
    data.write_fits(frames, folder / "fits")
    del frames
    contenders = {OURS: partial(_our_tile, folder / "npy", folder / "tile")}
    _add_siril(contenders, section, partial(peers.siril_register_and_stack, folder / "fits"))
    runs = _processes(contenders, section, plan.rounds)
    report = json.loads((folder / "tile" / "tile.json").read_text(encoding="utf-8"))
    lost = {OURS: len(report["left_out"])}
    if SIRIL in runs:
        lost[SIRIL] = peers.siril_lost(runs[SIRIL][-1])
    for row in section.rows:
        row["lost"] = lost[row["name"]]
    return section


def _our_tile(frames: Path, output: Path) -> Run:
    program = [sys.executable, "-m", "zemosaic_patch", "tile", frames, "-o", output]
    return whole_process([*program, "--overwrite", "--reference", "light_00001.npy"])


# --- more frames than memory ------------------------------------------------------------------------------------------


def bigstack(plan: Plan, folder: Path) -> Section:
    count, shape = plan.big
    section = Section(
        "bigstack",
        "More frames than memory",
        f"Winsorized stack of {count} `.npy` frames {shape[0]}x{shape[1]}x3 with a budget of {plan.big_memory_mib} "
        f"MiB, against the first {plan.big_against} of them; a whole process. The budget is for the blocks of samples: "
        "Python, its libraries and the result come on top. The files were just written: as far as the page cache "
        "holds them, they are read from there.",
        [
            Column("n", "n", "{:d}"),
            Column("gib", "files, GiB", "{:.2f}"),
            Column("seconds", "wall, s", "{:.2f}"),
            Column("inner", "without imports, s", "{:.2f}"),
            Column("ms_per_frame", "ms/frame", "{:.2f}"),
            Column("ns", "ns/sample", "{:.2f}"),
            Column("peak_mib", "peak memory, MiB", "{:.0f}"),
        ],
    )
    frame_bytes = 12 * shape[0] * shape[1]
    free = shutil.disk_usage(folder).free
    if free < count * frame_bytes + SPARE_DISK:
        section.notes.append(f"Skipped: {free / 2**30:.1f} GiB free in the temporary folder are not enough.")
        return section
    data.write_many_npy(count, shape, folder / "frames")
    contenders = {
        n: partial(_our_stack, folder / "frames", n, folder / "ours.fit", plan.big_memory_mib)
        for n in (plan.big_against, count)
    }
    contenders[plan.big_against]()
    for n, taken in interleaved(contenders, plan.big_rounds).items():
        inner = _inner_seconds(taken)
        row = {"n": n, "gib": n * frame_bytes / 2**30, "seconds": median_seconds(taken), "inner": inner}
        rates = {"ms_per_frame": 1e3 * inner / n, "ns": 1e9 * inner / (n * frame_bytes / 4)}
        section.rows.append({**row, **rates, "peak_mib": peak_mib(taken)})
    return section
