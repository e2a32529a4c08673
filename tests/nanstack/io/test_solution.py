# SPDX-License-Identifier: GPL-3.0-or-later
"""Celestial solutions of headers as programs write them: mended, or refused, never somewhere else on the sky."""

import numpy as np
import pytest
from astropy.io import fits
from astropy.wcs import WCS

from nanstack.io.layout import read_layout
from nanstack.io.solution import celestial_wcs

RA, DEC = 83.8, 22.0
CRPIX = 120.5, 80.25
CD = 2.39 / 3600 * np.array([[-0.8, 0.6], [0.6, 0.8]])
X, Y = (values.ravel() for values in np.meshgrid([0.0, 100.0, 239.0], [0.0, 80.0, 159.0]))
GOOD = {
    "CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN", "CUNIT1": "deg", "CUNIT2": "deg", "CRVAL1": RA, "CRVAL2": DEC,
    "CRPIX1": CRPIX[0], "CRPIX2": CRPIX[1],
    "CD1_1": CD[0, 0], "CD1_2": CD[0, 1], "CD2_1": CD[1, 0], "CD2_2": CD[1, 1],
}  # fmt: skip
WITHOUT_CD = {name: value for name, value in GOOD.items() if not name.startswith("CD")}


def sky(x=X, y=Y, crpix=CRPIX, cd=CD, ra=RA, dec=DEC):
    """Return where pixels look: a gnomonic projection, by its formulas (Calabretta and Greisen 2002, section 5.1.3)."""
    xi, eta = np.radians(cd @ [x + 1 - crpix[0], y + 1 - crpix[1]])
    ra, dec = np.radians((ra, dec))
    down = np.cos(dec) - eta * np.sin(dec)
    return np.degrees(ra + np.arctan2(xi, down)), np.degrees(
        np.arctan2(eta * np.cos(dec) + np.sin(dec), np.hypot(xi, down))
    )


def header(cards, size=True):
    return fits.Header({**({"NAXIS": 2, "NAXIS1": 240, "NAXIS2": 160} if size else {}), **cards})


def assert_is(wcs, *truth):
    assert wcs is not None
    assert np.allclose(wcs.pixel_to_world_values(X, Y), truth or sky(), rtol=0, atol=1e-9)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"CUNIT1": "Degrees", "CUNIT2": "degree"},
        {"CUNIT1": "DEG", "CUNIT2": ""},
        {"CRVAL1": "83.8", "CRVAL2": "22.0"},
        {"CRVAL1": "83,80000", "CRVAL2": "22,0"},
        {"CRVAL1": "05 35 12.0", "CRVAL2": "+22 00 00"},
        {"CRVAL1": "5h35m12s", "CRVAL2": "22d"},
        {"CRVAL1": RA - 360},
        {"CRVAL1": RA * 3600, "CRVAL2": DEC * 3600, "CUNIT1": "arcsec", "CUNIT2": "arcsec",
         **{name: 3600 * GOOD[name] for name in ("CD1_1", "CD1_2", "CD2_1", "CD2_2")}},
        {"CRPIX1": "120,5"},
        {"CTYPE1": "ra---tan", "CTYPE2": "dec--tan "},
        {"CDELT1": 1.0, "CDELT2": 1.0},
        {"CDELT1": -0.0007, "CDELT2": 0.0007, "CROTA2": 31.0},
        {"PC1_1": 1.0, "PC1_2": 0.0, "PC2_1": 0.0, "PC2_2": 1.0, "CDELT1": -0.001, "CDELT2": 0.001},
        {"CTYPE1": "RA---TAN-SIP", "CTYPE2": "DEC--TAN-SIP"},
        {"CTYPE3": "RGB", "CRVAL3": 0.0, "CRPIX3": 0.0, "CDELT3": 1.0},
        {"WCSAXES": 3},
        {"RADECSYS": "FK5", "EQUINOX": "J2000"},
        {"EQUINOX": "unknown"},
        {"LONPOLE": "180,0"},
    ],
)  # fmt: skip
def test_spellings_of_one_solution(changes):
    assert_is(celestial_wcs(header(GOOD | changes)))


def test_a_decimal_comma_without_quotes(tmp_path):
    """As written under a locale with decimal commas: neither a number nor a text by the standard."""
    fits.PrimaryHDU(np.zeros((160, 240), np.uint8), fits.Header(GOOD)).writeto(tmp_path / "frame.fit")
    data = bytearray((tmp_path / "frame.fit").read_bytes())
    for name, value in (("CRVAL1", "83,80000"), ("CRVAL2", "22,00000")):
        at = data.index(name.ljust(8).encode())
        data[at : at + 80] = f"{name:8s}= {value:>20s}".ljust(80).encode()
    (tmp_path / "frame.fit").write_bytes(data)
    assert_is(celestial_wcs(read_layout(tmp_path / "frame.fit").header))


@pytest.mark.parametrize("name", ["CRVAL1", "CRVAL2", "CRPIX1", "CRPIX2", "CTYPE2"])
def test_without_a_place_there_is_no_solution(name):
    assert celestial_wcs(header({key: value for key, value in GOOD.items() if key != name})) is None


