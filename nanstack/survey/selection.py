# SPDX-License-Identifier: GPL-3.0-or-later
"""Which files are to be stacked, by what they are; and reasons told in few lines."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from nanstack.io.frames import short_names
from nanstack.survey.record import Facts, Survey

NAMES_TOLD = 3  # of the files that are left out for one reason
# what differs between reasons of one kind: numbers, and names of files
DETAIL = re.compile(r"\S*[^\s.]\.(?:fits?|fts|npy|fz|gz)\b|[+-]?\d+(?:[.,]\d+)*", re.IGNORECASE)


@dataclass(frozen=True)
class Chosen:
    """What of files is to be stacked.

    Attributes
    ----------
    surveys : list of Survey
    left_out : dict
        Path of a file: why it is not among them.
    faults : dict
        Path of a file with stars: what speaks against it, though it may be wanted all the same. It is among them if
        it is.
    """

    surveys: list[Survey]
    left_out: dict[Path, str]
    faults: dict[Path, str]


def lights(surveys: Sequence[Survey], wanted: Collection[Path] = ()) -> Chosen:
    """Return what is to be stacked: light frames, each once, of one filter, all in colour or all mono.

    Files that are wanted though they are of another kind or filter join them, and change nothing for the others.

    Parameters
    ----------
    surveys : sequence of Survey
    wanted : collection of Path
    """
    names = short_names(survey.path for survey in surveys)
    kept, left_out, faults = list(surveys), {}, {}
    for noted, reasons in (
        (faults, lambda kept: not_to_stack([one.facts for one in kept])),
        (left_out, lambda kept: duplicates([one.digest for one in kept], [names[one.path] for one in kept])),
        (faults, lambda kept: unlike_most([one.facts.filter or "none" for one in kept], "filter")),
        (left_out, lambda kept: unlike_most([_colours(one) for one in kept], "kind")),
    ):
        out = reasons(kept)
        noted.update({kept[index].path: reason for index, reason in out.items()})
        kept = [one for index, one in enumerate(kept) if index not in out]
    for survey in surveys:
        if survey.path in faults:
            reason = _not_beside(survey, kept, names) if survey.path in wanted else faults[survey.path]
            if reason:
                left_out[survey.path] = reason
            else:
                kept.append(survey)
    return Chosen(kept, left_out, {one.path: faults[one.path] for one in surveys if one.path in faults and _stars(one)})


def _not_beside(survey: Survey, kept: Sequence[Survey], names: Mapping[Path, str]) -> str:
    """Return why a file cannot be stacked beside others, however much it is wanted; empty where it can."""
    if not _stars(survey):
        return "no stars"
    for other in kept:
        if other.digest == survey.digest:
            return _same_as(names[other.path])
        if _colours(other) != _colours(survey):
            return _unlike("kind", _colours(survey), _colours(other))
    return ""


def _stars(survey: Survey) -> int:
    return len(survey.stars)


def _colours(survey: Survey) -> str:
    return "colour" if len(survey.shape) == 3 else "mono"


def not_to_stack(facts: Sequence[Facts]) -> dict[int, str]:
    """Return the files that are of another kind than is stacked, and what says so.

    Lights are stacked; where there are more stacks of a device than lights, these are (somebody has collected them);
    where there are neither, what this program made, as before it. Calibration frames are left out wherever there is
    anything else.

    Parameters
    ----------
    facts : sequence of Facts

    Returns
    -------
    dict
        Index of a file: the reason.
    """
    counts = Counter(one.kind for one in facts)
    if counts["stack"] > counts["light"]:
        wanted = "stack"
    else:
        wanted = next((kind for kind in ("light", "output") if counts[kind]), "")
    if not wanted:
        return {}
    single = f"it is a single frame, and most of the files are stacks ({counts['stack']} of {len(facts)})"
    return {index: one.evidence or single for index, one in enumerate(facts) if one.kind != wanted}


def duplicates(contents: Sequence[Hashable], names: Sequence[str]) -> dict[int, str]:
    """Return the files that are copies of others, and of which; of copies that with the shortest name is used, in
    whatever order they come.

    Parameters
    ----------
    contents : sequence
        Digests of the files: what is equal is the same.
    names : sequence of str
        What to call them.

    Returns
    -------
    dict
        Index of a file: the reason.
    """
    used: dict[Hashable, int] = {}
    for index in sorted(range(len(names)), key=lambda index: (len(names[index]), names[index])):
        used.setdefault(contents[index], index)
    firsts = [used[content] for content in contents]
    return {index: _same_as(names[first]) for index, first in enumerate(firsts) if index != first}


def unlike_most(values: Sequence[Hashable], what: str) -> dict[int, str]:
    """Return the files that differ from most in something of which there must be one, and how.

    Parameters
    ----------
    values : sequence
        Of the files; of values that are equally common the first in order is kept.
    what : str
        What they are: 'filter'.

    Returns
    -------
    dict
        Index of a file: the reason.
    """
    counts = Counter(values)
    kept = min(counts, key=lambda value: (-counts[value], repr(value)), default=None)
    return {index: _unlike(what, value, kept) for index, value in enumerate(values) if value != kept}


def _same_as(name: str) -> str:
    return f"it is the same as {name}, which is used"


def _unlike(what: str, value: Hashable, most: Hashable) -> str:
    return f"its {what} is {value}, unlike that of most frames ({most})"


def told(reasons: Mapping[str, str], are_out: bool = True) -> list[str]:
    """Return a line for each kind of reason for which files are left out.

    Reasons that differ in numbers and names of files only are of one kind; that of the first file is told.

    Parameters
    ----------
    reasons : mapping
        What to call a file: why it is left out.
    are_out : bool
        Whether to say at the end that they are left out.

    Returns
    -------
    list of str
        In the order in which the kinds first come.
    """
    alike: dict[str, list[str]] = {}
    for name, reason in reasons.items():
        alike.setdefault(DETAIL.sub("#", reason), []).append(name)
    return [_line(names, reasons[names[0]], are_out) for names in alike.values()]


def alike_together(lines: Iterable[str]) -> list[str]:
    """Return lines, of those that differ in numbers and names of files only the first, and how many more there are."""
    alike: dict[str, list[str]] = {}
    for line in lines:
        alike.setdefault(DETAIL.sub("#", line), []).append(line)
    return [first if not others else f"{first} (and {len(others)} more like it)" for first, *others in alike.values()]


def _line(names: Sequence[str], reason: str, are_out: bool) -> str:
    first, *others = names
    if not others:
        return f"{first}: {reason}{'; left out' if are_out else ''}"
    shown = others[:NAMES_TOLD] if len(others) > NAMES_TOLD + 1 else others
    more = len(others) - len(shown)
    listed = ", ".join(shown[:-1] if not more else shown)
    tail = f"{more} more" if more else shown[-1]
    return (
        f"{first}: {reason}; likewise {f'{listed} and ' if listed else ''}{tail}"
        f"{f'; {len(names)} left out' if are_out else ''}"
    )
