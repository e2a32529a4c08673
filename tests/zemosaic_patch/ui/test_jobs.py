# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs as jobs: the command's own bytes, whatever becomes of the window; stopped, gone on with, one more night."""

import io
import json
import os
import re
import shutil
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
from astropy.io import fits
from PIL import Image

from nanstack.io.files import WORK
from tests.support.pointings import write_pointings
from zemosaic_patch import cli
from zemosaic_patch.errors import UsageError
from zemosaic_patch.given import UNWANTED
from zemosaic_patch.lost_files import LOST
from zemosaic_patch.mosaic_files import MOSAIC, SURVEYS
from zemosaic_patch.ui import earlier, jobs, served, settings, state
from zemosaic_patch.ui.filling import Filling
from zemosaic_patch.ui.jobs import Run
from zemosaic_patch.ui.missing import Missing, missing_of
from zemosaic_patch.ui.safety import chosen

LONG_S = 300
USUAL = settings.as_toml(settings.run_of({})[1], ())


@pytest.fixture(scope="module")
def frames(tmp_path_factory):
    folder = tmp_path_factory.mktemp("jobs") / "frames"
    write_pointings(folder)
    return folder


@pytest.fixture(scope="module")
def by_command(frames):
    folder = frames.parent / "by_command"
    assert cli.main(["mosaic", str(frames), "-o", str(folder)]) == 0
    return folder


@pytest.fixture(autouse=True)
def own_state(tmp_path, monkeypatch):
    monkeypatch.setenv(state.PLACE, str(tmp_path / "state"))


def ended(run):
    until = time.monotonic() + LONG_S
    while run.is_running:
        assert time.monotonic() < until
        time.sleep(0.05)
    return run.news()


def test_a_run_is_the_command_and_is_found_again(frames, by_command, tmp_path):
    out = tmp_path / "out; touch x & $(touch y)"  # no shell reads it
    begun = jobs.begin(Run("", str(out), (str(frames),), target="M 45", count=8), USUAL, ())
    assert jobs.running() == begun
    with pytest.raises(UsageError):
        earlier.continued(begun)  # one at a time
    news = ended(begun)
    assert not news.failure
    assert news.said[0].startswith("frames")
    assert news.step.name == "stacking"
    assert news.step.done == news.step.total
    assert (out / MOSAIC).read_bytes() == (by_command / MOSAIC).read_bytes()
    assert jobs.running() is None
    assert jobs.kept() == [begun]
    assert jobs.find(begun.key) == begun
    for key in ("", "..", "../runs", f"{begun.key}/", begun.key.upper() + "x", f"../runs/{begun.key}"):
        assert jobs.find(key) is None
    assert sorted(path.name for path in tmp_path.iterdir()) == [out.name, "state"]
    if os.name == "posix":
        assert not os.stat(tmp_path / "state").st_mode & 0o077
        assert not os.stat(begun.home / jobs.RECORD).st_mode & 0o077
    jobs.forget(begun)
    assert jobs.kept() == []
    assert (out / MOSAIC).exists()


def test_of_two_starts_at_once_one_begins(frames, tmp_path):
    def start(number):
        try:
            with jobs.alone():
                time.sleep(0.2)
                return jobs.begin(Run("", str(tmp_path / f"out{number}"), (str(frames),)), USUAL, ())
        except UsageError:
            return None

    with ThreadPoolExecutor() as threads:
        begun = [run for run in threads.map(start, range(3)) if run]
    assert jobs.kept() == begun
    assert len(begun) == 1
    begun[0].cancel()
    ended(begun[0])


def test_tiles_of_the_sky_are_a_job_that_any_window_finds(by_command, tmp_path):
    pytest.importorskip("reproject", "0.21")
    out = tmp_path / "out"
    shutil.copytree(by_command, out)
    run = earlier.opened_folder(out)
    assert jobs.tiles_of(run) is None
    jobs.begin_tiles(run)
    work = jobs.tiles_of(jobs.find(run.key))  # as another tab finds it
    assert work.is_running
    jobs.begin_tiles(run)
    assert jobs.tiles_of(run) == work, "one is enough"
    with pytest.raises(UsageError):
        earlier.continued(run)
    news = ended(work)
    assert not news.failure
    assert news.step.done == news.step.total > 0
    assert str(out / "hips") in news.said[-1]

    # shown by pages of this program alone, whatever lies there
    chosen.add(out)
    (out / "hips" / "index.html").write_text("<script>evil()</script>")
    (out / "hips" / "other.html").write_text("<script>evil()</script>")
    page, kind = served.tiles_of_the_sky(run.key, "index.html")
    assert kind == "text/html"
    assert b"aladin.js" in page
    assert b"evil" not in page
    assert served.tiles_of_the_sky(run.key, "aladin.js")[1] == "text/javascript"
    assert served.tiles_of_the_sky(run.key, "properties")[0].startswith(b"creator_did")
    assert served.tiles_of_the_sky(run.key, "Moc.fits") is not None
    for name in ("other.html", "../mosaic.fits", "../run.toml", "..", "", "/etc/passwd", "x.png", "a\0.png"):
        assert served.tiles_of_the_sky(run.key, name) is None
    told = (out / "hips" / "properties").read_text()
    for evil in ("1;evil()", "", "</script>"):
        (out / "hips" / "properties").write_text(re.sub(r"(?m)^(hips_initial_ra .*=).*", rf"\1 {evil}", told))
        assert served.tiles_of_the_sky(run.key, "index.html") is None

    jobs.forget(run)
    assert not run.home.exists()
    assert (out / "hips").exists()


