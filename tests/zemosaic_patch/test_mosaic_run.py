# SPDX-License-Identifier: GPL-3.0-or-later
"""`zemosaic-patch mosaic` as a user runs it: frames to a mosaic, stopped and resumed, and every kind of bad input."""

import gzip
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from astropy.io import fits
from astropy.wcs import WCS
from PIL import Image, ImageDraw

from tests.support.pointings import FRAMES, SCALE, SHAPE, data_of, write_pointings
from zemosaic_patch import cli, mosaic_files
from zemosaic_patch.pictures import levels_of, screen_stretches


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    """The frames of two pointings, the mosaic that is made of them, and a tile of each."""
    folder = tmp_path_factory.mktemp("mosaic")
    truth = write_pointings(folder / "frames")
    assert cli.main(["mosaic", str(folder / "frames"), "-o", str(folder / "out")]) == 0
    for number in (0, 1):
        frames = map(str, sorted((folder / "frames").glob(f"light_{number}_*")))
        made = folder / "joined" / "tiles" / f"tile_00{number + 1}"
        assert cli.main(["tile", *frames, "-o", str(made), "--canvas", "all"]) == 0
    tiles = map(str, sorted(folder.glob("joined/tiles/*/tile.fits")))
    assert cli.main(["mosaic", "--existing-tiles", *tiles, "-o", str(folder / "joined"), "--overwrite"]) == 0
    return folder, truth


def test_tiles_and_mosaics_tell_the_next_program_how_their_frames_were_taken(original):
    folder, _ = original
    of_all = {"OBJECT": "M 45", "INSTRUME": "Seestar S50", "EXPTIME": 10, "GAIN": 80, "XPIXSZ": 2.9}
    one, other = (f"joined/tiles/tile_00{number}/tile.fits" for number in (1, 2))
    for name, begin, end, frames in [
        ("out/mosaic.fits", "00:00", "01:13", 2 * FRAMES),
        ("joined/mosaic.fits", "00:00", "01:13", 2 * FRAMES),
        (one, "00:00", "00:13", FRAMES),
        (other, "01:00", "01:13", FRAMES),
    ]:
        header = fits.getheader(folder / name)
        assert {card: header[card] for card in of_all} == of_all
        times = header["DATE-OBS"], header["DATE-END"]
        assert times == (f"2025-01-05T20:{begin}.000", f"2025-01-05T20:{end}.000")
        assert (header["STACKCNT"], header["TOTALEXP"]) == (frames, 10.0 * frames)
        assert not {"SITELAT", "SITELONG", "OBSERVER"} & set(header)


@pytest.fixture
def copied(original, tmp_path):
    shutil.copytree(original[0], tmp_path / "run")  # with the times of the files
    return tmp_path / "run"


def test_mosaic_holds_what_it_promises(original):
    folder, _ = original
    out = folder / "out"
    with fits.open(out / "mosaic.fits", checksum=True) as hdus:
        assert [hdu.name for hdu in hdus] == ["RGB", "COVERAGE", "WEIGHT", "VARIANCE"]
        image, coverage, weight, variance = (hdu.data for hdu in hdus)
        header = hdus[0].header
        assert (header["NPA_ALGN"], header["NPA_PLAC"], header["NPA_FLUX"]) == (2 * FRAMES, "own solutions", 1)
        assert image.dtype == ">f4"
        assert [hdus["VARIANCE"].header[f"NPA_COR{plane}"] for plane in (1, 2, 3)] == pytest.approx([1.5] * 3, rel=0.02)
        for hdu in hdus[1:]:
            assert WCS(hdu.header, naxis=2).wcs.crval == pytest.approx(WCS(header, naxis=2).wcs.crval)
    nothing = np.isnan(image).any(axis=0)
    assert np.array_equal(nothing, np.isnan(image).all(axis=0))
    assert np.array_equal(nothing, coverage == 0)
    assert np.array_equal(nothing, weight == 0)
    assert np.array_equal(np.isnan(variance), np.isnan(image))
    assert coverage.max() == 2 * FRAMES
    told = json.loads((out / "mosaic.json").read_text())
    names = sorted(path.name for path in (folder / "frames").iterdir())
    assert [frame["name"] for frame in told["frames"]] == names
    assert told["left_out"] == {}
    stages = ["survey", "registration", "place", "levels", "stack", "writing"]
    assert list(told["seconds"]) == stages, "in the order in which they came"
    assert set(mosaic_files.OUTPUTS) < {path.name for path in out.iterdir()}
    assert not [path.name for path in out.iterdir() if path.name.startswith(".")]
    for name in ("mosaic.png", "mosaic_linked.png", "coverage.png"):
        assert Image.open(out / name).size == image.shape[:0:-1]
    assert "light_1_3.fits" in (out / "report.html").read_text()


def levels_of_coverages(folder):
    """Return the range of the levels of areas of different coverage, in ADU, less a plane."""
    with fits.open(folder / "mosaic.fits") as hdus:
        image, coverage = np.moveaxis(hdus[0].data, 0, -1).astype(float), hdus["COVERAGE"].data
    y, x = np.nonzero(coverage > 0)
    values = image[y, x] - np.nanmedian(image, axis=(0, 1))
    basis = np.column_stack([np.ones(len(x)), x / 400, y / 400])
    faint = (np.abs(values) < 60).all(axis=1)
    for _ in range(5):
        fit = np.linalg.lstsq(basis[faint], values[faint], rcond=None)[0]
        faint = (np.abs(values - basis @ fit) < 60).all(axis=1)
    residual, counts = values - basis @ fit, coverage[y, x]
    areas = [counts == count for count in np.unique(counts) if (counts == count).sum() > 300]
    assert len(areas) > 2
    return np.ptp([np.median(residual[area], axis=0) for area in areas], axis=0).max()


def test_no_border_where_coverages_end(original, run, tmp_path):
    """The frames' skies differ by 50 ADU; the noise of the mosaic is 2.5. (The demo's test measures borders alone.)"""
    assert levels_of_coverages(original[0] / "out") < 4
    assert run("mosaic", original[0] / "frames", "-o", tmp_path / "out", "--match-sky", "none")[0] == 0
    assert levels_of_coverages(tmp_path / "out") > 20


