# SPDX-License-Identifier: GPL-3.0-or-later
"""Drizzle: the kernel held to the definition, and both to STScI's package."""

import numpy as np
import pytest

from nanstack.register.mesh import Box, mesh_of
from nanstack.stack import drizzle, drizzle_kernels, light_kernels
from nanstack.stack.drizzle import (
    KERNELS,
    VALUE,
    VARIANCE,
    WEIGHT,
    Drizzle,
    Judged,
    Photosites,
    Worth,
    colours_of,
    no_sums,
)  # fmt: skip

SHAPE = (41, 53)
DROPS = [drizzle.drop, drizzle_kernels.drop]
EVEN = np.array([1.0, 0, 0, 0, 0, 0])


def lies(scale, turn, x0=0.3, y0=-0.2, bend=4e-8):
    """Return a mapping from a frame's pixels to the canvas's: scaled, turned, moved, and bent as by a lens."""

    def there(x, y):
        x, y = np.asarray(x) - 26, np.asarray(y) - 20
        bent = scale * (1 + bend * (x**2 + y**2))
        cosine, sine = np.cos(turn), np.sin(turn)
        return bent * (cosine * x - sine * y) + 34 * scale + x0, bent * (sine * x + cosine * y) + 34 * scale + y0

    return there


def photosites(samples, there, scale, pattern="", step=1):
    whole = Box.whole(samples.shape)
    return Photosites(samples, whole, colours_of(pattern), mesh_around(there, whole, step), scale)


def mesh_around(there, box, step):
    wide = Box(box.top - 1, box.bottom + 1, box.left - 1, box.right + 1)
    return mesh_of(there, wide, step, wide)


def canvas_of(scale):
    return Box(0, int(68 * scale), 0, int(68 * scale))


