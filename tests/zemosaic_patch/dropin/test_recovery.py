# SPDX-License-Identifier: GPL-3.0-or-later
"""Patched modules without what the patch keeps of them: the originals come back by the marks, with an owner's edits."""

import itertools
import shutil
from pathlib import Path

import pytest

from tests.support.former_patch import patched_by_the_former_version
from tests.support.small_zemosaic import KINDS, tree, zemosaic
from zemosaic_patch.dropin import checkout, originals, recovery, sources, verdict
from zemosaic_patch.dropin import patch as dropin
from zemosaic_patch.dropin.sources import ENGINE, MODULES, Source

EDIT = "# the owner's own line"


def patched(folder, kind="pre-fix", newline="\n", bom="", **choices):
    root = zemosaic(folder, kind, newline, bom)
    dropin.apply(root, accept_unknown=True, **choices)
    return root


@pytest.mark.parametrize("decision", ["altaz", "altaz or None", "(altaz) or None", "f(altaz)", "(altaz) and None"])
@pytest.mark.parametrize(("newline", "bom", "end"), [("\n", "", "\n"), ("\r\n", "\ufeff", ""), ("\n", "", "\n\n")])
def test_what_was_put_in_is_taken_out_to_the_byte(tmp_path, monkeypatch, decision, newline, bom, end):
    monkeypatch.setitem(KINDS, "odd", {**KINDS["pre-fix"], "decision": decision, "condition": DECIDED[decision]})
    root = zemosaic(tmp_path / "z", "odd", newline, bom)
    for name in MODULES:
        kept = (root / name).read_bytes().rstrip(b"\r\n") + end.replace("\n", newline).encode()
        (root / name).write_bytes(kept)
    before = {name: Source(name, (root / name).read_bytes()) for name in MODULES}
    for everything, model in itertools.product((False, True), ("none", "plane")):
        for name, data in sources.patched(before, everything, model).items():
            original = before[name].data
            assert data != original
            assert recovery.without_patch(Source(name, data), lambda other, own=original: other == own) == original


DECIDED = {  # other forms of the test around nan_to_num
    "altaz": "propagate_mask_for_coverage",
    "altaz or None": "propagate_mask_for_coverage or altaz",
    "(altaz) or None": "(altaz) or propagate_mask_for_coverage",
    "f(altaz)": "not propagate_mask_for_coverage",
    "(altaz) and None": "(propagate_mask_for_coverage) and (altaz or 1)",
}


@pytest.mark.parametrize(("newline", "bom"), [("\n", ""), ("\r\n", "\ufeff")])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("finish", ["apply", "revert"])
def test_a_patch_whose_folder_is_gone_is_mended(tmp_path, kind, finish, newline, bom):
    """As `git clean` leaves it."""
    root = patched(tmp_path / "z", kind, newline, bom)
    whole, original = tree(root), tree(zemosaic(tmp_path / "original", kind, newline, bom))
    shutil.rmtree(root / ENGINE)
    code, lines = verdict.check(root)
    assert code == 1
    assert f"its folder {ENGINE} is gone, and ZeMosaic does not start without it" in lines[-1]
    if finish == "apply":
        dropin.apply(root, accept_unknown=True)
        assert tree(root) == whole
    else:
        assert "taken out" in dropin.revert(root)[0]
        assert tree(root) == original


@pytest.mark.parametrize("gone", [False, True])
@pytest.mark.parametrize("at", ["start", "end"])
def test_an_owners_edits_stay(tmp_path, gone, at):
    root = patched(tmp_path / "z")
    zemosaic(tmp_path / "original")
    for name in MODULES:
        for folder in (root, tmp_path / "original"):
            text = (folder / name).read_text()
            (folder / name).write_text(f"{EDIT}\n{text}" if at == "start" else f"{text}{EDIT}\n")
    expected = tree(tmp_path / "original")
    if gone:
        shutil.rmtree(root / ENGINE)
    assert verdict.check(root)[0] == 1
    before = tree(root)
    with pytest.raises(checkout.RefusedError, match="--accept-unknown"):
        dropin.apply(root)
    assert tree(root) == before, "what is refused changes nothing"
    dropin.apply(root, accept_unknown=True)
    assert verdict.check(root)[0] == 0
    dropin.revert(root)
    assert tree(root) == expected


