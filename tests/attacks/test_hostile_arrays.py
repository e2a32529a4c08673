# SPDX-License-Identifier: GPL-3.0-or-later
"""Hostile arrays: of any layout, type, size and value, every public function has an answer or names what is wrong.

``HYPOTHESIS_PROFILE=long`` tries `HYPOTHESIS_EXAMPLES` (3000) of each attack, others each time.
"""

import os
import re
import subprocess
import sys
import warnings
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import zemosaic_align_stack as zas
import zemosaic_align_stack_gpu as zas_gpu
import zemosaic_utils as utils
from nanstack.levels import photometry, sky
from nanstack.register.alignment import Detection, align_frames
from nanstack.register.matching import MatchError, match_stars
from nanstack.register.warp import INTERPOLATIONS, warp, warp_numpy
from nanstack.stack import gpu
from nanstack.stack import stacker as stack
from nanstack.stack.definition import COMBINES, METHODS, Rejection, reject, stack_block, winsor_bounds
from nanstack.survey.stars import Stars, find_stars, luminance
from nanstack.truth.simulation import simulate_group
from tests.support.hostile import (
    FLOATS,
    NAMES_FRAME,
    NO_NUMBERS,
    ROUNDING,
    answer,
    arrays,
    assert_no_infinity,
    assert_same,
    fingerprint,
    groups,
    layouts,
    pairs,
    parts,
    plain,
    seeds,
)

pytestmark = pytest.mark.numpy_bytes

# --- stacks -----------------------------------------------------------------------------------------------------------

rejections = st.builds(
    Rejection,
    st.sampled_from(METHODS),
    st.sampled_from([0, 0.0, 0.5, 2.0, 3, 1e-300, 1e300, np.inf]),
    st.sampled_from([0.0, 0.7, 2.5, 3.0, np.inf]),
    st.sampled_from([0, 0.0, 0.05, 0.3, np.nextafter(0.5, 0)]),
    st.sampled_from([0.0, 0.1, 0.49, 5e-324]),
    st.booleans(),
)


@st.composite
def stacks(draw):
    """Draw a group of frames and weights that may or may not fit them."""
    frames = draw(groups())
    n = len(frames)
    inner = frames[0].shape if n else (2, 2)
    shape = draw(
        st.sampled_from(
            [(n,), (n, *inner), (n, *inner[2:]), (n, 1, *inner[1:]), (n, inner[0], *(1 for _ in inner[1:]))]
            + [(n + 1,), (n, 2, 5, 7), ()]
        )
    )
    values = draw(st.sampled_from([(1.0, 0.5, 3.0), (0.0, 1.0), (0.0,), (1e-30, 1e30, 1.0), (-1.0,), (np.nan, 1.0)]))
    weights = np.random.default_rng(draw(seeds)).choice(values, shape)
    return frames, draw(st.sampled_from([None, weights, weights.tolist()]))


@given(stacks(), rejections, st.sampled_from(COMBINES))
def test_stacks_of_anything_agree_or_are_refused_alike(given_stack, rejection, combine):
    frames, weights = given_stack
    names = r"frames?|weights"
    found = answer(names, stack.stack_frames, frames, rejection, combine, weights)
    with mock.patch.object(stack, "_kernels", return_value=None):
        truth = answer(names, stack.stack_frames, frames, rejection, combine, weights)
    others = [truth, answer(names, gpu.stack_frames, frames, rejection, combine, weights, xp=np)]
    for other in others:
        assert (found is None) == (other is None)
        if found is not None:
            assert_stacks_agree(found, other, frames)
    assert_same(truth or 0, others[1] or 0)


def assert_stacks_agree(found, truth, frames):
    with np.errstate(over="ignore"):
        samples = np.stack([plain(frame).astype(np.float32) for frame in frames]).astype(np.float64)
    finite = np.isfinite(samples)
    assert np.array_equal(found.coverage, finite.sum(axis=0))
    assert np.array_equal(truth.coverage, found.coverage)
    assert np.array_equal(np.isfinite(found.image), found.coverage > 0)
    assert np.array_equal(np.isnan(found.image), np.isnan(truth.image))
    assert (found.rejected, found.samples) == (truth.rejected, truth.samples)
    covered = found.coverage > 0
    scale = np.where(finite, np.abs(samples), 0).max(axis=0)
    error = np.abs(found.image.astype(np.float64) - truth.image)[covered]
    assert (error <= ROUNDING * scale[covered] + 1.5e-45).all()


