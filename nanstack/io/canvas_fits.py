# SPDX-License-Identifier: GPL-3.0-or-later
"""A stack as a FITS file, strip by strip: memory holds some rows of it, never the whole.

The primary image has its planes first, so the rows of a strip lie in as many places as it has colours; beside it lie
COVERAGE, WEIGHT and VARIANCE, and for a tile ALPHA. The bytes hang on the pixels alone, not on how they come.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nanstack.io.files import complete_file
from nanstack.io.fits_images import Image, Layer, Planes, empty_primary, in_turn, write_all
from nanstack.io.images import opacity
from nanstack.io.packed_images import PackedImage
from nanstack.io.place_cards import cd_cards, row_order

if TYPE_CHECKING:
    from astropy.io.fits import Header
    from astropy.wcs import WCS

VARIANCE_TOLD = "Variance of each pixel of the image, by the noise of the frames."
CORRELATION_TOLD = (
    "Neighbours share samples: in plane c the mean of n pixels,",
    "n large, has the variance mean(VARIANCE) * NPA_CORc / n.",
)


def write_canvas(
    path: Path,
    shape: tuple[int, int],
    channels: int,
    strips: Iterable[tuple[int, Planes]],
    *,
    cards: Mapping[str, Any] | Header | None = None,
    closing: Callable[[], Mapping[str, Any]] | None = None,
    wcs: WCS | None = None,
    correlation: Sequence[float] = (),
    alpha: bool = False,
    packed: bool = False,
    top_down: bool = False,
) -> None:
    """Write a stack as FITS; the file appears complete or not at all.

    Parameters
    ----------
    path : Path
        An existing file is replaced.
    shape : (int, int)
        Height and width of the whole.
    channels : int
    strips : iterable of (int, Planes)
        The first row of each, and its rows of full width, in order from the top, without a gap.
    cards : mapping or Header, optional
        Of the image, beside those of its structure and place.
    closing : callable, optional
        Returns the cards that are known only when all strips are written: `SPARE_CARDS` at most.
    wcs : WCS, optional
        The place of the pixels on the sky, written as a CD matrix.
    correlation : sequence of float
        For each channel, how much larger the variance of a mean over many pixels is than that of independent ones:
        see `nanstack.levels.sample_noise.pixels_alike`. By default nothing is said of it.
    alpha : bool
        Write ALPHA (uint8), too, as master tiles have it: 255 where there is data, 0 where not.
    packed : bool
        Tiled compression without loss (GZIP_2); the image is then the first extension.
    top_down : bool
        Without a place on the sky, which tells it: whether the first row is the top one on the screen.

    Raises
    ------
    OSError
        Where the disk is full, or the folder cannot be written to.
    ValueError
        For strips that are not those of the whole, in order.
    """
    layers = _layers(shape, channels, cards, wcs, correlation, alpha=alpha, top_down=top_down)
    path = Path(path)
    with complete_file(path) as temporary, _full_disk_told(path), open(temporary, "r+b", buffering=0) as file:
        if packed:
            write_all(file, empty_primary())
            images: list[Image] = [PackedImage(layer, path.parent) for layer in layers]
        else:
            images = list(in_turn(file, layers))
        row = 0
        for top, planes in strips:
            _check_strip(planes, top, row, shape, channels)
            for image in images:
                image.put(top, planes)
            row = top + len(planes.image)
        if row != shape[0]:
            raise ValueError(f"the strips end at row {row} of {shape[0]}")
        more = closing() if closing else {}
        for number, image in enumerate(images):
            image.finish(file, more if number == 0 else {})


def _check_strip(planes: Planes, top: int, row: int, shape: tuple[int, int], channels: int) -> None:
    """Raise ValueError for a strip that does not follow the last one, or is of another width."""
    if top != row or planes.image.shape[1:] != (shape[1], channels) or top + len(planes.image) > shape[0]:
        raise ValueError(
            f"a strip of {planes.image.shape} at row {top} does not follow row {row} of {shape}, {channels} channels"
        )


@contextmanager
def _full_disk_told(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as failure:
        if failure.errno == errno.ENOSPC:
            raise OSError(errno.ENOSPC, "the disk is full", path.name) from failure
        raise


# --- what is in the file ----------------------------------------------------------------------------------------------


def _layers(
    shape: tuple[int, int],
    channels: int,
    cards: Mapping[str, Any] | Header | None,
    wcs: WCS | None,
    correlation: Sequence[float],
    *,
    alpha: bool,
    top_down: bool,
) -> list[Layer]:
    """Return the images of the file, in their order."""
    from astropy.io.fits import Header

    place = Header() if wcs is None else cd_cards(wcs)
    order = row_order(wcs) if wcs is not None else "TOP-DOWN" if top_down else "BOTTOM-UP"
    place["ROWORDER"] = (order, "where the first row is on the screen")
    image = Header()
    if channels > 1:
        image["EXTNAME"] = "RGB"
    image["BUNIT"] = "adu"
    image.extend(place)
    if channels > 1:
        image["CTYPE3"] = ("RGB", "colour planes R, G, B")
    image.update(cards or {})
    coverage = _named("COVERAGE", "frame", "number of frames in a pixel", place)
    weight = _named("WEIGHT", "frame", "sum of weights; 1 is the usual frame's", place)
    variance = _named("VARIANCE", "adu2", "variance of each pixel of the image", place)
    for number, factor in enumerate(correlation, start=1):
        variance[f"NPA_COR{number}"] = (round(float(factor), 4), f"pixels as good as one, in plane {number}")
    for line in (VARIANCE_TOLD, *(CORRELATION_TOLD if len(correlation) else ())):
        variance.add_comment(line)
    plane, planes = (1, *shape), (channels, *shape)
    layers = [Layer(image, "f4", planes, lambda stack: stack.image)]
    if alpha:
        opaque = _named("ALPHA", "", "", Header())
        layers.append(Layer(opaque, "u1", plane, lambda stack: opacity(stack.image)))
    # 16 bits with BZERO are what cameras write, and all programs read; PixInsight takes 32 bits for 2^32 shades of grey
    layers.append(Layer(coverage, "i2", plane, lambda stack: stack.coverage))
    layers.append(Layer(weight, "f4", plane, lambda stack: stack.weight))
    layers.append(Layer(variance, "f4", planes, lambda stack: stack.variance))
    return layers


def _named(name: str, unit: str, meaning: str, place: Header) -> Header:
    from astropy.io.fits import Header

    cards = Header([("EXTNAME", name)])
    if unit:
        cards["BUNIT"] = (unit, meaning)
    cards.extend(place)
    return cards
