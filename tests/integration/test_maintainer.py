# SPDX-License-Identifier: GPL-3.0-or-later
"""The patch for ZeMosaic's maintainer in a real ZeMosaic: the checkout that ZEMOSAIC_HOME names is copied, and patched.

The table's lines are printed (``pytest -s``).
"""

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits

from nanstack.truth.simulation import simulate_group
from tests.integration.test_zemosaic import OTHER_TILES, PYTHON, REJECT, outcome, plain  # noqa: F401
from zemosaic_patch.dropin import checkout, export, verify


@pytest.fixture(scope="module")
def mended(home, tmp_path_factory):
    folder = tmp_path_factory.mktemp("mended")
    copy = shutil.copytree(home, folder / "zemosaic", ignore=shutil.ignore_patterns(".git"))
    try:
        print(f"\n{export.export(home, folder / 'fix.patch')}")
    except checkout.NotPatchableError as error:
        pytest.skip(str(error))
    for words in (["init", "-q"], ["apply", "--check", "../fix.patch"], ["apply", "--stat", "--apply", "../fix.patch"]):
        print(subprocess.run(["git", *words], cwd=copy, check=True, capture_output=True, text=True).stdout)
    shutil.rmtree(copy / ".git")
    return copy


@pytest.fixture(scope="module")
def frames():
    return simulate_group(16, (540, 960), seed=5)[0]


def tiles(root, wanted, folder):
    folder.mkdir()
    return verify.run_tiles(root, wanted, folder, PYTHON, probe=False)


def test_a_tile_is_as_good_as_the_exact_stack_and_does_not_step(mended, frames, tmp_path):
    varied = simulate_group(16, (540, 960), seed=5, sky_scatter=0.05)[0]
    made = tiles(mended, [verify.Tile(frames), verify.Tile(varied)], tmp_path / "made")
    plain_sky, varied_sky = (
        verify.beside_exact(Path(tile["path"]), frames, tile["reference"], made["wsc_impl"]) for tile in made["tiles"]
    )
    quality, found = verify.quality_of(*plain_sky), verify.steps_of(*varied_sky)
    print(f"\nTABLE {quality}; {made['tiles'][0]['seconds']:.1f} s, {made['peak_memory'] / 2**20:.0f} MiB")
    print(f"TABLE steps of {found}")
    assert quality.good, str(quality)
    assert found.good, str(found)
    assert [tile["failed"] for tile in made["tiles"]] == [0, 0]


def test_tiles_that_propagate_no_masks_are_bit_for_bit_as_before(plain, mended, frames, tmp_path):  # noqa: F811
    other = [changes for changes in OTHER_TILES if not changes.get("altaz_cleanup_enabled")]
    wanted = [verify.Tile(frames[:6], changes) for changes in other]
    before, after = (
        [tile["path"] for tile in tiles(root, wanted, tmp_path / name)["tiles"]]
        for name, root in (("before", plain), ("after", mended))
    )
    assert None not in before
    for one, other in zip(before, after, strict=True):
        with fits.open(one) as old, fits.open(other) as new:
            for left, right in zip(old, new, strict=True):
                np.testing.assert_array_equal(left.data, right.data)


def test_rejections_of_whole_stacks_are_as_before(plain, mended, tmp_path):  # noqa: F811
    """Those that grid mode calls among them; of stacks with holes, whose quantiles come another way, to rounding."""
    saved = []
    for name, root in (("before", plain), ("after", mended)):
        path = tmp_path / f"{name}.npz"
        subprocess.run([PYTHON, "-c", REJECT, str(root), str(path)], check=True, cwd=tmp_path, capture_output=True)
        saved.append(np.load(path))
    assert saved[0].files == saved[1].files
    for name in saved[0].files:
        one, other = saved[0][name], saved[1][name]
        if np.array_equal(one, other, equal_nan=True):
            continue
        np.testing.assert_allclose(one, other, rtol=1e-6)
        print(f"\nTABLE array {name}: the same to rounding")


def test_zemosaics_own_tests_pass_as_before_and_the_new_ones_pass(plain, mended):  # noqa: F811
    before, after = outcome(plain), outcome(mended)
    new = [line for line in after if export.TESTS in line]
    assert len(new) > 8
    assert {line.split()[0] for line in new} == {"PASSED"}
    assert [line for line in after if line not in new] == before