def distance_of_stars(out, truth):
    """Return how far from their true places the stars of a mosaic are, root mean square, in pixels."""
    import sep

    (ra, dec), flux = truth
    with fits.open(out / "mosaic.fits") as hdus:
        green, wcs = hdus[0].data[1].astype(np.float32), WCS(hdus[0].header, naxis=2)
    x, y = wcs.all_world2pix(ra, dec, 0)
    height, width = green.shape
    green = np.where(np.isfinite(green), green - np.nanmedian(green), 0).astype(np.float32)
    apart = np.hypot(x[:, None] - x, y[:, None] - y) + 1e3 * np.eye(len(x))
    alone = ((apart > 14) | (flux[:, 1] < 0.02 * flux[:, 1][:, None])).all(axis=1)
    inside = (x > 20) & (x < width - 20) & (y > 20) & (y < height - 20)
    good = (flux[:, 1] > 5000) & inside & alone
    assert good.sum() >= 5
    found_x, found_y, _ = sep.winpos(green, x[good], y[good], 1.3)
    return np.sqrt(np.mean((found_x - x[good]) ** 2 + (found_y - y[good]) ** 2))


def test_stars_are_where_the_sky_has_them(original):
    assert distance_of_stars(original[0] / "out", original[1]) < 0.05


def test_report_says_where_each_frame_lies_in_the_picture(original):
    """Against the mosaic itself, and the frames' own solutions; the picture's first row is the mosaic's last."""
    out = original[0] / "out"
    with fits.open(out / "mosaic.fits") as hdus:
        covered, wcs = hdus["COVERAGE"].data > 0, WCS(hdus[0].header, naxis=2)
    picture = Image.new("1", covered.shape[::-1])
    for told in json.loads((out / "mosaic.json").read_text())["frames"]:
        ImageDraw.Draw(picture).polygon([tuple(corner) for corner in told["corners"]], fill=1)
        place = WCS(fits.getheader(original[0] / "frames" / told["name"]), naxis=2)
        right, top = (side - 0.5 for side in SHAPE[::-1])
        x, y = wcs.world_to_pixel(place.pixel_to_world([-0.5, right, right, -0.5], [-0.5, -0.5, top, top]))
        assert np.allclose(told["corners"], np.column_stack([x + 0.5, len(covered) - 0.5 - y]), atol=0.3)
    assert np.asarray(picture)[covered[::-1]].all()


