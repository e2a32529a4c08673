# SPDX-License-Identifier: GPL-3.0-or-later
"""ZeMosaic's whole worker before and after `apply`: what is not a winsorized tile's comes out bit for bit the same.

The checkout that ZEMOSAIC_HOME names is copied, and run by the Python that runs the tests, or ZEMOSAIC_PYTHON, which
needs all that ZeMosaic needs. SDS is not here: no two of its runs are the same, unpatched as patched.
"""

import shutil
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest
from astropy.io import fits

from tests.integration.night import Night, write_frames
from tests.integration.whole_worker import PYTHON, Run, Task, run_worker
from zemosaic_patch.dropin import patch as dropin

# fewer frames of a pointing would be joined with the next one's; smaller frames have wider pixels than ZeMosaic takes
NIGHT = Night(frames=16, shape=(180, 320), pointings=2)
QUICK = {"final_mosaic_dbe_enabled": False, "export_aesthetic_fits": False}  # after Phase 5, and slow
REJECTION = "stacking_rejection_algorithm"
LIMITS = {"max_raw_per_master_tile": 2, "winsor_max_frames_per_pass": 2}


@dataclass(frozen=True)
class Case:
    """Settings that must not change, and what the worker is given, below the scratch folder.

    Where many tiles are joined, Phase 5 goes by chance: the mosaics of two unpatched runs differ, too.
    """

    name: str
    settings: dict
    frames: str = "frames"
    mosaic_by_chance: bool = False


CASES = (
    Case("kappa-sigma", {REJECTION: "kappa_sigma"}),
    Case("linear-fit", {REJECTION: "linear_fit_clip"}),
    Case("no-rejection", {REJECTION: "none"}),
    Case("altaz-cleanup", {REJECTION: "kappa_sigma", "altaz_cleanup_enabled": True}, "altaz"),
    Case("limits", {REJECTION: "kappa_sigma"} | LIMITS, mosaic_by_chance=True),
    Case("master-tiles", {"use_existing_master_tiles": True}, "kappa-sigma/zemosaic_temp_master_tiles"),
    Case("grid-winsorized", {REJECTION: "winsorized_sigma_clip"}, "grid"),
    Case("grid-kappa-sigma", {REJECTION: "kappa_sigma"}, "grid"),
)


@pytest.fixture(scope="module")
def runs(home, tmp_path_factory):
    """All cases' runs, before and after the patch."""
    scratch = tmp_path_factory.mktemp("worker")
    patched = shutil.copytree(home, scratch / "patched")
    dropin.apply(patched)
    with ThreadPoolExecutor(2) as pool:
        before, after = pool.map(run_cases, (home, patched), (scratch / "before", scratch / "after"))
    return {case.name: pair for case, *pair in zip(CASES, before, after, strict=True)}


def run_cases(zemosaic: Path, scratch: Path) -> list[Run]:
    write_frames(NIGHT, scratch / "frames")
    write_frames(NIGHT, scratch / "altaz")
    for path in (scratch / "altaz").iterdir():
        fits.setval(path, "EQMODE", value=0)  # as a Seestar says that it stood on an alt-az mount
    grid = scratch / "grid"  # it begins where a plan lies among the frames
    grid.mkdir()
    names = sorted((scratch / "frames").iterdir())
    (grid / "stack_plan.csv").write_text("\n".join(["file_path", *map(str, names)]) + "\n", encoding="utf-8")
    tasks = [Task(scratch / case.frames, scratch / case.name, QUICK | case.settings) for case in CASES]
    return run_worker(zemosaic, tasks, scratch, PYTHON, repeatable=True)


def images(folder: Path) -> dict:
    """Return the bytes of every image that a run left, by file and HDU."""
    found = {}
    for path in folder.rglob("*.fits"):
        with fits.open(path) as hdus:
            for number, hdu in enumerate(hdus):
                found[str(path.relative_to(folder)), number] = None if hdu.data is None else hdu.data.tobytes()
    return found


@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_what_is_no_winsorized_tile_is_bit_for_bit_as_before(runs, case):
    before, after = (images(run.folder) for run in runs[case.name])
    assert before.keys() == after.keys()
    by_chance = {runs[case.name][0].mosaic.name} if case.mosaic_by_chance else set()
    compared = [key for key in before if key[0] not in by_chance]
    assert [key for key in compared if before[key] != after[key]] == []
    print(
        f"\nTABLE {case.name}: {len(compared)} images, {sum(len(before[key]) for key in compared)} bytes, all the same"
    )
