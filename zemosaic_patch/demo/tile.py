# SPDX-License-Identifier: GPL-3.0-or-later
"""A demonstration without a telescope: a simulated Seestar session on the Pleiades, and a before/after picture."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from nanstack.io.files import complete_file
from nanstack.truth.simulation import StarField, apply, invert, random_star_field, render_stars, similarity
from zemosaic_patch.pictures import levels_of, sky_stretch

if TYPE_CHECKING:
    from astropy.io.fits import Header
    from astropy.wcs import WCS
    from PIL.Image import Image

# The brightest stars of the field. Name, RA and Dec (J2000, degrees) and V from SIMBAD/Hipparcos; the last two
# columns are the simulation's own: peak (ADU in blue) and sigma (arcsec) of the reflection nebula around the star.
PLEIADES = (
    ("Alcyone", 56.8712, 24.1051, 2.87, 70.0, 46.0),
    ("Atlas", 57.2906, 24.0534, 3.63, 25.0, 35.0),
    ("Electra", 56.2189, 24.1133, 3.70, 55.0, 44.0),
    ("Maia", 56.4567, 24.3677, 3.87, 80.0, 46.0),
    ("Merope", 56.5816, 23.9484, 4.18, 90.0, 52.0),
    ("Taygeta", 56.3021, 24.4673, 4.30, 25.0, 35.0),
    ("Pleione", 57.2967, 24.1367, 5.09, 0.0, 0.0),
    ("Celaeno", 56.2009, 24.2895, 5.45, 0.0, 0.0),
    ("Asterope", 56.4770, 24.5545, 5.76, 0.0, 0.0),
    ("24 Tau", 56.8374, 24.1163, 6.28, 0.0, 0.0),
    ("Sterope II", 56.5121, 24.5279, 6.43, 0.0, 0.0),
    ("HD 23873", 57.3406, 24.3810, 6.60, 0.0, 0.0),
    ("HD 23568", 56.7475, 24.5201, 6.81, 0.0, 0.0),
    ("HD 23642", 56.8727, 24.2883, 6.83, 0.0, 0.0),
)
CENTRE = (56.75, 24.25)  # RA, Dec of the pointing in degrees

# The telescope: 2.39 arcsec a pixel on a sensor 1920 pixels wide.
FOCAL_LENGTH_MM = 250.0
PIXEL_UM = 2.9
SENSOR_WIDTH = 1920
FWHM = 3.0  # pixels
ELECTRONS_PER_ADU = 0.4  # of 16-bit ADU; the camera has 12 bits
READ_NOISE = 2.0  # electrons
RAW_VIGNETTING = 0.25  # share of the light that the corners lose before the telescope's own flat
RESIDUAL_VIGNETTING = 0.002  # and what is left of that after it
SATURATION = 65535
HOT_PER_MEGAPIXEL = 145
COSMIC_RAYS = 12  # per frame

# The scene.
SKY = (380.0, 520.0, 400.0)  # R, G, B in ADU: with a raw sky rich in green, a grey fill shows up magenta
MOONLIGHT = 6.0  # ADU from edge to edge, white and fixed to the sky
V0_FLUX = 3e8  # ADU of a star with V = 0
BLUE_STAR = (0.8, 1.0, 1.1)  # a B star in R, G, B
REFLECTION = (0.4, 0.75, 1.0)  # the nebula in R, G, B
AUREOLE = 0.015  # share of a bright star's light that optics and air scatter widely
AUREOLE_FWHM = 60.0  # arcsec
FIELD_STARS_PER_MEGAPIXEL = 1500
FIELD_STAR_FLUX = (150.0, 300_000.0)  # ADU
FIELD_MARGIN = 0.45  # of the diagonal

# The session.
START = datetime(2025, 1, 5, 20, 0, 0)
CADENCE = timedelta(minutes=3)
EXPOSURE_S = 10.0
FIELD_ROTATION = 6.0  # degrees either way, turning steadily
DITHER = 0.06  # of the frame's height and width


@dataclass(frozen=True)
class Nebula:
    """A round glow: position and sigma in reference pixels, peak in ADU per channel."""

    x: float
    y: float
    sigma: float
    peak: np.ndarray


@dataclass(frozen=True)
class Scene:
    """All the light above the sky, in reference pixels."""

    stars: StarField
    aureoles: StarField
    aureole_fwhm: float
    nebulae: list[Nebula]


def write_pleiades_frames(
    folder: str | os.PathLike, n_frames: int = 16, shape: tuple[int, int] = (1080, 1920), seed: int = 1
) -> list[Path]:
    """Write a simulated alt-az session on the Pleiades as raw Seestar FITS files.

    Each file is a 2-D uint16 Bayer mosaic (GRBG, first row on top) with the exact WCS of that frame. The frames are
    dithered, turn steadily, and share one sky level, hot pixels and a residual vignetting of 0.2 % in the corners,
    as the telescope's own flat leaves it; the noise still rises there. Cosmic rays hit every frame, a satellite two.

    Parameters
    ----------
    folder : path
        Created if missing; files of the same name are replaced.
    n_frames : int
    shape : (int, int)
        Height and width; the field is as wide for every shape, so that fewer pixels are larger ones.
    seed : int

    Returns
    -------
    list of Path
        The files in the order of their exposure.
    """
    from astropy.io import fits

    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    wcs = pleiades_wcs(shape)
    scene = pleiades_scene(shape, wcs, rng)
    hot = hot_pixels(shape, rng)
    with_trail = {n_frames // 4, (2 * n_frames) // 3}

    paths = []
    for index, transform in enumerate(session_transforms(n_frames, shape, rng)):
        light = scene_light(scene, shape, transform) + even_sky(shape, transform)
        light *= vignetting(shape, RESIDUAL_VIGNETTING)[:, :, None]
        if index in with_trail:
            light += satellite_trail(shape, rng)[:, :, None]
        raw = expose(bayer_mosaic(light), hot, rng)
        path = folder / frame_name(index)
        header = frame_header(moved_wcs(wcs, transform), shape, START + index * CADENCE)
        fits.PrimaryHDU(raw, header).writeto(path, overwrite=True)
        paths.append(path)
    return paths


def frame_name(index: int) -> str:
    """Return the file name of a session's frame, counted from 0."""
    return f"Light_M45_{EXPOSURE_S:.1f}s_{index + 1:04d}.fit"


