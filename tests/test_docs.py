# SPDX-License-Identifier: GPL-3.0-or-later
"""The texts say what is so: links lead somewhere, commands and tests are there, examples run, the tree is complete."""

import ast
import doctest
import functools
import importlib
import pkgutil
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import nanstack
import zemosaic_patch
from nanstack.truth.simulation import simulate_group

HOME = Path(__file__).parent.parent
PAGES = sorted([*HOME.glob("*.md"), *HOME.glob("docs/*.md"), *HOME.glob("benchmarks/*.md")])
MAX_README_WORDS = 700
MADE = ("benchmarks/results",)  # by a run


def name_of(page):
    return page.relative_to(HOME).as_posix()


def text_of(page):
    return page.read_text(encoding="utf-8")


def without_code(text):
    return re.sub(r"```.*?```", "", text, flags=re.DOTALL)


def code_in(text):
    """Return all that is set as code, blocks and words, a piece each."""
    blocks = re.findall(r"```[^\n]*\n(.*?)```", text, flags=re.DOTALL)
    return [line for block in blocks for line in block.splitlines()] + re.findall(r"`([^`\n]+)`", without_code(text))


every_page = pytest.mark.parametrize("page", PAGES, ids=name_of)


# --- links and length -------------------------------------------------------------------------------------------------


def anchors_of(page):
    """Return the names that GitHub gives to a page's headings."""
    headings = re.findall(r"^#+ (.*)$", without_code(text_of(page)), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@every_page
def test_links_lead_somewhere(page):
    links = re.findall(r"\]\(([^)\s]+)\)", without_code(text_of(page)))
    for link in (link for link in links if "://" not in link):
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), link
        assert not anchor or anchor in anchors_of(target), link


def test_the_readme_is_short():
    assert len(text_of(HOME / "README.md").split()) <= MAX_README_WORDS


# --- commands ---------------------------------------------------------------------------------------------------------


@functools.cache
def help_of(*command):
    run = subprocess.run(
        [sys.executable, "-m", "zemosaic_patch", *command, "--help"], capture_output=True, text=True, cwd=HOME
    )
    assert run.returncode == 0, f"zemosaic-patch {' '.join(command)}: {run.stderr}"
    return run.stdout


@every_page
def test_commands_are_there_with_their_options(page):
    commands = [
        found.groups()
        for code in code_in(text_of(page))
        for found in re.finditer(r"(?:zemosaic-patch|python -m zemosaic_patch) ([a-z]+)\b([^#;|&]*)", code)
    ]
    for command, words in commands:
        for option in re.findall(r"--[a-z][a-z-]*", words):
            there = re.findall(r"--[a-z][a-z-]*", help_of(command))
            assert option in there, f"zemosaic-patch {command} {option}"


@every_page
def test_make_has_the_targets_that_are_named(page):
    targets = re.findall(r"^([a-z0-9-]+):", text_of(HOME / "Makefile"), flags=re.MULTILINE)
    named = [name for code in code_in(text_of(page)) for name in re.findall(r"^(?:\w+=\S+ )?make ([a-z0-9-]+)", code)]
    assert set(named) <= set(targets)


# --- tests and places that the texts name -----------------------------------------------------------------------------


