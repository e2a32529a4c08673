# SPDX-License-Identifier: GPL-3.0-or-later
"""Options are declared once: parsers, run.toml, defaults and docs all say the same."""

import argparse
import re
from dataclasses import fields, replace
from pathlib import Path

import pytest

from nanstack.settings import JoinSettings, TileSettings
from nanstack.stack.definition import Rejection
from zemosaic_patch import options
from zemosaic_patch.arguments import add_command, config_defaults, declarations, read, table, write_config
from zemosaic_patch.cli import COMMANDS
from zemosaic_patch.errors import UsageError
from zemosaic_patch.options import MosaicSettings, Range, TileOptions

USAGE = Path(__file__).parents[2] / "docs" / "usage.md"
TILE, MOSAIC = (next(command for command in COMMANDS if command.name == name) for name in ("tile", "mosaic"))


def parsed(command, *words):
    parser = argparse.ArgumentParser()
    add_command(parser.add_subparsers(), command)
    found = parser.parse_args([command.name, *words])
    return [read(group, found) for group in command.groups]


def tile_settings(*words):
    return parsed(TILE, "-o", "out", *words)[1].settings()


def test_defaults_are_the_engines():
    assert tile_settings() == TileSettings()
    _, joined, tile = parsed(MOSAIC, "-o", "out")
    assert joined.settings(tile) == MosaicSettings()
    assert MosaicSettings().join == JoinSettings()
    assert MosaicSettings().tile == TileSettings(Rejection(rewinsor=False), match="plane", canvas="all")


@pytest.mark.parametrize(
    ("words", "changes"),
    [
        ("--reject kappa_sigma", {"rejection": Rejection("kappa_sigma")}),
        ("--reject linear_fit_clip", {"rejection": Rejection("linear_fit")}),
        ("--reject none --wsc-impl pixinsight", {"rejection": Rejection("none")}),
        ("--wsc-impl pixinsight", {"rejection": Rejection("huber")}),
        ("--kappa 2", {"rejection": Rejection(kappa_low=2.0, kappa_high=2.0)}),
        ("--kappa 2 4", {"rejection": Rejection(kappa_low=2.0, kappa_high=4.0)}),
        ("--winsor 0.1 0.2", {"rejection": Rejection(winsor_low=0.1, winsor_high=0.2)}),
        ("--no-rewinsor", {"rejection": Rejection(rewinsor=False)}),
        ("--combine max", {"combine": "max"}),
        ("--match-sky linear", {"match": "linear"}),
        ("--norm sky_mean", {"normalize": "sky_mean"}),
        ("--weight noise_fwhm", {"weight": "noise_fwhm"}),
        ("--interpolation lanczos3", {"interpolation": "lanczos3"}),
        ("--canvas all", {"canvas": "all"}),
        ("--gpu on", {"gpu": "on"}),
    ],
)
def test_each_option_of_a_tile_reaches_its_settings_and_comes_back(words, changes):
    settings = tile_settings(*words.split())
    assert settings == replace(TileSettings(), **changes)
    again = TileOptions.of(settings).settings()
    assert again == settings


@pytest.mark.parametrize(
    ("words", "changes"),
    [
        ("--tile-frames 50", {"tile_frames": 50}),
        ("--min-frames 3", {"min_frames": 3}),
        ("--match-tiles offset", {"join": JoinSettings(match="offset")}),
        ("--join median", {"join": JoinSettings(combine="median")}),
        ("--feather 0.5", {"join": JoinSettings(feather=0.5)}),
        ("--compress", {"compress": True}),
        ("--picture tif", {"picture": "tif"}),
        ("--workers 3", {"workers": 3}),
        (
            "--interpolation lanczos3",
            {
                "join": JoinSettings(interpolation="lanczos3"),
                "tile": replace(MosaicSettings().tile, interpolation="lanczos3"),
            },
        ),
        ("--match-sky none", {"tile": replace(MosaicSettings().tile, match="none")}),
    ],
)
def test_each_option_of_a_mosaic_reaches_its_settings(words, changes):
    _, joined, tile = parsed(MOSAIC, "-o", "out", *words.split())
    assert joined.settings(tile) == replace(MosaicSettings(), **changes)


@pytest.mark.parametrize(
    ("command", "words", "said"),
    [
        (TILE, "--kappa 0", "--kappa takes one or two numbers above 0, not 0"),
        (TILE, "--kappa nan", "--kappa takes one or two numbers above 0, not nan"),
        (TILE, "--kappa inf", "--kappa takes one or two numbers above 0, not inf"),
        (TILE, "--kappa 1 2 3", "--kappa takes one or two numbers above 0, not 1 2 3"),
        (TILE, "--winsor 0.6 0.1", "--winsor takes two numbers from 0 to below 0.5, not 0.6 0.1"),
        (TILE, "--winsor 0.5 0.1", "--winsor takes two numbers from 0 to below 0.5, not 0.5 0.1"),
        (MOSAIC, "--feather 0.7", "--feather takes a number from 0 to 0.5, not 0.7"),
        (MOSAIC, "--tile-frames 0", "--tile-frames takes a whole number of at least 1, not 0"),
        (MOSAIC, "--workers -1", "--workers takes a whole number of at least 0, not -1"),
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
        "--kappa",
        "2",
        "4",
        "--no-rewinsor",
        "--wsc-impl",
        "pixinsight",
        "--match-sky",
        "none",
    ]
    words += ["--reference", "b.fits"] if command is TILE else ["--compress", "--feather", "0.1", "--existing-tiles"]
    groups = parsed(command, *words)
    write_config(groups, tmp_path / "run.toml")
    parser = argparse.ArgumentParser()
    add_command(parser.add_subparsers(), command)
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
        ("tile", (options.TileFiles(), options.tile_defaults())),
        ("mosaic", (options.MosaicFiles(), options.mosaic_defaults()[0])),
    ],
)
def test_the_docs_have_the_table(name, groups):
    """Where it fails: put what `zemosaic_patch.arguments.table` returns between the marks in docs/usage.md."""
    text = USAGE.read_text(encoding="utf-8")
    assert f"<!-- options: {name} -->\n\n{table(groups)}\n<!-- end" in text


def test_every_option_says_what_it_does():
    for command in COMMANDS:
        for group in command.groups:
            for one in fields(group):
                option = options.option_of(one)
                assert option.text
                assert not option.text.endswith(".")
                assert option.kind is bool or option.choices or option.metavar
