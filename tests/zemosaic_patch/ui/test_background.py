# SPDX-License-Identifier: GPL-3.0-or-later
"""What works behind the page lets it go first, as the system says."""

import sys
from pathlib import Path

import psutil
import pytest

from zemosaic_patch.ui.background import ALONG, WAITED_FOR, started

SLEEPS = [sys.executable, "-c", "import time; time.sleep(60)"]
OWN = Path("/proc/self/autogroup")


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


@pytest.mark.skipif(not OWN.exists(), reason="this system shares the processors out to processes alone")
def test_the_page_goes_first_where_processors_are_shared_out_to_sessions(process):
    """Linux does so, and forgets of processes in other sessions how nice they are."""
    process, is_alone = process
    before = OWN.read_text()
    group = Path("/proc", str(process.pid), "autogroup").read_text()
    if is_alone:
        assert group.split()[-1] == str(WAITED_FOR)
        assert group.split()[0] != before.split()[0]
    else:
        assert group == before
