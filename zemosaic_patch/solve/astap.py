# SPDX-License-Identifier: GPL-3.0-or-later
"""ASTAP: it is given frames."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np

from nanstack.io.files import temporary_folder
from nanstack.io.frames import FrameError, read_frame
from nanstack.register.place import Place
from nanstack.survey.stars import luminance
from zemosaic_patch.solve.answers import NoAnswerError, by_solution, found_none
from zemosaic_patch.solve.groups import Group, Picture
from zemosaic_patch.solve.running import run

NAME = "ASTAP"
PROGRAMS = ("astap_cli", "astap")  # the first one that is installed
PLAIN_FITS = (".fits", ".fit", ".fts")


def tries(group: Group) -> list[tuple[Picture, bool]]:
    """Return what it is shown, and that it begins near where the header points: it reads no lists of stars."""
    return [(one, True) for one in group.pictures() if one.frame is not None]


def ask(program: str, picture: Picture, group: Group, near: bool, seconds: float) -> Place | None:
    """Give ASTAP a frame: it looks around where the header points, farther and farther."""
    height = picture.view.camera.shape[0] / (picture.view.camera.focal * picture.view.scale)
    with temporary_folder("solve-") as work:
        base = work / "solution"
        command = [
            program, "-f", str(_plain_fits(picture.frame, work)), "-o", str(base), "-wcs", "-r", "180", "-z", "0",
            "-fov", f"{np.degrees(height):.4f}" if group.scale_known else "0",
        ]  # fmt: skip
        if near and group.pointing is not None:
            ra, dec = group.pointing
            command += ["-ra", f"{ra / 15:.5f}", "-spd", f"{dec + 90:.4f}"]
        code = run(command, work, seconds)
        result = base.with_suffix(".wcs")
        if not result.is_file():
            raise NoAnswerError(found_none(code))
        return by_solution(result, picture, group)


def _plain_fits(frame: Path, work: Path) -> Path:
    """Return a copy of a frame in a folder whose name any program reads, uncompressed."""
    from astropy.io import fits

    try:
        if frame.suffix.lower() in PLAIN_FITS:
            return Path(shutil.copyfile(frame, work / frame.name))
        copy = work / f"{frame.name}.fits"
        fits.writeto(copy, np.nan_to_num(luminance(read_frame(frame).data)))
    except (FrameError, OSError) as failure:
        raise NoAnswerError(f"was not asked: {getattr(failure, 'reason', failure)}") from failure
    return copy
