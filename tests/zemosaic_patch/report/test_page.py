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
    x, y = 300 * (index % 2), 200 * (index // 2)
    return {
        "name": f"light_{index}.fit",
        "date": f"2026-01-01T20:00:{59 - index}",
        "stars_found": 100 + index,
        "stars_used": 90,
        "rms_px": 0.1,
        "fwhm_px": None if index == 3 else [9.0, 10.0, 2.5][index],
        "elongation": 1.1,
        "sky_adu": [380.0, 520.0 + index, 400.0],
        "noise_adu": [10.0, 9.0, 11.0],
        "transparency": 0.9,
        "transparency_error": 0.01,
        "added_adu": [1.0, 2.0, 3.0],
        "weight": 1.0 - 0.1 * index,
        "corners": [[x, y], [x + 330, y], [x + 330, y + 220], [x, y + 220]],
        **more,
    }


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
        "canvas": {"shape": [420, 630], "scale_arcsec": 2.39, "like": "north up", "ra_deg": 56.75, "dec_deg": 24.1},
        "files": {"image": "mosaic.fits", "picture": "mosaic.png", "coverage_picture": "coverage.png"},
        "stack": {"rejection": "winsor", "rejected_percent": 1.25, "coverage_max": 4, "cells": 9, "cells_kept": 8},
        "registration": {"place": "ASTAP", "approximate": False, "rms_px_median": 0.123, "rms_px_max": 0.4},
        "frames": [frame(index) for index in range(4)],
        "flats": [
            {"camera": "Seestar S50", "corners_percent": 2.7, "error_percent": 0.3},
            {"camera": "S30", "corners_percent": 0.0, "error_percent": 3.3},
        ],
        "sky": {
            "words": ["the darkest sky is level"],
            "told": {
                "shades": [
                    {
                        "camera": "S50",
                        "shape": [1080, 1920],
                        "terms_adu": [[-9, 0, -9]],
                        "corner_adu": [-7.9],
                        "error_adu": [1.25],
                    }
                ],
                "residual_map": [[0.5, 1.5], [None, 2.5]],
            },
        },
        "left_out": {"cloudy.fit": "no stars"},
        "settings": {"combine": "mean", "rejection": {"kappa_low": 3.0}},
        "seconds": {"registration": 10.0, "stack": 5.0},
        "warnings": ["9 frames of 30 s: a wrong header"],
        "comparison": {"before": "before.png", "after": "after.png", "captions": ["grey fill", "footprints"]},
    }


def of_tiles(told):
    """The description of a mosaic of existing tiles, with the pictures of another mosaic."""
    tiles = [{"name": f"tile_{n}", "corners": frame(n)["corners"], "frames": 10 + n} for n in range(4)]
    joined = {**told["files"], "file": "mosaic.fits", "shape": [420, 630, 3], "background": {"model": "plane"}}
    return {"tiles": tiles, "mosaic": joined, "left_out": {}, "seconds": {"mosaic": 5.0}}


def report_of(folder, told):
    (folder / "mosaic.json").write_text(json.dumps(told), encoding="utf-8")
    path = write_report(folder / "mosaic.json")
    assert path == folder / "report.html"
    return path.read_text(encoding="utf-8")


def test_report_holds_every_frame_and_how_it_was_made(mosaic):
    page = Page(report_of(*mosaic))
    for number in range(4):
        assert page.text.count(f"light_{number}.fit") > 9  # in outline, table and plots
    for what in (
        "cloudy.fit: no stars; left out",
        "9 frames of 30 s: a wrong header",
        "rejection.kappa_low",
        "630 x 420, 2.39 arcsec each, north up",
        "56.75° right ascension, 24.1° declination",
        "0.123 px in the usual frame, 0.4 px in the worst",
        "winsor, 1.25 % of the samples rejected",
        "8 of 9",
        "grey fill",
        "380 · 523 · 400",
        "1: no cloud",
        "Seestar S50: 2.7 ± 0.3 % less light than the middle, by stars, evened out",
        "S30: stars show no difference from the middle that is sure (± 3.3 %): left as they are",
        "2.5",
    ):
        assert what in page.text
    assert len(page.all("polygon")) == 4
    assert page.all("polygon")[3]["points"] == "300,200 630,200 630,420 300,420"
    assert page.all("svg")[0]["viewbox"] == "0 0 630 420"
    assert len(page.all("tr")) == 5
    titles = [attributes["aria-label"] for attributes in page.all("svg")[1:]]
    assert len(titles) == 9
    assert "Sky level of 4 frames: 380 to 523 ADU" in titles
    assert len(page.all("circle")) == 4 * (3 * 3 + 6) - 1  # one frame has no stars' width
    shown = {attributes["href"] for attributes in page.all("a")}
    assert shown == {f"#{attributes['id']}" for attributes in page.all("g") if "id" in attributes}


