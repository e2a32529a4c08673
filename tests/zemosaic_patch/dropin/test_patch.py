# SPDX-License-Identifier: GPL-3.0-or-later
"""The drop-in on small modules written for the purpose: what it changes, what it gives back, what it refuses."""

import ast
import errno
import os
import subprocess
import sys
import textwrap
import types
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import TimeoutError as NotYetError
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import zemosaic_align_stack
from nanstack.io.archives import opened_archive
from nanstack.truth.simulation import simulate_group
from tests.support.former_patch import PATCHED, patched_by_the_former_version
from tests.support.small_zemosaic import KINDS, tree, zemosaic
from zemosaic_patch import cli
from zemosaic_patch.dropin import checkout, engine, hooks, manifest, originals, sources, verdict
from zemosaic_patch.dropin import patch as dropin
from zemosaic_patch.dropin.sources import ENGINE, MODULES

HERE = Path(__file__).resolve().parents[3]


def run(folder, code):
    """Run code in a fresh Python in which the folder's modules are importable; return what it prints."""
    command = [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(folder)!r})\n{textwrap.dedent(code)}"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=folder.parent, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_no_source_is_parsed_while_an_archive_is_read(tmp_path):
    """Python 3.11's parser has failed in threads, and reading an archive uses it, too."""
    np.savez(tmp_path / "kept.npz", numbers=np.arange(3))
    source = sources.Source("x.py", b"x = 1")
    with ThreadPoolExecutor(1) as pool:
        with opened_archive(tmp_path / "kept.npz") as kept:
            parsed = pool.submit(lambda: source.tree)
            assert kept["numbers"].tolist() == [0, 1, 2]
            with pytest.raises(NotYetError):
                parsed.result(0.1)
        assert ast.unparse(parsed.result(60)) == "x = 1"


def patch(folder, **choices):
    return dropin.apply(folder, accept_unknown=True, **choices)


# ------------------------------------------------------------------------------------------------ in and out


@pytest.mark.parametrize("bom", ["", "\ufeff"])
@pytest.mark.parametrize("newline", ["\n", "\r\n"])
@pytest.mark.parametrize("kind", KINDS)
def test_apply_is_seen_is_done_once_and_is_taken_back_to_the_byte(tmp_path, kind, newline, bom):
    root = zemosaic(tmp_path / "z", kind, newline, bom)
    before = tree(root)
    assert verdict.check(root)[0] == 1
    patch(root)
    patched = tree(root)
    assert verdict.check(root)[0] == 0
    for name in MODULES[:3]:
        text = patched[name]
        assert text != before[name]
        assert text.count(b"\n") == text.count(newline.encode()), "line ends stay what they were"
        assert text.startswith(bom.encode())
        compile(text, name, "exec")
    assert "nothing to do" in patch(root)[0]
    assert tree(root) == patched
    dropin.revert(root)
    assert tree(root) == before
    assert "nothing to do" in dropin.revert(root)[0]


def test_the_diff_is_small_and_changes_nothing(tmp_path):
    root = zemosaic(tmp_path / "z")
    before = tree(root)
    diff = "\n".join(dropin.apply(root, dry_run=True))
    assert tree(root) == before
    changed = [line for line in diff.splitlines() if line[:1] in "+-" and line[:3] not in ("+++", "---")]
    removed = [line for line in changed if line[0] == "-" and line[1:].strip()]
    assert len(removed) == 2
    assert all("propagate_mask_for_coverage" in line for line in removed)
    assert len(changed) < 45


def test_a_fixed_module_is_left_alone(tmp_path):
    root = zemosaic(tmp_path / "z", "fixed")
    utils = (root / MODULES[3]).read_bytes()
    patch(root)
    assert (root / MODULES[3]).read_bytes() == utils


def test_modes_and_permissions_are_kept(tmp_path):
    if os.name == "nt":
        pytest.skip("Windows has no permission bits")
    root = zemosaic(tmp_path / "z")
    (root / MODULES[0]).chmod(0o751)
    patch(root)
    assert (root / MODULES[0]).stat().st_mode & 0o777 == 0o751
    dropin.revert(root)
    assert (root / MODULES[0]).stat().st_mode & 0o777 == 0o751


