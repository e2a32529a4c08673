# SPDX-License-Identifier: GPL-3.0-or-later
"""A stack written strip by strip: astropy reads what was given, and little memory is needed for it."""

import errno
import os
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from astropy.wcs import WCS

from nanstack.canvas import reference_canvas, union_canvas
from nanstack.io.canvas_fits import write_canvas
from nanstack.register.camera import Camera, View, direction_of, local_axes
from nanstack.stack.stacked import StackedCell

pytestmark = pytest.mark.numpy_bytes

SHAPE = (61, 83)  # odd: words of the checksum begin within numbers of 16 and of 8 bits
PLANES = ("image", "coverage", "weight", "variance")


def stacked(shape=SHAPE, channels=3):
    """Return a whole stack with a corner without data."""
    random = np.random.default_rng(5)
    colours = (*shape, channels)
    image = random.normal(500, 5, colours).astype(np.float32)
    coverage = random.integers(1, 60_000, shape).astype(np.uint16)
    image[:9, :7], coverage[:9, :7] = np.nan, 0
    variance = np.where(np.isnan(image), np.nan, random.random(colours)).astype(np.float32)
    return StackedCell(image, coverage, random.random(shape, dtype=np.float32), variance, 0, 0)


def strips(whole, height):
    for top in range(0, len(whole.image), height):
        yield top, StackedCell(*(getattr(whole, name)[top : top + height] for name in PLANES), 0, 0)


def looking(ra=83.6, dec=22.0, mirrored=False):
    """Return a view whose y grows to the north, or the south."""
    axis = direction_of(ra, dec)
    east, north = local_axes(axis)
    attitude = np.stack([-east, -north if mirrored else north, axis])
    return View(Camera(SHAPE, 206265 / 2.4, radial=0.3), attitude)


def write(path, whole, height=16, **more):
    channels = whole.image.shape[2]
    write_canvas(path, whole.coverage.shape, channels, strips(whole, height), **more)


@pytest.fixture
def opened():
    """Open files as a strict reader: a wrong checksum, or anything against the standard, is an error."""
    files = []

    def open_file(path):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            files.append(fits.open(path, checksum=True))
            for hdu in files[-1]:
                hdu.verify("exception")
        return files[-1]

    yield open_file
    for file in files:
        file.close()


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("channels", [1, 3])
def test_a_stack_comes_back_from_its_file(tmp_path, opened, channels, packed):
    whole = stacked(channels=channels)
    write(tmp_path / "a.fits", whole, packed=packed)
    file = opened(tmp_path / "a.fits")
    image = file[1 if packed else 0].data
    first = (slice(None),) * 2 if channels == 1 else np.s_[:]
    assert image.shape == (SHAPE if channels == 1 else (channels, *SHAPE))
    for name, data in [("image", image), ("variance", file["VARIANCE"].data)]:
        there = np.moveaxis(getattr(whole, name), 2, 0)
        assert np.array_equal(data, there[0] if channels == 1 else there[first], equal_nan=True), name
    assert np.array_equal(file["COVERAGE"].data, whole.coverage)
    assert np.array_equal(file["WEIGHT"].data, whole.weight)
    assert [path.name for path in tmp_path.iterdir()] == ["a.fits"]


@pytest.mark.parametrize("packed", [False, True])
def test_the_bytes_do_not_hang_on_the_strips(tmp_path, packed):
    whole, paths = stacked(), []
    for height in (1, 7, 16, SHAPE[0]):
        paths.append(tmp_path / f"{height}.fits")
        write(paths[-1], whole, height, alpha=True, packed=packed, wcs=looking().wcs())
    assert len({path.read_bytes() for path in paths}) == 1


def test_a_tile_has_the_alpha_that_zemosaic_reads(tmp_path, opened):
    whole = stacked()
    write(tmp_path / "tile.fits", whole, alpha=True)
    file = opened(tmp_path / "tile.fits")
    assert [hdu.name for hdu in file] == ["RGB", "ALPHA", "COVERAGE", "WEIGHT", "VARIANCE"]
    assert file["ALPHA"].data.dtype == np.uint8
    assert np.array_equal(file["ALPHA"].data, np.where(np.isnan(whole.image[..., 0]), 0, 255))


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("packed", [False, True])
def test_every_image_knows_its_place_on_the_sky(tmp_path, opened, channels, packed):
    view = looking()
    write(tmp_path / "a.fits", stacked(channels=channels), wcs=reference_canvas(view).wcs(), packed=packed)
    x, y = np.meshgrid([0.0, 40.0, 82.0], [0.0, 30.0, 60.0])
    directions = view.directions(x, y)
    file = opened(tmp_path / "a.fits")
    for name in (1 if packed else 0, "COVERAGE", "WEIGHT", "VARIANCE"):
        header = file[name].header
        assert {"CD1_1", "CD1_2", "CD2_1", "CD2_2"} <= set(header), name
        assert not {"CDELT1", "PC1_1", "CROTA2"} & set(header), name
        ra, dec = WCS(header, naxis=2).all_pix2world(x, y, 0)
        there = np.moveaxis(direction_of(ra.reshape(-1), dec.reshape(-1)), 0, -1).reshape(directions.shape)
        assert np.abs(there - directions).max() < 1e-3 * np.radians(2.4 / 3600), name


