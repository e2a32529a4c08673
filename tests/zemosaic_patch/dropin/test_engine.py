# SPDX-License-Identifier: GPL-3.0-or-later
"""What of our modules is put into a ZeMosaic: all that stacks need there, and no more."""

import ast
import shutil
import sys
from pathlib import Path

import pytest

from tests.support.small_zemosaic import tree, zemosaic
from zemosaic_patch.dropin import engine
from zemosaic_patch.dropin.checkout import RefusedError
from zemosaic_patch.dropin.patch import apply

HERE = Path(__file__).resolve().parents[3]


def installed(folder):
    """Copy our modules to a folder, as an installation does, with other packages beside them."""
    for name in engine.OWN:
        if (HERE / name).is_dir():
            shutil.copytree(HERE / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(HERE / f"{name}.py", folder)
    for name in ("numpy", "scipy", "astropy", "numba", "sep", "cv2", "psutil", "cupy", "llvmlite", "reproject"):
        (folder / name).mkdir()
        (folder / name / "__init__.py").write_text("raise AssertionError('not ours')\n")
    return folder


def test_packages_beside_ours_are_no_part_of_the_engine(tmp_path, monkeypatch):
    expected = engine.engine_files()
    monkeypatch.setattr(engine, "HOME", installed(tmp_path))
    assert engine.engine_files() == expected


def test_an_installation_without_its_sources_is_named_and_nothing_is_changed(tmp_path, monkeypatch):
    """As in a zip, or of compiled files alone."""
    (tmp_path / "site").mkdir()
    site = installed(tmp_path / "site")
    monkeypatch.setattr(engine, "HOME", site)
    root = zemosaic(tmp_path / "z")
    before = tree(root)
    for gone in (site / "nanstack" / "register" / "warp.py", site / "zemosaic_patch"):
        gone.rename(tmp_path / "gone")
        with pytest.raises(RefusedError, match=rf"{gone.stem}, which has to be copied .*: install"):
            apply(root, accept_unknown=True)
        assert tree(root) == before
        (tmp_path / "gone").rename(gone)


def test_the_engine_takes_what_stacks_need_and_no_more():
    files = engine.engine_files()
    product = {
        Path(name).relative_to("zemosaic_patch").as_posix() for name in files if name.startswith("zemosaic_patch/")
    }
    assert product == {"__init__.py", "compat.py", "names.py", "dropin/__init__.py", "dropin/hooks.py"}
    assert [name for name in files if set(Path(name).with_suffix("").parts) & {"mosaic", "truth"}] == []
    foreign = set()
    for name, data in files.items():
        nodes = list(ast.walk(ast.parse(data))) if name.endswith(".py") else []
        foreign |= {alias.name.split(".")[0] for node in nodes if isinstance(node, ast.Import) for alias in node.names}
        foreign |= {node.module.split(".")[0] for node in nodes if isinstance(node, ast.ImportFrom) and not node.level}
    ours = {"numpy", "scipy", "astropy", "sep", "sep_pjw", "numba", "llvmlite", "cupy", "psutil", "cv2", "reproject"}
    assert foreign - set(sys.stdlib_module_names) <= ours
    assert "nanstack/stack/cuda_kernels.cu" in files
