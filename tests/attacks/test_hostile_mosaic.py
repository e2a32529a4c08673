# SPDX-License-Identifier: GPL-3.0-or-later
"""Hostile tiles: what joins them has an answer, or names the tile or the argument that is wrong."""

import numpy as np
import pytest
from astropy.wcs import WCS
from hypothesis import given
from hypothesis import strategies as st

from nanstack.mosaic import Grid, MosaicTile, make_mosaic
from nanstack.register.mesh import Box, Mesh
from nanstack.register.warp import INTERPOLATIONS, warp_mesh, warp_mesh_numpy
from tests.support.hostile import FLOATS, answer, arrays, assert_no_infinity, groups, pairs, plain, seeds, shapes
from zemosaic_utils import reproject_and_coadd_wrapper

pytestmark = pytest.mark.numpy_bytes

LIMIT = float(np.finfo(np.float32).max)


def solution(**changes):
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = "RA---TAN", "DEC--TAN"
    wcs.wcs.crval = 50.0, 10.0
    wcs.wcs.cdelt = -0.001, 0.001
    for name, value in changes.items():
        setattr(wcs.wcs, name, value)
    return wcs


def tile(image, coverage=None, name="tile", shape=None, **changes):
    return MosaicTile(name, image.shape if shape is None else shape, solution(**changes), lambda: (image, coverage))


def samples_of(array):
    """Return what an array says, float32; NaN where a pixel lacks a channel."""
    with np.errstate(over="ignore"):
        samples = plain(array).astype(np.float32)
    valid = np.isfinite(samples) if samples.ndim == 2 else np.isfinite(samples).all(axis=2)
    samples[~valid] = np.nan
    return samples, valid


@given(arrays(dtypes=FLOATS), st.sampled_from(INTERPOLATIONS), seeds, st.sampled_from([(0, 3), (1, 1), (4, 5)]))
def test_samples_anywhere_are_their_definition(frame, interpolation, seed, shape):
    rng = np.random.default_rng(seed)
    places = (0.0, 0.25, 0.5, 1.0, 2.0, 3.75, 8.0, -0.5, -1e-300, 1e9, -1e300, np.nan, np.inf, -np.inf)
    step, box = int(rng.integers(1, 4)), Box(0, shape[0], 0, shape[1])
    mesh = Mesh(*rng.choice(places, (2, shape[0] + 1, shape[1] + 1)), step, box, box)
    found = answer("frame", warp_mesh, frame, mesh, interpolation)
    with np.errstate(over="ignore", invalid="ignore"):
        samples = np.atleast_3d(plain(frame)).astype(np.float32)
        truth = warp_mesh_numpy(samples, mesh, interpolation == "lanczos3") if samples.size else np.empty(0)
    assert found.shape == (*shape, *frame.shape[2:])
    assert found.dtype == np.float32
    assert_no_infinity(found)
    scale = np.abs(samples[np.isfinite(samples)]).max(initial=0).astype(np.float64)
    if not samples.size or scale >= 1e38:  # what is too large may be so by rounding
        assert samples.size or np.isnan(found).all()
        return
    truth = truth.reshape(found.shape)
    assert np.array_equal(np.isnan(found), np.isnan(truth))
    assert np.nanmax(np.abs(found.astype(np.float64) - truth), initial=0) <= 1e-6 * scale + 1.5e-45


@given(arrays(shapes.filter(lambda shape: min(shape) > 0)), seeds, st.sampled_from(["mean", "median"]))
def test_a_tile_on_its_own_grid_is_itself(image, seed, combine):
    rng = np.random.default_rng(seed)
    frames = rng.integers(0, 4, image.shape[:2])
    coverage = (None, frames, frames > 1)[rng.integers(3)]
    given_tile = tile(image, coverage)
    mosaic = answer(
        "tile", make_mosaic, [given_tile], grid=Grid(given_tile.wcs, image.shape[:2]), combine=combine, feather=0
    )
    samples, valid = samples_of(image)
    frames = np.where(valid, 1 if coverage is None else coverage, 0)
    assert np.array_equal(mosaic.coverage, frames)
    assert np.array_equal(mosaic.weight, frames)
    if combine == "mean":
        samples[frames == 0] = np.nan
    assert np.allclose(mosaic.image, samples, rtol=1e-6, atol=1e-44, equal_nan=True)


@given(groups(shapes.filter(lambda shape: min(shape) > 0), least=1), seeds)
def test_means_are_those_of_the_samples(images, seed):
    rng = np.random.default_rng(seed)
    height, width = images[0].shape[:2]
    coverages = [rng.integers(0, 5, (height, width)).astype(rng.choice(["u2", "f4", "i8"])) for _ in images]
    tiles = [tile(image, own, str(number)) for number, (image, own) in enumerate(zip(images, coverages, strict=True))]
    mosaic = make_mosaic(tiles, grid=Grid(tiles[0].wcs, (height, width)), match="none", feather=0)
    total, weight = np.zeros(images[0].shape), np.zeros((height, width))
    for image, own in zip(images, coverages, strict=True):
        samples, valid = samples_of(image)
        share = np.where(valid, own, 0).astype(np.float64)
        weight += share
        total += np.where(valid.reshape(valid.shape + (1,) * (samples.ndim - 2)), samples, 0) * share.reshape(
            share.shape + (1,) * (samples.ndim - 2)
        )
    assert np.array_equal(mosaic.coverage, weight)
    with np.errstate(invalid="ignore"):
        truth = total / weight.reshape(weight.shape + (1,) * (total.ndim - 2))
    scale = np.nanmax(np.abs(truth), initial=0)
    assert np.array_equal(np.isnan(mosaic.image), np.isnan(truth))
    assert_no_infinity(mosaic.image)
    assert np.allclose(mosaic.image, truth, rtol=1e-6, atol=1e-6 * min(scale, LIMIT / 10) + 1e-44, equal_nan=True)


