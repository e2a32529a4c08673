# SPDX-License-Identifier: GPL-3.0-or-later
"""The drop-in in a real ZeMosaic: the checkout that ZEMOSAIC_HOME names is copied, patched, measured and restored.

Its Python is the one that runs the tests, or ZEMOSAIC_PYTHON. The table's line is printed (``pytest -s``).
"""

import ast
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits

from nanstack.truth.simulation import simulate_group
from zemosaic_patch.dropin import patch as dropin
from zemosaic_patch.dropin import verdict, verify
from zemosaic_patch.dropin.sources import MODULES, Source

PYTHON = os.environ.get("ZEMOSAIC_PYTHON", sys.executable)
OTHER_TILES = [
    {"stack_reject_algo": "kappa_sigma"},
    {"stack_reject_algo": "linear_fit_clip"},
    {"stack_reject_algo": "none", "stack_norm_method": "linear_fit"},
    {"stack_reject_algo": "kappa_sigma", "altaz_cleanup_enabled": True},
]
REJECT = """
import sys; sys.path.insert(0, sys.argv[1])
import numpy as np
import zemosaic_align_stack as zas
import zemosaic_utils as zu
rng = np.random.default_rng(3)
stack = rng.normal(1000, 20, (9, 40, 50, 3)).astype(np.float32)
stack[2, 5:9] += 900
results = [zas._reject_outliers_kappa_sigma(stack.copy(), 3.0, 3.0), zas._reject_outliers_linear_fit_clip(stack.copy()),
           zas._reject_outliers_winsorized_sigma_clip(stack.copy(), (0.05, 0.05), 3.0, 3.0)]
frames = list(stack)
holes = [np.where(rng.random(frame.shape) < 0.1, np.nan, frame) for frame in frames]
for name in ("stack_winsorized_sigma_clip", "stack_kappa_sigma_clip", "stack_linear_fit_clip"):
    for group in (frames, holes):
        results.append(getattr(zas, name)([frame.copy() for frame in group], zconfig=None))
for algorithm in ("winsorized_sigma_clip", "kappa_sigma", "none"):
    results.append([zas.stack_aligned_images([f.copy() for f in frames], rejection_algorithm=algorithm)])
results.append([np.array(zu._percentiles_gpu(stack[0, ..., 0], 25.0, 90.0))])
arrays = [np.asarray(part) for result in results for part in result if part is not None]
np.savez(sys.argv[2], *arrays)
"""


@pytest.fixture(scope="module")
def plain(home, tmp_path_factory):
    return shutil.copytree(home, tmp_path_factory.mktemp("plain") / "zemosaic")


@pytest.fixture(scope="module")
def patched(home, tmp_path_factory):
    copy = shutil.copytree(home, tmp_path_factory.mktemp("patched") / "zemosaic")
    assert verdict.check(copy)[0] == 1
    dropin.apply(copy, match_sky="none")
    assert verdict.check(copy)[0] == 0
    return copy


@pytest.fixture(scope="module")
def matched(home, tmp_path_factory):
    copy = shutil.copytree(home, tmp_path_factory.mktemp("matched") / "zemosaic")
    dropin.apply(copy)
    return copy


@pytest.fixture(scope="module")
def frames():
    return simulate_group(16, (540, 960), seed=5)[0]


def test_a_winsorized_tile_is_as_good_as_the_exact_stack(plain, patched, frames, tmp_path):
    warm = tmp_path / "warm"
    warm.mkdir()
    verify.run_tiles(patched, [verify.Tile(frames[:3])], warm, PYTHON, probe=False)  # the compilation is not timed
    for name, root in (("before", plain), ("after", patched)):
        scratch = tmp_path / name
        scratch.mkdir()
        result = verify.run_tiles(root, [verify.Tile(frames)], scratch, PYTHON, probe=False)
        tile = result["tiles"][0]
        assert tile["path"], tile["said"]
        quality = verify.measure(Path(tile["path"]), frames, tile["reference"], result["wsc_impl"])
        print(f"\nTABLE {name}: {quality}; {tile['seconds']:.1f} s, {result['peak_memory'] / 2**20:.0f} MiB")
    assert quality.good, str(quality)
    assert tile["failed"] == 0
    assert ["MT_COVERAGE: propagate_mask=True", "DEBUG_DETAIL"] in tile["said"]


