# SPDX-License-Identifier: GPL-3.0-or-later
"""The window as its owner uses it, in Chromium: `make test-browser`, which is not a part of `make test`.

From an empty profile to the finished mosaic, by keyboard too, in the light, in the dark and on a phone; axe-core finds
nothing serious, and nothing is asked of any other server.
"""

import json
import os
import re
import shutil
import signal
import subprocess
import sys

import pytest
from astropy.io import fits

from tests.support.pointings import write_pointings
from zemosaic_patch.ui import state

pytestmark = pytest.mark.browser
CHROMIUM = os.environ.get("ZEMOSAIC_PATCH_CHROMIUM") or next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome"))), None
)
if CHROMIUM is None:
    pytest.skip("no Chromium: install it, or name it by ZEMOSAIC_PATCH_CHROMIUM", allow_module_level=True)
playwright = pytest.importorskip("playwright.sync_api", reason="no playwright: pip install '.[browser]'")
axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="no axe-core: pip install '.[browser]'")

HTML = "<img src=x onerror=alert(1)>&lt;.fit"
LONG_MS = 180_000
SCREENS = {"light": (1280, 900), "dark": (1280, 900), "phone": (390, 844)}


@pytest.fixture(scope="module")
def frames(tmp_path_factory):
    folder = tmp_path_factory.mktemp("browser") / "M 45"
    write_pointings(folder)
    first = min(folder.iterdir())
    fits.writeto(folder / HTML, fits.getdata(first), fits.Header({"IMAGETYP": "Dark"}))
    return folder


def started(folder):
    """Return the program, started, and the address that it shows."""
    environment = {**os.environ, state.PLACE: str(folder), "LANG": "en_GB.UTF-8", "LC_ALL": "en_GB.UTF-8"}
    process = subprocess.Popen(
        [sys.executable, "-m", "zemosaic_patch", "ui", "--no-browser"],
        stdout=subprocess.PIPE, text=True, env=environment,
    )  # fmt: skip
    return process, process.stdout.readline().split()[-1]


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    process, address = started(tmp_path_factory.mktemp("window"))
    yield address
    process.send_signal(signal.SIGINT)
    process.wait(60)


@pytest.fixture(scope="module")
def chromium():
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def window(chromium, address):
    """Return what opens a tab of a new profile on a screen; at the end nothing else was asked, and no script failed."""
    faults, contexts = [], []
    home = address.partition("?")[0]

    def opened(screen="light"):
        width, height = SCREENS[screen]
        scheme = "dark" if screen == "dark" else "light"
        context = chromium.new_context(
            viewport={"width": width, "height": height}, color_scheme=scheme, bypass_csp=True
        )  # axe-core is put into the page
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(LONG_MS)
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.on("dialog", lambda dialog: faults.append(f"dialog: {dialog.message}") or dialog.dismiss())
        page.on(
            "request",
            lambda asked: (
                asked.url.startswith((home, home.replace("http", "ws"), "data:", "blob:")) or faults.append(asked.url)
            ),
        )
        page.goto(address)
        page.wait_for_selector("h1")
        return page

    yield opened
    for context in contexts:
        context.close()
    assert faults == []


def check_readable(page, part=None):
    """Hold a page, or a dialog above it, to axe-core, and to the width of its screen."""
    page.wait_for_timeout(500)
    # what dims the page around a dialog is taken to lie before it; its colours are the page's
    without = {"rules": {"color-contrast": {"enabled": False}}} if part else None
    found = axe.Axe().run(page, context=part, options=without).response["violations"]
    serious = [
        f"{one['id']}: {node['html']} {node['failureSummary']}"
        for one in found
        if one["impact"] in ("serious", "critical")
        for node in one["nodes"]
    ]
    assert serious == []
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def choose(page, folder):
    page.get_by_role("button", name=re.compile("(Choose a|Another) folder")).click()
    place = page.get_by_label("Folder", exact=True)
    place.fill(str(folder))
    place.press("Enter")
    page.get_by_text(f"{len(list(folder.iterdir()))} frame files in it").wait_for()
    check_readable(page, ".q-dialog")
    page.get_by_role("button", name="Take this folder").click()


