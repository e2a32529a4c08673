# SPDX-License-Identifier: GPL-3.0-or-later
"""Registered frames on the pixels of a canvas, against a sky that is known everywhere."""

from dataclasses import replace

import numpy as np
import pytest

from nanstack.canvas import reference_canvas, union_canvas
from nanstack.levels.flux import on_one_flux_scale
from nanstack.register.camera import View
from nanstack.register.onto import onto_canvas
from tests.support.registered import HERE, registered
from tests.support.starfields import camera, looking
from tests.support.told import Told

SHAPE = (90, 120)
ARCSEC_PX = 60.0
WAVE = 2 * np.pi / np.radians(25 * ARCSEC_PX / 3600)  # 25 pixels


def brightness(directions):
    """The sky: waves of 25 pixels, at any direction."""
    return 1000 + 100 * np.sin(WAVE * directions[..., 0]) * np.cos(WAVE * directions[..., 2])


def seen_by(view):
    x, y = np.meshgrid(np.arange(view.camera.shape[1]), np.arange(view.camera.shape[0]))
    return brightness(view.directions(x, y))


def looks(east=0.0, north=0.0, turn=0.0, corner_px=2.0, scale=1.0):
    view = looking(HERE[0] + east / np.cos(np.radians(HERE[1])), HERE[1] + north, turn)
    return View(camera(ARCSEC_PX, corner_px, SHAPE), view, scale)


VIEWS = [looks(), looks(0.3, -0.2, 12), looks(-0.25, 0.3, 190)]


@pytest.fixture
def shot(tmp_path):
    def shoot(name, view, samples=None):
        samples = seen_by(view) if samples is None else samples
        np.save(tmp_path / name, samples.astype(np.float32))
        frame = registered(str(tmp_path / name), shape=SHAPE)
        return replace(frame, view=view)

    return shoot


def brought(frames, canvas, reference=0, **options):
    return list(onto_canvas(frames, canvas, reference, **options))


def test_a_canvas_shows_each_frame_where_the_sky_is(shot):
    frames = [shot(f"{index}.npy", view) for index, view in enumerate(VIEWS)]
    for canvas in (reference_canvas(VIEWS[0]), union_canvas(VIEWS), union_canvas(VIEWS, VIEWS[0])):
        truth = seen_by(canvas.view)
        for (alignment, image), view in zip(brought(frames, canvas), VIEWS, strict=True):
            assert image.shape == canvas.shape
            x, y = np.meshgrid(np.arange(canvas.shape[1]), np.arange(canvas.shape[0]))
            u, v = view.pixels(canvas.view.directions(x, y))
            inside = (
                (u >= 1.01) & (u <= SHAPE[1] - 2.01) & (v >= 1.01) & (v <= SHAPE[0] - 2.01)
            )  # all samples are there
            outside = (u < -0.01) | (u > SHAPE[1] - 0.99) | (v < -0.01) | (v > SHAPE[0] - 0.99)
            assert inside.sum() > 2000
            assert np.isfinite(image[inside]).all()
            assert np.isnan(image[outside]).all()
            share = (view.focal / canvas.view.focal) ** 2
            assert np.sqrt(np.mean((image - share * truth)[inside] ** 2)) < 0.3
            # the affine transform that a report has is the nearest one: off by the distortion alone
            mapped = alignment.transform @ np.array([x[inside], y[inside], np.ones(inside.sum())])
            assert np.hypot(mapped[0] - u[inside], mapped[1] - v[inside]).max() < 3


def test_the_frame_whose_pixels_they_are_is_copied(shot):
    frames = [shot(f"{index}.npy", view) for index, view in enumerate(VIEWS)]
    results = brought(frames, reference_canvas(VIEWS[1]), reference=1)
    assert np.array_equal(results[1][1], seen_by(VIEWS[1]).astype(np.float32))
    assert [alignment.method for alignment, _ in results] == ["stars", "reference", "stars"]
    assert np.allclose(results[1][0].transform, [[1, 0, 0], [0, 1, 0]], atol=1e-9)
    assert [(alignment.stars, alignment.rms) for alignment, _ in results] == [(30, 0.1)] * 3


def test_a_star_keeps_its_flux_whatever_the_scale(shot):
    y, x = np.mgrid[: SHAPE[0], : SHAPE[1]]
    star = 5000 / (2 * np.pi * 2.0**2) * np.exp(-((x - 61.3) ** 2 + (y - 44.8) ** 2) / (2 * 2.0**2))
    for scale in (1.03, 0.97):
        frame = shot("star.npy", looks(0.05, 0, 20, scale=scale), star)
        ((_, image),) = brought([frame], reference_canvas(VIEWS[0]), reference=-1)
        assert np.nansum(image) == pytest.approx(5000, rel=0.005)


@pytest.mark.parametrize("finer", [0.6, 1.25])
def test_a_star_has_one_flux_from_all_cameras(shot, finer):
    """With the factors that `nanstack.levels.flux` finds, which know that a coarser pixel sees more of the sky."""
    y, x = np.mgrid[: SHAPE[0], : SHAPE[1]]
    frames = []
    for name, own in (("a.npy", 1.0), ("b.npy", 1.0), ("other.npy", finer)):
        sigma = 2.5 * own  # the same star on the sky
        star = 5000 / (2 * np.pi * sigma**2) * np.exp(-((x - 61.3) ** 2 + (y - 44.8) ** 2) / (2 * sigma**2))
        frames.append(shot(name, View(camera(ARCSEC_PX / own, shape=SHAPE), looking(*HERE, 5)), star))
    for _, image in brought(on_one_flux_scale(frames, [0, 0, 0], Told()), reference_canvas(frames[0].view)):
        assert np.nansum(image) == pytest.approx(5000, rel=0.005)


def test_a_frame_is_brought_to_the_common_scale_of_flux(shot):
    frame = shot("0.npy", VIEWS[0])
    canvas = reference_canvas(VIEWS[1])
    (_, plain), (_, halved) = brought([frame, replace(frame, factor=0.5)], canvas)
    np.testing.assert_allclose(halved, plain / 2, rtol=1e-6)


def test_a_frame_that_cannot_be_read_fails_alone(shot, tmp_path):
    frames = [shot(f"{index}.npy", view) for index, view in enumerate(VIEWS)]
    frames[1].path.write_bytes(b"no array")
    results = brought(frames, reference_canvas(VIEWS[0]), finish=lambda samples: samples.shape)
    assert [alignment.method for alignment, _ in results] == ["reference", "failed", "stars"]
    assert results[1][0].reason
    assert [image for _, image in results] == [SHAPE, None, SHAPE]
