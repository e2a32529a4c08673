# SPDX-License-Identifier: GPL-3.0-or-later
"""What holds in a ZeMosaic, and whether the patch is in."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from zemosaic_patch import installed_version
from zemosaic_patch.dropin import sources
from zemosaic_patch.dropin.checkout import Checkout, NotPatchableError, RefusedError, digest, open_checkout
from zemosaic_patch.dropin.engine import engine_files
from zemosaic_patch.dropin.manifest import Manifest
from zemosaic_patch.dropin.originals import plain_modules, unknown_modules, unpublished
from zemosaic_patch.dropin.sources import ENGINE, AnchorError

LEGEND = "what a clean tile needs (AFFECTED: your ZeMosaic lacks it, and `zemosaic-patch apply` mends that):"
STATES = {  # of a module that was patched, and is not as the patch left it
    "original": "ZeMosaic's own again",
    "replaced": "replaced by another version",
    "edited": "changed since",
}
T = TypeVar("T")


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
                f"can be patched, but {unpublished(self.unknown)}: look at `zemosaic-patch apply --dry-run`, "
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
        found = anchored(lambda: list(sources.findings(checkout.sources)), checkout)
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
        state="outdated" if state == "patched" and not is_current(checkout) else state,
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
        plain_modules(checkout)
    except RefusedError as refused:
        return "half", str(refused)
    return "half", (
        f"the patch is half in ({'; '.join(wrong)}): `zemosaic-patch apply` completes it, `zemosaic-patch revert` "
        "takes it out; your own changes stay"
    )


def is_current(checkout: Checkout) -> bool:
    """Tell whether the patch that is in is the one that this version would put in."""
    engine = {name: digest(data) for name, data in engine_files().items()}
    return checkout.manifest.version is not None and checkout.manifest.engine == engine


def anchored(make: Callable[[], T], checkout: Checkout) -> T:
    """Call a function that looks for places in the modules; a place that is not there makes a checkout unpatchable."""
    try:
        return make()
    except AnchorError as error:
        version = sources.version_of(checkout.root)
        raise NotPatchableError(f"ZeMosaic {version} in {checkout.root} cannot be patched: {error}") from error


def _age(manifest: Manifest) -> str:
    """Return of which version a patch is that is not this one's."""
    if manifest.version in (None, installed_version()):
        return "an earlier version's"
    return f"that of zemosaic-patch {manifest.version}, and this is {installed_version()}"


def _changed_engine_files(checkout: Checkout) -> list[str]:
    return [
        name
        for name, known in checkout.manifest.engine.items()
        if not (checkout.engine / name).is_file() or digest((checkout.engine / name).read_bytes()) != known
    ]


def _unknown(checkout: Checkout) -> tuple[str, ...]:
    """Return the unknown modules of a checkout without the patch; none where the patch cannot be told from the rest."""
    try:
        return tuple(unknown_modules(plain_modules(checkout)))
    except RefusedError:  # `condition` says so
        return ()