def test_a_merge_of_the_patch_into_a_newer_version_is_mended(tmp_path):
    """As `git stash`, `git pull`, `git stash pop` leave it."""
    root = patched(tmp_path / "z", "fixed")
    newer = zemosaic(tmp_path / "newer", "newest")
    pulled = {name: Source(name, (newer / name).read_bytes()) for name in MODULES}
    block = (root / MODULES[1]).read_bytes().removeprefix((zemosaic(tmp_path / "x", "fixed") / MODULES[1]).read_bytes())
    (root / MODULES[0]).write_bytes(sources.patched(pulled, False, "plane")[MODULES[0]])
    (root / MODULES[1]).write_bytes(pulled[MODULES[1]].data + block)  # with the older version's lines in it
    assert "changed since: zemosaic_worker.py, zemosaic_align_stack.py" in verdict.check(root)[1][-1]
    taken = dropin.revert(root)[0]
    assert "zemosaic_worker.py and zemosaic_align_stack.py with the changes made since" in taken
    assert tree(root)[MODULES[0]] == pulled[MODULES[0]].data
    assert tree(root)[MODULES[1]] == pulled[MODULES[1]].data


def test_originals_that_are_gone_are_made_anew_and_proven(tmp_path):
    root = patched(tmp_path / "z")
    shutil.rmtree(root / ENGINE / originals.ORIGINALS)
    dropin.revert(root)
    assert tree(root) == tree(zemosaic(tmp_path / "original"))


def test_a_former_versions_patch_whose_folder_is_gone_is_taken_out(tmp_path, monkeypatch):
    published = {name: sources.fingerprint(data) for name, data in tree(zemosaic(tmp_path / "z")).items()}
    monkeypatch.setattr(originals, "KNOWN", published)
    root = patched_by_the_former_version(tmp_path / "z")
    shutil.rmtree(root / ENGINE)
    dropin.revert(root)
    assert tree(root) == tree(zemosaic(tmp_path / "original"))


def said(root):
    """Check what can be read, as `check` reports it, or fails with it."""
    raise checkout.RefusedError(verdict.check(root)[1][-1])


@pytest.mark.parametrize(
    ("name", "old", "new", "reason"),
    [
        (MODULES[0], "zemosaic_patch_nan_safe(stack_reject_algo,", "zemosaic_patch_nan_safe(algorithm,", "was changed"),
        (MODULES[1], "# <<< zemosaic-patch", "print()\n# <<< zemosaic-patch", "own lines at its end were changed"),
        (MODULES[1], "# <<< zemosaic-patch", "", "was changed"),
        (MODULES[0], "import numpy", "<<<<<<< Updated upstream\nimport numpy", "holds marks of git"),
    ],
)
def test_what_cannot_be_told_from_the_patch_is_named_and_nothing_is_changed(tmp_path, name, old, new, reason):
    root = patched(tmp_path / "z")
    path = root / name
    path.write_text(path.read_text().replace(old, new))
    before = tree(root)
    for refused in (dropin.revert, lambda root: dropin.apply(root, accept_unknown=True), said):
        with pytest.raises(checkout.RefusedError, match=rf"{Path(name).stem}.*{reason}.*git checkout HEAD -- FILE"):
            refused(root)
        assert tree(root) == before


def test_a_folder_without_a_manifest_is_moved_away_and_the_rest_is_mended(tmp_path):
    """What the message says, done."""
    root = patched(tmp_path / "z")
    (root / ENGINE / checkout.MANIFEST).write_text("")
    with pytest.raises(checkout.RefusedError, match="move that folder away, then run this command again"):
        dropin.revert(root)
    (root / ENGINE).rename(tmp_path / "away")
    dropin.revert(root)
    assert tree(root) == tree(zemosaic(tmp_path / "original"))
