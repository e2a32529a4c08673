# SPDX-License-Identifier: GPL-3.0-or-later
"""Alignment against simulated frames, whose transforms and footprints are known exactly."""

import numpy as np
import pytest
from astropy.wcs import WCS
from scipy.ndimage import binary_erosion

from nanstack.io.bayer import debayer
from nanstack.register import warp as warp_module
from nanstack.register.alignment import Reference, align_frames, transform_from_wcs
from nanstack.register.matching import MatchError, match_stars
from nanstack.survey.stars import Stars, find_stars
from nanstack.truth.simulation import StarField, apply, random_star_field, render_stars, similarity, true_footprint

pytestmark = pytest.mark.numpy_bytes

SHAPE = (360, 640)
SKY = np.float32([1000.0, 720.0, 1080.0])


def noisy(field, transform, rng, hot=None, noise=12.0, fwhm=3.0):
    """Return a frame as a Seestar's debayered one: hot photosites are spread over their neighbours."""
    frame = render_stars(field, SHAPE, transform, fwhm) + SKY
    frame += rng.standard_normal(frame.shape).astype(np.float32) * np.float32(noise)
    if hot is None:
        return frame
    mosaic = np.empty(SHAPE, dtype=np.float32)
    for row, column, channel in ((0, 0, 1), (0, 1, 0), (1, 0, 2), (1, 1, 1)):
        mosaic[row::2, column::2] = frame[row::2, column::2, channel]
    mosaic.flat[hot] = 20_000
    return debayer(mosaic, "GRBG")


def corner_error(found, true):
    """Return how far the worst corner of the frame is misplaced, in pixels."""
    height, width = SHAPE
    corners = np.array([[0, 0, 1], [width - 1, 0, 1], [0, height - 1, 1], [width - 1, height - 1, 1]]).T
    return float(np.abs(found @ corners - true @ corners).max())


@pytest.mark.parametrize(
    ("dx", "dy", "degrees", "scale"),
    [
        (0.4, 0.4, 0.0, 1.0),
        (-0.4, 0.4, 0.0, 1.0),
        (0.0, 0.0, 180.0, 1.0),
        (0.1, -0.2, 90.0, 1.0),
        (0.05, 0.1, -137.0, 1.0),
        (0.02, 0.02, 6.0, 1.05),
        (0.02, 0.02, -6.0, 0.95),
        (0.25, 0.25, 30.0, 1.03),
    ],
)
def test_finds_shift_rotation_and_scale_among_300_hot_pixels(dx, dy, degrees, scale):
    rng = np.random.default_rng(7)
    field = random_star_field(SHAPE, 300, rng)
    hot = rng.choice(SHAPE[0] * SHAPE[1], 300, replace=False)
    true = similarity(SHAPE, dx * SHAPE[1], dy * SHAPE[0], degrees, scale)
    reference = Reference(noisy(field, similarity(SHAPE), rng, hot))
    alignment = reference.locate(1, noisy(field, true, rng, hot))
    assert alignment.method == "stars"
    assert corner_error(alignment.transform, true) < 0.3
    assert alignment.rms < 0.3


def test_clouds_that_leave_twelve_stars():
    rng = np.random.default_rng(8)
    field = random_star_field(SHAPE, 300, rng)
    true = similarity(SHAPE, 25.0, -12.0, 33.0)
    x, y = apply(true, field.x, field.y)
    seen = np.flatnonzero((x > 20) & (x < SHAPE[1] - 20) & (y > 20) & (y < SHAPE[0] - 20))
    brightest = seen[np.argsort(-field.flux[seen, 1])][:12]
    clouded = StarField(field.x[brightest], field.y[brightest], 0.5 * field.flux[brightest])
    reference = Reference(noisy(field, similarity(SHAPE), rng))
    alignment = reference.locate(1, noisy(clouded, true, rng))
    assert alignment.method == "stars"
    assert alignment.stars <= 12
    assert corner_error(alignment.transform, true) < 0.5


def test_reference_and_frame_exchanged_give_inverse_transforms():
    rng = np.random.default_rng(9)
    field = random_star_field(SHAPE, 300, rng)
    one, other = noisy(field, similarity(SHAPE), rng), noisy(field, similarity(SHAPE, 40.0, -30.0, 170.0), rng)
    there, back = Reference(one).locate(1, other).transform, Reference(other).locate(1, one).transform
    round_trip = np.vstack([back, [0, 0, 1]]) @ np.vstack([there, [0, 0, 1]])
    assert np.abs(round_trip[:2] - similarity(SHAPE))[:, 2].max() < 0.15


