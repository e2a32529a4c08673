# SPDX-License-Identifier: GPL-3.0-or-later
"""A mosaic as tiles of the sky: each pixel of theirs shows what the mosaic has there, by astropy-healpix."""

import json
import shutil
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest
import scipy.ndimage
from astropy import units as u
from astropy.io import fits
from astropy.wcs import WCS, Sip
from astropy_healpix import HEALPix, uniq_to_level_ipix
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from nanstack.progress import Quiet
from zemosaic_patch.commands.output import own_folder
from zemosaic_patch.errors import FailureError, UsageError
from zemosaic_patch.hips.about import write_coverage
from zemosaic_patch.hips.folder import HIPS, check_hips, write_hips
from zemosaic_patch.hips.grid import TILE
from zemosaic_patch.outputs import record
from zemosaic_patch.pictures import levels_of, screen_stretches

pytestmark = pytest.mark.skipif(sys.version_info < (3, 11), reason="reproject writes them from Python 3.11 on")

HEIGHT, WIDTH = 90, 130
SCALE_ARCSEC = 6.0
PERIOD = 20  # pixels, of the scene's hills
MOST = 2  # levels of 255 that a tile may be off: where hills are steepest, they rise ten in a pixel
PLACES = {  # of the mosaic's middle, right ascension and declination
    "across RA 0": (0.0, 12.0),
    "on the equator, across a corner of four base tiles": (45.0, 0.0),
    "across RA 180, where the grid's plane ends": (180.0, 0.0),
    "on the north pole": (40.0, 89.98),
    "far south": (266.4, -70.0),
}


def scene(x, y):
    """Return a level at places in pixels: hills and valleys, of three heights for as many colours."""
    hills = np.sin(x * 2 * np.pi / PERIOD) * np.cos(y * 2 * np.pi / PERIOD)
    return 1000 + np.multiply.outer(hills, np.float32([100, 200, 300]))


def write_mosaic(folder, place, colours=3, nothing=None, name="M 45", bend=0.0):
    """Write a mosaic of the scene, without data where asked for, as far as a HiPS is made of it."""
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = "RA---TAN", "DEC--TAN"
    wcs.wcs.crval = place
    wcs.wcs.crpix = (WIDTH + 1) / 2, (HEIGHT + 1) / 2
    wcs.wcs.cdelt = -SCALE_ARCSEC / 3600, SCALE_ARCSEC / 3600
    if bend:
        wcs.wcs.ctype = "RA---TAN-SIP", "DEC--TAN-SIP"
        a, b = np.zeros((2, 4, 4))
        a[3, 0] = a[1, 2] = b[0, 3] = b[2, 1] = bend
        wcs.sip = Sip(a, b, None, None, wcs.wcs.crpix)
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    image = np.float32(scene(x, y))[..., :colours]
    if nothing is not None:
        image[nothing] = np.nan
    header = wcs.to_header(relax=True)
    header["OBJECT"], header["DATE-OBS"], header["DATE-END"] = name, "2024-01-01T18:00:00", "2024-01-02T06:00:00"
    planes = np.moveaxis(image, 2, 0) if colours > 1 else image[..., 0]
    covered = fits.ImageHDU(np.ones((HEIGHT, WIDTH), np.int32), name="COVERAGE")
    folder.mkdir(exist_ok=True)
    fits.HDUList([fits.PrimaryHDU(planes, header), covered]).writeto(folder / "mosaic.fits")
    record(folder, ["mosaic.fits"])
    return wcs, image


def hips_of(folder, progress):
    """Write its tiles as the commands do."""
    with own_folder(folder):
        check_hips(folder)
        return write_hips(folder, progress)


def told_by(hips):
    lines = (hips / "properties").read_text(encoding="utf-8").splitlines()
    return {key.strip(): value.strip() for key, value in (line.split("=", 1) for line in lines)}


