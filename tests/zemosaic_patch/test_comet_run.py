# SPDX-License-Identifier: GPL-3.0-or-later
"""`mosaic --comet`: files, cards, report, what is refused, and how it goes on."""

import json
import shutil

import numpy as np
import pytest
from astropy.io import fits

from tests.support.comets import comet_night


@pytest.fixture(scope="module", autouse=True)
def no_solver():
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PATH", "")
        yield


@pytest.fixture(scope="module")
def night(tmp_path_factory):
    return comet_night(tmp_path_factory.mktemp("comet") / "frames", count=6, drift=30.0)


@pytest.fixture(scope="module")
def folder(night, tmp_path_factory):
    from zemosaic_patch import cli

    folder = tmp_path_factory.mktemp("made") / "out"
    assert (
        cli.main(
            [*map(str, ("mosaic", night.paths[0].parent, "-o", folder, "--comet", told(night, 2.0), "--comet-merged"))]
        )
        == 0
    )
    return folder


def told(night, off=0.0):
    return ",".join(f"{number:.1f}" for mark in night.marks(off) for number in mark)


def test_the_comet_lies_beside_the_mosaic_pixel_by_pixel(night, folder):
    with fits.open(folder / "comet.fits", checksum=True) as hdus, fits.open(folder / "mosaic.fits") as stars:
        assert hdus[0].data.shape == stars[0].data.shape
        header, image = hdus[0].header, hdus[0].data.mean(axis=0)
        assert [hdu.name for hdu in hdus] == [hdu.name for hdu in stars]
    assert header["NPA_KIND"] == "comet"
    assert header["DATE-AVG"] == "2024-10-14T19:01:20.000", "the middle of the first and the last exposure"
    assert header["NPA_CPX"] == pytest.approx(30.0, abs=0.3)
    assert "Frames moved after a comet" in str(header["HISTORY"])
    left, top = round(header["NPA_CX"]) - 9, round(header["NPA_CY"]) - 9  # FITS counts from 1
    piece = image[top : top + 17, left : left + 17] - np.nanmedian(image)
    weights = np.clip(piece, 0, None) ** 2
    rows, columns = np.indices(piece.shape)
    assert (np.sum(weights * columns) / np.sum(weights) + left + 1) == pytest.approx(header["NPA_CX"], abs=0.25)
    assert (np.sum(weights * rows) / np.sum(weights) + top + 1) == pytest.approx(header["NPA_CY"], abs=0.25)


def test_the_merged_picture_says_what_it_is(folder):
    with fits.open(folder / "merged.fits", checksum=True) as hdus, fits.open(folder / "comet.fits") as comet:
        assert hdus[0].header["NPA_KIND"] == "merged"
        assert "Composite: stars without the comet" in str(hdus[0].header["HISTORY"])
        x, y = round(hdus[0].header["NPA_CX"]) - 1, round(hdus[0].header["NPA_CY"]) - 1
        assert hdus[0].data[:, y, x].mean() == pytest.approx(comet[0].data[:, y, x].mean(), rel=0.05)
        brightest = [np.nanmax(one[0].data) for one in (hdus, comet)]
    assert brightest[0] > 1.5 * brightest[1], "there are stars in it"


def test_the_report_and_its_page_tell_of_it(folder):
    comet = json.loads((folder / "mosaic.json").read_text())["comet"]
    assert (comet["first"], comet["last"], comet["frames"]) == ("light_00.fit", "light_05.fit", 6)
    assert comet["by_light"]
    assert 1.5 < comet["marks_off_px"] < 3.5
    page = (folder / "report.html").read_text()
    assert "The comet" in page
    assert "comet.png" in page
    assert "its own light" in page
    assert "merged.png" in page


