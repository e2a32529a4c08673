# SPDX-License-Identifier: GPL-3.0-or-later
"""Which ZeMosaic is tried."""

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="module")
def home():
    folder = os.environ.get("ZEMOSAIC_HOME")
    if not folder:
        pytest.skip("no ZeMosaic: set ZEMOSAIC_HOME to a checkout")
    return Path(folder)
