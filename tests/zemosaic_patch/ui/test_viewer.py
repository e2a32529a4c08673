# SPDX-License-Identifier: GPL-3.0-or-later
"""What the viewer serves: mosaics that were opened, of folders that the owner chose, and nothing else."""

import cv2
import numpy as np
import pytest

from tests.zemosaic_patch.ui.mosaics import light_of, write_mosaic
from zemosaic_patch.ui import viewer
from zemosaic_patch.ui.safety import Chosen, NotChosenError

pytest.importorskip("httpx", reason="the window's packages are not installed")
fastapi = pytest.importorskip("fastapi", reason="the window's packages are not installed")
testclient = pytest.importorskip("starlette.testclient", reason="the window's packages are not installed")


@pytest.fixture
def mosaic(tmp_path, monkeypatch):
    """A folder with a mosaic that the owner chose."""
    chosen = Chosen()
    monkeypatch.setattr(viewer, "chosen", chosen)
    monkeypatch.setattr(viewer, "opened", viewer.Open())
    folder = tmp_path / "M 94, héros"
    folder.mkdir()
    write_mosaic(folder, light_of(600, 700))
    chosen.add(folder)
    return folder


@pytest.fixture
def browser():
    app = fastapi.FastAPI()
    viewer.routes(app)
    return testclient.TestClient(app)


def test_tiles_coverage_and_pictures_of_an_open_mosaic_are_served(mosaic, browser):
    key = viewer.opened.key(mosaic)
    for name in ("10/0_0.png", "10/1_1.png", "9/0_0.png", "coverage.png", "save/png", "save/jpg", "save/tif"):
        answer = browser.get(f"/mosaic/{key}/{name}")
        assert answer.status_code == 200, name
        assert cv2.imdecode(np.frombuffer(answer.content, np.uint8), cv2.IMREAD_UNCHANGED) is not None
    file = browser.get(f"/mosaic/{key}/save/fits")
    assert file.content == (mosaic / "mosaic.fits").read_bytes()
    assert "M%2094%2C%20h%C3%A9ros.fits" in file.headers["content-disposition"]


def test_a_picture_has_the_look_that_is_asked_for(mosaic, browser):
    key = viewer.opened.key(mosaic)
    usual, stronger = (
        cv2.imdecode(np.frombuffer(browser.get(f"/mosaic/{key}/save/png{asked}").content, np.uint8), 1).mean()
        for asked in ("?background=3", "?background=3&stretch=3")
    )
    assert stronger > usual + 20


@pytest.mark.parametrize(
    "asked",
    [
        "{key}/9/0_1.png", "{key}/99/0_0.png", "{key}/-1/0_0.png", "{key}/9/-1_0.png", "0000/9/0_0.png",
        "{key}/save/exe", "{key}/save/..%2f..%2fetc%2fpasswd", "..%2f..%2fmosaic.fits/coverage.png",
        "{key}/save/fits%00", "%2e%2e/save/fits", "{key}/../../mosaic.json",
    ],
)  # fmt: skip
def test_nothing_else_is(mosaic, browser, asked):
    key = viewer.opened.key(mosaic)
    assert browser.get(f"/mosaic/{asked.format(key=key)}").status_code in (404, 422)


def test_a_folder_that_was_not_chosen_is_not_opened(mosaic, tmp_path):
    other = tmp_path / "other"
    other.mkdir()
    write_mosaic(other, light_of(60, 70))
    for folder in (other, mosaic / ".." / "other"):
        with pytest.raises(NotChosenError):
            viewer.opened.key(folder)
    (mosaic / "mosaic.fits").unlink()
    (mosaic / "mosaic.fits").symlink_to(other / "mosaic.fits")
    with pytest.raises(NotChosenError):
        viewer.opened.key(mosaic)


def test_a_mosaic_that_is_made_anew_gets_another_key(mosaic, browser):
    key = viewer.opened.key(mosaic)
    assert viewer.opened.key(mosaic) == key
    write_mosaic(mosaic, light_of(610, 700))
    assert viewer.opened.key(mosaic) != key
    assert browser.get(f"/mosaic/{key}/10/0_0.png").status_code == 410


def test_only_some_stay_open(mosaic, tmp_path, browser):
    first = viewer.opened.key(mosaic)
    for number in range(viewer.MOST_OPEN):
        folder = mosaic / f"{number}"
        folder.mkdir()
        write_mosaic(folder, light_of(60, 70))
        last = viewer.opened.key(folder)
    assert browser.get(f"/mosaic/{first}/coverage.png").status_code == 404
    assert browser.get(f"/mosaic/{last}/coverage.png").status_code == 200
