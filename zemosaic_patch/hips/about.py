# SPDX-License-Identifier: GPL-3.0-or-later
"""What a HiPS tells of itself: its properties, its coverage, and a page that shows it."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timezone
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from zemosaic_patch import installed_version
from zemosaic_patch.hips.grid import SIDE_DEG, TILE
from zemosaic_patch.hips.tiles import FINER

if TYPE_CHECKING:
    from astropy.coordinates import SkyCoord
    from astropy.wcs import WCS

VERSION = "1.4"  # which version 1.0 of the standard calls itself
LOOKED_AT = ("hips_initial_ra", "hips_initial_dec", "hips_initial_fov")
PAGE, PROPERTIES, COVERAGE = "index.html", "properties", "Moc.fits"
VIEWER = ("aladin.js", "aladin-license.txt")


def write_about(to: Path, header: Any, place: WCS, order: int, cells: np.ndarray) -> None:
    """Write what lies beside the tiles of a HiPS.

    Parameters
    ----------
    to : Path
    header : mapping
        Of the mosaic.
    place : astropy.wcs.WCS
        Its.
    order : int
        Of the finest tiles.
    cells : ndarray of int64
        What `zemosaic_patch.hips.tiles.draw_tiles` returned.
    """
    told = properties_of(header, place, order) | {"moc_sky_fraction": f"{len(cells) / (12 * 4 ** (order + FINER)):.4g}"}
    (to / PROPERTIES).write_text("".join(f"{key:20} = {value}\n" for key, value in told.items()), encoding="utf-8")
    write_coverage(to / COVERAGE, cells, order + FINER)
    _write_page(to, told)


# --- properties -------------------------------------------------------------------------------------------------------


def properties_of(header: Any, place: WCS, order: int) -> dict[str, str]:
    """Return what clients ask first, by the standard's keywords: see `write_about`."""
    import reproject

    title = str(header.get("OBJECT") or "mosaic")
    middle, across = _middle_and_size(place, header["NAXIS1"], header["NAXIS2"])
    now = datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%MZ")
    told = {
        "creator_did": f"ivo://zemosaic-patch/P/{''.join(filter(str.isalnum, title))}",
        "obs_title": title,
        "obs_description": _description(header),
        "obs_regime": "Optical",
        "dataproduct_type": "image",
        "dataproduct_subtype": "color" if header["NAXIS"] == 3 else "",
        **_times(header),
        "hips_version": VERSION,
        "hips_builder": f"zemosaic-patch {installed_version()}, reproject {reproject.__version__}",
        "hips_creation_date": now,
        "hips_release_date": now,
        "hips_status": "public master clonableOnce",
        "hips_frame": "equatorial",
        "hips_order": str(order),
        "hips_order_min": "0",
        "hips_tile_width": str(TILE),
        "hips_tile_format": "png",
        "hips_pixel_scale": f"{SIDE_DEG / 2**order:.6g}",
        "hips_initial_ra": f"{middle.ra.deg:.6f}",
        "hips_initial_dec": f"{middle.dec.deg:.6f}",
        "hips_initial_fov": f"{across:.4g}",
    }
    return {key: value for key, value in told.items() if value}


def _description(header: Any) -> str:
    """Return what the picture is made of, in a line."""
    known = [f"{header['STACKCNT']} frames" if "STACKCNT" in header else "", str(header.get("INSTRUME") or "")]
    known += ["place on the sky approximate" if header.get("NPA_APRX") else ""]
    return ", ".join(filter(None, known))


def _times(header: Any) -> dict[str, str]:
    """Return when the first exposure began and the last one ended: modified Julian days."""
    from astropy.time import Time

    cards = {"t_min": "DATE-OBS", "t_max": "DATE-END"}
    return {key: f"{Time(header[card]).mjd:.5f}" for key, card in cards.items() if header.get(card)}


def _middle_and_size(place: WCS, width: int, height: int) -> tuple[SkyCoord, float]:
    """Return the middle of an image, and degrees from corner to corner."""
    middle = place.pixel_to_world((width - 1) / 2, (height - 1) / 2).icrs
    corners = place.pixel_to_world([-0.5, -0.5, width - 0.5, width - 0.5], [-0.5, height - 0.5, -0.5, height - 0.5])
    return middle, 2 * float(corners.icrs.separation(middle).max().deg)


# --- coverage ---------------------------------------------------------------------------------------------------------


def write_coverage(path: Path, cells: np.ndarray, order: int) -> None:
    """Write which cells of the sky hold data, as a MOC (IVOA MOC 2.0): clients ask for no tiles elsewhere.

    Parameters
    ----------
    path : Path
    cells : ndarray of int64
        Of that order, ascending.
    order : int
    """
    from astropy.io import fits

    table = fits.BinTableHDU.from_columns([fits.Column("UNIQ", "K", array=_as_coarse_as_can_be(cells, order))])
    table.header.update(
        {
            "PIXTYPE": "HEALPIX",
            "ORDERING": "NUNIQ",
            "COORDSYS": "C",
            "MOCVERS": "2.0",
            "MOCDIM": "SPACE",
            "MOCORD_S": order,
            "MOCORDER": order,
            "MOCTOOL": f"zemosaic-patch {installed_version()}",
        }
    )
    fits.HDUList([fits.PrimaryHDU(), table]).writeto(path)


def _as_coarse_as_can_be(cells: np.ndarray, order: int) -> np.ndarray:
    """Return cells with each four that make one of the order before as that one, ascending: number + 4 * 4**order."""
    found = []
    while order:
        parents, children = np.unique(cells >> 2, return_counts=True)
        whole = parents[children == 4]
        found.append(cells[~np.isin(cells >> 2, whole)] + 4 * 4**order)
        cells, order = whole, order - 1
    return np.sort(np.concatenate([*found, cells + 4]))


# --- the page ---------------------------------------------------------------------------------------------------------


def _write_page(to: Path, told: dict[str, str]) -> None:
    """Write a page that shows the tiles, with the viewer that it needs: no other server is asked for anything."""
    (to / PAGE).write_text(page_of(told), encoding="utf-8")
    for name in VIEWER:
        (to / name).write_bytes(part_of_viewer(name))


def page_of(told: Mapping[str, str]) -> str:
    """Return the page that shows tiles, by what their `properties` tell.

    Raises
    ------
    ValueError, KeyError
        Where these do not tell what to look at.
    """
    from jinja2 import Environment

    looked_at = {name: repr(float(told[name])) for name in LOOKED_AT}  # they stand in a script
    page = Environment(autoescape=True, keep_trailing_newline=True).from_string(
        part_of_viewer(PAGE).decode(encoding="utf-8")
    )
    return page.render({"obs_title": told.get("obs_title", ""), **looked_at})


def part_of_viewer(name: str) -> bytes:
    """Return a part of the page's viewer, one of `VIEWER`."""
    return (files("zemosaic_patch.hips") / name).read_bytes()


def read_properties(path: Path) -> dict[str, str]:
    """Return what a file of properties tells."""
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    return {key.strip(): value.strip() for key, _, value in (line.partition("=") for line in lines)}
