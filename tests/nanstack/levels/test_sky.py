# SPDX-License-Identifier: GPL-3.0-or-later
"""Skies that are known: frames matched to their reference, tiles to each other, and no step where coverage changes."""

import itertools
import logging

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nanstack.levels.sky import (
    Overlap,
    SkyMatch,
    match_sky,
    measure_overlap,
    robust_fit,
    solve_backgrounds,
    to_common_sky,
)
from nanstack.settings import TileSettings
from nanstack.stack.definition import Rejection
from nanstack.stack.stacker import stack_frames
from nanstack.tile import make_tile, stack_group
from nanstack.truth.simulation import simulate_group, sky_plane

pytestmark = pytest.mark.numpy_bytes

SHAPE = (270, 480)
MIDDLE = np.array([(SHAPE[1] - 1) / 2, (SHAPE[0] - 1) / 2])


def group(n, **changes):
    """Return frames that lie on each other: they differ in noise, hot pixels apart, and in what `changes` says."""
    return simulate_group(n, SHAPE, max_shift=0.0, max_rotation=0.0, seed=5, **changes)[0]


# --- frames -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("model", "gradient"), [("offset", 0.0), ("plane", 0.1)])
def test_skies_are_recovered_per_channel(model, gradient):
    reference, *frames = group(4, sky_scatter=0.1, sky_gradient=gradient)
    for frame in frames:
        match = match_sky(frame.data, reference.data, model)
        level, slope_x, slope_y = reference.sky - frame.sky
        assert np.abs(level).max() > 10, "there is something to be matched"
        assert np.allclose(match.offset, level, atol=0.5), "noise 20 ADU: the median of so many is known to 0.1"
        assert np.allclose([match.slope_x, match.slope_y], [slope_x, slope_y], atol=3e-3)
        mono = match_sky(frame.data[..., 1], reference.data[..., 1], model)
        assert mono.offset.shape == ()
        assert mono.offset == pytest.approx(match.offset[1], abs=1e-3)


def test_what_a_frame_does_not_cover_has_no_say():
    reference, frame = group(2, sky_scatter=0.1, sky_gradient=0.2)
    part = frame.data.copy()
    part[:, :250] = np.nan
    part[:60] = np.inf
    plane = match_sky(part, reference.data, "plane")
    there = np.array([364.5, 164.5])  # the middle of what is left
    truth = reference.sky_at(*there) - frame.sky_at(*there)
    found = plane.offset + plane.slope_x * (there - MIDDLE)[0] + plane.slope_y * (there - MIDDLE)[1]
    assert np.allclose(found, truth, atol=0.7)
    assert np.allclose(match_sky(part, reference.data, "offset").offset, truth, atol=2), "the mean over what is common"
    narrow = np.full_like(frame.data, np.nan)
    narrow[:, :30] = frame.data[:, :30]
    assert not np.any(match_sky(narrow, reference.data, "plane").slope_x), "a strip carries no plane"


def test_a_gradient_that_both_have_stays():
    reference, frame = group(2, sky_scatter=0.1)
    y, x = np.mgrid[: SHAPE[0], : SHAPE[1], :1][:2]
    common = (0.3 * x - 0.5 * y).astype(np.float32)
    plain = match_sky(frame.data, reference.data, "plane")
    tilted = match_sky(frame.data + common, reference.data + common, "plane")
    for name in ("offset", "slope_x", "slope_y"):
        assert np.allclose(getattr(tilted, name), getattr(plain, name), atol=1e-3)


def test_stars_trails_and_clouds_do_not_pull():
    reference, frame = group(2, sky_scatter=0.1, n_stars=4000)
    rng = np.random.default_rng(0)
    dirty = frame.data.copy()
    dirty[rng.random(SHAPE) < 0.05] += 4000
    dirty[100:104] += 900
    dirty[:100, :120] -= 300
    for model in ("offset", "plane", "linear"):
        clean = match_sky(frame.data, reference.data, model)
        assert np.allclose(clean.gain * frame.sky[0] + clean.offset, reference.sky[0], atol=0.7), model
        hit = match_sky(dirty, reference.data, model)
        assert np.allclose(hit.gain * frame.sky[0] + hit.offset, reference.sky[0], atol=4), model


