# SPDX-License-Identifier: GPL-3.0-or-later
"""What the sky's solution could tell, in words."""

from nanstack.levels.sky_told import ShadeTold, SkyTold
from zemosaic_patch.sky_words import covered_frames, in_a_line, sentences

SHADE = ShadeTold("S50", (1080, 1920), 8, ((0.0, 0.0, 0.0),) * 3, (1.0,) * 3, (0.5,) * 3)


def told(turned=0.0, spread=1.0, shades=(SHADE,)):
    return SkyTold(
        shades, turned, spread, (1.0, 12.34, 3.0), (5.0, 6.0, 7.0), (400.0, 600.0, 500.0), (1.0, 0.9, 1.1), (), {}
    )


def test_the_line_has_the_figures_of_green():
    assert in_a_line(told()) == (
        "frames agree to 0.9 ADU; a gradient of up to 12 ADU across the picture, 6 to its corners, may be left: "
        "nobody can tell it from the sky"
    )
    assert in_a_line(told(shades=())) == "frames agree to 0.9 ADU; each was brought to one level by a constant"


def test_what_tells_the_tilt_is_said():
    assert "half circles" in sentences(told(turned=0.9), {})[0]
    assert "darkest sky is level" in sentences(told(), {})[0]
    assert "left as the frames show it" in sentences(told(spread=0.1), {})[0]
    assert all("1 / 12 / 3 ADU (R / G / B)" in sentences(told(**how), {})[0] for how in ({}, {"spread": 0.1}))
    assert "Only a constant" in sentences(told(shades=()), {})[0]


def test_covered_frames_are_named_with_their_share():
    assert covered_frames({"a.fit": 0.45}).startswith("a.fit: 45 % of it")
    many = covered_frames({f"{k}.fit": 0.2 + 0.1 * (k == 3) for k in range(9)})
    assert many.startswith("9 frames (0.fit, 1.fit, 2.fit, 3.fit, 4.fit, ...): 20 % to 30 % of them")
    assert "a.fit" in sentences(told(), {"a.fit": 0.45})[-1]
