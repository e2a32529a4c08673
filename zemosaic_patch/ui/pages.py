# SPDX-License-Identifier: GPL-3.0-or-later
"""The pages of the window, and what all of them have: the way from one to another, language, quit."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.resources import files
from pathlib import Path
from typing import Any

from zemosaic_patch.ui import faults, state, texts
from zemosaic_patch.ui.picker import Picker
from zemosaic_patch.ui.state import Running
from zemosaic_patch.ui.texts import text

LEAVES_S = 0.5  # so long the last word takes to the page
PAGES = {"/": "make.page", "/patch": "patch.page", "/earlier": "earlier.page"}
LANGUAGES = {"en": "en-US"}  # codes of Quasar, which has its own words, where they are not ours


def title() -> str:
    """Return what the browser's tab says."""
    return text("window.title")


def recall_language() -> None:
    """Speak the language that the owner chose once."""
    texts.choose(str(state.read(_kept_language())))


def _kept_language() -> Path:
    return state.folder() / "language.json"


def language_of_quasar() -> Any:
    """Return the code of the language that is spoken, as Quasar and the page itself name it."""
    return LANGUAGES.get(texts.language(), texts.language())


def build(app: Any) -> None:
    """Give an application its pages.

    Parameters
    ----------
    app : fastapi.FastAPI
    """
    from nicegui import ui

    from zemosaic_patch.ui import earlier, making, patching, running, served, viewer

    _page("/", making.page_make)
    _page("/patch", patching.page_patch)
    _page("/earlier", earlier.page_earlier)

    @ui.page("/run/{key}")
    def run(key: str) -> None:
        with frame("/run"):
            running.page_run(key)

    served.routes(app)
    viewer.routes(app)


def _page(path: str, content: Callable[[], None]) -> None:
    from nicegui import ui

    @ui.page(path)
    def shown() -> None:
        with frame(path):
            content()


def page_of_fault(error: Exception) -> None:
    """Show that a page could not be shown."""
    from nicegui import ui

    with frame(""):
        ui.label(faults.said_of(error)).classes("bad").props('role="alert"')


@contextmanager
def frame(path: str) -> Iterator[None]:
    """Show what all pages have, and what is shown meanwhile within.

    Parameters
    ----------
    path : str
        Of the page, which is marked as the one that is shown.
    """
    from nicegui import app, ui

    texts.follow(ui.context.client.request.headers.get("accept-language", ""))
    app.config.language = language_of_quasar()
    ui.on_exception(faults.telling())
    ui.page_title(f"{text(PAGES[path])} · {title()}" if path in PAGES else title())
    ui.add_css((files("zemosaic_patch.ui") / "style.css").read_text(encoding="utf-8"))
    ui.colors(primary="#1d5c96", positive="#236b35", negative="#a82f28")
    with ui.element("a").classes("skip").props('href="#content"'):
        ui.label(text("window.skip"))
    with ui.element("header").classes("window-head"):
        _navigation(path)
        _language()
        _quit()
    with ui.element("div").classes("window-body").props('id="content" tabindex="-1"'):
        yield


def _navigation(path: str) -> None:
    from nicegui import ui

    with ui.element("nav") as navigation:
        navigation.props["aria-label"] = text("window.pages")
        for place, key in PAGES.items():
            link = ui.link(text(key), place)
            if place == path:
                link.props["aria-current"] = "page"


def _language() -> None:
    from nicegui import ui

    def chosen(code: str) -> None:
        texts.choose(code)
        state.write(_kept_language(), code)
        ui.navigate.reload()

    Picker(text("window.language"), texts.languages(), texts.language(), chosen)


def _quit() -> None:
    """Show the way to quit, which asks back."""
    from nicegui import app, ui

    def leave() -> None:
        dialog.clear()
        with dialog, ui.card():
            ui.label(text("window.quit_done"))
        Running.forget()  # who starts the program from now on wants another one
        asyncio.get_running_loop().call_later(LEAVES_S, app.shutdown)

    with ui.dialog() as dialog, ui.card():
        ui.label(text("window.quit_ask"))
        with ui.row():
            ui.button(text("window.quit"), on_click=leave).props("no-caps unelevated").classes("main")
            ui.button(text("window.cancel"), on_click=dialog.close).props("flat no-caps").classes("plain")
    dialog.props["aria-label"] = text("window.quit")
    ui.button(text("window.quit"), on_click=dialog.open).props("flat dense no-caps").classes("plain")
