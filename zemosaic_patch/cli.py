# SPDX-License-Identifier: GPL-3.0-or-later
"""The command line: mosaic, tile, demo, report, info; for a ZeMosaic check, apply, revert, verify.

Exit codes: 0 done; 1 failed (frames that cannot be read or aligned, output that cannot be written); 2 usage (wrong
arguments, no frames where they should be, output that exists).
"""

from __future__ import annotations

import argparse
import atexit
import errno
import gc
import io
import logging
import math
import signal
import sys
import tempfile
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from zemosaic_patch.errors import FailureError, UsageError
from zemosaic_patch.options import config_defaults, write_config
from zemosaic_patch.outputs import claim, record, remove_ours
from zemosaic_patch.tile_run import OUTPUTS, find_frames, installed_version, save_tile, tile_of_files

if TYPE_CHECKING:
    from nanstack.settings import TileSettings
    from nanstack.tile import Tile

REJECTIONS = {
    "winsorized_sigma_clip": "winsor",
    "kappa_sigma": "kappa_sigma",
    "linear_fit_clip": "linear_fit",
    "none": "none",
}
COMBINES = ("mean", "median", "min", "max")
MATCHES = ("offset", "linear", "plane", "none")
NORMALIZATIONS = ("none", "linear_fit", "sky_mean")
WEIGHTS = ("none", "noise_variance", "noise_fwhm")
INTERPOLATIONS = ("bicubic", "lanczos3")
GPU = ("auto", "on", "off")
CONFIG = "run.toml"
REPORT = "report.html"
NO_MEMORY = "there is not enough memory: close other programs, or use smaller frames"
ADDRESS_SPACE, ADDRESS_SPACE_PER_THREAD = 5 * 2**28, 2**27  # bytes; loaded, libraries take 0.8 GiB, threads theirs
REASONS = {  # what the system's words leave out
    errno.ENOMEM: NO_MEMORY,
    errno.ENOSPC: "the disk is full: make room where the output goes, or name another folder with -o",
}
PACKAGES = ("numpy", "scipy", "astropy", "sep", "numba", "cupy")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; return the exit code."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a notebook's is none, and a program without a console has none
            stream.reconfigure(errors="backslashreplace")  # a file's name may hold what the screen cannot show
    atexit.register(gc.freeze)  # what is left then needs no collecting, which would take 0.2 s
    parser = _parser()
    options = parser.parse_args(arguments)
    logging.basicConfig(format="%(message)s", level=logging.WARNING)
    logging.getLogger("nanstack").setLevel(logging.INFO)
    with _leaving_on_signals():
        return _run(parser, options, arguments)


def _run(parser: argparse.ArgumentParser, options: argparse.Namespace, arguments: Sequence[str] | None) -> int:
    try:
        if getattr(options, "config", None) is not None:
            options.parser.set_defaults(**config_defaults(options.config, options.parser, vars(options)))
            options = parser.parse_args(arguments)
        code = options.run(options)
    except UsageError as error:
        return _complain(error, 2)
    except (FailureError, OSError) as error:
        return _complain(REASONS.get(getattr(error, "errno", None), error), 1)
    except MemoryError:
        return _complain(NO_MEMORY, 1)
    except RuntimeError as error:
        if "can't start new thread" not in str(error):  # Python's word for no memory, too: for the thread's stack
            raise
        return _complain(NO_MEMORY, 1)
    except ImportError as error:
        return _complain(f"a library cannot be loaded: {error}", 1)
    except KeyboardInterrupt:
        return _complain("stopped by the user", 130)
    return code or 0


_asked_to_leave: list[int] = []  # the signal, until it is obeyed


