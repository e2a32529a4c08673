# SPDX-License-Identifier: GPL-3.0-or-later
"""How the frames of a result were taken, as cards: what the next program looks for, and nothing of who stood where."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta, timezone
from typing import Any

from nanstack.io.cards import card_value, number_of, text_of
from nanstack.io.layout import Layout
from nanstack.survey.facts import facts_of
from nanstack.survey.record import Facts

DIGITS = 3  # decimals in which numbers of one camera agree, whatever wrote them
TOTAL_CARDS = ("TOTALEXP", "EXPTOTAL")  # seconds of all frames, of this program and others
MOMENT = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:[.,](\d+))?(Z|[+-]\d\d:?\d\d)?")
FRAMES_CARDS = ("NPA_ALGN", "STACKCNT", "NCOMBINE", "ZMT_NALGN", "MT_NFRAMES")


@dataclass(frozen=True)
class Taken:
    """What a result's frames have in common, and what they come to.

    Attributes
    ----------
    object, filter, instrument : str
        Empty where frames differ, or none says.
    exposure, gain, focal_length : float or None
        As `Facts` has them; None where frames differ, or none says.
    pixel_size : tuple of float or None
    begin, end : datetime or None
        When the first exposure began and the last one ended, UTC.
    total : float or None
        Seconds of all exposures; None where one is not known.
    frames : int
    """

    object: str = ""
    filter: str = ""
    instrument: str = ""
    exposure: float | None = None
    gain: float | None = None
    focal_length: float | None = None
    pixel_size: tuple[float, float] | None = None
    begin: datetime | None = None
    end: datetime | None = None
    total: float | None = None
    frames: int = 0

    def cards(self) -> dict[str, tuple[Any, str]]:
        """Return the FITS cards that say so; nothing is said of what is not known."""
        width, height = self.pixel_size or (None, None)
        cards = {
            "OBJECT": (card_value(self.object), "what was looked at"),
            "FILTER": (card_value(self.filter), "of all frames"),
            "INSTRUME": (card_value(self.instrument), "camera of all frames"),
            "FOCALLEN": (self.focal_length, "[mm] focal length"),
            "XPIXSZ": (width, "[um] width of a frame's pixel, as binned"),
            "YPIXSZ": (height, "[um] height of a frame's pixel, as binned"),
            "GAIN": (self.gain, "of all frames, in the camera's units"),
            "DATE-OBS": (_written(self.begin), "UTC, begin of the first exposure"),
            "DATE-END": (_written(self.end), "UTC, end of the last exposure"),
            "EXPTIME": (self.exposure, "[s] exposure of each frame"),
            "TOTALEXP": (self.total, "[s] exposure of all frames together"),
            "STACKCNT": (self.frames or None, "frames stacked"),
        }
        return {name: card for name, card in cards.items() if card[0] not in (None, "")}


def taken_of_frames(facts: Sequence[Facts]) -> Taken:
    """Return how frames were taken."""
    return taken_together([_taken(one, one.exposure, 1) for one in facts])


def taken_of_tile(layout: Layout) -> Taken:
    """Return what a master tile's header says of its frames: a tile of this program, or of another."""
    header = layout.header
    total, frames = number_of(header, *TOTAL_CARDS), number_of(header, *FRAMES_CARDS)
    taken = _taken(facts_of(layout), total, round(frames or 0))
    return replace(taken, end=_moment(text_of(header, "DATE-END")) or taken.end)


def taken_together(parts: Sequence[Taken]) -> Taken:
    """Return what several parts have in common, and what they come to; a part that says nothing is of one mind."""
    totals = [part.total for part in parts]
    return Taken(
        object=_agreed(part.object for part in parts) or "",
        filter=_agreed(part.filter for part in parts) or "",
        instrument=_agreed(part.instrument for part in parts) or "",
        exposure=_agreed(part.exposure for part in parts),
        gain=_agreed(part.gain for part in parts),
        focal_length=_agreed(part.focal_length for part in parts),
        pixel_size=_agreed(part.pixel_size for part in parts),
        begin=min((part.begin for part in parts if part.begin), default=None),
        end=max((part.end for part in parts if part.end), default=None),
        total=None if None in totals or not totals else round(sum(totals), DIGITS),
        frames=sum(part.frames for part in parts),
    )


def _taken(facts: Facts, total: float | None, frames: int) -> Taken:
    begin = _moment(facts.date)
    return Taken(
        object=facts.object,
        filter=facts.filter,
        instrument=facts.instrument,
        exposure=_rounded(facts.exposure),
        gain=_rounded(facts.gain),
        focal_length=_rounded(facts.focal_length),
        pixel_size=facts.pixel_size and tuple(map(_rounded, facts.pixel_size)),
        begin=begin,
        end=None if begin is None or facts.exposure is None else _later(begin, facts.exposure),
        total=total,
        frames=frames,
    )


def _agreed(values: Iterable[Any]) -> Any:
    """Return what all say that say anything; None where they differ, or none says."""
    said = {value for value in values if value not in (None, "")}  # 0 is a gain
    return said.pop() if len(said) == 1 else None


def _rounded(number: float | None) -> float | None:
    return None if number is None else round(number, DIGITS)


def _moment(text: str) -> datetime | None:
    """Return the time that a card gives, UTC by the standard, where it says nothing else; None for what is none."""
    found = MOMENT.fullmatch(text)
    if found is None:
        return None
    fraction = (found[2] or "")[:6].ljust(6, "0")
    zone = found[3] or ""
    zone = "+0000" if zone in ("", "Z") else zone.replace(":", "")
    try:
        return datetime.strptime(f"{found[1]}.{fraction}{zone}", "%Y-%m-%dT%H:%M:%S.%f%z").astimezone(timezone.utc)
    except (ValueError, OverflowError):
        return None


def _later(begin: datetime, seconds: float) -> datetime | None:
    try:
        return begin + timedelta(seconds=seconds)
    except OverflowError:
        return None


def _written(moment: datetime | None) -> str | None:
    return None if moment is None else moment.replace(tzinfo=None).isoformat(timespec="milliseconds")
