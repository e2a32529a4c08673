# SPDX-License-Identifier: GPL-3.0-or-later
"""Canvases in cells: which frames are in which, and that how the work is divided changes no byte."""

import tracemalloc
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from astropy.wcs import WCS
from hypothesis import given, settings
from hypothesis import strategies as st

from nanstack import sky_stack
from nanstack.canvas import Canvas, reference_canvas, union_canvas
from nanstack.io.layout import FrameError
from nanstack.levels.placed import Level, PlacedFrame, SampleNoise
from nanstack.register.camera import ARCSEC, Camera, Passage, View
from nanstack.register.mesh import Box
from nanstack.register.solved import SolvedView
from nanstack.settings import CanvasSettings
from nanstack.sky_stack import STRIP_BYTES, stacked_strips, strips
from nanstack.stack import cells as cells_module
from nanstack.stack.cells import (
    Cell,
    Grid,
    Layer,
    counted_from_origin,
    cut,
    empty,
    parts_of,
    shares,
    stack_cells,
    stacked_bytes,
)
from nanstack.stack.rows import FileRows
from tests.support.registered import registered
from tests.support.skycells import SHAPE, frame_at, frames_in, placed
from tests.support.starfields import looking

PLANES = ("image", "coverage", "weight", "variance")


@pytest.fixture(scope="module")
def night(tmp_path_factory):
    return placed(frames_in(tmp_path_factory.mktemp("night"), 6))


@pytest.fixture(scope="module")
def canvas(night):
    return union_canvas([one.frame.view for one in night])


@pytest.fixture(autouse=True)
def small_cells(monkeypatch):
    monkeypatch.setattr(cells_module, "SIDE", 64)


def whole(frames, canvas, memory=None):
    """Return all planes of a canvas, stacked."""
    layers = [Layer.of(one, canvas) for one in frames]
    cells = cut(layers)
    stacked = stack_cells(cells, layers, CanvasSettings(), memory=memory)
    rows = [strip for _, strip in strips(cells, stacked, canvas, 1)]
    return {name: np.concatenate([getattr(strip, name) for strip in rows]) for name in PLANES}


def assert_same(found, truth):
    for name in PLANES:
        np.testing.assert_array_equal(found[name], truth[name], err_msg=name)


@pytest.mark.parametrize(("side", "threads", "memory"), [(64, 1, 1), (32, 3, None), (1024, 2, None), (256, 2, 200_000)])
def test_cells_of_any_size_in_any_number_of_threads_and_memory_give_the_same_bytes(
    night, canvas, monkeypatch, side, threads, memory
):
    truth = whole(night, canvas)
    assert truth["coverage"].max() > 2
    monkeypatch.setattr(cells_module, "SIDE", side)
    monkeypatch.setattr(cells_module, "threads", lambda: threads)
    assert_same(whole(night, canvas, memory), truth)


def test_a_canvas_that_grows_keeps_its_pixels(night, canvas):
    camera = canvas.view.camera
    x, y = camera.axis
    height, width = camera.shape
    larger = Canvas(
        replace(canvas.view, camera=replace(camera, shape=(height + 37, width + 54), axis=(x + 41.0, y + 7.0)))
    )
    found = whole(night, larger)
    assert_same({name: plane[7 : 7 + height, 41 : 41 + width] for name, plane in found.items()}, whole(night, canvas))
    assert found["coverage"].astype(int).sum() == whole(night, canvas)["coverage"].astype(int).sum()


@given(
    seed=st.integers(0, 2**32 - 1),
    at=st.sampled_from([(83.8, 22.0), (0.0, 0.0), (10.0, 89.9), (359.9, -90.0)]),
    canvas_at=st.sampled_from([0.0, 1.0, 40.0]),
)
@settings(max_examples=25)
def test_a_cell_has_all_frames_that_show_it_and_few_others(seed, at, canvas_at):
    rng = np.random.default_rng(seed)
    frames = placed([frame_at(Path("none"), rng, at=at) for _ in range(3)])
    x, y = rng.integers(-100, 400, 2)
    looks = looking(at[0], at[1] + (canvas_at if at[1] < 0 else -canvas_at), rng.uniform(-180, 180))
    canvas = Canvas(View(Camera((300, 350), ARCSEC / 25, axis=(float(x), float(y))), looks))
    if canvas_at < 40:
        canvas = union_canvas([one.frame.view for one in frames], canvas.view)
    layers = [Layer.of(one, canvas) for one in frames]
    cells = {cell.box: set(cell.frames) for cell in cut(layers)}
    inside = counted_from_origin(Box.whole(canvas.shape), canvas)
    area = Box(inside.top - 64, inside.bottom + 64, inside.left - 64, inside.right + 64)
    columns, rows = np.meshgrid(np.arange(area.left, area.right), np.arange(area.top, area.bottom))
    on_canvas = np.zeros(area.shape, dtype=bool)
    on_canvas[inside.within(area)] = True
    for index, layer in enumerate(layers):
        u, v = Passage.between(layer.canvas.view, [layer.placed.frame.view])[0](columns, rows)
        shown = on_canvas & (u >= 0) & (u <= SHAPE[1] - 1) & (v >= 0) & (v <= SHAPE[0] - 1)
        near = (u >= -25) & (u <= SHAPE[1] + 24) & (v >= -25) & (v <= SHAPE[0] + 24)
        for box, having in cells.items():
            assert index in having or not shown[box.within(area)].any()
            assert index not in having or near[square_of(box).within(area)].any(), "it lies well beside the cell"
            shown[box.within(area)] = False
        assert not shown.any(), "all that the frame shows is in some cell"


