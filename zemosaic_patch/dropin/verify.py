# SPDX-License-Identifier: GPL-3.0-or-later
"""`zemosaic-patch verify`: simulated groups through a ZeMosaic in its own Python, measured against the exact stack.

One group lies under one sky. In the other each frame has a sky of its own: its tile steps where coverage changes unless
the frames are matched. "Before" is that tile without the matching, the patch left in: ZeMosaic's own levels, not its
other faults, for which its own tile would have to be made, which takes minutes in some versions.
"""

from __future__ import annotations

import json
import math
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from nanstack.io.files import temporary_folder
from nanstack.levels.photometry import HIGH_COVERAGE, band_metric, noise_level
from nanstack.stack.definition import Rejection
from nanstack.truth.exact import exact_stack, sample_frame
from nanstack.truth.simulation import SimulatedFrame, apply, compose, invert, simulate_group
from zemosaic_patch.dropin.checkout import RefusedError, open_checkout
from zemosaic_patch.dropin.manifest import UNMATCHED
from zemosaic_patch.dropin.verdict import condition
from zemosaic_patch.names import WINSOR_METHODS
from zemosaic_patch.own_command import is_packaged

FRAMES, SHAPE = 16, (540, 960)
SKY_SCATTER = 0.05  # of the second group: what frames of one night differ by
MAX_NOISE, MAX_RMS_ADU, MAX_BAND_ADU, MAX_STEP_ADU = 1.03, 2.5, 0.5, 0.5
MIN_AREA_PIXELS = 1000  # of one coverage: fewer show no step that could be told from noise
WHITE_SIGMA = 15.0  # of the picture: stretched so hard that no step could hide
CLIP_ADU = 50.0  # differences beyond are stars and hot pixels
PIXEL_DEG = 2.39 / 3600
TIME_LIMIT_S = 1800


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


@dataclass(frozen=True)
class Steps:
    """By how much a tile's level and colour differ between areas of different coverage, in ADU, where they should not.

    Attributes
    ----------
    level : float
        Range of a channel, the largest one.
    colour : float
        Range of R - G or of B - G, the larger one.
    """

    level: float
    colour: float

    @property
    def good(self) -> bool:
        """Whether nobody could see them."""
        return max(self.level, self.colour) <= MAX_STEP_ADU

    def __str__(self) -> str:
        return f"{self.level:.2f} ADU in level, {self.colour:.2f} in colour"


@dataclass(frozen=True)
class Tile:
    """A tile that a ZeMosaic is to make.

    Attributes
    ----------
    frames : sequence of SimulatedFrame
    changes : mapping
        Parameters of `create_master_tile` that differ from the defaults of `child`.
    matched : bool
        False: a patched ZeMosaic leaves the frames' skies as they are, for once.
    """

    frames: Sequence[SimulatedFrame]
    changes: Mapping[str, Any] = field(default_factory=dict)
    matched: bool = True


def verify(folder: str | Path, python: str | None, picture: Path) -> tuple[int, list[str]]:
    """Import a ZeMosaic, in processes of each kind, make tiles with it and measure them.

    Parameters
    ----------
    folder : path
    python : str or None
        ZeMosaic's Python; None: the one of a virtual environment in its folder, else this one.
    picture : Path
        Gets the tile of frames under different skies without matching and with it, if they are matched.

    Returns
    -------
    code : int
        0 where all is as it should be, 1 where not.
    lines : list of str

    Raises
    ------
    NotPatchableError, RefusedError
        For what is no ZeMosaic; where the patch is half in, or ZeMosaic's Python fails.
    """
    checkout = open_checkout(folder)
    state, text = condition(checkout)
    if state == "half":
        raise RefusedError(text)
    patched = state == "patched"
    matched = patched and checkout.manifest.choices.match_sky != UNMATCHED
    even, varied = (simulate_group(FRAMES, SHAPE, seed=5, sky_scatter=scatter)[0] for scatter in (0, SKY_SCATTER))
    tiles = [Tile(even)]
    tiles += [Tile(varied, matched=False)] if patched else []  # without the patch each takes minutes
    tiles += [Tile(varied)] if matched else []
    with temporary_folder("zemosaic-patch-") as scratch:
        result = run_tiles(checkout.root, tiles, scratch, python or python_of(checkout.root))
        for tile in result["tiles"]:
            if tile["path"] is None:
                errors = [key for key, level in tile["said"] if level == "ERROR"]
                why = "; ".join(errors) or "it does not say why"
                raise RefusedError(f"{checkout.root} made no tile: {why}")
        references = {tile["reference"] for tile in result["tiles"]}
        exact = {number: exact_stack_of(even, number, result["wsc_impl"]) for number in references}
        pairs = [beside(Path(t["path"]), even[t["reference"]], *exact[t["reference"]]) for t in result["tiles"]]
    first = result["tiles"][0]
    quality, steps = quality_of(*pairs[0]), [steps_of(*pair) for pair in pairs[1:]]
    expected = set(result["imported"])
    same = expected == set(result["spawned"]) == {name.removeprefix("zemosaic.") for name in result["package"]}
    good = bool(expected) and same and quality.good and (not matched or steps[-1].good)
    lines = [
        f"imports            {len(expected)} functions replaced; {'the same' if same else 'NOT the same'} in a "
        "spawned process and as a package",
        f"tile               {FRAMES - first['failed']} of {FRAMES} frames aligned, {first['seconds']:.1f} s",
        f"against the truth  {quality}",
        *_about_skies(steps),
        f"limits             noise {MAX_NOISE}, difference {MAX_RMS_ADU} ADU, band {MAX_BAND_ADU} ADU, "
        f"steps {MAX_STEP_ADU} ADU",
        *(_drawn(pairs[1][0], pairs[2][0], steps, picture, checkout.root) if matched else []),
        "verdict            " + ("good" if good else "NOT GOOD" if expected else "NOT PATCHED"),
    ]
    return (0 if good else 1), lines