@given(arrays(st.sampled_from([(0,), (0, 3), (1, 2), (2, 5), (3, 0), (7, 3, 2), (12, 1, 4, 3)])), rejections)
def test_definitions_see_what_an_array_says(samples, rejection):
    for function, settings in (
        (reject, (rejection,)),
        (stack_block, (rejection,)),
        (winsor_bounds, (rejection.winsor_low, rejection.winsor_high)),
        (zas._winsorize_block_numpy, ((rejection.winsor_low, rejection.winsor_high),)),
        (zas._reject_outliers_kappa_sigma, (rejection.kappa_low, rejection.kappa_high)),
        (zas._reject_outliers_linear_fit_clip, ()),
    ):
        found = answer("samples|stacked_array_NHDWC", function, samples, *settings)
        truth = answer("samples|stacked_array_NHDWC", function, plain(samples), *settings)
        assert (found is None) == (truth is None)
        assert_same(found or 0, truth or 0) if not isinstance(found, np.ndarray) else assert_same(found, truth)


@pytest.mark.parametrize("value", [-1, -1e-300, np.nan, -np.inf])
@pytest.mark.parametrize("name", ["kappa_low", "kappa_high"])
def test_wrong_kappas_are_named(name, value):
    with pytest.raises(ValueError, match=rf"{name} .*{re.escape(repr(value))}"):
        Rejection(**{name: value})


@pytest.mark.parametrize("value", [0.5, 0.6, 1, -0.01, np.nan, np.inf])
@pytest.mark.parametrize("name", ["winsor_low", "winsor_high"])
def test_wrong_fractions_are_named(name, value):
    with pytest.raises(ValueError, match=rf"{name} .*{re.escape(repr(value))}"):
        Rejection(**{name: value})
    limits = (value, 0.05) if name == "winsor_low" else (0.05, value)
    frames = [np.ones((2, 3), np.float32)] * 4
    with pytest.raises(ValueError, match=repr(float(value))):
        zas.stack_winsorized_sigma_clip(frames, winsor_limits=limits)
    with pytest.raises(ValueError, match=repr(float(value))):
        zas.stack_aligned_images(frames, rejection_algorithm="winsorized_sigma_clip", winsor_limits=limits)


@pytest.mark.parametrize("kind", NO_NUMBERS)
def test_what_is_no_number_is_no_frame(kind):
    bad, good = np.zeros((4, 5)).astype(kind), np.ones((4, 5), np.float32)
    for function in (stack.stack_frames, lambda *a: gpu.stack_frames(*a, xp=np)):
        with pytest.raises(ValueError, match="frame 1 must hold real numbers"):
            function([good, bad, good], Rejection())
    with pytest.raises(ValueError, match="frame 1 must hold real numbers"):
        zas.stack_kappa_sigma_clip([good, bad, good])
    for function in (warp_by_half, photometry.sky_level, photometry.noise_level, find_stars, luminance):
        with pytest.raises(ValueError, match="must hold real numbers"):
            function(bad)


@pytest.mark.parametrize("frames", [3.0, np.float32(1), np.array(1.0), np.ones(4), [None], [[1.0, 2.0]], iter(())])
def test_what_is_no_sequence_of_frames_is_named(frames):
    with pytest.raises(ValueError, match="frame"):
        stack.stack_frames(frames, Rejection())


# --- one frame, or two ------------------------------------------------------------------------------------------------


def warp_by_half(frame, interpolation="bicubic"):
    return warp(frame, [[0.99, 0.1, 0.5], [-0.1, 0.99, 0.25]], interpolation)