def test_from_an_empty_profile_to_the_finished_mosaic(window, frames):
    page = window()
    check_readable(page)
    choose(page, frames)
    count = len(list(frames.iterdir()))
    page.get_by_text(f"{count - 1} of {count} frames will be used").wait_for()
    check_readable(page)

    # names of files are text; the first frame by name is the dark, which says why it is not used
    assert page.locator(".strip-name").inner_text() == HTML
    assert page.locator(".strip figcaption").inner_text().count("its IMAGETYP is Dark") == 1

    # by keyboard: to the next frame, and out it goes; another tab shows the same
    row = page.get_by_role("listbox")
    row.focus()
    row.press("ArrowRight")
    name = page.locator(".strip-name").inner_text()
    assert name == sorted(path.name for path in frames.iterdir())[1]
    row.press(" ")
    page.get_by_text(f"{count - 2} of {count} frames will be used").wait_for()
    other = window("phone")
    other.get_by_text(f"{count - 2} of {count} frames will be used").wait_for()
    check_readable(other)
    assert "taken out by you" in other.get_by_role("option").nth(1).get_attribute("aria-label")

    # one click; a reload shows the same run, and so does a tab that was opened meanwhile
    page.get_by_role("button", name="Start").click()
    page.wait_for_url("**/run/*")
    page.reload()
    other.goto(page.url)
    for tab in (page, other):
        tab.get_by_text("About this picture").wait_for()
        tab.locator("canvas").first.wait_for()
        check_readable(tab)
    assert f"{count - 2} stacked, 2 left out" in page.locator(".facts").inner_text()
    told = json.loads((frames.parent / "M 45 mosaic" / "mosaic.json").read_text())
    assert told["left_out"][name] == "it is not wanted (--leave-out)"

    page.goto(page.url.partition("/run")[0] + "/earlier")
    page.get_by_role("heading", name="M 45").wait_for()
    check_readable(page)


def test_a_run_goes_on_without_a_tab_is_cancelled_and_goes_on(window, frames, tmp_path):
    page, mine = window(), tmp_path / "frames"
    shutil.copytree(frames, mine)
    choose(page, mine)
    page.get_by_text(str(mine), exact=True).wait_for()
    page.get_by_text("frames will be used").wait_for()
    page.get_by_text("More settings").click()
    page.get_by_label("Folder of the result").fill(str(tmp_path / "out"))
    page.get_by_label("--format").wait_for()
    check_readable(page)
    page.get_by_role("button", name="Start").click()
    page.wait_for_url("**/run/*")
    place = page.url
    page.close()
    later = window("dark")
    later.goto(place)
    later.get_by_role("button", name="Cancel").click()
    later.get_by_role("button", name="Go on").click()
    later.get_by_text("About this picture").wait_for()
    check_readable(later)
    assert (tmp_path / "out" / "mosaic.fits").exists()


def test_one_more_night_is_added_on_the_page(window, frames, tmp_path):
    first, second = tmp_path / "first", tmp_path / "second"
    for number, night in enumerate((first, second)):
        night.mkdir()
        for path in sorted(frames.glob("light_*"))[number::2]:
            shutil.copy(path, night)
    page = window()
    choose(page, first)
    page.get_by_text(str(first), exact=True).wait_for()
    page.get_by_text("frames will be used").wait_for()
    page.get_by_role("button", name="Start").click()
    page.get_by_text("About this picture").wait_for()
    page.get_by_role("button", name="Add a night").click()
    place = page.get_by_label("Folder", exact=True)
    place.fill(str(second))
    place.press("Enter")
    page.get_by_text("frame files in it").wait_for()
    page.get_by_role("button", name="Take this folder").click()
    page.get_by_text(f"{len(list(frames.glob('light_*')))} stacked, 0 left out").wait_for()


def test_quit_ends_the_program_whatever_tabs_are_open(chromium, tmp_path):
    process, address = started(tmp_path)
    context = chromium.new_context()
    page = context.new_page()
    page.goto(address)
    page.get_by_role("button", name="Quit").click()
    page.get_by_role("dialog").get_by_role("button", name="Quit").click()
    page.get_by_text("The program has ended").wait_for()
    assert process.wait(30) == 0
    assert not (tmp_path / "window.json").exists()
    context.close()


@pytest.mark.parametrize("screen", SCREENS)
@pytest.mark.parametrize("path", ["", "patch", "earlier", "run/nothing"])
def test_pages_are_readable(window, address, screen, path):
    page = window(screen)
    page.goto(address.partition("?")[0] + path)
    page.wait_for_selector("h1, .title")
    check_readable(page)


def test_all_of_it_is_said_in_french(window):
    page = window()
    page.get_by_role("button", name="Language").click()
    page.get_by_text("Français").click()
    page.get_by_role("link", name="Créer une image").wait_for()
    assert page.evaluate("document.documentElement.lang") == "fr"
    page.get_by_role("button", name="Langue").click()
    page.get_by_text("English").click()
    page.get_by_role("link", name="Make a picture").wait_for()
