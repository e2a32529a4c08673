# SPDX-License-Identifier: GPL-3.0-or-later
"""Tiles as files: what ours are called; ours and ZeMosaic's read."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from nanstack.io.frames import channels_last, read_named_image, samples_with_data
from nanstack.io.layout import card, read_layout, read_samples
from zemosaic_patch.options.runs import TileRun
from zemosaic_patch.outputs import Recording
from zemosaic_patch.result_files import ResultFiles, Written

TILE, REPORT = "tile.fits", "tile.json"
OUTPUTS = (TILE, "tile.png", "coverage.png", REPORT)
ALL_OUTPUTS = (*OUTPUTS, "report.html")  # the last one by the command `report`


def files_of(recording: Recording, run: TileRun) -> Written:
    """Return where and how a tile is written: as ZeMosaic reads it, with an ALPHA."""
    names = ResultFiles(TILE, "tile.png", "coverage.png")
    return Written(recording, names, kind="tile", bits=8, alpha=True, upside_down=run.canvas.is_north_up)


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
    header = read_layout(path).header
    return "NPA_TILE" in header or _text_of_card(header, "NPA_KIND") == "mosaic"


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