ONE_FRAME = {
    "warp": warp_by_half,
    "lanczos3": lambda frame: warp_by_half(frame, "lanczos3"),
    "sky_level": photometry.sky_level,
    "noise_level": photometry.noise_level,
    "luminance": luminance,
    "find_stars": find_stars,
    "colour_gains": photometry.colour_gains,
    "band_metric": lambda frame: photometry.band_metric(frame, np.indices(frame.shape[:2]).sum(axis=0)),
    "stretch": utils.stretch_auto_asifits_like,
    "stretch_together": lambda frame: utils.stretch_auto_asifits_like(frame, 0, 100, apply_wb=False),
    "percentiles": lambda frame: utils._percentiles_gpu(frame, 1, 99.9),
    "debayer": utils.debayer_image,
}
TWO_FRAMES = {
    "noise_weights": lambda *frames: photometry.noise_weights(frames),
    "fwhm_weights": lambda *frames: photometry.fwhm_weights(frames),
    "linear_fit": photometry.linear_fit_coefficients,
    "sky_offset": photometry.sky_offset,
    "overlap": lambda first, second: sky.measure_overlap(first, second, cell=4),
    **{model: lambda *frames, model=model: sky.match_sky(*frames, model) for model in sky.MODELS},
}


@pytest.mark.parametrize("name", ONE_FRAME)
@given(frame=arrays())
def test_functions_of_a_frame_see_what_it_says(name, frame):
    names = NAMES_FRAME + "|img_norm_01|img_hwc_adu"
    found = answer(names, ONE_FRAME[name], frame)
    truth = answer(names, ONE_FRAME[name], plain(frame))
    assert (found is None) == (truth is None)
    if found is not None:
        assert_same(found, truth)
        assert_no_infinity(found)


@pytest.mark.parametrize("name", TWO_FRAMES)
@given(frames=pairs)
def test_functions_of_two_frames_see_what_they_say(name, frames):
    found = answer(NAMES_FRAME, TWO_FRAMES[name], *frames)
    truth = answer(NAMES_FRAME, TWO_FRAMES[name], *(plain(frame) for frame in frames))
    assert (found is None) == (truth is None)
    if found is not None:
        assert_same(found, truth)
        for part in parts(found):
            assert part.dtype.kind != "f" or np.isfinite(part).all()


@given(arrays(dtypes=FLOATS), st.sampled_from(INTERPOLATIONS), st.data())
def test_warp_is_its_definition(frame, interpolation, data):
    number = st.sampled_from([0.0, 1.0, -1.0, 0.5, 0.3, 1e-8, 1e-20, 1e-200, 2.0, 7.25, -3.4, 1e9, 1e300, -1e308])
    transform = np.array(data.draw(st.lists(number, min_size=6, max_size=6))).reshape(2, 3)
    found = answer("frame", warp, frame, transform, interpolation)
    with np.errstate(over="ignore"):
        samples = np.atleast_3d(plain(frame)).astype(np.float32)
    truth = warp_numpy(samples, transform, interpolation == "lanczos3").reshape(frame.shape)
    # a coordinate that rounding, of two operations or of both as one, takes onto the grid, or off it, uses other taps
    row, column = np.indices(frame.shape[:2])
    with np.errstate(over="ignore", invalid="ignore"):
        places = [line[0] * column + (line[1] * row + line[2]) for line in transform.astype(np.longdouble)]
        beside = [(np.abs(place - np.rint(place)) < 1e-9) & (place != np.rint(place)) for place in places]
    sure = ~(beside[0] | beside[1])
    found, truth = found[sure], truth[sure]
    assert found.dtype == np.float32
    assert not np.isinf(found).any()
    finite = np.isfinite(samples)
    scale = np.abs(samples[finite]).max(initial=0).astype(np.float64)
    if scale < 1e38:  # else what is too large may be so by rounding
        assert np.array_equal(np.isnan(found), np.isnan(truth))
    both = np.isfinite(found) & np.isfinite(truth)
    assert np.abs(found[both].astype(np.float64) - truth[both]).max(initial=0) <= 1e-6 * scale + 1.5e-45


