# SPDX-License-Identifier: GPL-3.0-or-later
"""solve-field of astrometry.net: it is given lists of stars."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from nanstack.io.files import temporary_folder
from nanstack.register.camera import ARCSEC, View, direction_of
from nanstack.register.place import Place, place_by_pairs
from zemosaic_patch.solve.answers import NoAnswerError, by_solution, found_none
from zemosaic_patch.solve.groups import SCALE_FACTOR, Group, Picture
from zemosaic_patch.solve.running import run

NAME = "solve-field"
PROGRAMS = (NAME,)
SEARCH_DEG = 5.0  # that a header's pointing may be off by, for a first try
BRIGHTEST = 20  # stars of a list that it begins with: it finds a sky by ten, and misses one for minutes


def tries(group: Group) -> list[tuple[Picture, bool]]:
    """Return what it is shown, and whether it looks near where the header points, or everywhere."""
    pictures = list(group.pictures())
    if group.pointing is None:
        return [(one, False) for one in pictures]
    frames = [one for one in pictures if one.frame is not None]
    return [(one, True) for one in pictures] + [(one, False) for one in frames[:2]]


def ask(program: str, picture: Picture, group: Group, near: bool, seconds: float) -> Place | None:
    """Give solve-field a list of stars."""
    from astropy.table import Table

    with temporary_folder("solve-") as work:
        stars, result, pairs = (
            work / name for name in (picture.name.removesuffix(".gz"), "solution.wcs", "pairs.fits")
        )
        Table({"X": picture.x + 1.0, "Y": picture.y + 1.0, "FLUX": picture.flux}).write(stars, format="fits")
        # names within the current folder: its own may have spaces and quotes in it
        options = _options(picture.view, result.name, pairs.name, seconds)
        where = _scale_bounds(picture.view, group) + (_near(group) if near else [])
        code = run([program, *options, *where, stars.name], work, seconds)
        if not result.is_file():
            raise NoAnswerError(found_none(code))
        return _by_pairs(pairs, picture, group) or by_solution(result, picture, group)


def _options(view: View, result: str, pairs: str, seconds: float) -> list[str]:
    """Return what it is to read and to write, and how long it may take."""
    height, width = view.camera.shape
    return [
        "--overwrite", "--no-plots", "--dir", ".", "--temp-dir", ".",
        "--wcs", result, "--new-fits", "none", "--corr", pairs, "--rdls", "none", "--match", "none",
        "--solved", "none", "--index-xyls", "none", "--cpulimit", str(int(np.ceil(seconds))),
        "--width", str(width), "--height", str(height), "--x-column", "X", "--y-column", "Y",
        "--sort-column", "FLUX", "--depth", str(BRIGHTEST), "--no-remove-lines", "--uniformize", "0",
    ]  # fmt: skip


def _scale_bounds(view: View, group: Group) -> list[str]:
    """Return between which scales it is to search, where a header tells one."""
    if not group.scale_known:
        return []
    scale = ARCSEC / (view.camera.focal * view.scale)
    low, high = f"{scale / SCALE_FACTOR:.4f}", f"{scale * SCALE_FACTOR:.4f}"
    return ["--scale-units", "arcsecperpix", "--scale-low", low, "--scale-high", high]


def _near(group: Group) -> list[str]:
    """Return where it is to search, by the header's pointing."""
    ra, dec = group.pointing
    return ["--ra", f"{ra:.4f}", "--dec", f"{dec:.4f}", "--radius", str(SEARCH_DEG)]


def _by_pairs(path: Path, picture: Picture, group: Group) -> Place | None:
    """Return the place by the stars that solve-field knows: on few of them, its polynomials are some pixels off."""
    from astropy.io import fits

    names = ("field_x", "field_y", "index_ra", "index_dec")
    try:
        table = fits.getdata(path, 1)
        x, y, ra, dec = (np.asarray(table[name], dtype=np.float64) for name in names)
    except (OSError, IndexError, KeyError, TypeError, ValueError):  # not there, or not what this version knows
        return None
    own, focal = picture.view.directions(x - 1, y - 1), picture.view.camera.focal * picture.view.scale
    return place_by_pairs(own, direction_of(ra, dec).T, focal, group.middle, NAME)
