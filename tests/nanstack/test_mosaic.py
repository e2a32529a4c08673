# SPDX-License-Identifier: GPL-3.0-or-later
"""Tiles joined on the sky: positions, fluxes, backgrounds and weights against what is known of them."""

import numpy as np
import pytest
import sep
from astropy.wcs import WCS
from numpy.testing import assert_allclose, assert_array_equal

from nanstack.mosaic import Grid, MosaicTile, corners, make_mosaic, mosaic_grid, tile_weights
from nanstack.truth.simulation import StarField, render_stars

pytestmark = pytest.mark.numpy_bytes

SHAPE = (150, 200)
SCALE = 4.0 / 3600  # degrees a pixel
CENTRE = (56.75, 24.25)
rng = np.random.default_rng


def solution(dx=0.0, dy=0.0, degrees=0.0, shape=SHAPE, scale=SCALE, handed=-1):
    """Return a TAN solution whose own centre lies some pixels off the field's."""
    angle = np.radians(degrees)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = "RA---TAN", "DEC--TAN"
    wcs.wcs.crval = CENTRE[0] - dx * scale / np.cos(np.radians(CENTRE[1])), CENTRE[1] + dy * scale
    wcs.wcs.crpix = (shape[1] + 1) / 2, (shape[0] + 1) / 2
    wcs.wcs.cd = scale * np.array([[handed, 0], [0, 1]]) @ turn
    return wcs


def tile(image, wcs, coverage=None, name="tile"):
    return MosaicTile(name, image.shape, wcs, lambda: (image, coverage))


