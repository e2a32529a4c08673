# SPDX-License-Identifier: GPL-3.0-or-later
"""ZeMosaic's whole worker on a simulated night, as its window starts it, and what its mosaic shows.

``python -m tests.integration.whole_worker DIR -o OUT`` runs a copy of the checkout DIR, patched or not, in ZeMosaic's
Python, and leaves in OUT: what the worker wrote (``mosaic/``, master tiles included), what it told the window
(``told.jsonl``), the frames, ``figures.json`` and ``mosaic.png``, stretched hard.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import threading
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import numpy as np
import psutil
from astropy.io import fits

from nanstack.io.frames import read_frame
from tests.integration.night import GRADIENTS, Figures, Night, measure, write_frames
from zemosaic_patch.demo import mosaic as demo
from zemosaic_patch.pictures import sky_stretch, write_picture

WHITE_SIGMA = 15.0  # of the picture: stretched so hard that no border could hide
SAMPLE_S = 0.2  # between two looks at the memory
KEPT = {"cleanup_temp_artifacts": False}  # of 4.5: the master tiles stay
NOT_COPIED = shutil.ignore_patterns(".git", "gif", "zemosaic_config.json")


class WorkerError(Exception):
    """The worker made no mosaic; the message says where to read why."""


@dataclass(frozen=True)
class Run:
    """What a run of the worker left, and what it took.

    Attributes
    ----------
    folder : Path
        All that it wrote.
    cpu_seconds, wall_seconds : float
        Of the worker and its processes.
    peak_bytes : int
        Largest memory that the worker and its processes held together.
    """

    folder: Path
    cpu_seconds: float
    wall_seconds: float
    peak_bytes: int

    @property
    def mosaic(self) -> Path:
        """The final mosaic."""
        return next(path for path in sorted(self.folder.glob("*_R*.fits")) if _is_final(path))

    @property
    def coverage(self) -> Path:
        """Its coverage."""
        return next(self.folder.glob("*_coverage.fits"))

    @property
    def tiles(self) -> list[Path]:
        """The master tiles that were kept."""
        return sorted(self.folder.rglob("master_tile_*.fits"))


def _is_final(path: Path) -> bool:
    return not path.stem.endswith(("_coverage", "_aesthetic"))


def run_worker(zemosaic: Path, frames: Path, out: Path, python: str, settings: dict) -> Run:
    """Run the whole worker of a copy of a checkout; the checkout itself and the user's own settings stay untouched.

    Parameters
    ----------
    zemosaic : Path
    frames : Path
        Folder of solved frames.
    out : Path
        Gets all files.
    python : str
        ZeMosaic's.
    settings : dict
        What differs from the window's defaults, by the names in ZeMosaic's configuration.

    Raises
    ------
    WorkerError
        Where no mosaic came of it.
    """
    out.mkdir(parents=True, exist_ok=True)
    out = out.resolve()
    home, copy, folder = out / "home", out / "zemosaic", out / "mosaic"
    for left in (home, copy, folder):
        shutil.rmtree(left, ignore_errors=True)
    home.mkdir()
    shutil.copytree(zemosaic, copy, ignore=NOT_COPIED)
    own = {"input_dir": str(frames.resolve()), "output_dir": str(folder), "coadd_memmap_dir": str(out)}
    job = {"zemosaic": str(copy), "settings": {**KEPT, **own, **settings}, "told": str(out / "told.jsonl")}
    (out / "JOB.json").write_text(json.dumps(job | {"took": str(out / "TOOK.json")}), encoding="utf-8")
    child = shutil.copy(Path(__file__).with_name("worker_child.py"), out)
    with open(out / "said.txt", "w", encoding="utf-8") as said:
        command = [python, child, str(out / "JOB.json")]
        process = subprocess.Popen(command, cwd=out, env=_environment(home), stdout=said, stderr=subprocess.STDOUT)
        peak = _watched(process)
    run = (
        Run(folder, peak_bytes=peak, **json.loads((out / "TOOK.json").read_text())) if not process.returncode else None
    )
    if run is None or not any(map(_is_final, folder.glob("*_R*.fits"))):
        raise WorkerError(f"{zemosaic}: its worker made no mosaic; it says why in {out / 'told.jsonl'} and said.txt")
    shutil.rmtree(copy)
    return run


def _environment(home: Path) -> dict[str, str]:
    """Return an environment in which ZeMosaic finds no settings of the user's, shows no window and leaves no cache."""
    environment = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "XDG_CONFIG_HOME")}
    own = {name: str(home) for name in ("HOME", "USERPROFILE", "APPDATA", "TMPDIR", "TEMP", "TMP")}
    return environment | own | {"QT_QPA_PLATFORM": "offscreen", "PYTHONDONTWRITEBYTECODE": "1"}


