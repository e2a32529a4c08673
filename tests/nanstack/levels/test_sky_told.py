# SPDX-License-Identifier: GPL-3.0-or-later
"""What the sky's solution says of itself: held to frames whose own glow is known."""

import json
from dataclasses import asdict

import numpy as np
import pytest

from nanstack.canvas import union_canvas
from nanstack.levels.common_sky import common_sky
from nanstack.levels.sky_told import SkyTold
from tests.support.known_skies import nebula, night, take

pytestmark = pytest.mark.numpy_bytes


def told(night, model="plane"):
    frames = [taken.frame for taken in night]
    return common_sky(frames, np.ones((len(frames), 3)), union_canvas([frame.view for frame in frames]), model).told


def lying(count, turn, **what):
    rng = np.random.default_rng(4)
    at = [(panel * 0.45 + rng.normal(0, 0.02), rng.normal(0, 0.02)) for panel in (0, 1) for _ in range(count)]
    return [take(f"{k}.fit", *place, turn(k), rng.normal(0, 20), seed=k, **what) for k, place in enumerate(at)]


def test_a_shade_is_told_with_its_error():
    """30 ADU over squares of the sides: a corner has 15, and 10 more than the frame on average."""
    shade = told(night(tilt=2.0, count=10, shade=(-30.0, 0.0, -30.0))).shades[0]
    true = -30 * 2 / 4 * 2 / 3
    assert shade.frames == 20
    assert np.abs(np.subtract(shade.corner_adu, true)).max() < 3 * max(shade.error_adu)
    assert max(shade.error_adu) < 3


def test_glows_that_differ_between_frames_leave_a_bowl_open():
    alike, others = told(night(tilt=1.0)), told(night(tilt=30.0))
    assert max(alike.bowl_adu) < 2
    assert min(others.bowl_adu) > 4 * max(alike.bowl_adu)


def test_a_single_panel_leaves_most_open_and_half_circles_leave_least():
    def slope(directions):
        return 3000 * directions[..., 1]

    alone = told(night(panels=1, tilt=0.0, sky=slope))
    assert alone.spread < 0.1
    assert min(alone.tilt_adu) > 20
    turned = told(lying(4, lambda k: 180.0 * (k % 2), tilt=(30.0, 0.0), sky=slope))
    assert turned.turned > 0.9
    assert max(turned.tilt_adu) < 5


def test_frames_behind_a_tree_are_named_with_their_share():
    frames = night(
        count=10, sky=nebula, spoiled=lambda k: (lambda x, y: np.where(x > 640, 0.3, 1)) if k in (1, 4) else None
    )
    found = told(frames).covered
    assert sorted(found) == ["0_1.fit", "0_4.fit", "1_1.fit", "1_4.fit"]
    assert all(share == pytest.approx(1 / 3, abs=0.07) for share in found.values())
    assert not told(night(count=10, sky=nebula)).covered


def test_the_residual_map_shows_where_frames_differ_and_how_much_they_usually_do():
    """Cells are off by 1 ADU, and what is read between four of them by 2/3."""
    solved = told(night(count=10))
    cells = np.array([[np.nan if cell is None else cell for cell in row] for row in solved.residual_map])
    assert max(cells.shape) <= 24
    assert np.isnan(cells).any(), "the canvas has corners that no frame shows"
    assert np.nanmedian(cells) == pytest.approx(2 / 3, abs=0.2)
    assert solved.residual_adu == pytest.approx((2 / 3,) * 3, abs=0.2)


def test_it_goes_through_json_and_is_of_planes_alone():
    solved = told(night())
    assert SkyTold.from_json(json.loads(json.dumps(asdict(solved)))) == solved
    assert told(night(), "offset").shades == ()
    assert told(night(), "none") is None
