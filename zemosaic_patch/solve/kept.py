# SPDX-License-Identifier: GPL-3.0-or-later
"""What solvers found, kept in the output's folder for the next run: solutions, and that nothing was found.

A solution is kept under the identity of one frame of its group, so that it is not looked for again, also when more
frames join. Each file ends with a digest of the rest: one that is harmed counts as if it were not there.
"""

from __future__ import annotations

import hashlib
import os
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from nanstack.io.files import complete_file
from nanstack.io.solution import celestial_wcs
from nanstack.progress import Progress
from nanstack.register.place import Place, place_by_solutions, turned
from zemosaic_patch.solve.groups import Group

if TYPE_CHECKING:
    from astropy.wcs import WCS

    from nanstack.survey.record import Survey

FOUND = ("solve-field", "ASTAP", "catalogue")  # what is worth keeping
NOTHING = ".none"  # ends the name of a file that says that a program found nothing


def as_kept(group: Group, place: Place, folder: Path, progress: Progress) -> Place:
    """Keep what was found, and return it as the next run reads it: a run that goes on gives the same bytes."""
    if place.how not in FOUND:
        return place
    _keep(group, place, folder, progress)
    return kept_place(group, folder) or place


def kept_place(group: Group, folder: Path) -> Place | None:
    """Return the place by what an earlier run found for frames of the group; None where nothing is kept."""
    kept = _kept(group, folder)
    how = next((one[1] for one in kept if one is not None), "")
    return place_by_solutions(group.views, [one and one[0] for one in kept], group.middle, how)


def _keep(group: Group, place: Place, folder: Path, progress: Progress) -> None:
    """Keep the solution of the group's best frame, and nothing else of it, where none of the group is kept."""
    if any(_kept(group, folder)):
        return
    cards = turned(group.views[0], place).wcs().to_header(relax=True)
    text = cards.tostring(sep="\n", padding=False)
    try:
        with complete_file(folder / _kept_name(group.surveys[0])) as temporary:
            temporary.write_text(f"{text}\n{_check_line(text, place.how)}", encoding="ascii")
    except OSError as failure:  # it costs the next run some time, not this one its end
        why = failure.strerror or failure
        progress.warn(f"the place on the sky cannot be kept in {folder.name} ({why}): the next run looks for it again")


def _kept(group: Group, folder: Path) -> list[tuple[WCS, str] | None]:
    """Return for each frame the solution that is kept and who found it; None for none, or one that is harmed."""
    names = {path.name for path in folder.glob("*.wcs")}
    return [
        _read_kept(folder / name) if names and (name := _kept_name(survey)) in names else None
        for survey in group.surveys
    ]


def _read_kept(path: Path) -> tuple[WCS, str] | None:
    """Return a solution that is kept, and who found it; None for one that is harmed."""
    from astropy.io import fits

    try:
        text, _, check = path.read_text(encoding="ascii").rpartition("\n")
    except (OSError, ValueError):
        return None
    how = check.removeprefix("COMMENT by ").partition(",")[0]
    wcs = celestial_wcs(fits.Header.fromstring(text, sep="\n")) if check == _check_line(text, how) else None
    return None if wcs is None else (wcs, how)


def _kept_name(survey: Survey) -> str:
    return f"{_identity(survey)}.wcs"


def _check_line(text: str, how: str) -> str:
    return f"COMMENT by {how}, checked by {_digest(text)}"


def file_of_nothing(folder: Path, program: str, group: Group, patience: float) -> Path:
    """Return the file that says, where it is there, that a program found no place of a group in so many seconds.

    Its name tells the question from all others: the program as it is installed, the frames, what they say.
    """
    installed = os.stat(program)
    frames = sorted((_identity(survey), repr(survey.facts.scale)) for survey in group.surveys)
    asked = _digest(repr((program, installed.st_size, installed.st_mtime_ns, patience, group.pointing, frames)))
    return folder / f"{asked}{NOTHING}"


def keep_nothing(path: Path, why: str) -> None:
    """Keep why a program found nothing."""
    with suppress(OSError):  # it costs the next run some time, not this one its end
        path.parent.mkdir(exist_ok=True)
        with complete_file(path) as temporary:
            temporary.write_text(f"{why}\n{_digest(why)}", encoding="utf-8")


def read_nothing(path: Path) -> str | None:
    """Return why a program found nothing; None where that is not kept, or is harmed."""
    try:
        why, _, check = path.read_text(encoding="utf-8").rpartition("\n")
    except (OSError, ValueError):
        return None
    return why if why and check == _digest(why) else None


def forget_failures(folder: Path) -> None:
    """Remove what is kept of programs that found nothing; files that are none of these stay."""
    for path in folder.glob(f"*{NOTHING}"):
        if read_nothing(path) is not None:
            path.unlink(missing_ok=True)


def _identity(survey: Survey) -> str:
    if survey.digest:
        return survey.digest
    known = survey.path.stat()
    return _digest(repr((survey.path.name, known.st_size, known.st_mtime_ns)))


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:32]
