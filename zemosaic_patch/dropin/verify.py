# SPDX-License-Identifier: GPL-3.0-or-later
"""`zemosaic-patch verify`: a simulated group through a ZeMosaic in its own Python, measured against the exact stack."""

from __future__ import annotations

import json
import math
import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from nanstack.levels.photometry import HIGH_COVERAGE, band_metric, noise_level
from nanstack.stack.definition import Rejection
from nanstack.truth.exact import exact_stack, sample_frame
from nanstack.truth.simulation import SimulatedFrame, apply, compose, invert, simulate_group
from zemosaic_patch.dropin import patch as dropin
from zemosaic_patch.names import WINSOR_METHODS

FRAMES, SHAPE = 16, (540, 960)
MAX_NOISE, MAX_RMS_ADU, MAX_BAND_ADU = 1.03, 2.5, 0.5
CLIP_ADU = 50.0  # differences beyond are stars and hot pixels
PIXEL_DEG = 2.39 / 3600
TIME_LIMIT_S = 900


@dataclass(frozen=True)
class Quality:
    """A tile against the exact stack of the same frames.

    Attributes
    ----------
    noise : float
        In units of the exact stack's; below 1 is smoother interpolation.
    rms : float
        Of the difference, clipped at +-50 ADU.
    band : float
        Band metric in ADU.
    """

    noise: float
    rms: float
    band: float

    @property
    def good(self) -> bool:
        """Whether the tile is what it should be."""
        return self.noise <= MAX_NOISE and self.rms <= MAX_RMS_ADU and self.band <= MAX_BAND_ADU

    def __str__(self) -> str:
        return f"noise {self.noise:.2f} of the exact stack's, difference {self.rms:.1f} ADU, band {self.band:.2f} ADU"


def verify(folder: str | Path, python: str | None = None) -> tuple[int, list[str]]:
    """Import a ZeMosaic, in processes of each kind, make a tile with it and measure that.

    Parameters
    ----------
    folder : path
    python : str, optional
        ZeMosaic's Python; by default the one of a virtual environment in its folder, else this one.

    Returns
    -------
    code : int
        0 where all is as it should be, 1 where not.
    lines : list of str

    Raises
    ------
    dropin.NotPatchableError, dropin.RefusedError
        For what is no ZeMosaic; where its Python fails.
    """
    checkout = dropin.open_checkout(folder)
    frames, _ = simulate_group(FRAMES, SHAPE, seed=5)
    with tempfile.TemporaryDirectory(prefix="zemosaic-patch-") as scratch:
        result = run_tiles(checkout.root, frames, [{}], Path(scratch), python or python_of(checkout.root))
        tile = result["tiles"][0]
        if tile["path"] is None:
            errors = [key for key, level in tile["said"] if level == "ERROR"]
            raise dropin.RefusedError(f"{checkout.root} made no tile: {'; '.join(errors) or 'it does not say why'}")
        quality = measure(Path(tile["path"]), frames, tile["reference"], result["wsc_impl"])
    expected = set(result["imported"])
    same = expected == set(result["spawned"]) == {name.removeprefix("zemosaic.") for name in result["package"]}
    good = bool(expected) and same and quality.good
    lines = [
        f"imports            {len(expected)} functions replaced; {'the same' if same else 'NOT the same'} in a "
        "spawned process and as a package",
        f"tile               {FRAMES - tile['failed']} of {FRAMES} frames aligned, {tile['seconds']:.1f} s",
        f"against the truth  {quality}",
        f"limits             noise {MAX_NOISE}, difference {MAX_RMS_ADU} ADU, band {MAX_BAND_ADU} ADU",
        "verdict            " + ("good" if good else "NOT GOOD" if expected else "NOT PATCHED"),
    ]
    return (0 if good else 1), lines


def python_of(root: Path) -> str:
    """Return the Python of a checkout: that of a virtual environment in it, else the one that runs this."""
    for environment in (".venv", "venv"):
        for name in ("bin/python", "Scripts/python.exe"):
            if (root / environment / name).is_file():
                return str(root / environment / name)
    return sys.executable