@contextmanager
def _leaving_on_signals() -> Iterator[None]:
    """Leave on Ctrl-C and SIGTERM, so that temporary files and worker processes are cleared away."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    _asked_to_leave.clear()
    before = {number: signal.signal(number, _leave) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _leave(number: int, frame: object) -> None:
    _asked_to_leave[:] = [number]
    _obey()


def _obey() -> None:
    """Leave, if a signal asked for it and what it raised was lost: in a callback from compiled code it is."""
    if _asked_to_leave:
        raise KeyboardInterrupt if _asked_to_leave[0] == signal.SIGINT else SystemExit(128 + _asked_to_leave[0])


def _complain(error: object, code: int) -> int:
    print(f"zemosaic-patch: {error}", file=sys.stderr)
    return code


def _check_address_space() -> None:
    """Refuse a limit that the libraries would meet while they load: some of them crash there, or wait for ever."""
    from nanstack import memory

    space, needed = memory.address_space(), ADDRESS_SPACE + memory.threads() * ADDRESS_SPACE_PER_THREAD
    if space < needed:
        raise FailureError(
            f"this process may have {space // 2**20} MiB of address space (ulimit -v), and its libraries need "
            f"{needed // 2**20} MiB: allow that, or set no limit"
        )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="zemosaic-patch",
        description="NaN-safe master tiles for ZeMosaic.",
        epilog="Exit codes: 0 done, 1 failed, 2 wrong usage.",
    )
    parser.add_argument("--version", action="version", version=f"zemosaic-patch {installed_version()}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    _add_mosaic(commands)
    _add_tile(commands)
    _add_demo(commands)
    _add_report(commands)
    commands.add_parser("info", help="show versions, processors, memory, compiled kernels").set_defaults(run=_run_info)
    _add_dropin(commands)
    return parser


def _add_tile(commands: Any) -> None:
    tile = commands.add_parser(
        "tile",
        help="make one master tile of a group of frames",
        description="Align a group of frames on one of them, reject outliers, average: one tile without coloured rims.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    tile.add_argument("frames", nargs="*", metavar="FRAMES", help="FITS or .npy files, folders, or glob patterns")
    tile.add_argument("-o", "--output", type=Path, required=True, metavar="DIR", help=f"gets {', '.join(OUTPUTS)}")
    tile.add_argument("--overwrite", action="store_true", help="replace these files where they exist")
    tile.add_argument("--reference", metavar="FILE", help="frame to align on; by default the most central one")
    _add_tile_options(tile, match_sky="offset", rewinsor=True)
    tile.set_defaults(run=_run_tile, parser=tile)


def _add_tile_options(tile: argparse.ArgumentParser, match_sky: str, rewinsor: bool) -> None:
    """Add the options that say how a tile is made."""
    tile.add_argument("--config", type=Path, metavar="FILE", help="a run.toml: options, of which those here come first")
    tile.add_argument("--reject", choices=REJECTIONS, default="winsorized_sigma_clip", help="rejection")
    tile.add_argument(
        "--kappa",
        type=float,
        nargs="+",
        default=[3.0],
        metavar="K",
        help="limits in standard deviations: one, or the low and the high one",
    )
    tile.add_argument(
        "--winsor",
        type=float,
        nargs=2,
        default=[0.05, 0.05],
        metavar=("LOW", "HIGH"),
        help="winsorized fractions of the samples",
    )
    tile.add_argument(
        "--wsc-impl",
        choices=("legacy_quantile", "pixinsight"),
        default="legacy_quantile",
        help="which winsorized clip: by quantiles, or Huber's as PixInsight's (ZEMOSAIC_WSC_IMPL comes first)",
    )
    tile.add_argument(
        "--rewinsor",
        action=argparse.BooleanOptionalAction,
        default=rewinsor,
        help="let a rejected sample count as its winsorized value, as ZeMosaic does; --no-rewinsor leaves it out",
    )
    tile.add_argument("--combine", choices=COMBINES, default="mean", help="how what is left becomes one value")
    tile.add_argument(
        "--match-sky",
        choices=MATCHES,
        default=match_sky,
        help="match the frames' sky to the reference's: offset (ADU), linear (with a gain) or plane (with a gradient)",
    )
    tile.add_argument(
        "--norm", choices=NORMALIZATIONS, default="none", help="ZeMosaic's normalisation, in place of --match-sky"
    )
    tile.add_argument("--weight", choices=WEIGHTS, default="none", help="weight of the frames")
    tile.add_argument("--interpolation", choices=INTERPOLATIONS, default="bicubic", help="of the alignment")
    tile.add_argument(
        "--gpu", choices=GPU, default="off", help="stack on the GPU; auto: if there is one, on: say why where not"
    )


def _add_mosaic(commands: Any) -> None:
    mosaic = commands.add_parser(
        "mosaic",
        help="make a mosaic of solved frames, or of master tiles",
        description="Group frames by where they point, make a master tile of each group, and join the tiles on the "
        "sky: one mosaic without seams. A run that was stopped goes on with --resume.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    mosaic.add_argument("frames", nargs="*", metavar="FRAMES", help="FITS files with a WCS, folders, or glob patterns")
    mosaic.add_argument(
        "-o", "--output", type=Path, required=True, metavar="DIR", help="gets the mosaic, its report, and tiles/"
    )
    again = mosaic.add_mutually_exclusive_group()
    again.add_argument("--resume", action="store_true", help="use the tiles that are in DIR already, and fit")
    again.add_argument("--overwrite", action="store_true", help="make all anew where there is an earlier mosaic")
    mosaic.add_argument(
        "--existing-tiles", action="store_true", help="FRAMES are master tiles, ours or ZeMosaic's: join them"
    )
    mosaic.add_argument("--tile-frames", type=int, default=200, metavar="N", help="most frames of a tile")
    mosaic.add_argument(
        "--min-frames", type=int, default=3, metavar="N", help="fewest frames of a tile; others are left out"
    )
    mosaic.add_argument(
        "--match-tiles",
        choices=("plane", "offset", "none"),
        default="plane",
        help="bring the tiles to one background: by planes, by offsets (ADU), or not",
    )
    mosaic.add_argument("--join", choices=("mean", "median"), default="mean", help="how tiles that overlap are joined")
    mosaic.add_argument(
        "--feather",
        type=float,
        default=0.05,
        metavar="SHARE",
        help="width over which a tile's weight falls to its edge, in shorter sides of the tile, 0 to 0.5",
    )
    mosaic.add_argument("--compress", action="store_true", help="compress mosaic.fits, without loss")
    mosaic.add_argument("--picture", choices=("png", "tif"), default="png", help="kind of the 16-bit pictures")
    mosaic.add_argument(
        "--workers", type=int, default=0, metavar="N", help="processes; 0: as many as processors and memory allow"
    )
    _add_tile_options(mosaic, match_sky="plane", rewinsor=False)
    mosaic.set_defaults(run=_run_mosaic, parser=mosaic)


def _add_demo(commands: Any) -> None:
    demo = commands.add_parser(
        "demo",
        help="simulate a Seestar group on the Pleiades and stack it before and after the fix",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    demo.add_argument("-o", "--output", type=Path, default=Path("zemosaic-patch-demo"), metavar="DIR")
    demo.add_argument(
        "--mosaic", action="store_true", help="make a mosaic of 2 x 2 pointings, each frame with a sky of its own"
    )
    demo.add_argument(
        "--frames", type=int, metavar="N", help="number of frames, by default 16, at least 3; of a mosaic 40, 12"
    )
    demo.add_argument("--overwrite", action="store_true", help="replace an earlier demo's files")
    demo.set_defaults(run=_run_demo)


def _add_dropin(commands: Any) -> None:
    for name, text in {
        "check": "say what holds in a ZeMosaic (exit code 0: clean or patched; 1: affected; 2: cannot be patched)",
        "apply": "put the patch into a ZeMosaic",
        "revert": "take the patch out of a ZeMosaic",
        "verify": "make a simulated tile with a ZeMosaic and measure it",
    }.items():
        command = commands.add_parser(name, help=text, description=text[0].upper() + text[1:] + ".")
        command.add_argument("folder", metavar="DIR", help="the folder of ZeMosaic, with its zemosaic_worker.py")
        command.set_defaults(run=_run_dropin, command=name)
        if name == "apply":
            command.add_argument("--dry-run", action="store_true", help="show the diff, change nothing")
            command.add_argument(
                "--all-algorithms",
                action="store_true",
                help="for the tiles of all rejections, not winsorized ones alone",
            )
            command.add_argument(
                "--match-sky",
                nargs="?",
                const=MATCHES[0],
                choices=MATCHES,
                default="none",
                metavar="MODEL",
                help="match the frames of these tiles in sky level, as `tile` does, by offset or by the MODEL named",
            )
            command.add_argument(
                "--accept-unknown", action="store_true", help="change files, too, that are no published version's"
            )
        elif name == "verify":
            command.add_argument(
                "--python", metavar="FILE", help="ZeMosaic's Python; by default DIR's own, or this one"
            )


def _add_report(commands: Any) -> None:
    report = commands.add_parser(
        "report",
        help="make a report of a mosaic or a tile: one page for the browser",
        description="Write report.html, which needs no other file and no network, into the folder of a mosaic or tile.",
    )
    report.add_argument("folder", type=Path, metavar="DIR", help="folder with mosaic.json or tile.json")
    report.set_defaults(run=_run_report)


# --------------------------------------------------------------------------------------------------------- tile


def _run_tile(options: argparse.Namespace) -> None:
    _check_address_space()
    settings = _settings(options)
    _check_frames(options)
    paths = find_frames(options.frames)
    kept = _kept_config(options)
    _check_output(options.output, (*OUTPUTS, *kept), options.overwrite)
    claim(options.output, (*OUTPUTS, REPORT, *kept), paths)
    with _own_folder(options.output):
        with _Bars() as bars:
            tile = tile_of_files(paths, settings, options.reference, bars)
        remove_ours(options.output, (*OUTPUTS, REPORT), paths)  # a report of another tile among them
        save_tile(tile, options.output)
        _keep_options(options)
    _show(tile, options.output)


def _check_frames(options: argparse.Namespace) -> None:
    if not options.frames:
        raise UsageError("no frames: name files, folders or glob patterns")


def _kept_config(options: argparse.Namespace) -> tuple[str, ...]:
    """Return the name under which a run keeps its options; none where it read them from that very file."""
    path = options.output / CONFIG
    given = options.config is not None and path.exists() and path.samefile(options.config)
    return () if given else (CONFIG,)


def _keep_options(options: argparse.Namespace) -> None:
    for name in _kept_config(options):
        write_config(options, options.output / name)


def _settings(options: argparse.Namespace) -> TileSettings:
    """Return the tile's settings, or raise UsageError naming the option that is out of range."""
    from nanstack.settings import TileSettings
    from nanstack.stack.definition import Rejection

    if len(options.kappa) > 2 or not all(math.isfinite(kappa) and kappa > 0 for kappa in options.kappa):
        raise UsageError(f"--kappa takes one or two positive numbers, not {_listed(options.kappa)}")
    if not all(0 <= limit < 0.5 for limit in options.winsor):
        raise UsageError(f"--winsor takes two fractions from 0 to below 0.5, not {_listed(options.winsor)}")
    method = (
        REJECTIONS[options.reject]
        if options.wsc_impl == "legacy_quantile"
        else {"winsor": "huber"}.get(REJECTIONS[options.reject], REJECTIONS[options.reject])
    )
    return TileSettings(
        rejection=Rejection(method, options.kappa[0], options.kappa[-1], *options.winsor, options.rewinsor),
        combine=options.combine,
        normalize=options.norm,
        match=options.match_sky,
        weight=options.weight,
        interpolation=options.interpolation,
        gpu=options.gpu,
    )


