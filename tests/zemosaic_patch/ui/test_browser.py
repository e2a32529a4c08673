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

import cv2
import pytest
from astropy.io import fits

from tests.support.as_windows.strict_files import refuses_marks
from tests.support.pointings import write_blurred, write_pointings
from tests.support.small_zemosaic import tree, zemosaic
from tests.zemosaic_patch.ui.mosaics import light_of, write_mosaic
from zemosaic_patch.ui import faults, state

pytestmark = pytest.mark.browser
PACKAGED = os.environ.get("ZEMOSAIC_PATCH_PROGRAM")  # by `make app`, say; else the source's
PROGRAM = [PACKAGED] if PACKAGED else [sys.executable, "-m", "zemosaic_patch"]
CHROMIUM = os.environ.get("ZEMOSAIC_PATCH_CHROMIUM") or next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome"))), None
)
if CHROMIUM is None:
    pytest.skip("no Chromium: install it, or name it by ZEMOSAIC_PATCH_CHROMIUM", allow_module_level=True)
playwright = pytest.importorskip("playwright.sync_api", reason="no playwright: pip install '.[browser]'")
axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="no axe-core: pip install '.[browser]'")

HTML = "&lt;.fit" if refuses_marks() else "<img src=x onerror=alert(1)>&lt;.fit"
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
        [*PROGRAM, "ui", "--no-browser"],
        stdout=subprocess.PIPE, text=True, env=environment,
    )  # fmt: skip
    return process, process.stdout.readline().split()[-1]


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    folder = tmp_path_factory.mktemp("window")
    process, address = started(folder)
    yield address
    process.send_signal(signal.SIGINT)
    process.wait(60)
    log = folder / faults.LOG
    assert not log.exists(), log.read_text()


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

    def opened(screen="light", locale="en-GB"):
        width, height = SCREENS[screen]
        scheme = "dark" if screen == "dark" else "light"
        context = chromium.new_context(
            viewport={"width": width, "height": height}, color_scheme=scheme, locale=locale, bypass_csp=True
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


# axe-core takes the page, and what dims it, to lie before a dialog, and a button's words behind it; the colours stay
IN_ORDER = ".q-layout { visibility: hidden } .q-dialog__backdrop { display: none } .q-btn__content { z-index: auto }"


def check_readable(page, part=None):
    """Hold a page, or a dialog above it, to axe-core, and to the width of its screen."""
    page.wait_for_timeout(500)
    if part is None:
        told = axe.Axe().run(page).response
    else:
        in_order = page.add_style_tag(content=IN_ORDER)
        told = axe.Axe().run(page, context=part).response
        in_order.evaluate("(style) => style.remove()")
        assert [one["nodes"] for one in told["incomplete"] if one["id"] == "color-contrast"] == []
    found = told["violations"]
    serious = [
        f"{one['id']}: {node['html']} {node['failureSummary']}"
        for one in found
        if one["impact"] in ("serious", "critical")
        for node in one["nodes"]
    ]
    assert serious == []
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def choose(page, folder):
    before = page.query_selector(".place, .first")
    page.get_by_role("button", name=re.compile("(Choose a|Another) folder")).click()
    place = page.get_by_label("Folder", exact=True)
    place.fill(str(folder))
    place.press("Enter")
    page.get_by_text(f"{len(list(folder.iterdir()))} frame files in it").wait_for()
    check_readable(page, ".q-dialog")
    page.get_by_role("button", name="Take this folder").click()
    before.wait_for_element_state("hidden")  # the same folder may have been there
    page.locator(".place").get_by_text(str(folder), exact=True).wait_for()


def test_a_folder_that_was_typed_is_the_one_that_is_taken(window, frames):
    page = window()
    page.get_by_role("button", name=re.compile("(Choose a|Another) folder")).click()
    place, take = page.get_by_label("Folder", exact=True), page.get_by_role("button", name="Take this folder")
    place.fill(str(frames / "nowhere"))
    take.click()
    page.get_by_text("No such file or directory").wait_for()
    place.fill(str(frames))
    place.press("Enter")
    page.get_by_text(f"{len(list(frames.iterdir()))} frame files in it").wait_for()
    place.fill(str(frames.parent))
    take.click()
    page.locator(".place").get_by_text(str(frames.parent), exact=True).wait_for()


@pytest.mark.parametrize("typed", ["\0", "a\0b", "file://[", "~nobody at all/x", "x" * 5000, "\u202e\n", "/dev/null"])
def test_nothing_that_is_typed_is_a_fault(window, tmp_path, typed):
    """Each tells the owner something, and lets them go on; `address` holds the window to an empty log."""
    page = window()
    page.get_by_role("button", name=re.compile("(Choose a|Another) folder")).click()
    place = page.get_by_label("Folder", exact=True)
    place.fill(typed)
    place.press("Enter")
    page.locator(".q-notification, .folders-end").filter(
        has_text=re.compile("is no place|too long|Not a directory|No such file")
    ).first.wait_for()
    place.fill(str(tmp_path))
    place.press("Enter")
    page.get_by_text("0 frame files in it").wait_for()
    page.get_by_role("button", name="Take this folder").click()
    page.locator(".place").get_by_text(str(tmp_path), exact=True).wait_for()
    page.get_by_text("no frames there").wait_for()
    assert page.get_by_role("button", name="Start").is_disabled()
    page.get_by_text("More settings").click()
    for label in ("Folder of the result", "Pixels of another image", "Rejection limit (kappa)", "Comet"):
        field = page.get_by_label(label, exact=True)
        field.fill(typed)
        field.press("Tab")
    page.wait_for_timeout(500)
    if page.get_by_role("button", name="All as usual").is_visible():
        page.get_by_role("button", name="All as usual").click()
    page.goto(re.sub(r"(//[^/]*/).*", r"\1patch", page.url))
    place = page.get_by_label("ZeMosaic's folder")
    place.fill(typed)
    place.press("Enter")
    page.locator(".q-notification, .bad").first.wait_for()


DROPPED = """([kind, told]) => {
  const carried = new DataTransfer();
  if (kind) carried.setData(kind, told); else carried.items.add(new File(["x"], "frames"));
  document.querySelector("h1").dispatchEvent(
    new DragEvent("drop", { dataTransfer: carried, bubbles: true, cancelable: true }));
}"""


def test_folders_are_dropped_onto_the_page(window, frames):
    page = window()
    page.evaluate(DROPPED, ["", ""])
    page.get_by_text("does not tell a page where").wait_for()
    for kind, told in (("text/uri-list", frames.parent.as_uri()), ("text/plain", str(frames))):
        page.evaluate(DROPPED, [kind, told])
        place = frames.parent if kind == "text/uri-list" else frames
        page.locator(".place").get_by_text(str(place), exact=True).wait_for()


def test_a_zemosaic_and_a_mosaic_are_dropped_onto_their_pages(window, tmp_path):
    root, folder = zemosaic(tmp_path / "Ze Mosaic"), tmp_path / "M 1"
    folder.mkdir()
    write_mosaic(folder, light_of(130, 190))
    page = window()
    page.goto(re.sub(r"(//[^/]*/).*", r"\1patch", page.url))
    page.wait_for_selector("h1")
    page.evaluate(DROPPED, ["text/uri-list", root.as_uri()])
    page.get_by_role("heading", name="the patch is not in").wait_for()
    assert page.get_by_label("ZeMosaic's folder").input_value() == str(root)
    for dropped in (folder, folder / "mosaic.fits"):
        page.goto(re.sub(r"(//[^/]*/).*", r"\1earlier", page.url))
        page.wait_for_selector("h1")
        page.evaluate(DROPPED, ["text/uri-list", tmp_path.as_uri()])
        page.get_by_text("There is no mosaic in").wait_for()
        page.evaluate(DROPPED, ["text/uri-list", dropped.as_uri()])
        page.locator(".mosaic-canvas canvas").wait_for()


def test_what_is_not_as_usual_is_said_wherever_frames_come_from(window, frames, tmp_path):
    page = window()
    choose(page, frames)
    page.get_by_text("frames will be used").wait_for()
    page.get_by_text("More settings").click()
    for label, typed in (("Rejection limit (kappa)", "4"), ("Comet", "1,2,3,4")):
        page.get_by_label(label, exact=True).fill(typed)
        page.get_by_label(label, exact=True).press("Tab")
    page.get_by_text("Not as usual: Rejection limit (kappa): 4.0; Comet: 1,2,3,4").wait_for()
    assert page.locator(":focus").count(), "the keyboard is where it was"
    check_readable(page)

    # what is refused stays in sight, and nothing is begun
    scale = page.get_by_label("Scale", exact=True)
    scale.fill("banana")
    page.get_by_role("button", name="Start").click()
    page.locator(".q-notification").get_by_text("Scale: banana").wait_for()
    page.locator(".q-field--error").get_by_text("banana").wait_for()
    assert scale.get_attribute("aria-invalid") == "true"
    page.locator(".q-notification").get_by_role("button").click()
    page.locator(".q-notification").wait_for(state="hidden")
    check_readable(page)
    page.get_by_label("Combination").select_option("median")  # it stays, whatever else is changed
    page.get_by_text("Combination: median").wait_for()
    page.get_by_label("Combination").select_option("mean")
    page.get_by_text("Combination: median").wait_for(state="hidden")
    assert scale.input_value() == "banana"
    scale.fill("")
    scale.press("Tab")
    page.locator(".q-field--error").wait_for(state="hidden")

    # so is a file that is not there, and the folder of the frames themselves, however soon Start is pressed
    earlier = len(list(frames.parent.iterdir()))
    for label, typed in (("Pixels of another image", "nowhere.fits"), ("Reference frame", "no_frame.fit"),
                         ("Folder of the result", str(frames))):  # fmt: skip
        field = page.get_by_label(label, exact=True)
        field.fill(typed)
        page.get_by_role("button", name="Start").click()
        page.locator(".q-notification").get_by_text(typed).first.wait_for()
        page.locator(".q-field--error").get_by_text(typed).wait_for()
        assert field.get_attribute("aria-invalid") == "true"
        field.fill("")
        field.press("Tab")
        page.locator(".q-field--error").wait_for(state="hidden")
    assert len(list(frames.parent.iterdir())) == earlier

    page.get_by_label("Sharpness").select_option("Drizzle, twice as fine: for 9 frames or more")
    page.get_by_text("Sharpness: Drizzle, twice as fine").wait_for()
    page.get_by_label("Sharpness").select_option("Usual: least noise")
    page.get_by_text("Not as usual: Rejection limit (kappa): 4.0; Comet: 1,2,3,4", exact=True).wait_for()

    # another tab says so, too; another folder's frames show another comet
    other = window("dark")
    other.get_by_text("Not as usual: Rejection limit (kappa): 4.0; Comet: 1,2,3,4").wait_for()
    choose(other, tmp_path)
    for tab in (page, other):
        tab.get_by_text("Not as usual: Rejection limit (kappa): 4.0", exact=True).wait_for()
    other.get_by_role("button", name="All as usual").click()
    for tab in (page, other):
        tab.get_by_text("Not as usual").wait_for(state="hidden")


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

    # by keyboard, at once: to the next frame, and out it goes; another tab shows the same
    row = page.get_by_role("listbox")
    row.scroll_into_view_if_needed()
    page.evaluate("document.activeElement.blur()")
    page.keyboard.press("ArrowRight")
    name = page.locator(".strip-name").inner_text()
    assert name == sorted(path.name for path in frames.iterdir())[1]
    page.keyboard.press(" ")
    page.get_by_text(f"{count - 2} of {count} frames will be used").wait_for()
    other = window("phone")
    other.get_by_text(f"{count - 2} of {count} frames will be used").wait_for()
    check_readable(other)
    assert "taken out by you" in other.locator(".strip-one").nth(1).get_attribute("aria-label")

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


def test_a_browser_that_asks_for_french_has_no_english_anywhere(window, frames, tmp_path):
    page, mine, told = window("phone", "fr-CA"), tmp_path / "M 45", []
    mine.mkdir()
    for path in frames.iterdir():
        shutil.copy(path, mine / path.name.replace(HTML, "dark.fit"))
    page.goto(re.sub(r"(//[^/]*/).*", r"\1", page.url))

    def read():
        check_readable(page)
        assert page.evaluate("document.documentElement.lang") == "fr"
        told.append(page.locator("body").inner_text().replace(str(tmp_path.parent), ""))

    page.get_by_role("button", name=re.compile("(Choisir un|Autre) dossier")).click()
    place = page.get_by_label("Dossier", exact=True)
    place.fill(str(tmp_path / "nowhere"))
    place.press("Enter")
    page.get_by_text("ce fichier ou dossier n'existe pas").wait_for()
    place.fill(str(mine))
    page.get_by_role("button", name="Choisir ce dossier").click()
    page.locator(".place").get_by_text(str(mine), exact=True).wait_for()
    page.get_by_text("seront utilisées").wait_for()
    page.get_by_text("Autres réglages").click()
    page.get_by_label("Échelle", exact=True).wait_for()
    read()
    page.get_by_role("button", name="Démarrer").click()
    page.wait_for_url("**/run/*")
    page.get_by_text("À propos de cette image").wait_for()
    read()
    for path in ("earlier", "patch"):
        page.goto(re.sub(r"(//[^/]*/).*", rf"\1{path}", page.url))
        read()
    english = r"\b(?:the|of|is|are|with|and|to|by|not|frames?|stacked|pixels? of|written|left out)\b|--\w"
    assert [line for page_told in told for line in page_told.splitlines() if re.search(english, line)] == []


def test_a_language_that_is_chosen_is_remembered(tmp_path, chromium):
    folder = tmp_path / "window"
    for asks, speaks in (("en-GB", "en-US"), ("en-GB", "fr")):
        process, address = started(folder)
        page = chromium.new_page(locale=asks)
        page.goto(address)
        page.wait_for_selector("h1")
        assert page.evaluate("document.documentElement.lang") == speaks
        if speaks != "fr":
            page.get_by_label("Language").select_option("Français")
            page.get_by_text("Choisir un dossier").wait_for()
        page.close()
        process.send_signal(signal.SIGINT)
        process.wait(60)


def test_a_run_goes_on_without_a_tab_is_cancelled_and_goes_on(window, frames, tmp_path):
    page, mine = window(), tmp_path / "frames"
    shutil.copytree(frames, mine)
    choose(page, mine)
    page.get_by_text("frames will be used").wait_for()
    page.get_by_text("More settings").click()
    page.get_by_label("Folder of the result").fill(str(tmp_path / "out"))
    page.get_by_label("File of the mosaic").wait_for()
    check_readable(page)
    page.get_by_role("button", name="Start").click()
    page.wait_for_url("**/run/*")
    place = page.url
    page.close()
    later = window("dark")
    later.goto(place)
    later.get_by_role("button", name="Cancel").click()
    later.get_by_role("button", name="Go on").wait_for()
    later.locator("figcaption").get_by_text("Unfinished").wait_for()
    assert later.locator(".filling img").evaluate("one => one.decode().then(() => one.naturalWidth)") > 99
    check_readable(later)
    gone = min(mine.glob("light_*"))
    gone.unlink()
    later.get_by_role("button", name="Go on").click()
    later.get_by_role("dialog").get_by_text(f"1 frame of this picture is not there any more: {gone.name}").wait_for()
    check_readable(later, ".q-dialog")
    later.get_by_role("button", name="Go on without them").click()
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
    page.get_by_text("frames will be used").wait_for()
    page.get_by_role("button", name="Start").click()
    page.get_by_text("About this picture").wait_for()
    page.get_by_role("button", name="Add a night").click()
    place = page.get_by_label("Folder", exact=True)
    place.fill(str(second))
    place.press("Enter")
    page.get_by_text("frame files in it").wait_for()
    page.get_by_role("button", name="Take this folder").click()
    page.get_by_text(f"{len(list(frames.glob('light_*')))} stacked, none left out").wait_for()


def test_a_frame_that_would_be_left_out_is_taken_in_and_left_out_again(window, frames, tmp_path):
    mine = tmp_path / "night"
    mine.mkdir()
    lights = sorted(frames.glob("light_*"))
    for path in lights:
        shutil.copy(path, mine)
    write_blurred(mine / "blurred.fits", lights[0])  # the first by name
    count = len(lights)
    page = window()
    choose(page, mine)
    page.get_by_text(f"{count} of {count + 1} frames will be used").wait_for()
    verdict = page.locator(".strip .verdict")
    reason = re.compile("it is blurred: its stars are .* px wide")
    assert verdict.inner_text().startswith("not used: ")
    assert reason.search(verdict.inner_text())

    # by keyboard in, and out again; then by its button: what speaks against it stays in sight
    row = page.get_by_role("listbox")
    row.focus()
    row.press(" ")
    page.get_by_text(f"{count + 1} of {count + 1} frames will be used").wait_for()
    assert verdict.inner_text().startswith("used all the same, as you want it: ")
    assert reason.search(verdict.inner_text())
    assert reason.search(page.locator(".strip-one").first.get_attribute("aria-label"))
    row.press(" ")
    page.get_by_text(f"{count} of {count + 1} frames will be used").wait_for()
    page.get_by_role("button", name="Use it all the same").click()
    page.get_by_role("button", name="Take it out").wait_for()
    check_readable(page)

    page.get_by_role("button", name="Start").click()
    page.get_by_text(f"{count + 1} stacked, 1 of them taken in by you, none left out").wait_for()
    box = page.get_by_role("checkbox", name="blurred.fits")
    assert box.is_checked()
    check_readable(page)
    folder = next(tmp_path.glob("M 45 mosaic"))
    with fits.open(folder / "mosaic.fits") as file:
        most = file["COVERAGE"].data.max()

    # the finished picture is made again without it, and with it
    again = page.get_by_role("button", name="Make the picture again so")
    assert again.is_disabled()
    for is_in, told in ((False, f"{count} stacked, 1 left out"), (True, f"{count + 1} stacked, 1 of them taken in")):
        box.click()
        again.click()
        page.get_by_text(told).wait_for()
        assert reason.search(box.get_attribute("aria-label") or box.inner_text())
        assert box.is_checked() == is_in
        with fits.open(folder / "mosaic.fits") as file:
            assert file["COVERAGE"].data.max() == most - (not is_in)


EVIL = """async (home) => {
  const tried = {};
  const note = (name, promise) => promise.then((got) => { tried[name] = got; }, () => { tried[name] = "refused"; });
  const answer = async (mode, method) => (await fetch(home, { mode, method, credentials: "include" })).status;
  await note("fetch", answer("cors", "GET"));
  await note("post", answer("cors", "POST"));
  await note("blind", fetch(home, { mode: "no-cors", method: "POST", credentials: "include" }).then((r) => r.type));
  await note("picture", new Promise((yes, no) => {
    const one = new Image(); one.onload = () => yes("shown"); one.onerror = no; one.src = home + "favicon.ico"; }));
  await note("socket", new Promise((yes, no) => {
    const one = new WebSocket(home.replace("http", "ws") + "_nicegui_ws/socket.io/?EIO=4&transport=websocket");
    one.onopen = () => yes("open"); one.onerror = no; }));
  return tried;
}"""


@pytest.mark.parametrize("name", ["127.0.0.1", "localhost"])
def test_a_page_of_another_server_reads_and_starts_nothing(window, address, tmp_path, name):
    """Even one on this machine, to which the browser sends the window's cookie along."""
    import functools
    import http.server
    import threading

    (tmp_path / "index.html").write_text("<h1>evil</h1>")
    serving = functools.partial(http.server.SimpleHTTPRequestHandler, directory=tmp_path)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), serving) as evil:
        threading.Thread(target=evil.serve_forever, daemon=True).start()
        page = window()
        other = page.context.new_page()
        other.goto(f"http://{name}:{evil.server_port}/")
        tried = other.evaluate(EVIL, address.partition("?")[0])
        evil.shutdown()
        assert page.evaluate("fetch('/favicon.ico').then((got) => got.status)") == 200  # what is there for its own page
    assert tried == dict.fromkeys(("fetch", "post", "blind", "picture", "socket"), "refused")


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