def test_the_other_choice_is_an_update(tmp_path):
    root = zemosaic(tmp_path / "z")
    before = tree(root)
    patch(root)
    patch(root, all_algorithms=True)
    assert "for all tiles" in verdict.check(root)[1][-1]
    dropin.revert(root)
    assert tree(root) == before


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_sky_matching_is_a_line_of_its_own_and_one_of_the_list(tmp_path, newline):
    root = zemosaic(tmp_path / "z", newline=newline)
    before = tree(root)
    assert verdict_on_skies(root) == (1, "AFFECTED")
    patch(root, match_sky="none")
    plain = tree(root)
    assert verdict_on_skies(root) == (0, "left out")
    assert "their frames' skies not matched, as you chose" in verdict.check(root)[1][-1]
    for model in ("offset", "plane"):
        diff = "\n".join(patch(root, match_sky=model, dry_run=True)).splitlines()
        line = f'    zemosaic_align_stack._zemosaic_patch.match_sky(kept, "{model}", progress_callback)'
        assert f"+{line}" in diff
        patch(root, match_sky=model)
        matched = tree(root)
        changed = {name for name in matched if matched[name] != plain[name]}
        assert changed == {MODULES[0], str(Path(ENGINE, checkout.MANIFEST))}
        assert matched[MODULES[0]].replace(f"{line}{newline}".encode(), b"") == plain[MODULES[0]]
        assert verdict_on_skies(root) == (0, "holds")
        state = verdict.check(root)[1][-1]
        assert f"their frames' skies matched by {model};" in state
        assert "nothing to do" in patch(root, match_sky=model)[0]
        assert patch(root, match_sky=model, dry_run=True) == [state]
    patch(root, match_sky="none")
    assert tree(root) == plain
    patch(root, match_sky="linear")
    dropin.revert(root)
    assert tree(root) == before


def verdict_on_skies(root):
    """Return the exit code of `check`, and how its line on the skies begins."""
    code, lines = verdict.check(root)
    (line,) = (line for line in lines if "matched in sky level" in line)
    return code, line[:8].rstrip()


def test_apply_tells_what_it_changes_of_earlier_choices_and_how_they_come_back(tmp_path):
    root = zemosaic(tmp_path / "z")
    patch(root, all_algorithms=True, match_sky="none")
    chosen = tree(root)
    told = patch(root)
    assert told[0] == (
        "the patch was for all tiles, and is for winsorized tiles now; the frames' skies were not matched, and are "
        "matched by plane now (as before: `zemosaic-patch apply --all-algorithms --no-match-sky`)"
    )
    assert sum("as before:" in line for line in told) == 1
    patch(root, all_algorithms=True, match_sky="none")
    assert tree(root) == chosen


# --------------------------------------------------------------------------------------- earlier versions' patches


def test_the_former_versions_patch_is_reverted_to_the_byte(tmp_path):
    root = patched_by_the_former_version(tmp_path / "z")
    assert {name: checkout.digest((root / name).read_bytes()) for name in PATCHED} == PATCHED
    assert verdict.check(root)[1][-2].startswith("the patch is in, for winsorized tiles")
    dropin.revert(root)
    assert tree(root) == tree(zemosaic(tmp_path / "original"))


@pytest.mark.parametrize("all_algorithms", [False, True])
def test_the_former_versions_patch_is_named_and_completed_by_apply(tmp_path, all_algorithms):
    root = patched_by_the_former_version(tmp_path / "z", all_algorithms=all_algorithms)
    fresh = zemosaic(tmp_path / "fresh")
    patch(fresh, all_algorithms=all_algorithms)
    assert verdict_on_skies(root) == (1, "AFFECTED")
    kept = " --all-algorithms" if all_algorithms else ""
    assert verdict.check(root)[1][-1] == (
        f"it is an earlier version's: `zemosaic-patch apply{kept}` brings it up to date"
    )
    assert patch(root, all_algorithms=all_algorithms)[0].startswith(
        "the frames' skies were not matched, and are matched by plane now"
    )
    assert tree(root) == tree(fresh)
    assert verdict_on_skies(root) == (0, "holds")
    dropin.revert(root)
    assert tree(root) == tree(zemosaic(tmp_path / "original"))


@pytest.mark.parametrize("finish", [patch, dropin.revert])
def test_a_killed_run_of_the_former_version_is_finished(tmp_path, finish):
    root = patched_by_the_former_version(tmp_path / "z", left_out=MODULES[2:])
    assert "half in" in verdict.check(root)[1][-1]
    finish(root)
    expected = zemosaic(tmp_path / "expected")
    if finish is patch:
        patch(expected)
    assert tree(root) == tree(expected)


def test_a_manifest_without_a_choice_of_sky_is_an_early_one():
    """As versions wrote it that could not match the sky yet."""
    early = manifest.Manifest.of('{"all_algorithms": true, "modules": {}, "engine": {}}')
    assert early.choices == manifest.Choices(True, "none")
    assert not early.left_out


def test_another_versions_patch_is_named_with_both_versions_and_what_was_chosen(tmp_path, monkeypatch):
    root = zemosaic(tmp_path / "z")
    monkeypatch.setattr(manifest, "installed_version", lambda: "7.1")
    patch(root, match_sky="offset")
    assert verdict.check(root)[0] == 0, "the same files, whatever their version is called"
    monkeypatch.setattr(verdict, "engine_files", lambda: {"__init__.py": b"newer"})
    monkeypatch.setattr(verdict, "installed_version", lambda: "7.2")
    code, lines = verdict.check(root)
    assert code == 1
    assert lines[-1] == (
        "it is that of zemosaic-patch 7.1, and this is 7.2: `zemosaic-patch apply --match-sky offset` brings it up to "
        "date"
    )