def _listed(values: Sequence[float]) -> str:
    return " ".join(f"{value:g}" for value in values)


def _check_output(folder: Path, names: Sequence[str], overwrite: bool) -> None:
    """Fail now, not after the work, where the output cannot be written or must not be."""
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"{folder} is a file: name a folder for the output")
    existing = [name for name in names if (folder / name).exists()]
    if existing and not overwrite:
        raise UsageError(f"{folder / existing[0]} exists: name another folder, or add --overwrite")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise FailureError(f"{folder} cannot be written to: {error.strerror or error}") from error


def _show(tile: Tile, folder: Path) -> None:
    from nanstack.io.layout import on_one_line

    lines = [*tile.report.lines(), f"written            {folder / OUTPUTS[0]}"]
    print("\n".join(map(on_one_line, lines)))


# ------------------------------------------------------------------------------------------------------- mosaic


def _run_mosaic(options: argparse.Namespace) -> int:
    _check_address_space()
    from zemosaic_patch import mosaic_run

    settings = _mosaic_settings(options)
    _check_frames(options)
    paths = find_frames(options.frames)
    _check_mosaic_output(options)
    claim(options.output, _kept_config(options), paths)
    make = mosaic_run.mosaic_of_tiles if options.existing_tiles else mosaic_run.mosaic_of_files
    with _own_folder(options.output), _StepBars() as bars:
        config = [] if options.config is None else [options.config]
        inputs, joins_tiles = [*paths, *config], options.existing_tiles
        mosaic_run.prepare(options.output, options.picture, inputs, anew=options.overwrite, joins_tiles=joins_tiles)
        _keep_options(options)
        told = make(paths, settings, options.output, bars.show, _warn)
    print("\n".join(mosaic_run.mosaic_lines(told, options.output)))
    if told["failed_tiles"]:
        _warn(f"the mosaic lacks {', '.join(told['failed_tiles'])}: see above; --resume tries again")
    return 1 if told["failed_tiles"] else 0


