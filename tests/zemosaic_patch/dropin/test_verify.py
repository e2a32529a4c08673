# SPDX-License-Identifier: GPL-3.0-or-later
"""What `verify` measures and shows, on arrays with known steps; real ZeMosaics are in tests/integration."""

import os
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from zemosaic_patch.dropin import child, verify
from zemosaic_patch.dropin.checkout import RefusedError
from zemosaic_patch.dropin.verify import Steps

SHAPE = (60, 90)


@pytest.fixture
def coverage():
    columns = np.repeat([2, 5, 9], SHAPE[1] // 3)
    return np.tile(columns, (SHAPE[0], 1))


@pytest.fixture
def exact():
    return np.random.default_rng(4).normal(1000, 20, (*SHAPE, 3)).astype(np.float32)


def test_steps_are_those_that_were_put_in(exact, coverage):
    """Whatever the scene and the noise are: the exact stack has them, too."""
    tile = exact + np.select([coverage == 2, coverage == 5], [30.0, -10.0], 0.0)[..., np.newaxis]
    tile[coverage == 9] += np.float32([6, 0, -3])
    steps = verify.steps_of(tile, exact, coverage)
    assert steps.level == pytest.approx(40, abs=0.01)
    assert steps.colour == pytest.approx(6, abs=0.01)
    assert not steps.good
    assert verify.steps_of(exact + 500, exact, coverage).good, "a constant is no step"


def test_a_tile_without_data_has_no_good_steps(exact, coverage):
    assert not verify.steps_of(np.full_like(exact, np.nan), exact, coverage).good


def test_an_area_too_small_for_a_step_is_left_out(exact, coverage):
    tile = exact.copy()
    coverage[:5, :5], tile[:5, :5] = 1, 9000
    assert verify.steps_of(tile, exact, coverage).good


def test_the_picture_shows_the_step_and_lies_outside_of_zemosaic(exact, coverage, tmp_path):
    before = exact + 60 * (coverage == 2)[..., np.newaxis].astype(np.float32)
    root, picture = tmp_path / "zemosaic", tmp_path / "shown.png"
    root.mkdir()
    steps = [Steps(60.0, 0.0), Steps(0.0, 0.0)]
    (line,) = verify._drawn(before, exact, steps, picture, root)
    assert str(picture) in line
    left, right = np.array_split(cv2.imread(str(picture)).astype(float), 2, axis=1)

    def contrast(panel):
        return panel[100:300, 50:200].mean() - panel[100:300, 700:850].mean()

    assert contrast(left) > 30
    assert abs(contrast(right)) < 5
    (line,) = verify._drawn(before, exact, steps, root / "shown.png", root)
    assert "would lie in ZeMosaic" in line
    assert list(root.iterdir()) == []


def test_a_tile_is_made_with_the_skies_left_alone_once():
    done = []
    hooks = SimpleNamespace(match_sky=lambda frames, model, callback: done.append(model))
    worker = SimpleNamespace(zemosaic_align_stack=SimpleNamespace(_zemosaic_patch=hooks))
    for matched in (False, True):
        with child.skies(worker, matched):
            hooks.match_sky([], f"matched: {matched}", None)
    assert done == ["matched: True"]
    with child.skies(SimpleNamespace(zemosaic_align_stack=None), matched=False):  # a ZeMosaic without the patch
        pass


def test_the_packaged_program_looks_for_a_python(tmp_path, monkeypatch):
    """It is none itself."""
    monkeypatch.setattr("sys.frozen", True, raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(RefusedError, match="--python"):
        verify.python_of(tmp_path)
    python = tmp_path / "python3"
    python.write_bytes(b"")
    python.chmod(0o755)
    if os.name == "posix":
        assert verify.python_of(tmp_path) == str(python)