def test_gain_is_that_of_the_stars_not_of_the_sky():
    reference, frame = group(2, n_stars=1500, noise=5.0)
    hazy = frame.data - np.float32([1000, 720, 1080])
    hazy = (0.8 * hazy + np.float32([1300, 900, 1200])).astype(np.float32)
    match = match_sky(hazy, reference.data, "linear")
    assert np.allclose(match.gain, 1 / 0.8, rtol=0.01)
    assert np.allclose(match.gain * [1300, 900, 1200] + match.offset, [1000, 720, 1080], atol=0.5)
    starless = np.random.default_rng(1).normal(500, 5, (2, *SHAPE)).astype(np.float32)
    assert match_sky(*starless, "linear").gain == 1, "noise has no gain"


def test_frames_without_common_pixels_are_left_as_they_are():
    one, other = np.full((2, 100, 120, 3), 500.0, np.float32)
    one[:, 60:], other[:, :60] = np.nan, np.nan
    for model in ("offset", "linear", "plane"):
        match = match_sky(one, other, model)
        assert match.cells == 0
        same = one.copy()
        match.apply(same)
        assert np.array_equal(same, one, equal_nan=True)


def test_the_common_sky_is_the_frames_mean_whatever_one_of_them_shows():
    frames = group(9, sky_scatter=0.1, sky_gradient=0.1)
    cloudy = np.array([900.0, 0.5, -0.4])[:, np.newaxis]  # level, and slopes as steep as 240 and 108 ADU a side
    alone = np.full_like(frames[0].data, np.nan)
    for clouds, limit in ((0.0, 0.2), (cloudy, 0.6)):
        skies = np.array([frame.sky + clouds * (number == 4) for number, frame in enumerate(frames)])
        data = [_seen_under(frame, sky) for frame, sky in zip(frames, skies, strict=True)]
        matches = [match_sky(one, data[0], "plane" if number else "none") for number, one in enumerate([*data, alone])]
        *found, left = to_common_sky(matches)
        assert left is matches[-1], "a frame on its own has no say, and stays"
        reached = [
            [sky[0] + m.offset, sky[1] + m.slope_x, sky[2] + m.slope_y] for sky, m in zip(skies, found, strict=True)
        ]
        clear = np.delete(skies, 4, axis=0)
        spread = clear.std(axis=0)
        assert (np.ptp(reached, axis=0) < np.array([[1.0], [6e-3], [6e-3]])).all(), "all have one sky"
        assert (np.abs(np.mean(reached, axis=0) - clear.mean(axis=0)) < limit * spread).all()
    assert (spread[1:] * max(SHAPE) > 10).any(), "the gradients differ"


def test_frames_with_nothing_in_common_have_no_common_sky():
    alone = [SkyMatch(cells=0), SkyMatch(cells=0)]
    assert to_common_sky(alone) == alone
    assert to_common_sky([]) == []


def _seen_under(frame, sky):
    """Return a frame's data under another sky."""
    y, x = np.mgrid[: SHAPE[0], : SHAPE[1]]
    other = sky_plane(sky - frame.sky, SHAPE, x, y)
    return (frame.data + other).astype(np.float32)


def test_what_cannot_be_matched_is_refused():
    frame = np.zeros((9, 9), np.float32)
    with pytest.raises(ValueError, match="model 'plain' is unknown"):
        match_sky(frame, frame, "plain")
    with pytest.raises(ValueError, match="one shape"):
        match_sky(frame, frame[1:])
    with pytest.raises(ValueError, match="at least 4 pixels, not 3"):
        measure_overlap(frame, frame, cell=3)


