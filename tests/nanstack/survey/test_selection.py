# SPDX-License-Identifier: GPL-3.0-or-later
"""What is stacked of what is there, and how it is told."""

from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nanstack.survey.record import Facts
from nanstack.survey.selection import alike_together, duplicates, lights, not_to_stack, told, unlike_most

LIGHT = Facts()
DARK = Facts(kind="dark", evidence="its IMAGETYP is Dark")
STACK = Facts(kind="stack", evidence="it is a stack of 8 frames (STACKCNT)")
OUTPUT = Facts(kind="output", evidence="this program made it")
SINGLE = "it is a single frame, and most of the files are stacks (3 of 5)"


@pytest.mark.parametrize(
    ("facts", "left_out"),
    [
        ([], {}),
        ([LIGHT, LIGHT], {}),
        ([LIGHT, DARK, LIGHT, STACK, OUTPUT], {1: DARK.evidence, 3: STACK.evidence, 4: OUTPUT.evidence}),
        ([LIGHT, STACK], {1: STACK.evidence}),
        ([DARK, STACK, STACK, STACK, LIGHT], {0: DARK.evidence, 4: SINGLE}),
        ([STACK, STACK, OUTPUT], {2: OUTPUT.evidence}),
        ([OUTPUT, OUTPUT, DARK], {2: DARK.evidence}),
        ([LIGHT, OUTPUT, OUTPUT], {1: OUTPUT.evidence, 2: OUTPUT.evidence}),
        ([DARK, DARK], {}),
    ],
)
def test_what_is_stacked_of_what_is_there(facts, left_out):
    assert not_to_stack(facts) == left_out


def test_of_copies_one_is_used():
    names = ["a (1).fit", "a.fit", "b.fit", "n2/c.fit", "n1/c.fit", "a (2).fit"]
    found = duplicates([b"a", b"a", b"b", b"c", b"c", b"a"], names)
    same = "it is the same as {}, which is used"
    assert found == {0: same.format("a.fit"), 3: same.format("n1/c.fit"), 5: same.format("a.fit")}
    assert duplicates([], []) == {}


def test_the_commonest_is_kept():
    assert unlike_most(["Ha", "IRCUT", "IRCUT"], "filter") == {
        0: "its filter is Ha, unlike that of most frames (IRCUT)"
    }
    assert unlike_most([2, 1], "binning") == {0: "its binning is 2, unlike that of most frames (1)"}
    assert unlike_most([], "filter") == {}


SOME = st.builds(
    lambda facts, band, *rest: (Facts(facts.kind, facts.evidence, filter=band), *rest),
    st.sampled_from([LIGHT, LIGHT, DARK, STACK]),
    st.sampled_from(["", "LP"]),
    st.sampled_from([(9, 9), (9, 9, 3)]),
    st.sampled_from("abcdef"),
    st.sampled_from([(), (1, 2), (3,)]),
)


@given(st.lists(st.tuples(SOME, st.booleans()), max_size=9))
def test_what_is_wanted_joins_the_others_and_changes_nothing_for_them(drawn):
    surveys = [
        SimpleNamespace(path=Path(f"{number}.fit"), facts=facts, shape=shape, digest=digest, stars=stars)
        for number, ((facts, shape, digest, stars), _) in enumerate(drawn)
    ]
    wanted = {one.path for one, (_, is_wanted) in zip(surveys, drawn, strict=True) if is_wanted}
    before, after = lights(surveys), lights(surveys, wanted)
    more = [one for one in after.surveys if one not in before.surveys]
    assert after.surveys == before.surveys + more
    assert after.faults == before.faults
    assert all(one.stars for one in surveys if one.path in after.faults)
    assert {one.path for one in more} <= wanted & before.faults.keys()
    assert {one.path for one in after.surveys} | after.left_out.keys() == {one.path for one in surveys}
    assert len({one.digest for one in after.surveys}) == len(after.surveys), "nothing counts twice"
    assert len({len(one.shape) for one in after.surveys}) < 2
    # who is wanted, could be there, and is not, is a copy or of another kind
    for path in wanted & before.faults.keys() & after.left_out.keys():
        assert after.left_out[path] != before.left_out[path]
        assert after.left_out[path].startswith(("it is the same as ", "its kind is "))
    starless = [one.path for one in surveys if one.path in wanted and not one.stars]
    assert {after.left_out[path] for path in starless if before.left_out.get(path) == DARK.evidence} <= {"no stars"}


def test_reasons_in_few_lines():
    reasons = {f"d{index}.fit": "its IMAGETYP is Dark" for index in range(6)}
    reasons["f.fit"] = "its IMAGETYP is Flat"
    reasons["t1.fit"] = "it is trailed: its stars are 2.3 times as long as wide"
    reasons["t2.fit"] = "it is trailed: its stars are 3.1 times as long as wide"
    reasons |= {
        f"a ({index}).fit": f"it is the same as n{index}/M 31_{index}.fit, which is used" for index in (1, 2, 3)
    }
    assert told(reasons) == [
        "d0.fit: its IMAGETYP is Dark; likewise d1.fit, d2.fit, d3.fit and 2 more; 6 left out",
        "f.fit: its IMAGETYP is Flat; left out",
        "t1.fit: it is trailed: its stars are 2.3 times as long as wide; likewise t2.fit; 2 left out",
        "a (1).fit: it is the same as n1/M 31_1.fit, which is used; likewise a (2).fit and a (3).fit; 3 left out",
    ]
    assert told({}) == []
    lines = ["solver failed (light_1.fit)", "no outliers", "solver failed (light_27.fit)", "solver failed (a.fit)"]
    assert alike_together(lines) == ["solver failed (light_1.fit) (and 2 more like it)", "no outliers"]
    assert len(told({f"{index}.fit": "it shows no stars" for index in range(10_000)})[0]) < 100
