# SPDX-License-Identifier: GPL-3.0-or-later
"""What goes wrong on a page. A refusal is told there, in its own line; so is what nobody foresaw, which goes to a log.

Handlers of the pages just let errors pass: each page asks NiceGUI to call `telling` for all that its handlers raise.
"""

from __future__ import annotations

import logging
import threading
import time
import traceback
from collections.abc import Callable
from logging.handlers import RotatingFileHandler
from pathlib import Path

from nanstack.io.layout import FrameError
from nanstack.io.one_line import on_one_line
from zemosaic_patch.errors import FailureError, UsageError
from zemosaic_patch.ui import state
from zemosaic_patch.ui.said import said
from zemosaic_patch.ui.texts import text

LOG = "window.log"
LOG_BYTES = 500_000  # then it begins anew, and the one before is kept
LONGEST = 400  # letters of a line
PLACES = 6  # of the code that are named, the innermost ones
REFUSALS = (UsageError, FailureError, FrameError)  # what they say is for the owner
SHOWN_MS = 15_000
AGAIN_S = 5.0  # what is told anew sooner, as by a clock, is told once
OF_MESSAGES = ("engineio.server", "socketio.server")  # what they note is wrong with messages, not with this program


def log_file() -> Path:
    """Return where faults are noted."""
    return state.folder() / LOG


def said_of(error: Exception) -> str:
    """Return what the owner is told of an error, in a line."""
    if isinstance(error, OSError) and error.strerror:
        words = f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    else:
        words = str(error) if isinstance(error, REFUSALS) else text("window.fault", log=str(log_file()))
    return _short(said(words))


def _short(words: str) -> str:
    line = on_one_line(words)
    return line if len(line) <= LONGEST else f"{line[:LONGEST]} …"


def telling() -> Callable[[Exception], None]:
    """Return what tells the owner of errors, on the page that is being built."""
    from nicegui import ui

    last: dict[str, float] = {}

    def tell(error: Exception) -> None:
        words, now = said_of(error), time.monotonic()
        if now - last.get(words, -AGAIN_S) >= AGAIN_S:
            ui.notify(
                words,
                type="negative",
                multi_line=True,
                position="top",  # what is pressed next is further down
                timeout=SHOWN_MS,
                close_button=text("window.close"),
            )
        last[words] = now

    return tell


def keep_log() -> None:
    """Have all that this process warns of go to the log, a line each, and nothing to the terminal."""
    log = _Log(log_file(), maxBytes=LOG_BYTES, backupCount=1, encoding="utf-8", delay=True)
    log.setFormatter(_InALine())
    log.setLevel(logging.WARNING)
    log.addFilter(_is_news)
    logging.basicConfig(handlers=[log], level=logging.WARNING, force=True)
    logging.captureWarnings(True)
    for name in OF_MESSAGES:  # which else write to the terminal, too
        logging.getLogger(name).setLevel(logging.CRITICAL)
    threading.excepthook = _note_of_a_thread


class _Log(RotatingFileHandler):
    def handleError(self, record: logging.LogRecord) -> None:
        """Leave it: where the log cannot be written there is no other place to say so."""


class _InALine(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        error = record.exc_info[1] if record.exc_info else None
        words = record.getMessage() if error is None else f"{type(error).__name__}{_places(error)}: {error}"
        return f"{self.formatTime(record)} {record.name} {_short(words)}"


def _places(error: BaseException) -> str:
    places = [f"{Path(one.filename).name}:{one.lineno}" for one in traceback.extract_tb(error.__traceback__)]
    return f" ({' < '.join(places[::-1][:PLACES])})" if places else ""


def _is_news(record: logging.LogRecord) -> bool:
    """Tell whether more happened than that something was refused, or was asked for and is not there.

    A browser may leave a page, too, before it has all of it, and the window may end while pages are busy.
    """
    error = record.exc_info[1] if record.exc_info else None
    left = isinstance(error, RuntimeError) and str(error) == "No response returned."
    of_pages = record.getMessage() if record.name == "nicegui" and error is None else ""
    is_usual = of_pages.endswith(" not found") or of_pages.startswith("Could not cancel ")
    return not (left or is_usual or isinstance(error, REFUSALS))


def _note_of_a_thread(raised: threading.ExceptHookArgs) -> None:
    if raised.exc_value is not None:
        told = (raised.exc_type, raised.exc_value, raised.exc_traceback)
        logging.getLogger(__name__).error("in a thread", exc_info=told)