def seen_at(hips, order, ra, dec):
    """Return the tiles' RGBA at places, and the places of the pixels' middles there.

    A pixel's number in the nested grid is its tile's, then bits of its row from the top and its column in turn.
    """
    grid = HEALPix(nside=TILE * 2**order, order="nested")
    numbers = grid.lonlat_to_healpix(ra * u.deg, dec * u.deg)
    tiles, within = np.divmod(numbers, TILE**2)
    rows, columns = (sum((within >> 2 * bit + odd & 1) << bit for bit in range(9)) for odd in (0, 1))
    seen = np.zeros((len(ra), 4), int)
    for tile in np.unique(tiles):
        path = hips / f"Norder{order}" / f"Dir{tile // 10000 * 10000}" / f"Npix{tile}.png"
        if path.exists():
            here = tiles == tile
            seen[here] = np.asarray(Image.open(path))[rows[here], columns[here]]
    middle = grid.healpix_to_lonlat(numbers)
    return seen, np.stack([angle.to_value(u.deg) for angle in middle], axis=1)


@pytest.mark.parametrize("bend", [0.0, 1e-5], ids=["plain", "as bent as a lens makes it"])
@pytest.mark.parametrize("place", PLACES.values(), ids=PLACES)
def test_a_tile_shows_what_the_mosaic_has_at_the_same_place_on_the_sky(tmp_path, place, bend):
    wcs, image = write_mosaic(tmp_path / "out", place, colours=1, bend=bend)
    hips = hips_of(tmp_path / "out", Quiet())
    order = int(told_by(hips)["hips_order"])
    rng = np.random.default_rng(1)
    around = rng.uniform(-20, (WIDTH + 20, HEIGHT + 20), (20_000, 2))
    seen, middles = seen_at(hips, order, *wcs.all_pix2world(around, 0).T)
    x, y = wcs.all_world2pix(middles, 0, quiet=True).T
    inside = (x > 0) & (x < WIDTH - 1) & (y > 0) & (y < HEIGHT - 1)
    outside = (x < -1) | (x > WIDTH) | (y < -1) | (y > HEIGHT)
    assert inside.sum() > 5000
    assert outside.sum() > 5000
    assert (seen[inside, 3] == 255).all()
    assert (seen[outside] == 0).all(), "no data is clear, not black"
    wanted = levels_of(screen_stretches(image)[0](np.float32(scene(x, y))[:, np.newaxis, :1]))[:, 0].astype(int)
    assert np.ptp(wanted[inside]) > 50
    assert np.abs(seen[inside, :3] - wanted[inside]).max() <= MOST


@pytest.fixture(scope="module")
def holed(tmp_path_factory):
    """A mosaic in colour with a hole, and its tiles."""
    folder = tmp_path_factory.mktemp("hips") / "out"
    hole = np.zeros((HEIGHT, WIDTH), bool)
    hole[30:60, 40:70] = True
    wcs, image = write_mosaic(folder, (83.0, -5.0), nothing=hole)
    hips_of(folder, Quiet())
    return folder, wcs, image


def test_colours_are_the_pictures_and_holes_are_clear(holed):
    folder, wcs, image = holed
    rng = np.random.default_rng(2)
    seen, middles = seen_at(
        folder / HIPS,
        int(told_by(folder / HIPS)["hips_order"]),
        *wcs.wcs_pix2world(rng.uniform(1, (WIDTH - 2, HEIGHT - 2), (10_000, 2)), 0).T,
    )
    x, y = wcs.wcs_world2pix(middles, 0).T
    in_hole = (x > 39) & (x < 70) & (y > 29) & (y < 60)
    beside = (x < 39) | (x > 70) | (y < 29) | (y > 60)
    assert (seen[in_hole] == 0).all()
    assert (seen[beside, 3] == 255).all()
    wanted = levels_of(screen_stretches(image)[0](np.float32(scene(x, y))[:, np.newaxis]))[:, 0].astype(int)
    assert np.abs(seen[beside, :3] - wanted[beside]).max() <= MOST


def test_every_order_down_to_the_first_shows_the_middle(holed):
    folder, wcs, _ = holed
    middle = wcs.wcs_pix2world([[20, 20]], 0).T
    for order in range(int(told_by(folder / HIPS)["hips_order"]) - 2, -1, -1):
        tile = HEALPix(nside=2**order, order="nested").lonlat_to_healpix(*(middle * u.deg))[0]
        drawn = np.asarray(Image.open(folder / HIPS / f"Norder{order}" / "Dir0" / f"Npix{tile}.png"))
        assert drawn.shape == (TILE, TILE, 4)
        shown = drawn[drawn[..., 3] == 255]
        assert 0 < len(shown) < TILE**2
        assert (shown[:, :3] > 0).all(), "what is seen is not mixed with what is not"


