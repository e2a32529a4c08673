# SPDX-License-Identifier: GPL-3.0-or-later
"""What can be chosen about a mosaic: three settings in plain words, and all options, as they are declared."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from zemosaic_patch.arguments import declarations, given, read
from zemosaic_patch.errors import UsageError
from zemosaic_patch.options import (
    CanvasOptions,
    CometOptions,
    MosaicFiles,
    MosaicRun,
    Option,
    OutputOptions,
    StackOptions,
    mosaic_defaults,
)
from zemosaic_patch.ui import texts
from zemosaic_patch.ui.said import said
from zemosaic_patch.ui.texts import text


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


def as_toml(groups: list[Any], leave_out: tuple[str, ...]) -> str:
    """Return options as a `run.toml` has them."""
    import tomli_w

    return tomli_w.dumps(given([MosaicFiles(output=None, leave_out=leave_out), *groups]))


def value_of(option: Option, typed: Any) -> Any:
    """Return what was typed as an option's value; None where that is nothing.

    Raises
    ------
    UsageError
        For what is no number, where one is wanted.
    """
    if option.kind is bool or option.choices:
        return typed
    words = texts.typed_numbers(str("" if typed is None else typed)) if option.kind in (int, float) else [typed]
    if not words or words[0] in ("", None):
        return None
    try:
        values = tuple(option.kind(word) for word in words)
    except ValueError as error:
        raise UsageError(f"{typed}: {option.takes}") from error
    return values if option.count != (1, 1) else values[0] if len(values) == 1 else values


def show_in_sight(changed: dict[str, Any], set_: Callable[[dict[str, Any]], None]) -> None:
    """Show the three settings.

    Parameters
    ----------
    changed : dict
        Options that are not as usual.
    set_ : callable
        Called with them as they are from now on.
    """
    from nicegui import ui

    for setting in IN_SIGHT:
        shown = {name: text(f"settings.{setting.name}_{name}") for name in setting.choices}
        ui.select(
            shown,
            label=text(f"settings.{setting.name}"),
            value=choice_of(setting, changed) or None,
            on_change=lambda event, setting=setting: event.value and set_(chosen(setting, event.value, changed)),
        ).props("outlined options-dense").classes("setting")


def show_all(changed: dict[str, Any], set_: Callable[[dict[str, Any]], None]) -> None:
    """Show all options, as they are declared; arguments as of `show_in_sight`."""
    for name, option, default in behind_more():
        _show(name, option, default, changed, set_)


def _show(
    name: str, option: Option, default: Any, changed: dict[str, Any], set_: Callable[[dict[str, Any]], None]
) -> None:
    from nicegui import ui

    def to(typed: Any) -> None:
        try:
            value = value_of(option, typed)
        except UsageError as error:
            ui.notify(said(str(error)), type="negative")
            return
        rest = {other: kept for other, kept in changed.items() if other != name}
        set_(rest if value in (default, None) else {**rest, name: value})

    now, label = changed.get(name, default), text(f"option.{name}")
    with ui.element("div").classes("option"):
        if option.kind is bool:
            field = ui.checkbox(label, value=bool(now), on_change=lambda event: to(event.value))
        elif option.choices:
            choices = {choice: text(f"choice.{choice}") for choice in option.choices}
            field = ui.select(choices, label=label, value=now, on_change=lambda event: to(event.value)).props(
                "outlined dense options-dense"
            )
        else:
            field = ui.input(label, value=_as_typed(now)).props("outlined dense")
            field.on("change", lambda: to(field.value))
        field.classes("wide")
        ui.label(_about(option)).classes("soft")


def _as_typed(value: Any) -> str:
    """Return an option's value as it would be typed."""
    if isinstance(value, str):
        return value
    numbers = value if isinstance(value, tuple) else () if value is None else (value,)
    return " ".join(texts.numbers(str(number)) for number in numbers)


def _about(option: Option) -> str:
    """Return what an option does."""
    return f"{said(option.text)} ({said(option.unit)})" if option.unit else said(option.text)