def test_the_sky_is_told_in_words_and_small_pictures(mosaic):
    """The shade is -9 ADU (u^2 + v^2), u and v in halves of the longer side, which are on average 1/3 and .1055."""
    folder, told = mosaic
    page = Page(report_of(folder, told))
    assert "the darkest sky is level" in page.text
    said = r"sensor of S50; corners -7.9 ADU \(standard error 1.2\): -7.\d+ ADU \(dark\) to 3.9\d ADU"
    assert re.search(said, page.text)
    assert "differ where they show the same sky: 0.5 ADU (dark) to 2.5 ADU" in page.text
    cells = [one["src"].split(",")[1] for one in page.all("img") if one.get("class") == "cells"]
    pattern, differ = (np.asarray(Image.open(io.BytesIO(base64.b64decode(data))), dtype=int) for data in cells)
    assert pattern.shape[:2] == (27, 48)
    assert pattern[13, 23].sum() > pattern[13, 0].sum() > pattern[0, 0].sum() > 0
    assert differ[0, 0].sum() < differ[0, 1].sum() < differ[1, 1].sum()
    assert not differ[1, 0].any(), "black where nothing is seen"


def test_plots_follow_the_dates(mosaic):
    folder, told = mosaic
    text = report_of(folder, told)
    sky = text[text.index("Stars used") :]
    assert sky.index("light_3.fit: ") < sky.index("light_2.fit: ") < sky.index("light_0.fit: ")


def test_report_of_existing_tiles(mosaic):
    folder, told = mosaic
    page = Page(report_of(folder, of_tiles(told)))
    assert len(page.all("polygon")) == 4
    assert "3 · tile_2 · 12 frames" in page.text
    assert len(page.all("tr")) == 5
    assert "Frames over time" not in page.text
    assert "skies brought together by" in page.text


def test_ten_thousand_frames_make_a_page_that_a_browser_can_show(mosaic):
    folder, told = mosaic
    (folder / "mosaic.png").unlink()  # large: only the frames are of interest here
    told["frames"] = [frame(0, name=f"light_{n}.fit", weight=1.0 - n / 20_000, fwhm_px=n / 1e4) for n in range(10_000)]
    told["left_out"] = {f"dark_{n}.fit": "its IMAGETYP is Dark" for n in range(1000)}
    text = report_of(folder, told)
    page = Page(text)
    assert len(text) < 4e6
    assert page.all("polygon") == page.all("circle") == []
    outlines = next(a["d"] for a in page.all("path") if a.get("d", "").startswith("M0,0 330,0"))
    assert outlines.count("Z") == 10_000
    assert "500 of 10,000 frames: those that count least" in page.text
    assert len(page.all("tr")) == 501
    assert "light_9999.fit" in page.text
    assert "light_9499.fit" not in page.text
    assert "1000 left out" in page.text
    assert "dark_999.fit" not in page.text
    assert len(page.all("li")) == 3, "one line of the sky, one warning, one of all that was left out"


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
    assert len(pictures) == 6
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
    both = [told, of_tiles(told)]
    for harmless in both:
        hostile = copy.deepcopy(harmless)
        for entry in hostile.get("frames", []) + hostile.get("tiles", []):
            entry["name"] = entry["date"] = HOSTILE
        for name in ("canvas", "files", "registration", "stack", "mosaic"):
            for key, value in hostile.get(name, {}).items():
                if isinstance(value, str) and not value.endswith(".png"):
                    hostile[name][key] = HOSTILE
        hostile["left_out"] = {HOSTILE: HOSTILE}
        hostile["settings"] = {HOSTILE: HOSTILE, "a": [HOSTILE], "b": {HOSTILE: 1}}
        hostile["seconds"] = {HOSTILE: 1.0, "b": HOSTILE}
        hostile["comparison"] = {**told["comparison"], "captions": [HOSTILE, HOSTILE]}
        harmless = Page(report_of(folder, {**harmless, "comparison": told["comparison"]}))
        page = Page(report_of(folder, hostile))
        kinds = ("script", "img")
        assert [tag for tag, _ in page.elements if tag in kinds] == [
            tag for tag, _ in harmless.elements if tag in kinds
        ]
        allowed = {name for _, attributes in harmless.elements for name in attributes}
        assert {name for _, attributes in page.elements for name in attributes} <= allowed
        assert HOSTILE.replace("\ud800", "?") in page.text


def _paths(told, prefix=()):
    """Yield the place of every value in nested dicts and lists."""
    for key, value in told.items() if isinstance(told, dict) else enumerate(told):
        yield (*prefix, key)
        if isinstance(value, dict | list):
            yield from _paths(value, (*prefix, key))


@pytest.mark.parametrize("described", [dict, of_tiles])
def test_whatever_is_missing_or_of_the_wrong_kind_leaves_a_report(mosaic, described):
    folder, told = mosaic
    for picture in folder.glob("*.png"):  # they take time; that one is missing is of interest, too
        picture.unlink()
    told["frames"] = told["frames"][:1]
    told = described(told)
    places = list(_paths(told))
    assert len(places) > 30
    for place in places:
        for value in (None, "x", math.nan, {}):
            damaged = copy.deepcopy(told)
            inside = damaged
            for key in place[:-1]:
                inside = inside[key]
            inside[place[-1]] = value
            report_of(folder, damaged)


