# SPDX-License-Identifier: GPL-3.0-or-later
"""The page 'Patch my ZeMosaic': what holds in it, the patch in and out, and tiles for a trial."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

from zemosaic_patch.dropin.sources import Finding
from zemosaic_patch.dropin.verdict import Verdict
from zemosaic_patch.ui import drop, folders
from zemosaic_patch.ui.bench import Bench, Trial
from zemosaic_patch.ui.said import said
from zemosaic_patch.ui.texts import text

FOLLOWED_S = 0.5  # how often the page looks whether a trial has ended

bench = Bench()  # one for all tabs, so that a reload shows the same


def page_patch() -> None:
    """Show the page."""
    from nicegui import ui

    ui.add_css((files("zemosaic_patch.ui") / "patching.css").read_text(encoding="utf-8"))
    _heading("h1", text("patch.page"))
    ui.label(text("patch.intro")).classes("soft")
    _Page()


class _Page:
    """The elements of the page."""

    def __init__(self) -> None:
        from nicegui import ui

        with ui.element("form").classes("patch-choose").on("submit.prevent", self._look):
            self._folder = ui.input(text("patch.folder"), value=bench.folder, placeholder=text("patch.folder_like"))
            self._folder.props("outlined")
            ui.button(text("patch.look")).props("type=submit no-caps unelevated").classes("main")
            ui.button(text("folders.choose"), on_click=self._browse).props("no-caps flat").classes("plain")
        self._shown = ui.refreshable(self._content)
        with ui.element("div").props("aria-live=polite"):
            self._shown()
        self._seen = _state()
        drop.let_drop(self._take)
        ui.timer(FOLLOWED_S, self._follow)

    def _follow(self) -> None:
        """Show what another tab, or a trial, has changed."""
        if _state() != self._seen:
            self._seen = _state()
            self._shown.refresh()

    async def _browse(self) -> None:
        await folders.ask(lambda folder: self._take([folder]))

    async def _take(self, places: Sequence[Path]) -> None:
        self._folder.value = str(places[0])
        await self._look()

    async def _look(self) -> None:
        folder = str(folders.meant(self._folder.value or ""))
        await self._do(lambda: bench.look(folder))

    async def _do(self, act: Callable[[], None]) -> None:
        """Do something beside the page, which stays alive meanwhile; one thing at a time."""
        from nicegui import run

        if bench.busy:
            return
        bench.busy = True
        self._follow()
        try:
            await run.io_bound(act)
        finally:
            bench.busy = False
            self._follow()

    def _content(self) -> None:
        from nicegui import ui

        if bench.busy:
            with ui.row(align_items="center"):
                ui.spinner()
                ui.label(text("patch.busy"))
        if bench.refusal:
            _note(said(bench.refusal), "bad", "alert")
        if bench.done:
            with ui.element("div").classes("card"):
                ui.label(text("patch.done")).classes("soft")
                for line in bench.done:
                    ui.label(said(line))
        if bench.verdict is not None:
            self._verdict(bench.verdict)
        if bench.trial is not None:
            _trial(bench.trial)

    def _verdict(self, verdict: Verdict) -> None:
        from nicegui import ui

        lacking = sum(not one.holds for one in verdict.findings)
        with ui.element("section").classes("card"):
            heading = text(f"patch.is_{verdict.state}", version=verdict.version)
            _heading("h2", heading)
            ui.label(str(verdict.root)).classes("soft")
            if verdict.state == "none":
                lacks = text("patch.lacks", lacking=lacking, all=len(verdict.findings))
                ui.label(lacks if lacking else text("patch.lacks_none"))
            elif verdict.state == "half":
                ui.label(said(verdict.text))
            with ui.expansion(text("patch.findings")).classes("patch-findings"):
                for finding in verdict.findings:
                    _finding(finding, finding is verdict.left_out)
            self._ways(verdict)

    def _ways(self, verdict: Verdict) -> None:
        """Show what can be done."""
        from nicegui import ui

        accept = None
        if verdict.unknown:
            ui.label(text("patch.unknown", files=", ".join(verdict.unknown)))
            accept = ui.checkbox(text("patch.accept"))
        if verdict.state != "patched":
            ui.label(text("patch.close_first")).classes("soft")
        with ui.row(align_items="center"):
            if verdict.state != "patched":
                key = {"none": "patch.put_in", "outdated": "patch.update", "half": "patch.complete"}[verdict.state]
                put_in = ui.button(text(key), on_click=lambda: self._put_in(accept))
                put_in.props("no-caps unelevated").classes("main").set_enabled(not bench.busy)
                if accept is not None:
                    put_in.bind_enabled_from(accept, "value")
            if verdict.state in ("patched", "outdated"):
                tried = ui.button(text("patch.try"), on_click=lambda: self._begin_trial(python.value.strip()))
                tried.props("no-caps unelevated").classes("main" if verdict.state == "patched" else "plain")
                tried.set_enabled(bench.trial is None or bench.trial.state != "running")
            if verdict.state != "none":
                out = ui.button(text("patch.take_out"), on_click=lambda: self._do(bench.take_out))
                out.props("no-caps flat").classes("plain").set_enabled(not bench.busy)
        if verdict.state in ("patched", "outdated"):
            with ui.expansion(text("patch.more")):
                python = ui.input(text("patch.python")).props("outlined").classes("patch-python")

    async def _put_in(self, accept: Any) -> None:
        accepted = accept is not None and accept.value
        await self._do(lambda: bench.put_in(accepted))

    def _begin_trial(self, python: str) -> None:
        bench.begin_trial(folders.plain(python))
        self._follow()


def _state() -> tuple[Any, ...]:
    """Return what the page shows: another one is shown anew."""
    trial = bench.trial
    return bench.folder, bench.busy, bench.refusal, bench.done, bench.verdict, trial, trial and trial.state


def _heading(kind: str, words: str) -> None:
    from nicegui import ui

    with ui.element(kind):
        ui.label(words)


def _finding(finding: Finding, left_out: bool) -> None:
    from nicegui import ui

    key = "patch.left_out" if left_out else "patch.holds" if finding.holds else "patch.affected"
    with ui.element("div").classes("patch-finding"):
        ui.label(text(key)).classes("good" if finding.holds else "soft" if left_out else "bad")
        with ui.element("div"):
            ui.label(said(finding.text))
            ui.label(finding.place).classes("soft patch-place")


def _note(words: str, kind: str, role: str) -> None:
    from nicegui import ui

    with ui.element("div").classes("card").props(f"role={role}"):
        ui.label(words).classes(kind)


def _trial(trial: Trial) -> None:
    """Show a trial, running or ended."""
    from nicegui import ui

    with ui.element("section").classes("card"):
        _heading("h2", text("patch.trial"))
        if trial.state == "running":
            with ui.row(align_items="center"):
                ui.spinner()
                ui.label(text("patch.trial_running"))
                ui.button(text("window.cancel"), on_click=bench.end_trial).props("no-caps flat").classes("plain")
            return
        kind = "good" if trial.state == "good" else "bad"
        ui.label(text(f"patch.trial_{trial.state}")).classes(kind)
        if trial.picture:
            with ui.element("div").classes("patch-pictures"):
                for side in ("before", "after"):
                    with ui.element("div").classes(f"patch-{side}"):
                        picture = ui.element("img")
                    picture.props["src"], picture.props["alt"] = trial.picture, text(f"patch.picture_{side}")
            ui.label(text("patch.picture")).classes("soft")
        with (
            ui.expansion(text("patch.measured"), value=trial.state == "failed"),
            ui.element("div").classes("patch-said"),
        ):
            for line in trial.lines:
                ui.label(said(line))
