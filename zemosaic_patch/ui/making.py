# SPDX-License-Identifier: GPL-3.0-or-later
"""The page 'Make a picture': frames are chosen, looked through, and a run is begun."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

from nanstack.io.one_line import on_one_line
from nanstack.survey.store import hand_on
from zemosaic_patch.commands.mosaic import check_output
from zemosaic_patch.errors import UsageError
from zemosaic_patch.lost_files import remember
from zemosaic_patch.mosaic_files import SURVEYS
from zemosaic_patch.options.runs import MosaicRun
from zemosaic_patch.ui import drop, folders, jobs, settings, strip
from zemosaic_patch.ui.desk import Contents, Desk, Looking, desk, surveys
from zemosaic_patch.ui.jobs import Run
from zemosaic_patch.ui.pictured import Pictured
from zemosaic_patch.ui.safety import chosen
from zemosaic_patch.ui.said import said
from zemosaic_patch.ui.texts import counted, moment, text

EACH_S = 0.4  # so often a page looks for what is new
NIGHTS_SHOWN, REASONS_SHOWN = 6, 12


def page_make() -> None:
    """Show the page."""
    from nicegui import ui

    with ui.element("h1"):
        ui.label(text("make.page"))
    _running()
    shown: dict[str, Any] = {"look": None, "version": -1, "strip": None}
    whole = ui.element("div")

    def build() -> None:
        whole.clear()
        shown["look"], shown["strip"] = desk.looking, None
        with whole:
            if desk.looking is None:
                _first_choice()
            else:
                with ui.element("section").classes("card beside"):
                    with ui.element("div"):
                        _places()
                        shown["contents"] = ui.element("div")
                    shown["rough"] = Pictured(text("make.rough_alt"), text("make.rough_soon"))
                shown["frames"] = ui.element("section").classes("card")
                shown["frames"].set_visibility(False)
                with ui.element("section").classes("card"):
                    shown["begin"] = _what_to_make()

    def renew() -> None:
        if desk.looking is not shown["look"]:
            build()
        elif desk.version == shown["version"]:
            return
        shown["version"] = desk.version
        if desk.looking is not None:
            _renew_contents(shown["contents"])
            _renew_frames(shown)
            _renew_rough(shown["rough"])
            shown["begin"]()

    drop.let_drop(lambda places: choose(*places))
    build()
    renew()
    ui.timer(EACH_S, renew)


def _running() -> None:
    """Say that a run is under way, and lead to it."""
    from nicegui import ui

    run = jobs.running()
    if run is not None:
        with ui.element("p").classes("card note"):
            ui.label(text("make.running", target=run.target))
            ui.link(text("make.show_run"), f"/run/{run.key}")


def choose(*places: Path) -> None:
    """Put the frames of folders on the desk."""
    for place in places:
        if place.is_dir():
            chosen.add(place)
    desk.choose(list(map(str, places)))


def _first_choice() -> None:
    from nicegui import ui

    async def browse() -> None:
        await folders.ask(choose)

    def named() -> None:
        if (place.value or "").strip():
            choose(folders.meant(place.value))

    with ui.element("section").classes("card first"):
        ui.label(text("make.first")).classes("lead")
        ui.button(text("make.choose"), on_click=browse).props("unelevated no-caps size=lg").classes("main")
        place = ui.input(text("make.paste")).props("outlined").classes("wide").on("keydown.enter", named)
        ui.button(text("make.take"), on_click=named).props("flat no-caps").classes("plain")


# --- what the frames are ----------------------------------------------------------------------------------------------


def _places() -> None:
    """Show where the frames are, and the ways to others: these stay while more and more is known of the frames."""
    from nicegui import ui

    with ui.element("div").classes("place"):
        ui.label(on_one_line(", ".join(desk.looking.places))).classes("strong")
        ui.button(text("make.another"), on_click=_another).props("flat dense no-caps").classes("plain")
        ui.button(text("make.add"), on_click=_add).props("flat dense no-caps").classes("plain")


def _renew_contents(section: Any) -> None:
    from nicegui import ui

    looking = desk.looking
    section.clear()
    with section:
        if looking.failure:
            ui.label(on_one_line(said(looking.failure))).classes("bad").props('role="alert"')
        elif not looking.paths:
            ui.label(text("make.looking")).props('role="status"')
        else:
            _tell(desk.contents())


async def _another() -> None:
    await folders.ask(choose, _beside(desk))


async def _add() -> None:
    def more(place: Path) -> None:
        desk.choose([*desk.looking.places, str(place)])

    await folders.ask(more, _beside(desk))


def _beside(desk: Desk) -> Path:
    place = Path(desk.looking.places[-1])
    return place.parent if place.parent.is_dir() else Path.home()


def _tell(contents: Contents) -> None:
    from nicegui import ui

    looking = desk.looking
    status = "make.known" if looking.is_over else "make.so_far"
    ui.label(text(status, used=contents.used, found=contents.found, known=contents.known)).props('role="status"')
    if not looking.is_over:
        ui.linear_progress(contents.known / max(contents.found, 1), show_value=False).props(
            'aria-hidden="true" animation-speed=200'
        )
    if contents.targets:
        ui.label(text("make.targets", targets=", ".join(contents.targets)))
    with ui.element("ul"):
        for night, count, seconds in contents.nights[:NIGHTS_SHOWN]:
            with ui.element("li"):
                ui.label(_night(night, count, seconds))
        if len(contents.nights) > NIGHTS_SHOWN:
            with ui.element("li"):
                ui.label(counted("make.more_nights", len(contents.nights) - NIGHTS_SHOWN))
    if contents.left_out or looking.passed:
        _tell_left_out(contents, looking.passed)


def _night(night: str, count: int, seconds: str) -> str:
    name = text("make.night", night=_day(night)) if night else text("make.no_night")
    told = text("make.of_night", night=name, frames=counted("make.frames", count))
    return f"{told}, {said(seconds)}" if seconds else told


def _day(night: str) -> str:
    return moment(datetime.fromisoformat(night), "form.day")


def _tell_left_out(contents: Contents, passed: list[str]) -> None:
    from nicegui import ui

    count = sum(len(names) for _, names in contents.left_out)
    if count:
        ui.label(counted("make.left_out", count)).classes("strong")
    with ui.element("ul").classes("soft"):
        for reason, names in contents.left_out[:REASONS_SHOWN]:
            with ui.element("li"):
                named = names[0] if len(names) == 1 else counted("make.and_more", len(names) - 1, name=names[0])
                ui.label(text("make.why", name=named, reason=said(reason)))
        if len(contents.left_out) > REASONS_SHOWN:
            with ui.element("li"):
                ui.label(counted("make.more_reasons", len(contents.left_out) - REASONS_SHOWN))
        for line in passed:
            with ui.element("li"):
                ui.label(said(line))


def _renew_rough(picture: Pictured) -> None:
    """Show what the frames show, as soon as that is known roughly."""
    looking, rough = desk.looking, desk.looking.rough
    if rough.count > 0:
        told = counted("make.rough", rough.count)
        again = text("make.rough_again", rough=told) if rough.is_due else told
        picture.show(f"/rough/{looking.key}?picture={rough.number}", again)
    elif looking.is_over and not rough.is_due:
        picture.hide()


def _renew_frames(shown: dict[str, Any]) -> None:
    """Show the strip, as soon as there are frames; afterwards what has changed in it."""
    from nicegui import ui

    if not desk.looking.paths:
        return
    if shown["strip"] is None:
        section = shown["frames"]
        section.set_visibility(True)
        with section:
            with ui.element("h2"):
                ui.label(text("strip.frames"))
            shown["strip"] = strip.element()(desk)
    else:
        shown["strip"].renew(desk)


# --- what is made of them ---------------------------------------------------------------------------------------------


def _what_to_make() -> Callable[[], None]:
    """Show what can be chosen, and the way to begin; return what makes that fit what is known of the frames."""
    from nicegui import ui

    def set_(options: dict[str, Any]) -> None:
        desk.choose_options(options)
        renew()

    def as_usual() -> None:
        form.refused.clear()
        set_({})

    def name_output(folder: str) -> None:
        desk.name_output(folder)
        renew()

    form = settings.Form()
    choices = settings.Choices(lambda: desk.changed, set_, lambda: desk.looking.paths, form)
    with ui.element("div").classes("settings"):
        fields = settings.show_in_sight(choices)
    with ui.expansion(text("make.more")):
        output = settings.Typed(text("make.output"), _free_folder, name_output, form)
        with ui.element("div").classes("options"):
            fields += settings.show_all(choices)
    with ui.element("div").classes("unusual").props('role="status"') as unusual:
        told = ui.label()
        ui.button(text("make.as_usual"), on_click=as_usual).props("flat dense no-caps").classes("plain")
    with ui.element("div").classes("start"):
        button = ui.button(text("make.start"), on_click=lambda: _start(button, form))
        button.props("unelevated no-caps size=lg").classes("main")
        where = ui.label().classes("soft")

    shown: list[Any] = []  # the options, and the folder, that fields show

    def renew() -> None:
        ready = can_start(desk)
        button.set_enabled(ready)
        where.text = _where(ready)
        output.field.props["placeholder"] = on_one_line(str(usual_output(desk)))
        if shown != [desk.changed, desk.output]:
            shown[:] = [desk.changed, desk.output]
            output.value = desk.output
            told.text = text("make.unusual", settings="; ".join(settings.unusual(desk.changed)))
            unusual.set_visibility(bool(desk.changed))
            for field in fields:
                field()

    return renew


def _where(ready: bool) -> str:
    """Return what is said beside the way to begin: where the picture goes, or why there will be none."""
    if not ready:
        return "" if desk.looking.failure or not desk.looking.is_over else text("make.nothing")
    try:
        goes = text("make.into", folder=str(output_for(desk)))
    except UsageError as error:
        return str(error)
    return goes if desk.looking.is_over else f"{goes} {text('make.while_looking')}"


def output_for(desk: Desk) -> Path:
    """Return where the mosaic of the frames on the desk goes: beside them, named after the target, as nothing there."""
    return folders.meant(desk.output) if desk.output.strip() else usual_output(desk)


def _free_folder(typed: str) -> str:
    """Return the folder for the result that was typed, nothing for the usual one; UsageError as the command's."""
    if not typed.strip():
        return ""
    folder = folders.meant(typed)
    with _told_of(folder):
        check_output(folder, MosaicRun(), desk.looking.paths)
    return str(folder)