@pytest.mark.parametrize(
    "text",
    ["", "[]", "{}", '{"all_algorithms": 0, "modules": {"zemosaic_utils.py": {}}, "engine": {}}']
    + ['{"all_algorithms": 0, "modules": {"run.py": {"original": "", "patched": ""}}, "engine": {}}']
    + ['{"all_algorithms": 0, "modules": [], "engine": {}}', '{"all_algorithms": 0, "modules": {}, "engine": 7}'],
)
def test_a_damaged_manifest_is_named_and_nothing_is_changed(tmp_path, text):
    root = zemosaic(tmp_path / "z")
    patch(root)
    (root / ENGINE / checkout.MANIFEST).write_text(text)
    before = tree(root)
    for refused in (verdict.check, patch, dropin.revert):
        with pytest.raises(checkout.RefusedError, match="holds no manifest"):
            refused(root)
    assert tree(root) == before


# ---------------------------------------------------------------------------------------------- places in sources


@settings(max_examples=60, deadline=None)
@given(
    st.binary(max_size=60),
    st.lists(st.tuples(st.integers(0, 60), st.binary(min_size=1, max_size=5)), max_size=4, unique_by=lambda x: x[0]),
)
def test_insertions_insert_and_nothing_else(data, pairs):
    insertions = [sources.Insertion(min(at, len(data)), text) for at, text in pairs]
    result = sources.inserted(data, insertions)
    assert len(result) == len(data) + sum(len(one.text) for one in insertions)
    rest = result
    for one in sorted(insertions, key=lambda one: one.offset, reverse=True):
        at = one.offset + sum(len(other.text) for other in insertions if other.offset < one.offset)
        if sum(other.offset == one.offset for other in insertions) == 1:
            assert rest[at : at + len(one.text)] == one.text
        rest = rest[:at] + rest[at + len(one.text) :]
    assert rest == data


def test_check_names_the_items_with_their_lines(tmp_path):
    code, lines = verdict.check(zemosaic(tmp_path / "z"))
    assert code == 1
    assert "ZeMosaic 9.9.1" in lines[0]
    affected = [line for line in lines if line.startswith("AFFECTED")]
    assert len(affected) == 9
    text = (tmp_path / "z" / MODULES[0]).read_text().splitlines()
    place = next(line for line in affected if "(mask)" in line).rsplit(":", 1)[1].rstrip(")")
    assert text[int(place) - 1].lstrip().startswith("propagate_mask_for_coverage =")
    fixed = verdict.check(zemosaic(tmp_path / "y", "fixed"))[1]
    assert sum(line.startswith("AFFECTED") for line in fixed) == 3, "polarity, pre-shift, skies"


# --------------------------------------------------------------------------------------------- what runs inside

# Without Numba, whose compilation, once for each copy of the engine, would take most of the time.
TILE = """
import sys; sys.modules["numba"] = None
import numpy as np, zemosaic_worker, zemosaic_align_stack, zemosaic_align_stack_gpu as gpu
frames = list(np.load({frames!r}))
said = []
def listen(key, progress=None, level=None, **details): said.append((key, level))
def tile(algorithm):
    return zemosaic_worker.create_master_tile(frames, algorithm, listen)
"""


SCENE = {"seed": 2, "max_shift": 15.0, "max_rotation": 2.0, "n_stars": 120}


@pytest.fixture(scope="module")
def frames():
    return simulate_group(4, (200, 240), **SCENE)[0]


@pytest.fixture(scope="module")
def cached(frames, tmp_path_factory):
    path = tmp_path_factory.mktemp("frames") / "frames.npy"
    np.save(path, [frame.data for frame in frames])
    return str(path)


def test_winsorized_tiles_are_ours_and_no_others(tmp_path, cached, frames):
    root = zemosaic(tmp_path / "z")
    patch(root, match_sky="none")
    out = run(
        root,
        TILE.format(frames=cached)
        + """
logged, image = tile("winsorized_sigma_clip")
np.save("ours.npy", image)
logged_kappa, kappa = tile("kappa_sigma")
zemosaic_worker.altaz = True
logged_altaz, altaz = tile("kappa_sigma")
plain = np.mean(frames, axis=0)
holes = [np.where(np.arange(240)[:, None] < 9, np.nan, frame) for frame in frames]
print(logged, logged_kappa, logged_altaz, np.array_equal(kappa, plain + 8000), np.array_equal(altaz, plain + 8000))
print(zemosaic_align_stack.stack_winsorized_sigma_clip(frames)[0].mean() > 7000)
print(np.array_equal(zemosaic_align_stack.stack_winsorized_sigma_clip(holes)[0],
                     np.mean(holes, axis=0) + 7000, equal_nan=True))
print(gpu.gpu_stack_from_paths(frames, {})[0].mean() > 10000)
print([level for key, level in said if level == "WARN"])
""",
    )
    assert out.splitlines() == ["True False True True True", "True", "True", "True", "[]"]
    aligned, failed = zemosaic_align_stack.align_images_in_group(
        [frame.data for frame in frames], 0, propagate_mask=True
    )
    expected, _ = zemosaic_align_stack.stack_winsorized_sigma_clip(aligned)
    assert failed == []
    np.testing.assert_allclose(np.load(tmp_path / "ours.npy"), expected, rtol=1e-5)


