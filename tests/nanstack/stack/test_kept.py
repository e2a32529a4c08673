# SPDX-License-Identifier: GPL-3.0-or-later
"""Finished cells that are kept: what is used again, what is made anew, and that a kill at no moment changes a byte."""

import os
import subprocess
import sys
from dataclasses import replace

import pytest

from nanstack.canvas import Canvas, union_canvas
from nanstack.settings import CanvasSettings
from nanstack.sky_stack import stacked_strips
from nanstack.stack import cells as cells_module
from nanstack.stack.cells import Layer, cut, stack_cells
from nanstack.stack.kept import KeptCells
from tests.support import killed_stack
from tests.support.skycells import frames_in, placed
from tests.support.told import Told

SETTINGS = CanvasSettings()


@pytest.fixture(autouse=True)
def small_cells(monkeypatch):
    monkeypatch.setattr(cells_module, "SIDE", 64)


@pytest.fixture
def night(tmp_path):
    return placed(frames_in(tmp_path, 4))


def stacked(night, kept=None, settings=SETTINGS, canvas=None):
    """Stack a night; return the bytes of each cell by its name."""
    canvas = canvas or union_canvas([one.frame.view for one in night])
    layers = [Layer.of(one, canvas) for one in night]
    cells = cut(layers)
    results = stack_cells(cells, layers, settings, kept=kept)
    return {cell.name: bytes_of(result) for cell, result in zip(cells, results, strict=True)}


def bytes_of(cell):
    planes = (cell.image, cell.coverage, cell.weight, cell.variance)
    return *(plane.tobytes() for plane in planes), cell.rejected, cell.samples


def times(folder):
    """When each cell of a folder was made."""
    return {path.name: path.stat().st_mtime_ns for path in folder.glob("cell_*")}


def made_again(folder, before):
    return {name for name, time in times(folder).items() if before.get(name) != time}


def test_cells_that_are_kept_need_no_frames(night, tmp_path):
    kept = KeptCells(tmp_path / "cells", "1.0")
    truth = stacked(night, kept)
    assert set(times(kept.folder)) == set(truth)
    for one in night:
        one.frame.path.unlink()
    assert stacked(night, kept) == truth