@pytest.mark.parametrize(
    "changes",
    [
        {"CRVAL1": "83;8"},
        {"CRVAL1": "none"},
        {"CRVAL2": "91"},
        {"CRVAL2": 95.0},
        {"CRVAL1": 1e9},
        {"CRVAL1": "nan"},
        {"CUNIT1": "m"},
        {"CD1_1": "?"},
        {"CD1_1": 0.0, "CD1_2": 0.0},
        {"CD1_1": 0.0, "CD1_2": 0.0, "CD2_1": 0.0, "CD2_2": 0.0},
        {"CD1_1": 1e-3, "CD1_2": 2e-3, "CD2_1": 2e-3, "CD2_2": 4e-3},
        {"CD1_1": 1.0, "CD1_2": 0.0, "CD2_1": 0.0, "CD2_2": 1.0},
        {"CTYPE1": "RA---TAN", "CTYPE2": "RA---TAN"},
        {"CTYPE1": "LINEAR", "CTYPE2": "LINEAR"},
        {"A_ORDER": "two", "B_ORDER": 2},
        {"A_ORDER": 500, "B_ORDER": 500},
        {"A_ORDER": 2, "B_ORDER": 2, "A_2_0": "much"},
    ],
)
def test_what_cannot_be_meant_is_refused(changes):
    assert celestial_wcs(header(GOOD | changes)) is None


@pytest.mark.parametrize(
    "scale",
    [
        {},  # where the mount pointed, and no solution: one degree a pixel by the standard
        {"CDELT1": 1.0, "CDELT2": 1.0},
        {"CDELT1": 0.0, "CDELT2": 0.0007},
        {"CDELT1": "nan", "CDELT2": 0.0007},
        {"CDELT1": 1e-300, "CDELT2": 1e-300},
        {"CDELT1": 1e5, "CDELT2": 1e5},
        {"CDELT1": -0.07, "CDELT2": 0.0007},
        {"CROTA2": 31.0},
        {"PC1_1": 1.0, "PC2_2": 1.0},
    ],
)
def test_without_a_sensible_scale_there_is_no_solution(scale):
    assert celestial_wcs(header(WITHOUT_CD | scale)) is None


@pytest.mark.parametrize(
    "scale",
    [
        {"CDELT1": -0.00066, "CDELT2": 0.00066},
        {"CDELT1": -0.00066, "CDELT2": 0.00066, "CROTA2": 31.0},
        {"CDELT1": -0.00066, "CDELT2": 0.0007, "PC1_1": 0.8, "PC1_2": -0.6, "PC2_1": 0.6, "PC2_2": 0.8},
        {"PC1_1": -0.00066, "PC1_2": 0.0001, "PC2_1": 0.0001, "PC2_2": 0.00066},
    ],
)
def test_scales_without_a_cd_matrix_are_as_astropy_has_them(scale):
    assert_is(celestial_wcs(header(WITHOUT_CD | scale)), *WCS(header(WITHOUT_CD | scale)).pixel_to_world_values(X, Y))


@pytest.mark.parametrize("rotated", [False, True])
def test_swapped_axes_are_brought_in_order(rotated):
    """Axis 1 the declination: the same sky, and right ascension comes first, as everything here expects it."""
    scale = (
        {"CDELT1": 0.0007, "CDELT2": -0.00066, "CROTA1": 31.0}
        if rotated
        else {"CD1_1": CD[1, 0], "CD1_2": CD[1, 1], "CD2_1": CD[0, 0], "CD2_2": CD[0, 1]}
    )
    swapped = header(WITHOUT_CD | {"CTYPE1": "DEC--TAN", "CTYPE2": "RA---TAN", "CRVAL1": DEC, "CRVAL2": RA} | scale)
    found = celestial_wcs(swapped)
    dec, ra = WCS(swapped).pixel_to_world_values(X, Y)
    assert_is(found, ra, dec)
    assert found.wcs.lng == 0
    if not rotated:
        assert_is(found)


@pytest.mark.parametrize("crpix", [(-5000.0, 9000.0), (1e5, -3e4), (0.0, 0.0)])
def test_the_reference_pixel_may_lie_anywhere(crpix):
    found = celestial_wcs(header(GOOD | {"CRPIX1": crpix[0], "CRPIX2": crpix[1]}))
    assert_is(found, *sky(crpix=crpix))


@pytest.mark.parametrize("suffix", ["", "-SIP"])
def test_a_distortion_counts_with_and_without_its_suffix(suffix):
    """SIP: what it adds to a pixel's place is its polynomial; the rest is the linear solution."""
    terms = {"A_ORDER": 2, "B_ORDER": 2, "A_2_0": 3e-5, "A_1_1": -1e-5, "B_0_2": 2e-5}
    found = celestial_wcs(header(GOOD | {"CTYPE1": f"RA---TAN{suffix}", "CTYPE2": f"DEC--TAN{suffix}"} | terms))
    u, v = X + 1 - CRPIX[0], Y + 1 - CRPIX[1]
    assert_is(found, *sky(X + 3e-5 * u**2 - 1e-5 * u * v, Y + 2e-5 * v**2))
    again = celestial_wcs(found.to_header(relax=True))
    assert_is(again, *found.pixel_to_world_values(X, Y))


def test_a_solution_knows_the_size_of_its_image():
    assert celestial_wcs(header(GOOD)).pixel_shape == (240, 160)
    assert celestial_wcs(header(GOOD | {"IMAGEW": 240, "IMAGEH": 160}, size=False)).pixel_shape == (240, 160)
    assert celestial_wcs(header(GOOD, size=False)).pixel_shape is None


def test_a_solution_does_not_tell_where_the_telescope_stood():
    site = {"OBSGEO-X": 4.2e6, "OBSGEO-Y": 1.7e5, "OBSGEO-Z": 4.78e6, "OBSGEO-B": 48.858, "OBSGEO-L": 2.3}
    written = celestial_wcs(header(GOOD | site)).to_header(relax=True)
    assert written["CTYPE1"] == "RA---TAN"
    assert [name for name in written if name.startswith("OBSGEO")] == []


def test_a_table_as_header_has_no_solution():
    assert celestial_wcs(fits.Header()) is None
    assert celestial_wcs(fits.Header({"CTYPE1": "WAVE", "CRVAL1": 500.0})) is None
