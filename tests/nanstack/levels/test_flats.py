# SPDX-License-Identifier: GPL-3.0-or-later
"""What a camera's own flat left is taken off where its samples lie on a canvas."""

from dataclasses import replace

import numpy as np
import pytest
import scipy

from nanstack.canvas import union_canvas
from nanstack.levels.flats import flat_on_canvas
from nanstack.levels.placed import NOTHING_LEFT
from nanstack.levels.sky_samples import sky_samples
from nanstack.register.registered import Flat
from nanstack.session import open_session
from nanstack.settings import CanvasSettings
from nanstack.sky_stack import stack_on_canvas
from nanstack.truth.evaluation import star_errors
from nanstack.truth.simulation import apply, similarity
from tests.support.nights import SHAPE, light, sky_of_stars
from tests.support.registered import registered

FLAT = Flat(0.06, -0.02, 0.05, 0.01)
SIDES = (120, 160)


def seen(shape, *, pattern="", flat=FLAT, turn=20.0, folder=None, rng=None):
    """A frame that shows 1000 ADU of sky, where its flat leaves them."""
    x, y = (axis.ravel() for axis in np.meshgrid(np.arange(shape[1]), np.arange(shape[0])))
    frame = replace(registered("a.fit", 0.01, -0.02, shape=shape, turn=turn, pattern=pattern), flat=flat)
    sky = (1000 / FLAT.at(shape, x, y)).reshape(shape[:2])
    if folder:
        samples = sky + rng.normal(0, 1, sky.shape)
        path = folder / f"{turn}.npy"
        np.save(path, samples.astype(np.float32))
        frame = replace(frame, survey=replace(frame.survey, path=path, digest=path.name))
    return frame


def test_the_polynomial_is_that_of_the_sensor():
    frame = seen((1080, 1920, 3), turn=33.0)
    canvas = union_canvas([frame.view])
    x, y = np.random.default_rng(1).uniform((0, 0), (1919, 1079), (200, 2)).T
    column, row = np.subtract(canvas.view.pixels(frame.view.directions(x, y)), np.reshape(canvas.origin, (2, 1)))
    terms = np.stack([np.ones(200), column, row, column**2, column * row, row**2])
    found = np.sum(terms * flat_on_canvas(frame, canvas)[:, np.newaxis], axis=0)
    np.testing.assert_allclose(found, FLAT.at(frame.shape, x, y), atol=2e-5)
    assert (flat_on_canvas(replace(frame, flat=Flat()), canvas) == NOTHING_LEFT).all()


def test_it_is_one_on_average():
    x, y = (axis.ravel() for axis in np.meshgrid(np.arange(160), np.arange(120)))
    assert np.mean(FLAT.at(SIDES, x, y)) == pytest.approx(1, abs=1e-5)
    assert Flat(uu=0.1).corner((100, 100)) == pytest.approx(0.1)


@pytest.mark.parametrize("pattern", ["", "GRBG"])
def test_an_even_sky_comes_out_even(tmp_path, pattern):
    """Frames turned against each other, whose corners have up to 9 % less light."""
    rng = np.random.default_rng(3)
    shape = (*SIDES, 3) if pattern else SIDES
    frames = [seen(shape, pattern=pattern, turn=turn, folder=tmp_path, rng=rng) for turn in (0.0, 40.0, 95.0)]
    canvas = union_canvas([frame.view for frame in frames])
    settings = CanvasSettings(sky="none")
    image = stack_on_canvas(frames, canvas, settings).image
    shown = image[np.isfinite(image)]
    assert shown.mean() == pytest.approx(1000, abs=0.1)
    assert np.std(shown) < 2, "as before, beside the noise"
    bare = stack_on_canvas([replace(frame, flat=Flat()) for frame in frames], canvas, settings).image
    assert np.std(bare[np.isfinite(bare)]) > 15


def test_the_skys_samples_are_those_of_an_even_camera():
    shape = (960, 1280, 3)
    frame = seen(shape, turn=10.0)
    x, y = np.meshgrid(*(np.arange(side // 64) * 64 + 31.5 for side in shape[1::-1]))
    mesh = 1000 / FLAT.at(shape, x.ravel(), y.ravel()).reshape(x.shape)
    frame = replace(frame, survey=replace(frame.survey, sky=np.repeat(mesh[..., np.newaxis], 3, axis=2)))
    samples = sky_samples([frame], np.ones((1, 3)), union_canvas([frame.view]))
    inner = np.abs(samples.sky[:, 0] - 1000) < 3
    assert inner.mean() > 0.7, "beyond the middles of the outer cells a mesh tells no more"
    assert np.abs(samples.sky[:, 0] - 1000).max() < 15


def test_stars_have_their_fluxes_all_over_a_mosaic(tmp_path):
    """Three panels through thin clouds, the last one exposed three times as long; corners get 12 % less light."""
    sky, rng = sky_of_stars(4, 120), np.random.default_rng(6)
    moves, files = [], []
    for panel in range(3):
        for k in range(4):
            shift = np.array([240 * (panel - 1), 0]) + rng.uniform(-25, 25, 2)
            moves.append(similarity(SHAPE, *shift, rng.uniform(-15, 15)))
            files.append(tmp_path / f"{4 * panel + k:02d}.fit")
            clear, seconds = 1 - 0.15 * rng.random(), 30.0 if panel == 2 else 10.0
            light(files[-1], sky, moves[-1], clear=clear, seconds=seconds, vignetting=0.12, seed=len(files))
    session = open_session(files)
    assert len(session.frames) == 12
    middle = next(frame for frame in session.frames if frame.path == files[4])
    canvas = union_canvas([frame.view for frame in session.frames])
    x, y = canvas.view.pixels(middle.view.directions(*apply(moves[4], sky.x, sky.y)))
    apart = scipy.spatial.cKDTree(np.stack([x, y], axis=1)).query(np.stack([x, y], axis=1), k=2)[0][:, 1]
    chosen = (sky.flux[:, 1] > 15_000) & (apart > 22)

    def scatter(frames):
        image = stack_on_canvas(frames, canvas).image
        found = star_errors(image, x[chosen], y[chosen], sky.flux[chosen], fwhm=3.0)
        assert found.count > 30
        return found.flux_scatter

    assert scatter(session.frames) < 0.01
    assert scatter([replace(frame, flat=Flat()) for frame in session.frames]) > 0.015, "it was worth the while"
