# SPDX-License-Identifier: GPL-3.0-or-later
"""The other programs that do the job, or a part of it. Each may be missing."""

from __future__ import annotations

import functools
import importlib
import os
import re
import shutil
import subprocess
import warnings
from collections.abc import Callable
from importlib import metadata
from pathlib import Path

import numpy as np
from timing import ProcessError, Run, whole_process

PACKAGES = ("bottleneck", "astropy", "ccdproc", "astroalign")
SIGMA, ROUNDS = 3.0, 5


@functools.cache
def is_there(package: str) -> bool:
    try:
        importlib.import_module(package)
    except ImportError:
        return False
    return True


def missing(*packages: str) -> list[str]:
    """Return a line for each package that cannot be imported."""
    return [f"{package} cannot be imported: skipped." for package in packages if not is_there(package)]


def versions() -> dict[str, str]:
    """Return the version of each peer, or 'not there'."""
    found = {name: metadata.version(name) if is_there(name) else "not there" for name in PACKAGES}
    return {**found, "Siril": siril_version() or "not there"}


# --- stacks in memory: float32 (n, H, W, 3) to (H, W, 3) --------------------------------------------------------------


def bottleneck_nanmean(frames: np.ndarray) -> np.ndarray:
    import bottleneck

    return bottleneck.nanmean(frames, axis=0)


def numpy_mean(frames: np.ndarray) -> np.ndarray:
    return np.mean(frames, axis=0)


def numpy_nanmean(frames: np.ndarray) -> np.ndarray:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # mean of an empty slice: a pixel that no frame covers
        return np.nanmean(frames, axis=0)


def astropy_sigma_clip(frames: np.ndarray) -> np.ndarray:
    """Clip at 3 sigma around the median, 5 rounds, then average by the fastest nanmean there is."""
    from astropy.stats import sigma_clip

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it warns of NaN
        clipped = sigma_clip(frames, sigma=SIGMA, maxiters=ROUNDS, axis=0, masked=False)
    return bottleneck_nanmean(clipped) if is_there("bottleneck") else numpy_nanmean(clipped)


def ccdproc_combiner(frames: np.ndarray) -> Callable[[], object]:
    """Return the call that is timed; the frames are wrapped with their masks before."""
    from astropy.nddata import CCDData
    from ccdproc import Combiner

    wrapped = [CCDData(frame, unit="adu", mask=~np.isfinite(frame)) for frame in frames]

    def stack() -> object:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it warns of NaN
            combiner = Combiner(wrapped, dtype=np.float32)
            combiner.sigma_clipping(low_thresh=SIGMA, high_thresh=SIGMA, func="median", dev_func="std")
            return combiner.average_combine()

    return stack


# --- Siril ------------------------------------------------------------------------------------------------------------

SIRIL_STACK = "stack {sequence} rej w 3 3 -nonorm -out={output}"
SIRIL_PREAMBLE = ("requires 1.0.0", "setext fit", "set32bits")
NO_SIRIL = "siril-cli is not on the PATH: Siril skipped."


def siril() -> str | None:
    return shutil.which("siril-cli")


@functools.cache
def siril_version() -> str | None:
    """Return Siril's version, or None where siril-cli is not on the PATH or does not start."""
    program = siril()
    if program is None:
        return None
    try:
        printed = subprocess.run([program, "--version"], capture_output=True, text=True, timeout=60).stdout
    except (OSError, subprocess.TimeoutExpired):
        return None
    words = printed.split()
    return words[-1] if words else None


def siril_stack(folder: Path) -> Run:
    """Stack the frames light_00001.fit, ... of a folder into result.fit.

    Raises
    ------
    timing.ProcessError
        Where Siril fails or writes nothing.
    """
    return _run_siril(folder, [SIRIL_STACK.format(sequence="light_", output="result")])


def siril_register_and_stack(folder: Path) -> Run:
    """Align the frames of a folder on the first, and stack them into result.fit.

    Raises
    ------
    timing.ProcessError
        Where Siril fails or writes nothing.
    """
    return _run_siril(folder, ["register light_", SIRIL_STACK.format(sequence="r_light_", output="result")])


def _run_siril(folder: Path, commands: list[str]) -> Run:
    for leftover in (*folder.glob("*.seq"), *folder.glob("r_light_*"), *folder.glob("result.fit")):
        leftover.unlink(missing_ok=True)
    script = folder / "benchmark.ssf"
    script.write_text("\n".join([*SIRIL_PREAMBLE, *commands, "close", ""]), encoding="ascii")
    settings = {"HOME": str(folder), "XDG_CONFIG_HOME": str(folder / "config"), "LC_ALL": "C"}  # not the user's own
    run = whole_process([siril() or "siril-cli", "-s", script, "-d", folder], {**os.environ, **settings})
    if not (folder / "result.fit").is_file():
        raise ProcessError(f"siril-cli wrote no result: {run.output[-500:]}")
    return run


def siril_lost(run: Run) -> int:
    """Return how many frames Siril could not register, as its log says.

    Raises
    ------
    timing.ProcessError
        Where the log does not say it.
    """
    found = re.search(r"Total: (\d+) failed, (\d+) registered", run.output)
    if found is None:
        raise ProcessError("siril-cli's log does not say how many frames it registered")
    return int(found[1])
