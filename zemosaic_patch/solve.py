# SPDX-License-Identifier: GPL-3.0-or-later
"""The place on the sky of groups of registered frames: once a group, by the first that knows it.

The frames' own solutions; a program that is installed, solve-field of astrometry.net or ASTAP; the stars of a catalogue
that a package brings; the header's pointing. What a program or the catalogue found is kept in the output's folder under
the identity of one frame of the group, so that it is not looked for again, also when more frames join.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from nanstack.io.files import complete_file
from nanstack.io.frames import FrameError, read_frame
from nanstack.io.solution import celestial_wcs
from nanstack.progress import Progress
from nanstack.register.camera import ARCSEC, View, direction_of
from nanstack.register.catalogue import place_by_catalogue
from nanstack.register.group_stars import StarList, merged_stars, picture_of
from nanstack.register.place import (
    Place,
    middle_of,
    place_by_pairs,
    place_by_pointing,
    place_by_solutions,
    scale_of_solutions,
    turned,
    unknown,
)
from nanstack.register.solution import Registration, register
from nanstack.survey.stars import luminance
from zemosaic_patch.catalogue import catalogue_near

if TYPE_CHECKING:
    from astropy.io.fits import Header
    from astropy.wcs import WCS

    from nanstack.survey.record import Facts, Survey

SOLVE_FIELD = ("solve-field",)
ASTAP = ("astap_cli", "astap")  # the first one that is installed
FOUND = ("solve-field", "ASTAP", "catalogue")  # what is worth keeping
PATIENCE_S = 60.0  # of a program with all that it is shown of the largest group; with the second half of it, and so on
LEAST_PATIENCE_S = 10.0
RUN_S = 30.0  # with one picture
FRAMES_TRIED = 3
SCALE_FACTOR = 1.5  # that a header's focal length may be off by
SEARCH_DEG = 5.0  # that a header's pointing may be off by, for a first try
BRIGHTEST = 20  # stars of a list that solve-field begins with: it finds a sky by ten, and misses one for minutes
BENT_PX = 0.05  # a tenth of it is what then remains between frames: 3 % of a focal length in a mosaic 3 degrees wide
OF_DATE = "Seestar"  # begins INSTRUME of cameras whose headers point in coordinates of the date
PLAIN_FITS = (".fits", ".fit", ".fts")
NOTHING = ".none"  # ends the name of a file that says that a program found nothing
TOO_LONG = "took too long"
MAX_ANSWER = 2**20  # bytes
WCS_CARD = re.compile(
    rb"(CTYPE|CUNIT|CRVAL|CRPIX|CDELT|CROTA)[12] *$|(CD|PC|PV)[12]_\d+ *$|"
    rb"(A|B|AP|BP)_(ORDER|\d_\d) *$|(LONPOLE|LATPOLE|RADESYS|EQUINOX|WCSAXES) *$"
)


def place_groups(
    surveys: Sequence[Survey], registrations: Sequence[Registration], folder: Path, progress: Progress
) -> tuple[list[Registration], dict[int, Place]]:
    """Turn the views of each group onto the sky.

    Parameters
    ----------
    surveys, registrations : sequences
        One a frame.
    folder : Path
        Keeps the solutions that were found.
    progress : nanstack.progress.Progress
        Is told the step 'placing on the sky', and what programs could not do.

    Returns
    -------
    registrations : list of Registration
        With views on the sky; as they were where a place is unknown, and where there is no view.
    places : dict
        The place of each group, by its number.
    """
    told = {group.number: _told_scale(group) for group in _groups(surveys, registrations)}
    surveys, registrations = _rescaled(surveys, registrations, told)
    places = _places(surveys, registrations, folder, progress)
    found = {number: place.scale for number, place in places.items()}
    surveys, again = _rescaled(surveys, registrations, found)
    if again is not registrations:
        registrations, places = again, _places(surveys, again, folder, progress)
    for group in _groups(surveys, registrations):
        places[group.number] = _as_kept(group, places[group.number], folder, progress)
    placed = [
        one if one.view is None else replace(one, view=turned(one.view, places[one.group])) for one in registrations
    ]
    return placed, places


def _places(
    surveys: Sequence[Survey], registrations: Sequence[Registration], folder: Path, progress: Progress
) -> dict[int, Place]:
    groups, places = _groups(surveys, registrations), {}
    for rank, group in enumerate(groups):
        progress.step("placing on the sky", rank, len(groups))
        patience = max(PATIENCE_S / (1 + rank), LEAST_PATIENCE_S)
        places[group.number] = _place(group, folder, patience, progress)
    progress.step("placing on the sky", len(groups), len(groups))
    return places


def _rescaled(
    surveys: Sequence[Survey], registrations: Sequence[Registration], scales: dict[int, float]
) -> tuple[Sequence[Survey], Sequence[Registration]]:
    """Return all as it is where registration knew the scales of the groups well enough; else register again."""
    wrong = {one.number for one in _groups(surveys, registrations) if _bent_px(one, scales[one.number]) > BENT_PX}
    if not wrong:
        return surveys, registrations
    right = list(surveys)
    for index, one in enumerate(registrations):
        if one.group in wrong:
            scale = one.view.camera.scale * scales[one.group]  # of the camera: its frames' own differ a little
            right[index] = replace(surveys[index], facts=replace(surveys[index].facts, scale=scale))
    return right, register(right)


def _told_scale(group: _Group) -> float:
    return scale_of_solutions(group.views, [survey.facts.wcs for survey in group.surveys]) or 1.0


def _bent_px(group: _Group, scale: float) -> float:
    """Return how far stars at the rim of a group would lie from where a wrong scale bends them to, in pixels.

    The frames are planes that touch a sphere; at the angle t from the middle the plane is t^3 / 3 farther out.
    """
    cameras = {one.view.camera for one in group.registrations}
    half = max(np.hypot(*camera.shape) / 2 / camera.focal for camera in cameras)
    reach = half + max(np.arccos(np.clip(view.pointing @ group.middle, -1, 1)) for view in group.views)
    return max(camera.focal for camera in cameras) * reach**3 / 3 * scale**2 * abs(np.log(scale))


@dataclass(frozen=True)
class _Picture:
    """Stars as a solver is shown them: a frame's, or those of the whole group on a plane."""

    name: str
    view: View
    x: np.ndarray
    y: np.ndarray
    flux: np.ndarray
    frame: Path | None = None