def levels(tile, reference):
    """Return the levels (areas, channels) where 2 to 4 frames have data, as far as they are not the scene's."""
    truth, coverage = reference
    left = tile - truth
    areas = [coverage == n for n in range(2, 5)]
    assert min(np.count_nonzero(area) for area in areas) > 300
    return np.array([np.nanmedian(left[area], axis=0) for area in areas])


def test_sky_levels_are_matched_unless_told_not_to_in_a_spawned_process_too(tmp_path, frames):
    """Against the same frames under one sky."""
    aligned, _ = zemosaic_align_stack.align_images_in_group([frame.data for frame in frames], 0, propagate_mask=True)
    steady = zemosaic_align_stack.stack_winsorized_sigma_clip(aligned)[0], np.isfinite(aligned)[..., 0].sum(axis=0)
    varied = str(tmp_path / "varied.npy")
    np.save(varied, [frame.data for frame in simulate_group(4, (200, 240), **SCENE, sky_scatter=0.05)[0]])
    found = {}
    for name, choices in (("unmatched", {"match_sky": "none"}), ("default", {})):
        root = zemosaic(tmp_path / name)
        patch(root, **choices)
        out = run(
            root,
            TILE.format(frames=varied)
            + f"""
import multiprocessing
with multiprocessing.get_context("spawn").Pool(1, exec, ("import sys; sys.modules['numba'] = None",)) as pool:
    spawned = pool.apply(zemosaic_worker.create_master_tile, (frames, "winsorized_sigma_clip"))[1]
image = tile("winsorized_sigma_clip")[1]
np.save("{name}.npy", image)
kappa = tile("kappa_sigma")[1]
print(np.array_equal(spawned, image, equal_nan=True), np.array_equal(kappa, np.mean(frames, axis=0) + 8000))
""",
        )
        assert out == "True True"
        found[name] = np.ptp(levels(np.load(tmp_path / f"{name}.npy"), steady), axis=0).max()
    assert found["unmatched"] > 5
    assert found["default"] < 1


def test_frames_without_a_common_pixel_are_counted_and_others_frames_are_left_alone():
    rng = np.random.default_rng(1)
    left, right = np.full((2, 64, 128, 3), np.nan, np.float32)
    left[:, :60], right[:, 70:] = rng.normal(1000, 5, (64, 60, 3)), rng.normal(1100, 5, (64, 58, 3))
    said = []
    group = [frame.copy().view(hooks.AlignedFrame) for frame in (left, right)]
    hooks.match_sky(group, "offset", lambda *told: said.append(told))
    np.testing.assert_array_equal(group, [left, right])
    assert [(text[:11], level) for text, _, level in said] == [("1 of 2 fram", "WARN")]
    theirs = [left, left + 50]
    hooks.match_sky(theirs, "offset")
    np.testing.assert_array_equal(theirs, [left, left + 50])


def test_skies_are_matched_to_the_frames_mean_not_to_the_first_ones():
    frames = simulate_group(8, (200, 240), **{**SCENE, "max_shift": 0.0, "max_rotation": 0.0}, sky_gradient=0.2)[0]
    y, x = np.mgrid[:200, :240]
    planes = [frame.sky_at(x, y) for frame in frames]
    mean = np.mean(planes, axis=0)
    assert np.abs(planes[0] - mean).max() > 60, "the first frame's gradient is another"
    ours = [frame.data.view(hooks.AlignedFrame) for frame in frames]
    light = [frame.data - plane for frame, plane in zip(frames, planes, strict=True)]
    hooks.match_sky(ours, "plane")
    for frame, own in zip(ours, light, strict=True):
        assert np.abs(np.median(frame - own - mean, axis=(0, 1))).max() < 3
        assert np.abs(frame - own - mean).max() < 30


def test_alpha_follows_the_coverage_where_the_tile_is_ours():
    coverage = np.array([[0, 1, 4, 5, 7, 8]], np.float32)
    alpha = np.array([[0, 255, 255, 255, 255, 255]], np.uint8)
    ours = hooks.coverage_alpha(alpha, coverage, hooks.NAN_SAFE)
    assert ours.dtype == np.uint8
    assert ours.tolist() == [[0, 128, 128, 159, 223, 255]], "no data stays none; what has data stays more than half"
    cut = np.array([[0, 0, 255, 255, 0, 0]], np.uint8)
    assert hooks.coverage_alpha(cut, coverage, hooks.NAN_SAFE).tolist() == [[0, 0, 128, 159, 0, 0]]
    for theirs in (True, False, 1):
        assert hooks.coverage_alpha(alpha, coverage, theirs) is alpha
    assert hooks.coverage_alpha(alpha, coverage[:, 1:], hooks.NAN_SAFE) is alpha, "a tile that was trimmed since"
    assert hooks.coverage_alpha(alpha, None, hooks.NAN_SAFE) is alpha
    assert hooks.coverage_alpha(None, coverage, hooks.NAN_SAFE) is None
    for empty in (np.zeros((2, 3)), np.zeros((0, 3))):
        assert not hooks.coverage_alpha(np.zeros(empty.shape, np.uint8), empty, hooks.NAN_SAFE).any()


