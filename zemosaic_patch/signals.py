# SPDX-License-Identifier: GPL-3.0-or-later
"""Ctrl-C and SIGTERM: a run leaves so that its temporary files and worker processes are cleared away."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial

AGAIN_S = 0.2  # a signal that comes sooner after the first is the same one, passed on by a program between
_asked: list[int] = []  # the signal, until it is obeyed
_since: list[float] = []  # when it came


@contextmanager
def leaving_on_signals(own: bool = False) -> Iterator[None]:
    """Leave on Ctrl-C and SIGTERM while the block runs; where the process is its `own`, the second one ends that."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    _asked.clear()
    leave = partial(_leave, own=own)
    before = {number: signal.signal(number, leave) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _leave(number: int, frame: object, own: bool) -> None:
    now = time.monotonic()
    if own and _asked:
        if now - _since[0] > AGAIN_S:
            end_at_once(number, frame)
        return
    _asked[:], _since[:] = [number], [now]
    obey()


def end_at_once(number: int, frame: object) -> None:
    """End the process, whatever its threads are at: nobody waits for what they would clear away."""
    with suppress(OSError):
        os.write(2, b"zemosaic-patch: stopped by the user, at once\n")
    os._exit(128 + number)


def leaving() -> None:
    """Tell that the process is about to end because a signal asked for it: one more ends it at once."""
    if _asked:
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, end_at_once)


def obey() -> None:
    """Leave, if a signal asked for it and what it raised was lost: in a callback from compiled code it is."""
    if _asked:
        raise KeyboardInterrupt if _asked[0] == signal.SIGINT else SystemExit(128 + _asked[0])
