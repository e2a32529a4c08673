# SPDX-License-Identifier: GPL-3.0-or-later
"""What a run is asked for, as its output keeps it, and how what is kept there differs from it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from nanstack.settings import CanvasSettings
from nanstack.solution_file import SolutionFile
from zemosaic_patch import installed_version
from zemosaic_patch.arguments import as_words, declarations, in_effect, long_name
from zemosaic_patch.chosen import ChosenPixels
from zemosaic_patch.errors import UsageError
from zemosaic_patch.options.mosaic import CometOptions, OutputOptions
from zemosaic_patch.options.runs import CanvasChoice, MosaicRun, TileRun
from zemosaic_patch.options.stack import CanvasOptions, StackOptions

VERSIONS = "another version", "version "  # so begins what says of a kept solution that another version made it


def asked_for(chosen: ChosenPixels, settings: CanvasSettings) -> dict[str, str]:
    """Return what tells a run's solution from one of another version, of other settings, or for other pixels, in words.

    Another image may have changed since, and have kept its name.
    """
    named, like = _named(chosen.choice), chosen.like
    told = {"version": f"version {installed_version()} of this program"}
    for group in (CanvasOptions.of(named), StackOptions.of(settings)):
        told.update({name: as_words(name, option, value) for name, option, value in declarations(group)})
    if like is not None:
        told[f"{like.shape} {like.wcs().to_header_string(relax=True)}"] = f"other pixels of {named.like}"
    return told


def check_goes_on(solution: SolutionFile) -> None:
    """Refuse to go on from a mosaic that was made otherwise: it would be replaced by one of all other pixels."""
    others = solution.others()
    if others:
        raise made_otherwise("the mosaic", others)


def made_otherwise(what: str, others: Sequence[str]) -> UsageError:
    """Return the refusal to go on from a mosaic: what was made how, and what to do.

    Parameters
    ----------
    what : str
    others : sequence of str
        See `nanstack.solution_file.SolutionFile.others`, and `told_otherwise`.
    """
    made = ", ".join(others)
    if any(one.startswith(VERSIONS) for one in others):  # nobody can ask for that again
        return UsageError(
            f"--resume cannot go on here: {what} was made with {made}; it stays as it is, with its report: name "
            "another DIR (--config with its run.toml takes its options), or start again with --overwrite instead"
        )
    return UsageError(
        f"--resume cannot go on here: {what} was made with {made}; ask for the same again, start again with "
        "--overwrite instead, or name another DIR"
    )


def settings_told(run: TileRun | MosaicRun) -> dict[str, Any]:
    """Return how a result is made, by the names of options, ready for JSON and without the place of any file."""
    return in_effect(_groups_of(run))


def _groups_of(run: TileRun | MosaicRun) -> list[Any]:
    """Return the options that stand for a run, those of pixels and stack first, without the place of any file."""
    groups = [CanvasOptions.of(_named(run.canvas)), StackOptions.of(run.stack)]
    return groups + ([OutputOptions.of(run.output), CometOptions.of(run.comet)] if isinstance(run, MosaicRun) else [])


def told_otherwise(run: MosaicRun, told: Any) -> list[str]:
    """Return what settings, as a report has them, say otherwise than a run of pixels and stack: as words of options."""
    groups = _groups_of(run)[:2]
    own = in_effect(groups)
    if not isinstance(told, dict) or not told.keys() & own.keys():
        return ["another version"]
    named = [(long_name(name)[2:], name, option) for group in groups for name, option, _ in declarations(group)]
    return [
        as_words(name, option, told.get(key))
        for key, name, option in named
        if told.get(key) != own.get(key) and (key in told or option.part_of is None)  # a part goes without saying
    ]


def _named(choice: CanvasChoice) -> CanvasChoice:
    """Return a choice that names its files without their places."""
    return replace(choice, reference=_name(choice.reference), like=_name(choice.like))


def _name(path: str | None) -> str | None:
    return None if path is None else Path(path).name