def test_a_phase_5_that_takes_alpha_as_weight_gets_it_by_coverage(tmp_path, cached):
    root = zemosaic(tmp_path / "z", "newest")
    patch(root, match_sky="none")
    run(
        root,
        TILE.format(frames=cached)
        + """
import zemosaic_utils
tile("winsorized_sigma_clip")
zemosaic_worker.altaz = True
tile("kappa_sigma")
np.savez("alpha.npz", *zemosaic_utils.saved)
""",
    )
    ours, theirs = np.load(tmp_path / "alpha.npz").values()
    assert set(np.unique(ours)) == {0, 128, 191, 255}, "of four frames none, one or two, three, all"
    assert set(np.unique(theirs)) == {255}, "not ours"


@pytest.mark.parametrize(
    ("part", "other", "missing"),
    [("coverage_count_hw", "counts", "no coverage_count_hw"), ("alpha_mask=", "mask=", "no call of save_fits_image")],
)
def test_a_phase_5_that_is_unknown_is_not_patched(tmp_path, part, other, missing):
    root = zemosaic(tmp_path / "z", "newest")
    worker = root / MODULES[0]
    worker.write_text(worker.read_text().replace(part, other))
    before = tree(root)
    with pytest.raises(checkout.NotPatchableError, match=missing):
        patch(root)
    assert tree(root) == before


def test_all_algorithms_are_ours_on_request(tmp_path, cached, frames):
    root = zemosaic(tmp_path / "z", "fixed")
    patch(root, all_algorithms=True, match_sky="none")
    run(root, TILE.format(frames=cached) + "np.save('ours.npy', tile('kappa_sigma')[1])")
    aligned, _ = zemosaic_align_stack.align_images_in_group([frame.data for frame in frames], 0, propagate_mask=True)
    expected, _ = zemosaic_align_stack.stack_kappa_sigma_clip(aligned)
    np.testing.assert_allclose(np.load(tmp_path / "ours.npy"), expected, rtol=1e-5)


def test_the_newest_gets_its_canvas_and_its_clip(tmp_path, cached, frames):
    root = zemosaic(tmp_path / "z", "newest")
    patch(root, match_sky="none")
    run(root, TILE.format(frames=cached) + "np.save('ours.npy', tile('winsorized_sigma_clip')[1])")
    tile = np.load(tmp_path / "ours.npy")
    side = 313  # ceil(hypot(200, 240))
    assert tile.shape == (side, side, 3)
    top, left = (side - 200) // 2, (side - 240) // 2
    assert np.isfinite(tile[top : top + 200, left : left + 240]).mean() > 0.99, "the reference, in the middle"
    aligned, _ = zemosaic_align_stack.align_images_in_group(
        [hooks.pad_to_canvas(frame.data) for frame in frames], 0, propagate_mask=True
    )
    huber, _ = zemosaic_align_stack.stack_winsorized_sigma_clip(aligned, zconfig={"wsc_impl": "pixinsight"})
    quantile, _ = zemosaic_align_stack.stack_winsorized_sigma_clip(aligned, zconfig={"wsc_impl": "legacy_quantile"})
    np.testing.assert_allclose(tile, huber, rtol=1e-5)
    assert not np.allclose(tile, quantile, rtol=1e-5, equal_nan=True)


@pytest.mark.parametrize("package", [False, True])
def test_the_patch_is_there_in_a_spawned_process_and_in_a_package(tmp_path, package):
    root = zemosaic(tmp_path / "zemosaic")
    patch(root)
    code = """\
    import multiprocessing, importlib, sys
    def where(prefix):
        module = importlib.import_module(prefix + "zemosaic_align_stack")
        worker = importlib.import_module("zemosaic_worker")
        return module.align_images_in_group.__code__.co_filename
    if __name__ == "__main__":
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            print(pool.apply(where, (sys.argv[1],)))
    """
    script = tmp_path / "script.py"
    script.write_text(textwrap.dedent(code))
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(root), str(tmp_path)])}
    command = [sys.executable, str(script), "zemosaic." if package else ""]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=True)
    assert Path(done.stdout.strip()) == root / ENGINE / "zemosaic_patch" / "dropin" / "hooks.py"


def test_the_engine_needs_nothing_of_this_project(tmp_path):
    root = zemosaic(tmp_path / "z")
    patch(root)
    out = run(
        root,
        f"""
        import importlib, pkgutil, sys
        import {ENGINE} as engine
        for module in pkgutil.walk_packages(engine.__path__, engine.__name__ + "."):
            importlib.import_module(module.name)
        print([name for name in sys.modules if name.split(".")[0] in ("nanstack", "zemosaic_patch", "zemosaic_utils")])
        """,
    )
    assert out == "[]"


