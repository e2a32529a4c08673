# SPDX-License-Identifier: GPL-3.0-or-later
"""Ctrl-C and SIGTERM: a run leaves so that its temporary files and worker processes are cleared away."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

_asked: list[int] = []  # the signal, until it is obeyed


@contextmanager
def leaving_on_signals() -> Iterator[None]:
    """Leave on Ctrl-C and SIGTERM while the block runs."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    _asked.clear()
    before = {number: signal.signal(number, _leave) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _leave(number: int, frame: object) -> None:
    _asked[:] = [number]
    obey()


def obey() -> None:
    """Leave, if a signal asked for it and what it raised was lost: in a callback from compiled code it is."""
    if _asked:
        raise KeyboardInterrupt if _asked[0] == signal.SIGINT else SystemExit(128 + _asked[0])