@contextmanager
def _own_folder(folder: Path) -> Iterator[None]:
    """Keep the output's folder to this run, with a place for temporary files in it."""
    from nanstack.io.files import FolderInUseError, exclusive, work_folder

    try:
        with exclusive(folder), work_folder(folder):
            yield
    except FolderInUseError as error:
        raise UsageError(str(error)) from error


def _mosaic_settings(options: argparse.Namespace) -> Any:
    from zemosaic_patch.mosaic_run import MosaicSettings

    for name, least in (("tile_frames", 1), ("min_frames", 1), ("workers", 0)):
        if getattr(options, name) < least:
            raise UsageError(f"--{name.replace('_', '-')} must be at least {least}, not {getattr(options, name)}")
    if not 0 <= options.feather <= 0.5:
        raise UsageError(f"--feather takes a share from 0 to 0.5, not {options.feather:g}")
    return MosaicSettings(
        tile=_settings(options),
        tile_frames=options.tile_frames,
        min_frames=options.min_frames,
        match_tiles=options.match_tiles,
        combine=options.join,
        feather=options.feather,
        interpolation=options.interpolation,
        compress=options.compress,
        picture=options.picture,
        workers=options.workers,
    )


def _check_mosaic_output(options: argparse.Namespace) -> None:
    from zemosaic_patch import mosaic_run

    earlier = mosaic_run.earlier_output(options.output)
    if earlier is not None and not (options.resume or options.overwrite):
        raise UsageError(f"{earlier} exists: add --resume to go on, --overwrite to make all anew, or name another DIR")
    _check_output(options.output, (), overwrite=True)