@functools.cache
def names_of_tests(path):
    """Return the names of the tests in a file, or in all files of a folder."""
    files = sorted(path.rglob("test_*.py")) if path.is_dir() else [path]
    nodes = [node for file in files for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))]
    return {node.name for node in nodes if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")}


@every_page
def test_tests_that_are_named_are_there(page):
    last = None
    for path, test in re.findall(r"(tests/[\w/]*(?:\.py)?|…)(?:::(\w+))?", text_of(page)):
        last = HOME / path if path != "…" else last
        if test or path != "…":
            assert last.exists(), path
            assert not test or test in names_of_tests(last), f"{path}::{test}"


@every_page
def test_choices_of_tests_choose_some(page):
    """Each word after pytest's -k is part of a test's name in the files that the command names."""
    for code in code_in(text_of(page)):
        if found := re.search(r"-k \"?([a-z_ ]+)", code):
            names = set().union(*(names_of_tests(HOME / file) for file in re.findall(r"tests/[\w/.]+", code)))
            for word in found[1].strip().split(" or "):
                assert any(word in name for name in names), f"{code}: {word}"


def attribute(dotted):
    """Return what a dotted name of ours stands for: a module or what is in one."""
    parts = dotted.split(".")
    for count in range(len(parts), 0, -1):
        try:
            found = importlib.import_module(".".join(parts[:count]))
        except ModuleNotFoundError:
            continue
        return functools.reduce(getattr, parts[count:], found)
    raise ModuleNotFoundError(dotted)


@every_page
def test_functions_and_files_that_are_named_are_there(page):
    if page.name == "CHANGES.md":  # it names what was
        return
    for code in code_in(text_of(page)):
        if re.fullmatch(r"(?:nanstack|zemosaic_patch|tests|benchmarks|docs)/[\w/.]*|zemosaic_\w+\.py", code):
            assert (HOME / code).exists() or code in MADE, code
        elif found := re.fullmatch(r"((?:nanstack|zemosaic_\w+)(?:\.\w+)*)(?:\(.*\))?", code):
            attribute(found[1])


# --- the tree in CONTRIBUTING.md --------------------------------------------------------------------------------------


def tree():
    """Return the paths that the tree names; a folder ends with a slash."""
    block = re.search(r"```tree\n(.*?)```", text_of(HOME / "CONTRIBUTING.md"), flags=re.DOTALL)[1]
    above, paths = [], []
    for line in block.splitlines():
        name = line.split()[0]
        depth = (len(line) - len(line.lstrip())) // 4
        above[depth:] = [name]
        paths.append("".join(above))
    return paths


def test_the_tree_names_nothing_that_is_not_there():
    for path in tree():
        there = HOME / path
        assert there.is_dir() if path.endswith("/") else there.is_file(), path


def test_the_tree_names_every_file():
    """Outside the packages a folder of which no file is named stands for all in it; `__init__.py` is its folder."""
    try:
        listed = subprocess.run(["git", "ls-files"], capture_output=True, text=True, cwd=HOME, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("this is no checkout of git: nothing says which files belong to the project")
    named = tree()
    folders = [path for path in named if path.endswith("/") and not path.startswith(("nanstack/", "zemosaic_patch/"))]
    whole = tuple(path for path in folders if sum(other.startswith(path) for other in named) == 1)
    files = [path for path in listed.splitlines() if (HOME / path).exists()]  # one may just be removed
    missing = [path for path in files if path not in named and not path.startswith(whole)]
    missing = [path for path in missing if path.removesuffix("__init__.py") not in named]
    assert missing == []


# --- examples ---------------------------------------------------------------------------------------------------------


def examples():
    """Give each example in Python, and the block after it, which shows what it prints, if there is one."""
    block = re.compile(r"```python\n(.*?)```(?:\n\n```\n(.*?)```)?", re.DOTALL)
    found = [(page, code, shown) for page in PAGES for code, shown in block.findall(text_of(page))]
    return [pytest.param(*both, id=f"{name_of(page)}-{number}") for number, (page, *both) in enumerate(found)]


@pytest.mark.parametrize(("code", "shown"), examples())
def test_examples_run_and_print_what_they_say(code, shown, capsys):
    """A line `print(...)  # 24: why` says what it prints, up to the colon."""
    exec(compile(code, "example", "exec"), {})
    printed = capsys.readouterr().out
    said = re.findall(r"^print\(.*\)  # ([^:\n]*)", code, flags=re.MULTILINE)
    assert set(said) <= set(printed.splitlines())
    assert not shown or printed == shown


def modules():
    leaves = ["zemosaic_align_stack", "zemosaic_align_stack_gpu", "zemosaic_utils", "zemosaic_worker"]
    walked = [
        module.name
        for package in (nanstack, zemosaic_patch)
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}.")
        if not module.name.endswith("__main__")
    ]
    return ["nanstack", "zemosaic_patch", *walked, *leaves]


@pytest.mark.parametrize("name", modules())
def test_examples_in_docstrings_run(name):
    found = doctest.testmod(importlib.import_module(name))
    assert found.failed == 0


def test_docstrings_have_examples():
    assert doctest.DocTestFinder().find(nanstack)[0].examples


def test_the_example_of_a_tile_shows_what_it_says():
    known = {}
    about = text_of(HOME / "docs" / "python.md").partition("\n## A tile\n")[2]
    exec(re.search(r"```python\n(.*?)```", about, re.DOTALL)[1], known)
    tile, frames = known["tile"], known["frames"]
    assert tile.coverage.max() == 8
    assert [alignment.method for alignment in tile.alignments] == ["reference"] + 7 * ["stars"]
    level = np.nanmedian(tile.image, axis=(0, 1))
    assert np.abs(level - frames[0].sky[0]).max() < 5  # the reference's sky, though they differ by 10 %


def test_files_are_stacked_on_a_canvas_and_a_bad_one_is_left_out(tmp_path):
    frames, _ = simulate_group(4, (150, 200), seed=3, n_stars=200, max_shift=8)
    paths = [tmp_path / f"{index}.npy" for index in range(4)]
    for path, frame in zip(paths, frames, strict=True):
        np.save(path, frame.data)
    np.save(paths[2], np.full_like(frames[2].data, np.nan))
    stack = nanstack.stack_files(paths)
    assert stack.left_out == {paths[2]: "it holds no finite sample"}
    assert stack.coverage.max() == 3


def test_what_is_not_there_is_not_imported():
    with pytest.raises(AttributeError, match="no attribute 'make_tea'"):
        nanstack.make_tea  # noqa: B018
    assert {"stack_files", "make_tile", "make_mosaic"} <= set(nanstack.__all__)
