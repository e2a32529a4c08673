# SPDX-License-Identifier: GPL-3.0-or-later
"""Solved frames of several pointings, as files, and the bytes of a mosaic of them."""

import numpy as np
import scipy
from astropy.io import fits
from astropy.wcs import WCS

from nanstack.truth.simulation import apply, invert, random_star_field, render_stars, similarity

SHAPE = (150, 220)


SCALE = 12.0 / 3600


FRAMES = 4  # of a pointing


SKY = np.array([380.0, 520.0, 400.0])


TAKEN = {
    "OBJECT": "M 45", "INSTRUME": "Seestar S50", "EXPTIME": 10.0, "GAIN": 80, "FOCALLEN": 250, "XPIXSZ": 2.9,
    "SITELAT": 47.11, "SITELONG": 8.22, "OBSERVER": "A. N. Other",
}  # fmt: skip


def write_pointings(folder, pointings=((-0.4, 0), (0.4, 0)), seed=3, noise=5.0):
    """Write solved colour frames whose skies differ by 10 % and in gradient; return the stars' places on the sky."""
    rng = np.random.default_rng(seed)
    height, width = SHAPE
    sky = WCS(naxis=2)
    sky.wcs.ctype = "RA---TAN", "DEC--TAN"
    sky.wcs.crval = 56.75, 24.25
    sky.wcs.crpix = (width + 1) / 2, (height + 1) / 2
    sky.wcs.cd = -SCALE * np.eye(2)
    stars = random_star_field(SHAPE, 100, rng, margin=0.8, brightest=60_000, faintest=1500)
    folder.mkdir()
    x, y = np.arange(width) / width - 0.5, np.arange(height)[:, None] / height - 0.5
    for number, (east, north) in enumerate(pointings):
        for index in range(FRAMES):
            turn = similarity(SHAPE, *rng.uniform(-6, 6, 2), rng.uniform(-4, 4))
            corner = np.array([east * width, north * height])
            transform = np.column_stack([turn[:, :2], turn[:, 2] - turn[:, :2] @ corner])
            level = SKY * (1 + 0.1 * rng.uniform(-1, 1, 3))
            slopes = 0.03 * rng.uniform(-1, 1, 2)
            light = render_stars(stars, SHAPE, transform) + level * (1 + slopes[0] * x + slopes[1] * y)[..., None]
            light += noise * rng.standard_normal(light.shape)
            wcs = sky.deepcopy()
            wcs.wcs.crpix = np.add(apply(transform, *(sky.wcs.crpix - 1)), 1)
            wcs.wcs.cd = sky.wcs.cd @ invert(transform)[:, :2]
            header = wcs.to_header()
            header.update(TAKEN)
            header["DATE-OBS"] = f"2025-01-05T20:{number:02d}:{index:02d}"
            path = folder / f"light_{number}_{index}.fits"
            fits.writeto(path, np.moveaxis(light, -1, 0).astype(np.float32), header)
    return sky.all_pix2world(stars.x, stars.y, 0), stars.flux


def write_blurred(path, frame, noise=5.0):
    """Write a frame once more, blurred, with noise of its own."""
    light, header = fits.getdata(frame, header=True)
    soft = scipy.ndimage.gaussian_filter(light, (0, 3, 3)) + np.random.default_rng(1).normal(0, noise, light.shape)
    fits.writeto(path, soft.astype(np.float32), header)


def data_of(folder):
    with fits.open(folder / "mosaic.fits", checksum=True) as hdus:
        return {hdu.name: hdu.data.tobytes() for hdu in hdus}
