# SPDX-License-Identifier: GPL-3.0-or-later
"""What programs that solve pictures answer: the solution that they wrote, or why there is none."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from nanstack.io.solution import celestial_wcs
from nanstack.register.place import Place, place_by_solutions
from zemosaic_patch.solve.groups import Group, Picture

if TYPE_CHECKING:
    from astropy.io.fits import Header
    from astropy.wcs import WCS

MAX_ANSWER = 2**20  # bytes
WCS_CARD = re.compile(
    rb"(CTYPE|CUNIT|CRVAL|CRPIX|CDELT|CROTA)[12] *$|(CD|PC|PV)[12]_\d+ *$|"
    rb"(A|B|AP|BP)_(ORDER|\d_\d) *$|(LONPOLE|LATPOLE|RADESYS|EQUINOX|WCSAXES) *$"
)


class NoAnswerError(Exception):
    """A program found no solution; the message says why, `final` whether it would say so again."""

    def __init__(self, reason: str, final: bool = True) -> None:
        self.final = final
        super().__init__(reason)


def found_none(code: int) -> str:
    return f"found no solution (exit code {code})" if code else "found no solution"


def by_solution(path: Path, picture: Picture, group: Group) -> Place | None:
    return place_by_solutions([picture.view], [_solution_in(path)], group.middle)


def _solution_in(path: Path) -> WCS | None:
    """Return the solution that a program wrote: in records of 80 bytes, or in lines; all other cards are left aside."""
    with open(path, "rb") as file:
        data = file.read(MAX_ANSWER)
    records = [data[at : at + 80] for at in range(0, len(data), 80)]
    header = _wcs_cards(records)
    return celestial_wcs(header if "CTYPE1" in header else _wcs_cards(data.splitlines()))


def _wcs_cards(records: Sequence[bytes]) -> Header:
    """Return the cards of a solution, the last of each name: a program adds its own to those of the frame."""
    from astropy.io import fits

    found = {record[:8].strip(): record[:80] for record in records if WCS_CARD.match(record[:8]) and record.isascii()}
    if not any(b"-SIP" in found.get(name, b"") for name in (b"CTYPE1", b"CTYPE2")):
        found = {name: card for name, card in found.items() if not re.match(rb"[AB]P?_", name)}  # the frame's old ones
    return fits.Header.fromstring("\n".join(card.decode("ascii") for card in found.values()), sep="\n")
