# SPDX-License-Identifier: GPL-3.0-or-later
"""Files to registered frames: surveyed, sorted out, registered all at once by their stars, put onto the sky."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from nanstack.crew import Crew
from nanstack.levels.flux import on_one_flux_scale
from nanstack.progress import Noting, Progress, Quiet
from nanstack.register.field import groups_apart
from nanstack.register.place import Place, middle_of, place_by_solutions, turned, unknown
from nanstack.register.registered import RegisteredFrame
from nanstack.register.solution import Registration, register
from nanstack.register.verdicts import judge
from nanstack.survey.record import Survey
from nanstack.survey.selection import lights
from nanstack.survey.store import survey_files

Placed = tuple[list[Registration], dict[int, Place]]
Placer = Callable[[Sequence[Survey], Sequence[Registration]], Placed]
Recall = Callable[[Sequence[Survey]], "Session | None"]


@dataclass(frozen=True)
class Session:
    """What of a list of files can be stacked, and why the rest cannot.

    Attributes
    ----------
    frames : list of RegisteredFrame
        On one sphere, in the order of their names.
    left_out : dict
        Path of a file: why it is not among them.
    place : Place or None
        How the sphere came to its place on the sky; None where nobody knows it.
    refused : dict
        Digest of a frame that was surveyed and not registered: why.
    faults : dict
        Path of a file that the owner may want all the same: what speaks against it. It is among the frames if it is
        wanted and stars place it.
    judged : dict
        Digest of a frame that stars placed: what of it would make the result worse, as `faults` has it.
    usual_flux : float
        What the frames' factors make of a star's flux, over what it is in the usual frame of these: 1, but where the
        factors are those of an earlier run, which had other frames.
    remarks : tuple of str
        What was found out of the frames and is to be told, as that headers are wrong.
    """

    frames: list[RegisteredFrame]
    left_out: dict[Path, str]
    place: Place | None
    refused: dict[str, str] = field(default_factory=dict)
    usual_flux: float = 1.0
    remarks: tuple[str, ...] = ()
    faults: dict[Path, str] = field(default_factory=dict)
    judged: dict[str, str] = field(default_factory=dict)

    @property
    def taken_in(self) -> dict[Path, str]:
        """Frames that are there because they are wanted, and what speaks against them."""
        return {frame.path: self.faults[frame.path] for frame in self.frames if frame.path in self.faults}

    @property
    def can_be_taken_in(self) -> dict[Path, str]:
        """Files that are left out, and could be among the frames if they were wanted; what speaks against them."""
        return {path: reason for path, reason in self.faults.items() if self.left_out.get(path) == reason}

    @property
    def knows_its_place(self) -> bool:
        """Whether the place on the sky is known, and better than a header's pointing."""
        return self.place is not None and not self.place.approximate

    @property
    def knows_its_scale(self) -> bool:
        """Whether a header tells it, or the sky; else it is a guess."""
        return self.knows_its_place or any(frame.facts.scale is not None for frame in self.frames)


def open_session(
    paths: Sequence[Path],
    *,
    wanted: Collection[Path] = (),
    folder: Path | None = None,
    place: Placer | None = None,
    known: Recall | None = None,
    progress: Progress | None = None,
    crew: Crew | None = None,
) -> Session:
    """Survey and register files.

    Parameters
    ----------
    paths : sequence of Path
        In any order: it changes nothing.
    wanted : collection of Path
        Those that are frames whatever speaks against them, if stars place them: calibration frames by their names,
        stacks, those of another filter, doubled, trailed, blurred and clouded ones.
    folder : Path, optional
        Keeps the surveys, so that no file is surveyed twice.
    place : callable, optional
        Turns registered groups onto the sky; by default by the frames' own solutions.
    known : callable, optional
        Returns the session of an earlier run of such frames, which are not registered again; None where there is none.
    progress : Progress, optional
        Hears of the steps 'surveying frames' and 'registering frames'.
    crew : Crew, optional
        Surveys the files instead of this process's threads; the folder is needed, and seen by all.

    Returns
    -------
    Session
        Without frames, where none can be used.
    """
    progress = progress or Quiet()
    surveys, left_out = survey_files(paths, folder, progress=progress, crew=crew)
    chosen = lights(surveys, wanted)
    surveys = sorted(chosen.surveys, key=lambda survey: survey.digest)  # files may be renamed
    left_out |= chosen.left_out
    for remark, count in Counter(survey.facts.remark for survey in surveys if survey.facts.remark).items():
        progress.warn(f"{count} frame{'' if count == 1 else 's'}: {remark}")
    earlier = None if known is None else known(surveys)
    if earlier is not None:
        return _gone_on(earlier, left_out, chosen.faults, progress)
    found = _registered(surveys, wanted, place or by_own_solutions, Noting(progress))
    return replace(found, left_out={**left_out, **found.left_out}, faults={**found.faults, **chosen.faults})