@dataclass(frozen=True)
class _Group:
    """The frames of a group, those with most stars that agree first."""

    number: int
    surveys: list[Survey]
    registrations: list[Registration]

    @cached_property
    def views(self) -> list[View]:
        return [one.view for one in self.registrations]

    @cached_property
    def middle(self) -> np.ndarray:
        return middle_of(self.views)

    @cached_property
    def stars(self) -> StarList:
        return merged_stars(self.surveys, self.registrations)

    @property
    def scale_known(self) -> bool:
        return any(survey.facts.scale is not None for survey in self.surveys)

    @property
    def pointing(self) -> tuple[float, float] | None:
        return next((place for place in self.pointings if place is not None), None)

    @cached_property
    def pointings(self) -> list[tuple[float, float] | None]:
        return [_pointing(survey.facts) for survey in self.surveys]

    def pictures(self) -> Iterator[_Picture]:
        """Give what solvers are shown, in turn: the best frame, all stars, some more frames."""
        frames = [_picture_of_frame(*pair) for pair in zip(self.surveys[:FRAMES_TRIED], self.views, strict=False)]
        yield from frames[:1]
        if len(self.surveys) > 1 and len(self.stars):
            yield _Picture("stars.fits", *picture_of(self.stars, self.views[0]))
        yield from frames[1:]