@pytest.mark.parametrize("count", [0, 2, 5, 40])
def test_warp_of_any_number_of_channels(count):
    frame = np.random.default_rng(1).normal(1000, 10, (9, 11, count)).astype(np.float32)
    frame[4, 4, 0:1] = np.nan
    transform = np.array([[1.0, 0.1, 0.4], [0.0, 1.0, 0.3]])
    truth = warp_numpy(frame, transform, False)
    assert np.allclose(warp(frame, transform), truth, rtol=1e-6, equal_nan=True)


@pytest.mark.parametrize("transform", [np.full((2, 3), np.nan), np.ones((3, 3)), [[1, 0, np.inf], [0, 1, 0]], "none"])
def test_wrong_transforms_are_named(transform):
    with pytest.raises(ValueError, match="transform"):
        warp(np.ones((4, 4)), transform)


# --- overlaps, stars, groups ------------------------------------------------------------------------------------------

numbers = st.sampled_from([0.0, 1.0, -5.0, 100.0, 1e38, -1e38, 1e-45, np.nan, np.inf])


@st.composite
def overlaps(draw):
    count = draw(st.integers(0, 4))
    found = {}
    for _ in range(draw(st.integers(0, 4))):
        n = draw(st.integers(0, 5))
        pair = draw(st.integers(0, count)), draw(st.integers(0, count))
        column = st.lists(draw(st.sampled_from([numbers, st.floats(0, 1000)])), min_size=n, max_size=n).map(np.array)
        x, y, difference, error = (draw(column).astype(float) for _ in range(4))
        found[pair] = sky.Overlap(x, y, difference[:, np.newaxis], np.abs(error)[:, np.newaxis])
    return count, found


@given(overlaps(), st.sampled_from(["offset", "plane"]))
def test_backgrounds_are_finite_or_the_overlap_is_named(given_overlaps, model):
    count, pairs_of_tiles = given_overlaps
    found = answer(r"overlap \(", sky.solve_backgrounds, count, pairs_of_tiles, model)
    if found is not None:
        assert len(found) == count
        for background in found:
            assert np.isfinite([background.offset, background.slope_x, background.slope_y]).all()


@pytest.mark.parametrize(
    ("settings", "name"),
    [
        ({"count": -1}, "count"),
        ({"count": 1.5}, "count"),
        ({"model": "cubic"}, "model"),
        ({"areas": [1.0]}, "areas"),
        ({"areas": [1.0, np.nan]}, "areas"),
        ({"areas": [1.0, 0.0]}, "areas"),
        ({"overlaps": {(0, 2): None}}, "overlap"),
    ],
)
def test_wrong_tiles_are_named(settings, name):
    with pytest.raises(ValueError, match=name):
        sky.solve_backgrounds(**{"count": 2, "overlaps": {}, **settings})


places = st.sampled_from([0.0, 1.0, 50.0, 99.0, 100.0, 1e5, 1e12, -1e5, np.nan, np.inf])


@given(st.lists(st.tuples(places, places), max_size=9), st.lists(st.tuples(places, places), max_size=9), st.booleans())
def test_star_lists_match_or_say_why_not(first, second, same):
    lists = []
    for found in (first, first if same else second):
        x, y = np.array(found, dtype=float).reshape(-1, 2).T
        lists.append(Stars(x, y, np.ones(len(x)), np.full(len(x), 0.1), 3.0))
    try:
        match = match_stars(*lists, (100, 100))
    except MatchError:
        return
    except ValueError as refused:
        assert re.search(r"[xy] of a star", str(refused))  # noqa: PT017
        return
    assert np.isfinite(match.transform).all()
    assert match.rms >= 0


@pytest.mark.parametrize("settings", [(0, 5), (-1, 5), (np.nan, 5), (np.inf, 5), (3, 0), (3, -1), (3, np.nan)])
def test_wrong_detections_are_named(settings):
    for function in (Detection, lambda *settings: find_stars(np.ones((20, 20)), *settings)):
        with pytest.raises(ValueError, match=f"(sigma|min_area) .*{settings[0] if settings[1] == 5 else settings[1]}"):
            function(*settings)
    frames = [np.ones((20, 20), np.float32)] * 2
    assert zas.align_images_in_group(frames, 0, *settings) == ([None, None], [0, 1])


