# SPDX-License-Identifier: GPL-3.0-or-later
"""The simulated mosaic session, and the truth that mosaics are held to: against geometry and arithmetic."""

import json
import shutil

import numpy as np
import pytest
from astropy.io import fits
from astropy.wcs import WCS

from nanstack.io.frames import read_frame
from nanstack.io.images import image_hdus, write_hdus
from nanstack.levels.photometry import noise_level
from nanstack.sky_stack import stack_files
from nanstack.truth.simulation import sky_plane
from zemosaic_patch.demo import mosaic as mosaic_demo
from zemosaic_patch.demo import tile as demo
from zemosaic_patch.demo.joined import affine, mosaic_with_grey_fill, of_frames
from zemosaic_patch.demo.session import pleiades_session, read_session, write_frames
from zemosaic_patch.demo.truth import Truth, border_steps, light_on

SHAPE = (270, 480)
FRAMES = 24


@pytest.fixture(scope="module")
def session():
    return pleiades_session(FRAMES, SHAPE)


@pytest.fixture(scope="module")
def folder(session, tmp_path_factory):
    folder = tmp_path_factory.mktemp("frames")
    write_frames(session, folder)
    return folder


@pytest.fixture(scope="module")
def groups(session):
    """The frames of each pointing."""
    return [[frame.name for frame in session.frames[pointing::4]] for pointing in range(4)]


@pytest.fixture(scope="module")
def written(folder, tmp_path_factory):
    """The mosaic of the frames, as a file."""
    stack = stack_files(sorted(folder.glob("*.fit")))
    path = tmp_path_factory.mktemp("mosaic") / "mosaic.fits"
    write_hdus(image_hdus(stack.image, stack.wcs), path)
    return path


@pytest.fixture(scope="module")
def joined(session, groups, written):
    return of_frames(written, session, groups)


@pytest.fixture(scope="module")
def truth(session, folder, joined):
    return Truth(session, folder, joined.wcs, joined.image.shape[:2])


def test_same_arguments_same_frames(session, folder, tmp_path):
    write_frames(pleiades_session(FRAMES, SHAPE), tmp_path)
    assert len(list(folder.iterdir())) >= FRAMES
    for path in folder.iterdir():
        assert (tmp_path / path.name).read_bytes() == path.read_bytes()


def test_pointings_overlap_by_a_fifth(session):
    middles = []
    for pointing in range(4):
        corners = [np.mean(frame_on_sky(session, frame), axis=0) for frame in session.frames[pointing::4]]
        middles.append(np.mean(corners, axis=0))
    across, down = middles[1] - middles[0], middles[2] - middles[0]
    assert across == pytest.approx((0.8 * SHAPE[1], 0), abs=0.06 * SHAPE[1])
    assert down == pytest.approx((0, 0.8 * SHAPE[0]), abs=0.06 * SHAPE[1])


def frame_on_sky(session, frame):
    """Return the corners of a frame in reference pixels, by its file's WCS."""
    wcs = demo.moved_wcs(session.wcs, frame.transform)
    corners = [(0, 0), (SHAPE[1] - 1, 0), (SHAPE[1] - 1, SHAPE[0] - 1), (0, SHAPE[0] - 1)]
    return [session.wcs.all_world2pix(*wcs.all_pix2world(*corner, 0), 0) for corner in corners]


def test_each_frame_has_its_own_sky_and_the_scene_at_its_place(session, folder):
    for frame in session.frames[::5]:
        data = read_frame(folder / frame.name)
        light = light_on(session, data.wcs, SHAPE)
        sky = sky_plane(frame.sky, SHAPE, np.arange(SHAPE[1]), np.arange(SHAPE[0])[:, None])
        assert np.all(np.abs(frame.sky[0] / demo.SKY - 1) <= 0.1)
        slopes = frame.sky[1:] * np.array(SHAPE[::-1])[:, None] / frame.sky[0]
        assert np.hypot(*slopes) == pytest.approx(0.03)
        rest = data.data - light - sky
        dark = light[..., 1] < 20
        noise = noise_level(data.data)
        assert np.all(np.abs(np.median(rest[dark], axis=0)) < 0.05 * noise + 0.5)
        halves = (np.s_[:135], np.s_[135:], np.s_[:, :240], np.s_[:, 240:])
        levels = [np.median(rest[half][dark[half]]) for half in halves]
        assert np.ptp(levels) < 0.1 * noise.mean() + 1
    levels = np.array([frame.sky[0] / demo.SKY for frame in session.frames])
    assert np.all(np.ptp(levels, axis=0) > 0.1)


