# SPDX-License-Identifier: GPL-3.0-or-later
import os
from pathlib import Path

import pytest

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
