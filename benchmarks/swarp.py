# SPDX-License-Identifier: GPL-3.0-or-later
"""The demo's mosaic held against SWarp's, from the same tiles: border steps, stars, noise.

``python benchmarks/swarp.py DIR``, where DIR is the output of ``zemosaic-patch demo --mosaic``. It needs SWarp (Debian:
``swarp``), prints the table of docs/mosaic.md and writes a picture of the three mosaics.
"""

from __future__ import annotations

import argparse
import dataclasses
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from astropy.io import fits

from nanstack.io.frames import read_frame
from nanstack.truth.evaluation import binned
from zemosaic_patch.demo import mosaic as demo
from zemosaic_patch.pictures import levels_of, sky_stretch

COMMON = {
    "HEADER_ONLY": "N",
    "WEIGHT_TYPE": "MAP_WEIGHT",
    "WEIGHT_SUFFIX": ".weight.fits",
    "COMBINE_TYPE": "WEIGHTED",
    "RESAMPLING_TYPE": "LANCZOS3",  # its default
    "FSCALASTRO_TYPE": "NONE",
    "COPY_KEYWORDS": "OBJECT",
    "WRITE_XML": "N",
    "VERBOSE_TYPE": "QUIET",
}
RUNS = {
    "SWarp, background left": {"SUBTRACT_BACK": "N"},
    "SWarp, background subtracted (its default)": {"SUBTRACT_BACK": "Y"},
}
FAINT_ADU = (2.0, 30.0)  # nebulae within these are sky of interest, not stars


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="output of zemosaic-patch demo --mosaic")
    parser.add_argument("-o", "--output", type=Path, default=Path("swarp.jpg"), help="picture of the mosaics")
    options = parser.parse_args()
    program = shutil.which("SWarp") or shutil.which("swarp")
    if program is None:
        print("SWarp is not on the PATH: nothing compared", file=sys.stderr)
        return 1
    run = demo.read_run(options.folder)
    truth = demo.Truth(run.session, run.frames, run.mosaic.wcs, run.mosaic.image.shape[:2])
    mosaics = {"here": run.mosaic}
    for name, settings in RUNS.items():
        with tempfile.TemporaryDirectory() as scratch:
            began = time.perf_counter()
            image = swarp(program, run.tiles, run.mosaic, settings, Path(scratch))
            print(f"{name}: {time.perf_counter() - began:.1f} s", file=sys.stderr)
        mosaics[name] = dataclasses.replace(run.mosaic, image=image)
    print(table({name: (truth.figures(mosaic), kept(mosaic.image, truth)) for name, mosaic in mosaics.items()}))
    write_picture([mosaic.image for mosaic in mosaics.values()], options.output)
    return 0


def swarp(program: str, tiles: list[Path], mosaic: demo.Joined, settings: dict, scratch: Path) -> np.ndarray:
    """Make SWarp's mosaic of the tiles on the same grid, channel by channel, weighted by coverage."""
    height, width = mosaic.image.shape[:2]
    header = mosaic.wcs.to_header()
    header["NAXIS"], header["NAXIS1"], header["NAXIS2"] = 2, width, height
    planes = []
    for channel in range(3):
        names = []
        for index, tile in enumerate(tiles):
            with fits.open(tile) as hdus:
                plane, coverage, wcs = hdus[0].data[channel], hdus["COVERAGE"].data, read_frame(tile).wcs
            valid = np.isfinite(plane)
            names.append(scratch / f"tile_{index}.fits")
            cards = wcs.to_header()
            fits.writeto(names[-1], np.where(valid, plane, 0).astype(np.float32), cards, overwrite=True)
            weight = np.where(valid, coverage, 0).astype(np.float32)
            fits.writeto(scratch / f"tile_{index}.weight.fits", weight, cards, overwrite=True)
        header.totextfile(scratch / "coadd.head", overwrite=True, endcard=True)
        outputs = {"IMAGEOUT_NAME": "coadd.fits", "WEIGHTOUT_NAME": "coadd.weight.fits", "RESAMPLE_DIR": str(scratch)}
        options = [word for name, value in (COMMON | settings | outputs).items() for word in (f"-{name}", value)]
        subprocess.run([program, *map(str, names), *options], cwd=scratch, check=True, timeout=600, capture_output=True)
        image, weight = (fits.getdata(scratch / f"coadd{kind}.fits") for kind in ("", ".weight"))
        planes.append(np.where(weight > 0, image, np.nan))
    return np.stack(planes, axis=-1).astype(np.float32)


def kept(image: np.ndarray, truth: demo.Truth) -> float:
    """Return which share of the faint nebulae's light is still there: the slope of measured on true means."""
    light, measured = binned(truth.light), binned(image)
    faint = np.isfinite(measured).all(axis=2) & (light[..., 2] > FAINT_ADU[0]) & (light[..., 2] < FAINT_ADU[1])
    spread = binned(truth.light**2)[..., 2] - light[..., 2] ** 2
    faint &= spread < 1.0  # no star in the square
    return float(np.polyfit(light[faint][:, 2], measured[faint][:, 2], 1)[0])


def table(figures: dict[str, tuple[demo.Figures, float]]) -> str:
    rows = {
        "largest step in level across a tile's border, sigma": lambda f, _: f"{f.level_step:.2f}",
        "… in colour, sigma": lambda f, _: f"{f.colour_step:.2f}",
        "places of the stars, rms, px": lambda f, _: f"{f.stars.position_rms:.3f}",
        "their fluxes: bias; scatter, %": lambda f, _: (
            f"{100 * f.stars.flux_bias:+.2f}; {100 * f.stars.flux_scatter:.2f}"
        ),
        "noise of pixels, 1 = exact stack": lambda f, _: f"{f.noise_ratio:.3f}",
        "noise of means over 8 x 8": lambda f, _: f"{f.smooth_noise_ratio:.3f}",
        "faint nebulae: light kept, %": lambda _, share: f"{100 * share:.0f}",
    }
    lines = ["| | " + " | ".join(figures) + " |", "|---" * (len(figures) + 1) + "|"]
    lines += [f"| {name} | " + " | ".join(show(*f) for f in figures.values()) + " |" for name, show in rows.items()]
    return "\n".join(lines)


def write_picture(images: list[np.ndarray], path: Path) -> None:
    from PIL import Image

    panels = [
        Image.fromarray(levels_of(sky_stretch(image, demo.WHITE_SIGMA)(image[::-1]))).reduce(2) for image in images
    ]
    whole = Image.new("RGB", (max(p.width for p in panels), sum(p.height + 8 for p in panels)))
    top = 0
    for panel in panels:
        whole.paste(panel, (0, top))
        top += panel.height + 8
    whole.save(path, quality=85)


if __name__ == "__main__":
    sys.exit(main())
