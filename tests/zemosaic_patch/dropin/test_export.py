# SPDX-License-Identifier: GPL-3.0-or-later
"""The patch for ZeMosaic's maintainer: it applies, it mends what `check` looks for, its functions do what they say."""

import shutil
import subprocess
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nanstack.truth.exact import sample_frame
from nanstack.truth.simulation import apply, invert, similarity, simulate_group
from tests.support.small_zemosaic import tree, zemosaic
from zemosaic_patch import cli
from zemosaic_patch.dropin import export, verdict
from zemosaic_patch.dropin import patch as dropin
from zemosaic_patch.dropin.maintainer import align_stack, align_stack_gpu
from zemosaic_patch.dropin.sources import MODULES, Source

MENDED = ("fixed", "newest")  # kinds of ZeMosaic that the patch is for: since 4.3.1


def git(folder, *words):
    command = ["git", "-c", "user.name=nobody", "-c", "user.email=nobody@example.org", *words]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True).stdout.strip()


def repository(folder, kind="newest"):
    """A ZeMosaic in miniature in a Git repository; returns the folder and its commit."""
    root = zemosaic(folder, kind)
    git(root, "init", "-q")
    git(root, "add", "-A")
    git(root, "commit", "-qm", "first")
    return root, git(root, "rev-parse", "HEAD")


@pytest.mark.parametrize("kind", MENDED)
def test_the_patch_applies_and_all_holds_then(tmp_path, kind):
    root, _ = repository(tmp_path / "z", kind)
    before = tree(root)
    assert verdict.check(root)[0] == 1
    export.export(root, tmp_path / "fix.patch")
    assert tree(root) == before
    git(root, "apply", "--check", str(tmp_path / "fix.patch"))
    git(root, "apply", "--whitespace=error-all", str(tmp_path / "fix.patch"))
    code, lines = verdict.check(root)
    assert not [line for line in lines if line.startswith("AFFECTED")]
    for name in (*MODULES, export.TESTS):
        compile((root / name).read_bytes(), name, "exec")
    changed = {name for name, data in before.items() if tree(root)[name] != data and not name.startswith(".git/")}
    assert changed == set(MODULES[:3])


def test_the_patch_is_small_and_has_no_line_of_the_engine(tmp_path):
    export.export(zemosaic(tmp_path / "z", "newest"), tmp_path / "fix.patch")
    modules, tests = (tmp_path / "fix.patch").read_text().split(f"diff --git a/{export.TESTS}")
    added = [line for line in modules.splitlines() if line.startswith("+") and not line.startswith("+++")]
    assert 50 < len(added) < 150
    assert "nanstack" not in modules
    assert "zemosaic_patch" not in modules + tests


def test_line_ends_of_the_checkout_do_not_matter(tmp_path):
    for name, newline in (("unix", "\n"), ("windows", "\r\n")):
        export.export(zemosaic(tmp_path / name, "newest", newline), tmp_path / f"{name}.patch")
    assert (tmp_path / "windows.patch").read_bytes() == (tmp_path / "unix.patch").read_bytes()


@pytest.mark.parametrize("end", ["", "\n"])
def test_a_change_at_the_end_of_a_file_is_one_that_git_takes(tmp_path, end):
    before = f"one\x0c\ntwo\u2028\nthree{end}"
    (tmp_path / "a.py").write_bytes(before.encode())
    start = before.encode().index(b"three")
    text = export._difference(Source("a.py", before.encode()), [export.Edit(start, start + 5, "3")])
    (tmp_path / "fix.patch").write_bytes(text.encode())
    git(tmp_path, "init", "-q")
    git(tmp_path, "apply", "fix.patch")
    assert (tmp_path / "a.py").read_bytes() == before.replace("three", "3").encode()


def test_a_commit_is_taken_whatever_lies_in_the_folder(tmp_path):
    root, commit = repository(tmp_path / "z")
    export.export(root, tmp_path / "plain.patch")
    dropin.apply(root, accept_unknown=True)
    export.export(root, tmp_path / "fix.patch", commit)
    plain, fix = ((tmp_path / name).read_text().splitlines() for name in ("plain.patch", "fix.patch"))
    assert [line for line in fix if commit in line]
    assert [line for line in fix if "Made by" not in line] == [line for line in plain if "Made by" not in line]


