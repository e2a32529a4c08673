# SPDX-License-Identifier: GPL-3.0-or-later
"""Header facts: as cameras and programs write them, however they spell them."""

import numpy as np
import pytest
from astropy.coordinates import SkyCoord
from astropy.io import fits
from astropy.wcs import WCS

from nanstack.io.layout import read_layout
from nanstack.survey.facts import facts_of

SEESTAR = {
    "CREATOR": "ZWO Seestar S50", "IMAGETYP": "Light", "INSTRUME": "Seestar S50", "FILTER": "IRCUT", "OBJECT": "M 94",
    "EXPTIME": 10.0, "TOTALEXP": 10.0, "GAIN": 80, "XBINNING": 1, "FOCALLEN": 250, "XPIXSZ": 2.90000009536743,
    "YPIXSZ": 2.90000009536743, "RA": 193.04166, "DEC": 40.970556, "BAYERPAT": "GRBG",
    "DATE-OBS": "2025-03-27T01:20:32.955368",
}  # fmt: skip


@pytest.fixture
def facts(tmp_path):
    def of(cards, name="Light_001.fit", raw=()):
        """Return the facts of a file with these cards, and others written as they are, against the standard or not."""
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        header = fits.Header()
        header.update(cards)
        text = b"".join(f"{key:8s}= {value:>20s}".ljust(80).encode() for key, value in raw)
        head = fits.PrimaryHDU(np.zeros((6, 8), np.uint16), header).header.tostring(padding=False).encode()
        head = head[:-80] + text + head[-80:]
        head += b" " * (-len(head) % 2880)
        path.write_bytes(head + bytes(2880))
        return facts_of(read_layout(path))

    return of


def test_facts_of_a_smart_telescopes_frame(facts):
    found = facts(SEESTAR)
    assert (found.kind, found.evidence, found.pattern) == ("light", "", "GRBG")
    assert (found.instrument, found.filter, found.object) == ("Seestar S50", "IRCUT", "M 94")
    assert (found.date, found.exposure, found.gain) == ("2025-03-27T01:20:32.955368", 10.0, 80.0)
    assert (found.binning, found.focal_length) == (1, 250.0)
    assert found.pixel_size == pytest.approx((2.9, 2.9))
    assert found.scale == pytest.approx(np.degrees(np.arctan(2.9e-3 / 250)) * 3600, rel=1e-6)
    assert found.pointing == (193.04166, 40.970556)
    assert found.wcs is None


def test_an_empty_header_says_nothing(facts, tmp_path):
    found = facts({})
    assert found.kind == "light"
    assert (found.exposure, found.gain, found.scale, found.pointing, found.wcs) == (None,) * 5
    np.save(tmp_path / "frame.npy", np.zeros((6, 8), np.float32))
    assert facts_of(read_layout(tmp_path / "frame.npy")) == found


@pytest.mark.parametrize(
    ("cards", "kind", "evidence"),
    [
        ({"IMAGETYP": "LIGHT FRAME"}, "light", ""),
        ({"IMAGETYP": "light"}, "light", ""),
        ({"IMAGETYP": "Dark"}, "dark", "its IMAGETYP is Dark"),
        ({"IMAGETYP": "Dark Frame", "STACKCNT": 20}, "dark", "its IMAGETYP is Dark Frame"),
        ({"IMAGETYP": "FLAT"}, "flat", "its IMAGETYP is FLAT"),
        ({"IMAGETYP": "DarkFlat"}, "dark", "its IMAGETYP is DarkFlat"),
        ({"FRAME": "Bias"}, "bias", "its FRAME is Bias"),
        ({"IMAGETYP": "Master Light"}, "stack", "its IMAGETYP is Master Light"),
        ({"IMAGETYP": "Light", "STACKCNT": 8}, "stack", "it is a stack of 8 frames (STACKCNT)"),
        ({"IMAGETYP": "Light", "STACKCNT": 1}, "light", ""),
        ({"NCOMBINE": "12"}, "stack", "it is a stack of 12 frames (NCOMBINE)"),
        ({"STACKED": True}, "stack", "it is a stack (STACKED)"),
        ({"EXPTIME": 10.0, "TOTALEXP": 80.0}, "stack", "it is a stack: its exposure is 10 s, 80 s in all (TOTALEXP)"),
        ({"NPA_ALGN": 16}, "output", "this program made it"),
    ],
)
def test_the_header_tells_the_kind(facts, cards, kind, evidence):
    found = facts(cards)
    assert (found.kind, found.evidence) == (kind, evidence)


