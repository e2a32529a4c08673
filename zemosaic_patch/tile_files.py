# SPDX-License-Identifier: GPL-3.0-or-later
"""Tiles as files: our own written, with their report; ours and ZeMosaic's read."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from nanstack.io.cards import card_value
from nanstack.io.files import remove_partial_files
from nanstack.io.frames import channels_last, read_named_image, samples_with_data
from nanstack.io.images import write_tile
from nanstack.io.layout import card, read_layout, read_samples
from nanstack.report import TileReport
from zemosaic_patch import installed_version
from zemosaic_patch.outputs import expect, is_intact, record
from zemosaic_patch.pictures import screen_stretch, write_coverage, write_picture
from zemosaic_patch.reports import read_json, write_json

if TYPE_CHECKING:
    from nanstack.tile import Tile

TILE, REPORT = "tile.fits", "tile.json"
OUTPUTS = (TILE, "tile.png", "coverage.png", REPORT)
ALL_OUTPUTS = (*OUTPUTS, "report.html")  # the last one by the command `report`


def save_tile(tile: Tile, folder: Path, fingerprint: str | None = None) -> None:
    """Write a tile's files, into a folder that no other run writes to: FITS, two pictures, the report.

    Parameters
    ----------
    tile : nanstack.tile.Tile
    folder : Path
    fingerprint : str, optional
        Of its frames and settings, by which `finished` knows whether it is still theirs.
    """
    from astropy.io import fits

    remove_partial_files(folder)
    expect(folder, OUTPUTS)
    header = fits.Header()
    header["CREATOR"] = (f"zemosaic-patch {installed_version()}", "software that made this tile")
    header.update(tile.taken.cards())
    header.update(tile.report.cards())
    for name, reason in tile.report.frames_failed.items():
        header.add_history(card_value(f"frame {name} failed: {reason}"))
    with ThreadPoolExecutor(max_workers=1) as pool:
        pictures = pool.submit(_save_pictures, tile.image, tile.coverage, folder)
        write_tile(tile, folder / TILE, header)
        pictures.result()
    told = tile.report.json()
    write_json(told if fingerprint is None else {**told, "fingerprint": fingerprint}, folder / REPORT)
    record(folder, OUTPUTS)


def _save_pictures(image: np.ndarray, coverage: np.ndarray, folder: Path) -> None:
    write_picture(screen_stretch(image)(image), folder / "tile.png")
    write_coverage(coverage, folder / "coverage.png")


def finished(folder: Path, fingerprint: str) -> TileReport | None:
    """Return a tile's report where a folder holds a complete and undamaged one of these frames and settings."""
    told = read_json(folder / REPORT)
    if told is None or told.get("fingerprint") != fingerprint:
        return None
    return report_beside(folder / TILE) if is_intact(folder / TILE) and is_intact(folder / REPORT) else None


def report_beside(tile: Path) -> TileReport | None:
    """Return the report beside one of our tiles; None where there is none, or it is damaged."""
    told = read_json(tile.with_name(REPORT)) if tile.name == TILE else None
    try:
        return None if told is None else TileReport.of(told)
    except ValueError:
        return None


def tile_name(path: Path) -> str:
    """Return what to call a tile: one of ours is called as its folder, unless that is the user's own name."""
    folder = path.absolute().parent
    return folder.name if path.name == TILE and folder.name and folder != Path.home() else path.stem


def agreed_cards(paths: Sequence[Path], names: Sequence[str]) -> dict[str, str]:
    """Return the texts of those cards that all tiles have, and that say the same in all."""
    headers = [read_layout(path).header for path in paths]
    said = {name: {_text_of_card(header, name) for header in headers} for name in names}
    return {name: texts.pop() for name, texts in said.items() if len(texts) == 1 and None not in texts}


def _text_of_card(header: Any, name: str) -> str | None:
    try:
        value = card(header, name)
    except ValueError:  # it cannot be read, and tells nothing
        return None
    return value if isinstance(value, str) else None


def is_mosaic(path: Path) -> bool:
    """Tell whether a file is a mosaic of ours, not a tile."""
    return "NPA_TILE" in read_layout(path).header


def frames_in(path: Path) -> int | None:
    """Return how many frames a tile's header says that it was made of, if it does."""
    header = read_layout(path).header
    try:
        counts = [card(header, name) for name in ("NPA_ALGN", "ZMT_NALGN", "MT_NFRAMES")]
    except ValueError:  # a card that cannot be read tells nothing
        return None
    return next((count for count in counts if isinstance(count, int)), None)


def read_tile(path: Path, frames: int | None = None) -> tuple[np.ndarray, np.ndarray | None]:
    """Read a master tile, ours or ZeMosaic's.

    Parameters
    ----------
    path : Path
    frames : int, optional
        Number of frames of a tile that does not have its coverage.

    Returns
    -------
    image : ndarray of float32, shape (H, W) or (H, W, 3)
        NaN where ALPHA is 0, and in a border of zeros.
    coverage : ndarray, shape (H, W), or None
    """
    layout = read_layout(path)
    image = samples_with_data(layout, channels_last(path, read_samples(layout)))
    alpha, coverage = (_plane(path, name, image.shape[:2]) for name in ("ALPHA", "COVERAGE"))
    if alpha is not None:
        image[alpha == 0] = np.nan
    coverage = None if coverage is None else coverage.astype(np.int32)
    if coverage is None and frames:
        coverage = np.full(image.shape[:2], frames, dtype=np.int32)
    return image, coverage


def _plane(path: Path, name: str, shape: tuple[int, ...]) -> np.ndarray | None:
    """Return a tile's image of a name, None where it has none of its shape."""
    plane = read_named_image(path, name)
    return plane if plane is not None and plane.shape == shape else None
