# SPDX-License-Identifier: GPL-3.0-or-later
"""The finished mosaic on a page: to zoom and pan, to stretch, with what lies over it, and to save.

The browser asks for tiles by a key that stands for a mosaic that was opened here; no address holds the name of a file.
"""

from __future__ import annotations

import secrets
import tempfile
import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

from nanstack.io.layout import FrameError
from nanstack.io.one_line import on_one_line
from zemosaic_patch.errors import FailureError
from zemosaic_patch.mosaic_files import MOSAIC
from zemosaic_patch.report.embedded import blues_as_css
from zemosaic_patch.ui.exports import BITS, save
from zemosaic_patch.ui.looks import BACKGROUNDS, STRETCHES, Look
from zemosaic_patch.ui.opened import Mosaic, Outline
from zemosaic_patch.ui.picker import Picker
from zemosaic_patch.ui.safety import chosen
from zemosaic_patch.ui.said import said
from zemosaic_patch.ui.texts import text
from zemosaic_patch.ui.tiles import TILE

MOST_OPEN = 3  # mosaics: each keeps its smaller tiles in memory
PLACE = "/mosaic"  # where the addresses of tiles begin
SLID_S = 0.03  # how often a slider that is moved tells where it is
KEPT = {"Cache-Control": "private, max-age=3600"}  # what a key stands for does not change


# --- the mosaics that are open ----------------------------------------------------------------------------------------


class Open:
    """The mosaics that are open, the last ones that were asked for."""

    def __init__(self) -> None:
        self._mosaics: OrderedDict[str, Mosaic] = OrderedDict()
        self._lock = threading.Lock()

    def key(self, folder: Path) -> str:
        """Open the mosaic in a folder, and return what stands for it in addresses; one that was replaced gets another.

        Raises
        ------
        NotChosenError
            For a folder that the owner did not choose.
        FrameError, OSError
            Where it cannot be read.
        """
        path = chosen.served(MOSAIC, within=folder)
        fresh = Mosaic(path)
        with self._lock:
            for key, mosaic in self._mosaics.items():
                if (mosaic.path, mosaic.stamp) == (fresh.path, fresh.stamp):
                    self._mosaics.move_to_end(key)
                    return key
            key = secrets.token_hex(8)
            self._mosaics[key] = fresh
            while len(self._mosaics) > MOST_OPEN:
                self._mosaics.popitem(last=False)
            return key

    def __getitem__(self, key: str) -> Mosaic:
        """Return an open mosaic; KeyError for what is not."""
        with self._lock:
            return self._mosaics[key]


opened = Open()


def routes(app: Any) -> None:
    """Give an application what the viewer asks for: tiles, the coverage, pictures to save.

    Parameters
    ----------
    app : fastapi.FastAPI
    """
    from fastapi import BackgroundTasks, HTTPException, Response
    from fastapi.responses import FileResponse

    def asked(make: Callable[[], Any]) -> Any:
        """Return what is made, or answer that it is not there."""
        try:
            return make()
        except (KeyError, IndexError) as error:
            raise HTTPException(404) from error
        except (FrameError, OSError) as error:
            raise HTTPException(410) from error

    @app.get(PLACE + "/{key}/{level}/{column}_{row}.png")
    def tile(key: str, level: int, column: int, row: int) -> Response:
        png = asked(lambda: opened[key].tile(level, column, row))
        return Response(png, media_type="image/png", headers=KEPT)

    @app.get(PLACE + "/{key}/coverage.png")
    def coverage(key: str) -> Response:
        return Response(asked(lambda: opened[key].coverage.png), media_type="image/png", headers=KEPT)

    @app.get(PLACE + "/{key}/save/{kind}")
    def saved(key: str, kind: str, stretch: float = 0, background: float = 0, linked: bool = False) -> Response:
        mosaic = asked(lambda: opened[key])
        name = f"{mosaic.path.parent.name or 'mosaic'}.{kind}"
        if kind == "fits":
            return FileResponse(asked(lambda: chosen.served(mosaic.path)), filename=name)
        asked(lambda: BITS[kind])
        scratch = tempfile.TemporaryDirectory(prefix="zemosaic-patch-")
        path = Path(scratch.name) / f"picture.{kind}"
        try:
            asked(lambda: save(mosaic, Look.within(stretch, background, linked), path))
        except FailureError as error:
            scratch.cleanup()
            raise HTTPException(422, str(error)) from error
        except HTTPException:
            scratch.cleanup()
            raise
        afterwards = BackgroundTasks()
        afterwards.add_task(scratch.cleanup)
        return FileResponse(path, filename=name, background=afterwards)


