# SPDX-License-Identifier: GPL-3.0-or-later
"""The window's server: on this machine's own address alone, once for each user."""

from __future__ import annotations

import gc
import os
import socket
import threading
import time
import webbrowser
from collections.abc import Callable
from typing import Any

from nanstack.io.files import FolderInUseError, exclusive
from zemosaic_patch.errors import FailureError
from zemosaic_patch.ui import desk, faults, state, thumbnails
from zemosaic_patch.ui.safety import ADDRESS, Guard, new_token
from zemosaic_patch.ui.state import Running

LOCK = "window.lock"
ENDS_S = 1  # so long the last answers may take
TRIAL_ENDS_S = 5.0  # so long a trial may take to leave nothing behind
STARTS_S = 15.0  # so long another one may take to tell where it is, or to end


def run(port: int, opens: bool, tell: Callable[[str], None], warn: Callable[[str], None]) -> None:
    """Serve the window until it is quit; where one runs already, open that.

    Parameters
    ----------
    port : int
        0: any that is free.
    opens : bool
        Whether the browser is opened.
    tell : callable
        Called with the address.
    warn : callable
        Called with what is not as it was asked for.

    Raises
    ------
    FailureError
        Where the port is taken, or another window does not answer.
    """
    until = time.monotonic() + STARTS_S
    while time.monotonic() < until:
        try:
            with exclusive(state.own_folder(state.folder()), LOCK):
                _serve(port, opens, tell)
                return
        except FolderInUseError:
            running = Running.kept()
            if running is not None and _answers(running.port):
                tell(running.address)
                if port not in (0, running.port):
                    warn(f"a window is running already, at port {running.port}: quit it to have one at port {port}")
                if opens:
                    webbrowser.open(running.address)
                return
            time.sleep(0.1)  # it is about to start, or to end
    raise FailureError("another window is running, and does not answer: end it, or try again")


def application() -> Any:
    """Return all pages as one application, not guarded yet. It is built once in a process."""
    os.environ.setdefault("NICEGUI_STORAGE_PATH", str(state.folder() / "nicegui"))  # else the current folder
    from fastapi import FastAPI
    from nicegui import app as pages_app
    from nicegui import ui

    from zemosaic_patch.ui import pages

    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    pages_app.config.quasar_config["loadingBar"]["skipHijack"] = True  # a bar without a name, for each request
    pages.recall_language()
    pages.build(app)
    pages_app.on_page_exception(pages.page_of_fault)
    ui.run_with(
        app,
        title=pages.title(),
        language=pages.language_of_quasar(),
        dark=None,
        tailwind=False,
        show_welcome_message=False,
        reconnect_timeout=30,
    )
    return app


def _serve(port: int, opens: bool, tell: Callable[[str], None]) -> None:
    import uvicorn

    faults.keep_log()
    with _bound(port) as listening:
        running = Running(listening.getsockname()[1], new_token())
        guarded = Guard(application(), running.token, running.port)
        config = uvicorn.Config(
            guarded,
            log_config=None,  # as all others do
            log_level="error",  # what it warns of are requests that are none
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=ENDS_S,  # tabs that are open would be waited for
        )
        for early in (_get_ready, desk.forget_old):
            threading.Thread(target=early, daemon=True).start()
        running.keep()
        tell(running.address)
        if opens:
            threading.Thread(target=webbrowser.open, args=(running.address,), daemon=True).start()
        try:
            uvicorn.Server(config).run([listening])
        finally:
            running.forget()
            _leave()


def _get_ready() -> None:
    thumbnails.get_ready()
    gc.freeze()  # the libraries stay: to look through them for what may go would keep a click waiting


def _leave() -> None:
    """End what works for the window alone; runs go on."""
    from zemosaic_patch.ui.patching import bench

    desk.desk.choose(())
    trial = bench.trial
    bench.end_trial()
    if trial is not None:
        trial.wait(TRIAL_ENDS_S)


def _bound(port: int) -> socket.socket:
    listening = socket.socket()
    if os.name == "posix":  # a port that a window had a minute ago; elsewhere this would share one that is in use
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((ADDRESS, port))
        listening.listen()  # whoever hears the address now is answered, if a little later
    except (OSError, OverflowError) as error:
        listening.close()
        raise FailureError(f"port {port} of {ADDRESS} is taken or not allowed: name another, or no --port") from error
    return listening


def _answers(port: int) -> bool:
    try:
        with socket.create_connection((ADDRESS, port), timeout=1):
            return True
    except OSError:
        return False
