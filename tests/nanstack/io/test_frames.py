# SPDX-License-Identifier: GPL-3.0-or-later
"""Frame files in, images out."""

import os
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from astropy.wcs import WCS

import zemosaic_utils as utils
from nanstack.io.files import complete_file
from nanstack.io.frames import read_frame, short_names

pytestmark = pytest.mark.numpy_bytes

COLOUR = np.float32([900.0, 500.0, 700.0])
GRID = {"RGGB": [[0, 1], [1, 2]], "BGGR": [[2, 1], [1, 0]], "GRBG": [[1, 0], [2, 1]], "GBRG": [[1, 2], [0, 1]]}


def mosaic_of(pattern, shape=(12, 16)):
    """Return the mosaic of an evenly coloured scene."""
    rows, columns = np.indices(shape)
    return COLOUR[np.array(GRID[pattern])[rows % 2, columns % 2]]


def test_scaled_compressed_and_extension_images(tmp_path):
    data = np.arange(48, dtype=np.float32).reshape(6, 8) * 2 + 1000
    hdu = fits.PrimaryHDU(data.copy())
    hdu.scale("int16", bscale=2.0, bzero=1000)
    hdu.writeto(tmp_path / "scaled.fits")
    counts = data.astype(np.uint16)
    fits.HDUList([fits.PrimaryHDU(), fits.CompImageHDU(counts)]).writeto(tmp_path / "packed.fits.fz")
    table = fits.BinTableHDU.from_columns([fits.Column("x", "E", array=[1.0])])
    fits.HDUList([fits.PrimaryHDU(), table, fits.ImageHDU(data)]).writeto(tmp_path / "extension.fits")
    for name in ("scaled.fits", "packed.fits.fz", "extension.fits"):
        read = read_frame(tmp_path / name).data
        assert np.array_equal(read, data), name
        assert read.dtype == np.float32
        assert read.dtype.isnative


def test_output_appears_complete_or_not_at_all(tmp_path):
    path = tmp_path / "new" / "out.txt"

    def write(text, fail=False):
        with complete_file(path) as temporary:
            temporary.write_text(text)
            if fail:
                raise RuntimeError("power cut")

    with pytest.raises(RuntimeError):
        write("half", fail=True)
    assert list(path.parent.iterdir()) == []
    write("first")
    with pytest.raises(RuntimeError):
        write("half", fail=True)
    assert path.read_text() == "first"
    assert [item.name for item in path.parent.iterdir()] == ["out.txt"]
    if os.name == "posix":
        assert path.stat().st_mode & 0o444 == 0o444


def test_image_to_file_and_back(tmp_path):
    rng = np.random.default_rng(0)
    image = rng.normal(1000, 10, (9, 11, 3)).astype(np.float32)
    image[0] = np.nan
    alpha = np.where(np.isfinite(image).all(axis=2), 255, 0).astype(np.uint8)
    header = {"OBJECT": "M 45", "NAXIS": 7, "BITPIX": 8}
    utils.save_fits_image(image, str(tmp_path / "a.fits"), header, save_as_float=True, alpha_mask=alpha)
    utils.save_fits_image(
        np.moveaxis(image, -1, 0), str(tmp_path / "b.fits"), header, save_as_float=True, axis_order="CHW"
    )
    for name in ("a.fits", "b.fits"):
        back, cards, info = utils.load_and_validate_fits(str(tmp_path / name), normalize_to_float32=False)
        assert np.array_equal(back, image, equal_nan=True)
        assert cards["OBJECT"] == "M 45"
        assert ("alpha_mask" in info) == (name == "a.fits")
    scaled, _, _ = utils.load_and_validate_fits(str(tmp_path / "a.fits"))
    assert np.nanmin(scaled) == 0
    assert np.nanmax(scaled) == 1
    utils.save_fits_image(image, str(tmp_path / "c.fits"))
    whole = fits.getdata(tmp_path / "c.fits")
    assert whole.dtype == np.uint16
    assert (whole[:, 0] == 0).all()
    assert np.array_equal(np.moveaxis(whole, 0, -1)[1:], np.rint(image[1:]))
    with pytest.raises(FileExistsError):
        utils.save_fits_image(image, str(tmp_path / "c.fits"), overwrite=False)


