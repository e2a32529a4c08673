# SPDX-License-Identifier: GPL-3.0-or-later
"""Pictures inside the page: not larger than a screen needs, as data URIs."""

from __future__ import annotations

import base64
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from nanstack.io.layout import FrameError, open_file

MOSAIC_PX = 1800  # longest side of an embedded picture
COVERAGE_PX = 900
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
        Changes the colours of (H, W) or (H, W, 3) uint8; blue, green, red.
    """
    import cv2

    if not name:
        return Picture("")
    try:
        pixels = _pixels(folder / name)
    except FrameError as error:
        return Picture(name, reason=error.reason)
    except (OSError, ValueError, cv2.error) as error:
        return Picture(name, reason=getattr(error, "strerror", None) or "it is no picture")
    if pixels is None:
        return Picture(name, reason="its format is unknown")
    height, width = pixels.shape[:2]
    pixels = _reduced(pixels, longest)
    if recolour is not None:
        pixels = recolour(pixels)
    _, jpeg = cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
    return Picture(name, "data:image/jpeg;base64," + base64.b64encode(jpeg).decode(), height, width)


def _pixels(path: Path) -> np.ndarray | None:
    """Read a picture as 8 bits, whatever the file has; None where its format is unknown."""
    import cv2

    with open_file(path) as file:
        return cv2.imdecode(np.frombuffer(file.read(), dtype=np.uint8), cv2.IMREAD_ANYCOLOR)


def _reduced(pixels: np.ndarray, longest: int) -> np.ndarray:
    import cv2

    scale = longest / max(pixels.shape[:2])
    if scale >= 1:
        return pixels
    height, width = (max(1, round(scale * side)) for side in pixels.shape[:2])
    return cv2.resize(pixels, (width, height), interpolation=cv2.INTER_AREA)


def cells_in_blues(values: np.ndarray) -> str:
    """Return a picture of values (rows, columns) as a data URI: lighter where they are larger; black where none is."""
    import cv2

    known = np.isfinite(values)
    low, high = (values[known].min(), values[known].max()) if known.any() else (0.0, 0.0)
    grey = np.where(known, 1 + 254 * (values - low) / max(high - low, TINY), 0)
    _, png = cv2.imencode(".png", in_blues(np.nan_to_num(grey).astype(np.uint8)))
    return "data:image/png;base64," + base64.b64encode(png).decode()


def in_blues(coverage: np.ndarray) -> np.ndarray:
    """Return a grey coverage in blues that grow lighter evenly; black stays black: no data."""
    grey = (coverage if coverage.ndim == 2 else coverage[..., 1])[..., None]
    blues = FEW + (MOST - FEW) * (grey / np.float32(255))
    return np.where(grey > 0, blues, 0).astype(np.uint8)


def blues_as_css() -> str:
    """Return the colours of `in_blues` as a CSS gradient."""
    ends = ("{2:.0f},{1:.0f},{0:.0f}".format(*colour) for colour in (FEW, MOST))
    return "linear-gradient(90deg," + ",".join(f"rgb({end})" for end in ends) + ")"