def square_of(box):
    top, left = box.top // 64 * 64, box.left // 64 * 64
    return Box(top, top + 64, left, left + 64)


def test_a_turned_frame_is_in_no_cell_at_the_corners_of_the_box_around_it():
    view = View(Camera((400, 400), ARCSEC / 20), looking(83.8, 22.0, 45.0))
    frame = replace(frame_at(Path("none"), np.random.default_rng(0)), view=view)
    canvas = union_canvas([view])
    assert len(cut([Layer.of(one, canvas) for one in placed([frame])])) < 0.85 * (canvas.shape[0] / 64) ** 2


def test_a_frame_in_the_middle_of_a_cell_of_a_chart_of_the_sky_is_in_it():
    """All corners of the cell lie behind the frame."""
    chart = WCS(naxis=2)
    chart.wcs.ctype, chart.wcs.cdelt = ("RA---ZEA", "DEC--ZEA"), (-2.4, 2.4)
    chart.wcs.crval, chart.wcs.crpix = (83.8, 22.0), (32.5, 32.5)
    view = View(Camera((400, 600), ARCSEC / 120), looking(83.8, 22.0))
    frame = replace(frame_at(Path("none"), np.random.default_rng(0)), view=view)
    cells = cut([Layer.of(one, Canvas(SolvedView.of(chart, (64, 64)))) for one in placed([frame])])
    assert [cell.frames for cell in cells] == [(0,)]


def test_parts_of_a_cell_fit_whatever_the_number_of_frames():
    for frames in (1, 100, 3000):
        cell = cells_module.Cell(Box(-256, 0, 256, 500), tuple(range(frames)))
        rows, columns = parts_of(cell, 3, 2**23)
        assert (rows[0], rows[-1], columns[0], columns[-1]) == (-256, 0, 256, 500)
        largest = Box(0, np.diff(rows).max(), 0, np.diff(columns).max())
        assert Grid().bytes_of(largest, frames, 3) <= 2**23 or max(largest.shape) <= cells_module.LEAST_SIDE


def test_another_images_pixels_are_stacked_in_cells_of_any_size(night, canvas, monkeypatch):
    like = Canvas(SolvedView.of(canvas.wcs(), canvas.shape))
    found = whole(night, like)
    shown = whole(night, canvas)["coverage"]
    assert (found["coverage"] == shown).mean() > 0.999, "its cards say where it lies to some digits"
    monkeypatch.setattr(cells_module, "SIDE", 1024)
    assert_same(whole(night, like), found)


def test_more_frames_than_coverage_can_count_are_refused(night, canvas):
    layers = [Layer.of(one, canvas) for one in night]
    too_many = cells_module.Cell(Box(0, 64, 0, 64), (0,) * 2**16)
    with pytest.raises(ValueError, match="65536 frames show one place, and 65535 can be stacked at most"):
        next(stack_cells([too_many], layers, CanvasSettings()))


def test_what_a_number_cannot_hold_is_no_data_in_all_colours(tmp_path):
    samples = np.full((60, 80, 3), 1000, np.float32)
    samples[40, 50, 1] = 3e38
    np.save(tmp_path / "a.npy", samples)
    frame = registered(tmp_path / "a.npy", shape=samples.shape)
    noise = SampleNoise(*100 * np.ones((3, 3)))
    one = PlacedFrame(frame, np.array([1.0, 2.0, 1.0]), Level.zero(3), 1.0, noise, 0.1)
    rows = stacked_strips(reference_canvas(frame.view), [one], CanvasSettings())
    nothing = np.isnan(np.concatenate([strip.image for _, strip in rows]))
    assert nothing[40, 50].all()
    assert np.array_equal(nothing.any(axis=2), nothing.all(axis=2))


