# SPDX-License-Identifier: GPL-3.0-or-later
"""The drop-in: puts the patch into a ZeMosaic checkout, says what holds in it, and takes the patch out again.

The engine and the changed files are made in a folder of their own, which then gets its final name; from there the
files are renamed into place. The folder holds the originals and a manifest with the hashes of all files, so that a run
that was killed at any moment is seen, and is finished by the next one.
"""

from __future__ import annotations

import ast
import hashlib
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import TypeVar

from nanstack.io.files import FolderInUseError, exclusive
from zemosaic_patch import installed_version
from zemosaic_patch.dropin import installation, recovery, sources
from zemosaic_patch.dropin.known import KNOWN
from zemosaic_patch.dropin.manifest import Choices, Digests, Manifest
from zemosaic_patch.dropin.sources import BOM, ENGINE, MODULES, SKY_MODEL, AnchorError, Source

LOCK = ".zemosaic-patch.lock"
PARTIAL = f"{ENGINE}.partial"
MANIFEST = "manifest.json"
STAGED, ORIGINALS = "staged", "originals"
ENTRY = "zemosaic_patch.dropin.hooks"
LEGEND = "what a clean tile needs (AFFECTED: your ZeMosaic lacks it, and `zemosaic-patch apply` mends that):"
STATES = {  # of a module that was patched, and is not as the patch left it
    "original": "ZeMosaic's own again",
    "replaced": "replaced by another version",
    "edited": "changed since",
}
HOME = Path(__file__).resolve().parents[2]  # of our own modules; once installed, others lie beside them
OWN = ("nanstack", "zemosaic_patch", *(name.removesuffix(".py") for name in MODULES))
WRITABLE = (
    "run this command as the folder's owner (Windows: in a terminal opened with 'Run as administrator'; else: with "
    "sudo), or copy the folder to one of your own, and patch the copy"
)
T = TypeVar("T")


class NotPatchableError(Exception):
    """The folder is no ZeMosaic, or one that the patch does not fit; the message says why."""


class RefusedError(Exception):
    """Nothing was changed, or not all: the message names the file, the reason and what to do."""


# ------------------------------------------------------------------------------------------------- the checkout


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


# -------------------------------------------------------------------------------------------------------- check


@dataclass(frozen=True)
class Verdict:
    """What holds in a ZeMosaic, and whether the patch is in.

    Attributes
    ----------
    root : Path
    version : str
        Of the ZeMosaic.
    findings : tuple of sources.Finding
    left_out : sources.Finding or None
        What does not hold, as its owner chose.
    state : {'none', 'patched', 'outdated', 'half'}
        The patch's; an outdated one is of another version of this program.
    text : str
        That as a sentence.
    unknown : tuple of str
        The modules that are no published version's without the patch, where it is not, or only half, in.
    manifest : Manifest or None
        What was put in.
    """

    root: Path
    version: str
    findings: tuple[sources.Finding, ...]
    left_out: sources.Finding | None
    state: str
    text: str
    unknown: tuple[str, ...]
    manifest: Manifest | None

    @property
    def clean(self) -> bool:
        """Whether nothing is left to do."""
        return self.state == "patched" or (self.state == "none" and all(one.holds for one in self.findings))

    def lines(self) -> list[str]:
        """Return it as lines for the screen."""
        lines = [f"ZeMosaic {self.version} in {self.root}", LEGEND]
        lines += [f"{self._of(one)}  {one.text}  ({one.place})" for one in self.findings]
        lines.append(self.text)
        if self.state == "none":
            lines.append(
                f"can be patched, but {_unpublished(self.unknown)}: look at `zemosaic-patch apply --dry-run`, "
                "then use --accept-unknown"
                if self.unknown
                else "can be patched by `zemosaic-patch apply`: for winsorized tiles, with --all-algorithms for all "
                "tiles"
            )
        elif self.state == "outdated":
            update = f"`zemosaic-patch apply{self.manifest.options}`"
            lines.append(f"it is {_age(self.manifest)}: {update} brings it up to date")
        return lines

    def _of(self, finding: sources.Finding) -> str:
        return "left out" if finding is self.left_out else "holds   " if finding.holds else "AFFECTED"


