# SPDX-License-Identifier: GPL-3.0-or-later
"""Our side of the benchmarks that run as whole processes.

usage: jobs.py stack FOLDER COUNT OUTPUT MEMORY_MIB   (MEMORY_MIB 0: the default)
       jobs.py memory N_FRAMES HEIGHT WIDTH

The last line of the output is JSON: {"seconds": ...}, without imports.
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

from nanstack.rejection import Rejection
from nanstack.stack import stack_frames

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


def main() -> None:
    job, *arguments = sys.argv[1:]
    seconds = {"stack": stack_job, "memory": memory_job}[job](*arguments)
    print(json.dumps({"seconds": seconds}))


if __name__ == "__main__":
    main()