def star_field(shape=(96, 110), seed=0):
    rng = np.random.default_rng(seed)
    rows, columns = np.indices(shape)
    frame = rng.normal(100, 2, shape)
    for x, y, flux in zip(*rng.uniform(6, 90, (2, 30)), rng.uniform(300, 5000, 30), strict=True):
        frame += flux * np.exp(-((columns - x) ** 2 + (rows - y) ** 2) / 4.5)
    return frame.astype(np.float32)


STAR_FIELD = star_field()


@given(st.lists(arrays(st.sampled_from([(96, 110), (96, 110), (96, 110, 3), (0, 0), (5,)])), max_size=3), layouts)
def test_a_bad_frame_of_a_group_fails_alone(others, layout):
    reference = layout(STAR_FIELD.copy())
    moved = np.roll(STAR_FIELD, 3, axis=1)
    frames = [moved, *others, None, [["?"]], reference]
    before = fingerprint(frames)
    results = list(align_frames(frames, len(frames) - 1))
    assert fingerprint(frames) == before
    for alignment, samples in results:
        assert (samples is None) == (not alignment.ok)
        assert alignment.ok or alignment.reason
        assert samples is None or (samples.shape == STAR_FIELD.shape and not np.isinf(samples).any())
    assert np.array_equal(results[-1][1], plain(reference).astype(np.float32), equal_nan=True)
    assert not results[-2][0].ok
    assert not results[-3][0].ok
    if not isinstance(reference, np.ma.MaskedArray):
        assert results[0][0].ok, results[0][0].reason
        assert np.allclose(results[0][0].transform, [[1, 0, 3], [0, 1, 0]], atol=0.1)


@pytest.mark.parametrize("index", [None, -1, 2, 1.0, "0", np.nan])
def test_wrong_references_are_named(index):
    frames = [STAR_FIELD, STAR_FIELD]
    with pytest.raises(ValueError, match=f"reference_index {index!r}"):
        list(align_frames(frames, index))
    assert zas.align_images_in_group(frames, index) == ([None, None], [0, 1])


# --- ZeMosaic's interface ---------------------------------------------------------------------------------------------

STACKERS = {
    "winsor": zas.stack_winsorized_sigma_clip,
    "kappa": zas.stack_kappa_sigma_clip,
    "linear_fit": zas.stack_linear_fit_clip,
}
no_colour = {"poststack_equalize_rgb": False}


@pytest.mark.parametrize("name", STACKERS)
@given(frames=groups(), weight=st.sampled_from(["none", "noise_variance", "noise_fwhm", "nonsense"]))
def test_stackers_take_anything_or_name_it(name, frames, weight):
    metadata = {}
    kwargs = {"weight_method": weight, "zconfig": no_colour, "stack_metadata": metadata}
    found = answer("frames?", STACKERS[name], frames, progress_callback=lambda *_, **__: None, **kwargs)
    if found is None:
        assert not frames or not frames[0].size or (weight == "noise_fwhm" and frames[0].shape[2:] in ((1,), (2,)))
        return
    image, percent = found
    assert (image.shape, image.dtype) == (frames[0].shape, np.float32)
    assert 0 <= percent <= 100
    with np.errstate(over="ignore"):
        data = np.isfinite([plain(frame).astype(np.float32) for frame in frames])
    assert np.array_equal(np.isfinite(image), data.any(axis=0))
    assert metadata["coverage_min"] <= metadata["coverage_max"] <= len(frames)


