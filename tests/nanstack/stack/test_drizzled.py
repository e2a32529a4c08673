# SPDX-License-Identifier: GPL-3.0-or-later
"""Canvases that photosites are dropped onto: how the work is divided changes no byte, and what they show is true."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from nanstack.canvas import Canvas, coarser, reference_canvas, union_canvas
from nanstack.levels.placed import Level, PlacedFrame, SampleNoise
from nanstack.levels.sample_noise import SHARE_OF_MOSAIC
from nanstack.register.camera import Camera, Passage, View
from nanstack.register.mesh import Box, mesh_of, mesh_step
from nanstack.register.warp import noise_left
from nanstack.settings import CanvasSettings
from nanstack.sky_stack import stack_files, stacked_on
from nanstack.stack import cells as cells_module
from nanstack.stack import drizzle, drizzled
from nanstack.stack.cells import counted_from_origin
from nanstack.stack.definition import Rejection
from nanstack.stack.drizzle import Drizzle, Judged, mean_at
from nanstack.stack.noise_model import NoiseRejection
from tests.support.registered import registered
from tests.support.skycells import frames_in, placed
from tests.support.starfields import looking

PLANES = ("image", "coverage", "weight", "variance")
SHAPE = (64, 80)
NOISE = 5.0


@pytest.fixture(scope="module")
def night(tmp_path_factory):
    return placed(frames_in(tmp_path_factory.mktemp("night"), 6))


def star_on(canvas, at=(3.2, -5.7)):
    sky = View(Camera((1, 1), 4000.0, axis=(0.0, 0.0)), looking(83.8, 22.0, 0.0))
    return np.array([v[0] for v in canvas.view.pixels(sky.directions(*np.reshape(at, (2, 1))))])[::-1]


def canvas_for(frames, scale):
    return union_canvas([one.frame.view for one in frames], finer=scale)


def stacked(frames, canvas, memory=None, **choice):
    settings = CanvasSettings(drizzle=Drizzle(**choice))
    return stacked_on(canvas, frames, None, settings, memory=memory)


def assert_same(found, truth):
    for name in PLANES:
        np.testing.assert_array_equal(getattr(found, name), getattr(truth, name), err_msg=name)


def raw_night(folder, count, scene, seed=0, frames_noise=NOISE):
    """Frames of a Bayer mosaic, dithered and turned, of what gives light at x and y on the sky, for all or for each."""
    rng = np.random.default_rng(seed)
    sky = View(Camera((1, 1), 4000.0, axis=(0.0, 0.0)), looking(83.8, 22.0, 0.0))
    rows, columns = np.mgrid[: SHAPE[0], : SHAPE[1]]
    colour = np.array([1, 0, 2, 1])[2 * (rows % 2) + columns % 2]
    made = []
    for index in range(count):
        ra, dec = np.array([83.8, 22.0]) + rng.uniform(-1, 1, 2) * 5 / 4000 * 57.3
        frame = registered(f"raw_{index}", shape=(*SHAPE, 3), pattern="GRBG")
        view = View(Camera(SHAPE, 4000.0), looking(ra, dec, rng.uniform(-20, 20)))
        x, y = Passage.between(view, [sky])[0](columns, rows)
        seen = scene(x, y) if callable(scene) else scene[index](x, y)
        light = np.take_along_axis(seen, colour[..., np.newaxis], axis=-1)[..., 0]
        np.save(folder / f"raw_{index}.npy", (light + rng.normal(0, frames_noise, SHAPE)).astype(np.float32))
        survey = replace(frame.survey, path=folder / f"raw_{index}.npy")
        noise = SampleNoise(NOISE**2 * noise_left("GRBG", 3), np.zeros(3), np.full(3, 1000.0))
        made.append(PlacedFrame(replace(frame, survey=survey, view=view), np.ones(3), Level.zero(3), 1.0, noise, 0.3))
    return made


def even(x, y):
    return np.full((*x.shape, 3), 1000.0)


# --- bytes ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scale", [1.0, 1.5, 2.0])
@pytest.mark.parametrize(("side", "threads", "memory"), [(32, 3, None), (256, 2, 200_000)])
def test_cells_of_any_size_threads_and_memory_give_the_same_bytes(night, monkeypatch, scale, side, threads, memory):
    canvas = canvas_for(night, scale)
    monkeypatch.setattr(cells_module, "SIDE", 64)
    truth = stacked(night, canvas, scale=scale, pixfrac=0.8)
    assert truth.coverage.max() > 2
    monkeypatch.setattr(cells_module, "SIDE", side)
    monkeypatch.setattr(cells_module, "threads", lambda: threads)
    assert_same(stacked(night, canvas, memory, scale=scale, pixfrac=0.8), truth)


def test_a_canvas_that_grows_keeps_its_pixels(night):
    canvas = canvas_for(night, 2.0)
    camera = canvas.view.camera
    (x, y), (height, width) = camera.axis, camera.shape
    more = replace(camera, shape=(height + 37, width + 54), axis=(x + 41.0, y + 7.0))
    found = stacked(night, Canvas(replace(canvas.view, camera=more)), scale=2.0)
    truth = stacked(night, canvas, scale=2.0)
    for name in PLANES:
        np.testing.assert_array_equal(getattr(found, name)[7 : 7 + height, 41 : 41 + width], getattr(truth, name))


def test_without_numba_it_is_the_same_picture(night, monkeypatch):
    canvas = canvas_for(night, 1.5)
    truth = stacked(night, canvas, scale=1.5)
    for name in ("_kernels", "_light_kernels", "_noise_kernels"):
        monkeypatch.setattr(drizzled, name, lambda: None)
    found = stacked(night, canvas, scale=1.5)
    np.testing.assert_allclose(found.image, truth.image, rtol=1e-6)
    np.testing.assert_array_equal(found.coverage, truth.coverage)


# --- what it shows ----------------------------------------------------------------------------------------------------


def test_outliers_of_frames_drop_nothing(tmp_path):
    frames = placed(frames_in(tmp_path, 6, spread=5))
    frames = [replace(one, gain=np.ones(1), level=Level.zero(1), noise=SampleNoise(*np.array([[60.0], [0.0], [0.0]])))
              for one in frames]  # fmt: skip
    canvas = canvas_for(frames, 1.0)
    full = stacked(frames, canvas, scale=1.0)
    all_of_them = CanvasSettings(NoiseRejection(np.inf), drizzle=Drizzle())
    assert np.nanmax(stacked_on(canvas, frames, None, all_of_them).image) > 1500
    assert np.nanmax(full.image[full.coverage >= 4]) < 1100


def test_drops_are_added_to_the_mean_of_frames_as_they_are_interpolated(night):
    canvas = canvas_for(night, 2.0)
    usual, other = (
        stacked_on(canvas, night, None, CanvasSettings(interpolation=way, drizzle=Drizzle(2.0))).image
        for way in ("bicubic", "lanczos3")
    )
    there = np.isfinite(usual) & np.isfinite(other)
    apart = np.abs(usual - other)[there]
    assert 0 < np.median(apart) < 5  # of noise, which both show alike


@pytest.mark.parametrize(("scale", "pixfrac"), [(1.0, 1.0), (2.0, 1.0)])
def test_noise_is_what_is_said_of_it(tmp_path, scale, pixfrac):
    frames = raw_night(tmp_path, 30, even)
    stack = stacked(frames, canvas_for(frames, scale), scale=scale, pixfrac=pixfrac)
    middle = [int(side / 2 + part) for side in stack.coverage.shape for part in (-20 * scale, 20 * scale)]
    there = np.s_[middle[0] : middle[1], middle[2] : middle[3]]
    image, variance = stack.image[there] - 1000, stack.variance[there]
    assert np.isfinite(image).all()
    np.testing.assert_allclose((image**2).mean(axis=(0, 1)), variance.mean(axis=(0, 1)), rtol=0.2)
    blocks = image.reshape(4, image.shape[0] // 4, 4, image.shape[1] // 4, 3).mean(axis=(1, 3))
    said = variance.mean(axis=(0, 1)) * stack.correlation / (image.shape[0] // 4) ** 2
    assert 0.5 < (blocks**2).mean() / said.mean() < 1.6


def test_a_stars_light_its_place_and_its_colour_are_true(tmp_path):
    """Of white stars: their flux in a circle, the centre of their light, in each colour."""
    stars = np.random.default_rng(4).uniform(-12, 12, (1, 2))
    at = stars[0]

    def scene(x, y):
        light = 1000 + 8000 * np.exp(-((x - at[0]) ** 2 + (y - at[1]) ** 2) / (2 * 1.5**2))
        return np.repeat(light[..., np.newaxis], 3, axis=-1)

    frames = raw_night(tmp_path, 40, scene, frames_noise=0.0)
    canvas = canvas_for(frames, 2.0)
    stack = stacked(frames, canvas, scale=2.0, pixfrac=0.7)
    sky = View(Camera((1, 1), 4000.0, axis=(0.0, 0.0)), looking(83.8, 22.0, 0.0))
    x, y = canvas.view.pixels(sky.directions(*at[:, np.newaxis]))
    rows, columns = np.mgrid[: canvas.shape[0], : canvas.shape[1]]
    near = np.hypot(columns - x, rows - y) < 16
    light = stack.image[near] - 1000
    flux = light.sum(axis=0) / 4  # gains of one: pixels of a quarter's area show the same surface brightness
    np.testing.assert_allclose(flux, 2 * np.pi * 1.5**2 * 8000, rtol=3e-3)
    for places, truth in ((columns[near], x), (rows[near], y)):
        np.testing.assert_allclose((light * places[:, np.newaxis]).sum(axis=0) / light.sum(axis=0), truth[0], atol=0.05)


@pytest.mark.parametrize(("scale", "pixfrac"), [(1.0, 1.0), (2.0, 0.7)])
def test_all_of_it_is_stscis_drizzle_of_what_differs_from_the_mean(tmp_path, scale, pixfrac):
    """All its light is; what is new is that a star has one colour."""
    resample = pytest.importorskip("drizzle.resample")

    def scene(x, y):
        light = 8000 * np.exp(-((x - 3.2) ** 2 + (y + 5.7) ** 2) / (2 * 1.4**2))
        return 1000 + light[..., np.newaxis] * np.array([1.0, 0.8, 0.7])

    frames = raw_night(tmp_path, 12, scene)
    canvas, how = canvas_for(frames, scale), Drizzle(scale, pixfrac)
    keep_all = NoiseRejection(np.inf)
    stack = stacked_on(canvas, frames, None, CanvasSettings(keep_all, drizzle=how))
    grid, whole = coarser(canvas, how.coarser), counted_from_origin(Box.whole(canvas.shape), canvas)
    mean = stacked_on(grid, frames, None, CanvasSettings(keep_all)).image
    x0, y0 = (-side for side in grid.origin)
    judged = Judged(None, mean, Box(y0, y0 + len(mean), x0, x0 + mean.shape[1]), how.coarser)
    rows, columns = np.mgrid[: SHAPE[0], : SHAPE[1]]
    own = np.array([1, 0, 2, 1])[2 * (rows % 2) + columns % 2]
    inside = (rows > 3) & (rows < SHAPE[0] - 4) & (columns > 3) & (columns < SHAPE[1] - 4)

    def dropped(judged):
        """By colour: what photosites have more than the mean, and their weights."""
        theirs = [resample.Drizzle(kernel="square", out_shape=canvas.shape, disable_ctx=True) for _ in range(3)]
        for one in frames:
            way, around = Passage.between(one.frame.view, [canvas.view])[0], Box(-1, SHAPE[0] + 1, -1, SHAPE[1] + 1)
            mesh = mesh_of(way, around, mesh_step(way, around), around)
            there = mesh.positions(Box.whole(SHAPE))  # which may lie 0.001 px off
            x, y = (v - first for v, first in zip(there, canvas.origin, strict=True))
            for colour, target in enumerate(theirs):
                more = np.load(one.frame.path) - np.where(inside, mean_at(judged, colour, x, y), 0)
                target.add_image(
                    more.astype(np.float32), exptime=1.0, pixmap=np.stack(there, axis=-1), pixel_scale_ratio=1 / scale,
                    weight_map=(inside & (own == colour)).astype(np.float32), pixfrac=pixfrac,
                )  # fmt: skip
        return [np.stack([getattr(of, name) for of in theirs], axis=-1) for name in ("out_img", "out_wht")]

    first, weight = dropped(judged)
    theirs = drizzle.means(judged, whole) + first
    x, y = (side // 2 for side in canvas.shape[::-1])
    middle = np.s_[y - 15 : y + 16, x - 15 : x + 16]
    ours, theirs, told = stack.image[middle], theirs[middle], (weight[middle] > 0.01).all(axis=-1)
    close = 1e-5 * theirs[told].max()
    assert told.mean() > 0.9
    assert np.abs((ours - theirs) @ SHARE_OF_MOSAIC)[told].max() < close
    near = np.hypot(*np.mgrid[-15:16, -15:16] - np.reshape(star_on(canvas) - (y, x), (2, 1, 1))) < 9 * scale
    assert np.abs(ours - theirs)[told & ~near].max() < close
    bright = told & (theirs > 1500).all(axis=-1)
    assert np.count_nonzero(bright) > 10
    true = np.array([1.0, 0.8, 0.7]) / ([1.0, 0.8, 0.7] @ SHARE_OF_MOSAIC)
    off = [
        np.abs(light / (light @ SHARE_OF_MOSAIC)[:, np.newaxis] - true).mean()
        for light in (ours[bright] - 1000, theirs[bright] - 1000)
    ]
    assert off[0] < 0.5 * off[1]


@pytest.mark.parametrize("scale", [1.0, 2.0])
def test_stars_are_sharper_than_interpolated_ones_and_have_half_the_colour_at_their_rims(tmp_path, scale):
    """Of frames whose seeing and whose places differ, which an interpolated stack has in all colours alike."""
    rng = np.random.default_rng(3)
    stars = np.array([(x, y) for x in (-14, 0, 14) for y in (-14, 0, 14)]) + rng.uniform(-0.5, 0.5, (9, 2))
    widths, moved = 8.5 * np.exp(rng.normal(0, 0.2, 12)), rng.normal(0, 0.05, (12, 2))

    def scene_of(wide, by):
        def scene(x, y):
            light = np.full(x.shape, 1000.0)
            for at in stars + by:  # of 3.3 px, usually
                light += 8000 * 8.5 / wide / (1 + ((x - at[0]) ** 2 + (y - at[1]) ** 2) / wide) ** 2.5
            return np.repeat(light[..., np.newaxis], 3, axis=-1)

        return scene

    frames = raw_night(tmp_path, 12, [scene_of(*one) for one in zip(widths, moved, strict=True)], frames_noise=0.0)
    areas, fringes = [], []
    for how in (None, Drizzle(scale)):
        times = 1 if how is None else int(scale)
        canvas = canvas_for(frames, times)
        image = stacked_on(canvas, frames, None, CanvasSettings(drizzle=how)).image - 1000
        for at in stars:
            y, x = np.round(star_on(canvas, at)).astype(int)
            light = image[y - 5 * times : y + 5 * times + 1, x - 5 * times : x + 5 * times + 1]
            red, green, blue = np.moveaxis(light / light.sum(axis=(0, 1)), -1, 0)
            areas.append(1 / np.sum(green**2) / times**2)  # that the light fills
            fringes.append(np.abs(red - blue).sum())
    assert np.mean(areas[9:]) < 0.95 * np.mean(areas[:9])
    assert np.mean(fringes[9:]) < 0.5 * np.mean(fringes[:9])


@pytest.mark.parametrize(("scale", "pixfrac", "kernel"), [(2.0, 0.6, "square"), (1.0, 1.0, "point")])
def test_around_stars_noise_is_no_colour(tmp_path, scale, pixfrac, kernel):
    def scene(x, y):
        light = sum(np.exp(-((x - a) ** 2 + (y - b) ** 2) / 2) for a in range(-18, 19, 6) for b in range(-18, 19, 6))
        return np.repeat((1000 + 2000 * light)[..., np.newaxis], 3, axis=-1)

    frames = raw_night(tmp_path, 12, scene, frames_noise=40.0)
    frames = [replace(one, noise=replace(one.noise, variance=one.noise.variance * 64)) for one in frames]
    stack = stacked(frames, canvas_for(frames, scale), scale=scale, pixfrac=pixfrac, kernel=kernel)
    told = np.isfinite(stack.image).all(axis=-1)
    off = (stack.image - 1000)[told] / np.sqrt(stack.variance[told])
    assert np.count_nonzero(told) > 1000
    assert off.min() > -8
    assert stack.image[told].max() < 3500


def test_stars_side_by_side_are_coloured_in_any_order():
    """As what lies around a star hangs on the cell: turned by half a circle, the last one comes first."""
    rng = np.random.default_rng(2)
    light = 1000 + rng.normal(0, 5, (60, 80, 3))
    sums = np.zeros((3, 3, 60, 80), np.float32)
    sums[:, drizzle.WEIGHT], sums[:, drizzle.VARIANCE] = 1, 25
    for row, column in ((20, 20), (20, 31), (31, 20), (33, 33)):
        sums[:, drizzle.VALUE, row, column] = 500
        light[row - 4 : row + 5, column - 4 : column + 5] += 500 * rng.uniform(0.5, 1.5, (9, 9, 3))
    rough = (sums[:, drizzle.VALUE] > 0).any(axis=0)
    frames = [SimpleNamespace(noise=SampleNoise(*np.zeros((2, 3)), np.full(3, 1000.0)))]
    dark = drizzled._DarkSky(np.ones((1, 30, 40, 3), np.float32), frames, 2)
    found, turned = light.copy(), light[::-1, ::-1].copy()
    drizzled._colour_stars(found, rough, sums, dark)
    drizzled._colour_stars(turned, rough[::-1, ::-1], sums[..., ::-1, ::-1], dark)
    assert np.count_nonzero(found != light) > 900
    np.testing.assert_allclose(found, turned[::-1, ::-1], rtol=1e-9)


def test_stars_of_two_colours_keep_them(tmp_path):
    def scene(x, y):
        return 1000 + sum(
            5000 * np.exp(-((x - at) ** 2 + y**2) / (2 * 1.4**2))[..., np.newaxis] * np.array(colour)
            for at, colour in ((-4, (1.0, 0.6, 0.3)), (4, (0.5, 0.8, 1.0)))
        )

    frames = raw_night(tmp_path, 15, scene, frames_noise=0.0)
    canvas = canvas_for(frames, 1.0)
    stack = stacked(frames, canvas, scale=1.0)
    sky = View(Camera((1, 1), 4000.0, axis=(0.0, 0.0)), looking(83.8, 22.0, 0.0))
    rows, columns = np.mgrid[: canvas.shape[0], : canvas.shape[1]]
    for at, colour in ((-4, (1.0, 0.6, 0.3)), (4, (0.5, 0.8, 1.0))):
        x, y = canvas.view.pixels(sky.directions(*np.array([[float(at)], [0.0]])))
        core = np.hypot(columns - x, rows - y) < 2.5
        found = (stack.image[core] - 1000).sum(axis=0)
        np.testing.assert_allclose(found / found.sum(), np.array(colour) / np.sum(colour), atol=0.01)


# --- what cannot be ---------------------------------------------------------------------------------------------------


def test_a_grid_of_squares_begins_at_the_origin():
    canvas = Canvas(View(Camera((30, 40), 1000.0, axis=(7.0, 12.0)), looking(10.0, 20.0, 0.0)))
    grid = coarser(canvas, 4)
    assert grid.shape == (3 + 5, 2 + 9)
    corner = np.array([4 * grid.origin[0] - 7, 4 * grid.origin[1] - 12])  # of the grid, beyond that of the canvas
    x, y = grid.view.pixels(canvas.view.directions(np.array([1.5 - corner[0]]), np.array([1.5 - corner[1]])))
    np.testing.assert_allclose([x[0], y[0]], [0, 0], atol=1e-9)


def test_what_cannot_be_drizzled_is_refused(night):
    with pytest.raises(ValueError, match="one that shows all frames"):
        stacked(night, reference_canvas(night[0].frame.view))
    with pytest.raises(ValueError, match="mean"):
        CanvasSettings(combine="median", drizzle=Drizzle())
    with pytest.raises(ValueError, match="by noise or not at all"):
        CanvasSettings(Rejection(), drizzle=Drizzle())
    with pytest.raises(ValueError, match="give no other"):
        stack_files(["a.fit"], CanvasSettings(drizzle=Drizzle()), scale=2.0)
