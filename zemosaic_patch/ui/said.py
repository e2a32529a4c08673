# SPDX-License-Identifier: GPL-3.0-or-later
"""What the engine and the commands say, in the owner's language and in the window's own terms.

They say it in English, in words for whoever types commands. The table `said` of a language's texts holds what the
window says instead: by the English sentence, with {} for what is put in, {#} for a number and {-} for a word. So they
know nothing of the window, nor of languages; what no text is there for is said as it came.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache, cached_property, lru_cache

from zemosaic_patch.ui import texts

TABLE = "said."
PUT_IN = re.compile(r"((?:--)?\{\}|\{#\}|\{-\})")
NUMBER = r"[-+]?\d[\d,]*(?:\.\d+)?(?:e[-+]?\d+)?"
WORD = r"[^\s,;:]+"
ALONE, QUANTITY = re.compile(NUMBER), re.compile(rf"{NUMBER} ?(?:%|[^\W\d_]+)")  # a number, and one with its unit
SEVERAL = re.compile(rf"{NUMBER}( {NUMBER})*")  # as an option's value
OPTION = re.compile(r"(no )?--([a-z][a-z-]*)(?: ((?:(?!, ).)+))?")  # as the command line has it
BEGINS_A_TAIL = (" ", ",", ";")  # a sentence's end that may be missing, and follows what is put in


@dataclass(frozen=True)
class Sentence:
    """A sentence, and what is said instead.

    Attributes
    ----------
    begin, end : str
        What it begins and ends with.
    expression : str
        That it is told by, a regular one.
    instead : str
        Its values in braces, by their order.
    """

    begin: str
    end: str
    expression: str
    instead: str

    @cached_property
    def _pattern(self) -> re.Pattern[str]:
        """Compiled when it is first needed: there are hundreds."""
        return re.compile(self.expression, re.DOTALL)

    def put_in(self, said: str) -> tuple[str, ...] | None:
        """Return what was put in; None where another sentence was said."""
        if not (said.startswith(self.begin) and said.endswith(self.end)):
            return None
        found = self._pattern.fullmatch(said)
        return found and found.groups()


def said(sentence: str) -> str:
    """Return what the program said as the window says it."""
    return _whole(sentence, texts.language())


@lru_cache(20_000)  # reasons of as many frames, which pages ask for again and again
def _whole(sentence: str, code: str) -> str:
    return _said(sentence, code)


def _said(sentence: str, code: str) -> str:
    if ALONE.fullmatch(sentence):
        return texts.numbers(sentence)
    for known in _that_begin(sentence[:1], code):
        values = known.put_in(sentence)
        if values is not None:
            return known.instead.format(*(_said(value, code) for value in values))
    if QUANTITY.fullmatch(sentence):
        return texts.numbers(sentence)
    if (option := OPTION.fullmatch(sentence)) and f"option.{_field(option[2])}" in texts.keys(code):
        return _option(*option.groups())
    for between, own in (("; ", texts.text("form.apart")), (", ", ", ")):  # things in a row
        if between in sentence:
            return own.join(_said(part, code) for part in sentence.split(between))
    return sentence


def _option(without: str | None, name: str, value: str | None) -> str:
    """Return an option of the command line, and maybe its value, as the page names them."""
    label = texts.text(f"option.{_field(name)}")
    named = texts.text("settings.named_without" if without else "settings.named", name=label)
    if value is None:
        return named
    choices = texts.keys(texts.language())
    return f"{named} {choices.get(f'choice.{value}', texts.numbers(value) if SEVERAL.fullmatch(value) else value)}"


def _field(name: str) -> str:
    return name.replace("-", "_")


def sentences(code: str) -> dict[str, str]:
    """Return what is said instead of sentences, in a language."""
    return {key.removeprefix(TABLE): own for key, own in texts.keys(code).items() if key.startswith(TABLE)}


@cache
def _that_begin(letter: str, code: str) -> list[Sentence]:
    """Return the sentences that may begin with a letter."""
    return [one for one in _sentences(code) if one.begin[:1] in ("", letter)]


@cache
def _sentences(code: str) -> list[Sentence]:
    """Return the sentences of a language, those of most words first, as one may look like another with more put in."""
    known = {**sentences(texts.USUAL), **sentences(code)}
    tails = [_expression(one, ".*?") for one in known if one.startswith(BEGINS_A_TAIL)]
    tail = f"((?:{'|'.join(tails)})?)"
    return [_sentence(one, tail, known[one]) for one in sorted(known, key=_words_in, reverse=True)]


def _words_in(sentence: str) -> tuple[int, str]:
    return len(PUT_IN.sub("", sentence)), sentence


def _sentence(sentence: str, tail: str, instead: str) -> Sentence:
    fixed = PUT_IN.split(sentence)
    return Sentence(fixed[0], fixed[-1], _expression(sentence, "(.*?)", tail), instead)


def _expression(sentence: str, value: str, tail: str = "") -> str:
    """Return a sentence as a regular expression; of two values that touch the second one is a tail, or nothing."""
    made, touches = "", False
    for part in filter(None, PUT_IN.split(sentence)):
        if not PUT_IN.fullmatch(part):
            made += re.escape(part)
        elif part == "{#}":
            made += value.replace(".*?", NUMBER)
        elif part == "{-}":
            made += value.replace(".*?", WORD)
        elif part == "--{}":
            made += value.replace(".*?", "--.*?")
        else:
            made += tail if touches else value
        touches = PUT_IN.fullmatch(part) is not None
    return made