def test_report_says_where_each_tile_lies_and_what_was_added_to_it(original):
    """Against the mosaic itself: outlines enclose what is covered; a tile's middle is the mosaic's, but for the sky."""
    out = original[0] / "joined"
    with fits.open(out / "mosaic.fits") as hdus:
        image, covered, wcs = hdus[0].data, hdus["COVERAGE"].data > 0, WCS(hdus[0].header, naxis=2)
    picture = Image.new("1", covered.shape[::-1])
    for told in json.loads((out / "mosaic.json").read_text())["tiles"]:
        ImageDraw.Draw(picture).polygon([tuple(corner) for corner in told["corners"]], fill=1)
        with fits.open(out / told["file"]) as hdus:
            tile, place = hdus[0].data, WCS(hdus[0].header, naxis=2)
        right, top = (side - 0.5 for side in tile.shape[:0:-1])
        x, y = wcs.world_to_pixel(place.pixel_to_world([-0.5, right, right, -0.5], [-0.5, -0.5, top, top]))
        assert np.allclose(told["corners"], np.column_stack([x + 0.5, len(covered) - 0.5 - y]), atol=0.02)
        middle = [side // 2 for side in tile.shape[:0:-1]]
        x, y = (int(np.rint(v)) for v in wcs.world_to_pixel(place.pixel_to_world(*middle)))
        here, there = (
            np.nanmedian(data[:, row - 9 : row + 10, column - 9 : column + 10], axis=(1, 2))
            for data, column, row in ((tile, *middle), (image, x, y))
        )
        assert there - here == pytest.approx(told["background_adu"], abs=1)
    assert np.asarray(picture)[covered[::-1]].all()


def test_pictures_show_the_mosaic_with_the_north_on_top(original):
    out = original[0] / "out"
    with fits.open(out / "mosaic.fits") as hdus:
        image, coverage = np.moveaxis(hdus[0].data, 0, -1)[::-1], hdus["COVERAGE"].data[::-1]
    assert np.array_equal(np.asarray(Image.open(out / "coverage.png")) > 0, coverage > 0)
    for name, linked in (("mosaic.png", False), ("mosaic_linked.png", True)):
        shown = cv2.imread(str(out / name), cv2.IMREAD_UNCHANGED)[..., ::-1]
        assert np.array_equal(shown, levels_of(screen_stretches(image)[linked](image), 16))


def test_tiles_of_other_programs_have_no_data_in_their_borders_of_zeros(tmp_path):
    rng = np.random.default_rng(0)
    (tmp_path / "tiles").mkdir()
    for index in range(2):
        solution = WCS(naxis=2)
        solution.wcs.ctype, solution.wcs.crval = ["RA---TAN", "DEC--TAN"], [80.0, 20.0]
        solution.wcs.cdelt, solution.wcs.crpix = [-0.001, 0.001], [75 + 70 * index, 60]
        sky = rng.normal(1000 + 40 * index, 5, (3, 120, 150)).astype(np.float32)
        sky[:, :9] = sky[..., :12] = sky[..., -12:] = 0
        fits.writeto(tmp_path / "tiles" / f"panel_{index}.fit", sky, solution.to_header())
    assert cli.main(["mosaic", str(tmp_path / "tiles"), "--existing-tiles", "-o", str(tmp_path / "out")]) == 0
    image, coverage = (fits.getdata(tmp_path / "out" / "mosaic.fits", name) for name in ("RGB", "COVERAGE"))
    assert image[:, coverage > 0].min() > 950
    assert image[:, coverage > 0].max() < 1090
    assert np.ptp(np.nanmedian(image[..., 20:-20], axis=(0, 1))) < 10, "the panels meet on one level"
    assert np.count_nonzero(coverage) == pytest.approx(111 * (126 + 70), rel=0.03)


def test_every_option_of_the_join_changes_the_mosaic(run, copied):
    tiles = sorted((copied / "joined" / "tiles").glob("*/tile.fits"))
    made = {}
    for words, card, value in [
        ("", "NPA_FEAT", 0.05),
        ("--join median", "NPA_COMB", "median"),
        ("--match-tiles offset", "NPA_BACK", "offset"),
        ("--match-tiles none", "NPA_BACK", "none"),
        ("--feather 0", "NPA_FEAT", 0),
        ("--feather 0.5", "NPA_FEAT", 0.5),
        ("--interpolation lanczos3", "NPA_INTP", "lanczos3"),
    ]:
        assert run("mosaic", "--existing-tiles", *tiles, "-o", copied / "new", "--overwrite", *words.split())[0] == 0
        assert fits.getheader(copied / "new" / "mosaic.fits")[card] == value
        made[words] = data_of(copied / "new")["RGB"]
    assert len(set(made.values())) == len(made)


def test_a_mosaic_on_a_frames_pixels_is_its_tile(run, copied):
    """Of the same frames, with options of which none is a default."""
    options = ["--canvas", "reference", "--reference", "light_0_2.fits"]
    options += ["--reject", "kappa_sigma", "--kappa", 1, 1.5, "--combine", "median", "--match-sky", "offset"]
    options += ["--weights", "equal", "--interpolation", "lanczos3"]
    assert run("mosaic", copied / "frames", "-o", copied / "new", *options)[0] == 0
    assert run("tile", copied / "frames", "-o", copied / "alone", *options)[0] == 0
    mosaic, alone = copied / "new" / "mosaic.fits", copied / "alone" / "tile.fits"
    for name in ("RGB", "COVERAGE", "WEIGHT", "VARIANCE"):
        assert fits.getdata(mosaic, name).tobytes() == fits.getdata(alone, name).tobytes()
    edges = [0, 0, 200, 200], [0, 140, 0, 140]
    headers = [fits.getheader(path) for path in (copied / "frames" / "light_0_2.fits", mosaic)]
    own, place = (WCS(header, naxis=2).wcs_pix2world(*edges, 0) for header in headers)
    np.testing.assert_allclose(own, place, rtol=0, atol=0.1 * SCALE)


def stars_apart(folder, other):
    """Return how far the brightest stars of one mosaic are from those of another, in pixels of the former."""
    import sep

    found = []
    for name in (folder, other):
        with fits.open(name / "mosaic.fits") as hdus:
            green, wcs = hdus[0].data[1].astype(np.float32), WCS(hdus[0].header, naxis=2)
        green = np.where(np.isfinite(green), green - np.nanmedian(green), 0).astype(np.float32)
        stars = np.sort(sep.extract(green, 100.0), order="flux")[::-1][:20]
        found.append((wcs, *sep.winpos(green, stars["x"], stars["y"], 1.3)[:2]))
    (wcs, x, y), (place, u, v) = found
    u, v = wcs.world_to_pixel(place.pixel_to_world(u, v))
    return np.sort(np.hypot(x[:, None] - u, y[:, None] - v).min(axis=1))


@pytest.mark.parametrize("turned", [False, True])
def test_a_mosaic_has_another_images_pixels(run, copied, turned):
    """An image with the north at the bottom right, not mirrored and mirrored: stars lie where its solution says."""
    place = WCS(naxis=2)
    place.wcs.ctype, place.wcs.crval, place.wcs.crpix = ["RA---TAN", "DEC--TAN"], [56.6, 24.3], [120.0, 60.0]
    angle, hand = np.radians(130), 1 if turned else -1
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    place.wcs.cd = SCALE * 1.2 * turn @ np.diag([hand, 1])
    fits.writeto(copied / "theirs.fits", np.zeros((180, 240), np.float32), place.to_header())
    assert run("mosaic", copied / "frames", "-o", copied / "new", "--like", copied / "theirs.fits")[0] == 0
    with fits.open(copied / "new" / "mosaic.fits") as hdus:
        assert hdus[0].data.shape == (3, 180, 240)
        there = WCS(hdus[0].header, naxis=2)
        assert np.isfinite(hdus[0].data).any()
    np.testing.assert_allclose(
        there.wcs_pix2world([[5, 9], [200, 100]], 0), place.wcs_pix2world([[5, 9], [200, 100]], 0)
    )
    assert np.median(stars_apart(copied / "new", copied / "out")) < 0.15
    told = json.loads((copied / "new" / "mosaic.json").read_text())
    assert told["canvas"]["like"] == "pixels of theirs.fits"
    assert str(copied) not in (copied / "new" / "mosaic.json").read_text()


def test_another_image_that_changed_under_its_name_is_taken_anew(run, copied):
    arguments = "mosaic", copied / "frames", "-o", copied / "new", "--like", copied / "theirs.fits", "--resume"
    for scale in (1.2, 1.3):
        place = WCS(naxis=2)
        place.wcs.ctype, place.wcs.crval, place.wcs.crpix = ["RA---TAN", "DEC--TAN"], [56.6, 24.3], [120.0, 60.0]
        place.wcs.cdelt = -SCALE * scale, SCALE * scale
        fits.writeto(copied / "theirs.fits", np.zeros((120, 120), np.float32), place.to_header(), overwrite=True)
        code, _, err = run(*arguments)
        assert code == (0 if scale == 1.2 else 2)
    assert "the mosaic was made with other pixels of theirs.fits; ask for the same again, start again with" in err[-1]


def test_a_mosaic_whose_cells_are_deleted_is_made_again_as_it_was_or_stays(run, copied):
    out, frames = copied / "out", sorted((copied / "frames").iterdir())
    data = data_of(out)
    shutil.rmtree(out / "cells")
    before = contents(out)
    for words, why in [
        ((*frames, "--match-sky", "offset"), "made with --match-sky plane; ask for the same again"),
        ((*frames[:3],), "made with 8 frames, of which 3 are named here; ask for the same again"),
    ]:
        code, _, err = run("mosaic", *words, "-o", out, "--resume")
        assert code == 2
        assert "solution.npz is gone, and the mosaic was " + why in err[-1]
        assert contents(out) == before
    assert run("mosaic", *frames, "-o", out, "--resume")[0] == 0
    assert data_of(out) == data


def test_a_mosaic_of_another_version_stays_and_what_helps_is_said(run, copied):
    out = copied / "out"
    shutil.rmtree(out / "cells")
    told = json.loads((out / "mosaic.json").read_text())
    (out / "mosaic.json").write_text(json.dumps({**told, "settings": {"engine": "tiles"}}))
    before = contents(out)
    code, _, err = run("mosaic", copied / "frames", "-o", out, "--resume")
    assert code == 2
    assert "made with another version; it stays as it is, with its report: name another DIR" in err[-1]
    assert "ask for the same" not in err[-1]
    assert contents(out) == before
    assert run("mosaic", copied / "frames", "-o", copied / "new", "--config", out / "run.toml")[0] == 0


def test_a_run_with_other_settings_does_not_go_on_from_a_mosaic(run, copied):
    out = copied / "out"
    before = contents(out)
    code, _, err = run("mosaic", copied / "frames", "-o", out, "--resume", "--kappa", 5, "--match-sky", "offset")
    assert code == 2
    assert "--resume cannot go on here: the mosaic was made with no --kappa, --match-sky plane; ask for" in err[-1]
    assert contents(out) == before
    code, _, err = run("mosaic", copied / "frames", "-o", copied / "joined", "--resume")
    assert code == 2
    tile = copied / "joined" / "tiles" / "tile_001" / "tile.fits"
    code, _, err = run("mosaic", "--existing-tiles", tile, "-o", out, "--resume")
    assert code == 2
    assert "holds a mosaic of frames, and these are tiles; start again with --overwrite" in err[-1]
    assert contents(out) == before
    assert run("mosaic", copied / "frames", "-o", out, "--resume", "--picture", "tif")[0] == 0, "which changes no pixel"
    assert sorted(path.name for path in out.glob("mosaic*.*")) == sorted(
        ["mosaic.fits", "mosaic.json", "mosaic.tif", "mosaic_linked.tif"]
    ), "the pictures of another kind are those of before"


@pytest.mark.parametrize(("command", "name"), [("mosaic", "mosaic.fits"), ("tile", "tile.fits")])
def test_a_file_of_somebody_elses_is_in_the_way_whatever_is_asked_for(run, copied, command, name):
    shutil.copytree(copied / "frames", copied / "mine")
    (copied / "mine" / name).write_text("mine")
    for more in ([], ["--overwrite"]):
        code, _, err = run(command, copied / "frames", "-o", copied / "mine", *more)
        assert code == 2
        assert f"{name} is in the way: no earlier run wrote it" in err[-1]


def test_settings_of_a_mosaic_make_a_tile(run, copied):
    one = sorted((copied / "frames").glob("light_0_*"))
    assert run("mosaic", *one, "-o", copied / "new", "--kappa", 5, "--format", "fz")[0] == 0
    config = copied / "new" / "run.toml"
    code, _, err = run("tile", "--config", config, "-o", copied / "tile")
    assert (code, err) == (0, [f"warning: {config}: tile has no use for --format fz"])
    told = json.loads((copied / "tile" / "tile.json").read_text())
    assert (len(told["frames"]), told["stack"]["kappa"]) == (FRAMES, [5, 5])
    code, _, err = run("tile", "--config", copied / "joined" / "run.toml", "-o", copied / "other")
    assert code == 2
    assert "run.toml is of a run that joined master tiles: only mosaic does that" in err[-1]


def test_a_mosaic_has_the_scale_asked_for(run, copied):
    code, _, err = run("mosaic", copied / "frames", "-o", copied / "new", "--scale", 30)
    assert code == 0
    warning = "warning: pixels of 30 arcsec are too coarse for 8 frames of 8: what lies between them is passed over"
    assert len(err) == 1
    assert err[0].startswith(warning)
    assert "not averaged; keep all with --scale 12, and bin the result afterwards" in err[0]
    told = json.loads((copied / "new" / "mosaic.json").read_text())["warnings"]
    assert told == [err[0].removeprefix("warning: ")], "it is not lost with the terminal"
    with fits.open(copied / "new" / "mosaic.fits") as hdus, fits.open(copied / "out" / "mosaic.fits") as usual:
        assert abs(
            WCS(hdus[0].header, naxis=2).celestial.proj_plane_pixel_scales()[0].to_value("arcsec")
        ) == pytest.approx(30)
        assert hdus[0].data.shape[1] == pytest.approx(0.4 * usual[0].data.shape[1], abs=2)
        sky = [np.nanmedian(hdu[0].data[1]) for hdu in (hdus, usual)]
    assert sky[0] == pytest.approx(2.5**2 * sky[1], rel=0.02), "a pixel sees so much more of the sky"
    assert np.median(stars_apart(copied / "new", copied / "out")[:10]) < 0.2


def test_a_packed_mosaic_holds_the_same(run, copied):
    assert run("mosaic", copied / "frames", "-o", copied / "new", "--format", "fz")[0] == 0
    with fits.open(copied / "new" / "mosaic.fits") as packed, fits.open(copied / "out" / "mosaic.fits") as plain:
        assert isinstance(packed[1], fits.CompImageHDU)
        for hdu in plain:
            assert np.array_equal(packed[hdu.name].data, hdu.data, equal_nan=hdu.data.dtype.kind == "f")
    for name in ("mosaic.png", "mosaic_linked.png", "coverage.png"):
        assert (copied / "new" / name).read_bytes() == (copied / "out" / name).read_bytes(), name


def test_a_second_run_wants_to_be_told_and_resumes_to_the_same_bytes(run, copied):
    before = data_of(copied / "out")
    code, _, err = run("mosaic", copied / "frames", "-o", copied / "out")
    assert code == 2
    assert re.search(r"mosaic\.fits exists: add --resume to continue, --overwrite", err[-1])
    (copied / "out" / ".work").mkdir()
    (copied / "out" / ".work" / "left by a killed run").write_text("")
    assert run("mosaic", copied / "frames", "-o", copied / "out", "--resume")[0] == 0
    assert data_of(copied / "out") == before
    assert not (copied / "out" / ".work").exists()


def test_frames_that_are_moved_and_renamed_are_the_same_frames(run, copied):
    out, before, moved = copied / "out", data_of(copied / "out"), copied / "moved"
    moved.mkdir()
    for number, path in enumerate(sorted((copied / "frames").iterdir(), reverse=True)):
        path.rename(moved / f"frame {number:03}.fit")
    assert run("mosaic", moved, "-o", out, "--resume")[0] == 0
    stack = json.loads((out / "mosaic.json").read_text())["stack"]
    assert stack["cells_kept"] == stack["cells"] > 0
    assert data_of(out) == before
    assert run("mosaic", moved, "-o", out, "--overwrite")[0] == 0
    assert data_of(out) == before


def damage(path):
    with open(path, "r+b") as file:
        file.seek(path.stat().st_size // 2)
        file.write(os.urandom(64))


def test_what_is_finished_is_used_again_and_what_is_damaged_is_made_again(run, original, tmp_path):
    """Where the frames are: cells belong to their bytes, not to their place."""
    frames, out = original[0] / "frames", tmp_path / "out"
    shutil.copytree(original[0] / "out", out)
    before = data_of(out)
    cells = {path: path.stat().st_mtime_ns for path in (out / "cells").glob("cell_*")}
    assert cells
    assert run("mosaic", frames, "-o", out, "--resume")[0] == 0
    assert {path: path.stat().st_mtime_ns for path in cells} == cells
    damage(min(cells))
    damage(out / "cells" / "solution.npz")
    assert run("mosaic", frames, "-o", out, "--resume")[0] == 0
    assert data_of(out) == before
    stack = json.loads((out / "mosaic.json").read_text())["stack"]
    assert (stack["cells"], stack["cells_kept"]) == (len(cells), len(cells) - 1)
    again = {path: path.stat().st_mtime_ns for path in cells}
    assert {path for path in cells if again[path] != cells[path]} == {min(cells)}
    (out / "cells" / "notes.txt").write_text("mine")
    assert run("mosaic", frames, "-o", out, "--overwrite", "--combine", "max")[0] == 0
    assert data_of(out) != before
    assert (out / "cells" / "notes.txt").read_text() == "mine"


def test_what_an_earlier_version_left_is_told_from_a_run_that_can_go_on(run, copied):
    """Versions up to 0.2 made tiles first; they stay where they are inputs, and go where a run starts again."""
    old = copied / "joined"
    code, _, err = run("mosaic", copied / "frames", "-o", old, "--resume")
    assert code == 2
    assert "joined holds tiles that an earlier version made of frames" in err[-1]
    assert run("mosaic", copied / "frames", "-o", old, "--overwrite")[0] == 0
    assert data_of(old) == data_of(copied / "out")
    assert not list((old / "tiles").glob("*/tile.*"))


def test_what_an_earlier_run_left_goes_with_it_and_nothing_else(run, copied):
    """Another kind of pictures; not what a user put beside them."""
    (copied / "out" / "notes.txt").write_text("mine")
    one = [*sorted((copied / "frames").glob("light_0_*")), "-o", copied / "out"]
    assert run("mosaic", *one, "--overwrite", "--picture", "tif")[0] == 0
    assert sorted(path.name for path in (copied / "out").glob("mosaic*")) == [
        "mosaic.fits", "mosaic.json", "mosaic.tif", "mosaic_linked.tif",
    ]  # fmt: skip
    (copied / "out" / "mosaic.png").write_text("mine")  # which this run does not write
    assert run("mosaic", *one, "--overwrite", "--picture", "tif")[0] == 0
    code, _, err = run("mosaic", *one, "--overwrite")
    assert code == 2
    assert re.search(r"out/mosaic\.png is in the way: no earlier run wrote it", err[-1].replace(os.sep, "/"))
    (copied / "out" / "mosaic.png").unlink()
    assert run("mosaic", *one, "--overwrite")[0] == 0
    assert not list((copied / "out").glob("*.tif"))
    assert (copied / "out" / "notes.txt").read_text() == "mine"


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["frames", "--like", "nosuch.fits"], "nosuch.fits"),
        (["notes.fit"], "notes.fit"),
        (["frames", "--scale", "0.001"], "scale"),
    ],
)
def test_a_mosaic_stays_until_there_is_a_new_one(run, copied, monkeypatch, words, reason):
    monkeypatch.chdir(copied)
    (copied / "notes.fit").write_text("no frame")
    before = {
        path: path.read_bytes()
        for path in (copied / "out").glob("*.*")
        if path.name not in ("run.toml", "written.json")
    }
    code, _, err = run("mosaic", *words, "-o", "out", "--overwrite")
    assert code != 0
    assert reason in "\n".join(err)
    assert {path: path.read_bytes() for path in before} == before


