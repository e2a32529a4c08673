# SPDX-License-Identifier: GPL-3.0-or-later
"""What goes wrong on a page: refusals are for its owner, what nobody foresaw goes to the log, each in a line."""

import logging
import subprocess
import sys

import pytest

from zemosaic_patch.errors import UsageError
from zemosaic_patch.ui import faults, state, texts

WARNED = """
import logging, threading, warnings
from zemosaic_patch.errors import UsageError
from zemosaic_patch.ui import faults

logging.basicConfig()
faults.keep_log()
log = logging.getLogger("nicegui")
for error in (ValueError("a\\nb" + "x" * 9000), UsageError("refused"), RuntimeError("No response returned.")):
    try:
        raise error
    except Exception:
        log.exception("in a handler")
thread = threading.Thread(target=lambda: 1 / 0)
thread.start()
thread.join()
warnings.warn("be warned")
"""

BUSY = """
import asyncio, time
from contextlib import suppress
from nicegui import background_tasks, core
from zemosaic_patch.ui import faults

async def busy():
    end = time.monotonic() + 2.5
    while time.monotonic() < end:
        with suppress(asyncio.CancelledError):
            await asyncio.sleep(0.1)

async def ends():
    core.loop = asyncio.get_running_loop()
    background_tasks.create(busy())
    await asyncio.sleep(0.1)  # it is at work
    await background_tasks.teardown()

faults.keep_log()
asyncio.run(ends())
"""


@pytest.fixture(autouse=True)
def own_state(tmp_path, monkeypatch):
    monkeypatch.setenv(state.PLACE, str(tmp_path))
    texts.choose("en")


def test_what_nobody_foresaw_is_a_line_in_the_log_and_nothing_on_the_terminal(tmp_path):
    done = subprocess.run([sys.executable, "-c", WARNED], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("", "")
    handler, thread, warned = (tmp_path / faults.LOG).read_text(encoding="utf-8").splitlines()
    assert "ValueError (<string>:11): a\\nbxxx" in handler
    assert len(handler) < 1000
    assert "ZeroDivisionError (<string>:14 < threading.py" in thread
    assert "be warned" in warned


def test_a_page_that_is_busy_when_the_window_ends_is_no_fault(tmp_path):
    pytest.importorskip("nicegui", reason="the window's packages are not installed")
    done = subprocess.run([sys.executable, "-c", BUSY], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("", "")
    assert not (tmp_path / faults.LOG).exists(), (tmp_path / faults.LOG).read_text(encoding="utf-8")


def test_the_log_stays_small(tmp_path):
    often = "for _ in range(200):\n    log.warning('x' * 9000)\n"
    small = WARNED.replace("faults.keep_log()", "faults.LOG_BYTES = 5000\nfaults.keep_log()")
    subprocess.run([sys.executable, "-c", small + often], check=True)
    assert 5000 < sum(path.stat().st_size for path in tmp_path.iterdir()) <= 2 * 5000


def test_a_log_that_cannot_be_written_is_no_fault(tmp_path, monkeypatch):
    monkeypatch.setenv(state.PLACE, str(tmp_path / "nowhere"))
    done = subprocess.run([sys.executable, "-c", WARNED], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("", "")


def test_the_owner_is_told_in_a_line(tmp_path):
    assert faults.said_of(UsageError("no frames\nthere")) == "no frames\\nthere"
    assert faults.said_of(FileNotFoundError(2, "No such file", "/data/x")) == "/data/x: No such file"
    foreseen_by_nobody = faults.said_of(ZeroDivisionError("division by zero"))
    assert str(tmp_path / faults.LOG) in foreseen_by_nobody
    assert "division" not in foreseen_by_nobody
    assert len(faults.said_of(UsageError("x" * 9999))) < 500
    assert logging.getLogger().handlers  # those of others are as they were
