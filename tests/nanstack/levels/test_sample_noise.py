# SPDX-License-Identifier: GPL-3.0-or-later
"""How uncertain samples are, and what frames count for: held to cameras whose gain is known."""

from dataclasses import replace

import numpy as np
import pytest

from nanstack.canvas import Canvas, reference_canvas
from nanstack.levels.frame_weights import blurs, frame_weights
from nanstack.levels.placed import Level, PlacedFrame, SampleNoise
from nanstack.levels.sample_noise import noises, photon_terms, pixels_alike, sample_noises
from nanstack.register.camera import Camera
from nanstack.register.mesh import Box, mesh_of
from nanstack.register.raw_warp import warp_mosaic
from nanstack.register.warp import warp_mesh
from nanstack.survey.stars import Stars
from tests.support.registered import registered

pytestmark = pytest.mark.numpy_bytes

READ_NOISE = 12.0  # ADU


def exposed(name, level, *, per_electron=4.0, pedestal=100.0, spread=0.01, seed=0, colours=(1.0, 1.45, 1.1), **facts):
    """A frame of a camera whose ADU per electron are known, of a sky of so many ADU above the pedestal."""
    light = level * np.array(colours)
    noise = np.sqrt(per_electron * light + READ_NOISE**2) * np.random.default_rng(seed).normal(1, spread, len(light))
    frame = registered(name, shape=(1080, 1920, 3) if len(light) == 3 else (1080, 1920), **facts)
    mesh = np.broadcast_to(light + pedestal, (4, 6, len(light)))
    mesh, noise = (mesh, noise) if len(light) == 3 else (mesh[..., 0], noise[0])
    return replace(frame, survey=replace(frame.survey, sky=mesh.astype(np.float32), noise=noise))


def starry(frame, fwhm):
    stars = replace(Stars.none(), fwhm=fwhm)
    return replace(frame, survey=replace(frame.survey, stars=stars))


def night(count=24, **what):
    levels = np.random.default_rng(5).normal(420, 25, count)
    return [exposed(f"{k}.fit", level, seed=k, **what) for k, level in enumerate(levels)]


@pytest.mark.parametrize("per_electron", [0.25, 4.0])
def test_what_an_electron_is_worth_shows_in_the_skys_noise(per_electron):
    np.testing.assert_allclose(photon_terms(night(per_electron=per_electron)), per_electron, rtol=0.1)


def test_one_odd_frame_changes_nothing():
    frames = night()
    frames[3] = replace(frames[3], survey=replace(frames[3].survey, noise=np.array([900.0, 1.0, np.nan])))
    frames[9] = replace(frames[9], survey=replace(frames[9].survey, sky=np.full((4, 6, 3), np.nan, np.float32)))
    np.testing.assert_allclose(photon_terms(frames), 4, rtol=0.1)


def test_each_camera_has_its_own():
    both = [*night(instrument="S50"), *night(instrument="S30", per_electron=1.0)]
    np.testing.assert_allclose(photon_terms(both), [4.0] * 24 + [1.0] * 24, rtol=0.1)


def test_exposures_of_a_mono_camera_tell_it_too():
    frames = [
        exposed(f"{k}.fit", 40.0 * (1 + k % 3), colours=(1.0,), seed=k, exposure=10.0 * (1 + k % 3)) for k in range(24)
    ]
    np.testing.assert_allclose(photon_terms(frames), 4, rtol=0.1)


def test_where_all_are_about_as_bright_the_noise_is_taken_for_that_of_photons():
    (term,) = set(photon_terms([exposed(f"{k}.fit", 400.0, colours=(1.0,), seed=k, spread=0.0) for k in range(5)]))
    assert term == pytest.approx((4 * 400 + READ_NOISE**2) / 500)


def test_the_variance_of_a_sample_on_the_canvas():
    """Twice the gain is four times the variance, and twice what an ADU above the sky adds to it."""
    frames = night()
    levels = np.full((24, 3), 300.0)
    plain = sample_noises(frames, np.ones((24, 3)), levels, [np.full(3, 0.6)] * 24)
    doubled = sample_noises(frames, np.full((24, 3), 2.0), levels, [np.full(3, 0.6)] * 24)
    np.testing.assert_allclose(plain[0].variance, 0.6 * frames[0].survey.noise ** 2)
    np.testing.assert_allclose(doubled[0].variance, 4 * plain[0].variance)
    np.testing.assert_allclose(doubled[0].photon, 2 * plain[0].photon)
    np.testing.assert_array_equal(doubled[0].sky, levels[0])


def test_no_frame_claims_to_be_without_noise():
    frames = night()
    usual = np.median([frame.survey.noise for frame in frames], axis=0)
    for number, noise in enumerate((0.0, np.nan, 1e-9)):
        frames[number] = replace(frames[number], survey=replace(frames[number].survey, noise=np.full(3, noise)))
    found = noises(frames)
    np.testing.assert_allclose(found[:2], [usual] * 2, rtol=0.03)
    np.testing.assert_allclose(found[2], usual / 2, rtol=0.03)
    assert frame_weights(frames, np.ones((24, 3)), "snr").max() < 4.5


