# SPDX-License-Identifier: GPL-3.0-or-later
"""Parts of tiles: what is cut off, and where the solution of the sky goes."""

import numpy as np
import pytest
from astropy.wcs import WCS
from hypothesis import given
from hypothesis import strategies as st

from nanstack.crop import MIN_EDGE_VALID, MIN_SIDE_PX, crop_tile, cut, trim_edges
from nanstack.register.alignment import Alignment
from nanstack.register.camera import Camera, View
from nanstack.register.reference import most_central
from nanstack.settings import TileSettings
from nanstack.tile import Tile, describe, stack_group


def tile_of(valid):
    """Return a tile that has data where `valid` says, and its opacity."""
    image = np.where(valid, np.float32(500), np.float32(np.nan))
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = "RA---TAN", "DEC--TAN"
    wcs.wcs.crpix = 40, 50
    wcs.wcs.cdelt = -0.001, 0.001
    only = Alignment(0, "reference", np.eye(2, 3))
    report = describe([only], ["only"], stack_group([image], TileSettings()), image)
    return Tile(image, valid.astype(np.uint16), wcs, [], report), np.where(valid, np.uint8(255), np.uint8(0))


def test_a_part_shows_the_same_sky():
    tile, _ = tile_of(np.ones((120, 140), bool))
    part = crop_tile(tile, 10, 100, 30, 90)
    assert (part.image.shape, part.coverage.shape, part.wcs.pixel_shape) == ((90, 60), (90, 60), (60, 90))
    there = tile.wcs.wcs_pix2world([[37.0, 21.0]], 0)
    assert part.wcs.wcs_pix2world([[7.0, 11.0]], 0) == pytest.approx(there)
    assert tile.wcs.wcs.crpix.tolist() == [40, 50], "the whole keeps its own"


def test_a_part_of_a_distorted_tile_shows_the_same_sky():
    whole = View(Camera((120, 140), 6000.0, 40.0), np.eye(3)).wcs()
    _, part = cut(np.ones((120, 140)), whole, 10, 100, 30, 90)
    x, y = np.array([31.0, 88.0]), np.array([12.0, 97.0])
    there, found = whole.pixel_to_world(x, y), part.pixel_to_world(x - 30, y - 10)
    assert there.separation(whole.pixel_to_world(x + 0.001, y)).deg.min() > there.separation(found).deg.max()
    assert whole.sip.crpix.tolist() == whole.wcs.crpix.tolist(), "the whole keeps its own"


@given(st.integers(0, 40), st.integers(0, 40), st.integers(0, 40), st.integers(0, 40), st.integers(0, 2**32 - 1))
def test_edges_without_data_are_trimmed_and_no_more(top, bottom, left, right, seed):
    valid = np.zeros((160, 170), bool)
    valid[top : 160 - bottom, left : 170 - right] = True
    valid &= np.random.default_rng(seed).random(valid.shape) > 0.01  # a few holes
    trimmed, box = trim_edges(*tile_of(valid))
    assert box == (top, 160 - bottom, left, 170 - right)
    assert trimmed.image.shape == (160 - top - bottom, 170 - left - right)
    seen = np.isfinite(trimmed.image)
    assert min(edge.mean() for edge in (seen[0], seen[-1], seen[:, 0], seen[:, -1])) >= MIN_EDGE_VALID


def test_a_tile_is_not_trimmed_away():
    valid = np.zeros((120, 140), bool)
    valid[: MIN_SIDE_PX - 1] = True
    tile, alpha = tile_of(valid)
    assert trim_edges(tile, alpha) == (tile, (0, 120, 0, 140))


def test_the_most_central_pointing():
    def towards(x, y):
        return np.array([x, y, 1.0]) / np.linalg.norm([x, y, 1.0])

    assert most_central([towards(0, 0), towards(0.1, 0), towards(0.11, 0.01), towards(0.3, 0)]) == 2
    assert most_central([None, towards(9, 9), None]) == 1
    assert most_central([None, None]) is None
    assert most_central([]) is None
