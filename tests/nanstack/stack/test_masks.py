# SPDX-License-Identifier: GPL-3.0-or-later
"""Masks: which pixels they cover, and what becomes of the samples there."""

from dataclasses import replace

import numpy as np
import pytest

from nanstack.canvas import reference_canvas, union_canvas
from nanstack.register.mesh import Box
from nanstack.settings import CanvasSettings
from nanstack.sky_stack import stacked_strips
from nanstack.stack import cells as cells_module
from nanstack.stack.cells import Layer, cut, stack_cells
from nanstack.stack.kept import KeptCells
from nanstack.stack.masks import drawn, hidden
from nanstack.stack.noise_model import FrameNoise, NoiseRejection
from tests.support.skycells import frames_in, placed


def test_a_line_covers_what_lies_within_its_radius():
    line = np.array([[10.0, 20.0, 31.5, 8.0, 4.2], [50.0, 5.0, 50.0, 5.0, 3.0]])
    box = Box(2, 30, 5, 60)
    y, x = np.mgrid[2:30, 5:60]
    steps = np.linspace(0, 1, 20_001)[:, None, None]
    along = np.hypot(x - (10 + 21.5 * steps[::50]), y - (20 - 12 * steps[::50])).min(axis=0)
    truth = (along <= 4.2) | (np.hypot(x - 50, y - 5) <= 3)
    found = drawn(line, box)
    assert (found != truth).sum() <= 2, "but where the steps are too wide to tell"
    assert drawn(line, Box(40, 50, 0, 90)) is None
    np.testing.assert_array_equal(drawn(line, Box(10, 20, 8, 30)), found[8:18, 3:25])


def noise_of(frames, colours, sigma):
    same = np.full((frames, colours), sigma**2)
    return FrameNoise(same, 0 * same, 0 * same, np.zeros(frames), np.ones(frames))


def test_masked_samples_go_where_another_frame_shows_the_place():
    samples = np.arange(3 * 4, dtype=np.float32).reshape(3, 1, 4, 1)
    known = noise_of(3, 1, 10.0)
    samples[2, 0, 1] = np.nan
    masks = [np.array([[True, True, True, False]]), np.array([[False, True, True, False]]), None]
    masks[2] = np.array([[False, False, True, False]])
    before = samples.copy()
    gone, stay = hidden(samples, masks, known)
    assert gone.tolist() == [[1, 0, 0, 0]], "the second has no frame without a mask, nor has the third"
    assert stay.tolist() == [[0, 2, 3, 0]]
    assert np.isnan(samples[0, 0, 0])
    samples[0, 0, 0] = before[0, 0, 0]
    np.testing.assert_array_equal(samples, before)
    assert hidden(samples, [None] * 3, known) is None


def test_what_is_darker_under_a_mask_tells_of_a_spike_in_the_only_other_frame():
    """Noise of 10 ADU; in the first pixel a spike in one colour, in the second a trail, in the third noise."""
    under, beside = (
        [[100, 120, 100], [900, 950, 900], [100, 90, 100]],
        [[105, 380, 95], [100, 100, 100], [130, 110, 95]],
    )
    samples = np.array([[under], [beside]], dtype=np.float32)
    mask = np.ones((1, 3), dtype=bool)
    gone, stay = hidden(samples, [mask, None], noise_of(2, 3, 10.0))
    assert (gone.tolist(), stay.tolist()) == ([[0, 1, 1]], [[0, 0, 0]])
    np.testing.assert_array_equal(samples[:, 0, 0], [under[0], beside[0]])
    three = np.array([[under], [beside], [beside]], dtype=np.float32)
    assert hidden(three, [mask, None, None], noise_of(3, 3, 10.0))[0].tolist() == [[1, 1, 1]], "two tell by themselves"


@pytest.fixture(scope="module")
def night(tmp_path_factory):
    frames = placed(frames_in(tmp_path_factory.mktemp("night"), 5))
    rng = np.random.default_rng(3)
    return [
        replace(one, masked=np.column_stack([*rng.uniform(0, 110, (4, 6)), rng.uniform(3, 12, 6)])) for one in frames
    ]


def stack(frames, canvas, settings=None):
    whole = [strip for _, strip in stacked_strips(canvas, frames, settings or CanvasSettings())]
    planes = {p: np.concatenate([getattr(s, p) for s in whole]) for p in ("image", "coverage", "weight")}
    return planes, sum(strip.rejected for strip in whole), sum(strip.samples for strip in whole)


def test_a_mask_changes_no_coverage_and_hangs_on_no_cell(night, monkeypatch):
    canvas = union_canvas([one.frame.view for one in night])
    bare, rejected, samples = stack([replace(one, masked=np.empty((0, 5))) for one in night], canvas)
    masked, more, same = stack(night, canvas)
    np.testing.assert_array_equal(masked["coverage"], bare["coverage"])
    assert more > rejected + 500
    assert same == samples
    assert ((masked["weight"] > 0) == (bare["weight"] > 0)).all(), "no place loses its data"
    monkeypatch.setattr(cells_module, "SIDE", 50)
    monkeypatch.setattr(cells_module, "PART_BYTES", 40_000)
    for name, plane in stack(night, canvas)[0].items():
        np.testing.assert_array_equal(plane, masked[name], err_msg=name)


def test_what_a_mask_covers_does_not_count(night):
    """A frame's own pixels as the canvas, and no rejection: a disc alone hides the frame that is far off the others."""
    one, *others = (replace(frame, masked=np.empty((0, 5))) for frame in night)
    far = replace(one, level=replace(one.level, offset=one.level.offset + 150))
    canvas, every = reference_canvas(one.frame.view), CanvasSettings(rejection=NoiseRejection(np.inf, np.inf))
    truth = stack(others, canvas, every)[0]
    disc = np.array([[60.0, 40.0, 60.0, 40.0, 9.0]])
    found = stack([replace(far, masked=disc), *others], canvas, every)[0]
    y, x = np.indices(canvas.shape)
    inside, alone = np.hypot(x - 60, y - 40) < 8.9, truth["coverage"] == 0
    hidden_there = inside & ~alone
    assert hidden_there.sum() > 200
    np.testing.assert_allclose(found["image"][hidden_there], truth["image"][hidden_there], rtol=1e-6)
    beside = (np.hypot(x - 60, y - 40) > 9.5) & ~alone & (found["coverage"] > truth["coverage"])
    assert np.median(found["image"][beside] - truth["image"][beside]) > 20


def test_a_cell_made_with_another_mask_is_another_one(night, tmp_path):
    canvas = union_canvas([one.frame.view for one in night])
    for number, frames in enumerate((night, night, [replace(night[0], masked=np.empty((0, 5))), *night[1:]])):
        kept = KeptCells(tmp_path)
        layers = [Layer.of(one, canvas) for one in frames]
        list(stack_cells(cut(layers), layers, CanvasSettings(), kept=kept))
        assert (bool(kept.used), bool(kept.made)) == (number == 1, number != 1)