def test_a_run_that_was_stopped_goes_on(frames, by_command, tmp_path):
    begun = jobs.begin(Run("", str(tmp_path / "out"), (str(frames),)), USUAL, ())
    while begun.is_running and not begun.news().step:
        time.sleep(0.02)
    begun.cancel()
    news = ended(begun)
    assert not news.said
    assert "stopped by the user" in news.failure
    assert not earlier.came_to_nothing(begun)  # it can be gone on with
    again = earlier.continued(jobs.find(begun.key))
    assert again.key == begun.key
    assert not ended(again).failure
    assert (tmp_path / "out" / MOSAIC).read_bytes() == (by_command / MOSAIC).read_bytes()


def test_a_run_that_was_ended_without_being_asked_leaves_no_temporary_files_and_goes_on(
    frames, by_command, tmp_path, monkeypatch
):
    """As Windows ends programs."""
    monkeypatch.setattr(jobs, "CAN_ASK", False)
    out = tmp_path / "out"
    begun = jobs.begin(Run("", str(out), (str(frames),)), USUAL, ())
    while begun.is_running and not begun.news().step:
        time.sleep(0.02)
    (out / WORK / "planes").write_bytes(b"many")
    begun.cancel()
    assert not ended(begun).said
    until = time.monotonic() + LONG_S
    while (out / WORK).exists():
        assert time.monotonic() < until
        time.sleep(0.05)
    assert not ended(earlier.continued(jobs.find(begun.key))).failure
    assert (out / MOSAIC).read_bytes() == (by_command / MOSAIC).read_bytes()


def test_one_more_night_joins(frames, tmp_path):
    first, second = tmp_path / "first", tmp_path / "second"
    for number, night in enumerate((first, second)):
        night.mkdir()
        for path in sorted(frames.iterdir())[number::2]:
            (night / path.name).write_bytes(path.read_bytes())
    out = tmp_path / "out"
    assert cli.main(["mosaic", str(first), "-o", str(out)]) == 0
    opened = earlier.opened_folder(out)  # made without the window
    assert earlier.opened_folder(out) == opened
    more = earlier.continued(opened, (str(second),))
    assert more.frames == (str(first), str(second))
    assert not ended(more).failure
    assert fits.getheader(out / MOSAIC)["STACKCNT"] == len(list(frames.iterdir()))


def test_frames_that_were_moved_are_asked_for_and_gone_on_with(frames, by_command, tmp_path):
    out, there = tmp_path / "out", tmp_path / "moved"
    shutil.copytree(by_command, out)
    shutil.copytree(frames, there)
    run = replace(earlier.opened_folder(out), frames=(str(tmp_path / "gone"),))
    missing, names = missing_of(run), sorted(path.name for path in frames.iterdir())
    assert missing == Missing((str(tmp_path / "gone"),), tuple(names), ())
    assert all(name in missing.told for name in names[:4])
    mended = earlier.moved(run, missing, there)
    assert mended.frames == (str(there),)
    assert not missing_of(mended)
    assert not ended(earlier.continued(mended)).failure
    assert jobs.find(run.key).frames == (str(there),)
    assert (out / MOSAIC).read_bytes() == (by_command / MOSAIC).read_bytes()

    files = replace(run, frames=(str(tmp_path / "a" / "1.fit"), str(tmp_path / "a" / "2.fit"), "s3://x", "/x/*.fit"))
    assert earlier.moved(files, missing_of(files), there).frames == (str(there), "s3://x", "/x/*.fit")


def test_frames_that_are_gone_are_told_before_a_run_goes_on_without_them(frames, tmp_path):
    mine, out = tmp_path / "frames", tmp_path / "out"
    shutil.copytree(frames, mine)
    first, second, *others = sorted(mine.iterdir())
    run = jobs.begin(Run("", str(out), (str(mine),)), f"leave-out = ['{first}', '{others[-1]}']\n", ())
    assert not ended(run).failure
    assert not missing_of(run)
    there, wrong = tmp_path / "elsewhere", tmp_path / "wrong"
    shutil.copytree(mine, there)
    wrong.mkdir()
    shutil.copy(others[0], wrong / "another.fits")
    for path in (first, second):
        path.unlink()
    missing = missing_of(run)
    assert missing == Missing((), (first.name, second.name), (str(mine),))
    assert missing.told == f"2 frames of this picture are not there any more: {first.name}, {second.name}."
    with pytest.raises(UsageError, match=re.escape(f"None of the missing frames is in {wrong}: ")):
        earlier.moved(run, missing, wrong)
    found = earlier.moved(run, missing, there)
    assert found.frames == (str(mine), str(there))
    gone_on = earlier.continued(run)
    assert not ended(gone_on).failure
    left_out = json.loads((out / "mosaic.json").read_text())["left_out"]
    assert left_out[second.name] == LOST
    assert left_out[others[-1].name] == UNWANTED
    assert not missing_of(gone_on)