def test_properties_are_those_of_the_standard_and_tell_no_place_of_the_users(holed):
    folder, _, _ = holed
    told = told_by(folder / HIPS)
    required = ("creator_did", "obs_title", "dataproduct_type", "hips_version", "hips_release_date", "hips_status",
                "hips_tile_format", "hips_order", "hips_tile_width", "hips_frame")  # fmt: skip
    assert all(told[key] for key in required)
    assert (told["hips_frame"], told["hips_tile_format"], told["obs_title"]) == ("equatorial", "png", "M 45")
    side = HEALPix(nside=TILE * 2 ** int(told["hips_order"])).pixel_resolution.to_value(u.deg)
    assert float(told["hips_pixel_scale"]) == pytest.approx(side, rel=1e-4)
    assert side * 3600 <= 1.1 * SCALE_ARCSEC < 2 * side * 3600
    assert abs(float(told["hips_initial_ra"]) - 83) + abs(float(told["hips_initial_dec"]) + 5) < 0.01
    across = np.hypot(HEIGHT, WIDTH) * SCALE_ARCSEC / 3600
    assert float(told["hips_initial_fov"]) == pytest.approx(across, rel=1e-3)
    assert told["dataproduct_subtype"] == "color"
    assert (told["t_min"], told["t_max"]) == ("60310.75000", "60311.25000")
    assert not any(
        str(folder.parent).encode() in path.read_bytes() for path in (folder / HIPS).iterdir() if path.is_file()
    )


def test_of_one_colour_there_is_no_subtype(tmp_path):
    """The standard knows colour, and no word for its absence."""
    write_mosaic(tmp_path / "out", (10.0, 10.0), colours=1)
    assert "dataproduct_subtype" not in told_by(hips_of(tmp_path / "out", Quiet()))


def cells_of(moc):
    """Return the orders and numbers of the cells of a MOC, which are told as number + 4 * 4**order."""
    with fits.open(moc) as hdus:
        assert (hdus[1].header["ORDERING"], hdus[1].header["COORDSYS"]) == ("NUNIQ", "C")
        return uniq_to_level_ipix(hdus[1].data["UNIQ"])


def test_coverage_is_told_by_cells_of_which_each_holds_data(holed):
    folder, wcs, image = holed
    orders, numbers = cells_of(folder / HIPS / "Moc.fits")
    finest = int(told_by(folder / HIPS)["hips_order"]) + 4
    assert orders.max() == finest
    rng = np.random.default_rng(3)
    x, y = rng.uniform(-180, (WIDTH + 180, HEIGHT + 180), (20_000, 2)).T
    lon, lat = wcs.wcs_pix2world(x, y, 0) * u.deg
    told = np.zeros(len(x), bool)
    for order in np.unique(orders):
        at = HEALPix(nside=2**order, order="nested").lonlat_to_healpix(lon, lat)
        told |= np.isin(at, numbers[orders == order])
    data = np.pad(np.isfinite(image[..., 0]), 200)
    off = scipy.ndimage.distance_transform_edt(~data)[np.rint(y).astype(int) + 200, np.rint(x).astype(int) + 200]
    across = 2 * HEALPix(nside=2**finest).pixel_resolution.to_value(u.arcsec) / SCALE_ARCSEC
    inside = (x > 0) & (x < WIDTH - 1) & (y > 0) & (y < HEIGHT - 1) & (off == 0)
    assert told[inside].mean() > 0.999, "all but where a neighbour has no data"
    assert not told[off > across].any()
    assert (off > across).sum() > 5000
    share = (4.0**-orders).sum() / 12
    assert float(told_by(folder / HIPS)["moc_sky_fraction"]) == pytest.approx(share, rel=1e-3)


@given(st.lists(st.integers(0, 12 * 4**4 - 1)), st.booleans())
def test_cells_of_a_coverage_are_as_few_as_can_be(numbers, several):
    """Each four that make a coarser one are that one; together they are what was given."""
    cells = np.unique(np.array(numbers, np.int64) % (200 if several else 12 * 4**4))
    if several:
        cells = np.setdiff1d(np.arange(200), cells)
    with tempfile.TemporaryDirectory() as folder:
        write_coverage(Path(folder, "Moc.fits"), cells, 4)
        orders, numbers = cells_of(Path(folder, "Moc.fits"))
    finest = [
        np.arange(number * 4 ** (4 - order), (number + 1) * 4 ** (4 - order))
        for order, number in zip(orders, numbers, strict=True)
    ]
    np.testing.assert_array_equal(np.sort(np.concatenate([*finest, np.empty(0, int)])), cells)
    for order in range(1, 5):
        assert np.unique(numbers[orders == order] >> 2, return_counts=True)[1].max(initial=0) < 4