def _groups(surveys: Sequence[Survey], registrations: Sequence[Registration]) -> list[_Group]:
    """Return the groups, the largest first."""
    members: dict[int, list[int]] = {}
    for index in sorted(range(len(surveys)), key=lambda index: -registrations[index].stars):
        if registrations[index].view is not None:
            members.setdefault(registrations[index].group, []).append(index)
    return [
        _Group(number, [surveys[index] for index in these], [registrations[index] for index in these])
        for number, these in sorted(members.items(), key=lambda group: -len(group[1]))
    ]


def _picture_of_frame(survey: Survey, view: View) -> _Picture:
    stars = survey.stars
    return _Picture(survey.path.name, view, stars.x, stars.y, stars.flux, survey.path)


# --- one group --------------------------------------------------------------------------------------------------------


def _place(group: _Group, folder: Path, patience: float, progress: Progress) -> Place:
    own = place_by_solutions(group.views, [survey.facts.wcs for survey in group.surveys], group.middle)
    if own is not None and not own.approximate and _likely(own, group):
        return own
    kept = _kept_place(group, folder)
    if kept is not None:
        return kept
    if tells_nothing(group.surveys):
        progress.warn(
            f"{_named(group)}: a .npy file has no header that tells where it looks and at what scale, so no place on "
            "the sky is looked for; to have one write it as FITS with RA, DEC (degrees), FOCALLEN (mm), XPIXSZ (um)"
        )
        return unknown(group.views)
    found = _by_programs(group, folder, patience, progress) or _by_catalogue(group)
    if found is not None:
        return found
    if own is not None and _likely(own, group):
        return own
    pointed = place_by_pointing(group.views, group.pointings, group.middle) if group.scale_known else None
    return pointed or unknown(group.views)


def tells_nothing(surveys: Iterable[Survey]) -> bool:
    """Tell whether all of them are arrays without a header: to search the whole sky for such takes a minute."""
    return all(survey.path.suffix.lower() == ".npy" for survey in surveys)


def _pointing(facts: Facts) -> tuple[float, float] | None:
    """Return where a header points, in coordinates of 2000."""
    if facts.pointing is None or not facts.instrument.startswith(OF_DATE):
        return facts.pointing
    from astropy.coordinates import FK5, SkyCoord
    from astropy.time import Time

    try:
        date = Time(facts.date)
    except ValueError:
        return facts.pointing
    place = SkyCoord(*facts.pointing, unit="deg", frame=FK5(equinox=date)).icrs
    return float(place.ra.deg), float(place.dec.deg)


def _likely(place: Place, group: _Group) -> bool:
    """Tell whether a place fits what else is known: many solutions that agree do, one or two must fit the scale."""
    return place.matched > 2 or not group.scale_known or 1 / SCALE_FACTOR < place.scale < SCALE_FACTOR


def _by_catalogue(group: _Group) -> Place | None:
    if group.pointing is None or not group.scale_known:
        return None
    near, view = direction_of(*group.pointing), group.views[0]
    radius = max(np.arccos(np.clip(np.min(group.stars.directions @ group.middle), -1, 1)), 0)
    catalogue = catalogue_near(near, radius + np.radians(3), group.surveys[0].facts.date)
    if catalogue is None:
        return None
    return place_by_catalogue(group.stars, catalogue, view.camera.focal * view.scale, group.middle, near, radius)


# --- solutions that are kept ------------------------------------------------------------------------------------------


def _identity(survey: Survey) -> str:
    if survey.digest:
        return survey.digest
    known = survey.path.stat()
    return _digest(repr((survey.path.name, known.st_size, known.st_mtime_ns)))


def _as_kept(group: _Group, place: Place, folder: Path, progress: Progress) -> Place:
    """Keep what was found, and return it as the next run reads it: a run that goes on gives the same bytes."""
    if place.how not in FOUND:
        return place
    _keep(group, place, folder, progress)
    return _kept_place(group, folder) or place


def _keep(group: _Group, place: Place, folder: Path, progress: Progress) -> None:
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