def test_without_what_we_need_zemosaic_does_as_before_and_says_once_what_to_do(tmp_path, cached):
    root = zemosaic(tmp_path / "z", "fixed")
    patch(root)
    out = run(
        root,
        "import sys; sys.modules['sep'] = sys.modules['sep_pjw'] = None\n"
        + TILE.format(frames=cached)
        + """
first, second = tile("winsorized_sigma_clip"), tile("winsorized_sigma_clip")
print(first[0], np.array_equal(first[1], np.mean(frames, axis=0) + 7000))
print(*said, sep="\\n")
""",
    )
    told = (
        "zemosaic-patch: sep is missing, so that tiles are made without the patch. To install it, close ZeMosaic and "
    )
    text = f'{told}run in a terminal: "{sys.executable}" -m pip install --upgrade sep'
    assert out.splitlines() == ["True True", str((text, "WARN"))]


def test_without_numba_tiles_are_ours_and_it_is_said_once_how_they_are_made_faster(tmp_path, cached):
    root = zemosaic(tmp_path / "z")
    patch(root)
    made = TILE.format(frames=cached) + "tile('winsorized_sigma_clip'); tile('winsorized_sigma_clip')\n"
    out = run(root, made + "print(*[one for one in said if 'zemosaic-patch' in one[0]], sep='\\n')")
    assert out.count("-m pip install --upgrade numba") == 1
    assert out.endswith("'INFO')")


def test_a_gpu_that_cannot_raises_zemosaics_own_error(tmp_path):
    root = zemosaic(tmp_path / "z")
    patch(root)
    out = run(
        root,
        f"""
        import numpy as np, zemosaic_align_stack_gpu as gpu
        from {ENGINE}.zemosaic_patch.dropin.hooks import AlignedFrame
        from {ENGINE} import zemosaic_align_stack_gpu as ours
        def fails(*args, **kwargs): raise ours.GPUStackingError("no memory")
        ours.gpu_stack_from_arrays = fails
        try:
            gpu.gpu_stack_from_arrays([np.ones((4, 4, 3), np.float32).view(AlignedFrame)] * 3, {{}})
        except gpu.GPUStackingError as error:
            print(error)
        """,
    )
    assert out == "no memory"


def test_percentiles_leave_out_what_is_not_there():
    original = types.SimpleNamespace(calls=0)

    def percentiles(arr2d, p_low, p_high):
        original.calls += 1
        return tuple(np.percentile(arr2d, [p_low, p_high]))

    ours = hooks.percentiles(percentiles)
    values = np.arange(12.0).reshape(3, 4)
    assert ours(values, 25, 75) == tuple(np.percentile(values, [25, 75]))
    values[1, 1] = np.nan
    assert ours(values, 25, 75) == tuple(np.nanpercentile(values, [25, 75]))
    assert all(np.isnan(ours(np.full((2, 2), np.nan), 25, 75)))
    assert original.calls == 2


# ---------------------------------------------------------------------------------------------------- bad cases


@pytest.mark.parametrize(
    ("name", "old", "new", "message"),
    [
        (MODULES[0], "propagate_mask_for_coverage = ", "wanted = ", "no assignment of propagate_mask_for_coverage"),
        (MODULES[0], "nan_to_num", "zero", "nan_to_num"),
        (MODULES[0], "kept[index] =", "clean =", "no list of frames that nan_to_num fills"),
        (MODULES[0], "create_master_tile", "make_tile", "has no create_master_tile"),
        (MODULES[1], "def align_images_in_group", "def align", "has no align_images_in_group"),
        (MODULES[2], "class GPUStackingError", "class GPUError", "has no GPUStackingError"),
        (MODULES[3], "def _percentiles_gpu", "def percentiles", "has no _percentiles_gpu"),
        (MODULES[3], "import numpy", "import import", "no Python source"),
    ],
)
def test_an_anchor_that_is_not_there_is_named_and_nothing_is_changed(tmp_path, name, old, new, message):
    root = zemosaic(tmp_path / "z")
    path = root / name
    path.write_text(path.read_text().replace(old, new))
    before = tree(root)
    with pytest.raises(checkout.NotPatchableError, match=message):
        patch(root, match_sky="offset")
    assert tree(root) == before


def test_an_unknown_file_is_refused_unless_told(tmp_path, monkeypatch):
    root = zemosaic(tmp_path / "z", newline="\r\n")
    before = tree(root)
    with pytest.raises(
        checkout.RefusedError, match=r"zemosaic_worker\.py .* not those of a version that this patch knows"
    ):
        dropin.apply(root)
    assert tree(root) == before
    published = {name: sources.fingerprint(before[name].replace(b"\r\n", b"\n")) for name in MODULES}
    monkeypatch.setattr(originals, "KNOWN", published)
    dropin.apply(root)
    assert verdict.check(root)[0] == 0


