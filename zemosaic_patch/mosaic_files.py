# SPDX-License-Identifier: GPL-3.0-or-later
"""A mosaic as files: FITS, pictures, mosaic.json and the report; and which of them may be written where."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nanstack.io.images import image_hdus, write_hdus
from nanstack.memory import threads
from nanstack.solution_file import forget
from nanstack.stack.kept import KeptCells
from zemosaic_patch import tile_files
from zemosaic_patch.comet_run import CometStack
from zemosaic_patch.options.mosaic import PICTURES
from zemosaic_patch.options.runs import STACKS, MosaicRun
from zemosaic_patch.outputs import Recording, claim, expect, record, remove_ours
from zemosaic_patch.pictures import screen_stretches, write_coverage, write_stretched
from zemosaic_patch.report.json_file import read_json, write_json
from zemosaic_patch.result_files import ResultFiles, Written

if TYPE_CHECKING:
    from nanstack.mosaic import Mosaic

MOSAIC, REPORT, PAGE = "mosaic.fits", "mosaic.json", "report.html"
OUTPUTS = (MOSAIC, "mosaic.png", "mosaic_linked.png", "coverage.png", REPORT, PAGE)
COLOUR_PICTURES = ("mosaic.png", "mosaic_linked.png")
TILES = "tiles"  # of versions up to 0.2, which made mosaics of them
SOLUTIONS = "solutions"  # of groups of frames, found by a solver
SURVEYS = "surveys"  # what is known of each frame
GIVEN = "given.json"  # there: the names of the files that the mosaic is made of
CELLS = "cells"  # finished parts of the mosaic
SOLUTION = "solution.npz"  # beside them: the places, levels and weights of the frames that they stand on
ALL_CELLS = (CELLS, *(f"{kind}_{CELLS}" for kind in STACKS))


def output_names(picture: str, stacks: Sequence[str] = ()) -> tuple[str, ...]:
    """Return the names of a mosaic's files, its pictures of the kind 'png' or 'tif'; its tiles are not among them."""
    own = tuple(str(Path(name).with_suffix(f".{picture}")) if name in COLOUR_PICTURES else name for name in OUTPUTS)
    return (*own, *(name for kind in stacks for name in (f"{kind}.fits", f"{kind}.{picture}")))


def files_of(recording: Recording, run: MosaicRun) -> Written:
    """Return where and how a mosaic of frames is written."""
    kind = run.output.picture
    names = ResultFiles(MOSAIC, f"mosaic.{kind}", "coverage.png", f"mosaic_linked.{kind}")
    packed, upside_down = run.output.format == "fz", run.canvas.is_north_up
    return Written(recording, names, packed=packed, upside_down=upside_down, meanwhile=_make_report_ready)


def comet_files_of(recording: Recording, run: MosaicRun) -> dict[str, CometStack]:
    """Return where and how what is stacked on a comet's motion is written and kept, by its name."""
    packed, upside_down = run.output.format == "fz", run.canvas.is_north_up
    return {
        kind: CometStack(
            Written(
                recording,
                ResultFiles(f"{kind}.fits", f"{kind}.{run.output.picture}", ""),
                kind,
                packed=packed,
                upside_down=upside_down,
            ),
            recording.folder / f"{kind}_{CELLS}",
        )
        for kind in run.comet.stacks
    }


def _make_report_ready() -> None:
    from zemosaic_patch.report import page

    page.make_ready()


def is_former(folder: Path) -> bool:
    """Tell whether a version up to 0.2 made a folder: it has tiles, and nothing of how frames are stacked now."""
    told = read_json(folder / REPORT)
    return bool(tile_folders(folder)) and (told is None or "canvas" not in told)


def is_of_the_other_kind(folder: Path, of_tiles: bool) -> bool:
    """Tell whether a folder has a mosaic that was joined of tiles where frames are stacked, or the other way round."""
    told = read_json(folder / REPORT)
    return told is not None and ("canvas" in told) == of_tiles


def earlier_output(folder: Path) -> Path | None:
    """Return what an earlier run left in a folder; None where there is nothing."""
    names = (*(name for kind in PICTURES for name in output_names(kind)), TILES)
    return next((folder / name for name in names if (folder / name).exists()), None)


def prepare(
    folder: Path, picture: str, inputs: Sequence[Path], *, anew: bool = False, stacks: Sequence[str] = ()
) -> None:
    """Make sure that a mosaic can be written without a loss of anything that is not an earlier mosaic's.

    Parameters
    ----------
    folder : Path
    picture : {'png', 'tif'}
        Kind of the pictures that will be written.
    inputs : sequence of Path
        Files that are read, and so stay.
    anew : bool
        Remove what an earlier run would go on from. Its results stay until there are new ones.
    stacks : sequence of str
        What is stacked beside the stars: of `zemosaic_patch.options.runs.STACKS`.

    Raises
    ------
    UsageError
        Naming the file that is in the way.
    """
    claim(folder, output_names(picture, stacks), inputs)
    if anew:
        forget(folder / CELLS / SOLUTION)
        (folder / SURVEYS / GIVEN).unlink(missing_ok=True)
        for cells in ALL_CELLS:
            KeptCells(folder / cells).remove_others(())
            with suppress(OSError):  # others are left in it, or it is not there
                (folder / cells).rmdir()