def test_unrelated_star_lists_do_not_match():
    rng = np.random.default_rng(10)

    def stars():
        count = 200
        x, y = rng.uniform(0, SHAPE[1], count), rng.uniform(0, SHAPE[0], count)
        return Stars(x, y, np.sort(rng.uniform(1e3, 1e5, count))[::-1], np.full(count, 0.05), 3.0)

    for _ in range(10):
        with pytest.raises(MatchError, match="none of the transforms"):
            match_stars(stars(), stars(), SHAPE)


def test_hot_pixels_cosmic_rays_and_blooms_are_no_stars():
    rng = np.random.default_rng(11)
    frame = np.full((200, 300, 3), 500.0, np.float32) + rng.normal(0, 5, (200, 300, 3)).astype(np.float32)
    frame[50, 60, 0] += 20_000  # hot photosite
    frame[100, 100:125] += 8_000  # cosmic-ray track
    rows, columns = np.mgrid[:200, :300]
    frame[np.hypot(rows - 150, columns - 230) < 18] = 65_535  # saturated bloom
    truth = [(40.3, 150.7), (120.6, 40.2), (170.0, 120.5), (30.8, 250.1)]
    for y, x in truth:
        frame += (40_000 / (2 * np.pi * 1.5**2) * np.exp(-(np.hypot(rows - y, columns - x) ** 2) / (2 * 1.5**2)))[
            ..., None
        ].astype(np.float32)
    stars = find_stars(frame)
    found = sorted(zip(stars.y, stars.x, strict=True))
    assert len(found) == len(truth)
    assert np.allclose(found, sorted(truth), atol=0.05)


@pytest.mark.parametrize("interpolation", ["bicubic", "lanczos3"])
@pytest.mark.parametrize(
    ("dx", "dy", "degrees"),
    [(0, 0, 0), (37.3, -21.6, 0), (-12.4, 8.9, 5), (30, 20, 90), (5.5, -3.25, 180), (0, 0, 137)],
)
def test_footprint_is_the_exact_one(interpolation, dx, dy, degrees):
    rng = np.random.default_rng(12)
    transform = similarity(SHAPE, dx, dy, degrees)
    frame = rng.normal(1000, 10, (*SHAPE, 3)).astype(np.float32)
    valid = np.isfinite(warp_module.warp(frame, transform, interpolation))
    truth = true_footprint(SHAPE, transform)
    assert (valid.all(axis=2) == valid.any(axis=2)).all(), "all channels have one mask"
    assert not (valid[..., 0] & ~truth).any(), "no valid pixel outside the frame"
    inner = binary_erosion(truth, np.ones((3, 3)), iterations=3)
    assert not (inner & ~valid[..., 0]).any(), "none missing more than 3 px inside it"


def test_hole_in_the_source_stays_a_hole_and_spreads_by_the_taps_alone():
    transform = similarity(SHAPE, 3.4, -2.6, 4.0)
    frame = np.full((*SHAPE, 3), 700.0, np.float32)
    frame[100:110, 200:220, 1] = np.nan
    frame[250, 400, 0] = np.inf
    valid = np.isfinite(warp_module.warp(frame, transform)).all(axis=2)
    x, y = apply(transform, np.arange(SHAPE[1]), np.arange(SHAPE[0])[:, None])

    def near(low_x, high_x, low_y, high_y, reach):
        return (x > low_x - reach) & (x < high_x + reach) & (y > low_y - reach) & (y < high_y + reach)

    hole, spot = (200, 219, 100, 109), (400, 400, 250, 250)
    assert not valid[near(*hole, 1) | near(*spot, 1)].any()
    truth = binary_erosion(true_footprint(SHAPE, transform), np.ones((3, 3)), iterations=3)
    assert valid[truth & ~near(*hole, 2) & ~near(*spot, 2)].all()