def test_a_checkout_that_git_updated_is_patched_anew_or_cleaned(tmp_path):
    root = zemosaic(tmp_path / "z")
    patch(root)
    zemosaic(root, "fixed")  # all modules replaced, the engine's folder still there
    assert "half in" in verdict.check(root)[1][-1]
    patch(root)
    assert verdict.check(root)[0] == 0
    zemosaic(root, "newest")
    dropin.revert(root)
    assert tree(root) == tree(zemosaic(tmp_path / "y", "newest"))


def test_one_module_updated_is_kept_as_it_is_by_revert(tmp_path):
    root = zemosaic(tmp_path / "z")
    patch(root)
    newer = zemosaic(tmp_path / "y", "fixed")
    (root / MODULES[0]).write_bytes((newer / MODULES[0]).read_bytes())
    dropin.revert(root)
    expected = tree(zemosaic(tmp_path / "x"))
    expected[MODULES[0]] = (newer / MODULES[0]).read_bytes()
    assert tree(root) == expected


@pytest.mark.parametrize("name", [MODULES[1], ENGINE])
def test_links_that_lead_out_are_refused(tmp_path, name):
    root = zemosaic(tmp_path / "z")
    outside = tmp_path / name
    if (root / name).exists():
        (root / name).rename(outside)
    else:
        outside.mkdir()
    try:
        (root / name).symlink_to(outside)
    except OSError as error:
        pytest.skip(f"no symbolic links here: {error}")
    before = tree(tmp_path)
    with pytest.raises(checkout.RefusedError, match="link out of"):
        patch(root)
    assert tree(tmp_path) == before


def test_a_folder_of_the_engines_name_is_not_touched(tmp_path):
    root = zemosaic(tmp_path / "z")
    (root / ENGINE).mkdir()
    (root / ENGINE / "mine.txt").write_text("mine")
    before = tree(root)
    for refused in (patch, dropin.revert):
        with pytest.raises(checkout.RefusedError, match="holds no manifest"):
            refused(root)
    assert tree(root) == before


def test_a_damaged_engine_is_seen_and_mended(tmp_path):
    root = zemosaic(tmp_path / "z")
    patch(root)
    whole = tree(root)
    (root / ENGINE / "nanstack" / "register" / "warp.py").write_text("")
    code, lines = verdict.check(root)
    assert code == 1
    assert f"changed: {ENGINE}/nanstack/register/warp.py" in lines[-1]
    patch(root)
    assert tree(root) == whole


def test_a_read_only_folder_is_refused(tmp_path):
    if os.name == "nt" or os.geteuid() == 0:
        pytest.skip("this user may write anywhere, or permissions work otherwise here")
    root = zemosaic(tmp_path / "z")
    root.chmod(0o555)
    try:
        with pytest.raises(checkout.RefusedError, match="cannot be written to"):
            patch(root)
        root.chmod(0)
        with pytest.raises(checkout.RefusedError, match="cannot be read .* run this command as the folder's owner"):
            verdict.check(root)
    finally:
        root.chmod(0o755)


def test_a_full_disk_changes_nothing(tmp_path):
    """A limit on the size of files stands for the disk: writing beyond it fails in the middle of a file."""
    pytest.importorskip("resource", reason="limits on file sizes are Unix's")
    root = zemosaic(tmp_path / "z")
    before = tree(root)
    out = run_here(
        f"""
        import resource, zemosaic_patch.dropin.patch
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
        try:
            zemosaic_patch.dropin.patch.apply({str(root)!r}, accept_unknown=True)
        except OSError as error:
            print("failed")
        """
    )
    assert out == "failed"
    assert tree(root) == before


def run_here(code, check=0):
    """Run code in a fresh Python with this project's modules; return what it prints."""
    command = [sys.executable, "-c", textwrap.dedent(code)]
    environment = {**os.environ, "PYTHONPATH": str(HERE)}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == check, done.stderr
    return done.stdout.strip()


def test_a_module_that_another_program_holds_takes_all_back(tmp_path, monkeypatch):
    root = zemosaic(tmp_path / "z")
    before = tree(root)
    replace = os.replace

    def held(source, target):  # as on Windows, where an open file cannot be replaced
        if Path(target).name == MODULES[2] and "staged" in str(source):
            raise PermissionError(13, "in use")
        replace(source, target)

    monkeypatch.setattr(os, "replace", held)
    with pytest.raises(checkout.RefusedError, match=r"zemosaic_align_stack_gpu\.py cannot be replaced \(in use\)"):
        patch(root)
    assert tree(root) == before


KILLED = """
import os, sys, zemosaic_patch.dropin.patch, pathlib
count, last = 0, {moment}
def dying(function):
    def call(*args, **kwargs):
        global count
        count += 1
        if count == last:
            os._exit(9)
        return function(*args, **kwargs)
    return call
os.replace = dying(os.replace)
os.fsync = dying(os.fsync)
pathlib.Path.rename = dying(pathlib.Path.rename)
if {reverts}:
    zemosaic_patch.dropin.patch.revert({root!r})
else:
    zemosaic_patch.dropin.patch.apply({root!r}, accept_unknown=True)
"""