# --------------------------------------------------------------------------------------------------------- demo


def _run_demo(options: argparse.Namespace) -> None:
    _check_address_space()
    least, usual = (12, 40) if options.mosaic else (3, 16)
    options.frames = usual if options.frames is None else options.frames
    if options.frames < least:
        raise UsageError(f"--frames must be at least {least}, not {options.frames}")
    (_demo_mosaic if options.mosaic else _demo_tile)(options)


def _demo_mosaic(options: argparse.Namespace) -> None:
    from zemosaic_patch import mosaic_run
    from zemosaic_patch.demo import mosaic as demo

    earlier = mosaic_run.earlier_output(options.output)
    if earlier is not None and not options.overwrite:
        raise UsageError(f"{earlier} exists: name another folder, or add --overwrite")
    _check_output(options.output, demo.OUTPUTS, options.overwrite)
    print(f"simulating {options.frames} Seestar frames of 2 x 2 pointings on the Pleiades ...", flush=True)
    session, folder = demo.pleiades_session(options.frames), options.output / "frames"
    paths = [folder / frame.name for frame in session.frames]
    settings = mosaic_run.MosaicSettings()
    claim(options.output, demo.OUTPUTS)
    claim(folder, [path.name for path in paths])
    with _own_folder(options.output), _StepBars() as bars:
        mosaic_run.prepare(options.output, settings.picture, paths, anew=True)
        demo.write_frames(session, folder)
        record(folder, [path.name for path in paths])
        told = mosaic_run.mosaic_of_files(paths, settings, options.output, bars.show, _warn)
    print("\n".join(mosaic_run.mosaic_lines(told, options.output)))
    print("the same frames with a grey fill and without matching; both held to the truth ...", flush=True)
    print("\n".join(demo.figure_lines(*demo.compare(options.output))))
    record(options.output, [*demo.OUTPUTS, "mosaic.json", REPORT])
    print(f"picture            {options.output / 'before_after.png'}")


