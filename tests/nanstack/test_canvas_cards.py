# SPDX-License-Identifier: GPL-3.0-or-later
"""What a stack's file says of itself: that a solver finds its scale, and a reader how it was made."""

import numpy as np
import pytest
from astropy.coordinates import SkyCoord
from astropy.io import fits

from nanstack.canvas import union_canvas
from nanstack.canvas_cards import canvas_cards
from nanstack.settings import CanvasSettings
from nanstack.stack.definition import Rejection
from nanstack.stack.drizzle import Drizzle
from tests.support.registered import HERE, registered

ARCSEC = 206264.806
SEESTAR = {
    "object": "M 45", "instrument": "Seestar S50", "exposure": 10.0, "gain": 80.0, "focal_length": 250.0,
    "pixel_size": (2.9, 2.9), "date": "2024-11-03T22:14:00",
}  # fmt: skip


def cards_of(settings=None, scale=None, on_the_sky=True, **facts):
    frames = [registered(name, east, **{**SEESTAR, **facts}) for name, east in (("a.fit", 0.0), ("b.fit", 0.2))]
    canvas = union_canvas([frame.view for frame in frames], scale=scale)
    settings = settings or CanvasSettings()
    return canvas_cards(frames, canvas, settings, creator="maker 1.0", on_the_sky=on_the_sky)


@pytest.mark.parametrize("scale", [None, 1.2, 4.78])
@pytest.mark.parametrize("known", [{}, {"focal_length": None}, {"pixel_size": None}])
def test_focal_length_and_pixel_size_give_the_scale_of_the_image(scale, known):
    said = cards_of(scale=scale, **known)
    assert ARCSEC * said["XPIXSZ"][0] / 1000 / said["FOCALLEN"][0] == pytest.approx(scale or 2.39, rel=1e-4)
    assert said["NPA_SCAL"][0] == pytest.approx(scale or 2.39, rel=1e-5)
    assert said["YPIXSZ"][0] == said["XPIXSZ"][0]
    if known != {"pixel_size": None}:
        assert said["XPIXSZ"][0] == pytest.approx(2.9 * (scale or 2.39) / 2.39, rel=1e-4)


def test_a_drizzle_is_told():
    said = cards_of(CanvasSettings(drizzle=Drizzle(2.0, 0.8, "gaussian")))
    assert (said["NPA_DRIZ"][0], said["NPA_PIXF"][0], said["NPA_KERN"][0]) == (2.0, 0.8, "gaussian")
    assert not {"NPA_DRIZ", "NPA_PIXF", "NPA_KERN"} & set(cards_of())


def test_nothing_is_said_of_optics_that_nobody_knows():
    said = cards_of(focal_length=None, pixel_size=None)
    assert not {"FOCALLEN", "XPIXSZ", "YPIXSZ"} & set(said)


def test_the_middle_is_given_in_degrees_and_in_hours():
    said = {name: value for name, (value, _) in cards_of().items()}
    here = SkyCoord(HERE[0] + 0.1 / np.cos(np.radians(HERE[1])), HERE[1], unit="deg")
    assert here.separation(SkyCoord(said["RA"], said["DEC"], unit="deg")).arcsec < 5
    assert here.separation(SkyCoord(said["OBJCTRA"], said["OBJCTDEC"], unit=("hourangle", "deg"))).arcsec < 5
    assert not {"RA", "DEC", "OBJCTRA", "OBJCTDEC"} & set(cards_of(on_the_sky=False))


def test_exposures_and_settings_are_told_and_fit_into_cards():
    settings = CanvasSettings(Rejection("winsor", kappa_low=3.0, kappa_high=np.inf), sky="offset", weights="equal")
    for chosen in (settings, CanvasSettings()):
        said = cards_of(chosen)
        header = fits.Header()
        header.update(said)
        assert "\n".join(map(str, header.cards)).isascii()
        assert all(len(str(card)) == 80 for card in header.cards)
        assert (header["LIVETIME"], header["TOTALEXP"], header["EXPTIME"]) == (20, 20, 10)
        assert (header["STACKCNT"], header["NPA_ALGN"]) == (2, 2)
        assert (header["NPA_SKYM"], header["NPA_WGHT"]) == (chosen.sky, chosen.weights)
    assert header["NPA_REJ"] == "noise"
    assert header["NPA_KAPP"] == CanvasSettings().rejection.kappa
