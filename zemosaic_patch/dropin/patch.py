# SPDX-License-Identifier: GPL-3.0-or-later
"""The drop-in: puts the patch into a ZeMosaic checkout, and takes it out again.

The engine and the changed files are made in a folder of their own, which then gets its final name; from there the
files are renamed into place. The folder holds the originals and a manifest with the hashes of all files, so that a run
that was killed at any moment is seen, and is finished by the next one.
"""

from __future__ import annotations

import os
import shutil
from dataclasses import asdict
from pathlib import Path

from nanstack.io.files import patiently
from zemosaic_patch.dropin import sources
from zemosaic_patch.dropin.checkout import MANIFEST, PARTIAL, Checkout, RefusedError, digest, locked, open_checkout
from zemosaic_patch.dropin.engine import engine_files
from zemosaic_patch.dropin.manifest import Choices, Digests, Manifest
from zemosaic_patch.dropin.originals import (
    ORIGINALS,
    is_original,
    kept_original,
    plain_modules,
    unknown_modules,
    unpublished,
)
from zemosaic_patch.dropin.sources import ENGINE, SKY_MODEL, Source
from zemosaic_patch.dropin.verdict import anchored, condition, is_current

STAGED = "staged"  # the folder from which changed modules are renamed into place


def apply(
    folder: str | Path,
    *,
    dry_run: bool = False,
    all_algorithms: bool = False,
    match_sky: str = SKY_MODEL,
    accept_unknown: bool = False,
) -> list[str]:
    """Put the patch in.

    Parameters
    ----------
    folder : path
    dry_run : bool
        Return the diff and change nothing.
    all_algorithms : bool
        Send the tiles of all algorithms through our alignment and stack, not winsorized ones alone.
    match_sky : {'none', 'offset', 'linear', 'plane'}
        How the frames of these tiles are matched in sky level before they are stacked: see
        `nanstack.levels.sky.match_sky`.
    accept_unknown : bool
        Change modules, too, that are no published version's.

    Returns
    -------
    list of str
        What was done, or the diff.

    Raises
    ------
    NotPatchableError
        For what is no ZeMosaic, or where a place is not found.
    RefusedError
        For what must not be changed.
    OSError
        Where the disk does not allow it; then nothing is changed.
    """
    checkout = open_checkout(folder)
    choices = Choices(all_algorithms, match_sky)
    if dry_run:
        return _dry_run(checkout, choices)
    with locked(checkout.root):
        state, text = condition(checkout)
        if state == "patched" and is_current(checkout) and checkout.manifest.choices == choices:
            return [f"nothing to do: {text}"]
        plain = plain_modules(checkout)
        changed = anchored(lambda: sources.patched(plain, **asdict(choices)), checkout)
        unknown = unknown_modules(plain)
        if unknown and not accept_unknown:
            raise RefusedError(
                f"in {checkout.root}, {unpublished(unknown)}: look at `zemosaic-patch apply --dry-run`, "
                "then add --accept-unknown"
            )
        lines = [] if checkout.manifest is None else choices.since(checkout.manifest.choices)
        lines += [] if state == "none" else _take_out(checkout, plain)
        checkout = open_checkout(folder)
        _prepare(checkout, changed, choices)
        _swap_in(checkout, changed)
        return [
            *lines,
            f"patched: {', '.join(changed)}; added: {ENGINE}",
            f"the patch is in, {choices}: start ZeMosaic as always",
        ]


def revert(folder: str | Path) -> list[str]:
    """Take the patch out: every byte as it was.

    Returns
    -------
    list of str
        What was done.

    Raises
    ------
    NotPatchableError
        For what is no ZeMosaic.
    RefusedError
        Where the patch cannot be told from what else was changed in a module.
    """
    checkout = open_checkout(folder)
    with locked(checkout.root):
        if checkout.manifest is None and not any(source.patched for source in checkout.sources.values()):
            shutil.rmtree(checkout.root / PARTIAL, ignore_errors=True)
            return ["nothing to do: the patch is not in"]
        return _take_out(checkout, plain_modules(checkout))


