# SPDX-License-Identifier: GPL-3.0-or-later
"""The same under NumPy 1.26 and 2: what one Python makes, another makes, too (`make test-numpy1` names it)."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits

from tests.support.nights import night, sky_of_stars, turns
from tests.support.pointings import write_pointings

OTHER = os.environ.get("ZEMOSAIC_PATCH_OTHER_PYTHON")
pytestmark = [
    pytest.mark.numpy_bytes,
    pytest.mark.skipif(not OTHER, reason="no other Python: ZEMOSAIC_PATCH_OTHER_PYTHON names none"),
]
COMMANDS = {
    "mosaic": ["mosaic"],
    "raw": ["mosaic"],
    "tile": ["tile", "--match-sky", "offset", "--interpolation", "lanczos3"],
    "sharp": ["tile", "--weights", "sharp", "--match-sky", "none", "--reject", "winsorized_sigma_clip"],
    "linear": ["tile", "--weights", "equal", "--reject", "linear_fit_clip"],
}


def run(python, *arguments):
    root = Path(__file__).parents[2]
    done = subprocess.run(
        [python, *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=600,
        env={**os.environ, "PYTHONPATH": str(root)},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def data_of(folder):
    """Return all data that a folder's FITS files hold."""
    found = {}
    for path in sorted(folder.rglob("*.fits")):
        with fits.open(path) as hdus:
            found.update({(str(path.relative_to(folder)), hdu.name): np.array(hdu.data, float) for hdu in hdus})
    return found


@pytest.fixture(scope="module")
def frames(tmp_path_factory):
    folder = tmp_path_factory.mktemp("numpys")
    write_pointings(folder / "solved")
    night(folder / "raw", sky_of_stars(1), turns(4, seed=3))
    return folder


@pytest.mark.parametrize("name", COMMANDS)
def test_another_numpy_gives_the_same(frames, tmp_path, name):
    """To the last digit of single precision: libraries of linear algebra differ, and with them places by 1e-7 px."""
    other = run(OTHER, "-c", "import numpy; print(numpy.__version__)")
    assert other.split(".")[0] != np.__version__.split(".")[0], "the other Python has a NumPy like this one's"
    command, *options = COMMANDS[name]
    solved, raw = frames / "solved", frames / "raw"
    paths = {"mosaic": [solved], "raw": [raw]}.get(name) or sorted(solved.glob("light_0_*"))
    for python in (sys.executable, OTHER):
        out = tmp_path / ("here" if python == sys.executable else "there")
        run(python, "-m", "zemosaic_patch", command, *paths, "-o", out, *options)
    here, there = data_of(tmp_path / "here"), data_of(tmp_path / "there")
    assert here.keys() == there.keys()
    assert here
    for key in here:
        np.testing.assert_allclose(here[key], there[key], rtol=3e-7, atol=0, err_msg=str(key))