def test_whole_pixel_shift_is_an_exact_copy_up_to_the_border():
    rng = np.random.default_rng(13)
    frame = rng.normal(1000, 100, SHAPE).astype(np.float32)
    for interpolation in warp_module.INTERPOLATIONS:
        shifted = warp_module.warp(frame, similarity(SHAPE, 7, -5), interpolation)
        assert np.array_equal(shifted[5:, :-7], frame[:-5, 7:])
        assert np.isnan(shifted[:5]).all()
        assert np.isnan(shifted[:, -7:]).all()


@pytest.mark.parametrize("interpolation", ["bicubic", "lanczos3"])
def test_stars_keep_place_and_flux(interpolation):
    """Exact coordinates: a warp that rounded them to 1/32 px would fail here."""
    import sep

    height, width = SHAPE
    rng = np.random.default_rng(14)
    rows, columns = np.mgrid[30 : height - 30 : 40, 30 : width - 30 : 40]
    field = StarField(
        (columns + rng.uniform(-0.5, 0.5, rows.shape)).ravel(),
        (rows + rng.uniform(-0.5, 0.5, rows.shape)).ravel(),
        np.full((rows.size, 3), 50_000.0),
    )
    transform = similarity(SHAPE, 5.3, -8.7, 3.0)
    warped = warp_module.warp(render_stars(field, SHAPE, transform, 3.0) + SKY, transform, interpolation)
    plane = np.ascontiguousarray(warped[..., 1] - SKY[1])
    covered = binary_erosion(np.isfinite(plane), np.ones((3, 3)), iterations=12)
    inside = covered[np.rint(field.y).astype(int), np.rint(field.x).astype(int)]
    assert inside.sum() > 50
    plane = np.where(np.isfinite(plane), plane, 0).astype(np.float32)
    x, y, _ = sep.winpos(plane, field.x[inside], field.y[inside], 1.3)
    assert np.sqrt(np.mean((x - field.x[inside]) ** 2 + (y - field.y[inside]) ** 2)) < 0.03
    flux, _, _ = sep.sum_circle(plane, field.x[inside], field.y[inside], 9.0)
    assert np.abs(flux / 50_000 - 1).max() < 0.005


@pytest.mark.parametrize("lanczos", [False, True])
def test_compiled_warp_equals_its_numpy_definition(lanczos):
    kernels = warp_module._compiled()
    if kernels is None:
        pytest.skip("Numba is not installed: there is no compiled warp to compare")
    rng = np.random.default_rng(15)
    frame = rng.normal(1000, 300, (97, 131, 3)).astype(np.float32)
    frame[rng.random(frame.shape) < 0.01] = np.nan
    frame[rng.random(frame.shape) < 0.02] = 60_000  # what a kernel rings on
    for transform in (
        similarity((97, 131), 3.3, 1.7, 20, 1.02),
        similarity((97, 131)),
        similarity((97, 131), 4, -9, 180),
    ):
        truth = warp_module.warp_numpy(frame, transform, lanczos)
        ours = kernels.warp_kernel(frame, transform, lanczos)
        assert np.array_equal(np.isnan(ours), np.isnan(truth))
        assert np.allclose(ours, truth, rtol=1e-6, equal_nan=True)


@pytest.mark.parametrize("interpolation", ["bicubic", "lanczos3"])
@pytest.mark.parametrize("compiled", [True, False])
def test_no_dark_rings_around_stars_that_are_sharper_than_the_kernel(interpolation, compiled, monkeypatch):
    if not compiled:
        monkeypatch.setattr(warp_module, "_compiled", lambda: None)
    field = StarField(np.array([40.3, 90.6]), np.array([30.2, 51.7]), np.full((2, 3), 1.0e6))
    frame = np.minimum(render_stars(field, (80, 130), None, 1.7) + 200, 65_535).astype(np.float32)
    for shift in (0.25, 0.5, 0.8):
        transform = similarity((80, 130), shift, -shift, 3.0)
        warped = warp_module.warp(frame, transform, interpolation)
        assert np.nanmin(warped) == 200, "the sky, and nothing darker"
        assert np.nanmax(warped) > 65_000
    axis_alone = warp_module.warp(frame, similarity((80, 130), 0.5, 0.0), interpolation)
    assert np.nanmin(axis_alone) == 200