def pleiades_wcs(shape: tuple[int, int]) -> WCS:
    """Return the TAN WCS of the reference: centred on the cluster, north in the first row, east to the left."""
    from astropy.wcs import WCS

    height, width = shape
    scale = np.rad2deg(pixel_um(shape) * 1e-3 / FOCAL_LENGTH_MM)
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = "RA---TAN", "DEC--TAN"
    wcs.wcs.cunit = "deg", "deg"
    wcs.wcs.crval = CENTRE
    wcs.wcs.crpix = (width + 1) / 2, (height + 1) / 2
    wcs.wcs.cd = -scale * np.eye(2)
    return wcs


def pixel_um(shape: tuple[int, int]) -> float:
    """Return the pixel size in micrometres with which `shape` spans the sensor's width."""
    return PIXEL_UM * SENSOR_WIDTH / shape[1]


def moved_wcs(reference: WCS, transform: np.ndarray) -> WCS:
    """Return the WCS of the frame that `transform` maps the reference to; exact, as both share one tangent point."""
    wcs = reference.deepcopy()
    wcs.wcs.crpix = np.add(apply(transform, *(reference.wcs.crpix - 1)), 1)  # FITS counts pixels from 1
    wcs.wcs.cd = reference.wcs.cd @ invert(transform)[:, :2]
    return wcs


def session_transforms(n_frames: int, shape: tuple[int, int], rng: np.random.Generator) -> list[np.ndarray]:
    """Return the reference-to-frame transforms of a session: steady field rotation, random dithers."""
    reach = DITHER * np.array(shape[::-1])
    dithers = rng.uniform(-reach, reach, (n_frames, 2))
    angles = np.linspace(-FIELD_ROTATION, FIELD_ROTATION, n_frames)
    return [similarity(shape, *dither, angle) for dither, angle in zip(dithers, angles, strict=True)]


def pleiades_scene(shape: tuple[int, int], wcs: WCS, rng: np.random.Generator, margin: float = FIELD_MARGIN) -> Scene:
    """Return the cluster with its nebulae and thousands of random field stars.

    The stars reach `margin` diagonals of the reference beyond its corners.
    """
    _, ra, dec, magnitude, peak, sigma = zip(*PLEIADES, strict=True)
    x, y = wcs.all_world2pix(ra, dec, 0)
    flux = V0_FLUX * 10 ** (-0.4 * np.array(magnitude))[:, None] * BLUE_STAR
    faintest, brightest = FIELD_STAR_FLUX
    count = round(FIELD_STARS_PER_MEGAPIXEL * shape[0] * shape[1] / 1e6)
    others = random_star_field(shape, count, rng, margin, brightest=brightest, faintest=faintest)

    arcsec = np.rad2deg(pixel_um(shape) * 1e-3 / FOCAL_LENGTH_MM) * 3600
    glows = zip(x, y, sigma, peak, strict=True)
    return Scene(
        stars=StarField(np.append(x, others.x), np.append(y, others.y), np.vstack([flux, others.flux])),
        aureoles=StarField(x, y, AUREOLE * flux),
        aureole_fwhm=AUREOLE_FWHM / arcsec,
        nebulae=[Nebula(cx, cy, s / arcsec, p * np.array(REFLECTION)) for cx, cy, s, p in glows if p > 0],
    )


