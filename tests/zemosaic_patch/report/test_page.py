# SPDX-License-Identifier: GPL-3.0-or-later
"""The report: whole, without network, harmless whatever the files are named; tried in a browser where there is one."""

import base64
import copy
import html
import io
import json
import math
import re
import shutil
import subprocess
import tempfile
from html.parser import HTMLParser
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from nanstack.register.alignment import Alignment
from nanstack.settings import TileSettings
from nanstack.tile import describe, stack_group
from zemosaic_patch import cli
from zemosaic_patch.report.page import MOSAIC_PX, ReportError, write_report

HOSTILE = "\"'><script>alert(1)</script><img src=x onerror=alert(2)>&amp;\u202e\ud800.fit"
VOID = {"meta", "link", "img", "input", "br"}


class Page(HTMLParser):
    """What is in a page: its elements with their attributes, its text; fails where elements are not nested."""

    def __init__(self, text):
        super().__init__(convert_charrefs=True)
        self.elements, self.open, self.pieces = [], [], []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if not {"script", "style"} & set(self.open):
            self.pieces.append(data)

    @property
    def text(self):
        return " ".join(self.pieces)

    def all(self, tag):
        return [attributes for name, attributes in self.elements if name == tag]


def frame(index, **more):
    return {
        "name": f"light_{index}.fit",
        "method": "stars",
        "stars_found": 100 + index,
        "rms_px": 0.1,
        "fwhm_px": 3.0 + 0.1 * index,
        "shift_px": [2.0 * index, -index],
        "rotation_deg": 0.5 * index,
        **more,
    }


