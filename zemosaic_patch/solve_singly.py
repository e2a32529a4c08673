# SPDX-License-Identifier: GPL-3.0-or-later
"""Frames without a WCS, solved by a program that is installed: astrometry.net's solve-field, or ASTAP.

A solution is kept in the output's folder under the frame's name, size and time, so that no frame is solved twice.
"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nanstack.io.files import complete_file
from nanstack.io.frames import FITS_SUFFIXES, FrameFile
from nanstack.io.solution import celestial_wcs
from nanstack.memory import threads
from nanstack.progress import Progress

if TYPE_CHECKING:
    from astropy.wcs import WCS

PROGRAMS = ("solve-field", "astap_cli", "astap")  # the first one that is installed
PATIENCE_S = 120  # for one frame


class SolveError(Exception):
    """A frame cannot be solved; the message says why."""


def solver() -> str | None:
    """Return the program that solves frames, or None where none is installed."""
    return next(filter(None, map(shutil.which, PROGRAMS)), None)


def solve_frames(frames: Sequence[FrameFile], folder: Path, progress: Progress) -> list[FrameFile]:
    """Return frames with a WCS each, as far as it can be found; those that cannot be solved come back without.

    Parameters
    ----------
    frames : sequence of nanstack.io.frames.FrameFile
        Without WCS.
    folder : Path
        Keeps the solutions.
    progress : nanstack.progress.Progress
        Is told the step 'solving frames', and which frames cannot be solved.
    """
    program = solver()
    if program is None:
        return list(frames)

    def solved(frame: FrameFile) -> tuple[FrameFile, str]:
        try:
            return replace(frame, wcs=_solution(program, frame, folder)), ""
        except SolveError as failure:
            return frame, f"{frame.path.name}: {failure}"

    found = []
    with ThreadPoolExecutor(threads()) as pool:
        for frame, why_not in pool.map(solved, frames):
            found.append(frame)
            if why_not:
                progress.warn(why_not)
            progress.step("solving frames", len(found), len(frames))
    return found


def _solution(program: str, frame: FrameFile, folder: Path) -> WCS:
    path = frame.path
    if not path.name.lower().endswith(FITS_SUFFIXES):
        raise SolveError("it is not a FITS file, and plate solvers read no others")
    kept = folder / f"{_digest(repr(frame.identity))}.wcs"
    text = _kept_text(kept)
    if text is None:
        text = _solve(program, path).tostring(sep="\n")
        with complete_file(kept) as temporary:
            temporary.write_text(f"{text}\n{_check_line(text)}", encoding="ascii")
    wcs = _wcs_of(text)
    if wcs is None:
        raise SolveError(f"{Path(program).name} found no position on the sky")
    return wcs


def _kept_text(path: Path) -> str | None:
    """Return a solution that was kept; None where there is none, or a damaged one."""
    try:
        text, _, check = path.read_text(encoding="ascii").rpartition("\n")
    except (OSError, ValueError):
        return None
    return text if check == _check_line(text) else None


def _check_line(text: str) -> str:
    return f"COMMENT checked by {_digest(text)}"


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def _wcs_of(text: str) -> WCS | None:
    from astropy.io import fits

    return celestial_wcs(fits.Header.fromstring(text, sep="\n"))


def _solve(program: str, path: Path) -> Any:
    """Run the program; return the header that it writes, with the frame's size."""
    from astropy.io import fits

    name = Path(program).name
    with tempfile.TemporaryDirectory(prefix="solve-") as work:
        base = Path(work) / "frame"
        result = base.with_suffix(".wcs")
        try:
            done = subprocess.run(
                _command(program, path, base), stdin=subprocess.DEVNULL, capture_output=True, timeout=PATIENCE_S
            )
        except (OSError, subprocess.TimeoutExpired) as failure:
            cannot = (
                f"cannot be run: {getattr(failure, 'strerror', failure)}"  # without the path, which tells whose it is
            )
            reason = "took too long" if isinstance(failure, subprocess.TimeoutExpired) else cannot
            raise SolveError(f"{name} {reason}") from failure
        if not result.is_file():
            raise SolveError(f"{name} found no solution (exit code {done.returncode})")
        return _header(result, fits)


def _command(program: str, path: Path, base: Path) -> list[str]:
    if Path(program).name.startswith("astap"):
        return [program, "-f", str(path.absolute()), "-o", str(base), "-wcs", "-r", "180", "-fov", "0", "-z", "0"]
    return [
        program, "--overwrite", "--no-plots", "--dir", str(base.parent), "--wcs", str(base.with_suffix(".wcs")),
        "--new-fits", "none", "--corr", "none", "--rdls", "none", "--match", "none", "--solved", "none",
        "--index-xyls", "none", "--cpulimit", str(PATIENCE_S), str(path.absolute()),
    ]  # fmt: skip


def _header(path: Path, fits: Any) -> Any:
    """Return the header of a solution: a FITS header as such, or, as ASTAP's, with a line a card."""
    data = path.read_bytes()
    if b"\n" in data:
        lines = [line for line in data.decode("ascii", "replace").splitlines() if line.strip()]
        return fits.Header.fromstring("\n".join(lines), sep="\n")
    return fits.Header.fromstring(data.decode("ascii", "replace"))
