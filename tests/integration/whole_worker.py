# SPDX-License-Identifier: GPL-3.0-or-later
"""ZeMosaic's whole worker on a simulated night, as its window starts it, and what its mosaic shows.

``python -m tests.integration.whole_worker DIR -o OUT`` runs a copy of the checkout DIR, patched or not, in ZeMosaic's
Python, and leaves in OUT: what the worker wrote and told the window (``mosaic/``, master tiles included), the frames,
``figures.json`` and ``mosaic.png``, stretched hard.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import numpy as np
import psutil
from astropy.io import fits

from nanstack.io.frames import read_frame
from tests.integration.night import GRADIENTS, Figures, Night, measure, write_frames
from zemosaic_patch.demo.session import Session
from zemosaic_patch.demo.truth import exact_stack, light_on
from zemosaic_patch.pictures import sky_stretch, write_picture

PYTHON = os.environ.get("ZEMOSAIC_PYTHON", sys.executable)  # ZeMosaic's
WHITE_SIGMA = 15.0  # of the picture: stretched so hard that no border could hide
SAMPLE_S = 0.2  # between two looks at the memory
KEPT = {"cleanup_temp_artifacts": False}  # of 4.5: the master tiles stay
TOLD, TOOK = "told.jsonl", "took.json"  # beside what the worker writes
SIDE_BY_SIDE = ("_coverage", "_aesthetic", "_viewer")  # ends of names that are not the mosaic itself
# what ZeMosaic's Pythons do first where two runs are to be the same: astroalign draws its triangles by chance, and what
# becomes of a tile depends on which others are finished already
REPEATABLE = """\
import os
import numpy
import psutil
by_chance = numpy.random.default_rng
numpy.random.default_rng = lambda seed=0: by_chance(seed)
os.cpu_count = psutil.cpu_count = lambda *_, **__: 1
"""
NOT_COPIED = shutil.ignore_patterns(".git", "gif", "zemosaic_config.json")


class WorkerError(Exception):
    """The worker made no mosaic; the message says where to read why."""


@dataclass(frozen=True)
class Task:
    """What the worker is to do.

    Attributes
    ----------
    frames : Path
        Folder of solved frames, or of what else its owner would choose.
    folder : Path
        Gets all files of this run.
    settings : dict
        What differs from the window's defaults, by the names in ZeMosaic's configuration.
    """

    frames: Path
    folder: Path
    settings: dict


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
        Largest memory that the worker and its processes held together; of all runs that were asked for at once.
    """

    folder: Path
    cpu_seconds: float
    wall_seconds: float
    peak_bytes: int

    @property
    def mosaic(self) -> Path:
        """The final mosaic."""
        return next(path for path in _mosaics(self.folder) if not path.stem.endswith(SIDE_BY_SIDE))

    @property
    def coverage(self) -> Path:
        """Its coverage."""
        return next(path for path in _mosaics(self.folder) if path.stem.endswith("_coverage"))

    @property
    def tiles(self) -> list[Path]:
        """The master tiles that were kept."""
        return sorted(self.folder.rglob("master_tile_*.fits"))


def _mosaics(folder: Path) -> list[Path]:
    return sorted([*folder.glob("zemosaic_MT*.fits"), *folder.glob("mosaic_grid*.fits")])


def run_worker(
    zemosaic: Path, tasks: Sequence[Task], scratch: Path, python: str, repeatable: bool = False
) -> list[Run]:
    """Run the whole worker of a copy of a checkout; the checkout itself and the user's own settings stay untouched.

    Parameters
    ----------
    zemosaic : Path
    tasks : sequence of Task
        Done in turn.
    scratch : Path
        Gets the copy, what it says, and ZeMosaic's temporary files.
    python : str
        ZeMosaic's.
    repeatable : bool
        Whether to take chance out of it: by itself no two of ZeMosaic's runs need be the same.

    Raises
    ------
    WorkerError
        Where a task came to no mosaic.
    """
    scratch.mkdir(parents=True, exist_ok=True)
    scratch = scratch.resolve()
    copy, home, job = scratch / "zemosaic", scratch / "home", scratch / "JOB.json"
    for left in (copy, home, *(task.folder for task in tasks)):
        shutil.rmtree(left, ignore_errors=True)
    home.mkdir()
    shutil.copytree(zemosaic, copy, ignore=NOT_COPIED)
    runs = [_described(task, scratch) for task in tasks]
    job.write_text(json.dumps({"zemosaic": str(copy), "runs": runs}), encoding="utf-8")
    child = shutil.copy(Path(__file__).with_name("worker_child.py"), scratch)
    (scratch / "sitecustomize.py").write_text(REPEATABLE if repeatable else "", encoding="utf-8")
    with open(scratch / "said.txt", "w", encoding="utf-8") as said:
        command = [python, child, str(job)]
        process = subprocess.Popen(
            command, cwd=scratch, env=_environment(scratch), stdout=said, stderr=subprocess.STDOUT
        )
        peak = _watched(process)
    done = [_outcome(task, peak, scratch) for task in tasks]
    shutil.rmtree(copy)
    return done


def _described(task: Task, scratch: Path) -> dict:
    task.folder.mkdir(parents=True)
    folder = task.folder.resolve()
    own = {"input_dir": str(task.frames.resolve()), "output_dir": str(folder), "coadd_memmap_dir": str(scratch)}
    return {"settings": {**KEPT, **own, **task.settings}, "told": str(folder / TOLD), "took": str(folder / TOOK)}


def _outcome(task: Task, peak: int, scratch: Path) -> Run:
    if not _mosaics(task.folder) or not (task.folder / TOOK).is_file():
        raise WorkerError(f"no mosaic in {task.folder}: its {TOLD} or {scratch / 'said.txt'} tell why")
    return Run(task.folder, peak_bytes=peak, **json.loads((task.folder / TOOK).read_text(encoding="utf-8")))


def _environment(scratch: Path) -> dict[str, str]:
    """Return an environment in which ZeMosaic finds no settings of the user's, shows no window and leaves no cache."""
    environment = {name: value for name, value in os.environ.items() if name != "XDG_CONFIG_HOME"}
    environment["PYTHONPATH"] = str(scratch)  # for our sitecustomize.py
    own = {name: str(scratch / "home") for name in ("HOME", "USERPROFILE", "APPDATA", "TMPDIR", "TEMP", "TMP")}
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
        if process.poll() is None:  # Ctrl-C: nothing of it goes on
            for each in (*psutil.Process(process.pid).children(recursive=True), process):
                each.kill()
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


def figures_of(path: Path, session: Session, frames: Path) -> tuple[Figures, Figures]:
    """Return a mosaic's figures, and those of the exact stack of the frames on its pixels: the floor.

    The exact stack has the true transforms and each frame's true sky subtracted: what remains of a step is noise.
    """
    image, wcs = read_mosaic(path)
    shape = image.shape[:2]
    light = light_on(session, wcs, shape)
    exact, _ = exact_stack(session, frames, wcs, shape, light)
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
        task = Task(frames, options.output / "mosaic", dict(options.setting))
        [run] = run_worker(options.zemosaic, [task], options.output, options.python)
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
    parser.add_argument(
        "-o", "--output", type=Path, required=True, help="folder for all files; a former run's are replaced"
    )
    parser.add_argument("--python", default=PYTHON, help="ZeMosaic's Python (default: ZEMOSAIC_PYTHON, or this one)")
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
    parser.add_argument("--pointings", type=int, choices=range(1, 5), default=night.pointings)
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
