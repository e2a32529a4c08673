# SPDX-License-Identifier: GPL-3.0-or-later
import os
import sys
from pathlib import Path

import pytest
from hypothesis import settings

from tests.support.as_windows import strict_files

# HYPOTHESIS_PROFILE=long: the attacks of test_hostile_arrays with other examples each time, and many more of them
settings.register_profile("normal", max_examples=40, deadline=None, derandomize=True)
settings.register_profile("long", max_examples=int(os.environ.get("HYPOTHESIS_EXAMPLES", "3000")), deadline=None)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "normal"))

AS_WINDOWS = Path(strict_files.__file__).parent
REAL_FRAMES = "ZEMOSAIC_PATCH_REAL_FRAMES"


def pytest_addoption(parser):
    parser.addoption("--as-windows", action="store_true", help="files as strict as those of Windows, on Linux")


def pytest_configure(config):
    """Load the strict files, here and in every program that a test starts."""
    if config.getoption("--as-windows"):
        os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(AS_WINDOWS), os.environ.get("PYTHONPATH")]))
        strict = pytest.MonkeyPatch()
        strict_files.install(strict.setattr)
        config.add_cleanup(strict.undo)


@pytest.fixture
def as_windows(monkeypatch):
    """Have this process's files be as strict as those of Windows, where they are not."""
    if sys.platform == "win32":
        return
    if not strict_files.can_be():
        pytest.skip("files are made as strict as those of Windows on Linux alone, from Python 3.11 on")
    strict_files.install(monkeypatch.setattr)


@pytest.fixture(scope="session")
def real_frames():
    """Files of a real, drifting series of mono frames; the folder is named by an environment variable."""
    folder = os.environ.get(REAL_FRAMES)
    if not folder:
        pytest.skip(f"no real frames: set {REAL_FRAMES} to a folder of FITS frames of one field")
    files = sorted(path for path in Path(folder).iterdir() if path.suffix.lower() in (".fits", ".fit"))
    if not files:
        pytest.skip(f"no FITS frames in the folder that {REAL_FRAMES} names")
    return files


@pytest.fixture
def run(capsys, monkeypatch):
    """Run the command; return exit code, standard output and the lines of standard error."""

    from zemosaic_patch import cli, progress

    monkeypatch.setattr(progress, "EACH_S", float("inf"))  # a busy machine tells how far it is, too

    def call(*arguments):
        try:
            code = cli.main([str(argument) for argument in arguments])
        except SystemExit as leaving:
            code = leaving.code
        captured = capsys.readouterr()
        assert "Traceback" not in captured.err
        return code, captured.out, captured.err.strip().splitlines()

    return call