def test_a_run_that_goes_on_is_told_of_the_old_frames_too(run, copied):
    new = min((copied / "frames").glob("light_*"))
    before = data_of(copied / "out")
    code, _, err = run("mosaic", new, "-o", copied / "out", "--resume")
    assert code == 1
    assert re.search(r"of \d+ frames that the earlier run stacked, 1 are here: name the others, too", err[-1])
    assert data_of(copied / "out") == before


def test_what_was_changed_since_stays(run, copied):
    picture = copied / "out" / "mosaic.png"
    picture.write_bytes(picture.read_bytes()[:-1] + b"!")
    before = contents(copied)
    for again in ("--overwrite", "--resume"):
        code, _, err = run("mosaic", copied / "frames", "-o", copied / "out", again)
        assert code == 2
        assert "mosaic.png is in the way" in err[-1]
        assert contents(copied) == before


def contents(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("through", ["name", "link to the folder", "links to the files"])
def test_tiles_of_the_output_folder_are_joined_anew_and_stay(run, copied, through):
    out, tiles = copied / "joined", copied / "joined" / "tiles"
    named = sorted(tiles.glob("*/tile.fits"))
    if through == "link to the folder":
        (copied / "elsewhere").symlink_to("joined")
        named = [copied / "elsewhere" / path.relative_to(out) for path in named]
    if through == "links to the files":
        for number, path in enumerate(named):
            (copied / f"link_{number}.fits").symlink_to(path)
        named = sorted(copied.glob("link_*.fits"))
    before, joined = contents(tiles), data_of(out)
    assert run("mosaic", "--existing-tiles", *named, "-o", out, "--overwrite", "--join", "median")[0] == 0
    assert contents(tiles) == before
    assert data_of(out) != joined
    assert run("mosaic", "--existing-tiles", *named, "-o", out, "--overwrite")[0] == 0
    assert contents(tiles) == before
    assert data_of(out) == joined


def test_no_input_is_replaced_or_removed(run, copied):
    """An earlier mosaic as a frame, a tile, or whose pixels are meant; links to it."""
    out = copied / "out"
    assert run("tile", copied / "frames" / "light_0_0.fits", "-o", copied / "tile")[0] == 0
    (copied / "linked.fits").symlink_to(out / "mosaic.fits")
    before = contents(copied)
    for command, named, again, said in [
        ("mosaic", [out / "mosaic.fits"], "--overwrite", "mosaic.fits is one of the inputs"),
        ("mosaic", [out / "mosaic.fits"], "--resume", "mosaic.fits is one of the inputs"),
        ("mosaic", ["--existing-tiles", out / "mosaic.fits"], "--overwrite", "mosaic.fits is one of the inputs"),
        ("mosaic", ["--existing-tiles", copied / "linked.fits"], "--overwrite", "mosaic.fits is one of the inputs"),
        ("mosaic", [copied / "frames", "--like", out / "mosaic.fits"], "--resume", "mosaic.fits is one of the inputs"),
    ]:
        code, _, err = run(command, *named, "-o", out, again)
        assert (code, len(err)) == (2, 1), err
        assert said in err[0]
        assert contents(copied) == before
    code, _, err = run("tile", copied / "tile", "-o", copied / "tile", "--overwrite")
    assert code == 2
    assert "no frames there" in err[0]
    assert contents(copied) == before


def test_a_result_that_an_earlier_version_put_among_its_frames_is_gone_on_with(run, copied, monkeypatch):
    """Its mosaic is no frame: it was taken for one, and the second run refused to replace an input."""
    folder = copied / "frames"
    frames = contents(folder)
    assert run("mosaic", folder, "-o", folder)[0] == 2
    assert contents(folder) == frames
    shutil.copytree(copied / "out", folder, dirs_exist_ok=True)
    monkeypatch.chdir(folder)
    first = data_of(folder)
    for again in ("--resume", "--overwrite"):
        code, _, err = run("mosaic", ".", "-o", ".", again)
        assert code == 0
        assert "warning: mosaic.fits ignored: an earlier run made it, and it is made anew" in err
        assert data_of(folder) == first
        assert run("mosaic", *folder.glob("light_*"), "-o", folder, again)[0] == 0
    assert frames.items() <= contents(folder).items()


def test_a_run_may_be_repeated_from_its_own_settings_in_its_own_folder(run, copied):
    config = copied / "out" / "run.toml"
    config.write_text("# mine\n" + config.read_text())
    assert run("mosaic", "--config", config, "-o", copied / "out", "--overwrite")[0] == 0
    assert config.read_text().startswith("# mine\n")


def test_cards_say_of_existing_tiles_what_they_say_themselves(run, copied):
    """How these tiles were made is theirs to say."""
    tiles = sorted((copied / "joined" / "tiles").glob("*/tile.fits"))

    def cards(folder):
        assert run("mosaic", "--existing-tiles", *tiles, "-o", copied / folder)[0] == 0
        settings = json.loads((copied / folder / "mosaic.json").read_text())["settings"]
        assert set(settings) == {"match-tiles", "join", "feather", "interpolation", "format", "picture", "hips"}
        return fits.getheader(copied / folder / "mosaic.fits")

    first = cards("first")
    assert (first["NPA_REJ"], first["NPA_SKYM"]) == ("noise", "plane")
    fits.setval(tiles[0], "NPA_SKYM", value="offset")
    with fits.open(tiles[1], mode="update") as hdus:
        del hdus[0].header["NPA_REJ"]
    second = cards("second")
    assert "NPA_SKYM" not in second
    assert "NPA_REJ" not in second


def test_a_run_is_repeated_from_its_settings(run, copied):
    config = copied / "out" / "run.toml"
    code, _, _ = run("mosaic", "--config", config, "-o", copied / "again", "--combine", "median", copied / "frames")
    assert code == 0
    again = config.read_text().replace('combine = "mean"', 'combine = "median"')
    settings = (copied / "again" / "run.toml").read_text()
    assert re.sub(r'".*frames"', "", settings) == re.sub(r'".*frames"', "", again)


def test_settings_of_an_earlier_version_are_used_and_what_is_gone_is_named(run, copied):
    config = copied / "run.toml"
    config.write_text(
        'picture = "tif"\ntile-frames = 200\nmin-frames = 1\nnorm = "none"\nweight = "none"\ngpu = "off"\n'
    )
    code, _, err = run("mosaic", copied / "frames", "--config", config, "-o", copied / "again")
    assert code == 0
    assert (copied / "again" / "mosaic.tif").exists()
    assert [line for line in err if "earlier version" in line] == [
        f"warning: {config}: options of an earlier version are passed over: --tile-frames, --min-frames, --norm, "
        "--weight (now --weights), --gpu"
    ]
    config.write_text('match-sky = "linear"\n')
    code, _, err = run("mosaic", copied / "frames", "--config", config, "-o", copied / "new")
    assert code == 2
    assert "run.toml: argument --match-sky: invalid choice: 'linear'" in err[-1]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("kappa = [1", "is not a valid TOML file"),
        ("capa = 3", "capa is not an option"),
        ("output = 'x'", "output is not an option"),
        ("[kappa]\nlow = 3", "kappa is not an option"),
        ("kappa = []", "argument --kappa: expected at least one argument"),
        ("kappa = 'much'", "argument --kappa: invalid float value: 'much'"),
        ("frames = 'x.fits'", "frames must be a list"),
        ("flat = 'yes'", "flat takes true or false"),
        ("kappa = true", "kappa takes a value, not true or false"),
        ("x = " + "[" * 100_000, "is not a valid TOML file"),
    ],
)
def test_settings_that_make_no_sense_are_named(run, tmp_path, text, message):
    (tmp_path / "run.toml").write_text(text)
    code, _, err = run("mosaic", "--config", tmp_path / "run.toml", "-o", tmp_path / "out")
    assert code == 2
    assert message in err[-1]
    assert not (tmp_path / "out").exists()


