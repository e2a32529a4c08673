# SPDX-License-Identifier: GPL-3.0-or-later
"""What was put into a ZeMosaic and how: the manifest that the engine's folder keeps, of this version or an earlier."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass

from zemosaic_patch import installed_version
from zemosaic_patch.dropin.sources import MODULES, SKY_MODEL

UNMATCHED = "none"


@dataclass(frozen=True)
class Choices:
    """What the user chose when the patch was put in; see `patch.apply`."""

    all_algorithms: bool = False
    match_sky: str = SKY_MODEL

    @property
    def tiles(self) -> str:
        """Which tiles are ours, in words."""
        return "all tiles" if self.all_algorithms else "winsorized tiles"

    @property
    def sky(self) -> str:
        """What is done about their skies, in words."""
        return "not matched" if self.match_sky == UNMATCHED else f"matched by {self.match_sky}"

    def __str__(self) -> str:
        return f"for {self.tiles}, their frames' skies {self.sky}"

    @property
    def options(self) -> str:
        """What `apply` is to be given for them, each option after a blank."""
        all_algorithms = " --all-algorithms" if self.all_algorithms else ""
        skies = {SKY_MODEL: "", UNMATCHED: " --no-match-sky"}
        return all_algorithms + skies.get(self.match_sky, f" --match-sky {self.match_sky}")

    def since(self, before: Choices) -> list[str]:
        """Say in a line what these change, if anything: `apply` begins with its defaults, whatever was in."""
        changed = []
        if self.tiles != before.tiles:
            changed.append(f"the patch was for {before.tiles}, and is for {self.tiles} now")
        if self.sky != before.sky:
            changed.append(f"the frames' skies were {before.sky}, and are {self.sky} now")
        return [f"{'; '.join(changed)} (as before: `zemosaic-patch apply{before.options}`)"] if changed else []


@dataclass(frozen=True)
class Digests:
    """The SHA-256 of a module of ZeMosaic before and after it was patched."""

    original: str
    patched: str


@dataclass(frozen=True)
class Manifest:
    """What was put in, as the engine's folder keeps it.

    Attributes
    ----------
    choices : Choices
    modules : dict of str to Digests
        The modules that were changed.
    engine : dict of str to str
        The files that were added, relative to their folder, and their SHA-256.
    version : str or None
        Of this project. None: one whose `apply` did not match skies unless told to (before 0.2 was released), and so
        did not keep whether somebody had chosen that.
    """

    choices: Choices
    modules: dict[str, Digests]
    engine: dict[str, str]
    version: str | None

    @classmethod
    def new(cls, choices: Choices, modules: dict[str, Digests], engine: dict[str, str]) -> Manifest:
        """Return the manifest of a patch that this version puts in."""
        return cls(choices, modules, engine, installed_version())

    @property
    def left_out(self) -> bool:
        """Whether somebody chose that the skies are not matched."""
        return self.version is not None and self.choices.match_sky == UNMATCHED

    @property
    def chosen(self) -> Choices:
        """What the user chose; where nobody was asked about the skies, the default."""
        return self.choices if self.version else Choices(self.choices.all_algorithms)

    @property
    def options(self) -> str:
        """What `apply` is to be given for the same again."""
        return self.chosen.options

    def json(self) -> str:
        """Return the manifest as it is kept."""
        modules = {name: asdict(digests) for name, digests in self.modules.items()}
        kept = {"version": self.version, **asdict(self.choices), "modules": modules, "engine": self.engine}
        return json.dumps(kept, indent=1)

    @classmethod
    def of(cls, text: str) -> Manifest:
        """Read a manifest back, of this version or an earlier one; a text that is none raises ValueError."""
        try:
            kept = json.loads(text)
            match_sky = kept.get("match_sky", UNMATCHED)  # the earliest version could not match
            modules = {name: Digests(**digests) for name, digests in kept["modules"].items()}
            manifest = cls(
                Choices(kept["all_algorithms"], match_sky), modules, dict(kept["engine"]), kept.get("version")
            )
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"it is damaged: {error}") from error
        if not modules.keys() <= set(MODULES):
            raise ValueError("it names files that the patch never changes")
        return manifest