# --- the page ---------------------------------------------------------------------------------------------------------


def show_mosaic(folder: Path) -> None:
    """Show the mosaic in an output's folder, which the owner must have chosen.

    Parameters
    ----------
    folder : Path
    """
    from nicegui import run, ui

    ui.add_css((files("zemosaic_patch.ui") / "viewer.css").read_text(encoding="utf-8"))
    with ui.element("section").classes("mosaic") as place, ui.row(align_items="center"):
        ui.spinner()
        ui.label(text("viewer.opening"))
    place.props["aria-label"] = text("viewer.mosaic")

    async def build() -> None:
        reason = ""
        try:
            shown = await run.io_bound(_Shown.of, folder)
        except (FrameError, OSError) as error:
            shown, reason = None, getattr(error, "reason", None) or getattr(error, "strerror", None) or str(error)
        if place.is_deleted or not (shown or reason):  # the page is left, or the window is quit
            return
        place.clear()
        with place:
            if shown is None:
                ui.label(text("viewer.unreadable", reason=said(reason))).props("role=alert")
            else:
                _Viewer(shown)

    ui.timer(0, build, once=True)


@dataclass(frozen=True)
class _Shown:
    """What the page needs of a mosaic that is open."""

    key: str
    mosaic: Mosaic
    outlines: tuple[Outline, ...]

    @classmethod
    def of(cls, folder: Path) -> _Shown:
        key = opened.key(folder)
        mosaic = opened[key]
        mosaic.tile(mosaic.pyramid.coarsest, 0, 0)  # takes seconds of a large one: its owner is told meanwhile
        return cls(key, mosaic, mosaic.outlines())

    @property
    def place(self) -> str:
        return f"{PLACE}/{self.key}"

    def shades(self, look: Look) -> list[list[float]]:
        """Return the shade of each level, channel by channel, for the browser."""
        return self.mosaic.encoding.shades(look.of(self.mosaic.stretches)).round(4).tolist()


@cache
def _canvas() -> type:
    """Return the element that is drawn by `viewer.js`."""
    from nicegui import ui

    class MosaicCanvas(ui.element, component=Path(__file__).with_name("viewer.js")):
        def __init__(self, shown: _Shown, look: Look) -> None:
            super().__init__()
            self.add_resource(Path(__file__).with_name("openseadragon"))
            pyramid = shown.mosaic.pyramid
            self.style(f"aspect-ratio:{pyramid.width}/{pyramid.height}")
            self.props.update(
                {
                    "source": {
                        "url": shown.place,
                        "width": pyramid.width,
                        "height": pyramid.height,
                        "tile": TILE,
                        "coarsest": pyramid.coarsest,
                        "finest": pyramid.finest,
                    },
                    "shades": shown.shades(look),
                    "outlines": [[list(corner) for corner in outline.corners] for outline in shown.outlines],
                    "names": [on_one_line(outline.name) for outline in shown.outlines],
                    "label": text("viewer.canvas"),
                }
            )

    return MosaicCanvas


