# SPDX-License-Identifier: GPL-3.0-or-later
"""A ZeMosaic on the disk, and what the patch keeps there."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from nanstack.io.files import FolderInUseError, exclusive
from zemosaic_patch.dropin import installation
from zemosaic_patch.dropin.manifest import Digests, Manifest
from zemosaic_patch.dropin.sources import ENGINE, MODULES, Source

LOCK = ".zemosaic-patch.lock"
PARTIAL = f"{ENGINE}.partial"
MANIFEST = "manifest.json"
WRITABLE = (
    "run this command as the folder's owner (Windows: in a terminal opened with 'Run as administrator'; else: with "
    "sudo), or copy the folder to one of your own, and patch the copy"
)


class NotPatchableError(Exception):
    """The folder is no ZeMosaic, or one that the patch does not fit; the message says why."""


class RefusedError(Exception):
    """Nothing was changed, or not all: the message names the file, the reason and what to do."""


@dataclass(frozen=True)
class Checkout:
    """A ZeMosaic on the disk.

    Attributes
    ----------
    root : Path
    paths : dict of str to Path
        Its four modules.
    """

    root: Path
    paths: dict[str, Path]

    @cached_property
    def sources(self) -> dict[str, Source]:
        """The modules as they were when they were first asked for."""
        try:
            return {name: Source(name, path.read_bytes()) for name, path in self.paths.items()}
        except OSError as error:
            raise RefusedError(f"{error.filename} cannot be read ({error.strerror}): {WRITABLE}") from error

    @property
    def engine(self) -> Path:
        """The folder that the patch adds."""
        return self.root / ENGINE

    @cached_property
    def manifest(self) -> Manifest | None:
        """What was put in, or None where nothing is; a folder of the engine's name without a manifest is refused."""
        if not self.engine.exists():
            return None
        try:
            return Manifest.of((self.engine / MANIFEST).read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise RefusedError(
                f"{self.engine} holds no manifest of zemosaic-patch that can be read: move that folder away, then run "
                "this command again"
            ) from error

    def states(self) -> dict[str, str]:
        """Return for each module that was patched: 'patched', 'original', 'edited', or 'replaced' (by an update)."""
        modules = {} if self.manifest is None else self.manifest.modules
        return {name: self._state(name, digests) for name, digests in modules.items()}

    def _state(self, name: str, digests: Digests) -> str:
        source = self.sources[name]
        known = {digests.patched: "patched", digests.original: "original"}
        return known.get(digest(source.data)) or ("edited" if source.patched else "replaced")


def digest(data: bytes) -> str:
    """Return the SHA-256 of bytes."""
    return hashlib.sha256(data).hexdigest()


def open_checkout(folder: str | Path) -> Checkout:
    """Look at a folder.

    Raises
    ------
    NotPatchableError
        For what is no ZeMosaic.
    RefusedError
        For a file that lies outside of the folder, behind a symbolic link; for a folder that cannot be read.
    """
    try:
        return _checkout_in(Path(folder).expanduser())
    except PermissionError as error:
        raise RefusedError(f"{error.filename} cannot be read ({error.strerror}): {WRITABLE}") from error


def _checkout_in(root: Path) -> Checkout:
    if not all((root / name).is_file() for name in MODULES):
        raise NotPatchableError(installation.why_not(root))
    if (root / "nanstack").is_dir():
        raise NotPatchableError(f"{root} holds zemosaic-patch itself, and is no ZeMosaic: name ZeMosaic's folder")
    inside = root.resolve()
    paths = {name: (root / name).resolve() for name in MODULES}
    for path in (*(root / name for name in MODULES), root / ENGINE, root / PARTIAL):
        if not path.resolve().is_relative_to(inside):
            raise RefusedError(
                f"{path} is a link out of {root}, to {path.resolve()}, where nothing is changed: "
                "put the file itself in its place"
            )
    return Checkout(root, paths)


@contextmanager
def locked(root: Path) -> Iterator[None]:
    """Keep the checkout to this process; where the file system has no locks, nobody is kept out."""
    with ExitStack() as held:
        try:
            held.enter_context(exclusive(root, LOCK))
        except FolderInUseError as taken:
            raise RefusedError(f"another zemosaic-patch is at work in {root}: wait until it has finished") from taken
        except OSError as error:
            raise RefusedError(f"{root} cannot be written to ({error.strerror or error}): {WRITABLE}") from error
        yield