def test_existing_tiles_go_straight_to_the_mosaic(run, copied):
    tiles = sorted((copied / "joined" / "tiles").glob("*/tile.fits"))
    assert run("mosaic", "--existing-tiles", *tiles, "-o", copied / "new", "--format", "fz")[0] == 0
    with fits.open(copied / "new" / "mosaic.fits") as hdus:
        packed = {hdu.name: hdu.data for hdu in hdus[1:]}
        assert isinstance(hdus[1], fits.CompImageHDU)
    with fits.open(copied / "joined" / "mosaic.fits") as hdus:
        for hdu in hdus:
            assert np.array_equal(packed[hdu.name], hdu.data, equal_nan=hdu.name == "RGB")


def test_a_tile_that_cannot_be_read_is_named(run, copied):
    """Its header is whole, and its data are not; ours are all called tile.fits."""
    tiles = sorted((copied / "joined" / "tiles").glob("*/tile.fits"))
    for number, path in enumerate(tiles):
        (copied / f"master_{number}.fits.gz").write_bytes(gzip.compress(path.read_bytes()))
    whole = (copied / "master_1.fits.gz").read_bytes()
    (copied / "master_1.fits.gz").write_bytes(whole[: len(whole) // 2])
    code, _, err = run("mosaic", "--existing-tiles", *sorted(copied.glob("*.gz")), "-o", copied / "new")
    assert code == 1
    assert "master_1.fits: " in err[-1]
    assert not (copied / "new" / "mosaic.fits").exists()


def test_a_tile_is_not_called_by_its_users_name(run, copied, monkeypatch):
    shutil.copy(copied / "joined" / "tiles" / "tile_001" / "tile.fits", copied)
    monkeypatch.chdir(copied)
    for home, name in ((copied.parent, "run"), (copied, "tile")):
        monkeypatch.setenv("HOME" if os.name == "posix" else "USERPROFILE", str(home))
        assert run("mosaic", "--existing-tiles", "tile.fits", "-o", name)[0] == 0
        assert [tile["name"] for tile in json.loads((copied / name / "mosaic.json").read_text())["tiles"]] == [name]


def test_no_path_tells_where_tiles_lie(run, copied, monkeypatch):
    """On Windows there is no relative path from one drive to another, either."""
    tiles = sorted((copied / "joined" / "tiles").glob("*/tile.fits"))

    def no_way(*_):
        raise ValueError("path is on mount 'C:', start on mount 'D:'")

    monkeypatch.setattr(os.path, "relpath", no_way)
    assert run("mosaic", "--existing-tiles", *tiles, "-o", copied / "new")[0] == 0
    files = [tile["file"] for tile in json.loads((copied / "new" / "mosaic.json").read_text())["tiles"]]
    assert files == ["tile.fits", "tile.fits"]
    files = [tile["file"] for tile in json.loads((copied / "joined" / "mosaic.json").read_text())["tiles"]]
    assert files == ["tiles/tile_001/tile.fits", "tiles/tile_002/tile.fits"]


def test_tiles_of_a_folder_are_joined_without_a_mosaic_that_lies_there(run, copied):
    tiles = copied / "joined" / "tiles"
    assert run("mosaic", "--existing-tiles", tiles, "-o", tiles / "joined")[0] == 0
    again = run("mosaic", "--existing-tiles", tiles, "-o", tiles / "joined", "--overwrite")
    assert again[0] == 0
    assert "tiles              2 joined" in again[1]
    code, out, err = run("mosaic", "--existing-tiles", copied / "joined", "-o", copied / "new")
    assert code == 0
    assert (
        "warning: the folder joined is not searched: a run of this program wrote it; name it to use frames in it" in err
    )
    assert "warning: mosaic: it is a mosaic, and there are tiles; left out" in err
    assert data_of(copied / "new") == data_of(tiles / "joined")


def test_zemosaics_master_tiles_are_tiles(run, copied):
    """As ZeMosaic writes them: no COVERAGE, but ALPHA and a number of frames."""
    for number, path in enumerate(sorted((copied / "joined" / "tiles").glob("*/tile.fits"))):
        with fits.open(path) as hdus:
            del hdus["COVERAGE"]
            hdus["ALPHA"].data[:20] = 0
            hdus[0].data = np.nan_to_num(hdus[0].data, nan=0.0)
            hdus[0].header.remove("NPA_ALGN")
            hdus[0].header["HIERARCH MT_NFRAMES"] = 7
            hdus.writeto(copied / f"master_tile_{number:03d}.fits")
    code, out, _ = run("mosaic", "--existing-tiles", copied / "master_tile_*.fits", "-o", copied / "new")
    assert code == 0
    assert "14 in the tiles" in out
    with fits.open(copied / "new" / "mosaic.fits") as hdus:
        assert hdus["COVERAGE"].data.max() == 14
        assert np.nanmin(hdus[0].data) > 200  # what ALPHA hides is no data, not 0


def test_raw_frames_are_no_tiles(run, copied):
    raw = np.random.default_rng(3).integers(300, 400, (40, 60)).astype(np.uint16)
    for name in ("a.fit", "b.fit"):
        fits.PrimaryHDU(raw, fits.Header({"BAYERPAT": "RGGB"})).writeto(copied / name)
    code, _, err = run("mosaic", "--existing-tiles", copied / "a.fit", copied / "b.fit", "-o", copied / "new")
    assert code == 1
    remedy = "it is a raw frame, and no tile: frames are stacked without --existing-tiles"
    assert err[0] == f"warning: a: {remedy}; likewise b; 2 left out"


def test_frames_that_do_not_belong_are_named_and_left_out(run, copied):
    frames = copied / "frames"
    shutil.copy(frames / "light_0_0.fits", frames / "light_0_0_copy.fits")
    with fits.open(frames / "light_0_1.fits") as hdus:
        hdus[0].data[0, 0, 0] += 1
        hdus[0].header["FILTER"] = "Ha"
        hdus.writeto(frames / "filter.fits")
        hdus[0].data[:] = np.random.default_rng(1).normal(400, 5, hdus[0].data.shape)
        del hdus[0].header["FILTER"]
        hdus.writeto(frames / "cloudy_and_solved.fits")
        hdus[0].data[:] = np.nan
        hdus.writeto(frames / "empty.fits")
    np.save(frames / "black.npy", np.zeros((*SHAPE, 3), np.float32))
    (frames / "broken.fits").write_bytes(b"SIMPLE  =   nonsense")
    code, out, err = run("mosaic", frames, "-o", copied / "new")
    assert code == 0
    reasons = {
        "light_0_0_copy.fits": "it is the same as light_0_0.fits",
        "filter.fits": "its filter is Ha",
        "cloudy_and_solved.fits": "no stars",
        "empty.fits": "it holds no finite sample",
        "black.npy": "all its samples are 0",
        "broken.fits": "its header has no end",
    }
    for name, reason in reasons.items():
        assert any(name in line and reason in line and "left out" in line for line in err), (name, err)
    assert "6 left out" in out
    left_out = json.loads((copied / "new" / "mosaic.json").read_text())["left_out"]
    assert set(left_out) == set(reasons)
    assert data_of(copied / "new")["RGB"] == data_of(copied / "out")["RGB"]


def test_a_wrong_solution_in_a_header_does_not_move_its_frame(run, original, copied):
    """Stars say where it lies; most of the headers agree about the sky."""
    frames = copied / "frames"
    fits.setval(frames / "light_0_1.fits", "CRVAL1", value=120.0)
    fits.setval(frames / "light_1_2.fits", "PC1_1", value=1 / 300)  # mirrored
    fits.setval(frames / "light_1_3.fits", "CRPIX1", value=40.0)  # a rough one doubled the stars
    assert run("mosaic", frames, "-o", copied / "new")[0] == 0
    told = json.loads((copied / "new" / "mosaic.json").read_text())
    assert told["left_out"] == {}
    assert (told["registration"]["place"], told["registration"]["approximate"]) == ("own solutions", False)
    assert distance_of_stars(copied / "new", original[1]) < 0.05


def test_nothing_tells_where_or_whose_the_frames_are(run, copied):
    """Neither outputs, but for the settings, nor warnings: no path, no site, no observer."""
    for number, path in enumerate(sorted((copied / "frames").iterdir())):
        for name, value in {"SITELAT": 48.858372, "OBSERVER": "Jane Doe", "HISTORY": "from /home/jane"}.items():
            fits.setval(path, name, value=value)
        if not number:
            (copied / "frames" / "night").mkdir()
            shutil.copy(path, copied / "frames" / "night")
    (copied / "frames" / "broken.fits").write_bytes(b"no image")
    code, _, err = run("mosaic", copied / "frames", copied / "frames" / "night", "-o", copied / "new")
    assert code == 0
    assert len(err) >= 2  # that the copy and what is no image are left out
    written = b"".join(
        path.read_bytes() for path in (copied / "new").rglob("*.*") if path.is_file() and path.name != "run.toml"
    )
    for private in (str(copied), "48.858", "Jane", "/home"):
        assert private.encode() not in written
        assert private not in "".join(err)


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["nowhere"], 2, "nowhere: there is no such file or folder"),
        ([], 2, "no frames: name files"),
        (["frames", "--scale", "0"], 2, "--scale takes a number from 0.01 to 900, not 0"),
        (["frames", "--feather", "0.7"], 2, "--feather takes a number from 0 to 0.5, not 0.7"),
        (["frames", "--feather", "0.1"], 2, "--feather has no effect here: it is for --existing-tiles"),
        (["frames", "--existing-tiles", "--scale", "9"], 2, "--scale has no effect here: it is for frames"),
        (["frames", "--existing-tiles", "--reject", "none"], 2, "--reject has no effect here: it is for frames"),
        (["frames", "--like", "run/out/mosaic.fits", "--scale", "9"], 2, "--like says all of the pixels"),
        (["frames", "--like", "nowhere.fits"], 2, "--like nowhere.fits: there is no such file"),
        (["frames", "--like", "frames/../plain.fits"], 2, "its header has no place on the sky (WCS)"),
        (["frames", "--canvas", "reference", "--scale", "9"], 2, "--scale is for --canvas all"),
        (["frames", "--canvas", "reference", "--reference", "x"], 2, "--reference x is not among the 8 frames given"),
        (["frames", "--scale", "0.001"], 2, "--scale takes a number from 0.01 to 900, not 0.001"),
        (["frames", "--scale", "200"], 2, "makes no picture of frames of"),
        (["frames", "--resume", "--overwrite"], 2, "not allowed with argument"),
        (["frames/light_0_0.fits", "--existing-tiles", "-o", "frames/light_0_0.fits"], 2, "is a file"),
    ],
)
def test_wrong_usage_is_named_and_nothing_is_left(run, copied, monkeypatch, arguments, code, message):
    monkeypatch.chdir(copied)
    fits.writeto("plain.fits", np.zeros((9, 9), np.float32))
    got, _, err = run("mosaic", "-o", "new", *arguments)
    assert got == code
    assert message in err[-1]
    assert not (copied / "new").exists()