@pytest.mark.parametrize(
    ("name", "cards", "kind"),
    [
        ("Stacked_8_M 1_10.0s_IRCUT_20251122-201200.fit", {"IMAGETYP": "Light"}, "stack"),
        ("img_stacked_all.fits", {}, "stack"),
        ("masterdark.fit", {}, "dark"),
        ("Master Flat Ha.fit", {}, "flat"),
        ("Dark_10.0s_IRCUT_20250326.fit", {}, "dark"),
        ("bias-001.fit", {}, "bias"),
        ("Dark_10.0s_IRCUT_20250326.fit", {"IMAGETYP": "Light"}, "light"),
        ("dark nebula LDN 1235_001.fit", {}, "light"),
        ("Flatiron_001.fit", {}, "light"),
        ("Light_M 94_10.0s.fit", {}, "light"),
        ("unstacked_001.fit", {}, "light"),
        ("flats/IMG_0001.fit", {}, "flat"),
        ("flats/IMG_0001.fit", {"IMAGETYP": "Light"}, "light"),
    ],
)
def test_the_name_tells_the_kind_where_the_header_does_not(facts, name, cards, kind):
    found = facts(cards, name)
    assert found.kind == kind
    assert bool(found.evidence) == (kind != "light")


def test_numbers_with_decimal_commas_and_as_text(facts):
    found = facts(
        {"GAIN": "80", "FOCALLEN": "250 mm"},
        raw=[("EXPTIME", "10,5"), ("XPIXSZ", "2,9"), ("RA", "83,80000"), ("DEC", "-5,4")],
    )
    assert (found.exposure, found.gain, found.focal_length) == (10.5, 80.0, 250.0)
    assert found.pixel_size == (2.9, 2.9)
    assert found.pointing == pytest.approx((83.8, -5.4))


@pytest.mark.parametrize("exposure", ["1/30", "ten", "10ms", "1.234,5", True, -1.0, "nan"])
def test_what_is_no_exposure_is_none(facts, exposure):
    assert facts({"EXPTIME": exposure}).exposure is None


ORION = SkyCoord("05h35m17.3s", "-05d23m28s")


@pytest.mark.parametrize(
    ("ra", "dec"),
    [
        (83.8220833, -5.3911111),
        ("83.8220833", "-5.3911111"),
        ("05 35 17.3", "-05 23 28"),
        ("05:35:17,3", "-05:23:28"),
        ("5h35m17.3s", "-5d23m28s"),
        ("83d49m19.5s", "-5d23'28\""),
        ("83 49 19.5", "-05 23 28"),
    ],
)
@pytest.mark.parametrize("names", [("RA", "DEC"), ("OBJCTRA", "OBJCTDEC")])
def test_pointings_in_all_spellings(facts, ra, dec, names):
    assert facts(dict(zip(names, (ra, dec), strict=True))).pointing == pytest.approx(
        (ORION.ra.deg, ORION.dec.deg), abs=1e-6
    )


def test_the_first_row_is_the_top_one_unless_its_card_says_otherwise(facts):
    told = {order: facts({"ROWORDER": order}).bottom_up for order in ("TOP-DOWN", "BOTTOM-UP", "bottom-up", "")}
    assert told == {"TOP-DOWN": False, "BOTTOM-UP": True, "bottom-up": True, "": False}
    assert facts({}).bottom_up is False


