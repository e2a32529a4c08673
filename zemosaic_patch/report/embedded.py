# SPDX-License-Identifier: GPL-3.0-or-later
"""Pictures inside the page: not larger than a screen needs, as data URIs."""

from __future__ import annotations

import base64
import math
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path

import numpy as np

from nanstack.io.layout import FrameError, open_file
from zemosaic_patch.picture_files import OtherPictureError, read_rows

MOSAIC_PX = 1800  # longest side of an embedded picture
COVERAGE_PX = 900
BLOCK_ROWS = 64  # that are made smaller at once
TINY = 1e-9
JPEG_QUALITY = 85
FEW, MOST = np.float32([92, 52, 30]), np.float32([252, 232, 206])  # colours of the coverage; B, G, R


@dataclass(frozen=True)
class Picture:
    """A picture, or why there is none.

    Attributes
    ----------
    name : str
        Of its file; empty where none is named.
    uri : str
        The picture itself; empty where it cannot be read.
    height, width : int
        Of the file.
    reason : str
        Why it cannot be read.
    """

    name: str
    uri: str = ""
    height: int = 0
    width: int = 0
    reason: str = ""


def embed(folder: Path, name: str, longest: int, recolour: Callable[[np.ndarray], np.ndarray] | None = None) -> Picture:
    """Return a picture for the page.

    Parameters
    ----------
    folder : Path
    name : str
        Of the file, relative to the folder; may be empty.
    longest : int
        Pixels of its longer side, at most.
    recolour : callable, optional
        Changes the colours of (H, W, 1) or (H, W, 3) uint8; blue, green, red.
    """
    import cv2

    if not name:
        return Picture("")
    try:
        pixels, (height, width) = _seen(folder / name, longest)
    except FrameError as error:
        return Picture(name, reason=error.reason)
    except (OSError, ValueError, cv2.error) as error:
        return Picture(name, reason=getattr(error, "strerror", None) or "it is no picture")
    if pixels is None:
        return Picture(name, reason="its format is unknown")
    if recolour is not None:
        pixels = recolour(pixels)
    _, jpeg = cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
    return Picture(name, "data:image/jpeg;base64," + base64.b64encode(jpeg).decode(), height, width)


def _seen(path: Path, longest: int) -> tuple[np.ndarray | None, tuple[int, int]]:
    """Return a picture of 8 bits, as small as is wanted, and the size of the file's; None for an unknown format."""
    import cv2

    with open_file(path) as raw, BufferedReader(raw) as file:
        with suppress(OtherPictureError):  # ours may be larger than the memory
            shape, blocks = read_rows(file)
            return _reduced(blocks, shape, longest)[..., ::-1], shape[:2]
        file.seek(0)
        pixels = cv2.imdecode(np.frombuffer(file.read(), dtype=np.uint8), cv2.IMREAD_ANYCOLOR)
    if pixels is None:
        return None, (0, 0)
    shape = (*pixels.shape, 1)[:3]
    pixels = pixels.reshape(shape)
    blocks = (pixels[top : top + BLOCK_ROWS] for top in range(0, len(pixels), BLOCK_ROWS))
    return _reduced(blocks, shape, longest), shape[:2]


def _reduced(blocks: Iterable[np.ndarray], shape: tuple[int, int, int], longest: int) -> np.ndarray:
    """Return a picture whose longer side has so many pixels at most: means over what each of them covers.

    Parameters
    ----------
    blocks : iterable of ndarray of uint8, shape (h, W, C)
        Its rows from the top on.
    shape : (int, int, int)
        Its height, width, channels.
    longest : int
    """
    import cv2

    scale = longest / max(shape[:2])
    if scale >= 1:
        return np.concatenate(list(blocks))
    height, width = (max(1, round(scale * side)) for side in shape[:2])
    narrow = (
        values
        for block in blocks
        for values in cv2.resize(block.astype(np.float32), (width, len(block)), interpolation=cv2.INTER_AREA)
    )
    sums, step = np.zeros((height, width * shape[2]), np.float32), shape[0] / height
    for row, values in enumerate(narrow):
        for covering in range(int(row / step), min(height, math.ceil((row + 1) / step))):
            share = min((covering + 1) * step, row + 1) - max(covering * step, row)
            sums[covering] += values.ravel() * (share / step)
    return np.rint(sums).astype(np.uint8).reshape(height, width, shape[2])


def cells_in_blues(values: np.ndarray) -> str:
    """Return a picture of values (rows, columns) as a data URI: lighter where they are larger; black where none is."""
    import cv2

    known = np.isfinite(values)
    low, high = (values[known].min(), values[known].max()) if known.any() else (0.0, 0.0)
    grey = np.where(known, 1 + 254 * (values - low) / max(high - low, TINY), 0)
    _, png = cv2.imencode(".png", in_blues(np.nan_to_num(grey).astype(np.uint8)[..., None]))
    return "data:image/png;base64," + base64.b64encode(png).decode()


def in_blues(coverage: np.ndarray) -> np.ndarray:
    """Return a grey coverage (H, W, C) in blues that grow lighter evenly; black stays black: no data."""
    grey = coverage[..., coverage.shape[2] // 2, None]
    blues = FEW + (MOST - FEW) * (grey / np.float32(255))
    return np.where(grey > 0, blues, 0).astype(np.uint8)


def blues_as_css() -> str:
    """Return the colours of `in_blues` as a CSS gradient."""
    ends = ("{2:.0f},{1:.0f},{0:.0f}".format(*colour) for colour in (FEW, MOST))
    return "linear-gradient(90deg," + ",".join(f"rgb({end})" for end in ends) + ")"
