# SPDX-License-Identifier: GPL-3.0-or-later
"""Thousands of small raw frames onto one canvas, end to end: time a frame, memory and open files.

usage: python benchmarks/big.py [--frames N ...] [--panels WxH ...] [-o DIR]

Simulates raw Bayer frames of 480 x 270 pixels of so many panels, which overlap by a tenth, and runs ``zemosaic-patch
mosaic`` on them. Frames are small in size, so that there can be many: 28x50 panels are a canvas of 12,000 x 12,000
pixels, 1x1 is one deep field. Each number of frames may have panels of its own. Memory is that of `load.py`.
"""

from __future__ import annotations

import argparse
import resource
import sys
import tempfile
from pathlib import Path

import numpy as np
from astropy.io import fits
from load import run

from nanstack.register.camera import ARCSEC, Camera, View, local_axes
from nanstack.truth.simulation import StarField, random_star_field, render_stars

SHAPE, STEP = (270, 480), (240, 430)
SCALE = 2.39  # arcseconds a pixel
STARS_A_PIXEL = 1e-3
PATTERN = np.array([[1, 0], [2, 1]])  # GRBG: the colour of each photosite
SKY = np.array([420.0, 610.0, 460.0])
GAIN, READ_NOISE = 4.0, 6.0  # ADU an electron, ADU
DITHER_PX, TURN_DEG = 8.0, 6.0
MIDDLE = np.array([0.75, 0.15, 0.64]) / np.linalg.norm([0.75, 0.15, 0.64])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--frames", type=int, nargs="+", default=[300, 1000], metavar="N")
    parser.add_argument("--panels", nargs="+", default=["10x10"], metavar="WxH")
    parser.add_argument("-o", "--output", type=Path, default=Path(__file__).with_name("results"), metavar="DIR")
    options = parser.parse_args()
    panels = options.panels * len(options.frames) if len(options.panels) == 1 else options.panels
    if len(panels) != len(options.frames):
        parser.error("--panels: name them once, or for each number of frames")
    lines = [
        "| frames | panels | canvas | s | s a frame | CPU s a frame | MiB at most | open files at most |",
        f"|{'---|' * 8}",
    ]
    with tempfile.TemporaryDirectory(prefix="benchmark-") as name:
        folder = Path(name)
        frames = {}
        for kind in dict.fromkeys(panels):
            most = max(count for count, mine in zip(options.frames, panels, strict=True) if mine == kind)
            frames[kind] = write_frames(folder / kind, tuple(map(int, kind.split("x"))), most)
        run(["mosaic", *frames[panels[0]][:4]], folder)  # compiles
        for count, kind in zip(options.frames, panels, strict=True):
            before = cpu_seconds()
            seconds, memory, opened = run(["mosaic", *frames[kind][:count]], folder)
            height, width = fits.getdata(folder / "out" / "mosaic.fits", "WEIGHT").shape
            each = f"{seconds / count:.4f} | {(cpu_seconds() - before) / count:.4f}"
            told = f"{width} x {height} | {seconds:.1f} | {each} | {memory / 2**20:.0f} | {opened}"
            lines.append(f"| {count} | {kind} | {told} |")
            print(lines[-1], file=sys.stderr)
    options.output.mkdir(parents=True, exist_ok=True)
    (options.output / "big.md").write_text("\n".join(lines) + "\n")
    print("\n".join(lines))
    return 0


def cpu_seconds() -> float:
    """Return the processor time of all commands that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def write_frames(folder: Path, panels: tuple[int, int], count: int) -> list[Path]:
    """Write frames, panel after panel in turn, as a telescope does that goes round them."""
    rng = np.random.default_rng(3)
    folder.mkdir()
    field = (panels[1] * STEP[0] + SHAPE[0], panels[0] * STEP[1] + SHAPE[1])
    stars = random_star_field(field, round(STARS_A_PIXEL * field[0] * field[1]), rng, margin=0.1)
    plane = looking(MIDDLE, 0.0, field)
    there = plane.directions(stars.x, stars.y)
    paths = [folder / f"light_{number:05d}.fit" for number in range(count)]
    for number, path in enumerate(paths):
        place = np.unravel_index(number % (panels[0] * panels[1]), panels[::-1])
        y, x = (np.array(place) + 0.5) * STEP + np.array(SHAPE) / 2 + rng.normal(0, DITHER_PX, 2)
        axis = plane.directions(np.array(x), np.array(y))
        view = looking(axis, rng.uniform(-TURN_DEG, TURN_DEG), SHAPE)
        near = np.flatnonzero(there @ axis > np.cos(np.hypot(*SHAPE) / view.focal))
        x, y = view.pixels(there[near])
        write_frame(path, StarField(x, y, stars.flux[near]), axis, number, rng)
    return paths


def looking(axis: np.ndarray, turn: float, shape: tuple[int, int]) -> View:
    """Return a view along an axis, turned by so many degrees from north."""
    east, north = local_axes(axis)
    c, s = np.cos(np.radians(turn)), np.sin(np.radians(turn))
    return View(Camera(shape, ARCSEC / SCALE), np.stack([-c * east - s * north, s * east - c * north, axis]))


def write_frame(path: Path, stars: StarField, axis: np.ndarray, number: int, rng: np.random.Generator) -> None:
    """Write what a sensor shows of stars."""
    colours = np.tile(PATTERN, (SHAPE[0] // 2, SHAPE[1] // 2))[..., np.newaxis]
    light = np.take_along_axis(SKY + render_stars(stars, SHAPE, fwhm=rng.uniform(2.6, 3.4)), colours, axis=2)[..., 0]
    counts = light + rng.normal(0, 1, SHAPE) * np.sqrt(GAIN * light + READ_NOISE**2)
    hdu = fits.PrimaryHDU(np.rint(np.clip(counts, 0, 2**16 - 1)).astype(np.uint16))
    ra, dec = np.degrees([np.arctan2(axis[1], axis[0]), np.arcsin(axis[2])])
    minutes, seconds = divmod(11 * number, 60)
    hdu.header.update(
        {
            "BAYERPAT": "GRBG",
            "INSTRUME": "simulated",
            "IMAGETYP": "Light",
            "EXPTIME": 10.0,
            "FOCALLEN": 250.0,
            "XPIXSZ": 2.9,
            "RA": ra + 0.05,
            "DEC": dec + 0.03,
            "DATE-OBS": f"2026-01-{1 + minutes // 1440:02d}T{minutes // 60 % 24:02d}:{minutes % 60:02d}:{seconds:02d}",
        }
    )
    hdu.writeto(path)


if __name__ == "__main__":
    raise SystemExit(main())