def test_light_keeps_its_brightness_on_finer_pixels(session):
    fine = session.wcs.deepcopy()
    fine.wcs.cd = session.wcs.wcs.cd / 1.25
    fine.wcs.crpix = (session.wcs.wcs.crpix - 0.5) * 1.25 + 0.5
    coarse_light = light_on(session, session.wcs, SHAPE)
    fine_light = light_on(session, fine, (338, 600))
    assert fine_light.sum() / 1.25**2 == pytest.approx(coarse_light.sum(), rel=0.02)
    coarse_parts = coarse_light[:264].reshape(33, 8, 60, 8, 3).mean(axis=(1, 3))
    fine_parts = fine_light[:330].reshape(33, 10, 60, 10, 3).mean(axis=(1, 3))  # of the same places on the sky
    assert np.mean(np.isclose(fine_parts, coarse_parts, rtol=0.05, atol=1)) > 0.95


def test_solutions_that_differ_by_more_than_a_turn_are_refused(session):
    other = WCS(session.wcs.to_header())
    other.wcs.crval = 56.75, 34.25
    with pytest.raises(ValueError, match="from an affine transform"):
        affine(session.wcs, other, (8 * SHAPE[0], 8 * SHAPE[1]))


def test_exact_stack_has_no_sky_no_hot_pixels_and_the_noise_of_its_frames(session, folder, truth):
    rest, frames = truth.exact, truth.coverage
    deep = (frames == 6) & (truth.light[..., 1] < 20)
    single = noise_level(read_frame(folder / session.frames[0].name).data)
    spread = 1.4826 * np.median(np.abs(rest[deep]), axis=0)
    assert np.all(spread < 1.1 * single / np.sqrt(6))
    assert np.all(spread > 0.75 * single / np.sqrt(6))
    assert np.all(np.abs(np.median(rest[deep], axis=0)) < 0.1 * spread)
    assert np.mean(np.abs(rest[deep]) > 6 * spread) < 2e-4
    assert np.isfinite(rest[deep]).all()
    assert np.isnan(rest[frames == 0]).all()


def test_a_mosaic_of_frames_could_step_wherever_one_ends(joined, session):
    covered = np.logical_or.reduce(joined.ends)
    assert np.mean(covered == np.isfinite(joined.image).all(axis=2)) > 0.99
    assert np.array_equal(covered, np.logical_or.reduce(joined.panels))
    assert len(joined.ends) == FRAMES
    stepped = joined.image + 30 * joined.ends[7][..., None]
    steps = border_steps(stepped - joined.image, joined.ends, joined.panels)
    assert max(abs(step.level) for step in steps) == pytest.approx(30)


def test_the_mosaic_has_no_borders_and_the_grey_fill_has(session, folder, groups, joined, truth):
    after = truth.figures(joined)
    assert after.level_step < 0.25  # borders of 200 pixels: their steps are known to 0.05 sigma
    assert after.colour_step < 0.25
    assert after.stars.position_rms < 0.05
    assert abs(after.stars.flux_bias) < 0.03  # of four sharp stars, around which no light is taken away
    assert after.stars.flux_scatter < 0.01
    assert 0.85 < after.noise_ratio < 1.05
    assert 0.9 < after.smooth_noise_ratio < 1.12

    by_reference = {names[3]: names for names in groups}
    before = mosaic_with_grey_fill(folder, by_reference, joined.wcs, joined.image.shape[:2])
    figures = truth.figures(before)
    assert max(figures.level_step, figures.colour_step) > 2  # 3.7 in the full demo, whose noise is lower
    assert len(before.ends) == 4


def test_the_truth_is_that_of_what_was_simulated_though_frames_were_left_out(session, groups, written, tmp_path):
    write_frames(session, tmp_path / "frames")
    shutil.copy(written, tmp_path / "mosaic.fits")
    stacked = [name for names in groups[:3] for name in names[1:]]
    told = {"files": {"image": "mosaic.fits"}, "frames": [{"name": name} for name in stacked]}
    (tmp_path / "mosaic.json").write_text(json.dumps(told))
    run = mosaic_demo.read_run(tmp_path)
    assert [frame.name for frame in run.session.frames] == [frame.name for frame in session.frames]
    for mine, simulated in zip(run.session.frames, session.frames, strict=True):
        assert np.array_equal(mine.transform, simulated.transform)
        assert np.array_equal(mine.sky, simulated.sky)
    assert run.session.shape == SHAPE
    assert list(run.groups.values()) == [names[1:] for names in groups[:3]]
    assert all(reference in names for reference, names in run.groups.items())
    assert len(run.mosaic.ends) == len(stacked)


def test_frames_without_their_record_are_refused(session, joined, tmp_path):
    (tmp_path / "frames").mkdir()
    with pytest.raises(FileNotFoundError, match=r"session\.json"):
        read_session(tmp_path / "frames")


def test_a_mosaic_without_a_place_is_refused(session, groups, tmp_path):
    fits.writeto(tmp_path / "lost.fits", np.ones((20, 20), np.float32))
    with pytest.raises(ValueError, match=r"lost\.fits holds no WCS"):
        of_frames(tmp_path / "lost.fits", session, groups)