@pytest.mark.parametrize("command", ["mosaic", "tile"])
def test_a_refused_run_leaves_all_as_it_was(run, copied, command):
    (copied / "bad").mkdir()
    (copied / "bad" / "empty.fit").touch()
    assert run(command, copied / "bad", "-o", copied / "some" / "where")[0] == 1
    assert not (copied / "some").exists()
    assert run(command, copied / "frames", "-o", copied / "old")[0] == 0
    before = contents(copied / "old")
    assert run(command, copied / "bad", "-o", copied / "old", "--overwrite")[0] == 1
    kept = {path for path in before if not path.name.startswith("cell_")}
    assert contents(copied / "old") == {path: before[path] for path in kept}


@pytest.mark.parametrize("command", [["mosaic", "--resume"], ["tile", "--overwrite"]])
def test_two_runs_do_not_share_a_folder(copied, command):
    from nanstack.io.files import exclusive

    folder = copied / ("out" if command[0] == "mosaic" else "tile")
    with exclusive(folder):
        child = subprocess.run(
            [sys.executable, "-m", "zemosaic_patch", *command, copied / "frames", "-o", folder],
            capture_output=True, text=True, timeout=120,
        )  # fmt: skip
    assert child.returncode == 2
    assert "is in use by another run" in child.stderr
    assert not (folder / ".lock").exists()