def tile(number, **more):
    x, y = 300 * (number % 2), 200 * (number // 2)
    report = {
        "frames_given": 5,
        "frames_aligned": 4,
        "frames_failed": {f"light_{number}_bad.fit": f"too few stars: {number} found"},
        "reference": "light_0.fit",
        "rms_px_median": 0.1,
        "rms_px_max": 0.2,
        "noise_against_one_frame": 0.4575,
        "rejected_percent": 1.5,
        "band_metric_adu": None if number == 3 else [9.0, 10.0, 0.25][number],
        "frames": [frame(index, sky_adu=[380.0, 520.0 + index, 400.0], weight=1.0) for index in range(5)],
    }
    corners = [[x, y], [x + 330, y], [x + 330, y + 220], [x, y + 220]]
    return {"name": f"tile_{number}", "file": "t.fits", "corners": corners, "report": report, "seconds": 2.5, **more}


@pytest.fixture
def mosaic(tmp_path):
    """A folder with the pictures of a mosaic, and what `mosaic.json` is to say of it."""
    rng = np.random.default_rng(1)
    for name, shape in (("before", (84, 126, 3)), ("after", (84, 126, 3)), ("coverage", (84, 126))):
        cv2.imwrite(str(tmp_path / f"{name}.png"), rng.integers(0, 255, shape, dtype=np.uint8))
    coarse = rng.integers(0, 65535, (12, 36, 3), dtype=np.uint16)
    large = cv2.resize(coarse, (2 * MOSAIC_PX, 1200), interpolation=cv2.INTER_LINEAR)
    cv2.imwrite(str(tmp_path / "mosaic.png"), large)
    return tmp_path, {
        "tiles": [tile(number) for number in range(4)],
        "mosaic": {
            "file": "mosaic.fits",
            "picture": "mosaic.png",
            "shape": [420, 630, 3],
            "coverage_picture": "coverage.png",
            "background": {"model": "offset", "rms_adu": 0.04},
        },
        "left_out": {"cloudy.fit": "no WCS"},
        "settings": {"reject": "winsorized_sigma_clip", "kappa": [3.0, 3.0], "mosaic": {"combine": "mean"}},
        "seconds": {"tiles": 10.0, "mosaic": 5.0},
        "comparison": {"before": "before.png", "after": "after.png", "captions": ["grey fill", "footprints"]},
    }


def report_of(folder, told):
    (folder / "mosaic.json").write_text(json.dumps(told), encoding="utf-8")
    path = write_report(folder / "mosaic.json")
    assert path == folder / "report.html"
    return path.read_text(encoding="utf-8")


def test_report_holds_every_tile_frame_and_setting(mosaic):
    page = Page(report_of(*mosaic))
    for number in range(4):
        assert page.text.count(f"tile_{number}") == 3  # outline, table, plots
        assert f"light_{number}_bad.fit" in page.text
        assert f": too few stars: {number} found" in page.text
    for what in ("cloudy.fit", "no WCS", "mosaic.combine", "winsorized_sigma_clip", "rms_adu", "grey fill", "0.458"):
        assert what in page.text
    assert len(page.all("polygon")) == 4
    assert page.all("polygon")[3]["points"] == "300,200 630,200 630,420 300,420"
    assert page.all("svg")[0]["viewbox"] == "0 0 630 420"
    assert len(page.all("tr")) == 5
    titles = [attributes["aria-label"] for attributes in page.all("svg")[1:]]
    assert len(titles) == 4 * 7  # all but the sky's offset, which no frame has
    assert "Sky level of 5 frames: 380 to 524 ADU" in titles
    assert page.text.count("Not recorded: sky offset to the reference.") == 4
    assert len(page.all("circle")) == 4 * 5 * (3 + 1 + 1 + 1 + 2 + 1 + 1)


def test_report_needs_nothing_from_outside(mosaic):
    text = report_of(*mosaic)
    page = Page(text)
    loads = [value for _, a in page.elements for name, value in a.items() if name in ("src", "href", "srcset", "data")]
    assert loads
    assert all(value.startswith(("data:", "#")) for value in loads)
    assert not re.search(r"https?:|url\(|@import|fetch\(", text)
    assert not any(name.startswith("on") for _, a in page.elements for name in a)
    assert [a["name"] for a in page.all("meta") if "name" in a] == ["viewport", "color-scheme"]


def test_pictures_are_embedded_as_jpeg_of_a_sensible_size(mosaic):
    pictures = Page(report_of(*mosaic)).all("img")
    assert len(pictures) == 4
    assert all(picture["alt"] for picture in pictures)
    kind, data = pictures[0]["src"].split(",")
    shown = Image.open(io.BytesIO(base64.b64decode(data)))
    assert kind == "data:image/jpeg;base64"
    assert (shown.format, shown.size) == ("JPEG", (MOSAIC_PX, 600))
    before = cv2.imread(str(mosaic[0] / "mosaic.png"), cv2.IMREAD_UNCHANGED)[::2, ::2, ::-1] / 257  # of 16 bits
    assert np.abs(np.asarray(shown, dtype=float) - before).mean() < 3


def test_coverage_grows_lighter_with_the_frames_and_is_black_without(mosaic):
    folder, told = mosaic
    steps = np.repeat(np.uint8([0, 64, 128, 192, 255]), 24)
    cv2.imwrite(str(folder / "coverage.png"), np.tile(steps, (40, 1)))
    picture = next(a for a in Page(report_of(folder, told)).all("img") if a["alt"].startswith("Coverage"))
    shown = Image.open(io.BytesIO(base64.b64decode(picture["src"].split(",")[1]))).convert("L")
    levels = np.asarray(shown, dtype=float)[20, 12::24]
    assert levels[0] < 5
    assert np.all(np.diff(levels) > 30)


def test_names_and_reasons_are_text_and_nothing_else(mosaic):
    folder, told = mosaic
    harmless = [tag for tag, _ in Page(report_of(folder, told)).elements]
    hostile = copy.deepcopy(told)
    for entry in hostile["tiles"]:
        entry["name"] = HOSTILE
        entry["report"]["frames_failed"] = {HOSTILE: HOSTILE}
        entry["report"]["reference"] = HOSTILE
        for line in entry["report"]["frames"]:
            line["name"] = HOSTILE
    hostile["left_out"] = {HOSTILE: HOSTILE}
    hostile["settings"] = {HOSTILE: HOSTILE, "a": [HOSTILE], "b": {HOSTILE: 1}}
    hostile["seconds"] = {HOSTILE: 1.0, "b": HOSTILE}
    hostile["mosaic"]["file"] = HOSTILE
    hostile["mosaic"]["background"] = {HOSTILE: HOSTILE, "rms": 1}
    hostile["comparison"]["captions"] = [HOSTILE, HOSTILE]
    page = Page(report_of(folder, hostile))
    assert [tag for tag in (tag for tag, _ in page.elements) if tag in ("script", "img")] == [
        tag for tag in harmless if tag in ("script", "img")
    ]
    allowed = {name for _, attributes in Page(report_of(folder, told)).elements for name in attributes}
    assert {name for _, attributes in page.elements for name in attributes} <= allowed
    assert HOSTILE.replace("\ud800", "?") in page.text


def _paths(told, prefix=()):
    """Yield the place of every value in nested dicts and lists."""
    for key, value in told.items() if isinstance(told, dict) else enumerate(told):
        yield (*prefix, key)
        if isinstance(value, dict | list):
            yield from _paths(value, (*prefix, key))


def test_whatever_is_missing_or_of_the_wrong_kind_leaves_a_report(mosaic):
    folder, told = mosaic
    (folder / "mosaic.png").unlink()  # large: only its absence is of interest here
    told["tiles"] = told["tiles"][:1]
    del told["tiles"][0]["report"]["frames"][2:]
    places = list(_paths(told))
    assert len(places) > 50
    for place in places:
        for value in (None, "x", math.nan, 10**400, [], {}):
            damaged = copy.deepcopy(told)
            inside = damaged
            for key in place[:-1]:
                inside = inside[key]
            inside[place[-1]] = value
            Page(report_of(folder, damaged))


def test_what_is_not_there_is_said(mosaic):
    folder, told = mosaic
    (folder / "coverage.png").write_bytes(b"no picture")
    del told["mosaic"]["picture"], told["settings"], told["seconds"], told["left_out"], told["tiles"][1]["corners"]
    told["comparison"]["after"] = "gone.png"
    page = Page(report_of(folder, told))
    for words in (
        "No picture is named.",
        "No settings are recorded.",
        "No times are recorded.",
        "No frames were left out.",
        "No corners are recorded for",
    ):
        assert words in page.text
    assert re.search(r"coverage.png\s+cannot be read: its format is unknown", page.text)
    assert re.search(r"gone.png\s+cannot be read: there is no such file", page.text)
    assert len(page.all("polygon")) == 3
    empty = Page(report_of(folder, {"tiles": []}))
    assert "No tiles are recorded." in empty.text


def test_a_frame_that_failed_is_a_cross_and_breaks_the_line(mosaic):
    folder, told = mosaic
    lines = told["tiles"][0]["report"]["frames"]
    lines[2] = {"name": "light_2.fit", "method": "failed", "reason": "too cloudy", "fwhm_px": None}
    told["tiles"] = told["tiles"][:1]
    text = report_of(folder, told)
    fwhm = text[text.index("Star width (FWHM)") :]
    fwhm = fwhm[: fwhm.index("</figure>")]
    assert fwhm.count("<circle") == 4
    assert fwhm.count('class="gap"') == 1
    assert "light_2.fit: too cloudy" in fwhm
    path = re.search(r'<g class="s0"><path d="([^"]*)"', fwhm).group(1)
    assert (path.count("M"), path.count("L")) == (2, 2)


@given(st.lists(st.text(), min_size=4, max_size=4))
def test_any_text_leaves_the_elements_as_they_are(texts):
    def elements(name, reason, caption, setting):
        report = {**tile(0)["report"], "frames_failed": {name: reason}, "reference": name}
        told = {
            "tiles": [{**tile(0), "name": name, "report": report}, tile(1)],
            "mosaic": {"file": name, "picture": f"x{caption}", "shape": [420, 630]},
            "left_out": {name: reason},
            "settings": {setting: setting},
            "comparison": {"before": f"x{name}", "after": "", "captions": [caption, caption]},
        }
        with tempfile.TemporaryDirectory() as folder:
            page = Page(report_of(Path(folder), told))
        return [(tag, sorted(attributes)) for tag, attributes in page.elements]

    assert elements(*("-" + text for text in texts)) == elements("a", "b", "c", "d")


def test_command_writes_the_report_of_a_tile(tmp_path, capsys):
    rng = np.random.default_rng(3)
    cv2.imwrite(str(tmp_path / "tile.png"), rng.integers(0, 255, (60, 90, 3), dtype=np.uint8))
    cv2.imwrite(str(tmp_path / "coverage.png"), np.full((60, 90), 255, dtype=np.uint8))
    report = {**tile(0)["report"], "coverage_max": 4, "seconds_align": 1.25, "seconds_stack": 0.5}
    (tmp_path / "tile.json").write_text(json.dumps(report))
    assert cli.main(["report", str(tmp_path)]) == 0
    assert str(tmp_path / "report.html") in capsys.readouterr().out
    page = Page((tmp_path / "report.html").read_text(encoding="utf-8"))
    assert len(page.all("img")) == 2
    assert "4 frames" in page.text
    assert "light_0_bad.fit" in page.text
    assert "1.8" in page.text  # seconds, of both steps
    assert "No settings are recorded." in page.text


def test_weights_of_the_stack_reach_their_frames():
    there = np.eye(2, 3)
    alignments = [
        Alignment(0, "stars", there),
        Alignment(1, "failed", reason="too cloudy"),
        Alignment(2, "reference", there),
        Alignment(3, "stars", there),
    ]
    samples = np.full((3, 4, 5), 100.0, dtype=np.float32)
    stacked = stack_group(list(samples), TileSettings(match="none"), weights=[1.5, 0.5, 1.0])  # the reference first
    lines = describe(alignments, list("abcd"), stacked, samples[0]).json()["frames"]
    assert [(line["name"], line.get("weight")) for line in lines] == [("a", 0.5), ("b", None), ("c", 1.5), ("d", 1.0)]


@pytest.mark.parametrize("content", ["{", "[1, 2]", "\u00e9".encode("latin-1")])
def test_a_damaged_description_is_one_clear_line(tmp_path, capsys, content):
    path = tmp_path / "mosaic.json"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(ReportError, match=re.escape(str(path))):
        write_report(path)
    assert cli.main(["report", str(tmp_path)]) == 1
    assert len(capsys.readouterr().err.strip().splitlines()) == 1
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_without_a_description_is_wrong_usage(tmp_path, capsys):
    assert cli.main(["report", str(tmp_path)]) == 2
    assert "holds neither mosaic.json nor tile.json" in capsys.readouterr().err


# In a browser: the page in a frame as wide as a phone, its details unfolded; then what a user would do.
PROBE = """<!DOCTYPE html><meta charset="utf-8"><iframe width="390" height="30000" style="border:0"></iframe>
<script>
const frame = document.querySelector("iframe");
frame.onload = () => {
  const page = frame.contentDocument, view = frame.contentWindow, found = {};
  for (const fold of page.querySelectorAll("details")) fold.open = true;
  found.inner = view.innerWidth;
  found.wide = page.documentElement.scrollWidth;
  found.clipped = [...page.querySelectorAll("body *")].filter(element => !element.closest(".scroll, svg, .line") &&
    element.getBoundingClientRect().right > view.innerWidth + 0.5).map(element => element.outerHTML.slice(0, 80));
  const column = [...page.querySelectorAll("thead button")].find(button => button.textContent === "Band metric");
  const order = () => [...page.querySelectorAll("tbody th")].map(head => head.dataset.sort).join("");
  column.click(); found.up = order();
  column.click(); found.down = order();
  const handle = page.querySelector(".compare input");
  handle.value = 20; handle.dispatchEvent(new view.Event("input"));
  found.line = page.querySelector(".line").offsetLeft / page.querySelector(".compare").clientWidth;
  page.querySelectorAll("[data-tile]")[2].focus(); found.named = page.getElementById("pointed").textContent;
  page.getElementById("outlines").click();
  found.outlines = view.getComputedStyle(page.getElementById("footprints")).display;
  found.pictures = [...page.images].every(image => image.naturalWidth > 0);
  document.body.insertAdjacentText("beforeend", "FOUND" + JSON.stringify(found) + "DNUOF");
};
frame.srcdoc = PAGE;
</script>"""


def test_in_a_browser_as_narrow_as_a_phone(mosaic, tmp_path):
    browser = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if browser is None:
        pytest.skip("no browser: install chromium")
    folder, told = mosaic
    told["left_out"] = {"a_long_name_without_any_space_" * 5 + ".fit": "an_unbroken_reason_" * 10}
    page = report_of(folder, told)
    probe = tmp_path / "probe.html"
    probe.write_text(PROBE.replace("PAGE", json.dumps(page).replace("</", "<\\/")), encoding="utf-8")
    switches = """--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking
        --disable-component-update --disable-sync --enable-logging=stderr --dump-dom --virtual-time-budget=5000"""
    done = subprocess.run(
        [
            browser,
            *switches.split(),
            f"--user-data-dir={tmp_path / 'profile'}",
            probe.as_uri(),
        ],
        capture_output=True,
        timeout=120,
        check=True,
    )
    # the script, which holds the words as well, comes first; what it wrote comes last
    found = json.loads(html.unescape(done.stdout.decode().rpartition("FOUND")[2].partition("DNUOF")[0]))
    assert found.pop("line") == pytest.approx(0.2, abs=0.01)
    assert found == {
        "inner": 390,
        "wide": 390,
        "clipped": [],
        "up": "3124",  # by 0.25, 9, 10 as numbers; what was not measured comes last
        "down": "2134",
        "named": "3 · tile_2 · 4 frames",
        "outlines": "none",
        "pictures": True,
    }
    assert "CONSOLE" not in done.stderr.decode(errors="replace")
