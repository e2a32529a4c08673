# SPDX-License-Identifier: GPL-3.0-or-later
"""The wheel, as `pip install .` makes it: installed into a fresh environment, run from another folder.

Needs no network where setuptools is at hand; else pip gets that. The dependencies are the running Python's: links to
their folders lie beside our own packages in the fresh environment, as after any installation.
"""

import importlib.metadata
import json
import os
import re
import shutil
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits

from nanstack.truth.simulation import simulate_group
from tests.support.small_zemosaic import tree, zemosaic
from zemosaic_patch.dropin.sources import ENGINE

HERE = Path(__file__).resolve().parents[1]
PROJECT = ("pyproject.toml", "README.md", "LICENSE", "nanstack", "zemosaic_patch")
BIN, EXE = ("Scripts", ".exe") if os.name == "nt" else ("bin", "")
NOT_LINKED = re.compile(r"zemosaic|nanstack|__editable__|pip\b|.*\.pth$|__pycache__|_virtualenv", re.IGNORECASE)


def call(*command, cwd, code=0):
    """Run a command without this project's folder in its path; return what it prints."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    environment["PIP_DISABLE_PIP_VERSION_CHECK"] = "1"
    words = [str(word) for word in command]
    done = subprocess.run(words, capture_output=True, text=True, cwd=cwd, env=environment, check=False)
    assert "Traceback" not in done.stderr, done.stderr
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout


def has_setuptools():
    """Tell whether the running Python has the setuptools that pyproject.toml asks for."""
    try:
        found = importlib.metadata.version("setuptools")
    except importlib.metadata.PackageNotFoundError:
        return False
    asked = re.search(r"setuptools>=(\d+)", (HERE / "pyproject.toml").read_text())
    return int(found.split(".")[0]) >= int(asked.group(1))


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """Build the wheel from a copy, since building leaves files beside the sources."""
    source, built = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    for path in (*(HERE / name for name in PROJECT), *HERE.glob("zemosaic_*.py")):
        if path.is_dir():
            shutil.copytree(path, source / path.name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(path, source)
    how = ["--no-build-isolation"] if has_setuptools() else []
    command = [sys.executable, "-m", "pip", "wheel", ".", "--no-deps", "--quiet", "--wheel-dir", str(built), *how]
    done = subprocess.run(command, capture_output=True, text=True, cwd=source, check=False)
    if done.returncode and not how and "setuptools" in done.stderr:
        pytest.skip("no setuptools of the version that pyproject.toml asks for, and pip cannot get it")
    assert done.returncode == 0, done.stderr
    return next(built.glob("*.whl"))


@pytest.fixture(scope="module")
def commands(wheel, tmp_path_factory):
    """Return the folder of the commands of a fresh environment in which the wheel is installed."""
    folder = tmp_path_factory.mktemp("fresh")
    venv.create(folder, with_pip=False, symlinks=os.name != "nt")
    python = folder / BIN / f"python{EXE}"
    ask = "import sysconfig; print(sysconfig.get_path('purelib'))"
    site = Path(call(python, "-c", ask, cwd=folder).strip())
    for packages in {Path(place).resolve() for place in sys.path if Path(place).name.endswith("-packages")}:
        _link(packages, site)
    install = ["install", "--quiet", "--no-deps", "--no-index", wheel]
    call(sys.executable, "-m", "pip", "--python", python, *install, cwd=folder)
    return folder / BIN


def _link(packages, site):
    """Put links to all packages of a folder into another, but for ours."""
    for path in packages.iterdir():
        if not NOT_LINKED.match(path.name) and not (site / path.name).exists():
            try:
                (site / path.name).symlink_to(path, target_is_directory=path.is_dir())
            except OSError as error:
                pytest.skip(f"no symbolic links here, and copying all packages takes long: {error}")


@pytest.fixture
def command(commands, tmp_path):
    """Run the console script from a folder that holds nothing."""
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    return lambda *words, code=0: call(commands / f"zemosaic-patch{EXE}", *words, cwd=elsewhere, code=code)


def frame_files(folder, wcs):
    """Write three simulated frames, with or without a place on the sky."""
    from zemosaic_patch.dropin.verify import solution

    folder.mkdir()
    shape = (160, 220)
    for index, frame in enumerate(simulate_group(3, shape, seed=8, max_shift=8.0, n_stars=150)[0]):
        cards = {"EXPTIME": 10.0, **(solution(frame.transform, shape) if wcs else {})}
        fits.writeto(folder / f"light_{index}.fits", np.moveaxis(frame.data, -1, 0), fits.Header(cards))
    return folder


def test_the_wheel_holds_all_files_of_the_packages_and_nothing_else(wheel):
    names = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    folders = [HERE / "nanstack", HERE / "zemosaic_patch"]
    sources = {path for folder in folders for path in folder.rglob("*") if path.is_file()}
    wanted = {path.relative_to(HERE).as_posix() for path in (*sources, *HERE.glob("zemosaic_*.py"))}
    assert names == {name for name in wanted if "__pycache__" not in name}


def test_tile_mosaic_and_report(command, tmp_path):
    frames = frame_files(tmp_path / "frames", wcs=True)
    assert "3 stacked" in command("tile", frames, "-o", tmp_path / "tile")
    with fits.open(tmp_path / "tile" / "tile.fits") as hdus:
        assert np.isfinite(hdus[0].data).mean() > 0.99
    command("mosaic", frames, "-o", tmp_path / "mosaic")
    assert json.loads((tmp_path / "mosaic" / "mosaic.json").read_text())["frames"]
    with fits.open(tmp_path / "mosaic" / "mosaic.fits") as hdus:
        assert np.isfinite(hdus[0].data).mean() > 0.75  # all that any frame saw: they are turned, and corners are empty
    (tmp_path / "mosaic" / "report.html").unlink()
    command("report", tmp_path / "mosaic")
    page = (tmp_path / "mosaic" / "report.html").read_text(encoding="utf-8")
    assert page.startswith("<!DOCTYPE html>")
    assert "<style>" in page


def test_the_patch_goes_in_and_out(command, tmp_path):
    root = zemosaic(tmp_path / "z")
    before = tree(root)
    assert "can be patched" in command("check", root, code=1)
    assert "patched: " in command("apply", root, "--accept-unknown")
    assert "the patch is in" in command("check", root)
    assert (root / ENGINE / "nanstack" / "stack" / "cuda_kernels.cu").is_file()
    imported = "import zemosaic_align_stack as z; print(z.align_images_in_group.__code__.co_filename)"
    assert ENGINE in call(sys.executable, "-B", "-c", imported, cwd=root)
    assert "taken out" in command("revert", root)
    assert tree(root) == before


def test_the_module_runs_within_zemosaics_folder(commands, tmp_path):
    """Whose modules have the names of our own: none of them is imported."""
    root = zemosaic(tmp_path / "z")
    for name in ("worker", "align_stack", "align_stack_gpu", "utils"):
        path = root / f"zemosaic_{name}.py"
        path.write_text(path.read_text().rstrip() + "\nif __name__ != '__main__':\n    raise SystemExit('ZeMosaic')\n")
    before = tree(root)
    module = (commands / f"python{EXE}", "-B", "-m", "zemosaic_patch")
    assert "can be patched" in call(*module, "check", ".", cwd=root, code=1)
    assert "patched: " in call(*module, "apply", ".", "--accept-unknown", cwd=root)
    assert "taken out" in call(*module, "revert", ".", cwd=root)
    assert tree(root) == before
    frames = frame_files(tmp_path / "frames", wcs=False)
    assert "3 stacked" in call(*module, "tile", frames, "-o", tmp_path / "tile", cwd=root)
