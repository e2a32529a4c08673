# SPDX-License-Identifier: GPL-3.0-or-later
"""The program starts itself; what a packaged one does is tried in tests/test_app.py."""

import subprocess
import sys

from zemosaic_patch import installed_version
from zemosaic_patch.own_command import own_command


def test_it_starts_itself():
    ended = subprocess.run(own_command("--version"), capture_output=True, text=True, check=True)
    assert ended.stdout.split() == ["zemosaic-patch", installed_version()]


def test_a_packaged_program_is_its_own_command(monkeypatch):
    monkeypatch.setattr(sys, "frozen", True, raising=False)
    assert own_command("mosaic", "a b") == [sys.executable, "mosaic", "a b"]