def opened_mosaic(page, folder):
    """Show the mosaic in a folder, as one that was made without the window."""
    page.goto(re.sub(r"(//[^/]*/).*", r"\1earlier", page.url))
    page.get_by_role("button", name="Open a mosaic").click()
    place = page.get_by_label("Folder", exact=True)
    place.fill(str(folder))
    place.press("Enter")
    page.get_by_text("frame files in it").wait_for()
    page.get_by_role("button", name="Take this folder").click()
    page.locator(".mosaic-canvas canvas").wait_for()


def shown(page, path, at):
    """Return the colours that the screen has at a place of the mosaic's canvas, as shares of its sides."""
    page.wait_for_timeout(1500)  # until what moves has come to rest
    page.locator(".mosaic-canvas").screenshot(path=path)
    pixels = cv2.imread(str(path))
    row, column = int(at[1] * pixels.shape[0]), int(at[0] * pixels.shape[1])
    return pixels[row - 10 : row + 10, column - 10 : column + 10].mean(axis=(0, 1))


def test_a_finished_mosaic_is_zoomed_stretched_overlaid_and_saved(window, tmp_path):
    folder = tmp_path / ("M 1 &lt;x" if refuses_marks() else "M 1 <b>x")
    folder.mkdir()
    image = light_of(1300, 1900)  # several tiles
    write_mosaic(folder, image, frames=[(HTML, [(0, 0), (1900, 0), (1900, 1300), (0, 1300)])])
    page, picture = window(), tmp_path / "screen.png"
    opened_mosaic(page, folder)
    check_readable(page)
    sky = shown(page, picture, (0.5, 0.5))
    assert 20 < sky.mean() < 120
    assert shown(page, picture, (0.9, 0.1)).max() < 3, "the last rows of the file are on top, and have no data there"

    # by keyboard: stretched harder, the sky is brighter at once; as it was, it is as it was
    slider = page.get_by_label("Stretch")
    slider.focus()
    for _ in range(40):
        slider.press("ArrowRight")
    assert shown(page, picture, (0.5, 0.5)).mean() > sky.mean() + 20
    page.get_by_role("button", name="As it was").click()
    assert shown(page, picture, (0.5, 0.5)) == pytest.approx(sky, abs=3)

    # coverage and outlines lie over it
    page.get_by_text("Coverage").click()
    page.get_by_text("Outlines of").click()
    covered = shown(page, picture, (0.5, 0.5))
    assert covered[0] > covered[2] + 10, "blue"
    check_readable(page)

    # an outline says whose it is: at the pointer, and chosen from a list
    box = page.locator(".openseadragon-canvas").bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    assert page.locator(".mosaic-name").is_hidden()
    edge = page.locator(".mosaic-outlines path").bounding_box()
    page.mouse.move(edge["x"] + edge["width"] / 2, edge["y"] + 2)
    page.locator(".mosaic-name").get_by_text(HTML, exact=True).wait_for()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    page.locator(".mosaic-name").wait_for(state="hidden")
    check_readable(page)
    page.get_by_label("Show one of them").select_option(label=HTML)
    page.locator(".mosaic-name").get_by_text(HTML, exact=True).wait_for()
    page.get_by_text("Coverage").click()

    # the star is a quarter from the left and from the bottom: full size, there
    page.get_by_role("button", name="1:1").click()
    page.wait_for_timeout(1500)
    canvas = page.locator(".openseadragon-canvas")
    for _ in range(12):
        canvas.press("ArrowLeft")
        canvas.press("ArrowDown")
    shown(page, picture, (0.5, 0.5))
    assert cv2.imread(str(picture)).max() > 250

    # saved as it looks; the FITS file is the mosaic's own
    for kind in ("PNG", "FITS"):
        page.get_by_role("button", name="Save as").click()
        check_readable(page, ".q-menu")
        with page.expect_download() as saved:
            page.get_by_role("menuitem", name=kind).click()
        saved.value.save_as(tmp_path / f"saved.{kind.lower()}")
    assert (tmp_path / "saved.fits").read_bytes() == (folder / "mosaic.fits").read_bytes()
    assert cv2.imread(str(tmp_path / "saved.png"))[:20, -20:].max() == 0
    assert cv2.imread(str(tmp_path / "saved.png")).shape == image.shape

    # made anew meanwhile, it says so
    write_mosaic(folder, light_of(1310, 1900))
    canvas.press("0")
    for _ in range(6):
        canvas.press("+")
        page.wait_for_timeout(300)
    page.get_by_text("load this page again").wait_for()


