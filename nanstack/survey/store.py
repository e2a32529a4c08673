# SPDX-License-Identifier: GPL-3.0-or-later
"""Surveys of many files, kept in a folder: a second run, or one more night, costs its new frames only."""

from __future__ import annotations

import hashlib
import io
import json
import os
import warnings
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import fields, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from nanstack.crew import Crew, seen_here
from nanstack.io.archives import DAMAGED_ARCHIVE, opened_archive
from nanstack.io.files import complete_file
from nanstack.io.layout import FrameError
from nanstack.memory import in_order
from nanstack.progress import Progress, Quiet
from nanstack.survey.record import Facts, Survey
from nanstack.survey.stars import Stars
from nanstack.survey.survey import survey_frame
from nanstack.survey.trails import Trail

if TYPE_CHECKING:
    from astropy.wcs import WCS

VERSION = 14  # of what is kept, and of how it is measured: a survey of another one is made anew
STEP = "surveying frames"
AHEAD = 64  # files that are looked at before the first of them is done: one may take long


def survey_files(
    paths: Sequence[Path | str],
    folder: Path | None = None,
    threads: int | None = None,
    progress: Progress | None = None,
    crew: Crew | None = None,
) -> tuple[list[Survey], dict[Path, str]]:
    """Survey frame files, or remember what an earlier run found.

    A file whose size and time are those of its survey is not read.

    Parameters
    ----------
    paths : sequence of Path
    folder : Path, optional
        Where surveys are kept; made where it is not there. None keeps nothing.
    threads : int, optional
        Files worked on at once; by default one a core.
    progress : Progress, optional
    crew : Crew, optional
        Looks at the files instead of this process's threads; the folder is needed, and seen by all.

    Returns
    -------
    surveys : list of Survey
        Of the files that can be used, in the order given.
    unusable : dict of Path to str
        Why the others cannot be.
    """
    paths, progress = [Path(path) for path in paths], progress or Quiet()
    store = None if folder is None else Store(folder)
    found: dict[Path, Survey | str] = {}
    looking = _by_crew(paths, store, crew) if crew and store else _by_threads(paths, store, threads)
    with closing(looking):
        for done, (path, told) in enumerate(looking, 1):
            found[path] = told
            progress.step(STEP, done, len(paths))
    told = [(path, found[path]) for path in paths]
    surveys = [one for _, one in told if isinstance(one, Survey)]
    unusable = {path: one for path, one in told if isinstance(one, str)}
    if store is not None and store.failure:
        progress.warn(f"surveys cannot be kept in {folder.name} ({store.failure}): the next run makes them again")
    return surveys, unusable


def _by_threads(paths: Sequence[Path], store: Store | None, threads: int | None) -> Iterator[tuple[Path, Survey | str]]:
    """Give files with their surveys, or why there is none, in their order."""
    surveys = in_order(
        lambda index: _known(paths[index], store) or _made(paths[index], store), len(paths), threads, AHEAD
    )
    yield from zip(paths, surveys, strict=True)


def _by_crew(paths: Sequence[Path], store: Store, crew: Crew) -> Iterator[tuple[Path, Survey | str]]:
    """Give files with their surveys, or why there is none: those first that are kept."""
    missing = []
    for path, kept in zip(paths, in_order(lambda index: _known(paths[index], store), len(paths)), strict=True):
        if kept is None:
            missing.append(path)
        else:
            yield path, kept
    there = [Path(os.path.abspath(path)) for path in missing]  # others have other current folders
    results = crew.in_order(partial(_made_and_kept, Path(os.path.abspath(store.folder))), there)
    for path, told in zip(missing, results, strict=True):
        if told is None:
            told = seen_here(partial(_known, path, store), store.folder)
        if told is None:
            raise OSError(f"{store.folder}: the survey of {path.name} was written there by a worker, and is not seen")
        yield path, replace(told, path=path) if isinstance(told, Survey) else told


def _made_and_kept(folder: Path, path: Path) -> Survey | str | None:
    """Survey a file for another process: None where it is kept; else the survey, or why there is none."""
    store = Store(folder)
    made = _known(path, store) or _made(path, store)
    return made if isinstance(made, str) or _known(path, store) is None else None


def _known(path: Path, store: Store | None) -> Survey | None:
    """Return the kept survey of a file."""
    identity = None if store is None else _identity(path)
    return None if identity is None else store.load(path, identity)