@pytest.mark.parametrize("finish", ["apply", "revert"])
@pytest.mark.parametrize(
    ("reverts", "moment"), [(False, k) for k in (1, 20, -5, -3, -1)] + [(True, k) for k in (1, 3, 5)]
)
def test_a_killed_run_is_seen_and_finished(tmp_path, reverts, moment, finish):
    """Killed before its k-th step (counted from the end where negative)."""
    root = zemosaic(tmp_path / "z")
    original = tree(root)
    patch(root)
    whole = tree(root)
    if not reverts:
        dropin.revert(root)
    steps = len(engine.engine_files()) + 2 * len(MODULES) + 1 + 1 + len(MODULES)
    run_here(KILLED.format(moment=moment % (steps + 1), reverts=reverts, root=str(root)), check=9)
    seen = tree(root)
    seen.pop(checkout.LOCK, None)
    if seen not in (original, whole):
        partial = any(name.startswith(checkout.PARTIAL) for name in seen)
        assert partial or "half in" in verdict.check(root)[1][-1]
    if finish == "apply":
        patch(root)
        assert tree(root) == whole
    else:
        dropin.revert(root)
        assert tree(root) == original


def test_two_at_once(tmp_path):
    root = zemosaic(tmp_path / "z")
    holder = subprocess.Popen(
        [
            sys.executable,
            "-c",
            f"import pathlib, sys, zemosaic_patch.dropin.checkout as d\nwith d.locked(pathlib.Path({str(root)!r})):\n"
            "    print('held', flush=True)\n    sys.stdin.read()",
        ],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(HERE)},
    )
    assert holder.stdout.readline().strip() == b"held"
    for refused in (patch, dropin.revert):
        with pytest.raises(checkout.RefusedError, match="another zemosaic-patch"):
            refused(root)
    if os.name == "nt":
        holder.kill()
    else:
        holder.kill()  # a lock dies with its process
    holder.communicate()
    patch(root)
    assert verdict.check(root)[0] == 0
    assert not (root / checkout.LOCK).exists()


def test_where_nothing_can_be_locked_the_patch_goes_in_all_the_same(tmp_path, monkeypatch):
    """As on some network drives."""
    fcntl = pytest.importorskip("fcntl", reason="stands for a file system without locks")

    def unsupported(*_):
        raise OSError(errno.ENOLCK, "no locks available")

    monkeypatch.setattr(fcntl, "flock", unsupported)
    root = zemosaic(tmp_path / "z")
    patch(root)
    assert verdict.check(root)[0] == 0


# ------------------------------------------------------------------------------------------------- command line


def test_commands_and_exit_codes(tmp_path, capsys):
    root = zemosaic(tmp_path / "z")
    before = tree(root)
    command = cli.main
    assert command(["check", str(root)]) == 1
    assert command(["apply", str(root), "--dry-run"]) == 0
    assert tree(root) == before
    assert command(["apply", str(root)]) == 1
    assert "--accept-unknown" in capsys.readouterr().err
    assert command(["apply", str(root), "--accept-unknown"]) == 0
    assert command(["check", str(root)]) == 0
    for options, matched in ([], "by plane"), (["--no-match-sky"], "not matched"), (["--match-sky"], "by plane"):
        assert command(["apply", str(root), *options, "--accept-unknown"]) == 0
        assert command(["check", str(root)]) == 0
        assert matched in capsys.readouterr().out.splitlines()[-1]
    assert command(["apply", str(root), "--match-sky", "median"]) == 2
    assert command(["apply", "--match-sky", str(root)]) == 2
    assert "is a folder, no MODEL: name the folder before this option" in capsys.readouterr().err
    assert command(["revert", str(root)]) == 0
    assert tree(root) == before
    assert command(["check", str(HERE)]) == 2
    assert "holds zemosaic-patch itself, and is no ZeMosaic" in capsys.readouterr().err
    assert command(["check", str(tmp_path)]) == 2
    assert command(["verify", str(tmp_path)]) == 2
    assert "is no ZeMosaic" in capsys.readouterr().err


def test_verify_of_half_a_patch_says_what_to_do(tmp_path, capsys):
    root = zemosaic(tmp_path / "z")
    patch(root)
    (root / ENGINE).rename(tmp_path / "gone")
    assert cli.main(["verify", str(root)]) == 1
    assert "`zemosaic-patch apply` completes it" in capsys.readouterr().err


def test_verify_says_what_stopped_zemosaic(tmp_path, capsys):
    root = zemosaic(tmp_path / "z")
    (root / MODULES[0]).write_text("raise OSError('no disk')\n")
    assert cli.main(["verify", str(root)]) == 1
    assert "OSError: no disk" in capsys.readouterr().err


def test_known_fingerprints_are_well_formed():
    for name in MODULES:
        known = originals.KNOWN[name].split()
        assert len(known) == len(set(known)) > 5
        assert all(len(one) == 12 and int(one, 16) >= 0 for one in known)
