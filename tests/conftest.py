# SPDX-License-Identifier: GPL-3.0-or-later
import os
from pathlib import Path

import pytest
from hypothesis import settings

# HYPOTHESIS_PROFILE=long: the attacks of test_hostile_arrays with other examples each time, and many more of them
settings.register_profile("normal", max_examples=40, deadline=None, derandomize=True)
settings.register_profile("long", max_examples=int(os.environ.get("HYPOTHESIS_EXAMPLES", "3000")), deadline=None)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "normal"))

REAL_FRAMES = "ZEMOSAIC_PATCH_REAL_FRAMES"


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
def run(capsys):
    """Run the command; return exit code, standard output and the lines of standard error."""

    from zemosaic_patch import cli

    def call(*arguments):
        try:
            code = cli.main([str(argument) for argument in arguments])
        except SystemExit as leaving:
            code = leaving.code
        captured = capsys.readouterr()
        assert "Traceback" not in captured.err
        return code, captured.out, captured.err.strip().splitlines()

    return call
