# SPDX-License-Identifier: GPL-3.0-or-later
"""Which module may import which: nothing stands on a leaf, the engine stands on itself, nothing goes in a circle."""

import ast
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

HOME = Path(__file__).parents[1]
LEAVES = ("zemosaic_align_stack", "zemosaic_align_stack_gpu", "zemosaic_utils", "zemosaic_worker")
FOR_LEAVES = ("zemosaic_patch", "zemosaic_patch.compat", "zemosaic_patch.names", "zemosaic_patch.quality")
HOOKS = "zemosaic_patch.dropin.hooks"
STAGES = ("io", "survey", "register", "levels", "stack")  # data flows from one to the next


def modules():
    """Return the path of each module of the project, tests and benchmarks apart, by its name."""
    paths = [HOME / f"{leaf}.py" for leaf in LEAVES]
    paths += [path for package in ("nanstack", "zemosaic_patch") for path in sorted((HOME / package).rglob("*.py"))]
    return {name_of(path): path for path in paths}


def name_of(path):
    return ".".join(path.relative_to(HOME).with_suffix("").parts).removesuffix(".__init__")


def imports_of(path, known):
    """Return the modules of ours that a file imports, in functions, too."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path.name}: the drop-in makes imports relative, and wants them absolute here"
            found |= {f"{node.module}.{alias.name}" for alias in node.names} | {node.module}
    return {name for name in found if name in known}


@pytest.fixture(scope="module")
def arrows():
    known = modules()
    return {name: imports_of(path, known) for name, path in known.items()}


def test_there_are_modules_and_arrows(arrows):
    assert set(LEAVES) < set(arrows)
    assert "nanstack.stack.definition" in arrows["nanstack.stack.numba_kernels"]
    assert arrows[HOOKS] & set(LEAVES) == {"zemosaic_align_stack", "zemosaic_align_stack_gpu"}, "in functions"


def test_the_engine_knows_neither_product_nor_leaves(arrows):
    for name, targets in arrows.items():
        if name.startswith("nanstack"):
            assert all(target.startswith("nanstack") for target in targets), name


def test_nothing_but_the_hooks_imports_a_leaf(arrows):
    assert [name for name, targets in arrows.items() if targets & set(LEAVES)] == [HOOKS]


def test_leaves_stand_on_the_engine_and_on_what_knows_zemosaic(arrows):
    for leaf in LEAVES:
        product = {target for target in arrows[leaf] if target.startswith("zemosaic_patch")}
        assert product <= set(FOR_LEAVES), leaf
    for name in FOR_LEAVES:
        product = {target for target in arrows[name] if target.startswith("zemosaic_patch")}
        assert product <= set(FOR_LEAVES), f"{name} brings the product into ZeMosaic's folder"


def test_a_stage_knows_those_before_it(arrows):
    for name, targets in arrows.items():
        stage = stage_of(name)
        if stage is not None:
            later = {target for target in targets if stage_of(target) is not None and stage_of(target) > stage}
            assert not later, name


def stage_of(name):
    part = name.split(".")[1] if name.startswith("nanstack.") else None
    return STAGES.index(part) if part in STAGES else None


def test_no_circles(arrows):
    circle = None
    try:
        TopologicalSorter({name: targets - {name} for name, targets in arrows.items()}).prepare()
    except CycleError as error:
        circle = error.args[1]
    assert circle is None