def _about_skies(steps: list[Steps]) -> list[str]:
    """Return lines on the steps without matching and, where the patch matches, with it."""
    if not steps:
        return []
    lines = [f"{f'skies +-{SKY_SCATTER:.0%}':19}steps where frames end, as ZeMosaic leaves the levels: {steps[0]}"]
    if len(steps) == 1:
        return [*lines, f"{'':19}the patch does not match them: `zemosaic-patch apply` puts that in"]
    return [*lines, f"{'':19}matched by the patch: {steps[1]}"]


def _drawn(before: np.ndarray, after: np.ndarray, steps: list[Steps], picture: Path, root: Path) -> list[str]:
    """Write the picture, and return the line that says where it is; into a ZeMosaic nothing is written."""
    from zemosaic_patch.demo.tile import before_after_picture

    if picture.resolve().is_relative_to(root.resolve()):
        return [f"picture            not written: {picture} would lie in ZeMosaic; -o FILE names another place"]
    before, after = (tile - np.nanmedian(tile, axis=(0, 1)) for tile in (before, after))  # their levels are no steps
    words = ("levels that ZeMosaic leaves", "skies matched")
    captions = [f"{word}: steps of {max(s.level, s.colour):.1f} ADU" for word, s in zip(words, steps, strict=True)]
    before_after_picture(before, after, captions, picture, WHITE_SIGMA)
    return [f"picture            {picture}: that tile without and with the matching, stretched hard"]


def python_of(root: Path) -> str:
    """Return the Python of a checkout: that of a virtual environment in it, else the one that runs this.

    Raises
    ------
    RefusedError
        Where the packaged program runs this, and there is no Python on the PATH.
    """
    for environment in (".venv", "venv"):
        for name in ("bin/python", "Scripts/python.exe"):
            if (root / environment / name).is_file():
                return str(root / environment / name)
    if not is_packaged():
        return sys.executable
    found = shutil.which("python3") or shutil.which("python")
    if found is None:
        raise RefusedError(f"no Python found to run {root}: name ZeMosaic's with --python")
    return found


