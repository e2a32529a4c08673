# SPDX-License-Identifier: GPL-3.0-or-later
"""A ZeMosaic in work: looked at, patched, taken back; what is refused is said."""

import pytest

from tests.support.as_windows.strict_files import refuses_marks
from tests.support.small_zemosaic import tree, zemosaic
from zemosaic_patch.dropin import patch
from zemosaic_patch.dropin.manifest import Choices
from zemosaic_patch.dropin.sources import MODULES
from zemosaic_patch.ui.bench import Bench, Trial


@pytest.fixture
def root(tmp_path):
    """A small ZeMosaic: it is no published one."""
    return zemosaic(tmp_path / ("Ze &lt;Mosaic" if refuses_marks() else "Ze <b>Mosaic"))


def test_a_zemosaic_is_patched_and_taken_back_to_the_byte(root):
    before, bench = tree(root), Bench()
    bench.look(str(root))
    assert (bench.verdict.state, bench.verdict.clean, bench.refusal) == ("none", False, "")
    assert set(bench.verdict.unknown) <= set(MODULES)
    bench.put_in(accept_unknown=True)
    assert (bench.verdict.state, bench.verdict.clean) == ("patched", True)
    assert bench.done
    bench.take_out()
    assert bench.verdict.state == "none"
    assert tree(root) == before


def test_what_no_published_version_has_is_changed_only_where_its_owner_accepts_it(root):
    before, bench = tree(root), Bench()
    bench.look(str(root))
    assert bench.verdict.unknown
    bench.put_in()
    assert bench.verdict.unknown[0] in bench.refusal
    assert bench.done == ()
    assert tree(root) == before


def test_what_was_chosen_stays_chosen(root):
    patch.apply(root, accept_unknown=True, all_algorithms=True, match_sky="none")
    (next(root.glob("zemosaic_patch_engine/nanstack/*.py"))).write_text("# changed")
    bench = Bench()
    bench.look(str(root))
    assert bench.verdict.state == "half"
    bench.put_in(accept_unknown=True)
    assert bench.verdict.state == "patched"
    assert bench.verdict.manifest.choices == Choices(all_algorithms=True, match_sky="none")


def test_what_is_no_zemosaic_has_no_verdict(root, tmp_path):
    bench = Bench()
    bench.look(str(root))
    for folder, reason in ((tmp_path / "none", "not there"), (tmp_path, "may be one"), ("a\0b", "")):
        bench.look(str(folder))
        assert bench.verdict is None
        assert reason in bench.refusal
        assert bench.refusal


def test_a_trial_that_fails_says_why(tmp_path):
    trial = Trial(tmp_path)
    trial.wait(60)
    assert (trial.state, trial.picture) == ("failed", "")
    (line,) = trial.lines
    assert line.startswith(f"{tmp_path} is no ZeMosaic")


def test_a_trial_that_is_ended_is_forgotten(root):
    bench = Bench()
    bench.look(str(root))
    bench.begin_trial("")
    trial = bench.trial
    bench.end_trial()
    trial.wait(60)
    assert bench.trial is None
    assert trial.state == "failed"