def remove_former(folder: Path, picture: str, inputs: Sequence[Path], *, stacks: Sequence[str] = ()) -> None:
    """Remove what runs before the last one left, inputs apart: pictures of another kind, and tiles.

    Parameters
    ----------
    folder : Path
    picture : {'png', 'tif'}
        Kind of the last run's pictures.
    inputs : sequence of Path
    stacks : sequence of str
        What stays beside the stars: of `zemosaic_patch.options.runs.STACKS`.
    """
    folders_of_inputs = {os.path.dirname(os.path.realpath(path)) for path in inputs}
    for tile in tile_folders(folder):
        if os.path.realpath(tile) not in folders_of_inputs:
            remove_ours(tile, tile_files.ALL_OUTPUTS)
    with suppress(OSError):
        (folder / TILES).rmdir()
    new = output_names(picture, stacks)
    every = (name for kind in PICTURES for name in output_names(kind, STACKS))
    remove_ours(folder, [name for name in every if name not in new], inputs)


def tile_folders(folder: Path) -> list[Path]:
    """Return the folders of tiles in that of a mosaic."""
    tiles = folder / TILES
    return sorted(path for path in tiles.iterdir() if path.is_dir()) if tiles.is_dir() else []


def name_inside(path: Path, folder: Path) -> str:
    """Return a file's path within a folder; of one elsewhere its name alone, which tells nobody whose it is."""
    path, folder = Path(os.path.realpath(path)), Path(os.path.realpath(folder))
    return path.relative_to(folder).as_posix() if path.is_relative_to(folder) else path.name


def save_mosaic(mosaic: Mosaic, folder: Path, header: Any, picture: str, compress: bool) -> dict[str, str]:
    """Write a mosaic's FITS file and its pictures.

    Parameters
    ----------
    mosaic : Mosaic
    folder : Path
    header : astropy.io.fits.Header
        Further cards.
    picture : {'png', 'tif'}
        Kind of the 16-bit pictures.
    compress : bool

    Returns
    -------
    dict
        The names of the pictures, as `zemosaic_patch.report.joined.MosaicImage` has them.
    """
    expect(folder, output_names(picture))
    with ThreadPoolExecutor(1) as pool:
        written = pool.submit(write_mosaic, mosaic, folder / MOSAIC, header, compress)
        pictures = _write_pictures(mosaic, folder, picture)
        written.result()
    record(folder, [MOSAIC, *pictures.values()])
    return pictures


def write_mosaic(mosaic: Mosaic, path: Path, header: Any, compress: bool = False) -> None:
    """Write a mosaic: the image, planes first, with its WCS; COVERAGE (int32, frames); WEIGHT (float32).

    Parameters
    ----------
    mosaic : Mosaic
    path : Path
        Appears complete or not at all; an existing file is replaced.
    header : astropy.io.fits.Header
        Further cards.
    compress : bool
        Tiled compression without loss (GZIP_2); the image is then the first extension.
    """
    from astropy.io import fits

    solution = mosaic.wcs.to_header(relax=True)
    cards = solution.copy()
    cards.update(header)
    hdus = image_hdus(mosaic.image, cards)
    hdus.append(fits.ImageHDU(mosaic.coverage.copy(), solution, name="COVERAGE"))
    hdus.append(fits.ImageHDU(mosaic.weight.copy(), solution, name="WEIGHT"))
    hdus[-2].header["BUNIT"] = ("frame", "number of frames in a pixel")
    hdus[-1].header["BUNIT"] = ("frame", "coverage x feather, summed over the tiles")
    if compress:
        packed = [
            fits.CompImageHDU(hdu.data, hdu.header, name=hdu.name, compression_type="GZIP_2", quantize_level=0)
            for hdu in hdus
        ]
        hdus = fits.HDUList([fits.PrimaryHDU(), *packed])
    write_hdus(hdus, path)


def _write_pictures(mosaic: Mosaic, folder: Path, kind: str) -> dict[str, str]:
    """Write the mosaic for the screen, each channel for itself and all alike, and its coverage; return their names."""
    names = {"picture": f"mosaic.{kind}", "picture_linked": f"mosaic_linked.{kind}", "coverage_picture": "coverage.png"}
    stretches = zip((names["picture"], names["picture_linked"]), screen_stretches(mosaic.image), strict=True)
    with ThreadPoolExecutor(threads()) as pool:  # arithmetic and writing let go of the interpreter
        written = [
            pool.submit(write_stretched, mosaic.image, stretch, folder / name, upside_down=True)
            for name, stretch in stretches
        ]
        path = folder / names["coverage_picture"]
        written.append(pool.submit(write_coverage, mosaic.coverage, path, upside_down=True))
        for picture in written:
            picture.result()
    return names


def describe(told: Mapping[str, Any], recording: Recording) -> None:
    """Write what is known of a mosaic: `mosaic.json`, and the report made of it."""
    from zemosaic_patch.report.page import write_report

    recording.expect([REPORT, PAGE])
    write_json(told, recording.folder / REPORT)
    recording.complete(REPORT)
    recording.complete(write_report(recording.folder / REPORT).name)
