# SPDX-License-Identifier: GPL-3.0-or-later
"""Which links are believed, where frames are laid out along a long way of others."""

import numpy as np
import pytest

from nanstack.register.camera import Camera, View
from nanstack.register.layout import agreeing_links, first_views
from nanstack.register.links import Link
from nanstack.register.sources import Sources

CAMERA = Camera((300, 400), 20_000.0)
STEP_PX, OFF_PX = 150, 1.5  # from frame to frame, along rows; by which each link is off, across
OUT, STARS = 50, 20  # frames on the way out, and as many back; stars


def looking(x: float, y: float) -> View:
    """Return a view that is moved by so many pixels along and across."""
    a, b = x / CAMERA.focal, y / CAMERA.focal
    along = np.array([[np.cos(a), 0, -np.sin(a)], [0, 1, 0], [np.sin(a), 0, np.cos(a)]])
    across = np.array([[1, 0, 0], [0, np.cos(b), -np.sin(b)], [0, np.sin(b), np.cos(b)]])
    return View(CAMERA, across @ along)


def link(
    first: int, second: int, views: list[View], off_px: float = OFF_PX, shown: int = 0, share: float = 1.0
) -> Link:
    """Return a link by the same stars, or those from another number on, whose view is off across."""
    relative = looking(0.0, off_px).attitude @ views[second].attitude @ views[first].attitude.T
    return Link(first, second, np.arange(STARS), shown + np.arange(STARS), View(CAMERA, relative), 0.5, share)


@pytest.fixture
def there_and_back():
    """Frames that go out and back the same way, each linked to the next; all know the stars that the first ones show.

    And the same stars once more, each 60 pixels off.
    """
    rng = np.random.default_rng(1)
    views = [looking(STEP_PX * place, 0.0) for place in [*range(OUT), *reversed(range(OUT))]]
    stars = views[0].directions(rng.uniform(0, 400, STARS), rng.uniform(0, 300, STARS))
    frames = []
    for view in views:
        x, y = view.pixels(stars)
        ones = np.ones(2 * STARS)
        frames.append(Sources(CAMERA, np.append(x, x + 60), np.append(y, y), ones, ones))
    return views, frames, [link(k, k + 1, views) for k in range(len(views) - 1)]


def test_what_adds_up_along_many_links_is_no_contradiction(there_and_back):
    views, frames, links = there_and_back
    links.append(link(0, len(views) - 1, views, off_px=0.0, share=0.1))  # no way goes along the least certain one
    laid = first_views(frames, links, np.ones(len(frames), dtype=bool))
    middle = np.array([200.0]), np.array([150.0])
    off = np.subtract(laid[-1].pixels(laid[0].directions(*middle)), views[-1].pixels(views[0].directions(*middle)))
    assert np.hypot(*off) > 60
    assert len(agreeing_links(frames, links, laid)) == len(links)


def test_along_a_short_way_as_much_is_one(there_and_back):
    views, frames, links = there_and_back
    false = link(2, 4, views, shown=STARS, share=0.1)
    laid = first_views(frames, [*links, false], np.ones(len(frames), dtype=bool))
    believed = agreeing_links(frames, [*links, false], laid)
    assert len(believed) == len(links)
    assert all(one is not false for one in believed)
