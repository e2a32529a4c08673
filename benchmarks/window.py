# SPDX-License-Identifier: GPL-3.0-or-later
"""How long the window keeps its owner waiting, in Chromium: the page, pictures, and clicks while a mosaic is made.

usage: python benchmarks/window.py [--frames N | --folder DIR] [--program FILE] [--rounds N] [-o DIR]

Simulates raw Seestar frames, or takes those of a folder. In each round a new profile opens the window, chooses the
folder, presses Start as soon as there is a first small picture, and clicks on until the mosaic is there. Processor time
is that of the program and all that it started, from choosing the folder on: the clock alone tells little of a machine
that does other work, too. It needs Chromium, and ``pip install ".[browser]"``.
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, fields
from pathlib import Path

import psutil
from playwright.sync_api import Error, Page, sync_playwright

from zemosaic_patch.demo.session import pleiades_session, write_frames
from zemosaic_patch.ui import state

SHAPE = (1080, 1920)
LONG_MS = 600_000
CLICK_EACH_MS = 150
CHROMIUM = "chromium", "chromium-browser", "google-chrome", "chrome"
SHOWN = "() => [...document.querySelectorAll('{}')].some((one) => one.complete && one.naturalWidth)"
THUMBNAIL = SHOWN.format(".strip-one img")
SIGHTS = {
    "rough": SHOWN.format(".filling img"),
    "cells": SHOWN.format(".filling img[src*=filling]"),
    "mosaic": "() => document.querySelector('.facts') !== null",
}
CLICK = """() => new Promise((done) => {
  const changed = (wanted) => new Promise((yes) => {
    const is = () => wanted() && (watch.disconnect(), yes());
    const watch = new MutationObserver(is);
    watch.observe(document.body, { childList: true, subtree: true });
    is();
  });
  const dialog = () => document.querySelector(".q-dialog .q-card");
  const from = performance.now();
  [...document.querySelectorAll("header button")].at(-1).click();
  changed(dialog).then(() => {
    const took = performance.now() - from;
    [...dialog().querySelectorAll("button")].at(-1).click();
    changed(() => !dialog()).then(() => done(took));
  });
})"""  # "Quit" asks back: a way to the program and back to the page


@dataclass(frozen=True)
class Waited:
    """What a round measured: seconds, milliseconds of clicks, and the processor time up to a moment.

    Attributes
    ----------
    page_s : float
        From the start of the program to its page.
    thumbnail_s, thumbnail_cpu_s : float
        From choosing the folder to a first small picture.
    rough_s, rough_cpu_s : float
        From there to a first rough picture of all.
    cells_s, cells_cpu_s : float
        And to the first finished part of the mosaic.
    mosaic_s, mosaic_cpu_s : float
        And to the mosaic.
    click_ms, slowest_click_ms : float
        The median, and the longest.
    """

    page_s: float
    thumbnail_s: float
    thumbnail_cpu_s: float
    rough_s: float
    rough_cpu_s: float
    cells_s: float
    cells_cpu_s: float
    mosaic_s: float
    mosaic_cpu_s: float
    click_ms: float
    slowest_click_ms: float


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--frames", type=int, default=100, metavar="N", help="that are simulated")
    parser.add_argument("--folder", type=Path, metavar="DIR", help="of frames that there are")
    parser.add_argument("--program", metavar="FILE", help="that `make app` built")
    parser.add_argument("--rounds", type=int, default=3, metavar="N")
    parser.add_argument("-o", "--output", type=Path, default=Path(__file__).with_name("results"), metavar="DIR")
    options = parser.parse_args()
    program = [options.program] if options.program else [sys.executable, "-m", "zemosaic_patch"]
    with tempfile.TemporaryDirectory(prefix="benchmark-") as name:
        frames = Path(name, "frames")
        if options.folder is None:
            write_frames(pleiades_session(options.frames, SHAPE), frames)
        else:
            shutil.copytree(options.folder, frames, copy_function=os.symlink)
        rounds = []
        for number in range(options.rounds + 1):
            rounds.append(waited(program, frames, Path(name, f"state{number}")))
            print(rounds[-1], file=sys.stderr)
            for output in Path(name).glob("* mosaic*"):
                shutil.rmtree(output)
    text = table(rounds[1:])  # the first one compiled, maybe
    options.output.mkdir(parents=True, exist_ok=True)
    (options.output / "window.md").write_text(text, encoding="utf-8")
    print(text)
    return 0


def table(rounds: list[Waited]) -> str:
    """Return medians and the worst of rounds."""
    lines = [f"{psutil.cpu_count()} cores, {len(rounds)} rounds", "", "| | median | worst |", "|---|---|---|"]
    for field in fields(Waited):
        values = [getattr(one, field.name) for one in rounds]
        lines.append(f"| {field.name} | {statistics.median(values):.2f} | {max(values):.2f} |")
    return "\n".join(lines) + "\n"


def waited(program: list[str], frames: Path, home: Path) -> Waited:
    """Use the window once, with a new profile."""
    with chromium_page() as page, window(program, home) as (server, address, page_from):
        page.goto(address)
        page.wait_for_selector("h1")
        page_s = time.perf_counter() - page_from
        place = page.get_by_role("textbox")
        place.fill(str(frames))
        clock = Clock(server)
        place.press("Enter")
        page.wait_for_function(THUMBNAIL)
        seen = {"thumbnail": clock.read()}
        page.get_by_role("button", name="Start").click()
        clicks: list[float] = []
        while "mosaic" not in seen:
            page.wait_for_timeout(CLICK_EACH_MS)
            try:
                for name, script in SIGHTS.items():
                    if name not in seen and page.evaluate(script):
                        seen[name] = clock.read()
                clicks.append(page.evaluate(CLICK))
            except Error:  # the page has just become another one
                page.wait_for_load_state()
    times = [number for name in ("thumbnail", *SIGHTS) for number in seen.get(name, seen["mosaic"])]
    return Waited(page_s, *times, statistics.median(clicks), max(clicks))


@contextmanager
def window(program: list[str], home: Path) -> Iterator[tuple[psutil.Process, str, float]]:
    """Give the program's process, the address that it tells, and when it was started."""
    environment = {**os.environ, state.PLACE: str(home), "LANG": "en_GB.UTF-8", "LC_ALL": "en_GB.UTF-8"}
    began = time.perf_counter()
    child = subprocess.Popen([*program, "ui", "--no-browser"], stdout=subprocess.PIPE, text=True, env=environment)
    try:
        yield psutil.Process(child.pid), child.stdout.readline().split()[-1], began
    finally:
        child.send_signal(signal.SIGINT)
        child.wait(60)


@contextmanager
def chromium_page() -> Iterator[Page]:
    """Give a page of a new profile."""
    found = next(filter(None, map(shutil.which, CHROMIUM)), None)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=["--no-sandbox"])
        page = browser.new_page()
        page.set_default_timeout(LONG_MS)
        yield page
        browser.close()


class Clock:
    """Seconds, and processor time of a process and all that it started, from now on."""

    def __init__(self, process: psutil.Process) -> None:
        self._process = process
        self._began, self._used = time.perf_counter(), self._cpu()

    def read(self) -> tuple[float, float]:
        """Return both."""
        return time.perf_counter() - self._began, self._cpu() - self._used

    def _cpu(self) -> float:
        ended = self._process.cpu_times()
        total = ended.children_user + ended.children_system
        for one in (self._process, *self._process.children(recursive=True)):
            with suppress(psutil.Error):  # it has just ended
                used = one.cpu_times()
                total += used.user + used.system
        return total


if __name__ == "__main__":
    sys.exit(main())