def _kept_name(survey: Survey) -> str:
    return f"{_identity(survey)}.wcs"


def _kept_place(group: _Group, folder: Path) -> Place | None:
    """Return the place by what an earlier run found for frames of the group; None where nothing is kept."""
    kept = _kept(group, folder)
    how = next((one[1] for one in kept if one is not None), "")
    return place_by_solutions(group.views, [one and one[0] for one in kept], group.middle, how)


def _kept(group: _Group, folder: Path) -> list[tuple[WCS, str] | None]:
    """Return for each frame the solution that is kept and who found it; None for none, or one that is harmed."""
    names = {path.name for path in folder.glob("*.wcs")}
    return [
        _read_kept(folder / name) if names and (name := _kept_name(survey)) in names else None
        for survey in group.surveys
    ]


def _read_kept(path: Path) -> tuple[WCS, str] | None:
    from astropy.io import fits

    try:
        text, _, check = path.read_text(encoding="ascii").rpartition("\n")
    except (OSError, ValueError):
        return None
    how = check.removeprefix("COMMENT by ").partition(",")[0]
    wcs = celestial_wcs(fits.Header.fromstring(text, sep="\n")) if check == _check_line(text, how) else None
    return None if wcs is None else (wcs, how)


def forget_failures(folder: Path) -> None:
    """Remove what is kept of programs that found nothing; files that are none of these stay."""
    for path in folder.glob(f"*{NOTHING}"):
        if _read_nothing(path) is not None:
            path.unlink(missing_ok=True)


def _question(program: str, group: _Group, patience: float) -> str:
    """Return what tells a question from all others: the program as it is installed, the frames, what they say."""
    installed = os.stat(program)
    frames = sorted((_identity(survey), repr(survey.facts.scale)) for survey in group.surveys)
    return _digest(repr((program, installed.st_size, installed.st_mtime_ns, patience, group.pointing, frames)))


def _keep_nothing(path: Path, why: str) -> None:
    with suppress(OSError):  # it costs the next run some time, not this one its end
        path.parent.mkdir(exist_ok=True)
        with complete_file(path) as temporary:
            temporary.write_text(f"{why}\n{_digest(why)}", encoding="utf-8")


def _read_nothing(path: Path) -> str | None:
    """Return why a program found nothing; None where that is not kept, or is harmed."""
    try:
        why, _, check = path.read_text(encoding="utf-8").rpartition("\n")
    except (OSError, ValueError):
        return None
    return why if why and check == _digest(why) else None


def _check_line(text: str, how: str) -> str:
    return f"COMMENT by {how}, checked by {_digest(text)}"


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:32]


# --- programs ---------------------------------------------------------------------------------------------------------


class _NoAnswerError(Exception):
    """A program found no solution; the message says why, `final` whether it would say so again."""

    def __init__(self, reason: str, final: bool = True) -> None:
        self.final = final
        super().__init__(reason)


def solvers() -> list[str]:
    """Return the programs that are installed and solve pictures, in the order in which they are asked."""
    found = (next(filter(None, map(shutil.which, names)), None) for names in (SOLVE_FIELD, ASTAP))
    return [program for program in found if program is not None]


def _by_programs(group: _Group, folder: Path, patience: float, progress: Progress) -> Place | None:
    for program in solvers():
        name, answer = _spoken(program), folder / f"{_question(program, group, patience)}{NOTHING}"
        if (earlier := _read_nothing(answer)) is not None:
            progress.warn(f"{name} {earlier} ({_named(group)}), in an earlier run: it is asked again with --overwrite")
            continue
        if group.pointing is None and not group.scale_known:
            progress.warn(
                f"no header tells where {_named(group)} look, or at what scale (RA, DEC; FOCALLEN, XPIXSZ): {name} "
                f"searches the whole sky for them, for {patience:.0f} s at most"
            )
        try:
            place = _by_program(program, group, time.monotonic() + patience)
        except _NoAnswerError as failure:
            progress.warn(f"{name} {failure} ({_named(group)})")
            if failure.final:
                _keep_nothing(answer, str(failure))
            continue
        return replace(place, how=name)
    return None