PLACES = """(all) => all.map((one) => {
  const { left, top, width, height } = one.getBoundingClientRect();
  return [left, top + scrollY, width, height];
})"""


@pytest.mark.parametrize("full", [False, True])
@pytest.mark.parametrize("screen", ["light", "phone"])
def test_nothing_in_the_viewer_moves_where_layers_are_switched(window, tmp_path, screen, full):
    write_mosaic(tmp_path, light_of(130, 190), frames=[("a.fit", [(0, 0), (190, 0), (190, 130), (0, 130)])])
    page = window(screen)
    opened_mosaic(page, tmp_path)
    if full:
        page.get_by_role("button", name="Full screen").click()
        page.wait_for_function("document.fullscreenElement !== null")
    page.wait_for_timeout(1000)
    still = page.locator(".mosaic button, .mosaic input, .mosaic .q-checkbox, .mosaic-canvas")
    page.get_by_text("Coverage").scroll_into_view_if_needed()
    before = still.evaluate_all(PLACES)
    page.get_by_text("Coverage").click()
    page.get_by_text("Outlines of").click()
    page.locator(".mosaic-legend").wait_for()
    page.get_by_label("Show one of them").wait_for()
    assert still.evaluate_all(PLACES) == before
    assert len(before) > 10


def test_a_file_without_a_picture_says_so(window, frames, tmp_path):
    shutil.copy(min(frames.glob("light_*")), tmp_path / "b.fit")
    (tmp_path / "a.fit").write_text("<b>no FITS")
    page = window()
    choose(page, tmp_path)
    page.get_by_text("1 of 2 frames will be used").wait_for()
    page.get_by_text("No picture can be made of this file: it is not a FITS file").wait_for()
    check_readable(page)


