# SPDX-License-Identifier: GPL-3.0-or-later
"""The page 'Earlier runs': open one, go on with it, add a night."""

from __future__ import annotations

import os
import time
from contextlib import suppress
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

from nanstack.io.frames import is_frame_file
from nanstack.io.one_line import on_one_line
from zemosaic_patch.arguments import CONFIG, read_toml
from zemosaic_patch.errors import STOPPED, UsageError
from zemosaic_patch.mosaic_files import MOSAIC, SURVEYS
from zemosaic_patch.ui import drop, folders, jobs
from zemosaic_patch.ui.jobs import Run
from zemosaic_patch.ui.missing import Missing, ask, ask_for_folder, missing_of
from zemosaic_patch.ui.safety import chosen
from zemosaic_patch.ui.said import said
from zemosaic_patch.ui.texts import counted, moment, text


def page_earlier() -> None:
    """Show the page."""
    from nicegui import ui

    with ui.element("h1"):
        ui.label(text("earlier.page"))
    drop.let_drop(lambda places: _open(places[0]))
    runs = [run for run in jobs.kept() if not came_to_nothing(run)]
    if not runs:
        ui.label(text("earlier.none"))
    for run in runs:
        _show(run)
    ui.button(text("earlier.open_folder"), on_click=_open_folder).props("outline no-caps").classes("plain")


def _show(run: Run) -> None:
    from nicegui import ui

    chosen.add(run.folder)
    has_mosaic = (run.folder / MOSAIC).exists()
    with ui.element("section").classes("card earlier"):
        if (run.folder / "coverage.png").exists() and has_mosaic:
            picture = ui.element("img").props('loading="lazy" alt=""').classes("earlier-picture")
            picture.props["src"] = f"/preview/{run.key}"
        with ui.element("div").classes("earlier-told"):
            with ui.element("h2"):
                ui.label(on_one_line(run.target or run.folder.name))
            ui.label(_state(run, has_mosaic)).classes("bad" if _failed(run) else "soft")
            ui.label(on_one_line(run.output)).classes("soft small")
            with ui.element("div").classes("links"):
                ui.link(text("earlier.open"), f"/run/{run.key}")
                if not run.is_running:
                    _links(run, has_mosaic)


def _links(run: Run, has_mosaic: bool) -> None:
    from nicegui import ui

    if _failed(run):
        ui.button(text("run.go_on"), on_click=lambda: go_on(run)).props("flat dense no-caps").classes("plain")
    if has_mosaic and (run.folder / CONFIG).exists():
        ui.button(text("run.add_night"), on_click=lambda: add_night(run)).props("flat dense no-caps").classes("plain")
    ui.button(text("earlier.forget"), on_click=lambda: _forget(run)).props("flat dense no-caps").classes("plain")


def _failed(run: Run) -> bool:
    return bool(run.pid) and not run.is_running and not run.news().said


def came_to_nothing(run: Run) -> bool:
    """Tell whether a run was refused before it made anything: the command put its folder back to what it was."""
    failure = run.news().failure
    is_kept = any((run.folder / name).exists() for name in (CONFIG, SURVEYS))
    return bool(failure) and not failure.startswith(STOPPED) and not is_kept


def _state(run: Run, has_mosaic: bool) -> str:
    when = moment(datetime.fromtimestamp(run.began), "form.minute")
    if run.is_running:
        state = text("earlier.running")
    elif _failed(run):
        state = said(run.news().failure) or text("run.stopped")
    else:
        state = text("earlier.done") if has_mosaic else text("earlier.gone")
    count = f"{counted('make.frames', run.count)} · " if run.count else ""
    return f"{when} · {count}{state}"


async def go_on(run: Run, more: tuple[str, ...] = ()) -> None:
    """Go on with a run where it stopped, maybe with more frames, and show it; what is missing is asked for."""
    from nicegui import run as threads
    from nicegui import ui

    missing = await threads.io_bound(missing_of, run)
    here = ui.context.slot.parent

    async def show(run: Run) -> None:
        with here:
            ui.navigate.to(f"/run/{continued(run, more).key}")

    async def taken(place: Path) -> None:
        with here:
            await go_on(await threads.io_bound(moved, run, missing, place), more)

    async def elsewhere() -> None:
        with here:
            await ask_for_folder(missing, taken)

    if not missing:
        await show(run)
    elif missing.others:
        ask(missing, lambda: show(replace(run, frames=missing.others)), elsewhere)
    else:
        await elsewhere()