def _dry_run(checkout: Checkout, choices: Choices) -> list[str]:
    """Return the diff that `apply` would make, and the files that it would add."""
    state, text = condition(checkout)
    if state == "patched" and is_current(checkout) and checkout.manifest.choices == choices:
        return [text]
    plain = plain_modules(checkout)
    changed = {name: source.data for name, source in plain.items()}
    changed |= anchored(lambda: sources.patched(plain, **asdict(choices)), checkout)
    lines = [sources.difference(name, checkout.sources[name].data, data) for name, data in changed.items()]
    lines += [f"new file {ENGINE}/{name}" for name in engine_files() if not (checkout.engine / name).is_file()]
    return list(filter(None, lines))


def _prepare(checkout: Checkout, changed: dict[str, bytes], choices: Choices) -> None:
    """Write all that the patch needs into a folder that appears complete."""
    partial = checkout.root / PARTIAL
    files = engine_files()
    modules = {name: Digests(digest(checkout.sources[name].data), digest(data)) for name, data in changed.items()}
    manifest = Manifest.new(choices, modules, {name: digest(data) for name, data in files.items()})
    shutil.rmtree(partial, ignore_errors=True)  # left by a run that was killed
    try:
        for name, data in files.items():
            _write(partial / name, data)
        for name, data in changed.items():
            _write(partial / STAGED / name, data)
            shutil.copymode(checkout.paths[name], partial / STAGED / name)
            _write(partial / ORIGINALS / f"{name}.orig", checkout.sources[name].data)
            shutil.copystat(checkout.paths[name], partial / ORIGINALS / f"{name}.orig")
        _write(partial / MANIFEST, manifest.json().encode())
        patiently(partial.rename, checkout.engine)
    except OSError:
        shutil.rmtree(partial, ignore_errors=True)
        raise


def _write(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _swap_in(checkout: Checkout, changed: dict[str, bytes]) -> None:
    """Rename the changed modules into place; where one cannot be, take all back."""
    try:
        for name in changed:
            patiently(os.replace, checkout.engine / STAGED / name, checkout.paths[name])
        (checkout.engine / STAGED).rmdir()
    except OSError as error:
        patched = Checkout(checkout.root, checkout.paths)
        _take_out(patched, plain_modules(patched))
        raise RefusedError(
            f"{checkout.paths[name]} cannot be replaced ({error.strerror or error}), nothing was changed: "
            "close the programs that use it"
        ) from error


def _take_out(checkout: Checkout, plain: dict[str, Source]) -> list[str]:
    """Put the modules back as they are without the patch, then remove the engine."""
    partial, lines = checkout.root / PARTIAL, []
    shutil.rmtree(partial, ignore_errors=True)
    back = [name for name, source in plain.items() if source.data != checkout.sources[name].data]
    for name in back:
        _put_back(checkout, plain[name], partial / name)
    changed = [name for name in back if not is_original(checkout, name, plain[name].data)]
    stay = f" ({' and '.join(changed)} with the changes made since)" if changed else ""
    if back:
        lines.append(f"taken out: {', '.join(back)} as before{stay}")
    shutil.rmtree(partial, ignore_errors=True)
    if checkout.engine.exists():
        patiently(checkout.engine.rename, partial)  # half an engine must never be taken for one
        patiently(shutil.rmtree, partial)
        lines.append(f"removed: {ENGINE}")
    return lines


def _put_back(checkout: Checkout, plain: Source, scratch: Path) -> None:
    path, original = checkout.paths[plain.name], kept_original(checkout, plain.name)
    if not (original.is_file() and original.read_bytes() == plain.data):
        _write(scratch, plain.data)
        shutil.copymode(path, scratch)
        original = scratch
    try:
        patiently(os.replace, original, path)
    except OSError as error:
        raise RefusedError(
            f"{path} cannot be replaced ({error.strerror or error}): close the programs that use it, "
            "then run this command again"
        ) from error