@pytest.mark.parametrize("harm", ["cut", "changed", "empty", "gone", "another kind of file"])
def test_a_damaged_cell_is_made_again(night, tmp_path, harm):
    kept = KeptCells(tmp_path / "cells")
    truth = stacked(night, kept)
    before = times(kept.folder)
    path = kept.folder / sorted(truth)[len(truth) // 2]
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    harmed = {"cut": content[: len(content) // 2], "changed": content, "empty": b"", "another kind of file": b"P6 1 1"}
    path.unlink()
    if harm in harmed:
        path.write_bytes(harmed[harm])
    assert stacked(night, kept) == truth
    assert made_again(kept.folder, before) == {path.name}


def another_weight(one):
    return replace(one, weight=one.weight * (1 + 1e-12))


def another_gain(one):
    return replace(one, gain=one.gain * (1 + 1e-12))


def another_slope(one):
    return replace(one, level=replace(one.level, slope_y=one.level.slope_y + 1e-9))


def another_noise(one):
    return replace(one, noise=replace(one.noise, photon=one.noise.photon + 1e-9))


def another_blur(one):
    return replace(one, blur=0.21)


def another_view(one):
    return replace(one, frame=replace(one.frame, view=replace(one.frame.view, scale=one.frame.view.scale + 1e-9)))


def another_content(one):
    return replace(one, frame=replace(one.frame, survey=replace(one.frame.survey, digest="another")))


@pytest.mark.parametrize(
    "change",
    [another_weight, another_gain, another_slope, another_noise, another_blur, another_view, another_content],
)
def test_a_changed_frames_cells_are_made_again_and_no_others(night, tmp_path, change):
    kept = KeptCells(tmp_path / "cells")
    canvas = union_canvas([one.frame.view for one in night])
    stacked(night, kept)
    before = times(kept.folder)
    layers = [Layer.of(one, canvas) for one in night]
    having = {cell.name for cell in cut(layers) if 1 in cell.frames}
    assert 0 < len(having) < len(before)
    night[1] = change(night[1])
    stacked(night, kept, canvas=canvas)
    assert made_again(kept.folder, before) == having


def test_another_program_or_other_settings_make_all_again(night, tmp_path):
    folder = tmp_path / "cells"
    stacked(night, KeptCells(folder, "1.0"))
    for kept, settings in (
        (KeptCells(folder, "1.1"), SETTINGS),
        (KeptCells(folder, "1.1"), replace(SETTINGS, combine="median")),
    ):
        before = times(folder)
        assert stacked(night, kept, settings) == stacked(night, None, settings)
        assert made_again(folder, before) == set(before)


def test_a_canvas_that_grows_keeps_its_cells_and_another_projection_none(night, tmp_path):
    kept = KeptCells(tmp_path / "cells")
    canvas = union_canvas([one.frame.view for one in night])
    truth, before = stacked(night, kept, canvas=canvas), times(kept.folder)
    camera = canvas.view.camera
    grown = replace(
        camera, shape=(camera.shape[0] + 90, camera.shape[1] + 70), axis=(camera.axis[0] + 70, camera.axis[1])
    )
    assert stacked(night, kept, canvas=Canvas(replace(canvas.view, camera=grown))) == truth
    assert not made_again(kept.folder, before)
    stacked(night, kept, canvas=Canvas(replace(canvas.view, scale=1 + 1e-9)))
    assert made_again(kept.folder, before) >= set(before)


def test_cells_of_no_use_are_removed_and_all_else_stays(night, tmp_path):
    kept = KeptCells(tmp_path / "cells")
    stacked(night, kept)
    (kept.folder / ".partial-cell-abc.npz").write_bytes(b"half")
    (kept.folder / "cell_of_mine.npz").write_bytes(b"mine")
    (kept.folder / "cell_+9000_+9000.npz").write_bytes(b"mine, too")
    (kept.folder / "notes.txt").write_text("mine")
    fewer = set(stacked(night[:1], kept))
    mine = {"cell_of_mine.npz", "cell_+9000_+9000.npz", "notes.txt"}
    assert {path.name for path in kept.folder.iterdir()} == fewer | mine


def test_strips_of_a_canvas_leave_its_own_cells_alone_and_tell_of_the_last(night, tmp_path):
    kept = KeptCells(tmp_path / "cells")
    stacked(night, kept)
    canvas = union_canvas([night[0].frame.view])
    told = Told()
    for _ in stacked_strips(canvas, night[:1], SETTINGS, kept=kept, progress=told):
        pass
    names = {cell.name for cell in cut([Layer.of(night[0], canvas)])}
    assert {path.name for path in kept.folder.iterdir()} == names
    assert told.steps[-1] == ("stacking", len(names), len(names))


def test_cells_that_cannot_be_kept_are_stacked_and_it_is_told(night, tmp_path):
    (tmp_path / "taken").write_text("a file")
    kept = KeptCells(tmp_path / "taken")
    assert stacked(night, kept) == stacked(night)
    assert kept.failure


@pytest.mark.skipif(os.name != "posix", reason="fork and SIGKILL are POSIX's")
def test_killed_at_any_moment_it_ends_with_the_same_bytes(tmp_path, monkeypatch):
    (tmp_path / "frames").mkdir()
    ran = subprocess.run(
        [sys.executable, killed_stack.__file__, tmp_path / "frames", tmp_path / "cells", "20"],
        capture_output=True, text=True, timeout=300, env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr
    counts = [int(count) for count in ran.stdout.split()]
    assert len(counts) == 20
    assert counts[0] < counts[-1], "some were made before they were killed"
    monkeypatch.setattr(cells_module, "SIDE", 16)
    layers = killed_stack.layers_of(tmp_path / "frames")
    cells = cut(layers)
    assert counts[0] < len(cells)
    truth = [bytes_of(cell) for cell in stack_cells(cells, layers, SETTINGS)]
    kept = KeptCells(tmp_path / "cells")
    assert [bytes_of(cell) for cell in stack_cells(cells, layers, SETTINGS, kept=kept)] == truth
    assert {path.name for path in kept.folder.iterdir()} == {cell.name for cell in cells}
