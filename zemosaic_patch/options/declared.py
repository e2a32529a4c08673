# SPDX-License-Identifier: GPL-3.0-or-later
"""How an option is declared, once: name, meaning, range and shape on the command line."""

from __future__ import annotations

from dataclasses import Field, dataclass, field
from pathlib import Path
from typing import Any

PROGRESSES = ("bars", "json")
FRAME, IMAGE = "frame", "image"  # what files options name: one of the frames given, any FITS image


@dataclass(frozen=True)
class Range:
    """Numbers that an option takes.

    Attributes
    ----------
    low, high : float or None
        None: without a limit.
    with_low, with_high : bool
        Whether the limits belong to it.
    """

    low: float | None = None
    high: float | None = None
    with_low: bool = True
    with_high: bool = True

    def __contains__(self, value: float) -> bool:
        above = self.low is None or value > self.low or (self.with_low and value == self.low)
        below = self.high is None or value < self.high or (self.with_high and value == self.high)
        return above and below and abs(value) < float("inf")  # which NaN is not, either

    def __str__(self) -> str:
        if self.high is None:
            return f"of at least {self.low:g}" if self.with_low else f"above {self.low:g}"
        begin = f"from {self.low:g} to" if self.with_low else f"above {self.low:g}, up to"
        return f"{begin} {'' if self.with_high else 'below '}{self.high:g}"


@dataclass(frozen=True)
class Option:
    """How a field of a record is asked for.

    Attributes
    ----------
    text : str
        What it does, in a line.
    kind : type
        Of a value: str, int, float, Path or bool. A bool is a flag.
    metavar : str or tuple of str
        What stands for the value in help texts; empty: the choices, or nothing.
    choices : tuple of str
    within : Range or None
    unit : str
        Of a number.
    count : (int, int)
        How many values it takes, at least and at most.
    short : str
        A short name, '-o'.
    positional, required, negatable : bool
        Without a name; must be given; a flag that has a '--no-...', too.
    repeated : bool
        May be given several times, each time with one more value.
    bare, off : str or None
        Its value where only its name is given, and where it is given as '--no-...'.
    kept : bool
        Whether a run's settings, run.toml, hold it: not what says where the output goes.
    names : {'', 'frame', 'image'}
        What file a value names.
    part_of : (str, str or None) or None
        The option without which it has no effect, and the value that this must have; None: any.
    """

    text: str
    kind: type = str
    metavar: str | tuple[str, ...] = ""
    choices: tuple[str, ...] = ()
    within: Range | None = None
    unit: str = ""
    count: tuple[int, int] = (1, 1)
    short: str = ""
    positional: bool = False
    required: bool = False
    negatable: bool = False
    repeated: bool = False
    bare: str | None = None
    off: str | None = None
    kept: bool = True
    names: str = ""
    part_of: tuple[str, str | None] | None = None

    @property
    def is_joined(self) -> bool:
        """Whether a value is several numbers with commas between."""
        return "," in self.metavar

    @property
    def takes(self) -> str:
        """What a value must be, in words."""
        number = "whole number" if self.kind is int else "number"
        counts = {(1, 1): f"a {number}", (1, 2): f"one or two {number}s", (2, 2): f"two {number}s"}
        return f"{counts[self.count]} {self.within}"


def option(text: str, kind: type = str, **shape: Any) -> Any:
    """Declare a field of a record of options, as `Option` describes it; it has the default of its kind, if any."""
    default = shape.pop("default", False if kind is bool else None)
    return field(default=default, metadata={"option": Option(text, kind, **shape)})


def option_of(declared: Field) -> Option:
    """Return what `option` declared of a field."""
    return declared.metadata["option"]


def progress_option() -> Any:
    """Declare how a run tells how far it is."""
    return option(
        "how a run tells how far it is: bars on the screen, or lines of JSON there, for programs",
        choices=PROGRESSES, default=PROGRESSES[0], kept=False,
    )  # fmt: skip


def flat_option() -> Any:
    """Declare whether folders are looked into."""
    return option("take the files of the folders named alone, not those of the folders in them", bool)


def config_option() -> Any:
    """Declare which file holds the options of an earlier run."""
    return option(
        "take the options from a run.toml that an earlier run wrote; options given here override it",
        Path, metavar="FILE", kept=False,
    )  # fmt: skip


def leave_out_option() -> Any:
    """Declare which frames the owner does not want."""
    return option(
        "leave this frame out, by its name or path; once for each such frame", metavar="FILE", repeated=True, default=()
    )


def take_in_option() -> Any:
    """Declare which frames the owner wants whatever speaks against them."""
    return option(
        "take this frame in, by its name or path, though it would make the picture worse (doubled, trailed, blurred, "
        "clouded) or is of another kind or filter; once for each such frame",
        metavar="FILE", repeated=True, default=(),
    )  # fmt: skip