def judged(box, how, channels, good=True, level=0.0):
    side = how.coarser
    grid = Box(box.top // side - 4, box.bottom // side + 4, box.left // side - 4, box.right // side + 4)
    shape = (*grid.shape, channels)
    return Judged(np.broadcast_to(good, shape), np.full(shape, level, np.float32), grid, side)


def as_it_is(channels, weight=1.0):
    """Return what leaves samples as they are, each with the variance 1."""
    one = np.ones(channels)
    return Worth(np.concatenate([one[np.newaxis], np.zeros((6, channels))]), EVEN, one, 0 * one, 0 * one, weight)


def dropped(drop, frames, how, box, channels, seen=None):
    sums = no_sums(channels, box.shape)
    for sites, worth in frames:
        drop(sites, worth, seen or judged(box, how, channels), how, sums, box)
    return np.moveaxis(sums, (0, 1), (2, 3))


def stars(shape, seed):
    rng = np.random.default_rng(seed)
    image = rng.normal(1000, 30, shape)
    y, x = np.mgrid[: shape[0], : shape[1]]
    for _ in range(6):
        at = rng.uniform(4, np.array(shape) - 4)
        image += 20_000 * np.exp(-((y - at[0]) ** 2 + (x - at[1]) ** 2) / (2 * 1.3**2))
    return image.astype(np.float32)


# --- STScI's package --------------------------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore:Kernel 'gaussian'")
@pytest.mark.parametrize("drop", DROPS)
@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize(("scale", "pixfrac"), [(1.0, 1.0), (1.0, 0.5), (1.5, 0.8), (2.0, 1.0), (2.0, 0.5)])
def test_it_is_stscis_drizzle(drop, kernel, scale, pixfrac):
    resample = pytest.importorskip("drizzle.resample")
    pattern, box, how = "GRBG", canvas_of(scale), Drizzle(scale, pixfrac, kernel)
    turns, weights = (0.0, 0.4, 2.0), (1.0, 0.6, 1.7)
    samples = [stars(SHAPE, seed) for seed in range(3)]
    theirs = [resample.Drizzle(kernel=kernel, out_shape=box.shape, disable_ctx=True) for _ in range(3)]
    frames, rows, columns = [], *np.mgrid[: SHAPE[0], : SHAPE[1]]
    own = np.array(colours_of(pattern))[2 * (rows % 2) + columns % 2]
    for image, turn, weight in zip(samples, turns, weights, strict=True):
        there = lies(scale, turn)
        frames.append((photosites(image, there, scale, pattern), as_it_is(3, weight)))
        for colour, one in enumerate(theirs):
            one.add_image(
                image, exptime=1.0, pixmap=np.stack(there(columns, rows), axis=-1), pixel_scale_ratio=1 / scale,
                weight_map=(weight * (own == colour)).astype(np.float32), pixfrac=pixfrac,
            )  # fmt: skip
    sums = dropped(drop, frames, how, box, 3)
    for colour, one in enumerate(theirs):
        value, weight = sums[..., colour, VALUE], sums[..., colour, WEIGHT]
        told = weight > 0.01  # of a drop: of less, their float32 tells little
        assert told.mean() > 0.03
        assert np.abs(weight - one.out_wht).max() < 1e-4
        image = one.out_img[told]
        assert np.abs(value[told] / weight[told] - image).max() < 1e-5 * image.max()


# --- one definition, and a kernel -------------------------------------------------------------------------------------


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("scale", [1.0, 1.5, 2.0, 4.0])
@pytest.mark.parametrize("kind", ["mosaic", "mono", "colour"])
def test_the_kernel_is_the_definition(kernel, scale, kind):
    rng = np.random.default_rng(5)
    channels, how = 1 if kind == "mono" else 3, Drizzle(scale, 0.7, kernel)
    samples = rng.normal(1000, 30, (*SHAPE, 3) if kind == "colour" else SHAPE).astype(np.float32)
    samples[7, 9] = np.nan
    samples[20, 30] = np.inf
    pattern = "BGGR" if kind == "mosaic" else ""
    box = Box(9, int(50 * scale), 5, int(60 * scale))
    seen = judged(box, how, channels)
    seen = seen._replace(good=rng.random(seen.good.shape) > 0.1, mean=rng.normal(1000, 200, seen.mean.shape))
    levelling = rng.normal(0, [[1], [50], [0.1], [0.1], [1e-3], [1e-3], [1e-3]], (7, channels))
    terms = np.full((3, channels), [[900.0], [1.1], [950.0]]) * rng.uniform(0.8, 1.2, (3, channels))
    worth = Worth(levelling, np.array([1, 1e-3, -2e-3, 1e-6, 2e-6, -1e-6]), *terms, 0.7)
    frame = photosites(samples, lies(scale, 0.6), scale, pattern, step=8), worth
    seen = seen._replace(mean=seen.mean.astype(np.float32))
    definition, kernel_s = (dropped(drop, [frame], how, box, channels, seen) for drop in DROPS)
    assert (definition[..., WEIGHT] > 0).mean() > 0.01
    assert np.array_equal(definition > 0, kernel_s > 0)
    for sums in (VALUE, WEIGHT, VARIANCE):
        found, truth = kernel_s[..., sums], definition[..., sums]
        np.testing.assert_allclose(found, truth, rtol=0, atol=1e-6 * np.abs(truth).max())


@pytest.mark.parametrize("coarser", [1, 2, 4])
@pytest.mark.parametrize("channels", [1, 3])
def test_light_is_the_definitions(coarser, channels):
    rng = np.random.default_rng(3)
    mean = rng.normal(1000, 100, (19, 23, channels)).astype(np.float32)
    mean[4:6, 7:9] = np.nan
    mean[-1, -1, 0] = np.nan
    grid = Box(-6, 13, 4, 27)
    seen = Judged(np.ones(mean.shape, bool), mean, grid, coarser)
    box = Box(*(side * coarser for side in grid))
    sums, counts = sums_in(rng, channels, box), rng.integers(0, 3, grid.shape)
    found, truth = (module.lit(seen, sums, box) for module in (light_kernels, drizzle))
    np.testing.assert_allclose(found.light, truth.light, rtol=2e-7)
    np.testing.assert_array_equal(found.rough, truth.rough)
    assert 0.1 < truth.rough.mean() < 0.9
    found, truth = (module.shown(sums, truth.light, counts, coarser) for module in (light_kernels, drizzle))
    for name in truth._fields:
        np.testing.assert_array_equal(getattr(found, name), getattr(truth, name), err_msg=name)
    assert truth.holes == np.sum((truth.coverage == 0) & (np.kron(counts, np.ones((coarser, coarser))) > 0)) > 0
    if coarser == 1:  # where nothing dropped, the mean itself
        nothing = light_kernels.lit(seen, no_sums(channels, box.shape), box)
        np.testing.assert_array_equal(nothing.light, mean)
        assert not nothing.rough.any()


def sums_in(rng, channels, box):
    """Return sums as of drops, of which some pixels have none."""
    sums = no_sums(channels, box.shape)
    sums[:, WEIGHT] = rng.uniform(0.1, 3, (channels, *box.shape)) * (rng.random((channels, *box.shape)) > 0.1)
    sums[:, VARIANCE] = 25 * sums[:, WEIGHT] ** 2
    sums[:, VALUE] = sums[:, WEIGHT] * rng.normal(0, 15, (channels, *box.shape))
    return sums


# --- what it must do, whatever the arithmetic -------------------------------------------------------------------------


@pytest.mark.parametrize("drop", DROPS)
@pytest.mark.parametrize("kernel", ["square", "point"])
def test_a_drop_falls_whole_into_its_own_colour(drop, kernel):
    how, box = Drizzle(2.0, 0.9, kernel), canvas_of(2.0)
    frame = photosites(np.ones(SHAPE, np.float32), lies(2.0, 1.0), 2.0, "RGGB"), as_it_is(3)
    weights = dropped(drop, [frame], how, box, 3)[..., WEIGHT].sum(axis=(0, 1))
    np.testing.assert_allclose(weights, [21 * 27, 21 * 26 + 20 * 27, 20 * 26], rtol=1e-9)


@pytest.mark.parametrize("drop", DROPS)
def test_what_has_no_data_or_was_rejected_drops_nothing(drop):
    how, box = Drizzle(1.0), canvas_of(1.0)
    samples = np.ones(SHAPE, np.float32)
    samples[10, 12] = np.nan
    seen = judged(box, how, 3)
    good = np.ones(seen.good.shape, bool)
    good[..., 2] = False
    frame = photosites(samples, lies(1.0, 0.0), 1.0, "RGGB"), as_it_is(3)
    weights = dropped(drop, [frame], how, box, 3, seen._replace(good=good))[..., WEIGHT].sum(axis=(0, 1))
    np.testing.assert_allclose(weights, [21 * 27 - 1, 21 * 26 + 20 * 27, 0], rtol=1e-9)


@pytest.mark.parametrize("drop", DROPS)
def test_parts_of_a_canvas_and_of_a_frame_have_the_same_bits(drop):
    how, box = Drizzle(1.5, 0.8), canvas_of(1.5)
    samples, there = stars(SHAPE, 3), lies(1.5, 0.4)
    frame = photosites(samples, there, 1.5, "RGGB", step=8), as_it_is(3)
    seen, whole = judged(box, how, 3), dropped(drop, [frame], how, box, 3)
    part, window = Box(44, 60, 43, 61), Box(10, 37, 11, 50)
    inside = Photosites(samples[10:37, 11:50], window, colours_of("RGGB"), mesh_around(there, window, 8), 1.5)
    sums = dropped(drop, [(inside, as_it_is(3))], how, part, 3, seen)
    assert np.array_equal(sums, whole[part.within(box)])


@pytest.mark.parametrize("choice", [Drizzle(2.0), Drizzle(1.0, 0.5), Drizzle(2.0, 0.6), Drizzle(1.5, kernel="point")])
def test_so_many_dithered_frames_as_are_said_to_do_leave_few_holes(choice):
    rng, box, enough = np.random.default_rng(2), canvas_of(choice.scale), choice.enough_frames(raw=True)

    def holes(count):
        frames = []
        for _ in range(count):
            there = lies(choice.scale, rng.uniform(0, 7), *rng.uniform(-9, 9, 2))
            sites = photosites(np.ones((60, 60), np.float32), there, choice.scale, "RGGB", step=8)
            frames.append((sites, as_it_is(3)))
        sums = dropped(drizzle_kernels.drop, frames, choice, box, 3)
        middle = slice(int(26 * choice.scale), int(42 * choice.scale))
        return np.mean(sums[middle, middle, 0, WEIGHT] == 0)

    assert holes(enough) < 0.006
    assert holes(enough // 3) > 0.006


@pytest.mark.parametrize(
    ("choice", "told"), [({"scale": 0.5}, "scale"), ({"scale": np.nan}, "scale"), ({"pixfrac": 0}, "pixfrac"),
                         ({"pixfrac": 1.1}, "pixfrac"), ({"kernel": "turbo"}, "kernel")],
)  # fmt: skip
def test_a_drizzle_that_cannot_be_is_refused(choice, told):
    with pytest.raises(ValueError, match=told):
        Drizzle(**choice)