def test_a_canvas_of_the_sky_is_the_right_way_round(tmp_path, opened):
    """Its first row at the bottom of the screen, or with TOP-DOWN at the top, north is up, and east to the left."""
    canvas = union_canvas([looking(mirrored=True)])
    write(tmp_path / "canvas.fits", stacked(canvas.shape), wcs=canvas.wcs())
    write(tmp_path / "frame.fits", stacked(), wcs=reference_canvas(looking(mirrored=True)).wcs())
    for name, order in [("canvas", "BOTTOM-UP"), ("frame", "TOP-DOWN")]:
        header = opened(tmp_path / f"{name}.fits")[0].header
        assert header["ROWORDER"] == order
        up = 1 if order == "BOTTOM-UP" else -1
        ra, dec = WCS(header, naxis=2).all_pix2world([40, 41, 40], [30, 30, 30 + up], 0)
        assert dec[2] > dec[0]
        assert ra[1] < ra[0]


def test_cards_of_the_end_are_in_the_header(tmp_path, opened):
    last = {f"NPA_{number:02d}": (number, "known last") for number in range(36)}
    said = []

    def told():
        yield from strips(stacked(), 16)
        said.append("all strips are written")

    write_canvas(
        tmp_path / "a.fits", SHAPE, 3, told(), cards={"OBJECT": ("M 1", "a cloud"), "BUNIT": "electron"},
        closing=lambda: last if said else {}, correlation=(4.5, 2.25, 4.5),
    )  # fmt: skip
    file = opened(tmp_path / "a.fits")
    header = file[0].header
    assert header["OBJECT"] == "M 1"
    assert header.comments["OBJECT"] == "a cloud"
    assert header["BUNIT"] == "electron"
    assert [header[name] for name in last] == list(range(36))
    assert [file["VARIANCE"].header[f"NPA_COR{plane}"] for plane in (1, 2, 3)] == [4.5, 2.25, 4.5]
    assert "NPA_CORc" in str(file["VARIANCE"].header["COMMENT"])
    write(tmp_path / "b.fits", stacked())
    assert "NPA_CORc" not in str(opened(tmp_path / "b.fits")["VARIANCE"].header["COMMENT"]), "nothing is known of it"
    with pytest.raises(ValueError, match="cards at the end"):
        write(tmp_path / "c.fits", stacked(), closing=lambda: {f"X{number}": 1 for number in range(80)})
    assert not (tmp_path / "c.fits").exists()


@pytest.mark.parametrize(
    "wrong",
    [
        lambda parts: parts[:-1],
        lambda parts: parts[1:],
        lambda parts: [parts[1], parts[0], *parts[2:]],
        lambda parts: [*parts, parts[-1]],
        lambda parts: [(top, StackedCell(*(getattr(p, n)[:, 1:] for n in PLANES), 0, 0)) for top, p in parts],
    ],
)
def test_strips_that_do_not_make_the_whole_make_no_file(tmp_path, wrong):
    with pytest.raises(ValueError, match="strip"):
        write_canvas(tmp_path / "a.fits", SHAPE, 3, wrong(list(strips(stacked(), 16))))
    assert not list(tmp_path.iterdir())


WRITE_UNDER_A_LIMIT = """
import errno, resource, signal, sys
from pathlib import Path
from tests.nanstack.io.test_canvas_fits import stacked, write
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # a write beyond the limit fails, as on a full disk
whole = stacked((200, 300))
for limit in (400_000, 3_000):
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
    for packed in (False, True):
        try:
            write(Path(sys.argv[1]), whole, packed=packed)
        except OSError as error:
            print(errno.errorcode[error.errno])
"""


@pytest.mark.skipif(os.name != "posix", reason="limits of files are POSIX's")
def test_a_disk_that_ends_leaves_nothing(tmp_path):
    arguments = [sys.executable, "-c", WRITE_UNDER_A_LIMIT, tmp_path / "a.fits"]
    told = subprocess.run(arguments, capture_output=True, text=True, check=True, cwd=Path(__file__).parents[3])
    assert told.stdout.split() == ["EFBIG"] * 4, told.stderr
    assert not list(tmp_path.iterdir())


def test_a_full_disk_is_told_in_our_words(tmp_path, monkeypatch):
    def full(file, data):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("nanstack.io.fits_images.write_all", full)
    with pytest.raises(OSError, match="the disk is full") as error:
        write(tmp_path / "a.fits", stacked())
    assert error.value.errno == errno.ENOSPC
    assert not list(tmp_path.iterdir())


WRITE_LARGE = """
import resource, sys
import numpy as np
from nanstack.io.canvas_fits import write_canvas
from nanstack.stack.stacked import StackedCell
import astropy.io.fits, astropy.wcs
rows, width, height = 50, 2000, 2000
ones = np.ones((rows, width, 3), np.float32)
part = StackedCell(ones, np.ones((rows, width), np.uint16), ones[..., 0], ones, 0, 0)
unit = 1 if sys.platform == "darwin" else 1024
before = unit * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
write_canvas(sys.argv[1], (height, width), 3, ((top, part) for top in range(0, height, rows)))
print(unit * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


@pytest.mark.skipif(os.name != "posix", reason="the memory that a process took is asked of POSIX")
def test_memory_holds_a_strip_not_the_whole(tmp_path):
    """Of 120 MB; a strip has 3."""
    arguments = [sys.executable, "-c", WRITE_LARGE, tmp_path / "large.fits"]
    told = subprocess.run(arguments, capture_output=True, text=True, check=True, cwd=Path(__file__).parents[3])
    assert int(told.stdout) < 8 * 2**20
    assert (tmp_path / "large.fits").stat().st_size > 4e6 * 30
    (tmp_path / "large.fits").unlink()