def test_before_4_3_1_it_says_what_is_missing(tmp_path, capsys):
    root = zemosaic(tmp_path / "z", "pre-fix")
    assert cli.main(["export", str(root), "-o", str(tmp_path / "fix.patch")]) == 2
    assert "relies on what ZeMosaic 4.3.1 brought" in capsys.readouterr().err
    assert not (tmp_path / "fix.patch").exists()


@pytest.mark.parametrize(
    ("name", "old", "new", "said"),
    [
        ("zemosaic_align_stack.py", "try_fft = True", "pass", "no assignment of try_fft"),
        ("zemosaic_align_stack.py", "astroalign_module.register(", "other(", "no assignment of astroalign.register"),
        ("zemosaic_align_stack.py", "def _winsorize_block_numpy", "def other", "has no _winsorize_block_numpy"),
        ("zemosaic_align_stack_gpu.py", "as _zas", "as other", "does not import zemosaic_align_stack as _zas"),
    ],
)
def test_a_place_that_is_not_there_is_named(tmp_path, capsys, name, old, new, said):
    root = zemosaic(tmp_path / "z", "newest")
    text = (root / name).read_text()
    assert old in text
    (root / name).write_text(text.replace(old, new))
    assert cli.main(["export", str(root), "-o", str(tmp_path / "fix.patch")]) == 2
    assert said in capsys.readouterr().err
    assert not (tmp_path / "fix.patch").exists()


def test_it_says_what_it_cannot_read_or_will_not_replace(tmp_path, capsys):
    root, _ = repository(tmp_path / "z")
    output = tmp_path / "fix.patch"

    def said(*words, code):
        assert cli.main(["export", *words]) == code
        return capsys.readouterr().err

    assert "no zemosaic_worker.py of a commit abc" in said(str(root), "-o", str(output), "--for", "abc", code=2)
    assert "is not there" in said(str(tmp_path / "no"), "-o", str(output), "--for", "abc", code=2)
    shutil.copytree(root, tmp_path / "patched")
    dropin.apply(tmp_path / "patched", accept_unknown=True)
    assert "name a commit with --for" in said(str(tmp_path / "patched"), "-o", str(output), code=1)
    assert not output.exists()
    output.write_text("mine")
    assert "add --overwrite" in said(str(root), "-o", str(output), code=2)
    assert output.read_text() == "mine"
    assert cli.main(["export", str(root), "-o", str(output), "--overwrite"]) == 0
    assert "diff --git" in output.read_text()
    assert "name a file" in said(str(root), "-o", str(tmp_path), "--overwrite", code=2)


def test_the_tests_that_it_brings_are_python():
    compile(export._text("tests.txt"), export.TESTS, "exec")


# ---------------------------------------------------------------------------------------- what the patch puts in


def samples(seed, missing=0.3, shape=(11, 6, 7)):
    rng = np.random.default_rng(seed)
    values = rng.normal(1000, 20, shape).astype(np.float32)
    values[rng.random(shape) < missing] = np.nan
    return values


@settings(deadline=None, max_examples=50)
@given(st.integers(0, 1000), st.floats(0, 1), st.floats(0, 1), st.integers(1, 12))
def test_quantiles_are_those_of_what_is_there(seed, missing, fraction, count):
    values = samples(seed, missing, (count, 5, 4))
    (found,) = align_stack._nan_quantiles(np, values, (fraction,))
    there = ~np.isnan(values).all(axis=0)
    assert np.array_equal(there, ~np.isnan(found))
    np.testing.assert_allclose(found[there], np.nanquantile(values[:, there], fraction, axis=0), rtol=1e-6)


@pytest.mark.parametrize("missing", [0.0, 0.3])
def test_processor_and_gpu_limit_samples_alike_and_keep_what_is_not_there(missing):
    values = samples(1, missing)
    limited = align_stack._winsorize_block_numpy(values, (0.1, 0.2))
    assert np.array_equal(np.isnan(limited), np.isnan(values))
    low, high = (np.nanquantile(values, fraction, axis=0) for fraction in (0.1, 0.8))
    np.testing.assert_allclose(limited, np.clip(values, low, high), rtol=1e-6)
    np.testing.assert_allclose(align_stack_gpu._winsorize_chunk(values, (0.1, 0.2)), limited, rtol=1e-6)


def test_whole_blocks_are_limited_to_the_bit_as_before():
    values = samples(2, 0)
    low, high = (np.nanquantile(values, fraction, axis=0).astype(np.float32) for fraction in (0.05, 0.95))
    expected = np.minimum(np.maximum(values, low), high)
    assert align_stack._winsorize_block_numpy(values, (0.05, 0.05)).tobytes() == expected.tobytes()