class _Viewer:
    """The elements that show a mosaic."""

    def __init__(self, shown: _Shown) -> None:
        from nicegui import ui

        self._shown, self._look = shown, Look()
        self._canvas = _canvas()(shown, self._look)
        self._canvas.on("failed", self._tell_of_failure)
        self._told = False
        with ui.element("div").classes("mosaic-bar"):
            self._zoom_buttons()
            self._save()
        with ui.element("div").classes("mosaic-bar"):
            self._sliders()
        with ui.element("div").classes("mosaic-bar mosaic-over"):  # the last one, as it grows
            self._layers()

    def _zoom_buttons(self) -> None:
        from nicegui import ui

        buttons = (
            ("add", "viewer.zoom_in", ("zoomBy", 1.6)),
            ("remove", "viewer.zoom_out", ("zoomBy", 1 / 1.6)),
            ("fit_screen", "viewer.whole", ("whole",)),
            ("", "viewer.full_size", ("fullSize",)),
            ("fullscreen", "viewer.full_screen", ("fullScreen",)),
        )
        with ui.element("div").classes("mosaic-buttons").props("role=group") as group:
            for icon, key, does in buttons:
                # in the browser alone, as a full screen must be asked for by a press there
                call = f"() => getElement({self._canvas.id}).{does[0]}({', '.join(map(str, does[1:]))})"
                button = ui.button("" if icon else "1:1", icon=icon or None).on("click", js_handler=call)
                button.props("flat dense no-caps").classes("plain")
                button.props["aria-label"] = button.props["title"] = text(key)
        group.props["aria-label"] = text("viewer.zoom")

    def _layers(self) -> None:
        from nicegui import run, ui

        async def covered(event: Any) -> None:
            coverage = await run.io_bound(lambda: self._shown.mosaic.coverage)
            lies = {"url": f"{self._shown.place}/coverage.png", "width": coverage.width, "height": coverage.height}
            self._canvas.run_method("showCoverage", event.value, lies)
            most.text = str(coverage.most)
            legend.props["aria-label"] = text("viewer.coverage_legend", most=coverage.most)
            legend.set_visibility(event.value)

        def outlined(event: Any) -> None:
            self._canvas.run_method("showOutlines", event.value)
            which.value = ""
            which.field.set_visibility(event.value)

        count = len(self._shown.outlines)
        ui.checkbox(text("viewer.coverage"), on_change=covered)
        ui.checkbox(text("viewer.outlines", count=count), on_change=outlined).set_enabled(count > 0)
        which = Picker(
            text("viewer.which"),
            {"": "", **{str(at): on_one_line(outline.name) for at, outline in enumerate(self._shown.outlines)}},
            "",
            lambda at: self._canvas.run_method("mark", int(at or -1)),
        )
        which.field.classes("mosaic-which").set_visibility(False)
        with ui.element("div").classes("mosaic-legend").props("role=img") as legend:
            ui.label("1")
            ui.element("i").style(f"background:{blues_as_css()}")
            most = ui.label()
        legend.set_visibility(False)

    def _sliders(self) -> None:
        from nicegui import ui

        usual = Look()

        def slider(key: str, ends: tuple[float, float], value: float, changed: Callable[[float], Look]) -> Any:
            """Show the browser's own slider: a screen reader tells all of it, which it does not of Quasar's."""
            with ui.element("label").classes("mosaic-slider"):
                ui.label(text(key))
                made = ui.element("input").props("type=range step=0.05")
            made.props.update({"min": ends[0], "max": ends[1], "value": value})
            number = "(event) => emit(event.target.valueAsNumber)"
            made.on("input", lambda event: self._set(changed(float(event.args))), throttle=SLID_S, js_handler=number)
            return made

        stretch = slider("viewer.stretch", STRETCHES, usual.stretch, lambda at: replace(self._look, stretch=at))
        background = slider(
            "viewer.background", BACKGROUNDS, usual.background, lambda at: replace(self._look, background=at)
        )
        linked = ui.checkbox(
            text("viewer.linked"), on_change=lambda event: self._set(replace(self._look, linked=event.value))
        )
        linked.set_visibility(self._shown.mosaic.channels > 1)

        def reset() -> None:
            for made, value in ((stretch, usual.stretch), (background, usual.background)):
                made.props["value"] = value
                made.update()
            linked.value = usual.linked
            self._set(usual)

        ui.button(text("viewer.reset"), on_click=reset).props("flat dense no-caps").classes("plain")

    def _set(self, look: Look) -> None:
        self._look = look
        self._canvas.run_method("look", self._shown.shades(look))

    def _save(self) -> None:
        from nicegui import ui

        with ui.button(text("viewer.save"), icon="download").props("no-caps flat dense").classes("plain"), ui.menu():
            for kind in (*BITS, "fits"):
                item = ui.menu_item(text(f"viewer.save_{kind}"), on_click=lambda kind=kind: self._download(kind))
                item.props("role=menuitem")

    def _download(self, kind: str) -> None:
        from nicegui import ui

        look = self._look
        asked = f"stretch={look.stretch}&background={look.background}&linked={str(look.linked).lower()}"
        ui.notify(text("viewer.saving"))
        ui.download.from_url(f"{self._shown.place}/save/{kind}?{asked}")

    def _tell_of_failure(self) -> None:
        from nicegui import ui

        if not self._told:
            self._told = True
            ui.notify(text("viewer.replaced"), type="warning", timeout=0, close_button=True)
