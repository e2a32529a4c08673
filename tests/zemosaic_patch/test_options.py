# SPDX-License-Identifier: GPL-3.0-or-later
"""Options are declared once: parsers, run.toml, defaults and docs all say the same."""

import argparse
import re
from dataclasses import fields, replace
from pathlib import Path

import pytest

from nanstack.comet import Marks
from nanstack.settings import CanvasSettings, JoinSettings
from nanstack.stack.definition import Rejection
from nanstack.stack.drizzle import Drizzle
from nanstack.stack.noise_model import NoiseRejection
from zemosaic_patch import cli, commands
from zemosaic_patch.arguments import (
    add_options,
    config_defaults,
    declarations,
    given,
    in_effect,
    read,
    table,
    write_config,
)
from zemosaic_patch.commands import TOLD, load
from zemosaic_patch.errors import UsageError
from zemosaic_patch.options.declared import Range, option_of
from zemosaic_patch.options.defaults import mosaic_defaults
from zemosaic_patch.options.files import MosaicFiles, TileFiles
from zemosaic_patch.options.mosaic import CometOptions
from zemosaic_patch.options.runs import CanvasChoice, CometChoice, MosaicOutput, MosaicRun, TileRun
from zemosaic_patch.options.stack import StackOptions

USAGE = Path(__file__).parents[2] / "docs" / "usage.md"
TILE, MOSAIC = load("tile"), load("mosaic")
OF_WINSORIZED = {"winsor": (0.1, 0.1), "wsc_impl": "pixinsight", "rewinsor": True}
OF_DRIZZLE = {"pixfrac": 0.5, "kernel": "point"}


def parsed(command, *words):
    parser = argparse.ArgumentParser()
    add_options(parser.add_subparsers().add_parser(command.name), command)
    found = parser.parse_args([command.name, *words])
    return [read(group, found) for group in command.groups]


def test_defaults_are_the_engines():
    _, canvas, stack = parsed(TILE, "-o", "out")
    assert TileRun(canvas.choice(), stack.settings()) == TileRun()
    _, canvas, stack, output, comet, join = parsed(MOSAIC, "-o", "out")
    assert MosaicRun(canvas.choice(), stack.settings(), output.output(), comet.choice()) == MosaicRun()
    assert join.settings(stack.interpolation) == JoinSettings()
    assert MosaicRun().stack == TileRun().stack == CanvasSettings()


WINSOR = "--reject winsorized_sigma_clip"


@pytest.mark.parametrize("command", [TILE, MOSAIC], ids=lambda command: command.name)
@pytest.mark.parametrize(
    ("words", "rejection"),
    [
        ("--kappa 6", NoiseRejection(6.0, 3.0)),
        ("--reject noise --kappa 2", NoiseRejection(2.0, 1.0)),
        ("--reject kappa_sigma", Rejection("kappa_sigma", rewinsor=False)),
        ("--reject linear_fit_clip", Rejection("linear_fit", rewinsor=False)),
        ("--reject none", Rejection("none", rewinsor=False)),
        (f"{WINSOR} --wsc-impl pixinsight", Rejection("huber", rewinsor=False)),
        (f"{WINSOR} --kappa 2", Rejection("winsor", 2.0, 2.0, rewinsor=False)),
        (f"{WINSOR} --kappa 2 4", Rejection("winsor", 2.0, 4.0, rewinsor=False)),
        (f"{WINSOR} --winsor 0.1 0.2", Rejection("winsor", winsor_low=0.1, winsor_high=0.2, rewinsor=False)),
        (f"{WINSOR} --rewinsor", Rejection("winsor")),
    ],
)
def test_each_option_of_a_rejection_reaches_its_settings_and_comes_back(command, words, rejection):
    settings = parsed(command, "-o", "out", *words.split())[2].settings()
    assert settings == CanvasSettings(rejection)
    assert StackOptions.of(settings).settings() == settings


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("--kappa 2 4", "--kappa takes one number with --reject noise, not two"),
        ("--rewinsor", "--rewinsor is for --reject winsorized_sigma_clip"),
        ("--reject kappa_sigma --winsor 0.1 0.2", "--winsor is for --reject winsorized_sigma_clip"),
        ("--reject winsorized_sigma_clip --wsc-impl pixinsight --winsor 0.1 0.2", "--winsor is for another --wsc-impl"),
        ("--reject none --wsc-impl pixinsight", "--wsc-impl is for --reject winsorized_sigma_clip"),
    ],
)
def test_what_a_rejection_has_no_use_for_is_refused(words, said):
    with pytest.raises(UsageError, match=f"^{re.escape(said)}$"):
        parsed(TILE, "-o", "out", *words.split())[2].settings()