def _spoken(program: str) -> str:
    return "ASTAP" if Path(program).name.startswith("astap") else "solve-field"


def _named(group: _Group) -> str:
    name, others = group.surveys[0].path.name, len(group.surveys) - 1
    return f"{name} and {others} more" if others else name


def _by_program(program: str, group: _Group, deadline: float) -> Place:
    """Return what the first picture that a program solves says; raise _NoAnswerError where there is none."""
    reasons, final = [], True
    astap = _spoken(program) == "ASTAP"
    for picture, near in _tries(group, astap):
        seconds = min(RUN_S, deadline - time.monotonic())
        if seconds <= 0:
            final = False
            break
        try:
            ask = _ask_astap if astap else _ask_solve_field
            place = ask(program, picture, group, near, seconds)
        except _NoAnswerError as failure:
            reasons.append(str(failure))
            final &= failure.final
            continue
        if place is not None and _likely(place, group):
            return place
        reasons.append("found no position on the sky that fits")
    raise _NoAnswerError(reasons[-1] if reasons else TOO_LONG, final)


def _tries(group: _Group, astap: bool) -> list[tuple[_Picture, bool]]:
    """Return what a program is shown, and whether it looks near where the header points, or everywhere."""
    pictures, frames = list(group.pictures()), [one for one in group.pictures() if one.frame is not None]
    if astap:  # which reads no lists of stars, and looks farther and farther by itself
        return [(one, True) for one in frames]
    if group.pointing is None:
        return [(one, False) for one in pictures]
    return [(one, True) for one in pictures] + [(one, False) for one in frames[:2]]


def _ask_solve_field(program: str, picture: _Picture, group: _Group, near: bool, seconds: float) -> Place | None:
    """Give solve-field a list of stars."""
    from astropy.table import Table

    height, width = picture.view.camera.shape
    with tempfile.TemporaryDirectory(prefix="solve-") as work:
        stars, result, pairs = (
            Path(work) / name for name in (picture.name.removesuffix(".gz"), "solution.wcs", "pairs.fits")
        )
        Table({"X": picture.x + 1.0, "Y": picture.y + 1.0, "FLUX": picture.flux}).write(stars, format="fits")
        command = [
            program,
            "--overwrite",
            "--no-plots",
            "--dir",
            ".",
            "--temp-dir",
            ".",
            "--wcs",
            result.name,
            "--new-fits",
            "none",
            "--corr",
            pairs.name,
            "--rdls",
            "none",
            "--match",
            "none",
            "--solved",
            "none",
            "--index-xyls",
            "none",
            "--cpulimit",
            str(int(np.ceil(seconds))),
            "--width",
            str(width),
            "--height",
            str(height),
            "--x-column",
            "X",
            "--y-column",
            "Y",
            "--sort-column",
            "FLUX",
            "--depth",
            str(BRIGHTEST),
            "--no-remove-lines",
            "--uniformize",
            "0",
            *_scale_bounds(picture.view, group),
            *(_near(group) if near else []),
            stars.name,
        ]  # fmt: skip  (names within the current folder: its own may have spaces and quotes in it)
        code = _run(command, work, seconds)
        if not result.is_file():
            raise _NoAnswerError(_found_none(code))
        return _by_pairs(pairs, picture, group) or _by_solution(result, picture, group)


def _scale_bounds(view: View, group: _Group) -> list[str]:
    if not group.scale_known:
        return []
    scale = ARCSEC / (view.camera.focal * view.scale)
    low, high = f"{scale / SCALE_FACTOR:.4f}", f"{scale * SCALE_FACTOR:.4f}"
    return ["--scale-units", "arcsecperpix", "--scale-low", low, "--scale-high", high]


