# SPDX-License-Identifier: GPL-3.0-or-later
"""Frames that are gone while a mosaic is made, or before it is gone on with: named, all of them, and left out."""

import json
import shutil

import pytest

from nanstack import sky_stack
from tests.support.pointings import write_pointings
from zemosaic_patch import stack_run


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    folder = tmp_path_factory.mktemp("lost") / "frames"
    write_pointings(folder)
    return folder


@pytest.fixture
def frames(kept, tmp_path):
    return sorted(shutil.copytree(kept, tmp_path / "frames").iterdir())


def told(folder):
    return json.loads((folder / "mosaic.json").read_text())


def once_stacking(monkeypatch, harm):
    """Do harm to frames when the first strip of a mosaic is there."""

    def strips(*given, **more):
        harm()
        yield from sky_stack.stacked_strips(*given, **more)

    monkeypatch.setattr(stack_run, "stacked_strips", strips)


LOST = "it is not there any more, and was when this mosaic was begun"


def test_all_that_are_gone_are_told_and_going_on_names_them(run, frames, tmp_path, monkeypatch):
    gone, out = frames[:3], tmp_path / "out"
    with monkeypatch.context() as meanwhile:
        once_stacking(meanwhile, lambda: [path.unlink() for path in gone])
        code, _, err = run("mosaic", tmp_path / "frames", "-o", out)
    assert code == 1
    first, second, third = (path.name for path in gone)
    assert err[-1] == (
        f"zemosaic-patch: 3 frames cannot be read any more ({first}: there is no such file; likewise {second} and "
        f"{third}): --resume goes on, without what is not back by then"
    )

    code, _, err = run("mosaic", tmp_path / "frames", "-o", out, "--resume")
    assert code == 0
    assert any(first in line and third in line and "3 left out" in line for line in err)
    assert told(out)["left_out"] == dict.fromkeys([first, second, third], LOST)
    assert any(LOST in line for line in told(out)["warnings"])
    assert LOST in (out / "report.html").read_text(encoding="utf-8")
    assert [one["name"] for one in told(out)["frames"]] == [path.name for path in frames[3:]]

    assert run("mosaic", tmp_path / "frames", "-o", out, "--resume")[0] == 0  # that was said with the mosaic
    assert told(out)["left_out"] == {}


def test_frames_cut_short_meanwhile_are_told(run, frames, tmp_path, monkeypatch):
    def cut():
        for path in frames[:2]:
            with open(path, "r+b") as file:
                file.truncate(6000)

    once_stacking(monkeypatch, cut)
    code, _, err = run("mosaic", tmp_path / "frames", "-o", tmp_path / "out")
    assert code == 1
    assert "2 frames cannot be read any more" in err[-1]
    assert "truncated" in err[-1]


def test_frames_that_were_moved_or_renamed_are_there(run, frames, tmp_path):
    words = "mosaic", tmp_path / "frames", "-o", tmp_path / "out"
    assert run(*words)[0] == 0
    (tmp_path / "frames" / "night").mkdir()
    frames[0].rename(tmp_path / "frames" / "night" / frames[0].name)
    frames[1].rename(tmp_path / "frames" / "another.fits")
    assert run(*words, "--resume")[0] == 0
    assert told(tmp_path / "out")["left_out"] == {}


def test_wishes_for_what_is_gone_go_with_it_and_misspelt_ones_are_refused(run, frames, tmp_path):
    first, second = frames[:2]
    words = "mosaic", tmp_path / "frames", "-o", tmp_path / "out", "--leave-out", first, "--leave-out", second.name
    assert run(*words)[0] == 0
    first.unlink()
    code, _, err = run(*words, "--leave-out", "nothing.fit", "--resume")
    assert code == 2
    assert "nothing.fit is not among" in err[-1]
    for _ in range(2):  # run.toml names it no more
        code, _, err = run("mosaic", "--config", tmp_path / "out" / "run.toml", "-o", tmp_path / "out", "--resume")
        assert code == 0, err
    assert told(tmp_path / "out")["left_out"] == {second.name: "it is not wanted (--leave-out)"}


def test_a_run_that_starts_again_misses_nothing(run, frames, tmp_path):
    words = "mosaic", tmp_path / "frames", "-o", tmp_path / "out"
    assert run(*words)[0] == 0
    frames[0].unlink()
    assert run(*words, "--overwrite")[0] == 0
    assert told(tmp_path / "out")["left_out"] == {}


@pytest.mark.parametrize("content", ["", "[]", '{"frames": 1}', '{"frames": [1, [null, ""], ["a"]]}', '{"frames": {}}'])
def test_a_damaged_list_misses_nothing(run, frames, tmp_path, content):
    out = tmp_path / "out"
    (out / "surveys").mkdir(parents=True)
    (out / "surveys" / "given.json").write_text(content)
    assert run("mosaic", tmp_path / "frames", "-o", out)[0] == 0
    assert told(out)["left_out"] == {}
