# SPDX-License-Identifier: GPL-3.0-or-later
"""Samples straight from mosaics: the kernel against its definition, both against what is known of the sky."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nanstack.io.bayer import PATTERNS, debayer
from nanstack.register import raw_warp
from nanstack.register.mesh import Box, mesh_of
from nanstack.register.raw_warp import TAPS, fill_from_mosaic, places_of, raw_reach, warp_mosaic
from nanstack.register.warp import INTERPOLATIONS, noise_left, warp_mesh

pytestmark = pytest.mark.numpy_bytes

SHAPE = (46, 53)
LEVELLING = np.array([
    [1.1, 0.9, 1.3], [3.0, -4.0, 5.0], [0.1, 0.0, -0.2], [0.0, 0.3, 0.1],
    [2e-3, 0.0, -1e-3], [0.0, 1e-3, 2e-3], [-1e-3, 2e-3, 0.0],
])  # fmt: skip


def mesh_through(degrees, dx, dy, part, scale=1.0, step=16):
    """Return the mesh of a turned frame, of all nodes that a part has."""
    turn = scale * np.exp(1j * np.radians(degrees))

    def there(x, y):
        place = turn * (x + 1j * y) + dx + 1j * dy
        return place.real, place.imag

    return mesh_of(there, part, step, part)


def noise_with_holes(seed, holes, shape=SHAPE):
    rng = np.random.default_rng(seed)
    mosaic = rng.normal(1000, 30, shape).astype(np.float32)
    for value in (np.nan, np.inf, -np.inf):
        mosaic[rng.random(shape) < holes / 3] = value
    return mosaic


FLAT = np.array([1.1, 2e-3, -3e-3, 1e-5, -2e-5, 3e-5])


def defined(mosaic, pattern, mesh, interpolation, levelling=LEVELLING, flat=FLAT):
    out = np.full((*mesh.part.shape, 3), np.nan, np.float32)
    fill_from_mosaic(
        mosaic,
        mesh,
        out,
        corner=(0, 0),
        places=places_of(pattern),
        taps=TAPS[interpolation],
        levelling=levelling,
        flat=flat,
    )
    return out


@settings(max_examples=30, deadline=None)
@given(
    seed=st.integers(0, 99),
    holes=st.sampled_from([0.0, 0.002, 0.05]),
    pattern=st.sampled_from(PATTERNS),
    interpolation=st.sampled_from(INTERPOLATIONS),
    degrees=st.sampled_from([0.0, 0.7, 33.0, 90.0, 180.0]),
    dx=st.sampled_from([0.0, 0.5, 17.0, 30.25, -3.7]),
    dy=st.sampled_from([0.0, 1.5, 8.0, 20.1, -5.3]),
)
def test_the_kernel_does_what_is_defined(seed, holes, pattern, interpolation, degrees, dx, dy):
    mosaic = noise_with_holes(seed, holes)
    mesh = mesh_through(degrees, dx, dy, Box(-4, 40, -9, 140))
    ours = warp_mosaic(mosaic, pattern, mesh, interpolation, levelling=LEVELLING, flat=FLAT)
    np.testing.assert_allclose(ours, defined(mosaic, pattern, mesh, interpolation), rtol=2e-6, equal_nan=True)


@settings(max_examples=20, deadline=None)
@given(
    seed=st.integers(0, 99),
    pattern=st.sampled_from(PATTERNS),
    interpolation=st.sampled_from(INTERPOLATIONS),
    degrees=st.sampled_from([0.0, 0.7, 33.0, 90.0]),
    top=st.integers(0, 30),
    left=st.integers(0, 110),
    spare=st.integers(0, 5),
)
def test_no_bit_hangs_on_the_part_or_the_window(seed, pattern, interpolation, degrees, top, left, spare):
    mosaic = noise_with_holes(seed, 0.01, (70, 190))
    mesh = mesh_through(degrees, 30.3, -12.6, Box(0, 60, 0, 150))
    whole = warp_mosaic(mosaic, pattern, mesh, interpolation, levelling=LEVELLING, flat=FLAT)
    part = mesh.cut(Box(top, top + 25, left, left + 31))
    x, y = part.positions()
    around = raw_reach(interpolation) + spare
    first, begin = (max(0, int(np.floor(v.min())) - around) for v in (y, x))
    last, end = (int(np.ceil(v.max())) + around + 1 for v in (y, x))
    window = mosaic[first : max(last, 0), begin : max(end, 0)]
    ours = warp_mosaic(window, pattern, part, interpolation, corner=(first, begin), levelling=LEVELLING, flat=FLAT)
    np.testing.assert_array_equal(ours, whole[top : top + 25, left : left + 31])


@pytest.mark.parametrize("interpolation", INTERPOLATIONS)
@pytest.mark.parametrize("pattern", PATTERNS)
def test_constant_colours_are_exact_and_all_is_shown_but_the_outermost_photosites(pattern, interpolation):
    levels = {"R": 100.0, "G": 200.0, "B": 400.0}
    tile = np.array([levels[colour] for colour in pattern], np.float32).reshape(2, 2)
    mosaic = np.tile(tile, (20, 20))[:37, :38]
    for degrees, dx, dy in ((0.0, 0.0, 0.0), (0.0, 0.3, 0.6), (7.0, 5.0, -2.0)):
        mesh = mesh_through(degrees, dx, dy, Box(0, 40, 0, 40))
        found = warp_mosaic(mosaic, pattern, mesh, interpolation)
        x, y = mesh.positions()
        shown = (x >= 1) & (x <= 36) & (y >= 1) & (y <= 35)
        np.testing.assert_array_equal(np.isfinite(found), np.repeat(shown[..., None], 3, axis=2))
        np.testing.assert_allclose(found[shown], np.broadcast_to([100, 200, 400], found[shown].shape), rtol=1e-6)


def test_keys_reproduces_what_is_quadratic():
    y, x = np.mgrid[:60, :70].astype(np.float64)
    field = 500 + 3 * x - 2 * y + 0.05 * x**2 - 0.03 * x * y + 0.02 * y**2
    mesh = mesh_through(21.0, 22.0, 6.0, Box(0, 28, 0, 28))
    x, y = mesh.positions()
    expected = 500 + 3 * x - 2 * y + 0.05 * x**2 - 0.03 * x * y + 0.02 * y**2
    found = warp_mosaic(field.astype(np.float32), "GRBG", mesh)
    np.testing.assert_allclose(found, np.repeat(expected[..., None], 3, axis=2), rtol=1e-6)


@pytest.mark.parametrize("interpolation", INTERPOLATIONS)
def test_a_frame_on_its_own_pixels_keeps_each_photosite(interpolation):
    mosaic = noise_with_holes(1, 0.0)
    found = warp_mosaic(mosaic, "RGGB", mesh_through(0, 0, 0, Box.whole(SHAPE)), interpolation)
    inner = np.s_[2:-1:2, 2:-1:2]
    np.testing.assert_array_equal(found[..., 0][inner], mosaic[inner])
    np.testing.assert_array_equal(found[3:-1:2, 3:-1:2, 2], mosaic[3:-1:2, 3:-1:2])


# ------------------------------------------------------------------------------------------------------------- stars


def starfield(centres, fwhm=2.6, flux=2e4, shape=(120, 120), saturation=np.inf):
    """Return Moffat stars of beta 3, on a sky of 100."""
    y, x = np.mgrid[: shape[0], : shape[1]]
    width = fwhm / (2 * np.sqrt(2 ** (1 / 3) - 1))
    light = sum((1 + ((x - cx) ** 2 + (y - cy) ** 2) / width**2) ** -3.0 for cx, cy in centres)
    return np.minimum(100 + flux * 2 / (np.pi * width**2) * light, saturation).astype(np.float32)


def measured(image, x, y, radius=10):
    """Return flux, place and half-flux radius of a star on a sky of 100 in one channel."""
    rows, columns = np.mgrid[: image.shape[0], : image.shape[1]]
    distance = np.hypot(columns - x, rows - y)
    light = np.where(distance < radius, image - 100.0, 0.0)
    flux = light.sum()
    order = np.argsort(distance.ravel())
    half = np.searchsorted(np.cumsum(light.ravel()[order]), flux / 2)
    return flux, (light * columns).sum() / flux, (light * rows).sum() / flux, distance.ravel()[order][half]


@pytest.mark.parametrize("interpolation", INTERPOLATIONS)
@pytest.mark.parametrize("degrees", [0.0, 11.0])
def test_stars_keep_flux_and_place_and_are_sharper_than_after_debayering(interpolation, degrees):
    rng = np.random.default_rng(5)
    turn = np.exp(1j * np.radians(degrees))
    part = Box(0, 90, 0, 90)
    ours, debayered = [], []
    for _ in range(24):
        x, y = 45 + rng.uniform(-1, 1, 2)
        shift = 30 + 20j + rng.random() + 1j * rng.random()
        there = turn * (x + 1j * y) + shift
        mosaic = starfield([(there.real, there.imag)])
        mesh = mesh_through(degrees, shift.real, shift.imag, part)
        image = warp_mosaic(mosaic, "GRBG", mesh, interpolation)
        other = warp_mesh(debayer(mosaic, "GRBG"), mesh, interpolation)
        for colour in range(3):
            ours.append(np.subtract(measured(image[..., colour], x, y), (0, x, y, 0)))
            debayered.append(measured(other[..., colour], x, y)[3])
    flux, dx, dy, radius = np.transpose(ours)
    truth = measured(starfield([(45.0, 45.0)], shape=(90, 90)), 45, 45)[0]
    assert abs(flux.mean() / truth - 1) < {"bicubic": 0.005, "lanczos3": 0.015}[interpolation]  # the lobes left out
    assert np.hypot(dx.reshape(-1, 3).mean(axis=0), dy.reshape(-1, 3).mean(axis=0)).max() < 0.02
    assert radius.mean() < np.mean(debayered) - 0.03


@pytest.mark.parametrize("interpolation", INTERPOLATIONS)
@pytest.mark.parametrize("compiled", [True, False])
def test_no_dark_rings_around_saturated_stars(interpolation, compiled, monkeypatch):
    if not compiled:
        monkeypatch.setattr(raw_warp, "_compiled", lambda: None)
    mosaic = starfield([(60.3, 59.8)], fwhm=1.8, flux=5e6, saturation=60000)
    image = warp_mosaic(mosaic, "RGGB", mesh_through(9.0, 20.4, 10.7, Box(0, 70, 0, 70)), interpolation)
    assert image.min() >= mosaic.min()


@pytest.mark.parametrize("fwhm", [1.7, 2.3, 2.9, 4.0])
@pytest.mark.parametrize("pattern", ["GRBG", None])
@pytest.mark.parametrize("interpolation", INTERPOLATIONS)
def test_the_sky_beside_saturated_stars_of_many_frames_is_as_elsewhere(fwhm, pattern, interpolation):
    rng = np.random.default_rng(1)
    y, x = np.mgrid[:80, :80]
    frames = []
    for _ in range(24):
        dx, dy = rng.uniform(-2, 2, 2)
        star = 100 + 1e6 * np.exp(-4 * np.log(2) * ((x - 40 - dx) ** 2 + (y - 40 - dy) ** 2) / fwhm**2)
        frame = (np.minimum(star, 60000) + rng.normal(0, 8, star.shape)).astype(np.float32)
        mesh = mesh_through(0, 20 + dx, 20 + dy, Box(0, 40, 0, 40))
        warped = warp_mosaic(frame, pattern, mesh, interpolation) if pattern else warp_mesh(frame, mesh, interpolation)
        frames.append(warped.reshape(40, 40, -1))
    image = np.mean(frames, axis=0)
    distance = np.hypot(*(np.mgrid[:40, :40] - 20.0))
    noise = image[distance > 15].std(axis=0)
    assert (image[(distance > 3) & (distance < 12)].min(axis=0) > 100 - 5 * noise).all()
    its_light = 3 + fwhm * np.sqrt(np.log(1e6 / 0.1) / (4 * np.log(2)))  # ends there, and what is made of it
    assert (image[distance > its_light].max(axis=0) < 100 + 10 * noise).all()


@pytest.mark.parametrize("interpolation", INTERPOLATIONS)
def test_noise_left_is_that_of_white_noise(interpolation):
    rng = np.random.default_rng(2)
    noise = rng.normal(1000, 10, (700, 700)).astype(np.float32)
    mesh = mesh_through(17.0, 190.0, 30.0, Box(0, 400, 0, 400))
    raw = warp_mosaic(noise, "GBRG", mesh, interpolation)
    np.testing.assert_allclose(raw.reshape(-1, 3).var(axis=0) / 100, noise_left("GBRG", 3, interpolation), rtol=0.04)
    mono = warp_mesh(noise, mesh, interpolation)
    np.testing.assert_allclose([mono.var() / 100], noise_left("", 1, interpolation), rtol=0.04)