@settings(deadline=None, max_examples=40)
@given(
    st.integers(0, 2**32 - 1),
    st.integers(5, 90),
    st.integers(5, 90),
    st.sampled_from([(), (1,), (3,)]),
    st.floats(-500, 500),
    st.sampled_from(["offset", "plane"]),
)
def test_a_constant_added_is_taken_away(seed, height, width, channels, constant, model):
    rng = np.random.default_rng(seed)
    frame, reference = rng.normal(1000, 10, (2, height, width, *channels)).astype(np.float32)
    frame[rng.random((height, width)) < rng.random()] = np.nan
    plain = match_sky(frame, reference, model)
    shifted = match_sky(frame + np.float32(constant), reference, model)
    assert shifted.cells == plain.cells
    assert np.isfinite([plain.offset, plain.slope_x, plain.slope_y]).all()
    if plain.cells:
        assert np.allclose(shifted.offset, plain.offset - constant, atol=0.05)
    matched = frame.copy()
    plain.apply(matched)
    assert np.array_equal(np.isnan(matched), np.isnan(frame))


@settings(deadline=None, max_examples=40)
@given(
    st.integers(0, 2**32 - 1),
    st.integers(1, 30),
    st.integers(1, 20),
    st.sampled_from([(), (1,), (3,)]),
    st.lists(st.integers(1, 29), max_size=5),
)
def test_rows_are_the_same_whichever_come_together(seed, height, width, channels, cuts):
    rng = np.random.default_rng(seed)
    frame = rng.normal(1000, 10, (height, width, *channels)).astype(np.float32)
    gain, offset, slope_x, slope_y = rng.normal(1, 2, (4, *channels))
    match = SkyMatch(gain, offset, slope_x, slope_y, (3.5, 7.25))
    whole, pieces = frame.copy(), frame.copy()
    match.apply(whole)
    edges = sorted({0, height, *(cut for cut in cuts if cut < height)})
    for top, bottom in itertools.pairwise(edges):
        match.apply(pieces[top:bottom], top)
    assert whole.tobytes() == pieces.tobytes()
    y, x = np.mgrid[:height, :width].reshape(2, height, width, *(1,) * len(channels))
    truth = frame * gain + offset + slope_x * (x - 3.5) + slope_y * (y - 7.25)
    assert np.allclose(whole, truth, rtol=1e-5, atol=1e-2)


# --- tiles of frames --------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def moved():
    """Eight frames that are moved against each other, under skies that vary, and the same under one sky."""
    where = {"seed": 8, "max_shift": 50.0, "max_rotation": 4.0, "n_stars": 350}
    steady = [frame.data for frame in simulate_group(8, SHAPE, **where)[0]]
    truth = make_tile(steady, match="none")
    return where, truth


def steps(tile, truth, reference):
    """Return level and colour steps: by how much the medians over pixels of one coverage differ.

    The tile differs from that of a steady sky by the sky of its reference, and by what its frames' skies leave.
    """
    y, x = np.mgrid[: SHAPE[0], : SHAPE[1]]
    left = tile.image - truth.image - (reference.sky_at(x, y) - [1000, 720, 1080])
    areas = [tile.coverage == n for n in range(1, 9) if np.count_nonzero(tile.coverage == n) > 300]
    assert len(areas) > 4
    levels = np.array([np.nanmedian(left[area], axis=0) for area in areas])
    return np.ptp(levels, axis=0).max(), np.ptp(levels[:, [0, 2]] - levels[:, [1]], axis=0).max()


