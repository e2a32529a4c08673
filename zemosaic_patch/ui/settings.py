# SPDX-License-Identifier: GPL-3.0-or-later
"""What can be chosen about a mosaic: three settings in plain words, and all options, as they are declared."""

from __future__ import annotations

import asyncio
from argparse import Namespace
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from zemosaic_patch.arguments import check_numbers, declarations, given, read
from zemosaic_patch.chosen import check_file
from zemosaic_patch.errors import UsageError
from zemosaic_patch.options.declared import FRAME, Option
from zemosaic_patch.options.defaults import mosaic_defaults
from zemosaic_patch.options.files import MosaicFiles
from zemosaic_patch.options.mosaic import CometOptions, OutputOptions, comet_places
from zemosaic_patch.options.runs import MosaicRun
from zemosaic_patch.options.stack import CanvasOptions, StackOptions
from zemosaic_patch.ui import texts
from zemosaic_patch.ui.picker import Picker
from zemosaic_patch.ui.said import said
from zemosaic_patch.ui.texts import text
from zemosaic_patch.ui.typed import value_of


@dataclass(frozen=True)
class Setting:
    """A setting in plain words.

    Attributes
    ----------
    name : str
        Of its texts.
    choices : dict of str to dict
        The options that each choice stands for, by the name of its text; those of the first are as usual.
    """

    name: str
    choices: Mapping[str, Mapping[str, Any]]


IN_SIGHT = (
    Setting("sharpness", {"usual": {}, "sharp": {"weights": "sharp"}, "drizzle": {"drizzle": 1.0},
                          "finer": {"drizzle": 2.0}}),
    Setting("leaving", {"usual": {}, "more": {"kappa": (3.0,)}, "nothing": {"reject": "none"}}),
    Setting("size", {"usual": {}, "frame": {"canvas": "reference"}}),
)  # fmt: skip


def usual() -> tuple[CanvasOptions, StackOptions, OutputOptions, CometOptions]:
    """Return the options of a mosaic of frames, as they are by default."""
    return mosaic_defaults()[:4]


def behind_more() -> list[tuple[str, Option, Any]]:
    """Return all options of a mosaic of frames, and their defaults."""
    return [one for group in usual() for one in declarations(group)]


def choice_of(setting: Setting, changed: Mapping[str, Any]) -> str:
    """Return which choice of a setting options stand for; empty where they stand for none."""
    own = {name for options in setting.choices.values() for name in options}
    mine = {name: value for name, value in changed.items() if name in own}
    return next((name for name, options in setting.choices.items() if options == mine), "")


def chosen(setting: Setting, choice: str, changed: Mapping[str, Any]) -> dict[str, Any]:
    """Return changed options with a choice of a setting in place."""
    own = {name for options in setting.choices.values() for name in options}
    return {name: value for name, value in changed.items() if name not in own} | dict(setting.choices[choice])


def unusual(changed: Mapping[str, Any]) -> list[str]:
    """Return what is not as usual, in words: settings in sight by their choice, all other options by their values."""
    words, told = [], set()
    for setting in IN_SIGHT:
        choice = choice_of(setting, changed)
        if choice not in ("", _usual_choice(setting)):
            words.append(f"{text(f'settings.{setting.name}')}: {text(f'settings.{setting.name}_{choice}')}")
            told.update(setting.choices[choice])
    for name, option, _ in behind_more():
        if name in changed and name not in told:
            words.append(text(f"option.{name}") + _as_said(option, changed[name]))
    return words


def _usual_choice(setting: Setting) -> str:
    return next(iter(setting.choices))


def run_of(changed: Mapping[str, Any]) -> tuple[MosaicRun, list[Any]]:
    """Return the run that options stand for, and their records.

    Raises
    ------
    UsageError
        Where they are out of range, or contradict each other.
    """
    told = Namespace(**{name: default for name, _, default in behind_more()} | dict(changed))
    canvas, stack, output, comet = groups = [read(group, told) for group in usual()]
    return MosaicRun(canvas.choice(), stack.settings(), output.output(), comet.choice()), groups


def as_toml(groups: list[Any], leave_out: tuple[str, ...], take_in: tuple[str, ...] = ()) -> str:
    """Return options as a `run.toml` has them."""
    import tomli_w

    return tomli_w.dumps(given([MosaicFiles(output=None, leave_out=leave_out, take_in=take_in), *groups]))


def check(name: str, option: Option, value: Any, frames: Sequence[Path]) -> None:
    """Refuse an option's value by itself, as the command would.

    Parameters
    ----------
    name : str
        Of the option.
    option : Option
    value
    frames : sequence of Path
        Those that a mosaic is made of.

    Raises
    ------
    UsageError
        For a number out of range, or a file that is not there or not of the kind that is wanted.
    """
    if option.within is not None:
        check_numbers(name, option, value)
    elif option.is_joined:
        comet_places(value)
    elif option.names:
        check_file(option, value, frames)


def check_all(changed: Mapping[str, Any], frames: Sequence[Path]) -> None:
    """Refuse options that are not as usual: see `check`."""
    for name, option, _ in behind_more():
        if name in changed:
            check(name, option, changed[name], frames)