def run_tiles(root: Path, tiles: Sequence[Tile], scratch: Path, python: str, probe: bool = True) -> dict[str, Any]:
    """Make tiles of simulated frames with a ZeMosaic, in a process of its own.

    Parameters
    ----------
    root : Path
    tiles : sequence of Tile
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
    RefusedError
        With what that Python said, where it failed.
    """
    groups = {id(tile.frames): tile.frames for tile in tiles}
    described = {key: _cached(frames, scratch / f"group_{n}") for n, (key, frames) in enumerate(groups.items())}
    job = {
        "home": str(root.resolve()),
        "output": str(scratch),
        "probe": probe,
        "tiles": [
            {"frames": described[id(tile.frames)], "changes": dict(tile.changes), "matched": tile.matched}
            for tile in tiles
        ],
    }
    (scratch / "JOB.json").write_text(json.dumps(job), encoding="utf-8")
    child = shutil.copy(Path(__file__).with_name("child.py"), scratch)
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    environment["PYTHONDONTWRITEBYTECODE"] = "1"  # nothing is left in the checkout
    command = [python, child, str(scratch / "JOB.json")]
    try:
        run = subprocess.run(
            command, cwd=scratch, env=environment, capture_output=True, timeout=TIME_LIMIT_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise RefusedError(f"{python} could not run ZeMosaic: {error}") from error
    if run.returncode:
        last = run.stderr.decode(errors="replace").strip().splitlines()[-1:] or ["it does not say why"]
        raise RefusedError(f"{python} could not run ZeMosaic: {last[0]}; name its Python with --python")
    return json.loads((scratch / "RESULT.json").read_text(encoding="utf-8"))


def _cached(frames: Sequence[SimulatedFrame], folder: Path) -> list[dict[str, Any]]:
    """Write frames as ZeMosaic caches them, and return what `child` needs to know of each."""
    folder.mkdir()
    described = []
    for index, frame in enumerate(frames):
        path = folder / f"frame_{index:02d}.npy"
        np.save(path, frame.data)
        height, width = frame.data.shape[:2]
        header = solution(frame.transform, (height, width))
        described.append({"path": str(path), "header": header, "pixel_shape": [width, height]})
    return described


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
    return beside(path, frames[reference], *exact_stack_of(frames, reference, wsc_impl))


def beside(
    path: Path, reference: SimulatedFrame, exact: np.ndarray, coverage: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return a winsorized master tile, and an exact stack and its coverage, on the pixels that both have."""
    from astropy.io import fits

    with fits.open(path) as hdus:
        tile = np.moveaxis(np.asarray(hdus[0].data, dtype=np.float32), 0, -1)
        header = hdus[0].header
    tile /= np.float32([header.get(f"RGBGAIN{channel}", 1.0) for channel in "RGB"])  # the colours before equalisation
    known = solution(reference.transform, exact.shape[:2])
    left, top = (round(known[key] - header[key]) for key in ("CRPIX1", "CRPIX2"))  # where the tile begins
    return overlap(tile, (top, left), exact, coverage)


def measure(path: Path, frames: list[SimulatedFrame], reference: int, wsc_impl: str) -> Quality:
    """Measure a winsorized master tile against the exact stack."""
    return quality_of(*beside_exact(path, frames, reference, wsc_impl))


def quality_of(tile: np.ndarray, exact: np.ndarray, coverage: np.ndarray) -> Quality:
    """Hold a tile to the exact stack on its pixels."""
    well = coverage >= HIGH_COVERAGE * coverage.max()
    seen = well & np.isfinite(tile).all(axis=2)
    if not seen.any():
        return Quality(math.inf, math.inf, math.inf)
    difference = tile - exact
    difference -= np.nanmedian(difference, axis=(0, 1))  # ZeMosaic's writer takes a constant off
    difference = np.clip(difference, -CLIP_ADU, CLIP_ADU)
    noise = float(np.mean(noise_level(tile, seen) / noise_level(exact, seen)))
    return Quality(noise, float(np.sqrt(np.nanmean(difference**2))), float(band_metric(tile, coverage)))


def steps_of(tile: np.ndarray, exact: np.ndarray, coverage: np.ndarray) -> Steps:
    """Measure a tile's steps where coverage changes, against the exact stack of the same frames under one sky."""
    seen = np.isfinite(tile).all(axis=2)
    numbers, sizes = np.unique(coverage[seen], return_counts=True)
    areas = [seen & (coverage == number) for number in numbers[sizes >= MIN_AREA_PIXELS]]
    if not areas:
        return Steps(math.inf, math.inf)
    left = np.array([np.median((tile - exact)[area], axis=0) for area in areas])
    return Steps(float(np.ptp(left, axis=0).max()), float(np.ptp(left[:, [0, 2]] - left[:, [1]], axis=0).max()))


def overlap(
    tile: np.ndarray, start: tuple[int, int], exact: np.ndarray, coverage: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Cut a tile that starts at a row and column of the exact stack, and that stack, to what they have in common."""
    top, left = (max(0, first) for first in start)
    bottom = min(exact.shape[0], start[0] + tile.shape[0])
    right = min(exact.shape[1], start[1] + tile.shape[1])
    tile = tile[top - start[0] : bottom - start[0], left - start[1] : right - start[1]]
    return tile, exact[top:bottom, left:right], coverage[top:bottom, left:right]