def test_tiles_of_the_sky_are_written_whatever_becomes_of_tabs(window, frames, tmp_path):
    folder = tmp_path / "mosaic"
    assert subprocess.run([*PROGRAM, "mosaic", str(frames), "-o", str(folder)], capture_output=True).returncode == 0
    page = window()
    opened_mosaic(page, folder)
    page.get_by_role("button", name="Write them").click()
    page.get_by_role("button", name="Cancel").wait_for()
    place = page.url
    page.close()
    tabs = window(), window("phone")
    for tab in tabs:
        tab.goto(place)
        tab.get_by_role("link", name="Look at them").wait_for()
        tab.get_by_text(str(folder / "hips")).wait_for()
        check_readable(tab)
    with tabs[0].context.expect_page() as opened:
        tabs[0].get_by_role("link", name="Look at them").click()
    opened.value.get_by_text("ICRSd").or_(opened.value.locator("canvas")).first.wait_for()
    check_readable(opened.value)


@pytest.mark.parametrize("screen", SCREENS)
def test_a_zemosaic_is_patched_and_taken_back(window, tmp_path, screen):
    root = zemosaic(tmp_path / "Ze <i>Mosaic")
    before, page = tree(root), window(screen)
    page.goto(re.sub(r"(//[^/]*/).*", r"\1patch", page.url))
    place = page.get_by_label("ZeMosaic's folder")
    place.fill(str(tmp_path))
    place.press("Enter")
    page.get_by_text("may be one").wait_for()
    check_readable(page)
    place.fill(str(root))
    page.get_by_role("button", name="Look").click()
    page.get_by_role("heading", name="the patch is not in").wait_for()
    page.get_by_text("in detail").click()
    put_in = page.get_by_role("button", name="Put the patch in")
    assert put_in.is_disabled(), "it is no published ZeMosaic"
    check_readable(page)
    page.get_by_text("Patch it all the same").click()
    put_in.click()
    page.get_by_role("heading", name="the patch is in").wait_for()
    assert tree(root) != before
    check_readable(page)
    page.reload()
    page.get_by_role("button", name="Take the patch out").click()
    page.get_by_role("heading", name="the patch is not in").wait_for()
    assert tree(root) == before


