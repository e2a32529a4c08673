# SPDX-License-Identifier: GPL-3.0-or-later
"""The page of a run: how far it is, its mosaic as it fills, and the finished one."""

from __future__ import annotations

from nanstack.io.one_line import on_one_line
from zemosaic_patch.hips.about import PROPERTIES
from zemosaic_patch.hips.folder import HIPS
from zemosaic_patch.mosaic_files import MOSAIC
from zemosaic_patch.ui import earlier, jobs, viewer
from zemosaic_patch.ui.filling import Filling
from zemosaic_patch.ui.jobs import News, Run, Step
from zemosaic_patch.ui.judged import show_judged
from zemosaic_patch.ui.pictured import Pictured
from zemosaic_patch.ui.safety import chosen
from zemosaic_patch.ui.said import said
from zemosaic_patch.ui.texts import text

EACH_S = 0.5
WARNINGS_SHOWN = 8
SHARES = {"surveying frames": (0.0, 0.25), "registering frames": (0.25, 0.35), "placing on the sky": (0.35, 0.4),
          "stacking": (0.4, 0.97)}  # fmt: skip # of a run, from and to; the rest is writing
_fillings: dict[str, Filling] = {}  # of runs that are looked at
_pictures: dict[str, tuple[int, bytes]] = {}  # of them: how often one was made, and the last one


def page_run(key: str) -> None:
    """Show the page of a run."""
    from nicegui import ui

    run = jobs.find(key)
    if run is None:
        with ui.element("h1"):
            ui.label(text("run.unknown"))
        return
    chosen.add(run.folder)
    with ui.element("h1"):
        ui.label(on_one_line(run.target or run.folder.name))
    if run.is_running:
        _under_way(run)
    else:
        _over(run)


def _under_way(run: Run) -> None:
    from nicegui import run as threads
    from nicegui import ui

    with ui.element("section").classes("card"):
        with ui.element("div").classes("progress"):
            told = ui.label(text("run.begins")).props('role="status"')
            ui.button(text("run.cancel"), on_click=run.cancel).props("outline no-caps").classes("plain")
        bar = ui.linear_progress(0, show_value=False).props("rounded size=10px")
        bar.props["aria-label"] = text("run.progress")
        warnings = ui.element("ul").classes("soft")
        ui.label(text("run.goes_on")).classes("soft")
    picture = Pictured(text("run.filling"))
    shown = {"warnings": 0}

    async def renew() -> None:
        if not run.is_running:
            ui.navigate.reload()
            return
        news = await threads.io_bound(run.news)
        if news.step is not None:
            told.text, bar.value = _in_words(news.step), _share(news.step)
        for warning in news.warnings[shown["warnings"] : WARNINGS_SHOWN]:
            with warnings, ui.element("li"):
                ui.label(said(warning))
        shown["warnings"] = len(news.warnings)
        number, rough = await threads.io_bound(_filled, run), _rough_address(run)
        if number:
            picture.show(f"/filling/{run.key}?picture={number}", text("run.part_rough") if rough else "")
        elif rough:
            picture.show(rough, text("run.rough"))

    ui.timer(EACH_S, renew)


def _in_words(step: Step) -> str:
    known = {"surveying frames": "run.surveying", "registering frames": "run.registering",
             "placing on the sky": "run.placing", "stacking": "run.stacking"}  # fmt: skip
    if step.name not in known:
        words = said(step.name)
    elif step.name == "stacking" and step.done >= step.total:
        return text("run.writing")
    else:
        words = text(known[step.name], done=step.done, total=step.total)
    return words if step.seconds_left is None or step.done >= step.total else f"{words}, {_left(step.seconds_left)}"


def _left(seconds: float) -> str:
    if seconds < 90:
        return text("run.seconds_left", count=max(1, round(seconds)))
    return text("run.minutes_left", count=round(seconds / 60))


def _share(step: Step) -> float:
    """Return how much of a run is done, by what its steps usually take."""
    first, last = SHARES.get(step.name, (0.97, 1.0))
    return round(first + (last - first) * step.done / max(step.total, 1), 3)


def _filled(run: Run) -> int:
    """Read the cells that are new; return how many pictures there were of them by now."""
    filling = _fillings.setdefault(run.key, Filling(run.folder, run.north_up, run.home / jobs.ROUGH))
    number, _ = _pictures.get(run.key, (0, b""))
    if filling.read_on():
        picture = filling.picture()
        if picture is not None:
            _pictures[run.key] = number + 1, picture
    return _pictures.get(run.key, (0, b""))[0]


def _rough_address(run: Run) -> str:
    """Return where the page finds the rough picture as it is now; nothing where there is none."""
    try:
        return f"/rough/{run.key}?made={(run.home / jobs.ROUGH).stat().st_mtime_ns}"
    except OSError:
        return ""


