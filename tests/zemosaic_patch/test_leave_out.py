# SPDX-License-Identifier: GPL-3.0-or-later
"""Frames left out by hand: the mosaic is that of the others, and the report names them; what is told to programs."""

import json
import logging

import numpy as np
import pytest
from astropy.io import fits

from nanstack.stack.kept import read_part
from tests.support.pointings import write_pointings
from zemosaic_patch import progress
from zemosaic_patch.errors import UsageError
from zemosaic_patch.given import Wishes, named_among
from zemosaic_patch.progress import shown


@pytest.fixture(scope="module")
def frames(tmp_path_factory):
    folder = tmp_path_factory.mktemp("leave_out") / "frames"
    write_pointings(folder)
    return folder


def image(folder):
    return fits.getdata(folder / "mosaic.fits", memmap=False)  # the next run replaces it


def told(folder):
    return json.loads((folder / "mosaic.json").read_text())


def test_the_mosaic_is_that_of_the_others_and_the_report_names_them(run, frames, tmp_path):
    paths = sorted(frames.iterdir())
    out, *others = paths
    code, _, err = run("mosaic", frames, "-o", tmp_path / "a", "--leave-out", out.name)
    assert code == 0
    assert any(out.name in line and "not wanted" in line for line in err)
    assert run("mosaic", *others, "-o", tmp_path / "b")[0] == 0
    np.testing.assert_array_equal(image(tmp_path / "a"), image(tmp_path / "b"))
    assert told(tmp_path / "a")["left_out"] == {out.name: "it is not wanted (--leave-out)"}
    assert "not wanted" in (tmp_path / "a" / "report.html").read_text(encoding="utf-8")
    # run.toml repeats it, and so does going on
    assert run("mosaic", "--config", tmp_path / "a" / "run.toml", "-o", tmp_path / "c")[0] == 0
    np.testing.assert_array_equal(image(tmp_path / "c"), image(tmp_path / "a"))


def test_going_on_without_a_frame_makes_anew_only_what_it_showed(run, frames, tmp_path):
    paths = sorted(frames.iterdir())
    assert run("mosaic", frames, "-o", tmp_path)[0] == 0
    before = image(tmp_path)
    names = ["--leave-out", paths[0], "--leave-out", paths[1].name]
    assert run("mosaic", frames, "-o", tmp_path, "--resume", *names)[0] == 0
    assert set(told(tmp_path)["left_out"]) == {paths[0].name, paths[1].name}
    assert not np.array_equal(image(tmp_path), before, equal_nan=True)


@pytest.mark.parametrize("name", ["nothing.fit", "frames", ""])
def test_what_is_no_frame_is_refused(run, frames, tmp_path, name):
    code, _, err = run("mosaic", frames, "-o", tmp_path / "out", f"--leave-out={name}")
    assert code == 2
    assert err == [f"zemosaic-patch: --leave-out {name} is not among the {len(list(frames.iterdir()))} frames given: "
                   "name one of them"]  # fmt: skip
    assert not (tmp_path / "out").exists()


def test_a_name_is_that_of_all_files_of_that_name_and_a_path_of_one(tmp_path):
    paths = [tmp_path / night / f"{index}.fit" for night in ("a", "b") for index in (1, 2)]
    assert named_among(paths, ["1.fit"], "leave_out") == {paths[0], paths[2]}
    assert named_among(paths, [str(paths[0])], "leave_out") == {paths[0]}
    assert named_among(paths, ["b/1.fit"], "leave_out") == {paths[2]}, "as the report tells it from the other"
    assert named_among(paths, [str(tmp_path / "b" / ".." / "a" / "2.fit")], "leave_out") == {paths[1]}
    with pytest.raises(UsageError, match="all of the frames"):
        Wishes.of(paths, ["1.fit", "2.fit"], [])


def test_tiles_are_joined_as_they_are(run, tmp_path, frames):
    code, _, err = run("mosaic", "--existing-tiles", frames, "-o", tmp_path, "--leave-out", "x")
    assert code == 2
    assert "--leave-out has no effect here" in err[0]


def test_steps_are_told_to_programs_and_cells_where_they_lie(run, frames, tmp_path):
    code, _, err = run("mosaic", frames, "-o", tmp_path, "--progress", "json")
    assert code == 0
    lines = [json.loads(line) for line in err]
    seconds = [line["seconds"] for line in lines]
    assert seconds == sorted(seconds)
    stacking = [line for line in lines if line.get("step") == "stacking"]
    cells = sorted((tmp_path / "cells").glob("cell_*.npz"))
    assert stacking[-1]["done"] == stacking[-1]["total"] == len(cells)
    # put together, the kept cells are the mosaic
    whole = np.moveaxis(image(tmp_path), 0, -1)
    parts = [read_part(path) for path in cells]
    top, left = (min(getattr(box, side) for box, _ in parts) for side in ("top", "left"))
    joined = np.full_like(whole, np.nan)
    for box, part in parts:
        joined[box.top - top : box.bottom - top, box.left - left : box.right - left] = part
    np.testing.assert_array_equal(joined, whole)


def test_what_ends_a_run_is_told_to_programs_too(run, frames, tmp_path):
    (tmp_path / "mosaic.fits").write_bytes(b"mine")
    for words in (["--progress", "json"], ["--progress=json", "--kapa=3"], ["--progress=json", "--kappa"]):
        code, _, err = run("mosaic", frames, "-o", tmp_path, *words)
        assert code == 2
        assert json.loads(err[-1]).keys() == {"error"}
    code, _, err = run("mosaic", tmp_path / "none", "-o", tmp_path, "--progress", "bars")
    assert code == 2
    assert err[-1].startswith("zemosaic-patch: ")


def test_where_no_bars_are_seen_long_steps_are_told_in_lines(capsys, monkeypatch):
    def told():
        with shown() as lines:
            for done in range(3):
                lines.step("surveying frames", done, 2)
            lines.warn("a dark night")
        return capsys.readouterr().err.splitlines()

    assert told() == ["warning: a dark night"], "it took no time"
    monkeypatch.setattr(progress, "EACH_S", 0)
    assert told() == [*(f"surveying frames: {done} of 2" for done in range(3)), "warning: a dark night"]


def test_what_is_logged_meanwhile_is_a_line_of_json_too(capsys):
    with shown("json") as lines:
        logging.getLogger("nanstack.compilation").warning("compiling the\nstack")
        lines.step("stacking", 1, 2)
    logging.getLogger("nanstack.compilation").warning("afterwards")
    told = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert [{key: value for key, value in line.items() if key != "seconds"} for line in told] == [
        {"note": "compiling the\nstack"},
        {"step": "stacking", "done": 1, "total": 2},
    ]