@pytest.mark.parametrize("screen", SCREENS)
@pytest.mark.parametrize("path", ["", "patch", "earlier", "run/nothing"])
def test_pages_are_readable(window, address, screen, path):
    page = window(screen)
    page.goto(address.partition("?")[0] + path)
    page.wait_for_selector("h1")
    check_readable(page)


@pytest.mark.parametrize("screen", SCREENS)
def test_dialogs_are_readable(window, tmp_path, screen):
    for name in ("night 1", "night 2"):
        (tmp_path / name).mkdir()
    page = window(screen)
    page.get_by_role("button", name=re.compile("(Choose a|Another) folder")).click()
    place = page.get_by_label("Folder", exact=True)
    place.fill(str(tmp_path))  # its list needs no scrolling: axe-core takes what that cuts off to lie behind the rest
    place.press("Enter")
    page.get_by_role("dialog").get_by_text("night 2").wait_for()
    check_readable(page, ".q-dialog")
    page.get_by_role("dialog").get_by_role("button", name="Cancel").click()
    page.locator(".q-dialog").wait_for(state="hidden")
    page.get_by_role("button", name="Quit").click()
    page.get_by_role("dialog", name="Quit").wait_for()
    check_readable(page, ".q-dialog")
    page.add_style_tag(content=".q-dialog .plain { color: #808080 !important; background: #888 !important }")
    with pytest.raises(AssertionError, match="color-contrast"):
        check_readable(page, ".q-dialog")


def test_all_of_it_is_said_in_french(window):
    page = window()
    page.get_by_label("Language").select_option("Français")
    page.get_by_role("link", name="Créer une image").wait_for()
    assert page.evaluate("document.documentElement.lang") == "fr"
    page.get_by_label("Langue").select_option("English")
    page.get_by_role("link", name="Make a picture").wait_for()