def _watched(process: subprocess.Popen) -> int:
    """Wait for a process; return the most memory that its descendants held together, in bytes."""
    ended, peak = threading.Event(), [0]

    def watch() -> None:
        root = psutil.Process(process.pid)
        while not ended.wait(SAMPLE_S):
            peak[0] = max(peak[0], _held(root))

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        process.wait()
    finally:
        ended.set()
        watcher.join()
        process.kill()
    return peak[0]


def _held(root: psutil.Process) -> int:
    total = 0
    try:
        for each in root.children(recursive=True):
            total += each.memory_info().rss
    except psutil.NoSuchProcess:  # it has just ended: the next look counts
        return 0
    return total


def read_mosaic(path: Path) -> tuple[np.ndarray, object]:
    """Return a mosaic (H, W, 3), NaN where it is transparent, and its WCS."""
    frame = read_frame(path)
    image = frame.data.astype(np.float32)
    with fits.open(path) as hdus:
        if "ALPHA" in hdus:
            image[hdus["ALPHA"].data == 0] = np.nan
    return image, frame.wcs


def figures_of(path: Path, session: demo.Session, frames: Path) -> tuple[Figures, Figures]:
    """Return a mosaic's figures, and those of the exact stack of the frames on its pixels: the floor.

    The exact stack has the true transforms and each frame's true sky subtracted: what remains of a step is noise.
    """
    image, wcs = read_mosaic(path)
    shape = image.shape[:2]
    light = demo.light_on(session, wcs, shape)
    exact, _ = demo.exact_stack(session, frames, wcs, shape, light)
    floor = np.where(np.isfinite(image), exact - light, np.nan).astype(np.float32)
    return measure(image - light, wcs, session), measure(floor, wcs, session)


def write_hard_picture(path: Path, picture: Path) -> None:
    """Write a mosaic as a picture that shows its sky alone, the north on top."""
    image, _ = read_mosaic(path)
    write_picture(sky_stretch(image, WHITE_SIGMA)(image)[::-1], picture)


def main(arguments: list[str] | None = None) -> int:
    """Run the worker on a night and say what its mosaic shows."""
    options = _parser().parse_args(arguments)
    night = Night(**{each.name: getattr(options, each.name) for each in fields(Night)})
    frames = options.output / "frames"
    session = write_frames(night, frames)
    try:
        run = run_worker(options.zemosaic, frames, options.output, options.python, dict(options.setting))
    except WorkerError as error:
        print(error, file=sys.stderr)
        return 1
    figures, floor = figures_of(run.mosaic, session, frames)
    write_hard_picture(run.mosaic, options.output / "mosaic.png")
    told = {"night": asdict(night), "mosaic": asdict(figures), "floor": asdict(floor)}
    told |= {"cpu_seconds": run.cpu_seconds, "wall_seconds": run.wall_seconds, "peak_bytes": run.peak_bytes}
    (options.output / "figures.json").write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")
    print(f"{run.mosaic}\nmosaic  {figures}\nfloor   {floor}")
    print(f"took    {run.cpu_seconds:.0f} CPU s, {run.wall_seconds:.0f} s, {run.peak_bytes / 2**20:.0f} MiB")
    return 0


def _parser() -> argparse.ArgumentParser:
    night = Night()
    parser = argparse.ArgumentParser(prog="python -m tests.integration.whole_worker", description=__doc__)
    parser.add_argument("zemosaic", type=Path, help="folder of a ZeMosaic, patched or not; only a copy of it is run")
    parser.add_argument("-o", "--output", type=Path, required=True, help="folder for all files")
    parser.add_argument("--python", default=sys.executable, help="ZeMosaic's Python (default: this one)")
    parser.add_argument(
        "--setting",
        type=_setting,
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="a setting of ZeMosaic's configuration that differs from the window's default; the value as JSON, or text",
    )
    parser.add_argument("--frames", type=int, default=night.frames)
    parser.add_argument("--shape", type=int, nargs=2, default=night.shape, metavar=("HEIGHT", "WIDTH"))
    parser.add_argument("--seed", type=int, default=night.seed)
    parser.add_argument("--sky-scatter", type=float, default=night.sky_scatter, help="share of the sky, either way")
    parser.add_argument("--gradient", type=float, default=night.gradient, help="share of the sky, from edge to edge")
    parser.add_argument("--gradients", choices=GRADIENTS, default=night.gradients, help="whether frames share it")
    parser.add_argument("--noise", type=float, default=night.noise, help="of a raw sample, in ADU")
    return parser


def _setting(text: str) -> tuple[str, object]:
    name, equals, value = text.partition("=")
    if not equals:
        raise argparse.ArgumentTypeError(f"{text!r} is no NAME=VALUE")
    try:
        return name, json.loads(value)
    except ValueError:
        return name, value


if __name__ == "__main__":
    sys.exit(main())
