# SPDX-License-Identifier: GPL-3.0-or-later
"""Which groups, that no star joins, show one field of the sky."""

import numpy as np
import pytest

from nanstack.register.field import groups_apart
from nanstack.register.place import Place
from tests.support.registered import registered

LONG = 1920 * 2.39 / 3600  # longer side of a frame in degrees
OTHER_FIELD = "it shows another field, {} degrees from that of most frames: make a picture of its own"


def place(approximate=False):
    return Place(np.eye(3), 1.0, "own solutions", approximate, 3, np.array([0.0, 0.0, 1.0]))


def apart(groups, unknown=(), approximate=()):
    """Groups by the number of their frames and where these look, in degrees north."""
    frames, numbers = [], []
    for group, (count, north) in enumerate(groups):
        frames += [registered(f"{group}_{k}.fit", 0.01 * k, north) for k in range(count)]
        numbers += [group] * count
    places = {group: place(group in approximate) for group in range(len(groups)) if group not in unknown}
    return groups_apart(frames, numbers, places)


def test_one_group_is_one_field():
    assert apart([(5, 0)], unknown=[0]) == {}
    assert groups_apart([], [], {}) == {}


def test_groups_near_each_other_on_the_sky_are_one_field():
    assert apart([(5, 0), (3, 2.9 * LONG)]) == {}
    assert apart([(5, 0), (3, 3.1 * LONG)]) == {1: OTHER_FIELD.format("4.0")}


def test_groups_hang_together_by_others():
    assert apart([(5, 0), (3, 5 * LONG), (2, 2.5 * LONG), (2, -40)]) == {3: OTHER_FIELD.format("40.0")}


def test_the_largest_group_is_the_field_and_of_equals_the_first():
    assert list(apart([(2, 0), (6, 30)])) == [0]
    assert list(apart([(4, 0), (4, 30)])) == [1]


@pytest.mark.parametrize("how", [{"unknown": [1]}, {"unknown": [0]}, {"unknown": [0, 1]}, {"approximate": [0, 1]}])
def test_nothing_joins_groups_whose_place_nobody_knows(how):
    assert apart([(5, 0), (3, 0.1)], **how) == {
        1: "its stars are those of 2 other frames, and of none of the 5 frames that the picture is made of"
    }
    assert "those of 1 other frame," in apart([(5, 0), (2, 0.1)], **how)[1]
