# SPDX-License-Identifier: GPL-3.0-or-later
"""The pictures of the window in docs/, step by step, taken anew:

    python -m tests.zemosaic_patch.ui.screens FRAMES ZEMOSAIC docs

FRAMES are some light frames, whose place shows in the pictures; ZEMOSAIC is a ZeMosaic, of which a copy is patched.
"""

import io
import re
import shutil
import signal
import sys
import tempfile
from pathlib import Path

from PIL import Image
from playwright.sync_api import sync_playwright

from tests.zemosaic_patch.ui.test_browser import CHROMIUM, LONG_MS, SCREENS, choose, started

QUALITY = 82  # of JPEG


class Tab:
    """A tab on a screen, and the folder that its pictures go to."""

    def __init__(self, chromium, address, screen, into):
        width, height = SCREENS[screen]
        scheme = "dark" if screen == "dark" else "light"
        # bypass_csp: what `choose` holds the dialog to, is put into the page
        context = chromium.new_context(
            viewport={"width": width, "height": height}, color_scheme=scheme, bypass_csp=True
        )
        self.page, self._into = context.new_page(), into
        self.page.set_default_timeout(LONG_MS)
        self.page.goto(address)
        self.page.wait_for_selector("h1")

    def keep(self, name, whole=True):
        """Keep what it shows: the whole page, or what the screen has of it."""
        self.page.wait_for_timeout(2000)  # until what moves has come to rest
        taken = Image.open(io.BytesIO(self.page.screenshot(full_page=whole)))
        taken.convert("RGB").save(self._into / f"window_{name}.jpg", quality=QUALITY, optimize=True)


def make_a_picture(light, phone, frames):
    page = light.page
    page.get_by_role("button", name=re.compile("(Choose a|Another) folder")).click()
    place = page.get_by_label("Folder", exact=True)
    place.fill(str(frames.parent))
    place.press("Enter")
    light.keep("folder", whole=False)
    page.get_by_role("button", name="Cancel").click()
    choose(page, frames)
    page.get_by_text("frames will be used").wait_for()
    row = page.get_by_role("listbox")
    row.focus()
    for _ in range(9):
        row.press("ArrowRight")
    row.press(" ")
    again = page.get_by_text("It is being made again")
    again.wait_for()
    again.wait_for(state="hidden")
    light.keep("frames")
    page.get_by_role("button", name="Start").click()
    page.wait_for_url("**/run/*")
    page.get_by_text(re.compile("^Stacking")).wait_for()
    page.locator(".filling img:visible").wait_for()
    light.keep("filling", whole=False)
    page.get_by_text("About this picture").wait_for()
    phone.page.goto(page.url)
    phone.page.locator("canvas").first.wait_for()
    phone.keep("phone", whole=False)
    return page.url


def look_at_it(dark, place):
    dark.page.set_viewport_size({"width": 1280, "height": 1000})
    dark.page.goto(place)
    dark.page.locator("canvas").first.wait_for()
    dark.page.get_by_text("Outlines of").click()
    dark.keep("mosaic", whole=False)
    dark.page.goto(place.partition("/run")[0] + "/earlier")
    dark.page.get_by_role("heading").nth(1).wait_for()
    dark.keep("earlier", whole=False)


def patch(light, zemosaic):
    page = light.page
    page.goto(page.url.partition("/run")[0] + "/patch")
    page.get_by_label("ZeMosaic's folder").fill(str(zemosaic))
    page.get_by_role("button", name="Look").click()
    page.get_by_role("button", name="Put the patch in").click()
    page.get_by_role("button", name="Try it out").click()
    page.get_by_text(re.compile("^(Not good|Good|No tile)")).wait_for()
    light.keep("patch")


def take(frames, zemosaic, into):
    """Take all pictures."""
    with tempfile.TemporaryDirectory() as own, sync_playwright() as driving:
        process, address = started(own)
        chromium = driving.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        light, dark, phone = (Tab(chromium, address, screen, into) for screen in ("light", "dark", "phone"))
        look_at_it(dark, make_a_picture(light, phone, frames))
        copy = Path(own) / "zemosaic"
        shutil.copytree(zemosaic, copy)
        patch(light, copy)
        chromium.close()
        process.send_signal(signal.SIGINT)
        process.wait(60)


if __name__ == "__main__":
    take(*map(Path, sys.argv[1:]))
