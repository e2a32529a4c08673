# SPDX-License-Identifier: GPL-3.0-or-later
"""Our side of the benchmarks that run as whole processes.

usage: jobs.py stack FOLDER COUNT OUTPUT MEMORY_MIB   (MEMORY_MIB 0: the default)
       jobs.py memory N_FRAMES HEIGHT WIDTH
       jobs.py extra N_FRAMES HEIGHT WIDTH

The last line of the output is JSON: {"seconds": ...}, without imports; for `extra` {"extra_bytes": ...} beside it.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import data
import numpy as np
from astropy.io import fits

from nanstack.stack.definition import Rejection
from nanstack.stack.stacker import stack_frames

FRAME_SUFFIXES = (".fit", ".npy")


def stack_from_files(paths: Sequence[Path], output: Path, memory: int | None = None) -> None:
    """Stack frame files with winsorized rejection into a FITS file; the one place that knows the interface.

    Parameters
    ----------
    paths : sequence of Path
        FITS or .npy.
    output : Path
        float32, planes first.
    memory : int, optional
        Budget in bytes.
    """
    stack = stack_frames(paths, Rejection("winsor"), memory=memory)
    fits.writeto(output, np.moveaxis(stack.image, -1, 0), overwrite=True)


def stack_job(folder: str, count: str, output: str, memory_mib: str) -> float:
    frames = sorted(path for path in Path(folder).iterdir() if path.suffix in FRAME_SUFFIXES)[: int(count)]
    started = time.perf_counter()
    stack_from_files(frames, Path(output), int(memory_mib) * 2**20 or None)
    return time.perf_counter() - started


def memory_job(count: str, height: str, width: str) -> float:
    """Stack frames in memory with as many threads as the environment allows."""
    frames = data.noise_frames(int(count), (int(height), int(width)))
    data.add_nan_borders(frames)
    stack_frames(frames[:, :1].copy(), Rejection("winsor"))
    started = time.perf_counter()
    stack_frames(frames, Rejection("winsor"))
    return time.perf_counter() - started


def extra_job(count: str, height: str, width: str) -> dict[str, float]:
    """Stack a list of frames in memory, and measure how far the resident memory rises above what they take (Linux)."""
    frames = list(data.noise_frames(int(count), (int(height), int(width))))
    stack_frames([frame[:1].copy() for frame in frames], Rejection("winsor"))
    Path("/proc/self/clear_refs").write_text("5")  # the highest mark starts anew
    before, started = _resident("VmRSS"), time.perf_counter()
    stack = stack_frames(frames, Rejection("winsor"))
    seconds, extra = time.perf_counter() - started, _resident("VmHWM") - before
    return {"seconds": seconds, "extra_bytes": extra, "output_bytes": stack.image.nbytes + stack.coverage.nbytes}


def _resident(line: str) -> int:
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return 1024 * int(next(text for text in status.splitlines() if text.startswith(line)).split()[1])


def main() -> None:
    job, *arguments = sys.argv[1:]
    told = {"stack": stack_job, "memory": memory_job, "extra": extra_job}[job](*arguments)
    print(json.dumps(told if isinstance(told, dict) else {"seconds": told}))


if __name__ == "__main__":
    main()
