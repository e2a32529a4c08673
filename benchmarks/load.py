# SPDX-License-Identifier: GPL-3.0-or-later
"""Frames by the thousand and tiles by the hundred: time, memory and open files against their number.

usage: python benchmarks/load.py [--frames N] [--tiles N] [-o DIR]

Runs ``zemosaic-patch tile`` on a quarter, half and all of N small frames of one group, and ``zemosaic-patch mosaic
--existing-tiles`` on as many parts of N small tiles, each once, and writes a table. Memory is what the command and its
workers hold together, sampled; on Linux without the pages of mapped files, which the system takes back when it likes.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import psutil
from astropy.io import fits
from astropy.wcs import WCS

from nanstack.truth.simulation import simulate_group

SHAPE = (150, 220)
SCENES = 60  # frames that are simulated; the others are these with other noise
SAMPLING_S = 0.05


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--frames", type=int, default=4000, metavar="N")
    parser.add_argument("--tiles", type=int, default=200, metavar="N")
    parser.add_argument("-o", "--output", type=Path, default=Path(__file__).with_name("results"), metavar="DIR")
    options = parser.parse_args()
    lines = ["| job | seconds | s each | MiB at most | open files at most |", "|---|---|---|---|---|"]
    with tempfile.TemporaryDirectory(prefix="benchmark-") as name:
        folder = Path(name)
        frames, tiles = write_frames(folder, options.frames), write_tiles(folder, options.tiles)
        run(["tile", *frames[:4]], folder)  # compiles
        for paths, command, kind in ((frames, ["tile"], "frames"), (tiles, ["mosaic", "--existing-tiles"], "tiles")):
            for share in (4, 2, 1):
                some = paths[: len(paths) // share]
                seconds, memory, opened = run([*command, *some], folder)
                each = seconds / len(some)
                lines.append(f"| {len(some)} {kind} | {seconds:.1f} | {each:.4f} | {memory / 2**20:.0f} | {opened} |")
                print(lines[-1], file=sys.stderr)
    options.output.mkdir(parents=True, exist_ok=True)
    (options.output / "load.md").write_text("\n".join(lines) + "\n")
    print("\n".join(lines))
    return 0


def write_frames(folder: Path, count: int) -> list[Path]:
    """Write frames of one field, shifted and turned, each with noise of its own."""
    rng = np.random.default_rng(1)
    scenes = [frame.data for frame in simulate_group(SCENES, SHAPE, seed=2, max_shift=8.0, n_stars=120)[0]]
    paths = [folder / f"frame_{number:05d}.npy" for number in range(count)]
    for number, path in enumerate(paths):
        scene = scenes[number % SCENES]
        np.save(path, scene + rng.normal(0, 5, scene.shape).astype(np.float32))
    return paths


def write_tiles(folder: Path, count: int) -> list[Path]:
    """Write tiles that overlap by a fifth, each with a level of its own."""
    rng = np.random.default_rng(2)
    side = int(np.ceil(np.sqrt(count)))
    paths = [folder / f"master_tile_{number:03d}.fits" for number in range(count)]
    for number, path in enumerate(paths):
        wcs = WCS(naxis=2)
        wcs.wcs.ctype = "RA---TAN", "DEC--TAN"
        wcs.wcs.crval = 50 + 0.17 * (number % side), 10 + 0.12 * (number // side)
        wcs.wcs.crpix = SHAPE[1] / 2, SHAPE[0] / 2
        wcs.wcs.cdelt = -0.001, 0.001
        image = rng.normal(500, 50) + rng.normal(0, 2, (3, *SHAPE))
        fits.writeto(path, image.astype(np.float32), wcs.to_header())
    return paths


def run(arguments: list, folder: Path) -> tuple[float, int, int]:
    """Run a command; return its seconds, and the most bytes and open files of it and its workers together."""
    out = folder / "out"
    command = [sys.executable, "-m", "zemosaic_patch", *map(str, arguments), "-o", str(out), "--overwrite"]
    began = time.perf_counter()
    memory = opened = 0
    with open(folder / "said", "w") as said:
        child = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=said)
        while child.poll() is None:
            resident, files = 0, 0
            try:
                parent = psutil.Process(child.pid)
                for process in (parent, *parent.children(recursive=True)):
                    held = process.memory_info()
                    resident += held.rss - getattr(held, "shared", 0)
                    files += process.num_fds() if hasattr(process, "num_fds") else process.num_handles()
            except psutil.Error:
                pass  # it has just ended
            memory, opened = max(memory, resident), max(opened, files)
            time.sleep(SAMPLING_S)
    if child.returncode:
        raise SystemExit(f"{' '.join(command[:5])} ... failed: {(folder / 'said').read_text()[-500:]}")
    return time.perf_counter() - began, memory, opened


if __name__ == "__main__":
    raise SystemExit(main())