def _gone_on(earlier: Session, left_out: dict[Path, str], faults: dict[Path, str], progress: Progress) -> Session:
    """Return an earlier run's session with what is known of the files now; its remarks are told again."""
    for remark in earlier.remarks:
        progress.warn(remark)
    return replace(
        earlier,
        frames=_by_name(earlier.frames),
        left_out={**left_out, **earlier.left_out},
        faults={**earlier.faults, **faults},
    )


def _registered(surveys: Sequence[Survey], wanted: Collection[Path], place: Placer, progress: Noting) -> Session:
    """Register surveyed frames, judge them, put them onto the sky, and bring them to one scale of flux."""
    digests = {survey.path: survey.digest for survey in surveys}
    left_out: dict[Path, str] = {}
    registrations = register(surveys, lambda share: progress.step("registering frames", round(100 * share), 100))
    verdicts = judge(surveys, registrations)
    for remark in verdicts.remarks:
        progress.warn(remark)
    exposed = {surveys[index].digest: seconds for index, seconds in verdicts.exposures.items()}
    faults = {surveys[index].path: reason for index, reason in verdicts.reasons.items() if registrations[index].view}
    reasons = [
        one.reason if survey.path in wanted else verdicts.reasons.get(index) or one.reason
        for index, (survey, one) in enumerate(zip(surveys, registrations, strict=True))
    ]
    surveys, registrations = _without(surveys, registrations, reasons, left_out)
    registrations, places = place(surveys, registrations)
    # a placer that corrects a scale registers anew, and a frame may be lost then
    surveys, registrations = _without(surveys, registrations, [one.reason for one in registrations], left_out)
    frames = [
        RegisteredFrame(survey, one.view, one.stars, one.rms, exposed=exposed.get(survey.digest, math.nan))
        for survey, one in zip(surveys, registrations, strict=True)
    ]
    frames, groups = _of_one_field(frames, [one.group for one in registrations], places, left_out)
    main = min(set(groups), key=lambda group: (-groups.count(group), group), default=None)
    judged = {digests[path]: reason for path, reason in faults.items() if left_out.get(path, reason) == reason}
    refused = {digest: left_out[path] for path, digest in digests.items() if path in left_out and digest not in judged}
    frames = _by_name(on_one_flux_scale(frames, groups, progress))
    remarks = tuple(progress.warnings)
    return Session(frames, left_out, places.get(main), refused, remarks=remarks, faults=faults, judged=judged)


def _of_one_field(
    frames: Sequence[RegisteredFrame], groups: Sequence[int], places: dict[int, Place], left_out: dict[Path, str]
) -> tuple[list[RegisteredFrame], list[int]]:
    """Return frames and their groups without groups that show another field, which is noted."""
    apart = groups_apart(frames, groups, places)
    pairs = list(zip(frames, groups, strict=True))
    left_out.update({frame.path: apart[group] for frame, group in pairs if group in apart})
    kept = [(frame, group) for frame, group in pairs if group not in apart]
    return [frame for frame, _ in kept], [group for _, group in kept]


def _by_name(frames: Sequence[RegisteredFrame]) -> list[RegisteredFrame]:
    return sorted(frames, key=lambda frame: (frame.path.name, frame.survey.digest))


def _without(
    surveys: Sequence[Survey], registrations: Sequence[Registration], reasons: Sequence[str], left_out: dict[Path, str]
) -> tuple[list[Survey], list[Registration]]:
    """Return frames without those that there is a reason to leave out, which is noted."""
    left_out.update({survey.path: reason for survey, reason in zip(surveys, reasons, strict=True) if reason})
    kept = [index for index, reason in enumerate(reasons) if not reason]
    return [surveys[index] for index in kept], [registrations[index] for index in kept]


def by_own_solutions(surveys: Sequence[Survey], registrations: Sequence[Registration]) -> Placed:
    """Turn the views of each group onto the sky by the solutions in its frames' headers, as far as these agree."""
    places, of_groups = {}, {}
    for index in sorted(range(len(surveys)), key=lambda index: -registrations[index].stars):  # as other placers do
        of_groups.setdefault(registrations[index].group, []).append(index)
    for group, members in of_groups.items():
        views = [registrations[index].view for index in members]
        solutions = [surveys[index].facts.wcs for index in members]
        places[group] = place_by_solutions(views, solutions, middle_of(views)) or unknown(views)
    return [replace(one, view=turned(one.view, places[one.group])) for one in registrations], places