def test_unusable_file_is_told_not_raised(tmp_path):
    (tmp_path / "bad.fits").write_text("nothing")
    told = []
    image, _, info = utils.load_and_validate_fits(
        str(tmp_path / "bad.fits"), progress_callback=lambda text, _, level: told.append((text, level))
    )
    assert image is None
    assert info == {}
    assert told[0][1] == "ERROR"
    assert "bad.fits" in told[0][0]


def test_bayer_values_from_zero_to_one():
    colour = utils.debayer_image(mosaic_of("GRBG") / 65535, "grbg")
    assert np.allclose(colour, COLOUR / 65535, atol=1e-5)
    with pytest.raises(ValueError, match=r"must be \(H, W\)"):
        utils.debayer_image(np.ones((4, 4, 3)))


def test_radial_weight_falls_to_its_floor():
    weight = utils.make_radial_weight_map(101, 201, 0.5, 2.0, 0.1)
    assert weight.shape == (101, 201)
    assert weight[50, 100] == 1
    assert weight[0, 0] == np.float32(0.1)
    quarter = 0.25 * 0.5 * np.hypot(101, 201)
    assert weight[50, 100 + round(quarter)] == pytest.approx(0.5, abs=0.02), "cosine squared at half its way"
    assert (np.diff(weight[50, 100:]) <= 0).all()


def test_crop_moves_the_solution():
    wcs = WCS(naxis=2)
    wcs.wcs.ctype, wcs.wcs.crpix, wcs.wcs.cdelt = ["RA---TAN", "DEC--TAN"], [50, 40], [-0.001, 0.001]
    image = np.zeros((80, 100, 3), np.float32)
    cropped, moved = utils.crop_image_and_wcs(image, wcs, 0.1)
    assert cropped.shape == (64, 80, 3)
    assert moved.wcs.crpix.tolist() == [40, 32]
    assert wcs.wcs.crpix.tolist() == [50, 40]
    assert utils.crop_image_and_wcs(image, wcs, 0.5) == (None, None)


def test_stretch_is_for_the_screen():
    rng = np.random.default_rng(1)
    image = rng.normal(1000, 10, (50, 60, 3)).astype(np.float32) * np.float32([1, 0.5, 2])
    image[:10] = np.nan
    shown = utils.stretch_auto_asifits_like(image)
    assert (shown[:10] == 0).all()
    assert shown.min() >= 0
    assert shown.max() <= 1
    assert np.ptp(np.median(shown[10:], axis=(0, 1))) < 0.1, "channels by their own percentiles: a grey sky"
    linked = utils.stretch_auto_asifits_like(image, apply_wb=False)
    assert np.ptp(np.median(linked[10:], axis=(0, 1))) > 0.5
    assert utils.stretch_auto_asifits_like(image[..., 0]).shape == (50, 60)
    assert (utils.stretch_auto_asifits_like(np.full((3, 3, 3), np.nan)) == 0).all()


@pytest.mark.parametrize(
    ("paths", "names"),
    [
        (["a/1.fit", "b/2.fit"], ["1.fit", "2.fit"]),
        (["a/1.fit", "b/1.fit", "c/2.fit"], ["a/1.fit", "b/1.fit", "2.fit"]),
        (["/x/n/t/1.fit", "/x/m/t/1.fit"], ["n/t/1.fit", "m/t/1.fit"]),
        (["1.fit", "/1.fit"], ["1.fit", "/1.fit"]),
        ([], []),
    ],
)
def test_files_are_called_by_what_tells_them_apart(paths, names):
    paths = [Path(path) for path in paths]
    assert [short_names(paths * 2)[path] for path in paths] == names