@pytest.mark.parametrize(
    ("words", "changes"),
    [
        ("--combine max", {"combine": "max"}),
        ("--match-sky offset", {"sky": "offset"}),
        ("--weights sharp", {"weights": "sharp"}),
        ("--interpolation lanczos3", {"interpolation": "lanczos3"}),
        ("--drizzle 1.5", {"drizzle": Drizzle(1.5)}),
        ("--drizzle 2 --pixfrac 0.7 --kernel gaussian", {"drizzle": Drizzle(2.0, 0.7, "gaussian")}),
    ],
)
def test_each_option_of_a_stack_reaches_its_settings_and_comes_back(words, changes):
    settings = parsed(TILE, "-o", "out", *words.split())[2].settings()
    assert settings == CanvasSettings(**changes)
    assert StackOptions.of(settings).settings() == settings


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("--pixfrac 0.5", "--pixfrac is for --drizzle SCALE"),
        ("--kernel point", "--kernel is for --drizzle SCALE"),
        ("--drizzle 1 --combine median", "--drizzle is a mean of drops: leave out --combine median"),
        ("--drizzle 1 --reject kappa_sigma", "--drizzle goes with --reject noise or none, not with kappa_sigma"),
        ("--drizzle 2 --scale 1", "--drizzle says how fine the pixels are, against the frames' own: leave out --scale"),
        ("--drizzle 2 --like a.fits", "--drizzle makes pixels of its own: leave out --like, whose pixels are what they "
                                      "are"),
        ("--drizzle 2 --canvas reference", "--drizzle makes pixels of its own, not a frame's: add --canvas all"),
        ("--drizzle 1 --kernel point --pixfrac 0.5", "--pixfrac has no effect with --kernel point, whose drops have no "
                                                     "size: leave it out"),
        ("--drizzle 1 --comet 1,1,9,9 --comet-merged", "--comet-merged is not for --drizzle, which drops photosites as "
                                                       "they are: leave one out"),
    ],
)  # fmt: skip
def test_what_a_drizzle_cannot_be_joined_with_is_refused(words, said):
    _, canvas, stack, output, comet, _ = parsed(MOSAIC, "-o", "out", *words.split())
    with pytest.raises(UsageError, match=f"^{re.escape(said)}$"):
        MosaicRun(canvas.choice(), stack.settings(), output.output(), comet.choice())


@pytest.mark.parametrize(
    ("words", "changes"),
    [
        ("--canvas reference", {"kind": "reference"}),
        ("--reference a.fits", {"reference": "a.fits"}),
        ("--scale 2.5", {"scale": 2.5}),
        ("--like b.fits", {"like": "b.fits"}),
    ],
)
def test_each_option_of_a_canvas_chooses_it(words, changes):
    assert parsed(MOSAIC, "-o", "out", *words.split())[1].choice() == CanvasChoice(**changes)


@pytest.mark.parametrize(
    ("words", "changes"),
    [
        ("--match-tiles offset", {"match": "offset"}),
        ("--join median", {"combine": "median"}),
        ("--feather 0.5", {"feather": 0.5}),
        ("--interpolation lanczos3", {"interpolation": "lanczos3"}),
    ],
)
def test_each_option_of_a_join_reaches_its_settings(words, changes):
    _, _, stack, *_, join = parsed(MOSAIC, "-o", "out", *words.split())
    assert join.settings(stack.interpolation) == JoinSettings(**changes)


def test_each_option_of_an_output_reaches_it():
    made = [parsed(MOSAIC, "-o", "out", *words)[3].output() for words in (["--format", "fz"], ["--picture", "tif"])]
    assert made == [MosaicOutput(format="fz"), MosaicOutput(picture="tif")]


@pytest.mark.parametrize("words", [["--comet", "-5,3,8,-2.5"], ["--comet=-5,3,8,-2.5"]])
def test_a_comet_may_begin_beyond_the_first_pixel(words, monkeypatch):
    heard = []
    command = replace(commands.load("mosaic"), run=lambda *groups: heard.extend(groups))
    monkeypatch.setattr(commands, "load", lambda name: command)
    assert cli.main(["mosaic", "frames", "-o", "out", *words]) == 0
    assert heard[4].choice().marks == Marks((-5, 3), (8, -2.5), "frames")


def test_a_comet_is_chosen_by_four_numbers():
    assert parsed(MOSAIC, "-o", "out", "--comet", "10.5,20,30,4e2")[4].choice() == CometChoice(
        Marks((10.5, 20.0), (30.0, 400.0))
    )
    words = "--comet", "217.1 -10.25 217.2 -10.5", "--comet-in", "sky", "--comet-merged"
    choice = parsed(MOSAIC, "-o", "out", *words)[4].choice()
    assert choice == CometChoice(Marks((217.1, -10.25), (217.2, -10.5), "sky"), merged=True)
    assert CometOptions.of(choice).choice() == choice
    with pytest.raises(UsageError, match="--comet-merged is not for --drizzle"):
        MosaicRun(stack=CanvasSettings(drizzle=Drizzle()), comet=choice)


