# SPDX-License-Identifier: GPL-3.0-or-later
"""Texts: each language says all, with the same values in it."""

import ast
import re
from pathlib import Path
from string import Formatter

import pytest

import zemosaic_patch.ui
from zemosaic_patch.ui import texts
from zemosaic_patch.ui.said import TABLE

OTHERS = sorted(set(texts.languages()) - {texts.USUAL})
SOURCES = sorted(Path(zemosaic_patch.ui.__file__).parent.glob("*.py"))


def values_in(said):
    return sorted({name for _, name, _, _ in Formatter().parse(said) if name is not None})


def own(code):
    """Return the window's own texts; what the program says is tried apart."""
    return {key: said for key, said in texts.keys(code).items() if not key.startswith(TABLE)}


@pytest.fixture(autouse=True)
def as_it_was():
    yield
    texts.choose(texts.USUAL)


@pytest.mark.parametrize("code", OTHERS)
def test_a_language_says_what_english_says(code):
    english, other = own(texts.USUAL), own(code)
    assert set(other) == set(english)
    assert {key: values_in(said) for key, said in other.items()} == {
        key: values_in(said) for key, said in english.items()
    }


def test_every_text_that_is_asked_for_is_there():
    asked = {
        node.args[0].value
        for path in SOURCES
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call)
        and getattr(node.func, "id", getattr(node.func, "attr", "")) == "text"
        and node.args
        and isinstance(node.args[0], ast.Constant)
    }
    assert asked
    assert asked - set(texts.keys(texts.USUAL)) == set()


def test_every_text_is_said_somewhere():
    written = " ".join(path.read_text(encoding="utf-8") for path in SOURCES)
    beginnings = {found[1] for found in re.finditer(r'f"([\w.]+\.?)\{', written)}
    for key in set(own(texts.USUAL)) - {"name"}:
        named = re.search(rf"[\"']{re.escape(key.removesuffix('_one'))}[\"']", written)
        assert named or any(key.startswith(beginning) for beginning in beginnings), key


def test_a_language_is_chosen():
    texts.choose("fr")
    assert texts.text("make.page") == texts.keys("fr")["make.page"]
    texts.choose("xx")
    assert texts.language() == "fr"


@pytest.mark.parametrize(
    ("accepted", "spoken"),
    [
        ("fr-FR,fr;q=0.9,en-US;q=0.8", "fr"),
        ("xx-XX, fr-CH;q=0.7, en;q=0.3", "fr"),
        ("en;q=0.5,fr;q=0.6", "fr"),
        ("fr;q=0.1,en", "en"),
        ("fr;q=no,en;q=0.1", "en"),
    ],
)
def test_the_browsers_language_is_followed_until_one_is_chosen(monkeypatch, accepted, spoken):
    monkeypatch.setattr(texts, "_chosen", [])
    monkeypatch.setattr(texts, "_asked", [])
    texts.follow(accepted)
    assert texts.language() == spoken
    texts.choose("en")
    texts.follow("fr")
    assert texts.language() == "en"


@pytest.mark.parametrize("accepted", ["", "*", "xx", "../../etc/passwd", ";q=", "fr" * 10_000])
def test_a_browser_that_asks_for_nothing_that_there_is_changes_nothing(monkeypatch, accepted):
    monkeypatch.setattr(texts, "_chosen", [])
    monkeypatch.setattr(texts, "_asked", [])
    before = texts.language()
    texts.follow(accepted)
    assert texts.language() == before
