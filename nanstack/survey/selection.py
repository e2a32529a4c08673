# SPDX-License-Identifier: GPL-3.0-or-later
"""Which files are to be stacked, by what they are; and reasons told in few lines."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Hashable, Iterable, Mapping, Sequence

from nanstack.survey.record import Facts

NAMES_TOLD = 3  # of the files that are left out for one reason
# what differs between reasons of one kind: numbers, and names of files
DETAIL = re.compile(r"\S*[^\s.]\.(?:fits?|fts|npy|fz|gz)\b|[+-]?\d+(?:[.,]\d+)*", re.IGNORECASE)


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
    return {
        index: f"it is the same as {names[first]}, which is used"
        for index, first in enumerate(firsts)
        if index != first
    }


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
    return {
        index: f"its {what} is {value}, unlike that of most frames ({kept})"
        for index, value in enumerate(values)
        if value != kept
    }


def told(reasons: Mapping[str, str]) -> list[str]:
    """Return a line for each kind of reason for which files are left out.

    Reasons that differ in numbers and names of files only are of one kind; that of the first file is told.

    Parameters
    ----------
    reasons : mapping
        What to call a file: why it is left out.

    Returns
    -------
    list of str
        In the order in which the kinds first come.
    """
    alike: dict[str, list[str]] = {}
    for name, reason in reasons.items():
        alike.setdefault(DETAIL.sub("#", reason), []).append(name)
    return [_line(names, reasons[names[0]]) for names in alike.values()]


def alike_together(lines: Iterable[str]) -> list[str]:
    """Return lines, of those that differ in numbers and names of files only the first, and how many more there are."""
    alike: dict[str, list[str]] = {}
    for line in lines:
        alike.setdefault(DETAIL.sub("#", line), []).append(line)
    return [first if not others else f"{first} (and {len(others)} more like it)" for first, *others in alike.values()]


def _line(names: Sequence[str], reason: str) -> str:
    first, *others = names
    if not others:
        return f"{first}: {reason}; left out"
    shown = others[:NAMES_TOLD] if len(others) > NAMES_TOLD + 1 else others
    more = len(others) - len(shown)
    listed = ", ".join(shown[:-1] if not more else shown)
    tail = f"{more} more" if more else shown[-1]
    return f"{first}: {reason}; likewise {f'{listed} and ' if listed else ''}{tail}; {len(names)} left out"