def test_weights_are_those_of_the_least_noise():
    """Half the transparency is twice the gain, and a quarter of the weight; a brighter sky counts by its noise."""
    frames = [exposed(f"{k}.fit", 400.0, spread=0.0) for k in range(4)] + [exposed("moon.fit", 1600.0, spread=0.0)]
    gains = np.ones((5, 3))
    gains[1] = 2.0
    weights = frame_weights(frames, gains, "snr")
    ratio = np.mean((frames[0].survey.noise / frames[4].survey.noise) ** 2)
    np.testing.assert_allclose(weights, [1, 0.25, 1, 1, ratio])
    np.testing.assert_array_equal(frame_weights(frames, gains, "equal"), np.ones(5))


def test_sharp_frames_count_for_more_where_that_is_asked_for():
    frames = [
        starry(frame, fwhm) for frame, fwhm in zip(night(5, spread=0.0), (3.0, 3.0, 3.0, 6.0, np.nan), strict=True)
    ]
    gains = np.ones((5, 3))
    ratio = frame_weights(frames, gains, "sharp") / frame_weights(frames, gains, "snr")
    np.testing.assert_allclose(ratio / ratio[0], [1, 1, 1, 0.25, 1], rtol=0.01)
    with pytest.raises(ValueError, match="'best' is unknown"):
        frame_weights(frames, gains, "best")


def gaussian(fwhm):
    y, x = np.mgrid[-8:9, -8:9]
    return np.exp(-4 * np.log(2) * (x**2 + y**2) / fwhm**2) * 4 * np.log(2) / (np.pi * fwhm**2)


def moffat(fwhm, beta=3.0):
    y, x = np.mgrid[-8:9, -8:9]
    alpha = fwhm / (2 * np.sqrt(2 ** (1 / beta) - 1))
    return (1 + (x**2 + y**2) / alpha**2) ** -beta * (beta - 1) / (np.pi * alpha**2)


@pytest.mark.parametrize("profile", [gaussian, moffat])
@pytest.mark.parametrize("usual", [2.5, 3.3, 4.5])
def test_stars_of_another_width_differ_by_no_more_than_blur_allows(profile, usual):
    from scipy.ndimage import maximum_filter, minimum_filter

    other = 1.15 * usual
    frames = [starry(frame, fwhm) for frame, fwhm in zip(night(5), [usual] * 4 + [other], strict=True)]
    found = blurs(frames, reference_canvas(frames[0].view))
    star = profile(usual)
    steep = maximum_filter(star, 3) - minimum_filter(star, 3)
    worst = np.max(np.abs(profile(other) - star) / (steep + 0.01 * star.max()))
    assert worst < found[4] < 2 * worst + 0.4
    assert found[0] == pytest.approx(0.2), "what sampling does, and where the star is"


def test_blur_of_frames_of_which_nothing_is_known():
    frames = [replace(frame, rms=np.nan) for frame in night(3)]
    np.testing.assert_allclose(blurs(frames, reference_canvas(frames[0].view)), 0.1)


@pytest.mark.parametrize(("pattern", "finer"), [("GRBG", 1.3), ("", 1.0)])
def test_means_over_many_pixels_are_as_uncertain_as_is_said(pattern, finer):
    """Of noise alone, a number a photosite, resampled by a turn and a scale: the mean of 64 x 64 pixels."""
    rng, angle, box, far = np.random.default_rng(3), 0.12, Box.whole((128, 128)), 160

    def there(x, y):
        u, v = (x - 63.5) / finer, (y - 63.5) / finer
        return far / 2 + np.cos(angle) * u - np.sin(angle) * v, far / 2 + np.sin(angle) * u + np.cos(angle) * v

    mesh = mesh_of(there, box, 32, box)
    means, squares = [], []
    for _ in range(250):
        noise = rng.normal(0, 1, (far, far)).astype(np.float32)
        samples = (warp_mosaic(noise, pattern, mesh) if pattern else warp_mesh(noise, mesh)[..., np.newaxis]).astype(
            np.float64
        )
        means.extend(samples.reshape(2, 64, 2, 64, -1).mean(axis=(1, 3)).reshape(4, -1))
        squares.append((samples**2).mean(axis=(0, 1)))
    frame = registered("a.fit", shape=(far, far, 3) if pattern else (far, far), pattern=pattern)
    view = replace(frame.view, camera=Camera((128, 128), finer * frame.view.focal))
    channels = 3 if pattern else 1
    noise = SampleNoise(np.ones(channels), np.zeros(channels), np.zeros(channels))
    placed = PlacedFrame(frame, np.ones(channels), Level.zero(channels), 1.0, noise, 0.1)
    said = pixels_alike([placed], Canvas(view), "bicubic")
    found = 64 * 64 * np.mean(np.square(means), axis=0) / np.mean(squares, axis=0)
    np.testing.assert_allclose(found, said, rtol=0.15)


def test_pixels_of_a_coarse_canvas_have_nothing_in_common():
    frame = registered("a.fit")
    coarse = Canvas(replace(frame.view, camera=Camera((20, 20), frame.view.focal / 10)))
    noise = SampleNoise(*np.ones((3, 1)))
    placed = PlacedFrame(frame, np.ones(1), Level.zero(1), 1.0, noise, 0.1)
    assert pixels_alike([placed], coarse, "bicubic") == [1.0]