@given(
    groups(least=1),
    st.sampled_from(sorted(zas.REJECTIONS)),
    st.sampled_from(["none", "linear_fit", "sky_mean"]),
    st.sampled_from(sky.MODELS),
    st.booleans(),
)
def test_gpu_module_and_cpu_agree_on_anything(frames, algorithm, normalize, match, radial):
    settings = {
        "stack_reject_algo": algorithm,
        "stack_norm_method": normalize,
        "match_sky": match,
        "apply_radial_weight": radial,
        "normalize_winsorized": True,
    }
    names = "frames?|no finite pixel|zero throughout"
    truth = answer(
        names,
        zas.stack_aligned_images,
        frames,
        normalize,
        "none",
        algorithm,
        match_sky=match,
        apply_radial_weight=radial,
        zconfig=no_colour,
    )
    with mock.patch.object(zas_gpu, "cp", np, create=True):
        try:
            found, _ = zas_gpu.gpu_stack_from_arrays(frames, settings, zconfig=no_colour)
        except zas_gpu.GPUStackingError as refused:
            assert re.search(names, str(refused))  # noqa: PT017
            assert truth is None or not np.any(truth[np.isfinite(truth)])
            return
    assert np.array_equal(np.isnan(found), np.isnan(truth))
    finite = np.isfinite(truth)
    scale = np.abs(truth[finite]).max(initial=0).astype(np.float64)
    samples = np.stack([plain(frame).astype(np.float64) for frame in frames])
    scale = max(scale, np.abs(samples[np.isfinite(samples)]).max(initial=0))
    assert np.abs(found[finite].astype(np.float64) - truth[finite]).max(initial=0) <= 1e-6 * scale + 1.5e-45


@given(arrays(), st.sampled_from([0, 1e-9, 0.1, 0.3, 0.4999999, 0.5, -0.1, np.nan, np.inf]))
def test_crops_are_parts_or_nothing(image, share):
    found, wcs = answer("", utils.crop_image_and_wcs, image, None, share, lambda *_: None)
    assert wcs is None
    if not 0 <= share < 0.5:
        assert found is None
        return
    rows, columns = (int(side * share) for side in image.shape[:2])
    height, width = image.shape[:2]
    assert np.array_equal(plain(found), plain(image)[rows : height - rows, columns : width - columns], equal_nan=True)


sizes = st.sampled_from([0, 1, 2, 7, -1])
shares = st.sampled_from([0.0, 0.5, 1.0, 2.0, -1.0, np.nan, np.inf, 1e-300, 1e300])


@given(sizes, sizes, shares, shares, shares)
def test_radial_weights_are_weights(height, width, feather, power, floor):
    found = answer(
        "height|width|feather_fraction|shape_power|min_weight_floor",
        *(utils.make_radial_weight_map, height, width, feather, power, floor),
    )
    assert (found is None) == (min(height, width, power) < 0 or bool(np.isnan([feather, power, floor]).any()))
    if found is not None:
        assert found.shape == (height, width)
        assert ((found >= 0) & (found <= 1)).all()


@given(arrays(), st.booleans(), st.booleans())
def test_fits_files_hold_what_an_image_says(tmp_path_factory, image, save_as_float, transparent):
    path = tmp_path_factory.mktemp("hostile") / "image.fits"
    alpha = np.zeros(image.shape[:2], np.uint8) if transparent else None
    answer("image", utils.save_fits_image, image, str(path), save_as_float=save_as_float, alpha_mask=alpha)
    assert path.exists() == (image.size > 0)
    if path.exists() and image.shape[2:] in ((), (3,)) and min(image.shape) > 3:
        found, _, info = utils.load_and_validate_fits(str(path), normalize_to_float32=False)
        with np.errstate(over="ignore"):
            truth = plain(image).astype(np.float32)
        if not save_as_float:
            truth = np.rint(np.clip(np.where(np.isfinite(truth), truth, 0), 0, 65535))
        assert np.array_equal(found, truth, equal_nan=True)
        assert ("alpha_mask" in info) == transparent


@given(arrays(st.sampled_from([(2, 3, 3), (1, 1, 3), (0, 2, 3), (5, 5, 3), (4, 4), (3, 3, 4)])))
def test_colours_are_equalised_in_floats_alone(image):
    image = np.ma.getdata(image)
    before = image.copy()
    with warnings.catch_warnings():
        gains = zas.equalize_rgb_medians_inplace(image)
    assert np.isfinite(gains[:3]).all()
    if image.dtype.kind != "f" or not image.flags.writeable:
        assert np.array_equal(image, before, equal_nan=image.dtype.kind == "f")