@pytest.mark.parametrize(("model", "gradient"), [("offset", 0.0), ("linear", 0.0), ("plane", 0.0), ("plane", 0.05)])
def test_tile_has_no_coverage_steps(moved, model, gradient):
    where, truth = moved
    frames = simulate_group(8, SHAPE, sky_scatter=0.1, sky_gradient=gradient, **where)[0]
    samples = [frame.data for frame in frames]
    raw = make_tile(samples, match="none")
    assert min(steps(raw, truth, frames[0])) > 10, "without matching they are there"
    tile = make_tile(samples, match=model)
    noise = truth.report.noise_adu
    assert max(steps(tile, truth, frames[0])) < 0.1 * noise
    assert tile.report.noise_adu == pytest.approx(noise, rel=0.03)
    assert tile.report.sky_matched_by == model
    for line, frame in zip(tile.report.frames, frames, strict=True):
        if model != "linear" and not gradient:
            assert line.sky_offset_adu == pytest.approx(tuple((frames[0].sky - frame.sky)[0]), abs=1)
    largest = max(abs(offset) for line in tile.report.frames for offset in line.sky_offset_adu)
    assert tile.report.sky_offset_adu_max == largest
    cards = tile.report.cards()
    assert (cards["NPA_SKYM"][0], cards["NPA_SKYX"][0]) == (model, largest)


def test_mono_tile_and_a_frame_beside_the_reference():
    reference, frame, stranger = (frame.data[..., 1] for frame in group(3, sky_scatter=0.1))
    reference, frame, stranger = reference.copy(), frame.copy(), stranger.copy()
    reference[:, 240:], stranger[:, :240] = np.nan, np.nan
    stacked = stack_group([reference, frame, stranger], TileSettings())
    assert [level.cells == 0 for level in stacked.plan.levels] == [False, False, True]
    image = stacked.image
    assert image.shape == SHAPE
    level = np.median(reference[:, :240])
    assert np.median(image[:, :240]) == pytest.approx(level, abs=1)


def test_normalisation_comes_first():
    frames = [frame.data for frame in group(3, sky_scatter=0.1)]
    both = stack_group(frames, TileSettings(normalize="sky_mean", match="plane"))
    alone = stack_group(frames, TileSettings(normalize="sky_mean", match="none"))
    assert np.array_equal(both.image, alone.image)
    assert both.plan.levelled_by == "sky_mean"


def test_levels_do_not_depend_on_the_memory():
    frames = [frame.data for frame in group(5, sky_scatter=0.1, sky_gradient=0.1)]
    levels = [match_sky(frame, frames[0], "plane") for frame in frames]
    results = [stack_frames(frames, Rejection(), levels=levels, memory=memory).image for memory in (1, 10**6, 10**9)]
    assert len({result.tobytes() for result in results}) == 1


# --- overlaps ---------------------------------------------------------------------------------------------------------


@settings(deadline=None, max_examples=40)
@given(
    st.integers(0, 2**32 - 1),
    st.integers(4, 60),
    st.integers(4, 60),
    st.sampled_from([(), (3,)]),
    st.integers(4, 25),
    st.floats(0, 1),
)
def test_cells_are_medians_of_what_is_common(seed, height, width, channels, cell, missing):
    rng = np.random.default_rng(seed)
    first, second = rng.normal(0, 10, (2, height, width, *channels))
    for image in (first, second):
        image[rng.random((height, width)) < missing] = rng.choice([np.nan, np.inf, -np.inf])
    expected = []
    for top in range(0, height, cell):
        for left in range(0, width, cell):
            part = np.s_[top : top + cell, left : left + cell]
            one, other = (image[part].reshape(*image[part].shape[:2], -1) for image in (first, second))
            good = np.isfinite(one).all(axis=2) & np.isfinite(other).all(axis=2)
            if np.count_nonzero(good) >= 16:
                y, x = np.nonzero(good)
                expected.append((left + x.mean(), top + y.mean(), *np.median((one[good] - other[good]), axis=0)))
    overlap = measure_overlap(first, second, cell=cell)
    if not expected:
        assert overlap is None
        return
    assert np.allclose(np.column_stack([overlap.x, overlap.y, overlap.difference]), expected)
    assert overlap.error.shape == overlap.difference.shape
    assert (overlap.error >= 0).all()