def scene_light(scene: Scene, shape: tuple[int, int], transform: np.ndarray) -> np.ndarray:
    """Return the light of stars and nebulae on a frame's pixels, float32 (H, W, 3) in ADU."""
    light = render_stars(scene.stars, shape, transform, FWHM)
    light += render_stars(scene.aureoles, shape, transform, scene.aureole_fwhm)
    x, y = np.arange(shape[1]), np.arange(shape[0])[:, None]
    for nebula in scene.nebulae:
        cx, cy = apply(transform, nebula.x, nebula.y)
        glow = _gaussian(y - cy, nebula.sigma) * _gaussian(x - cx, nebula.sigma)
        light += glow[:, :, None] * nebula.peak.astype(np.float32)
    return light


def even_sky(shape: tuple[int, int], transform: np.ndarray) -> np.ndarray:
    """Return the sky that all frames of a session share, float32 (H, W, 3) in ADU: its level and the moonlight."""
    width = shape[1]
    sky_x, _ = apply(invert(transform), np.arange(width), np.arange(shape[0])[:, None])
    moonlight = MOONLIGHT * (sky_x / width - 0.5)
    return np.array(SKY, dtype=np.float32) + moonlight.astype(np.float32)[:, :, None]


def _gaussian(distance: np.ndarray, sigma: float) -> np.ndarray:
    return np.exp(-0.5 * (distance / sigma) ** 2).astype(np.float32)


def vignetting(shape: tuple[int, int], loss: float) -> np.ndarray:
    """Return the throughput, float32 (H, W): 1 in the centre, ``1 - loss`` in the corners."""
    y, x = (np.linspace(-1, 1, n, dtype=np.float32) * n for n in shape)
    return 1 - np.float32(loss) * (x**2 + y[:, None] ** 2) / np.float32(shape[0] ** 2 + shape[1] ** 2)


def bayer_mosaic(image: np.ndarray) -> np.ndarray:
    """Keep the one channel of (R, G, B) that each photosite of a GRBG sensor sees: (H, W, 3) to (H, W)."""
    mosaic = image[..., 1].copy()
    mosaic[0::2, 1::2] = image[0::2, 1::2, 0]
    mosaic[1::2, 0::2] = image[1::2, 0::2, 2]
    return mosaic