def four(sky=lambda number, y, x: 0.0, noise=0.0, channels=(3,), overlap=0.25, degrees=(0.0, 2.0, -3.0, 91.0)):
    """Return 2 x 2 tiles of one even sky of 1000 ADU, each plus a sky of its own."""
    y, x = np.mgrid[: SHAPE[0], : SHAPE[1]].astype(float)
    tiles = []
    for number, angle in enumerate(degrees):
        dx, dy = (0.5 - overlap / 2) * np.array(SHAPE[::-1]) * (2 * (number % 2) - 1, 2 * (number // 2) - 1)
        own = 1000.0 + np.broadcast_to(sky(number, y, x), SHAPE)[..., None] * np.arange(1, 4)
        image = (own + noise * rng(number).standard_normal(own.shape)).astype(np.float32)
        image = image if channels else image[..., 0]
        tiles.append(tile(image, solution(dx, dy, angle), name=f"tile {number}"))
    return tiles


def test_stars_are_where_the_sky_has_them_with_the_flux_they_have():
    world = np.random.default_rng(4).uniform(-1, 1, (60, 2)) * [150, 110]
    field_wcs = solution()
    ra, dec = field_wcs.all_pix2world(world[:, 0] + 100, world[:, 1] + 75, 0)
    tiles = []
    for number, (dx, dy, angle) in enumerate([(-70, -50, 3), (70, -50, 170), (-70, 50, -40), (70, 50, 0)]):
        wcs = solution(dx, dy, angle)
        x, y = wcs.all_world2pix(ra, dec, 0)
        image = render_stars(StarField(x, y, np.full((60, 3), 50_000.0)), SHAPE, None, 3.0) + 100
        tiles.append(tile(image.astype(np.float32), wcs, name=str(number)))
    mosaic = make_mosaic(tiles, grid=Grid(field_wcs, SHAPE))
    plane = np.where(np.isfinite(mosaic.image[..., 1]), mosaic.image[..., 1] - 100, 0).astype(np.float32)
    x, y = field_wcs.all_world2pix(ra, dec, 0)
    near = np.hypot(x[:, None] - x, y[:, None] - y) + 1e3 * np.eye(60)
    good = (near.min(axis=0) > 20) & (x > 12) & (x < SHAPE[1] - 13) & (y > 12) & (y < SHAPE[0] - 13)
    assert good.sum() > 10
    found_x, found_y, _ = sep.winpos(plane, x[good], y[good], 1.3)
    assert np.sqrt(np.mean((found_x - x[good]) ** 2 + (found_y - y[good]) ** 2)) < 0.05
    flux, _, _ = sep.sum_circle(plane, x[good], y[good], 9.0)
    assert np.abs(flux / 50_000 - 1).max() < 0.01


@pytest.mark.parametrize("channels", [(3,), ()])
@pytest.mark.parametrize("combine", ["mean", "median"])
def test_skies_that_differ_by_planes_leave_no_border(combine, channels):
    tiles = four(lambda number, y, x: 40.0 * number - 0.008 * number * x + 0.005 * y, channels=channels)
    mosaic = make_mosaic(tiles, combine=combine)
    plane = mosaic.image if not channels else mosaic.image[..., 0]
    y, x = np.nonzero(np.isfinite(plane))
    basis = np.column_stack([np.ones(len(x)), x, y])
    residual = plane[y, x] - basis @ np.linalg.lstsq(basis, plane[y, x].astype(float), rcond=None)[0]
    assert np.abs(residual).max() < 0.05
    unmatched = make_mosaic(tiles, combine=combine, match="none").image
    assert np.nanmax(np.abs(np.diff(unmatched if not channels else unmatched[..., 0], axis=1))) > 1


def test_tiles_without_overlap_keep_their_levels_and_nothing_lies_between(caplog):
    image = np.full(SHAPE, 7.0, np.float32)
    far = [tile(image, solution(-150, 0)), tile(3 * image, solution(150, 0))]
    mosaic = make_mosaic(far)
    assert "2 groups that do not overlap" in caplog.text
    left, right = (part[np.isfinite(part)] for part in np.split(mosaic.image, [mosaic.image.shape[1] // 2], axis=1))
    assert_allclose(left, 7, rtol=1e-6)
    assert_allclose(right, 21, rtol=1e-6)
    middle = mosaic.image.shape[1] // 2
    assert np.isnan(mosaic.image[:, middle - 40 : middle + 40]).all()
    assert_array_equal(mosaic.weight > 0, np.isfinite(mosaic.image))
    assert_array_equal(mosaic.coverage > 0, np.isfinite(mosaic.image))


def test_weights_are_the_frames_and_average_as_they_should():
    """Two tiles on one grid: the mean of n1 and n2 frames is that of n1 + n2 frames."""
    images = [np.full(SHAPE, value, np.float32) for value in (10.0, 20.0)]
    counts = [np.full(SHAPE, frames, np.uint16) for frames in (12, 4)]
    tiles = [tile(image, solution(), count) for image, count in zip(images, counts, strict=True)]
    mosaic = make_mosaic(tiles, grid=Grid(solution(), SHAPE), match="none", feather=0)
    assert_allclose(mosaic.image, 12.5, rtol=1e-6)
    assert (mosaic.coverage == 16).all()
    assert (mosaic.weight == 16).all()


def test_holes_are_not_filled_and_another_tile_shows_through():
    image, other = np.full((2, *SHAPE, 3), 5.0, np.float32)
    image[60:80, 90:120] = np.nan
    alone = make_mosaic([tile(image, solution())], grid=Grid(solution(), SHAPE))
    assert_array_equal(np.isnan(alone.image), np.isnan(image))
    assert_array_equal(alone.coverage == 0, np.isnan(image[..., 0]))
    both = make_mosaic([tile(image, solution()), tile(other, solution())], grid=Grid(solution(), SHAPE))
    assert_allclose(both.image, 5.0, rtol=1e-6)
    assert (both.coverage[65:75, 95:115] == 1).all()


def test_feather_grows_evenly_from_the_edge_of_the_data():
    weights = tile_weights(np.ones((100, 300)), np.full((100, 300), 8), 0.1)
    assert (weights[..., 0] == 8).all()
    assert_allclose(weights[50, :12, 1], 8 * np.minimum(np.arange(1, 13) / 10, 1))
    assert_allclose(weights[:, 150, 1], weights[::-1, 150, 1])


@pytest.mark.parametrize("combine", ["mean", "median"])
def test_blocks_and_memory_change_no_bit(combine):
    tiles = four(lambda number, y, x: 30.0 * number, noise=5.0)
    plenty, little = (make_mosaic(tiles, memory=memory, combine=combine) for memory in (2**30, 1))
    for name in ("image", "coverage", "weight"):
        assert_array_equal(getattr(plenty, name), getattr(little, name))


def test_grid_holds_every_tile_at_the_finest_scale():
    tiles = [tile(np.ones(SHAPE, np.float32), solution(*shift, degrees=20)) for shift in ((-90, 0), (120, 60))]
    grid = mosaic_grid(tiles)
    wcs, shape = grid.wcs, grid.shape
    assert_allclose(wcs.proj_plane_pixel_scales()[0].value, SCALE, rtol=1e-3)
    for each in tiles:
        x, y = corners(wcs, each.shape, each.wcs)
        assert min(x.min(), y.min()) > -1.5
        assert x.max() < shape[1] + 0.5
        assert y.max() < shape[0] + 0.5


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"match": "gain"}, "match must be one of plane, offset, none, not 'gain'"),
        ({"combine": "max"}, "combine must be one of mean, median, not 'max'"),
        ({"feather": 0.6}, "feather must be within 0 to 0.5, not 0.6"),
        ({"interpolation": "nearest"}, "interpolation must be one of"),
    ],
)
def test_arguments_out_of_range_are_named(change, message):
    with pytest.raises(ValueError, match=message):
        make_mosaic([tile(np.ones(SHAPE, np.float32), solution())], **change)


def test_tiles_that_do_not_fit_are_named():
    good, mono = tile(np.ones((*SHAPE, 3), np.float32), solution()), tile(np.ones(SHAPE, np.float32), solution())
    with pytest.raises(ValueError, match="no tiles were given"):
        make_mosaic([])
    with pytest.raises(ValueError, match="odd one: its shape"):
        make_mosaic([good, MosaicTile("odd one", mono.shape, mono.wcs, mono.read)])
    with pytest.raises(ValueError, match="unsolved: it has no celestial WCS"):
        make_mosaic([MosaicTile("unsolved", good.shape, None, good.read)])
    with pytest.raises(ValueError, match="liar: its image is"):
        make_mosaic([MosaicTile("liar", (9, 9, 3), good.wcs, good.read)])
    far = [good, tile(np.ones((*SHAPE, 3), np.float32), solution(dx=-40_000, dy=-30_000, scale=SCALE))]
    with pytest.raises(ValueError, match="too far apart"):
        make_mosaic([far[0], tile(far[1].read()[0], _away())])


def _away():
    wcs = solution()
    wcs.wcs.crval = 200.0, -30.0
    return wcs