def look(folder: str | Path) -> Verdict:
    """Look at what holds in a checkout.

    Raises
    ------
    NotPatchableError, RefusedError
        See `open_checkout`; also where a place that the patch needs is not found.
    """
    checkout = open_checkout(folder)
    try:
        found = _anchored(lambda: list(sources.findings(checkout.sources)), checkout)
    except NotPatchableError:
        state, text = condition(checkout)
        if state == "half":  # what the patch or git left; that is said with what to do
            raise RefusedError(text) from None
        raise
    state, text = condition(checkout)
    return Verdict(
        root=checkout.root,
        version=sources.version_of(checkout.root),
        findings=tuple(found),
        left_out=found[-1] if state == "patched" and checkout.manifest.left_out else None,
        state="outdated" if state == "patched" and not _is_current(checkout) else state,
        text=text,
        unknown=_unknown(checkout) if state in ("none", "half") else (),
        manifest=checkout.manifest,
    )


def check(folder: str | Path) -> tuple[int, list[str]]:
    """Say what holds in a checkout.

    Returns
    -------
    code : int
        0 where all holds or the patch is in, 1 where not.
    lines : list of str

    Raises
    ------
    NotPatchableError, RefusedError
        See `look`.
    """
    verdict = look(folder)
    return 0 if verdict.clean else 1, verdict.lines()


def _age(manifest: Manifest) -> str:
    """Return of which version a patch is that is not this one's."""
    if manifest.version in (None, installed_version()):
        return "an earlier version's"
    return f"that of zemosaic-patch {manifest.version}, and this is {installed_version()}"


def condition(checkout: Checkout) -> tuple[str, str]:
    """Return whether the patch is in ('none', 'patched', 'half'), and that as a sentence."""
    if checkout.manifest is None:
        if not any(source.patched for source in checkout.sources.values()):
            return "none", "the patch is not in"
        wrong = [f"its folder {ENGINE} is gone, and ZeMosaic does not start without it"]
    else:
        states = checkout.states()
        found = {text: [name for name, state in states.items() if state == key] for key, text in STATES.items()}
        found["changed"] = [f"{ENGINE}/{name}" for name in _changed_engine_files(checkout)]
        wrong = [f"{text}: {', '.join(names)}" for text, names in found.items() if names]
    if not wrong:
        chosen = ", as you chose" if checkout.manifest.left_out else ""
        return "patched", f"the patch is in, {checkout.manifest.choices}{chosen}; `zemosaic-patch revert` takes it out"
    try:
        _plain(checkout)
    except RefusedError as refused:
        return "half", str(refused)
    return "half", (
        f"the patch is half in ({'; '.join(wrong)}): `zemosaic-patch apply` completes it, `zemosaic-patch revert` "
        "takes it out; your own changes stay"
    )


def _changed_engine_files(checkout: Checkout) -> list[str]:
    return [
        name
        for name, known in checkout.manifest.engine.items()
        if not (checkout.engine / name).is_file() or digest((checkout.engine / name).read_bytes()) != known
    ]


def unknown_modules(modules: dict[str, Source]) -> list[str]:
    """Return those modules that are no published version's: edited, or newer than this patch."""
    return [name for name, source in modules.items() if not _is_published(name, source.data)]


def _unknown(checkout: Checkout) -> tuple[str, ...]:
    """Return the unknown modules of a checkout without the patch; none where the patch cannot be told from the rest."""
    try:
        return tuple(unknown_modules(_plain(checkout)))
    except RefusedError:  # `condition` says so
        return ()


def _is_published(name: str, data: bytes) -> bool:
    return sources.fingerprint(data) in KNOWN[name].split()


def _unpublished(names: Sequence[str]) -> str:
    those = "is not one" if len(names) == 1 else "are not those"
    return f"{' and '.join(names)} {those} of a version that this patch knows (edited, or newer than the patch)"


def _anchored(make: Callable[[], T], checkout: Checkout) -> T:
    """Call a function that looks for places in the modules; a place that is not there makes a checkout unpatchable."""
    try:
        return make()
    except AnchorError as error:
        version = sources.version_of(checkout.root)
        raise NotPatchableError(f"ZeMosaic {version} in {checkout.root} cannot be patched: {error}") from error