def test_what_is_wrong_is_said_in_a_line(tmp_path):
    (tmp_path / "empty").mkdir()
    begun = jobs.begin(Run("", str(tmp_path / "out"), (str(tmp_path / "empty"),)), USUAL, ())
    news = ended(begun)
    assert "no frames there" in news.failure
    assert "zemosaic-patch" not in news.failure
    assert earlier.came_to_nothing(begun)
    (begun.folder / SURVEYS).mkdir(parents=True)  # as of a run whose frames were gone before any part was stacked
    assert not earlier.came_to_nothing(begun)


def test_what_is_remembered_may_be_damaged(tmp_path):
    for name, content in (("a", "{"), ("b", "[]"), ("c", '{"key": "other"}'), ("d", json.dumps({"frames": 1}))):
        state.write(tmp_path / "state" / "runs" / name / jobs.RECORD, {})
        (tmp_path / "state" / "runs" / name / jobs.RECORD).write_text(content)
    assert jobs.kept() == []


def test_another_process_of_its_number_is_not_taken_for_a_run():
    assert not Run("x", "", (), pid=os.getpid(), pid_began=time.time() - 86400).is_running
    assert not Run("x", "", (), pid=0).is_running


def test_the_canvas_fills_as_cells_come(by_command, tmp_path):
    cells = tmp_path / "out" / "cells"
    cells.mkdir(parents=True)
    filling = Filling(tmp_path / "out", north_up=True)
    assert filling.read_on() == 0
    assert filling.picture() is None
    shutil.copy(by_command / "cells" / "solution.npz", cells)
    seen = []
    for path in sorted((by_command / "cells").glob("cell_*.npz")):
        shutil.copy(path, cells)
        assert filling.read_on() == 1
        picture = opened(filling.picture())
        seen.append(np.count_nonzero(is_shown(picture)))
    assert seen == sorted(seen)
    assert seen[0] > 0
    mosaic = fits.getdata(by_command / MOSAIC)[:, ::-1]
    height, width = mosaic.shape[1:]
    assert picture.shape[:2] == (-(-height // 4), -(-width // 4))
    full = np.isfinite(mosaic[0])[::4, ::4][: picture.shape[0], : picture.shape[1]]
    assert np.mean(full == is_shown(picture)) > 0.92  # but for its rim
    agrees, turned = agreement(mosaic, picture)
    assert agrees > max(0.2, 3 * turned)
    (cells / "cell_+9999_+0000.npz").write_bytes(b"torn")
    assert filling.read_on() == 1
    assert filling.picture() is not None


def test_a_rough_picture_lies_where_the_mosaic_will(frames, by_command, tmp_path):
    rough = tmp_path / "rough.png"
    words = [str(frames), "--keep", str(tmp_path / "kept"), "--rough", str(rough)]
    assert cli.main(["look", *words, "--flat"]) == 0
    cells = tmp_path / "out" / "cells"
    shutil.copytree(by_command / "cells", cells)
    *later, first = sorted(cells.glob("cell_*.npz"))
    for path in later:
        path.unlink()
    filling = Filling(tmp_path / "out", north_up=True, rough=rough)
    assert filling.read_on() == 1
    picture = opened(filling.picture())
    mosaic = fits.getdata(by_command / MOSAIC)[:, ::-1]
    full = np.isfinite(mosaic[0])[::4, ::4][: picture.shape[0], : picture.shape[1]]
    assert np.mean(full == is_shown(picture)) > 0.92
    agrees, turned = agreement(mosaic, picture)
    assert agrees > max(0.2, 3 * turned)

    rough.write_bytes(b"something else")
    assert np.mean(is_shown(opened(filling.picture()))) < 0.9 * np.mean(full)  # what is finished, on black


def opened(picture):
    return np.array(Image.open(io.BytesIO(picture)))


def is_shown(picture):
    return picture.max(axis=2) > 12  # a dark sky is lighter than black, and JPEG spills a little


def agreement(mosaic, picture):
    """Return how alike a picture's green is to a mosaic's, and to it upside down."""
    light = np.nan_to_num(mosaic[1, ::4, ::4])[: picture.shape[0], : picture.shape[1]]
    both = is_shown(picture) & (light > 0)
    both &= both[::-1]
    return [np.corrcoef(light[both], green[both])[0, 1] for green in (picture[..., 1], picture[::-1, :, 1])]