@dataclass(frozen=True)
class Form:
    """What is typed into fields, and not all right yet.

    Attributes
    ----------
    refused : dict of str to str
        What is wrong with what was typed, by the name of the field.
    at_work : asyncio.Lock
        Is held while what was typed is looked at.
    """

    refused: dict[str, str] = field(default_factory=dict)
    at_work: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def check(self) -> None:
        """Wait until all that was typed is looked at; UsageError where something of it is refused."""
        async with self.at_work:
            for fault in self.refused.values():  # what was meant is not what would be done
                raise UsageError(fault)


@dataclass(frozen=True)
class Choices:
    """Who knows the options that are not as usual, and who is told of others.

    Attributes
    ----------
    now : callable
        Returns them, by their names.
    set_ : callable
        Called with them as they are from now on.
    frames : callable
        Returns the frames that they are for, as far as they are known.
    form : Form
        That they stand in.
    """

    now: Callable[[], Mapping[str, Any]]
    set_: Callable[[dict[str, Any]], None]
    frames: Callable[[], Sequence[Path]]
    form: Form


def show_in_sight(choices: Choices) -> list[Callable[[], None]]:
    """Show the three settings; return what makes each show the choice of now."""
    return [_show_setting(setting, choices) for setting in IN_SIGHT]


def _show_setting(setting: Setting, choices: Choices) -> Callable[[], None]:
    picker = Picker(
        text(f"settings.{setting.name}"),
        {name: text(f"settings.{setting.name}_{name}") for name in setting.choices},
        choice_of(setting, choices.now()),
        lambda choice: choices.set_(chosen(setting, choice, choices.now())),
    )

    def renew() -> None:
        picker.value = choice_of(setting, choices.now())
        _mark(picker.field, picker.value != _usual_choice(setting))

    return renew


def show_all(choices: Choices) -> list[Callable[[], None]]:
    """Show all options, as they are declared; as `show_in_sight`."""
    return [_show(name, option, default, choices) for name, option, default in behind_more()]


def _show(name: str, option: Option, default: Any, choices: Choices) -> Callable[[], None]:
    from nicegui import ui

    def to(value: Any) -> None:
        rest = {other: kept for other, kept in choices.now().items() if other != name}
        choices.set_(rest if value in (default, None) else {**rest, name: value})

    def now() -> Any:
        value = choices.now().get(name, default)
        return bool(value) if option.kind is bool else value if option.choices else _as_typed(value)

    with ui.element("div").classes("option") as whole:
        if option.kind is bool:
            shown = ui.checkbox(_name(name), value=now(), on_change=lambda event: to(event.value))
        elif option.choices:
            called = {choice: text(f"choice.{choice}") for choice in option.choices}
            shown = Picker(_name(name), called, now() or "", to)
        else:
            shown = Typed(_name(name), lambda typed: _read(name, option, typed, choices.frames()), to, choices.form)
        ui.label(_about(option)).classes("soft")

    def renew() -> None:
        shown.value = now()
        _mark(whole, name in choices.now())

    return renew


def _name(option: str) -> str:
    return text(f"option.{option}")


def _read(name: str, option: Option, typed: str, frames: Sequence[Path]) -> Any:
    """Return what was typed as an option's value; UsageError where that cannot be."""
    value = value_of(option, typed)
    if value is not None and (frames or option.names != FRAME):
        check(name, option, value, frames)
    return value


class Typed:
    """A field for what is typed. What is refused stays in it, marked and with the reason, until it is mended.

    Parameters
    ----------
    name : str
        Of the field.
    read : callable
        Called with what was typed, beside the page; returns its value, or raises UsageError.
    to : callable
        Called with the value.
    form : Form
        That it stands in.
    """

    def __init__(self, name: str, read: Callable[[str], Any], to: Callable[[Any], None], form: Form) -> None:
        from nicegui import ui

        self._name, self._read, self._to, self._form = name, read, to, form
        self._kept = ""  # what stood in it before what is refused
        self.field = ui.input(name).props("outlined dense no-error-icon").classes("wide")
        self.field.on("change", self._take)

    @property
    def value(self) -> str:
        """What stands in it."""
        return self.field.value

    @value.setter
    def value(self, value: str) -> None:
        if self._name not in self._form.refused or value != self._kept:  # what is refused stays, whatever else changes
            self._kept = self.field.value = value
            self._tell("")

    async def _take(self) -> None:
        from nicegui import run

        async with self._form.at_work:
            try:
                value = await run.io_bound(self._read, self.field.value)
            except UsageError as error:
                self._tell(said(str(error)))
                return
            self._tell("")
            self._to(value)

    def _tell(self, fault: str) -> None:
        self._form.refused.pop(self._name, None)
        if fault:
            self._form.refused[self._name] = fault if self._name in fault else f"{self._name}: {fault}"
        self.field.error = fault or None
        self.field.props["aria-invalid"] = "true" if fault else "false"


def _mark(field: Any, is_changed: bool) -> None:
    """Mark what is not as usual."""
    field.classes(add="changed" if is_changed else "", remove="" if is_changed else "changed")


def _as_said(option: Option, value: Any) -> str:
    """Return what is said of an option's value behind its name."""
    if option.kind is bool:
        return ""
    return f": {text(f'choice.{value}') if option.choices else _as_typed(value)}"


def _as_typed(value: Any) -> str:
    """Return an option's value as it would be typed."""
    if isinstance(value, str):
        return value
    numbers = value if isinstance(value, tuple) else () if value is None else (value,)
    return " ".join(texts.numbers(str(number)) for number in numbers)


def _about(option: Option) -> str:
    """Return what an option does."""
    return f"{said(option.text)} ({said(option.unit)})" if option.unit else said(option.text)