def test_it_goes_on_with_other_marks_and_makes_the_same_again(run, night, folder, tmp_path):
    folder = shutil.copytree(folder, tmp_path / "out")
    before = {name: (folder / name).read_bytes() for name in ("mosaic.fits", "comet.fits")}
    code, out, _ = run("mosaic", night.paths[0].parent, "-o", folder, "--resume", "--comet", told(night, 2.0))
    assert code == 0
    assert "comet.fits" in out
    assert {name: (folder / name).read_bytes() for name in before} == before
    code, _, err = run("mosaic", night.paths[0].parent, "-o", folder, "--resume", "--comet", "50,60,70,90")
    assert code == 0
    assert any("no nucleus is surely seen near the marks" in line for line in err)
    assert (folder / "mosaic.fits").read_bytes() == before["mosaic.fits"]
    assert (folder / "comet.fits").read_bytes() != before["comet.fits"]
    code, out, err = run("mosaic", night.paths[0].parent, "-o", folder, "--resume")
    assert code == 0
    assert (folder / "comet.fits").exists(), "nobody asked to remove it"
    assert any("comet.fits is of an earlier run, and stays as it is" in line for line in err)


def test_a_mosaic_can_be_gone_on_from_after_a_run_that_was_to_replace_it_was_refused(run, night, folder, tmp_path):
    folder = shutil.copytree(folder, tmp_path / "out")
    before = (folder / "mosaic.fits").read_bytes()
    others = "--overwrite", "--match-sky", "offset", "--comet", "5000,60,50,60"
    assert run("mosaic", night.paths[0].parent, "-o", folder, *others)[0] == 1
    assert run("mosaic", night.paths[0].parent, "-o", folder, "--resume")[0] == 0
    assert (folder / "mosaic.fits").read_bytes() == before


def test_a_refused_comet_leaves_what_the_mosaic_goes_on_from(run, night, folder, tmp_path):
    folder = shutil.copytree(folder, tmp_path / "out")
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    assert run("mosaic", night.paths[0].parent, "-o", folder, "--resume", "--comet", "5000,60,50,60")[0] == 1
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--comet", "1,2,3"), "--comet takes four numbers, X,Y,X,Y, not 1,2,3"),
        (("--comet", "1,2,3,nan"), "--comet takes four numbers"),
        (("--comet-in", "sky"), "--comet-in is for --comet X,Y,X,Y"),
        (("--comet-merged",), "--comet-merged is for --comet X,Y,X,Y"),
        (("--comet", "10,20,4000,20"), "4000,20 lies outside light_05.fit, which has 560 x 400 pixels"),
        (("--comet", "10,10,20,20", "--comet-in", "sky"), "needs the place on the sky"),
        (("--comet", "1,2,3,4", "--existing-tiles"), "--comet has no effect here"),
    ],
)
def test_marks_that_tell_nothing_cost_one_line_and_no_file(run, night, tmp_path, words, said):
    code, _, err = run("mosaic", night.paths[0].parent, "-o", tmp_path / "out", *words)
    assert code in (1, 2)
    assert said in err[-1]
    assert not (tmp_path / "out").exists()


def test_packed_or_not_they_show_the_same(run, night, folder, tmp_path):
    words = "--comet", told(night, 2.0), "--comet-merged", "--format", "fz", "--picture", "tif"
    assert run("mosaic", night.paths[0].parent, "-o", tmp_path / "out", *words)[0] == 0
    assert (tmp_path / "out" / "merged.tif").exists()
    for name in ("comet.fits", "merged.fits"):
        with fits.open(tmp_path / "out" / name) as packed, fits.open(folder / name) as plain:
            np.testing.assert_array_equal(packed[1].data, plain[0].data)


def test_a_first_frame_that_was_left_out_is_told(run, night, tmp_path):
    blind = tmp_path / "early.fit"
    with fits.open(night.paths[0]) as hdus:
        hdus[0].data[:] = 1000
        hdus[0].header["DATE-OBS"] = "2024-10-14T18:59:00"
        hdus.writeto(blind)
    code, _, err = run("mosaic", *night.paths, blind, "-o", tmp_path / "out", "--comet", told(night))
    assert code == 0
    assert any("early.fit was left out, so the first mark is taken to be in light_00.fit" in line for line in err)
