# SPDX-License-Identifier: GPL-3.0-or-later
"""What frame files are, before anything is made of them: nights, targets, and what would be left out and why."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from nanstack.io.frames import short_names
from nanstack.progress import Progress
from nanstack.session import Session, open_session
from nanstack.survey.selection import told
from nanstack.survey.store import survey_files
from zemosaic_patch.cautions import counted
from zemosaic_patch.given import UNWANTED, Wishes

if TYPE_CHECKING:
    from nanstack.survey.record import Survey

TOGETHER = 12  # files that are looked at before what they are is told
ROUGH_FROM, ROUGH_AGAIN = 24, 5  # files that a first rough picture is made of; the next is of so many times more
GOLDEN = (5**0.5 - 1) / 2
EVENING = timedelta(hours=7)  # so long after midnight UTC an evening may begin that is of the day before, in America
NIGHT_APART = timedelta(hours=6)  # frames with a longer pause between them are of two nights


@dataclass(frozen=True)
class LookedAt:
    """What a file's header says, and what its pixels show.

    Attributes
    ----------
    number : int
        Of the file, among those that were looked at.
    kind, target, date, filter : str
        See `nanstack.survey.record.Facts`; empty where nothing says.
    exposure : float or None
        Seconds.
    stars : int
    width_px : float or None
        Full width of its stars at half their height.
    unusable : str
        Why it is no frame that can be used by itself; empty where it is one.
    """

    number: int
    kind: str = ""
    target: str = ""
    date: str = ""
    filter: str = ""
    exposure: float | None = None
    stars: int = 0
    width_px: float | None = None
    unusable: str = ""

    @classmethod
    def of(cls, number: int, survey: Survey) -> LookedAt:
        """Return what is told of a survey."""
        facts, width = survey.facts, float(survey.stars.fwhm)
        return cls(
            number,
            facts.kind,
            facts.object,
            facts.date,
            facts.filter,
            facts.exposure,
            len(survey.stars.x),
            width if 0 < width < float("inf") else None,
            facts.evidence if facts.kind != "light" else "",
        )


class _Unsaid:
    """Of what is wrong with a few files' surveys nothing is said: at last all of them are asked for, which says it."""

    def step(self, name: str, done: int, total: int) -> None:
        """Nothing is shown."""

    def warn(self, text: str) -> None:
        """Nothing is said."""


@dataclass(frozen=True)
class LeftOut:
    """Which files a mosaic of all of them would leave out, by their numbers.

    Attributes
    ----------
    reasons : dict of int to str
        Why each of them.
    can_be_taken_in : tuple of int
        Those that `mosaic --take-in` has in all the same, where stars place them.
    """

    reasons: dict[int, str]
    can_be_taken_in: tuple[int, ...]


def look(
    paths: Sequence[Path],
    folder: Path | None,
    progress: Progress,
    tell: Callable[[LookedAt], None],
    show: Callable[[Session], None] | None = None,
    wishes: Wishes | None = None,
    *,
    early: bool = True,
) -> LeftOut:
    """Look at frame files.

    Parameters
    ----------
    paths : sequence of Path
    folder : Path, optional
        Keeps their surveys, which a mosaic goes on from.
    progress : nanstack.progress.Progress
    tell : callable
        Called with what is known of each file, as soon as it is.
    show : callable, optional
        Called with the frames that are known, now and then, and at last with all of them. It needs the folder.
    wishes : Wishes, optional
        What of the files the owner decides.
    early : bool
        Whether frames are shown before all of them are known.

    Returns
    -------
    LeftOut
    """
    wishes, early = wishes or Wishes(), early and show is not None
    order = _from_all_over(len(paths)) if early else range(len(paths))
    rough_at = ROUGH_FROM
    for first in range(0, len(paths), TOGETHER):
        some = {paths[number]: number for number in order[first : first + TOGETHER]}
        surveys, unusable = survey_files(list(some), folder, progress=_Unsaid())
        known = {survey.path: survey for survey in surveys}
        for path, number in some.items():
            one = known.get(path)
            tell(LookedAt.of(number, one) if one else LookedAt(number, unusable=unusable[path]))
        progress.step("looking at frames", first + len(some), len(paths))
        if early and rough_at <= first + len(some) < len(paths):
            rough_at *= ROUGH_AGAIN
            show(open_session([paths[number] for number in order[: first + len(some)]], folder=folder))
    given = [path for path in paths if path not in wishes.out]
    session = open_session(given, wanted=wishes.in_, folder=folder, progress=progress)
    if show is not None:
        show(session)
    left_out = {**session.left_out, **dict.fromkeys(wishes.out, UNWANTED)}
    reasons = {number: left_out[path] for number, path in enumerate(paths) if path in left_out}
    can_be = session.can_be_taken_in
    return LeftOut(reasons, tuple(number for number, path in enumerate(paths) if path in can_be))


def _from_all_over(count: int) -> list[int]:
    """Return numbers below a count, each once, of which any first ones lie evenly among all.

    Multiples of the golden ratio do so, and a telescope that goes round its pointings keeps none of a few away.
    """
    return sorted(range(count), key=lambda number: number * GOLDEN % 1)


def nights(dates: Iterable[str]) -> dict[str, str]:
    """Return the night of each time, by the day on whose evening it began: '2025-03-26'; '' where a time is none.

    >>> nights(["2025-03-26T23:50:00", "2025-03-27T01:10:00", "2025-03-27T21:00:00"])["2025-03-27T01:10:00"]
    '2025-03-26'
    """
    found: dict[str, str] = {}
    times = sorted((time, date) for date in set(dates) if (time := moment_of(date)) is not None)
    last, night = None, ""
    for time, date in times:
        if last is None or time - last > NIGHT_APART:
            night = (time - EVENING).date().isoformat()
        last, found[date] = time, night
    return found


def moment_of(date: str) -> datetime | None:
    """Return the moment that a header's DATE-OBS tells; None where it tells none."""
    try:
        return datetime.fromisoformat(date.strip().rstrip("Z")[:19])
    except ValueError:
        return None


def lines(paths: Sequence[Path], seen: Sequence[LookedAt], left_out: LeftOut) -> list[str]:
    """Return in a few lines what files are: those that a mosaic would show, by nights, and why not the others."""
    used = [one for one in seen if one.number not in left_out.reasons]
    of_night = nights(one.date for one in used)
    names = short_names(paths)
    reasons = {names[paths[number]]: reason for number, reason in sorted(left_out.reasons.items())}
    told_of = [f"frames             {len(used)} to be stacked, {len(reasons)} left out"]
    for night, count in sorted(Counter(of_night.get(one.date, "") for one in used).items()):
        some = [one for one in used if of_night.get(one.date, "") == night]
        told_of.append(f"{f'night {night}' if night else 'no date':<18} {counted(count, 'frame')} of {_targets(some)}")
    told_of += [f"left out           {line}" for line in told(reasons)]
    count = len(left_out.can_be_taken_in)
    return told_of + [f"can be taken in    {count} of these, by mosaic --take-in FILE"] * bool(count)


def _targets(seen: Sequence[LookedAt]) -> str:
    targets = Counter(one.target or "no target named" for one in seen)
    exposures = sorted({one.exposure for one in seen if one.exposure is not None})
    seconds = f", {' and '.join(f'{one:g}' for one in exposures)} s each" if exposures else ""
    return ", ".join(target for target, _ in targets.most_common()) + seconds