def _demo_tile(options: argparse.Namespace) -> None:
    from nanstack.levels.photometry import band_metric
    from nanstack.settings import TileSettings
    from nanstack.stack.definition import Rejection
    from zemosaic_patch.demo import tile as demo

    _check_output(options.output, (*OUTPUTS, "before_after.png"), options.overwrite)
    print(f"simulating {options.frames} Seestar frames of the Pleiades ...", flush=True)
    folder, names = options.output / "frames", [demo.frame_name(number) for number in range(options.frames)]
    claim(options.output, (*OUTPUTS, REPORT, "before_after.png"))
    claim(folder, names)
    with _own_folder(options.output):
        paths = demo.write_pleiades_frames(folder, options.frames)
        record(folder, names)
        with _Bars() as bars:
            tile = tile_of_files(paths, TileSettings(Rejection(rewinsor=False)), progress=bars)
        save_tile(tile, options.output)
    _show(tile, options.output)
    print("stacking the same frames as ZeMosaic 4.3 does without the fix ...", flush=True)
    before = demo.stack_with_grey_fill(paths, tile.report.reference)
    metrics = [band_metric(image, tile.coverage) for image in (before, tile.image)]
    captions = (f"ZeMosaic 4.3: band metric {metrics[0]:.1f} ADU", f"zemosaic-patch: band metric {metrics[1]:.2f} ADU")
    demo.before_after_picture(before, tile.image, captions, options.output / "before_after.png")
    record(options.output, ["before_after.png"])
    print(f"band metric        before {metrics[0]:.1f} ADU, after {metrics[1]:.2f} ADU")
    print(f"picture            {options.output / 'before_after.png'}")


# ------------------------------------------------------------------------------------------------------- report


def _run_report(options: argparse.Namespace) -> None:
    from zemosaic_patch.report.page import SOURCES, ReportError, write_report

    source = next((options.folder / name for name in SOURCES if (options.folder / name).is_file()), None)
    if source is None:
        raise UsageError(f"{options.folder} holds neither {' nor '.join(SOURCES)}: name the folder of a mosaic or tile")
    claim(options.folder, [REPORT])
    try:
        written = write_report(source)
    except ReportError as error:
        raise FailureError(str(error)) from error
    record(options.folder, [written.name])
    print(f"written            {written}")


# --------------------------------------------------------------------------------------------------------- info


def _run_info(options: argparse.Namespace) -> None:
    for name, text in _facts():
        print(f"{name:<18} {text}")


def _facts() -> list[tuple[str, str]]:
    """Return what there is to know about this installation, as (name, text)."""
    import os
    import platform

    return [
        ("zemosaic-patch", installed_version()),
        ("Python", f"{platform.python_version()}, {platform.system()} {platform.machine()}"),
        *((package, _package_version(package)) for package in PACKAGES),
        ("CPU threads", str(os.cpu_count())),
        ("memory", _memory()),
        ("GPU", _gpu()),
        ("cached kernels", _cached_kernels()),
    ]


def _package_version(package: str) -> str:
    """Return a package's version; CuPy's wheels are named after the CUDA that they are built for."""
    from importlib.metadata import packages_distributions

    names = packages_distributions().get(package, ())
    return ", ".join(f"{version(name)} ({name})" if name != package else version(name) for name in names) or "missing"


