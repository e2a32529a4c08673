# SPDX-License-Identifier: GPL-3.0-or-later
"""Small pictures of frames, as they are looked through before a mosaic is made."""

from __future__ import annotations

import io
from functools import lru_cache
from pathlib import Path

from nanstack.io.layout import image_shape, read_layout
from zemosaic_patch.pictures import levels_of, screen_stretches
from zemosaic_patch.rough import shrunk

SMALL_PX, LARGE_PX = 200, 1000  # of the longer side
SIZES = {"small": SMALL_PX, "large": LARGE_PX}


@lru_cache(4000)
def picture(path: Path, size: str, time: int) -> bytes:
    """Return a frame as a JPEG.

    Parameters
    ----------
    path : Path
    size : {'small', 'large'}
    time : int
        When the file was changed: tells it from what it was.

    Raises
    ------
    nanstack.io.frames.FrameError
        For what is no frame.
    """
    from PIL import Image

    layout = read_layout(path)
    image = shrunk(layout, -(-max(image_shape(path, layout.stored)) // SIZES[size]))
    shades = levels_of(screen_stretches(image)[0](image))
    out = io.BytesIO()
    Image.fromarray(shades if shades.shape[2] == 3 else shades[..., 0]).save(out, "JPEG", quality=80)
    return out.getvalue()


@lru_cache(64)
def of_picture(path: Path, most: int, time: int) -> bytes | None:
    """Return a mosaic's picture as a small JPEG; None where it cannot be read.

    Parameters
    ----------
    path : Path
        PNG or TIFF of 16 bits.
    most : int
        Pixels of its longer side.
    time : int
        When the file was changed.
    """
    import cv2

    image = cv2.imread(str(path), cv2.IMREAD_COLOR)  # 8 bits are enough
    if image is None:
        return None
    times = most / max(image.shape[:2])
    if times < 1:
        image = cv2.resize(image, None, fx=times, fy=times, interpolation=cv2.INTER_AREA)
    done, out = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 82])
    return out.tobytes() if done else None


def get_ready() -> None:
    """Load what pictures of frames need, so that the first one does not wait for it."""
    import cv2  # noqa: F401
    from astropy.io import fits  # noqa: F401
    from astropy.stats import sigma_clipped_stats  # noqa: F401
    from PIL import Image

    Image.init()
