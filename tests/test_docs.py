# SPDX-License-Identifier: GPL-3.0-or-later
"""The examples in docs/ run as they stand there, and print what they say they print."""

import re
from pathlib import Path

import numpy as np
import pytest

import nanstack
from nanstack.truth.simulation import simulate_group

TEXT = (Path(__file__).parent.parent / "docs" / "python.md").read_text(encoding="utf-8")
TILE, MOSAIC = re.findall(r"```python\n(.*?)```", TEXT, flags=re.DOTALL)


def test_the_example_of_a_tile_runs(capsys):
    known = {}
    exec(TILE, known)
    assert capsys.readouterr().out.startswith("(200, 320, 3) float32\n")
    tile, frames = known["tile"], known["frames"]
    assert tile.coverage.max() == 8
    assert [alignment.method for alignment in tile.alignments] == ["reference"] + 7 * ["stars"]
    level = np.nanmedian(tile.image, axis=(0, 1))
    assert np.abs(level - frames[0].sky[0]).max() < 5  # the reference's sky, though they differ by 10 %


def test_the_example_of_a_mosaic_runs(capsys):
    exec(MOSAIC, {})
    lines = capsys.readouterr().out.splitlines()
    assert lines[1] == "530.0 530.0"
    assert lines[2] == "24"


def test_files_are_frames_and_a_bad_one_is_left_out(tmp_path):
    frames = [frame.data for frame in simulate_group(4, (150, 200), seed=3, n_stars=200)[0]]
    paths = [tmp_path / f"{index}.npy" for index in range(4)]
    for path, data in zip(paths, frames, strict=True):
        np.save(path, data)
    frames[2] = np.full_like(frames[2], np.nan)
    np.save(paths[2], frames[2])
    of_files, of_arrays = nanstack.make_tile(paths, 1), nanstack.make_tile(frames, 1)
    assert np.array_equal(of_files.image, of_arrays.image, equal_nan=True)
    assert of_files.alignments[2].reason == "it holds no finite sample"
    assert of_files.coverage.max() == 3
    with pytest.raises(ValueError, match="weights must be 4, one a frame, not 3"):
        nanstack.make_tile(frames, weights=[1, 2, 3])


def test_what_is_not_there_is_not_imported():
    with pytest.raises(AttributeError, match="no attribute 'make_tea'"):
        nanstack.make_tea  # noqa: B018
    assert {"make_tile", "make_mosaic"} <= set(nanstack.__all__)