def expose(mosaic: np.ndarray, hot: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Turn light (H, W) in ADU into a raw uint16 frame: shot and read noise, flat, hot pixels and cosmic rays."""
    flat = vignetting(mosaic.shape, RAW_VIGNETTING)
    electrons = rng.poisson(mosaic * flat * ELECTRONS_PER_ADU)
    electrons = electrons + READ_NOISE * rng.standard_normal(mosaic.shape, dtype=np.float32)
    adu = electrons / flat / ELECTRONS_PER_ADU + hot
    strike_cosmic_rays(adu, rng)
    return np.clip(np.rint(adu), 0, SATURATION).astype(np.uint16)


def hot_pixels(shape: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    """Return the sensor's hot pixels, (H, W) in ADU above the rest: every frame of a session has the same."""
    hot = np.zeros(shape, dtype=np.float32)
    count = round(HOT_PER_MEGAPIXEL * hot.size / 1e6)
    hot.flat[rng.choice(hot.size, count, replace=False)] = rng.uniform(2_000, 40_000, count)
    return hot


def strike_cosmic_rays(adu: np.ndarray, rng: np.random.Generator) -> None:
    """Add short straight tracks to a raw frame (H, W), in place."""
    for _ in range(COSMIC_RAYS):
        steps = np.arange(rng.integers(1, 12))
        angle = rng.uniform(0, 2 * np.pi)
        rows = np.rint(rng.uniform(0, adu.shape[0]) + steps * np.sin(angle)).astype(int) % adu.shape[0]
        columns = np.rint(rng.uniform(0, adu.shape[1]) + steps * np.cos(angle)).astype(int) % adu.shape[1]
        adu[rows, columns] += rng.uniform(1_000, 15_000)


def satellite_trail(shape: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    """Return a straight white trail across the frame, float32 (H, W) in ADU."""
    height, width = shape
    angle = rng.uniform(0.2, 0.8)  # radians: neither along the rows nor along the columns
    x, y = np.arange(width) - width / 2, np.arange(height)[:, None] - rng.uniform(0.3, 0.7) * height
    return 400 * _gaussian(x * np.sin(angle) - y * np.cos(angle), 1.5 * FWHM / 2)


def frame_header(wcs: WCS, shape: tuple[int, int], time: datetime) -> Header:
    """Return the FITS header of a frame."""
    header = wcs.to_header()
    header.update(
        OBJECT=("M 45", "simulated, not observed"),
        INSTRUME="Seestar S50 (simulated)",
        EXPTIME=(EXPOSURE_S, "[s]"),
        GAIN=(80, "camera setting"),
        EGAIN=(ELECTRONS_PER_ADU, "[e-/ADU]"),
        BAYERPAT="GRBG",
        ROWORDER="TOP-DOWN",
        FOCALLEN=(FOCAL_LENGTH_MM, "[mm]"),
        XPIXSZ=(pixel_um(shape), "[um]"),
        YPIXSZ=(pixel_um(shape), "[um]"),
        IMAGETYP="Light",
    )
    header["DATE-OBS"] = time.isoformat(timespec="milliseconds")
    return header


# The picture.
PANEL_WIDTH = 892  # two of them and the gap make 1800 pixels
GAP = 16
CAPTION_SIZE = 28
CAPTION_HEIGHT = 56
WHITE_SIGMA = 40.0  # white is this far above the sky, in units of its noise


def before_after_picture(
    before: np.ndarray,
    after: np.ndarray,
    captions: Sequence[str],
    path: str | os.PathLike,
    white_sigma: float = WHITE_SIGMA,
) -> None:
    """Write two stacks side by side as one PNG, both stretched hard, by the sky of `after`.

    See `zemosaic_patch.pictures.sky_stretch`. NaN is black.

    Parameters
    ----------
    before, after : ndarray of float32, shape (H, W, 3)
        ADU, NaN where there is no data; the two may differ in size.
    captions : sequence of two str
        One line under each.
    path : path
        Replaced at once when the picture is complete.
    white_sigma : float
        How far above the sky white begins, in units of its noise.

    Raises
    ------
    ValueError
        A stack is not (H, W, 3), `after` has no data, or there are not two captions.
    """
    from PIL import Image

    for name, stack in (("before", before), ("after", after)):
        if stack.ndim != 3 or stack.shape[2] != 3:
            raise ValueError(f"{name} must have the shape (H, W, 3), not {stack.shape}")
    if not np.isfinite(after).any():
        raise ValueError("after has no finite pixel")

    stretch = sky_stretch(after, white_sigma)
    pairs = zip((before, after), captions, strict=True)
    panels = [_panel(levels_of(stretch(stack)), caption) for stack, caption in pairs]
    picture = Image.new("RGB", (2 * PANEL_WIDTH + GAP, max(panel.height for panel in panels)), "black")
    for index, panel in enumerate(panels):
        picture.paste(panel, (index * (PANEL_WIDTH + GAP), 0))
    with complete_file(path) as temporary:
        picture.save(temporary, "PNG")


def _panel(levels: np.ndarray, caption: str) -> Image:
    """Return a picture (H, W, 3) of 8 bits in the panel's width, with its caption below."""
    from PIL import Image, ImageDraw, ImageFont

    image = Image.fromarray(levels)
    image = image.resize((PANEL_WIDTH, round(image.height * PANEL_WIDTH / image.width)), Image.Resampling.BOX)
    panel = Image.new("RGB", (PANEL_WIDTH, image.height + CAPTION_HEIGHT), "black")
    panel.paste(image, (0, 0))
    middle = PANEL_WIDTH / 2, image.height + CAPTION_HEIGHT / 2
    ImageDraw.Draw(panel).text(middle, caption, "white", ImageFont.load_default(CAPTION_SIZE), anchor="mm")
    return panel


def stack_with_grey_fill(paths: Sequence[Path], reference: str) -> np.ndarray:
    """Stack frames as ZeMosaic 4.3 does without the fix: astroalign fills what a frame does not cover with one grey.

    ZeMosaic's shift by whole pixels before the alignment is left out: it misplaces turned frames, and the picture is
    to show the coloured rim alone. (Where CuPy is installed, ZeMosaic 4.3 leaves it out too.)

    Parameters
    ----------
    paths : sequence of Path
    reference : str
        Name of the frame to align on.

    Returns
    -------
    ndarray of float32, shape (H, W, 3)
        In ADU; finite everywhere.
    """
    import astroalign
    from skimage.transform import AffineTransform

    from nanstack.io.frames import read_frame
    from nanstack.register.alignment import Reference
    from nanstack.stack.definition import Rejection
    from nanstack.stack.stacker import stack_frames

    frames = {path.name: read_frame(path).data for path in paths}
    target = frames[reference]
    aim, filled = Reference(target), [target]
    for index, (name, frame) in enumerate(frames.items()):
        alignment = aim.locate(index, frame)
        if name == reference or not alignment.ok:
            continue
        to_reference = AffineTransform(matrix=np.vstack([invert(alignment.transform), [0, 0, 1]]))
        image, _ = astroalign.apply_transform(to_reference, frame, target)
        filled.append(image.astype(np.float32))
    return stack_frames(filled, Rejection("winsor")).image