@given(pairs, st.sampled_from(["offset", "plane"]), st.floats(0, 0.5))
def test_matched_tiles_of_anything_are_finite_or_no_data(images, match, feather):
    if min(images[0].shape) == 0:
        return
    tiles = [tile(images[0]), tile(images[1], name="other", crpix=(2.4, -1.3))]
    mosaic = answer("tile|other|overlap", make_mosaic, tiles, match=match, feather=feather)
    if mosaic is not None:
        assert_no_infinity(mosaic.image)
        seen = np.isfinite(mosaic.image).reshape(*mosaic.coverage.shape, -1).all(axis=2)
        assert np.array_equal(seen, mosaic.weight > 0)


@pytest.mark.parametrize(
    ("coverage", "said"),
    [
        (np.full((4, 6), -1), "tile: its coverage must be 0 to 16777216 frames, not -1"),
        (np.full((4, 6), np.nan), "tile: its coverage must be .* not nan"),
        (np.full((4, 6), np.inf), "tile: its coverage must be .* not inf"),
        (np.full((4, 6), 2**40), "tile: its coverage must be"),
        (np.ones((4, 5)), r"tile: its coverage is \(4, 5\), not \(4, 6\)"),
        (np.ones((4, 6), complex), "tile: its coverage must hold real numbers"),
    ],
)
def test_wrong_coverages_are_named(coverage, said):
    with pytest.raises(ValueError, match=said):
        make_mosaic([tile(np.ones((4, 6), np.float32), coverage)])


@pytest.mark.parametrize(
    ("image", "said"),
    [
        (np.ones((4, 6), complex), "tile: its image must hold real numbers"),
        (np.ones((4, 7)), r"tile: its image is \(4, 7\), not \(4, 6\)"),
        (None, "tile: its image must hold real numbers"),
    ],
)
def test_wrong_images_are_named(image, said):
    with pytest.raises(ValueError, match=said):
        make_mosaic([MosaicTile("tile", (4, 6), solution(), lambda: (image, None))])


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"match": "linear"}, "match must be one of"),
        ({"combine": "sum"}, "combine must be one of"),
        ({"feather": np.nan}, "feather must be within"),
        ({"feather": -0.1}, "feather must be within"),
        ({"interpolation": "nearest"}, "interpolation must be one of"),
    ],
)
def test_wrong_settings_of_a_mosaic_are_named(settings, said):
    with pytest.raises(ValueError, match=said):
        make_mosaic([tile(np.ones((4, 6), np.float32))], **settings)


@pytest.mark.parametrize(
    ("wcs", "shape", "said"),
    [
        (WCS(naxis=2), (4, 6), "wcs must be celestial"),
        (solution(), (0, 6), "shape must be a height and a width"),
        (solution(), (4.0, 6), "shape must be a height and a width"),
        (solution(), (4, 10**9), "shape must be a height and a width"),
        (solution(), (4, 6, 3), "shape must be a height and a width"),
    ],
)
def test_wrong_grids_are_named(wcs, shape, said):
    with pytest.raises(ValueError, match=said):
        Grid(wcs, shape)


def test_settings_that_do_not_exist_are_named():
    with pytest.raises(TypeError, match="'wcs'"):
        make_mosaic([tile(np.ones((4, 6), np.float32))], wcs=solution())


@pytest.mark.parametrize(
    "changes",
    [
        {"crval": (np.nan, 10.0)},
        {"crval": (50.0, np.inf)},
        {"crpix": (np.nan, 1.0)},
        {"crpix": (1e300, 1.0)},
        {"cdelt": (0.0, 0.001)},
        {"cdelt": (np.nan, 0.001)},
        {"cdelt": (1e-300, 1e-300)},
        {"cdelt": (1e5, 1e5)},
        {"crval": (230.0, -10.0)},
    ],
)
def test_wrong_solutions_are_named_or_too_far(changes):
    image = np.ones((40, 60), np.float32)
    with pytest.raises(ValueError, match="wrong|too far apart"):
        make_mosaic([tile(image), tile(image, name="wrong", **changes)])


@pytest.mark.parametrize("shape", [(0, 6), (4, 0, 3), (4,), (4, 6, 3, 2)])
def test_tiles_that_are_no_images_are_named(shape):
    with pytest.raises(ValueError, match="tile"):
        make_mosaic([tile(np.ones(shape, np.float32))])


@given(pairs, st.sampled_from([None, [2.0, np.nan], [0.0, -1.0], [np.inf, 1.0]]))
def test_zemosaics_coadd_has_no_infinity_or_names_what_is_wrong(images, tile_weights):
    if images[0].ndim != 2 or min(images[0].shape) < 2:
        return
    found = answer(
        "data_list|image",
        reproject_and_coadd_wrapper,
        images,
        [solution(), solution(crpix=(0.7, 0.2))],
        (12, 12),
        output_projection=solution(),
        tile_weights=tile_weights,
    )
    if found is not None:
        assert_no_infinity(found)
        assert found[0].shape == found[1].shape == (12, 12)
        assert not (found[1] < 0).any()
