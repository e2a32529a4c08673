# SPDX-License-Identifier: GPL-3.0-or-later
"""Frames without a WCS: what is asked of a solver, what is done with its answer, and what where it has none.

Solvers and their catalogues are not there; programs of a few lines, on the PATH under their names, stand in for them,
and write what those write.
"""

import os
import sys

import numpy as np
import pytest
from astropy.io import fits
from astropy.wcs import WCS

from nanstack.io.frames import probe_frame
from zemosaic_patch import solve_singly as solve
from zemosaic_patch.solve_singly import solve_frames

pytestmark = pytest.mark.skipif(os.name != "posix", reason="the stand-ins are scripts, which Windows does not run")

SOLVE_FIELD = """#!{python}
import sys
from astropy.io import fits
arguments = sys.argv[1:]
with open({log!r}, "a") as log:
    log.write(arguments[-1] + "\\n")
if "cloudy" in arguments[-1]:
    sys.exit(1)
header = fits.Header.fromtextfile({solution!r})
fits.PrimaryHDU(header=header).writeto(arguments[arguments.index("--wcs") + 1])
"""
ASTAP = """#!{python}
import sys
arguments = sys.argv[1:]
with open({log!r}, "a") as log:
    log.write(arguments[arguments.index("-f") + 1] + "\\n")
text = open({solution!r}).read()
open(arguments[arguments.index("-o") + 1] + ".wcs", "w").write(text + "\\nEND\\n")
"""


class Heard:
    """Keeps what is told."""

    def __init__(self, steps, warnings):
        self.steps, self.warnings = steps, warnings

    def step(self, name, done, total):
        self.steps.append((name, done, total))

    def warn(self, text):
        self.warnings.append(text)


class NothingToSay(Heard):
    """Fails at the first warning."""

    def __init__(self):
        super().__init__([], None)

    def warn(self, text):
        pytest.fail(text)


@pytest.fixture
def frames(tmp_path):
    paths = [tmp_path / f"{name}.fits" for name in ("a", "cloudy", "b")]
    for path in paths:
        fits.writeto(path, np.zeros((3, 30, 40), np.float32))
    np.save(tmp_path / "c.npy", np.zeros((30, 40, 3), np.float32))
    return [probe_frame(path) for path in (*paths, tmp_path / "c.npy")]


@pytest.fixture
def install(tmp_path, monkeypatch):
    programs = tmp_path / "bin"
    programs.mkdir()
    monkeypatch.setenv("PATH", str(programs))
    solution = WCS(naxis=2)
    solution.wcs.ctype = "RA---TAN", "DEC--TAN"
    solution.wcs.crval = 56.75, 24.25
    solution.wcs.crpix = 20.5, 15.5
    solution.wcs.cdelt = -1e-3, 1e-3
    solution.to_header().totextfile(tmp_path / "solution.txt")

    def put(name, text):
        known = {"python": sys.executable, "log": str(tmp_path / "log"), "solution": str(tmp_path / "solution.txt")}
        (programs / name).write_text(text.format(**known))
        (programs / name).chmod(0o755)

    return put


@pytest.mark.parametrize(("name", "text"), [("solve-field", SOLVE_FIELD), ("astap", ASTAP)])
def test_frames_are_solved_once(frames, install, tmp_path, name, text):
    install(name, text)
    warnings, shown = [], []
    for _ in range(2):
        frames_now = solve_frames(frames, tmp_path / "kept", Heard(shown, warnings))
        assert [frame.path for frame in frames_now] == [frame.path for frame in frames]
        assert frames_now[0].wcs.wcs.crval == pytest.approx((56.75, 24.25))
        assert frames_now[3].wcs is None
    asked = sorted((tmp_path / "log").read_text().splitlines())
    expected = [str(frame.path) for frame in frames[:3]]
    if name == "solve-field":
        assert frames_now[1].wcs is None
        assert f"{frames[1].path.name}: solve-field found no solution (exit code 1)" in warnings
        expected.append(str(frames[1].path))  # asked again: there was no answer to keep
    assert asked == sorted(expected)
    assert any("c.npy: it is not a FITS file" in text for text in warnings)
    assert shown[3] == ("solving frames", 4, 4)


@pytest.mark.parametrize("harm", ["cut", "digit", "bytes", "empty"])
def test_a_damaged_solution_is_found_again(frames, install, tmp_path, harm):
    install("astap", ASTAP)
    for _ in range(2):
        found = solve_frames(frames[:1], tmp_path / "kept", NothingToSay())
        assert found[0].wcs.wcs.crval == pytest.approx((56.75, 24.25))
        (kept,) = (tmp_path / "kept").iterdir()
        data = kept.read_bytes()
        harmed = {"cut": data[:100], "digit": data.replace(b"56.75", b"65.75"), "bytes": b"\xff" + data, "empty": b""}
        kept.write_bytes(harmed[harm])
    assert len((tmp_path / "log").read_text().splitlines()) == 2


def test_without_a_program_nothing_is_solved(frames, install, tmp_path):
    assert solve.solver() is None
    found = solve_frames(frames, tmp_path / "kept", NothingToSay())
    assert [frame.wcs for frame in found] == [None] * 4


def test_a_program_that_hangs_is_left(frames, install, tmp_path, monkeypatch):
    install("solve-field", "#!{python}\nimport time\ntime.sleep(60)\n")
    monkeypatch.setattr(solve, "PATIENCE_S", 0.5)
    warnings = []
    found = solve_frames(frames[:1], tmp_path / "kept", Heard([], warnings))
    assert found[0].wcs is None
    assert warnings == ["a.fits: solve-field took too long"]
