# SPDX-License-Identifier: GPL-3.0-or-later
"""A real, drifting series of mono frames, made colour by the gains of a raw sensor.

Tuned to the 24 frames of HAT-P-32 that the EXOTIC project publishes as sample data (MicroObservatory, 2017-12-20).
"""

import astroalign
import numpy as np
import pytest
from astropy.stats import sigma_clip
from scipy.ndimage import map_coordinates

from nanstack.io.frames import read_frame
from nanstack.levels.photometry import band_metric, noise_level
from nanstack.survey.stars import find_stars
from nanstack.tile import make_tile

GAINS = np.float32([1.0, 0.72, 1.08])


@pytest.fixture(scope="module")
def colour_frames(real_frames):
    return [read_frame(path).data[..., None] * GAINS for path in real_frames]


@pytest.fixture(scope="module")
def tile(colour_frames):
    return make_tile(colour_frames, len(colour_frames) // 2)


@pytest.fixture(scope="module")
def unmatched_tile(colour_frames):
    return make_tile(colour_frames, len(colour_frames) // 2, match="none")


@pytest.fixture(scope="module")
def exact_stack(colour_frames):
    """An independent stack: astroalign, spline interpolation, footprints by geometry, astropy's clipping, mean."""
    height, width = colour_frames[0].shape[:2]
    y, x = np.mgrid[:height, :width]
    lists = [np.column_stack([stars.x, stars.y]) for stars in map(find_stars, colour_frames)]
    samples = []
    for frame, stars in zip(colour_frames, lists, strict=True):
        transform, _ = astroalign.find_transform(lists[len(lists) // 2], stars)
        u, v = (row[0] * x + row[1] * y + row[2] for row in transform.params[:2])
        image = np.stack([map_coordinates(frame[..., c], [v, u], order=3, mode="mirror") for c in range(3)], axis=-1)
        image[(u < 0) | (u > width - 1) | (v < 0) | (v > height - 1)] = np.nan
        samples.append(image)
    with np.errstate(invalid="ignore"):
        clipped = sigma_clip(np.ma.masked_invalid(samples), sigma=3, axis=0)
    return clipped.mean(axis=0).filled(np.nan), np.isfinite(samples)[..., 0].sum(axis=0)


def test_all_frames_align(tile):
    assert tile.report.frames_failed == {}
    assert tile.report.rms_px_max < 0.3


def test_tile_is_as_good_as_the_exact_stack(tile, unmatched_tile, exact_stack):
    image, coverage = exact_stack
    well = (coverage >= 0.9 * coverage.max()) & (tile.coverage >= 0.9 * coverage.max())
    for made in (tile, unmatched_tile):
        assert np.all(noise_level(made.image, well) <= 1.03 * noise_level(image, well))
    difference = np.clip(unmatched_tile.image - image, -50, 50)  # the exact stack takes the skies as they are
    assert np.sqrt(np.nanmean(difference**2)) <= 3


def test_tile_has_no_band(tile):
    assert band_metric(tile.image, tile.coverage) <= 2
