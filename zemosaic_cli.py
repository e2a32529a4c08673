# SPDX-License-Identifier: GPL-3.0-or-later
"""The command line: tile, demo, report, info; for a ZeMosaic check, apply, revert, verify.

Exit codes: 0 done; 1 failed (frames that cannot be read or aligned, output that cannot be written); 2 usage (wrong
arguments, no frames where they should be, output that exists).
"""

from __future__ import annotations

import argparse
import json
import logging
import math
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

    from nanstack.frames import FrameError, FrameFile
    from zemosaic_tile import Tile, TileSettings

REJECTIONS = ("winsorized_sigma_clip", "kappa_sigma", "linear_fit_clip", "none")
COMBINES = ("mean", "median", "min", "max")
MATCHES = ("offset", "linear", "plane", "none")
NORMALIZATIONS = ("none", "linear_fit", "sky_mean")
WEIGHTS = ("none", "noise_variance", "noise_fwhm")
INTERPOLATIONS = ("bicubic", "lanczos3")
GPU = ("auto", "on", "off")
PACKAGES = ("numpy", "scipy", "astropy", "sep", "numba", "cupy")
OUTPUTS = ("tile.fits", "tile.png", "coverage.png", "tile.json")


class UsageError(Exception):
    """What was asked for cannot be done; the message says what to do instead."""


class FailureError(Exception):
    """It was tried and failed; the message names the file and the reason."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; return the exit code."""
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="backslashreplace")  # a file's name may hold what the screen cannot show
    options = _parser().parse_args(arguments)
    logging.basicConfig(format="%(message)s", level=logging.WARNING)
    logging.getLogger("nanstack").setLevel(logging.INFO)
    try:
        code = options.run(options)
    except UsageError as error:
        return _complain(error, 2)
    except (FailureError, OSError) as error:
        return _complain(error, 1)
    except KeyboardInterrupt:
        return _complain("stopped by the user", 130)
    return code or 0