def filled_picture(key: str) -> bytes | None:
    """Return the last picture of a run's cells."""
    return _pictures[key][1] if key in _pictures else None


def _over(run: Run) -> None:
    from nicegui import ui

    news, has_mosaic = run.news(), (run.folder / MOSAIC).exists()
    if run.pid and not news.said:
        with ui.element("section").classes("card"):
            ui.label(said(news.failure) or text("run.stopped")).classes("bad").props('role="alert"')
            if has_mosaic:
                ui.label(text("run.as_before"))
            ui.button(text("run.go_on"), on_click=lambda: earlier.go_on(run)).props("unelevated no-caps").classes(
                "main"
            )
        if not has_mosaic:
            _unfinished(run)
    else:
        _fillings.pop(run.key, None)
        _pictures.pop(run.key, None)
    if has_mosaic:
        viewer.show_mosaic(run.folder)
        _afterwards(run)
        if news.said or not run.pid:
            show_judged(run)
    if news.said:
        _about(news)


def _unfinished(run: Run) -> None:
    """Show the picture of a run that has ended early, as far as it is finished."""
    from nicegui import run as threads
    from nicegui import ui

    picture = Pictured(text("run.filling"))
    shown = -1

    async def renew() -> None:
        nonlocal shown
        before, shown = shown, await threads.io_bound(_filled, run)
        rough = _rough_address(run)
        if shown:
            told = "run.unfinished_rough" if rough else "run.unfinished"
            picture.show(f"/filling/{run.key}?picture={shown}", text(told))
        elif rough:
            picture.show(rough, text("run.not_begun"))
        if shown == before:  # all of it is read
            timer.deactivate()

    timer = ui.timer(EACH_S, renew)


def _afterwards(run: Run) -> None:
    from nicegui import ui

    with ui.element("section").classes("card links"):
        ui.link(text("run.report"), f"/report/{run.key}", new_tab=True)
        ui.link(text("run.another"), "/")
        ui.button(text("run.add_night"), on_click=lambda: earlier.add_night(run)).props("flat dense no-caps").classes(
            "plain"
        )
        ui.label(text("run.where", folder=run.output)).classes("soft")
    _tiles_of_the_sky(run)


def _tiles_of_the_sky(run: Run) -> None:
    """Show the mosaic's tiles of the sky: the way to write them, how far that is, and where to look at them."""
    from nicegui import ui

    def begin() -> None:
        jobs.begin_tiles(run)
        renew()

    def cancel() -> None:
        work = jobs.tiles_of(run)
        if work is not None:
            work.cancel()

    with ui.element("section").classes("card"):
        with ui.element("h2"):
            ui.label(text("run.hips"))
        ui.label(text("run.hips_about")).classes("soft")
        told = ui.label().props('role="status"')
        bar = ui.linear_progress(0, show_value=False).props("rounded size=10px")
        bar.props["aria-label"] = text("run.progress")
        with ui.element("div").classes("links"):
            write = ui.button(text("run.hips_write"), on_click=begin).props("outline no-caps").classes("plain")
            stop = ui.button(text("run.cancel"), on_click=cancel).props("outline no-caps").classes("plain")
            look = ui.link(text("run.hips_look"), f"/hips/{run.key}/index.html", new_tab=True)
        where = ui.label(text("run.hips_where", folder=str(run.folder / HIPS))).classes("soft")

    def renew() -> None:
        work = jobs.tiles_of(run)
        runs, there = work is not None and work.is_running, (run.folder / HIPS / PROPERTIES).is_file()
        news = work.news() if work is not None else jobs.News()
        told.text = "" if work is None or news.said else said(news.failure) or text("run.stopped")
        if runs:
            told.text = _in_words(news.step) if news.step else text("run.begins")
            bar.value = news.step.done / max(news.step.total, 1) if news.step else 0
        told.set_visibility(bool(told.text))
        write.text = text("run.hips_anew" if there else "run.hips_write")
        for element, shown in ((bar, runs), (stop, runs), (write, not runs), (look, there and not runs)):
            element.set_visibility(shown)
        where.set_visibility(there and not runs)

    renew()
    ui.timer(EACH_S, renew)


def _about(news: News) -> None:
    """Show what the command said at the end, and what it warned of."""
    from nicegui import ui

    with ui.element("section").classes("card"):
        with ui.element("h2"):
            ui.label(text("run.about"))
        with ui.element("dl").classes("facts"):
            for line in news.said:
                name, fact = (said(part.strip()) for part in (line[:19], line[19:]))
                with ui.element("dt"):
                    ui.label(name)
                with ui.element("dd"):
                    ui.label(fact)
        with ui.element("ul").classes("soft"):
            for warning in news.warnings:
                with ui.element("li"):
                    ui.label(said(warning))
