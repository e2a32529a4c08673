# SPDX-License-Identifier: GPL-3.0-or-later
"""Cells that other processes stack: the same bytes, little travels, and what is kept is not made again."""

from dataclasses import replace

import numpy as np
import pytest

from nanstack.canvas import union_canvas
from nanstack.io.frames import FrameError
from nanstack.levels.placed import Foreign, Light
from nanstack.settings import CanvasSettings
from nanstack.sky_stack import stacked_strips
from nanstack.stack import cells as cells_module
from nanstack.stack import elsewhere
from nanstack.stack.cells import Layer, cut, layers_of
from nanstack.stack.drizzle import Drizzle
from nanstack.stack.kept import KeptCells
from tests.support.crews import Couriers
from tests.support.skycells import frames_in, placed

SETTINGS = CanvasSettings()


@pytest.fixture(autouse=True)
def small_cells(monkeypatch):
    monkeypatch.setattr(cells_module, "SIDE", 64)


@pytest.fixture
def crew(tmp_path):
    (tmp_path / "empty").mkdir()
    return Couriers(tmp_path / "empty")


@pytest.fixture
def night(tmp_path, monkeypatch):
    """Frames with names as from the current folder."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "frames").mkdir()
    frames = frames_in(tmp_path / "frames", 4)
    return placed([replace(f, survey=replace(f.survey, path=f.path.relative_to(tmp_path))) for f in frames])


def stacked(night, kept=None, settings=SETTINGS, crew=None):
    canvas = union_canvas([one.frame.view for one in night], finer=settings.drizzle.scale if settings.drizzle else 1.0)
    strips = [strip for _, strip in stacked_strips(canvas, night, settings, kept=kept, crew=crew)]
    planes = [b"".join(getattr(s, name).tobytes() for s in strips) for name in ("image", "coverage", "weight")]
    return planes, [(s.rejected, s.samples, s.masked, s.spared, s.holes) for s in strips]


def with_light(night):
    light = Light(np.full((40, 40, 1), 50, np.float32), 20, 30)
    return [replace(one, foreign=Foreign(light, (0.5 * index, 2.0))) for index, one in enumerate(night)]


def with_mask(night):
    return [replace(night[0], masked=np.array([[10.0, 20.0, 90.0, 60.0, 4.0]])), *night[1:]]


@pytest.mark.parametrize("change", [list, with_light, with_mask], ids=["plain", "light", "mask"])
@pytest.mark.parametrize("drizzle", [None, Drizzle(2.0)], ids=["interpolated", "dropped"])
def test_cells_stacked_elsewhere_have_the_same_bytes(night, tmp_path, crew, change, drizzle):
    night, settings = change(night), replace(SETTINGS, drizzle=drizzle)
    kept = KeptCells(tmp_path / "cells")
    assert stacked(night, kept, settings, crew) == stacked(night, None, settings)
    assert len(crew.names) > 4
    assert {path.name for path in kept.folder.iterdir()} == set(crew.names), "nothing temporary is left"
    assert kept.made == set(crew.names)
    assert not kept.used


def test_little_travels_however_large_cells_are(night, tmp_path, crew):
    stacked(night, KeptCells(tmp_path / "cells"), SETTINGS, crew)
    assert crew.travelled < 2000, "bytes: a cell of 64 x 64 pixels has 57,000"


def test_each_cell_says_what_memory_it_takes(night, tmp_path, crew):
    canvas = union_canvas([one.frame.view for one in night])
    counts = [len(cell.frames) for cell in cut(layers_of(night, canvas, SETTINGS))]
    stacked(night, KeptCells(tmp_path / "cells"), SETTINGS, crew)
    most, fewest = counts.index(max(counts)), counts.index(min(counts))
    assert crew.needs[most] > crew.needs[fewest] > 4 * 64 * 64


def test_cells_that_are_kept_are_not_stacked_again(night, tmp_path, crew):
    kept = KeptCells(tmp_path / "cells")
    truth = stacked(night, kept)
    gone = sorted(kept.made)[2]
    (kept.folder / gone).unlink()
    again = KeptCells(tmp_path / "cells")
    assert stacked(night, again, SETTINGS, crew) == truth
    assert again.made == {gone}
    assert again.used == kept.made - {gone}


def test_a_frame_that_is_gone_is_named(night, tmp_path, crew):
    night[1].frame.path.unlink()
    elsewhere.bench_of.cache_clear()
    with pytest.raises(FrameError, match=r"^frame_01\.npy: "):
        stacked(night, KeptCells(tmp_path / "cells"), SETTINGS, crew)
    assert not list((tmp_path / "cells").glob(".partial*"))


def test_a_cell_that_is_not_seen_here_is_named(night, tmp_path, crew, monkeypatch):
    monkeypatch.setattr("nanstack.crew.PAUSES", ())
    monkeypatch.setattr(KeptCells, "save", lambda *_: None)
    with pytest.raises(OSError, match=r"cell_[+-]\d+_[+-]\d+\.npz was written by a worker, and is not seen here"):
        stacked(night, KeptCells(tmp_path / "cells"), SETTINGS, crew)


def test_a_full_disk_ends_it(night, tmp_path, crew, monkeypatch):
    def full(self, *_):
        self.failure = "No space left on device"

    monkeypatch.setattr(KeptCells, "save", full)
    with pytest.raises(OSError, match="No space left"):
        stacked(night, KeptCells(tmp_path / "cells"), SETTINGS, crew)


def test_what_a_process_knows_of_frames_goes_with_its_run(night, tmp_path, crew):
    night = placed(frames_in(tmp_path, 1))
    canvas = union_canvas([one.frame.view for one in night])
    with elsewhere._shelf_of([Layer.of(night[0], canvas)], tmp_path) as shelf:
        bench = elsewhere.bench_of(shelf)
        bench.source(0).window(bench.layer(0).touched)
        files = bench._files
        assert files._files
    elsewhere.bench_of.cache_clear()
    del bench
    import gc

    gc.collect()
    assert not files._files


def test_a_cell_whose_process_died_before_it_told_is_of_this_run(night, tmp_path):
    class Dying(Couriers):
        def in_order(self, do, items, needs=None):
            items = list(items)
            list(super().in_order(do, items[:2]))
            yield from super().in_order(do, items, needs)

    (tmp_path / "empty").mkdir()
    kept = KeptCells(tmp_path / "cells")
    stacked(night, kept, SETTINGS, Dying(tmp_path / "empty"))
    assert not kept.used
