# SPDX-License-Identifier: GPL-3.0-or-later
"""Paths that are no folder of ZeMosaic's source: each is told what it is, and what to do.

The frozen programs are laid out as PyInstaller 5 and 6 lay them out on each system.
"""

import pytest

from tests.support.small_zemosaic import zemosaic
from zemosaic_patch import cli
from zemosaic_patch.dropin import checkout, installation, verdict
from zemosaic_patch.dropin.sources import MODULES

COOKIE = b"MEI\x0c\x0b\x0a\x0b\x0e" + bytes(80)


def file(path, data=b""):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    path.chmod(0o755)
    return path


def on_windows(root):
    """As ZeMosaic's installer puts it into a folder."""
    file(root / "Program Files" / "ZeMosaic" / "unins000.exe", COOKIE)
    program = file(root / "Program Files" / "ZeMosaic" / "ZeMosaic.exe", b"MZ" + COOKIE)
    for name in ("base_library.zip", "python313.dll", "locales/fr.json", "icon/zemosaic.ico", "_version.py"):
        file(program.parent / "_internal" / name)
    return program, [program, program.parent, program.parent / "_internal"]


def on_linux(root):
    program = file(root / "dist" / "ZeMosaic" / "ZeMosaic", b"\x7fELF" + COOKIE)
    file(program.parent / "_internal" / "base_library.zip")
    return program, [program, program.parent, program.parent / "_internal"]


def on_macos(root):
    app = root / "Applications" / "ZeMosaic.app"
    program = file(app / "Contents" / "MacOS" / "ZeMosaic", COOKIE)
    file(app / "Contents" / "Frameworks" / "base_library.zip")
    return app, [app, app / "Contents", app / "Contents" / "MacOS", program]


def in_one_folder(root):
    """As PyInstaller 5 did it, without _internal."""
    program = file(root / "ZeMosaic" / "ZeMosaic.exe")
    file(program.parent / "base_library.zip")
    return program, [program, program.parent]


def in_one_file(root):
    """Signed, too: a signature lies behind the archive."""
    program = file(root / "tools" / "ZeMosaic.exe", b"MZ" + bytes(10_000) + COOKIE + bytes(9_000))
    return program, [program, program.parent]


@pytest.mark.parametrize("layout", [on_windows, on_linux, on_macos, in_one_folder, in_one_file])
def test_a_ready_made_program_is_named_with_two_ways_out(tmp_path, layout, capsys):
    program, paths = layout(tmp_path)
    for path in paths:
        for command in ("check", "apply", "revert", "verify"):
            assert cli.main([command, str(path)]) == 2
            said = capsys.readouterr().err
            assert "is ZeMosaic as a ready-made program" in said
            assert program.name in said
            assert installation.SOURCE in said
            assert "`zemosaic-patch mosaic FRAMES -o DIR`" in said


def test_other_programs_are_no_zemosaic(tmp_path):
    other = file(tmp_path / "Other" / "Other.exe", COOKIE)
    file(tmp_path / "Other" / "_internal" / "base_library.zip")
    plain = file(tmp_path / "plain" / "ZeMosaic.exe", b"MZ" + bytes(100))
    for path in (other, other.parent, plain, plain.parent):
        assert installation.frozen_program(path) is None
        with pytest.raises(
            checkout.NotPatchableError, match=r"no folder|is no ZeMosaic: it has no zemosaic_worker\.py"
        ):
            verdict.check(path)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("nowhere", "nowhere is not there: name ZeMosaic's folder"),
        ("notes.txt", r"notes\.txt is no folder: name ZeMosaic's folder"),
        ("zemosaic-main.zip", "is packed: unpack it"),
        ("empty", r"is no ZeMosaic: it has no zemosaic_worker\.py and .*: name the folder that holds them"),
        ("outer", r"outer is no ZeMosaic, but .*outer.zemosaic-main.zemosaic-main may be one: name that folder"),
        ("outer/zemosaic-main/zemosaic-main/zemosaic_worker.py", "worker.py is no folder: name .*zemosaic-main$"),
        ("half", r"is no ZeMosaic: it has no zemosaic_utils\.py: unpack ZeMosaic's source anew"),
    ],
)
def test_what_is_no_zemosaic_is_told_what_to_do(tmp_path, name, message):
    (tmp_path / "notes.txt").write_text("")
    (tmp_path / "zemosaic-main.zip").write_bytes(b"PK")
    (tmp_path / "empty").mkdir()
    (tmp_path / "outer" / "zemosaic-main").mkdir(parents=True)
    zemosaic(tmp_path / "outer" / "zemosaic-main" / "zemosaic-main")
    (zemosaic(tmp_path / "half") / MODULES[3]).unlink()
    with pytest.raises(checkout.NotPatchableError, match=message):
        verdict.check(tmp_path / name)


def test_blanks_and_accents_in_the_path(tmp_path, capsys):
    root = zemosaic(tmp_path / "Zé Mosaïc (été)")
    for command in (["apply", "--accept-unknown"], ["check"], ["revert"]):
        assert cli.main([*command, str(root)]) == 0
    assert str(root) in capsys.readouterr().out