@pytest.mark.skipif(os.name != "posix", reason="signals are POSIX's")
@pytest.mark.parametrize("sent", ["SIGINT", "SIGTERM", "SIGKILL"])
def test_a_stopped_run_leaves_nothing_half_written_and_goes_on(run, copied, sent):
    sent = getattr(signal, sent)  # Windows has no SIGKILL
    out = copied / "new"
    child = subprocess.Popen(
        [sys.executable, "-m", "zemosaic_patch", "mosaic", copied / "frames", "-o", out],
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    deadline = time.monotonic() + 120
    while not list(out.glob("cells/*")) and child.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)
    child.send_signal(sent)
    _, err = child.communicate(timeout=60)
    assert "Traceback" not in err
    told = "stopped by the user; what is finished is kept: the same command with --resume goes on from there"
    assert (told in err) == (sent == signal.SIGINT)
    assert child.returncode == {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGKILL: -9}[sent]
    assert not (out / "mosaic.fits").exists()
    if sent != signal.SIGKILL:
        assert not (out / ".work").exists()
    assert run("mosaic", copied / "frames", "-o", out, "--resume")[0] == 0
    assert data_of(out) == data_of(copied / "out")
    assert not [path.name for path in out.iterdir() if path.name.startswith(".")]


def test_a_disk_without_room_for_the_mosaic_is_told_before_the_work(run, copied, monkeypatch):
    image = (copied / "out" / "mosaic.fits").stat().st_size  # its parts and pictures take more than that again
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: SimpleNamespace(free=2 * image))
    code, _, err = run("mosaic", copied / "frames", "-o", copied / "new")
    assert code == 1
    assert re.search(r"\d+ x \d+ pixels take \d+ MiB on the disk, which has \d+ MiB free: make room", err[-1])
    assert not list((copied / "new").glob("mosaic*"))