def test_error_of_a_cell_is_how_much_its_median_scatters():
    first, second = np.random.default_rng(3).normal(0, 10, (2, 640, 640))
    overlap = measure_overlap(first, second, cell=32)
    assert np.median(overlap.error) == pytest.approx(overlap.difference.std(), rel=0.1)


# --- tiles ------------------------------------------------------------------------------------------------------------


def test_tiles_with_stars_meet_without_a_step():
    scene = group(1, noise=0.0)[0].data
    rng = np.random.default_rng(9)
    y, x = np.mgrid[: SHAPE[0], : SHAPE[1], :1][:2]
    windows = [np.s_[:150, :280], np.s_[:150, 200:], np.s_[110:, :280], np.s_[110:, 200:]]
    images = []
    for window in windows:
        image = np.full_like(scene, np.nan)
        light = scene + rng.uniform(-60, 60, 3) + 0.1 * rng.normal() * x + 0.1 * rng.normal() * y
        image[window] = light[window] + rng.normal(0, 4, scene.shape)[window]
        images.append(image)
    overlaps = {(i, j): measure_overlap(images[i], images[j], cell=32) for j in range(4) for i in range(j)}
    found = solve_backgrounds(4, overlaps, "plane", [np.isfinite(image).sum() for image in images])
    corrected = [image + background.at(x[..., 0], y[..., 0]) for image, background in zip(images, found, strict=True)]
    for i, j in overlaps:
        before, after = (np.nanmedian(these[i] - these[j], axis=(0, 1)) for these in (images, corrected))
        assert np.abs(before).max() > 5
        assert np.abs(after).max() < 0.4, "a tenth of the noise"


def difference(of, i, j, box, rng, noise=0.0):
    """Return the overlap of tiles whose skies are `of[i]` and `of[j]`: planes (3, C) of 1, x, y."""
    left, right, top, bottom = box
    x, y = (grid.ravel() for grid in np.meshgrid(np.arange(left, right, 64.0), np.arange(top, bottom, 64.0)))
    plane = np.stack([np.ones_like(x), x, y], axis=1) @ (of[i] - of[j])
    return Overlap(x, y, plane + rng.normal(0, 1, plane.shape) * noise, np.full(plane.shape, max(noise, 0.01)))


def two_by_two(skies, rng, noise=0.0):
    """Return the overlaps of tiles of 1000 x 1000 pixels, every 850."""
    boxes = {
        (0, 1): (850, 1000, 0, 1000), (2, 3): (850, 1000, 850, 1850), (0, 2): (0, 1000, 850, 1000),
        (1, 3): (850, 1850, 850, 1000), (2, 1): (850, 1000, 850, 1000),
    }  # fmt: skip
    return {(i, j): difference(skies, i, j, box, rng, noise) for (i, j), box in boxes.items()}


@pytest.mark.parametrize("model", ["offset", "plane"])
@pytest.mark.parametrize("noise", [0.0, 0.1])
def test_tiles_are_corrected_up_to_the_gauge(model, noise):
    rng = np.random.default_rng(4)
    skies = rng.normal(0, 50, (4, 3, 3)) * np.array([1, 0.01, 0.01])[:, None]
    if model == "offset":
        skies[:, 1:] = 0
    areas = np.array([1.0, 2.0, 0.5, 1.0])
    overlaps = two_by_two(skies, rng, noise)
    damaged = overlaps[(0, 1)].difference  # a bright star's halo, and a ghost
    damaged[:4] += 300
    damaged[20:22] -= 1000
    found = solve_backgrounds(4, overlaps, model, areas)
    mean = np.average(skies, axis=0, weights=areas)
    x, y = np.meshgrid([0.0, 900.0, 1850.0], [0.0, 950.0, 1850.0])
    basis = np.stack([np.ones_like(x), x, y], axis=-1)
    for sky, background in zip(skies, found, strict=True):
        correction = background.at(x, y)
        assert correction.shape == (3, 3, 3)
        assert np.allclose(correction, basis @ (mean - sky), atol=1e-3 + 5 * noise)
    total = sum(area * background.at(x, y) for area, background in zip(areas, found, strict=True))
    assert np.allclose(total, 0, atol=1e-5), "nothing drifts"  # each is rounded to 30 bits of the largest, 1e-6 of 1000