def run_tiles(
    root: Path, frames: list[SimulatedFrame], tiles: list[dict], scratch: Path, python: str, probe: bool = True
) -> dict[str, Any]:
    """Make tiles of simulated frames with a ZeMosaic, in a process of its own.

    Parameters
    ----------
    root : Path
    frames : list of SimulatedFrame
    tiles : list of dict
        For each tile the parameters of `create_master_tile` that differ from the defaults of `child`.
    scratch : Path
        Gets all files.
    python : str
    probe : bool
        Whether to try the imports in a spawned process and as a package, too.

    Returns
    -------
    dict
        See `child`.

    Raises
    ------
    dropin.RefusedError
        With what that Python said, where it failed.
    """
    described = []
    for index, frame in enumerate(frames):
        path = scratch / f"frame_{index:02d}.npy"
        np.save(path, frame.data)
        height, width = frame.data.shape[:2]
        header = solution(frame.transform, (height, width))
        described.append({"path": str(path), "header": header, "pixel_shape": [width, height]})
    job = {"home": str(root.resolve()), "frames": described, "tiles": tiles, "output": str(scratch), "probe": probe}
    (scratch / "JOB.json").write_text(json.dumps(job), encoding="utf-8")
    child = shutil.copy(Path(__file__).with_name("child.py"), scratch)
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    environment["PYTHONDONTWRITEBYTECODE"] = "1"  # nothing is left in the checkout
    command = [python, child, str(scratch / "JOB.json")]
    try:
        run = subprocess.run(
            command, cwd=scratch, env=environment, capture_output=True, text=True, timeout=TIME_LIMIT_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise dropin.RefusedError(f"{python} could not run ZeMosaic: {error}") from error
    if run.returncode:
        last = run.stderr.strip().splitlines()[-1:] or ["it does not say why"]
        raise dropin.RefusedError(f"{python} could not run ZeMosaic: {last[0]}; name its Python with --python")
    return json.loads((scratch / "RESULT.json").read_text(encoding="utf-8"))


def solution(transform: np.ndarray, shape: tuple[int, int]) -> dict[str, Any]:
    """Return the WCS cards of a frame whose pixels are the reference's by `transform`."""
    middle = apply(transform, (shape[1] - 1) / 2, (shape[0] - 1) / 2)
    cd = PIXEL_DEG * np.array([[-1.0, 0.0], [0.0, 1.0]]) @ np.linalg.inv(transform[:, :2])
    return {
        "CTYPE1": "RA---TAN",
        "CTYPE2": "DEC--TAN",
        "CRVAL1": 56.75,
        "CRVAL2": 24.1,
        "CRPIX1": float(middle[0]) + 1,
        "CRPIX2": float(middle[1]) + 1,
        **{f"CD{row + 1}_{column + 1}": float(cd[row, column]) for row in range(2) for column in range(2)},
    }


def exact_stack_of(frames: list[SimulatedFrame], reference: int, wsc_impl: str) -> tuple[np.ndarray, np.ndarray]:
    """Stack frames by their true transforms, with ZeMosaic's rejection.

    Parameters
    ----------
    frames : list of SimulatedFrame
    reference : int
        The frame whose pixels the stack gets.
    wsc_impl : {'legacy_quantile', 'pixinsight'}
        Which winsorized clip.

    Returns
    -------
    image : ndarray of float32, shape (H, W, 3)
    coverage : ndarray of int, shape (H, W)
    """
    shape = frames[reference].data.shape[:2]
    back = invert(frames[reference].transform)
    samples = (sample_frame(frame.data, compose(frame.transform, back), shape) for frame in frames)
    return exact_stack(samples, shape, Rejection(WINSOR_METHODS[wsc_impl]))


def beside_exact(
    path: Path, frames: list[SimulatedFrame], reference: int, wsc_impl: str
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return a winsorized master tile, the exact stack and its coverage, on the pixels that both have."""
    from astropy.io import fits

    with fits.open(path) as hdus:
        tile = np.moveaxis(np.asarray(hdus[0].data, dtype=np.float32), 0, -1)
        header = hdus[0].header
    tile /= np.float32([header.get(f"RGBGAIN{channel}", 1.0) for channel in "RGB"])  # the colours before equalisation
    exact, coverage = exact_stack_of(frames, reference, wsc_impl)
    known = solution(frames[reference].transform, exact.shape[:2])
    left, top = (round(known[key] - header[key]) for key in ("CRPIX1", "CRPIX2"))  # where the tile begins
    return overlap(tile, (top, left), exact, coverage)


def measure(path: Path, frames: list[SimulatedFrame], reference: int, wsc_impl: str) -> Quality:
    """Measure a winsorized master tile against the exact stack."""
    tile, exact, coverage = beside_exact(path, frames, reference, wsc_impl)
    well = coverage >= HIGH_COVERAGE * coverage.max()
    seen = well & np.isfinite(tile).all(axis=2)
    if not seen.any():
        return Quality(math.inf, math.inf, math.inf)
    difference = tile - exact
    difference -= np.nanmedian(difference, axis=(0, 1))  # ZeMosaic's writer takes a constant off
    difference = np.clip(difference, -CLIP_ADU, CLIP_ADU)
    noise = float(np.mean(noise_level(tile, seen) / noise_level(exact, seen)))
    return Quality(noise, float(np.sqrt(np.nanmean(difference**2))), float(band_metric(tile, coverage)))


def overlap(
    tile: np.ndarray, start: tuple[int, int], exact: np.ndarray, coverage: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Cut a tile that starts at a row and column of the exact stack, and that stack, to what they have in common."""
    top, left = (max(0, first) for first in start)
    bottom = min(exact.shape[0], start[0] + tile.shape[0])
    right = min(exact.shape[1], start[1] + tile.shape[1])
    tile = tile[top - start[0] : bottom - start[0], left - start[1] : right - start[1]]
    return tile, exact[top:bottom, left:right], coverage[top:bottom, left:right]
