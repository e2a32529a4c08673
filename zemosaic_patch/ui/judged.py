# SPDX-License-Identifier: GPL-3.0-or-later
"""Frames that a finished run left out by its own judgement: those that the owner wants all the same are taken in."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from nanstack.io.frames import short_names
from zemosaic_patch.given import find_frames
from zemosaic_patch.mosaic_files import REPORT
from zemosaic_patch.report.reading import ReportError, read_told
from zemosaic_patch.ui import earlier
from zemosaic_patch.ui.jobs import Run
from zemosaic_patch.ui.said import said
from zemosaic_patch.ui.texts import text

MOST_SHOWN = 60


@dataclass(frozen=True)
class Judged:
    """A frame, as the report names it, what speaks against it, and whether it is in the mosaic all the same."""

    name: str
    reason: str
    is_in: bool


def judged_in(folder: Path) -> list[Judged]:
    """Return the frames of a mosaic that the owner decides about: those that are in it, then the others, by names."""
    try:
        told = read_told(folder / REPORT)
    except (ReportError, OSError):  # of a mosaic that is there, what is known of it may be gone
        return []
    out = [Judged(name, told.left_out[name], False) for name in sorted(told.can_be_taken_in) if name in told.left_out]
    return [*(Judged(name, reason, True) for name, reason in sorted(told.taken_in.items())), *out]


def taken_in(run: Run, names: Collection[str]) -> Run:
    """Make a run's mosaic again, with these frames in it that would be left out, and without all others of these.

    Parameters
    ----------
    run : Run
    names : collection of str
        As its report has them.

    Raises
    ------
    UsageError
        As `zemosaic_patch.ui.earlier.continued`; where its frames are not there any more.
    """
    called = {name: str(path) for path, name in short_names(find_frames(run.frames, run.folder).paths).items()}
    return earlier.continued(run, take_in=tuple(called.get(name, name) for name in names))


def show_judged(run: Run) -> None:
    """Show these frames, and the way to a mosaic with others of them; nothing where there are none."""
    from nicegui import run as threads
    from nicegui import ui

    place = ui.element("section").classes("card judged")
    place.set_visibility(False)

    async def build() -> None:
        judged = await threads.io_bound(judged_in, run.folder)
        if judged and not place.is_deleted:
            place.set_visibility(True)
            with place:
                _choice(run, judged)

    ui.timer(0, build, once=True)


def _choice(run: Run, judged: list[Judged]) -> None:
    from nicegui import run as threads
    from nicegui import ui

    before = {one.name for one in judged if one.is_in}
    wanted = set(before)

    def want(name: str, is_wanted: bool) -> None:
        (wanted.add if is_wanted else wanted.discard)(name)
        again.set_enabled(wanted != before)

    async def begin() -> None:
        begun = await threads.io_bound(taken_in, run, sorted(wanted))
        ui.navigate.to(f"/run/{begun.key}")

    with ui.element("h2"):
        ui.label(text("judged.title"))
    ui.label(text("judged.about")).classes("soft")
    for one in judged[:MOST_SHOWN]:
        ui.checkbox(
            text("make.why", name=one.name, reason=said(one.reason)),
            value=one.is_in,
            on_change=lambda event, name=one.name: want(name, event.value),
        )
    if len(judged) > MOST_SHOWN:
        ui.label(text("judged.more", count=len(judged) - MOST_SHOWN)).classes("soft")
    again = ui.button(text("judged.again"), on_click=begin).props("outline no-caps").classes("plain")
    again.set_enabled(False)