def _complain(error: object, code: int) -> int:
    print(f"zemosaic-patch: {error}", file=sys.stderr)
    return code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="zemosaic-patch",
        description="NaN-safe master tiles for ZeMosaic.",
        epilog="Exit codes: 0 done, 1 failed, 2 wrong usage.",
    )
    parser.add_argument("--version", action="version", version=f"zemosaic-patch {_version()}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    _add_tile(commands)
    _add_demo(commands)
    _add_report(commands)
    commands.add_parser("info", help="show versions, processors, memory, compiled kernels").set_defaults(run=_run_info)
    _add_dropin(commands)
    return parser


def _version() -> str:
    try:
        return version("zemosaic-patch")
    except PackageNotFoundError:
        return "(not installed)"


def _add_tile(commands: Any) -> None:
    tile = commands.add_parser(
        "tile",
        help="make one master tile of a group of frames",
        description="Align a group of frames on one of them, reject outliers, average: one tile without coloured rims.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    tile.add_argument("frames", nargs="+", metavar="FRAMES", help="FITS or .npy files, folders, or glob patterns")
    tile.add_argument("-o", "--output", type=Path, required=True, metavar="DIR", help=f"gets {', '.join(OUTPUTS)}")
    tile.add_argument("--overwrite", action="store_true", help="replace these files where they exist")
    tile.add_argument("--reference", metavar="FILE", help="frame to align on; by default the most central one")
    tile.add_argument("--reject", choices=REJECTIONS, default=REJECTIONS[0], help="rejection")
    tile.add_argument(
        "--kappa", type=float, nargs="+", default=[3.0], metavar="K", help="one limit, or the low and the high one"
    )
    tile.add_argument(
        "--winsor", type=float, nargs=2, default=[0.05, 0.05], metavar=("LOW", "HIGH"), help="winsorized fractions"
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
        default=True,
        help="let a rejected sample count as its winsorized value, as ZeMosaic does; --no-rewinsor leaves it out",
    )
    tile.add_argument("--combine", choices=COMBINES, default="mean", help="how what is left becomes one value")
    tile.add_argument(
        "--match-sky",
        choices=MATCHES,
        default=MATCHES[0],
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
    tile.set_defaults(run=_run_tile)


def _add_demo(commands: Any) -> None:
    demo = commands.add_parser(
        "demo",
        help="simulate a Seestar group on the Pleiades and stack it before and after the fix",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    demo.add_argument("-o", "--output", type=Path, default=Path("zemosaic-patch-demo"), metavar="DIR")
    demo.add_argument("--frames", type=int, default=16, metavar="N", help="number of frames, at least 3")
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
    settings = _settings(options)
    _check_output(options.output, OUTPUTS, options.overwrite)
    tile = tile_of_files(options.frames, settings, options.reference)
    save_tile(tile, options.output)
    _show(tile, options.output)


def _settings(options: argparse.Namespace) -> TileSettings:
    """Return the tile's settings, or raise UsageError naming the option that is out of range."""
    from zemosaic_tile import TileSettings

    if len(options.kappa) > 2 or not all(math.isfinite(kappa) and kappa > 0 for kappa in options.kappa):
        raise UsageError(f"--kappa takes one or two positive numbers, not {_listed(options.kappa)}")
    if not all(0 <= limit < 0.5 for limit in options.winsor):
        raise UsageError(f"--winsor takes two fractions from 0 to below 0.5, not {_listed(options.winsor)}")
    return TileSettings(
        reject=options.reject,
        kappa_low=options.kappa[0],
        kappa_high=options.kappa[-1],
        winsor_limits=tuple(options.winsor),
        rewinsor=options.rewinsor,
        wsc_impl=options.wsc_impl,
        combine=options.combine,
        normalize=options.norm,
        match_sky=options.match_sky,
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
        from nanstack.files import complete_file

        with complete_file(folder / ".writable"):
            pass
        (folder / ".writable").unlink()
    except OSError as error:
        raise FailureError(f"{folder} cannot be written to: {error.strerror or error}") from error


def tile_of_files(names: Sequence[str | Path], settings: TileSettings, reference: str | None = None) -> Tile:
    """Make a tile of frame files, read as they are needed; those that cannot be used are named and left out.

    Raises
    ------
    UsageError
        No frames there, or a reference that is none of them.
    FailureError
        Nothing to stack.
    """
    from nanstack.frames import FrameError, find_frame_files
    from nanstack.layout import on_one_line
    from zemosaic_tile import make_tile

    try:
        paths = find_frame_files(names)
    except FrameError as error:
        raise UsageError(on_one_line(f"{names[0] if len(names) == 1 else error.path}: {error.reason}")) from error
    wanted = None if reference is None else _among(paths, reference)
    frames, unusable = _probe(paths)
    chosen, data = _load_reference(frames, unusable, wanted)
    if len(frames) == 1:
        _warn(f"{frames[0].path.name} is the only frame: it is the tile, as it is")
    sources: list[Any] = list(frames)
    sources[chosen] = data
    with _Bars(len(frames)) as bars:
        tile = make_tile(
            sources,
            chosen,
            settings,
            wcs=[frame.wcs for frame in frames],
            names=[frame.path.name for frame in frames],
            progress=bars,
        )
    tile.report["frames_given"] += len(unusable)
    tile.report["frames_failed"].update(unusable)
    if len(frames) > 1 and tile.report["frames_aligned"] == 1:
        name, reason = next(iter(tile.report["frames_failed"].items()))
        raise FailureError(f"no frame could be aligned on {frames[chosen].path.name}; {name}: {reason}")
    return tile


def _among(paths: Sequence[Path], reference: str) -> Path:
    """Return the frame that the reference names."""
    wanted = Path(reference)
    for path in paths:
        if path == wanted or path.name == reference or path.resolve() == wanted.resolve():
            return path
    raise UsageError(f"--reference {reference} is none of the {len(paths)} frames")


def _probe(paths: Sequence[Path]) -> tuple[list[FrameFile], dict[str, str]]:
    """Return the frames whose headers make sense, and the reasons why the others' do not."""
    from nanstack.frames import FrameError, probe_frame

    frames, unusable = [], {}
    for path in paths:
        try:
            frames.append(probe_frame(path))
        except FrameError as error:
            _leave_out(error, unusable)
    return frames, unusable


def _leave_out(error: FrameError, unusable: dict[str, str]) -> None:
    _warn(f"{error}; left out")
    unusable[error.path.name] = error.reason


def _load_reference(frames: list[FrameFile], unusable: dict[str, str], wanted: Path | None) -> tuple[int, np.ndarray]:
    """Return the reference's place and samples; a frame that cannot be one is left out, unless it was asked for."""
    import numpy as np

    from nanstack.frames import FrameError

    if wanted is not None and wanted.name in unusable:
        raise FailureError(f"{wanted.name} cannot be the reference: {unusable[wanted.name]}")
    while frames:
        index = _reference_index(frames, wanted)
        path = frames[index].path
        try:
            data = frames[index]()
            if not np.isfinite(data).any():
                raise FrameError(path, "it holds no finite sample")
        except FrameError as error:
            if wanted is not None:
                raise FailureError(f"{path.name} cannot be the reference: {error.reason}") from error
            _leave_out(error, unusable)
            del frames[index]
        else:
            return index, data
    raise FailureError(f"none of the {len(unusable)} files can be used: see above")


def _reference_index(frames: Sequence[FrameFile], wanted: Path | None) -> int:
    """Return the frame asked for; else, among those of the commonest shape, the most central or the middle one."""
    from zemosaic_worker import _pick_central_reference_index

    if wanted is not None:
        return next(index for index, frame in enumerate(frames) if frame.path == wanted)
    shape = Counter(frame.shape for frame in frames).most_common(1)[0][0]
    candidates = [index for index, frame in enumerate(frames) if frame.shape == shape]
    central = _pick_central_reference_index([{"wcs": frames[index].wcs} for index in candidates], False)
    return candidates[len(candidates) // 2 if central is None else central]


def save_tile(tile: Tile, folder: Path) -> None:
    """Write a tile's files: FITS, a stretched picture, the coverage as a picture, the report."""
    from concurrent.futures import ThreadPoolExecutor

    from astropy.io import fits

    from nanstack.files import complete_file
    from zemosaic_tile import card_value, report_cards, write_tile

    header = fits.Header()
    header["CREATOR"] = (f"zemosaic-patch {_version()}", "software that made this tile")
    header.update(report_cards(tile.report))
    for name, reason in tile.report["frames_failed"].items():
        header.add_history(card_value(f"frame {name} failed: {reason}"))
    with ThreadPoolExecutor(max_workers=1) as pool:
        # of copies: astropy turns the bytes of an array round where it lies while it writes it
        pictures = pool.submit(_save_pictures, tile.image.copy(), tile.coverage.copy(), folder)
        write_tile(tile, folder / "tile.fits", header)
        pictures.result()
    with complete_file(folder / "tile.json") as temporary:
        temporary.write_text(json.dumps(tile.report, indent=2) + "\n", encoding="utf-8")


def _save_pictures(image: np.ndarray, coverage: np.ndarray, folder: Path) -> None:
    import numpy as np

    from zemosaic_utils import stretch_auto_asifits_like

    write_png(stretch_auto_asifits_like(image, 0.5, 99.9, 0.05), folder / "tile.png")
    write_png(coverage / np.float32(max(1, coverage.max())), folder / "coverage.png")


def write_png(values: np.ndarray, path: Path) -> None:
    """Write values from 0 to 1 as an 8-bit picture, first row on top."""
    import cv2
    import numpy as np

    from nanstack.files import complete_file

    picture = np.rint(255 * np.clip(values, 0, 1)).astype(np.uint8)
    if picture.ndim == 3:
        picture = picture[..., ::-1]  # OpenCV's channels are B, G, R
    _, encoded = cv2.imencode(".png", picture, [cv2.IMWRITE_PNG_COMPRESSION, 1])  # other threads go on meanwhile
    with complete_file(path) as temporary:
        temporary.write_bytes(encoded)


def _show(tile: Tile, folder: Path) -> None:
    from nanstack.layout import on_one_line
    from zemosaic_tile import report_lines

    lines = [*report_lines(tile.report), f"written            {folder / OUTPUTS[0]}"]
    print("\n".join(map(on_one_line, lines)))


# --------------------------------------------------------------------------------------------------------- demo


def _run_demo(options: argparse.Namespace) -> None:
    import zemosaic_demo as demo
    from nanstack.photometry import band_metric
    from zemosaic_tile import TileSettings

    if options.frames < 3:
        raise UsageError(f"--frames must be at least 3, not {options.frames}")
    _check_output(options.output, (*OUTPUTS, "before_after.png"), options.overwrite)
    print(f"simulating {options.frames} Seestar frames of the Pleiades ...", flush=True)
    paths = demo.write_pleiades_frames(options.output / "frames", options.frames)
    tile = tile_of_files(paths, TileSettings(rewinsor=False))
    save_tile(tile, options.output)
    _show(tile, options.output)
    print("stacking the same frames as ZeMosaic 4.3 does without the fix ...", flush=True)
    before = demo.stack_with_grey_fill(paths, tile.report["reference"])
    metrics = [band_metric(image, tile.coverage) for image in (before, tile.image)]
    captions = (f"ZeMosaic 4.3: band metric {metrics[0]:.1f} ADU", f"zemosaic-patch: band metric {metrics[1]:.2f} ADU")
    demo.before_after_picture(before, tile.image, captions, options.output / "before_after.png")
    print(f"band metric        before {metrics[0]:.1f} ADU, after {metrics[1]:.2f} ADU")
    print(f"picture            {options.output / 'before_after.png'}")


# ------------------------------------------------------------------------------------------------------- report


def _run_report(options: argparse.Namespace) -> None:
    from zemosaic_report import SOURCES, ReportError, write_report

    source = next((options.folder / name for name in SOURCES if (options.folder / name).is_file()), None)
    if source is None:
        raise UsageError(f"{options.folder} holds neither {' nor '.join(SOURCES)}: name the folder of a mosaic or tile")
    try:
        print(f"written            {write_report(source)}")
    except ReportError as error:
        raise FailureError(str(error)) from error


# --------------------------------------------------------------------------------------------------------- info


def _run_info(options: argparse.Namespace) -> None:
    for name, text in _facts():
        print(f"{name:<18} {text}")


def _facts() -> list[tuple[str, str]]:
    """Return what there is to know about this installation, as (name, text)."""
    import os
    import platform

    return [
        ("zemosaic-patch", _version()),
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
    import zemosaic_align_stack_gpu as gpu_stack
    from nanstack import gpu

    reason = gpu_stack._fault()
    if reason is not None:
        return f"none: {reason}"
    free, total = gpu.device_memory(gpu_stack.cp)
    return f"{gpu.device_name(gpu_stack.cp)}, {total / 2**30:.1f} GiB, {free / 2**30:.1f} GiB free"


def _cached_kernels() -> str:
    """Return the CPU's kernels that are compiled; the others will be when they are first needed."""
    from nanstack.rejection import METHODS, Rejection

    try:
        from nanstack import kernels
    except ImportError as missing:
        return f"none: Numba cannot be imported ({missing})"
    return ", ".join(method for method in METHODS if kernels.is_compiled(Rejection(method))) or "none yet"


# ------------------------------------------------------------------------------------------------------- drop-in


def _run_dropin(options: argparse.Namespace) -> int:
    import zemosaic_dropin as dropin

    code = 0
    try:
        if options.command == "check":
            code, lines = dropin.check(options.folder)
        elif options.command == "apply":
            choices = {name: getattr(options, name) for name in ("dry_run", "all_algorithms", "accept_unknown")}
            lines = dropin.apply(options.folder, **choices)
        elif options.command == "revert":
            lines = dropin.revert(options.folder)
        else:
            from dropin_verify import verify

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

    from nanstack.layout import on_one_line

    tqdm.write(f"warning: {on_one_line(message)}", file=sys.stderr)


class _Bars:
    """Shows progress as bars with a time estimate: one over the frames aligned, one over the rows stacked."""

    def __init__(self, frames: int) -> None:
        from tqdm import tqdm

        self.frames = tqdm(total=frames, desc="aligning", unit="frame", disable=None, leave=False)
        self.rows: Any = None

    def __enter__(self) -> Callable:
        return self.update

    def __exit__(self, *_: object) -> None:
        for bar in (self.frames, self.rows):
            if bar is not None:
                bar.close()

    def update(self, key: str, progress: Any = None, level: Any = None, **details: Any) -> None:
        """Take ZeMosaic's progress calls: frames by their details, rows as (done, total), warnings by level."""
        if key in ("stack_winsorized", "stack_kappa"):
            self._show_rows(int(progress), int(level))
        elif level in ("WARN", "ERROR"):
            no_gpu = f"the GPU is not used: {details.get('reason')}; the tile is stacked on the CPU"
            _warn(no_gpu if key.startswith("stack_gpu_fallback") else key)
        if "done" in details:
            self.frames.update(1)

    def _show_rows(self, done: int, total: int) -> None:
        from tqdm import tqdm

        if self.rows is None:
            self.frames.close()
            self.rows = tqdm(total=total, desc="stacking", unit="row", disable=None, leave=False)
        self.rows.update(done - self.rows.n)


if __name__ == "__main__":
    sys.exit(main())