@pytest.mark.parametrize(
    ("command", "words", "said"),
    [
        (TILE, "--kappa 0", "--kappa takes one or two numbers of at least 1, not 0"),
        (TILE, "--kappa nan", "--kappa takes one or two numbers of at least 1, not nan"),
        (TILE, "--kappa inf", "--kappa takes one or two numbers of at least 1, not inf"),
        (TILE, "--kappa 1 2 3", "--kappa takes one or two numbers of at least 1, not 1 2 3"),
        (TILE, "--winsor 0.6 0.1", "--winsor takes two numbers from 0 to below 0.5, not 0.6 0.1"),
        (TILE, "--winsor 0.5 0.1", "--winsor takes two numbers from 0 to below 0.5, not 0.5 0.1"),
        (MOSAIC, "--feather 0.7", "--feather takes a number from 0 to 0.5, not 0.7"),
        (MOSAIC, "--scale -1", "--scale takes a number from 0.01 to 900, not -1"),
    ],
)
def test_numbers_out_of_range_are_named_in_one_style(command, words, said):
    with pytest.raises(UsageError, match=f"^{re.escape(said)}$"):
        parsed(command, "-o", "out", *words.split())


def test_ranges_have_the_ends_that_they_say():
    assert 0 in Range(0)
    assert 0 not in Range(0, with_low=False)
    assert 0.5 in Range(0, 0.5)
    assert 0.5 not in Range(0, 0.5, with_high=False)


@pytest.mark.parametrize("command", [TILE, MOSAIC], ids=lambda command: command.name)
def test_settings_go_into_a_file_and_come_back(command, tmp_path):
    words = [
        "a.fits",
        "b.fits",
        "-o",
        "out",
        "--reject",
        "winsorized_sigma_clip",
        "--kappa",
        "2",
        "4",
        "--no-rewinsor",
        "--wsc-impl",
        "pixinsight",
        "--match-sky",
        "none",
    ]
    words += (
        ["--reference", "b.fits"] if command is TILE else ["--format", "fz", "--feather", "0.1", "--existing-tiles"]
    )
    groups = parsed(command, *words)
    write_config(groups, tmp_path / "run.toml")
    parser = argparse.ArgumentParser()
    add_options(parser.add_subparsers().add_parser(command.name), command)
    own = parser.parse_args([command.name, "-o", "out"]).parser
    own.set_defaults(**config_defaults(tmp_path / "run.toml", command, own))
    found = parser.parse_args([command.name, "-o", "out"])
    assert [read(group, found) for group in command.groups] == groups
    found = parser.parse_args([command.name, "-o", "out", "--kappa", "5", "--rewinsor"])  # which come first
    assert (found.kappa, found.rewinsor) == ([5.0], True)


def test_what_says_where_the_output_goes_is_in_no_file():
    for command in (TILE, MOSAIC):
        kept = [name for group in command.groups for name, option, _ in declarations(group) if option.kept]
        assert not {"output", "overwrite", "resume", "config"} & set(kept)
        assert "frames" in kept


@pytest.mark.parametrize(
    ("name", "groups"),
    [
        ("tile", (TileFiles(),)),
        ("mosaic", (MosaicFiles(), *mosaic_defaults()[2:])),
        ("both", mosaic_defaults()[:2]),
    ],
)
def test_the_docs_have_the_table(name, groups):
    """Where it fails: put what `zemosaic_patch.arguments.table` returns between the marks in docs/usage.md."""
    text = USAGE.read_text(encoding="utf-8")
    assert f"<!-- options: {name} -->\n\n{table(groups)}\n<!-- end" in text


def test_every_option_says_what_it_does():
    for name in TOLD:
        for group in load(name).groups:
            for one in fields(group):
                option = option_of(one)
                assert option.text
                assert not option.text.endswith(".")
                assert option.kind is bool or option.choices or option.metavar


@pytest.mark.parametrize(
    ("group", "others", "changes"),
    [
        (StackOptions, {}, {**OF_WINSORIZED, **OF_DRIZZLE}),
        (StackOptions, {"reject": "winsorized_sigma_clip"}, OF_DRIZZLE),
        (StackOptions, {"drizzle": 2.0}, OF_WINSORIZED),
        (CometOptions, {}, {"comet_in": "sky", "comet_merged": True}),
    ],
)  # fmt: skip
def test_what_a_run_is_told_by_is_what_it_would_not_refuse(group, others, changes):
    usual = next(one for one in mosaic_defaults() if isinstance(one, group))
    chosen = replace(usual, **others)
    names = {name.replace("_", "-") for name in changes}
    assert in_effect([chosen]).keys() == given([chosen]).keys() - names
    for name, value in changes.items():
        other = replace(chosen, **{name: value})
        with pytest.raises(UsageError):
            other.settings() if group is StackOptions else other.choice()
