# SPDX-License-Identifier: GPL-3.0-or-later
"""A folder chosen among this machine's own: by its place, typed or pasted, or by going from one to the next."""

from __future__ import annotations

import os
import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from nanstack.io.frames import is_frame_file
from nanstack.io.one_line import on_one_line
from zemosaic_patch.errors import UsageError
from zemosaic_patch.ui.said import said
from zemosaic_patch.ui.texts import text

MOST = 2000  # folders that are listed


@dataclass(frozen=True)
class Listed:
    """What is in a folder.

    Attributes
    ----------
    folder : Path
    folders : tuple of Path
        Hidden ones apart.
    frames : int
        Files that are frames by their names.
    failure : str
        Why it cannot be listed.
    """

    folder: Path
    folders: tuple[Path, ...] = ()
    frames: int = 0
    failure: str = ""


def listed(folder: Path) -> Listed:
    """Return what is in a folder."""
    try:
        with os.scandir(folder) as entries:
            there = [(entry.name, entry.is_dir()) for entry in entries if not entry.name.startswith(".")]
    except (OSError, ValueError) as failure:  # a name that no file can have
        return Listed(folder, failure=getattr(failure, "strerror", None) or str(failure))
    folders = sorted((name for name, is_folder in there if is_folder), key=str.casefold)
    frames = sum(is_frame_file(Path(name)) for name, is_folder in there if not is_folder)
    return Listed(folder, tuple(folder / name for name in folders[:MOST]), frames)


def meant(typed: str) -> Path:
    """Return the place that was typed, pasted or dropped: in quotation marks, as a file:// address, or with a '~'.

    What does not begin at the root of a disk begins in the user's own folder.

    Raises
    ------
    UsageError
        For what is no place.

    >>> meant('"/data/M 31"').as_posix(), meant("file:///data/M%2031").as_posix()
    ('/data/M 31', '/data/M 31')
    """
    from urllib.request import url2pathname

    named = plain(typed).strip().strip("\"'").strip()
    try:
        if named.lower().startswith("file://"):
            address = urlsplit(named)
            machine = "" if address.netloc.lower() in ("", "localhost") else f"//{address.netloc}"
            named = plain(url2pathname(machine + address.path))
        place = Path.home() / Path(named).expanduser()
    except (ValueError, RuntimeError) as error:  # no address, or nobody's '~'
        raise UsageError(text("folders.no_place", typed=named)) from error
    if not named:
        raise UsageError(text("folders.empty"))
    return place


def plain(typed: str) -> str:
    """Return what was typed; UsageError where no name of a file or program can hold it: a NUL, half a letter."""
    try:
        impossible = b"\0" in os.fsencode(typed)
    except UnicodeEncodeError:
        impossible = True
    if impossible:
        raise UsageError(text("folders.no_place", typed=ascii(typed)))
    return typed


def places() -> list[Path]:
    """Return where to begin: the user's own folder, and drives."""
    import psutil

    drives = [Path(one.mountpoint) for one in psutil.disk_partitions()]
    outer = ("/media", "/mnt", "/run/media", "/Volumes")
    wanted = [one for one in drives if sys.platform == "win32" or str(one).startswith(outer)]
    return [Path.home(), *(wanted if sys.platform == "win32" else [Path("/"), *wanted])]


async def ask(chosen: Callable[[Path], Awaitable[None] | None], begin: Path | None = None, why: str = "") -> None:
    """Ask for a folder in a dialog.

    Parameters
    ----------
    chosen : callable
        Called with it.
    begin : Path, optional
        Where to begin.
    why : str
        What it is asked for, if that is not plain.
    """
    from nicegui import run, ui

    async def go(folder: Path) -> None:
        nonlocal last
        last = folder
        typed.value = on_one_line(str(folder))  # now: what is typed while it is listed stays
        found = await run.io_bound(listed, folder)
        if folder is not last:  # another one was asked for meanwhile
            return
        shown[:] = [found]
        inside.clear()
        with inside:
            _rows(found, go)
        count.text = text("folders.frames", count=found.frames) if not found.failure else said(found.failure)

    async def done() -> None:
        if not shown or typed.value != on_one_line(str(shown[0].folder)):  # typed, and not gone to yet
            await go(meant(typed.value or ""))
        if not shown or shown[0].failure:
            return
        dialog.close()
        result = chosen(shown[0].folder)
        if result is not None:
            await result

    async def named() -> None:
        await go(meant(typed.value or ""))

    last = begin or Path.home()
    shown: list[Listed] = []
    with ui.dialog() as dialog, ui.card().classes("folders"):
        with ui.element("h2"):
            ui.label(text("folders.choose"))
        if why:
            ui.label(why).props('role="status"')
        with ui.element("div").classes("folders-places"):
            for place in places():
                ui.button(_name(place), on_click=lambda place=place: go(place)).props("flat dense no-caps").classes(
                    "plain"
                )
        typed = ui.input(text("folders.place")).props("outlined dense").classes("wide").on("keydown.enter", named)
        inside = ui.element("ul").classes("folders-list")
        with ui.element("div").classes("folders-end"):
            count = ui.label().classes("soft")
            ui.button(text("window.cancel"), on_click=dialog.close).props("flat no-caps").classes("plain")
            ui.button(text("folders.take"), on_click=done).props("unelevated no-caps").classes("main")
    dialog.props["aria-label"] = text("folders.choose")
    dialog.on("hide", dialog.delete)
    dialog.open()
    await go(last)


def _name(place: Path) -> str:
    return text("folders.home") if place == Path.home() else on_one_line(str(place))


def _rows(found: Listed, go: Callable[[Path], Awaitable[None]]) -> None:
    from nicegui import ui

    def row(shown: str, place: Path) -> None:
        with (
            ui.element("li"),
            ui.element("button").classes("folders-row").on("click", lambda: go(place)) as button,
        ):
            ui.label(shown)
        button.props["type"] = "button"

    if found.folder.parent != found.folder:
        row(text("folders.up"), found.folder.parent)
    for folder in found.folders:
        row(on_one_line(folder.name), folder)