@pytest.mark.skipif(sys.version_info < (3, 11), reason="reproject writes them from Python 3.11 on")
def test_a_mosaic_has_its_tiles_of_the_sky_as_long_as_they_are_asked_for(run, copied):
    out, words = copied / "out", ("mosaic", copied / "frames", "-o", copied / "out")
    (out / "hips").mkdir()
    (out / "hips" / "mine.txt").write_text("mine", encoding="utf-8")
    code, _, err = run(*words, "--resume", "--hips")
    assert (code, "hips is in the way" in err[-1]) == (2, True)
    (out / "hips" / "mine.txt").unlink()
    data = data_of(out)
    code, said, _ = run(*words, "--resume", "--hips")
    assert code == 0
    assert re.search(r"^time .* s hips$", said, re.MULTILINE)
    assert "obs_title            = M 45\n" in (out / "hips" / "properties").read_text(encoding="utf-8")
    code, _, err = run(*words, "--resume")
    assert (code, data_of(out)) == (0, data)
    assert any("hips is of an earlier run" in line for line in err)
    tiles = {path: path.read_bytes() for path in (out / "hips").glob("Norder*/*/*.png")}
    assert tiles
    assert run(*words, "--overwrite")[0] == 0
    assert not (out / "hips").exists()
    code, said, _ = run("hips", out)
    assert (code, str(out / "hips") in said) == (0, True)
    assert {path: path.read_bytes() for path in tiles} == tiles
    code, _, err = run("hips", copied / "frames")
    assert (code, "mosaic.fits" in err[-1]) == (1, True)