@contextmanager
def _told_of(folder: Path) -> Iterator[None]:
    """Refuse a folder for the result where what is done with it fails."""
    try:
        yield
    except OSError as failure:
        why = said(failure.strerror or str(failure))
        raise UsageError(text("make.no_room", folder=str(folder), reason=why)) from failure


def usual_output(desk: Desk) -> Path:
    """Return where it goes unless the owner names a folder."""
    if desk.looking is None or not desk.looking.places:
        return Path.home()
    first = Path(os.path.abspath(desk.looking.places[0]))
    home = first.parent if os.access(first.parent, os.W_OK) else Path.home()
    targets = desk.contents().targets
    name = text("make.mosaic_of", target=_as_name(targets[0] if targets else first.name))
    number, folder = 1, home / name
    while not _is_free(folder):
        number += 1
        folder = home / f"{name} {number}"
    return folder


def _is_free(folder: Path) -> bool:
    """Tell whether nothing is there but what a run that came to nothing was given of the frames."""
    try:
        return set(os.listdir(folder)) <= {SURVEYS}
    except OSError:
        return not os.path.lexists(folder)


def _as_name(target: str) -> str:
    """Return a target as a part of a file's name, on any system."""
    kept = "".join(letter if letter.isalnum() or letter in " -+_." else " " for letter in target)
    return " ".join(kept.split()).strip(". ")[:60] or "mosaic"


