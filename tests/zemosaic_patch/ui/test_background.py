# SPDX-License-Identifier: GPL-3.0-or-later
"""What works behind the page lets it go first, as the system says."""

import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from zemosaic_patch.ui.background import ALONG, WAITED_FOR, started

SLEEPS = [sys.executable, "-c", "import time; time.sleep(60)"]
OWN = Path("/proc/self/autogroup")  # empty where this session is the system's first


def gives_sessions_groups() -> bool:
    """Whether this system shares the processors out to sessions."""
    if not OWN.exists():
        return False
    seen = subprocess.run(["cat", OWN], start_new_session=True, capture_output=True, text=True).stdout
    return bool(seen)


@pytest.fixture(params=[{}, {"start_new_session": True}])
def process(request):
    process = started(SLEEPS, WAITED_FOR, **request.param)
    yield process, bool(request.param)
    process.kill()
    process.wait()


def test_the_page_goes_first(process):
    nice = psutil.Process(process[0].pid).nice()
    assert nice == (psutil.BELOW_NORMAL_PRIORITY_CLASS if sys.platform == "win32" else WAITED_FOR)
    assert ALONG > WAITED_FOR > 0


@pytest.mark.skipif(not gives_sessions_groups(), reason="this system shares the processors out to processes alone")
def test_the_page_goes_first_where_processors_are_shared_out_to_sessions(process):
    """Linux does so, and forgets of processes in other sessions how nice they are."""
    process, is_alone = process
    before = OWN.read_text()
    group = Path("/proc", str(process.pid), "autogroup").read_text()
    if is_alone:
        name, *_, nice = group.split()
        assert nice == str(WAITED_FOR)
        assert name not in before.split()
    else:
        assert group == before
