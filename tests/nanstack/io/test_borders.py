# SPDX-License-Identifier: GPL-3.0-or-later
"""Borders of zeros: where programs have no data."""

import numpy as np
import pytest
from astropy.io import fits

from nanstack.io.borders import without_zero_border
from nanstack.io.frames import FrameError, read_frame
from nanstack.stack.definition import Rejection
from nanstack.stack.stacker import stack_frames
from nanstack.survey.survey import survey_frame

SHAPE = (120, 150)


def sky(level=1000.0, noise=12.0, shape=(*SHAPE, 3), seed=0):
    return np.random.default_rng(seed).normal(level, noise, shape).astype(np.float32)


def turned(degrees=7.0, dx=6.0):
    """Return where a frame that was turned and moved has data."""
    y, x = np.indices(SHAPE) - np.array([SHAPE[0] / 2, SHAPE[1] / 2])[:, None, None]
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    u, v = c * x - s * y + dx, s * x + c * y
    return (abs(u) < SHAPE[1] / 2) & (abs(v) < SHAPE[0] / 2)


@pytest.mark.parametrize("degrees", [0.0, 0.4, 7.0, -31.0, 45.0])
@pytest.mark.parametrize("level", [1000.0, 0.0, 0.015])
def test_what_a_registered_frame_does_not_cover_is_no_data(degrees, level):
    inside = turned(degrees)
    frame = sky(level, noise=12.0 if level != 0.015 else 0.0002)
    frame[~inside] = 0
    expected = np.where(inside[..., None], frame, np.nan)
    assert np.array_equal(without_zero_border(frame), expected, equal_nan=True)
    mono = without_zero_border(frame[..., 1].copy())
    assert np.array_equal(mono, expected[..., 1], equal_nan=True)


def test_a_thin_border_and_one_blended_with_the_sky():
    frame = sky()
    frame[:1] = frame[:, -2:] = 0
    frame[1] *= 0.4
    frame[:, -3] *= 0.7
    clean = without_zero_border(frame)
    assert np.isnan(clean[:1]).all()
    assert np.isnan(clean[:, -2:]).all()
    assert np.isfinite(clean[1:, :-2]).all()


def test_zeros_that_are_samples_stay():
    hole = sky()
    hole[50:70, 60:90] = 0  # joined to no edge
    one_channel = sky()
    one_channel[:40, :, 0] = 0
    dots = sky()
    dots[0, 5] = dots[60, 0] = 0
    cut_off = np.maximum(np.rint(sky(-0.3, 1.0, SHAPE)), 0)  # a sky below zero, in steps
    dark = np.zeros(SHAPE, np.float32)
    dark[40:44, 50:54] = 200  # stars over nothing
    for frame in (hole, one_channel, dots, cut_off, dark):
        assert without_zero_border(frame) is frame
    assert np.array_equal(without_zero_border(sky()), sky())


def written(path, data, **cards):
    data = np.moveaxis(data, -1, 0) if data.ndim == 3 else data
    fits.PrimaryHDU(data, fits.Header(cards)).writeto(path)
    return path


def test_borders_are_no_data_wherever_a_file_is_read(tmp_path):
    inside = turned()
    paths = []
    for index in range(3):
        frame = sky(seed=index)
        frame[~inside] = 0
        paths.append(written(tmp_path / f"r_{index}.fit", frame))
    assert np.array_equal(np.isfinite(read_frame(paths[0]).data).all(axis=2), inside)
    stacked = stack_frames(paths, Rejection("none"))
    assert np.array_equal(stacked.coverage, np.broadcast_to(3 * inside[..., None], stacked.coverage.shape))
    assert survey_frame(paths[0]).sky[..., 1] == pytest.approx(1000, abs=2), "no cell is dark"


def test_a_sensors_black_corner_is_data(tmp_path):
    raw = np.rint(sky(shape=SHAPE)).astype(np.uint16)
    raw[:30, :40] = 0
    data = read_frame(written(tmp_path / "raw.fit", raw, BAYERPAT="GRBG")).data
    assert np.isfinite(data).all()
    calibrated = read_frame(written(tmp_path / "pp.fit", raw.astype(np.float32), BAYERPAT="GRBG")).data
    assert np.isnan(calibrated[:30, :40]).all(), "of a calibrated one it is none"
    assert np.isfinite(calibrated[31:]).all()


@pytest.mark.parametrize("cards", [{}, {"BAYERPAT": "GRBG"}])
def test_a_frame_of_zeros_is_refused(cards, tmp_path):
    path = written(tmp_path / "black.fit", np.zeros(SHAPE, np.uint16), **cards)
    for read in (read_frame, survey_frame):
        with pytest.raises(FrameError, match=r"black\.fit: all its samples are 0"):
            read(path)