@pytest.mark.parametrize("interpolation", ["bicubic", "lanczos3"])
def test_noise_keeps_its_mean(interpolation):
    noise = np.random.default_rng(3).normal(500, 20, (600, 600)).astype(np.float32)
    warped = warp_module.warp(noise, similarity(noise.shape, 0.37, 0.61, 2.0), interpolation)
    there = np.isfinite(warped)
    assert abs(warped[there].mean() - noise[there].mean()) < 0.01 * 20, "a hundredth of its deviation"


def test_bicubic_reproduces_a_plane_exactly():
    y, x = np.mgrid[: SHAPE[0], : SHAPE[1]].astype(np.float32)
    transform = similarity(SHAPE, 2.37, -1.81, 7.0)
    u, v = apply(transform, np.arange(SHAPE[1]), np.arange(SHAPE[0])[:, None])
    warped = warp_module.warp(2 * x - 3 * y + 5, transform)
    valid = np.isfinite(warped)
    assert np.allclose(warped[valid], (2 * u - 3 * v + 5)[valid], atol=1e-3)


@pytest.mark.parametrize(
    ("frame", "transform", "interpolation", "message"),
    [
        (np.zeros(5), similarity(SHAPE), "bicubic", "frame must be"),
        (np.zeros((5, 5)), np.full((2, 3), np.nan), "bicubic", "transform must be"),
        (np.zeros((5, 5)), similarity(SHAPE), "nearest", "interpolation must be one of bicubic, lanczos3"),
    ],
)
def test_warp_refuses_what_it_cannot_do(frame, transform, interpolation, message):
    with pytest.raises(ValueError, match=message):
        warp_module.warp(frame, transform, interpolation)


def solution(rotation, crval=(56.75, 24.1)):
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = ["RA---TAN", "DEC--TAN"]
    wcs.wcs.crval, wcs.wcs.crpix = crval, [320.5, 180.5]
    angle, scale = np.radians(rotation), 2.39 / 3600
    wcs.wcs.cd = scale * np.array([[-np.cos(angle), np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    return wcs


def test_wcs_takes_over_where_there_are_no_stars():
    rng = np.random.default_rng(16)
    starless = [rng.normal(1000, 5, (*SHAPE, 3)).astype(np.float32) for _ in range(3)]
    solutions = [solution(0.0), solution(8.0, (56.78, 24.12)), None]
    alignments = [alignment for alignment, _ in align_frames(starless, 0, wcs=solutions)]
    assert [alignment.method for alignment in alignments] == ["reference", "wcs", "failed"]
    sky = solutions[0].pixel_to_world(100, 200)
    expected = solutions[1].world_to_pixel(sky)
    assert np.allclose(alignments[1].transform @ [100, 200, 1], expected, atol=0.05)
    assert "0 stars found" in alignments[2].reason
    assert "no WCS" in alignments[2].reason


def test_wcs_on_the_far_side_of_the_sky_is_refused():
    _, rms = transform_from_wcs(solution(0.0), solution(0.0, (236.75, -24.1)), SHAPE)
    assert not rms < 1.0


def test_group_none_wrong_shape_and_dead_frames_fail_with_reasons_and_inputs_stay():
    rng = np.random.default_rng(17)
    field = random_star_field(SHAPE, 200, rng)
    frames = [
        noisy(field, similarity(SHAPE), rng),
        None,
        noisy(field, similarity(SHAPE, 10, 5, 2), rng)[:, :-1],
        np.full((*SHAPE, 3), np.nan, np.float32),
        noisy(field, similarity(SHAPE, 10, 5, 2), rng),
    ]
    copies = [None if frame is None else frame.copy() for frame in frames]
    for frame in frames:
        if frame is not None:
            frame.flags.writeable = False
    results = list(align_frames(frames, 0))
    assert [alignment.method for alignment, _ in results] == ["reference", "failed", "failed", "failed", "stars"]
    assert [image is None for _, image in results] == [False, True, True, True, False]
    for word, (alignment, _) in zip(["no frame", "shape", "no finite sample"], results[1:4], strict=True):
        assert word in alignment.reason
    for frame, copy in zip(frames, copies, strict=True):
        assert frame is None or np.array_equal(frame, copy, equal_nan=True)
    assert np.array_equal(results[0][1], frames[0])


@pytest.mark.parametrize("index", [-1, 2, 1])
def test_group_without_its_reference_is_refused(index):
    with pytest.raises(ValueError, match=f"reference_index {index} names none"):
        list(align_frames([np.zeros(SHAPE, np.float32), None], index))