SHAPE = (120, 160)
TURNED = similarity(SHAPE, 12.3, -7.6, 5.0)
SKY = np.float32([1000, 720, 1080])


def registered(monkeypatch, frame, transform=TURNED):
    """Align a frame as the patch does, with its true transform in place of the one that its stars give."""
    from skimage.transform import AffineTransform

    true = AffineTransform(matrix=np.vstack([invert(transform), [0, 0, 1]]))
    known = SimpleNamespace(find_transform=lambda source, target, **settings: (true, None))
    monkeypatch.setattr(align_stack, "astroalign_module", known)
    return align_stack._register_nan_safe(frame, np.zeros_like(frame))


def used(transform):
    """Return rows and columns of the first of the 4 x 4 pixels that each pixel's interpolation uses."""
    x, y = apply(transform, np.arange(SHAPE[1]), np.arange(SHAPE[0])[:, np.newaxis])
    return np.floor(y).astype(int) - 1, np.floor(x).astype(int) - 1


def test_valid_is_what_was_interpolated_from_data_alone(monkeypatch):
    frame = np.random.default_rng(1).normal(1000, 20, (*SHAPE, 3)).astype(np.float32)
    frame[50:60, 70:90, 1] = np.nan
    frame[20, 100, 0] = np.inf
    aligned, valid = registered(monkeypatch, frame)
    whole = np.pad(np.isfinite(frame).all(axis=2), 200)  # beyond the frame is no data
    row, column = used(TURNED)
    truth = np.all([whole[row + 200 + i, column + 200 + j] for i in range(4) for j in range(4)], axis=0)
    assert 0.5 < truth.mean() < 0.95
    assert np.array_equal(valid, truth)
    assert np.array_equal(np.isfinite(aligned), np.repeat(truth[..., np.newaxis], 3, axis=2))


def test_a_flat_coloured_sky_has_no_rim(monkeypatch):
    aligned, valid = registered(monkeypatch, np.broadcast_to(SKY, (*SHAPE, 3)).copy())
    np.testing.assert_allclose(aligned[valid], np.broadcast_to(SKY, aligned[valid].shape), atol=0.01)


def test_by_its_stars_a_frame_is_aligned_as_by_the_exact_transform(monkeypatch):
    (reference, turned), _ = simulate_group(2, (300, 400), seed=3)
    aligned, valid = align_stack._register_nan_safe(turned.data, reference.data)
    exact = sample_frame(turned.data, turned.transform, (300, 400))
    truth = np.full((300, 400, 3), np.nan, np.float32)
    truth[exact.box] = np.where(exact.inside[..., np.newaxis], exact.values, np.nan)
    both = valid & np.isfinite(truth).all(axis=2)
    assert both.sum() > 0.97 * np.isfinite(truth).all(axis=2).sum()
    assert np.median(np.abs(aligned - truth)[both]) < 5  # the noise is 20, and the kernels differ
    assert (valid & ~both).sum() < 100  # along the edge: the transform is measured


def test_frames_get_the_sky_of_the_first_where_both_have_data():
    rng = np.random.default_rng(4)
    scene = rng.gamma(0.1, 500, (60, 80, 3)).astype(np.float32)
    offsets = np.float32([[0, 0, 0], [50, -20, 8], [-35, 60, 5]])
    frames = [scene + offset + rng.normal(0, 3, scene.shape).astype(np.float32) for offset in offsets]
    frames[1][:, :30] = np.nan
    frames[1][10:14] += 900  # a satellite
    frames[2][40:] = np.nan
    lone = np.full_like(scene, np.nan)
    lone[0, 0] = 7
    frames[0][0, 0] = np.nan
    unmatched = [frame.copy() for frame in (*frames, lone)]
    align_stack._match_sky_offsets([*frames, lone])
    for frame, offset, before in zip(frames, offsets, unmatched, strict=False):
        assert np.array_equal(np.isnan(frame), np.isnan(before))
        np.testing.assert_allclose(np.nanmedian(frame - before, axis=(0, 1)), -offset, atol=0.4)
    np.testing.assert_array_equal(lone, unmatched[3])


def test_mono_frames_are_matched_too():
    frames = [np.full((20, 30), level, np.float32) for level in (100, 130)]
    align_stack._match_sky_offsets(frames)
    assert (frames[1] == 100).all()