def test_many_frames_are_stacked_by_fewer_threads_within_the_memory(monkeypatch):
    monkeypatch.setattr(cells_module, "threads", lambda: 16)
    for frames, few in ((10, 16), (3000, 16), (2**16 - 1, 1)):
        shared = shares(frames, 3, 2**30)
        assert shared.at_once == few
        assert few * (shared.part_bytes * cells_module.BESIDE_BLOCK + shared.held_bytes) <= 2**30


def test_however_many_frames_show_a_place_they_fit_into_the_memory(tmp_path, monkeypatch):
    monkeypatch.setattr(cells_module, "SIDE", 1024)
    frames = frames_in(tmp_path, 3, spread=0)
    many = placed([frame for frame in frames for _ in range(12)])
    canvas = reference_canvas(frames[0].view)
    assert Grid().bytes_of(Box.whole(canvas.shape), len(many), 1) > 1.6e6
    whole(many[:4], canvas)  # imports
    tracemalloc.start()
    try:
        whole(many, canvas, memory=800_000)
        assert tracemalloc.get_traced_memory()[1] < 800_000 + 5 * stacked_bytes(canvas.shape, 1)
    finally:
        tracemalloc.stop()


def test_parts_of_a_cell_read_a_frame_once_where_memory_holds_it(tmp_path, monkeypatch):
    read = []
    read_part = FileRows.part
    monkeypatch.setattr(FileRows, "part", lambda rows, box: read.append(rows.path) or read_part(rows, box))
    frames = placed(frames_in(tmp_path, 12, spread=0))
    canvas = reference_canvas(frames[0].frame.view)
    layers = [Layer.of(one, canvas) for one in frames]
    monkeypatch.setattr(cells_module, "SIDE", 1024)
    cells = cut(layers)
    monkeypatch.setattr(cells_module, "PART_BYTES", 1)
    monkeypatch.setattr(cells_module, "USUAL_SIDE", 20)
    assert len(parts_of(cells[0], 1, shares(12, 1, 2**30).part_bytes)[0]) > 3
    list(stack_cells(cells, layers, CanvasSettings(), memory=2**30))
    assert max(Counter(read).values()) <= len(cells)
    assert len(read) > len(cells)


def test_a_file_that_is_gone_meanwhile_is_named(tmp_path):
    frames = placed(frames_in(tmp_path, 3))
    canvas = union_canvas([one.frame.view for one in frames])
    frames[1].frame.path.unlink()
    with pytest.raises(FrameError, match=r"frame_01\.npy"):
        whole(frames, canvas)


def test_a_file_that_ends_while_it_is_stacked_is_named(tmp_path):
    frames = placed(frames_in(tmp_path, 3, spread=0))
    layers = [Layer.of(one, union_canvas([one.frame.view for one in frames])) for one in frames]
    results = stack_cells(cut(layers), layers, CanvasSettings(), memory=1)
    next(results)
    frames[2].frame.path.write_bytes(frames[2].frame.path.read_bytes()[:-4000])
    with pytest.raises(FrameError, match=r"frame_02\.npy"):
        list(results)


def test_nothing_is_shown_of_no_frames():
    assert cut([]) == []
    assert list(stack_cells([], [], CanvasSettings())) == []


def test_of_a_wide_canvas_memory_holds_a_row_of_cells_and_little_more():
    side, width = sky_stack.SIDE, 16 * sky_stack.SIDE
    canvas = Canvas(View(Camera((3 * side, width), 1e5, axis=(0.0, 0.0)), np.eye(3)))
    boxes = [
        Box(top, top + side, left, left + side) for top in range(0, 3 * side, side) for left in range(0, width, side)
    ]
    cells = [Cell(box, (0,)) for box in boxes]
    tracemalloc.start()
    try:
        heights = [len(strip.image) for _, strip in strips(cells, (empty(one.shape, 3) for one in boxes), canvas, 3)]
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert sum(heights) == 3 * side
    assert most < stacked_bytes((side, width), 3) + 2.5 * STRIP_BYTES


def test_a_canvas_too_wide_for_the_memory_there_is_is_refused(night, canvas, monkeypatch):
    monkeypatch.setattr(sky_stack, "memory_budget", lambda: 10_000)
    with pytest.raises(ValueError, match=f"a canvas {canvas.shape[1]} pixels wide takes .* choose a coarser scale"):
        next(stacked_strips(canvas, night, CanvasSettings()))
