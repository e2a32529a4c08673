# SPDX-License-Identifier: GPL-3.0-or-later
"""Frames of an earlier run that are not there any more: which, before it goes on, and what its owner wants then."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

from nanstack.io.one_line import on_one_line
from zemosaic_patch.errors import UsageError
from zemosaic_patch.given import find_frames
from zemosaic_patch.lost_files import lost_files
from zemosaic_patch.ui import folders
from zemosaic_patch.ui.jobs import Run
from zemosaic_patch.ui.texts import counted, text

NAMED = 4  # of the frames that are gone


@dataclass(frozen=True)
class Missing:
    """What a run was begun with, and is not there any more.

    Attributes
    ----------
    places : tuple of str
        Folders and files that it was given, and that hold no frame now.
    names : tuple of str
        Of frames, those in these places too.
    others : tuple of str
        What it was given, and is there.
    """

    places: tuple[str, ...]
    names: tuple[str, ...]
    others: tuple[str, ...]

    def __bool__(self) -> bool:
        return bool(self.places or self.names)

    @property
    def told(self) -> str:
        """What is missing, in words."""
        shown = [on_one_line(name) for name in self.names[:NAMED]]
        if len(self.names) > NAMED:
            shown.append(counted("missing.more", len(self.names) - NAMED))
        frames = counted("missing.frames", len(self.names), names=", ".join(shown)) if shown else ""
        gone = text("missing.places", places=on_one_line(", ".join(self.places))) if self.places else ""
        return " ".join(filter(None, [frames, gone]))


def missing_of(run: Run) -> Missing:
    """Return what of a run's frames is not there any more; where some are at URLs, only places are looked for."""
    found: list[Path] = []
    there: list[str] = []
    for place in run.frames:
        if "://" in place:
            there.append(place)
            continue
        try:
            found += find_frames([place], run.folder).paths
        except UsageError:  # not there, or its disk is not
            continue
        there.append(place)
    gone = tuple(place for place in run.frames if place not in there)
    is_known = not any("://" in place for place in run.frames)
    lost = lost_files(run.folder, dict.fromkeys(found)) if is_known else []
    return Missing(gone, tuple(one.name for one in lost), tuple(there))


def ask(missing: Missing, without: Callable[[], Awaitable[None]], elsewhere: Callable[[], Awaitable[None]]) -> None:
    """Say what is missing, and ask what is to be done: go on without it, or choose where it is now."""
    from nicegui import ui

    async def go_on() -> None:
        dialog.close()
        await without()

    async def choose() -> None:
        dialog.close()
        await elsewhere()

    with ui.dialog() as dialog, ui.card():
        with ui.element("h2"):
            ui.label(text("missing.title"))
        ui.label(missing.told).props('role="status"')
        ui.label(text("missing.what"))
        with ui.element("div").classes("folders-end"):
            ui.button(text("window.cancel"), on_click=dialog.close).props("flat no-caps").classes("plain")
            ui.button(text("missing.elsewhere"), on_click=choose).props("flat no-caps").classes("plain")
            ui.button(text("missing.without"), on_click=go_on).props("unelevated no-caps").classes("main")
    dialog.props["aria-label"] = text("missing.title")
    dialog.on("hide", dialog.delete)
    dialog.open()


async def ask_for_folder(missing: Missing, taken: Callable[[Path], Awaitable[None]]) -> None:
    """Ask for the folder where frames are now."""
    place = (missing.places or missing.others)[0]
    why = text("earlier.moved", place=on_one_line(place)) if missing.places else missing.told
    await folders.ask(taken, next(one for one in (*Path(place).parents, Path.home()) if one.is_dir()), why)