def _made(path: Path, store: Store | None) -> Survey | str:
    """Make the survey of a file, and keep it; or return why there is none."""
    identity = None if store is None else _identity(path)
    try:
        survey = survey_frame(path)
    except FrameError as failure:
        return failure.reason
    if identity is not None and identity == _identity(path):  # not of a file that is still being written
        store.save(survey, identity)
    return survey


def _identity(path: Path) -> str | None:
    """Return what tells a file from others, and from what it was: a digest of its place, size and time of change.

    A digest, as what is kept may be passed on, and tells nobody where the files lay.
    """
    try:
        known = path.stat()
        told = f"{path.resolve()} {known.st_size} {known.st_mtime_ns}"
        return hashlib.sha256(told.encode(errors="surrogateescape")).hexdigest()
    except (OSError, ValueError):  # what is wrong with it, reading says
        return None


def hand_on(paths: Sequence[Path], kept: Path, to: Path) -> None:
    """Give the surveys of files that are kept in a folder to another one, which then need not make them.

    Raises
    ------
    OSError
        Where they cannot be written there.
    """
    here, there = Store(kept), Store(to)
    for identity in filter(None, map(_identity, paths)):
        try:
            content = here._file(identity).read_bytes()
        except OSError:  # there is none
            continue
        with complete_file(there._file(identity)) as new:
            new.write_bytes(content)


class Store:
    """Surveys in a folder, one small file each.

    Attributes
    ----------
    failure : str
        Why one could not be kept; empty where all were.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.failure = ""

    def _file(self, identity: str) -> Path:
        return self.folder / f"{identity[:32]}.npz"

    def load(self, path: Path, identity: str) -> Survey | None:
        """Return the survey that is kept of a file; None where there is none, or it is damaged or another program's."""
        try:
            with open(self._file(identity), "rb") as file:
                return _unpacked(path, identity, file.read())
        except DAMAGED_ARCHIVE:
            return None

    def save(self, survey: Survey, identity: str) -> None:
        """Keep the survey of a file."""
        try:
            with complete_file(self._file(identity)) as new:
                new.write_bytes(_packed(survey, identity))
        except OSError as failure:  # a full disk costs the next run some time, not this one its end
            self.failure = failure.strerror or str(failure)


def _packed(survey: Survey, identity: str) -> bytes:
    """Return a survey as an archive of arrays, with all that is no array as JSON among them."""
    stars = survey.stars
    told = {
        "version": VERSION,
        "identity": identity,
        "shape": survey.shape,
        "facts": {field.name: getattr(survey.facts, field.name) for field in fields(Facts) if field.name != "wcs"},
        "wcs": None if survey.facts.wcs is None else survey.facts.wcs.to_header(relax=True).tostring(),
        "fwhm": stars.fwhm,
        "saturation": survey.saturation,
        "elongation": survey.elongation,
        "digest": survey.digest,
    }
    out = io.BytesIO()
    np.savez(
        out,
        told=np.frombuffer(json.dumps(told).encode(), dtype=np.uint8),
        stars=np.stack([stars.x, stars.y, stars.flux, stars.error]),
        sky=survey.sky,
        noise=survey.noise,
        spikes=survey.spikes,
        mended=survey.mended,
        trails=np.array(survey.trails, np.float64).reshape(-1, len(Trail._fields)),
    )
    return out.getvalue()


def _unpacked(path: Path, identity: str, content: bytes) -> Survey | None:
    """Return a survey out of what `_packed` made of it; None where that is another version's, or another file's."""
    with opened_archive(io.BytesIO(content)) as kept:
        told = json.loads(kept["told"].tobytes())
        if (told["version"], told["identity"]) != (VERSION, identity):
            return None
        stars, sky, noise, spikes, mended, trails = (
            kept[name] for name in ("stars", "sky", "noise", "spikes", "mended", "trails")
        )
    facts = {name: tuple(value) if isinstance(value, list) else value for name, value in told["facts"].items()}
    return Survey(
        path,
        tuple(told["shape"]),
        Facts(**facts, wcs=_solution(told["wcs"], told["shape"])),
        Stars(*stars, told["fwhm"]),
        sky,
        noise,
        told["saturation"],
        told["elongation"],
        spikes,
        mended,
        tuple(Trail(*trail) for trail in trails.tolist()),
        digest=told["digest"],
    )


def _solution(cards: str | None, shape: Sequence[int]) -> WCS | None:
    """Return a solution from its cards."""
    if cards is None:
        return None
    from astropy.wcs import WCS

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what it had to say was said to the first run
        wcs = WCS(cards)
    wcs.array_shape = tuple(shape[:2])
    return wcs