def test_pointings_in_hours(facts):
    assert facts({"OBJCTRA": 5.5, "OBJCTDEC": 3.0}).pointing == (82.5, 3.0)
    assert facts({"RA": (5.5, "[h] right ascension"), "DEC": 3.0}).pointing == (82.5, 3.0)
    assert facts({"RA": (5.5, "[deg] right ascension, not hours"), "DEC": 3.0}).pointing == (5.5, 3.0)


@pytest.mark.parametrize(
    ("ra", "dec"), [(0.0, 0.0), (83.8, 91.0), ("none", 3.0), (float(400), 3.0), ("12 61 00", "3 0 0"), ("5" * 60, 1.0)]
)
def test_what_is_no_pointing_is_none(facts, ra, dec):
    assert facts({"RA": ra, "DEC": dec}).pointing is None


def test_pixel_sizes_hold_the_binning_or_not(facts):
    """A camera of 2.9 um, binned 2 x 2, behind 250 mm: 4.79 arcseconds, whoever writes it."""
    right = pytest.approx(2 * 2.9e-3 / 250 * 206264.806, rel=1e-6)
    assert facts({"FOCALLEN": 250, "XPIXSZ": 5.8, "XBINNING": 2}).scale == right
    assert facts({"FOCALLEN": 250, "PIXSIZE1": 2.9, "PIXSIZE2": 2.9, "XBINNING": 2}).scale == right
    assert facts({"FOCALLEN": 250, "XPIXSZ": 5.8, "XBINNING": 2}).binning == 2


def test_scales_that_make_no_sense_are_not_believed(facts):
    assert facts({"FOCALLEN": 0, "XPIXSZ": 2.9}).scale is None
    assert facts({"FOCALLEN": 0.1, "XPIXSZ": 2.9}).scale is None
    assert facts({"FOCALLEN": 0, "XPIXSZ": 2.9, "PIXSCALE": 2.4}).scale == 2.4


def test_a_solution_tells_scale_and_pointing_where_no_card_does(facts):
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = "RA---TAN", "DEC--TAN"
    wcs.wcs.crval, wcs.wcs.crpix = (83.8, 22.0), (-300.0, 1000.0)
    wcs.wcs.cd = 2.39 / 3600 * np.array([[-0.8, 0.6], [0.6, 0.8]])
    found = facts(wcs.to_header())
    assert found.scale == pytest.approx(2.39)
    middle = wcs.pixel_to_world(3.5, 2.5)
    assert found.pointing == pytest.approx((middle.ra.deg, middle.dec.deg), abs=1e-9)
    assert np.allclose(found.wcs.pixel_to_world_values(1.0, 2.0), wcs.pixel_to_world_values(1.0, 2.0), atol=1e-12)
    assert facts({**wcs.to_header(), "RA": 80.0, "DEC": 21.0}).pointing == (80.0, 21.0)


@pytest.mark.parametrize(("focal_length", "right"), [(250, 2.3927), (240, 2.4924), (150, 2.39), (2.5, 2.39)])
def test_a_solution_overrules_a_focal_length_that_is_far_off(facts, focal_length, right):
    """That of a lens before the reducer, or of the telescope that was used last year."""
    wcs = WCS(naxis=2)
    wcs.wcs.ctype, wcs.wcs.crval, wcs.wcs.crpix = ("RA---TAN", "DEC--TAN"), (10.7, 41.3), (3, 4)
    wcs.wcs.cdelt = -2.39 / 3600, 2.39 / 3600
    found = facts({**wcs.to_header(), "FOCALLEN": focal_length, "XPIXSZ": 2.9})
    assert found.scale == pytest.approx(right, rel=1e-4)


def test_date_and_time_in_two_cards(facts):
    assert facts({"DATE-OBS": "2010-01-02", "TIME-OBS": "20:10:30"}).date == "2010-01-02T20:10:30"