def _memory() -> str:
    try:
        import psutil
    except ImportError:
        return "unknown: psutil is missing"
    memory = psutil.virtual_memory()
    return f"{memory.total / 2**30:.1f} GiB, {memory.available / 2**30:.1f} GiB free"


def _gpu() -> str:
    """Return the GPU's name and memory, or why there is none."""
    from nanstack.stack import device, gpu

    reason = device.fault()
    if reason is not None:
        return f"none: {reason}"
    module = device.array_module()
    free, total = gpu.device_memory(module)
    return f"{gpu.device_name(module)}, {total / 2**30:.1f} GiB, {free / 2**30:.1f} GiB free"


def _cached_kernels() -> str:
    """Return the CPU's kernels that are compiled; the others will be when they are first needed."""
    from nanstack.stack.definition import METHODS, Rejection

    try:
        from nanstack.stack import numba_kernels as kernels
    except ImportError as missing:
        return f"none: Numba cannot be imported ({missing})"
    return ", ".join(method for method in METHODS if kernels.is_compiled(Rejection(method))) or "none yet"


# ------------------------------------------------------------------------------------------------------- drop-in


def _run_dropin(options: argparse.Namespace) -> int:
    from zemosaic_patch.dropin import patch as dropin

    code = 0
    try:
        if options.command == "check":
            code, lines = dropin.check(options.folder)
        elif options.command == "apply":
            names = ("dry_run", "all_algorithms", "match_sky", "accept_unknown")
            lines = dropin.apply(options.folder, **{name: getattr(options, name) for name in names})
        elif options.command == "revert":
            lines = dropin.revert(options.folder)
        else:
            from zemosaic_patch.dropin.verify import verify

            code, lines = verify(options.folder, options.python)
    except dropin.NotPatchableError as error:
        raise UsageError(error) from error
    except dropin.RefusedError as error:
        raise FailureError(error) from error
    print("\n".join(lines))
    return code


# ------------------------------------------------------------------------------------------------------ progress


def _warn(message: str) -> None:
    from tqdm import tqdm

    from nanstack.io.layout import on_one_line

    tqdm.write(f"warning: {on_one_line(message)}", file=sys.stderr)


class _StepBars:
    """Shows the steps of a mosaic as bars, one below the other: tiles, and what is done within them."""

    def __init__(self) -> None:
        self.bars: dict[str, Any] = {}

    def __enter__(self) -> _StepBars:
        return self

    def __exit__(self, *_: object) -> None:
        for bar in self.bars.values():
            bar.close()

    def show(self, step: str, done: int, total: int) -> None:
        """Take what `zemosaic_patch.mosaic_run.mosaic_of_files` tells."""
        from tqdm import tqdm

        _obey()
        if step not in self.bars:
            self.bars[step] = tqdm(desc=step, total=total, disable=None, leave=False, position=step != "tiles")
        bar = self.bars[step]
        bar.total = total
        bar.update(done - bar.n)
        if done >= total and step != "tiles":
            bar.close()


class _Bars:
    """Shows progress as bars with a time estimate: one over the frames aligned, one over the rows stacked."""

    def __init__(self) -> None:
        from tqdm import tqdm

        self.frames = tqdm(desc="aligning", unit="frame", disable=None, leave=False)
        self.rows: Any = None

    def __enter__(self) -> _Bars:
        return self

    def __exit__(self, *_: object) -> None:
        for bar in (self.frames, self.rows):
            if bar is not None:
                bar.close()

    def step(self, name: str, done: int, total: int) -> None:
        """Show how many frames are aligned, then how many rows are stacked."""
        from tqdm import tqdm

        _obey()
        if name == "aligning":
            self.frames.total = total
            self.frames.update(done - self.frames.n)
            return
        if self.rows is None:
            self.frames.close()
            self.rows = tqdm(total=total, desc="stacking", unit="row", disable=None, leave=False)
        self.rows.update(done - self.rows.n)

    def warn(self, text: str) -> None:
        """Print a warning above the bars."""
        _obey()
        _warn(text)


if __name__ == "__main__":
    sys.exit(main())