def _near(group: _Group) -> list[str]:
    ra, dec = group.pointing
    return ["--ra", f"{ra:.4f}", "--dec", f"{dec:.4f}", "--radius", str(SEARCH_DEG)]


def _ask_astap(program: str, picture: _Picture, group: _Group, near: bool, seconds: float) -> Place | None:
    """Give ASTAP a frame: it looks around where the header points, farther and farther."""
    height = picture.view.camera.shape[0] / (picture.view.camera.focal * picture.view.scale)
    with tempfile.TemporaryDirectory(prefix="solve-") as work:
        base = Path(work) / "solution"
        command = [
            program, "-f", str(_plain_fits(picture.frame, Path(work))), "-o", str(base), "-wcs", "-r", "180", "-z", "0",
            "-fov", f"{np.degrees(height):.4f}" if group.scale_known else "0",
        ]  # fmt: skip
        if near and group.pointing is not None:
            ra, dec = group.pointing
            command += ["-ra", f"{ra / 15:.5f}", "-spd", f"{dec + 90:.4f}"]
        code = _run(command, work, seconds)
        result = base.with_suffix(".wcs")
        if not result.is_file():
            raise _NoAnswerError(_found_none(code))
        return _by_solution(result, picture, group)


def _found_none(code: int) -> str:
    return f"found no solution (exit code {code})" if code else "found no solution"


def _plain_fits(frame: Path, work: Path) -> Path:
    """Return a copy of a frame in a folder whose name any program reads, uncompressed."""
    from astropy.io import fits

    try:
        if frame.suffix.lower() in PLAIN_FITS:
            return Path(shutil.copyfile(frame, work / frame.name))
        copy = work / f"{frame.name}.fits"
        fits.writeto(copy, np.nan_to_num(luminance(read_frame(frame).data)))
    except (FrameError, OSError) as failure:
        raise _NoAnswerError(f"was not asked: {getattr(failure, 'reason', failure)}") from failure
    return copy


def _run(command: Sequence[str], work: str, seconds: float) -> int:
    """Run a program and all that it starts for some seconds at most; return its exit code. What it prints is lost."""
    if seconds <= 0:
        raise _NoAnswerError(TOO_LONG, final=False)
    nothing = subprocess.DEVNULL
    try:
        started = subprocess.Popen(
            command, cwd=work, stdin=nothing, stdout=nothing, stderr=nothing, start_new_session=True
        )
    except OSError as failure:  # without the path, which tells whose it is
        raise _NoAnswerError(f"cannot be run: {failure.strerror or failure}", final=False) from failure
    try:
        return started.wait(seconds)
    except subprocess.TimeoutExpired as failure:
        raise _NoAnswerError(TOO_LONG, final=False) from failure
    finally:
        _end(started)


def _end(started: subprocess.Popen) -> None:
    """End a program, and on systems that can tell, what it has started: solve-field leaves the work to others."""
    try:
        if os.name == "posix":
            os.killpg(started.pid, signal.SIGKILL)
        else:
            started.kill()
    except (ProcessLookupError, PermissionError):
        return  # all of it has ended
    finally:
        started.wait()


def _by_solution(path: Path, picture: _Picture, group: _Group) -> Place | None:
    return place_by_solutions([picture.view], [_solution_in(path)], group.middle)


def _by_pairs(path: Path, picture: _Picture, group: _Group) -> Place | None:
    """Return the place by the stars that solve-field knows: on few of them, its polynomials are some pixels off."""
    from astropy.io import fits

    names = ("field_x", "field_y", "index_ra", "index_dec")
    try:
        table = fits.getdata(path, 1)
        x, y, ra, dec = (np.asarray(table[name], dtype=np.float64) for name in names)
    except (OSError, IndexError, KeyError, TypeError, ValueError):  # not there, or not what this version knows
        return None
    own, focal = picture.view.directions(x - 1, y - 1), picture.view.camera.focal * picture.view.scale
    return place_by_pairs(own, direction_of(ra, dec).T, focal, group.middle, "solve-field")


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
