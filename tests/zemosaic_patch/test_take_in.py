# SPDX-License-Identifier: GPL-3.0-or-later
"""Frames taken in by hand that would be left out: they are in the mosaic; the report has what speaks against them."""

import json
import shutil

import numpy as np
import pytest
from astropy.io import fits

from nanstack.register import verdicts
from tests.support.pointings import write_blurred, write_pointings

LAYERS = ("RGB", "COVERAGE", "WEIGHT", "VARIANCE")
BY_HAND = "taken in by you all the same"  # as the report's heading has it, too


@pytest.fixture(scope="module")
def frames(tmp_path_factory):
    """Frames, one of them blurred, a copy of one, and a file that is none."""
    folder = tmp_path_factory.mktemp("take_in") / "frames"
    write_pointings(folder)
    first, second, *_ = sorted(folder.iterdir())
    write_blurred(folder / "blurred.fits", first)
    shutil.copy(second, folder / "copied_light.fits")
    (folder / "torn.fits").write_bytes(b"SIMPLE  = no")
    return folder


@pytest.fixture(scope="module")
def usual(frames, tmp_path_factory):
    """The mosaic's folder of a run that nobody wished anything of."""
    from zemosaic_patch import cli

    folder = tmp_path_factory.mktemp("usual")
    assert cli.main(["mosaic", str(frames), "-o", str(folder)]) == 0
    return folder


def layers(folder):
    with fits.open(folder / "mosaic.fits") as file:
        return {name: file[name].data.copy() for name in LAYERS}


def told(folder):
    return json.loads((folder / "mosaic.json").read_text())


def assert_same(one, other):
    for name, values in layers(other).items():
        np.testing.assert_array_equal(layers(one)[name], values, err_msg=name)


def test_by_itself_it_is_left_out_and_said_to_be_there_for_the_taking(usual):
    assert told(usual)["left_out"]["blurred.fits"].startswith("it is blurred: its stars are ")
    assert (told(usual)["taken_in"], told(usual)["can_be_taken_in"]) == ({}, ["blurred.fits"])
    page = (usual / "report.html").read_text(encoding="utf-8")
    assert "1 could be in the picture all the same, by <code>--take-in FILE</code>" in page
    assert BY_HAND not in page.lower()


def test_taken_in_it_is_what_a_run_without_that_verdict_makes(run, frames, usual, tmp_path, monkeypatch):
    code, out, err = run("mosaic", frames, "-o", tmp_path / "a", "--take-in", "blurred.fits")
    assert code == 0
    reason = told(usual)["left_out"]["blurred.fits"]
    assert told(tmp_path / "a")["taken_in"] == {"blurred.fits": reason}
    assert sum(BY_HAND in line for line in err) == 1
    assert f"warning: {BY_HAND} (--take-in): blurred.fits: {reason}" in err
    assert "9 stacked, 1 of them taken in by you, 2 left out" in out
    assert BY_HAND in (tmp_path / "a" / "report.html").read_text(encoding="utf-8").lower()
    assert layers(usual)["COVERAGE"].max() == 8
    assert layers(tmp_path / "a")["COVERAGE"].max() == 9

    # run.toml repeats it
    assert run("mosaic", "--config", tmp_path / "a" / "run.toml", "-o", tmp_path / "b")[0] == 0
    assert_same(tmp_path / "b", tmp_path / "a")

    monkeypatch.setattr(verdicts, "WIDER", np.inf)
    assert run("mosaic", frames, "-o", tmp_path / "c")[0] == 0
    assert "blurred.fits" not in told(tmp_path / "c")["left_out"]
    assert_same(tmp_path / "a", tmp_path / "c")


def test_a_run_goes_on_with_it_and_without_it(run, frames, usual, tmp_path):
    shutil.copytree(usual, tmp_path / "out")
    again = "mosaic", frames, "-o", tmp_path / "out", "--resume"
    assert run(*again, "--take-in", frames / "blurred.fits")[0] == 0
    assert layers(tmp_path / "out")["COVERAGE"].max() == 9
    reason = told(usual)["left_out"]["blurred.fits"]
    assert told(tmp_path / "out")["taken_in"] == {"blurred.fits": reason}
    # known by now, it is not registered again, and all is there already
    assert run(*again, "--take-in", "blurred.fits")[0] == 0
    stack = told(tmp_path / "out")["stack"]
    assert stack["cells_kept"] == stack["cells"]
    assert told(tmp_path / "out")["taken_in"] == {"blurred.fits": reason}
    # out again: the others are as they were
    assert run(*again)[0] == 0
    assert told(tmp_path / "out")["left_out"] == told(usual)["left_out"]
    assert told(tmp_path / "out")["can_be_taken_in"] == ["blurred.fits"]
    assert_same(tmp_path / "out", usual)


def test_what_cannot_be_taken_in_is_named_in_a_line_and_the_others_are_stacked(run, frames, usual, tmp_path):
    names = ["--take-in", "torn.fits", "--take-in", "copied_light.fits"]
    code, _, err = run("mosaic", frames, "-o", tmp_path, *names)
    assert code == 0
    assert_same(tmp_path, usual)
    for name in ("torn.fits", "copied_light.fits"):
        (line,) = [line for line in err if name in line]
        assert line == f"warning: cannot be taken in (--take-in): {name}: {told(usual)['left_out'][name]}"
        assert line.removeprefix("warning: ") in told(tmp_path)["warnings"]
    assert told(tmp_path)["taken_in"] == {}


def test_what_is_used_anyway_stays_as_it_is(run, frames, usual, tmp_path):
    assert run("mosaic", frames, "-o", tmp_path, "--take-in", "light_0_1.fits")[0] == 0
    assert_same(tmp_path, usual)
    assert told(tmp_path)["taken_in"] == {}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--take-in", "nothing.fit"], "--take-in nothing.fit is not among the 11 frames given: name one of them"),
        (["--take-in", "torn.fits", "--leave-out", "torn.fits"], "--leave-out and --take-in both name "),
        (["--existing-tiles", "--take-in", "torn.fits"], "--take-in has no effect here"),
    ],
)
def test_what_cannot_be_meant_is_refused(run, frames, tmp_path, words, said):
    code, _, err = run("mosaic", frames, "-o", tmp_path / "out", *words)
    assert code == 2
    assert len(err) == 1
    assert said in err[0]
    assert not (tmp_path / "out").exists()


def test_a_look_says_what_could_be_taken_in(run, frames):
    code, out, _ = run("look", frames)
    assert code == 0
    assert "can be taken in    1 of these, by mosaic --take-in FILE" in out
    code, out, _ = run("look", frames, "--json")
    files, *_, last = map(json.loads, out.splitlines())
    assert [files["files"][number] for number in last["can_be_taken_in"]] == [str(frames / "blurred.fits")]
