# SPDX-License-Identifier: GPL-3.0-or-later
"""What the pages fetch beside themselves: pictures of frames, of a mosaic that fills, and the report.

No address holds a place of a file: frames go by their numbers, runs by their keys.
"""

from __future__ import annotations

import asyncio
from pathlib import PurePosixPath
from typing import Any

from nanstack.io.frames import FrameError
from zemosaic_patch.hips.about import PAGE as SKY_PAGE
from zemosaic_patch.hips.about import PROPERTIES, VIEWER, page_of, part_of_viewer, read_properties
from zemosaic_patch.hips.folder import HIPS
from zemosaic_patch.mosaic_files import PAGE
from zemosaic_patch.ui import jobs, running, thumbnails
from zemosaic_patch.ui.desk import desk
from zemosaic_patch.ui.safety import NotChosenError, chosen

PREVIEW_PX = 480
KINDS = {".png": "image/png", ".jpg": "image/jpeg", ".fits": "application/fits", "": "text/plain"}


def routes(app: Any) -> None:
    """Give an application these addresses.

    Parameters
    ----------
    app : fastapi.FastAPI
    """
    from fastapi import Response
    from fastapi.concurrency import run_in_threadpool

    one = asyncio.Lock()  # at a time: several would keep the page itself waiting

    async def of_frame(request: Any) -> Response:
        async with one:
            if await request.is_disconnected():  # its page was left meanwhile
                return Response(status_code=404)
            found = await run_in_threadpool(frame_picture, **request.path_params)
        return _picture(found, "image/jpeg", "private, max-age=3600")

    def of_filling(key: str) -> Response:
        return _picture(running.filled_picture(key), "image/jpeg", "no-store")

    def of_rough(key: str) -> Response:
        return _picture(rough(key), "image/png", "no-store")

    def of_run(key: str) -> Response:
        return _picture(preview(key), "image/jpeg", "no-cache")

    def of_report(key: str) -> Response:
        found = report(key)
        return Response(status_code=404) if found is None else Response(found, media_type="text/html")

    def of_tiles(key: str, name: str) -> Response:
        found = tiles_of_the_sky(key, name)
        return Response(status_code=404) if found is None else Response(found[0], media_type=found[1])

    app.add_route("/frame/{look}/{number}/{size}", of_frame)
    app.get("/filling/{key}")(of_filling)  # each in a thread of its own
    app.get("/rough/{key}")(of_rough)
    app.get("/preview/{key}")(of_run)
    app.get("/report/{key}")(of_report)
    app.get("/hips/{key}/{name:path}")(of_tiles)


def _picture(content: bytes | None, kind: str, kept: str) -> Any:
    from fastapi import Response

    if content is None:
        return Response(status_code=404)
    return Response(content, media_type=kind, headers={"Cache-Control": kept})


def frame_picture(look: str, number: str, size: str) -> bytes | None:
    """Return a frame on the desk as a JPEG; None where there is none.

    Parameters
    ----------
    look : str
        The key of the look at the frames.
    number : str
        As the address has it.
    size : {'small', 'large'}
    """
    looking = desk.looking
    if looking is None or looking.key != look or size not in thumbnails.SIZES or not number.isdecimal():
        return None
    try:
        path = looking.paths[int(number)]
        return thumbnails.picture(path, size, path.stat().st_mtime_ns)
    except (IndexError, FrameError, OSError, ValueError, MemoryError):
        return None


def rough(key: str) -> bytes | None:
    """Return the rough picture of a look at frames, or of a run, as a PNG.

    Parameters
    ----------
    key : str
        Of the look, or of the run.
    """
    looking, run = desk.looking, jobs.find(key)
    path = looking.rough.path if looking and looking.key == key else run and run.home / jobs.ROUGH
    try:
        return path and path.read_bytes()
    except OSError:
        return None


def preview(key: str) -> bytes | None:
    """Return a small picture of a run's mosaic, as a JPEG."""
    found = _in_run(key, ("mosaic_linked.png", "mosaic_linked.tif", "mosaic.png"))
    return None if found is None else thumbnails.of_picture(found, PREVIEW_PX, found.stat().st_mtime_ns)


def report(key: str) -> bytes | None:
    """Return a run's report, a page of HTML."""
    found = _in_run(key, (PAGE,))
    return None if found is None else found.read_bytes()


def tiles_of_the_sky(key: str, name: str) -> tuple[bytes, str] | None:
    """Return a file of a mosaic's tiles of the sky, and its kind; the page and its viewer are this program's own.

    A page that lies there may be anybody's, and would be taken for the window's: from there come pictures and numbers.
    """
    if name in VIEWER:
        return part_of_viewer(name), "text/javascript"
    kind = KINDS.get(PurePosixPath(name).suffix)
    is_page = name == SKY_PAGE
    found = _in_run(key, (PROPERTIES if is_page else name,), HIPS) if kind or is_page else None
    try:
        if found is None:
            return None
        return (page_of(read_properties(found)).encode(), "text/html") if is_page else (found.read_bytes(), kind)
    except (OSError, ValueError, KeyError):
        return None


def _in_run(key: str, names: tuple[str, ...], inner: str = "") -> Any:
    """Return the first of some files that is in a run's folder, or one within that, where it may be served."""
    run = jobs.find(key)
    if run is None:
        return None
    for name in names:
        try:
            path = chosen.served(name, within=run.folder / inner)
        except NotChosenError:
            continue
        if path.is_file():
            return path
    return None