@pytest.mark.parametrize(
    ("function", "arguments", "name"),
    [
        (utils.stretch_auto_asifits_like, {"p_low": -1}, "p_low"),
        (utils.stretch_auto_asifits_like, {"p_high": np.nan}, "p_high"),
        (utils.stretch_auto_asifits_like, {"asinh_a": 0}, "asinh_a"),
        (utils._percentiles_gpu, {"p_low": 1, "p_high": 101}, "p_high"),
        (utils.save_fits_image, {"output_path": "none.fits", "axis_order": "WHC"}, "axis_order"),
        (utils.save_fits_image, {"output_path": "none.fits", "alpha_mask": np.ones((3, 3))}, "alpha"),
        (utils.save_fits_image, {"output_path": "none.fits", "alpha_mask": np.full((8, 9), -1)}, "alpha"),
        (photometry.noise_level, {"where": np.ones((2, 2), bool)}, "where"),
        (photometry.band_metric, {"coverage": np.ones((2, 2), int)}, "coverage"),
        (warp, {"transform": np.eye(3)[:2], "interpolation": "nearest"}, "interpolation"),
    ],
)
def test_wrong_settings_are_named(function, arguments, name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=name):
        function(np.ones((8, 9), np.float32), **arguments)
    assert not list(tmp_path.iterdir())


# --- memory, threads and order ----------------------------------------------------------------------------------------


def run_child(what, **environment):
    """Run a part of array_child in a process of its own, which may die."""
    pytest.importorskip("numba", reason="Numba is not installed: there are no kernels to test")
    child = Path(__file__).parents[1] / "support" / "array_child.py"
    command = [sys.executable, "-X", "faulthandler", str(child), what]
    run = subprocess.run(command, env={**os.environ, **environment}, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr[-4000:]


def test_kernels_touch_no_memory_beyond_their_arrays():
    run_child("bounds")


@pytest.mark.skipif(os.environ.get("HYPOTHESIS_PROFILE") != "long", reason="compiles for a minute: profile 'long'")
def test_kernels_pass_numbas_bounds_checks(tmp_path):
    run_child("bounds", NUMBA_BOUNDSCHECK="1", NUMBA_CACHE_DIR=str(tmp_path), NUMBA_OPT="1")


def test_one_two_and_seven_threads_give_the_same_bytes():
    run_child("threads", NUMBA_NUM_THREADS="7")


@given(groups(st.sampled_from([(1, 1), (5, 4), (9, 33), (4, 6, 3)]), least=2, most=9), rejections, st.data())
def test_any_order_of_the_frames_gives_the_same_stack(frames, rejection, data):
    """To the byte where samples are summed in the order of their size; "none" and weights sum in the frames'."""
    order = data.draw(st.permutations(range(len(frames))))
    weights = np.linspace(0.5, 1.5, len(frames))
    for combine, own in (("mean", None), ("median", None), ("min", weights), ("mean", weights)):
        found = stack.stack_frames(frames, rejection, combine, own)
        other = stack.stack_frames(
            [frames[k] for k in order], rejection, combine, None if own is None else own[list(order)]
        )
        exact = combine != "mean" or rejection.method == "linear_fit" or (rejection.method != "none" and own is None)
        if exact:
            assert_same(found, other)
        else:
            assert_stacks_agree(found, other, frames)


def test_any_order_of_the_frames_gives_the_same_alignments():
    group = [frame.data for frame in simulate_group(4, (150, 200), seed=5, max_shift=12.0, n_stars=120)[0]]
    first = [samples for _, samples in align_frames(group, 1)]
    order = [3, 0, 2, 1]
    other = [samples for _, samples in align_frames([group[k] for k in order], order.index(1))]
    assert sum(samples is not None for samples in first) > 1
    for k, samples in zip(order, other, strict=True):
        assert (samples is None) == (first[k] is None)
        assert samples is None or np.array_equal(samples, first[k], equal_nan=True)
