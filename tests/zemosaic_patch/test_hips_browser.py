# SPDX-License-Identifier: GPL-3.0-or-later
"""A HiPS in Aladin Lite, as its own page shows it from a plain web server: the colours lie where the sky has them."""

import io
import os
import shutil
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest
from astropy.io import fits
from astropy.wcs import WCS
from PIL import Image

from nanstack.progress import Quiet
from zemosaic_patch.commands.output import own_folder
from zemosaic_patch.hips.folder import write_hips
from zemosaic_patch.outputs import record

pytestmark = pytest.mark.browser
CHROMIUM = os.environ.get("ZEMOSAIC_PATCH_CHROMIUM") or next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome"))), None
)
if CHROMIUM is None:
    pytest.skip("no Chromium: install it, or name it by ZEMOSAIC_PATCH_CHROMIUM", allow_module_level=True)
playwright = pytest.importorskip("playwright.sync_api", reason="no playwright: pip install '.[browser]'")
axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="no axe-core: pip install '.[browser]'")

WITHOUT_GPU = ["--no-sandbox", "--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"]
HEIGHT, WIDTH = 200, 300
SCALE_DEG = 20 / 3600
PLACES = {"red": (60, 150), "green": (240, 150), "blue": (60, 50)}  # of spots, in pixels: to the NE, NW and SE
EMPTY = (240, 50)  # the middle of where nothing was seen, in the SW
SPOT = 15  # pixels to each side
LOADS_MS = 60_000


@pytest.fixture(scope="module")
def hips(tmp_path_factory):
    """A HiPS of spots of a colour each on a grey sky, and its place."""
    folder = tmp_path_factory.mktemp("aladin") / "out"
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = "RA---TAN", "DEC--TAN"
    wcs.wcs.crval, wcs.wcs.crpix = (83.0, -5.0), ((WIDTH + 1) / 2, (HEIGHT + 1) / 2)
    wcs.wcs.cdelt = -SCALE_DEG, SCALE_DEG
    image = np.float32(np.random.default_rng(1).normal(100, 1, (3, HEIGHT, WIDTH)))
    for colour, (x, y) in enumerate(PLACES.values()):
        image[colour, y - SPOT : y + SPOT + 1, x - SPOT : x + SPOT + 1] = 1000
    x, y = EMPTY
    image[:, y - SPOT : y + SPOT + 1, x - SPOT : x + SPOT + 1] = np.nan
    folder.mkdir()
    covered = fits.ImageHDU(np.ones((HEIGHT, WIDTH), np.int32), name="COVERAGE")
    fits.HDUList([fits.PrimaryHDU(image, wcs.to_header()), covered]).writeto(folder / "mosaic.fits")
    record(folder, ["mosaic.fits"])
    with own_folder(folder):
        return write_hips(folder, Quiet()), wcs


@pytest.fixture(scope="module")
def served(hips):
    """The address of a plain web server for the folder above."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Silent, directory=hips[0].parent))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


class Silent(SimpleHTTPRequestHandler):
    def log_message(self, *_):
        """Say nothing."""


@pytest.fixture
def page():
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=CHROMIUM, args=WITHOUT_GPU)
        yield browser.new_page(viewport={"width": 900, "height": 600})
        browser.close()


def screen(page):
    return np.asarray(Image.open(io.BytesIO(page.screenshot())).convert("RGB")).astype(int)


def test_aladin_shows_each_colour_where_the_sky_has_it(hips, served, page):
    folder, wcs = hips
    asked = []
    page.on("request", lambda request: asked.append(request.url))
    page.goto(f"{served}/{folder.name}/index.html")
    page.wait_for_function("() => aladin?.world2pix(83, -5)", timeout=LOADS_MS)
    sky = wcs.wcs_pix2world([*PLACES.values(), EMPTY], 0).tolist()
    places = np.array(page.evaluate("(sky) => sky.map(([ra, dec]) => [...aladin.world2pix(ra, dec)])", sky))
    before = None
    for _ in range(LOADS_MS // 1000):
        shown = screen(page)[tuple(np.rint(places[:, ::-1]).astype(int).T)]
        if shown[0].max() > 200 and np.array_equal(shown, before):
            break  # nothing fades in any more
        before = shown
        page.wait_for_timeout(1000)
    spots, empty = shown[:-1], shown[-1]
    assert (np.argmax(spots, axis=1) == [0, 1, 2]).all()
    assert (spots.max(axis=1) > 200).all()
    assert (np.sort(spots, axis=1)[:, 1] < 100).all()
    assert (empty == [0x1E, 0x1E, 0x22]).all(), "where nothing was seen the page's ground shows"
    east, north = places[0] - places[1], places[0] - places[2]
    assert east[0] < 0, "east is left"
    assert north[1] < 0, "north is up"
    assert all(url.startswith((served, "data:", "blob:")) for url in asked), "no other server is asked"
    assert f"{served}/{folder.name}/aladin.js" in asked


@pytest.mark.parametrize("width", [900, 390])
def test_its_controls_have_names_and_can_be_read(hips, served, page, width):
    page.set_viewport_size({"width": width, "height": 700})
    page.goto(f"{served}/{hips[0].name}/index.html")
    for name in ("Zoom in", "Zoom out"):
        page.get_by_role("button", name=name).wait_for()
    found = axe.Axe().run(page).response["violations"]
    assert [one for one in found if one["impact"] in ("serious", "critical")] == []
    before = page.evaluate("aladin.getFov()[0]")
    page.get_by_role("button", name="Zoom in").press("Enter")
    page.wait_for_function("(before) => aladin.getFov()[0] < before", arg=before)


def test_opened_from_a_folder_the_page_says_what_to_do(hips, page):
    page.goto((hips[0] / "index.html").as_uri())
    page.get_by_text("python3 -m http.server").wait_for()
