# SPDX-License-Identifier: GPL-3.0-or-later
"""The modules of a ZeMosaic without the patch: as it keeps them, or else recovered from what it inserted."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from zemosaic_patch.dropin import recovery, sources
from zemosaic_patch.dropin.checkout import Checkout, RefusedError, digest
from zemosaic_patch.dropin.known import KNOWN
from zemosaic_patch.dropin.sources import AnchorError, Source

ORIGINALS = "originals"  # the folder that keeps them


def plain_modules(checkout: Checkout) -> dict[str, Source]:
    """Return the modules without the patch: as they were before it, with whatever was changed in them since.

    Raises
    ------
    RefusedError
        Where the patch cannot be told from the rest of a module.
    """
    return {name: Source(name, _plain_bytes(checkout, source)) for name, source in checkout.sources.items()}


def _plain_bytes(checkout: Checkout, source: Source) -> bytes:
    if not source.patched:  # ZeMosaic's own, or another version's, by an update
        return source.data
    kept = kept_original(checkout, source.name)
    unchanged = checkout.states().get(source.name) == "patched" if checkout.manifest else False
    if unchanged and kept.is_file() and is_original(checkout, source.name, kept.read_bytes()):
        return kept.read_bytes()
    try:
        plain = recovery.without_patch(source, lambda data: is_original(checkout, source.name, data))
    except AnchorError as error:
        raise RefusedError(_not_recovered(checkout, error)) from error
    if unchanged and not is_original(checkout, source.name, plain):
        raise RefusedError(_not_recovered(checkout, f"{kept} is gone or changed"))
    return plain


def kept_original(checkout: Checkout, name: str) -> Path:
    """Return where the patch keeps a module as it was."""
    return checkout.engine / ORIGINALS / f"{name}.orig"


def is_original(checkout: Checkout, name: str, data: bytes) -> bool:
    """Tell whether bytes are those that were patched, or of a published version."""
    kept = None if checkout.manifest is None else checkout.manifest.modules.get(name)
    return (kept is not None and digest(data) == kept.original) or _is_published(name, data)


def _not_recovered(checkout: Checkout, reason: object) -> str:
    return (
        f"in {checkout.root}, {reason}, so that the patch cannot be told from the rest: put ZeMosaic's own file in its "
        "place (with git: `git checkout HEAD -- FILE`; without: from a download of the same version; your changes to "
        "it are lost), then run this command again"
    )


def unknown_modules(modules: dict[str, Source]) -> list[str]:
    """Return those modules that are no published version's: edited, or newer than this patch."""
    return [name for name, source in modules.items() if not _is_published(name, source.data)]


def _is_published(name: str, data: bytes) -> bool:
    return sources.fingerprint(data) in KNOWN[name].split()


def unpublished(names: Sequence[str]) -> str:
    """Say that modules are unknown ones."""
    those = "is not one" if len(names) == 1 else "are not those"
    return f"{' and '.join(names)} {those} of a version that this patch knows (edited, or newer than the patch)"