# -------------------------------------------------------------------------------------------------------- apply


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
    with _locked(checkout.root):
        state, text = condition(checkout)
        if state == "patched" and _is_current(checkout) and checkout.manifest.choices == choices:
            return [f"nothing to do: {text}"]
        plain = _plain(checkout)
        changed = _anchored(lambda: sources.patched(plain, **asdict(choices)), checkout)
        unknown = unknown_modules(plain)
        if unknown and not accept_unknown:
            raise RefusedError(
                f"in {checkout.root}, {_unpublished(unknown)}: look at `zemosaic-patch apply --dry-run`, "
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


def _is_current(checkout: Checkout) -> bool:
    """Tell whether the patch that is in is the one that this version would put in."""
    engine = {name: digest(data) for name, data in engine_files().items()}
    return checkout.manifest.version is not None and checkout.manifest.engine == engine


def _dry_run(checkout: Checkout, choices: Choices) -> list[str]:
    state, text = condition(checkout)
    if state == "patched" and _is_current(checkout) and checkout.manifest.choices == choices:
        return [text]
    plain = _plain(checkout)
    changed = {name: source.data for name, source in plain.items()}
    changed |= _anchored(lambda: sources.patched(plain, **asdict(choices)), checkout)
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
        partial.rename(checkout.engine)
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
            os.replace(checkout.engine / STAGED / name, checkout.paths[name])
        (checkout.engine / STAGED).rmdir()
    except OSError as error:
        patched = Checkout(checkout.root, checkout.paths)
        _take_out(patched, _plain(patched))
        raise RefusedError(
            f"{checkout.paths[name]} cannot be replaced ({error.strerror or error}), nothing was changed: "
            "close the programs that use it"
        ) from error


# ------------------------------------------------------------------------------------------------------- revert


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
    with _locked(checkout.root):
        if checkout.manifest is None and not any(source.patched for source in checkout.sources.values()):
            shutil.rmtree(checkout.root / PARTIAL, ignore_errors=True)
            return ["nothing to do: the patch is not in"]
        return _take_out(checkout, _plain(checkout))


def _plain(checkout: Checkout) -> dict[str, Source]:
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
    kept = _original(checkout, source.name)
    unchanged = checkout.states().get(source.name) == "patched" if checkout.manifest else False
    if unchanged and kept.is_file() and _is_original(checkout, source.name, kept.read_bytes()):
        return kept.read_bytes()
    try:
        plain = recovery.without_patch(source, lambda data: _is_original(checkout, source.name, data))
    except AnchorError as error:
        raise RefusedError(_not_recovered(checkout, error)) from error
    if unchanged and not _is_original(checkout, source.name, plain):
        raise RefusedError(_not_recovered(checkout, f"{kept} is gone or changed"))
    return plain


def _original(checkout: Checkout, name: str) -> Path:
    """Return where the patch keeps a module as it was."""
    return checkout.engine / ORIGINALS / f"{name}.orig"


def _is_original(checkout: Checkout, name: str, data: bytes) -> bool:
    """Tell whether bytes are those that were patched, or of a published version."""
    kept = None if checkout.manifest is None else checkout.manifest.modules.get(name)
    return (kept is not None and digest(data) == kept.original) or _is_published(name, data)


def _not_recovered(checkout: Checkout, reason: object) -> str:
    return (
        f"in {checkout.root}, {reason}, so that the patch cannot be told from the rest: put ZeMosaic's own file in its "
        "place (with git: `git checkout HEAD -- FILE`; without: from a download of the same version; your changes to "
        "it are lost), then run this command again"
    )


def _take_out(checkout: Checkout, plain: dict[str, Source]) -> list[str]:
    """Put the modules back as they are without the patch, then remove the engine."""
    partial, lines = checkout.root / PARTIAL, []
    shutil.rmtree(partial, ignore_errors=True)
    back = [name for name, source in plain.items() if source.data != checkout.sources[name].data]
    for name in back:
        _put_back(checkout, plain[name], partial / name)
    changed = [name for name in back if not _is_original(checkout, name, plain[name].data)]
    stay = f" ({' and '.join(changed)} with the changes made since)" if changed else ""
    if back:
        lines.append(f"taken out: {', '.join(back)} as before{stay}")
    shutil.rmtree(partial, ignore_errors=True)
    if checkout.engine.exists():
        checkout.engine.rename(partial)  # half an engine must never be taken for one
        shutil.rmtree(partial)
        lines.append(f"removed: {ENGINE}")
    return lines


def _put_back(checkout: Checkout, plain: Source, scratch: Path) -> None:
    path, original = checkout.paths[plain.name], _original(checkout, plain.name)
    if not (original.is_file() and original.read_bytes() == plain.data):
        _write(scratch, plain.data)
        shutil.copymode(path, scratch)
        original = scratch
    try:
        os.replace(original, path)
    except OSError as error:
        raise RefusedError(
            f"{path} cannot be replaced ({error.strerror or error}): close the programs that use it, "
            "then run this command again"
        ) from error


# --------------------------------------------------------------------------------------------------------- lock


@contextmanager
def _locked(root: Path) -> Iterator[None]:
    """Keep the checkout to this process; where the file system has no locks, nobody is kept out."""
    with ExitStack() as held:
        try:
            held.enter_context(exclusive(root, LOCK))
        except FolderInUseError as taken:
            raise RefusedError(f"another zemosaic-patch is at work in {root}: wait until it has finished") from taken
        except OSError as error:
            raise RefusedError(f"{root} cannot be written to ({error.strerror or error}): {WRITABLE}") from error
        yield


# ------------------------------------------------------------------------------------------------------- engine


def engine_files() -> dict[str, bytes]:
    """Return the files of the engine, as they are put into a checkout: what `ENTRY` imports, and CUDA sources.

    Imports among them are made relative, so that they are found in ZeMosaic's folder and in its package alike, and
    none of them can take the place of ZeMosaic's modules of the same names.

    Raises
    ------
    RefusedError
        Where this program is installed without its source files.
    """
    files = {"__init__.py": b"# zemosaic-patch, GPL-3.0-or-later: see zemosaic-patch revert\n"}
    waiting = _files_of(ENTRY)
    while waiting:
        name = waiting.pop()
        if name in files:
            continue
        data = (HOME / name).read_bytes()
        imported = list(_own_imports(data))
        files[name] = _with_relative_imports(name, data, imported)
        waiting += [path for node in imported for path in _imported_files(node)]
    kernels = (HOME / "nanstack").rglob("*.cu")
    files.update((path.relative_to(HOME).as_posix(), path.read_bytes()) for path in kernels)
    return dict(sorted(files.items()))


def _own_imports(data: bytes) -> Iterator[ast.Import | ast.ImportFrom]:
    """Yield the imports of modules of ours."""
    for node in ast.walk(ast.parse(data.removeprefix(BOM))):
        if isinstance(node, ast.ImportFrom) and not node.level:
            names = [node.module]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        else:
            continue
        if any(name.split(".")[0] in OWN for name in names):
            yield node


def _imported_files(node: ast.Import | ast.ImportFrom) -> list[str]:
    """Return the files that an import of ours needs."""
    if isinstance(node, ast.Import):
        return [path for alias in node.names for path in _files_of(alias.name)]
    submodules = (_file_of(f"{node.module}.{alias.name}") for alias in node.names)  # names in a module are no files
    return [*_files_of(node.module), *filter(None, submodules)]


def _files_of(module: str) -> list[str]:
    """Return the file of a module of ours and those of the packages that it lies in."""
    parts = module.split(".")
    found = {".".join(parts[:depth]): _file_of(".".join(parts[:depth])) for depth in range(1, len(parts) + 1)}
    for name, path in found.items():
        if path is None:
            raise RefusedError(
                f"the source of {name}, which has to be copied into ZeMosaic, is not in {HOME}: "
                "install zemosaic-patch anew, as a folder of source files (pip install does that)"
            )
    return list(found.values())


def _file_of(module: str) -> str | None:
    """Return the file of a module of ours, relative to `HOME`; None for what is no module."""
    path = module.replace(".", "/")
    return next((name for name in (f"{path}.py", f"{path}/__init__.py") if (HOME / name).is_file()), None)


def _with_relative_imports(name: str, data: bytes, imported: list[ast.Import | ast.ImportFrom]) -> bytes:
    source = Source(name, data)
    dots = "." * (1 + name.count("/"))
    insertions = []
    for node in imported:
        if isinstance(node, ast.ImportFrom):
            insertions.append(sources.Insertion(source.start(node) + len("from "), dots.encode()))
        elif len(node.names) == 1 and "." not in node.names[0].name:
            insertions.append(sources.Insertion(source.start(node), f"from {dots} ".encode()))
        else:
            raise ValueError(f"{name}, line {node.lineno}: write `from package import module`")
    return sources.inserted(data, insertions)