def test_the_whole_sky_shows_the_mosaic_where_it_is(holed):
    folder, wcs, _ = holed
    sky = np.asarray(Image.open(folder / HIPS / "Norder3" / "Allsky.png"))
    assert sky.shape == (29 * 64, 27 * 64, 4)
    tile = HEALPix(nside=8, order="nested").lonlat_to_healpix(*(wcs.wcs_pix2world([[20, 20]], 0).T * u.deg))[0]
    row, column = (part * 64 for part in divmod(tile, 27))
    assert sky[row : row + 64, column : column + 64, 3].any()
    sky = sky.copy()
    sky[row : row + 64, column : column + 64] = 0
    assert not sky.any(), "the rest of the sky is clear"


def test_the_page_is_safe_from_what_a_picture_is_called(tmp_path):
    name = "</title><script>alert('M 45')</script>"
    write_mosaic(tmp_path / "out", (10.0, 10.0), colours=1, name=name)
    page = (hips_of(tmp_path / "out", Quiet()) / "index.html").read_text(encoding="utf-8")
    assert "&lt;script&gt;alert(" in page
    assert "<script>alert" not in page


def files_in(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_another_run_replaces_it_and_leaves_nothing_else(holed, tmp_path):
    folder = shutil.copytree(holed[0], tmp_path / "out")
    before = files_in(folder)
    hips_of(folder, Quiet())
    after = files_in(folder)
    assert after.keys() == before.keys()
    assert all(after[name] == before[name] for name in before if name.endswith(".png"))


@pytest.mark.parametrize("name", ["mine.txt", "Norder3/mine.png", "properties"])
def test_what_is_the_users_is_in_the_way(holed, tmp_path, name):
    folder = shutil.copytree(holed[0], tmp_path / "out")
    (folder / HIPS / name).write_text("mine", encoding="utf-8")
    before = files_in(folder)
    with pytest.raises(UsageError, match=HIPS):
        hips_of(folder, Quiet())
    assert files_in(folder) == before


class Stopping(Quiet):
    """Stops the run at a step, as Ctrl-C does."""

    def step(self, name, done, total):
        if done == total:
            raise KeyboardInterrupt


def test_a_stopped_run_leaves_the_earlier_one(holed, tmp_path, as_windows):
    folder = shutil.copytree(holed[0], tmp_path / "out")
    before = files_in(folder)
    with pytest.raises(KeyboardInterrupt):
        hips_of(folder, Stopping())
    assert files_in(folder) == before


def test_without_a_place_on_the_sky_there_is_none(tmp_path):
    write_mosaic(tmp_path / "out", (10.0, 10.0), colours=1)
    with fits.open(tmp_path / "out" / "mosaic.fits", mode="update") as hdus:
        for card in ("CTYPE1", "CTYPE2"):
            del hdus[0].header[card]
    with pytest.raises(FailureError, match="where on the sky"):
        hips_of(tmp_path / "out", Quiet())
    assert not (tmp_path / "out" / HIPS).exists()


def test_a_reproject_that_is_missing_or_old_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr("reproject.__version__", "0.18.1")
    with pytest.raises(FailureError, match=r"reproject 0\.21 or newer.*this one is 0\.18\.1"):
        check_hips(tmp_path)
    monkeypatch.setitem(sys.modules, "reproject.hips", None)
    with pytest.raises(FailureError, match="reproject.hips"):
        check_hips(tmp_path)


def test_a_disk_without_room_is_told_before_the_work(holed, tmp_path, monkeypatch):
    folder = shutil.copytree(holed[0], tmp_path / "out")
    full = shutil._ntuple_diskusage(2**20, 2**20, 0)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: full)
    with pytest.raises(FailureError, match="make room"):
        hips_of(folder, Quiet())


def written_names(folder):
    return json.loads((Path(folder) / "written.json").read_text(encoding="utf-8"))["files"]


def test_all_of_its_files_are_on_its_list(holed):
    hips = holed[0] / HIPS
    assert set(written_names(hips)) == set(files_in(hips)) - {"written.json"}