def test_what_is_not_there_is_said(mosaic):
    folder, told = mosaic
    (folder / "coverage.png").write_bytes(b"no picture")
    del told["files"]["picture"], told["settings"], told["seconds"], told["left_out"], told["frames"][1]["corners"]
    told["comparison"]["after"] = "gone.png"
    page = Page(report_of(folder, told))
    for words in (
        "No picture is named.",
        "No settings are recorded.",
        "No times are recorded.",
        "Nothing was left out.",
        "1 of the frames have no corners recorded",
    ):
        assert words in page.text
    assert re.search(r"coverage.png\s+cannot be read: its format is unknown", page.text)
    assert re.search(r"gone.png\s+cannot be read: there is no such file", page.text)
    assert len(page.all("polygon")) == 3
    empty = Page(report_of(folder, {"tiles": []}))
    assert "No frames are recorded." in empty.text
    assert "Nothing is recorded of it." in empty.text


def test_a_figure_that_was_not_measured_is_a_cross_and_breaks_the_line(mosaic):
    folder, told = mosaic
    told["frames"] = [frame(0, name=f"light_{n}.fit", date="", fwhm_px=None if n == 2 else 3.0 + n) for n in range(5)]
    text = report_of(folder, told)
    fwhm = text[text.index("Star width (FWHM)") :]
    fwhm = fwhm[: fwhm.index("</figure>")]
    assert fwhm.count("<circle") == 4
    assert fwhm.count('class="gap"') == 1
    assert "light_2.fit: not measured" in fwhm
    path = re.search(r'<g class="s0"><path d="([^"]*)"', fwhm).group(1)
    assert (path.count("M"), path.count("L")) == (2, 2)


@given(st.lists(st.text(), min_size=4, max_size=4))
def test_any_text_leaves_the_elements_as_they_are(texts):
    def elements(name, reason, caption, setting):
        told = {
            "canvas": {"shape": [420, 630], "like": setting},
            "frames": [frame(0, name=name, date=reason), frame(1)],
            "files": {"image": name, "picture": f"x{caption}"},
            "left_out": {name: reason},
            "settings": {setting: setting},
            "comparison": {"before": f"x{name}", "after": "", "captions": [caption, caption]},
        }
        with tempfile.TemporaryDirectory() as folder:
            page = Page(report_of(Path(folder), told))
        return [(tag, sorted(attributes)) for tag, attributes in page.elements]

    assert elements(*("-" + text for text in texts)) == elements("a", "b", "c", "d")


def test_command_writes_the_report_of_a_tile(mosaic, capsys):
    folder, told = mosaic
    (folder / "mosaic.png").rename(folder / "tile.png")
    told["files"] = {"image": "tile.fits", "picture": "tile.png", "coverage_picture": "coverage.png"}
    (folder / "tile.json").write_text(json.dumps({**told, "comparison": None}))
    assert cli.main(["report", str(folder)]) == 0
    assert str(folder / "report.html") in capsys.readouterr().out
    page = Page((folder / "report.html").read_text(encoding="utf-8"))
    assert len(page.all("img")) == 4
    assert f"Tile {folder.name}" in page.text
    assert "4 frames" in page.text


@pytest.mark.parametrize("content", ["{", "[1, 2]", "{}", "\u00e9".encode("latin-1")])
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
  const column = [...page.querySelectorAll("thead button")].find(button => button.textContent === "FWHM");
  const order = () => [...page.querySelectorAll("tbody th")].map(head => head.dataset.sort).join("");
  column.click(); found.up = order();
  column.click(); found.down = order();
  const handle = page.querySelector(".compare input");
  handle.value = 20; handle.dispatchEvent(new view.Event("input"));
  found.line = page.querySelector(".line").offsetLeft / page.querySelector(".compare").clientWidth;
  page.querySelectorAll("[data-part]")[2].focus(); found.named = page.getElementById("pointed").textContent;
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
        "up": "3124",  # by 2.5, 9, 10 as numbers; what was not measured comes last
        "down": "2134",
        "named": "3 · light_2.fit · weight 0.8",
        "outlines": "none",
        "pictures": True,
    }
    assert "CONSOLE" not in done.stderr.decode(errors="replace")


def test_trails_are_told_and_drawn(mosaic):
    folder, told = mosaic
    told["stack"] |= {"masked_samples": 34567, "spared_samples": 0}
    told["frames"][1]["trails"] = [{"ends": [[300, 10], [620, 200]]}, {"ends": []}]
    page = Page(report_of(folder, told))
    assert page.text.count("34,567 samples left out") == 1
    assert "stay, as no other frame" not in page.text
    assert [path["d"] for path in page.all("path") if path.get("class") == "trail"] == ["M300,10 620,200"]
    assert "2 · light_1.fit · weight 0.9 · 2 trails" in page.text
