# SPDX-License-Identifier: GPL-3.0-or-later
"""The programs that are installed, asked one after the other until one knows a group's place."""

from __future__ import annotations

import os
import shutil
import time
from dataclasses import replace
from pathlib import Path
from types import ModuleType

from nanstack.progress import Progress
from nanstack.register.place import Place
from zemosaic_patch.solve import astap, kept, solve_field
from zemosaic_patch.solve.answers import NoAnswerError
from zemosaic_patch.solve.groups import Group, likely, named
from zemosaic_patch.solve.running import TOO_LONG

SOLVERS = (solve_field, astap)  # in the order in which they are asked
RUN_S = 30.0  # with one picture


def solvers() -> list[str]:
    """Return the programs that are installed and solve pictures, in the order in which they are asked."""
    found = (next(filter(None, map(_installed, solver.PROGRAMS)), None) for solver in SOLVERS)
    return [program for program in found if program is not None]


def _installed(name: str) -> str | None:
    """Return where a program is: on the PATH, or where ASTAP's installer for Windows puts it, and tells no PATH."""
    below = os.environ.get("PROGRAMFILES")
    return shutil.which(name) or (shutil.which(name, path=os.path.join(below, "astap")) if below else None)


def by_programs(group: Group, folder: Path, patience: float, progress: Progress) -> Place | None:
    """Return the place that the first program finds that finds any; what the others say is told, and kept.

    Parameters
    ----------
    group : Group
    folder : Path
        Keeps that a program found nothing, so that it is not asked again.
    patience : float
        Seconds that each program has for all that it is shown.
    progress : nanstack.progress.Progress
    """
    for program in solvers():
        name, nothing = _solver(program).NAME, kept.file_of_nothing(folder, program, group, patience)
        if (earlier := kept.read_nothing(nothing)) is not None:
            progress.warn(f"{name} {earlier} ({named(group)}), in an earlier run: it is asked again with --overwrite")
            continue
        if group.pointing is None and not group.scale_known:
            progress.warn(
                f"no header tells where {named(group)} look, or at what scale (RA, DEC; FOCALLEN, XPIXSZ): {name} "
                f"searches the whole sky for them, for {patience:.0f} s at most"
            )
        try:
            place = _by_program(program, group, time.monotonic() + patience)
        except NoAnswerError as failure:
            progress.warn(f"{name} {failure} ({named(group)})")
            if failure.final:
                kept.keep_nothing(nothing, str(failure))
            continue
        return replace(place, how=name)
    return None


def _solver(program: str) -> ModuleType:
    """Return the module that knows how a program is asked."""
    return next(solver for solver in SOLVERS if Path(program).stem in solver.PROGRAMS)


def _by_program(program: str, group: Group, deadline: float) -> Place:
    """Return what the first picture that a program solves says; raise NoAnswerError where there is none."""
    reasons, final = [], True
    solver = _solver(program)
    for picture, near in solver.tries(group):
        seconds = min(RUN_S, deadline - time.monotonic())
        if seconds <= 0:
            final = False
            break
        try:
            place = solver.ask(program, picture, group, near, seconds)
        except NoAnswerError as failure:
            reasons.append(str(failure))
            final &= failure.final
            continue
        if place is not None and likely(place, group):
            return place
        reasons.append("found no position on the sky that fits")
    raise NoAnswerError(reasons[-1] if reasons else TOO_LONG, final)