def moved(run: Run, missing: Missing, place: Path) -> Run:
    """Return a run whose frames are in another folder now: it stands for the first place that is gone, if one is.

    Where that was a file, it stands for all those that lay beside it, too.

    Raises
    ------
    UsageError
        Where none of the frames that are missing is in that folder: its own are not meant to be in the picture.
    """
    found = replace(run, frames=_frames_with(run, missing, place))
    if missing.names and missing_of(found).names == missing.names:
        raise UsageError(text("missing.not_there", folder=on_one_line(str(place))))
    return found


def _frames_with(run: Run, missing: Missing, place: Path) -> tuple[str, ...]:
    if not missing.places:
        return *run.frames, str(place)
    first = missing.places[0]
    beside = {one for one in missing.places if is_frame_file(Path(one)) and Path(one).parent == Path(first).parent}
    frames = (str(place) if one in {first, *beside} else one for one in run.frames)
    return tuple(dict.fromkeys(frames))


def continued(run: Run, more: tuple[str, ...] = (), take_in: tuple[str, ...] | None = None) -> Run:
    """Go on with a run where it stopped.

    Parameters
    ----------
    run : Run
    more : tuple of str
        Further folders of frames.
    take_in : tuple of str, optional
        The frames that are in it though they would be left out; by default as before.

    Raises
    ------
    UsageError
        Where another run is under way, or it cannot be told how this one was made.
    """
    import tomli_w

    tiles = jobs.tiles_of(run)
    if tiles is not None and tiles.is_running:
        raise UsageError(text("run.tiles_first"))
    with jobs.alone():
        asked = _asked(run)
        if take_in is not None:
            asked["take-in"] = list(take_in)
        for wish in ("leave-out", "take-in"):  # frames may lie elsewhere by now
            if wish in asked:
                asked[wish] = [one if os.path.lexists(one) else Path(one).name for one in asked[wish]]
        return jobs.begin(replace(run, frames=(*run.frames, *more)), tomli_w.dumps(asked), ["--resume"])


def _asked(run: Run) -> dict[str, Any]:
    """Return the options that a run was begun with."""
    for path in (run.folder / CONFIG, run.home / jobs.ASKED):
        with suppress(UsageError):  # the next one may be there, and whole
            return read_toml(path)
    raise UsageError(text("earlier.no_options", folder=run.output))


async def add_night(run: Run) -> None:
    """Ask for the folder of another night, and go on with a run and that."""
    from nicegui import ui

    async def taken(place: Path) -> None:
        with here:
            await go_on(run, (str(place),))

    here = ui.context.slot.parent
    begin = Path(run.frames[0]).parent if run.frames else None
    await folders.ask(taken, begin if begin is not None and begin.is_dir() else None)


def _forget(run: Run) -> None:
    from nicegui import ui

    jobs.forget(run)
    ui.navigate.reload()


async def _open_folder() -> None:
    from nicegui import ui

    def taken(place: Path) -> None:
        with here:
            _open(place)

    here = ui.context.slot.parent
    await folders.ask(taken)


def _open(place: Path) -> None:
    """Show the mosaic in a folder, or the one that is a file itself."""
    from nicegui import ui

    folder = place.parent if place.name == MOSAIC and place.is_file() else place
    ui.navigate.to(f"/run/{opened_folder(folder).key}")


def opened_folder(place: Path) -> Run:
    """Remember a mosaic that was made without the window.

    Raises
    ------
    UsageError
        Where there is none.
    """
    known = next((run for run in jobs.kept() if run.folder == place), None)
    if known is not None:
        return known
    if not (place / MOSAIC).exists():
        raise UsageError(text("earlier.no_mosaic", folder=str(place)))
    told = read_toml(place / CONFIG) if (place / CONFIG).exists() else {}
    run = Run(
        f"opened-{time.strftime('%Y%m%d-%H%M%S')}",
        str(place),
        tuple(map(str, told.get("frames", ()))),
        target=place.name,
        began=(place / MOSAIC).stat().st_mtime,
    )
    jobs.keep(run)
    return run