def test_sky_levels_are_matched_unless_told_not_to(plain, patched, matched, frames, tmp_path):
    """Against the exact stack of the same frames under one sky."""
    varied, found = simulate_group(16, (540, 960), seed=5, sky_scatter=0.05)[0], {}
    for name, root in (("before", plain), ("after", patched), ("matched", matched)):
        scratch = tmp_path / name
        scratch.mkdir()
        result = verify.run_tiles(root, [verify.Tile(varied)], scratch, PYTHON, probe=False)
        tile = result["tiles"][0]
        assert tile["path"], tile["said"]
        compared = verify.beside_exact(Path(tile["path"]), frames, tile["reference"], result["wsc_impl"])
        found[name] = verify.steps_of(*compared)
        print(f"\nTABLE {name}: steps of {found[name]}")
    assert min(found["after"].level, found["after"].colour) > 10
    assert found["matched"].good


def test_the_patch_is_there_in_every_kind_of_process(patched, frames, tmp_path):
    result = verify.run_tiles(patched, [], tmp_path, PYTHON)
    assert "zemosaic_align_stack.align_images_in_group" in result["imported"]
    assert result["spawned"] == result["imported"] == result["package"]


def test_every_other_tile_is_bit_for_bit_as_before(plain, matched, frames, tmp_path):
    made = []
    for name, root in (("before", plain), ("after", matched)):
        scratch = tmp_path / name
        scratch.mkdir()
        few = frames[:6]
        result = verify.run_tiles(root, [verify.Tile(few, one) for one in OTHER_TILES], scratch, PYTHON, probe=False)
        made.append([tile["path"] for tile in result["tiles"]])
    for before, after in zip(*made, strict=True):
        assert (before is None) == (after is None)
        if before is not None:
            with fits.open(before) as old, fits.open(after) as new:
                for one, other in zip(old, new, strict=True):
                    np.testing.assert_array_equal(one.data, other.data)
    assert sum(path is not None for path in made[0]) >= 3


def test_rejections_that_grid_mode_calls_and_unmarked_stacks_are_as_before(plain, patched, tmp_path):
    saved = []
    for name, root in (("before", plain), ("after", patched)):
        path = tmp_path / f"{name}.npz"
        subprocess.run([PYTHON, "-c", REJECT, str(root), str(path)], check=True, cwd=tmp_path, capture_output=True)
        saved.append(np.load(path))
    assert saved[0].files == saved[1].files
    for name in saved[0].files:
        np.testing.assert_array_equal(saved[0][name], saved[1][name])


def test_every_other_function_is_unchanged(plain, patched):
    for name in MODULES:
        before, after = (Source(name, (root / name).read_bytes()).tree.body for root in (plain, patched))
        assert len(after) in (len(before), len(before) + 1 + _bound(after))
        for one, other in zip(before, after, strict=False):
            if getattr(one, "name", "") != "create_master_tile":
                assert ast.dump(one) == ast.dump(other)


def _bound(body):
    """Count the assignments of the block at the end."""
    return sum(isinstance(node, ast.Assign) and "_zemosaic_patch" in ast.unparse(node.value) for node in body)


def test_zemosaics_own_tests_pass_as_before(plain, patched):
    assert outcome(patched) == outcome(plain)


def outcome(root):
    """Return how ZeMosaic's tests end, test by test."""
    command = [PYTHON, "-m", "pytest", "tests", "-q", "-rA", "--tb=no", "-p", "no:cacheprovider", "-p", "no:randomly"]
    run = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
    if run.returncode == pytest.ExitCode.NO_TESTS_COLLECTED:
        pytest.skip("this ZeMosaic has no tests that pytest finds")
    lines = re.findall(r"^(?:PASSED|FAILED|ERROR|SKIPPED|XFAIL) \S+", run.stdout, re.MULTILINE)
    assert lines, run.stdout + run.stderr
    print(f"\nTABLE {run.stdout.strip().splitlines()[-1]}")
    return sorted(lines)


def test_revert_gives_every_byte_back(home, tmp_path):
    copy = shutil.copytree(home, tmp_path / "zemosaic")
    dropin.apply(copy, all_algorithms=True)
    dropin.apply(copy, match_sky="plane")
    dropin.revert(copy)
    before, after = (
        {path.relative_to(root): path.read_bytes() for path in root.rglob("*") if path.is_file()}
        for root in (home, copy)
    )
    assert before == after