async def _start(button: Any, form: settings.Form) -> None:
    from nicegui import run, ui

    await form.check()
    button.disable()  # whoever clicks twice wants one picture
    try:
        begun = await run.io_bound(start)
    except Exception:
        button.enable()
        raise
    ui.navigate.to(f"/run/{begun.key}")


def start() -> Run:
    """Begin the run that the desk describes.

    Raises
    ------
    UsageError
        Where there is nothing to begin, another run is under way, options contradict each other, or nothing can be
        written where the picture is to go.
    """
    with jobs.alone():
        if not can_start(desk):
            raise UsageError(text("make.nothing"))
        made, groups = settings.run_of(desk.changed)
        looking, output = desk.looking, output_for(desk)
        settings.check_all(desk.changed, looking.paths)
        contents = desk.contents()
        out = _named(looking, {number for number in desk.taken_out if not desk.why_not(number)})
        wanted = _named(looking, desk.taken_in)
        left_in = [path for number, path in enumerate(looking.paths) if number not in desk.taken_out]
        with _told_of(output):
            check_output(output, made, looking.paths)
            hand_on(looking.paths, surveys(), output / SURVEYS)
            remember(output, left_in)  # those that are gone by now are told
        chosen.add(output)
        run = Run(
            "",
            str(output),
            looking.places,
            target=contents.targets[0] if contents.targets else output.name,
            count=len(looking.paths) - len(desk.taken_out),
            north_up=made.canvas.is_north_up,
        )
        begun = jobs.begin(run, settings.as_toml(groups, out, wanted), ())
    looking.end(begun.home / jobs.ROUGH)
    return begun


def _named(looking: Looking, numbers: Collection[int]) -> tuple[str, ...]:
    """Return the files of numbers, but for those that are not there any more, of which nothing need be wished."""
    return tuple(str(looking.paths[number]) for number in sorted(numbers) if os.path.lexists(looking.paths[number]))


def can_start(desk: Desk) -> bool:
    """Tell whether there is something to make a mosaic of: frames, of which some may be of use."""
    looking = desk.looking
    return looking is not None and bool(looking.paths) and not (looking.is_over and desk.contents().used == 0)