def test_tiles_without_connection_keep_their_own_level(caplog):
    rng = np.random.default_rng(5)
    skies = np.zeros((5, 3, 1))
    skies[:, 0, 0] = [10, 30, 1000, 1010, 77]
    overlaps = {
        (1, 0): difference(skies, 1, 0, (0, 500, 0, 500), rng),
        (2, 3): difference(skies, 2, 3, (0, 500, 0, 500), rng),
    }
    with caplog.at_level(logging.WARNING, "nanstack"):
        found = solve_backgrounds(5, overlaps)
    assert "3 groups that do not overlap" in caplog.text
    assert [background.component for background in found] == [0, 0, 1, 1, 2]
    assert np.allclose([background.at(0.0, 0.0)[0] for background in found], [10, -10, 5, -5, 0])
    assert [background.at(3.0, [1.0, 2.0]).shape for background in solve_backgrounds(2, {})] == [(2, 1)] * 2


def test_a_chain_of_tiles_has_no_slopes_that_nothing_shows():
    skies = np.zeros((3, 3, 1))
    skies[:, 0, 0] = [0, 20, -30]
    rng = np.random.default_rng(6)
    columns = {  # one column of cells: nothing is known of slopes along x
        (i, i + 1): difference(skies, i, i + 1, (900 * i + 900, 900 * i + 901, 0, 1000), rng) for i in (0, 1)
    }
    found = solve_backgrounds(3, columns, "plane")
    for i, overlap in enumerate(columns.values()):
        left = found[i].at(overlap.x, overlap.y) - found[i + 1].at(overlap.x, overlap.y) + overlap.difference
        assert np.allclose(left, 0, atol=1e-3)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((2, {(0, 2): 0}), r"overlap \(0, 2\) does not name two of the 2 tiles"),
        ((2, {(1, 1): 0}), r"overlap \(1, 1\) does not name two"),
        ((2, {}, "linear"), "model 'linear' is unknown"),
        ((2, {}, "offset", [1.0]), "areas must be 2 positive numbers"),
        ((2, {}, "offset", [1.0, 0.0]), "areas must be 2 positive numbers"),
    ],
)
def test_tiles_that_do_not_fit_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        solve_backgrounds(*arguments)


@settings(deadline=None, max_examples=50)
@given(st.integers(0, 2**32 - 1), st.integers(2, 12), st.sampled_from(["offset", "plane"]))
def test_skies_of_connected_tiles_agree_afterwards(seed, count, model):
    rng = np.random.default_rng(seed)
    skies = rng.normal(0, 20, (count, 3, 2)) * np.array([1, 0.01, 0.01])[:, None]
    if model == "offset":
        skies[:, 1:] = 0
    overlaps = {}
    for tile in range(1, count):
        left, top = rng.uniform(0, 5000, 2)
        overlaps[(tile, int(rng.integers(tile)))] = (left, left + 400, top, top + 400)
    overlaps = {pair: difference(skies, *pair, box, rng) for pair, box in overlaps.items()}
    found = solve_backgrounds(count, overlaps, model)
    for (i, j), overlap in overlaps.items():
        left = overlap.difference + found[i].at(overlap.x, overlap.y) - found[j].at(overlap.x, overlap.y)
        assert np.allclose(left, 0, atol=1e-4)


def test_robust_fit_is_hardly_moved_by_outliers():
    rng = np.random.default_rng(7)
    x = np.linspace(-1, 1, 300)
    values = 5 + 3 * x + rng.normal(0, 0.1, 300)
    values[rng.random(300) < 0.2] += 50
    found = robust_fit(np.column_stack([np.ones(300), x]), values, np.ones(300))
    assert found == pytest.approx([5, 3], abs=0.1)
